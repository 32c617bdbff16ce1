//! Transcripts as they are, as they are when cut off, and as nobody would write them.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use proptest::prelude::*;

use super::turns::Turns;
use super::*;

const CODEX: &str = include_str!("samples/codex.jsonl");
const CLAUDE: &str = include_str!("samples/claude.jsonl");
const AIDER: &str = include_str!("samples/aider.md");
const SAMPLES: [(Format, &str); 3] = [
    (Format::Codex, CODEX),
    (Format::Claude, CLAUDE),
    (Format::Aider, AIDER),
];

fn time(text: &str) -> Timestamp {
    text.parse().expect("a time")
}

/// Returns all turns, as a reader that forgets none would see them.
fn turns(format: Format, text: &str) -> Vec<Turn> {
    let mut parser = Parser::new(format.lines().expect("lines"), false);
    let mut entries = Vec::new();
    let mut all: Vec<Turn> = Vec::new();
    let mut kept = Turns::default();
    let lines = text.lines().map(Some).chain([None]);
    for line in lines {
        let at = match line {
            Some(line) => parser.line(line, &mut entries),
            None => {
                parser.still(&mut entries);
                None
            }
        };
        for entry in entries.drain(..) {
            if matches!(entry, Entry::Began { .. }) {
                all.extend(kept.latest().cloned());
            }
            kept.take(&entry);
        }
        if let Some(at) = at {
            kept.noted(at);
        }
    }
    all.extend(kept.latest().cloned());
    all
}

fn prompts(turns: &[Turn]) -> Vec<&str> {
    turns
        .iter()
        .filter_map(|turn| turn.prompt.as_deref())
        .collect()
}

/// Removes the times that depend on when an entry was read.
fn timeless(mut entries: Vec<Entry>) -> Vec<Entry> {
    for entry in &mut entries {
        if let Entry::Ended {
            how: How::Limited { until, .. },
            ..
        } = entry
        {
            *until = None;
        }
    }
    entries
}

#[test]
fn codex() {
    let turns = turns(Format::Codex, CODEX);
    let all = [
        "hello one\nsecond line `x` $(y) é",
        "ask me",
        "fail",
        "too much",
        "slow",
    ];
    assert_eq!(prompts(&turns), all);
    let [first, asked, failed, limited, interrupted] = turns.as_slice() else {
        panic!("five turns: {turns:?}");
    };
    assert_eq!(first.began, Some(time("2026-11-23T03:57:58.096Z")));
    assert_eq!(first.ended, Some(time("2026-11-23T03:58:01.181Z")));
    assert_eq!(first.how, Some(How::Done));
    assert_eq!(first.said, ["I shall look."]);
    let response = "Done:\n\n* list item\n* a longer line";
    assert_eq!(first.response.as_deref(), Some(response));
    assert_eq!(first.files, ["/proj/new.txt", "/proj/sub/b.txt"]);
    assert_eq!(asked.asked, None);
    assert_eq!(asked.response.as_deref(), Some("Touched. Shall I go on?"));
    let message = "bad thing".to_owned();
    assert_eq!(failed.how, Some(How::Failed { message }));
    assert_eq!(failed.response, None);
    let until = Timestamp::from_second(1_795_410_000).ok();
    let message = "You’ve hit your usage limit. Try again later.".to_owned();
    assert_eq!(limited.how, Some(How::Limited { message, until }));
    assert_eq!(interrupted.how, Some(How::Interrupted));
    assert_eq!(interrupted.ended, Some(time("2026-11-23T03:58:35.821Z")));
}

#[test]
fn codex_asks_until_it_is_answered() {
    let lines: Vec<&str> = CODEX.lines().collect();
    let asks = turns(Format::Codex, &lines[..16].join("\n"));
    let asked = asks.last().expect("a turn");
    assert_eq!(
        asked.asked.as_deref(),
        Some("Shall I touch it?\ntouch /etc/x")
    );
    assert_eq!(asked.how, None);
    assert_eq!(asked.last, Some(time("2026-11-23T03:58:21.028Z")));
    let answered = turns(Format::Codex, &lines[..17].join("\n"));
    assert_eq!(answered.last().expect("a turn").asked, None);
    // If nobody is ever asked, it does not wait.
    let never = CODEX.replace("on-request", "never");
    let lines: Vec<&str> = never.lines().collect();
    let runs = turns(Format::Codex, &lines[..16].join("\n"));
    assert_eq!(runs.last().expect("a turn").asked, None);
}

