//! Where each setting comes from: every key of the file, and every place that overrides it.

use std::fs;

use super::*;

fn written(text: &str) -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("config.toml");
    fs::write(&path, text).expect("written");
    (directory, path)
}

fn parsed(text: &str) -> File {
    let (_directory, path) = written(text);
    Config::read(&path).expect("a configuration").0
}

/// A setting: its table, its key, a value, and the effective value without and with it in the file.
type SettingRow = (
    &'static str,
    &'static str,
    &'static str,
    fn(&File) -> String,
    &'static str,
    &'static str,
);

fn settings() -> Vec<SettingRow> {
    macro_rules! row {
        ($table:literal, $key:literal, $value:literal, $file:ident => $read:expr, $default:literal, $set:literal) => {
            (
                $table,
                $key,
                $value,
                |$file: &File| format!("{:?}", $read),
                $default,
                $set,
            )
        };
    }
    vec![
        row!("", "data-dir", "'/srv/q'", file => file.data_dir, "None", "Some(\"/srv/q\")"),
        row!("", "tmux-socket", "'work'", file => file.tmux_socket, "None", "Some(\"work\")"),
        row!("policy", "use", "'mine'", file => file.policy.source, "None", "Some(\"mine\")"),
        row!("policy", "settings", "{ a = 1 }", file => file.policy.settings.get("a"), "None", "Some(Integer(1))"),
        row!("policy", "settings-of", "{ b = { a = 2 } }", file => file.policy.settings_of.keys(), "[]", "[\"b\"]"),
        row!("policy", "time", "'2s'", file => file.policy.time, "None", "Some(2s)"),
        row!("policy", "load-time", "'3s'", file => file.policy.load_time, "None", "Some(3s)"),
        row!("policy", "memory", "5", file => file.policy.memory, "None", "Some(5)"),
        row!("policy", "stack", "6", file => file.policy.stack, "None", "Some(6)"),
        row!("policy", "answer", "7", file => file.policy.answer, "None", "Some(7)"),
        row!("policy", "log-lines", "8", file => file.policy.log_lines, "None", "Some(8)"),
        row!("policy", "file-size", "9", file => file.policy.file_size, "None", "Some(9)"),
        row!("policy", "record", "true", file => file.policy.record, "false", "true"),
        row!("policy", "record-limit", "10", file => file.policy.record_limit, "64", "10"),
        row!("sessions", "exclude", "['a']", file => file.sessions.exclude.set().is_match("a"), "false", "true"),
        row!("sessions", "protect", "['a']", file => file.sessions.protect.set().is_match("a"), "false", "true"),
        row!("engine", "output-limit", "11", file => file.engine.output_limit, "16777216", "11"),
        row!("engine", "explain", "12", file => file.engine.explain, "10", "12"),
        row!("engine", "start-within", "'13s'", file => file.engine.start_within, "10s", "13s"),
        row!("engine", "attended-for", "'14s'", file => file.engine.attended_for, "3s", "14s"),
        row!("engine", "prerequisite-timeout", "'15s'", file => file.engine.prerequisite_timeout, "600s", "15s"),
        row!("engine", "shell-integration", "false", file => file.engine.shell_integration, "true", "false"),
        row!("engine", "ask-variables", "false", file => file.engine.ask_variables, "true", "false"),
        row!("agents", "headless", "['a']", file => file.agents.headless, "[]", "[\"a\"]"),
        row!("notify", "on", "['failed']", file => file.notify.on, "{Waiting}", "{Failed}"),
        row!("notify", "terminal", "'osc9'", file => file.notify.terminal, "None", "Some(Osc9)"),
        row!("notify", "command", "'ring'", file => file.notify.command, "None", "Some(\"ring\")"),
        row!("notify", "bell", "true", file => file.notify.bell, "false", "true"),
    ]
}

