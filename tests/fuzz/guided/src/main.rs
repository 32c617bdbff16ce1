//! Gives the target that `ASSIGNER_FUZZ_TARGET` names what libFuzzer finds. If it names none, prints
//! the targets, each with the places of its inputs.
#![no_main]

use std::sync::OnceLock;

use assigner::fuzz::{FuzzTarget, targets};
use libfuzzer_sys::fuzz_target;

static TARGET: OnceLock<&FuzzTarget> = OnceLock::new();

fn choose() {
    let name = std::env::var("ASSIGNER_FUZZ_TARGET").unwrap_or_default();
    let chosen = targets().find(|target| target.name == name);
    TARGET.get_or_init(|| chosen.unwrap_or_else(|| list()));
}

#[expect(clippy::exit, reason = "libFuzzer owns the main function")]
fn list() -> ! {
    for target in targets() {
        let places = target.places().into_iter();
        let places: Vec<String> = places
            .filter(|place| place.exists())
            .map(|place| place.display().to_string())
            .collect();
        println!("{}\t{}", target.name, places.join("\t"));
    }
    std::process::exit(0)
}

fuzz_target!(init: choose(), |data: &[u8]| {
    if let Some(target) = TARGET.get() {
        (target.run)(data);
    }
});
