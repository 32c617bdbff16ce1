//! Reads what a headless agent has printed, and decides how its job ended.

use super::hands::{last_of, read_end, read_output};
use super::{Brief, Ending, LEAST_PAUSE};
use crate::agents::{self, Profile};
use crate::model::clock::Now;
use crate::model::headless::{Headless, HeadlessOutput};
use crate::model::task::{Event, Outcome, TurnFacts};
use crate::node::spool::JobFiles;
use crate::store::{self, Limit};

/// How much of what an agent has printed is read, in bytes.
const LONGEST_PRINTED: u64 = 64 << 20;

/// The longest path of a directory that is kept, in bytes.
const LONGEST_PATH: u64 = 4 << 10;

/// What an agent has printed.
#[derive(Debug, Clone)]
pub(super) struct Printed {
    /// Its response, or everything that was printed if it contains none.
    pub(super) output: store::Output,
    /// What the agent said in it.
    pub(super) said: HeadlessOutput,
    /// The directory in which it ran, if that is known.
    directory: Option<String>,
    /// An error among what the pane showed, where some agents print it.
    shown_error: Option<String>,
}

/// Reads what a headless agent has printed. If that contains no response, all of it is kept together
/// with what the pane showed.
pub(super) fn read(headless: &Headless, files: &JobFiles, limit: u64) -> Printed {
    let printed = read_end(&files.response(), limit.max(LONGEST_PRINTED));
    let printed = printed.map_or_else(Vec::new, |(bytes, _)| bytes);
    let said = headless.spec.read(&printed);
    let (output, shown_error) = match &said.response {
        Some(response) => (last_of(response, limit), None),
        None => {
            let shown = read_output(files, limit).map_or_else(Vec::new, |output| output.bytes);
            let all = [&printed[..], &shown].concat();
            let all = last_of(&String::from_utf8_lossy(&all), limit);
            (all, headless.spec.read(&shown).error)
        }
    };
    let directory = directory(files);
    Printed {
        output,
        said,
        directory,
        shown_error,
    }
}

/// Returns the directory in which the agent ran, as its shell has written it.
fn directory(files: &JobFiles) -> Option<String> {
    let (bytes, total) = read_end(&files.directory(), LONGEST_PATH)?;
    let text = String::from_utf8(bytes).ok()?;
    let path = text.strip_suffix('\n')?;
    let is_path = path.starts_with('/') && !path.chars().any(char::is_control);
    (is_path && total == text.len() as u64).then(|| path.to_owned())
}

/// Returns the end of a job that asked an agent, from what the agent printed.
///
/// An agent that reports an error has not done what it was asked, whatever its exit code. One that has
/// reached a limit is asked again when the limit ends, which costs no try.
pub(super) fn concluded(
    brief: &Brief,
    ending: Ending,
    printed: Printed,
    profile: Option<&Profile>,
    now: Now,
) -> Ending {
    let HeadlessOutput {
        response,
        conversation,
        usage,
        error,
        skipped,
    } = printed.said;
    let source = match response {
        Some(_) if !skipped => "headless",
        _ => TurnFacts::OUTPUT,
    };
    let facts = TurnFacts {
        source: source.to_owned(),
        provider: brief
            .task
            .metadata
            .headless
            .as_ref()
            .map(|headless| headless.provider.clone()),
        conversation,
        directory: printed.directory,
        usage,
        ..TurnFacts::default()
    };
    let has_run = matches!(ending.outcome, Outcome::Completed | Outcome::Failed);
    // What was shown may be about something that the agent overcame, unless it failed.
    let shown = printed.shown_error;
    let error = error.or(shown.filter(|_| ending.outcome == Outcome::Failed));
    let refused = error.filter(|_| has_run && response.is_none());
    let Some(headless) = &brief.task.metadata.headless else {
        return ending;
    };
    let Some(error) = refused else {
        // Nothing was printed that the profile reads: the exit code alone says little.
        let silent = ending.outcome == Outcome::Failed && response.is_none();
        let reason = ending.reason.map(|reason| match silent {
            true => format!(
                "{} gave no answer that its profile reads: {reason}",
                headless.provider
            ),
            false => reason,
        });
        return Ending {
            turn: Some(facts),
            reason,
            ..ending
        };
    };
    let provider = &headless.provider;
    let told = match profile.and_then(|profile| limit(provider, &error, profile, now)) {
        Some(limit) => Ending {
            limit: Some(limit),
            ..Ending::new(Outcome::Limited, Event::Hold)
                .because(format!("rate limit: {provider}: {error}"))
        },
        None => Ending::failed(brief, Outcome::Failed).because(format!("{provider}: {error}")),
    };
    Ending {
        turn: Some(facts),
        exit_code: ending.exit_code,
        output: ending.output,
        leaves: ending.leaves,
        ..told
    }
}

/// Returns the limit that an error reports, if any.
fn limit(provider: &str, error: &str, profile: &Profile, now: Now) -> Option<Limit> {
    let rules = &profile.turn;
    let line = error.lines().find(|line| rules.limits.is_match(line))?;
    let wall = now.wall.to_zoned(jiff::tz::TimeZone::system());
    let until = agents::reset(line, &wall).unwrap_or_else(|| now.wall + rules.limit_pause);
    Some(Limit {
        provider: provider.to_owned(),
        // A limit that ends at once would be reached again at once.
        until: until.max(now.wall + LEAST_PAUSE),
        reason: line.trim().to_owned(),
    })
}

#[cfg(test)]
mod tests;
