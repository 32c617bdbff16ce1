//! Tells an empty prompt from a half-typed line, by the cursor's line of a shell that waits for
//! input.
//!
//! A shell that reads a line looks the same to the system whether a person has typed into it or
//! not. What stands left of the cursor tells: a prompt nearly always ends in a sign and a blank.
//! Where that is not clear the line counts as a person's, and the session is left alone.

use crate::model::verdict::Says;

/// How a prompt ends, before blanks.
const SIGNS: &[char] = &[
    '$', '#', '%', '>', '❯', '➜', '✗', '✔', 'λ', '»', '›', '⟩', '▶', '→', '⇒', '⟫', '\u{e0b0}',
    '\u{e0b4}', '\u{e0bc}', ')', ']', '}', '|', ':', '~', '@', '┃', '╰', '─', '⚡', '∙', '⦕', '❱',
    '⮞', '🞂', '⋊', '⟶',
];

/// The signs behind which what follows on the same line was typed. Others also stand inside of
/// prompts.
const ENDS: &[char] = &['$', '#', '%', '>', '❯', '»', 'λ', '⟩', '❱'];

/// What zsh shows in front of the second line of something unfinished, before `>`.
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

/// What stands in a line that waits for input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Line {
    /// A prompt, and nothing behind it.
    Prompt,
    /// Something that a person has begun.
    Draft,
}

impl Line {
    /// Returns what it says of its shell.
    pub(super) fn says(self) -> (Says, &'static str) {
        match self {
            Self::Prompt => (Says::Idle, "nothing stands behind the prompt"),
            Self::Draft => (
                Says::Attended,
                "something stands at its prompt that was not submitted",
            ),
        }
    }
}

/// Reads the cursor's line: `left` of the cursor up to its column, blanks included, and what
/// stands from the cursor on, and the line below.
pub(super) fn read(left: &str, right: &str, below: &str) -> Line {
    // zsh asks below its prompt what to search the history for.
    if below.contains("i-search:") {
        return Line::Draft;
    }
    // A prompt on the right is far off; text at the cursor was typed, and the cursor moved back.
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
    // A prompt without any sign ends in a blank at least.
    if text.ends_with(SIGNS) || left.ends_with(char::is_whitespace) {
        return Line::Prompt;
    }
    Line::Draft
}

/// Reads what stands behind the arrow with which a widespread theme begins its prompt: the
/// directory, then the branch as `git:(main)` and a sign. More was typed.
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

/// Whether the line continues another one, or searches the history.
fn continues(text: &str) -> bool {
    // `read>` is how fish asks for the input of a command.
    if text == ">" || text.starts_with("read>") || text.contains("i-search") {
        return true;
    }
    text.strip_suffix('>').is_some_and(|words| {
        let mut words = words.split_whitespace().peekable();
        words.peek().is_some() && words.all(|word| UNFINISHED.contains(&word))
    })
}

/// Whether a sign that ends prompts has a blank and then text behind it, as in `$ make`.
fn typed_behind_a_sign(left: &str) -> bool {
    // These two also stand inside of prompts, as in `100% ~/src $ `: then the end decides.
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
        for text in [
            "> ",
            "read> ",
            "quote> ",
            "for> ",
            "pipe quote> ",
            "(reverse-i-search)`': ",
            "bck-i-search: _",
        ] {
            assert_eq!(read(text, "", ""), Line::Draft, "{text:?}");
        }
    }

    #[test]
    fn a_search_below_the_prompt_is_a_draft() {
        assert_eq!(read("host% ", "", "bck-i-search: _"), Line::Draft);
        assert_eq!(read("host% ", "", "some older output"), Line::Prompt);
    }

    #[test]
    fn a_draft_with_the_cursor_at_its_start_is_a_draft() {
        assert_eq!(read("$ ", "rm -rf x", ""), Line::Draft);
        assert_eq!(read("$ ", "              [12:30]", ""), Line::Prompt);
    }
}
