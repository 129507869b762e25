//! Consume queues: for each queue of a topic, where in the log its messages are.
//!
//! Owns the ends of all queues and their newest entries, in memory; older entries are in files, reached through
//! [`files::Files`]. A queue is derived from the log: entries are written to files behind the log's *flushed*
//! position only, so a file never names a record that a power cut could take away. Knows no record's content.
//!
//! ```text
//!   min           tail_base     written        visible      next
//!    │ files only     │ files + memory │ memory only          │
//! ───┼────────────────┼────────────────┼─────────────┼────────┤
//! ```

pub(crate) mod files;
mod table;

use crate::{
    cold::Gate,
    hash::FixedMap,
    job::One,
    types::{Bounds, QueueEntry, QueueSlot},
};
use files::{Files, Place};
use kerolox_protocol::{LogOffset, QueueId, QueueOffset};
use std::{collections::VecDeque, io, sync::Arc};
use table::Table;

/// Bytes of an entry: position i64, size i32, tags code i64.
pub(crate) const ENTRY_BYTES: u64 = 20;
const _: () = assert!(ENTRY_BYTES == 8 + 4 + 8);

/// Size in an entry that stands for a message that is not there. The original fills queues that do not start
/// at a file's start with these.
const BLANK_SIZE: u32 = 0x7fff_ffff;
/// Entries that are kept in memory after they were written, for readers at the tail.
const KEEP_RECENT: usize = 64;
/// Queues that may keep recent entries; the one that was active longest ago gives way.
const KEEP_QUEUES: usize = 4096;

impl QueueEntry {
    /// Stands for a message that is not there.
    pub(crate) const BLANK: QueueEntry = QueueEntry { at: LogOffset(0), size: BLANK_SIZE, tags_code: 0 };

    pub(crate) fn is_blank(&self) -> bool {
        self.at.0 == 0 && self.size == BLANK_SIZE
    }
    /// Position behind the record.
    pub(crate) fn end(&self) -> LogOffset {
        self.at + u64::from(self.size)
    }
    pub(crate) fn encode(&self) -> [u8; ENTRY_BYTES as usize] {
        let mut out = [0; ENTRY_BYTES as usize];
        out[..8].copy_from_slice(&self.at.0.to_be_bytes());
        out[8..12].copy_from_slice(&self.size.to_be_bytes());
        out[12..].copy_from_slice(&self.tags_code.to_be_bytes());
        out
    }
    /// Reads an entry; `None` for a slot that was never filled, or that no store would have filled so.
    pub(crate) fn decode(bytes: &[u8; ENTRY_BYTES as usize]) -> Option<QueueEntry> {
        let [a, b, c, d, e, f, g, h, i, j, k, l, rest @ ..] = *bytes;
        let at = i64::from_be_bytes([a, b, c, d, e, f, g, h]);
        let size = i32::from_be_bytes([i, j, k, l]);
        let tags_code = i64::from_be_bytes(rest);
        let size = u32::try_from(size).ok().filter(|size| *size > 0)?;
        Some(QueueEntry { at: LogOffset::try_from(at).ok()?, size, tags_code })
    }
}

/// One queue.
#[derive(Debug)]
pub(crate) struct Queue {
    pub(crate) topic: u32,
    pub(crate) id: QueueId,
    /// Counts deletions, so that what was started before one is not taken for something after it.
    pub(crate) generation: u32,
    pub(crate) min: u64,
    pub(crate) visible: u64,
    pub(crate) written: u64,
    tail_base: u64,
    tail: VecDeque<QueueEntry>,
    waits: Waits,
    /// It has or had messages; listings show it.
    pub(crate) alive: bool,
}

/// Whether entries wait for the write-behind, and in which list their queue stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Waits {
    No,
    /// The first entry that waits goes into a file that has to be made.
    NewFile,
    /// It goes into a file that is there.
    File,
}

// A million idle queues are to fit into 128 MB.
const _: () = assert!(size_of::<Queue>() <= 96);

