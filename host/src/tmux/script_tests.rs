//! The text of requests, and that an answer is read in the form in which it was requested.

use super::parse;
use super::script::{END, MAX_LINE, MAX_PIPE, PaneState, RequiredPane, Script};
use super::world::TmuxWorld;
use super::*;

fn identity() -> Identity {
    Identity {
        node: Default::default(),
        server_pid: 10,
        server_start: 1_700_000_000,
        pane: PaneId::parse("%3").expect("an id"),
        pane_pid: 77,
    }
}

/// A pane in which no two values are equal.
fn pane() -> Pane {
    Pane {
        identity: identity(),
        session: "work".to_owned(),
        session_id: TmuxSession(2),
        further: Vec::new(),
        window_index: 21,
        pane_index: 22,
        tty: "/dev/pts/4".into(),
        dead: false,
        in_mode: false,
        input_off: false,
        synchronized: false,
        piped: false,
        alternate: false,
        width: 80,
        attached: false,
        cursor: (5, 6),
        watched_until: None,
        activity: 1_700_000_009,
        dead_status: None,
        command: "claude".to_owned(),
        title: "a title".to_owned(),
    }
}

fn world() -> TmuxWorld {
    let mut world = TmuxWorld::new();
    world.variables.extend(
        [
            ("#{version}", "3.3a"),
            ("#{socket_path}", "/tmp/tmux-0/default"),
            ("#{window_index}", "21"),
            ("#{pane_index}", "22"),
            ("#{alternate_on}", "0"),
            ("#{pane_width}", "80"),
            ("#{?session_last_attached,1,0}", "0"),
            ("#{window_activity}", "1700000009"),
            ("#{pane_dead_status}", ""),
            ("#{pane_tty}", "/dev/pts/4"),
            ("#{session_name}", "work"),
            ("#{pane_title}", "a title"),
            ("#{client_activity}", "1700000005"),
            ("#{client_tty}", "/dev/pts/9"),
            ("#{session_created}", "1700000001"),
            ("#{?@assigner_pool_up,1,0}", "0"),
            ("#{@assigner_pool}", "codex"),
            ("#{@assigner_pool_of}", "/data"),
        ]
        .map(|(name, value)| (name, value.to_owned())),
    );
    world
}

/// Returns the panes listed in such a world.
fn listed(mut world: TmuxWorld) -> Vec<Pane> {
    let mut script = Script::new();
    script.panes();
    world.carry_out(&script);
    let records = world.reply(&script).records;
    parse::panes(&records, script.nonce()).expect("a list")
}

#[test]
fn each_field_of_a_pane_is_read_where_it_was_asked_for() {
    let mut seen = pane();
    seen.watched_until = Some(1_700_000_005);
    assert_eq!(listed(world()), std::slice::from_ref(&seen));
    type PaneChange = (&'static str, &'static str, fn(&mut Pane));
    let changes: [PaneChange; 22] = [
        ("#{pid}", "11", |pane| pane.identity.server_pid = 11),
        ("#{start_time}", "12", |pane| {
            pane.identity.server_start = 12;
        }),
        ("#{pane_pid}", "78", |pane| pane.identity.pane_pid = 78),
        ("#{window_index}", "1", |pane| pane.window_index = 1),
        ("#{pane_index}", "2", |pane| pane.pane_index = 2),
        ("#{pane_dead}", "1", |pane| pane.dead = true),
        ("#{pane_in_mode}", "1", |pane| pane.in_mode = true),
        ("#{pane_in_mode}", "2", |pane| pane.in_mode = true),
        ("#{pane_input_off}", "1", |pane| pane.input_off = true),
        ("#{pane_synchronized}", "1", |pane| pane.synchronized = true),
        ("#{pane_pipe}", "1", |pane| pane.piped = true),
        ("#{alternate_on}", "1", |pane| pane.alternate = true),
        ("#{pane_width}", "132", |pane| pane.width = 132),
        ("#{?session_last_attached,1,0}", "1", |pane| {
            pane.attached = true;
        }),
        ("#{cursor_x}", "7", |pane| pane.cursor.0 = 7),
        ("#{cursor_y}", "8", |pane| pane.cursor.1 = 8),
        ("#{window_activity}", "9", |pane| pane.activity = 9),
        ("#{pane_dead_status}", "3", |pane| {
            pane.dead_status = Some(3);
        }),
        ("#{pane_tty}", "/dev/x", |pane| pane.tty = "/dev/x".into()),
        ("#{session_name}", "s", |pane| {
            "s".clone_into(&mut pane.session);
        }),
        ("#{pane_title}", "t\tu", |pane| {
            "t\tu".clone_into(&mut pane.title);
        }),
        ("#{pane_current_command}", "a\tb\nc", |pane| {
            "a\tb\nc".clone_into(&mut pane.command);
        }),
    ];
    for (name, value, change) in changes {
        let mut expected = seen.clone();
        change(&mut expected);
        let found = listed(world().with(name, value));
        assert_eq!(found, [expected], "{name} {value}");
    }
    // A client is in another pane; a pane without a process is not listed.
    let other = listed(world().with("#{pane_id}", "%8"));
    assert_eq!(other[0].identity.pane.as_str(), "%8");
    for pid in ["0", "-1"] {
        assert!(listed(world().with("#{pane_pid}", pid)).is_empty());
    }
}

