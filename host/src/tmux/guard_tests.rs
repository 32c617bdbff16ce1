//! The step that types, without a tmux: what its guard lets through, and how each answer to it is
//! read, even if it is cut off.

use super::parse::{self, TmuxReply};
use super::script::{RequiredPane, Script};
use super::world::TmuxWorld;
use super::*;

/// A request that types into a pane.
#[derive(Debug, Clone)]
enum TypingRequest {
    Line(TypedLine),
    Paste(Paste),
    Press(Keys),
    Interrupt(Identity),
}

impl TypingRequest {
    fn script(&self) -> Script {
        let mut script = Script::new();
        match self {
            Self::Line(line) => script.type_line(0, line).expect("a fit line"),
            Self::Paste(paste) => script.paste(paste),
            Self::Press(keys) => script.press(keys).expect("fit keys"),
            Self::Interrupt(identity) => script.interrupt(0, identity),
        }
        script
    }

    fn wanted(&self) -> RequiredPane<'_> {
        match self {
            Self::Line(line) => RequiredPane::typing(line),
            Self::Paste(Paste { aim, .. }) | Self::Press(Keys { aim, .. }) => {
                RequiredPane::aimed(aim)
            }
            Self::Interrupt(identity) => RequiredPane::key(identity),
        }
    }

    /// Whether this request does not depend on that variable.
    fn ignores(&self, name: &str) -> bool {
        match (name, self) {
            ("#{cursor_x}" | "#{cursor_y}", request) => matches!(request, Self::Interrupt(_)),
            ("#{pane_pipe}", Self::Line(line)) => line.output == PaneOutput::AsItIs,
            ("#{pane_current_command}", Self::Paste(Paste { aim, .. }))
            | ("#{pane_current_command}", Self::Press(Keys { aim, .. })) => {
                aim.command.as_deref() != Some("claude")
            }
            ("#{pane_pipe}" | "#{pane_current_command}", _) => true,
            _ => false,
        }
    }

    /// Returns its outcome in such a world, and what was done there.
    fn outcome(&self, mut world: TmuxWorld) -> (Typed, Vec<String>) {
        let script = self.script();
        world.carry_out(&script);
        let typed = parse::typed(&world.reply(&script), 0, &self.wanted());
        let nonce = script.nonce();
        let done = world.done.iter();
        (
            typed,
            done.map(|done| done.replace(nonce, "NONCE")).collect(),
        )
    }
}

fn identity() -> Identity {
    Identity {
        node: Default::default(),
        server_pid: 10,
        server_start: 1_700_000_000,
        pane: PaneId::parse("%3").expect("an id"),
        pane_pid: 77,
    }
}

fn aim(command: Option<&str>) -> Aim {
    Aim {
        identity: identity(),
        cursor: (5, 6),
        command: command.map(str::to_owned),
    }
}

fn requests() -> Vec<TypingRequest> {
    let line = |pipe: Option<&str>| {
        TypingRequest::Line(TypedLine {
            key: None,
            identity: identity(),
            cursor: (5, 6),
            text: ". it's".to_owned(),
            output: pipe.map_or(PaneOutput::AsItIs, |program| {
                PaneOutput::To(Pipe {
                    argv: vec![program.to_owned()],
                })
            }),
        })
    };
    let paste = |command| {
        TypingRequest::Paste(Paste {
            aim: aim(command),
            text: "a\t\"$prompt\"\n~".to_owned(),
        })
    };
    let press = |literal: &str, names: &[&str]| {
        TypingRequest::Press(Keys {
            aim: aim(Some("claude")),
            literal: literal.to_owned(),
            names: names.iter().map(|&name| name.to_owned()).collect(),
        })
    };
    vec![
        line(None),
        line(Some("/bin/cat")),
        paste(Some("claude")),
        paste(None),
        // A name that could mean something in a format is not compared.
        paste(Some("a,b}")),
        paste(Some("")),
        press("y", &[]),
        press("", &["Enter"]),
        press("a;", &["Escape", "C-u"]),
        TypingRequest::Interrupt(identity()),
    ]
}

