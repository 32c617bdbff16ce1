//! The machine of a turn, step by step, without an agent, a screen or a clock.

mod beginning;
mod ending;
mod giving;
mod moments;
mod named;
mod pasting;
mod questions;
mod reported;
mod resuming;
mod running;
mod submitted;
mod taking_back;

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use proptest::prelude::*;

use super::super::testing::{at, brief, end, held, open, outcome, pane, prompt, rules, wall};
use super::super::{
    Act, AgentSight, Done, Next, Note, Observation, OutputSource, Presence, Record, Refusals,
    Shown, Sight, Written,
};
use super::Turn;
use crate::agents::fuse::{Says, Signal, SignalSource, Verdict};
use crate::agents::report::{Report, ReportedState};
use crate::agents::told::ToldTurns;
use crate::agents::transcript::How;
use crate::agents::{Catalog, Profile, screen};
use crate::model::ids::{PaneId, TaskId};
use crate::model::session::Activity;
use crate::model::task::{Event, Outcome, Phase, Task};
use crate::model::verdict::Detail;
use crate::store::{Answer, OpenAttempt, Reply, Request};
use crate::tmux::{Error, Refusal, Typed};

/// Brings a turn to a stage.
type TurnStart = fn() -> TurnRun;

/// Returns the profile with this name.
/// An agent whose prompts get a sign.
const SIGNED: &str = "signed";

/// An agent that keeps no record that can be read.
const RECORDLESS: &str = "recordless";

fn profile(name: &str) -> Arc<Profile> {
    static CATALOG: LazyLock<Catalog> = LazyLock::new(Catalog::built_in);
    static WITHOUT_RECORD: LazyLock<Arc<Profile>> = LazyLock::new(|| {
        Arc::new(Profile {
            transcript: None,
            ..Profile::clone(&profile("opencode"))
        })
    });
    static SIGNED_CLAUDE: LazyLock<Arc<Profile>> = LazyLock::new(|| {
        let mut signed = Profile::clone(&profile("claude"));
        signed.paste.nonce = true;
        Arc::new(signed)
    });
    match name {
        SIGNED => Arc::clone(&SIGNED_CLAUDE),
        RECORDLESS => Arc::clone(&WITHOUT_RECORD),
        name => Arc::clone(&CATALOG.get(name).expect("a profile").profile),
    }
}

/// What there is to see. A test changes it as it goes on.
#[derive(Clone, Debug)]
struct TurnScene {
    ms: u64,
    agent: AgentSight,
    gone: bool,
    screen: Option<Shown>,
    record: Record,
    lives: bool,
    request: Option<Request>,
    replies: Vec<Reply>,
    scanned: u64,
}

impl TurnScene {
    fn of(name: &str) -> Self {
        Self {
            ms: 0,
            agent: AgentSight {
                told: ToldTurns::default(),
                quiet: Duration::from_secs(300),
                profile: profile(name),
                pid: 77,
                began: 7,
                started: Some(wall(0)),
                command: name.to_owned(),
                report: None,
                signals: Vec::new(),
                verdict: Verdict {
                    activity: Activity::Idle,
                    reason: "waits at its prompt".to_owned(),
                    obstacle: None,
                },
                keeps_none: false,
                record: None,
                alternate: false,
            },
            gone: false,
            screen: Some(shown(Says::Idle)),
            record: Record::default(),
            lives: true,
            request: None,
            replies: Vec::new(),
            scanned: 0,
        }
    }

    fn observation(&self, done: Option<Done>) -> Observation {
        let presence = if self.gone {
            Presence::Missing { lives: true }
        } else {
            pane(|pane| {
                pane.shell = None;
                pane.agent = Some(self.agent.clone());
            })
        };
        Observation {
            sight: Some(Sight {
                at: at(self.scanned).tick,
                pane: presence,
            }),
            files: None,
            screen: self.screen.clone(),
            record: self.record.clone(),
            process_lives: self.lives,
            request: self.request.clone(),
            replies: self.replies.clone(),
            done,
        }
    }

