//! One scenario from its beginning to its end.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::journal;
use crate::judge::{Delivery, Judgement, Row, Sent, judge, judge_foreign, word};
use crate::payload::{Payload, Payloads, marker};
use crate::scenario::{Disturbance, Scenario, Way};
use crate::world::{Pane, World};

/// How often everything is checked.
const TICK: Duration = Duration::from_millis(100);

/// How often the tasks are counted.
const COUNT_EVERY: Duration = Duration::from_millis(300);

/// How long a dead pane stays dead: long enough for a task to meet it.
const DEAD_FOR: Duration = Duration::from_millis(400);

/// The most tasks and bytes that are queued by one command.
const BATCH: usize = 100;
const BATCH_BYTES: usize = 256 << 10;

/// How many responses of a scenario are compared.
const RESPONSES: usize = 100;

/// The shells in which agents without a terminal are asked if they are installed, and how each is
/// started without anybody's settings.
const SHELLS: [(&str, &str); 4] = [
    ("bash", "exec env 'PS1=$ ' bash --norc"),
    ("zsh", "exec env 'PS1=$ ' zsh -f"),
    ("fish", "exec fish --no-config"),
    ("dash", "exec env 'PS1=$ ' dash"),
];

/// The profiles of the suite's own agents.
const PROFILES: [(&str, &str); 3] = [
    ("fake-agent", include_str!("../profiles/fake-agent.toml")),
    (
        "fake-agent-canonical",
        include_str!("../profiles/fake-agent-canonical.toml"),
    ),
    (
        "fake-agent-rewriting",
        include_str!("../profiles/fake-agent-rewriting.toml"),
    ),
];

/// The agent to which prompts are delivered.
#[derive(Debug, Clone)]
pub enum Agent {
    /// The suite's own: its program, and options in addition to those of the scenario.
    Fake {
        /// The program.
        program: PathBuf,
        /// The additional options.
        options: Vec<String>,
    },
    /// A user's own agent.
    Foreign {
        /// The text of its profile.
        profile: String,
        /// The name in the profile.
        name: String,
        /// The command that starts it.
        command: String,
    },
}

/// The settings of a run.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The binary under test.
    pub assigner: PathBuf,
    /// The agent to which prompts are delivered.
    pub agent: Agent,
    /// The number of agents.
    pub sessions: usize,
    /// The seed of the prompts.
    pub seed: u64,
    /// How long no task may end before the rest is judged in its present state.
    pub patience: Duration,
    /// Where to copy the records.
    pub keep: Option<PathBuf>,
}

/// The result of a scenario.
#[derive(Debug)]
pub struct Run {
    /// What happened to its prompts.
    pub judgement: Judgement,
    /// How long it took.
    pub took: Duration,
    /// What aborted it: the daemon or the tmux server is gone.
    pub trouble: Option<String>,
}

/// Delivers `count` prompts, numbered from `first`, and judges what happened to them. `progress` is
/// called with the number of tasks that have ended.
///
/// # Errors
///
/// The suite itself cannot do its work.
pub fn run(
    plan: &Plan,
    scenario: Scenario,
    first: u64,
    count: u64,
    progress: &dyn Fn(u64),
) -> io::Result<Run> {
    let begun = Instant::now();
    let is_closed = matches!(plan.agent, Agent::Fake { .. });
    let mut world = World::new(&plan.assigner, is_closed)?;
    let provider = start_agents(&mut world, plan, scenario)?;
    world.start_daemon()?;
    let payloads = prompts(plan, first, count);
    let deliveries = send(&world, scenario, &provider, payloads)?;
    let trouble = follow(&mut world, plan, scenario, &deliveries, progress)
        .err()
        .map(|error| error.to_string());
    world.stop_daemon();
    let rows = rows(&world, is_closed)?;
    let judgement = if is_closed {
        let journals = (0..plan.sessions).map(|at| journal::read(&log(&world, at)));
        let journals = journals.collect::<io::Result<Vec<_>>>()?;
        judge(&deliveries, &rows, &journals)
    } else {
        judge_foreign(&deliveries, &rows)
    };
    if let Some(place) = &plan.keep {
        world.keep(&place.join(scenario.name))?;
    }
    Ok(Run {
        judgement,
        took: begun.elapsed(),
        trouble,
    })
}

