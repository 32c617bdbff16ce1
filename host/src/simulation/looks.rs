//! What the daemon sees of simulated agents, and how tmux types at them: the truth, read as late
//! and as poorly as by the real readers, and folded by the real fold.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::agents::{AgentPane, Doing, SimulatedTurn, Typing};
use super::run::READS_LINES;
use super::world::WorldState;
use crate::agents::fuse::{self, Says, Signal, SignalSource, fuse};
use crate::agents::screen;
use crate::agents::transcript::{self, How, MOST_BEFORE};
use crate::model::session::{AT_PROMPT, Shell};
use crate::model::verdict::{Detail, Obstacle};
use crate::node::attempt::driver::Look;
use crate::node::attempt::{
    Act, AgentSight, Brief, Done, PaneSight, Query, Record, Shown, Wants, Written,
};
use crate::tmux::{Error, Refusal, Typed};

/// A clock that is only corrected goes back by less than this.
const CORRECTED: Duration = Duration::from_secs(2);

/// How often the record of a turn is looked for, in milliseconds.
const SEARCH_EVERY: u64 = 300;

/// What was said is reported for an open turn that has been quiet for this long, in seconds.
const QUIET: i64 = 300;

/// How long a program may take to be ready after it has drawn its input line, in milliseconds.
const SETTLE_IN: u64 = 1_000;

/// How long a person who has pressed a key counts as present, in milliseconds.
const ATTENDED_FOR: u64 = 4_000;

/// What one attempt keeps from step to step.
#[derive(Debug, Default)]
pub(super) struct SimulatedHands {
    /// Whether the record was found.
    found: bool,
    searched: Option<u64>,
    /// The turns that began in the future, at the first look.
    ahead: Option<Vec<usize>>,
    /// How many turns were in the record when it was marked.
    aged: Option<usize>,
}

impl SimulatedHands {
    /// Whether the record was found.
    pub(super) fn has_found(&self) -> bool {
        self.found
    }
}

/// What a daemon remembers of an agent from one look to the next.
#[derive(Debug, Default)]
pub(super) struct SimulatedMemory {
    /// Whether it follows the agent's record.
    pub(super) follows: bool,
    /// Whether a turn ended that no record contained.
    pub(super) keeps_none: bool,
    since: Vec<(SignalSource, Says, Timestamp)>,
    appeared: Option<u64>,
    ready: bool,
}

impl SimulatedMemory {
    /// Dates what one look has seen, and forgets what it has not seen.
    fn date(&mut self, seen: Vec<(SignalSource, Says, Detail)>, now: Timestamp) -> Vec<Signal> {
        let before = std::mem::take(&mut self.since);
        let date = |(source, says, detail): (SignalSource, Says, Detail)| {
            let known = before
                .iter()
                .find(|(of, what, _)| (*of, *what) == (source, says));
            let since = known.map_or(now, |(_, _, since)| *since);
            self.since.push((source, says, since));
            Signal {
                source,
                says,
                since,
                detail,
            }
        };
        seen.into_iter().map(date).collect()
    }
}

impl AgentPane {
    pub(super) fn reads_lines(&self) -> bool {
        self.profile.name == READS_LINES
    }

    /// Whether the agent is seen running there.
    fn is_seen(&self, now: u64) -> bool {
        self.runs && self.behind <= now
    }

    /// Returns what its screen says, also in words.
    fn screen(&self, now: u64) -> (Says, String) {
        if !self.is_seen(now) || self.drawn > now {
            return (Says::Nothing, "no line to type into".to_owned());
        }
        match &self.doing {
            Doing::Asking(question) => (Says::Waiting, question.clone()),
            Doing::Working if self.reads_lines() => (Says::Busy, "working".to_owned()),
            Doing::Nothing if self.reads_lines() && self.composer.is_empty() => {
                (Says::Idle, ">".to_owned())
            }
            // What is typed cannot be told apart from anything else that is shown.
            _ if self.reads_lines() => (Says::Nothing, "no known input line".to_owned()),
            // With a draft, the footer is gone, and only the title shows it.
            Doing::Working if !self.habits.titles || self.composer.is_empty() => {
                (Says::Busy, "(esc to interrupt)".to_owned())
            }
            _ if self.composer.is_empty() => (Says::Idle, AT_PROMPT.to_owned()),
            _ => (Says::Attended, format!("a draft: {}", self.composer)),
        }
    }

