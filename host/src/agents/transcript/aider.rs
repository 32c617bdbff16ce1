//! The chat history of Aider: Markdown, without times.
//!
//! ```text
//! #### the prompt, each line like this
//!
//! the response
//!
//! > Tokens: the usage, and everything else that the program says
//! ```
//!
//! Lines of prompts and of the program end in two blanks; a heading or a quotation in a response
//! does not. If a model imitates both, its response is cut there.
//!
//! The end of a turn is not marked. `Tokens` comes after each response; the program may continue by
//! itself (to fix what it has broken), and then so does the turn. Edits are applied after that
//! line.

use super::{Entry, How, limited};

/// How much of a prompt or a response is kept, in bytes, not counting the rest of its last line.
const LONGEST: usize = 16 << 20;
/// The end of each line that a model did not write.
const END: &str = "  ";
/// Commands that are also prompts. All others are carried out without a turn.
const PROMPTS: [&str; 6] = ["/ask", "/code", "/architect", "/context", "/help", "/ok"];

#[derive(Debug, Default)]
pub(super) struct AiderParser {
    open: bool,
    /// The first lines come from the middle of a file, and may come from the middle of a turn.
    middle: bool,
    /// The previous line was blank, or there was none.
    behind_blank: bool,
    /// The prompt that is being read.
    prompt: Option<String>,
    /// The response that is being read.
    text: String,
    /// The latest message of the turn.
    said: Option<String>,
    /// An error that ends the turn, unless another try follows.
    failure: Option<How>,
    /// The failure is an exception in the program itself: the last line says what it is.
    traces: bool,
    /// It was interrupted: what follows is the partial response.
    interrupted: bool,
}

impl AiderParser {
    pub(super) fn new(middle: bool) -> Self {
        Self {
            middle,
            behind_blank: true,
            ..Self::default()
        }
    }

    pub(super) fn line(&mut self, line: &str, entries: &mut Vec<Entry>) {
        let behind_blank = std::mem::replace(&mut self.behind_blank, line.trim().is_empty());
        let program = line.strip_suffix(END);
        if let Some(prompt) = program.and_then(|line| line.strip_prefix("####"))
            && (behind_blank || self.prompt.is_some())
        {
            let line = prompt.strip_prefix(' ').unwrap_or(prompt);
            match &mut self.prompt {
                None => self.prompt = Some(line.to_owned()),
                Some(prompt) if prompt.len() < LONGEST => {
                    prompt.push('\n');
                    prompt.push_str(line);
                }
                Some(_) => {}
            }
            return;
        }
        self.prompted(entries);
        if let Some(said) = program.and_then(|line| line.strip_prefix('>')) {
            self.message(entries);
            self.program(said.trim(), entries);
        } else if line.starts_with("# aider chat started at ") && behind_blank {
            self.message(entries);
            self.close(entries);
            self.middle = false;
        } else if !self.interrupted && self.text.len() < LONGEST {
            self.text.push_str(line);
            self.text.push('\n');
        }
    }

    /// Nothing has followed for a while: the prompt is complete, and no other try follows an error.
    pub(super) fn still(&mut self, entries: &mut Vec<Entry>) {
        self.prompted(entries);
        if let Some(how) = self.failure.take()
            && self.open
        {
            self.message(entries);
            self.end(how, entries);
        }
    }

    fn program(&mut self, said: &str, entries: &mut Vec<Entry>) {
        if self.traces
            && let Some(How::Failed { message }) = &mut self.failure
            && !said.is_empty()
        {
            said.clone_into(message);
        }
        if said.starts_with("Tokens: ") && said.contains(" sent") {
            self.in_a_turn(entries);
            if self.open && !self.interrupted {
                let how = self.failure.take().unwrap_or(How::Done);
                self.end(how, entries);
            }
        } else if let Some(path) = said.strip_prefix("Applied edit to ") {
            let path = path.to_owned();
            entries.push(Entry::Touched { path });
        } else if said.starts_with("Retrying in ") {
            self.failure = None;
        } else if said == "^C again to exit" || said == "^C KeyboardInterrupt" {
            // While it shows its prompt, this interrupts nothing.
            if self.open {
                self.interrupted = true;
                self.end(How::Interrupted, entries);
            }
        } else if said.starts_with("Traceback (most recent call last)") {
            self.in_a_turn(entries);
            self.traces = true;
            let message = said.to_owned();
            self.failure = Some(How::Failed { message });
        } else if said.starts_with("Empty response received from") {
            let message = said.to_owned();
            self.failure = Some(How::Failed { message });
        } else if said.contains(" has hit a token limit") {
            let message = said.to_owned();
            self.end(How::Failed { message }, entries);
        } else if let Some(error) = litellm(said) {
            self.in_a_turn(entries);
            let message = said.to_owned();
            self.failure = Some(match error {
                "RateLimitError" | "RouterRateLimitError" => limited(message, None),
                _ => How::Failed { message },
            });
        }
    }

