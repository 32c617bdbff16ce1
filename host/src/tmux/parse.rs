//! The answers of tmux: pure, and safe on any bytes.

use std::collections::HashMap;
use std::path::Path;

use super::script::{END, PaneState, RequiredPane, split_at_column};
use super::{
    Capture, CursorLine, Error, FurtherSession, Mark, Pane, Refusal, Session, SessionId, Typed,
};
use crate::model::ids::{Identity, PaneId, TmuxSession};

/// The maximum number of bytes in one answer: some 50,000 panes, or a screen of any size.
pub(super) const MAX_ANSWER: usize = 16 << 20;

/// The length to which messages are kept, in bytes.
const MAX_MESSAGE: usize = 1_000;

/// The reply to a request.
#[derive(Debug, Default)]
pub(super) struct TmuxReply {
    /// The answers in order, as far as they came.
    pub(super) records: Vec<ReplyRecord>,
    /// What tmux complained about.
    pub(super) errors: String,
    /// Whether any part of the request may have reached the server.
    pub(super) sent: bool,
    /// Why the answer is not complete.
    pub(super) failure: Option<Error>,
}

impl TmuxReply {
    /// Returns a reply to a request that never reached the server.
    pub(super) fn unsent(failure: Error) -> Self {
        Self {
            failure: Some(failure),
            ..Self::default()
        }
    }

    /// Adds a line of tmux's complaints.
    pub(super) fn add_error(&mut self, line: &str) {
        let line = plain(line);
        if !line.is_empty() && self.errors.len() < MAX_MESSAGE {
            let gap = if self.errors.is_empty() { "" } else { "; " };
            self.errors = format!("{}{gap}{line}", self.errors);
        }
    }

    /// Returns the answers if all of them have come.
    pub(super) fn complete(self) -> Result<Vec<ReplyRecord>, Error> {
        match self.failure {
            Some(failure) => Err(failure),
            None => Ok(self.records),
        }
    }
}

/// One answer: a line that began with the nonce, and the lines up to the next one.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ReplyRecord {
    /// The first line without the nonce.
    pub(super) head: String,
    /// The rest.
    pub(super) body: Vec<String>,
}

impl ReplyRecord {
    /// Returns the index and the rest of the head if the record has this name.
    fn marked(&self, name: &str) -> Option<(usize, &str)> {
        let rest = self.head.strip_prefix(name)?.strip_prefix(' ')?;
        let (index, rest) = rest.split_once(' ').unwrap_or((rest, ""));
        Some((index.parse().ok()?, rest))
    }
}

/// Splits an output at its nonces. Also returns whether the last record is the end mark. A last
/// line without a newline is incomplete and is left out: `typed 1` may be `typed 10`.
pub(super) fn records(output: &[u8], nonce: &str) -> (Vec<ReplyRecord>, bool) {
    let mut records: Vec<ReplyRecord> = Vec::new();
    let output = String::from_utf8_lossy(output);
    let (whole, _) = output.rsplit_once('\n').unwrap_or_default();
    for line in whole.split('\n') {
        if let Some(head) = line
            .strip_prefix(nonce)
            .and_then(|rest| rest.strip_prefix(' '))
        {
            records.push(ReplyRecord {
                head: head.to_owned(),
                body: Vec::new(),
            });
        } else if let Some(last) = records.last_mut() {
            last.body.push(line.to_owned());
        }
    }
    let complete = records.last().is_some_and(|record| record.head == END);
    (records, complete)
}

