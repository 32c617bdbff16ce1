//! The schema and its migrations: an append-only list, applied in one exclusive transaction.

use std::path::Path;

use rusqlite::Connection;

use super::StoreError;
use super::original::{self, Backup};

/// The schema that this assigner writes, as SQLite's `user_version`.
pub const VERSION: i64 = MIGRATIONS.len() as i64;

/// Every step from an empty file to [`VERSION`]. A released step is never edited.
const MIGRATIONS: &[&str] = &[
    // 1: the first schema. `prompts`, `sessions` and `assignment_history` have the names and
    // columns of the Python worker's database, so that its users' queries keep working.
    r"
CREATE TABLE tasks (
    id               INTEGER PRIMARY KEY AUTOINCREMENT,
    kind             TEXT NOT NULL DEFAULT 'prompt' CHECK (kind IN ('prompt', 'command')),
    content          TEXT NOT NULL,
    source           TEXT NOT NULL DEFAULT 'cli',
    priority         INTEGER NOT NULL DEFAULT 0,
    status           TEXT NOT NULL DEFAULT 'pending' CHECK (status IN
        ('pending', 'assigned', 'in_progress', 'completed', 'failed', 'cancelled', 'uncertain')),
    session          TEXT,
    exit_code        INTEGER,
    error            TEXT,
    created_at       TEXT NOT NULL,
    assigned_at      TEXT,
    completed_at     TEXT,
    metadata         TEXT NOT NULL DEFAULT '{}',
    target_session   TEXT,
    target_provider  TEXT,
    attempts         INTEGER NOT NULL DEFAULT 0,
    max_retries      INTEGER NOT NULL DEFAULT 0,
    timeout_seconds  INTEGER,
    not_before       TEXT,
    cancel_requested TEXT,
    wait_reason      TEXT,
    wait_rankings    TEXT,
    -- The hard constraints as one key: tasks that no ready session may run are never read.
    lane             TEXT GENERATED ALWAYS AS (json_array(
        kind,
        target_session,
        target_provider,
        CASE WHEN json_valid(metadata) THEN json_extract(metadata, '$.preferred_providers') END,
        CASE WHEN json_valid(metadata) THEN json_extract(metadata, '$.fallback_providers') END,
        CASE WHEN json_valid(metadata) THEN json_extract(metadata, '$.allow_fallback') END
    )) VIRTUAL
);
CREATE INDEX tasks_pending ON tasks (lane, priority DESC, id) WHERE status = 'pending';
CREATE INDEX tasks_due ON tasks (not_before) WHERE status = 'pending' AND not_before IS NOT NULL;
CREATE INDEX tasks_by_status ON tasks (status);

CREATE TABLE attempts (
    id             INTEGER PRIMARY KEY AUTOINCREMENT,
    task_id        INTEGER NOT NULL REFERENCES tasks (id) ON DELETE CASCADE,
    number         INTEGER NOT NULL,
    session        TEXT NOT NULL,
    server_pid     INTEGER NOT NULL,
    server_start   INTEGER NOT NULL,
    pane           TEXT NOT NULL,
    pane_pid       INTEGER NOT NULL,
    phase          TEXT NOT NULL CHECK (phase IN
        ('claimed', 'preparing', 'delivering', 'in_progress', 'ended')),
    outcome        TEXT,
    exit_code      INTEGER,
    error          TEXT,
    claimed_at     TEXT NOT NULL,
    delivered_at   TEXT,
    started_at     TEXT,
    ended_at       TEXT,
    policy_name    TEXT NOT NULL,
    policy_version TEXT NOT NULL,
    policy_sha256  TEXT NOT NULL,
    rankings       TEXT NOT NULL,
    CHECK ((phase = 'ended') = (outcome IS NOT NULL))
);
CREATE INDEX attempts_of_task ON attempts (task_id, id);
-- A session has at most one attempt in flight, and so has a task: the database itself says so.
CREATE UNIQUE INDEX one_attempt_a_session
    ON attempts (server_pid, server_start, pane, pane_pid) WHERE phase <> 'ended';
CREATE UNIQUE INDEX one_attempt_a_task ON attempts (task_id) WHERE phase <> 'ended';

CREATE TABLE outputs (
    attempt_id INTEGER PRIMARY KEY REFERENCES attempts (id) ON DELETE CASCADE,
    total      INTEGER NOT NULL,
    bytes      BLOB NOT NULL
);

CREATE TABLE assignment_history (
    id           INTEGER PRIMARY KEY AUTOINCREMENT,
    prompt_id    INTEGER,
    session_name TEXT,
    action       TEXT NOT NULL,
    created_at   TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now')),
    details      TEXT
);
CREATE INDEX history_of_task ON assignment_history (prompt_id, id);

CREATE TABLE sessions (
    name                TEXT PRIMARY KEY,
    status              TEXT NOT NULL,
    last_activity       TEXT,
    current_task_id     INTEGER,
    working_dir         TEXT,
    is_claude           INTEGER NOT NULL DEFAULT 0,
    provider            TEXT,
    last_output         TEXT,
    updated_at          TEXT,
    current_dir         TEXT,
    git_branch          TEXT,
    last_context_update TEXT,
    env_vars            TEXT NOT NULL DEFAULT '{}',
    reason              TEXT NOT NULL DEFAULT '',
    since               TEXT,
    server_pid          INTEGER,
    server_start        INTEGER,
    pane                TEXT,
    pane_pid            INTEGER,
    completed           INTEGER NOT NULL DEFAULT 0,
    failed              INTEGER NOT NULL DEFAULT 0
);

CREATE TABLE daemon (
    id    INTEGER PRIMARY KEY CHECK (id = 1),
    facts TEXT NOT NULL
);

CREATE VIEW prompts AS SELECT
    id, content, source, priority, status,
    session AS assigned_session,
    created_at, assigned_at, completed_at,
    (SELECT CAST(outputs.bytes AS TEXT) FROM attempts JOIN outputs ON outputs.attempt_id = attempts.id
        WHERE attempts.task_id = tasks.id ORDER BY attempts.id DESC LIMIT 1) AS response,
    error, metadata, target_session, target_provider,
    max(attempts - 1, 0) AS retry_count,
    max_retries,
    timeout_seconds / 60 AS timeout_minutes
FROM tasks;

CREATE TRIGGER prompts_insert INSTEAD OF INSERT ON prompts BEGIN
    INSERT INTO tasks (id, kind, content, source, priority, created_at, metadata,
        target_session, target_provider, max_retries, timeout_seconds)
    VALUES (NEW.id, CASE NEW.target_provider WHEN 'shell' THEN 'command' ELSE 'prompt' END,
        NEW.content, coalesce(NEW.source, 'sql'), coalesce(NEW.priority, 0),
        strftime('%Y-%m-%dT%H:%M:%fZ', coalesce(NEW.created_at, 'now')),
        coalesce(NEW.metadata, '{}'), NEW.target_session, NEW.target_provider,
        coalesce(NEW.max_retries, 0), NEW.timeout_minutes * 60);
    INSERT INTO assignment_history (prompt_id, action, details)
    VALUES (last_insert_rowid(), 'queued', 'inserted into prompts');
END;
",
    // 2: context management: tasks that follow others, tasks that wait for a time, labels, pauses,
    // and what came from the Python worker's database. `lane` holds more constraints, and its index
    // contains only tasks that may run now.
    r"
DROP TRIGGER prompts_insert;
DROP VIEW prompts;
DROP INDEX tasks_pending;
ALTER TABLE tasks DROP COLUMN lane;
ALTER TABLE tasks ADD COLUMN tries INTEGER NOT NULL DEFAULT 0;
ALTER TABLE tasks ADD COLUMN blocked INTEGER NOT NULL DEFAULT 0;
ALTER TABLE tasks ADD COLUMN revision INTEGER NOT NULL DEFAULT 0;
ALTER TABLE tasks ADD COLUMN reassign_requested TEXT;
ALTER TABLE tasks ADD COLUMN reassign_to TEXT;
ALTER TABLE tasks ADD COLUMN secrets TEXT;
ALTER TABLE tasks ADD COLUMN response TEXT;
UPDATE tasks SET tries = attempts;
ALTER TABLE tasks ADD COLUMN lane TEXT GENERATED ALWAYS AS (json_array(
    kind,
    CAST(target_session AS TEXT),
    CAST(target_provider AS TEXT),
    CASE WHEN json_valid(metadata) THEN json_extract(metadata, '$.preferred_providers') END,
    CASE WHEN json_valid(metadata) THEN json_extract(metadata, '$.fallback_providers') END,
    CASE WHEN json_valid(metadata) THEN json_extract(metadata, '$.allow_fallback') END,
    CASE WHEN json_valid(metadata) THEN json_extract(metadata, '$.target_fallback') END,
    CASE WHEN json_valid(metadata)
        AND json_extract(metadata, '$.require_branch')
        AND json_extract(metadata, '$.working_dir') IS NULL
        AND coalesce(json_array_length(metadata, '$.prerequisites'), 0) = 0
        THEN json_extract(metadata, '$.git_branch') END,
    CASE WHEN json_valid(metadata) THEN json_extract(metadata, '$.require_labels') END
)) VIRTUAL;
CREATE INDEX tasks_pending ON tasks (lane, priority DESC, id)
    WHERE status = 'pending' AND not_before IS NULL AND blocked = 0;
CREATE INDEX tasks_with_secrets ON tasks (secrets) WHERE secrets IS NOT NULL;

CREATE TABLE dependencies (
    task_id   INTEGER NOT NULL REFERENCES tasks (id) ON DELETE CASCADE,
    parent_id INTEGER NOT NULL REFERENCES tasks (id) ON DELETE CASCADE,
    if_fails  TEXT NOT NULL CHECK (if_fails IN ('fail', 'release')),
    PRIMARY KEY (task_id, parent_id)
) WITHOUT ROWID;
CREATE INDEX children ON dependencies (parent_id);

CREATE TABLE pauses (
    scope TEXT NOT NULL CHECK (scope IN ('session', 'provider', 'all')),
    name  TEXT NOT NULL,
    since TEXT NOT NULL,
    PRIMARY KEY (scope, name)
) WITHOUT ROWID;

CREATE TABLE session_labels (
    session TEXT NOT NULL,
    name    TEXT NOT NULL,
    value   TEXT NOT NULL,
    PRIMARY KEY (session, name)
) WITHOUT ROWID;

-- What programs tell of sessions, for the daemon to take up.
CREATE TABLE context_updates (
    id      INTEGER PRIMARY KEY AUTOINCREMENT,
    session TEXT NOT NULL,
    env     TEXT NOT NULL
);

-- The rows of other databases that were merged into this one, so that none is merged twice.
CREATE TABLE imported (
    fingerprint TEXT PRIMARY KEY,
    task_id     INTEGER
) WITHOUT ROWID;

ALTER TABLE sessions ADD COLUMN admission TEXT NOT NULL DEFAULT 'open';
ALTER TABLE sessions ADD COLUMN paused INTEGER NOT NULL DEFAULT 0;
ALTER TABLE sessions ADD COLUMN labels TEXT NOT NULL DEFAULT '{}';
CREATE INDEX history_of_session ON assignment_history (session_name, id);

CREATE VIEW prompts AS SELECT
    id, content, source, priority, status,
    session AS assigned_session,
    created_at, assigned_at, completed_at,
    coalesce(
        (SELECT CAST(outputs.bytes AS TEXT) FROM attempts
            JOIN outputs ON outputs.attempt_id = attempts.id
            WHERE attempts.task_id = tasks.id ORDER BY attempts.id DESC LIMIT 1),
        response
    ) AS response,
    error, metadata, target_session, target_provider,
    -- How often it was tried again: a task that waits or runs is in the try behind those that ended.
    CASE WHEN status IN ('pending', 'assigned', 'in_progress') THEN attempts
        ELSE max(attempts - 1, 0) END AS retry_count,
    max_retries,
    timeout_seconds / 60 AS timeout_minutes
FROM tasks;

CREATE TRIGGER prompts_insert INSTEAD OF INSERT ON prompts BEGIN
    INSERT INTO tasks (id, kind, content, source, priority, created_at, metadata,
        target_session, target_provider, max_retries, timeout_seconds)
    VALUES (NEW.id, CASE NEW.target_provider WHEN 'shell' THEN 'command' ELSE 'prompt' END,
        NEW.content, coalesce(NEW.source, 'sql'), coalesce(NEW.priority, 0),
        strftime('%Y-%m-%dT%H:%M:%fZ', coalesce(NEW.created_at, 'now')),
        coalesce(NEW.metadata, '{}'), NEW.target_session, NEW.target_provider,
        coalesce(NEW.max_retries, 0),
        CASE WHEN NEW.timeout_minutes > 0 THEN NEW.timeout_minutes * 60 END);
    INSERT INTO assignment_history (prompt_id, action, details)
    VALUES (last_insert_rowid(), 'queued', 'inserted into prompts');
END;
",
    // 3: what became of policies, and which sessions an attempt's decision ruled out.
    r"
ALTER TABLE attempts ADD COLUMN ruled_out TEXT NOT NULL DEFAULT '[]';

CREATE TABLE policy_log (
    id             INTEGER PRIMARY KEY AUTOINCREMENT,
    at             TEXT NOT NULL,
    cause          TEXT NOT NULL,
    source         TEXT NOT NULL,
    settings       TEXT NOT NULL DEFAULT '{}',
    set_by_hand    TEXT NOT NULL DEFAULT '{}',
    outcome        TEXT NOT NULL,
    reason         TEXT,
    policy_name    TEXT,
    policy_version TEXT,
    policy_sha256  TEXT
);
CREATE INDEX policy_orders ON policy_log (id) WHERE outcome = 'waiting';
",
    // 4: agents: a task may wait for a person, an attempt is submitted before it runs, a provider
    // is paused until its limit ends. SQLite cannot change a CHECK in place, so the tables are
    // created anew.
    r"
DROP TRIGGER IF EXISTS prompts_insert;
DROP VIEW IF EXISTS prompts;
CREATE TABLE tasks_new (
    id                 INTEGER PRIMARY KEY AUTOINCREMENT,
    kind               TEXT NOT NULL DEFAULT 'prompt' CHECK (kind IN ('prompt', 'command')),
    content            TEXT NOT NULL,
    source             TEXT NOT NULL DEFAULT 'cli',
    priority           INTEGER NOT NULL DEFAULT 0,
    status             TEXT NOT NULL DEFAULT 'pending' CHECK (status IN
        ('pending', 'assigned', 'in_progress', 'waiting_input', 'completed', 'failed', 'cancelled',
        'uncertain')),
    session            TEXT,
    exit_code          INTEGER,
    error              TEXT,
    created_at         TEXT NOT NULL,
    assigned_at        TEXT,
    completed_at       TEXT,
    metadata           TEXT NOT NULL DEFAULT '{}',
    target_session     TEXT,
    target_provider    TEXT,
    attempts           INTEGER NOT NULL DEFAULT 0,
    max_retries        INTEGER NOT NULL DEFAULT 0,
    timeout_seconds    INTEGER,
    not_before         TEXT,
    cancel_requested   TEXT,
    wait_reason        TEXT,
    wait_rankings      TEXT,
    tries              INTEGER NOT NULL DEFAULT 0,
    blocked            INTEGER NOT NULL DEFAULT 0,
    revision           INTEGER NOT NULL DEFAULT 0,
    reassign_requested TEXT,
    reassign_to        TEXT,
    secrets            TEXT,
    response           TEXT,
    asks               TEXT,
    lane               TEXT GENERATED ALWAYS AS (json_array(
        kind,
        CAST(target_session AS TEXT),
        CAST(target_provider AS TEXT),
        CASE WHEN json_valid(metadata) THEN json_extract(metadata, '$.preferred_providers') END,
        CASE WHEN json_valid(metadata) THEN json_extract(metadata, '$.fallback_providers') END,
        CASE WHEN json_valid(metadata) THEN json_extract(metadata, '$.allow_fallback') END,
        CASE WHEN json_valid(metadata) THEN json_extract(metadata, '$.target_fallback') END,
        CASE WHEN json_valid(metadata)
            AND json_extract(metadata, '$.require_branch')
            AND json_extract(metadata, '$.working_dir') IS NULL
            AND coalesce(json_array_length(metadata, '$.prerequisites'), 0) = 0
            THEN json_extract(metadata, '$.git_branch') END,
        CASE WHEN json_valid(metadata) THEN json_extract(metadata, '$.require_labels') END
    )) VIRTUAL
);
INSERT INTO tasks_new (id, kind, content, source, priority, status, session, exit_code, error,
    created_at, assigned_at, completed_at, metadata, target_session, target_provider, attempts,
    max_retries, timeout_seconds, not_before, cancel_requested, wait_reason, wait_rankings, tries,
    blocked, revision, reassign_requested, reassign_to, secrets, response)
SELECT id, kind, content, source, priority, status, session, exit_code, error,
    created_at, assigned_at, completed_at, metadata, target_session, target_provider, attempts,
    max_retries, timeout_seconds, not_before, cancel_requested, wait_reason, wait_rankings, tries,
    blocked, revision, reassign_requested, reassign_to, secrets, response FROM tasks;
-- Numbers are never used again, also where the last task was deleted.
INSERT INTO sqlite_sequence (name, seq) SELECT 'tasks_new', 0
    WHERE NOT EXISTS (SELECT 1 FROM sqlite_sequence WHERE name = 'tasks_new');
UPDATE sqlite_sequence SET seq = max(seq,
    coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'tasks'), 0)) WHERE name = 'tasks_new';
