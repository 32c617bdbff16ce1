//! ask: what a shell exports cannot be seen from outside once it has changed since its start. The
//! shell reports it around each job. If a task names variables, an idle shell that may have changed
//! is asked, by a line that writes them into the spool.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::scan::SeenSessions;
use super::tracker::{Asked, Freshness, Known, Seen, What};
use crate::model::eligibility::Admission;
use crate::model::ids::Identity;
use crate::model::session::Activity;
use crate::node::shell::KEY;
use crate::node::spool::Spool;
use crate::node::{HOLD, Node, NodeError};
use crate::store::SHORTEST_SECRET;
use crate::tmux::{PaneOutput, Tmux, Typed, TypedLine};

/// How many variables the history names.
const NAMED: usize = 8;

/// How long to wait for an answer. A shell needs some milliseconds.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);

/// A shell that has done something, but whose variables are the same, is left alone for this long,
/// and for twice as long the next time, up to the longest: some shells keep redrawing their prompt.
const REST: Duration = Duration::from_secs(2);
const LONGEST_REST: Duration = Duration::from_secs(300);

impl<T: Tmux + 'static> Node<T> {
    /// Asks shells for variables that tasks name.
    pub(crate) async fn ask(
        &mut self,
        sessions: &BTreeSet<Identity>,
        names: &BTreeSet<String>,
        snapshot: &SeenSessions,
        now: Timestamp,
    ) -> Result<(), NodeError> {
        let sessions = sessions.iter();
        let sessions: Vec<&Seen> = sessions.filter_map(|it| snapshot.get(it)).collect();
        let mut wanted: Vec<&str> = names.iter().map(String::as_str).collect();
        let more = if wanted.len() > NAMED {
            " and others"
        } else {
            ""
        };
        wanted.truncate(NAMED);
        let why = format!("for {}{more}, which a task names", wanted.join(", "));
        self.put_questions(&sessions, names, &why, now).await
    }

    /// Undoes what interrupted tasks have left, by asking a question, which also undoes it.
    pub(in crate::node) async fn clean_up(
        &mut self,
        snapshot: &SeenSessions,
        now: Timestamp,
    ) -> Result<(), NodeError> {
        let unclean: Vec<&Seen> = snapshot
            .sessions
            .iter()
            .filter(|seen| {
                let identity = &seen.row.identity;
                // If a person wants the session left alone, the next job undoes it.
                seen.row.activity == Activity::Idle
                    && matches!(seen.what, What::Shell(_))
                    && !seen.row.paused
                    && seen.row.admission != Admission::Excluded
                    && self.tracker.is_unclean(identity)
                    && !self.tracker.is_asked(identity)
            })
            .collect();
        if unclean.is_empty() {
            return Ok(());
        }
        let why = "to undo what an interrupted task has left";
        self.put_questions(&unclean, &BTreeSet::new(), why, now)
            .await
    }

    async fn put_questions(
        &mut self,
        sessions: &[&Seen],
        names: &BTreeSet<String>,
        why: &str,
        now: Timestamp,
    ) -> Result<(), NodeError> {
        let details = why.to_owned();
        let mut lines = Vec::with_capacity(sessions.len());
        let mut questions = Vec::with_capacity(sessions.len());
        let mut asked = Vec::with_capacity(sessions.len());
        for &seen in sessions {
            let What::Shell(shell) = seen.what else {
                continue;
            };
            let pid = seen.row.identity.pane_pid;
            if seen.tells && !self.shells.reads(pid) {
                continue;
            }
            let (question, script) = match self.spool.write_question(shell) {
                Ok(written) => written,
                Err(error) => {
                    tracing::warn!("cannot write into the spool directory: {error}");
                    return Ok(());
                }
            };
            let text = shell.dialect().typed_line(&script);
            let key = seen.tells.then_some(KEY);
            if key.is_some()
                && let Err(error) = self.shells.offer(pid, &text)
            {
                tracing::warn!("cannot offer a question to a shell: {error}");
                return Ok(());
            }
            lines.push(TypedLine {
                key,
                identity: seen.row.identity.clone(),
                cursor: seen.cursor,
                text,
                output: PaneOutput::AsItIs,
            });
            questions.push(question);
            asked.push(seen);
        }
        // Committed before the first byte goes to a pane.
        let rows: Vec<String> = asked.iter().map(|seen| seen.row.name.clone()).collect();
        self.ledger
            .run(move |store| {
                for session in &rows {
                    store.note_session(session, "asked", &details, now)?;
                }
                Ok(())
            })
            .await?;
        let typed = self.tmux.type_lines(&lines).await;
        for ((seen, question), typed) in asked.into_iter().zip(questions).zip(typed) {
            let identity = &seen.row.identity;
            if let Typed::Refused(refusal) = typed {
                tracing::debug!(session = ?seen.row.name, "not asked: {refusal}");
                self.spool.forget_question(question);
                let until = Instant::now() + HOLD;
                self.tracker.hold(identity, until, refusal.to_string());
                continue;
            }
            tracing::debug!(session = ?seen.row.name, "asked for its variables");
            if let Some(known) = self.tracker.get_mut(identity) {
                known.asked = Some(Asked {
                    question,
                    at: Instant::now(),
                    names: names.clone(),
                    until: Instant::now() + ANSWER_WITHIN,
                });
            }
            self.tracker.settle(identity);
        }
        Ok(())
    }
}

