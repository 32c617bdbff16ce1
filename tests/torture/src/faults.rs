//! Kills, stops and starves what the tasks need.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use assigner_conformance::journal::now;
use assigner_conformance::world::{Place, World};
use fastrand::Rng;
use rustix::process::{Pid, Signal, kill_process};

use crate::blows::{Blow, Blows, Fault, Victim};
use crate::sender::Sending;
use crate::sessions::{Pane, Seats, panes};

/// How often each fault of the machinery happens, compared with the others.
const WEIGHTS: [(Fault, u32); 9] = [
    (Fault::DaemonKilled, 6),
    (Fault::ReaderKilled, 6),
    (Fault::ShellKilled, 4),
    (Fault::SessionKilled, 3),
    (Fault::ServerKilled, 1),
    (Fault::ServerStopped, 2),
    (Fault::DiskFull, 2),
    (Fault::CtrlC, 5),
    (Fault::AgentKilled, 2),
];

/// The faults of which every other one comes when a task has just been queued, and is claimed, typed and
/// begun.
const AIMED: [Fault; 5] = [
    Fault::DaemonKilled,
    Fault::ShellKilled,
    Fault::ServerKilled,
    Fault::ServerStopped,
    Fault::CtrlC,
];

/// It comes at most this long after that, in microseconds.
const AFTER_SENDING: u64 = 80_000;

/// How long the tmux server is stopped and the disk is full, at most, in milliseconds.
const LONGEST_STOP: u64 = 2_500;
const LONGEST_FULL: u64 = 2_000;

/// How large the disk is when it is not full.
const ROOM: &str = "2g";

/// How late the end of a daemon may be noticed: until then, this may wait for a tmux server that is stopped.
const NOTICED: Duration = Duration::from_secs(5);

/// How the daemon ends if it cannot write.
const GAVE_UP: &str = "(exit status: 5)";

/// How long readers of output are looked for.
const READER_WITHIN: Duration = Duration::from_millis(400);

/// What faults need.
pub struct Faults<'a> {
    /// The world: its daemon and its tmux server.
    pub world: &'a mut World,
    /// Its sessions.
    pub seats: &'a mut Seats,
    /// The small disk that holds the data, if one could be had.
    pub disk: Option<&'a Path>,
    /// Queues tasks, and knows where blows are noted.
    pub sending: Sending<'a>,
    /// How daemons ended that nobody had killed.
    pub ends: Vec<String>,
    /// How many of them ended with an error while the disk was full, as they may.
    pub gave_up: usize,
    /// Until when the disk is full.
    full_until: Option<Instant>,
    /// When the daemon is to be started.
    daemon_due: Option<Instant>,
}

impl<'a> Faults<'a> {
    /// Prepares to disturb a world whose daemon runs.
    pub fn new(
        world: &'a mut World,
        seats: &'a mut Seats,
        disk: Option<&'a Path>,
        sending: Sending<'a>,
    ) -> Self {
        Self {
            world,
            seats,
            disk,
            sending,
            ends: Vec::new(),
            gave_up: 0,
            full_until: None,
            daemon_due: None,
        }
    }

    /// Disturbs for this long.
    ///
    /// # Errors
    ///
    /// The daemon cannot be killed or started.
    pub fn run(&mut self, mut rng: Rng, time: Duration) -> io::Result<()> {
        let begun = Instant::now();
        while begun.elapsed() < time {
            let pause = Duration::from_millis(rng.u64(40..500));
            self.keep_alive(pause)?;
            self.one(&mut rng)?;
        }
        Ok(())
    }

    /// Starts again what is dead, for this long.
    ///
    /// # Errors
    ///
    /// The daemon cannot be started.
    pub fn keep_alive(&mut self, time: Duration) -> io::Result<()> {
        let begun = Instant::now();
        loop {
            self.revive()?;
            let left = time.saturating_sub(begun.elapsed());
            if left.is_zero() {
                return Ok(());
            }
            thread::sleep(left.min(Duration::from_millis(100)));
        }
    }

