//! Whether the loop, when it has nothing to do, looks again at once or goes to sleep.
//!
//! A client with one request under way waits for two wake-ups of a sleeping thread per round trip, each longer
//! than the work itself. Looking again for some microseconds saves one of them. It costs a processor meanwhile,
//! so it is done only while it pays: the last requests came one by one and soon, and no other thread wants
//! to run.
//!
//! Decides; knows no socket and no clock.

/// Credit from which on it is worth looking.
const WORTH: i32 = 8;
/// Bounds of the credit: how fast a habit is given up, and how long a bad experience lasts.
const MOST: i32 = 24;
const LEAST: i32 = -256;
/// What a look costs that found nothing.
const MISS: i32 = 16;
/// Events of one wake-up from which on there are many clients: sleeping lets more of them come together.
const MANY: usize = 3;
/// Microseconds between two questions whether others want to run.
const ASK_PAUSE: u64 = 5_000;

/// The habit of one loop.
#[derive(Debug)]
pub(crate) struct Poll {
    /// Microseconds of one look; 0: never.
    budget: u64,
    credit: i32,
    /// When the next look must be preceded by a question, in microseconds.
    ask_at: u64,
}

/// What the loop does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Next {
    Sleep,
    /// Look until so many microseconds have passed, then sleep.
    Look(u64),
}

impl Poll {
    /// `processors`: those this process may use. With a single one, whoever is waited for could not run.
    pub(crate) fn new(budget: u64, processors: usize) -> Poll {
        Poll { budget: if processors < 2 { 0 } else { budget }, credit: 0, ask_at: 0 }
    }

    /// What to do with nothing to do at `now`, in microseconds. `is_busy` says whether more threads want to run
    /// than there are processors; it is asked seldom.
    pub(crate) fn next(&mut self, now: u64, is_busy: impl FnOnce() -> bool) -> Next {
        if self.budget == 0 || self.credit < WORTH {
            return Next::Sleep;
        }
        if now >= self.ask_at {
            self.ask_at = now.saturating_add(ASK_PAUSE);
            if is_busy() {
                self.credit = LEAST;
                return Next::Sleep;
            }
        }
        Next::Look(self.budget)
    }

    /// A look ended: with so many events, or none.
    pub(crate) fn looked(&mut self, events: usize) {
        let change = if events == 0 { -MISS } else { gain(events) };
        self.change(change);
    }

    /// A sleep ended after so many microseconds with so many events.
    pub(crate) fn slept(&mut self, micros: u64, events: usize) {
        // Being woken is part of what was waited for.
        let soon = micros <= self.budget.saturating_mul(2);
        self.change(if soon { gain(events) } else { -1 });
    }

    fn change(&mut self, by: i32) {
        self.credit = (self.credit + by).clamp(LEAST, MOST);
    }
}

fn gain(events: usize) -> i32 {
    if events < MANY { 1 } else { -2 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quiet() -> bool {
        false
    }

    /// A client that sends its next request `gap` microseconds after its answer; returns how many of a hundred
    /// waits were looks.
    fn play(poll: &mut Poll, gap: u64, events: usize, n: u64) -> u64 {
        let mut now = 1_000_000;
        let mut looks = 0;
        for _ in 0..n {
            match poll.next(now, quiet) {
                Next::Look(budget) => {
                    looks += 1;
                    let found = gap <= budget;
                    poll.looked(if found { events } else { 0 });
                    if !found {
                        poll.slept(gap - budget, events);
                    }
                }
                Next::Sleep => poll.slept(gap + 20, events),
            }
            now += gap;
        }
        looks * 100 / n
    }

    #[test]
    fn a_fast_client_is_looked_for_and_a_slow_one_is_not() {
        let mut poll = Poll::new(50, 2);
        assert!(play(&mut poll, 25, 1, 1000) > 95);
        assert_eq!(play(&mut poll, 1_000, 1, 10_000), 0, "but for the first, which found nothing");
        assert!(play(&mut poll, 25, 1, 1000) > 60, "again, after a while");
        // Just too slow: each look is lost, so there are few.
        let mut poll = Poll::new(50, 2);
        assert!(play(&mut poll, 70, 1, 1000) < 12);
    }

    #[test]
    fn many_clients_are_waited_for_asleep() {
        let mut poll = Poll::new(50, 2);
        assert_eq!(play(&mut poll, 5, 20, 1000), 0);
    }

    #[test]
    fn others_that_want_to_run_come_first() {
        let mut poll = Poll::new(50, 2);
        play(&mut poll, 25, 1, 100);
        assert_eq!(poll.next(2_000_000, || true), Next::Sleep);
        assert_eq!(play(&mut poll, 25, 1, 200), 0, "and for a while no question is asked");
        assert!(play(&mut poll, 25, 1, 1000) > 80);
    }

    #[test]
    fn a_single_processor_or_a_zero_forbids_it() {
        assert_eq!(play(&mut Poll::new(50, 1), 5, 1, 1000), 0);
        assert_eq!(play(&mut Poll::new(0, 8), 5, 1, 1000), 0);
    }
}
