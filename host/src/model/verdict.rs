//! What a session is doing: signals, each from one source and with its age, folded into one verdict.
//!
//! No signal is always right: hooks are not called on Esc, screens scroll, titles stay, transcripts
//! come late, and a shell that reads a line looks the same with and without a draft. So a session
//! is idle only if its screen shows an empty input line and nothing newer contradicts that. If
//! signals contradict each other, it is unknown, which is never idle.

use std::cmp::Reverse;
use std::fmt;

use jiff::Timestamp;
use serde::{Serialize, Serializer};

use super::ids::TaskId;
use super::session::{AT_PROMPT, Activity};

/// An open turn in a transcript contradicts a free screen if nothing was written to it for this
/// long, in seconds.
const QUIET: i64 = 10;

/// A turn that is still open after being silent for this long, in seconds, was forgotten by its
/// agent.
const FORGOTTEN: i64 = 300;

/// How long, in seconds, a report of work is believed although the screen is free: Esc is not
/// reported.
const BELIEVED: i64 = 30;

/// Where a signal comes from, best first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
#[derive(strum::Display)]
#[strum(serialize_all = "lowercase")]
pub enum SignalSource {
    /// What the shell itself has reported about its line.
    Shell,
    /// What the agent itself has reported.
    Report,
    /// Its own record.
    Transcript,
    /// The pane's title.
    Title,
    /// The pane's screen.
    Screen,
    /// What tmux says about the pane.
    Pane,
    /// Its processes.
    Process,
}

/// What a signal says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[derive(strum::Display)]
#[strum(serialize_all = "snake_case")]
pub enum Says {
    /// It is free.
    Idle,
    /// It is working.
    Busy,
    /// It is waiting for a person.
    Waiting,
    /// A person is using it.
    Attended,
    /// Nothing that is known to have a meaning.
    Nothing,
    /// It has ended.
    Gone,
}

/// What was seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Detail {
    /// In words: a line of a screen, a title, a message.
    Words(String),
    /// The obstacle that this would be by itself.
    Obstacle(Obstacle),
}

/// One signal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Signal {
    /// Where it comes from.
    pub source: SignalSource,
    /// What it says.
    pub says: Says,
    /// Since when it has said so.
    pub since: Timestamp,
    /// What was seen.
    pub detail: Detail,
}

/// Why a session takes no task now. Its `Display` is what people read.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Obstacle {
    /// Its program has ended.
    Gone,
    /// Its pane is in copy mode or another mode, where keys do not reach the program.
    Mode,
    /// Input to its pane is switched off.
    InputOff,
    /// Whatever is typed into its pane also goes to other panes.
    Synchronized,
    /// A person is typing there.
    PersonTyping,
    /// Something was typed there but not submitted.
    Draft {
        /// What was seen of it.
        seen: String,
    },
    /// Its shell runs something.
    Runs {
        /// The program; `None`: the shell itself is working.
        program: Option<String>,
    },
    /// Its agent is working.
    Works {
        /// The source that shows this.
        by: SignalSource,
        /// What was seen.
        seen: String,
    },
    /// Its agent asks a person.
    WaitsForPerson {
        /// What it asks.
        question: String,
    },
    /// Signals contradict each other.
    Contradiction {
        /// What contradicts the screen.
        by: SignalSource,
        /// What it says.
        seen: String,
        /// How many seconds ago it said so.
        ago: i64,
    },
    /// It cannot be determined what it is doing.
    Unread {
        /// Why.
        why: String,
    },
    /// It has a task.
    Task(TaskId),
    /// The configuration excludes it.
    Excluded,
    /// It is paused.
    Paused {
        /// Until when its provider is paused; `None`: until a person resumes it.
        until: Option<Timestamp>,
        /// Why.
        reason: Option<String>,
    },
    /// Its pool gives it no more tasks.
    Spent {
        /// Why.
        why: String,
    },
    /// It is left alone for a moment.
    Held {
        /// Why.
        why: String,
    },
    /// It was asked for its variables.
    Asked,
    /// It must undo what an interrupted task has left.
    Unclean,
}

