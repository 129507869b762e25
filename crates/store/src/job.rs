//! Blocking work of the store: what a job carries, and what it does.
//!
//! A job owns all it needs and can run on any thread. It decides nothing: its outcome goes back to
//! [`crate::Store::done`].

use crate::{
    disk::Disk,
    log::{Segment, Unflushed},
    queue::{
        QueueWrite,
        files::{Files, Touched},
    },
};
use kerolox_protocol::LogOffset;
use std::{io, path::PathBuf, sync::Arc};

/// Work that may block on the disk; to be run away from whoever owns the store.
#[derive(Debug)]
pub struct StoreJob(pub(crate) Work);

/// What a job found out; to be given to [`crate::Store::done`].
#[derive(Debug)]
pub struct StoreDone(pub(crate) Outcome);

#[derive(Debug)]
pub(crate) enum Work {
    Flush { disk: Arc<dyn Disk>, what: Unflushed },
    Behind(Behind),
    Spare { disk: Arc<dyn Disk>, dir: PathBuf, base: u64, segment_bytes: u64 },
}

#[derive(Debug)]
pub(crate) enum Outcome {
    Flushed(Result<LogOffset, io::Error>),
    Behind { behind: Behind, touched: Touched, result: io::Result<()> },
    Spare(Result<Segment, (PathBuf, io::Error)>),
}

/// Queue entries on their way to their files.
#[derive(Debug)]
pub(crate) struct Behind {
    pub(crate) files: Arc<Files>,
    pub(crate) writes: Vec<QueueWrite>,
    /// Behind the last record whose entries are all among these or were written before.
    pub(crate) covers: LogOffset,
}

impl StoreJob {
    /// Whether somebody waits for it: it must not stand behind other jobs.
    pub fn is_flush(&self) -> bool {
        matches!(self.0, Work::Flush { .. })
    }

    /// Does the work. Blocks on the disk.
    pub fn run(self) -> StoreDone {
        StoreDone(match self.0 {
            Work::Flush { disk, what } => Outcome::Flushed(flush(&*disk, &what)),
            Work::Behind(behind) => {
                let mut touched = Touched::default();
                let result = behind.run(&mut touched);
                Outcome::Behind { behind, touched, result }
            }
            Work::Spare { disk, dir, base, segment_bytes } => {
                Outcome::Spare(crate::log::create_segment(&*disk, &dir, base, segment_bytes))
            }
        })
    }
}

fn flush(disk: &dyn Disk, what: &Unflushed) -> io::Result<LogOffset> {
    // A file that the directory does not name durably is not there after a power cut, whatever it holds.
    if let Some(dir) = &what.dir {
        disk.sync_dir(dir)?;
    }
    for file in &what.files {
        file.sync()?;
    }
    Ok(what.upto)
}

impl Behind {
    pub(crate) fn run(&self, touched: &mut Touched) -> io::Result<()> {
        self.writes.iter().try_for_each(|write| self.files.write(write, touched))
    }
}
