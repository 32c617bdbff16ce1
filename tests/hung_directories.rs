//! Directories on file systems that do not answer: they delay whatever names them, for a moment,
//! and nothing else.
//!
//! The file system is a FUSE file system that the test serves itself, until it stops answering. A
//! program that waits for such an answer cannot even be killed, which is the worst case.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

use crate::harness::{Shell, World, eventually, text};
use assigner_needs::needs;

/// How long a command may take that waits two seconds for a directory, on a machine that does other
/// things.
const SOON: Duration = Duration::from_secs(15);

/// An empty directory that answers until it is told not to.
struct Mount {
    path: PathBuf,
    answers: Arc<AtomicBool>,
}

impl Mount {
    fn new(path: PathBuf) -> Self {
        fs::create_dir_all(&path).expect("a directory");
        let device = File::options().read(true).write(true).open("/dev/fuse");
        let device = device.expect("FUSE");
        let mounted = Command::new("mount")
            .args(["-i", "-t", "fuse", "-o"])
            .arg("fd=0,rootmode=40000,user_id=0,group_id=0")
            .arg("dead")
            .arg(&path)
            .stdin(device.try_clone().expect("a second handle"))
            .stderr(Stdio::null())
            .status();
        let mounted = mounted.expect("mount");
        assert!(mounted.success(), "FUSE cannot be mounted");
        let answers = Arc::new(AtomicBool::new(true));
        let asked = Arc::clone(&answers);
        thread::spawn(move || serve(device, &asked));
        // If a test waits for it in vain, it should fail and not hang.
        let late = path.clone();
        thread::spawn(move || {
            thread::sleep(Duration::from_secs(120));
            unmount(&late);
        });
        Self { path, answers }
    }

    fn stop_answering(&self) {
        self.answers.store(false, Ordering::SeqCst);
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        unmount(&self.path);
    }
}

/// Everything that waits for the file system gets an error.
fn unmount(path: &Path) {
    for way in ["-f", "-l"] {
        let _ = Command::new("umount")
            .arg(way)
            .arg(path)
            .stderr(Stdio::null())
            .status();
    }
}

/// Answers the kernel's questions about an empty directory.
fn serve(mut device: File, answers: &AtomicBool) {
    const LOOKUP: u32 = 1;
    const GETATTR: u32 = 3;
    const INIT: u32 = 26;
    /// These expect no answer: something is forgotten, or is over.
    const SILENT: [u32; 4] = [2, 36, 38, 42];
    let mut request = vec![0; 256 << 10];
    while let Ok(length) = device.read(&mut request) {
        let number = |at: usize| u32::from_le_bytes(request[at..at + 4].try_into().expect("four"));
        if length < 40 || SILENT.contains(&number(4)) || !answers.load(Ordering::SeqCst) {
            continue;
        }
        let mut reply = Vec::new();
        let mut words = |words: &[u32]| {
            reply.extend(words.iter().flat_map(|word| word.to_le_bytes()));
        };
        let error = match number(4) {
            INIT => {
                // Version 7.31; no flags; requests of 64 KiB; time stamps in nanoseconds.
                words(&[7, 31, 65536, 0, 0, 65536, 1, 0, 0]);
                words(&[0; 7]);
                0
            }
            GETATTR => {
                // Nothing may be cached: each look asks again.
                words(&[0; 4]);
                words(&[1, 0]);
                words(&[0; 16]);
                // A directory that anybody may enter, with two links.
                words(&[0o40_755, 2, 0, 0, 0, 4096, 0]);
                words(&[0]);
                0
            }
            LOOKUP => -2,
            _ => -38,
        };
        let body = if error == 0 { reply } else { Vec::new() };
        let size = u32::try_from(16 + body.len()).expect("small");
        let mut answer = size.to_le_bytes().to_vec();
        answer.extend(i32::to_le_bytes(error));
        answer.extend(&request[8..16]);
        answer.extend(body);
        let _ = device.write_all(&answer);
    }
}

