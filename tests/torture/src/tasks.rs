//! What is queued, and what is known of it from outside.

use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The word by which a task is found in the ledger and in journals, with its number.
const MARK: &str = "torture-";

/// How a command goes. An edit gives a task another form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Form {
    /// How long it works, in milliseconds.
    pub works: u64,
    /// Its exit code.
    pub code: i32,
    /// How many lines it prints.
    pub lines: u32,
    /// What became of the wish that the task has this form.
    pub answer: Answer,
    /// How often it had begun when a later edit was confirmed: it may not begin again.
    pub frozen: Option<usize>,
}

/// What a command that asks for something has answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// It has not answered, or was killed before it could.
    None,
    /// It is done.
    Yes,
    /// It is refused.
    No,
}

/// A task that was queued, or should have been.
#[derive(Debug, Clone)]
pub struct Sent {
    /// Its number here.
    pub number: u64,
    /// Its number in the ledger, if `send` told it.
    pub id: Option<u64>,
    /// What `send` answered.
    pub answer: Answer,
    /// The first task that was sent by the same command.
    pub batch: u64,
    /// How a command goes; nothing if it is a prompt.
    pub forms: Vec<Form>,
    /// How much text a prompt has in addition.
    pub padding: usize,
    /// How often it may be tried again by itself.
    pub retries: u32,
    /// How often a person has wanted it to run once more.
    pub wanted_again: u32,
}

impl Sent {
    /// Returns a command in the shells' common language.
    #[must_use]
    pub fn command(&self, form: usize, runs: &Path) -> String {
        let Form {
            works, code, lines, ..
        } = &self.forms[form];
        let file = runs.join(self.number.to_string());
        let file = file.display();
        let seconds = format!("{}.{:03}", works / 1000, works % 1000);
        let print = match lines {
            0 => String::new(),
            lines => format!("seq 1 {lines}; "),
        };
        let end = match code {
            0 => "true".to_owned(),
            code => format!("sh -c 'exit {code}'"),
        };
        format!(
            "echo b{form} >>{file}; {print}sleep {seconds}; echo e{form} >>{file}; {end} # {}",
            mark(self.number)
        )
    }

    /// Returns the text of a prompt.
    #[must_use]
    pub fn prompt(&self) -> String {
        let line = "and here is more of the text that comes with it, line by line\n";
        let more: String = line.chars().cycle().take(self.padding).collect();
        format!("{} answer with one word {}", mark(self.number), more.trim())
    }

    /// Whether it is a prompt for an agent.
    #[must_use]
    pub fn is_prompt(&self) -> bool {
        self.forms.is_empty()
    }
}

/// Returns the word that a task of this number has in its text.
#[must_use]
pub fn mark(number: u64) -> String {
    format!("{MARK}{number}")
}

/// Returns the number in a text that has such a word.
#[must_use]
pub fn number_in(text: &str) -> Option<u64> {
    let rest = &text[text.rfind(MARK)? + MARK.len()..];
    let end = rest.find(|character: char| !character.is_ascii_digit());
    rest[..end.unwrap_or(rest.len())].parse().ok()
}

/// All tasks that were sent so far, by their numbers; every thread may look.
#[derive(Debug, Default)]
pub struct Tasks(Mutex<Vec<Sent>>);

impl Tasks {
    /// Adds tasks, and returns the number of the first. `make` is given the number of each.
    pub fn add(&self, count: usize, mut make: impl FnMut(u64) -> Sent) -> u64 {
        let mut tasks = self.lock();
        let first = tasks.len() as u64;
        for number in first..first + count as u64 {
            tasks.push(make(number));
        }
        first
    }

    /// Changes a task, or looks at it.
    pub fn with<R>(&self, number: u64, change: impl FnOnce(&mut Sent) -> R) -> R {
        let index = usize::try_from(number).unwrap_or(usize::MAX);
        change(&mut self.lock()[index])
    }

    /// Returns the numbers, here and in the ledger, of the last so many that are known to be queued.
    #[must_use]
    pub fn recent(&self, count: usize) -> Vec<(u64, u64)> {
        let tasks = self.lock();
        let known = tasks.iter().rev();
        let known = known.filter_map(|sent| Some((sent.number, sent.id?)));
        known.take(count).collect()
    }

    /// Returns all of them.
    #[must_use]
    pub fn take(self) -> Vec<Sent> {
        self.0.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Sent>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_is_found_by_its_mark() {
        let form = Form {
            works: 1250,
            code: 3,
            lines: 2,
            answer: Answer::Yes,
            frozen: None,
        };
        let mut sent = Sent {
            number: 17,
            id: None,
            answer: Answer::None,
            batch: 17,
            forms: vec![form],
            padding: 100,
            retries: 0,
            wanted_again: 0,
        };
        assert_eq!(
            sent.command(0, Path::new("/r")),
            "echo b0 >>/r/17; seq 1 2; sleep 1.250; echo e0 >>/r/17; sh -c 'exit 3' # torture-17"
        );
        assert_eq!(number_in(&sent.command(0, Path::new("/r"))), Some(17));
        sent.forms.clear();
        assert_eq!(number_in(&sent.prompt()), Some(17));
        assert!(sent.prompt().len() > 100);
        assert_eq!(number_in("something else"), None);
    }
}
