//! `assigner config`: writes the configuration, checks it, and says where each value comes from.

mod edit;

use std::env;
use std::fs::{self, DirBuilder, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::exit::{CommandFailure, Exit};
use super::ui::{self, Ui};
use super::{Global, ui::clean};
use crate::config::settings::{self, FileSetting};
use crate::config::{Config, ConfigError, DEFAULT_POLICY};
use crate::files::private;

/// Shows the configuration, checks it, or writes one to begin with.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Option<ConfigCommand>,
}

#[derive(Debug, clap::Subcommand)]
enum ConfigCommand {
    /// Prints every setting and where its value comes from
    Show,
    /// Checks the configuration, without using it
    Check {
        /// The file [default: the one that is used]
        file: Option<PathBuf>,
    },
    /// Writes a configuration that explains every setting and changes none
    Init,
    /// Changes it with your editor (VISUAL, EDITOR, or vi), and checks it before it counts
    Edit,
    /// Prints the path of the configuration
    Path,
}

/// Runs without the configuration itself, which may be wrong.
pub(super) fn run(args: &Args, global: &Global) -> Result<Exit, CommandFailure> {
    let ui = Ui::new(global.json, global.color);
    let file = match &global.config {
        Some(file) => Ok(file.clone()),
        None => Config::usual_file(),
    };
    match args.command.as_ref().unwrap_or(&ConfigCommand::Show) {
        ConfigCommand::Show => show(ui, global, file),
        ConfigCommand::Check { file: named } => {
            let file = named
                .clone()
                .map_or(file, Ok)
                .map_err(CommandFailure::usage)?;
            check(ui, &file, named.is_some() || global.config.is_some())
        }
        ConfigCommand::Edit => {
            let file = file.map_err(CommandFailure::usage)?;
            edit::run(
                ui,
                &file,
                global.configuration_if_wrong(|_| ()).ok().as_ref(),
            )
        }
        ConfigCommand::Init => init(ui, &file.map_err(CommandFailure::usage)?),
        ConfigCommand::Path => {
            let file = file.map_err(CommandFailure::usage)?;
            if ui.json {
                ui.json(&json!({"file": file, "exists": file.exists()}))?;
            } else {
                ui.line(&clean(&file.display().to_string()))?;
            }
            Ok(Exit::Done)
        }
    }
}

fn init(ui: Ui, file: &Path) -> Result<Exit, CommandFailure> {
    let failed = |error: &dyn std::fmt::Display| {
        CommandFailure::new(
            Exit::Failed,
            format!("cannot write `{}`: {error}", file.display()),
        )
    };
    if let Some(directory) = file.parent().filter(|path| !path.as_os_str().is_empty()) {
        // One that is there is the person's business, also if others can write to it, such as `/tmp`.
        let made = DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory);
        made.map_err(|error| failed(&error))?;
    }
    let mut options = OpenOptions::new();
    let opened = private::open(options.write(true).create_new(true), file);
    let mut opened = match opened {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
            return Err(CommandFailure::new(
                Exit::Failed,
                format!(
                    "`{}` is there already: `assigner config show` says what it sets",
                    file.display()
                ),
            ));
        }
        opened => opened.map_err(|error| failed(&error))?,
    };
    let written = opened.write_all(settings::template().as_bytes());
    if let Err(error) = written.and_then(|()| opened.sync_all()) {
        // Half of it may be no configuration, and would be in the way of the next try.
        let _ = fs::remove_file(file);
        return Err(failed(&error));
    }
    if ui.json {
        ui.json(&json!({"file": file}))?;
    } else {
        ui.line(&format!(
            "wrote {}: every setting is explained in it, and none is changed",
            clean(&file.display().to_string())
        ))?;
    }
    Ok(Exit::Done)
}

/// Checks a file; if it was `named`, it must exist.
fn check(ui: Ui, file: &Path, named: bool) -> Result<Exit, CommandFailure> {
    let shown = clean(&file.display().to_string());
    if !named && !file.exists() {
        if ui.json {
            ui.json(&json!({"file": file, "exists": false, "settings": 0}))?;
        } else {
            ui.line(&format!(
                "there is no {shown}, so every setting has its default: `assigner config init` writes one"
            ))?;
        }
        return Ok(Exit::Done);
    }
    let (_, text) = Config::read(file).map_err(CommandFailure::usage)?;
    let set = settings::settings(&text).len();
    if ui.json {
        ui.json(&json!({"file": file, "exists": true, "settings": set}))?;
    } else {
        let settings = match set {
            0 => "it sets nothing".to_owned(),
            1 => "it sets 1 value".to_owned(),
            many => format!("it sets {many} values"),
        };
        ui.line(&format!("{shown} is valid: {settings}"))?;
    }
    Ok(Exit::Done)
}

