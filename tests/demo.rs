//! The demo leaves nothing behind.

use std::fs;

use crate::harness::{World, assert_calm, text};

#[test]
fn it_ends_well_and_leaves_nothing() {
    let world = World::with_own_cache();
    let output = world.assigner(&["demo"]).succeeded();
    assert_calm(&output.stderr);
    assert!(!output.stdout.is_empty());
    let left: Vec<_> = ["tmp", "work", "home"]
        .iter()
        .flat_map(|dir| fs::read_dir(world.path(dir)).expect("a directory"))
        .map(|entry| entry.expect("an entry").path())
        .collect();
    assert!(left.is_empty(), "{left:?}");
    assert!(!world.data().exists());
    assert_eq!(processes_of(&world), Vec::<String>::new());
}

/// A person who has seen enough presses Ctrl-C.
#[test]
fn interrupted_it_leaves_nothing_too() {
    let world = World::new();
    let mut child = world
        .binary()
        .arg("demo")
        .stdin(std::process::Stdio::null())
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .expect("the demonstration");
    crate::harness::eventually(|| {
        if processes_of(&world).len() >= 4 {
            Ok(())
        } else {
            Err("the demonstration has started nothing".to_owned())
        }
    });
    let pid = i32::try_from(child.id())
        .ok()
        .and_then(rustix::process::Pid::from_raw)
        .expect("a process id");
    rustix::process::kill_process(pid, rustix::process::Signal::INT).expect("a process");
    crate::harness::eventually(|| match child.try_wait().expect("a child") {
        Some(_) => Ok(()),
        None => Err("the demonstration goes on".to_owned()),
    });
    crate::harness::eventually(|| match processes_of(&world) {
        left if left.is_empty() => Ok(()),
        left => Err(format!("left behind: {left:?}")),
    });
    let left: Vec<_> = fs::read_dir(world.path("tmp"))
        .expect("a directory")
        .map(|entry| entry.expect("an entry").path())
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

/// Returns the command lines of the processes that were started in a world.
fn processes_of(world: &World) -> Vec<String> {
    let mark = format!("HOME={}", text(&world.path("home")));
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let environ = fs::read(entry.path().join("environ")).unwrap_or_default();
        if environ
            .split(|byte| *byte == 0)
            .any(|line| line == mark.as_bytes())
        {
            let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
            found.push(String::from_utf8_lossy(&line).replace('\0', " "));
        }
    }
    found
}
