//! What tests need of the machine that they run on. One that needs what is not there is ignored by the
//! test runner, which counts it and names the reason; in CI nothing is left out.

use proc_macro::{TokenStream, TokenTree};

/// What can be needed, and how its absence is told. `build.rs` looks for each by its name.
const NEEDS: [(&str, &str); 12] = [
    ("zsh", "zsh is not installed"),
    ("fish", "fish is not installed"),
    ("dash", "dash is not installed"),
    ("codex", "codex is not installed"),
    ("aider", "aider is not installed"),
    ("rust_for_wasm", "no Rust builds WebAssembly"),
    ("c_for_wasm", "no C compiler builds for WASI"),
    ("python_for_wasm", "componentize-py is not installed"),
    ("javascript_for_wasm", "componentize-qjs is not installed"),
    ("zig", "zig is not installed"),
    ("reftable", "git is older than 2.45"),
    ("fuse", "FUSE cannot be mounted"),
];

/// Leaves a test out where what it needs is not there: `#[needs(zsh)]`.
#[proc_macro_attribute]
pub fn needs(need: TokenStream, test: TokenStream) -> TokenStream {
    let Some((name, reason)) = known(need) else {
        return unknown();
    };
    if is_there(name) {
        return test;
    }
    let ignore = format!("#[ignore = \"{reason}\"]").parse::<TokenStream>();
    ignore.unwrap_or_default().into_iter().chain(test).collect()
}

/// Whether something is there, as a literal: `has!(zsh)`.
#[proc_macro]
pub fn has(need: TokenStream) -> TokenStream {
    let Some((name, _)) = known(need) else {
        return unknown();
    };
    let literal = if is_there(name) { "true" } else { "false" };
    literal.parse().unwrap_or_default()
}

fn known(need: TokenStream) -> Option<(&'static str, &'static str)> {
    let mut tokens = need.into_iter();
    let Some(TokenTree::Ident(name)) = tokens.next() else {
        return None;
    };
    let name = name.to_string();
    let known = NEEDS.into_iter().find(|(known, _)| *known == name);
    known.filter(|_| tokens.next().is_none())
}

fn is_there(name: &str) -> bool {
    env!("MISSING").split(',').all(|missing| missing != name)
}

fn unknown() -> TokenStream {
    let error = "compile_error!(\"unknown: see what there is in tests/needs/src/lib.rs\");";
    error.parse().unwrap_or_default()
}
