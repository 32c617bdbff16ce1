//! What is demanded and no session has.

use super::*;

#[test]
fn what_no_session_has_is_said_of_all() {
    let none = labels(&[]);
    let shell = Place {
        provider: SHELL,
        shell: Some(Shell::Bash),
        labels: &none,
        ..place("sh", SHELL)
    };
    let agent = Place {
        labels: &none,
        directory: Some("/src/web"),
        ..place("web", "claude")
    };
    let command = || Demand::of_kind(Kind::Command);
    let prompt = || Demand::of_kind(Kind::Prompt);
    for (demand, meets, lacks, words) in [
        (command(), shell, agent, "no session is one"),
        (prompt(), agent, shell, "none of the 1 sessions is an agent"),
        (
            Demand {
                providers: vec!["codex".to_owned(), "claude".to_owned()],
                ..prompt()
            },
            agent,
            shell,
            "no session is `codex` or `claude`",
        ),
        (
            Demand {
                shell: Some(Shell::Bash),
                ..command()
            },
            shell,
            Place {
                shell: Some(Shell::Fish),
                ..shell
            },
            "no session is known to be bash",
        ),
        (
            Demand {
                branch: Some("dev".to_owned()),
                ..prompt()
            },
            Place {
                branch: Some("dev"),
                ..agent
            },
            agent,
            "no session is on branch dev",
        ),
        (
            Demand {
                labels: labels(&[("gpu", "yes")]),
                ..prompt()
            },
            Place {
                labels: &labels(&[("gpu", "yes")]),
                ..agent
            },
            agent,
            "no session has the label gpu=yes",
        ),
        (
            Demand {
                within: Some("/src/api".to_owned()),
                ..prompt()
            },
            Place {
                directory: Some("/src/api/x"),
                ..agent
            },
            agent,
            "no agent works in /src/api or above it",
        ),
    ] {
        let said = demand.unmet(&[lacks]).unwrap_or_default();
        assert!(said.contains(words), "{said}");
        // It is true of each of them.
        assert!(demand.excludes(&lacks).is_some(), "{words}");
        assert_eq!(demand.unmet(&[lacks, meets]), None, "{words}");
        assert_eq!(demand.excludes(&meets), None, "{words}");
    }
}
