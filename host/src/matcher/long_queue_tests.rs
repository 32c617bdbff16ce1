//! Rounds over long queues: what is asked about, and when again.

use std::cell::{Cell, RefCell};

use tempfile::TempDir;

use super::*;
use crate::model::clock::Tick;
use crate::model::ids::PaneId;
use crate::model::session::Activity;
use crate::model::task::{Event, NewTask, Outcome, Parent, Phase};
use crate::store::{End, Pause};

/// More tasks than are asked about as a whole in each round.
const LONG: usize = 1_500;

/// Lets every task wait, except for those that are called `runs`, and notes what it is asked.
#[derive(Default)]
struct Choosy {
    asked: RefCell<Vec<TaskId>>,
    sees_all: bool,
}

impl Choosy {
    /// Returns the tasks that it was asked about since the last call.
    fn asked(&self) -> Vec<TaskId> {
        self.asked.take()
    }
}

impl Decide for Choosy {
    fn lists_busy(&self) -> bool {
        self.sees_all
    }

    async fn decide(&self, question: Question) -> Option<MatcherAnswer> {
        let mut taken = BTreeSet::new();
        let decisions = question.tasks.iter().map(|task| {
            self.asked.borrow_mut().push(TaskId(task.id));
            let sessions = question.sessions.iter().enumerate();
            let mut free = sessions
                .filter(|(_, session)| session.ready)
                .map(|(at, _)| at);
            match free.find(|at| !taken.contains(at)) {
                Some(session) if task.summary == "runs" => {
                    taken.insert(session);
                    Decision::Assign {
                        take: Ranking {
                            session,
                            points: 0,
                            terms: Vec::new(),
                        },
                        others: Vec::new(),
                    }
                }
                _ => Decision::Wait {
                    reason: "not now".to_owned(),
                    others: Vec::new(),
                },
            }
        });
        Some(MatcherAnswer {
            decisions: decisions.collect(),
            by: PolicyId {
                name: "choosy".to_owned(),
                version: "1".to_owned(),
                sha256: String::new(),
            },
            failed: false,
        })
    }
}

/// Sessions that export a variable, whatever it is called.
#[derive(Default)]
struct ExportedValues(Option<&'static str>);

impl Surroundings for ExportedValues {
    fn variables(&self, _: &SessionRow, names: &BTreeSet<String>) -> BTreeMap<String, String> {
        let all = names.iter().zip(std::iter::repeat(self.0));
        all.filter_map(|(name, value)| Some((name.clone(), value?.to_owned())))
            .collect()
    }

    fn is_stale(&self, _: &SessionRow) -> bool {
        false
    }

    async fn resolve(&mut self, _: Vec<PathBuf>) -> HashMap<PathBuf, Option<String>> {
        HashMap::new()
    }
}

/// A clock that stands, or goes on with each look at it.
#[derive(Default)]
struct TestClock {
    ms: Cell<u64>,
    each: Cell<u64>,
}

impl Clock for TestClock {
    fn now(&self) -> Now {
        let ms = self.ms.get();
        self.ms.set(ms + self.each.get());
        Now {
            wall: Timestamp::from_millisecond(1_800_000_000_000 + ms as i64).expect("a time"),
            tick: Tick::after_origin(Duration::from_millis(ms)),
        }
    }
}

struct Desk {
    _directory: TempDir,
    store: Store,
    matcher: Matcher,
    policy: Choosy,
    clock: TestClock,
    rows: Vec<(SessionRow, bool)>,
    exports: ExportedValues,
}

impl Desk {
    /// A queue of tasks that wait, and this many sessions that are ready.
    fn new(sessions: u32, waiting: usize) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let open = || Store::open(directory.path()).expect("a store");
        let mut store = open();
        let clock = TestClock::default();
        let tasks = vec![NewTask::command("waits"); waiting];
        store.queue(&tasks, clock.now().wall).expect("queued");
        let ledger = Ledger::start(open()).expect("a ledger");
        let settings = MatcherSettings {
            ask_variables: false,
            ..MatcherSettings::default()
        };
        Self {
            matcher: Matcher::new(ledger, settings),
            _directory: directory,
            store,
            policy: Choosy::default(),
            clock,
            rows: (1..=sessions).map(|pane| (row(pane), true)).collect(),
            exports: ExportedValues::default(),
        }
    }

    /// Queues a task, and returns its number.
    fn queue(&mut self, task: NewTask) -> TaskId {
        let now = self.clock.now().wall;
        self.store.queue(&[task], now).expect("queued")[0]
    }

    /// Runs rounds until nothing is left to decide; the number of tasks that were asked about, and
    /// those that were given away.
    async fn rounds(&mut self) -> (usize, Vec<TaskId>) {
        let mut given = Vec::new();
        loop {
            given.extend(self.round().await.into_iter().map(|given| given.task.id));
            if self.matcher.due_in(self.clock.now()) != Some(Duration::ZERO) {
                return (self.policy.asked().len(), given);
            }
        }
    }

    async fn round(&mut self) -> Vec<Given> {
        let offers = self.rows.iter().map(|(row, ready)| Offer {
            row,
            ready: *ready,
            asked: false,
        });
        let offers: Vec<Offer<'_>> = offers.collect();
        let round = self
            .matcher
            .round(&offers, &self.policy, &mut self.exports, &self.clock);
        let given = round.await.expect("a round").given;
        for given in &given {
            let is_it = |(row, _): &&mut (SessionRow, bool)| row.identity == given.identity;
            let row = self.rows.iter_mut().find(is_it).expect("a session");
            row.1 = false;
        }
        given
    }

    /// The task of a session ends, and the session is ready again.
    fn ends(&mut self, given: &Given) {
        let now = self.clock.now().wall;
        for phase in [Phase::Delivering, Phase::Running] {
            let advanced = self.store.advance(given.attempt, phase, "", now);
            advanced.expect("advanced");
        }
        let end = End::new(given.attempt, Outcome::Completed, Event::Complete);
        self.store.end(&end, now).expect("ended");
        for (_, ready) in &mut self.rows {
            *ready = true;
        }
        self.matcher.touch();
    }
}

