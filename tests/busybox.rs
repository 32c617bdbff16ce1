//! The shell of busybox, which has a line editor of its own and reports nothing about it.

use assigner_needs::needs;

use crate::harness::{Pane, World};

#[needs(busybox)]
#[test]
fn its_default_prompt_is_known_and_a_draft_is_kept() {
    for (start, name) in [
        ("exec busybox sh", "plain"),
        ("exec -a ash busybox", "named"),
    ] {
        let world = World::new();
        let bash = format!("bash -c '{start}'");
        let id = world.tmux(&[
            "new-session",
            "-d",
            "-P",
            "-F",
            "#{pane_id}",
            "-s",
            name,
            &bash,
        ]);
        let pane = Pane::new(&world, id.trim().to_owned());
        let _daemon = world.daemon();
        world.session_is(name, "idle");
        let id = world.shell_with(&["-e", "STAGE=dev"], "echo \"$STAGE\"");
        world.completed(id);
        assert_eq!(world.output(id), b"dev\n");
        let id = world.send(&["--shell", "--", "(exit 3)"]);
        let task = world.settled(id);
        assert_eq!(task["exit_code"], 3, "{task:#}");

        pane.keys(&["ls", "Space"]);
        let waiting = world.send(&["--shell", "--", "echo now"]);
        world.eventually(|| match world.session_entry(name) {
            Some(session) if session["status"] != "idle" => Ok(()),
            other => Err(format!("{other:?}")),
        });
        assert_eq!(world.show(waiting)["status"], "pending");
        pane.keys(&["C-u"]);
        world.completed(waiting);

        let id = world.send(&["--shell", "--", "exit 4"]);
        let task = world.settled(id);
        assert_eq!(task["exit_code"], 4, "{task:#}");
    }
}
