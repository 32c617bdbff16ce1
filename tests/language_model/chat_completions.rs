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
    let last = messages.iter().rfind(|message| message["role"] == "user");
    let prompt = last
        .and_then(|message| message["content"].as_str())
        .unwrap_or_default()
        .to_owned();
    // This API has no names of turns. A retry has exactly the same conversation.
    let mut hasher = DefaultHasher::new();
    asked["messages"].to_string().hash(&mut hasher);
    let turn = hasher.finish().to_string();
    let script = Script::of(&prompt);
    let request = Turn {
        thread: "chat".to_owned(),
        turn: turn.clone(),
        cwd: None,
        prompt: prompt.clone(),
        requests: 1,
        answer: None,
    };
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
    let text = answer(&prompt);
    let id = format!("c{number}");
    if asked["stream"] != true {
        shared.wait(&script);
        shared.answered("chat", &turn, &text);
        return out.whole(
            200,
            &[],
            &json!({
                "id": id, "object": "chat.completion", "created": 1, "model": "mock",
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
    for (delta, finish) in [
        (json!({"role": "assistant", "content": text}), Value::Null),
        (json!({}), json!("stop")),
    ] {
        let chunk = json!({
            "id": id, "object": "chat.completion.chunk", "created": 1, "model": "mock",
            "choices": [{"index": 0, "delta": delta, "finish_reason": finish}],
        });
        out.send(&format!("data: {chunk}\n\n"))?;
    }
    out.send("data: [DONE]\n\n")
}