DROP TABLE tasks;
ALTER TABLE tasks_new RENAME TO tasks;
CREATE INDEX tasks_pending ON tasks (lane, priority DESC, id)
    WHERE status = 'pending' AND not_before IS NULL AND blocked = 0;
CREATE INDEX tasks_due ON tasks (not_before) WHERE status = 'pending' AND not_before IS NOT NULL;
CREATE INDEX tasks_by_status ON tasks (status);
CREATE INDEX tasks_with_secrets ON tasks (secrets) WHERE secrets IS NOT NULL;

CREATE TABLE attempts_new (
    id             INTEGER PRIMARY KEY AUTOINCREMENT,
    task_id        INTEGER NOT NULL REFERENCES tasks (id) ON DELETE CASCADE,
    number         INTEGER NOT NULL,
    session        TEXT NOT NULL,
    server_pid     INTEGER NOT NULL,
    server_start   INTEGER NOT NULL,
    pane           TEXT NOT NULL,
    pane_pid       INTEGER NOT NULL,
    phase          TEXT NOT NULL CHECK (phase IN
        ('claimed', 'delivering', 'submitted', 'in_progress', 'ended')),
    outcome        TEXT,
    exit_code      INTEGER,
    error          TEXT,
    claimed_at     TEXT NOT NULL,
    delivered_at   TEXT,
    submitted_at   TEXT,
    started_at     TEXT,
    -- When its agent went on behind a question.
    resumed_at     TEXT,
    ended_at       TEXT,
    policy_name    TEXT NOT NULL,
    policy_version TEXT NOT NULL,
    policy_sha256  TEXT NOT NULL,
    rankings       TEXT NOT NULL,
    ruled_out      TEXT NOT NULL DEFAULT '[]',
    -- What is known of an agent's turn, as JSON.
    turn           TEXT,
    CHECK ((phase = 'ended') = (outcome IS NOT NULL))
);
INSERT INTO attempts_new (id, task_id, number, session, server_pid, server_start, pane, pane_pid,
    phase, outcome, exit_code, error, claimed_at, delivered_at, started_at, ended_at, policy_name,
    policy_version, policy_sha256, rankings, ruled_out)
