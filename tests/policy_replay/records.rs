//! The record: after a crash, at its limit, without secrets, damaged, or in another place.

use std::fs::{self, File};

use super::{
    BY_BRANCH, are_moved, both_are_free, differences, different, files, has_recorded, is_private,
    is_the_same, number, record, replay, replay_of_the_damaged, sessions, size, started, stop,
    torn,
};
use crate::harness::setup::configure;
use crate::harness::{World, assert_calm, finish, text};

#[test]
fn a_record_goes_on_after_a_restart_and_a_crash() {
    let world = World::new();
    let app = sessions(&world);
    let daemon = started(&world, &["--record"]);
    let before = torn(&world, &app, "true");
    stop(&world, daemon);
    let daemon = started(&world, &["--record"]);
    torn(&world, &app, "true");
    has_recorded(&world, 1);
    daemon.kill();
    // Whatever a crash has left of the last segment does not matter.
    let report = replay(&world, &["default"]);
    is_the_same(&report);
    let kept = number(&report, "rounds");
    let daemon = started(&world, &["--record"]);
    let after = torn(&world, &app, "true");
    stop(&world, daemon);
    let report = replay(&world, &["default"]);
    is_the_same(&report);
    assert!(number(&report, "rounds") > kept, "{kept}: {report:#}");
    let moved = different(&replay(&world, &BY_BRANCH));
    assert!(
        moved.contains(&before) && moved.contains(&after),
        "{moved:?}"
    );

    // The last segment is cut in the middle.
    let newest = record(&world).pop().expect("a record");
    let length = fs::metadata(&newest).expect("a file").len();
    let file = File::options()
        .write(true)
        .open(&newest)
        .expect("a record to write to");
    file.set_len(length - 7).expect("a shorter file");
    drop(file);
    is_the_same(&replay(&world, &["default"]));
    assert!(different(&replay(&world, &BY_BRANCH)).contains(&before));
    let daemon = started(&world, &["--record"]);
    let last = torn(&world, &app, "true");
    stop(&world, daemon);
    is_the_same(&replay(&world, &["default"]));
    let moved = different(&replay(&world, &BY_BRANCH));
    assert!(
        moved.contains(&before) && moved.contains(&last),
        "{moved:?}"
    );
    is_private(&world.data().join("rounds"));

    // A daemon without `--record` leaves the record as it is.
    let rounds = replay(&world, &["default"])["rounds"].clone();
    let daemon = started(&world, &[]);
    torn(&world, &app, "true");
    stop(&world, daemon);
    assert_eq!(replay(&world, &["default"])["rounds"], rounds);
}

/// Text that cannot be compressed to less than three quarters, different for each seed.
fn noise(seed: u64, length: usize) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut state = 0x9e37_79b9_7f4a_7c15_u64.wrapping_mul(seed + 1);
    (0..length)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            char::from(LETTERS[(state >> 58) as usize])
        })
        .collect()
}

#[test]
fn a_record_is_bounded() {
    const LIMIT: u64 = 1024 * 1024;
    let world = World::new();
    configure(&world, "[policy]\nrecord-limit = 1\n");
    let app = sessions(&world);
    let daemon = started(&world, &["--record"]);
    let first = torn(&world, &app, "true");
    // Each task adds 48 KiB that no other has: together more than a megabyte and a half.
    let mut largest = 0;
    for number in 0..40 {
        let label = format!("noise={}", noise(number, 64 * 1024));
        world.completed(world.shell_with(&["--label", &label, "--no-context-match"], "true"));
        largest = largest.max(size(&world));
    }
    let last = torn(&world, &app, "true");
    let recording = world.json(&["status"])["daemon"]["recording"].clone();
    let bytes = recording["bytes"].as_u64().expect("a number");
    assert!(bytes <= LIMIT, "{recording}");
    stop(&world, daemon);
    largest = largest.max(size(&world));
    assert!(largest <= LIMIT, "{largest} bytes");
    // The space is used, too.
    assert!(largest > LIMIT / 4, "{largest} bytes");

    let report = replay(&world, &["default"]);
    is_the_same(&report);
    assert!(number(&report, "rounds") >= 10, "{report:#}");
    // The oldest rounds are dropped, and nothing else.
    let moved = different(&replay(&world, &BY_BRANCH));
    assert!(moved.contains(&last), "{moved:?}");
    assert!(!moved.contains(&first), "{moved:?}");
    is_private(&world.data().join("rounds"));
}

/// Returns whether bytes contain others.
fn holds(bytes: &[u8], secret: &str) -> bool {
    bytes
        .windows(secret.len())
        .any(|window| window == secret.as_bytes())
}

