//! A simulated world: the real matcher, the real machines of attempts, their real driver and the real
//! store, beside shells, agents, tmux and people that are made up, in virtual time, from one seed.
//!
//! People type and take back drafts, run commands and submit prompts of their own, press Ctrl-C and Esc,
//! answer dialogs, cancel tasks and close panes; directories are slow or dead; answers of tmux are lost;
//! a session is not seen for a while; agents hang, die, and tell late or nothing of what they do; the
//! wall clock jumps; the daemon is killed before, in and after each act. A seed that fails is one number:
//! `ASSIGNER_SIMULATION=SEED` runs it alone and tells its story; `ASSIGNER_SIMULATIONS=N` runs as many as
//! that, from the seed `ASSIGNER_SIMULATIONS_FROM` on.
//!
//! [`rounds`] has the matcher give tasks away, [`world`] is the world as the driver sees it, [`shells`] and [`agents`] what is in it, [`people`]
//! who disturbs it, [`looks`] what is seen of agents, [`run`] the daemons, and [`checks`] what is promised.

mod agents;
mod checks;
mod looks;
mod people;
mod rounds;
mod run;
mod shells;
mod world;

use crate::node::attempt::testing::{EPOCH, rules};
use run::Run;

/// How many seeds every run of the tests tries.
const SEEDS: u64 = 100;

/// Sessions and tasks of one run.
const SHELLS: usize = 3;
const AGENTS: usize = 3;
const COMMANDS: usize = 6;
const PROMPTS: usize = 6;

/// After this nobody disturbs anything any more, in milliseconds.
const CALM: u64 = 12_000;

/// Then everything must have come to its end within so many looks at the sessions; what only waits for
/// its time takes none.
const LAST: u64 = 6_000;

/// After so many looks it is asked whether it has: what was under way when it became calm is over then.
const RESTS: u64 = 20;

/// How often the sessions are looked at, in milliseconds.
const SCAN: u64 = 100;

/// A job that has left its exit code is seen to have ended within this, in milliseconds, whatever
/// other attempts wait for.
const ENDS_WITHIN: u64 = 4_000;

/// A number that whoever runs the tests has set.
fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

/// Runs a seed to its end, and returns what it was, too.
fn run_to_the_end(seed: u64) -> (Run, Vec<String>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime");
    let local = tokio::task::LocalSet::new();
    local.block_on(&runtime, async {
        let mut run = Run::new(seed);
        run.run().await;
        run.driver = None;
        run.settle().await;
        let faults = run.check();
        if !faults.is_empty() && number("ASSIGNER_SIMULATION").is_some() {
            run.story();
        }
        (run, faults)
    })
}

#[test]
fn whatever_happens_no_task_is_lost_and_none_is_done_twice() {
    let seeds = match number("ASSIGNER_SIMULATION") {
        Some(seed) => seed..seed + 1,
        None => {
            let from = number("ASSIGNER_SIMULATIONS_FROM").unwrap_or_default();
            from..from + number("ASSIGNER_SIMULATIONS").unwrap_or(SEEDS)
        }
    };
    let failed: Vec<(u64, Vec<String>)> = seeds
        .map(|seed| (seed, run_to_the_end(seed).1))
        .filter(|(_, faults)| !faults.is_empty())
        .take(5)
        .collect();
    assert!(failed.is_empty(), "by seed: {failed:#?}");
}

#[test]
fn a_seed_repeats() {
    for seed in [3, 17] {
        let all = |seed| {
            let (run, _) = run_to_the_end(seed);
            let state = run.state.borrow();
            let (jobs, given) = (&state.jobs, &state.submissions);
            let ends = &state.ends;
            (state.now, format!("{jobs:?} {given:?} {ends:?}"))
        };
        assert_eq!(all(seed), all(seed));
    }
}