/// Every way in which a pane may have changed, most important first.
fn changes() -> Vec<(&'static str, &'static str, Refusal)> {
    vec![
        ("#{pid}", "11", Refusal::Gone),
        ("#{start_time}", "1700000001", Refusal::Gone),
        ("#{pane_id}", "%4", Refusal::Gone),
        ("#{pane_pid}", "78", Refusal::Respawned),
        ("#{pane_dead}", "1", Refusal::Dead),
        // The number of modes on top of each other.
        ("#{pane_in_mode}", "1", Refusal::Mode),
        ("#{pane_in_mode}", "2", Refusal::Mode),
        ("#{pane_in_mode}", "10", Refusal::Mode),
        ("#{pane_input_off}", "1", Refusal::InputOff),
        ("#{pane_synchronized}", "1", Refusal::Synchronized),
        ("#{cursor_x}", "4", Refusal::CursorMoved),
        ("#{cursor_y}", "7", Refusal::CursorMoved),
        ("#{pane_pipe}", "1", Refusal::Piped),
        ("#{pane_current_command}", "vim", Refusal::OtherProgram),
    ]
}

/// Whether nothing but a buffer of our own was touched.
fn is_untouched(done: &[String]) -> bool {
    done.iter().all(|done| done == "delete-buffer -b NONCE-0")
}

#[test]
fn whatever_stands_otherwise_is_refused_and_nothing_is_done() {
    for request in requests() {
        let (typed, _) = request.outcome(TmuxWorld::new());
        assert!(matches!(typed, Typed::Done), "{request:?}: {typed:?}");
        for (name, value, refusal) in changes() {
            let (typed, done) = request.outcome(TmuxWorld::new().with(name, value));
            match typed {
                Typed::Done if request.ignores(name) => {}
                Typed::Refused(refused) if !request.ignores(name) => {
                    assert_eq!(refused, refusal, "{name} {value}: {request:?}");
                    assert!(is_untouched(&done), "{name} {value}: {done:?}");
                }
                typed => panic!("{name} {value}: {request:?}: {typed:?}"),
            }
        }
    }
}

/// A line for which a pipe that is open is needed is typed only while one is.
#[test]
fn a_pipe_that_must_be_open_is_open() {
    let line = match &requests()[0] {
        TypingRequest::Line(line) => TypedLine {
            output: PaneOutput::Piped,
            ..line.clone()
        },
        request => panic!("{request:?}"),
    };
    let request = TypingRequest::Line(line);
    let (typed, done) = request.outcome(TmuxWorld::new());
    assert!(
        matches!(typed, Typed::Refused(Refusal::Unpiped)),
        "{typed:?}"
    );
    assert!(is_untouched(&done), "{done:?}");
    let (typed, done) = request.outcome(TmuxWorld::new().with("#{pane_pipe}", "1"));
    assert!(matches!(typed, Typed::Done), "{typed:?}");
    assert!(
        !done.iter().any(|done| done.starts_with("pipe-pane")),
        "{done:?}"
    );
}

#[test]
fn of_several_reasons_the_most_weighty_is_told() {
    let changes = changes();
    for request in requests() {
        for (index, (name, value, refusal)) in changes.iter().enumerate() {
            for (other, less, _) in &changes[index + 1..] {
                if name == other || request.ignores(name) {
                    continue;
                }
                let world = TmuxWorld::new().with(name, value).with(other, less);
                let (typed, _) = request.outcome(world);
                assert!(
                    matches!(&typed, Typed::Refused(refused) if refused == refusal),
                    "{name} and {other}: {request:?}: {typed:?}"
                );
            }
        }
    }
}

#[test]
fn what_is_done_is_what_was_asked_for_and_no_more() {
    let line = [
        "set-buffer -b NONCE-0 -- . it's",
        "paste-buffer -p -r -d -b NONCE-0 -t %3",
        "send-keys -t %3 Enter",
    ];
    let paste = [
        "set-buffer -b NONCE-0 -- a\t\"$prompt\"\n~",
        "paste-buffer -p -r -d -b NONCE-0 -t %3",
        "delete-buffer -b NONCE-0",
    ];
    let piped = [&["pipe-pane -O -t %3 exec /bin/cat"][..], &line].concat();
    let expected: [&[&str]; 10] = [
        &line,
        &piped,
        &paste,
        &paste,
        &paste,
        &paste,
        &["send-keys -t %3 -l -- y"],
        &["send-keys -t %3 Enter"],
        &["send-keys -t %3 -l -- a\\;", "send-keys -t %3 Escape C-u"],
        &["send-keys -t %3 C-c"],
    ];
    for (request, expected) in requests().into_iter().zip(expected) {
        let (_, done) = request.outcome(TmuxWorld::new());
        assert_eq!(done, expected, "{request:?}");
    }
}

