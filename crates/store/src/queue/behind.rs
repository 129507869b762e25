//! Queues whose entries wait for their files, and what is written of them next.
//!
//! The write-behind goes over all that wait in passes. A pass brings into files what the log holds below one position,
//! and nothing beyond, so that behind it the ends of all queues belong to that position. It is cut into jobs of
//! bounded size: fifty thousand files take half a second, and others want the disk, the thread and the memory meanwhile.
//! Queues that have their files go before those whose files have to be made, which costs ten times as much.

use super::{ENTRY_BYTES, KEEP_QUEUES, KEEP_RECENT, Queues};
use crate::types::QueueSlot;
use kerolox_protocol::{LogOffset, QueueId};
use std::{collections::VecDeque, sync::Arc};

/// Where a queue stands while entries wait for the write-behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Waits {
    No,
    /// In [`Waiting::filed`], or in the job under way.
    File,
    /// In [`Waiting::unfiled`], or in the job under way.
    NewFile,
}

/// How much one job does at most.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Share {
    /// Queues that have their files.
    pub(crate) queues: usize,
    /// Queues for which a file has to be made.
    pub(crate) new_files: usize,
    /// Entries.
    pub(crate) entries: usize,
}

impl Share {
    /// What one job does of a pass that nobody shares the disk with.
    pub(crate) const LARGE: Share = Share { queues: 100_000, new_files: 100_000, entries: 1 << 20 };
}

/// Entries to write to one queue's files.
#[derive(Debug)]
pub(crate) struct QueueWrite {
    pub(crate) slot: QueueSlot,
    pub(crate) generation: u32,
    pub(crate) topic: Arc<str>,
    pub(crate) id: QueueId,
    /// Offset of the first entry.
    pub(crate) from: u64,
    /// Entries, encoded.
    pub(crate) bytes: Vec<u8>,
}

impl QueueWrite {
    pub(super) fn count(&self) -> u64 {
        self.bytes.len() as u64 / ENTRY_BYTES
    }
}

/// Queues in the order in which they are looked at, with their generations: one that was deleted meanwhile is passed
/// over.
#[derive(Debug, Default)]
pub(super) struct Line {
    queues: VecDeque<(QueueSlot, u32)>,
    /// So many from the front are still to be looked at by the pass.
    left: usize,
}

impl Line {
    fn next(&mut self) -> Option<(QueueSlot, u32)> {
        self.left = self.left.checked_sub(1)?;
        self.queues.pop_front()
    }
    fn again(&mut self, queue: (QueueSlot, u32)) {
        self.left += 1;
        self.queues.push_front(queue);
    }
    pub(super) fn later(&mut self, queue: (QueueSlot, u32)) {
        self.queues.push_back(queue);
    }
}

/// Queues with entries that are not in files.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    /// The next entry goes into a file that is there.
    filed: Line,
    /// A file has to be made for it.
    unfiled: Line,
}

impl Waiting {
    fn line(&mut self, waits: Waits) -> Option<&mut Line> {
        match waits {
            Waits::No => None,
            Waits::File => Some(&mut self.filed),
            Waits::NewFile => Some(&mut self.unfiled),
        }
    }
}

