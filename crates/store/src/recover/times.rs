//! Which of the times that records tell are believed.

use kerolox_protocol::Millis;

/// Store times, which never go back in a log. No CRC covers them: one that is far from the present and that no later
/// record confirms is not believed, else all that comes behind would be too old to be true.
#[derive(Debug)]
pub(super) struct Times {
    /// Later ones need to be confirmed.
    until: Millis,
    /// The last that counts.
    last: Millis,
    /// The last of all.
    newest: Millis,
}

/// Clocks go wrong, too, and jump back.
const CLOCK_WRONG_MAX: Millis = Millis(24 * 3_600_000);

impl Times {
    pub(super) fn until(now: Millis) -> Times {
        Times { until: now + CLOCK_WRONG_MAX, last: Millis(0), newest: Millis(0) }
    }

    pub(super) fn restore(&mut self, last: Millis) {
        (self.last, self.newest) = (last, last);
    }

    pub(super) fn saw(&mut self, ms: Millis) {
        if ms <= self.until {
            self.last = self.last.max(ms);
        } else if self.newest > self.until && ms >= self.newest {
            // Two in a row are no accident.
            self.last = self.last.max(self.newest);
        }
        self.newest = ms;
    }

    pub(super) fn last(&self) -> Millis {
        self.last
    }
}
