//! A small interpreter of the commands that requests consist of: a tmux with one pane, for tests.

use std::collections::BTreeMap;

use super::parse::{self, TmuxReply};
use super::script::Script;

#[derive(Debug, Clone, PartialEq)]
enum Token {
    Word(String),
    Next,
    Open,
    Close,
}

/// Splits a line as tmux does, as far as requests use its syntax.
fn tokens(line: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    let mut chars = line.chars().peekable();
    while let Some(&first) = chars.peek() {
        match first {
            ' ' => drop(chars.next()),
            ';' | '{' | '}' => {
                chars.next();
                tokens.push(match first {
                    ';' => Token::Next,
                    '{' => Token::Open,
                    _ => Token::Close,
                });
            }
            _ => {
                let (mut word, mut quote) = (String::new(), None);
                while let Some(char) = chars.next_if(|&char| quote.is_some() || char != ' ') {
                    match (char, quote) {
                        ('\'' | '"', None) => quote = Some(char),
                        (char, Some(open)) if char == open => quote = None,
                        ('\\', None | Some('"')) => word.extend(chars.next().map(escaped)),
                        ('$' | '~', Some('"')) => panic!("{line:?} expands something"),
                        (char, _) => word.push(char),
                    }
                }
                assert!(quote.is_none(), "a quote is open in {line:?}");
                tokens.push(Token::Word(word));
            }
        }
    }
    tokens
}

/// Returns what a character after a backslash stands for, of those that are used.
fn escaped(char: char) -> char {
    assert!(
        !char.is_ascii_alphanumeric() || "nt".contains(char),
        "{char:?}"
    );
    match char {
        'n' => '\n',
        't' => '\t',
        char => char,
    }
}

/// A tmux with one pane.
#[derive(Clone)]
pub(super) struct TmuxWorld {
    /// The value of each variable of a format.
    pub(super) variables: BTreeMap<&'static str, String>,
    /// The command that fails.
    pub(super) failing: Option<&'static str>,
    /// The commands that were carried out, except those that only print.
    pub(super) done: Vec<String>,
    pub(super) printed: String,
    pub(super) errors: Vec<String>,
}

impl TmuxWorld {
    /// Returns a world in the state that every request here expects.
    pub(super) fn new() -> Self {
        let variables = [
            ("#{pid}", "10"),
            ("#{start_time}", "1700000000"),
            ("#{pane_id}", "%3"),
            ("#{pane_pid}", "77"),
            ("#{pane_dead}", "0"),
            ("#{pane_in_mode}", "0"),
            ("#{pane_input_off}", "0"),
            ("#{pane_synchronized}", "0"),
            ("#{cursor_x}", "5"),
            ("#{cursor_y}", "6"),
            ("#{cursor_flag}", "1"),
            ("#{pane_pipe}", "0"),
            ("#{pane_current_command}", "claude"),
            ("#{session_id}", "$2"),
            ("#{session_attached}", "0"),
            ("#{session_windows}", "1"),
            ("#{window_panes}", "1"),
            ("#{?session_grouped,#{session_group_size},1}", "1"),
            ("#{?window_linked,1,0}", "0"),
        ];
        Self {
            variables: variables
                .into_iter()
                .map(|(name, value)| (name, value.to_owned()))
                .collect(),
            failing: None,
            done: Vec::new(),
            printed: String::new(),
            errors: Vec::new(),
        }
    }

    pub(super) fn with(mut self, name: &'static str, value: &str) -> Self {
        let before = self.variables.insert(name, value.to_owned());
        assert!(before.is_some_and(|before| before != value), "{name}");
        self
    }

    fn expand(&self, format: &str) -> String {
        let mut text = format.to_owned();
        for (name, value) in &self.variables {
            text = text.replace(name, value);
        }
        assert!(!text.contains("#{"), "a format is left in {text:?}");
        text
    }

    fn holds(&self, condition: &str) -> bool {
        let compared = condition
            .strip_prefix("#{==:")
            .and_then(|rest| rest.strip_suffix('}'))
            .expect("a comparison");
        let compared = self.expand(compared);
        let (is, must) = compared.split_once(',').expect("two sides");
        assert!(!must.contains(','), "{compared:?}");
        is == must
    }

    /// Carries out a list of commands. A command that fails ends it, as in tmux.
    fn run(&mut self, tokens: &[Token]) {
        let mut rest = tokens;
        while !rest.is_empty() {
            let words: Vec<&str> = rest
                .iter()
                .map_while(|token| match token {
                    Token::Word(word) => Some(word.as_str()),
                    _ => None,
                })
                .collect();
            rest = &rest[words.len()..];
            let mut blocks = Vec::new();
            while let [Token::Open, ..] = rest {
                let end = rest.iter().position(|token| *token == Token::Close);
                let (block, behind) = rest.split_at(end.expect("the end of a block"));
                blocks.push(&block[1..]);
                rest = &behind[1..];
            }
            match rest {
                [Token::Next, behind @ ..] => rest = behind,
                _ => assert!(rest.is_empty(), "{rest:?}"),
            }
            match words.as_slice() {
                ["if-shell", "-F", "-t", _, condition] => {
                    let chosen = usize::from(!self.holds(condition));
                    if let Some(block) = blocks.get(chosen) {
                        self.run(block);
                    }
                }
                ["display-message", "-p", rest @ ..] => {
                    let text = self.expand(rest.last().expect("a text"));
                    self.printed += &format!("{text}\n");
                }
                [
                    "list-panes" | "list-clients" | "list-sessions",
                    ..,
                    "-F",
                    format,
                ] => {
                    self.printed += &format!("{}\n", self.expand(format));
                }
                [command, ..] if Some(*command) == self.failing => {
                    self.errors.push(format!("{command} failed"));
                    return;
                }
                words => self.done.push(words.join(" ")),
            }
        }
    }

    pub(super) fn carry_out(&mut self, script: &Script) {
        for line in script.finish().lines() {
            self.run(&tokens(line));
        }
    }

    pub(super) fn reply(&self, script: &Script) -> TmuxReply {
        let (records, complete) = parse::records(self.printed.as_bytes(), script.nonce());
        assert!(complete, "{}", self.printed);
        let mut reply = TmuxReply {
            records,
            sent: true,
            ..TmuxReply::default()
        };
        self.errors.iter().for_each(|error| reply.add_error(error));
        reply
    }
}
