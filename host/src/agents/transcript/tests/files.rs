//! Files that grow, are cut off, replaced, or damaged.

use std::io;
use std::process::Command;

use super::*;

#[test]
fn cut_anywhere_it_says_the_same() {
    let short = [
        (
            Format::Codex,
            include_str!("../samples/codex-older.jsonl"),
            1,
        ),
        (
            Format::Claude,
            include_str!("../samples/claude-without-ends.jsonl"),
            1,
        ),
        (Format::Aider, AIDER, 1),
    ];
    let long = [(Format::Codex, CODEX, 13), (Format::Claude, CLAUDE, 13)];
    for (format, text, step) in short.into_iter().chain(long) {
        let scratch = Scratch::new();
        let whole = read_all(&mut Follower::new(format, scratch.write(text)));
        assert!(whole.len() > 8);
        for cut in (0..=text.len()).step_by(step) {
            let (first, second) = text.as_bytes().split_at(cut);
            let mut follower = Follower::new(format, scratch.write(first));
            let mut entries = follower.read().expect("readable");
            scratch.append(second);
            entries.extend(follower.read().expect("readable"));
            entries.extend(follower.settle_now());
            assert_eq!(timeless(entries), whole, "{format:?}, cut at {cut}");
        }
    }
}

#[test]
fn what_was_said_is_found() {
    let scratch = Scratch::new();
    let mut follower = Follower::new(Format::Codex, scratch.write(CODEX));
    read_all(&mut follower);
    let early = time("2026-11-23T00:00:00Z");
    let turn = follower
        .turn_of(wanted("slow\n", early))
        .expect("the latest");
    assert_eq!(turn.how, Some(How::Interrupted));
    assert!(
        follower.turn_of(wanted("too much", early)).is_some(),
        "the one before"
    );
    assert!(
        follower.turn_of(wanted("fail", early)).is_some(),
        "earlier ones, too"
    );
    assert!(
        follower
            .turn_of(wanted("slow", time("2026-11-23T03:58:33.831Z")))
            .is_some()
    );
    assert!(
        follower
            .turn_of(wanted("slow", time("2026-11-23T03:58:33.832Z")))
            .is_none()
    );
    // A turn without a prompt displaces neither.
    scratch.append(include_str!("../samples/codex-unasked.jsonl"));
    read_all(&mut follower);
    assert_eq!(follower.turn().expect("a turn").prompt, None);
    assert!(follower.turn_of(wanted("slow", early)).is_some());
    // What is said while the agent works belongs to its turn.
    scratch.append(include_str!("../samples/codex-further.jsonl"));
    read_all(&mut follower);
    assert!(
        follower
            .turn_of(wanted("b", time("2026-11-23T04:00:04Z")))
            .is_some()
    );
    assert!(
        follower
            .turn_of(wanted("b", time("2026-11-23T04:00:05Z")))
            .is_none()
    );
}

#[test]
fn from_the_end_on_only_what_comes() {
    for (format, text) in SAMPLES {
        let scratch = Scratch::new();
        let mut follower = Follower::at_end(format, scratch.write(text)).expect("readable");
        assert_eq!(read_all(&mut follower), [], "{format:?}");
        let turn = follower.turn().expect("known from the end");
        assert!(turn.how.is_some(), "{format:?}");
    }
    let scratch = Scratch::new();
    let mut follower = Follower::at_end(Format::Aider, scratch.write(AIDER)).expect("readable");
    let any = time("2000-01-01T00:00:00Z");
    assert!(
        follower.turn_of(wanted("fail", any)).is_none(),
        "it was there before"
    );
    scratch.append("\n#### fail  \n\nno\n\n> Tokens: 1 sent, 2 received.  \n");
    read_all(&mut follower);
    let turn = follower.turn_of(wanted("fail", any)).expect("it has come");
    assert_eq!(turn.response.as_deref(), Some("no"));
}

