//! scan: tmux, the processes of each pane and git tell what sessions there are and what they do.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::Instant;

use jiff::Timestamp;

use super::orders::Listed;
use super::prompt::{self, Line};
use super::tracker::{Freshness, Known, ReadLine, Seen, Stamp, What};
use super::{Engine, RoundError};
use crate::model::eligibility::{Admission, SHELL};
use crate::model::ids::{Identity, PaneId, TmuxSession};
use crate::model::naming::{Home, Who};
use crate::model::session::{AT_PROMPT, Activity, Shell};
use crate::probe::{self, Directory, Standing};
use crate::store::SessionRow;
use crate::tmux::{self, Capture, Pane, Tmux};

/// So many screens are asked for at once.
const AT_ONCE: usize = 32;

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

/// A pane that qualifies as a session.
struct Candidate {
    pane: Pane,
    runs: Runs,
}

/// What runs in it.
enum Runs {
    /// A shell, and how it stands.
    Shell(Shell, Standing),
    /// An agent, by its process.
    Agent(u32),
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
        let listed = Listed::of(&panes);
        self.agents.hear(&self.reports);
        self.read_hints(&panes).await?;
        let candidates: Vec<Candidate> = panes
            .into_iter()
            .filter_map(|pane| self.candidate(pane))
            .collect();
        let panes: Vec<&Pane> = candidates.iter().map(|candidate| &candidate.pane).collect();
        self.count_given(&panes, now).await?;
        let lines = self.lines(&candidates, now).await?;
        self.read_screens(&candidates, now).await?;
        let contexts = self.contexts_of(&candidates).await;
        let homes = homes(candidates.iter().map(|candidate| &candidate.pane));
        let named = candidates.iter().zip(&homes);
        let named: Vec<Who<'_>> = named
            .map(|(candidate, homes)| who(&candidate.pane, homes))
            .collect();
        self.follow_names(&listed, &named, now).await?;
        let mut snapshot = Snapshot::default();
        for ((candidate, homes), context) in candidates.iter().zip(homes).zip(contexts) {
            let line = lines.get(&candidate.pane.identity.pane).copied();
            let Some(seen) = self.see(candidate, homes, line, context, now) else {
                continue;
            };
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
        self.agents
            .retain(|identity| snapshot.index.contains_key(identity));
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
            if !matches!(candidate.runs, Runs::Shell(_, Standing::Prompt)) {
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
            .map(|candidate| match candidate.runs {
                Runs::Shell(..) => candidate.pane.identity.pane_pid,
                Runs::Agent(pid) => pid,
            })
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
        homes: Vec<Home>,
        read: Option<ReadLine>,
        context: Context,
        now: Timestamp,
    ) -> Option<Seen> {
        let pane = &candidate.pane;
        let who = who(pane, &homes);
        let name = who.name.to_owned();
        let line = read.map(|read| read.line);
        let person = person(pane, now, self.settings.attended_for);
        let (what, activity, reason) = match &candidate.runs {
            Runs::Shell(shell, standing) => {
                let (activity, reason) = verdict(standing, line, person);
                (What::Shell(*shell), activity, reason)
            }
            Runs::Agent(_) => {
                let agent = self.agents.see(pane, person, now)?;
                let verdict = agent.verdict.clone();
                (
                    What::Agent(Box::new(agent)),
                    verdict.activity,
                    verdict.reason,
                )
            }
        };
        let provider = match &what {
            What::Shell(_) => SHELL.to_owned(),
            What::Agent(agent) => agent.profile.name.clone(),
        };
        let standing = match &candidate.runs {
            Runs::Shell(_, standing) => Some(standing),
            Runs::Agent(_) => None,
        };
        let (current_dir, git_branch) = context;
        let current_task = self
            .flights
            .iter()
            .find(|flight| flight.identity == pane.identity)
            .map(|flight| flight.task.id);
        let spent = self.spent(&pane.session);
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
        let is_shell = matches!(what, What::Shell(_));
        if activity == Activity::Idle && is_shell {
            super::ask::take_told(&self.spool, known);
        }
        super::ask::take_answer(&self.spool, known, activity);
        if activity == Activity::Idle && is_shell && known.fresh == Freshness::FromNextPrompt {
            known.fresh = Freshness::While(Stamp::of(pane));
        }
        known.hold.take_if(|(until, _)| *until <= Instant::now());
        let paused = self.orders.pause(who, &provider);
        let admission = if who.names().any(|name| self.settings.exclude.is_match(name)) {
            Admission::Excluded
        } else if who.names().any(|name| self.settings.protect.is_match(name)) {
            Admission::Protected
        } else {
            Admission::Open
        };
        let closed = match (admission, paused) {
            (Admission::Excluded, _) => Some("excluded by the configuration".to_owned()),
            (_, Some(pause)) => Some(match (pause.until, &pause.reason) {
                (Some(until), reason) => format!(
                    "its provider is paused until {}: {}",
                    until.strftime("%Y-%m-%d %H:%M:%SZ"),
                    reason.as_deref().unwrap_or("a rate limit")
                ),
                (None, _) => "paused: takes no new tasks".to_owned(),
            }),
            (Admission::Protected | Admission::Open, None) => None,
        };
        let held = known.hold.as_ref().map(|(_, reason)| reason.clone());
        let asked = known
            .asked
            .as_ref()
            .map(|_| "is asked for its variables".to_owned());
        let unclean = known
            .unclean
            .then(|| "is to undo what an interrupted task has left".to_owned());
        let obstacle = closed.or(spent).or(held).or(asked).or(unclean);
        let ready = activity == Activity::Idle && current_task.is_none() && obstacle.is_none();
        let reason = match (obstacle, current_task) {
            (_, Some(task)) => format!("runs task {task}"),
            (Some(obstacle), None) if activity == Activity::Idle => obstacle,
            _ => reason,
        };
        let paused = paused.is_some();
        let labels = self.orders.labels(who);
        Some(Seen {
            row: SessionRow {
                admission,
                paused,
                labels,
                name,
                homes,
                identity: pane.identity.clone(),
                // A session that has a task is busy, even where its shell has not begun it yet.
                activity: if current_task.is_some() && activity == Activity::Idle {
                    Activity::Busy
                } else {
                    activity
                },
                reason,
                since: known.since,
                provider,
                current_dir,
                git_branch,
                env: known.env.clone(),
                current_task,
                completed: known.completed,
                failed: known.failed,
                context_at,
            },
            cursor: pane.cursor,
            piped: pane.piped,
            // A question that the job asks may look like a prompt with something behind it.
            at_prompt: matches!(standing, Some(Standing::Prompt)) && line != Some(Line::Draft),
            foreground: match standing {
                Some(Standing::Running { group, .. }) => *group,
                Some(Standing::Prompt | Standing::Unknown(_) | Standing::Gone) | None => None,
            },
            live: match &what {
                What::Shell(_) => known.live.clone(),
                // It changes its own variables for nobody to see.
                What::Agent(agent) => Some(Arc::clone(&agent.env)),
            },
            active: pane.activity,
            asked: known.asked.is_some(),
            ready,
            what,
        })
    }

    /// Returns what a pane is as a session; `None`: neither a shell nor an agent.
    fn candidate(&mut self, pane: Pane) -> Option<Candidate> {
        if pane.dead {
            return None;
        }
        let pid = pane.identity.pane_pid;
        let shell = probe::shell(pid).map(|shell| (shell, probe::standing(shell, pid, &pane.tty)));
        if matches!(shell, Some((_, Standing::Gone))) {
            return None;
        }
        let at_prompt = matches!(shell, Some((_, Standing::Prompt)));
        let runs = match (self.agents.find(&self.catalog, &pane, at_prompt), shell) {
            (Some(agent), _) => Runs::Agent(agent.pid),
            (None, Some((shell, standing))) => Runs::Shell(shell, standing),
            (None, None) => return None,
        };
        Some(Candidate { pane, runs })
    }

    /// Reads what programs show that no profile knows by their processes.
    async fn read_hints(&mut self, panes: &[Pane]) -> Result<(), RoundError> {
        if !self.catalog.knows_screens() {
            return Ok(());
        }
        let strangers = panes.iter().filter(|pane| self.agents.wants_hint(pane));
        let strangers: Vec<&Pane> = strangers.collect();
        if strangers.is_empty() {
            return Ok(());
        }
        for (pane, capture) in self.captures(&strangers).await? {
            self.agents.keep_hint(pane, capture.as_ref());
        }
        Ok(())
    }

    /// Reads the screens of agents, where they may have changed.
    async fn read_screens(
        &mut self,
        candidates: &[Candidate],
        now: Timestamp,
    ) -> Result<(), RoundError> {
        let panes = candidates.iter().filter_map(|candidate| {
            let is_agent = matches!(candidate.runs, Runs::Agent(_));
            (is_agent && self.agents.wants_screen(&candidate.pane)).then_some(&candidate.pane)
        });
        let panes: Vec<&Pane> = panes.collect();
        if panes.is_empty() {
            return Ok(());
        }
        for (pane, capture) in self.captures(&panes).await? {
            self.agents.keep_screen(pane, capture.as_ref(), now);
        }
        Ok(())
    }

    /// Returns the screens of panes. One that cannot be read, for it is too large, is left out.
    async fn captures<'a>(
        &mut self,
        panes: &[&'a Pane],
    ) -> Result<Vec<(&'a Pane, Option<Capture>)>, RoundError> {
        let mut found = Vec::with_capacity(panes.len());
        for some in panes.chunks(AT_ONCE) {
            let identities: Vec<&Identity> = some.iter().map(|pane| &pane.identity).collect();
            match self.tmux.screens(&identities).await {
                Ok(captures) => found.extend(some.iter().copied().zip(captures)),
                Err(tmux::Error::NoServer) => {
                    return Err(RoundError::Tmux(tmux::Error::NoServer));
                }
                Err(_) => {
                    for pane in some {
                        let alone = self.tmux.screens(&[&pane.identity]).await;
                        let capture = alone.ok().and_then(|mut captures| captures.pop());
                        found.push((pane, capture.flatten()));
                    }
                }
            }
        }
        Ok(found)
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
                let renamed = snapshot.get(&row.identity);
                changed.push(SessionRow {
                    activity: Activity::Gone,
                    reason: match renamed {
                        Some(seen) => format!("its pane is session {} now", seen.row.name),
                        None => "its pane has ended".to_owned(),
                    },
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

/// Returns the tmux sessions that show each pane, first the oldest, which names it; and what it is
/// called there: as the session or, where several of the panes are in it, with window and pane.
pub(super) fn homes<'a>(panes: impl Iterator<Item = &'a Pane> + Clone) -> Vec<Vec<Home>> {
    let places = |pane: &'a Pane| {
        let first = (pane.session_id, pane.session.as_str(), pane.window_index);
        let further = pane.further.iter();
        let further = further.map(|at| (at.session_id, at.session.as_str(), at.window_index));
        std::iter::once(first).chain(further)
    };
    let mut panes_of: HashMap<TmuxSession, usize> = HashMap::new();
    for (id, ..) in panes.clone().flat_map(places) {
        *panes_of.entry(id).or_default() += 1;
    }
    let home = |pane: &'a Pane, (id, session, window): (TmuxSession, &str, u32)| Home {
        id,
        name: match panes_of.get(&id) {
            Some(1) => session.to_owned(),
            _ => format!("{session}:{window}.{}", pane.pane_index),
        },
    };
    panes
        .map(|pane| places(pane).map(|place| home(pane, place)).collect())
        .collect()
}

/// Returns what a pane is called with these homes, and what it is.
fn who<'a>(pane: &'a Pane, homes: &'a [Home]) -> Who<'a> {
    Who {
        name: homes
            .first()
            .map_or(pane.session.as_str(), |home| &home.name),
        identity: Some(&pane.identity),
        homes,
    }
}

/// What a shell does, and how that is known. `person`: what tmux tells of a person at the pane.
pub(super) fn verdict(
    standing: &Standing,
    line: Option<Line>,
    person: Option<String>,
) -> (Activity, String) {
    match standing {
        Standing::Gone => return (Activity::Gone, "its process has ended".to_owned()),
        Standing::Unknown(why) => return (Activity::Unknown, why.clone()),
        Standing::Running { foreground, .. } => {
            let what = foreground.as_deref().unwrap_or("a command of its own");
            return (Activity::Busy, format!("runs {what}"));
        }
        Standing::Prompt => {}
    }
    if let Some(person) = person {
        return (Activity::Attended, person);
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

/// Returns what tells that a person is at a pane, or that what is typed there does not reach its
/// program alone.
pub(super) fn person(
    pane: &Pane,
    now: Timestamp,
    attended_for: std::time::Duration,
) -> Option<String> {
    let grace = i64::try_from(attended_for.as_secs()).unwrap_or(i64::MAX);
    let typed = |last: i64| now.as_second().saturating_sub(last) < grace;
    let what = if pane.in_mode {
        "the pane is in copy mode or another mode"
    } else if pane.input_off {
        "input to the pane is switched off"
    } else if pane.synchronized {
        "the pane is synchronised with others (synchronize-panes)"
    } else if pane.watched_until.is_some_and(typed) {
        "a person is typing there"
    } else {
        return None;
    };
    Some(what.to_owned())
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
