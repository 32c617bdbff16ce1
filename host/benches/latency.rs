//! How long things take, end to end, on a real tmux server of its own: `cargo bench --bench
//! latency`. Figures are medians and worst cases; there is no pass or fail.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use assigner::daemon::engine::{Engine, Settings};
use assigner::matcher::MatcherSettings;
use assigner::model::session::Activity;
use assigner::node::NodeSettings;
use assigner::node::Spool;
use assigner::policy::{Limits, Policy, PolicyHost};
use assigner::store::{Ledger, Secrets, Store};
use assigner::tmux::{Program, Server, Socket, Tmux};
use jiff::Timestamp;

const BINARY: &str = env!("CARGO_BIN_EXE_assigner");

/// How often each thing is measured.
const LOOKS: usize = 100;

fn main() {
    let place = Place::new();
    place.sessions(1);
    println!("{:<58} {:>9} {:>9}", "", "median", "worst");
    latencies(&place);
    drop(place);
    let place = Place::new();
    place.sessions(100);
    scan(&place);
}

/// From `assigner send` to the job in the shell, and from the job's end to `completed`.
fn latencies(place: &Place) {
    let daemon = place.daemon();
    let mut store = Store::open(&place.data()).expect("a store");
    until(|| {
        let rows = store.sessions().expect("sessions");
        rows.iter().any(|row| row.activity == Activity::Idle)
    });
    let mut process = Vec::new();
    let mut begin = Vec::new();
    let mut end = Vec::new();
    for _ in 0..LOOKS {
        until(|| {
            let rows = store.sessions().expect("sessions");
            rows.iter().all(|row| row.activity != Activity::Busy)
        });
        let sent = since_epoch();
        let output = place
            .assigner(&[
                "send",
                "--shell",
                "printf '%s ' $EPOCHREALTIME; printf '%s' $EPOCHREALTIME",
            ])
            .output()
            .expect("sent");
        let queued = since_epoch();
        let line = String::from_utf8_lossy(&output.stdout).into_owned();
        let id: i64 = line
            .split(' ')
            .nth(1)
            .and_then(|id| id.parse().ok())
            .expect("a number");
        let id = assigner::model::ids::TaskId(id);
        let mut seen = Duration::ZERO;
        until(|| {
            seen = since_epoch();
            store.task(id).expect("the task").status.is_settled()
        });
        let printed = store.output(id).expect("read").expect("output").bytes;
        let printed = String::from_utf8(printed).expect("text");
        let mut times = printed.split(' ').map(|time| {
            let seconds: f64 = time.replace(',', ".").parse().expect("a time");
            Duration::from_secs_f64(seconds)
        });
        let first = times.next().expect("the first");
        let last = times.next().expect("the last");
        process.push(queued - sent);
        begin.push(first.saturating_sub(sent));
        end.push(seen.saturating_sub(last));
    }
    report("`send`, the whole process", process);
    report(
        "from the start of `send` to the job's first act in the shell",
        begin,
    );
    report(
        "from the job's last act to `completed`, read from the queue",
        end,
    );
    drop(daemon);
}

