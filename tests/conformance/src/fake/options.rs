//! How the agent behaves: its command line.

use std::path::PathBuf;
use std::str::FromStr;

/// An agent in a terminal that does what it is told, and records what happened to it.
///
/// It answers each prompt with the digest of its bytes. Times are in
/// milliseconds, chances between 0 and 1.
#[derive(Debug, Clone, clap::Parser)]
#[command(name = "fake-agent", version)]
pub struct Options {
    /// The file that records what happens, as JSON lines
    #[arg(long, value_name = "FILE")]
    pub log: Option<PathBuf>,

    /// How long a turn takes
    #[arg(long, value_name = "MS", default_value_t = 30)]
    pub turn: u64,

    /// Writes a transcript as codex does; `{pid}` in the name is the process's number
    #[arg(long, value_name = "FILE")]
    pub transcript: Option<PathBuf>,

    /// Does not ask for bracketed paste
    #[arg(long)]
    pub no_bracketed: bool,

    /// Takes Enter as a newline for this long after characters or a paste
    #[arg(long, value_name = "MS", default_value_t = 0)]
    pub burst: u64,

    /// Draws nothing for this long at first, and discards all input
    #[arg(long, value_name = "MS", default_value_t = 0)]
    pub start_delay: u64,

    /// Asks for bracketed paste this long after it has drawn its composer
    #[arg(long, value_name = "MS", default_value_t = 0)]
    pub late_bracketed: u64,

    /// Restarts after this many turns, with its delays; 0 means never
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub restart_after: u64,

    /// When a dialog comes up: never, on-start, on-paste, after-paste, on-submit, mid-turn, or
    /// random:P at each of these and at the end of a turn
    #[arg(long, value_name = "WHEN", default_value = "never")]
    pub dialog: DialogAt,

    /// How long until it goes away by itself; 0 means never
    #[arg(long, value_name = "MS", default_value_t = 700)]
    pub dialog_for: u64,

    /// A draft that a person types into the empty composer
    #[arg(long, value_name = "TEXT")]
    pub draft: Option<String>,

    /// When it is typed
    #[arg(long, value_name = "MS", default_value_t = 0)]
    pub draft_after: u64,

    /// How long until the person clears the composer; 0 means never
    #[arg(long, value_name = "MS", default_value_t = 0)]
    pub draft_for: u64,

    /// Types it again this long after it was cleared; 0 means never
    #[arg(long, value_name = "MS", default_value_t = 0)]
    pub draft_every: u64,

    /// The chance that it is typed together with a paste instead, before or after it
    #[arg(long, value_name = "P", value_parser = chance)]
    pub draft_on_paste: Option<f64>,

    /// When the process dies: on-paste, on-submit, mid-turn
    #[arg(long, value_name = "WHEN")]
    pub die: Option<Moment>,

    /// The chance that it does
    #[arg(long, value_name = "P", default_value_t = 1.0, value_parser = chance)]
    pub die_chance: f64,

    /// Ignores this many Enters before each turn
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub swallow_enter: u32,

    /// Takes this long for each Enter
    #[arg(long, value_name = "MS", default_value_t = 0)]
    pub slow_enter: u64,

    /// Redraws everything this often, from an empty screen, with another footer
    #[arg(long, value_name = "MS", default_value_t = 0)]
    pub redraw: u64,

    /// Sets the title: a spinner while it works
    #[arg(long)]
    pub title: bool,

    /// Changes the title this often, whatever it is doing
    #[arg(long, value_name = "MS", default_value_t = 0)]
    pub title_noise: u64,

    /// Draws on the alternate screen
    #[arg(long)]
    pub alternate: bool,

    /// Draws nothing: prints `> ` and reads lines in canonical mode
    #[arg(long)]
    pub canonical: bool,

    /// Needs no terminal: reads a prompt from standard input, prints JSON, and exits
    #[arg(long, conflicts_with = "canonical")]
    pub headless: bool,

    /// How a turn without a terminal may fail; one of these, if it does
    #[arg(long, value_name = "HOW", value_delimiter = ',', requires = "headless")]
    pub fails: Vec<Failure>,

    /// The chance that it does
    #[arg(long, value_name = "P", default_value_t = 0.5, value_parser = chance)]
    pub fail_chance: f64,

    /// Shows a paste of more bytes, or of more than 5 lines, as `[Pasted text #1 +12 lines]`; 0
    /// means never
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub collapse: usize,

