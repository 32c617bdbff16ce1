use super::*;
use proptest::prelude::*;

const NOW: i64 = 10_000;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).expect("a time")
}

fn signal(source: SignalSource, says: Says, ago: i64) -> Signal {
    Signal {
        source,
        says,
        since: at(NOW - ago),
        detail: "seen".into(),
    }
}

fn verdict(signals: &[Signal]) -> Activity {
    fuse(signals, at(NOW)).activity
}

use SignalSource::{Pane, Process, Report as Told, Screen as Shown, Title, Transcript as Wrote};

#[test]
fn a_free_line_and_nothing_against_it_is_idle() {
    assert_eq!(verdict(&[signal(Shown, Says::Idle, 5)]), Activity::Idle);
    let all = [
        signal(Shown, Says::Idle, 1),
        signal(Title, Says::Nothing, 1),
        signal(Wrote, Says::Idle, 1),
        signal(Told, Says::Idle, 1),
    ];
    assert_eq!(verdict(&all), Activity::Idle);
}

#[test]
fn silence_is_not_idle() {
    assert_eq!(verdict(&[]), Activity::Unknown);
    assert_eq!(verdict(&[signal(Told, Says::Idle, 1)]), Activity::Unknown);
    assert_eq!(verdict(&[signal(Wrote, Says::Idle, 1)]), Activity::Unknown);
    let onboarding = [
        signal(Shown, Says::Nothing, 900),
        signal(Told, Says::Idle, 1),
    ];
    assert_eq!(verdict(&onboarding), Activity::Unknown);
}

/// Of two reports of the same time, the one that asks for a person counts.
#[test]
fn a_question_is_not_hidden_by_a_report_of_the_same_time() {
    for other in [Says::Idle, Says::Busy, Says::Attended] {
        let told = [
            signal(Shown, Says::Idle, 5),
            signal(Told, Says::Waiting, 5),
            signal(Told, other, 5),
        ];
        assert_eq!(verdict(&told), Activity::WaitingInput, "{other}");
    }
}

#[test]
fn esc_that_told_nobody_is_believed_only_after_a_while() {
    let told = |ago, free| {
        verdict(&[
            signal(Told, Says::Busy, ago),
            signal(Shown, Says::Idle, free),
        ])
    };
    assert_eq!(told(2, 1), Activity::Busy);
    assert_eq!(told(500, 2), Activity::Busy);
    assert_eq!(told(500, 60), Activity::Idle);
    // The transcript shows Esc at once.
    let interrupted = [
        signal(Told, Says::Busy, 9),
        signal(Wrote, Says::Idle, 2),
        signal(Shown, Says::Idle, 2),
    ];
    assert_eq!(verdict(&interrupted), Activity::Idle);
}

#[test]
fn a_transcript_that_contradicts_the_screen_makes_it_unknown() {
    let open = |ago| verdict(&[signal(Wrote, Says::Busy, ago), signal(Shown, Says::Idle, 1)]);
    assert_eq!(open(1), Activity::Busy);
    assert_eq!(open(60), Activity::Unknown);
    assert_eq!(open(1_000), Activity::Idle);
}

#[test]
fn a_blocked_report_holds_until_it_was_answered() {
    let blocked = signal(Told, Says::Waiting, 20);
    let free = signal(Shown, Says::Idle, 25);
    assert_eq!(verdict(&[blocked.clone(), free]), Activity::WaitingInput);
    let works = signal(Title, Says::Busy, 5);
    assert_eq!(verdict(&[blocked, works]), Activity::Busy);
}

#[test]
fn what_was_told_after_the_line_appeared_is_not_forgotten_in_a_moment() {
    let both =
        |says, told, free| verdict(&[signal(Told, says, told), signal(Shown, Says::Idle, free)]);
    assert_eq!(both(Says::Busy, 40, 60), Activity::Unknown);
    assert_eq!(both(Says::Busy, 400, 600), Activity::Idle);
    assert_eq!(both(Says::Waiting, 40, 60), Activity::WaitingInput);
    assert_eq!(both(Says::Waiting, 60, 40), Activity::Idle);
    assert_eq!(both(Says::Waiting, 400, 600), Activity::Idle);
}

