//! What shows that the line of a shell without reports of its own is empty.
//!
//! The screen of a shell that waits at its prompt looks the same whether a prompt ends in `ls ` or
//! a person has typed that. So a line is typed into such a shell only if its row is one that no
//! draft can produce: the prompt that this kind of shell draws by default, or the one that this
//! very shell has drawn before. Anything else is unknown, and people are told what to do.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use regex::{Captures, Regex};

use super::tracker::Stamp;
use crate::model::session::Shell;
use crate::tmux::{CursorLine, Pane};

/// The message for a line that nothing shows to be empty.
pub(in crate::node) const UNSHOWN: &str = "nothing shows that its line is empty: press Enter in it, or have it load `assigner shell-init`";

/// The row of a shell's cursor, and what the rows above it show.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(in crate::node) struct CursorRow {
    /// The text left of the cursor, including blanks.
    text: String,
    /// There is nothing right of the cursor.
    ends: bool,
    /// The row above reaches the right edge, so this row may continue it.
    wraps: bool,
    /// How often the same row appears above at equal distances, with nothing after it: Enter was
    /// pressed this often at an empty line.
    repeats: usize,
    /// The screen has no room to show more of them.
    full: bool,
}

impl CursorRow {
    /// Returns the row that contains the cursor of this pane.
    pub(in crate::node) fn of(pane: &Pane, line: &CursorLine) -> Self {
        Self::in_width(pane.width, line)
    }

    /// Returns the row that contains the cursor of a pane of this width.
    pub(in crate::node) fn in_width(width: u32, line: &CursorLine) -> Self {
        use unicode_width::UnicodeWidthStr;

        let width = usize::try_from(width).unwrap_or(usize::MAX);
        let last = line.above.last().map_or("", String::as_str);
        let (repeats, full) = repeats(&line.before, &line.above);
        Self {
            text: line.before.clone(),
            ends: line.after.is_empty(),
            wraps: last.width() + 1 >= width,
            repeats,
            full,
        }
    }

    /// Returns the row in quotes, for a person who asks what holds a session up.
    pub(in crate::node) fn quoted(&self) -> String {
        format!("`{}`", self.text.trim_end())
    }
}

/// Counts how often `text` appears above itself at equal distances, with nothing after it. Also
/// returns whether that is the most that could be seen.
fn repeats(text: &str, above: &[String]) -> (usize, bool) {
    let text = text.trim_end();
    // Far to the right, a prompt may show more, such as a clock.
    let same = |row: &String| {
        row.strip_prefix(text)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with("   "))
    };
    let step = above.iter().rev().position(same).map(|at| at + 1);
    let Some(step) = step.filter(|_| !text.is_empty()) else {
        return (0, false);
    };
    let rows = above.iter().rev().skip(step - 1).step_by(step);
    let repeats = rows.take_while(|row| same(row)).count();
    (repeats, (repeats + 1) * step > above.len())
}

/// The prompt that a shell has drawn, as far as it was seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::node) struct Drawn {
    text: String,
    /// How often in a row it was the same.
    times: usize,
    /// Whether the last thing that it ran was a job of ours.
    job: LastJob,
}

/// Whether the last thing that a shell ran was a job of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum LastJob {
    /// It was not.
    No,
    /// It was, and the shell's prompt has not been seen since.
    Ended,
    /// It was, and this was the shell's state when its prompt was first seen. While that is the
    /// same, no key has been pressed.
    Back(Stamp),
}

impl Drawn {
    /// Returns what is known after another look at the row, which has changed since `last`. `came`
    /// means that the shell has run something in the meantime.
    pub(in crate::node) fn after(
        before: Option<Self>,
        last: Option<&CursorRow>,
        row: &CursorRow,
        came: bool,
        stamp: Stamp,
    ) -> Option<Self> {
        if let Some(drawn) = &before
            && drawn.job == LastJob::Ended
            && row.text.ends_with(&drawn.text)
        {
            let job = LastJob::Back(stamp);
            return before.map(|drawn| Self { job, ..drawn });
        }
        let entered = last.is_some_and(|last| {
            last.text == row.text
                && row.repeats > 0
                && (row.repeats > last.repeats || row.full && last.full)
        });
        if !(came || entered) {
            return before;
        }
        let same = before.filter(|drawn| drawn.text == row.text);
        let times = same.map_or(0, |drawn| drawn.times);
        // The empty line above it showed the same prompt.
        let times = if entered { times.max(1) } else { times };
        Some(Self {
            text: row.text.clone(),
            times: times + 1,
            job: LastJob::No,
        })
    }

