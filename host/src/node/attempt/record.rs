//! An agent's own record, found and followed for one turn. Reading it may take a while, so that
//! happens alongside everything else.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use tokio::sync::oneshot;

use super::{Query, Record, Written};
use crate::agents::Profile;
use crate::agents::transcript::{self, Follower};
use crate::model::clock::{Now, Tick};
use crate::probe::{self, Directory};

/// How often the record of a turn is looked for.
const SEARCH_EVERY: Duration = Duration::from_millis(300);

/// How long a look at a known record may take.
const READ_WITHIN: Duration = Duration::from_secs(1);

/// How long a look waits for the result of a search.
const SEARCH_WITHIN: Duration = Duration::from_millis(20);

/// Only the end of a larger record is read, in bytes.
const READ_WHOLE: u64 = 16 << 20;

/// File systems record the time of a change less precisely.
const SLACK: Duration = Duration::from_secs(2);

/// What was said is reported for an open turn that has been quiet for this long, in seconds.
const QUIET: i64 = 300;

/// The variable that `~` stands for.
const HOME: &str = "HOME";

/// The record of one turn, as far as it is known.
#[derive(Default)]
pub(crate) struct Reader {
    follower: Option<Box<Follower>>,
    /// Whether the text was found in the followed record.
    found: bool,
    /// True if we were already following the record when the text was given.
    watched: bool,
    several: bool,
    /// Whether the record was marked, so that what follows is known by its order.
    aged: bool,
    searched: Option<Tick>,
    /// The record that the agent had named by the last search.
    named: Option<Arc<PathBuf>>,
    searching: Option<oneshot::Receiver<Search>>,
    /// The result of a search that no look has taken yet.
    result: Option<Search>,
    /// The directory in which the agent last wrote a record, whichever it is, or else will write one.
    near: Option<PathBuf>,
    /// A read that has not finished.
    reading: Option<oneshot::Receiver<Option<Box<Follower>>>>,
}

/// The result of a search.
struct Search {
    found: FoundRecord,
    /// The directory of the record that was written last, or else where one is expected.
    near: Option<PathBuf>,
}

/// What was found.
enum FoundRecord {
    /// No record contains the text.
    None,
    /// One record contains it.
    One(Box<Follower>),
    /// Several records contain it, so none is believed.
    Several,
}

/// Runs something on its own thread.
fn beside<R: Send + 'static>(work: impl FnOnce() -> R + Send + 'static) -> oneshot::Receiver<R> {
    let (tell, told) = oneshot::channel();
    let spawned = std::thread::Builder::new()
        .name("record".to_owned())
        .spawn(move || {
            let _ = tell.send(work());
        });
    if let Err(error) = spawned {
        // The receiver notices that nothing will come.
        tracing::warn!("cannot read a record: {error}");
    }
    told
}

impl Reader {
    /// Looks at what the record says. Records in `taken` belong to others.
    pub(crate) async fn look(
        &mut self,
        profile: &Profile,
        pane_pid: u32,
        query: &Query,
        taken: HashSet<PathBuf>,
        now: Now,
    ) -> Record {
        self.read().await;
        if let Some(follower) = &self.follower
            && !self.found
        {
            self.found = follower.turn_of(query.wanted()).is_some();
        }
        self.search(profile, pane_pid, query, taken, now).await;
        self.record(query, now)
    }

    /// Reads what was written since the last read.
    async fn read(&mut self) {
        let mut reading = match (self.reading.take(), self.follower.take()) {
            (Some(reading), _) => reading,
            (None, Some(mut follower)) => beside(move || match follower.read() {
                Ok(_) => Some(follower),
                Err(error) => {
                    tracing::debug!("a record can no longer be read: {error}");
                    None
                }
            }),
            (None, None) => return,
        };
        match tokio::time::timeout(READ_WITHIN, &mut reading).await {
            Ok(read) => self.follower = read.ok().flatten(),
            // Its file system does not answer, so what is known of it must do.
            Err(_) => self.reading = Some(reading),
        }
    }

