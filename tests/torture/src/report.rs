//! The table: what was done, how often, and what became of the tasks that it hit.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::time::Duration;

use crate::blows::{Blow, Fault, Victim};
use crate::judge::Verdict;
use crate::ledger::Row;

/// A blow is blamed for what went wrong with a task this long before and after its attempts.
const BEFORE: u64 = 300;
const AFTER: u64 = 1_000;

/// What became of one task, and what it was hit by.
#[derive(Debug, Clone)]
pub struct Fate {
    /// Its number here.
    pub number: u64,
    /// The verdict.
    pub verdict: Verdict,
    /// The blow that is blamed for it, by its place in the list.
    pub blow: Option<usize>,
    /// What the ledger has of it.
    pub row: Option<Row>,
}

/// What is counted for one fault.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// How often it was tried.
    pub tried: usize,
    /// How many of these did no harm: nothing was lost, doubled or untrue.
    pub survived: usize,
    /// Tasks that were lost.
    pub lost: usize,
    /// Tasks that ran too often.
    pub doubled: usize,
    /// Tasks of which the ledger says something else that is not so.
    pub untrue: usize,
    /// Tasks that a person must decide about.
    pub uncertain: usize,
}

/// The result of one round.
#[derive(Debug)]
pub struct Round {
    /// Its seed.
    pub seed: u64,
    /// How long it took.
    pub took: Duration,
    /// What was done.
    pub blows: Vec<Blow>,
    /// What became of the tasks.
    pub fates: Vec<Fate>,
    /// How often the last states occur.
    pub states: BTreeMap<String, usize>,
    /// Daemons that ended without being killed, and what else is wrong.
    pub troubles: Vec<String>,
    /// How many daemons ended because the disk was full.
    pub gave_up: usize,
    /// Whether the disk could be filled.
    pub has_disk: bool,
}

impl Round {
    /// Whether nothing was lost, doubled or untrue, and no daemon has failed.
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.troubles.is_empty() && !self.fates.iter().any(|fate| fate.verdict.is_fault())
    }

    fn of_killed_senders(&self) -> impl Iterator<Item = &Fate> {
        let blows = self.blows.iter();
        let killed = blows.filter(|blow| blow.fault == Fault::SenderKilled);
        let killed: Vec<&Victim> = killed.map(|blow| &blow.victim).collect();
        self.fates.iter().filter(move |fate| {
            killed.iter().any(
                |victim| matches!(victim, Victim::Tasks(tasks) if tasks.contains(&fate.number)),
            )
        })
    }

    /// Returns what is counted for each fault; those that hit nothing known come under `None`.
    #[must_use]
    pub fn tallies(&self) -> BTreeMap<Option<Fault>, Tally> {
        let mut tallies: BTreeMap<Option<Fault>, Tally> = BTreeMap::new();
        for blow in &self.blows {
            tallies.entry(Some(blow.fault)).or_default().tried += 1;
        }
        let mut harmful = BTreeSet::new();
        for fate in &self.fates {
            if matches!(fate.verdict, Verdict::True | Verdict::Waits(_)) {
                continue;
            }
            let fault = fate.blow.map(|blow| self.blows[blow].fault);
            let tally = tallies.entry(fault).or_default();
            match fate.verdict {
                Verdict::Lost(_) => tally.lost += 1,
                Verdict::Doubled(_) => tally.doubled += 1,
                Verdict::Untrue(_) => tally.untrue += 1,
                Verdict::Uncertain(_) => tally.uncertain += 1,
                Verdict::True | Verdict::Waits(_) => {}
            }
            if fate.verdict.is_fault() {
                harmful.extend(fate.blow);
            }
        }
        for (fault, tally) in &mut tallies {
            let harmful = harmful
                .iter()
                .filter(|blow| Some(self.blows[**blow].fault) == *fault);
            tally.survived = tally.tried - harmful.count();
        }
        tallies
    }
}