SELECT id, task_id, number, session, server_pid, server_start, pane, pane_pid,
    CASE phase WHEN 'preparing' THEN 'claimed' ELSE phase END, outcome, exit_code, error,
    claimed_at, delivered_at, started_at, ended_at, policy_name,
    policy_version, policy_sha256, rankings, ruled_out FROM attempts;
INSERT INTO sqlite_sequence (name, seq) SELECT 'attempts_new', 0
    WHERE NOT EXISTS (SELECT 1 FROM sqlite_sequence WHERE name = 'attempts_new');
UPDATE sqlite_sequence SET seq = max(seq,
    coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'attempts'), 0))
    WHERE name = 'attempts_new';
DROP TABLE attempts;
ALTER TABLE attempts_new RENAME TO attempts;
CREATE INDEX attempts_of_task ON attempts (task_id, id);
CREATE UNIQUE INDEX one_attempt_a_session
    ON attempts (server_pid, server_start, pane, pane_pid) WHERE phase <> 'ended';
CREATE UNIQUE INDEX one_attempt_a_task ON attempts (task_id) WHERE phase <> 'ended';

ALTER TABLE pauses ADD COLUMN until TEXT;
ALTER TABLE pauses ADD COLUMN reason TEXT;

-- What people answer to agents that ask, for the daemon to give to them.
CREATE TABLE replies (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    task_id    INTEGER NOT NULL REFERENCES tasks (id) ON DELETE CASCADE,
    kind       TEXT NOT NULL DEFAULT 'words' CHECK (kind IN ('words', 'keys', 'accept')),
    text       TEXT NOT NULL,
    -- What was asked when it was said.
    asks       TEXT,
    -- Whether the daemon is just giving it.
    taken      INTEGER NOT NULL DEFAULT 0,
    created_at TEXT NOT NULL
);

