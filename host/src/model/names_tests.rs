//! Names that databases hold, scripts read and people see: they never change.

use super::eligibility::Admission;
use super::session::{Activity, Shell};
use super::task::{IfParentFails, Outcome, Phase, Status};
use super::verdict::{Says, SignalSource};

#[test]
fn names_of_a_task_stay() {
    let statuses = [
        (Status::Pending, "pending"),
        (Status::Assigned, "assigned"),
        (Status::InProgress, "in_progress"),
        (Status::WaitingInput, "waiting_input"),
        (Status::Completed, "completed"),
        (Status::Failed, "failed"),
        (Status::Cancelled, "cancelled"),
        (Status::Uncertain, "uncertain"),
    ];
    assert_eq!(Status::ALL, statuses.map(|(status, _)| status));
    for (status, name) in statuses {
        assert_eq!(status.name(), name);
        assert_eq!(Status::from_name(name), Some(status));
        assert_eq!(format!("{status:>14}"), format!("{name:>14}"));
    }
    for (phase, name) in [
        (Phase::Claimed, "claimed"),
        (Phase::Delivering, "delivering"),
        (Phase::Submitted, "submitted"),
        (Phase::Running, "in_progress"),
        (Phase::Ended, "ended"),
    ] {
        assert_eq!(phase.name(), name);
        assert_eq!(Phase::from_name(name), Some(phase));
    }
    for (outcome, name) in [
        (Outcome::Completed, "completed"),
        (Outcome::Failed, "failed"),
        (Outcome::TimedOut, "timed_out"),
        (Outcome::Cancelled, "cancelled"),
        (Outcome::Refused, "refused"),
        (Outcome::Withdrawn, "withdrawn"),
        (Outcome::Reassigned, "reassigned"),
        (Outcome::Limited, "rate_limited"),
        (Outcome::Uncertain, "uncertain"),
    ] {
        assert_eq!(outcome.name(), name);
        assert_eq!(Outcome::from_name(name), Some(outcome));
    }
    for name in ["", "Pending", "InProgress", "running", "limited"] {
        assert_eq!(Status::from_name(name), None);
        assert_eq!(Phase::from_name(name), None);
        assert_eq!(Outcome::from_name(name), None);
    }
    assert_eq!(IfParentFails::Fail.name(), "fail");
    assert_eq!(IfParentFails::Release.name(), "release");
}

#[test]
fn names_of_a_session_stay() {
    for (activity, name) in [
        (Activity::Idle, "idle"),
        (Activity::Busy, "busy"),
        (Activity::WaitingInput, "waiting_input"),
        (Activity::Attended, "attended"),
        (Activity::Unknown, "unknown"),
        (Activity::Gone, "gone"),
    ] {
        assert_eq!(activity.name(), name);
        assert_eq!(Activity::from_name(name), Some(activity));
        assert_eq!(format!("{activity:>14}"), format!("{name:>14}"));
    }
    assert_eq!(Activity::from_name("Idle"), None);
    for (admission, name) in [
        (Admission::Open, "open"),
        (Admission::Protected, "protected"),
        (Admission::Excluded, "excluded"),
    ] {
        assert_eq!(admission.name(), name);
        assert_eq!(Admission::from_name(name), admission);
    }
    for (shell, name) in [
        (Shell::Bash, "bash"),
        (Shell::Zsh, "zsh"),
        (Shell::Fish, "fish"),
        (Shell::Dash, "dash"),
    ] {
        assert_eq!(shell.name(), name);
        assert_eq!(Shell::from_program(name), Some(shell));
    }
    assert_eq!(Shell::from_program("ash"), Some(Shell::Dash));
    assert_eq!(Shell::from_program("sh"), Some(Shell::Dash));
    for name in ["", "Bash", "ksh", "tcsh", "rbash"] {
        assert_eq!(Shell::from_program(name), None);
    }
}

#[test]
fn names_of_signals_stay() {
    for (source, name) in [
        (SignalSource::Shell, "shell"),
        (SignalSource::Report, "report"),
        (SignalSource::Transcript, "transcript"),
        (SignalSource::Title, "title"),
        (SignalSource::Screen, "screen"),
        (SignalSource::Pane, "pane"),
        (SignalSource::Process, "process"),
    ] {
        assert_eq!(format!("{source:<12}|"), format!("{name:<12}|"));
    }
    for (says, name) in [
        (Says::Idle, "idle"),
        (Says::Busy, "busy"),
        (Says::Waiting, "waiting"),
        (Says::Attended, "attended"),
        (Says::Nothing, "nothing"),
        (Says::Gone, "gone"),
    ] {
        assert_eq!(format!("{says:<12}|"), format!("{name:<12}|"));
    }
}
