//! What `--help` shows beside the options: examples for each command, and the commands in groups. It is
//! added only where help is asked for, so that no other call pays for it.

use clap::{Command, CommandFactory};

/// The commands by what a person wants to do.
const GROUPS: &[(&str, &[&str])] = &[
    ("To begin", &["demo", "run", "top", "status", "doctor"]),
    (
        "Tasks",
        &[
            "send", "list", "show", "output", "wait", "explain", "history", "edit", "cancel",
            "retry", "reassign", "resolve", "clear",
        ],
    ),
    ("Agents at work", &["reply", "attach", "watch"]),
    (
        "Sessions",
        &["sessions", "session", "pause", "resume", "label"],
    ),
    (
        "Set-up",
        &[
            "config",
            "service",
            "stop",
            "logs",
            "popup",
            "shell",
            "shell-init",
            "hooks",
            "agents",
            "report",
            "completions",
            "man",
        ],
    ),
    ("Policies", &["policy"]),
    (
        "The queue as a file",
        &["backup", "restore", "repair", "import"],
    ),
];

/// So much is said about each of them there.
const LONGEST_BEGINNING: usize = 80 - 15;

/// The examples of a command: what is typed, and what that does.
type Examples = &'static [(&'static str, &'static str)];

/// The examples by command, as its words after `assigner`.
const EXAMPLES: &[(&str, Examples)] = &[
    (
        "",
        &[
            ("assigner demo", "see everything in ten seconds"),
            (
                "assigner run --daemon",
                "watch the sessions, in the background",
            ),
            ("assigner send --shell -- cargo test", "queue a command"),
            (
                "assigner send \"Fix the failing test\"",
                "queue a prompt for an agent",
            ),
            ("assigner top", "see what runs, what waits, and why"),
        ],
    ),
    (
        "demo",
        &[
            ("assigner demo", "leaves nothing behind"),
            ("assigner demo -v", "with what the daemon does meanwhile"),
        ],
    ),
    (
        "run",
        &[
            ("assigner run", "until Ctrl-C"),
            ("assigner run --daemon", "in the background"),
            ("assigner run --daemon --replace", "after an upgrade"),
            ("assigner run --once", "until nothing is left to do"),
            (
                "assigner run --policy mine.wasm",
                "with a policy of your own",
            ),
        ],
    ),
    (
        "send",
        &[
            ("assigner send --shell -- cargo test --all", "a command"),
            (
                "assigner send \"Explain the failing test\"",
                "a prompt for an agent",
            ),
            (
                "assigner send --provider claude - < prompt.md",
                "a prompt in a file",
            ),
            (
                "assigner send --wait --shell -- make",
                "wait, and exit as it does",
            ),
            (
                "assigner send -w ~/api -b main --shell -- make",
                "in a directory, on a branch",
            ),
            ("assigner send --at 18:30 --shell -- ./nightly", "later"),
            (
                "assigner send --after 7 --shell -- ./deploy",
                "after task 7 has completed",
            ),
            ("assigner send --batch tasks.jsonl", "many at once"),
        ],
    ),
    (
        "list",
        &[
            ("assigner list", "the newest 100"),
            ("assigner list --status failed", "what has failed"),
            (
                "assigner list -l project=api -n 0",
                "every task with a label",
            ),
            ("assigner list --json | jq '.[].id'", "for scripts"),
        ],
    ),
    (
        "show",
        &[
            ("assigner show 7", "everything about task 7"),
            ("assigner show 7 --json", "the same for scripts"),
        ],
    ),
    (
        "output",
        &[
            ("assigner output 7", "what it printed"),
            ("assigner output 7 -f", "and what it prints from now on"),
            ("assigner output 7 > log", "every byte"),
        ],
    ),
    (
        "explain",
        &[(
            "assigner explain 7",
            "why there, or why not yet, and what would help",
        )],
    ),
    (
        "history",
        &[(
            "assigner history 7",
            "each change of its state, and by what",
        )],
    ),
    (
        "sessions",
        &[
            ("assigner sessions", "all that run"),
            (
                "assigner sessions --status idle",
                "those that could take a task",
            ),
            (
                "assigner sessions -w . --under",
                "those in this directory or below",
            ),
            (
                "assigner sessions -e NODE_ENV=test",
                "those with this variable",
            ),
        ],
    ),
    (
        "session",
        &[(
            "assigner session api",
            "its state, context, labels, and last events",
        )],
    ),
    (
        "status",
        &[
            (
                "assigner status",
                "the daemon, and how many tasks and sessions",
            ),
            (
                "assigner status --format '{pending} wait'",
                "one line, for a status line",
            ),
        ],
    ),
    (
        "top",
        &[
            ("assigner top", "`?` shows the keys"),
            ("assigner top --plain", "for a screen reader"),
        ],
    ),
    (
        "popup",
        &[("assigner popup bind", "the line for tmux.conf")],
    ),
    (
        "popup bind",
        &[
            (
                "assigner popup bind >> ~/.tmux.conf",
                "prefix A opens `top`",
            ),
            ("assigner popup bind T", "another key"),
        ],
    ),
    (
        "wait",
        &[
            ("assigner wait 7", "exits with 0 if it completed"),
            (
                "assigner wait 7-12 --timeout 1h",
                "124 if that is not enough",
            ),
            ("assigner wait --any 7 8", "the first of two"),
        ],
    ),
    (
        "cancel",
        &[
            ("assigner cancel 7", "whether it waits or runs"),
            ("assigner cancel 7-12", "those of them that have not ended"),
            ("assigner cancel --all", "every task that has not ended"),
        ],
    ),
    (
        "retry",
        &[
            ("assigner retry 7", "as it was queued"),
            ("assigner retry --all-failed", "whatever has failed"),
        ],
    ),
    (
        "reassign",
        &[
            ("assigner reassign 7 --to api", "to one session"),
            ("assigner reassign 7", "to whichever suits best"),
        ],
    ),
    (
        "edit",
        &[
            ("assigner edit 7 -p 10", "goes first"),
            (
                "assigner edit 7 --content \"make test\"",
                "runs something else",
            ),
            ("assigner edit 7 --unset target", "may go to any session"),
            ("assigner edit --all --timeout 1h", "all that wait"),
        ],
    ),
    (
        "resolve",
        &[
            ("assigner resolve 7 --resend", "it did not run"),
            ("assigner resolve 7 --done", "it ran, and that was it"),
            ("assigner resolve 7 --fail", "it counts as failed"),
        ],
    ),
    (
        "clear",
        &[
            ("assigner clear", "what completed or was cancelled"),
            ("assigner clear --older-than 7d", "a week ago and more"),
            ("assigner clear --status failed", "what has failed"),
        ],
    ),
    (
        "pause",
        &[
            ("assigner pause api", "it finishes what it runs"),
            ("assigner pause --provider claude", "all of a kind"),
            ("assigner pause --all", "all of them"),
        ],
    ),
    (
        "resume",
        &[
            ("assigner resume api", "it takes tasks again"),
            ("assigner resume --all", "after `pause --all`"),
        ],
    ),
    (
        "label",
        &[
            ("assigner label api tier=fast", "sets one"),
            ("assigner label api", "shows them"),
            ("assigner label api --remove tier", "takes it away"),
        ],
    ),
    (
        "reply",
        &[
            (
                "assigner reply 7 \"the second one\"",
                "types it, and sends it",
            ),
            (
                "assigner reply 7 --key Down --key Enter",
                "chooses in a dialog",
            ),
            ("assigner reply 7 --wait yes", "waits for what comes of it"),
        ],
    ),
    (
        "attach",
        &[
            ("assigner attach 7", "to see it, and to type there"),
            ("assigner attach 7 --print", "the command for it"),
        ],
    ),
    (
        "watch",
        &[
            ("assigner watch 7", "its screen, without going there"),
            ("assigner watch 7 --interval 5s", "now and then"),
        ],
    ),
    (
        "doctor",
        &[
            ("assigner doctor", "the installation, and all sessions"),
            (
                "assigner doctor api",
                "why a session counts as busy, or idle",
            ),
            ("assigner doctor %3", "any pane"),
        ],
    ),
    (
        "agents",
        &[
            ("assigner agents list", "which are known"),
            (
                "assigner agents show codex > mine.toml",
                "a start for your own profile",
            ),
        ],
    ),
    (
        "agents list",
        &[("assigner agents list --json", "for scripts")],
    ),
    (
        "agents show",
        &[(
            "assigner agents show claude",
            "how Claude Code is recognised and read",
        )],
    ),
    (
        "agents check",
        &[("assigner agents check mine.toml", "what is wrong with it")],
    ),
    (
        "report",
        &[
            ("assigner report --state busy", "from a script in a pane"),
            (
                "assigner report --state done --message-file out",
                "with its answer",
            ),
            (
                "assigner report --hook < event.json",
                "from a hook of an agent",
            ),
        ],
    ),
    (
        "import",
        &[(
            "assigner import data/assigner/assigner.db",
            "from the Python worker",
        )],
    ),
    (
        "backup",
        &[
            ("assigner backup ~/queue.db", "while everything goes on"),
            (
                "assigner backup --force ~/queue.db",
                "in place of the last one",
            ),
        ],
    ),
    (
        "restore",
        &[
            (
                "assigner restore ~/queue.db",
                "what may have run since is uncertain",
            ),
            (
                "assigner restore --trust-pending ~/queue.db",
                "nothing has run since",
            ),
        ],
    ),
    (
        "repair",
        &[("assigner repair", "keeps the damaged database beside it")],
    ),
    (
        "config",
        &[
            (
                "assigner config init",
                "a file in which every setting is explained",
            ),
            (
                "assigner config edit",
                "change it; a running daemon follows",
            ),
            ("assigner config", "every value, and where it comes from"),
        ],
    ),
    (
        "config show",
        &[("assigner config show --json", "for scripts")],
    ),
    (
        "config check",
        &[
            ("assigner config check", "what is wrong, and where"),
            ("assigner config check new.toml", "another file"),
        ],
    ),
    (
        "config init",
        &[("assigner config init", "nothing changes by it")],
    ),
    (
        "config edit",
        &[("assigner config edit", "with VISUAL, EDITOR or vi")],
    ),
    (
        "config path",
        &[("less \"$(assigner config path)\"", "read it")],
    ),
    (
        "policy",
        &[
            (
                "assigner policy new mine --lang rust",
                "a project to begin with",
            ),
            ("assigner policy build mine", "build it, and test it"),
            ("assigner policy use mine/mine.wasm", "switch to it"),
        ],
    ),
    (
        "policy new",
        &[(
            "assigner policy new mine --lang python",
            "writes the directory `mine`",
        )],
    ),
    (
        "policy build",
        &[
            ("assigner policy build", "the project in this directory"),
            ("assigner policy build mine -o mine.wasm", "another one"),
        ],
    ),
    (
        "policy inspect",
        &[("assigner policy inspect mine.wasm", "what it may use")],
    ),
    (
        "policy check",
        &[(
            "assigner policy check mine.wasm",
            "before it decides anything",
        )],
    ),
    (
        "policy test",
        &[(
            "assigner policy test mine.wasm cases.toml",
            "as its author expects it",
        )],
    ),
    (
        "policy bench",
        &[("assigner policy bench mine.wasm", "beside the default one")],
    ),
    (
        "policy replay",
        &[
            (
                "assigner policy replay mine.wasm",
                "what it would have done",
            ),
            (
                "assigner policy replay mine.wasm --limit 5",
                "the first of it",
            ),
        ],
    ),
    (
        "policy shadow",
        &[(
            "assigner policy shadow",
            "after `assigner run --shadow mine.wasm`",
        )],
    ),
    (
        "policy list",
        &[("assigner policy list", "what `policy use` knows by name")],
    ),
    (
        "policy use",
        &[
            ("assigner policy use mine", "from the policies directory"),
            (
                "assigner policy use mine --policy-set weight=3",
                "with a setting",
            ),
            ("assigner policy use --reset", "back to the configured one"),
        ],
    ),
    (
        "policy history",
        &[("assigner policy history --limit 10", "the last ten")],
    ),
    (
        "hooks",
        &[
            (
                "assigner hooks install claude",
                "shows the change, and asks",
            ),
            ("assigner hooks remove claude", "takes it back"),
        ],
    ),
    (
        "hooks install",
        &[
            ("assigner hooks install claude", "for you"),
            (
                "assigner hooks install claude --file .claude/settings.json",
                "for a project",
            ),
        ],
    ),
    (
        "hooks remove",
        &[("assigner hooks remove codex", "shows the change, and asks")],
    ),
    (
        "hooks show",
        &[("assigner hooks show gemini", "whether they are there")],
    ),
    (
        "shell",
        &[
            ("assigner shell install", "for your shell, in each new one"),
            ("assigner shell remove", "takes it back"),
        ],
    ),
    (
        "shell install",
        &[("assigner shell install zsh", "shows the change, and asks")],
    ),
    (
        "shell remove",
        &[("assigner shell remove zsh", "shows the change, and asks")],
    ),
    (
        "shell-init",
        &[(
            "eval \"$(assigner shell-init zsh)\"",
            "in a shell that runs already",
        )],
    ),
    (
        "stop",
        &[("assigner stop", "what runs in the sessions goes on")],
    ),
    (
        "logs",
        &[
            ("assigner logs", "the last lines"),
            ("assigner logs -f", "and those that come"),
            ("assigner logs -n 0 -f", "only those that come"),
        ],
    ),
    (
        "service",
        &[
            (
                "assigner service install",
                "shows the unit, asks, and starts the daemon",
            ),
            ("assigner service status", "whether it runs"),
            (
                "assigner service remove",
                "stops it, and takes the unit away",
            ),
        ],
    ),
    (
        "service install",
        &[("assigner service install -y", "without asking")],
    ),
    (
        "service remove",
        &[("assigner service remove", "running tasks go on")],
    ),
    (
        "service status",
        &[(
            "assigner service status || assigner logs",
            "what went wrong",
        )],
    ),
    (
        "completions",
        &[
            (
                "assigner completions install",
                "for your shell, in its startup file",
            ),
            ("source <(assigner completions bash)", "for this shell only"),
        ],
    ),
    (
        "completions install",
        &[(
            "assigner completions install fish",
            "shows the change, and asks",
        )],
    ),
    (
        "completions remove",
        &[("assigner completions remove", "takes it back")],
    ),
    (
        "man",
        &[
            ("assigner man | man -l -", "the program's page"),
            ("assigner man send > assigner-send.1", "a command's page"),
            ("assigner man --all man1", "all pages, as files"),
        ],
    ),
];

