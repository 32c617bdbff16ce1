//! What only SQLite can do stays in the files that say so.

use std::fs;
use std::path::Path;

/// The files that may name rusqlite and write SQL for SQLite alone: the dialect, its schema, and
/// what opens, migrates or reads its files. `migrate` also has tests with databases of before.
const DIALECT: &[&str] = &[
    "backup.rs",
    "health.rs",
    "fresh.rs",
    "layout.rs",
    "migrate.rs",
    "original.rs",
    "pages.rs",
    "present.rs",
    "restore.rs",
    "salvage.rs",
    "schema.rs",
    "sqlite.rs",
    "trees.rs",
];

/// What other databases lack.
const SQLITE: &[&str] = &[
    "rusqlite",
    "PRAGMA",
    "INDEXED BY",
    "rowid",
    "sqlite_",
    // SQLite's functions on JSON.
    "json_",
    "INSERT OR ",
    "REPLACE INTO",
    "strftime('",
    "typeof(",
    "CAST(",
    "ifnull(",
    "ATTACH ",
    "VACUUM",
];

fn code(file: &Path) -> String {
    let text = fs::read_to_string(file).expect("a source file");
    let code = text.split("#[cfg(test)]\nmod tests {").next();
    let lines = code.unwrap_or_default().lines();
    let lines = lines.filter(|line| !line.trim_start().starts_with("//"));
    let code = lines.collect::<Vec<_>>().join("\n");
    // Names in Rust.
    code.replace("serde_json", "")
        .replace("json_or_default", "")
}

#[test]
fn only_the_dialect_is_of_one_database() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/store");
    let mut seen = 0;
    for entry in fs::read_dir(root).expect("a directory") {
        let path = entry.expect("an entry").path();
        let name = path.file_name().and_then(|name| name.to_str());
        let name = name.expect("a name");
        if DIALECT.contains(&name) || name == "tests.rs" || name.ends_with("_tests.rs") {
            continue;
        }
        seen += 1;
        let text = code(&path);
        for word in SQLITE {
            assert!(!text.contains(word), "{name} contains `{word}`");
        }
        // A parameter is `$1`, which every dialect can take.
        for number in 1..10 {
            assert!(
                !text.contains(&format!("?{number}")),
                "{name}: a parameter `?{number}`"
            );
        }
    }
    assert!(seen > 10, "{seen} files");
}
