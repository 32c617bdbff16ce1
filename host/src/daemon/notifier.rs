//! Tells a person what has happened, in the ways that are configured.

use std::cell::{Cell, RefCell};
use std::process::Stdio;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::Notify;

use super::engine::Engine;
use crate::model::ids::TaskId;
use crate::model::notice::{
    Gathered, Notice, NoticeDigest, NotifySettings, Occasion, TerminalNotice,
};
use crate::model::task::{Event, Task};
use crate::model::text::clean;
use crate::policy::Health;
use crate::probe;
use crate::store::{HistoryRow, Ledger, StoreError};
use crate::tmux::Tmux;

/// How many rows of the history are read at once.
const ROWS: usize = 500;

/// After how many rows it is written down how far they were read, if nothing was told.
const WRITTEN_AFTER: i64 = 10_000;

/// After how long a command that tells a person is ended.
const WITHIN: Duration = Duration::from_secs(60);

/// How often it is looked whether the last command has ended.
const LOOK: Duration = Duration::from_millis(20);

/// How long the last words of a failed command are waited for.
const LAST_WORDS: Duration = Duration::from_millis(200);

/// How much of a failed command's message is logged, in bytes.
const QUOTED: u64 = 2_000;

/// How much a terminal is told, in characters.
const LONGEST: usize = 200;

/// How long the value of a variable may be, in characters: a system takes 128 KiB. What is longer is whole
/// on standard input.
const LONGEST_VALUE: usize = 20_000;

/// Follows the history, and tells what is news.
pub(super) struct Notifier {
    settings: NotifySettings,
    /// The last row that was read, and the last one that is written down.
    read: i64,
    written: i64,
    /// Whether something was told that is not written down.
    told: bool,
    /// Whether there may be more to read at once.
    more: bool,
    /// What the terminals, and what the command is to be told.
    shown: Gathered,
    given: Gathered,
    policy_failures: u64,
    /// Whether the command is running: there is never more than one.
    busy: Rc<Cell<bool>>,
    wake: Arc<Notify>,
}

/// Tells a person by other settings from now on.
///
/// # Errors
/// The store failed, and nobody is told.
pub(super) async fn follow_configuration(
    notifier: &mut Option<Notifier>,
    settings: NotifySettings,
    ledger: &Ledger,
    wake: &Arc<Notify>,
) -> Result<(), StoreError> {
    match notifier {
        Some(notifier) if !settings.is_silent() => notifier.settings = settings,
        _ => *notifier = Notifier::start(settings, ledger, Arc::clone(wake)).await?,
    }
    Ok(())
}

impl Notifier {
    /// Begins where the last daemon stopped, if it told a person as well. `None` if nobody is to be told.
    ///
    /// # Errors
    /// The store failed.
    pub(super) async fn start(
        settings: NotifySettings,
        ledger: &Ledger,
        wake: Arc<Notify>,
    ) -> Result<Option<Self>, StoreError> {
        if settings.is_silent() {
            ledger.run(|store| store.told_until(None)).await?;
            return Ok(None);
        }
        let read = ledger
            .run(|store| {
                let last = store.last_row_of_history()?;
                let told = store.was_told_until()?;
                if told.is_none_or(|told| told > last) {
                    store.told_until(Some(last))?;
                }
                Ok::<_, StoreError>(told.unwrap_or(last).min(last))
            })
            .await?;
        Ok(Some(Self {
            settings,
            read,
            written: read,
            told: false,
            more: true,
            shown: Gathered::default(),
            given: Gathered::default(),
            policy_failures: 0,
            busy: Rc::default(),
            wake,
        }))
    }

