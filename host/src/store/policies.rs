//! The log of policies: every start, change and refusal is a row, and so is an order that a person
//! gives to a daemon.

use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;

use super::db::{DbError, Row, values};
use super::rows::json;
use super::{Store, StoreError};
use crate::model::matching::PolicyId;

/// Why a policy was to be the live one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PolicyCause {
    /// A daemon started with it.
    Start,
    /// A person asked for it.
    Use,
    /// A person asked for the configured policy.
    Reset,
    /// Its file changed.
    File,
    /// The configuration changed.
    Config,
}

/// What became of the policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PolicyOutcome {
    /// No daemon has processed it yet.
    Waiting,
    /// It has decided from then on.
    Live,
    /// It could not be used. The previous policy continues to decide.
    Refused,
    /// The daemon's command line named another one.
    Overruled,
}

/// A policy that was to be used.
#[derive(Debug, Clone, PartialEq)]
pub struct PolicyOrder {
    /// How the policy is named: a path, a name, or `default.wasm`.
    pub source: String,
    /// The settings for its `configure` at the time, as a JSON object.
    pub settings: Value,
    /// The settings among them that the command line gave. They apply whatever is configured later.
    pub set_by_hand: Value,
}

/// One row of the log.
#[derive(Debug, Clone, PartialEq)]
pub struct PolicyEvent {
    /// Ascending with each row; 0 before it is written.
    pub id: i64,
    /// When it happened.
    pub at: Timestamp,
    /// Why the policy was to be used.
    pub cause: PolicyCause,
    /// The policy that was to be used.
    pub order: PolicyOrder,
    /// What became of it.
    pub outcome: PolicyOutcome,
    /// Why it was refused, on one line.
    pub reason: Option<String>,
    /// How the policy identifies itself, if it was loaded.
    pub policy: Option<PolicyId>,
}

/// Starts and changed files are forgotten once the log has this many newer rows.
const LONGEST_LOG: i64 = 10_000;

const COLUMNS: &str = "id, at, cause, source, settings, outcome, reason, policy_name,
    policy_version, policy_sha256, set_by_hand";

impl Store {
    /// Writes an event and returns its number.
    ///
    /// # Errors
    /// The database refused.
    pub fn note_policy(&mut self, event: &PolicyEvent) -> Result<i64, StoreError> {
        let policy = event.policy.as_ref();
        self.atomically(|db| {
            let row = db.query_one(
                "INSERT INTO policy_log (at, cause, source, settings, outcome, reason, policy_name,
                    policy_version, policy_sha256, set_by_hand)
                 VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) RETURNING id",
                values![
                    event.at,
                    name(event.cause),
                    &event.order.source,
                    event.order.settings.to_string(),
                    name(event.outcome),
                    event.reason.as_ref(),
                    policy.map(|policy| &policy.name),
                    policy.map(|policy| &policy.version),
                    policy.map(|policy| &policy.sha256),
                    event.order.set_by_hand.to_string(),
                ],
            )?;
            let id: i64 = row.ok_or_else(DbError::no_row)?.get("id")?;
            // A build that leaves a broken file each second must not fill the database.
            db.execute(
                "DELETE FROM policy_log WHERE id <= $1 AND cause IN ('start', 'file', 'config')",
                values![id - LONGEST_LOG],
            )?;
            Ok(id)
        })
    }

    /// Returns the orders that no daemon has processed, oldest first.
    ///
    /// # Errors
    /// The database refused.
    pub fn policy_orders(&mut self) -> Result<Vec<PolicyEvent>, StoreError> {
        let rows = self.db.query(&orders(COLUMNS), &[])?;
        Ok(rows.iter().map(event_of).collect::<Result<_, _>>()?)
    }

    /// Records what became of an order.
    ///
    /// # Errors
    /// The database refused.
    pub fn settle_policy(
        &mut self,
        id: i64,
        outcome: PolicyOutcome,
        reason: Option<&str>,
        policy: Option<&PolicyId>,
    ) -> Result<(), StoreError> {
        self.atomically(|db| {
            db.execute(
                "UPDATE policy_log SET outcome = $2, reason = $3,
                    policy_name = coalesce($4, policy_name),
                    policy_version = coalesce($5, policy_version),
                    policy_sha256 = coalesce($6, policy_sha256) WHERE id = $1",
                values![
                    id,
                    name(outcome),
                    reason,
                    policy.map(|policy| &policy.name),
                    policy.map(|policy| &policy.version),
                    policy.map(|policy| &policy.sha256),
                ],
            )?;
            Ok(())
        })
    }

    /// Returns one event.
    ///
    /// # Errors
    /// The database refused.
    pub fn policy_event(&mut self, id: i64) -> Result<Option<PolicyEvent>, StoreError> {
        let row = self.db.query_one(
            &format!("SELECT {COLUMNS} FROM policy_log WHERE id = $1"),
            values![id],
        )?;
        Ok(row.as_ref().map(event_of).transpose()?)
    }

    /// Returns the last `last` events, oldest first.
    ///
    /// # Errors
    /// The database refused.
    pub fn policy_log(&mut self, last: usize) -> Result<Vec<PolicyEvent>, StoreError> {
        let rows = self.db.query(
            &format!("SELECT {COLUMNS} FROM policy_log ORDER BY id DESC LIMIT $1"),
            values![last],
        )?;
        Ok(rows.iter().rev().map(event_of).collect::<Result<_, _>>()?)
    }

    /// Returns the last choice of a person: a policy ([`PolicyCause::Use`]), or the configured one
    /// ([`PolicyCause::Reset`], or `None`).
    ///
    /// # Errors
    /// The database refused.
    pub fn chosen_policy(&mut self) -> Result<Option<PolicyEvent>, StoreError> {
        let row = self.db.query_one(
            &format!(
                "SELECT {COLUMNS} FROM policy_log
                 WHERE cause IN ('use', 'reset') AND outcome <> 'refused'
                 ORDER BY id DESC LIMIT 1"
            ),
            &[],
        )?;
        Ok(row.as_ref().map(event_of).transpose()?)
    }
}