    /// Shows the agent doing this, in a look at this moment.
    fn is(&mut self, activity: Activity, reason: &str, signals: Vec<Signal>) {
        self.agent.verdict = Verdict {
            activity,
            reason: reason.to_owned(),
            obstacle: None,
        };
        self.agent.signals = signals;
        self.scanned = self.ms;
    }

    fn signal(&self, source: SignalSource, says: Says) -> Signal {
        Signal {
            source,
            says,
            since: wall(self.ms),
            detail: Detail::Words(String::new()),
        }
    }
}

fn shown(says: Says) -> Shown {
    Shown {
        says,
        detail: "seen".to_owned(),
        holds_text: false,
        line_holds_text: false,
        part_of_text: false,
        near_text: false,
        given: 0,
        draft: Some(String::new()),
        in_mode: false,
        cursor: (2, 20),
    }
}

/// Our text is above the composer, as one that was given.
fn taken() -> Shown {
    Shown {
        given: 1,
        ..shown(Says::Idle)
    }
}

/// The composer holds our text, and nothing else.
fn stands() -> Shown {
    Shown {
        holds_text: true,
        part_of_text: true,
        near_text: true,
        draft: Some("say hello".to_owned()),
        ..shown(Says::Attended)
    }
}

/// The composer holds something else.
fn foreign() -> Shown {
    Shown {
        draft: Some("a person's".to_owned()),
        ..shown(Says::Attended)
    }
}

/// The composer holds our text, and something of a person's.
fn beside() -> Shown {
    Shown {
        near_text: true,
        draft: Some("say hello to all".to_owned()),
        ..shown(Says::Attended)
    }
}

#[derive(Clone)]
struct TurnRun {
    turn: Turn,
    scene: TurnScene,
    next: Next,
}

impl TurnRun {
    fn with(task: Task, scene: TurnScene, refusals: Refusals) -> Self {
        Self {
            turn: Turn::new(brief(task), rules(), refusals),
            scene,
            next: Next::default(),
        }
    }

    fn new(name: &str) -> Self {
        Self::with(
            prompt("say hello"),
            TurnScene::of(name),
            Refusals::default(),
        )
    }

    fn resumed(open: OpenAttempt, scene: TurnScene) -> Self {
        Self {
            turn: Turn::resume(open, rules(), Refusals::default(), at(scene.ms)),
            scene,
            next: Next::default(),
        }
    }

    fn step(&mut self, done: Option<Done>) -> &[Act] {
        let mut observation = self.scene.observation(done);
        if !self.turn.wants().screen {
            observation.screen = None;
        }
        let (turn, next) = self.turn.clone().step(&observation, at(self.scene.ms));
        self.turn = turn;
        self.next = next;
        &self.next.acts
    }

    /// Steps after this many milliseconds.
    fn after(&mut self, ms: u64) -> &[Act] {
        self.scene.ms += ms;
        self.step(None)
    }

    /// Steps until the attempt has ended.
    fn until_end(&mut self) {
        for _ in 0..200 {
            self.after(100);
            if self.turn.has_ended() {
                return;
            }
        }
        panic!("it goes on: {:?}", self.next);
    }

    fn did(&mut self, done: Done) -> &[Act] {
        self.step(Some(done))
    }

    /// Goes on until the text was pasted.
    fn paste(&mut self) {
        self.step(None);
        self.did(Done::Place(Ok(None)));
        self.after(0);
        self.did(Done::Pane(Ok(true)));
        self.after(0);
        self.did(Done::Typed(Typed::Done));
    }

    /// Returns a turn whose text may be pasted.
    fn ready(name: &str) -> Self {
        let mut run = Self::new(name);
        assert!(matches!(run.step(None), [Act::LookAtPlace { .. }]));
        run.did(Done::Place(Ok(None)));
        assert_eq!(run.after(0), [Act::TakePane]);
        run.did(Done::Pane(Ok(true)));
        run
    }

