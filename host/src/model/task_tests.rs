//! Every possible transition, every name, and the limits of what is accepted.

use std::collections::BTreeSet;
use std::time::Duration;

use super::ids::{AttemptId, PaneId, TaskId};
use super::naming::SessionRef;
use super::session::{Activity, SessionContext, Shell};
use super::task::*;
use super::text::clean;

/// An event, its two names, and what it turns each state into in which it can happen.
type Moment = (Event, &'static str, &'static str, Vec<(Status, Status)>);

/// Every event, with the name under which it is kept, its name for people, and its transitions;
/// nothing else can happen.
fn life() -> Vec<Moment> {
    use Event::*;
    use Status::*;
    let flight = [Assigned, InProgress, WaitingInput];
    let from_flight = |to: Status| flight.map(|from| (from, to)).to_vec();
    let stays = |froms: &[Status]| froms.iter().map(|&from| (from, from)).collect::<Vec<_>>();
    vec![
        (Claim, "claimed", "be claimed", vec![(Pending, Assigned)]),
        (Deliver, "delivering", "be delivered", stays(&[Assigned])),
        (Submit, "submitted", "be submitted", stays(&[Assigned])),
        (Start, "started", "start", vec![(Assigned, InProgress)]),
        (
            Ask,
            "waiting_input",
            "wait for an answer",
            from_flight(WaitingInput),
        ),
        (
            GoOn,
            "resumed",
            "continue",
            vec![(WaitingInput, InProgress)],
        ),
        (Hold, "held", "be held", from_flight(Pending)),
        (Refuse, "refused", "be refused", vec![(Assigned, Pending)]),
        (
            Withdraw,
            "withdrawn",
            "be withdrawn",
            vec![(Assigned, Pending)],
        ),
        (Complete, "completed", "complete", from_flight(Completed)),
        (Fail, "failed", "fail", from_flight(Failed)),
        (Retry, "retrying", "be tried again", from_flight(Pending)),
        (
            RequestCancel,
            "cancel_requested",
            "be cancelled",
            stays(&flight),
        ),
        (
            Cancel,
            "cancelled",
            "be cancelled",
            [
                &from_flight(Cancelled)[..],
                &[(Pending, Cancelled), (Uncertain, Cancelled)],
            ]
            .concat(),
        ),
        (Lose, "uncertain", "be lost", from_flight(Uncertain)),
        (
            Resend,
            "resent",
            "be sent again",
            vec![(Uncertain, Pending)],
        ),
        (
            MarkDone,
            "marked_done",
            "be marked as done",
            vec![(Uncertain, Completed)],
        ),
        (
            MarkFailed,
            "marked_failed",
            "be marked as failed",
            vec![(Uncertain, Failed)],
        ),
        (
            Requeue,
            "requeued",
            "be queued again",
            vec![(Failed, Pending), (Cancelled, Pending)],
        ),
        (
            Reassign,
            "reassigned",
            "be given to another session",
            stays(&[Pending, Assigned, InProgress, WaitingInput]),
        ),
        (Return, "returned", "be returned", from_flight(Pending)),
        (
            Abandon,
            "abandoned",
            "be abandoned",
            vec![(Pending, Failed)],
        ),
        (
            Doubt,
            "doubted",
            "be doubted",
            [&from_flight(Uncertain)[..], &[(Pending, Uncertain)]].concat(),
        ),
    ]
}

#[test]
fn each_event_leads_where_it_may_and_nowhere_else() {
    for (event, name, told, steps) in life() {
        assert_eq!((event.name(), event.to_string().as_str()), (name, told));
        for from in Status::ALL {
            let step = steps.iter().find(|(step, _)| *step == from);
            let expected = match step {
                Some((_, to)) => Ok(*to),
                None => Err(IllegalTransition { from, event }),
            };
            assert_eq!(from.after(event), expected, "{from} {name}");
            if let Err(illegal) = expected {
                assert_eq!(
                    illegal.to_string(),
                    format!("a task that is {from} cannot {told}")
                );
            }
        }
    }
    let names: BTreeSet<&str> = life().iter().map(|(event, ..)| event.name()).collect();
    assert_eq!(names.len(), life().len(), "no name is used twice");
}

