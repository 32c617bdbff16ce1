//! Tells what has changed in directories, so that nothing has to be polled often. Everything that is
//! told so is found without it as well, only later.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak, mpsc};
use std::thread;

use notify::event::{AccessKind, AccessMode};
use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::Notify;

/// Returns a watcher that tells each path that was written, made or removed; `None`: something that is
/// out of the ordinary. It tells from a thread of its own.
///
/// # Errors
/// The system watches nothing more.
pub(crate) fn watcher(
    tell: impl Fn(Option<&Path>) + Send + 'static,
) -> notify::Result<RecommendedWatcher> {
    notify::recommended_watcher(move |event: notify::Result<Event>| match event {
        Ok(event) if is_reading(event.kind) => {}
        Ok(event) => event.paths.iter().for_each(|path| tell(Some(path))),
        Err(_) => tell(None),
    })
}

fn is_reading(kind: EventKind) -> bool {
    matches!(kind, EventKind::Access(kind) if kind != AccessKind::Close(AccessMode::Write))
}

/// Those who wait for something to change in a directory.
type Listeners = Mutex<HashMap<PathBuf, Vec<Weak<Notify>>>>;

/// Lets others wait for changes in directories of agents.
///
/// A directory may not answer, so all of them are watched from one thread, which begins with the first:
/// if it is held up, the others are told nothing.
#[derive(Default)]
pub(crate) struct DirectoryWatch {
    listeners: Arc<Listeners>,
    asks: OnceLock<mpsc::Sender<Ask>>,
}

enum Ask {
    Watch(PathBuf),
    Leave(PathBuf),
}

/// Hears of changes in one directory.
pub(crate) struct Listener {
    directory: PathBuf,
    heard: Arc<Notify>,
}

impl Listener {
    /// The directory.
    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Completes when something in the directory has changed since the last time. Dropping the future
    /// loses nothing.
    pub(crate) async fn changed(&self) {
        self.heard.notified().await;
    }
}

impl DirectoryWatch {
    /// Hears of changes in this directory from now on.
    pub(crate) fn listen(&self, directory: &Path) -> Listener {
        let heard = Arc::new(Notify::new());
        let mut left = Vec::new();
        let mut listeners = lock(&self.listeners);
        listeners
            .entry(directory.to_owned())
            .or_default()
            .push(Arc::downgrade(&heard));
        listeners.retain(|directory, all| {
            all.retain(|listener| listener.strong_count() > 0);
            if all.is_empty() {
                left.push(Ask::Leave(directory.clone()));
            }
            !all.is_empty()
        });
        drop(listeners);
        let asks = self.asks.get_or_init(|| begin(Arc::clone(&self.listeners)));
        left.push(Ask::Watch(directory.to_owned()));
        for ask in left {
            // Without the thread there is nothing to hear.
            let _ = asks.send(ask);
        }
        Listener {
            directory: directory.to_owned(),
            heard,
        }
    }
}

fn lock(listeners: &Listeners) -> MutexGuard<'_, HashMap<PathBuf, Vec<Weak<Notify>>>> {
    listeners.lock().unwrap_or_else(PoisonError::into_inner)
}

fn begin(listeners: Arc<Listeners>) -> mpsc::Sender<Ask> {
    let (asks, asked) = mpsc::channel();
    let spawned = thread::Builder::new()
        .name("directories".to_owned())
        .spawn(move || serve(listeners, &asked));
    if let Err(error) = spawned {
        tracing::warn!("cannot watch the records of agents, so they are polled: {error}");
    }
    asks
}

fn serve(listeners: Arc<Listeners>, asked: &mpsc::Receiver<Ask>) {
    let watcher = watcher(move |path| {
        if let Some(path) = path {
            tell(&listeners, path);
        }
    });
    let mut watcher = match watcher {
        Ok(watcher) => watcher,
        Err(error) => {
            tracing::warn!("cannot watch the records of agents, so they are polled: {error}");
            return;
        }
    };
    for ask in asked {
        let done = match &ask {
            Ask::Watch(directory) => watcher.watch(directory, RecursiveMode::NonRecursive),
            Ask::Leave(directory) => watcher.unwatch(directory),
        };
        if let Err(error) = done {
            tracing::debug!("a directory is not watched: {error}");
        }
    }
}

/// Wakes those who listen to the directory in which `path` is.
fn tell(listeners: &Listeners, path: &Path) {
    let Some(directory) = path.parent() else {
        return;
    };
    let all = lock(listeners);
    let those = all.get(directory).into_iter().flatten();
    for listener in those.filter_map(Weak::upgrade) {
        listener.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::time::Duration;

    use super::*;

    /// Longer than any of this takes.
    const LONG: Duration = Duration::from_secs(60);

    #[tokio::test]
    async fn what_is_written_is_heard_by_those_who_listen_there() {
        let home = tempfile::tempdir().expect("a directory");
        let (one, other) = (home.path().join("one"), home.path().join("other"));
        fs::create_dir(&one).expect("a directory");
        fs::create_dir(&other).expect("a directory");
        let watch = DirectoryWatch::default();
        let (here, too, there) = (watch.listen(&one), watch.listen(&one), watch.listen(&other));
        assert_eq!(here.directory(), one);
        // The thread may not watch yet, so it is written again until it is heard.
        let writes = async {
            loop {
                fs::write(one.join("record"), "x").expect("a file");
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let hears = async {
            here.changed().await;
            too.changed().await;
        };
        tokio::select! {
            () = writes => {}
            heard = tokio::time::timeout(LONG, hears) => heard.expect("heard"),
        }
        fs::write(other.join("record"), "x").expect("a file");
        let heard = tokio::time::timeout(LONG, there.changed()).await;
        heard.expect("heard");
    }

    #[test]
    fn those_who_are_gone_are_forgotten() {
        let home = tempfile::tempdir().expect("a directory");
        let watch = DirectoryWatch::default();
        drop(watch.listen(&home.path().join("gone")));
        let here = watch.listen(home.path());
        let kept: Vec<PathBuf> = lock(&watch.listeners).keys().cloned().collect();
        assert_eq!(kept, [here.directory()]);
    }

    #[test]
    fn reading_is_no_change() {
        use notify::event::{AccessKind, AccessMode, EventKind, ModifyKind};
        for kind in [
            EventKind::Access(AccessKind::Read),
            EventKind::Access(AccessKind::Open(AccessMode::Write)),
            EventKind::Access(AccessKind::Close(AccessMode::Read)),
        ] {
            assert!(is_reading(kind), "{kind:?}");
        }
        for kind in [
            EventKind::Access(AccessKind::Close(AccessMode::Write)),
            EventKind::Modify(ModifyKind::Any),
            EventKind::Any,
        ] {
            assert!(!is_reading(kind), "{kind:?}");
        }
    }
}
