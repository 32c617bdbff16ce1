//! Every prompt of `data/prompts`, half of them in each mode, with every kind of line in it: a shell
//! that reports takes a job only if its line is empty, and a shell that does not report is idle only
//! then.

mod kinds;
mod typing;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::harness::{Shell, World, root, text};
use crate::sample_prompts::everything;

/// The width of the panes.
const COLUMNS: usize = 80;

/// The key that asks a shell for its line.
const KEY: [&str; 8] = ["1b", "5b", "39", "39", "30", "37", "7e", "-H"];

/// The key bindings of a line editor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Emacs,
    Vi,
}

/// The content of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// The line is empty.
    Empty,
    /// A person has begun to type something.
    Draft,
    /// The rest of something unfinished, or the input of a command: not a new line.
    Other,
}

/// A line, and the keys that produce it, as `send-keys` takes them; `text:` marks text that is
/// typed literally.
struct Line {
    name: &'static str,
    kind: Kind,
    keys: Vec<String>,
}

impl Line {
    fn new(name: &'static str, kind: Kind, keys: &[&str]) -> Self {
        let keys = keys.iter().map(|&key| key.to_owned()).collect();
        Self { name, kind, keys }
    }
}

fn lines(shell: Shell, mode: Mode) -> Vec<Line> {
    let draft = |name, text: &str| Line::new(name, Kind::Draft, &[&format!("text:{text}")]);
    let long = "x".repeat(COLUMNS);
    let mut lines = vec![
        Line::new("empty", Kind::Empty, &[]),
        draft("short", "rm -rf x"),
        draft("blank", "ls "),
        draft("one blank", " "),
        draft("pipe", "ls |"),
        draft("dollar", "echo $ "),
        draft("hash", "echo # "),
        draft("percent", "echo % "),
        draft("angle", "cat > "),
        draft("bracket", "(ls) "),
        draft("colon", "echo a: "),
        draft("glyph", "echo ❯ "),
        draft("wrapped", &format!("echo {long} ")),
        draft("filling", "fill"),
        Line::new(
            "typed and taken back",
            Kind::Empty,
            &["text:ls", "BSpace", "BSpace"],
        ),
    ];
    lines.push(Line::new(
        "moved to its start",
        Kind::Draft,
        &["text:ls", "Left", "Left"],
    ));
    lines.push(Line::new(
        "completion",
        Kind::Draft,
        &["text:ls /", "Tab", "Tab"],
    ));
    if mode == Mode::Emacs {
        lines.push(Line::new("search", Kind::Draft, &["C-r", "text:l"]));
        // These were pressed, but not the key that is meant to follow them.
        lines.push(Line::new("Escape", Kind::Empty, &["Escape"]));
        lines.push(Line::new("C-x", Kind::Empty, &["C-x"]));
    }
    match shell {
        Shell::Fish => {
            lines.push(Line::new(
                "newline",
                Kind::Draft,
                &["text:echo a", "M-Enter", "text:b "],
            ));
            lines.push(Line::new(
                "backslash",
                Kind::Draft,
                &["text:rm -rf build \\", "Enter"],
            ));
            lines.push(Line::new(
                "read",
                Kind::Other,
                &["text:read -P 'really? ' x", "Enter"],
            ));
        }
        _ => {
            lines.push(Line::new(
                "newline",
                Kind::Draft,
                &["text:echo a", "C-v", "C-j", "text:b "],
            ));
            lines.push(Line::new(
                "newline at the end",
                Kind::Draft,
                &["text:echo a", "C-v", "C-j"],
            ));
            lines.push(Line::new(
                "backslash",
                Kind::Other,
                &["text:rm -rf build \\", "Enter"],
            ));
            lines.push(Line::new("quote", Kind::Other, &["text:echo 'a", "Enter"]));
            lines.push(Line::new(
                "here-document",
                Kind::Other,
                &["text:cat <<E", "Enter"],
            ));
            lines.push(Line::new(
                "loop",
                Kind::Other,
                &["text:for i in 1; do", "Enter"],
            ));
            let read = if shell == Shell::Zsh {
                "vared -c x"
            } else {
                "read -e x"
            };
            lines.push(Line::new(
                "read",
                Kind::Other,
                &[&format!("text:{read}"), "Enter"],
            ));
        }
    }
    // As fzf is called.
    lines.push(Line::new("picker", Kind::Other, &["C-t"]));
    if shell == Shell::Zsh {
        lines.push(Line::new("question", Kind::Other, &["text:rm *", "Enter"]));
    }
    lines
}

