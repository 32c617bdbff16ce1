//! `assigner doctor`: what a session is taken for, and why; with or without a daemon.

mod installation;

use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use super::exit::{CommandFailure, Exit};
use super::{Context, agents, send, ui};
use crate::agents::report::Reports;
use crate::daemon::Lock;
use crate::model::eligibility::SHELL;
use crate::model::ids::TaskId;
use crate::model::session::Activity;
use crate::model::verdict::Obstacle;
use crate::node::inspect::{Inspection, inspect};
use crate::tmux::{self, Program, Server};
use installation::Weight;
pub(super) use installation::newer_daemon;

/// Checks the installation; or, for a session, shows every signal of its state with its age, and the
/// verdict.
///
/// Nothing is changed or typed into any pane, and no daemon is needed. Exits with 1 if something does not
/// work.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The session, as `assigner sessions` names it, or a pane such as `%3`; without it, everything that
    /// assigner needs is checked, and all sessions are listed
    session: Option<String>,
    /// Lists the sessions only, and checks nothing else
    #[arg(long, conflicts_with = "session")]
    sessions: bool,
}

pub(super) fn run(context: &Context, args: &Args) -> Result<Exit, CommandFailure> {
    send::warn_of_headless(context);
    let now = Timestamp::now();
    let ui = context.ui;
    if let Some(name) = &args.session {
        let found = look(context)?;
        let found = select(&found, name)?;
        let kept = kept(context, found);
        let next = advice(found, kept.as_ref());
        let held = kept.and_then(|kept| kept.says(found.verdict.activity));
        if ui.json {
            let mut json = inspection_json(found, next.as_deref(), now);
            json["daemon"] = json!(held);
            ui.json(&json)?;
        } else {
            print(context, found, held.as_deref(), next, now)?;
        }
        return Ok(Exit::Done);
    }
    if args.sessions {
        let sessions = look(context)?;
        match ui.json {
            true => ui.json(&list_json(&sessions, now))?,
            false if sessions.is_empty() => {
                ui.line("no sessions: start one with `tmux new-session`")?;
            }
            false => list(context, &sessions)?,
        }
        return Ok(Exit::Done);
    }
    let spinner = ui::progress("looking");
    let findings = installation::examine(context);
    spinner.finish_and_clear();
    let findings = findings?;
    let works = findings
        .iter()
        .all(|finding| finding.weight != Weight::Problem);
    let exit = match works {
        true => Exit::Done,
        false => Exit::Failed,
    };
    // Without a server there is nothing to list, and that is a finding.
    let sessions = look(context).unwrap_or_default();
    if ui.json {
        let sessions = list_json(&sessions, now);
        ui.json(&json!({"works": works, "findings": findings, "sessions": sessions}))?;
        return Ok(exit);
    }
    installation::print(context, &findings)?;
    if !sessions.is_empty() {
        ui.line("")?;
        list(context, &sessions)?;
    }
    Ok(exit)
}

fn list_json(sessions: &[Inspection], now: Timestamp) -> Vec<Value> {
    let all = sessions.iter().map(|found| {
        let next = advice(found, None);
        inspection_json(found, next.as_deref(), now)
    });
    all.collect()
}

fn list(context: &Context, sessions: &[Inspection]) -> std::io::Result<()> {
    let rows = sessions
        .iter()
        .map(|found| {
            vec![
                ui::clean(&found.name),
                found.pane.identity.pane.to_string(),
                ui::clean(found.provider.as_deref().unwrap_or("-")),
                ui::activity(found.verdict.activity),
                ui::cut(&ui::clean(&found.verdict.reason), 100),
            ]
        })
        .collect();
    context
        .ui
        .table(&["SESSION", "PANE", "PROVIDER", "STATUS", "WHY"], rows)
}

/// Returns the runtime for requests to tmux.
pub(super) fn runtime() -> Result<Runtime, CommandFailure> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| CommandFailure::new(Exit::Failed, format!("cannot begin: {error}")))
}

/// Returns the driver for the configured tmux server; it must be used inside a runtime.
pub(super) fn server(context: &Context) -> Server {
    Server::new(Program::new("tmux", context.config.socket.clone()))
}

