//! Texts for people, and text from outside, made fit for a terminal or a log.

/// Makes text from outside safe for a terminal and for one line of a log: every character that is not
/// known to be shown as itself is written as an escape. Those are control characters with escape
/// sequences, characters that change the direction of writing or have no width, other line ends, and what
/// Unicode has not assigned.
pub fn clean(text: &str) -> String {
    let mut cleaned = String::with_capacity(text.len());
    for character in text.chars() {
        if is_shown(character) {
            cleaned.push(character);
        } else {
            cleaned.extend(character.escape_default());
        }
    }
    cleaned
}

/// Whether a terminal shows a character as itself: a blank, a letter, a digit, a mark, a sign.
pub fn is_shown(character: char) -> bool {
    if character.is_ascii() {
        return !character.is_ascii_control();
    }
    // Blanks of other widths.
    if character.is_whitespace() {
        return !character.is_control() && !matches!(character, '\u{2028}' | '\u{2029}');
    }
    // The standard library knows what can be printed, and says so only in this way. A mark is escaped
    // unless it follows a letter.
    let mut pair = [b'a', 0, 0, 0, 0];
    let length = 1 + character.encode_utf8(&mut pair[1..]).len();
    let pair = std::str::from_utf8(&pair[..length]).unwrap_or_default();
    pair.escape_debug().eq(pair.chars())
}

/// Returns what there is to choose from: `bash, zsh or fish`.
pub fn alternatives(names: &[&str]) -> String {
    match names.split_last() {
        Some((last, names)) if !names.is_empty() => format!("{} or {last}", names.join(", ")),
        _ => names.concat(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_shows_as_itself_stays() {
        for text in [
            "plain \"text\" 'with' \\ and ~",
            "ümläute, e\u{301}, 漢字, العربية, हिन्दी, ไทย",
            "❯ → ✓ … 🚀 ☃\u{fe0f}",
            "où\u{a0}? 10\u{202f}000 全\u{3000}角",
        ] {
            assert_eq!(clean(text), text);
        }
    }

    #[test]
    fn everything_else_is_an_escape() {
        for hidden in [
            '\0',
            '\t',
            '\n',
            '\x1b',
            '\x7f',
            '\u{85}',
            '\u{9b}',
            '\u{ad}',
            '\u{61c}',
            '\u{180e}',
            '\u{200b}',
            '\u{200d}',
            '\u{200e}',
            '\u{2028}',
            '\u{2029}',
            '\u{202e}',
            '\u{2060}',
            '\u{2066}',
            '\u{e000}',
            '\u{fdd0}',
            '\u{feff}',
            '\u{fffff}',
            '\u{e0041}',
        ] {
            let cleaned = clean(&format!("a{hidden}b"));
            assert!(
                cleaned.is_ascii() && !cleaned.contains(char::is_control),
                "{hidden:?}"
            );
            assert_eq!(cleaned, format!("a{}b", hidden.escape_default()));
        }
    }
}
