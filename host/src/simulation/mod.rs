//! A simulated world: the real matcher, the real machines of attempts, their real driver and the
//! real store, together with made-up shells, agents, tmux and people, in virtual time, from one
//! seed.
//!
//! People type and delete drafts, also letters that are in the prompt, run commands and submit
//! prompts of their own, press Ctrl-C and Esc, answer dialogs, cancel tasks and close panes. Directories are slow or dead; tmux's answers
//! get lost; a session is not seen for a while; agents hang, die, and report what they do late or
//! not at all; the wall clock jumps by hours; the daemon is killed before, during and after each act.
//! Agents keep a record or none, name their turns or do not, and one kind reads lines. A failing seed
//! is a single number: `ASSIGNER_SIMULATION=SEED` runs it alone and prints its story;
//! `ASSIGNER_SIMULATIONS=N` runs N seeds, starting with `ASSIGNER_SIMULATIONS_FROM`.
//!
//! Left out: clocks that jump by less than the time that a daemon or an agent is away, which nothing in
//! an attempt's row tells; tasks that name directories, variables or other tasks; headless prompts.
//!
//! [`rounds`] has the matcher give tasks away, [`world`] is the world as the driver sees it,
//! [`shells`] and [`agents`] are what is in it, [`people`] disturb it, [`looks`] says what is seen
//! of agents, [`run`] runs the daemons, and [`checks`] verifies what is promised.

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

/// After this time, in milliseconds, nobody disturbs anything any more.
const CALM: u64 = 12_000;

/// How many looks at the sessions it may then take until everything has ended. Waiting for a time
/// to come takes none.
const LAST: u64 = 6_000;

/// After how many looks to check whether everything has ended: what was under way when it became
/// calm is over by then.
const RESTS: u64 = 20;

/// How often the sessions are looked at, in milliseconds.
const SCAN: u64 = 100;

/// A job that has left its exit code is seen to have ended within this time, in milliseconds,
/// whatever other attempts are waiting for.
const ENDS_WITHIN: u64 = 4_000;

/// Returns a number that the person who runs the tests has set.
fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

/// Runs a seed to its end, and returns the run and its faults.
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
