//! What is typed and pasted into panes, and what is refused.

use super::*;

#[tokio::test]
async fn lines_arrive_in_every_shell_and_run() {
    for way in 0..2 {
        let shells: [(&str, &[&str]); 5] = [
            ("bash", &["bash", "--norc", "--noprofile"]),
            ("zsh", &["zsh", "-f"]),
            ("fish", &["fish", "--no-config"]),
            ("dash", &["dash"]),
            ("sh", &["bash", "--posix", "--norc"]),
        ];
        let sandbox = Sandbox::empty();
        for (name, argv) in shells {
            sandbox.session(name, &[&["env", "PS1=ready> "], argv].concat());
        }
        let mut server = sandbox
            .drivers()
            .await
            .into_iter()
            .nth(way)
            .expect("two ways");
        let panes = wait_for("all prompts", async || {
            let panes = server.panes().await.expect("a list");
            let lines = server
                .cursor_lines(&panes.iter().collect::<Vec<_>>())
                .await
                .expect("lines");
            let ready = |line: &Option<CursorLine>| {
                line.as_ref().is_some_and(|line| {
                    line.before.ends_with(['>', '#', ' '])
                        && line.before.trim_end().ends_with(['>', '#'])
                })
            };
            lines.iter().all(ready).then_some(panes)
        })
        .await;
        let job = |pane: &Pane| sandbox.hostile(&format!("{}.{way}", pane.session));
        let lines: Vec<_> = panes
            .iter()
            .map(|pane| {
                let quoted = job(pane)
                    .display()
                    .to_string()
                    .replace('\\', r"\\")
                    .replace('\'', r"\'");
                // fish and POSIX shells have only this much syntax in common.
                let text = if pane.session == "fish" {
                    format!("echo ran '~ #{{pid}} %H;' > '{quoted}'")
                } else {
                    let quoted = job(pane).display().to_string().replace('\'', r"'\''");
                    format!("echo ran '~ #{{pid}} %H;' > '{quoted}'")
                };
                line(pane, text)
            })
            .collect();
        for typed in server.type_lines(&lines).await {
            assert!(matches!(typed, Typed::Done), "{typed:?}");
        }
        for pane in &panes {
            assert_eq!(
                file(&job(pane), 17).await,
                b"ran ~ #{pid} %H;\n",
                "{}",
                pane.session
            );
        }
        assert_eq!(
            sandbox.tmux(&["list-buffers"]),
            "",
            "no copy of a line stays"
        );
    }
}

#[tokio::test]
async fn every_byte_arrives() {
    let sandbox = Sandbox::empty();
    let out = sandbox.hostile("bytes");
    sandbox.session(
        "cat",
        &[
            "sh",
            "-c",
            "stty -echo; printf x; exec cat > \"$0\"",
            out.to_str().expect("UTF-8"),
        ],
    );
    let mut expected = Vec::new();
    for (turn, mut server) in sandbox.drivers().await.into_iter().enumerate() {
        for text in [
            "plain",
            ";",
            "a;",
            r"\;",
            r"~ $HOME ${HOME} #{pid} ##[x] #(id) %H %% %0 `id` !! \ ' '' ; } { \u00e9 é🚀",
            "-l",
            "'",
            r"\'",
            "   padded   ",
            "# comment",
            &"x".repeat(MAX_LINE),
        ] {
            let pane = awake(&mut server).await;
            let typed = type_one(&mut server, line(&pane, text)).await;
            assert!(matches!(typed, Typed::Done), "{turn} {text:?}: {typed:?}");
            expected.extend_from_slice(text.as_bytes());
            expected.push(b'\n');
            assert_eq!(
                file(&out, expected.len()).await,
                expected,
                "{turn} {text:?}"
            );
        }
    }
}

#[tokio::test]
async fn a_paste_is_bracketed_where_that_is_asked_for() {
    let sandbox = Sandbox::with(
        "raw",
        &[
            "sh",
            "-c",
            r"stty raw -echo; printf '\033[?2004hx'; exec cat -v",
        ],
    );
    let mut server = sandbox.direct().await;
    let pane = awake(&mut server).await;
    assert!(matches!(
        type_one(&mut server, line(&pane, "a b")).await,
        Typed::Done
    ));
    wait_for("the brackets", async || {
        let tail = server.tail(&pane.identity, 5).await.expect("a tail");
        (tail == "x^[[200~a b^[[201~^M").then_some(())
    })
    .await;
}