#[test]
fn each_setting_of_the_file_goes_before_its_default_and_changes_no_other() {
    for (table, key, value, read, default, set) in settings() {
        let text = match table {
            "" => format!("{key} = {value}\n"),
            table => format!("[{table}]\n{key} = {value}\n"),
        };
        let file = parsed(&text);
        for (other_table, other, _, other_read, other_default, _) in settings() {
            let found = other_read(&file);
            if (other_table, other) == (table, key) {
                assert_eq!(found, set, "{table}.{key}");
                assert_eq!(read(&File::default()), default, "{table}.{key}");
            } else {
                assert_eq!(
                    found, other_default,
                    "{other_table}.{other} with {table}.{key}"
                );
            }
        }
    }
}

/// The list above has everything that the parser accepts, so a new setting cannot be forgotten
/// there.
#[test]
fn every_setting_is_in_the_list() {
    for table in ["", "policy", "sessions", "engine", "notify"] {
        let text = match table {
            "" => "xyzzy = 1\n".to_owned(),
            table => format!("[{table}]\nxyzzy = 1\n"),
        };
        let (_directory, path) = written(&text);
        let error = Config::read(&path).expect_err("unknown").to_string();
        let (_, known) = error.split_once("expected").expect("what is known");
        let known: Vec<&str> = known.split('`').skip(1).step_by(2).collect();
        let listed: Vec<&str> = settings()
            .iter()
            .filter(|row| row.0 == table)
            .map(|row| row.1)
            .collect();
        let tables = ["policy", "sessions", "engine", "agents", "notify", "pool"];
        assert!(known.len() > 1, "{error}");
        for key in known {
            let is_table = table.is_empty() && tables.contains(&key);
            assert!(is_table || listed.contains(&key), "{table}.{key}");
        }
    }
}

#[test]
fn the_limits_of_policies_are_given_on_in_bytes() {
    let (directory, path) = written(
        "[policy]\ntime = '1s'\nload-time = '2s'\nmemory = 3\nstack = 4\nanswer = 5\n\
         log-lines = 6\nfile-size = 7\n",
    );
    let data = || Some(directory.path().to_owned());
    let config = Config::load(Some(&path), data(), None).expect("valid");
    let expected = Overrides {
        time: Some(Duration::from_secs(1)),
        load_time: Some(Duration::from_secs(2)),
        memory: Some(3 << 20),
        stack: Some(4 << 10),
        answer: Some(5 << 10),
        log_lines: Some(6),
        file: Some(7 << 20),
    };
    assert_eq!(config.overrides(), expected);
    assert_eq!(config.policy_name(), DEFAULT_POLICY);
    let (_other, most) = written(&format!("[policy]\nmemory = {}\n", i64::MAX));
    let config = Config::load(Some(&most), data(), None).expect("valid");
    assert_eq!(config.overrides().memory, Some(usize::MAX));
}

/// The places of a setting of the whole program; the first place that sets it wins: the flag, its
/// variable, the file, the default.
const PLACES: [&str; 4] = ["flag", "variable", "file", "default"];

/// The variable that passes a row of the table below to the child.
const CHILD: &str = "ASSIGNER_TEST_PRECEDENCE";

#[derive(Debug, Clone, Copy, PartialEq)]
enum Setting {
    DataDir,
    Socket,
    File,
}

impl Setting {
    const ALL: [Self; 3] = [Self::DataDir, Self::Socket, Self::File];

    fn flag(self) -> &'static str {
        match self {
            Self::DataDir => "--data-dir",
            Self::Socket => "--tmux-socket",
            Self::File => "--config",
        }
    }

    fn variable(self) -> &'static str {
        match self {
            Self::DataDir => "ASSIGNER_DATA_DIR",
            Self::Socket => "ASSIGNER_TMUX_SOCKET",
            Self::File => "ASSIGNER_CONFIG",
        }
    }
}

