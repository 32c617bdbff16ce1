//! ask: what a shell exports cannot be seen from outside, once it has changed since its start. It
//! tells of it around each job; and where a task names variables, an idle shell of which something
//! has changed is asked, by a line that writes them into the spool.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::spool::Spool;
use super::tracker::{Asked, Freshness, Known, Seen};
use super::{Engine, RoundError, job};
use crate::model::eligibility::Admission;
use crate::model::session::Activity;
use crate::model::task::Task;
use crate::tmux::{Tmux, Typed, TypedLine};

/// How long an answer is waited for. A shell needs some milliseconds.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);

impl<T: Tmux> Engine<T> {
    /// Asks the ready sessions that `tasks` may go to for the variables that they name, where what
    /// is known of them is stale. Returns how many of the tasks can be decided on now: those in
    /// front of the first that has to wait for an answer.
    pub(super) async fn ask(
        &mut self,
        tasks: &[Task],
        ready: &[&Seen],
        waiting: &[&Seen],
        now: Timestamp,
    ) -> Result<usize, RoundError> {
        if !self.settings.ask_variables {
            return Ok(tasks.len());
        }
        let mut names = BTreeSet::new();
        let mut asked: Vec<&Seen> = Vec::new();
        let mut decidable = tasks.len();
        for (position, task) in tasks.iter().enumerate() {
            let metadata = &task.metadata;
            if metadata.env_vars.is_empty() || !metadata.prefer_context_match {
                continue;
            }
            let providers = task.allowed_providers();
            let demand = task.demand(&providers);
            let may = |seen: &&&Seen| demand.excludes(&seen.row.place()).is_none();
            let stale = ready.iter().filter(may).filter(|seen| {
                // A protected session is left in peace, unless it is named.
                let named = task.target_session.as_deref() == Some(seen.row.name.as_str());
                !seen.fresh && (named || seen.row.admission == Admission::Open)
            });
            let before = asked.len();
            for seen in stale {
                names.extend(metadata.env_vars.keys().cloned());
                let is_new = |other: &&Seen| other.row.identity != seen.row.identity;
                if asked.iter().all(is_new) {
                    asked.push(seen);
                }
            }
            let waits = asked.len() > before
                || asked.iter().any(|seen| may(&seen))
                || waiting.iter().filter(may).any(|seen| seen.asked);
            if waits {
                decidable = decidable.min(position);
            }
        }
        if !asked.is_empty() {
            self.put_questions(&asked, &names, now).await?;
        }
        if decidable < tasks.len() {
            self.queue.touch();
        }
        Ok(decidable)
    }

    async fn put_questions(
        &mut self,
        sessions: &[&Seen],
        names: &BTreeSet<String>,
        now: Timestamp,
    ) -> Result<(), RoundError> {
        let wanted: Vec<&str> = names.iter().map(String::as_str).collect();
        let details = format!("for {}, which a task names", wanted.join(", "));
        let mut lines = Vec::with_capacity(sessions.len());
        let mut questions = Vec::with_capacity(sessions.len());
        for seen in sessions {
            let (question, script) = match self.spool.write_question(seen.shell) {
                Ok(written) => written,
                Err(error) => {
                    tracing::warn!("cannot write into the spool directory: {error}");
                    return Ok(());
                }
            };
            lines.push(TypedLine {
                identity: seen.row.identity.clone(),
                cursor: seen.cursor,
                text: job::typed_line(seen.shell, &script),
                pipe: None,
            });
            questions.push(question);
        }
        // Written before the first byte goes to a pane.
        let rows: Vec<String> = sessions.iter().map(|seen| seen.row.name.clone()).collect();
        self.ledger
            .run(move |store| {
                for session in &rows {
                    store.note_session(session, "asked", &details, now)?;
                }
                Ok(())
            })
            .await?;
        let typed = self.tmux.type_lines(&lines).await;
        for ((seen, question), typed) in sessions.iter().zip(questions).zip(typed) {
            let identity = &seen.row.identity;
            if let Typed::Refused(refusal) = typed {
                tracing::debug!(session = ?seen.row.name, "not asked: {refusal}");
                self.spool.forget_question(question);
                continue;
            }
            tracing::debug!(session = ?seen.row.name, "asked for its variables");
            if let Some(known) = self.tracker.get_mut(identity) {
                known.asked = Some(Asked {
                    question,
                    names: names.clone(),
                    until: Instant::now() + ANSWER_WITHIN,
                });
            }
            self.tracker.settle(identity);
        }
        Ok(())
    }
}

/// Variables that shells themselves change all the time.
const NOT_TRACKED: [&str; 4] = ["_", "SHLVL", "PWD", "OLDPWD"];

/// Longer values are not kept with the session, in bytes; a shell is asked for them.
const LONGEST_TRACKED: usize = 4096;

/// Takes up what a shell that is back at its prompt has told of its variables behind a job: what
/// the job has set stays known with the session.
pub(super) fn take_told(spool: &Spool, known: &mut Known) {
    let Some(telling) = known.telling.take() else {
        return;
    };
    let after = spool.files(telling.attempt).environment_after();
    if let (Some(before), Some(after)) = (&telling.before, &after) {
        let counts =
            |name: &String| !NOT_TRACKED.contains(&name.as_str()) && !telling.secret.contains(name);
        for (name, value) in after.iter().filter(|(name, _)| counts(name)) {
            if before.get(name) != Some(value) && value.len() <= LONGEST_TRACKED {
                known.env.insert(name.clone(), value.clone());
            }
        }
        known
            .env
            .retain(|name, _| after.contains_key(name) || !before.contains_key(name));
    }
    spool.remove(telling.attempt);
    known.live = after.map(Arc::new);
    known.fresh = Freshness::FromNextPrompt;
}

/// Takes the answer of a session that was asked, once it is back at its prompt; after a while it
/// is not waited for any longer. `stands`: cursor and last activity now.
pub(super) fn take_answer(
    spool: &Spool,
    known: &mut Known,
    activity: Activity,
    stands: ((u32, u32), i64),
) {
    let at_prompt = activity == Activity::Idle;
    if let Some(asked) = &known.asked {
        let answer = spool.answer(asked.question);
        let over = asked.until <= Instant::now();
        if (answer.is_some() && at_prompt) || over {
            if let Some(variables) = &answer {
                for name in &asked.names {
                    match variables.get(name) {
                        Some(value) => known.env.insert(name.clone(), value.clone()),
                        None => known.env.remove(name),
                    };
                }
            }
            spool.forget_question(asked.question);
            // One that does not answer is not asked again before it has done something.
            known.live = answer.map(Arc::new);
            known.fresh = Freshness::FromNextPrompt;
            known.asked = None;
        }
    }
    if known.fresh == Freshness::FromNextPrompt && at_prompt {
        known.fresh = Freshness::While(stands.0, stands.1);
    }
}
