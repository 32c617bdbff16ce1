//! Agents that are asked without a terminal. A script plays the agent: words in the prompt tell it what
//! to do.

use std::fs;

use serde_json::{Value, json};

use crate::harness::{Pane, Shell, World, program, stays, text};

/// Prints JSON as an agent does, and notes each prompt that it is given.
const AGENT: &str = r#"
prompt=$(cat)
printf '%s\n' "$prompt" >> "$NOTES"
case $prompt in
    *LIMIT*) [ -e "$NOTES.lifted" ] ||
        { echo '{"error": "you hit your limit, try again in 2 hours", "name": "c1"}'; exit 1; } ;;
    *ODD*) echo '{"error": "it failed and ends well"}'; exit 0 ;;
    *ERROR*) echo '{"error": "refused\u001b[31m"}'; exit 1 ;;
    *ASIDE*) echo 'it is broken:' >&2; printf '{\n  "error": "refused aside"\n}\n' >&2; exit 1 ;;
    *OVERCOME*) echo '{"error": "tries again"}' >&2; exit 0 ;;
    *SILENT*) echo 'no JSON at all'; exit 0 ;;
    *WHERE*) prompt="$prompt in $(pwd)" ;;
    *NAMED=*) name=${prompt##*NAMED=} ;;
    *NAMELESS*) echo '{"text": "so be it"}'; exit 0 ;;
    *HOLD*) while [ ! -e "$NOTES.lifted" ]; do sleep 0.05; done ;;
esac
echo "{\"text\": \"the answer to: $prompt\", \"name\": \"${1:-${name:-c1}}\", \"used\": {\"tokens\": 5}}"
"#;

const PROFILE: &str = r#"
name = "toy"
[recognise]
programs = ["toy-agent"]
[turn]
limits = ['hit your limit(?:, (?P<reset>.+))?']
[headless]
command = ["sh", "AGENT"]
resume = ["sh", "AGENT", "{conversation}"]
response = { at = "/text" }
conversation = { at = "/name" }
usage = { at = "/used" }
error = { at = "/error" }
"#;

/// A world with the agent, and with shells in which it can be asked.
fn with_shells(shells: &[&str]) -> World {
    let world = World::new();
    let script = world.path("toy-agent");
    fs::write(&script, AGENT).expect("a file");
    let directory = world.mkdir("home/.config/assigner/agents");
    let profile = PROFILE.replace("AGENT", &text(&script));
    for name in ["toy", "other", "third"] {
        let profile = profile.replace("\"toy\"", &format!("\"{name}\""));
        fs::write(format!("{directory}/{name}.toml"), profile).expect("a file");
    }
    let notes = text(&world.path("notes"));
    for name in shells {
        let pane = world.session(name, Shell::Bash);
        pane.line(&format!("export NOTES='{notes}'"));
    }
    world
}

fn pane_of<'w>(world: &'w World, session: &str) -> Pane<'w> {
    let named = ["display-message", "-p", "-t", session, "#{pane_id}"];
    Pane::new(world, world.tmux(&named))
}

fn ask(world: &World, options: &[&str], prompt: &str) -> u64 {
    let headless = ["--headless", "--provider", "toy"];
    world.send(&[&headless, options, &["--", prompt]].concat())
}

fn notes(world: &World) -> Vec<String> {
    let notes = fs::read_to_string(world.path("notes")).unwrap_or_default();
    notes.lines().map(str::to_owned).collect()
}

fn lift(world: &World) {
    fs::write(world.path("notes.lifted"), "").expect("a file");
}

fn said(world: &World, id: u64) -> String {
    String::from_utf8(world.output(id)).expect("UTF-8")
}

