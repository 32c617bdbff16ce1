//! One command instead of three: `send --wait`, `send --follow`, `output --follow`, `wait --any`.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use crate::harness::{Shell, World, eventually};

/// A program that ends with its test.
struct Started(Child);

impl Drop for Started {
    fn drop(&mut self) {
        // It has usually ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl World {
    /// Starts the binary with pipes.
    fn start(&self, args: &[&str]) -> Started {
        let mut command = self.binary();
        command.args(args).stdin(Stdio::null());
        let piped = command.stdout(Stdio::piped()).stderr(Stdio::piped());
        Started(piped.spawn().expect("it starts"))
    }
}

/// Returns the exit code, and what was printed to standard error.
fn end(mut child: Started) -> (Option<i32>, String) {
    let child = &mut child.0;
    let status = child.wait().expect("an end");
    let mut told = String::new();
    let errors = child.stderr.as_mut().expect("a pipe");
    errors.read_to_string(&mut told).expect("text");
    (status.code(), told)
}

#[test]
fn a_task_is_sent_waited_for_and_printed_in_one_command() {
    let world = World::new();
    world.session("one", Shell::Bash);
    let _daemon = world.daemon();
    for (command, output, code) in [
        ("printf 'a\\0b\\r\\n'", &b"a\0b\r\n"[..], 0),
        ("echo half; (exit 42)", b"half\n", 42),
        ("(exit 255)", b"", 255),
    ] {
        for way in ["--wait", "--follow"] {
            let sent = world.assigner(&["send", way, "--shell", "--", command]);
            assert_eq!(sent.stdout, output, "{way} {command}");
            assert_eq!(sent.code, Some(code), "{way} {command}");
            assert!(sent.stderr.contains("queued"), "{}", sent.stderr);
        }
    }
    let sent = world.assigner(&["send", "--wait", "--json", "--shell", "--", "echo x; false"]);
    let json: serde_json::Value = serde_json::from_slice(&sent.stdout).expect("JSON");
    assert_eq!(json["output"], "x\n");
    assert_eq!((sent.code, &json["exit_code"]), (Some(1), &1.into()));
}

#[test]
fn output_is_printed_as_it_grows() {
    let world = World::new();
    world.session("one", Shell::Bash);
    let _daemon = world.daemon();
    let go = world.path("go");
    let command = format!(
        "echo one; while [ ! -e '{}' ]; do sleep 0.05; done; printf two",
        go.display()
    );
    let mut child = world.start(&["send", "--follow", "--shell", "--", &command]);
    let mut out = BufReader::new(child.0.stdout.take().expect("a pipe"));
    let mut line = String::new();
    out.read_line(&mut line).expect("a line");
    assert_eq!(line, "one\n");
    let mut other = world.start(&["output", "-f", "1"]);
    let mut seen = BufReader::new(other.0.stdout.take().expect("a pipe"));
    let mut line = String::new();
    seen.read_line(&mut line).expect("a line");
    assert_eq!(line, "one\n");
    std::fs::write(&go, "").expect("a file");
    for out in [&mut out, &mut seen] {
        let mut rest = String::new();
        out.read_to_string(&mut rest).expect("text");
        assert_eq!(rest, "two");
    }
    assert_eq!(end(child).0, Some(0));
    assert_eq!(end(other).0, Some(0));
    // What has ended is printed at once.
    let printed = world.assigner(&["output", "--follow", "1"]).succeeded();
    assert_eq!(printed.stdout, b"one\ntwo");
}

#[test]
fn whoever_interrupts_a_follower_leaves_the_task() {
    let world = World::new();
    world.session("one", Shell::Bash);
    let _daemon = world.daemon();
    for (number, way) in ["--wait", "--follow"].into_iter().enumerate() {
        let child = world.start(&["send", way, "--shell", "--", "echo there; sleep 600"]);
        let id = number as u64 + 1;
        eventually(|| match world.assigner(&["show", &id.to_string()]).code {
            Some(0) => Ok(()),
            _ => Err("it is not queued".to_owned()),
        });
        world.until(id, "in_progress");
        // It may not have come to its handler yet, and would end as any program does.
        world.eventually(|| match world.output(id).is_empty() {
            false => Ok(()),
            true => Err("nothing is printed".to_owned()),
        });
        let pid = Pid::from_raw(child.0.id().cast_signed()).expect("a process");
        kill_process(pid, Signal::INT).expect("it runs");
        let (code, told) = end(child);
        assert_eq!(code, Some(130), "{way}: {told}");
        let says = format!("task {id} goes on: `assigner output --follow {id}`");
        assert!(told.contains(&says), "{way}: {told}");
        assert_eq!(world.show(id)["status"], "in_progress");
        world.assigner(&["cancel", &id.to_string()]).succeeded();
        world.until(id, "cancelled");
    }
}

#[test]
fn a_secret_is_not_followed_and_a_retry_is_told() {
    let world = World::new();
    world.session("one", Shell::Bash);
    let _daemon = world.daemon();
    let mut command = world.binary();
    command.env("TOKEN", "s3cret-value").args([
        "send",
        "--follow",
        "--shell",
        "--secret-env",
        "TOKEN",
        "--",
        "echo \"<$TOKEN>\"",
    ]);
    let said = command.output().expect("it runs");
    assert_eq!(said.stdout, b"<***>\n");
    // The second try ends at once.
    let go = world.path("go");
    let command = format!(
        "echo try; while [ ! -e '{}' ]; do sleep 0.05; done; false",
        go.display()
    );
    let again = ["send", "--follow", "--shell", "--retries", "1", "--"];
    let mut child = world.start(&[&again[..], &[&command]].concat());
    let mut out = BufReader::new(child.0.stdout.take().expect("a pipe"));
    let mut all = String::new();
    out.read_line(&mut all).expect("a line");
    std::fs::write(&go, "").expect("a file");
    out.read_to_string(&mut all).expect("text");
    assert_eq!(all, "try\ntry\n");
    let (code, told) = end(child);
    assert_eq!(code, Some(1));
    assert!(told.contains("is tried again"), "{told}");
}

#[test]
fn the_first_of_several_is_waited_for() {
    let world = World::new();
    world.session("one", Shell::Bash);
    let _daemon = world.daemon();
    let never = world.shell_with(&["--target", "nowhere"], "true");
    let first = world.shell("true");
    let ids = [never.to_string(), first.to_string()];
    let waited = world
        .assigner(&["wait", "--any", &ids[0], &ids[1]])
        .succeeded();
    assert_eq!(waited.text(), format!("task {first} completed\n"));
    let both = world.assigner(&["wait", "--all", "--any", &ids[0]]);
    both.refused(2);
}

#[test]
fn who_waits_without_a_daemon_is_told() {
    let world = World::new();
    let id = world.shell("true").to_string();
    let waited = world.assigner(&["wait", &id, "--timeout", "1s"]);
    assert!(
        waited.stderr.contains("no daemon is running"),
        "{}",
        waited.stderr
    );
    assert_eq!(waited.code, Some(124));
}
