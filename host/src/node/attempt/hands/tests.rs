//! The hands of this machine, with a tmux that a test dictates, real files and real processes.

mod jobs;

use std::cell::Cell;
use std::fs;
use std::future::Future;
use std::sync::Arc;

use tempfile::TempDir;

use super::super::testing::{brief, command, pane};
use super::super::{PaneSight, Presence, Query, SameProfile};
use super::*;
use crate::agents::fuse::{Says, Verdict};
use crate::agents::told::ToldTurns;
use crate::model::session::{Activity, Shell};
use crate::model::task::{Event, Outcome, Task, TurnFacts};
use crate::store::Limit;
use crate::tmux::{CursorLine, NewSession, Pane, PaneOutput, Session};

/// A tmux that answers as a test says, and remembers what it was asked.
#[derive(Default)]
struct DictatedTmux {
    capture: Option<Capture>,
    asked: Rc<AskedTmux>,
}

#[derive(Default)]
struct AskedTmux {
    closed: Cell<u32>,
    /// How many lines of history were last asked for.
    history: Cell<Option<u32>>,
    typed: Cell<u32>,
}

impl Tmux for DictatedTmux {
    async fn panes(&mut self) -> Result<Vec<Pane>, Error> {
        Err(Error::NoServer)
    }

    async fn cursor_lines(&mut self, _: &[&Pane]) -> Result<Vec<Option<CursorLine>>, Error> {
        Err(Error::NoServer)
    }

    async fn type_lines(&mut self, lines: &[TypedLine]) -> Vec<Typed> {
        self.asked.typed.set(self.asked.typed.get() + 1);
        vec![Typed::Done; lines.len()]
    }

    async fn screens(&mut self, panes: &[&Identity]) -> Result<Vec<Option<Capture>>, Error> {
        Ok(vec![self.capture.clone(); panes.len()])
    }

    async fn paste(&mut self, _: &Paste) -> Typed {
        Typed::Done
    }

    async fn press(&mut self, _: &Keys) -> Typed {
        Typed::Done
    }

    async fn interrupt(&mut self, _: &Identity) -> Typed {
        Typed::Done
    }

    async fn close_pipe(&mut self, _: &Identity) -> Result<(), Error> {
        self.asked.closed.set(self.asked.closed.get() + 1);
        Ok(())
    }

    async fn tail(&mut self, _: &Identity, _: u32) -> Result<String, Error> {
        Err(Error::NoServer)
    }

    async fn history(&mut self, _: &Identity, lines: u32) -> Result<String, Error> {
        self.asked.history.set(Some(lines));
        Ok("> say hello  \nhello\n>\n".to_owned())
    }

    async fn tell_terminals(&mut self, _: &[u8]) -> Result<(), Error> {
        Ok(())
    }

    async fn sessions(&mut self) -> Result<Vec<Session>, Error> {
        Err(Error::NoServer)
    }

    async fn start_session(&mut self, _: &NewSession) -> Result<(), Error> {
        Err(Error::NoServer)
    }

    async fn mark_up(&mut self, _: &Session) -> Result<bool, Error> {
        Err(Error::NoServer)
    }

    async fn end_session(&mut self, _: &Session) -> Result<bool, Error> {
        Err(Error::NoServer)
    }
}

/// An id that no process has.
const NOBODY: u32 = i32::MAX.unsigned_abs();

/// A machine, and an attempt on it.
struct HandsScene {
    directory: TempDir,
    asked: Rc<AskedTmux>,
    local: Local<DictatedTmux>,
    hands: Hands,
    brief: Brief,
}