#[needs(fuse)]
#[test]
fn a_command_says_which_directory_does_not_answer_and_ends() {
    let world = World::new();
    let mount = Mount::new(world.path("dead"));
    let dead = text(&mount.path);
    let around = format!("{dead}/../dead");
    let waiting = world.shell_with(&["-w", &dead], "true").to_string();
    let other = world.shell("true").to_string();
    mount.stop_answering();
    let line = json!({"content": "true", "shell": true, "working_dir": dead}).to_string();
    let batch = world.path("work/batch");
    fs::write(&batch, line).expect("written");
    let batch = text(&batch);
    for args in [
        ["send", "--shell", "true", "-w", &dead].as_slice(),
        &["send", "--shell", "true", "-w", &around],
        &["send", "--batch", &batch],
        &["edit", &other, "-w", &dead],
        &["edit", &other, "-w", &around],
        &["sessions", "--dir", &dead],
    ] {
        let began = Instant::now();
        let output = world.assigner(args).refused(1);
        assert!(began.elapsed() < SOON, "{args:?}: {:?}", began.elapsed());
        assert!(output.stderr.contains("dead"), "{}", output.stderr);
        assert!(
            output.stderr.contains("has not answered"),
            "{}",
            output.stderr
        );
    }
    assert_eq!(world.json(&["list"]).as_array().map(Vec::len), Some(2));
    assert_eq!(world.json(&["show", &other])["working_dir"], json!(null));
    // An existing task can still be explained, reassigned and ended.
    let explained = world.assigner(&["explain", &waiting]).succeeded();
    assert!(
        explained.stderr.contains("has not answered"),
        "{explained:?}"
    );
    world
        .assigner(&["reassign", &waiting, "--to", "x"])
        .succeeded();
    world.assigner(&["cancel", &waiting]).succeeded();
}

#[needs(fuse)]
#[test]
fn a_command_that_waits_for_a_directory_ends_when_it_is_told_to() {
    let world = World::new();
    let mount = Mount::new(world.path("dead"));
    mount.stop_answering();
    for signal in [Signal::TERM, Signal::INT] {
        // On a busy machine it may end by itself before it is told to.
        let told = (0..20).any(|_| is_ended_by(&world, &mount.path, signal));
        assert!(told, "it never waited until it was told to end");
    }
}

/// Sends a task into a directory that does not answer, and ends that while it waits. Returns whether
/// it still waited.
fn is_ended_by(world: &World, directory: &Path, signal: Signal) -> bool {
    let mut child = world
        .binary()
        .args(["send", "--shell", "true", "-w", &text(directory)])
        .stderr(Stdio::null())
        .spawn()
        .expect("it starts");
    // By now it waits, or is about to.
    thread::sleep(Duration::from_millis(500));
    if child.try_wait().expect("a child").is_some() {
        return false;
    }
    kill_process(Pid::from_child(&child), signal).expect("it was not reaped");
    let told = Instant::now();
    let status = eventually(|| match child.try_wait().expect("a child") {
        Some(status) => Ok(status),
        None => Err("it goes on".to_owned()),
    });
    if status.code().is_some() {
        return false;
    }
    assert_eq!(status.signal(), Some(signal.as_raw()), "{status:?}");
    assert!(
        told.elapsed() < Duration::from_secs(1),
        "{:?}",
        told.elapsed()
    );
    true
}

#[needs(fuse)]
#[test]
fn a_session_in_a_dead_directory_holds_up_no_other() {
    let world = World::new();
    let mount = Mount::new(world.path("dead"));
    let dead = text(&mount.path);
    let (here, there) = (world.mkdir("work/here"), world.mkdir("work/there"));
    world.session_in("dead", Shell::Bash, &dead);
    let other = world.session_in("other", Shell::Bash, &here);
    let daemon = world.daemon();
    let stands = |name: &str, directory: &str| {
        world.eventually(|| match world.session_entry(name) {
            Some(session) if session["current_dir"] == directory => Ok(()),
            seen => Err(format!("{name} does not stand in {directory}: {seen:?}")),
        });
    };
    world.session_is("other", "idle");
    stands("dead", &dead);
    world.assigner(&["pause", "other"]).succeeded();
    let doomed = world.shell_with(&["--target", "other", "-w", &dead], "true");
    mount.stop_answering();
    // Both ways, so that one change happens after the daemon has noticed.
    for directory in [&there, &here, &there] {
        other.line(&format!("cd {directory}"));
        stands("other", directory);
        stands("dead", &dead);
    }
    // Nor does a task that names it.
    world.assigner(&["resume", "other"]).succeeded();
    let failed = world.settled(doomed);
    assert_eq!(failed["status"], "failed", "{failed:#}");
    assert!(failed["error"].to_string().contains(&dead), "{failed:#}");
    for directory in [&here, &there] {
        let options = ["-w", directory, "--target", "other"];
        world.completed(world.shell_with(&options, "pwd"));
    }
    world.assigner(&["stop"]).succeeded();
    // Only now can its threads end.
    drop(mount);
    drop(daemon);
}
