//! Which sessions may run a task.

use serde_json::json;

use super::{OptionError, PLAIN, Takes, TaskOption, Topic, not_blank, pairs, when};
use crate::model::eligibility::SHELL;
use crate::model::naming::{SessionRef, Whereabouts, check_name, whereabouts};
use crate::model::task::Kind;
use crate::store::{SessionRow, present};

pub(super) const OPTIONS: &[TaskOption] = &[
    TaskOption {
        name: "target",
        help: "The only session that may run it",
        takes: Takes::Text("SESSION", |draft, target| {
            let target = not_blank("target", &target)?;
            check_name(&target).map_err(|why| OptionError::Wrong(format!("--target: {why}")))?;
            draft.task.target_session = Some(target.into());
            draft.task.metadata.target_fallback = false;
            Ok(())
        }),
        example: "api",
        unset: Some(|task| {
            task.target_session = None;
            task.metadata.target_fallback = false;
        }),
        key: "target_session",
        value: |view| {
            let target = view.task.target_session.as_ref();
            Some(json!(target.map(|target| {
                match whereabouts(present(view.rows), target) {
                    Whereabouts::Here(name) => name,
                    Whereabouts::Awaited | Whereabouts::Gone => target.name.clone(),
                }
            })))
        },
        lines: |view| {
            let others = match view.task.metadata.target_fallback {
                true => ", or another",
                false => "",
            };
            let target = view.task.target_session.iter();
            let line = target.map(|target| {
                (
                    "target",
                    format!("{}{others}", target_in_words(target, view.rows)),
                )
            });
            line.collect()
        },
        ..SELECTION
    },
    TaskOption {
        name: "target-fallback",
        help: "Lets other sessions run it while that one cannot",
        takes: Takes::Flag(|task| task.metadata.target_fallback = true),
        needs: Some((
            &["target"],
            "needs a session to prefer: name it with --target",
        )),
        unset: Some(|task| task.metadata.target_fallback = false),
        key: "target_fallback",
        value: |view| Some(json!(view.task.metadata.target_fallback)),
        ..SELECTION
    },
    TaskOption {
        name: "provider",
        help: "The kind of session that may run it: `shell`, or an agent's name",
        takes: Takes::Text("NAME", |draft, provider| {
            // A shell asks this agent then.
            if draft.is_headless() {
                return Ok(());
            }
            let provider = not_blank("provider", &provider)?;
            draft.task.kind = match provider.as_str() {
                SHELL => Kind::Command,
                _ => Kind::Prompt,
            };
            draft.task.target_provider = Some(provider);
            Ok(())
        }),
        example: "codex",
        unset: Some(|task| {
            task.target_provider = None;
            task.metadata.preferred_providers.clear();
            task.metadata.fallback_providers.clear();
            task.metadata.allow_fallback = false;
        }),
        key: "target_provider",
        value: |view| Some(json!(view.task.target_provider)),
        lines: |view| {
            let others = match view.task.metadata.allow_fallback {
                true => ", then any",
                false => "",
            };
            match view.task.preferred_providers().as_slice() {
                [] => when(view.task.metadata.allow_fallback, "provider", "any"),
                names => vec![("provider", format!("{}{others}", names.join(", ")))],
            }
        },
        ..SELECTION
    },
    TaskOption {
        name: "providers",
        help: "The kinds of session that may run it, the preferred ones first",
        takes: Takes::Names(|draft, names| {
            draft.task.metadata.preferred_providers = trimmed("providers", &names)?;
            Ok(())
        }),
        example: "codex,claude",
        unset: Some(|task| task.metadata.preferred_providers.clear()),
        key: "providers",
        value: |view| Some(json!(view.task.metadata.preferred_providers)),
        ..SELECTION
    },
    TaskOption {
        name: "fallback",
        help: "The kinds to try after those",
        takes: Takes::Names(|draft, names| {
            draft.task.metadata.fallback_providers = trimmed("fallback", &names)?;
            Ok(())
        }),
        example: "claude",
        needs: Some((
            &["provider", "providers"],
            "names what comes second: name what comes first with --provider or --providers",
        )),
        unset: Some(|task| task.metadata.fallback_providers.clear()),
        key: "fallback",
        value: |view| Some(json!(view.task.metadata.fallback_providers)),
        ..SELECTION
    },
    TaskOption {
        name: "allow-fallback",
        help: "Lets every kind run it, after the named ones",
        takes: Takes::Flag(|task| task.metadata.allow_fallback = true),
        unset: Some(|task| task.metadata.allow_fallback = false),
        key: "allow_fallback",
        value: |view| Some(json!(view.task.metadata.allow_fallback)),
        ..SELECTION
    },
    TaskOption {
        name: "no-context-match",
        help: "Lets any session run it, whatever its directory, branch and environment",
        takes: Takes::Flag(|task| task.metadata.prefer_context_match = false),
        unset: Some(|task| task.metadata.prefer_context_match = true),
        // In JSON, it says the opposite.
        key: "match_context",
        value: |view| Some(json!(view.task.metadata.prefer_context_match)),
        lines: |view| {
            let is_free = !view.task.metadata.prefer_context_match;
            when(is_free, "context", "any session will do")
        },
        ..SELECTION
    },
    TaskOption {
        name: "label",
        short: Some('l'),
        keys: &["labels"],
        help: "A label for policies and people; may be repeated",
        takes: Takes::Pairs(check_label, |draft, labels| {
            draft.task.metadata.labels.extend(labels);
            Ok(())
        }),
        example: "team=web",
        unset: Some(|task| task.metadata.labels.clear()),
        key: "labels",
        value: |view| Some(json!(view.task.metadata.labels)),
        lines: |view| pairs("label", &view.task.metadata.labels),
        ..SELECTION
    },
    TaskOption {
        name: "require-label",
        keys: &["require-labels"],
        help: "A label that the session must have; may be repeated",
        takes: Takes::Pairs(check_label, |draft, labels| {
            draft.task.metadata.require_labels.extend(labels);
            Ok(())
        }),
        example: "gpu=yes",
        unset: Some(|task| task.metadata.require_labels.clear()),
        key: "require_labels",
        value: |view| Some(json!(view.task.metadata.require_labels)),
        lines: |view| pairs("requires", &view.task.metadata.require_labels),
        ..SELECTION
    },
];

const SELECTION: TaskOption = TaskOption {
    topic: Topic::Selection,
    ..PLAIN
};

/// Checks a label: it has a name and a value.
pub fn check_label(name: &str, value: &str) -> Result<(), String> {
    if name.trim().is_empty() {
        return Err("it has no name".to_owned());
    }
    if value.trim().is_empty() {
        return Err("a label has a value".to_owned());
    }
    Ok(())
}

fn trimmed(option: &str, names: &[String]) -> Result<Vec<String>, OptionError> {
    let names = names.iter();
    names.map(|name| not_blank(option, name.trim())).collect()
}

/// A target under its present name, and also under the name that was used if that differs.
fn target_in_words(target: &SessionRef, rows: &[SessionRow]) -> String {
    match whereabouts(present(rows), target) {
        Whereabouts::Here(name) if name == target.name => name,
        Whereabouts::Here(name) => format!("{name} (given as {target})"),
        Whereabouts::Awaited => format!("{target} (no session has this name yet)"),
        Whereabouts::Gone => format!("{}, which is gone", target.in_full()),
    }
}
