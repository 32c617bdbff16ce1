//! Looks at file systems that may never answer: a network file system whose server is gone, a FUSE
//! mount whose program hangs.
//!
//! A look runs on a thread of its own. Nobody waits for it longer than they choose, and no runtime
//! waits for it when the runtime ends. A stuck thread cannot be ended; it is counted until its file
//! system answers, and no second one joins it:
//! ```text
//! within, within_blocking   one look                None: no answer, or known to give none
//! Watch::all                the same look at many,  a path without an answer is set aside, and
//!                           round after round       the others are answered in the same call
//! ```
//!
//! A thread that is stuck in a file system can keep its process from ending, whatever signal it
//! gets. A process that has to end when it is told to, such as a command, lets another process look
//! and return a [`DirectorySight`].

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot};

pub use crate::model::directory::DirectorySight;

/// How many threads may be stuck for each kind of look. A path takes at most one, so this many
/// means very many dead directories.
const MOST_STUCK: usize = 256;

/// Enough for a look at a repository, and a third of the default for a thread.
const STACK: usize = 512 << 10;

impl DirectorySight {
    /// Looks at a path, however long that takes.
    pub fn of(path: &Path) -> Self {
        let checkout = super::git_checkout(path).unwrap_or_default();
        let repository = checkout
            .as_ref()
            .and_then(|checkout| checkout.repository.to_str());
        Self {
            path: resolved(path),
            is_directory: path.is_dir(),
            repository: repository.map(str::to_owned),
            branch: checkout.map(|checkout| checkout.branch),
        }
    }
}

/// Returns a path with links resolved. `None` if nothing has that name, or it is not UTF-8.
pub fn resolved(path: &Path) -> Option<String> {
    let path = path.canonicalize().ok()?;
    path.into_os_string().into_string().ok()
}

/// The looks of [`within`] and [`within_blocking`], wherever they come from.
static LOOKS: LazyLock<Arc<Looks>> = LazyLock::new(Arc::default);

/// Returns the result of `look`, which looks at `path`. `None` if there is no result within
/// `limit`, or if an earlier look at the same path has already been without an answer for that
/// long.
///
/// Each call takes one thread, and leaves it behind if it does not answer. Works in any tokio
/// runtime with time enabled.
pub async fn within<R: Send + 'static>(
    path: &Path,
    limit: Duration,
    look: impl FnOnce() -> R + Send + 'static,
) -> Option<R> {
    let (tell, told) = oneshot::channel();
    let answer = move |seen| {
        let _ = tell.send(seen);
    };
    LOOKS.begin(path, limit, look, answer)?;
    tokio::time::timeout(limit, told).await.ok()?.ok()
}

/// Does the same as [`within`] where there is no runtime.
pub fn within_blocking<R: Send + 'static>(
    path: &Path,
    limit: Duration,
    look: impl FnOnce() -> R + Send + 'static,
) -> Option<R> {
    let (tell, told) = std::sync::mpsc::sync_channel(1);
    let answer = move |seen| {
        let _ = tell.send(seen);
    };
    LOOKS.begin(path, limit, look, answer)?;
    told.recv_timeout(limit).ok()
}

/// The looks of one kind that have not returned.
#[derive(Debug, Default)]
struct Looks(Mutex<RunningLooks>);

#[derive(Debug, Default)]
struct RunningLooks {
    next: u64,
    /// By number: the path, and since when.
    looks: HashMap<u64, (PathBuf, Instant)>,
}

/// A running look. Its thread drops this when the look has returned or panicked.
struct LookEntry {
    looks: Arc<Looks>,
    number: u64,
}

impl Looks {
    /// Runs `look` on a thread of its own and passes its result to `answer`. `None` if that would
    /// be of no use.
    fn begin<R: Send + 'static>(
        self: &Arc<Self>,
        path: &Path,
        limit: Duration,
        look: impl FnOnce() -> R + Send + 'static,
        answer: impl FnOnce(R) + Send + 'static,
    ) -> Option<()> {
        let entry = self.enter(path, limit)?;
        let run = move || {
            let seen = look();
            // Whoever gets the answer may ask again at once.
            drop(entry);
            answer(seen);
        };
        start(run).ok()
    }

    /// Notes a look. `None` if the path is known to have given no answer for as long as `limit`, or
    /// if too many threads are stuck.
    fn enter(self: &Arc<Self>, path: &Path, limit: Duration) -> Option<LookEntry> {
        let mut running = lock(&self.0);
        let now = Instant::now();
        if !running.admits(path, limit, now) {
            return None;
        }
        let number = running.next;
        running.next += 1;
        running.looks.insert(number, (path.to_owned(), now));
        let looks = Arc::clone(self);
        Some(LookEntry { looks, number })
    }
}

impl RunningLooks {
    fn admits(&self, path: &Path, limit: Duration, now: Instant) -> bool {
        let stuck = |began: &Instant| now.duration_since(*began) >= limit;
        let mut same = self.looks.values().filter(|(other, _)| other == path);
        let all = || self.looks.values().filter(|(_, began)| stuck(began));
        !same.any(|(_, began)| stuck(began)) && all().count() < MOST_STUCK
    }
}

impl Drop for LookEntry {
    fn drop(&mut self) {
        lock(&self.looks.0).looks.remove(&self.number);
    }
}

fn start(run: impl FnOnce() + Send + 'static) -> io::Result<()> {
    let builder = thread::Builder::new().name("look".to_owned());
    builder.stack_size(STACK).spawn(run).map(drop)
}

