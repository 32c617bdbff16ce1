//! The schema for SQLite: an append-only list of steps, which `migrate` applies in one exclusive
//! transaction.

/// The schema that this assigner writes, as SQLite's `user_version`.
pub const VERSION: i64 = MIGRATIONS.len() as i64;

/// Every step from an empty file to [`VERSION`]. A released step is never edited.
pub(super) const MIGRATIONS: &[&str] = &[
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
    // 9: Rust computes `lane`, from the same `Demand` that it compares with sessions. Whoever changes
    // what a lane is made of, or queues a task with SQL, leaves it NULL, and it is computed when
    // lanes are read the next time. Each index for pending tasks begins with `status`, so that a
    // database prefers it to `tasks_by_status` without being told.
    r"
DROP INDEX tasks_pending;
ALTER TABLE tasks DROP COLUMN lane;
ALTER TABLE tasks ADD COLUMN lane TEXT;
CREATE INDEX tasks_pending ON tasks (status, lane, priority DESC, id)
    WHERE status = 'pending' AND not_before IS NULL AND blocked = 0;
CREATE INDEX tasks_without_lane ON tasks (status, lane, id)
    WHERE status = 'pending' AND lane IS NULL;
CREATE TRIGGER lane_of_task AFTER UPDATE OF
    kind, target_session, target_meaning, target_provider, metadata ON tasks
    WHEN NEW.lane IS NOT NULL BEGIN
    UPDATE tasks SET lane = NULL WHERE id = NEW.id;
END;
DROP INDEX tasks_due;
CREATE INDEX tasks_due ON tasks (status, not_before)
    WHERE status = 'pending' AND not_before IS NOT NULL;
DROP INDEX tasks_resting;
CREATE INDEX tasks_resting ON tasks (status, rests, id)
    WHERE status = 'pending' AND rests = 1 AND not_before IS NOT NULL;
DROP INDEX tasks_awaiting;
CREATE INDEX tasks_awaiting ON tasks (status, target_session)
    WHERE status = 'pending' AND target_session IS NOT NULL AND target_meaning IS NULL;
DROP INDEX tasks_with_secrets;
CREATE INDEX tasks_with_secrets ON tasks (secrets, status) WHERE secrets IS NOT NULL;
DROP INDEX policy_orders;
CREATE INDEX policy_orders ON policy_log (outcome, id) WHERE outcome = 'waiting';
",
    // 10: which shell runs in a session, for commands that are written for one.
    r"
ALTER TABLE sessions ADD COLUMN shell TEXT;
",
    // 11: a session's identity includes its node, and each node may have a session of a name.
    r"
CREATE TABLE sessions_new (
    node                TEXT NOT NULL DEFAULT '',
    name                TEXT NOT NULL,
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
    failed              INTEGER NOT NULL DEFAULT 0,
    admission           TEXT NOT NULL DEFAULT 'open',
    paused              INTEGER NOT NULL DEFAULT 0,
    labels              TEXT NOT NULL DEFAULT '{}',
    homes               TEXT NOT NULL DEFAULT '[]',
    repository          TEXT,
    shell               TEXT,
    PRIMARY KEY (node, name)
);
INSERT INTO sessions_new (name, status, last_activity, current_task_id, working_dir, is_claude,
    provider, last_output, updated_at, current_dir, git_branch, last_context_update, env_vars,
    reason, since, server_pid, server_start, pane, pane_pid, completed, failed, admission, paused,
    labels, homes, repository, shell)
SELECT name, status, last_activity, current_task_id, working_dir, is_claude,
    provider, last_output, updated_at, current_dir, git_branch, last_context_update, env_vars,
    reason, since, server_pid, server_start, pane, pane_pid, completed, failed, admission, paused,
    labels, homes, repository, shell
FROM sessions WHERE name IS NOT NULL;
DROP TABLE sessions;
ALTER TABLE sessions_new RENAME TO sessions;
CREATE INDEX sessions_of_pane ON sessions (server_pid, pane);
ALTER TABLE attempts ADD COLUMN node TEXT NOT NULL DEFAULT '';
DROP INDEX one_attempt_a_session;
CREATE UNIQUE INDEX one_attempt_a_session
    ON attempts (node, server_pid, server_start, pane, pane_pid) WHERE phase <> 'ended';
",
    // 12: why a part of an output was lost before it could be kept.
    r"
ALTER TABLE outputs ADD COLUMN cut TEXT;
",
    // 13: many tasks are queued in slices: until all are there, they stand in tables of their own. A
    // slice has the numbers of its tasks once they are in the queue.
    r"
CREATE TABLE batches (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    state      TEXT NOT NULL DEFAULT 'staged' CHECK (state IN ('staged', 'whole', 'dropped')),
    touched_at TEXT NOT NULL,
    -- The first of its tasks that is in the queue.
    first_id   INTEGER
);
CREATE TABLE batch_slices (
    batch_id INTEGER NOT NULL,
    first    INTEGER NOT NULL,
    size     INTEGER NOT NULL,
    ids      TEXT,
    PRIMARY KEY (batch_id, first)
);
CREATE TABLE staged_tasks (
    batch_id        INTEGER NOT NULL,
    number          INTEGER NOT NULL,
    kind            TEXT NOT NULL CHECK (kind IN ('prompt', 'command')),
    content         TEXT NOT NULL,
    source          TEXT NOT NULL,
    priority        INTEGER NOT NULL,
    created_at      TEXT NOT NULL,
    metadata        TEXT NOT NULL,
    target_session  TEXT,
    target_provider TEXT,
    max_retries     INTEGER NOT NULL,
    timeout_seconds INTEGER,
    not_before      TEXT,
    secrets         TEXT,
    target_meaning  TEXT,
    lane            TEXT,
    PRIMARY KEY (batch_id, number)
);
CREATE INDEX staged_with_secrets ON staged_tasks (secrets) WHERE secrets IS NOT NULL;
-- How far a person was told of what the history says.
CREATE TABLE notified (
    id      INTEGER PRIMARY KEY CHECK (id = 1),
    history INTEGER NOT NULL
);
CREATE TABLE staged_parents (
    batch_id  INTEGER NOT NULL,
    number    INTEGER NOT NULL,
    parent_id INTEGER,
    earlier   INTEGER,
    if_fails  TEXT NOT NULL CHECK (if_fails IN ('fail', 'release'))
);
CREATE INDEX parents_of_staged ON staged_parents (batch_id, number);
CREATE INDEX staged_children ON staged_parents (parent_id) WHERE parent_id IS NOT NULL;
",
];
