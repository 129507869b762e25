//! Checkpoints: when one is due, what it remembers, and what follows from it.

use super::Store;
use crate::{
    checkpoint::{Checkpoint, Progress},
    ends::Ends,
    index::Index,
    job::{Snapshot, Work},
    log::is_no_room,
    smallfile::Digest,
    types::Now,
};
use std::{io, sync::Arc};

impl Store {
    pub(super) fn checkpoint_job(&mut self, now: Now) -> Option<Work> {
        let agenda = &self.agenda;
        if agenda.waiting.is_some() || agenda.partial {
            return None;
        }
        let last = agenda.last_checkpoint;
        let grown = agenda.covered.upto.0.saturating_sub(agenda.checkpoint_covers.0);
        let waited = last.is_none_or(|last| now.mono >= last + self.options.checkpoint_interval);
        let all_done = self.queues.pending() == 0 && self.log.flushed() == self.log.end() && !agenda.flushing;
        let ahead = agenda.spare_busy || agenda.reserving || agenda.zeroing;
        let idle = !ahead && !agenda.probing && !agenda.trash.is_busy();
        // What was deleted while stopping is gone from the queues as well: a start after a clean stop looks at none.
        let stop = self.stopping && all_done && idle && agenda.clean_next.is_none();
        let due =
            stop || agenda.checkpoint_soon || grown >= self.options.checkpoint_bytes || grown > 0 && waited;
        if !due || self.stopping && !stop {
            return None;
        }
        self.agenda.checkpoint_soon = false;
        // Keys of all records that the queues cover are in the index's memory at least; they must be on the
        // disk before this is remembered.
        let snapshot = Box::new(self.snapshot(stop));
        self.agenda.waiting = Some(snapshot);
        self.waiting_job()
    }

    /// The checkpoint that waits for the index, if the index is ready for it.
    pub(super) fn waiting_job(&mut self) -> Option<Work> {
        let mut snapshot =
            self.agenda.waiting.take_if(|snapshot| match (&self.index, snapshot.index_need) {
                // Should the index have failed, the next start reads from the log what it lacks.
                (Some(index), Some(need)) => {
                    index.failed().is_some() || index.synced().is_some_and(|mark| mark.covers(&need))
                }
                _ => true,
            })?;
        // Of an index that failed nothing is certain: its last job may have ended half done.
        match &self.index {
            Some(index) if index.failed().is_none() => {
                snapshot.progress.index_synced = index.synced();
                snapshot.progress.index_written = index.written();
            }
            Some(_) => snapshot.expect_all_keys(),
            None => {}
        }
        Some(Work::Checkpoint(snapshot))
    }

    /// The state that queue files hold now.
    pub(in crate::store) fn snapshot(&mut self, stop: bool) -> Snapshot {
        let mut covers = self.agenda.covered;
        if mutant!(CheckpointAhead) {
            covers.upto = self.log.flushed();
        }
        let mut checkpoint = Checkpoint::default();
        checkpoint.set_physic(covers.ms);
        checkpoint.set_logics(covers.ms);
        checkpoint.set_index(covers.ms);
        let ends = Ends {
            clean: stop,
            covers: covers.upto,
            last_ms: covers.ms,
            checkpoints: [self.agenda.digest, Digest::of(checkpoint.bytes())],
            segment_bytes: self.options.segment_bytes,
            queue_file_bytes: self.files.file_bytes,
            index_covers: self.index.as_ref().and_then(Index::covered),
            damaged: self.damaged.clone(),
            topics: self.queues.ends(),
        };
        let progress = Progress {
            boot_id: self.disk.boot_id(),
            flushed: self.log.flushed(),
            queues_written: covers.upto,
            queues_synced: covers.upto,
            ..Progress::default()
        };
        Snapshot {
            disk: Arc::clone(&self.disk),
            paths: self.options.paths.clone(),
            files: Arc::clone(&self.files),
            dirty: std::mem::take(&mut self.agenda.dirty),
            ends,
            progress,
            checkpoint,
            index_need: self.index.as_ref().and_then(Index::newest),
            last: stop.then(|| self.log.take_spare()),
        }
    }

    pub(super) fn checkpoint_done(&mut self, now: Now, snapshot: Snapshot, result: io::Result<()>) {
        self.agenda.queues_busy = false;
        self.agenda.last_checkpoint = Some(now.mono);
        match result {
            Ok(()) => {
                self.agenda.digest = snapshot.digest();
                self.agenda.checkpoint_covers = snapshot.ends.covers;
                self.agenda.stopped |= snapshot.last.is_some();
            }
            Err(why) if is_no_room(&why) && !self.stopping => {
                self.agenda.dirty.extend(snapshot.dirty);
                self.refuse_for_room(self.options.paths.root.clone(), &why);
            }
            Err(why) => {
                self.poison("making a checkpoint", &why);
            }
        }
    }
}
