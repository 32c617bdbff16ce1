//! One short-lived `tmux` process per request: for servers that are not spoken to directly.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;
use tokio::time::timeout;

use super::Error;
use super::command::Program;
use super::parse::{self, MAX_ANSWER, TmuxReply};
use super::script::Script;

/// How long an answer may take: a process has to start, perhaps on a busy machine.
const LIMIT: Duration = Duration::from_secs(5);

/// Sends a request and returns the reply.
pub(super) async fn ask(program: &Program, script: &Script) -> TmuxReply {
    // Text of any length, and the same as in the other way, so the two cannot drift apart.
    exchange(
        program,
        program.command().args(["source-file", "-"]),
        script,
    )
    .await
}

/// Sends a request to a server that is started for it if none runs.
pub(super) async fn begin(program: &Program, script: &Script) -> TmuxReply {
    let mut command = program.starting();
    let command = command.args(["start-server", ";", "source-file", "-"]);
    exchange(program, command, script).await
}

async fn exchange(program: &Program, command: &mut Command, script: &Script) -> TmuxReply {
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(error) => return TmuxReply::unsent(Error::run(program.path(), error)),
    };
    let (Some(mut input), Some(output), Some(errors)) =
        (child.stdin.take(), child.stdout.take(), child.stderr.take())
    else {
        return TmuxReply::unsent(Error::Closed);
    };
    let (mut printed, mut complaints) = (Vec::new(), Vec::new());
    let exchange = async {
        let text = script.finish();
        let write = async {
            // A tmux that finds no server reads nothing: its output says so.
            let _ = input.write_all(text.as_bytes()).await;
            drop(input);
            Ok(0)
        };
        let mut output = output.take(MAX_ANSWER as u64);
        let mut errors = errors.take(64 << 10);
        tokio::try_join!(
            write,
            output.read_to_end(&mut printed),
            errors.read_to_end(&mut complaints)
        )?;
        child.wait().await
    };
    let ended = match timeout(LIMIT, exchange).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(_)) => Err(Error::Closed),
        Err(_) => Err(Error::TimedOut(LIMIT)),
    };
    let complaints = String::from_utf8_lossy(&complaints);
    if printed.is_empty()
        && let Some(failure) = unreachable(&complaints)
    {
        return TmuxReply::unsent(failure);
    }
    let (records, complete) = parse::records(&printed, script.nonce());
    let mut reply = TmuxReply {
        records,
        sent: true,
        ..TmuxReply::default()
    };
    complaints.lines().for_each(|line| reply.add_error(line));
    reply.failure = match ended {
        _ if complete => None,
        Err(failure) => Some(failure),
        Ok(()) if reply.errors.is_empty() => Some(Error::Closed),
        Ok(()) => Some(Error::Tmux(reply.errors.clone())),
    };
    reply
}

/// Returns why tmux could not reach a server, if that is what it says.
fn unreachable(complaints: &str) -> Option<Error> {
    let line = complaints.lines().next()?;
    if line.starts_with("no server running on ") {
        return Some(Error::NoServer);
    }
    // tmux prints the system's message in English whatever the locale: it sets only LC_CTYPE.
    line.starts_with("error connecting to ").then(|| {
        if line.ends_with("(No such file or directory)") {
            Error::NoServer
        } else {
            Error::Tmux(parse::plain(line))
        }
    })
}
