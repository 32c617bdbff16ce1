//! The thread that writes, the log of policies, and secret values.

use serde_json::json;

use super::tests::*;
use super::*;

#[tokio::test]
async fn what_was_not_committed_is_told_to_nobody_as_done() {
    let (directory, store) = store();
    other(&directory)
        .execute_batch(
            "CREATE TABLE p (id INTEGER PRIMARY KEY);
             CREATE TABLE c (id REFERENCES p (id) DEFERRABLE INITIALLY DEFERRED);
             CREATE TRIGGER spoil AFTER INSERT ON tasks WHEN NEW.content = 'spoil'
                BEGIN INSERT INTO c VALUES (99); END",
        )
        .expect("made");
    let ledger = Ledger::start(store).expect("a thread");
    let queue = async |content: &str| {
        let task = NewTask::command(content);
        ledger.run(move |store| store.queue(&[task], now())).await
    };
    assert_eq!(queue("a").await.expect("queued"), [TaskId(1)]);
    let broken = queue("spoil").await;
    assert!(
        matches!(broken, Err(StoreError::NotCommitted)),
        "{broken:?}"
    );
    // The thread continues, and the failed operation has left nothing.
    assert_eq!(queue("b").await.expect("queued"), [TaskId(2)]);
    let nobody = ledger.run(|store| store.task(TaskId(9))).await;
    assert!(matches!(nobody, Err(StoreError::NoTask(TaskId(9)))));
}

/// More operations than share a transaction, all at once: each caller gets its own result.
#[tokio::test]
async fn each_caller_hears_of_its_own_work() {
    let (_directory, store) = store();
    let ledger = Ledger::start(store).expect("a thread");
    let calls: Vec<_> = (0..600)
        .map(|number| {
            let ledger = ledger.clone();
            tokio::spawn(async move {
                let task = NewTask::command(format!("{number}"));
                let queued = ledger.run(move |store| store.queue(&[task], now())).await;
                (number, queued.expect("queued")[0])
            })
        })
        .collect();
    let mut seen = BTreeSet::new();
    for call in calls {
        let (number, id) = call.await.expect("an answer");
        let task = ledger
            .run(move |store| store.task(id))
            .await
            .expect("a task");
        assert_eq!(task.content, number.to_string());
        assert!(seen.insert(id));
    }
    assert_eq!(seen.len(), 600);
}

/// Operations that share a transaction are kept together or not at all. Their number is bounded, so
/// that a reader does not wait for long.
#[tokio::test]
async fn what_waits_together_is_committed_together_up_to_a_bound() {
    let (directory, store) = store();
    other(&directory)
        .execute_batch(
            "CREATE TABLE p (id INTEGER PRIMARY KEY);
             CREATE TABLE c (id REFERENCES p (id) DEFERRABLE INITIALLY DEFERRED);
             CREATE TRIGGER spoil AFTER INSERT ON tasks WHEN NEW.content = 'spoil'
                BEGIN INSERT INTO c VALUES (99); END",
        )
        .expect("made");
    let ledger = Ledger::start(store).expect("a thread");
    let (go, told_to_go) = std::sync::mpsc::channel();
    let first = ledger.run(move |store| {
        told_to_go.recv().map_err(|_| StoreError::Stopped)?;
        store.queue(&[NewTask::command("spoil")], now())
    });
    let others = (1..300).map(|_| {
        let queue = |store: &mut Store| store.queue(&[NewTask::command("x")], now());
        ledger.run(queue)
    });
    let mut others: Vec<_> = others.map(Box::pin).collect();
    let mut first = Box::pin(first);
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    assert!(first.as_mut().poll(&mut context).is_pending());
    for call in &mut others {
        assert!(call.as_mut().poll(&mut context).is_pending());
    }
    go.send(()).expect("the thread waits");
    assert!(matches!(first.await, Err(StoreError::NotCommitted)));
    let mut kept = Vec::new();
    for call in others {
        kept.push(call.await.is_ok());
    }
    let with_it = kept.iter().take_while(|kept| !**kept).count();
    assert_eq!(1 + with_it, 256);
    assert!(kept[with_it..].iter().all(|kept| *kept));
}

fn event(cause: PolicyCause, outcome: PolicyOutcome) -> PolicyEvent {
    PolicyEvent {
        id: 0,
        at: now(),
        cause,
        order: PolicyOrder {
            source: "p.wasm".to_owned(),
            settings: json!({"a": [1]}),
            set_by_hand: json!({"b": "x"}),
        },
        outcome,
        reason: Some("why".to_owned()),
        policy: Some(policy("p")),
    }
}

fn policy(name: &str) -> PolicyId {
    PolicyId {
        name: name.to_owned(),
        version: "1".to_owned(),
        sha256: "00".to_owned(),
    }
}

