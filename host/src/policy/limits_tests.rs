//! What counts towards a limit, and where each limit comes from.

use super::limits::*;
use super::*;
use wasmtime::ResourceLimiter as _;

fn grow(meter: &mut Meter, current: usize, desired: usize) -> bool {
    match meter.memory_growing(current, desired, None) {
        Ok(granted) => granted,
        Err(error) => {
            let failure = Failure::from_wasm(&error, None);
            assert!(matches!(failure, Failure::OutOfMemory { .. }), "{failure}");
            false
        }
    }
}

fn grow_table(meter: &mut Meter, current: usize, desired: usize) -> bool {
    meter
        .table_growing(current, desired, None)
        .is_ok_and(|granted| granted)
}

/// An instance may have several memories: the size of each counts, and what was refused does not.
#[test]
fn all_memories_of_an_instance_count_together() {
    let mut meter = Meter::new(100);
    assert!(grow(&mut meter, 0, 60));
    assert!(grow(&mut meter, 0, 30), "another memory");
    assert_eq!(meter.memory(), 90);
    assert!(!grow(&mut meter, 30, 41), "each alone is below the limit");
    assert!(!grow(&mut meter, 0, usize::MAX));
    assert_eq!(meter.memory(), 90);
    assert!(grow(&mut meter, 60, 70), "to the byte");
    assert_eq!(meter.memory(), 100);
    assert!(!grow(&mut meter, 0, 1), "a third");
    assert!(grow(&mut meter, 70, 70));
    assert!(grow(&mut meter, 70, 10), "what shrinks gives nothing back");
    assert_eq!(meter.memory(), 100);
    assert!(meter.memories() < 1_000 && meter.tables() < 1_000 && meter.instances() < 10_000);
    assert!(meter.memories() >= 2 && meter.tables() >= 2 && meter.instances() >= 100);
}

#[test]
fn all_tables_of_an_instance_count_together() {
    let entry = size_of::<usize>();
    let mut meter = Meter::new(10 * entry);
    assert!(grow_table(&mut meter, 0, 6));
    assert!(grow_table(&mut meter, 0, 3), "another table");
    assert!(
        !grow_table(&mut meter, 3, 5),
        "each alone is below the limit"
    );
    assert!(!grow_table(&mut meter, 0, usize::MAX));
    assert!(grow_table(&mut meter, 3, 4), "to the entry");
    assert!(!grow_table(&mut meter, 0, 1), "a third");
    let refused = meter.table_growing(0, 1, None).expect_err("refused");
    let failure = Failure::from_wasm(&refused, None);
    let limit = 10 * entry;
    assert_eq!(failure, Failure::OutOfMemory { limit });
    // Tables do not count as memory.
    assert_eq!(meter.memory(), 0);
}

#[test]
fn what_is_set_goes_before_what_suits_the_policy() {
    let small = Limits::of(LimitProfile::Small);
    let large = Limits::of(LimitProfile::Large);
    assert_eq!(Limits::default(), small);
    let interpreter = 512 << 10;
    for (bytes, profile, suiting) in [
        (0, LimitProfile::Small, &small),
        (interpreter - 1, LimitProfile::Small, &small),
        (interpreter, LimitProfile::Large, &large),
        (usize::MAX, LimitProfile::Large, &large),
    ] {
        assert_eq!(LimitProfile::for_size(bytes), profile, "{bytes}");
        assert_eq!(Overrides::default().limits(bytes), *suiting, "{bytes}");
        type LimitChange = fn(&mut Overrides, &mut Limits);
        let changes: [LimitChange; 7] = [
            |set, expected| {
                set.time = Some(Duration::from_secs(77));
                expected.time = Duration::from_secs(77);
            },
            |set, expected| {
                set.load_time = Some(Duration::from_secs(78));
                expected.load_time = Duration::from_secs(78);
            },
            |set, expected| (set.memory, expected.memory) = (Some(1), 1),
            |set, expected| (set.stack, expected.stack) = (Some(2), 2),
            |set, expected| (set.answer, expected.answer) = (Some(3), 3),
            |set, expected| (set.log_lines, expected.log_lines) = (Some(4), 4),
            |set, expected| (set.file, expected.file) = (Some(5), 5),
        ];
        for change in changes {
            let (mut set, mut expected) = (Overrides::default(), suiting.clone());
            change(&mut set, &mut expected);
            assert_ne!(expected, *suiting);
            assert_eq!(set.limits(bytes), expected);
        }
    }
    let told = |limits: &Limits| {
        let Limits {
            time, load_time, ..
        } = limits;
        let numbers = [limits.memory >> 20, limits.stack >> 10, limits.answer >> 20];
        (
            time.as_millis(),
            load_time.as_secs(),
            numbers,
            limits.log_lines,
            limits.file >> 20,
        )
    };
    assert_eq!(told(&small), (100, 5, [64, 512, 16], 50, 64));
    assert_eq!(told(&large), (1_000, 20, [256, 2_048, 16], 50, 64));
}

#[test]
fn each_failure_says_what_went_wrong() {
    let limit = Duration::from_millis(250);
    let cause = || "unreachable".to_owned();
    for (failure, told) in [
        (Failure::TimedOut { limit }, "did not answer within 250 ms"),
        (
            Failure::Stuck { limit },
            "did not answer within 250 ms, and could not be stopped",
        ),
        (
            Failure::OutOfMemory { limit: 64 << 20 },
            "wanted more than 64 MiB of memory",
        ),
        (
            Failure::Stopped {
                cause: cause(),
                said_last: None,
            },
            "stopped with an error: unreachable",
        ),
        (
            Failure::Stopped {
                cause: cause(),
                said_last: Some("boom".to_owned()),
            },
            "stopped with an error: unreachable; it last said: boom",
        ),
    ] {
        assert_eq!(failure.to_string(), told);
    }
    let expired = wasmtime::Error::new(Expired(limit));
    assert_eq!(expired.to_string(), "took longer than 250 ms");
    assert_eq!(
        Failure::from_wasm(&expired, None),
        Failure::TimedOut { limit }
    );
    let deep = wasmtime::Error::new(wasmtime::Trap::StackOverflow);
    assert_eq!(Failure::from_wasm(&deep, None), Failure::OutOfStack);
    let stopped = Failure::from_wasm(&wasmtime::Error::msg("a\nb\x1b"), Some("x".to_owned()));
    let expected = Failure::Stopped {
        cause: "a b\\u{1b}".to_owned(),
        said_last: Some("x".to_owned()),
    };
    assert_eq!(stopped, expected);
    let other = wasmtime::Error::msg("found u32").context("type mismatch with parameters");
    let other = other.context("outside");
    let why = "type mismatch with parameters: found u32".to_owned();
    assert_eq!(
        Failure::from_wasm(&other, None),
        Failure::OtherTypes { why }
    );
}
