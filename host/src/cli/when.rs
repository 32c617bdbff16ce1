//! Durations and times as people write them.

use std::str::FromStr;

use jiff::civil::{DateTime, Time};
use jiff::{SignedDuration, Timestamp, ToSpan, Zoned};

/// Reads a duration of at least a second, in seconds; a bare number is minutes.
pub(super) fn seconds(text: &str) -> Result<u64, String> {
    let duration = duration(text)?;
    match u64::try_from(duration.as_secs()) {
        Ok(seconds) if seconds > 0 => Ok(seconds),
        _ => Err(DURATION.to_owned()),
    }
}

/// Reads a duration that is longer than nothing; a bare number is minutes.
pub(super) fn duration(text: &str) -> Result<SignedDuration, String> {
    let duration = match text.parse::<u32>() {
        Ok(minutes) => Some(SignedDuration::from_mins(minutes.into())),
        Err(_) => text.parse::<SignedDuration>().ok(),
    };
    duration
        .filter(SignedDuration::is_positive)
        .ok_or_else(|| DURATION.to_owned())
}

/// Reads an age: a duration, also in days, weeks and so on.
pub(super) fn age(text: &str) -> Result<SignedDuration, String> {
    let span = text.parse::<jiff::Span>().ok().and_then(|span| {
        // A day of 24 hours: what a month is depends on the month, and is refused.
        span.to_duration(jiff::SpanRelativeTo::days_are_24_hours())
            .ok()
    });
    span.filter(|duration| !duration.is_negative())
        .ok_or_else(|| "write an age such as `7d`, `2w` or `12h`".to_owned())
}

const DURATION: &str = "write a duration such as `90s`, `5m` or `1h 30m`";

/// Reads a point in time: with a zone, without one in that of `now`, or a time of day, which then
/// is the next one.
pub(super) fn time(text: &str, now: &Zoned) -> Result<Timestamp, String> {
    let wrong = || {
        format!("`{text}` is no time: write `18:30`, `2030-01-31 18:30` or `2030-01-31T18:30:00Z`")
    };
    if let Ok(time) = Timestamp::from_str(text) {
        return Ok(time);
    }
    // A time of day can be read of a whole date, too: the date comes first.
    if let Ok(civil) = DateTime::from_str(text) {
        let zoned = civil.to_zoned(now.time_zone().clone());
        return zoned.map(|zoned| zoned.timestamp()).map_err(|_| wrong());
    }
    let time = Time::from_str(text).map_err(|_| wrong())?;
    let today = now.with().time(time).build().map_err(|_| wrong())?;
    let next = if today > *now {
        today
    } else {
        today.checked_add(1.day()).map_err(|_| wrong())?
    };
    Ok(next.timestamp())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts_are_durations_or_minutes() {
        assert_eq!(seconds("2"), Ok(120));
        assert_eq!(seconds("90s"), Ok(90));
        assert_eq!(seconds("1h 30m"), Ok(5400));
        for wrong in ["0", "-5s", "soon", "", "99999999999999999999", "500ms"] {
            assert!(seconds(wrong).is_err(), "{wrong}");
        }
        assert_eq!(duration("500ms"), Ok(SignedDuration::from_millis(500)));
    }

    #[test]
    fn ages_may_be_days() {
        assert_eq!(age("7d"), Ok(SignedDuration::from_hours(168)));
        assert_eq!(age("0s"), Ok(SignedDuration::ZERO));
        for wrong in ["-1d", "1 month", "", "old"] {
            assert!(age(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn times_without_a_zone_are_local_and_a_time_of_day_is_the_next() {
        let now: Zoned = "2030-05-01T12:00[Europe/Berlin]".parse().expect("a time");
        for (text, expected) in [
            ("2030-01-31T18:30:00Z", "2030-01-31T18:30:00Z"),
            ("2030-01-31 18:30", "2030-01-31T17:30:00Z"),
            ("18:30", "2030-05-01T16:30:00Z"),
            ("11:59", "2030-05-02T09:59:00Z"),
            ("12:00", "2030-05-02T10:00:00Z"),
        ] {
            let expected: Timestamp = expected.parse().expect("a time");
            assert_eq!(time(text, &now), Ok(expected), "{text}");
        }
        for wrong in ["", "25:00", "soon", "2030-02-31 10:00"] {
            assert!(time(wrong, &now).is_err(), "{wrong}");
        }
    }
}