fn shell(process: Says, screen: Says) -> [Signal; 2] {
    [signal(Process, process, 3), signal(Shown, screen, 3)]
}

#[test]
fn a_shell_is_folded_like_an_agent() {
    let of = |process, screen| verdict(&shell(process, screen));
    assert_eq!(of(Says::Idle, Says::Idle), Activity::Idle);
    assert_eq!(of(Says::Idle, Says::Attended), Activity::Attended);
    assert_eq!(of(Says::Idle, Says::Nothing), Activity::Unknown);
    assert_eq!(of(Says::Busy, Says::Idle), Activity::Busy);
    assert_eq!(of(Says::Nothing, Says::Idle), Activity::Unknown);
    assert_eq!(of(Says::Gone, Says::Idle), Activity::Gone);
}

fn barrier(obstacle: Obstacle, ago: i64) -> Signal {
    let detail = Detail::Obstacle(obstacle);
    Signal {
        detail,
        ..signal(Pane, Says::Attended, ago)
    }
}

#[test]
fn the_most_weighty_of_several_barriers_is_the_obstacle() {
    let free = signal(Shown, Says::Idle, 9);
    let typing = barrier(Obstacle::PersonTyping, 1);
    let mode = barrier(Obstacle::Mode, 50);
    let verdict = fuse(&[free, typing, mode], at(NOW));
    assert_eq!(verdict.obstacle, Some(Obstacle::Mode));
    assert_eq!(verdict.activity, Activity::Attended);
    assert_eq!(verdict.reason, "the pane is in copy mode or another mode");
}

#[test]
fn a_person_comes_before_a_free_line_and_behind_work() {
    let person = signal(Pane, Says::Attended, 1);
    let free = signal(Shown, Says::Idle, 9);
    assert_eq!(verdict(&[person.clone(), free]), Activity::Attended);
    let works = signal(Shown, Says::Busy, 9);
    assert_eq!(verdict(&[person, works]), Activity::Busy);
}

const SOURCES: [SignalSource; 6] = [Told, Wrote, Title, Shown, Pane, Process];

const SAYS: [Says; 6] = [
    Says::Idle,
    Says::Busy,
    Says::Waiting,
    Says::Attended,
    Says::Nothing,
    Says::Gone,
];

fn any_detail() -> impl Strategy<Value = Detail> {
    prop_oneof![
        4 => prop::sample::select(vec!["seen", "other"]).prop_map(Detail::from),
        1 => prop::sample::select(vec![
            Obstacle::Mode,
            Obstacle::InputOff,
            Obstacle::Synchronized,
            Obstacle::PersonTyping,
            Obstacle::Runs { program: None },
            Obstacle::Asked,
        ])
        .prop_map(Detail::Obstacle),
    ]
}

/// Any signal at all, including some that no reader produces.
fn any_signal() -> impl Strategy<Value = Signal> {
    let source = prop::sample::select(SOURCES.to_vec());
    let says = prop::sample::select(SAYS.to_vec());
    let ago = prop_oneof![-5..2_000_i64, 0..40_i64];
    (source, says, ago, any_detail()).prop_map(|(source, says, ago, detail)| Signal {
        detail,
        ..signal(source, says, ago)
    })
}

fn any_signals() -> impl Strategy<Value = Vec<Signal>> {
    prop::collection::vec(any_signal(), 0..9)
}

/// Signals that are likely to mean idle: an empty line, and a few others.
fn likely_idle() -> impl Strategy<Value = Vec<Signal>> {
    let free = (0..100_i64).prop_map(|ago| signal(Shown, Says::Idle, ago));
    (free, prop::collection::vec(any_signal(), 0..3)).prop_map(|(free, mut others)| {
        others.push(free);
        others
    })
}

fn is_seen_now(source: SignalSource) -> bool {
    !matches!(source, Told | Wrote)
}

