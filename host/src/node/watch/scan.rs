//! scan: finds out from tmux, the processes of each pane and git which sessions there are and what
//! they do.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::mem::take;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::empty::{self, CursorRow, Drawn, Facts};
use super::prompt::{self, Line, LineReport};
use super::sight::{Evidence, Memory, ShellLine, Sighting, observe};
use super::tracker::{Declined, Freshness, Known, ReadLine, Seen, Stamp, What};
use crate::model::eligibility::{Admission, SHELL};
use crate::model::ids::{Identity, PaneId, TmuxSession};
use crate::model::naming::{Home, Who};
use crate::model::session::{Activity, Shell};
use crate::model::verdict::Obstacle;
use crate::node::orders::Listed;
use crate::node::{Node, NodeError};
use crate::probe::look::Watch;
use crate::probe::{self, Directory, ShellActivity};
use crate::store::SessionRow;
use crate::tmux::{self, Capture, Pane, Tmux};

/// How many screens are requested at once.
const AT_ONCE: usize = 32;

/// The sessions as one scan found them.
#[derive(Debug, Default)]
pub(crate) struct SeenSessions {
    pub(crate) sessions: Vec<Seen>,
    index: HashMap<Identity, usize>,
}

impl SeenSessions {
    /// Returns the session, or `None` if it is gone.
    pub(in crate::node) fn get(&self, identity: &Identity) -> Option<&Seen> {
        self.index
            .get(identity)
            .and_then(|&index| self.sessions.get(index))
    }
}

/// A pane that qualifies as a session.
struct PaneCandidate {
    pane: Pane,
    runs: Runs,
}

/// What runs in it.
enum Runs {
    /// A shell, and the state of its process.
    Shell(Shell, ShellActivity),
    /// An agent, by its process.
    Agent(u32),
}

