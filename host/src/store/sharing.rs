//! Work in slices: others get their turn between them.

use std::time::{Duration, Instant};

/// How long others can write between two slices, at least and at most.
const LEAST: Duration = Duration::from_millis(1);
const MOST: Duration = Duration::from_millis(100);

/// Shares a queue with others.
#[derive(Debug)]
pub(crate) struct Sharing {
    began: Instant,
}

impl Sharing {
    /// Begins the first turn.
    pub(crate) fn begin() -> Self {
        Self {
            began: Instant::now(),
        }
    }

    /// Gives others as much time as this turn has taken, and begins the next.
    pub(crate) fn give_way(&mut self) {
        std::thread::sleep(self.began.elapsed().clamp(LEAST, MOST));
        self.began = Instant::now();
    }
}
