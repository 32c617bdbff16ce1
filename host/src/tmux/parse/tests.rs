use super::*;
use proptest::prelude::*;

const NONCE: &str = "assigner-00ff";

fn row(pane: &str, holder: &str, session: &str, title: &str, command: &str) -> String {
    row_of("$1", pane, holder, session, title, command)
}

fn row_of(id: &str, pane: &str, holder: &str, session: &str, title: &str, command: &str) -> String {
    format!(
        "{NONCE} pane\t10\t1700000000\t{pane}\t77\t{holder}\t1\t0\t0\t0\t0\t0\t0\t1\t80\t0\t2\t3\t1700000009\t\t/dev/pts/4\
         \t{id}\t{session}\t{title}\t{NONCE}{command}\n"
    )
}

fn read(text: &str) -> Result<Option<Vec<Pane>>, Error> {
    panes(&records(text.as_bytes(), NONCE).0, NONCE)
}

#[test]
fn a_list_is_read() {
    let text = row("%1", "1", "assigner-1", "", "cat")
        + &row("%2", "0", r"a\tb", "T", "evil\nx\tpane\t10")
        + &row("%2", "0", "linked", "T", "evil")
        + &row("%3", "0", "c", "", "")
        + &format!(
            "{NONCE} client\t5\t%3\n{NONCE} client\t9\t%3\n{NONCE} client\t7\t%3\n{NONCE} end\n"
        );
    let panes = read(&text)
        .expect("it is read")
        .expect("there are sessions");
    assert_eq!(panes.len(), 2);
    assert_eq!(panes[0].session, r"a\tb");
    assert_eq!(panes[0].command, "evil\nx\tpane\t10");
    assert_eq!(panes[0].watched_until, None);
    assert_eq!(panes[1].watched_until, Some(9));
    assert_eq!(panes[1].cursor, (2, 3));
    assert!(panes[1].alternate && !panes[1].dead && panes[1].dead_status.is_none());
}

#[test]
fn modes_one_above_the_other_are_a_mode() {
    let text = row("%1", "0", "s", "T", "cat");
    // After the pane's numbers: dead, in a mode, input off, synchronised.
    let calm = "\t1\t0\t0\t0\t0\t0\t0";
    assert!(text.contains(calm), "{text}");
    let pane = |states: &str| {
        let text = text.replace(calm, &format!("\t1\t0\t0\t{states}\t0"));
        let panes = read(&text).expect("it is read").expect("there is one");
        (panes[0].in_mode, panes[0].input_off, panes[0].synchronized)
    };
    assert_eq!(pane("0\t0\t0"), (false, false, false));
    assert_eq!(pane("2\t0\t0"), (true, false, false));
    assert_eq!(pane("1\t1\t1"), (true, true, true));
    assert_eq!(pane("0\t1\t0"), (false, true, false));
}

#[test]
fn a_pane_of_several_sessions_is_one_and_named_by_the_oldest() {
    let listed = |order: &[(&str, &str)]| {
        let rows: String = order
            .iter()
            .map(|(id, name)| row_of(id, "%2", "0", name, "", "sh"))
            .collect();
        let panes = read(&rows)
            .expect("it is read")
            .expect("there are sessions");
        assert_eq!(panes.len(), 1);
        let pane = &panes[0];
        let further = pane.further.iter().map(|further| &further.session);
        let names: Vec<String> = std::iter::once(&pane.session)
            .chain(further)
            .cloned()
            .collect();
        (pane.session_id, names)
    };
    let expected = (
        TmuxSession(3),
        ["main", "b", "a"].map(str::to_owned).to_vec(),
    );
    // tmux lists sessions by name, and lists a session twice if it links a window twice.
    for order in [
        [("$12", "a"), ("$4", "b"), ("$3", "main"), ("$3", "main")],
        [("$3", "main"), ("$12", "a"), ("$12", "a"), ("$4", "b")],
        [("$4", "b"), ("$12", "a"), ("$3", "main"), ("$4", "b")],
    ] {
        assert_eq!(listed(&order), expected);
    }
    assert!(read(&row_of("1", "%2", "0", "s", "", "")).is_err());
}

#[test]
fn holders_alone_are_nobody() {
    assert!(matches!(read(&row("%1", "1", "h", "", "")), Ok(None)));
    assert!(matches!(read(""), Ok(Some(panes)) if panes.is_empty()));
    assert!(matches!(
        read(&row("1", "0", "s", "", "")),
        Err(Error::Protocol(_))
    ));
}

#[test]
fn blocks_are_told_from_what_they_hold() {
    let mut framing = Framing::default();
    let mut line = |text: &str| framing.line(text.as_bytes());
    assert_eq!(line("%sessions-changed").ok(), Some(ControlEvent::Changed));
    assert_eq!(
        line("%session-changed $1 x").ok(),
        Some(ControlEvent::Nothing)
    );
    assert_eq!(
        line("%unlinked-window-add @1").ok(),
        Some(ControlEvent::Changed)
    );
    assert_eq!(line("%begin 1 2 1").ok(), Some(ControlEvent::Nothing));
    for text in ["%end 1 3 1", "%exit", "", "%begin 1 9 1", "x"] {
        assert_eq!(line(text).ok(), Some(ControlEvent::Nothing), "{text}");
    }
    let body = b"%end 1 3 1\n%exit\n\n%begin 1 9 1\nx\n".to_vec();
    assert_eq!(line("%end 1 2 1").ok(), Some(ControlEvent::Output(body)));
    assert_eq!(line("%begin 1 3 1").ok(), Some(ControlEvent::Nothing));
    assert_eq!(
        line("%error 1 3 1").ok(),
        Some(ControlEvent::Failed(Vec::new()))
    );
    assert_eq!(line("%exit gone").ok(), Some(ControlEvent::Exit));
    for text in ["", "x", "%end 1 3 1", "%error 1 3 1"] {
        assert!(line(text).is_err(), "{text:?}");
    }
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(lines in proptest::collection::vec(
        prop_oneof![
            proptest::collection::vec(any::<u8>(), 0..30),
            r"%(begin|end|error) 1 [12] 1".prop_map(String::into_bytes),
            r"assigner-00ff (pane|cursor 0|refused 0|typed 0|tail 0|client|end)[\t 0-9%]{0,40}".prop_map(String::into_bytes),
        ], 0..40)) {
        let mut framing = Framing::default();
        for line in &lines {
            let _ = framing.line(line);
        }
        let (records, _) = records(&lines.join(&b"\n"[..]), NONCE);
        let _ = panes(&records, NONCE);
        let pane = Identity { node: Default::default(), server_pid: 1, server_start: 1, pane: PaneId::parse("%1").expect("an id"), pane_pid: 1 };
        let _ = tail(&records, &pane, 3);
        let reply = TmuxReply { records, sent: true, ..TmuxReply::default() };
        let _ = typed(&reply, 0, &RequiredPane::key(&pane));
    }

    #[test]
    fn no_command_forges_a_row(command in r"[a\n\t %0-9-]{0,40}", title in r"[ -~]{0,20}") {
        let text = row("%7", "0", "s", &title, &command) + &format!("{NONCE} end\n");
        let panes = read(&text).expect("it is read").expect("there are sessions");
        prop_assert_eq!(panes.len(), 1);
        prop_assert_eq!(&panes[0].title, &title);
        prop_assert_eq!(&panes[0].command, &command);
    }
}
