#!/usr/bin/env python3
"""Builds stage1.db .. stage4.db: databases as the earlier program left them behind.

Each stage is made as that program made it: a table is created once, and later versions of the
program added columns with ALTER TABLE to whatever rows were there.

    stage1  the earliest: no targets, no retries, sessions without provider and context
    stage2  stage1, grown: targets, retries and time-outs; sessions with a provider
    stage3  stage2, grown: sessions with directory and branch
    stage4  created by the latest version (so the columns stand in another order), then grown:
            directory, branch and variables; and tables and views of other tools

Nothing depends on the clock or on chance: two runs write the same bytes. What the tests look for
by its text is marked with `tests/migration.rs`.
"""

import datetime
import json
import pathlib
import sqlite3

HERE = pathlib.Path(__file__).resolve().parent
LARGEST = 64 * 1024
START = datetime.datetime(2025, 3, 3, 9, 0, 0)

# The tables as the earliest version created them.
EARLIEST = """
CREATE TABLE prompts (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    content TEXT NOT NULL,
    source TEXT DEFAULT 'api',
    priority INTEGER DEFAULT 0,
    status TEXT DEFAULT 'pending',
    assigned_session TEXT,
    created_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP,
    assigned_at TIMESTAMP,
    completed_at TIMESTAMP,
    response TEXT,
    error TEXT,
    metadata TEXT
);
CREATE TABLE sessions (
    name TEXT PRIMARY KEY,
    status TEXT DEFAULT 'unknown',
    last_activity TIMESTAMP DEFAULT CURRENT_TIMESTAMP,
    current_task_id INTEGER,
    working_dir TEXT,
    is_claude INTEGER DEFAULT 0,
    last_output TEXT,
    updated_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP,
    FOREIGN KEY (current_task_id) REFERENCES prompts(id)
);
"""

# The tables as the latest version creates them.
LATEST = """
CREATE TABLE prompts (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    content TEXT NOT NULL,
    source TEXT DEFAULT 'api',
    priority INTEGER DEFAULT 0,
    status TEXT DEFAULT 'pending',
    assigned_session TEXT,
    created_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP,
    assigned_at TIMESTAMP,
    completed_at TIMESTAMP,
    response TEXT,
    error TEXT,
    metadata TEXT,
    target_session TEXT,
    target_provider TEXT,
    retry_count INTEGER DEFAULT 0,
    max_retries INTEGER DEFAULT 3,
    timeout_minutes INTEGER DEFAULT 30
);
CREATE TABLE sessions (
    name TEXT PRIMARY KEY,
    status TEXT DEFAULT 'unknown',
    last_activity TIMESTAMP DEFAULT CURRENT_TIMESTAMP,
    current_task_id INTEGER,
    working_dir TEXT,
    is_claude INTEGER DEFAULT 0,
    provider TEXT,
    last_output TEXT,
    updated_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP,
    FOREIGN KEY (current_task_id) REFERENCES prompts(id)
);
"""

# What every version created alike.
COMMON = """
CREATE TABLE assignment_history (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    prompt_id INTEGER NOT NULL,
    session_name TEXT NOT NULL,
    action TEXT NOT NULL,
    created_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP,
    details TEXT,
    FOREIGN KEY (prompt_id) REFERENCES prompts(id)
);
CREATE INDEX idx_prompts_status ON prompts(status);
CREATE INDEX idx_prompts_priority ON prompts(priority DESC);
CREATE INDEX idx_sessions_status ON sessions(status);
"""

TARGETS = """
ALTER TABLE prompts ADD COLUMN target_session TEXT;
ALTER TABLE prompts ADD COLUMN target_provider TEXT;
ALTER TABLE prompts ADD COLUMN retry_count INTEGER DEFAULT 0;
ALTER TABLE prompts ADD COLUMN max_retries INTEGER DEFAULT 3;
ALTER TABLE prompts ADD COLUMN timeout_minutes INTEGER DEFAULT 30;
ALTER TABLE sessions ADD COLUMN provider TEXT;
"""

CONTEXT = """
ALTER TABLE sessions ADD COLUMN current_dir TEXT;
ALTER TABLE sessions ADD COLUMN git_branch TEXT;
ALTER TABLE sessions ADD COLUMN last_context_update TIMESTAMP;
"""

VARIABLES = """
ALTER TABLE sessions ADD COLUMN env_vars TEXT;
"""

