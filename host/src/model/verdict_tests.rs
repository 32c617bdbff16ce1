//! The limits of the fold, to the second, and its words.

use jiff::Timestamp;

use super::session::Activity;
use super::verdict::SignalSource::{Report, Screen, Title, Transcript};
use super::verdict::{Detail, Obstacle, Says, Signal, SignalSource, fuse};

const NOW: i64 = 10_000;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).expect("a time")
}

/// Returns the verdict on signals that have said the same for this many seconds, in either order.
fn verdict(signals: &[(SignalSource, Says, i64)]) -> Activity {
    let mut signals: Vec<Signal> = signals
        .iter()
        .map(|&(source, says, ago)| Signal {
            source,
            says,
            since: at(NOW - ago),
            detail: "seen".into(),
        })
        .collect();
    let verdict = fuse(&signals, at(NOW)).activity;
    signals.reverse();
    assert_eq!(fuse(&signals, at(NOW)).activity, verdict, "{signals:?}");
    verdict
}

#[test]
fn a_question_that_was_told_is_answered_by_what_is_newer() {
    for (answer, ago, expected) in [
        (Says::Busy, 21, Activity::WaitingInput),
        (Says::Busy, 20, Activity::WaitingInput),
        (Says::Busy, 19, Activity::Busy),
    ] {
        let told = (Report, Says::Waiting, 20);
        assert_eq!(verdict(&[told, (Title, answer, ago)]), expected, "{ago}");
    }
    for (ended, expected) in [
        (21, Activity::WaitingInput),
        (20, Activity::WaitingInput),
        (19, Activity::Idle),
    ] {
        let told = (Report, Says::Waiting, 20);
        let free = (Screen, Says::Idle, 2);
        let wrote = (Transcript, Says::Idle, ended);
        assert_eq!(verdict(&[told, free, wrote]), expected, "{ended}");
    }
    // By an empty line that is not older, after a while; by an older one, after minutes.
    for (told, free, expected) in [
        (40, 30, Activity::WaitingInput),
        (30, 30, Activity::WaitingInput),
        (40, 31, Activity::Idle),
        (31, 31, Activity::Idle),
        (31, 32, Activity::WaitingInput),
        (300, 600, Activity::WaitingInput),
        (301, 600, Activity::Idle),
    ] {
        let signals = [(Report, Says::Waiting, told), (Screen, Says::Idle, free)];
        assert_eq!(verdict(&signals), expected, "{told} {free}");
    }
}

#[test]
fn work_that_was_told_is_believed_until_its_end_is_written_or_the_line_has_been_free() {
    for (told, ended, expected) in [
        (5, 9, Activity::Busy),
        (5, 6, Activity::Busy),
        (5, 5, Activity::Idle),
        (5, 4, Activity::Idle),
    ] {
        let signals = [
            (Report, Says::Busy, told),
            (Transcript, Says::Idle, ended),
            (Screen, Says::Idle, 2),
        ];
        assert_eq!(verdict(&signals), expected, "{told} {ended}");
    }
    for (told, free, expected) in [
        (30, 90, Activity::Busy),
        (90, 30, Activity::Busy),
        (31, 31, Activity::Idle),
        (90, 31, Activity::Idle),
        (31, 32, Activity::Unknown),
        (300, 400, Activity::Unknown),
        (301, 400, Activity::Idle),
        // Told in the future: the clock was set back since.
        (-30, 90, Activity::Busy),
        (-31, 90, Activity::Unknown),
        (-300, 400, Activity::Unknown),
        (-301, 400, Activity::Idle),
    ] {
        let signals = [(Report, Says::Busy, told), (Screen, Says::Idle, free)];
        assert_eq!(verdict(&signals), expected, "{told} {free}");
    }
}

#[test]
fn an_open_turn_contradicts_a_free_line_until_it_was_forgotten() {
    for (ago, expected) in [
        (10, Activity::Busy),
        (11, Activity::Unknown),
        (300, Activity::Unknown),
        (301, Activity::Idle),
    ] {
        let signals = [(Transcript, Says::Busy, ago), (Screen, Says::Idle, 1)];
        assert_eq!(verdict(&signals), expected, "{ago}");
    }
}

#[test]
fn without_a_free_line_what_was_told_or_written_lately_tells_of_work() {
    for (source, ago, expected) in [
        (Report, 300, Activity::Busy),
        (Report, 301, Activity::Unknown),
        (Transcript, 10, Activity::Busy),
        (Transcript, 11, Activity::Unknown),
    ] {
        assert_eq!(verdict(&[(source, Says::Busy, ago)]), expected, "{source}");
    }
}

#[test]
fn of_two_words_of_the_same_moment_the_more_cautious_counts() {
    for (says, expected) in [
        ([Says::Idle, Says::Busy], Activity::Busy),
        ([Says::Idle, Says::Waiting], Activity::WaitingInput),
        ([Says::Busy, Says::Waiting], Activity::WaitingInput),
    ] {
        let [first, second] = says.map(|says| (Report, says, 5));
        let signals = [first, second, (Screen, Says::Idle, 2)];
        assert_eq!(verdict(&signals), expected, "{says:?}");
    }
}

#[test]
fn sources_and_what_they_say_have_their_names() {
    let sources = [
        Report,
        Transcript,
        Title,
        Screen,
        SignalSource::Pane,
        SignalSource::Process,
    ];
    for (source, name) in
        sources
            .into_iter()
            .zip(["report", "transcript", "title", "screen", "pane", "process"])
    {
        assert_eq!(source.to_string(), name);
        assert_eq!(format!("{source:12}|"), format!("{name:12}|"));
    }
    let says = [
        Says::Idle,
        Says::Busy,
        Says::Waiting,
        Says::Attended,
        Says::Nothing,
        Says::Gone,
    ];
    for (says, name) in says
        .into_iter()
        .zip(["idle", "busy", "waiting", "attended", "nothing", "gone"])
    {
        assert_eq!(says.to_string(), name);
        assert_eq!(format!("{says:10}|"), format!("{name:10}|"));
    }
    assert_eq!(Detail::from("a line").to_string(), "a line");
    let mode = Detail::Obstacle(Obstacle::Mode);
    assert_eq!(mode.to_string(), Obstacle::Mode.to_string());
}
