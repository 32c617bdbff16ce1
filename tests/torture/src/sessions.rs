//! The sessions that take tasks: shells as far as they are installed, and scripted agents. Whatever
//! is killed is started again.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use assigner_conformance::world::{Place, World, find};

/// How shells are started without anybody's settings.
const SHELLS: [(&str, &str, &str); 5] = [
    ("bash-1", "bash", "exec env 'PS1=$ ' bash --norc"),
    ("bash-2", "bash", "exec env 'PS1=$ ' bash --norc"),
    ("zsh", "zsh", "exec env 'PS1=$ ' zsh -f"),
    ("fish", "fish", "exec fish --no-config"),
    ("dash", "dash", "exec env 'PS1=$ ' dash"),
];

/// The agents: the second dies now and then while a prompt is pasted.
const AGENTS: [(&str, &[&str]); 2] = [
    ("agent-1", &["--turn=150"]),
    (
        "agent-2",
        &["--turn=60", "--die=on-paste", "--die-chance=0.25"],
    ),
];

/// The name of the agents' profile, and its text.
pub const PROVIDER: &str = "fake-agent";
const PROFILE: &str = include_str!("../../conformance/profiles/fake-agent.toml");

/// How long something stays dead: long enough to be noticed.
const DEAD_FOR: Duration = Duration::from_millis(300);

/// One session.
#[derive(Debug, Clone)]
pub struct Seat {
    /// Its name.
    pub name: String,
    /// Whether an agent runs in it.
    pub is_agent: bool,
    words: Vec<String>,
}

/// All sessions that should exist.
#[derive(Debug)]
pub struct Seats {
    seats: Vec<Seat>,
    /// Since when panes have been dead.
    dead: HashMap<String, Instant>,
}

/// A pane that exists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pane {
    /// Its id.
    pub id: String,
    /// The process that was started in it.
    pub pid: i32,
    /// The name of its session.
    pub session: String,
    /// Whether that process has ended.
    pub is_dead: bool,
}

impl Seats {
    /// Prepares the sessions of a world.
    ///
    /// # Errors
    ///
    /// There is no scripted agent beside this program, or it cannot be installed.
    pub fn new(world: &World) -> io::Result<Self> {
        let mut seats: Vec<Seat> = SHELLS
            .iter()
            .filter(|(_, program, _)| is_installed(program))
            .map(|(name, _, command)| Seat {
                name: (*name).to_owned(),
                is_agent: false,
                words: vec![(*command).to_owned()],
            })
            .collect();
        let program = find("fake-agent", None)?;
        // Under a name of its own, by which it is recognised.
        let own = world.path("bin").join(PROVIDER);
        if fs::hard_link(&program, &own).is_err() {
            fs::copy(&program, &own)?;
        }
        world.add_profile(PROVIDER, PROFILE)?;
        seats.extend(AGENTS.iter().map(|(name, options)| {
            let transcripts = world.path("agents/sessions");
            let mut words = vec![
                own.display().to_string(),
                format!("--log={}", journal(world.place(), name).display()),
                format!(
                    "--transcript={}/{name}-{{pid}}.jsonl",
                    transcripts.display()
                ),
            ];
            words.extend(options.iter().map(|option| (*option).to_owned()));
            Seat {
                name: (*name).to_owned(),
                is_agent: true,
                words,
            }
        }));
        Ok(Self {
            seats,
            dead: HashMap::new(),
        })
    }

    /// Returns the sessions.
    #[must_use]
    pub fn all(&self) -> &[Seat] {
        &self.seats
    }

    /// Starts what is missing, and what has been dead for a moment.
    pub fn mend(&mut self, world: &mut World) {
        let panes = panes(world.place());
        for seat in &self.seats {
            if panes.iter().all(|pane| pane.session != seat.name) {
                // The server may be stopped or about to end: it is tried again.
                let started = world.session(&seat.name, &seat.words);
                if started.is_ok() {
                    let _ = world.tmux(&["set-option", "-g", "remain-on-exit", "on"]);
                }
            }
        }
        let dead = panes.iter().filter(|pane| pane.is_dead);
        let dead: Vec<&str> = dead.map(|pane| &*pane.id).collect();
        self.dead.retain(|id, _| dead.contains(&&**id));
        for id in dead {
            let since = self.dead.entry(id.to_owned()).or_insert_with(Instant::now);
            if since.elapsed() >= DEAD_FOR {
                let _ = world.tmux(&["respawn-pane", "-t", id]);
            }
        }
    }
}

/// Returns the panes of the server; none if it does not answer.
#[must_use]
pub fn panes(place: &Place) -> Vec<Pane> {
    let format = "#{pane_id} #{pane_pid} #{pane_dead} #{session_name}";
    let text = place.tmux(&["list-panes", "-a", "-F", format]);
    let text = text.unwrap_or_default();
    let panes = text.lines().filter_map(|line| {
        let mut words = line.split(' ');
        Some(Pane {
            id: words.next()?.to_owned(),
            pid: words.next()?.parse().ok()?,
            is_dead: words.next()? == "1",
            session: words.next()?.to_owned(),
        })
    });
    panes.collect()
}

/// Returns where an agent keeps its journal.
#[must_use]
pub fn journal(place: &Place, name: &str) -> PathBuf {
    place.path("log").join(format!("{name}.jsonl"))
}

/// Returns the journals of all agents.
#[must_use]
pub fn journals(place: &Place) -> Vec<PathBuf> {
    AGENTS
        .iter()
        .map(|(name, _)| journal(place, name))
        .collect()
}

fn is_installed(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|dir: PathBuf| dir.join(Path::new(program)).is_file())
}
