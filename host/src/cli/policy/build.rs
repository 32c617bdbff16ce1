//! `assigner policy build`: from a project to a component.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Instant;

use serde_json::json;

use super::super::exit::{CommandFailure, Exit};
use super::super::{Context, ui};
use super::{size, time};
use crate::policy::componentize;
use crate::toolchain::{Project, build};

/// Builds a policy project with the toolchain of its language, and tests the result.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The project: a directory with a `policy.toml`
    #[arg(default_value = ".")]
    dir: PathBuf,
    /// Where to write the component [default: DIR/NAME.wasm]
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

pub(super) fn run(context: &Context, args: &Args) -> Result<Exit, CommandFailure> {
    let project = Project::open(&args.dir)?;
    let default = || args.dir.join(format!("{}.wasm", project.name));
    let output = args.output.clone().unwrap_or_else(default);
    let start = Instant::now();
    let built = componentize("what was built", &build(&project)?)?;
    let took = start.elapsed();
    // Tried before it replaces one that works, and with its default settings: those in the
    // configuration are for where it is used.
    let policy = context
        .loader()
        .bytes("what was built", &built, &json!({}))?;
    write(&output, &built)?;
    let ui = context.ui;
    if ui.json {
        ui.json(&json!({
            "name": project.name,
            "language": project.language,
            "file": ui::path(&output),
            "size": built.len(),
            "sha256": policy.id().sha256,
            "seconds": (took.as_secs_f64() * 1e3).round() / 1e3,
        }))?;
        return Ok(Exit::Done);
    }
    ui.line(&format!(
        "{}: {} {}, {}, built in {}",
        ui::clean(&output.to_string_lossy()),
        policy.id().name,
        policy.id().version,
        size(built.len()),
        time(took),
    ))?;
    Ok(Exit::Done)
}

/// Writes the file in one step, because a daemon that uses it reloads it at once.
fn write(path: &Path, bytes: &[u8]) -> Result<(), CommandFailure> {
    let parent = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty());
    let directory = parent.unwrap_or(Path::new("."));
    let written = tempfile::Builder::new()
        .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o644))
        .tempfile_in(directory)
        .and_then(|mut file| {
            file.write_all(bytes)?;
            file.persist(path).map_err(|error| error.error)?;
            Ok(())
        });
    written.map_err(|error| {
        let shown = path.display();
        CommandFailure::new(Exit::Failed, format!("cannot write `{shown}`: {error}"))
    })
}