CREATE VIEW prompts AS SELECT
    id, content, source, priority, status,
    session AS assigned_session,
    created_at, assigned_at, completed_at,
    coalesce(
        (SELECT CAST(outputs.bytes AS TEXT) FROM attempts
            JOIN outputs ON outputs.attempt_id = attempts.id
            WHERE attempts.task_id = tasks.id ORDER BY attempts.id DESC LIMIT 1),
        response
    ) AS response,
    error, metadata, target_session, target_provider,
    -- How often it was tried again: a task that waits or runs is in the try behind those that ended.
    CASE WHEN status IN ('pending', 'assigned', 'in_progress', 'waiting_input') THEN attempts
        ELSE max(attempts - 1, 0) END AS retry_count,
    max_retries,
    timeout_seconds / 60 AS timeout_minutes
FROM tasks;

CREATE TRIGGER prompts_insert INSTEAD OF INSERT ON prompts BEGIN
    INSERT INTO tasks (id, kind, content, source, priority, created_at, metadata,
        target_session, target_provider, max_retries, timeout_seconds)
    VALUES (NEW.id, CASE NEW.target_provider WHEN 'shell' THEN 'command' ELSE 'prompt' END,
        NEW.content, coalesce(NEW.source, 'sql'), coalesce(NEW.priority, 0),
        strftime('%Y-%m-%dT%H:%M:%fZ', coalesce(NEW.created_at, 'now')),
        coalesce(NEW.metadata, '{}'), NEW.target_session, NEW.target_provider,
        coalesce(NEW.max_retries, 0),
        CASE WHEN NEW.timeout_minutes > 0 THEN NEW.timeout_minutes * 60 END);
    INSERT INTO assignment_history (prompt_id, action, details)
    VALUES (last_insert_rowid(), 'queued', 'inserted into prompts');
