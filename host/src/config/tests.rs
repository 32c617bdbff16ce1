use std::fs;

use super::*;
use crate::node::{Launch, Pool, Stand};

const EMBEDDED: &[u8] = include_bytes!("../../../policies/default/default.wasm");

fn parse(text: &str) -> Result<File, String> {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("config.toml");
    fs::write(&path, text).expect("written");
    let read = Config::read(&path).map(|(file, _)| file);
    read.map_err(|error| {
        error
            .to_string()
            .replace(&directory.path().display().to_string(), "")
    })
}

#[test]
fn the_empty_file_is_the_default() {
    assert_eq!(parse(""), Ok(File::default()));
}

#[test]
fn inside_tmux_the_server_around_is_meant() {
    let path = Socket::Path("/tmp/tmux-0/work".into());
    assert_eq!(enclosing_server(Some("/tmp/tmux-0/work,123,0")), path);
    assert_eq!(enclosing_server(Some("")), Socket::Default);
    assert_eq!(enclosing_server(None), Socket::Default);
}

#[test]
fn the_example_holds_every_default() {
    let example = include_str!("../../../examples/config.toml");
    let file = parse(example).expect("valid");
    let mut settings = file.policy.settings.clone();
    assert_eq!(file.policy.source.as_deref(), Some(DEFAULT_POLICY));
    let without_settings = File {
        policy: PolicySection {
            settings: toml::Table::new(),
            source: None,
            ..file.policy
        },
        ..file
    };
    assert_eq!(without_settings, File::default());
    let none = serde_json::json!({});
    let policy = Loader::default().bytes("it", EMBEDDED, &none);
    let policy = policy.expect("a policy");
    for (name, value) in policy.default_settings().as_object().expect("an object") {
        let example = settings.remove(name).expect("every setting");
        assert_eq!(
            serde_json::to_value(example).expect("json"),
            *value,
            "{name}"
        );
    }
    assert!(settings.is_empty(), "unknown: {settings:?}");
    // Settings without a default appear there after a `#`.
    for name in [
        "data-dir",
        "tmux-socket",
        "time",
        "load-time",
        "memory",
        "stack",
        "answer",
        "log-lines",
        "file-size",
        "settings-of",
    ] {
        assert!(example.contains(&format!("# {name} =")), "{name}");
    }
}

#[test]
fn settings_are_read() {
    let file = parse(
        "tmux-socket = 'x'\n[policy]\nuse = 'mine.wasm'\ntime = '2s'\n[policy.settings]\nmin-score = 50\n[engine]\nattended-for = '0s'\n",
    )
    .expect("valid");
    assert_eq!(file.policy.source.as_deref(), Some("mine.wasm"));
    assert_eq!(file.policy.time, Some(Duration::from_secs(2)));
    assert_eq!(file.policy.settings["min-score"].as_integer(), Some(50));
    assert_eq!(file.engine.attended_for, Duration::ZERO);
}

#[test]
fn each_duration_is_kept_to_the_millisecond_and_refused_by_its_name() {
    type Read = fn(&File) -> Option<Duration>;
    let settings: [(&str, &str, Read); 7] = [
        ("[engine]", "start-within", |file| {
            Some(file.engine.start_within)
        }),
        ("[engine]", "attended-for", |file| {
            Some(file.engine.attended_for)
        }),
        ("[engine]", "prerequisite-timeout", |file| {
            Some(file.engine.prerequisite_timeout)
        }),
        ("[policy]", "time", |file| file.policy.time),
        ("[policy]", "load-time", |file| file.policy.load_time),
        ("[[pool]]\nname = 'a'\ncommand = 'b'", "idle", |file| {
            Some(file.pools.0[0].idle)
        }),
        (
            "[[pool]]\nname = 'a'\ncommand = 'b'",
            "start-within",
            |file| Some(file.pools.0[0].start_within),
        ),
    ];
    for (table, name, value) in settings {
        let read = |text: &str| parse(&format!("{table}\n{name} = {text}\n"));
        let refused = |text: &str| {
            let error = read(text).expect_err(text);
            assert!(error.contains(name) && error.contains("line "), "{error}");
            assert!(!error.contains('\n'), "{error}");
            error
        };
        let whole = name == "prerequisite-timeout";
        if whole {
            assert!(refused("'900ms'").contains("`prerequisite-timeout = \"900ms\"`: it is finer"));
            refused("'1500ms'");
        } else {
            let file = read("'900ms'").expect(name);
            assert_eq!(value(&file), Some(Duration::from_millis(900)), "{name}");
        }
        let file = read("'2s'").expect(name);
        assert_eq!(value(&file), Some(Duration::from_secs(2)), "{name}");
        if name == "attended-for" {
            assert_eq!(
                read("'0s'").map(|file| file.engine.attended_for),
                Ok(Duration::ZERO)
            );
        } else {
            assert!(refused("'0s'").contains("it is zero"));
        }
        for wrong in [
            "''",
            "'soon'",
            "'nan'",
            "'-1s'",
            "'99999999999d'",
            "'1us'",
            "'2'",
            "10",
            "1.5",
            "nan",
        ] {
            refused(wrong);
        }
    }
}