    fn revive(&mut self) -> io::Result<()> {
        self.seats.mend(self.world);
        match self.daemon_due {
            Some(due) if due <= Instant::now() => {
                self.daemon_due = None;
                self.world.spawn_daemon()
            }
            Some(_) => Ok(()),
            None => {
                if let Err(end) = self.world.check_daemon() {
                    self.ended(end.to_string());
                    self.world.kill_daemon()?;
                    self.daemon_due = Some(Instant::now() + Duration::from_millis(200));
                }
                Ok(())
            }
        }
    }

    /// Notes the end of a daemon that nobody had killed.
    fn ended(&mut self, end: String) {
        let is_full = self
            .full_until
            .is_some_and(|until| Instant::now() < until + NOTICED);
        // An exit code of its own: it was not killed, and did not panic.
        if is_full && end.contains(GAVE_UP) {
            self.gave_up += 1;
        } else {
            self.ends.push(end);
        }
    }

    fn one(&mut self, rng: &mut Rng) -> io::Result<()> {
        let sum = WEIGHTS.iter().map(|(_, weight)| weight).sum();
        let mut at = rng.u32(0..sum);
        let chosen = WEIGHTS.iter().find(|(_, weight)| {
            let is_it = at < *weight;
            at = at.saturating_sub(*weight);
            is_it
        });
        let Some(&(fault, _)) = chosen else {
            return Ok(());
        };
        if rng.bool() && AIMED.contains(&fault) {
            self.sending.send(rng, 1, None);
            thread::sleep(Duration::from_micros(rng.u64(0..AFTER_SENDING)));
        }
        match fault {
            Fault::DaemonKilled => {
                self.sending.blows.strike(fault, Victim::All);
                self.world.kill_daemon()?;
                let after = Duration::from_millis(rng.u64(0..600));
                self.daemon_due = Some(Instant::now() + after);
            }
            Fault::ReaderKilled => kill_reader(self.world.place(), self.sending.blows, rng),
            Fault::ShellKilled => self.kill_process_of(rng, fault, false),
            Fault::AgentKilled => self.kill_process_of(rng, fault, true),
            Fault::SessionKilled => self.on_a_pane(rng, fault, |world, pane, _| {
                let _ = world.tmux(&["kill-session", "-t", &format!("={}", pane.session)]);
            }),
            Fault::CtrlC => self.on_a_pane(rng, fault, |world, pane, rng| {
                for _ in 0..rng.u8(1..10) {
                    let _ = world.tmux(&["send-keys", "-t", &pane.id, "C-c"]);
                    thread::sleep(Duration::from_millis(rng.u64(0..40)));
                }
            }),
            Fault::ServerKilled => {
                if let Some(server) = server(self.world) {
                    self.sending.blows.strike(fault, Victim::All);
                    let _ = kill_process(server, Signal::KILL);
                }
            }
            Fault::ServerStopped => self.stop_server(rng.u64(100..LONGEST_STOP)),
            Fault::DiskFull => self.fill_disk(rng.u64(200..LONGEST_FULL)),
            _ => {}
        }
        Ok(())
    }

    fn on_a_pane(&self, rng: &mut Rng, fault: Fault, act: impl FnOnce(&World, &Pane, &mut Rng)) {
        let panes = panes(self.world.place());
        let Some(pane) = some(&panes, rng) else {
            return;
        };
        let from = now();
        act(self.world, pane, rng);
        let victim = Victim::Session(pane.session.clone());
        self.sending.blows.strike_since(fault, victim, from);
    }

    fn kill_process_of(&self, rng: &mut Rng, fault: Fault, is_agent: bool) {
        let seats = self.seats.all().iter();
        let names = seats.filter(|seat| seat.is_agent == is_agent);
        let names: Vec<&str> = names.map(|seat| &*seat.name).collect();
        let mut panes = panes(self.world.place());
        panes.retain(|pane| !pane.is_dead && names.contains(&&*pane.session));
        let Some(pane) = some(&panes, rng) else {
            return;
        };
        self.sending
            .blows
            .strike(fault, Victim::Session(pane.session.clone()));
        if let Some(pid) = Pid::from_raw(pane.pid) {
            let _ = kill_process(pid, Signal::KILL);
        }
    }

