//! Distinguishes an empty prompt from a half-typed line, by the cursor's line of a shell that waits
//! for input.
//!
//! To the system, a shell that reads a line looks the same whether a person has typed into it or
//! not. The text left of the cursor shows the difference: a prompt nearly always ends in a symbol
//! and a blank. If that is not clear, the line counts as a person's, and the session is left alone.

use unicode_width::UnicodeWidthStr;

use crate::model::verdict::Says;
use crate::tmux::CursorLine;

/// The last characters of prompts, before blanks.
const SIGNS: &[char] = &[
    '$', '#', '%', '>', '❯', '➜', '✗', '✔', 'λ', '»', '›', '⟩', '▶', '→', '⇒', '⟫', '\u{e0b0}',
    '\u{e0b4}', '\u{e0bc}', ')', ']', '}', '|', ':', '~', '@', '┃', '╰', '─', '⚡', '∙', '⦕', '❱',
    '⮞', '🞂', '⋊', '⟶',
];

/// The symbols that end a prompt: text after them on the same line was typed. Others also appear
/// inside prompts.
const ENDS: &[char] = &['$', '#', '%', '>', '❯', '»', 'λ', '⟩', '❱'];

/// What zsh shows at the beginning of the second line of something unfinished, before `>`.
const UNFINISHED: &[&str] = &[
    "quote",
    "dquote",
    "bquote",
    "heredoc",
    "pipe",
    "cmdand",
    "cmdor",
    "cmdsubst",
    "for",
    "while",
    "until",
    "if",
    "then",
    "else",
    "elif",
    "case",
    "select",
    "repeat",
    "function",
    "subsh",
    "cursh",
    "braceparam",
    "mathsubst",
    "array",
    "cond",
    "foreach",
    "errquote",
];

/// How the questions of line editors end.
const QUESTIONS: &[&str] = &[
    "(y or n)",
    "[yn]?",
    "[y/n]?",
    "[nyae]?",
    "lines)?",
    "--More--",
    "(yes or no)?",
];

/// What a line that waits for input contains.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::node) enum Line {
    /// A prompt, and nothing after it.
    Prompt,
    /// Something that a person has begun.
    Draft,
    /// A search or a question of the line editor: any key pressed there is an answer.
    Search,
}

/// What a shell itself reports about its line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::node) enum LineReport {
    /// Its line editor reads a new line. The shell says whether that line is empty only when it is
    /// asked.
    Reads,
    /// It waits for keys, but not for a new line.
    Elsewhere,
    /// It was asked and took nothing, for this reason.
    Declined(&'static str),
}

impl LineReport {
    /// Returns what this says about the shell.
    pub(in crate::node) fn says(self) -> (Says, &'static str) {
        match self {
            Self::Reads => (Says::Idle, "its line editor waits for a new line"),
            Self::Elsewhere => (
                Says::Nothing,
                "its line editor does not wait for a new line: it holds something unfinished, or the input of a command",
            ),
            Self::Declined(why) => (Says::Attended, why),
        }
    }
}

impl Line {
    /// Returns what this says about its shell.
    pub(in crate::node) fn says(self) -> (Says, &'static str) {
        match self {
            Self::Prompt => (Says::Idle, "there is nothing after the prompt"),
            Self::Draft => (
                Says::Attended,
                "something was typed at its prompt and not submitted",
            ),
            Self::Search => (
                Says::Attended,
                "its line editor is searching, or asking something",
            ),
        }
    }
}

/// Reads the cursor's line in a pane of this width.
pub(in crate::node) fn read(line: &CursorLine, width: u32) -> Line {
    if searches(line, width) {
        return Line::Search;
    }
    let (left, right) = (line.before.as_str(), line.after.as_str());
    // A prompt on the right is far away. Text right at the cursor was typed, and the cursor moved
    // back.
    if right
        .chars()
        .next()
        .is_some_and(|next| !next.is_whitespace())
    {
        return Line::Draft;
    }
    let text = left.trim();
    if text.is_empty() {
        return Line::Prompt;
    }
    if continues(text) {
        return Line::Draft;
    }
    if let Some(tail) = text.strip_prefix('➜') {
        return behind_an_arrow(tail);
    }
    if typed_behind_a_sign(left) {
        return Line::Draft;
    }
    // A prompt without any symbol at least ends in a blank.
    if text.ends_with(SIGNS) || left.ends_with(char::is_whitespace) {
        return Line::Prompt;
    }
    Line::Draft
}

/// Whether its line editor searches the history, or asks something. readline asks in front of the
/// line, zsh and fish below it. Each asks in the line itself whether to show a list, to correct a
/// word, or to delete files.
fn searches(line: &CursorLine, width: u32) -> bool {
    let width = usize::try_from(width).unwrap_or(usize::MAX);
    let above = line.above.iter().rev();
    let wrapped = above.take_while(|row| row.width() + 1 >= width);
    let asks = |row: &str| row.contains("i-search:") || row.contains("i-search)");
    let question = line.before.trim_end();
    asks(&line.before)
        || wrapped.map(String::as_str).any(asks)
        || line.below.iter().any(|row| row.contains("i-search:"))
        || line.before.starts_with("search: ")
        || QUESTIONS.iter().any(|text| question.ends_with(text))
}