impl HandsScene {
    fn set(task: Task, capture: Option<Capture>, change: impl FnOnce(&mut Setup)) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let asked = Rc::<AskedTmux>::default();
        let tmux = DictatedTmux {
            capture,
            asked: Rc::clone(&asked),
        };
        let mut setup = Setup {
            program: "/bin/assigner".into(),
            output_limit: 100,
            integrate: false,
            prerequisite_within: Duration::from_secs(10),
        };
        change(&mut setup);
        let spool = Spool::open(directory.path()).expect("a spool");
        let secrets = Secrets::of(directory.path());
        let mut brief = brief(task);
        brief.identity.pane_pid = std::process::id();
        brief.identity.server_pid = std::process::id();
        Self {
            local: Local::new(Shared::new(tmux), spool, Shells::default(), secrets, setup),
            hands: Hands::default(),
            brief,
            asked,
            directory,
        }
    }

    fn new() -> Self {
        Self::set(command("true"), None, |_| {})
    }

    async fn look(&mut self, wants: &Wants) -> Look {
        self.look_beside(wants, &Scan::default()).await
    }

    async fn look_beside(&mut self, wants: &Wants, scan: &Scan) -> Look {
        let hands = &mut self.hands;
        self.local.look(&self.brief, hands, wants, scan).await
    }

    async fn perform(&mut self, act: Act) -> Done {
        self.local.perform(&self.brief, &mut self.hands, &act).await
    }

    fn files(&self) -> crate::node::spool::JobFiles {
        self.local.spool.files(self.brief.attempt)
    }
}

/// Runs a test on a thread that runs local tasks.
fn local<F: Future<Output = ()>>(test: impl FnOnce() -> F) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    tokio::task::LocalSet::new().block_on(&runtime, async { test().await });
}

/// An agent whose records are in `home`.
fn profile(home: &std::path::Path) -> Arc<Profile> {
    let home = home.display();
    let text = format!(
        "name = 'x'\n[recognise]\nprograms = ['x']\n[composer]\nline = '^>(?: (?P<draft>.*))?$'\n\
         [transcript]\nformat = 'codex'\nhome = {{ default = '{home}' }}\nfiles = '*.record'\n"
    );
    Arc::new(Profile::read(&text).expect("a profile"))
}

#[test]
fn a_screen_is_read_where_it_is_wanted() {
    local(|| async {
        let capture = Capture {
            text: "> say hello\n".to_owned(),
            cursor: (11, 0),
            cursor_shown: true,
            in_mode: false,
        };
        let mut scene = HandsScene::set(command("true"), Some(capture), |_| {});
        let wants = |screen| Wants {
            screen,
            text: Some("say hello".into()),
            profile: Some(SameProfile(profile(std::path::Path::new("/none")))),
            ..Wants::default()
        };
        assert!(scene.look(&wants(false)).await.screen.is_none());
        let shown = scene.look(&wants(true)).await.screen.expect("a screen");
        assert_eq!((shown.says, shown.holds_text), (Says::Attended, true));
        assert_eq!((shown.cursor, shown.in_mode), ((11, 0), false));
        // An alternate screen has no history.
        for (alternate, lines) in [(false, HISTORY), (true, 0)] {
            let text = || Arc::<str>::from("say hello");
            let answer = Act::ReadAnswer {
                text: text(),
                alternate,
            };
            let Done::Answer(Some((answer, _))) = scene.perform(answer).await else {
                panic!("an answer");
            };
            assert_eq!(answer, "hello");
            assert_eq!(scene.asked.history.take(), Some(lines));
            let given = Act::ReadGiven {
                text: text(),
                alternate,
            };
            assert!(matches!(scene.perform(given).await, Done::Given(Some(_))));
            assert_eq!(scene.asked.history.take(), Some(lines));
        }
    });
}

#[test]
fn what_runs_is_known_by_its_process_and_its_server() {
    local(|| async {
        let own = std::process::id();
        for (pane, server, lives) in [(own, own, true), (own, NOBODY, false), (NOBODY, own, false)]
        {
            let mut scene = HandsScene::new();
            scene.brief.identity.pane_pid = pane;
            scene.brief.identity.server_pid = server;
            let look = scene.look(&Wants::default()).await;
            assert_eq!(look.pane_lives, lives, "{pane} {server}");
            assert!(!look.process_lives && look.files.is_none());
        }
        let run = probe::run(own).expect("a process");
        for (process, lives) in [
            (Some((own, run)), true),
            (Some((own, run + 1)), false),
            (Some((NOBODY, run)), false),
            (None, false),
        ] {
            let wants = Wants {
                process,
                files: true,
                ..Wants::default()
            };
            let look = HandsScene::new().look(&wants).await;
            assert_eq!(look.process_lives, lives, "{process:?}");
            assert!(look.files.is_some());
        }
    });
}