#[test]
fn older_codex() {
    let turns = turns(Format::Codex, include_str!("samples/codex-older.jsonl"));
    let [limited, dropped, open] = turns.as_slice() else {
        panic!("three turns: {turns:?}");
    };
    assert_eq!(limited.said, ["one"]);
    assert_eq!(limited.response.as_deref(), Some("one"));
    assert_eq!(limited.files, ["/p/a"]);
    let until = Some(time("2026-01-01T00:00:24Z"));
    assert!(matches!(&limited.how, Some(How::Limited { until: end, .. }) if *end == until));
    // Another turn began: this one ended with the program.
    assert_eq!(dropped.how, Some(How::Interrupted));
    assert_eq!(open.how, None);
}

#[test]
fn claude() {
    let turns = turns(Format::Claude, CLAUDE);
    let all = [
        "fix the parser\nplease",
        "which one?",
        "too much",
        "and now",
    ];
    assert_eq!(prompts(&turns), all);
    let [first, interrupted, limited, failed] = turns.as_slice() else {
        panic!("four turns: {turns:?}");
    };
    assert_eq!(first.how, Some(How::Done));
    assert_eq!(
        first.said,
        ["I shall mend it.", "It is mended:\n\n* one\n* two"]
    );
    assert_eq!(
        first.response.as_deref(),
        Some("It is mended:\n\n* one\n* two")
    );
    assert_eq!(first.files, ["/proj/parser.rs"]);
    assert_eq!(first.ended, Some(time("2026-11-23T09:00:05.500Z")));
    assert_eq!(interrupted.how, Some(How::Interrupted));
    let message = "You've hit your session limit · resets 11:30am (UTC)".to_owned();
    let until = Some(time("2026-11-23T11:30:00Z"));
    assert_eq!(limited.how, Some(How::Limited { message, until }));
    let message = "API Error: 529 Overloaded.".to_owned();
    assert_eq!(failed.how, Some(How::Failed { message }));
}

#[test]
fn claude_asks_until_it_is_answered() {
    let lines: Vec<&str> = CLAUDE.lines().collect();
    let asks = turns(Format::Claude, &lines[..18].join("\n"));
    let asked = asks.last().expect("a turn");
    assert_eq!(asked.asked.as_deref(), Some("The first or the second?"));
    let answered = turns(Format::Claude, &lines[..19].join("\n"));
    assert_eq!(answered.last().expect("a turn").asked, None);
}

#[test]
fn claude_without_ends() {
    let turns = turns(
        Format::Claude,
        include_str!("samples/claude-without-ends.jsonl"),
    );
    let [one, two, command, woken] = turns.as_slice() else {
        panic!("four turns: {turns:?}");
    };
    assert_eq!(
        (&one.how, one.response.as_deref()),
        (&Some(How::Done), Some("first"))
    );
    assert_eq!(two.further.len(), 1);
    assert_eq!(two.further[0].text, "and this");
    assert_eq!(command.prompt.as_deref(), Some("/review it all"));
    assert_eq!(command.response.as_deref(), Some("good\n\nvery good"));
    assert_eq!(woken.prompt, None);
    assert_eq!(woken.response.as_deref(), Some("noted"));
}

#[test]
fn aider() {
    let turns = turns(Format::Aider, AIDER);
    let all = [
        "hello from\ntwo lines",
        "/tokens",
        "go on by yourself",
        "try again",
        "stop it",
        "too much",
        "fail",
    ];
    assert_eq!(prompts(&turns), all);
    let [first, command, goes_on, tries, interrupted, limited, failed] = turns.as_slice() else {
        panic!("seven turns: {turns:?}");
    };
    let response = "the answer to: hello from\n\n#### A heading\n\n> a quotation\n\n* a list";
    assert_eq!(first.response.as_deref(), Some(response));
    assert_eq!(first.how, Some(How::Done));
    assert_eq!(first.files, ["src/new.js"]);
    assert_eq!((&command.how, &command.response), (&Some(How::Done), &None));
    assert_eq!(goes_on.said, ["first part", "second part"]);
    assert_eq!(goes_on.response.as_deref(), Some("second part"));
    assert_eq!(goes_on.files, ["src/a.js", "src/new.js"]);
    assert_eq!(
        (&tries.how, tries.response.as_deref()),
        (&Some(How::Done), Some("it worked"))
    );
    assert_eq!(interrupted.how, Some(How::Interrupted));
    assert!(matches!(
        &limited.how,
        Some(How::Limited { until: Some(_), .. })
    ));
    let message = "litellm.BadRequestError: bad thing".to_owned();
    assert_eq!(failed.how, Some(How::Failed { message }));
}