/// What a session is doing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// Its state, which is idle exactly if there is no obstacle.
    pub activity: Activity,
    /// For people: how this is known, or why it is not idle.
    pub reason: String,
    /// Why it is not idle; `None`: it is idle.
    pub obstacle: Option<Obstacle>,
}

impl From<String> for Detail {
    fn from(words: String) -> Self {
        Self::Words(words)
    }
}

impl From<&str> for Detail {
    fn from(words: &str) -> Self {
        Self::Words(words.to_owned())
    }
}

impl fmt::Display for Detail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Words(words) => f.write_str(words),
            Self::Obstacle(obstacle) => obstacle.fmt(f),
        }
    }
}

impl Serialize for Detail {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words = match self {
            Self::Gone => "its process has ended",
            Self::Mode => "the pane is in copy mode or another mode",
            Self::InputOff => "input to the pane is switched off",
            Self::Synchronized => "the pane is synchronised with others (synchronize-panes)",
            Self::PersonTyping => "a person is typing there",
            Self::Draft { seen } => seen,
            Self::Runs { program } => {
                let program = program.as_deref().unwrap_or("a command of its own");
                return write!(f, "runs {program}");
            }
            Self::Works {
                by: SignalSource::Report,
                seen,
            } => seen,
            Self::Works { seen, .. } => return write!(f, "works: {seen}"),
            Self::WaitsForPerson { question } => {
                return write!(f, "waits for a person: {question}");
            }
            Self::Contradiction { by, seen, ago } => {
                return write!(f, "its {by} contradicts its screen: {seen}, {ago} s ago");
            }
            Self::Unread { why } | Self::Spent { why } | Self::Held { why } => why,
            Self::Task(task) => return write!(f, "runs task {task}"),
            Self::Excluded => "excluded by the configuration",
            Self::Paused {
                until: Some(until),
                reason,
            } => {
                let until = until.strftime("%Y-%m-%d %H:%M:%SZ");
                let reason = reason.as_deref().unwrap_or("a rate limit");
                return write!(f, "its provider is paused until {until}: {reason}");
            }
            Self::Paused { until: None, .. } => "paused: takes no new tasks",
            Self::Asked => "is asked for its variables",
            Self::Unclean => "must first undo what an interrupted task has left",
        };
        f.write_str(words)
    }
}

impl Obstacle {
    /// Returns what a session with this obstacle is doing. It is idle only if the obstacle is that
    /// we give it no task.
    pub fn activity(&self) -> Activity {
        match self {
            Self::Gone => Activity::Gone,
            Self::Mode
            | Self::InputOff
            | Self::Synchronized
            | Self::PersonTyping
            | Self::Draft { .. } => Activity::Attended,
            Self::Runs { .. } | Self::Works { .. } | Self::Task(_) => Activity::Busy,
            Self::WaitsForPerson { .. } => Activity::WaitingInput,
            Self::Contradiction { .. } | Self::Unread { .. } => Activity::Unknown,
            Self::Excluded
            | Self::Paused { .. }
            | Self::Spent { .. }
            | Self::Held { .. }
            | Self::Asked
            | Self::Unclean => Activity::Idle,
        }
    }
}

impl Verdict {
    /// Returns the verdict for an obstacle, or for an idle session if there is none.
    pub fn of(obstacle: Option<Obstacle>) -> Self {
        let seen = obstacle.as_ref();
        Self {
            activity: seen.map_or(Activity::Idle, Obstacle::activity),
            reason: seen.map_or_else(|| AT_PROMPT.to_owned(), Obstacle::to_string),
            obstacle,
        }
    }
}

impl Signal {
    fn age(&self, now: Timestamp) -> i64 {
        now.as_second() - self.since.as_second()
    }

    /// Returns the obstacle in its detail, or the one that `otherwise` makes of its words.
    fn obstacle(&self, otherwise: impl FnOnce(String) -> Obstacle) -> Obstacle {
        match &self.detail {
            Detail::Obstacle(obstacle) if obstacle.activity() != Activity::Idle => obstacle.clone(),
            detail => otherwise(detail.to_string()),
        }
    }

    fn works(&self) -> Obstacle {
        self.obstacle(|seen| Obstacle::Works {
            by: self.source,
            seen,
        })
    }

    fn waits(&self) -> Obstacle {
        self.obstacle(|question| Obstacle::WaitsForPerson { question })
    }

