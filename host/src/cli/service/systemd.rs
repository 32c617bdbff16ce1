//! A user unit of systemd. How words are quoted there: systemd.syntax(7) and systemd.service(5).

use std::env;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use super::{MARK, ServiceManager, ServiceUnit, words};

pub(super) fn manager(home: &Path) -> ServiceManager {
    let set = env::var_os("XDG_CONFIG_HOME").filter(|value| Path::new(value).is_absolute());
    let config = set.map_or_else(|| home.join(".config"), PathBuf::from);
    ServiceManager {
        file: config.join("systemd/user/assigner.service"),
        text,
        start: vec![
            words("systemctl --user daemon-reload"),
            words("systemctl --user enable assigner.service"),
            words("systemctl --user restart assigner.service"),
        ],
        end: vec![words("systemctl --user disable --now assigner.service")],
        forget: vec![words("systemctl --user daemon-reload")],
        runs: words("systemctl --user is-active --quiet assigner.service"),
        says: "",
        hint: "it ends when you log out, unless `loginctl enable-linger` has been called once",
    }
}

fn text(unit: &ServiceUnit) -> String {
    let mut text = format!(
        "# {MARK}.\n[Unit]\nDescription=assigner, which gives queued tasks to tmux sessions\n\n[Service]\nType=exec\n"
    );
    let words: Vec<String> = unit.words.iter().map(|word| quoted(word, true)).collect();
    let _ = writeln!(text, "ExecStart={}", words.join(" "));
    for (name, value) in &unit.variables {
        let _ = writeln!(
            text,
            "Environment={}",
            quoted(&format!("{name}={value}"), false)
        );
    }
    // A tmux server that the daemon starts, for a pool, must outlive it. What is wrong with the command line,
    // the data or the policy is not mended by another try.
    text.push_str(
        "KillMode=process\nRestart=on-failure\nRestartSec=2\nRestartPreventExitStatus=2 4 5 6\n\n\
         [Install]\nWantedBy=default.target\n",
    );
    text
}

/// Returns a word as it is. In a command, a `$` would begin the name of a variable.
fn quoted(word: &str, in_command: bool) -> String {
    let mut quoted = String::from("\"");
    for char in word.chars() {
        match char {
            '"' | '\\' => quoted.extend(['\\', char]),
            '%' => quoted.push_str("%%"),
            '$' if in_command => quoted.push_str("$$"),
            char => quoted.push(char),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::super::example;
    use super::*;

    #[test]
    fn a_unit_says_what_is_run_and_where() {
        insta::assert_snapshot!(text(&example()), @r#"
        # Written by `assigner service install`.
        [Unit]
        Description=assigner, which gives queued tasks to tmux sessions

        [Service]
        Type=exec
        ExecStart="/opt/a b/assigner" "--data-dir" "/q\"50%%$$x\\<&>" "run"
        Environment="LANG=C.UTF-8"
        Environment="PATH=/bin:/a b"
        Environment="SHELL=/odd\"%%h$y"
        KillMode=process
        Restart=on-failure
        RestartSec=2
        RestartPreventExitStatus=2 4 5 6

        [Install]
        WantedBy=default.target
        "#);
    }
}
