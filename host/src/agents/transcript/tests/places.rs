//! Where transcripts are found.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, SystemTime};

use super::*;

fn spec(format: Format, default: &str, files: &str) -> TranscriptSpec {
    TranscriptSpec {
        format,
        home: TranscriptHome {
            variable: Some("AGENT_HOME".to_owned()),
            default: default.to_owned(),
        },
        files: files.to_owned(),
    }
}

#[test]
fn a_place_is_data() {
    let text = r#"{"format":"codex","files":"sessions/**/rollout-*.jsonl",
        "home":{"variable":"CODEX_HOME","default":"~/.codex"}}"#;
    let read: TranscriptSpec = serde_json::from_str(text).expect("as profiles say it");
    assert_eq!(read.home.variable.as_deref(), Some("CODEX_HOME"));
    let odd = text.replace("files", "glob");
    assert!(serde_json::from_str::<TranscriptSpec>(&odd).is_err());
}

#[test]
fn a_directory_is_expected_before_there_is_one() {
    let env: BTreeMap<_, _> = [("HOME".to_owned(), "/home/me".to_owned())].into();
    let expected = |files| {
        let spec = spec(Format::Claude, "~/.agent", files);
        expected_in(&spec, &env, Path::new("/src/a.b"))
    };
    let below = |path| Some(Path::new("/home/me/.agent").join(path));
    assert_eq!(
        expected("projects/{slug}/*.jsonl"),
        below("projects/-src-a-b")
    );
    assert_eq!(expected("sessions/**/rollout-*.jsonl"), below("sessions"));
    assert_eq!(expected("chats/history.md"), below("chats"));
}

#[test]
fn the_newest_come_first() {
    let scratch = Scratch::new();
    let home = scratch.directory.path();
    let day = home.join("sessions/2026/11/23");
    fs::create_dir_all(&day).expect("made");
    let old = SystemTime::now() - Duration::from_secs(1_000);
    for (number, name) in ["rollout-c.jsonl", "rollout-a.jsonl", "rollout-b.jsonl"]
        .iter()
        .enumerate()
    {
        let file = File::create(day.join(name)).expect("made");
        let changed = old + Duration::from_secs(number as u64 * 10);
        file.set_modified(changed).expect("set");
    }
    fs::write(day.join("notes.jsonl"), "").expect("written");
    fs::create_dir(day.join("rollout-d.jsonl")).expect("made");
    // A cycle.
    std::os::unix::fs::symlink(home, home.join("sessions/again")).expect("linked");
    let env: BTreeMap<_, _> = [(
        "AGENT_HOME".to_owned(),
        home.to_str().expect("UTF-8").to_owned(),
    )]
    .into();
    let spec = spec(Format::Codex, "~/.codex", "sessions/**/rollout-*.jsonl");
    let cwd = Path::new("/proj");
    let found = candidates(&spec, &env, cwd, SystemTime::UNIX_EPOCH);
    let names: Vec<_> = found
        .iter()
        .filter_map(|path| path.file_name()?.to_str())
        .collect();
    assert_eq!(
        names,
        ["rollout-b.jsonl", "rollout-a.jsonl", "rollout-c.jsonl"]
    );
    let later = old + Duration::from_secs(10);
    assert_eq!(candidates(&spec, &env, cwd, later).len(), 2);
    assert!(belongs(&spec, &env, cwd, &found[0]));
    assert!(!belongs(&spec, &env, cwd, &day.join("notes.jsonl")));
    assert!(!belongs(
        &spec,
        &env,
        cwd,
        &home.join("sessions/../sessions/rollout-a.jsonl")
    ));
    assert!(!belongs(
        &spec,
        &env,
        cwd,
        Path::new("/elsewhere/sessions/rollout-a.jsonl")
    ));
    // The default depends on the agent's own HOME, which is not set.
    assert!(candidates(&spec, &BTreeMap::new(), cwd, SystemTime::UNIX_EPOCH).is_empty());
}

#[test]
fn places_depend_on_the_directory() {
    let scratch = Scratch::new();
    let home = scratch.directory.path();
    let cwd = home.join("a.b [x]{y}*/ü");
    fs::create_dir_all(&cwd).expect("made");
    let env: BTreeMap<_, _> =
        [("HOME".to_owned(), home.to_str().expect("UTF-8").to_owned())].into();
    let slug: String = cwd
        .to_str()
        .expect("UTF-8")
        .chars()
        .map(|letter| {
            if letter.is_ascii_alphanumeric() {
                letter
            } else {
                '-'
            }
        })
        .collect();
    let project = home.join(".claude/projects").join(slug);
    fs::create_dir_all(&project).expect("made");
    fs::write(project.join("one.jsonl"), "").expect("written");
    let claude = spec(Format::Claude, "~/.claude", "projects/{slug}/*.jsonl");
    let any = SystemTime::UNIX_EPOCH;
    assert_eq!(
        candidates(&claude, &env, &cwd, any),
        [project.join("one.jsonl")]
    );
    assert!(belongs(&claude, &env, &cwd, &project.join("two.jsonl")));
    assert!(!belongs(
        &claude,
        &env,
        &cwd,
        &project.join("one/agent.jsonl")
    ));

    let history = cwd.join(".aider.chat.history.md");
    fs::write(&history, "").expect("written");
    for (default, files) in [
        ("{cwd}", ".aider.chat.history.md"),
        ("~", "{cwd}/.aider.chat.history.md"),
        ("{root}", ".aider*.md"),
    ] {
        let aider = spec(Format::Aider, default, files);
        assert_eq!(
            candidates(&aider, &env, &cwd, any),
            std::slice::from_ref(&history)
        );
        assert!(belongs(&aider, &env, &cwd, &history));
    }
    fs::create_dir(home.join(".git")).expect("made");
    let aider = spec(Format::Aider, "{root}", ".aider.chat.history.md");
    assert!(candidates(&aider, &env, &cwd, any).is_empty());
    fs::write(home.join(".aider.chat.history.md"), "").expect("written");
    assert_eq!(candidates(&aider, &env, &cwd, any).len(), 1);
}
