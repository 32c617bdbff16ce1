//! Quotes what goes into a tmux command: pure.

use shell_quote::Sh;

/// Returns `text` as one word of a tmux command line. In single quotes, tmux expands nothing, and
/// `;`, `{` and `}` mean nothing. A text with a newline cannot be quoted for tmux: callers refuse
/// control characters.
pub(super) fn word(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// Returns `text`, which may have tabs and newlines, as one word of a tmux command line. In double
/// quotes, tmux reads escapes, and expands variables and a tilde at the beginning.
pub(super) fn text(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for char in text.chars() {
        match char {
            '\n' => quoted.push_str("\\n"),
            '\t' => quoted.push_str("\\t"),
            '"' | '\\' | '$' | '~' => quoted.extend(['\\', char]),
            _ => quoted.push(char),
        }
    }
    quoted.push('"');
    quoted
}

/// Returns the shell command for `pipe-pane` that runs `argv`, safe from the two expansions that
/// tmux applies to it first: `strftime`, so `%` is doubled; and formats, so `#` is doubled. tmux
/// leaves `##` alone before `[`, so an empty pair of quotes separates it from whatever follows.
/// (That works inside the single quotes that `Sh` uses, and outside of quotes.)
pub(super) fn pipe(argv: &[String]) -> String {
    let words: Vec<_> = argv
        .iter()
        .map(|word| String::from_utf8_lossy(&Sh::quote_vec(word)).into_owned())
        .collect();
    // `exec`: no shell remains between the pane and the program.
    format!("exec {}", words.join(" "))
        .replace('%', "%%")
        .replace('#', "##''")
}

/// Returns a format that expands to `text` itself. tmux leaves `##` alone before `[`, so that case
/// is written in another way.
pub(super) fn format(text: &str) -> String {
    text.replace('#', "##").replace("#[", "##{l:[}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Reads single-quoted tmux words back, as tmux's lexer does with quotes and backslashes.
    fn lex(text: &str) -> String {
        let mut out = String::new();
        let mut quoted = false;
        let mut chars = text.chars();
        while let Some(char) = chars.next() {
            match char {
                '\'' => quoted = !quoted,
                '\\' if !quoted => out.extend(chars.next()),
                _ => {
                    assert!(quoted, "{char:?} stands outside the quotes of {text:?}");
                    out.push(char);
                }
            }
        }
        assert!(!quoted);
        out
    }

    /// Does what tmux does to the command of `pipe-pane`, as far as the quoting relies on it.
    fn expand(text: &str) -> String {
        let mut out = String::new();
        let text = text.replace("%%", "\u{1}");
        assert!(!text.contains('%'), "strftime would see {text:?}");
        let mut chars = text
            .replace('\u{1}', "%")
            .chars()
            .collect::<Vec<_>>()
            .into_iter()
            .peekable();
        while let Some(char) = chars.next() {
            if char == '#' {
                assert_eq!(chars.next(), Some('#'));
                assert_eq!(
                    chars.peek(),
                    Some(&'\''),
                    "a format would begin in {text:?}"
                );
            }
            out.push(char);
        }
        out
    }

    fn sh(command: &str) -> Vec<u8> {
        let script = format!("set -- {command}; printf '%s\\0' \"$@\"");
        std::process::Command::new("/bin/sh")
            .arg("-c")
            .arg(script)
            .output()
            .expect("sh runs")
            .stdout
    }

    /// Reads a double-quoted tmux word back.
    fn unescape(text: &str) -> String {
        let inner = text
            .strip_prefix('"')
            .and_then(|text| text.strip_suffix('"'));
        let mut chars = inner.expect("quotes").chars();
        let mut out = String::new();
        while let Some(char) = chars.next() {
            match char {
                '\\' => out.push(match chars.next().expect("an escaped character") {
                    'n' => '\n',
                    't' => '\t',
                    char => {
                        assert!(
                            !char.is_ascii_alphanumeric(),
                            "{char:?} means something else"
                        );
                        char
                    }
                }),
                '"' | '$' | '~' | '\n' => panic!("{char:?} means something in {text:?}"),
                _ => out.push(char),
            }
        }
        out
    }

    proptest! {
        #[test]
        fn a_text_comes_back_whole(given in r#"[ -~\n\té'"\\;{}$~#%🚀]{0,40}"#) {
            let quoted = text(&given);
            prop_assert_eq!(quoted.lines().count(), 1);
            prop_assert_eq!(unescape(&quoted), given);
        }

        #[test]
        fn a_word_comes_back_whole(text in r#"[ -~é'"\\;{}$~#%]{0,40}"#) {
            prop_assert_eq!(lex(&word(&text)), text);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn a_pipe_runs_the_very_words(argv in proptest::collection::vec(r#"[a '"\\;{}$`~#%\[\]🚀!*?&|<>()-]{0,12}"#, 1..5)) {
            let expanded = expand(&pipe(&argv));
            let expected: Vec<u8> = argv.iter().flat_map(|word| word.bytes().chain([0])).collect();
            prop_assert_eq!(sh(expanded.strip_prefix("exec ").expect("exec")), expected);
        }
    }
}
