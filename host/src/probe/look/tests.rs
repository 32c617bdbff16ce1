use std::sync::Condvar;

use proptest::prelude::*;

use super::*;

/// Long enough for a look that answers on a busy machine, short enough to wait for one that
/// does not.
const LIMIT: Duration = Duration::from_millis(200);

/// Far longer than any look here takes, for tests that show that nothing was waited for.
const LONG: Duration = Duration::from_secs(20);

/// A file system in which some paths do not answer until they are revived. It counts the looks.
#[derive(Clone, Default)]
struct Disk(Arc<(Mutex<DiskState>, Condvar)>);

#[derive(Default)]
struct DiskState {
    dead: BTreeSet<PathBuf>,
    looks: HashMap<PathBuf, usize>,
}

impl Disk {
    fn with(dead: &[&str]) -> Self {
        let disk = Self::default();
        lock(&disk.0.0).dead = dead.iter().map(PathBuf::from).collect();
        disk
    }

    fn look(&self, path: &Path) -> String {
        let (state, changed) = &*self.0;
        let mut state = lock(state);
        *state.looks.entry(path.to_owned()).or_default() += 1;
        while state.dead.contains(path) {
            state = changed.wait(state).expect("a lock");
        }
        path.display().to_string()
    }

    fn revive(&self) {
        lock(&self.0.0).dead.clear();
        self.0.1.notify_all();
    }

    fn looks(&self, path: &str) -> usize {
        let state = lock(&self.0.0);
        state
            .looks
            .get(Path::new(path))
            .copied()
            .unwrap_or_default()
    }

    fn watch(&self) -> Watch<String> {
        let disk = self.clone();
        Watch::new(LIMIT, move |path| disk.look(path))
    }
}

fn run<R>(future: impl Future<Output = R>) -> R {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build();
    runtime.expect("a runtime").block_on(future)
}

fn paths(names: &[&str]) -> Vec<PathBuf> {
    names.iter().map(PathBuf::from).collect()
}

/// Returns the names that were answered, in order. Each answer is that of its path.
fn answered(answers: &HashMap<PathBuf, String>) -> Vec<&str> {
    for (path, answer) in answers {
        assert_eq!(path, Path::new(answer));
    }
    let mut names: Vec<&str> = answers.values().map(String::as_str).collect();
    names.sort_unstable();
    names
}

