//! What people have set for sessions, bound to what the session's name meant: pauses, labels, and
//! the names that still wait for a session.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::db::{Db, values};
use super::rows::{json, said, stamp};
use super::sessions::read_present;
use super::{Limit, Store, StoreError, history, lanes, present};
use crate::model::naming::{Meaning, SessionRef, Who, found};
use crate::model::task::Task;
use crate::model::verdict::Obstacle;

/// Which sessions take no new tasks.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Pause {
    /// Every session.
    All,
    /// All sessions of a provider.
    Provider(String),
    /// One session.
    Session(SessionRef),
}

impl Pause {
    fn row(&self) -> (&'static str, &str, Option<&Meaning>) {
        match self {
            Self::All => ("all", "", None),
            Self::Provider(name) => ("provider", name, None),
            Self::Session(said) => ("session", &said.name, said.meaning.as_ref()),
        }
    }

    fn from_row(scope: &str, said: SessionRef) -> Self {
        match scope {
            "all" => Self::All,
            "provider" => Self::Provider(said.name),
            _ => Self::Session(said),
        }
    }

    /// Whether it applies to a session that runs that provider.
    pub fn covers(&self, who: Who<'_>, provider: &str) -> bool {
        match self {
            Self::All => true,
            Self::Provider(name) => name == provider,
            Self::Session(said) => who.answers(said),
        }
    }
}

/// A pause that is in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PauseRow {
    /// What takes no new tasks.
    pub what: Pause,
    /// When it ends by itself. `None` if only a person can end it.
    pub until: Option<Timestamp>,
    /// The reason, if no person asked for it.
    pub reason: Option<String>,
}

impl PauseRow {
    /// Returns the pause that applies to a session that runs that provider. One that a person asked
    /// for takes precedence over one that ends by itself.
    pub fn over<'a>(pauses: &'a [Self], who: Who<'_>, provider: &str) -> Option<&'a Self> {
        pauses
            .iter()
            .filter(|pause| pause.what.covers(who, provider))
            .min_by_key(|pause| pause.until.is_some())
    }

    /// Returns the pause of the agent that a headless prompt asks, in whichever shell that is.
    pub fn over_asked<'a>(pauses: &'a [Self], task: &Task) -> Option<&'a Self> {
        Self::over_agent(pauses, &task.metadata.headless.as_ref()?.provider)
    }

    /// Returns the pause of an agent.
    pub fn over_agent<'a>(pauses: &'a [Self], agent: &str) -> Option<&'a Self> {
        let mut pauses = pauses.iter();
        pauses.find(|pause| matches!(&pause.what, Pause::Provider(name) if name == agent))
    }

    /// Returns the obstacle that it is for a session it covers.
    pub fn obstacle(&self) -> Obstacle {
        Obstacle::Paused {
            until: self.until,
            reason: self.reason.clone(),
        }
    }
}

impl std::fmt::Display for PauseRow {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.what.fmt(f)?;
        if let Some(until) = self.until {
            write!(f, " until {}", until.strftime("%Y-%m-%d %H:%M:%SZ"))?;
        }
        match &self.reason {
            Some(reason) => write!(f, " ({reason})"),
            None => Ok(()),
        }
    }
}

impl std::fmt::Display for Pause {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::All => f.write_str("all sessions"),
            Self::Provider(name) => write!(f, "provider {name}"),
            Self::Session(said) => write!(f, "session {said}"),
        }
    }
}

/// A label set on a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionLabel {
    /// The session.
    pub session: SessionRef,
    /// The label's name.
    pub name: String,
    /// Its value.
    pub value: String,
}

/// Picks the labels of one session out of all labels. A label set for one pane takes precedence
/// over one set for all panes of its tmux session.
pub fn labels_of(given: &[SessionLabel], who: Who<'_>) -> BTreeMap<String, String> {
    let of_one = |said: &SessionRef| match &said.meaning {
        Some(meaning) => matches!(meaning, Meaning::Pane(_)),
        None => who.is_labelled(&said.name),
    };
    let (one, all): (Vec<_>, Vec<_>) = given
        .iter()
        .filter(|label| who.answers(&label.session))
        .partition(|label| of_one(&label.session));
    let labels = all.into_iter().chain(one);
    labels
        .map(|label| (label.name.clone(), label.value.clone()))
        .collect()
}

