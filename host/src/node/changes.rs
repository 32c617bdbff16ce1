//! Tells what has changed in directories, so that nothing has to be polled often. Everything that is
//! told so is found without it as well, only later.

use std::collections::{BTreeSet, HashMap};
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
    /// The thread holds no more than a weak one, so that it ends with this.
    asks: OnceLock<Arc<mpsc::Sender<Ask>>>,
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

fn begin(listeners: Arc<Listeners>) -> Arc<mpsc::Sender<Ask>> {
    let (asks, asked) = mpsc::channel();
    let asks = Arc::new(asks);
    let again = Arc::downgrade(&asks);
    let spawned = thread::Builder::new()
        .name("directories".to_owned())
        .spawn(move || serve(&listeners, &asked, again));
    if let Err(error) = spawned {
        tracing::warn!("cannot watch the records of agents, so they are polled: {error}");
    }
    asks
}

fn serve(listeners: &Arc<Listeners>, asked: &mpsc::Receiver<Ask>, again: Weak<mpsc::Sender<Ask>>) {
    // Directories that are to be watched and are not there: an agent makes its own with its first prompt.
    let missing = Arc::new(Mutex::new(BTreeSet::<PathBuf>::new()));
    let (told, awaited) = (Arc::clone(listeners), Arc::clone(&missing));
    let watcher = watcher(move |path| {
        let Some(path) = path else { return };
        tell(&told, path);
        let awaited = awaited.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(asks) = again.upgrade() {
            for directory in awaited
                .iter()
                .filter(|directory| directory.starts_with(path))
            {
                let _ = asks.send(Ask::Watch(directory.clone()));
            }
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
        match ask {
            Ask::Watch(directory) => {
                let found = watch(&mut watcher, &directory);
                let mut missing = missing.lock().unwrap_or_else(PoisonError::into_inner);
                if found {
                    missing.remove(&directory);
                    drop(missing);
                    // What was written in it since somebody listens is news, too.
                    wake(listeners, &directory);
                } else {
                    missing.insert(directory);
                }
            }
            Ask::Leave(directory) => {
                let mut missing = missing.lock().unwrap_or_else(PoisonError::into_inner);
                missing.remove(&directory);
                drop(missing);
                if let Err(error) = watcher.unwatch(&directory) {
                    tracing::debug!("a directory was not watched: {error}");
                }
            }
        }
    }
}

/// Watches a directory, or else the nearest one above it that is there; returns whether it is.
fn watch(watcher: &mut RecommendedWatcher, directory: &Path) -> bool {
    let mut before = None;
    loop {
        let Err(error) = watcher.watch(directory, RecursiveMode::NonRecursive) else {
            return true;
        };
        let above = directory.ancestors().skip(1).find(|above| above.is_dir());
        // It may have been made meanwhile: once nothing changes any more, what is above it tells.
        if above.is_none() || above == before {
            tracing::debug!("a directory is not watched: {error}");
            return false;
        }
        if let Some(above) = above
            && let Err(error) = watcher.watch(above, RecursiveMode::NonRecursive)
        {
            tracing::debug!("a directory is not watched: {error}");
        }
        before = above;
    }
}

/// Wakes those who listen to the directory in which `path` is.
fn tell(listeners: &Listeners, path: &Path) {
    if let Some(directory) = path.parent() {
        wake(listeners, directory);
    }
}

/// Wakes those who listen to a directory.
fn wake(listeners: &Listeners, directory: &Path) {
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

    #[tokio::test]
    async fn a_directory_that_is_made_later_is_heard_of() {
        let home = tempfile::tempdir().expect("a directory");
        let watch = DirectoryWatch::default();
        let below = home.path().join("projects/one");
        let here = watch.listen(&below);
        // Whenever the thread begins to watch, one of these is heard.
        let writes = async {
            fs::create_dir_all(&below).expect("a directory");
            loop {
                fs::write(below.join("record"), "x").expect("a file");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        tokio::time::sleep(Duration::from_millis(200)).await;
        tokio::select! {
            () = writes => {}
            heard = tokio::time::timeout(LONG, here.changed()) => heard.expect("heard"),
        }
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
