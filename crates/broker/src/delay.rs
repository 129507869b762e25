//! Delay levels: when the next message of each level is due.
//!
//! One queue per level, in order of storing and therefore of time; only heads have to be watched. Knows due
//! times and places; knows no store and no message. [`crate::service`] moves what is due and tells it here.
//!
//! ```text
//!            on_arrival                     due ──► progress noted in the log    ─┐ one piece:
//!   Unknown ────────────► Due(at) ── at ──┘        message copied to its topic  ◄─┘ both or none
//!      └──── nothing there ──► Empty ── on_arrival ──► Due(at)
//! ```

use kerolox_protocol::{Millis, QueueOffset};

/// Longest sleep before the wall clock is looked at again: due times are wall time, timers are not.
const LOOK_MS: i64 = 1_000;

/// What is known of a level's oldest message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Head {
    /// Nothing yet: look.
    Unknown,
    /// There is none.
    Empty,
    /// Due then, Unix ms.
    Due(Millis),
    /// Delivery failed; to be tried again then, monotonic.
    Retry(Millis),
}

#[derive(Debug, Clone)]
struct Level {
    delay: Millis,
    next: QueueOffset,
    head: Head,
}

/// All levels; level 1 is queue 0.
#[derive(Debug, Clone)]
pub struct Delay {
    levels: Vec<Level>,
}

impl Delay {
    /// Levels with these delays, nothing delivered yet.
    pub fn new(delays: &[Millis]) -> Delay {
        let level = |delay: &Millis| Level { delay: *delay, next: QueueOffset(0), head: Head::Unknown };
        Delay { levels: delays.iter().map(level).collect() }
    }

    /// Number of levels.
    pub fn levels(&self) -> u32 {
        u32::try_from(self.levels.len()).unwrap_or(u32::MAX)
    }

    /// Next message of a queue to deliver.
    pub fn next(&self, queue: u32) -> QueueOffset {
        self.level(queue).map_or(QueueOffset(0), |level| level.next)
    }

    /// Next message of every level, by level number.
    pub fn progress(&self) -> impl Iterator<Item = (u32, QueueOffset)> {
        (1..).zip(self.levels.iter().map(|level| level.next))
    }

    /// Sets where a level stands, as found in the log or in a file.
    pub fn restore(&mut self, level: u32, next: QueueOffset) {
        if let Some(level) = level.checked_sub(1).and_then(|queue| self.level_mut(queue)) {
            level.next = next;
            level.head = Head::Unknown;
        }
    }

    /// A message was put into a level's queue.
    pub fn on_arrival(&mut self, queue: u32, at: QueueOffset, due: Millis) {
        if let Some(level) = self.level_mut(queue)
            && level.head == Head::Empty
            && at >= level.next
        {
            level.next = at;
            level.head = Head::Due(due);
        }
    }

    /// The first queue whose head is due or unknown.
    pub fn ready(&self, wall: Millis, mono: Millis) -> Option<u32> {
        let ready = |level: &Level| match level.head {
            Head::Unknown => true,
            Head::Empty => false,
            // Further ahead than the level's delay: the clock has gone back since the message came.
            Head::Due(at) => at <= wall || at > wall + level.delay,
            Head::Retry(at) => at <= mono,
        };
        self.levels.iter().position(ready).and_then(|queue| u32::try_from(queue).ok())
    }

    /// The head of a queue was looked up: when it was stored. Whether it is due; one from the future is, so that a clock
    /// that was wrong when the message came holds nobody longer than the level's delay.
    ///
    /// The due time in the queue's entry does not count: no check covers it, and a message must not come early.
    pub fn found(&mut self, queue: u32, next: QueueOffset, stored: Option<Millis>, wall: Millis) -> bool {
        let Some(level) = self.level_mut(queue) else { return false };
        level.next = next;
        level.head = match stored {
            None => Head::Empty,
            Some(stored) if stored > wall => Head::Due(wall),
            Some(stored) => Head::Due(stored + level.delay),
        };
        matches!(level.head, Head::Due(due) if due <= wall)
    }