    fn title(&self) -> Says {
        match self.doing {
            Doing::Working if self.habits.titles => Says::Busy,
            Doing::Asking(_) if self.habits.titles && self.profile.name == "codex" => Says::Waiting,
            _ => Says::Nothing,
        }
    }

    /// Returns the screen as read by an attempt that looks for this text.
    fn shown(&self, text: &str, now: u64) -> Shown {
        let (says, detail) = self.screen(now);
        let reads_lines = self.reads_lines();
        let has_composer = !reads_lines && !matches!(says, Says::Waiting | Says::Nothing);
        let is_in_line = self.is_seen(now) && self.drawn <= now && self.doing == Doing::Nothing;
        let draft = has_composer.then(|| self.composer.clone());
        let has = |it: fn(&str, &str) -> bool| draft.as_ref().is_some_and(|draft| it(draft, text));
        Shown {
            says,
            detail,
            holds_text: has(screen::is_whole),
            part_of_text: has(screen::is_part),
            near_text: has(screen::resembles),
            line_holds_text: reads_lines && is_in_line && self.composer == text,
            given: if self.is_seen(now) && self.drawn <= now {
                self.given(text)
            } else {
                0
            },
            draft,
            in_mode: self.mode > now,
            cursor: self.cursor(),
        }
    }

    /// Returns how long nothing has appeared: since the last turn ended.
    fn quiet(&self, wall: Timestamp) -> Duration {
        if self.doing != Doing::Nothing {
            return Duration::ZERO;
        }
        let last = self.turns.last().map(|turn| turn.last);
        let quiet = last.map(|last| Duration::try_from(wall.duration_since(last)));
        quiet.map_or(Duration::from_secs(3_600), Result::unwrap_or_default)
    }

    /// Returns how often a text is shown as one that was given.
    fn given(&self, text: &str) -> usize {
        let shown = |turn: &&SimulatedTurn| turn.pid == self.pid && turn.text == text;
        let given = self.turns.iter().filter(shown).count();
        // A line looks the same before and after it is entered.
        let begins = matches!(&self.doing, Doing::Beginning(of) if of == text);
        let is_line = self.reads_lines() && (begins || self.composer.starts_with(text));
        given + usize::from(is_line)
    }

    /// Returns when its process started, by the current wall clock.
    fn started(&self, now: u64, wall: Timestamp) -> Timestamp {
        wall - Duration::from_millis(now - self.since)
    }

    /// Returns what the record says about its state, if it is followed.
    fn transcript(&self, now: u64, started: Timestamp) -> Option<Signal> {
        if !self.habits.records || !(self.habits.open || self.memory.follows) {
            return None;
        }
        let mut turns = self.turns.iter().rev();
        let latest = turns.find(|turn| turn.pid == self.pid && turn.written <= now)?;
        let mut turn = transcript::TranscriptTurn::default();
        turn.began = Some(latest.began);
        turn.last = Some(latest.last);
        if let Some((how, at)) = latest.ended.clone().filter(|_| latest.closed <= now) {
            turn.how = Some(how);
            turn.ended = Some(at);
        }
        fuse::transcript(&turn).filter(|signal| signal.since >= started)
    }

    /// Ignores an input line that has just appeared.
    fn settled(&mut self, (says, detail): (Says, String), now: u64) -> (Says, String) {
        let memory = &mut self.memory;
        if says == Says::Nothing {
            memory.ready = false;
        }
        if says != Says::Idle || memory.ready {
            memory.appeared = None;
            return (says, detail);
        }
        let appeared = *memory.appeared.get_or_insert(now);
        memory.ready = now - appeared >= SETTLE_IN;
        if memory.ready {
            (says, detail)
        } else {
            (Says::Nothing, "it has just appeared".to_owned())
        }
    }

