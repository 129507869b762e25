//! The write-behind of queues: when it is due, how much of it one job does, and how a stop gives it up.

use super::Store;
use crate::{
    checkpoint::Progress,
    index::Index,
    job::{Behind, Leave, Work},
    log::is_no_room,
    queue::{Share, files::Touched},
    types::{Flushed, Now},
};
use kerolox_protocol::Millis;
use std::{io, sync::Arc};

/// Entries that wait for the write-behind, after which it is started before its time.
const BEHIND_SOON: usize = 64 << 10;
/// The same, of however many queues: 36 MB.
const BEHIND_SOON_MAX: usize = 3 << 19;
/// Between two lines that tell how far a stop is.
const STOP_LINE: Millis = Millis(1_000);
/// Entries from which on a write-behind of so many queues is worth it before its time: a file costs the same for
/// one entry as for many.
fn soon(queues: usize) -> usize {
    queues.saturating_mul(32).clamp(BEHIND_SOON, BEHIND_SOON_MAX)
}

/// The pause between two write-behinds grows with the number of queues, for the same reason; up to ten times.
pub(super) fn pause(interval: Millis, queues: usize) -> Millis {
    Millis(interval.0.saturating_mul((queues / 1_000).clamp(1, 10) as i64))
}

/// Bytes of log that may wait for the write-behind of so many queues: a start after a kill reads them again, about a
/// gigabyte in half a second.
fn uncovered_max(checkpoint_bytes: u64, queues: usize) -> u64 {
    checkpoint_bytes.saturating_mul(2 * (queues as u64 / 10_000).clamp(1, 4))
}

impl Store {
    pub(super) fn behind_job(&mut self, now: Now) -> Option<Work> {
        if let Some(pass) = self.agenda.pass {
            let work = self.next_of_pass(now, pass);
            if work.is_some() {
                return work;
            }
        }
        if !self.is_behind_due(now) {
            return None;
        }
        let pass = self.begin_pass();
        self.next_of_pass(now, pass)
    }

    /// The next job of a pass; none ends it.
    fn next_of_pass(&mut self, now: Now, pass: Flushed) -> Option<Work> {
        let options = &self.options;
        let share = Share {
            queues: options.write_queues_max,
            new_files: options.new_files_max,
            entries: options.write_entries_max,
        };
        let makes_files = self.queues.makes_files();
        let writes = self.queues.next_writes(pass.upto, share);
        if writes.is_empty() {
            // Nothing of the flushed part is missing in the files. What is not flushed yet can wait for the next
            // look: asking for a timer that is always due would spin.
            self.agenda.covered = pass;
            (self.agenda.pass, self.agenda.partial) = (None, false);
            self.agenda.last_behind = Some(now.mono);
            return None;
        }
        self.agenda.partial = true;
        Some(Work::Behind(Behind { files: Arc::clone(&self.files), writes, below: pass.upto, makes_files }))
    }

    fn is_behind_due(&self, now: Now) -> bool {
        let last = self.agenda.last_behind;
        let queues = self.queues.waiting();
        let uncovered = self.agenda.flushed.upto.0.saturating_sub(self.agenda.covered.upto.0);
        self.stopping
            || self.queues.pending() >= soon(queues)
            || uncovered >= uncovered_max(self.options.checkpoint_bytes, queues)
            || last.is_none_or(|last| now.mono >= last + pause(self.options.behind_interval, queues))
    }

    fn begin_pass(&mut self) -> Flushed {
        let mut covers = self.agenda.flushed;
        if mutant!(QueuesPastConfirm) {
            covers.upto = self.log.written();
        }
        self.queues.begin_pass();
        self.agenda.pass = Some(covers);
        covers
    }

    /// Whether a stopping store must leave to the next start what is not in queue files.
    pub(super) fn has_no_time(&mut self, now: Now) -> bool {
        if !self.stopping {
            return false;
        }
        let (since, said) = *self.agenda.stopping.get_or_insert((now.mono, now.mono));
        let queues = self.queues.new_files_waiting();
        if now.mono >= said + STOP_LINE && queues > 0 {
            self.agenda.stopping = Some((since, now.mono));
            tracing::info!(queues, "stopping: queues still wait for their files");
        }
        // A few files more cost less than reading the log again.
        now.mono >= since + self.options.stop_time && queues > self.options.new_files_max
    }

    /// The last job of a stop that has no time for all queues: once the log is durable, all of them can be read
    /// from it, by the next start or by a 4.9 broker, which take the last stop for a crash.
    pub(super) fn leave_job(&mut self) -> Option<Work> {
        let index_done = self
            .index
            .as_ref()
            .is_none_or(|index| index.failed().is_some() || index.pending() == 0 && !index.is_busy());
        let agenda = &self.agenda;
        let idle =
            !(agenda.flushing || agenda.spare_busy || agenda.reserving || agenda.zeroing || agenda.probing);
        if self.log.flushed() != self.log.end() || !idle || !index_done {
            return None;
        }
        let queues = self.queues.new_files_waiting();
        let bytes = self.log.end().0 - self.agenda.checkpoint_covers.0;
        tracing::warn!(
            queues,
            bytes,
            "stopping without files for new queues: the next start reads this much log again"
        );
        let progress = Progress {
            boot_id: self.disk.boot_id(),
            flushed: self.log.flushed(),
            queues_written: self.agenda.checkpoint_covers,
            queues_synced: self.agenda.checkpoint_covers,
            index_synced: self.index.as_ref().and_then(Index::synced),
            index_written: self.index.as_ref().and_then(Index::written),
            ..Progress::default()
        };
        let (disk, paths) = (Arc::clone(&self.disk), self.options.paths.clone());
        Some(Work::Leave(Box::new(Leave { disk, paths, progress, spare: self.log.take_spare() })))
    }

    pub(super) fn behind_done(&mut self, now: Now, behind: Behind, touched: Touched, result: io::Result<()>) {
        self.agenda.queues_busy = false;
        // Also of a failed write: some of it may be in the files.
        self.agenda.dirty.extend(touched);
        match result {
            Ok(()) => {
                self.queues.on_written(&behind.writes, behind.below);
                // Where files are made for very many queues, those that have theirs are not held up by it.
                let many_wait = self.queues.pending() > self.options.pending_max / 2;
                if behind.makes_files && many_wait && self.queues.makes_files() {
                    self.begin_pass();
                }
            }
            // Queues are derived from the log, so nothing is lost and the same write may be tried again; but not
            // for ever by a store that stops: the next start makes up for it.
            Err(why) if is_no_room(&why) && !self.stopping => {
                self.queues.put_back(&behind.writes);
                self.agenda.pass = None;
                self.agenda.last_behind = Some(now.mono);
                self.refuse_for_room(self.files.dir().clone(), &why);
            }
            Err(why) => {
                self.poison("writing consume queues", &why);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_queues_are_written_to_less_often_but_not_seldom() {
        for (queues, entries, ms, mib) in [
            (1, 65_536, 1_000, 512),
            (1_999, 65_536, 1_000, 512),
            (5_000, 160_000, 5_000, 512),
            (20_000, 640_000, 10_000, 1_024),
            (50_000, 1_572_864, 10_000, 2_048),
            (1_000_000, 1_572_864, 10_000, 2_048),
        ] {
            let found = (soon(queues), pause(Millis(1_000), queues).0, uncovered_max(256, queues));
            assert_eq!(found, (entries, ms, mib), "{queues} queues");
        }
    }
}
