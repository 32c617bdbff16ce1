//! Removes a text that was pasted but not submitted from the composer, if nothing but ours is
//! there.

use std::time::Duration;

use super::super::{Act, Done, Ending, Next, Observation, Shown};
use super::running::RunningTurn;
use super::{LOOK, Turn, TurnAgent, TurnState};
use crate::agents::fuse::Says;
use crate::model::clock::{Now, Tick};
use crate::tmux::Typed;

/// A text that was pasted less than this ago may still be on its way.
const ON_ITS_WAY: Duration = Duration::from_millis(600);

/// Keys that have removed nothing for this long had no effect.
const WITHOUT_EFFECT: Duration = Duration::from_millis(500);

/// Keys that had none this often do not work here. The first ones may have removed empty lines, which
/// cannot be seen.
const MOST_IN_VAIN: u32 = 3;

/// The longest time that it may take in total.
const LONGEST: Duration = Duration::from_secs(10);

/// How much of what is left is quoted, in characters.
const SHOWN: usize = 60;

/// What to do once nothing of ours is there, or what is there cannot be removed.
#[derive(Debug, Clone)]
pub(super) enum Then {
    /// The attempt ends.
    End(Vec<Act>, Box<Ending>),
    /// It continues as a turn that waits, and its person is told why.
    Run(Vec<Act>, Box<RunningTurn>, String),
}

/// A text that is being removed.
#[derive(Debug, Clone)]
pub(super) struct TakingBack {
    then: Then,
    since: Tick,
    /// Whether it was looked at for long enough before, so that nothing more is on its way.
    settled: bool,
    /// Whether a key is being pressed.
    presses: bool,
    /// Whether a key was pressed.
    pressed: bool,
    /// The composer's content when the keys were last pressed, and since when it has not changed.
    stood: Option<(String, Tick)>,
    /// How often they were pressed without an effect that can be seen.
    in_vain: u32,
}

/// The result.
enum Left {
    /// Nothing is there any more: our keys have removed it.
    Taken,
    /// Nothing of ours is there.
    Nothing,
    /// This is still there.
    Stands(String),
    /// It cannot be seen what is there.
    Unknown,
}

impl Left {
    fn of(draft: String) -> Self {
        if draft.trim().is_empty() {
            Self::Unknown
        } else {
            Self::Stands(draft)
        }
    }
}

impl Turn {
    /// Removes a text that was pasted but not submitted, and then does `then`.
    pub(super) fn take_back(
        self,
        agent: Box<TurnAgent>,
        then: Then,
        settled: bool,
        seen: &Observation,
        now: Now,
    ) -> (Self, Next) {
        let taking = TakingBack {
            then,
            since: now.tick,
            settled,
            presses: false,
            pressed: false,
            stood: None,
            in_vain: 0,
        };
        self.go_on_taking(agent, taking, seen, now)
    }

    /// Looks at the composer, and presses the key that empties it while only our text is there.
    pub(super) fn go_on_taking(
        self,
        agent: Box<TurnAgent>,
        mut taking: TakingBack,
        seen: &Observation,
        now: Now,
    ) -> (Self, Next) {
        if taking.presses {
            let Some(Done::Typed(typed)) = &seen.done else {
                return self.to(TurnState::TakingBack(agent, taking), Next::wait());
            };
            taking.presses = false;
            if let Some((_, since)) = &mut taking.stood {
                *since = now.tick;
            }
            taking.pressed |= !matches!(typed, Typed::Refused(_));
            return self.to(TurnState::TakingBack(agent, taking), Next::again(LOOK));
        }
        let left = match (agent.alive(seen), &seen.screen) {
            (None, _) => Some(Left::Nothing),
            (Some(_), None) => (now.tick.since(taking.since) >= LONGEST).then_some(Left::Unknown),
            (Some(_), Some(screen)) => taking.left(&agent, screen, now),
        };
        match left {
            Some(left) => self.taken_back(agent, taking, &left),
            None => {
                let draft = seen
                    .screen
                    .as_ref()
                    .and_then(|screen| screen.draft.as_deref());
                let next = taking.next(&agent, seen, draft.unwrap_or_default(), now);
                self.to(TurnState::TakingBack(agent, taking), next)
            }
        }
    }

