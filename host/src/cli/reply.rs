//! `assigner reply`: answers an agent that waits for a person.

use std::io::Read;
use std::thread;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::json;

use super::exit::{CommandFailure, Exit};
use super::{Context, send, ui, wait};
use crate::agents::payload;
use crate::daemon::Lock;
use crate::model::ids::TaskId;
use crate::model::task::{MAX_CONTENT, Status, Task};
use crate::options::Wishes;
use crate::store::{Answer, REPLY_DROPPED, Secrets, Store};

/// Answers the agent of a task that is `waiting_input`: words go into its composer or dialog, keys
/// are pressed in it.
///
/// A task that was sent with --headless and has completed has no open agent: the words are queued as a
/// new task that continues its conversation.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The task's number
    id: TaskId,
    /// The answer; `-` reads it from standard input
    #[arg(required_unless_present = "keys", conflicts_with = "keys")]
    text: Option<String>,
    /// A key to press instead, as tmux names it: `Enter`, `Down`, `y`; may be repeated
    #[arg(long = "key", value_name = "KEY", value_parser = key)]
    keys: Vec<String>,
    /// Waits until the task continues or is settled; exits with 1 if the answer could not be
    /// delivered, or the task did not complete
    #[arg(long)]
    wait: bool,
}

/// Checking the database's version costs microseconds.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// More keys than this are not an answer.
const MOST_KEYS: usize = 50;

pub(super) fn run(context: &Context, args: &Args) -> Result<Exit, CommandFailure> {
    let answer = match &args.text {
        Some(text) => Answer::Words(words(text)?),
        None if args.keys.len() > MOST_KEYS => {
            return Err(CommandFailure::usage(format!(
                "these are more than {MOST_KEYS} keys"
            )));
        }
        None => Answer::Keys(args.keys.clone()),
    };
    let mut store = context.store()?;
    let task = store.task(args.id)?;
    if task.metadata.headless.is_some() {
        return follow_up(context, args, &mut store, &task, &answer);
    }
    let before = store.history(args.id)?.len();
    store.reply(args.id, &answer, Timestamp::now())?;
    context.spool()?.nudge();
    if Lock::holder(&context.config.data_dir).is_none() {
        ui::warn("no daemon is running: the answer is given once one is, see `assigner run`");
    }
    let mut exit = Exit::Done;
    let mut status = Status::WaitingInput;
    if args.wait {
        let task = outcome(&mut store, args.id, before)?;
        status = task.status;
        if status.is_settled() && status != Status::Completed {
            exit = Exit::Failed;
        }
    }
    let ui = context.ui;
    if ui.json {
        let (text, keys) = match &answer {
            Answer::Words(text) => (text.clone(), false),
            Answer::Keys(names) => (names.join(" "), true),
            Answer::Accept => (String::new(), false),
        };
        ui.json(&json!({"id": args.id, "reply": text, "keys": keys, "status": status}))?;
    } else if args.wait {
        ui.line(&format!("task {} {}", args.id, ui::status(status)))?;
    } else {
        ui.line(&format!("task {} is answered", args.id))?;
    }
    Ok(exit)
}

/// Queues the words as a task that continues the conversation of a headless one. It takes over
/// everything that was asked for, except prerequisites and the start time.
fn follow_up(
    context: &Context,
    args: &Args,
    store: &mut Store,
    task: &Task,
    answer: &Answer,
) -> Result<Exit, CommandFailure> {
    let id = task.id;
    let Answer::Words(text) = answer else {
        return Err(CommandFailure::usage(format!(
            "task {id} has no terminal for keys: its agent was asked without one"
        )));
    };
    if task.status != Status::Completed {
        return Err(CommandFailure::new(
            Exit::Failed,
            format!(
                "task {id} is {}: a headless task can be answered only after it has completed",
                task.status
            ),
        ));
    }
    let attempts = store.attempts(id)?;
    let turn = attempts.last().and_then(|attempt| attempt.turn.as_ref());
    if turn.is_none_or(|turn| turn.conversation.is_none()) {
        return Err(CommandFailure::new(
            Exit::Failed,
            format!("the agent of task {id} named no conversation that could be continued"),
        ));
    }
    let secret_env = task.metadata.secret_env.clone();
    let mut next = task.as_new();
    next.not_before = None;
    next.secrets = None;
    next.metadata.prerequisites.clear();
    // A prerequisite may have changed it.
    let directory = turn.and_then(|turn| turn.directory.clone());
    next.metadata.working_dir = directory.or(next.metadata.working_dir);
    let mut wishes = Wishes::default();
    wishes.say("after", json!([id]))?;
    // Their values are taken from the environment again.
    wishes.say("secret-env", secret_env.into())?;
    let secrets = Secrets::of(&context.config.data_dir);
    wishes.apply(Some(text), &mut next, &context.sender(&secrets))?;
    let mut queued = send::queue(context, std::slice::from_ref(&next))?;
    let Some((next, status)) = queued.pop() else {
        return Ok(Exit::Failed);
    };
    if args.wait {
        return wait::run(context, &wait::Args::for_task(next));
    }
    let ui = context.ui;
    if ui.json {
        ui.json(&json!({
            "id": next, "reply": text, "keys": false, "status": status, "after": id,
        }))?;
    } else {
        ui.line(&format!(
            "task {next} queued: it continues the conversation of task {id}"
        ))?;
    }
    Ok(Exit::Done)
}

