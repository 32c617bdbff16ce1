//! The names that people use for sessions, and what they mean by them.
//!
//! tmux reuses names: when a pane ends, the others are renumbered; panes are swapped; sessions are
//! renamed. What a person says about a session (a pause, a label, a target) is therefore stored
//! with the [`Meaning`] that the name had at that moment, and follows it.
//!
//! ```text
//! `m:0.1`, `api`   the name of one session       -> its pane
//! `m`              a tmux session with several   -> that tmux session, including later panes
//! `new`            no session has this name yet  -> the first tmux session that gets it
//! ```

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::ids::{Identity, NodeName, PaneId, TmuxSession};
use super::session::names;

/// A tmux session that shows a pane.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Home {
    /// Its number in tmux.
    pub id: TmuxSession,
    /// The pane's name there.
    pub name: String,
}

/// What the name of a session meant when it was used.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Meaning {
    /// A pane, wherever it is moved and whatever its name.
    Pane(Identity),
    /// A tmux session with all its panes, including later ones.
    Session {
        /// The node on whose machine it is.
        node: NodeName,
        /// Process id of the tmux server.
        server_pid: u32,
        /// When that server started, in seconds since 1970-01-01 UTC.
        server_start: i64,
        /// The session.
        id: TmuxSession,
    },
}

impl Meaning {
    /// Returns the node, the process id of its tmux server, and when that started.
    pub fn server(&self) -> (&NodeName, u32, i64) {
        match self {
            Self::Pane(pane) => (&pane.node, pane.server_pid, pane.server_start),
            Self::Session {
                node,
                server_pid,
                server_start,
                ..
            } => (node, *server_pid, *server_start),
        }
    }

    /// Returns tmux's own name for it, for people: `%3` or `$1`.
    pub fn address(&self) -> String {
        match self {
            Self::Pane(pane) => pane.pane.to_string(),
            Self::Session { id, .. } => id.to_string(),
        }
    }
}

/// The form in which it is stored.
impl fmt::Display for Meaning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (node, pid, start) = self.server();
        match self {
            Self::Pane(pane) => write!(f, "pane {pid} {start} {} {}", pane.pane, pane.pane_pid)?,
            Self::Session { id, .. } => write!(f, "session {pid} {start} {id}")?,
        }
        if node.is_only() {
            return Ok(());
        }
        write!(f, " @{node}")
    }
}

/// A text that is not a [`Meaning`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoMeaning;

impl FromStr for Meaning {
    type Err = NoMeaning;

    fn from_str(text: &str) -> Result<Self, NoMeaning> {
        let read = || {
            let mut words = text.split(' ');
            let kind = words.next()?;
            let server_pid = words.next()?.parse().ok()?;
            let server_start = words.next()?.parse().ok()?;
            let address = words.next()?;
            let pane_pid = match kind {
                "pane" => Some(words.next()?.parse().ok()?),
                "session" => None,
                _ => return None,
            };
            let node = match words.next() {
                Some(word) => {
                    NodeName::parse(word.strip_prefix('@').filter(|name| !name.is_empty())?)?
                }
                None => NodeName::default(),
            };
            let meaning = match pane_pid {
                Some(pane_pid) => Self::Pane(Identity {
                    node,
                    server_pid,
                    server_start,
                    pane: PaneId::parse(address)?,
                    pane_pid,
                }),
                None => Self::Session {
                    node,
                    server_pid,
                    server_start,
                    id: TmuxSession::parse(address)?,
                },
            };
            words.next().is_none().then_some(meaning)
        };
        read().ok_or(NoMeaning)
    }
}

/// A session as a person named it, and what that meant.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct SessionRef {
    /// The name that was used.
    pub name: String,
    /// What it meant; `None`: no session has had this name yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub meaning: Option<Meaning>,
}

impl From<&str> for SessionRef {
    fn from(name: &str) -> Self {
        Self::from(name.to_owned())
    }
}

impl From<String> for SessionRef {
    fn from(name: String) -> Self {
        Self {
            name,
            meaning: None,
        }
    }
}

impl fmt::Display for SessionRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

