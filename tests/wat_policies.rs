//! Policies written by hand, in WebAssembly text with embedded WIT: a healthy one, and harmful
//! ones.
//!
//! The addresses are fixed, so that bodies can name them: the policy's description is at 16, the
//! answer of `configure` at 64 (accepted) and 80 (refused), the answer of `assign` at 96, room for
//! a body from 128 on, a reason at [`REASON`], a line for the log at [`LINE`], other texts from
//! 1024 on. What the host passes in comes after the first page.

pub(crate) mod harmful;

use wit_component::{ComponentEncoder, StringEncoding};
use wit_parser::Resolve;

/// The workspace's contract.
pub(crate) const CONTRACT: &str = include_str!("../wit/policy.wit");

/// The address of the reason of every `wait`; also used as a name for a term.
const REASON: u32 = 4096;

/// The address of the line for the log: the words of [`Plan::line`] and five digits.
const LINE: u32 = 8192;

/// Assigns each task to the first session that is ready, allowed and not taken yet.
const HEALTHY: &str = "(call $healthy
    (local.get $tasks) (local.get $count) (local.get $sessions) (local.get $many))";

/// Lets every task wait.
const ALL_WAIT: &str = "(call $all_wait (local.get $count))";

/// What makes a policy do its harm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Round {
    /// Any task will do.
    Task,
    /// Two tasks that wait at the same time; a single one waits.
    TwoTasks,
    /// A task that names one of two sessions; other tasks are served well.
    Target,
    /// A task while a session is busy; other tasks are served well.
    Busy,
}

/// When a policy does harm, and the words of the error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum When {
    /// It cannot be loaded.
    AtLoad(&'static str),
    /// It passes the self-test, and fails in such a round.
    InARound(Round, &'static str),
    /// It tries something and answers well.
    Harmless,
}

/// A harmful policy.
pub(crate) struct Saboteur {
    /// Its name, which it also gives itself if it gets that far.
    pub(crate) name: &'static str,
    pub(crate) bytes: Vec<u8>,
    pub(crate) when: When,
}

/// The parts of a policy written by hand.
pub(crate) struct Plan<'a> {
    pub(crate) name: &'a str,
    pub(crate) version: &'a str,
    pub(crate) summary: &'a str,
    pub(crate) default_config: &'a str,
    pub(crate) wants_busy: bool,
    /// Why its tasks wait.
    pub(crate) reason: &'a str,
    /// What `(call $say (local.get $i))` logs as an error, before the number.
    pub(crate) line: &'a str,
    /// Imports of the core module.
    pub(crate) imports: &'a str,
    /// The document with the world `policy` for which it is built; `None` means the contract.
    pub(crate) wit: Option<&'a str>,
    pub(crate) describe: &'a str,
    pub(crate) configure: &'a str,
    /// Runs in every round except the self-test, and leaves the address of the answer.
    pub(crate) assign: String,
}