    /// Stops the tmux server. Another thread continues it: until then, this one may wait for it.
    fn stop_server(&self, milliseconds: u64) {
        let Some(server) = server(self.world) else {
            return;
        };
        self.sending.blows.add(Blow {
            fault: Fault::ServerStopped,
            victim: Victim::All,
            from: now(),
            until: now() + milliseconds,
        });
        let _ = kill_process(server, Signal::STOP);
        thread::spawn(move || {
            thread::sleep(Duration::from_millis(milliseconds));
            let _ = kill_process(server, Signal::CONT);
        });
    }

    /// Leaves no room on the disk for a while.
    fn fill_disk(&mut self, milliseconds: u64) {
        let Some(disk) = self.disk.map(Path::to_owned) else {
            return;
        };
        let Some(used) = used_kilobytes(&disk) else {
            return;
        };
        if !resize(&disk, &format!("{used}k")) {
            return;
        }
        self.sending.blows.add(Blow {
            fault: Fault::DiskFull,
            victim: Victim::All,
            from: now(),
            until: now() + milliseconds,
        });
        let time = Duration::from_millis(milliseconds);
        self.full_until = Some(Instant::now() + time);
        thread::spawn(move || {
            thread::sleep(time);
            resize(&disk, ROOM);
        });
    }
}

/// Mounts a small disk there, if that is allowed here.
#[must_use]
pub fn mount(disk: &Path) -> bool {
    let mut command = Command::new("mount");
    command.args(["-t", "tmpfs", "-o"]);
    command.arg(format!("size={ROOM},mode=0700"));
    quietly(command.arg("assigner-torture").arg(disk))
}

/// Gives the disk this size: its room is over if that is what is used.
fn resize(disk: &Path, size: &str) -> bool {
    let mut command = Command::new("mount");
    command.args(["-o", &format!("remount,size={size}")]);
    quietly(command.arg(disk))
}

/// Gives the disk its room again, whatever was done to it.
pub fn make_room(disk: &Path) {
    resize(disk, ROOM);
}

fn quietly(command: &mut Command) -> bool {
    let command = command.stdin(Stdio::null()).stdout(Stdio::null());
    command
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

fn used_kilobytes(disk: &Path) -> Option<u64> {
    let found = rustix::fs::statvfs(disk).ok()?;
    Some((found.f_blocks - found.f_bfree) * found.f_frsize / 1024)
}

fn some<'a, T>(all: &'a [T], rng: &mut Rng) -> Option<&'a T> {
    (!all.is_empty()).then(|| &all[rng.usize(..all.len())])
}

fn server(world: &World) -> Option<Pid> {
    let text = world.tmux(&["display-message", "-p", "#{pid}"]).ok()?;
    Pid::from_raw(text.trim().parse().ok()?)
}

/// Kills a reader of output, if there is one within a moment.
fn kill_reader(place: &Place, blows: &Blows, rng: &mut Rng) {
    let begun = Instant::now();
    while begun.elapsed() < READER_WITHIN {
        let readers = readers(place.data());
        if let Some(&reader) = some(&readers, rng) {
            blows.strike(Fault::ReaderKilled, Victim::All);
            let _ = kill_process(reader, Signal::KILL);
            return;
        }
        thread::sleep(Duration::from_millis(5));
    }
}

/// Returns the readers of output that write into this data directory.
fn readers(data: &Path) -> Vec<Pid> {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let found = processes.filter_map(|process| {
        let pid: i32 = process.file_name().to_str()?.parse().ok()?;
        let line = fs::read(process.path().join("cmdline")).ok()?;
        let mut words = line.split(|&byte| byte == 0);
        let is_reader = words.nth(1) == Some(b"capture")
            && words.any(|word| PathBuf::from(OsStr::from_bytes(word)).starts_with(data));
        is_reader.then(|| Pid::from_raw(pid)).flatten()
    });
    found.collect()
}
