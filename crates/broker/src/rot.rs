//! Records that pulls found rotten: reported, counted, and behind whom the consumer goes on.
//!
//! Shared by the broker's state, which tells the figure, and the answers being filled, which meet the records on
//! any thread. Knows no files.

use crate::once::Once;
use kerolox_protocol::Millis;
use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicU64, Ordering},
};

/// How often one record is reported.
const REPORT_PERIOD: Millis = Millis(10 * 60_000);

/// What pulls passed over.
#[derive(Debug)]
pub(crate) struct Rot {
    reported: Mutex<Once>,
    passed_over: AtomicU64,
}

impl Default for Rot {
    fn default() -> Rot {
        Rot { reported: Mutex::new(Once::every(REPORT_PERIOD)), passed_over: AtomicU64::new(0) }
    }
}

impl Rot {
    /// A consumer was sent on behind the record at this position of the log. Whether that is to be reported;
    /// `now` is monotonic.
    pub(crate) fn pass_over(&self, now: Millis, at: u64) -> bool {
        self.passed_over.fetch_add(1, Ordering::Relaxed);
        let mut reported = self.reported.lock().unwrap_or_else(PoisonError::into_inner);
        reported.may(now, &at.to_string())
    }

    /// How often a pull went on behind a rotten record since the start.
    pub(crate) fn passed_over(&self) -> u64 {
        self.passed_over.load(Ordering::Relaxed)
    }
}
