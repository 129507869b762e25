//! Which records carry a key.
//!
//! Owns the files of `index/`, the original's byte for byte. Knows hashes, times and log offsets; never reads
//! the log, so what it finds are candidates. Adding touches memory only; an [`IndexJob`] writes behind; a
//! search looks at memory at once and at the disk in [`Find::run`].
//!
//! Derived state: everything here can be made again from the log, and after a crash is, from
//! [`Index::covered`] on.
//!
//! ## `index/yyyyMMddHHmmssSSS` (integers big-endian; named by the local time of its making)
//!
//! | offset | size | field |
//! |---|---|---|
//! | 0 | 8 | store time of the first key, ms |
//! | 8 | 8 | store time of the last key, ms |
//! | 16 | 8 | log offset of the first key's record |
//! | 24 | 8 | log offset of the last key's record |
//! | 32 | 4 | slots in use |
//! | 36 | 4 | number of the next entry; begins at 1, 0 or less means 1 |
//! | 40 | 4 x slots | number of each slot's newest entry; 0: none |
//! | 40 + 4 x slots | 20 x entries | entries; number 0 is never used |
//!
//! An entry:
//!
//! | offset | size | field |
//! |---|---|---|
//! | 0 | 4 | hash of `topic#key`: Java's `String.hashCode` without its sign |
//! | 4 | 8 | log offset of the record |
//! | 12 | 4 | seconds since the file's first key |
//! | 16 | 4 | number of the next older entry of the slot; 0: none |
//!
//! The slot of an entry is its hash modulo the number of slots. A file is full when the next entry's number
//! reaches the number of entries.

mod find;
mod format;
mod open;
mod write;

use std::{collections::VecDeque, fmt, io, path::PathBuf, sync::Arc};

use kerolox_protocol::ids::{LogOffset, Millis};

pub use self::{
    find::{Find, Found},
    format::Shape,
    open::{Repair, RepairKind, Trust},
    write::{IndexDone, IndexJob},
};
use self::{
    format::{Header, key_hash, name_of, name_text},
    write::Written,
};
use crate::{
    disk::{Disk, File},
    log::is_no_room,
};

/// So many keys waiting are worth a job at once; fewer may wait for a timer. Each takes 16 bytes.
pub const PENDING_WORTH: usize = 1 << 18;

/// A state of the index on disk, as a checkpoint remembers it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    /// Name of the newest file, as a number.
    pub name: u64,
    /// Number of the next entry of that file.
    pub next: u32,
    /// Slots in use.
    pub slots_used: u32,
    /// Offset of the last key's record.
    pub end_at: LogOffset,
    /// Store time of the last key's record.
    pub end_ms: Millis,
    /// Store time of the first key's record.
    pub begin_ms: Millis,
}

impl Mark {
    /// Whether everything that `other` counts is counted here. The keys of one record may lie in two files, so the
    /// record's position does not tell.
    pub fn covers(&self, other: &Mark) -> bool {
        (self.name, self.next) >= (other.name, other.next)
    }

    /// `None` for a file without a key.
    fn of(name: u64, header: &Header) -> Option<Mark> {
        (header.next > 1).then(|| Mark {
            name,
            next: header.next,
            slots_used: header.slots_used,
            end_at: LogOffset(u64::try_from(header.end_at).unwrap_or(0)),
            end_ms: Millis(header.end_ms),
            begin_ms: Millis(header.begin_ms),
        })
    }
}

/// A key that is not on disk yet.
#[derive(Debug, Clone, Copy)]
struct Raw {
    hash: u32,
    diff: u32,
    at: u64,
}

/// One file.
struct IndexFile {
    name: u64,
    /// With everything that was added.
    head: Header,
    /// As on disk.
    written: Header,
    /// Added and not yet given to a job.
    tail: Vec<Raw>,
    /// Given to the job under way.
    flying: Option<Arc<Vec<Raw>>>,
    /// Open from the first job until it is full.
    file: Option<Arc<dyn File>>,
    /// A job ended half done: slots may lead to entries that the header does not count.
    is_unsure: bool,
}

