use proptest::prelude::*;

use super::*;

/// A pane of a model of tmux.
#[derive(Debug, Clone)]
struct ShownPane {
    identity: Identity,
    homes: Vec<Home>,
}

impl ShownPane {
    fn who(&self) -> Who<'_> {
        Who {
            name: &self.homes[0].name,
            identity: Some(&self.identity),
            homes: &self.homes,
        }
    }
}

fn pane(number: u32) -> Identity {
    Identity {
        node: Default::default(),
        server_pid: 7,
        server_start: 1_000,
        pane: PaneId::parse(&format!("%{number}")).expect("a pane"),
        pane_pid: 100 + number,
    }
}

fn shown(number: u32, homes: &[(u32, &str)]) -> ShownPane {
    let homes = homes.iter().map(|(id, name)| Home {
        id: TmuxSession(*id),
        name: (*name).to_owned(),
    });
    ShownPane {
        identity: pane(number),
        homes: homes.collect(),
    }
}

fn session(id: u32) -> Meaning {
    Meaning::Session {
        node: Default::default(),
        server_pid: 7,
        server_start: 1_000,
        id: TmuxSession(id),
    }
}

fn means(panes: &[ShownPane], name: &str) -> Option<Meaning> {
    meaning(panes.iter().map(ShownPane::who), name).expect("one node")
}

fn said(panes: &[ShownPane], name: &str) -> SessionRef {
    SessionRef {
        name: name.to_owned(),
        meaning: means(panes, name),
    }
}

fn answering<'a>(panes: &'a [ShownPane], said: &SessionRef) -> Vec<&'a str> {
    let panes = panes.iter().map(ShownPane::who);
    panes
        .filter(|who| who.answers(said))
        .map(|who| who.name)
        .collect()
}

#[test]
fn a_name_means_its_pane_or_the_session_of_several() {
    let panes = [
        shown(1, &[(0, "m:0.0")]),
        shown(2, &[(0, "m:0.1")]),
        shown(3, &[(1, "api")]),
    ];
    assert_eq!(means(&panes, "m:0.1"), Some(Meaning::Pane(pane(2))));
    assert_eq!(means(&panes, "api"), Some(Meaning::Pane(pane(3))));
    assert_eq!(means(&panes, "m"), Some(session(0)));
    assert_eq!(means(&panes, "m:0.2"), None);
    assert_eq!(means(&panes, "ap"), None);
}

#[test]
fn a_name_that_several_nodes_have_means_none_of_them() {
    let on = |node: &str, mut pane: ShownPane| {
        pane.identity.node = NodeName::parse(node).expect("a name");
        pane
    };
    let panes = [
        on("web", shown(1, &[(0, "main")])),
        on("lab", shown(2, &[(0, "main")])),
        on("lab", shown(3, &[(1, "m:0.0")])),
        on("web", shown(4, &[(1, "m:0.0")])),
        on("lab", shown(5, &[(2, "api")])),
    ];
    let means = |name| meaning(panes.iter().map(ShownPane::who), name);
    let error = means("main").expect_err("two sessions");
    assert_eq!(
        error.to_string(),
        "several nodes have a session `main`: say `lab/main` or `web/main`"
    );
    assert!(means("m").is_err() && means("m:0.0").is_err());
    let of = |number: usize| Ok(Some(Meaning::Pane(panes[number].identity.clone())));
    assert_eq!(means("web/main"), of(0));
    assert_eq!(means("lab/main"), of(1));
    assert_eq!(means("api"), of(4));
    assert_eq!(means("web/api"), Ok(None));
}

#[test]
fn a_name_that_was_awaited_means_the_whole_session() {
    let panes = [shown(3, &[(1, "api")])];
    let first = |name| first_meaning(panes.iter().map(ShownPane::who), name);
    assert_eq!(first("api"), Some(session(1)));
    assert_eq!(first("web"), None);
    let panes = [shown(1, &[(0, "m:0.0")]), shown(2, &[(0, "m:0.1")])];
    let first = |name| first_meaning(panes.iter().map(ShownPane::who), name);
    assert_eq!(first("m:0.1"), Some(Meaning::Pane(pane(2))));
}

#[test]
fn what_was_said_of_a_pane_follows_it_when_panes_are_renumbered() {
    let before = [
        shown(1, &[(0, "m:0.0")]),
        shown(2, &[(0, "m:0.1")]),
        shown(3, &[(0, "m:0.2")]),
    ];
    let second = said(&before, "m:0.1");
    let all = said(&before, "m");
    // The first pane has ended.
    let after = [shown(2, &[(0, "m:0.0")]), shown(3, &[(0, "m:0.1")])];
    assert_eq!(answering(&after, &second), ["m:0.0"]);
    assert_eq!(answering(&after, &all), ["m:0.0", "m:0.1"]);
    // And the third: the remaining pane has the session's name.
    let after = [shown(2, &[(0, "m")])];
    assert_eq!(answering(&after, &second), ["m"]);
    assert_eq!(answering(&after, &all), ["m"]);
    // And the second: another pane with that name is not the one that was meant.
    let after = [shown(4, &[(0, "m")])];
    assert_eq!(answering(&after, &second), [""; 0]);
    assert_eq!(answering(&after, &all), ["m"]);
}