#[test]
fn an_open_turn_is_known_from_its_end() {
    let scratch = Scratch::new();
    let event = |payload: &str| format!("{{\"type\":\"event_msg\",\"payload\":{payload}}}");
    let filler = event(r#"{"type":"function_call_output","call_id":"c","output":"OUTPUT"}"#)
        .replace("event_msg", "response_item")
        .replace("OUTPUT", &"x".repeat(300_000))
        + "\n";
    let begun = event(r#"{"type":"task_started","turn_id":"t"}"#);
    let path = scratch.write(format!("{CODEX}{begun}\n{filler}{filler}"));
    let mut follower = Follower::at_end(Format::Codex, path).expect("readable");
    assert_eq!(follower.turn().expect("a turn").how, None);
    let ended = event(r#"{"type":"task_complete","turn_id":"t","last_agent_message":"x"}"#);
    scratch.append(format!("{ended}\n"));
    assert_eq!(read_all(&mut follower).len(), 1);
    assert_eq!(follower.turn().expect("a turn").how, Some(How::Done));
}

#[test]
fn a_partial_line_at_the_end_comes_whole() {
    let scratch = Scratch::new();
    let cut = CODEX.len() - 20;
    let (first, second) = CODEX.split_at(cut);
    let mut follower = Follower::at_end(Format::Codex, scratch.write(first)).expect("readable");
    assert_eq!(follower.turn().expect("a turn").how, None);
    scratch.append(second);
    let entries = read_all(&mut follower);
    assert!(matches!(
        entries.as_slice(),
        [Entry::Ended {
            how: How::Interrupted,
            ..
        }]
    ));
}

#[test]
fn truncated_or_replaced_it_is_begun_anew() {
    let scratch = Scratch::new();
    let mut follower = Follower::new(Format::Codex, scratch.write(CODEX));
    let whole = read_all(&mut follower);
    // The file is shorter.
    scratch.write(&CODEX.as_bytes()[..CODEX.find("t2").expect("there")]);
    assert!(read_all(&mut follower).len() < whole.len());
    scratch.write(CODEX);
    read_all(&mut follower);
    // Another file has its name.
    let other = scratch.directory.path().join("other");
    fs::write(&other, format!("{CODEX}{CODEX}")).expect("written");
    fs::rename(other, scratch.path()).expect("renamed");
    assert_eq!(read_all(&mut follower).len(), 2 * whole.len());
    // It was rewritten in place, and is longer.
    scratch.write(format!("{{}}\n{CODEX}{CODEX}"));
    assert_eq!(read_all(&mut follower).len(), 2 * whole.len());
    fs::remove_file(scratch.path()).expect("removed");
    let gone = follower.read().expect_err("there is none");
    assert_eq!(gone.kind(), io::ErrorKind::NotFound);
    scratch.write(CODEX);
    assert_eq!(read_all(&mut follower), whole);
}

#[test]
fn what_is_no_file_is_refused() {
    let scratch = Scratch::new();
    let mut follower = Follower::new(Format::Codex, scratch.directory.path().to_owned());
    assert!(follower.read().is_err());
    let pipe = scratch.path();
    let made = Command::new("mkfifo").arg(&pipe).status().expect("run");
    assert!(made.success());
    let mut follower = Follower::new(Format::Codex, pipe.clone());
    assert!(follower.read().is_err());
    assert!(Follower::at_end(Format::Codex, pipe).is_err());
}

#[test]
fn long_lines_are_passed_over() {
    let scratch = Scratch::new();
    let path = scratch.path();
    let mut file = File::create(&path).expect("made");
    for _ in 0..18 {
        file.write_all(&vec![b'x'; 1 << 20]).expect("written");
    }
    file.write_all(b"\n").expect("written");
    file.write_all(CODEX.as_bytes()).expect("written");
    let mut follower = Follower::new(Format::Codex, path.clone());
    let entries = read_all(&mut follower);
    assert_eq!(
        entries,
        read_all(&mut Follower::new(
            Format::Codex,
            Scratch::new().write(CODEX)
        ))
    );
    // Nothing but the middle of a line.
    File::create(&path)
        .expect("made")
        .write_all(&vec![b'x'; 6 << 20])
        .expect("written");
    let mut follower = Follower::at_end(Format::Aider, path).expect("readable");
    assert!(follower.turn().is_none());
    scratch.append("x\n\n#### a  \n");
    assert_eq!(read_all(&mut follower).len(), 2);
}

#[test]
fn strange_bytes_are_replaced() {
    let scratch = Scratch::new();
    let mut follower = Follower::new(Format::Aider, scratch.write(b"\n#### a\xffb  \n\n"));
    let entries = read_all(&mut follower);
    let text = "a\u{fffd}b".to_owned();
    assert_eq!(
        entries.last(),
        Some(&Entry::Prompt {
            at: None,
            text,
            id: None
        })
    );
}

/// A person may have several prompts of their own queued after one of ours.
#[test]
fn a_turn_is_known_behind_many_that_followed_it() {
    let scratch = Scratch::new();
    let path = scratch.write("\n#### old  \n\nno\n\n> Tokens: 1 sent, 2 received.  \n");
    let mut follower = Follower::at_end(Format::Aider, path).expect("readable");
    let turn = |prompt: &str| {
        scratch.append(format!(
            "\n#### {prompt}  \n\nto {prompt}\n\n> Tokens: 1 sent, 2 received.  \n"
        ));
    };
    let any = time("2000-01-01T00:00:00Z");
    turn("ours");
    for other in 0..MOST_BEFORE {
        turn(&format!("other {other}"));
    }
    read_all(&mut follower);
    let ours = follower.turn_of(wanted("ours", any)).expect("it is known");
    assert_eq!(ours.response.as_deref(), Some("to ours"));
    assert_eq!(
        follower.turn().and_then(|turn| turn.response.as_deref()),
        Some("to other 31")
    );
    turn("one more");
    read_all(&mut follower);
    assert!(
        follower.turn_of(wanted("ours", any)).is_none(),
        "so many are kept"
    );
}
