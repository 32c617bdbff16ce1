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

use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};

/// How many threads may be stuck for each kind of look. A path takes at most one, so this many
/// means very many dead directories.
const MOST_STUCK: usize = 256;

/// Enough for a look at a repository, and a third of the default for a thread.
const STACK: usize = 512 << 10;

/// What a look at a directory reveals.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DirectorySight {
    /// Its path with links resolved, which is how the system names the directory of a process.
    /// `None` if nothing has that name, or the path is not UTF-8.
    pub path: Option<String>,
    /// Whether it is a directory.
    pub is_directory: bool,
    /// The branch that is checked out there.
    pub branch: Option<String>,
    /// The repository that it is in, the same in all of its worktrees.
    #[serde(default)]
    pub repository: Option<String>,
}

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
mod tests {
    use std::sync::Condvar;

    use proptest::prelude::*;

    use super::*;

    /// Long enough for a look that answers on a busy machine, short enough to wait for one that
    /// does not.
    const LIMIT: Duration = Duration::from_millis(200);

    /// Far longer than any look here takes, for tests that show that nothing was waited for.
    const LONG: Duration = Duration::from_secs(20);

    /// A file system in which some paths do not answer until they are revived. It counts the looks.
    #[derive(Clone, Default)]
    struct Disk(Arc<(Mutex<DiskState>, Condvar)>);

    #[derive(Default)]
    struct DiskState {
        dead: BTreeSet<PathBuf>,
        looks: HashMap<PathBuf, usize>,
    }

    impl Disk {
        fn with(dead: &[&str]) -> Self {
            let disk = Self::default();
            lock(&disk.0.0).dead = dead.iter().map(PathBuf::from).collect();
            disk
        }

        fn look(&self, path: &Path) -> String {
            let (state, changed) = &*self.0;
            let mut state = lock(state);
            *state.looks.entry(path.to_owned()).or_default() += 1;
            while state.dead.contains(path) {
                state = changed.wait(state).expect("a lock");
            }
            path.display().to_string()
        }

        fn revive(&self) {
            lock(&self.0.0).dead.clear();
            self.0.1.notify_all();
        }

        fn looks(&self, path: &str) -> usize {
            let state = lock(&self.0.0);
            state
                .looks
                .get(Path::new(path))
                .copied()
                .unwrap_or_default()
        }

        fn watch(&self) -> Watch<String> {
            let disk = self.clone();
            Watch::new(LIMIT, move |path| disk.look(path))
        }
    }

    fn run<R>(future: impl Future<Output = R>) -> R {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build();
        runtime.expect("a runtime").block_on(future)
    }

    fn paths(names: &[&str]) -> Vec<PathBuf> {
        names.iter().map(PathBuf::from).collect()
    }

    /// Returns the names that were answered, in order. Each answer is that of its path.
    fn answered(answers: &HashMap<PathBuf, String>) -> Vec<&str> {
        for (path, answer) in answers {
            assert_eq!(path, Path::new(answer));
        }
        let mut names: Vec<&str> = answers.values().map(String::as_str).collect();
        names.sort_unstable();
        names
    }

