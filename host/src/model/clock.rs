//! Time, of two kinds. How long something takes is measured by a clock that only goes forward: a
//! person who sets the clock of the machine moves no time-out. Wall time is for people, for rows,
//! and for `--at`.

use std::time::Duration;

use jiff::Timestamp;

/// This moment, on both clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Now {
    /// For people and for rows.
    pub(crate) wall: Timestamp,
    /// For durations.
    pub(crate) tick: Tick,
}

/// A moment on the clock that only goes forward: the time since some origin, which is the same for
/// all moments of one process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Tick(Duration);

impl Tick {
    /// Returns the moment so long after the origin.
    pub(crate) fn after_origin(elapsed: Duration) -> Self {
        Self(elapsed)
    }

    /// Returns how long `earlier` is ago; zero where it is later than this moment.
    pub(crate) fn since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

impl std::ops::Add<Duration> for Tick {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(duration))
    }
}

impl std::ops::Sub<Duration> for Tick {
    type Output = Self;

    /// Before the origin there is nothing.
    fn sub(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(duration))
    }
}

/// Where the time comes from.
pub(crate) trait Clock {
    /// Returns this moment.
    fn now(&self) -> Now;
}
