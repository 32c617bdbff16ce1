//! One look at a session: what was read of its pane and its program becomes signals, which are
//! folded into a verdict. The scan and `doctor` both use this, and nothing else.

use std::collections::HashMap;
use std::time::Duration;

use jiff::Timestamp;

use super::empty::UNSHOWN;
use super::prompt::{Line, LineReport};
use crate::model::verdict::{Detail, Obstacle, Says, Signal, SignalSource, Verdict, fuse};
use crate::probe::ShellActivity;
use crate::tmux::Pane;

/// What was read about the program in a pane.
#[derive(Debug)]
pub(in crate::node) enum Evidence<'a> {
    /// It is a shell.
    Shell {
        /// The state of its process.
        standing: &'a ShellActivity,
        /// What it reports about its line, if it does.
        word: Option<LineReport>,
        /// The cursor's line, if it was read.
        line: Option<ShellLine>,
    },
    /// It is an agent.
    Agent {
        /// What it has reported.
        report: Option<Signal>,
        /// What its transcript says.
        transcript: Option<Signal>,
        /// What its title says.
        title: (Says, String),
        /// What its screen says, if it was read.
        screen: Option<(Says, String)>,
    },
}

/// The cursor's line of a shell.
#[derive(Debug, Clone)]
pub(in crate::node) struct ShellLine {
    /// What it looks like.
    pub(in crate::node) line: Line,
    /// The row in quotes, if a person is to see it.
    pub(in crate::node) row: Option<String>,
    /// What shows that nothing was typed there.
    pub(in crate::node) proof: Option<&'static str>,
}

impl ShellLine {
    /// Returns what the line says about its shell. We must not submit what looks like a draft, and
    /// must not type after what only looks like a prompt.
    fn says(&self) -> (Says, String) {
        let (says, why) = match (self.line, self.proof) {
            (Line::Prompt, Some(proof)) => return (Says::Idle, proof.to_owned()),
            (Line::Prompt, None) => (Says::Nothing, UNSHOWN),
            (line, _) => line.says(),
        };
        let row = self.row.as_ref();
        let shown = row.map_or_else(String::new, |row| format!("; its row is {row}"));
        (says, format!("{why}{shown}"))
    }
}

/// What is seen of a session.
#[derive(Debug, Clone)]
pub(in crate::node) struct Sighting {
    /// The signals, best first.
    pub(in crate::node) signals: Vec<Signal>,
    /// The verdict that they add up to.
    pub(in crate::node) verdict: Verdict,
}

/// Since when signals have said the same, from one look to the next: what a pane shows has no time
/// of its own.
#[derive(Debug, Clone, Default)]
pub(in crate::node) struct Memory {
    since: HashMap<SignalMeaning, Timestamp>,
}

/// What stays the same while only the words of a signal change.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct SignalMeaning {
    source: SignalSource,
    says: Says,
    /// A pane may have several of these at once.
    barrier: Option<Obstacle>,
}

impl SignalMeaning {
    fn of(source: SignalSource, says: Says, detail: &Detail) -> Self {
        let barrier = match detail {
            Detail::Obstacle(obstacle) if source == SignalSource::Pane => Some(obstacle.clone()),
            Detail::Obstacle(_) | Detail::Words(_) => None,
        };
        Self {
            source,
            says,
            barrier,
        }
    }
}

impl Memory {
    /// Returns a memory for a single look: everything without a time of its own dates from now.
    pub(in crate::node) fn for_one_look() -> Self {
        Self::default()
    }