#[test]
fn a_limit_pauses_the_agent_and_costs_no_try() {
    let world = with_shells(&["one", "two"]);
    let _daemon = world.daemon();
    world.session_is("one", "idle");
    let limited = ask(&world, &[], "LIMIT it");
    world.eventually(|| {
        let status = world.json(&["status"]);
        match status["paused"]["providers"].to_string().contains("toy") {
            true => Ok(()),
            false => Err(format!("toy is not paused: {status:#}")),
        }
    });
    world.until(limited, "pending");
    // Another one waits for the same, in whichever shell, and says so.
    let next = ask(&world, &[], "the next");
    world.eventually(|| {
        let explained = world.json(&["explain", &next.to_string()]);
        let reason = explained["reason"].as_str().unwrap_or_default();
        let expected = ["paused until", "assigner resume --provider toy"];
        match expected.iter().find(|words| !reason.contains(**words)) {
            Some(words) => Err(format!("no {words:?}: {explained:#}")),
            None => Ok(()),
        }
    });
    world.eventually(|| {
        let reason = world.show(next)["wait_reason"].to_string();
        match reason.contains("paused until") {
            true => Ok(()),
            false => Err(reason),
        }
    });
    // Commands do not: it is the agent that is paused.
    assert_eq!(world.run("echo goes on"), "goes on\n");
    stays(|| notes(&world).len());
    assert_eq!(notes(&world), ["LIMIT it"]);

    lift(&world);
    world.assigner(&["resume", "--provider", "toy"]).succeeded();
    assert_eq!(
        world.completed(limited)["output"],
        "the answer to: LIMIT it"
    );
    world.completed(next);
    let task = world.show(limited);
    let outcomes: Vec<&Value> = task["attempts"]
        .as_array()
        .expect("attempts")
        .iter()
        .map(|attempt| &attempt["status"])
        .collect();
    assert_eq!(outcomes, ["completed"], "{task:#}");
    let history = world.history(limited);
    assert!(
        history.iter().any(|action| action.contains("held")),
        "{history:?}"
    );
}

#[test]
fn an_agent_that_is_paused_by_a_person_is_not_asked() {
    let world = with_shells(&["one"]);
    let _daemon = world.daemon();
    world.session_is("one", "idle");
    world.assigner(&["pause", "--provider", "toy"]).succeeded();
    let id = ask(&world, &[], "later");
    stays(|| world.show(id)["status"].clone());
    assert_eq!(world.show(id)["status"], "pending");
    assert!(notes(&world).is_empty());
    world.assigner(&["resume", "--provider", "toy"]).succeeded();
    world.completed(id);
}

#[test]
fn a_reply_continues_the_conversation() {
    let world = with_shells(&["one"]);
    let _daemon = world.daemon();
    world.session_is("one", "idle");
    let first = ask(&world, &["--label", "team=web"], "the first").to_string();
    world.completed(first.parse().expect("a number"));
    let reply = world.json(&["reply", &first, "and the second"]);
    assert_eq!(reply["after"].to_string(), first, "{reply}");
    let second = reply["id"].as_u64().expect("a number");
    let task = world.completed(second);
    assert_eq!(task["output"], "the answer to: and the second");
    assert_eq!(
        task["attempts"][0]["turn"]["conversation"], "c1",
        "{task:#}"
    );
    assert_eq!(task["labels"], json!({"team": "web"}), "{task:#}");
    // A reply to the reply goes on, too, and can be waited for.
    let third = world.assigner(&["reply", &second.to_string(), "--wait", "the third"]);
    third.succeeded();
    assert_eq!(notes(&world), ["the first", "and the second", "the third"]);

    let keys = world.assigner(&["reply", &first, "--key", "Enter"]);
    assert!(keys.refused(2).stderr.contains("no terminal"));
    let failed = ask(&world, &[], "ERROR").to_string();
    world.settled(failed.parse().expect("a number"));
    let refused = world.assigner(&["reply", &failed, "x"]).refused(1);
    assert!(refused.stderr.contains("is failed"));
    let nameless = ask(&world, &[], "NAMELESS");
    world.completed(nameless);
    let refused = world
        .assigner(&["reply", &nameless.to_string(), "x"])
        .refused(1);
    assert!(refused.stderr.contains("no conversation"));
}