#[test]
fn a_server_is_asked_what_it_is() {
    let (mut world, mut script) = (world(), Script::new());
    script.panes();
    world.carry_out(&script);
    let records = world.reply(&script).records;
    let path = std::path::Path::new("/tmp/tmux-0/default");
    assert_eq!(parse::server(&records), Some(("3.3a", path)));
}

#[test]
fn each_field_of_a_session_is_read_where_it_was_asked_for() {
    let listed = |mut world: TmuxWorld| {
        let mut script = Script::new();
        script.sessions();
        world.carry_out(&script);
        parse::sessions(&world.reply(&script).records).expect("a list")
    };
    let seen = Session {
        id: SessionId("$2".to_owned()),
        name: "work".to_owned(),
        clients: 0,
        windows: 1,
        panes: 1,
        shared: false,
        pane: identity(),
        cursor: (5, 6),
        dead: false,
        dead_status: None,
        created: 1_700_000_001,
        mark: Some(Mark {
            pool: "codex".to_owned(),
            owner: "/data".to_owned(),
        }),
        up: false,
    };
    assert_eq!(listed(world()), std::slice::from_ref(&seen));
    assert!(seen.is_alone());
    type SessionChange = (&'static str, &'static str, bool, fn(&mut Session));
    let changes: [SessionChange; 17] = [
        ("#{pid}", "11", true, |it| it.pane.server_pid = 11),
        ("#{start_time}", "12", true, |it| it.pane.server_start = 12),
        ("#{session_id}", "$40", true, |it| {
            it.id.0 = "$40".to_owned();
        }),
        ("#{session_attached}", "1", false, |it| it.clients = 1),
        ("#{session_windows}", "2", false, |it| it.windows = 2),
        ("#{window_panes}", "3", false, |it| it.panes = 3),
        (
            "#{?session_grouped,#{session_group_size},1}",
            "2",
            false,
            |it| {
                it.shared = true;
            },
        ),
        ("#{?window_linked,1,0}", "1", false, |it| it.shared = true),
        ("#{pane_pid}", "78", true, |it| it.pane.pane_pid = 78),
        ("#{cursor_x}", "7", true, |it| it.cursor.0 = 7),
        ("#{cursor_y}", "8", true, |it| it.cursor.1 = 8),
        ("#{pane_dead}", "1", true, |it| it.dead = true),
        ("#{pane_dead_status}", "3", true, |it| {
            it.dead_status = Some(3);
        }),
        ("#{session_created}", "9", true, |it| it.created = 9),
        ("#{?@assigner_pool_up,1,0}", "1", true, |it| it.up = true),
        ("#{@assigner_pool}", "", true, |it| it.mark = None),
        // A mark with a second line is not ours.
        ("#{@assigner_pool_of}", "/da\nta", true, |it| it.mark = None),
    ];
    for (name, value, alone, change) in changes {
        let mut expected = seen.clone();
        change(&mut expected);
        assert_eq!(
            listed(world().with(name, value)),
            [expected.clone()],
            "{name}"
        );
        assert_eq!(expected.is_alone(), alone, "{name}");
    }
    let tabs = listed(world().with("#{@assigner_pool_of}", "/a\tb"));
    assert_eq!(tabs[0].mark.as_ref().expect("a mark").owner, "/a\tb");
    for pid in ["0", "-1"] {
        assert!(listed(world().with("#{pane_pid}", pid)).is_empty());
    }
}

