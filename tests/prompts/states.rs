//! How the state of an agent is recognised and reported to people.

use std::fs;

use super::{Desk, error, tries};
use crate::harness::agents::{patiently, session_becomes, task_ends};
use crate::harness::assert_calm;

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
