//! Loads policies beside the live one: those that a person orders, and the live one's file when it
//! changes.
//!
//! All of it happens on a separate thread, so that rounds continue while a policy is compiled. The
//! result is used between two rounds. A file is read only when it has not changed for a moment,
//! because many programs write it in pieces.

use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::{Loader, Policy, PolicySource, sha256, source};

/// How often the file is checked.
const LOOK: Duration = Duration::from_millis(100);
/// For how long it must not have changed.
const SETTLED: Duration = Duration::from_millis(200);

/// A policy that is to become the live one.
#[derive(Debug, Clone, PartialEq)]
pub struct Order {
    /// Identifies the answer; `None` if nobody waits for it.
    pub id: Option<i64>,
    /// Where the policy comes from.
    pub source: PolicySource,
    /// The settings for its `configure`.
    pub settings: Value,
}

/// The result of loading a policy.
pub struct PolicyNews {
    /// What it is about.
    pub about: PolicyNewsAbout,
    /// Where the policy comes from.
    pub source: PolicySource,
    /// The result.
    pub result: Loaded,
}

/// Why a policy was loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PolicyNewsAbout {
    /// It was ordered, by this number if somebody waits for the answer.
    Order(Option<i64>),
    /// The live policy's file has changed.
    File,
}

/// The result of loading a policy.
pub enum Loaded {
    /// It can be used.
    Policy(Box<Policy>),
    /// It cannot be used; the reason, in one line.
    Refused(String),
    /// The file contains the live policy again: an unusable change was undone.
    Same,
}

/// What the thread is told.
enum ToReloader {
    Order(Order),
    Loader(Loader),
}

/// The thread that loads policies; it ends when this is dropped.
pub struct Reloader {
    inbox: Sender<ToReloader>,
    news: Receiver<PolicyNews>,
}

impl Reloader {
    /// Starts the thread, which watches the file of the live policy. `wake` is called when there is
    /// news.
    ///
    /// # Errors
    ///
    /// The system starts no more threads.
    pub fn start(
        loader: Loader,
        source: PolicySource,
        live: &Policy,
        wake: impl Fn() + Send + 'static,
    ) -> io::Result<Self> {
        let (inbox, told) = mpsc::channel();
        let (outbox, news) = mpsc::channel();
        let worker = Worker {
            loader,
            watch: PolicyWatch::new(source, live),
            outbox,
            wake,
        };
        thread::Builder::new()
            .name("reload".to_owned())
            .spawn(move || worker.run(&told))?;
        Ok(Self { inbox, news })
    }

    /// Orders a policy to be loaded.
    pub fn order(&self, order: Order) {
        // The thread ends only when `self` is dropped.
        let _ = self.inbox.send(ToReloader::Order(order));
    }

    /// Loads policies by other limits from now on; the live one keeps its own until it is loaded again.
    pub fn use_loader(&self, loader: Loader) {
        let _ = self.inbox.send(ToReloader::Loader(loader));
    }

    /// Returns the news since the last call.
    pub fn news(&self) -> impl Iterator<Item = PolicyNews> + '_ {
        self.news.try_iter()
    }
}

struct Worker<F> {
    loader: Loader,
    watch: PolicyWatch,
    outbox: Sender<PolicyNews>,
    wake: F,
}

/// The live policy's file, and what is known about it.
struct PolicyWatch {
    source: PolicySource,
    settings: Value,
    sha256: String,
    /// The file when it was last read; `None` if it was not read yet, or was gone.
    read: Option<FileStamp>,
    /// The file when it was last seen.
    seen: Option<(Option<FileStamp>, Instant)>,
    told_gone: bool,
    /// True if the last news about the file was that it cannot be used.
    refused: bool,
}

/// The metadata by which a change of a file is noticed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct FileStamp([i64; 7]);

impl FileStamp {
    fn of(metadata: &Metadata) -> Self {
        let number = |number: u64| i64::from_ne_bytes(number.to_ne_bytes());
        Self([
            metadata.mtime(),
            metadata.mtime_nsec(),
            // Notices a change of permissions, or a change that kept the old modification time.
            metadata.ctime(),
            metadata.ctime_nsec(),
            number(metadata.size()),
            number(metadata.ino()),
            number(metadata.dev()),
        ])
    }
}

impl PolicyWatch {
    fn new(source: PolicySource, live: &Policy) -> Self {
        Self {
            source,
            settings: live.settings().clone(),
            sha256: live.id().sha256.clone(),
            read: None,
            seen: None,
            told_gone: false,
            refused: false,
        }
    }
}

impl<F: Fn()> Worker<F> {
    fn run(mut self, inbox: &Receiver<ToReloader>) {
        loop {
            let news = match inbox.recv_timeout(LOOK) {
                Ok(ToReloader::Order(order)) => Some(self.obey(order)),
                Ok(ToReloader::Loader(loader)) => {
                    self.loader = loader;
                    None
                }
                Err(RecvTimeoutError::Timeout) => {
                    // A fault in the runtime must not end all reloading.
                    let look = catch_unwind(AssertUnwindSafe(|| self.look()));
                    look.unwrap_or_default()
                }
                Err(RecvTimeoutError::Disconnected) => return,
            };
            let Some(news) = news else { continue };
            if self.outbox.send(news).is_err() {
                return;
            }
            (self.wake)();
        }
    }

