//! The screens of `top` and its keys, without a terminal and without a queue of a daemon.

mod meanwhile;

use std::collections::BTreeMap;

use jiff::Timestamp;
use proptest::prelude::*;
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::acts::{Choice, OwnCommand, TopAct};
use super::draw::{TopLook, draw, keys_of};
use super::fields::LONGEST;
use super::fleet::{Fleet, TaskFacts};
use super::page::shortened_path;
use super::plain;
use super::state::{Mode, TopSection, TopState};
use crate::model::attempt::{Attempt, NamedRanking, Phase};
use crate::model::eligibility::Admission;
use crate::model::ids::{AttemptId, Identity, NodeName, PaneId, TaskId};
use crate::model::matching::{PolicyId, Term};
use crate::model::session::Activity;
use crate::model::task::{NewTask, Status, Task};
use crate::store::SessionRow;

const NOW: i64 = 1_800_000_000;

fn at(seconds_ago: i64) -> Timestamp {
    Timestamp::from_second(NOW - seconds_ago).expect("a time")
}

/// A task, and what becomes of it.
type MadeTask = (NewTask, fn(&mut Task));

/// Returns tasks with the numbers from 1 on, each changed by its function.
fn tasks(made: Vec<MadeTask>) -> Vec<Task> {
    let numbered = (1..).zip(made);
    numbered
        .map(|(number, (new, change))| {
            let mut task = Task::queued(TaskId(number), &new, at(3_700));
            change(&mut task);
            task
        })
        .collect()
}

fn session(name: &str, pane: u32, activity: Activity) -> SessionRow {
    SessionRow {
        name: name.to_owned(),
        identity: Identity {
            node: NodeName::default(),
            server_pid: 1,
            server_start: 1,
            pane: PaneId::parse(&format!("%{pane}")).expect("a pane"),
            pane_pid: pane,
        },
        activity,
        reason: None,
        since: at(190),
        provider: "shell".to_owned(),
        current_dir: Some("/home/ada/work/a-rather-long-name/api".to_owned()),
        git_branch: Some("main".to_owned()),
        repository: None,
        shell: None,
        env: BTreeMap::new(),
        current_task: None,
        completed: 3,
        failed: 1,
        context_at: at(190),
        admission: Admission::Open,
        paused: false,
        labels: BTreeMap::new(),
        homes: Vec::new(),
    }
}

fn fleet() -> Fleet {
    let all = tasks(vec![
        (NewTask::prompt("shall the old endpoint go?"), |task| {
            task.status = Status::WaitingInput;
            task.asks = Some("Do you want to run `rm -r old`?".to_owned());
            task.session = Some("claude".to_owned());
            task.assigned_at = Some(at(75));
        }),
        (NewTask::command("make test"), |task| {
            task.status = Status::InProgress;
            task.session = Some("api".to_owned());
            task.assigned_at = Some(at(30));
        }),
        (NewTask::command("make lint"), |task| {
            task.wait_reason = Some("no session is on branch release".to_owned());
        }),
        (
            NewTask::command("printf '\u{1b}[31m漢字\u{202e}'"),
            |task| {
                task.priority = 5;
            },
        ),
        (NewTask::command("make docs"), |task| {
            task.status = Status::Failed;
            task.exit_code = Some(2);
            task.session = Some("web".to_owned());
            task.completed_at = Some(at(600));
        }),
    ]);
    let mut busy = session("api", 1, Activity::Busy);
    busy.current_task = Some(all[1].id);
    let mut agent = session("claude", 2, Activity::WaitingInput);
    agent.provider = "claude".to_owned();
    agent.reason = Some("it asks".to_owned());
    let mut queue: Vec<Task> = all[1..4].to_vec();
    queue.sort_by_key(|task| {
        (
            task.status == Status::Pending,
            std::cmp::Reverse(task.priority),
        )
    });
    Fleet {
        at: at(0),
        daemon: Some(None),
        open: BTreeMap::from([
            (Status::Pending, 2),
            (Status::InProgress, 1),
            (Status::WaitingInput, 1),
        ]),
        asking: vec![all[0].clone()],
        sessions: vec![agent, busy, session("web", 3, Activity::Idle)],
        queue,
        ended: vec![(all[4].clone(), "no rule to make target".to_owned())],
    }
}