    async fn search(
        &mut self,
        profile: &Profile,
        pane_pid: u32,
        query: &Query,
        taken: HashSet<PathBuf>,
        now: Now,
    ) {
        if self.reading.is_some() || (self.follower.is_some() && (self.found || self.watched)) {
            // A record without times is not read again from the start: old entries would look new.
            return;
        }
        let due = self.named != query.transcript
            || self
                .searched
                .is_none_or(|searched| now.tick.since(searched) >= SEARCH_EVERY);
        if self.searching.is_none()
            && self.result.is_none()
            && due
            && let Some(spec) = profile.transcript.clone()
        {
            self.searched = Some(now.tick);
            self.named.clone_from(&query.transcript);
            let search = RecordSearch {
                spec,
                pane_pid,
                query: query.clone(),
                taken,
            };
            self.searching = Some(beside(move || search.run()));
        }
        // Mostly it takes a moment; the next look takes what takes longer.
        if self.searching.is_some() {
            let _ = tokio::time::timeout(SEARCH_WITHIN, self.search_ends()).await;
        }
        let Some(search) = self.result.take() else {
            return;
        };
        self.near = search.near.or_else(|| self.near.take());
        match search.found {
            FoundRecord::One(follower) => {
                self.follower = Some(follower);
                self.aged = false;
                self.found = true;
            }
            FoundRecord::Several => self.several = true,
            FoundRecord::None => {}
        }
    }

    fn record(&self, query: &Query, now: Now) -> Record {
        let Some(follower) = &self.follower else {
            return Record {
                found: self.found,
                several: self.several,
                ..Record::default()
            };
        };
        let own = follower.turn_of(query.wanted());
        let latest = follower.turn().and_then(|turn| {
            match turn.began.or(turn.last) {
                Some(began) if began >= query.since && !turn.ahead => Some(turn),
                // The clock may have been set back since the record was marked.
                Some(_) if self.aged => follower.fresh(),
                Some(_) => None,
                // It has no times, so what was there when the prompt was given is old.
                None => follower.fresh(),
            }
        });
        Record {
            own: own.map(|turn| written(turn, now.wall)),
            latest: latest.map(|turn| written(turn, now.wall)),
            path: Some(follower.path().to_owned()),
            found: self.found,
            several: self.several,
        }
    }

    /// Returns the path of the record that is known to contain this turn.
    pub(crate) fn path(&self) -> Option<&Path> {
        let follower = self.follower.as_ref().filter(|_| self.found)?;
        Some(follower.path())
    }

    /// Returns the directory in which the record is, or where it is expected.
    pub(crate) fn directory(&self) -> Option<&Path> {
        let follower = self.follower.as_ref();
        follower
            .and_then(|follower| follower.directory())
            .or(self.near.as_deref())
    }

    /// Completes when a search has ended; never if none is under way. Dropping the future loses nothing.
    pub(crate) async fn search_ends(&mut self) {
        let Some(searching) = &mut self.searching else {
            return std::future::pending().await;
        };
        let ended = searching.await;
        self.searching = None;
        self.result = ended.ok();
    }

    /// Has the next look search for the record, however short the last search was ago.
    pub(crate) fn search_now(&mut self) {
        self.searched = None;
    }

    /// Marks everything in the record as older than what follows.
    pub(crate) fn age(&mut self) {
        if let Some(follower) = &mut self.follower {
            follower.age();
            self.aged = true;
        }
    }

    /// Follows a record without times from before the text is given. What it already contains is
    /// about other prompts, even if the words are the same.
    pub(crate) async fn follow_from_now(&mut self, profile: &Profile, pid: u32) {
        let Some(spec) = profile.transcript.clone() else {
            return;
        };
        if spec.format != transcript::Format::Aider {
            return;
        }
        let newest = beside(move || {
            let (env, cwd) = surroundings(pid, &spec);
            let files = transcript::candidates(&spec, &env, &cwd, SystemTime::UNIX_EPOCH);
            let newest = files.into_iter().next()?;
            Follower::at_end(spec.format, newest).ok().map(Box::new)
        });
        let newest = tokio::time::timeout(READ_WITHIN, newest).await;
        self.follower = newest.ok().and_then(Result::ok).flatten();
        self.watched = self.follower.is_some();
    }

    /// Gives away the record that was found.
    pub(crate) fn into_follower(self) -> Option<Box<Follower>> {
        self.follower.filter(|_| self.found)
    }
}

