//! Mutations of inputs, all of them from one seed.

use fastrand::Rng;

/// The longest input that is made, in bytes.
const LONGEST: usize = 64 << 10;

/// Bytes at which parsers turn.
const TELLING: &[u8] = b"\0\t\n\r\x1b \"#$%'(),-.0:;<=>@[\\]_{|}~\x7f\x80\xc3\xff";

/// Returns a changed copy of one of the inputs.
pub(super) fn mutated(inputs: &[Vec<u8>], rng: &mut Rng) -> Vec<u8> {
    let mut bytes = rng.choice(inputs).cloned().unwrap_or_default();
    for _ in 0..rng.usize(1..6) {
        change(&mut bytes, inputs, rng);
    }
    bytes.truncate(LONGEST);
    bytes
}

/// Makes one change.
fn change(bytes: &mut Vec<u8>, inputs: &[Vec<u8>], rng: &mut Rng) {
    let at = rng.usize(0..=bytes.len());
    let part = at..(at + rng.usize(1..40)).min(bytes.len());
    match rng.u8(0..9) {
        0 => {
            if let Some(byte) = bytes.get_mut(at) {
                *byte ^= 1 << rng.u8(0..8);
            }
        }
        1 => {
            if let Some(byte) = bytes.get_mut(at) {
                *byte = telling(rng);
            }
        }
        2 => bytes.insert(at, telling(rng)),
        3 => drop(bytes.drain(part)),
        4 => bytes.truncate(at),
        5 => {
            let copy = bytes[part].to_vec();
            let times = rng.usize(1..20);
            bytes.splice(at..at, copy.repeat(times));
        }
        6 => drop(bytes.splice(part, number(rng).into_bytes())),
        // A part of another input, or the rest of it.
        7 => drop(bytes.splice(part, piece(inputs, rng))),
        _ => drop(bytes.splice(at.., piece(inputs, rng))),
    }
}

fn telling(rng: &mut Rng) -> u8 {
    match rng.bool() {
        true => rng.choice(TELLING).copied().unwrap_or_default(),
        false => rng.u8(..),
    }
}

/// Returns a number near a limit of one of the types that numbers are read into.
fn number(rng: &mut Rng) -> String {
    let limit = match rng.u8(0..5) {
        0 => 0,
        1 => i128::from(u32::MAX),
        2 => i128::from(i64::MAX),
        3 => i128::from(i64::MIN),
        _ => i128::from(u64::MAX),
    };
    (limit + i128::from(rng.i8(-2..3))).to_string()
}

/// Returns a piece from the middle of an input.
fn piece(inputs: &[Vec<u8>], rng: &mut Rng) -> Vec<u8> {
    let Some(other) = rng.choice(inputs) else {
        return Vec::new();
    };
    let from = rng.usize(0..=other.len());
    let to = rng.usize(from..=other.len());
    other[from..to].to_vec()
}
