//! Durations as people write them: one parser, and one rule for each option.
//!
//! A duration is a number with a unit, or several: `90s`, `1h 30m`, `500ms`, `7d`, `PT5M`. A day
//! has 24 hours and a week 7 days; months and years are refused. On the command line and in a
//! batch, a bare number means minutes. Durations are kept to the millisecond; where whole seconds
//! are stored or compared, a finer one is refused. So none is ever rounded down to zero.
//!
//! Zero is refused wherever it could mean "never" as well as "at once". Where it is accepted, it
//! means:
//!
//! | where | zero |
//! |---|---|
//! | `attended-for` in the configuration | no session is left alone after a key was pressed |
//! | `settle`, `pause` in a profile | there is no wait |
//! | `clear --older-than` | all that have ended |
//! | `timeout_seconds` of a row in the database | no limit, as without one |

use std::fmt;
use std::time::Duration;

use jiff::{Span, SpanRelativeTo};
use serde::Deserializer;
use serde::de::{Error, Visitor};

/// The longest duration that any option accepts. A longer one is a mistake, and could not be added
/// to a time.
pub const LONGEST: Duration = Duration::from_secs(100 * 365 * DAY);

const DAY: u64 = 86_400;

const MILLISECOND: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

/// What an option accepts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rule {
    /// The shortest duration. If it is not zero, zero is refused.
    least: Duration,
    most: Duration,
    /// The duration must be a multiple of this.
    step: Duration,
    /// Whether a bare number means minutes.
    bare_minutes: bool,
}

/// For `--timeout` and `--prereq-timeout` of a task, and `wait --timeout`: stored and compared in
/// seconds.
pub const TIMEOUT: Rule = Rule::of(SECOND, LONGEST).in_steps_of(SECOND).or_minutes();
/// For `--delay`.
pub const DELAY: Rule = Rule::of(MILLISECOND, LONGEST).or_minutes();
/// For `clear --older-than`.
pub const AGE: Rule = Rule::of(Duration::ZERO, LONGEST);
/// For `watch --interval`.
pub const INTERVAL: Rule = Rule::of(Duration::from_millis(50), Duration::from_secs(3600));

/// For `start-within`, of the engine and of a pool, and `idle` of a pool.
pub const SETTING: Rule = Rule::of(MILLISECOND, LONGEST);
/// For `attended-for`. Zero: sessions are not left alone.
pub const ATTENDED: Rule = Rule::of(Duration::ZERO, LONGEST);
/// For `prerequisite-timeout`, the default of `--prereq-timeout`.
pub const PREREQUISITE: Rule = Rule::of(SECOND, LONGEST).in_steps_of(SECOND);
/// For `time` and `load-time` of policies: no call may take longer.
pub const POLICY: Rule = Rule::of(MILLISECOND, Duration::from_secs(3600));

/// For `settle` and `rest` in a profile. Zero: there is no wait.
pub const SETTLE: Rule = Rule::of(Duration::ZERO, Duration::from_secs(3600));
/// For `pause` in a profile, before the key that submits. Zero: there is no wait.
pub const PASTE_PAUSE: Rule = Rule::of(Duration::ZERO, Duration::from_secs(10));
/// For `limit-pause` in a profile.
pub const LIMIT_PAUSE: Rule = Rule::of(SECOND, Duration::from_secs(8 * DAY));

impl Rule {
    const fn of(least: Duration, most: Duration) -> Self {
        Self {
            least,
            most,
            step: MILLISECOND,
            bare_minutes: false,
        }
    }

    const fn in_steps_of(self, step: Duration) -> Self {
        Self { step, ..self }
    }

    const fn or_minutes(self) -> Self {
        Self {
            bare_minutes: true,
            ..self
        }
    }

    /// Reads a duration.
    ///
    /// # Errors
    /// The text is not a duration, or not one that the option accepts. Says why, and what to write.
    /// The value and the option are not named; the caller knows them.
    pub fn read(&self, text: &str) -> Result<Duration, String> {
        let duration = if self.bare_minutes
            && let Ok(minutes) = text.parse::<u32>()
        {
            Duration::from_secs(60 * u64::from(minutes))
        } else {
            self.with_unit(text)?
        };
        let wrong = |what: &str| Err(format!("{what}: {}", self.advice()));
        if duration.is_zero() && !self.least.is_zero() {
            return wrong("it is zero");
        }
        if !is_multiple(duration, self.step) {
            let what = if self.step == SECOND {
                "it is finer than a second"
            } else {
                "it is finer than a millisecond"
            };
            return wrong(what);
        }
        if duration < self.least || duration > self.most {
            return wrong("it is out of range");
        }
        Ok(duration)
    }