impl<'a> Plan<'a> {
    /// A healthy policy that has no settings, and refuses any.
    pub(crate) fn new(name: &'a str) -> Self {
        Self {
            name,
            version: "1.0.0",
            summary: "Takes the first session that is free",
            default_config: "{}",
            wants_busy: false,
            reason: "no session is free",
            line: "line",
            imports: "",
            wit: None,
            describe: "(i32.const 16)",
            configure: "(select (i32.const 64) (i32.const 80)
                (i32.eq (local.get $length) (i32.const 2)))",
            assign: HEALTHY.to_owned(),
        }
    }

    /// Like [`Self::new`], but does something before it answers well.
    pub(crate) fn first(name: &'a str, harm: &str) -> Self {
        Self {
            assign: format!("{harm}\n{HEALTHY}"),
            ..Self::new(name)
        }
    }

    /// Like [`Self::new`], with another answer.
    pub(crate) fn answers(name: &'a str, answer: &str) -> Self {
        Self {
            assign: answer.to_owned(),
            ..Self::new(name)
        }
    }

    /// Returns the component.
    pub(crate) fn component(&self) -> Vec<u8> {
        ComponentEncoder::default()
            .module(&self.core())
            .expect("a module with embedded WIT")
            .validate(true)
            .encode()
            .expect("a component")
    }

    /// Returns the core module with embedded WIT, as a plain linker leaves it.
    pub(crate) fn core(&self) -> Vec<u8> {
        let mut resolve = Resolve::default();
        let mut package = resolve
            .push_str("policy.wit", CONTRACT)
            .expect("the contract");
        if let Some(wit) = self.wit {
            package = resolve.push_str("more.wit", wit).expect("a document");
        }
        let world = resolve
            .select_world(&[package], Some("policy"))
            .expect("a world");
        let mut module = wat::parse_str(self.text()).expect("a module");
        wit_component::embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8)
            .expect("a module with WIT");
        module
    }

    /// Returns the module as text.
    fn text(&self) -> String {
        let mut texts = Texts::default();
        let mut description = Vec::new();
        for text in [self.name, self.version, self.summary, self.default_config] {
            let (at, length) = texts.add(text);
            description.extend(at.to_le_bytes());
            description.extend(length.to_le_bytes());
        }
        description.push(u8::from(self.wants_busy));
        let (no_settings, length) = texts.add("it has no settings");
        let mut refusal = vec![1, 0, 0, 0];
        refusal.extend(no_settings.to_le_bytes());
        refusal.extend(length.to_le_bytes());

        let mut data = texts.data;
        data.push_str(&literal(16, &description));
        data.push_str(&literal(80, &refusal));
        data.push_str(&literal(REASON, self.reason.as_bytes()));
        data.push_str(&literal(LINE, format!("{} 00000", self.line).as_bytes()));
        let reason = self.reason.len();
        let digits = LINE as usize + self.line.len() + 1;
        let end = digits + 5;
        let line = self.line.len() + 6;
        let Self {
            imports,
            describe,
            configure,
            assign,
            ..
        } = self;
        format!(
            r#"(module
    (import "assigner:policy/logging@0.1.0" "log" (func $log (param i32 i32 i32)))
    {imports}
    (memory (export "memory") 2)
    {data}
    (global $free (mut i32) (i32.const 65536))

    (func (export "assigner:policy/matching@0.1.0#describe") (result i32)
        {describe})

    (func (export "assigner:policy/matching@0.1.0#configure")
        (param $settings i32) (param $length i32) (result i32)
        {configure})

    (func (export "assigner:policy/matching@0.1.0#assign")
        (param $now i64) (param $explain i32) (param $facts i32) (param $known i32)
        (param $tasks i32) (param $count i32) (param $sessions i32) (param $many i32)
        (result i32)
        (local $i i32) (local $at i32) (local $base i32) (local $left i64)
        (if (i32.and (i64.eq (local.get $now) (i64.const 1700000000))
                     (i32.eq (local.get $count) (i32.const 2)))
            (then (return {ALL_WAIT})))
        {assign})

    ;; As many decisions as are asked for, each `wait`.
    (func $all_wait (param $count i32) (result i32)
        (local $i i32) (local $at i32)
        (local.set $at (call $room (i32.mul (local.get $count) (i32.const 28))))
        (i32.store (i32.const 96) (local.get $at))
        (i32.store (i32.const 100) (local.get $count))
        (block $done
            (loop $next
                (br_if $done (i32.ge_u (local.get $i) (local.get $count)))
                (i32.store8 (local.get $at) (i32.const 1))
                (i32.store offset=4 (local.get $at) (i32.const {REASON}))
                (i32.store offset=8 (local.get $at) (i32.const {reason}))
                (local.set $at (i32.add (local.get $at) (i32.const 28)))
                (local.set $i (i32.add (local.get $i) (i32.const 1)))
                (br $next)))
        (i32.const 96))

    ;; Makes one of these decisions `assign`, and returns where it lies.
    (func $take (param $task i32) (param $session i32) (result i32)
        (local $at i32)
        (local.set $at (i32.add (i32.load (i32.const 96))
                                (i32.mul (local.get $task) (i32.const 28))))
        (i32.store8 (local.get $at) (i32.const 0))
        (i32.store offset=4 (local.get $at) (local.get $session))
        (memory.fill (i32.add (local.get $at) (i32.const 8)) (i32.const 0) (i32.const 20))
        (local.get $at))

    ;; A session that is taken is not ready any more: its own byte says so from then on.
    (func $healthy
        (param $tasks i32) (param $count i32) (param $sessions i32) (param $many i32)
        (result i32)
        (local $task i32) (local $i i32) (local $end i32) (local $position i32) (local $at i32)
        (drop {ALL_WAIT})
        (block $done
            (loop $next
                (br_if $done (i32.ge_u (local.get $task) (local.get $count)))
                (local.set $i (i32.const 0))
                (local.set $end (select (i32.load offset=84 (local.get $tasks))
                                        (local.get $many)
                                        (i32.load8_u offset=76 (local.get $tasks))))
                (block $decided
                    (loop $look
                        (br_if $decided (i32.ge_u (local.get $i) (local.get $end)))
                        (local.set $position (local.get $i))
                        (if (i32.load8_u offset=76 (local.get $tasks))
                            (then (local.set $position
                                (i32.load (i32.add (i32.load offset=80 (local.get $tasks))
                                                   (i32.shl (local.get $i) (i32.const 2)))))))
                        (local.set $at (i32.add (local.get $sessions)
                                                (i32.mul (local.get $position) (i32.const 80))))
                        (local.set $i (i32.add (local.get $i) (i32.const 1)))
                        (br_if $look (i32.eqz (i32.load8_u offset=56 (local.get $at))))
                        (i32.store8 offset=56 (local.get $at) (i32.const 0))
                        (drop (call $take (local.get $task) (local.get $position)))))
                (local.set $tasks (i32.add (local.get $tasks) (i32.const 112)))
                (local.set $task (i32.add (local.get $task) (i32.const 1)))
                (br $next)))
        (i32.const 96))

    ;; Whether a list of numbers holds one.
    (func $holds (param $list i32) (param $length i32) (param $number i32) (result i32)
        (loop $next
            (if (i32.eqz (local.get $length)) (then (return (i32.const 0))))
            (if (i32.eq (i32.load (local.get $list)) (local.get $number))
                (then (return (i32.const 1))))
            (local.set $list (i32.add (local.get $list) (i32.const 4)))
            (local.set $length (i32.sub (local.get $length) (i32.const 1)))
            (br $next))
        (unreachable))

    ;; Writes a number behind the words for the log, and logs both as an error.
    (func $say (param $number i32)
        (local $at i32)
        (local.set $at (i32.const {end}))
        (loop $next
            (local.set $at (i32.sub (local.get $at) (i32.const 1)))
            (i32.store8 (local.get $at)
                (i32.add (i32.const 48) (i32.rem_u (local.get $number) (i32.const 10))))
            (local.set $number (i32.div_u (local.get $number) (i32.const 10)))
            (br_if $next (i32.gt_u (local.get $at) (i32.const {digits}))))
        (call $log (i32.const 3) (i32.const {LINE}) (i32.const {line})))

    ;; Goes as deep as it is told to.
    (func $deep (param $levels i32) (result i32)
        (if (i32.eqz (local.get $levels)) (then (return (i32.const 0))))
        (i32.add (local.get $levels)
                 (call $deep (i32.sub (local.get $levels) (i32.const 1)))))

    (func $room (param $size i32) (result i32)
        (local $at i32)
        (local.set $at (global.get $free))
        (global.set $free
            (i32.and (i32.const -8)
                (i32.add (i32.const 7) (i32.add (local.get $at) (local.get $size)))))
        (block $enough
            (loop $more
                (br_if $enough (i32.le_u (global.get $free)
                                         (i32.mul (memory.size) (i32.const 65536))))
                (br_if $more (i32.ne (memory.grow (i32.const 16)) (i32.const -1)))
                (unreachable)))
        (local.get $at))

    ;; Host and policy both use UTF-8: nothing is ever moved.
    (func (export "cabi_realloc")
        (param $old i32) (param $length i32) (param $align i32) (param $size i32) (result i32)
        (call $room (local.get $size))))"#
        )
    }
}