/// Asks until the answer comes.
async fn until<T>(mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + LONG;
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(Instant::now() < deadline, "no answer");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[test]
fn a_look_is_answered() {
    let path = Path::new("/probe-look/answers");
    assert_eq!(run(within(path, LONG, || 1)), Some(1));
    assert_eq!(within_blocking(path, LONG, || 2), Some(2));
}

#[test]
fn a_look_that_hangs_is_left_and_nothing_piles_up() {
    let disk = Disk::with(&["/probe-look/hangs"]);
    let path = Path::new("/probe-look/hangs");
    let look = || {
        let disk = disk.clone();
        move || disk.look(path)
    };
    run(async {
        let began = Instant::now();
        assert_eq!(within(path, LIMIT, look()).await, None);
        assert!(began.elapsed() >= LIMIT);
        // It is known by now: neither way starts another look, nor waits.
        let began = Instant::now();
        for _ in 0..1000 {
            assert_eq!(within(path, LIMIT, look()).await, None);
            assert_eq!(within_blocking(path, LIMIT, look()), None);
        }
        assert!(began.elapsed() < LIMIT * 1000);
        assert_eq!(disk.looks("/probe-look/hangs"), 1);
        // Another path is not affected.
        let other = Path::new("/probe-look/other");
        assert_eq!(within(other, LONG, || 1).await, Some(1));
        disk.revive();
        let seen = until(async || within(path, LIMIT, look()).await).await;
        assert_eq!(seen, "/probe-look/hangs");
    });
}

#[test]
fn who_has_more_time_is_not_refused_for_who_has_less() {
    let disk = Disk::with(&["/probe-look/slow"]);
    let path = Path::new("/probe-look/slow");
    let look = || {
        let disk = disk.clone();
        move || disk.look(path)
    };
    run(async {
        assert_eq!(within(path, Duration::ZERO, look()).await, None);
        disk.revive();
        assert!(within(path, LONG, look()).await.is_some());
    });
}

#[test]
fn a_look_that_panics_is_no_answer_and_is_not_remembered() {
    let path = Path::new("/probe-look/panics");
    run(async {
        assert_eq!(
            within(path, LONG, || panic!("it is meant to")).await,
            None::<u8>
        );
        assert_eq!(until(async || within(path, LONG, || 1).await).await, 1);
    });
}

#[test]
fn a_runtime_does_not_wait_for_a_look_that_hangs() {
    let disk = Disk::with(&["/probe-look/runtime"]);
    let path = Path::new("/probe-look/runtime");
    let hangs = disk.clone();
    // The runtime is dropped in here.
    assert_eq!(run(within(path, LIMIT, move || hangs.look(path))), None);
    assert_eq!(disk.looks("/probe-look/runtime"), 1);
    disk.revive();
}

#[test]
fn one_path_that_hangs_is_left_out_and_all_others_are_answered_in_the_same_call() {
    let disk = Disk::with(&["/b"]);
    let mut watch = disk.watch();
    run(async {
        let began = Instant::now();
        let seen = watch.all(paths(&["/a", "/b", "/c", "/d"])).await;
        assert_eq!(answered(&seen), ["/a", "/c", "/d"]);
        assert!(began.elapsed() >= LIMIT);
        let began = Instant::now();
        for _ in 0..100 {
            let seen = watch.all(paths(&["/a", "/b", "/c", "/d"])).await;
            assert_eq!(answered(&seen), ["/a", "/c", "/d"]);
        }
        // Waiting for it in each call would take 100 times the limit.
        assert!(began.elapsed() < LIMIT * 50, "{:?}", began.elapsed());
        assert_eq!((disk.looks("/b"), disk.looks("/c")), (1, 101));
        disk.revive();
        let all = ["/a", "/b", "/c", "/d"];
        until(async || {
            let seen = watch.all(paths(&all)).await;
            (answered(&seen) == all).then_some(())
        })
        .await;
        // Once it has answered quickly, it is looked at together with the others again.
        until(async || {
            watch.all(paths(&all)).await;
            watch.aside.is_empty().then_some(())
        })
        .await;
        let looks = disk.looks("/b");
        watch.all(paths(&all)).await;
        assert_eq!(disk.looks("/b"), looks + 1);
    });
}

#[test]
fn a_path_is_looked_at_once_a_call() {
    let disk = Disk::default();
    let seen = run(disk.watch().all(paths(&["/a", "/a", "/b", "/a"])));
    assert_eq!(answered(&seen), ["/a", "/b"]);
    assert_eq!(disk.looks("/a"), 1);
}

#[test]
fn many_dead_paths_cost_the_logarithm_of_their_number() {
    let names: Vec<String> = (0..60).map(|number| format!("/{number}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let disk = Disk::with(&names);
    let mut watch = disk.watch();
    run(async {
        let began = Instant::now();
        assert!(watch.all(paths(&names)).await.is_empty());
        assert!(began.elapsed() < LIMIT * 20, "{:?}", began.elapsed());
        // A later call does not start a second look at a path that was left out.
        watch.all(paths(&["/x"])).await;
        assert_eq!(answered(&watch.all(paths(&["/0", "/x"])).await), ["/x"]);
        assert!(names.iter().all(|name| disk.looks(name) == 1));
    });
    disk.revive();
}

#[test]
fn a_path_that_is_slow_costs_no_more_than_one_that_is_dead() {
    let slow = LIMIT + Duration::from_millis(100);
    let mut watch = Watch::new(LIMIT, move |path: &Path| {
        if path == Path::new("/slow") {
            thread::sleep(slow);
        }
        path.display().to_string()
    });
    run(async {
        assert_eq!(answered(&watch.all(paths(&["/a", "/slow"])).await), ["/a"]);
        let mut answers = 0;
        let (mut calls, mut waited) = (0, Duration::ZERO);
        while answers < 3 {
            let began = Instant::now();
            let seen = watch.all(paths(&["/a", "/slow"])).await;
            waited += began.elapsed();
            calls += 1;
            assert!(seen.contains_key(Path::new("/a")));
            answers += usize::from(seen.contains_key(Path::new("/slow")));
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert!(calls > 3 && waited < LIMIT * 2, "{calls}: {waited:?}");
    });
}

#[test]
fn a_path_whose_look_panics_takes_no_other_with_it() {
    let mut watch = Watch::new(LIMIT, |path: &Path| {
        assert!(path != Path::new("/b"), "it is meant to");
        path.display().to_string()
    });
    run(async {
        for _ in 0..3 {
            let seen = watch.all(paths(&["/a", "/b", "/c"])).await;
            assert_eq!(answered(&seen), ["/a", "/c"]);
        }
    });
}

#[test]
fn only_so_many_looks_may_be_stuck() {
    let began = Instant::now();
    let later = began + LIMIT;
    let mut running = RunningLooks::default();
    for number in 0..MOST_STUCK {
        let path = PathBuf::from(format!("/{number}"));
        assert!(running.admits(&path, LIMIT, later));
        let number = u64::try_from(number).expect("small");
        running.looks.insert(number, (path, began));
    }
    assert!(!running.admits(Path::new("/other"), LIMIT, later));
    // Those that have just begun are not stuck.
    assert!(running.admits(Path::new("/other"), LIMIT, began));
    running.looks.remove(&7);
    assert!(running.admits(Path::new("/other"), LIMIT, later));
    assert!(!running.admits(Path::new("/8"), LIMIT, later));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    /// Whichever paths are dead, exactly the others are answered, in the first call and in the
    /// next.
    #[test]
    fn exactly_what_lives_is_answered(dead in prop::collection::vec(any::<bool>(), 1..12)) {
        let name = |number: usize| format!("/{number:02}");
        let of = |which: bool| -> Vec<String> {
            let numbers = dead.iter().enumerate().filter(|(_, dead)| **dead == which);
            numbers.map(|(number, _)| name(number)).collect()
        };
        let (gone, alive) = (of(true), of(false));
        let gone: Vec<&str> = gone.iter().map(String::as_str).collect();
        let disk = Disk::with(&gone);
        let mut watch = disk.watch();
        let all: Vec<PathBuf> = (0..dead.len()).map(|number| name(number).into()).collect();
        for _ in 0..2 {
            let seen = run(watch.all(all.clone()));
            prop_assert_eq!(answered(&seen), alive.clone());
        }
        disk.revive();
    }
}

#[test]
fn a_place_is_told_as_the_system_names_it() {
    let directory = tempfile::tempdir().expect("a directory");
    let real = directory.path().canonicalize().expect("there").join("real");
    let link = directory.path().join("link");
    std::fs::create_dir(&real).expect("made");
    std::os::unix::fs::symlink(&real, &link).expect("linked");
    let place = DirectorySight::of(&link);
    assert_eq!(place.path.as_deref(), real.to_str());
    assert!(place.is_directory);
    assert_eq!(
        DirectorySight::of(&directory.path().join("none")),
        DirectorySight::default()
    );
}