/// Once typing may have begun, an answer that is cut off proves nothing. The same holds before
/// that, because the rest of the request may have been carried out without our knowledge.
#[test]
fn of_a_cut_answer_only_what_it_says_is_believed() {
    let mut worlds = vec![TmuxWorld::new()];
    worlds.extend(
        changes()
            .into_iter()
            .map(|(name, value, _)| TmuxWorld::new().with(name, value)),
    );
    for (request, mut world) in requests().into_iter().flat_map(|request| {
        worlds
            .iter()
            .map(move |world| (request.clone(), world.clone()))
    }) {
        let script = request.script();
        world.carry_out(&script);
        for end in 0..=world.printed.len() {
            let heard = &world.printed[..end];
            let whole = heard.rfind('\n').map_or("", |end| &heard[..end]);
            for failure in [Error::Closed, Error::TimedOut(Duration::from_secs(2))] {
                let reply = TmuxReply {
                    records: parse::records(heard.as_bytes(), script.nonce()).0,
                    sent: true,
                    failure: Some(failure),
                    ..TmuxReply::default()
                };
                let typed = parse::typed(&reply, 0, &request.wanted());
                let as_heard = match &typed {
                    Typed::Done => whole.contains(" typed 0"),
                    Typed::Refused(_) => whole.contains(" refused 0 "),
                    Typed::Unknown(error) => {
                        !whole.contains(" typed 0")
                            && !whole.contains(" refused 0 ")
                            && error.to_string().starts_with("get an answer from tmux")
                    }
                };
                assert!(as_heard, "{heard:?}: {typed:?}");
            }
        }
    }
}

/// tmux ends a list of commands at the first that fails, and continues after the list.
#[test]
fn a_command_that_fails_before_the_typing_is_a_refusal_and_after_it_is_not() {
    for request in requests() {
        for failing in ["pipe-pane", "set-buffer", "paste-buffer", "send-keys"] {
            let mut world = TmuxWorld::new();
            world.failing = Some(failing);
            let (whole, steps) = request.outcome(TmuxWorld::new());
            assert!(matches!(whole, Typed::Done));
            let (typed, done) = request.outcome(world);
            let concerned = steps.iter().any(|step| step.starts_with(failing));
            let is_before = match request {
                TypingRequest::Paste(_) => failing == "set-buffer",
                _ => failing == "pipe-pane",
            };
            match typed {
                Typed::Done => assert!(!concerned, "{failing}: {request:?}"),
                Typed::Refused(Refusal::Tmux(said)) => {
                    assert!(is_before, "{failing}: {request:?}");
                    assert_eq!(said, format!("{failing} failed"));
                    assert!(is_untouched(&done), "{done:?}");
                }
                Typed::Unknown(Error::Tmux(said)) => {
                    assert!(concerned && !is_before, "{failing}");
                    assert_eq!(said, format!("{failing} failed"));
                }
                typed => panic!("{failing}: {request:?}: {typed:?}"),
            }
        }
    }
}

#[test]
fn what_was_never_sent_was_not_typed() {
    let request = &requests()[0];
    for (failure, refusal) in [
        (None, Refusal::Gone),
        (Some(Error::NoServer), Refusal::Gone),
        (
            Some(Error::Closed),
            Refusal::Tmux(Error::Closed.to_string()),
        ),
    ] {
        let reply = TmuxReply {
            failure,
            ..TmuxReply::default()
        };
        match parse::typed(&reply, 0, &request.wanted()) {
            Typed::Refused(refused) => assert_eq!(refused, refusal),
            typed => panic!("{typed:?}"),
        }
    }
    let reply = TmuxReply::unsent(Error::Closed);
    assert!(!reply.sent && reply.records.is_empty());
}

