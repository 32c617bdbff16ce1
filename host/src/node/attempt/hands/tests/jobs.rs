//! What is written for a job, and what is kept of it.

use super::*;

#[test]
fn a_pane_has_one_writer_at_a_time() {
    local(|| async {
        let mut one = HandsScene::new();
        // No tmux server has this number.
        one.brief.identity.server_pid = NOBODY - std::process::id();
        let mut other = HandsScene::new();
        other.brief.identity = one.brief.identity.clone();
        for _ in 0..2 {
            assert!(matches!(
                one.perform(Act::TakePane).await,
                Done::Pane(Ok(true))
            ));
        }
        assert!(matches!(
            other.perform(Act::TakePane).await,
            Done::Pane(Ok(false))
        ));
        one.perform(Act::LeavePane).await;
        assert!(matches!(
            other.perform(Act::TakePane).await,
            Done::Pane(Ok(true))
        ));
    });
}

/// Writes a job, and returns its line.
async fn written(scene: &mut HandsScene, piped: bool, tells: bool) -> TypedLine {
    let act = Act::WriteJob {
        shell: Shell::Bash,
        cursor: (2, 3),
        piped,
        untold: false,
        tells,
    };
    match scene.perform(act).await {
        Done::Written(Ok(line)) => line,
        other => panic!("a line: {other:?}"),
    }
}

#[test]
fn a_job_is_written_for_its_pane() {
    local(|| async {
        let mut scene = HandsScene::new();
        let line = written(&mut scene, false, false).await;
        assert_eq!((line.cursor, line.key), ((2, 3), None));
        let PaneOutput::To(pipe) = line.output else {
            panic!("{line:?}");
        };
        assert_eq!(pipe.argv[..2], ["/bin/assigner", "capture"]);
        assert!(scene.files().script().exists() && !scene.files().raw_output().exists());
        // The pane is piped to someone else.
        let line = written(&mut scene, true, true).await;
        assert!(line.output == PaneOutput::AsItIs && line.key.is_some());
        assert!(scene.files().raw_output().exists());
        // Its shell is asked by its key only while it waits for a new line.
        let typed = scene.perform(Act::Type(line)).await;
        assert!(
            matches!(&typed, Done::Typed(Typed::Refused(Refusal::Unfit(why))) if why.contains("no longer waits")),
            "{typed:?}"
        );
        assert_eq!(scene.asked.typed.get(), 0);
        let line = written(&mut scene, false, false).await;
        let typed = scene.perform(Act::Type(line)).await;
        assert!(matches!(typed, Done::Typed(Typed::Done)));
        // It is withdrawn once, and for good.
        let withdrawn = scene.perform(Act::Withdraw).await;
        assert!(matches!(withdrawn, Done::Withdrawn(Ok(_))), "{withdrawn:?}");
        assert!(scene.files().claim().exists());
    });
}

/// A reader that waits at its post is left open for a moment, reads the next job, and is dismissed if
/// there is none.
#[test]
fn a_reader_that_waits_reads_the_next_job() {
    local(|| async {
        let mut scene = HandsScene::new();
        let post = scene.local.spool.post(&scene.brief.identity);
        let ends = |scene: &HandsScene| {
            let end = CaptureEnd::Job;
            post.wait().expect("waits");
            let files = scene.files();
            files.write_capture_result(&Captured { total: 4, end });
        };
        ends(&scene);
        scene.perform(Act::CloseReader).await;
        assert_eq!(scene.asked.closed.get(), 0);
        let line = written(&mut scene, true, false).await;
        assert_eq!(line.output, PaneOutput::Piped);
        assert!(!scene.files().raw_output().exists());
        assert_eq!(post.job().expect("booked").output, scene.files().output());
        // A job that has ended before it began gives it back.
        let brief = scene.brief.clone();
        let ending = Ending::new(Outcome::Refused, Event::Refuse);
        scene.local.clean_up(&brief, &mut scene.hands, &ending, &[]);
        assert!(post.has_reader());
        ends(&scene);
        scene.perform(Act::CloseReader).await;
        scene.local.dismiss_readers(false, |_| false).await;
        assert_eq!(scene.asked.closed.get(), 0, "a moment has not passed");
        tokio::time::sleep(READER_WAITS).await;
        scene.local.dismiss_readers(false, |_| true).await;
        assert_eq!(scene.asked.closed.get(), 0, "an attempt is there");
        scene.local.dismiss_readers(false, |_| false).await;
        assert_eq!(scene.asked.closed.get(), 1);
        assert!(!post.has_reader());
        // A pane that is piped to someone else has no reader of ours.
        let line = written(&mut scene, true, false).await;
        assert_eq!(line.output, PaneOutput::AsItIs);
    });
}