    /// Handles a prompt that was read completely.
    fn prompted(&mut self, entries: &mut Vec<Entry>) {
        let Some(text) = self.prompt.take() else {
            return;
        };
        self.message(entries);
        // A question of the program that was answered.
        if text.contains("(Y)es/(N)o") && !text.contains('\n') {
            return;
        }
        self.close(entries);
        self.middle = false;
        self.open = true;
        self.said = None;
        self.failure = None;
        self.traces = false;
        self.interrupted = false;
        let is_command = text.starts_with(['/', '!'])
            && !PROMPTS.contains(&text.split_whitespace().next().unwrap_or_default());
        entries.push(Entry::Began { at: None });
        let (at, id) = (None, None);
        entries.push(Entry::Prompt { at, text, id });
        if is_command {
            self.end(How::Done, entries);
        }
    }

    /// Handles a message that was read completely.
    fn message(&mut self, entries: &mut Vec<Entry>) {
        let text = std::mem::take(&mut self.text);
        let text = text.trim();
        if text.is_empty() {
            return;
        }
        self.in_a_turn(entries);
        if self.said.is_none() && !self.open {
            // Before the first prompt, there is nobody to answer.
            return;
        }
        self.open = true;
        self.said = Some(text.to_owned());
        let text = text.to_owned();
        entries.push(Entry::Said { at: None, text });
    }

    /// Opens a turn if what happens shows that one began before the first line that was read.
    fn in_a_turn(&mut self, entries: &mut Vec<Entry>) {
        if std::mem::take(&mut self.middle) {
            self.open = true;
            entries.push(Entry::Began { at: None });
        }
    }

    /// Ends a turn because another one begins, or the program itself ends.
    fn close(&mut self, entries: &mut Vec<Entry>) {
        if self.open {
            let how = match (self.failure.take(), &self.said) {
                (Some(failure), _) => failure,
                (None, Some(_)) => How::Done,
                (None, None) => How::Interrupted,
            };
            self.end(how, entries);
        }
    }

    fn end(&mut self, how: How, entries: &mut Vec<Entry>) {
        self.open = false;
        self.failure = None;
        self.traces = false;
        let text = self.said.clone().filter(|_| how == How::Done);
        let at = None;
        entries.push(Entry::Ended { at, how, text });
    }
}

/// Returns the lines of a prompt, as far as Aider keeps them.
pub(super) fn lines(text: &str) -> impl Iterator<Item = &str> {
    // The characters at which Aider splits lines.
    let ends = [
        '\n', '\r', '\u{b}', '\u{c}', '\u{1c}', '\u{1d}', '\u{1e}', '\u{85}', '\u{2028}',
        '\u{2029}',
    ];
    let text = text.trim();
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let all = rest?;
        let Some(end) = all.find(ends) else {
            rest = None;
            return Some(all.trim_end());
        };
        let (line, behind) = all.split_at_checked(end)?;
        let behind = behind.strip_prefix("\r\n").unwrap_or_else(|| {
            let mut letters = behind.chars();
            letters.next();
            letters.as_str()
        });
        rest = Some(behind);
        Some(line.trim_end())
    })
}

/// Returns the kind of an error that came from the model's server.
fn litellm(said: &str) -> Option<&str> {
    let (name, _) = said.strip_prefix("litellm.")?.split_once(':')?;
    (name.ends_with("Error") || name == "Timeout").then_some(name)
}