/// Starts the agents, and returns the name of their kind.
fn start_agents(world: &mut World, plan: &Plan, scenario: Scenario) -> io::Result<String> {
    let (program, more) = match &plan.agent {
        Agent::Foreign {
            profile,
            name,
            command,
        } => {
            world.add_profile(name, profile)?;
            for at in 0..plan.sessions {
                world.session(&session(at), std::slice::from_ref(command))?;
            }
            return Ok(name.clone());
        }
        Agent::Fake { program, options } => (program, options),
    };
    let (provider, profile) = match scenario.way {
        Way::Lines => PROFILES[1],
        Way::Composer | Way::Headless if scenario.is_signed => PROFILES[2],
        Way::Composer | Way::Headless => PROFILES[0],
    };
    let own = world.path("bin").join(provider);
    install(program, &own)?;
    if scenario.way == Way::Headless {
        let mut words = vec![own.to_string_lossy().into_owned()];
        // One journal for all of them: who is asked in a shell is a process of its own each time.
        words.push(format!("--log={}", log(world, 0).display()));
        words.extend(scenario.options(0, plan.sessions));
        words.extend(more.iter().cloned());
        world.add_profile(provider, &asked_by(profile, words)?)?;
        let shells = SHELLS.iter().filter(|(program, _)| has(program)).cycle();
        for (at, (_, command)) in (0..plan.sessions).zip(shells) {
            world.session(&session(at), &[(*command).to_owned()])?;
        }
        return Ok(provider.to_owned());
    }
    for (name, text) in PROFILES {
        world.add_profile(name, text)?;
    }
    for at in 0..plan.sessions {
        let mut words = vec![own.to_string_lossy().into_owned()];
        words.push(format!("--log={}", log(world, at).display()));
        if scenario.has_transcript {
            let place = world.path("agents/sessions");
            // One directory for all of them, so that it must be found out which file belongs to
            // which agent.
            words.push(format!(
                "--transcript={}/{}-{{pid}}.jsonl",
                place.display(),
                session(at)
            ));
        }
        words.extend(scenario.options(at, plan.sessions));
        words.extend(more.iter().cloned());
        world.session(&session(at), &words)?;
    }
    Ok(provider.to_owned())
}

/// Returns a profile whose agent is asked by another command.
fn asked_by(profile: &str, words: Vec<String>) -> io::Result<String> {
    let mut table: toml::Table = toml::from_str(profile).map_err(io::Error::other)?;
    let headless = table
        .get_mut("headless")
        .and_then(toml::Value::as_table_mut)
        .ok_or_else(|| io::Error::other("the profile has no [headless]"))?;
    headless.insert("command".to_owned(), words.into());
    toml::to_string(&table).map_err(io::Error::other)
}

/// Returns whether a program is in PATH.
fn has(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|dir| dir.join(program).is_file())
}

/// Installs a program there under a name of its own.
fn install(program: &Path, place: &Path) -> io::Result<()> {
    match fs::hard_link(program, place) {
        Err(_) => fs::copy(program, place).map(drop),
        Ok(()) => Ok(()),
    }
}

fn session(index: usize) -> String {
    format!("agent-{index}")
}

fn log(world: &World, index: usize) -> PathBuf {
    world.path("log").join(format!("{}.jsonl", session(index)))
}

fn prompts(plan: &Plan, first: u64, count: u64) -> Vec<Payload> {
    let mut payloads = Payloads::new(plan.seed);
    let numbers = first..first + count;
    match plan.agent {
        Agent::Fake { .. } => numbers.map(|number| payloads.next(number)).collect(),
        Agent::Foreign { .. } => numbers
            .map(|number| Payload {
                text: format!(
                    "Answer with this one word and nothing else: {} ({})",
                    word(number),
                    marker(number)
                ),
                ..Payloads::new(plan.seed).next(0)
            })
            .zip(first..)
            .map(|(payload, number)| Payload { number, ..payload })
            .collect(),
    }
}

/// Queues the prompts: small ones many at once, and those that may be refused one by one.
fn send(
    world: &World,
    scenario: Scenario,
    provider: &str,
    payloads: Vec<Payload>,
) -> io::Result<Vec<Delivery>> {
    let mut deliveries = Vec::new();
    let mut batch: Vec<Payload> = Vec::new();
    let mut bytes = 0;
    for payload in payloads {
        if payload.has_control_bytes() || payload.text.len() > BATCH_BYTES {
            deliveries.push(send_one(world, scenario, provider, &payload)?);
            continue;
        }
        bytes += payload.text.len();
        batch.push(payload);
        if batch.len() >= BATCH || bytes >= BATCH_BYTES {
            let full = std::mem::take(&mut batch);
            send_batch(world, scenario, provider, &full, &mut deliveries)?;
            bytes = 0;
        }
    }
    send_batch(world, scenario, provider, &batch, &mut deliveries)?;
    Ok(deliveries)
}