/// Returns the definition of the command line with all that help shows.
pub(super) fn command() -> Command {
    let mut command = with_examples(super::Args::command(), "");
    let groups = groups(&command);
    command = command.help_template(format!(
        "{{about-with-newline}}\n{{usage-heading}} {{usage}}\n{groups}\nOptions:\n{{options}}{{after-help}}"
    ));
    command
}

/// Adds its examples to a command, which is called by the words in `path`, and to those below it.
fn with_examples(mut command: Command, path: &str) -> Command {
    let below: Vec<String> = command
        .get_subcommands()
        .map(|command| command.get_name().to_owned())
        .collect();
    for name in below {
        let path = format!("{path} {name}");
        command = command.mut_subcommand(name, |command| with_examples(command, path.trim_start()));
    }
    let Some((_, examples)) = EXAMPLES.iter().find(|(of, _)| *of == path) else {
        return command;
    };
    let width = examples
        .iter()
        .map(|(line, _)| line.len())
        .max()
        .unwrap_or(0);
    let lines: Vec<String> = examples
        .iter()
        .map(|(line, what)| format!("  {line:width$}  {what}"))
        .collect();
    let examples = format!("Examples:\n{}", lines.join("\n"));
    let text = match command.get_after_help() {
        Some(after) => format!("{examples}\n\n{after}"),
        None => examples,
    };
    command.after_help(text)
}

