//! The commands around agents: profiles, reports, the doctor, answers, and two ways to watch.

mod toy;

use std::fs;
use std::io::Write;
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::harness::agents::session_running;
use crate::harness::{Output, Pane, Shell, World, assert_calm, eventually, finish, program, text};
use toy::TOY;
pub(crate) use toy::Toy;

impl World {
    /// Writes a profile to the user's directory of profiles.
    fn has_profile(&self, name: &str, text: &str) {
        let directory = self.mkdir("home/.config/assigner/agents");
        fs::write(format!("{directory}/{name}.toml"), text).expect("a profile");
    }

    /// Starts the toy in a session, and waits for its prompt.
    fn toy(&self, name: &str) -> Pane<'_> {
        Toy::new(self).session(name, &text(&self.path("work")))
    }

    /// The command line that reports, as a program in a pane runs it.
    fn report_line(&self, args: &str) -> String {
        let program = program();
        let data = self.data().display();
        format!("{program} report --data-dir {data} {args}")
    }

    /// Reports as if from within a pane.
    fn report(&self, args: &[&str], input: &[u8]) -> Output {
        let mut command = self.binary();
        command
            .env("TMUX", "/tmp/none,42,0")
            .env("TMUX_PANE", "%7")
            .arg("report")
            .args(args);
        finish(&mut command, input)
    }

    /// Returns the reports, the oldest first.
    fn reported(&self) -> Vec<Value> {
        let directory = self.data().join("spool/reports");
        let files = fs::read_dir(directory).into_iter().flatten().flatten();
        let mut files: Vec<_> = files.map(|file| file.path()).collect();
        files.sort();
        files
            .iter()
            .map(|file| serde_json::from_slice(&fs::read(file).expect("a report")).expect("JSON"))
            .collect()
    }

    /// Waits until the doctor has this verdict for a session, and returns all that it says.
    fn diagnosed(&self, session: &str, status: &str) -> Value {
        eventually(|| {
            let said = self.json(&["doctor", session]);
            if said["status"] == status {
                Ok(said)
            } else {
                Err(format!("{session} is not {status}: {said:#}"))
            }
        })
    }
}

/// Returns what one source says in a diagnosis.
fn says<'a>(diagnosis: &'a Value, source: &str) -> &'a Value {
    let signals = diagnosis["signals"].as_array().expect("signals");
    let signal = signals.iter().find(|signal| signal["source"] == source);
    signal.unwrap_or_else(|| panic!("no {source}: {diagnosis:#}"))
}

/// Asserts that a text has nothing that a terminal would obey.
fn assert_harmless(text: &str) {
    let obeyed = |char: &char| (char.is_control() && *char != '\n') || *char == '\u{202e}';
    assert_eq!(text.chars().find(obeyed), None, "{text:?}");
}

#[test]
fn a_report_from_a_pane_is_seen() {
    let world = World::new();
    let pane = world.toy("toy");
    let idle = world.diagnosed("toy", "idle");
    assert_eq!(idle["provider"], "toy");
    assert_eq!(idle["next"], Value::Null);
    let line = world.report_line("--state blocked --task 3 --message 'may I?'");
    pane.line(&format!("!said=$({line} 2>&1); echo \"code $? [$said]\""));
    pane.shows("code 0 []");
    let said = world.diagnosed("toy", "waiting_input");
    let report = says(&said, "report");
    assert_eq!(report["says"], "waiting", "{said:#}");
    assert_eq!(report["detail"], "reported `blocked`: may I?");
    assert!(report["age_seconds"].as_i64().is_some_and(|age| age < 60));
    assert_eq!(said["next"], "answer it in its pane");
    // A hook's input is read; a hostile message is shown, and not obeyed.
    let line = world.report_line("--state busy --hook");
    let told = r#"{\"prompt\": \"\\u001b]0;x\\u0007\\nmore\"}"#;
    pane.line(&format!("!echo \"{told}\" | {line}; echo reported"));
    pane.shows("\nreported");
    let text = world.assigner(&["doctor", "toy"]).succeeded().text();
    assert_harmless(&text);
    assert!(text.contains("reported `busy`: \\u{1b}]0;x"), "{text}");
    let files = fs::metadata(world.data().join("spool/reports")).expect("the reports");
    assert_eq!(
        std::os::unix::fs::PermissionsExt::mode(&files.permissions()) & 0o777,
        0o700
    );
}

