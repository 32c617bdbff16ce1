//! The agent without a terminal: a program that reads one prompt from standard input, prints JSON, and
//! exits.

use std::io::{self, Read as _, Write as _};
use std::thread;
use std::time::Duration;

use rustix::process::{Signal, getpid, kill_process};
use serde_json::json;

use super::options::{Failure, Options};
use super::{answer, garbled};
use crate::journal::{Event, Journal, What};

/// Longer than anybody waits.
const FOREVER: Duration = Duration::from_secs(24 * 60 * 60);

/// Answers one prompt, or fails as the options say.
pub(super) fn run(options: &Options, journal: &mut Journal) -> io::Result<()> {
    let failure = options.failure();
    if failure == Some(Failure::DiesBefore) {
        journal.write(&Event::now(What::Died).with_note("before"))?;
        return die();
    }
    let mut prompt = Vec::new();
    io::stdin().read_to_end(&mut prompt)?;
    let prompt = garbled(prompt, options.garble);
    let submit = Event::now(What::Submit).with_text(&prompt);
    journal.write(&submit)?;
    if fastrand::f64() < options.twice {
        journal.write(&submit)?;
    }
    thread::sleep(Duration::from_millis(options.turn));
    let failed = |journal: &mut Journal, how: &str| {
        journal.write(&Event::now(What::Failed).with_text(&prompt).with_note(how))
    };
    let error = match failure {
        Some(Failure::DiesAfter) => {
            failed(journal, "died")?;
            return die();
        }
        Some(Failure::Hangs) => {
            failed(journal, "hangs")?;
            thread::sleep(FOREVER);
            return Ok(());
        }
        Some(Failure::Error | Failure::QuietError) => Some("the model said nothing".to_owned()),
        _ => None,
    };
    let usage = json!({"input": prompt.len(), "output": 1});
    let conversation = format!("fake-{}", std::process::id());
    let result = match error {
        Some(error) => Err(error),
        None => answer(options, &prompt).map_err(|(error, _)| error),
    };
    // The journal comes first: who reads the output may look at it at once.
    match result {
        Ok(text) => {
            let answer = json!({"response": text, "conversation": conversation, "usage": usage});
            let answer = answer.to_string();
            let printed = match failure {
                Some(Failure::Rubbish) => "<html>502 Bad Gateway</html>\n",
                Some(Failure::Half) => &answer[..answer.len() / 2],
                Some(Failure::Nothing) => "",
                _ => &answer,
            };
            journal.write(&Event::now(What::End).with_text(&prompt))?;
            io::stdout().write_all(printed.as_bytes())
        }
        Err(error) => {
            failed(journal, "error")?;
            let printed = json!({"error": error, "conversation": conversation});
            io::stdout().write_all(printed.to_string().as_bytes())?;
            if failure == Some(Failure::QuietError) {
                return Ok(());
            }
            Err(io::Error::other(error))
        }
    }
}

/// Ends this process as a crash does.
fn die() -> io::Result<()> {
    kill_process(getpid(), Signal::KILL)?;
    Ok(())
}