    /// Reads what has happened, and tells a person what is due.
    ///
    /// # Errors
    /// The store failed; it is tried again.
    pub(super) async fn follow<T: Tmux + 'static>(
        &mut self,
        engine: &Engine<T>,
        ledger: &Ledger,
    ) -> Result<(), StoreError> {
        self.look(ledger, &engine.policy_health()).await?;
        if let Some(digest) = self.shown.take(Instant::now()) {
            engine.tell_terminals(self.signs(&digest));
            self.told = true;
        }
        if !self.busy.get()
            && let Some(digest) = self.given.take(Instant::now())
        {
            self.give(digest, ledger).await;
            self.told = true;
        }
        // Rather twice than never: what was told when a daemon was killed is told again.
        let nothing_waits = self.given.is_empty() && self.shown.is_empty();
        if nothing_waits && (self.told || self.read - self.written > WRITTEN_AFTER) {
            let read = self.read;
            ledger
                .run(move |store| store.told_until(Some(read)))
                .await?;
            (self.written, self.told) = (read, false);
        }
        Ok(())
    }

    /// Tells a person what is left, and waits until it is told: the daemon ends.
    pub(super) async fn finish<T: Tmux + 'static>(&mut self, engine: &Engine<T>, ledger: &Ledger) {
        while self.more || self.busy.get() || !self.given.is_empty() || !self.shown.is_empty() {
            tokio::time::sleep(LOOK).await;
            if let Err(error) = self.follow(engine, ledger).await {
                tracing::error!("{error}");
                return;
            }
        }
        // What terminals are told is on its way.
        tokio::time::sleep(LOOK).await;
    }

    async fn look(&mut self, ledger: &Ledger, health: &Health) -> Result<(), StoreError> {
        // What fails is not tried again at once.
        self.more = false;
        let from = self.read;
        let asks_for_end = self.settings.on.contains(&Occasion::QueueEmpty);
        let (rows, last, is_empty) = ledger
            .run(move |store| {
                let (rows, last) = store.history_since(from, ROWS)?;
                let is_empty =
                    asks_for_end && rows.iter().any(ends_one) && !store.anything_left()?;
                Ok::<_, StoreError>((rows, last, is_empty))
            })
            .await?;
        self.more = usize::try_from(last - from).is_ok_and(|rows| rows >= ROWS);
        self.read = last;
        let mut notices: Vec<Notice> = rows.into_iter().filter_map(of_row).collect();
        if is_empty {
            notices.push(of_all(Occasion::QueueEmpty, String::new()));
        }
        let before = std::mem::replace(&mut self.policy_failures, health.failures);
        // Another policy is counted anew.
        if health.failures > 0 && health.failures != before {
            let why = health.last_failure.clone().unwrap_or_default();
            notices.push(of_all(Occasion::PolicyFailed, why));
        }
        for notice in notices {
            if !self.settings.on.contains(&notice.occasion) {
                continue;
            }
            if self.settings.bell || self.settings.terminal.is_some() {
                self.shown.add(notice.clone());
            }
            if self.settings.command.is_some() {
                self.given.add(notice);
            }
        }
        Ok(())
    }

    /// Has the command told of it, beside everything else.
    async fn give(&mut self, digest: NoticeDigest, ledger: &Ledger) {
        let Some(command) = self.settings.command.clone() else {
            return;
        };
        let ids: Vec<Option<TaskId>> = digest.notices.iter().map(|notice| notice.task).collect();
        let none = vec![None; ids.len()];
        let tasks = ledger.run(move |store| {
            let task = |id: &Option<TaskId>| store.task((*id)?).ok();
            Ok::<_, StoreError>(ids.iter().map(task).collect::<Vec<_>>())
        });
        let tasks = tasks.await.unwrap_or_else(|error| {
            tracing::warn!("the command of [notify] is told nothing of the tasks: {error}");
            none
        });
        self.busy.set(true);
        let (busy, wake) = (Rc::clone(&self.busy), Arc::clone(&self.wake));
        tokio::task::spawn_local(async move {
            if let Err(why) = run(&command, &digest, &tasks).await {
                tracing::warn!("the command of [notify] {why}");
            }
            busy.set(false);
            wake.notify_one();
        });
    }

    /// Returns after how long there is something to do.
    pub(super) fn due_in(&self) -> Option<Duration> {
        if self.more {
            return Some(Duration::ZERO);
        }
        let now = Instant::now();
        let given = self.given.due_in(now).filter(|_| !self.busy.get());
        self.shown.due_in(now).into_iter().chain(given).min()
    }

    /// Returns what the terminals are sent.
    fn signs(&self, digest: &NoticeDigest) -> Vec<u8> {
        let text = shortened(&clean(&digest.to_string()), LONGEST);
        let mut signs = match self.settings.terminal {
            Some(TerminalNotice::Osc9) => format!("\x1b]9;assigner: {text}\x1b\\"),
            // A semicolon would begin another field.
            Some(TerminalNotice::Osc777) => {
                format!("\x1b]777;notify;assigner;{}\x1b\\", text.replace(';', ","))
            }
            None => String::new(),
        };
        if self.settings.bell {
            signs.push('\x07');
        }
        signs.into_bytes()
    }
}

