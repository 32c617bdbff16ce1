//! Prompts, responses and names of any text.

use super::{Desk, error, ready, tries};
use crate::harness::agents::{patiently, session_becomes, session_running, task_ends};
use crate::harness::{assert_calm, text};

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
