//! The store on a disk that fails: whatever was confirmed is there, whatever was refused is not, and
//! nothing is half done.
//!
//! Everything that succeeds is repeated on a second disk, which is sound, and both must then hold the
//! same rows. `ASSIGNER_SEEDS=1000..3000` tries those.

use std::ops::Range;

use fastrand::Rng;

use super::disk_tests::{SimDisk, SimFault};
use super::tests::*;
use super::vfs_tests::{SimPlace, connect};
use super::*;

/// What a history does next.
#[derive(Debug, Clone)]
enum LedgerDeed {
    Queue(usize, usize),
    Follow(TaskId),
    Claim(TaskId, u32),
    Advance(AttemptId, Phase),
    End(AttemptId, Outcome, Event, usize),
    Cancel(TaskId),
    Resolve(TaskId, Event),
    Retry(TaskId),
    Reassign(TaskId, bool),
    Pause(bool),
    Label(usize),
    Clear(Status),
    Sessions(usize),
}

/// What one connection does in one go: a deed, or several in one transaction.
#[derive(Debug, Clone)]
struct SimStep {
    by_daemon: bool,
    deeds: Vec<LedgerDeed>,
    is_group: bool,
}

/// How a deed ended, in words.
type Said = Result<String, String>;

fn deed(rng: &mut Rng) -> LedgerDeed {
    let task = TaskId(rng.i64(1..10));
    let attempt = AttemptId(rng.i64(1..12));
    let size = if rng.u8(0..4) == 0 {
        rng.usize(0..20_000)
    } else {
        rng.usize(0..50)
    };
    match rng.u8(0..24) {
        0..4 => LedgerDeed::Queue(rng.usize(1..4), size),
        4 => LedgerDeed::Follow(task),
        5..9 => LedgerDeed::Claim(task, rng.u32(0..3)),
        9..12 => {
            let phases = [Phase::Delivering, Phase::Running];
            LedgerDeed::Advance(attempt, phases[rng.usize(..2)])
        }
        12..16 => {
            let ends = [
                (Outcome::Completed, Event::Complete),
                (Outcome::Failed, Event::Fail),
                (Outcome::Failed, Event::Retry),
                (Outcome::Refused, Event::Refuse),
                (Outcome::Uncertain, Event::Lose),
            ];
            let (outcome, event) = ends[rng.usize(..ends.len())];
            LedgerDeed::End(attempt, outcome, event, size)
        }
        16 => LedgerDeed::Cancel(task),
        17 => LedgerDeed::Resolve(task, [Event::Resend, Event::MarkDone][rng.usize(..2)]),
        18 => LedgerDeed::Retry(task),
        19 => LedgerDeed::Reassign(task, rng.bool()),
        20 => LedgerDeed::Pause(rng.bool()),
        21 => LedgerDeed::Label(size),
        22 => LedgerDeed::Clear([Status::Completed, Status::Failed][rng.usize(..2)]),
        _ => LedgerDeed::Sessions(rng.usize(0..4)),
    }
}

fn sim_step(rng: &mut Rng) -> SimStep {
    let is_group = rng.u8(0..4) == 0;
    let count = if is_group { rng.usize(1..5) } else { 1 };
    SimStep {
        by_daemon: rng.bool(),
        deeds: (0..count).map(|_| deed(rng)).collect(),
        is_group,
    }
}

fn fault(rng: &mut Rng) -> SimFault {
    match rng.u8(0..4) {
        0 => SimFault::Full(rng.u32(1..12)),
        1 => SimFault::Broken(rng.u32(1..4)),
        _ => SimFault::Power,
    }
}