    fn taken_back(self, agent: Box<TurnAgent>, taking: TakingBack, left: &Left) -> (Self, Next) {
        let told = match left {
            Left::Taken => "; it was removed from the composer".to_owned(),
            Left::Nothing => String::new(),
            Left::Stands(draft) => {
                let draft: String = draft.chars().take(SHOWN).collect();
                format!(
                    "; clear its composer, which contains: {}",
                    draft.replace('\n', " ")
                )
            }
            Left::Unknown => "; the content of its composer cannot be seen".to_owned(),
        };
        match taking.then {
            Then::End(acts, mut end) => {
                if let Some(reason) = &mut end.reason {
                    reason.push_str(&told);
                }
                self.end_after(acts, *end)
            }
            Then::Run(mut acts, running, why) => {
                let why = format!("{why}{told}");
                acts.extend([Act::DropReplies { why }, Act::LeavePane]);
                self.to(TurnState::Running(agent, *running), Next::act(acts))
            }
        }
    }
}

impl TakingBack {
    /// Returns what is left, once nothing more can be done.
    fn left(&self, agent: &TurnAgent, screen: &Shown, now: Now) -> Option<Left> {
        let draft = screen.draft.clone().unwrap_or_default();
        let for_long = now.tick.since(self.since) >= LONGEST;
        match screen.says {
            Says::Idle if self.pressed => Some(Left::Taken),
            Says::Idle => {
                let there = now.tick.since(self.since) >= ON_ITS_WAY;
                (self.settled || there).then_some(Left::Nothing)
            }
            // This may pass, and a key pressed now would be for something else.
            _ if screen.in_mode || screen.says != Says::Attended => {
                (self.settled || for_long).then_some(Left::of(draft))
            }
            _ => {
                let (stood, since) = match &self.stood {
                    Some((stood, since)) => (Some(stood), *since),
                    None => (None, now.tick),
                };
                let in_vain = stood == Some(&draft)
                    && now.tick.since(since) >= WITHOUT_EFFECT
                    && self.in_vain >= MOST_IN_VAIN;
                // The rest of it may still be on its way.
                let comes = screen.part_of_text && !self.settled && {
                    now.tick.since(self.since) < ON_ITS_WAY
                };
                let cannot =
                    agent.profile.paste.clear.is_none() || !(self.is_ours(screen) || comes);
                (for_long || in_vain || cannot).then_some(Left::of(draft))
            }
        }
    }

    /// Whether our text is known to be what the composer holds: it was seen there as a whole, and then
    /// keys have removed a part of it. Anything less may be what a person has typed.
    fn is_ours(&self, screen: &Shown) -> bool {
        screen.holds_text || (self.pressed && screen.part_of_text)
    }

    /// Presses the key again if something is left that it may remove.
    fn next(&mut self, agent: &TurnAgent, seen: &Observation, draft: &str, now: Now) -> Next {
        let (Some(sight), Some(screen)) = (agent.alive(seen), &seen.screen) else {
            return Next::again(LOOK);
        };
        let stands = self.stood.as_ref().filter(|(stood, _)| stood == draft);
        let is_next = stands.is_none_or(|(_, since)| now.tick.since(*since) >= WITHOUT_EFFECT);
        let is_free = screen.says == Says::Attended && !screen.in_mode && self.is_ours(screen);
        let Some(keys) = agent
            .profile
            .paste
            .clear
            .as_ref()
            .filter(|_| is_next && is_free)
        else {
            return Next::again(LOOK);
        };
        self.in_vain = match stands {
            Some(_) => self.in_vain + 1,
            None => 1,
        };
        self.stood = Some((draft.to_owned(), now.tick));
        self.presses = true;
        Next::act([Act::Press {
            literal: String::new(),
            names: keys.split(' ').map(str::to_owned).collect(),
            cursor: screen.cursor,
            command: sight.command.clone(),
        }])
    }
}
