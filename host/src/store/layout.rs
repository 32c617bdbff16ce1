//! How the rows of our tables are stored, in each version of the schema.

use std::collections::{BTreeMap, BTreeSet};

use rusqlite::Connection;

use super::db::Value;
use super::schema::MIGRATIONS;
use super::trees::{StoredRow, TreeKind};

/// A table.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct TableLayout {
    pub(super) kind: TreeKind,
    /// The columns that are stored, in their order.
    pub(super) columns: Vec<String>,
    /// The column that is the row's number.
    number: Option<String>,
    /// What is made together with it: itself, its indices and triggers.
    pub(super) made: BTreeSet<String>,
}

/// Returns our tables by their names, as a version made them.
pub(super) fn layouts(version: i64) -> Result<BTreeMap<String, TableLayout>, rusqlite::Error> {
    let model = Connection::open_in_memory()?;
    model.execute_batch("PRAGMA foreign_keys = OFF; PRAGMA legacy_alter_table = ON")?;
    for step in &MIGRATIONS[..usize::try_from(version).unwrap_or_default()] {
        model.execute_batch(step)?;
    }
    let mut names = model.prepare(
        "SELECT name, wr FROM pragma_table_list
         WHERE schema = 'main' AND type = 'table' AND name NOT LIKE 'sqlite_%'",
    )?;
    let names = names.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let names: Vec<(String, bool)> = names.collect::<Result<_, _>>()?;
    let mut tables = BTreeMap::new();
    for (name, is_keyed) in names {
        // Computed columns are not stored.
        let columns = "SELECT name, type = 'INTEGER' AND pk = 1
                AND NOT EXISTS (SELECT 1 FROM pragma_table_xinfo(?1) WHERE pk = 2)
            FROM pragma_table_xinfo(?1) WHERE hidden <> 2";
        let mut columns = model.prepare(columns)?;
        let columns = columns.query_map([&name], |row| Ok((row.get(0)?, row.get(1)?)))?;
        let columns: Vec<(String, bool)> = columns.collect::<Result<_, _>>()?;
        let number = columns
            .iter()
            .find(|(_, is_number)| *is_number && !is_keyed);
        let number = number.map(|(name, _)| name.clone());
        let mut made =
            model.prepare("SELECT name FROM sqlite_schema WHERE tbl_name IN (?1, 'prompts')")?;
        let made = made
            .query_map([&name], |row| row.get(0))?
            .collect::<Result<_, _>>()?;
        let layout = TableLayout {
            kind: if is_keyed {
                TreeKind::Index
            } else {
                TreeKind::Table
            },
            columns: columns.into_iter().map(|(name, _)| name).collect(),
            number,
            made,
        };
        tables.insert(name, layout);
    }
    Ok(tables)
}

impl TableLayout {
    /// Whether a row can be one of this table with these columns. One that was written before columns
    /// were added is shorter.
    pub(super) fn may_hold(&self, columns: &[String], row: &StoredRow) -> bool {
        let count = row.values.len();
        let is_alias = |(column, value): (&String, &Value)| {
            Some(column) != self.number.as_ref() || *value == Value::Null
        };
        count <= columns.len()
            && 2 * count >= self.columns.len().min(columns.len())
            && columns.iter().zip(&row.values).all(is_alias)
    }

    /// Returns the values of a row by their columns, without those that this table does not have.
    pub(super) fn pairs<'a>(&'a self, columns: &[String], row: StoredRow) -> Vec<(&'a str, Value)> {
        let mut pairs = Vec::with_capacity(row.values.len());
        for (column, value) in columns.iter().zip(row.values) {
            let Some(known) = self.columns.iter().find(|known| *known == column) else {
                continue;
            };
            let value = match row.number {
                Some(number) if Some(known) == self.number.as_ref() => Value::Integer(number),
                _ => value,
            };
            pairs.push((known.as_str(), value));
        }
        pairs
    }
}

/// Returns the names of the columns that are stored, as the text that made a table lists them. Others may
/// have added some. `None` if it cannot be read.
pub(super) fn columns_in(sql: &str) -> Option<Vec<String>> {
    let lines = sql
        .lines()
        .map(|line| line.split("--").next().unwrap_or_default());
    let text = lines.collect::<Vec<_>>().join("\n");
    let (_, list) = text.split_once('(')?;
    let (mut depth, mut quote, mut parts) = (0, None, vec![String::new()]);
    for char in list.chars() {
        let is_outside = quote.is_none();
        match char {
            '\'' | '"' if is_outside => quote = Some(char),
            _ if quote == Some(char) => quote = None,
            '(' if is_outside => depth += 1,
            ')' if is_outside && depth == 0 => return names_of(&parts),
            ')' if is_outside => depth -= 1,
            ',' if is_outside && depth == 0 => {
                parts.push(String::new());
                continue;
            }
            _ => {}
        }
        parts.last_mut()?.push(char);
    }
    None
}

fn names_of(parts: &[String]) -> Option<Vec<String>> {
    let mut names = Vec::new();
    for part in parts {
        let name = part.split_whitespace().next()?;
        let upper = part.to_ascii_uppercase();
        let is_rule = ["PRIMARY", "UNIQUE", "CHECK", "FOREIGN", "CONSTRAINT"]
            .iter()
            .any(|word| upper.trim_start().starts_with(word));
        let is_computed =
            upper.contains("GENERATED ALWAYS") && !upper.trim_end().ends_with("STORED");
        if !is_rule && !is_computed {
            names.push(name.trim_matches(['"', '`', '[', ']']).to_owned());
        }
    }
    Some(names)
}

#[cfg(test)]
mod tests {
    use super::super::schema::VERSION;
    use super::*;

    #[test]
    fn the_columns_of_each_version_are_read_as_sqlite_reads_them() {
        for version in 1..=VERSION {
            let model = Connection::open_in_memory().expect("a database");
            model
                .execute_batch("PRAGMA foreign_keys = OFF; PRAGMA legacy_alter_table = ON")
                .expect("set");
            for step in &MIGRATIONS[..usize::try_from(version).expect("a version")] {
                model.execute_batch(step).expect("a step");
            }
            let tables = layouts(version).expect("tables");
            assert!(tables.len() >= 6, "{tables:?}");
            for (name, layout) in tables {
                let sql = "SELECT sql FROM sqlite_schema WHERE name = ?1 AND type = 'table'";
                let sql: String = model
                    .query_row(sql, [&name], |row| row.get(0))
                    .expect("text");
                assert_eq!(
                    columns_in(&sql),
                    Some(layout.columns),
                    "{name} of version {version}"
                );
            }
        }
        let others =
            r#"CREATE TABLE "t" ("a b" INT, `c` TEXT DEFAULT '),', [d], CHECK (a > 1, 2))"#;
        let names = columns_in(others).expect("names");
        assert_eq!(names[1..], ["c", "d"]);
        assert_eq!(columns_in("CREATE TABLE t (a"), None);
    }
}
