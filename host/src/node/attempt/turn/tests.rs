//! The machine of a turn, step by step, without an agent, a screen or a clock.

mod ending;
mod giving;
mod named;
mod resuming;
mod running;
mod taking_back;

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use proptest::prelude::*;

use super::super::testing::{at, brief, end, held, open, outcome, pane, prompt, rules, wall};
use super::super::{
    Act, AgentSight, Done, Next, Note, Observation, Output, Presence, Record, Refusals, Shown,
    Sight, Written,
};
use super::Turn;
use crate::agents::fuse::{Says, Signal, Source, Verdict};
use crate::agents::report::{Report, State};
use crate::agents::screen;
use crate::agents::told::ToldTurns;
use crate::agents::transcript::How;
use crate::agents::{Catalog, Profile};
use crate::model::ids::{PaneId, TaskId};
use crate::model::session::Activity;
use crate::model::task::{Event, Outcome, Phase, Task};
use crate::model::verdict::Detail;
use crate::store::{Answer, OpenAttempt, Reply, Request};
use crate::tmux::{Error, Refusal, Typed};

/// Returns the profile with this name.
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
    match name {
        RECORDLESS => Arc::clone(&WITHOUT_RECORD),
        name => Arc::clone(&CATALOG.get(name).expect("a profile").profile),
    }
}

/// What there is to see. A test changes it as it goes on.
#[derive(Clone, Debug)]
struct Scene {
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

impl Scene {
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

