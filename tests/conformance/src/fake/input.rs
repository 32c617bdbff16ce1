//! The terminal's input, split into keys and pastes.
//!
//! Input may arrive in pieces of any size: an incomplete sequence is held until the rest of it
//! arrives, or until the terminal is silent.

/// The longest control sequence that is held; a longer one is dropped.
const LONGEST_SEQUENCE: usize = 64;

/// The sequence that ends a bracketed paste.
const PASTE_END: &[u8] = b"\x1b[201~";

/// The parameters and the last byte of the sequence that begins one.
const PASTE_BEGIN: &[u8] = b"200~";

/// One piece of input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// Characters that were typed, as many as arrived together.
    Text(Vec<u8>),
    /// The Enter key.
    Enter,
    /// Ctrl-J: a newline in the text.
    Newline,
    /// The backspace key.
    Backspace,
    /// Esc on its own.
    Escape,
    /// Ctrl-C.
    Interrupt,
    /// A key that means nothing here.
    Other,
    /// A bracketed paste begins.
    PasteBegin,
    /// A part of the pasted text.
    Pasted(Vec<u8>),
    /// A bracketed paste ends.
    PasteEnd,
}

/// Splits the input.
#[derive(Debug, Default)]
pub struct Parser {
    in_paste: bool,
    /// The beginning of a sequence: of a key, or of the end of a paste.
    held: Vec<u8>,
}

impl Parser {
    /// Takes bytes and adds the resulting input to `out`.
    pub fn feed(&mut self, bytes: &[u8], out: &mut Vec<Input>) {
        let mut all = std::mem::take(&mut self.held);
        all.extend_from_slice(bytes);
        let mut rest = all.as_slice();
        while !rest.is_empty() {
            let taken = if self.in_paste {
                self.paste(rest, out)
            } else {
                self.key(rest, out)
            };
            match taken {
                Some(count) => rest = &rest[count..],
                None => {
                    self.held = rest.to_vec();
                    return;
                }
            }
        }
    }

    /// Returns whether something is held that silence would complete.
    #[must_use]
    pub fn is_waiting(&self) -> bool {
        !self.in_paste && !self.held.is_empty()
    }

    /// Tells the parser that the terminal has been silent for a while: a lone ESC was the key.
    pub fn silence(&mut self, out: &mut Vec<Input>) {
        if self.is_waiting() {
            let held = std::mem::take(&mut self.held);
            out.push(if held == b"\x1b" {
                Input::Escape
            } else {
                Input::Other
            });
        }
    }

    /// Forgets everything.
    pub fn reset(&mut self) {
        *self = Self::default();
    }

    /// Takes a part of a paste; `None` if the rest may be the beginning of its end.
    fn paste(&mut self, bytes: &[u8], out: &mut Vec<Input>) -> Option<usize> {
        let mut from = 0;
        while let Some(found) = bytes[from..].iter().position(|&byte| byte == 0x1b) {
            let at = from + found;
            let here = &bytes[at..];
            if here.starts_with(PASTE_END) {
                if at > 0 {
                    out.push(Input::Pasted(bytes[..at].to_vec()));
                }
                out.push(Input::PasteEnd);
                self.in_paste = false;
                return Some(at + PASTE_END.len());
            }
            if PASTE_END.starts_with(here) {
                if at == 0 {
                    return None;
                }
                out.push(Input::Pasted(bytes[..at].to_vec()));
                return Some(at);
            }
            from = at + 1;
        }
        out.push(Input::Pasted(bytes.to_vec()));
        Some(bytes.len())
    }

    /// Takes one key, or a run of characters; `None` if it is incomplete.
    fn key(&mut self, bytes: &[u8], out: &mut Vec<Input>) -> Option<usize> {
        let input = match bytes[0] {
            b'\r' => Input::Enter,
            b'\n' => Input::Newline,
            0x03 => Input::Interrupt,
            0x08 | 0x7f => Input::Backspace,
            0x1b => return self.sequence(bytes, out),
            0..0x20 => Input::Other,
            _ => {
                let control = |byte: &u8| *byte < 0x20 || *byte == 0x7f;
                let end = bytes.iter().position(control).unwrap_or(bytes.len());
                out.push(Input::Text(bytes[..end].to_vec()));
                return Some(end);
            }
        };
        out.push(input);
        Some(1)
    }