impl Store {
    /// Pauses or resumes sessions.
    ///
    /// # Errors
    /// The database refused.
    pub fn pause(
        &mut self,
        what: &[Pause],
        paused: bool,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        self.atomically(|db| {
            for one in what {
                let (changed, action) = if paused {
                    pause(db, one, now)?;
                    (true, "paused")
                } else {
                    (resume(db, one)?, "resumed")
                };
                if changed {
                    let session = match one {
                        Pause::Session(said) => Some(&*said.name),
                        Pause::All | Pause::Provider(_) => None,
                    };
                    let details = format!("{one}, by a person");
                    history::note(db, session, action, &details, now)?;
                }
            }
            Ok(())
        })
    }

    /// Returns the pauses that are in force.
    ///
    /// # Errors
    /// The database refused.
    pub fn pauses(&mut self) -> Result<Vec<PauseRow>, StoreError> {
        pauses(&mut *self.db)
    }

    /// Ends the pauses whose time is over.
    ///
    /// # Errors
    /// The database refused.
    pub fn end_pauses(&mut self, now: Timestamp) -> Result<(), StoreError> {
        self.atomically(|db| {
            db.execute(
                "INSERT INTO assignment_history (action, created_at, details)
                 SELECT 'resumed', $1, scope || ' ' || name || ': its limit has ended'
                 FROM pauses WHERE until <= $1",
                values![now],
            )?;
            for pause in pauses(db)? {
                if let (Pause::Provider(agent), Some(until)) = (&pause.what, pause.until)
                    && until <= now
                {
                    lanes::forget_reasons(db, agent)?;
                }
            }
            db.execute("DELETE FROM pauses WHERE until <= $1", values![now])?;
            Ok(())
        })
    }

    /// Sets and removes labels of a session, whether or not the session exists.
    ///
    /// # Errors
    /// The database refused.
    pub fn label(
        &mut self,
        session: &SessionRef,
        set: &BTreeMap<String, String>,
        remove: &[String],
        now: Timestamp,
    ) -> Result<(), StoreError> {
        self.atomically(|db| {
            let mut changes = Vec::new();
            for (name, value) in set {
                set_label(db, session, name, value)?;
                changes.push(format!("{name}={value}"));
            }
            for name in remove {
                if remove_label(db, session, name)? {
                    changes.push(format!("without {name}"));
                }
            }
            show_labels(db)?;
            if !changes.is_empty() {
                history::note(
                    db,
                    Some(&session.name),
                    "labelled",
                    &changes.join(", "),
                    now,
                )?;
            }
            Ok(())
        })
    }

    /// Returns the labels that were given to sessions.
    ///
    /// # Errors
    /// The database refused.
    pub fn session_labels(&mut self) -> Result<Vec<SessionLabel>, StoreError> {
        labels(&mut *self.db)
    }

    /// Returns the session names that pending tasks target and that no session has had yet.
    ///
    /// # Errors
    /// The database refused.
    pub fn awaited_targets(&mut self) -> Result<Vec<String>, StoreError> {
        let rows = self.db.query(AWAITED, &[])?;
        let names = rows
            .iter()
            .map(|row| Ok(row.text("name")?.unwrap_or_default()));
        names.collect()
    }

    /// Stores what names mean now, for the pauses, labels and pending tasks that waited for it.
    ///
    /// # Errors
    /// The database refused.
    pub fn bind(&mut self, meanings: &[(String, Meaning)]) -> Result<(), StoreError> {
        self.atomically(|db| {
            let mut meanings = meanings.iter();
            meanings.try_for_each(|(name, meaning)| bind(db, name, meaning))
        })
    }

    /// Ends the pauses and labels of sessions that are gone, and records that in the history.
    ///
    /// # Errors
    /// The database refused.
    pub fn end_wishes(&mut self, gone: &[Meaning], now: Timestamp) -> Result<(), StoreError> {
        self.atomically(|db| {
            let mut gone = gone.iter();
            gone.try_for_each(|meaning| end(db, meaning, now))
        })
    }
}

/// Returns how a meaning is stored: as its text, which is empty if it is not known.
fn key(meaning: Option<&Meaning>) -> String {
    meaning.map(Meaning::to_string).unwrap_or_default()
}