fn look(colors: bool) -> TopLook {
    TopLook {
        colors,
        home: Some("/home/ada".to_owned()),
    }
}

/// Returns what is on a screen of this size, row by row.
fn screen(state: &mut TopState, fleet: &Fleet, width: u16, height: u16) -> Vec<String> {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).expect("a terminal");
    terminal
        .draw(|frame| draw(frame, state, fleet, at(0), &look(false)))
        .expect("drawn");
    let buffer = terminal.backend().buffer();
    let rows = (0..height).map(|y| {
        let mut skip = 0;
        let cells = (0..width).filter_map(|x| {
            let symbol = buffer[(x, y)].symbol();
            // The cell after a wide character belongs to it.
            if std::mem::take(&mut skip) > 0 {
                return None;
            }
            skip = unicode_width::UnicodeWidthStr::width(symbol).saturating_sub(1);
            Some(symbol.to_owned())
        });
        let row: String = cells.collect();
        row.trim_end().to_owned()
    });
    rows.collect()
}

fn press(state: &mut TopState, fleet: &Fleet, keys: &str) -> Vec<TopAct> {
    let mut acts = Vec::new();
    for char in keys.chars() {
        let code = match char {
            '\n' => KeyCode::Enter,
            '\u{1b}' => KeyCode::Esc,
            '\t' => KeyCode::Tab,
            '↓' => KeyCode::Down,
            '↑' => KeyCode::Up,
            char => KeyCode::Char(char),
        };
        acts.extend(state.key(KeyEvent::new(code, KeyModifiers::NONE), fleet));
    }
    acts
}

fn runs(words: &[&str], input: &str) -> TopAct {
    TopAct::Run(OwnCommand {
        words: words.iter().map(|&word| word.to_owned()).collect(),
        input: input.to_owned(),
    })
}