/// One whole round over 100 idle sessions with their context.
fn scan(place: &Place) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let local = tokio::task::LocalSet::new();
    local.block_on(&runtime, async {
        let none = serde_json::json!({});
        let policy = Policy::embedded(&Limits::default(), &none).expect("a policy");
        let store = Store::open(&place.data()).expect("a store");
        let mut engine = Engine::start(
            Server::new(Program::new("tmux", Socket::Path(place.socket()))),
            Ledger::start(store).expect("a ledger"),
            PolicyHost::new(policy.clone(), policy),
            Spool::open(&place.data()).expect("a spool"),
            Secrets::of(&place.data()),
            (
                assigner::agents::Catalog::built_in(),
                assigner::agents::report::Reports::of(&place.data()),
            ),
            Settings {
                node: NodeSettings {
                    program: PathBuf::from(BINARY),
                    output_limit: 1 << 20,
                    start_within: Duration::from_secs(10),
                    attended_for: Duration::ZERO,
                    ..NodeSettings::default()
                },
                matcher: MatcherSettings {
                    host: "bench".to_owned(),
                    ..MatcherSettings::default()
                },
            },
        )
        .await
        .expect("an engine");
        let mut reader = Store::open(&place.data()).expect("a store");
        loop {
            engine.round(Timestamp::now()).await.expect("a round");
            let rows = reader.sessions().expect("sessions");
            let idle = rows
                .iter()
                .filter(|row| row.activity == Activity::Idle)
                .count();
            if idle == 100 {
                break;
            }
        }
        let mut rounds = Vec::new();
        for _ in 0..LOOKS {
            let begin = Instant::now();
            engine.round(Timestamp::now()).await.expect("a round");
            rounds.push(begin.elapsed());
        }
        report("a round over 100 idle sessions, nothing to do", rounds);
        drop(engine);
        let mut server = Server::new(Program::new("tmux", Socket::Path(place.socket())));
        // The first answer comes by a process of its own, then the control client connects.
        for _ in 0..10 {
            server.panes().await.expect("panes");
        }
        let mut lists = Vec::new();
        for _ in 0..LOOKS {
            let begin = Instant::now();
            let panes = server.panes().await.expect("panes");
            assert_eq!(panes.len(), 100);
            lists.push(begin.elapsed());
        }
        report("of that, tmux's list of the 100 panes", lists);
    });
}

fn report(what: &str, mut times: Vec<Duration>) {
    times.sort();
    let median = times[times.len() / 2];
    let worst = times[times.len() - 1];
    println!(
        "{what:<58} {:>6.1} ms {:>6.1} ms",
        median.as_secs_f64() * 1e3,
        worst.as_secs_f64() * 1e3
    );
}

fn since_epoch() -> Duration {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("after 1970")
}

fn until(mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !done() {
        assert!(Instant::now() < deadline, "waited for too long");
        std::thread::sleep(Duration::from_micros(200));
    }
}

/// A tmux server and a data directory of their own.
struct Place {
    root: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let root = tempfile::tempdir().expect("a directory");
        fs::create_dir(root.path().join("work")).expect("a directory");
        Self { root }
    }

    fn socket(&self) -> PathBuf {
        self.root.path().join("tmux.sock")
    }

    fn data(&self) -> PathBuf {
        self.root.path().join("data")
    }

    fn tmux(&self) -> Command {
        let mut command = Command::new("tmux");
        command
            .args(["-u", "-f", "/dev/null", "-S"])
            .arg(self.socket())
            .env_remove("TMUX");
        command
    }

    fn sessions(&self, count: usize) {
        for index in 0..count {
            let started = self
                .tmux()
                .args([
                    "new-session",
                    "-d",
                    "-s",
                    &format!("s{index}"),
                    "-x",
                    "100",
                    "-y",
                    "24",
                ])
                .arg("-c")
                .arg(self.root.path().join("work"))
                .args(["--", "bash", "--noprofile", "--norc"])
                .status()
                .expect("tmux");
            assert!(started.success());
        }
    }

    fn assigner(&self, args: &[&str]) -> Command {
        let mut command = Command::new(BINARY);
        command
            .args(args)
            .env("ASSIGNER_DATA_DIR", self.data())
            .env("ASSIGNER_TMUX_SOCKET", self.socket())
            .env("ASSIGNER_CONFIG", Path::new("/dev/null"));
        command
    }

    fn daemon(&self) -> Daemon {
        let child = self
            .assigner(&["run"])
            .stderr(Stdio::null())
            .spawn()
            .expect("a daemon");
        Daemon(child)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = self.tmux().arg("kill-server").status();
    }
}

struct Daemon(Child);

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
