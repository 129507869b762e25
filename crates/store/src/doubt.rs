//! Entries of queues that do not lead to their messages, as readers met them, and what the log said of each.
//!
//! Shared by the store, whose jobs make such entries again from the log, and by answers that are filled on any thread.
//! Knows offsets; reads nothing.
//!
//! ```text
//!           a reader meets it              a job looks into the log
//!   unknown ────────────────► doubted ─┬─────────────────────────────► made again: unknown, as all that are sound
//!                             readers  ├──► Right: it names its record, whatever has become of that
//!                             wait     └──► Lost: the log has no such record        readers go on behind both
//! ```
//! So what a job cannot better is looked at once, and nothing goes round in a circle.

use crate::types::QueueSlot;
use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
    sync::{Mutex, MutexGuard, PoisonError},
};

/// Doubted entries of one queue that are remembered; the others are met again.
const OPEN_MAX: usize = 256;
/// Verdicts on one queue that are remembered; the oldest offsets are looked at again.
const RANGES_MAX: usize = 256;

/// A queue from one deletion to the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Life {
    pub(crate) slot: QueueSlot,
    /// As in [`crate::queue::Queue`].
    pub(crate) generation: u32,
}

/// What the log said of an entry that was not made again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It names its record, as far as that can be told.
    Right,
    /// The log has no such record.
    Lost,
}

/// What is to be looked at in a queue's files.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Open {
    /// Doubted entries.
    pub(crate) offsets: BTreeSet<u64>,
    /// All of them: somewhere is a part that the disk cannot read.
    pub(crate) whole: bool,
}

impl Open {
    fn is_empty(&self) -> bool {
        self.offsets.is_empty() && !self.whole
    }
}

/// What a look into the log found out about entries that it did not make again.
#[derive(Debug, Clone, Default)]
pub(crate) struct Verdicts {
    pub(crate) right: Vec<Range<u64>>,
    pub(crate) lost: Vec<Range<u64>>,
}

#[derive(Debug, Default)]
struct OfQueue {
    generation: u32,
    open: Open,
    settled: Verdicts,
}

/// All that is known.
#[derive(Debug, Default)]
pub(crate) struct Doubts(Mutex<BTreeMap<QueueSlot, OfQueue>>);

impl Doubts {
    /// A reader met an entry that does not lead to its message.
    pub(crate) fn doubt(&self, life: Life, offset: u64) {
        self.change(life, |queue| {
            if queue.open.offsets.len() < OPEN_MAX {
                queue.open.offsets.insert(offset);
            }
        });
    }

    /// The disk cannot read a part of the queue's files, nobody knows which.
    pub(crate) fn doubt_files(&self, life: Life) {
        self.change(life, |queue| queue.open.whole = true);
    }

    /// The first doubted entry from `from` on.
    pub(crate) fn first_open(&self, life: Life, from: u64) -> Option<u64> {
        self.look(life, |queue| queue.open.offsets.range(from..).next().copied()).flatten()
    }

    /// What the log said of an entry.
    pub(crate) fn verdict(&self, life: Life, offset: u64) -> Option<Verdict> {
        self.look(life, |queue| {
            let has = |ranges: &[Range<u64>]| ranges.iter().any(|range| range.contains(&offset));
            let settled = &queue.settled;
            let right = has(&settled.right).then_some(Verdict::Right);
            right.or_else(|| has(&settled.lost).then_some(Verdict::Lost))
        })
        .flatten()
    }

    pub(crate) fn has_open(&self) -> bool {
        self.lock().values().any(|queue| !queue.open.is_empty())
    }

    /// A queue that has to be looked at.
    pub(crate) fn next(&self) -> Option<(Life, Open)> {
        let queues = self.lock();
        let (slot, queue) = queues.iter().find(|(_, queue)| !queue.open.is_empty())?;
        Some((Life { slot: *slot, generation: queue.generation }, queue.open.clone()))
    }

    /// What was open was looked at.
    pub(crate) fn settle(&self, life: Life, open: &Open, verdicts: Verdicts) {
        self.change(life, |queue| {
            queue.open.offsets.retain(|offset| !open.offsets.contains(offset));
            queue.open.whole &= !open.whole;
            add(&mut queue.settled.right, verdicts.right);
            add(&mut queue.settled.lost, verdicts.lost);
        });
    }

