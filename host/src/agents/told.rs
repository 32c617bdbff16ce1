//! The turns that an agent's hooks have reported, each under the name that the agent gives it.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;

use jiff::Timestamp;

use super::report::{LONGEST_MESSAGE, Report, ReportedState};

/// The number of turns that are remembered for a pane: a prompt of ours is among the latest.
const MOST: usize = 32;

/// A turn as hooks report it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Told {
    /// The agent's name for it.
    pub id: Arc<str>,
    /// Its prompt, as the agent received it. `None` if its beginning was not reported.
    pub prompt: Option<Arc<str>>,
    /// When its beginning was reported.
    pub began: Option<Timestamp>,
    /// When its end was last reported: a hook of a person's own may make the turn continue.
    pub ended: Option<Timestamp>,
    /// The agent's last message, reported with the end.
    pub response: Option<Arc<str>>,
    /// The file to which the agent writes its turns.
    pub transcript: Option<Arc<PathBuf>>,
}

/// The latest reported turns of a pane, oldest first.
#[derive(Debug, Clone, Default)]
pub struct ToldTurns(Arc<VecDeque<Told>>);

impl ToldTurns {
    /// Takes a report. One that names no turn changes nothing.
    pub fn take(&mut self, report: &Report) {
        let Some(id) = report.turn.as_deref() else {
            return;
        };
        let turns = Arc::make_mut(&mut self.0);
        let known = turns.iter().rposition(|turn| &*turn.id == id);
        // A beginning after an end is another turn: some agents use a name again.
        let is_over = |at: &usize| turns.get(*at).is_some_and(|turn| turn.ended.is_some());
        let begins = report.state == ReportedState::Busy;
        let known = known.filter(|at| !begins || !is_over(at));
        let at = known.unwrap_or_else(|| {
            if turns.len() >= MOST {
                turns.pop_front();
            }
            turns.push_back(Told {
                id: id.into(),
                ..Told::default()
            });
            turns.len() - 1
        });
        let Some(turn) = turns.get_mut(at) else {
            return;
        };
        if let Some(path) = &report.transcript {
            turn.transcript = Some(Arc::new(path.clone()));
        }
        match report.state {
            ReportedState::Busy if turn.began.is_none() => {
                turn.began = Some(report.at);
                turn.prompt = report.message.as_deref().map(Arc::from);
            }
            ReportedState::Done => {
                turn.ended = Some(report.at);
                // A message that may have been cut is not complete: the transcript has the whole of
                // it.
                let whole = report.message.as_deref();
                let whole = whole.filter(|message| message.len() + 4 <= LONGEST_MESSAGE);
                turn.response = whole.map(Arc::from);
            }
            ReportedState::Busy | ReportedState::Idle | ReportedState::Blocked => {}
        }
    }

    /// Returns the turns, latest first.
    pub fn iter(&self) -> impl Iterator<Item = &Told> {
        self.0.iter().rev()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ids::PaneId;

    fn report(state: ReportedState, turn: Option<&str>, message: &str, second: i64) -> Report {
        Report {
            server_pid: 7,
            pane: PaneId::parse("%1").expect("an id"),
            state,
            task: None,
            message: Some(message.to_owned()),
            turn: turn.map(str::to_owned),
            transcript: None,
            at: Timestamp::from_second(second).expect("a time"),
        }
    }

    #[test]
    fn a_name_may_be_used_again() {
        let mut told = ToldTurns::default();
        told.take(&report(ReportedState::Busy, Some("a"), "do it", 1));
        // Said again in the middle of it, this changes nothing.
        told.take(&report(ReportedState::Busy, Some("a"), "", 2));
        told.take(&report(ReportedState::Done, Some("a"), "done", 3));
        told.take(&report(ReportedState::Busy, Some("a"), "do it", 4));
        let began = |turn: &Told| turn.began.map(Timestamp::as_second);
        let turns: Vec<_> = told
            .iter()
            .map(|turn| (began(turn), turn.ended.is_some()))
            .collect();
        assert_eq!(turns, [(Some(4), false), (Some(1), true)]);
    }

    #[test]
    fn a_turn_is_told_from_its_prompt_to_its_last_message() {
        let mut told = ToldTurns::default();
        told.take(&report(ReportedState::Busy, None, "nameless", 1));
        told.take(&report(ReportedState::Busy, Some("a"), "do it", 2));
        // A question of the agent, or a report that it is idle, does not end a turn.
        told.take(&report(ReportedState::Blocked, Some("a"), "may I?", 3));
        told.take(&report(
            ReportedState::Idle,
            Some("a"),
            "waits for input",
            4,
        ));
        let turns: Vec<&Told> = told.iter().collect();
        let [turn] = turns[..] else {
            panic!("{turns:?}");
        };
        assert_eq!(turn.prompt.as_deref(), Some("do it"));
        assert_eq!((turn.ended, turn.response.as_deref()), (None, None));
        // A hook of a person's own makes it continue: the later message is the last one.
        told.take(&report(ReportedState::Done, Some("a"), "done", 5));
        told.take(&report(ReportedState::Busy, Some("b"), "next", 6));
        told.take(&report(ReportedState::Done, Some("a"), "really done", 7));
        let ids: Vec<&str> = told.iter().map(|turn| &*turn.id).collect();
        assert_eq!(ids, ["b", "a"]);
        let first = told.iter().last().expect("the first");
        assert_eq!(first.response.as_deref(), Some("really done"));
        assert_eq!(first.ended.map(Timestamp::as_second), Some(7));
        told.take(&report(
            ReportedState::Done,
            Some("b"),
            &"x".repeat(LONGEST_MESSAGE),
            8,
        ));
        let cut = told.iter().next().expect("the latest");
        assert!(cut.ended.is_some() && cut.response.is_none());
        for turn in 0..MOST {
            told.take(&report(
                ReportedState::Busy,
                Some(&turn.to_string()),
                "x",
                8,
            ));
        }
        assert_eq!(told.iter().count(), MOST);
    }
}
