//! Makes a shell that we start load the integration by itself, after its person's own startup
//! files.

use std::fs::{DirBuilder, File};
use std::io::{self, Read};
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use crate::model::session::Shell;
use crate::node::script::quote;

use super::{Shells, write};

/// How much of a system file is read, in bytes.
const LONGEST: u64 = 64 << 10;

/// Which shell a command line starts, and how that shell is made to load a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// bash reads another file instead of `~/.bashrc`; that file sources `~/.bashrc` first.
    RcFile,
    /// zsh looks for its files elsewhere, and finds the person's own from there.
    Directory,
    /// fish runs a command after it has read its configuration.
    Command,
}

/// Returns how this command line can be changed, or `None` if it starts no shell, or starts one
/// with options that we do not know.
fn way(words: &[String]) -> Option<Way> {
    let (program, options) = words.split_first()?;
    let name = Path::new(program).file_name()?.to_str()?;
    let only = |allowed: &[&str]| options.iter().all(|word| allowed.contains(&word.as_str()));
    match name {
        "bash" if only(&["-i", "--noprofile"]) => Some(Way::RcFile),
        "zsh" if only(&["-i", "-l", "--login"]) => Some(Way::Directory),
        "fish"
            if only(&[
                "-i",
                "--interactive",
                "-l",
                "--login",
                "-P",
                "--private",
                "-N",
                "--no-config",
            ]) =>
        {
            Some(Way::Command)
        }
        _ => None,
    }
}

/// What bash reads instead of `~/.bashrc`.
fn rc_file(integration: &str) -> String {
    format!("[[ -r ~/.bashrc ]] && \\builtin . ~/.bashrc\n\\builtin . {integration}\n")
}

/// Returns what zsh reads first. It has zsh look for everything else where it would have looked
/// anyway. The integration comes last, before the first prompt.
fn zshenv(integration: &str) -> String {
    format!(
        r#"if [[ -n "${{__assigner_zdotdir-}}" ]]; then
    export ZDOTDIR="$__assigner_zdotdir"
else
    unset ZDOTDIR
fi
unset __assigner_zdotdir
__assigner_load() {{
    emulate -L zsh
    precmd_functions=(${{precmd_functions:#__assigner_load}})
    unfunction __assigner_load
    builtin . {integration}
}}
typeset -ga precmd_functions
precmd_functions+=(__assigner_load)
[[ -r "${{ZDOTDIR:-$HOME}}/.zshenv" ]] && builtin . "${{ZDOTDIR:-$HOME}}/.zshenv"
"#
    )
}

/// The person's `ZDOTDIR` may be set only inside the new session, so it is saved there.
const WITH_DIRECTORY: &str =
    r#"export __assigner_zdotdir="${ZDOTDIR-}" ZDOTDIR="$1"; shift; exec "$@""#;

/// Whether a system file makes zsh look for a person's files elsewhere. That file must then find
/// `ZDOTDIR` unchanged.
fn names_directory(file: &&str) -> bool {
    let mut text = Vec::new();
    let read = File::open(file).and_then(|file| file.take(LONGEST).read_to_end(&mut text));
    read.is_ok() && memchr::memmem::find(&text, b"ZDOTDIR").is_some()
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
        let (Some(way), Some(directory)) = (way(words), self.directory.as_deref()) else {
            return Ok(None);
        };
        if way == Way::Directory
            && ["/etc/zshenv", "/etc/zsh/zshenv"]
                .iter()
                .any(names_directory)
        {
            return Ok(None);
        }
        let shell = match way {
            Way::RcFile => Shell::Bash,
            Way::Directory => Shell::Zsh,
            Way::Command => Shell::Fish,
        };
        let Some(integration) = self.write_integration(shell)? else {
            return Ok(None);
        };
        let integration = quote(shell, &integration);
        let text = |path: &Path| {
            path.to_str()
                .map(str::to_owned)
                .ok_or(io::ErrorKind::InvalidFilename)
        };
        let mut launched = words.to_vec();
        match way {
            Way::RcFile => {
                let file = directory.join("bashrc");
                write(&file, &rc_file(&integration))?;
                launched.splice(1..1, ["--rcfile".to_owned(), text(&file)?]);
            }
            Way::Directory => {
                let place = directory.join("zsh");
                DirBuilder::new()
                    .recursive(true)
                    .mode(0o700)
                    .create(&place)?;
                write(&place.join(".zshenv"), &zshenv(&integration))?;
                let start = ["sh", "-c", WITH_DIRECTORY, "sh"].map(str::to_owned);
                launched.splice(0..0, start.into_iter().chain([text(&place)?]));
            }
            Way::Command => {
                launched.extend(["--init-command".to_owned(), format!("source {integration}")]);
            }
        }
        Ok(Some(launched))
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
            ("bash", Some(Way::RcFile)),
            ("/usr/bin/bash -i", Some(Way::RcFile)),
            ("bash --norc --noprofile", None),
            ("zsh -l", Some(Way::Directory)),
            ("fish --private", Some(Way::Command)),
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
            assert_eq!(way(&words(line)), expected, "{line}");
        }
        assert_eq!(way(&[]), None);
    }
}
