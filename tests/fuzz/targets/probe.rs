//! What `/proc`, repositories and packages say.

use procfs::FromRead;
use procfs::process::Stat;

use super::{git, linux, version};
use crate::fuzz::FuzzTarget;

/// The targets of this module.
pub(crate) const TARGETS: &[FuzzTarget] = &[
    FuzzTarget {
        name: "process_state",
        seeds: &[],
        run: process_state,
    },
    FuzzTarget {
        name: "waiting_call",
        seeds: &[],
        run: waiting_call,
    },
    FuzzTarget {
        name: "package",
        seeds: &[],
        run: package,
    },
    FuzzTarget {
        name: "repository",
        seeds: &[],
        run: git::fuzz::repository,
    },
];

/// Whatever a process calls itself, its groups are the ones that the kernel tells.
fn process_state(data: &[u8]) {
    // The kernel keeps 15 bytes, and writes a line end as an escape.
    let name: Vec<u8> = data
        .iter()
        .copied()
        .filter(|byte| !b"\0\n".contains(byte))
        .take(15)
        .collect();
    let mut line = b"77 (".to_vec();
    line.extend_from_slice(&name);
    line.extend_from_slice(b") T 1 78 79 34816 80 4194560 1 2 0 0 1 2 0 0 20 0 1 0 4242 9 9");
    line.extend_from_slice(
        b" 18446744073709551615 1 1 140 0 0 0 0 0 0 0 0 0 17 1 0 0 0 0 0 1 1 1 1 1 1 1 0\n",
    );
    let stat = Stat::from_read(line.as_slice()).expect("a line of the kernel's");
    let process = linux::described(&stat).expect("a process that has not ended");
    assert_eq!((process.group, process.foreground), (78, Some(80)));
    assert_eq!((process.began, process.image), (4242, 140));
    assert!(process.stopped);
}

/// Only a read of more than one byte from standard input is one of a line.
fn waiting_call(data: &[u8]) {
    let call = String::from_utf8_lossy(data);
    if linux::is_read_of_a_line(&call, 0) {
        let words: Vec<&str> = call.split_ascii_whitespace().collect();
        let number = |index: usize| {
            let word = words[index].trim_start_matches("0x");
            u64::from_str_radix(word, 16).expect("a number")
        };
        assert_eq!(words[0].parse(), Ok(0_u64));
        assert_eq!(number(1), 0);
        assert!(number(3) > 1);
    }
}

/// A version that a package tells is short, and one.
fn package(data: &[u8]) {
    if let Some(version) = version::of_description(data) {
        assert!(version.len() <= 64);
        assert!(!version.contains(char::is_control));
        assert!(semver::Version::parse(&version).is_ok(), "{version}");
    }
}
