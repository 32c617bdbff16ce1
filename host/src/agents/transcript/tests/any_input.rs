//! Lines and bytes as nobody would write them.

use proptest::prelude::*;

use super::*;

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
    for format in [
        Format::Codex,
        Format::Claude,
        Format::Aider,
        Format::Gemini,
        Format::Qwen,
    ] {
        for middle in [false, true] {
            let mut parser = Parser::new(format.lines().expect("lines"), middle);
            let mut turns = Turns::default();
            let mut entries = Vec::new();
            for line in lines {
                if let Some(at) = parser.line(line, &mut entries) {
                    turns.noted(at);
                }
                for entry in entries.drain(..) {
                    turns.take(&entry, Timestamp::MAX);
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