/// Texts, one after the other, as data of a module.
#[derive(Default)]
struct Texts {
    used: u32,
    data: String,
}

impl Texts {
    /// Adds a text, and returns its address and length.
    fn add(&mut self, text: &str) -> (u32, u32) {
        let at = 1024 + self.used;
        let length = u32::try_from(text.len()).expect("a short text");
        self.used += length;
        assert!(at + length <= REASON, "{text}");
        self.data.push_str(&literal(at, text.as_bytes()));
        (at, length)
    }
}

/// Formats bytes at an address for the text format.
fn literal(at: u32, bytes: &[u8]) -> String {
    let bytes: String = bytes.iter().map(|byte| format!("\\{byte:02x}")).collect();
    format!("(data (i32.const {at}) \"{bytes}\")\n")
}

/// A policy that assigns each task to the first free session that may run it.
pub(crate) fn healthy(name: &str, version: &str) -> Vec<u8> {
    Plan {
        version,
        ..Plan::new(name)
    }
    .component()
}

/// Returns the same component with additional bytes that mean nothing.
pub(crate) fn padded(mut component: Vec<u8>, bytes: usize) -> Vec<u8> {
    let mut section = b"\x07padding".to_vec();
    section.resize(section.len() + bytes, b'.');
    component.push(0);
    let mut left = section.len();
    while left > 0x7f {
        component.push((left & 0x7f) as u8 | 0x80);
        left >>= 7;
    }
    component.push(left as u8);
    component.extend(section);
    component
}