END;
",
    // 5: what people set for sessions is bound to what the name meant, because tmux reuses names.
    // The column holds the text of a `Meaning`, and is empty (NULL for a target) until a session
    // with that name was seen. `lane` includes it as well. Several tmux sessions show one session
    // if they form a group.
    r"
DROP INDEX tasks_pending;
ALTER TABLE tasks DROP COLUMN lane;
ALTER TABLE tasks ADD COLUMN target_meaning TEXT;
ALTER TABLE tasks ADD COLUMN reassign_meaning TEXT;
ALTER TABLE tasks ADD COLUMN lane TEXT GENERATED ALWAYS AS (json_array(
    kind,
    CAST(target_session AS TEXT),
    CAST(target_provider AS TEXT),
    CASE WHEN json_valid(metadata) THEN json_extract(metadata, '$.preferred_providers') END,
    CASE WHEN json_valid(metadata) THEN json_extract(metadata, '$.fallback_providers') END,
    CASE WHEN json_valid(metadata) THEN json_extract(metadata, '$.allow_fallback') END,
    CASE WHEN json_valid(metadata) THEN json_extract(metadata, '$.target_fallback') END,
    CASE WHEN json_valid(metadata)
        AND json_extract(metadata, '$.require_branch')
        AND json_extract(metadata, '$.working_dir') IS NULL
        AND coalesce(json_array_length(metadata, '$.prerequisites'), 0) = 0
        THEN json_extract(metadata, '$.git_branch') END,
    CASE WHEN json_valid(metadata) THEN json_extract(metadata, '$.require_labels') END,
    CAST(target_meaning AS TEXT)
)) VIRTUAL;
CREATE INDEX tasks_pending ON tasks (lane, priority DESC, id)
    WHERE status = 'pending' AND not_before IS NULL AND blocked = 0;
