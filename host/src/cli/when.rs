//! Durations as people write them.

use std::time::Duration;

use crate::model::duration;

/// Reads a time limit, in seconds; a bare number means minutes.
pub(super) fn seconds(text: &str) -> Result<u64, String> {
    duration::TIMEOUT.read(text).map(|limit| limit.as_secs())
}

/// Reads an age.
pub(super) fn age(text: &str) -> Result<Duration, String> {
    duration::AGE.read(text)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::super::{Args, one_line};
    use super::*;

    #[test]
    fn timeouts_are_durations_or_minutes() {
        assert_eq!(seconds("2"), Ok(120));
        assert_eq!(seconds("90s"), Ok(90));
        assert_eq!(seconds("1h 30m"), Ok(5400));
        assert_eq!(seconds("2000ms"), Ok(2));
        for wrong in [
            "0",
            "0s",
            "-5s",
            "soon",
            "",
            "99999999999999999999",
            "500ms",
            "1500ms",
            "1.5s",
            "99999999999d",
        ] {
            assert!(seconds(wrong).is_err(), "{wrong}");
        }
    }

    /// For every option that takes a duration: which of these it accepts, and that it refuses the
    /// others in one line that names the option and the value.
    #[test]
    fn each_option_takes_what_it_can_keep() {
        let whole = ["1s", "90s", "1h 30m", "2d", "1000ms", "2"].as_slice();
        let fine = ["1ms", "900ms", "90s", "1h 30m", "2d", "2"].as_slice();
        for (command, option, taken, also_refused) in [
            (
                ["send", "x"],
                "--timeout",
                whole,
                ["0", "0s", "900ms", "1500ms"].as_slice(),
            ),
            (
                ["send", "x"],
                "--prereq-timeout",
                whole,
                &["0", "0s", "900ms", "1500ms"],
            ),
            (["send", "x"], "--delay", fine, &["0", "0s", "1us"]),
            (
                ["edit", "1"],
                "--timeout",
                whole,
                &["0", "0s", "900ms", "1500ms"],
            ),
            (
                ["edit", "1"],
                "--prereq-timeout",
                whole,
                &["0", "0s", "900ms", "1500ms"],
            ),
            (["edit", "1"], "--delay", fine, &["0", "0s", "1us"]),
            (
                ["wait", "1"],
                "--timeout",
                whole,
                &["0", "0s", "900ms", "1500ms"],
            ),
            (
                ["watch", "1"],
                "--interval",
                &["50ms", "1s", "1h"],
                &["0s", "49ms", "2h", "1"],
            ),
            (
                ["clear", "--json"],
                "--older-than",
                &["0s", "900ms", "7d"],
                &["7", "1us"],
            ),
        ] {
            let parse = |value: &str| {
                let option = format!("{option}={value}");
                let args = [["assigner"].as_slice(), &command, &[&option]].concat();
                Args::try_parse_from(args)
            };
            for value in taken {
                assert!(parse(value).is_ok(), "{command:?} {option} {value}");
            }
            let never = ["", " ", "soon", "nan", "-1s", "99999999999d", "1 month"];
            for value in never.iter().chain(also_refused) {
                let error = parse(value).expect_err(value);
                let line = one_line(&error.to_string());
                assert!(line.contains(option) && !line.contains('\n'), "{line}");
                assert!(
                    value.is_empty() || line.contains(&format!("'{value}'")),
                    "{line}"
                );
            }
        }
    }

    #[test]
    fn ages_may_be_days_and_nothing() {
        assert_eq!(age("7d"), Ok(Duration::from_secs(7 * 86_400)));
        assert_eq!(age("0s"), Ok(Duration::ZERO));
        for wrong in ["-1d", "1 month", "", "old", "7", "99999999999d"] {
            assert!(age(wrong).is_err(), "{wrong}");
        }
    }
}