#[test]
fn a_pane_has_the_names_of_all_its_sessions() {
    let panes = [shown(1, &[(0, "main"), (4, "other")])];
    assert_eq!(means(&panes, "main"), means(&panes, "other"));
    assert_eq!(means(&panes, "other"), Some(Meaning::Pane(pane(1))));
    let panes = [
        shown(1, &[(0, "main:0.0"), (4, "other:0.0")]),
        shown(2, &[(0, "main:0.1"), (4, "other:0.1")]),
    ];
    assert_eq!(means(&panes, "other:0.1"), Some(Meaning::Pane(pane(2))));
    assert_eq!(means(&panes, "other"), Some(session(4)));
    let other = said(&panes, "other");
    assert_eq!(answering(&panes, &other), ["main:0.0", "main:0.1"]);
}

#[test]
fn another_server_is_another_world() {
    let before = [shown(1, &[(0, "m:0.0")]), shown(2, &[(0, "m:0.1")])];
    let wishes = [said(&before, "m:0.0"), said(&before, "m")];
    let mut after = before;
    for shown in &mut after {
        shown.identity.server_start += 1;
    }
    for wish in wishes {
        assert_eq!(answering(&after, &wish), [""; 0], "{wish:?}");
        let found = whereabouts(after.iter().map(ShownPane::who), &wish);
        assert_eq!(found, Whereabouts::Gone);
    }
}

#[test]
fn where_a_session_is_is_told_by_its_present_name() {
    let before = [shown(1, &[(0, "m:0.0")]), shown(2, &[(0, "m:0.1")])];
    let (one, all) = (said(&before, "m:0.1"), said(&before, "m"));
    let after = [shown(1, &[(0, "k:0.1")]), shown(2, &[(0, "k:0.0")])];
    let find = |said| whereabouts(after.iter().map(ShownPane::who), said);
    assert_eq!(find(&one), Whereabouts::Here("k:0.0".to_owned()));
    assert_eq!(find(&all), Whereabouts::Here("k".to_owned()));
    assert_eq!(find(&SessionRef::from("m")), Whereabouts::Awaited);
    let alone = [shown(1, &[(0, "k")])];
    let gone = whereabouts(alone.iter().map(ShownPane::who), &one);
    assert_eq!(gone, Whereabouts::Gone);
}

#[test]
fn what_was_said_is_found_by_the_present_name_and_by_the_old_one() {
    let wish = |name: &str, meaning| SessionRef {
        name: name.to_owned(),
        meaning: Some(meaning),
    };
    let wishes = [
        wish("m:0.1", Meaning::Pane(pane(1))),
        wish("m:0.1", Meaning::Pane(pane(2))),
        wish("new", session(4)),
        SessionRef::from("awaited"),
    ];
    let panes = [
        shown(1, &[(0, "m:0.0")]),
        shown(2, &[(0, "m:0.1")]),
        shown(3, &[(4, "old")]),
    ];
    let find = |name: &str| -> Vec<&SessionRef> {
        let there = panes.iter().map(ShownPane::who);
        found(wishes.iter(), &said(&panes, name), &there)
    };
    assert_eq!(find("m:0.0"), [&wishes[0]]);
    assert_eq!(find("m:0.1"), [&wishes[1]]);
    // Said about a tmux session that has only one pane now.
    assert_eq!(find("old"), [&wishes[2]]);
    assert_eq!(find("new"), [&wishes[2]]);
    assert_eq!(find("awaited"), [&wishes[3]]);
    assert!(find("nobody").is_empty());
    let by_name = found(wishes.iter(), &"m:0.1".into(), &std::iter::empty());
    assert_eq!(by_name, [&wishes[0], &wishes[1]]);
}

#[test]
fn each_node_may_have_a_session_of_a_name() {
    let on = |node: &str| {
        let mut pane = shown(1, &[(1, "main")]);
        pane.identity.node = NodeName::parse(node).expect("a name");
        pane
    };
    let (laptop, server) = (on("laptop"), on("server"));
    let panes = [laptop.clone(), server.clone()];
    assert_eq!(
        means(&panes, "server/main"),
        Some(Meaning::Pane(server.identity.clone()))
    );
    assert_eq!(means(&panes, "desktop/main"), None);
    for pane in &panes {
        let meaning = Meaning::Pane(pane.identity.clone());
        assert_eq!(meaning.to_string().parse(), Ok(meaning.clone()));
        let said = SessionRef {
            name: "main".to_owned(),
            meaning: Some(meaning),
        };
        let answering: Vec<&Identity> = panes
            .iter()
            .filter(|other| other.who().answers(&said))
            .map(|other| &other.identity)
            .collect();
        assert_eq!(answering, [&pane.identity]);
    }
    // A slash in a plain name is not the end of a node's.
    assert_eq!(means(&[shown(1, &[(1, "laptop/main")])], "main"), None);
}