    /// Returns what is known about a row that was shown to be empty, by whatever evidence.
    pub(in crate::node) fn shown(row: &CursorRow) -> Self {
        Self {
            text: row.text.clone(),
            times: 2,
            job: LastJob::No,
        }
    }

    /// Whether this is the prompt of this row.
    pub(in crate::node) fn is_of(&self, row: &CursorRow) -> bool {
        row.text.ends_with(&self.text)
    }

    /// Whether a job of ours has ended, and its shell has not been seen at its prompt since.
    pub(in crate::node) fn awaits_prompt(&self) -> bool {
        self.job == LastJob::Ended
    }

    /// Records that a job of ours has ended there.
    pub(in crate::node) fn job_ended(&mut self) {
        self.job = LastJob::Ended;
    }
}

/// What is known about a shell without looking at its screen.
#[derive(Debug, Clone)]
pub(in crate::node) struct Facts {
    /// Which shell it is.
    pub(in crate::node) shell: Shell,
    /// Its directory.
    pub(in crate::node) directory: Option<PathBuf>,
    /// The directory that prompts call `~`.
    pub(in crate::node) home: Option<PathBuf>,
    /// The name of this machine.
    pub(in crate::node) host: String,
    /// Whether a client was ever attached to a session that shows it.
    pub(in crate::node) attached: bool,
}

impl Facts {
    /// Returns the facts for a shell of this user on this machine.
    pub(in crate::node) fn here(shell: Shell, directory: Option<&str>, attached: bool) -> Self {
        let host = rustix::system::uname().nodename().to_string_lossy().into();
        Self {
            shell,
            directory: directory.map(PathBuf::from),
            home: etcetera::home_dir().ok(),
            host,
            attached,
        }
    }
}

/// Returns what shows that nothing was typed after the prompt, or `None` if nothing does.
pub(in crate::node) fn proof(
    row: &CursorRow,
    facts: &Facts,
    drawn: Option<&Drawn>,
    stamp: Stamp,
) -> Option<&'static str> {
    if !row.ends || row.wraps || continues(&row.text) {
        return None;
    }
    if is_default(&row.text, facts) {
        return Some("its row is the prompt that shells draw by default, and nothing else");
    }
    if is_bare(&row.text) && !facts.attached {
        return Some("its row is a bare prompt, and nobody was ever attached to it");
    }
    let drawn = drawn.filter(|drawn| drawn.times >= 2)?;
    if drawn.text == row.text {
        return Some("its row is the prompt that it drew before, and nothing else");
    }
    // The last output of a job may precede the prompt.
    (drawn.job == LastJob::Back(stamp)
        && !continues(&drawn.text)
        && row.text.ends_with(&drawn.text))
    .then_some("its row ends in the prompt that it drew after a job, and no key was pressed since")
}

/// Whether a row may begin the second line of something unfinished. Then it does not show a prompt,
/// even if the shell has drawn it before.
fn continues(text: &str) -> bool {
    let text = text.trim();
    text.is_empty() || text == ">" || text.ends_with("quote>")
}

/// Whether this is one of the shortest prompts. A draft that contains a line break may end like
/// that, too.
fn is_bare(text: &str) -> bool {
    matches!(text, "$ " | "# " | "% ")
}

/// Prompts as shells and distributions set them, including the directory's name. The brackets at
/// the beginning hold the name of an environment.
static DEFAULTS: LazyLock<HashMap<Shell, Vec<Regex>>> = LazyLock::new(|| {
    let compiled = |shell: &Shell| {
        let forms = shell.dialect().default_prompts().iter();
        (
            *shell,
            forms.filter_map(|form| Regex::new(form).ok()).collect(),
        )
    };
    Shell::ALL.iter().map(compiled).collect()
});

fn is_default(text: &str, facts: &Facts) -> bool {
    let forms = DEFAULTS.get(&facts.shell).into_iter().flatten();
    forms
        .filter_map(|form| form.captures(text))
        .any(|found| fits(&found, facts))
}