    fn contradicts(&self, now: Timestamp) -> Obstacle {
        Obstacle::Contradiction {
            by: self.source,
            seen: self.detail.to_string(),
            ago: self.age(now),
        }
    }
}

/// Folds the given signals into a verdict, for shells and agents alike, in whatever order they are
/// given.
pub fn fuse(signals: &[Signal], now: Timestamp) -> Verdict {
    Verdict::of(obstacle(signals, now))
}

/// Returns what keeps a session from being idle.
fn obstacle(signals: &[Signal], now: Timestamp) -> Option<Obstacle> {
    // What was seen in this look: each such signal counts, the weightiest first.
    let seen = |source: SignalSource, says: Says| {
        let fits = move |signal: &&Signal| signal.source == source && signal.says == says;
        signals.iter().filter(fits).min_by_key(|signal| {
            let kind = match &signal.detail {
                Detail::Obstacle(obstacle) => Some(obstacle),
                Detail::Words(_) => None,
            };
            (kind, Reverse(signal.since), signal.detail.to_string())
        })
    };
    let any = |sources: &[SignalSource], says: Says| {
        let mut sources = sources.iter();
        sources.find_map(|&source| seen(source, says))
    };
    // What was reported or written: the latest counts.
    let last = |source: SignalSource| {
        let fits = move |signal: &&Signal| signal.source == source && signal.says != Says::Nothing;
        signals.iter().filter(fits).max_by_key(|signal| {
            (
                signal.since,
                signal.says != Says::Idle,
                signal.says != Says::Busy,
                Reverse(signal.detail.to_string()),
            )
        })
    };
    let unread = |signal: &Signal| signal.obstacle(|why| Obstacle::Unread { why });

    if let Some(ended) = seen(SignalSource::Process, Says::Gone) {
        return Some(ended.obstacle(|_| Obstacle::Gone));
    }
    if let Some(process) = seen(SignalSource::Process, Says::Nothing) {
        return Some(unread(process));
    }
    if let Some(dialog) = any(&[SignalSource::Screen, SignalSource::Title], Says::Waiting) {
        return Some(dialog.waits());
    }
    let works = any(
        &[
            SignalSource::Process,
            SignalSource::Screen,
            SignalSource::Title,
        ],
        Says::Busy,
    );
    let free = any(&[SignalSource::Shell, SignalSource::Screen], Says::Idle);
    let told = last(SignalSource::Report);
    let wrote = last(SignalSource::Transcript);
    let ended = wrote.filter(|signal| signal.says == Says::Idle);
    if let Some(blocked) = told.filter(|told| told.says == Says::Waiting) {
        let later =
            |signal: Option<&Signal>| signal.is_some_and(|signal| signal.since > blocked.since);
        // The question was answered if something newer says that the agent works or has ended, or
        // if a newer empty line has been there for a while.
        let free_since = free.is_some_and(|free| {
            blocked.age(now).min(free.age(now)) > BELIEVED
                && (free.since >= blocked.since || blocked.age(now) > FORGOTTEN)
        });
        if !(later(works) || later(ended) || free_since) {
            return Some(blocked.waits());
        }
    }
    if let Some(signal) = works {
        return Some(signal.works());
    }
    if let Some(person) = any(
        &[
            SignalSource::Pane,
            SignalSource::Shell,
            SignalSource::Screen,
        ],
        Says::Attended,
    ) {
        return Some(person.obstacle(|seen| Obstacle::Draft { seen }));
    }
    let open = wrote.filter(|signal| signal.says != Says::Idle);
    // If something ended after the report, that was the reported work.
    let told = told.filter(|told| {
        told.says == Says::Busy && ended.is_none_or(|ended| ended.since < told.since)
    });
    let Some(free) = free else {
        if let Some(told) = told.filter(|told| told.age(now) <= FORGOTTEN) {
            return Some(told.works());
        }
        if let Some(open) = open.filter(|open| open.age(now) <= QUIET) {
            return Some(open.works());
        }
        let unseen = || Obstacle::Unread {
            why: "its screen was not read".to_owned(),
        };
        let why = any(&[SignalSource::Shell, SignalSource::Screen], Says::Nothing);
        return Some(why.map_or_else(unseen, unread));
    };
    if let Some(open) = open {
        let quiet = open.age(now);
        if quiet <= QUIET {
            return Some(open.works());
        }
        if quiet <= FORGOTTEN {
            return Some(open.contradicts(now));
        }
    }
    if let Some(told) = told {
        if told.age(now).min(free.age(now)) <= BELIEVED {
            return Some(told.works());
        }
        // It has reported work since the line appeared, and nothing has shown the end of that work.
        if told.since > free.since && told.age(now) <= FORGOTTEN {
            return Some(told.contradicts(now));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NOW: i64 = 10_000;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("a time")
    }

    fn signal(source: SignalSource, says: Says, ago: i64) -> Signal {
        Signal {
            source,
            says,
            since: at(NOW - ago),
            detail: "seen".into(),
        }
    }

    fn verdict(signals: &[Signal]) -> Activity {
        fuse(signals, at(NOW)).activity
    }

    use SignalSource::{
        Pane, Process, Report as Told, Screen as Shown, Title, Transcript as Wrote,
    };

    #[test]
    fn a_free_line_and_nothing_against_it_is_idle() {
        assert_eq!(verdict(&[signal(Shown, Says::Idle, 5)]), Activity::Idle);
        let all = [
            signal(Shown, Says::Idle, 1),
            signal(Title, Says::Nothing, 1),
            signal(Wrote, Says::Idle, 1),
            signal(Told, Says::Idle, 1),
        ];
        assert_eq!(verdict(&all), Activity::Idle);
    }

    #[test]
    fn silence_is_not_idle() {
        assert_eq!(verdict(&[]), Activity::Unknown);
        assert_eq!(verdict(&[signal(Told, Says::Idle, 1)]), Activity::Unknown);
        assert_eq!(verdict(&[signal(Wrote, Says::Idle, 1)]), Activity::Unknown);
        let onboarding = [
            signal(Shown, Says::Nothing, 900),
            signal(Told, Says::Idle, 1),
        ];
        assert_eq!(verdict(&onboarding), Activity::Unknown);
    }

    #[test]
    fn esc_that_told_nobody_is_believed_only_after_a_while() {
        let told = |ago, free| {
            verdict(&[
                signal(Told, Says::Busy, ago),
                signal(Shown, Says::Idle, free),
            ])
        };
        assert_eq!(told(2, 1), Activity::Busy);
        assert_eq!(told(500, 2), Activity::Busy);
        assert_eq!(told(500, 60), Activity::Idle);
        // The transcript shows Esc at once.
        let interrupted = [
            signal(Told, Says::Busy, 9),
            signal(Wrote, Says::Idle, 2),
            signal(Shown, Says::Idle, 2),
        ];
        assert_eq!(verdict(&interrupted), Activity::Idle);
    }

    #[test]
    fn a_transcript_that_contradicts_the_screen_makes_it_unknown() {
        let open = |ago| verdict(&[signal(Wrote, Says::Busy, ago), signal(Shown, Says::Idle, 1)]);
        assert_eq!(open(1), Activity::Busy);
        assert_eq!(open(60), Activity::Unknown);
        assert_eq!(open(1_000), Activity::Idle);
    }

    #[test]
    fn a_blocked_report_holds_until_it_was_answered() {
        let blocked = signal(Told, Says::Waiting, 20);
        let free = signal(Shown, Says::Idle, 25);
        assert_eq!(verdict(&[blocked.clone(), free]), Activity::WaitingInput);
        let works = signal(Title, Says::Busy, 5);
        assert_eq!(verdict(&[blocked, works]), Activity::Busy);
    }

    #[test]
    fn what_was_told_after_the_line_appeared_is_not_forgotten_in_a_moment() {
        let both = |says, told, free| {
            verdict(&[signal(Told, says, told), signal(Shown, Says::Idle, free)])
        };
        assert_eq!(both(Says::Busy, 40, 60), Activity::Unknown);
        assert_eq!(both(Says::Busy, 400, 600), Activity::Idle);
        assert_eq!(both(Says::Waiting, 40, 60), Activity::WaitingInput);
        assert_eq!(both(Says::Waiting, 60, 40), Activity::Idle);
        assert_eq!(both(Says::Waiting, 400, 600), Activity::Idle);
    }

    fn shell(process: Says, screen: Says) -> [Signal; 2] {
        [signal(Process, process, 3), signal(Shown, screen, 3)]
    }

    #[test]
    fn a_shell_is_folded_like_an_agent() {
        let of = |process, screen| verdict(&shell(process, screen));
        assert_eq!(of(Says::Idle, Says::Idle), Activity::Idle);
        assert_eq!(of(Says::Idle, Says::Attended), Activity::Attended);
        assert_eq!(of(Says::Idle, Says::Nothing), Activity::Unknown);
        assert_eq!(of(Says::Busy, Says::Idle), Activity::Busy);
        assert_eq!(of(Says::Nothing, Says::Idle), Activity::Unknown);
        assert_eq!(of(Says::Gone, Says::Idle), Activity::Gone);
    }

    fn barrier(obstacle: Obstacle, ago: i64) -> Signal {
        let detail = Detail::Obstacle(obstacle);
        Signal {
            detail,
            ..signal(Pane, Says::Attended, ago)
        }
    }

    #[test]
    fn the_most_weighty_of_several_barriers_is_the_obstacle() {
        let free = signal(Shown, Says::Idle, 9);
        let typing = barrier(Obstacle::PersonTyping, 1);
        let mode = barrier(Obstacle::Mode, 50);
        let verdict = fuse(&[free, typing, mode], at(NOW));
        assert_eq!(verdict.obstacle, Some(Obstacle::Mode));
        assert_eq!(verdict.activity, Activity::Attended);
        assert_eq!(verdict.reason, "the pane is in copy mode or another mode");
    }

    #[test]
    fn a_person_comes_before_a_free_line_and_behind_work() {
        let person = signal(Pane, Says::Attended, 1);
        let free = signal(Shown, Says::Idle, 9);
        assert_eq!(verdict(&[person.clone(), free]), Activity::Attended);
        let works = signal(Shown, Says::Busy, 9);
        assert_eq!(verdict(&[person, works]), Activity::Busy);
    }

    const SOURCES: [SignalSource; 6] = [Told, Wrote, Title, Shown, Pane, Process];

    const SAYS: [Says; 6] = [
        Says::Idle,
        Says::Busy,
        Says::Waiting,
        Says::Attended,
        Says::Nothing,
        Says::Gone,
    ];

    fn any_detail() -> impl Strategy<Value = Detail> {
        prop_oneof![
            4 => prop::sample::select(vec!["seen", "other"]).prop_map(Detail::from),
            1 => prop::sample::select(vec![
                Obstacle::Mode,
                Obstacle::InputOff,
                Obstacle::Synchronized,
                Obstacle::PersonTyping,
                Obstacle::Runs { program: None },
                Obstacle::Asked,
            ])
            .prop_map(Detail::Obstacle),
        ]
    }

    /// Any signal at all, including some that no reader produces.
    fn any_signal() -> impl Strategy<Value = Signal> {
        let source = prop::sample::select(SOURCES.to_vec());
        let says = prop::sample::select(SAYS.to_vec());
        let ago = prop_oneof![-5..2_000_i64, 0..40_i64];
        (source, says, ago, any_detail()).prop_map(|(source, says, ago, detail)| Signal {
            detail,
            ..signal(source, says, ago)
        })
    }

    fn any_signals() -> impl Strategy<Value = Vec<Signal>> {
        prop::collection::vec(any_signal(), 0..9)
    }

    /// Signals that are likely to mean idle: an empty line, and a few others.
    fn likely_idle() -> impl Strategy<Value = Vec<Signal>> {
        let free = (0..100_i64).prop_map(|ago| signal(Shown, Says::Idle, ago));
        (free, prop::collection::vec(any_signal(), 0..3)).prop_map(|(free, mut others)| {
            others.push(free);
            others
        })
    }

    fn is_seen_now(source: SignalSource) -> bool {
        !matches!(source, Told | Wrote)
    }

    #[test]
    fn silence_takes_nothing_back() {
        for (source, says) in SOURCES
            .into_iter()
            .flat_map(|it| SAYS.map(|says| (it, says)))
        {
            let signals = [signal(Shown, Says::Idle, 60), signal(source, says, 5)];
            let before = verdict(&signals);
            for silent in SOURCES {
                let mut more = signals.to_vec();
                more.push(signal(silent, Says::Nothing, 0));
                let after = verdict(&more);
                assert!(
                    before == Activity::Idle || after != Activity::Idle,
                    "{source} says {says}, and {silent} nothing"
                );
            }
        }
    }

    proptest! {
        /// Every set of signals has a verdict, which is idle exactly if there is no obstacle.
        #[test]
        fn folding_is_total(signals in any_signals()) {
            let verdict = fuse(&signals, at(NOW));
            prop_assert_eq!(verdict.activity == Activity::Idle, verdict.obstacle.is_none());
            let told = verdict.obstacle.map_or_else(|| AT_PROMPT.to_owned(), |it| it.to_string());
            prop_assert_eq!(verdict.reason, told);
        }

        /// The order in which signals are given does not matter.
        #[test]
        fn the_order_is_of_no_account(
            (signals, shuffled) in any_signals()
                .prop_flat_map(|all| (Just(all.clone()), Just(all).prop_shuffle())),
        ) {
            prop_assert_eq!(fuse(&signals, at(NOW)), fuse(&shuffled, at(NOW)));
        }

        /// Idle requires an empty line on the screen. Work, a dialog, a person or a draft that is
        /// seen now rules it out, and so does a process that has ended or whose state is unknown.
        #[test]
        fn no_idle_against_what_is_seen(signals in likely_idle()) {
            let against = signals.iter().any(|signal| matches!(
                (signal.source, signal.says),
                (Pane | Shown, Says::Attended)
                    | (Shown | Title, Says::Waiting)
                    | (Process | Shown | Title, Says::Busy)
                    | (Process, Says::Nothing | Says::Gone)
            ));
            prop_assert!(!against || verdict(&signals) != Activity::Idle, "{signals:?}");
        }

        #[test]
        fn no_idle_without_a_free_line(signals in any_signals()) {
            let free = signals.iter().any(|it| it.source == Shown && it.says == Says::Idle);
            prop_assert!(free || verdict(&signals) != Activity::Idle);
        }

        /// A contradiction that was reported or written after the line appeared is not ignored
        /// before its agent can have forgotten it.
        #[test]
        fn a_newer_contradiction_is_never_ignored(
            free in 1..400_i64, newer in 1..400_i64, source in prop::sample::select(vec![Told, Wrote]),
            says in prop::sample::select(vec![Says::Busy, Says::Waiting]),
            others in prop::collection::vec(any_signal(), 0..3),
        ) {
            let ago = (free - newer).max(0);
            prop_assume!(ago <= FORGOTTEN && ago < free);
            let mut signals = vec![signal(Shown, Says::Idle, free), signal(source, says, ago)];
            // Anything newer may answer it, and so may a line that has appeared since.
            signals.extend(others.into_iter().filter(|other| {
                other.since < at(NOW - ago) && !(other.source == Shown && other.says == Says::Idle)
            }));
            prop_assert!(verdict(&signals) != Activity::Idle, "{signals:?}");
        }

        /// Adding a signal that says nothing never makes the verdict idle.
        #[test]
        fn nothing_makes_nothing_idle(
            signals in any_signals(), nothing in any_signal(), at_place in any::<prop::sample::Index>(),
        ) {
            let before = verdict(&signals);
            let mut more = signals;
            let place = at_place.index(more.len() + 1);
            more.insert(place, Signal { says: Says::Nothing, ..nothing });
            prop_assert!(before == Activity::Idle || verdict(&more) != Activity::Idle);
        }

        /// Adding a signal of the current look that contradicts idle never makes the verdict idle.
        #[test]
        fn an_objection_makes_nothing_idle(signals in likely_idle(), more in any_signal()) {
            let before = verdict(&signals);
            let objects = !matches!(more.says, Says::Idle) && is_seen_now(more.source);
            // Visible work answers a question that was reported before.
            prop_assume!(objects);
            let mut all = signals;
            all.push(more);
            prop_assert!(before == Activity::Idle || verdict(&all) != Activity::Idle, "{all:?}");
        }
    }
}
