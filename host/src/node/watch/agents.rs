//! The agents among the panes: which ones there are, what their signals say, and what is remembered
//! of each from one scan to the next.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::sight::{Evidence, Memory, Sighting, observe};
use crate::agents::fuse::{self, Says, Signal, Verdict};
use crate::agents::recognise::{By, Hints, Process, recognise};
use crate::agents::report::{self, Report, Reports};
use crate::agents::told::ToldTurns;
use crate::agents::transcript::Follower;
use crate::agents::{Catalog, Profile, Screen};
use crate::model::ids::{Identity, PaneId};
use crate::node::attempt::record::{open_records, surroundings};
use crate::probe;
use crate::tmux::{Capture, Pane};

/// A program that no profile knows is looked at again after this time: a wrapper may start its
/// agent late.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// How often an agent without a known transcript is checked for its open files.
const SEARCH_AGAIN: Duration = Duration::from_secs(5);

/// How long a program may take to be ready after it has drawn its input line.
const SETTLE_IN: Duration = Duration::from_secs(1);

/// How long a person who asks waits for an agent's version. A scan does not wait.
const VERSION_WITHIN: Duration = Duration::from_secs(1);

/// If nothing has appeared for this many seconds, nothing is about to change.
const QUIET: i64 = 3;

/// After this many reports, all but the last of each pane are deleted.
const SWEEP_AFTER: usize = 256;

/// The agents that were seen.
#[derive(Default)]
pub(in crate::node) struct Agents {
    known: HashMap<Identity, Agent>,
    /// Panes whose program no profile knows.
    strangers: HashMap<Identity, Stranger>,
    /// Whether an input line counts as ready at first sight.
    at_once: bool,
    /// How long a look waits for an agent's version.
    version_within: Duration,
    /// The last report of each pane.
    reports: HashMap<(u32, PaneId), Report>,
    /// The turns that were reported in each pane.
    told: HashMap<(u32, PaneId), ToldTurns>,
    /// The name of the last report that was read.
    read_up_to: String,
    /// The names of the reports that were read within the last seconds.
    recent: BTreeSet<String>,
    /// How many were read since files were last swept.
    unswept: usize,
}

/// A program that no profile knows.
struct Stranger {
    group: u32,
    looked: Instant,
    /// Its screen, which may show what it is.
    screen: Option<Screen>,
}

/// An agent in a pane.
pub(in crate::node) struct Agent {
    pub(in crate::node) profile: Arc<Profile>,
    pub(in crate::node) pid: u32,
    /// Together with the id, this identifies the process for good.
    began: u64,
    pub(in crate::node) by: By,
    /// The version that it has, once that is known.
    version: VersionLook,
    /// Whether its version was waited for.
    asked_version: bool,
    /// The group in the foreground when it was recognised.
    group: u32,
    /// The variables that it was started with. They stay in memory.
    env: Arc<BTreeMap<String, String>>,
    /// Its screen, as last read.
    screen: Option<ReadScreen>,
    /// Since when its signals have said the same.
    memory: Memory,
    follower: Option<Follower>,
    /// Whether a turn of it has ended that no transcript contained.
    keeps_none: bool,
    /// Whether it shows the alternate screen.
    alternate: bool,
    searched: Option<Instant>,
    /// Whether its input line has been there for a while since it started.
    ready: bool,
    /// When that line appeared.
    appeared: Option<Timestamp>,
}

/// A look at the files of an agent, which tell its version. It takes as long as their file system does,
/// so it goes on beside everything else.
enum VersionLook {
    Goes(mpsc::Receiver<Option<String>>),
    Ended(Option<String>),
}

impl VersionLook {
    fn begin(pid: u32, words: Vec<String>) -> Self {
        let (tell, told) = mpsc::channel();
        let look = move || {
            let executable = probe::executable(pid);
            // Nobody may listen any more.
            let _ = tell.send(probe::version::version(executable.as_deref(), &words));
        };
        let spawned = thread::Builder::new()
            .name("version".to_owned())
            .spawn(look);
        match spawned {
            Ok(_) => Self::Goes(told),
            Err(_) => Self::Ended(None),
        }
    }