#[tokio::test]
async fn each_refusal_is_provoked() {
    let sandbox = Sandbox::with("cat", &["sh", "-c", "printf x; exec cat"]);
    sandbox.tmux(&[
        "split-window",
        "-d",
        "-t",
        "cat:",
        "sh",
        "-c",
        "printf y; exec cat",
    ]);
    let drivers = sandbox.drivers().await;
    for mut server in drivers {
        let panes = wait_for("both", async || {
            let panes = server.panes().await.expect("a list");
            panes
                .iter()
                .all(|pane| pane.cursor == (1, 0))
                .then_some(panes)
        })
        .await;
        let (pane, other) = (&panes[0], &panes[1]);
        let id = pane.identity.pane.as_str();
        let text = line(pane, "never");
        let key = async |server: &mut Server, refusal: Refusal| match server
            .interrupt(&pane.identity)
            .await
        {
            Typed::Refused(refused) => assert_eq!(refused, refusal),
            other => panic!("{other:?}"),
        };

        sandbox.tmux(&["copy-mode", "-t", id]);
        assert_eq!(refusal(&mut server, text.clone()).await, Refusal::Mode);
        key(&mut server, Refusal::Mode).await;
        assert!(server.panes().await.expect("a list")[0].in_mode);
        sandbox.tmux(&["send-keys", "-t", id, "-X", "cancel"]);

        sandbox.tmux(&["select-pane", "-d", "-t", id]);
        assert_eq!(refusal(&mut server, text.clone()).await, Refusal::InputOff);
        key(&mut server, Refusal::InputOff).await;
        assert!(server.panes().await.expect("a list")[0].input_off);
        sandbox.tmux(&["select-pane", "-e", "-t", id]);

        sandbox.tmux(&["set-option", "-t", "cat:", "synchronize-panes", "on"]);
        assert_eq!(
            refusal(&mut server, text.clone()).await,
            Refusal::Synchronized
        );
        key(&mut server, Refusal::Synchronized).await;
        assert!(
            server
                .panes()
                .await
                .expect("a list")
                .iter()
                .all(|pane| pane.synchronized)
        );
        sandbox.tmux(&["set-option", "-t", "cat:", "synchronize-panes", "off"]);

        let moved = TypedLine {
            cursor: (2, 0),
            ..text.clone()
        };
        assert_eq!(refusal(&mut server, moved).await, Refusal::CursorMoved);

        let piped = TypedLine {
            output: PaneOutput::To(Pipe {
                argv: vec!["/bin/cat".into()],
            }),
            ..text.clone()
        };
        sandbox.tmux(&["pipe-pane", "-t", id, "cat > /dev/null"]);
        assert_eq!(refusal(&mut server, piped).await, Refusal::Piped);
        assert!(server.panes().await.expect("a list")[0].piped);
        server.close_pipe(&pane.identity).await.expect("closed");
        assert!(!server.panes().await.expect("a list")[0].piped);

        let mut identity = pane.identity.clone();
        identity.pane_pid += 1;
        assert_eq!(
            refusal(
                &mut server,
                TypedLine {
                    identity,
                    ..text.clone()
                }
            )
            .await,
            Refusal::Respawned
        );
        for change in [
            |identity: &mut Identity| identity.server_pid += 1,
            |identity: &mut Identity| identity.server_start -= 1,
            |identity: &mut Identity| identity.pane = PaneId::parse("%999").expect("an id"),
        ] {
            let mut identity = pane.identity.clone();
            change(&mut identity);
            assert!(matches!(
                server.tail(&identity, 3).await,
                Err(Error::Gone(_))
            ));
            server
                .close_pipe(&identity)
                .await
                .expect("nothing to close");
            assert!(matches!(
                server.interrupt(&identity).await,
                Typed::Refused(Refusal::Gone)
            ));
            assert_eq!(
                refusal(
                    &mut server,
                    TypedLine {
                        identity,
                        ..text.clone()
                    }
                )
                .await,
                Refusal::Gone
            );
        }
        assert!(matches!(
            refusal(&mut server, line(pane, "a\nb")).await,
            Refusal::Unfit(_)
        ));

        for (pane, shown) in [(pane, "x"), (other, "y")] {
            assert_eq!(
                server.tail(&pane.identity, 5).await.expect("a tail"),
                shown,
                "nothing was typed"
            );
        }
        assert_eq!(sandbox.tmux(&["list-buffers"]), "");
        // One invalid line in a batch does not affect the others.
        let typed = server
            .type_lines(&[
                line(pane, ""),
                line(other, "good"),
                TypedLine {
                    cursor: (9, 9),
                    ..text
                },
            ])
            .await;
        assert!(
            matches!(
                &typed[..],
                [
                    Typed::Refused(Refusal::Unfit(_)),
                    Typed::Done,
                    Typed::Refused(Refusal::CursorMoved)
                ]
            ),
            "{typed:?}"
        );
        sandbox.tmux(&["respawn-pane", "-k", "-t", other.identity.pane.as_str()]);
    }
}