    /// Asks until the answer comes.
    async fn until<T>(mut ask: impl AsyncFnMut() -> Option<T>) -> T {
        let deadline = Instant::now() + LONG;
        loop {
            if let Some(answer) = ask().await {
                return answer;
            }
            assert!(Instant::now() < deadline, "no answer");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    #[test]
    fn a_look_is_answered() {
        let path = Path::new("/probe-look/answers");
        assert_eq!(run(within(path, LONG, || 1)), Some(1));
        assert_eq!(within_blocking(path, LONG, || 2), Some(2));
    }

    #[test]
    fn a_look_that_hangs_is_left_and_nothing_piles_up() {
        let disk = Disk::with(&["/probe-look/hangs"]);
        let path = Path::new("/probe-look/hangs");
        let look = || {
            let disk = disk.clone();
            move || disk.look(path)
        };
        run(async {
            let began = Instant::now();
            assert_eq!(within(path, LIMIT, look()).await, None);
            assert!(began.elapsed() >= LIMIT);
            // It is known by now: neither way starts another look, nor waits.
            let began = Instant::now();
            for _ in 0..1000 {
                assert_eq!(within(path, LIMIT, look()).await, None);
                assert_eq!(within_blocking(path, LIMIT, look()), None);
            }
            assert!(began.elapsed() < LIMIT * 1000);
            assert_eq!(disk.looks("/probe-look/hangs"), 1);
            // Another path is not affected.
            let other = Path::new("/probe-look/other");
            assert_eq!(within(other, LONG, || 1).await, Some(1));
            disk.revive();
            let seen = until(async || within(path, LIMIT, look()).await).await;
            assert_eq!(seen, "/probe-look/hangs");
        });
    }

    #[test]
    fn who_has_more_time_is_not_refused_for_who_has_less() {
        let disk = Disk::with(&["/probe-look/slow"]);
        let path = Path::new("/probe-look/slow");
        let look = || {
            let disk = disk.clone();
            move || disk.look(path)
        };
        run(async {
            assert_eq!(within(path, Duration::ZERO, look()).await, None);
            disk.revive();
            assert!(within(path, LONG, look()).await.is_some());
        });
    }

    #[test]
    fn a_look_that_panics_is_no_answer_and_is_not_remembered() {
        let path = Path::new("/probe-look/panics");
        run(async {
            assert_eq!(
                within(path, LONG, || panic!("it is meant to")).await,
                None::<u8>
            );
            assert_eq!(until(async || within(path, LONG, || 1).await).await, 1);
        });
    }

    #[test]
    fn a_runtime_does_not_wait_for_a_look_that_hangs() {
        let disk = Disk::with(&["/probe-look/runtime"]);
        let path = Path::new("/probe-look/runtime");
        let hangs = disk.clone();
        // The runtime is dropped in here.
        assert_eq!(run(within(path, LIMIT, move || hangs.look(path))), None);
        assert_eq!(disk.looks("/probe-look/runtime"), 1);
        disk.revive();
    }

    #[test]
    fn one_path_that_hangs_is_left_out_and_all_others_are_answered_in_the_same_call() {
        let disk = Disk::with(&["/b"]);
        let mut watch = disk.watch();
        run(async {
            let began = Instant::now();
            let seen = watch.all(paths(&["/a", "/b", "/c", "/d"])).await;
            assert_eq!(answered(&seen), ["/a", "/c", "/d"]);
            assert!(began.elapsed() >= LIMIT);
            let began = Instant::now();
            for _ in 0..100 {
                let seen = watch.all(paths(&["/a", "/b", "/c", "/d"])).await;
                assert_eq!(answered(&seen), ["/a", "/c", "/d"]);
            }
            // Waiting for it in each call would take 100 times the limit.
            assert!(began.elapsed() < LIMIT * 50, "{:?}", began.elapsed());
            assert_eq!((disk.looks("/b"), disk.looks("/c")), (1, 101));
            disk.revive();
            let all = ["/a", "/b", "/c", "/d"];
            until(async || {
                let seen = watch.all(paths(&all)).await;
                (answered(&seen) == all).then_some(())
            })
            .await;
            // Once it has answered quickly, it is looked at together with the others again.
            until(async || {
                watch.all(paths(&all)).await;
                watch.aside.is_empty().then_some(())
            })
            .await;
            let looks = disk.looks("/b");
            watch.all(paths(&all)).await;
            assert_eq!(disk.looks("/b"), looks + 1);
        });
    }

    #[test]
    fn a_path_is_looked_at_once_a_call() {
        let disk = Disk::default();
        let seen = run(disk.watch().all(paths(&["/a", "/a", "/b", "/a"])));
        assert_eq!(answered(&seen), ["/a", "/b"]);
        assert_eq!(disk.looks("/a"), 1);
    }

    #[test]
    fn many_dead_paths_cost_the_logarithm_of_their_number() {
        let names: Vec<String> = (0..60).map(|number| format!("/{number}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let disk = Disk::with(&names);
        let mut watch = disk.watch();
        run(async {
            let began = Instant::now();
            assert!(watch.all(paths(&names)).await.is_empty());
            assert!(began.elapsed() < LIMIT * 20, "{:?}", began.elapsed());
            // A later call does not start a second look at a path that was left out.
            watch.all(paths(&["/x"])).await;
            assert_eq!(answered(&watch.all(paths(&["/0", "/x"])).await), ["/x"]);
            assert!(names.iter().all(|name| disk.looks(name) == 1));
        });
        disk.revive();
    }

    #[test]
    fn a_path_that_is_slow_costs_no_more_than_one_that_is_dead() {
        let slow = LIMIT + Duration::from_millis(100);
        let mut watch = Watch::new(LIMIT, move |path: &Path| {
            if path == Path::new("/slow") {
                thread::sleep(slow);
            }
            path.display().to_string()
        });
        run(async {
            assert_eq!(answered(&watch.all(paths(&["/a", "/slow"])).await), ["/a"]);
            let mut answers = 0;
            let (mut calls, mut waited) = (0, Duration::ZERO);
            while answers < 3 {
                let began = Instant::now();
                let seen = watch.all(paths(&["/a", "/slow"])).await;
                waited += began.elapsed();
                calls += 1;
                assert!(seen.contains_key(Path::new("/a")));
                answers += usize::from(seen.contains_key(Path::new("/slow")));
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            assert!(calls > 3 && waited < LIMIT * 2, "{calls}: {waited:?}");
        });
    }

    #[test]
    fn a_path_whose_look_panics_takes_no_other_with_it() {
        let mut watch = Watch::new(LIMIT, |path: &Path| {
            assert!(path != Path::new("/b"), "it is meant to");
            path.display().to_string()
        });
        run(async {
            for _ in 0..3 {
                let seen = watch.all(paths(&["/a", "/b", "/c"])).await;
                assert_eq!(answered(&seen), ["/a", "/c"]);
            }
        });
    }

    #[test]
    fn only_so_many_looks_may_be_stuck() {
        let began = Instant::now();
        let later = began + LIMIT;
        let mut running = RunningLooks::default();
        for number in 0..MOST_STUCK {
            let path = PathBuf::from(format!("/{number}"));
            assert!(running.admits(&path, LIMIT, later));
            let number = u64::try_from(number).expect("small");
            running.looks.insert(number, (path, began));
        }
        assert!(!running.admits(Path::new("/other"), LIMIT, later));
        // Those that have just begun are not stuck.
        assert!(running.admits(Path::new("/other"), LIMIT, began));
        running.looks.remove(&7);
        assert!(running.admits(Path::new("/other"), LIMIT, later));
        assert!(!running.admits(Path::new("/8"), LIMIT, later));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(12))]

        /// Whichever paths are dead, exactly the others are answered, in the first call and in the
        /// next.
        #[test]
        fn exactly_what_lives_is_answered(dead in prop::collection::vec(any::<bool>(), 1..12)) {
            let name = |number: usize| format!("/{number:02}");
            let of = |which: bool| -> Vec<String> {
                let numbers = dead.iter().enumerate().filter(|(_, dead)| **dead == which);
                numbers.map(|(number, _)| name(number)).collect()
            };
            let (gone, alive) = (of(true), of(false));
            let gone: Vec<&str> = gone.iter().map(String::as_str).collect();
            let disk = Disk::with(&gone);
            let mut watch = disk.watch();
            let all: Vec<PathBuf> = (0..dead.len()).map(|number| name(number).into()).collect();
            for _ in 0..2 {
                let seen = run(watch.all(all.clone()));
                prop_assert_eq!(answered(&seen), alive.clone());
            }
            disk.revive();
        }
    }

    #[test]
    fn a_place_is_told_as_the_system_names_it() {
        let directory = tempfile::tempdir().expect("a directory");
        let real = directory.path().canonicalize().expect("there").join("real");
        let link = directory.path().join("link");
        std::fs::create_dir(&real).expect("made");
        std::os::unix::fs::symlink(&real, &link).expect("linked");
        let place = DirectorySight::of(&link);
        assert_eq!(place.path.as_deref(), real.to_str());
        assert!(place.is_directory);
        assert_eq!(
            DirectorySight::of(&directory.path().join("none")),
            DirectorySight::default()
        );
    }
}