/// Explains why tmux could not be asked.
pub(super) fn tmux_failure(context: &Context, error: &tmux::Error) -> CommandFailure {
    let socket = &context.config.socket;
    CommandFailure::new(
        Exit::Tmux,
        match error {
            tmux::Error::NoServer => format!(
                "no tmux server is running on {socket}: start a session with `tmux new-session`"
            ),
            error => format!("failed to {error}"),
        },
    )
}

pub(super) fn look(context: &Context) -> Result<Vec<Inspection>, CommandFailure> {
    let catalog = agents::load(context);
    let reports = Reports::of(&context.config.data_dir);
    let attended_for = context.config.file.engine.attended_for;
    let found = runtime()?.block_on(async {
        let mut tmux = server(context);
        inspect(&mut tmux, &catalog, &reports, attended_for).await
    });
    found.map_err(|error| tmux_failure(context, &error))
}

/// The pane's place, as tmux writes it.
fn place(found: &Inspection) -> String {
    let pane = &found.pane;
    format!("{}:{}.{}", pane.session, pane.window_index, pane.pane_index)
}

fn select<'a>(found: &'a [Inspection], name: &str) -> Result<&'a Inspection, CommandFailure> {
    let is_called = |found: &&Inspection| {
        let mut names = std::iter::once(&found.name).chain(&found.aliases);
        names.any(|known| known == name)
            || place(found) == name
            || found.pane.identity.pane.as_str() == name
    };
    if let Some(found) = found.iter().find(is_called) {
        return Ok(found);
    }
    let panes = found.iter().filter(|found| found.pane.session == name);
    let panes: Vec<&str> = panes.map(|found| found.name.as_str()).collect();
    if panes.is_empty() {
        return Err(CommandFailure::new(
            Exit::Failed,
            format!(
                "there is no session `{name}`, or its program has ended: `assigner doctor` lists \
                 all sessions"
            ),
        ));
    }
    let shown = panes[..panes.len().min(10)].join(", ");
    Err(CommandFailure::usage(format!(
        "`{name}` has {} panes: name one of {shown}",
        panes.len()
    )))
}

/// What the daemon last recorded about a session. What the database does not know is left out.
struct RecordedSession {
    task: Option<TaskId>,
    activity: Activity,
    reason: Option<String>,
    /// True if the daemon that recorded it is still running.
    is_live: bool,
}

impl RecordedSession {
    /// True if the daemon gives the session no tasks because of what is in its line.
    fn holds(&self) -> bool {
        self.is_live && matches!(self.activity, Activity::Attended | Activity::Unknown)
    }

    /// What the daemon takes the session for, if a single look cannot tell: the daemon knows which
    /// prompts a shell has drawn before, and that a shell was asked and has refused.
    fn says(self, seen: Activity) -> Option<String> {
        if !self.is_live || (self.activity == seen && !self.holds()) {
            return None;
        }
        Some(match self.reason {
            Some(reason) => format!("{}: {reason}", self.activity),
            None => self.activity.to_string(),
        })
    }
}

fn kept(context: &Context, found: &Inspection) -> Option<RecordedSession> {
    if !context.config.data_dir.exists() {
        return None;
    }
    let row = context.store().ok()?.session(&found.name).ok()?;
    (row.identity == found.pane.identity).then(|| RecordedSession {
        task: row.current_task,
        activity: row.activity,
        reason: row.reason,
        is_live: Lock::holder(&context.config.data_dir).is_some(),
    })
}

