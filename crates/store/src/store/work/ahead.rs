//! What the log will need soon, made ready while there is time: the next file, room, zeros.

use super::Store;
use crate::{
    job::{StoreJob, Work},
    options::Flush,
    types::Now,
};
use std::{io, sync::Arc};

impl Store {
    pub(super) fn spare_job(&mut self, now: Now, into: &mut Vec<StoreJob>) {
        let waits = self.agenda.spare_after.is_some_and(|after| now.mono < after);
        if self.agenda.spare_busy || self.stopping || waits {
            return;
        }
        // Where zeros are wanted the file is made early, to have them before it is needed.
        let share = if self.options.flush == Flush::Sync { 1 } else { 3 };
        if let Some((base, reserve)) = self.log.wants_spare(share) {
            self.agenda.spare_busy = true;
            let (disk, dir) = (Arc::clone(&self.disk), self.log.dir().clone());
            let segment_bytes = self.log.segment_bytes();
            into.push(StoreJob(Work::Spare { disk, dir, base, segment_bytes, reserve }));
        }
    }

    pub(super) fn reserve_job(&mut self, into: &mut Vec<StoreJob>) {
        if self.agenda.reserving || self.stopping {
            return;
        }
        let work = self.log.wants_reserve().map(|wanted| wanted.map(Work::Reserve));
        self.agenda.reserving = self.begin(work, "opening a log file to reserve room", into);
    }

    /// Zeros ahead make flushes fast; only who waits for flushes cares.
    pub(super) fn zero_job(&mut self, into: &mut Vec<StoreJob>) {
        if self.options.flush != Flush::Sync || self.agenda.zeroing || self.stopping || self.no_room.is_some()
        {
            return;
        }
        let work = self.log.wants_zeros().map(|wanted| wanted.map(Work::Zero));
        self.agenda.zeroing = self.begin(work, "opening a log file to write ahead", into);
    }

    /// Hands out the work if there is any; whether there is. A file that could not be opened for it poisons the store.
    fn begin(&mut self, work: Option<io::Result<Work>>, opening: &str, into: &mut Vec<StoreJob>) -> bool {
        let work = work.transpose().unwrap_or_else(|why| {
            self.poison(opening, &why);
            None
        });
        let is_there = work.is_some();
        into.extend(work.map(StoreJob));
        is_there
    }
}
