//! The Messages API, as far as Claude Code needs it.

use std::borrow::Cow;
use std::io;

use serde_json::{Value, json};

use super::{Reply, Script, Shared, Turn, answer as answer_to};

/// Answers a request.
pub(crate) fn answer(
    path: &str,
    asked: &Value,
    shared: &Shared,
    out: &mut Reply<'_>,
) -> io::Result<()> {
    if path.contains("/count_tokens") {
        return out.whole(200, &[], &json!({"input_tokens": 5}));
    }
    let empty = Vec::new();
    let messages = asked["messages"].as_array().unwrap_or(&empty);
    // The results of tools come after a person's words.
    let said = messages.iter().enumerate().rev().find_map(|(at, message)| {
        let is_person = message["role"] == "user";
        is_person
            .then(|| words(&message["content"]))
            .flatten()
            .map(|words| (at, words))
    });
    let (at, prompt) = said.unwrap_or_default();
    let prompt = unwrapped(&prompt);
    let tools = asked["tools"]
        .as_array()
        .is_some_and(|tools| !tools.is_empty());
    if !tools || prompt.starts_with("[SUGGESTION MODE") {
        // Requests outside of a turn: a title, a summary, what a person may want next.
        return say(
            asked,
            shared,
            out,
            &json!({"type": "text", "text": "run the tests"}),
        );
    }
    let script = Script::of(&prompt);
    let thread = asked["metadata"]["user_id"]
        .as_str()
        .unwrap_or("one")
        .to_owned();
    let turn = at.to_string();
    let request = Turn::begins(&thread, &turn, cwd(asked), &prompt);
    let refuse = |out: &mut Reply<'_>, code, kind: &str, message: &str| {
        let error = json!({"type": "error", "error": {"type": kind, "message": message}});
        out.whole(code, &[], &error)
    };
    if shared.note(request, &script) {
        return refuse(
            out,
            429,
            "rate_limit_error",
            "The usage limit has been reached",
        );
    }
    if script.error {
        return refuse(
            out,
            400,
            "invalid_request_error",
            "a bad request, says the model",
        );
    }
    if script.deny {
        return refuse(out, 401, "authentication_error", "invalid x-api-key");
    }
    shared.wait(&script);
    let has_result = |message: &Value| {
        let pieces = message["content"].as_array();
        pieces.is_some_and(|pieces| pieces.iter().any(|piece| piece["type"] == "tool_result"))
    };
    let has_run = messages[at..].iter().any(has_result);
    if script.ask && !has_run {
        let call = json!({
            "type": "tool_use", "id": format!("toolu_{}", shared.number()), "name": "Bash",
            "input": {"command": "touch asked", "description": "Touch it"},
        });
        return say(asked, shared, out, &call);
    }
    let text = answer_to(&prompt);
    shared.answered(&thread, &turn, &text);
    say(asked, shared, out, &json!({"type": "text", "text": text}))
}

/// Sends one piece of content, as events or at once.
fn say(asked: &Value, shared: &Shared, out: &mut Reply<'_>, piece: &Value) -> io::Result<()> {
    let is_call = piece["type"] == "tool_use";
    let stop = if is_call { "tool_use" } else { "end_turn" };
    let mut message = json!({
        "id": format!("msg_{}", shared.number()), "type": "message", "role": "assistant",
        "model": asked["model"], "content": [], "stop_reason": null, "stop_sequence": null,
        "usage": {"input_tokens": 5, "output_tokens": 5},
    });
    if asked["stream"] != true {
        message["content"] = json!([piece]);
        message["stop_reason"] = json!(stop);
        return out.whole(200, &[], &message);
    }
    let (mut begin, delta) = if is_call {
        let input = piece["input"].to_string();
        (
            piece.clone(),
            json!({"type": "input_json_delta", "partial_json": input}),
        )
    } else {
        (
            piece.clone(),
            json!({"type": "text_delta", "text": piece["text"]}),
        )
    };
    if is_call {
        begin["input"] = json!({});
    } else {
        begin["text"] = json!("");
    }
    out.begin()?;
    for event in [
        json!({"type": "message_start", "message": message}),
        json!({"type": "content_block_start", "index": 0, "content_block": begin}),
        json!({"type": "content_block_delta", "index": 0, "delta": delta}),
        json!({"type": "content_block_stop", "index": 0}),
        json!({
            "type": "message_delta", "usage": {"output_tokens": 5},
            "delta": {"stop_reason": stop, "stop_sequence": null},
        }),
        json!({"type": "message_stop"}),
    ] {
        out.event(&event)?;
    }
    Ok(())
}

/// Returns the last words of a person in a message; `None` if only the program speaks in it.
fn words(content: &Value) -> Option<String> {
    let texts: Vec<&str> = match content {
        Value::String(text) => vec![text],
        Value::Array(pieces) => pieces
            .iter()
            .filter_map(|piece| piece["text"].as_str())
            .collect(),
        _ => Vec::new(),
    };
    let is_person = |text: &&&str| !text.trim_start().starts_with("<system-reminder>");
    texts.iter().rfind(is_person).map(|text| (*text).to_owned())
}

/// Removes the tags that newer versions put around pasted text.
fn unwrapped(prompt: &str) -> String {
    let open = |text: &str| {
        let (before, tag) = text.split_once("<pasted_content id=\"")?;
        let (id, inside) = tag.split_once("\">\n")?;
        let (inside, after) = inside.split_once(&format!("\n</pasted_content id=\"{id}\">"))?;
        Some(format!("{}{inside}{}", before.trim_end(), after.trim_end()))
    };
    let mut text = Cow::Borrowed(prompt);
    while let Some(plain) = open(&text) {
        text = Cow::Owned(plain);
    }
    text.into_owned()
}

/// Returns the agent's directory, as the agent states it.
fn cwd(asked: &Value) -> Option<String> {
    let all = asked.to_string();
    let (_, rest) = all.split_once("working directory: ")?;
    let end = rest.find(['\\', '"'])?;
    Some(rest[..end].to_owned())
}