/// Runs this very test as a child that prints the effective value of a setting.
fn found(root: &Path, setting: Setting, given: &[&str]) -> String {
    let usual = root.join("config/assigner");
    fs::create_dir_all(&usual).expect("a directory");
    let path = |place: &str| root.join(place).display().to_string();
    let value = |place: &str| match setting {
        Setting::DataDir | Setting::File => path(place),
        Setting::Socket => place.to_owned(),
    };
    for place in PLACES {
        fs::write(root.join(place), format!("tmux-socket = '{place}'\n")).expect("written");
    }
    let file = match setting {
        Setting::DataDir => format!("data-dir = '{}'\n", path("file")),
        Setting::Socket => "tmux-socket = 'file'\n".to_owned(),
        Setting::File => "tmux-socket = 'file'\n".to_owned(),
    };
    let file = if given.contains(&"file") {
        file
    } else {
        String::new()
    };
    fs::write(usual.join("config.toml"), file).expect("written");
    let mut command = std::process::Command::new(std::env::current_exe().expect("this program"));
    command
        .args([
            "--exact",
            "config::precedence::a_flag_goes_before_a_variable_before_the_file_before_the_default",
        ])
        .args(["--nocapture", "--test-threads=1"])
        .env_clear()
        .env("HOME", root)
        .env("XDG_CONFIG_HOME", root.join("config"))
        .env("XDG_DATA_HOME", root.join("data"))
        .env("TMUX", format!("{},1,0", root.join("enclosing").display()));
    let mut line = Vec::new();
    if given.contains(&"flag") {
        line.extend([setting.flag().to_owned(), value("flag")]);
    }
    command.env(CHILD, line.join("\n"));
    if given.contains(&"variable") {
        command.env(setting.variable(), value("variable"));
    }
    let output = command.output().expect("it runs");
    let told = String::from_utf8(output.stdout).expect("UTF-8");
    let line = told.lines().find_map(|line| line.split_once("found "));
    let found = line.unwrap_or_else(|| panic!("{told}")).1;
    let (data_dir, socket) = found.split_once(' ').expect("two");
    let found = match setting {
        Setting::DataDir => data_dir,
        Setting::Socket | Setting::File => socket,
    };
    found.replace(&format!("{}/", root.display()), "")
}

#[test]
fn a_flag_goes_before_a_variable_before_the_file_before_the_default() {
    if let Ok(line) = std::env::var(CHILD) {
        let line = line.lines().map(str::to_owned);
        let config = crate::cli::configured(line).expect("a configuration");
        let socket = match &config.socket {
            Socket::Default => "default".to_owned(),
            Socket::Name(name) => name.clone(),
            Socket::Path(path) => path.display().to_string(),
        };
        println!("\nfound {} {socket}", config.data_dir.display());
        return;
    }
    let directory = tempfile::tempdir().expect("a directory");
    let root = directory.path().canonicalize().expect("a path");
    for setting in Setting::ALL {
        for mask in 0..8 {
            let given: Vec<&str> = (0..3)
                .filter(|place| mask & (1 << place) != 0)
                .map(|place| PLACES[place])
                .collect();
            let first = given.first().copied();
            let expected = match (setting, first) {
                (_, Some(place)) => place,
                (Setting::DataDir, None) => "data/assigner",
                (Setting::Socket | Setting::File, None) => "enclosing",
            };
            assert_eq!(
                found(&root, setting, &given),
                expected,
                "{setting:?} {given:?}"
            );
        }
    }
}

#[test]
fn a_wrong_file_still_says_where_the_queue_is() {
    for wrong in [
        "data-dir = '/srv/q'\ntmux-socket = \"work\"\n[engine]\nexplian = 1\n",
        "data-dir = '/srv/q'\ntmux-socket = \"work\"\n[engine\nexplain = 1\n",
        "data-dir = '/srv/q'\ntmux-socket = \"work\"\n[engine]\nexplain = \n",
    ] {
        let (_directory, path) = written(wrong);
        Config::load(Some(&path), None, None).expect_err("wrong");
        let mut told = None;
        let warn = |error: &ConfigError| told = Some(error.to_string());
        let config = Config::load_if_wrong(Some(&path), None, None, warn).expect("a place");
        assert_eq!(config.data_dir, Path::new("/srv/q"), "{wrong}");
        assert_eq!(config.socket.option(), "work", "{wrong}");
        assert!(told.is_some_and(|told| told.contains("line")), "{wrong}");
        assert_eq!(config.file.engine, EngineSection::default());
    }
    // One that cannot be read says nothing at all.
    let gone = Path::new("/nowhere/config.toml");
    Config::load_if_wrong(Some(gone), None, None, |_| ()).expect_err("no file");
}
