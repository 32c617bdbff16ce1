//! `assigner backup`: copies the queue into a file.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use indicatif::ProgressBar;
use serde_json::json;
use tokio::task::spawn_blocking;

use super::exit::{CommandFailure, Exit};
use super::{Context, ui};
use crate::daemon::Stop;
use crate::store::{self, BackupError, BackupMade, Copied};

/// How long it may take before a person sees how far it is.
const UNTOLD: Duration = Duration::from_secs(1);

/// Copies the queue into a file, also while a daemon and others use it.
///
/// FILE is a database by itself, for you alone, and holds every task with its output and history, but no
/// secret values. `assigner restore FILE` makes it the queue again.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The file to write, outside of the data directory
    file: PathBuf,
    /// Replaces the file if it exists
    #[arg(long)]
    force: bool,
}

pub(super) fn run(context: &Context, args: &Args) -> Result<Exit, CommandFailure> {
    let made = make(context, args)?;
    if context.ui.json {
        let file = ui::path(&args.file);
        let BackupMade { tasks, bytes } = made;
        context
            .ui
            .json(&json!({"file": file, "tasks": tasks, "bytes": bytes}))?;
    } else {
        context.ui.line(&format!(
            "{} in {}: `{}`",
            tasks(made.tasks),
            size(made.bytes),
            ui::clean(&args.file.to_string_lossy())
        ))?;
    }
    Ok(Exit::Done)
}

/// Makes it on a thread of its own. An interrupted one leaves nothing behind.
fn make(context: &Context, args: &Args) -> Result<BackupMade, CommandFailure> {
    let failed =
        |error| CommandFailure::new(Exit::Failed, format!("cannot make a backup: {error}"));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(failed)?;
    let is_interrupted = Arc::new(AtomicBool::new(false));
    let (data, file, force) = (
        context.config.data_dir.clone(),
        args.file.clone(),
        args.force,
    );
    runtime.block_on(async {
        let mut stop = Stop::new().map_err(failed)?;
        let ends = Arc::clone(&is_interrupted);
        let work = spawn_blocking(move || {
            let mut bar = Bar::new("copying");
            store::back_up(&data, &file, force, |copied| {
                bar.show(copied);
                !ends.load(Ordering::Relaxed)
            })
        });
        tokio::pin!(work);
        let made = tokio::select! {
            made = &mut work => made,
            () = stop.wait() => {
                is_interrupted.store(true, Ordering::Relaxed);
                work.await
            }
        };
        let made: Result<BackupMade, BackupError> =
            made.map_err(|error| CommandFailure::new(Exit::Failed, error))?;
        Ok(made?)
    })
}

/// How far work is that may take more than a moment.
pub(super) struct Bar {
    bar: ProgressBar,
    began: Instant,
}

impl Bar {
    pub(super) fn new(doing: &'static str) -> Self {
        Self {
            bar: ui::progress(doing),
            began: Instant::now(),
        }
    }

    pub(super) fn show(&mut self, copied: Copied) {
        if self.began.elapsed() >= UNTOLD {
            self.bar.set_length(copied.of);
            self.bar.set_position(copied.pages);
        }
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

pub(super) fn tasks(count: u64) -> String {
    match count {
        1 => "1 task".to_owned(),
        count => format!("{count} tasks"),
    }
}

/// `36 KB`, `1.5 MB`.
pub(super) fn size(bytes: u64) -> String {
    match bytes {
        0..1_000_000 => format!("{} KB", bytes.div_ceil(1000)),
        1_000_000..1_000_000_000 => format!("{:.1} MB", bytes as f64 / 1e6),
        _ => format!("{:.1} GB", bytes as f64 / 1e9),
    }
}