#[test]
fn a_job_without_its_secret_values_is_not_written() {
    local(|| async {
        let mut scene = HandsScene::new();
        scene.brief.task.metadata.secret_env = vec!["TOKEN".to_owned()];
        let act = || Act::WriteJob {
            shell: Shell::Bash,
            cursor: (0, 0),
            piped: false,
            untold: false,
            tells: false,
        };
        let refused = scene.perform(act()).await;
        assert!(
            matches!(&refused, Done::Written(Err(Unwritten::Secrets(why))) if why.contains("TOKEN")),
            "{refused:?}"
        );
        let values = [("TOKEN".to_owned(), "verysecret".to_owned())].into();
        let kept = Secrets::of(scene.directory.path()).keep(&values);
        scene.brief.task.secrets = Some(kept.expect("kept"));
        assert!(matches!(scene.perform(act()).await, Done::Written(Ok(_))));
        assert!(scene.files().secrets().exists());
    });
}

/// Returns a scene whose task has a secret value.
fn with_secret() -> HandsScene {
    let mut scene = HandsScene::new();
    let values = [("TOKEN".to_owned(), "verysecret".to_owned())].into();
    let kept = Secrets::of(scene.directory.path()).keep(&values);
    scene.brief.task.secrets = Some(kept.expect("kept"));
    scene
}

#[test]
fn nothing_secret_is_kept_of_an_attempt() {
    local(|| async {
        for (word, is_kept) in [("plain", true), ("verysecret", false)] {
            let scene = with_secret();
            let ending = Ending {
                output: OutputSource::Text(format!("it is {word}")),
                limit: Some(Limit {
                    provider: "codex".to_owned(),
                    until: Timestamp::UNIX_EPOCH,
                    reason: word.to_owned(),
                }),
                turn: Some(TurnFacts {
                    conversation: Some(word.to_owned()),
                    directory: Some(format!("/{word}")),
                    usage: Some(serde_json::json!({ "model": word })),
                    ..TurnFacts::default()
                }),
                ..Ending::new(Outcome::Failed, Event::Fail).because(word)
            };
            let collected = scene.local.collect(&scene.brief, ending).await;
            let shown = if is_kept { word } else { "***" };
            let output = collected.output.expect("an output");
            assert_eq!(output.bytes, format!("it is {shown}").into_bytes());
            assert_eq!(collected.ending.reason.as_deref(), Some(shown));
            let limit = collected.ending.limit.expect("a limit");
            assert_eq!(limit.reason, shown);
            let turn = collected.ending.turn.expect("facts");
            assert_eq!(turn.conversation.is_some(), is_kept);
            assert_eq!(turn.directory.is_some(), is_kept);
            assert_eq!(turn.usage.is_some(), is_kept);
            assert_eq!(collected.secrets.len(), 1);
        }
    });
}

#[test]
fn what_a_shell_told_is_kept_where_it_is_still_to_be_read() {
    local(|| async {
        for (leaves, is_kept) in [(Leaves::Variables, true), (Leaves::Nothing, false)] {
            let mut scene = with_secret();
            let files = scene.files();
            for path in [files.script(), files.after(), files.before()] {
                fs::write(path, "A=1\0").expect("written");
            }
            let ending = Ending {
                leaves,
                ..Ending::new(Outcome::Completed, Event::Complete)
            };
            let collected = scene.local.collect(&scene.brief, ending).await;
            assert_eq!(collected.before.is_some(), is_kept);
            let kept = scene.brief.task.secrets.clone().expect("a name");
            let values = |scene: &HandsScene| scene.local.secrets.values(&kept);
            let ending = &collected.ending;
            scene
                .local
                .clean_up(&scene.brief, &mut scene.hands, ending, &[]);
            assert!(!files.script().exists());
            assert_eq!(files.after().exists(), is_kept);
            // Another try may need them.
            assert!(values(&scene).is_some());
            let unneeded = [kept.clone()];
            scene
                .local
                .clean_up(&scene.brief, &mut scene.hands, ending, &unneeded);
            assert!(values(&scene).is_none());
        }
    });
}

