//! When a task runs, and how often.

use std::time::Duration;

use serde_json::json;

use super::{PLAIN, Takes, TaskOption, Topic, when};
use crate::model::duration::shown;
use crate::model::task::IfParentFails;

pub(super) const OPTIONS: &[TaskOption] = &[
    TaskOption {
        name: "priority",
        short: Some('p'),
        help: "Higher goes first [default: 0]",
        takes: Takes::Integer(|task, priority| task.priority = priority),
        example: "5",
        unset: Some(|task| task.priority = 0),
        key: "priority",
        value: |view| Some(json!(view.task.priority)),
        lines: |view| unless_zero("priority", view.task.priority.into()),
        ..ORDER
    },
    TaskOption {
        name: "after",
        help: "A task that must have ended first; may be repeated",
        takes: Takes::Tasks(|task, parents| task.after.extend(parents)),
        example: "1",
        // The rows of a task that is queued already are removed by the store.
        unset: Some(|task| task.after.clear()),
        key: "after",
        value: |view| Some(json!(view.parents?)),
        lines: |view| {
            let parents = view.parents.into_iter().flatten();
            let line = parents.map(|parent| {
                let line = format!("task {} ({})", parent.id, parent.status);
                ("after", line)
            });
            line.collect()
        },
        ..ORDER
    },
    TaskOption {
        name: "if-parent-fails",
        help: "What happens to it when such a task fails or is cancelled [default: fail]",
        takes: Takes::Choice(
            &[("fail", "It fails as well"), ("release", "It runs anyway")],
            |task, what| {
                task.if_parent_fails = if what == IfParentFails::Release.name() {
                    IfParentFails::Release
                } else {
                    IfParentFails::Fail
                };
            },
        ),
        example: "release",
        key: "if_parent_fails",
        value: |view| {
            let parents = view.parents?.iter();
            let mut parents = parents.map(|parent| parent.if_fails);
            Some(json!(parents.next()))
        },
        lines: |view| {
            let mut parents = view.parents.into_iter().flatten();
            let is_free = parents.any(|parent| parent.if_fails == IfParentFails::Release);
            when(is_free, "after", "it runs even if one fails")
        },
        ..ORDER
    },
    TaskOption {
        name: "delay",
        help: "Waits this long before it may start, such as `90s`; a bare number is minutes",
        takes: Takes::Delay(|task, due| task.not_before = Some(due)),
        example: "90s",
        unset: Some(|task| task.not_before = None),
        key: "not_before",
        value: |view| Some(json!(view.task.not_before)),
        lines: |view| {
            let due = view.task.not_before.iter();
            due.map(|due| ("not until", format!("{due:.0}"))).collect()
        },
        ..ORDER
    },
    TaskOption {
        name: "at",
        help: "Waits until this time: `18:30`, `2030-01-31 18:30`, or RFC 3339",
        takes: Takes::Moment(|task, due| task.not_before = Some(due)),
        example: "2099-01-31 18:30",
        unset: Some(|task| task.not_before = None),
        key: "not_before",
        value: |view| Some(json!(view.task.not_before)),
        ..ORDER
    },
    TaskOption {
        name: "retries",
        help: "How often it is tried again after it fails [default: 0]",
        takes: Takes::Count(|task, retries| task.max_retries = retries),
        example: "2",
        unset: Some(|task| task.max_retries = 0),
        key: "retries",
        value: |view| Some(json!(view.task.max_retries)),
        lines: |view| unless_zero("retries", view.task.max_retries.into()),
        ..ORDER
    },
    TaskOption {
        name: "timeout",
        help: "Ends its command after this time, such as `90s` or `1h 30m`, in whole seconds; \
               a bare number is minutes [default: never]",
        takes: Takes::Seconds(|task, limit| task.timeout_seconds = Some(limit)),
        example: "10m",
        unset: Some(|task| task.timeout_seconds = None),
        key: "timeout_seconds",
        value: |view| Some(json!(view.task.timeout_seconds)),
        lines: |view| {
            let limit = view.task.timeout_seconds.filter(|&limit| limit > 0);
            let limit = limit.map(|limit| shown(Duration::from_secs(limit)));
            limit.into_iter().map(|limit| ("timeout", limit)).collect()
        },
        ..ORDER
    },
];

const ORDER: TaskOption = TaskOption {
    topic: Topic::Order,
    ..PLAIN
};

fn unless_zero(heading: &'static str, number: i64) -> Vec<(&'static str, String)> {
    match number {
        0 => Vec::new(),
        number => vec![(heading, number.to_string())],
    }
}
