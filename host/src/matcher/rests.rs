//! How long failed tasks rest before their next try. This is measured by the clock that only goes
//! forward, so that setting the machine's clock makes no rest longer or shorter.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::model::clock::{Now, Tick};
use crate::model::task::backoff;
use crate::store::Rest;

/// The known rests, and when each is over.
#[derive(Debug, Default)]
pub(super) struct Rests(BTreeMap<Rest, Tick>);

impl Rests {
    /// Takes the current rests, and returns those that have lasted long enough.
    ///
    /// A rest that is seen for the first time lasts as its row says, but never longer than a rest
    /// after this many tries: the clock may have been set while no daemon was running.
    pub(super) fn over(&mut self, resting: Vec<Rest>, now: Now) -> Vec<Rest> {
        let before = std::mem::take(&mut self.0);
        self.0 = resting
            .into_iter()
            .map(|rest| {
                let over = before.get(&rest).copied();
                let over = over.unwrap_or_else(|| {
                    let left = rest.until.duration_since(now.wall);
                    let left = Duration::try_from(left).unwrap_or_default();
                    now.tick + left.min(backoff(rest.tries))
                });
                (rest, over)
            })
            .collect();
        let over = self.0.iter().filter(|(_, over)| **over <= now.tick);
        over.map(|(rest, _)| rest.clone()).collect()
    }

    /// Returns how long it is until the next rest is over.
    pub(super) fn due_in(&self, now: Tick) -> Option<Duration> {
        self.0.values().min().map(|over| over.since(now))
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::model::ids::TaskId;

    /// Returns a moment this many seconds after the origin by the clock that goes forward, while
    /// the wall clock says something else.
    fn moment(tick: u64, wall: i64) -> Now {
        Now {
            wall: Timestamp::from_second(wall).expect("a time"),
            tick: Tick::after_origin(Duration::from_secs(tick)),
        }
    }

    fn rest(task: i64, until: i64, tries: u32) -> Rest {
        Rest {
            task: TaskId(task),
            until: Timestamp::from_second(until).expect("a time"),
            written: until.to_string().into_bytes(),
            tries,
        }
    }

    #[test]
    fn no_step_of_the_wall_clock_moves_a_rest() {
        let steps = [-1_000_000, -3_600, -1, 0, 1, 3_600, 1_000_000];
        for step in steps {
            let mut rests = Rests::default();
            let four = rest(1, 1_004, 3);
            assert!(rests.over(vec![four.clone()], moment(10, 1_000)).is_empty());
            let before = rests.over(vec![four.clone()], moment(13, 1_003 + step));
            assert!(before.is_empty(), "a step of {step} s");
            assert_eq!(
                rests.due_in(moment(13, 0).tick),
                Some(Duration::from_secs(1))
            );
            let after = rests.over(vec![four.clone()], moment(14, 1_004 + step));
            assert_eq!(after, [four], "a step of {step} s");
        }
    }

    #[test]
    fn what_a_daemon_finds_rests_no_longer_than_it_would_have() {
        let mut rests = Rests::default();
        // Its row says that it rests for a day, but it should rest for two seconds.
        let long = rest(1, 100_000, 2);
        assert!(rests.over(vec![long.clone()], moment(0, 1_000)).is_empty());
        assert_eq!(rests.over(vec![long.clone()], moment(2, 0)), [long]);
        // Its time has passed while no daemon was running.
        let past = rest(2, 999, 2);
        assert_eq!(rests.over(vec![past.clone()], moment(2, 1_000)), [past]);
    }

    #[test]
    fn another_rest_of_the_same_task_begins_anew() {
        let mut rests = Rests::default();
        assert!(
            rests
                .over(vec![rest(1, 1_001, 1)], moment(0, 1_000))
                .is_empty()
        );
        assert!(
            rests
                .over(vec![rest(1, 1_003, 2)], moment(1, 1_001))
                .is_empty()
        );
        assert!(rests.over(Vec::new(), moment(9, 1_009)).is_empty());
        assert_eq!(rests.due_in(moment(9, 0).tick), None);
    }
}
