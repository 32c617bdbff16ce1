//! The Responses API, as far as Codex needs it.

use std::io;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{RESET, Reply, Script, Shared, Turn, answer};

/// Serves the Responses API.
pub(super) fn responses(asked: &Value, shared: &Shared, out: &mut Reply<'_>) -> io::Result<()> {
    let number = shared.number();
    let message = |text: &str| {
        json!({
            "type": "message", "role": "assistant", "id": format!("m{number}"),
            "content": [{"type": "output_text", "text": text}],
        })
    };
    // A request outside of the turn, such as one for a title, asks for a special format.
    if asked["text"]["format"]["type"] == "json_schema" {
        out.begin()?;
        return said(out, number, &message(r#"{"title":"A task"}"#));
    }
    let empty = Vec::new();
    let input = asked["input"].as_array().unwrap_or(&empty);
    let people: Vec<&str> = input
        .iter()
        .filter(|item| item["type"] == "message" && item["role"] == "user")
        .flat_map(|item| item["content"].as_array().into_iter().flatten())
        .filter_map(|part| part["text"].as_str())
        .collect();
    let prompt = (*people.last().unwrap_or(&"")).to_owned();
    let cwd = people.iter().rev().find_map(|text| {
        let (_, rest) = text.split_once("<cwd>")?;
        Some(rest.split_once("</cwd>")?.0.to_owned())
    });
    let id = |name: &str| asked["client_metadata"][name].as_str().map(str::to_owned);
    let thread = id("thread_id").unwrap_or_default();
    let turn = id("turn_id").unwrap_or_else(|| number.to_string());
    let script = Script::of(&prompt);
    let request = Turn::begins(&thread, &turn, cwd, &prompt);
    if shared.note(request, &script) {
        let reset = Timestamp::now().as_second() + RESET;
        let error = json!({"error": {
            "type": "usage_limit_reached", "message": "The usage limit has been reached",
            "plan_type": "plus", "resets_at": reset, "resets_in_seconds": RESET,
        }});
        return out.whole(429, &[], &error);
    }
    if script.error {
        let error = json!({"error": {
            "type": "invalid_request_error", "message": "a bad request, says the model",
        }});
        return out.whole(400, &[], &error);
    }
    out.begin()?;
    out.event(&json!({"type": "response.created", "response": {"id": format!("r{number}")}}))?;
    shared.wait(&script);
    let first = input.last().is_some_and(|item| item["type"] == "message");
    if script.ask && first {
        let arguments = json!({
            "cmd": "touch asked",
            "justification": "May I touch it?",
            "sandbox_permissions": "require_escalated",
        });
        let call = json!({
            "type": "function_call", "id": format!("f{number}"), "name": "exec_command",
            "call_id": format!("call{number}"), "arguments": arguments.to_string(),
        });
        return said(out, number, &call);
    }
    let text = answer(&prompt);
    shared.answered(&thread, &turn, &text);
    said(out, number, &message(&text))
}

/// Ends a stream of the Responses API with the model's output.
fn said(out: &mut Reply<'_>, number: u64, item: &Value) -> io::Result<()> {
    out.event(&json!({"type": "response.output_item.done", "item": item}))?;
    out.event(&json!({"type": "response.completed", "response": {
        "id": format!("r{number}"),
        "usage": {
            "input_tokens": 5, "input_tokens_details": null,
            "output_tokens": 5, "output_tokens_details": null, "total_tokens": 10,
        },
    }}))
}
