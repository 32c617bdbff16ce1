//! How answers are read, line by line.

use super::parse::*;
use super::script::RequiredPane;
use super::*;

const NONCE: &str = "assigner-00ff";
const STATE: &str = "10 1700000000 %3 77 0 0 0 0 5 1 0";

fn identity() -> Identity {
    Identity {
        node: Default::default(),
        server_pid: 10,
        server_start: 1_700_000_000,
        pane: PaneId::parse("%3").expect("an id"),
        pane_pid: 77,
    }
}

/// Returns the records of lines in which `@` stands for the nonce.
fn read(text: &str) -> Vec<ReplyRecord> {
    records(text.replace('@', &format!("{NONCE} ")).as_bytes(), NONCE).0
}

fn heads(text: &str) -> (Vec<String>, bool) {
    let text = text.replace('@', &format!("{NONCE} "));
    let (records, complete) = records(text.as_bytes(), NONCE);
    let heads = records.into_iter().map(|record| record.head);
    (heads.collect(), complete)
}

#[test]
fn an_answer_is_complete_with_its_end_mark_alone() {
    let told = |heads: &[&str], complete| {
        let heads: Vec<String> = heads.iter().map(|&head| head.to_owned()).collect();
        (heads, complete)
    };
    assert_eq!(heads("@end\n"), told(&["end"], true));
    assert_eq!(
        heads("noise\n@a 1\nbody\n@end\n"),
        told(&["a 1", "end"], true)
    );
    assert_eq!(heads("@a\n@end\n@b\n"), told(&["a", "end", "b"], false));
    assert_eq!(heads("@a\n@ended\n"), told(&["a", "ended"], false));
    assert_eq!(heads(""), told(&[], false));
    // Another request's answer, or what a pane shows.
    assert_eq!(heads("assigner-00fe end\n"), told(&[], false));
    assert_eq!(
        heads(&format!("{NONCE}end\n x {NONCE} end\n")),
        told(&[], false)
    );
    // An incomplete line says nothing: `typed 1` may have been `typed 10`.
    assert_eq!(heads("@a\n@en"), told(&["a"], false));
    assert_eq!(heads("@a\n@end"), told(&["a"], false));
    assert_eq!(read("@a\nx\n\ny\n@b\n")[0].body, ["x", "", "y"]);
}

#[test]
fn complaints_are_one_bounded_line() {
    let mut reply = TmuxReply::default();
    reply.add_error("\x1b\r\n");
    assert_eq!(reply.errors, "");
    reply.add_error("no \x1bpane\n");
    reply.add_error("");
    reply.add_error("again");
    assert_eq!(reply.errors, "no pane; again");
    reply.add_error(&"x".repeat(1_000));
    let length = reply.errors.len();
    assert!(length > 1_000);
    reply.add_error("more");
    assert_eq!(reply.errors.len(), length);
    let mut full = TmuxReply::default();
    full.add_error(&"x".repeat(1_000));
    full.add_error("more");
    assert_eq!(full.errors.len(), 1_000);
    let failed = TmuxReply {
        failure: Some(Error::Closed),
        records: read("@a\n"),
        ..TmuxReply::default()
    };
    assert!(matches!(failed.complete(), Err(Error::Closed)));
    let whole = TmuxReply {
        records: read("@a\n"),
        ..TmuxReply::default()
    };
    assert_eq!(whole.complete().expect("all").len(), 1);
}

fn pane() -> Pane {
    let row = format!(
        "{NONCE} pane\t10\t1700000000\t%3\t77\t1\t0\t0\t0\t0\t0\t0\t1\t80\t0\t5\t1\t9\t\t/dev/pts/4\t$1\ts\tT\t{NONCE}sh\n"
    );
    let panes = panes(&records(row.as_bytes(), NONCE).0, NONCE);
    panes.expect("a list").remove(0)
}

