//! Texts for people, and text from outside, made fit for a terminal or a log.

/// Makes text from outside safe for a terminal and for one line of a log: control characters
/// (including escape sequences) and characters that change the writing direction are shown as
/// escapes.
pub fn clean(text: &str) -> String {
    let mut cleaned = String::with_capacity(text.len());
    for character in text.chars() {
        let turns = matches!(
            character,
            '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
        );
        if character.is_control() || turns {
            cleaned.extend(character.escape_default());
        } else {
            cleaned.push(character);
        }
    }
    cleaned
}

/// Returns what there is to choose from: `bash, zsh or fish`.
pub fn alternatives(names: &[&str]) -> String {
    match names.split_last() {
        Some((last, names)) if !names.is_empty() => format!("{} or {last}", names.join(", ")),
        _ => names.concat(),
    }
}
