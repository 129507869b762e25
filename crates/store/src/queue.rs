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

mod behind;
pub(crate) mod files;
mod table;

pub(crate) use behind::{QueueWrite, Share};

use crate::{
    cold::Gate,
    ends::TopicEnds,
    hash::FixedMap,
    types::{Bounds, QueueEntry, QueueSlot},
};
use behind::{Line, Waiting, Waits};
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
    /// Where the last message ends, if its entry is in memory.
    pub(crate) fn last_end(&self) -> Option<LogOffset> {
        self.tail.iter().rev().find(|entry| !entry.is_blank()).map(QueueEntry::end)
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

/// Where a queue begins, and how far it is in files, for who looks at the beginnings of all.
#[derive(Debug, Clone)]
pub(crate) struct Spot {
    pub(crate) slot: QueueSlot,
    pub(crate) generation: u32,
    pub(crate) topic: Arc<str>,
    pub(crate) id: QueueId,
    pub(crate) min: u64,
    /// Entries below are in files.
    pub(crate) written: u64,
}

/// All queues.
#[derive(Debug)]
pub(crate) struct Queues {
    topics: Vec<Topic>,
    by_name: FixedMap<Arc<str>, u32>,
    queues: Vec<Queue>,
    waiting: Waiting,
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
            waiting: Waiting::default(),
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

    /// All queues, gone ones too.
    pub(crate) fn slots(&self) -> impl Iterator<Item = QueueSlot> + use<> {
        (0..self.queues.len() as u32).map(QueueSlot)
    }

    /// Where queues begin, and end in files.
    pub(crate) fn ends(&self) -> Vec<TopicEnds> {
        let topics = self.topics().map(|(name, queues)| TopicEnds {
            name: Arc::clone(name),
            queues: queues
                .map(|(_, queue)| (queue.id, queue.min.min(queue.written), queue.written))
                .collect(),
        });
        topics.filter(|topic| !topic.queues.is_empty()).collect()
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
            self.wait(slot, Line::later);
        }
    }

    /// Makes entries below `upto` visible.
    pub(crate) fn show(&mut self, slot: QueueSlot, upto: QueueOffset) {
        if let Some(queue) = self.get_mut(slot) {
            queue.visible = queue.visible.max(upto.0);
        }
    }

    /// Up to `n` queues from number `from` on whose start may have to move, and where to go on. `strays`: also those that
    /// have nothing left, and may have files all the same.
    pub(crate) fn to_clean(&self, from: usize, n: usize, strays: bool) -> (Vec<Spot>, Option<usize>) {
        let some = self.queues.iter().enumerate().skip(from).take(n);
        let with_files = some.filter(|(_, queue)| queue.alive && (queue.min < queue.written || strays));
        let queues = with_files.filter_map(|(number, queue)| {
            Some(Spot {
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
        // Its place in a line was that of an entry that is gone.
        queue.waits = Waits::No;
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
}
