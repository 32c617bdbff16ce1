//! The Gemini API, as far as Gemini CLI needs it.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;

use serde_json::{Value, json};

use super::{Reply, Script, Shared, Turn, answer as answer_to};

/// Answers a request.
pub(super) fn answer(
    path: &str,
    asked: &Value,
    shared: &Shared,
    out: &mut Reply<'_>,
) -> io::Result<()> {
    if path.contains(":countTokens") {
        return out.whole(200, &[], &json!({"totalTokens": 5}));
    }
    let empty = Vec::new();
    let contents = asked["contents"].as_array().unwrap_or(&empty);
    // The results of tools come after a person's words, and are a user's, too.
    let said = contents.iter().enumerate().rev();
    let said = said.filter(|(_, content)| content["role"] == "user");
    let (at, prompt) = said
        .filter_map(|(at, content)| Some((at, words(content)?)))
        .next()
        .unwrap_or_default();
    let script = Script::of(&prompt);
    // This API has no names of turns. A retry has exactly the same words before it.
    let mut hasher = DefaultHasher::new();
    let before = contents.iter().take(at + 1).map(texts);
    before.for_each(|texts| texts.hash(&mut hasher));
    let turn = hasher.finish().to_string();
    let request = Turn::begins("gemini", &turn, cwd(contents), &prompt);
    let refuse = |out: &mut Reply<'_>, code: u16, status: &str, message: &str| {
        let error = json!({"error": {"code": code, "status": status, "message": message}});
        out.whole(code, &[], &error)
    };
    if shared.note(request, &script) {
        let message = "You exceeded your current quota, please check your plan";
        return refuse(out, 429, "RESOURCE_EXHAUSTED", message);
    }
    if script.error {
        let message = "a bad request, says the model";
        return refuse(out, 400, "INVALID_ARGUMENT", message);
    }
    if script.deny {
        return refuse(out, 401, "UNAUTHENTICATED", "API key not valid");
    }
    shared.wait(&script);
    let has_run = contents[at..]
        .iter()
        .flat_map(parts)
        .any(|part| part.get("functionResponse").is_some());
    let part = if script.ask && !has_run {
        let args = json!({"command": "touch asked", "description": "Touch it"});
        json!({"functionCall": {"name": "run_shell_command", "args": args}})
    } else {
        let text = answer_to(&prompt);
        shared.answered("gemini", &turn, &text);
        json!({"text": text})
    };
    let response = json!({
        "candidates": [{
            "index": 0, "finishReason": "STOP",
            "content": {"role": "model", "parts": [part]},
        }],
        "usageMetadata": {"promptTokenCount": 5, "candidatesTokenCount": 5, "totalTokenCount": 10},
        "modelVersion": "mock",
    });
    if !path.contains(":streamGenerateContent") {
        return out.whole(200, &[], &response);
    }
    out.begin()?;
    out.send(&format!("data: {response}\n\n"))
}

fn parts(content: &Value) -> impl Iterator<Item = &Value> {
    content["parts"].as_array().into_iter().flatten()
}

fn texts(content: &Value) -> Vec<&str> {
    parts(content)
        .filter_map(|part| part["text"].as_str())
        .collect()
}

/// Returns the words of a person; `None` if only the program speaks.
fn words(content: &Value) -> Option<String> {
    let mut texts = texts(content);
    texts.retain(|text| !text.starts_with("<session_context>"));
    (!texts.is_empty()).then(|| texts.concat())
}

/// Returns the agent's directory, as the agent states it.
fn cwd(contents: &[Value]) -> Option<String> {
    let context = contents.iter().flat_map(texts).next()?;
    let (_, rest) = context.split_once("**Workspace Directories:**\n  - ")?;
    rest.lines().next().map(str::to_owned)
}
