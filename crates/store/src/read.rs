//! Reading: what a pull gets, one record, and where a time is in a queue.
//!
//! Deciding and reading are apart: [`Store::plan`] looks only at queue entries and says which bytes of the log
//! make the answer; [`Slices`] fetches them, on any thread, even when the store has gone on or is gone.
//! Nothing above the confirmed position is ever named.

mod ahead;
mod blocks;
mod slices;
mod time;
mod windows;

pub(crate) use time::head_time;

pub(crate) use ahead::Streams;
pub(crate) use blocks::Blocks;
pub(crate) use windows::Windows;

pub use ahead::ReadAhead;
pub use slices::{Filled, Rotten, Slices};
pub use time::Boundary;

use crate::{
    disk::around::is_device_error,
    dispatch::DELAY_TOPIC,
    doubt::Life,
    index,
    store::Store,
    types::{Bounds, QueueEntry, QueueSlot},
};
use kerolox_protocol::{
    LogOffset, Millis, QueueOffset,
    record::{Entry, parse},
};
use slices::Reader;
use std::{io, sync::Arc};

/// Entries that one plan looks at, at least; more only if more messages are wanted. As the original.
const SCAN_ENTRIES_MIN: usize = 800;
/// Entries fetched at once while planning, after the first as many as messages are wanted: mostly these all are.
const SCAN_STEP: usize = 128;

/// How much one read may return. The original's limits are 32 messages and 256 KiB, cold 8 and 64 KiB.
///
/// The original takes everything far behind the end for cold. Here reading ahead of who catches up has brought most of
/// it into memory by the time it is asked for, and what is there need not be cut small: the cold limits hold only for
/// what the device would have to be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReadLimits {
    /// Messages.
    pub count: usize,
    /// Bytes; one message may exceed it alone.
    pub bytes: u64,
    /// Messages, when the data is far behind the end and not in memory.
    pub cold_count: usize,
    /// Bytes, likewise.
    pub cold_bytes: u64,
}

/// What a plan found. Names are the original's `GetMessageStatus`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PlanStatus {
    /// There are messages.
    Found,
    /// Entries were looked at, none was wanted.
    NoMatched,
    /// Entries were looked at, their records are gone.
    Removing,
    /// The queue has no message.
    Empty,
    /// Asked for the next message that will come.
    Overflow,
    /// Asked for a message far ahead.
    OverflowBadly,
    /// Asked for a message that is gone.
    TooSmall,
    /// The entry does not lead to its message: its file is missing, the disk does not give it, or it is damaged. It is
    /// made again from the log; nothing is passed over meanwhile.
    FoundNull,
}

/// What a read will return.
#[derive(Debug, Clone)]
pub struct Plan {
    /// What was found.
    pub status: PlanStatus,
    /// Where to read on.
    pub next: QueueOffset,
    /// The queue's bounds.
    pub bounds: Bounds,
    /// The records.
    pub slices: Slices,
    /// Offset of the first record; of no meaning without one.
    pub first: QueueOffset,
    /// How many records.
    pub count: usize,
    /// Their bytes.
    pub bytes: u64,
    /// Log bytes between the last entry looked at and the end of the log.
    pub lag: u64,
}

impl Plan {
    fn nothing(bounds: Bounds, from: QueueOffset) -> Plan {
        let (status, slices) = (PlanStatus::Empty, Slices::default());
        Plan { status, next: from, bounds, slices, first: from, count: 0, bytes: 0, lag: 0 }
    }
}

/// What stands at a place of a queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// Its record.
    Record(Vec<u8>),
    /// None, for good: the log has no such record.
    Lost,
    /// The entry does not lead to it. It is made again from the log by a job, and then it is to be asked for again.
    Sought,
}

/// What an entry of a queue is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Worth {
    /// It may lead to its message.
    Message,
    /// Its message is not in the log any more.
    Gone,
    /// It cannot be what was written for its message.
    Wrong,
}