    /// Takes a sequence that begins with ESC.
    fn sequence(&mut self, bytes: &[u8], out: &mut Vec<Input>) -> Option<usize> {
        match bytes.get(1)? {
            b'[' => {
                let is_last = |byte: &u8| (0x40..=0x7e).contains(byte);
                let Some(last) = bytes[2..].iter().position(is_last) else {
                    if bytes.len() < LONGEST_SEQUENCE {
                        return None;
                    }
                    out.push(Input::Other);
                    return Some(bytes.len());
                };
                let end = last + 3;
                if &bytes[2..end] == PASTE_BEGIN {
                    self.in_paste = true;
                    out.push(Input::PasteBegin);
                } else {
                    out.push(Input::Other);
                }
                Some(end)
            }
            b'O' => {
                bytes.get(2)?;
                out.push(Input::Other);
                Some(3)
            }
            0x1b => {
                out.push(Input::Escape);
                Some(1)
            }
            // Alt and a key.
            _ => {
                out.push(Input::Other);
                Some(2)
            }
        }
    }
}

/// Turns pasted line ends into newlines.
#[must_use]
pub fn newlines(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    for (at, &byte) in text.iter().enumerate() {
        match byte {
            b'\r' if text.get(at + 1) == Some(&b'\n') => {}
            b'\r' => out.push(b'\n'),
            _ => out.push(byte),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Parses pieces and joins neighbours of the same kind, because where they were cut means
    /// nothing.
    fn parse(pieces: &[&[u8]]) -> Vec<Input> {
        let mut parser = Parser::default();
        let mut out = Vec::new();
        for piece in pieces {
            parser.feed(piece, &mut out);
        }
        parser.silence(&mut out);
        let mut joined: Vec<Input> = Vec::new();
        for input in out {
            match (joined.last_mut(), input) {
                (Some(Input::Text(before)), Input::Text(more))
                | (Some(Input::Pasted(before)), Input::Pasted(more)) => before.extend(more),
                (_, input) => joined.push(input),
            }
        }
        joined
    }

    fn text(text: &str) -> Input {
        Input::Text(text.into())
    }

    #[test]
    fn keys_are_told_apart() {
        assert_eq!(
            parse(&[b"hi\r\n\x03\x7f\t\x1b[A\x1bOP\x1bx\x1b"]),
            [
                text("hi"),
                Input::Enter,
                Input::Newline,
                Input::Interrupt,
                Input::Backspace,
                Input::Other,
                Input::Other,
                Input::Other,
                Input::Other,
                Input::Escape,
            ]
        );
    }

    #[test]
    fn a_paste_is_one_wherever_it_is_cut() {
        let whole = b"a\x1b[200~one\r\ntwo \x1b[31m \x1b\x1b[201 \x1b[201~\rb";
        let expected = [
            text("a"),
            Input::PasteBegin,
            Input::Pasted(b"one\r\ntwo \x1b[31m \x1b\x1b[201 ".to_vec()),
            Input::PasteEnd,
            Input::Enter,
            text("b"),
        ];
        for cut in 0..=whole.len() {
            let (before, after) = whole.split_at(cut);
            assert_eq!(parse(&[before, after]), expected, "cut at {cut}");
        }
        let bytes: Vec<&[u8]> = whole.chunks(1).collect();
        assert_eq!(parse(&bytes), expected);
    }

    #[test]
    fn what_breaks_out_of_a_paste_is_keys() {
        assert_eq!(
            parse(&[b"\x1b[200~a\x1b[201~rm\r\x1b[201~"]),
            [
                Input::PasteBegin,
                Input::Pasted(b"a".to_vec()),
                Input::PasteEnd,
                text("rm"),
                Input::Enter,
                Input::Other,
            ]
        );
    }

    #[test]
    fn a_sequence_without_end_is_dropped() {
        let mut parser = Parser::default();
        let mut out = Vec::new();
        parser.feed(b"\x1b[", &mut out);
        for _ in 0..1000 {
            parser.feed(b"1", &mut out);
        }
        assert!(parser.held.len() <= LONGEST_SEQUENCE);
        assert!(out.contains(&Input::Other));
    }

    #[test]
    fn random_bytes_do_no_harm() {
        let mut random = fastrand::Rng::with_seed(7);
        for _ in 0..2000 {
            let bytes: Vec<u8> = (0..random.usize(0..60))
                .map(|_| match random.u8(0..4) {
                    0 => 0x1b,
                    1 => *random.choice(b"[201~O\r\n").unwrap_or(&0),
                    _ => random.u8(..),
                })
                .collect();
            let cut = random.usize(0..=bytes.len());
            let (before, after) = bytes.split_at(cut);
            assert_eq!(
                parse(&[&bytes]),
                parse(&[before, after]),
                "{bytes:?} at {cut}"
            );
        }
    }

    #[test]
    fn line_ends_become_newlines() {
        assert_eq!(newlines(b"a\r\nb\rc\n\r"), b"a\nb\nc\n\n");
    }
}
