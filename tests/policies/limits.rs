//! The limits of a policy: memory, time, stack, answers, and lines for the log.

use super::{fails, install, works};
use crate::harness::World;
use crate::harness::setup::configure;
use crate::wat_policies::{self, Plan};

#[test]
fn the_limit_of_memory() {
    let hungry = Plan::first("hungry", &wat_policies::wanting(100)).component();
    fails("", "hungry", &hungry, "wanted more than 64 MiB of memory");
    let set = "memory = 64\n";
    fails(set, "hungry", &hungry, "wanted more than 64 MiB of memory");
    works("memory = 256\n", "hungry", &hungry);
    // A limit that is not set depends on the policy: a large one may use more.
    let large = wat_policies::padded(hungry, 600 * 1024);
    works("", "hungry", &large);
    fails(set, "hungry", &large, "wanted more than 64 MiB of memory");
}

/// No processor can count this far within the first limit, and hardly any needs the second.
#[test]
fn the_limit_of_time() {
    let slow = Plan::first("slow", &wat_policies::counting(300_000_000)).component();
    let brief = "time = \"10ms\"\n";
    fails(brief, "slow", &slow, "did not answer within 10 ms");
    works("time = \"25s\"\n", "slow", &slow);
}

/// Each level takes at least 16 bytes, and at most 200.
#[test]
fn the_limit_of_the_stack() {
    let deep = Plan::first("deep", &wat_policies::nesting(40_000)).component();
    fails("", "deep", &deep, "ran out of stack");
    fails("stack = 512\n", "deep", &deep, "ran out of stack");
    works("stack = 8192\n", "deep", &deep);
}

#[test]
fn the_limit_of_an_answer() {
    let wordy = Plan::answers("wordy", &wat_policies::wordy(16 * 1024)).component();
    let short = "answer = 1\n";
    fails(short, "wordy", &wordy, "stopped with an error");
    works("", "wordy", &wordy);
}

#[test]
fn the_limit_of_log_lines() {
    let drip = Plan {
        line: "drip",
        ..Plan::first("drip", &wat_policies::logging(60))
    }
    .component();
    let log = works("log-lines = 5\n", "drip", &drip);
    assert!(log.contains("drip 00000"), "{log}");
    assert!(log.contains("drip 00004"), "{log}");
    assert!(!log.contains("drip 00005"), "{log}");
    let log = works("log-lines = 100\n", "drip", &drip);
    assert!(log.contains("drip 00059"), "{log}");
}

#[test]
fn the_limits_of_loading() {
    let world = World::new();
    let endless = Plan {
        describe: "(loop $again (br $again)) (unreachable)",
        ..Plan::new("endless")
    };
    install(&world, "endless", &endless.component());
    configure(&world, "[policy]\nload-time = \"200ms\"\n");
    let output = world.assigner(&["run", "--policy", "endless"]).refused(6);
    assert!(output.stderr.contains("endless"), "{}", output.stderr);

    let big = wat_policies::padded(wat_policies::healthy("big", "1.0.0"), 2 * 1024 * 1024);
    install(&world, "big", &big);
    configure(&world, "[policy]\nfile-size = 1\n");
    for args in [
        &["run", "--policy", "big"][..],
        &["policy", "inspect", "big"],
    ] {
        let output = world.assigner(args).refused(6);
        assert!(output.stderr.contains("big"), "{}", output.stderr);
    }
    configure(&world, "[policy]\nfile-size = 3\n");
    let said = world.json(&["policy", "inspect", "big"]);
    assert_eq!(said["size"], big.len(), "{said:#}");
}