#[test]
fn secrets_are_not_recorded() {
    let world = World::new();
    let app = sessions(&world);
    let secret = "correct-horse-battery-staple";
    let daemon = started(&world, &["--record", "--shadow", "default"]);
    both_are_free(&world);
    let mut binary = world.binary();
    binary.env("API_TOKEN", secret);
    binary.args(["--json", "send", "--shell", "-w", &app, "-b", "topic"]);
    binary.args(["--secret-env", "API_TOKEN", "--"]);
    let command = format!("test ${{#API_TOKEN}} = {}", secret.len());
    let answer = finish(binary.arg(&command), b"").succeeded().json();
    let id = answer["id"].as_u64().expect("a number");
    world.completed(id);
    // A session that still has it from before does not reveal it either.
    torn(&world, &app, "true");
    has_recorded(&world, 1);
    stop(&world, daemon);

    let mut seen = 0;
    for dir in ["rounds", "shadow"] {
        for path in files(&world.data().join(dir)) {
            seen += 1;
            let bytes = fs::read(&path).expect("a file");
            assert!(!holds(&bytes, secret), "{}", path.display());
        }
    }
    assert!(seen > 0);
    let args = [&["policy", "replay"][..], &BY_BRANCH].concat();
    let forms: [&[&str]; 2] = [&["--json"], &[]];
    for form in forms {
        let output = world.assigner(&[form, &args].concat()).succeeded();
        let said = output.text() + &output.stderr;
        assert!(said.contains("API_TOKEN"), "{said}");
        assert!(!said.contains(secret), "{said}");
    }
    let report = replay(&world, &BY_BRANCH);
    assert!(different(&report).contains(&id), "{report:#}");
}

#[test]
fn a_damaged_record_is_no_disaster() {
    let world = World::new();
    let app = sessions(&world);
    let daemon = started(&world, &["--record"]);
    torn(&world, &app, "true");
    stop(&world, daemon);
    let rounds = number(&replay(&world, &["default"]), "rounds");

    // A file that is not a record.
    let strange = world.data().join("rounds/notes.txt");
    fs::write(&strange, "remember the milk\n").expect("a file");
    if let Some(report) = replay_of_the_damaged(&world) {
        is_the_same(&report);
        assert_eq!(number(&report, "rounds"), rounds, "{report:#}");
    }
    fs::remove_file(&strange).expect("a file");

    let whole = record(&world).pop().expect("a record");
    let good = fs::read(&whole).expect("a record");
    let middle = good.len() / 3..good.len() * 2 / 3;
    let mut overwritten = good.clone();
    overwritten[middle.clone()].fill(0xff);
    let mut cut = good.clone();
    cut.drain(middle);
    let noise = noise(7, good.len()).into_bytes();
    let zeros = vec![0; good.len()];
    let mut longer = good.clone();
    longer.extend([0xff; 9]);
    let mut header = good.clone();
    for byte in header.iter_mut().take(16) {
        *byte ^= 0xff;
    }
    for (what, bytes) in [
        ("overwritten", overwritten),
        ("cut", cut),
        ("noise", noise),
        ("zeros", zeros),
        ("longer", longer),
        ("another header", header),
        ("a byte", vec![0x28]),
        ("nothing", Vec::new()),
    ] {
        eprintln!("{what}");
        fs::write(&whole, &bytes).expect("a file");
        replay_of_the_damaged(&world);
        let args = ["policy", "replay", "default", "--limit", "1"];
        assert_calm(&world.assigner(&args).stderr);
    }
    // The daemon does not mind it either, and what it adds can be read.
    fs::write(&whole, vec![0xff; 1000]).expect("a file");
    let daemon = started(&world, &["--record"]);
    let id = torn(&world, &app, "true");
    stop(&world, daemon);
    let output = world.assigner(&[&["--json", "policy", "replay"][..], &BY_BRANCH].concat());
    assert_calm(&output.stderr);
    let report = output.succeeded().json();
    assert!(different(&report).contains(&id), "{report:#}");
}

#[test]
fn a_record_may_lie_elsewhere_and_be_looked_at_in_part() {
    let world = World::new();
    let app = sessions(&world);
    let daemon = started(&world, &["--record"]);
    let ids: Vec<u64> = (0..3).map(|_| torn(&world, &app, "true")).collect();
    stop(&world, daemon);
    let elsewhere = world.path("elsewhere");
    fs::rename(world.data().join("rounds"), &elsewhere).expect("a directory");
    let dir = text(&elsewhere);
    world.assigner(&["policy", "replay", "default"]).refused(1);
    let here = [&BY_BRANCH[..], &["--rounds", dir.as_str()]].concat();
    are_moved(&replay(&world, &here), &ids);

    let limited = [&here[..], &["--limit", "1"]].concat();
    let report = world.json(&[&["policy", "replay"][..], &limited].concat());
    assert_eq!(number(&report, "failed_rounds"), 0, "{report:#}");
    assert!(number(&report, "rounds") >= 1, "{report:#}");
    assert!(differences(&report).len() <= 1, "{report:#}");
    let many = [&here[..], &["--limit", "1000"]].concat();
    are_moved(&replay(&world, &many), &ids);

    let empty = world.mkdir("empty");
    for dir in [empty.as_str(), "/no/such/directory"] {
        let args = ["policy", "replay", "default", "--rounds", dir];
        let output = world.assigner(&args).refused(1);
        assert!(output.stdout.is_empty(), "{output:?}");
    }
    let refused: [(&[&str], &str); 3] = [
        (&["no-such-policy"], "no-such-policy"),
        (&["default", "--policy-set", "no-such=1"], "no-such"),
        (&["default", "--policy-set", "branch=many"], "branch"),
    ];
    for (args, words) in refused {
        let args = [&["policy", "replay"][..], args, &["--rounds", dir.as_str()]].concat();
        let output = world.assigner(&args).refused(6);
        assert!(output.stderr.contains(words), "{args:?}: {output:?}");
    }
    for wrong in ["-1", "many", ""] {
        let args = ["policy", "replay", "default", "--limit", wrong];
        let output = world.assigner(&args);
        assert_eq!(output.code, Some(2), "{wrong:?}: {output:?}");
        assert_calm(&output.stderr);
    }
}