#[test]
fn a_list_that_is_not_ours_is_refused() {
    let good = format!(
        "@pane\t10\t1700000000\t%3\t77\t1\t0\t0\t0\t0\t0\t0\t1\t80\t0\t5\t1\t9\t\t/dev/pts/4\t$1\ts\tT\t{NONCE}sh\n"
    );
    let list = |text: &str| panes(&read(text), NONCE);
    assert_eq!(list(&good).expect("a list").len(), 1);
    let fields: Vec<&str> = good.trim_end().split('\t').collect();
    // An invalid number, a missing field, a title without its end.
    for index in [1, 2, 3, 4, 5, 6, 13, 15, 16, 17] {
        let mut fields = fields.clone();
        fields[index] = "x";
        assert!(
            list(&format!("{}\n", fields.join("\t"))).is_err(),
            "{index}"
        );
    }
    for end in 1..fields.len() {
        let cut = format!("{}\t\n", fields[..end].join("\t"));
        assert!(list(&cut).is_err(), "{end}");
    }
    for client in ["@client\tx\t%3\n", "@client\t\t%3\n"] {
        assert!(list(&format!("{good}{client}")).is_err(), "{client}");
    }
    // Rows that are not ours are ignored.
    let others = list(&format!("{good}@client\n@panes\t1\n@client\t4\t%9\n"));
    let others = others.expect("a list");
    assert_eq!((others.len(), others[0].watched_until), (1, None));
    for (clients, newest) in [("3 7 5", 7), ("7 3", 7), ("-2 -9", -2)] {
        let clients = clients.split(' ');
        let rows: String = clients.map(|at| format!("@client\t{at}\t%3\n")).collect();
        let panes = list(&format!("{good}{rows}")).expect("a list");
        assert_eq!(panes[0].watched_until, Some(newest));
    }
}

#[test]
fn a_list_of_sessions_that_is_not_ours_is_refused() {
    let good = "@session\t10 20 $2 0 1 1 1 0 %3 77 5 1\t0\t\t9\t1\ts\tp\t/d\n";
    assert_eq!(sessions(&read(good)).expect("a list").len(), 1);
    assert!(sessions(&read("@sessions\t10\n")).expect("none").is_empty());
    for (right, wrong) in [
        ("10 20", "x 20"),
        ("10 20", "10 x"),
        ("$2", "2"),
        ("$2", "$"),
        ("$2", "$x"),
        ("$2 0", "$2 x"),
        ("0 1 1", "0 x 1"),
        ("0 1 1", "0 1 x"),
        ("%3", "3"),
        ("77", "x"),
        ("5 1", "x 1"),
        ("5 1", "5 x"),
        ("\t9\t", "\tx\t"),
        ("\ts\tp\t/d", "\ts\tp"),
    ] {
        let text = good.replacen(right, wrong, 1);
        assert!(sessions(&read(&text)).is_err(), "{right} {wrong}");
    }
}

#[test]
fn the_line_of_a_cursor_is_that_of_its_pane_alone() {
    let pane = pane();
    let line = |text: &str| cursor_lines(&read(text), &[&pane]).remove(0);
    let found = line(&format!("@cursor 0 {STATE}\nabove  \n$ ls -l  \nbelow  \n"));
    let found = found.expect("a line");
    assert_eq!(
        (found.before.as_str(), found.after.as_str()),
        ("$ ls ", "-l")
    );
    assert_eq!(
        (&*found.below, &*found.above),
        (&["below".to_owned()][..], &["above".to_owned()][..])
    );
    let last = line(&format!("@cursor 0 {STATE}\n\n$\n")).expect("a line");
    assert_eq!((last.before.as_str(), last.below.len()), ("$    ", 0));
    for text in [
        format!("@cursor 0 {STATE}\n"),
        format!("@cursor 0 {STATE}\nabove alone\n"),
        format!("@cursor 1 {STATE}\n$\n"),
        format!("@cursor x {STATE}\n$\n"),
        format!("@cursors 0 {STATE}\n$\n"),
        format!("@screen 0 {STATE}\n$\n"),
        "@cursor 0\n$\n".to_owned(),
        // The cursor has moved; it is another pane.
        "@cursor 0 10 1700000000 %3 77 0 0 0 0 4 1 0\n$\n".to_owned(),
        "@cursor 0 10 1700000000 %3 78 0 0 0 0 5 1 0\n$\n".to_owned(),
    ] {
        assert_eq!(line(&text), None, "{text}");
    }
}

#[test]
fn a_screen_is_that_of_its_pane_alone() {
    let other = Identity {
        pane_pid: 78,
        ..identity()
    };
    let text = format!("@screen 1 0 {STATE}\n@screen 0 1 {STATE}\na\n\n b\n");
    let found = screens(&read(&text), &[&identity(), &identity(), &other]);
    let shown = Capture {
        text: "a\n\n b".to_owned(),
        cursor: (5, 1),
        cursor_shown: true,
        in_mode: false,
    };
    let hidden = Capture {
        text: String::new(),
        cursor_shown: false,
        ..shown.clone()
    };
    assert_eq!(found, [Some(shown), Some(hidden), None]);
    // The number of modes.
    for modes in ["1", "2"] {
        let text = format!("@screen 0 1 10 1700000000 %3 77 0 {modes} 0 0 5 1 0\n");
        let found = screens(&read(&text), &[&identity()]).remove(0);
        assert!(found.is_some_and(|screen| screen.in_mode), "{modes}");
    }
    for text in [
        "@screen 0 1\n",
        "@screen 0\n",
        &format!("@screen 0 1 {STATE}\n"),
    ] {
        assert_eq!(screens(&read(text), &[&other]), [None], "{text}");
    }
}

