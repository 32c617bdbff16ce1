//! Pools of shells: each reports its line from its first prompt on, whatever prompt its user has.

use std::fs;

use assigner_needs::needs;

use crate::harness::World;

/// Runs a pool of this shell in a home with these files, and asserts that it completes a task,
/// reported by the shell itself.
fn pool_of(command: &str, files: &[(&str, &str)]) {
    let world = World::new();
    for (name, text) in files {
        let path = world.path("home").join(name);
        fs::create_dir_all(path.parent().expect("a directory")).expect("made");
        fs::write(path, text).expect("written");
    }
    world.mkdir("home/.config/assigner");
    let text = format!(
        "[[pool]]\nname = 'sh'\nprovider = 'shell'\nmax = 1\nidle = '10m'\ncommand = {command}\n"
    );
    fs::write(world.path("home/.config/assigner/config.toml"), text).expect("written");
    let _daemon = world.daemon();
    let id = world.send(&["--shell", "--", "echo \"$THEIRS\""]);
    world.completed(id);
    let output = world.output(id);
    assert_eq!(
        String::from_utf8_lossy(&output).trim(),
        "theirs",
        "its own files were read"
    );
    world.eventually(|| {
        let doctor = world.json(&["doctor", "sh-1"]).to_string();
        if doctor.contains("its shell itself reports on its line") {
            Ok(())
        } else {
            Err(doctor)
        }
    });
    let history = world.json(&["history", &id.to_string()]).to_string();
    assert!(history.contains("picked up by the shell"), "{history}");
}

/// No row of it matches a known prompt.
const BASH: &str = "export THEIRS=theirs; PS1='\\w ╭─ mine at \\t ❯❯ '\n";

#[test]
fn bash_by_a_line_and_by_words() {
    for command in ["'bash'", "['bash', '-i']"] {
        pool_of(command, &[(".bashrc", BASH)]);
    }
}

#[needs(zsh)]
#[test]
fn zsh_with_its_files_in_a_directory_of_their_own() {
    let prompt = "setopt ksh_arrays; precmd_functions+=(a b); a() { :; }; b() { export THEIRS=theirs; }; PROMPT='%~ ╭─ mine ❯❯ '\n";
    pool_of("'zsh'", &[(".zshrc", prompt)]);
    let elsewhere = [
        (".zshenv", "export ZDOTDIR=$HOME/z\n"),
        ("z/.zshrc", prompt),
    ];
    pool_of("['zsh', '-l']", &elsewhere);
}

#[needs(fish)]
#[test]
fn fish_with_a_prompt_of_two_rows() {
    let prompt = "set -gx THEIRS theirs; function fish_prompt; echo; echo (pwd); echo -n '╭─ mine ❯❯ '; end\n";
    let quiet = (".local/share/fish/generated_completions/.keep", "");
    pool_of("'fish'", &[(".config/fish/config.fish", prompt), quiet]);
}