/// Does it, and returns what the store says.
fn done(store: &mut Store, deed: &LedgerDeed) -> Said {
    let text = |size: &usize| "x".repeat(*size);
    let done = match deed {
        LedgerDeed::Queue(count, size) => {
            let tasks = vec![NewTask::command(text(size)); *count];
            store.queue(&tasks, now()).map(|ids| format!("{ids:?}"))
        }
        LedgerDeed::Follow(parent) => {
            let task = following(&[*parent], IfParentFails::Fail);
            store.queue(&[task], now()).map(|ids| format!("{ids:?}"))
        }
        LedgerDeed::Claim(task, pane) => store.task(*task).and_then(|found| {
            let claim = Claim {
                revision: found.revision,
                ..claim(*task, *pane)
            };
            store.claim(&[claim], now()).map(|made| format!("{made:?}"))
        }),
        LedgerDeed::Advance(attempt, phase) => {
            let done = store.advance(*attempt, *phase, "by the test", now());
            done.map(|()| String::new())
        }
        LedgerDeed::End(attempt, outcome, event, size) => {
            let end = End {
                output: Some(Output::of(text(size).into_bytes())),
                ..end(*attempt, *outcome, *event)
            };
            store.end(&end, later(1)).map(|()| String::new())
        }
        LedgerDeed::Cancel(task) => store.cancel(*task, now()).map(|now| now.to_string()),
        LedgerDeed::Resolve(task, event) => {
            let resolved = store.resolve(*task, *event, now());
            resolved.map(|now| now.to_string())
        }
        LedgerDeed::Retry(task) => {
            let retried = store.retry(*task, None, false, now());
            retried.map(|now| now.to_string())
        }
        LedgerDeed::Reassign(task, is_named) => {
            let to = is_named.then(|| "api".into());
            let moved = store.reassign(*task, to.as_ref(), now());
            moved.map(|now| now.to_string())
        }
        LedgerDeed::Pause(is_paused) => {
            let done = store.pause(&[Pause::All], *is_paused, now());
            done.map(|()| String::new())
        }
        LedgerDeed::Label(size) => {
            let labels = BTreeMap::from([("a".to_owned(), text(size))]);
            let done = store.label(&"api".into(), &labels, &[], now());
            done.map(|()| String::new())
        }
        LedgerDeed::Clear(status) => {
            let cleared = store.clear(&[*status], later(9), now(), |_| {});
            cleared.map(|ids| format!("{ids:?}"))
        }
        LedgerDeed::Sessions(count) => {
            let rows: Vec<_> = (0..*count)
                .map(|at| session_row(&format!("s{at}")))
                .collect();
            let done = store.record_sessions(&rows, now());
            done.map(|_| String::new())
        }
    };
    done.map_err(|error| error.to_string())
}

/// Returns what the store says to each deed, and whether all of it was kept.
fn taken(store: &mut Store, step: &SimStep) -> (Vec<Said>, bool) {
    if !step.is_group {
        let said = done(store, &step.deeds[0]);
        let is_kept = said.is_ok();
        return (vec![said], is_kept);
    }
    let mut said = Vec::new();
    let kept = store.group(|store| {
        said.extend(step.deeds.iter().map(|deed| done(store, deed)));
    });
    (said, kept.is_ok())
}

fn sim_store(directory: &Path) -> Result<Store, StoreError> {
    let db = sqlite::Sqlite::open_with(directory, || false, connect)?;
    Ok(Store {
        db: Box::new(db),
        directory: directory.to_owned(),
        files: None,
    })
}

/// Every row of every table.
fn rows(store: &mut Store) -> Vec<String> {
    let mut lines = Vec::new();
    let tables = "SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name";
    for table in column(store, tables, "name") {
        let columns = format!("SELECT name FROM pragma_table_info('{table}')");
        let columns = column(store, &columns, "name");
        let found = store.db.query(&format!("SELECT * FROM {table}"), &[]);
        lines.extend(found.expect("rows").iter().map(|row| {
            let values = columns
                .iter()
                .map(|name| shown(row.value(name).expect("a value")));
            format!("{table}: {}", values.collect::<Vec<_>>().join(" "))
        }));
    }
    lines.sort();
    lines
}

fn column(store: &mut Store, sql: &str, name: &str) -> Vec<String> {
    let rows = store.db.query(sql, &[]).expect("rows");
    rows.iter()
        .map(|row| row.get(name).expect("text"))
        .collect()
}

/// Every row on the failing disk, where nothing fails for the moment, and whose file is sound.
fn rows_there(place: &SimPlace, directory: &Path) -> Vec<String> {
    place.disk.in_peace(|| {
        let mut store = sim_store(directory).expect("opened");
        let check = column(&mut store, "PRAGMA integrity_check", "integrity_check");
        assert_eq!(check, ["ok"]);
        let broken = store.db.query("PRAGMA foreign_key_check", &[]);
        assert!(broken.expect("checked").is_empty());
        rows(&mut store)
    })
}

/// Returns a value in a form that can be compared and read.
fn shown(value: &db::Value) -> String {
    let text = format!("{value:?}");
    match text.char_indices().nth(80) {
        Some((end, _)) => format!("{} ... {}", &text[..end], text.len()),
        None => text,
    }
}

