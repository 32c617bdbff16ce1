//! `assigner popup`: the line for tmux's configuration that shows `top` over whatever is there.

use shell_quote::Sh;

use super::exit::{CommandFailure, Exit};
use super::{Context, Global, ui};

/// Shows `top` in a popup of tmux.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    command: PopupCommand,
}

#[derive(Debug, clap::Subcommand)]
enum PopupCommand {
    /// Prints the line for tmux.conf that opens it with a key
    Bind {
        /// The key, after tmux's prefix
        #[arg(default_value = "A", value_name = "KEY", value_parser = key)]
        key: String,
    },
}

pub(super) fn run(context: &Context, args: &Args, global: &Global) -> Result<Exit, CommandFailure> {
    let PopupCommand::Bind { key } = &args.command;
    let program = std::env::current_exe()?;
    let mut words = vec![program.into_os_string()];
    words.extend(global.options(context, false)?);
    words.push("top".into());
    let quoted = words.iter().map(|word| {
        let word = Sh::quote_vec(word);
        ui::clean(&String::from_utf8_lossy(&word))
    });
    let command = quoted.collect::<Vec<_>>().join(" ");
    let line = format!(
        "bind-key {key} display-popup -E -w 90% -h 90% {}",
        in_tmux(&command)
    );
    match context.ui.json {
        true => context.ui.json(&serde_json::json!({"line": line}))?,
        false => context.ui.line(&line)?,
    }
    Ok(Exit::Done)
}

/// Quotes a text for tmux's configuration.
fn in_tmux(text: &str) -> String {
    let mut quoted = String::from("\"");
    for char in text.chars() {
        // What runs in a popup is no format, so a `#` is itself (tmux 3.3a).
        if matches!(char, '"' | '\\' | '$') {
            quoted.push('\\');
        }
        quoted.push(char);
    }
    quoted.push('"');
    quoted
}

/// Reads the name of a key, as tmux has them.
fn key(text: &str) -> Result<String, &'static str> {
    let is_name = |char: char| char.is_ascii_alphanumeric() || char == '-';
    match !text.is_empty() && text.len() <= 20 && text.chars().all(is_name) {
        true => Ok(text.to_owned()),
        false => Err("it is named as tmux does: `A`, `C-g`, `M-a`, `F5`"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_tmux_would_obey_is_quoted() {
        assert_eq!(in_tmux("a b"), "\"a b\"");
        assert_eq!(in_tmux("'$x' \"#{y}\\"), "\"'\\$x' \\\"#{y}\\\\\"");
    }

    #[test]
    fn a_key_is_a_name_of_one() {
        for good in ["A", "C-g", "F5", "M-a"] {
            assert_eq!(key(good).as_deref(), Ok(good));
        }
        for bad in ["", ";", "a b", "\"", "$(x)"] {
            assert!(key(bad).is_err(), "{bad}");
        }
    }
}