    /// Waits for the version, at most this long.
    fn wait(&mut self, longest: Duration) {
        if let Self::Goes(told) = self {
            match told.recv_timeout(longest) {
                Ok(version) => *self = Self::Ended(version),
                Err(mpsc::RecvTimeoutError::Disconnected) => *self = Self::Ended(None),
                Err(mpsc::RecvTimeoutError::Timeout) => {}
            }
        }
    }

    fn known(&self) -> Option<&str> {
        match self {
            Self::Ended(version) => version.as_deref(),
            Self::Goes(_) => None,
        }
    }
}

/// A screen that was read.
#[derive(Clone)]
pub(in crate::node) struct ReadScreen {
    pub(in crate::node) screen: Arc<Screen>,
    stamp: ScreenStamp,
    at: i64,
}

/// Changes whenever the screen does. tmux reports activity only by the second.
#[derive(Clone, PartialEq, Eq)]
struct ScreenStamp {
    activity: i64,
    cursor: (u32, u32),
    title: String,
    in_mode: bool,
}

impl ScreenStamp {
    fn of(pane: &Pane) -> Self {
        Self {
            activity: pane.activity,
            cursor: pane.cursor,
            title: pane.title.clone(),
            in_mode: pane.in_mode,
        }
    }
}

impl ReadScreen {
    pub(in crate::node) fn of(capture: &Capture, pane: &Pane, now: Timestamp) -> Self {
        let shown = capture.cursor_shown.then_some(capture.cursor);
        Self {
            screen: Arc::new(Screen::read(&capture.text, shown)),
            stamp: ScreenStamp::of(pane),
            at: now.as_second(),
        }
    }

    /// Whether the pane's screen is still this one: nothing has appeared there since, nor within
    /// the second in which it was read.
    fn holds(&self, pane: &Pane) -> bool {
        self.stamp == ScreenStamp::of(pane) && self.at > pane.activity + 1
    }
}

/// What the scan reports of an agent.
#[derive(Clone)]
pub(in crate::node) struct AgentSeen {
    pub(in crate::node) profile: Arc<Profile>,
    pub(in crate::node) pid: u32,
    pub(in crate::node) began: u64,
    pub(in crate::node) by: By,
    /// Its version, if its files tell it.
    pub(in crate::node) version: Option<String>,
    pub(in crate::node) signals: Vec<Signal>,
    pub(in crate::node) report: Option<Report>,
    /// The turns that it has reported by their names.
    pub(in crate::node) told: ToldTurns,
    /// The variables that it was started with.
    pub(in crate::node) env: Arc<BTreeMap<String, String>>,
    pub(in crate::node) verdict: Verdict,
    pub(in crate::node) pane: Pane,
}

impl std::fmt::Debug for AgentSeen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AgentSeen")
            .field("profile", &self.profile.name)
            .field("pid", &self.pid)
            .field("signals", &self.signals)
            .finish_non_exhaustive()
    }
}

impl Agents {
    /// Reads what agents have reported since the last time. Returns whether there was anything.
    pub(in crate::node) fn hear(&mut self, reports: &Reports) -> bool {
        let now = Timestamp::now();
        // If the clock was set back, what comes has earlier names than what was read.
        self.read_up_to = std::mem::take(&mut self.read_up_to).min(report::name_at(now));
        // A report that took a moment longer to write may have an earlier name.
        let mut news = reports.news(&earlier(&self.read_up_to));
        news.retain(|(name, _)| !self.recent.contains(name));
        let any = !news.is_empty();
        for (name, report) in news {
            self.recent.insert(name.clone());
            self.read_up_to = self.read_up_to.clone().max(name);
            self.unswept += 1;
            let pane = (report.server_pid, report.pane.clone());
            if report.turn.is_some() {
                self.told.entry(pane.clone()).or_default().take(&report);
            }
            let known = self.reports.get(&pane);
            if known.is_none_or(|known| report.replaces(known, now)) {
                self.reports.insert(pane, report);
            }
        }
        if any {
            let earliest = earlier(&self.read_up_to);
            self.recent.retain(|name| *name > earliest);
        }
        if self.unswept > SWEEP_AFTER {
            self.unswept = 0;
            reports.sweep(|_| true);
        }
        any
    }