fn row(pane: u32) -> SessionRow {
    SessionRow {
        name: format!("s{pane}"),
        identity: Identity {
            node: Default::default(),
            server_pid: 1,
            server_start: 1,
            pane: PaneId::parse(&format!("%{pane}")).expect("a pane"),
            pane_pid: 100 + pane,
        },
        activity: Activity::Idle,
        reason: None,
        since: Timestamp::UNIX_EPOCH,
        provider: "shell".to_owned(),
        current_dir: None,
        git_branch: None,
        repository: None,
        shell: None,
        env: BTreeMap::new(),
        current_task: None,
        completed: 0,
        failed: 0,
        context_at: Timestamp::UNIX_EPOCH,
        admission: Admission::Open,
        paused: false,
        labels: BTreeMap::new(),
        homes: Vec::new(),
    }
}

#[tokio::test]
async fn what_waits_is_asked_about_once_and_what_is_new_at_once() {
    let mut desk = Desk::new(1, LONG);
    assert_eq!(desk.rounds().await, (LONG, vec![]));
    assert_eq!(desk.rounds().await, (0, vec![]));
    let new = desk.queue(NewTask::command("runs"));
    let given = desk.round().await;
    assert_eq!(given[0].task.id, new);
    assert_eq!(desk.policy.asked(), [new]);
    // That its session is free again changes nothing for those that it was offered to.
    desk.ends(&given[0]);
    assert_eq!(desk.rounds().await, (0, vec![]));
    // One of a higher priority comes first, and so do those after it.
    let urgent = NewTask {
        priority: 7,
        ..NewTask::command("runs")
    };
    let urgent = desk.queue(urgent);
    let given = desk.round().await;
    assert_eq!(given[0].task.id, urgent);
    assert_eq!(desk.policy.asked()[0], urgent);
}

#[tokio::test]
async fn a_short_queue_is_asked_about_as_a_whole() {
    let mut desk = Desk::new(1, 10);
    assert_eq!(desk.rounds().await.0, 10);
    let new = desk.queue(NewTask::command("waits"));
    assert_eq!(desk.rounds().await.0, 11);
    assert_eq!(new, TaskId(11));
}

#[tokio::test]
async fn a_session_that_changes_is_offered_everything_again() {
    type RowChange = fn(&mut SessionRow);
    let changes: [RowChange; 5] = [
        |row| row.current_dir = Some("/work".to_owned()),
        |row| row.git_branch = Some("dev".to_owned()),
        |row| row.name = "other".to_owned(),
        |row| drop(row.labels.insert("a".to_owned(), "b".to_owned())),
        |row| drop(row.env.insert("A".to_owned(), "b".to_owned())),
    ];
    let mut desk = Desk::new(2, LONG);
    desk.rounds().await;
    for change in changes {
        change(&mut desk.rows[0].0);
        desk.matcher.touch();
        assert_eq!(desk.rounds().await.0, LONG);
        assert_eq!(desk.rounds().await.0, 0);
    }
    // What is always different counts for nothing.
    let row = &mut desk.rows[0].0;
    (row.completed, row.failed, row.since) = (9, 9, Timestamp::MAX);
    desk.matcher.touch();
    assert_eq!(desk.rounds().await.0, 0);
    // Another session's change matters to a policy that sees it.
    for sees_all in [false, true] {
        desk.policy.sees_all = sees_all;
        desk.rows[1].1 = false;
        desk.rows[1].0.git_branch = Some(sees_all.to_string());
        desk.matcher.touch();
        assert_eq!(desk.rounds().await.0, if sees_all { LONG } else { 0 });
    }
}

