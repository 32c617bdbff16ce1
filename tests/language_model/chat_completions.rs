//! Chat completions, as far as Aider and opencode need them.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;

use serde_json::{Value, json};

use super::{RESET, Reply, Script, Shared, Turn, answer};

/// Serves chat completions, as events or at once.
pub(super) fn chat(asked: &Value, shared: &Shared, out: &mut Reply<'_>) -> io::Result<()> {
    let number = shared.number();
    let empty = Vec::new();
    let messages = asked["messages"].as_array().unwrap_or(&empty);
    let at = messages
        .iter()
        .rposition(|message| message["role"] == "user");
    let (said, since) = messages.split_at(at.map_or(0, |at| at + 1));
    let prompt = said
        .last()
        .and_then(|message| message["content"].as_str())
        .unwrap_or_default()
        .to_owned();
    // This API has no names of turns. A retry has exactly the same conversation before it.
    let mut hasher = DefaultHasher::new();
    said.iter()
        .for_each(|message| message.to_string().hash(&mut hasher));
    let turn = hasher.finish().to_string();
    let script = Script::of(&prompt);
    let request = Turn::begins("chat", &turn, None, &prompt);
    if shared.note(request, &script) {
        let message = format!("Rate limit reached. Please try again in {RESET}s.");
        let error = json!({"error": {"type": "rate_limit_exceeded", "message": message}});
        return out.whole(429, &[("retry-after", RESET.to_string())], &error);
    }
    if script.error {
        let error = json!({"error": {
            "type": "invalid_request_error", "message": "a bad request, says the model",
        }});
        return out.whole(400, &[], &error);
    }
    if script.deny {
        let error = json!({"error": {
            "type": "authentication_error", "message": "the key is invalid, says the model",
        }});
        return out.whole(401, &[], &error);
    }
    let has_run = since.iter().any(|message| message["role"] == "tool");
    if script.ask && !has_run && asked["stream"] == true {
        shared.wait(&script);
        let arguments = json!({"command": "touch asked", "description": "Touch it"});
        let call = json!({
            "index": 0, "id": format!("call{number}"), "type": "function",
            "function": {"name": "bash", "arguments": arguments.to_string()},
        });
        out.begin()?;
        let delta = json!({"role": "assistant", "tool_calls": [call]});
        return events(
            out,
            number,
            [(delta, Value::Null), (json!({}), json!("tool_calls"))],
        );
    }
    let text = answer(&prompt);
    if asked["stream"] != true {
        shared.wait(&script);
        shared.answered("chat", &turn, &text);
        return out.whole(
            200,
            &[],
            &json!({
                "id": format!("c{number}"), "object": "chat.completion", "created": 1, "model": "mock",
                "choices": [{
                    "index": 0, "finish_reason": "stop",
                    "message": {"role": "assistant", "content": text},
                }],
                "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
            }),
        );
    }
    out.begin()?;
    shared.wait(&script);
    shared.answered("chat", &turn, &text);
    let delta = json!({"role": "assistant", "content": text});
    events(
        out,
        number,
        [(delta, Value::Null), (json!({}), json!("stop"))],
    )
}

/// Sends the parts of an answer, each with how it ends if it does, and the end.
fn events(out: &mut Reply<'_>, number: u64, parts: [(Value, Value); 2]) -> io::Result<()> {
    for (delta, finish) in parts {
        let chunk = json!({
            "id": format!("c{number}"), "object": "chat.completion.chunk", "created": 1, "model": "mock",
            "choices": [{"index": 0, "delta": delta, "finish_reason": finish}],
        });
        out.send(&format!("data: {chunk}\n\n"))?;
    }
    out.send("data: [DONE]\n\n")
}