#[test]
fn the_end_of_a_pane_is_plain_and_without_blanks() {
    let text = "@tail 0\n one\x1b[1m \n\n  \ntwo\t\nthree\n@end\n";
    let last = |count| tail(&read(text), &identity(), count).expect("a tail");
    assert_eq!(last(2), "two\nthree");
    assert_eq!(last(3), " one[1m\ntwo\nthree");
    assert_eq!(last(9), last(3));
    assert_eq!(last(0), "");
    let whole = history(&read(text), &identity()).expect("a history");
    assert_eq!(whole, " one[1m \n\n  \ntwo\nthree");
    for records in [read("@end\n"), read("@tails 0\nx\n"), Vec::new()] {
        assert!(
            matches!(tail(&records, &identity(), 3), Err(Error::Gone(pane)) if pane == identity().pane)
        );
        assert!(matches!(
            history(&records, &identity()),
            Err(Error::Gone(_))
        ));
    }
}

#[test]
fn terminals_are_devices() {
    let records = read(
        "@terminal\t/dev/pts/1\n@terminal\t\n@terminal\t/etc/x\n@terminals\t/dev/a\n@terminal\t/dev/b\n",
    );
    let found: Vec<&str> = terminals(&records).collect();
    assert_eq!(found, ["/dev/pts/1", "/dev/b"]);
}

#[test]
fn a_session_was_started_where_tmux_says_so() {
    let reply = |text: &str, failure: Option<Error>| {
        let mut reply = TmuxReply {
            records: read(text),
            failure,
            sent: true,
            ..TmuxReply::default()
        };
        reply.add_error("duplicate session");
        started(reply)
    };
    assert!(reply("@started 0\n@end\n", None).is_ok());
    // Reported before the connection ended.
    assert!(reply("@started 0\n", Some(Error::Closed)).is_ok());
    assert!(matches!(reply("@end\n", None), Err(Error::Tmux(said)) if said == "duplicate session"));
    assert!(matches!(reply("", Some(Error::Closed)), Err(Error::Closed)));
    assert!(is_done(&read("@done 0\n"), "done"));
    for text in ["@done\n", "@done x\n", "@undone 0\n", ""] {
        assert!(!is_done(&read(text), "done"), "{text:?}");
    }
}

#[test]
fn a_request_that_was_never_sent_says_why() {
    let reply = TmuxReply::unsent(Error::Closed);
    assert!(!reply.sent && reply.records.is_empty());
    assert!(matches!(reply.complete(), Err(Error::Closed)));
}

#[test]
fn each_state_of_a_pane_is_read_from_its_own_field() {
    let calm = pane();
    let states = |pane: &Pane| {
        [
            pane.dead,
            pane.in_mode,
            pane.input_off,
            pane.synchronized,
            pane.piped,
            pane.alternate,
        ]
    };
    assert_eq!(states(&calm), [false, false, false, false, false, true]);
    assert_eq!((calm.window_index, calm.pane_index), (1, 0));
    assert_eq!((calm.cursor, calm.activity), ((5, 1), 9));
    assert_eq!((calm.dead_status, calm.session_id), (None, TmuxSession(1)));
    assert_eq!(calm.tty, PathBuf::from("/dev/pts/4"));
    for place in 0..6 {
        let mut given = [false; 6];
        given[place] = true;
        let flags = given.map(|given| if given { "1" } else { "0" }).join("\t");
        let row = format!(
            "@pane\t10\t1700000000\t%3\t77\t1\t0\t{flags}\t80\t0\t5\t1\t9\t3\t/dev/pts/4\t$1\ts\tT\t{NONCE}sh\n"
        );
        let panes = panes(&read(&row), NONCE).expect("a list");
        assert_eq!(states(&panes[0]), given);
        assert_eq!(panes[0].dead_status, Some(3));
    }
}