OTHER_TOOLS = """
CREATE TABLE team_notes (id INTEGER PRIMARY KEY, text TEXT);
INSERT INTO team_notes VALUES (1, 'deploy only after review');
INSERT INTO team_notes VALUES (2, 'worker-1 is the "slow" one 🐌');
INSERT INTO team_notes VALUES (7, NULL);
CREATE VIEW queue_depth AS SELECT status, count(*) AS n FROM prompts GROUP BY status;
"""

TIMED_OUT = "Assignment timed out"

# All keys that mean something, and some that mean something to others only.
FULL = {
    "working_dir": "/srv/app/architect",
    "env_vars": {"DEBUG": "1", "GREETING": "it's \"quoted\" – ünï"},
    "prerequisites": ["test -d /srv/app", "git fetch --all"],
    "git_branch": "dev",
    "prefer_context_match": True,
    "preferred_providers": ["claude", "codex"],
    "fallback_providers": ["gemini"],
    "allow_fallback": False,
    "project_type": "python",
    "environment": {"name": "staging", "region": {"id": 3, "tags": ["a", None, 1.5]}},
    "delegated": {"by": "planner", "chain": [{"step": 1}, {"step": 2}]},
}


def at(minutes, form="%Y-%m-%d %H:%M:%S"):
    """A time in the form that SQLite's CURRENT_TIMESTAMP has."""
    return (START + datetime.timedelta(minutes=minutes)).strftime(form)


class Database:
    """A database of the earlier program, open."""

    def __init__(self, path):
        self.path = path
        for suffix in ("", "-wal", "-shm", "-journal"):
            pathlib.Path(f"{path}{suffix}").unlink(missing_ok=True)
        self.connection = sqlite3.connect(path, isolation_level=None)
        self.minutes = 0

    def script(self, statements):
        self.connection.executescript(statements)

    def insert(self, table, columns):
        names = ", ".join(columns)
        marks = ", ".join("?" * len(columns))
        statement = f"INSERT INTO {table} ({names}) VALUES ({marks})"
        return self.connection.execute(statement, list(columns.values())).lastrowid

    def prompt(self, content, **columns):
        """A prompt; each is queued five minutes after the one before, unless said otherwise."""
        self.minutes += 5
        columns.setdefault("created_at", at(self.minutes))
        if columns.get("status") in ("completed", "failed", "in_progress", "assigned"):
            columns.setdefault("assigned_session", "architect")
            columns.setdefault("assigned_at", at(self.minutes + 1))
        if columns.get("status") in ("completed", "failed", "cancelled"):
            columns.setdefault("completed_at", at(self.minutes + 4))
        return self.insert("prompts", {"content": content, **columns})

    def history(self, prompt, session, action, details, minutes=None):
        when = at(self.minutes + 1 if minutes is None else minutes)
        row = {"prompt_id": prompt, "session_name": session, "action": action}
        return self.insert("assignment_history", {**row, "created_at": when, "details": details})

    def session(self, name, **columns):
        columns.setdefault("last_activity", at(self.minutes))
        columns.setdefault("updated_at", at(self.minutes + 1))
        self.insert("sessions", {"name": name, **columns})

    def update_session(self, name, **columns):
        sets = ", ".join(f"{column} = ?" for column in columns)
        statement = f"UPDATE sessions SET {sets} WHERE name = ?"
        self.connection.execute(statement, [*columns.values(), name])

    def delete(self, prompt):
        """As a clean-up did: the history of the prompt stays behind."""
        self.connection.execute("DELETE FROM prompts WHERE id = ?", [prompt])

    def close(self):
        self.connection.execute("VACUUM")
        self.connection.execute("PRAGMA journal_mode = DELETE")
        self.connection.close()
        size = self.path.stat().st_size
        assert size < LARGEST, f"{self.path} has {size} bytes"


