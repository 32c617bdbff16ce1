//! Policies that do harm, and files that are not policies: each results in one clear line, within a
//! bounded time, and scheduling continues.

mod loading;

use std::sync::LazyLock;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use wit_component::StringEncoding;
use wit_parser::Resolve;

use super::rounds::self_test;
use super::{
    EMBEDDED, Failure, Limits, LoadError, Loader, Overrides, Policy, PolicyHost, PolicySource,
    Violation, resolve,
};
use crate::model::matching::{Decision, Question};

const WIT: &str = include_str!("../../../wit/policy.wit");

/// The same contract, in a world that also has a clock.
const WIT_WITH_CLOCK: &str = "
    package test:clock;
    world policy {
        import wasi:clocks/monotonic-clock@0.2.0;
        import assigner:policy/logging@0.1.0;
        export assigner:policy/matching@0.1.0;
    }
    package wasi:io@0.2.0 {
        interface poll { resource pollable { block: func(); } }
    }
    package wasi:clocks@0.2.0 {
        interface monotonic-clock {
            use wasi:io/poll@0.2.0.{pollable};
            subscribe-duration: func(when: u64) -> pollable;
        }
    }
";

/// What a policy may do instead of deciding.
const ENDLESS: &str = "(loop $l (br $l)) (unreachable)";
const HOG: &str = "(loop $l (drop (memory.grow (i32.const 16))) (br $l)) (unreachable)";

/// A policy written by hand. In the self-test it lets both tasks wait; in any other round it runs
/// `assign`, which returns the address of its answer: at 8 there is one without any decision, at
/// 1536 one that lets two tasks wait.
fn module(imports: &str, assign: &str) -> String {
    format!(
        r#"(module
            (import "assigner:policy/logging@0.1.0" "log" (func $log (param i32 i32 i32)))
            {imports}
            (memory (export "memory") 1)
            (global $free (mut i32) (i32.const 16384))
            ;; what it says of itself: name, version, summary, default-config, wants-busy
            (data (i32.const 1024) "\00\05\00\00\08\00\00\00\08\05\00\00\01\00\00\00\08\05\00\00\01\00\00\00\09\05\00\00\02\00\00\00\00")
            (data (i32.const 1280) "sabotage1{{}}boom\1b[2J")
            ;; an answer of two decisions, each `wait`
            (data (i32.const 1536) "\00\08\00\00\02\00\00\00")
            (data (i32.const 2048) "\01")
            (data (i32.const 2076) "\01")
            (func (export "assigner:policy/matching@0.1.0#describe") (result i32)
                (i32.const 1024))
            (func (export "assigner:policy/matching@0.1.0#configure") (param i32 i32) (result i32)
                (i32.const 8))
            (func $assign (export "assigner:policy/matching@0.1.0#assign")
                (param $now i64) (param $explain i32) (param i32 i32)
                (param $tasks i32) (param $count i32) (param $sessions i32) (param i32)
                (result i32)
                (local $i i32)
                (if (i64.eq (local.get $now) (i64.const 1700000000))
                    (then (return (i32.const 1536))))
                {assign})
            (func (export "cabi_realloc") (param i32 i32 i32) (param $size i32) (result i32)
                (local $at i32)
                (local.set $at (i32.and (i32.add (global.get $free) (i32.const 7)) (i32.const -8)))
                (global.set $free (i32.add (local.get $at) (local.get $size)))
                (local.get $at)))"#
    )
}

/// Returns a core module with embedded WIT.
fn embed(wat: &str, wit: &str) -> Vec<u8> {
    let mut resolve = Resolve::default();
    let contract = resolve
        .push_str("policy.wit", WIT)
        .expect("the contract parses");
    let package = if wit == WIT {
        contract
    } else {
        resolve
            .push_str("test.wit", wit)
            .expect("the test's WIT parses")
    };
    let world = resolve
        .select_world(&[package], Some("policy"))
        .expect("there is a world");
    let mut module = wat::parse_str(wat).expect("the module parses");
    wit_component::embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8)
        .expect("the WIT can be embedded");
    module
}

fn saboteur(assign: &str) -> Vec<u8> {
    embed(&module("", assign), WIT)
}

/// The usual limits, with the time that a busy machine may need.
fn limits() -> Limits {
    Limits {
        time: Duration::from_secs(30),
        load_time: Duration::from_secs(30),
        ..Limits::default()
    }
}

/// For policies that are meant to run out of time.
fn brief() -> Limits {
    Limits {
        time: Duration::from_millis(100),
        ..limits()
    }
}

fn load(bytes: &[u8], limits: &Limits) -> Result<Policy, LoadError> {
    Policy::from_bytes("`test.wasm`", bytes, limits, &json!({}))
}

fn loaded(bytes: &[u8]) -> Policy {
    load(bytes, &limits()).unwrap_or_else(|error| panic!("{error}"))
}

