//! Time, of two kinds. Durations are measured by a clock that only goes forward, so that setting
//! the machine's clock moves no time-out. Wall time is for people, for rows, and for `--at`.

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
/// all moments in one process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Tick(Duration);

impl Tick {
    /// Returns the moment this long after the origin.
    pub(crate) fn after_origin(elapsed: Duration) -> Self {
        Self(elapsed)
    }

    /// Returns the time since `earlier`, or zero if that is later than this moment.
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

    /// Stops at the origin.
    fn sub(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(duration))
    }
}

/// A source of the time.
pub(crate) trait Clock {
    /// Returns the current moment.
    fn now(&self) -> Now;
}