    /// Returns a turn whose text was pasted.
    fn pasted(name: &str) -> Self {
        let mut run = Self::ready(name);
        let acts = run.after(0);
        assert!(matches!(acts.last(), Some(Act::Paste { .. })), "{acts:?}");
        run.did(Done::Typed(Typed::Done));
        run
    }

    /// Returns a turn whose text was submitted.
    fn submitted(name: &str) -> Self {
        let mut run = Self::pasted(name);
        run.scene.screen = Some(stands());
        let acts = run.after(500);
        assert!(matches!(acts.last(), Some(Act::Press { .. })), "{acts:?}");
        run.did(Done::Typed(Typed::Done));
        run
    }

    /// Returns a turn whose agent is working.
    fn running(name: &str) -> Self {
        let mut run = Self::submitted(name);
        run.scene.screen = Some(shown(Says::Busy));
        let acts = run.after(50).to_vec();
        assert!(acts.contains(&begun()), "{acts:?}");
        let busy = vec![run.scene.signal(SignalSource::Screen, Says::Busy)];
        run.scene.is(Activity::Busy, "works", busy);
        run
    }

    /// Returns a turn whose agent shows a dialog.
    fn asking(name: &str) -> Self {
        let mut run = Self::running(name);
        run.scene.ms += 100;
        let waits = vec![run.scene.signal(SignalSource::Screen, Says::Waiting)];
        run.scene.is(Activity::WaitingInput, "may I?", waits);
        run.scene.screen = Some(shown(Says::Waiting));
        let acts = run.step(None).to_vec();
        assert!(
            matches!(&acts[..], [Act::Ask { question, said: None }] if question == "may I?"),
            "{acts:?}"
        );
        run
    }

    fn wrote(&mut self, how: Option<How>, response: &str) {
        let turn = Written {
            how,
            response: Some(response.to_owned()),
            began: Some(wall(self.scene.ms)),
            last: Some(wall(self.scene.ms)),
            ..Written::default()
        };
        self.scene.record = Record {
            own: Some(turn.clone()),
            latest: Some(turn),
            found: true,
            ..Record::default()
        };
    }
}

fn begun() -> Act {
    Act::Advance {
        phase: Phase::Running,
        details: "its turn began".to_owned(),
    }
}

fn phase(act: &Act) -> Option<Phase> {
    match act {
        Act::Advance { phase, .. } => Some(*phase),
        _ => None,
    }
}

fn given(count: usize, last: &str, followed: bool) -> Option<screen::GivenPrompts> {
    Some(screen::GivenPrompts {
        count,
        last: last.to_owned(),
        after: Some(usize::from(followed)),
    })
}

fn reply(id: i64, answer: Answer, asks: &str) -> Reply {
    Reply {
        id,
        task: TaskId(1),
        answer,
        asks: Some(asks.to_owned()),
    }
}

fn report(state: ReportedState, ms: u64, task: Option<i64>, message: Option<&str>) -> Report {
    Report {
        turn: None,
        transcript: None,
        server_pid: 10,
        pane: PaneId::parse("%1").expect("a pane"),
        state,
        task,
        message: message.map(str::to_owned),
        at: wall(ms),
    }
}

