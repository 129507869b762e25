//! Where a time is in a queue: a search over the records' own store times, which never go back.

use crate::{
    disk::around::is_device_error,
    store::Store,
    types::{Bounds, QueueSlot},
};
use kerolox_protocol::{
    LogOffset, Millis, QueueOffset,
    record::{FIXED_BYTES, MAGIC, MAGIC_V2, SYS_BORN_V6},
};
use std::{io, ops::Range};

/// Messages without a time that a search looks behind.
const UNTIMED_MAX: usize = 256;

const AT_MAGIC: usize = 4;
const AT_PHYSICAL_OFFSET: usize = 28;
const AT_SYS_FLAG: usize = 36;
const AT_BORN_HOST: usize = 48;
const HOST_V4: usize = 8;
const HOST_V6: usize = 20;

/// Which message answers a search by time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Boundary {
    /// The first at or after the time; the queue's end if there is none.
    Lower,
    /// The last at or before the time; the queue's start if there is none.
    Upper,
    /// One at the time, else the nearer neighbour, the earlier if both are as near. As the original.
    Nearest,
}

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
            Some(entry) if !entry.is_blank() => self.record_time(entry.at),
            _ => Ok(None),
        }
    }

    /// The time of the oldest record that is there. Reads a file.
    pub fn earliest_time(&self) -> io::Result<Option<Millis>> {
        self.record_time(self.log.first())
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

    fn record_time(&self, at: LogOffset) -> io::Result<Option<Millis>> {
        let left = self.confirmed().0.saturating_sub(at.0);
        if at < self.log.first() || left < HEAD as u64 || self.in_damage(at) {
            return Ok(None);
        }
        let mut head = [0; HEAD];
        match self.log.read(&self.gate, at.0, &mut head) {
            Err(why) if is_device_error(&why) => Ok(None),
            read => read.map(|()| head_time(&head, at.0)),
        }
    }
}

/// Bytes of a record's head that hold its time, whatever the hosts; every record is longer.
const HEAD: usize = AT_BORN_HOST + HOST_V6 + 8;
const _: () = assert!(HEAD <= FIXED_BYTES);

/// The time that a record's head tells, if it is the head of a record that stands at `at`.
pub(crate) fn head_time(head: &[u8], at: u64) -> Option<Millis> {
    fn part<const N: usize>(head: &[u8], at: usize) -> Option<[u8; N]> {
        head.get(at..)?.first_chunk().copied()
    }
    let magic = part(head, AT_MAGIC).map(u32::from_be_bytes);
    let told = part(head, AT_PHYSICAL_OFFSET).map(u64::from_be_bytes);
    if !matches!(magic, Some(MAGIC | MAGIC_V2)) || told != Some(at) {
        return None;
    }
    let flags = part(head, AT_SYS_FLAG).map(i32::from_be_bytes)?;
    let born = if flags & SYS_BORN_V6 != 0 { HOST_V6 } else { HOST_V4 };
    part(head, AT_BORN_HOST + born).map(|ms| Millis(i64::from_be_bytes(ms)))
}
