//! People who change their minds: they cancel, edit, reassign, retry and pause.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use assigner_conformance::world::Place;
use fastrand::Rng;

use crate::blows::{Fault, Victim};
use crate::sender::{Sending, new_form};
use crate::sessions::Seat;
use crate::tasks::{Answer, number_in};
use crate::truth;

/// How many of the last tasks may be changed.
const RECENT: usize = 30;

/// Changes tasks until it is over: what they are.
pub fn edit_and_retry(at: Sending<'_>, mut rng: Rng, is_over: &AtomicBool) {
    while !is_over.load(Ordering::Relaxed) {
        thread::sleep(Duration::from_millis(rng.u64(50..600)));
        let Some((number, id)) = some_task(at, &mut rng) else {
            continue;
        };
        if rng.u8(0..3) == 0 {
            retry(at, number, id);
        } else {
            edit(at, &mut rng, number, id);
        }
    }
}

/// Changes tasks until it is over: whether and where they run.
pub fn cancel_and_move(at: Sending<'_>, seats: &[Seat], mut rng: Rng, is_over: &AtomicBool) {
    while !is_over.load(Ordering::Relaxed) {
        thread::sleep(Duration::from_millis(rng.u64(50..800)));
        if rng.u8(0..4) == 0 {
            let name = &seats[rng.usize(..seats.len())].name;
            pause(at, name, rng.u64(0..700));
            continue;
        }
        let Some((number, id)) = some_task(at, &mut rng) else {
            continue;
        };
        if rng.bool() {
            if says_yes(at.place, &["cancel", &id.to_string()]) {
                at.blows.strike(Fault::Cancel, Victim::task(number));
            }
        } else {
            let is_prompt = at.tasks.with(number, |sent| sent.is_prompt());
            let able = seats.iter().filter(|seat| seat.is_agent == is_prompt);
            let able: Vec<&Seat> = able.collect();
            let to = (rng.bool() && !able.is_empty()).then(|| able[rng.usize(..able.len())]);
            reassign(at, number, id, to.map(|seat| &*seat.name));
        }
    }
}

fn some_task(at: Sending<'_>, rng: &mut Rng) -> Option<(u64, u64)> {
    let recent = at.tasks.recent(RECENT);
    (!recent.is_empty()).then(|| recent[rng.usize(..recent.len())])
}

/// Gives a task another command; what it ran before is then over.
fn edit(at: Sending<'_>, rng: &mut Rng, number: u64, id: u64) {
    let runs = at.place.path("runs");
    let form = new_form(rng);
    let content = at.tasks.with(number, |sent| {
        if sent.is_prompt() || sent.forms.len() > 100 {
            return None;
        }
        sent.forms.push(form);
        let last = sent.forms.len() - 1;
        Some((last, sent.command(last, &runs)))
    });
    let Some((form, content)) = content else {
        return;
    };
    let done = says_yes(at.place, &["edit", &id.to_string(), "--content", &content]);
    let begun = truth::of_command(&runs, number).begun;
    at.tasks.with(number, |sent| {
        sent.forms[form].answer = if done { Answer::Yes } else { Answer::No };
        if done {
            for (other, earlier) in sent.forms[..form].iter_mut().enumerate() {
                let count = begun.get(other).copied().unwrap_or_default();
                earlier.frozen.get_or_insert(count);
            }
        }
    });
    if done {
        at.blows.strike(Fault::Edit, Victim::task(number));
    }
}

fn retry(at: Sending<'_>, number: u64, id: u64) {
    // Counted before, because it may run at once; taken back if it is refused.
    at.tasks.with(number, |sent| sent.wanted_again += 1);
    if says_yes(at.place, &["retry", &id.to_string()]) {
        at.blows.strike(Fault::Retry, Victim::task(number));
    } else {
        at.tasks.with(number, |sent| sent.wanted_again -= 1);
    }
}

fn reassign(at: Sending<'_>, number: u64, id: u64, to: Option<&str>) {
    let id = id.to_string();
    let mut args = vec!["reassign", &*id];
    args.extend(to.into_iter().flat_map(|to| ["--to", to]));
    at.tasks.with(number, |sent| sent.wanted_again += 1);
    if says_yes(at.place, &args) {
        at.blows.strike(Fault::Reassign, Victim::task(number));
    } else {
        at.tasks.with(number, |sent| sent.wanted_again -= 1);
    }
}

fn pause(at: Sending<'_>, name: &str, milliseconds: u64) {
    if says_yes(at.place, &["pause", name]) {
        at.blows
            .strike(Fault::Pause, Victim::Session(name.to_owned()));
        thread::sleep(Duration::from_millis(milliseconds));
        says_yes(at.place, &["resume", name]);
    }
}

/// Lets every task that waits run anywhere: its session may be gone.
///
/// # Errors
///
/// The tasks cannot be listed.
pub fn let_go(at: Sending<'_>) -> io::Result<()> {
    let args = ["list", "--limit", "0", "--status", "pending"];
    let listed = at.place.assigner(&args, b"")?.json()?;
    for task in listed.as_array().into_iter().flatten() {
        let number = task["content"].as_str().and_then(number_in);
        if let (Some(number), Some(id)) = (number, task["id"].as_u64()) {
            reassign(at, number, id, None);
        }
    }
    Ok(())
}

/// Ends all pauses.
pub fn resume(place: &Place, seats: &[Seat]) {
    for seat in seats {
        says_yes(place, &["resume", &seat.name]);
    }
}

fn says_yes(place: &Place, args: &[&str]) -> bool {
    let output = place.assigner(args, b"");
    output.is_ok_and(|output| output.status.success())
}
