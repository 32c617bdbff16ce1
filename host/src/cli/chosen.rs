//! Which tasks a command is about: numbers, and ranges of numbers.

use std::collections::BTreeSet;
use std::str::FromStr;

use super::exit::CommandFailure;
use crate::model::ids::TaskId;
use crate::model::task::Status;
use crate::store::{Sharing, Store};

/// A task, or those with numbers from one to another: `5`, `5-9`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Chosen {
    /// This task, which must exist.
    One(TaskId),
    /// Those of these numbers that exist and that the command can do something with.
    Range(TaskId, TaskId),
}

impl FromStr for Chosen {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = |text: &str| {
            let number = text.trim().parse::<TaskId>();
            number.map_err(|error| error.to_string())
        };
        // A sign comes first, so it is no range.
        let split = text.char_indices().skip(1).find(|(_, char)| *char == '-');
        let Some((at, _)) = split else {
            return number(text).map(Self::One);
        };
        let (first, last) = (number(&text[..at])?, number(&text[at + 1..])?);
        match first <= last {
            true => Ok(Self::Range(first, last)),
            false => Err(format!("it ends before it begins: write {last}-{first}")),
        }
    }
}

/// Returns the chosen tasks, each once; of ranges only those in one of these states.
pub(super) fn tasks(
    store: &mut Store,
    chosen: &[Chosen],
    states: &[Status],
) -> Result<Vec<TaskId>, CommandFailure> {
    let mut seen = BTreeSet::new();
    let mut found = Vec::new();
    for chosen in chosen {
        let ids = match *chosen {
            Chosen::One(id) => vec![id],
            Chosen::Range(first, last) => store.ids_between(first, last, states)?,
        };
        found.extend(ids.into_iter().filter(|id| seen.insert(*id)));
    }
    Ok(found)
}

/// How many tasks are changed in one commit: others who write wait no longer than a moment.
const SLICE: usize = 64;

/// Changes each of these tasks: `prepare` finds out what is needed, which may take a while, `change` writes it,
/// and `done` is told once that is on disk. Tasks are changed in slices, between which others get their turn;
/// one after another, they would leave no gap in which anybody else could write.
///
/// # Errors
/// The database refused: what `done` was not told of is not changed. If `done` fails, all are changed first.
pub(super) fn each<P, R>(
    store: &mut Store,
    ids: &[TaskId],
    mut prepare: impl FnMut(&mut Store, TaskId) -> P,
    mut change: impl FnMut(&mut Store, TaskId, P) -> R,
    mut done: impl FnMut(&mut Store, TaskId, R) -> Result<(), CommandFailure>,
) -> Result<(), CommandFailure> {
    let mut sharing = Sharing::begin();
    let mut told = Ok(());
    let mut slices = ids.chunks(SLICE).peekable();
    while let Some(slice) = slices.next() {
        let prepared: Vec<(TaskId, P)> =
            slice.iter().map(|id| (*id, prepare(store, *id))).collect();
        let mut changed = Vec::new();
        store.group(|store| {
            let results = prepared.into_iter();
            changed.extend(results.map(|(id, prepared)| (id, change(store, id, prepared))));
        })?;
        for (id, result) in changed {
            let said = done(store, id, result);
            told = told.and(said);
        }
        if slices.peek().is_some() {
            sharing.give_way();
        }
    }
    told
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_ranges_are_read() {
        let one = |id| Ok(Chosen::One(TaskId(id)));
        let range = |from, to| Ok(Chosen::Range(TaskId(from), TaskId(to)));
        assert_eq!("5".parse(), one(5));
        assert_eq!("5-9".parse(), range(5, 9));
        assert_eq!("5 - 9".parse(), range(5, 9));
        assert_eq!("7-7".parse(), range(7, 7));
        for (text, why) in [
            ("9-5", "write 5-9"),
            ("x", "it is not a number"),
            ("5-", "it is not a number"),
            ("5-9-12", "it is not a number"),
            ("", "it is not a number"),
            ("99999999999999999999", "there is none"),
        ] {
            let error = text.parse::<Chosen>().expect_err(text);
            assert!(error.contains(why), "{text}: {error}");
        }
    }
}
