//! The policy that assigner uses when no other is named.
//!
//! Each task in its turn takes the session that fits its context best. The fit is counted in
//! points, by whole path components:
//!
//! | points | where |
//! |---|---|
//! | 100 | the session is in the task's directory (`same-directory`) |
//! | 50 | the session's directory contains the task's (`parent-directory`) |
//! | 25 | the session's directory is inside the task's (`child-directory`) |
//! | 20 | for each variable of the same name and value, up to 1,000 (`variable`) |
//! | 30 | the session is on the task's branch (`branch`) |
//!
//! - A task that names context takes the session with the most points, of those that have at
//!   least `min-score` (20). If none has, `when-no-match` decides: `any` takes the session that
//!   has been idle longest, `wait` leaves the task pending.
//! - A task without context, or one whose sender asked for any session, takes the one that has
//!   been idle longest.
//! - In all of this, a task that names providers goes to the first of them that has a session to
//!   take, whatever another provider's sessions would score; sessions of providers that it does
//!   not name (if the host allows them) come last.
//! - Equal points go to the session that has been idle longest, then to the smaller name.
//! - A session in which an earlier attempt failed (`avoid`) is taken only if no other would do,
//!   even if it matches better.

use assigner_policy::{Decision, Description, Policy, Round, Session, Task, greedy};

use score::Scores;
pub use settings::{NoMatch, Settings};

mod score;
mod settings;

/// The default policy with its settings.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DefaultPolicy {
    settings: Settings,
}

impl Policy for DefaultPolicy {
    fn describe() -> Description {
        Description {
            name: "default".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            summary: "gives a task to the session whose directory, branch and variables fit best"
                .to_owned(),
            default_config: Settings::default().to_json(),
            wants_busy: false,
        }
    }

    fn configure(settings: &str) -> Result<Self, String> {
        Settings::parse(settings).map(|settings| Self { settings })
    }

    fn assign(&self, round: &Round, tasks: &[Task], sessions: &[Session]) -> Vec<Decision> {
        let scores = Scores::new(&self.settings, tasks, sessions);
        greedy(round, tasks, sessions, &scores)
    }
}

assigner_policy::export!(DefaultPolicy);
