//! The agent's turns, and the dialogs in them.

use std::io;
use std::time::Instant;

use super::input::Input;
use super::options::Moment;
use super::{Agent, Dialog, Ended, Paste, QUIT_WITHIN, Turn, answer, ms, rewritten, screen};
use crate::journal::{Event, What};

impl Agent {
    /// A dialog takes everything that is typed, but a paste that began before the dialog still goes
    /// where it was going.
    pub(super) fn take_in_dialog(&mut self, input: &Input) -> io::Result<()> {
        let (bytes, note): (&[u8], &str) = match input {
            Input::Pasted(bytes) => match self.paste {
                Paste::Composer(_) => {
                    self.pasted(bytes);
                    return Ok(());
                }
                _ => (bytes, "pasted"),
            },
            Input::PasteEnd => {
                if matches!(self.paste, Paste::Composer(_)) {
                    return self.paste_end();
                }
                self.paste = Paste::None;
                return Ok(());
            }
            Input::PasteBegin => {
                self.paste = Paste::Dialog;
                (b"", "paste")
            }
            Input::Text(bytes) => (bytes, "text"),
            Input::Enter => (b"\r", "enter"),
            Input::Newline => (b"\n", "newline"),
            Input::Backspace => (b"", "backspace"),
            Input::Escape => (b"\x1b", "escape"),
            Input::Interrupt => (b"\x03", "interrupt"),
            Input::Other => (b"", "key"),
        };
        let serial = self.dialog.as_ref().map_or(0, |dialog| dialog.serial);
        let event = Event::now(What::DialogKey)
            .with_text(bytes)
            .with_serial(serial)
            .with_note(note);
        self.journal.write(&event)
    }

    /// Begins a turn with a prompt, which was `given` with its sign.
    pub(super) fn begin(&mut self, prompt: Vec<u8>, given: &[u8]) -> io::Result<()> {
        let given = String::from_utf8_lossy(given);
        let text = match self.options.rewrite {
            true => rewritten(&given),
            false => given.into_owned(),
        };
        let head: String = text.chars().take(300).collect();
        for (at, line) in screen::wrap(&head, 90).iter().take(4).enumerate() {
            let mark = if at == 0 { "❯" } else { " " };
            self.say(format!("{mark} {line}"));
        }
        self.say(String::new());
        self.transcript.began(&text)?;
        let now = Instant::now();
        self.turn = Some(Turn {
            prompt,
            about: self.options.rewrite.then_some(text),
            began: now,
            left: ms(self.options.turn),
            since: now,
            is_half_over: false,
        });
        self.tick = Some(now);
        self.needs_drawing = true;
        Ok(())
    }

    pub(super) fn end_turn(&mut self, turn: &Turn) -> io::Result<()> {
        match answer(&self.options, &turn.prompt) {
            Ok(mut answer) => {
                if let Some(about) = &turn.about {
                    answer = format!("{answer}\n\nThat was about: {about}");
                }
                self.transcript.done(&answer)?;
                for (at, line) in answer.lines().enumerate() {
                    let mark = if at == 0 { "●" } else { " " };
                    self.say(format!("{mark} {line}"));
                }
                self.say(String::new());
                let seconds = turn.began.elapsed().as_secs();
                self.say(format!("✔ Worked for {seconds}s"));
            }
            Err((line, is_limit)) => {
                self.transcript.failed(&line, is_limit)?;
                self.say(format!("■ {line}"));
            }
        }
        self.say(String::new());
        self.journal
            .write(&Event::now(What::End).with_text(&turn.prompt))?;
        self.turn_is_over()
    }

    pub(super) fn turn_is_over(&mut self) -> io::Result<()> {
        self.swallow = self.options.swallow_enter;
        self.turns += 1;
        self.tick = None;
        self.needs_drawing = true;
        if let Some(prompt) = self.queue.pop_front() {
            let (prompt, given) = prompt;
            return self.begin(prompt, &given);
        }
        if self.options.restart_after > 0 && self.turns >= self.options.restart_after {
            self.ended = Some(Ended::Restart);
            return Ok(());
        }
        self.dialog_at(Moment::AfterTurn)
    }

    pub(super) fn interrupt(&mut self) -> io::Result<()> {
        if self
            .interrupted
            .is_some_and(|before| before.elapsed() < QUIT_WITHIN)
        {
            self.journal.write(&Event::now(What::Quit))?;
            self.ended = Some(Ended::Gone);
        } else {
            self.interrupted = Some(Instant::now());
            self.draft.clear();
        }
        Ok(())
    }

    /// Opens a dialog if this is its moment.
    pub(super) fn dialog_at(&mut self, moment: Moment) -> io::Result<()> {
        if self.dialog.is_some() || self.ended.is_some() || !self.options.dialog.comes(moment) {
            return Ok(());
        }
        self.dialogs += 1;
        let now = Instant::now();
        self.dialog = Some(Dialog {
            serial: self.dialogs,
            until: (self.options.dialog_for > 0).then(|| now + ms(self.options.dialog_for)),
        });
        if let Some(turn) = &mut self.turn {
            turn.left = turn.left.saturating_sub(now - turn.since);
        }
        self.needs_drawing = true;
        let event = Event::now(What::Dialog).with_serial(self.dialogs);
        self.journal.write(&event)
    }

    pub(super) fn pass_turn(&mut self, now: Instant) -> io::Result<()> {
        let Some(turn) = &mut self.turn else {
            return Ok(());
        };
        let left = turn.left.saturating_sub(now - turn.since);
        if !turn.is_half_over && left <= ms(self.options.turn / 2) {
            turn.is_half_over = true;
            if self.dies(Moment::MidTurn)? {
                return Ok(());
            }
            self.dialog_at(Moment::MidTurn)?;
            if self.dialog.is_some() {
                return Ok(());
            }
        }
        if left.is_zero()
            && let Some(turn) = self.turn.take()
        {
            self.end_turn(&turn)?;
        }
        Ok(())
    }
}
