//! The loader, given thousands of damaged policies: each is refused in one line or works, none
//! makes it panic, and none makes it take unlimited memory.
//!
//! A separate test program, because it watches the memory of its process.

use std::fs;
use std::path::Path;
use std::time::Duration;

use assigner::policy::{Limits, Policy};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::Value;

#[allow(dead_code)]
mod wat_policies;

/// The most memory that the process may take, in KiB: several compilations at once, with their
/// largest limits.
const MOST_MEMORY: u64 = 1 << 20;

/// One way to damage a file; positions are in thousandths of its length.
#[derive(Debug, Clone)]
enum Damage {
    /// Flips some bits.
    Flip(u16, u8),
    /// Changes a byte.
    Set(u16, u8),
    /// Makes a number as large as possible.
    Huge(u16),
    /// Removes the rest.
    Cut(u16),
    /// Removes a part.
    Remove(u16, u8),
    /// Repeats a part.
    Twice(u16, u8),
    /// Copies a part to another position.
    Copy(u16, u16, u8),
}

impl Damage {
    fn apply(&self, bytes: &mut Vec<u8>) {
        let length = bytes.len();
        let place = |per_mille: u16| length * usize::from(per_mille) / 1_000;
        let part = |at: u16, many: u8| {
            let start = place(at);
            start..(start + usize::from(many)).min(length)
        };
        match *self {
            Self::Flip(at, bits) => {
                if let Some(byte) = bytes.get_mut(place(at)) {
                    *byte ^= bits;
                }
            }
            Self::Set(at, value) => {
                if let Some(byte) = bytes.get_mut(place(at)) {
                    *byte = value;
                }
            }
            Self::Huge(at) => {
                let end = (place(at) + 5).min(length);
                let number = [0xff, 0xff, 0xff, 0xff, 0x0f];
                let start = place(at).min(end);
                bytes.splice(start..end, number);
            }
            Self::Cut(at) => bytes.truncate(place(at)),
            Self::Remove(at, many) => {
                bytes.drain(part(at, many));
            }
            Self::Twice(at, many) => {
                let part = part(at, many);
                let copy = bytes[part.clone()].to_vec();
                bytes.splice(part.end..part.end, copy);
            }
            Self::Copy(from, to, many) => {
                let copy = bytes[part(from, many)].to_vec();
                let to = place(to);
                let end = (to + copy.len()).min(length);
                bytes.splice(to..end, copy);
            }
        }
    }
}

fn damage() -> impl Strategy<Value = Damage> {
    let place = 0..1_000_u16;
    prop_oneof![
        4 => (place.clone(), 1..=255_u8).prop_map(|(at, bits)| Damage::Flip(at, bits)),
        4 => (place.clone(), any::<u8>()).prop_map(|(at, value)| Damage::Set(at, value)),
        2 => place.clone().prop_map(Damage::Huge),
        1 => place.clone().prop_map(Damage::Cut),
        1 => (place.clone(), 1..40_u8).prop_map(|(at, many)| Damage::Remove(at, many)),
        1 => (place.clone(), 1..40_u8).prop_map(|(at, many)| Damage::Twice(at, many)),
        1 => (place.clone(), place, 1..40_u8)
            .prop_map(|(from, to, many)| Damage::Copy(from, to, many)),
    ]
}

/// Loads what remains of a file, and returns whether it still is a policy.
fn load(bytes: &[u8]) -> Result<bool, TestCaseError> {
    let limits = Limits {
        time: Duration::from_millis(200),
        load_time: Duration::from_millis(200),
        ..Limits::default()
    };
    match Policy::from_bytes("`it`", bytes, &limits, &Value::Null) {
        Ok(_) => Ok(true),
        Err(error) => {
            let told = error.to_string();
            prop_assert!(!told.chars().any(char::is_control), "{told:?}");
            prop_assert!(told.len() < 4_000, "{told}");
            Ok(false)
        }
    }
}

/// Returns the most memory that this process has had, in KiB; `None` if the system does not say.
fn peak() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

fn damaged(seed: &[u8], cases: u32) -> u32 {
    let mut runner = TestRunner::new(Config {
        failure_persistence: None,
        ..Config::with_cases(cases)
    });
    let works = std::cell::Cell::new(0);
    let damages = proptest::collection::vec(damage(), 1..6);
    runner
        .run(&damages, |damages| {
            let mut bytes = seed.to_vec();
            for damage in damages {
                damage.apply(&mut bytes);
            }
            works.set(works.get() + u32::from(load(&bytes)?));
            Ok(())
        })
        .unwrap_or_else(|error| panic!("{error}"));
    works.get()
}

#[test]
fn damaged_policies_do_no_harm() {
    let default = Path::new(env!("CARGO_MANIFEST_DIR")).join("../policies/default/default.wasm");
    let default = fs::read(default).expect("the default policy");
    let small = wat_policies::healthy("healthy", "1.0.0");
    assert!(matches!(load(&small), Ok(true)));
    assert!(matches!(load(&default), Ok(true)));

    let works = damaged(&small, 4_000);
    // If nothing works any more, or everything, the test is not thorough.
    assert!((40..3_600).contains(&works), "{works} of 4,000");
    let works = damaged(&default, 150);
    assert!(works < 150, "{works} of 150");
    if let Some(peak) = peak() {
        assert!(peak < MOST_MEMORY, "{peak} KiB");
    }
}
