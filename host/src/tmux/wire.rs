//! What a client and a server of tmux say to each other: pure, and safe on any bytes.
//!
//! The numbers are those of `tmux-protocol.h` and `imsg.h` of tmux 3.3a. A client that identifies
//! itself without the control flag is attached to nothing: no session is made or entered for it, and
//! nobody is notified of it. It sends one command, serves its standard input, takes what the command
//! prints, and is told the exit code.

use super::Error;
use super::parse::MAX_ANSWER;

/// The version of the protocol, which each message carries.
const PROTOCOL: u32 = 8;
/// The length of a header, in bytes: kind, length of all, flags, protocol, sender.
const HEADER: usize = 16;
/// The longest message, in bytes, with its header.
const LONGEST: usize = 16_384;
/// The flag of a message that comes with a descriptor.
const WITH_DESCRIPTOR: u16 = 1;
/// The flag of a client that reads UTF-8: without it, other bytes than ASCII come back as `_`.
const UTF8: u32 = 0x10000;

const VERSION: u32 = 12;
const IDENTIFY_FLAGS: u32 = 100;
const IDENTIFY_TERM: u32 = 101;
const IDENTIFY_TTYNAME: u32 = 102;
const IDENTIFY_STDIN: u32 = 104;
const IDENTIFY_DONE: u32 = 106;
const IDENTIFY_CLIENTPID: u32 = 107;
const IDENTIFY_CWD: u32 = 108;
const IDENTIFY_FEATURES: u32 = 109;
const IDENTIFY_STDOUT: u32 = 110;
const IDENTIFY_LONGFLAGS: u32 = 111;
const COMMAND: u32 = 200;
const EXIT: u32 = 203;
const EXITING: u32 = 205;
const SHUTDOWN: u32 = 210;
const READ_OPEN: u32 = 300;
const READ: u32 = 301;
const READ_DONE: u32 = 302;
const WRITE_OPEN: u32 = 303;
const WRITE: u32 = 304;
const WRITE_READY: u32 = 305;

/// Returns what introduces a client of the process `pid`, and asks to run a command of these words: two
/// parts, and with the first byte of each goes a descriptor that stands for one of the standard streams
/// of the client.
///
/// The server ends, with all sessions, where a message is not as it should be: this is only for
/// versions that it was tried with.
pub(super) fn opening(pid: u32, command: &[&str]) -> [Vec<u8>; 2] {
    let mut first = Vec::new();
    push(&mut first, IDENTIFY_FLAGS, pid, &UTF8.to_ne_bytes());
    let long = u64::from(UTF8);
    push(&mut first, IDENTIFY_LONGFLAGS, pid, &long.to_ne_bytes());
    // Nothing is ever drawn there.
    push(&mut first, IDENTIFY_TERM, pid, b"dumb\0");
    push(&mut first, IDENTIFY_FEATURES, pid, &0_u32.to_ne_bytes());
    push(&mut first, IDENTIFY_TTYNAME, pid, b"\0");
    // It keeps no directory in use.
    push(&mut first, IDENTIFY_CWD, pid, b"/\0");
    push_flagged(&mut first, IDENTIFY_STDIN, WITH_DESCRIPTOR, pid, &[]);
    let mut second = Vec::new();
    push_flagged(&mut second, IDENTIFY_STDOUT, WITH_DESCRIPTOR, pid, &[]);
    push(&mut second, IDENTIFY_CLIENTPID, pid, &pid.to_ne_bytes());
    push(&mut second, IDENTIFY_DONE, pid, &[]);
    let mut words = u32::try_from(command.len())
        .unwrap_or_default()
        .to_ne_bytes()
        .to_vec();
    for word in command {
        words.extend_from_slice(word.as_bytes());
        words.push(0);
    }
    push(&mut second, COMMAND, pid, &words);
    [first, second]
}

fn push(out: &mut Vec<u8>, kind: u32, pid: u32, body: &[u8]) {
    push_flagged(out, kind, 0, pid, body);
}

fn push_flagged(out: &mut Vec<u8>, kind: u32, flags: u16, pid: u32, body: &[u8]) {
    let length = u16::try_from(HEADER + body.len()).unwrap_or(u16::MAX);
    debug_assert!(usize::from(length) <= LONGEST, "a message is too long");
    out.extend_from_slice(&kind.to_ne_bytes());
    out.extend_from_slice(&length.to_ne_bytes());
    out.extend_from_slice(&flags.to_ne_bytes());
    out.extend_from_slice(&PROTOCOL.to_ne_bytes());
    out.extend_from_slice(&pid.to_ne_bytes());
    out.extend_from_slice(body);
}

