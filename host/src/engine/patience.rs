//! Patience: looks at file systems on another thread and does not wait for one that gives no answer.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// How long a look may take. A directory on a disk answers in microseconds, one on a network in
/// milliseconds, one on a network that is gone never.
const WITHIN: Duration = Duration::from_millis(500);

/// Keeps one kind of look from holding up the rounds.
#[derive(Debug, Default)]
pub(super) struct Patience {
    /// Set when the look that gave no answer in time has ended.
    stuck: Option<Arc<AtomicBool>>,
}

impl Patience {
    /// Returns what `look` returns; `None`: it has not in time, or an earlier one still has not.
    pub(super) async fn look<R: Send + 'static>(
        &mut self,
        look: impl FnOnce() -> R + Send + 'static,
    ) -> Option<R> {
        if let Some(ended) = &self.stuck {
            if !ended.load(Ordering::Acquire) {
                return None;
            }
            self.stuck = None;
        }
        let ended = Arc::new(AtomicBool::new(false));
        let tell = Arc::clone(&ended);
        let looking = tokio::task::spawn_blocking(move || {
            let seen = look();
            tell.store(true, Ordering::Release);
            seen
        });
        match tokio::time::timeout(WITHIN, looking).await {
            Ok(seen) => seen.ok(),
            Err(_) => {
                tracing::warn!("a file system does not answer; what was known before is used");
                self.stuck = Some(ended);
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn a_look_that_hangs_is_left_behind_until_it_ends() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        runtime.block_on(async {
            let mut patience = Patience::default();
            assert_eq!(patience.look(|| 1).await, Some(1));
            let (release, hangs) = mpsc::channel::<()>();
            assert_eq!(patience.look(move || hangs.recv().is_ok()).await, None);
            // Nothing piles up behind it.
            assert_eq!(patience.look(|| 2).await, None);
            release.send(()).expect("it still hangs");
            let ended = async {
                loop {
                    if let Some(seen) = patience.look(|| 3).await {
                        return seen;
                    }
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            };
            assert_eq!(ended.await, 3);
        });
    }
}
