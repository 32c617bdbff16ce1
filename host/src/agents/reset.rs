//! Reads when a rate limit ends, from messages that programs write for people.
//!
//! These forms are tried in order: a machine-readable number, a duration after words such as "try
//! again", a date or a time of day, any other duration. If nothing is understood, there is no
//! result: a guess could hold up a queue for hours.

use std::sync::LazyLock;

use jiff::civil::{Date, Time, Weekday};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, ToSpan, Zoned};
use regex::{Captures, Regex};

/// A moment further away is not the end of a rate limit, or was misread: the longest limit is a
/// week.
pub(super) const FURTHEST: SignedDuration = SignedDuration::from_hours(8 * 24);
/// A time of day that passed this recently means that moment and not the same time on the next day.
const JUST_NOW: SignedDuration = SignedDuration::from_mins(5);
/// Messages are short, so only the beginning of a longer text is looked at.
const LONGEST: usize = 4096;

/// Returns when the limit that `text` mentions ends. It is never in the past and at most 8 days
/// ahead.
pub fn reset(text: &str, now: &Zoned) -> Option<Timestamp> {
    let text = beginning(text);
    let present = now.timestamp();
    let moment = machine(text, present)
        .or_else(|| after(span_behind(&BEHIND_WORDS, text)?, present))
        .or_else(|| clock(text, now))
        .or_else(|| after(span_behind(&BEHIND_IN, text)?, present))
        .or_else(|| after(bare_span(text)?, present))?;
    within(moment, present)
}

fn beginning(text: &str) -> &str {
    let end = (0..=LONGEST.min(text.len()))
        .rev()
        .find(|&end| text.is_char_boundary(end))
        .unwrap_or(0);
    text.get(..end).unwrap_or_default()
}

/// Compares a moment with the present. A moment that has just passed becomes now.
fn within(moment: Timestamp, present: Timestamp) -> Option<Timestamp> {
    let ahead = present.duration_until(moment);
    if ahead > FURTHEST || ahead < -JUST_NOW {
        return None;
    }
    Some(moment.max(present))
}

type LazyPattern = LazyLock<Option<Regex>>;

/// Machine-readable numbers.
static MACHINE: LazyPattern = LazyLock::new(|| {
    compile(concat!(
        r#"(?i)(?:\|\s*(?P<epoch>\d{10})\b|\bresets?_at"?\s*[:=]\s*(?P<at>\d{10})\b"#,
        r#"|\b(?:resets?_in_seconds|retry[-_]after)"?\s*[:=]\s*"?(?P<seconds>\d{1,7})\b)"#,
    ))
});
/// What is between a word that announces a reset and the duration until it.
static BEHIND_WORDS: LazyPattern = LazyLock::new(|| {
    compile(concat!(
        r"(?i)\b(?:again|retry|retrying|resets?|resetting|renews?|refreshes|available|wait|ends",
        r"|expires)\b[^.;\n\d]{0,24}?(?:\b|\s)(?P<start>\d|an?\s)",
    ))
});
static BEHIND_IN: LazyPattern =
    LazyLock::new(|| compile(r"(?i)\b(?:in|after)\s+(?P<start>\d|an?\s)"));
/// A time of day, with what may surround it.
static CLOCK: LazyPattern = LazyLock::new(|| {
    compile(concat!(
        r"(?ix) (?:",
        r" (?P<year>\d{4})-(?P<month>\d\d)-(?P<day>\d\d)[T\ ,]+",
        r"|\b(?P<name>jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]*\.?\ +",
        r"  (?P<nth>\d{1,2})(?:st|nd|rd|th)?(?:,?\ +(?P<years>\d{4}))?,?\ +(?:at\ +)?",
        r"|\b(?P<weekday>mon|tue|wed|thu|fri|sat|sun)[a-z]*,?\ +(?:at\ +)?",
        r"|\b(?P<tomorrow>tomorrow),?\ +(?:at\ +)?",
        r"|(?:\b|^)",
        r")",
        r"(?: (?P<hour>\d{1,2}):(?P<minute>\d\d)(?::(?P<second>\d\d)(?:\.\d+)?)?",
        r"   (?:\ ?(?P<half>[ap]\.?m\b))?",
        r" | (?P<whole>\d{1,2})\ ?(?P<part>[ap]\.?m\b)",
        r" | (?P<word>noon|midnight)\b)\.?",
        r"(?P<zone>\ ?z\b|\ ?\([^()]{1,64}\)|\ +(?:utc|gmt)\b|\ ?[+-]\d\d:?\d\d\b)?",
    ))
});

