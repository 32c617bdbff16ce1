//! The attempts in flight, as far as they matter for choosing sessions: resumes what an earlier
//! daemon left, tells attempts what was seen, and keeps what they report with their sessions.

use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::watch::scan::SeenSessions;
use super::watch::tracker::{Declined, Freshness, Seen, Telling, What};
use super::{Node, NodeError};
use crate::model::clock::{Clock, Tick};
use crate::model::ids::AttemptId;
use crate::model::task::{Kind, Outcome};
use crate::node::attempt::driver::{AttemptReport, News, Over};
use crate::node::attempt::job::Job;
use crate::node::attempt::turn::Turn;
use crate::node::attempt::{AgentSight, Brief, Leaves, Machine, Note, PaneSight, Rules, Scan};
use crate::store::{Store, StoreError};
use crate::tmux::Tmux;

impl<T: Tmux + 'static> Node<T> {
    pub(super) fn rules(&self) -> Rules {
        Rules {
            start_within: self.settings.start_within,
            prerequisite_within: self.settings.prerequisite_within,
            nonces: self.settings.nonces,
        }
    }

    /// Resumes the attempts that the store knows of and that are not running: at the start, those
    /// of an earlier daemon; later, those that had a commit refused.
    pub(super) async fn take_up(&mut self, now: Timestamp) -> Result<(), StoreError> {
        // What was decided but not carried out is decided again.
        self.news = true;
        let open = self.ledger.run(Store::open_attempts).await?;
        let ids = open.iter().map(|attempt| attempt.id);
        let needed: Vec<AttemptId> = ids.chain(self.tracker.told_later()).collect();
        self.spool.sweep(&needed);
        for attempt in open {
            if self.driver.flying().contains_key(&attempt.id) {
                continue;
            }
            tracing::info!(task = %attempt.task.id, session = ?attempt.session, "resumed");
            let moment = crate::model::clock::Now {
                wall: now,
                ..self.world.now()
            };
            let rules = self.rules();
            let machine = match attempt.task.kind {
                Kind::Command => Machine::Job(Box::new(Job::resume(attempt, rules, moment))),
                Kind::Prompt => {
                    let refusals = self.refusals.get(&attempt.task.id).copied();
                    let refusals = refusals.unwrap_or_default();
                    let turn = Turn::resume(attempt, rules, refusals, moment);
                    Machine::Turn(Box::new(turn))
                }
            };
            self.driver.start(machine);
        }
        Ok(())
    }

    /// Starts an attempt that was claimed just now.
    pub(super) fn begin(&mut self, brief: Brief) {
        let rules = self.rules();
        let machine = match brief.task.kind {
            Kind::Command => Machine::Job(Box::new(Job::new(brief, rules))),
            Kind::Prompt => {
                let refusals = self.refusals.get(&brief.task.id).copied();
                let turn = Turn::new(brief, rules, refusals.unwrap_or_default());
                Machine::Turn(Box::new(turn))
            }
        };
        self.driver.start(machine);
    }

    /// Tells the attempts what was seen, by a look that began at `at`.
    pub(super) async fn tell_attempts(
        &mut self,
        snapshot: &SeenSessions,
        at: Tick,
    ) -> Result<(), NodeError> {
        // An attempt that is claimed in this round is told what it needs beforehand.
        let requests = if self.is_idle() {
            Default::default()
        } else {
            self.ledger.run(Store::requests).await?
        };
        let sessions = snapshot.sessions.iter();
        let sessions = sessions.map(|seen| {
            let sight = self.pane_sight(seen);
            (seen.row.identity.clone(), Arc::new(sight))
        });
        self.driver.publish(Scan {
            at: Some(at),
            sessions: sessions.collect(),
            requests,
            replies: self.orders.replies.clone(),
        });
        Ok(())
    }

    fn pane_sight(&self, seen: &Seen) -> PaneSight {
        let (shell, agent) = match &seen.what {
            What::Shell(shell) => (Some(*shell), None),
            What::Agent(agent) => (None, Some(&**agent)),
        };
        PaneSight {
            idle: seen.idle,
            at_prompt: seen.at_prompt,
            tells: seen.tells,
            foreground: seen.foreground,
            cursor: seen.cursor,
            piped: seen.piped,
            directory: seen.row.current_dir.clone(),
            untold: shell.is_some() && (seen.live.is_none() || !self.tracker.is_fresh(seen)),
            shell,
            agent: agent.map(|agent| AgentSight {
                profile: Arc::clone(&agent.profile),
                pid: agent.pid,
                began: agent.began,
                started: crate::probe::started_at(agent.pid),
                command: agent.pane.command.clone(),
                report: agent.report.clone(),
                told: agent.told.clone(),
                quiet: quiet(agent.pane.activity, self.world.now().wall),
                signals: agent.signals.clone(),
                verdict: agent.verdict.clone(),
                keeps_none: self.agents.keeps_none(&seen.row.identity),
                record: self.agents.record(&seen.row.identity),
                alternate: agent.pane.alternate,
            }),
        }
    }

    /// Keeps what attempts have reported since the last round.
    pub(super) fn hear_attempts(&mut self) {
        for (identity, follower) in self.world.take_followers() {
            self.agents.keep_follower(&identity, *follower);
        }
        for told in self.driver.take_told() {
            match told.what {
                News::Note(ref note) => self.hear_note(&told, note.clone()),
                News::Ended(over) => {
                    self.hear_end(told.attempt, &told.identity, *over);
                }
                // Its row shows its state.
                News::Broken => self.out_of_step = true,
            }
        }
    }

    fn hear_note(&mut self, told: &AttemptReport, note: Note) {
        match note {
            // Whatever runs there may change the session's variables.
            Note::Typed => {
                if let Some(known) = self.tracker.get_mut(&told.identity) {
                    known.fresh = Freshness::Stale;
                    known.asked = None;
                }
            }
            Note::Hold(rest, reason) => {
                let until = Instant::now() + rest;
                self.tracker.hold(&told.identity, until, reason);
                self.news = true;
            }
            Note::Declined(why) => {
                if let Some(known) = self.tracker.get_mut(&told.identity) {
                    known.declined = Some(Declined::now(why, known.declined, known.prompts));
                }
                self.news = true;
            }
            Note::Refused { pasted } => {
                let refusals = self.refusals.entry(told.task).or_default();
                refusals.all += 1;
                refusals.pasted += u32::from(pasted);
            }
            Note::Begun => {
                self.refusals.remove(&told.task);
            }
            Note::NoRecord => self.agents.no_transcript(&told.identity),
            Note::Orders => self.orders.stale = true,
        }
    }

    fn hear_end(&mut self, attempt: AttemptId, identity: &crate::model::ids::Identity, over: Over) {
        if over.outcome == Outcome::Limited {
            // Its provider is paused now.
            self.orders.stale = true;
        }
        // A session is free again, even if the job was so short that the session never seemed
        // taken.
        self.news = true;
        self.tracker.settle(identity);
        let live = self.tracker.live(identity);
        let Some(known) = self.tracker.get_mut(identity) else {
            return;
        };
        if let Some(drawn) = &mut known.drawn {
            drawn.job_ended();
        }
        known.completed += u32::from(over.outcome == Outcome::Completed);
        known.failed += u32::from(over.outcome.is_failure());
        match over.leaves {
            Leaves::Nothing => {}
            Leaves::Unclean => {
                known.unclean = true;
                known.left.extend(over.secrets);
            }
            Leaves::Variables => {
                known.env.extend(over.given);
                let telling = Telling {
                    attempt,
                    before: over.before.map(Arc::new).or(live),
                    secrets: over.secrets,
                };
                if let Some(earlier) = known.telling.replace(telling) {
                    self.spool.remove_told(earlier.attempt);
                }
            }
        }
    }
}

/// Returns how long nothing has appeared in a pane, at least. tmux reports this only by the second.
fn quiet(activity: i64, now: Timestamp) -> Duration {
    let last = Timestamp::from_second(activity.saturating_add(1));
    let quiet = last.ok().map(|last| now.duration_since(last));
    let quiet = quiet.and_then(|quiet| Duration::try_from(quiet).ok());
    quiet.unwrap_or_default()
}
