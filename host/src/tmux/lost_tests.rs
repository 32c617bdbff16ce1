//! Answers that are lost on the way, for both ways: a program or a server in place of tmux answers up to
//! a given point and then ends.

use std::io::{Read, Write};
use std::os::unix::net::UnixListener;
use std::path::Path;

use super::tests::write_program;
use super::*;

/// Records each call, reads the request, and answers with `answer`, with `NONCE` replaced by that
/// of the request.
const STAND_IN: &str = r#"#!/bin/sh
cd "$(dirname "$0")" || exit 9
nonce() { sed -n "s/.*\(assigner-[0-9a-f]\{32\}\) end.*/\1/p"; }
echo process >> calls
nonce=$(cat | nonce)
sed "s/NONCE/$nonce/g" answer
cat complaint >&2
"#;

/// A directory with the program that replaces tmux.
struct StandIn(tempfile::TempDir);

impl StandIn {
    fn new() -> Self {
        let stand_in = Self(tempfile::tempdir().expect("a directory"));
        let path = stand_in.path("tmux");
        write_program(&path, STAND_IN);
        stand_in.says("", "");
        stand_in
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Makes it give this answer from now on.
    fn says(&self, answer: &str, complaint: &str) {
        for (name, text) in [("answer", answer), ("complaint", complaint)] {
            std::fs::write(self.path(name), text).expect("written");
        }
        std::fs::write(self.path("calls"), "").expect("written");
    }

    fn calls(&self) -> String {
        let calls = std::fs::read_to_string(self.path("calls")).expect("calls");
        calls.replace('\n', " ").trim_end().to_owned()
    }

    fn program(&self) -> Program {
        Program::new(self.path("tmux"), Socket::Default)
    }

    /// Returns a driver that speaks to a server itself, which says `answer` to the next request and then
    /// is gone. It says whether it was asked.
    async fn direct(&self, answer: &str) -> (Server, std::thread::JoinHandle<bool>) {
        let mut server = Server::new(self.program());
        let socket = self.path("socket");
        let _ = std::fs::remove_file(&socket);
        let listener = UnixListener::bind(&socket).expect("a socket");
        self.says(
            &format!(
                "NONCE pane\t10\t1700000000\t%3\t77\t1\t0\t0\t0\t0\t0\t0\t1\t80\t0\t5\t6\t9\t\t/dev/x\t$1\ts\tT\tNONCEsh\n\
                 NONCE server\t3.3a\t{}\n\
                 NONCE end\n",
                socket.display()
            ),
            "",
        );
        assert_eq!(server.panes().await.expect("a list").len(), 1);
        assert!(server.is_direct());
        let answer = answer.to_owned();
        let asked = std::thread::spawn(move || serve(&listener, &answer));
        (server, asked)
    }
}

/// Leads one conversation, as tmux 3.3a does, up to the end of `answer`. Returns whether a request came.
fn serve(listener: &UnixListener, answer: &str) -> bool {
    let (mut stream, _) = listener.accept().expect("a client");
    let message = |kind: u32, body: &[u8]| {
        let length = u16::try_from(16 + body.len()).expect("a short message");
        let head = [kind.to_ne_bytes(), [0; 4], 8_u32.to_ne_bytes(), [0; 4]].concat();
        let mut bytes = [head, body.to_vec()].concat();
        bytes[4..6].copy_from_slice(&length.to_ne_bytes());
        bytes
    };
    let stream_one = [1_u32.to_ne_bytes(), 1_u32.to_ne_bytes(), [0; 4]].concat();
    let open = [message(300, &stream_one), message(303, &stream_one)].concat();
    stream.write_all(&open).expect("written");
    let mut said = Vec::new();
    // The last line of each request names the nonce.
    let nonce = loop {
        let mut part = [0; 4_096];
        let length = stream.read(&mut part).expect("read");
        if length == 0 {
            return false;
        }
        said.extend_from_slice(&part[..length]);
        let text = String::from_utf8_lossy(&said);
        if let Some((before, _)) = text.split_once(" end'\n") {
            break before.rsplit('\'').next().expect("a nonce").to_owned();
        }
    };
    let answer = answer.replace("NONCE", &nonce);
    let body = [&1_u32.to_ne_bytes()[..], answer.as_bytes()].concat();
    stream.write_all(&message(304, &body)).expect("written");
    if answer.ends_with(" end\n") {
        stream.write_all(&message(203, &[0; 4])).expect("written");
    }
    true
}

fn identity() -> Identity {
    Identity {
        node: Default::default(),
        server_pid: 10,
        server_start: 1_700_000_000,
        pane: PaneId::parse("%3").expect("an id"),
        pane_pid: 77,
    }
}

fn line() -> TypedLine {
    TypedLine {
        key: None,
        identity: identity(),
        cursor: (5, 6),
        text: "x".to_owned(),
        output: PaneOutput::AsItIs,
    }
}

fn told(typed: &Typed) -> String {
    match typed {
        Typed::Done => "done".to_owned(),
        Typed::Refused(refusal) => format!("refused: {refusal}"),
        Typed::Unknown(error) => format!("unknown: {error}"),
    }
}

async fn typed(server: &mut Server) -> String {
    let typed = server.type_lines(&[line()]).await;
    assert_eq!(typed.len(), 1);
    told(&typed[0])
}

const TYPING: &str = "NONCE typing 0\n";
const TYPED: &str = "NONCE typed 0\n";
const REFUSED: &str = "NONCE refused 0 10 1700000000 %3 77 0 2 0 0 5 6 0\n";
const END: &str = "NONCE end\n";

const ENDED: &str = "unknown: get an answer from tmux: the connection has ended";
const GONE: &str = "refused: the pane is gone";
const MODE: &str = "refused: the pane is in copy mode or another tmux mode";

#[tokio::test]
async fn a_process_whose_answer_is_lost_leaves_it_open_and_is_not_asked_again() {
    let stand_in = StandIn::new();
    let mut server = Server::spawning(stand_in.program());
    for (answer, complaint, expected) in [
        (String::new(), "", ENDED),
        (TYPING.to_owned(), "", ENDED),
        (format!("{TYPING}NONCE typ"), "", ENDED),
        (format!("{TYPING}{TYPED}"), "", "done"),
        (format!("{TYPING}{TYPED}{END}"), "", "done"),
        (REFUSED.to_owned(), "", MODE),
        (format!("{REFUSED}{END}"), "", MODE),
        // The request was carried out to the end without typing.
        (
            END.to_owned(),
            "no such pane\n",
            "refused: tmux refused: no such pane",
        ),
        (
            format!("{TYPING}{END}"),
            "no buffer\n",
            "unknown: use tmux: no buffer",
        ),
        // No server was reached; or one was, and ended while answering.
        (String::new(), "no server running on /tmp/x\n", GONE),
        (
            String::new(),
            "error connecting to /tmp/x (No such file or directory)\n",
            GONE,
        ),
        (
            String::new(),
            "error connecting to /tmp/x (Permission denied)\n",
            "refused: tmux refused: use tmux: error connecting to /tmp/x (Permission denied)",
        ),
        (
            String::new(),
            "server exited unexpectedly\n",
            "unknown: use tmux: server exited unexpectedly",
        ),
        (
            String::new(),
            "lost server\nno server running on /tmp/x\n",
            "unknown: use tmux: lost server; no server running on /tmp/x",
        ),
        (
            TYPING.to_owned(),
            "no server running on /tmp/x\n",
            "unknown: use tmux: no server running on /tmp/x",
        ),
    ] {
        stand_in.says(&answer, complaint);
        assert_eq!(
            typed(&mut server).await,
            expected,
            "{answer:?} {complaint:?}"
        );
        assert_eq!(stand_in.calls(), "process");
    }
}

#[tokio::test]
async fn a_server_whose_answer_is_lost_leaves_it_open_and_is_not_asked_again() {
    let stand_in = StandIn::new();
    for (answer, expected) in [
        (String::new(), ENDED),
        (TYPING.to_owned(), ENDED),
        (format!("{TYPING}{TYPED}"), "done"),
        (REFUSED.to_owned(), MODE),
        (format!("{TYPING}{TYPED}{END}"), "done"),
        (format!("{REFUSED}{END}"), MODE),
    ] {
        let (mut server, asked) = stand_in.direct(&answer).await;
        stand_in.says(&answer, "");
        assert_eq!(typed(&mut server).await, expected, "{answer:?}");
        assert!(asked.join().expect("it serves"), "{answer:?}");
        assert_eq!(stand_in.calls(), "", "{answer:?}");
        assert_eq!(server.is_direct(), answer.ends_with(END), "{answer:?}");
    }
    // A request that reads is repeated by a process.
    let (mut server, asked) = stand_in.direct(TYPING).await;
    stand_in.says(TYPING, "");
    assert!(server.panes().await.is_err());
    assert!(asked.join().expect("it serves"));
    assert_eq!(stand_in.calls(), "process");
    // One that never reached the server, too.
    let (mut server, asked) = stand_in.direct("").await;
    std::fs::remove_file(stand_in.path("socket")).expect("removed");
    stand_in.says(&format!("{TYPING}{TYPED}{END}"), "");
    assert_eq!(typed(&mut server).await, "done");
    assert_eq!(stand_in.calls(), "process");
    drop(asked);
}

#[tokio::test]
async fn nothing_that_is_no_text_is_pasted() {
    let stand_in = StandIn::new();
    let mut server = Server::spawning(stand_in.program());
    for text in ["", "a\r", "\x1b[201~", "a\0", "\u{9b}"] {
        let paste = Paste {
            aim: Aim {
                identity: identity(),
                cursor: (5, 6),
                command: None,
            },
            text: text.to_owned(),
        };
        let refused = "refused: the text has a control character, or is empty";
        assert_eq!(told(&server.paste(&paste).await), refused, "{text:?}");
    }
    assert_eq!(stand_in.calls(), "");
}

#[tokio::test]
async fn what_is_no_program_was_not_asked() {
    let mut server = Server::spawning(Program::new(
        Path::new("/nonexistent/tmux"),
        Socket::Default,
    ));
    let said = typed(&mut server).await;
    assert!(
        said.starts_with("refused: tmux refused: run `/nonexistent/tmux`"),
        "{said}"
    );
    assert!(matches!(server.panes().await, Err(Error::Missing(_))));
    assert!(server.cursor_lines(&[]).await.expect("none").is_empty());
    assert!(server.screens(&[]).await.expect("none").is_empty());
}
