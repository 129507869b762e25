//! Where a time is in a queue: a search over the records' own store times, which never go back.

use super::Store;
use crate::{
    disk::around::is_device_error,
    doubt::Verdict,
    read::{Boundary, HEAD_BYTES, Head, head_at},
    types::{Bounds, QueueSlot},
};
use kerolox_protocol::{LogOffset, Millis, QueueOffset};
use std::{io, ops::Range};

/// Messages without a time that a search looks behind.
const UNTIMED_MAX: usize = 256;

impl Store {
    /// The offset of a message by time. Reads files.
    pub fn offset_by_time(
        &self,
        slot: QueueSlot,
        time: Millis,
        boundary: Boundary,
    ) -> io::Result<QueueOffset> {
        let bounds = self.bounds(slot);
        let first_at_or_after = self.search(slot, |ms| ms >= time)?;
        Ok(match boundary {
            Boundary::Lower => first_at_or_after,
            Boundary::Upper => {
                let first_after = self.search(slot, |ms| ms > time)?;
                QueueOffset(first_after.0.saturating_sub(1)).max(bounds.min)
            }
            Boundary::Nearest => self.nearer(slot, time, first_at_or_after)?,
        })
    }

    /// The time of a message. `None` if it is not there, or cannot be read. Reads files.
    pub fn store_time(&self, slot: QueueSlot, at: QueueOffset) -> io::Result<Option<Millis>> {
        match self.entry(slot, at)? {
            Some(entry) if !entry.is_blank() => {
                let head = self.head(entry.at)?.filter(|head| self.is_of(slot, at, head));
                Ok(head.map(|head| head.time))
            }
            _ => Ok(None),
        }
    }

    /// Whether this is the head of the message that was asked for; otherwise its entry is wrong.
    fn is_of(&self, slot: QueueSlot, at: QueueOffset, head: &Head) -> bool {
        let Some((life, _, id)) = self.name(slot) else { return false };
        if (head.queue_id, head.queue_offset) == (id.wire(), at.wire()) {
            return true;
        }
        let verdict = self.doubts.verdict(life, at.0);
        if verdict.is_none() {
            self.doubts.doubt(life, at.0);
        }
        verdict == Some(Verdict::Right)
    }

    /// The time of the oldest record that is there. Reads a file.
    pub fn earliest_time(&self) -> io::Result<Option<Millis>> {
        Ok(self.head(self.log.first())?.map(|head| head.time))
    }

    /// The first message whose time satisfies `late`, which holds for all behind the first it holds for.
    fn search(&self, slot: QueueSlot, late: impl Fn(Millis) -> bool) -> io::Result<QueueOffset> {
        let bounds = self.bounds(slot);
        let (mut low, mut high) = (bounds.min.0, bounds.max.0);
        while low < high {
            let middle = low + (high - low) / 2;
            match self.next_time(slot, middle..high)? {
                // What is between cannot tell: whoever begins there misses nothing.
                Some((_, ms)) if late(ms) => high = middle,
                Some((at, _)) => low = at + 1,
                // One is there, and its entry is made again: whoever begins before it misses nothing.
                None if self.has_doubted(slot, middle..high) => high = middle,
                // Messages that are not there are older than all that are.
                None => low = middle + 1,
            }
        }
        Ok(QueueOffset(low))
    }

    /// The first of these messages that tells its time. Damage takes some; further than it reaches, retention took
    /// them.
    fn next_time(&self, slot: QueueSlot, offsets: Range<u64>) -> io::Result<Option<(u64, Millis)>> {
        for at in offsets.take(UNTIMED_MAX) {
            if let Some(ms) = self.store_time(slot, QueueOffset(at))? {
                return Ok(Some((at, ms)));
            }
        }
        Ok(None)
    }

    fn has_doubted(&self, slot: QueueSlot, offsets: Range<u64>) -> bool {
        let first = self.name(slot).and_then(|(life, ..)| self.doubts.first_open(life, offsets.start));
        first.is_some_and(|first| first < offsets.end)
    }

    fn nearer(&self, slot: QueueSlot, time: Millis, after: QueueOffset) -> io::Result<QueueOffset> {
        let Bounds { min, max } = self.bounds(slot);
        if after <= min {
            return Ok(min);
        }
        let before = QueueOffset(after.0 - 1);
        if after >= max {
            return Ok(before);
        }
        let distance = |at: Option<Millis>| at.map_or(u64::MAX, |at| at.0.abs_diff(time.0));
        let to_before = distance(self.store_time(slot, before)?);
        let to_after = distance(self.store_time(slot, after)?);
        Ok(if to_after != 0 && to_before <= to_after { before } else { after })
    }

    fn head(&self, at: LogOffset) -> io::Result<Option<Head>> {
        let left = self.confirmed().0.saturating_sub(at.0);
        if at < self.log.first() || left < HEAD_BYTES as u64 || self.in_damage(at) {
            return Ok(None);
        }
        let mut head = [0; HEAD_BYTES];
        match self.log.read(&self.gate, at.0, &mut head) {
            Err(why) if is_device_error(&why) => Ok(None),
            read => read.map(|()| head_at(&head, at.0)),
        }
    }
}