#[test]
fn a_session_is_read_as_it_stands() {
    let row = "@session\t10 1700000000 $2 4 5 6 1 0 %3 77 8 9\t0\t\t12\t0\ts\tp\t/d\n";
    let one = |text: &str| {
        let mut sessions = sessions(&read(text)).expect("a list");
        assert_eq!(sessions.len(), 1, "{text}");
        sessions.remove(0)
    };
    let mark = Some(Mark {
        pool: "p".to_owned(),
        owner: "/d".to_owned(),
    });
    let found = one(row);
    assert_eq!((found.id.0.as_str(), found.name.as_str()), ("$2", "s"));
    assert_eq!((found.clients, found.windows, found.panes), (4, 5, 6));
    assert_eq!((&found.pane, found.cursor), (&identity(), (8, 9)));
    assert_eq!((found.dead, found.dead_status), (false, None));
    assert_eq!((found.created, found.up), (12, false));
    assert_eq!((found.shared, &found.mark), (false, &mark));

    let dead = one(&row.replacen("\t0\t\t12\t0\t", "\t1\t7\t12\t1\t", 1));
    assert_eq!(
        (dead.dead, dead.dead_status, dead.up),
        (true, Some(7), true)
    );
    // In a group; linked; both.
    for shared in [" 0 0 %3", " 1 1 %3", " 1 2 %3", " 0 1 %3"] {
        assert!(one(&row.replacen(" 1 0 %3", shared, 1)).shared, "{shared}");
    }
    // Started by somebody else, or with a name or a mark that is not ours alone.
    assert_eq!(one(&row.replacen("\tp\t/d", "\t\t", 1)).mark, None);
    assert_eq!(one(&format!("{row}more\n")).mark, None);
    // Its pane has no process.
    for wrong in [" 0 ", " -1 "] {
        let text = row.replacen(" 77 ", wrong, 1);
        assert!(
            sessions(&read(&text)).expect("a list").is_empty(),
            "{wrong}"
        );
    }
}

#[test]
fn each_request_to_type_is_told_what_became_of_itself() {
    let identity = identity();
    let wanted = RequiredPane::key(&identity);
    let told = |text: &str, index, failure: Option<Error>| {
        let mut reply = TmuxReply {
            records: read(text),
            sent: true,
            failure,
            ..TmuxReply::default()
        };
        reply.add_error("no pane");
        match typed(&reply, index, &wanted) {
            Typed::Done => "done".to_owned(),
            Typed::Refused(refusal) => format!("refused: {refusal}"),
            Typed::Unknown(error) => format!("unknown: {error}"),
        }
    };
    let mode = "10 1700000000 %3 77 0 1 0 0 5 1 0";
    let text = format!(
        "@typing 0\n@typed 0\n@refused 1 {mode}\n@refused 2 {STATE}\n@refused 3 \n@typing 4\n"
    );
    for (index, expected) in [
        "done",
        "refused: the pane is in copy mode or another tmux mode",
        "refused: tmux refused: it gave no reason",
        "refused: the pane is gone",
    ]
    .iter()
    .enumerate()
    {
        // What was reported before the connection ended holds.
        assert_eq!(told(&text, index, None), *expected);
        assert_eq!(told(&text, index, Some(Error::Closed)), *expected);
    }
    let lost = format!("unknown: {}", Error::Closed);
    assert_eq!(told(&text, 4, Some(Error::Closed)), lost);
    assert_eq!(told(&text, 5, Some(Error::Closed)), lost);
    let complained = told(&text, 4, None);
    assert!(
        complained.starts_with("unknown: ") && complained.ends_with("no pane"),
        "{complained}"
    );
    assert_eq!(told(&text, 5, None), "refused: tmux refused: no pane");
    for (failure, expected) in [
        (Error::NoServer, "the pane is gone".to_owned()),
        (Error::Closed, format!("tmux refused: {}", Error::Closed)),
    ] {
        let unsent = TmuxReply::unsent(failure);
        let Typed::Refused(refusal) = typed(&unsent, 0, &wanted) else {
            panic!("nothing was typed");
        };
        assert_eq!(refusal.to_string(), expected);
    }
}

#[test]
fn a_pane_without_a_process_is_none() {
    for pid in ["0", "-1"] {
        let row = format!(
            "@pane\t10\t1700000000\t%3\t{pid}\t1\t0\t0\t0\t0\t0\t0\t1\t80\t0\t5\t1\t9\t\t/dev/pts/4\t$1\ts\tT\t{NONCE}sh\n"
        );
        let panes = panes(&read(&row), NONCE).expect("a list");
        assert!(panes.is_empty(), "{pid}");
    }
}
