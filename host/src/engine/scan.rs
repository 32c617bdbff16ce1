//! scan: tmux, the processes of each pane and git tell what sessions there are and what they do.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::time::Instant;

use jiff::Timestamp;

use super::prompt::{self, Line};
use super::tracker::{Freshness, Known, ReadLine, Seen, Stamp};
use super::{Engine, RoundError};
use crate::model::eligibility::{Admission, SHELL};
use crate::model::ids::{Identity, PaneId};
use crate::model::session::{AT_PROMPT, Activity, Shell, names};
use crate::probe::{self, Directory, Standing};
use crate::store::SessionRow;
use crate::tmux::{self, Pane, Tmux};

/// The sessions as one scan found them.
#[derive(Debug, Default)]
pub(super) struct Snapshot {
    pub(super) sessions: Vec<Seen>,
    index: HashMap<Identity, usize>,
}

impl Snapshot {
    /// Returns the session; `None`: it is gone.
    pub(super) fn get(&self, identity: &Identity) -> Option<&Seen> {
        self.index
            .get(identity)
            .and_then(|&index| self.sessions.get(index))
    }
}

/// A pane that qualifies as a session, and how its shell stands.
struct Candidate {
    pane: Pane,
    shell: Shell,
    standing: Standing,
}

impl<T: Tmux> Engine<T> {
    pub(super) async fn scan(&mut self, now: Timestamp) -> Result<Snapshot, RoundError> {
        let panes = match self.tmux.panes().await {
            Ok(panes) => panes,
            // Every session is gone, and what was in flight has to hear of it.
            Err(tmux::Error::NoServer) => Vec::new(),
            Err(error) => return Err(RoundError::Tmux(error)),
        };
        self.server_runs = !panes.is_empty();
        let candidates: Vec<Candidate> = panes.into_iter().filter_map(Candidate::of).collect();
        let lines = self.lines(&candidates, now).await?;
        let contexts = self.contexts_of(&candidates).await;
        let labels = labels(&candidates);
        let mut snapshot = Snapshot::default();
        for ((candidate, name), context) in candidates.iter().zip(labels).zip(contexts) {
            let line = lines.get(&candidate.pane.identity.pane).copied();
            let seen = self.see(candidate, name, line, context, now);
            self.tracker.settled(&seen);
            snapshot
                .index
                .insert(seen.row.identity.clone(), snapshot.sessions.len());
            snapshot.sessions.push(seen);
        }
        let untold = self
            .tracker
            .retain(|identity| snapshot.index.contains_key(identity));
        for attempt in untold {
            self.spool.remove_told(attempt);
        }
        self.write_changes(&snapshot, now).await?;
        Ok(snapshot)
    }

    /// Reads the cursor's lines of shells that wait for input, where they may have changed.
    async fn lines(
        &mut self,
        candidates: &[Candidate],
        now: Timestamp,
    ) -> Result<HashMap<PaneId, ReadLine>, RoundError> {
        let mut lines = HashMap::new();
        let mut unread: Vec<&Pane> = Vec::new();
        for candidate in candidates {
            if !matches!(candidate.standing, Standing::Prompt) {
                continue;
            }
            let pane = &candidate.pane;
            let cached = self
                .tracker
                .get_mut(&pane.identity)
                .and_then(|known| known.line)
                .filter(|line| line.holds(pane));
            match cached {
                Some(line) => {
                    lines.insert(pane.identity.pane.clone(), line);
                }
                None => unread.push(pane),
            }
        }
        if unread.is_empty() {
            return Ok(lines);
        }
        let stamps: Vec<Stamp> = unread.iter().map(|pane| Stamp::of(pane)).collect();
        let read = self
            .tmux
            .cursor_lines(&unread)
            .await
            .map_err(RoundError::Tmux)?;
        for ((pane, stamp), line) in unread.into_iter().zip(stamps).zip(read) {
            if let Some(line) = line {
                let read = ReadLine {
                    line: prompt::read(&line.before, &line.after, &line.below),
                    stamp,
                    at: now.as_second(),
                };
                lines.insert(pane.identity.pane.clone(), read);
            }
        }
        Ok(lines)
    }