/// Returns the panes of a list.
pub(super) fn panes(records: &[ReplyRecord], nonce: &str) -> Result<Vec<Pane>, Error> {
    let mut panes: Vec<Pane> = Vec::new();
    let mut known: HashMap<PaneId, usize> = HashMap::new();
    for record in records {
        let Some(rest) = record.head.strip_prefix("pane\t") else {
            continue;
        };
        // A command may contain newlines: what follows the first one is in the body.
        let text = [rest]
            .into_iter()
            .chain(record.body.iter().map(String::as_str))
            .collect::<Vec<_>>()
            .join("\n");
        let unknown = Error::Protocol("it lists a pane in an unknown form");
        let Some(pane) = pane(&text, nonce).ok_or(unknown)? else {
            continue;
        };
        // A window may be linked to several sessions, and each lists its panes.
        match known.get(&pane.identity.pane) {
            Some(&index) => {
                if let Some(first) = panes.get_mut(index) {
                    join(first, pane);
                }
            }
            None => {
                known.insert(pane.identity.pane.clone(), panes.len());
                panes.push(pane);
            }
        }
    }
    let mut watched = HashMap::new();
    for record in records {
        let Some((activity, pane)) = record
            .head
            .strip_prefix("client\t")
            .and_then(|rest| rest.split_once('\t'))
        else {
            continue;
        };
        let activity: i64 = activity
            .parse()
            .map_err(|_| Error::Protocol("it lists a client in an unknown form"))?;
        let newest = watched.entry(pane).or_insert(activity);
        *newest = activity.max(*newest);
    }
    for pane in &mut panes {
        pane.watched_until = watched.get(pane.identity.pane.as_str()).copied();
    }
    Ok(panes)
}

/// Returns the version of the server that made a list, and the path of its socket.
pub(super) fn server(records: &[ReplyRecord]) -> Option<(&str, &Path)> {
    let record = records
        .iter()
        .rev()
        .find_map(|record| Some((record.head.strip_prefix("server\t")?, &record.body)));
    // What follows a newline in the path is in the body.
    let (text, _) = record.filter(|(_, body)| body.is_empty())?;
    let (version, path) = text.split_once('\t')?;
    let path = Path::new(path);
    path.is_absolute().then_some((version, path))
}

/// Adds another listing of a pane to the first. The oldest session names the pane: tmux lists
/// sessions by name, and a name that is given later must not change the pane's name.
fn join(first: &mut Pane, mut other: Pane) {
    if other.session_id < first.session_id {
        std::mem::swap(first, &mut other);
        first.further = std::mem::take(&mut other.further);
    }
    first.attached |= other.attached;
    // A session that shows the window twice uses the first of its numbers.
    let known = first.session_id == other.session_id
        || first
            .further
            .iter()
            .any(|further| further.session_id == other.session_id);
    if !known {
        first.further.push(FurtherSession {
            session: other.session,
            session_id: other.session_id,
            window_index: other.window_index,
        });
        first.further.sort_by_key(|further| further.session_id);
    }
}

/// Returns a pane, or `Some(None)` for one without a process.
fn pane(text: &str, nonce: &str) -> Option<Option<Pane>> {
    let mut fields = text.splitn(22, '\t');
    let mut next = || fields.next();
    let server_pid = next()?.parse().ok()?;
    let server_start = next()?.parse().ok()?;
    let pane = PaneId::parse(next()?)?;
    let pane_pid: i64 = next()?.parse().ok()?;
    let Some(pane_pid) = u32::try_from(pane_pid).ok().filter(|&pid| pid > 0) else {
        return Some(None);
    };
    let mut pane = Pane {
        identity: Identity {
            node: Default::default(),
            server_pid,
            server_start,
            pane,
            pane_pid,
        },
        window_index: next()?.parse().ok()?,
        pane_index: next()?.parse().ok()?,
        dead: next()? == "1",
        // The number of modes on top of each other.
        in_mode: next()? != "0",
        input_off: next()? != "0",
        synchronized: next()? != "0",
        piped: next()? == "1",
        alternate: next()? == "1",
        width: next()?.parse().ok()?,
        attached: next()? == "1",
        cursor: (next()?.parse().ok()?, next()?.parse().ok()?),
        activity: next()?.parse().ok()?,
        dead_status: next()?.parse().ok(),
        tty: next()?.into(),
        session_id: TmuxSession::parse(next()?)?,
        session: next()?.to_owned(),
        further: Vec::new(),
        watched_until: None,
        title: String::new(),
        command: String::new(),
    };
    let (title, command) = next()?.split_once(nonce)?;
    title.strip_suffix('\t')?.clone_into(&mut pane.title);
    command.clone_into(&mut pane.command);
    Some(Some(pane))
}

