//! The settings of a configuration one by one, with their lines: for people, not for the program.

use toml::de::{DeTable, DeValue};

/// Every setting with its default, and what it means.
pub const EXAMPLE: &str = include_str!("../../../examples/config.toml");

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

/// Returns the number of the line with this place.
pub(super) fn line_of(text: &str, place: usize) -> usize {
    let before = text.get(..place).unwrap_or_default();
    before.matches('\n').count() + 1
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
