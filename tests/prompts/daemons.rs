//! A daemon that is killed, and two daemons on one tmux server.

use super::{Desk, tries};
use crate::harness::agents::patiently;
use crate::harness::{Daemon, assert_calm, is_settled, text};

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