fn compile(pattern: &str) -> Option<Regex> {
    Regex::new(pattern).ok()
}

/// Reads machine-readable numbers.
fn machine(text: &str, present: Timestamp) -> Option<Timestamp> {
    let found = MACHINE.as_ref()?.captures(text)?;
    if let Some(epoch) = found.name("epoch").or_else(|| found.name("at")) {
        return Timestamp::from_second(epoch.as_str().parse().ok()?).ok();
    }
    let seconds = found.name("seconds")?.as_str().parse().ok()?;
    after(SignedDuration::from_secs(seconds), present)
}

fn after(span: SignedDuration, present: Timestamp) -> Option<Timestamp> {
    present.checked_add(span).ok()
}

/// Returns the first duration at a start that `pattern` finds.
fn span_behind(pattern: &LazyPattern, text: &str) -> Option<SignedDuration> {
    pattern.as_ref()?.captures_iter(text).find_map(|found| {
        let start = found.name("start")?.start();
        span(text.get(start..)?).map(|(span, _)| span)
    })
}

/// Reads a text that is a duration and nothing else.
fn bare_span(text: &str) -> Option<SignedDuration> {
    let (span, rest) = span(text)?;
    rest.trim_matches(|c: char| c.is_whitespace() || c == '.')
        .is_empty()
        .then_some(span)
}

/// Adds up the pieces of a duration at the start of `text`: "2 hours 5 minutes", "1m13.5s".
///
/// Also returns the rest of the text. `None` if there is no piece.
fn span(text: &str) -> Option<(SignedDuration, &str)> {
    let mut rest = text;
    let mut total = None;
    loop {
        let next = rest.trim_start_matches(|c: char| c.is_whitespace() || c == ',');
        let next = match total {
            Some(_) => next.strip_prefix("and ").unwrap_or(next).trim_start(),
            None => next,
        };
        let Some((piece, behind)) = piece(next) else {
            return total.map(|total| (total, rest));
        };
        total = Some(total.unwrap_or(SignedDuration::ZERO).checked_add(piece)?);
        rest = behind;
    }
}

/// Reads a number and its unit.
fn piece(text: &str) -> Option<(SignedDuration, &str)> {
    let split =
        |text: &'_ str, belongs: fn(char) -> bool| text.find(|c| !belongs(c)).unwrap_or(text.len());
    let end = split(text, |c| c.is_ascii_digit() || c == '.');
    let (number, behind) = text.split_at_checked(end)?;
    let (number, behind) = if number.is_empty() {
        let behind = text.strip_prefix('a')?;
        (1.0, behind.strip_prefix('n').unwrap_or(behind))
    } else {
        (number.parse::<f64>().ok()?, behind)
    };
    let behind = behind.trim_start();
    let end = split(behind, char::is_alphabetic);
    let (unit, rest) = behind.split_at_checked(end)?;
    let factor = match unit.to_ascii_lowercase().as_str() {
        "ms" | "millisecond" | "milliseconds" => 0.001,
        "s" | "sec" | "secs" | "second" | "seconds" => 1.0,
        "m" | "min" | "mins" | "minute" | "minutes" => 60.0,
        "h" | "hr" | "hrs" | "hour" | "hours" => 3600.0,
        "d" | "day" | "days" => 86_400.0,
        _ => return None,
    };
    let span = SignedDuration::try_from_secs_f64(number * factor).ok()?;
    Some((span, rest))
}

/// Reads a time of day, with a date or a zone if they are given.
fn clock(text: &str, now: &Zoned) -> Option<Timestamp> {
    let found = CLOCK.as_ref()?.captures(text)?;
    let zone = match found.name("zone") {
        Some(zone) => named_zone(zone.as_str())?,
        None => now.time_zone().clone(),
    };
    let time = time_of_day(&found)?;
    let now = now.with_time_zone(zone.clone());
    let moment =
        |date: Date| -> Option<Zoned> { date.to_datetime(time).to_zoned(zone.clone()).ok() };
    let passed = |moment: &Zoned| {
        moment
            .timestamp()
            .duration_until(now.timestamp())
            .gt(&JUST_NOW)
    };
    if let (Some(year), Some(month), Some(day)) =
        (found.name("year"), found.name("month"), found.name("day"))
    {
        let date = Date::new(number(year)?, number(month)?, number(day)?).ok()?;
        return Some(moment(date)?.timestamp());
    }
    if let Some(name) = found.name("name") {
        let month = month(name.as_str())?;
        let day = number(found.name("nth")?)?;
        if let Some(year) = found.name("years") {
            return Some(moment(Date::new(number(year)?, month, day).ok()?)?.timestamp());
        }
        // Around the end of a year, the day may be in the next one.
        return [now.year(), now.year().checked_add(1)?]
            .into_iter()
            .filter_map(|year| moment(Date::new(year, month, day).ok()?))
            .find(|moment| !passed(moment))
            .map(|moment| moment.timestamp());
    }
    let today = now.date();
    if let Some(name) = found.name("weekday") {
        let wanted = weekday(name.as_str())?;
        return (0..=7)
            .filter_map(|days| today.checked_add(i64::from(days).days()).ok())
            .filter(|date| date.weekday() == wanted)
            .filter_map(moment)
            .find(|moment| !passed(moment))
            .map(|moment| moment.timestamp());
    }
    if found.name("tomorrow").is_some() {
        return Some(moment(today.tomorrow().ok()?)?.timestamp());
    }
    [today, today.tomorrow().ok()?]
        .into_iter()
        .filter_map(moment)
        .find(|moment| !passed(moment))
        .map(|moment| moment.timestamp())
}