#[test]
fn an_error_of_aider_ends_the_turn_only_when_no_other_try_follows() {
    let begin = "\n#### x  \n> litellm.RateLimitError: slow down  \n";
    let mut parser = Parser::new(LineFormat::Aider, false);
    let mut entries = Vec::new();
    for line in begin.lines() {
        parser.line(line, &mut entries);
    }
    assert_eq!(entries.len(), 2, "{entries:?}");
    parser.line("> Retrying in 0.2 seconds...  ", &mut entries);
    parser.still(&mut entries);
    assert_eq!(entries.len(), 2, "{entries:?}");
    parser.line("> litellm.RateLimitError: slow down  ", &mut entries);
    parser.still(&mut entries);
    parser.still(&mut entries);
    assert_eq!(entries.len(), 3, "{entries:?}");
}

#[test]
fn the_same_prompt() {
    for format in [Format::Codex, Format::Claude, Format::Aider] {
        assert!(same(format, "a\nb", " a\r\nb\n\n"));
        assert!(!same(format, "a\nb", "a\n\nb"));
        assert!(!same(format, "a b", "a  b"));
        assert!(!same(format, "a", "a\nb"));
        assert!(!same(format, "a\n b", "a\nb"));
        assert!(same(format, "", "\n"));
    }
    assert!(!same(Format::Codex, "a \nb", "a\nb"));
    assert!(same(Format::Aider, "a \nb", "a\nb"));
    assert!(same(Format::Aider, "a\nb", "a\u{c}b"));
}

/// What Claude Code 2.1.332 records for four lines with a tab in them.
#[test]
fn a_prompt_that_was_pasted_into_claude_is_known() {
    let delivered = "one\n\ttwo \n\nfour  \n";
    let kept = "\n\n<pasted_content id=\"c934\">\none\n    two \n\nfour  \n\
                </pasted_content id=\"c934\">\n";
    assert!(same(Format::Claude, kept, delivered));
    assert!(!same(Format::Codex, kept, delivered));
    assert!(!same(Format::Claude, kept, "one\n\ttwo\nfour"));
    // A prompt that mentions such tags is kept as it is, or with an escape character in them.
    let spoken = "<pasted_content id=\"1\">\nx\n</pasted_content id=\"1\">";
    let kept_so = "<\\pasted_content id=\"1\">\nx\n<\\/pasted_content id=\"1\">";
    assert!(same(Format::Claude, kept_so, spoken));
    assert!(same(Format::Claude, kept, kept));
}

struct Scratch {
    directory: tempfile::TempDir,
}

impl Scratch {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        Self { directory }
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("transcript")
    }

    fn write(&self, text: impl AsRef<[u8]>) -> PathBuf {
        fs::write(self.path(), text).expect("written");
        self.path()
    }

    fn append(&self, text: impl AsRef<[u8]>) {
        let mut file = OpenOptions::new()
            .append(true)
            .open(self.path())
            .expect("there");
        file.write_all(text.as_ref()).expect("written");
    }
}

fn read_all(follower: &mut Follower) -> Vec<Entry> {
    let mut entries = Vec::new();
    for _ in 0..20 {
        entries.extend(follower.read().expect("readable"));
    }
    entries.extend(follower.settle_now());
    timeless(entries)
}