/// Returns the blow that is blamed for what became of a task: the last one that hit it, or else its
/// session while it was there, or else everything at that time, or at any time of its life.
#[must_use]
pub fn blamed(blows: &[Blow], number: u64, row: Option<&Row>) -> Option<usize> {
    let attempts = row.map(|row| &*row.attempts).unwrap_or_default();
    let meets = |blow: &Blow, session: Option<&str>| {
        attempts.iter().any(|attempt| {
            session.is_none_or(|session| attempt.session == session)
                && blow.until + BEFORE >= attempt.from
                && attempt.until.is_none_or(|until| blow.from <= until + AFTER)
        })
    };
    let lives = |blow: &Blow| {
        row.is_some_and(|row| {
            let until = row.until.unwrap_or(u64::MAX);
            blow.until >= row.from && blow.from <= until
        })
    };
    let hits = blows.iter().enumerate().filter_map(|(index, blow)| {
        // What was done before a task was taken up has nothing to do with how it went then.
        let is_early = matches!(blow.fault, Fault::SenderKilled | Fault::Edit);
        let nearness = match &blow.victim {
            Victim::Tasks(_) if is_early && !attempts.is_empty() => None,
            Victim::Tasks(tasks) => {
                let meets = attempts.is_empty() || meets(blow, None);
                (tasks.contains(&number) && meets).then_some(2)
            }
            Victim::Session(session) => meets(blow, Some(session)).then_some(1),
            Victim::All if meets(blow, None) => Some(0),
            // What an attempt that does not count was hit by.
            Victim::All => lives(blow).then_some(-1),
        };
        Some(((nearness?, blow.from), index))
    });
    hits.max().map(|(_, index)| index)
}

/// Returns the report of several rounds, in Markdown.
#[must_use]
pub fn markdown(rounds: &[Round], versions: &str) -> String {
    let mut text = String::new();
    let seeds: Vec<String> = rounds.iter().map(|round| round.seed.to_string()).collect();
    let took: Duration = rounds.iter().map(|round| round.took).sum();
    let tasks: usize = rounds.iter().map(|round| round.fates.len()).sum();
    let _ = writeln!(
        text,
        "{versions}; seeds {}; {} s; {tasks} tasks.\n",
        seeds.join(", "),
        took.as_secs()
    );
    let _ = writeln!(text, "{}", table(rounds));
    if !rounds.iter().any(|round| round.has_disk) {
        let _ = writeln!(
            text,
            "The disk was never full: seeds are even, or no small disk could be mounted here.\n"
        );
    }
    let gave_up: usize = rounds.iter().map(|round| round.gave_up).sum();
    if gave_up > 0 {
        let _ = writeln!(
            text,
            "{gave_up} times, a daemon ended by itself because the disk was full, and was started again.\n"
        );
    }
    let mut states: BTreeMap<&str, usize> = BTreeMap::new();
    for (state, count) in rounds.iter().flat_map(|round| &round.states) {
        *states.entry(state).or_default() += count;
    }
    let of_killed = rounds.iter().flat_map(Round::of_killed_senders);
    let (killed, queued) = of_killed.fold((0, 0), |(killed, queued), fate| {
        (killed + 1, queued + usize::from(fate.row.is_some()))
    });
    let states: Vec<String> = states
        .iter()
        .map(|(state, count)| format!("{count} {state}"))
        .collect();
    let _ = writeln!(
        text,
        "Of {killed} tasks whose `send` was killed, {queued} were queued. At the end: {}.",
        states.join(", ")
    );
    list(&mut text, rounds);
    text
}

/// The columns of the table.
const COLUMNS: [&str; 7] = [
    "fault",
    "tried",
    "survived",
    "lost",
    "doubled",
    "untrue",
    "uncertain",
];

fn table(rounds: &[Round]) -> String {
    let mut sums: BTreeMap<Option<Fault>, Tally> = BTreeMap::new();
    for (fault, tally) in rounds.iter().flat_map(Round::tallies) {
        sums.entry(fault).or_default().add(tally);
    }
    let mut all = Tally::default();
    sums.values().for_each(|tally| all.add(*tally));
    let mut text = format!("| {} |\n", COLUMNS.join(" | "));
    let _ = writeln!(text, "|---|{}", "---:|".repeat(COLUMNS.len() - 1));
    let known = Fault::ALL.map(|fault| (fault.name(), sums.get(&Some(fault)).copied()));
    let none = sums.get(&None).copied();
    let rows = known.into_iter().chain([("none of these", none)]);
    let rows = rows.filter_map(|(name, tally)| Some((name, tally?)));
    for (name, tally) in rows.chain([("all", all)]) {
        let _ = writeln!(text, "| {name} | {} |", tally.numbers().join(" | "));
    }
    text
}

impl Tally {
    fn numbers(self) -> [String; 6] {
        let Self {
            tried,
            survived,
            lost,
            doubled,
            untrue,
            uncertain,
        } = self;
        [tried, survived, lost, doubled, untrue, uncertain].map(|number| number.to_string())
    }

    fn add(&mut self, other: Self) {
        self.tried += other.tried;
        self.survived += other.survived;
        self.lost += other.lost;
        self.doubled += other.doubled;
        self.untrue += other.untrue;
        self.uncertain += other.uncertain;
    }
}

