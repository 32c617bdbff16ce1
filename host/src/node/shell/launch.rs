//! Makes a shell that we start load the integration by itself, after its person's own startup
//! files.

use std::io;
use std::path::Path;

use super::{Shells, write};
use crate::files::private;
use crate::model::session::Shell;
use crate::node::dialect::Integration;

/// Returns the shell that this command line starts, or `None` if it starts no shell that can be made
/// to load its integration, or starts one with options that we do not know.
fn started(words: &[String]) -> Option<(Shell, &'static Integration)> {
    let (program, options) = words.split_first()?;
    let name = Path::new(program).file_name()?.to_str()?;
    let shell = Shell::from_program(name)?;
    let integration = shell.dialect().integration()?;
    let is_known = |option: &String| integration.options.contains(&option.as_str());
    options.iter().all(is_known).then_some((shell, integration))
}

impl Shells {
    /// Returns a command line that starts the same shell so that it reports on its line from its
    /// first prompt on. Returns the same command line if it starts another program or the files
    /// cannot be written.
    pub(crate) fn launch(&self, words: Vec<String>) -> Vec<String> {
        match self.launched(&words) {
            Ok(Some(launched)) => launched,
            Ok(None) => words,
            Err(error) => {
                tracing::warn!("a new session cannot report on its line from the start: {error}");
                words
            }
        }
    }

    fn launched(&self, words: &[String]) -> io::Result<Option<Vec<String>>> {
        let (Some((shell, integration)), Some(directory)) =
            (started(words), self.directory.as_deref())
        else {
            return Ok(None);
        };
        let Some(path) = self.write_integration(shell)? else {
            return Ok(None);
        };
        let quoted = shell.dialect().quote((&path).into());
        let place = directory.to_str().ok_or(io::ErrorKind::InvalidFilename)?;
        let Some(start) = (integration.start)(words, &quoted, place) else {
            return Ok(None);
        };
        if let Some((name, text)) = start.file {
            let file = directory.join(name);
            if let Some(place) = file.parent() {
                private::directory(place)?;
            }
            write(&file, &text)?;
        }
        Ok(Some(start.words))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<String> {
        line.split(' ').map(str::to_owned).collect()
    }

    #[test]
    fn shells_as_they_come_are_changed_and_nothing_else() {
        for (line, expected) in [
            ("bash", Some(Shell::Bash)),
            ("/usr/bin/bash -i", Some(Shell::Bash)),
            ("bash --norc --noprofile", None),
            ("zsh -l", Some(Shell::Zsh)),
            ("fish --private", Some(Shell::Fish)),
            ("bash --rcfile mine", None),
            ("bash -l", None),
            ("bash -c ls", None),
            ("bash script", None),
            ("zsh -f", None),
            ("fish -c ls", None),
            ("dash", None),
            ("sh", None),
            ("claude", None),
            ("env bash", None),
        ] {
            let shell = started(&words(line)).map(|(shell, _)| shell);
            assert_eq!(shell, expected, "{line}");
        }
        assert!(started(&[]).is_none());
    }
}
