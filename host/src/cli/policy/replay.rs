//! `assigner policy replay` and `assigner policy shadow`: what another policy would have done.

use std::path::{Path, PathBuf};

use serde_json::json;

use super::super::exit::{CommandFailure, Exit};
use super::super::{Context, ui};
use super::{Which, time};
use crate::daemon::{rounds_directory, shadow_directory};
use crate::policy::{ComparisonReport, Difference, Fate, ReplayError, replay, shadowed};

/// Asks a policy about the rounds that `run --record` kept, and shows what would have changed.
///
/// If the same component decided a round, it uses the settings that it had then, unless
/// --policy-set gives others. Gains and losses are in this policy's own points: its points for the
/// sessions that it would take, minus its points for those that were taken.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    which: Which,
    /// The directory of the rounds [default: that of the data directory]
    #[arg(long, value_name = "DIR")]
    rounds: Option<PathBuf>,
    #[command(flatten)]
    shown: ShownArgs,
}

/// Shows what the policy of `run --shadow` would have done differently.
#[derive(Debug, clap::Args)]
pub(super) struct ShadowArgs {
    #[command(flatten)]
    shown: ShownArgs,
}

#[derive(Debug, clap::Args)]
struct ShownArgs {
    /// Lists at most N differences
    #[arg(long, value_name = "N", default_value_t = 100)]
    limit: usize,
}

pub(super) fn run(context: &Context, args: &Args) -> Result<Exit, CommandFailure> {
    let directory = match &args.rounds {
        Some(directory) => directory.clone(),
        None => rounds_directory(&context.config.data_dir),
    };
    let none = "no rounds are recorded: record some with `assigner run --record`";
    if args.rounds.is_none() && !directory.exists() {
        return Err(CommandFailure::new(Exit::Failed, none));
    }
    let policy = args.which.load(context)?;
    let progress = ui::progress("asking it about rounds");
    let as_recorded = args.which.set.is_empty();
    let result = replay(
        &policy,
        &directory,
        as_recorded,
        args.shown.limit,
        |rounds| {
            progress.set_length(rounds);
            progress.set_position(rounds);
        },
    );
    progress.finish_and_clear();
    let report = result.map_err(|error| match error {
        ReplayError::Read(error) => unreadable(&directory, &error),
        ReplayError::Policy(error) => error.into(),
    })?;
    finish(context, &report, none)
}

pub(super) fn shadow(context: &Context, args: &ShadowArgs) -> Result<Exit, CommandFailure> {
    let directory = shadow_directory(&context.config.data_dir);
    if !directory.exists() {
        return Err(CommandFailure::new(
            Exit::Failed,
            "no policy has decided beside another: start one with `assigner run --shadow FILE`",
        ));
    }
    let report =
        shadowed(&directory, args.shown.limit).map_err(|error| unreadable(&directory, &error))?;
    for damage in &report.damages {
        ui::warn(damage);
    }
    if report.rounds == 0 && !context.ui.json {
        context.ui.line("it has decided nothing differently")?;
        return Ok(Exit::Done);
    }
    // The shadow keeps only such rounds.
    print(
        context,
        &report,
        " in which it decides differently or fails",
    )?;
    Ok(Exit::Done)
}

fn unreadable(directory: &Path, error: &std::io::Error) -> CommandFailure {
    let shown = directory.display();
    CommandFailure::new(
        Exit::Failed,
        format!("cannot read the rounds `{shown}`: {error}"),
    )
}

fn finish(
    context: &Context,
    report: &ComparisonReport,
    none: &str,
) -> Result<Exit, CommandFailure> {
    if report.rounds == 0 {
        let why = report.damages.first().map_or(none, String::as_str);
        return Err(CommandFailure::new(Exit::Failed, why));
    }
    for damage in &report.damages {
        ui::warn(damage);
    }
    print(context, report, "")?;
    Ok(Exit::Done)
}

/// `which` says which rounds these are, and is printed after their number.
fn print(context: &Context, report: &ComparisonReport, which: &str) -> Result<(), CommandFailure> {
    let ui = context.ui;
    if ui.json {
        return Ok(ui.json(&json!(report))?);
    }
    let recorded: Vec<String> = report
        .recorded
        .iter()
        .map(|recorded| {
            let policy = &recorded.policy;
            ui::clean(&format!(
                "{} {} ({} rounds)",
                policy.name, policy.version, recorded.rounds
            ))
        })
        .collect();
    let changed = report.tasks - report.same;
    ui.line(&format!(
        "{} rounds{which}, with {} decisions by {}",
        report.rounds,
        report.tasks,
        if recorded.is_empty() {
            "nobody".to_owned()
        } else {
            recorded.join(", ")
        }
    ))?;
    if changed == 0 && report.failed_rounds == 0 {
        ui.line("nothing would have changed")?;
    } else {
        let gained = report.points_gained;
        for (count, what) in [
            (report.same, "would have been the same".to_owned()),
            (
                report.moved,
                format!("would have gone to another session, with {gained:+} points"),
            ),
            (report.now_waiting, "would have waited".to_owned()),
            (report.now_assigned, "would not have waited".to_owned()),
        ] {
            ui.line(&format!("{count:>7} {what}"))?;
        }
    }
    if let Some(failure) = &report.last_failure {
        ui.line(&format!(
            "{:>7} rounds in which it failed, the last time because it {}",
            report.failed_rounds,
            ui::clean(failure)
        ))?;
    }
    let micros = std::time::Duration::from_micros;
    ui.line(&format!(
        "a round took {} and would have taken {} (medians)",
        time(micros(report.time.recorded_us)),
        time(micros(report.time.replayed_us)),
    ))?;
    if report.differences.is_empty() {
        return Ok(());
    }
    ui.line("")?;
    let rows = report.differences.iter().map(row).collect();
    ui.table(
        &["ROUND", "TASK", "WAS", "WOULD BE", "GAIN", "PROMPT"],
        rows,
    )?;
    let more = usize::try_from(changed).unwrap_or(usize::MAX) - report.differences.len();
    if more > 0 {
        ui.line(&format!("and {more} more: --limit shows them"))?;
    }
    Ok(())
}

fn row(difference: &Difference) -> Vec<String> {
    vec![
        difference.round.to_string(),
        difference.task.to_string(),
        fate(&difference.was),
        fate(&difference.would_be),
        difference
            .gain
            .map_or_else(|| "-".to_owned(), |gain| format!("{gain:+}")),
        ui::cut(&ui::clean(&difference.summary), 40),
    ]
}

fn fate(fate: &Fate) -> String {
    match (&fate.session, fate.points, &fate.reason) {
        (Some(session), Some(points), _) => format!("{} {points}", ui::clean(session)),
        (_, _, reason) => {
            let reason = ui::clean(reason.as_deref().unwrap_or_default());
            format!("waits: {}", ui::cut(&reason, 60))
        }
    }
}