    /// The head of a queue was delivered or dropped.
    pub fn delivered(&mut self, queue: u32) {
        if let Some(level) = self.level_mut(queue) {
            level.next += 1;
            level.head = Head::Unknown;
        }
    }

    /// The head of a queue could not be delivered: not before `again`, monotonic.
    pub fn failed(&mut self, queue: u32, again: Millis) {
        if let Some(level) = self.level_mut(queue) {
            level.head = Head::Retry(again);
        }
    }

    /// When to look again, monotonic.
    pub fn next_timer(&self, wall: Millis, mono: Millis) -> Option<Millis> {
        let when = |level: &Level| match level.head {
            Head::Unknown => Some(mono),
            Head::Empty => None,
            Head::Due(at) => Some(mono + Millis((at - wall).0.clamp(0, LOOK_MS))),
            Head::Retry(at) => Some(at),
        };
        self.levels.iter().filter_map(when).min()
    }

    fn level(&self, queue: u32) -> Option<&Level> {
        self.levels.get(usize::try_from(queue).ok()?)
    }

    fn level_mut(&mut self, queue: u32) -> Option<&mut Level> {
        self.levels.get_mut(usize::try_from(queue).ok()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const T: Millis = Millis(1_000_000);

    fn delay() -> Delay {
        let mut delay = Delay::new(&[Millis(1_000), Millis(5_000)]);
        for queue in 0..2 {
            assert!(!delay.found(queue, QueueOffset(0), None, T));
        }
        delay
    }

    #[test]
    fn an_empty_level_sleeps_and_a_message_sets_the_timer_exactly() {
        let mut delay = delay();
        assert_eq!(delay.next_timer(T, Millis(7)), None);
        delay.on_arrival(0, QueueOffset(0), T + Millis(640));
        assert_eq!(delay.next_timer(T, Millis(7)), Some(Millis(647)));
        assert_eq!(delay.ready(T + Millis(639), Millis(0)), None);
        assert_eq!(delay.ready(T + Millis(640), Millis(0)), Some(0));
    }

    #[test]
    fn later_messages_do_not_disturb_the_head() {
        let mut delay = delay();
        delay.on_arrival(1, QueueOffset(0), T + Millis(500));
        delay.on_arrival(1, QueueOffset(1), T + Millis(100));
        assert_eq!(delay.ready(T + Millis(499), Millis(0)), None);
        assert!(delay.found(1, QueueOffset(0), Some(T - Millis(4_500)), T + Millis(500)));
        delay.delivered(1);
        assert_eq!((delay.next(1), delay.ready(T, Millis(0))), (QueueOffset(1), Some(1)));
    }

    #[test]
    fn a_message_from_the_future_is_due() {
        let mut delay = delay();
        assert!(delay.found(0, QueueOffset(0), Some(T + Millis(1)), T));
        assert!(!delay.found(0, QueueOffset(0), Some(T), T));
    }

    #[test]
    fn a_clock_that_goes_back_holds_nobody_for_the_difference() {
        let mut delay = delay();
        delay.on_arrival(0, QueueOffset(0), T + Millis(900));
        assert_eq!(delay.ready(T, Millis(0)), None);
        let earlier = T - Millis(3_600_000);
        assert_eq!(delay.ready(earlier, Millis(0)), Some(0));
        assert!(delay.found(0, QueueOffset(0), Some(T - Millis(100)), earlier));
    }

    #[test]
    fn a_long_wait_is_looked_at_again_in_case_the_wall_clock_jumps() {
        let mut delay = Delay::new(&[Millis(7_200_000)]);
        delay.found(0, QueueOffset(0), Some(T - Millis(200_000)), T);
        assert_eq!(delay.next_timer(T, Millis(0)), Some(Millis(LOOK_MS)));
    }

    #[test]
    fn a_failed_level_waits_for_its_next_try() {
        let mut delay = delay();
        delay.on_arrival(0, QueueOffset(0), T);
        delay.failed(0, Millis(50));
        assert_eq!((delay.ready(T, Millis(49)), delay.ready(T, Millis(50))), (None, Some(0)));
        assert_eq!(delay.next_timer(T, Millis(0)), Some(Millis(50)));
    }
}