#[test]
fn silence_takes_nothing_back() {
    for (source, says) in SOURCES
        .into_iter()
        .flat_map(|it| SAYS.map(|says| (it, says)))
    {
        let signals = [signal(Shown, Says::Idle, 60), signal(source, says, 5)];
        let before = verdict(&signals);
        for silent in SOURCES {
            let mut more = signals.to_vec();
            more.push(signal(silent, Says::Nothing, 0));
            let after = verdict(&more);
            assert!(
                before == Activity::Idle || after != Activity::Idle,
                "{source} says {says}, and {silent} nothing"
            );
        }
    }
}

proptest! {
    /// Every set of signals has a verdict, which is idle exactly if there is no obstacle.
    #[test]
    fn folding_is_total(signals in any_signals()) {
        let verdict = fuse(&signals, at(NOW));
        prop_assert_eq!(verdict.activity == Activity::Idle, verdict.obstacle.is_none());
        let told = verdict.obstacle.map_or_else(|| AT_PROMPT.to_owned(), |it| it.to_string());
        prop_assert_eq!(verdict.reason, told);
    }

    /// The order in which signals are given does not matter.
    #[test]
    fn the_order_is_of_no_account(
        (signals, shuffled) in any_signals()
            .prop_flat_map(|all| (Just(all.clone()), Just(all).prop_shuffle())),
    ) {
        prop_assert_eq!(fuse(&signals, at(NOW)), fuse(&shuffled, at(NOW)));
    }

    /// Idle requires an empty line on the screen. Work, a dialog, a person or a draft that is
    /// seen now rules it out, and so does a process that has ended or whose state is unknown.
    #[test]
    fn no_idle_against_what_is_seen(signals in likely_idle()) {
        let against = signals.iter().any(|signal| matches!(
            (signal.source, signal.says),
            (Pane | Shown, Says::Attended)
                | (Shown | Title, Says::Waiting)
                | (Process | Shown | Title, Says::Busy)
                | (Process, Says::Nothing | Says::Gone)
        ));
        prop_assert!(!against || verdict(&signals) != Activity::Idle, "{signals:?}");
    }

    #[test]
    fn no_idle_without_a_free_line(signals in any_signals()) {
        let free = signals.iter().any(|it| it.source == Shown && it.says == Says::Idle);
        prop_assert!(free || verdict(&signals) != Activity::Idle);
    }

    /// A contradiction that was reported or written after the line appeared is not ignored
    /// before its agent can have forgotten it.
    #[test]
    fn a_newer_contradiction_is_never_ignored(
        free in 1..400_i64, newer in 1..400_i64, source in prop::sample::select(vec![Told, Wrote]),
        says in prop::sample::select(vec![Says::Busy, Says::Waiting]),
        others in prop::collection::vec(any_signal(), 0..3),
    ) {
        let ago = (free - newer).max(0);
        prop_assume!(ago <= FORGOTTEN && ago < free);
        let mut signals = vec![signal(Shown, Says::Idle, free), signal(source, says, ago)];
        // Anything newer may answer it, and so may a line that has appeared since.
        signals.extend(others.into_iter().filter(|other| {
            other.since < at(NOW - ago) && !(other.source == Shown && other.says == Says::Idle)
        }));
        prop_assert!(verdict(&signals) != Activity::Idle, "{signals:?}");
    }

    /// Adding a signal that says nothing never makes the verdict idle.
    #[test]
    fn nothing_makes_nothing_idle(
        signals in any_signals(), nothing in any_signal(), at_place in any::<prop::sample::Index>(),
    ) {
        let before = verdict(&signals);
        let mut more = signals;
        let place = at_place.index(more.len() + 1);
        more.insert(place, Signal { says: Says::Nothing, ..nothing });
        prop_assert!(before == Activity::Idle || verdict(&more) != Activity::Idle);
    }

    /// Adding a signal of the current look that contradicts idle never makes the verdict idle.
    #[test]
    fn an_objection_makes_nothing_idle(signals in likely_idle(), more in any_signal()) {
        let before = verdict(&signals);
        let objects = !matches!(more.says, Says::Idle) && is_seen_now(more.source);
        // Visible work answers a question that was reported before.
        prop_assume!(objects);
        let mut all = signals;
        all.push(more);
        prop_assert!(before == Activity::Idle || verdict(&all) != Activity::Idle, "{all:?}");
    }
}
