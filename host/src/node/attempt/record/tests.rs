//! The record of a turn: which file it is, and what it says.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::sync::Arc;

use tempfile::TempDir;

use super::*;
use crate::agents::transcript::{How, TranscriptTurn};

/// When the prompt was given, in seconds. Long ago: what is dated in the future is judged otherwise.
const GIVEN: i64 = 1_700_000_000;

/// Returns the time this many milliseconds after the prompt was given.
fn wall(ms: i64) -> Timestamp {
    Timestamp::from_millisecond(GIVEN * 1000 + ms).expect("a time")
}

fn at(ms: u64) -> Now {
    Now {
        wall: wall(i64::try_from(ms).expect("small")),
        tick: Tick::after_origin(Duration::from_millis(ms)),
    }
}

fn line(ms: i64, payload: &str) -> String {
    let at = wall(ms);
    format!("{{\"timestamp\":\"{at}\",\"type\":\"event_msg\",\"payload\":{{{payload}}}}}\n")
}

/// The lines of a turn that begins at this time.
fn turn(ms: i64, prompt: &str) -> String {
    let began = line(ms, r#""type":"task_started""#);
    let asked = format!(r#""type":"user_message","message":"{prompt}""#);
    began + &line(ms, &asked)
}

fn end(ms: i64, said: &str) -> String {
    line(
        ms,
        &format!(r#""type":"task_complete","last_agent_message":"{said}""#),
    )
}

/// A directory with records, and the reader of one turn.
struct RecordScene {
    directory: TempDir,
    profile: Profile,
    reader: Reader,
    taken: HashSet<PathBuf>,
    query: Query,
}

impl RecordScene {
    fn of(format: &str) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let home = directory.path().display();
        let text = format!(
            "name = 'x'\n[recognise]\nprograms = ['x']\n[state]\nidle-screen = ['^>$']\n\
             [transcript]\nformat = '{format}'\nhome = {{ default = '{home}' }}\nfiles = '*.record'\n"
        );
        Self {
            profile: Profile::read(&text).expect("a profile"),
            directory,
            reader: Reader::default(),
            taken: HashSet::new(),
            query: Query {
                pid: std::process::id(),
                text: "say hello".into(),
                nonce: None,
                since: wall(0),
                resumed: false,
                turn: None,
                transcript: None,
            },
        }
    }

    fn new() -> Self {
        Self::of("codex")
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(format!("{name}.record"))
    }

    /// Writes a record that was last changed at this time.
    fn write(&self, name: &str, text: &str, ms: i64) {
        let path = self.path(name);
        fs::write(&path, text).expect("written");
        let file = File::options().write(true).open(path).expect("a file");
        file.set_modified(wall(ms).into()).expect("dated");
    }

    fn append(&self, name: &str, text: &str) {
        let file = OpenOptions::new().append(true).open(self.path(name));
        let mut file = file.expect("a file");
        file.write_all(text.as_bytes()).expect("written");
    }

    /// Looks once.
    async fn look(&mut self, ms: u64) -> Record {
        let taken = self.taken.clone();
        let (profile, query) = (&self.profile, &self.query);
        self.reader.look(profile, 1, query, taken, at(ms)).await
    }

    /// Looks until a search has ended, if one was begun.
    async fn searched(&mut self, ms: u64) -> Record {
        loop {
            let record = self.look(ms).await;
            if self.reader.searching.is_none() {
                return record;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

#[tokio::test]
async fn the_record_is_the_file_with_this_very_text() {
    let mut scene = RecordScene::new();
    scene.write("one", &turn(1_000, "say something else"), 2_000);
    let record = scene.searched(0).await;
    assert!(!record.found && record.own.is_none() && record.path.is_none());
    scene.write("two", &turn(1_000, "say hello"), 2_000);
    let record = scene.searched(5_000).await;
    assert!(record.found && !record.several);
    assert_eq!(record.path.as_deref(), Some(&*scene.path("two")));
    let own = record.own.expect("a turn");
    assert_eq!((own.began, own.how), (Some(wall(1_000)), None));
    assert_eq!(scene.reader.path(), Some(&*scene.path("two")));
    // What is written from here on is read.
    scene.append("two", &end(3_000, "hello"));
    let record = scene.look(5_001).await;
    let own = record.own.expect("a turn");
    assert_eq!(own.how, Some(How::Done));
    assert_eq!(own.response.as_deref(), Some("hello"));
    assert_eq!(own.ended, Some(wall(3_000)));
    let follower = scene.reader.into_follower().expect("a record");
    assert_eq!(follower.path().file_stem().expect("a name"), "two");
}

#[tokio::test]
async fn a_record_that_belongs_to_another_or_was_not_changed_since_is_none() {
    let mut scene = RecordScene::new();
    scene.write("one", &turn(1_000, "say hello"), 2_000);
    scene.taken.insert(scene.path("one"));
    assert!(!scene.searched(0).await.found);
    // File systems record times less precisely.
    for (changed, is_found) in [(-2_001, false), (-2_000, true), (0, true)] {
        let mut scene = RecordScene::new();
        scene.write("one", &turn(0, "say hello"), changed);
        assert_eq!(scene.searched(0).await.found, is_found, "{changed}");
        assert_eq!(scene.reader.path().is_some(), is_found);
        assert_eq!(scene.reader.into_follower().is_some(), is_found);
    }
}

#[tokio::test]
async fn of_several_records_with_the_text_none_is_believed() {
    let mut scene = RecordScene::new();
    scene.write("one", &turn(1_000, "say hello"), 2_000);
    scene.write("two", &turn(1_000, "say hello"), 2_000);
    let record = scene.searched(0).await;
    assert!(record.several && !record.found && record.own.is_none());
    // One that the agent names itself is the one.
    scene.query.transcript = Some(Arc::new(scene.path("one")));
    scene.write("one", &turn(1_000, "say hello"), -9_000);
    let record = scene.searched(5_000).await;
    assert!(record.found);
    assert_eq!(record.path.as_deref(), Some(&*scene.path("one")));
}

#[tokio::test]
async fn records_are_looked_for_from_time_to_time_until_one_is_found() {
    let mut scene = RecordScene::new();
    assert!(!scene.searched(1_000).await.found);
    scene.write("one", &turn(1_000, "say hello"), 2_000);
    assert!(!scene.searched(1_299).await.found);
    assert!(scene.searched(1_300).await.found);
    // A second one does not matter any more.
    scene.write("two", &turn(1_000, "say hello"), 2_000);
    let record = scene.searched(60_000).await;
    assert!(record.found && !record.several);
    assert_eq!(record.path.as_deref(), Some(&*scene.path("one")));
}

/// So that an agent's first one is heard of.
#[tokio::test]
async fn where_there_is_no_record_one_is_expected() {
    let mut scene = RecordScene::new();
    assert!(scene.searched(1_000).await.path.is_none());
    assert_eq!(scene.reader.directory(), Some(scene.directory.path()));
}

#[tokio::test]
async fn a_record_that_the_agent_names_is_looked_for_at_once() {
    let mut scene = RecordScene::new();
    assert!(!scene.searched(1_000).await.found);
    scene.write("one", &turn(1_000, "say hello"), 2_000);
    scene.query.transcript = Some(Arc::new(scene.path("one")));
    assert!(scene.searched(1_001).await.found);
}

#[tokio::test]
async fn a_record_that_is_gone_is_looked_for_again() {
    let mut scene = RecordScene::new();
    scene.write("one", &turn(1_000, "say hello"), 2_000);
    assert!(scene.searched(0).await.path.is_some());
    fs::remove_file(scene.path("one")).expect("removed");
    let record = scene.look(10).await;
    assert!(record.path.is_none() && record.found, "it was found once");
    scene.write("two", &turn(1_000, "say hello"), 2_000);
    let record = scene.searched(5_000).await;
    assert_eq!(record.path.as_deref(), Some(&*scene.path("two")));
}

/// If an earlier daemon gave the prompt, answers may have followed it.
#[tokio::test]
async fn after_a_restart_the_only_record_with_a_later_turn_is_followed() {
    type RecordChange = fn(&mut RecordScene);
    let cases: [(&str, bool, RecordChange); 6] = [
        ("as it is", true, |_| {}),
        ("not resumed", false, |scene| scene.query.resumed = false),
        ("a turn with a name", false, |scene| {
            scene.query.turn = Some("t1".into());
        }),
        ("another record", false, |scene| {
            scene.write("two", &turn(0, "and this"), 2_000);
        }),
        ("an earlier turn", false, |scene| {
            scene.write("one", &turn(-1, "and that"), 2_000);
        }),
        ("no turn", false, |scene| scene.write("one", "\n", 2_000)),
    ];
    for (what, is_followed, change) in cases {
        let mut scene = RecordScene::new();
        scene.query.resumed = true;
        scene.write("one", &turn(0, "and that"), 2_000);
        change(&mut scene);
        let record = scene.searched(0).await;
        assert_eq!(record.found, is_followed, "{what}");
        assert_eq!(record.latest.is_some(), is_followed, "{what}");
        assert!(record.own.is_none(), "{what}");
    }
}

#[tokio::test]
async fn the_latest_turn_is_one_that_began_since() {
    for (since, is_told) in [(999, true), (1_000, true), (1_001, false)] {
        let mut scene = RecordScene::new();
        scene.write("one", &(turn(0, "say hello") + &end(1, "hello")), 2_000);
        assert!(scene.searched(0).await.found);
        scene.append("one", &turn(1_000, "and that"));
        scene.query.since = wall(since);
        let record = scene.look(5_000).await;
        assert_eq!(record.latest.is_some(), is_told, "{since}");
        // Whatever its time says, it came after what was marked as old.
        scene.reader.age();
        assert_eq!(scene.look(5_001).await.latest.is_some(), is_told);
        scene.append("one", &(end(1_001, "done") + &turn(-5_000, "late")));
        let latest = scene.look(5_002).await.latest;
        assert_eq!(latest.and_then(|turn| turn.began), Some(wall(-5_000)));
    }
    // One from the future began before the clock was set back.
    let ahead = i64::from(u32::MAX) * 200;
    let mut scene = RecordScene::new();
    scene.write("one", &(turn(0, "say hello") + &end(1, "hello")), 2_000);
    assert!(scene.searched(0).await.found);
    scene.append("one", &turn(ahead, "and that"));
    assert!(scene.look(5_000).await.latest.is_none());
}

#[tokio::test]
async fn a_record_without_times_is_followed_from_before_the_prompt() {
    let asked = "\n#### say hello  \n\nhello\n\n";
    let started = "# aider chat started at 2026-01-01 00:00:00\n";
    let mut scene = RecordScene::of("aider");
    scene.write("one", &format!("{started}{asked}"), 2_000);
    let profile = scene.profile.clone();
    scene
        .reader
        .follow_from_now(&profile, std::process::id())
        .await;
    let record = scene.searched(0).await;
    // The same words were there before.
    assert!(!record.found && record.own.is_none() && record.latest.is_none());
    assert_eq!(record.path.as_deref(), Some(&*scene.path("one")));
    assert!(scene.reader.path().is_none());
    scene.append("one", asked);
    let record = scene.look(5_000).await;
    assert!(record.found && record.own.is_some() && record.latest.is_some());
    // One with times is looked for when it is there.
    let mut scene = RecordScene::new();
    scene.write("one", &turn(0, "say something else"), 2_000);
    let profile = scene.profile.clone();
    scene
        .reader
        .follow_from_now(&profile, std::process::id())
        .await;
    assert!(scene.look(0).await.path.is_none());
}

#[tokio::test]
async fn large_records_are_read_from_where_it_matters() {
    let filler = line(
        -5_000,
        &format!(r#""type":"other","text":"{}""#, "x".repeat(1 << 20)),
    );
    // More than is read at once, and more than is read at all.
    for (megabytes, knows_all) in [(10, true), (17, false)] {
        let mut scene = RecordScene::new();
        let text = turn(-9_000, "before") + &filler.repeat(megabytes) + &turn(1_000, "say hello");
        scene.write("one", &text, 2_000);
        let record = scene.searched(0).await;
        assert!(record.found, "{megabytes} MiB");
        let follower = scene.reader.into_follower().expect("a record");
        let mut before = scene.query.clone();
        before.text = "before".into();
        before.since = wall(-10_000);
        let is_known = follower.turn_of(before.wanted()).is_some();
        assert_eq!(is_known, knows_all, "{megabytes} MiB");
    }
}

#[test]
fn what_an_open_turn_has_said_is_told_once_it_has_been_quiet_for_minutes() {
    let said = |ms: u64, change: fn(&mut TranscriptTurn)| {
        let mut turn = TranscriptTurn::default();
        turn.began = Some(wall(0));
        turn.last = Some(wall(1_000));
        turn.said = vec!["one".to_owned(), "two".to_owned()];
        change(&mut turn);
        written(&turn, at(ms).wall).said
    };
    let all = || Some("one\n\ntwo".to_owned());
    assert_eq!(said(301_000, |_| {}), None);
    assert_eq!(said(302_000, |_| {}), all());
    assert_eq!(said(302_000, |turn| turn.how = Some(How::Done)), None);
    assert_eq!(said(302_000, |turn| turn.said.clear()), None);
    assert_eq!(said(301_000, |turn| turn.last = None), all());
    assert_eq!(said(300_000, |turn| turn.last = None), None);
}

#[test]
fn the_variables_of_a_process_tell_where_its_records_are() {
    let mut spec = RecordScene::new().profile.transcript.expect("a place");
    spec.home.variable = Some("PATH".to_owned());
    let (env, cwd) = surroundings(std::process::id(), &spec);
    assert_eq!(cwd, std::env::current_dir().expect("a directory"));
    assert!(env.contains_key("PATH"), "{env:?}");
    assert!(env.keys().all(|name| name == "PATH" || name == HOME));
}

#[tokio::test]
async fn a_search_that_takes_long_is_news_when_it_ends() {
    let mut scene = RecordScene::new();
    let moment = Duration::from_millis(5);
    // Without a search there is no such news.
    let none = tokio::time::timeout(moment, scene.reader.search_ends()).await;
    assert!(none.is_err());
    let (tell, told) = oneshot::channel();
    scene.reader.searching = Some(told);
    assert!(!scene.look(0).await.found);
    let early = tokio::time::timeout(moment, scene.reader.search_ends()).await;
    assert!(early.is_err());
    let near = Some(PathBuf::from("/where/it/is"));
    let found = FoundRecord::None;
    assert!(
        tell.send(Search {
            found,
            near: near.clone()
        })
        .is_ok()
    );
    scene.reader.search_ends().await;
    // The next look takes what was found, and begins no other search before.
    scene.look(0).await;
    assert_eq!(scene.reader.directory(), near.as_deref());
}