fn delivery(scenario: Scenario, payload: &Payload, sent: Sent) -> Delivery {
    Delivery {
        number: payload.number,
        kind: payload.kind,
        core: payload.core(),
        is_deliverable: scenario.can_take(payload),
        sent,
    }
}

fn send_batch(
    world: &World,
    scenario: Scenario,
    provider: &str,
    payloads: &[Payload],
    deliveries: &mut Vec<Delivery>,
) -> io::Result<()> {
    if payloads.is_empty() {
        return Ok(());
    }
    let mut lines = Vec::new();
    for payload in payloads {
        let mut line = json!({"content": payload.text, "provider": provider});
        if scenario.way == Way::Headless {
            line["headless"] = json!(true);
        }
        if let Some(seconds) = scenario.timeout {
            line["timeout"] = json!(format!("{seconds}s"));
        }
        serde_json::to_writer(&mut lines, &line)?;
        lines.push(b'\n');
    }
    let output = world.assigner(&["send", "--batch", "-"], &lines)?;
    let answer = output.json().unwrap_or_default();
    let ids: Vec<u64> = answer
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|task| task["id"].as_u64())
        .collect();
    if output.status.success() && ids.len() != payloads.len() {
        return Err(io::Error::other(format!(
            "`send --batch` answered for {} of {} tasks",
            ids.len(),
            payloads.len()
        )));
    }
    for (at, payload) in payloads.iter().enumerate() {
        // All or none: if one of them was refused, each is tried alone.
        deliveries.push(match ids.get(at) {
            Some(&id) => delivery(scenario, payload, Sent::Task(id)),
            None => send_one(world, scenario, provider, payload)?,
        });
    }
    Ok(())
}

fn send_one(
    world: &World,
    scenario: Scenario,
    provider: &str,
    payload: &Payload,
) -> io::Result<Delivery> {
    let timeout = scenario
        .timeout
        .map(|seconds| format!("--timeout={seconds}s"));
    let mut args = vec!["send", "--provider", provider];
    args.extend((scenario.way == Way::Headless).then_some("--headless"));
    args.extend(timeout.as_deref());
    args.push("-");
    let output = world.assigner(&args, payload.text.as_bytes())?;
    let sent = if output.status.success() {
        let id = output.json()?["id"].as_u64();
        Sent::Task(id.ok_or_else(|| io::Error::other("`send` named no task"))?)
    } else {
        Sent::Refused(output.stderr.trim().to_owned())
    };
    Ok(delivery(scenario, payload, sent))
}

/// Waits until all tasks have ended, or none has for a while, and disturbs the panes meanwhile.
fn follow(
    world: &mut World,
    plan: &Plan,
    scenario: Scenario,
    deliveries: &[Delivery],
    progress: &dyn Fn(u64),
) -> io::Result<()> {
    let is_task = |delivery: &&Delivery| matches!(delivery.sent, Sent::Task(_));
    let all = deliveries.iter().filter(is_task).count() as u64;
    let refused = deliveries.len() as u64 - all;
    let mut ended = 0;
    let mut moved = Instant::now();
    let mut counted: Option<Instant> = None;
    let mut dead: HashMap<String, Instant> = HashMap::new();
    while ended < all && moved.elapsed() < plan.patience {
        thread::sleep(TICK);
        world.check_daemon()?;
        let panes = world.panes()?;
        match scenario.disturbance {
            Disturbance::None => {}
            Disturbance::CopyMode => switch_modes(world, &panes)?,
            Disturbance::Respawn => respawn(world, &panes, &mut dead)?,
            Disturbance::KillDaemon if fastrand::u8(0..4) == 0 => {
                world.kill_daemon()?;
                world.start_daemon()?;
            }
            Disturbance::KillDaemon => {}
        }
        if counted.is_none_or(|at| at.elapsed() >= COUNT_EVERY) {
            counted = Some(Instant::now());
            let status = world.assigner(&["status"], b"")?.json()?;
            let now: u64 = ["completed", "failed", "cancelled", "uncertain"]
                .iter()
                .filter_map(|state| status["tasks"][state].as_u64())
                .sum();
            if now != ended {
                ended = now;
                moved = Instant::now();
            }
            progress(refused + ended);
        }
    }
    Ok(())
}

