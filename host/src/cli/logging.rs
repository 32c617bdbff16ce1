//! Where this program writes what it does: standard error, and for a daemon a file as well.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, fmt};

use crate::files::rotated::RotatedFile;
use crate::model::text::clean;

/// Returns the log of the daemon of a data directory.
pub(super) fn file(data_dir: &Path) -> PathBuf {
    data_dir.join("logs").join("daemon.log")
}

/// Logs to standard error, as far as `verbose` and `ASSIGNER_LOG` say.
pub(super) fn to_stderr(verbose: u8) {
    begin(verbose, true, None);
}

/// Logs to the file of a data directory, and to standard error unless the daemon has none. So is a panic, which
/// nobody would see otherwise.
pub(super) fn of_daemon(verbose: u8, data_dir: &Path, stderr: bool) {
    let path = file(data_dir);
    begin(verbose, stderr, Some(path.clone()));
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        add(&path, &panic.to_string());
        before(panic);
    }));
}

/// Writes into the file alone why a daemon ends: on standard error, it is told like every error.
pub(super) fn end(data_dir: &Path, why: &str) {
    add(&file(data_dir), why);
}

fn add(path: &Path, why: &str) {
    let line = format!("{} ERROR {}\n", Timestamp::now(), clean(why));
    let _ = RotatedFile::new(path).write_all(line.as_bytes());
}

fn begin(verbose: u8, stderr: bool, file: Option<PathBuf>) {
    let level = match verbose {
        0 => "assigner=info,policy=info",
        1 => "assigner=debug,policy=debug",
        _ => "assigner=trace,policy=trace",
    };
    let filter = EnvFilter::try_from_env("ASSIGNER_LOG").unwrap_or_else(|_| EnvFilter::new(level));
    let colored = anstream::AutoStream::choice(&io::stderr()) != anstream::ColorChoice::Never;
    let stderr = stderr.then(|| {
        fmt::layer()
            .with_writer(io::stderr)
            .with_ansi(colored)
            .with_target(false)
    });
    let file = file.map(|path| {
        let file = RotatedFile::new(&path);
        fmt::layer()
            .with_writer(move || file.clone())
            .with_ansi(false)
            .with_target(false)
    });
    tracing_subscriber::registry()
        .with(filter)
        .with(stderr)
        .with(file)
        .init();
}