    /// Reads where each shell stands, and on which branch. Where a file system gives no answer, the
    /// sessions keep what was known of them.
    async fn contexts_of(&mut self, candidates: &[Candidate]) -> Vec<Context> {
        let pids: Vec<u32> = candidates
            .iter()
            .map(|candidate| candidate.pane.identity.pane_pid)
            .collect();
        let look = move || pids.into_iter().map(context).collect();
        let contexts: Option<Vec<Context>> = self.contexts.look(look).await;
        contexts.unwrap_or_else(|| {
            let written: HashMap<&Identity, &SessionRow> = self
                .tracker
                .written
                .values()
                .map(|row| (&row.identity, row))
                .collect();
            candidates
                .iter()
                .map(|candidate| match written.get(&candidate.pane.identity) {
                    Some(row) => (row.current_dir.clone(), row.git_branch.clone()),
                    None => (None, None),
                })
                .collect()
        })
    }

    fn see(
        &mut self,
        candidate: &Candidate,
        name: String,
        read: Option<ReadLine>,
        context: Context,
        now: Timestamp,
    ) -> Seen {
        let pane = &candidate.pane;
        let line = read.map(|read| read.line);
        let (activity, reason) = verdict(candidate, line, now, self.settings.attended_for);
        let (current_dir, git_branch) = context;
        let current_task = self
            .flights
            .iter()
            .find(|flight| flight.identity == pane.identity)
            .map(|flight| flight.task.id);
        let context_at = self
            .tracker
            .written
            .get(&name)
            .filter(|row| {
                row.identity == pane.identity
                    && row.current_dir == current_dir
                    && row.git_branch == git_branch
            })
            .map_or(now, |row| row.context_at);
        let known = self.tracker.entry(&pane.identity, || Known {
            activity,
            // How long it has been idle is not known: since its last output, at the most.
            since: Timestamp::from_second(pane.activity).map_or(now, |since| since.min(now)),
            env: BTreeMap::new(),
            live: None,
            fresh: Freshness::Stale,
            telling: None,
            asked: None,
            rest: None,
            tainted: BTreeSet::new(),
            unclean: false,
            left: BTreeMap::new(),
            completed: 0,
            failed: 0,
            hold: None,
            line: None,
        });
        if known.activity != activity {
            known.activity = activity;
            known.since = now;
        }
        if read.is_some() {
            known.line = read;
        }
        if activity == Activity::Idle {
            super::ask::take_told(&self.spool, known);
        }
        super::ask::take_answer(&self.spool, known, activity);
        if activity == Activity::Idle && known.fresh == Freshness::FromNextPrompt {
            known.fresh = Freshness::While(Stamp::of(pane));
        }
        known.hold.take_if(|(until, _)| *until <= Instant::now());
        let paused = self.orders.pause(&name, SHELL);
        let admission = if names(&name).any(|name| self.settings.exclude.is_match(name)) {
            Admission::Excluded
        } else if names(&name).any(|name| self.settings.protect.is_match(name)) {
            Admission::Protected
        } else {
            Admission::Open
        };
        let closed = match (admission, paused) {
            (Admission::Excluded, _) => Some("excluded by the configuration".to_owned()),
            (_, true) => Some("paused: takes no new tasks".to_owned()),
            (Admission::Protected, _) | (Admission::Open, _) => None,
        };
        let held = known.hold.as_ref().map(|(_, reason)| reason.clone());
        let asked = known
            .asked
            .as_ref()
            .map(|_| "is asked for its variables".to_owned());
        let unclean = known
            .unclean
            .then(|| "is to undo what an interrupted task has left".to_owned());
        let obstacle = closed.or(held).or(asked).or(unclean);
        let ready = activity == Activity::Idle && current_task.is_none() && obstacle.is_none();
        let reason = match (obstacle, current_task) {
            (_, Some(task)) => format!("runs task {task}"),
            (Some(obstacle), None) if activity == Activity::Idle => obstacle,
            _ => reason,
        };
        let labels = self.orders.labels(&name);
        Seen {
            row: SessionRow {
                admission,
                paused,
                labels,
                name,
                identity: pane.identity.clone(),
                // A session that has a task is busy, even where its shell has not begun it yet.
                activity: if current_task.is_some() && activity == Activity::Idle {
                    Activity::Busy
                } else {
                    activity
                },
                reason,
                since: known.since,
                provider: SHELL.to_owned(),
                current_dir,
                git_branch,
                env: known.env.clone(),
                current_task,
                completed: known.completed,
                failed: known.failed,
                context_at,
            },
            shell: candidate.shell,
            cursor: pane.cursor,
            piped: pane.piped,
            // A question that the job asks may look like a prompt with something behind it.
            at_prompt: matches!(candidate.standing, Standing::Prompt) && line != Some(Line::Draft),
            foreground: match &candidate.standing {
                Standing::Running { group, .. } => *group,
                Standing::Prompt | Standing::Unknown(_) | Standing::Gone => None,
            },
            live: known.live.clone(),
            active: pane.activity,
            asked: known.asked.is_some(),
            ready,
        }
    }

