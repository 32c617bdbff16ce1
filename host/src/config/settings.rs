//! The settings of a configuration one by one, with their lines: for people, not for the program.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use toml::de::{DeTable, DeValue};

use crate::model::text::clean;

/// Every setting with its default, and what it means.
pub const EXAMPLE: &str = include_str!("../../assets/config.toml");

/// A setting that a configuration makes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileSetting {
    /// Its full name: `engine.attended-for`; those of the second pool begin with `pool.2.`.
    pub name: String,
    /// Its value, as it is written.
    pub value: String,
    /// The line of its name.
    pub line: usize,
}

/// Returns the settings of a text in its order, as far as it is TOML.
pub fn settings(text: &str) -> Vec<FileSetting> {
    let (table, _) = DeTable::parse_recoverable(text);
    let mut found = Vec::new();
    collect("", table.get_ref(), text, &mut found);
    found.sort_by_key(|setting| setting.line);
    found
}

fn collect(above: &str, table: &DeTable<'_>, text: &str, found: &mut Vec<FileSetting>) {
    for (key, value) in table {
        let name = format!("{above}{}", key.get_ref());
        match value.get_ref() {
            DeValue::Table(table) => collect(&format!("{name}."), table, text, found),
            DeValue::Array(array) if array.iter().any(|item| item.get_ref().is_table()) => {
                for (number, item) in array.iter().enumerate() {
                    if let DeValue::Table(table) = item.get_ref() {
                        collect(&format!("{name}.{}.", number + 1), table, text, found);
                    }
                }
            }
            _ => found.push(FileSetting {
                name,
                value: text.get(value.span()).unwrap_or_default().to_owned(),
                line: line_of(text, key.span().start),
            }),
        }
    }
}

/// The place of the queue and the tmux server, where a file says them.
type SaidPlaces = (Option<String>, Option<String>);

/// Returns where a text that is wrong elsewhere says that the queue and the tmux server are; `None` if that is in
/// doubt: a queue that was only guessed must not be shown or changed.
pub(super) fn place(text: &str) -> Option<SaidPlaces> {
    let (table, errors) = DeTable::parse_recoverable(text);
    // They come before the first section.
    let mut start = 0;
    let first_section = text.split_inclusive('\n').find_map(|line| {
        let at = start;
        start += line.len();
        line.trim_start().starts_with('[').then_some(at)
    });
    let first_section = first_section.unwrap_or(text.len());
    let is_before =
        |error: &toml::de::Error| error.span().is_none_or(|span| span.start < first_section);
    if errors.iter().any(is_before) {
        return None;
    }
    let mut places = SaidPlaces::default();
    for (key, value) in table.get_ref() {
        let said = match (&**key.get_ref(), value.get_ref()) {
            ("data-dir", DeValue::String(value)) => places.0.insert(value.to_string()),
            ("tmux-socket", DeValue::String(value)) => places.1.insert(value.to_string()),
            // A section, whichever it is meant to be.
            (_, DeValue::Table(_) | DeValue::Array(_)) => continue,
            _ => return None,
        };
        let _ = said;
    }
    Some(places)
}

/// Returns the number of the line with this place.
pub(super) fn line_of(text: &str, place: usize) -> usize {
    let before = text.get(..place).unwrap_or_default();
    before.matches('\n').count() + 1
}

/// A setting that two versions of a configuration make differently.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SettingChange {
    /// Its full name.
    pub name: String,
    /// Its values before and after, as they are written; `None` if it has none, not even a default.
    pub values: [Option<String>; 2],
}

/// How much of a value is shown where it has changed, in characters.
const SHOWN: usize = 60;

impl fmt::Display for SettingChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = clean(&self.name);
        let shown = |value: &str| {
            let value = clean(value);
            match value.char_indices().nth(SHOWN) {
                Some((end, _)) => format!("{}...", value.get(..end).unwrap_or_default()),
                None => value,
            }
        };
        match self.shown_values() {
            Some([Some(before), Some(after)]) => {
                write!(f, "{name} is {} (was {})", shown(after), shown(before))
            }
            Some([None, Some(after)]) => write!(f, "{name} is {}", shown(after)),
            Some([Some(before), None]) => {
                write!(f, "{name} is not set (was {})", shown(before))
            }
            Some([None, None]) => write!(f, "{name} is not set"),
            None => write!(f, "{name} has changed"),
        }
    }
}

