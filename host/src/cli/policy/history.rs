//! `assigner policy history`: which policies have decided since when, and which were refused.

use serde_json::{Value, json};

use super::super::exit::{CommandFailure, Exit};
use super::super::{Context, ui};
use crate::store::{PolicyCause, PolicyEvent, PolicyOutcome};

/// Shows every start, switch and refusal of a policy, oldest first.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Only the last N
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
}

pub(super) fn run(context: &Context, args: &Args) -> Result<Exit, CommandFailure> {
    let events = context
        .store()?
        .policy_log(args.limit.unwrap_or(usize::MAX))?;
    let ui = context.ui;
    if ui.json {
        let events: Vec<Value> = events
            .iter()
            .map(|event| {
                json!({
                    "at": event.at,
                    "cause": event.cause,
                    "source": event.order.source,
                    "settings": event.order.settings,
                    "policy": event.policy,
                    "outcome": event.outcome,
                    "reason": event.reason,
                })
            })
            .collect();
        ui.json(&events)?;
        return Ok(Exit::Done);
    }
    let rows = events.iter().map(row).collect();
    ui.table(&["TIME", "CAUSE", "FROM", "POLICY", "OUTCOME"], rows)?;
    Ok(Exit::Done)
}

fn row(event: &PolicyEvent) -> Vec<String> {
    let cause = match event.cause {
        PolicyCause::Start => "the daemon started",
        PolicyCause::Use => "policy use",
        PolicyCause::Reset => "policy use --reset",
        PolicyCause::File => "its file changed",
        PolicyCause::Config => "the configuration changed",
    };
    let outcome = match event.outcome {
        PolicyOutcome::Waiting => "waits for a daemon".to_owned(),
        PolicyOutcome::Live => "decides".to_owned(),
        PolicyOutcome::Overruled => "another was named on the command line".to_owned(),
        PolicyOutcome::Refused => {
            format!(
                "refused: {}",
                ui::clean(event.reason.as_deref().unwrap_or_default())
            )
        }
    };
    let policy = event.policy.as_ref();
    vec![
        format!("{:.0}", event.at),
        cause.to_owned(),
        ui::clean(&event.order.source),
        policy.map_or_else(
            || "-".to_owned(),
            |policy| {
                let hash = policy.sha256.get(..12).unwrap_or_default();
                ui::clean(&format!("{} {} ({hash})", policy.name, policy.version))
            },
        ),
        outcome,
    ]
}