/// Selects the orders that wait, oldest first.
pub(super) fn orders(columns: &str) -> String {
    format!("SELECT {columns} FROM policy_log WHERE outcome = 'waiting' ORDER BY id")
}

/// Returns the name under which a unit variant is stored, which is its name in JSON.
fn name(variant: impl Serialize) -> String {
    json(&variant).trim_matches('"').to_owned()
}

fn event_of(row: &Row) -> Result<PolicyEvent, DbError> {
    let cause: String = row.get("cause")?;
    let outcome: String = row.get("outcome")?;
    let causes = [
        PolicyCause::Start,
        PolicyCause::Use,
        PolicyCause::Reset,
        PolicyCause::File,
        PolicyCause::Config,
    ];
    let outcomes = [
        PolicyOutcome::Waiting,
        PolicyOutcome::Live,
        PolicyOutcome::Refused,
        PolicyOutcome::Overruled,
    ];
    let policy = match (
        row.text("policy_name")?,
        row.text("policy_version")?,
        row.text("policy_sha256")?,
    ) {
        (Some(name), Some(version), Some(sha256)) => Some(PolicyId {
            name,
            version,
            sha256,
        }),
        _ => None,
    };
    Ok(PolicyEvent {
        id: row.get("id")?,
        at: row.time("at")?.unwrap_or_default(),
        // A value that a later version wrote means nothing here, and does no harm.
        cause: *causes
            .iter()
            .find(|known| name(known) == cause)
            .unwrap_or(&PolicyCause::Start),
        order: PolicyOrder {
            source: row.text("source")?.unwrap_or_default(),
            settings: row.json_or_default("settings")?,
            set_by_hand: row.json_or_default("set_by_hand")?,
        },
        outcome: *outcomes
            .iter()
            .find(|known| name(known) == outcome)
            .unwrap_or(&PolicyOutcome::Overruled),
        reason: row.text("reason")?,
        policy,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn event(cause: PolicyCause, source: &str, outcome: PolicyOutcome) -> PolicyEvent {
        PolicyEvent {
            id: 0,
            at: "2026-01-01T00:00:00Z".parse().expect("a time"),
            cause,
            order: PolicyOrder {
                source: source.to_owned(),
                settings: json!({"a": 1}),
                set_by_hand: json!({}),
            },
            outcome,
            reason: None,
            policy: None,
        }
    }

    #[test]
    fn the_last_word_of_a_person_counts() {
        use PolicyCause::{File, Reset, Start, Use};
        use PolicyOutcome::{Live, Refused, Waiting};
        let directory = tempfile::tempdir().expect("a directory");
        let mut store = Store::open(directory.path()).expect("a store");
        let mut chosen = |cause, source, outcome| {
            let event = event(cause, source, outcome);
            let id = store.note_policy(&event).expect("written");
            let read = store.policy_event(id).expect("read").expect("there");
            assert_eq!(PolicyEvent { id: 0, ..read }, event);
            let chosen = store.chosen_policy().expect("read");
            let chosen = chosen.filter(|event| event.cause == Use);
            chosen.map(|event| event.order.source)
        };
        assert_eq!(chosen(Start, "default.wasm", Live), None);
        assert_eq!(chosen(Use, "a", Waiting).as_deref(), Some("a"));
        assert_eq!(chosen(Use, "b", Refused).as_deref(), Some("a"));
        assert_eq!(chosen(File, "c", Live).as_deref(), Some("a"));
        assert_eq!(chosen(Reset, "default.wasm", Live), None);
        assert_eq!(chosen(Use, "d", Live).as_deref(), Some("d"));
    }

    #[test]
    fn an_order_is_taken_up_once() {
        let directory = tempfile::tempdir().expect("a directory");
        let mut store = Store::open(directory.path()).expect("a store");
        let waiting = event(PolicyCause::Use, "a", PolicyOutcome::Waiting);
        let first = store.note_policy(&waiting).expect("written");
        let second = store.note_policy(&waiting).expect("written");
        let orders = |store: &mut Store| -> Vec<i64> {
            let orders = store.policy_orders().expect("read");
            orders.iter().map(|order| order.id).collect()
        };
        assert_eq!(orders(&mut store), [first, second]);
        store
            .settle_policy(first, PolicyOutcome::Refused, Some("why"), None)
            .expect("settled");
        assert_eq!(orders(&mut store), [second]);
        let log = store.policy_log(9).expect("read");
        assert_eq!(log.len(), 2);
        assert_eq!(log[0].reason.as_deref(), Some("why"));
        assert_eq!(store.policy_log(1).expect("read")[0].id, second);
    }
}
