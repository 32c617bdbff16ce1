//! The prompts: of every kind that has ever gone wrong, and each of them unique.

use fastrand::Rng;

use crate::journal::{core, digest};

/// A kind of prompt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// A plain line.
    Plain,
    /// A letter or another character of one byte.
    OneByte,
    /// Quotes, single and double.
    Quotes,
    /// Backticks.
    Backticks,
    /// Text that a shell would substitute.
    Substitution,
    /// Text that a shell would replace from its history.
    Bang,
    /// Tabs.
    Tabs,
    /// Text that would be a command of an agent if it were typed.
    Slash,
    /// Text that would open a list of files if it were typed.
    At,
    /// Letters of other scripts, with diacritics.
    Unicode,
    /// Emoji, including some that consist of several characters.
    Emoji,
    /// Several lines.
    Lines,
    /// Several lines, and many newlines at the end.
    ManyNewlines,
    /// A line of 5 KB.
    LongLine,
    /// 64 KiB.
    Large,
    /// 1 MiB.
    Huge,
    /// The end of a bracketed paste in the middle.
    PasteEnd,
    /// Other control bytes.
    Control,
}

/// The kinds that alternate.
const COMMON: &[Kind] = &[
    Kind::Plain,
    Kind::Lines,
    Kind::Quotes,
    Kind::Slash,
    Kind::Emoji,
    Kind::OneByte,
    Kind::Tabs,
    Kind::LongLine,
    Kind::Backticks,
    Kind::At,
    Kind::ManyNewlines,
    Kind::Substitution,
    Kind::PasteEnd,
    Kind::Unicode,
    Kind::Bang,
    Kind::Control,
    Kind::Lines,
];

/// The intervals between prompts of 64 KiB and of 1 MiB.
const LARGE_EVERY: u64 = 61;
const HUGE_EVERY: u64 = 397;

/// Prompts of one byte; each scenario has each of them once.
const BYTES: &[u8] = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789?/!@#~$%*.";

/// A prompt and what identifies it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Payload {
    /// Its number, which its text contains if there is room for it.
    pub number: u64,
    /// Its kind.
    pub kind: Kind,
    /// The prompt itself.
    pub text: String,
}

impl Payload {
    /// Returns the digest of what must arrive.
    #[must_use]
    pub fn core(&self) -> String {
        digest(core(self.text.as_bytes()))
    }

    /// Returns whether a terminal would take a part of it for something other than text.
    #[must_use]
    pub fn has_control_bytes(&self) -> bool {
        self.text
            .chars()
            .any(|character| character.is_control() && !matches!(character, '\n' | '\t'))
    }
}

/// Returns the marker of a prompt with this number.
#[must_use]
pub fn marker(number: u64) -> String {
    format!("#c{number:07}#")
}

/// Returns the number in a text, if there is one.
#[must_use]
pub fn number_in(text: &str) -> Option<u64> {
    text.match_indices("#c").find_map(|(at, _)| {
        let digits = text.get(at + 2..at + 9)?;
        let is_whole = digits.bytes().all(|byte| byte.is_ascii_digit())
            && text.get(at + 9..at + 10) == Some("#");
        if is_whole { digits.parse().ok() } else { None }
    })
}

/// Makes the prompts of one scenario.
#[derive(Debug)]
pub struct Payloads {
    seed: u64,
    bytes: Vec<u8>,
}

impl Payloads {
    /// Returns a source of prompts; the same seed makes the same prompts.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let mut bytes = BYTES.to_vec();
        Rng::with_seed(seed).shuffle(&mut bytes);
        Self { seed, bytes }
    }

    /// Returns the prompt with this number.
    pub fn next(&mut self, number: u64) -> Payload {
        let mut kind = if number % HUGE_EVERY == HUGE_EVERY / 2 {
            Kind::Huge
        } else if number % LARGE_EVERY == LARGE_EVERY / 2 {
            Kind::Large
        } else {
            COMMON[(number % COMMON.len() as u64) as usize]
        };
        let mut byte = None;
        if kind == Kind::OneByte {
            byte = self.bytes.pop();
            if byte.is_none() {
                kind = Kind::Plain;
            }
        }
        let mut random = Rng::with_seed(self.seed ^ number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let text = match byte {
            Some(byte) => char::from(byte).to_string(),
            None => text(kind, &marker(number), &mut random),
        };
        Payload { number, kind, text }
    }
}