impl Store {
    /// Decides what a read of a queue returns. `accept` sees each entry's tags code. May read queue files.
    pub fn plan(
        &self,
        slot: QueueSlot,
        from: QueueOffset,
        limits: ReadLimits,
        accept: &mut dyn FnMut(i64) -> bool,
    ) -> Plan {
        let bounds = self.bounds(slot);
        let nothing = |status, next| Plan { status, next, ..Plan::nothing(bounds, from) };
        if bounds.max.0 == 0 {
            return nothing(PlanStatus::Empty, QueueOffset(0));
        }
        if from < bounds.min {
            return nothing(PlanStatus::TooSmall, bounds.min);
        }
        if from == bounds.max {
            return nothing(PlanStatus::Overflow, from);
        }
        if from > bounds.max {
            return nothing(PlanStatus::OverflowBadly, bounds.max);
        }
        self.scan(slot, from, bounds, limits, accept)
    }

    fn scan(
        &self,
        slot: QueueSlot,
        from: QueueOffset,
        bounds: Bounds,
        limits: ReadLimits,
        accept: &mut dyn FnMut(i64) -> bool,
    ) -> Plan {
        let Some((life, topic, id)) = self.name(slot) else {
            return Plan { status: PlanStatus::FoundNull, next: from, ..Plan::nothing(bounds, from) };
        };
        let mut taken = Taken::new(self, limits);
        let (scan_max, count_max) = (SCAN_ENTRIES_MIN.max(limits.count), limits.count.max(1));
        // Somebody met it before, and it is not made again yet.
        let open = self.doubts.first_open(life, from.0).map_or(bounds.max, QueueOffset);
        let until = bounds.max.min(open).min(from + scan_max as u64);
        let mut entries = Vec::new();
        let (mut first, mut next) = (from, from);
        let mut status = PlanStatus::NoMatched;
        let mut behind = LogOffset(0);
        'scan: while next < until && taken.count < count_max {
            entries.clear();
            let wanted = if next == from { count_max.min(SCAN_STEP) } else { SCAN_STEP };
            let step = wanted.min((until.0 - next.0) as usize);
            let read = self.entries(slot, next, step, &mut entries);
            if read.is_err() || entries.is_empty() {
                break;
            }
            for entry in &entries {
                let verdict = || self.doubts.verdict(life, next.0);
                let worth = match self.worth(&topic, entry) {
                    Worth::Wrong if verdict().is_some() => Worth::Gone,
                    // Positions never go back in a queue.
                    Worth::Message
                        if entry.at < behind && verdict().is_none() && !mutant!(EntryUnchecked) =>
                    {
                        self.doubt_one_of(life, next);
                        break 'scan;
                    }
                    worth => worth,
                };
                match worth {
                    Worth::Wrong => {
                        self.doubts.doubt(life, next.0);
                        break 'scan;
                    }
                    Worth::Message if taken.is_full(self, entry) => break 'scan,
                    Worth::Message => behind = entry.end(),
                    Worth::Gone => {}
                }
                let at = next;
                next += 1;
                taken.lag = self.log.end().0.saturating_sub(entry.at.0);
                if worth == Worth::Gone {
                    if taken.count == 0 {
                        status = PlanStatus::Removing;
                    }
                } else if accept(entry.tags_code) {
                    if taken.take(self, at, entry).is_err() {
                        // Its log file cannot be opened: that passes, or ends in the next start.
                        next = at;
                        break 'scan;
                    }
                    status = PlanStatus::Found;
                    if taken.count == 1 {
                        first = at;
                    }
                }
            }
        }
        if next == from {
            status = PlanStatus::FoundNull;
        }
        let Taken { mut slices, count, bytes, lag, .. } = taken;
        let reader = Reader { topic, id, life, doubts: Arc::clone(&self.doubts) };
        slices.settle(&self.log, (&self.blocks, &self.windows), self.confirmed().0, reader);
        Plan { status, next, bounds, slices, first, count, bytes, lag }
    }

    /// An entry that names a place before that of its predecessor: one of the two is wrong.
    fn doubt_one_of(&self, life: Life, second: QueueOffset) {
        self.doubts.doubt(life, second.0);
        if let Some(first) = second.0.checked_sub(1).filter(|at| self.doubts.verdict(life, *at).is_none()) {
            self.doubts.doubt(life, first);
        }
    }

    /// What an entry is worth by itself.
    fn worth(&self, topic: &str, entry: &QueueEntry) -> Worth {
        if entry.is_blank() {
            return Worth::Gone;
        }
        // A hash of tags has 32 bits, and no queue begins before the log once the files before it are cleaned away.
        let is_hash = topic == DELAY_TOPIC || i32::try_from(entry.tags_code).is_ok();
        if (entry.at < self.starts_at() || !is_hash) && !mutant!(EntryUnchecked) {
            return Worth::Wrong;
        }
        if entry.at < self.log.first() || self.in_damage(entry.at) {
            return Worth::Gone;
        }
        // No check covers an entry, and what it tells is about to be read as a whole.
        let size = u64::from(entry.size);
        let in_file = self.log.segment_bytes() - entry.at.0 % self.log.segment_bytes();
        let left = self.log.end().0.saturating_sub(entry.at.0).min(in_file);
        let max = self.options.record_bytes_max().max(RECORD_BYTES_READ_MAX) as u64;
        if size > left || size > max { Worth::Wrong } else { Worth::Message }
    }

    /// The message of a queue at an offset: its whole record, of which all is checked, its body too. Reads files.
    pub fn message(&self, slot: QueueSlot, at: QueueOffset) -> io::Result<Message> {
        let Some((life, topic, id)) = self.name(slot) else { return Ok(Message::Lost) };
        if self.doubts.first_open(life, at.0) == Some(at.0) {
            return Ok(Message::Sought);
        }
        let entry = match self.entry(slot, at) {
            Ok(Some(entry)) => entry,
            // That was noted.
            Ok(None) => return Ok(Message::Sought),
            Err(why) if is_device_error(&why) => return Ok(Message::Sought),
            Err(why) => return Err(why),
        };
        match self.worth(&topic, &entry) {
            Worth::Gone => return Ok(Message::Lost),
            Worth::Wrong => return Ok(self.missed(life, at)),
            Worth::Message => {}
        }
        let bytes = match self.record(entry.at) {
            Err(why) if is_device_error(&why) => None,
            read => read?,
        };
        let reader = Reader { topic, id, life, doubts: Arc::clone(&self.doubts) };
        let is_it = bytes.as_deref().is_some_and(|bytes| {
            let Ok(Entry::Message(record)) = parse(bytes) else { return false };
            record.size == entry.size && reader.wants(&record, at.0)
        });
        Ok(bytes.filter(|_| is_it).map_or_else(|| self.missed(life, at), Message::Record))
    }

    /// A message is not where its entry says.
    fn missed(&self, life: Life, at: QueueOffset) -> Message {
        if self.doubts.verdict(life, at.0).is_some() {
            return Message::Lost;
        }
        self.doubts.doubt(life, at.0);
        Message::Sought
    }

    /// Records of a topic whose key has the same hash as `key`, stored in a time; the caller compares the keys.
    /// Reads index files. `None` without an index.
    pub fn query(
        &self,
        topic: &str,
        key: &str,
        max: usize,
        begin: Millis,
        end: Millis,
    ) -> Option<io::Result<index::Found>> {
        let (first, confirmed) = (self.log.first(), self.confirmed());
        let mut accept = |at| at >= first && at < confirmed && !self.in_damage(at);
        Some(self.index.as_ref()?.find(topic, key, max, begin, end).run_through(&self.gate, &mut accept))
    }

    /// Whether a position lies in a part of the log that was found damaged.
    pub(crate) fn in_damage(&self, at: LogOffset) -> bool {
        self.damaged.iter().any(|range| range.contains(&at.0))
    }

    /// One whole record, checked: it says that it stands there, and its body is what was stored. `None` if
    /// there is no record at that place. Reads a file.
    pub fn record(&self, at: LogOffset) -> io::Result<Option<Vec<u8>>> {
        const HEAD: usize = 8;
        let confirmed = self.confirmed();
        let in_file = self.log.segment_bytes() - at.0 % self.log.segment_bytes();
        let left = confirmed.0.saturating_sub(at.0).min(in_file);
        if at < self.log.first() || left < HEAD as u64 {
            return Ok(None);
        }
        let mut head = [0; HEAD];
        self.log.read(&self.gate, at.0, &mut head)?;
        let size = u32::from_be_bytes([head[0], head[1], head[2], head[3]]);
        let max = self.options.record_bytes_max().max(RECORD_BYTES_READ_MAX);
        if u64::from(size) > left || size as usize > max || (size as usize) < HEAD {
            return Ok(None);
        }
        let mut bytes = vec![0; size as usize];
        self.log.read(&self.gate, at.0, &mut bytes)?;
        let good = match parse(&bytes) {
            Ok(Entry::Message(record)) => {
                let stands_here = record.physical_offset == at.wire() || mutant!(PositionUnchecked);
                record.size == size && stands_here && (record.crc_matches() || mutant!(CrcIgnored))
            }
            _ => false,
        };
        Ok(good.then_some(bytes))
    }
}

