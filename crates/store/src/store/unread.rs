//! Messages that must not go before somebody has read them, and word of those that did.
//!
//! The store knows no readers: it is told offsets of queues, finds out where in the log they stand when it looks
//! at the disk, and deletes nothing from there on. That holds up deletion by age and for lack of room alike.

use super::Store;
use crate::{
    job::{Seek, Wanted},
    types::{Now, QueueSlot, Trimmed, Unread},
};
use kerolox_protocol::{LogOffset, QueueOffset};
use std::sync::Arc;

impl Store {
    /// Whether the next [`Store::jobs`] looks at the disk and may delete log files: then it is time for
    /// [`Store::keep_unread`].
    pub fn looks_soon(&self, now: Now) -> bool {
        let due = self.agenda.last_probe.is_none_or(|last| now.mono >= last + self.probe_pause());
        due && !self.agenda.probing && !self.stopping
    }

    /// From the given offsets on messages are kept until other offsets are told.
    pub fn keep_unread(&mut self, unread: Vec<Unread>) {
        self.unread = unread;
    }

    /// Messages that went since the last call, by queue.
    pub fn take_trimmed(&mut self) -> Vec<Trimmed> {
        std::mem::take(&mut self.trimmed)
    }

    /// Notes that a queue begins later than at `from` now.
    pub(super) fn trimmed(&mut self, slot: QueueSlot, from: u64) {
        let Some(queue) = self.queues.get(slot).filter(|queue| queue.min > from) else { return };
        let Some(topic) = self.queues.topic_name(queue).map(Arc::clone) else { return };
        let (from, to) = (QueueOffset(from), QueueOffset(queue.min));
        self.trimmed.push(Trimmed { topic, queue: queue.id, from, to, forced: self.agenda.forced });
    }

    /// What of the unread is known at once, and what a job has to find out.
    pub(super) fn wanted(&self) -> (Option<Wanted>, Vec<Seek>) {
        let mut known: Option<Wanted> = None;
        let mut seeks = Vec::new();
        for unread in &self.unread {
            let Some(queue) = self.queues.get(unread.slot).filter(|queue| queue.alive) else { continue };
            let Some(topic) = self.queues.topic_name(queue).map(Arc::clone) else { continue };
            let from = unread.from.0.max(queue.min);
            if from < queue.written {
                let (slot, id, written) = (unread.slot, queue.id, queue.written);
                seeks.push(Seek { slot, topic, id, from, written });
            } else if let Some(at) = queue.position(from)
                && known.as_ref().is_none_or(|known| at < known.from)
            {
                known = Some(Wanted { from: at, topic, id: queue.id });
            }
        }
        (known, seeks)
    }
}

/// Nothing is wanted.
pub(super) const ALL_READ: LogOffset = LogOffset(u64::MAX);
