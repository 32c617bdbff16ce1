//! The hooks in an agent's settings: where ours are, and the edits that add and remove them.

use std::borrow::Cow;
use std::collections::HashSet;
use std::ops::Range;

use serde_json::{Value, json};

use super::json::{Child, Container, Layout, MARK, Replacement, checked, line_of, string};
use super::{HookError, HookEvent, is_ours};

/// Settings, with the positions of everything that matters here.
pub(super) struct HookSettings<'a> {
    text: &'a str,
    root: Container,
    hooks: Option<Hooks>,
}

/// The object `hooks`.
struct Hooks {
    /// Its index among the children of the root.
    at: usize,
    events: Container,
    /// One for each child of `events`.
    lists: Vec<EventHooks>,
}

/// The value below the name of an event.
pub(super) struct EventHooks {
    pub(super) name: String,
    /// `None` if it is not a list.
    groups: Option<Container>,
    /// The groups that hold hooks of ours.
    with_ours: Vec<HookGroup>,
}

/// A group that holds hooks of ours.
pub(super) struct HookGroup {
    /// Its index in the list.
    at: usize,
    pub(super) matcher: Option<String>,
    handlers: Container,
    ours: Vec<Ours>,
}

/// A hook of ours.
pub(super) struct Ours {
    /// Its index in the group.
    at: usize,
    pub(super) command: String,
    /// The position of the command line, with its quotes.
    pub(super) span: Range<usize>,
}