    fn agent_sight(&mut self, now: u64, wall: Timestamp) -> AgentSight {
        let started = self.started(now, wall);
        let report = self.report.clone();
        let report = report.filter(|report| report.at >= started);
        let screen = self.screen(now);
        let (says, detail) = self.settled(screen, now);
        let touched = self.touched.filter(|at| now - at < ATTENDED_FOR);
        let barrier = if self.mode > now {
            Some(Obstacle::Mode)
        } else {
            touched.map(|_| Obstacle::PersonTyping)
        };
        let pane = barrier.map_or((Says::Nothing, "".into()), |barrier| {
            (Says::Attended, Detail::Obstacle(barrier))
        });
        let seen = vec![
            (SignalSource::Title, self.title(), "title".into()),
            (SignalSource::Screen, says, detail.into()),
            (SignalSource::Pane, pane.0, pane.1),
        ];
        let mut signals: Vec<Signal> = report.as_ref().map(fuse::report).into_iter().collect();
        signals.extend(self.transcript(now, started));
        signals.extend(self.memory.date(seen, wall));
        let verdict = fuse(&signals, wall);
        AgentSight {
            profile: Arc::clone(&self.profile),
            pid: self.pid,
            began: u64::from(self.pid),
            started: Some(started),
            command: self.profile.name.clone(),
            report,
            told: self.told.clone(),
            quiet: self.quiet(wall),
            signals,
            verdict,
            keeps_none: self.memory.keeps_none && !self.memory.follows,
            record: None,
            alternate: false,
        }
    }

    /// Returns what a look shows of the pane.
    pub(super) fn sight(&mut self, now: u64, wall: Timestamp) -> PaneSight {
        let agent = self.is_seen(now).then(|| self.agent_sight(now, wall));
        let idle = agent
            .as_ref()
            .is_some_and(|agent| agent.verdict.obstacle.is_none());
        PaneSight {
            idle,
            at_prompt: !self.runs,

            tells: false,
            foreground: None,
            cursor: self.cursor(),
            piped: false,
            directory: Some("/w".to_owned()),
            shell: (!self.runs).then_some(Shell::Bash),
            untold: false,
            agent,
        }
    }

    /// Returns how many turns of a process are in its record.
    fn recorded(&self, pid: u32, now: u64) -> usize {
        let written = |turn: &&SimulatedTurn| turn.pid == pid && turn.written <= now;
        self.turns.iter().filter(written).count()
    }

    /// Returns what the record contains about a text.
    fn record(
        &self,
        hands: &mut SimulatedHands,
        query: &Query,
        now: u64,
        wall: Timestamp,
    ) -> Record {
        let mine = self.turns.iter().rev();
        let mut turns = mine.filter(|turn| turn.pid == query.pid && turn.written <= now);
        let latest = turns.next();
        let since = |at: Timestamp| at.as_millisecond() >= query.since.as_millisecond();
        let recorded = self.recorded(query.pid, now);
        let follows_mark = hands.aged.is_some_and(|aged| recorded > aged);
        // At the first look, what began in the future began before the clock was set back.
        let ahead = hands.ahead.get_or_insert_with(|| {
            let turns = self.turns.iter().enumerate();
            let ahead =
                turns.filter(|(_, turn)| turn.written <= now && turn.began > wall + CORRECTED);
            ahead.map(|(at, _)| at).collect()
        });
        let is_ahead = |turn: &SimulatedTurn| {
            let at = self
                .turns
                .iter()
                .position(|other| std::ptr::eq(other, turn));
            at.is_some_and(|at| ahead.contains(&at))
        };
        let since = |turn: &SimulatedTurn| since(turn.began) && !is_ahead(turn);
        let latest_since = latest.filter(|turn| since(turn) || follows_mark);
        let mut known = latest.into_iter().chain(turns.take(MOST_BEFORE));
        let own = known.find(|turn| match (&query.turn, &turn.id) {
            (Some(wanted), Some(id)) => **wanted == **id,
            _ => since(turn) && *turn.text == *query.text,
        });
        if !hands.found && hands.searched.is_none_or(|at| now - at >= SEARCH_EVERY) {
            hands.searched = Some(now);
            let follows = query.resumed && query.turn.is_none() && self.habits.open;
            hands.found = own.is_some() || (follows && latest_since.is_some());
        }
        if !hands.found {
            return Record::default();
        }
        let written = |turn: &SimulatedTurn| {
            let ended = turn.ended.clone().filter(|_| turn.closed <= now);
            let quiet = wall.as_second() - turn.last.as_second() > QUIET;
            let is_done = matches!(ended, Some((How::Done, _)));
            Written {
                paused: None,
                id: turn.id.clone(),
                response: is_done.then(|| turn.answer.clone()),
                began: Some(turn.began),
                ended: ended.as_ref().map(|(_, at)| *at),
                last: Some(turn.last),
                files: Vec::new(),
                said: (ended.is_none() && quiet).then(|| "half of it".to_owned()),
                how: ended.map(|(how, _)| how),
            }
        };
        Record {
            own: own.map(written),
            latest: latest_since.map(written),
            path: Some("/record".into()),
            found: true,
            several: false,
        }
    }