#[test]
fn a_record_belongs_to_one_turn() {
    local(|| async {
        let mut one = HandsScene::new();
        let record = one.directory.path().join("one.record");
        let line = |payload: &str| {
            let at = Timestamp::now();
            format!("{{\"timestamp\":\"{at}\",\"type\":\"event_msg\",\"payload\":{{{payload}}}}}\n")
        };
        let since = Timestamp::now() - Duration::from_secs(5);
        let text = line(r#""type":"task_started""#)
            + &line(r#""type":"user_message","message":"say hello""#);
        fs::write(&record, text).expect("written");
        let wants = Wants {
            profile: Some(SameProfile(profile(one.directory.path()))),
            record: Some(Query {
                pid: std::process::id(),
                text: "say hello".into(),
                nonce: None,
                since,
                resumed: false,
                turn: None,
                transcript: None,
            }),
            ..Wants::default()
        };
        /// Looks until the record is found, but no longer than a search may take.
        async fn is_found(scene: &mut HandsScene, wants: &Wants, scan: &Scan) -> bool {
            for _ in 0..100 {
                if scene.look_beside(wants, scan).await.record.found {
                    return true;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            false
        }
        // Another session's agent writes to it.
        let sight = |record: Option<PathBuf>| {
            let agent = crate::node::attempt::AgentSight {
                told: ToldTurns::default(),
                quiet: Duration::ZERO,
                profile: profile(std::path::Path::new("/none")),
                pid: 1,
                began: 1,
                started: None,
                command: "x".to_owned(),
                report: None,
                signals: Vec::new(),
                verdict: Verdict {
                    activity: Activity::Idle,
                    reason: String::new(),
                    obstacle: None,
                },
                keeps_none: false,
                record,
                alternate: false,
            };
            match pane(|pane: &mut PaneSight| pane.agent = Some(agent)) {
                Presence::Here(sight) => sight,
                Presence::Missing { .. } => panic!("a pane"),
            }
        };
        let mut elsewhere = one.brief.identity.clone();
        elsewhere.pane_pid = NOBODY;
        let scan = |identity: &Identity| Scan {
            sessions: [(identity.clone(), sight(Some(record.clone())))].into(),
            ..Scan::default()
        };
        assert!(!is_found(&mut one, &wants, &scan(&elsewhere)).await);
        // Its own session's is its own.
        let own = scan(&one.brief.identity);
        assert!(is_found(&mut one, &wants, &own).await);
        // Another attempt on the same machine does not take it, while it is the first one's.
        let mut brief = one.brief.clone();
        brief.attempt.0 += 1;
        let first = std::mem::replace(&mut one.brief, brief);
        let hands = std::mem::take(&mut one.hands);
        assert!(!is_found(&mut one, &wants, &Scan::default()).await);
        let mut hands = hands;
        let ending = Ending::new(Outcome::Completed, Event::Complete);
        one.local.clean_up(&first, &mut hands, &ending, &[]);
        assert_eq!(one.local.take_followers().len(), 1);
        drop(hands);
        one.hands = Hands::default();
        assert!(is_found(&mut one, &wants, &Scan::default()).await);
    });
}

#[test]
fn what_a_headless_agent_says_is_judged_by_the_profiles_that_there_are() {
    local(|| async {
        let mut task = command("ask");
        let spec = "command = ['x']\nresponse = { at = '/r' }\nerror = { at = '/e' }";
        task.metadata.headless = Some(crate::model::headless::Headless {
            provider: "codex".to_owned(),
            spec: toml::from_str(spec).expect("a way to ask"),
        });
        let scene = HandsScene::set(task, None, |_| {});
        let error = r#"{"e": "You've hit your usage limit."}"#;
        fs::write(scene.files().response(), error).expect("written");
        let ending = || Ending {
            output: OutputSource::Files,
            ..Ending::new(Outcome::Failed, Event::Fail)
        };
        let collected = scene.local.collect(&scene.brief, ending()).await;
        assert_eq!(collected.ending.outcome, Outcome::Failed);
        scene.local.use_catalog(Catalog::built_in());
        let collected = scene.local.collect(&scene.brief, ending()).await;
        assert_eq!(collected.ending.outcome, Outcome::Limited);
    });
}

/// A shell that ends closes its terminal, and with it the pipe, before it is gone.
#[test]
fn the_end_of_its_shell_cuts_no_output() {
    local(|| async {
        for (lives, is_cut) in [("0.1", false), ("60", true)] {
            let mut scene = HandsScene::new();
            let shell = std::process::Command::new("sleep").arg(lives).spawn();
            let mut shell = shell.expect("a shell");
            scene.brief.identity.pane_pid = shell.id();
            fs::write(scene.files().output(), "printed").expect("written");
            scene.files().write_capture_result(&Captured {
                total: 7,
                end: CaptureEnd::Pipe,
            });
            let ends = async {
                let ending = Ending {
                    output: OutputSource::Files,
                    ..Ending::new(Outcome::Failed, Event::Fail)
                };
                scene.local.collect(&scene.brief, ending).await
            };
            let reaps = async {
                // As tmux does.
                while lives == "0.1" && shell.try_wait().expect("a child").is_none() {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            };
            let (collected, ()) = tokio::join!(ends, reaps);
            let cut = collected.output.expect("an output").cut;
            assert_eq!(cut.is_some(), is_cut, "{cut:?}");
            let _ = shell.kill();
            let _ = shell.wait();
        }
    });
}
