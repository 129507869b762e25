//! Where the time comes from: the one place that reads the machine's clocks.
//!
//! Knows nothing of what the time is used for. Services never see a clock; the driver hands them [`Now`].

use crate::Now;
use kerolox_protocol::Millis;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// A source of time. The second implementation is the virtual one of tests and simulations.
pub trait Clock: Send + 'static {
    /// The time now. Its monotonic part never goes back.
    fn now(&self) -> Now;
    /// Microseconds of the monotonic clock, for what is shorter than a [`Now`] can say.
    fn micros(&self) -> u64 {
        u64::try_from(self.now().mono.0).unwrap_or(0).saturating_mul(1000)
    }
}

/// The machine's clocks.
#[derive(Debug, Clone)]
pub struct System {
    start: Instant,
}

impl System {
    /// A clock whose monotonic time starts at zero now.
    pub fn new() -> System {
        System { start: Instant::now() }
    }
}

impl Default for System {
    fn default() -> Self {
        System::new()
    }
}

impl Clock for System {
    fn now(&self) -> Now {
        let wall = match SystemTime::now().duration_since(UNIX_EPOCH) {
            Ok(since) => since.as_millis(),
            // A machine that thinks it is before 1970: nothing better is known than the beginning.
            Err(_) => 0,
        };
        let millis = |n: u128| Millis(i64::try_from(n).unwrap_or(i64::MAX));
        Now { wall: millis(wall), mono: millis(self.start.elapsed().as_millis()) }
    }

    fn micros(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_micros()).unwrap_or(u64::MAX)
    }
}