#[test]
fn what_an_agent_tells_is_the_end() {
    let world = with_shells(&["one"]);
    let _daemon = world.daemon();
    world.session_is("one", "idle");
    let failed = ask(&world, &["--retries", "1"], "ERROR");
    let task = world.settled(failed);
    assert_eq!(task["status"], "failed", "{task:#}");
    assert_eq!(task["attempts"].as_array().map(Vec::len), Some(2));
    let error = task["error"].as_str().expect("an error");
    assert!(error.starts_with("toy: refused"), "{error:?}");
    let odd = ask(&world, &[], "ODD");
    let task = world.settled(odd);
    assert_eq!(task["status"], "failed", "{task:#}");
    // On standard error, too, an error is one if the agent failed.
    let aside = ask(&world, &[], "ASIDE");
    let task = world.settled(aside);
    assert_eq!(task["status"], "failed", "{task:#}");
    assert_eq!(task["error"], "toy: refused aside", "{task:#}");
    assert!(said(&world, aside).contains("it is broken"), "{task:#}");
    let overcome = ask(&world, &[], "OVERCOME");
    assert_eq!(world.settled(overcome)["status"], "completed");
    // Without a response, all that was printed is kept as a part.
    let silent = ask(&world, &[], "SILENT");
    let task = world.settled(silent);
    assert_eq!(task["response"], "partial (output)", "{task:#}");
    assert!(said(&world, silent).contains("no JSON at all"));
    let silent = silent.to_string();
    for view in [
        &["list"][..],
        &["show", &silent],
        &["wait", &silent],
        &["history", &silent],
    ] {
        let told = world.assigner(view).succeeded().text();
        assert!(told.contains("partial (output)"), "{view:?}: {told}");
    }
    let output = world.assigner(&["output", &silent]).succeeded();
    let why = "response: partial (output): the agent printed no whole answer";
    assert!(output.stderr.contains(why), "{}", output.stderr);
}

#[test]
fn the_way_is_told() {
    let world = with_shells(&["one"]);
    let _daemon = world.daemon();
    world.session_is("one", "idle");
    let id = ask(&world, &[], "HOLD on");
    world.until(id, "in_progress");
    let waits = ask(&world, &[], "the next");
    for id in [id, waits] {
        let id = id.to_string();
        let explained = world.json(&["explain", &id]);
        assert_eq!(explained["way"], "headless", "{explained:#}");
        let told = world.assigner(&["explain", &id]).succeeded().text();
        let expected = "toy is asked without a terminal, by `sh ";
        assert!(told.contains(expected), "{told}");
        assert_eq!(world.show(id.parse().expect("a number"))["kind"], "prompt");
    }
    // The agent is a part of the job, and its session is a shell all the while.
    let session = world.session_is("one", "busy");
    assert_eq!(session["provider"], "shell", "{session:#}");
    let refused = world.assigner(&["reply", &id.to_string(), "x"]).refused(1);
    assert!(refused.stderr.contains("is in_progress"));
    let prompt = world.send(&["--provider", "toy", "--", "in a session"]);
    let explained = world.json(&["explain", &prompt.to_string()]);
    assert_eq!(explained["way"], "session", "{explained:#}");
    let command = world.shell("true").to_string();
    assert!(world.json(&["explain", &command])["way"].is_null());
    lift(&world);
    world.completed(waits);
}

#[test]
fn the_configuration_names_agents_that_are_asked_so() {
    let world = with_shells(&["one"]);
    let config = world.path("home/.config/assigner/config.toml");
    fs::write(config, "[agents]\nheadless = [\"toy\"]\n").expect("a file");
    let _daemon = world.daemon();
    world.session_is("one", "idle");
    let usual = world.send(&["--provider", "toy", "--", "as usual"]);
    assert_eq!(world.completed(usual)["headless"], "toy");
    // A task may say otherwise, in the same words of a batch and of an edit.
    let no = ["--provider", "toy", "--no-headless", "--", "in a session"];
    let no = world.send(&no);
    assert!(world.show(no)["headless"].is_null());
    let lines = "{\"content\": \"a\", \"provider\": \"toy\"}\n\
                 {\"content\": \"b\", \"provider\": \"toy\", \"headless\": false}\n";
    let sent = world.assigner_with_input(&["--json", "send", "--batch", "-"], lines.as_bytes());
    let sent = sent.succeeded().json();
    let ids: Vec<u64> = sent
        .as_array()
        .expect("tasks")
        .iter()
        .map(|task| task["id"].as_u64().expect("a number"))
        .collect();
    assert_eq!(world.completed(ids[0])["headless"], "toy");
    assert!(world.show(ids[1])["headless"].is_null());
    let edited = ids[1].to_string();
    world
        .assigner(&["edit", &edited, "--headless", "--provider", "toy"])
        .succeeded();
    world.completed(ids[1]);
    world.assigner(&["pause", "one"]).succeeded();
    let taken_back = ask(&world, &[], "taken back");
    world
        .assigner(&["edit", &taken_back.to_string(), "--no-headless"])
        .succeeded();
    let task = world.show(taken_back);
    assert!(task["headless"].is_null(), "{task:#}");
    assert_eq!(task["target_provider"], "toy", "{task:#}");
    assert_eq!(task["kind"], "prompt");
}