impl IndexFile {
    fn on_disk(name: u64, head: Header) -> IndexFile {
        IndexFile { name, head, written: head, tail: Vec::new(), flying: None, file: None, is_unsure: false }
    }

    fn is_written(&self) -> bool {
        self.tail.is_empty() && self.flying.is_none()
    }
}

/// The index of a store.
pub struct Index {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    shape: Shape,
    /// Oldest first.
    files: VecDeque<IndexFile>,
    /// The greatest name there is, unused files included.
    last_name: u64,
    is_busy: bool,
    failed: Option<io::ErrorKind>,
    synced: Option<Mark>,
    /// Hashes of the keys that the last record had when the index was opened; each is skipped once when the
    /// log is replayed.
    repeated: Vec<u32>,
}

impl fmt::Debug for Index {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Index({}, {} files, {} pending)", self.dir.display(), self.files.len(), self.pending())
    }
}

impl Index {
    /// Adds a key of a record. Memory only. Records come in log order; what is known already is skipped, so
    /// that a part of the log may be replayed.
    ///
    /// `local` is the local wall time: it names a new file.
    pub fn add(&mut self, topic: &str, key: &str, at: LogOffset, store: Millis, local: Millis) {
        if self.covered().is_some_and(|covered| at < covered) {
            return;
        }
        let hash = key_hash(topic, key);
        if !self.repeated.is_empty() && self.is_repeat(hash, at) {
            return;
        }
        let Some(file) = self.writable_file(local) else { return };
        let head = &mut file.head;
        if head.next <= 1 {
            head.begin_ms = store.0;
            head.begin_at = at.wire();
        }
        head.end_ms = store.0;
        head.end_at = at.wire();
        head.next += 1;
        file.tail.push(Raw { hash, diff: head.diff(store.0), at: at.0 });
    }

    fn is_repeat(&mut self, hash: u32, at: LogOffset) -> bool {
        if self.covered() != Some(at) {
            self.repeated = Vec::new();
            return false;
        }
        let known = self.repeated.iter().position(|known| *known == hash);
        known.map(|i| self.repeated.swap_remove(i)).is_some()
    }

    fn writable_file(&mut self, local: Millis) -> Option<&mut IndexFile> {
        let is_full = |file: &IndexFile| file.head.next >= self.shape.entries();
        if self.files.back().is_none_or(is_full) {
            let name = name_of(local).max(self.last_name + 1);
            self.last_name = name;
            // Until the first key the file begins and ends where the one before ends, as the original's does.
            let before = self.files.back().map(|file| file.head).unwrap_or_default();
            let head = Header {
                begin_ms: before.end_ms,
                end_ms: before.end_ms,
                begin_at: before.end_at,
                end_at: before.end_at,
                slots_used: 0,
                next: 1,
            };
            self.files.push_back(IndexFile::on_disk(name, head));
        }
        self.files.back_mut()
    }

    /// Log offset of the last record that has a key here; `None` when there is none. The log is to be
    /// replayed from this record on, itself included: it may have had more keys.
    pub fn covered(&self) -> Option<LogOffset> {
        self.newest().map(|mark| mark.end_at)
    }

    /// The state that the files will have when everything in memory is written.
    pub fn newest(&self) -> Option<Mark> {
        self.files.iter().rev().find_map(|file| Mark::of(file.name, &file.head))
    }

    /// Keys that no finished job has written.
    pub fn pending(&self) -> usize {
        let flying = |file: &IndexFile| file.flying.as_ref().map_or(0, |raws| raws.len());
        self.files.iter().map(|file| file.tail.len() + flying(file)).sum()
    }

    /// Whether a job is under way; there is none to hand out meanwhile.
    pub fn is_busy(&self) -> bool {
        self.is_busy
    }

    /// The newest state on disk that survives the end of the process.
    pub fn written(&self) -> Option<Mark> {
        self.files.iter().rev().find_map(|file| Mark::of(file.name, &file.written))
    }