/// Returns the sessions of a list.
pub(super) fn sessions(records: &[ReplyRecord]) -> Result<Vec<Session>, Error> {
    let mut sessions = Vec::new();
    for record in records {
        let Some(rest) = record.head.strip_prefix("session\t") else {
            continue;
        };
        // What follows a newline is in the body, and then the mark is not ours.
        let whole = record.body.is_empty();
        let unknown = Error::Protocol("it lists a session in an unknown form");
        sessions.extend(session(rest, whole).ok_or(unknown)?);
    }
    Ok(sessions)
}

/// Returns a session, or `Some(None)` for one whose pane has no process.
fn session(text: &str, whole: bool) -> Option<Option<Session>> {
    let mut fields = text.splitn(8, '\t');
    let mut next = || fields.next();
    let mut state = next()?.split(' ');
    let mut number = || state.next();
    let (server_pid, server_start) = (number()?.parse().ok()?, number()?.parse().ok()?);
    let id = SessionId::parse(number()?)?;
    let (clients, windows) = (number()?.parse().ok()?, number()?.parse().ok()?);
    let panes = number()?.parse().ok()?;
    let (grouped, linked) = (number()? != "1", number()? != "0");
    let pane = PaneId::parse(number()?)?;
    let pane_pid: i64 = number()?.parse().ok()?;
    let cursor = (number()?.parse().ok()?, number()?.parse().ok()?);
    let (dead, dead_status) = (next()? == "1", next()?.parse().ok());
    let (created, up) = (next()?.parse().ok()?, next()? == "1");
    let (name, pool, owner) = (next()?, next()?, next()?);
    // A pane without a process is of no use to anybody.
    let Some(pane_pid) = u32::try_from(pane_pid).ok().filter(|&pid| pid > 0) else {
        return Some(None);
    };
    Some(Some(Session {
        id,
        name: name.to_owned(),
        clients,
        windows,
        panes,
        shared: grouped || linked,
        pane: Identity {
            node: Default::default(),
            server_pid,
            server_start,
            pane,
            pane_pid,
        },
        cursor,
        dead,
        dead_status,
        created,
        mark: (whole && !pool.is_empty()).then(|| Mark {
            pool: pool.to_owned(),
            owner: owner.to_owned(),
        }),
        up,
    }))
}

impl SessionId {
    /// Returns the id if `text` is `$` and digits: only such a text is ever passed to `-t`.
    fn parse(text: &str) -> Option<Self> {
        let digits = text.strip_prefix('$')?;
        let valid = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
        valid.then(|| Self(text.to_owned()))
    }
}

/// Whether tmux reported under that name that it did what was asked.
pub(super) fn is_done(records: &[ReplyRecord], name: &str) -> bool {
    records.iter().any(|record| record.marked(name).is_some())
}

/// Returns an error unless the session was started.
pub(super) fn started(reply: TmuxReply) -> Result<(), Error> {
    if is_done(&reply.records, "started") {
        return Ok(());
    }
    match reply.failure {
        Some(failure) => Err(failure),
        None => Err(Error::Tmux(reply.errors)),
    }
}

/// Returns the line that each pane's cursor is in.
pub(super) fn cursor_lines(records: &[ReplyRecord], panes: &[&Pane]) -> Vec<Option<CursorLine>> {
    let mut lines = vec![None; panes.len()];
    for record in records {
        let Some((index, state)) = record.marked("cursor") else {
            continue;
        };
        let (Some(pane), Some(state)) = (panes.get(index), PaneState::parse(state)) else {
            continue;
        };
        let above = pane.cursor.1.min(CursorLine::ABOVE) as usize;
        let (above, from) = record.body.split_at(above.min(record.body.len()));
        let trimmed = |line: &String| line.trim_end().to_owned();
        if let ([line, rest @ ..], true) = (from, state.still(pane)) {
            lines[index] = Some(CursorLine {
                above: above.iter().map(trimmed).collect(),
                below: rest.iter().map(trimmed).collect(),
                ..split_at_column(line, pane.cursor.0)
            });
        }
    }
    lines
}

