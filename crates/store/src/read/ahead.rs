//! Reading ahead of who catches up.
//!
//! Owns how far the log was asked for ahead of each reader of its old part. Readers are told by where they read: those
//! of several queues of one topic go through the same part, and one of them asks for all. Knows positions; asks no
//! device itself.
//!
//! ```text
//!        reader                        asked for
//!   ───────┼─────────────────────────────┼──────────
//!          ◄──── less than [`KEPT`] ─────►◄── [`STEP`] is asked for next
//! ```

use super::slices::Slices;
use crate::{disk::File, store::Store};
use std::{ops::Range, sync::Arc};

/// Bytes that a reader should find in memory.
const KEPT: u64 = 8 << 20;
/// Bytes asked for at once. Asking costs about a microsecond per 4 KiB.
const STEP: u64 = 2 << 20;
/// Readers that are remembered; the one that was not heard of for longest goes.
const STREAMS_MAX: usize = 32;
/// Of what lies between its records a reader must want one byte in so many: else most would be read for nothing.
const SPARSE: u64 = 16;

/// What was asked for, newest readers last: where the reader is, and up to where.
#[derive(Debug, Default)]
pub(crate) struct Streams(Vec<Range<u64>>);

impl Streams {
    /// What to ask for now that a reader has come to `at`.
    fn next(&mut self, at: u64) -> Option<Range<u64>> {
        // Readers of one part are not all at the same place.
        let near = |asked: &Range<u64>| asked.start <= at + KEPT && at <= asked.end;
        let known = self.0.iter().position(near).map(|n| self.0.remove(n));
        let mut asked = known.unwrap_or(at..at);
        let from = asked.end;
        let due = from < at + KEPT;
        asked.start = asked.start.max(at);
        if due {
            asked.end += STEP;
        }
        if self.0.len() == STREAMS_MAX {
            self.0.remove(0);
        }
        self.0.push(asked);
        due.then_some(from..from + STEP)
    }
}

/// A part of the log that will be wanted soon.
#[derive(Debug)]
pub struct ReadAhead {
    file: Arc<dyn File>,
    at: u64,
    len: u64,
}

impl ReadAhead {
    /// Asks for it. May wait for memory and for the device's queue, not for the bytes.
    pub fn run(&self) {
        self.file.advise(self.at, self.len, true);
    }
}

impl Store {
    /// What should be read ahead of who gets these records, unless they are near the end of the log.
    pub fn read_ahead(&mut self, slices: &Slices) -> Option<ReadAhead> {
        let Range { start, end } = slices.range()?;
        if !slices.is_far() || slices.total_len().saturating_mul(SPARSE) < end.saturating_sub(start) {
            return None;
        }
        let wanted = self.streams.next(end)?;
        let (file, base) = self.log.file_at(wanted.start)?.ok()?;
        // What was asked for before may reach behind the last file.
        let files_end = base + self.log.segment_bytes();
        let len = wanted.end.min(files_end).checked_sub(wanted.start)?;
        Some(ReadAhead { file, at: wanted.start - base, len })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readers_of_one_part_ask_once_and_stay_ahead() {
        let mut streams = Streams::default();
        let mut asked = 100 << 20..100 << 20;
        for answer in 0..2_000u64 {
            // Four queues, a few answers apart from each other.
            let at = (100 << 20) + answer * 36_000 - (answer % 4) * 9_000;
            if let Some(next) = streams.next(at) {
                assert_eq!(next.start, asked.end, "nothing twice, nothing left out");
                asked.end = next.end;
            }
            assert!(asked.end <= at + KEPT + STEP, "no further than it must");
        }
        assert!(asked.end >= (100 << 20) + 1_990 * 36_000 + KEPT / 2);
        assert_eq!(streams.0.len(), 1);
    }

    #[test]
    fn readers_far_apart_have_each_their_own_and_the_oldest_is_forgotten() {
        let mut streams = Streams::default();
        let far = |n: u64| n << 30;
        for n in 0..2 * STREAMS_MAX as u64 {
            assert_eq!(streams.next(far(n)), Some(far(n)..far(n) + STEP));
        }
        assert_eq!(streams.0.len(), STREAMS_MAX);
        let kept = far(2 * STREAMS_MAX as u64 - 1);
        assert_eq!(streams.next(kept + 1), Some(kept + STEP..kept + 2 * STEP));
        assert_eq!(streams.next(far(0)), Some(far(0)..far(0) + STEP), "as if it were new");
    }
}