/// Variables that shells change all the time by themselves.
const NOT_TRACKED: [&str; 4] = ["_", "SHLVL", "PWD", "OLDPWD"];

/// Longer values, in bytes, are not kept with the session; the shell is asked for them.
const LONGEST_TRACKED: usize = 4096;

/// Takes what a shell that is back at its prompt has reported about its variables after a job. What
/// the job has set stays known with the session.
pub(in crate::node) fn take_told(spool: &Spool, known: &mut Known) {
    let Some(telling) = known.telling.take() else {
        return;
    };
    let mut after = spool.files(telling.attempt).environment_after();
    if let Some(after) = &mut after {
        let before = telling.before.as_deref();
        let is_new = |name: &String, value: &String| {
            before.and_then(|before| before.get(name)) != Some(value)
        };
        for (name, value) in after.iter() {
            if is_new(name, value)
                && (telling.secrets.contains_key(name) || tells(value, &telling.secrets))
            {
                known.tainted.insert(name.clone());
            }
        }
        after.retain(|name, _| !known.tainted.contains(name));
    }
    if let (Some(before), Some(after)) = (&telling.before, &after) {
        let counts = |name: &String| !NOT_TRACKED.contains(&name.as_str());
        for (name, value) in after.iter().filter(|(name, _)| counts(name)) {
            if before.get(name) != Some(value) && value.len() <= LONGEST_TRACKED {
                known.env.insert(name.clone(), value.clone());
            }
        }
        // What a job was to export but never exported is not there.
        known.env.retain(|name, _| after.contains_key(name));
    }
    spool.remove_told(telling.attempt);
    known.live = after.map(Arc::new);
    known.fresh = Freshness::FromNextPrompt;
}

/// Takes the answer of a session that was asked, once it is back at its prompt. After a while, the
/// answer is no longer waited for.
pub(in crate::node) fn take_answer(spool: &Spool, known: &mut Known, activity: Activity) {
    let Some(asked) = &known.asked else {
        return;
    };
    let answer = spool.answer(asked.question);
    let over = asked.until <= Instant::now();
    if !over && (answer.is_none() || activity != Activity::Idle) {
        return;
    }
    let answer = answer.map(|mut variables| {
        // What an interrupted task has made of its secret values.
        let made = variables
            .iter()
            .filter(|(_, value)| tells(value, &known.left));
        known.tainted.extend(made.map(|(name, _)| name.clone()));
        known.left.clear();
        variables.retain(|name, _| !known.tainted.contains(name));
        variables
    });
    if let Some(variables) = &answer {
        for name in &asked.names {
            match variables.get(name) {
                Some(value) => known.env.insert(name.clone(), value.clone()),
                None => known.env.remove(name),
            };
        }
        known.unclean = false;
    } else if known.unclean {
        let reason = "does not undo what an interrupted task has left".to_owned();
        known.hold = Some((Instant::now() + LONGEST_REST, reason));
    }
    // A shell that does not answer is not asked again before it has done something.
    let same = match (&answer, &known.live) {
        (Some(answer), Some(live)) => is_same(answer, live),
        (answer, _) => answer.is_none(),
    };
    let rest = match known.rest {
        _ if !same => Duration::ZERO,
        Some((_, rest)) if !rest.is_zero() => (rest * 2).min(LONGEST_REST),
        _ => REST,
    };
    known.rest = Some((asked.at, rest));
    spool.forget_question(asked.question);
    known.live = answer.map(Arc::new);
    known.fresh = Freshness::FromNextPrompt;
    known.asked = None;
}

/// Whether a value contains one of `secrets`.
fn tells(value: &str, secrets: &BTreeMap<String, String>) -> bool {
    let mut secrets = secrets.values();
    secrets.any(|secret| secret.len() >= SHORTEST_SECRET && value.contains(secret))
}

/// Whether two answers are the same, except for what shells change all the time.
fn is_same(one: &BTreeMap<String, String>, other: &BTreeMap<String, String>) -> bool {
    let counts = |(name, _): &(&String, &String)| !NOT_TRACKED.contains(&name.as_str());
    one.iter().filter(counts).eq(other.iter().filter(counts))
}
