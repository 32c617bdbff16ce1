//! Writes a project from the template of its language.

use std::fs;
use std::path::{Path, PathBuf};

use include_dir::{Dir, DirEntry, include_dir};

use super::project::is_name;
use super::{Language, ToolchainError, WIT};

static TEMPLATES: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/assets/templates");
static SDK: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/assets/sdk");

/// The placeholder for the policy's name in a template.
const NAME: &str = "{{name}}";

/// Writes a project into a new directory, and returns its files.
///
/// # Errors
///
/// The name is invalid, or the directory exists and is not empty, or it cannot be written.
pub fn create(
    name: &str,
    language: Language,
    directory: &Path,
) -> Result<Vec<PathBuf>, ToolchainError> {
    if !is_name(name) {
        return Err(ToolchainError::Name(name.to_owned()));
    }
    let occupied = match fs::read_dir(directory) {
        Ok(mut entries) => entries.next().is_some(),
        // It is a file, or does not exist.
        Err(_) => directory.symlink_metadata().is_ok(),
    };
    if occupied {
        return Err(ToolchainError::Occupied(directory.to_owned()));
    }
    let mut files = Vec::new();
    if let Some(template) = TEMPLATES.get_dir(<&str>::from(language)) {
        for (path, text) in texts(template, template.path()) {
            files.push((renamed(&path), text.replace(NAME, name)));
        }
    }
    files.push((PathBuf::from("wit/policy.wit"), WIT.to_owned()));
    if language == Language::Rust {
        for (path, text) in texts(&SDK, Path::new("")) {
            // The crate brings its contract; in the project that is beside it, for all languages.
            let text = text.replace("path: \"wit\"", "path: \"../wit\"");
            files.push((Path::new("sdk/src").join(path), text));
        }
        if let Some(manifest) = TEMPLATES
            .get_file("sdk.toml")
            .and_then(|file| file.contents_utf8())
        {
            let manifest = manifest.replace("{{version}}", env!("CARGO_PKG_VERSION"));
            files.push((PathBuf::from("sdk/Cargo.toml"), manifest));
        }
    }
    files.sort();
    for (path, text) in &files {
        let path = directory.join(path);
        let parent = path.parent().unwrap_or(directory);
        fs::create_dir_all(parent).map_err(ToolchainError::file(parent))?;
        fs::write(&path, text).map_err(ToolchainError::file(&path))?;
    }
    Ok(files.into_iter().map(|(path, _)| path).collect())
}

/// Some names would have a meaning in the directory of templates.
fn renamed(path: &Path) -> PathBuf {
    match path.to_str() {
        Some("gitignore") => PathBuf::from(".gitignore"),
        Some("Cargo.toml.in") => PathBuf::from("Cargo.toml"),
        _ => path.to_owned(),
    }
}

/// Returns all texts below a directory, with their paths relative to `root`.
fn texts(directory: &'static Dir<'static>, root: &Path) -> Vec<(PathBuf, &'static str)> {
    let mut texts = Vec::new();
    for entry in directory.entries() {
        match entry {
            DirEntry::Dir(directory) => texts.extend(self::texts(directory, root)),
            DirEntry::File(file) => {
                let path = file.path().strip_prefix(root).unwrap_or(file.path());
                if let Some(text) = file.contents_utf8() {
                    texts.push((path.to_owned(), text));
                }
            }
        }
    }
    texts
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum;

    use super::super::Project;
    use super::*;

    #[test]
    fn every_language_has_a_whole_template() {
        for language in Language::value_variants() {
            let home = tempfile::tempdir().expect("a directory");
            let directory = home.path().join("mine");
            let files = create("mine", *language, &directory).expect("written");
            let has = |name: &str| files.contains(&PathBuf::from(name));
            for name in [
                "policy.toml",
                "wit/policy.wit",
                "cases.toml",
                "README.md",
                ".gitignore",
            ] {
                assert!(has(name), "{language:?} has no {name}: {files:?}");
            }
            assert_eq!(
                has("sdk/src/lib.rs") && has("sdk/Cargo.toml"),
                *language == Language::Rust
            );
            for file in &files {
                let text = fs::read_to_string(directory.join(file)).expect("a text");
                assert!(!text.contains("{{"), "{language:?} {}", file.display());
            }
            let project = Project::open(&directory).expect("a project");
            assert_eq!((&*project.name, project.language), ("mine", *language));
            assert!(project.source().exists());
            assert!(create("mine", *language, &directory).is_err());
        }
    }

    #[test]
    fn the_contract_in_zig_is_one() {
        let template = TEMPLATES.get_file("zig/contract.zig").expect("it");
        let example = include_str!("../../../examples/policies/labels/contract.zig");
        assert_eq!(template.contents_utf8(), Some(example));
    }

    #[test]
    fn the_crate_for_authors_finds_its_contract() {
        let home = tempfile::tempdir().expect("a directory");
        create("mine", Language::Rust, home.path()).expect("written");
        let text = fs::read_to_string(home.path().join("sdk/src/lib.rs")).expect("it");
        assert!(text.contains("path: \"../wit\""));
        assert!(!text.contains("path: \"wit\""));
    }
}