    fn with_unit(&self, text: &str) -> Result<Duration, String> {
        let no_duration = || format!("it is not a duration: {}", self.advice());
        let span: Span = text.parse().map_err(|_| no_duration())?;
        let duration = span
            .to_duration(SpanRelativeTo::days_are_24_hours())
            .map_err(|_| no_duration())?;
        Duration::try_from(duration).map_err(|_| format!("it is negative: {}", self.advice()))
    }

    /// Returns what to write.
    fn advice(&self) -> String {
        let example = if self.most < SECOND * 60 {
            "`300ms` or `2s`"
        } else if self.step == SECOND {
            "`90s`, `5m` or `1h 30m`"
        } else {
            "`500ms`, `90s` or `1h 30m`"
        };
        let kind = if self.step == SECOND {
            "a duration in whole seconds"
        } else {
            "a duration"
        };
        let range = match (self.least.is_zero(), self.most >= LONGEST) {
            (true, true) => String::new(),
            (false, true) => format!(", at least {}", shown(self.least)),
            (true, false) => format!(", at most {}", shown(self.most)),
            (false, false) => format!(", {} to {}", shown(self.least), shown(self.most)),
        };
        format!("write {kind} such as {example}{range}")
    }
}

/// Reads the duration of the setting `name` from a file.
///
/// # Errors
/// It is not a text, or not a duration that the rule accepts. Names the setting and the value.
pub fn deserialize<'de, D: Deserializer<'de>>(
    deserializer: D,
    name: &'static str,
    rule: Rule,
) -> Result<Duration, D::Error> {
    deserializer.deserialize_str(NamedRule { name, rule })
}

struct NamedRule {
    name: &'static str,
    rule: Rule,
}

impl Visitor<'_> for NamedRule {
    type Value = Duration;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.name;
        write!(formatter, "`{name}` as text, such as `{name} = \"10s\"`")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Duration, E> {
        let Self { name, rule } = self;
        let wrong = |why| E::custom(format!("`{name} = {text:?}`: {why}"));
        rule.read(text).map_err(wrong)
    }
}

fn is_multiple(duration: Duration, step: Duration) -> bool {
    duration.as_nanos().is_multiple_of(step.as_nanos())
}

