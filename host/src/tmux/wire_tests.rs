use proptest::prelude::*;

use super::*;

const PID: u32 = 77;

/// Returns a message of a server.
fn said(kind: u32, words: &[u32], text: &[u8]) -> Vec<u8> {
    let mut body: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
    body.extend_from_slice(text);
    let mut out = Vec::new();
    push(&mut out, kind, 1, &body);
    out
}

/// Splits what was sent into messages: kind, flags and body of each.
fn messages(mut bytes: &[u8]) -> Vec<(u32, u16, Vec<u8>)> {
    let mut all = Vec::new();
    while let Some((kind, body, rest)) = message(bytes).expect("messages") {
        let flags = u16::from_ne_bytes([bytes[6], bytes[7]]);
        assert_eq!(bytes[8..12], PROTOCOL.to_ne_bytes());
        all.push((kind, flags, body.to_vec()));
        bytes = rest;
    }
    assert_eq!(bytes, b"");
    all
}

#[test]
fn an_opening_is_what_the_server_insists_on() {
    let [first, second] = opening(PID, &["source-file", "-"]);
    let (first, second) = (messages(&first), messages(&second));
    // One descriptor goes with each part, and the flag stands on one message of it.
    for part in [&first, &second] {
        let flagged = part
            .iter()
            .filter(|(_, flags, _)| *flags == WITH_DESCRIPTOR);
        assert_eq!(flagged.count(), 1);
    }
    assert_eq!(first.last().expect("a message").0, IDENTIFY_STDIN);
    assert_eq!(second.first().expect("a message").0, IDENTIFY_STDOUT);
    let all: Vec<_> = first.into_iter().chain(second).collect();
    let body = |wanted: u32| {
        let found = all.iter().filter(|(kind, ..)| *kind == wanted);
        let bodies: Vec<&Vec<u8>> = found.map(|(.., body)| body).collect();
        assert_eq!(bodies.len(), 1, "{wanted}");
        bodies[0].clone()
    };
    // It reads UTF-8, and is no control client.
    assert_eq!(body(IDENTIFY_FLAGS), 0x10000_u32.to_ne_bytes());
    assert_eq!(body(IDENTIFY_LONGFLAGS), 0x10000_u64.to_ne_bytes());
    for text in [IDENTIFY_TERM, IDENTIFY_TTYNAME, IDENTIFY_CWD] {
        assert_eq!(body(text).last(), Some(&0), "{text}");
    }
    assert_eq!(body(IDENTIFY_FEATURES).len(), 4);
    assert_eq!(body(IDENTIFY_CLIENTPID), PID.to_ne_bytes());
    assert_eq!(body(IDENTIFY_DONE), b"");
    let command = [&2_u32.to_ne_bytes()[..], b"source-file\0-\0"].concat();
    assert_eq!(body(COMMAND), command);
    assert_eq!(all.last().expect("a message").0, COMMAND);
}

/// A whole conversation, as tmux 3.3a leads it.
fn conversation() -> Vec<u8> {
    [
        said(READ_OPEN, &[1, 0], b"-\0"),
        said(WRITE_OPEN, &[2, 1, 0], b"\0"),
        said(WRITE, &[2], b"one\n"),
        said(WRITE_OPEN, &[3, 2, 0], b"\0"),
        said(WRITE, &[3], b"no such pane\n"),
        said(WRITE, &[2], b"two\n"),
        said(306, &[2], b""),
        said(EXIT, &[1], b""),
        said(204, &[], b""),
    ]
    .concat()
}

