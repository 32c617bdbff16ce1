//! Commands that change the ledger, at random.

use std::fmt::Write as _;

use fastrand::Rng;
use serde_json::json;

/// What a task is queued or edited with.
#[derive(Debug, Clone)]
pub(super) struct Item {
    pub(super) content: String,
    pub(super) priority: i32,
    pub(super) target: Option<&'static str>,
    /// The tasks that it follows.
    pub(super) after: Vec<u64>,
    /// The line of the same batch that it follows.
    pub(super) earlier: Option<usize>,
    /// Whether it fails with them.
    pub(super) fails: bool,
}

/// What is paused.
#[derive(Debug, Clone, Copy)]
pub(super) enum Paused {
    All,
    Session(&'static str),
    Provider(&'static str),
}

/// A command.
#[derive(Debug, Clone)]
pub(super) enum Command {
    Send(Item),
    Batch(Vec<Item>),
    Cancel(Vec<u64>),
    Retry { ids: Vec<u64>, release: bool },
    RetryFailed,
    Edit(u64, Item),
    Unfollow(u64),
    Reassign(u64, Option<&'static str>),
    Clear(Vec<&'static str>),
    Pause(Paused),
    Resume(Paused),
    Resolve(u64),
    Reply(u64),
}

/// Names of sessions, none of which exists.
const NAMES: [&str; 3] = ["one", "two", "three"];

/// Makes commands about tasks up to the number `last`, and sometimes about one that does not exist.
pub(super) struct Maker<'r> {
    pub(super) rng: &'r mut Rng,
    pub(super) last: u64,
}

impl Maker<'_> {
    /// Returns a command.
    pub(super) fn command(&mut self) -> Command {
        match self.rng.u8(0..28) {
            0..8 => Command::Send(self.item(self.last + 1)),
            8..10 => Command::Batch(self.items()),
            10..14 => Command::Cancel(self.ids()),
            14..16 => Command::Retry {
                ids: self.ids(),
                release: self.rng.bool(),
            },
            16 => Command::RetryFailed,
            17..20 => {
                let id = self.id();
                Command::Edit(id, self.item(id))
            }
            20 => Command::Unfollow(self.id()),
            21..23 => Command::Reassign(self.id(), self.name()),
            23 => Command::Clear(self.statuses()),
            24 => Command::Pause(self.paused()),
            25 => Command::Resume(self.paused()),
            26 => Command::Resolve(self.id()),
            _ => Command::Reply(self.id()),
        }
    }

    /// Returns the number of a task, the latest ones more often.
    fn id(&mut self) -> u64 {
        match self.rng.u8(0..10) {
            0 => self.rng.u64(1..self.last + 3),
            _ => self
                .rng
                .u64(self.last.saturating_sub(8).max(1)..=self.last.max(1)),
        }
    }

    fn ids(&mut self) -> Vec<u64> {
        (0..self.rng.usize(1..4)).map(|_| self.id()).collect()
    }

    fn name(&mut self) -> Option<&'static str> {
        self.rng
            .bool()
            .then(|| NAMES[self.rng.usize(0..NAMES.len())])
    }

    /// Returns what a task is queued or edited with that has the number `id`.
    fn item(&mut self, id: u64) -> Item {
        let after = match self.rng.u8(0..5) {
            // One that is not there, or is not earlier.
            0 if self.rng.u8(0..4) == 0 => vec![id + self.rng.u64(0..3)],
            0..3 => (0..self.rng.usize(1..4)).map(|_| self.id()).collect(),
            _ => Vec::new(),
        };
        Item {
            content: format!("echo {}", self.rng.u32(..)),
            priority: self.rng.i32(-3..4),
            target: self.name(),
            after,
            earlier: None,
            fails: self.rng.bool(),
        }
    }

    fn items(&mut self) -> Vec<Item> {
        let mut items = Vec::new();
        for line in 0..self.rng.usize(1..5) {
            // Numbers of the same batch are not known yet.
            let mut item = self.item(self.last + 10);
            item.earlier = (line > 0 && self.rng.bool()).then(|| self.rng.usize(0..line));
            items.push(item);
        }
        items
    }

    fn statuses(&mut self) -> Vec<&'static str> {
        let all = ["completed", "failed", "cancelled"];
        all.into_iter().filter(|_| self.rng.bool()).collect()
    }