#[tokio::test]
async fn dead_and_respawned_panes_are_refused() {
    let sandbox = Sandbox::with("keeper", &["cat", "-"]);
    sandbox.tmux(&["set-option", "-g", "remain-on-exit", "on"]);
    sandbox.session("dies", &["sh", "-c", "printf x; read line; exit 7"]);
    for mut server in sandbox.drivers().await {
        let find = async |server: &mut Server, wanted: fn(&Pane) -> bool| {
            wait_for("the pane", async || {
                let panes = server.panes().await.expect("a list");
                panes
                    .into_iter()
                    .find(|pane| pane.session == "dies" && wanted(pane))
            })
            .await
        };
        let pane = find(&mut server, |pane| !pane.dead && pane.cursor == (1, 0)).await;
        assert!(matches!(
            type_one(&mut server, line(&pane, "bye")).await,
            Typed::Done
        ));
        let dead = find(&mut server, |pane| pane.dead).await;
        assert_eq!(dead.identity, pane.identity);
        assert_eq!(
            refusal(&mut server, line(&dead, "never")).await,
            Refusal::Dead
        );
        assert!(matches!(
            server.interrupt(&dead.identity).await,
            Typed::Refused(Refusal::Dead)
        ));
        let tail = server.tail(&dead.identity, 20).await.expect("a tail");
        assert!(tail.contains("bye"), "{tail:?} {dead:?}");
        sandbox.tmux(&["respawn-pane", "-t", dead.identity.pane.as_str()]);
        let again = find(&mut server, |pane| !pane.dead && pane.cursor == (1, 0)).await;
        assert_ne!(again.identity, dead.identity);
        assert_eq!(
            refusal(&mut server, line(&pane, "never")).await,
            Refusal::Respawned
        );
    }
}

#[tokio::test]
async fn the_output_reaches_the_pipe_whole() {
    for way in 0..2 {
        let sandbox = Sandbox::with("bash", &["env", "PS1=> ", "bash", "--norc", "--noprofile"]);
        let mut server = sandbox
            .drivers()
            .await
            .into_iter()
            .nth(way)
            .expect("two ways");
        let out = sandbox.hostile("pipe");
        let argv = [
            "sh",
            "-c",
            "exec cat > \"$0\"",
            out.to_str().expect("UTF-8"),
        ];
        let pane = at_prompt(&mut server, "> ").await;
        let job = TypedLine {
            output: PaneOutput::To(Pipe {
                argv: argv.map(str::to_owned).to_vec(),
            }),
            ..line(&pane, "seq 1 20000; printf 'the''end'")
        };
        let typed = type_one(&mut server, job).await;
        assert!(matches!(typed, Typed::Done), "{typed:?}");
        let printed = wait_for("the end", async || {
            std::fs::read_to_string(&out)
                .ok()
                .filter(|text| text.contains("theend"))
        })
        .await;
        let expected: String = (1..=20_000).map(|number| format!("{number}\r\n")).collect();
        assert!(printed.contains(&expected));
        assert!(only(&mut server).await.piped);
        server.close_pipe(&pane.identity).await.expect("closed");
        assert!(!only(&mut server).await.piped);
    }
}

#[tokio::test]
async fn ctrl_c_interrupts() {
    let sandbox = Sandbox::with("bash", &["env", "PS1=> ", "bash", "--norc", "--noprofile"]);
    for mut server in sandbox.drivers().await {
        let pane = at_prompt(&mut server, "> ").await;
        assert!(matches!(
            type_one(&mut server, line(&pane, "sleep 1000")).await,
            Typed::Done
        ));
        wait_for("sleep", async || {
            (only(&mut server).await.command == "sleep").then_some(())
        })
        .await;
        assert!(matches!(
            server.interrupt(&pane.identity).await,
            Typed::Done
        ));
        wait_for("bash", async || {
            (only(&mut server).await.command == "bash").then_some(())
        })
        .await;
    }
}