/// Returns the row with the cursor, with its column.
fn row(screen: &str) -> (usize, String) {
    let (cursor, rows) = screen.split_once('\n').unwrap_or_default();
    let (column, row) = cursor.split_once(' ').unwrap_or_default();
    let number = |text: &str| text.parse().unwrap_or(usize::MAX);
    let shown = rows.lines().nth(number(row)).unwrap_or_default();
    (number(column), shown.to_owned())
}

/// A shell with one of the prompts.
struct Seat {
    prompt: String,
    pane: String,
    pid: u32,
}

/// Shells of one kind, one for each prompt, in one tmux server.
struct Hall<'a> {
    world: &'a World,
    seats: Vec<Seat>,
    told: PathBuf,
    marks: PathBuf,
}

impl<'a> Hall<'a> {
    fn open(world: &'a World, shell: Shell, mode: Mode, tells: bool) -> Self {
        let name = shell.program();
        let integration = world.path(format!("integration.{name}"));
        let said = world.assigner(&["shell-init", name]).succeeded();
        fs::write(&integration, said.text()).expect("written");
        let directory = fs::read_dir(root().join("tests/data/prompts").join(name));
        let mut files: Vec<PathBuf> = directory
            .expect("the prompts")
            .map(|entry| entry.expect("an entry").path())
            .collect();
        files.sort();
        if !everything() {
            // Every other one here, and those between elsewhere.
            let first = usize::from(mode == Mode::Vi || !tells);
            files = files.into_iter().skip(first).step_by(2).collect();
        }
        let here = world.mkdir("hall");
        // If it is missing, each fish reads every manual page of the machine when it starts.
        world.mkdir("home/.local/share/fish/generated_completions");
        for file in ["a", "b", "c"] {
            fs::write(world.path("hall").join(file), "").expect("written");
        }
        let picker = text(&world.path("picker"));
        fs::write(&picker, PICKER).expect("written");
        let mut hall = Self {
            world,
            seats: Vec::new(),
            told: told(),
            marks: world.path("marks"),
        };
        fs::create_dir_all(&hall.marks).expect("a directory");
        let mut script = String::new();
        for file in &files {
            let prompt = file
                .file_stem()
                .expect("a name")
                .to_string_lossy()
                .into_owned();
            let mut rc = format!("source {}\n", text(file));
            rc += match (mode, shell) {
                (Mode::Emacs, Shell::Zsh) => "bindkey -e\n",
                (Mode::Emacs, _) => "",
                (_, Shell::Bash) => "set -o vi\n",
                (_, Shell::Zsh) => "bindkey -v\nKEYTIMEOUT=1\n",
                (_, _) => "fish_vi_key_bindings\n",
            };
            rc += &match shell {
                Shell::Bash => format!("bind -x '\"\\C-t\": sh {picker}'\n"),
                Shell::Zsh => format!("pick() {{ sh {picker} }}\nzle -N pick\nbindkey '^T' pick\n"),
                // Some prompts set the vi keys themselves.
                _ => format!("bind \\ct 'sh {picker}'\nbind -M insert \\ct 'sh {picker}'\n"),
            };
            if tells {
                let _ = writeln!(rc, "source {}", text(&integration));
            }
            let path = world.mkdir(&format!("rc/{name}/{prompt}"));
            let file = if shell == Shell::Fish {
                world.mkdir(&format!("rc/{name}/{prompt}/fish")) + "/config.fish"
            } else {
                format!("{path}/.zshrc")
            };
            fs::write(&file, rc).expect("written");
            let command = match shell {
                Shell::Bash => format!("exec bash --noprofile --rcfile '{file}' -i"),
                Shell::Zsh => format!("exec env ZDOTDIR='{path}' zsh -d -i"),
                _ => format!("exec env XDG_CONFIG_HOME='{path}' fish"),
            };
            let _ = writeln!(
                script,
                "new-session -d -x {COLUMNS} -y 24 -s '{prompt}' -c '{here}' \"{command}\""
            );
        }
        let path = world.path("hall.tmux");
        fs::write(&path, script).expect("written");
        world.tmux(&["new-session", "-d", "-s", "keep", "sleep 3600"]);
        world.tmux(&["source-file", &text(&path)]);
        let panes = world.tmux(&[
            "list-panes",
            "-a",
            "-F",
            "#{session_name} #{pane_id} #{pane_pid}",
        ]);
        for line in panes.lines() {
            let words: Vec<&str> = line.split(' ').collect();
            if let [prompt, pane, pid] = *words
                && prompt != "keep"
            {
                hall.seats.push(Seat {
                    prompt: prompt.to_owned(),
                    pane: pane.to_owned(),
                    pid: pid.parse().expect("a number"),
                });
            }
        }
        assert!(hall.seats.len() >= 25, "{} prompts", hall.seats.len());
        hall
    }

