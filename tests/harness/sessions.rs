//! Panes, shells, and sessions in each of the shells.

use std::path::PathBuf;
use std::thread;

use super::{World, eventually};
use assigner_needs::has;

/// A pane of this world's tmux server.
pub(crate) struct Pane<'a> {
    world: &'a World,
    /// The id, such as `%3`.
    pub(crate) id: String,
}

impl<'a> Pane<'a> {
    /// Returns the pane with this id.
    pub(crate) fn new(world: &'a World, id: String) -> Self {
        Self { world, id }
    }

    /// Returns what the pane shows.
    pub(crate) fn screen(&self) -> String {
        self.world.tmux(&["capture-pane", "-p", "-t", &self.id])
    }

    /// Waits until it shows a text.
    pub(crate) fn shows(&self, text: &str) {
        eventually(|| {
            let screen = self.screen();
            if screen.contains(text) {
                Ok(())
            } else {
                Err(format!("the pane does not show {text:?}:\n{screen}"))
            }
        });
    }

    /// Waits until its last line is a prompt and nothing more.
    pub(crate) fn prompt(&self) {
        eventually(|| {
            let screen = self.screen();
            let last = screen.trim_end_matches('\n').lines().last().unwrap_or("");
            if ["$", "#", "%", ">"]
                .iter()
                .any(|end| last.trim_end().ends_with(end))
            {
                Ok(())
            } else {
                Err(format!("no prompt:\n{screen}"))
            }
        });
    }

    /// Types keys by the names of `tmux send-keys`.
    pub(crate) fn keys(&self, keys: &[&str]) {
        self.world
            .tmux(&[&["send-keys", "-t", &self.id], keys].concat());
    }

    /// Types a text as it is.
    pub(crate) fn types(&self, text: &str) {
        self.world
            .tmux(&["send-keys", "-l", "-t", &self.id, "--", text]);
    }

    /// Types a line as a person would, with Enter.
    pub(crate) fn line(&self, line: &str) {
        self.types(line);
        self.keys(&["Enter"]);
    }

    /// Expands a tmux format for this pane.
    pub(crate) fn format(&self, format: &str) -> String {
        self.world
            .tmux(&["display-message", "-p", "-t", &self.id, format])
    }

    /// Waits until a format expands to a value.
    pub(crate) fn has(&self, format: &str, value: &str) {
        eventually(|| {
            let seen = self.format(format);
            if seen == value {
                Ok(())
            } else {
                Err(format!("{format} is {seen:?}, not {value:?}"))
            }
        });
    }
}

/// The shells that tasks can run in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shell {
    Bash,
    Zsh,
    Fish,
    Dash,
}

impl Shell {
    /// All the shells.
    pub(crate) const ALL: [Self; 4] = [Self::Bash, Self::Zsh, Self::Fish, Self::Dash];

    /// Returns whether it is installed; `tests/optional_tools.rs` counts and names those that are
    /// not.
    pub(crate) fn is_installed(self) -> bool {
        match self {
            Self::Bash => true,
            Self::Zsh => has!(zsh),
            Self::Fish => has!(fish),
            Self::Dash => has!(dash),
        }
    }

    /// Returns the shells that are installed.
    pub(crate) fn installed() -> Vec<Self> {
        Self::ALL
            .into_iter()
            .filter(|shell| shell.is_installed())
            .collect()
    }

    /// Returns the shell's program.
    pub(crate) fn program(self) -> &'static str {
        match self {
            Self::Bash => "bash",
            Self::Zsh => "zsh",
            Self::Fish => "fish",
            Self::Dash => "dash",
        }
    }

    /// Returns the command that starts it without any user's settings.
    pub(super) fn command_line(self) -> &'static str {
        match self {
            Self::Bash => "exec env 'PS1=$ ' bash --noprofile --norc",
            Self::Zsh => "exec env 'PS1=$ ' zsh -f",
            Self::Fish => "exec fish --no-config",
            Self::Dash => "exec env 'PS1=$ ' dash",
        }
    }
}

/// A session in one of the shells, in a directory of its own, whose tasks name it as their target.
pub(crate) struct Seat<'a> {
    pub(crate) world: &'a World,
    pub(crate) shell: Shell,
    pub(crate) pane: Pane<'a>,
}

impl<'a> Seat<'a> {
    /// Starts the session, named after its shell.
    fn new(world: &'a World, shell: Shell) -> Self {
        let dir = world.mkdir(&format!("work/{}", shell.program()));
        let pane = world.session_in(shell.program(), shell, &dir);
        Self { world, shell, pane }
    }

    /// Returns the session's name.
    pub(crate) fn name(&self) -> &'static str {
        self.shell.program()
    }

    /// Returns a path below the session's directory.
    pub(crate) fn path(&self, relative: &str) -> PathBuf {
        self.world.path("work").join(self.name()).join(relative)
    }

    /// Makes a new directory below the session's, and returns its path as text.
    pub(crate) fn mkdir(&self, relative: &str) -> String {
        self.world
            .mkdir(&format!("work/{}/{relative}", self.name()))
    }

    /// Queues a command line for this session and returns its number.
    pub(crate) fn shell(&self, command: &str) -> u64 {
        self.shell_with(&[], command)
    }

    /// Queues a command line with options for this session, and returns its number.
    pub(crate) fn shell_with(&self, options: &[&str], command: &str) -> u64 {
        let target = ["--target", self.name()];
        self.world
            .shell_with(&[&target[..], options].concat(), command)
    }

    /// Runs a command line, which must succeed, and returns what it printed.
    pub(crate) fn run(&self, command: &str) -> String {
        let id = self.shell(command);
        self.world.completed(id);
        String::from_utf8(self.world.output(id)).expect("text")
    }
}

/// Runs a test's body in a session of each installed shell, all at once, under one daemon.
pub(crate) fn in_each_shell(body: impl Fn(&Seat<'_>) + Sync) {
    in_shells(&Shell::installed(), body);
}

/// Like [`in_each_shell`], with some of the shells.
pub(crate) fn in_shells(shells: &[Shell], body: impl Fn(&Seat<'_>) + Sync) {
    let world = World::new();
    // The server ends with its last session; this one stays, whatever happens to the others.
    world.tmux(&["new-session", "-d", "-s", "keeper", "exec sleep 1000"]);
    let seats: Vec<Seat<'_>> = shells
        .iter()
        .filter(|shell| shell.is_installed())
        .map(|shell| Seat::new(&world, *shell))
        .collect();
    let _daemon = world.daemon();
    for seat in &seats {
        world.session_is(seat.name(), "idle");
    }
    thread::scope(|scope| {
        let body = &body;
        for seat in &seats {
            thread::Builder::new()
                .name(seat.name().to_owned())
                .spawn_scoped(scope, move || body(seat))
                .expect("a thread");
        }
    });
}
