//! Compares what has happened in a run with what is promised.

use super::run::Run;
use super::world::WorldState;
use super::{ENDS_WITHIN, SHELLS};
use crate::agents::transcript::How;
use crate::model::ids::{AttemptId, TaskId};
use crate::model::task::{Kind, Outcome, Status, Task};
use crate::store::REPLY_DROPPED;

impl Run {
    /// Returns everything that has happened but must not happen.
    pub(super) fn check(&mut self) -> Vec<String> {
        // Shells read what is on their lines, however late.
        for index in 0..SHELLS {
            for _ in 0..8 {
                let mut state = self.state.borrow_mut();
                state.shells[index].runs = None;
                state.read(index);
            }
        }
        let mut faults = self.state.borrow().faults.clone();
        for id in self.tasks.clone() {
            let task = self.store.task(id).expect("a task");
            if !self.is_settled(id) {
                faults.push(format!("task {id} is lost: it is {}", task.status));
            }
            self.check_history(&task, &mut faults);
            match task.kind {
                Kind::Command => self.check_command(&task, &mut faults),
                Kind::Prompt => self.check_prompt(&task, &mut faults),
            }
        }
        self.check_jobs(&mut faults);
        faults
    }

    /// Prints what happened to each task, and what was submitted to each agent.
    pub(super) fn story(&mut self) {
        for id in self.tasks.clone() {
            for row in self.store.history(id).expect("a history") {
                let session = row.session.unwrap_or_default();
                let at = row.at.as_millisecond() - super::EPOCH * 1_000;
                eprintln!(
                    "{at} ms: task {id} {} {session} {}",
                    row.action, row.details
                );
            }
        }
        let state = self.state.borrow();
        for act in state.acts.iter().flatten() {
            eprintln!("{act}");
        }
        for given in &state.submissions {
            eprintln!("{given:?}");
        }
        for pane in &state.agents {
            eprintln!("{} {:?}", pane.identity.pane, pane.habits);
            for turn in &pane.turns {
                eprintln!("  {turn:?}");
            }
        }
    }

    /// Checks that the last row shows the task's status.
    fn check_history(&mut self, task: &Task, faults: &mut Vec<String>) {
        let history = self.store.history(task.id).expect("a history");
        // A dropped reply revokes the row that says it was given.
        let dropped = history
            .last()
            .is_some_and(|row| row.action == REPLY_DROPPED);
        let mut rows = history.iter().rev();
        let last =
            rows.find(|row| row.action != REPLY_DROPPED && !(dropped && row.action == "replied"));
        let last = last.map(|row| row.action.as_str());
        let expected: &[&str] = match task.status {
            Status::Completed => &["completed"],
            Status::Failed => &["failed"],
            Status::Cancelled => &["cancelled"],
            Status::Uncertain => &["uncertain"],
            Status::WaitingInput => &["waiting_input"],
            Status::Pending | Status::Assigned | Status::InProgress => &[],
        };
        if !last.is_some_and(|last| expected.contains(&last)) {
            faults.push(format!(
                "task {} is {} after {last:?}",
                task.id, task.status
            ));
        }
    }

    /// Checks that a command ran at most as often as allowed, and was done at most once.
    fn check_command(&mut self, task: &Task, faults: &mut Vec<String>) {
        let state = self.state.borrow();
        let attempts = self.store.attempts(task.id).expect("attempts");
        let (mut succeeded, mut runs) = (0, 0);
        for attempt in attempts {
            let job = state.jobs.get(&attempt.id);
            let times = job.map_or(0, |job| job.runs);
            runs += times;
            if times > 1 {
                faults.push(format!("attempt {} ran {times} times", attempt.id));
            }
            let done = job.is_some_and(|job| job.exit == Some(0));
            succeeded += u32::from(done);
            if attempt.outcome == Some(Outcome::Completed) && !done {
                faults.push(format!("attempt {} completed and did not run", attempt.id));
            }
        }
        if runs > task.max_retries + 1 {
            faults.push(format!("task {} ran {runs} times", task.id));
        }
        if succeeded > 1 {
            faults.push(format!("task {} was done {succeeded} times", task.id));
        }
    }

