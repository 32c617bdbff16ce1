//! The proposed changes of a task, each of which comes true.

use serde_json::Value;

use super::{WAIT, changes, comes_true, commands, do_it, explained, first, words};
use crate::harness::{Shell, World, text};

/// Returns the field to unset if a change says to drop something and has no command for it.
fn dropped(change: &Value) -> Option<&'static str> {
    let said = words(change);
    let one_thing = said.starts_with("drop") && !said.contains(" and ");
    [
        ("target", "target"),
        ("branch", "branch"),
        ("label", "require-label"),
        ("director", "working-dir"),
    ]
    .into_iter()
    .find(|(word, _)| one_thing && said.contains(word))
    .map(|(_, field)| field)
}

/// Not only the first change: every change to the task alone works.
#[test]
fn each_change_of_a_task_comes_true() {
    let world = World::new();
    let far = world.mkdir("far");
    for name in ["api", "web"] {
        world.session(name, Shell::Bash);
    }
    let _daemon = world.daemon_with(&WAIT);
    for name in ["api", "web"] {
        world.session_is(name, "idle");
    }
    world.assigner(&["label", "api", "gpu=yes"]).succeeded();
    let cases: [&[&str]; 4] = [
        &["--target", "web", "--require-label", "gpu=yes"],
        &["--target", "nowhere"],
        &["-b", "dev", "--require-branch"],
        &["-w", &far],
    ];
    let mut followed = 0;
    for options in cases {
        let mut place = 0;
        loop {
            // A task before may have moved its session elsewhere.
            let back = format!("cd '{}'", text(&world.path("work")));
            for name in ["api", "web"] {
                world.completed(world.shell_with(&["--target", name], &back));
                world.session_is(name, "idle");
            }
            let id = world.shell_with(options, "true");
            first(&world, id, &[]);
            let number = id.to_string();
            let all = changes(&explained(&world, id));
            let Some(change) = all.get(place) else {
                world.assigner(&["cancel", &number]).succeeded();
                break;
            };
            place += 1;
            let told = commands(change);
            let edits = format!("assigner edit {id} ");
            let by_command = !told.is_empty() && told.iter().all(|line| line.starts_with(&edits));
            let field = dropped(change).filter(|_| told.is_empty());
            if !by_command && field.is_none() {
                world.assigner(&["cancel", &number]).succeeded();
                continue;
            }
            eprintln!("{options:?}: {}", words(change));
            let otherwise = ["edit", &number, "--unset", field.unwrap_or_default()];
            do_it(&world, change, &otherwise);
            comes_true(&world, id, change);
            followed += 1;
        }
    }
    // At least two targets and a branch.
    assert!(followed >= 3, "only {followed} could be followed");
}