pub(super) fn pauses(db: &mut dyn Db) -> Result<Vec<PauseRow>, StoreError> {
    let rows = db.query(
        "SELECT scope, name, meaning, until, reason FROM pauses
         ORDER BY scope, name, since, meaning",
        &[],
    )?;
    let pauses = rows.iter().map(|row| {
        let said = said(row.text("name")?, row.text("meaning")?);
        Ok(PauseRow {
            what: Pause::from_row(
                &row.get::<String>("scope")?,
                said.unwrap_or_else(|| SessionRef::from("")),
            ),
            until: row.time("until")?,
            reason: row.text("reason")?,
        })
    });
    pauses.collect()
}

pub(super) fn labels(db: &mut dyn Db) -> Result<Vec<SessionLabel>, StoreError> {
    let rows = db.query(
        "SELECT session, meaning, name, value FROM session_labels ORDER BY session, name",
        &[],
    )?;
    let labels = rows.iter().map(|row| {
        let session = said(row.text("session")?, row.text("meaning")?);
        Ok(SessionLabel {
            session: session.unwrap_or_else(|| SessionRef::from("")),
            name: row.text("name")?.unwrap_or_default(),
            value: row.text("value")?.unwrap_or_default(),
        })
    });
    labels.collect()
}

/// Pauses something, or makes its existing pause indefinite.
fn pause(db: &mut dyn Db, pause: &Pause, now: Timestamp) -> Result<(), StoreError> {
    let (scope, name, meaning) = pause.row();
    let key = key(meaning);
    // It may already have been paused under another name.
    let known = db.execute(
        "UPDATE pauses SET until = NULL, reason = NULL
         WHERE scope = $1 AND meaning = $3 AND (name = $2 OR meaning <> '')",
        values![scope, name, &key],
    )?;
    if known == 0 {
        db.execute(
            "INSERT INTO pauses (scope, name, meaning, since) VALUES ($1, $2, $3, $4)",
            values![scope, name, key, now],
        )?;
    }
    Ok(())
}

/// Ends the pauses of something and returns whether there were any.
fn resume(db: &mut dyn Db, pause: &Pause) -> Result<bool, StoreError> {
    let delete = "DELETE FROM pauses WHERE scope = $1 AND name = $2 AND meaning = $3";
    let Pause::Session(named) = pause else {
        if let Pause::Provider(agent) = pause {
            lanes::forget_reasons(db, agent)?;
        }
        let (scope, name, meaning) = pause.row();
        return Ok(db.execute(delete, values![scope, name, key(meaning)])? > 0);
    };
    let pauses = pauses(db)?;
    let said = pauses.iter().filter_map(|pause| match &pause.what {
        Pause::Session(said) => Some(said),
        Pause::All | Pause::Provider(_) => None,
    });
    let rows = read_present(db)?;
    let found = found(said, named, &present(&rows));
    for said in &found {
        let (name, key) = (&said.name, key(said.meaning.as_ref()));
        db.execute(delete, values!["session", name, key])?;
    }
    Ok(!found.is_empty())
}

/// Sets a label of a session.
fn set_label(
    db: &mut dyn Db,
    session: &SessionRef,
    name: &str,
    value: &str,
) -> Result<(), StoreError> {
    let key = key(session.meaning.as_ref());
    db.execute(
        "DELETE FROM session_labels
         WHERE meaning = $2 AND name = $3 AND (session = $1 OR meaning <> '')",
        values![&session.name, &key, name],
    )?;
    db.execute(
        "INSERT INTO session_labels (session, meaning, name, value) VALUES ($1, $2, $3, $4)",
        values![&session.name, &key, name, value],
    )?;
    Ok(())
}

/// Removes a label from a session and returns whether it had it.
fn remove_label(db: &mut dyn Db, session: &SessionRef, name: &str) -> Result<bool, StoreError> {
    let mut labels = labels(db)?;
    labels.retain(|label| label.name == name);
    let said = labels.iter().map(|label| &label.session);
    let rows = read_present(db)?;
    let found = found(said, session, &present(&rows));
    for said in &found {
        db.execute(
            "DELETE FROM session_labels WHERE session = $1 AND meaning = $2 AND name = $3",
            values![&said.name, key(said.meaning.as_ref()), name],
        )?;
    }
    Ok(!found.is_empty())
}

/// Writes the current labels of each existing session into its row.
fn show_labels(db: &mut dyn Db) -> Result<(), StoreError> {
    let given = labels(db)?;
    for row in read_present(db)? {
        let labels = labels_of(&given, row.who());
        if labels != row.labels {
            db.execute(
                "UPDATE sessions SET labels = $3 WHERE node = $1 AND name = $2",
                values![row.identity.node.as_str(), &row.name, json(&labels)],
            )?;
        }
    }
    Ok(())
}