fn refused(bytes: &[u8]) -> LoadError {
    load(bytes, &limits()).err().expect("it is refused")
}

static DEFAULT: LazyLock<Policy> = LazyLock::new(|| {
    Policy::embedded(&limits(), &Value::Null).unwrap_or_else(|error| panic!("{error}"))
});

fn question() -> Question {
    Question {
        now: 1,
        ..self_test()
    }
}

/// Returns the failure of a policy that does this in a round.
fn failure(assign: &str) -> Failure {
    loaded(&saboteur(assign))
        .decide(&question())
        .expect_err("it fails")
}

#[test]
fn an_endless_loop_is_stopped() {
    assert_times_out(&saboteur(ENDLESS));
}

#[test]
fn a_sleep_in_the_host_is_stopped() {
    let imports = r#"
        (import "wasi:clocks/monotonic-clock@0.2.0" "subscribe-duration"
            (func $timer (param i64) (result i32)))
        (import "wasi:io/poll@0.2.0" "[method]pollable.block" (func $block (param i32)))
    "#;
    let assign = "(call $block (call $timer (i64.const 3600000000000))) (unreachable)";
    assert_times_out(&embed(&module(imports, assign), WIT_WITH_CLOCK));
}

fn assert_times_out(bytes: &[u8]) {
    let policy = load(bytes, &brief()).unwrap_or_else(|error| panic!("{error}"));
    let expected = Failure::TimedOut {
        limit: brief().time,
    };
    assert_eq!(policy.decide(&question()), Err(expected));
}

#[test]
fn hunger_for_memory_is_stopped() {
    let expected = Failure::OutOfMemory {
        limit: limits().memory,
    };
    assert_eq!(failure(HOG), expected);
}

#[test]
fn deep_recursion_is_stopped() {
    let deeper = "(call $assign (i64.const 0) (i32.const 0) (i32.const 0) (i32.const 0)
                                (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0))
                  (i32.load offset=0)";
    assert_eq!(failure(deeper), Failure::OutOfStack);
}

#[test]
fn a_trap_is_told_with_the_last_words() {
    let dying = "(call $log (i32.const 3) (i32.const 1291) (i32.const 8)) (unreachable)";
    let failure = failure(dying);
    let Failure::Stopped { cause, said_last } = &failure else {
        panic!("{failure:?}")
    };
    assert!(cause.contains("unreachable"), "{cause}");
    assert_eq!(said_last.as_deref(), Some("boom\\u{1b}[2J"));
    assert!(
        failure
            .to_string()
            .ends_with("; it last said: boom\\u{1b}[2J"),
        "{failure}"
    );
}

#[test]
fn the_wrong_number_of_decisions_is_refused() {
    let expected = Failure::Wrong(Violation::Count {
        given: 0,
        wanted: 2,
    });
    assert_eq!(failure("(i32.const 8)"), expected);
}

#[test]
fn an_answer_without_end_is_refused() {
    // 2,000 decisions that all point to one reason of 60,000 bytes: small only for the guest.
    let flood = "
        (drop (memory.grow (i32.const 16)))
        (local.set $i (i32.const 131072))
        (loop $l
            (i32.store8 (local.get $i) (i32.const 1))
            (i32.store offset=4 (local.get $i) (i32.const 65536))
            (i32.store offset=8 (local.get $i) (i32.const 60000))
            (local.set $i (i32.add (local.get $i) (i32.const 28)))
            (br_if $l (i32.lt_u (local.get $i) (i32.const 187072))))
        (i32.store (i32.const 1536) (i32.const 131072))
        (i32.store (i32.const 1540) (i32.const 2000))
        (i32.const 1536)";
    let failure = failure(flood);
    let Failure::Stopped { cause, .. } = &failure else {
        panic!("{failure:?}")
    };
    assert!(cause.contains("too much data"), "{cause}");
}

#[test]
fn a_flood_of_log_lines_does_no_harm() {
    let flood = "
        (loop $l
            (call $log (i32.const 0) (i32.const 1280) (i32.const 8))
            (local.set $i (i32.add (local.get $i) (i32.const 1)))
            (br_if $l (i32.lt_u (local.get $i) (i32.const 1000))))
        (i32.const 1536)";
    let decisions = loaded(&saboteur(flood)).decide(&question());
    let decisions = decisions.expect("the log is not the answer");
    let expected = Decision::Wait {
        reason: "the policy gave no reason".to_owned(),
        others: Vec::new(),
    };
    assert_eq!(decisions, vec![expected; 2]);
}

