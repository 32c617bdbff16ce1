//! A person at the agent, who types and goes away again.

use std::io;
use std::time::Instant;

use super::{Agent, Paste, Person, Piece, ms};
use crate::journal::{Event, What};

impl Agent {
    pub(super) fn pass_person(&mut self, now: Instant) -> io::Result<()> {
        match self.person {
            Person::Types(at) if at <= now => {
                // The person begins in an empty composer, and reads what the agent says first.
                let is_quiet = self.draft.is_empty()
                    && self.turn.is_none()
                    && self.dialog.is_none()
                    && matches!(self.paste, Paste::None);
                if is_quiet {
                    self.person_types(false)?;
                } else {
                    self.person = Person::Types(now + ms(20));
                }
            }
            Person::Clears(at) if at <= now => {
                self.draft.clear();
                self.pastes = 0;
                self.journal
                    .write(&Event::now(What::Draft).with_note("cleared"))?;
                self.needs_drawing = true;
                self.person = self.person_rests(now);
            }
            _ => {}
        }
        Ok(())
    }

    /// Returns what the person does once the draft is gone.
    pub(super) fn person_rests(&self, now: Instant) -> Person {
        if self.options.draft_every > 0 && self.options.draft_on_paste.is_none() {
            Person::Types(now + ms(self.options.draft_every))
        } else {
            Person::Rests
        }
    }

    /// Puts the person's draft into the composer.
    pub(super) fn person_types(&mut self, at_front: bool) -> io::Result<()> {
        let text = self.options.draft.clone().unwrap_or_default();
        let event = Event::now(What::Draft)
            .with_text(text.as_bytes())
            .with_note("typed");
        self.journal.write(&event)?;
        if at_front {
            self.draft.insert(0, Piece::Typed(text.into_bytes()));
        } else {
            self.add(text.as_bytes());
        }
        self.person = if self.options.draft_for > 0 {
            Person::Clears(Instant::now() + ms(self.options.draft_for))
        } else {
            Person::Rests
        };
        self.needs_drawing = true;
        Ok(())
    }
}