    fn obey(&mut self, order: Order) -> PolicyNews {
        let Order {
            id,
            source,
            settings,
        } = order;
        let load = || self.loader.load(&source, &settings);
        let loaded = catch_unwind(AssertUnwindSafe(load));
        let result = match loaded {
            Err(_) => Loaded::Refused(format!("{} crashed the loader", source.name())),
            Ok(Ok(policy)) => {
                self.watch = PolicyWatch::new(source.clone(), &policy);
                Loaded::Policy(Box::new(policy))
            }
            Ok(Err(error)) => Loaded::Refused(error.to_string()),
        };
        PolicyNews {
            about: PolicyNewsAbout::Order(id),
            source,
            result,
        }
    }

    /// Checks the file, and loads it if it has changed and is no longer changing.
    fn look(&mut self) -> Option<PolicyNews> {
        let PolicySource::File(path) = self.watch.source.clone() else {
            return None;
        };
        let stamp = path
            .metadata()
            .ok()
            .map(|metadata| FileStamp::of(&metadata));
        let watch = &mut self.watch;
        if stamp == watch.read && (stamp.is_some() || watch.told_gone) {
            watch.seen = None;
            return None;
        }
        let since = match watch.seen {
            Some((seen, since)) if seen == stamp => since,
            _ => {
                watch.seen = Some((stamp, Instant::now()));
                return None;
            }
        };
        if since.elapsed() < SETTLED {
            return None;
        }
        watch.read = stamp;
        watch.seen = None;
        watch.told_gone = stamp.is_none();
        let shown = source::shown(&path);
        let result = if stamp.is_none() {
            Loaded::Refused(format!(
                "{shown} is gone: the policy that was loaded from it remains in use"
            ))
        } else {
            match source::read(&path, self.loader.largest_file()) {
                Err(error) => Loaded::Refused(error.to_string()),
                Ok(bytes) if sha256(&bytes) == self.watch.sha256 => Loaded::Same,
                Ok(bytes) => match self.loader.bytes(&shown, &bytes, &self.watch.settings) {
                    Ok(policy) => {
                        self.watch.sha256 = policy.id().sha256.clone();
                        Loaded::Policy(Box::new(policy))
                    }
                    Err(error) => Loaded::Refused(error.to_string()),
                },
            }
        };
        let was_refused = self.watch.refused;
        self.watch.refused = matches!(result, Loaded::Refused(_));
        // That nothing has changed is news only if something else was reported before.
        let is_news = was_refused || !matches!(result, Loaded::Same);
        is_news.then(|| PolicyNews {
            about: PolicyNewsAbout::File,
            source: self.watch.source.clone(),
            result,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::super::EMBEDDED;
    use super::*;

    fn next(reloader: &Reloader) -> PolicyNews {
        let end = Instant::now() + Duration::from_secs(60);
        loop {
            if let Some(news) = reloader.news().next() {
                return news;
            }
            assert!(Instant::now() < end, "nothing happens");
            thread::sleep(Duration::from_millis(10));
        }
    }

    fn refused(news: &PolicyNews) -> &str {
        match &news.result {
            Loaded::Refused(why) => why,
            _ => panic!("it is not refused"),
        }
    }

    /// The embedded policy with another hash.
    fn other(mark: u8) -> Vec<u8> {
        let mut bytes = EMBEDDED.to_vec();
        // A custom section with a name of one byte.
        bytes.extend([0, 2, 1, mark]);
        bytes
    }

    fn start(path: &Path) -> Reloader {
        let loader = Loader::default();
        let source = PolicySource::File(path.to_owned());
        let live = loader.load(&source, &Value::Null).expect("a policy");
        Reloader::start(loader, source, &live, || {}).expect("a thread")
    }

    #[test]
    fn a_file_is_taken_up_when_it_has_changed() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("p.wasm");
        fs::write(&path, EMBEDDED).expect("written");
        let reloader = start(&path);
        fs::write(&path, &EMBEDDED[..1_000]).expect("written");
        assert!(refused(&next(&reloader)).contains("half written"));
        fs::write(&path, other(b'a')).expect("written");
        let news = next(&reloader);
        let Loaded::Policy(policy) = news.result else {
            panic!("it is a policy")
        };
        assert_eq!(policy.id().sha256, sha256(&other(b'a')));
        assert_eq!(news.about, PolicyNewsAbout::File);

        fs::remove_file(&path).expect("removed");
        assert!(refused(&next(&reloader)).contains("is gone"));
        // The live policy's content returns.
        fs::write(&path, other(b'a')).expect("written");
        assert!(matches!(next(&reloader).result, Loaded::Same));
    }

    #[test]
    fn what_is_ordered_is_loaded_and_its_file_watched() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("p.wasm");
        fs::write(&path, EMBEDDED).expect("written");
        let reloader = start(&path);
        let another = directory.path().join("other.wasm");
        let order = |id: i64, source: &PolicySource| Order {
            id: Some(id),
            source: source.clone(),
            settings: Value::Null,
        };
        let source = PolicySource::File(another.clone());
        reloader.order(order(1, &source));
        assert!(refused(&next(&reloader)).contains("does not exist"));
        fs::write(&another, other(b'b')).expect("written");
        reloader.order(order(2, &source));
        let news = next(&reloader);
        assert_eq!(news.about, PolicyNewsAbout::Order(Some(2)));
        assert!(matches!(news.result, Loaded::Policy(_)));
        fs::write(&another, other(b'c')).expect("written");
        let news = next(&reloader);
        assert_eq!((news.about, news.source), (PolicyNewsAbout::File, source));
        assert!(matches!(news.result, Loaded::Policy(_)));
    }
}
