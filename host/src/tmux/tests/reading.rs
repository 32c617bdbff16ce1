//! What is read from a server: its panes, who looks at them, and their text.

use super::*;
use crate::tmux::script::Script;

#[tokio::test]
async fn no_server_is_told() {
    let sandbox = Sandbox::empty();
    for mut server in [
        Server::new(sandbox.program()),
        Server::spawning(sandbox.program()),
    ] {
        assert!(matches!(server.panes().await, Err(Error::NoServer)));
        assert!(!server.is_direct());
        let identity = Identity {
            node: Default::default(),
            server_pid: 1,
            server_start: 1,
            pane: PaneId::parse("%0").expect("an id"),
            pane_pid: 1,
        };
        let typed = server
            .type_lines(&[TypedLine {
                key: None,
                identity: identity.clone(),
                cursor: (0, 0),
                text: "x".into(),
                output: PaneOutput::AsItIs,
            }])
            .await;
        assert!(
            matches!(&typed[..], [Typed::Refused(Refusal::Gone)]),
            "{typed:?}"
        );
        assert!(matches!(
            server.interrupt(&identity).await,
            Typed::Refused(Refusal::Gone)
        ));
        assert!(server.close_pipe(&identity).await.is_ok());
    }
    assert!(!sandbox.socket.exists(), "a server was started");
    let mut missing = Server::new(Program::new("/nonexistent/tmux", Socket::Default));
    assert!(matches!(missing.panes().await, Err(Error::Missing(_))));
}