/// One request after its opening: takes what the server says, and answers.
#[derive(Debug)]
pub(super) struct Exchange<'a> {
    pid: u32,
    /// The standard input of the command.
    input: &'a [u8],
    received: Vec<u8>,
    /// The streams that the server writes to, and whether each is that of errors.
    streams: Vec<(u32, bool)>,
    /// What the command printed.
    pub(super) printed: Vec<u8>,
    /// What it complained about.
    pub(super) complaints: Vec<u8>,
    /// Whether the server has asked for the standard input: from then on the command may act.
    pub(super) has_begun: bool,
    /// Whether the server has said that the command is over.
    pub(super) is_over: bool,
}

impl<'a> Exchange<'a> {
    pub(super) fn new(pid: u32, input: &'a [u8]) -> Self {
        Self {
            pid,
            input,
            received: Vec::new(),
            streams: Vec::new(),
            printed: Vec::new(),
            complaints: Vec::new(),
            has_begun: false,
            is_over: false,
        }
    }

    /// Takes bytes of the server, and adds what to answer to `out`.
    ///
    /// # Errors
    ///
    /// The server speaks another protocol, ends, or prints more than is kept.
    pub(super) fn take(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Result<(), Error> {
        self.received.extend_from_slice(bytes);
        let received = std::mem::take(&mut self.received);
        let mut rest = received.as_slice();
        while let Some((kind, body, behind)) = message(rest)? {
            rest = behind;
            self.hear(kind, body, out)?;
        }
        self.received = rest.to_vec();
        Ok(())
    }

    fn hear(&mut self, kind: u32, body: &[u8], out: &mut Vec<u8>) -> Result<(), Error> {
        const SHORT: Error = Error::Protocol("a message of the server is too short");
        let word = |index: usize| {
            let bytes = body.get(index * 4..index * 4 + 4);
            bytes
                .and_then(|bytes| bytes.try_into().ok())
                .map(u32::from_ne_bytes)
                .ok_or(SHORT)
        };
        match kind {
            READ_OPEN => {
                let stream = word(0)?.to_ne_bytes();
                self.has_begun = true;
                // It is only ever asked for once, and there is nothing else to be read.
                let input = std::mem::take(&mut self.input);
                for part in input.chunks(LONGEST - HEADER - stream.len()) {
                    push(out, READ, self.pid, &[&stream, part].concat());
                }
                let done = [stream, 0_u32.to_ne_bytes()].concat();
                push(out, READ_DONE, self.pid, &done);
            }
            WRITE_OPEN => {
                let (stream, descriptor) = (word(0)?, word(1)?);
                self.streams.push((stream, descriptor == 2));
                let ready = [stream.to_ne_bytes(), 0_u32.to_ne_bytes()].concat();
                push(out, WRITE_READY, self.pid, &ready);
            }
            WRITE => {
                let stream = word(0)?;
                let known = self
                    .streams
                    .iter()
                    .rev()
                    .find(|(known, _)| *known == stream);
                let to = match known {
                    Some((_, true)) => &mut self.complaints,
                    Some((_, false)) => &mut self.printed,
                    None => return Err(Error::Protocol("the server writes to no stream")),
                };
                to.extend_from_slice(&body[4..]);
                if to.len() > MAX_ANSWER {
                    return Err(Error::Protocol("an answer is too long"));
                }
            }
            EXIT => {
                self.is_over = true;
                push(out, EXITING, self.pid, &[]);
            }
            VERSION => return Err(Error::Protocol("the server speaks another version")),
            SHUTDOWN => return Err(Error::Closed),
            // The end of a stream, and what does not concern a client that shows nothing.
            _ => {}
        }
        Ok(())
    }
}

/// The kind of a message, its body, and the bytes after it.
type Split<'b> = (u32, &'b [u8], &'b [u8]);

/// Splits the first message off. `None` if it has not arrived as a whole.
fn message(bytes: &[u8]) -> Result<Option<Split<'_>>, Error> {
    let Some((header, _)) = bytes.split_first_chunk::<HEADER>() else {
        return Ok(None);
    };
    let [a, b, c, d, low, high, ..] = *header;
    let length = usize::from(u16::from_ne_bytes([low, high]));
    if !(HEADER..=LONGEST).contains(&length) {
        return Err(Error::Protocol("a message of the server has no length"));
    }
    let Some((whole, behind)) = bytes.split_at_checked(length) else {
        return Ok(None);
    };
    let kind = u32::from_ne_bytes([a, b, c, d]);
    Ok(Some((kind, &whole[HEADER..], behind)))
}

#[cfg(test)]
#[path = "wire_tests.rs"]
mod tests;
