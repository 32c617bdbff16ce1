//! macOS: libproc, and the `sysinfo` crate for what that does not offer.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use libproc::bsd_info::BSDInfo;
use libproc::proc_pid::{name, pidinfo, pidpath};
use libproc::task_info::TaskInfo;
use sysinfo::{Pid, ProcessRefreshKind, ProcessesToUpdate, System, UpdateKind};

use super::{Directory, SystemProcess};

/// `SZOMB` and `SSTOP` of `sys/proc.h`.
const ZOMBIE: u32 = 5;
const STOPPED: u32 = 4;

fn info(pid: u32) -> Option<BSDInfo> {
    pidinfo::<BSDInfo>(i32::try_from(pid).ok()?, 0).ok()
}

/// Returns the file name of a process's program, and the process's own name.
pub(super) fn program(pid: u32) -> Option<(String, String)> {
    let number = i32::try_from(pid).ok()?;
    let name = name(number).ok()?;
    let program = pidpath(number)
        .ok()
        .and_then(|path| path.rsplit('/').next().map(str::to_owned))
        .unwrap_or_else(|| name.clone());
    Some((program, name))
}

/// Returns the file that a process runs.
pub(super) fn executable(pid: u32) -> Option<PathBuf> {
    pidpath(i32::try_from(pid).ok()?).ok().map(PathBuf::from)
}

/// Returns what is known about a process. `None` if it has ended.
pub(super) fn process(pid: u32) -> Option<SystemProcess> {
    let info = info(pid)?;
    (info.pbi_status != ZOMBIE).then_some(SystemProcess {
        group: info.pbi_pgid,
        foreground: (info.e_tpgid > 0).then_some(info.e_tpgid),
        stopped: info.pbi_status == STOPPED,
        began: info.pbi_start_tvsec * 1_000_000 + info.pbi_start_tvusec,
        image: 0,
    })
}

/// Returns the time of a process's start, in seconds since 1970, for this count of its start.
pub(super) fn second(began: u64) -> Option<i64> {
    i64::try_from(began / 1_000_000).ok()
}

/// Returns the words of a process's command line.
pub(super) fn words(pid: u32) -> Vec<String> {
    let system = look(
        pid,
        ProcessRefreshKind::nothing().with_cmd(UpdateKind::Always),
    );
    let words = system
        .process(Pid::from_u32(pid))
        .map(sysinfo::Process::cmd)
        .unwrap_or_default();
    words
        .iter()
        .map(|word| word.to_string_lossy().into_owned())
        .collect()
}

/// Returns the children of a process.
pub(super) fn children(pid: u32) -> Vec<u32> {
    use libproc::processes::{ProcFilter, pids_by_type};
    pids_by_type(ProcFilter::ByParentProcess { ppid: pid }).unwrap_or_default()
}

/// macOS reports open files only one by one: transcripts are found by their content.
pub(super) fn open_files(_pid: u32) -> Vec<PathBuf> {
    Vec::new()
}

/// macOS reports open files only one by one: what reads the terminal is known by its modes alone.
pub(super) fn reads_terminal(_pid: u32) -> bool {
    false
}

/// macOS does not tell what a process waits for.
pub(super) fn reads_a_line(_pid: u32) -> Result<bool, String> {
    Err("macOS does not report what a shell without line editing is waiting for".to_owned())
}

fn look(pid: u32, kind: ProcessRefreshKind) -> System {
    let mut system = System::new();
    system.refresh_processes_specifics(ProcessesToUpdate::Some(&[Pid::from_u32(pid)]), false, kind);
    system
}

/// Returns how often a process has given up the processor.
pub(super) fn waits(pid: u32) -> Option<u64> {
    let info = pidinfo::<TaskInfo>(i32::try_from(pid).ok()?, 0).ok()?;
    u64::try_from(info.pti_csw).ok()
}

/// Returns the directory of a process.
pub(super) fn working_directory(pid: u32) -> Option<PathBuf> {
    let system = look(
        pid,
        ProcessRefreshKind::nothing().with_cwd(UpdateKind::Always),
    );
    let process = system.process(Pid::from_u32(pid))?;
    process.cwd().map(Path::to_owned)
}

/// Returns what that path means: a directory, or one that was deleted.
pub(super) fn directory_at(path: PathBuf) -> Directory {
    if path.exists() {
        Directory::At(path)
    } else {
        Directory::Deleted(path)
    }
}

/// macOS does not support this: the process ends when its input does.
pub(super) fn end_with_parent() {}

/// Returns the variables `names` that a process was started with.
pub(super) fn environment(pid: u32, names: &BTreeSet<String>) -> BTreeMap<String, String> {
    let mut found = whole_environment(pid);
    found.retain(|name, _| names.contains(name));
    found
}

/// Returns all variables that a process was started with.
pub(super) fn whole_environment(pid: u32) -> BTreeMap<String, String> {
    let system = look(
        pid,
        ProcessRefreshKind::nothing().with_environ(UpdateKind::Always),
    );
    let entries = system
        .process(Pid::from_u32(pid))
        .map(sysinfo::Process::environ)
        .unwrap_or_default();
    entries
        .iter()
        .filter_map(|entry| {
            let (name, value) = entry.to_str()?.split_once('=')?;
            Some((name.to_owned(), value.to_owned()))
        })
        .collect()
}