/// Returns the commands in groups, each with the beginning of what is said about it.
fn groups(command: &Command) -> String {
    let mut text = String::new();
    for (title, names) in GROUPS {
        text.push_str(&format!("\n{title}:\n"));
        for name in *names {
            let about = command.find_subcommand(name).and_then(Command::get_about);
            let about = about.map(ToString::to_string).unwrap_or_default();
            text.push_str(&format!("  {name:11}  {}\n", beginning(&about)));
        }
    }
    text
}

/// Returns the first statement of a description, as much of it as fits on a line.
fn beginning(about: &str) -> &str {
    let end = [": ", "; ", ". "]
        .iter()
        .filter_map(|end| about.find(end))
        .min();
    let mut text = &about[..end.unwrap_or(about.len())];
    while text.len() > LONGEST_BEGINNING {
        let Some((shorter, _)) = text.rsplit_once(", ") else {
            break;
        };
        text = shorter;
    }
    text
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// Calls `each` with every command that a person sees, and its words.
    fn visit(command: &Command, path: &str, each: &mut impl FnMut(&Command, &str)) {
        each(command, path);
        for below in command
            .get_subcommands()
            .filter(|command| !command.is_hide_set() && command.get_name() != "help")
        {
            visit(
                below,
                format!("{path} {}", below.get_name()).trim_start(),
                each,
            );
        }
    }

    #[test]
    fn every_command_has_examples_and_no_example_has_no_command() {
        let mut paths = BTreeSet::new();
        visit(&super::super::Args::command(), "", &mut |_, path| {
            paths.insert(path.to_owned());
        });
        let with: Vec<&str> = EXAMPLES.iter().map(|(path, _)| *path).collect();
        assert_eq!(with.len(), with.iter().collect::<BTreeSet<_>>().len());
        let with: BTreeSet<String> = with.into_iter().map(str::to_owned).collect();
        assert_eq!(with, paths);
    }

    /// Returns the words after the program's name, of the part of a line that calls it.
    fn call(line: &str) -> Vec<String> {
        let (_, call) = line.split_once("assigner ").unwrap_or((line, ""));
        let end = [" | ", " || ", " > ", " >> ", " < ", ")"]
            .iter()
            .filter_map(|end| call.find(end))
            .min();
        let call = format!("assigner {}", &call[..end.unwrap_or(call.len())]);
        shlex::split(&call).unwrap_or_else(|| panic!("words of `{line}`"))
    }

    #[test]
    fn every_example_is_what_its_command_accepts() {
        for (path, examples) in EXAMPLES {
            for (line, _) in *examples {
                let words = call(line);
                if let Err(error) = super::super::Args::command().try_get_matches_from(&words) {
                    panic!("`{line}`: {error}");
                }
                let of: Vec<&str> = path.split_whitespace().collect();
                let called: Vec<&str> = words[1..]
                    .iter()
                    .take(of.len())
                    .map(String::as_str)
                    .collect();
                assert_eq!(of, called, "`{line}` is an example of another command");
            }
        }
    }

    #[test]
    fn every_help_fits_a_terminal_and_ends_its_lines() {
        let mut command = command().term_width(80);
        command.build();
        visit(&command, "", &mut |command, path| {
            let text = command.clone().render_help().to_string();
            assert!(text.contains("Examples:\n"), "{path}: {text}");
            for line in text.lines() {
                assert!(line.chars().count() <= 80, "{path}: {line}");
            }
        });
    }

    #[test]
    fn the_groups_hold_every_command_once() {
        let grouped: Vec<&str> = GROUPS
            .iter()
            .flat_map(|(_, names)| *names)
            .copied()
            .collect();
        let unique: BTreeSet<&str> = grouped.iter().copied().collect();
        assert_eq!(grouped.len(), unique.len());
        let command = super::super::Args::command();
        let all = command
            .get_subcommands()
            .filter(|command| !command.is_hide_set());
        assert_eq!(unique, all.map(Command::get_name).collect());
    }

    #[test]
    fn the_help_of_the_program() {
        insta::assert_snapshot!(command().term_width(80).render_help().to_string());
    }
}