impl Queue {
    /// The offset that the next message gets.
    pub(crate) fn next(&self) -> u64 {
        self.tail_base + self.tail.len() as u64
    }
    pub(crate) fn bounds(&self) -> Bounds {
        Bounds { min: QueueOffset(self.min.min(self.visible)), max: QueueOffset(self.visible) }
    }
    fn in_memory(&self, offset: u64) -> Option<QueueEntry> {
        self.tail.get(usize::try_from(offset.checked_sub(self.tail_base)?).ok()?).copied()
    }
    /// Where the first message from `offset` on stands, of entries that are in memory.
    pub(crate) fn position(&self, offset: u64) -> Option<LogOffset> {
        let skip = usize::try_from(offset.saturating_sub(self.tail_base)).ok()?;
        self.tail.iter().skip(skip).find(|entry| !entry.is_blank()).map(|entry| entry.at)
    }
    fn trim(&mut self, keep: usize) {
        let written = (self.written - self.tail_base) as usize;
        let drop = written.saturating_sub(keep);
        self.tail.drain(..drop);
        self.tail_base += drop as u64;
        if self.tail.is_empty() {
            self.tail = VecDeque::new();
        }
    }
}

#[derive(Debug)]
struct Topic {
    name: Arc<str>,
    queues: Table,
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
    fn count(&self) -> u64 {
        self.bytes.len() as u64 / ENTRY_BYTES
    }
}

/// All queues.
#[derive(Debug)]
pub(crate) struct Queues {
    topics: Vec<Topic>,
    by_name: FixedMap<Arc<str>, u32>,
    queues: Vec<Queue>,
    /// Queues with entries that wait for the files they have.
    dirty: Vec<QueueSlot>,
    /// Queues with entries that wait for a file to be made, with their generation: the oldest entry first, so that
    /// a bounded number from the front never leaves an older one behind.
    fresh: VecDeque<(QueueSlot, u32)>,
    per_file: u64,
    /// Queues that keep recent entries, longest inactive first.
    recent: VecDeque<QueueSlot>,
    /// Entries not yet in files.
    pending: usize,
}

impl Queues {
    /// No queue yet; `per_file` entries go into one file.
    pub(crate) fn new(per_file: u64) -> Queues {
        Queues {
            topics: Vec::new(),
            by_name: FixedMap::default(),
            queues: Vec::new(),
            dirty: Vec::new(),
            fresh: VecDeque::new(),
            per_file: per_file.max(1),
            recent: VecDeque::new(),
            pending: 0,
        }
    }

    pub(crate) fn find(&self, topic: &str, id: QueueId) -> Option<QueueSlot> {
        let topic = self.topics.get(*self.by_name.get(topic)? as usize)?;
        topic.queues.get(id)
    }

    pub(crate) fn slot(&mut self, topic: &str, id: QueueId) -> QueueSlot {
        if let Some(found) = self.find(topic, id) {
            return found;
        }
        let number = match self.by_name.get(topic) {
            Some(number) => *number,
            None => {
                let number = self.topics.len() as u32;
                let name: Arc<str> = Arc::from(topic);
                self.topics.push(Topic { name: Arc::clone(&name), queues: Table::default() });
                self.by_name.insert(name, number);
                number
            }
        };
        let slot = QueueSlot(self.queues.len() as u32);
        self.queues.push(Queue {
            topic: number,
            id,
            generation: 0,
            min: 0,
            visible: 0,
            written: 0,
            tail_base: 0,
            tail: VecDeque::new(),
            waits: Waits::No,
            alive: false,
        });
        if let Some(topic) = self.topics.get_mut(number as usize) {
            topic.queues.insert(id, slot);
        }
        slot
    }

    pub(crate) fn get(&self, slot: QueueSlot) -> Option<&Queue> {
        self.queues.get(slot.0 as usize)
    }
    pub(crate) fn get_mut(&mut self, slot: QueueSlot) -> Option<&mut Queue> {
        self.queues.get_mut(slot.0 as usize)
    }
    pub(crate) fn topic_name(&self, queue: &Queue) -> Option<&Arc<str>> {
        self.topics.get(queue.topic as usize).map(|topic| &topic.name)
    }