/// Reads what follows the arrow with which a widespread theme begins its prompt: the directory,
/// then the branch as `git:(main)` and a symbol. Anything more was typed.
fn behind_an_arrow(tail: &str) -> Line {
    let mut words = tail.split_whitespace().skip(1).peekable();
    if words.peek().is_some_and(|word| word.starts_with("git:(")) {
        words.next();
    }
    if words.all(|word| matches!(word, "✗" | "✔")) {
        Line::Prompt
    } else {
        Line::Draft
    }
}

/// Whether the line continues another one, or reads the input of a command.
fn continues(text: &str) -> bool {
    // `read>` is how fish asks for the input of a command.
    if text == ">" || text.starts_with("read>") {
        return true;
    }
    text.strip_suffix('>').is_some_and(|words| {
        let mut words = words.split_whitespace().peekable();
        words.peek().is_some() && words.all(|word| UNFINISHED.contains(&word))
    })
}

/// Whether a symbol that ends prompts is followed by a blank and then text, as in `$ make`.
fn typed_behind_a_sign(left: &str) -> bool {
    // These two also appear inside prompts, as in `100% ~/src $ `; then the end decides.
    let inside = |sign| matches!(sign, '%' | '>');
    let ends = left.ends_with(' ') && left.trim_end().ends_with(['$', '#', '%', '❯']);
    left.char_indices().any(|(at, sign)| {
        let behind = left.get(at + sign.len_utf8()..).unwrap_or_default();
        ENDS.contains(&sign)
            && behind.starts_with(' ')
            && !behind.trim().is_empty()
            && !behind.trim().chars().all(|rest| SIGNS.contains(&rest))
            && !(inside(sign) && ends)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(left: &str, right: &str, below: &str) -> Line {
        let line = CursorLine {
            before: left.to_owned(),
            after: right.to_owned(),
            above: Vec::new(),
            below: vec![below.to_owned()],
        };
        super::read(&line, 80)
    }

    #[test]
    fn usual_prompts_are_empty() {
        for prompt in [
            "$ ",
            "# ",
            "bash-5.2$ ",
            "me@host:~/src$ ",
            "host% ",
            "me@host ~> ",
            "❯ ",
            "➜  ~ ",
            "➜  api git:(main) ✗ ",
            "[me@host src]$ ",
            "(venv) me@host:~$ ",
            "",
            "   ",
            "ready> ",
            "╰─ ",
            "prompt ",
            "PS C:\\> ",
            "user@box /srv/a>b$ ",
            "~/src λ ",
            "$",
            "100% ~/src $ ",
        ] {
            assert_eq!(read(prompt, "", ""), Line::Prompt, "{prompt:?}");
        }
    }

    #[test]
    fn half_typed_lines_are_drafts() {
        for draft in [
            "me@host ~> rm -rf ",
            "me@host ~> cd ~",
            "➜  ~ git commit ",
            "➜  api git:(main) ✗ make ",
            "➜  ~ make |",
            "$ cat > ",
            "host% cat > ",
            "$ ls",
            "$ git commit ",
            "me@host:~$ rm -rf /",
            "❯ vim x",
            "➜  ~ ls",
            "host% echo $HOME",
            "# make",
            "me@host ~> cd",
            "$ cat >",
            "[me@host src]$ foo ",
            "bash-5.2# echo '#'",
        ] {
            assert_eq!(read(draft, "", ""), Line::Draft, "{draft:?}");
        }
    }

    #[test]
    fn unfinished_commands_and_searches_are_drafts() {
        for text in ["> ", "read> ", "quote> ", "for> ", "pipe quote> "] {
            assert_eq!(read(text, "", ""), Line::Draft, "{text:?}");
        }
    }

    #[test]
    fn a_search_below_the_prompt_is_a_draft() {
        assert_eq!(read("host% ", "", "bck-i-search: _"), Line::Search);
        assert_eq!(read("bck-i-search: _", "", ""), Line::Search);
        assert_eq!(read("(reverse-i-search)`': ", "", ""), Line::Search);
        assert_eq!(read("host% ", "", "some older output"), Line::Prompt);
        assert_eq!(read("search: ls", "", "(no matches)"), Line::Search);
        // What was found is longer than the row.
        let found = format!("(reverse-i-search)`l': {}", "x".repeat(57));
        let line = |above: &str| CursorLine {
            before: "xx ".to_owned(),
            after: String::new(),
            above: vec![above.to_owned()],
            below: Vec::new(),
        };
        assert_eq!(super::read(&line(&found), 80), Line::Search);
        assert_eq!(super::read(&line(&found), 132), Line::Prompt);
        let far = CursorLine {
            below: vec!["x".to_owned(), String::new(), "bck-i-search: l_".to_owned()],
            ..line("")
        };
        assert_eq!(super::read(&far, 80), Line::Search);
    }

    #[test]
    fn a_draft_with_the_cursor_at_its_start_is_a_draft() {
        assert_eq!(read("$ ", "rm -rf x", ""), Line::Draft);
        assert_eq!(read("$ ", "              [12:30]", ""), Line::Prompt);
    }
}