#[test]
fn cut_anywhere_it_says_the_same() {
    let short = [
        (Format::Codex, include_str!("samples/codex-older.jsonl"), 1),
        (
            Format::Claude,
            include_str!("samples/claude-without-ends.jsonl"),
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
    scratch.append(include_str!("samples/codex-unasked.jsonl"));
    read_all(&mut follower);
    assert_eq!(follower.turn().expect("a turn").prompt, None);
    assert!(follower.turn_of(wanted("slow", early)).is_some());
    // What is said while the agent works belongs to its turn.
    scratch.append(include_str!("samples/codex-further.jsonl"));
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

fn spec(format: Format, default: &str, files: &str) -> Spec {
    Spec {
        format,
        home: Home {
            variable: Some("AGENT_HOME".to_owned()),
            default: default.to_owned(),
        },
        files: files.to_owned(),
    }
}

#[test]
fn a_place_is_data() {
    let text = r#"{"format":"codex","files":"sessions/**/rollout-*.jsonl",
        "home":{"variable":"CODEX_HOME","default":"~/.codex"}}"#;
    let read: Spec = serde_json::from_str(text).expect("as profiles say it");
    assert_eq!(read.home.variable.as_deref(), Some("CODEX_HOME"));
    let odd = text.replace("files", "glob");
    assert!(serde_json::from_str::<Spec>(&odd).is_err());
}

#[test]
fn the_newest_come_first() {
    let scratch = Scratch::new();
    let home = scratch.directory.path();
    let day = home.join("sessions/2026/11/23");
    fs::create_dir_all(&day).expect("made");
    let old = SystemTime::now() - Duration::from_secs(1_000);
    for (number, name) in ["rollout-c.jsonl", "rollout-a.jsonl", "rollout-b.jsonl"]
        .iter()
        .enumerate()
    {
        let file = File::create(day.join(name)).expect("made");
        let changed = old + Duration::from_secs(number as u64 * 10);
        file.set_modified(changed).expect("set");
    }
    fs::write(day.join("notes.jsonl"), "").expect("written");
    fs::create_dir(day.join("rollout-d.jsonl")).expect("made");
    // A cycle.
    std::os::unix::fs::symlink(home, home.join("sessions/again")).expect("linked");
    let env: BTreeMap<_, _> = [(
        "AGENT_HOME".to_owned(),
        home.to_str().expect("UTF-8").to_owned(),
    )]
    .into();
    let spec = spec(Format::Codex, "~/.codex", "sessions/**/rollout-*.jsonl");
    let cwd = Path::new("/proj");
    let found = candidates(&spec, &env, cwd, SystemTime::UNIX_EPOCH);
    let names: Vec<_> = found
        .iter()
        .filter_map(|path| path.file_name()?.to_str())
        .collect();
    assert_eq!(
        names,
        ["rollout-b.jsonl", "rollout-a.jsonl", "rollout-c.jsonl"]
    );
    let later = old + Duration::from_secs(10);
    assert_eq!(candidates(&spec, &env, cwd, later).len(), 2);
    assert!(belongs(&spec, &env, cwd, &found[0]));
    assert!(!belongs(&spec, &env, cwd, &day.join("notes.jsonl")));
    assert!(!belongs(
        &spec,
        &env,
        cwd,
        &home.join("sessions/../sessions/rollout-a.jsonl")
    ));
    assert!(!belongs(
        &spec,
        &env,
        cwd,
        Path::new("/elsewhere/sessions/rollout-a.jsonl")
    ));
    // The default depends on the agent's own HOME, which is not set.
    assert!(candidates(&spec, &BTreeMap::new(), cwd, SystemTime::UNIX_EPOCH).is_empty());
}

#[test]
fn places_depend_on_the_directory() {
    let scratch = Scratch::new();
    let home = scratch.directory.path();
    let cwd = home.join("a.b [x]{y}*/ü");
    fs::create_dir_all(&cwd).expect("made");
    let env: BTreeMap<_, _> =
        [("HOME".to_owned(), home.to_str().expect("UTF-8").to_owned())].into();
    let slug: String = cwd
        .to_str()
        .expect("UTF-8")
        .chars()
        .map(|letter| {
            if letter.is_ascii_alphanumeric() {
                letter
            } else {
                '-'
            }
        })
        .collect();
    let project = home.join(".claude/projects").join(slug);
    fs::create_dir_all(&project).expect("made");
    fs::write(project.join("one.jsonl"), "").expect("written");
    let claude = spec(Format::Claude, "~/.claude", "projects/{slug}/*.jsonl");
    let any = SystemTime::UNIX_EPOCH;
    assert_eq!(
        candidates(&claude, &env, &cwd, any),
        [project.join("one.jsonl")]
    );
    assert!(belongs(&claude, &env, &cwd, &project.join("two.jsonl")));
    assert!(!belongs(
        &claude,
        &env,
        &cwd,
        &project.join("one/agent.jsonl")
    ));

    let history = cwd.join(".aider.chat.history.md");
    fs::write(&history, "").expect("written");
    for (default, files) in [
        ("{cwd}", ".aider.chat.history.md"),
        ("~", "{cwd}/.aider.chat.history.md"),
        ("{root}", ".aider*.md"),
    ] {
        let aider = spec(Format::Aider, default, files);
        assert_eq!(
            candidates(&aider, &env, &cwd, any),
            std::slice::from_ref(&history)
        );
        assert!(belongs(&aider, &env, &cwd, &history));
    }
    fs::create_dir(home.join(".git")).expect("made");
    let aider = spec(Format::Aider, "{root}", ".aider.chat.history.md");
    assert!(candidates(&aider, &env, &cwd, any).is_empty());
    fs::write(home.join(".aider.chat.history.md"), "").expect("written");
    assert_eq!(candidates(&aider, &env, &cwd, any).len(), 1);
}

/// Values of any shape under the names that matter.
fn value() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        any::<f64>().prop_map(Into::into),
        ".{0,12}".prop_map(Into::into),
        prop::sample::select(WORDS.to_vec()).prop_map(Into::into),
    ];
    leaf.prop_recursive(5, 48, 8, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Into::into),
            prop::collection::vec((prop::sample::select(NAMES.to_vec()), inner), 0..8).prop_map(
                |fields| {
                    let fields = fields
                        .into_iter()
                        .map(|(name, value)| (name.to_owned(), value));
                    serde_json::Value::Object(fields.collect())
                }
            ),
        ]
    })
}

