//! Moving the starts of queues up to the log's start, and removing queue files that lie before it.

use crate::{
    disk::{Disk, around::is_bad_sector},
    log::parse_file_name,
    queue::files::{Files, Place},
    types::QueueSlot,
};
use kerolox_protocol::QueueId;
use std::{io, sync::Arc};

/// Queues to look at, after the log's oldest files went.
#[derive(Debug)]
pub(crate) struct Clean {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) files: Arc<Files>,
    /// Where the log begins now.
    pub(crate) first: u64,
    pub(crate) queues: Vec<One>,
}

/// One queue.
#[derive(Debug, Clone)]
pub(crate) struct One {
    pub(crate) slot: QueueSlot,
    pub(crate) generation: u32,
    pub(crate) topic: Arc<str>,
    pub(crate) id: QueueId,
    pub(crate) min: u64,
    /// Entries below are in files.
    pub(crate) written: u64,
}

/// Starts of queues.
#[derive(Debug, Default)]
pub(crate) struct Cleaned {
    /// Queue, its generation, its new start.
    pub(crate) mins: Vec<(QueueSlot, u32, u64)>,
    /// Queues of whose files the disk cannot read a part.
    pub(crate) sick: Vec<QueueSlot>,
}

impl Clean {
    pub(super) fn run(&self) -> io::Result<Cleaned> {
        let mut cleaned = Cleaned::default();
        for one in &self.queues {
            let min = match self.first_kept(one) {
                // The other queues have nothing to do with it.
                Err(why) if is_bad_sector(&why) => {
                    cleaned.sick.push(one.slot);
                    continue;
                }
                min => min?,
            };
            if min > one.min {
                self.remove_before(one, min)?;
                cleaned.mins.push((one.slot, one.generation, min));
            }
        }
        Ok(cleaned)
    }

    fn first_kept(&self, one: &One) -> io::Result<u64> {
        let place = Place { slot: one.slot, topic: &one.topic, id: one.id };
        self.files.first_kept(place, one.min..one.written, self.first)
    }

    /// Removes files that end at or before entry `min`; never the last one.
    fn remove_before(&self, one: &One, min: u64) -> io::Result<()> {
        let dir = self.files.queue_dir(&one.topic, one.id);
        let listed = match self.disk.list(&dir) {
            Err(why) if why.kind() == io::ErrorKind::NotFound => return Ok(()),
            listed => listed?,
        };
        let last = one.written.saturating_sub(1) / self.files.per_file();
        for entry in listed {
            let Some(base) = parse_file_name(&entry.name) else { continue };
            let number = base / self.files.file_bytes;
            if (number + 1) * self.files.per_file() <= min && number < last {
                self.files.forget_file(one.slot, number);
                self.disk.remove(&dir.join(&entry.name))?;
            }
        }
        Ok(())
    }
}
