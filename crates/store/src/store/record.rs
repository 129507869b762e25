//! One record: by its place in the log, by its place in a queue, by its keys.

use super::{
    Store,
    plan::{RECORD_BYTES_READ_MAX, Worth},
};
use crate::{
    disk::around::is_device_error,
    doubt::Life,
    index,
    read::{Message, Reader},
    types::QueueSlot,
};
use kerolox_protocol::{
    LogOffset, Millis, QueueOffset,
    record::{Entry, parse},
};
use std::{io, sync::Arc};

impl Store {
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
            Worth::Gone if !entry.is_blank() && entry.at < self.log.first() => return Ok(Message::Deleted),
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
