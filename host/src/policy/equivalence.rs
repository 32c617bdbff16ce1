//! The component decides as its source does when compiled natively.
//!
//! The component is the embedded one, or the one that `ASSIGNER_TEST_COMPONENT` names: another
//! compiler produces other bytes, which must behave the same.

use std::sync::LazyLock;
use std::time::Duration;

use assigner_policy::Policy as _;
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::model;
use crate::model::matching::{Attribute, Candidate, Decision, Question, Resource};
use crate::model::task::Kind;

use super::{Limits, Policy, check};

#[path = "../../benches/support/native.rs"]
mod native;

/// Settings, each with the component that has them.
static POLICIES: LazyLock<Vec<(Value, Policy)>> = LazyLock::new(|| {
    // Time is not what is tested here, and the machine may be busy.
    let limits = Limits {
        time: Duration::from_secs(30),
        load_time: Duration::from_secs(30),
        ..Limits::default()
    };
    let settings = [
        json!({}),
        json!({"when-no-match": "wait"}),
        json!({"when-no-match": "wait", "min-score": 60, "same-directory": 7, "variable": 50}),
        json!({"min-score": 0, "branch": 0, "child-directory": 1000000}),
    ];
    let load = |settings: Value| {
        let policy = match std::env::var_os("ASSIGNER_TEST_COMPONENT") {
            Some(path) => {
                let bytes = std::fs::read(path).expect("the component can be read");
                Policy::from_bytes("the component", &bytes, &limits, &settings)
            }
            None => Policy::embedded(&limits, &settings),
        };
        let policy = policy.expect("the default policy loads");
        (settings, policy)
    };
    settings.map(load).into()
});

#[test]
fn the_component_describes_itself_as_its_source_does() {
    let native = assigner_default_policy::DefaultPolicy::describe();
    let (_, component) = &POLICIES[0];
    assert_eq!(component.id().name, native.name);
    assert_eq!(component.id().version, native.version);
    assert_eq!(component.summary(), native.summary);
    assert_eq!(component.wants_busy(), native.wants_busy);
    assert_eq!(component.default_settings().to_string(), {
        let settings: Value = serde_json::from_str(&native.default_config).expect("it is JSON");
        settings.to_string()
    });
}

fn one_of(values: &[&'static str]) -> impl Strategy<Value = String> + use<> {
    prop::sample::select(values.to_vec()).prop_map(str::to_owned)
}

fn directory() -> impl Strategy<Value = Option<String>> {
    let paths = [
        "/",
        "/srv",
        "/srv/app",
        "/srv/app2",
        "/srv/app/src",
        "/home/ü",
    ];
    prop::option::of(one_of(&paths))
}

fn branch() -> impl Strategy<Value = Option<String>> {
    prop::option::of(prop_oneof![one_of(&["main", "dev"]), ".{0,100}"])
}

fn env() -> impl Strategy<Value = Vec<Attribute>> {
    let pair = (one_of(&["A", "B", "\u{1b}C"]), one_of(&["1", "2", ""]));
    prop::collection::vec(
        pair.prop_map(|(name, value)| Attribute { name, value }),
        0..12,
    )
}

fn provider() -> impl Strategy<Value = String> {
    one_of(&["claude", "codex", "shell"])
}

prop_compose! {
    fn candidate()(
        id in 1..1000_i64,
        kind in prop::sample::select(vec![Kind::Prompt, Kind::Command]),
        summary in ".{0,20}",
        match_context: bool,
        working_dir in directory(),
        git_branch in branch(),
        env in env(),
        providers in prop::collection::vec(provider(), 0..3),
        eligible in prop::option::of(prop::collection::vec(0..30_usize, 0..20)),
        avoid in prop::collection::vec(0..30_usize, 0..3),
    ) -> Candidate {
        Candidate {
            id,
            kind,
            summary,
            priority: 0,
            waiting: 0,
            attempt: 1,
            match_context,
            working_dir,
            git_branch,
            env,
            providers,
            eligible,
            follows: None,
            avoid,
            labels: Vec::new(),
        }
    }
}

prop_compose! {
    fn resource()(
        name in one_of(&["a", "b", "ä"]),
        provider in provider(),
        current_dir in directory(),
        git_branch in branch(),
        env in env(),
        ready in prop::bool::weighted(0.8),
        since in 0..3_u32,
    ) -> Resource {
        Resource {
            name,
            host: String::new(),
            provider,
            current_dir,
            git_branch,
            env,
            ready,
            since,
            completed: 0,
            failed: 0,
            labels: Vec::new(),
        }
    }
}

prop_compose! {
    fn a_question()(
        explain in 0..5_u32,
        tasks in prop::collection::vec(candidate(), 0..20),
        sessions in prop::collection::vec(resource(), 0..30),
    ) -> Question {
        Question { now: 1, explain, facts: Vec::new(), tasks, sessions }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn the_component_decides_as_its_source_does(
        question in a_question(),
        settings in 0..4_usize,
    ) {
        let (settings, component) = &POLICIES[settings];
        let (round, tasks, sessions) = native::question(&question);
        let native = native::policy(&settings.to_string()).assign(&round, &tasks, &sessions);
        let native: Vec<Decision> = native.into_iter().map(native::decision).collect();
        let native = check::check(&question, native).expect("the native policy keeps the rules");
        prop_assert_eq!(component.decide(&question), Ok(native));
    }
}
