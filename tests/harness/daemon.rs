//! A daemon of a world, which ends with its guard.

use std::path::PathBuf;
use std::process::Child;
use std::{fs, thread};

use super::eventually;
use rustix::process::{Pid, Signal, kill_process, test_kill_process};

/// A daemon that ends when it is dropped.
pub(crate) struct Daemon {
    pub(super) child: Child,
    pub(super) log: PathBuf,
}

impl Daemon {
    /// Returns its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Returns what it has written so far, to standard output and error.
    pub(crate) fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// Waits until its log contains a text.
    pub(crate) fn logs(&self, text: &str) {
        eventually(|| {
            let log = self.log();
            if log.contains(text) {
                Ok(())
            } else {
                Err(format!("the log does not say {text:?}:\n{log}"))
            }
        });
    }

    /// Sends it SIGTERM.
    pub(crate) fn terminate(&self) {
        assert!(signal(self.pid(), Some(Signal::TERM)));
    }

    /// Sends it SIGINT.
    pub(crate) fn interrupt(&self) {
        assert!(signal(self.pid(), Some(Signal::INT)));
    }

    /// Kills it as a crash would.
    pub(crate) fn kill(mut self) {
        self.child.kill().expect("a daemon that runs");
        self.child.wait().expect("its end");
    }

    /// Waits for its end, and returns its exit code.
    pub(crate) fn ends(&mut self) -> Option<i32> {
        let child = &mut self.child;
        eventually(|| match child.try_wait().expect("a child") {
            Some(status) => Ok(status.code()),
            None => Err("the daemon goes on".to_owned()),
        })
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            eprintln!("--- the daemon's log\n{}---", self.log());
        }
    }
}

/// Sends a signal, or only checks if there is none to send, and returns whether the process exists.
pub(super) fn signal(pid: u32, signal: Option<Signal>) -> bool {
    let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) else {
        return false;
    };
    match signal {
        Some(signal) => kill_process(pid, signal).is_ok(),
        None => test_kill_process(pid).is_ok(),
    }
}