#[test]
fn each_state_has_its_name_and_its_place() {
    use Status::*;
    for (status, name, settled, ended) in [
        (Pending, "pending", false, false),
        (Assigned, "assigned", false, false),
        (InProgress, "in_progress", false, false),
        (WaitingInput, "waiting_input", false, false),
        (Completed, "completed", true, true),
        (Failed, "failed", true, true),
        (Cancelled, "cancelled", true, true),
        (Uncertain, "uncertain", true, false),
    ] {
        assert_eq!((status.name(), status.to_string().as_str()), (name, name));
        assert_eq!(Status::from_name(name), Some(status));
        assert_eq!(
            (status.is_settled(), status.has_ended()),
            (settled, ended),
            "{name}"
        );
        assert_eq!(serde_json::to_value(status).expect("JSON"), name);
    }
    assert_eq!(Status::from_name("done"), None);
    assert_eq!(format!("{:>9}|", Failed), "   failed|");
}

#[test]
fn each_phase_and_each_outcome_has_its_name() {
    use Outcome::*;
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
    assert_eq!(Phase::from_name("preparing"), None);
    for (outcome, name, counts, failure) in [
        (Completed, "completed", true, false),
        (Failed, "failed", true, true),
        (TimedOut, "timed_out", true, true),
        (Cancelled, "cancelled", true, false),
        (Refused, "refused", false, false),
        (Withdrawn, "withdrawn", false, false),
        (Reassigned, "reassigned", true, false),
        (Limited, "rate_limited", false, false),
        (Uncertain, "uncertain", true, false),
    ] {
        assert_eq!(outcome.name(), name);
        assert_eq!(Outcome::from_name(name), Some(outcome));
        assert_eq!(
            (outcome.counts(), outcome.is_failure()),
            (counts, failure),
            "{name}"
        );
    }
    assert_eq!(Outcome::from_name("held"), None);
    assert_eq!(IfParentFails::Fail.name(), "fail");
    assert_eq!(IfParentFails::Release.name(), "release");
}

#[test]
fn a_prompt_holds_nothing_that_could_end_its_paste() {
    let problem = |kind, text: &str| check_task(kind, text).err().map(|error| error.to_string());
    for text in ["a", "a\tb\nc", "a\r\nb", "é🚀"] {
        assert_eq!(problem(Kind::Prompt, text), None, "{text:?}");
        assert_eq!(problem(Kind::Command, text), None, "{text:?}");
    }
    for (text, name, offset) in [
        ("é\x1b[201~", "U+001B", 2),
        ("a\rb", "U+000D", 1),
        ("a\r", "U+000D", 1),
        ("a\r\r\n", "U+000D", 1),
        ("\u{9b}", "U+009B", 0),
        ("x\x7f", "U+007F", 1),
    ] {
        let told = format!(
            "the prompt contains the control character {name} at offset {offset}: remove it"
        );
        assert_eq!(problem(Kind::Prompt, text), Some(told), "{text:?}");
        assert_eq!(
            problem(Kind::Command, text),
            None,
            "a shell is given it as it is"
        );
    }
    for kind in [Kind::Prompt, Kind::Command] {
        let nul = problem(kind, "a\0").expect("refused");
        assert!(nul.contains("NUL byte at offset 1"), "{nul}");
        assert!(problem(kind, "\n ").is_some_and(|told| told.contains("empty")));
    }
    assert_eq!(control("a\u{7}b\u{8}"), Some((1, '\u{7}')));
    assert_eq!(control("a\r\nb\t"), None);
}

#[test]
fn a_name_of_a_variable_is_one_in_every_shell() {
    for name in ["A", "_", "a_1", "_9", "PATH"] {
        assert!(is_variable_name(name), "{name}");
    }
    for name in ["", "1", "1A", "A-B", "A B", "é", "Aé", "A=", "-A"] {
        assert!(!is_variable_name(name), "{name}");
    }
}

fn task(change: impl FnOnce(&mut NewTask)) -> Task {
    let mut new = NewTask::prompt("x");
    change(&mut new);
    Task::queued(TaskId(1), &new, jiff::Timestamp::UNIX_EPOCH)
}

#[test]
fn providers_are_asked_for_in_order_and_once() {
    let names =
        |names: &[&str]| -> Vec<String> { names.iter().map(|&name| name.to_owned()).collect() };
    let mut asks = task(|new| {
        new.target_provider = Some("aider".to_owned());
        new.metadata.preferred_providers = names(&["codex", "aider"]);
        new.metadata.fallback_providers = names(&["claude", "codex"]);
    });
    let expected = names(&["aider", "codex", "claude"]);
    assert_eq!(asks.preferred_providers(), expected);
    assert_eq!(asks.allowed_providers(), expected);
    asks.metadata.allow_fallback = true;
    assert_eq!(asks.preferred_providers(), expected);
    assert!(asks.allowed_providers().is_empty());
    assert!(task(|_| ()).allowed_providers().is_empty());
}

