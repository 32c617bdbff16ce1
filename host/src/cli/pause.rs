//! `assigner pause` and `assigner resume`: sessions that take no new tasks for a while.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::exit::{CommandFailure, Exit};
use super::{Context, ui};
use crate::model::naming::{SessionRef, Whereabouts, whereabouts};
use crate::node::said;
use crate::store::{Pause, PauseRow, SessionRow, present};

/// Keeps sessions from taking new tasks; running tasks continue.
///
/// A pause belongs to the session's pane: it stays when the session is renamed, and ends with the
/// pane. The name of a tmux session with several panes pauses all of them, including those that are
/// added later.
#[derive(Debug, clap::Args)]
pub(super) struct PauseArgs {
    #[command(flatten)]
    what: PausedSessions,
}

/// Lets paused sessions take tasks again.
#[derive(Debug, clap::Args)]
pub(super) struct ResumeArgs {
    #[command(flatten)]
    what: PausedSessions,
}

#[derive(Debug, clap::Args)]
#[group(required = true, multiple = true)]
struct PausedSessions {
    /// The sessions' names
    #[arg(value_parser = ui::session_name)]
    sessions: Vec<String>,
    /// All sessions of this kind: `shell`, or an agent's name; may be repeated
    #[arg(long = "provider", value_name = "NAME")]
    providers: Vec<String>,
    /// All sessions; `resume --all` ends `pause --all`, not the pauses of single sessions
    #[arg(long)]
    all: bool,
}

pub(super) fn pause(context: &Context, args: PauseArgs) -> Result<Exit, CommandFailure> {
    set(context, args.what, true)
}

pub(super) fn resume(context: &Context, args: ResumeArgs) -> Result<Exit, CommandFailure> {
    set(context, args.what, false)
}

/// What is paused, for scripts: sessions under their present names.
pub(super) fn paused_json(pauses: &[PauseRow], rows: &[SessionRow]) -> Value {
    let names = |wanted: &dyn Fn(&Pause) -> Option<String>| -> Vec<String> {
        let pauses = pauses.iter().map(|pause| &pause.what);
        pauses.filter_map(wanted).collect()
    };
    let limits = pauses.iter().filter_map(|pause| {
        let until = pause.until?;
        Some(json!({"what": pause.what.to_string(), "until": until, "reason": pause.reason}))
    });
    let limits: Vec<Value> = limits.collect();
    json!({
        "sessions": names(&|pause| match pause {
            Pause::Session(said) => Some(present_name(said, rows)),
            Pause::Provider(_) | Pause::All => None,
        }),
        "providers": names(&|pause| match pause {
            Pause::Provider(name) => Some(name.clone()),
            Pause::Session(_) | Pause::All => None,
        }),
        "all": pauses.iter().any(|pause| pause.what == Pause::All),
        "limits": limits,
    })
}

/// What is paused, for people: a session under its present name, and also under the name that was
/// used if that differs.
pub(super) fn in_words(pause: &PauseRow, rows: &[SessionRow]) -> String {
    let Pause::Session(said) = &pause.what else {
        return pause.to_string();
    };
    let name = said.name.as_str();
    match whereabouts(present(rows), said) {
        Whereabouts::Here(now) if now != name => format!("session {now} (given as {name})"),
        Whereabouts::Here(_) | Whereabouts::Awaited => pause.to_string(),
        Whereabouts::Gone => format!("session {}, which is gone,", said.in_full()),
    }
}

/// The session's present name; the name that was used, if the session does not exist.
pub(super) fn present_name(said: &SessionRef, rows: &[SessionRow]) -> String {
    match whereabouts(present(rows), said) {
        Whereabouts::Here(name) => name,
        Whereabouts::Awaited | Whereabouts::Gone => said.name.clone(),
    }
}

fn set(context: &Context, what: PausedSessions, paused: bool) -> Result<Exit, CommandFailure> {
    let mut store = context.store()?;
    let rows = store.sessions()?;
    let sessions = what.sessions.into_iter();
    let sessions = sessions.map(|name| said(&rows, name));
    let sessions: Vec<SessionRef> = sessions
        .collect::<Result<_, _>>()
        .map_err(CommandFailure::usage)?;
    if paused {
        for said in sessions.iter().filter(|said| said.meaning.is_none()) {
            ui::warn(&format!(
                "warning: no session `{said}` has been seen yet; it will be paused when there is one"
            ));
        }
    }
    let sessions = sessions.into_iter().map(Pause::Session);
    let providers = what.providers.into_iter().map(Pause::Provider);
    let all = what.all.then_some(Pause::All);
    let what: Vec<Pause> = sessions.chain(providers).chain(all).collect();
    let mut before = store.pauses()?;
    retain_lasting(&mut before);
    store.pause(&what, paused, Timestamp::now())?;
    context.spool()?.nudge();
    let mut now = store.pauses()?;
    retain_lasting(&mut now);
    if context.ui.json {
        context
            .ui
            .json(&json!({"paused": paused_json(&now, &rows)}))?;
        return Ok(Exit::Done);
    }
    let lifted = before
        .iter()
        .filter(|pause| now.iter().all(|now| now.what != pause.what));
    let lifted: Vec<&PauseRow> = lifted.filter(|_| !paused).collect();
    for pause in &lifted {
        let what = PauseRow {
            until: None,
            reason: None,
            ..PauseRow::clone(pause)
        };
        let what = in_words(&what, &rows);
        context.ui.line(&format!("{} resumed", ui::clean(&what)))?;
    }
    if now.is_empty() && lifted.is_empty() {
        context.ui.line("nothing is paused")?;
    }
    for pause in now {
        context
            .ui
            .line(&format!("{} paused", ui::clean(&in_words(&pause, &rows))))?;
    }
    Ok(Exit::Done)
}

/// Leaves out pauses that have expired: without a daemon, their rows are still there.
pub(super) fn retain_lasting(pauses: &mut Vec<PauseRow>) {
    let now = Timestamp::now();
    pauses.retain(|pause| pause.until.is_none_or(|until| until > now));
}
