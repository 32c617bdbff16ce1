//! The control client: what it leaves behind, and what happens after it or its server has ended.

use super::*;

#[tokio::test]
async fn the_holder_goes_with_its_client() {
    let sandbox = Sandbox::with("work", &["cat", "-"]);
    let server = sandbox.connected().await;
    sandbox.holders(1).await;
    drop(server);
    sandbox.holders(0).await;

    let server = sandbox.connected().await;
    sandbox.kill_client();
    sandbox.holders(0).await;
    drop(server);
}

/// When assigner itself is killed, nothing is dropped: the client sees its input end.
#[tokio::test]
async fn the_holder_goes_with_its_process() {
    let sandbox = Sandbox::with("work", &["cat", "-"]);
    // It is killed at another point of its work each time.
    for _ in 0..10 {
        let mut assigner = Command::new(std::env::current_exe().expect("this program"))
            .args(["--exact", "tmux::tests::client::a_process_that_connects"])
            .env(CONNECT_TO, &sandbox.socket)
            .stdout(std::process::Stdio::null())
            .spawn()
            .expect("started");
        sandbox.holders(1).await;
        assigner.kill().expect("killed");
        assigner.wait().expect("reaped");
        sandbox.holders(0).await;
        let names = sandbox.tmux(&["list-sessions", "-F", "#{session_name}"]);
        assert_eq!(names, "work");
    }
}

const CONNECT_TO: &str = "ASSIGNER_TEST_CONNECT_TO";

/// The process that the test above starts. Without its variable, it does nothing.
#[tokio::test]
async fn a_process_that_connects() {
    if let Some(socket) = std::env::var_os(CONNECT_TO) {
        let mut server = Server::new(Program::new("tmux", Socket::Path(socket.into())));
        let deadline = Instant::now() + PATIENCE;
        // Answers must be outstanding when it is killed: that once crashed a server.
        while Instant::now() < deadline {
            server.panes().await.expect("a list");
            assert!(server.is_connected());
        }
    }
}

#[tokio::test]
async fn a_killed_client_is_replaced_and_nothing_is_lost() {
    let sandbox = Sandbox::with("cat", &["sh", "-c", "stty -echo; printf x; exec cat"]);
    let mut server = sandbox.connected().await;
    let pane = awake(&mut server).await;
    for (turn, text) in ["one", "two"].into_iter().enumerate() {
        sandbox.kill_client();
        // Wait until tmux has noticed, because otherwise the outcome of a line could rightly be
        // unknown.
        wait_for("the end of the client", async || {
            sandbox.tmux(&["list-clients"]).is_empty().then_some(())
        })
        .await;
        let typed = type_one(
            &mut server,
            TypedLine {
                cursor: only_cursor(&sandbox),
                ..line(&pane, text)
            },
        )
        .await;
        match typed {
            // Written to a pipe whose other end tmux had not closed yet: it is never sent again.
            Typed::Unknown(_) => {}
            Typed::Done => {
                wait_for("the text", async || {
                    let tail = server.tail(&pane.identity, 9).await.expect("a tail");
                    (tail.matches(text).count() == 1).then_some(())
                })
                .await;
            }
            Typed::Refused(refusal) => panic!("{turn}: {refusal}"),
        }
        assert_eq!(server.panes().await.expect("a list").len(), 1);
        wait_for("a new client", async || {
            server.panes().await.expect("a list");
            server.is_connected().then_some(())
        })
        .await;
    }
}

fn only_cursor(sandbox: &Sandbox) -> (u32, u32) {
    let text = sandbox.tmux(&[
        "display-message",
        "-p",
        "-t",
        "cat:",
        "#{cursor_x} #{cursor_y}",
    ]);
    let (column, row) = text.split_once(' ').expect("two numbers");
    (
        column.parse().expect("a number"),
        row.parse().expect("a number"),
    )
}

