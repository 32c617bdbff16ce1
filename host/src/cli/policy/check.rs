//! `assigner policy check`: what is wrong with a policy, before it goes live.

use anstyle::AnsiColor;
use serde_json::json;

use super::super::exit::{CommandFailure, Exit};
use super::super::{Context, ui};
use super::Which;
use crate::policy::{Severity, audit};

/// Examines what a policy asks for and how it behaves on generated rounds, and explains what it
/// finds; exits with 1 if something is wrong.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    which: Which,
}

pub(super) fn run(context: &Context, args: &Args) -> Result<Exit, CommandFailure> {
    let policy = args.which.load(context)?;
    let progress = ui::progress("asking it about rounds");
    let audit = audit(&policy, |round, rounds| {
        progress.set_length(rounds as u64);
        progress.set_position(round as u64);
    });
    progress.finish_and_clear();
    let exit = if audit.is_ok() {
        Exit::Done
    } else {
        Exit::Failed
    };
    let ui = context.ui;
    if ui.json {
        ui.json(&json!({
            "file": args.which.file,
            "ok": audit.is_ok(),
            "rounds": audit.rounds,
            "findings": audit.findings,
        }))?;
        return Ok(exit);
    }
    for finding in &audit.findings {
        let (color, word) = match finding.severity {
            Severity::Error => (AnsiColor::Red, "error"),
            Severity::Warning => (AnsiColor::Yellow, "warning"),
            Severity::Note => (AnsiColor::Cyan, "note"),
        };
        let word = ui::paint(color.on_default().bold(), word);
        let (message, code) = (ui::clean(&finding.message), finding.code);
        ui.line(&format!("{word}: {message} [{code}]"))?;
        ui.line(&format!("  {}", finding.help))?;
    }
    let id = policy.id();
    let errors = audit
        .findings
        .iter()
        .filter(|finding| finding.severity == Severity::Error)
        .count();
    let verdict = match errors {
        0 => "nothing is wrong with it".to_owned(),
        1 => "1 error".to_owned(),
        many => format!("{many} errors"),
    };
    ui.line(&format!(
        "{} {}: {verdict}, in {} rounds",
        id.name, id.version, audit.rounds
    ))?;
    Ok(exit)
}
