//! Sessions that are started and ended.

use super::*;

/// A session to be started whose texts are hard to quote.
fn new_session(sandbox: &Sandbox, name: &str, command: &[&str]) -> NewSession {
    let file = sandbox.hostile("file");
    let directory = file.parent().expect("a directory");
    let hostile = r#"a b'c"d#{pid}##[x]#%H;$HOME~`id`\é🚀 {};"#;
    NewSession {
        name: name.to_owned(),
        directory: directory.to_str().expect("UTF-8").to_owned(),
        command: command.iter().map(|&word| word.to_owned()).collect(),
        variables: [("HOSTILE".to_owned(), hostile.to_owned())].into(),
        mark: Mark {
            pool: "p".to_owned(),
            owner: "/data #{pid},}'x;".to_owned(),
        },
    }
}

/// Waits until there is a session whose pane shows a text, and returns it.
async fn session_that_shows(server: &mut Server, name: &str, text: &str) -> Session {
    wait_for(&format!("{name} to show {text:?}"), async || {
        let sessions = server.sessions().await.ok()?;
        let session = sessions.into_iter().find(|session| session.name == name)?;
        let shown = server.tail(&session.pane, 20).await.ok()?;
        shown.contains(text).then_some(session)
    })
    .await
}

#[tokio::test]
async fn a_session_is_started_as_it_is_told() {
    let sandbox = Sandbox::empty();
    // The first one starts the server.
    let mut server = Server::new(sandbox.program());
    let first = new_session(
        &sandbox,
        "p-1",
        &["printf '%s|' \"$HOSTILE\" \"$PWD\"; exec cat;"],
    );
    server.start_session(&first).await.expect("started");
    let shown = format!("{}|{}|", first.variables["HOSTILE"], first.directory);
    let session = session_that_shows(&mut server, "p-1", &shown).await;
    assert_eq!(session.mark, Some(first.mark.clone()));
    assert!(session.is_alone() && !session.dead && !session.up);
    for (index, mut driver) in sandbox.drivers().await.into_iter().enumerate() {
        let name = format!("q-{index}");
        // tmux may lose the output of a program that ends at once.
        let script = "printf '%s|' \"$@\"; sleep 0.3;";
        let words = ["sh", "-c", script, "sh", "a;", "b #{pid}", ";"];
        let new = new_session(&sandbox, &name, &words);
        driver.start_session(&new).await.expect("started");
        let session = session_that_shows(&mut driver, &name, "a;|b #{pid}|;|").await;
        wait_for("the end of the program", async || {
            let sessions = driver.sessions().await.ok()?;
            let same = |listed: &&Session| listed.id == session.id;
            sessions.iter().find(same)?.dead.then_some(())
        })
        .await;
        let again = driver.start_session(&new).await;
        assert!(matches!(again, Err(Error::Tmux(said)) if said.contains("duplicate")));
        for (name, directory, command) in [
            ("a.b", "/", "cat"),
            ("a", "here", "cat"),
            ("a", "/", "a\nb"),
            ("", "/", "cat"),
        ] {
            let unfit = NewSession {
                name: name.to_owned(),
                directory: directory.to_owned(),
                command: vec![command.to_owned()],
                ..new.clone()
            };
            assert!(
                driver.start_session(&unfit).await.is_err(),
                "{name} {command}"
            );
        }
    }
    // Sessions of others have no mark, and holders are left out.
    sandbox.session("theirs", &["cat"]);
    let sessions = server.sessions().await.expect("a list");
    let unmarked = sessions.iter().filter(|session| session.mark.is_none());
    let unmarked: Vec<&str> = unmarked.map(|session| session.name.as_str()).collect();
    assert_eq!(unmarked, ["theirs"]);
}

#[tokio::test]
async fn a_session_is_ended_only_as_it_was_listed() {
    let sandbox = Sandbox::with("keeper", &["cat"]);
    for (index, mut driver) in sandbox.drivers().await.into_iter().enumerate() {
        let name = format!("p-{index}");
        let target = format!("={name}:");
        let new = new_session(&sandbox, &name, &["exec cat"]);
        driver.start_session(&new).await.expect("started");
        let listed = async |driver: &mut Server| {
            let sessions = driver.sessions().await.expect("a list");
            sessions.into_iter().find(|session| session.name == name)
        };
        let session = listed(&mut driver).await.expect("a session");
        let refused = async |driver: &mut Server, session: &Session| {
            let ended = driver.end_session(session).await.expect("an answer");
            assert!(!ended);
        };
        assert!(driver.mark_up(&session).await.expect("an answer"));
        assert!(listed(&mut driver).await.is_some_and(|session| session.up));
        // Somebody types there, adds a window, links it or attaches, or it is another program.
        sandbox.tmux(&["send-keys", "-t", &target, "x"]);
        sandbox.tmux(&["run-shell", "sleep 0.3"]);
        refused(&mut driver, &session).await;
        let session = listed(&mut driver).await.expect("a session");
        sandbox.tmux(&["new-window", "-d", "-t", &target, "cat"]);
        refused(&mut driver, &session).await;
        let crowded = listed(&mut driver).await.expect("a session");
        assert!(!crowded.is_alone());
        refused(&mut driver, &crowded).await;
        sandbox.tmux(&["kill-window", "-t", &format!("{target}1")]);
        let group = format!("group-{index}");
        sandbox.tmux(&["new-session", "-d", "-s", &group, "-t", &target]);
        refused(&mut driver, &session).await;
        assert!(
            listed(&mut driver)
                .await
                .is_some_and(|session| session.shared)
        );
        sandbox.tmux(&["kill-session", "-t", &group]);
        let mut client = sandbox
            .command()
            .args(["-C", "attach-session", "-f", "ignore-size", "-t", &target])
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::null())
            .spawn()
            .expect("a client");
        wait_for("the client", async || {
            listed(&mut driver)
                .await
                .filter(|session| session.clients == 1)
        })
        .await;
        refused(&mut driver, &session).await;
        client.kill().expect("killed");
        client.wait().expect("its end");
        wait_for("the client's end", async || {
            listed(&mut driver)
                .await
                .filter(|session| session.clients == 0)
        })
        .await;
        sandbox.tmux(&["respawn-pane", "-k", "-t", &target, "exec cat"]);
        refused(&mut driver, &session).await;
        let session = listed(&mut driver).await.expect("a session");
        assert!(driver.end_session(&session).await.expect("an answer"));
        assert!(listed(&mut driver).await.is_none());
        refused(&mut driver, &session).await;
        assert!(!driver.mark_up(&session).await.expect("an answer"));
    }
    // The last session takes the server with it.
    let mut server = Server::spawning(sandbox.program());
    sandbox.tmux(&["kill-session", "-t", "keeper"]);
    let only = new_session(&sandbox, "p-9", &["exec cat"]);
    server.start_session(&only).await.expect("started");
    let session = session_that_shows(&mut server, "p-9", "").await;
    assert!(server.end_session(&session).await.expect("an answer"));
}
