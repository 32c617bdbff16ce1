//! `assigner attach`: takes a person to the pane of a task.

use std::ffi::OsString;
use std::io::{self, IsTerminal};
use std::os::unix::process::CommandExt;
use std::process::Command;

use serde_json::json;
use shell_quote::Sh;

use super::exit::{CommandFailure, Exit};
use super::{Context, doctor, ui};
use crate::agents::report::own_pane;
use crate::model::ids::{Identity, PaneId, TaskId};
use crate::model::task::Task;
use crate::store::Store;
use crate::tmux::{Socket, Tmux};

/// Goes to the pane in which a task runs or last ran: in tmux by switching there, elsewhere by
/// attaching to it.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The task's number
    id: TaskId,
    /// Prints the command that goes there instead of running it
    #[arg(long)]
    print: bool,
}

/// Where the person is when they go to a pane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum AttachPlace {
    /// In a pane of the same server.
    Inside,
    /// In a pane of another server.
    Elsewhere,
    /// In no pane.
    Outside,
}

pub(super) fn run(context: &Context, args: &Args) -> Result<Exit, CommandFailure> {
    let mut store = context.store()?;
    let task = store.task(args.id)?;
    let (session, identity) = seat(&mut store, &task)?;
    let panes = doctor::runtime()?.block_on(async { doctor::server(context).panes().await });
    let panes = panes.map_err(|error| doctor::tmux_failure(context, &error))?;
    if panes.iter().all(|pane| pane.identity != identity) {
        return Err(CommandFailure::new(
            Exit::Failed,
            format!("the pane of task {} is gone (session {session})", task.id),
        ));
    }
    let place = place(&identity);
    let words = words(&context.config.socket, &identity.pane, place);
    let ui = context.ui;
    if ui.json {
        let shown = words.iter().map(|word| word.to_string_lossy());
        ui.json(&json!({
            "id": task.id,
            "session": session,
            "pane": identity.pane,
            "command": shown.collect::<Vec<_>>(),
        }))?;
        return Ok(Exit::Done);
    }
    if args.print {
        // Otherwise, tmux would refuse to attach from within another server.
        let nests = (place == AttachPlace::Elsewhere).then_some("env -u TMUX ");
        let quoted = words.iter().map(|word| {
            let word = Sh::quote_vec(word);
            ui::clean(&String::from_utf8_lossy(&word))
        });
        let line = quoted.collect::<Vec<_>>().join(" ");
        ui.line(&format!("{}{line}", nests.unwrap_or_default()))?;
        return Ok(Exit::Done);
    }
    let on_terminal = io::stdin().is_terminal() && io::stdout().is_terminal();
    if place != AttachPlace::Inside && !on_terminal {
        return Err(CommandFailure::usage(
            "there is no terminal to attach: `--print` prints the command that does it",
        ));
    }
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]);
    if place == AttachPlace::Elsewhere {
        command.env_remove("TMUX").env_remove("TMUX_PANE");
    }
    // `exec` returns only if it fails.
    let error = command.exec();
    Err(CommandFailure::new(
        Exit::Tmux,
        format!("cannot run `tmux`: {error}"),
    ))
}

/// Returns the session of a task: where it runs, or where it ran last.
fn seat(store: &mut Store, task: &Task) -> Result<(String, Identity), CommandFailure> {
    let running = store
        .open_attempts()?
        .into_iter()
        .find(|attempt| attempt.task.id == task.id);
    if let Some(attempt) = running {
        return Ok((attempt.session, attempt.identity));
    }
    let last = store.attempts(task.id)?.pop();
    let name = last.map(|attempt| attempt.session).or(task.session.clone());
    let name = name.ok_or_else(|| {
        CommandFailure::new(
            Exit::Failed,
            format!("task {} has no session yet: it is {}", task.id, task.status),
        )
    })?;
    let row = store.session(&name)?;
    Ok((name, row.identity))
}

fn place(identity: &Identity) -> AttachPlace {
    let variable = |name| std::env::var(name).unwrap_or_default();
    let tmux = variable("TMUX");
    let own = own_pane(&tmux, &variable("TMUX_PANE"));
    if own.is_some_and(|(server, _)| server == identity.server_pid) {
        AttachPlace::Inside
    } else if tmux.is_empty() {
        AttachPlace::Outside
    } else {
        AttachPlace::Elsewhere
    }
}

/// Returns the command line that goes to a pane, by its id alone: a name may mean another one.
fn words(socket: &Socket, pane: &PaneId, place: AttachPlace) -> Vec<OsString> {
    let mut words: Vec<OsString> = vec!["tmux".into()];
    match socket {
        Socket::Default => {}
        Socket::Name(name) => words.extend(["-L".into(), name.into()]),
        Socket::Path(path) => words.extend(["-S".into(), path.into()]),
    }
    let go = if place == AttachPlace::Inside {
        "switch-client"
    } else {
        "attach-session"
    };
    for (command, end) in [("select-window", ";"), ("select-pane", ";"), (go, "")] {
        words.extend([command, "-t", pane.as_str(), end].map(OsString::from));
    }
    words.pop();
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(socket: &str, place: AttachPlace) -> String {
        let socket = socket.parse().expect("a socket");
        let pane = PaneId::parse("%3").expect("a pane");
        let words = words(&socket, &pane, place);
        let words = words.iter().map(|word| word.to_string_lossy());
        words.collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn a_pane_is_named_by_its_id() {
        assert_eq!(
            line("", AttachPlace::Outside),
            "tmux select-window -t %3 ; select-pane -t %3 ; attach-session -t %3"
        );
        assert_eq!(
            line("work", AttachPlace::Inside),
            "tmux -L work select-window -t %3 ; select-pane -t %3 ; switch-client -t %3"
        );
        let elsewhere = line("/tmp/s", AttachPlace::Elsewhere);
        assert!(elsewhere.starts_with("tmux -S /tmp/s "), "{elsewhere}");
        assert!(elsewhere.ends_with("attach-session -t %3"), "{elsewhere}");
    }
}
