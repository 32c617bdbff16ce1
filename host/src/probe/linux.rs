//! Linux: `/proc`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use procfs::process::{Process as Proc, Stat};

use super::{Directory, SystemProcess};

/// The number of the system call `read`.
const READ: Option<u64> = if cfg!(target_arch = "x86_64") {
    Some(0)
} else if cfg!(any(target_arch = "aarch64", target_arch = "riscv64")) {
    Some(63)
} else if cfg!(any(target_arch = "x86", target_arch = "arm")) {
    Some(3)
} else {
    None
};

/// The suffix that the kernel adds to the path of something that was removed.
const DELETED: &str = " (deleted)";

fn open(pid: u32) -> Option<Proc> {
    Proc::new(i32::try_from(pid).ok()?).ok()
}

/// Returns the file name of a process's program, and the process's own name.
pub(super) fn program(pid: u32) -> Option<(String, String)> {
    let process = open(pid)?;
    let name = process.stat().ok()?.comm;
    let program = process
        .exe()
        .ok()
        .and_then(|path| path.file_name()?.to_str().map(str::to_owned));
    // An upgrade removes the file of a running program.
    let program = program.map_or_else(
        || name.clone(),
        |program| program.strip_suffix(DELETED).unwrap_or(&program).to_owned(),
    );
    Some((program, name))
}

/// Returns the file that a process runs. An upgrade removes the file of a running program.
pub(super) fn executable(pid: u32) -> Option<PathBuf> {
    let path = open(pid)?.exe().ok()?;
    let is_deleted = path.to_str().is_some_and(|path| path.ends_with(DELETED));
    (!is_deleted).then_some(path)
}

/// Returns what is known about a process. `None` if it has ended.
pub(super) fn process(pid: u32) -> Option<SystemProcess> {
    described(&open(pid)?.stat().ok()?)
}

/// Returns what the kernel says about a process. `None` if it has ended.
pub(super) fn described(stat: &Stat) -> Option<SystemProcess> {
    if matches!(stat.state, 'Z' | 'X' | 'x') {
        return None;
    }
    Some(SystemProcess {
        group: u32::try_from(stat.pgrp).ok()?,
        foreground: u32::try_from(stat.tpgid).ok().filter(|&group| group > 0),
        stopped: matches!(stat.state, 'T' | 't'),
        began: stat.starttime,
        image: stat.startstack,
    })
}

/// Returns the time of a process's start, in seconds since 1970, for this count of its start.
pub(super) fn second(began: u64) -> Option<i64> {
    // If the clock has been set since, this value has moved with it.
    let boot = procfs::boot_time_secs().ok()?;
    i64::try_from(boot + began / procfs::ticks_per_second()).ok()
}

/// Returns the words of a process's command line.
pub(super) fn words(pid: u32) -> Vec<String> {
    open(pid)
        .and_then(|process| process.cmdline().ok())
        .unwrap_or_default()
}

/// Returns the children of a process, whichever of its threads started them.
pub(super) fn children(pid: u32) -> Vec<u32> {
    let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else {
        return Vec::new();
    };
    let lists = threads
        .flatten()
        .filter_map(|thread| fs::read_to_string(thread.path().join("children")).ok());
    let parse = |list: String| -> Vec<u32> {
        let numbers = list.split_ascii_whitespace();
        numbers.filter_map(|number| number.parse().ok()).collect()
    };
    lists.flat_map(parse).collect()
}

/// Returns the files that a process has open.
pub(super) fn open_files(pid: u32) -> Vec<PathBuf> {
    let Ok(files) = fs::read_dir(format!("/proc/{pid}/fd")) else {
        return Vec::new();
    };
    let targets = files
        .flatten()
        .take(4_096)
        .filter_map(|file| fs::read_link(file.path()).ok());
    targets.filter(|target| target.is_absolute()).collect()
}

/// Whether a process has opened its terminal by the general name `/dev/tty`, which a process that
/// was merely left running does not need.
pub(super) fn reads_terminal(pid: u32) -> bool {
    let files = open_files(pid);
    files.iter().any(|path| path == Path::new("/dev/tty"))
}

/// Returns whether a process waits for a line on its standard input: in a `read` of more than the
/// one byte that the builtin `read` takes at a time.
///
/// # Errors
/// Why the kernel does not tell, in words.
pub(super) fn reads_a_line(pid: u32) -> Result<bool, String> {
    let read = READ.ok_or("the kernel's answer cannot be interpreted on this processor")?;
    let call = fs::read_to_string(format!("/proc/{pid}/syscall")).map_err(|error| {
        format!(
            "the kernel does not report what a shell without line editing is waiting for: {error}"
        )
    })?;
    Ok(is_read_of_a_line(&call, read))
}

pub(super) fn is_read_of_a_line(call: &str, read: u64) -> bool {
    let mut words = call.split_ascii_whitespace();
    let number = words.next().and_then(|word| word.parse::<u64>().ok());
    let mut arguments =
        words.map(|word| u64::from_str_radix(word.trim_start_matches("0x"), 16).ok());
    let (descriptor, _, size) = (arguments.next(), arguments.next(), arguments.next());
    number == Some(read)
        && descriptor == Some(Some(0))
        && size.flatten().is_some_and(|size| size > 1)
}

/// Returns how often a process has given up the processor voluntarily.
pub(super) fn waits(pid: u32) -> Option<u64> {
    open(pid)?.status().ok()?.voluntary_ctxt_switches
}

/// Returns the link for a process's directory.
pub(super) fn working_directory(pid: u32) -> Option<PathBuf> {
    open(pid)?.cwd().ok()
}

/// Returns what that link means.
pub(super) fn directory_at(path: PathBuf) -> Directory {
    match path.to_str().and_then(|text| text.strip_suffix(DELETED)) {
        // A directory may really have such a name.
        Some(before) if !path.exists() => Directory::Deleted(Path::new(before).to_owned()),
        _ => Directory::At(path),
    }
}

/// Returns the variables `names` that a process was started with.
pub(super) fn environment(pid: u32, names: &BTreeSet<String>) -> BTreeMap<String, String> {
    let mut found = whole_environment(pid);
    found.retain(|name, _| names.contains(name));
    found
}

/// Returns all variables that a process was started with.
pub(super) fn whole_environment(pid: u32) -> BTreeMap<String, String> {
    let environment = open(pid).and_then(|process| process.environ().ok());
    let pairs = environment.unwrap_or_default().into_iter();
    pairs
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect()
}

/// Ends this process when the one that started it ends, even if it is stuck in a file system that
/// such a signal can interrupt.
pub(super) fn end_with_parent() {
    let signal = Some(rustix::process::Signal::KILL);
    // If this is refused, the process ends when its input does.
    let _ = rustix::process::set_parent_process_death_signal(signal);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_read_of_one_byte_is_the_builtin() {
        assert!(is_read_of_a_line(
            "0 0x0 0x55e0 0x1fff 0x0 0x0 0x0 0x7ffd 0x7f\n",
            0
        ));
        assert!(!is_read_of_a_line(
            "0 0x0 0x55e0 0x1 0x0 0x0 0x0 0x7ffd 0x7f\n",
            0
        ));
        assert!(!is_read_of_a_line(
            "0 0x3 0x55e0 0x1fff 0x0 0x0 0x0 0x7ffd 0x7f\n",
            0
        ));
        assert!(!is_read_of_a_line(
            "61 0xffffffff 0x7ffd 0x2 0x0 0x0 0x0 0x7f 0x7f\n",
            0
        ));
        assert!(!is_read_of_a_line("running\n", 0));
    }
}
