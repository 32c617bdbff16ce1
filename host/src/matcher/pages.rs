//! What a round decides on: the lanes that are open, and their tasks, page by page.

use jiff::Timestamp;

use super::progress::Reach;
use super::{Decide, Matcher, Offer, Surroundings};
use crate::model::task::Task;
use crate::store::{Lane, PauseRow, StoreError};

/// Of the tasks whose agent is paused, this many are given the reason.
const MOST_PAUSED: usize = 256;

/// The lanes of a round.
pub(super) struct RoundLanes {
    /// Those whose tasks can be decided on.
    pub(super) open: Vec<Lane>,
    /// Whether others name sessions that exist but to which they were not bound yet.
    pub(super) unbound: bool,
}

/// Some tasks in a row.
pub(super) struct Page {
    /// The tasks, in the order in which they are to be given.
    pub(super) tasks: Vec<Task>,
    /// Where the next page begins.
    pub(super) next: Reach,
    /// Whether no page follows: there are no more tasks, or the rest waits for an answer.
    pub(super) is_last: bool,
    /// Where it begins itself.
    start: Reach,
}

impl Page {
    /// Leaves out all but the first `count` tasks: those after one that waits for an answer must not
    /// overtake it. Returns whether any was left out.
    pub(super) fn cut(&mut self, count: usize) -> bool {
        if count >= self.tasks.len() {
            return false;
        }
        self.tasks.truncate(count);
        self.next = self.tasks.last().map_or(self.start, after);
        self.is_last = true;
        true
    }
}

fn after(task: &Task) -> Reach {
    Reach::after(task.priority, task.id)
}

impl Matcher {
    /// Takes in what has changed since the last round, and returns the lanes of the tasks that may
    /// run.
    pub(super) async fn open_lanes(
        &mut self,
        sessions: &[Offer<'_>],
        now: Timestamp,
        policy: &impl Decide,
        surroundings: &impl Surroundings,
    ) -> Result<RoundLanes, StoreError> {
        let history = self.progress.history;
        let released = std::mem::take(&mut self.released);
        let (lanes, pauses, news) = self
            .ledger
            .run(move |store| {
                store.release_due(now)?;
                Ok((
                    store.lanes()?,
                    store.pauses()?,
                    store.news(history, &released)?,
                ))
            })
            .await?;
        self.progress.history = news.history;
        if news.many {
            self.progress.reset();
        } else if let Some((priority, task)) = news.first {
            self.progress.lower(priority, task);
        }
        self.progress.see(
            sessions.iter().map(|session| session.row),
            |row, names| surroundings.variables(row, names),
            &pauses,
            policy.lists_busy(),
        );
        let (paused, lanes): (Vec<Lane>, Vec<Lane>) = lanes
            .into_iter()
            .partition(|lane| lane.paused(&pauses).is_some());
        self.note_paused(paused, pauses).await?;
        // Targets whose name a session now has are bound first, so that a claim is for what was
        // meant.
        let (unbound, open): (Vec<Lane>, Vec<Lane>) = lanes
            .into_iter()
            .partition(|lane| is_unbound(lane, sessions));
        let unbound = !unbound.is_empty();
        if unbound {
            self.start_over();
        }
        Ok(RoundLanes { open, unbound })
    }

    /// Says of the headless prompts whose agent is paused why they wait: of the first ones, which are
    /// the next to run. Their sessions are shells, which are not paused.
    async fn note_paused(&self, lanes: Vec<Lane>, pauses: Vec<PauseRow>) -> Result<(), StoreError> {
        if lanes.is_empty() {
            return Ok(());
        }
        let reasons = lanes.into_iter().filter_map(|lane| {
            let reason = lane.paused(&pauses)?.obstacle().to_string();
            Some((lane, reason))
        });
        let reasons: Vec<(Lane, String)> = reasons.collect();
        self.ledger
            .run_lightly(move |store| store.note_lanes_waiting(&reasons, MOST_PAUSED))
            .await
    }

    /// Reads the tasks that come next, at most `size`.
    pub(super) async fn read_page(
        &self,
        lanes: &[Lane],
        start: Reach,
        size: usize,
    ) -> Result<Page, StoreError> {
        let (lanes, task) = (lanes.to_vec(), start.task());
        let tasks = self
            .ledger
            .run(move |store| store.pending(&lanes, size, task))
            .await?;
        let is_last = tasks.len() < size;
        let last = tasks.last().map(after).filter(|_| !is_last);
        Ok(Page {
            next: last.unwrap_or(Reach::End),
            tasks,
            is_last,
            start,
        })
    }
}

/// Whether tasks are for a session that exists but to which they were not bound yet.
fn is_unbound(lane: &Lane, sessions: &[Offer<'_>]) -> bool {
    let target = lane.demand.target_session.as_ref();
    target.is_some_and(|target| {
        let mut sessions = sessions.iter();
        target.meaning.is_none() && sessions.any(|session| session.row.who().answers(target))
    })
}
