//! `assigner policy new`: a project to start from.

use std::path::PathBuf;

use serde_json::json;
use shell_quote::Sh;

use super::super::exit::{CommandFailure, Exit};
use super::super::{Context, ui};
use crate::toolchain::{Language, create};

/// Writes a policy project that builds, with cases that pass, as a start for your own.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The policy's name
    name: String,
    /// The policy's language
    #[arg(long, value_name = "LANGUAGE", value_enum)]
    lang: Language,
    /// Where to create its directory
    #[arg(long, value_name = "DIR", default_value = ".")]
    dir: PathBuf,
}

pub(super) fn run(context: &Context, args: &Args) -> Result<Exit, CommandFailure> {
    let directory = args.dir.join(&args.name);
    let files = create(&args.name, args.lang, &directory)?;
    let ui = context.ui;
    if ui.json {
        ui.json(&json!({
            "name": args.name,
            "language": args.lang,
            "directory": ui::path(&directory),
            "files": files,
        }))?;
        return Ok(Exit::Done);
    }
    let shown = directory.to_string_lossy();
    ui.line(&format!(
        "{} holds a policy that builds:",
        ui::clean(&shown)
    ))?;
    let quoted = |path: &str| {
        let quoted = Sh::quote_vec(path);
        ui::clean(&String::from_utf8_lossy(&quoted))
    };
    let directory = quoted(&shown);
    let component = quoted(&format!("{shown}/{}.wasm", args.name));
    let cases = quoted(&format!("{shown}/cases.toml"));
    ui.line(&format!("  assigner policy build {directory}"))?;
    ui.line(&format!("  assigner policy test {component} {cases}"))?;
    ui.line(&format!("  assigner policy use {component}"))?;
    Ok(Exit::Done)
}
