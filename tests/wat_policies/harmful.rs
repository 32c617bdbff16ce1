//! The harmful policies, with what is to be said of each.

use super::{
    ALL_WAIT, LINE, Plan, REASON, Round, Saboteur, When, control, counting, first_to_first,
    healthy, logging, nesting,
};

/// A world with an interface that no host has.
const TELEPATHY: &str = "
    package test:telepathy;
    world policy {
        import example:telepathy/mind@0.1.0;
        import assigner:policy/logging@0.1.0;
        export assigner:policy/matching@0.1.0;
    }
    package example:telepathy@0.1.0 {
        interface mind { read: func() -> u32; }
    }
";

/// A world with files, variables and names of other machines. Only the parts of the types that are
/// used are written out.
const OUTSIDE: &str = "
    package test:outside;
    world policy {
        import wasi:filesystem/preopens@0.2.0;
        import wasi:cli/environment@0.2.0;
        import wasi:sockets/instance-network@0.2.0;
        import wasi:sockets/ip-name-lookup@0.2.0;
        import assigner:policy/logging@0.1.0;
        export assigner:policy/matching@0.1.0;
    }
    package wasi:filesystem@0.2.0 {
        interface types { resource descriptor; }
        interface preopens {
            use types.{descriptor};
            get-directories: func() -> list<tuple<descriptor, string>>;
        }
    }
    package wasi:cli@0.2.0 {
        interface environment {
            get-environment: func() -> list<tuple<string, string>>;
            get-arguments: func() -> list<string>;
        }
    }
    package wasi:sockets@0.2.0 {
        interface network {
            resource network;
            enum error-code {
                unknown, access-denied, not-supported, invalid-argument, out-of-memory, timeout,
                concurrency-conflict, not-in-progress, would-block, invalid-state,
                new-socket-limit, address-not-bindable, address-in-use, remote-unreachable,
                connection-refused, connection-reset, connection-aborted, datagram-too-large,
                name-unresolvable, temporary-resolver-failure, permanent-resolver-failure,
            }
        }
        interface instance-network {
            use network.{network};
            instance-network: func() -> network;
        }
        interface ip-name-lookup {
            use network.{network, error-code};
            resource resolve-address-stream;
            resolve-addresses: func(network: borrow<network>, name: string)
                -> result<resolve-address-stream, error-code>;
        }
    }
";

/// A policy that looks for files, variables, arguments and the network, and stops with an error if
/// it finds any.
fn looking_outside() -> Plan<'static> {
    Plan {
        wit: Some(OUTSIDE),
        imports: r#"
            (import "wasi:filesystem/preopens@0.2.0" "get-directories"
                (func $directories (param i32)))
            (import "wasi:cli/environment@0.2.0" "get-environment"
                (func $variables (param i32)))
            (import "wasi:cli/environment@0.2.0" "get-arguments"
                (func $arguments (param i32)))
            (import "wasi:sockets/instance-network@0.2.0" "instance-network"
                (func $network (result i32)))
            (import "wasi:sockets/ip-name-lookup@0.2.0" "resolve-addresses"
                (func $resolve (param i32 i32 i32 i32)))"#,
        line: "localhost",
        ..Plan::first(
            "outside",
            &format!(
                "(call $directories (i32.const 128))
                (if (i32.load (i32.const 132)) (then (unreachable)))
                (call $variables (i32.const 128))
                (if (i32.load (i32.const 132)) (then (unreachable)))
                (call $arguments (i32.const 128))
                (if (i32.load (i32.const 132)) (then (unreachable)))
                (call $resolve (call $network) (i32.const {LINE}) (i32.const 9) (i32.const 128))
                (if (i32.eqz (i32.load8_u (i32.const 128))) (then (unreachable)))"
            ),
        )
    }
}

/// The header of a file that wasmtime compiled: an ELF file of its own kind, for a component.
fn precompiled() -> Vec<u8> {
    let mut elf = vec![0; 64];
    // 64 bits, little-endian, version 1, and wasmtime's own number for the system.
    elf[..8].copy_from_slice(b"\x7fELF\x02\x01\x01\xc8");
    // The version again; the flag of a component; the length of this header.
    elf[20] = 1;
    elf[48] = 2;
    elf[52] = 64;
    elf
}