/// A position comes from outside, and what stands there may be any bytes: no more than this is read for it,
/// unless messages may be larger.
const RECORD_BYTES_READ_MAX: usize = 16 << 20;

/// Records taken so far.
struct Taken {
    slices: Slices,
    count: usize,
    bytes: u64,
    lag: u64,
    limits: ReadLimits,
    end: u64,
    warm: u64,
    /// Up to here the log was found to be in memory, behind the cold limits.
    resident: u64,
}

/// What was found in memory speaks for so many bytes behind it: they were read ahead together.
const RESIDENT_STEP: u64 = 64 << 10;

impl Taken {
    fn new(store: &Store, limits: ReadLimits) -> Taken {
        let (end, warm) = (store.log.end().0, store.options.warm_bytes());
        Taken { slices: Slices::default(), count: 0, bytes: 0, lag: 0, limits, end, warm, resident: 0 }
    }

    /// Whether an entry must wait for the next read.
    fn is_full(&mut self, store: &Store, entry: &QueueEntry) -> bool {
        if self.count == 0 {
            return false;
        }
        let bytes = self.bytes + u64::from(entry.size);
        if self.count >= self.limits.count || bytes > self.limits.bytes {
            return true;
        }
        let cold = self.end.saturating_sub(entry.at.0) > self.warm;
        let beyond = self.count >= self.limits.cold_count || bytes > self.limits.cold_bytes;
        cold && beyond && !self.is_resident(store, entry)
    }

    /// Whether a record is in memory, and so, surely or probably, all before it: a look costs a call.
    fn is_resident(&mut self, store: &Store, entry: &QueueEntry) -> bool {
        let (at, len) = (entry.at.0, u64::from(entry.size));
        if at + len <= self.resident {
            return true;
        }
        let from = self.slices.range().map_or(at, |range| range.start);
        if store.windows.covers(from..at + len) {
            self.resident = at + len;
            return true;
        }
        if self.resident == 0 && self.slices.is_on_device() {
            return false;
        }
        let found = store.log.file_at(at).and_then(Result::ok);
        let resident = found.and_then(|(file, base)| file.is_resident(at - base, len));
        if resident != Some(true) {
            return false;
        }
        self.resident = at + len + RESIDENT_STEP;
        true
    }

    fn take(&mut self, store: &Store, at: QueueOffset, entry: &QueueEntry) -> io::Result<()> {
        let cold = self.end.saturating_sub(entry.at.0) > self.warm;
        self.slices.push(&store.log, at, entry, cold)?;
        self.count += 1;
        self.bytes += u64::from(entry.size);
        Ok(())
    }
}
