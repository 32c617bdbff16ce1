//! What a program printed, and how it ended.

use std::io::{Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::{DEADLINE, assert_calm};

/// The result of a program.
#[derive(Debug)]
pub(crate) struct Output {
    /// Its exit code; `None` if a signal ended it.
    pub(crate) code: Option<i32>,
    /// Every byte of its standard output.
    pub(crate) stdout: Vec<u8>,
    /// Its standard error.
    pub(crate) stderr: String,
}

impl Output {
    /// Returns its standard output as text.
    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.stdout.clone()).expect("text")
    }

    /// Returns its standard output as JSON.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.stdout)
            .unwrap_or_else(|error| panic!("not JSON: {error}: {self:?}"))
    }

    /// Asserts that it exited with 0.
    #[track_caller]
    pub(crate) fn succeeded(self) -> Self {
        assert_eq!(self.code, Some(0), "{}\n{}", self.stderr, self.lossy());
        self
    }

    /// Asserts that it exited with a code, said why in one line, and did not panic.
    #[track_caller]
    pub(crate) fn refused(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{}\n{}", self.stderr, self.lossy());
        assert_calm(&self.stderr);
        let lines = self.stderr.lines().filter(|line| !line.trim().is_empty());
        assert_eq!(lines.count(), 1, "not one line: {}", self.stderr);
        self
    }

    fn lossy(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }
}

/// Waits until a program has ended, and kills it if that takes longer.
pub(crate) fn ends_within(limit: Duration, child: &mut Child, command: &Command) -> ExitStatus {
    let end = Instant::now() + limit;
    loop {
        if let Some(status) = child.try_wait().expect("a child") {
            return status;
        }
        if Instant::now() > end {
            let _ = child.kill();
            let _ = child.wait();
            panic!("{command:?} does not end");
        }
        thread::sleep(Duration::from_millis(2));
    }
}

/// Runs a program to its end, with a deadline.
pub(crate) fn finish(command: &mut Command, input: &[u8]) -> Output {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("a program that starts");
    let mut stdin = child.stdin.take().expect("a pipe");
    let input = input.to_vec();
    // A program that does not read its input may close the pipe.
    let writer = thread::spawn(move || {
        let _ = stdin.write_all(&input);
    });
    let stdout = drain(child.stdout.take().expect("a pipe"));
    let stderr = drain(child.stderr.take().expect("a pipe"));
    let status = ends_within(DEADLINE * 2, &mut child, command);
    writer.join().expect("a writer");
    let stderr = stderr.join().expect("a reader");
    assert!(!status.core_dumped(), "{command:?}");
    Output {
        code: status.code(),
        stdout: stdout.join().expect("a reader"),
        stderr: String::from_utf8_lossy(&stderr).into_owned(),
    }
}

fn drain(mut pipe: impl Read + Send + 'static) -> thread::JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        pipe.read_to_end(&mut bytes).expect("a pipe");
        bytes
    })
}