/// A database on a disk that fails, and the same on a sound one.
struct Twins {
    failing: TempDir,
    _sound: TempDir,
    place: SimPlace,
    _sound_place: SimPlace,
    /// The connections of the daemon and of a sender, unless the power has failed.
    stores: Option<[Store; 2]>,
    model: Store,
    /// What was refused because the disk failed, if nothing has been written since. If the power fails
    /// then, one of them may be there: what could not be synchronised may have been written.
    doubtful: Vec<SimStep>,
}

/// How often something happened, over all histories.
#[derive(Debug, Default)]
struct Happened {
    power: usize,
    full: usize,
    broken: usize,
    /// Deeds that were refused because of it, and those that were kept nevertheless.
    refused: usize,
    kept: usize,
    /// Deeds that nobody had confirmed when the power failed, and that were there.
    unconfirmed: usize,
}

impl Twins {
    fn new(seed: u64) -> Self {
        let failing = tempfile::tempdir().expect("a directory");
        let sound = tempfile::tempdir().expect("a directory");
        let place = SimPlace::new(failing.path(), SimDisk::new(seed));
        let sound_place = SimPlace::new(sound.path(), SimDisk::new(0));
        let model = sim_store(sound.path()).expect("a store");
        Self {
            failing,
            _sound: sound,
            place,
            _sound_place: sound_place,
            stores: None,
            model,
            doubtful: Vec::new(),
        }
    }

    /// Opens both connections, however often that fails.
    fn open(&mut self) {
        while self.stores.is_none() {
            let path = self.failing.path();
            match sim_store(path).and_then(|one| Ok([one, sim_store(path)?])) {
                Ok(stores) => self.stores = Some(stores),
                Err(error) => {
                    assert!(self.place.disk.has_fired(), "cannot be opened: {error}");
                    if !self.place.disk.has_power() {
                        self.place.disk.restart();
                    }
                }
            }
        }
    }

    /// Does the same on both disks, as far as it was confirmed.
    fn take(&mut self, step: &SimStep, happened: &mut Happened) {
        self.open();
        let had_fired = self.place.disk.has_fired();
        let Some(stores) = &mut self.stores else {
            return;
        };
        let store = &mut stores[usize::from(step.by_daemon)];
        let (said, is_kept) = taken(store, step);
        let has_fired = self.place.disk.has_fired();
        if !has_fired {
            let before = (!self.doubtful.is_empty()).then(|| rows(&mut self.model));
            assert_eq!((said, is_kept), taken(&mut self.model, step), "{step:?}");
            if before.is_some_and(|before| before != rows(&mut self.model)) {
                self.doubtful.clear();
            }
            return;
        }
        let count = usize::from(!had_fired);
        let succeeded = SimStep {
            deeds: of_success(step, &said),
            ..step.clone()
        };
        if is_kept {
            happened.kept += count;
            self.repeat(&succeeded);
        } else {
            happened.refused += count;
            self.doubtful.push(if step.is_group {
                succeeded
            } else {
                step.clone()
            });
        }
        if self.place.disk.has_power() {
            let found = rows_there(&self.place, self.failing.path());
            is_same(
                &found,
                &rows(&mut self.model),
                &format!("{step:?}: {said:?}"),
            );
        } else {
            self.restart(happened);
        }
    }

    /// Lets the power fail, and compares what is there after that.
    fn restart(&mut self, happened: &mut Happened) {
        self.stores = None;
        self.place.disk.restart();
        let found = rows_there(&self.place, self.failing.path());
        let doubtful = std::mem::take(&mut self.doubtful);
        if found != rows(&mut self.model) && doubtful.iter().any(|step| self.would_be(step, &found))
        {
            happened.unconfirmed += 1;
        }
        is_same(&found, &rows(&mut self.model), "after the power had failed");
    }

    /// Returns whether these rows are there once this is done, and does it then.
    fn would_be(&mut self, step: &SimStep, found: &[String]) -> bool {
        self.model.db.begin().expect("begun");
        self.repeat(step);
        let is_it = rows(&mut self.model) == found;
        let ended = if is_it {
            self.model.db.commit()
        } else {
            self.model.db.roll_back()
        };
        ended.expect("ended");
        is_it
    }

    fn repeat(&mut self, step: &SimStep) {
        if !step.deeds.is_empty() {
            taken(&mut self.model, step);
        }
    }
}

fn of_success(step: &SimStep, said: &[Said]) -> Vec<LedgerDeed> {
    let deeds = step.deeds.iter().zip(said);
    let deeds = deeds.filter(|(_, said)| said.is_ok());
    deeds.map(|(deed, _)| deed.clone()).collect()
}