/// Returns the words of an answer, if they can be typed.
fn words(given: &str) -> Result<String, CommandFailure> {
    let text = if given == "-" {
        read_standard_input()?
    } else {
        given.to_owned()
    };
    if text.trim().is_empty() {
        return Err(CommandFailure::usage(
            "the answer is empty: say something, or press a key with `--key Enter`",
        ));
    }
    if text.len() > MAX_CONTENT {
        return Err(CommandFailure::usage(format!(
            "the answer has more than {MAX_CONTENT} bytes: put it into a file and refer to the file"
        )));
    }
    payload::check(&text).map_err(|unfit| {
        CommandFailure::usage(unfit.to_string().replacen("the prompt", "the answer", 1))
    })?;
    Ok(text)
}

fn read_standard_input() -> Result<String, CommandFailure> {
    let mut bytes = Vec::new();
    // Reading one byte more than allowed shows that there is too much.
    std::io::stdin()
        .lock()
        .take(MAX_CONTENT as u64 + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| {
            CommandFailure::new(Exit::Failed, format!("cannot read standard input: {error}"))
        })?;
    if bytes.len() > MAX_CONTENT {
        // The cut may be in the middle of a character.
        return Ok(String::from_utf8_lossy(&bytes).into_owned());
    }
    String::from_utf8(bytes)
        .map_err(|_| CommandFailure::usage("standard input is not UTF-8: convert it first"))
}

/// Reads the name of a key. tmux types a name that it does not know letter by letter.
fn key(text: &str) -> Result<String, String> {
    const NAMES: &[&str] = &[
        "Enter", "Escape", "Tab", "BTab", "Space", "BSpace", "Up", "Down", "Left", "Right", "Home",
        "End", "PageUp", "PgUp", "PPage", "PageDown", "PgDn", "NPage", "IC", "Insert", "DC",
        "Delete",
    ];
    let mut name = text;
    for modifier in ["C-", "M-", "S-"] {
        name = name.strip_prefix(modifier).unwrap_or(name);
    }
    let is_sign = name.len() == 1 && name.bytes().all(|byte| byte.is_ascii_alphanumeric());
    let is_function = name
        .strip_prefix('F')
        .and_then(|number| number.parse().ok())
        .is_some_and(|number: u8| (1..=12).contains(&number));
    let is_named = NAMES.iter().any(|known| known.eq_ignore_ascii_case(name));
    if is_sign || is_function || is_named {
        Ok(text.to_owned())
    } else {
        Err(
            "it may be a letter, a digit, Enter, Escape, Tab, Space, Up, Down, Left, Right, or \
             another key name of tmux, with C- or M- before it"
                .to_owned(),
        )
    }
}

/// Waits until the outcome of an answer is known. `before` is how many rows the task's history had
/// before the answer.
fn outcome(store: &mut Store, id: TaskId, before: usize) -> Result<Task, CommandFailure> {
    let mut seen = None;
    loop {
        let version = store.data_version()?;
        if seen == Some(version) {
            thread::sleep(LOOK_EVERY);
            continue;
        }
        seen = Some(version);
        let task = store.task(id)?;
        let rows = store.history(id)?;
        let mut news = rows.iter().skip(before);
        let not_given = news.clone().find(|row| row.action == REPLY_DROPPED);
        if not_given.is_none()
            && (task.status != Status::WaitingInput || news.any(|row| row.action == "resumed"))
        {
            return Ok(task);
        }
        if let Some(row) = not_given {
            return Err(CommandFailure::new(
                Exit::Failed,
                format!("the answer was {}", row.details),
            ));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_those_that_tmux_knows() {
        for right in [
            "Enter", "enter", "C-c", "M-Enter", "S-Tab", "y", "1", "F12", "C-M-x",
        ] {
            assert_eq!(key(right).as_deref(), Ok(right));
        }
        for wrong in [
            "", "C-", "Entr", "yes", "F13", "F0", "é", ";", "-", "Enter;", "C-é", "F+1x",
        ] {
            assert!(key(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn an_answer_is_text() {
        assert_eq!(words("yes, go on").expect("an answer"), "yes, go on");
        for wrong in [
            "",
            " \n",
            "a\u{1b}[201~b",
            "\u{3}",
            &"x".repeat(MAX_CONTENT + 1),
        ] {
            let failure = words(wrong).expect_err("no answer");
            assert_eq!(failure.exit, Exit::Usage);
            assert!(
                failure.message.contains("the answer"),
                "{}",
                failure.message
            );
        }
    }
}