#[tokio::test]
async fn a_session_that_was_not_there_is_offered_everything() {
    let mut desk = Desk::new(2, LONG);
    desk.rows[1].1 = false;
    assert_eq!(desk.rounds().await.0, LONG);
    desk.rows[1].1 = true;
    desk.matcher.touch();
    assert_eq!(desk.rounds().await.0, LONG);
    // Now each has been offered to each, whoever of them is free.
    for free in [[true, false], [false, true], [true, true]] {
        (desk.rows[0].1, desk.rows[1].1) = (free[0], free[1]);
        desk.matcher.touch();
        assert_eq!(desk.rounds().await.0, 0, "{free:?}");
    }
}

#[tokio::test]
async fn a_variable_that_tasks_name_counts() {
    let mut desk = Desk::new(1, LONG);
    let mut named = NewTask::command("waits");
    named.metadata.env_vars = BTreeMap::from([("A".to_owned(), "b".to_owned())]);
    desk.queue(named);
    desk.rounds().await;
    // The name is known from here on.
    desk.matcher.touch();
    desk.rounds().await;
    desk.exports.0 = Some("b");
    desk.matcher.touch();
    assert_eq!(desk.rounds().await.0, LONG + 1);
    assert_eq!(desk.rounds().await.0, 0);
}

#[tokio::test]
async fn time_a_pause_and_another_policy_start_it_over() {
    let mut desk = Desk::new(1, LONG);
    desk.rounds().await;
    desk.clock.ms.set(1_999);
    assert_eq!(desk.rounds().await.0, 0);
    desk.clock.ms.set(2_000);
    assert_eq!(desk.rounds().await.0, LONG);
    let now = desk.clock.now().wall;
    desk.store
        .pause(&[Pause::Provider("codex".to_owned())], true, now)
        .expect("paused");
    assert_eq!(desk.rounds().await.0, LONG);
    desk.matcher.start_over();
    assert_eq!(desk.rounds().await.0, LONG);
}

#[tokio::test]
async fn what_an_end_lets_run_is_asked_about() {
    let mut desk = Desk::new(1, LONG);
    let parent = desk.queue(NewTask::command("runs"));
    let mut child = NewTask::command("runs");
    child.after = vec![Parent::Task(parent)];
    let child = desk.queue(child);
    let (_, given) = desk.rounds().await;
    assert_eq!(given, [parent]);
    let attempt = desk.store.attempts(parent).expect("attempts")[0].id;
    let given = Given {
        attempt,
        task: desk.store.task(parent).expect("a task"),
        session: "s1".to_owned(),
        identity: desk.rows[0].0.identity.clone(),
    };
    desk.ends(&given);
    // Of the page in which the parent was given away, nobody knows whether the rest would have waited.
    let (asked, given) = desk.rounds().await;
    assert_eq!(given, [child]);
    assert!(asked <= LARGEST_PAGE + 1, "{asked}");
}

#[tokio::test]
async fn a_round_ends_in_time_and_the_next_goes_on_where_it_stopped() {
    let mut desk = Desk::new(1, 4_000);
    desk.rounds().await;
    desk.matcher.start_over();
    desk.clock.each.set(40);
    desk.round().await;
    let first = desk.policy.asked();
    assert!((1..4_000).contains(&first.len()), "{}", first.len());
    assert_eq!(desk.matcher.due_in(desk.clock.now()), Some(Duration::ZERO));
    // So many tasks are asked about in any case, before it is told how far it is.
    let mut rounds = 1;
    let mut last = first;
    while desk.matcher.due_in(desk.clock.now()) == Some(Duration::ZERO) {
        desk.round().await;
        last = desk.policy.asked();
        rounds += 1;
        assert!(rounds < 100, "it never ends");
    }
    assert_eq!(last.last(), Some(&TaskId(4_000)));
}