/// Returns all harmful policies, each with when it fails and in which words.
pub(crate) fn all() -> Vec<Saboteur> {
    use Round::{Busy, Target, Task, TwoTasks};
    use When::{AtLoad, Harmless, InARound};

    let saboteur = |name, bytes, when| Saboteur { name, bytes, when };
    let before = |name, harm: &str, round, words| {
        saboteur(
            name,
            Plan::first(name, harm).component(),
            InARound(round, words),
        )
    };
    let answer = |name, answer: &str, round, words| {
        saboteur(
            name,
            Plan::answers(name, answer).component(),
            InARound(round, words),
        )
    };
    let mut truncated = healthy("truncated", "1.0.0");
    truncated.truncate(truncated.len() / 2);

    vec![
        saboteur(
            "mute",
            Plan {
                describe: "(unreachable)",
                ..Plan::new("mute")
            }
            .component(),
            AtLoad("could not describe itself"),
        ),
        saboteur(
            "unsettled",
            Plan {
                configure: "(unreachable)",
                ..Plan::new("unsettled")
            }
            .component(),
            AtLoad("could not decide on a round of two tasks"),
        ),
        saboteur(
            "telepathic",
            Plan {
                wit: Some(TELEPATHY),
                imports: r#"(import "example:telepathy/mind@0.1.0" "read"
                    (func $read (result i32)))"#,
                ..Plan::first("telepathic", "(drop (call $read))")
            }
            .component(),
            AtLoad("it needs `example:telepathy/mind@0.1.0`, and this host has"),
        ),
        saboteur(
            "native",
            precompiled(),
            AtLoad("is precompiled native code"),
        ),
        saboteur(
            "truncated",
            truncated,
            AtLoad("is damaged or only half written"),
        ),
        before(
            "endless",
            "(loop $again
                (local.set $i (i32.add (local.get $i) (i32.const 1)))
                (br $again))",
            Task,
            "did not answer within 100",
        ),
        before(
            "slow",
            &counting(1_000_000_000_000),
            Task,
            "did not answer within 100",
        ),
        before(
            "hog",
            "(loop $again (drop (memory.grow (i32.const 50))) (br $again))",
            Task,
            "wanted more than 64 MiB of memory",
        ),
        before("deep", &nesting(-1), Task, "ran out of stack"),
        before("trap", "(unreachable)", Task, "stopped with an error"),
        answer(
            "speechless",
            "(i32.const 96)",
            Task,
            "0 decisions for 1 tasks",
        ),
        answer(
            "stray",
            &format!(
                "(drop {ALL_WAIT})
                (if (local.get $count)
                    (then (drop (call $take (i32.const 0) (i32.const 7)))))
                (i32.const 96)"
            ),
            Task,
            "session 7 for task #",
        ),
        answer(
            "twice",
            &format!(
                "(drop {ALL_WAIT})
                (if (i32.and (i32.ge_u (local.get $count) (i32.const 2))
                             (i32.ne (local.get $many) (i32.const 0)))
                    (then
                        (drop (call $take (i32.const 0) (i32.const 0)))
                        (drop (call $take (i32.const 1) (i32.const 0)))))
                (i32.const 96)"
            ),
            TwoTasks,
            "for two tasks",
        ),
        before(
            "forbidden",
            FORBIDDEN,
            Target,
            "whose constraints forbid it",
        ),
        saboteur(
            "unready",
            Plan {
                wants_busy: true,
                ..Plan::first("unready", UNREADY)
            }
            .component(),
            InARound(Busy, "which is not ready"),
        ),
        answer(
            "miscount",
            &first_to_first(&format!(
                "(i32.store (i32.const 128) (i32.const {REASON}))
                (i32.store (i32.const 132) (i32.const 4))
                (i32.store (i32.const 136) (i32.const 3))
                (i32.store offset=8 (local.get $at) (i32.const 5))
                (i32.store offset=12 (local.get $at) (i32.const 128))
                (i32.store offset=16 (local.get $at) (i32.const 1))"
            )),
            Task,
            "where the terms add up to",
        ),
        answer("gigabyte", GIGABYTE, Task, "stopped with an error"),
        answer(
            "boundless",
            "(i32.store (i32.const 100) (i32.const 0x7fffffff)) (i32.const 96)",
            Task,
            "stopped with an error",
        ),
        saboteur("escape", control("escape", true), Harmless),
        saboteur(
            "flood",
            Plan {
                line: "flood",
                ..Plan::first("flood", &logging(5_000))
            }
            .component(),
            Harmless,
        ),
        saboteur("outside", looking_outside().component(), Harmless),
    ]
}

/// Assigns a task with constraints to the first session that they exclude.
const FORBIDDEN: &str = "
    (if (local.get $count) (then
        (if (i32.load8_u offset=76 (local.get $tasks)) (then
            (loop $next
                (if (i32.lt_u (local.get $i) (local.get $many)) (then
                    (if (call $holds (i32.load offset=80 (local.get $tasks))
                                     (i32.load offset=84 (local.get $tasks))
                                     (local.get $i))
                        (then
                            (local.set $i (i32.add (local.get $i) (i32.const 1)))
                            (br $next)))
                    (drop (call $all_wait (local.get $count)))
                    (drop (call $take (i32.const 0) (local.get $i)))
                    (return (i32.const 96)))))))))";

/// Assigns the first task to the first session that is not ready.
const UNREADY: &str = "
    (if (local.get $count) (then
        (local.set $at (local.get $sessions))
        (loop $next
            (if (i32.lt_u (local.get $i) (local.get $many)) (then
                (if (i32.eqz (i32.load8_u offset=56 (local.get $at))) (then
                    (drop (call $all_wait (local.get $count)))
                    (drop (call $take (i32.const 0) (local.get $i)))
                    (return (i32.const 96))))
                (local.set $at (i32.add (local.get $at) (i32.const 80)))
                (local.set $i (i32.add (local.get $i) (i32.const 1)))
                (br $next))))))";

/// Two gigabytes within 32 MiB of memory: 64 reasons that are the same bytes.
const GIGABYTE: &str = "
    (drop (call $all_wait (i32.const 64)))
    (local.set $at (i32.load (i32.const 96)))
    (local.set $base (i32.mul (memory.grow (i32.const 512)) (i32.const 65536)))
    (loop $next
        (i32.store offset=4 (local.get $at) (local.get $base))
        (i32.store offset=8 (local.get $at) (i32.const 33554432))
        (local.set $at (i32.add (local.get $at) (i32.const 28)))
        (local.set $i (i32.add (local.get $i) (i32.const 1)))
        (br_if $next (i32.lt_u (local.get $i) (i32.const 64))))
    (i32.const 96)";
