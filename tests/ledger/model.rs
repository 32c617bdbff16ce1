//! A model of the ledger: what it must hold after each command, as far as no daemon runs.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::commands::{Command, Item};

/// A task as the model knows it.
#[derive(Debug, Clone, Default)]
pub(super) struct ModelTask {
    pub(super) status: &'static str,
    pub(super) content: String,
    pub(super) priority: i32,
    pub(super) target: Option<&'static str>,
    /// The tasks that it follows, and whether it fails with each.
    pub(super) parents: BTreeMap<u64, bool>,
    /// The events of its history.
    pub(super) events: Vec<&'static str>,
}

/// What a command must answer.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) code: i32,
    /// Its JSON; `None` if it is refused.
    pub(super) answer: Option<Value>,
    /// The tasks whose history may have grown.
    pub(super) touched: BTreeSet<u64>,
}

/// The ledger.
#[derive(Debug, Default)]
pub(super) struct Model {
    pub(super) tasks: BTreeMap<u64, ModelTask>,
    /// The events of tasks that were cleared.
    pub(super) cleared: BTreeMap<u64, Vec<&'static str>>,
    last: u64,
    all_paused: bool,
    sessions: BTreeSet<&'static str>,
    providers: BTreeSet<&'static str>,
    touched: BTreeSet<u64>,
}

fn has_ended(status: &str) -> bool {
    ["completed", "failed", "cancelled"].contains(&status)
}

fn has_ended_badly(status: &str) -> bool {
    ["failed", "cancelled"].contains(&status)
}

impl Model {
    /// Returns the number that the next task is given.
    pub(super) fn next(&self) -> u64 {
        self.last + 1
    }

    /// Does what a command does, and returns what it must answer.
    pub(super) fn apply(&mut self, command: &Command) -> Outcome {
        self.touched.clear();
        let (code, answer) = match command {
            Command::Send(item) => self.send(item),
            Command::Batch(items) => self.batch(items),
            Command::Cancel(ids) => self.cancel(ids),
            Command::Retry { ids, release } => self.retry(ids, *release),
            Command::RetryFailed => self.retry_failed(),
            Command::Edit(id, item) => self.edit(*id, item),
            Command::Unfollow(id) => self.unfollow(*id),
            Command::Reassign(id, to) => self.reassign(*id, *to),
            Command::Clear(statuses) => self.clear(statuses),
            Command::Pause(what) => self.pause(what, true),
            Command::Resume(what) => self.pause(what, false),
            // Without a daemon, no task is uncertain or waits for an answer.
            Command::Resolve(_) | Command::Reply(_) => (1, None),
        };
        Outcome {
            code,
            answer,
            touched: std::mem::take(&mut self.touched),
        }
    }

    /// Returns how many tasks have a status.
    pub(super) fn count(&self, status: &str) -> usize {
        let tasks = self.tasks.values();
        tasks.filter(|task| task.status == status).count()
    }

    /// Returns what `status` says of pauses.
    pub(super) fn pauses(&self) -> Value {
        json!({
            "sessions": self.sessions, "providers": self.providers,
            "all": self.all_paused, "limits": [],
        })
    }

    fn note(&mut self, id: u64, event: &'static str) {
        self.touched.insert(id);
        self.tasks.get_mut(&id).expect("a task").events.push(event);
    }

    fn moved(&mut self, id: u64, event: &'static str, status: &'static str) {
        self.note(id, event);
        self.tasks.get_mut(&id).expect("a task").status = status;
    }

