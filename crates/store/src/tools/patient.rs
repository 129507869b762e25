//! A disk that goes on past bad sectors, and names them.
//!
//! What the device does not give reads as zeros, which no format of a store takes for anything. So every tool gets to
//! the end; what it could not read it says. Passes everything else on; is only read from.

use crate::disk::{DirEntry, Disk, File, Open, Space, around::read_around};
use serde::Serialize;
use std::{
    io,
    ops::Range,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// Bad parts that are remembered; a disk that has more has no need of a list.
const UNREAD_MAX: usize = 1_000;

/// A part of a file that the disk cannot read.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Unread {
    /// The file.
    pub path: String,
    /// Its first byte in the file.
    pub from: u64,
    /// The byte behind it.
    pub to: u64,
}

impl std::fmt::Display for Unread {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "the disk cannot read the bytes from {} to {} of {}", self.from, self.to, self.path)
    }
}

/// What could not be read so far.
#[derive(Debug, Clone, Default)]
pub(super) struct List(Arc<Mutex<Vec<Unread>>>);

impl List {
    pub(super) fn note(&self, path: &Path, holes: &[Range<u64>]) {
        let path = path.display().to_string();
        for hole in holes {
            let mut all = self.lock();
            let has_room = all.len() < UNREAD_MAX;
            let new = Unread { path: path.clone(), from: hole.start, to: hole.end };
            // Found again, perhaps in another piece.
            let known =
                all.iter_mut().find(|old| old.path == path && old.from <= new.to && new.from <= old.to);
            match known {
                Some(old) => (old.from, old.to) = (old.from.min(new.from), old.to.max(new.to)),
                None if has_room => all.push(new),
                None => {}
            }
        }
    }

    /// In the order of files and places.
    pub(super) fn take(&self) -> Vec<Unread> {
        let mut all = std::mem::take(&mut *self.lock());
        all.sort();
        all
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Unread>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The disk.
#[derive(Debug)]
pub(super) struct Patient<'a> {
    disk: &'a dyn Disk,
    unread: List,
}

impl<'a> Patient<'a> {
    pub(super) fn new(disk: &'a dyn Disk) -> Patient<'a> {
        Patient { disk, unread: List::default() }
    }

    /// What could not be read of what was opened here.
    pub(super) fn unread(&self) -> &List {
        &self.unread
    }
}

impl Disk for Patient<'_> {
    fn open(&self, path: &Path, how: Open) -> io::Result<Arc<dyn File>> {
        let file = self.disk.open(path, how)?;
        Ok(Arc::new(PatientFile { file, path: path.to_owned(), unread: self.unread.clone() }))
    }
    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        self.disk.create_dir_all(path)
    }
    fn list(&self, path: &Path) -> io::Result<Vec<DirEntry>> {
        self.disk.list(path)
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.disk.rename(from, to)
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        self.disk.remove(path)
    }
    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        self.disk.remove_dir(path)
    }
    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.disk.sync_dir(path)
    }
    fn space(&self, path: &Path) -> io::Result<Space> {
        self.disk.space(path)
    }
    fn lock(&self, path: &Path) -> io::Result<Box<dyn Send + Sync>> {
        self.disk.lock(path)
    }
    fn boot_id(&self) -> String {
        self.disk.boot_id()
    }
}

#[derive(Debug)]
struct PatientFile {
    file: Arc<dyn File>,
    path: PathBuf,
    unread: List,
}

impl File for PatientFile {
    fn read_at(&self, buf: &mut [u8], at: u64) -> io::Result<()> {
        let holes = read_around(&*self.file, buf, at)?;
        self.unread.note(&self.path, &holes);
        Ok(())
    }
    fn write_at(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        self.file.write_at(bytes, at)
    }
    fn sync(&self) -> io::Result<()> {
        self.file.sync()
    }
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }
    fn clear(&self, at: u64, len: u64) -> io::Result<()> {
        self.file.clear(at, len)
    }
    fn allocate(&self, at: u64, len: u64) -> io::Result<()> {
        self.file.allocate(at, len)
    }
    fn is_resident(&self, at: u64, len: u64) -> Option<bool> {
        self.file.is_resident(at, len)
    }
    fn advise(&self, at: u64, len: u64, wanted: bool) {
        self.file.advise(at, len, wanted);
    }
}