#[test]
fn a_task_demands_what_it_says() {
    let asks = task(|new| {
        new.target_provider = Some("codex".to_owned());
        new.target_session = Some("api".into());
        new.metadata.target_fallback = true;
        new.metadata.git_branch = Some("dev".to_owned());
        new.metadata.require_branch = true;
        new.metadata.require_labels = [("a".to_owned(), "b".to_owned())].into();
    });
    let demand = asks.demand();
    assert_eq!(demand.kind, Kind::Prompt);
    assert_eq!(
        (demand.target_session, demand.target_fallback),
        (Some(SessionRef::from("api")), true)
    );
    assert_eq!(
        (demand.branch, demand.providers),
        (Some("dev".to_owned()), vec!["codex".to_owned()])
    );
    assert_eq!(demand.labels, asks.metadata.require_labels);
    assert_eq!(NewTask::command("x").kind, Kind::Command);
}

#[test]
fn the_branch_of_a_directory_is_no_sessions() {
    let metadata = |change: fn(&mut Metadata)| {
        let mut metadata = Metadata {
            git_branch: Some("dev".to_owned()),
            require_branch: true,
            ..Metadata::default()
        };
        change(&mut metadata);
        metadata.session_branch().map(str::to_owned)
    };
    assert_eq!(metadata(|_| ()).as_deref(), Some("dev"));
    assert_eq!(metadata(|it| it.git_branch = None), None);
    assert_eq!(metadata(|it| it.require_branch = false), None);
    assert_eq!(metadata(|it| it.working_dir = Some("/".to_owned())), None);
    assert_eq!(metadata(|it| it.prerequisites.push("x".to_owned())), None);
}

#[test]
fn a_context_is_a_directory_a_branch_or_variables() {
    type MetadataChange = fn(&mut Metadata);
    let changes: [(MetadataChange, bool); 5] = [
        (|_| (), false),
        (|it| it.working_dir = Some("/".to_owned()), true),
        (|it| it.git_branch = Some("dev".to_owned()), true),
        (
            |it| drop(it.env_vars.insert("A".to_owned(), String::new())),
            true,
        ),
        (|it| it.secret_env.push("A".to_owned()), false),
    ];
    for (index, (change, names)) in changes.into_iter().enumerate() {
        let mut metadata = Metadata::default();
        change(&mut metadata);
        assert_eq!(metadata.names_context(), names, "{index}");
    }
}

