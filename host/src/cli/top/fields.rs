//! Text that a person writes in `top`: a line, and the form for a new task.

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::acts::OwnCommand;

/// The longest text that is written here, in bytes: a prompt, and not a file. It must fit in an argument.
pub(super) const LONGEST: usize = 100_000;

/// A text that is being written, with the cursor in it. It may have several lines: Alt-Enter ends one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct TextField {
    before: String,
    after: String,
}

impl TextField {
    /// Returns a field with this text, and the cursor at its end.
    pub(super) fn of(text: &str) -> Self {
        Self {
            before: text.to_owned(),
            after: String::new(),
        }
    }

    /// Returns what is written.
    pub(super) fn text(&self) -> String {
        format!("{}{}", self.before, self.after)
    }

    /// Returns what is before the cursor, and what is after it.
    pub(super) fn halves(&self) -> (&str, &str) {
        (&self.before, &self.after)
    }

    /// Adds a text at the cursor, or nothing of it if it does not fit; returns whether it does.
    pub(super) fn paste(&mut self, text: &str) -> bool {
        let text = text.replace("\r\n", "\n").replace('\r', "\n");
        let fits = self.before.len() + self.after.len() + text.len() <= LONGEST;
        if fits {
            self.before.push_str(&text);
        }
        fits
    }

    /// A key was pressed.
    pub(super) fn key(&mut self, key: KeyEvent) {
        let is_control = key.modifiers.contains(KeyModifiers::CONTROL);
        match key.code {
            KeyCode::Char('u') if is_control => self.before.clear(),
            KeyCode::Char('a') if is_control => self.begin(),
            KeyCode::Char('e') if is_control => self.end(),
            KeyCode::Char('w') if is_control => {
                let kept = self.before.trim_end();
                let kept = kept.rfind(char::is_whitespace).map_or(0, |at| at + 1);
                self.before.truncate(kept);
            }
            KeyCode::Char(char) if !is_control && !key.modifiers.contains(KeyModifiers::ALT) => {
                let _ = self.paste(char.encode_utf8(&mut [0; 4]));
            }
            KeyCode::Enter if key.modifiers.contains(KeyModifiers::ALT) => {
                let _ = self.paste("\n");
            }
            KeyCode::Backspace => {
                self.before.pop();
            }
            KeyCode::Delete => {
                let mut rest = self.after.chars();
                rest.next();
                self.after = rest.collect();
            }
            KeyCode::Left => {
                if let Some(char) = self.before.pop() {
                    self.after.insert(0, char);
                }
            }
            KeyCode::Right => {
                let mut rest = self.after.chars();
                if let Some(char) = rest.next() {
                    self.before.push(char);
                    self.after = rest.collect();
                }
            }
            KeyCode::Home => self.begin(),
            KeyCode::End => self.end(),
            _ => {}
        }
    }

    fn begin(&mut self) {
        self.after.insert_str(0, &self.before);
        self.before.clear();
    }

    fn end(&mut self) {
        self.before.push_str(&self.after);
        self.after.clear();
    }
}

/// What a new task is asked to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TaskForm {
    /// A command for a shell, and not a prompt for an agent.
    pub(super) is_command: bool,
    /// Its text, its session, its directory and its priority.
    pub(super) fields: [TextField; 4],
    /// Which of them is being written; the first is the choice between command and prompt.
    pub(super) at: usize,
}

impl Default for TaskForm {
    fn default() -> Self {
        Self {
            is_command: true,
            fields: <[TextField; 4]>::default(),
            at: 1,
        }
    }
}

impl TaskForm {
    /// What each field is, and what is the case if nothing is written.
    pub(super) const NAMES: [(&'static str, &'static str); 4] = [
        ("task", "what is to be done"),
        ("session", "any that suits it"),
        ("directory", "any"),
        ("priority", "0"),
    ];

    /// A key was pressed.
    pub(super) fn key(&mut self, key: KeyEvent) {
        let count = self.fields.len() + 1;
        match key.code {
            KeyCode::Tab | KeyCode::Down => self.at = (self.at + 1) % count,
            KeyCode::BackTab | KeyCode::Up => self.at = (self.at + count - 1) % count,
            KeyCode::Left | KeyCode::Right | KeyCode::Char(' ') if self.at == 0 => {
                self.is_command = !self.is_command;
            }
            _ => {
                if let Some(field) = self.current() {
                    field.key(key);
                }
            }
        }
    }

    /// Returns the field that is being written.
    pub(super) fn current(&mut self) -> Option<&mut TextField> {
        self.fields.get_mut(self.at.checked_sub(1)?)
    }

    /// Returns what queues it.
    ///
    /// # Errors
    /// Nothing is to be done.
    pub(super) fn command(&self) -> Result<OwnCommand, &'static str> {
        let [text, session, directory, priority] = self
            .fields
            .each_ref()
            .map(|field| field.text().trim().to_owned());
        if text.is_empty() {
            return Err("a task needs something to do");
        }
        let mut words = vec!["send".to_owned()];
        words.extend(self.is_command.then(|| "--shell".to_owned()));
        let further = [
            ("target", session),
            ("working-dir", directory),
            ("priority", priority),
        ];
        for (flag, value) in further {
            if !value.is_empty() {
                words.push(format!("--{flag}={value}"));
            }
        }
        words.push("-".to_owned());
        Ok(OwnCommand { words, input: text })
    }
}