#[test]
fn what_became_of_a_policy_is_read_as_it_was_written() {
    use PolicyCause::{File, Reset, Start, Use};
    use PolicyOutcome::{Live, Overruled, Refused, Waiting};
    let (directory, mut store) = store();
    for cause in [Start, Use, Reset, File] {
        for outcome in [Waiting, Live, Refused, Overruled] {
            let written = event(cause, outcome);
            let id = store.note_policy(&written).expect("written");
            let read = store.policy_event(id).expect("read").expect("there");
            assert_eq!(read, PolicyEvent { id, ..written });
        }
    }
    assert_eq!(store.policy_event(99).expect("none"), None);
    let log: Vec<i64> = store
        .policy_log(3)
        .expect("log")
        .iter()
        .map(|event| event.id)
        .collect();
    assert_eq!(log, [14, 15, 16]);
    // What is already known stays if nothing else is reported.
    store
        .settle_policy(1, Refused, None, None)
        .expect("settled");
    let read = store.policy_event(1).expect("read").expect("there");
    assert_eq!(
        (read.outcome, read.reason, read.policy),
        (Refused, None, Some(policy("p")))
    );
    let other_policy = policy("q");
    store
        .settle_policy(1, Live, Some("so"), Some(&other_policy))
        .expect("settled");
    let read = store.policy_event(1).expect("read").expect("there");
    assert_eq!((read.outcome, read.policy), (Live, Some(other_policy)));
    assert_eq!(read.reason.as_deref(), Some("so"));
    // A value that a later version wrote orders nothing.
    other(&directory)
        .execute_batch(
            "UPDATE policy_log SET cause = 'new', outcome = 'new', policy_name = NULL WHERE id = 1",
        )
        .expect("changed");
    let read = store.policy_event(1).expect("read").expect("there");
    assert_eq!(
        (read.cause, read.outcome, read.policy),
        (Start, Overruled, None)
    );
}

#[test]
fn old_starts_are_forgotten_and_a_persons_word_never() {
    let (directory, mut store) = store();
    let mut note = |cause| {
        store
            .note_policy(&event(cause, PolicyOutcome::Live))
            .expect("written")
    };
    for cause in [
        PolicyCause::Start,
        PolicyCause::Use,
        PolicyCause::Reset,
        PolicyCause::File,
    ] {
        note(cause);
    }
    other(&directory)
        .execute_batch("UPDATE sqlite_sequence SET seq = 10002 WHERE name = 'policy_log'")
        .expect("changed");
    assert_eq!(note(PolicyCause::Start), 10_003);
    let ids = |store: &mut Store| -> Vec<i64> {
        let log = store.policy_log(9).expect("log");
        log.iter().map(|event| event.id).collect()
    };
    assert_eq!(ids(&mut store), [2, 3, 4, 10_003]);
    let mut note = |cause| {
        store
            .note_policy(&event(cause, PolicyOutcome::Live))
            .expect("written")
    };
    note(PolicyCause::Start);
    assert_eq!(ids(&mut store), [2, 3, 10_003, 10_004]);
}

fn values(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    let pairs = pairs.iter();
    pairs
        .map(|&(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

#[test]
fn only_a_name_of_ours_is_a_file_of_values() {
    let data = tempfile::tempdir().expect("a directory");
    let secrets = Secrets::of(data.path());
    let one = values(&[("A", "1")]);
    let name = secrets.keep(&one).expect("kept");
    assert!(name.starts_with("values-") && name.len() == "values-".len() + 16);
    let directory = data.path().join("secrets");
    for odd in ["other", "values-a.b", "values-a b", "values-é"] {
        std::fs::write(directory.join(odd), r#"{"A": "1"}"#).expect("written");
    }
    std::fs::write(data.path().join("values-up"), r#"{"A": "1"}"#).expect("written");
    for odd in [
        "other",
        "values-a.b",
        "values-a b",
        "values-é",
        "../values-up",
        "values-/../../values-up",
        "",
    ] {
        assert_eq!(secrets.values(odd), None, "{odd}");
        secrets.forget(odd);
    }
    assert_eq!(std::fs::read_dir(&directory).expect("read").count(), 5);
    assert!(data.path().join("values-up").exists());
    let second = secrets.keep(&one).expect("kept");
    assert_ne!(name, second);
    secrets.forget_all(&[name.clone(), second.clone(), "gone".to_owned()]);
    assert_eq!(
        (secrets.values(&name), secrets.values(&second)),
        (None, None)
    );
    // Nothing exists there yet.
    let nothing = Secrets::of(&data.path().join("nowhere"));
    nothing.sweep(&BTreeSet::new());
    std::fs::write(data.path().join("file"), "").expect("written");
    let blocked = Secrets::of(&data.path().join("file")).keep(&one);
    assert!(matches!(blocked, Err(StoreError::Secrets { .. })));
}

#[test]
fn each_place_of_a_value_is_masked() {
    let masked = |text: &str, pairs: &[(&str, &str)]| {
        let bytes = mask(text.as_bytes().to_vec(), &values(pairs));
        String::from_utf8(bytes).expect("UTF-8")
    };
    assert_eq!(SHORTEST_SECRET, 4);
    let four = [("A", "abcd"), ("B", "xyz"), ("C", "")];
    assert_eq!(masked("abcd xyz abcdabcd.", &four), "*** xyz ******.");
    assert_eq!(masked("abc", &four), "abc");
    assert_eq!(masked("", &four), "");
    assert_eq!(masked("é漢字é", &[("A", "漢字")]), "é***é");
    assert_eq!(masked("aaaaa", &[("A", "aaaa")]), "***a");
    let nested = [("A", "token"), ("B", "my-token-2")];
    assert_eq!(masked("my-token-2 token", &nested), "*** ***");
    let kept = mask(b"\xff\0abcd\xfe".to_vec(), &values(&four));
    assert_eq!(kept, b"\xff\0***\xfe");
}