impl SessionRef {
    /// Returns the name with the address of what it meant, which distinguishes it from others that
    /// had the same name.
    pub fn in_full(&self) -> String {
        match &self.meaning {
            Some(Meaning::Pane(pane)) => format!("{} (pane {})", self.name, pane.pane),
            Some(Meaning::Session { id, .. }) => format!("{} (tmux session {id})", self.name),
            None => self.name.clone(),
        }
    }
}

/// The longest name that a person may give for a session, in bytes.
const LONGEST_NAME: usize = 1024;

/// Checks that a text can be the name of a session: not blank, at most 1,024 bytes.
///
/// # Errors
/// What is wrong with it.
pub fn check_name(name: &str) -> Result<(), &'static str> {
    if name.trim().is_empty() {
        return Err("the name of a session is not empty: `assigner sessions` lists them");
    }
    if name.len() > LONGEST_NAME {
        return Err("the name of a session has at most 1024 bytes");
    }
    Ok(())
}

/// A session, as far as its names matter.
#[derive(Debug, Clone, Copy)]
pub struct Who<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its identity; `None`: it does not exist yet.
    pub identity: Option<&'a Identity>,
    /// The tmux sessions that show it, the one that names it first.
    pub homes: &'a [Home],
}

impl<'a> Who<'a> {
    /// Returns a session of which only the name is known.
    pub fn named(name: &'a str) -> Self {
        Self {
            name,
            identity: None,
            homes: &[],
        }
    }

    /// Returns the names that mean this one session: its own, and one for each further tmux session
    /// that shows it.
    pub fn labels(self) -> impl Iterator<Item = &'a str> {
        let further = self.homes.iter().map(|home| home.name.as_str());
        std::iter::once(self.name).chain(further.filter(move |name| *name != self.name))
    }

    /// Returns all its names, including those that it shares with others: see [`names`].
    pub fn names(self) -> impl Iterator<Item = &'a str> {
        self.labels().flat_map(names)
    }

    /// Whether it has this name, plainly or after the name of its node: `main`, `laptop/main`.
    pub fn is_called(self, name: &str) -> bool {
        self.names()
            .any(|known| known == name || self.is_on_node(name, known))
    }

    /// Whether this name means it alone, plainly or after the name of its node.
    pub fn is_labelled(self, name: &str) -> bool {
        self.labels()
            .any(|known| known == name || self.is_on_node(name, known))
    }

    /// Whether `name` is the name `plain` after that of its node.
    fn is_on_node(self, name: &str, plain: &str) -> bool {
        let node = self.identity.map(|identity| &identity.node);
        let Some(node) = node.filter(|node| !node.is_only()) else {
            return false;
        };
        let rest = name.strip_prefix(node.as_str());
        rest.and_then(|rest| rest.strip_prefix('/')) == Some(plain)
    }

    /// Whether it is what was meant, or belongs to it.
    pub fn is(self, meaning: &Meaning) -> bool {
        let Some(identity) = self.identity else {
            return false;
        };
        match meaning {
            Meaning::Pane(pane) => pane == identity,
            Meaning::Session { id, .. } => {
                meaning.server() == (&identity.node, identity.server_pid, identity.server_start)
                    && self.homes.iter().any(|home| home.id == *id)
            }
        }
    }

    /// Whether a person who named that session meant this one.
    pub fn answers(self, said: &SessionRef) -> bool {
        match &said.meaning {
            Some(meaning) => self.is(meaning),
            None => self.is_called(&said.name),
        }
    }

    /// Returns the tmux session of that name that shows it.
    fn home_called(self, name: &str) -> Option<Meaning> {
        let identity = self.identity?;
        let mut homes = self.homes.iter();
        let home = homes.find(|home| {
            let plain = session_part(&home.name);
            plain == name || self.is_on_node(name, plain)
        })?;
        Some(Meaning::Session {
            node: identity.node.clone(),
            server_pid: identity.server_pid,
            server_start: identity.server_start,
            id: home.id,
        })
    }
}

/// A plain name that sessions of several nodes have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("several nodes have a session `{name}`: say {}", self.choices())]
pub struct AmbiguousName {
    /// The name.
    pub name: String,
    /// The nodes, in order.
    pub nodes: Vec<NodeName>,
}