#[test]
fn prerequisites_run_first_and_may_fail() {
    let mut task = prompt("say hello");
    task.metadata.prerequisites = vec!["make".into()];
    let preparing = || {
        let mut run = TurnRun::with(task.clone(), TurnScene::of("codex"), Refusals::default());
        run.step(None);
        let acts = run.did(Done::Place(Ok(None))).to_vec();
        assert!(
            matches!(
                &acts[..],
                [Act::NoteSession { .. }, Act::RunPrerequisites { .. }]
            ),
            "{acts:?}"
        );
        run
    };
    let mut run = preparing();
    assert!(run.after(60_000).is_empty());
    run.did(Done::Prerequisites(Ok(())));
    assert_eq!(run.after(0), [Act::TakePane]);
    let mut run = preparing();
    run.did(Done::Prerequisites(Err("it exited with code 2".into())));
    assert_eq!(outcome(&run.next), (Outcome::Failed, Event::Fail));
    let mut run = preparing();
    run.scene.request = Some(Request::Cancel);
    run.after(10);
    assert_eq!(outcome(&run.next), (Outcome::Cancelled, Event::Cancel));
}

/// Anything that may be seen.
fn scenes() -> impl Strategy<Value = (TurnScene, Option<Done>)> {
    let says = prop_oneof![
        Just(Says::Idle),
        Just(Says::Busy),
        Just(Says::Waiting),
        Just(Says::Attended),
        Just(Says::Nothing),
    ];
    let activity = prop_oneof![
        Just(Activity::Idle),
        Just(Activity::Busy),
        Just(Activity::WaitingInput),
        Just(Activity::Attended),
        Just(Activity::Unknown),
    ];
    let done = prop_oneof![
        Just(Done::Fine),
        Just(Done::Place(Ok(None))),
        Just(Done::Pane(Ok(true))),
        Just(Done::Pane(Ok(true))),
        Just(Done::Typed(Typed::Done)),
        Just(Done::Typed(Typed::Done)),
        Just(Done::Typed(Typed::Refused(Refusal::Gone))),
        Just(Done::Typed(Typed::Unknown(Error::Closed))),
        Just(Done::Answer(Some(("a".into(), "a".into())))),
        Just(Done::Given(given(1, "a", false))),
    ];
    (
        says,
        activity,
        proptest::option::of(done),
        any::<(bool, bool, bool, bool)>(),
        proptest::option::of(Just(Request::Cancel)),
    )
        .prop_map(
            |(says, activity, done, (holds, lives, gone, in_mode), request)| {
                let mut scene = TurnScene::of("codex");
                scene.screen = Some(Shown {
                    holds_text: holds,
                    in_mode: in_mode && !holds,
                    ..shown(says)
                });
                scene.agent.verdict.activity = activity;
                scene.lives = lives || holds;
                scene.gone = gone && !holds;
                scene.request = request.filter(|_| gone && !lives);
                (scene, done)
            },
        )
}

proptest! {
    #[test]
    fn a_prompt_is_pasted_once_submitted_after_its_row_and_ends_once(
        scenes in proptest::collection::vec(scenes(), 1..120)
    ) {
        let mut run = TurnRun::new("codex");
        let (mut pasted, mut ended) = (0, 0);
        let (mut delivering, mut submitted) = (false, false);
        for (index, (scene, done)) in scenes.into_iter().enumerate() {
            let before = run.turn.has_ended();
            let holds = scene.screen.as_ref().is_some_and(|screen| {
                screen.holds_text && screen.says == Says::Attended
            });
            run.scene = TurnScene { ms: index as u64 * 300, scanned: index as u64 * 300, ..scene };
            for act in run.step(done).to_vec() {
                prop_assert!(!before, "nothing happens after the end");
                match act {
                    Act::Advance { phase: Phase::Delivering, .. } => delivering = true,
                    Act::Advance { phase: Phase::Submitted, .. } => submitted = true,
                    Act::Paste { .. } => {
                        prop_assert!(delivering);
                        pasted += 1;
                    }
                    // The key that removes it.
                    Act::Press { names, .. } if *names == ["C-u"] => prop_assert!(holds),
                    Act::Press { .. } => {
                        prop_assert!(submitted);
                        prop_assert!(holds, "our text stands there");
                    }
                    Act::End(_) => ended += 1,
                    _ => {}
                }
            }
        }
        prop_assert!(pasted <= 1);
        prop_assert!(ended <= 1);
    }
}