/// Whether what a prompt says about its machine and directory is true.
fn fits(found: &Captures<'_>, facts: &Facts) -> bool {
    let named = |name| found.name(name).map(|text| text.as_str());
    let host = facts.host.as_str();
    let short = host.split('.').next().unwrap_or(host);
    let told = named("host").or_else(|| named("user_host"));
    if told.is_some_and(|told| told != host && told != short) {
        return false;
    }
    let directory = || facts.directory.as_deref();
    let whole = || Some(shown(directory()?, facts.home.as_deref()));
    let last = || {
        let whole = whole()?;
        let last = whole.rsplit('/').next().filter(|last| !last.is_empty());
        Some(last.map_or_else(|| whole.clone(), str::to_owned))
    };
    let cut = || Some(cut(&whole()?));
    // A shell whose home is another one does not shorten it.
    let is_whole = |told: &str| {
        whole().as_deref() == Some(told)
            || directory().is_some_and(|whole| whole == Path::new(told))
    };
    named("full").is_none_or(is_whole)
        && named("last").is_none_or(|told| last().as_deref() == Some(told))
        && named("short")
            .is_none_or(|told| cut().as_deref() == Some(told) || whole().as_deref() == Some(told))
}

/// Returns a directory as prompts show it.
fn shown(directory: &Path, home: Option<&Path>) -> String {
    let below = home
        .filter(|home| *home != Path::new("/"))
        .and_then(|home| directory.strip_prefix(home).ok());
    match below {
        Some(rest) if rest.as_os_str().is_empty() => "~".to_owned(),
        Some(rest) => format!("~/{}", rest.display()),
        None => directory.display().to_string(),
    }
}

