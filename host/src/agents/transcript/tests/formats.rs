//! The samples of each agent, as they are.

use super::*;

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
    let turns = turns(Format::Codex, include_str!("../samples/codex-older.jsonl"));
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
        include_str!("../samples/claude-without-ends.jsonl"),
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
            nonce: None,
            since: any,
        };
        assert!(follower.turn_of(by_name("p1", "else")).is_some());
        assert!(follower.turn_of(by_name("p2", "do it")).is_none());
    }
}

/// Each turn's end, or how it would have ended if its agent was idle then.
fn ends(turns: &[TranscriptTurn]) -> Vec<(Option<How>, Option<How>)> {
    let end = |turn: &TranscriptTurn| {
        let paused = turn.paused.as_ref().map(|(how, _)| how.clone());
        (turn.how.clone(), paused)
    };
    turns.iter().map(end).collect()
}

const LINES: &str = "line one\twith tab\n\n  indented  \nline four LONG\nfive\nsix";

#[test]
fn qwen() {
    let turns = turns(Format::Qwen, QWEN);
    assert_eq!(
        prompts(&turns),
        [
            "first simple",
            LINES,
            "ASK please",
            "FAIL=400 now",
            "FAIL=429 now"
        ]
    );
    let failed = How::Failed {
        message: "400 no such luck".to_owned(),
    };
    let limited = How::Limited {
        message: "429 no such luck".to_owned(),
        until: None,
    };
    let done = (Some(How::Done), None);
    // An error may be followed by another try.
    assert_eq!(
        ends(&turns),
        [
            done.clone(),
            done.clone(),
            done,
            (None, Some(failed)),
            (None, Some(limited))
        ]
    );
    let response = turns[0].response.as_deref();
    assert_eq!(
        response,
        Some("the answer to: first simple\n\nsecond paragraph")
    );
    assert!(
        turns[1]
            .response
            .as_deref()
            .is_some_and(|said| said.contains(LINES))
    );
    // What it said before it used a tool is not its answer.
    let response = turns[2].response.as_deref();
    assert_eq!(response, Some("the answer to: tool\n\nsecond paragraph"));
    let lines: Vec<&str> = QWEN.lines().collect();
    let asking = super::turns(Format::Qwen, &lines[..6].join("\n"));
    assert_eq!(ends(&asking[2..]), [(None, None)]);
}

#[test]
fn gemini() {
    let turns = turns(Format::Gemini, GEMINI);
    assert_eq!(
        prompts(&turns),
        [
            "first simple",
            LINES,
            "ASK please",
            "FAIL=400 now",
            "FAIL=401 now"
        ]
    );
    let open = (None, Some(How::Done));
    let failed = |code: u32| {
        let message = format!(
            "[API Error: {{\"error\":{{\"code\":{code},\"message\":\"no such luck\",\"status\":\"X\"}}}}]"
        );
        (Some(How::Failed { message }), None)
    };
    // The end of a turn is not recorded, unless it is an error. What was cancelled between the last two was
    // never recorded.
    assert_eq!(
        ends(&turns),
        [open.clone(), open.clone(), open, failed(400), failed(401)]
    );
    let said = |turn: &TranscriptTurn| turn.paused.clone().and_then(|(_, said)| said);
    let response = "the answer to: tool\n\nsecond paragraph";
    assert_eq!(said(&turns[2]).as_deref(), Some(response));
    // While a tool is used, nothing has ended, even if the agent were idle.
    let used = GEMINI.find("functionResponse").expect("a tool");
    let until = GEMINI[..used].rfind('\n').expect("a line");
    let using = super::turns(Format::Gemini, &GEMINI[..until]);
    assert!(using.last().expect("a turn").paused.is_none() || GEMINI[..until].ends_with("}"));
    let cancelled = format!(
        "{}\n{{\"type\":\"info\",\"content\":\"Request cancelled.\"}}\n",
        &GEMINI[..until]
    );
    let cancelled = super::turns(Format::Gemini, &cancelled);
    assert_eq!(
        cancelled.last().expect("a turn").how,
        Some(How::Interrupted)
    );
}