    /// Puts a no-break space after the composer's mark
    #[arg(long)]
    pub no_break: bool,

    /// Shows a welcome without a composer, forever
    #[arg(long)]
    pub onboarding: bool,

    /// Ends each answer with a question
    #[arg(long)]
    pub ask: bool,

    /// Ends each turn in a rate limit
    #[arg(long)]
    pub limit: bool,

    /// Ends each turn in an error
    #[arg(long)]
    pub error: bool,

    /// Rewrites each prompt when it is taken, and keeps only its words with digits; a sign at its end
    /// is not part of what it was asked
    #[arg(long)]
    pub rewrite: bool,

    /// The chance that a prompt loses a byte: to prove that this is noticed
    #[arg(long, value_name = "P", default_value_t = 0.0, value_parser = chance)]
    pub garble: f64,

    /// The chance that a prompt is taken twice: to prove that this is noticed
    #[arg(long, value_name = "P", default_value_t = 0.0, value_parser = chance)]
    pub twice: f64,
}

/// A point in the way of a prompt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Moment {
    /// The first drawing.
    OnStart,
    /// A paste begins.
    OnPaste,
    /// A paste is whole: seen together with its text.
    AfterPaste,
    /// A prompt was taken.
    OnSubmit,
    /// Half of a turn is over.
    MidTurn,
    /// A turn is over.
    AfterTurn,
}

/// How a turn without a terminal fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Failure {
    /// The process is killed before it reads its prompt.
    DiesBefore,
    /// The process is killed in the middle of its work.
    DiesAfter,
    /// It prints an error, and exits with a code that says so.
    Error,
    /// It prints an error, and exits as if all were well.
    QuietError,
    /// It prints something that is not JSON.
    Rubbish,
    /// It prints the first half of its answer.
    Half,
    /// It prints nothing.
    Nothing,
    /// It never ends by itself.
    Hangs,
}

/// When dialogs open.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum DialogAt {
    /// Not at all.
    Never,
    /// Always at this moment.
    At(Moment),
    /// At each moment with this chance.
    Random(f64),
}

impl Options {
    /// Returns how the next turn without a terminal fails, if it does.
    #[must_use]
    pub fn failure(&self) -> Option<Failure> {
        let fails = !self.fails.is_empty() && fastrand::f64() < self.fail_chance;
        fails.then(|| self.fails[fastrand::usize(..self.fails.len())])
    }
}

impl DialogAt {
    /// Returns whether a dialog opens now.
    #[must_use]
    pub fn comes(self, moment: Moment) -> bool {
        match self {
            Self::Never => false,
            Self::At(at) => at == moment,
            Self::Random(chance) => fastrand::f64() < chance,
        }
    }
}

impl FromStr for DialogAt {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "never" {
            return Ok(Self::Never);
        }
        if let Some(chance_text) = text.strip_prefix("random:") {
            return chance(chance_text).map(Self::Random);
        }
        <Moment as clap::ValueEnum>::from_str(text, false)
            .map(Self::At)
            .map_err(|_| "never, a moment such as after-paste, or random:0.2".to_owned())
    }
}

/// Reads a chance.
fn chance(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(value) if (0.0..=1.0).contains(&value) => Ok(value),
        _ => Err("a number from 0 to 1".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory as _, Parser as _};

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Options::command().debug_assert();
        let options = Options::parse_from(["fake-agent", "--dialog", "random:0.5"]);
        assert_eq!(options.dialog, DialogAt::Random(0.5));
        let options = Options::parse_from(["fake-agent", "--dialog", "after-paste"]);
        assert_eq!(options.dialog, DialogAt::At(Moment::AfterPaste));
        let words = ["fake-agent", "--headless", "--fails=error,hangs"];
        let mut options = Options::parse_from(words);
        assert_eq!(options.fails, [Failure::Error, Failure::Hangs]);
        options.fail_chance = 1.0;
        assert!(options.failure().is_some());
        options.fail_chance = 0.0;
        assert_eq!(options.failure(), None);
        Options::try_parse_from(["fake-agent", "--fails=error"]).expect_err("no --headless");
        for wrong in ["random:2", "random:x", "sometimes"] {
            Options::try_parse_from(["fake-agent", "--dialog", wrong]).expect_err(wrong);
        }
    }
}
