//! Room in the log ahead of its end: blocks that are reserved, and blocks that are filled with zeros.
//!
//! **Reserved**, so that no append finds the disk full after it was accepted. The log reserves in steps what it
//! needs; a file that proves busy is reserved whole by a job, since a reservation can wait for the file
//! system's journal, and a log that waits answers nobody.
//!
//! **Zeros**, where flushes are waited for: a sync into blocks that were written before is about three times
//! as fast as into blocks that were only reserved, since the file system need not note that they are in use
//! now. They are written past the page cache where that is possible, and mostly into the file after the last,
//! so that no flush has to carry them. There they keep step with the log: what is written at full speed makes
//! flushes wait that somebody waits for. Old files are not renamed for reuse instead: a 4.9 broker does not compare
//! positions and would take their records for new ones.
//!
//! The zeros are written by a job while the log goes on. Neither may touch the other's bytes, so both pass a
//! gate: the log claims what it is about to write, the job leaves claimed bytes alone.

use crate::disk::File;
use std::{
    io,
    ops::Range,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
};

/// Written at once; so long the log waits at most for zeros in its way, and a flush for the disk.
const STEP: u64 = 256 << 10;
/// Alignment of the first byte: a block that holds records is left alone.
pub(super) const BLOCK: u64 = 4096;
/// Zeros ahead of the end that are aimed at where room is scarce.
pub(super) const SCARCE: u64 = 96 << 20;
/// Made by one job, so that others get their turn.
pub(super) const JOB: u64 = 16 << 20;
/// A file with so many bytes in it is busy, or with one in so many of its own.
pub(super) const BUSY_BYTES: u64 = 32 << 20;
pub(super) const BUSY_SHARE: u64 = 32;
/// Files that must have room on the disk before one is taken whole.
pub(super) const AMPLE_FILES: u64 = 4;

/// Up to where there are to be zeros, for a log that has written `used` bytes into its last file, which begins at
/// `base` and holds `size`. The rest of that file is filled at once, since log and zeros hold each other up there;
/// the file after it, which is made when a quarter of this one is used, keeps step with what is written. At the
/// border of a block, since the page cache can be passed from there only.
pub(super) fn goal(base: u64, used: u64, size: u64, ample: bool) -> u64 {
    let goal = if ample { base + size + used.saturating_sub(size / 4) / 2 * 3 } else { base + used + SCARCE };
    goal / BLOCK * BLOCK
}

/// Between the log and the job that writes zeros.
#[derive(Debug, Default)]
pub(crate) struct Gate {
    state: Mutex<Passing>,
    free: Condvar,
}

#[derive(Debug, Default)]
struct Passing {
    /// Position in the log below which bytes belong to the log.
    claimed: u64,
    /// Being filled with zeros now.
    zeroing: Range<u64>,
}

impl Gate {
    /// The log is about to write up to here. Waits while zeros are being written below.
    pub(super) fn claim(&self, upto: u64) {
        let mut state = self.lock();
        state.claimed = upto.max(state.claimed);
        while !state.zeroing.is_empty() && state.zeroing.start < upto {
            state = self.free.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// The part of `range` that the log has not claimed; it belongs to the caller until [`Gate::leave`].
    fn enter(&self, range: Range<u64>) -> Range<u64> {
        let mut state = self.lock();
        let claimed = if mutant!(ZerosOverRecords) { 0 } else { state.claimed };
        let from = range.start.max(claimed.next_multiple_of(BLOCK)).min(range.end);
        state.zeroing = from..range.end;
        from..range.end
    }

    fn leave(&self) {
        self.lock().zeroing = 0..0;
        self.free.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, Passing> {
        // Every change is one assignment, so no half of one is ever left.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
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
        let mut at = self.from;
        while at < self.to {
            let end = (at + STEP).min(self.to);
            let part = self.gate.enter(at..end);
            let wrote = self.file.write_zeros(part.start - self.base, part.end - part.start);
            self.gate.leave();
            wrote?;
            at = end;
        }
        self.file.sync()?;
        Ok(self.to)
    }
}

/// The rest of a log file, to be reserved.
#[derive(Debug)]
pub(crate) struct Reserve {
    pub(super) file: Arc<dyn File>,
    pub(super) base: u64,
    pub(super) from: u64,
    pub(super) to: u64,
}

/// What came of a [`Reserve`].
#[derive(Debug)]
pub(crate) struct Reserved {
    /// Log position of the file's first byte.
    pub(crate) base: u64,
    /// Bytes from there that are reserved now.
    pub(crate) upto: u64,
}

impl Reserve {
    /// Reserves, unless there is no room: then the append that needs it will refuse, and say why.
    pub(crate) fn run(&self) -> io::Result<Reserved> {
        let upto = match self.file.allocate(self.from, self.to - self.from) {
            Err(why) if super::is_no_room(&why) => self.from,
            done => done.map(|()| self.to)?,
        };
        Ok(Reserved { base: self.base, upto })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::{Disk, Open, memory::MemDisk};
    use std::path::Path;

    #[test]
    fn the_file_after_the_last_is_full_of_zeros_before_it_is_needed_and_not_long_before() {
        const MIB: u64 = 1 << 20;
        let (base, size) = (5 << 30, 1 << 30);
        assert_eq!(goal(base, 0, size, true), base + size, "nothing is written yet");
        assert_eq!(goal(base, size / 4 + 100 * MIB, size, true), base + size + 150 * MIB);
        assert!(goal(base, size - 80 * MIB, size, true) >= base + 2 * size, "the file after it, whole");
        assert_eq!(
            goal(base, 100 * MIB, size, false),
            base + 196 * MIB,
            "no more than needed of scarce room"
        );
        for ample in [false, true] {
            assert_eq!(goal(base, 5000, 3 * BLOCK, ample) % BLOCK, 0, "zeros go on from there");
        }
    }

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

    #[test]
    #[expect(clippy::disallowed_methods, reason = "two threads meet here, as the loop and its lane do")]
    fn a_claim_waits_only_for_zeros_in_its_way() {
        let gate = Gate::default();
        assert_eq!(gate.enter(8192..65_536), 8192..65_536);
        // Below: at once, or this test would never end.
        gate.claim(8192);
        let (claimed, heard) = std::sync::mpsc::channel();
        std::thread::scope(|scope| {
            let gate = &gate;
            scope.spawn(move || {
                gate.claim(9000);
                claimed.send(()).unwrap();
            });
            while gate.lock().claimed < 9000 {
                std::thread::yield_now();
            }
            assert!(heard.try_recv().is_err(), "zeros may still be written over it");
            gate.leave();
            heard.recv().unwrap();
        });
        assert_eq!(gate.enter(8192..65_536), 12_288..65_536);
    }
}
