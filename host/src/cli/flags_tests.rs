//! Each thing that can be asked of a task is accepted wherever it can be said, means the same
//! there, can be taken back, and is shown. The tests read the description: a new option is tested, too.

use std::collections::BTreeSet;
use std::path::Path;

use clap::Parser;
use serde_json::{Map, Value, json};

use super::{Args, Command, look};
use crate::agents::Catalog;
use crate::model::ids::TaskId;
use crate::model::task::{NewTask, Parent, Status, Task};
use crate::options::{self, Sender, TaskOption, TaskView, Wishes};
use crate::store::{ParentRow, Secrets};

/// An agent that can be asked without a terminal.
const AGENT: (&str, &str) = ("provider", "claude");

/// Returns what must be asked with an option so that it makes sense: it with its example, and what
/// it needs.
fn asked_with(option: &'static TaskOption) -> Vec<(&'static TaskOption, &'static str)> {
    let mut asked = vec![(option, option.example)];
    let needed = option.needs.iter().map(|(names, _)| names[0]);
    for needed in needed.filter_map(options::find) {
        asked.push((needed, needed.example));
    }
    if matches!(option.takes, options::Takes::YesOrNo(_)) {
        let agent = options::find(AGENT.0).expect("an option");
        asked.push((agent, AGENT.1));
    }
    asked
}

fn flag((option, example): &(&TaskOption, &str)) -> String {
    match option.takes.value_name() {
        Some(_) => format!("--{}={example}", option.name),
        None => format!("--{}", option.name),
    }
}

/// Returns what a line of a batch says for an example of the command line.
fn json_of((option, example): &(&TaskOption, &str)) -> Value {
    if option.takes.value_name().is_none() {
        return json!(true);
    }
    let words: Vec<&str> = if option.takes.splits_at_commas() {
        example.split(',').collect()
    } else {
        vec![example]
    };
    let words = words
        .into_iter()
        .map(|word| option.takes.word(word).expect("the example is a value"));
    option.takes.value(words)
}

fn parsed(words: &[String]) -> Result<Wishes, String> {
    let start = ["assigner".to_owned()];
    let args =
        Args::try_parse_from(start.iter().chain(words)).map_err(|error| error.to_string())?;
    match args.command {
        Some(Command::Send(args)) => Ok(args.flags.0),
        Some(Command::Edit(args)) => Ok(args.flags.0),
        _ => Err("another command".to_owned()),
    }
}

fn apply(wishes: &Wishes) -> NewTask {
    let data = tempfile::tempdir().expect("a directory");
    let secrets = Secrets::of(data.path());
    let sender = Sender {
        profiles: Path::new("/nowhere"),
        headless: Catalog::headless,
        usually_headless: &[],
        secrets: &secrets,
        look: look::sight,
        lines: None,
    };
    let mut task = NewTask::prompt("x");
    wishes.apply(None, &mut task, &sender).expect("accepted");
    task
}

