//! Work that the store hands out, when, and what follows from its outcome.

use super::Store;
use crate::{
    job::{Behind, Outcome, StoreDone, StoreJob, Work},
    log::is_no_room,
    options::Flush,
    types::{Now, Refusal},
};
use kerolox_protocol::{LogOffset, Millis};
use std::{io, sync::Arc};

/// Entries that wait for the write-behind, after which it is started before its time.
const BEHIND_SOON: usize = 64 << 10;

/// What is under way, and when the next is due.
#[derive(Debug, Default)]
pub(super) struct Progress {
    flushing: bool,
    last_flush: Option<Millis>,
    /// A job works on queue files; there is never a second one.
    queues_busy: bool,
    last_behind: Option<Millis>,
    spare_busy: bool,
    /// The log position that queue files cover.
    covered: LogOffset,
}

impl Store {
    /// Hands out what is due. To be called after [`Store::commit`] and when [`Store::next_timer`] says.
    pub fn jobs(&mut self, now: Now, into: &mut Vec<StoreJob>) {
        if self.poisoned.is_some() {
            return;
        }
        self.flush_job(now, into);
        self.behind_job(now, into);
        self.spare_job(into);
    }

    /// When [`Store::jobs`] wants to be called at the latest, on the monotonic clock. `None`: nothing is due
    /// before something is appended.
    pub fn next_timer(&self) -> Option<Millis> {
        if self.poisoned.is_some() {
            return None;
        }
        let flush = (self.log.written() > self.log.flushed() && !self.work.flushing)
            .then(|| self.work.last_flush.unwrap_or_default() + self.options.flush_interval);
        let behind = (self.queues.pending() > 0 && !self.work.queues_busy)
            .then(|| self.work.last_behind.unwrap_or_default() + self.options.behind_interval);
        flush.into_iter().chain(behind).min()
    }

    /// Takes the outcome of a job.
    pub fn done(&mut self, now: Now, done: StoreDone) {
        match done.0 {
            Outcome::Flushed(result) => self.flushed_done(now, result),
            Outcome::Behind { behind, touched: _, result } => self.behind_done(now, behind, result),
            Outcome::Spare(result) => {
                self.work.spare_busy = false;
                match result {
                    Ok(spare) => self.log.set_spare(spare),
                    // Made ahead only to save time: the append that needs it will say what is wrong.
                    Err((path, why)) => {
                        tracing::warn!(path = %path.display(), %why, "no log file was made ahead")
                    }
                }
            }
        }
    }

    /// Stops: nothing is accepted any more; [`Store::jobs`] hands out the last work until
    /// [`Store::is_clean`].
    pub fn stop(&mut self) {
        self.stopping = true;
    }

    /// Whether everything is on the disk, after [`Store::stop`]. Always true once the store is poisoned:
    /// there is nothing more to wait for.
    pub fn is_clean(&self) -> bool {
        let idle = !self.work.flushing && !self.work.queues_busy && !self.work.spare_busy;
        let behind = self.queues.pending() > 0 || self.log.written() > self.log.flushed();
        self.stopping && idle && (!behind || self.poisoned.is_some())
    }

    fn flush_job(&mut self, now: Now, into: &mut Vec<StoreJob>) {
        if self.work.flushing || self.log.written() == self.log.flushed() {
            return;
        }
        let due = match self.options.flush {
            Flush::Sync => true,
            Flush::Async => {
                self.stopping
                    || self.work.last_flush.is_none_or(|last| now.mono >= last + self.options.flush_interval)
            }
        };
        if !due {
            return;
        }
        match self.log.unflushed() {
            Ok(what) => {
                self.work.flushing = true;
                into.push(StoreJob(Work::Flush { disk: Arc::clone(&self.disk), what }));
            }
            Err(why) => {
                self.poison("opening a log file to flush it", &why);
            }
        }
    }

    fn flushed_done(&mut self, now: Now, result: io::Result<LogOffset>) {
        self.work.flushing = false;
        self.work.last_flush = Some(now.mono);
        match result {
            Ok(upto) => {
                self.log.set_flushed(upto);
                self.show();
            }
            Err(why) => {
                self.poison("flushing the log", &why);
            }
        }
    }

    fn behind_job(&mut self, now: Now, into: &mut Vec<StoreJob>) {
        if self.work.queues_busy || self.queues.pending() == 0 {
            return;
        }
        let due = self.stopping
            || self.queues.pending() >= BEHIND_SOON
            || self.work.last_behind.is_none_or(|last| now.mono >= last + self.options.behind_interval);
        let writes = if due { self.queues.collect(self.log.flushed()) } else { Vec::new() };
        if writes.is_empty() {
            return;
        }
        self.work.queues_busy = true;
        let behind = Behind { files: Arc::clone(&self.files), writes, covers: self.log.flushed() };
        into.push(StoreJob(Work::Behind(behind)));
    }

    fn behind_done(&mut self, now: Now, behind: Behind, result: io::Result<()>) {
        self.work.queues_busy = false;
        self.work.last_behind = Some(now.mono);
        match result {
            Ok(()) => {
                self.queues.on_written(&behind.writes);
                self.work.covered = behind.covers;
            }
            // Queues are derived from the log, so nothing is lost and the same write may be tried again.
            Err(why) if is_no_room(&why) => {
                let path = self.files.dir().clone();
                self.no_room = Some(Refusal::NoRoom { path, why: why.to_string().into() });
            }
            Err(why) => {
                self.poison("writing consume queues", &why);
            }
        }
    }

    fn spare_job(&mut self, into: &mut Vec<StoreJob>) {
        if self.work.spare_busy || self.stopping {
            return;
        }
        if let Some(base) = self.log.wants_spare() {
            self.work.spare_busy = true;
            let (disk, dir) = (Arc::clone(&self.disk), self.log.dir().clone());
            into.push(StoreJob(Work::Spare { disk, dir, base, segment_bytes: self.log.segment_bytes() }));
        }
    }
}