    /// Returns the answer that is shown below a prompt, and everything that is shown there.
    fn answer(&self, text: &str) -> (String, String) {
        let mut turns = self.turns.iter().rev();
        let turn = turns.find(|turn| turn.text.contains(text));
        let Some(turn) = turn.filter(|_| self.runs) else {
            return (String::new(), String::new());
        };
        let below = match (&turn.ended, self.profile.name.as_str()) {
            (Some((How::Failed { message }, _)), "claude") => format!("● API Error: {message}"),
            (Some((How::Failed { message }, _)), "codex") => format!("■ {message}"),
            (Some((How::Failed { message }, _)), "gemini") => format!("✕ {message}"),
            (Some((How::Failed { message }, _)), READS_LINES) => format!("error: {message}"),
            (Some((How::Limited { .. }, _)), READS_LINES) => "limit: too much".to_owned(),
            (Some((How::Limited { .. }, _)), "codex") => "■ rate limit reached".to_owned(),
            (Some((How::Limited { .. }, _)), "claude") => "● session limit reached".to_owned(),
            (Some((How::Limited { .. }, _)), _) => "✕ quota exceeded".to_owned(),
            _ => turn.answer.clone(),
        };
        (turn.answer.clone(), below)
    }
}

impl WorldState {
    /// Lets an attempt look at its agent.
    pub(super) fn look_at_agent(
        &mut self,
        index: usize,
        hands: &mut SimulatedHands,
        wants: &Wants,
        look: &mut Look,
    ) {
        let (now, wall) = (self.now, self.wall());
        let unread = self.chance(30);
        let pane = &self.agents[index];
        let process = (pane.pid, u64::from(pane.pid));
        look.process_lives = pane.lives && pane.runs && wants.process == Some(process);
        if let Some(query) = &wants.record {
            look.record = pane.record(hands, query, now, wall);
        }
        if wants.screen && pane.lives && !unread {
            let text = wants.text.as_deref().unwrap_or_default();
            look.screen = Some(pane.shown(text, now));
        }
    }

    /// Does what an attempt wants of its agent.
    pub(super) fn act_on_agent(
        &mut self,
        brief: &Brief,
        hands: &mut SimulatedHands,
        act: &Act,
    ) -> Done {
        let Some(index) = self.agent(&brief.identity) else {
            return Done::Fine;
        };
        match act {
            Act::TakePane => Done::Pane(Ok(!self.chance(25))),
            Act::AgeRecord => {
                let pane = &self.agents[index];
                hands.aged = hands.found.then(|| pane.recorded(pane.pid, self.now));
                Done::Fine
            }
            Act::Paste {
                text,
                cursor,
                command,
            } => Done::Typed(match self.compare(index, *cursor, command) {
                Err(refusal) => Typed::Refused(refusal),
                Ok(()) => self.paste(index, brief, text),
            }),
            Act::Press {
                literal,
                names,
                cursor,
                command,
            } => Done::Typed(match self.compare(index, *cursor, command) {
                Err(refusal) => Typed::Refused(refusal),
                Ok(()) => self.press(index, brief, literal, names),
            }),
            Act::ReadAnswer { text, .. } => {
                let gone = self.chance(30) || !self.agents[index].lives;
                Done::Answer((!gone).then(|| self.agents[index].answer(text)))
            }
            Act::ReadGiven { text, .. } => {
                let pane = &self.agents[index];
                let turns = pane.turns.iter();
                let given: Vec<_> = turns.filter(|turn| turn.pid == pane.pid).collect();
                let last = given.last().map(|turn| turn.text.clone());
                let ours = given.iter().rposition(|turn| turn.text == **text);
                let shown = screen::GivenPrompts {
                    count: given.len(),
                    last: last.unwrap_or_default(),
                    after: ours.map(|ours| given.len() - ours - 1),
                };
                Done::Given(pane.lives.then_some(shown))
            }
            _ => Done::Fine,
        }
    }