    async fn write_changes(
        &mut self,
        snapshot: &Snapshot,
        now: Timestamp,
    ) -> Result<(), RoundError> {
        let mut changed = Vec::new();
        let mut present = HashSet::new();
        for Seen { row, .. } in &snapshot.sessions {
            present.insert(row.name.as_str());
            if self.tracker.written.get(&row.name) != Some(row) {
                changed.push(row.clone());
            }
        }
        for (name, row) in &self.tracker.written {
            if !present.contains(name.as_str()) && row.activity != Activity::Gone {
                changed.push(SessionRow {
                    activity: Activity::Gone,
                    reason: "its pane has ended".to_owned(),
                    current_task: None,
                    since: now,
                    ..row.clone()
                });
            }
        }
        if changed.is_empty() {
            return Ok(());
        }
        let rows = changed.clone();
        self.ledger
            .run(move |store| store.record_sessions(&rows, now))
            .await?;
        for row in changed {
            self.tracker.written.insert(row.name.clone(), row);
        }
        Ok(())
    }
}

impl Candidate {
    fn of(pane: Pane) -> Option<Self> {
        if pane.dead {
            return None;
        }
        let shell = probe::shell(pane.identity.pane_pid)?;
        let standing = probe::standing(shell, pane.identity.pane_pid, &pane.tty);
        (!matches!(standing, Standing::Gone)).then_some(Self {
            pane,
            shell,
            standing,
        })
    }
}

/// Names each candidate after its tmux session; with its window and pane where several qualify.
fn labels(candidates: &[Candidate]) -> Vec<String> {
    let mut panes_of: HashMap<&str, usize> = HashMap::new();
    for candidate in candidates {
        *panes_of.entry(candidate.pane.session.as_str()).or_default() += 1;
    }
    candidates
        .iter()
        .map(|Candidate { pane, .. }| {
            if panes_of.get(pane.session.as_str()) == Some(&1) {
                pane.session.clone()
            } else {
                format!("{}:{}.{}", pane.session, pane.window_index, pane.pane_index)
            }
        })
        .collect()
}

/// What a shell does, and how that is known.
fn verdict(
    candidate: &Candidate,
    line: Option<Line>,
    now: Timestamp,
    attended_for: std::time::Duration,
) -> (Activity, String) {
    let pane = &candidate.pane;
    match &candidate.standing {
        Standing::Gone => return (Activity::Gone, "its process has ended".to_owned()),
        Standing::Unknown(why) => return (Activity::Unknown, why.clone()),
        Standing::Running { foreground, .. } => {
            let what = foreground.as_deref().unwrap_or("a command of its own");
            return (Activity::Busy, format!("runs {what}"));
        }
        Standing::Prompt => {}
    }
    if pane.in_mode {
        return (
            Activity::Attended,
            "the pane is in copy mode or another mode".to_owned(),
        );
    }
    if pane.input_off {
        return (
            Activity::Attended,
            "input to the pane is switched off".to_owned(),
        );
    }
    if pane.synchronized {
        return (
            Activity::Attended,
            "the pane is synchronised with others (synchronize-panes)".to_owned(),
        );
    }
    let grace = i64::try_from(attended_for.as_secs()).unwrap_or(i64::MAX);
    if pane
        .watched_until
        .is_some_and(|last| now.as_second().saturating_sub(last) < grace)
    {
        return (Activity::Attended, "a person is typing there".to_owned());
    }
    match line {
        Some(Line::Prompt) => (Activity::Idle, AT_PROMPT.to_owned()),
        Some(Line::Draft) => (
            Activity::Attended,
            "something stands at its prompt that was not submitted".to_owned(),
        ),
        None => (Activity::Unknown, "its prompt could not be read".to_owned()),
    }
}

/// A directory, and the branch there.
type Context = (Option<String>, Option<String>);

/// Where a process stands, and on which branch.
fn context(pid: u32) -> Context {
    match probe::directory(pid) {
        Directory::At(path) => {
            let branch = probe::git_branch(&path);
            (path.to_str().map(str::to_owned), branch)
        }
        Directory::Deleted(_) | Directory::Unreadable => (None, None),
    }
}