fn written(turn: &transcript::TranscriptTurn, now: Timestamp) -> Written {
    let last = turn.last.or(turn.began);
    let quiet = last.is_none_or(|last| now.as_second() - last.as_second() > QUIET);
    let tells = turn.how.is_none() && quiet && !turn.said.is_empty();
    Written {
        id: turn.id.clone(),
        how: turn.how.clone(),
        response: turn.response.clone(),
        began: turn.began,
        ended: turn.ended,
        last: turn.last,
        files: turn.files.clone(),
        paused: turn.paused.clone(),
        said: tells.then(|| turn.said.join("\n\n")),
    }
}

/// A search for the record of a turn.
struct RecordSearch {
    spec: transcript::TranscriptSpec,
    pane_pid: u32,
    query: Query,
    taken: HashSet<PathBuf>,
}

impl RecordSearch {
    /// Finds the record that contains the text: of the files that the agent has open or has written
    /// to since, the one with this very text.
    fn run(self) -> Search {
        let (env, cwd) = surroundings(self.query.pid, &self.spec);
        let paths = self.paths(&env, &cwd);
        let newest = paths.first().cloned().or_else(|| {
            let any = SystemTime::UNIX_EPOCH;
            let all = transcript::candidates(&self.spec, &env, &cwd, any);
            all.into_iter().next()
        });
        let near = match newest {
            Some(newest) => self.spec.format.directory(&newest).map(Path::to_owned),
            None => transcript::expected_in(&self.spec, &env, &cwd),
        };
        Search {
            found: self.find(paths),
            near,
        }
    }

    /// Returns the records that may contain the text, the one that was written last first.
    fn paths(&self, env: &BTreeMap<String, String>, cwd: &Path) -> Vec<PathBuf> {
        if let Some(named) = self.query.transcript.as_deref() {
            return vec![named.clone()];
        }
        let open = open_records(&self.spec, self.pane_pid, env, cwd);
        if !open.is_empty() {
            return open;
        }
        let since = SystemTime::from(self.query.since - SLACK);
        let mut paths = transcript::candidates(&self.spec, env, cwd, since);
        paths.retain(|path| !self.taken.contains(path));
        paths
    }

    fn find(&self, paths: Vec<PathBuf>) -> FoundRecord {
        let (spec, query) = (&self.spec, &self.query);
        let only_one = paths.len() == 1;
        let mut found: Option<Follower> = None;
        for path in paths {
            // A conversation in a database is read as a whole.
            let small = spec.format.is_database()
                || path.metadata().is_ok_and(|file| file.len() <= READ_WHOLE);
            let mut follower = if small {
                Follower::new(spec.format, path)
            } else if let Ok(follower) = Follower::at_end(spec.format, path) {
                follower
            } else {
                continue;
            };
            // A record is read in several steps of 4 MiB.
            for _ in 0..READ_WHOLE.div_ceil(4 << 20) {
                if follower.read().is_err() {
                    break;
                }
            }
            // If an earlier daemon gave it, answers may have followed it.
            let latest = follower.turn().and_then(|turn| turn.began);
            let follows = query.turn.is_none()
                && query.resumed
                && only_one
                && latest.is_some_and(|began| began >= query.since);
            if follows || follower.turn_of(query.wanted()).is_some() {
                if found.is_some() {
                    return FoundRecord::Several;
                }
                found = Some(follower);
            }
        }
        found.map_or(FoundRecord::None, |found| FoundRecord::One(Box::new(found)))
    }
}

/// Returns the records that an agent's processes have open. The process that was recognized may
/// only be a wrapper of the one that writes.
pub(crate) fn open_records(
    spec: &transcript::TranscriptSpec,
    pane_pid: u32,
    env: &BTreeMap<String, String>,
    cwd: &Path,
) -> Vec<PathBuf> {
    let members = probe::members(pane_pid).into_iter();
    let files = members.flat_map(|member| probe::open_files(member.pid));
    files
        .filter(|path| transcript::belongs(spec, env, cwd, path))
        .collect()
}

/// Returns the variables that determine where an agent keeps its records, and its directory.
pub(crate) fn surroundings(
    pid: u32,
    spec: &transcript::TranscriptSpec,
) -> (BTreeMap<String, String>, PathBuf) {
    let mut names = BTreeSet::from([HOME.to_owned()]);
    names.extend(spec.home.variable.clone());
    let env = probe::environment(pid, &names);
    let cwd = match probe::directory(pid) {
        Directory::At(path) | Directory::Deleted(path) => path,
        Directory::Unreadable => Path::new("/").to_owned(),
    };
    (env, cwd)
}

#[cfg(test)]
mod tests;