    /// Returns the agent that runs in a pane, and remembers it. `prompt` means that a shell waits
    /// at its prompt there, so nothing runs.
    pub(in crate::node) fn find(
        &mut self,
        catalog: &Catalog,
        pane: &Pane,
        prompt: bool,
    ) -> Option<&Agent> {
        let identity = &pane.identity;
        let group = (!prompt)
            .then(|| probe::foreground(identity.pane_pid))
            .flatten();
        let Some(group) = group else {
            self.forget(identity);
            return None;
        };
        if let Some(agent) = self.known.get(identity)
            && agent.group == group
            && probe::began(agent.pid) == Some(agent.began)
        {
            return self.known.get(identity);
        }
        self.known.remove(identity);
        let stranger = self.strangers.get(identity);
        let stranger = stranger.filter(|stranger| stranger.group == group);
        if stranger.is_some_and(|stranger| stranger.looked.elapsed() < LOOK_AGAIN) {
            return None;
        }
        let members = probe::members(identity.pane_pid);
        let processes: Vec<Process> = members.iter().map(process_of).collect();
        let hints = Hints {
            title: &pane.title,
            session: &pane.session,
            screen: stranger.and_then(|stranger| stranger.screen.as_ref()),
        };
        let found = recognise(catalog.agents(), &processes, &hints);
        let found = found.and_then(|found| {
            let member = members.iter().find(|member| member.pid == found.pid)?;
            Some((found, member))
        });
        let Some((found, member)) = found else {
            let stranger = Stranger {
                group,
                looked: Instant::now(),
                screen: None,
            };
            self.strangers.insert(identity.clone(), stranger);
            return None;
        };
        self.strangers.remove(identity);
        let agent = Agent {
            profile: found.profile,
            pid: found.pid,
            began: member.began,
            by: found.by,
            asked_version: false,
            version: VersionLook::begin(member.pid, member.words.clone()),
            group,
            env: Arc::new(probe::whole_environment(found.pid)),
            screen: None,
            memory: Memory::default(),
            follower: None,
            keeps_none: false,
            alternate: pane.alternate,
            searched: None,
            ready: self.at_once,
            appeared: None,
        };
        Some(self.known.entry(identity.clone()).or_insert(agent))
    }

    /// Lets every program be looked at again, because it may be recognized differently now.
    pub(in crate::node) fn recognise_anew(&mut self) {
        self.known.clear();
        self.strangers.clear();
    }

    fn forget(&mut self, identity: &Identity) {
        self.known.remove(identity);
        self.strangers.remove(identity);
    }

    /// Forgets panes that are gone.
    pub(in crate::node) fn retain(&mut self, alive: impl Fn(&Identity) -> bool) {
        self.known.retain(|identity, _| alive(identity));
        self.strangers.retain(|identity, _| alive(identity));
        let panes: BTreeSet<(u32, PaneId)> = self
            .known
            .keys()
            .chain(self.strangers.keys())
            .map(|identity| (identity.server_pid, identity.pane.clone()))
            .collect();
        // A report from a pane that is not known yet may still be needed.
        let recent = Timestamp::now() - Duration::from_secs(600);
        self.reports
            .retain(|pane, report| panes.contains(pane) || report.at > recent);
        self.told.retain(|pane, _| self.reports.contains_key(pane));
    }

    /// Whether the screen of an unknown program must be read, because it may show what the program
    /// is.
    pub(in crate::node) fn wants_hint(&self, pane: &Pane) -> bool {
        let stranger = self.strangers.get(&pane.identity);
        stranger.is_some_and(|stranger| stranger.screen.is_none())
    }

    /// Keeps the screen of an unknown program.
    pub(in crate::node) fn keep_hint(&mut self, pane: &Pane, capture: Option<&Capture>) {
        let stranger = self.strangers.get_mut(&pane.identity);
        if let (Some(stranger), Some(capture)) = (stranger, capture) {
            stranger.screen = Some(Screen::read(&capture.text, None));
        }
    }