fn time_of_day(found: &Captures<'_>) -> Option<Time> {
    if let Some(word) = found.name("word") {
        let hour = if word.as_str().eq_ignore_ascii_case("noon") {
            12
        } else {
            0
        };
        return Time::new(hour, 0, 0, 0).ok();
    }
    let hour: i8 = number(found.name("hour").or_else(|| found.name("whole"))?)?;
    let minute = found.name("minute").map_or(Some(0), number)?;
    let second = found.name("second").map_or(Some(0), number)?;
    let hour = match found.name("half").or_else(|| found.name("part")) {
        None => hour,
        Some(_) if !(1..=12).contains(&hour) => return None,
        Some(half) if half.as_str().starts_with(['p', 'P']) => hour % 12 + 12,
        Some(_) => hour % 12,
    };
    Time::new(hour, minute, second, 0).ok()
}

/// Returns the zone named in parentheses, UTC, or an offset. `None` if it is not known.
fn named_zone(text: &str) -> Option<TimeZone> {
    let name = text.trim().trim_start_matches('(').trim_end_matches(')');
    let name = name.trim();
    if ["z", "utc", "gmt"]
        .iter()
        .any(|utc| name.eq_ignore_ascii_case(utc))
    {
        return Some(TimeZone::UTC);
    }
    if let Some(digits) = name.strip_prefix(['+', '-']) {
        let digits = digits.replace(':', "");
        if digits.len() != 4 || !digits.bytes().all(|digit| digit.is_ascii_digit()) {
            return None;
        }
        let hours: i32 = digits.get(..2)?.parse().ok()?;
        let minutes: i32 = digits.get(2..)?.parse().ok()?;
        let seconds = (hours * 60 + minutes) * 60;
        let seconds = if name.starts_with('-') {
            -seconds
        } else {
            seconds
        };
        let offset = jiff::tz::Offset::from_seconds(seconds).ok()?;
        return Some(TimeZone::fixed(offset));
    }
    TimeZone::get(name).ok()
}

fn number<T: std::str::FromStr>(found: regex::Match<'_>) -> Option<T> {
    found.as_str().parse().ok()
}

fn month(name: &str) -> Option<i8> {
    const NAMES: [&str; 12] = [
        "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec",
    ];
    NAMES
        .iter()
        .zip(1..)
        .find(|(month, _)| month.eq_ignore_ascii_case(name))
        .map(|(_, number)| number)
}

