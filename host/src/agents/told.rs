//! The turns that an agent's hooks have told of, each by the name that the agent gives it.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;

use jiff::Timestamp;

use super::report::{LONGEST_MESSAGE, Report, State};

/// So many turns are known of a pane: a prompt of ours is among the latest.
const MOST: usize = 32;

/// A turn as hooks tell of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Told {
    /// What the agent calls it.
    pub id: Arc<str>,
    /// Its prompt, as the agent took it; none where the report of its beginning is not known.
    pub prompt: Option<Arc<str>>,
    /// When its beginning was told.
    pub began: Option<Timestamp>,
    /// When its end was told last: a hook of a person's may let it go on.
    pub ended: Option<Timestamp>,
    /// The agent's last message, told with the end.
    pub response: Option<Arc<str>>,
    /// The file that the agent writes its turns into.
    pub transcript: Option<Arc<PathBuf>>,
}

/// The latest turns of a pane that were told of, the oldest first.
#[derive(Debug, Clone, Default)]
pub struct ToldTurns(Arc<VecDeque<Told>>);

impl ToldTurns {
    /// Takes a report; one that names no turn says nothing here.
    pub fn take(&mut self, report: &Report) {
        let Some(id) = report.turn.as_deref() else {
            return;
        };
        let turns = Arc::make_mut(&mut self.0);
        let known = turns.iter().rposition(|turn| &*turn.id == id);
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
            State::Busy if turn.began.is_none() => {
                turn.began = Some(report.at);
                turn.prompt = report.message.as_deref().map(Arc::from);
            }
            State::Done => {
                turn.ended = Some(report.at);
                // One that may have been cut is not the whole of it: the record tells.
                let whole = report.message.as_deref();
                let whole = whole.filter(|message| message.len() + 4 <= LONGEST_MESSAGE);
                turn.response = whole.map(Arc::from);
            }
            State::Busy | State::Idle | State::Blocked => {}
        }
    }

    /// The turns, the latest first.
    pub fn iter(&self) -> impl Iterator<Item = &Told> {
        self.0.iter().rev()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ids::PaneId;

    fn report(state: State, turn: Option<&str>, message: &str, second: i64) -> Report {
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
    fn a_turn_is_told_from_its_prompt_to_its_last_message() {
        let mut told = ToldTurns::default();
        told.take(&report(State::Busy, None, "nameless", 1));
        told.take(&report(State::Busy, Some("a"), "do it", 2));
        // What an agent asks for, and that it is idle, is no end of a turn.
        told.take(&report(State::Blocked, Some("a"), "may I?", 3));
        told.take(&report(State::Idle, Some("a"), "waits for input", 4));
        let turns: Vec<&Told> = told.iter().collect();
        let [turn] = turns[..] else {
            panic!("{turns:?}");
        };
        assert_eq!(turn.prompt.as_deref(), Some("do it"));
        assert_eq!((turn.ended, turn.response.as_deref()), (None, None));
        // A hook of a person's lets it go on: the later message is the last.
        told.take(&report(State::Done, Some("a"), "done", 5));
        told.take(&report(State::Busy, Some("b"), "next", 6));
        told.take(&report(State::Done, Some("a"), "really done", 7));
        let ids: Vec<&str> = told.iter().map(|turn| &*turn.id).collect();
        assert_eq!(ids, ["b", "a"]);
        let first = told.iter().last().expect("the first");
        assert_eq!(first.response.as_deref(), Some("really done"));
        assert_eq!(first.ended.map(Timestamp::as_second), Some(7));
        told.take(&report(
            State::Done,
            Some("b"),
            &"x".repeat(LONGEST_MESSAGE),
            8,
        ));
        let cut = told.iter().next().expect("the latest");
        assert!(cut.ended.is_some() && cut.response.is_none());
        for turn in 0..MOST {
            told.take(&report(State::Busy, Some(&turn.to_string()), "x", 8));
        }
        assert_eq!(told.iter().count(), MOST);
    }
}