const WORDS: [&str; 30] = [
    "event_msg",
    "response_item",
    "task_started",
    "task_complete",
    "turn_aborted",
    "item_completed",
    "UserMessage",
    "AgentMessage",
    "FileChange",
    "completed",
    "token_count",
    "usage_limit_exceeded",
    "function_call",
    "function_call_output",
    "request_user_input",
    "user",
    "assistant",
    "system",
    "attachment",
    "queued_command",
    "turn_duration",
    "end_turn",
    "text",
    "tool_use",
    "tool_result",
    "Edit",
    "AskUserQuestion",
    "rate_limit",
    "2026-11-23T03:58:29.534Z",
    "[Request interrupted by user]",
];
const NAMES: [&str; 34] = [
    "timestamp",
    "type",
    "payload",
    "turn_id",
    "item",
    "content",
    "text",
    "message",
    "last_agent_message",
    "error",
    "codex_error_info",
    "http_status_code",
    "rate_limits",
    "primary",
    "used_percent",
    "resets_at",
    "resets_in_seconds",
    "changes",
    "status",
    "name",
    "arguments",
    "call_id",
    "isSidechain",
    "isMeta",
    "isApiErrorMessage",
    "id",
    "stop_reason",
    "input",
    "questions",
    "question",
    "file_path",
    "tool_use_id",
    "attachment",
    "prompt",
];

/// Lines of a chat history.
fn markdown() -> impl Strategy<Value = String> {
    let says = prop_oneof![
        prop::sample::select(SAYS.to_vec()).prop_map(str::to_owned),
        ".{0,10}"
    ];
    let begins = prop::sample::select(vec!["", "####", "#### ", ">", "> "]);
    (begins, says, prop::sample::select(vec!["", "  "]))
        .prop_map(|(begin, says, end)| format!("{begin}{says}{end}"))
}

const SAYS: [&str; 8] = [
    "# aider chat started at 2026",
    "Tokens: 1 sent",
    "litellm.RateLimitError: x",
    "Retrying in 1",
    "Applied edit to a",
    "Traceback (most recent call last)",
    "^C again to exit",
    "y has hit a token limit",
];

fn feed_all(lines: &[String]) {
    for format in [Format::Codex, Format::Claude, Format::Aider] {
        for middle in [false, true] {
            let mut parser = Parser::new(format.lines().expect("lines"), middle);
            let mut turns = Turns::default();
            let mut entries = Vec::new();
            for line in lines {
                if let Some(at) = parser.line(line, &mut entries) {
                    turns.noted(at);
                }
                for entry in entries.drain(..) {
                    turns.take(&entry);
                }
            }
            parser.still(&mut entries);
            turns.age();
        }
    }
}

