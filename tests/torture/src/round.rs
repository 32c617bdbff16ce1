//! One round: tasks are queued, changed and disturbed; then there is peace, and the ledger is compared
//! with what ran.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use assigner_conformance::world::{Place, World};
use fastrand::Rng;
use serde_json::Value;

use crate::blows::{Blow, Blows, Fault, Victim};
use crate::faults::{Faults, make_room};
use crate::judge::{Verdict, judge};
use crate::ledger::{self, Row};
use crate::people;
use crate::report::{Fate, Round, blamed};
use crate::sender::Sending;
use crate::sessions::{Seats, journals};
use crate::tasks::{Sent, Tasks};
use crate::truth::{self, Runs, Taken};

/// The longest that is waited in peace for the tasks to end, and for any of them to.
const PEACE: Duration = Duration::from_secs(120);

/// What a round needs.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The binary under test.
    pub assigner: PathBuf,
    /// The seed of what is done.
    pub seed: u64,
    /// How long tasks are queued and disturbed.
    pub time: Duration,
    /// How long no task may end in peace before the rest is judged as it is.
    pub patience: Duration,
    /// A small disk for the data, if one could be had.
    pub disk: Option<PathBuf>,
    /// Where to copy the records.
    pub keep: Option<PathBuf>,
}

/// Runs a round.
///
/// # Errors
///
/// The program itself cannot do its work.
pub fn run(plan: &Plan) -> io::Result<Round> {
    let begun = Instant::now();
    let mut world = World::new(&plan.assigner, true)?;
    if let Some(disk) = &plan.disk {
        world.put_data_in(&disk.join(format!("data-{}", plan.seed)));
    }
    fs::create_dir(world.path("runs"))?;
    let mut seats = Seats::new(&world)?;
    seats.mend(&mut world);
    world.start_daemon()?;
    let (tasks, blows) = (Tasks::default(), Blows::default());
    let (mut troubles, gave_up) = disturb(plan, &mut world, &mut seats, &tasks, &blows)?;
    let rows = ledger::read(world.place())?;
    world.stop_daemon();
    let mut blows = blows.take();
    let sent = tasks.take();
    let fates = fates(world.place(), &sent, &rows, &mut blows)?;
    let mut states = BTreeMap::new();
    for row in rows.values().flatten() {
        *states.entry(row.status.clone()).or_default() += 1;
    }
    troubles.extend(panics(&world.path("log/daemon.log")));
    troubles.extend(torn_batches(&sent, &rows));
    if let Some(place) = &plan.keep {
        world.keep(&place.join(format!("seed-{}", plan.seed)))?;
    }
    Ok(Round {
        seed: plan.seed,
        took: begun.elapsed(),
        blows,
        fates,
        states,
        troubles,
        gave_up,
        has_disk: plan.disk.is_some(),
    })
}

/// Queues, changes and disturbs tasks; then waits in peace until they have ended. Returns how daemons
/// ended that nobody had killed, and how many ended because the disk was full.
fn disturb(
    plan: &Plan,
    world: &mut World,
    seats: &mut Seats,
    tasks: &Tasks,
    blows: &Blows,
) -> io::Result<(Vec<String>, usize)> {
    let place = world.place().clone();
    let at = Sending {
        place: &place,
        tasks,
        blows,
    };
    let mut rng = Rng::with_seed(plan.seed);
    let (one, two, three) = (rng.fork(), rng.fork(), rng.fork());
    let all = seats.all().to_vec();
    let is_over = AtomicBool::new(false);
    let mut faults = Faults::new(world, seats, plan.disk.as_deref(), at);
    thread::scope(|scope| {
        scope.spawn(|| at.run(one, &is_over));
        scope.spawn(|| people::edit_and_retry(at, two, &is_over));
        scope.spawn(|| people::cancel_and_move(at, &all, three, &is_over));
        let done = faults.run(rng, plan.time);
        is_over.store(true, Ordering::Relaxed);
        done
    })?;
    // Whatever was stopped or filled for a while is not any more.
    faults.keep_alive(Duration::from_secs(3))?;
    plan.disk.iter().for_each(|disk| make_room(disk));
    people::resume(&place, &all);
    people::let_go(at)?;
    wait(plan, &place, &mut faults)?;
    Ok((faults.ends, faults.gave_up))
}

/// Waits until all tasks have ended, or none has for a while.
fn wait(plan: &Plan, place: &Place, faults: &mut Faults<'_>) -> io::Result<()> {
    let begun = Instant::now();
    let mut moved = Instant::now();
    let mut left = u64::MAX;
    while left > 0 && moved.elapsed() < plan.patience && begun.elapsed() < PEACE {
        faults.keep_alive(Duration::from_millis(300))?;
        let status = place.assigner(&["status"], b"")?.json()?;
        let now = unsettled(&status);
        if now != left {
            left = now;
            moved = Instant::now();
        }
    }
    Ok(())
}

fn unsettled(status: &Value) -> u64 {
    let states = ["pending", "assigned", "in_progress", "waiting_input"];
    let counts = states.iter().map(|state| status["tasks"][state].as_u64());
    counts.map(Option::unwrap_or_default).sum()
}

/// Judges all tasks, and notes the deaths of agents among the blows.
fn fates(
    place: &Place,
    sent: &[Sent],
    rows: &HashMap<u64, Vec<Row>>,
    blows: &mut Vec<Blow>,
) -> io::Result<Vec<Fate>> {
    let mut taken = Taken::default();
    for journal in journals(place) {
        taken.add(&journal)?;
        let name = journal.file_stem().unwrap_or_default().to_string_lossy();
        blows.extend(taken.deaths.drain(..).map(|at| Blow {
            fault: Fault::AgentDies,
            victim: Victim::Session(name.clone().into_owned()),
            from: at,
            until: at,
        }));
    }
    let runs = place.path("runs");
    let fates = sent.iter().map(|sent| {
        let of_it = if sent.is_prompt() {
            taken.prompts.remove(&sent.number).unwrap_or_default()
        } else {
            truth::of_command(&runs, sent.number)
        };
        let rows = rows.get(&sent.number).map(|rows| &**rows);
        fate(sent, rows.unwrap_or_default(), &of_it, blows)
    });
    Ok(fates.collect())
}

fn fate(sent: &Sent, rows: &[Row], runs: &Runs, blows: &[Blow]) -> Fate {
    let row = rows.first();
    let verdict = judge(sent, rows, runs);
    Fate {
        number: sent.number,
        blow: (verdict != Verdict::True)
            .then(|| blamed(blows, sent.number, row))
            .flatten(),
        verdict,
        row: row.cloned(),
    }
}

/// Returns the lines of a log that tell of a panic.
fn panics(log: &Path) -> Vec<String> {
    let text = fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines = text.lines().filter(|line| line.contains("panicked"));
    lines
        .map(|line| format!("the daemon says: {line}"))
        .collect()
}

/// Returns the batches of which only a part was queued.
fn torn_batches(sent: &[Sent], rows: &HashMap<u64, Vec<Row>>) -> Vec<String> {
    let mut batches: BTreeMap<u64, (usize, usize)> = BTreeMap::new();
    for sent in sent {
        let (all, found) = batches.entry(sent.batch).or_default();
        *all += 1;
        *found += usize::from(rows.contains_key(&sent.number));
    }
    let torn = batches
        .iter()
        .filter(|(_, (all, found))| *found > 0 && found < all);
    torn.map(|(first, (all, found))| {
        format!("of the batch of torture-{first}, {found} of {all} tasks were queued")
    })
    .collect()
}
