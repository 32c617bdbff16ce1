use super::*;
use proptest::prelude::*;

const NONCE: &str = "assigner-00ff";

fn row(pane: &str, session: &str, title: &str, command: &str) -> String {
    row_of("$1", pane, session, title, command)
}

fn row_of(id: &str, pane: &str, session: &str, title: &str, command: &str) -> String {
    format!(
        "{NONCE} pane\t10\t1700000000\t{pane}\t77\t1\t0\t0\t0\t0\t0\t0\t1\t80\t0\t2\t3\t1700000009\t\t/dev/pts/4\
         \t{id}\t{session}\t{title}\t{NONCE}{command}\n"
    )
}

fn read(text: &str) -> Result<Vec<Pane>, Error> {
    panes(&records(text.as_bytes(), NONCE).0, NONCE)
}

#[test]
fn a_list_is_read() {
    let text = row("%2", r"a\tb", "T", "evil\nx\tpane\t10")
        + &row("%2", "linked", "T", "evil")
        + &row("%3", "c", "", "")
        + &format!(
            "{NONCE} client\t5\t%3\n{NONCE} client\t9\t%3\n{NONCE} client\t7\t%3\n{NONCE} end\n"
        );
    let panes = read(&text).expect("it is read");
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
    let text = row("%1", "s", "T", "cat");
    // After the pane's numbers: dead, in a mode, input off, synchronised.
    let calm = "\t1\t0\t0\t0\t0\t0\t0";
    assert!(text.contains(calm), "{text}");
    let pane = |states: &str| {
        let text = text.replace(calm, &format!("\t1\t0\t0\t{states}\t0"));
        let panes = read(&text).expect("it is read");
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
            .map(|(id, name)| row_of(id, "%2", name, "", "sh"))
            .collect();
        let panes = read(&rows).expect("it is read");
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
    assert!(read(&row_of("1", "%2", "s", "", "")).is_err());
}

#[test]
fn no_pane_is_no_error() {
    assert!(read("").expect("a list").is_empty());
    assert!(matches!(
        read(&row("1", "s", "", "")),
        Err(Error::Protocol(_))
    ));
}

#[test]
fn a_server_says_what_it_is() {
    let said = |text: &str| {
        let text = text.replace('@', &format!("{NONCE} "));
        let records = records(text.as_bytes(), NONCE).0;
        server(&records).map(|(version, path)| format!("{version} {}", path.display()))
    };
    let is = |text: &str| Some(text.to_owned());
    assert_eq!(said("@server\t3.3a\t/tmp/s\n@end\n"), is("3.3a /tmp/s"));
    assert_eq!(said("@server\tnext-3.4\t/a\tb\n"), is("next-3.4 /a\tb"));
    for text in [
        "",
        "@server\n",
        "@server\t3.3a\n",
        "@server\t3.3a\ts\n",
        // A path with a newline.
        "@server\t3.3a\t/tmp/s\nx\n",
        "@server\t3.3a\t/tmp/s",
    ] {
        assert_eq!(said(text), None, "{text:?}");
    }
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(lines in proptest::collection::vec(
        prop_oneof![
            proptest::collection::vec(any::<u8>(), 0..30),
            r"assigner-00ff (pane|server|cursor 0|refused 0|typed 0|tail 0|client|end)[\t 0-9%]{0,40}".prop_map(String::into_bytes),
        ], 0..40)) {
        let (records, _) = records(&lines.join(&b"\n"[..]), NONCE);
        let _ = panes(&records, NONCE);
        let _ = server(&records);
        let pane = Identity { node: Default::default(), server_pid: 1, server_start: 1, pane: PaneId::parse("%1").expect("an id"), pane_pid: 1 };
        let _ = tail(&records, &pane, 3);
        let reply = TmuxReply { records, sent: true, ..TmuxReply::default() };
        let _ = typed(&reply, 0, &RequiredPane::key(&pane));
    }

    #[test]
    fn no_command_forges_a_row(command in r"[a\n\t %0-9-]{0,40}", title in r"[ -~]{0,20}") {
        let text = row("%7", "s", &title, &command) + &format!("{NONCE} end\n");
        let panes = read(&text).expect("it is read");
        prop_assert_eq!(panes.len(), 1);
        prop_assert_eq!(&panes[0].title, &title);
        prop_assert_eq!(&panes[0].command, &command);
    }
}