/// Settings that hold no secrets. A command, a variable or what a policy is told may.
const HARMLESS: [&str; 10] = [
    "agents.",
    "data-dir",
    "engine.",
    "notify.bell",
    "notify.on",
    "notify.terminal",
    "policy.load-time",
    "policy.time",
    "policy.use",
    "sessions.",
];

/// The same of a pool.
const HARMLESS_OF_POOLS: [&str; 7] = [
    "name",
    "provider",
    "directory",
    "worktree",
    "idle",
    "start-within",
    "tasks",
];

impl SettingChange {
    /// Returns the values, unless they may be secrets: this is written into logs. Numbers and yes or no are none.
    pub fn shown_values(&self) -> Option<[Option<&str>; 2]> {
        let name = &*self.name;
        let of_pool = name
            .strip_prefix("pool.")
            .and_then(|rest| rest.split_once('.'));
        let is_plain = |value: &Option<String>| {
            let meaning = value.as_deref().map(meaning);
            matches!(
                meaning,
                None | Some(
                    toml::Value::Integer(_) | toml::Value::Float(_) | toml::Value::Boolean(_)
                )
            )
        };
        let is_harmless = HARMLESS.iter().any(|known| name.starts_with(known))
            || name == "tmux-socket"
            || of_pool.is_some_and(|(_, name)| HARMLESS_OF_POOLS.contains(&name))
            || self.values.iter().all(is_plain);
        is_harmless.then(|| self.values.each_ref().map(Option::as_deref))
    }
}

/// Returns what the second of two configurations sets differently from the first, by name. A value that
/// is only written differently is none.
pub fn changes(before: &str, after: &str) -> Vec<SettingChange> {
    let of = |text: &str| -> BTreeMap<String, String> {
        let settings = settings(text).into_iter();
        settings
            .map(|setting| (setting.name, setting.value))
            .collect()
    };
    let (before, after) = (of(before), of(after));
    let mut defaults = of(EXAMPLE);
    // Those are of one policy, and mean nothing to another.
    defaults.retain(|name, _| !name.starts_with("policy.settings."));
    let names: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    let changed = names.into_iter().filter_map(|name| {
        let value = |set: &BTreeMap<String, String>| set.get(name).or(defaults.get(name)).cloned();
        let values = [value(&before), value(&after)];
        let [a, b] = &values;
        let is_same = a.as_deref().map(meaning) == b.as_deref().map(meaning);
        (!is_same).then(|| SettingChange {
            name: name.clone(),
            values,
        })
    });
    changed.collect()
}

/// Returns a value however it is written; one that is no TOML means its text.
fn meaning(value: &str) -> toml::Value {
    let parsed = value.parse::<toml::Value>();
    parsed.unwrap_or_else(|_| toml::Value::String(value.to_owned()))
}

/// Returns every setting with its default.
pub fn defaults() -> Vec<FileSetting> {
    settings(EXAMPLE)
}

/// Returns a configuration that says what can be set, and sets nothing: later versions may have better
/// defaults.
pub fn template() -> String {
    let lines = EXAMPLE.lines().map(|line| match line {
        "" => "\n".to_owned(),
        line if line.starts_with(['#', '[']) => format!("{line}\n"),
        line => format!("# {line}\n"),
    });
    lines.collect()
}