    /// tmux checks that a pane is still as it was seen.
    fn compare(&self, index: usize, cursor: (u32, u32), command: &str) -> Result<(), Refusal> {
        let pane = &self.agents[index];
        if !pane.lives {
            Err(Refusal::Gone)
        } else if pane.mode > self.now {
            Err(Refusal::Mode)
        } else if !pane.is_seen(self.now) || command != pane.profile.name {
            Err(Refusal::OtherProgram)
        } else if pane.cursor() != cursor {
            Err(Refusal::CursorMoved)
        } else {
            Ok(())
        }
    }

    fn paste(&mut self, index: usize, brief: &Brief, text: &Arc<str>) -> Typed {
        let attempt = brief.attempt;
        let pane = &mut self.agents[index];
        let draft = pane.composer.clone();
        let is_free = draft.is_empty() && !matches!(pane.doing, Doing::Asking(_));
        pane.pasted_by = Some(attempt);
        pane.pasted_for = Some(brief.task.id);
        self.pasted.insert(attempt, Arc::clone(text));
        if !is_free {
            self.fault(&format!("{attempt} was pasted where {draft:?} stood"));
        }
        self.send(index, Typing::Paste(Arc::clone(text)))
    }

    fn press(&mut self, index: usize, brief: &Brief, literal: &str, names: &[String]) -> Typed {
        let pane = &self.agents[index];
        let attempt = brief.attempt;
        let submits = literal.is_empty() && *names == [pane.profile.paste.submit.clone()];
        let clear = pane.profile.paste.clear.as_deref();
        let clears = literal.is_empty() && clear.is_some_and(|keys| keys.split(' ').eq(names));
        let pasted = self.pasted.get(&attempt).map(|text| &**text);
        let wrong = match &pane.doing {
            Doing::Asking(question) => {
                let answered = self.answered.get(&brief.task.id);
                submits || clears || answered.is_none_or(|asked| !asked.contains(question.as_str()))
            }
            _ if pane.has_words() => true,
            _ if clears => pasted.is_none_or(|pasted| !pasted.contains(&pane.composer)),
            _ if submits => !pane.composer.is_empty() && Some(pane.composer.as_str()) != pasted,
            _ => true,
        };
        if wrong {
            let seen = format!("{:?} with {:?}", pane.doing, pane.composer);
            self.fault(&format!("{attempt} pressed {literal}{names:?} into {seen}"));
        }
        if clears {
            self.send(index, Typing::Clear)
        } else if submits {
            self.agents[index].pressed = Some(attempt);
            self.send(index, Typing::Submit(Some(attempt)))
        } else {
            let typing = Typing::Answer(literal.to_owned(), !names.is_empty());
            self.send(index, typing)
        }
    }

    /// tmux types. Its answer may be lost, and then it may have typed or not.
    fn send(&mut self, index: usize, typing: Typing) -> Typed {
        let lost = self.chance(12);
        if lost && self.rng.bool() {
            return Typed::Unknown(Error::Closed);
        }
        self.type_at(index, typing);
        if lost {
            Typed::Unknown(Error::Closed)
        } else {
            Typed::Done
        }
    }
}