/// The shell that was to ask the agent must never run the prompt itself.
#[test]
fn another_wish_for_agents_leaves_it_a_prompt() {
    let world = with_shells(&["one"]);
    let _daemon = world.daemon();
    world.session_is("one", "idle");
    world.assigner(&["pause", "one"]).succeeded();
    let id = ask(&world, &[], "touch broken");
    let providers = ["--providers", "claude,codex", "--allow-fallback"];
    let number = id.to_string();
    let edited = [&["edit", &number][..], &providers].concat();
    world.assigner(&edited).succeeded();
    let task = world.show(id);
    assert_eq!(
        (&task["kind"], &task["headless"]),
        (&json!("prompt"), &Value::Null)
    );
    world.assigner(&["resume", "one"]).succeeded();
    world.session_is("one", "idle");
    assert_eq!(world.run("echo goes on"), "goes on\n");
    stays(|| world.show(id)["status"].clone());
    assert!(!world.path("work/broken").exists());
}

/// No part of a prompt is run by the shell.
#[test]
fn nothing_that_is_said_is_run() {
    let world = with_shells(&["one"]);
    let _daemon = world.daemon();
    world.session_is("one", "idle");
    let prompt = "'; touch broken; $(touch broken) `touch broken` \\";
    let id = ask(&world, &[], prompt);
    world.settled(id);
    assert_eq!(notes(&world), [prompt]);
    assert!(!world.path("work/broken").exists());
}

/// Agents find a conversation by the directory in which it took place.
#[test]
fn a_follow_up_runs_where_the_conversation_took_place() {
    let world = with_shells(&["one", "two"]);
    let (first_dir, other_dir) = (world.mkdir("first"), world.mkdir("other"));
    let two = world.mkdir("two");
    let pane = pane_of(&world, "two");
    pane.line(&format!("cd '{two}'"));
    let _daemon = world.daemon();
    world.session_is("one", "idle");
    world.session_is("two", "idle");
    let first = ask(&world, &["-w", &first_dir, "--target", "one"], "WHERE");
    let task = world.completed(first);
    assert_eq!(task["attempts"][0]["turn"]["directory"], first_dir.as_str());
    let number = first.to_string();
    let place = |id: u64| {
        let task = world.completed(id);
        let said = task["output"].as_str().expect("an answer").to_owned();
        said.rsplit(" in ").next().expect("a place").to_owned()
    };
    let after = ["--after", &number, "--target", "two"];
    let next = ask(&world, &after, "WHERE now");
    assert_eq!(place(next), first_dir);
    let told = world.assigner(&["explain", &next.to_string()]).succeeded();
    assert!(told.text().contains(&format!("in a shell, in {first_dir}")));
    let reply = world.json(&["reply", &number, "WHERE again"]);
    assert_eq!(place(reply["id"].as_u64().expect("a number")), first_dir);
    // Unless the sender says otherwise.
    let elsewhere = [&after[..], &["-w", &other_dir]].concat();
    assert_eq!(place(ask(&world, &elsewhere, "WHERE else")), other_dir);
    // A terminal's directory is not what its sender says.
    let typed = format!(
        "{} send --data-dir '{}' --headless --provider toy --target one --after {number} 'WHERE typed'",
        program(),
        text(world.data())
    );
    let before = world.json(&["list"]).as_array().map_or(0, Vec::len);
    pane.line(&typed);
    let typed = world.eventually(|| {
        let tasks = world.json(&["list"]);
        let tasks = tasks.as_array().expect("tasks");
        let ids = tasks.iter().filter_map(|task| task["id"].as_u64());
        match tasks.len() > before {
            true => Ok(ids.max().expect("a number")),
            false => Err("it was not sent".to_owned()),
        }
    });
    assert_eq!(place(typed), first_dir);

    // A parent without a directory of its own ran in its session's.
    let own = ask(&world, &["--target", "two"], "WHERE");
    let there = place(own);
    assert_ne!(there, first_dir);
    let own = own.to_string();
    let next = ask(&world, &["--after", &own, "--target", "one"], "WHERE");
    assert_eq!(place(next), there);

    fs::remove_dir(&first_dir).expect("removed");
    let lost = ask(&world, &["--after", &number], "WHERE at all");
    let task = world.settled(lost);
    assert_eq!(task["status"], "failed", "{task:#}");
    let error = task["error"].as_str().expect("an error");
    for words in [
        "does not exist",
        "the conversation that it continues took place there",
    ] {
        assert!(error.contains(words), "{error}");
    }
}