impl<'a> HookSettings<'a> {
    pub(super) fn read(text: &'a str) -> Result<Self, HookError> {
        let value = checked(text)?;
        let shape = |at, what: &'static str, wanted| HookError::Shape {
            line: line_of(text, at),
            what: what.into(),
            wanted,
        };
        let root = Container::object(text, &value)
            .ok_or_else(|| shape(value.start, "the top level", "an object"))?;
        root.once(text, "hooks")?;
        let hooks = match root.named("hooks") {
            None => None,
            Some(at) => {
                let value = &root.children[at].value;
                let events = Container::object(text, value)
                    .ok_or_else(|| shape(value.start, "`hooks`", "an object"))?;
                let lists = events
                    .children
                    .iter()
                    .map(|child| EventHooks::read(text, child));
                let lists = lists.collect();
                Some(Hooks { at, events, lists })
            }
        };
        Ok(Self { text, root, hooks })
    }

    /// Returns an error if `wanted` could not be added.
    pub(super) fn check(&self, wanted: &[HookEvent]) -> Result<(), HookError> {
        let Some(hooks) = &self.hooks else {
            return Ok(());
        };
        for event in wanted {
            hooks.events.once(self.text, event.name)?;
            let Some(at) = hooks.events.named(event.name) else {
                continue;
            };
            if hooks.lists[at].groups.is_none() {
                return Err(HookError::Shape {
                    line: line_of(self.text, hooks.events.children[at].value.start),
                    what: Cow::Owned(format!("`{}`", event.name)),
                    wanted: "a list",
                });
            }
        }
        Ok(())
    }

    /// Returns all our hooks, with the list and the group that hold them.
    pub(super) fn ours(&self) -> impl Iterator<Item = (&EventHooks, &HookGroup, &Ours)> {
        let lists = self.hooks.iter().flat_map(|hooks| &hooks.lists);
        lists.flat_map(|list| {
            let groups = list.with_ours.iter();
            groups.flat_map(move |group| group.ours.iter().map(move |ours| (list, group, ours)))
        })
    }

    /// Removes the hooks whose command lines begin at these positions, and what becomes empty.
    pub(super) fn take_away(&self, gone: &HashSet<usize>, edits: &mut Vec<Replacement>) {
        let Some(hooks) = &self.hooks else {
            return;
        };
        let mut gone_lists = vec![false; hooks.lists.len()];
        for (list, gone_list) in hooks.lists.iter().zip(&mut gone_lists) {
            let Some(groups) = &list.groups else {
                continue;
            };
            let mut gone_groups = vec![false; groups.children.len()];
            for group in &list.with_ours {
                let mut gone_handlers = vec![false; group.handlers.children.len()];
                for ours in &group.ours {
                    gone_handlers[ours.at] = gone.contains(&ours.span.start);
                }
                if gone_handlers.iter().all(|gone| *gone) {
                    gone_groups[group.at] = true;
                } else {
                    group.handlers.cut(&gone_handlers, edits);
                }
            }
            *gone_list = groups.empty_or_cut(self.text, &gone_groups, edits);
        }
        if hooks.events.empty_or_cut(self.text, &gone_lists, edits) {
            let mut gone = vec![false; self.root.children.len()];
            gone[hooks.at] = true;
            if gone.len() > 1 {
                self.root.cut(&gone, edits);
            } else {
                // The file itself stays, as it was when it was empty.
                let start = self.root.inner.start + self.root.lead(self.text).kept;
                edits.push((start..self.root.inner.end, String::new()));
            }
        }
    }

    /// Adds a group for each of the events.
    pub(super) fn add(&self, missing: &[(&HookEvent, Value)], edits: &mut Vec<Replacement>) {
        let layout = Layout::of(self.text, &self.root);
        let mut new_lists: Vec<(&str, Vec<&Value>)> = Vec::new();
        for (event, group) in missing {
            match new_lists.iter_mut().find(|(name, _)| *name == event.name) {
                Some((_, groups)) => groups.push(group),
                None => new_lists.push((event.name, vec![group])),
            }
        }
        let Some(hooks) = &self.hooks else {
            let lists = new_lists.iter();
            let hooks: serde_json::Map<_, _> = lists
                .map(|(name, groups)| ((*name).to_owned(), json!(groups)))
                .collect();
            if !hooks.is_empty() {
                let place = layout.place(self.text, &self.root, Some(""), "");
                edits.push(place.edit(&[place.member("hooks", &hooks.into())]));
            }
            return;
        };
        new_lists.retain(|(name, groups)| {
            let Some(at) = hooks.events.named(name) else {
                return true;
            };
            if let Some(list) = &hooks.lists[at].groups {
                let line = hooks.events.line(self.text, at);
                let place = layout.place(self.text, list, line, MARK);
                let groups: Vec<String> = groups.iter().map(|group| place.render(group)).collect();
                edits.push(place.edit(&groups));
            }
            false
        });
        if !new_lists.is_empty() {
            let line = self.root.line(self.text, hooks.at);
            let place = layout.place(self.text, &hooks.events, line, MARK);
            let lists = new_lists.iter();
            let members: Vec<String> = lists
                .map(|(name, groups)| place.member(name, &json!(groups)))
                .collect();
            edits.push(place.edit(&members));
        }
    }
}

impl EventHooks {
    fn read(text: &str, child: &Child) -> Self {
        let groups = Container::list(text, &child.value);
        let children = groups.iter().flat_map(|groups| &groups.children);
        let with_ours = children
            .enumerate()
            .filter_map(|(at, child)| HookGroup::read(text, at, &child.value))
            .collect();
        Self {
            name: child.name.clone().unwrap_or_default(),
            groups,
            with_ours,
        }
    }
}

impl HookGroup {
    /// Returns `None` if it holds no hook of ours.
    fn read(text: &str, at: usize, value: &Range<usize>) -> Option<Self> {
        let group = Container::object(text, value)?;
        let handlers = Container::list(text, &group.children[group.named("hooks")?].value)?;
        let ours: Vec<Ours> = (handlers.children.iter().enumerate())
            .filter_map(|(at, child)| {
                let handler = Container::object(text, &child.value)?;
                let span = handler.children[handler.named("command")?].value.clone();
                let command = string(text, &span)?;
                is_ours(&command).then_some(Ours { at, command, span })
            })
            .collect();
        if ours.is_empty() {
            return None;
        }
        let matcher = group.named("matcher");
        let matcher = matcher.and_then(|at| string(text, &group.children[at].value));
        Some(Self {
            at,
            matcher,
            handlers,
            ours,
        })
    }
}
