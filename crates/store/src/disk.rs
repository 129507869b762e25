//! The disk as the store sees it.
//!
//! Owns nothing. Every file operation of the engine goes through these two traits, so that tests and the
//! simulator can lose what was not synced, tear writes, fail the n-th call and fill the disk.
//!
//! Writes are `pwrite` into files of a set length, never through a mapping: an I/O error must come back as an
//! error. Creating, renaming and removing is durable only after [`Disk::sync_dir`] on the parent.

pub mod around;
pub mod memory;
pub mod real;

use std::{
    fmt, io,
    path::{Path, PathBuf},
    sync::Arc,
};

/// How to open a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Open {
    /// It must be there; for reading.
    Read,
    /// It must be there; for reading and writing.
    Write,
    /// Made if it is not there; for reading and writing.
    Create,
}

/// Alignment, in memory and in the file, that a disk may want for what is read past the page cache.
pub const DIRECT_ALIGN: usize = 4096;

/// Room on the file system of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space {
    /// Bytes that are used, plus those this process may still use.
    pub total: u64,
    /// Bytes this process may still use.
    pub free: u64,
}

/// An entry of a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DirEntry {
    /// Name without its directory.
    pub name: String,
    /// Whether it is a directory.
    pub is_dir: bool,
    /// Bytes, of a file.
    pub len: u64,
}

impl DirEntry {
    /// Whether the file system has put it there itself, at the top of a disk.
    pub fn is_of_file_system(&self) -> bool {
        self.is_dir && self.name == "lost+found"
    }
}

/// A directory tree.
pub trait Disk: Send + Sync + fmt::Debug {
    /// Opens a file.
    fn open(&self, path: &Path, how: Open) -> io::Result<Arc<dyn File>>;
    /// Opens a file for reading and writing that has `len` bytes. One that is not there is made of zeros, and has its
    /// length from its first moment on, if the disk can: also for one who comes after a crash.
    fn create_sized(&self, path: &Path, len: u64) -> io::Result<Arc<dyn File>> {
        let file = self.open(path, Open::Create)?;
        if file.len()? != len {
            file.set_len(len)?;
        }
        Ok(file)
    }
    /// Makes a directory and its parents; durable after syncing each parent.
    fn create_dir_all(&self, path: &Path) -> io::Result<()>;
    /// Entries of a directory, sorted by name. A missing directory is an error of kind `NotFound`.
    fn list(&self, path: &Path) -> io::Result<Vec<DirEntry>>;
    /// Renames, replacing what is there.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Removes an empty directory.
    fn remove_dir(&self, path: &Path) -> io::Result<()>;
    /// Makes the entries of a directory durable.
    fn sync_dir(&self, path: &Path) -> io::Result<()>;
    /// Makes everything durable on the file system of `path`, names included. `false`: this disk cannot, each
    /// file must be synced for itself.
    fn sync_all(&self, path: &Path) -> io::Result<bool> {
        let _ = path;
        Ok(false)
    }
    /// Room left.
    fn space(&self, path: &Path) -> io::Result<Space>;
    /// Takes an exclusive lock that ends with the process; `WouldBlock` when another process has it.
    fn lock(&self, path: &Path) -> io::Result<Box<dyn Send + Sync>>;
    /// A text that changes when the operating system starts anew. While it is the same, what was written is
    /// still there even if it was never synced.
    fn boot_id(&self) -> String;
}

/// An open file. All methods take `&self`: position is an argument, and jobs share files with readers.
pub trait File: Send + Sync + fmt::Debug {
    /// Fills `buf` from `at`; `UnexpectedEof` when the file ends before.
    fn read_at(&self, buf: &mut [u8], at: u64) -> io::Result<()>;
    /// Fills `buf` from `at` if that needs no device; `false`, with anything in `buf`, when it probably would.
    fn read_cached(&self, buf: &mut [u8], at: u64) -> io::Result<bool> {
        if self.is_resident(at, buf.len() as u64) == Some(false) {
            return Ok(false);
        }
        self.read_at(buf, at).map(|()| true)
    }
    /// Fills `buf` from `at` past the page cache; `false`, with anything in `buf`, where that cannot be done: address,
    /// position and length should be multiples of [`DIRECT_ALIGN`].
    fn read_direct(&self, buf: &mut [u8], at: u64) -> io::Result<bool> {
        let _ = (buf, at);
        Ok(false)
    }
    /// Writes all of `bytes` at `at`. A short write is an error.
    fn write_at(&self, bytes: &[u8], at: u64) -> io::Result<()>;
    /// Writes zeros over a range of whole 4 KiB blocks below the file's length, past the page cache if the
    /// disk can: nobody will read them.
    fn write_zeros(&self, at: u64, len: u64) -> io::Result<()> {
        let zeros = vec![0; usize::try_from(len).map_err(|_| io::ErrorKind::InvalidInput)?];
        if zeros.is_empty() { Ok(()) } else { self.write_at(&zeros, at) }
    }
    /// Makes data (and the length) durable.
    fn sync(&self) -> io::Result<()>;
    /// Length in bytes.
    fn len(&self) -> io::Result<u64>;
    /// Whether the file is empty.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }
    /// Cuts, or extends with zeros (a hole).
    fn set_len(&self, len: u64) -> io::Result<()>;
    /// Makes a range read as zeros. The length stays at every moment, also for one who looks on or comes after a
    /// crash; blocks may be given back. Durable after [`File::sync`].
    fn clear(&self, at: u64, len: u64) -> io::Result<()>;
    /// Reserves blocks for the range, so that later writes there cannot fail for lack of room.
    fn allocate(&self, at: u64, len: u64) -> io::Result<()>;
    /// Whether the range is in memory: `Some(false)` means a read would go to the device. `None`: unknown.
    fn is_resident(&self, at: u64, len: u64) -> Option<bool>;
    /// Hints that the range will be read soon, or will not be read again.
    fn advise(&self, at: u64, len: u64, wanted: bool);
}

/// Where a store keeps what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Paths {
    /// `storePathRootDir`.
    pub root: PathBuf,
    /// `storePathCommitLog`; more than one only to read a store that was made so.
    pub commit_log: Vec<PathBuf>,
}

impl Paths {
    /// The usual layout below a root.
    pub fn under(root: impl Into<PathBuf>) -> Paths {
        let root = root.into();
        Paths { commit_log: vec![root.join("commitlog")], root }
    }
    /// Directory of the consume queues.
    pub fn consume_queue(&self) -> PathBuf {
        self.root.join("consumequeue")
    }
    /// Directory of the index files.
    pub fn index(&self) -> PathBuf {
        self.root.join("index")
    }
    /// Directory of the JSON exports.
    pub fn config(&self) -> PathBuf {
        self.root.join("config")
    }
}
