//! What tests need from the machine. A test whose needs are not met is ignored by the test runner,
//! which counts it and names the reason; in CI nothing is left out.

use proc_macro::{TokenStream, TokenTree};

/// Everything that a test can need, and the message if it is missing. `build.rs` looks for each by
/// its name.
const NEEDS: [(&str, &str); 17] = [
    ("zsh", "zsh is not installed"),
    ("fish", "fish is not installed"),
    ("dash", "dash is not installed"),
    ("busybox", "busybox is not installed"),
    ("codex", "codex is not installed"),
    ("aider", "aider is not installed"),
    ("claude", "target/tools/claude has no Claude Code"),
    (
        "claude_earlier",
        "target/tools/claude-earlier has no Claude Code",
    ),
    ("opencode", "target/tools/opencode has no opencode"),
    ("gemini", "target/tools/gemini has no Gemini CLI"),
    ("rust_for_wasm", "no Rust builds WebAssembly"),
    ("c_for_wasm", "no C compiler builds for WASI"),
    ("python_for_wasm", "componentize-py is not installed"),
    ("javascript_for_wasm", "componentize-qjs is not installed"),
    ("zig", "zig is not installed"),
    ("reftable", "git is older than 2.45"),
    ("fuse", "FUSE cannot be mounted"),
];

/// Ignores a test if something that it needs is missing: `#[needs(zsh, fish)]`.
#[proc_macro_attribute]
pub fn needs(needs: TokenStream, test: TokenStream) -> TokenStream {
    let Some(needs) = known(needs) else {
        return unknown();
    };
    // If `test` had been expanded already, nothing would ignore the test.
    if !test.to_string().contains("test]") {
        return "compile_error!(\"`needs` stands before `test`\");"
            .parse()
            .unwrap_or_default();
    }
    let Some((_, reason)) = needs.into_iter().find(|(name, _)| !is_there(name)) else {
        return test;
    };
    let ignore = format!("#[ignore = \"{reason}\"]").parse::<TokenStream>();
    ignore.unwrap_or_default().into_iter().chain(test).collect()
}

/// Returns whether something exists, as a literal: `has!(zsh)`.
#[proc_macro]
pub fn has(need: TokenStream) -> TokenStream {
    let Some(needs) = known(need) else {
        return unknown();
    };
    let all = needs.iter().all(|(name, _)| is_there(name));
    let literal = if all { "true" } else { "false" };
    literal.parse().unwrap_or_default()
}

/// Reads names with commas between them; `None` if one is unknown.
fn known(needs: TokenStream) -> Option<Vec<(&'static str, &'static str)>> {
    let names = needs.into_iter().filter_map(|token| match token {
        TokenTree::Ident(name) => Some(name.to_string()),
        TokenTree::Punct(_) | TokenTree::Group(_) | TokenTree::Literal(_) => None,
    });
    names
        .map(|name| NEEDS.into_iter().find(|(known, _)| *known == name))
        .collect()
}

fn is_there(name: &str) -> bool {
    env!("MISSING").split(',').all(|missing| missing != name)
}

fn unknown() -> TokenStream {
    let error = "compile_error!(\"unknown: see what there is in tests/needs/src/lib.rs\");";
    error.parse().unwrap_or_default()
}
