//! What happens to prompts, with an agent that follows the words in them and notes what it read.

mod daemons;
mod endings;
mod prerequisites;
mod questions;
mod states;
mod texts;

use std::fs;
use std::path::PathBuf;
use std::thread;

use serde_json::Value;

use crate::harness::agents::{patiently, session_becomes, session_running, task_becomes};
use crate::harness::{Daemon, Pane, World, program, text};

/// An agent that reads lines. It notes each line that it has read, and each that it has finished,
/// in a log, and answers with the line itself. Words in a line change that:
///
/// | word | it |
/// |---|---|
/// | `slow=SECONDS` | works this long |
/// | `hold` | works until there is a file `go` beside the log |
/// | `silent` | does not show that it works |
/// | `done`, `done=ID` | reports that it is done, before it shows its answer |
/// | `ask` | shows a dialog that reads a line |
/// | `key` | shows a dialog that reads a key |
/// | `limit` | reaches a limit, unless there is that file |
/// | `error` | ends in an error |
/// | `question` | ends in a question |
/// | `die` | exits, the first time in its world |
const AGENT: &str = r#"
log=$1 assigner=$2 data=$3
title() { printf '\033]2;%s\007' "$1"; }
note() { printf '%s\n' "$1" >> "$log"; }
set -f
title ready
while printf '> ' && IFS= read -r line; do
    note "read $line"
    slow=0 hold= silent= report= ask= key= limit= error= question= die=
    for word in $line; do
        case $word in
        slow=*) slow=${word#slow=} ;;
        done) report=none ;;
        done=*) report=${word#done=} ;;
        hold | silent | ask | key | limit | error | question | die) printf -v "$word" yes ;;
        esac
    done
    if [ -z "$silent" ]; then
        title working
        printf 'one moment\n'
    fi
    sleep "$slow"
    if [ -n "$hold" ]; then
        until [ -e "$log.go" ]; do sleep 0.1; done
    fi
    if [ -n "$die" ] && (set -C && : > "$HOME/died") 2> "$log.none"; then
        note "died of $line"
        exit 3
    fi
    if [ -n "$ask" ]; then
        printf 'Really? (y/n) '
        IFS= read -r said
        note "told $said"
        printf '\033[A\r\033[K'
    fi
    if [ -n "$key" ]; then
        printf 'Really? (y/n) '
        IFS= read -rsn1 said
        note "pressed $said"
        printf '\r\033[K'
    fi
    if [ -n "$report" ]; then
        about=(--task "$report")
        [ "$report" != none ] || about=()
        "$assigner" report --data-dir "$data" --state done --message "told of: $line" \
            ${about[@]+"${about[@]}"}
    fi
    if [ -n "$limit" ] && ! [ -e "$log.go" ]; then
        printf 'limit reached, try again in 90s\n'
    elif [ -n "$error" ]; then
        printf 'error: it broke\n'
    elif [ -n "$question" ]; then
        printf 'answer: %s, shall I?\n' "$line"
    else
        printf 'answer: %s\n' "$line"
    fi
    note "ended $line"
    title ready
done
"#;

/// Its profile, with a placeholder for the name.
const PROFILE: &str = r#"name = "NAME"
summary = "an agent of tests"

[recognise]
programs = ["NAME-agent"]

[state]
busy-title = ['^working$']
waiting-screen = ['^Really\? \(y/n\) ?$']

[composer]
line = '^>(?: (?P<draft>.*))?$'

[paste]
mode = "line"
pause = "50ms"

[turn]
settle = "300ms"
answer = '^answer: (?P<text>.*)$'
trailer = ['^>']
errors = ['^error: (?P<message>.*)$']
limits = ['^limit reached(?:, try again in (?P<reset>.+))?$']

[context]
template = ""
"#;

/// A world with such agents.
struct Desk {
    world: World,
}