/// The settings that options and the environment override.
const DATA: &str = "data-dir";
const SOCKET: &str = "tmux-socket";

/// A value and where it comes from.
struct Sourced {
    name: String,
    value: String,
    from: String,
    line: Option<usize>,
}

fn show(
    ui: Ui,
    global: &Global,
    file: Result<PathBuf, ConfigError>,
) -> Result<Exit, CommandFailure> {
    let config = global.configuration().map_err(CommandFailure::usage)?;
    let file = file.ok().filter(|file| file.exists());
    let set = match &file {
        Some(file) => settings::settings(&Config::read(file).map_err(CommandFailure::usage)?.1),
        None => Vec::new(),
    };
    let mut values = vec![
        place(
            DATA,
            format!("{:?}", config.data_dir.display().to_string()),
            global
                .data_dir
                .as_ref()
                .map(|path| path.as_os_str().to_owned()),
            "ASSIGNER_DATA_DIR",
            &set,
        ),
        place(
            SOCKET,
            format!("{:?}", config.socket.option()),
            global.tmux_socket.as_ref().map(Into::into),
            "ASSIGNER_TMUX_SOCKET",
            &set,
        ),
    ];
    for default in settings::defaults() {
        let is_set = set.iter().any(|setting| setting.name == default.name);
        // Those of the default policy mean nothing to another one.
        let is_other =
            default.name.starts_with("policy.settings.") && config.policy_name() != DEFAULT_POLICY;
        if !is_set && !is_other {
            values.push(Sourced {
                name: default.name,
                value: default.value,
                from: "default".to_owned(),
                line: None,
            });
        }
    }
    let further = set
        .iter()
        .filter(|setting| ![DATA, SOCKET].contains(&setting.name.as_str()));
    values.extend(further.map(|setting| Sourced {
        name: setting.name.clone(),
        value: setting.value.clone(),
        from: "file".to_owned(),
        line: Some(setting.line),
    }));
    // By section, as in the example: what has none comes first.
    values.sort_by(|a, b| {
        let key = |name: &str| (name.contains('.'), name.to_owned());
        key(&a.name).cmp(&key(&b.name))
    });
    if ui.json {
        let settings: serde_json::Map<String, Value> = values
            .iter()
            .map(|value| {
                let about = json!({"value": value.value, "from": value.from, "line": value.line});
                (value.name.clone(), about)
            })
            .collect();
        ui.json(&json!({"file": file, "settings": settings}))?;
        return Ok(Exit::Done);
    }
    let rows = values.iter().map(|value| {
        let from = match value.line {
            Some(line) => format!("line {line}"),
            None => value.from.clone(),
        };
        vec![clean(&value.name), clean(&value.value), from]
    });
    ui.table(&["SETTING", "VALUE", "FROM"], rows.collect())?;
    let is_set = values.iter().any(|value| value.line.is_some());
    match &file {
        Some(file) => {
            let file = clean(&file.display().to_string());
            ui.line(&match is_set {
                true => format!("lines are those of {file}"),
                false => format!("{file} sets nothing"),
            })?;
        }
        None => ui::warn("there is no configuration: `assigner config init` writes one"),
    }
    Ok(Exit::Done)
}

/// Returns a value that an option or the environment may give.
fn place(
    name: &str,
    value: String,
    given: Option<std::ffi::OsString>,
    variable: &str,
    set: &[FileSetting],
) -> Sourced {
    let setting = set.iter().find(|setting| setting.name == name);
    let (from, line) = match (given, setting) {
        (Some(given), _) if env::var_os(variable).is_some_and(|told| told == given) => {
            (variable.to_owned(), None)
        }
        (Some(_), _) => (format!("--{name}"), None),
        (None, Some(setting)) => ("file".to_owned(), Some(setting.line)),
        // Inside tmux, its own server.
        (None, None) if name == SOCKET && value != "\"\"" => ("TMUX".to_owned(), None),
        (None, None) => ("default".to_owned(), None),
    };
    Sourced {
        name: name.to_owned(),
        value,
        from,
        line,
    }
}
