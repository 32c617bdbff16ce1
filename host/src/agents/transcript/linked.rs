//! Puts lines that name themselves and their predecessor into order.

use std::collections::HashSet;
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};

/// The maximum number of waiting lines. If there are more, their predecessors will not come.
const MOST_WAITING: usize = 64;

/// The number of line names in one generation. The latest two generations are remembered.
const GENERATION: usize = 1 << 16;

/// A name, just long enough to be distinguished from others.
pub(super) type Name = u64;

/// A line's own name and that of its predecessor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Names {
    /// `None` if nothing comes after it.
    pub(super) own: Option<Name>,
    /// `None` if it comes after nothing, or after something that does not matter.
    pub(super) before: Option<Name>,
}

/// Returns a name for a text. `None` for an empty text.
pub(super) fn name(text: &str) -> Option<Name> {
    let hasher = BuildHasherDefault::<DefaultHasher>::default();
    (!text.is_empty()).then(|| hasher.hash_one(text))
}

/// Lines that are being put into order.
#[derive(Debug)]
pub(super) struct Linked<T> {
    /// The names of the lines that were passed on: the latest generation and the one before.
    passed: [HashSet<Name>; 2],
    /// Lines that came before their predecessor, in the order in which they came.
    waiting: Vec<(Names, T)>,
}

impl<T> Default for Linked<T> {
    fn default() -> Self {
        Self {
            passed: Default::default(),
            waiting: Vec::new(),
        }
    }
}

impl<T> Linked<T> {
    /// Takes the next line and returns the lines that can now be passed on, in order.
    pub(super) fn take(&mut self, names: Names, line: T) -> Vec<T> {
        if names.before.is_some_and(|before| !self.has_passed(before)) {
            self.waiting.push((names, line));
            return if self.waiting.len() > MOST_WAITING {
                self.release()
            } else {
                Vec::new()
            };
        }
        let mut passed = vec![line];
        self.note(names);
        while let Some(next) = self.next_waiting() {
            let (names, line) = self.waiting.remove(next);
            self.note(names);
            passed.push(line);
        }
        passed
    }

    /// Returns the waiting lines, in order as far as it is known: their predecessors will not come.
    pub(super) fn release(&mut self) -> Vec<T> {
        let mut released = Vec::new();
        while !self.waiting.is_empty() {
            // A line that comes after none of the waiting ones is the first.
            let waits = |names: &Names| {
                let mut others = self.waiting.iter();
                names.before.is_some() && others.any(|(other, _)| other.own == names.before)
            };
            let first = self.waiting.iter().position(|(names, _)| !waits(names));
            let next = self.next_waiting().or(first).unwrap_or(0);
            let (names, line) = self.waiting.remove(next);
            self.note(names);
            released.push(line);
        }
        released
    }

    fn next_waiting(&self) -> Option<usize> {
        let may_pass =
            |(names, _): &(Names, T)| names.before.is_none_or(|before| self.has_passed(before));
        self.waiting.iter().position(may_pass)
    }

    fn has_passed(&self, name: Name) -> bool {
        self.passed.iter().any(|names| names.contains(&name))
    }

    fn note(&mut self, names: Names) {
        let [latest, earlier] = &mut self.passed;
        if latest.len() >= GENERATION {
            *earlier = std::mem::take(latest);
        }
        latest.extend(names.own);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn names(own: usize, before: Option<usize>) -> Names {
        Names {
            own: name(&own.to_string()),
            before: before.and_then(|before| name(&before.to_string())),
        }
    }

    proptest! {
        /// In whatever order a chain is written, it is passed on from its first line.
        #[test]
        fn a_chain_is_passed_on_in_its_order(
            order in Just((0..20_usize).collect::<Vec<_>>()).prop_shuffle(),
        ) {
            let mut linked = Linked::default();
            let mut passed = Vec::new();
            for line in order {
                passed.extend(linked.take(names(line, line.checked_sub(1)), line));
            }
            prop_assert_eq!(passed, (0..20).collect::<Vec<_>>());
        }

        /// If its beginning is missing as well, once that is given up.
        #[test]
        fn a_chain_without_its_beginning_is_released_in_its_order(
            order in Just((1..20_usize).collect::<Vec<_>>()).prop_shuffle(),
        ) {
            let mut linked = Linked::default();
            for line in order {
                prop_assert!(linked.take(names(line, Some(line - 1)), line).is_empty());
            }
            prop_assert_eq!(linked.release(), (1..20).collect::<Vec<_>>());
            prop_assert!(linked.release().is_empty());
            prop_assert_eq!(linked.take(names(20, Some(19)), 20), vec![20]);
        }
    }

    #[test]
    fn nothing_waits_without_end() {
        let mut linked = Linked::default();
        // Two lines that wait for each other.
        assert!(linked.take(names(1, Some(2)), 1).is_empty());
        assert!(linked.take(names(2, Some(1)), 2).is_empty());
        assert_eq!(linked.release().len(), 2);
        for line in 100..100 + MOST_WAITING {
            assert!(linked.take(names(line, Some(7)), line).is_empty());
        }
        let all = linked.take(names(3, Some(7)), 3);
        assert_eq!(all.len(), MOST_WAITING + 1);
    }
}
