//! What goes wrong on a disk, on command.
//!
//! Owns the rules that say which operation on which file fails, waits or reads wrong, and how much room there is.
//! Knows no file system.

use rustix::io::Errno;
use std::{
    ops::Range,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

/// An operation on a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Op {
    /// Reading.
    Read,
    /// Writing, also the making of room ahead.
    Write,
    /// Making durable.
    Sync,
    /// Making, renaming and removing of names.
    Name,
}

/// What becomes of an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// It fails, and nothing is done.
    Fail(Errno),
    /// It is done after this time.
    Delay(Duration),
    /// One bit of what is read or written is the other one: of this byte, counted from the operation's start.
    Flip(usize),
}

#[derive(Debug)]
struct Rule {
    op: Op,
    part: String,
    fault: Fault,
    left: u64,
}

#[derive(Debug, Default)]
struct Inner {
    rules: Vec<Rule>,
    /// Bytes by which files may still grow; `None` for any number.
    room: Option<u64>,
    met: u64,
    /// Parts of files that cannot be read, by inode number of what is behind.
    bad: Vec<(u64, Range<u64>)>,
}

/// The faults of one disk.
#[derive(Debug, Default)]
pub struct Faults {
    inner: Mutex<Inner>,
}

impl Faults {
    /// From now on this happens to so many operations of a kind on files whose path has `part` in it.
    pub fn plan(&self, op: Op, part: &str, fault: Fault, times: u64) {
        self.lock().rules.push(Rule { op, part: part.to_owned(), fault, left: times });
    }

    /// From now on no byte of this part of a file can be read, as of bad sectors, until it is written. The file is
    /// named by the inode number that it has below.
    pub fn spoil(&self, inode: u64, part: Range<u64>) {
        self.lock().bad.push((inode, part));
    }

    /// Whether a part of a file can be read.
    pub(crate) fn may_read(&self, inode: u64, part: &Range<u64>) -> Result<(), Errno> {
        let mut inner = self.lock();
        let is_hit =
            |(of, bad): &(u64, Range<u64>)| *of == inode && bad.start < part.end && part.start < bad.end;
        if !inner.bad.iter().any(is_hit) {
            return Ok(());
        }
        inner.met += 1;
        Err(Errno::IO)
    }

    /// A part of a file was written: a device takes other sectors for it.
    pub(crate) fn written(&self, inode: u64, part: &Range<u64>) {
        let is_covered =
            |(of, bad): &(u64, Range<u64>)| *of == inode && part.start <= bad.start && bad.end <= part.end;
        self.lock().bad.retain(|bad| !is_covered(bad));
    }

    /// Nothing goes wrong any more, and there is room.
    pub fn heal(&self) {
        let mut inner = self.lock();
        inner.rules.clear();
        inner.bad.clear();
        inner.room = None;
    }

    /// Bytes by which files may still grow from now on; `None` for any number.
    pub fn set_room(&self, bytes: Option<u64>) {
        self.lock().room = bytes;
    }

    /// Room that is left, if it is limited.
    pub fn room(&self) -> Option<u64> {
        self.lock().room
    }

    /// Operations so far to which something happened.
    pub fn met(&self) -> u64 {
        self.lock().met
    }

    /// What happens to this operation.
    pub(crate) fn meet(&self, op: Op, path: &str) -> Option<Fault> {
        let mut inner = self.lock();
        let rule = inner
            .rules
            .iter_mut()
            .find(|rule| rule.op == op && rule.left > 0 && path.contains(&rule.part))?;
        rule.left -= 1;
        let fault = rule.fault;
        inner.met += 1;
        Some(fault)
    }

    /// Takes room for growth; all or nothing.
    pub(crate) fn take_room(&self, bytes: u64) -> Result<(), Errno> {
        let mut inner = self.lock();
        match &mut inner.room {
            Some(room) if *room < bytes => {
                inner.met += 1;
                Err(Errno::NOSPC)
            }
            Some(room) => {
                *room -= bytes;
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_meets_its_operations_and_no_other() {
        let faults = Faults::default();
        faults.plan(Op::Sync, "commitlog", Fault::Fail(Errno::IO), 2);
        assert_eq!(faults.meet(Op::Write, "/commitlog/0"), None);
        assert_eq!(faults.meet(Op::Sync, "/index/0"), None);
        for _ in 0..2 {
            assert_eq!(faults.meet(Op::Sync, "/commitlog/0"), Some(Fault::Fail(Errno::IO)));
        }
        assert_eq!((faults.meet(Op::Sync, "/commitlog/0"), faults.met()), (None, 2));
        faults.set_room(Some(10));
        assert_eq!(
            (faults.take_room(11), faults.take_room(10), faults.take_room(1)),
            (Err(Errno::NOSPC), Ok(()), Err(Errno::NOSPC))
        );
        faults.spoil(7, 512..1_024);
        faults.written(7, &(0..600));
        assert_eq!(faults.may_read(7, &(0..600)), Err(Errno::IO));
        assert_eq!((faults.may_read(7, &(0..512)), faults.may_read(8, &(0..600))), (Ok(()), Ok(())));
        faults.written(7, &(512..1_024));
        assert_eq!(faults.may_read(7, &(0..600)), Ok(()));
        faults.heal();
        assert_eq!(faults.take_room(1 << 40), Ok(()));
    }
}
