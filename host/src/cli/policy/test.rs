//! `assigner policy test`: an author's own cases.

use std::path::PathBuf;

use anstyle::AnsiColor;
use serde_json::json;

use super::super::exit::{CommandFailure, Exit};
use super::super::{Context, ui};
use super::Which;
use crate::files::named;
use crate::policy::{Cases, Problem, Tried};

/// The largest file of cases, in bytes.
const LARGEST: u64 = 16 << 20;

/// Tries a policy on an author's cases, and shows what differs from the expected results; exits
/// with 1 if anything does.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    which: Which,
    /// The cases, in TOML, or in JSON if the name ends in `.json`
    cases: PathBuf,
}

pub(super) fn run(context: &Context, args: &Args) -> Result<Exit, CommandFailure> {
    let shown = args.cases.display();
    let text = named::text(&args.cases, LARGEST).map_err(|error| {
        CommandFailure::usage(format!("cannot read the cases `{shown}`: {error}"))
    })?;
    let cases = Cases::parse(&args.cases, &text)
        .map_err(|what| CommandFailure::usage(format!("the cases `{shown}` are wrong: {what}")))?;
    let policy = args.which.load(context)?;
    let tried = cases.try_out(&policy);
    let failed = tried.iter().filter(|case| !case.ok).count();
    let passed = tried.len() - failed;
    let ui = context.ui;
    if ui.json {
        ui.json(&json!({"passed": passed, "failed": failed, "cases": tried}))?;
    } else {
        for case in &tried {
            print(context, case)?;
        }
        ui.line(&format!("{passed} passed, {failed} failed"))?;
    }
    Ok(if failed == 0 {
        Exit::Done
    } else {
        Exit::Failed
    })
}

fn print(context: &Context, case: &Tried) -> Result<(), CommandFailure> {
    let mark = if case.ok {
        ui::paint(AnsiColor::Green.on_default(), "✔")
    } else {
        ui::paint(AnsiColor::Red.on_default(), "✘")
    };
    context
        .ui
        .line(&format!("{mark} {}", ui::clean(&case.name)))?;
    for problem in &case.problems {
        print_problem(context, problem)?;
    }
    Ok(())
}

fn print_problem(context: &Context, problem: &Problem) -> Result<(), CommandFailure> {
    let ui = context.ui;
    if let Some(task) = problem.task {
        let title = format!("task {task}");
        let summary = problem.summary.as_deref().unwrap_or_default();
        // If a case does not set a summary, this is its title.
        let summary = if summary == title {
            String::new()
        } else {
            format!(": {}", ui::clean(summary))
        };
        ui.line(&format!("    {title}{summary}"))?;
    }
    let expected = ui::paint(AnsiColor::Green.on_default(), "expected");
    let got = ui::paint(AnsiColor::Red.on_default(), "got     ");
    ui.line(&format!(
        "      {expected}  {}",
        ui::clean(&problem.expected)
    ))?;
    ui.line(&format!("      {got}  {}", ui::clean(&problem.got)))?;
    for (number, other) in problem.ranked.iter().enumerate() {
        let title = if number == 0 { "before" } else { "" };
        ui.line(&format!("      {title:<8}  {}", ui::clean(other)))?;
    }
    Ok(())
}