def first_rows(db):
    """What the earliest version of the program wrote."""
    scratch = db.prompt("scratch: delete me", status="completed", response="gone")
    db.history(scratch, "architect", "assigned", None)

    login = db.prompt(
        "Fix the failing login test in tests/test_login.py",
        source="cli",
        priority=5,
        status="completed",
        response="Fixed.\n\nThe fixture used naïve times – now it's UTC.\n\n\t✅ 41 passed\n",
        metadata=json.dumps(FULL, ensure_ascii=False),
    )
    db.history(login, "architect", "assigned", "Assigned to session architect")
    db.history(login, "architect", "completed", None, db.minutes + 4)

    db.prompt(
        "Say \"hello\", it's 100% done; DROP TABLE prompts; --\n"
        "second line\n\n\ttabbed 🦀 — ünïcödé 日本語 \\n is no newline\r\n",
        status="completed",
        assigned_session="qa – ночь",
        response="\x1b[32mgrün\x1b[0m\r\nзавтра 日本語 'quotes' \"both\"",
        metadata='{"working_dir": "/srv/a", "working_dir": "/srv/b", "n": 1.0,\n'
        '  "big": 12345678901234567890123, "caf\\u00e9": "é"}',
    )

    timed_out = db.prompt(
        "Refactor the importer",
        priority=-3,
        status="failed",
        error=TIMED_OUT,
        metadata="{broken",
    )
    db.history(timed_out, "architect", "assigned", "Assigned to session architect")
    db.history(timed_out, "architect", "failed", TIMED_OUT, db.minutes + 4)

    db.prompt(
        "Translate the manual",
        status="failed",
        error="Session 'reviewer' said:\n  \"no such file\" – ☹\n",
        assigned_session="reviewer",
        response="",
        metadata="",
    )

    gap = [db.prompt(f"temporary {number}", status="cancelled") for number in range(3)]
    db.history(gap[1], "reviewer", "cancelled", "by the user\nwith two lines")

    db.prompt("  leading and trailing blanks  \n", status="cancelled", metadata='["a", "list"]')
    db.prompt("Never mind", source="api", status="cancelled", metadata='"only a string"')
    db.prompt("Count the tests", status="completed", response="42", metadata="null")
    db.prompt("Empty answer", status="completed", response="", metadata="42")
    db.prompt("No answer", status="completed", metadata='{"env_vars": {"PORT": 8080}}')

    assigned = db.prompt(
        "Write the release notes",
        status="assigned",
        assigned_session="reviewer",
        metadata='{"working_dir": "/srv/app", "environment": null}',
    )
    db.history(assigned, "reviewer", "assigned", "Assigned to session reviewer")
    running = db.prompt(
        "Review the open change\nand say what is wrong",
        priority=10,
        status="in_progress",
        assigned_session="worker-1",
        metadata=None,
    )
    db.history(running, "worker-1", "assigned", "Assigned to session worker-1 (context: 100%)")
    db.history(running, "worker-1", "started", "", db.minutes + 2)

    db.prompt("Summarise the incident", metadata=None)
    db.prompt("Draft an answer\n\n> quoted 'text'\n", priority=2, metadata="{broken")
    db.prompt("Check the certificates", source="cron", metadata='{"project_type": "go"}')

    db.session(
        "architect",
        status="idle",
        working_dir="/srv/app/architect",
        is_claude=1,
        last_output="> \n? for shortcuts\n✻ Ready – 100%",
    )
    db.session(
        "worker-1",
        status="busy",
        current_task_id=running,
        working_dir="/srv/app",
        last_output="$ make\n'built' \"all\"\n",
    )
    db.session("reviewer", status="waiting_input", current_task_id=assigned, is_claude=1)
    db.session("qa – ночь", status="unknown", working_dir="/srv/it's \"quoted\"", last_output="")
    db.session("stray", status="idle", current_task_id=scratch, last_activity=None, updated_at=None)

    db.delete(scratch)
    for prompt in gap:
        db.delete(prompt)
    newest(db)


def rows_with_targets(db):
    """What versions wrote that knew targets, retries and time-outs."""
    # In tests/migration.rs: READY, which run; the others say in their names what is to become
    # of them.
    db.prompt(
        "printf '%s\\n' \"deployed to $DEPLOY_TO ✅\"",
        source="cron",
        target_provider="shell",
        metadata='{"env_vars": {"DEPLOY_TO": "staging"}, "prerequisites": ["true"], '
        '"project_type": "rust", "environment": {"name": "staging"}}',
    )
    db.prompt(
        "echo \"it's ready\"\necho 'zwei Zeilen'",
        target_provider="shell",
        metadata=None,
        timeout_minutes=5,
        max_retries=0,
    )
    db.prompt("touch must-not-run", priority=50, target_provider="shell", metadata="{broken")
    db.prompt("touch typed-into-a-shell", target_session="worker-1", metadata=None)
    db.prompt("touch typed-into-a-shell", priority=20, target_provider="claude")
    resent = db.prompt(
        "echo ran >> resent",
        status="in_progress",
        assigned_session="worker-1",
        target_provider="shell",
        retry_count=1,
    )
    db.history(resent, "worker-1", "assigned", "Assigned to session worker-1")
    retried = db.prompt(
        "echo ran >> retried",
        status="failed",
        assigned_session="worker-1",
        target_provider="shell",
        error=TIMED_OUT,
        retry_count=3,
    )
    for attempt in range(4):
        again = at(db.minutes + 30 * attempt)
        row = {"prompt_id": retried, "session_name": "worker-1", "created_at": again}
        db.insert("assignment_history", {**row, "action": "assigned", "details": None})
        details = f"{TIMED_OUT} (retry {attempt}/3)"
        db.insert("assignment_history", {**row, "action": "timeout", "details": details})

    db.prompt(
        "Plan the next sprint 🗓",
        status="assigned",
        assigned_session="architect",
        target_session="architect",
        target_provider="claude",
        timeout_minutes=120,
        metadata='{"preferred_providers": ["claude"], "allow_fallback": true}',
    )
    db.prompt(
        "Explain the build",
        status="completed",
        target_provider="codex",
        retry_count=2,
        max_retries=5,
        timeout_minutes=1,
        response="It builds.\n" * 3,
    )
    db.prompt(
        "Port the tests",
        target_session="no-such-session",
        retry_count=1,
        max_retries=1,
        metadata=json.dumps({**FULL, "allow_fallback": True}),
    )
    db.prompt("Stop that", status="cancelled", target_session="qa – ночь", target_provider="gemini")

    db.update_session("architect", provider="claude")
    db.update_session("worker-1", provider="shell")
    db.session("builder", status="idle", provider="codex", working_dir="/srv/site")
    newest(db)


