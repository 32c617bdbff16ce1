//! A request without a process: a client of our own, which is attached to nothing and seen by
//! nobody.

use std::fs::File;
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::AsFd;
use std::path::Path;
use std::time::Duration;

use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use tokio::io::Interest;
use tokio::net::UnixStream;
use tokio::time::timeout;

use super::Error;
use super::parse::{self, TmuxReply};
use super::script::Script;
use super::wire::{Exchange, opening};

/// How long an answer may take. A healthy server takes milliseconds, even for a thousand panes.
const LIMIT: Duration = Duration::from_secs(2);

/// The versions of a server that it was tried with. The protocol is tmux's own and changes between
/// versions, and a server ends where it is not kept to.
const TRIED: [&str; 1] = ["3.3a"];

/// Whether a server of this version, as `#{version}` names it, can be asked in this way.
pub(super) fn speaks_with(version: &str) -> bool {
    TRIED.contains(&version)
}

/// Sends a request to the server at `socket` and returns the reply.
pub(super) async fn ask(socket: &Path, script: &Script) -> TmuxReply {
    let text = script.finish();
    let mut exchange = Exchange::new(std::process::id(), text.as_bytes());
    let outcome = timeout(LIMIT, converse(socket, &mut exchange)).await;
    let (records, complete) = parse::records(&exchange.printed, script.nonce());
    let mut reply = TmuxReply {
        records,
        sent: exchange.has_begun,
        ..TmuxReply::default()
    };
    let complaints = String::from_utf8_lossy(&exchange.complaints);
    complaints.lines().for_each(|line| reply.add_error(line));
    reply.failure = match outcome {
        _ if complete => None,
        Err(_) => Some(Error::TimedOut(LIMIT)),
        Ok(Err(error)) => Some(error),
        Ok(Ok(())) if reply.errors.is_empty() => Some(Error::Closed),
        Ok(Ok(())) => Some(Error::Tmux(reply.errors.clone())),
    };
    reply
}

async fn converse(socket: &Path, exchange: &mut Exchange<'_>) -> Result<(), Error> {
    let closed = |_: io::Error| Error::Closed;
    let stream = UnixStream::connect(socket).await.map_err(closed)?;
    // Stands for the standard streams of the client: what goes through them comes by messages.
    let null = File::options().read(true).write(true).open("/dev/null");
    let null = null.map_err(closed)?;
    for part in opening(std::process::id(), &["source-file", "-"]) {
        let sent = stream.async_io(Interest::WRITABLE, || send(&stream, &part, &null));
        // It is short, and goes into the buffer of a new connection as a whole.
        if sent.await.map_err(closed)? != part.len() {
            return Err(Error::Closed);
        }
    }
    let mut out: Vec<u8> = Vec::new();
    let mut received = vec![0; 64 << 10];
    loop {
        let interest = match out.is_empty() {
            true => Interest::READABLE,
            false => Interest::READABLE | Interest::WRITABLE,
        };
        let ready = stream.ready(interest).await.map_err(closed)?;
        if ready.is_writable() && !out.is_empty() {
            match stream.try_write(&out) {
                Ok(written) => drop(out.drain(..written)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(closed(error)),
            }
        }
        if exchange.is_over && out.is_empty() {
            return Ok(());
        }
        if ready.is_readable() {
            match stream.try_read(&mut received) {
                Ok(0) => return Err(Error::Closed),
                Ok(length) => exchange.take(&received[..length], &mut out)?,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(closed(error)),
            }
        }
    }
}

/// Sends bytes, and a descriptor with the first of them.
fn send(stream: &UnixStream, bytes: &[u8], descriptor: &File) -> io::Result<usize> {
    let descriptors = [descriptor.as_fd()];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    ancillary.push(SendAncillaryMessage::ScmRights(&descriptors));
    let bytes = [IoSlice::new(bytes)];
    Ok(sendmsg(stream, &bytes, &mut ancillary, SendFlags::empty())?)
}