    /// Topics that have a living queue, with their queues.
    pub(crate) fn topics(
        &self,
    ) -> impl Iterator<Item = (&Arc<str>, impl Iterator<Item = (QueueSlot, &Queue)>)> {
        self.topics.iter().map(|topic| {
            let queues = topic.queues.values().filter_map(|slot| Some((slot, self.get(slot)?)));
            (&topic.name, queues.filter(|(_, queue)| queue.alive))
        })
    }
    pub(crate) fn queues_of(&self, topic: &str) -> Vec<QueueSlot> {
        let topic = self.by_name.get(topic).and_then(|number| self.topics.get(*number as usize));
        topic.map(|topic| topic.queues.values().collect()).unwrap_or_default()
    }

    /// Entries that are not in files yet.
    pub(crate) fn pending(&self) -> usize {
        self.pending
    }

    /// Sets the ends of a queue whose entries are all in files.
    pub(crate) fn restore(&mut self, slot: QueueSlot, min: u64, next: u64) {
        if let Some(queue) = self.get_mut(slot) {
            queue.min = min;
            queue.visible = next;
            queue.written = next;
            queue.tail_base = next;
            queue.tail = VecDeque::new();
            queue.alive = true;
        }
    }

    /// Appends an entry; its offset was `next()`.
    pub(crate) fn push(&mut self, slot: QueueSlot, entry: QueueEntry) {
        let Some(queue) = self.queues.get_mut(slot.0 as usize) else { return };
        queue.tail.push_back(entry);
        queue.alive = true;
        self.pending += 1;
        if queue.waits == Waits::No {
            if queue.written.is_multiple_of(self.per_file) {
                queue.waits = Waits::NewFile;
                self.fresh.push_back((slot, queue.generation));
            } else {
                queue.waits = Waits::File;
                self.dirty.push(slot);
            }
        }
    }

    /// Makes entries below `upto` visible.
    pub(crate) fn show(&mut self, slot: QueueSlot, upto: QueueOffset) {
        if let Some(queue) = self.get_mut(slot) {
            queue.visible = queue.visible.max(upto.0);
        }
    }

    /// What may be written: entries of records below `flushed`, of queues that need a new file at most
    /// `new_files`. The second tells whether that left any behind.
    pub(crate) fn collect(&self, flushed: LogOffset, new_files: usize) -> (Vec<QueueWrite>, bool) {
        let known = self.dirty.iter().filter_map(|slot| self.write_of(*slot, flushed));
        let mut writes: Vec<QueueWrite> = known.collect();
        let mut left = new_files;
        for (slot, generation) in &self.fresh {
            // Deleted since: its entries are gone.
            if self.get(*slot).is_none_or(|queue| queue.generation != *generation) {
                continue;
            }
            // What stands behind it came later and is not flushed either.
            let Some(write) = self.write_of(*slot, flushed) else { break };
            if left == 0 {
                return (writes, true);
            }
            left -= 1;
            writes.push(write);
        }
        (writes, false)
    }

    /// Queues with entries that are not in files yet.
    pub(crate) fn waiting(&self) -> usize {
        self.dirty.len() + self.fresh.len()
    }

    /// Queues that wait for a file to be made.
    pub(crate) fn new_files_waiting(&self) -> usize {
        self.fresh.len()
    }

