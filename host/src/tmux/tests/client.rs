//! Our client: what is seen of it, and what happens when its server does not answer, ends, or changes.

use super::*;

/// Everything about a server that a person could notice.
fn state(sandbox: &Sandbox) -> Vec<String> {
    [
        &[
            "list-sessions",
            "-F",
            "#{session_id} #{session_name} #{session_attached} #{session_last_attached}",
        ][..],
        &[
            "list-windows",
            "-a",
            "-F",
            "#{window_id} #{window_name} #{window_flags} #{pane_id}",
        ],
        &["list-clients"],
        &["list-buffers"],
        &["show-options", "-g"],
        &["show-options", "-s"],
        &["show-hooks", "-g"],
        // Where a command without a target goes.
        &[
            "display-message",
            "-p",
            "#{session_id} #{window_id} #{pane_id}",
        ],
    ]
    .map(|args| sandbox.tmux(args))
    .to_vec()
}

#[tokio::test]
async fn nobody_notices_it() {
    let sandbox = Sandbox::with("one", &["cat", "-"]);
    sandbox.session("two", &["sh", "-c", "stty -echo; printf x; exec cat"]);
    sandbox.tmux(&["set-option", "-g", "automatic-rename", "off"]);
    let noticed = sandbox.dir.path().join("noticed");
    for hook in [
        "client-attached",
        "client-detached",
        "client-session-changed",
        "session-created",
        "session-closed",
        "after-new-session",
        "window-linked",
    ] {
        let note = format!("run-shell 'echo {hook} >> {}'", noticed.display());
        sandbox.tmux(&["set-hook", "-g", hook, &note]);
    }
    for mut server in sandbox.drivers().await {
        let before = state(&sandbox);
        let pane = wait_for("the program", async || {
            let panes = server.panes().await.expect("a list");
            let two = panes.into_iter().find(|pane| pane.session == "two")?;
            (two.cursor != (0, 0)).then_some(two)
        })
        .await;
        let typed = type_one(&mut server, line(&pane, "typed")).await;
        assert!(matches!(typed, Typed::Done), "{typed:?}");
        let aim = |cursor| Aim {
            identity: pane.identity.clone(),
            cursor,
            command: None,
        };
        // Once where it is pasted, and once where it is not.
        for cursor in [(999, 0), cursor_of(&mut server, &pane, "typed").await] {
            server
                .paste(&Paste {
                    aim: aim(cursor),
                    text: "a\nprompt".to_owned(),
                })
                .await;
            server.screens(&[&pane.identity]).await.expect("screens");
            server.sessions().await.expect("sessions");
            assert_eq!(state(&sandbox), before);
        }
        // What was typed is taken away, so that the next way finds the same.
        sandbox.tmux(&["respawn-pane", "-k", "-t", "two:"]);
    }
    let noticed = std::fs::read_to_string(&noticed).unwrap_or_default();
    assert_eq!(noticed, "", "hooks have run");
}

/// Returns where the cursor is once the pane shows `text`.
async fn cursor_of(server: &mut Server, pane: &Pane, text: &str) -> (u32, u32) {
    wait_for(text, async || {
        let tail = server.tail(&pane.identity, 9).await.expect("a tail");
        let panes = server.panes().await.expect("a list");
        let now = panes.iter().find(|now| now.identity == pane.identity)?;
        tail.contains(text).then_some(now.cursor)
    })
    .await
}

/// A control client that connects while sessions come and go can end a server before 3.7, with
/// everything in it. So this is what a daemon must never be.
#[tokio::test]
async fn a_server_lives_on_beside_sessions_that_come_and_go() {
    let sandbox = Sandbox::with("work", &["cat", "-"]);
    let pid = sandbox.tmux(&["display-message", "-p", "#{pid}"]);
    let churn = "for i in $(seq 150); do
        \"$@\" new-session -d -s churn$i 'cat -' \\; rename-session -t churn$i c$i
        \"$@\" kill-session -t c$i
    done";
    let tmux = sandbox.command();
    let mut beside = Command::new("sh")
        .args(["-c", churn, "sh"])
        .arg(tmux.get_program())
        .args(tmux.get_args())
        .env_remove("TMUX")
        .spawn()
        .expect("sh runs");
    let mut asked = 0;
    while beside.try_wait().expect("a child").is_none() {
        // A new one each time, as a daemon that starts.
        let mut server = Server::new(sandbox.program());
        for _ in 0..20 {
            let panes = server.panes().await.expect("a list");
            assert!(panes.iter().any(|pane| pane.session == "work"));
            asked += 1;
        }
    }
    assert!(asked > 100, "{asked}");
    assert_eq!(sandbox.tmux(&["display-message", "-p", "#{pid}"]), pid);
    let sessions = sandbox.tmux(&["list-sessions", "-F", "#{session_name}"]);
    assert_eq!(sessions, "work");
}

/// A server that does not answer is given up in time. Reading continues, typing is not repeated.
#[tokio::test]
async fn a_wedged_server_is_given_up() {
    let sandbox = Sandbox::with("cat", &["sh", "-c", "stty -echo; printf x; exec cat"]);
    let mut servers = [sandbox.direct().await, sandbox.direct().await];
    let pane = awake(&mut servers[0]).await;
    // Stopping the server blocks both at once; it resumes while they wait.
    let stop = |signal| {
        let pid = Pid::from_raw(pane.identity.server_pid.cast_signed()).expect("a pid");
        kill_process(pid, signal).expect("signalled");
    };
    let [reader, writer] = &mut servers;
    stop(Signal::STOP);
    let wake = async {
        tokio::time::sleep(Duration::from_millis(2_500)).await;
        stop(Signal::CONT);
    };
    let lines = [line(&pane, "once")];
    let (panes, typed, ()) = tokio::join!(reader.panes(), writer.type_lines(&lines), wake);
    assert_eq!(panes.expect("a list").len(), 1);
    // The server had not begun with the request, so a process could ask.
    assert!(matches!(&typed[..], [Typed::Done]), "{typed:?}");
    assert!(!reader.is_direct() && !writer.is_direct());
    let tail = wait_for("the line", async || {
        let tail = writer.tail(&pane.identity, 9).await.expect("a tail");
        tail.contains("once").then_some(tail)
    })
    .await;
    assert_eq!(tail.matches("once").count(), 1, "{tail}");
}

/// A request that is dropped half-way must not leave its answer to the next one.
#[tokio::test]
async fn a_dropped_request_harms_nothing() {
    let sandbox = Sandbox::with("cat", &["cat", "-"]);
    let mut server = sandbox.direct().await;
    for _ in 0..20 {
        let _ = tokio::time::timeout(Duration::ZERO, server.panes()).await;
        assert_eq!(server.panes().await.expect("a list").len(), 1);
    }
}

#[tokio::test]
async fn the_end_of_the_server_is_noticed_and_the_next_one_found() {
    let sandbox = Sandbox::with("work", &["cat", "-"]);
    let mut server = sandbox.direct().await;
    let direct = server.is_direct();
    let before = only(&mut server).await;
    sandbox.tmux(&["kill-server"]);
    wait_for("the end", async || {
        matches!(server.panes().await, Err(Error::NoServer)).then_some(())
    })
    .await;
    assert!(!server.is_direct());
    sandbox.session("work", &["cat", "-"]);
    let after = only(&mut server).await;
    assert_eq!(server.is_direct(), direct);
    assert_ne!(before.identity, after.identity);
    assert_eq!(
        refusal(&mut server, line(&before, "never")).await,
        Refusal::Gone
    );
}
