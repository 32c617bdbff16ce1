//! The engine's access to the store: one thread that owns the connection and commits in groups, so
//! that no blocking SQL runs on the async threads and many small writes share one `fsync`.

use std::collections::VecDeque;
use std::sync::mpsc;
use std::thread;

use tokio::sync::oneshot;

use super::db::Durability;
use super::{Store, StoreError};

/// At most this many operations share a transaction, so that a reader does not wait for long.
const GROUP: usize = 256;

/// An operation, and how it is to be kept. Without a store it is not done.
type LedgerCall = (
    Durability,
    Box<dyn FnOnce(Option<&mut Store>) -> CallReply + Send>,
);
/// Passes the result of its operation to the caller, given whether the group was committed.
type CallReply = Box<dyn FnOnce(bool) + Send>;

/// A handle to the thread, shared by its clones. The thread ends when the last handle is dropped.
#[derive(Clone)]
pub struct Ledger {
    jobs: mpsc::Sender<LedgerCall>,
    /// In tests, a store without a thread, so that a run is reproducible.
    #[cfg(test)]
    here: Option<std::sync::Arc<Here>>,
}

/// A store that is used on the caller's own thread.
#[cfg(test)]
pub(crate) struct Here {
    store: std::sync::Mutex<Store>,
    /// Called before and after each operation: whether the caller gets the result.
    lives: Box<dyn Fn() -> bool + Send + Sync>,
}

impl Ledger {
    /// Starts the thread that owns `store`.
    ///
    /// # Errors
    /// The system cannot start another thread.
    pub fn start(mut store: Store) -> std::io::Result<Self> {
        let (jobs, queue) = mpsc::channel::<LedgerCall>();
        thread::Builder::new()
            .name("ledger".to_owned())
            .spawn(move || {
                let mut next = None;
                while let Some(first) = next.take().or_else(|| queue.recv().ok()) {
                    let mut group: VecDeque<LedgerCall> = VecDeque::from([first]);
                    group.extend(queue.try_iter().take(GROUP - 1));
                    let kept = group.iter().map(|(kept, _)| *kept).max();
                    let kept = kept.unwrap_or(Durability::AtOnce);
                    let mut replies = Vec::new();
                    let committed = store
                        .group_kept(kept, |store| {
                            while let Some((_, job)) = group.pop_front() {
                                replies.push(job(Some(store)));
                                if group.is_empty() && replies.len() < GROUP {
                                    // What has come meanwhile, unless it must be kept better.
                                    match queue.try_recv() {
                                        Ok(call) if call.0 <= kept => group.push_back(call),
                                        call => next = call.ok(),
                                    }
                                }
                            }
                        })
                        .inspect_err(|error| tracing::error!("cannot commit: {error}"))
                        .is_ok();
                    // Where no transaction could be begun.
                    replies.extend(group.into_iter().map(|(_, job)| job(None)));
                    for reply in replies {
                        reply(committed);
                    }
                }
            })?;
        Ok(Self {
            jobs,
            #[cfg(test)]
            here: None,
        })
    }

    /// Uses `store` on the caller's own thread. Once `lives` returns false, no caller gets a result
    /// any more, as if the process had been killed before an operation, or right after it.
    #[cfg(test)]
    pub(crate) fn here(store: Store, lives: impl Fn() -> bool + Send + Sync + 'static) -> Self {
        let here = Here {
            store: std::sync::Mutex::new(store),
            lives: Box::new(lives),
        };
        Self {
            jobs: mpsc::channel().0,
            here: Some(std::sync::Arc::new(here)),
        }
    }

    /// Runs `work` on the store and returns its result once its changes are on disk.
    ///
    /// # Errors
    /// The error of `work`, or [`StoreError::NotCommitted`] if its transaction failed.
    pub async fn run<R: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Store) -> Result<R, StoreError> + Send + 'static,
    ) -> Result<R, StoreError> {
        self.call(Durability::AtOnce, work).await
    }

    /// Runs `work` on the store and returns its result once everyone sees its changes. They are on disk
    /// before any change that [`Ledger::run`] makes later; if the power fails until then, they are lost. For
    /// what is found out anew then: what a session is like, what was decided and not begun, what a job's own
    /// files tell.
    ///
    /// # Errors
    /// As for [`Ledger::run`].
    pub async fn run_lightly<R: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Store) -> Result<R, StoreError> + Send + 'static,
    ) -> Result<R, StoreError> {
        self.call(Durability::Soon, work).await
    }

    async fn call<R: Send + 'static>(
        &self,
        kept: Durability,
        work: impl FnOnce(&mut Store) -> Result<R, StoreError> + Send + 'static,
    ) -> Result<R, StoreError> {
        #[cfg(test)]
        if let Some(here) = &self.here {
            if !(here.lives)() {
                return std::future::pending().await;
            }
            let done = {
                let mut store = here
                    .store
                    .lock()
                    .unwrap_or_else(std::sync::PoisonError::into_inner);
                work(&mut store)
            };
            if !(here.lives)() {
                return std::future::pending().await;
            }
            return done;
        }
        let (tell, told) = oneshot::channel();
        let job = move |store: Option<&mut Store>| -> CallReply {
            let result = store.map_or(Err(StoreError::NotCommitted), work);
            Box::new(move |committed| {
                let result = if committed {
                    result
                } else {
                    Err(StoreError::NotCommitted)
                };
                // The caller may no longer exist; its operation is complete all the same.
                let _ = tell.send(result);
            })
        };
        self.jobs
            .send((kept, Box::new(job)))
            .map_err(|_| StoreError::Stopped)?;
        told.await.map_err(|_| StoreError::Stopped)?
    }
}