    fn signal(&self, source: Source, says: Says) -> Signal {
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
        ends_with_text: false,
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
struct Run {
    turn: Turn,
    scene: Scene,
    next: Next,
}

impl Run {
    fn with(task: Task, scene: Scene, refusals: Refusals) -> Self {
        Self {
            turn: Turn::new(brief(task), rules(), refusals),
            scene,
            next: Next::default(),
        }
    }

    fn new(name: &str) -> Self {
        Self::with(prompt("say hello"), Scene::of(name), Refusals::default())
    }

    fn resumed(open: OpenAttempt, scene: Scene) -> Self {
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
        let busy = vec![run.scene.signal(Source::Screen, Says::Busy)];
        run.scene.is(Activity::Busy, "works", busy);
        run
    }

    /// Returns a turn whose agent shows a dialog.
    fn asking(name: &str) -> Self {
        let mut run = Self::running(name);
        run.scene.ms += 100;
        let waits = vec![run.scene.signal(Source::Screen, Says::Waiting)];
        run.scene.is(Activity::WaitingInput, "may I?", waits);
        run.scene.screen = Some(shown(Says::Waiting));
        let acts = run.step(None).to_vec();
        assert!(
            matches!(&acts[..], [Act::Ask { question, said: None }, Act::TellPerson { .. }] if question == "may I?"),
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

fn given(count: usize, last: &str, followed: bool) -> Option<screen::Given> {
    Some(screen::Given {
        count,
        last: last.to_owned(),
        followed,
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

fn report(state: State, ms: u64, task: Option<i64>, message: Option<&str>) -> Report {
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
fn each_act_stands_in_the_ledger_before_it_happens() {
    let mut run = Run::ready("codex");
    let acts = run.after(0).to_vec();
    let row = acts
        .iter()
        .position(|act| phase(act) == Some(Phase::Delivering));
    let paste = acts.iter().position(|act| matches!(act, Act::Paste { .. }));
    assert!(row.expect("a row") < paste.expect("a paste"), "{acts:?}");
    run.did(Done::Typed(Typed::Done));
    run.scene.screen = Some(stands());
    let acts = run.after(500).to_vec();
    let row = acts
        .iter()
        .position(|act| phase(act) == Some(Phase::Submitted));
    let press = acts.iter().position(|act| matches!(act, Act::Press { .. }));
    assert!(row.expect("a row") < press.expect("a key"), "{acts:?}");
}

#[test]
fn only_a_free_screen_of_this_moment_is_pasted_into() {
    for screen in [
        Some(shown(Says::Busy)),
        Some(shown(Says::Waiting)),
        Some(foreign()),
        Some(shown(Says::Nothing)),
        Some(Shown {
            in_mode: true,
            ..shown(Says::Idle)
        }),
        None,
    ] {
        let mut run = Run::ready("codex");
        run.scene.screen = screen.clone();
        run.after(0);
        assert_eq!(
            outcome(&run.next),
            (Outcome::Refused, Event::Refuse),
            "{screen:?}"
        );
        assert_eq!(held(&run.next), Some(Duration::from_millis(500)));
    }
    let mut run = Run::ready("codex");
    run.scene.lives = false;
    run.after(0);
    assert_eq!(outcome(&run.next), (Outcome::Refused, Event::Refuse));
}

#[test]
fn a_pane_has_one_writer() {
    for (done, rest) in [
        (Done::Pane(Ok(false)), Duration::from_millis(500)),
        (Done::Pane(Err("no".into())), Duration::from_secs(30)),
    ] {
        let mut run = Run::new("codex");
        run.step(None);
        run.did(Done::Place(Ok(None)));
        assert_eq!(run.after(0), [Act::TakePane]);
        run.did(done);
        assert_eq!(outcome(&run.next), (Outcome::Refused, Event::Refuse));
        assert_eq!(held(&run.next), Some(rest));
    }
}

#[test]
fn nothing_is_submitted_that_is_not_seen_to_stand_there_alone() {
    for screen in [
        shown(Says::Idle),
        foreign(),
        shown(Says::Busy),
        shown(Says::Waiting),
        shown(Says::Nothing),
        Shown {
            in_mode: true,
            ..stands()
        },
        // The composer holds the text, but it is not the composer that would take the key.
        Shown {
            says: Says::Busy,
            ..stands()
        },
    ] {
        let mut run = Run::pasted("codex");
        run.scene.screen = Some(screen.clone());
        for _ in 0..200 {
            let acts = run.after(100).to_vec();
            let pressed = acts.iter().any(|act| matches!(act, Act::Press { .. }));
            assert!(!pressed, "{screen:?}");
        }
    }
}

#[test]
fn a_foreign_text_beside_ours_gives_the_prompt_back() {
    let mut run = Run::pasted("codex");
    run.scene.screen = Some(beside());
    run.after(500);
    assert!(run.next.acts.is_empty());
    run.after(1_999);
    assert!(run.next.acts.is_empty());
    run.after(1);
    assert_eq!(outcome(&run.next), (Outcome::Refused, Event::Refuse));
    assert!(
        run.next
            .acts
            .contains(&Act::Tell(Note::Refused { pasted: true }))
    );
}

#[test]
fn a_paste_that_is_not_confirmed_is_looked_for() {
    let mut run = Run::ready("codex");
    run.after(0);
    run.did(Done::Typed(Typed::Unknown(Error::Closed)));
    run.scene.screen = Some(stands());
    let acts = run.after(500).to_vec();
    assert!(matches!(acts.last(), Some(Act::Press { .. })));
    let mut run = Run::ready("codex");
    run.after(0);
    run.did(Done::Typed(Typed::Refused(Refusal::CursorMoved)));
    assert_eq!(outcome(&run.next), (Outcome::Refused, Event::Refuse));
}

#[test]
fn a_text_that_is_gone_before_it_was_submitted_may_have_been_by_a_person() {
    // An agent with a record would have shown it.
    let mut run = Run::pasted("codex");
    run.scene.screen = Some(stands());
    run.scene.screen.as_mut().expect("a screen").holds_text = false;
    run.after(300);
    run.scene.screen = Some(shown(Says::Idle));
    run.after(100);
    run.after(2_000);
    assert_eq!(outcome(&run.next), (Outcome::Refused, Event::Refuse));
    let mut run = Run::pasted(RECORDLESS);
    run.scene.screen = Some(stands());
    run.scene.screen.as_mut().expect("a screen").holds_text = false;
    run.after(300);
    run.scene.screen = Some(shown(Says::Idle));
    run.after(100);
    run.after(2_000);
    assert_eq!(outcome(&run.next), (Outcome::Uncertain, Event::Lose));
}

#[test]
fn the_key_is_pressed_again_only_while_our_text_still_stands_there() {
    let presses = |run: &mut Run, screen: Shown| {
        let mut presses = 1;
        run.scene.screen = Some(screen);
        for _ in 0..300 {
            if run.turn.has_ended() {
                break;
            }
            let acts = run.after(100).to_vec();
            if acts.iter().any(|act| matches!(act, Act::Press { .. })) {
                presses += 1;
                let row = acts.iter().find_map(phase);
                assert_eq!(row, Some(Phase::Submitted), "each has its row");
                run.did(Done::Typed(Typed::Done));
            }
        }
        presses
    };
    let mut run = Run::submitted("codex");
    assert_eq!(presses(&mut run, stands()), 5);
    assert_eq!(outcome(&run.next), (Outcome::Uncertain, Event::Lose));
    for screen in [
        foreign(),
        shown(Says::Nothing),
        Shown {
            in_mode: true,
            ..stands()
        },
    ] {
        let mut run = Run::submitted("codex");
        assert_eq!(presses(&mut run, screen.clone()), 1, "{screen:?}");
        assert_eq!(outcome(&run.next), (Outcome::Uncertain, Event::Lose));
    }
}

#[test]
fn a_key_that_tmux_refused_was_not_pressed() {
    let mut run = Run::pasted("codex");
    run.scene.screen = Some(stands());
    run.after(500);
    run.did(Done::Typed(Typed::Refused(Refusal::CursorMoved)));
    // It is pressed as soon as the pane is still, without another row.
    let acts = run.after(25).to_vec();
    assert!(matches!(&acts[..], [Act::Press { .. }]), "{acts:?}");
    // A key that may have been pressed counts as pressed.
    let mut run = Run::pasted("codex");
    run.scene.screen = Some(stands());
    run.after(500);
    run.did(Done::Typed(Typed::Unknown(Error::Closed)));
    assert!(run.after(999).is_empty());
    assert!(matches!(
        run.after(1),
        [Act::Advance { .. }, Act::Press { .. }]
    ));
}

#[test]
fn a_turn_has_begun_where_something_proves_it() {
    type Proof = fn(&mut Run);
    let proofs: [(&str, Proof); 5] = [
        ("busy", |run| run.scene.screen = Some(shown(Says::Busy))),
        ("given", |run| run.scene.screen = Some(taken())),
        ("record", |run| run.wrote(None, "")),
        ("title", |run| {
            run.scene.ms += 10;
            let title = vec![run.scene.signal(Source::Title, Says::Busy)];
            run.scene.is(Activity::Busy, "works", title);
            run.scene.screen = Some(shown(Says::Nothing));
        }),
        ("report", |run| {
            let at = run.scene.ms;
            run.scene.agent.report = Some(report(State::Busy, at, None, None));
            run.scene.screen = Some(shown(Says::Nothing));
        }),
    ];
    for (name, proof) in proofs {
        let mut run = Run::submitted("codex");
        proof(&mut run);
        let acts = run.after(10).to_vec();
        assert!(acts.contains(&begun()), "{name}: {acts:?}");
        assert!(acts.contains(&Act::LeavePane), "{name}");
    }
}

#[test]
fn what_was_seen_before_the_key_proves_nothing() {
    let mut run = Run::submitted("codex");
    // A title from a look before the key was pressed.
    run.scene.agent.signals = vec![run.scene.signal(Source::Title, Says::Busy)];
    run.scene.screen = Some(shown(Says::Nothing));
    assert!(run.after(10).is_empty());
    // A report about what came before.
    let mut run = Run::submitted("codex");
    run.scene.screen = Some(shown(Says::Nothing));
    for report in [
        report(State::Idle, run.scene.ms, None, None),
        report(State::Busy, run.scene.ms, Some(99), None),
        report(State::Busy, run.scene.ms + 60_000, None, None),
    ] {
        run.scene.agent.report = Some(report.clone());
        assert!(run.after(10).is_empty(), "{report:?}");
    }
    let mut run = Run::ready("codex");
    run.scene.agent.report = Some(report(State::Busy, 0, None, None));
    run.after(0);
    run.did(Done::Typed(Typed::Done));
    run.scene.screen = Some(stands());
    run.after(500);
    run.did(Done::Typed(Typed::Done));
    run.scene.screen = Some(shown(Says::Nothing));
    assert!(run.after(10).is_empty(), "heard before the paste");
}

#[test]
fn a_record_tells_the_end_and_the_response() {
    let mut run = Run::running("codex");
    run.wrote(None, "");
    run.after(100);
    assert!(!run.turn.has_ended());
    run.wrote(Some(How::Done), "hello\nworld");
    run.after(100);
    assert_eq!(outcome(&run.next), (Outcome::Completed, Event::Complete));
    let end = end(&run.next);
    assert_eq!(end.output, Output::Text("hello\nworld".to_owned()));
    assert_eq!(end.turn.as_ref().expect("facts").source, "transcript");
}

#[test]
fn how_a_record_says_that_it_ended_is_how_it_ended() {
    let failed = How::Failed {
        message: "no".to_owned(),
    };
    let limited = How::Limited {
        message: "later".to_owned(),
        until: None,
    };
    for (how, expected) in [
        (How::Interrupted, (Outcome::Failed, Event::Fail)),
        (failed, (Outcome::Failed, Event::Fail)),
        (limited, (Outcome::Limited, Event::Hold)),
    ] {
        let mut run = Run::running("codex");
        run.wrote(Some(how.clone()), "");
        run.after(100);
        assert_eq!(outcome(&run.next), expected, "{how:?}");
        let end = end(&run.next);
        assert_eq!(end.limit.is_some(), expected.0 == Outcome::Limited);
        if let Some(limit) = &end.limit {
            assert!(limit.until >= wall(run.scene.ms + 30_000), "{limit:?}");
        }
    }
}

#[test]
fn a_report_tells_the_end_where_no_record_does() {
    let mut run = Run::running(RECORDLESS);
    let at = run.scene.ms + 50;
    run.scene.agent.report = Some(report(State::Done, at, None, Some("hello")));
    run.after(100);
    let response = end(&run.next).output.clone();
    assert_eq!(response, Output::Text("hello".to_owned()));
    // A report without words: the screen has them.
    let mut run = Run::running(RECORDLESS);
    run.scene.agent.report = Some(report(State::Done, at, Some(1), None));
    let acts = run.after(100).to_vec();
    assert!(matches!(&acts[..], [Act::ReadAnswer { .. }]), "{acts:?}");
    run.did(Done::Answer(Some(("hello".into(), "hello".into()))));
    assert_eq!(outcome(&run.next), (Outcome::Completed, Event::Complete));
    // A report from before it was submitted, or about another task, shows nothing.
    for late in [
        report(State::Done, 1, None, Some("old")),
        report(State::Done, at, Some(9), Some("other")),
    ] {
        let mut run = Run::running(RECORDLESS);
        run.scene.agent.report = Some(late.clone());
        run.after(100);
        assert!(!run.turn.has_ended(), "{late:?}");
    }
}

#[test]
fn the_screen_alone_tells_an_end_only_after_a_while_of_rest() {
    let mut run = Run::running(RECORDLESS);
    let settle = run.scene.agent.profile.turn.settle;
    let settle = u64::try_from(settle.as_millis()).expect("it fits");
    run.scene.ms += 100;
    run.scene.is(Activity::Idle, "waits", Vec::new());
    assert!(run.step(None).is_empty());
    assert!(run.after(settle - 1).is_empty());
    // It works again, so the idle time starts anew.
    run.scene.is(Activity::Busy, "works", Vec::new());
    run.after(10);
    run.scene.is(Activity::Idle, "waits", Vec::new());
    assert!(run.after(10).is_empty());
    assert!(run.after(settle - 1).is_empty());
    assert!(matches!(run.after(1), [Act::ReadAnswer { .. }]));
    run.did(Done::Answer(Some(("hello".into(), "hello".into()))));
    assert_eq!(outcome(&run.next), (Outcome::Completed, Event::Complete));
    assert_eq!(
        end(&run.next).turn.as_ref().expect("facts").source,
        "screen"
    );
}

#[test]
fn a_screen_from_before_the_turn_began_tells_no_end() {
    let mut run = Run::running(RECORDLESS);
    run.scene.agent.verdict.activity = Activity::Idle;
    run.scene.scanned = 0;
    for _ in 0..100 {
        assert!(run.after(1_000).is_empty());
    }
}

#[test]
fn a_dialog_is_answered_by_keys_once() {
    let mut run = Run::asking("codex");
    let keys = Answer::Keys(vec!["Down".into(), "Enter".into()]);
    run.scene.replies = vec![reply(3, keys, "may I?")];
    // The screen is read for the reply, and the pane is taken.
    run.after(100);
    let acts = run.after(0).to_vec();
    assert_eq!(acts, [Act::TakePane]);
    let acts = run.did(Done::Pane(Ok(true))).to_vec();
    assert!(
        matches!(&acts[..], [Act::TakeReply { .. }, Act::Press { names, .. }] if names == &["Down", "Enter"]),
        "{acts:?}"
    );
    let acts = run.did(Done::Typed(Typed::Done)).to_vec();
    assert!(acts.contains(&Act::GoOn {
        details: "answered".to_owned()
    }));
    assert!(acts.contains(&Act::LeavePane));
    // It is still listed, but is not given again.
    for _ in 0..50 {
        let acts = run.after(100).to_vec();
        let typed = acts
            .iter()
            .any(|act| matches!(act, Act::Press { .. } | Act::TakeReply { .. }));
        assert!(!typed, "{acts:?}");
    }
}

#[test]
fn a_key_that_was_refused_leaves_the_task_waiting() {
    let mut run = Run::asking("codex");
    let keys = Answer::Keys(vec!["Enter".into()]);
    run.scene.replies = vec![reply(3, keys, "may I?")];
    run.after(100);
    run.after(0);
    run.did(Done::Pane(Ok(true)));
    let acts = run.did(Done::Typed(Typed::Refused(Refusal::Mode))).to_vec();
    assert!(
        matches!(&acts[..], [Act::DropReplies { .. }, Act::LeavePane]),
        "{acts:?}"
    );
}

#[test]
fn an_answer_to_another_question_is_not_given() {
    for answer in [
        Answer::Keys(vec!["Enter".into()]),
        Answer::Words("yes".into()),
        Answer::Accept,
    ] {
        let mut run = Run::asking("codex");
        run.scene.replies = vec![reply(3, answer.clone(), "something else")];
        let acts = run.after(100).to_vec();
        assert!(matches!(&acts[..], [Act::DropReplies { .. }]), "{acts:?}");
    }
    // Nothing is asked.
    let mut run = Run::running("codex");
    run.scene.replies = vec![reply(3, Answer::Words("yes".into()), "may I?")];
    let acts = run.after(100).to_vec();
    assert!(matches!(&acts[..], [Act::DropReplies { .. }]), "{acts:?}");
}

#[test]
fn a_pane_that_another_writes_into_is_left_for_the_next_look() {
    let mut run = Run::asking("codex");
    let keys = Answer::Keys(vec!["Enter".into()]);
    run.scene.replies = vec![reply(3, keys, "may I?")];
    run.after(100);
    run.after(0);
    let acts = run.did(Done::Pane(Ok(false))).to_vec();
    assert_eq!(acts, [Act::LeavePane]);
    run.after(250);
    assert_eq!(run.after(0), [Act::TakePane]);
}

/// Returns a turn whose agent has ended in a question.
fn questioned(name: &str) -> Run {
    let mut run = Run::running(name);
    run.wrote(Some(How::Done), "I can.\n\nShall I?");
    let acts = run.after(100).to_vec();
    assert!(
        matches!(&acts[..2], [Act::Ask { question, said: Some(_) }, Act::TellPerson { .. }] if question == "asks: Shall I?"),
        "{acts:?}"
    );
    assert!(acts.contains(&Act::AgeRecord), "{acts:?}");
    run.scene.record = Record {
        found: true,
        ..Record::default()
    };
    run.scene.screen = Some(shown(Says::Idle));
    run.scene.is(Activity::Idle, "waits", Vec::new());
    run
}

#[test]
fn a_question_is_answered_by_words_that_are_given_like_a_prompt() {
    let mut run = questioned("codex");
    run.scene.replies = vec![reply(3, Answer::Words("yes".into()), "asks: Shall I?")];
    run.after(100);
    let acts = run.after(0).to_vec();
    assert!(matches!(&acts[..], [Act::TakeReply { .. }]), "{acts:?}");
    assert_eq!(run.after(0), [Act::TakePane]);
    run.did(Done::Pane(Ok(true)));
    let acts = run.after(0).to_vec();
    // The attempt enters no new phase, because it is already running.
    assert!(acts.iter().all(|act| phase(act).is_none()), "{acts:?}");
    assert!(matches!(acts.last(), Some(Act::Paste { text, .. }) if &**text == "yes"));
    run.did(Done::Typed(Typed::Done));
    run.scene.screen = Some(stands());
    let acts = run.after(500).to_vec();
    assert!(matches!(&acts[..], [Act::Press { .. }]), "{acts:?}");
    run.did(Done::Typed(Typed::Done));
    run.scene.screen = Some(shown(Says::Busy));
    let acts = run.after(50).to_vec();
    assert!(
        matches!(&acts[0], Act::GoOn { details } if details == "answered"),
        "{acts:?}"
    );
    run.wrote(Some(How::Done), "Done.");
    run.after(100);
    assert_eq!(outcome(&run.next), (Outcome::Completed, Event::Complete));
}

#[test]
fn a_person_may_take_a_question_for_the_response() {
    let mut run = questioned("codex");
    run.scene.replies = vec![reply(3, Answer::Accept, "asks: Shall I?")];
    let acts = run.after(100).to_vec();
    assert!(matches!(&acts[0], Act::TakeReply { .. }), "{acts:?}");
    let response = end(&run.next).output.clone();
    assert_eq!(response, Output::Text("I can.\n\nShall I?".to_owned()));
}

#[test]
fn a_person_who_answers_in_the_pane_is_noticed() {
    let mut run = questioned("codex");
    run.scene.ms += 1_000;
    let busy = vec![run.scene.signal(Source::Screen, Says::Busy)];
    run.scene.is(Activity::Busy, "works", busy);
    let acts = run.step(None).to_vec();
    assert_eq!(
        acts,
        [Act::GoOn {
            details: "the agent continues".to_owned()
        }]
    );
    // What it still did at the end of its turn is not a new turn.
    let mut run = questioned("codex");
    let mut old = run.scene.signal(Source::Screen, Says::Busy);
    old.since = wall(0);
    run.scene.ms += 1_000;
    run.scene.is(Activity::Busy, "works", vec![old]);
    assert!(run.step(None).is_empty());
}

#[test]
fn no_time_runs_while_a_person_is_waited_for() {
    let mut task = prompt("say hello");
    task.timeout_seconds = Some(60);
    let scene = Scene::of("codex");
    let attempt = |asks: Option<&str>| OpenAttempt {
        task: Task {
            asks: asks.map(str::to_owned),
            ..task.clone()
        },
        ..open(Phase::Running)
    };
    for (asks, ends) in [(None, true), (Some("may I?"), false)] {
        let mut run = Run::resumed(attempt(asks), scene.clone());
        run.step(None);
        run.did(Done::Place(Ok(None)));
        run.scene.is(Activity::WaitingInput, "may I?", Vec::new());
        if asks.is_none() {
            run.scene.is(Activity::Busy, "works", Vec::new());
        }
        run.after(59_999);
        assert!(!run.turn.has_ended());
        run.after(1);
        assert_eq!(run.turn.has_ended(), ends, "{asks:?}");
        if ends {
            assert_eq!(outcome(&run.next), (Outcome::TimedOut, Event::Fail));
        }
    }
}

#[test]
fn an_agent_that_ends_is_read_to_its_last_word() {
    let mut run = Run::running("codex");
    run.scene.lives = false;
    assert!(run.after(100).is_empty());
    run.wrote(Some(How::Done), "just in time");
    run.after(1_900);
    assert_eq!(outcome(&run.next), (Outcome::Completed, Event::Complete));
    let mut run = Run::running("codex");
    run.scene.lives = false;
    run.after(100);
    run.after(1_999);
    assert!(!run.turn.has_ended());
    run.after(1);
    assert_eq!(outcome(&run.next), (Outcome::Failed, Event::Fail));
    // An agent that is not seen but still alive has not ended: an editor that it started hides it.
    let mut run = Run::running("codex");
    run.scene.gone = true;
    run.after(600_000);
    assert!(!run.turn.has_ended());
}

#[test]
fn a_person_may_end_it_at_any_time_and_hears_what_is_left() {
    type Stage = fn() -> Run;
    let stages: [(&str, Stage, &str); 4] = [
        ("ready", || Run::ready("codex"), "nothing was typed"),
        (
            "pasted",
            || Run::pasted("codex"),
            "pasted and not submitted",
        ),
        ("submitted", || Run::submitted("codex"), "was submitted"),
        ("running", || Run::running("codex"), "may continue"),
    ];
    for (name, stage, left) in stages {
        let mut run = stage();
        run.scene.request = Some(Request::Cancel);
        run.until_end();
        assert_eq!(
            outcome(&run.next),
            (Outcome::Cancelled, Event::Cancel),
            "{name}"
        );
        let reason = end(&run.next).reason.clone().expect("a reason");
        assert!(reason.contains(left), "{name}: {reason}");
        // No key is sent to the agent for it.
        assert_eq!(run.next.acts.len(), 1, "{name}: {:?}", run.next.acts);
        let mut run = stage();
        run.scene.request = Some(Request::Reassign(None));
        run.until_end();
        assert_eq!(
            outcome(&run.next),
            (Outcome::Reassigned, Event::Return),
            "{name}"
        );
    }
}

#[test]
fn a_prompt_that_no_composer_takes_is_not_left_standing_everywhere() {
    let scene = Scene::of("codex");
    let refusals = |all, pasted| Refusals { all, pasted };
    for (before, expected, rest) in [
        (refusals(0, 0), (Outcome::Refused, Event::Refuse), Some(2)),
        (refusals(1, 1), (Outcome::Refused, Event::Refuse), Some(4)),
        (refusals(3, 1), (Outcome::Refused, Event::Refuse), Some(16)),
        (
            refusals(20, 0),
            (Outcome::Refused, Event::Refuse),
            Some(300),
        ),
        (refusals(2, 2), (Outcome::Failed, Event::Fail), None),
    ] {
        let mut run = Run::with(prompt("say hello"), scene.clone(), before);
        run.step(None);
        run.did(Done::Place(Ok(None)));
        run.after(0);
        run.did(Done::Pane(Ok(true)));
        run.after(0);
        run.did(Done::Typed(Typed::Done));
        run.scene.screen = Some(beside());
        run.after(300);
        run.after(2_000);
        assert_eq!(outcome(&run.next), expected, "{before:?}");
        assert_eq!(held(&run.next), rest.map(Duration::from_secs), "{before:?}");
    }
}

#[test]
fn a_row_is_stepped_on_from_where_it_stands() {
    let at_phase = |phase| OpenAttempt {
        task: prompt("say hello"),
        ..open(phase)
    };
    let scene = Scene::of("codex");
    let mut run = Run::resumed(at_phase(Phase::Claimed), scene.clone());
    run.step(None);
    assert_eq!(outcome(&run.next), (Outcome::Withdrawn, Event::Withdraw));
    // Pasted: the text is still there, and is submitted.
    let found = |phase| {
        let mut run = Run::resumed(at_phase(phase), scene.clone());
        assert!(matches!(run.step(None), [Act::LookAtPlace { .. }]));
        run.did(Done::Place(Ok(None)));
        run
    };
    let mut run = found(Phase::Delivering);
    run.scene.screen = Some(stands());
    let acts = run.after(500).to_vec();
    assert!(matches!(acts.last(), Some(Act::Press { .. })), "{acts:?}");
    // Or it is not there and was not submitted: it is never pasted again by this attempt.
    let mut run = found(Phase::Delivering);
    run.after(500);
    run.after(3_500);
    assert_eq!(outcome(&run.next), (Outcome::Refused, Event::Refuse));
    // Submitted: nothing proves that it was not.
    let mut run = found(Phase::Submitted);
    run.after(500);
    assert!(!run.turn.has_ended());
    run.after(30_000);
    assert_eq!(outcome(&run.next), (Outcome::Uncertain, Event::Lose));
    // It is running, and ended while nobody looked.
    let mut run = found(Phase::Running);
    run.wrote(Some(How::Done), "hello");
    run.after(100);
    assert_eq!(outcome(&run.next), (Outcome::Completed, Event::Complete));
}

#[test]
fn an_agent_that_came_later_was_not_given_anything() {
    // A person may have submitted what the previous agent was given.
    for (phase, expected) in [
        (Phase::Delivering, (Outcome::Uncertain, Event::Lose)),
        (Phase::Submitted, (Outcome::Uncertain, Event::Lose)),
    ] {
        let mut scene = Scene::of("codex");
        scene.agent.started = Some(wall(5_000));
        let attempt = OpenAttempt {
            task: prompt("say hello"),
            ..open(phase)
        };
        let mut run = Run::resumed(attempt, scene);
        run.after(1_999);
        assert!(!run.turn.has_ended());
        run.after(1);
        assert_eq!(outcome(&run.next), expected);
    }
}

#[test]
fn prerequisites_run_first_and_may_fail() {
    let mut task = prompt("say hello");
    task.metadata.prerequisites = vec!["make".into()];
    let preparing = || {
        let mut run = Run::with(task.clone(), Scene::of("codex"), Refusals::default());
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
fn scenes() -> impl Strategy<Value = (Scene, Option<Done>)> {
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
                let mut scene = Scene::of("codex");
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
        let mut run = Run::new("codex");
        let (mut pasted, mut ended) = (0, 0);
        let (mut delivering, mut submitted) = (false, false);
        for (index, (scene, done)) in scenes.into_iter().enumerate() {
            let before = run.turn.has_ended();
            let holds = scene.screen.as_ref().is_some_and(|screen| {
                screen.holds_text && screen.says == Says::Attended
            });
            run.scene = Scene { ms: index as u64 * 300, scanned: index as u64 * 300, ..scene };
            for act in run.step(done).to_vec() {
                prop_assert!(!before, "nothing happens after the end");
                match act {
                    Act::Advance { phase: Phase::Delivering, .. } => delivering = true,
                    Act::Advance { phase: Phase::Submitted, .. } => submitted = true,
                    Act::Paste { .. } => {
                        prop_assert!(delivering);
                        pasted += 1;
                    }
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

#[test]
fn work_on_another_prompt_begins_nothing_while_the_text_still_stands_there() {
    let busy = || Shown {
        says: Says::Busy,
        ..stands()
    };
    let mut run = Run::pasted("gemini");
    run.scene.screen = Some(busy());
    assert!(!run.after(500).contains(&begun()));
    let mut run = Run::submitted("codex");
    run.scene.screen = Some(busy());
    assert!(!run.after(50).contains(&begun()));
    let at = run.scene.ms;
    run.scene.agent.report = Some(report(State::Busy, at, None, None));
    run.scene.screen = Some(stands());
    assert!(!run.after(10).contains(&begun()));
}

#[test]
fn a_record_tells_of_a_text_that_was_never_seen_to_stand_there() {
    let mut run = Run::pasted("codex");
    run.wrote(None, "");
    assert!(run.after(50).contains(&begun()));
}

#[test]
fn where_a_record_is_to_come_it_tells_whose_prompt_was_submitted() {
    let mut run = Run::pasted("codex");
    run.scene.screen = Some(foreign());
    run.after(500);
    run.scene.screen = Some(shown(Says::Busy));
    assert!(!run.after(25).contains(&begun()));
    run.wrote(None, "");
    assert!(run.after(25).contains(&begun()));
}

#[test]
fn where_a_record_is_to_come_it_tells_whose_end_was_reported() {
    let mut run = Run::running("codex");
    let at = run.scene.ms;
    run.scene.agent.report = Some(report(State::Done, at, None, Some("another's")));
    assert!(run.after(100).is_empty());
    run.wrote(Some(How::Done), "its own");
    run.after(100);
    assert_eq!(end(&run.next).output, Output::Text("its own".to_owned()));
}

#[test]
fn what_is_reported_before_the_key_was_pressed_again_is_about_something_else() {
    let mut run = Run::submitted("gemini");
    run.after(500);
    let at = run.scene.ms;
    run.after(600);
    run.did(Done::Typed(Typed::Done));
    run.scene.screen = Some(taken());
    assert!(run.after(25).contains(&begun()));
    run.scene.agent.report = Some(report(State::Done, at, None, Some("another's")));
    assert!(run.after(25).is_empty());
}

#[test]
fn keys_for_a_dialog_that_is_gone_are_not_pressed_and_keep_no_turn_from_ending() {
    let mut run = Run::asking("gemini");
    run.scene.ms += 100;
    let idle = vec![run.scene.signal(Source::Screen, Says::Idle)];
    run.scene.is(Activity::Idle, "waits at its prompt", idle);
    run.scene.screen = Some(shown(Says::Idle));
    let keys = Answer::Keys(vec!["1".to_owned()]);
    run.scene.replies = vec![reply(1, keys, "may I?")];
    let mut done = None;
    for _ in 0..40 {
        run.scene.ms += 100;
        let acts = run.step(done.take()).to_vec();
        assert!(!acts.iter().any(|act| matches!(act, Act::Press { .. })));
        if matches!(acts.last(), Some(Act::ReadAnswer { .. })) {
            let answer = "done".to_owned();
            done = Some(Done::Answer(Some((answer.clone(), answer))));
        }
        if run.turn.has_ended() {
            return;
        }
    }
    panic!("it has not ended");
}

#[test]
fn a_turn_that_shows_a_dialog_is_still_its_own() {
    let mut run = Run::asking("codex");
    run.wrote(Some(How::Done), "its own");
    run.scene.record.latest = Some(Written::default());
    run.after(100);
    assert_eq!(end(&run.next).output, Output::Text("its own".to_owned()));
}

#[test]
fn what_follows_a_question_that_an_earlier_daemon_heard_is_another_turn() {
    let mut task = prompt("say hello");
    task.asks = Some("asks: Shall I?".to_owned());
    let open = OpenAttempt {
        task,
        ..open(Phase::Running)
    };
    let mut run = Run::resumed(open, Scene::of("gemini"));
    run.step(None);
    run.did(Done::Place(Ok(None)));
    run.scene.ms += 100;
    let busy = vec![run.scene.signal(Source::Screen, Says::Busy)];
    run.scene.is(Activity::Busy, "works", busy);
    let acts = run.step(None).to_vec();
    assert!(matches!(acts[..], [Act::GoOn { .. }]), "{acts:?}");
    assert_eq!(run.turn.wants().text.as_deref(), Some(""));
}
