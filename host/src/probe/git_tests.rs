//! The branch compared with `git` itself, in repositories that are created and broken at random.

use std::fs;
use std::os::unix::fs::symlink;

use proptest::prelude::*;

use super::*;

/// Runs `git` as a person would. Returns its output if it succeeded.
fn run(directory: &Path, args: &[&str]) -> Option<String> {
    let mut command = Command::new("git");
    command.current_dir(directory).args(args);
    for name in REDIRECTING {
        command.env_remove(name);
    }
    for role in ["AUTHOR", "COMMITTER"] {
        command.env(format!("GIT_{role}_NAME"), "a");
        command.env(format!("GIT_{role}_EMAIL"), "a@example.org");
    }
    let output = command.stdin(Stdio::null()).output().ok()?;
    let said = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| said.trim().to_owned())
}

fn git_is_there() -> bool {
    let found = run(Path::new("/"), &["--version"]).is_some();
    assert!(found || std::env::var_os("CI").is_none(), "git is missing");
    found
}

/// What `git` says, asked in another way than the code does. `None` if it refuses.
fn oracle(directory: &Path) -> Option<String> {
    if let Some(branch) = run(directory, &["branch", "--show-current"])
        && !branch.is_empty()
    {
        return Some(branch);
    }
    let head = run(directory, &["symbolic-ref", "--quiet", "HEAD"]);
    head.or_else(|| {
        Some(run(directory, &["rev-parse", "--verify", "--quiet", "HEAD"])?[..7].to_owned())
    })
}