impl<T: Tmux + 'static> Node<T> {
    pub(in crate::node) async fn scan(
        &mut self,
        now: Timestamp,
    ) -> Result<SeenSessions, NodeError> {
        let panes = match self.tmux.panes().await {
            Ok(mut panes) => {
                for pane in &mut panes {
                    pane.identity.node = self.settings.node.clone();
                }
                self.last_server = panes.first().and_then(|pane| {
                    let pid = pane.identity.server_pid;
                    Some((pid, probe::began(pid)?))
                });
                panes
            }
            // Every session is gone, and attempts in flight must learn of it.
            Err(tmux::Error::NoServer) => Vec::new(),
            Err(error) => return Err(NodeError::Tmux(error)),
        };
        self.server_runs = !panes.is_empty();
        let listed = Listed::of(&self.settings.node, &panes);
        self.agents.hear(&self.reports);
        self.read_hints(&panes).await?;
        let candidates: Vec<PaneCandidate> = panes
            .into_iter()
            .filter_map(|pane| self.candidate(pane))
            .collect();
        let panes: Vec<&Pane> = candidates.iter().map(|candidate| &candidate.pane).collect();
        self.count_given(&panes, now).await?;
        let mut lines = self.lines(&candidates, now).await?;
        self.read_screens(&candidates, now).await?;
        let contexts = self.contexts_of(&candidates).await;
        let homes = homes(candidates.iter().map(|candidate| &candidate.pane));
        let named = candidates.iter().zip(&homes);
        let named: Vec<Who<'_>> = named
            .map(|(candidate, homes)| who(&candidate.pane, homes))
            .collect();
        self.follow_names(&listed, &named, now).await?;
        let mut snapshot = SeenSessions::default();
        for ((candidate, homes), context) in candidates.iter().zip(homes).zip(contexts) {
            let line = lines.remove(&candidate.pane.identity.pane);
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

    /// Reads the cursor's lines of shells that wait for input, if they may have changed.
    async fn lines(
        &mut self,
        candidates: &[PaneCandidate],
        now: Timestamp,
    ) -> Result<HashMap<PaneId, ReadLine>, NodeError> {
        let mut lines = HashMap::new();
        let mut unread: Vec<&Pane> = Vec::new();
        for candidate in candidates {
            if !matches!(candidate.runs, Runs::Shell(_, ShellActivity::Prompt)) {
                continue;
            }
            let pane = &candidate.pane;
            let cached = self
                .tracker
                .get_mut(&pane.identity)
                .and_then(|known| known.line.as_ref())
                .filter(|line| line.holds(pane))
                .cloned();
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
            .map_err(NodeError::Tmux)?;
        for ((pane, stamp), line) in unread.into_iter().zip(stamps).zip(read) {
            if let Some(line) = line {
                let read = ReadLine {
                    line: prompt::read(&line, pane.width),
                    row: CursorRow::of(pane, &line),
                    stamp,
                    at: now.as_second(),
                };
                lines.insert(pane.identity.pane.clone(), read);
            }
        }
        Ok(lines)
    }

    /// Reads each session's directory, and the branch there. If a file system does not answer, the
    /// session keeps what was known.
    async fn contexts_of(&mut self, candidates: &[PaneCandidate]) -> Vec<Location> {
        let stand = candidates.iter().map(|candidate| match candidate.runs {
            Runs::Shell(..) => candidate.pane.identity.pane_pid,
            Runs::Agent(pid) => pid,
        });
        let stand: Vec<Option<PathBuf>> = stand.map(probe::working_directory).collect();
        let seen = self.contexts.all(stand.iter().flatten().cloned()).await;
        let written = self.tracker.written.values();
        let written: HashMap<&Identity, &SessionRow> =
            written.map(|row| (&row.identity, row)).collect();
        let stand = candidates.iter().zip(&stand);
        stand
            .map(|(candidate, stand)| {
                let Some(stand) = stand else {
                    return (None, None, None);
                };
                let known = written.get(&candidate.pane.identity).copied();
                let seen = seen.get(stand).cloned();
                seen.unwrap_or_else(|| unseen(stand, known))
            })
            .collect()
    }

    fn see(
        &mut self,
        candidate: &PaneCandidate,
        homes: Vec<Home>,
        read: Option<ReadLine>,
        context: Location,
        now: Timestamp,
    ) -> Option<Seen> {
        let pane = &candidate.pane;
        let who = who(pane, &homes);
        let name = who.name.to_owned();
        let attended_for = self.settings.attended_for;
        let told = match &candidate.runs {
            Runs::Shell(shell, _) => {
                let told = self.shells.told(pane.identity.pane_pid);
                told.filter(|told| told.shell == *shell)
            }
            Runs::Agent(_) => None,
        };
        // What a job shows before its end is known teaches nothing about the prompt.
        let mut flying = self.driver.flying().values();
        let is_taken = flying.any(|flying| flying.identity == pane.identity);
        let known = self.tracker.get_mut(&pane.identity);
        let mut attached = pane.attached;
        let (mut memory, mut declined, mut drawn) = (Memory::default(), None, None);
        if let Some(known) = known {
            attached |= known.attached;
            (memory, declined) = (take(&mut known.memory), known.declined);
            drawn = known.drawn.take();
            let last = known.line.as_ref();
            let awaits = drawn.as_ref().is_some_and(Drawn::awaits_prompt);
            if let Some(read) = &read
                && !is_taken
                && (awaits || last.is_none_or(|last| last.stamp != read.stamp))
            {
                let came = known.activity == Activity::Busy;
                drawn = Drawn::after(
                    drawn,
                    last.map(|last| &last.row),
                    &read.row,
                    came,
                    read.stamp,
                );
            }
        }
        let word = told.map(|told| {
            let stands = Stamp::of(pane);
            let declined = declined
                .as_mut()
                .and_then(|declined| declined.holds(told.prompts, stands).then_some(declined));
            match declined {
                _ if !told.at_prompt => LineReport::Elsewhere,
                Some(declined) => LineReport::Declined(declined.why),
                None => LineReport::Reads,
            }
        });
        let looks_free = read.as_ref().is_some_and(|read| read.line == Line::Prompt);
        let (what, sighting) = match &candidate.runs {
            Runs::Shell(shell, standing) => {
                let proof = |read: &ReadLine| {
                    let facts = Facts::here(*shell, context.0.as_deref(), attached);
                    empty::proof(&read.row, &facts, drawn.as_ref(), Stamp::of(pane))
                };
                let line = read.as_ref().map(|read| ShellLine {
                    line: read.line,
                    // It may contain a secret, and what is seen here is kept.
                    row: None,
                    // A shell that reports needs no proof.
                    proof: word.is_none().then(|| proof(read)).flatten(),
                });
                // A prompt that is shown now will be recognized later, whatever precedes it then.
                if let Some(read) = &read
                    && !is_taken
                    && line.as_ref().is_some_and(|line| line.proof.is_some())
                    && drawn.as_ref().is_none_or(|drawn| !drawn.is_of(&read.row))
                {
                    drawn = Some(Drawn::shown(&read.row));
                }
                let evidence = Evidence::Shell {
                    standing,
                    word,
                    line,
                };
                let sighting = observe(&mut memory, pane, evidence, attended_for, now);
                (What::Shell(*shell), sighting)
            }
            Runs::Agent(_) => {
                let agent = self.agents.see(pane, attended_for, now)?;
                let sighting = Sighting {
                    signals: agent.signals.clone(),
                    verdict: agent.verdict.clone(),
                };
                (What::Agent(Box::new(agent)), sighting)
            }
        };
        let activity = sighting.verdict.activity;
        let idle = activity == Activity::Idle;
        let provider = match &what {
            What::Shell(_) => SHELL.to_owned(),
            What::Agent(agent) => agent.profile.name.clone(),
        };
        let standing = match &candidate.runs {
            Runs::Shell(_, standing) => Some(standing),
            Runs::Agent(_) => None,
        };
        let (current_dir, git_branch, repository) = context;
        let current_task = self
            .driver
            .flying()
            .values()
            .find(|flying| flying.identity == pane.identity)
            .map(|flying| flying.task);
        let spent = self.spent(&pane.session);
        let context_at = self
            .tracker
            .written
            .get(&name)
            .filter(|row| {
                row.identity == pane.identity
                    && row.current_dir == current_dir
                    && row.git_branch == git_branch
                    && row.repository == repository
            })
            .map_or(now, |row| row.context_at);
        let known = self.tracker.entry(&pane.identity, || Known {
            activity,
            // How long it has been idle is not known: at most since its last output.
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
            drawn: None,
            attached: false,
            memory: Memory::default(),
            prompts: None,
            declined: None,
        });
        known.memory = memory;
        known.drawn = drawn;
        known.attached = attached;
        // At a new prompt, the reason why an earlier one took nothing no longer applies.
        let is_new =
            |declined: &Declined| told.is_some_and(|told| declined.is_before(told.prompts));
        known.declined = declined.filter(|declined| !is_new(declined));
        if let (Some(LineReport::Reads), Some(told)) = (word, told) {
            known.prompts = Some(told.prompts);
        }
        if known.activity != activity {
            known.activity = activity;
            known.since = now;
        }
        if read.is_some() {
            known.line = read;
        }
        let is_shell = matches!(what, What::Shell(_));
        if idle && is_shell {
            super::ask::take_told(&self.spool, known);
        }
        super::ask::take_answer(&self.spool, known, activity);
        if idle && is_shell && known.fresh == Freshness::FromNextPrompt {
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
            (Admission::Excluded, _) => Some(Obstacle::Excluded),
            (_, Some(pause)) => Some(pause.obstacle()),
            (Admission::Protected | Admission::Open, None) => None,
        };
        let spent = spent.map(|why| Obstacle::Spent { why });
        let held = known.hold.as_ref();
        let held = held.map(|(_, why)| Obstacle::Held { why: why.clone() });
        let asked = known.asked.as_ref().map(|_| Obstacle::Asked);
        let unclean = known.unclean.then_some(Obstacle::Unclean);
        let obstacle = current_task
            .map(Obstacle::Task)
            .or_else(|| sighting.verdict.obstacle.clone())
            .or(closed)
            .or(spent)
            .or(held)
            .or(asked)
            .or(unclean);
        let ready = obstacle.is_none();
        let reason = obstacle.as_ref().map(Obstacle::to_string);
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
                // A session that has a task is busy, even if its shell has not begun it yet.
                activity: if current_task.is_some() && idle {
                    Activity::Busy
                } else {
                    activity
                },
                reason,
                since: known.since,
                provider,
                current_dir,
                git_branch,
                repository,
                shell: match what {
                    What::Shell(shell) => Some(shell),
                    What::Agent(_) => None,
                },
                env: known.env.clone(),
                current_task,
                completed: known.completed,
                failed: known.failed,
                context_at,
            },
            cursor: pane.cursor,
            piped: pane.piped,
            // A question that the job asks may look like a prompt with something after it.
            at_prompt: matches!(standing, Some(ShellActivity::Prompt)) && looks_free,
            tells: told.is_some(),
            foreground: match standing {
                Some(ShellActivity::Running { group, .. }) => *group,
                Some(ShellActivity::Prompt | ShellActivity::Unknown(_) | ShellActivity::Gone)
                | None => None,
            },
            live: match &what {
                What::Shell(_) => known.live.clone(),
                // If it changes its own variables, nobody can see that.
                What::Agent(agent) => Some(Arc::clone(&agent.env)),
            },
            active: pane.activity,
            asked: known.asked.is_some(),
            idle,
            ready,
            what,
        })
    }

    /// Returns a pane as a candidate for a session, or `None` if it is neither a shell nor an
    /// agent.
    fn candidate(&mut self, pane: Pane) -> Option<PaneCandidate> {
        if pane.dead {
            return None;
        }
        let pid = pane.identity.pane_pid;
        let shell = probe::shell(pid).map(|shell| {
            let editor = shell.dialect().line_editor();
            (shell, probe::standing(editor, pid, &pane.tty))
        });
        if matches!(shell, Some((_, ShellActivity::Gone))) {
            return None;
        }
        let at_prompt = matches!(shell, Some((_, ShellActivity::Prompt)));
        // What a job starts is a part of the job, even if it is an agent: it is asked without a terminal.
        let mut flying = self.driver.flying().values();
        let has_job = flying.any(|flying| flying.is_job && flying.identity == pane.identity);
        let runs = match shell {
            Some((shell, standing)) if has_job => Runs::Shell(shell, standing),
            shell => match (self.agents.find(&self.catalog, &pane, at_prompt), shell) {
                (Some(agent), _) => Runs::Agent(agent.pid),
                (None, Some((shell, standing))) => Runs::Shell(shell, standing),
                (None, None) => return None,
            },
        };
        Some(PaneCandidate { pane, runs })
    }

    /// Reads the screens of programs that no profile recognizes by their processes.
    async fn read_hints(&mut self, panes: &[Pane]) -> Result<(), NodeError> {
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

    /// Reads the screens of agents, if they may have changed.
    async fn read_screens(
        &mut self,
        candidates: &[PaneCandidate],
        now: Timestamp,
    ) -> Result<(), NodeError> {
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

    /// Returns the screens of panes. One that is too large to be read is left out.
    async fn captures<'a>(
        &mut self,
        panes: &[&'a Pane],
    ) -> Result<Vec<(&'a Pane, Option<Capture>)>, NodeError> {
        let mut found = Vec::with_capacity(panes.len());
        for some in panes.chunks(AT_ONCE) {
            let identities: Vec<&Identity> = some.iter().map(|pane| &pane.identity).collect();
            match self.tmux.screens(&identities).await {
                Ok(captures) => found.extend(some.iter().copied().zip(captures)),
                Err(tmux::Error::NoServer) => {
                    return Err(NodeError::Tmux(tmux::Error::NoServer));
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
        snapshot: &SeenSessions,
        now: Timestamp,
    ) -> Result<(), NodeError> {
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
                    reason: Some(match renamed {
                        Some(seen) => format!("its pane is session {} now", seen.row.name),
                        None => "its pane has ended".to_owned(),
                    }),
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
            .run_lightly(move |store| store.record_sessions(&rows, now))
            .await?;
        for row in changed {
            self.tracker.written.insert(row.name.clone(), row);
        }
        Ok(())
    }
}

/// Returns the tmux sessions that show each pane, starting with the oldest, which names it. Also
/// returns the pane's name in each: that of the session or, if several of the panes are in it, with
/// window and pane.
pub(in crate::node) fn homes<'a>(panes: impl Iterator<Item = &'a Pane> + Clone) -> Vec<Vec<Home>> {
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

/// Returns the name of a pane with these homes, and its identity.
fn who<'a>(pane: &'a Pane, homes: &'a [Home]) -> Who<'a> {
    Who {
        name: homes
            .first()
            .map_or(pane.session.as_str(), |home| &home.name),
        identity: Some(&pane.identity),
        homes,
    }
}

/// A directory, the branch there, and its repository.
pub(in crate::node) type Location = (Option<String>, Option<String>, Option<String>);

/// How long a round waits for a session's directory. A disk answers in microseconds, a network in
/// milliseconds, and a network that is gone never.
const CONTEXT_WITHIN: Duration = Duration::from_millis(100);

/// Returns what looks at the sessions' directories.
pub(in crate::node) fn contexts() -> Watch<Location> {
    Watch::new(CONTEXT_WITHIN, |stand| context(stand.to_owned()))
}

/// Returns the directory of a session, the branch there, and its repository.
fn context(stand: PathBuf) -> Location {
    match probe::directory_at(stand) {
        Directory::At(path) => {
            let checkout = probe::git_checkout(&path).unwrap_or_default();
            let repository = checkout
                .as_ref()
                .and_then(|checkout| checkout.repository.to_str());
            let repository = repository.map(str::to_owned);
            let branch = checkout.map(|checkout| checkout.branch);
            (path.to_str().map(str::to_owned), branch, repository)
        }
        Directory::Deleted(_) | Directory::Unreadable => (None, None, None),
    }
}

/// Returns the context of a session whose directory does not answer. `known` is what was last
/// written about it.
fn unseen(stand: &Path, known: Option<&SessionRow>) -> Location {
    let directory = stand.to_str().map(str::to_owned);
    // The branch is known only for the directory in which it was seen.
    let known = known.filter(|row| row.current_dir == directory);
    let branch = known.and_then(|row| row.git_branch.clone());
    (
        directory,
        branch,
        known.and_then(|row| row.repository.clone()),
    )
}

#[cfg(test)]
mod tests;