fn text(kind: Kind, marker: &str, random: &mut Rng) -> String {
    let some = words(random, 6);
    match kind {
        Kind::Plain | Kind::OneByte => format!("{marker} {some}"),
        Kind::Quotes => format!("say \"it's\" {marker} 'a \"b\"' \\\" \\\\ {some}"),
        Kind::Backticks => format!("run `date` {marker} ```sh\nls `pwd`\n``` {some}"),
        Kind::Substitution => {
            format!("$(touch x) {marker} ${{HOME}} $((1+1)) ~ {some} > /dev/null &")
        }
        Kind::Bang => format!("!! {marker} !ls !$ ^a^b {some}!"),
        Kind::Tabs => format!("\t{marker}\tone\t\ttwo\n\tthree {some}"),
        Kind::Slash => format!("/{} {marker} {some}", words(random, 1)),
        Kind::At => format!("@src/main.rs {marker} look at @README.md {some} @"),
        Kind::Unicode => format!("Größe 日本語 {marker} e\u{301} ﷽ עברית \u{a0} ½ – {some} Ω"),
        Kind::Emoji => format!("🙂 {marker} 👩‍👩‍👧‍👦 🇪🇺 👍🏽 {some} ✅"),
        Kind::Lines => {
            let mut lines = vec![format!("{marker} {some}"), String::new()];
            for at in 0..random.usize(1..20) {
                let count = random.usize(1..14);
                let indent = "  ".repeat(at % 4);
                lines.push(format!("{indent}- {}", words(random, count)));
            }
            lines.join("\n")
        }
        Kind::ManyNewlines => format!("{marker} {some}\n\n{some}\n\n\n\n\n"),
        Kind::LongLine => long(&format!("{marker} "), 5000, " ", random),
        Kind::Large => long(&format!("{marker}\n"), 64 << 10, "\n", random),
        Kind::Huge => long(&format!("{marker}\n"), 1 << 20, "\n", random),
        Kind::PasteEnd => format!("{marker} before\x1b[201~\rtouch x\r{some}"),
        Kind::Control => {
            let bytes = ['\u{1b}', '\u{3}', '\u{4}', '\r', '\u{8}', '\u{7f}', '\u{1}'];
            let byte = bytes[random.usize(..bytes.len())];
            format!("{marker} {some}{byte} more")
        }
    }
}

/// Returns a text of exactly this many bytes.
fn long(begin: &str, bytes: usize, between: &str, random: &mut Rng) -> String {
    let mut text = begin.to_owned();
    while text.len() < bytes {
        let count = random.usize(3..16);
        text.push_str(&words(random, count));
        text.push_str(between);
    }
    text.truncate(bytes - 1);
    text.push('.');
    text
}

/// Returns words of lowercase letters.
fn words(random: &mut Rng, count: usize) -> String {
    let mut text = String::new();
    for at in 0..count {
        if at > 0 {
            text.push(' ');
        }
        for _ in 0..random.usize(2..10) {
            text.push(random.lowercase());
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeSet, HashSet};

    use super::*;

    #[test]
    fn prompts_are_unique_and_known_by_their_number() {
        let mut payloads = Payloads::new(3);
        let mut seen = HashSet::new();
        let mut kinds = BTreeSet::new();
        for number in 0..1500 {
            let payload = payloads.next(number);
            assert!(seen.insert(payload.core()), "{payload:?}");
            kinds.insert(payload.kind);
            if payload.kind != Kind::OneByte {
                assert_eq!(number_in(&payload.text), Some(number));
            }
            let is_refused = matches!(payload.kind, Kind::PasteEnd | Kind::Control);
            assert_eq!(payload.has_control_bytes(), is_refused, "{payload:?}");
        }
        assert_eq!(kinds.len(), 18);
    }

    #[test]
    fn sizes_are_those_that_are_promised() {
        let mut payloads = Payloads::new(3);
        assert_eq!(payloads.next(30).text.len(), 64 << 10);
        assert_eq!(payloads.next(198).text.len(), 1 << 20);
        assert_eq!(payloads.next(7).text.len(), 5000);
        assert_eq!(payloads.next(5).text.len(), 1);
    }

    #[test]
    fn numbers_are_found_whole_or_not_at_all() {
        assert_eq!(number_in("a #c #c12# #c0000012#"), Some(12));
        assert_eq!(number_in("#c000001"), None);
        assert_eq!(number_in("#cé00000#"), None);
        assert_eq!(number_in("#c+000001#"), None);
    }
}