/// What is done to a repository.
#[derive(Debug, Clone, Copy)]
enum Deed {
    Commit,
    NewBranch(u8),
    Switch(u8),
    Detach,
    Rename(u8),
    Pack,
    Tag(u8),
    /// HEAD refers to a branch that does not exist yet.
    Unborn(u8),
    /// HEAD refers to something that is not a branch.
    NoBranch,
    /// A branch refers to another branch.
    Alias(u8, u8),
    LinkedHead(u8),
    Head(&'static str),
    Reference(u8, &'static str),
    Config(&'static str),
    NoObjects,
    EmptyDirectory,
    EmptyFile,
    GarbageFile,
    Removed,
    /// Of `.git`, of the directory, or of the repository.
    AnotherOwner(u8),
}

const NAMES: [&str; 4] = ["main", "feature/a-b", "b", "refs"];

fn name() -> impl Strategy<Value = u8> {
    0..4u8
}

/// Most of the changes are made in one place.
fn place() -> impl Strategy<Value = usize> {
    prop_oneof![2 => Just(0), 1 => Just(3), 2 => 0..11usize]
}

fn deed() -> impl Strategy<Value = Deed> {
    let text = prop::sample::select(vec![
        "",
        "nonsense",
        "0123456",
        "0123456789012345678901234567890123456789\n",
        "ref: refs/heads/x\n",
        "ref:refs/heads/y",
        "ref: refs/heads/a..b\n",
        "ref: refs/remotes/origin/x\n",
        "ref: refs/heads/.invalid\n",
        "ref: refs/heads/b\nmore\n",
    ]);
    let config = prop::sample::select(vec![
        "nonsense [",
        "[core]\n\trepositoryformatversion = 9\n",
        "[core]\n\trepositoryformatversion = 1\n[extensions]\n\tunheard = true\n",
        "[core]\n\tbare = true\n",
        "[core]\n\tworktree = /\n",
    ]);
    prop_oneof![
        3 => Just(Deed::Commit),
        3 => name().prop_map(Deed::NewBranch),
        2 => name().prop_map(Deed::Switch),
        1 => Just(Deed::Detach),
        1 => name().prop_map(Deed::Rename),
        1 => Just(Deed::Pack),
        1 => name().prop_map(Deed::Tag),
        1 => name().prop_map(Deed::Unborn),
        1 => Just(Deed::NoBranch),
        2 => (name(), name()).prop_map(|(one, other)| Deed::Alias(one, other)),
        1 => name().prop_map(Deed::LinkedHead),
        2 => text.clone().prop_map(Deed::Head),
        1 => (name(), text).prop_map(|(name, text)| Deed::Reference(name, text)),
        1 => config.prop_map(Deed::Config),
        1 => Just(Deed::NoObjects),
        1 => Just(Deed::EmptyDirectory),
        1 => Just(Deed::EmptyFile),
        1 => Just(Deed::GarbageFile),
        1 => Just(Deed::Removed),
        1 => (0..3u8).prop_map(Deed::AnotherOwner),
    ]
}

impl Deed {
    /// Performs it in the repository of `place`, unless that is already broken.
    fn perform(self, place: &Path) {
        let named = |name: u8| NAMES[usize::from(name)];
        let of = |name: u8| format!("refs/heads/{}", named(name));
        let say = |args: &[&str]| {
            let _ = run(place, args);
        };
        let repository = run(place, &["rev-parse", "--absolute-git-dir"]).map(PathBuf::from);
        let common =
            run(place, &["rev-parse", "--git-common-dir"]).map(|common| place.join(common));
        let write = |directory: Option<&PathBuf>, name: &str, text: &str| {
            if let Some(directory) = directory {
                let path = directory.join(name);
                let _ = fs::create_dir_all(path.parent().expect("a directory"));
                let _ = fs::write(path, text);
            }
        };
        let dot = place.join(".git");
        let clear = || {
            let _ = fs::remove_dir_all(&dot);
            let _ = fs::remove_file(&dot);
        };
        match self {
            Self::Commit => say(&["commit", "--quiet", "--allow-empty", "-m", "one"]),
            Self::NewBranch(name) => say(&["checkout", "--quiet", "-b", named(name)]),
            Self::Switch(name) => say(&["checkout", "--quiet", named(name)]),
            Self::Detach => say(&["checkout", "--quiet", "--detach"]),
            Self::Rename(name) => say(&["branch", "-m", named(name)]),
            Self::Pack => say(&["pack-refs", "--all"]),
            Self::Tag(name) => say(&["tag", "-f", named(name)]),
            Self::Unborn(name) => say(&["symbolic-ref", "HEAD", &of(name)]),
            Self::NoBranch => say(&["symbolic-ref", "HEAD", "refs/other/x"]),
            Self::Alias(one, other) => say(&["symbolic-ref", &of(one), &of(other)]),
            Self::LinkedHead(name) => {
                if let Some(repository) = &repository {
                    let _ = fs::remove_file(repository.join("HEAD"));
                    let _ = symlink(of(name), repository.join("HEAD"));
                }
            }
            Self::Head(text) => write(repository.as_ref(), "HEAD", text),
            Self::Reference(name, text) => write(common.as_ref(), &of(name), text),
            Self::Config(text) => write(common.as_ref(), "config", text),
            Self::NoObjects => {
                if let Some(common) = &common {
                    let _ = fs::remove_dir_all(common.join("objects"));
                }
            }
            Self::EmptyDirectory => {
                clear();
                let _ = fs::create_dir(&dot);
            }
            Self::EmptyFile | Self::GarbageFile => {
                clear();
                let garbage = if matches!(self, Self::EmptyFile) {
                    ""
                } else {
                    "gitdir: /nowhere\n"
                };
                let _ = fs::write(&dot, garbage);
            }
            Self::Removed => clear(),
            Self::AnotherOwner(whose) => {
                let path = [Some(dot), Some(place.to_owned()), repository];
                let path = path.into_iter().nth(usize::from(whose)).flatten();
                if let Some(path) = path
                    && rustix::process::geteuid().is_root()
                {
                    let _ = std::os::unix::fs::chown(path, Some(4321), None);
                }
            }
        }
    }
}

/// Creates repositories of each kind, some inside another's directory. Returns the places to ask
/// in.
fn repositories(root: &Path) -> Vec<PathBuf> {
    let init = |name: &str, more: &[&str]| {
        let place = root.join(name);
        fs::create_dir_all(&place).expect("made");
        let mut args = vec!["init", "--quiet", "--initial-branch=main"];
        args.extend(more);
        let _ = run(&place, &args);
        let _ = run(&place, &["commit", "--quiet", "--allow-empty", "-m", "one"]);
        place
    };
    let plain = init("plain", &[]);
    let deep = plain.join("deep/er");
    fs::create_dir_all(&deep).expect("made");
    let inner = init("plain/inner", &[]);
    let worktree = root.join("worktree");
    let _ = run(
        &plain,
        &["worktree", "add", "--quiet", "-b", "side", "../worktree"],
    );
    let outer = init("outer", &[]);
    let add = [
        "-c",
        "protocol.file.allow=always",
        "submodule",
        "--quiet",
        "add",
        "../plain",
        "sub",
    ];
    let _ = run(&outer, &add);
    let bare = init("bare.git", &["--bare"]);
    let hooks = bare.join("hooks");
    let tables = init("tables", &["--ref-format=reftable"]);
    let longer = init("longer", &["--object-format=sha256"]);
    let none = root.join("none");
    fs::create_dir(&none).expect("made");
    vec![
        plain,
        deep,
        inner,
        worktree,
        outer.join("sub"),
        outer,
        hooks,
        bare,
        tables,
        longer,
        none,
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, max_shrink_iters: 40, ..ProptestConfig::default() })]

    #[test]
    fn every_answer_is_that_of_git(deeds in prop::collection::vec((place(), deed()), 1..20)) {
        if !git_is_there() {
            return Ok(());
        }
        let root = tempfile::tempdir().expect("a directory");
        let places = repositories(&root.path().canonicalize().expect("there"));
        for place in &places {
            let said = branch(place);
            prop_assert_eq!(said.clone().ok().flatten(), oracle(place), "{:?}: {:?}", place, said);
        }
        for (place, deed) in deeds {
            deed.perform(&places[place]);
            // A worktree and what is below it are affected by changes to the whole.
            for place in &places {
                for said in [branch(place), branch_now(place), branch(place)] {
                    let branch = said.clone().ok().flatten();
                    prop_assert_eq!(branch, oracle(place), "{:?} after {:?}: {:?}", place, deed, said);
                }
            }
        }
    }
}

#[test]
fn an_answer_is_kept_until_something_changes() {
    if !git_is_there() {
        return;
    }
    let root = tempfile::tempdir().expect("a directory");
    for place in repositories(&root.path().canonicalize().expect("there")) {
        let answer = branch(&place);
        let kept = || {
            KEPT.lock()
                .expect("whole")
                .get(&place)
                .map(|known| known.until)
        };
        let first = kept().expect("it is kept");
        assert_eq!(branch(&place), answer);
        assert_eq!(kept(), Some(first), "{place:?}: it was asked again");
        assert_eq!(branch_now(&place), answer);
        assert!(kept() > Some(first), "{place:?}: it was not asked again");
    }
}

#[test]
fn why_a_branch_is_not_known_is_said() {
    if !git_is_there() {
        return;
    }
    let root = tempfile::tempdir().expect("a directory");
    let place = root.path();
    assert_eq!(branch(place), Ok(None), "no repository");
    fs::write(place.join(".git"), "nonsense").expect("written");
    let why = branch(place).expect_err("garbage");
    assert!(
        why.contains("git says: ") && why.contains("gitfile"),
        "{why}"
    );
    fs::remove_file(place.join(".git")).expect("removed");
    run(place, &["init", "--quiet", "--initial-branch=main"]).expect("made");
    assert_eq!(branch(place), Ok(Some("main".to_owned())));
    let head = place.join(".git/HEAD");
    fs::remove_file(&head).expect("removed");
    let pipe = Command::new("mkfifo").arg(&head).status();
    assert!(pipe.is_ok_and(|status| status.success()));
    let began = Instant::now();
    let _ = branch(place);
    assert!(
        began.elapsed() < GIT_WITHIN * 5,
        "a pipe that nobody writes"
    );
    let why = branch(&place.join("missing")).expect_err("missing");
    assert!(why.contains("cannot look at"), "{why}");
}

#[test]
fn a_program_that_does_not_end_is_ended() {
    let began = Instant::now();
    let mut command = Command::new("sh");
    command.args(["-c", "echo one; exec sleep 60"]);
    let error = answer(&mut command, Duration::from_millis(200)).expect_err("late");
    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    assert!(began.elapsed() < Duration::from_secs(20));
}