#[test]
fn a_report_never_fails_and_says_nothing() {
    let world = World::new();
    for (args, input) in [
        (&["--state", "idle"][..], ""),
        (&["--state", "done", "--message", "-x"], ""),
        (&["--state", "done", "--message-file", "-"], "from a pipe\n"),
        (&["--state", "idle", "--task", "none", "--later", "x"], ""),
        (
            &["--state", "idle", "--hook"],
            "{\"last_assistant_message\": ",
        ),
        (
            &["--state", "blocked", "--hook"],
            "{\"message\": \"may I?\"}",
        ),
        (
            &["--state", "busy", "--hook"],
            "{\"message\": [], \"prompt\": \"go\"}",
        ),
    ] {
        let output = world.report(args, input.as_bytes()).succeeded();
        assert!(output.stdout.is_empty(), "{args:?}: {output:?}");
        assert_eq!(output.stderr, "", "{args:?}");
    }
    let reported = world.reported();
    let told = |report: &Value| report["message"].as_str().unwrap_or("-").to_owned();
    let messages: Vec<String> = reported.iter().map(told).collect();
    assert_eq!(
        messages,
        ["-", "-x", "from a pipe\n", "-", "-", "may I?", "go"]
    );
    assert!(reported.iter().all(|report| report["pane"] == "%7"));
    assert!(reported.iter().all(|report| report["server_pid"] == 42));

    for args in [
        &[][..],
        &["--state"],
        &["--state", "sleeping"],
        &["--state", "idle", "--state", "idle"],
        &["--state", "idle", "--color", "purple"],
        &["--state", "idle", "--data-dir", "/proc/none"],
        &["--later"],
    ] {
        let output = world.report(args, b"").succeeded();
        assert!(output.stdout.is_empty(), "{args:?}: {output:?}");
        assert_eq!(output.stderr.lines().count(), 1, "{args:?}: {output:?}");
        assert_calm(&output.stderr);
    }
    assert_eq!(world.reported().len(), reported.len());
    let outside = world.assigner(&["report", "--state", "idle"]).succeeded();
    assert!(outside.stderr.contains("not a tmux pane"), "{outside:?}");

    // The state is reported even if the message cannot be read or the configuration is wrong.
    let output = world.report(&["--state", "idle", "--message-file", "none"], b"");
    assert_eq!(output.succeeded().stderr.lines().count(), 1);
    let config = world.mkdir("home/.config/assigner");
    fs::write(format!("{config}/config.toml"), "wrong").expect("a configuration");
    let output = world.report(&["--state", "idle"], b"").succeeded();
    assert_eq!(output.stderr, "");
    assert_eq!(world.reported().len(), reported.len() + 2);
}

