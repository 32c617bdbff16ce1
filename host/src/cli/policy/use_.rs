//! `assigner policy use`: switches the policy, also that of a running daemon.

use std::thread;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde_json::{Value, json};

use super::super::exit::{CommandFailure, Exit};
use super::super::{Context, ui};
use crate::config;
use crate::daemon::Lock;
use crate::policy::{PolicySource, resolve};
use crate::store::{PolicyCause, PolicyEvent, PolicyOrder, PolicyOutcome, Store};

/// Switches to another policy: a running daemon loads it beside the live one, tries it, and
/// switches between two rounds. The next `run` uses it too.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The policy: a component's path, a name in the policies directory, or `default`
    #[arg(required_unless_present = "reset")]
    name: Option<String>,
    /// A setting for it, overriding the configuration; VALUE as JSON, or text
    #[arg(long = "policy-set", value_name = "KEY=VALUE", value_parser = config::setting)]
    set: Vec<(String, Value)>,
    /// Goes back to the configured policy
    #[arg(long, conflicts_with_all = ["name", "set"])]
    reset: bool,
}

/// How long to wait for a daemon: it may compile a large policy on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);
const LOOK_EVERY: Duration = Duration::from_millis(5);

pub(super) fn run(context: &Context, args: &Args) -> Result<Exit, CommandFailure> {
    let config = &context.config;
    let name = args.name.as_deref().unwrap_or_else(|| config.policy_name());
    let settings = config.live_settings(name, &args.set);
    let source = resolve(name, &config.policies_dir);
    let mut event = PolicyEvent {
        id: 0,
        at: Timestamp::now(),
        cause: if args.reset {
            PolicyCause::Reset
        } else {
            PolicyCause::Use
        },
        order: PolicyOrder {
            source: source
                .as_ref()
                .map_or_else(|_| name.to_owned(), PolicySource::name),
            settings,
            set_by_hand: Value::Object(args.set.iter().cloned().collect()),
        },
        outcome: PolicyOutcome::Waiting,
        reason: None,
        policy: None,
    };
    let mut store = context.store()?;
    let runs = Lock::holder(&config.data_dir).is_some();
    let policy = match source {
        // The daemon reads it itself.
        Ok(_) if runs => Ok(None),
        Ok(source) => {
            let policy = context.loader().load(&source, &event.order.settings);
            policy.map(Some)
        }
        Err(error) => Err(error),
    };
    match policy {
        Ok(None) => {}
        Ok(Some(policy)) => {
            event.policy = Some(policy.id().clone());
            let id = store.note_policy(&event)?;
            // A daemon that has started meanwhile carries it out.
            if Lock::holder(&config.data_dir).is_none() {
                return tell(context, &event, false);
            }
            return wait(context, &mut store, id);
        }
        Err(error) => {
            event.outcome = PolicyOutcome::Refused;
            event.reason = Some(error.to_string());
            store.note_policy(&event)?;
            return Err(error.into());
        }
    }
    let id = store.note_policy(&event)?;
    wait(context, &mut store, id)
}

/// Waits for the outcome of an order to a daemon.
fn wait(context: &Context, store: &mut Store, id: i64) -> Result<Exit, CommandFailure> {
    let data = &context.config.data_dir;
    context.spool()?.nudge();
    let deadline = Instant::now() + PATIENCE;
    loop {
        let event = store.policy_event(id)?;
        match event {
            Some(event) if event.outcome != PolicyOutcome::Waiting => {
                return answer(context, &event);
            }
            _ => {}
        }
        if Lock::holder(data).is_none() {
            return Err(CommandFailure::new(
                Exit::Daemon,
                "the daemon has ended meanwhile: the next `assigner run` uses the policy",
            ));
        }
        if Instant::now() >= deadline {
            return Err(CommandFailure::new(
                Exit::TimedOut,
                "the daemon has not loaded it yet: `assigner policy history` will show the outcome",
            ));
        }
        thread::sleep(LOOK_EVERY);
    }
}

fn answer(context: &Context, event: &PolicyEvent) -> Result<Exit, CommandFailure> {
    match (event.outcome, &event.policy) {
        (PolicyOutcome::Live, Some(_)) => tell(context, event, true),
        (PolicyOutcome::Overruled, _) => Err(CommandFailure::new(
            Exit::Failed,
            "a daemon has started meanwhile, with another policy on its command line",
        )),
        _ => Err(CommandFailure::new(
            Exit::Policy,
            event
                .reason
                .as_deref()
                .unwrap_or("the daemon does not say why it was refused"),
        )),
    }
}

fn tell(context: &Context, event: &PolicyEvent, live: bool) -> Result<Exit, CommandFailure> {
    let (ui, source) = (context.ui, &event.order.source);
    if ui.json {
        ui.json(&json!({"policy": event.policy, "source": source, "live": live}))?;
        return Ok(Exit::Done);
    }
    let name = ui::clean(config::stem(source));
    let itself = event.policy.as_ref().map_or_else(String::new, |policy| {
        ui::clean(&format!("{} {}", policy.name, policy.version))
    });
    ui.line(&if live {
        format!("the daemon uses {name} now: {itself}")
    } else {
        format!("no daemon is running: the next `assigner run` uses {name}: {itself}")
    })?;
    Ok(Exit::Done)
}
