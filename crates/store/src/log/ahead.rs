//! Writing zeros into the log ahead of its end.
//!
//! A sync into blocks that were written before is about three times as fast as into blocks that were only
//! reserved, since the file system need not note that they are in use now. Old files are not renamed for
//! reuse instead: a 4.9 broker does not compare positions and would take their records for new ones.
//!
//! The zeros are written by a job while the log goes on. Neither may touch the other's bytes, so both pass a
//! gate: the log claims what it is about to write, the job leaves claimed bytes alone.

use crate::disk::File;
use std::{
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// Written and synced at once. A flush that comes in between has at most so much more to do.
const STEP: u64 = 1 << 20;
/// Alignment of the first byte: a block that holds records is left alone.
pub(super) const BLOCK: u64 = 4096;
/// Zeros ahead of the end that are aimed at, and the amount below which more are made.
pub(super) const ENOUGH: u64 = 96 << 20;
pub(super) const FEW: u64 = 64 << 20;
/// Made by one job.
pub(super) const JOB: u64 = 16 << 20;

/// Position in the log below which bytes belong to the log. Held while zeros are written.
#[derive(Debug, Default)]
pub(crate) struct Gate(Mutex<u64>);

impl Gate {
    /// The log is about to write up to here. Waits while zeros are being written.
    pub(super) fn claim(&self, upto: u64) {
        let mut claimed = self.lock();
        *claimed = upto.max(*claimed);
    }

    fn lock(&self) -> MutexGuard<'_, u64> {
        // A single number is never half changed.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A part of a log file to be filled with zeros.
#[derive(Debug)]
pub(crate) struct Zero {
    pub(super) file: Arc<dyn File>,
    /// Log position of the file's first byte.
    pub(super) base: u64,
    pub(super) from: u64,
    pub(super) to: u64,
    pub(super) gate: Arc<Gate>,
}

impl Zero {
    /// Fills and syncs; gives the position up to which that was done.
    pub(crate) fn run(&self) -> io::Result<u64> {
        let zeros = vec![0; STEP as usize];
        let mut at = self.from;
        while at < self.to {
            let end = (at + STEP).min(self.to);
            {
                let claimed = self.gate.lock();
                let from = at.max(claimed.next_multiple_of(BLOCK)).min(end);
                let zeros = zeros.get(..(end - from) as usize).unwrap_or(&[]);
                if !zeros.is_empty() {
                    self.file.write_at(zeros, from - self.base)?;
                }
            }
            self.file.sync()?;
            at = end;
        }
        Ok(self.to)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::{Disk, Open, memory::MemDisk};
    use std::path::Path;

    #[test]
    fn claimed_bytes_are_left_alone() {
        let disk = MemDisk::new();
        let file = disk.open(Path::new("log"), Open::Create).unwrap();
        file.set_len(64 << 10).unwrap();
        file.write_at(&[7; 64 << 10], 0).unwrap();
        let gate = Arc::new(Gate::default());
        gate.claim((1 << 20) + 9_000);
        let zero = Zero { file, base: 1 << 20, from: 1 << 20, to: (1 << 20) + (32 << 10), gate };
        assert_eq!(zero.run().unwrap(), (1 << 20) + (32 << 10));
        let bytes = disk.bytes(Path::new("log")).unwrap();
        let kept = bytes.iter().take_while(|b| **b == 7).count();
        assert_eq!(kept, 12_288, "up to the block's border behind the claim");
        assert_eq!(bytes.iter().filter(|b| **b == 0).count(), (32 << 10) - 12_288);
    }
}