#[test]
fn a_hook_does_not_wait_for_an_end_of_its_input() {
    let world = World::new();
    let mut child = world
        .binary()
        .env("TMUX", "/tmp/none,42,0")
        .env("TMUX_PANE", "%7")
        .args(["report", "--state", "busy", "--hook"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the binary");
    let mut input = child.stdin.take().expect("a pipe");
    input.write_all(b"{\"prompt\": \"go\"}\n").expect("written");
    let began = Instant::now();
    let status = eventually(|| match child.try_wait().expect("a child") {
        Some(status) => Ok(status),
        None => Err("it waits".to_owned()),
    });
    assert!(status.success());
    assert!(began.elapsed() < Duration::from_secs(10));
    assert_eq!(world.reported()[0]["message"], "go");
}

#[test]
fn profiles_are_listed_shown_and_checked() {
    let world = World::new();
    let listed = world.assigner(&["agents", "list"]).succeeded().text();
    assert!(listed.starts_with("NAME "), "{listed}");
    assert!(listed.contains("\ncodex ") && listed.contains(" built-in "));
    let codex = world.assigner(&["agents", "show", "codex"]).succeeded();
    assert!(codex.text().contains("\nname = \"codex\"\n"));

    // The printed profile is a start for one's own, which overrides the built-in one.
    world.has_profile("codex", &codex.text());
    world.has_profile("toy", TOY);
    world.has_profile("odd", "name = \"odd\"\n[recognise]\nprogram = [\"odd\"]\n");
    let listed = world.assigner(&["agents", "list"]).succeeded();
    assert_eq!(listed.stderr.lines().count(), 1, "{}", listed.stderr);
    assert!(listed.stderr.contains("odd.toml` is invalid: line 3"));
    let entries = world.json(&["agents", "list"]);
    let entries = entries.as_array().expect("a list");
    let entry = |name: &str| {
        let mut named = entries.iter().filter(|entry| entry["name"] == name);
        let entry = named.next().expect("an entry");
        assert_eq!(named.next(), None, "{name} is there twice");
        entry
    };
    assert_eq!(entry("codex")["from"], "file");
    assert_eq!(entry("claude")["from"], "built-in");
    assert_eq!(entry("toy")["summary"], "an agent of tests");
    assert!(entry("odd")["error"].as_str().is_some());
    let toy = world.assigner(&["agents", "show", "toy"]).succeeded();
    assert_eq!(toy.text(), TOY);
    assert_eq!(world.json(&["agents", "show", "toy"])["text"], TOY);
    let none = world.assigner(&["agents", "show", "none"]).refused(1);
    assert!(
        none.stderr.contains("claude, cline, codex"),
        "{}",
        none.stderr
    );

    let file = |name: &str| text(&world.path(format!("home/.config/assigner/agents/{name}.toml")));
    let right = world.assigner(&["agents", "check", &file("toy")]);
    let right = right.succeeded().text();
    assert!(right.contains("toy.toml is valid: toy, an agent of tests"));
    for name in ["odd", "none"] {
        let args = ["agents", "check", &file(name)];
        let wrong = world.assigner(&args).refused(1);
        assert!(wrong.stderr.contains(&format!("{name}.toml`")), "{wrong:?}");
        let wrong = world.assigner(&[&["--json"], &args[..]].concat());
        assert_eq!(wrong.code, Some(1));
        assert_eq!(wrong.json()["ok"], false);
    }
    world
        .assigner(&["agents", "check", &text(&world.path("work"))])
        .refused(1);
}

#[test]
fn the_doctor_tells_what_there_is() {
    let world = World::new();
    world.assigner(&["doctor", "--sessions"]).refused(3);
    world.session("desk", Shell::Bash);
    let dir = text(&world.path("work"));
    session_running(&world, "odd", &["sleep", "1000"], &dir);
    let pane = world.toy("toy");
    world.tmux(&["split-window", "-d", "-t", "odd:", "exec sleep 1000"]);

    let desk = world.diagnosed("desk", "idle");
    assert_eq!(desk["provider"], "shell");
    assert_eq!(says(&desk, "process")["says"], "idle");
    let odd = world.diagnosed("odd:0.0", "unknown");
    assert_eq!(odd["provider"], Value::Null);
    assert!(
        odd["next"]
            .as_str()
            .is_some_and(|next| next.contains("assigner agents list"))
    );
    let toy = world.diagnosed(&pane.id, "idle");
    assert_eq!(
        (&toy["name"], &toy["place"]),
        (&"toy".into(), &"toy:0.0".into())
    );
    assert_eq!(says(&toy, "screen")["says"], "idle");

    pane.keys(&["-l", "a draft"]);
    let toy = world.diagnosed("toy", "attended");
    assert_eq!(says(&toy, "screen")["says"], "attended");
    assert_eq!(toy["next"], "submit the draft there, or delete it");
    pane.keys(&["C-u"]);
    world.diagnosed("toy", "idle");
    world.tmux(&["copy-mode", "-t", &pane.id]);
    let toy = world.diagnosed("toy", "attended");
    assert!(
        toy["next"]
            .as_str()
            .is_some_and(|next| next.contains("copy mode"))
    );
    pane.keys(&["q"]);
    pane.keys(&["go", "Enter"]);
    world.diagnosed("toy", "busy");
    world.diagnosed("toy", "idle");

    let all = world.json(&["doctor", "--sessions"]);
    assert_eq!(all.as_array().map(Vec::len), Some(4), "{all:#}");
    let table = world.assigner(&["doctor", "--sessions"]).succeeded().text();
    assert!(table.starts_with("SESSION "), "{table}");
    let table = world.assigner(&["doctor"]).succeeded().text();
    assert!(table.contains("\nSESSION "), "{table}");
    let one = world.assigner(&["doctor", "toy"]).succeeded().text();
    assert!(
        one.contains("SIGNAL ") && one.contains("\nverdict   idle: "),
        "{one}"
    );
    let several = world.assigner(&["doctor", "odd"]).refused(2);
    assert!(several.stderr.contains("odd:0.0, odd:0.1"), "{several:?}");
    world.assigner(&["doctor", "none"]).refused(1);
    world.assigner(&["doctor", "%999"]).refused(1);
    // The doctor only looks: it creates no data directory.
    assert!(!world.data().exists());
}

#[test]
fn the_doctor_obeys_nothing_that_it_sees() {
    let world = World::new();
    let pane = world.toy("toy");
    // A title, a name and a draft each contain a character that reverses the direction of writing.
    let title = "printf '\\033]2;a\u{202e}b\\033\\\\'; printf '> dra\u{202e}ft'; sleep 1000";
    pane.line(&format!("!{title}"));
    pane.has("#{pane_title}", "a\u{202e}b");
    let dir = text(&world.path("work"));
    session_running(&world, "s\u{202e}t", &["sleep", "1000"], &dir);
    for args in [
        &["doctor"][..],
        &["doctor", "toy"],
        &["doctor", &pane.id],
        &["doctor", "s\u{202e}t"],
    ] {
        assert_harmless(&world.assigner(args).succeeded().text());
    }
    let wrong = world.assigner(&["doctor", "\u{1b}]0;x\u{7}"]).refused(1);
    assert_harmless(&wrong.stderr);
    // Scripts get the text unchanged.
    let said = world.json(&["doctor", "toy"]);
    assert_eq!(said["title"], "a\u{202e}b");
    assert!(
        says(&said, "screen")["detail"]
            .as_str()
            .is_some_and(|seen| seen.contains("dra"))
    );
}

#[test]
fn an_answer_needs_somebody_who_asks() {
    let world = World::new();
    let id = world.send(&["--provider", "toy", "anything"]).to_string();
    let refused = world.assigner(&["reply", &id, "yes"]).refused(1);
    assert!(
        refused.stderr.contains("is not waiting for an answer"),
        "{refused:?}"
    );
    world.assigner(&["reply", "99", "yes"]).refused(1);
    world.assigner(&["reply", &id, " \n"]).refused(2);
    world.assigner(&["reply", &id, "\u{1b}[201~"]).refused(2);
    world.assigner(&["reply", &id, "--key", "Entr"]).refused(2);
    world
        .assigner(&["reply", &id, "yes", "--key", "Enter"])
        .refused(2);
    world.assigner(&["reply", &id]).refused(2);
    world
        .assigner_with_input(&["reply", &id, "-"], b"\xff\xfe")
        .refused(2);
}

#[test]
fn an_answer_reaches_who_asks() {
    let world = World::new();
    let pane = world.toy("toy");
    let _daemon = world.daemon();
    world.session_is("toy", "idle");

    let id = world.send(&["--provider", "toy", "shall I?"]);
    let task = world.until(id, "waiting_input");
    assert_eq!(task["session"], "toy");
    let number = id.to_string();
    let answer = world.json(&["reply", &number, "--wait", "yes, go on"]);
    assert_eq!(answer["id"], id);
    assert_ne!(answer["status"], "waiting_input", "{answer}");
    world.completed(id);
    assert_eq!(world.output(id), b"YES, GO ON");
    pane.shows("> yes, go on");

    let id = world.send(&["--provider", "toy", "menu"]);
    world.until(id, "waiting_input");
    let said = world.json(&["doctor", "toy"]);
    assert_eq!(
        said["next"],
        format!("answer it: `assigner reply {id} \"...\"`, or in its pane")
    );
    world
        .assigner(&["reply", &id.to_string(), "--key", "y", "--key", "Enter"])
        .succeeded();
    world.completed(id);
    assert_eq!(world.output(id), b"pressed y");
}

#[test]
fn a_report_of_the_end_is_the_response() {
    let world = World::new();
    world.toy("toy");
    let _daemon = world.daemon();
    world.session_is("toy", "idle");
    let line = world.report_line("--state done --message 'as reported'");
    let id = world.send(&["--provider", "toy", &format!("!{line}")]);
    world.completed(id);
    assert_eq!(world.output(id), b"as reported");
}

#[test]
fn a_person_is_brought_to_a_tasks_pane() {
    let world = World::new();
    let pane = world.session("desk", Shell::Bash);
    let id = world.shell("echo here");
    let number = id.to_string();
    let none = world.assigner(&["attach", &number, "--print"]).refused(1);
    assert!(none.stderr.contains("no session yet"), "{none:?}");
    let daemon = world.daemon();
    world.completed(id);
    drop(daemon);

    let line = world.assigner(&["attach", &number, "--print"]);
    let line = line.succeeded().text();
    let (server, pane_id) = (text(&world.socket()), pane.id.as_str());
    assert!(line.starts_with(&format!("tmux -S {server} ")), "{line}");
    assert!(line.contains("attach-session -t "), "{line}");
    let said = world.json(&["attach", &number]);
    assert_eq!(
        (&said["session"], &said["pane"]),
        (&"desk".into(), &pane_id.into())
    );
    // Within tmux, the command switches there; in another tmux server, it attaches.
    let own = world.tmux(&["display-message", "-p", "#{pid}"]);
    for (server, inside) in [(own.as_str(), true), ("1", false)] {
        let mut command = world.binary();
        command
            .env("TMUX", format!("/tmp/none,{server},0"))
            .env("TMUX_PANE", "%0")
            .args(["attach", &number, "--print"]);
        let line = finish(&mut command, b"").succeeded().text();
        assert_eq!(line.contains("switch-client"), inside, "{line}");
        assert_eq!(line.starts_with("env -u TMUX tmux "), !inside, "{line}");
    }
    let nowhere = world.assigner(&["attach", &number]).refused(2);
    assert!(nowhere.stderr.contains("--print"), "{nowhere:?}");

    // The command does what it says.
    let other = world.session("other", Shell::Bash);
    other.line(&format!("env -u TMUX {}", line.trim()));
    eventually(|| match world.tmux(&["list-clients", "-F", "#{pane_id}"]) {
        seen if seen.trim() == pane_id => Ok(()),
        seen => Err(format!("a client is at {seen:?}")),
    });
    world.tmux(&["detach-client", "-s", "desk"]);
    other.shows("[detached");
    world.tmux(&["kill-pane", "-t", pane_id]);
    let gone = world.assigner(&["attach", &number, "--print"]).refused(1);
    assert!(gone.stderr.contains("gone"), "{gone:?}");
    world.assigner(&["attach", "99"]).refused(1);
}

#[test]
fn a_task_is_watched_to_its_end() {
    let world = World::new();
    world.session("desk", Shell::Bash);
    let _daemon = world.daemon();
    world.session_is("desk", "idle");
    let command = "for i in 1 2 3; do printf 'l%s\\n' $i; sleep 0.4; done; sleep 1";
    let id = world.shell(command).to_string();
    let watched = world.assigner(&["watch", &id, "--interval", "200ms"]);
    let watched = watched.succeeded();
    let text = watched.text();
    for line in ["l1", "l2", "l3"] {
        let shown = text.lines().filter(|shown| *shown == line).count();
        assert_eq!(shown, 1, "{line} in {text}");
    }
    assert!(watched.stderr.contains("completed"), "{}", watched.stderr);

    let failing = world.shell("sleep 0.5; exit 3").to_string();
    let watched = world.assigner(&["watch", &failing]);
    assert_eq!(watched.code, Some(1), "{watched:?}");
    let again = world.assigner(&["--json", "watch", &failing]);
    assert_eq!(again.code, Some(1), "{again:?}");
    assert_eq!(again.json()["status"], "failed");
    world.assigner(&["watch", "99"]).refused(1);
    world
        .assigner(&["watch", &id, "--interval", "soon"])
        .refused(2);
}

#[test]
fn a_turn_of_an_agent_is_watched() {
    let world = World::new();
    world.toy("toy");
    let id = world.send(&["--provider", "toy", "say it"]).to_string();
    let watch = world
        .binary()
        .args(["watch", &id, "--interval", "100ms"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary");
    let _daemon = world.daemon();
    let output = watch.wait_with_output().expect("its end");
    let text = String::from_utf8_lossy(&output.stdout);
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}\n{told}");
    assert!(text.lines().any(|line| line == "answer: SAY IT"), "{text}");
    assert!(told.contains("no daemon is running"), "{told}");
    assert!(
        told.contains("task 1 pending") && told.contains("in_progress in toy"),
        "{told}"
    );
    assert_harmless(&text);
}

/// A profile that is added while the daemon runs is used at once, and so is one that is changed.
#[test]
fn profiles_are_taken_up_while_the_daemon_runs() {
    let world = World::new();
    let daemon = world.daemon();
    let toy = Toy::new(&world);
    let profile = world.path("home/.config/assigner/agents/toy.toml");
    fs::remove_file(&profile).expect("it was there");
    toy.session("late", &text(&world.path("work")));
    fs::write(&profile, TOY).expect("a profile");
    world.session_is("late", "idle");
    let id = world.send(&["--provider", "toy", "--", "hello"]);
    world.completed(id);
    assert_eq!(world.output(id), b"HELLO");
    // An unreadable profile is reported, and the toy is unknown again.
    fs::write(&profile, "name = ").expect("a profile");
    daemon.logs("toy.toml");
    world.eventually(|| match world.session_entry("late") {
        Some(session) if session["status"] == "idle" => Err(format!("{session}")),
        _ => Ok(()),
    });
    fs::write(&profile, TOY).expect("a profile");
    world.session_is("late", "idle");
}