/// A batch's answer for one pane says nothing about another.
#[test]
fn each_line_of_a_batch_has_an_outcome_of_its_own() {
    let script = Script::new();
    let nonce = script.nonce();
    let state = "10 1700000000 %3 77 0 0 0 0 9 9 0";
    let heard = format!(
        "{nonce} typing 0\n{nonce} typed 0\n{nonce} refused 1 {state}\n{nonce} refused 2\n\
         {nonce} typing 3\n{nonce} refused 4 10 1700000000 %3 77 0 0 0 0 5 6 0\n{nonce} typing 10\n\
         {nonce} typed 1"
    );
    let outcomes = |failure: Option<Error>| -> Vec<String> {
        let mut reply = TmuxReply {
            records: parse::records(heard.as_bytes(), nonce).0,
            sent: true,
            failure,
            ..TmuxReply::default()
        };
        reply.add_error("bad\x1b\n");
        let TypingRequest::Line(line) = &requests()[0] else {
            panic!("a line");
        };
        let wanted = RequiredPane::typing(line);
        (0..6)
            .map(|index| match parse::typed(&reply, index, &wanted) {
                Typed::Done => "done".to_owned(),
                Typed::Refused(refusal) => format!("refused: {refusal}"),
                Typed::Unknown(error) => format!("unknown: {error}"),
            })
            .collect()
    };
    let refused = |reason: &str| format!("refused: {reason}");
    let moved = refused("the cursor has moved since the pane was read");
    let told = [
        "done".to_owned(),
        moved,
        refused("the pane is gone"),
        "unknown: use tmux: bad".to_owned(),
        refused("tmux refused: it gave no reason"),
        refused("tmux refused: bad"),
    ];
    assert_eq!(outcomes(None), told);
    let closed = format!("unknown: {}", Error::Closed);
    let [done, moved, gone, _, odd, _] = told;
    let told = [done, moved, gone, closed.clone(), odd, closed];
    assert_eq!(outcomes(Some(Error::Closed)), told);
}

#[test]
fn a_pane_is_read_and_its_pipe_closed_only_where_it_is_the_same() {
    for (name, value) in [
        ("#{pid}", "11"),
        ("#{start_time}", "1"),
        ("#{pane_id}", "%4"),
        ("#{pane_pid}", "78"),
        // Does not matter: a dead pane is read, too.
        ("#{pane_dead}", "1"),
        ("#{pane_in_mode}", "2"),
        ("#{cursor_x}", "9"),
    ] {
        let same = ["#{pane_dead}", "#{pane_in_mode}", "#{cursor_x}"].contains(&name);
        let mut world = TmuxWorld::new().with(name, value);
        let mut script = Script::new();
        script.close_pipe(&identity());
        script.tail(&identity(), 7);
        world.carry_out(&script);
        let expected: &[&str] = if same {
            &["pipe-pane -t %3", "capture-pane -p -J -t %3 -S -7"]
        } else {
            &[]
        };
        assert_eq!(world.done, expected, "{name}");
        let answered = parse::is_done(&world.reply(&script).records, "tail");
        assert_eq!(answered, same, "{name}");
    }
}

#[test]
fn a_session_is_ended_and_marked_only_as_it_was_listed() {
    let session = Session {
        id: SessionId("$2".to_owned()),
        name: "p-1".to_owned(),
        clients: 0,
        windows: 1,
        panes: 1,
        shared: false,
        pane: identity(),
        cursor: (5, 6),
        dead: false,
        dead_status: None,
        created: 0,
        mark: None,
        up: false,
    };
    let done_in = |world: &TmuxWorld, put: fn(&mut Script, &Session)| {
        let mut world = world.clone();
        let mut script = Script::new();
        put(&mut script, &session);
        world.carry_out(&script);
        let told = parse::is_done(&world.reply(&script).records, "done");
        assert_eq!(told, !world.done.is_empty());
        world.done
    };
    assert_eq!(
        done_in(&TmuxWorld::new(), Script::end_session),
        ["kill-session -t $2"]
    );
    assert_eq!(
        done_in(&TmuxWorld::new(), Script::mark_up),
        ["set-option -t $2 @assigner_pool_up 1"]
    );
    for (name, value) in [
        ("#{pid}", "11"),
        ("#{start_time}", "1"),
        ("#{session_id}", "$3"),
        ("#{session_attached}", "1"),
        ("#{session_windows}", "2"),
        ("#{window_panes}", "2"),
        ("#{?session_grouped,#{session_group_size},1}", "2"),
        ("#{?window_linked,1,0}", "1"),
        ("#{pane_id}", "%4"),
        ("#{pane_pid}", "78"),
        ("#{cursor_x}", "4"),
        ("#{cursor_y}", "7"),
    ] {
        let world = TmuxWorld::new().with(name, value);
        assert!(done_in(&world, Script::end_session).is_empty(), "{name}");
        let same = !["#{pid}", "#{start_time}", "#{session_id}"].contains(&name);
        assert_eq!(!done_in(&world, Script::mark_up).is_empty(), same, "{name}");
    }
}