    /// Lets an unknown program be looked at again at once.
    pub(in crate::node) fn look_again(&mut self, pane: &Pane) {
        if let Some(stranger) = self.strangers.get_mut(&pane.identity) {
            stranger.looked = stranger
                .looked
                .checked_sub(LOOK_AGAIN)
                .unwrap_or(stranger.looked);
        }
    }

    /// Returns what a single look needs: it knows nothing of earlier looks.
    pub(in crate::node) fn for_one_look() -> Self {
        Self {
            at_once: true,
            version_within: VERSION_WITHIN,
            ..Self::default()
        }
    }

    /// Whether the screen of an agent must be read again.
    pub(in crate::node) fn wants_screen(&self, pane: &Pane) -> bool {
        self.known.get(&pane.identity).is_some_and(|agent| {
            let read = agent.screen.as_ref();
            !read.is_some_and(|read| read.holds(pane))
        })
    }

    /// Keeps a screen that was read.
    pub(in crate::node) fn keep_screen(
        &mut self,
        pane: &Pane,
        capture: Option<&Capture>,
        now: Timestamp,
    ) {
        if let Some(agent) = self.known.get_mut(&pane.identity) {
            agent.screen = capture.map(|capture| ReadScreen::of(capture, pane, now));
        }
    }

    /// Returns the transcript that an agent writes, if known.
    pub(in crate::node) fn record(&self, identity: &Identity) -> Option<PathBuf> {
        let follower = self.known.get(identity)?.follower.as_ref()?;
        Some(follower.path().to_owned())
    }

    /// Whether an agent is known to keep no transcript, whatever its profile says.
    pub(in crate::node) fn keeps_none(&self, identity: &Identity) -> bool {
        let agent = self.known.get(identity);
        agent.is_some_and(|agent| agent.keeps_none && agent.follower.is_none())
    }

    /// Notes that no transcript contained a turn.
    pub(in crate::node) fn no_transcript(&mut self, identity: &Identity) {
        if let Some(agent) = self.known.get_mut(identity) {
            agent.keeps_none = true;
        }
    }

    /// Keeps the transcript that an agent was found to write.
    pub(in crate::node) fn keep_follower(&mut self, identity: &Identity, follower: Follower) {
        if let Some(agent) = self.known.get_mut(identity) {
            agent.follower = Some(follower);
        }
    }

    /// Returns what is seen of an agent. `attended_for` is how long a person who has typed there
    /// counts as present.
    pub(in crate::node) fn see(
        &mut self,
        pane: &Pane,
        attended_for: Duration,
        now: Timestamp,
    ) -> Option<AgentSeen> {
        let key = (pane.identity.server_pid, pane.identity.pane.clone());
        let report = self.reports.get(&key).cloned();
        let told = self.told.get(&key).cloned().unwrap_or_default();
        let patience = self.version_within;
        let agent = self.known.get_mut(&pane.identity)?;
        agent.judge_version(patience);
        agent.alternate = pane.alternate;
        let report = report.filter(|report| agent.has_begun_before(report.at));
        let shown = agent.screen.as_ref().map(|read| Arc::clone(&read.screen));
        let evidence = Evidence::Agent {
            report: report.as_ref().map(fuse::report),
            transcript: agent.transcript(pane.identity.pane_pid),
            title: fuse::title(&agent.profile, &pane.title),
            screen: shown.map(|screen| {
                let (says, detail) = fuse::screen(&agent.profile, &screen);
                agent.settled(says, detail, pane, now)
            }),
        };
        let Sighting { signals, verdict } =
            observe(&mut agent.memory, pane, evidence, attended_for, now);
        Some(AgentSeen {
            profile: Arc::clone(&agent.profile),
            pid: agent.pid,
            began: agent.began,
            by: agent.by,
            signals,
            report,
            told,
            env: Arc::clone(&agent.env),
            version: agent.version.known().map(str::to_owned),
            verdict,
            pane: pane.clone(),
        })
    }
}

