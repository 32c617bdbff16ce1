//! What is asked must make sense together, and be a value of its option.

use std::path::Path;

use serde_json::{Value, json};

use super::*;
use crate::model::directory::DirectorySight;
use crate::store::Secrets;

fn apply(task: &mut NewTask, said: &Value) -> Result<Vec<String>, String> {
    let data = tempfile::tempdir().expect("a directory");
    let secrets = Secrets::of(data.path());
    let sender = Sender {
        profiles: Path::new("/nowhere"),
        headless: |_, name| Err(format!("{name} cannot be asked this way")),
        usually_headless: &["cline".to_owned()],
        secrets: &secrets,
        look: |_| Ok(DirectorySight::default()),
        lines: None,
    };
    let mut wishes = Wishes::default();
    let mut content = None;
    for (key, value) in said.as_object().into_iter().flatten() {
        if key == "content" {
            content = value.as_str();
            continue;
        }
        let said = wishes.say(key, value.clone());
        said.map_err(|error| error.to_string())?;
    }
    let applied = wishes.apply(content, task, &sender);
    let kept = std::fs::read_dir(data.path().join("secrets")).map_or(0, Iterator::count);
    assert_eq!(
        kept,
        usize::from(applied.is_ok() && wishes.says("secret-env"))
    );
    applied.map_err(|error| error.to_string())
}

#[test]
fn what_is_asked_must_make_sense_together() {
    let refused = |said: Value| apply(&mut NewTask::command("x"), &said).expect_err("refused");
    assert_eq!(
        apply(&mut NewTask::command("x"), &json!({})),
        Ok(Vec::new())
    );
    for (said, why) in [
        (json!({"content": "  "}), "the task is empty"),
        (json!({"require-branch": true}), "name it with -b"),
        (json!({"target-fallback": true}), "name it with --target"),
        (json!({"fallback": ["codex"]}), "--provider or --providers"),
        (
            json!({"shell": true, "providers": ["codex"]}),
            "a command goes to shells",
        ),
        (
            json!({"shell": "zsh", "provider": "codex"}),
            "a command goes to shells",
        ),
        (
            json!({"secret-env": ["NO_SUCH_VARIABLE_HERE"]}),
            "export it first",
        ),
        (json!({"secret-env": ["A=B"]}), "not the name of a variable"),
        (
            json!({"secret-env": ["PATH"], "env": {"PATH": "x"}}),
            "leave one of them out",
        ),
        (
            json!({"secret-env": ["PATH"], "require-branch": true}),
            "name it with -b",
        ),
        (json!({"target": " "}), "--target is empty"),
        (json!({"providers": ["codex", " "]}), "--providers is empty"),
        (
            json!({"delay": "1m", "at": "18:30"}),
            "leave one of them out",
        ),
        (json!({"headless": true}), "name it with --provider"),
        (
            json!({"headless": true, "provider": "x"}),
            "x cannot be asked this way",
        ),
        (
            json!({"provider": "cline"}),
            "cline cannot be asked this way",
        ),
        (
            json!({"prereq": ["true", " "]}),
            "--prereq 2: the task is empty",
        ),
        (json!({"after": ["build"]}), "no earlier line has that name"),
    ] {
        let told = refused(said.clone());
        assert!(told.contains(why), "{said}: {told}");
    }
}

#[test]
fn a_value_of_another_kind_is_refused_with_its_key() {
    for (said, expected) in [
        (
            json!({"priority": "high"}),
            "`priority` \"high\": it is a whole number",
        ),
        (
            json!({"retries": -1}),
            "`retries` -1: it is a whole number, at least 0",
        ),
        (json!({"anywhere": 1}), "`anywhere` 1: it is true or false"),
        (json!({"working_dir": 5}), "`working_dir` 5: it is a text"),
        (
            json!({"prereq": "true"}),
            "`prereq` \"true\": it is a list of texts",
        ),
        (
            json!({"env": ["A=b"]}),
            "`env`: it is an object of names and texts",
        ),
        (json!({"env": {"A": 5}}), "`env`: `A`: its value is a text"),
        (json!({"labels": {"": "x"}}), "`labels`: ``: it has no name"),
        (
            json!({"after": 3}),
            "`after` 3: it is a list of tasks: numbers, or the names of earlier lines",
        ),
        (
            json!({"if_parent_fails": "no"}),
            "`if_parent_fails` \"no\": it may be fail or release",
        ),
        (
            json!({"branch": "a", "git_branch": "b"}),
            "`git_branch` was given before",
        ),
    ] {
        let told = apply(&mut NewTask::command("x"), &said).expect_err("refused");
        assert!(told.starts_with(expected), "{said}: {told}");
    }
}

#[test]
fn the_history_names_what_was_said_and_nothing_else_changes() {
    let mut task = NewTask::prompt("old");
    task.metadata.labels = [("a".to_owned(), "1".to_owned())].into();
    task.priority = 3;
    let said = json!({"content": "new", "branch": "dev", "label": {"b": "2"}, "anywhere": false,
        "prereq": [], "provider": null, "headless": false});
    let told = apply(&mut task, &said).expect("accepted");
    assert_eq!(told, ["content", "branch", "label", "no-headless"]);
    assert_eq!((task.content.as_str(), task.priority), ("new", 3));
    assert_eq!(task.metadata.labels.len(), 2);
    assert_eq!(task.target_provider, None);
}

#[test]
fn a_pair_is_a_name_and_a_value() {
    let read = |text| pair(text, |_, _| Ok(()));
    assert_eq!(read("A=b=c"), Ok(("A".to_owned(), "b=c".to_owned())));
    assert_eq!(read("_x1="), Ok(("_x1".to_owned(), String::new())));
    let env = find("env").expect("an option");
    for wrong in ["A", "=1", "1A=2", "A B=1", "A-B=1", "$(x)=1", "Ä=1"] {
        let why = env.takes.word(wrong).expect_err(wrong);
        assert!(why.contains("write NAME=VALUE"), "{why}");
    }
}