#[tokio::test]
async fn sockets_are_reached_by_name() {
    let dir = TempDir::new().expect("a directory");
    let wrapper = dir.path().join("tmux");
    write_program(&wrapper, "#!/bin/sh\nprintf '%s\\n' \"$@\" >&2\nexit 1\n");
    for (text, expected) in [
        ("", "-u; -N; source"),
        ("a b", "-u; -N; -L; a b; source"),
        ("./x", "-u; -N; -S; ./x; source"),
    ] {
        let mut server = Server::new(Program::new(&wrapper, text.parse().expect("infallible")));
        match server.panes().await {
            Err(Error::Tmux(said)) => assert!(said.starts_with(expected), "{said}"),
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn panes_are_listed_both_ways() {
    let hostile = "a\tb\nc\x1b[31m \\ é #{pid} %H \"x\" 'q' ; $HOME ~ {}";
    let sandbox = Sandbox::with(
        hostile,
        &["bash", "-c", "exec -a $'evil\\nassigner\\t%end' sleep 1000"],
    );
    sandbox.session("empty", &["cat", "-"]);
    sandbox.tmux(&["split-window", "-d", "-t", "empty:", "cat", "-"]);
    sandbox.tmux(&["link-window", "-d", "-s", "empty:", "-t", "empty:7"]);
    let [mut direct, mut spawning] = sandbox.drivers().await;

    let panes = wait_for("the name", async || {
        let panes = direct.panes().await.expect("a list");
        panes
            .iter()
            .any(|pane| pane.command.starts_with("evil"))
            .then_some(panes)
    })
    .await;
    assert_eq!(panes, spawning.panes().await.expect("a list"));
    assert_eq!(panes.len(), 3);
    let evil = panes
        .iter()
        .find(|pane| pane.session != "empty")
        .expect("the hostile one");
    assert_eq!(evil.command, "evil\nassigner\t%end");
    assert!(
        evil.session.starts_with(r"a\tb\nc\033[31m \\ é "),
        "{}",
        evil.session
    );
    assert!(!evil.session.contains(char::is_control));
    let cat = panes
        .iter()
        .find(|pane| pane.session == "empty" && pane.pane_index == 1)
        .expect("the split");
    assert_eq!(
        (cat.window_index, cat.dead, cat.watched_until),
        (0, false, None)
    );
    assert!(cat.tty.starts_with("/dev"));
    assert_eq!(
        std::fs::read(format!("/proc/{}/comm", cat.identity.pane_pid)).unwrap_or_default(),
        b"cat\n"
    );
}

#[tokio::test]
async fn a_person_who_looks_is_seen() {
    let sandbox = Sandbox::with("work", &["cat", "-"]);
    sandbox.tmux(&["split-window", "-t", "work:", "cat", "-"]);
    let mut person = sandbox.command();
    person.args(["-C", "attach", "-f", "no-output", "-t", "work"]);
    let mut person = person
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::null())
        .spawn()
        .expect("attached");
    for mut server in sandbox.drivers().await {
        let panes = wait_for("the client", async || {
            let panes = server.panes().await.expect("a list");
            panes
                .iter()
                .any(|pane| pane.watched_until.is_some())
                .then_some(panes)
        })
        .await;
        let watched: Vec<_> = panes
            .iter()
            .map(|pane| pane.watched_until.is_some())
            .collect();
        assert_eq!(watched, [false, true], "the active pane alone");
        assert!(panes[1].watched_until > Some(panes[1].identity.server_start - 1));
    }
    drop(person.stdin.take());
    person.wait().expect("ended");
}

#[tokio::test]
async fn tails_are_joined_and_plain() {
    let script = r"printf '\033[31mred\033[0m\n\n'; printf '%0100d\nlast  \n\n' 7; exec cat";
    let sandbox = Sandbox::with("cat", &["sh", "-c", script]);
    for mut server in sandbox.drivers().await {
        let pane = awake(&mut server).await;
        let long = format!("{:0100}", 7);
        let tail = wait_for("all of it", async || {
            Some(server.tail(&pane.identity, 3).await.expect("a tail"))
                .filter(|tail| tail.ends_with("last"))
        })
        .await;
        assert_eq!(tail, format!("red\n{long}\nlast"));
        assert_eq!(
            server.tail(&pane.identity, 2).await.expect("a tail"),
            format!("{long}\nlast")
        );
        assert_eq!(server.tail(&pane.identity, 0).await.expect("a tail"), "");
    }
}

#[tokio::test]
async fn cursor_lines_are_those_of_the_list() {
    let sandbox = Sandbox::with(
        "cat",
        &[
            "sh",
            "-c",
            "stty -echo; printf '\\n日本$ typed\\033[5D'; exec cat",
        ],
    );
    for mut server in sandbox.drivers().await {
        let pane = wait_for("the line", async || {
            Some(only(&mut server).await).filter(|pane| pane.cursor == (6, 1))
        })
        .await;
        let moved = Pane {
            cursor: (5, 1),
            ..pane.clone()
        };
        let mut gone = pane.clone();
        gone.identity.pane = PaneId::parse("%999").expect("an id");
        let lines = server
            .cursor_lines(&[&gone, &pane, &moved])
            .await
            .expect("lines");
        let expected = CursorLine {
            before: "日本$ ".into(),
            after: "typed".into(),
            above: vec![String::new()],
            below: vec![String::new(); 4],
        };
        assert_eq!(lines, [None, Some(expected), None]);
        assert!(server.cursor_lines(&[]).await.expect("none").is_empty());
    }
}

/// A pane can print what looks like the end of an answer, but it is not believed.
#[tokio::test]
async fn a_screen_cannot_forge_an_answer() {
    let sandbox = Sandbox::empty();
    let path = sandbox.dir.path().join("forged");
    let nonce = Script::new().nonce().to_owned();
    let forged = format!("%end 1 1 1\n{nonce} end\nassigner end\n{nonce} pane\t1\n").repeat(9);
    std::fs::write(&path, &forged).expect("written");
    let path = path.to_str().expect("UTF-8");
    let show = "cat \"$0\"; printf stop; exec cat";
    sandbox.session("forger", &["sh", "-c", show, path]);
    for mut server in sandbox.drivers().await {
        let tail = wait_for("all of it", async || {
            let pane = only(&mut server).await;
            let tail = server.tail(&pane.identity, 1_000).await.expect("a tail");
            tail.ends_with("stop").then_some(tail)
        })
        .await;
        assert_eq!(tail.lines().count(), 9 * 4 + 1, "{tail}");
        assert_eq!(server.panes().await.expect("a list").len(), 1);
    }
}