#[test]
fn each_field_of_a_state_is_read() {
    let text = "10 1700000000 %3 77 0 0 0 0 5 6 0";
    let state = PaneState::parse(text).expect("a state");
    assert!(state.is_of(&identity()) && state.still(&pane()));
    let fields: Vec<&str> = text.split(' ').collect();
    let with = |index: usize, value: &str| {
        let mut fields = fields.clone();
        fields[index] = value;
        PaneState::parse(&fields.join(" "))
    };
    for index in 0..4 {
        let value = if index == 2 { "%4" } else { "5" };
        let other = with(index, value).expect("a state");
        assert!(
            !other.is_of(&identity()) && !other.still(&pane()),
            "{index}"
        );
    }
    let flag = |index: usize, value: &str| {
        let state = with(index, value).expect("a state");
        assert!(state.is_of(&identity()) && state.still(&pane()));
        [
            state.dead,
            state.in_mode,
            state.input_off,
            state.synchronized,
            state.piped,
        ]
    };
    for (place, index) in [4, 5, 6, 7, 10].into_iter().enumerate() {
        for value in ["1", "2", "10"] {
            let mut expected = [false; 5];
            expected[place] = true;
            assert_eq!(flag(index, value), expected, "{index} {value}");
        }
        assert_eq!(flag(index, "0"), [false; 5]);
    }
    for (index, cursor) in [(8, (9, 6)), (9, (5, 9))] {
        let moved = with(index, "9").expect("a state");
        assert_eq!(moved.cursor, cursor);
        assert!(moved.is_of(&identity()) && !moved.still(&pane()));
    }
    for end in 0..fields.len() {
        assert_eq!(PaneState::parse(&fields[..end].join(" ")), None, "{end}");
    }
    assert_eq!(PaneState::parse(&format!("{text} 0")), None);
    // tmux prints nothing about a pane that does not exist.
    assert_eq!(PaneState::parse("10 1700000000       "), None);
}

#[test]
fn a_request_that_reads_asks_for_what_is_read() {
    let mut script = Script::new();
    script.cursor_line(3, &pane());
    script.screen(4, &identity());
    script.terminals();
    let nonce = script.nonce().to_owned();
    let mut world = world();
    world.carry_out(&script);
    assert_eq!(
        world.done,
        [
            "capture-pane -p -t %3 -S 0 -E 10",
            "capture-pane -p -e -t %3"
        ]
    );
    let state = "10 1700000000 %3 77 0 0 0 0 5 6 0";
    assert_eq!(
        world.printed,
        format!(
            "{nonce} cursor 3 {state}\n{nonce} screen 4 1 {state}\n\
             {nonce} terminal\t/dev/pts/9\n{nonce} {END}\n"
        )
    );
    assert_ne!(Script::new().nonce(), nonce);
    assert_eq!(nonce.len(), "assigner-".len() + 32);
}

/// A session with texts at the limits of what is allowed.
fn session() -> NewSession {
    NewSession {
        name: "p-1_A".to_owned(),
        directory: "/srv/#it's".to_owned(),
        command: vec!["sh".to_owned(), "-c".to_owned(), "a; b".to_owned()],
        variables: [("A".to_owned(), "b c".to_owned())].into(),
        mark: Mark {
            pool: "p_1-B".to_owned(),
            owner: "/data".to_owned(),
        },
    }
}

#[test]
fn a_session_is_started_in_one_step_with_its_mark() {
    let mut script = Script::new();
    script.start_session(&session()).expect("fit");
    let mut world = TmuxWorld::new();
    world.carry_out(&script);
    let nonce = script.nonce();
    let new = format!(
        "new-session -d -E -x 160 -y 48 -P -F {nonce} started 0 -s p-1_A -c /srv/##it's -e A=b c \
         -- sh -c a; b"
    );
    let expected = [
        new.as_str(),
        "set-option -t =p-1_A: @assigner_pool p_1-B",
        "set-option -t =p-1_A: @assigner_pool_of /data",
        "set-option -t =p-1_A: destroy-unattached off",
        "set-option -w -t =p-1_A: remain-on-exit on",
    ];
    assert_eq!(world.done, expected);
    assert_eq!(script.finish().lines().count(), 2, "one step");
}