/// One history: some faults, one after the other, each at any call.
fn history(seed: u64, happened: &mut Happened) {
    let mut rng = Rng::with_seed(seed);
    let mut twins = Twins::new(seed);
    for _ in 0..rng.u8(1..5) {
        let fault = fault(&mut rng);
        twins.place.disk.plan(rng.u64(0..150), fault);
        for _ in 0..rng.u8(5..25) {
            let step = sim_step(&mut rng);
            twins.take(&step, happened);
        }
        if twins.place.disk.has_fired() {
            match fault {
                SimFault::Power => happened.power += 1,
                SimFault::Full(_) => happened.full += 1,
                SimFault::Broken(_) => happened.broken += 1,
            }
        }
    }
    // In the end, the power fails in any case.
    twins.open();
    twins.restart(happened);
}

/// Asserts that these rows are those of the sound disk.
fn is_same(found: &[String], expected: &[String], when: &str) {
    let lacks: Vec<_> = expected.iter().filter(|row| !found.contains(row)).collect();
    let more: Vec<_> = found.iter().filter(|row| !expected.contains(row)).collect();
    assert!(found == expected, "{when}: lacks {lacks:#?}, has {more:#?}");
}

fn seeds() -> Range<u64> {
    let asked = std::env::var("ASSIGNER_SEEDS").ok();
    let range = asked.as_deref().and_then(|text| text.split_once(".."));
    let range = range.and_then(|(from, to)| Some(from.parse().ok()?..to.parse().ok()?));
    range.unwrap_or(0..40)
}

#[test]
fn what_was_confirmed_is_there_whatever_the_disk_does() {
    let mut happened = Happened::default();
    for seed in seeds() {
        let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            history(seed, &mut happened);
        }));
        if let Err(panic) = caught {
            eprintln!("this was seed {seed}");
            std::panic::resume_unwind(panic);
        }
    }
    println!("{happened:?}");
    let Happened {
        power,
        full,
        broken,
        refused,
        kept,
        ..
    } = happened;
    for count in [power, full, broken, refused, kept] {
        assert!(count > 5, "{happened:?}");
    }
}

#[test]
fn a_disk_that_is_full_is_called_so() {
    let directory = tempfile::tempdir().expect("a directory");
    let place = SimPlace::new(directory.path(), SimDisk::new(1));
    let mut store = sim_store(directory.path()).expect("a store");
    place.disk.plan(0, SimFault::Full(u32::MAX));
    let refused = store.queue(&[NewTask::command("x")], now());
    let text = refused.expect_err("no room").to_string();
    assert!(text.contains("full"), "{text}");
    drop(store);
    place.disk.restart();
    place.disk.plan(0, SimFault::Full(u32::MAX));
    let refused = sim_store(directory.path()).err().expect("no room");
    assert!(refused.to_string().contains("full"), "{refused}");
}

/// What may be lost if the power fails is lost as a whole or not at all, and stays once anything that was
/// committed after it is on disk.
#[test]
fn what_is_on_disk_soon_is_there_with_what_is_there_at_once() {
    let (mut lost, mut lasting) = (0, 0);
    for seed in 0..60 {
        let directory = tempfile::tempdir().expect("a directory");
        let place = SimPlace::new(directory.path(), SimDisk::new(seed));
        let mut store = sim_store(directory.path()).expect("a store");
        let mut queue = |kept, count: usize| {
            let tasks = vec![NewTask::command("x".repeat(3_000)); count];
            let done = store.group_kept(kept, |store| {
                store.queue(&tasks, now()).expect("queued");
            });
            done.expect("committed");
        };
        let soon = usize::try_from(seed % 4).expect("small") + 1;
        queue(Durability::Soon, soon);
        let is_followed = seed % 2 == 0;
        if is_followed {
            queue(Durability::AtOnce, 1);
        }
        queue(Durability::Soon, soon);
        place.disk.plan(0, SimFault::Power);
        let refused = store.queue(&[NewTask::command("never")], now());
        assert!(refused.is_err() && !place.disk.has_power());
        drop(store);
        place.disk.restart();
        let mut store = sim_store(directory.path()).expect("a sound store");
        let there = store.tasks(&[Status::Pending], 100).expect("tasks").len();
        let possible = match is_followed {
            true => [soon + 1, 2 * soon + 1, 2 * soon + 1],
            false => [0, soon, 2 * soon],
        };
        assert!(
            possible.contains(&there),
            "seed {seed}: {there} of {possible:?}"
        );
        lost += usize::from(there == possible[0]);
        lasting += usize::from(there == possible[2]);
    }
    assert!(lost > 5 && lasting > 5, "{lost} {lasting}");
}
