//! Queues that are looked at as a whole: those whose files are damaged, and all of them after a deletion.

use super::Store;
use crate::{
    doubt::Life,
    job::{Clean, Cleaned, Work},
    line::{Level, Line},
    log::is_no_room,
    recover::{MendError, MendJob, Mended},
    types::Now,
};
use kerolox_protocol::{LogOffset, Millis};
use std::{io, sync::Arc};

/// Queues looked at by one cleaning job.
const CLEAN_QUEUES: usize = 2_000;
/// Pause before a queue that could not be made whole is looked at again.
const MEND_AGAIN: Millis = Millis(10_000);

impl Store {
    pub(super) fn clean_job(&mut self) -> Option<Work> {
        let from = self.agenda.clean_next?;
        if from == 0 {
            self.agenda.cleaning = self.log.first();
        }
        let strays = self.agenda.may_have_strays;
        let (queues, next) = self.queues.to_clean(from, CLEAN_QUEUES, strays);
        self.agenda.clean_next = next;
        if queues.is_empty() {
            self.cleaned_all();
            return None;
        }
        let (disk, files) = (Arc::clone(&self.disk), Arc::clone(&self.files));
        Some(Work::Clean(Clean { disk, files, first: self.agenda.cleaning.0, queues, strays }))
    }

    /// The starts of all queues were looked at, if no more are left.
    fn cleaned_all(&mut self) {
        if self.agenda.clean_next.is_none() {
            self.agenda.starts_at = self.agenda.cleaning;
            self.agenda.may_have_strays = false;
        }
    }

    /// No entry names a record before this position, but such as stand before the start of their queue.
    pub(crate) fn starts_at(&self) -> LogOffset {
        self.agenda.starts_at
    }

    /// The next queue of which something is to be made again from the log.
    pub(super) fn mend_job(&mut self, now: Now) -> Option<Work> {
        let waits = self.agenda.mend_after.is_some_and(|after| now.mono < after);
        if self.agenda.probing || self.stopping || waits {
            return None;
        }
        self.next_mend().map(|job| Work::Mend(Box::new(job)))
    }

    fn next_mend(&mut self) -> Option<MendJob> {
        self.agenda.mend_after = None;
        while let Some((life, open)) = self.doubts.next() {
            let queue = self.queues.get(life.slot).filter(|queue| queue.alive);
            let queue = queue.filter(|queue| queue.generation == life.generation);
            let Some((queue, topic)) = queue.and_then(|queue| Some((queue, self.queues.topic_name(queue)?)))
            else {
                self.doubts.forget(life.slot);
                continue;
            };
            // What is in memory is as it was written, and tells where the log has what comes next.
            let end =
                queue.position(queue.written).map_or(self.log.flushed(), |at| at.min(self.log.flushed()));
            let log = self.log.segments().iter().map(|segment| (segment.base, segment.path.clone()));
            let job = MendJob {
                disk: Arc::clone(&self.disk),
                root: self.options.paths.root.clone(),
                files: Arc::clone(&self.files),
                log: log.collect(),
                segment_bytes: self.log.segment_bytes(),
                end: end.0,
                levels: self.options.delay_levels.clone(),
                slot: life.slot,
                topic: Arc::clone(topic),
                id: queue.id,
                open: open.clone(),
                filed: (queue.min.min(queue.written), queue.written),
            };
            self.agenda.mending = Some((life, open));
            return Some(job);
        }
        None
    }

    /// Makes again, here and now, what entries were found not to lead to their messages since the store was opened, and
    /// says so. To be called before any job is handed out. Blocks on the disk.
    pub fn mend_now(&mut self) -> Vec<Line> {
        let mut lines = Vec::new();
        let now = Now { wall: Millis(0), mono: Millis(0) };
        while self.poisoned.is_none()
            && self.agenda.mend_after.is_none()
            && let Some(job) = self.next_mend()
        {
            let result = job.run();
            if let Ok(mended) = &result {
                lines.extend(mended.lines.iter().cloned());
            }
            self.mended(now, result.map(|mended| Mended { lines: Vec::new(), ..mended }));
        }
        lines
    }

    pub(super) fn mended(&mut self, now: Now, result: Result<Mended, MendError>) {
        self.agenda.queues_busy = false;
        let Some((life, open)) = self.agenda.mending.take() else { return };
        // Whoever opened the old one meanwhile must not write to it.
        self.files.forget(life.slot);
        if result.is_err() {
            self.agenda.mend_after = Some(now.mono + MEND_AGAIN);
        }
        match result {
            Ok(Mended { lines, verdicts }) => {
                lines.iter().for_each(|line| match line.level {
                    Level::Error => tracing::error!("{line}"),
                    _ => tracing::warn!("{line}"),
                });
                self.doubts.settle(life, &open, verdicts);
                self.mended.push(life.slot);
            }
            Err(MendError::Read(why)) => {
                tracing::warn!(%why, "a queue file cannot be made whole; it is tried again");
            }
            Err(MendError::Write(path, why)) if is_no_room(&why) => {
                tracing::warn!(path = %path.display(), %why, "no room to make a queue file whole");
            }
            Err(MendError::Write(_, why)) => {
                self.poison("making a queue file whole", &why);
            }
        }
    }

    pub(super) fn cleaned(&mut self, result: io::Result<Cleaned>) {
        self.agenda.queues_busy = false;
        match result {
            Ok(cleaned) => {
                for sick in cleaned.sick {
                    let life = Life { slot: sick.slot, generation: sick.generation };
                    match sick.entries {
                        None => self.doubts.doubt_files(life),
                        Some(offsets) => offsets.iter().for_each(|offset| self.doubts.doubt(life, *offset)),
                    }
                }
                for (slot, generation, min) in cleaned.mins {
                    if mutant!(MinForgotten) {
                        continue;
                    }
                    if let Some(queue) =
                        self.queues.get_mut(slot).filter(|queue| queue.generation == generation)
                    {
                        let from = queue.min;
                        queue.min = from.max(min);
                        self.trimmed(slot, from);
                    }
                }
                self.cleaned_all();
            }
            Err(why) => {
                tracing::warn!(%why, "cleaning queues failed; it is tried again after the next deletion")
            }
        }
    }
}