#[test]
fn a_session_that_cannot_be_told_to_tmux_is_refused() {
    type NewSessionChange = (&'static str, fn(&mut NewSession));
    let long = |length: usize| "x".repeat(length);
    let changes: [NewSessionChange; 15] = [
        ("the name", |it| it.name.clear()),
        ("the name", |it| it.name = "a.b".to_owned()),
        ("the name", |it| it.name = "a:b".to_owned()),
        ("the name", |it| it.name = "é".to_owned()),
        ("the name", |it| it.mark.pool.clear()),
        ("the name", |it| it.mark.pool = "a b".to_owned()),
        ("the directory", |it| it.directory = "srv".to_owned()),
        ("the directory", |it| it.directory.clear()),
        ("a control character", |it| it.directory.push('\n')),
        ("a control character", |it| it.mark.owner.push('\x1b')),
        ("a control character", |it| it.command[2].push('\t')),
        ("a control character", |it| {
            it.variables.insert("B".to_owned(), "\u{9b}".to_owned());
        }),
        ("a control character", |it| {
            it.variables.insert("B\n".to_owned(), String::new());
        }),
        ("the command", |it| it.command.clear()),
        ("the command", |it| it.command.push("x".repeat(64 << 10))),
    ];
    for (what, change) in changes {
        let mut new = session();
        change(&mut new);
        let mut script = Script::new();
        let empty = script.finish();
        let error = script.start_session(&new).expect_err(what);
        let said = format!("use tmux: {what} of the new session is not allowed");
        assert_eq!(error.to_string(), said);
        assert_eq!(script.finish(), empty, "nothing was added");
    }
    // All texts together, to the byte.
    let mut new = session();
    let others = new.directory.len() + new.mark.owner.len() + "A=b c".len();
    for (length, fits) in [
        ((64 << 10) - others, true),
        ((64 << 10) - others + 1, false),
    ] {
        new.command = vec![long(length)];
        assert_eq!(Script::new().start_session(&new).is_ok(), fits, "{length}");
    }
}

#[test]
fn keys_that_tmux_could_take_for_something_else_are_refused() {
    let press = |literal: &str, names: &[&str]| {
        let keys = Keys {
            aim: Aim {
                identity: identity(),
                cursor: (0, 0),
                command: None,
            },
            literal: literal.to_owned(),
            names: names.iter().map(|&name| name.to_owned()).collect(),
        };
        let mut script = Script::new();
        let empty = script.finish();
        let refused = script.press(&keys).err().map(|refusal| refusal.to_string());
        assert_eq!(refused.is_some(), script.finish() == empty);
        refused
    };
    let name = Some("that is not a tmux key name".to_owned());
    let much = Some("there is nothing to type, or too much".to_owned());
    for (literal, names, expected) in [
        ("", &["Enter"][..], &None),
        ("", &["M-x", "F12"], &None),
        ("a ; b é", &[], &None),
        ("", &[], &much),
        (&"x".repeat(MAX_LINE), &[], &None),
        (&"x".repeat(MAX_LINE + 1), &[], &much),
        (&"x".repeat(MAX_LINE + 1), &["Enter"], &much),
        ("a\n", &[], &name),
        ("\x1b", &["Enter"], &name),
        ("", &["Enter", ""], &name),
        ("", &["-l"], &name),
        ("", &["a b"], &name),
        ("", &["a;"], &name),
        ("", &["{"], &name),
        ("", &["é"], &name),
    ] {
        assert_eq!(press(literal, names), *expected, "{literal:?} {names:?}");
    }
}

#[test]
fn a_pipe_is_taken_to_the_byte() {
    let piped = |argv: &[&str]| {
        let line = TypedLine {
            key: None,
            identity: identity(),
            cursor: (0, 0),
            text: "a".to_owned(),
            output: PaneOutput::To(Pipe {
                argv: argv.iter().map(|&word| word.to_owned()).collect(),
            }),
        };
        Script::new().type_line(0, &line).err()
    };
    let half = "x".repeat(MAX_PIPE / 2);
    assert_eq!(piped(&[&half, &half]), None);
    let long = Some(Refusal::Unfit("the pipe has no program or is too long"));
    assert_eq!(piped(&[&half, &half, "x"]), long);
    assert_eq!(piped(&[]), long);
    let control = Some(Refusal::Unfit("the pipe has a control character"));
    assert_eq!(piped(&["cat", "\x07"]), control);
}

#[test]
fn a_name_that_could_mean_something_in_a_format_is_not_compared() {
    let state = PaneState::parse("10 1700000000 %3 77 0 0 0 0 5 6 0").expect("a state");
    for (name, compared) in [
        (Some("node-20_x.y"), true),
        (Some(""), false),
        (Some("a b"), false),
        (Some("a#{pid}"), false),
        (Some("a,b"), false),
        (Some("é"), false),
        (None, false),
    ] {
        let aim = Aim {
            identity: identity(),
            cursor: (5, 6),
            command: name.map(str::to_owned),
        };
        let refusal = RequiredPane::aimed(&aim).refusal(&state);
        assert_eq!(refusal.is_some(), compared, "{name:?}");
    }
}
