//! What people have set for sessions, bound to what the session's name meant: pauses, labels, and
//! the names that still wait for a session.

use jiff::Timestamp;
use rusqlite::{Connection, params};

use super::rows::{json, said, session_of, stamp, text, time};
use super::{Pause, PauseRow, SessionLabel, SessionRow, StoreError, labels_of, present, rows};
use crate::model::naming::{Meaning, SessionRef, found};
use crate::model::session::Activity;

/// Returns how a meaning is stored: as its text, which is empty if it is not known.
pub(super) fn key(meaning: Option<&Meaning>) -> String {
    meaning.map(Meaning::to_string).unwrap_or_default()
}

pub(super) fn pauses(connection: &Connection) -> Result<Vec<PauseRow>, StoreError> {
    let mut query = connection.prepare_cached(
        "SELECT scope, name, meaning, until, reason FROM pauses ORDER BY scope, name, since, meaning",
    )?;
    let rows = query.query_map([], |row| {
        let said = said(text(row, 1)?, text(row, 2)?);
        Ok(PauseRow {
            what: Pause::from_row(
                &row.get::<_, String>(0)?,
                said.unwrap_or_else(|| SessionRef::from("")),
            ),
            until: time(row, 3)?,
            reason: text(row, 4)?,
        })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

pub(super) fn labels(connection: &Connection) -> Result<Vec<SessionLabel>, StoreError> {
    let mut query = connection.prepare_cached(
        "SELECT session, meaning, name, value FROM session_labels ORDER BY session, name",
    )?;
    let rows = query.query_map([], |row| {
        let session = said(text(row, 0)?, text(row, 1)?);
        Ok(SessionLabel {
            session: session.unwrap_or_else(|| SessionRef::from("")),
            name: text(row, 2)?.unwrap_or_default(),
            value: text(row, 3)?.unwrap_or_default(),
        })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Pauses something, or makes its existing pause indefinite.
pub(super) fn pause(
    connection: &Connection,
    pause: &Pause,
    now: Timestamp,
) -> Result<(), StoreError> {
    let (scope, name, meaning) = pause.row();
    let key = key(meaning);
    // It may already have been paused under another name.
    let known = connection.execute(
        "UPDATE pauses SET until = NULL, reason = NULL
         WHERE scope = ?1 AND meaning = ?3 AND (name = ?2 OR meaning <> '')",
        params![scope, name, key],
    )?;
    if known == 0 {
        connection.execute(
            "INSERT INTO pauses (scope, name, meaning, since) VALUES (?1, ?2, ?3, ?4)",
            params![scope, name, key, stamp(now)],
        )?;
    }
    Ok(())
}

/// Ends the pauses of something and returns whether there were any.
pub(super) fn resume(connection: &Connection, pause: &Pause) -> Result<bool, StoreError> {
    let mut delete = connection
        .prepare_cached("DELETE FROM pauses WHERE scope = ?1 AND name = ?2 AND meaning = ?3")?;
    let Pause::Session(named) = pause else {
        let (scope, name, meaning) = pause.row();
        return Ok(delete.execute(params![scope, name, key(meaning)])? > 0);
    };
    let pauses = pauses(connection)?;
    let said = pauses.iter().filter_map(|pause| match &pause.what {
        Pause::Session(said) => Some(said),
        Pause::All | Pause::Provider(_) => None,
    });
    let rows = sessions(connection)?;
    let found = found(said, named, &present(&rows));
    for said in &found {
        let (name, key) = (&said.name, key(said.meaning.as_ref()));
        delete.execute(params!["session", name, key])?;
    }
    Ok(!found.is_empty())
}

/// Sets a label of a session.
pub(super) fn set_label(
    connection: &Connection,
    session: &SessionRef,
    name: &str,
    value: &str,
) -> Result<(), StoreError> {
    let key = key(session.meaning.as_ref());
    connection.execute(
        "DELETE FROM session_labels
         WHERE meaning = ?2 AND name = ?3 AND (session = ?1 OR meaning <> '')",
        params![session.name, key, name],
    )?;
    connection.execute(
        "INSERT INTO session_labels (session, meaning, name, value) VALUES (?1, ?2, ?3, ?4)",
        params![session.name, key, name, value],
    )?;
    Ok(())
}

/// Removes a label from a session and returns whether it had it.
pub(super) fn remove_label(
    connection: &Connection,
    session: &SessionRef,
    name: &str,
) -> Result<bool, StoreError> {
    let mut labels = labels(connection)?;
    labels.retain(|label| label.name == name);
    let said = labels.iter().map(|label| &label.session);
    let rows = sessions(connection)?;
    let found = found(said, session, &present(&rows));
    for said in &found {
        connection.execute(
            "DELETE FROM session_labels WHERE session = ?1 AND meaning = ?2 AND name = ?3",
            params![said.name, key(said.meaning.as_ref()), name],
        )?;
    }
    Ok(!found.is_empty())
}

/// Returns the sessions that exist.
fn sessions(connection: &Connection) -> Result<Vec<SessionRow>, StoreError> {
    let mut query = connection.prepare_cached(&format!(
        "SELECT {} FROM sessions WHERE pane IS NOT NULL AND status <> ?1",
        rows::SESSION
    ))?;
    let rows = query.query_map([Activity::Gone.name()], session_of)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Writes the current labels of each existing session into its row.
pub(super) fn show_labels(connection: &Connection) -> Result<(), StoreError> {
    let given = labels(connection)?;
    for row in sessions(connection)? {
        let labels = labels_of(&given, row.who());
        if labels != row.labels {
            connection.execute(
                "UPDATE sessions SET labels = ?2 WHERE name = ?1",
                params![row.name, json(&labels)],
            )?;
        }
    }
    Ok(())
}

/// Selects the names that pending tasks target and that have no meaning yet, with a loose index
/// scan: one look-up per name, however many tasks wait for it.
const AWAITED: &str = "WITH RECURSIVE names (name) AS (
        SELECT min(target_session) FROM tasks INDEXED BY tasks_awaiting
            WHERE status = 'pending' AND target_session IS NOT NULL AND target_meaning IS NULL
        UNION ALL
        SELECT (SELECT min(target_session) FROM tasks INDEXED BY tasks_awaiting
            WHERE status = 'pending' AND target_session IS NOT NULL AND target_meaning IS NULL
                AND target_session > names.name)
        FROM names WHERE names.name IS NOT NULL
    )
    SELECT name FROM names WHERE name IS NOT NULL";

pub(super) fn awaited_targets(connection: &Connection) -> Result<Vec<String>, StoreError> {
    let mut query = connection.prepare_cached(AWAITED)?;
    let names = query.query_map([], |row| Ok(text(row, 0)?.unwrap_or_default()))?;
    Ok(names.collect::<Result<_, _>>()?)
}

/// Gives a name its meaning wherever something has waited for it. If the same was already set for
/// that meaning, the later setting replaces it.
pub(super) fn bind(
    connection: &Connection,
    name: &str,
    meaning: &Meaning,
) -> Result<(), StoreError> {
    let key = meaning.to_string();
    connection
        .prepare_cached(
            "DELETE FROM pauses WHERE scope = 'session' AND meaning = ?2 AND EXISTS (
                SELECT 1 FROM pauses AS awaiting WHERE awaiting.scope = 'session'
                    AND awaiting.name = ?1 AND awaiting.meaning = '')",
        )?
        .execute(params![name, key])?;
    connection
        .prepare_cached(
            "UPDATE pauses SET meaning = ?2 WHERE scope = 'session' AND name = ?1 AND meaning = ''",
        )?
        .execute(params![name, key])?;
    connection
        .prepare_cached(
            "DELETE FROM session_labels WHERE meaning = ?2 AND name IN (
                SELECT awaiting.name FROM session_labels AS awaiting
                WHERE awaiting.session = ?1 AND awaiting.meaning = '')",
        )?
        .execute(params![name, key])?;
    connection
        .prepare_cached(
            "UPDATE session_labels SET meaning = ?2 WHERE session = ?1 AND meaning = ''",
        )?
        .execute(params![name, key])?;
    connection
        .prepare_cached(
            "UPDATE tasks INDEXED BY tasks_awaiting SET target_meaning = ?2
             WHERE status = 'pending' AND target_session = ?1 AND target_session IS NOT NULL
                AND target_meaning IS NULL",
        )?
        .execute(params![name, key])?;
    Ok(())
}

/// Ends the pauses and labels of something that is gone.
pub(super) fn end(
    connection: &Connection,
    gone: &Meaning,
    now: Timestamp,
) -> Result<(), StoreError> {
    let why = match gone {
        Meaning::Pane(pane) => format!("its pane {} has ended", pane.pane),
        Meaning::Session { id, .. } => format!("its tmux session {id} has ended"),
    };
    let is_gone = |said: &SessionRef| said.meaning.as_ref() == Some(gone);
    for pause in pauses(connection)? {
        if let Pause::Session(said) = &pause.what
            && is_gone(said)
        {
            note(
                connection,
                said,
                "resumed",
                &format!("{}: {why}", pause.what),
                now,
            )?;
        }
    }
    let labels = labels(connection)?;
    let mut ended = labels.iter().filter(|label| is_gone(&label.session));
    if let Some(first) = ended.next() {
        let names = std::iter::once(first).chain(ended);
        let names: Vec<&str> = names.map(|label| label.name.as_str()).collect();
        let details = format!("without {}: {why}", names.join(", "));
        note(connection, &first.session, "labelled", &details, now)?;
    }
    let key = gone.to_string();
    connection.execute(
        "DELETE FROM pauses WHERE scope = 'session' AND meaning = ?1",
        [&key],
    )?;
    connection.execute("DELETE FROM session_labels WHERE meaning = ?1", [&key])?;
    Ok(())
}

/// Writes a history row about a session.
pub(super) fn note(
    connection: &Connection,
    session: &SessionRef,
    action: &str,
    details: &str,
    now: Timestamp,
) -> Result<(), StoreError> {
    connection
        .prepare_cached(
            "INSERT INTO assignment_history (session_name, action, created_at, details)
             VALUES (?1, ?2, ?3, ?4)",
        )?
        .execute(params![session.name, action, stamp(now), details])?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use rusqlite::StatementStatus;
    use tempfile::TempDir;

    use super::*;
    use crate::model::ids::{Identity, PaneId, TaskId};
    use crate::model::naming::Who;
    use crate::model::task::NewTask;
    use crate::store::{Manage, Sqlite, Store};

    const NOW: Timestamp = Timestamp::UNIX_EPOCH;

    fn store() -> (TempDir, Sqlite) {
        let directory = tempfile::tempdir().expect("a directory");
        let store = Sqlite::open(directory.path()).expect("a store");
        (directory, store)
    }

    fn identity(number: u32) -> Identity {
        Identity {
            server_pid: 1,
            server_start: 1,
            pane: PaneId::parse(&format!("%{number}")).expect("a pane"),
            pane_pid: number,
        }
    }

    fn of(name: &str, pane: u32) -> SessionRef {
        SessionRef {
            name: name.to_owned(),
            meaning: Some(Meaning::Pane(identity(pane))),
        }
    }

    fn set(store: &mut Sqlite, said: &SessionRef, paused: bool) {
        let pause = [Pause::Session(said.clone())];
        store.pause(&pause, paused, NOW).expect("paused");
    }

    fn paused(store: &mut Sqlite) -> Vec<String> {
        let pauses = store.pauses().expect("pauses").into_iter();
        pauses
            .map(|pause| match pause.what {
                Pause::Session(said) => said.in_full(),
                other => other.to_string(),
            })
            .collect()
    }

    fn target(store: &mut Sqlite, id: TaskId) -> Option<SessionRef> {
        store.task(id).expect("a task").target_session
    }

    #[test]
    fn panes_that_bore_one_name_are_paused_and_resumed_each() {
        let (_directory, mut store) = store();
        set(&mut store, &of("m:0.1", 1), true);
        // The pane is renumbered and paused again under its new name.
        set(&mut store, &of("m:0.0", 1), true);
        set(&mut store, &of("m:0.1", 2), true);
        assert_eq!(paused(&mut store), ["m:0.1 (pane %1)", "m:0.1 (pane %2)"]);
        set(&mut store, &of("m:0.1", 2), false);
        assert_eq!(paused(&mut store), ["m:0.1 (pane %1)"]);
        // The pane that now has this name is not paused: the name leads to the one that was meant.
        set(&mut store, &of("m:0.1", 2), false);
        assert_eq!(paused(&mut store), [""; 0]);
        // A provider is resumed by its name.
        let provider = [Pause::Provider("claude".to_owned())];
        store.pause(&provider, true, NOW).expect("paused");
        store.pause(&provider, true, NOW).expect("paused again");
        assert_eq!(paused(&mut store), ["provider claude"]);
        store.pause(&provider, false, NOW).expect("resumed");
        assert_eq!(paused(&mut store), [""; 0]);
    }

    #[test]
    fn a_name_that_was_awaited_is_bound_once() {
        let (_directory, mut store) = store();
        set(&mut store, &SessionRef::from("api"), true);
        set(&mut store, &of("old", 1), true);
        let labels = BTreeMap::from([("a".to_owned(), "new".to_owned())]);
        store
            .label(&"api".into(), &labels, &[], NOW)
            .expect("a label");
        let before = [("a", "old"), ("b", "old")];
        let before = before.map(|(name, value)| (name.to_owned(), value.to_owned()));
        store
            .label(&of("old", 1), &BTreeMap::from(before), &[], NOW)
            .expect("labels");
        let task = NewTask {
            target_session: Some("api".into()),
            ..NewTask::command("x")
        };
        let ids = store.queue(&[task.clone(), task], NOW).expect("queued");
        assert_eq!(store.awaited_targets().expect("names"), ["api"]);
        let bound = [("api".to_owned(), Meaning::Pane(identity(1)))];
        store.bind(&bound).expect("bound");
        assert_eq!(paused(&mut store), ["api (pane %1)"]);
        assert_eq!(target(&mut store, ids[0]), Some(of("api", 1)));
        assert_eq!(store.awaited_targets().expect("names"), [""; 0]);
        // The last setting applies.
        let who = identity(1);
        let who = Who {
            identity: Some(&who),
            ..Who::named("renamed")
        };
        let given = store.session_labels().expect("labels");
        let labels = labels_of(&given, who);
        let labels: Vec<(&str, &str)> = labels.iter().map(|(n, v)| (&**n, &**v)).collect();
        assert_eq!(labels, [("a", "new"), ("b", "old")]);
        // The next session with that name is a different one.
        let next = [("api".to_owned(), Meaning::Pane(identity(2)))];
        store.bind(&next).expect("nothing");
        assert_eq!(target(&mut store, ids[1]), Some(of("api", 1)));
        let lanes = store.lanes().expect("lanes");
        assert_eq!(lanes.len(), 1);
        assert_eq!(lanes[0].target_session, Some(of("api", 1)));
        let tasks = store.pending(&lanes, 9, None).expect("a page");
        assert_eq!(tasks.len(), 2);
    }

    #[test]
    fn pauses_and_labels_end_with_their_pane_and_targets_stay() {
        let (_directory, mut store) = store();
        for pane in [1, 2] {
            set(&mut store, &of("m:0.1", pane), true);
            let labels = BTreeMap::from([("a".to_owned(), pane.to_string())]);
            let label = store.label(&of("m:0.1", pane), &labels, &[], NOW);
            label.expect("a label");
        }
        let task = NewTask {
            target_session: Some(of("m:0.1", 1)),
            ..NewTask::command("x")
        };
        let ids = store.queue(&[task], NOW).expect("queued");
        let gone = [Meaning::Pane(identity(1))];
        store.end_wishes(&gone, NOW).expect("ended");
        assert_eq!(paused(&mut store), ["m:0.1 (pane %2)"]);
        let labels = store.session_labels().expect("labels");
        assert_eq!(labels.len(), 1);
        assert_eq!(labels[0].session, of("m:0.1", 2));
        assert_eq!(target(&mut store, ids[0]), Some(of("m:0.1", 1)));
        let history = store.session_history("m:0.1", 9).expect("history");
        let said: Vec<String> = history
            .iter()
            .map(|row| format!("{}: {}", row.action, row.details))
            .collect();
        assert_eq!(
            said[4..],
            [
                "resumed: session m:0.1: its pane %1 has ended",
                "labelled: without a: its pane %1 has ended",
            ]
        );
    }

    #[test]
    fn a_task_is_given_to_the_session_that_was_meant() {
        let (_directory, mut store) = store();
        let ids = store.queue(&[NewTask::command("x")], NOW).expect("queued");
        let to = of("web", 3);
        store.reassign(ids[0], Some(&to), NOW).expect("given");
        assert_eq!(target(&mut store, ids[0]), Some(to));
        store.reassign(ids[0], None, NOW).expect("given to any");
        assert_eq!(target(&mut store, ids[0]), None);
        let to_be = SessionRef::from("web");
        store.reassign(ids[0], Some(&to_be), NOW).expect("given");
        assert_eq!(store.awaited_targets().expect("names"), ["web"]);
    }

    #[test]
    fn labels_of_one_pane_count_more_than_those_of_all() {
        let label = |session: SessionRef, value: &str| SessionLabel {
            session,
            name: "a".to_owned(),
            value: value.to_owned(),
        };
        let one = identity(1);
        let who = Who {
            identity: Some(&one),
            ..Who::named("m:0.1")
        };
        for given in [
            [label("m:0.1".into(), "one"), label("m".into(), "all")],
            [label("m".into(), "all"), label("m:0.1".into(), "one")],
            [label(of("x", 1), "one"), label("m".into(), "all")],
            [label("m".into(), "all"), label(of("x", 1), "one")],
        ] {
            assert_eq!(labels_of(&given, who)["a"], "one", "{given:?}");
        }
    }

    /// How many steps SQLite takes to find the names that `tasks` tasks wait for.
    fn steps(tasks: usize) -> i32 {
        let (_directory, mut store) = store();
        let task = NewTask {
            target_session: Some("api".into()),
            ..NewTask::command("x")
        };
        let mut tasks = vec![task; tasks];
        tasks.push(NewTask::command("x"));
        store.queue(&tasks, NOW).expect("queued");
        let mut query = store.connection.prepare(AWAITED).expect("a query");
        let names = query.query_map([], |_| Ok(())).expect("names").count();
        assert_eq!(names, 1);
        query.get_status(StatementStatus::VmStep)
    }

    #[test]
    fn tasks_that_wait_for_a_session_cost_nothing() {
        assert_eq!(steps(5), steps(5000));
    }
}
