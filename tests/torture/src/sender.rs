//! Queues tasks, one or several at once, and kills some of the commands that do it.

use std::io::{self, Read as _, Seek as _, Write as _};
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use assigner_conformance::journal::now;
use assigner_conformance::world::Place;
use fastrand::Rng;
use serde_json::{Value, json};

use crate::blows::{Blows, Fault, Victim};
use crate::sessions::PROVIDER;
use crate::tasks::{Answer, Form, Sent, Tasks};

/// As many tasks may wait or run; then the sender waits.
const WAITING: u64 = 24;

/// The most tasks that are sent at once.
const BATCH: usize = 6;

/// Where the sender works, and what it tells.
#[derive(Debug, Clone, Copy)]
pub struct Sending<'a> {
    /// The world.
    pub place: &'a Place,
    /// The tasks that were sent.
    pub tasks: &'a Tasks,
    /// What was done to them.
    pub blows: &'a Blows,
}

impl Sending<'_> {
    /// Queues tasks until it is over.
    pub fn run(self, mut rng: Rng, is_over: &AtomicBool) {
        while !is_over.load(Ordering::Relaxed) {
            if self.waiting() >= WAITING {
                thread::sleep(Duration::from_millis(150));
                continue;
            }
            match rng.u8(0..10) {
                0..5 => self.send(&mut rng, 1, None),
                5..7 => {
                    let count = rng.usize(2..=BATCH);
                    self.send(&mut rng, count, None);
                }
                _ => {
                    let count = if rng.bool() { 1 } else { rng.usize(2..=BATCH) };
                    // The command takes some ten milliseconds in all.
                    let after = Duration::from_micros(rng.u64(0..25_000));
                    self.send(&mut rng, count, Some(after));
                }
            }
            thread::sleep(Duration::from_millis(rng.u64(0..120)));
        }
    }

    /// Returns how many tasks have not ended.
    fn waiting(self) -> u64 {
        let status = self.place.assigner(&["status"], b"");
        let status = status.and_then(|output| output.json()).unwrap_or_default();
        let counts = ["pending", "assigned", "in_progress", "waiting_input"];
        let counts = counts
            .iter()
            .filter_map(|name| status["tasks"][name].as_u64());
        counts.sum()
    }

    /// Queues so many tasks by one command, which is killed after this time.
    pub fn send(self, rng: &mut Rng, count: usize, killed_after: Option<Duration>) {
        let mut batch = None;
        let first = self.tasks.add(count, |number| {
            let batch = *batch.get_or_insert(number);
            new_task(rng, number, batch)
        });
        let numbers = first..first + count as u64;
        let mut input = Vec::new();
        for number in numbers.clone() {
            let line = self.tasks.with(number, |sent| line(self.place, sent));
            input.extend_from_slice(line.to_string().as_bytes());
            input.push(b'\n');
        }
        let from = now();
        let Ok(said) = self.command(&input, killed_after) else {
            return;
        };
        if killed_after.is_some() {
            let victim = Victim::Tasks(numbers.clone());
            self.blows.strike_since(Fault::SenderKilled, victim, from);
        }
        let ids = said.as_ref().and_then(Value::as_array);
        for (at, number) in numbers.enumerate() {
            let id = ids.and_then(|ids| ids.get(at)?["id"].as_u64());
            self.tasks.with(number, |sent| {
                sent.id = id;
                sent.answer = match (id, &said) {
                    (Some(_), _) => Answer::Yes,
                    (None, Some(_)) => Answer::No,
                    (None, None) => Answer::None,
                };
            });
        }
    }

    /// Runs `send --batch -`. Returns what it answered, null if it refused, or nothing if it was killed
    /// before it could answer.
    fn command(self, input: &[u8], killed_after: Option<Duration>) -> io::Result<Option<Value>> {
        let mut stdin = tempfile::tempfile()?;
        stdin.write_all(input)?;
        stdin.rewind()?;
        let mut stdout = tempfile::tempfile()?;
        let mut command = self.place.binary();
        let mut child = command
            .args(["--json", "send", "--batch", "-"])
            .stdin(stdin)
            .stdout(stdout.try_clone()?)
            .stderr(Stdio::null())
            .spawn()?;
        if let Some(after) = killed_after {
            thread::sleep(after);
            // It may have ended.
            let _ = child.kill();
        }
        let status = child.wait()?;
        let mut text = String::new();
        stdout.rewind()?;
        stdout.read_to_string(&mut text)?;
        // What it says once it has written everything holds, even if it is killed after that.
        Ok(match serde_json::from_str(&text) {
            Ok(said) => Some(said),
            Err(_) if status.code().is_some() => Some(Value::Null),
            Err(_) => None,
        })
    }
}

/// Returns a task by chance.
fn new_task(rng: &mut Rng, number: u64, batch: u64) -> Sent {
    let is_prompt = rng.u8(0..5) == 0;
    let forms = if is_prompt {
        Vec::new()
    } else {
        vec![Form {
            answer: Answer::Yes,
            ..new_form(rng)
        }]
    };
    let padding = if rng.bool() { 0 } else { rng.usize(0..30_000) };
    Sent {
        number,
        id: None,
        answer: Answer::None,
        batch,
        forms,
        padding: if is_prompt { padding } else { 0 },
        retries: if rng.u8(0..5) == 0 { rng.u32(1..3) } else { 0 },
        wanted_again: 0,
    }
}

/// Returns a command by chance.
pub fn new_form(rng: &mut Rng) -> Form {
    Form {
        works: if rng.u8(0..3) == 0 {
            rng.u64(500..2_000)
        } else {
            rng.u64(0..400)
        },
        code: if rng.u8(0..6) == 0 { 3 } else { 0 },
        lines: if rng.u8(0..3) == 0 {
            rng.u32(1..3_000)
        } else {
            0
        },
        answer: Answer::None,
        frozen: None,
    }
}

/// Returns the line of a batch that asks for a task.
fn line(place: &Place, sent: &Sent) -> Value {
    if sent.is_prompt() {
        return json!({"content": sent.prompt(), "provider": PROVIDER, "retries": sent.retries});
    }
    let command = sent.command(0, &place.path("runs"));
    json!({"content": command, "shell": true, "retries": sent.retries})
}