fn weekday(name: &str) -> Option<Weekday> {
    Some(match name.to_ascii_lowercase().as_str() {
        "mon" => Weekday::Monday,
        "tue" => Weekday::Tuesday,
        "wed" => Weekday::Wednesday,
        "thu" => Weekday::Thursday,
        "fri" => Weekday::Friday,
        "sat" => Weekday::Saturday,
        "sun" => Weekday::Sunday,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A Tuesday.
    fn now() -> Zoned {
        "2026-11-24T14:30:00+01:00[Europe/Berlin]"
            .parse()
            .expect("a time")
    }

    #[track_caller]
    fn holds(text: &str, expected: &str) {
        let found = reset(text, &now()).map(|moment| moment.to_string());
        assert_eq!(found.as_deref(), Some(expected), "{text}");
    }

    #[test]
    fn every_pattern_compiles() {
        for pattern in [&MACHINE, &BEHIND_WORDS, &BEHIND_IN, &CLOCK] {
            assert!(pattern.is_some());
        }
    }

    #[test]
    fn spans() {
        holds(
            "Rate limit reached. Please try again in 20s.",
            "2026-11-24T13:30:20Z",
        );
        holds("try again in 1m13.5s", "2026-11-24T13:31:13.5Z");
        holds("try again in 250ms", "2026-11-24T13:30:00.25Z");
        holds("in 2 hours 5 minutes", "2026-11-24T15:35:00Z");
        holds("2 hours and 5 minutes", "2026-11-24T15:35:00Z");
        holds(
            "Upgrade to Pro (https://example.org/p) or try again in 5 days 22 hours 11 minutes.",
            "2026-11-30T11:41:00Z",
        );
        holds("please wait a minute", "2026-11-24T13:31:00Z");
        holds("Resets in an hour", "2026-11-24T14:30:00Z");
        holds("Retry after 30 seconds", "2026-11-24T13:30:30Z");
    }

    #[test]
    fn times_of_the_day() {
        holds("resets 3pm", "2026-11-24T14:00:00Z");
        holds("5-hour limit reached ∙ resets 3am", "2026-11-25T02:00:00Z");
        holds("resets at 15:00 (Europe/Berlin)", "2026-11-24T14:00:00Z");
        holds("resets 3am (UTC)", "2026-11-25T03:00:00Z");
        holds("resets 11:30am (America/New_York)", "2026-11-24T16:30:00Z");
        holds("resets 12am", "2026-11-24T23:00:00Z");
        holds("resets at midnight UTC", "2026-11-25T00:00:00Z");
        holds("Try again at 3:05 PM.", "2026-11-24T14:05:00Z");
        holds("8 p.m.", "2026-11-24T19:00:00Z");
        // It has just passed: this moment is meant, not the next day.
        holds("resets 2:28pm", "2026-11-24T13:30:00Z");
    }

    #[test]
    fn dates() {
        holds(
            "try again at Nov 24th, 2026 3:05 PM",
            "2026-11-24T14:05:00Z",
        );
        holds(
            "Resets Nov 29 at 12pm (Asia/Singapore)",
            "2026-11-29T04:00:00Z",
        );
        holds("resets 2026-11-25T08:00:00Z", "2026-11-25T08:00:00Z");
        holds("resets 2026-11-25 08:00 UTC", "2026-11-25T08:00:00Z");
        holds("resets Thursday 9am", "2026-11-26T08:00:00Z");
        holds("resets Tue 9am", "2026-12-01T08:00:00Z");
        holds("tomorrow at 9:15", "2026-11-25T08:15:00Z");
        let december: Zoned = "2026-12-31T23:00:00+00:00[UTC]".parse().expect("a time");
        let found = reset("resets Jan 2, 3am", &december).map(|moment| moment.to_string());
        assert_eq!(found.as_deref(), Some("2027-01-02T03:00:00Z"));
    }

    #[test]
    fn numbers_for_programs() {
        holds("usage limit reached|1795614600", "2026-11-25T13:50:00Z");
        holds(r#"{"resets_in_seconds":13872}"#, "2026-11-24T17:21:12Z");
        holds(r#""resets_at": 1795614600"#, "2026-11-25T13:50:00Z");
        holds("Retry-After: 20", "2026-11-24T13:30:20Z");
    }

    #[test]
    fn what_is_not_understood_is_none() {
        for text in [
            "",
            "try again later",
            "try again in 3 months",
            "try again in a moment",
            "try again at Jul 5th, 2026 8:19 PM",
            "try again in 9 days",
            "resets 13pm",
            "resets at 25:00",
            "resets 3pm (Nowhere/Land)",
            // More minutes than a number holds.
            "resets 3pm (+0071582848)",
            "resets 3pm (+01-2)",
            "5 hour limit reached",
            "resets_at: 1",
            "try again at Feb 30 3pm",
        ] {
            assert_eq!(reset(text, &now()), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn whatever_stands_there_the_answer_is_near(text in ".{0,80}") {
            let now = now();
            if let Some(moment) = reset(&text, &now) {
                prop_assert!(moment >= now.timestamp());
                prop_assert!(now.timestamp().duration_until(moment) <= FURTHEST);
            }
        }

        #[test]
        fn so_it_is_for_numbers_of_any_size(
            text in concat!(
                "(try again|resets|in|at|\\|)( in| at)? [0-9]{1,30}(\\.[0-9]{1,3})?[:-]?",
                "[0-9]{0,4} ?(s|m|h|days|am|pm)?( \\+[0-9]{4})?",
            )
        ) {
            let now = now();
            if let Some(moment) = reset(&text, &now) {
                prop_assert!(moment >= now.timestamp());
                prop_assert!(now.timestamp().duration_until(moment) <= FURTHEST);
            }
        }
    }
}
