//! Moving the starts of queues up to the log's start, and removing queue files that lie before it.

use crate::{
    disk::{Disk, around::is_bad_sector},
    log::parse_file_name,
    queue::{
        Spot,
        files::{Files, Place},
    },
    types::QueueSlot,
};
use kerolox_protocol::LogOffset;
use std::{io, sync::Arc};

/// Entries read at once.
const STEP: u64 = 4_096;

/// Queues to look at, after the log's oldest files went.
#[derive(Debug)]
pub(crate) struct Clean {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) files: Arc<Files>,
    /// Where the log begins now.
    pub(crate) first: u64,
    pub(crate) queues: Vec<Spot>,
    /// There may be files before those with which queues begin: of several that are removed, a power cut may bring
    /// some back and not others.
    pub(crate) strays: bool,
}

/// Starts of queues.
#[derive(Debug, Default)]
pub(crate) struct Cleaned {
    /// Queue, its generation, its new start.
    pub(crate) mins: Vec<(QueueSlot, u32, u64)>,
    /// Queues whose starts stay for now.
    pub(crate) sick: Vec<Sick>,
}

/// A queue with entries that cannot be right.
#[derive(Debug)]
pub(crate) struct Sick {
    pub(crate) slot: QueueSlot,
    pub(crate) generation: u32,
    /// One of these is. None: the disk cannot read them.
    pub(crate) entries: Option<[u64; 2]>,
}

impl Clean {
    pub(super) fn run(&self) -> io::Result<Cleaned> {
        let mut cleaned = Cleaned::default();
        for one in &self.queues {
            let sick = |entries| Sick { slot: one.slot, generation: one.generation, entries };
            let found = self.first_kept(one).and_then(|min| Ok((min, self.astray(one, min)?)));
            let min = match found {
                // The other queues have nothing to do with it.
                Err(why) if is_bad_sector(&why) => {
                    cleaned.sick.push(sick(None));
                    continue;
                }
                Ok((_, Some(entries))) => {
                    cleaned.sick.push(sick(Some(entries)));
                    continue;
                }
                found => found?.0,
            };
            if min > one.min || self.strays {
                self.remove_before(one, min)?;
            }
            if min > one.min {
                cleaned.mins.push((one.slot, one.generation, min));
            }
        }
        Ok(cleaned)
    }

    fn first_kept(&self, one: &Spot) -> io::Result<u64> {
        let place = Place { slot: one.slot, topic: &one.topic, id: one.id };
        self.files.first_kept(place, one.min..one.written, self.first)
    }

    /// Two entries of which one is wrong, of those before `min`, whose records should be gone. There are none unless
    /// halving was led astray by an entry that does not name its record: no check covers it, and what goes because of
    /// it does not come back.
    fn astray(&self, one: &Spot, min: u64) -> io::Result<Option<[u64; 2]>> {
        let (mut at, mut last) = (one.min, one.min);
        let mut behind = LogOffset(0);
        let mut entries = Vec::new();
        while at < min && !mutant!(StartUnchecked) {
            entries.clear();
            self.files.read(one.slot, &one.topic, one.id, at, STEP.min(min - at), &mut entries)?;
            for (offset, entry) in (at..).zip(&entries).filter(|(_, entry)| !entry.is_blank()) {
                if entry.at.0 >= self.first {
                    return Ok(Some([offset, min - 1]));
                }
                // Positions never go back in a queue.
                if entry.at < behind {
                    return Ok(Some([last, offset]));
                }
                (last, behind) = (offset, entry.end());
            }
            at += (entries.len() as u64).max(1);
        }
        Ok(None)
    }

    /// Removes files that end at or before entry `min`; never the last one.
    fn remove_before(&self, one: &Spot, min: u64) -> io::Result<()> {
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
