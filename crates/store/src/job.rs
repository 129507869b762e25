//! Blocking work of the store: what a job carries, and what it does.
//!
//! A job owns all it needs and can run on any thread. It decides nothing: its outcome goes back to
//! [`crate::Store::done`].

mod clean;
mod remove;
mod unread;

pub(crate) use clean::{Clean, Cleaned};
pub(crate) use remove::{Remove, Shrink, TRASH};
pub(crate) use unread::{Seek, Wanted};

use crate::{
    checkpoint::{self, Checkpoint, Progress},
    disk::{Disk, Paths, Space},
    ends::Ends,
    index::{IndexDone, IndexJob, Mark},
    log::{Reserve, Reserved, Segment, Unflushed, Zero},
    queue::{
        QueueWrite,
        files::{Files, Touched},
    },
    recover::{MendError, MendJob, Mended},
    smallfile::{self, Backup, Digest},
    types::Flushed,
};
use kerolox_protocol::{LogOffset, Millis, record};
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
    Index(Box<IndexJob>),
    Checkpoint(Box<Snapshot>),
    Spare { disk: Arc<dyn Disk>, dir: PathBuf, base: u64, segment_bytes: u64, reserve: u64 },
    Reserve(Reserve),
    Leave(Box<Leave>),
    Zero(Zero),
    Probe(Probe),
    Remove(Remove),
    Shrink(Shrink),
    Clean(Clean),
    Mend(Box<MendJob>),
    Drop { disk: Arc<dyn Disk>, dir: PathBuf, topics: Vec<Arc<str>> },
}

#[derive(Debug)]
pub(crate) enum Outcome {
    Flushed(Result<Flushed, io::Error>),
    Behind { behind: Behind, touched: Touched, result: io::Result<()> },
    Index(IndexDone),
    Checkpoint { snapshot: Box<Snapshot>, result: io::Result<()> },
    Left(io::Result<()>),
    Spare(Result<Segment, (PathBuf, io::Error)>),
    Reserved(io::Result<Reserved>),
    Zeroed(io::Result<u64>),
    Probed(Probed),
    Removed(io::Result<Vec<(u64, PathBuf)>>),
    Shrunk(io::Result<bool>),
    Cleaned(io::Result<Cleaned>),
    Mended(Result<Mended, MendError>),
    Dropped(io::Result<()>),
}

/// Queue entries on their way to their files.
#[derive(Debug)]
pub(crate) struct Behind {
    pub(crate) files: Arc<Files>,
    pub(crate) writes: Vec<QueueWrite>,
    /// Records of these entries lie below.
    pub(crate) below: LogOffset,
    /// Nothing else is left of the pass than files to be made.
    pub(crate) makes_files: bool,
}

/// A state to be made durable and remembered.
#[derive(Debug)]
pub(crate) struct Snapshot {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) paths: Paths,
    pub(crate) files: Arc<Files>,
    /// What queue files were written to since the last checkpoint.
    pub(crate) dirty: Touched,
    pub(crate) ends: Ends,
    pub(crate) progress: Progress,
    pub(crate) checkpoint: Checkpoint,
    /// What must be durable of the index before this is remembered.
    pub(crate) index_need: Option<Mark>,
    /// After a clean stop: the file made ahead goes, and `abort` with it.
    pub(crate) last: Option<Option<Segment>>,
}

/// The end of a store that has no time left for its queues: the last checkpoint stays, and `abort`.
#[derive(Debug)]
pub(crate) struct Leave {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) paths: Paths,
    pub(crate) progress: Progress,
    pub(crate) spare: Option<Segment>,
}

impl Leave {
    fn run(&self) -> io::Result<()> {
        checkpoint::save_progress(&*self.disk, &self.paths, &self.progress)?;
        let Some(spare) = &self.spare else { return Ok(()) };
        self.disk.remove(&spare.path)?;
        self.disk.sync_dir(spare.path.parent().unwrap_or(&self.paths.root))
    }
}

/// A look at the disk.
#[derive(Debug)]
pub(crate) struct Probe {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) paths: Paths,
    /// Oldest log files whose first record's time is wanted.
    pub(crate) heads: Vec<(u64, Arc<dyn crate::disk::File>)>,
    pub(crate) files: Arc<Files>,
    /// From where on the log is wanted, as far as that is known; and queues whose files tell.
    pub(crate) wanted: Option<Wanted>,
    pub(crate) seeks: Vec<Seek>,
}

#[derive(Debug)]
pub(crate) struct Probed {
    /// Of the log's directories.
    pub(crate) log: Vec<(PathBuf, Space)>,
    /// Of the root, where the queues are.
    pub(crate) root: Option<Space>,
    /// Log position of a file, and the time of its first record.
    pub(crate) heads: Vec<(u64, Option<Millis>)>,
    /// From where on the log is wanted because somebody has not read it.
    pub(crate) wanted: Option<Wanted>,
}

impl StoreJob {
    /// Whether somebody waits for it: it must not stand behind other jobs.
    pub fn is_flush(&self) -> bool {
        matches!(self.0, Work::Flush { .. })
    }

    /// Whether it makes ready what the log will need soon: it must not stand behind long ones either.
    pub fn is_ahead(&self) -> bool {
        matches!(self.0, Work::Spare { .. } | Work::Reserve(_) | Work::Zero(_))
    }

