//! An agent without a screen of its own: it prints `> ` and reads a line from the terminal.
//!
//! The terminal drops whatever exceeds its longest line, and passes on each line of a paste as a
//! separate line.

use std::io::{self, Read as _, Write as _};
use std::thread;
use std::time::Duration;

use super::options::{Moment, Options};
use super::{answer, garbled};
use crate::journal::{Event, Journal, What};

/// Reads prompts until the terminal is gone.
pub(super) fn run(options: &Options, journal: &mut Journal) -> io::Result<()> {
    journal.write(&Event::now(What::Start))?;
    thread::sleep(Duration::from_millis(options.start_delay));
    let mut stdin = io::stdin().lock();
    let mut stdout = io::stdout().lock();
    let mut held = Vec::new();
    let mut buffer = vec![0; 16 * 1024];
    stdout.write_all(b"> ")?;
    stdout.flush()?;
    loop {
        let count = match stdin.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            other => other?,
        };
        held.extend_from_slice(&buffer[..count]);
        while let Some(end) = held.iter().position(|&byte| byte == b'\n') {
            let mut line: Vec<u8> = held.drain(..=end).collect();
            line.pop();
            if line.iter().all(u8::is_ascii_whitespace) {
                journal.write(&Event::now(What::Enter).with_note("empty"))?;
            } else {
                let prompt = garbled(line, options.garble);
                let submit = Event::now(What::Submit).with_text(&prompt);
                journal.write(&submit)?;
                if fastrand::f64() < options.twice {
                    journal.write(&submit)?;
                }
                let dies =
                    |moment| options.die == Some(moment) && fastrand::f64() < options.die_chance;
                if dies(Moment::OnSubmit) {
                    return journal.write(&Event::now(What::Died).with_note("on-submit"));
                }
                thread::sleep(Duration::from_millis(options.turn / 2));
                if dies(Moment::MidTurn) {
                    return journal.write(&Event::now(What::Died).with_note("mid-turn"));
                }
                thread::sleep(Duration::from_millis(options.turn - options.turn / 2));
                let text = answer(options, &prompt).unwrap_or_else(|failure| failure.0);
                journal.write(&Event::now(What::End).with_text(&prompt))?;
                stdout.write_all(format!("{text}\n").as_bytes())?;
            }
            stdout.write_all(b"> ")?;
            stdout.flush()?;
        }
    }
}