impl Agent {
    /// Uses a stricter profile once its version turns out to be one that the profile was not tried with.
    fn judge_version(&mut self, patience: Duration) {
        if matches!(self.version, VersionLook::Ended(_)) {
            return;
        }
        // A person who asks waits once; a file system that does not answer must not delay every look.
        let patience = if self.asked_version {
            Duration::ZERO
        } else {
            patience
        };
        self.asked_version = true;
        self.version.wait(patience);
        let version = self.version.known();
        if version.is_some_and(|version| self.profile.is_untested(version)) {
            self.profile = Arc::new(self.profile.strict());
        }
    }

    /// Whether what was reported at that time came from this process, and not from an earlier one.
    fn has_begun_before(&self, at: Timestamp) -> bool {
        probe::started_at(self.pid).is_none_or(|began| began <= at)
    }

    /// Ignores an input line that has just appeared: programs draw it before they accept pastes.
    fn settled(
        &mut self,
        says: Says,
        detail: String,
        pane: &Pane,
        now: Timestamp,
    ) -> (Says, String) {
        if says == Says::Nothing {
            self.ready = false;
        }
        if says != Says::Idle || self.ready {
            self.appeared = None;
            return (says, detail);
        }
        let appeared = *self.appeared.get_or_insert(now);
        let quiet = now.as_second() - pane.activity >= QUIET;
        let there = Duration::try_from(now.duration_since(appeared)).unwrap_or_default();
        self.ready = quiet || there >= SETTLE_IN;
        if !self.ready {
            let detail = "its input line has just appeared".to_owned();
            return (Says::Nothing, detail);
        }
        (says, detail)
    }

    fn transcript(&mut self, pane_pid: u32) -> Option<Signal> {
        let spec = self.profile.transcript.as_ref()?;
        if spec.format.is_database() {
            // Other agents write to it all the time, and a conversation is read as a whole: too much for a
            // scan. The turn itself reads it beside everything else.
            return None;
        }
        if self.follower.is_none()
            && self
                .searched
                .is_none_or(|searched| searched.elapsed() >= SEARCH_AGAIN)
        {
            self.searched = Some(Instant::now());
            let (env, cwd) = surroundings(self.pid, spec);
            let mine = open_records(spec, pane_pid, &env, &cwd).into_iter().next();
            self.follower = mine.and_then(|path| Follower::at_end(spec.format, path).ok());
        }
        let follower = self.follower.as_mut()?;
        if follower.read().is_err() {
            self.follower = None;
            return None;
        }
        let signal = fuse::transcript(follower.turn()?)?;
        // An earlier process may have left a turn open.
        self.has_begun_before(signal.since).then_some(signal)
    }
}

/// Returns the name that a report some seconds earlier would have.
fn earlier(name: &str) -> String {
    let digits = name.split('-').next().unwrap_or_default();
    let nanoseconds: u128 = digits.parse().unwrap_or_default();
    format!("{:020}", nanoseconds.saturating_sub(2_000_000_000))
}

fn process_of(member: &probe::PaneProcess) -> Process {
    Process {
        pid: member.pid,
        depth: member.depth,
        program: member.program.clone(),
        words: member.words.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agents::report::{ReportedState, name_at};

    #[test]
    fn reports_are_heard_at_once_when_the_clock_was_set_back() {
        let directory = tempfile::tempdir().expect("a directory");
        let reports = Reports::of(directory.path());
        let report = |at: Timestamp, state: ReportedState| Report {
            server_pid: 7,
            pane: PaneId::parse("%1").expect("an id"),
            state,
            task: None,
            message: None,
            turn: None,
            transcript: None,
            at,
        };
        let state = |agents: &Agents| agents.reports.values().next().map(|report| report.state);
        // Read while the clock was an hour ahead.
        let ahead = Timestamp::now() + Duration::from_secs(3_600);
        let busy = report(ahead, ReportedState::Busy);
        let mut agents = Agents {
            read_up_to: name_at(ahead),
            reports: HashMap::from([((7, busy.pane.clone()), busy)]),
            ..Agents::default()
        };
        assert!(!agents.hear(&reports));
        let done = report(Timestamp::now(), ReportedState::Done);
        reports.write(&done).expect("written");
        assert!(agents.hear(&reports));
        assert_eq!(state(&agents), Some(ReportedState::Done));
        assert!(!agents.hear(&reports), "it was heard");
    }
}