/// Selects the names that pending tasks target and that have no meaning yet, with a loose index
/// scan: one look-up per name, however many tasks wait for it.
pub(super) const AWAITED: &str = "WITH RECURSIVE names (name) AS (
        SELECT min(target_session) FROM tasks
            WHERE status = 'pending' AND target_session IS NOT NULL AND target_meaning IS NULL
        UNION ALL
        SELECT (SELECT min(target_session) FROM tasks
            WHERE status = 'pending' AND target_session IS NOT NULL AND target_meaning IS NULL
                AND target_session > names.name)
        FROM names WHERE names.name IS NOT NULL
    )
    SELECT name FROM names WHERE name IS NOT NULL";

/// Gives a name its meaning wherever something has waited for it. If the same was already set for
/// that meaning, the later setting replaces it.
fn bind(db: &mut dyn Db, name: &str, meaning: &Meaning) -> Result<(), StoreError> {
    let key = meaning.to_string();
    for sql in [
        "DELETE FROM pauses WHERE scope = 'session' AND meaning = $2 AND EXISTS (
            SELECT 1 FROM pauses AS awaiting WHERE awaiting.scope = 'session'
                AND awaiting.name = $1 AND awaiting.meaning = '')",
        "UPDATE pauses SET meaning = $2 WHERE scope = 'session' AND name = $1 AND meaning = ''",
        "DELETE FROM session_labels WHERE meaning = $2 AND name IN (
            SELECT awaiting.name FROM session_labels AS awaiting
            WHERE awaiting.session = $1 AND awaiting.meaning = '')",
        "UPDATE session_labels SET meaning = $2 WHERE session = $1 AND meaning = ''",
        BIND_TASKS,
    ] {
        db.execute(sql, values![name, &key])?;
    }
    Ok(())
}

/// Binds pending tasks. Their lanes are computed again the next time that lanes are read.
pub(super) const BIND_TASKS: &str = "UPDATE tasks SET target_meaning = $2
     WHERE status = 'pending' AND target_session = $1 AND target_session IS NOT NULL
        AND target_meaning IS NULL";

/// Ends the pauses and labels of something that is gone.
fn end(db: &mut dyn Db, gone: &Meaning, now: Timestamp) -> Result<(), StoreError> {
    let why = match gone {
        Meaning::Pane(pane) => format!("its pane {} has ended", pane.pane),
        Meaning::Session { id, .. } => format!("its tmux session {id} has ended"),
    };
    let is_gone = |said: &SessionRef| said.meaning.as_ref() == Some(gone);
    for pause in pauses(db)? {
        if let Pause::Session(said) = &pause.what
            && is_gone(said)
        {
            let details = format!("{}: {why}", pause.what);
            history::note(db, Some(&said.name), "resumed", &details, now)?;
        }
    }
    let labels = labels(db)?;
    let mut ended = labels.iter().filter(|label| is_gone(&label.session));
    if let Some(first) = ended.next() {
        let names = std::iter::once(first).chain(ended);
        let names: Vec<&str> = names.map(|label| label.name.as_str()).collect();
        let details = format!("without {}: {why}", names.join(", "));
        history::note(db, Some(&first.session.name), "labelled", &details, now)?;
    }
    let key = gone.to_string();
    db.execute(
        "DELETE FROM pauses WHERE scope = 'session' AND meaning = $1",
        values![&key],
    )?;
    db.execute(
        "DELETE FROM session_labels WHERE meaning = $1",
        values![&key],
    )?;
    Ok(())
}

/// Pauses a provider until its limit ends. A pause set by a person stays as it is.
pub(super) fn hold_provider(
    db: &mut dyn Db,
    limit: &Limit,
    now: Timestamp,
) -> Result<(), StoreError> {
    db.execute(
        "INSERT INTO pauses (scope, name, since, until, reason)
         VALUES ('provider', $1, $2, $3, $4)
         ON CONFLICT (scope, name, meaning) DO UPDATE SET
            until = CASE WHEN pauses.until > excluded.until
                THEN pauses.until ELSE excluded.until END,
            reason = excluded.reason
         WHERE pauses.until IS NOT NULL",
        values![&limit.provider, now, limit.until, &limit.reason],
    )?;
    let details = format!(
        "provider {} until {}: {}",
        limit.provider,
        stamp(limit.until),
        limit.reason
    );
    history::note(db, None, "paused", &details, now)
}