/// Returns a directory as fish shortens it: the first letter of each part but the last, with a dot
/// before it kept.
fn cut(shown: &str) -> String {
    let mut parts: Vec<&str> = shown.split('/').collect();
    let last = parts.pop().unwrap_or_default();
    let first = |part: &str| -> String {
        let letters = if part.starts_with('.') { 2 } else { 1 };
        part.chars().take(letters).collect()
    };
    let cut: String = parts.iter().map(|part| first(part) + "/").collect();
    cut + last
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const STAMP: Stamp = Stamp {
        waits: Some(7),
        cursor: (2, 3),
        activity: 100,
    };

    fn facts(directory: &str) -> Facts {
        Facts {
            shell: Shell::Bash,
            directory: Some(directory.into()),
            home: Some("/home/me".into()),
            host: "box.example.org".to_owned(),
            attached: true,
        }
    }

    fn row(text: &str) -> CursorRow {
        CursorRow {
            text: text.to_owned(),
            ends: true,
            ..CursorRow::default()
        }
    }

    fn below(above: &[&str], text: &str) -> CursorRow {
        let above: Vec<String> = above.iter().map(|&row| row.to_owned()).collect();
        let (repeats, full) = repeats(text, &above);
        CursorRow {
            repeats,
            full,
            ..row(text)
        }
    }

    #[test]
    fn the_prompts_of_shells_as_they_come_are_known() {
        for (shell, prompt, directory) in [
            (Shell::Bash, "me@box:~$ ", "/home/me"),
            (Shell::Bash, "me@box:~/src$ ", "/home/me/src"),
            (Shell::Bash, "me@box:/home/me/src$ ", "/home/me/src"),
            (Shell::Bash, "(venv) me@box:/srv/a b$ ", "/srv/a b"),
            (Shell::Bash, "(chroot)root@box.example.org:/# ", "/"),
            (Shell::Bash, "[me@box src]$ ", "/home/me/src"),
            (Shell::Bash, "[root@box ~]# ", "/home/me"),
            (Shell::Bash, "[root@box /]# ", "/"),
            (Shell::Zsh, "me@box src % ", "/srv/src"),
            (Shell::Fish, "me@box ~/s/api> ", "/home/me/src/api"),
            (
                Shell::Fish,
                "me@box /u/l/.c/x (main)> ",
                "/usr/local/.cache/x",
            ),
            (Shell::Fish, "root@box ~ [1]# ", "/home/me"),
            (Shell::Bash, "bash-5.2$ ", "/srv"),
            (Shell::Bash, "sh-5.1# ", "/srv"),
            (Shell::Zsh, "box% ", "/srv"),
            (Shell::Zsh, "box# ", "/srv"),
            (Shell::Dash, "/srv/a b # ", "/srv/a b"),
            (Shell::Dash, "~/src $ ", "/home/me/src"),
            (Shell::Dash, "box:~# ", "/home/me"),
        ] {
            let facts = Facts {
                shell,
                ..facts(directory)
            };
            assert!(
                proof(&row(prompt), &facts, None, STAMP).is_some(),
                "{prompt:?}"
            );
            // What one shell draws is not a prompt of another.
            let other = if shell == Shell::Fish {
                Shell::Bash
            } else {
                Shell::Fish
            };
            let facts = Facts {
                shell: other,
                ..facts
            };
            assert_eq!(proof(&row(prompt), &facts, None, STAMP), None, "{prompt:?}");
        }
    }

    #[test]
    fn what_only_looks_like_one_shows_nothing() {
        for (text, directory) in [
            ("me@box:~$ ls ", "/home/me"),
            ("me@box:~$ ls $ ", "/home/me"),
            ("me@box:~/src$ ", "/home/me"),
            ("me@other:~$ ", "/home/me"),
            ("me@box:~$", "/home/me"),
            ("me@box:~$  ", "/home/me"),
            ("box% ls % ", "/srv"),
            ("other% ", "/srv"),
            ("> ", "/srv"),
            ("", "/srv"),
            ("   ", "/srv"),
            ("quote> ", "/srv"),
            ("❯ ", "/srv"),
            ("❯ ls ", "/srv"),
            ("$ ", "/srv"),
        ] {
            assert_eq!(
                proof(&row(text), &facts(directory), None, STAMP),
                None,
                "{text:?}"
            );
        }
        let nowhere = Facts {
            directory: None,
            ..facts("/")
        };
        assert_eq!(proof(&row("me@box:~$ "), &nowhere, None, STAMP), None);
        let right = CursorRow {
            ends: false,
            ..row("me@box:~$ ")
        };
        assert_eq!(proof(&right, &facts("/home/me"), None, STAMP), None);
        let wraps = CursorRow {
            wraps: true,
            ..row("me@box:~$ ")
        };
        assert_eq!(proof(&wraps, &facts("/home/me"), None, STAMP), None);
    }

    #[test]
    fn a_bare_prompt_is_one_where_nobody_was_attached() {
        let alone = Facts {
            attached: false,
            ..facts("/srv")
        };
        for text in ["$ ", "# ", "% "] {
            assert!(proof(&row(text), &alone, None, STAMP).is_some(), "{text:?}");
            assert_eq!(
                proof(&row(text), &facts("/srv"), None, STAMP),
                None,
                "{text:?}"
            );
        }
        for text in ["> ", "ls ", "$ ls ", "$  ", " $ ", "a $ "] {
            assert_eq!(proof(&row(text), &alone, None, STAMP), None, "{text:?}");
        }
    }

    #[test]
    fn a_row_that_was_drawn_after_two_commands_is_the_prompt() {
        let prompt = row("❯ ");
        let shows = |drawn: &Option<Drawn>, row: &CursorRow| {
            proof(row, &facts("/srv"), drawn.as_ref(), STAMP).is_some()
        };
        let first = Drawn::after(None, None, &prompt, true, STAMP);
        assert!(!shows(&first, &prompt));
        // A look that sees the same row again has learned nothing.
        let again = Drawn::after(first.clone(), Some(&prompt), &prompt, false, STAMP);
        assert_eq!(again, first);
        let second = Drawn::after(first, Some(&row("❯ make")), &prompt, true, STAMP);
        assert!(shows(&second, &prompt));
        assert!(!shows(&second, &row("❯ ls ")));
        // A different prompt after a command replaces it.
        let other = Drawn::after(second, None, &row("~/src ❯ "), true, STAMP);
        assert!(!shows(&other, &prompt));
        assert!(!shows(&other, &row("~/src ❯ ")));
    }

    #[test]
    fn what_a_job_left_in_front_of_the_prompt_is_no_draft() {
        let alone = Facts {
            attached: false,
            ..facts("/srv")
        };
        let mut drawn = Drawn::shown(&row("$ "));
        drawn.job_ended();
        let left = row("no newline$ ");
        let drawn = Drawn::after(Some(drawn), None, &left, true, STAMP);
        assert!(proof(&left, &alone, drawn.as_ref(), STAMP).is_some());
        // A key was pressed since, or something else was typed.
        let later = Stamp {
            waits: Some(8),
            ..STAMP
        };
        assert_eq!(proof(&left, &alone, drawn.as_ref(), later), None);
        assert_eq!(
            proof(&row("no newline$ ls "), &alone, drawn.as_ref(), STAMP),
            None
        );
        // This was typed ahead while the job ran.
        let mut drawn = Drawn::shown(&row("$ "));
        drawn.job_ended();
        let ahead = row("no newline$ ls ");
        let drawn = Drawn::after(Some(drawn), None, &ahead, true, STAMP);
        assert_eq!(proof(&ahead, &alone, drawn.as_ref(), STAMP), None);
        // After a person's own command, it is not known what was printed.
        let drawn = Drawn::after(Some(Drawn::shown(&row("$ "))), None, &left, true, STAMP);
        assert_eq!(proof(&left, &alone, drawn.as_ref(), STAMP), None);
    }

    #[test]
    fn enter_in_an_empty_line_shows_it() {
        let shows = |drawn: &Option<Drawn>, row: &CursorRow| {
            proof(row, &facts("/srv"), drawn.as_ref(), STAMP).is_some()
        };
        let before = below(&["seq 3", "1", "2", "3"], "❯ ");
        let after = below(&["1", "2", "3", "❯"], "❯ ");
        let drawn = Drawn::after(None, Some(&before), &after, false, STAMP);
        assert!(shows(&drawn, &after));
        // A prompt of three rows, with a clock at its right.
        let before = below(&["", "~/src main"], "❯ ");
        let after = below(
            &["", "~/src main", "❯                12:30", "", "~/src main"],
            "❯ ",
        );
        assert!(shows(
            &Drawn::after(None, Some(&before), &after, false, STAMP),
            &after
        ));
        // A command that was run in between is not an empty line.
        let ran = below(&["❯ true"], "❯ ");
        assert!(!shows(
            &Drawn::after(None, Some(&before), &ran, false, STAMP),
            &ran
        ));
        // A screen that has no room for more rows than before.
        let full = below(&["❯"; 8], "❯ ");
        assert!(shows(
            &Drawn::after(None, Some(&full), &full, false, STAMP),
            &full
        ));
    }

    #[test]
    fn the_rows_above_are_counted_in_equal_steps() {
        assert_eq!(below(&["$", "$"], "$ ").repeats, 2);
        assert_eq!(below(&["$", "a", "$", "b"], "$ ").repeats, 2);
        assert_eq!(below(&["$", "a", "a", "$", "a"], "$ ").repeats, 1);
        assert_eq!(below(&["$ a", "$"], "$ ").repeats, 1);
        assert_eq!(below(&["$ a"], "$ ").repeats, 0);
        assert_eq!(below(&[" ", " "], "  ").repeats, 0);
    }

    proptest! {
        /// Whatever is typed after a prompt, it is not mistaken for one that was drawn.
        #[test]
        fn a_draft_is_never_shown_to_be_empty(
            prompt in "[a-z@:~❯➜⟩ ]{0,12}[$#%>❯ ] ?",
            typed in "[a-z $#%>|)]{1,20}",
            attached in any::<bool>(),
        ) {
            let facts = Facts { attached, ..facts("/srv") };
            let drawn = Drawn { text: prompt.clone(), times: 9, job: LastJob::No };
            let draft = row(&(prompt + &typed));
            prop_assume!(!is_bare(&draft.text));
            prop_assert_eq!(proof(&draft, &facts, Some(&drawn), STAMP), None);
        }

        /// Nothing that a screen can hold breaks it.
        #[test]
        fn any_row_is_read(text in ".{0,40}", above in proptest::collection::vec(".{0,20}", 0..9)) {
            let (repeats, _) = repeats(&text, &above);
            prop_assert!(repeats <= above.len());
            let _ = proof(&row(&text), &facts("/srv"), None, STAMP);
        }
    }
}
