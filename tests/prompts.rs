//! What happens to prompts, with an agent that follows the words in them and notes what it read.

use std::fs;
use std::path::PathBuf;
use std::thread;

use jiff::Timestamp;
use serde_json::Value;

use crate::harness::{Daemon, Pane, Shell, World, assert_calm, is_settled, text};
use crate::language_model::{patiently, session_becomes, session_running, task_becomes, task_ends};

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
            env!("CARGO_BIN_EXE_assigner").to_owned(),
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
        patiently(|| match self.world.json(&["doctor", session]) {
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

#[test]
fn a_report_of_the_end_counts_for_its_own_task() {
    let desk = Desk::new();
    let (_panes, daemon) = desk.toys(["one"]);
    let plain = desk.prompt("done hold first");
    desk.runs(plain, "one", "done hold first");
    session_becomes(&desk.world, "one", "busy");
    let own = plain + 1;
    assert_eq!(desk.prompt(&format!("done={own} second")), own);
    desk.waits(own);
    assert_eq!(desk.log("one"), ["read done hold first"]);
    desk.release("one");
    desk.says(plain, "told of: done hold first");
    desk.says(own, &format!("told of: done={own} second"));
    // A report about another task is ignored, whether or not that task exists.
    for other in [plain, 999] {
        let text = format!("done={other} slow=1 third");
        let id = desk.prompt(&text);
        desk.answers(id, &text);
    }
    let task = desk.world.show(plain);
    assert_eq!((&task["status"], tries(&task)), (&"completed".into(), 1));
    assert_calm(&daemon.log());
}

#[test]
fn a_person_is_notified_once_of_each_question() {
    let desk = Desk::new();
    let world = &desk.world;
    let told = world.path("told");
    let config = format!(
        "[notify]\ncommand = '''printf '%s|%s|%s\\n' \"$ASSIGNER_TASK\" \"$ASSIGNER_SESSION\" \
         \"$ASSIGNER_QUESTION\" >> {}'''\n",
        told.display()
    );
    fs::write(world.path("home/.config/assigner/config.toml"), config).expect("a file");
    let lines = || -> Vec<String> {
        let told = fs::read_to_string(&told).unwrap_or_default();
        told.lines().map(str::to_owned).collect()
    };
    let all = |count: usize| {
        patiently(|| match lines() {
            lines if lines.len() >= count => Ok(lines),
            lines => Err(format!("told {lines:#?}")),
        })
    };
    let (_panes, daemon) = desk.toys(["one"]);

    let hostile =
        "question $(touch $HOME/leaked) `touch $HOME/leaked` '\"; touch $HOME/leaked; \"' %s \\n";
    let id = desk.prompt(hostile);
    desk.asks(id);
    let said = all(1).remove(0);
    assert!(said.starts_with(&format!("{id}|one|")), "{said}");
    assert!(said.ends_with(&format!("{hostile}, shall I?")), "{said}");
    desk.tell(&["reply"], id, &["question again"]);
    let said = all(2).remove(1);
    assert!(said.starts_with(&format!("{id}|one|")), "{said}");
    assert!(said.ends_with("question again, shall I?"), "{said}");
    desk.asks(id);
    desk.tell(&["reply"], id, &["no more of it"]);
    desk.answers(id, "no more of it");

    // A dialog is a question, too; without a question, nobody is notified.
    let id = desk.prompt("ask first");
    desk.asks(id);
    let said = all(3);
    assert!(said[2].starts_with(&format!("{id}|one|")), "{said:#?}");
    assert!(said[2].contains("Really?"), "{said:#?}");
    desk.tell(&["reply"], id, &["yes"]);
    desk.answers(id, "ask first");
    let id = desk.prompt("nothing more");
    desk.answers(id, "nothing more");
    assert_eq!(lines().len(), 3, "{:#?}", lines());
    for place in ["home/leaked", "work/leaked", "work/one/leaked"] {
        assert!(!world.path(place).exists(), "{place}");
    }
    assert_calm(&daemon.log());
}

#[test]
fn a_dialog_is_told_without_what_stood_before_it() {
    let desk = Desk::new();
    let (_panes, _daemon) = desk.toys(["one"]);
    let id = desk.prompt("question of an earlier one");
    desk.asks(id);
    desk.tell(&["resolve"], id, &["--done"]);
    let id = desk.prompt("key please");
    let task = desk.asks(id);
    let asks = task["asks"].as_str().unwrap_or_default();
    assert!(asks.contains("Really? (y/n)"), "{task:#}");
    assert!(!asks.contains("an earlier one"), "{task:#}");
    desk.tell(&["reply"], id, &["y"]);
    desk.answers(id, "key please");
}

#[test]
fn a_limit_of_one_provider_leaves_the_other_alone() {
    let desk = Desk::new();
    let world = &desk.world;
    desk.agent("other", "other");
    let (_panes, daemon) = desk.toys(["one", "two"]);
    session_becomes(world, "other", "idle");

    let limited = desk.prompt_with(&["--target", "one"], "limit here");
    let limit = patiently(|| {
        let status = world.json(&["status"]);
        if status["paused"]["providers"].to_string().contains("toy") {
            Ok(status["paused"].clone())
        } else {
            Err(format!("toy is not paused: {status:#}"))
        }
    });
    assert_eq!(limit["all"], false, "{limit:#}");
    assert!(!limit["providers"].to_string().contains("other"));
    let limits = limit["limits"].as_array().expect("limits");
    assert_eq!(limits.len(), 1, "{limit:#}");
    let until = limits[0]["until"].as_str();
    let until: Timestamp = until.and_then(|until| until.parse().ok()).expect("an end");
    let seconds = until.as_second() - Timestamp::now().as_second();
    assert!((1..=91).contains(&seconds), "{limit:#}");

    let task = task_becomes(world, limited, "pending");
    let failed = task["attempts"].as_array().expect("attempts");
    assert!(
        failed.iter().all(|attempt| attempt["status"] != "failed"),
        "{task:#}"
    );
    assert_eq!(task["error"], Value::Null, "{task:#}");
    // No session of that provider takes anything, but one of another provider does.
    let waiting = desk.prompt_with(&["--target", "two"], "as long as that lasts");
    let reason = world.reason(waiting);
    assert!(
        reason.contains("paused") || reason.contains("limit"),
        "{reason}"
    );
    let free = world.send(&["--provider", "other", "of another"]);
    desk.answers(free, "of another");
    desk.noted("other", &["read of another", "ended of another"]);
    desk.waits(waiting);
    assert_eq!(world.show(limited)["status"], "pending");
    desk.noted("one", &["read limit here", "ended limit here"]);
    assert!(desk.log("two").is_empty());

    // What it said before is still on the screen.
    desk.release("one");
    world.assigner(&["resume", "--provider", "toy"]).succeeded();
    desk.answers(limited, "limit here");
    desk.answers(waiting, "as long as that lasts");
    assert_eq!(desk.log("one").len(), 4, "{:#?}", desk.log("one"));
    assert_calm(&daemon.log());
}

#[test]
fn an_error_is_a_failed_try() {
    let desk = Desk::new();
    let (_panes, _daemon) = desk.toys(["one"]);
    let id = desk.prompt_with(&["--retries", "1"], "error of mine");
    let task = task_ends(&desk.world, id);
    assert_eq!(task["status"], "failed", "{task:#}");
    assert!(error(&task).contains("it broke"), "{task:#}");
    assert_eq!(tries(&task), 2, "{task:#}");
    let next = desk.prompt("and another");
    desk.answers(next, "and another");
    let read = "read error of mine";
    let ended = "ended error of mine";
    let next = ["read and another", "ended and another"];
    desk.noted("one", &[read, ended, read, ended, next[0], next[1]]);
}

/// The free prompt is the only sign that its turn has ended.
#[test]
fn an_agent_that_does_not_show_its_work() {
    let desk = Desk::new();
    let (_panes, daemon) = desk.toys(["one"]);
    let first = desk.prompt("silent slow=2 one");
    let second = desk.prompt("silent two");
    desk.answers(first, "silent slow=2 one");
    desk.answers(second, "silent two");
    let lines = [
        "read silent slow=2 one",
        "ended silent slow=2 one",
        "read silent two",
        "ended silent two",
    ];
    desk.noted("one", &lines);
    assert_calm(&daemon.log());
}

/// What cannot be established is for a person to decide, and no key is pressed meanwhile.
#[test]
fn an_agent_that_does_not_show_its_work_for_long() {
    let desk = Desk::new();
    let (_panes, daemon) = desk.toys(["one"]);
    let id = desk.prompt_with(&["--retries", "2"], "silent hold one");
    let task = task_ends(&desk.world, id);
    assert_eq!(task["status"], "uncertain", "{task:#}");
    assert!(!error(&task).is_empty(), "{task:#}");
    let next = desk.prompt("two");
    desk.waits(next);
    desk.release("one");
    desk.answers(next, "two");
    assert_eq!(desk.world.show(id)["status"], "uncertain");
    desk.tell(&["resolve"], id, &["--resend"]);
    desk.answers(id, "silent hold one");
    let (read, ended) = ("read silent hold one", "ended silent hold one");
    desk.noted("one", &[read, ended, "read two", "ended two", read, ended]);
    assert_calm(&daemon.log());
}

#[test]
fn prerequisites_run_beside_the_agent() {
    let desk = Desk::new();
    let world = &desk.world;
    let (_panes, daemon) = desk.toys(["one"]);
    let dir = text(&world.path("work/one"));
    let id = desk.prompt_with(
        &[
            "-w",
            &dir,
            "-e",
            "WORD=a \"b\" $c; d",
            "--prereq",
            "pwd > where",
            "--prereq",
            "printf '%s\\n' \"$WORD\" >> where; tty -s || echo apart >> where",
        ],
        "with all that",
    );
    task_becomes(world, id, "completed");
    let told = world.lines("one/where");
    assert_eq!(told, [dir.as_str(), "a \"b\" $c; d", "apart"]);
    desk.noted("one", &["read with all that", "ended with all that"]);
    assert_calm(&daemon.log());
}

#[test]
fn a_prerequisite_that_fails_ends_the_task() {
    let desk = Desk::new();
    let world = &desk.world;
    let (_panes, daemon) = desk.toys(["one"]);
    let failing = "seq 1 2000; printf 'the very %s\\n' reason; exit 7";
    let id = desk.prompt_with(&["--prereq", "true", "--prereq", failing], "never said");
    let task = task_ends(world, id);
    assert_eq!(task["status"], "failed", "{task:#}");
    let output = String::from_utf8_lossy(&world.output(id)).into_owned();
    let said = format!("{}\n{output}", error(&task));
    assert!(said.contains("the very reason"), "{said}");
    assert!(error(&task).len() < 1_000, "{task:#}");
    assert!(
        error(&task).contains('7') || task["exit_code"] == 7,
        "{task:#}"
    );

    // A prerequisite that takes too long fails as well.
    let slow = ["--prereq", "sleep 300", "--prereq-timeout", "1s"];
    let id = desk.prompt_with(&slow, "never said");
    let task = task_ends(world, id);
    assert_eq!(task["status"], "failed", "{task:#}");
    assert!(!error(&task).is_empty(), "{task:#}");

    let id = desk.prompt("this is said");
    desk.answers(id, "this is said");
    desk.noted("one", &["read this is said", "ended this is said"]);
    assert_calm(&daemon.log());
}

#[test]
fn a_prerequisite_ends_with_its_task() {
    let desk = Desk::new();
    let world = &desk.world;
    let (_panes, daemon) = desk.toys(["one"]);
    let prerequisite = "sleep 300 & echo $! $$ > ids.new; mv ids.new ids; wait";
    let dir = text(&world.path("work/one"));
    let id = desk.prompt_with(&["-w", &dir, "--prereq", prerequisite], "never said");
    world.file_appears("one/ids");
    let ids = world.lines("one/ids").join(" ");
    let goes_on = || {
        let output = world
            .command("ps")
            .args(["-o", "stat=", "-p"])
            .arg(ids.replace(' ', ","))
            .output()
            .expect("ps");
        // A process that has ended but was not reaped counts as gone.
        let states = String::from_utf8_lossy(&output.stdout).into_owned();
        states.lines().any(|state| !state.trim().starts_with('Z'))
    };
    assert!(goes_on(), "{ids}");
    desk.tell(&["cancel"], id, &[]);
    let task = task_ends(world, id);
    assert_eq!(task["status"], "cancelled", "{task:#}");
    patiently(|| match goes_on() {
        true => Err(format!("one of {ids} goes on")),
        false => Ok(()),
    });
    let id = desk.prompt("this is said");
    desk.answers(id, "this is said");
    desk.noted("one", &["read this is said", "ended this is said"]);
    assert_calm(&daemon.log());
}

/// Asserts that a session whose task was taken away is busy until its agent is done, and then takes
/// the next prompt.
#[track_caller]
fn assert_left_alone(desk: &Desk, taken: &str) {
    let read = format!("read {taken}");
    session_becomes(&desk.world, "one", "busy");
    let next = desk.prompt_with(&["--target", "one"], "the next");
    desk.waits(next);
    assert_eq!(desk.log("one"), [read.as_str()]);
    desk.release("one");
    desk.answers(next, "the next");
    let ended = format!("ended {taken}");
    desk.noted("one", &[&read, &ended, "read the next", "ended the next"]);
}

#[test]
fn a_cancelled_prompt_leaves_its_agent_alone() {
    let desk = Desk::new();
    let (_panes, daemon) = desk.toys(["one"]);
    let id = desk.prompt("hold cancelled");
    desk.runs(id, "one", "hold cancelled");
    desk.tell(&["cancel"], id, &[]);
    let task = task_ends(&desk.world, id);
    assert_eq!(task["status"], "cancelled", "{task:#}");
    assert_left_alone(&desk, "hold cancelled");
    assert_eq!(desk.world.show(id)["status"], "cancelled");
    assert_calm(&daemon.log());
}

#[test]
fn a_prompt_that_ran_out_of_time_leaves_its_agent_alone() {
    let desk = Desk::new();
    let (_panes, daemon) = desk.toys(["one"]);
    let id = desk.prompt_with(&["--timeout", "3s"], "hold too long");
    let task = task_ends(&desk.world, id);
    assert_eq!(task["status"], "failed", "{task:#}");
    assert!(error(&task).contains("3 s"), "{task:#}");
    assert_left_alone(&desk, "hold too long");
    assert_calm(&daemon.log());
}

#[test]
fn a_reassigned_prompt_leaves_its_agent_alone() {
    let desk = Desk::new();
    let (_panes, daemon) = desk.toys(["one", "two"]);
    let id = desk.prompt_with(&["--target", "one"], "hold given away");
    desk.runs(id, "one", "hold given away");
    desk.release("two");
    desk.tell(&["reassign"], id, &["--to", "two"]);
    desk.answers(id, "hold given away");
    let task = desk.world.show(id);
    assert_eq!(task["session"], "two", "{task:#}");
    desk.noted("two", &["read hold given away", "ended hold given away"]);
    assert_left_alone(&desk, "hold given away");
    assert_calm(&daemon.log());
}

#[test]
fn a_dialog_is_a_persons() {
    let desk = Desk::new();
    let world = &desk.world;
    let (panes, daemon) = desk.toys(["one"]);
    let before = desk.prompt("before it");
    desk.answers(before, "before it");
    let id = desk.prompt("key please");
    let task = desk.asks(id);
    assert_eq!(tries(&task), 1, "{task:#}");
    session_becomes(world, "one", "waiting_input");
    let next = desk.prompt("the next");
    desk.waits(next);
    let listed = world.json(&["list"]);
    let ids: Vec<_> = listed.as_array().expect("an array").iter().collect();
    let ids: Vec<_> = ids.iter().map(|task| task["id"].as_u64()).collect();
    assert_eq!(ids[0], Some(id), "{listed:#}");
    assert_eq!(ids.len(), 3, "{listed:#}");
    let table = world.assigner(&["list"]).succeeded().text();
    let first = table.lines().nth(1).unwrap_or_default();
    assert!(first.starts_with(&format!("{id} ")), "{table}");
    assert!(first.contains("Really?"), "{table}");

    // Nothing was typed there in all that time.
    desk.noted(
        "one",
        &["read before it", "ended before it", "read key please"],
    );
    shows(&panes[0], "Really? (y/n)");
    desk.tell(&["reply"], id, &["y"]);
    desk.answers(id, "key please");
    desk.answers(next, "the next");
    let lines = [
        "read before it",
        "ended before it",
        "read key please",
        "pressed y",
        "ended key please",
        "read the next",
        "ended the next",
    ];
    desk.noted("one", &lines);
    assert_calm(&daemon.log());
}

#[test]
fn a_dialog_is_answered_once() {
    let desk = Desk::new();
    let world = &desk.world;
    let (_panes, daemon) = desk.toys(["one"]);
    // Keys, or words with Enter.
    let keys = ["--key", "n", "--key", "o", "--key", "Enter"];
    for (answer, told) in [(&keys[..], "told no"), (&["yes it is"], "told yes it is")] {
        let id = desk.prompt("ask now");
        desk.asks(id);
        desk.tell(&["reply"], id, answer);
        // The first answer is on its way or was given: nobody is asking any more.
        let number = id.to_string();
        world.assigner(&["reply", &number, "late"]).refused(1);
        desk.answers(id, "ask now");
        world.assigner(&["reply", &number, "later"]).refused(1);
        let log = desk.log("one");
        assert_eq!(log[log.len() - 2], told, "{log:#?}");
    }
    assert_eq!(desk.log("one").len(), 6, "{:#?}", desk.log("one"));
    assert_calm(&daemon.log());
}

#[test]
fn a_question_is_resolved_or_answered() {
    let desk = Desk::new();
    let (_panes, daemon) = desk.toys(["one"]);
    let id = desk.prompt("question resolved");
    let task = desk.asks(id);
    let asked = task["asks"].to_string();
    assert!(asked.contains("question resolved, shall I?"), "{task:#}");
    desk.tell(&["resolve"], id, &["--done"]);
    desk.says(id, "question resolved, shall I?");

    let id = desk.prompt("question replied");
    desk.asks(id);
    desk.tell(&["reply"], id, &["yes, you shall"]);
    desk.answers(id, "yes, you shall");

    let next = desk.prompt("the next");
    desk.answers(next, "the next");

    let prompts = [
        "question resolved",
        "question replied",
        "yes, you shall",
        "the next",
    ];
    assert_eq!(desk.read("one"), prompts);
    assert_calm(&daemon.log());
}

/// Asserts that a person's answer to a question, in the pane, ends the task with the result.
fn assert_answered_in_the_pane(answer: &str) {
    let desk = Desk::new();
    let (panes, daemon) = desk.toys(["one"]);
    let id = desk.prompt("question in the pane");
    desk.asks(id);
    panes[0].line(answer);
    desk.answers(id, answer);
    let next = desk.prompt("the next");
    desk.answers(next, "the next");
    let prompts = ["question in the pane", answer, "the next"];
    assert_eq!(desk.read("one"), prompts);
    assert_calm(&daemon.log());
}

#[test]
fn a_question_is_answered_in_the_pane() {
    assert_answered_in_the_pane("slow=1 by a person");
}

/// The agent is idle again before anybody can see that it was not.
#[test]
fn a_question_is_answered_in_the_pane_in_a_moment() {
    assert_answered_in_the_pane("silent by a person");
}

#[test]
fn the_daemon_is_killed_at_every_stage() {
    let desk = Desk::new();
    let world = &desk.world;
    let (_panes, daemon) = desk.toys(["one"]);
    let again = |daemon: Daemon, meanwhile: &dyn Fn()| {
        daemon.kill();
        meanwhile();
        world.daemon()
    };

    // While it works.
    let id = desk.prompt("hold while it works");
    desk.runs(id, "one", "hold while it works");
    let daemon = again(daemon, &|| {});
    let next = desk.prompt("the one behind");
    desk.waits(next);
    desk.release("one");
    desk.answers(id, "hold while it works");
    desk.answers(next, "the one behind");

    // It is done before the next daemon looks.
    desk.hold("one");
    let id = desk.prompt("hold and meanwhile");
    desk.runs(id, "one", "hold and meanwhile");
    let daemon = again(daemon, &|| {
        desk.release("one");
        patiently(|| match desk.log("one") {
            log if log
                .last()
                .is_some_and(|last| last == "ended hold and meanwhile") =>
            {
                Ok(())
            }
            log => Err(format!("{log:#?}")),
        });
    });
    desk.answers(id, "hold and meanwhile");

    // While a question waits.
    let id = desk.prompt("question of one");
    desk.asks(id);
    let daemon = again(daemon, &|| {});
    desk.asks(id);
    desk.tell(&["reply"], id, &["the answer"]);
    desk.answers(id, "the answer");

    // While a dialog waits, which a person answers when there is no daemon.
    let id = desk.prompt("key for one");
    desk.asks(id);
    let daemon = again(daemon, &|| {
        world.tmux(&["send-keys", "-t", "=one:", "y"]);
    });
    desk.answers(id, "key for one");

    // Between two daemons: what is queued without a daemon runs later.
    let mut last = 0;
    let daemon = again(daemon, &|| {});
    for text in ["one more", "and the last"] {
        last = desk.prompt(text);
    }
    desk.answers(last, "and the last");

    let prompts = [
        "hold while it works",
        "the one behind",
        "hold and meanwhile",
        "question of one",
        "the answer",
        "key for one",
        "one more",
        "and the last",
    ];
    assert_eq!(desk.read("one"), prompts);
    assert_calm(&daemon.log());
}

#[test]
fn the_daemon_is_killed_between_an_answer_and_the_end() {
    let desk = Desk::new();
    let (_panes, daemon) = desk.toys(["one"]);
    let id = desk.prompt("question of one");
    desk.asks(id);
    desk.tell(&["reply"], id, &["hold the answer"]);
    desk.runs(id, "one", "hold the answer");
    daemon.kill();
    let daemon = desk.world.daemon();
    desk.release("one");
    desk.answers(id, "hold the answer");
    assert_eq!(desk.read("one"), ["question of one", "hold the answer"]);
    assert_calm(&daemon.log());
}

#[test]
fn two_daemons_share_a_server() {
    let desk = Desk::new();
    let world = &desk.world;
    let (_panes, daemon) = desk.toys(["one", "two"]);
    let other = text(&world.path("other-data"));
    let at_other = |args: &[&str]| world.json(&[args, &["--data-dir", &other]].concat());
    let second = world.spawn_daemon(&["--data-dir", &other]);
    patiently(|| match at_other(&["status"]) {
        status if status["daemon"]["pid"] == second.pid() => Ok(()),
        status => Err(format!("the second daemon does not run: {status:#}")),
    });

    let mut sent: Vec<(u64, bool, String)> = Vec::new();
    for number in 0..20 {
        let (of_other, text) = (
            number % 2 == 1,
            format!("of two: {}", "x y ".repeat(number)),
        );
        let text = format!("{text}number {number}");
        let id = if of_other {
            let task = at_other(&["send", "--provider", "toy", &text]);
            task["id"].as_u64().expect("a number")
        } else {
            desk.prompt(&text)
        };
        sent.push((id, of_other, text));
    }
    for (id, of_other, text) in &sent {
        let number = id.to_string();
        let ended = || {
            let task = match of_other {
                true => at_other(&["show", &number]),
                false => world.show(*id),
            };
            if is_settled(&task) {
                Ok(task)
            } else {
                Err(format!("{text:?} goes on: {task:#}"))
            }
        };
        let task = patiently(ended);
        assert_eq!(task["status"], "completed", "{task:#}");
        assert_eq!(tries(&task), 1, "{task:#}");
    }
    let mut read = [desk.read("one"), desk.read("two")].concat();
    read.sort_unstable();
    let mut prompts: Vec<String> = sent.into_iter().map(|(_, _, text)| text).collect();
    prompts.sort_unstable();
    assert_eq!(read, prompts);
    assert_calm(&daemon.log());
    assert_calm(&second.log());
}

/// Somebody else gives the agent its next prompt before anybody can see that it was idle.
#[test]
fn a_response_is_that_of_its_own_prompt() {
    let desk = Desk::new();
    let (panes, daemon) = desk.toys(["one"]);
    // They differ only at their ends.
    let same = "slow=1 and the same words ".repeat(4);
    let prompts = [format!("{same}of the queue"), format!("{same}of another")];
    let id = desk.prompt(&prompts[0]);
    patiently(|| match desk.log("one") {
        log if log.last().is_some_and(|last| last.starts_with("ended ")) => Ok(()),
        log => Err(format!("{log:#?}")),
    });
    panes[0].line(&prompts[1]);
    desk.answers(id, &prompts[0]);
    assert_eq!(desk.read("one"), prompts);
    assert_calm(&daemon.log());
}

#[test]
fn hostile_texts_arrive_as_they_are() {
    let desk = Desk::new();
    let world = &desk.world;
    let (_panes, daemon) = desk.toys(["one"]);
    let mut prompts: Vec<String> = [
        "say \"hello\" and 'bye'",
        "$(touch $HOME/leaked) and `touch $HOME/leaked` and ${HOME}",
        "one; touch $HOME/leaked; two & three | four > five < six",
        "ends in a semicolon;",
        ";",
        "\\;",
        "#{pane_id} #(touch $HOME/leaked) #S #[fg=red] %1 {{{}}}",
        "back\\slash \\n \\t \\\\ and one at the end\\",
        "🦀 👩\u{200d}👩\u{200d}👧 é e\u{301} ü 漢字 \u{202e}abc ０",
        "Enter",
        "C-c",
        "Escape",
        "q",
        "-x --flag",
        "--",
        "~",
        "* ? [a-z]",
        "!! !x",
        "a\ttab",
        "> looks like a prompt",
        "answer: looks like an answer",
    ]
    .map(str::to_owned)
    .into();
    prompts.push("x".repeat(4_000));
    prompts.push("four thousand in words ".repeat(170).trim_end().to_owned());
    prompts.push("漢🦀".repeat(570));
    let sent: Vec<(u64, &String)> = prompts
        .iter()
        .map(|prompt| (desk.prompt(prompt), prompt))
        .collect();
    for (id, prompt) in &sent {
        let task = task_ends(world, *id);
        assert_eq!(task["status"], "completed", "{prompt:?}: {task:#}");
        assert_eq!(tries(&task), 1, "{prompt:?}: {task:#}");
    }
    let lines: Vec<String> = prompts
        .iter()
        .flat_map(|prompt| [format!("read {prompt}"), format!("ended {prompt}")])
        .collect();
    assert_eq!(desk.log("one"), lines);
    for (id, prompt) in &sent {
        // A tab becomes spaces on the screen from which the response is read.
        if !prompt.contains('\t') {
            desk.answers(*id, prompt);
        }
    }
    for place in ["home/leaked", "work/leaked", "work/one/leaked"] {
        assert!(!world.path(place).exists(), "{place}");
    }
    assert_calm(&daemon.log());
}

/// A prompt without letters or digits is found on the screen, too.
#[test]
fn a_prompt_of_signs_alone_is_answered() {
    let desk = Desk::new();
    let (_panes, daemon) = desk.toys(["one"]);
    for prompt in ["?!", "→ …", "🦀"] {
        let id = desk.prompt(prompt);
        desk.answers(id, prompt);
    }
    assert_eq!(desk.read("one"), ["?!", "→ …", "🦀"]);
    assert_calm(&daemon.log());
}

#[test]
fn a_line_reader_is_given_no_more_than_a_line() {
    let desk = Desk::new();
    let world = &desk.world;
    let (_panes, daemon) = desk.toys(["one"]);
    for (prompt, why) in [
        ("two\nlines".to_owned(), "line"),
        ("x".repeat(5_000), "5000"),
    ] {
        let id = desk.prompt(&prompt);
        let task = task_ends(world, id);
        assert_eq!(task["status"], "failed", "{task:#}");
        let error = error(&task).replace(',', "");
        assert!(error.contains(why), "{error}");
        assert_eq!(error.lines().count(), 1, "{error}");
    }
    let id = desk.prompt("one line\n");
    desk.answers(id, "one line");
    desk.noted("one", &["read one line", "ended one line"]);
    assert_calm(&daemon.log());
}

#[test]
fn hostile_names_are_names() {
    let desk = Desk::new();
    let world = &desk.world;
    let name = "it's \"a\" $(touch leaked); `touch leaked` #{pane_id} %1 🦀";
    let dir = world.mkdir(&format!("work/{name}"));
    // tmux would expand the name of a directory or a session, so each is passed in another way.
    let log = "hostile";
    let command = desk.command("toy", log);
    let script = "cd -- \"$1\" && shift && exec \"$@\"";
    let mut words = vec!["bash", "-c", script, "bash", dir.as_str()];
    words.extend(command.iter().map(String::as_str));
    let pane = session_running(world, "tame", &words, &text(&world.path("work")));
    ready(&pane);
    let format = name.replace("#{", "##{");
    world.tmux(&["rename-session", "-t", &pane.id, &format]);
    assert_eq!(pane.format("#{session_name}"), name);
    let daemon = world.daemon();
    let session = session_becomes(world, name, "idle");
    assert!(
        session.to_string().contains("$(touch leaked)"),
        "{session:#}"
    );

    let prereq = ["--prereq", "pwd > where"];
    let options = ["--target", name, "-w", &dir, prereq[0], prereq[1]];
    let id = desk.prompt_with(&options, name);
    desk.answers(id, name);
    let task = world.show(id);
    assert_eq!(task["session"], name, "{task:#}");
    desk.noted(log, &[&format!("read {name}"), &format!("ended {name}")]);
    assert_eq!(world.lines(&format!("{name}/where")), [dir.as_str()]);
    let number = id.to_string();
    for args in [
        &["doctor", name][..],
        &["session", name],
        &["history", &number],
        &["attach", &number, "--print"],
    ] {
        world.assigner(args).succeeded();
    }
    for place in ["work/leaked", "home/leaked", "leaked"] {
        assert!(!world.path(place).exists(), "{place}");
    }
    assert!(!world.path(format!("work/{name}/leaked")).exists());
    assert_calm(&daemon.log());
}

#[test]
fn an_agent_ends_in_mid_turn() {
    let desk = Desk::new();
    let world = &desk.world;
    let (_panes, daemon) = desk.toys(["one"]);
    let id = desk.prompt("slow=1 die at once");
    let task = task_ends(world, id);
    assert_eq!(task["status"], "failed", "{task:#}");
    assert!(error(&task).contains("ended"), "{task:#}");
    assert_eq!(tries(&task), 1, "{task:#}");
    desk.noted(
        "one",
        &["read slow=1 die at once", "died of slow=1 die at once"],
    );
    assert_calm(&daemon.log());
}

#[test]
fn another_agent_takes_what_one_left() {
    let desk = Desk::new();
    let world = &desk.world;
    // Of the first agent only a shell is left, into which no prompt goes.
    let command = desk.command("toy", "one").map(|word| format!("'{word}'"));
    let dir = world.mkdir("work/one");
    let one = world.session_in("one", Shell::Bash, &dir);
    one.line(&command.join(" "));
    ready(&one);
    let daemon = world.daemon();
    session_becomes(world, "one", "idle");
    let prompt = "hold die and go on";
    let id = desk.prompt_with(&["--retries", "1"], prompt);
    desk.runs(id, "one", prompt);
    desk.agent("toy", "two");
    desk.release("two");
    desk.release("one");
    let task = task_ends(world, id);
    assert_eq!(task["status"], "completed", "{task:#}");
    assert_eq!(tries(&task), 2, "{task:#}");
    assert_eq!(task["session"], "two", "{task:#}");
    desk.answers(id, prompt);
    let read = format!("read {prompt}");
    desk.noted("one", &[&read, &format!("died of {prompt}")]);
    desk.noted("two", &[&read, &format!("ended {prompt}")]);
    patiently(|| match world.session_entry("one") {
        Some(session) if session["provider"] == "shell" => Ok(()),
        other => Err(format!("no shell: {other:?}")),
    });
    let screen = one.screen();
    assert_eq!(
        screen.trim_end().lines().last().map(str::trim_end),
        Some("$")
    );
    assert_eq!(screen.matches("go on").count(), 1, "{screen}");
    assert_calm(&daemon.log());
}

#[test]
fn each_state_is_seen() {
    let desk = Desk::new();
    let world = &desk.world;
    let (panes, daemon) = desk.toys(["one"]);
    let pane = &panes[0];
    let is = |status: &str| {
        let session = session_becomes(world, "one", status);
        assert_eq!(session["provider"], "toy", "{session:#}");
        let said = desk.diagnosed("one", status);
        assert_eq!(said["provider"], "toy", "{said:#}");
        let table = world.assigner(&["doctor", "one"]).succeeded().text();
        assert!(table.contains(&format!("verdict   {status}")), "{table}");
    };
    is("idle");

    // By a prompt of its own, and by a person's.
    let id = desk.prompt("hold a while");
    desk.runs(id, "one", "hold a while");
    is("busy");
    desk.release("one");
    desk.answers(id, "hold a while");
    is("idle");
    desk.hold("one");
    pane.line("hold by a person");
    is("busy");
    let id = desk.prompt("not before it is free");
    desk.waits(id);
    desk.release("one");
    desk.answers(id, "not before it is free");

    pane.line("key by a person");
    is("waiting_input");
    let id = desk.prompt("not into a dialog");
    desk.waits(id);
    pane.keys(&["y"]);
    desk.answers(id, "not into a dialog");
    is("idle");

    pane.keys(&["-l", "half a"]);
    is("attended");
    let id = desk.prompt("not behind a draft");
    desk.waits(id);
    pane.keys(&["C-u"]);
    desk.answers(id, "not behind a draft");

    world.tmux(&["copy-mode", "-t", &pane.id]);
    is("attended");
    let id = desk.prompt("not in copy mode");
    desk.waits(id);
    pane.keys(&["q"]);
    desk.answers(id, "not in copy mode");
    is("idle");

    let prompts = [
        "hold a while",
        "hold by a person",
        "not before it is free",
        "key by a person",
        "not into a dialog",
        "not behind a draft",
        "not in copy mode",
    ];
    assert_eq!(desk.read("one"), prompts);
    assert_calm(&daemon.log());
}