#[test]
fn the_first_page_in_eighty_columns() {
    let fleet = fleet();
    let mut state = TopState::new(&fleet);
    let rows = screen(&mut state, &fleet, 80, 24);
    insta::assert_snapshot!(rows.join("\n"), @r#"
    1 task waits for you, 4 open, 3 sessions; the daemon starts
    WAITS FOR YOU 1  FOR     SESSION      ASKS
    1                1m      claude       Do you want to run `rm -r old`?

    SESSIONS 3     KIND     STATE         FOR     DIRECTORY        WHY
    claude         claude   waiting_input 3m      …/api            it asks
    api            shell    busy          3m      …/api            task 2
    web            shell    idle          3m      …/api            waits at its prom

    QUEUE 3    PRI  STATE         FOR     TASK                  WHY
    2          0    in_progress   30s     make test             in api
    4          5    pending       1h 1m   printf '\u{1b}[31m漢  not looked at yet
    3          0    pending       1h 1m   make lint             no session is on bra

    ENDED 1    STATE         EXIT FOR     TASK                  OUTPUT
    5          failed        2    10m     make docs             no rule to make targ







    Enter reply  a go there  x why  c cancel  / find  n new  ? help  q quit
    "#);
}

#[test]
fn the_first_page_in_two_hundred_columns() {
    let fleet = fleet();
    let mut state = TopState::new(&fleet);
    let rows = screen(&mut state, &fleet, 200, 12);
    insta::assert_snapshot!(rows.join("\n"), @r#"
    1 task waits for you, 4 open, 3 sessions; the daemon starts
    WAITS FOR YOU 1  FOR     SESSION      TASK                           ASKS                            QUEUE 3    PRI  STATE         FOR     SESSION      TASK                     WHY
    1                1m      claude       shall the old endpoint go?     Do you want to run `rm -r old`  2          0    in_progress   30s     api          make test                in api
                                                                                                         4          5    pending       1h 1m   -            printf '\u{1b}[31m漢字\u not looked at yet
    SESSIONS 3     KIND     STATE         FOR     DIRECTORY           BRANCH       WHY                   3          0    pending       1h 1m   -            make lint                no session is on branch
    claude         claude   waiting_input 3m      …/api               main         it asks
    api            shell    busy          3m      …/api               main         task 2                ENDED 1    STATE         EXIT FOR     SESSION      TASK                     OUTPUT
    web            shell    idle          3m      …/api               main         waits at its prompt   5          failed        2    10m     web          make docs                no rule to make target



    Enter reply  a go there  x why  c cancel  / find  n new  ? help  q quit
    "#);
}

#[test]
fn what_asks_is_answered_in_place() {
    let fleet = fleet();
    let mut state = TopState::new(&fleet);
    assert_eq!(state.section, TopSection::Asking);
    let acts = press(&mut state, &fleet, "\nyes, do\n");
    assert_eq!(acts, [runs(&["reply", "1", "-"], "yes, do")]);
    // Nothing is no answer, and neither is what was taken back.
    assert_eq!(press(&mut state, &fleet, "r\n"), []);
    assert_eq!(press(&mut state, &fleet, "ry\u{1b}"), []);
}

#[test]
fn what_ends_something_is_asked_once() {
    let fleet = fleet();
    let mut state = TopState::new(&fleet);
    assert_eq!(press(&mut state, &fleet, "3cn"), []);
    assert!(matches!(state.mode, Mode::Browse));
    let acts = press(&mut state, &fleet, "cy");
    assert_eq!(acts, [runs(&["cancel", "2"], "")]);
    // What has ended is not cancelled, and what has not is not tried again.
    assert_eq!(press(&mut state, &fleet, "4c"), []);
    assert!(state.message.contains("has ended"), "{}", state.message);
    assert_eq!(press(&mut state, &fleet, "R"), [runs(&["retry", "5"], "")]);
    assert_eq!(press(&mut state, &fleet, "3R"), []);
}

#[test]
fn a_waiting_task_is_changed_and_given_away() {
    let fleet = fleet();
    let mut state = TopState::new(&fleet);
    // The first of the queue runs.
    assert_eq!(press(&mut state, &fleet, "3+"), []);
    let acts = press(&mut state, &fleet, "↓+-g");
    let expected = [
        runs(&["edit", "4", "--priority=6"], ""),
        runs(&["edit", "4", "--priority=4"], ""),
        TopAct::Choose(TaskId(4)),
    ];
    assert_eq!(acts, expected);
    let choice = |session: &str| Choice {
        session: session.to_owned(),
        points: "100".to_owned(),
    };
    state.offers(TaskId(4), vec![choice("api"), choice("web")]);
    let acts = press(&mut state, &fleet, "↓\n");
    assert_eq!(acts, [runs(&["reassign", "4", "--to", "web"], "")]);
    let acts = press(&mut state, &fleet, "↓e fast\n");
    assert_eq!(acts, [runs(&["edit", "3", "--content=make lint fast"], "")]);
}

#[test]
fn a_task_is_queued_by_a_form() {
    let fleet = fleet();
    let mut state = TopState::new(&fleet);
    assert_eq!(press(&mut state, &fleet, "n\n"), []);
    assert!(state.message.contains("something to do"));
    let acts = press(&mut state, &fleet, "echo $(date)\tweb\n");
    let words = ["send", "--shell", "--target=web", "-"];
    assert_eq!(acts, [runs(&words, "echo $(date)")]);
    let acts = press(&mut state, &fleet, "nthink\t\t\t\t \n");
    assert_eq!(acts, [runs(&["send", "-"], "think")]);
}

#[test]
fn a_paste_is_whole_or_refused() {
    let fleet = fleet();
    let mut state = TopState::new(&fleet);
    press(&mut state, &fleet, "n");
    state.paste("one\r\ntwo\rthree");
    state.paste(&"x".repeat(LONGEST));
    assert!(state.message.contains("too long"), "{}", state.message);
    let acts = press(&mut state, &fleet, "\n");
    assert_eq!(acts, [runs(&["send", "--shell", "-"], "one\ntwo\nthree")]);
}

#[test]
fn choices_are_found_after_warnings_and_however_many_there_are() {
    let many: Vec<_> = (0..500)
        .map(|number| serde_json::json!({"session": format!("s{number}"), "points": number}))
        .collect();
    let said = format!(
        "assigner: no daemon\n{}\n",
        serde_json::json!({"sessions": many})
    );
    let choices = super::choices(said.as_bytes());
    assert_eq!(choices.len(), 500);
    assert_eq!(
        (choices[7].session.as_str(), choices[7].points.as_str()),
        ("s7", "7")
    );
    assert_eq!(super::choices(b"assigner: there is no task 7\n"), []);
}

#[test]
fn the_keys_fit_in_eighty_columns() {
    let fleet = fleet();
    let mut state = TopState::new(&fleet);
    for keys in [
        "1", "2", "3", "4", "/", "\u{1b}n", "\u{1b}3c", "n1\n", "\u{1b}?", "q2\n",
    ] {
        press(&mut state, &fleet, keys);
        let shown = keys_of(&state);
        assert!(shown.chars().count() <= 80, "{shown}");
    }
}

#[test]
fn sessions_are_paused_labelled_and_looked_at() {
    let mut fleet = fleet();
    let mut state = TopState::new(&fleet);
    assert_eq!(
        press(&mut state, &fleet, "2↓p"),
        [runs(&["pause", "--", "api"], "")]
    );
    fleet.sessions[1].paused = true;
    assert_eq!(
        press(&mut state, &fleet, "p"),
        [runs(&["resume", "--", "api"], "")]
    );
    let acts = press(&mut state, &fleet, "lgpu=yes\n");
    assert_eq!(acts, [runs(&["label", "--", "api", "gpu=yes"], "")]);
    let acts = press(&mut state, &fleet, "d");
    assert!(matches!(&acts[..], [TopAct::Read(_, command)] if command.words[0] == "doctor"));
    // What a session runs can be ended from there.
    assert_eq!(
        press(&mut state, &fleet, "cy"),
        [runs(&["cancel", "2"], "")]
    );
    press(&mut state, &fleet, "\n");
    let rows = screen(&mut state, &fleet, 80, 24).join("\n");
    assert!(
        rows.contains("session api: busy") && rows.contains("~/work/a-rather-long-name/api"),
        "{rows}"
    );
    assert!(
        rows.contains("3 completed, 1 failed") && rows.contains("make test"),
        "{rows}"
    );
}

#[test]
fn what_is_looked_for_is_shown_alone() {
    let fleet = fleet();
    let mut state = TopState::new(&fleet);
    press(&mut state, &fleet, "3/LINT");
    assert_eq!(state.lines(TopSection::Queue, &fleet).len(), 1);
    let rows = screen(&mut state, &fleet, 80, 24).join("\n");
    assert!(
        rows.contains("make lint") && !rows.contains("make test"),
        "{rows}"
    );
    press(&mut state, &fleet, "\n\u{1b}");
    assert_eq!(state.lines(TopSection::Queue, &fleet).len(), 3);
}

/// The chosen line is chosen by what it is about, and not by its place.
#[test]
fn a_choice_stays_with_its_task() {
    let mut fleet = fleet();
    let mut state = TopState::new(&fleet);
    press(&mut state, &fleet, "3↓");
    fleet.queue.insert(0, fleet.ended[0].0.clone());
    screen(&mut state, &fleet, 80, 24);
    assert_eq!(press(&mut state, &fleet, "g"), [TopAct::Choose(TaskId(4))]);
    fleet.queue.retain(|task| task.id != TaskId(4));
    // The next one has taken its place.
    assert_eq!(press(&mut state, &fleet, "g"), [TopAct::Choose(TaskId(3))]);
}

#[test]
fn the_page_of_a_task_has_its_points_as_bars() {
    let fleet = fleet();
    let term = |name: &str, points| Term {
        name: name.to_owned(),
        points,
    };
    let ranking = |session: &str, terms: Vec<Term>| NamedRanking {
        session: session.to_owned(),
        points: terms.iter().map(|term| term.points).sum(),
        terms,
    };
    let mut state = TopState::new(&fleet);
    let attempt = Attempt {
        id: AttemptId(1),
        number: 1,
        session: "api".to_owned(),
        identity: fleet.sessions[0].identity.clone(),
        phase: Phase::Running,
        outcome: None,
        exit_code: None,
        error: None,
        claimed_at: at(30),
        started_at: Some(at(30)),
        ended_at: None,
        turn: None,
        policy: PolicyId {
            name: "default".to_owned(),
            version: "0.1.0".to_owned(),
            sha256: String::new(),
        },
        rankings: vec![
            ranking("api", vec![term("same directory", 100), term("branch", 30)]),
            ranking("web", vec![term("branch", 30)]),
        ],
        ruled_out: Vec::new(),
    };
    let facts = TaskFacts {
        task: fleet.queue[0].clone(),
        parents: Vec::new(),
        attempts: vec![attempt],
        history: Vec::new(),
        output: "one\ntwo".to_owned(),
        is_cut: false,
    };
    state.mode = Mode::Task(Box::new(facts), 0);
    let rows = screen(&mut state, &fleet, 80, 24);
    insta::assert_snapshot!(rows.join("\n"), @r#"
    1 task waits for you, 4 open, 3 sessions; the daemon starts
    task 2: in_progress
      make test

    session    api
    queued     1h 1m ago

    attempt 1 in api: in_progress, by policy default
    api              ████████████████████ 130 = same directory 100 + branch 30
    web              ████················ 30 = branch 30

    output
    one
    two

    history







    ↑↓ move  x why  t history  o output  a go there  c cancel  R again  Esc back
    "#);
    press(&mut state, &fleet, "\u{1b}");
    assert!(matches!(state.mode, Mode::Browse));
}

#[test]
fn without_a_daemon_it_is_said_and_the_queue_is_there() {
    let mut fleet = fleet();
    fleet.daemon = None;
    let mut state = TopState::new(&fleet);
    let rows = screen(&mut state, &fleet, 80, 24).join("\n");
    assert!(
        rows.contains("no daemon runs") && rows.contains("make lint"),
        "{rows}"
    );
    assert!(plain::summary(&fleet).contains("assigner run"));
}

#[test]
fn what_changes_is_told_in_plain_lines() {
    let before = fleet();
    let mut now = fleet();
    assert_eq!(plain::changes(&before, &now), Vec::<String>::new());
    assert_eq!(plain::beginning(&now).len(), 1 + 1 + 3);
    let mut done = now.queue.remove(0);
    done.status = Status::Completed;
    done.completed_at = Some(at(1));
    now.ended.insert(0, (done, "ok".to_owned()));
    now.sessions[1].activity = Activity::Idle;
    now.sessions.remove(2);
    now.daemon = None;
    let said = [
        "no daemon runs: start one with `assigner run`",
        "task 2 completed in api (make test)",
        "session api is idle: waits at its prompt",
        "session web is gone",
    ];
    assert_eq!(plain::changes(&before, &now), said);
    // Of a long queue only the head is read: what comes into it is no news, and what was queued is.
    let queued =
        |number, seconds_ago| Task::queued(TaskId(number), &NewTask::command("x"), at(seconds_ago));
    let mut later = fleet();
    later.queue.extend([queued(80, 3_000), queued(90, 0)]);
    let mut before = fleet();
    before.at = at(5);
    assert_eq!(plain::changes(&before, &later), ["task 90 pending (x)"]);
}

#[test]
fn a_path_keeps_its_last_names() {
    let home = Some("/home/ada");
    for (path, width, shown) in [
        ("/home/ada", 10, "~"),
        ("/home/ada/x", 10, "~/x"),
        ("/home/adam/x", 20, "/home/adam/x"),
        ("/home/ada/work/long/api", 10, "…/long/api"),
        (
            "/a-name-that-is-too-long-for-it",
            10,
            "/a-name-that-is-too-long-for-it",
        ),
        ("/", 10, "/"),
    ] {
        assert_eq!(shortened_path(path, home, width), shown);
    }
}

proptest! {
    /// Whatever is pressed, and however small the screen is: nothing panics, and nothing that a terminal
    /// would obey is drawn.
    #[test]
    fn any_keys_on_any_screen(
        keys in "[a-zA-Z0-9\n\t\u{1b}↓↑ ?/+-]{0,40}",
        (width, height) in (1u16..120, 1u16..40),
        column in 0u16..120,
        row in 0u16..40,
    ) {
        let fleet = fleet();
        let mut state = TopState::new(&fleet);
        press(&mut state, &fleet, &keys);
        for text in screen(&mut state, &fleet, width, height) {
            let is_harmless = text.chars().all(crate::model::text::is_shown);
            prop_assert!(is_harmless, "{text:?}");
        }
        state.click(column, row, &fleet);
        screen(&mut state, &fleet, width, height);
    }
}