    /// Does the work. Blocks on the disk.
    pub fn run(self) -> StoreDone {
        StoreDone(match self.0 {
            Work::Flush { disk, what } => Outcome::Flushed(flush(&*disk, &what)),
            Work::Behind(behind) => {
                let mut touched = Touched::default();
                let write = |write| behind.files.write(write, &mut touched);
                let result = behind.writes.iter().try_for_each(write);
                Outcome::Behind { behind, touched, result }
            }
            Work::Index(job) => Outcome::Index(job.run()),
            Work::Checkpoint(snapshot) => {
                let result = snapshot.run();
                Outcome::Checkpoint { snapshot, result }
            }
            Work::Leave(leave) => Outcome::Left(leave.run()),
            Work::Spare { disk, dir, base, segment_bytes, reserve } => {
                Outcome::Spare(crate::log::create_segment(&*disk, &dir, base, segment_bytes, reserve))
            }
            Work::Reserve(reserve) => Outcome::Reserved(reserve.run()),
            Work::Zero(zero) => Outcome::Zeroed(zero.run()),
            Work::Probe(probe) => Outcome::Probed(probe.run()),
            Work::Remove(remove) => Outcome::Removed(remove.run()),
            Work::Shrink(shrink) => Outcome::Shrunk(shrink.run()),
            Work::Clean(clean) => Outcome::Cleaned(clean.run()),
            Work::Mend(mend) => Outcome::Mended(mend.run()),
            Work::Drop { disk, dir, topics } => {
                let drop = |topic: &Arc<str>| drop_topic(&*disk, &dir.join(&**topic));
                let result = topics.iter().try_for_each(drop).and_then(|()| disk.sync_dir(&dir));
                Outcome::Dropped(result)
            }
        })
    }
}

fn flush(disk: &dyn Disk, what: &Unflushed) -> io::Result<Flushed> {
    // A file that the directory does not name durably is not there after a power cut, whatever it holds.
    if let Some(dir) = &what.dir
        && !mutant!(DirSyncSkipped)
    {
        disk.sync_dir(dir)?;
    }
    for file in &what.files {
        let synced = file.sync();
        if !mutant!(SyncErrorIgnored) {
            synced?;
        }
    }
    Ok(Flushed { upto: what.upto, ms: what.ms })
}

impl Snapshot {
    /// What is remembered must be durable before it is remembered; `abort` goes last of all.
    pub(crate) fn run(&self) -> io::Result<()> {
        if !mutant!(QueuesUnsynced) {
            self.files.sync(&self.dirty)?;
        }
        let root = &self.paths.root;
        smallfile::replace(&*self.disk, &Ends::path(root), &self.ends.encode(), Backup::No)?;
        checkpoint::save_checkpoint(&*self.disk, &self.paths, &self.checkpoint)?;
        checkpoint::save_progress(&*self.disk, &self.paths, &self.progress)?;
        let Some(spare) = &self.last else { return Ok(()) };
        if let Some(spare) = spare {
            self.disk.remove(&spare.path)?;
            self.disk.sync_dir(spare.path.parent().unwrap_or(root))?;
        }
        checkpoint::mark_stopped(&*self.disk, &self.paths)
    }

    /// The index lacks keys that are in memory, and the last record that it will have on the disk may have only some of
    /// its own there: it has all when it has one of a record behind this state.
    pub(crate) fn expect_all_keys(&mut self) {
        self.ends.index_covers = Some(self.ends.covers);
    }

    /// Digest of the original's checkpoint as this leaves it.
    pub(crate) fn digest(&self) -> Digest {
        Digest::of(self.checkpoint.bytes())
    }
}

impl Probe {
    fn run(self) -> Probed {
        let space = |path: &PathBuf| {
            self.disk.space(path).map_err(|why| {
                tracing::warn!(path = %path.display(), %why, "cannot tell how full the disk is");
            })
        };
        let found = self.seeks.iter().filter_map(|seek| seek.run(&self.files));
        let wanted = found.chain(self.wanted.clone()).min_by_key(|wanted| wanted.from);
        Probed {
            wanted,
            log: self
                .paths
                .commit_log
                .iter()
                .filter_map(|path| Some((path.clone(), space(path).ok()?)))
                .collect(),
            root: space(&self.paths.root).ok(),
            heads: self.heads.iter().map(|(base, file)| (*base, first_time(&**file, *base))).collect(),
        }
    }
}

/// Store time of the record at a file's start.
fn first_time(file: &dyn crate::disk::File, base: u64) -> Option<Millis> {
    let mut head = [0; record::FIXED_BYTES + 24];
    file.read_at(&mut head, 0).ok()?;
    crate::read::head_at(&head, base).map(|head| head.time)
}

/// Removes a topic's directory with all queues.
fn drop_topic(disk: &dyn Disk, dir: &std::path::Path) -> io::Result<()> {
    let queues = match disk.list(dir) {
        Err(why) if why.kind() == io::ErrorKind::NotFound => return Ok(()),
        queues => queues?,
    };
    for queue in queues {
        let queue_dir = dir.join(&queue.name);
        if !queue.is_dir {
            disk.remove(&queue_dir)?;
            continue;
        }
        for file in disk.list(&queue_dir)? {
            disk.remove(&queue_dir.join(&file.name))?;
        }
        disk.remove_dir(&queue_dir)?;
    }
    disk.remove_dir(dir)
}
