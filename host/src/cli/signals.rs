//! Signals, noticed between two steps.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::task::Poll;
use std::thread;

use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Returns what becomes true when one of these signals arrives, from now on; after that, `then` is called on
/// a thread of its own. If the system refuses, a signal ends this program as it ends any other.
pub(super) fn noticed(
    kinds: &[SignalKind],
    then: impl FnOnce() + Send + 'static,
) -> Arc<AtomicBool> {
    let told = Arc::new(AtomicBool::new(false));
    let tell = Arc::clone(&told);
    // It begins before the signals do nothing by themselves any more.
    let (give, take) = mpsc::channel::<(Runtime, Vec<Signal>)>();
    let begun = thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || {
            let Ok((runtime, mut signals)) = take.recv() else {
                return;
            };
            runtime.block_on(std::future::poll_fn(|context| {
                let mut all = signals.iter_mut();
                match all.any(|signal| signal.poll_recv(context).is_ready()) {
                    true => Poll::Ready(()),
                    false => Poll::Pending,
                }
            }));
            tell.store(true, Ordering::Relaxed);
            then();
        });
    if begun.is_ok()
        && let Ok(listening) = listen(kinds)
    {
        let _ = give.send(listening);
    }
    told
}

fn listen(kinds: &[SignalKind]) -> io::Result<(Runtime, Vec<Signal>)> {
    let runtime = Builder::new_current_thread().enable_io().build()?;
    let signals = {
        let _within = runtime.enter();
        let signals = kinds.iter().map(|kind| signal(*kind));
        signals.collect::<io::Result<Vec<Signal>>>()?
    };
    Ok((runtime, signals))
}
