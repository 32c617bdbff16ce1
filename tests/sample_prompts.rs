//! Prompts as people write them, and texts that a composer would take for something else.

use std::collections::HashMap;

use jiff::{Timestamp, Unit};
use serde_json::Value;

use crate::harness::World;
use crate::harness::agents::task_becomes;
use crate::language_model::{Model, Turn};
use crate::records::Records;

/// Ordinary prompts: with one line and with many, long, with tabs, and with long answers.
pub(crate) fn ordinary() -> Vec<String> {
    let mut prompts = vec![
        "plain".to_owned(),
        "three\nshort\nlines".to_owned(),
        "four\nlines\nare\npasted".to_owned(),
        "with `code`,\n\n* a list\n* and more\n\n```rust\nfn main() {}\n```\nand a paragraph"
            .to_owned(),
        "a long line that goes on ".repeat(40).trim_end().to_owned(),
        (0..40)
            .map(|line| format!("line {line}\n"))
            .collect::<String>(),
        "a FILE, please".to_owned(),
        "a FILE for\nfour\nlines\nhere".to_owned(),
        "SLOW=700 and done".to_owned(),
        "ümläute, 漢字 und 👩‍💻".to_owned(),
        "is \"quoted\" 'twice' $HOME `date` \\n #hash".to_owned(),
        "rename a\tto b\n\tif it is indented\n\t\twith tabs\nand so on".to_owned(),
        format!("read {{{}}}", r#""key": [1, 2.5, null], "#.repeat(100)),
        (0..200)
            .map(|line| format!("- item {line}, of a long list\n"))
            .collect::<String>(),
        r"why is C:\Users\me not \\server\share\x, or is it".to_owned(),
        "apply\n--- a/x.rs\n+++ b/x.rs\n@@ -1,2 +1,2 @@\n-let a = 1;\n+let a = 2;\n let b;"
            .to_owned(),
        "say what `ls -la | grep -v x > out 2>&1 & wait` does.".to_owned(),
        "see https://example.org/a?b=c&d=%20#e and [this](../README.md)".to_owned(),
        "error[E0308]: mismatched types\n  --> src/main.rs:12:5\n   |\n12 |     x\n   |     ^ u8"
            .to_owned(),
        "<div class=\"x\">&amp;<br/></div> is too wide".to_owned(),
        "שלום, и привет, और नमस्ते".to_owned(),
    ];
    for (number, prompt) in prompts.iter_mut().enumerate() {
        prompt.insert_str(0, &format!("number {number}: "));
        prompt.truncate(prompt.trim_end().len());
    }
    prompts
}

/// Texts that would be something other than a prompt: commands, ends, lists, images, new lines.
pub(crate) fn awkward(image: &str) -> Vec<String> {
    let words = [
        "/clear x",
        "/help",
        " /compact",
        "/",
        "!touch broken",
        "exit",
        "quit",
        ":q",
        " :wq ",
        "# remember this",
        "&x",
        "? x",
        "@",
        "see @",
        "ask @a",
        "run /mod",
        "see :ta",
        ":qa",
        "back \\",
        "two \\\\",
        "a\\\nb\\",
        "a\ttab\tor two",
        "[Pasted text #1]",
        "[Image #1]",
        "❯ 1. Do this",
        "> quoted",
        "zero\u{200b}width",
        "👩‍💻",
        "--help",
        "1",
        "y",
        "ultrathink about it",
        "\"",
        "$(date)",
        "    indented\n\n\n\nby four",
        "ends in @src/\nand more\nand more\nand @x",
        "what is <pasted_content id=\"1\">\nx",
    ];
    let mut prompts: Vec<String> = words.iter().map(|&words| words.to_owned()).collect();
    prompts.push(image.to_owned());
    prompts.push(format!("look at\n{image}\nplease"));
    prompts.push(format!("'{image}'"));
    prompts
}

/// One prompt in three, where each takes long or much work; all with [`everything`].
pub(crate) fn some(prompts: Vec<String>) -> Vec<String> {
    let step = if everything() { 1 } else { 3 };
    prompts.into_iter().step_by(step).collect()
}

/// Whether no prompt, of agents or of shells, is to be left out: `ASSIGNER_EVERY_PROMPT=1`.
pub(crate) fn everything() -> bool {
    std::env::var_os("ASSIGNER_EVERY_PROMPT").is_some()
}

/// A red square as PNG.
pub(crate) const IMAGE: &[u8] = &[
    0x89, b'P', b'N', b'G', 0x0d, 0x0a, 0x1a, 0x0a, 0, 0, 0, 13, b'I', b'H', b'D', b'R', 0, 0, 0,
    1, 0, 0, 0, 1, 8, 2, 0, 0, 0, 0x90, 0x77, 0x53, 0xde, 0, 0, 0, 12, b'I', b'D', b'A', b'T', 8,
    0xd7, 0x63, 0xf8, 0xcf, 0xc0, 0, 0, 3, 1, 1, 0, 0x18, 0xdd, 0x8d, 0xb0, 0, 0, 0, 0, b'I', b'E',
    b'N', b'D', 0xae, 0x42, 0x60, 0x82,
];

/// Queues these ordinary prompts with these options, and asserts that each is asked in one turn of one
/// attempt, with the model's answer as its response; without the whitespace at its ends if `trims`.
///
/// Returns each task and its turn, and prints how long they waited for us.
#[track_caller]
pub(crate) fn ordinary_prompts_are_answered(
    world: &World,
    model: &Model,
    prompts: Vec<String>,
    options: &[&str],
    trims: bool,
) -> Vec<(Value, Turn)> {
    let records = Records::below(&world.path(""));
    let send = |prompt: String| (world.send(&[options, &["--", &prompt]].concat()), prompt);
    let sent: Vec<(u64, String)> = prompts.into_iter().map(send).collect();
    let mut answered = Vec::new();
    for (id, prompt) in sent {
        let task = task_becomes(world, id, "completed");
        let tries = task["attempts"].as_array().map(Vec::len);
        assert_eq!(tries, Some(1), "{task:#}");
        assert_eq!(task["response"], "whole", "{task:#}");
        let turn = model.once(&prompt);
        let output = String::from_utf8(world.output(id)).expect("UTF-8");
        let answer = turn.answer.clone().unwrap_or_default();
        match trims {
            true => assert_eq!(output.trim(), answer.trim(), "{prompt:?}"),
            false => assert_eq!(output, answer, "{prompt:?}"),
        }
        answered.push((task, turn));
    }
    let all = model.turns().len();
    assert_eq!(all, answered.len(), "{:#?}", model.prompts());
    print_waits(world, &records, options, &answered);
    answered
}

/// Prints, for those who run a test with `--nocapture`, how long everything took, and whose time that was.
///
/// Ours is from the moment at which a task could be given to its session until the key that submits it,
/// and from the moment at which the agent tells or has written the end of the turn, which is later than
/// the line of its record says, until the task has ended. The agent's is from that key until the model's
/// request, and from the model's answer until the agent tells the end. Whoever looks on has both: `asked`
/// and `ended`.
fn print_waits(world: &World, records: &Records, options: &[&str], answered: &[(Value, Turn)]) {
    let parse = |time: &Value| -> Timestamp {
        let time = time.as_str().and_then(|time| time.parse().ok());
        time.expect("a time")
    };
    let mut free: HashMap<&str, Timestamp> = HashMap::new();
    let mut waits: [(&str, Vec<(f64, &str)>); 6] = [
        "asked",
        "  submitted (ours)",
        "  taken up (the agent's)",
        "ended",
        "  told (the agent's)",
        "  noticed (ours)",
    ]
    .map(|what| (what, Vec::new()));
    let mut by_time: Vec<&(Value, Turn)> = answered.iter().collect();
    by_time.sort_by_key(|(_, turn)| turn.asked_at);
    for (task, turn) in by_time {
        let session = task["session"].as_str().unwrap_or_default();
        let (queued, done) = (parse(&task["created_at"]), parse(&task["completed_at"]));
        let since = free
            .insert(session, done)
            .map_or(queued, |at| at.max(queued));
        let history = world.json(&["history", &task["id"].to_string()]);
        let mut history = history.as_array().into_iter().flatten();
        let submitted = history.find(|row| row["action"] == "submitted");
        let submitted = submitted.map(|row| parse(&row["at"]));
        let told = &task["attempts"][0]["turn"]["ended"];
        let told = told.is_string().then(|| parse(told));
        let told = told.map(|told| records.written(told).unwrap_or(told));
        let times = [
            (Some(since), Some(turn.asked_at)),
            (Some(since), submitted),
            (submitted, Some(turn.asked_at)),
            (turn.answered_at, Some(done)),
            (turn.answered_at, told),
            (told, Some(done)),
        ];
        for ((_, waits), (from, to)) in waits.iter_mut().zip(times) {
            let wait = from
                .zip(to)
                .map(|(from, to)| (to - from).total(Unit::Second));
            let prompt = task["content"].as_str().unwrap_or_default();
            waits.extend(wait.and_then(Result::ok).map(|wait| (wait, prompt)));
        }
    }
    println!("{options:?}, {} prompts", answered.len());
    for (what, mut seconds) in waits {
        seconds.sort_by(|(a, _), (b, _)| a.total_cmp(b));
        if let (Some((median, _)), Some((last, prompt))) =
            (seconds.get(seconds.len() / 2), seconds.last())
        {
            let prompt: String = prompt.chars().take(20).collect();
            println!("{what:24} {median:.2} s, at most {last:.2} s for {prompt:?}");
        }
    }
}

/// Asserts that the model was asked the prompt itself, with words around it if the agent needs them.
#[track_caller]
pub(crate) fn was_asked(world: &World, id: u64, prompt: &str) {
    let output = String::from_utf8(world.output(id)).expect("UTF-8");
    let asked = output.strip_prefix("the answer to: ").unwrap_or(&output);
    let plain = |text: &str| {
        let text: String = text.split_whitespace().collect();
        text.replace(['\u{200b}', '\\'], "")
    };
    let (asked, wanted) = (plain(asked), plain(prompt));
    let said = asked.replace("(file)", "");
    assert!(
        asked.ends_with(&wanted) || said.ends_with(&wanted),
        "{prompt:?}: {output:?}"
    );
}