/// Returns what is shown of a task: its JSON, and its lines for people.
fn shown(task: &NewTask) -> (Value, Vec<(&'static str, String)>) {
    let parents: Vec<ParentRow> = task
        .after
        .iter()
        .map(|parent| match parent {
            Parent::Task(id) => *id,
            Parent::Earlier(_) => TaskId(0),
        })
        .map(|id| ParentRow {
            id,
            status: Status::Pending,
            if_fails: task.if_parent_fails,
        })
        .collect();
    let task = Task::queued(
        TaskId(9),
        task,
        "2030-01-01T00:00:00Z".parse().expect("a time"),
    );
    let json = super::show::task_json(&task, &[], Some(&parents));
    let view = TaskView::of(&task, &[], Some(&parents));
    let lines = options::all().flat_map(|option| (option.lines)(&view));
    (json, lines.collect())
}

#[test]
fn each_option_is_described_wholly_and_once() {
    let mut names = BTreeSet::new();
    for option in options::all() {
        for name in [&[option.name], option.aliases, option.keys].concat() {
            assert!(names.insert(name), "{name} is described twice");
            assert_eq!(
                options::find(name).map(|found| found.name),
                Some(option.name)
            );
            let written = name.replace('-', "_");
            assert_eq!(
                options::find(&written).map(|found| found.name),
                Some(option.name)
            );
        }
        assert!(
            !option.help.is_empty() && !option.help.ends_with('.'),
            "{}",
            option.name
        );
        assert!(!option.key.is_empty(), "{}", option.name);
        assert_eq!(
            option.example.is_empty(),
            option.takes.value_name().is_none(),
            "{}",
            option.name
        );
    }
    assert!(names.len() > 25, "{names:?}");
}

#[test]
fn each_option_is_taken_by_send_and_edit_and_a_batch_and_means_the_same() {
    for option in options::all() {
        let asked = asked_with(option);
        let flags = asked.iter().map(flag);
        let send: Vec<String> = ["send", "x"]
            .map(str::to_owned)
            .into_iter()
            .chain(flags.clone())
            .collect();
        let edit: Vec<String> = ["edit", "1"]
            .map(str::to_owned)
            .into_iter()
            .chain(flags)
            .collect();
        for (separator, keys) in [('-', "the option's name"), ('_', "with underscores")] {
            let mut line = Wishes::default();
            for one in &asked {
                let key = one.0.name.replace('-', &separator.to_string());
                line.say(&key, json_of(one)).expect(keys);
            }
            assert!(line.says(option.name), "{}", option.name);
            assert_eq!(parsed(&send).as_ref(), Ok(&line), "{send:?}");
            assert_eq!(parsed(&edit).as_ref(), Ok(&line), "{edit:?}");
        }
    }
}

#[test]
fn each_option_changes_what_is_shown_and_can_be_taken_back() {
    let plain = shown(&NewTask::prompt("x")).0;
    for option in options::all() {
        let say = |asked: &[(&'static TaskOption, &'static str)]| {
            let mut wishes = Wishes::default();
            for one in asked {
                wishes.say(one.0.name, json_of(one)).expect("a value");
            }
            apply(&wishes)
        };
        let asked = asked_with(option);
        // What it needs is asked of both.
        let (mut other, mut task) = (say(&asked[1..]), say(&asked));
        if option.key == "if_parent_fails" {
            // It is kept with the tasks that this one follows.
            other.after.push(Parent::Task(TaskId(1)));
            task.after.push(Parent::Task(TaskId(1)));
        }
        let (without, with) = (shown(&other), shown(&task));
        assert_ne!(with.0, without.0, "{} is not in the JSON", option.name);
        let value = match option.key.split_once('.') {
            Some((object, key)) => &with.0[object][key],
            None => &with.0[option.key],
        };
        assert!(!value.is_null(), "{}: {:#}", option.key, with.0);
        assert_ne!(with.1, without.1, "`show` does not tell {}", option.name);
        if let Some(unset) = option.unset {
            unset(&mut task);
            let value = |json: &Value| match option.key.split_once('.') {
                Some((object, key)) => json[object][key].clone(),
                None => json[option.key].clone(),
            };
            assert_eq!(value(&shown(&task).0), value(&plain), "{}", option.name);
        }
    }
}

#[test]
fn an_unknown_key_is_named_with_what_was_meant() {
    let mut wishes = Wishes::default();
    let mut said = |key: &str| {
        let said = wishes.say(key, Value::Object(Map::new()));
        said.expect_err("unknown").to_string()
    };
    assert_eq!(
        said("priorty"),
        "there is no option `priorty`: is it `priority`?"
    );
    assert_eq!(
        said("working_dirr"),
        "there is no option `working_dirr`: is it `working-dir`?"
    );
    let all = said("xyzzy");
    for option in options::all() {
        assert!(all.contains(option.name), "{all}");
    }
}

#[test]
fn the_readme_names_every_option() {
    let readme = include_str!("../../../README.md");
    for option in options::all() {
        let start = format!("| `--{}", option.name);
        let mut rows = readme.lines().filter_map(|line| line.strip_prefix(&start));
        assert!(
            rows.any(|rest| rest.starts_with(['`', ' ', '['])),
            "the README's table has no row for --{}",
            option.name
        );
    }
}