    /// Runs tmux commands, one a line, all at once.
    fn script(&self, commands: &str) {
        if commands.is_empty() {
            return;
        }
        let path = self.world.path("keys.tmux");
        fs::write(&path, commands).expect("written");
        self.world.tmux(&["source-file", &text(&path)]);
    }

    /// Returns what each pane shows, with its cursor.
    fn screens(&self) -> Vec<String> {
        let mut commands = String::new();
        for seat in &self.seats {
            let pane = &seat.pane;
            let _ = writeln!(
                commands,
                "display-message -p -t {pane} '@@@ #{{cursor_x}} #{{cursor_y}}'"
            );
            let _ = writeln!(commands, "capture-pane -p -t {pane}");
        }
        let path = self.world.path("look.tmux");
        fs::write(&path, commands).expect("written");
        let shown = self.world.tmux(&["source-file", &text(&path)]);
        let screens: Vec<String> = shown.split("@@@ ").skip(1).map(str::to_owned).collect();
        assert_eq!(screens.len(), self.seats.len());
        screens
    }

    /// Waits until nothing changes any more, except for clocks: longer than the slowest of the
    /// prompts needs, since what is typed before it is there is not in the line of an editor.
    fn settles(&self) -> Vec<String> {
        let digits = |text: &str| text.replace(|char: char| char.is_ascii_digit(), "0");
        let began = Instant::now();
        let mut last = self.screens();
        let mut since = Instant::now();
        while since.elapsed() < Duration::from_millis(700)
            && began.elapsed() < Duration::from_secs(8)
        {
            std::thread::sleep(Duration::from_millis(350));
            let now = self.screens();
            if now
                .iter()
                .map(|text| digits(text))
                .ne(last.iter().map(|text| digits(text)))
            {
                since = Instant::now();
            }
            last = now;
        }
        last
    }