CREATE INDEX tasks_awaiting ON tasks (target_session)
    WHERE status = 'pending' AND target_session IS NOT NULL AND target_meaning IS NULL;

CREATE TABLE pauses_new (
    scope   TEXT NOT NULL CHECK (scope IN ('session', 'provider', 'all')),
    name    TEXT NOT NULL,
    meaning TEXT NOT NULL DEFAULT '',
    since   TEXT NOT NULL,
    until   TEXT,
    reason  TEXT,
    PRIMARY KEY (scope, name, meaning)
) WITHOUT ROWID;
INSERT INTO pauses_new (scope, name, since, until, reason)
    SELECT scope, name, since, until, reason FROM pauses;
DROP TABLE pauses;
ALTER TABLE pauses_new RENAME TO pauses;

CREATE TABLE session_labels_new (
    session TEXT NOT NULL,
    meaning TEXT NOT NULL DEFAULT '',
    name    TEXT NOT NULL,
    value   TEXT NOT NULL,
    PRIMARY KEY (session, meaning, name)
) WITHOUT ROWID;
INSERT INTO session_labels_new (session, name, value)
    SELECT session, name, value FROM session_labels;
DROP TABLE session_labels;
ALTER TABLE session_labels_new RENAME TO session_labels;

ALTER TABLE context_updates ADD COLUMN meaning TEXT NOT NULL DEFAULT '';
ALTER TABLE sessions ADD COLUMN homes TEXT NOT NULL DEFAULT '[]';
UPDATE sessions SET reason = ''
    WHERE status = 'idle' AND reason = 'waits at its prompt';
",
    // 6: a priority is a whole number within range, whoever wrote it. A page of the queue starts
    // after the priority of the last task: if that were read differently from how it is sorted, a
    // page could repeat tasks or leave some out.
    r"
UPDATE tasks SET priority = max(-2147483648, min(2147483647, CAST(priority AS INTEGER)))
    WHERE typeof(priority) <> 'integer' OR priority NOT BETWEEN -2147483648 AND 2147483647;
CREATE TRIGGER priority_of_new_task AFTER INSERT ON tasks
    WHEN typeof(NEW.priority) <> 'integer'
        OR NEW.priority NOT BETWEEN -2147483648 AND 2147483647 BEGIN
    UPDATE tasks SET priority = max(-2147483648, min(2147483647, CAST(priority AS INTEGER)))
        WHERE id = NEW.id;
END;
CREATE TRIGGER priority_of_task AFTER UPDATE OF priority ON tasks
    WHEN typeof(NEW.priority) <> 'integer'
        OR NEW.priority NOT BETWEEN -2147483648 AND 2147483647 BEGIN
    UPDATE tasks SET priority = max(-2147483648, min(2147483647, CAST(priority AS INTEGER)))
        WHERE id = NEW.id;
END;
",
    // 7: a failed task rests before its next try. The rest is measured by a monotonic clock; the
    // time in `not_before` is only for people.
    r"
ALTER TABLE tasks ADD COLUMN rests INTEGER NOT NULL DEFAULT 0;
CREATE INDEX sessions_of_pane ON sessions (server_pid, pane);
CREATE INDEX tasks_resting ON tasks (id)
    WHERE status = 'pending' AND rests = 1 AND not_before IS NOT NULL;
UPDATE tasks SET rests = 1 WHERE status = 'pending' AND not_before IS NOT NULL AND tries > 0;
",
    // 8: an agent that works in another repository is not a suitable place for a prompt.
    r"
ALTER TABLE sessions ADD COLUMN repository TEXT;
",
];