/// Returns a duration for people, to the millisecond: `10 s`, `1.5 s`, `900 ms`.
pub fn shown(duration: Duration) -> String {
    let (seconds, millis) = (duration.as_secs(), duration.subsec_millis());
    match (seconds, millis) {
        (seconds, 0) if seconds > 0 && seconds.is_multiple_of(DAY) => {
            format!("{} d", seconds / DAY)
        }
        (seconds, 0) if seconds > 0 && seconds.is_multiple_of(3600) => {
            format!("{} h", seconds / 3600)
        }
        (seconds, 0) => format!("{seconds} s"),
        (0, millis) => format!("{millis} ms"),
        (seconds, millis) => {
            let fraction = format!("{millis:03}");
            format!("{seconds}.{} s", fraction.trim_end_matches('0'))
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const RULES: [Rule; 11] = [
        TIMEOUT,
        DELAY,
        AGE,
        INTERVAL,
        SETTING,
        ATTENDED,
        PREREQUISITE,
        POLICY,
        SETTLE,
        PASTE_PAUSE,
        LIMIT_PAUSE,
    ];

    fn millis(millis: u64) -> Result<Duration, String> {
        Ok(Duration::from_millis(millis))
    }

    #[test]
    fn what_people_write_is_read() {
        for (text, expected) in [
            ("90s", 90_000),
            ("1h 30m", 5_400_000),
            ("1h30m", 5_400_000),
            ("900ms", 900),
            ("0.5s", 500),
            ("1.5h", 5_400_000),
            ("7d", 7 * 86_400_000),
            ("2w", 14 * 86_400_000),
            ("PT5M", 300_000),
            ("1000us", 1),
        ] {
            assert_eq!(SETTING.read(text), millis(expected), "{text}");
        }
    }

    #[test]
    fn what_is_no_duration_is_refused_everywhere() {
        for text in [
            "",
            " ",
            "soon",
            "nan",
            "NaN",
            "inf",
            "s",
            "1x",
            "1 month",
            "1y",
            "-1s",
            "-5m",
            "1s ago",
            "99999999999d",
            "99999999999999999999",
            "999999999h",
            "1e3s",
            "0x10s",
            "1s\n2",
            "--",
            "340282366920938463463374607431768211456s",
            "\0",
        ] {
            for rule in RULES {
                let why = rule.read(text).expect_err(text);
                assert!(
                    !why.contains('\n') && why.contains("write a duration"),
                    "{why}"
                );
            }
        }
    }

    #[test]
    fn each_rule_has_its_range() {
        // What each rule accepts at its limits, and what it refuses beyond them.
        for (rule, taken, refused) in [
            (TIMEOUT, ["1s", "36500d"], ["999ms", "36501d"]),
            (DELAY, ["1ms", "36500d"], ["0s", "36501d"]),
            (AGE, ["0s", "36500d"], ["1us", "36501d"]),
            (INTERVAL, ["50ms", "1h"], ["49ms", "3601s"]),
            (SETTING, ["1ms", "36500d"], ["0s", "36501d"]),
            (ATTENDED, ["0s", "36500d"], ["1ns", "36501d"]),
            (PREREQUISITE, ["1s", "36500d"], ["900ms", "36501d"]),
            (POLICY, ["1ms", "1h"], ["0ms", "61m"]),
            (SETTLE, ["0s", "1h"], ["1us", "61m"]),
            (PASTE_PAUSE, ["0ms", "10s"], ["1us", "10001ms"]),
            (LIMIT_PAUSE, ["1s", "8d"], ["0s", "193h"]),
        ] {
            for text in taken {
                assert!(rule.read(text).is_ok(), "{text} by {rule:?}");
            }
            for text in refused {
                assert!(rule.read(text).is_err(), "{text} by {rule:?}");
            }
        }
    }

    #[test]
    fn what_is_refused_is_said_why_and_what_to_write() {
        for (rule, text, why) in [
            (
                TIMEOUT,
                "900ms",
                "it is finer than a second: write a duration in whole seconds such as `90s`, `5m` or \
                 `1h 30m`, at least 1 s",
            ),
            (
                SETTING,
                "0s",
                "it is zero: write a duration such as `500ms`, `90s` or `1h 30m`, at least 1 ms",
            ),
            (
                POLICY,
                "2h",
                "it is out of range: write a duration such as `500ms`, `90s` or `1h 30m`, 1 ms to 1 h",
            ),
            (
                PASTE_PAUSE,
                "-1s",
                "it is negative: write a duration such as `300ms` or `2s`, at most 10 s",
            ),
        ] {
            assert_eq!(rule.read(text), Err(why.to_owned()));
        }
    }

    #[test]
    fn a_bare_number_is_minutes_where_that_is_said() {
        assert_eq!(TIMEOUT.read("2"), millis(120_000));
        assert_eq!(DELAY.read("2"), millis(120_000));
        assert!(TIMEOUT.read("0").is_err() && DELAY.read("0").is_err());
        assert!(TIMEOUT.read("4294967295").is_err());
        for rule in [AGE, INTERVAL, SETTING, PREREQUISITE] {
            assert!(rule.read("2").is_err());
        }
    }

    #[test]
    fn durations_are_shown_as_they_are() {
        for (millis, text) in [
            (0, "0 s"),
            (900, "900 ms"),
            (1_000, "1 s"),
            (1_050, "1.05 s"),
            (90_000, "90 s"),
            (3_600_000, "1 h"),
            (691_200_000, "8 d"),
        ] {
            assert_eq!(shown(Duration::from_millis(millis)), text);
        }
    }

    proptest! {
        /// Whatever is read is in the rule's range and a multiple of its step; otherwise one line
        /// says why.
        #[test]
        fn anything_is_read_or_refused(text in ".{0,24}") {
            for rule in RULES {
                match rule.read(&text) {
                    Ok(read) => {
                        prop_assert!(read >= rule.least && read <= rule.most);
                        prop_assert!(is_multiple(read, rule.step));
                    }
                    Err(why) => prop_assert!(!why.contains('\n'), "{}", why),
                }
            }
        }

        /// No duration is read as a different one, and no duration but zero is read as zero.
        #[test]
        fn what_is_read_is_what_was_written(
            seconds in 0..LONGEST.as_secs(),
            fraction in 0..1_000_000_000_u32,
            coarse in any::<bool>(),
        ) {
            let fraction = if coarse { fraction / 1_000_000 * 1_000_000 } else { fraction };
            let written = Duration::new(seconds, fraction);
            let texts = [
                format!("{seconds}s {fraction}ns"),
                format!("{seconds}.{fraction:09}s"),
                format!("{}h {}m {}s {fraction}ns", seconds / 3600, seconds / 60 % 60, seconds % 60),
            ];
            for rule in RULES {
                let fits = written >= rule.least
                    && written <= rule.most
                    && is_multiple(written, rule.step);
                for text in &texts {
                    prop_assert_eq!(rule.read(text).ok(), fits.then_some(written), "{}", text);
                }
            }
        }

        #[test]
        fn a_number_without_a_unit_is_of_minutes(minutes in any::<u32>()) {
            let written = Duration::from_secs(60 * u64::from(minutes));
            let fits = minutes > 0 && written <= LONGEST;
            for rule in [TIMEOUT, DELAY] {
                prop_assert_eq!(rule.read(&minutes.to_string()).ok(), fits.then_some(written));
            }
        }
    }
}
