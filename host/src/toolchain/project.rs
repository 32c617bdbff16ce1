//! A project's manifest, `policy.toml`: its name and its language.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::{LARGEST, Language, ToolchainError};
use crate::files::named;

/// A directory in which a policy is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Project {
    /// The directory.
    pub directory: PathBuf,
    /// The policy's name.
    pub name: String,
    /// The policy's language.
    pub language: Language,
    /// The source file; `None` for Rust, where cargo knows it.
    pub source: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Manifest {
    name: String,
    language: Language,
    source: Option<String>,
}

impl Project {
    /// Reads the manifest of a directory.
    ///
    /// # Errors
    ///
    /// There is no manifest, or it is wrong.
    pub fn open(directory: &Path) -> Result<Self, ToolchainError> {
        let path = directory.join("policy.toml");
        let wrong = |path: &Path, what: String| ToolchainError::Manifest {
            path: path.to_owned(),
            what,
        };
        let text = named::text(&path, LARGEST).map_err(|error| {
            let what = format!(
                "its `policy.toml` cannot be read ({error}); `assigner policy new` writes a project"
            );
            wrong(directory, what)
        })?;
        let manifest: Manifest = toml::from_str(&text).map_err(|error| {
            let before = error.span().and_then(|span| text.get(..span.start));
            let line = before.map_or(1, |before| before.matches('\n').count() + 1);
            let what = error.message().replace('\n', " ");
            wrong(&path, format!("line {line}: {what}"))
        })?;
        if !is_name(&manifest.name) {
            return Err(ToolchainError::Name(manifest.name));
        }
        let needs_source = manifest.language != Language::Rust;
        match &manifest.source {
            None if needs_source => {
                return Err(wrong(
                    &path,
                    "it names no `source`, the file to build".to_owned(),
                ));
            }
            Some(source) if !is_plain(source) => {
                let what = format!("`source` is `{source}`, which is not a file in the project");
                return Err(wrong(&path, what));
            }
            _ => {}
        }
        // An absolute path cannot be mistaken for an option.
        let absolute = std::path::absolute(directory);
        Ok(Self {
            directory: absolute.map_err(ToolchainError::file(directory))?,
            name: manifest.name,
            language: manifest.language,
            source: manifest.source,
        })
    }

    /// Returns the path of the source.
    pub(super) fn source(&self) -> PathBuf {
        self.directory
            .join(self.source.as_deref().unwrap_or_default())
    }
}

/// Returns whether a policy can have this name, which also becomes the name of files, crates and
/// modules.
pub(super) fn is_name(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    name.len() <= 40
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.chars().all(plain)
        && !name.ends_with('-')
}

/// Returns whether a path stays within the project and cannot be mistaken for an option of a tool.
fn is_plain(path: &str) -> bool {
    let parts = Path::new(path).components();
    let normal = |part: std::path::Component<'_>| match part {
        std::path::Component::Normal(name) => !name.to_string_lossy().starts_with('-'),
        _ => false,
    };
    !path.is_empty() && !path.chars().any(char::is_control) && parts.into_iter().all(normal)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn open(text: &str) -> Result<Project, String> {
        let directory = tempfile::tempdir().expect("a directory");
        fs::write(directory.path().join("policy.toml"), text).expect("written");
        let project = Project::open(directory.path());
        project.map_err(|error| error.to_string())
    }

    #[test]
    fn a_manifest_says_what_is_built() {
        let text = "name = \"a-1\"\nlanguage = \"python\"\nsource = \"a.py\"\n";
        let project = open(text).expect("it is right");
        assert_eq!(
            (&*project.name, project.language),
            ("a-1", Language::Python)
        );
        assert!(project.source().ends_with("a.py"));
        assert!(open("name = \"a\"\nlanguage = \"rust\"\n").is_ok());
    }

    #[test]
    fn mistakes_are_told() {
        for (text, expected) in [
            ("name = \"a\"\nlanguage = \"cobol\"\n", "line 2"),
            ("name = \"a\"\nlanguage = \"c\"\n", "no `source`"),
            (
                "name = \"a\"\nlanguage = \"c\"\nsource = \"../a.c\"\n",
                "not a file in the project",
            ),
            (
                "name = \"a\"\nlanguage = \"c\"\nsource = \"-x.c\"\n",
                "not a file in the project",
            ),
            (
                "name = \"a\"\nlanguage = \"c\"\nsource = \"/a.c\"\n",
                "not a file in the project",
            ),
            ("name = \"A\"\nlanguage = \"rust\"\n", "name of a policy"),
            ("name = \"a\"\nlanguage = \"rust\"\nx = 1\n", "line 3"),
        ] {
            let error = open(text).expect_err(text);
            assert!(error.contains(expected), "{error}");
            assert!(!error.contains('\n'), "{error}");
        }
        let nowhere = Project::open(Path::new("/nowhere")).expect_err("none");
        assert!(nowhere.to_string().contains("policy.toml"), "{nowhere}");
    }

    #[test]
    fn names_are_short_and_plain() {
        for name in ["a", "a-b", "a1"] {
            assert!(is_name(name), "{name}");
        }
        for name in [
            "",
            "1a",
            "-a",
            "a-",
            "A",
            "a_b",
            "a/b",
            "a b",
            "ä",
            &"a".repeat(41),
        ] {
            assert!(!is_name(name), "{name}");
        }
    }
}