/// Returns the screen of each pane.
pub(super) fn screens(records: &[ReplyRecord], panes: &[&Identity]) -> Vec<Option<Capture>> {
    let mut screens = vec![None; panes.len()];
    for record in records {
        let Some((index, rest)) = record.marked("screen") else {
            continue;
        };
        let (shown, state) = rest.split_once(' ').unwrap_or((rest, ""));
        let (Some(identity), Some(state)) = (panes.get(index), PaneState::parse(state)) else {
            continue;
        };
        if state.is_of(identity) {
            screens[index] = Some(Capture {
                text: record.body.join("\n"),
                cursor: state.cursor,
                cursor_shown: shown != "0",
                in_mode: state.in_mode,
            });
        }
    }
    screens
}

/// Returns the outcome of the `index`th request to type, which asked for `wanted`.
pub(super) fn typed(reply: &TmuxReply, index: usize, wanted: &RequiredPane<'_>) -> Typed {
    if !reply.sent {
        return Typed::Refused(match &reply.failure {
            Some(Error::NoServer) | None => Refusal::Gone,
            Some(failure) => Refusal::Tmux(failure.to_string()),
        });
    }
    let find = |name| {
        reply
            .records
            .iter()
            .find_map(|record| record.marked(name).filter(|&(found, _)| found == index))
    };
    if find("typed").is_some() {
        Typed::Done
    } else if let Some((_, state)) = find("refused") {
        match PaneState::parse(state).map(|state| wanted.refusal(&state)) {
            Some(Some(refusal)) => Typed::Refused(refusal),
            None => Typed::Refused(Refusal::Gone),
            Some(None) => Typed::Refused(Refusal::Tmux("it gave no reason".to_owned())),
        }
    } else if let Some(failure) = &reply.failure {
        Typed::Unknown(failure.clone())
    } else if find("typing").is_some() {
        Typed::Unknown(Error::Tmux(reply.errors.clone()))
    } else {
        // The whole request was carried out, but not what comes before the typing.
        Typed::Refused(Refusal::Tmux(reply.errors.clone()))
    }
}

/// Returns the last `count` lines of a capture that are not blank.
pub(super) fn tail(
    records: &[ReplyRecord],
    identity: &Identity,
    count: u32,
) -> Result<String, Error> {
    let record = records
        .iter()
        .find(|record| record.marked("tail").is_some())
        .ok_or_else(|| Error::Gone(identity.pane.clone()))?;
    // Below the output of a program that has ended, tmux writes a line at the bottom of the screen:
    // the blank lines in between would push the output out.
    let lines: Vec<String> = record
        .body
        .iter()
        .map(|line| plain(line).trim_end().to_owned())
        .collect();
    let lines: Vec<&str> = lines
        .iter()
        .map(String::as_str)
        .filter(|line| !line.is_empty())
        .collect();
    Ok(lines[lines.len().saturating_sub(count as usize)..].join("\n"))
}

/// Returns the terminals that show tmux. A control client has none.
pub(super) fn terminals(records: &[ReplyRecord]) -> impl Iterator<Item = &str> {
    let paths = records
        .iter()
        .filter_map(|record| record.head.strip_prefix("terminal\t"));
    paths.filter(|path| path.starts_with("/dev/"))
}

/// Returns all lines of a capture.
pub(super) fn history(records: &[ReplyRecord], identity: &Identity) -> Result<String, Error> {
    let record = records
        .iter()
        .find(|record| record.marked("tail").is_some())
        .ok_or_else(|| Error::Gone(identity.pane.clone()))?;
    let lines = record.body.iter().map(|line| plain(line));
    Ok(lines.collect::<Vec<_>>().join("\n"))
}

/// Returns `text` without control characters, fit for a message.
pub(super) fn plain(text: &str) -> String {
    text.chars().filter(|char| !char.is_control()).collect()
}

#[cfg(test)]
mod tests;
