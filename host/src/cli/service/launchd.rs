//! An agent of launchd: launchd.plist(5).

use std::fmt::Write as _;
use std::path::Path;

use super::{MARK, ServiceManager, ServiceUnit, words};

/// Its name.
const LABEL: &str = "io.assigner.daemon";

pub(super) fn manager(home: &Path) -> ServiceManager {
    let file = home.join(format!("Library/LaunchAgents/{LABEL}.plist"));
    let domain = format!("gui/{}", rustix::process::getuid().as_raw());
    let mut load = words(&format!("launchctl bootstrap {domain}"));
    load.push(file.display().to_string());
    ServiceManager {
        file,
        text,
        // One that is loaded already keeps its old description.
        start: vec![
            vec![
                "/bin/sh".to_owned(),
                "-c".to_owned(),
                // It is forgotten only some time after that is asked for.
                format!(
                    "launchctl bootout {domain}/{LABEL} 2>/dev/null; for i in $(seq 50); do \
                     launchctl print {domain}/{LABEL} >/dev/null 2>&1 || exit 0; sleep 0.2; done; exit 1"
                ),
            ],
            load,
        ],
        end: vec![words(&format!("launchctl bootout {domain}/{LABEL}"))],
        forget: Vec::new(),
        runs: words(&format!("launchctl print {domain}/{LABEL}")),
        // One that has ended is still known.
        says: "state = running",
        hint: "it ends when you log out",
    }
}

fn text(unit: &ServiceUnit) -> String {
    let mut text = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<!-- {MARK}. -->\n\
         <!DOCTYPE plist PUBLIC \"-//Apple//DTD PLIST 1.0//EN\" \
         \"http://www.apple.com/DTDs/PropertyList-1.0.dtd\">\n<plist version=\"1.0\">\n<dict>\n\
         <key>Label</key>\n<string>{LABEL}</string>\n<key>ProgramArguments</key>\n<array>\n"
    );
    for word in &unit.words {
        let _ = writeln!(text, "<string>{}</string>", escaped(word));
    }
    // What another try does not mend ends as if nothing were wrong: launchd would try for ever.
    text.push_str("<string>--supervised</string>\n");
    text.push_str("</array>\n<key>EnvironmentVariables</key>\n<dict>\n");
    for (name, value) in &unit.variables {
        let _ = writeln!(
            text,
            "<key>{name}</key>\n<string>{}</string>",
            escaped(value)
        );
    }
    // A tmux server that the daemon starts, for a pool, must outlive it.
    text.push_str(
        "</dict>\n<key>RunAtLoad</key>\n<true/>\n<key>KeepAlive</key>\n<dict>\n<key>SuccessfulExit</key>\n<false/>\n\
         </dict>\n<key>AbandonProcessGroup</key>\n<true/>\n</dict>\n</plist>\n",
    );
    text
}

fn escaped(word: &str) -> String {
    word.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::super::example;
    use super::*;

    #[test]
    fn an_agent_says_what_is_run_and_where() {
        insta::assert_snapshot!(text(&example()), @r#"
        <?xml version="1.0" encoding="UTF-8"?>
        <!-- Written by `assigner service install`. -->
        <!DOCTYPE plist PUBLIC "-//Apple//DTD PLIST 1.0//EN" "http://www.apple.com/DTDs/PropertyList-1.0.dtd">
        <plist version="1.0">
        <dict>
        <key>Label</key>
        <string>io.assigner.daemon</string>
        <key>ProgramArguments</key>
        <array>
        <string>/opt/a b/assigner</string>
        <string>--data-dir</string>
        <string>/q"50%$x\&lt;&amp;&gt;</string>
        <string>run</string>
        <string>--supervised</string>
        </array>
        <key>EnvironmentVariables</key>
        <dict>
        <key>LANG</key>
        <string>C.UTF-8</string>
        <key>PATH</key>
        <string>/bin:/a b</string>
        <key>SHELL</key>
        <string>/odd"%h$y</string>
        </dict>
        <key>RunAtLoad</key>
        <true/>
        <key>KeepAlive</key>
        <dict>
        <key>SuccessfulExit</key>
        <false/>
        </dict>
        <key>AbandonProcessGroup</key>
        <true/>
        </dict>
        </plist>
        "#);
    }
}