def rows_with_context(db):
    """What versions wrote that looked at directories and branches."""
    db.update_session(
        "architect",
        current_dir="/srv/app/architect",
        git_branch="main",
        last_context_update=at(db.minutes),
    )
    db.update_session(
        "worker-1",
        current_dir="/srv/app",
        git_branch="dev",
        last_context_update=at(db.minutes + 1, "%Y-%m-%d %H:%M:%S.123456"),
    )
    db.update_session("qa – ночь", current_dir="/srv/it's \"quoted\"", git_branch="fix/ünï-🦀")
    db.prompt("Compare the branches", status="completed", response="They differ.", metadata="{}")
    newest(db)


def rows_with_variables(db):
    """What the last version wrote, and what others wrote into it."""
    db.update_session("architect", env_vars='{"DEBUG": "1", "TOOLS": "/opt/it\'s here – ü"}')
    db.update_session("worker-1", env_vars="DEBUG=1 (no JSON)")
    db.update_session("reviewer", env_vars="[]")
    db.update_session("builder", env_vars="")
    db.prompt(
        "Written by another tool",
        created_at=at(900, "%Y-%m-%dT%H:%M:%S.123456"),
        assigned_at=at(901, "%Y-%m-%dT%H:%M:%S"),
        completed_at=at(902, "%Y-%m-%dT%H:%M:%S.250Z"),
        status="completed",
        response="from far away",
    )
    db.prompt(
        "Written in another zone",
        created_at=at(910, "%Y-%m-%dT%H:%M:%S+05:30"),
        completed_at=at(911, "%Y-%m-%d %H:%M:%S-08:00"),
        status="cancelled",
    )
    db.prompt("Written by hand", created_at="last tuesday", status="completed", response="ok")
    newest(db)


def newest(db):
    """The prompt that was queued last, and then some that are deleted: numbers once given."""
    db.prompt(
        "Look after the rest",
        source="api",
        metadata='{"working_dir": "/srv/app", "git_branch": "dev", "prefer_context_match": false}',
    )
    gone = [db.prompt(f"withdrawn {number}") for number in range(2)]
    db.history(gone[0], "stray", "cancelled", "deleted 🗑")
    last = db.history(gone[1], "stray", "cancelled", "its history is deleted as well")
    db.connection.execute("DELETE FROM assignment_history WHERE id = ?", [last])
    for prompt in gone:
        db.delete(prompt)


def grown(path, *steps):
    """A database of the earliest version, grown step by step."""
    db = Database(path)
    db.script(EARLIEST + COMMON)
    first_rows(db)
    for columns, rows in steps:
        db.script(columns)
        rows(db)
    db.close()


def main():
    grown(HERE / "stage1.db")
    grown(HERE / "stage2.db", (TARGETS, rows_with_targets))
    grown(HERE / "stage3.db", (TARGETS, rows_with_targets), (CONTEXT, rows_with_context))

    db = Database(HERE / "stage4.db")
    db.script(LATEST + COMMON)
    first_rows(db)
    rows_with_targets(db)
    db.script(CONTEXT)
    rows_with_context(db)
    db.script(VARIABLES)
    rows_with_variables(db)
    db.script(OTHER_TOOLS)
    db.close()


if __name__ == "__main__":
    main()
