//! What people and programs have set for sessions: pauses, labels, and variables that they report;
//! and how these follow the sessions that were meant, whatever they are called now.
//!
//! ```text
//! a name is used -> its meaning, or none yet -> a session with that name appears -> its meaning
//!                       | the session is gone
//!                  pauses and labels end; a task for it waits until a person decides
//! ```

use std::collections::{BTreeMap, BTreeSet, HashSet};

use jiff::Timestamp;

use super::Node;
use super::watch::tracker::Freshness;
use crate::model::ids::{Identity, NodeName, TmuxSession};
use crate::model::naming::{AmbiguousName, Meaning, SessionRef, Who, first_meaning, meaning};
use crate::model::task::NewTask;
use crate::probe;
use crate::store::{
    Pause, PauseRow, Reply, SessionLabel, SessionRow, Store, StoreError, labels_of, present,
};
use crate::tmux::{Pane, Tmux};

/// What was set, as of the last change of the database.
#[derive(Debug, Default)]
pub(super) struct Orders {
    data_version: Option<i64>,
    /// The engine itself has changed something here.
    pub(super) stale: bool,
    /// What people have answered.
    pub(super) replies: Vec<Reply>,
    pauses: Vec<PauseRow>,
    labels: Vec<SessionLabel>,
    /// The names of sessions that tasks wait for and that have no meaning yet.
    awaited: Vec<String>,
}

/// Returns what the name of a session means when a person uses it now, as `assigner sessions` shows
/// it. A session that was last seen by an earlier daemon and is no longer running is not meant.
///
/// # Errors
/// Sessions of several nodes have this name.
pub fn said(rows: &[SessionRow], name: impl Into<String>) -> Result<SessionRef, AmbiguousName> {
    let name = name.into();
    let there = present(rows).filter(|who| {
        let pid = who.identity.map(|identity| identity.pane_pid);
        pid.is_some_and(probe::is_alive)
    });
    let meaning = meaning(there, &name)?;
    Ok(SessionRef { name, meaning })
}

