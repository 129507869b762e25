//! Which calls fail, and how.

use std::{collections::BTreeMap, io, path::Path};

/// A kind of call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Call {
    /// `Disk::open`.
    Open,
    /// `Disk::create_dir_all`.
    CreateDir,
    /// `Disk::list`.
    List,
    /// `Disk::rename`.
    Rename,
    /// `Disk::remove` and `Disk::remove_dir`.
    Remove,
    /// `Disk::sync_dir`.
    SyncDir,
    /// `File::read_at`.
    Read,
    /// `File::write_at`.
    Write,
    /// `File::sync`.
    Sync,
    /// `File::set_len`.
    SetLen,
    /// `File::allocate`.
    Allocate,
}

/// What happens to a call. What makes no sense for a call is an [`Harm::Eio`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Harm {
    /// An I/O error. A write leaves nothing; a sync marks the pages clean although they are lost.
    Eio,
    /// No space left.
    Enospc,
    /// Too many files are open.
    Emfile,
    /// The two names lie on different disks.
    Exdev,
    /// A write stores so many bytes, then fails.
    Short(usize),
    /// A write stores at most so many bytes, up to the border of a sector, then fails: no process ends in the middle of
    /// one, since systems copy whole pages.
    Torn(usize),
    /// A write is acknowledged and lands so many bytes from where it should.
    Misdirected(i64),
    /// A write is acknowledged and never happens.
    Lost,
    /// A read gives, or a write stores, this bit of its buffer wrong.
    Flipped(u64),
}

/// A fault to come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Calls of this kind,
    pub call: Call,
    /// on paths that contain this (all, if empty),
    pub path: String,
    /// are counted from the moment of planning, and from this one on, 1 being the first,
    pub nth: u64,
    /// so many in a row
    pub times: u64,
    /// are harmed so.
    pub harm: Harm,
}

impl Fault {
    /// The `nth` call of a kind fails once, on any path.
    pub fn once(call: Call, nth: u64, harm: Harm) -> Fault {
        Fault { call, path: String::new(), nth, times: 1, harm }
    }
}

/// Faults planned, and calls counted.
#[derive(Debug, Clone, Default)]
pub(super) struct Faults {
    planned: Vec<(Fault, u64)>,
    calls: BTreeMap<Call, u64>,
    /// Calls that were harmed.
    pub(super) harmed: u64,
    /// Bytes that writes may still store before the disk is full.
    pub(super) budget: Option<u64>,
}

impl Faults {
    pub(super) fn plan(&mut self, fault: Fault) {
        self.planned.push((fault, 0));
    }

    pub(super) fn clear(&mut self) {
        self.planned.clear();
        self.budget = None;
    }

    pub(super) fn calls(&self, call: Call) -> u64 {
        self.calls.get(&call).copied().unwrap_or(0)
    }

    /// Counts a call and tells what happens to it.
    pub(super) fn meet(&mut self, call: Call, path: &Path) -> Option<Harm> {
        *self.calls.entry(call).or_default() += 1;
        let mut harm = None;
        for (fault, seen) in &mut self.planned {
            if fault.call == call && path.to_string_lossy().contains(&fault.path) {
                *seen += 1;
                if *seen >= fault.nth && *seen - fault.nth < fault.times {
                    harm = harm.or(Some(fault.harm));
                }
            }
        }
        self.harmed += u64::from(harm.is_some());
        harm
    }

    /// As [`Faults::meet`] for calls that either work or fail.
    pub(super) fn pass(&mut self, call: Call, path: &Path) -> io::Result<()> {
        match self.meet(call, path) {
            None => Ok(()),
            Some(Harm::Enospc) => Err(no_space()),
            Some(Harm::Emfile) => Err(io::Error::from_raw_os_error(24)),
            Some(Harm::Exdev) => Err(io::Error::from_raw_os_error(18)),
            Some(_) => Err(broken()),
        }
    }
}

/// EIO as Linux numbers it.
pub(super) fn broken() -> io::Error {
    io::Error::from_raw_os_error(5)
}

/// ENOSPC as Linux numbers it; of kind `StorageFull`.
pub(super) fn no_space() -> io::Error {
    io::Error::from_raw_os_error(28)
}
