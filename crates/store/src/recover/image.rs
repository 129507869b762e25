//! A queue file in memory, as it is to become.

use crate::{
    disk::{Disk, Open, around::read_around},
    quarantine,
    queue::ENTRY_BYTES,
    smallfile::beside,
    types::QueueEntry,
};
use std::{
    io,
    ops::Range,
    path::{Path, PathBuf},
};

/// Bytes read at once; whole entries.
const PIECE: u64 = 20 << 16;

/// A new file, in the directory of a topic.
const UNFINISHED: &str = "kerolox.new";

/// A queue file. Offsets are those of its queue.
pub(super) struct Image {
    pub(super) path: PathBuf,
    bytes: Vec<u8>,
    /// As it is on the disk; zeros where it cannot be read.
    old: Vec<u8>,
    /// Offset of its first entry.
    pub(super) first: u64,
    /// Entries of which something cannot be read, in order.
    pub(super) unreadable: Vec<Range<u64>>,
    /// Bytes that the file has on the disk; none if it is not there.
    len: Option<u64>,
}

impl Image {
    /// Reads a file of so many bytes, whose first entry is `first`, as far as it is there and can be read.
    pub(super) fn read(disk: &dyn Disk, path: PathBuf, bytes: u64, first: u64) -> io::Result<Image> {
        let mut bytes = vec![0; usize::try_from(bytes).unwrap_or(0)];
        let file = match disk.open(&path, Open::Read) {
            Err(why) if why.kind() == io::ErrorKind::NotFound => None,
            file => Some(file?),
        };
        let len = file.as_ref().map(|file| file.len()).transpose()?;
        let mut unreadable: Vec<Range<u64>> = Vec::new();
        if let Some(file) = file {
            // A process may have died before it set the length.
            let there = usize::try_from(len.unwrap_or(0)).unwrap_or(usize::MAX).min(bytes.len());
            let there = bytes.get_mut(..there).unwrap_or_default();
            for (at, piece) in (0u64..).step_by(PIECE as usize).zip(there.chunks_mut(PIECE as usize)) {
                for hole in read_around(&*file, piece, at)? {
                    let entries = first + hole.start / ENTRY_BYTES..first + hole.end.div_ceil(ENTRY_BYTES);
                    match unreadable.last_mut().filter(|last| last.end >= entries.start) {
                        Some(last) => last.end = last.end.max(entries.end),
                        None => unreadable.push(entries),
                    }
                }
            }
        }
        let mut image = Image { path, bytes, old: Vec::new(), first, unreadable, len };
        // An entry of which a part is there is none.
        for offset in image.unreadable.clone().into_iter().flatten() {
            image.clear(offset);
        }
        image.clear(first + len.unwrap_or(0) / ENTRY_BYTES);
        image.old.clone_from(&image.bytes);
        Ok(image)
    }

    pub(super) fn end(&self) -> u64 {
        self.first + self.bytes.len() as u64 / ENTRY_BYTES
    }

    fn place(&self, offset: u64) -> Option<Range<usize>> {
        let at = usize::try_from(offset.checked_sub(self.first)?.checked_mul(ENTRY_BYTES)?).ok()?;
        (at < self.bytes.len()).then_some(at..at + ENTRY_BYTES as usize)
    }

    pub(super) fn entry(&self, offset: u64) -> Option<QueueEntry> {
        QueueEntry::decode(self.bytes.get(self.place(offset)?)?.first_chunk()?)
    }

    pub(super) fn set(&mut self, offset: u64, bytes: &[u8; ENTRY_BYTES as usize]) {
        if let Some(place) = self.place(offset).and_then(|place| self.bytes.get_mut(place)) {
            place.copy_from_slice(bytes);
        }
    }

    pub(super) fn clear(&mut self, offset: u64) {
        self.set(offset, &[0; ENTRY_BYTES as usize]);
    }

    /// Whether an entry is not what could be read.
    pub(super) fn is_new(&self, offset: u64) -> bool {
        self.place(offset).is_some_and(|place| self.bytes.get(place.clone()) != self.old.get(place))
    }

    /// Whether the file on the disk is not as it should be.
    pub(super) fn has_changed(&self) -> bool {
        let is_short = self.len.is_some_and(|len| len < self.bytes.len() as u64);
        !self.unreadable.is_empty() || is_short || self.bytes != self.old
    }

    /// Puts the new file into the old one's place, in one step, and a copy of what could be read of that aside. Made
    /// elsewhere: a 4.9 broker knows every name in that directory.
    pub(super) fn replace(&self, disk: &dyn Disk, root: &Path) -> io::Result<Option<PathBuf>> {
        let copy = quarantine::place_for(disk, root, &self.path)?;
        if self.len.is_some() {
            let kept = disk.open(&copy, Open::Create)?;
            kept.set_len(self.old.len() as u64)?;
            for (at, piece) in (0u64..).step_by(PIECE as usize).zip(self.old.chunks(PIECE as usize)) {
                if piece.iter().any(|byte| *byte != 0) {
                    kept.write_at(piece, at)?;
                }
            }
            kept.sync()?;
        }
        let dir = self.path.parent().unwrap_or(root);
        disk.create_dir_all(dir)?;
        let unfinished = beside(&copy, ".new");
        match self.put(disk, &unfinished) {
            // Somebody has put the queues on another disk. What lies beside a topic's queues is nobody's.
            Err(why) if why.kind() == io::ErrorKind::CrossesDevices => {
                disk.remove(&unfinished)?;
                self.put(disk, &dir.parent().unwrap_or(root).join(UNFINISHED))?;
            }
            put => put?,
        }
        disk.sync_dir(copy.parent().unwrap_or(root))?;
        // Its directory may be new, too, and the one above.
        for dir in dir.ancestors().take(3) {
            disk.sync_dir(dir)?;
        }
        Ok(self.len.map(|_| copy))
    }

    /// Makes the new file under another name, and gives it its own.
    fn put(&self, disk: &dyn Disk, unfinished: &Path) -> io::Result<()> {
        let new = disk.open(unfinished, Open::Create)?;
        new.set_len(self.bytes.len() as u64)?;
        new.write_at(&self.bytes, 0)?;
        new.sync()?;
        disk.rename(unfinished, &self.path)
    }
}
