//! What the log will need soon, made ready while there is time: the next file, room, zeros.

use super::Store;
use crate::{
    job::{StoreJob, Work},
    options::Flush,
};
use std::sync::Arc;

impl Store {
    pub(super) fn spare_job(&mut self, into: &mut Vec<StoreJob>) {
        if self.agenda.spare_busy || self.stopping {
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
        match self.log.wants_reserve() {
            Some(Ok(reserve)) => {
                self.agenda.reserving = true;
                into.push(StoreJob(Work::Reserve(reserve)));
            }
            Some(Err(why)) => {
                self.poison("opening a log file to reserve room", &why);
            }
            None => {}
        }
    }

    /// Zeros ahead make flushes fast; only who waits for flushes cares.
    pub(super) fn zero_job(&mut self, into: &mut Vec<StoreJob>) {
        if self.options.flush != Flush::Sync || self.agenda.zeroing || self.stopping || self.no_room.is_some()
        {
            return;
        }
        match self.log.wants_zeros() {
            Some(Ok(zero)) => {
                self.agenda.zeroing = true;
                into.push(StoreJob(Work::Zero(zero)));
            }
            Some(Err(why)) => {
                self.poison("opening a log file to write ahead", &why);
            }
            None => {}
        }
    }
}