/// The same look at many paths, round after round.
///
/// The paths are looked at one after another, which takes one thread per call. A path that does not
/// answer is set aside together with its thread: it costs that call the limit, and later calls
/// nothing, until its answer comes. A path that answers slowly is still looked at, in parallel with
/// the calls, which get its last answer when it is there.
pub struct Watch<V> {
    look: LookFunction<V>,
    limit: Duration,
    looks: Arc<Looks>,
    aside: HashMap<PathBuf, Answers<V>>,
}

type LookFunction<V> = Arc<dyn Fn(&Path) -> V + Send + Sync>;

/// The channel of answers: the path, the answer, and how long it took.
type Answers<V> = mpsc::UnboundedReceiver<(PathBuf, V, Duration)>;

/// The result of looking at some paths: the answers, and the paths that have given none.
struct LookResults<V> {
    answers: Vec<(PathBuf, V)>,
    aside: Vec<(PathBuf, Answers<V>)>,
}

/// The paths that a thread goes through.
#[derive(Debug, Default)]
struct Walk {
    rest: VecDeque<PathBuf>,
    /// The path that it is looking at.
    at: Option<PathBuf>,
}

impl<V: Send + 'static> Watch<V> {
    /// Returns a watch that waits for each path for as long as `limit`.
    pub fn new(limit: Duration, look: impl Fn(&Path) -> V + Send + Sync + 'static) -> Self {
        Self {
            look: Arc::new(look),
            limit,
            looks: Arc::default(),
            aside: HashMap::new(),
        }
    }

    /// Looks at these paths and returns what was seen of each. A path that does not answer is left
    /// out.
    pub async fn all(&mut self, paths: impl IntoIterator<Item = PathBuf>) -> HashMap<PathBuf, V> {
        let mut paths: BTreeSet<PathBuf> = paths.into_iter().collect();
        self.aside.retain(|path, _| paths.contains(path));
        let mut answers = HashMap::new();
        let aside: Vec<PathBuf> = self.aside.keys().cloned().collect();
        for path in aside {
            if let Some(seen) = self.late(&path) {
                answers.insert(path.clone(), seen);
            }
            paths.remove(&path);
        }
        let found = self.walk(paths.into_iter().collect()).await;
        answers.extend(found.answers);
        for (path, told) in found.aside {
            tracing::warn!(
                ?path,
                "a directory does not answer; what was last known is used"
            );
            self.aside.insert(path, told);
        }
        answers
    }

    /// Returns the answer of a path that was set aside, if it has come.
    fn late(&mut self, path: &Path) -> Option<V> {
        let told = self.aside.get_mut(path)?;
        match told.try_recv() {
            Ok((_, seen, took)) => {
                let again =
                    (took > self.limit).then(|| self.set_out(VecDeque::from([path.into()])));
                match again {
                    Some((_, told)) => self.aside.insert(path.to_owned(), told),
                    None => self.aside.remove(path),
                };
                Some(seen)
            }
            Err(mpsc::error::TryRecvError::Empty) => None,
            // Its look has panicked.
            Err(mpsc::error::TryRecvError::Disconnected) => {
                self.aside.remove(path);
                None
            }
        }
    }

    /// Looks at paths in order. If one does not answer, the rest is divided between two threads, so
    /// that the time for many dead paths grows with the logarithm of their number.
    fn walk(
        &self,
        paths: VecDeque<PathBuf>,
    ) -> Pin<Box<dyn Future<Output = LookResults<V>> + Send + '_>> {
        Box::pin(async move {
            let mut found = LookResults {
                answers: Vec::new(),
                aside: Vec::new(),
            };
            if paths.is_empty() {
                return found;
            }
            let (walk, mut told) = self.set_out(paths);
            while let Ok(Some((path, seen, _))) =
                tokio::time::timeout(self.limit, told.recv()).await
            {
                found.answers.push((path, seen));
            }
            let Walk { mut rest, at } = std::mem::take(&mut *lock(&walk));
            // All were looked at, or no thread could be started.
            let Some(at) = at else {
                return found;
            };
            while let Ok((path, seen, _)) = told.try_recv() {
                found.answers.push((path, seen));
            }
            if found.answers.last().is_none_or(|(path, _)| *path != at) {
                found.aside.push((at, told));
            }
            let half = rest.split_off(rest.len() / 2);
            let (one, other) = tokio::join!(self.walk(rest), self.walk(half));
            for more in [one, other] {
                found.answers.extend(more.answers);
                found.aside.extend(more.aside);
            }
            found
        })
    }

    /// Starts a thread that looks at paths in order, until the rest is taken away from it.
    fn set_out(&self, paths: VecDeque<PathBuf>) -> (Arc<Mutex<Walk>>, Answers<V>) {
        let walk = Arc::new(Mutex::new(Walk {
            rest: paths,
            at: None,
        }));
        let (tell, told) = mpsc::unbounded_channel();
        let (mine, look) = (Arc::clone(&walk), Arc::clone(&self.look));
        let (looks, limit) = (Arc::clone(&self.looks), self.limit);
        let run = move || {
            while let Some(path) = next(&mine) {
                // A look of an earlier call may be stuck there.
                let Some(entry) = looks.enter(&path, limit) else {
                    continue;
                };
                let began = Instant::now();
                let seen = look(&path);
                drop(entry);
                if tell.send((path, seen, began.elapsed())).is_err() {
                    break;
                }
            }
        };
        if let Err(error) = start(run) {
            tracing::error!("cannot look at directories: {error}");
        }
        (walk, told)
    }
}

impl<V> std::fmt::Debug for Watch<V> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let aside = self.aside.keys();
        formatter.debug_set().entries(aside).finish()
    }
}

fn next(walk: &Mutex<Walk>) -> Option<PathBuf> {
    let mut walk = lock(walk);
    walk.at = walk.rest.pop_front();
    walk.at.clone()
}

fn lock<V>(mutex: &Mutex<V>) -> MutexGuard<'_, V> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
