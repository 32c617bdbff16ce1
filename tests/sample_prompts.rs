//! Prompts as people write them, and texts that a composer would take for something else.

use crate::harness::World;

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

/// A red square as PNG.
pub(crate) const IMAGE: &[u8] = &[
    0x89, b'P', b'N', b'G', 0x0d, 0x0a, 0x1a, 0x0a, 0, 0, 0, 13, b'I', b'H', b'D', b'R', 0, 0, 0,
    1, 0, 0, 0, 1, 8, 2, 0, 0, 0, 0x90, 0x77, 0x53, 0xde, 0, 0, 0, 12, b'I', b'D', b'A', b'T', 8,
    0xd7, 0x63, 0xf8, 0xcf, 0xc0, 0, 0, 3, 1, 1, 0, 0x18, 0xdd, 0x8d, 0xb0, 0, 0, 0, 0, b'I', b'E',
    b'N', b'D', 0xae, 0x42, 0x60, 0x82,
];

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
