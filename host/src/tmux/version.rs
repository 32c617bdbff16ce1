//! Which tmux is installed, and whether it is new enough.

use std::fmt;
use std::path::Path;
use std::time::Duration;

use tokio::time::timeout;

use super::{Error, command, parse};

/// The oldest tmux whose commands support everything that is used here (`new-session -f`).
const OLDEST: (u32, u32) = (3, 2);

/// How long `tmux -V` may take: it only prints.
const LIMIT: Duration = Duration::from_secs(5);

/// Returns the version of the tmux at `program` (a bare name is looked up in `PATH`).
///
/// # Errors
///
/// [`Error::Missing`] and [`Error::TooOld`] say what a person can do about it.
pub async fn version(program: &Path) -> Result<Version, Error> {
    let output = timeout(LIMIT, command::plain(program).arg("-V").output())
        .await
        .map_err(|_| Error::TimedOut(LIMIT))?
        .map_err(|error| Error::run(program, error))?;
    let version = Version::parse(&parse::plain(&String::from_utf8_lossy(&output.stdout)))
        .ok_or(Error::Protocol("`tmux -V` names no version"))?;
    if version.is_supported() {
        Ok(version)
    } else {
        Err(Error::TooOld(version))
    }
}

/// A version of tmux as it names itself, such as `tmux 3.3a` or `tmux next-3.4`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version {
    text: String,
    /// `None` for a development build, or the tmux of OpenBSD, which has other numbers.
    number: Option<(u32, u32)>,
}

impl Version {
    /// Returns the version in what `tmux -V` prints.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let name = text.strip_prefix("tmux ")?;
        let number = match name.strip_prefix("openbsd-") {
            Some(_) => None,
            None if name == "master" => None,
            None => Some(number(name.strip_prefix("next-").unwrap_or(name))?),
        };
        Some(Self {
            text: text.to_owned(),
            number,
        })
    }

    /// Whether it can be driven. An OpenBSD version is assumed to be: it has had 3.2 since 6.9.
    pub(super) fn is_supported(&self) -> bool {
        self.number.is_none_or(|number| number >= OLDEST)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.text)
    }
}

/// Reads `3.3a` or `3.5-rc2` as 3.3 and 3.5.
fn number(text: &str) -> Option<(u32, u32)> {
    let (major, rest) = text.split_once('.')?;
    let digits = rest
        .find(|char: char| !char.is_ascii_digit())
        .unwrap_or(rest.len());
    Some((major.parse().ok()?, rest[..digits].parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn supported(text: &str) -> Option<bool> {
        Version::parse(text).map(|version| version.is_supported())
    }

    #[test]
    fn versions_are_told_apart() {
        for text in [
            "tmux 3.2",
            "tmux 3.3a\n",
            "tmux 3.10",
            "tmux 4.0",
            "tmux next-3.4",
            "tmux 3.5-rc",
            "tmux master",
            "tmux openbsd-7.0",
        ] {
            assert_eq!(supported(text), Some(true), "{text}");
        }
        for text in ["tmux 3.1c", "tmux 2.9a", "tmux 1.8", "tmux next-3.1"] {
            assert_eq!(supported(text), Some(false), "{text}");
        }
        for text in [
            "",
            "tmux",
            "tmux ",
            "tmux 3",
            "tmux x.y",
            "screen 4.9",
            "tmux 99999999999.1",
        ] {
            assert_eq!(supported(text), None, "{text}");
        }
    }

    #[tokio::test]
    async fn the_installed_one_is_found_and_a_missing_one_is_named() {
        version(Path::new("tmux"))
            .await
            .expect("tmux is installed here");
        let missing = version(Path::new("/nonexistent/tmux")).await;
        assert!(matches!(missing, Err(Error::Missing(_))), "{missing:?}");
        let wrong = version(Path::new("/bin/true")).await;
        assert!(matches!(wrong, Err(Error::Protocol(_))), "{wrong:?}");
    }
}
