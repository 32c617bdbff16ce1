//! One record of an agent, followed while it grows: a file of lines, or a conversation in a database.

use std::io;
use std::path::{Path, PathBuf};

use super::lines::Lines;
use super::opencode::Conversation;
use super::turns::Turns;
use super::{Entry, Format, TranscriptTurn, Wanted};

/// Follows one record while it grows.
///
/// The follower keeps the latest turn, and the last ones before it that have a prompt.
#[derive(Debug)]
pub struct Follower {
    format: Format,
    source: FollowedSource,
}

/// Where the record is kept.
#[derive(Debug)]
enum FollowedSource {
    Lines(Box<Lines>),
    Conversation(Box<Conversation>),
}

impl Follower {
    /// Follows a record from its beginning. It does not have to exist yet.
    pub fn new(format: Format, path: PathBuf) -> Self {
        let source = match format.lines() {
            Some(lines) => FollowedSource::Lines(Box::new(Lines::new(lines, path))),
            None => FollowedSource::Conversation(Box::new(Conversation::new(path))),
        };
        Self { format, source }
    }

    /// Follows a record from its end: [`Follower::read`] returns only what comes later.
    ///
    /// [`Follower::turn`] still knows the turn that is open or was the last one.
    ///
    /// # Errors
    ///
    /// The record cannot be read.
    pub fn at_end(format: Format, path: PathBuf) -> io::Result<Self> {
        let source = match format.lines() {
            Some(lines) => FollowedSource::Lines(Box::new(Lines::at_end(lines, path)?)),
            None => {
                let mut conversation = Conversation::new(path);
                conversation.read()?;
                conversation.age();
                FollowedSource::Conversation(Box::new(conversation))
            }
        };
        Ok(Self { format, source })
    }

    /// Names the record: its file, or for a conversation in a database its name joined to the database's
    /// path.
    pub fn path(&self) -> &Path {
        match &self.source {
            FollowedSource::Lines(lines) => lines.path(),
            FollowedSource::Conversation(conversation) => conversation.path(),
        }
    }

    /// Returns the directory in which it is written.
    pub fn directory(&self) -> Option<&Path> {
        self.format.directory(self.path())
    }

    /// Reads what is new, at most 4 MiB of a file, and returns its entries. If a conversation has
    /// changed, returns its latest entries again, old ones included.
    ///
    /// # Errors
    ///
    /// The record is not there, is not of its kind, or cannot be read. A later call may succeed.
    pub fn read(&mut self) -> io::Result<Vec<Entry>> {
        match &mut self.source {
            FollowedSource::Lines(lines) => lines.read(),
            FollowedSource::Conversation(conversation) => conversation.read(),
        }
    }

    /// Marks all turns so far as older than what follows.
    pub fn age(&mut self) {
        match &mut self.source {
            FollowedSource::Lines(lines) => lines.age(),
            FollowedSource::Conversation(conversation) => conversation.age(),
        }
    }

    /// Returns the latest turn, unless [`Follower::age`] has marked it.
    pub fn fresh(&self) -> Option<&TranscriptTurn> {
        self.turns().fresh()
    }

    /// Returns the latest turn.
    pub fn turn(&self) -> Option<&TranscriptTurn> {
        self.turns().latest()
    }

    /// Returns the latest turn that matches `wanted`. A text that was said while a turn was open
    /// belongs to that turn, too.
    pub fn turn_of(&self, wanted: Wanted<'_>) -> Option<&TranscriptTurn> {
        self.turns().of(self.format, wanted)
    }

    fn turns(&self) -> &Turns {
        match &self.source {
            FollowedSource::Lines(lines) => lines.turns(),
            FollowedSource::Conversation(conversation) => conversation.turns(),
        }
    }

    /// Acts as if nothing had been written for a while.
    #[cfg(test)]
    pub(super) fn settle_now(&mut self) -> Vec<Entry> {
        match &mut self.source {
            FollowedSource::Lines(lines) => lines.settle_now(),
            FollowedSource::Conversation(_) => Vec::new(),
        }
    }
}