/// Returns the section of a setting with this last name: `engine` for `attended-for`.
pub(super) fn section_of(name: &str) -> Option<String> {
    defaults().into_iter().find_map(|setting| {
        let (section, last) = setting.name.rsplit_once('.')?;
        (last == name).then(|| section.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_have_names_values_and_lines() {
        let text = "data-dir = '/a'\n\n[engine]\nexplain = 5 # rankings\n\n[[pool]]\nname = \"a\"\n\
                    [[pool]]\nname = \"b\"\nenv = { X = \"1\" }\n[policy]\nsettings-of.spread = { a = [1, 2] }\n";
        let found: Vec<(String, String, usize)> = settings(text)
            .into_iter()
            .map(|setting| (setting.name, setting.value, setting.line))
            .collect();
        let expected = [
            ("data-dir", "'/a'", 1),
            ("engine.explain", "5", 4),
            ("pool.1.name", "\"a\"", 7),
            ("pool.2.name", "\"b\"", 9),
            ("pool.2.env.X", "\"1\"", 10),
            ("policy.settings-of.spread.a", "[1, 2]", 12),
        ];
        let expected =
            expected.map(|(name, value, line)| (name.to_owned(), value.to_owned(), line));
        assert_eq!(found, expected);
    }

    #[test]
    fn what_has_changed_is_told_with_both_values() {
        let before = "tmux-socket = 'work'\n[engine]\nexplain = 5\nattended-for = \"3s\"\n\
                      [[pool]]\nname = 'a'\nenv = { KEY = 'old' }\n";
        let after = "[engine]\nexplain = 10\noutput-limit = 4_096\nattended-for = '3s' # as before\n\
                     [[pool]]\nname = 'a'\nmax = 2\nenv = { KEY = 'new' }\n\
                     [notify]\ncommand = '''a\u{1b}[2J'''\n";
        let told: Vec<String> = changes(before, after)
            .iter()
            .map(ToString::to_string)
            .collect();
        insta::assert_snapshot!(told.join("\n"), @r"
        engine.explain is 10 (was 5)
        engine.output-limit is 4_096 (was 16777216)
        notify.command has changed
        pool.1.env.KEY has changed
        pool.1.max is 2
        tmux-socket is not set (was 'work')
        ");
        assert_eq!(changes(after, after), []);
        let token = changes("", "[policy.settings]\ntoken = 'secret'\nlimit = 5\n");
        let told: Vec<String> = token.iter().map(ToString::to_string).collect();
        assert_eq!(
            told,
            [
                "policy.settings.limit is 5",
                "policy.settings.token has changed"
            ]
        );
        // What is set to its default says nothing new.
        assert_eq!(changes("", "[engine]\nexplain = 10\n"), []);
    }

    #[test]
    fn a_long_value_is_shortened_where_it_has_changed() {
        let after = format!("tmux-socket = '{}'", "ü".repeat(100));
        let told = changes("", &after)[0].to_string();
        assert!(told.ends_with("..."), "{told}");
        assert_eq!(told.chars().count(), "tmux-socket is ".len() + SHOWN + 3);
    }

    #[test]
    fn the_place_of_the_queue_is_known_or_in_doubt() {
        let some = |data: &str| Some((Some(data.to_owned()), None));
        assert_eq!(place("data-dir = '/q'\n[engine\nx = 1"), some("/q"));
        assert_eq!(place("data-dir = '/q'\n[engin]\nx = 1"), some("/q"));
        assert_eq!(place("[engine]\nx = "), Some((None, None)));
        for doubtful in [
            "data-dir = \"/q\n",
            "data-dir '/q'\n",
            "data_dir = '/q'\n",
            "data-dir = 3\n",
            "x = = 1\ndata-dir = '/q'\n",
        ] {
            assert_eq!(place(doubtful), None, "{doubtful}");
        }
    }

    #[test]
    fn the_template_sets_nothing_and_shows_everything() {
        let template = template();
        assert_eq!(settings(&template), []);
        for setting in defaults() {
            let last = setting.name.rsplit('.').next().unwrap_or_default();
            assert!(
                template.contains(&format!("# {last} = ")),
                "{}",
                setting.name
            );
        }
    }

    #[test]
    fn the_section_of_a_setting_is_known() {
        assert_eq!(section_of("attended-for").as_deref(), Some("engine"));
        assert_eq!(section_of("exclude").as_deref(), Some("sessions"));
        assert_eq!(section_of("attended"), None);
    }
}
