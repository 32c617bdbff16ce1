//! What really ran: the files of commands, and the journals of agents.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::Path;

use assigner_conformance::journal::{self, What};

use crate::tasks::number_in;

/// How often a task began and ended, for each of its forms; a prompt has one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Runs {
    /// How often each form began.
    pub begun: Vec<usize>,
    /// How often each form ended.
    pub ended: Vec<usize>,
}

impl Runs {
    /// Returns how often it began, in any form.
    #[must_use]
    pub fn all_begun(&self) -> usize {
        self.begun.iter().sum()
    }

    /// Returns how often it ended, in any form.
    #[must_use]
    pub fn all_ended(&self) -> usize {
        self.ended.iter().sum()
    }

    fn note(counts: &mut Vec<usize>, form: usize) {
        if counts.len() <= form {
            counts.resize(form + 1, 0);
        }
        counts[form] += 1;
    }
}

/// Returns what a command of this number has written so far.
#[must_use]
pub fn of_command(runs: &Path, number: u64) -> Runs {
    let text = fs::read_to_string(runs.join(number.to_string())).unwrap_or_default();
    let mut found = Runs::default();
    for line in text.lines() {
        let (what, form) = line.split_at_checked(1).unwrap_or_default();
        let Ok(form) = form.parse::<u8>() else {
            continue;
        };
        match what {
            "b" => Runs::note(&mut found.begun, form.into()),
            "e" => Runs::note(&mut found.ended, form.into()),
            _ => {}
        }
    }
    found
}

/// What agents have taken.
#[derive(Debug, Default)]
pub struct Taken {
    /// By the numbers of the prompts.
    pub prompts: HashMap<u64, Runs>,
    /// When an agent died in the middle of a paste.
    pub deaths: Vec<u64>,
}

impl Taken {
    /// Adds what a journal tells.
    ///
    /// # Errors
    ///
    /// It cannot be read.
    pub fn add(&mut self, path: &Path) -> io::Result<()> {
        for event in journal::read(path)? {
            if event.event == What::Died {
                self.deaths.push(event.at);
            }
            let number = event.text.as_deref().and_then(number_in);
            let Some(number) = number else { continue };
            let runs = self.prompts.entry(number).or_default();
            match event.event {
                What::Submit => Runs::note(&mut runs.begun, 0),
                What::End => Runs::note(&mut runs.ended, 0),
                _ => {}
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_counted_by_form() {
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("7");
        fs::write(&file, "b0\nb1\ne1\nb1\nx9\n").expect("written");
        let runs = of_command(directory.path(), 7);
        assert_eq!(runs.begun, [1, 2]);
        assert_eq!(runs.ended, [0, 1]);
        assert_eq!((runs.all_begun(), runs.all_ended()), (3, 1));
        assert_eq!(of_command(directory.path(), 8), Runs::default());
    }
}