#[test]
fn the_reader_of_a_job_is_ended_and_waited_for() {
    let captured = |end| Captured { total: 4, end };
    local(|| async {
        // It has ended by its mark, or still runs.
        for end in [None, Some(CaptureEnd::Job)] {
            let mut scene = HandsScene::new();
            if let Some(end) = end {
                scene.files().write_capture_result(&captured(end));
            }
            scene.perform(Act::CloseReader).await;
            assert_eq!(scene.asked.closed.get(), 1, "{end:?}");
            let result = scene.files().capture_result().map(|result| result.end);
            assert_eq!(result, end);
        }
        // Its pipe was closed by somebody, whose own pipe may be open now.
        let mut scene = HandsScene::new();
        scene
            .files()
            .write_capture_result(&captured(CaptureEnd::Pipe));
        scene.perform(Act::CloseReader).await;
        assert_eq!(scene.asked.closed.get(), 0);
        let result = scene.files().capture_result().map(|result| result.end);
        assert_eq!(result, Some(CaptureEnd::Pipe));
        // The command writes into a file itself.
        let mut scene = HandsScene::new();
        fs::write(scene.files().raw_output(), "").expect("written");
        scene.perform(Act::CloseReader).await;
        assert_eq!(scene.asked.closed.get(), 0);
        // It ends a moment after its pipe was closed by us.
        let mut scene = HandsScene::new();
        fs::write(scene.files().output(), "all").expect("written");
        let files = scene.files();
        tokio::task::spawn_local(async move {
            tokio::time::sleep(Duration::from_millis(50)).await;
            files.write_capture_result(&captured(CaptureEnd::Pipe));
        });
        let began = Instant::now();
        scene.perform(Act::CloseReader).await;
        assert!(began.elapsed() < READER_WITHIN);
        let result = scene.files().capture_result().map(|result| result.end);
        assert_eq!(result, Some(CaptureEnd::ClosedByUs));
        // One that does not end is not waited for any longer.
        let mut scene = HandsScene::new();
        fs::write(scene.files().output(), "all").expect("written");
        let began = Instant::now();
        scene.perform(Act::CloseReader).await;
        assert!(began.elapsed() >= READER_WITHIN);
    });
}

#[test]
fn time_passes_as_long_as_it_is_to() {
    local(|| async {
        let scene = HandsScene::new();
        let began = scene.local.now().tick;
        scene.local.sleep(Duration::from_millis(30)).await;
        let passed = scene.local.now().tick.since(began);
        assert!(passed >= Duration::from_millis(30), "{passed:?}");
    });
}

#[test]
fn only_what_takes_a_while_is_started() {
    local(|| async {
        let mut task = command("true");
        task.metadata.prerequisites = vec!["exit 3".to_owned()];
        let scene = HandsScene::set(task, None, |_| {});
        let start = |act| scene.local.start(&scene.brief, &act);
        let place = start(Act::LookAtPlace { stands: None }).expect("work");
        assert!(matches!(place.await, Done::Place(Ok(None))));
        let steps = start(Act::RunPrerequisites { stands: None }).expect("work");
        assert!(matches!(steps.await, Done::Prerequisites(Err(_))));
        assert!(start(Act::Withdraw).is_none());
        // Its secret values are gone.
        let mut scene = HandsScene::new();
        scene.brief.task.metadata.secret_env = vec!["TOKEN".to_owned()];
        let act = Act::RunPrerequisites { stands: None };
        let steps = scene.local.start(&scene.brief, &act).expect("work").await;
        assert!(
            matches!(&steps, Done::Prerequisites(Err(why)) if why.contains("TOKEN")),
            "{steps:?}"
        );
    });
}
