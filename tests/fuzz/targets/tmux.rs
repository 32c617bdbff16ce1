//! What a server of tmux says: messages, lists, its version.

use std::collections::BTreeSet;

use super::parse::{self, TmuxReply};
use super::script::RequiredPane;
use super::version::Version;
use super::wire::Exchange;
use super::{Identity, Pane, PaneId};
use crate::fuzz::{FuzzTarget, steered};

/// The targets of this module.
pub(crate) const TARGETS: &[FuzzTarget] = &[
    FuzzTarget {
        name: "wire",
        seeds: &[],
        run: wire,
    },
    FuzzTarget {
        name: "lists",
        seeds: &[],
        run: lists,
    },
    FuzzTarget {
        name: "pane_row",
        seeds: &[],
        run: pane_row,
    },
    FuzzTarget {
        name: "tmux_version",
        seeds: &[],
        run: tmux_version,
    },
];

const NONCE: &str = "assigner-00ff";

/// The standard input of the command.
const INPUT: &[u8] = b"list-panes\n";

/// What became of an exchange.
#[derive(Debug, PartialEq)]
struct Talk {
    printed: Vec<u8>,
    complaints: Vec<u8>,
    has_begun: bool,
    is_over: bool,
    answered: Vec<u8>,
    refused: Option<String>,
}

fn talk<'d>(pieces: impl Iterator<Item = &'d [u8]>) -> Talk {
    let (mut exchange, mut answered) = (Exchange::new(77, INPUT), Vec::new());
    let refused = pieces
        .map(|piece| exchange.take(piece, &mut answered))
        .find_map(Result::err);
    Talk {
        printed: exchange.printed,
        complaints: exchange.complaints,
        has_begun: exchange.has_begun,
        is_over: exchange.is_over,
        answered,
        refused: refused.map(|error| error.to_string()),
    }
}

/// It does not matter in which pieces a server's messages arrive. What is answered are whole messages,
/// and no more than was asked for.
fn wire(data: &[u8]) {
    let (size, bytes) = steered(data);
    let whole = talk([bytes].into_iter());
    assert_eq!(talk(bytes.chunks(size.max(1))), whole);
    assert!(whole.printed.len() + whole.complaints.len() <= bytes.len());
    // A message of the server has 20 bytes or more, and its answer 24; the input goes once.
    assert!(whole.answered.len() <= 2 * bytes.len() + 20 + INPUT.len());
    let mut rest = whole.answered.as_slice();
    while let Some(&[low, high]) = rest.get(4..6) {
        let length = usize::from(u16::from_ne_bytes([low, high]));
        assert!(length >= 16, "a header is 16 bytes");
        rest = rest.get(length..).expect("a whole message");
    }
    assert_eq!(rest, b"", "a part of a message");
}

/// Any output of a request is read or refused. No pane is listed twice, and messages can be shown.
fn lists(data: &[u8]) {
    let (records, _) = parse::records(data, NONCE);
    let panes = parse::panes(&records, NONCE).unwrap_or_default();
    let ids: BTreeSet<&str> = panes
        .iter()
        .map(|pane| pane.identity.pane.as_str())
        .collect();
    assert_eq!(ids.len(), panes.len(), "a pane is listed twice");
    let _ = parse::sessions(&records);
    let _ = parse::server(&records);
    assert!(parse::terminals(&records).all(|path| path.starts_with("/dev/")));
    let listed: Vec<&Pane> = panes.iter().collect();
    assert_eq!(parse::cursor_lines(&records, &listed).len(), panes.len());
    let mut identities: Vec<&Identity> = panes.iter().map(|pane| &pane.identity).collect();
    assert_eq!(parse::screens(&records, &identities).len(), panes.len());
    let other = identity();
    identities.push(&other);
    for identity in identities {
        let tail = parse::tail(&records, identity, 3).unwrap_or_default();
        assert!(tail.lines().count() <= 3);
        let history = parse::history(&records, identity).unwrap_or_default();
        let is_plain = |text: &str| !text.contains(|char: char| char.is_control() && char != '\n');
        assert!(is_plain(&tail) && is_plain(&history));
    }
    let reply = TmuxReply {
        records,
        sent: true,
        ..TmuxReply::default()
    };
    let _ = parse::typed(&reply, 0, &RequiredPane::key(&other));
    let _ = parse::started(reply);
}

fn identity() -> Identity {
    Identity {
        node: Default::default(),
        server_pid: 1,
        server_start: 1,
        pane: PaneId::parse("%1").expect("an id"),
        pane_pid: 1,
    }
}

/// Whatever a program is called, its row is one row, and its name is read back. tmux itself keeps
/// titles and names of sessions free of control characters.
fn pane_row(data: &[u8]) {
    let (size, rest) = steered(data);
    let (title, command) = rest.split_at(size.min(rest.len()));
    let (title, command) = (
        String::from_utf8_lossy(title),
        String::from_utf8_lossy(command),
    );
    let title = parse::plain(&title);
    if title.contains(NONCE) || command.contains(NONCE) {
        return;
    }
    let row = format!(
        "{NONCE} pane\t10\t1700000000\t%7\t77\t1\t0\t0\t0\t0\t0\t0\t1\t80\t0\t2\t3\t1700000009\t\
         \t/dev/pts/4\t$1\t{title}\t{title}\t{NONCE}{command}\n{NONCE} end\n"
    );
    let (records, is_complete) = parse::records(row.as_bytes(), NONCE);
    assert!(is_complete);
    let panes = parse::panes(&records, NONCE).expect("a list");
    let [pane] = panes.as_slice() else {
        panic!("{} panes", panes.len());
    };
    assert_eq!((&pane.title, &pane.session), (&title, &title));
    assert_eq!(pane.command, command);
}

/// Any text is a version or none, and what is shown of it is what was said.
fn tmux_version(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let text = parse::plain(&text);
    if let Some(version) = Version::parse(&text) {
        assert_eq!(version.to_string(), text.trim());
        let _ = version.is_supported();
    }
}