impl AmbiguousName {
    /// Returns the names that mean one of the sessions each.
    fn choices(&self) -> String {
        let choices = self
            .nodes
            .iter()
            .map(|node| format!("`{node}/{}`", self.name));
        choices.collect::<Vec<_>>().join(" or ")
    }
}

/// Returns what a name means among the existing sessions, or `None` if none has it.
///
/// # Errors
/// Sessions of several nodes have it.
pub fn meaning<'a>(
    sessions: impl Iterator<Item = Who<'a>> + Clone,
    name: &str,
) -> Result<Option<Meaning>, AmbiguousName> {
    let panes = sessions.clone().filter(|who| who.is_labelled(name));
    let panes = panes.filter_map(|who| who.identity.cloned().map(Meaning::Pane));
    match the_one(panes, name)? {
        Some(pane) => Ok(Some(pane)),
        None => the_one(sessions.filter_map(|who| who.home_called(name)), name),
    }
}

/// Returns the first of these meanings, which must all be on one node.
fn the_one(
    meanings: impl Iterator<Item = Meaning>,
    name: &str,
) -> Result<Option<Meaning>, AmbiguousName> {
    let mut nodes = BTreeSet::new();
    let mut first = None;
    for meaning in meanings {
        nodes.insert(meaning.server().0.clone());
        first.get_or_insert(meaning);
    }
    if nodes.len() > 1 {
        return Err(AmbiguousName {
            name: name.to_owned(),
            nodes: nodes.into_iter().collect(),
        });
    }
    Ok(first)
}

/// Returns what a name means among the sessions of one node that was used before there was a session
/// of that name. The name of a tmux session means all its panes, because some of them may not exist
/// yet.
pub fn first_meaning<'a>(
    sessions: impl Iterator<Item = Who<'a>> + Clone,
    name: &str,
) -> Option<Meaning> {
    let mut homes = sessions.clone();
    homes
        .find_map(|who| who.home_called(name))
        .or_else(|| meaning(sessions, name).ok().flatten())
}

/// The whereabouts of a session that a person has named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Whereabouts {
    /// It exists, and has this name now.
    Here(String),
    /// It does not exist yet: the first session of that name will be it.
    Awaited,
    /// What was meant is gone.
    Gone,
}

/// Returns where a session is among the existing ones.
pub fn whereabouts<'a>(
    mut sessions: impl Iterator<Item = Who<'a>>,
    said: &SessionRef,
) -> Whereabouts {
    let found = sessions.find(|who| who.answers(said));
    match (found, &said.meaning) {
        (None, None) => Whereabouts::Awaited,
        (None, Some(_)) => Whereabouts::Gone,
        (Some(_), None) => Whereabouts::Here(said.name.clone()),
        (Some(who), Some(Meaning::Pane(_))) => Whereabouts::Here(who.name.to_owned()),
        (Some(who), Some(Meaning::Session { id, .. })) => {
            let mut homes = who.homes.iter();
            let home = homes.find(|home| home.id == *id);
            let name = home.map_or(who.name, |home| session_part(&home.name));
            Whereabouts::Here(name.to_owned())
        }
    }
}

/// Returns what was said earlier about a session that a person now names: by what the name means,
/// by the session's current name, or else by the name that was used then.
pub fn found<'w, 's>(
    wishes: impl Iterator<Item = &'w SessionRef> + Clone,
    named: &SessionRef,
    sessions: &(impl Iterator<Item = Who<'s>> + Clone),
) -> Vec<&'w SessionRef> {
    let is_it = |wish: &&SessionRef| {
        let (means, called) = (wish.meaning.as_ref(), wish.name == named.name);
        if means.is_none() {
            return called;
        }
        means == named.meaning.as_ref()
            || whereabouts(sessions.clone(), wish) == Whereabouts::Here(named.name.clone())
    };
    let found: Vec<&SessionRef> = wishes.clone().filter(is_it).collect();
    if !found.is_empty() {
        return found;
    }
    wishes.filter(|wish| wish.name == named.name).collect()
}

/// Returns the name of the tmux session that is part of a session's name.
fn session_part(name: &str) -> &str {
    names(name).last().unwrap_or(name)
}

#[cfg(test)]
mod tests;