    /// Dates what one look has seen, and forgets what it has not seen.
    fn date(&mut self, seen: Vec<(SignalSource, Says, Detail)>, now: Timestamp) -> Vec<Signal> {
        let before = std::mem::take(&mut self.since);
        let date = |(source, says, detail): (SignalSource, Says, Detail)| {
            let kind = SignalMeaning::of(source, says, &detail);
            let since = before.get(&kind).copied().unwrap_or(now);
            self.since.insert(kind, since);
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

/// Folds what one look has read about a session.
pub(in crate::node) fn observe(
    memory: &mut Memory,
    pane: &Pane,
    evidence: Evidence<'_>,
    attended_for: Duration,
    now: Timestamp,
) -> Sighting {
    let mut seen = Vec::new();
    let mut signals = Vec::new();
    match evidence {
        Evidence::Shell {
            standing,
            word,
            line,
        } => {
            seen.push(process(standing));
            if let Some(word) = word {
                let (says, detail) = word.says();
                seen.push((SignalSource::Shell, says, detail.into()));
            }
            let (says, detail) = match line {
                // A shell that reports need not be read, but it does not see what is not its own
                // line.
                Some(line) if word.is_none() || line.line == Line::Search => line.says(),
                Some(_) => (
                    Says::Nothing,
                    "its shell itself reports on its line".to_owned(),
                ),
                None => (Says::Nothing, "its line could not be read".to_owned()),
            };
            seen.push((SignalSource::Screen, says, detail.into()));
        }
        Evidence::Agent {
            report,
            transcript,
            title: (says, title),
            screen,
        } => {
            signals.extend(report.into_iter().chain(transcript));
            seen.push((SignalSource::Title, says, title.into()));
            seen.extend(screen.map(|(says, detail)| (SignalSource::Screen, says, detail.into())));
        }
    }
    seen.extend(barriers(pane, attended_for, now));
    signals.extend(memory.date(seen, now));
    let verdict = fuse(&signals, now);
    Sighting { signals, verdict }
}

/// Returns what the process of a shell says.
fn process(standing: &ShellActivity) -> (SignalSource, Says, Detail) {
    let (says, detail) = match standing {
        ShellActivity::Prompt => (Says::Idle, "the shell edits a line".into()),
        ShellActivity::Running { foreground, .. } => {
            let program = foreground.clone();
            (Says::Busy, Detail::Obstacle(Obstacle::Runs { program }))
        }
        ShellActivity::Unknown(why) => (Says::Nothing, why.as_str().into()),
        ShellActivity::Gone => (Says::Gone, Detail::Obstacle(Obstacle::Gone)),
    };
    (SignalSource::Process, says, detail)
}

/// Returns what tmux says about a person at a pane, and about what would keep typed text from
/// reaching only its program: everything that applies, or one signal that nothing does.
fn barriers(
    pane: &Pane,
    attended_for: Duration,
    now: Timestamp,
) -> impl Iterator<Item = (SignalSource, Says, Detail)> {
    let typed = |second| is_attended(second, now, attended_for);
    let all = [
        (pane.in_mode, Obstacle::Mode),
        (pane.input_off, Obstacle::InputOff),
        (pane.synchronized, Obstacle::Synchronized),
        (
            pane.watched_until.is_some_and(typed),
            Obstacle::PersonTyping,
        ),
    ];
    let none = all.iter().all(|(holds, _)| !holds);
    let there = all.into_iter().filter(|(holds, _)| *holds);
    there
        .map(|(_, barrier)| {
            (
                SignalSource::Pane,
                Says::Attended,
                Detail::Obstacle(barrier),
            )
        })
        .chain(none.then(|| (SignalSource::Pane, Says::Nothing, "".into())))
}

/// Whether a key that was pressed in this second may have been pressed less than `grace` ago. tmux
/// only reports the second, so the key is assumed to have been pressed at its end.
fn is_attended(second: i64, now: Timestamp, grace: Duration) -> bool {
    let end = second.saturating_add(1).saturating_mul(1000);
    let since = now.as_millisecond().saturating_sub(end);
    let grace = i64::try_from(grace.as_millis()).unwrap_or(i64::MAX);
    grace > 0 && since < grace
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::ids::{Identity, PaneId};
    use crate::model::session::Activity;

    const ATTENDED_FOR: Duration = Duration::from_secs(5);

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("a time")
    }

    fn pane() -> Pane {
        Pane {
            identity: Identity {
                node: Default::default(),
                server_pid: 1,
                server_start: 1,
                pane: PaneId::parse("%1").expect("a pane"),
                pane_pid: 2,
            },
            session: "s".to_owned(),
            session_id: crate::model::ids::TmuxSession(0),
            further: Vec::new(),
            window_index: 0,
            pane_index: 0,
            tty: "/dev/none".into(),
            dead: false,
            in_mode: false,
            input_off: false,
            synchronized: false,
            piped: false,
            alternate: false,
            width: 80,
            attached: false,
            cursor: (2, 0),
            watched_until: None,
            activity: 0,
            dead_status: None,
            command: "bash".to_owned(),
            title: String::new(),
        }
    }

    fn shown(line: Line) -> ShellLine {
        ShellLine {
            line,
            row: Some("`$`".to_owned()),
            proof: Some("it is known"),
        }
    }

    fn see(memory: &mut Memory, pane: &Pane, line: Option<Line>, now: i64) -> Sighting {
        let evidence = Evidence::Shell {
            standing: &ShellActivity::Prompt,
            word: None,
            line: line.map(shown),
        };
        observe(memory, pane, evidence, ATTENDED_FOR, at(now))
    }

    fn once(standing: &ShellActivity, pane: &Pane, line: Option<Line>) -> Verdict {
        let evidence = Evidence::Shell {
            standing,
            word: None,
            line: line.map(shown),
        };
        let mut memory = Memory::for_one_look();
        observe(&mut memory, pane, evidence, ATTENDED_FOR, at(100)).verdict
    }

    #[test]
    fn a_shell_is_idle_only_at_an_empty_prompt_that_was_read() {
        let of = |standing: &ShellActivity, line| {
            let verdict = once(standing, &pane(), line);
            (verdict.activity, verdict.reason)
        };
        let prompt = Some(Line::Prompt);
        let running = |foreground: Option<&str>| ShellActivity::Running {
            foreground: foreground.map(str::to_owned),
            group: Some(7),
        };
        let told = |activity, reason: &str| (activity, reason.to_owned());
        assert_eq!(
            of(&ShellActivity::Prompt, prompt),
            told(Activity::Idle, "waits at its prompt")
        );
        assert_eq!(
            of(&ShellActivity::Prompt, Some(Line::Draft)),
            told(
                Activity::Attended,
                "something was typed at its prompt and not submitted; its row is `$`"
            )
        );
        assert_eq!(
            of(&ShellActivity::Prompt, None),
            told(Activity::Unknown, "its line could not be read")
        );
        assert_eq!(
            of(&running(Some("vim")), prompt),
            told(Activity::Busy, "runs vim")
        );
        assert_eq!(
            of(&running(None), prompt),
            told(Activity::Busy, "runs a command of its own")
        );
        assert_eq!(
            of(&ShellActivity::Unknown("it is stopped".to_owned()), prompt),
            told(Activity::Unknown, "it is stopped")
        );
        assert_eq!(
            of(&ShellActivity::Gone, prompt),
            told(Activity::Gone, "its process has ended")
        );
    }

    #[test]
    fn each_barrier_is_an_obstacle_and_none_hides_another() {
        let prompt = Some(Line::Prompt);
        let mut shown = pane();
        shown.watched_until = Some(98);
        let mut order = vec![(Obstacle::PersonTyping, shown.clone())];
        shown.synchronized = true;
        order.push((Obstacle::Synchronized, shown.clone()));
        shown.input_off = true;
        order.push((Obstacle::InputOff, shown.clone()));
        shown.in_mode = true;
        order.push((Obstacle::Mode, shown.clone()));
        for (obstacle, pane) in order {
            let verdict = once(&ShellActivity::Prompt, &pane, prompt);
            assert_eq!(verdict.activity, Activity::Attended);
            assert_eq!(verdict.obstacle, Some(obstacle));
        }
        let seen = see(&mut Memory::for_one_look(), &shown, prompt, 100);
        let barriers = seen.signals.iter();
        let barriers = barriers.filter(|signal| signal.source == SignalSource::Pane);
        assert_eq!(barriers.count(), 4);
        // A person who typed there long ago has left.
        let mut left = pane();
        left.watched_until = Some(94);
        assert_eq!(once(&ShellActivity::Prompt, &left, prompt).obstacle, None);
    }

    #[test]
    fn a_barrier_holds_back_agents_too_and_work_comes_before_it() {
        let mut shown = pane();
        shown.in_mode = true;
        let see = |says| {
            let evidence = Evidence::Agent {
                report: None,
                transcript: None,
                title: (Says::Nothing, String::new()),
                screen: Some((says, "seen".to_owned())),
            };
            let mut memory = Memory::for_one_look();
            observe(&mut memory, &shown, evidence, ATTENDED_FOR, at(100)).verdict
        };
        assert_eq!(see(Says::Idle).obstacle, Some(Obstacle::Mode));
        assert_eq!(see(Says::Busy).reason, "works: seen");
        assert_eq!(see(Says::Waiting).reason, "waits for a person: seen");
    }

    #[test]
    fn signals_are_as_old_as_what_they_say() {
        let mut memory = Memory::default();
        let age = |sighting: &Sighting, source| {
            let mut signals = sighting.signals.iter();
            let signal = signals.find(|signal| signal.source == source);
            signal.expect("a signal").since.as_second()
        };
        let (empty, draft) = (Some(Line::Prompt), Some(Line::Draft));
        see(&mut memory, &pane(), empty, 10);
        let seen = see(&mut memory, &pane(), empty, 20);
        assert_eq!(age(&seen, SignalSource::Screen), 10);
        let seen = see(&mut memory, &pane(), draft, 30);
        assert_eq!(age(&seen, SignalSource::Screen), 30);
        assert_eq!(age(&seen, SignalSource::Process), 10);
        let seen = see(&mut memory, &pane(), empty, 40);
        assert_eq!(age(&seen, SignalSource::Screen), 40);
        // A single look sees the same, but dates it from now.
        let once = see(&mut Memory::for_one_look(), &pane(), empty, 40);
        assert_eq!(once.verdict, seen.verdict);
        assert_eq!(age(&once, SignalSource::Process), 40);
    }

    #[test]
    fn each_barrier_has_its_own_age_and_a_shell_that_runs_something_has_one() {
        let since = |sighting: &Sighting, detail: Obstacle| {
            let mut signals = sighting.signals.iter();
            let signal = signals.find(|signal| signal.detail == Detail::Obstacle(detail.clone()));
            signal.expect("a signal").since.as_second()
        };
        let mut memory = Memory::default();
        let mut shown = pane();
        shown.in_mode = true;
        see(&mut memory, &shown, None, 10);
        shown.input_off = true;
        let seen = see(&mut memory, &shown, None, 20);
        assert_eq!(since(&seen, Obstacle::Mode), 10);
        assert_eq!(since(&seen, Obstacle::InputOff), 20);
        // What it runs may change from moment to moment.
        let mut memory = Memory::default();
        let mut runs = |program: &str, now| {
            let standing = ShellActivity::Running {
                foreground: Some(program.to_owned()),
                group: Some(7),
            };
            let evidence = Evidence::Shell {
                standing: &standing,
                word: None,
                line: None,
            };
            let seen = observe(&mut memory, &pane(), evidence, ATTENDED_FOR, at(now));
            let program = Some(program.to_owned());
            since(&seen, Obstacle::Runs { program })
        };
        assert_eq!(runs("make", 10), 10);
        assert_eq!(runs("cc", 20), 10);
    }

    #[test]
    fn a_shell_that_reports_is_believed_except_where_it_cannot_know() {
        let of = |word, line| {
            let evidence = Evidence::Shell {
                standing: &ShellActivity::Prompt,
                word,
                line: Some(shown(line)),
            };
            let mut memory = Memory::for_one_look();
            let seen = observe(&mut memory, &pane(), evidence, ATTENDED_FOR, at(100));
            seen.verdict.activity
        };
        let reads = Some(LineReport::Reads);
        assert_eq!(of(None, Line::Draft), Activity::Attended);
        assert_eq!(of(reads, Line::Draft), Activity::Idle);
        assert_eq!(of(reads, Line::Prompt), Activity::Idle);
        // The search of its line editor is not its own line.
        assert_eq!(of(reads, Line::Search), Activity::Attended);
    }

    proptest! {
        /// However precisely a key's time is known, a session is left alone for at least as long as
        /// was asked, and for at most a second more.
        #[test]
        fn a_session_is_left_alone_for_no_less_than_was_asked(
            key in 0..10_000_i64,
            after in 0..10_000_i64,
            grace in 0..5_000_u64,
        ) {
            let now = Timestamp::from_millisecond(key + after).expect("a time");
            let left = is_attended(key / 1000, now, Duration::from_millis(grace));
            let grace = i64::try_from(grace).expect("small");
            if grace > 0 && after < grace {
                prop_assert!(left);
            }
            if grace == 0 || after >= grace + 1000 {
                prop_assert!(!left);
            }
        }
    }

    #[test]
    fn any_time_may_be_told() {
        for second in [i64::MIN, -1, 0, i64::MAX] {
            for now in [Timestamp::MIN, Timestamp::UNIX_EPOCH, Timestamp::MAX] {
                for grace in [Duration::ZERO, Duration::MAX] {
                    is_attended(second, now, grace);
                }
            }
        }
        assert!(!is_attended(i64::MAX, Timestamp::MIN, Duration::ZERO));
    }
}
