//! What people set holds for every claim that is committed after it.

use super::tests::*;
use super::*;

/// A round may have looked at the session before a person set something for it, and at the task
/// after.
#[test]
fn what_was_said_before_a_claim_holds_for_it() {
    let (_directory, mut store) = store();
    let task = queue(&mut store, &[NewTask::command("a")])[0];
    let taken = |store: &mut Store, claim: &Claim, seconds: i64| {
        let claimed = store.claim(std::slice::from_ref(claim), later(seconds));
        claimed.expect("a transaction")[0].is_some()
    };
    let fits = claim(task, 1);
    let pauses = [
        Pause::All,
        Pause::Provider(fits.provider.clone()),
        Pause::Session(fits.session.as_str().into()),
    ];
    for pause in pauses {
        let pause = std::slice::from_ref(&pause);
        store.pause(pause, true, later(1)).expect("paused");
        assert!(!taken(&mut store, &fits, 2), "{pause:?}");
        store.pause(pause, false, later(3)).expect("resumed");
    }
    // The agent that it asks there counts as what runs there.
    let asks = Claim {
        asks: Some("claude".to_owned()),
        ..fits.clone()
    };
    let pause = [Pause::Provider("claude".to_owned())];
    store.pause(&pause, true, later(3)).expect("paused");
    assert!(!taken(&mut store, &asks, 3));
    let others = [
        Pause::Provider("codex".to_owned()),
        Pause::Session("s2".into()),
    ];
    store.pause(&others, true, later(4)).expect("paused");
    let set = BTreeMap::from([("gpu".to_owned(), "a".to_owned())]);
    let session: SessionRef = fits.session.as_str().into();
    store
        .label(&session, &set, &[], later(5))
        .expect("labelled");
    assert!(!taken(&mut store, &fits, 6), "decided on without its label");
    let labelled = Claim {
        labels: set.clone(),
        ..fits.clone()
    };
    store
        .label(&session, &BTreeMap::new(), &["gpu".to_owned()], later(7))
        .expect("labelled");
    assert!(!taken(&mut store, &labelled, 8), "its label is gone");
    assert!(taken(&mut store, &fits, 9));
}
