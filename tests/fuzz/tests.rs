//! Gives each target its corpus, and mutations of it for a second.
//!
//! `ASSIGNER_FUZZ_SECONDS` sets another time, and `ASSIGNER_FUZZ_SEED` repeats a run.

use std::collections::BTreeSet;
use std::fs;
use std::str::FromStr;
use std::thread;
use std::time::{Duration, Instant};

use fastrand::Rng;

use super::*;

/// What is mutated, and how, unless another seed is set: a run that fails is to fail again.
const SEED: u64 = 1;

/// How long one input may take: far more than any does, on a machine that does other things too.
const SLOWEST: Duration = Duration::from_secs(5);

/// Says what was given to a target that panics.
struct Given<'a> {
    target: &'a FuzzTarget,
    seed: u64,
    data: &'a [u8],
}

impl Given<'_> {
    /// Runs the target.
    fn run(&self) {
        let began = Instant::now();
        (self.target.run)(self.data);
        let took = began.elapsed();
        assert!(took < SLOWEST, "it took {took:?}");
    }
}

impl Drop for Given<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            let Self { target, seed, data } = self;
            eprintln!(
                "{}, ASSIGNER_FUZZ_SEED={seed}, failed on b\"{}\"",
                target.name,
                data.escape_ascii()
            );
        }
    }
}

fn variable<T: FromStr>(name: &str) -> Option<T> {
    std::env::var(name).ok()?.parse().ok()
}

/// Returns the inputs of a target, in the order of their paths.
fn inputs(target: &FuzzTarget) -> Vec<Vec<u8>> {
    let mut files = Vec::new();
    for place in target.places() {
        if place.is_dir() {
            let entries = fs::read_dir(&place).expect("a readable directory");
            files.extend(entries.map(|entry| entry.expect("an entry").path()));
        } else {
            files.push(place);
        }
    }
    files.sort();
    let inputs = files.iter().filter(|path| path.is_file());
    inputs
        .map(|path| fs::read(path).expect("a readable input"))
        .collect()
}

/// Gives a target its corpus and mutations of it.
fn exercise(name: &str) {
    let target = targets().find(|target| target.name == name);
    let target = target.expect("a target of this name");
    let seed = variable("ASSIGNER_FUZZ_SEED").unwrap_or(SEED);
    let limit = variable("ASSIGNER_FUZZ_SECONDS").unwrap_or(1.0);
    let inputs = inputs(target);
    assert!(!inputs.is_empty(), "{name} has no corpus");
    for data in &inputs {
        Given { target, seed, data }.run();
    }
    let mut rng = Rng::with_seed(seed);
    let end = Instant::now() + Duration::from_secs_f64(limit);
    while Instant::now() < end {
        let data = mutate::mutated(&inputs, &mut rng);
        let data = data.as_slice();
        Given { target, seed, data }.run();
    }
}

/// Makes a test for each target of these names, and one that they are all.
macro_rules! exercised {
    ($($name:ident)*) => {
        $(#[test] fn $name() { exercise(stringify!($name)); })*

        #[test]
        fn each_target_is_exercised() {
            let exercised = BTreeSet::from([$(stringify!($name)),*]);
            let known: BTreeSet<&str> = targets().map(|target| target.name).collect();
            assert_eq!(exercised, known);
            assert_eq!(known.len(), targets().count(), "a name stands twice");
        }
    };
}

exercised! {
    wire lists pane_row tmux_version
    process_state waiting_call package repository
    profile screen settings report rate_limit
    codex claude aider gemini qwen opencode
    job_files capture prompt_line
    answer configuration database original repair
    batch hook command_line
}

#[test]
fn a_seed_gives_the_same_mutations_again() {
    let inputs = [b"one".to_vec(), b"two".to_vec()];
    let run = |seed| {
        let mut rng = Rng::with_seed(seed);
        let made = (0..50).map(|_| mutate::mutated(&inputs, &mut rng));
        made.collect::<Vec<_>>()
    };
    assert_eq!(run(7), run(7));
    assert_ne!(run(7), run(8));
}
