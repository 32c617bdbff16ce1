//! What is typed and pasted into the agent, until it is submitted.

use std::io;
use std::time::Instant;

use super::options::Moment;
use super::{
    Agent, LONGEST_DRAFT, Paste, Person, Piece, SHOWN_LINES, garbled, input, line_count, ms,
    unsigned,
};
use crate::journal::{Event, What};

impl Agent {
    pub(super) fn pasted(&mut self, bytes: &[u8]) {
        if let Paste::Composer(text) = &mut self.paste
            && text.len() + bytes.len() <= LONGEST_DRAFT
        {
            text.extend_from_slice(bytes);
        }
    }

    pub(super) fn paste_end(&mut self) -> io::Result<()> {
        let Paste::Composer(text) = std::mem::replace(&mut self.paste, Paste::None) else {
            return Ok(());
        };
        let text = input::newlines(&text);
        self.journal
            .write(&Event::now(What::Paste).with_text(&text))?;
        self.pastes += 1;
        let piece = Piece::Pasted {
            text,
            number: self.pastes,
        };
        self.draft.push(piece);
        self.typed = Some(Instant::now());
        self.needs_drawing = true;
        let chance = self.options.draft_on_paste.unwrap_or(0.0);
        if fastrand::f64() < chance {
            self.person_types(fastrand::bool())?;
        }
        self.dialog_at(Moment::AfterPaste)
    }

    /// Adds typed characters to the draft.
    pub(super) fn add(&mut self, bytes: &[u8]) {
        if self.draft_len() + bytes.len() > LONGEST_DRAFT {
            return;
        }
        if let Some(Piece::Typed(text)) = self.draft.last_mut() {
            text.extend_from_slice(bytes);
        } else {
            self.draft.push(Piece::Typed(bytes.to_vec()));
        }
    }

    pub(super) fn backspace(&mut self) {
        self.is_choosing = false;
        match self.draft.last_mut() {
            Some(Piece::Typed(text)) => {
                // The rest of a character is removed with its first byte.
                while let Some(byte) = text.pop() {
                    if byte & 0xc0 != 0x80 {
                        break;
                    }
                }
                if text.is_empty() {
                    self.draft.pop();
                }
            }
            Some(Piece::Pasted { .. }) => {
                self.draft.pop();
            }
            None => {}
        }
    }

    pub(super) fn enter(&mut self) -> io::Result<()> {
        let burst = ms(self.options.burst);
        let note = if self.is_choosing {
            self.is_choosing = false;
            "chosen"
        } else if self.typed.is_some_and(|typed| typed.elapsed() < burst) {
            self.add(b"\n");
            "newline"
        } else if self.swallow > 0 {
            self.swallow -= 1;
            "swallowed"
        } else if self.draft_text().iter().all(u8::is_ascii_whitespace) {
            "empty"
        } else {
            return self.submit();
        };
        self.journal.write(&Event::now(What::Enter).with_note(note))
    }

    pub(super) fn submit(&mut self) -> io::Result<()> {
        let given = garbled(self.draft_text(), self.options.garble);
        let text = match self.options.rewrite {
            true => unsigned(&given).to_vec(),
            false => given.clone(),
        };
        self.draft.clear();
        self.pastes = 0;
        if matches!(self.person, Person::Clears(_)) {
            // The draft that was to be removed has gone with it.
            self.person = self.person_rests(Instant::now());
        }
        let event = Event::now(What::Submit).with_text(&text);
        self.journal.write(&event)?;
        if fastrand::f64() < self.options.twice {
            self.journal.write(&event)?;
        }
        if self.dies(Moment::OnSubmit)? {
            return Ok(());
        }
        if self.turn.is_some() {
            self.queue.push_back((text, given));
            return Ok(());
        }
        self.begin(text, &given)?;
        self.dialog_at(Moment::OnSubmit)
    }

    pub(super) fn draft_len(&self) -> usize {
        let len = |piece: &Piece| match piece {
            Piece::Typed(text) | Piece::Pasted { text, .. } => text.len(),
        };
        self.draft.iter().map(len).sum()
    }

    pub(super) fn draft_text(&self) -> Vec<u8> {
        let mut all = Vec::with_capacity(self.draft_len());
        for piece in &self.draft {
            match piece {
                Piece::Typed(text) | Piece::Pasted { text, .. } => all.extend_from_slice(text),
            }
        }
        all
    }

    /// Returns the draft as shown.
    pub(super) fn draft_shown(&self) -> String {
        let mut shown = String::new();
        for piece in &self.draft {
            match piece {
                Piece::Pasted { text, number } if self.is_summed_up(text) => {
                    let lines = line_count(text);
                    shown.push_str(&format!("[Pasted text #{number} +{lines} lines]"));
                }
                Piece::Typed(text) | Piece::Pasted { text, .. } => {
                    shown.push_str(&String::from_utf8_lossy(text));
                }
            }
        }
        shown
    }

    /// Returns whether a paste is shown by its size alone; other text beside it is still shown.
    pub(super) fn is_summed_up(&self, text: &[u8]) -> bool {
        let longest = self.options.collapse;
        longest > 0 && (text.len() > longest || line_count(text) > SHOWN_LINES)
    }
}
