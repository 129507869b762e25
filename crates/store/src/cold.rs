//! Reads that would wait for the device, turned into work for a thread that may wait.
//!
//! Owns one list of such reads. While the gate is shut, a read of a file whose bytes are not in memory fails with
//! [`io::ErrorKind::WouldBlock`] and is noted here; the caller throws away what it had, lets the noted reads be
//! done elsewhere, and asks again. Reads done so count as warm from then on, so that every round gets further
//! even where memory is so short that the bytes are gone again. Knows files and ranges; knows nothing of what
//! is read.

use crate::disk::File;
use std::{cell::RefCell, collections::BTreeMap, io, path::PathBuf, sync::Arc};

/// Reads one question may collect. Beyond it, they are done where the question is asked.
const READS_MAX: usize = 4_096;
/// Bytes read at once.
const STEP: u64 = 256 << 10;

/// Reads that are not in memory. [`Cold::run`] brings them there; then the question is asked again with it.
#[derive(Debug, Default)]
pub struct Cold {
    reads: Vec<Read>,
    /// Files by path: the next round must find the same ones, whoever closed them meanwhile.
    files: BTreeMap<PathBuf, Arc<dyn File>>,
    /// Those before it have been done.
    done: usize,
}

#[derive(Debug)]
struct Read {
    file: Arc<dyn File>,
    at: u64,
    len: u64,
}

impl Cold {
    /// Reads everything that was not read yet. Blocks on the disk. An error is met again, and told, by who asks.
    pub fn run(&mut self) {
        let mut bytes = Vec::new();
        for read in self.reads.get(self.done..).unwrap_or_default() {
            let mut at = read.at;
            while at < read.at + read.len {
                let len = STEP.min(read.at + read.len - at);
                bytes.resize(usize::try_from(len).unwrap_or(0), 0);
                if read.file.read_at(&mut bytes, at).is_err() {
                    break;
                }
                at += len;
            }
        }
        self.done = self.reads.len();
    }

    /// Reads in all rounds.
    pub fn len(&self) -> usize {
        self.reads.len()
    }

    /// Whether there is no read.
    pub fn is_empty(&self) -> bool {
        self.reads.is_empty()
    }

    fn is_new(&self) -> bool {
        self.done < self.reads.len()
    }
}

/// Whether one of `reads` has those bytes.
fn have(reads: &[Read], file: &Arc<dyn File>, at: u64, len: u64) -> bool {
    // Files are told apart by their address, and each is kept alive by its entry here.
    reads.iter().any(|read| {
        std::ptr::addr_eq(Arc::as_ptr(&read.file), Arc::as_ptr(file))
            && read.at <= at
            && at + len <= read.at + read.len
    })
}

/// Shut while somebody asks who must not wait.
#[derive(Debug, Default)]
pub(crate) struct Gate {
    shut: RefCell<Option<Cold>>,
}

impl Gate {
    pub(crate) fn shut(&mut self, known: Cold) {
        *self.shut.get_mut() = Some(known);
    }

    /// What was met since it was shut; `None` if every read could be done.
    pub(crate) fn open(&mut self) -> Option<Cold> {
        self.shut.get_mut().take().filter(Cold::is_new)
    }

    pub(crate) fn has_met(&self) -> bool {
        self.shut.borrow().as_ref().is_some_and(Cold::is_new)
    }

    /// A file that is not kept open for good; while the gate is shut, the same one each time.
    pub(crate) fn file(
        &self,
        path: impl FnOnce() -> PathBuf,
        open: impl FnOnce() -> io::Result<Arc<dyn File>>,
    ) -> io::Result<Arc<dyn File>> {
        let mut shut = self.shut.borrow_mut();
        let Some(cold) = shut.as_mut() else { return open() };
        let path = path();
        if let Some(file) = cold.files.get(&path) {
            return Ok(Arc::clone(file));
        }
        let file = open()?;
        if cold.files.len() < READS_MAX {
            cold.files.insert(path, Arc::clone(&file));
        }
        Ok(file)
    }

    /// Fills `out` from `at`, if that may be done now.
    pub(crate) fn read(&self, file: &Arc<dyn File>, out: &mut [u8], at: u64) -> io::Result<()> {
        let mut shut = self.shut.borrow_mut();
        let Some(cold) = shut.as_mut() else { return file.read_at(out, at) };
        let len = out.len() as u64;
        // One call that tells and reads: most of what is asked for is in memory.
        if cold.reads.len() >= READS_MAX {
            return file.read_at(out, at);
        }
        if file.read_cached(out, at)? {
            return Ok(());
        }
        let (done, met) = cold.reads.split_at(cold.done.min(cold.reads.len()));
        if have(done, file, at, len) {
            return file.read_at(out, at);
        }
        if !have(met, file, at, len) {
            cold.reads.push(Read { file: Arc::clone(file), at, len });
        }
        Err(io::ErrorKind::WouldBlock.into())
    }
}