/// What nobody asked for is not written, so that other tools find only what they know.
#[test]
fn metadata_is_written_as_other_tools_know_it() {
    let plain = serde_json::to_string(&Metadata::default()).expect("JSON");
    assert_eq!(
        plain,
        r#"{"prefer_context_match":true,"allow_fallback":false}"#
    );
    let all = r#"{"working_dir":"/srv","git_branch":"dev","require_branch":true,"env_vars":{"A":"1"},"secret_env":["B"],"isolate_env":true,"prerequisites":["make"],"prerequisite_timeout":5,"prefer_context_match":false,"preferred_providers":["codex"],"fallback_providers":["claude"],"allow_fallback":true,"target_fallback":true,"labels":{"a":"b"},"require_labels":{"c":"d"},"ticket":7}"#;
    let (read, problem) = Metadata::read(all);
    assert_eq!(problem, None);
    assert_eq!(serde_json::to_string(&read).expect("JSON"), all);
    for json in [
        r#"{"require_branch":false,"isolate_env":false,"target_fallback":false}"#,
        "{}",
    ] {
        let (read, problem) = Metadata::read(json);
        assert_eq!((read, problem), (Metadata::default(), None), "{json}");
    }
    for json in [
        r#"{"env_vars":{"A":null}}"#,
        r#"{"env_vars":{"A":{}}}"#,
        r#"{"env_vars":[]}"#,
    ] {
        let (read, problem) = Metadata::read(json);
        assert_eq!(read, Metadata::default(), "{json}");
        assert!(problem.is_some(), "{json}");
    }
    let (_, problem) = Metadata::read(r#"{"env_vars":{"A":[1]}}"#);
    assert_eq!(problem.as_deref(), Some("the variable A is not text"));
    let (read, _) = Metadata::read(r#"{"labels":["a",1,true,null,{}]}"#);
    let names: Vec<&str> = read.labels.keys().map(String::as_str).collect();
    assert_eq!(names, ["1", "a", "true"]);
    let (read, _) = Metadata::read(r#"{"labels":{"a":true,"b":null}}"#);
    assert_eq!(read.labels, [("a".to_owned(), "true".to_owned())].into());
}

#[test]
fn a_summary_is_the_first_line_that_says_something() {
    for (content, expected) in [
        ("", ""),
        (" \n\t\n", ""),
        ("a\nb", "a"),
        ("\r\n  b \r\nc", "b"),
    ] {
        assert_eq!(summary(content), expected, "{content:?}");
    }
    assert_eq!(summary(&"x".repeat(200)).len(), 200);
    assert_eq!(summary(&"x".repeat(201)).len(), 200);
    assert_eq!(
        task(|new| new.content = "\n one\ntwo".to_owned()).summary(),
        "one"
    );
}

#[test]
fn a_session_has_a_place_and_an_activity() {
    let mut context = SessionContext::shell("api");
    assert_eq!((context.provider.as_str(), context.idle), ("shell", 0));
    context.git_branch = Some("dev".to_owned());
    context.labels.insert("a".to_owned(), "b".to_owned());
    let place = context.place();
    assert_eq!(
        (place.who.name, place.provider, place.branch),
        ("api", "shell", Some("dev"))
    );
    assert_eq!(place.labels, &context.labels);
    for (activity, name) in [
        (Activity::Idle, "idle"),
        (Activity::Busy, "busy"),
        (Activity::WaitingInput, "waiting_input"),
        (Activity::Attended, "attended"),
        (Activity::Unknown, "unknown"),
        (Activity::Gone, "gone"),
    ] {
        assert_eq!(
            (activity.name(), activity.to_string().as_str()),
            (name, name)
        );
        assert_eq!(Activity::from_name(name), Some(activity));
    }
    assert_eq!(Activity::from_name("Idle"), None);
    for (program, shell) in [
        ("bash", Some(Shell::Bash)),
        ("zsh", Some(Shell::Zsh)),
        ("fish", Some(Shell::Fish)),
        ("dash", Some(Shell::Dash)),
        ("ash", Some(Shell::Dash)),
        ("sh", Some(Shell::Dash)),
        ("ksh", None),
        ("", None),
    ] {
        assert_eq!(Shell::from_program(program), shell, "{program}");
        if let Some(shell) = shell.filter(|_| program.len() > 3) {
            assert_eq!(shell.name(), program);
        }
    }
}

#[test]
fn only_a_pane_of_tmux_is_a_pane() {
    for text in ["%0", "%12"] {
        let pane = PaneId::parse(text).expect("an id");
        assert_eq!((pane.as_str(), pane.to_string().as_str()), (text, text));
    }
    for text in ["", "%", "12", "%1a", "%-1", "% 1", "$1", "%1;", "%٣"] {
        assert_eq!(PaneId::parse(text), None, "{text}");
    }
    assert_eq!("7".parse(), Ok(TaskId(7)));
    assert_eq!(format!("{:>3}", AttemptId(7)), "  7");
    assert!("x".parse::<AttemptId>().is_err());
}

#[test]
fn text_from_outside_is_harmless() {
    assert_eq!(clean("grüße 日本"), "grüße 日本");
    assert_eq!(clean("a\nb\tc\r"), r"a\nb\tc\r");
    assert_eq!(clean("\x1b]0;x\x07"), r"\u{1b}]0;x\u{7}");
}

#[test]
fn retries_back_off_up_to_a_bound() {
    assert_eq!(backoff(1), Duration::from_secs(1));
    assert_eq!(backoff(2), Duration::from_secs(2));
    assert_eq!(backoff(4), Duration::from_secs(8));
    assert_eq!(backoff(1000), Duration::from_secs(300));
}

/// Linux starts no program with a longer one.
#[test]
fn a_variable_that_no_program_could_be_given_is_refused() {
    let value = "x".repeat(LONGEST_VARIABLE - "BIG=".len() - 1);
    assert_eq!(check_variable("BIG", &value), Ok(()));
    let longer = format!("{value}x");
    let error = check_variable("BIG", &longer).expect_err("too long");
    assert_eq!(error, VariableError::TooLong(LONGEST_VARIABLE + 1));
    assert!(error.to_string().contains("131073 bytes"), "{error}");
    if cfg!(target_os = "linux") {
        let starts = |value: &str| {
            let mut command = std::process::Command::new("true");
            command.env("BIG", value).status().is_ok()
        };
        assert!(starts(&value));
        assert!(!starts(&longer));
    }
    assert_eq!(check_variable("1A", ""), Err(VariableError::Name));
    assert_eq!(check_variable("A", "\0"), Err(VariableError::Nul));
}