proptest! {
    #[test]
    fn lines_of_any_shape_are_read(values in prop::collection::vec(value(), 0..12)) {
        let lines: Vec<String> = values.iter().map(ToString::to_string).collect();
        feed_all(&lines);
    }

    #[test]
    fn known_lines_with_other_values_are_read(
        sample in 0..2_usize,
        line in 0..40_usize,
        name in prop::sample::select(NAMES.to_vec()),
        value in value(),
    ) {
        let (_, text) = SAMPLES[sample];
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        let line = line % lines.len();
        let mut changed: serde_json::Value = serde_json::from_str(&lines[line]).expect("JSON");
        put(&mut changed, name, &value);
        lines[line] = changed.to_string();
        feed_all(&lines);
    }

    #[test]
    fn lines_of_text_are_read(lines in prop::collection::vec(markdown(), 0..30)) {
        feed_all(&lines);
    }

    #[test]
    fn bytes_in_any_pieces_are_read(
        pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..64), 0..6),
        format in prop::sample::select(vec![Format::Codex, Format::Claude, Format::Aider]),
    ) {
        let scratch = Scratch::new();
        let mut follower = Follower::new(format, scratch.write(""));
        for piece in &pieces {
            scratch.append(piece);
            follower.read().expect("readable");
        }
        let whole = pieces.concat();
        let once = read_all(&mut Follower::new(format, scratch.write(whole)));
        let mut anew = Follower::new(format, scratch.path());
        prop_assert_eq!(read_all(&mut anew), once);
    }

    /// A prompt that Aider recorded is the same as the one that was delivered.
    #[test]
    fn aider_keeps_prompts(text in "[a-z #>\t]{1,8}(\n[a-z #>\t]{0,8}){0,5}") {
        prop_assume!(!text.trim().is_empty() && !text.trim_start().starts_with(['/', '!']));
        let lines: Vec<&str> = text.split_terminator('\n').collect();
        let written = format!("\n#### {}", lines.join("  \n#### "));
        let written = format!("{}  \n", written.trim_end());
        let turns = turns(Format::Aider, &written);
        prop_assert_eq!(turns.len(), 1, "{:?}", written);
        let prompt = turns[0].prompt.as_deref().unwrap_or_default();
        prop_assert!(same(Format::Aider, prompt, &text), "{:?}", prompt);
    }
}

/// Puts a value into every field with that name.
fn put(into: &mut serde_json::Value, name: &str, value: &serde_json::Value) {
    match into {
        serde_json::Value::Object(fields) => {
            for (field, inner) in fields {
                if field == name {
                    *inner = value.clone();
                } else {
                    put(inner, name, value);
                }
            }
        }
        serde_json::Value::Array(items) => {
            for item in items {
                put(item, name, value);
            }
        }
        _ => {}
    }
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

fn wanted(text: &str, since: Timestamp) -> Wanted<'_> {
    Wanted {
        id: None,
        text,
        since,
    }
}

/// Claude Code 2.1.231 may record the first turn's answer and end before its prompt.
#[test]
fn an_answer_that_is_written_before_its_prompt_belongs_to_it() {
    let line = |kind: &str, own: &str, before: &str, rest: &str| {
        format!(
            r#"{{"type":"{kind}","uuid":"{own}","parentUuid":{before},"timestamp":"2026-11-29T10:00:00.{own}Z"{rest}}}"#
        )
    };
    let prompt = line(
        "user",
        "100",
        "null",
        r#","promptId":"p1","message":{"role":"user","content":"do it"}"#,
    );
    let attached = line(
        "attachment",
        "101",
        r#""100""#,
        r#","attachment":{"type":"date"}"#,
    );
    let answer = line(
        "assistant",
        "300",
        r#""101""#,
        r#","message":{"id":"m","content":[{"type":"text","text":"done"}],"stop_reason":"end_turn"}"#,
    );
    let end = line("system", "400", r#""300""#, r#","subtype":"turn_duration""#);
    let mode = r#"{"type":"mode","mode":"normal"}"#.to_owned();
    let lines = [mode, prompt, attached, answer, end];
    for order in [
        [0, 1, 2, 3, 4],
        [3, 4, 0, 1, 2],
        [4, 3, 2, 1, 0],
        [0, 3, 1, 4, 2],
    ] {
        let scratch = Scratch::new();
        let ordered: String = order.iter().map(|&at| format!("{}\n", lines[at])).collect();
        let mut follower = Follower::new(Format::Claude, scratch.write(&ordered));
        read_all(&mut follower);
        let any = time("2026-11-29T00:00:00Z");
        let turn = follower.turn_of(wanted("do it", any)).expect("it is known");
        assert_eq!(turn.how, Some(How::Done), "{order:?}");
        assert_eq!(turn.response.as_deref(), Some("done"), "{order:?}");
        assert_eq!(turn.id.as_deref(), Some("p1"));
        // It is found by its name whatever its words are, and not by its words if the name is
        // different.
        let by_name = |id: &'static str, text: &'static str| Wanted {
            id: Some(id),
            text,
            since: any,
        };
        assert!(follower.turn_of(by_name("p1", "else")).is_some());
        assert!(follower.turn_of(by_name("p2", "do it")).is_none());
    }
}