/// The target of a task cannot be bound to a session.
#[derive(Debug, thiserror::Error)]
pub enum AimError {
    /// Sessions of several nodes have this name.
    #[error("target: {0}")]
    Ambiguous(#[from] AmbiguousName),
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Binds the targets of tasks that a person queues or changes now to what their names mean.
///
/// # Errors
/// A name is not that of one session, or the database failed.
pub fn aim(tasks: &mut [NewTask], store: &mut Store) -> Result<(), AimError> {
    let targets = tasks.iter_mut();
    let targets = targets.filter_map(|task| task.target_session.as_mut());
    let mut targets = targets.filter(|target| target.meaning.is_none()).peekable();
    if targets.peek().is_none() {
        return Ok(());
    }
    let rows = store.sessions()?;
    for target in targets {
        *target = said(&rows, target.name.as_str())?;
    }
    Ok(())
}

impl Orders {
    /// Returns the pause that applies to a session that runs this provider. A pause that a person
    /// asked for comes before one that ends by itself.
    pub(super) fn pause(&self, who: Who<'_>, provider: &str) -> Option<&PauseRow> {
        PauseRow::over(&self.pauses, who, provider)
    }

    /// Whether the agent is paused that a lane's tasks ask without a terminal.
    pub(super) fn is_agent_paused(&self, lane: &crate::store::Lane) -> bool {
        lane.paused(&self.pauses).is_some()
    }

    /// Whether a pause has ended by itself.
    fn is_over(&self, now: Timestamp) -> bool {
        let mut pauses = self.pauses.iter();
        pauses.any(|pause| pause.until.is_some_and(|until| until <= now))
    }

    /// Returns the labels of a session.
    pub(super) fn labels(&self, who: Who<'_>) -> BTreeMap<String, String> {
        labels_of(&self.labels, who)
    }

    /// Returns the sessions that pauses and labels refer to.
    fn said(&self) -> impl Iterator<Item = &SessionRef> {
        let pauses = self.pauses.iter().filter_map(|pause| match &pause.what {
            Pause::Session(said) => Some(said),
            Pause::All | Pause::Provider(_) => None,
        });
        pauses.chain(self.labels.iter().map(|label| &label.session))
    }

    /// Returns what the awaited names mean now.
    fn arrived(&self, sessions: &[Who<'_>]) -> Vec<(String, Meaning)> {
        let awaited = self.said().filter(|said| said.meaning.is_none());
        let awaited = awaited.map(|said| &said.name).chain(&self.awaited);
        let awaited: BTreeSet<&str> = awaited.map(String::as_str).collect();
        if awaited.is_empty() {
            return Vec::new();
        }
        let called: HashSet<&str> = sessions.iter().flat_map(|who| who.names()).collect();
        let arrived = awaited.into_iter().filter(|name| called.contains(name));
        arrived
            .filter_map(|name| {
                let meaning = first_meaning(sessions.iter().copied(), name)?;
                Some((name.to_owned(), meaning))
            })
            .collect()
    }

    /// Returns the meanings that pauses and labels refer to and that are gone.
    fn gone(&self, listed: &Listed, is_alive: impl Fn(u32) -> bool) -> Vec<Meaning> {
        let meanings = self.said().filter_map(|said| said.meaning.as_ref());
        let gone = meanings.filter(|meaning| listed.is_gone(meaning, &is_alive));
        gone.collect::<BTreeSet<_>>().into_iter().cloned().collect()
    }
}

/// Everything that tmux lists, including panes that are not sessions at the moment.
#[derive(Debug, Default)]
pub(super) struct Listed {
    node: NodeName,
    server: Option<(u32, i64)>,
    panes: HashSet<Identity>,
    sessions: HashSet<TmuxSession>,
}

impl Listed {
    /// Returns what these panes of a node make up.
    pub(super) fn of(node: &NodeName, panes: &[Pane]) -> Self {
        let server = panes.first().map(|pane| &pane.identity);
        let sessions = panes.iter().flat_map(|pane| {
            let further = pane.further.iter().map(|further| further.session_id);
            std::iter::once(pane.session_id).chain(further)
        });
        Self {
            node: node.clone(),
            server: server.map(|server| (server.server_pid, server.server_start)),
            panes: panes.iter().map(|pane| pane.identity.clone()).collect(),
            sessions: sessions.collect(),
        }
    }

    /// Whether something is gone: its server no longer lists it, or has ended. What belongs to
    /// another running server, or to another node, is only out of sight.
    fn is_gone(&self, meaning: &Meaning, is_alive: impl Fn(u32) -> bool) -> bool {
        let (node, pid, start) = meaning.server();
        if *node != self.node {
            return false;
        }
        match self.server {
            Some(listed) if listed == (pid, start) => match meaning {
                Meaning::Pane(pane) => !self.panes.contains(pane),
                Meaning::Session { id, .. } => !self.sessions.contains(id),
            },
            Some((listed, _)) if listed == pid => true,
            _ => !is_alive(pid),
        }
    }
}

impl<T: Tmux + 'static> Node<T> {
    /// Reads what was set, if another process has changed the database.
    pub(super) async fn hear_orders(&mut self, now: Timestamp) -> Result<(), StoreError> {
        let before = self.orders.data_version;
        // Our own changes do not show in the version.
        let over = std::mem::take(&mut self.orders.stale) || self.orders.is_over(now);
        let news = self
            .ledger
            .run(move |store| {
                if over {
                    store.end_pauses(now)?;
                }
                let version = store.data_version()?;
                if before == Some(version) && !over {
                    return Ok(None);
                }
                let orders = Orders {
                    stale: false,
                    replies: store.replies()?,
                    data_version: Some(version),
                    pauses: store.pauses()?,
                    labels: store.session_labels()?,
                    awaited: store.awaited_targets()?,
                };
                Ok(Some((
                    orders,
                    store.take_context_updates()?,
                    store.settled_secrets()?,
                )))
            })
            .await?;
        let Some((orders, updates, unneeded)) = news else {
            return Ok(());
        };
        if !unneeded.is_empty() {
            // First the values are deleted, and then the record that there were any.
            self.secrets.forget_all(&unneeded);
            self.ledger
                .run(move |store| store.forget_secrets(&unneeded))
                .await?;
        }
        // What was set since the last decision may have been written in the middle of its round.
        self.news = true;
        self.orders = orders;
        for update in updates {
            let identity = match update.session.meaning {
                Some(Meaning::Pane(identity)) => Some(identity),
                _ => {
                    let row = self.tracker.written.get(&update.session.name);
                    row.map(|row| row.identity.clone())
                }
            };
            let Some(identity) = identity else {
                continue;
            };
            if let Some(known) = self.tracker.get_mut(&identity) {
                for (name, value) in update.env {
                    match value {
                        Some(value) => known.env.insert(name, value),
                        None => known.env.remove(&name),
                    };
                }
                // What the shell reported before may no longer hold.
                known.live = None;
                known.fresh = Freshness::Stale;
            }
        }
        Ok(())
    }

    /// Makes what was set follow the sessions: whatever waited for a name is bound to the first
    /// session with that name, and what applied to a session that is gone ends.
    pub(super) async fn follow_names(
        &mut self,
        listed: &Listed,
        sessions: &[Who<'_>],
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let gone = self.orders.gone(listed, probe::is_alive);
        let arrived = self.orders.arrived(sessions);
        if gone.is_empty() && arrived.is_empty() {
            return Ok(());
        }
        let (pauses, labels, awaited) = self
            .ledger
            .run(move |store| {
                store.end_wishes(&gone, now)?;
                store.bind(&arrived)?;
                let (pauses, labels) = (store.pauses()?, store.session_labels()?);
                Ok((pauses, labels, store.awaited_targets()?))
            })
            .await?;
        self.orders.pauses = pauses;
        self.orders.labels = labels;
        self.orders.awaited = awaited;
        // Our own changes do not show in the version.
        self.news = true;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ids::PaneId;

    fn pane(server: u32, number: u32) -> Identity {
        Identity {
            node: Default::default(),
            server_pid: server,
            server_start: 1,
            pane: PaneId::parse(&format!("%{number}")).expect("a pane"),
            pane_pid: number,
        }
    }

    fn session(server_pid: u32, id: u32) -> Meaning {
        Meaning::Session {
            node: Default::default(),
            server_pid,
            server_start: 1,
            id: TmuxSession(id),
        }
    }

    fn pause(name: &str, meaning: Option<Meaning>) -> PauseRow {
        PauseRow {
            what: Pause::Session(SessionRef {
                name: name.to_owned(),
                meaning,
            }),
            until: None,
            reason: None,
        }
    }

    #[test]
    fn what_ended_is_told_from_what_is_out_of_sight() {
        let listed = Listed {
            node: NodeName::default(),
            server: Some((5, 1)),
            panes: HashSet::from([pane(5, 1)]),
            sessions: HashSet::from([TmuxSession(3)]),
        };
        let runs = |pid| pid == 5 || pid == 6;
        let is_gone = |meaning| listed.is_gone(&meaning, runs);
        assert!(!is_gone(Meaning::Pane(pane(5, 1))));
        assert!(is_gone(Meaning::Pane(pane(5, 2))));
        assert!(!is_gone(session(5, 3)));
        assert!(is_gone(session(5, 4)));
        // Another node may have a server of the same number.
        let elsewhere = Identity {
            node: NodeName::parse("laptop").expect("a name"),
            ..pane(5, 2)
        };
        assert!(!is_gone(Meaning::Pane(elsewhere)));
        // A respawned pane is a different one.
        let respawned = Identity {
            pane_pid: 9,
            ..pane(5, 1)
        };
        assert!(is_gone(Meaning::Pane(respawned)));
        // Another server, one that has ended, and one whose process has the same id.
        assert!(!is_gone(Meaning::Pane(pane(6, 1))));
        assert!(is_gone(Meaning::Pane(pane(7, 1))));
        let before = Identity {
            server_start: 0,
            ..pane(5, 1)
        };
        assert!(is_gone(Meaning::Pane(before)));
        // If nothing is listed, a running server may only have lost its socket.
        let nothing = Listed::default();
        assert!(!nothing.is_gone(&session(5, 3), runs));
        assert!(nothing.is_gone(&session(7, 3), runs));
    }

    #[test]
    fn names_that_were_awaited_arrive_and_others_do_not() {
        let orders = Orders {
            pauses: vec![
                pause("api", None),
                pause("bound", Some(session(5, 9))),
                pause("nobody", None),
            ],
            awaited: vec!["web".to_owned(), "later".to_owned()],
            ..Orders::default()
        };
        let (api, web) = (pane(5, 1), pane(5, 2));
        let homes = |id, name: &str| {
            vec![crate::model::naming::Home {
                id: TmuxSession(id),
                name: name.to_owned(),
            }]
        };
        let (at_api, at_web) = (homes(1, "api"), homes(2, "web"));
        let sessions = [
            Who {
                name: "api",
                identity: Some(&api),
                homes: &at_api,
            },
            Who {
                name: "web",
                identity: Some(&web),
                homes: &at_web,
            },
            Who::named("bound"),
        ];
        assert_eq!(
            orders.arrived(&sessions),
            [
                ("api".to_owned(), session(5, 1)),
                ("web".to_owned(), session(5, 2))
            ]
        );
        let gone = orders.gone(&Listed::default(), |_| false);
        assert_eq!(gone, [session(5, 9)]);
    }
}
