//! Lines for the host's log. Natively, where there is no host, they go nowhere.

/// Logs a line for somebody who examines the policy.
pub fn debug(message: &str) {
    write(Level::Debug, message);
}

/// Logs a line that says what was done.
pub fn info(message: &str) {
    write(Level::Info, message);
}

/// Logs a line about something that looks wrong but does no harm yet.
pub fn warn(message: &str) {
    write(Level::Warn, message);
}

/// Logs a line about something that went wrong.
pub fn error(message: &str) {
    write(Level::Error, message);
}

/// Sends the message of a panic to the host's log; otherwise the host only learns that there was
/// one.
#[doc(hidden)]
pub fn panics() {
    std::panic::set_hook(Box::new(|panic| error(&panic.to_string())));
}

#[cfg(target_family = "wasm")]
use crate::bindings::assigner::policy::logging::{Level, log as write};

#[cfg(not(target_family = "wasm"))]
enum Level {
    Debug,
    Info,
    Warn,
    Error,
}

#[cfg(not(target_family = "wasm"))]
fn write(_level: Level, _message: &str) {}
