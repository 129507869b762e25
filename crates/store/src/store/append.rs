//! Appending: from a draft to bytes in the log's memory, an entry in its queue, and a place in the line of
//! those that wait to be visible. Nothing here touches the disk, except where a file ends or more room is taken.

use super::{Hidden, Store};
use crate::{
    dispatch::Dispatch,
    log::PlaceError,
    types::{AppendError, Appended, Arrival, Now, QueueEntry, QueueSlot, Refusal},
};
use kerolox_protocol::{
    LogOffset, Millis, QueueOffset,
    record::{Draft, PROPERTIES_BYTES_MAX},
};

const TOPIC_BYTES_MAX: usize = 255;

/// A clock that is behind the log by less goes another way than the monotonic one, or was read a little later.
const BEHIND_MIN: Millis = Millis(10);

impl Store {
    /// Tells the time before anything is appended. [`Store::jobs`] does so, too.
    pub fn pass(&mut self, now: Now) {
        self.mono = now.mono;
        self.last_mono.get_or_insert(now.mono);
    }

    /// The time that a record would carry. It never goes back: searches by time and retention rely on it. While the wall
    /// clock is behind, since it was set back, time goes on as the monotonic clock does: a message that waits so long
    /// for its delivery must not be due at once, nor wait until the clock has caught up.
    pub fn time(&self, wall: Millis) -> Millis {
        let passed = self.mono - self.last_mono.unwrap_or(self.mono);
        let on = self.last_ms + passed;
        if on - wall > BEHIND_MIN { on } else { wall.max(self.last_ms) }
    }

    /// Appends one record to the log's memory. `slot` is the queue of the draft.
    ///
    /// The record is neither written nor visible before [`Store::commit`].
    pub fn append(
        &mut self,
        now_wall: Millis,
        draft: &Draft<'_>,
        slot: QueueSlot,
        dispatch: &Dispatch<'_>,
    ) -> Result<Appended, AppendError> {
        self.writable()?;
        let size = self.check(draft)?;
        let at = self.place(size)?;
        Ok(self.push(at, size, now_wall, draft, slot, dispatch))
    }

    /// Appends records of one queue back to back, never split over two log files: all or none.
    pub fn append_batch(
        &mut self,
        now_wall: Millis,
        drafts: &[(Draft<'_>, Dispatch<'_>)],
        slot: QueueSlot,
        into: &mut Vec<Appended>,
    ) -> Result<(), AppendError> {
        self.writable()?;
        let mut total = 0usize;
        for (draft, _) in drafts {
            total += self.check(draft)?;
        }
        self.check_batch(total)?;
        self.place(total)?;
        for (draft, dispatch) in drafts {
            let at = self.log.end();
            into.push(self.push(at, draft.encoded_len(), now_wall, draft, slot, dispatch));
        }
        Ok(())
    }

    /// Appends records of any queues back to back, never split over two log files: all or none.
    pub fn append_all(
        &mut self,
        now_wall: Millis,
        drafts: &[(Draft<'_>, QueueSlot, Dispatch<'_>)],
    ) -> Result<Vec<Appended>, AppendError> {
        self.writable()?;
        let mut total = 0usize;
        for (draft, ..) in drafts {
            total += self.check(draft)?;
        }
        self.check_batch(total)?;
        self.place(total)?;
        let append = |(draft, slot, dispatch): &(Draft<'_>, QueueSlot, Dispatch<'_>)| {
            let at = self.log.end();
            self.push(at, draft.encoded_len(), now_wall, draft, *slot, dispatch)
        };
        Ok(drafts.iter().map(append).collect())
    }

    /// Size of the record, if the store takes it.
    fn check(&self, draft: &Draft<'_>) -> Result<usize, AppendError> {
        let body_max = self.options.message_bytes_max;
        if draft.body.len() > body_max {
            return Err(AppendError::TooLarge { bytes: draft.body.len(), max: body_max });
        }
        if draft.properties.len() > PROPERTIES_BYTES_MAX {
            return Err(AppendError::Properties { bytes: draft.properties.len() });
        }
        if draft.topic.is_empty() || draft.topic.len() > TOPIC_BYTES_MAX {
            return Err(AppendError::Topic);
        }
        let size = draft.encoded_len();
        self.check_batch(size)?;
        Ok(size)
    }

    /// Whether so many bytes fit into one file, the filler behind them included.
    fn check_batch(&self, bytes: usize) -> Result<(), AppendError> {
        let max = (self.log.segment_bytes() as usize).saturating_sub(8).min(i32::MAX as usize);
        if bytes > max { Err(AppendError::TooLarge { bytes, max }) } else { Ok(()) }
    }

    fn place(&mut self, bytes: usize) -> Result<LogOffset, AppendError> {
        self.log.place(bytes as u64).map_err(|error| match error {
            PlaceError::NoRoom(path, why) => AppendError::Refused(self.refuse_for_room(path, &why)),
            PlaceError::Failed(path, why) => {
                let doing = format!("making room in {}", path.display());
                AppendError::Refused(Refusal::Poisoned(self.poison(&doing, &why)))
            }
        })
    }

    fn push(
        &mut self,
        at: LogOffset,
        size: usize,
        now_wall: Millis,
        draft: &Draft<'_>,
        slot: QueueSlot,
        dispatch: &Dispatch<'_>,
    ) -> Appended {
        let store_ms = self.time(now_wall);
        (self.last_ms, self.last_mono) = (store_ms, Some(self.mono));
        let (next, generation) = match self.queues.get(slot) {
            Some(queue) => (queue.next(), queue.generation),
            None => (0, 0),
        };
        debug_assert!(self.queues.get(slot).is_some_and(|queue| queue.id == draft.queue_id));
        let queue_offset = QueueOffset(if dispatch.queued { next } else { 0 });
        self.log.push(size, |out| draft.encode(queue_offset, at, store_ms, out));
        debug_assert!(self.parses(at, size), "what was appended must parse");
        let end = at + size as u64;
        let size = size as u32;
        if dispatch.queued {
            let tags_code = dispatch.entry_code(&self.options.delay_levels, store_ms);
            self.queues.push(slot, QueueEntry { at, size, tags_code });
            let arrival = Arrival { slot, queue_offset, tags_code, at, size, store_ms };
            self.hidden.push_back(Hidden { arrival, generation });
        }
        if let Some(index) = self
            .index
            .as_mut()
            .filter(|index| dispatch.indexed && (index.failed().is_none() || index.lacks_room()))
        {
            let local = now_wall + self.options.retention.utc_offset;
            dispatch.each_key(|key| index.add(draft.topic, key, at, store_ms, local));
        }
        Appended { at, size, queue_offset, store_ms, end }
    }

    fn parses(&self, at: LogOffset, size: usize) -> bool {
        use kerolox_protocol::record::{Entry, parse};
        let found = self.log.in_memory(at.0, size).map(parse);
        matches!(found, Some(Ok(Entry::Message(record))) if record.size as usize == size && record.crc_matches())
    }
}