    fn status(&self, id: u64) -> Option<&'static str> {
        self.tasks.get(&id).map(|task| task.status)
    }

    /// Ends a task, and with it the pending tasks that are to fail with it.
    fn ends(&mut self, id: u64, event: &'static str, status: &'static str) {
        self.moved(id, event, status);
        let fails =
            |task: &ModelTask| task.status == "pending" && task.parents.get(&id) == Some(&true);
        let followers = self.tasks.iter().filter(|(_, task)| fails(task));
        let followers: Vec<u64> = followers.map(|(&id, _)| id).collect();
        for follower in followers {
            // It may have failed with another one in the meantime.
            if self.status(follower) == Some("pending") {
                self.ends(follower, "abandoned", "failed");
            }
        }
    }

    /// Makes a task follow others; it fails at once if one of them has ended badly.
    fn follow(&mut self, id: u64, parents: &[u64], fails: bool) {
        let has_failed = |parent: &u64| self.status(*parent).is_some_and(has_ended_badly);
        let has_failed = fails && parents.iter().any(has_failed);
        let known = &mut self.tasks.get_mut(&id).expect("a task").parents;
        for &parent in parents {
            known.entry(parent).or_insert(fails);
        }
        if has_failed {
            self.ends(id, "abandoned", "failed");
        }
    }

    fn queue(&mut self, item: &Item, parents: &[u64]) -> Value {
        self.last += 1;
        let id = self.last;
        let task = ModelTask {
            status: "pending",
            content: item.content.clone(),
            priority: item.priority,
            target: item.target,
            ..ModelTask::default()
        };
        self.tasks.insert(id, task);
        self.note(id, "queued");
        self.follow(id, parents, item.fails);
        json!({"id": id, "status": self.status(id)})
    }

    fn send(&mut self, item: &Item) -> (i32, Option<Value>) {
        if item
            .after
            .iter()
            .any(|parent| self.status(*parent).is_none())
        {
            return (1, None);
        }
        (0, Some(self.queue(item, &item.after)))
    }

    /// All of them or none. `earlier` are lines before, whose numbers are not known yet.
    fn batch(&mut self, items: &[Item]) -> (i32, Option<Value>) {
        let after = |item: &Item| {
            item.after
                .iter()
                .all(|parent| self.status(*parent).is_some())
        };
        if !items.iter().all(after) {
            return (2, None);
        }
        let first = self.next();
        let answer = items.iter().map(|item| {
            let earlier = item.earlier.map(|line| first + line as u64);
            let parents: Vec<u64> = item.after.iter().copied().chain(earlier).collect();
            self.queue(item, &parents)
        });
        let answer: Vec<Value> = answer.collect();
        (0, Some(Value::Array(answer)))
    }

    fn cancel(&mut self, ids: &[u64]) -> (i32, Option<Value>) {
        let (mut code, mut answer) = (0, Vec::new());
        for &id in ids {
            if self.status(id) == Some("pending") {
                self.ends(id, "cancelled", "cancelled");
                answer.push(json!({"id": id, "status": "cancelled", "cancel_requested": true}));
            } else {
                code = 1;
            }
        }
        (code, Some(Value::Array(answer)))
    }

    /// Whether a task that has ended badly can be queued again: not while one that it is to fail with
    /// has ended badly.
    fn can_be_queued(&self, id: u64) -> bool {
        self.tasks.get(&id).is_some_and(|task| {
            let stands = |(parent, &fails): (&u64, &bool)| {
                !fails || !self.status(*parent).is_some_and(has_ended_badly)
            };
            has_ended_badly(task.status) && task.parents.iter().all(stands)
        })
    }

    fn retry(&mut self, ids: &[u64], release: bool) -> (i32, Option<Value>) {
        let (mut code, mut answer) = (0, Vec::new());
        let ids: BTreeSet<u64> = ids.iter().copied().collect();
        for id in ids {
            let before = self.tasks.get(&id).cloned();
            if release && let Some(task) = self.tasks.get_mut(&id) {
                let released = task.parents.values().any(|&fails| fails);
                task.parents.values_mut().for_each(|fails| *fails = false);
                if released {
                    self.note(id, "released");
                }
            }
            if self.can_be_queued(id) {
                self.moved(id, "requeued", "pending");
                answer.push(json!({"id": id, "status": "pending"}));
            } else {
                code = 1;
                if let Some(before) = before {
                    self.tasks.insert(id, before);
                }
            }
        }
        (code, Some(Value::Array(answer)))
    }

    fn retry_failed(&mut self) -> (i32, Option<Value>) {
        let failed = self
            .tasks
            .iter()
            .filter(|(_, task)| task.status == "failed");
        let failed: Vec<u64> = failed.map(|(&id, _)| id).collect();
        self.retry(&failed, false)
    }

    fn edit(&mut self, id: u64, item: &Item) -> (i32, Option<Value>) {
        let is_known = |parent: &u64| *parent < id && self.status(*parent).is_some();
        if self.status(id) != Some("pending") || !item.after.iter().all(is_known) {
            return (1, None);
        }
        let task = self.tasks.get_mut(&id).expect("a task");
        task.content.clone_from(&item.content);
        task.priority = item.priority;
        let mut changed = vec!["content"];
        if let Some(target) = item.target {
            task.target = Some(target);
            changed.push("target");
        }
        changed.push("priority");
        if !item.after.is_empty() {
            changed.push("after");
        }
        changed.push("if-parent-fails");
        // How it ends with those that it already follows changes, too.
        task.parents
            .values_mut()
            .for_each(|fails| *fails = item.fails);
        let parents: Vec<u64> = task.parents.keys().chain(&item.after).copied().collect();
        self.note(id, "edited");
        self.follow(id, &parents, item.fails);
        let answer = json!({"id": id, "status": self.status(id), "changed": changed});
        (0, Some(answer))
    }

    fn unfollow(&mut self, id: u64) -> (i32, Option<Value>) {
        if self.status(id) != Some("pending") {
            return (1, None);
        }
        self.tasks.get_mut(&id).expect("a task").parents.clear();
        self.note(id, "edited");
        let answer = json!({"id": id, "status": "pending", "changed": ["without after"]});
        (0, Some(answer))
    }

    fn reassign(&mut self, id: u64, to: Option<&'static str>) -> (i32, Option<Value>) {
        if self.can_be_queued(id) {
            self.moved(id, "requeued", "pending");
        }
        if self.status(id) != Some("pending") {
            return (1, None);
        }
        self.tasks.get_mut(&id).expect("a task").target = to;
        self.note(id, "reassigned");
        (0, Some(json!({"id": id, "status": "pending"})))
    }

    /// A task stays as long as one that has not ended follows it.
    fn clear(&mut self, statuses: &[&'static str]) -> (i32, Option<Value>) {
        let statuses = match statuses {
            [] => &["completed", "cancelled"],
            statuses => statuses,
        };
        let is_followed = |id: &u64| {
            let mut tasks = self.tasks.values();
            tasks.any(|task| task.parents.contains_key(id) && !has_ended(task.status))
        };
        let over = self
            .tasks
            .iter()
            .filter(|(id, task)| statuses.contains(&task.status) && !is_followed(id));
        let over: Vec<u64> = over.map(|(&id, _)| id).collect();
        for &id in &over {
            self.note(id, "cleared");
            let task = self.tasks.remove(&id).expect("a task");
            self.cleared.insert(id, task.events);
        }
        for task in self.tasks.values_mut() {
            task.parents.retain(|parent, _| !over.contains(parent));
        }
        (0, Some(json!({"cleared": over.len()})))
    }

    fn pause(&mut self, what: &super::commands::Paused, on: bool) -> (i32, Option<Value>) {
        use super::commands::Paused;
        match (what, on) {
            (Paused::All, _) => self.all_paused = on,
            (Paused::Session(name), true) => drop(self.sessions.insert(name)),
            (Paused::Session(name), false) => drop(self.sessions.remove(name)),
            (Paused::Provider(name), true) => drop(self.providers.insert(name)),
            (Paused::Provider(name), false) => drop(self.providers.remove(name)),
        }
        (0, Some(json!({"paused": self.pauses()})))
    }
}