/// Lists what is wrong, each by itself, and counts why tasks are uncertain or wait.
fn list(text: &mut String, rounds: &[Round]) {
    let mut reasons: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    let mut wrong = Vec::new();
    for round in rounds {
        for trouble in &round.troubles {
            wrong.push(format!("seed {}: {trouble}", round.seed));
        }
        for fate in &round.fates {
            match &fate.verdict {
                Verdict::True => {}
                Verdict::Uncertain(why) => *reasons.entry(("uncertain", why)).or_default() += 1,
                Verdict::Waits(why) => *reasons.entry(("waits", why)).or_default() += 1,
                fault => {
                    let blow = fate
                        .blow
                        .map_or("nothing", |blow| round.blows[blow].fault.name());
                    let id = fate.row.as_ref().map(|row| row.id);
                    wrong.push(format!(
                        "seed {}, torture-{} (task {}), after {blow}: {fault:?}",
                        round.seed,
                        fate.number,
                        id.map_or_else(|| "-".to_owned(), |id| id.to_string()),
                    ));
                }
            }
        }
    }
    section(text, "Wrong", wrong.into_iter());
    let reasons = reasons
        .iter()
        .map(|((kind, why), count)| format!("{count} {kind}: {why}"));
    section(text, "Reasons", reasons);
}

fn section(text: &mut String, name: &str, lines: impl Iterator<Item = String>) {
    let mut lines = lines.peekable();
    if lines.peek().is_some() {
        let _ = writeln!(text, "\n{name}:\n");
    }
    for line in lines {
        let _ = writeln!(text, "- {line}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::Attempt;

    fn blow(fault: Fault, victim: Victim, from: u64) -> Blow {
        Blow {
            fault,
            victim,
            from,
            until: from,
        }
    }

    #[test]
    fn the_nearest_blow_is_blamed() {
        let row = Row {
            attempts: vec![Attempt {
                status: "failed".to_owned(),
                session: "zsh".to_owned(),
                from: 10_000,
                until: Some(12_000),
            }],
            from: 6_000,
            until: Some(12_000),
            ..Row::default()
        };
        let zsh = Victim::Session("zsh".to_owned());
        let fish = Victim::Session("fish".to_owned());
        let mut blows = vec![
            blow(Fault::DaemonKilled, Victim::All, 5_000),
            blow(Fault::CtrlC, fish, 11_000),
        ];
        assert_eq!(blamed(&blows, 1, Some(&row)), None);
        blows.push(blow(Fault::DaemonKilled, Victim::All, 7_000));
        assert_eq!(blamed(&blows, 1, Some(&row)), Some(2));
        blows.push(blow(Fault::DaemonKilled, Victim::All, 11_500));
        assert_eq!(blamed(&blows, 1, Some(&row)), Some(3));
        blows.push(blow(Fault::CtrlC, zsh, 11_000));
        assert_eq!(blamed(&blows, 1, Some(&row)), Some(4));
        blows.push(blow(Fault::Cancel, Victim::task(1), 10_500));
        assert_eq!(blamed(&blows, 1, Some(&row)), Some(5));
        assert_eq!(blamed(&blows, 2, Some(&row)), Some(4));
    }

    #[test]
    fn what_was_harmful_did_not_survive() {
        let fate = |verdict, blow| Fate {
            number: 1,
            verdict,
            blow,
            row: None,
        };
        let round = Round {
            seed: 1,
            took: Duration::ZERO,
            blows: vec![blow(Fault::CtrlC, Victim::All, 1); 3],
            fates: vec![
                fate(Verdict::True, Some(0)),
                fate(Verdict::Lost("x".to_owned()), Some(0)),
                fate(Verdict::Doubled("y".to_owned()), Some(0)),
                fate(Verdict::Uncertain("z".to_owned()), Some(1)),
                fate(Verdict::Untrue("u".to_owned()), None),
            ],
            states: BTreeMap::new(),
            troubles: Vec::new(),
            gave_up: 0,
            has_disk: true,
        };
        let expected = Tally {
            tried: 3,
            survived: 2,
            lost: 1,
            doubled: 1,
            untrue: 0,
            uncertain: 1,
        };
        assert_eq!(round.tallies()[&Some(Fault::CtrlC)], expected);
        assert!(!round.is_good());
        let text = markdown(&[round], "versions");
        assert!(text.contains("after nothing: Untrue(\"u\")"), "{text}");
        assert!(text.contains("1 uncertain: z"), "{text}");
    }
}