    /// Checks that no refused or withdrawn job ever runs, that every job that ran is known, and
    /// that the end of a job is noticed in time, whatever other attempts do.
    fn check_jobs(&mut self, faults: &mut Vec<String>) {
        let attempts = |store: &mut crate::store::Store, id| store.attempts(id).expect("attempts");
        let tasks = self.tasks.clone().into_iter();
        let known: Vec<AttemptId> = tasks
            .flat_map(|id| attempts(&mut self.store, id))
            .map(|attempt| attempt.id)
            .collect();
        let state = self.state.borrow();
        for (attempt, job) in &state.jobs {
            if job.runs > 0 && !known.contains(attempt) {
                faults.push(format!("attempt {attempt} was given back and ran"));
            }
            let ended = state.ends.get(attempt).map(|(_, at)| *at);
            if let Some((exited, ended)) = job.exited.zip(ended)
                && ended.saturating_sub(exited) > ENDS_WITHIN
            {
                let late = ended - exited;
                faults.push(format!("attempt {attempt} was seen to end after {late} ms"));
            }
        }
    }

    /// Checks that a prompt is submitted at most once per attempt, and again only after an attempt
    /// that is known to have failed, and that it is completed only by its own turn, with that
    /// turn's answer.
    fn check_prompt(&mut self, task: &Task, faults: &mut Vec<String>) {
        let output = self.store.output(task.id).expect("an output");
        let output = output.map(|output| String::from_utf8_lossy(&output.bytes).into_owned());
        let state = self.state.borrow();
        let submitted = submitted(&state, task);
        for (place, attempt) in submitted.iter().enumerate() {
            if submitted[..place].contains(attempt) {
                faults.push(format!("{attempt} submitted task {} twice", task.id));
            }
            let outcome = state.ends.get(attempt).map(|(outcome, _)| *outcome);
            let is_last = place + 1 == submitted.len();
            let may_follow = matches!(
                outcome,
                Some(Outcome::Failed | Outcome::TimedOut | Outcome::Limited)
            );
            let denied = matches!(outcome, Some(Outcome::Refused | Outcome::Withdrawn));
            if denied || !(is_last || may_follow) {
                faults.push(format!(
                    "task {} was submitted by {attempt}, which ended as {outcome:?}, of {submitted:?}",
                    task.id
                ));
            }
        }
        if task.status != Status::Completed {
            return;
        }
        // The turn that began last counts: a reply may have followed a turn that failed, and the turn of
        // an attempt that timed out may end after that of the next.
        let turns: Vec<(&str, &How)> = turns(&state, task.id).collect();
        let received = turns.iter().any(|(text, _)| text.contains(&task.content));
        let went_well = turns
            .last()
            .is_some_and(|(_, how)| matches!(how, How::Done | How::Interrupted));
        if !received || !went_well {
            faults.push(format!(
                "task {} completed, and its turn did not end",
                task.id
            ));
        }
        let own = format!("to [{}]", task.id);
        if let Some(output) = output.filter(|output| !output.is_empty() && !output.contains(&own)) {
            faults.push(format!("task {} has the response {output:?}", task.id));
        }
    }
}

/// Returns the attempts that submitted a task, in order.
fn submitted(state: &WorldState, task: &Task) -> Vec<AttemptId> {
    let all = state.submissions.iter();
    all.filter(|given| !given.annulled && given.text.contains(&task.content))
        .filter_map(|given| given.attempt)
        .collect()
}

/// Returns the turns about a task that have ended, in the order in which they began: what was
/// submitted, and how it ended.
fn turns(state: &WorldState, task: TaskId) -> impl Iterator<Item = (&str, &How)> {
    let all = state.agents.iter().flat_map(|pane| pane.turns.iter());
    let ended = all.filter(|turn| turn.task == Some(task));
    let ended = ended.filter_map(|turn| Some((turn, turn.ended.as_ref()?)));
    let mut ended: Vec<_> = ended.collect();
    ended.sort_by_key(|(turn, _)| turn.entered);
    ended
        .into_iter()
        .map(|(turn, (how, _))| (turn.text.as_str(), how))
}