/// Brings the database of `connection` to [`VERSION`]. A database of the Python worker is first
/// copied and then taken over.
///
/// # Errors
/// It is newer than this assigner or belongs to another program, or SQLite refused: nothing has
/// changed.
pub(super) fn migrate(connection: &mut Connection, path: &Path) -> Result<(), StoreError> {
    if version(connection)? == VERSION {
        return Ok(());
    }
    // Tables are renamed, and views of other tools may refer to something that does not exist yet.
    connection.pragma_update(None, "foreign_keys", false)?;
    connection.pragma_update(None, "legacy_alter_table", true)?;
    while !step(connection, path)? {}
    connection.pragma_update(None, "legacy_alter_table", false)?;
    Ok(())
}

/// Migrates and returns true, or returns false if another process came in between: then try again.
fn step(connection: &mut Connection, path: &Path) -> Result<bool, StoreError> {
    let backup = original::is_one(connection)?
        .then(|| Backup::make(connection, path))
        .transpose()?;
    let transaction =
        connection.transaction_with_behavior(rusqlite::TransactionBehavior::Exclusive)?;
    // Checked again once the lock is held: another process may have migrated in between.
    let found = version(&transaction)?;
    if found > VERSION {
        return Err(StoreError::Newer {
            path: path.to_owned(),
            found,
            known: VERSION,
        });
    }
    let others = take_down(&transaction)?;
    if original::is_one(&transaction)? {
        let Some(backup) = backup else {
            return Ok(false);
        };
        if !backup.is_current(&transaction)? {
            return Ok(false);
        }
        original::set_aside(&transaction)?;
        apply(&transaction, 0)?;
        original::take_over(&transaction)?;
        backup.keep()?;
    } else {
        let tables: i64 =
            transaction.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
        if found == 0 && tables > 0 {
            return Err(StoreError::Foreign {
                path: path.to_owned(),
            });
        }
        apply(&transaction, found)?;
    }
    put_up(&transaction, &others)?;
    transaction.pragma_update(None, "user_version", VERSION)?;
    transaction.commit()?;
    Ok(true)
}

/// The SQL that creates a view or a trigger of another tool.
struct Other(String);

/// Removes views and triggers that are not ours: SQLite does not change a table while one of them
/// refers to something that does not exist at the moment.
fn take_down(transaction: &Connection) -> Result<Vec<Other>, StoreError> {
    let mut query = transaction.prepare(
        "SELECT type, name, sql FROM sqlite_schema WHERE type IN ('view', 'trigger')
            AND name NOT IN ('prompts', 'prompts_insert') ORDER BY type DESC, rowid",
    )?;
    let rows = query.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
    let rows: Vec<(String, String, String)> = rows.collect::<Result<_, _>>()?;
    let mut others = Vec::new();
    for (kind, name, sql) in rows {
        let name = name.replace('"', "\"\"");
        transaction.execute_batch(&format!("DROP {kind} IF EXISTS \"{name}\""))?;
        others.push(Other(sql));
    }
    Ok(others)
}

/// Creates them again. A trigger on a table that is now a view cannot be: it remains in the copy.
fn put_up(transaction: &Connection, others: &[Other]) -> Result<(), StoreError> {
    // Views come before the triggers on them.
    for Other(sql) in others {
        if let Err(error) = transaction.execute_batch(sql) {
            tracing::warn!("a trigger of another tool could not be kept: {error}");
        }
    }
    Ok(())
}

fn apply(transaction: &Connection, found: i64) -> Result<(), StoreError> {
    let done = usize::try_from(found).unwrap_or_default();
    for step in MIGRATIONS.iter().skip(done) {
        transaction.execute_batch(step)?;
    }
    Ok(())
}