impl Desk {
    fn new() -> Self {
        let world = World::new();
        let profiles = world.mkdir("home/.config/assigner/agents");
        for name in ["toy", "other"] {
            let profile = PROFILE.replace("NAME", name);
            fs::write(format!("{profiles}/{name}.toml"), profile).expect("a profile");
            fs::write(world.path(format!("{name}-agent")), AGENT).expect("a script");
        }
        // The server ends with its last session; this one stays, whatever happens to the others.
        let keeper = "exec sleep 1000";
        world.tmux(&["new-session", "-d", "-s", "keeper", keeper]);
        Self { world }
    }

    /// Returns where the agent of a session notes what it read.
    fn log_file(&self, session: &str) -> PathBuf {
        self.world.path(format!("{session}.log"))
    }

    /// Returns the command that starts an agent, word by word.
    fn command(&self, name: &str, session: &str) -> [String; 5] {
        [
            "bash".to_owned(),
            text(&self.world.path(format!("{name}-agent"))),
            text(&self.log_file(session)),
            program().to_owned(),
            text(self.world.data()),
        ]
    }

    /// Starts an agent in a session and a directory of the same name, and waits for its prompt.
    fn agent(&self, name: &str, session: &str) -> Pane<'_> {
        let command = self.command(name, session);
        let words: Vec<&str> = command.iter().map(String::as_str).collect();
        let dir = self.world.mkdir(&format!("work/{session}"));
        let pane = session_running(&self.world, session, &words, &dir);
        ready(&pane);
        pane
    }

    /// Starts a toy in each of the sessions, and the daemon, and waits until they are idle.
    fn toys<const N: usize>(&self, sessions: [&str; N]) -> ([Pane<'_>; N], Daemon) {
        let panes = sessions.map(|session| self.agent("toy", session));
        let daemon = self.world.daemon();
        for session in sessions {
            session_becomes(&self.world, session, "idle");
        }
        (panes, daemon)
    }

    /// Queues a prompt for a toy, and returns the task's number.
    fn prompt(&self, text: &str) -> u64 {
        self.prompt_with(&[], text)
    }

    /// Like [`Self::prompt`], with options.
    fn prompt_with(&self, options: &[&str], text: &str) -> u64 {
        let provider = ["--provider", "toy"];
        self.world
            .send(&[&provider, options, &["--", text]].concat())
    }

    /// Returns what the agent of a session has noted.
    fn log(&self, session: &str) -> Vec<String> {
        let log = fs::read_to_string(self.log_file(session)).unwrap_or_default();
        log.lines().map(str::to_owned).collect()
    }

    /// Returns what it has read.
    fn read(&self, session: &str) -> Vec<String> {
        let log = self.log(session);
        let read = log.iter().filter_map(|line| line.strip_prefix("read "));
        read.map(str::to_owned).collect()
    }

    /// Waits until the agent of a session has noted exactly these lines.
    #[track_caller]
    fn noted(&self, session: &str, lines: &[&str]) {
        patiently(|| match self.log(session) {
            log if log == lines => Ok(()),
            log => Err(format!("{session} noted {log:#?}, not {lines:#?}")),
        });
    }

    /// Waits until a task runs, and the agent of a session has read a text.
    #[track_caller]
    fn runs(&self, id: u64, session: &str, text: &str) {
        task_becomes(&self.world, id, "in_progress");
        patiently(|| match self.log(session) {
            log if log.last() == Some(&format!("read {text}")) => Ok(()),
            log => Err(format!("{session} did not read {text:?} last: {log:#?}")),
        });
    }

    /// Lets an agent continue that holds or has reached a limit; it will not do so again.
    fn release(&self, session: &str) {
        let mut file = self.log_file(session).into_os_string();
        file.push(".go");
        fs::write(file, "").expect("a file");
    }

    /// Makes it hold again.
    fn hold(&self, session: &str) {
        let mut file = self.log_file(session).into_os_string();
        file.push(".go");
        fs::remove_file(file).expect("a file");
    }

    /// Waits until a task completed, and asserts its response.
    #[track_caller]
    fn says(&self, id: u64, response: &str) {
        task_becomes(&self.world, id, "completed");
        let output = self.world.output(id);
        assert_eq!(String::from_utf8_lossy(&output), response, "task {id}");
    }

    /// Waits until a task completed with the answer to a text.
    #[track_caller]
    fn answers(&self, id: u64, text: &str) {
        self.says(id, text);
    }

    /// Waits until a task waits for a person.
    #[track_caller]
    fn asks(&self, id: u64) -> Value {
        task_becomes(&self.world, id, "waiting_input")
    }

    /// Asserts that a task waits, with a reason, and was not attempted.
    #[track_caller]
    fn waits(&self, id: u64) {
        assert!(!self.world.reason(id).is_empty());
        let task = self.world.show(id);
        assert_eq!(task["status"], "pending", "{task:#}");
        assert_eq!(tries(&task), 0, "{task:#}");
    }

    /// Runs a command about a task, which must succeed.
    #[track_caller]
    fn tell(&self, args: &[&str], id: u64, more: &[&str]) {
        let id = id.to_string();
        self.world
            .assigner(&[args, &[id.as_str()], more].concat())
            .succeeded();
    }

    /// Waits until the doctor has this verdict for a session, and returns all that it says.
    #[track_caller]
    fn diagnosed(&self, session: &str, status: &str) -> Value {
        self.world
            .patiently(|| match self.world.json(&["doctor", session]) {
                said if said["status"] == status => Ok(said),
                said => Err(format!("{session} is not {status}: {said:#}")),
            })
    }
}