    /// The newest state on disk that survives a power cut. May be older than the state when it was opened.
    pub fn synced(&self) -> Option<Mark> {
        self.synced
    }

    /// What made writing end, if anything did: after a failed job no more are given out, until [`Index::retry`].
    pub fn failed(&self) -> Option<io::ErrorKind> {
        self.failed
    }

    /// The next piece of work; `None` when there is none, one is under way, or one has failed.
    ///
    /// With `must_sync` the job also makes durable what it writes, and there is one as long as anything is
    /// not: to stop, run jobs until there are no more.
    pub fn job(&mut self, must_sync: bool) -> Option<IndexJob> {
        if self.is_busy || self.failed.is_some() {
            return None;
        }
        let unsynced = self.written().filter(|written| must_sync && self.synced != Some(*written));
        let entries = self.shape.entries();
        let todo = |file: &&mut IndexFile| {
            !file.tail.is_empty() || unsynced.is_some_and(|mark| mark.name == file.name)
        };
        let file = self.files.iter_mut().find(todo)?;
        let raws = Arc::new(std::mem::take(&mut file.tail));
        file.flying = Some(Arc::clone(&raws));
        self.is_busy = true;
        Some(IndexJob {
            disk: Arc::clone(&self.disk),
            dir: self.dir.clone(),
            name: file.name,
            shape: self.shape,
            file: file.file.clone(),
            before: file.written,
            after: file.head,
            entries: raws,
            is_unsure: file.is_unsure,
            // A full file is left behind, and the next one's syncs do not cover it.
            must_sync: must_sync || file.head.next >= entries,
        })
    }

    /// Takes note of a finished job.
    ///
    /// # Errors
    /// Those of the job. Nothing is written any more then, and everything can still be found; after a full disk
    /// [`Index::retry`] lets it go on.
    pub fn done(&mut self, done: IndexDone) -> io::Result<()> {
        self.is_busy = false;
        let Written { file: open, header, synced } = match done.result {
            Ok(written) => written,
            Err(error) => {
                self.failed = Some(error.kind());
                if is_no_room(&error)
                    && let Some(file) = self.files.iter_mut().find(|file| file.name == done.name)
                {
                    file.is_unsure = true;
                }
                return Err(error);
            }
        };
        self.synced = synced.or(self.synced);
        if let Some(file) = self.files.iter_mut().find(|file| file.name == done.name) {
            file.flying = None;
            file.is_unsure = false;
            file.written = header;
            file.head.slots_used = header.slots_used;
            let is_full = file.written.next >= self.shape.entries();
            file.file = (!is_full).then_some(open);
        }
        Ok(())
    }

    /// Whether jobs ended only because the disk was full.
    pub fn lacks_room(&self) -> bool {
        self.failed.is_some_and(|kind| is_no_room(&kind.into()))
    }

    /// Lets jobs be given out again after a full disk. What the failed one was to write is written by the next;
    /// a failed sync is no such case and ends writing for good.
    pub fn retry(&mut self) {
        if !self.lacks_room() {
            return;
        }
        self.failed = None;
        for file in &mut self.files {
            if let Some(flying) = file.flying.take() {
                let mut all = Vec::with_capacity(flying.len() + file.tail.len());
                all.extend_from_slice(&flying);
                all.append(&mut file.tail);
                file.tail = all;
            }
        }
    }

    /// Forgets files whose last record is before `min`, where the log begins now; never the newest. The
    /// caller removes them (and syncs the directory): searches under way may still read them.
    pub fn expire(&mut self, min: LogOffset) -> Vec<PathBuf> {
        let mut gone = Vec::new();
        while self.files.len() > 1
            && let Some(file) = self
                .files
                .pop_front_if(|file| file.is_written() && file.head.next > 1 && file.head.end_at < min.wire())
        {
            gone.push(self.dir.join(name_text(file.name)));
        }
        gone
    }

    /// Number of files.
    pub fn files(&self) -> usize {
        self.files.len()
    }
}

#[cfg(test)]
mod tests;
