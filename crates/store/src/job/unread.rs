//! Where in the log the oldest messages stand that somebody has not read yet.

use crate::{
    queue::files::Files,
    types::{QueueEntry, QueueSlot},
};
use kerolox_protocol::{LogOffset, QueueId};
use std::{io, sync::Arc};

/// Entries read at once: most often the first is wanted.
const STEP: u64 = 64;

/// A queue, and the first of its entries that counts; it is in a file.
#[derive(Debug)]
pub(crate) struct Seek {
    pub(crate) slot: QueueSlot,
    pub(crate) topic: Arc<str>,
    pub(crate) id: QueueId,
    pub(crate) from: u64,
    /// Entries below are in files.
    pub(crate) written: u64,
}

/// The log is wanted from here on, for the sake of a queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub(crate) from: LogOffset,
    pub(crate) topic: Arc<str>,
    pub(crate) id: QueueId,
}

impl Seek {
    /// Reads the entry. What cannot be read is wanted from the log's start on: nothing goes because of a bad file.
    pub(crate) fn run(&self, files: &Files) -> Option<Wanted> {
        let from = self.position(files).unwrap_or_else(|why| {
            tracing::warn!(topic = %self.topic, queue = %self.id, %why, "cannot tell what is unread; all is kept");
            Some(LogOffset(0))
        })?;
        Some(Wanted { from, topic: Arc::clone(&self.topic), id: self.id })
    }

    fn position(&self, files: &Files) -> io::Result<Option<LogOffset>> {
        let mut at = self.from;
        while at < self.written {
            let mut found: Vec<QueueEntry> = Vec::new();
            files.read(self.slot, &self.topic, self.id, at, STEP.min(self.written - at), &mut found)?;
            if let Some(entry) = found.iter().find(|entry| !entry.is_blank()) {
                return Ok(Some(entry.at));
            }
            at += (found.len() as u64).max(1);
        }
        Ok(None)
    }
}