impl Drop for Desk {
    /// Prints the state of things if a test failed.
    fn drop(&mut self) {
        if !thread::panicking() {
            return;
        }
        let said = |args: &[&str]| match self.world.binary().args(args).output() {
            Ok(output) => String::from_utf8_lossy(&output.stdout).into_owned(),
            Err(error) => error.to_string(),
        };
        let list = said(&["list"]);
        eprintln!("--- the tasks\n{list}--- the doctor\n{}", said(&["doctor"]));
        for line in list.lines().skip(1) {
            let id = line.split_whitespace().next().unwrap_or_default();
            eprintln!("--- task {id}\n{}", said(&["history", id]));
        }
        let listed = self
            .world
            .tmux_command()
            .args(["list-panes", "-a", "-F", "#{pane_id} #{session_name}"])
            .output();
        let listed = listed.map_or_else(|_| Vec::new(), |output| output.stdout);
        for line in String::from_utf8_lossy(&listed).lines() {
            let (pane, session) = line.split_once(' ').unwrap_or((line, ""));
            let screen = self
                .world
                .tmux_command()
                .args(["capture-pane", "-p", "-t", pane])
                .output();
            let screen = screen.map_or_else(|_| Vec::new(), |output| output.stdout);
            eprintln!("--- {session} noted {:#?}", self.log(session));
            eprintln!("--- {session} shows\n{}", text_of(&screen));
        }
    }
}

fn text_of(screen: &[u8]) -> String {
    String::from_utf8_lossy(screen).trim_end().to_owned()
}

/// Waits until an agent shows an empty prompt.
#[track_caller]
fn ready(pane: &Pane<'_>) {
    patiently(|| {
        let screen = pane.screen();
        if screen.trim_end().ends_with("\n>") || screen.trim_end() == ">" {
            Ok(())
        } else {
            Err(format!("no prompt:\n{screen}"))
        }
    });
}

/// Waits until a pane shows a text.
#[track_caller]
fn shows(pane: &Pane<'_>, text: &str) {
    patiently(|| match pane.screen() {
        screen if screen.contains(text) => Ok(()),
        screen => Err(format!("the pane does not show {text:?}:\n{screen}")),
    });
}

fn tries(task: &Value) -> usize {
    task["attempts"].as_array().expect("attempts").len()
}

/// Returns a task's error; empty if it has none.
fn error(task: &Value) -> &str {
    task["error"].as_str().unwrap_or_default()
}