/// A client that does not answer is given up in time. Reading continues, typing is not repeated.
#[tokio::test]
async fn a_wedged_client_is_given_up() {
    let sandbox = Sandbox::with("cat", &["sh", "-c", "stty -echo; printf x; exec cat"]);
    let mut servers = [sandbox.connected().await, sandbox.connected().await];
    let pane = awake(&mut servers[0]).await;
    // Stopping the server blocks both ways at once; it resumes while the second one waits.
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
    assert!(
        matches!(&typed[..], [Typed::Unknown(Error::TimedOut(_))]),
        "{typed:?}"
    );
    assert!(!reader.is_connected() && !writer.is_connected());
    // tmux may have received it after all, but not twice.
    let tail = writer.tail(&pane.identity, 9).await.expect("a tail");
    assert!(tail.matches("once").count() <= 1, "{tail}");
}

/// A request that is dropped half-way must not leave its answer to the next one.
#[tokio::test]
async fn a_dropped_request_harms_nothing() {
    let sandbox = Sandbox::with("cat", &["cat", "-"]);
    let mut server = sandbox.connected().await;
    let _ = tokio::time::timeout(Duration::ZERO, server.panes()).await;
    assert_eq!(server.panes().await.expect("a list").len(), 1);
    let _ = tokio::time::timeout(Duration::ZERO, server.changed()).await;
    assert_eq!(server.panes().await.expect("a list").len(), 1);
}

#[tokio::test]
async fn changes_are_announced() {
    let sandbox = Sandbox::with("work", &["cat", "-"]);
    let mut server = sandbox.connected().await;
    server.panes().await.expect("a list");
    // The changes that the connection itself caused have been reported by now.
    while tokio::time::timeout(Duration::from_millis(100), server.changed())
        .await
        .is_ok()
    {}
    for change in [
        &["new-session", "-d", "-s", "more", "cat", "-"][..],
        &["rename-session", "-t", "more", "other"],
        &["new-window", "-d", "-t", "other:", "cat", "-"],
        &["kill-window", "-t", "other:1"],
        &["kill-session", "-t", "other"],
    ] {
        sandbox.tmux(change);
        tokio::time::timeout(PATIENCE, server.changed())
            .await
            .unwrap_or_else(|_| panic!("not told of {change:?}"));
        server.panes().await.expect("a list");
    }
    assert!(server.is_connected());
}

#[tokio::test]
async fn the_end_of_the_server_is_noticed_and_the_next_one_found() {
    let sandbox = Sandbox::with("work", &["cat", "-"]);
    let mut server = sandbox.connected().await;
    let before = only(&mut server).await;
    sandbox.tmux(&["kill-server"]);
    tokio::time::timeout(PATIENCE, async {
        while server.is_connected() {
            server.changed().await;
        }
    })
    .await
    .expect("it is noticed");
    wait_for("the end", async || {
        matches!(server.panes().await, Err(Error::NoServer)).then_some(())
    })
    .await;
    sandbox.session("work", &["cat", "-"]);
    let after = only(&mut server).await;
    assert!(server.is_connected());
    assert_ne!(before.identity, after.identity);
    assert_eq!(
        refusal(&mut server, line(&before, "never")).await,
        Refusal::Gone
    );
}

/// A holder must not keep a server alive that has nothing else left.
#[tokio::test]
async fn a_server_may_end_while_assigner_watches() {
    let sandbox = Sandbox::with("work", &["cat", "-"]);
    let mut servers = [sandbox.connected().await, sandbox.connected().await];
    sandbox.tmux(&["kill-session", "-t", "work"]);
    for server in &mut servers {
        match server.panes().await {
            Ok(panes) => assert!(panes.is_empty()),
            Err(error) => assert!(matches!(error, Error::NoServer), "{error}"),
        }
    }
    wait_for("the end of the server", async || {
        matches!(servers[0].panes().await, Err(Error::NoServer)).then_some(())
    })
    .await;
}
