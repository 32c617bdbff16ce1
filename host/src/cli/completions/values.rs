//! Which words an argument can be: those of what there is at this moment. Nothing is created for it, and what
//! cannot be read has no words.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::Command;
use clap_complete::ArgValueCandidates;
use clap_complete::engine::CompletionCandidate;

use crate::agents::Catalog;
use crate::cli::ui;
use crate::config::Config;
use crate::model::eligibility::SHELL;
use crate::model::task::Status;
use crate::store::Store;

/// How many tasks are offered, the newest.
const TASKS: usize = 100;

/// How much of a text is shown beside a word, in characters.
const SHOWN: usize = 48;

/// What an argument names.
#[derive(Debug, Clone, Copy)]
enum NamedThing {
    /// Tasks in one of these states; all, if there are none.
    Tasks(&'static [Status]),
    Sessions,
    Labels,
    Policies,
    Agents,
}

const OPEN: &[Status] = &[
    Status::Pending,
    Status::Assigned,
    Status::InProgress,
    Status::WaitingInput,
];
const ENDED_BADLY: &[Status] = &[Status::Failed, Status::Cancelled, Status::Uncertain];

/// The arguments, by the names of their commands and their own.
const ARGUMENTS: &[(&[&str], &str, NamedThing)] = &[
    (&["show"], "id", NamedThing::Tasks(&[])),
    (&["output"], "id", NamedThing::Tasks(&[])),
    (&["explain"], "id", NamedThing::Tasks(&[])),
    (&["history"], "id", NamedThing::Tasks(&[])),
    (&["wait"], "tasks", NamedThing::Tasks(OPEN)),
    (&["cancel"], "tasks", NamedThing::Tasks(OPEN)),
    (&["retry"], "tasks", NamedThing::Tasks(ENDED_BADLY)),
    (&["edit"], "tasks", NamedThing::Tasks(&[Status::Pending])),
    (&["reassign"], "id", NamedThing::Tasks(OPEN)),
    (&["reassign"], "to", NamedThing::Sessions),
    (&["resolve"], "id", NamedThing::Tasks(&[Status::Uncertain])),
    (&["reply"], "id", NamedThing::Tasks(&[Status::WaitingInput])),
    (&["attach"], "id", NamedThing::Tasks(OPEN)),
    (&["watch"], "id", NamedThing::Tasks(OPEN)),
    (&["send"], "target", NamedThing::Sessions),
    (&["send"], "provider", NamedThing::Agents),
    (&["send"], "after", NamedThing::Tasks(&[])),
    (&["send"], "require-label", NamedThing::Labels),
    (&["edit"], "target", NamedThing::Sessions),
    (&["edit"], "provider", NamedThing::Agents),
    (&["edit"], "after", NamedThing::Tasks(&[])),
    (&["session"], "name", NamedThing::Sessions),
    (&["doctor"], "session", NamedThing::Sessions),
    (&["label"], "session", NamedThing::Sessions),
    (&["pause"], "sessions", NamedThing::Sessions),
    (&["pause"], "providers", NamedThing::Agents),
    (&["resume"], "sessions", NamedThing::Sessions),
    (&["resume"], "providers", NamedThing::Agents),
    (&["run"], "policy", NamedThing::Policies),
    (&["policy", "use"], "name", NamedThing::Policies),
    (&["agents", "show"], "name", NamedThing::Agents),
];

/// Returns the command line with the words of each argument.
pub(super) fn known(command: Command) -> Command {
    ARGUMENTS
        .iter()
        .fold(command, |command, (path, argument, named)| {
            at(command, path, argument, *named)
        })
}

fn at(command: Command, path: &[&str], argument: &str, named: NamedThing) -> Command {
    match path.split_first() {
        None => command.mut_arg(argument, |argument| {
            argument.add(ArgValueCandidates::new(move || words(named)))
        }),
        Some((first, rest)) => {
            command.mut_subcommand(*first, |command| at(command, rest, argument, named))
        }
    }
}

fn words(named: NamedThing) -> Vec<CompletionCandidate> {
    let said = |option: &str, variable: &str| {
        let set = std::env::var_os(variable).filter(|value| !value.is_empty());
        let line = std::env::args_os().skip_while(|word| word != "--").skip(1);
        named_in(line, option).or(set).map(PathBuf::from)
    };
    let config = Config::load(
        said("--config", "ASSIGNER_CONFIG").as_deref(),
        said("--data-dir", "ASSIGNER_DATA_DIR"),
        None,
    );
    let Ok(config) = config else {
        return Vec::new();
    };
    match named {
        NamedThing::Agents => agents(&config),
        NamedThing::Policies => policies(&config),
        NamedThing::Tasks(states) => {
            queue(&config).map_or_else(Vec::new, |store| tasks(store, states))
        }
        NamedThing::Sessions => queue(&config).map_or_else(Vec::new, sessions),
        NamedThing::Labels => queue(&config).map_or_else(Vec::new, labels),
    }
}

/// Returns the value that an option has in the line that is being completed: the numbers of tasks are those of
/// the queue that it names.
fn named_in(line: impl Iterator<Item = OsString>, option: &str) -> Option<OsString> {
    let mut line = line;
    let mut value = None;
    while let Some(word) = line.next() {
        if word == option {
            value = line.next();
        } else if let Some(text) = word.to_str().and_then(|word| word.strip_prefix(option))
            && let Some(given) = text.strip_prefix('=')
        {
            value = Some(given.into());
        }
    }
    value
}

/// Opens the queue, if there is one that this program need not change first.
fn queue(config: &Config) -> Option<Store> {
    let is_current = crate::store::is_current(&config.data_dir);
    is_current
        .then(|| Store::open(&config.data_dir).ok())
        .flatten()
}

fn tasks(mut store: Store, states: &[Status]) -> Vec<CompletionCandidate> {
    let found = store.tasks(states, TASKS).unwrap_or_default();
    let words = found.iter().map(|task| {
        let text = format!("{}: {}", task.status.name(), task.content);
        word(&task.id.to_string(), &text)
    });
    words.collect()
}

fn sessions(mut store: Store) -> Vec<CompletionCandidate> {
    let rows = store.sessions().unwrap_or_default();
    let words = rows.iter().filter(|row| is_plain(&row.name)).map(|row| {
        let text = format!("{}, {}", row.provider, row.activity.name());
        word(&row.name, &text)
    });
    words.collect()
}

fn labels(mut store: Store) -> Vec<CompletionCandidate> {
    let rows = store.sessions().unwrap_or_default();
    let pairs = rows.iter().flat_map(|row| &row.labels);
    let mut pairs: Vec<String> = pairs
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    pairs.retain(|pair| is_plain(pair));
    pairs.sort();
    pairs.dedup();
    pairs.into_iter().map(CompletionCandidate::new).collect()
}

fn agents(config: &Config) -> Vec<CompletionCandidate> {
    let (catalog, _) = Catalog::load(&config.profiles_dir);
    let known = catalog.entries().iter().map(|entry| &entry.profile);
    let known = known.filter(|profile| is_plain(&profile.name));
    let words = known.map(|profile| word(&profile.name, &profile.summary));
    let mut words: Vec<CompletionCandidate> = words.collect();
    if catalog.get(SHELL).is_none() {
        words.push(CompletionCandidate::new(SHELL));
    }
    words
}

fn policies(config: &Config) -> Vec<CompletionCandidate> {
    let files = std::fs::read_dir(&config.policies_dir)
        .into_iter()
        .flatten()
        .flatten();
    let names = files.filter_map(|file| {
        let name = file.file_name().into_string().ok()?;
        let name = name.strip_suffix(".wasm")?;
        is_plain(name).then(|| name.to_owned())
    });
    let names = names.take(TASKS).chain(["default".to_owned()]);
    names.map(CompletionCandidate::new).collect()
}

/// Whether every shell takes a name for itself and one word. Bash puts it into the line as it is: names of others
/// must not become commands there.
fn is_plain(name: &str) -> bool {
    let is_plain = |char: char| char.is_alphanumeric() || "_./:=@+,%-".contains(char);
    name.starts_with(|char: char| char.is_alphanumeric() || "_./%".contains(char))
        && name.chars().all(is_plain)
}

fn word(value: &str, text: &str) -> CompletionCandidate {
    let text = ui::cut(&ui::clean(text), SHOWN);
    CompletionCandidate::new(value).help(Some(text.into()))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn names_are_words_and_no_commands() {
        for plain in [
            "a",
            "api-2",
            "kind=fast",
            "src/x.y",
            "größe",
            "web:1.0",
            "%3",
        ] {
            assert!(is_plain(plain), "{plain}");
        }
        for odd in [
            "", "a b", "w;x", "$(x)", "`x`", "a\nb", "-x", "=x", "~x", "a'b", "a*", "!x", "a&",
            "\u{202e}",
        ] {
            assert!(!is_plain(odd), "{odd}");
        }
    }

    #[test]
    fn the_queue_is_that_of_the_line() {
        let of = |line: &[&str]| {
            let line = line.iter().map(OsString::from);
            named_in(line, "--data-dir").map(|value| value.into_string().expect("text"))
        };
        assert_eq!(
            of(&["assigner", "--data-dir", "/x", "show", ""]),
            Some("/x".to_owned())
        );
        assert_eq!(
            of(&["assigner", "show", "--data-dir=/y", ""]),
            Some("/y".to_owned())
        );
        assert_eq!(of(&["assigner", "show", "--data-dirs=/y", ""]), None);
    }

    /// An argument that is not there would be a panic in the middle of a person's line.
    #[test]
    fn each_argument_is_one_of_its_command() {
        known(crate::cli::Args::command()).debug_assert();
        for (path, argument, _) in ARGUMENTS {
            let mut command = crate::cli::Args::command();
            command.build();
            let command = path.iter().fold(&command, |command, name| {
                command.find_subcommand(name).expect("a command")
            });
            let mut all = command.get_arguments();
            assert!(
                all.any(|known| known.get_id() == argument),
                "{path:?} {argument}"
            );
        }
    }
}
