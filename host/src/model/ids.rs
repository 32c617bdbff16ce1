//! The identifiers of the project: one newtype each, so that they cannot be mixed up.

use std::fmt;
use std::num::IntErrorKind;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use thiserror::Error;

macro_rules! number_id {
    ($(#[$meta:meta])* $name:ident) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub i64);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl std::str::FromStr for $name {
            type Err = NumberError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                let number = text.parse::<i64>();
                number.map(Self).map_err(|error| match error.kind() {
                    IntErrorKind::PosOverflow | IntErrorKind::NegOverflow => NumberError::TooLarge,
                    _ => NumberError::NotOne,
                })
            }
        }
    };
}

/// Why a text is not the number of anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum NumberError {
    /// It is no whole number.
    #[error("it is not a number such as `12`")]
    NotOne,
    /// No number is that large.
    #[error("there is none with such a number")]
    TooLarge,
}

number_id! {
    /// A task's number, as people see it: unique in a data directory, and never reused.
    TaskId
}

number_id! {
    /// One try to run a task in a session; unique in a data directory.
    AttemptId
}

/// tmux's own name for a pane, such as `%12`: unique during the life of one tmux server.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PaneId(String);

impl PaneId {
    /// Returns the id if `text` is `%` and digits. Only such a text is ever passed to `-t`.
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text.strip_prefix('%')?;
        let valid = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
        valid.then(|| Self(text.to_owned()))
    }

    /// Returns the id as tmux takes it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for PaneId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// tmux's own number for a session, `3` in `$3`: unique during the life of one tmux server, and
/// higher for sessions that were created later.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TmuxSession(pub u32);

impl TmuxSession {
    /// Returns the number if `text` is `$` and digits.
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text.strip_prefix('$')?;
        let valid = digits.bytes().all(|byte| byte.is_ascii_digit());
        valid.then(|| digits.parse().ok().map(Self)).flatten()
    }
}

impl fmt::Display for TmuxSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "${}", self.0)
    }
}

/// The name of a node: of one machine's part of the program. It is empty if the queue has no other
/// node.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct NodeName(Arc<str>);

impl NodeName {
    /// The longest name, in bytes.
    pub const LONGEST: usize = 64;

    /// Returns the name if it is empty, or letters, digits, `.`, `_` and `-`, at most
    /// [`NodeName::LONGEST`] of them.
    pub fn parse(text: &str) -> Option<Self> {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        let valid = text.len() <= Self::LONGEST && text.bytes().all(is_plain);
        valid.then(|| Self(text.into()))
    }

    /// Returns the name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the queue has no other node.
    pub fn is_only(&self) -> bool {
        self.0.is_empty()
    }
}

impl TryFrom<String> for NodeName {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        Self::parse(&text).ok_or_else(|| format!("{text:?} is no name of a node"))
    }
}

impl From<NodeName> for String {
    fn from(name: NodeName) -> Self {
        name.as_str().to_owned()
    }
}

impl fmt::Display for NodeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a session really is, whatever its name: its pane during one life of one tmux server of one
/// node.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Identity {
    /// The node on whose machine it is.
    #[serde(default, skip_serializing_if = "NodeName::is_only")]
    pub node: NodeName,
    /// Process id of the tmux server.
    pub server_pid: u32,
    /// When that server started, in seconds since 1970-01-01 UTC.
    pub server_start: i64,
    /// The pane.
    pub pane: PaneId,
    /// Process id of the pane's first process: a respawned pane is a different session.
    pub pane_pid: u32,
}

#[cfg(test)]
impl Identity {
    /// Returns the pane of this number on a server.
    pub(crate) fn of_pane(number: u32) -> Self {
        Self {
            node: NodeName::default(),
            server_pid: 1,
            server_start: 1,
            pane: PaneId::parse(&format!("%{number}")).expect("a pane"),
            pane_pid: number,
        }
    }
}