/// Switches a pane into copy mode now and then, and soon out of it again.
fn switch_modes(world: &World, panes: &[Pane]) -> io::Result<()> {
    for pane in panes {
        if pane.is_in_mode && fastrand::u8(0..10) < 3 {
            // A key may have ended the mode meanwhile.
            let _ = world.tmux(&["send-keys", "-X", "-t", &pane.id, "cancel"]);
        } else if !pane.is_in_mode && fastrand::u8(0..10) < 1 {
            world.tmux(&["copy-mode", "-t", &pane.id])?;
        }
    }
    Ok(())
}

/// Restarts processes that have been dead for a while.
fn respawn(world: &World, panes: &[Pane], dead: &mut HashMap<String, Instant>) -> io::Result<()> {
    for pane in panes {
        if !pane.is_dead {
            dead.remove(&pane.id);
            continue;
        }
        let since = dead.entry(pane.id.clone()).or_insert_with(Instant::now);
        if since.elapsed() >= DEAD_FOR {
            world.tmux(&["respawn-pane", "-k", "-t", &pane.id])?;
            dead.remove(&pane.id);
        }
    }
    Ok(())
}

/// Returns what `assigner` says about all tasks; only some responses are read if they are not
/// needed.
fn rows(world: &World, is_closed: bool) -> io::Result<HashMap<u64, Row>> {
    let list = world.assigner(&["list", "--limit", "0"], b"")?.json()?;
    let mut rows = HashMap::new();
    let mut responses = 0;
    for task in list.as_array().into_iter().flatten() {
        let Some(id) = task["id"].as_u64() else {
            continue;
        };
        let is_completed = task["status"] == "completed";
        if is_completed {
            responses += 1;
        }
        if is_completed && is_closed && responses > RESPONSES {
            rows.insert(id, row(task));
        } else {
            // Only `show` has the reason to wait, and the answer.
            let shown = world.assigner(&["show", &id.to_string()], b"")?.json()?;
            rows.insert(id, row(&shown));
        }
    }
    Ok(rows)
}

fn row(task: &Value) -> Row {
    let text = |names: &[&str]| {
        let found = names.iter().find_map(|name| task[name].as_str());
        found.map(str::to_owned)
    };
    Row {
        status: text(&["status"]).unwrap_or_default(),
        reason: text(&["error", "wait_reason"]),
        response: text(&["output"]),
        is_partial: text(&["response"]).is_some_and(|kept| kept.starts_with("partial")),
        is_whole: task["response"] == "whole",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn profiles_are_toml_and_bear_their_names() {
        for (name, text) in PROFILES {
            let profile: toml::Table = toml::from_str(text).expect("a profile");
            assert_eq!(profile["name"].as_str(), Some(name));
        }
        let words = vec!["/a b/fake".to_owned(), "--log=x".to_owned()];
        let text = asked_by(PROFILES[0].1, words).expect("a profile");
        let profile: toml::Table = toml::from_str(&text).expect("a profile");
        let command = profile["headless"]["command"].as_array().expect("words");
        assert_eq!(command.len(), 2);
        asked_by(PROFILES[1].1, Vec::new()).expect_err("no [headless]");
    }

    #[test]
    fn rows_are_read_from_what_is_shown() {
        let shown = json!({
            "status": "failed", "error": "it died", "wait_reason": null, "output": "text",
            "response": "whole",
        });
        let expected = Row {
            status: "failed".to_owned(),
            reason: Some("it died".to_owned()),
            response: Some("text".to_owned()),
            is_partial: false,
            is_whole: true,
        };
        assert_eq!(row(&shown), expected);
        assert_eq!(row(&json!({})), Row::default());
    }

    #[test]
    fn prompts_for_others_name_their_word() {
        let plan = Plan {
            assigner: PathBuf::new(),
            agent: Agent::Foreign {
                profile: String::new(),
                name: String::new(),
                command: String::new(),
            },
            sessions: 1,
            seed: 1,
            patience: Duration::ZERO,
            keep: None,
        };
        let made = prompts(&plan, 7, 2);
        assert_eq!(made.len(), 2);
        assert_eq!(made[1].number, 8);
        assert!(made[1].text.contains(&word(8)));
    }
}