#[test]
fn a_conversation_is_led_to_its_end() {
    let input = vec![b'x'; LONGEST + 5];
    let mut it = Exchange::new(PID, &input);
    let mut out = Vec::new();
    it.take(&conversation(), &mut out).expect("taken");
    assert!(it.has_begun && it.is_over);
    assert_eq!(it.printed, b"one\ntwo\n");
    assert_eq!(it.complaints, b"no such pane\n");
    let sent = messages(&out);
    let kinds: Vec<u32> = sent.iter().map(|(kind, ..)| *kind).collect();
    let ready = WRITE_READY;
    assert_eq!(
        kinds,
        [READ, READ, READ_DONE, ready, ready, EXITING],
        "the input in two parts"
    );
    let given: Vec<u8> = sent[..2]
        .iter()
        .flat_map(|sent| sent.2[4..].to_vec())
        .collect();
    assert_eq!(given, input);
}

#[test]
fn nothing_is_given_before_it_is_asked_for() {
    let mut it = Exchange::new(PID, b"input");
    let mut out = Vec::new();
    it.take(&said(WRITE_OPEN, &[2, 1, 0], b"\0"), &mut out)
        .expect("taken");
    assert!(!it.has_begun && !it.is_over);
    assert!(messages(&out).iter().all(|(kind, ..)| *kind == WRITE_READY));
    // Whoever asks twice is not given it twice.
    out.clear();
    for _ in 0..2 {
        it.take(&said(READ_OPEN, &[1, 0], b"-\0"), &mut out)
            .expect("taken");
    }
    let kinds: Vec<u32> = messages(&out).into_iter().map(|(kind, ..)| kind).collect();
    assert_eq!(kinds, [READ, READ_DONE, READ_DONE]);
}

#[test]
fn what_no_server_says_is_refused() {
    for bytes in [
        said(VERSION, &[], b""),
        said(SHUTDOWN, &[], b""),
        said(READ_OPEN, &[], b"-"),
        said(WRITE_OPEN, &[1], b""),
        said(WRITE, &[], b"ab"),
        said(WRITE, &[9], b"to no stream"),
        // A length that is none.
        [&WRITE.to_ne_bytes()[..], &[0; 12]].concat(),
        [&WRITE.to_ne_bytes()[..], &[0xff; 12]].concat(),
    ] {
        let taken = Exchange::new(PID, b"x").take(&bytes, &mut Vec::new());
        assert!(taken.is_err(), "{bytes:?}");
    }
    let mut it = Exchange::new(PID, b"x");
    let open = said(WRITE_OPEN, &[2, 1, 0], b"\0");
    it.take(&open, &mut Vec::new()).expect("taken");
    let much = said(WRITE, &[2], &[b'x'; 16_000]);
    let bounded = (0..MAX_ANSWER / 16_000 + 2).any(|_| it.take(&much, &mut Vec::new()).is_err());
    assert!(bounded && it.printed.len() < MAX_ANSWER + 20_000);
}

proptest! {
    #[test]
    fn it_does_not_matter_how_it_arrives(cuts in proptest::collection::vec(1_usize..40, 0..40)) {
        let bytes = conversation();
        let (mut it, mut out) = (Exchange::new(PID, b"input"), Vec::new());
        let mut rest = bytes.as_slice();
        for cut in cuts {
            let (now, later) = rest.split_at(cut.min(rest.len()));
            it.take(now, &mut out).expect("taken");
            rest = later;
        }
        it.take(rest, &mut out).expect("taken");
        prop_assert_eq!(&it.printed[..], b"one\ntwo\n");
        prop_assert!(it.is_over);
        prop_assert_eq!(messages(&out).len(), 5);
    }

    #[test]
    fn any_bytes_are_taken_or_refused(
        parts in proptest::collection::vec((0_u32..400, proptest::collection::vec(any::<u8>(), 0..40)), 0..20),
        noise in proptest::collection::vec(any::<u8>(), 0..40),
    ) {
        let (mut it, mut out) = (Exchange::new(PID, b"input"), Vec::new());
        for (kind, body) in parts {
            let _ = it.take(&said(kind, &[], &body), &mut out);
        }
        let _ = it.take(&noise, &mut out);
        prop_assert!(it.printed.len() <= 800);
    }
}
