//! Completions know what there is: tasks, sessions, labels, policies and agents.

use std::fs;

use crate::harness::{Shell, World, finish, program, text};

/// Puts the binary as `assigner` into a directory, and returns a `PATH` that begins with it.
fn path(world: &World) -> String {
    let tools = world.mkdir("tools");
    let link = format!("{tools}/assigner");
    if fs::symlink_metadata(&link).is_err() {
        std::os::unix::fs::symlink(program(), link).expect("a link");
    }
    format!("{tools}:{}", std::env::var("PATH").unwrap_or_default())
}

/// Has the binary complete the last of these words as a shell's script does.
fn completed(world: &World, words: &[&str]) -> Vec<String> {
    let mut asks = world.binary();
    asks.env("ASSIGNER_COMPLETE", "bash")
        .env("_CLAP_IFS", "\n")
        .env("_CLAP_COMPLETE_INDEX", words.len().to_string())
        .env("_CLAP_COMPLETE_COMP_TYPE", "9")
        .args(["--", "assigner"])
        .args(words);
    let said = finish(&mut asks, b"").succeeded().text();
    said.lines().map(str::to_owned).collect()
}

/// Those of the candidates that are no options.
fn values(world: &World, words: &[&str]) -> Vec<String> {
    let mut all = completed(world, words);
    all.retain(|word| !word.starts_with('-'));
    all
}

#[test]
fn words_are_those_of_what_there_is() {
    let world = World::new();
    // Without a queue there are none, and none is made.
    assert_eq!(values(&world, &["show", ""]), [""; 0]);
    assert!(!world.data().exists());
    world.session("first", Shell::Bash);
    world.session("hostile\u{202e}one", Shell::Bash);
    let _daemon = world.daemon();
    let done = world.shell("echo done");
    world.completed(done);
    world.assigner(&["pause", "--all"]).succeeded();
    let open = world.shell("echo '\u{1b}[2J' later");
    world.session_is("first", "idle");
    let (done, open) = (done.to_string(), open.to_string());
    assert_eq!(values(&world, &["show", ""]), [&*done, &open]);
    assert_eq!(values(&world, &["cancel", ""]), [&*open]);
    assert_eq!(values(&world, &["cancel", &open, ""]), [&*open]);
    assert_eq!(values(&world, &["retry", ""]), [""; 0]);
    assert_eq!(values(&world, &["session", "f"]), ["first"]);
    // A name that a terminal would obey is none to choose.
    assert_eq!(values(&world, &["send", "x", "--target", ""]), ["first"]);
    world.assigner(&["label", "first", "kind=fast"]).succeeded();
    assert_eq!(
        values(&world, &["send", "x", "--require-label", "k"]),
        ["kind=fast"]
    );
    let agents = values(&world, &["send", "x", "--provider", "c"]);
    assert!(
        agents.contains(&"claude".to_owned()) && agents.contains(&"codex".to_owned()),
        "{agents:?}"
    );
    let policies = world.mkdir("home/.config/assigner/policies");
    fs::write(format!("{policies}/mine.wasm"), "").expect("written");
    assert_eq!(values(&world, &["policy", "use", ""]), ["mine", "default"]);
    assert!(completed(&world, &["wa"]).contains(&"wait".to_owned()));
    // What cannot be read has no words, and is no error.
    fs::write(world.path("home/.config/assigner/config.toml"), "[").expect("written");
    assert_eq!(values(&world, &["show", ""]), [""; 0]);
}

#[test]
fn bash_shows_what_a_number_means() {
    let world = World::new();
    let one = world.shell("echo the first");
    let two = world.shell("echo '\u{1b}]0;x\u{7}' second");
    let pane = world.session("only", Shell::Bash);
    let path = path(&world);
    pane.line(&format!(
        "export PATH='{path}' ASSIGNER_DATA_DIR='{}'; source <(assigner completions bash); clear",
        text(world.data())
    ));
    pane.types("assigner show ");
    pane.keys(&["Tab", "Tab"]);
    pane.shows(&format!("{one}  (pending: echo the first)"));
    pane.shows(&format!("{two}  (pending: echo '"));
    // A single one is taken without what it means.
    pane.types(&two.to_string());
    pane.keys(&["Tab"]);
    pane.line("--json");
    pane.shows("\"status\":\"pending\"");
}

#[test]
fn each_shell_loads_them_from_its_startup_file() {
    let world = World::new();
    world.shell("echo hello");
    let path = path(&world);
    for (shell, file) in [
        (Shell::Bash, "home/.bashrc"),
        (Shell::Zsh, "home/.zshrc"),
        (Shell::Fish, "home/.config/fish/completions/assigner.fish"),
    ] {
        let name = shell.program();
        let file = world.path(file);
        world
            .assigner(&["completions", "install", name, "--yes"])
            .succeeded();
        let before = fs::read_to_string(&file).expect("a file");
        let again = world
            .assigner(&["completions", "install", name, "--yes"])
            .succeeded();
        assert!(again.text().contains("already"), "{again:?}");
        assert_eq!(fs::read_to_string(&file).expect("a file"), before);
        if shell.is_installed() {
            let asked = match shell {
                Shell::Bash => "complete -p assigner",
                Shell::Zsh => "print $_comps[assigner]",
                _ => "complete -C 'assigner show '",
            };
            let mut command = world.command(name);
            command
                .env("PATH", &path)
                .env("ASSIGNER_DATA_DIR", world.data())
                .args(["-i", "-c", asked]);
            let said = finish(&mut command, b"").text();
            let expected = match shell {
                Shell::Bash => "_clap_complete_assigner",
                Shell::Zsh => "_clap_dynamic_completer_assigner",
                _ => "1\tpending: echo hello",
            };
            assert!(said.contains(expected), "{name}: {said}");
        }
        world
            .assigner(&["completions", "remove", name, "--yes"])
            .succeeded();
        let left = fs::read_to_string(&file).unwrap_or_default();
        assert_eq!(left, "", "{name}");
    }
    let mut unknown = world.binary();
    unknown
        .env("SHELL", "/bin/tcsh")
        .args(["completions", "install"]);
    finish(&mut unknown, b"").refused(2);
}