    fn write_of(&self, slot: QueueSlot, flushed: LogOffset) -> Option<QueueWrite> {
        let queue = self.get(slot)?;
        let topic = self.topic_name(queue)?;
        let skip = (queue.written - queue.tail_base) as usize;
        let durable =
            queue.tail.iter().skip(skip).take_while(|entry| entry.is_blank() || entry.end() <= flushed);
        let mut bytes = Vec::with_capacity((queue.tail.len() - skip) * ENTRY_BYTES as usize);
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

    /// What [`Queues::collect`] gave is in files now.
    pub(crate) fn on_written(&mut self, writes: &[QueueWrite]) {
        for write in writes {
            let Some(queue) = self.queues.get_mut(write.slot.0 as usize) else { continue };
            if queue.generation != write.generation {
                continue;
            }
            let count = write.count();
            queue.written = (write.from + count).min(queue.next());
            self.pending = self.pending.saturating_sub(count as usize);
            if queue.waits == Waits::NewFile {
                queue.waits = Waits::File;
            }
            let had_recent = queue.tail.len() as u64 > count;
            queue.trim(KEEP_RECENT);
            if !had_recent || self.recent.len() < KEEP_QUEUES {
                self.recent.push_back(write.slot);
            }
        }
        while self.recent.len() > KEEP_QUEUES {
            let Some(queue) = self.recent.pop_front().and_then(|slot| self.queues.get_mut(slot.0 as usize))
            else {
                continue;
            };
            queue.trim(0);
        }
        self.settle_waits();
    }

    /// Takes queues off the lists they no longer belong to.
    fn settle_waits(&mut self) {
        let queues = &mut self.queues;
        while let Some((slot, generation)) = self.fresh.front() {
            let queue = queues.get(slot.0 as usize).filter(|queue| queue.generation == *generation);
            match queue.map(|queue| queue.waits) {
                Some(Waits::NewFile) => break,
                Some(_) => self.dirty.push(*slot),
                None => {}
            }
            self.fresh.pop_front();
        }
        self.dirty.retain(|slot| {
            let Some(queue) = queues.get_mut(slot.0 as usize).filter(|queue| queue.waits == Waits::File)
            else {
                return false;
            };
            if queue.next() == queue.written {
                queue.waits = Waits::No;
            }
            queue.waits == Waits::File
        });
    }

    /// Up to `n` queues from number `from` on whose start may have to move, and where to go on.
    pub(crate) fn to_clean(&self, from: usize, n: usize) -> (Vec<One>, Option<usize>) {
        let some = self.queues.iter().enumerate().skip(from).take(n);
        let with_files = some.filter(|(_, queue)| queue.alive && queue.min < queue.written);
        let queues = with_files.filter_map(|(number, queue)| {
            Some(One {
                slot: QueueSlot(number as u32),
                generation: queue.generation,
                topic: Arc::clone(self.topic_name(queue)?),
                id: queue.id,
                min: queue.min,
                written: queue.written,
            })
        });
        let next = from + n;
        (queues.collect(), (next < self.queues.len()).then_some(next))
    }

    /// Forgets all messages of a queue; the next one gets offset 0 again.
    pub(crate) fn clear(&mut self, slot: QueueSlot) {
        let Some(queue) = self.queues.get_mut(slot.0 as usize) else { return };
        self.pending = self.pending.saturating_sub((queue.next() - queue.written) as usize);
        queue.generation += 1;
        (queue.min, queue.visible, queue.written, queue.tail_base) = (0, 0, 0, 0);
        queue.tail = VecDeque::new();
        queue.alive = false;
        // Its place in the list was that of an entry that is gone.
        if queue.waits == Waits::NewFile {
            queue.waits = Waits::No;
        }
    }

    /// Up to `n` entries from `from` on, as far as they are visible and there; fewer at a file's end.
    pub(crate) fn entries(
        &self,
        (files, gate): (&Files, &Gate),
        slot: QueueSlot,
        from: QueueOffset,
        n: usize,
        out: &mut Vec<QueueEntry>,
    ) -> io::Result<()> {
        let Some(queue) = self.get(slot) else { return Ok(()) };
        let until = queue.visible.min(from.0.saturating_add(n as u64));
        let mut at = from.0;
        if at < queue.tail_base.min(until) {
            let Some(topic) = self.topic_name(queue) else { return Ok(()) };
            let want = queue.tail_base.min(until) - at;
            let before = out.len();
            files.read_through(gate, Place { slot, topic, id: queue.id }, at, want, out)?;
            at += (out.len() - before) as u64;
        }
        while let Some(entry) = (at < until).then(|| queue.in_memory(at)).flatten() {
            out.push(entry);
            at += 1;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_reads_back_and_empty_slots_are_none() {
        let entry = QueueEntry { at: LogOffset(1 << 40), size: 300, tags_code: -5 };
        assert_eq!(QueueEntry::decode(&entry.encode()), Some(entry));
        assert_eq!(QueueEntry::decode(&[0; 20]), None);
        assert_eq!(QueueEntry::decode(&[0xff; 20]), None);
        assert!(QueueEntry::BLANK.is_blank() && !entry.is_blank());
        assert_eq!(QueueEntry::decode(&QueueEntry::BLANK.encode()), Some(QueueEntry::BLANK));
    }

    #[test]
    fn only_entries_of_durable_records_are_written() {
        let mut queues = Queues::new(300_000);
        let slot = queues.slot("T", QueueId(0));
        assert_eq!(queues.slot("T", QueueId(0)), slot);
        for n in 0..3u64 {
            queues.push(slot, QueueEntry { at: LogOffset(n * 100), size: 100, tags_code: 0 });
        }
        assert!(queues.collect(LogOffset(99), 9).0.is_empty());
        let (writes, _) = queues.collect(LogOffset(200), 9);
        assert_eq!((writes[0].from, writes[0].count()), (0, 2));
        queues.on_written(&writes);
        assert_eq!(queues.pending(), 1);
        let (writes, _) = queues.collect(LogOffset(300), 9);
        assert_eq!((writes[0].from, writes[0].count()), (2, 1));
        // The queue is deleted while that is being written: the answer must not count.
        queues.clear(slot);
        queues.on_written(&writes);
        assert_eq!(queues.get(slot).map(|queue| (queue.next(), queue.written)), Some((0, 0)));
        assert_eq!(queues.pending(), 0);
        assert!(queues.collect(LogOffset(300), 9).0.is_empty());
    }
    fn collected(queues: &Queues, flushed: u64, new_files: usize) -> (Vec<u32>, bool) {
        let (writes, more) = queues.collect(LogOffset(flushed), new_files);
        (writes.iter().map(|write| write.id.0).collect(), more)
    }

    #[test]
    fn queues_without_files_come_a_few_at_a_time_and_never_hold_up_the_others() {
        let mut queues = Queues::new(300_000);
        let entry = |n: u64| QueueEntry { at: LogOffset(n * 100), size: 100, tags_code: 0 };
        let slots: Vec<_> = (0..6).map(|id| queues.slot("T", QueueId(id))).collect();
        queues.push(slots[5], entry(0));
        let (writes, _) = queues.collect(LogOffset(100), 9);
        queues.on_written(&writes);
        (0..5).for_each(|n| queues.push(slots[n], entry(n as u64 + 1)));
        queues.push(slots[5], entry(6));
        // The one that has a file always comes; of the others so many, and it is told that there are more.
        assert_eq!(collected(&queues, 700, 2), (vec![5, 0, 1], true));
        assert_eq!(collected(&queues, 700, 5), (vec![5, 0, 1, 2, 3, 4], false));
        // What is not flushed is not left behind by the bound.
        assert_eq!(collected(&queues, 300, 2), (vec![0, 1], false));
        let (writes, _) = queues.collect(LogOffset(700), 2);
        // One is deleted meanwhile and comes again: its place is at the end.
        queues.clear(slots[2]);
        queues.push(slots[2], entry(7));
        queues.push(slots[0], entry(8));
        queues.on_written(&writes);
        assert_eq!(queues.new_files_waiting(), 3);
        assert_eq!(collected(&queues, 700, 2), (vec![3, 4], false));
        assert_eq!(collected(&queues, 900, 2), (vec![0, 3, 4], true));
        let (writes, _) = queues.collect(LogOffset(900), 9);
        assert_eq!(writes.iter().map(|write| write.id.0).collect::<Vec<_>>(), [0, 3, 4, 2]);
        queues.on_written(&writes);
        assert_eq!((queues.pending(), queues.new_files_waiting()), (0, 0));
        assert!(queues.dirty.is_empty());
    }
}