#[test]
fn a_nodes_name_is_plain() {
    for good in ["", "laptop", "build-7.example_2"] {
        assert_eq!(NodeName::parse(good).expect(good).as_str(), good);
    }
    let long = "x".repeat(NodeName::LONGEST + 1);
    for bad in ["a b", "a/b", "ä", "a\n", &long] {
        assert_eq!(NodeName::parse(bad), None, "{bad:?}");
    }
}

#[test]
fn a_text_that_is_no_meaning_is_none() {
    for text in [
        "",
        "pane",
        "pane 1 2 %3",
        "pane 1 2 3 4",
        "pane 1 2 %3 4 5",
        "pane 1 2 %3 4 @",
        "pane 1 2 %3 4 @a/b",
        "session 1 2 $3 @a @b",
        "pane -1 2 %3 4",
        "session 1 2 %3",
        "session 1 2 $",
        "session 1 2 $99999999999",
        "window 1 2 @3",
    ] {
        assert_eq!(text.parse::<Meaning>(), Err(NoMeaning), "{text}");
    }
}

/// A world of panes, in which tmux renumbers, swaps, moves and renames.
#[derive(Debug, Clone)]
enum TmuxChange {
    End(usize),
    Swap(usize, usize),
    Move(usize, u32),
    Rename(u32),
}

fn change() -> impl Strategy<Value = TmuxChange> {
    prop_oneof![
        (0_usize..8).prop_map(TmuxChange::End),
        (0_usize..8, 0_usize..8).prop_map(|(one, other)| TmuxChange::Swap(one, other)),
        (0_usize..8, 0_u32..3).prop_map(|(pane, to)| TmuxChange::Move(pane, to)),
        (0_u32..3).prop_map(TmuxChange::Rename),
    ]
}

/// The number and home of each pane, in order, and how often each session was renamed.
type Places = (Vec<(u32, u32)>, [u32; 3]);

fn happen((panes, names): &mut Places, change: &TmuxChange) {
    let count = panes.len().max(1);
    match *change {
        TmuxChange::End(pane) if pane < panes.len() => {
            panes.remove(pane);
        }
        TmuxChange::Swap(one, other) if !panes.is_empty() => {
            let (one, other) = (one % count, other % count);
            let (a, b) = (panes[one].0, panes[other].0);
            panes[one].0 = b;
            panes[other].0 = a;
        }
        TmuxChange::Move(pane, to) if !panes.is_empty() => {
            let (number, _) = panes.remove(pane % count);
            panes.push((number, to));
        }
        TmuxChange::Rename(session) => names[session as usize] += 1,
        _ => {}
    }
}

/// Returns the panes as tmux numbers them and assigner names them.
fn world((panes, names): &Places) -> Vec<ShownPane> {
    let mut counts = [0; 3];
    let mut world = Vec::new();
    for &(number, home) in panes {
        let several = panes.iter().filter(|(_, other)| *other == home).count() > 1;
        // Names are reused: by the next session, and after two renames by the same one.
        let base = ["a", "b", "c"][(home + names[home as usize]) as usize % 3];
        let index = counts[home as usize];
        counts[home as usize] += 1;
        let name = if several {
            format!("{base}{}:0.{index}", names[home as usize] % 2)
        } else {
            format!("{base}{}", names[home as usize] % 2)
        };
        world.push(shown(number, &[(home, &name)]));
    }
    world
}

proptest! {
    #[test]
    fn a_wish_stays_with_its_pane(
        homes in prop::collection::vec(0_u32..3, 1..6),
        chosen in 0_usize..6,
        changes in prop::collection::vec(change(), 0..12),
    ) {
        let panes = (1_u32..).zip(homes).collect();
        let mut places: Places = (panes, [0; 3]);
        let before = world(&places);
        let pane = &before[chosen % before.len()];
        let wish = SessionRef {
            name: pane.who().name.to_owned(),
            meaning: Some(Meaning::Pane(pane.identity.clone())),
        };
        for change in &changes {
            happen(&mut places, change);
            let after = world(&places);
            let answering: Vec<&Identity> = after.iter()
                .filter(|shown| shown.who().answers(&wish))
                .map(|shown| &shown.identity)
                .collect();
            let there = after.iter().any(|shown| shown.identity == pane.identity);
            let expected: Vec<&Identity> = there.then_some(&pane.identity).into_iter().collect();
            prop_assert_eq!(answering, expected);
        }
    }

    #[test]
    fn a_meaning_survives_being_stored(
        pid in any::<u32>(), start in any::<i64>(), number in any::<u32>(), pane_pid in any::<u32>(),
    ) {
        let pane = Meaning::Pane(Identity {
            node: Default::default(),
            server_pid: pid,
            server_start: start,
            pane: PaneId::parse(&format!("%{number}")).expect("a pane"),
            pane_pid,
        });
        let session = Meaning::Session {
            node: Default::default(),
            server_pid: pid,
            server_start: start,
            id: TmuxSession(number),
        };
        for meaning in [pane, session] {
            prop_assert_eq!(meaning.to_string().parse(), Ok(meaning));
        }
    }
}