fn version(connection: &Connection) -> Result<i64, rusqlite::Error> {
    connection.query_row("PRAGMA user_version", [], |row| row.get(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ids::{TaskId, TmuxSession};
    use crate::model::naming::{Meaning, SessionRef};
    use crate::model::task::Status;
    use crate::store::{Pause, Sqlite, Store};

    /// A database as the first release wrote it. Every later release must open it.
    #[test]
    fn a_database_of_the_first_version_is_brought_up() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("assigner.db");
        let old = Connection::open(&path).expect("a file");
        old.execute_batch(MIGRATIONS[0]).expect("the first schema");
        old.execute_batch(
            "INSERT INTO tasks (kind, content, created_at, attempts, max_retries, metadata)
                VALUES ('command', 'again', '2026-01-01T00:00:00.000Z', 2, 3, '{\"x\": 1}');
             INSERT INTO tasks (kind, content, created_at, status, completed_at)
                VALUES ('command', 'done', '2026-01-01T00:00:00.000Z', 'completed',
                    '2026-01-01T00:00:01.000Z');
             INSERT INTO tasks (kind, content, created_at, not_before, priority)
                VALUES ('command', 'later', '2026-01-01T00:00:00.000Z', '2999-01-01T00:00:00.000Z',
                    5000000000);
             INSERT INTO attempts (task_id, number, session, server_pid, server_start, pane,
                pane_pid, phase, outcome, claimed_at, policy_name, policy_version, policy_sha256,
                rankings) VALUES (2, 1, 'api', 1, 1, '%1', 1, 'ended', 'completed',
                '2026-01-01T00:00:00.000Z', 'default', '0.1.0', '00', '[]');
             INSERT INTO outputs (attempt_id, total, bytes) VALUES (1, 2, x'6f6b');
             INSERT INTO assignment_history (prompt_id, action) VALUES (2, 'completed');
             INSERT INTO sessions (name, status, server_pid, server_start, pane, pane_pid)
                VALUES ('api', 'idle', 1, 1, '%1', 1);
             CREATE VIEW depth AS SELECT status, count(*) AS n FROM prompts GROUP BY status;
             CREATE TRIGGER told AFTER INSERT ON tasks BEGIN SELECT 1; END;
             PRAGMA user_version = 1;",
        )
        .expect("rows");
        drop(old);
        let mut store = Sqlite::open(directory.path()).expect("brought up");
        let again = store.task(TaskId(1)).expect("the first task");
        assert_eq!((again.attempts, again.tries), (2, 2));
        assert!(again.metadata.rest.contains_key("x"));
        assert_eq!(
            store.task(TaskId(2)).expect("the second").status,
            Status::Completed
        );
        let output = store.output(TaskId(2)).expect("read").expect("there");
        assert_eq!(output.bytes, b"ok");
        assert_eq!(store.attempts(TaskId(2)).expect("attempts").len(), 1);
        assert_eq!(store.history(TaskId(2)).expect("history").len(), 1);
        assert_eq!(store.sessions().expect("sessions").len(), 1);
        let lanes = store.lanes().expect("lanes");
        let runnable = store.pending(&lanes, 9, None).expect("a page");
        assert_eq!(runnable.len(), 1, "one waits for its time");
        let others = Connection::open(&path).expect("another connection");
        let kept: i64 = others
            .query_row(
                "SELECT (SELECT count(*) FROM depth) + (SELECT count(*) FROM sqlite_schema
                    WHERE name = 'told')",
                [],
                |row| row.get(0),
            )
            .expect("what others made");
        assert_eq!(kept, 3);
        let priority: i64 = others
            .query_row("SELECT priority FROM tasks WHERE id = 3", [], |row| {
                row.get(0)
            })
            .expect("a priority");
        assert_eq!(priority, i64::from(i32::MAX));
    }

    /// What was set by name alone is kept, and waits for a session with that name.
    #[test]
    fn what_was_said_by_name_is_kept_and_bound_later() {
        let directory = tempfile::tempdir().expect("a directory");
        let old = Connection::open(directory.path().join("assigner.db")).expect("a file");
        for step in &MIGRATIONS[..4] {
            old.execute_batch(step).expect("the schema of then");
        }
        old.execute_batch(
            "INSERT INTO tasks (kind, content, created_at, target_session)
                VALUES ('command', 'x', '2026-01-01T00:00:00.000Z', 'api');
             INSERT INTO pauses (scope, name, since) VALUES
                ('session', 'api', '2026-01-01T00:00:00.000Z'),
                ('all', '', '2026-01-01T00:00:00.000Z');
             INSERT INTO pauses (scope, name, since, until, reason) VALUES
                ('provider', 'claude', '2026-01-01T00:00:00.000Z', '2999-01-01T00:00:00.000Z', 'x');
             INSERT INTO session_labels (session, name, value) VALUES ('api', 'gpu', 'yes');
             INSERT INTO context_updates (session, env) VALUES ('api', '{}');
             PRAGMA user_version = 4;",
        )
        .expect("rows");
        drop(old);
        let mut store = Sqlite::open(directory.path()).expect("brought up");
        let said = SessionRef::from("api");
        let pauses = store.pauses().expect("pauses");
        assert_eq!(pauses.len(), 3);
        assert!(
            pauses
                .iter()
                .any(|pause| pause.what == Pause::Session(said.clone()))
        );
        let limit = pauses.iter().find(|pause| pause.until.is_some());
        assert_eq!(limit.and_then(|pause| pause.reason.as_deref()), Some("x"));
        assert_eq!(store.session_labels().expect("labels")[0].session, said);
        let updates = store.take_context_updates().expect("updates");
        assert_eq!(updates[0].session, said);
        assert_eq!(store.awaited_targets().expect("names"), ["api"]);
        let meaning = Meaning::Session {
            server_pid: 1,
            server_start: 1,
            id: TmuxSession(0),
        };
        let bound = [("api".to_owned(), meaning.clone())];
        store.bind(&bound).expect("bound");
        let task = store.task(TaskId(1)).expect("the task");
        assert_eq!(
            task.target_session.and_then(|target| target.meaning),
            Some(meaning)
        );
        let lanes = store.lanes().expect("lanes");
        assert_eq!(store.pending(&lanes, 9, None).expect("a page").len(), 1);
    }
}