    fn paused(&mut self) -> Paused {
        match self.rng.u8(0..3) {
            0 => Paused::All,
            1 => Paused::Session(NAMES[self.rng.usize(0..NAMES.len())]),
            _ => Paused::Provider(["shell", "claude"][self.rng.usize(0..2)]),
        }
    }
}

impl Item {
    fn options(&self) -> Vec<String> {
        let mut words = vec!["--priority".to_owned(), self.priority.to_string()];
        if let Some(target) = self.target {
            words.extend(["--target".to_owned(), target.to_owned()]);
        }
        for parent in &self.after {
            words.extend(["--after".to_owned(), parent.to_string()]);
        }
        words.extend([
            "--if-parent-fails".to_owned(),
            self.if_parent_fails().to_owned(),
        ]);
        words
    }

    fn if_parent_fails(&self) -> &'static str {
        if self.fails { "fail" } else { "release" }
    }

    fn line(&self, number: usize) -> String {
        let after = self.after.iter().map(|id| json!(id));
        let earlier = self.earlier.map(|line| json!(format!("line {line}")));
        let mut line = json!({
            "name": format!("line {number}"), "content": self.content, "shell": true,
            "priority": self.priority, "if_parent_fails": self.if_parent_fails(),
            "after": after.chain(earlier).collect::<Vec<_>>(),
        });
        if let Some(target) = self.target {
            line["target"] = json!(target);
        }
        line.to_string()
    }
}

impl Command {
    /// Returns its words, and what it reads from standard input.
    pub(super) fn words(&self) -> (Vec<String>, String) {
        let line = |words: &str| words.split(' ').map(str::to_owned).collect::<Vec<_>>();
        let numbers = |ids: &[u64]| ids.iter().map(u64::to_string).collect::<Vec<_>>();
        let of = |what: &Paused| match what {
            Paused::All => "--all".to_owned(),
            Paused::Session(name) => (*name).to_owned(),
            Paused::Provider(name) => format!("--provider {name}"),
        };
        let words = match self {
            Self::Send(item) => {
                let content = ["--".to_owned(), item.content.clone()];
                [line("send --shell"), item.options(), content.to_vec()].concat()
            }
            Self::Batch(items) => {
                let mut input = String::new();
                for (number, item) in items.iter().enumerate() {
                    let _ = writeln!(input, "{}", item.line(number));
                }
                return (line("send --batch -"), input);
            }
            Self::Cancel(ids) => [line("cancel"), numbers(ids)].concat(),
            Self::Retry { ids, release } => {
                let first = if *release { "retry --release" } else { "retry" };
                [line(first), numbers(ids)].concat()
            }
            Self::RetryFailed => line("retry --all-failed"),
            Self::Edit(id, item) => {
                let content = ["--content".to_owned(), item.content.clone()];
                [
                    line(&format!("edit {id}")),
                    item.options(),
                    content.to_vec(),
                ]
                .concat()
            }
            Self::Unfollow(id) => line(&format!("edit {id} --unset after")),
            Self::Reassign(id, None) => line(&format!("reassign {id}")),
            Self::Reassign(id, Some(to)) => line(&format!("reassign {id} --to {to}")),
            Self::Clear(statuses) => {
                let words = statuses.iter().map(|status| format!("--status {status}"));
                words.fold(line("clear"), |words, more| [words, line(&more)].concat())
            }
            Self::Pause(what) => line(&format!("pause {}", of(what))),
            Self::Resume(what) => line(&format!("resume {}", of(what))),
            Self::Resolve(id) => line(&format!("resolve {id} --done")),
            Self::Reply(id) => line(&format!("reply {id} yes")),
        };
        (words, String::new())
    }
}