impl Queues {
    /// Queues with entries that are not in files yet, but those of the job under way.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.filed.queues.len() + self.waiting.unfiled.queues.len()
    }

    /// Queues that wait for a file to be made.
    pub(crate) fn new_files_waiting(&self) -> usize {
        self.waiting.unfiled.queues.len()
    }

    /// Puts a queue with entries that wait into its line.
    pub(super) fn wait(&mut self, slot: QueueSlot, place: impl Fn(&mut Line, (QueueSlot, u32))) {
        let Some(queue) = self.queues.get_mut(slot.0 as usize) else { return };
        let needs_file = queue.written.is_multiple_of(self.per_file);
        queue.waits = if needs_file { Waits::NewFile } else { Waits::File };
        let generation = queue.generation;
        if let Some(line) = self.waiting.line(queue.waits) {
            place(line, (slot, generation));
        }
    }

    /// Begins a pass over all queues with entries that wait now. One that was under way ends.
    pub(crate) fn begin_pass(&mut self) {
        for line in [&mut self.waiting.filed, &mut self.waiting.unfiled] {
            line.left = line.queues.len();
        }
    }

    /// Whether only queues are left of the pass whose files have to be made.
    pub(crate) fn makes_files(&self) -> bool {
        self.waiting.filed.left == 0 && self.waiting.unfiled.left > 0
    }

    /// The next job's part of the pass, of entries of records below `below`; nothing when the pass is over. It is
    /// to be taken to [`Queues::on_written`] or [`Queues::put_back`].
    pub(crate) fn next_writes(&mut self, below: LogOffset, share: Share) -> Vec<QueueWrite> {
        let mut writes = Vec::new();
        for (waits, max) in [(Waits::File, share.queues), (Waits::NewFile, share.new_files)] {
            let mut entries = share.entries.max(1);
            while writes.len() < max.max(1)
                && entries > 0
                && let Some((slot, generation)) = self.waiting.line(waits).and_then(Line::next)
            {
                // Deleted since: its entries are gone.
                if self.get(slot).is_none_or(|queue| queue.generation != generation) {
                    continue;
                }
                match self.write_of(slot, below, entries) {
                    Some(write) => {
                        entries = entries.saturating_sub(write.count() as usize);
                        writes.push(write);
                    }
                    // All of it came later.
                    None => self.wait(slot, Line::later),
                }
            }
            if !writes.is_empty() {
                break;
            }
        }
        writes
    }

    fn write_of(&self, slot: QueueSlot, below: LogOffset, max: usize) -> Option<QueueWrite> {
        let queue = self.get(slot)?;
        let topic = self.topic_name(queue)?;
        let skip = ((queue.written - queue.tail_base) as usize).min(queue.tail.len());
        let waiting = queue.tail.range(skip..).take(max);
        let mut bytes = Vec::with_capacity(waiting.len() * ENTRY_BYTES as usize);
        let durable = waiting.take_while(|entry| entry.is_blank() || entry.end() <= below);
        durable.for_each(|entry| bytes.extend_from_slice(&entry.encode()));
        (!bytes.is_empty()).then(|| QueueWrite {
            slot,
            generation: queue.generation,
            topic: Arc::clone(topic),
            id: queue.id,
            from: queue.written,
            bytes,
        })
    }

    /// What [`Queues::next_writes`] gave for the same `below` is in files now.
    pub(crate) fn on_written(&mut self, writes: &[QueueWrite], below: LogOffset) {
        for write in writes {
            let Some(queue) = self.queues.get_mut(write.slot.0 as usize) else { continue };
            if queue.generation != write.generation {
                continue;
            }
            let count = write.count();
            queue.written = (write.from + count).min(queue.next());
            self.pending = self.pending.saturating_sub(count as usize);
            let next = queue.in_memory(queue.written);
            let had_recent = queue.tail.len() as u64 > count;
            queue.trim(KEEP_RECENT);
            queue.waits = Waits::No;
            if !had_recent || self.recent.len() < KEEP_QUEUES {
                self.recent.push_back(write.slot);
            }
            if let Some(next) = next {
                let is_of_pass = next.is_blank() || next.end() <= below;
                let place: fn(&mut Line, (QueueSlot, u32)) =
                    if is_of_pass { Line::again } else { Line::later };
                self.wait(write.slot, place);
            }
        }
        while self.recent.len() > KEEP_QUEUES {
            let Some(queue) = self.recent.pop_front().and_then(|slot| self.queues.get_mut(slot.0 as usize))
            else {
                continue;
            };
            queue.trim(0);
        }
    }

    /// What [`Queues::next_writes`] gave is not in files.
    pub(crate) fn put_back(&mut self, writes: &[QueueWrite]) {
        for write in writes.iter().rev() {
            if self.get(write.slot).is_some_and(|queue| queue.generation == write.generation) {
                self.wait(write.slot, Line::again);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::QueueEntry;

    const SHARE: Share = Share { queues: 9, new_files: 9, entries: 99 };

    fn entry(n: u64) -> QueueEntry {
        QueueEntry { at: LogOffset(n * 100), size: 100, tags_code: 0 }
    }

    /// Queue and number of entries of each write.
    fn ids(writes: &[QueueWrite]) -> Vec<(u32, u64)> {
        writes.iter().map(|write| (write.id.0, write.count())).collect()
    }

    /// What the jobs of one pass write.
    fn pass(queues: &mut Queues, below: u64, share: Share) -> Vec<Vec<(u32, u64)>> {
        queues.begin_pass();
        let mut jobs = Vec::new();
        loop {
            let writes = queues.next_writes(LogOffset(below), share);
            if writes.is_empty() {
                return jobs;
            }
            jobs.push(ids(&writes));
            queues.on_written(&writes, LogOffset(below));
        }
    }

    #[test]
    fn only_entries_of_durable_records_are_written() {
        let mut queues = Queues::new(300_000);
        let slot = queues.slot("T", QueueId(0));
        assert_eq!(queues.slot("T", QueueId(0)), slot);
        (0..3).for_each(|n| queues.push(slot, entry(n)));
        assert!(pass(&mut queues, 99, SHARE).is_empty());
        queues.begin_pass();
        let writes = queues.next_writes(LogOffset(200), SHARE);
        assert_eq!((writes[0].from, writes[0].count()), (0, 2));
        queues.on_written(&writes, LogOffset(200));
        assert_eq!(queues.pending(), 1);
        queues.begin_pass();
        let writes = queues.next_writes(LogOffset(300), SHARE);
        assert_eq!((writes[0].from, writes[0].count()), (2, 1));
        // The queue is deleted while that is being written: the answer must not count.
        queues.clear(slot);
        queues.on_written(&writes, LogOffset(300));
        assert_eq!(queues.get(slot).map(|queue| (queue.next(), queue.written)), Some((0, 0)));
        assert_eq!((queues.pending(), queues.waiting()), (0, 0));
        assert!(pass(&mut queues, 300, SHARE).is_empty());
    }

    #[test]
    fn a_pass_is_cut_into_jobs_and_those_that_have_files_come_first() {
        let mut queues = Queues::new(300_000);
        let slots: Vec<_> = (0..8).map(|id| queues.slot("T", QueueId(id))).collect();
        for (slot, n) in slots.iter().zip(0..).skip(5) {
            queues.push(*slot, entry(n));
        }
        assert_eq!(pass(&mut queues, 800, SHARE), [[(5, 1), (6, 1), (7, 1)]]);
        (0..8).for_each(|n| queues.push(slots[n], entry(n as u64 + 10)));
        queues.push(slots[6], entry(20));
        let share = Share { queues: 2, new_files: 3, entries: 99 };
        let jobs = [vec![(5, 1), (6, 1)], vec![(7, 1)], vec![(0, 1), (1, 1), (2, 1)], vec![(3, 1), (4, 1)]];
        // The last entry of queue 6 is not of this pass.
        assert_eq!(pass(&mut queues, 1_900, share), jobs);
        assert_eq!((queues.pending(), queues.waiting(), queues.new_files_waiting()), (1, 1, 0));
        assert_eq!(pass(&mut queues, 2_100, share), [[(6, 1)]]);
        assert_eq!((queues.pending(), queues.waiting()), (0, 0));
    }

    #[test]
    fn a_job_takes_so_many_entries_and_what_is_left_of_a_queue_is_of_the_same_pass() {
        // Four entries fill a file.
        for (entries, jobs) in [
            (3, vec![vec![(0, 3)], vec![(0, 3)], vec![(0, 3)], vec![(1, 1)]]),
            (4, vec![vec![(0, 4)], vec![(0, 4)], vec![(0, 1), (1, 1)]]),
        ] {
            let mut queues = Queues::new(4);
            let slots: Vec<_> = (0..2).map(|id| queues.slot("T", QueueId(id))).collect();
            (0..9).for_each(|n| queues.push(slots[0], entry(n)));
            queues.push(slots[1], entry(9));
            assert_eq!(pass(&mut queues, 1_000, Share { entries, ..SHARE }), jobs);
            assert_eq!((queues.pending(), queues.waiting()), (0, 0));
        }
    }

    #[test]
    fn what_comes_during_a_job_waits_for_the_next_pass_and_what_failed_comes_again() {
        let mut queues = Queues::new(300_000);
        let slots: Vec<_> = (0..4).map(|id| queues.slot("T", QueueId(id))).collect();
        (0..4).for_each(|n| queues.push(slots[n], entry(n as u64)));
        queues.begin_pass();
        let share = Share { new_files: 2, ..SHARE };
        let writes = queues.next_writes(LogOffset(400), share);
        // One is deleted meanwhile and comes again, one goes on.
        queues.clear(slots[0]);
        queues.push(slots[0], entry(4));
        queues.push(slots[1], entry(5));
        queues.on_written(&writes, LogOffset(400));
        assert!(queues.makes_files());
        let writes = queues.next_writes(LogOffset(400), share);
        assert_eq!(ids(&writes), [(2, 1), (3, 1)]);
        queues.put_back(&writes);
        assert_eq!((queues.pending(), queues.waiting()), (4, 4));
        assert_eq!(
            ids(&queues.next_writes(LogOffset(400), share)),
            [(2, 1), (3, 1)],
            "it is of the pass still"
        );
        queues.put_back(&writes);
        assert_eq!(pass(&mut queues, 600, SHARE), [vec![(1, 1)], vec![(2, 1), (3, 1), (0, 1)]]);
        assert_eq!((queues.pending(), queues.waiting()), (0, 0));
    }
}
