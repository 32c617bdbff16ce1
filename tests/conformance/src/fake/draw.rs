//! What the agent shows: its screen and its title.

use std::io;

use super::screen::{Below, View};
use super::{Agent, LINES, SPINNER, screen, write};
use rustix::termios::tcgetwinsize;

impl Agent {
    pub(super) fn say(&mut self, line: String) {
        self.lines.push_back(line);
        while self.lines.len() > LINES {
            self.lines.pop_front();
        }
    }

    pub(super) fn draw(&mut self) -> io::Result<()> {
        let size = tcgetwinsize(io::stdout())?;
        let status = match (&self.turn, &self.dialog) {
            (Some(turn), None) => {
                let mark = ['✻', '✽', '✶', '✢'][(self.frames % 4) as usize];
                let seconds = turn.began.elapsed().as_secs();
                Some(format!("{mark} Working… ({seconds}s · esc to interrupt)"))
            }
            _ => None,
        };
        let draft = self.draft_shown();
        let below = if self.options.onboarding {
            Below::Welcome
        } else if self.dialog.is_some() {
            Below::Dialog
        } else {
            Below::Composer {
                draft: &draft,
                no_break: self.options.no_break,
            }
        };
        let left = 100 - (self.turns + self.frames / 8) % 100;
        let footer = if self.interrupted.is_some() {
            "Press Ctrl-C again to exit".to_owned()
        } else {
            format!("? for shortcuts · {left}% context left")
        };
        let view = View {
            lines: &self.lines,
            status: status.as_deref(),
            below,
            footer: &footer,
            is_fresh: self.is_fresh,
        };
        let drawn = screen::draw(&view, size.ws_col.into(), size.ws_row.into());
        self.needs_drawing = false;
        self.is_fresh = false;
        write(&drawn)?;
        if self.options.title {
            let title = if self.dialog.is_some() {
                "Action Required · fake".to_owned()
            } else if self.turn.is_some() {
                let frame = (self.frames % SPINNER.len() as u64) as usize;
                format!("{} fake", SPINNER[frame])
            } else {
                "fake".to_owned()
            };
            self.set_title(title)?;
        }
        Ok(())
    }

    pub(super) fn set_title(&mut self, title: String) -> io::Result<()> {
        if title != self.title {
            write(format!("\x1b]2;{title}\x07").as_bytes())?;
            self.title = title;
        }
        Ok(())
    }
}