#[test]
fn settings_reach_the_policy_that_they_are_for() {
    let text = "[policy]\nuse = 'mine'\n[policy.settings]\na = 1\nb = 2\n\
                [policy.settings-of.other]\nc = 3\n";
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("config.toml");
    fs::write(&path, text).expect("written");
    let data = Some(directory.path().to_owned());
    let config = Config::load(Some(&path), data, None).expect("valid");
    let set = [setting("b=x").expect("a setting")];
    let both = serde_json::json!({"a": 1, "b": "x"});
    assert_eq!(config.live_settings("mine", &set), both);
    assert_eq!(config.settings("/path/mine.wasm", &set), both);
    // The policy that decides gets them, whichever it is, unless it has its own; one that is
    // only examined does not.
    assert_eq!(config.live_settings("third", &set), both);
    assert_eq!(
        config.settings("third", &set),
        serde_json::json!({"b": "x"})
    );
    let other = serde_json::json!({"c": 3});
    assert_eq!(config.live_settings("other.wasm", &[]), other);
    assert_eq!(config.settings("./other.wasm", &[]), other);
}

#[test]
fn a_setting_is_json_or_text() {
    for (text, expected) in [
        ("a=1", serde_json::json!(1)),
        ("a=wait", serde_json::json!("wait")),
        ("a=\"1\"", serde_json::json!("1")),
        ("a=[1, \"b\"]", serde_json::json!([1, "b"])),
        ("a=", serde_json::json!("")),
        ("a=b=c", serde_json::json!("b=c")),
    ] {
        assert_eq!(setting(text), Ok(("a".to_owned(), expected)), "{text}");
    }
    for text in ["", "a", "=1", " =1"] {
        assert!(setting(text).is_err(), "{text}");
    }
}

#[test]
fn patterns_match_whole_names() {
    let file = parse("[sessions]\nexclude = ['mgr-*', 'a?c']\n").expect("valid");
    let set = file.sessions.exclude.set();
    for (name, excluded) in [
        ("mgr-1", true),
        ("abc", true),
        ("xmgr-1", false),
        ("abcd", false),
    ] {
        assert_eq!(set.is_match(name), excluded, "{name}");
    }
    let error = parse("[sessions]\nprotect = ['[']\n").expect_err("no pattern");
    assert!(error.contains("line 2"), "{error}");
}

#[test]
fn mistakes_name_their_line() {
    let error = parse("\n[policy]\nuze = 'x'\n").expect_err("unknown");
    assert!(error.contains("line 3") && error.contains("uze"), "{error}");
    assert!(!error.contains('\n'), "{error}");
}

#[test]
fn pools_are_read_with_their_defaults() {
    let file = parse("[[pool]]\nname = 'codex'\ncommand = 'codex'\n").expect("valid");
    let home = PathBuf::from(std::env::var_os("HOME").expect("a home"));
    let codex = Pool {
        name: "codex".to_owned(),
        command: Launch::Line("codex".to_owned()),
        provider: "codex".to_owned(),
        stand: Stand::Directory(home.clone()),
        max: 1,
        idle: Duration::from_secs(600),
        tasks: 0,
        env: BTreeMap::new(),
        start_within: Duration::from_secs(60),
    };
    assert_eq!(file.pools.0, [codex]);
    let file = parse(
        "[[pool]]\nname = 'a'\ncommand = ['b', 'c']\nprovider = 'd'\nworktree = '~/e'\nmax = 3\n\
         idle = '1s'\nstart-within = '2m'\nenv = { F = 'g' }\n\
         [[pool]]\nname = 'b'\ncommand = 'b'\ndirectory = '/srv'\ntasks = 2\n\
         [[pool]]\nname = 'c'\ncommand = 'c'\nworktree = '/srv'\ntasks = 0\n",
    )
    .expect("valid");
    let [a, b, c] = file.pools.0.as_slice() else {
        panic!("three pools: {file:?}");
    };
    assert_eq!((a.tasks, b.tasks, c.tasks), (1, 2, 0));
    assert_eq!(a.stand, Stand::Worktree(home.join("e")));
    assert_eq!((a.command.to_string().as_str(), a.max), ("b c", 3));
    assert_eq!(a.start_within, Duration::from_secs(120));
    assert_eq!(b.stand, Stand::Directory("/srv".into()));
}

#[test]
fn a_pool_that_cannot_be_is_refused() {
    for (pool, what) in [
        ("name = 'a.b'\ncommand = 'c'", "name"),
        ("name = 'a'\ncommand = ' '", "empty"),
        ("name = 'a'\ncommand = []", "empty"),
        ("name = 'a'\ncommand = \"a\\nb\"", "control character"),
        ("name = 'a'\ncommand = 'c'\nprovider = ''", "provider"),
        (
            "name = 'a'\ncommand = 'c'\nmax = 65",
            "`max` must be from 1 to 64",
        ),
        ("name = 'a'\ncommand = 'c'\ntasks = -1", "expected u32"),
        ("name = 'a'\ncommand = 'c'\ndirectory = 'd'", "absolute"),
        (
            "name = 'a'\ncommand = 'c'\nenv = { 'b c' = '' }",
            "not begin with a digit",
        ),
        ("name = 'a'\ncommand = 'c'\nidle = '-1s'", "negative"),
        ("name = 'a'\ncommand = 'c'\nmay = 1", "may"),
        ("name = 'a'", "command"),
    ] {
        let error = parse(&format!("[[pool]]\n{pool}\n")).expect_err("a mistake");
        assert!(error.contains(what), "{pool}: {error}");
    }
    let twice = "[[pool]]\nname = 'a'\ncommand = 'c'\n".repeat(2);
    let error = parse(&twice).expect_err("a mistake");
    assert!(error.contains("two pools are called a"), "{error}");
}
