//! Sessions that are expected to be idle in a moment: when they are looked at again.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::model::ids::Identity;

/// A shell draws its prompt some milliseconds after a job has ended, and an agent its composer after a
/// turn. Each of these delays follows the look before it, so that the next task does not wait for a poll.
const DELAYS: [Duration; 6] = [
    Duration::from_millis(5),
    Duration::from_millis(10),
    Duration::from_millis(20),
    Duration::from_millis(40),
    Duration::from_millis(80),
    Duration::from_millis(160),
];

/// A look that is earlier by no more than this does as well, so that sessions are looked at together.
const TOGETHER: Duration = Duration::from_millis(5);

/// The sessions that are expected to be idle in a moment.
#[derive(Debug, Default)]
pub(super) struct Settling {
    next: HashMap<Identity, NextLook>,
}

#[derive(Debug)]
struct NextLook {
    /// Its place in [`DELAYS`].
    number: usize,
    at: Instant,
}

impl Settling {
    /// Expects a session to be idle in a moment.
    pub(super) fn expect(&mut self, identity: &Identity, now: Instant) {
        let first = NextLook {
            number: 0,
            at: now + DELAYS[0],
        };
        self.next.insert(identity.clone(), first);
    }

    /// Notes that a session was looked at, and whether it was ready for a task, or has one already.
    pub(super) fn seen(&mut self, identity: &Identity, settled: bool, now: Instant) {
        let Some(next) = self.next.get_mut(identity) else {
            return;
        };
        let number = match now + TOGETHER >= next.at {
            true => next.number + 1,
            // A look for another's sake.
            false => next.number,
        };
        match DELAYS.get(number).filter(|_| !settled) {
            Some(delay) if number != next.number => {
                *next = NextLook {
                    number,
                    at: now + *delay,
                };
            }
            Some(_) => {}
            None => {
                self.next.remove(identity);
            }
        }
    }

    /// Forgets the sessions that are gone.
    pub(super) fn retain(&mut self, alive: impl Fn(&Identity) -> bool) {
        self.next.retain(|identity, _| alive(identity));
    }

    /// Whether the session with this process in its pane is expected to be idle in a moment.
    pub(super) fn expects(&self, pane_pid: u32) -> bool {
        self.next
            .keys()
            .any(|identity| identity.pane_pid == pane_pid)
    }

    /// Returns after how long the next look is due.
    pub(super) fn due_in(&self, now: Instant) -> Option<Duration> {
        let due = self.next.values().map(|next| next.at).min()?;
        Some(due.saturating_duration_since(now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(number: u64) -> Duration {
        Duration::from_millis(number)
    }

    #[test]
    fn each_is_looked_at_again_until_it_has_settled() {
        let (start, one, other) = (Instant::now(), Identity::of_pane(1), Identity::of_pane(2));
        let mut settling = Settling::default();
        assert_eq!(settling.due_in(start), None);
        settling.expect(&one, start);
        assert_eq!(settling.due_in(start), Some(ms(5)));
        assert!(settling.expects(one.pane_pid));
        assert!(!settling.expects(other.pane_pid) || one.pane_pid == other.pane_pid);
        settling.seen(&one, false, start + ms(5));
        assert_eq!(settling.due_in(start + ms(5)), Some(ms(10)));
        // Another one that ends a task meanwhile does not take its place.
        settling.expect(&other, start + ms(9));
        assert_eq!(settling.due_in(start + ms(9)), Some(ms(5)));
        // A look for its sake counts for the first one as well, if that is due soon.
        settling.seen(&one, false, start + ms(14));
        settling.seen(&other, false, start + ms(14));
        assert_eq!(settling.due_in(start + ms(14)), Some(ms(10)));
        settling.seen(&one, false, start + ms(24));
        settling.seen(&other, true, start + ms(24));
        // Otherwise it does not.
        assert_eq!(settling.due_in(start + ms(24)), Some(ms(10)));
        settling.seen(&one, true, start + ms(24));
        assert_eq!(settling.due_in(start + ms(24)), None);
    }

    #[test]
    fn one_that_does_not_settle_is_given_up() {
        let (mut now, one) = (Instant::now(), Identity::of_pane(1));
        let mut settling = Settling::default();
        settling.expect(&one, now);
        let mut delays = Vec::new();
        while let Some(due) = settling.due_in(now) {
            delays.push(due);
            now += due;
            settling.seen(&one, false, now);
        }
        assert_eq!(delays, DELAYS);
    }

    #[test]
    fn one_that_is_gone_is_forgotten() {
        let (now, one) = (Instant::now(), Identity::of_pane(1));
        let mut settling = Settling::default();
        settling.expect(&one, now);
        settling.retain(|_| false);
        assert_eq!(settling.due_in(now), None);
    }
}
