//! Undoes what agents do to the text of a prompt.

use std::borrow::Cow;

/// Returns the lines of a prompt as Claude Code keeps them: it turns a tab into four blanks and
/// removes trailing blanks. Zero-width characters, which may get lost on the way, do not count.
pub(super) fn lines(text: &str) -> impl Iterator<Item = Cow<'_, str>> {
    text.trim().lines().map(|line| {
        let line = line.trim_end();
        if line.contains(|char| char == '\t' || is_unseen(char)) {
            Cow::Owned(line.replace(is_unseen, "").replace('\t', "    "))
        } else {
            Cow::Borrowed(line)
        }
    })
}

fn is_unseen(char: char) -> bool {
    matches!(char, '\u{200b}'..='\u{200f}' | '\u{2060}' | '\u{feff}' | '\u{fe00}'..='\u{fe0f}')
}

/// Returns a text with uniform line ends.
pub(super) fn plain(text: &str) -> String {
    text.replace("\r\n", "\n").replace('\r', "\n")
}

/// Returns a prompt without the tags that Claude Code puts around pasted text (since 2.1.327, if it
/// is long): `<pasted_content id="9b3c">`, and at the end one with the same id.
pub(super) fn unwrapped(text: &str) -> Cow<'_, str> {
    let mut plain = String::new();
    let mut rest = text;
    while let Some([before, inside, after]) = next_pasted(rest) {
        plain.push_str(before);
        plain.push_str(inside);
        rest = after;
    }
    if rest.len() == text.len() {
        return Cow::Borrowed(text);
    }
    plain.push_str(rest);
    Cow::Owned(plain)
}

/// Restores such tags that were part of the prompt itself: Claude Code escapes them.
pub(super) fn unescaped(text: &str) -> String {
    text.replace("<\\pasted_content", "<pasted_content")
        .replace("<\\/pasted_content", "</pasted_content")
}

/// Returns the text before, inside and after the next tags.
fn next_pasted(text: &str) -> Option<[&str; 3]> {
    let (before, tag) = text.split_once("<pasted_content id=\"")?;
    let (id, inside) = tag.split_once("\">")?;
    let close = format!("</pasted_content id=\"{id}\">");
    let (inside, after) = inside.split_once(&close)?;
    Some([before, inside, after])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_around_what_was_pasted_are_taken_off() {
        let pasted = "\n\n<pasted_content id=\"9b3c\">\na <b>\nc\n</pasted_content id=\"9b3c\">\n";
        assert_eq!(unwrapped(pasted).trim(), "a <b>\nc");
        let two = "do\n<pasted_content id=\"1\">x</pasted_content id=\"1\"> and \
                   <pasted_content id=\"2\">y</pasted_content id=\"2\">.";
        assert_eq!(unwrapped(two), "do\nx and y.");
        for plain in [
            "",
            "a",
            "<pasted_content id=\"1\">",
            "<pasted_content id=\"1\">x</pasted_content id=\"2\">",
            "<pasted_content id=\"1\">x</pasted_content>",
        ] {
            assert_eq!(unwrapped(plain), plain);
        }
    }

    #[test]
    fn blanks_and_signs_without_a_width_do_not_count() {
        let lines = |text: &str| lines(text).collect::<Vec<_>>().join("/");
        assert_eq!(lines(" a\tb \n\n c \n"), "a    b// c");
        assert_eq!(lines("👩\u{200d}💻 \u{200b}x"), "👩💻 x");
    }
}