/// Returns a text of at most so many characters, and a sign if that is not all of it.
fn shortened(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// Whether a row says that a task has ended.
fn ends_one(row: &HistoryRow) -> bool {
    [
        Event::Complete,
        Event::Fail,
        Event::Abandon,
        Event::Lose,
        Event::Cancel,
        Event::MarkDone,
        Event::MarkFailed,
    ]
    .iter()
    .any(|event| event.name() == row.action)
}

fn of_row(row: HistoryRow) -> Option<Notice> {
    let task = Some(row.task?);
    Some(Notice {
        occasion: Occasion::of(&row.action)?,
        task,
        session: row.session,
        details: row.details,
    })
}

fn of_all(occasion: Occasion, details: String) -> Notice {
    Notice {
        occasion,
        task: None,
        session: None,
        details,
    }
}

/// Runs the command. What it is told is in its environment and on its standard input, and never a part of
/// it.
///
/// # Errors
/// What went wrong, to follow `the command of [notify]`.
async fn run(command: &str, digest: &NoticeDigest, tasks: &[Option<Task>]) -> Result<(), String> {
    let first = &digest.notices[0];
    let single = digest.single();
    let occasion = single.map_or("several", |notice| notice.occasion.name());
    let question = match first.occasion {
        Occasion::Waiting => first.details.as_str(),
        _ => "",
    };
    let plain = |text: &str| shortened(&text.replace('\0', ""), LONGEST_VALUE);
    let mut child = tokio::process::Command::new("sh")
        .args(["-c", command])
        .env("ASSIGNER_EVENT", occasion)
        .env("ASSIGNER_TEXT", plain(&clean(&digest.to_string())))
        .env(
            "ASSIGNER_TASK",
            first.task.map(|task| task.to_string()).unwrap_or_default(),
        )
        .env(
            "ASSIGNER_SESSION",
            plain(first.session.as_deref().unwrap_or_default()),
        )
        .env("ASSIGNER_QUESTION", plain(question))
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn()
        .map_err(|error| format!("cannot be run: {error}"))?;
    let lines = lines(digest, tasks);
    if let Some(mut input) = child.stdin.take() {
        // It need not read it.
        tokio::task::spawn_local(async move { input.write_all(lines.as_bytes()).await });
    }
    let said = Rc::new(RefCell::new(Vec::new()));
    let listener = child.stderr.take().map(|mut errors| {
        let said = Rc::clone(&said);
        tokio::task::spawn_local(async move {
            let mut first = Vec::new();
            let _ = (&mut errors).take(QUOTED).read_to_end(&mut first).await;
            said.replace(first);
            // What it has left behind may go on talking.
            tokio::io::copy(&mut errors, &mut tokio::io::sink()).await
        })
    });
    let Ok(status) = tokio::time::timeout(WITHIN, child.wait()).await else {
        // It was not waited for, so this is its group.
        let group = child.id();
        group.map(|group| probe::signal_group(group, probe::EndSignal::Kill));
        // One that cannot even be killed is not waited for; the runtime does so later.
        return Err(format!("was ended after {} s", WITHIN.as_secs()));
    };
    match status {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => {
            if let Some(listener) = listener {
                let _ = tokio::time::timeout(LAST_WORDS, listener).await;
            }
            let said = said.borrow();
            let said = String::from_utf8_lossy(&said);
            let line = said.lines().next().map(clean).unwrap_or_default();
            Err(format!("failed ({status}): {line}"))
        }
        Err(error) => Err(format!("was lost: {error}")),
    }
}

/// Returns what the command reads: a JSON object a line.
fn lines(digest: &NoticeDigest, tasks: &[Option<Task>]) -> String {
    let line = |(notice, task): (&Notice, &Option<Task>)| {
        let event = json!({
            "event": notice.occasion,
            "text": notice.to_string(),
            "session": notice.session,
            "details": notice.details,
            "task": task.as_ref().map(told_of),
        });
        format!("{event}\n")
    };
    digest.notices.iter().zip(tasks).map(line).collect()
}

/// Returns what is told of a task.
fn told_of(task: &Task) -> Value {
    json!({
        "id": task.id,
        "kind": task.kind,
        "content": task.content,
        "status": task.status,
        "priority": task.priority,
        "session": task.session,
        "exit_code": task.exit_code,
        "error": task.error,
        "asks": task.asks,
        "created_at": task.created_at,
        "completed_at": task.completed_at,
        "labels": task.metadata.labels,
        "working_dir": task.metadata.working_dir,
    })
}