    /// The queue is gone.
    pub(crate) fn forget(&self, slot: QueueSlot) {
        self.lock().remove(&slot);
    }

    fn look<T>(&self, life: Life, look: impl FnOnce(&OfQueue) -> T) -> Option<T> {
        let queues = self.lock();
        queues.get(&life.slot).filter(|queue| queue.generation == life.generation).map(look)
    }

    fn change(&self, life: Life, change: impl FnOnce(&mut OfQueue)) {
        let mut queues = self.lock();
        let queue = queues.entry(life.slot).or_default();
        if queue.generation < life.generation {
            *queue = OfQueue { generation: life.generation, ..OfQueue::default() };
        }
        // Word of an earlier life comes late.
        if queue.generation == life.generation {
            change(queue);
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<QueueSlot, OfQueue>> {
        // Each change is whole before the lock is given back.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Adds ranges to others, and forgets the first where there are too many.
fn add(ranges: &mut Vec<Range<u64>>, more: Vec<Range<u64>>) {
    ranges.extend(more);
    join(ranges);
    ranges.drain(..ranges.len().saturating_sub(RANGES_MAX));
}

/// Sorts ranges and joins those that touch.
pub(crate) fn join(ranges: &mut Vec<Range<u64>>) {
    ranges.sort_by_key(|range| range.start);
    ranges.dedup_by(|later, earlier| {
        let joins = later.start <= earlier.end;
        if joins {
            earlier.end = earlier.end.max(later.end);
        }
        joins
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn life(slot: u32, generation: u32) -> Life {
        Life { slot: QueueSlot(slot), generation }
    }

    fn one(range: Range<u64>) -> Vec<Range<u64>> {
        std::iter::once(range).collect()
    }

    #[test]
    fn what_is_doubted_is_open_until_it_is_settled_and_then_has_its_verdict() {
        let doubts = Doubts::default();
        doubts.doubt(life(3, 0), 7);
        doubts.doubt(life(3, 0), 9);
        assert_eq!((doubts.first_open(life(3, 0), 8), doubts.first_open(life(3, 0), 10)), (Some(9), None));
        let (which, open) = doubts.next().unwrap();
        assert_eq!((which, open.offsets.len(), open.whole), (life(3, 0), 2, false));
        // Met while the job runs: it stays open.
        doubts.doubt(life(3, 0), 11);
        let verdicts = Verdicts { right: one(7..8), lost: one(8..10) };
        doubts.settle(which, &open, verdicts);
        assert_eq!(doubts.first_open(life(3, 0), 0), Some(11));
        let verdict = |offset| doubts.verdict(life(3, 0), offset);
        assert_eq!([verdict(7), verdict(9)], [Some(Verdict::Right), Some(Verdict::Lost)]);
        assert_eq!([verdict(6), verdict(11)], [None, None]);
    }

    #[test]
    fn nothing_is_known_of_a_queue_that_was_deleted_and_made_again() {
        let doubts = Doubts::default();
        doubts.doubt(life(1, 0), 5);
        doubts.settle(life(1, 0), &Open::default(), Verdicts { right: one(2..3), lost: Vec::new() });
        assert_eq!((doubts.first_open(life(1, 1), 0), doubts.verdict(life(1, 1), 2)), (None, None));
        doubts.doubt(life(1, 1), 0);
        // Late word of the old one.
        doubts.doubt(life(1, 0), 6);
        assert_eq!(doubts.next().unwrap().1.offsets, BTreeSet::from([0]));
        doubts.forget(QueueSlot(1));
        assert!(!doubts.has_open() && doubts.next().is_none());
    }

    #[test]
    fn a_queue_that_is_rotten_all_over_takes_no_more_room() {
        let doubts = Doubts::default();
        (0..9_999).for_each(|n| doubts.doubt(life(0, 0), n));
        let (which, open) = doubts.next().unwrap();
        assert_eq!(open.offsets.len(), OPEN_MAX);
        doubts.settle(
            which,
            &open,
            Verdicts { right: Vec::new(), lost: (0..999).map(|n| 2 * n..2 * n + 1).collect() },
        );
        assert_eq!((doubts.verdict(which, 0), doubts.verdict(which, 1_996)), (None, Some(Verdict::Lost)));
        assert_eq!(doubts.lock()[&QueueSlot(0)].settled.lost.len(), RANGES_MAX);
    }
}