#[test]
fn scheduling_goes_on_whatever_a_policy_does() {
    let expected = DEFAULT
        .decide(&question())
        .expect("the default policy works");
    for assign in [ENDLESS, HOG, "(unreachable)", "(i32.const 8)"] {
        let live = load(&saboteur(assign), &brief()).unwrap_or_else(|error| panic!("{error}"));
        let mut host = PolicyHost::new(live, DEFAULT.clone());
        let verdict = host.decide(&question(), Instant::now());
        assert_eq!(verdict.decisions, expected, "{assign}");
        assert_eq!(&verdict.by, DEFAULT.id());
        let failure = verdict.failure.expect("the failure is told");
        assert!(failure.starts_with("the policy `sabotage` "), "{failure}");
        let health = host.health();
        assert_eq!(health.policy.name, "sabotage");
        assert_eq!(health.failures, 1);
        assert_eq!(health.last_failure, Some(failure));
        assert_eq!(health.fallen_back_to.as_ref(), Some(DEFAULT.id()));
    }
}

#[test]
fn a_policy_that_failed_rests_longer_each_time() {
    let mut host = PolicyHost::new(loaded(&saboteur("(unreachable)")), DEFAULT.clone());
    let start = Instant::now();
    let failures = |host: &mut PolicyHost, after: u64| {
        let verdict = host.decide(&question(), start + Duration::from_millis(after));
        assert_eq!(&verdict.by, DEFAULT.id());
        host.health().failures
    };
    assert_eq!(failures(&mut host, 0), 1);
    assert_eq!(failures(&mut host, 999), 1);
    assert_eq!(failures(&mut host, 1_000), 2);
    assert_eq!(failures(&mut host, 2_999), 2);
    assert_eq!(failures(&mut host, 3_000), 3);
}

#[test]
fn the_last_policy_that_worked_comes_before_the_default() {
    let waiting = loaded(&saboteur("(i32.const 1536)"));
    let mut host = PolicyHost::new(waiting.clone(), DEFAULT.clone());
    assert_eq!(&host.decide(&question(), Instant::now()).by, waiting.id());
    assert_eq!(host.health().fallen_back_to, None);

    let trapping = loaded(&saboteur("(unreachable)"));
    host.replace(trapping.clone());
    assert_eq!(&host.decide(&question(), Instant::now()).by, waiting.id());
    assert_eq!(host.health().fallen_back_to.as_ref(), Some(waiting.id()));

    // A live policy that never worked does not become the fallback.
    host.replace(trapping);
    let verdict = host.decide(&question(), Instant::now());
    assert_eq!(&verdict.by, waiting.id());
}

#[test]
fn where_every_policy_fails_every_task_waits() {
    let trapping = loaded(&saboteur("(unreachable)"));
    let mut host = PolicyHost::new(trapping.clone(), trapping);
    for round in 1..3 {
        let verdict = host.decide(&question(), Instant::now());
        assert_eq!(verdict.decisions.len(), 2, "round {round}");
        for decision in verdict.decisions {
            let Decision::Wait { reason, .. } = decision else {
                panic!("{decision:?}")
            };
            assert!(
                reason.starts_with("no policy could decide: the policy `sabotage` "),
                "{reason}"
            );
        }
    }
}

#[test]
fn a_policy_that_does_not_ask_for_busy_sessions_is_not_shown_them() {
    let mut question = question();
    question.sessions.insert(0, question.sessions[0].clone());
    question.sessions[0].ready = false;
    question.tasks[0].eligible = Some(vec![0, 2]);
    question.tasks[1].eligible = None;
    let decisions = DEFAULT.decide(&question).expect("it decides");
    for (decision, expected) in decisions.iter().zip([2, 1]) {
        let Decision::Assign { take, others } = decision else {
            panic!("{decision:?}")
        };
        assert_eq!(take.session, expected, "{decisions:?}");
        assert!(
            others.iter().all(|other| other.session != 0),
            "{decisions:?}"
        );
    }
}

#[test]
fn refused_settings_are_told_in_the_policys_words() {
    for (settings, expected) in [
        (
            json!({"min-score": "many"}),
            "the embedded policy refuses its settings: `min-score` must be a whole number from 0 to 1000000",
        ),
        (
            json!([1]),
            "the embedded policy refuses its settings: the settings must be a JSON object of `same-directory`, ",
        ),
    ] {
        let error = Policy::embedded(&limits(), &settings)
            .err()
            .expect("they are refused");
        assert!(matches!(error, LoadError::Settings { .. }), "{error:?}");
        assert!(error.to_string().starts_with(expected), "{error}");
    }
}

#[test]
fn a_policy_can_be_asked_from_many_threads_at_once() {
    let expected = DEFAULT.decide(&question()).expect("it works");
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| assert_eq!(DEFAULT.decide(&question()).as_ref(), Ok(&expected)));
        }
    });
}

#[test]
fn a_policy_can_be_asked_from_an_async_context() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("there is a runtime");
    runtime.block_on(async {
        assert!(DEFAULT.decide(&question()).is_ok());
    });
}