#[test]
fn of_several_conversations_that_of_the_same_agent_counts() {
    let world = with_shells(&["one"]);
    let _daemon = world.daemon();
    world.session_is("one", "idle");
    let ended = |provider: &str, prompt: &str| {
        let id = world.send(&["--headless", "--provider", provider, "--", prompt]);
        world.completed(id);
        id.to_string()
    };
    let (first, other) = (ended("toy", "NAMED=a"), ended("other", "NAMED=b"));
    let later = ended("toy", "NAMED=c");
    let goes_on = |provider: &str, after: &[&String]| {
        let after: Vec<&str> = after.iter().map(|id| id.as_str()).collect();
        let after = after.join(",");
        let id = world.send(&[
            "--headless",
            "--provider",
            provider,
            "--after",
            &after,
            "--",
            "x",
        ]);
        world.completed(id)["attempts"][0]["turn"]["conversation"].clone()
    };
    assert_eq!(goes_on("toy", &[&first, &other]), "a");
    assert_eq!(goes_on("other", &[&first, &other]), "b");
    assert_eq!(goes_on("other", &[&other, &later]), "b");
    // Of two with the same agent, the one that ended later.
    assert_eq!(goes_on("toy", &[&first, &later]), "c");
    assert_eq!(goes_on("toy", &[&later, &first]), "c");
    // No one has asked this one before.
    assert_eq!(goes_on("third", &[&first, &other]), "c1");
}

#[test]
fn what_the_configuration_cannot_have_is_warned_of() {
    let world = with_shells(&["one"]);
    let config = world.path("home/.config/assigner/config.toml");
    fs::write(
        config,
        "[agents]\nheadless = [\"toy\", \"tyo\", \"aider\"]\n",
    )
    .expect("a file");
    let expected = [
        "there is no profile `tyo`",
        "`aider` cannot be asked without a terminal",
    ];
    let warned = |said: &str| {
        for words in expected {
            assert!(said.contains(words), "no {words:?}: {said}");
        }
    };
    warned(
        &world
            .assigner(&["send", "--shell", "true"])
            .succeeded()
            .stderr,
    );
    // A prompt for such an agent says how it is to be asked.
    let aider = |way: &[&str]| {
        world.assigner(&[&["send"], way, &["--provider", "aider", "--", "x"]].concat())
    };
    assert!(aider(&[]).refused(2).stderr.contains(expected[1]));
    assert!(
        aider(&["--headless"])
            .refused(2)
            .stderr
            .contains(expected[1])
    );
    aider(&["--no-headless"]).succeeded();
    warned(&world.assigner(&["doctor"]).succeeded().stderr);
    world.assigner(&["cancel", "1", "2"]).succeeded();
    warned(&world.assigner(&["run", "--once"]).stderr);
    let listed = world.json(&["agents", "list"]);
    let asked = |name: &str| {
        let mut entries = listed.as_array().expect("a list").iter();
        let entry = entries.find(|entry| entry["name"] == name);
        entry.expect("an entry")["asked"].clone()
    };
    assert_eq!(asked("toy"), "headless");
    assert_eq!(asked("aider"), "session");
    assert_eq!(asked("amp"), Value::Null);
    let listed = world.assigner(&["agents", "list"]).succeeded().text();
    let line = listed.lines().find(|line| line.starts_with("toy "));
    assert!(
        line.is_some_and(|line| line.contains(" headless")),
        "{listed}"
    );
}

#[test]
fn of_two_ways_the_last_counts() {
    let world = with_shells(&[]);
    for (options, expected) in [
        (["--headless", "--no-headless"], Value::Null),
        (["--no-headless", "--headless"], json!("toy")),
    ] {
        let id = world.send(&[&options[..], &["--provider", "toy", "--", "x"]].concat());
        assert_eq!(world.show(id)["headless"], expected, "{options:?}");
        let id = world.send(&["--provider", "toy", "--", "x"]).to_string();
        let edit = [&["edit", &id][..], &options, &["--provider", "toy"]].concat();
        world.assigner(&edit).succeeded();
        let task = world.show(id.parse().expect("a number"));
        assert_eq!(task["headless"], expected, "{options:?}");
    }
}
