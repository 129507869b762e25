//! Complaints that would repeat: each subject is reported once per period, and the memory of that is bounded.
//!
//! Knows subjects as texts and time as an argument; the caller writes the log line.

use kerolox_protocol::Millis;
use std::collections::BTreeMap;

/// Most subjects that are remembered; further ones are not reported until some are forgotten.
const SUBJECTS_MAX: usize = 1_024;

/// What was reported lately.
#[derive(Debug, Clone)]
pub(crate) struct Once {
    period: Millis,
    said: BTreeMap<String, Millis>,
}

impl Once {
    /// Reports each subject at most once per `period`.
    pub(crate) fn every(period: Millis) -> Once {
        Once { period, said: BTreeMap::new() }
    }

    /// Whether `subject` is to be reported now. `now` is monotonic.
    pub(crate) fn may(&mut self, now: Millis, subject: &str) -> bool {
        if let Some(last) = self.said.get_mut(subject) {
            let due = now - *last >= self.period;
            if due {
                *last = now;
            }
            return due;
        }
        if self.said.len() >= SUBJECTS_MAX {
            let period = self.period;
            self.said.retain(|_, last| now - *last < period);
        }
        let room = self.said.len() < SUBJECTS_MAX;
        if room {
            self.said.insert(subject.to_owned(), now);
        }
        room
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subject_is_reported_once_per_period() {
        let mut once = Once::every(Millis(10));
        assert!(once.may(Millis(0), "a") && once.may(Millis(0), "b"));
        assert!(!once.may(Millis(9), "a"));
        assert!(once.may(Millis(10), "a") && !once.may(Millis(19), "a"));
    }

    #[test]
    fn its_memory_is_bounded_and_frees_itself() {
        let mut once = Once::every(Millis(10));
        let reported = (0..SUBJECTS_MAX * 2).filter(|n| once.may(Millis(0), &n.to_string())).count();
        assert_eq!((reported, once.said.len()), (SUBJECTS_MAX, SUBJECTS_MAX));
        assert!(once.may(Millis(10), "new"));
        assert_eq!(once.said.len(), 1);
    }
}