/// Counts down before it answers: long, but not for ever.
pub(crate) fn counting(from: u64) -> String {
    format!(
        "(local.set $left (i64.const {from}))
        (loop $again
            (local.set $left (i64.sub (local.get $left) (i64.const 1)))
            (br_if $again (i64.ne (local.get $left) (i64.const 0))))"
    )
}

/// Wants more memory before it answers, and stops if it does not get it.
pub(crate) fn wanting(mebibytes: u32) -> String {
    format!(
        "(if (i32.eq (memory.grow (i32.const {})) (i32.const -1)) (then (unreachable)))",
        mebibytes * 16
    )
}

/// Calls itself this many times before it answers; a level takes 16 bytes or more.
pub(crate) fn nesting(levels: i32) -> String {
    format!("(drop (call $deep (i32.const {levels})))")
}

/// Logs this many lines before it answers.
pub(crate) fn logging(lines: u32) -> String {
    format!(
        "(loop $again
            (call $say (local.get $i))
            (local.set $i (i32.add (local.get $i) (i32.const 1)))
            (br_if $again (i32.lt_u (local.get $i) (i32.const {lines}))))"
    )
}

/// Answers well, with a term of no points whose name has this many bytes.
pub(crate) fn wordy(bytes: usize) -> String {
    format!(
        "(local.set $base (call $room (i32.const {bytes})))
        (memory.fill (local.get $base) (i32.const 120) (i32.const {bytes}))
        {}",
        naming("local.get $base", bytes)
    )
}

/// Answers well, with a term of no points if the first task is assigned.
fn naming(name: &str, length: usize) -> String {
    format!(
        "(drop {HEALTHY})
        (if (local.get $count) (then
            (local.set $at (i32.load (i32.const 96)))
            (if (i32.eqz (i32.load8_u (local.get $at))) (then
                (i32.store (i32.const 128) ({name}))
                (i32.store (i32.const 132) (i32.const {length}))
                (i32.store offset=12 (local.get $at) (i32.const 128))
                (i32.store offset=16 (local.get $at) (i32.const 1))))))
        (i32.const 96)"
    )
}

/// The first decision assigns the first session, if there are both.
fn first_to_first(and: &str) -> String {
    format!(
        "(drop {ALL_WAIT})
        (if (i32.and (i32.ne (local.get $count) (i32.const 0))
                     (i32.ne (local.get $many) (i32.const 0)))
            (then
                (local.set $at (call $take (i32.const 0) (i32.const 0)))
                {and}))
        (i32.const 96)"
    )
}

/// What a policy may write that a terminal would obey.
const CONTROL: &str = "red \x1b[31m title \x1b]0;owned\x07 clear \x1b[2J\r\nnext";

/// A policy that puts control characters wherever people read its words: in a line of the log, in
/// the reason of a waiting task, and in the name of a term if a task is assigned.
pub(crate) fn control(name: &str, assigns: bool) -> Vec<u8> {
    let answer = if assigns {
        naming(&format!("i32.const {REASON}"), CONTROL.len())
    } else {
        ALL_WAIT.to_owned()
    };
    Plan {
        summary: CONTROL,
        reason: CONTROL,
        line: CONTROL,
        ..Plan::answers(name, &format!("(call $say (i32.const 1))\n{answer}"))
    }
    .component()
}