/// What a person can do so that the session takes tasks; `None` if it does already. `kept` is what
/// is known about it.
fn advice(found: &Inspection, kept: Option<&RecordedSession>) -> Option<String> {
    let id = &found.pane.identity.pane;
    let line = found.held_line().map(|line| line.freed_by.to_owned());
    let is_known = kept.is_some_and(|kept| kept.is_live && kept.activity == Activity::Idle);
    let next = match &found.verdict.obstacle {
        // The daemon recognises its prompt.
        Some(Obstacle::Unread { .. }) if is_known => return None,
        None => return line.filter(|_| kept.is_some_and(RecordedSession::holds)),
        Some(Obstacle::WaitsForPerson { .. }) => match kept.and_then(|kept| kept.task) {
            Some(task) => format!("answer it: `assigner reply {task} \"...\"`, or in its pane"),
            None => "answer it in its pane".to_owned(),
        },
        Some(Obstacle::Mode) => "leave copy mode there: press `q` in the pane".to_owned(),
        Some(Obstacle::InputOff) => format!("switch input on again: `tmux select-pane -e -t {id}`"),
        Some(Obstacle::Synchronized) => {
            format!("switch that off: `tmux set-option -w -t {id} synchronize-panes off`")
        }
        Some(Obstacle::Draft { .. }) => {
            line.unwrap_or_else(|| "submit the draft there, or delete it".to_owned())
        }
        Some(Obstacle::PersonTyping) => "type nothing there for a few seconds".to_owned(),
        Some(Obstacle::Unread { .. } | Obstacle::Contradiction { .. }) => match &found.provider {
            Some(name) if name == SHELL => line.unwrap_or_else(|| "look at its pane".to_owned()),
            None => "write a profile for it: `assigner agents list` shows where to put it, \
                     `assigner agents show codex` is an example"
                .to_owned(),
            Some(name) => format!(
                "look at its pane; if it is ready for a prompt, its profile does not know this \
                 screen: `assigner agents show {name}`"
            ),
        },
        Some(Obstacle::Gone) => "start it again: its program has ended".to_owned(),
        // It is working, or the scheduler is holding it, which this look cannot see.
        Some(_) => "nothing: it takes tasks again once it is idle".to_owned(),
    };
    Some(next)
}

fn print(
    context: &Context,
    found: &Inspection,
    held: Option<&str>,
    next: Option<String>,
    now: Timestamp,
) -> Result<(), CommandFailure> {
    let ui = context.ui;
    let line = |name: &str, value: &str| ui.line(&format!("{name:<9} {value}"));
    let clean = |text: &str| ui::cut(&ui::clean(text), 200);
    line("session", &clean(&found.name))?;
    line(
        "pane",
        &format!("{} ({})", found.pane.identity.pane, clean(&place(found))),
    )?;
    let known_by = clean(&found.known_by);
    match &found.provider {
        Some(provider) => line("is", &format!("{}, by {known_by}", clean(provider)))?,
        None => line("is", &format!("not known: {known_by}"))?,
    }
    if let Some(version) = &found.version {
        let tried = match found.untested {
            true => {
                ", later than every version that its profile was tried with: judged more strictly"
            }
            false => "",
        };
        line("version", &format!("{}{tried}", clean(version)))?;
    }
    if !found.signals.is_empty() {
        ui.line("")?;
        let rows = found
            .signals
            .iter()
            .map(|signal| {
                vec![
                    signal.source.to_string(),
                    signal.says.to_string(),
                    ui::ago(signal.since, now),
                    clean(&signal.detail.to_string()),
                ]
            })
            .collect();
        ui.table(&["SIGNAL", "SAYS", "AGE", "WHAT WAS SEEN"], rows)?;
        ui.line("")?;
    }
    let verdict = ui::activity(found.verdict.activity);
    line(
        "verdict",
        &format!("{verdict}: {}", clean(&found.verdict.reason)),
    )?;
    if let Some(held) = held {
        line("daemon", &clean(held))?;
    }
    if let Some(seen) = &found.line {
        line("row", &clean(&seen.row))?;
        if next.is_some() && found.held_line().is_some() {
            line("typed by", &clean(seen.by))?;
        }
    }
    if let Some(next) = next {
        line("next", &clean(&next))?;
    }
    Ok(())
}

fn inspection_json(found: &Inspection, next: Option<&str>, now: Timestamp) -> Value {
    let signals: Vec<Value> = found
        .signals
        .iter()
        .map(|signal| {
            json!({
                "source": signal.source,
                "says": signal.says,
                "since": signal.since,
                "age_seconds": now.duration_since(signal.since).as_secs().max(0),
                "detail": signal.detail,
            })
        })
        .collect();
    let pane = &found.pane;
    json!({
        "name": found.name,
        "pane": pane.identity.pane,
        "place": place(found),
        "provider": found.provider,
        "known_by": found.known_by,
        "version": found.version,
        "untested": found.untested,
        "pid": found.pid,
        "command": pane.command,
        "line": found.line,
        "title": pane.title,
        "signals": signals,
        "status": found.verdict.activity,
        "reason": found.verdict.reason,
        "next": next,
    })
}