    /// Waits until the program that a key calls has started in every pane; with this many, that
    /// takes a while.
    fn picks(&self) {
        let shells = ["bash", "zsh", "fish"];
        let end = Instant::now() + Duration::from_secs(30);
        while Instant::now() < end {
            let runs = self
                .world
                .tmux(&["list-panes", "-a", "-F", "#{pane_current_command}"]);
            if runs.lines().all(|program| !shells.contains(&program)) {
                break;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Waits until every shell asks whether files are to be deleted: what is typed before it asks is
    /// an answer, too.
    fn questions(&self) {
        let end = Instant::now() + Duration::from_secs(30);
        while Instant::now() < end && !self.screens().iter().all(|screen| screen.contains("[yn]")) {
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    fn type_keys(&self, line: &Line) {
        for key in &line.keys {
            let columns: Vec<usize> = if key == "text:fill" {
                let screens = self.screens();
                let column =
                    |screen: &String| screen.split(' ').next().and_then(|x| x.parse().ok());
                screens
                    .iter()
                    .map(|screen| column(screen).unwrap_or(0))
                    .collect()
            } else {
                vec![0; self.seats.len()]
            };
            let mut commands = String::new();
            for (seat, column) in self.seats.iter().zip(columns) {
                let pane = &seat.pane;
                let _ = match key.strip_prefix("text:") {
                    Some("fill") => {
                        let fill = "y".repeat(COLUMNS.saturating_sub(column).max(1));
                        writeln!(commands, "send-keys -t {pane} -l '{fill}'")
                    }
                    Some(text) if text.contains('\'') => {
                        writeln!(
                            commands,
                            "send-keys -t {pane} -l \"{}\"",
                            text.replace('$', "\\$")
                        )
                    }
                    Some(text) => writeln!(commands, "send-keys -t {pane} -l '{text}'"),
                    None => writeln!(commands, "send-keys -t {pane} {key}"),
                };
            }
            self.script(&commands);
            // A line editor takes some keys for one key if they arrive together.
            std::thread::sleep(Duration::from_millis(30));
        }
    }

    /// Presses a key everywhere, and waits until it can no longer be the beginning of another one.
    fn press(&self, key: &str) {
        self.type_keys(&Line::new("", Kind::Empty, &[key]));
        std::thread::sleep(Duration::from_millis(600));
    }

    /// Returns what `doctor` says about each shell, by prompt.
    fn verdicts(&self) -> BTreeMap<String, String> {
        let doctor = self.world.assigner(&["--json", "doctor", "--sessions"]);
        let said: Value = serde_json::from_slice(&doctor.stdout).expect("JSON");
        let panes = said.as_array().expect("a list");
        let of = |pane: &Value| {
            let name = pane["name"].as_str().unwrap_or_default().to_owned();
            (name, pane["status"].as_str().unwrap_or_default().to_owned())
        };
        panes.iter().map(of).collect()
    }

    /// Offers a job to each of `seats`, and returns what each answered.
    fn ask(&self, seats: &[&Seat], line: &str) -> Vec<String> {
        let mut commands = String::new();
        for seat in seats {
            let mark = self
                .marks
                .join(format!("{}-{line}", seat.prompt).replace(' ', "_"));
            let job = format!(" echo taken >> '{}'\n", text(&mark));
            let _ = fs::remove_file(self.told.join(format!("{}.said", seat.pid)));
            fs::write(self.told.join(format!("{}.job", seat.pid)), job).expect("offered");
            let [codes @ .., flag] = KEY;
            let _ = writeln!(
                commands,
                "send-keys -t {} {flag} {}",
                seat.pane,
                codes.join(" ")
            );
        }
        self.script(&commands);
        let began = Instant::now();
        let mut said = vec![String::new(); seats.len()];
        while said.iter().any(String::is_empty) && began.elapsed() < Duration::from_secs(30) {
            std::thread::sleep(Duration::from_millis(20));
            for (said, seat) in said.iter_mut().zip(seats) {
                let path = self.told.join(format!("{}.said", seat.pid));
                *said = fs::read_to_string(path)
                    .unwrap_or_default()
                    .trim()
                    .to_owned();
            }
        }
        for seat in seats {
            let _ = fs::remove_file(self.told.join(format!("{}.job", seat.pid)));
        }
        said
    }

    /// Returns how often a job ran.
    fn ran(&self, seat: &Seat, line: &str) -> usize {
        let mark = self
            .marks
            .join(format!("{}-{line}", seat.prompt).replace(' ', "_"));
        fs::read_to_string(mark).map_or(0, |text| text.lines().count())
    }

    /// Returns each shell to its prompt, with nothing in it.
    fn clear(&self) {
        for _ in 0..2 {
            let mut commands = String::new();
            for seat in &self.seats {
                let _ = writeln!(commands, "send-keys -t {} C-c", seat.pane);
            }
            self.script(&commands);
            std::thread::sleep(Duration::from_millis(80));
        }
    }
}

/// The directory into which shells report.
fn told() -> PathBuf {
    let user = rustix::process::getuid().as_raw();
    PathBuf::from(format!("/tmp/assigner-{user}/shells"))
}

/// Prompts that draw beside their line, or late: what their row shows is not what is in the line.
const MOVING: [&str; 3] = ["ticking", "status-bar", "slow-prompt"];

/// A program that a key of the line editor calls; it shows something to choose from and reads a
/// key.
const PICKER: &str = "exec < /dev/tty > /dev/tty\nstty -icanon -echo\nprintf '\\n> '\ndd bs=1 count=1 > /dev/null 2>&1\nstty sane\n";

/// Prompts whose settings leave no room for the hooks: such a shell never reports.
const SILENT: [&str; 4] = [
    "prompt-command-read-only-array",
    "prompt-command-read-only-string",
    "promptvars-off",
    "ps1-and-ps0-read-only",
];

/// Prompts that set the vi keymap themselves, in which C-x is an ordinary character.
const IN_VI: [&str; 2] = ["vi-mode-cursor-shapes", "vi-mode-shown-by-readline"];
