//! What a pull gets: which entries of a queue lead to messages, and how many of these make an answer.
//!
//! Looks at queue entries, and reads no record. Nothing above the confirmed position is ever named.

use super::Store;
use crate::{
    dispatch::DELAY_TOPIC,
    doubt::Life,
    read::{Plan, PlanStatus, ReadLimits, Reader, Slices},
    types::{Bounds, QueueEntry, QueueSlot},
};
use kerolox_protocol::{LogOffset, QueueOffset};
use std::{io, sync::Arc};

/// Entries that one plan looks at, at least; more only if more messages are wanted. As the original.
const SCAN_ENTRIES_MIN: usize = 800;
/// Entries fetched at once while planning, after the first as many as messages are wanted: mostly these all are.
const SCAN_STEP: usize = 128;

/// A position comes from outside, and what stands there may be any bytes: no more than this is read for it,
/// unless messages may be larger.
pub(super) const RECORD_BYTES_READ_MAX: usize = 16 << 20;

/// What an entry of a queue is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Worth {
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
        slices.settle(&self.log, (&self.blocks, self.streams.windows()), self.confirmed().0, reader);
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
    pub(super) fn worth(&self, topic: &str, entry: &QueueEntry) -> Worth {
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
}

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
        if store.streams.windows().covers(from..at + len) {
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
