//! The write-behind of queues: when it is due, how much of it one job does, and how a stop gives it up.

use super::Store;
use crate::{
    checkpoint::Progress,
    index::Index,
    job::{Behind, Leave, Work},
    log::is_no_room,
    queue::files::Touched,
    types::Now,
};
use kerolox_protocol::Millis;
use std::{io, sync::Arc};

/// Entries that wait for the write-behind, after which it is started before its time.
const BEHIND_SOON: usize = 64 << 10;
/// The same, of however many queues: 24 MB.
const BEHIND_SOON_MAX: usize = 1 << 20;
/// Between two lines that tell how far a stop is.
const STOP_LINE: Millis = Millis(1_000);
/// Entries from which on a write-behind of so many queues is worth it before its time: a file costs the same for
/// one entry as for many.
fn soon(queues: usize) -> usize {
    queues.saturating_mul(16).clamp(BEHIND_SOON, BEHIND_SOON_MAX)
}

/// The pause between two write-behinds grows with the number of queues, for the same reason; up to ten times.
pub(super) fn pause(interval: Millis, queues: usize) -> Millis {
    Millis(interval.0.saturating_mul((queues / 1_000).clamp(1, 10) as i64))
}

impl Store {
    pub(super) fn behind_job(&mut self, now: Now) -> Option<Work> {
        let waits = self.queues.pending();
        let last = self.agenda.last_behind;
        let queues = self.queues.waiting();
        let uncovered = self.agenda.flushed.upto.0.saturating_sub(self.agenda.covered.upto.0);
        let due = self.stopping
            || self.agenda.hurry
            || waits >= soon(queues)
            || uncovered >= self.options.checkpoint_bytes.saturating_mul(2)
            || last.is_none_or(|last| now.mono >= last + pause(self.options.behind_interval, queues));
        if !due {
            return None;
        }
        let mut covers = self.agenda.flushed;
        if mutant!(QueuesPastConfirm) {
            covers.upto = self.log.written();
        }
        let (writes, more) = match waits {
            0 => (Vec::new(), false),
            _ => self.queues.collect(covers.upto, self.options.new_files_max),
        };
        if writes.is_empty() {
            // Nothing of the flushed part is missing in the files. What is not flushed yet can wait for the
            // next look: asking for a timer that is always due would spin.
            self.agenda.covered = covers;
            (self.agenda.partial, self.agenda.hurry) = (false, false);
            self.agenda.last_behind = Some(now.mono);
            return None;
        }
        self.agenda.partial |= more;
        let covers = (!more).then_some(covers);
        Some(Work::Behind(Behind { files: Arc::clone(&self.files), writes, covers }))
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
        self.agenda.last_behind = Some(now.mono);
        self.agenda.hurry = false;
        // Also of a failed write: some of it may be in the files.
        self.agenda.dirty.0.extend(touched.files);
        self.agenda.dirty.1.extend(touched.dirs);
        match result {
            Ok(()) => {
                self.queues.on_written(&behind.writes);
                self.agenda.covered = behind.covers.unwrap_or(self.agenda.covered);
                self.agenda.partial = behind.covers.is_none();
                self.agenda.hurry = self.agenda.partial;
            }
            // Queues are derived from the log, so nothing is lost and the same write may be tried again; but not
            // for ever by a store that stops: the next start makes up for it.
            Err(why) if is_no_room(&why) && !self.stopping => {
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
        for (queues, entries, ms) in [
            (1, 65_536, 1_000),
            (1_999, 65_536, 1_000),
            (5_000, 80_000, 5_000),
            (50_000, 800_000, 10_000),
            (1_000_000, 1_048_576, 10_000),
        ] {
            assert_eq!((soon(queues), pause(Millis(1_000), queues).0), (entries, ms), "{queues} queues");
        }
    }
}
