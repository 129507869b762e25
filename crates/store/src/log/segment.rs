//! One file of the commit log, and its name.

use crate::{
    disk::{Disk, File, Open, around::read_around},
    line::Line,
    quarantine::{free_name, move_file},
};
use std::{
    cell::OnceCell,
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

/// One file of the log.
#[derive(Debug)]
pub(crate) struct Segment {
    /// Log position of its first byte; also its name.
    pub(crate) base: u64,
    pub(crate) path: PathBuf,
    /// Bytes from its start that have blocks on the disk, as far as we know.
    pub(crate) allocated: u64,
    file: OnceCell<Arc<dyn File>>,
}

impl Segment {
    /// A file that is there. It is opened when it is first used.
    pub(crate) fn existing(base: u64, path: PathBuf) -> Segment {
        Segment { base, path, allocated: 0, file: OnceCell::new() }
    }

    /// The file, if it is open.
    pub(crate) fn opened(&self) -> Option<Arc<dyn File>> {
        self.file.get().map(Arc::clone)
    }

    /// The open file.
    pub(crate) fn file(&self, disk: &dyn Disk) -> io::Result<Arc<dyn File>> {
        if let Some(file) = self.file.get() {
            return Ok(Arc::clone(file));
        }
        let file = disk.open(&self.path, Open::Write)?;
        Ok(Arc::clone(self.file.get_or_init(|| file)))
    }
}

/// Makes a file of the log, full length from its first moment on, since a 4.9 broker refuses a store with a short one;
/// with blocks for its first `reserve` bytes if the disk has so many. The
/// directory is not synced.
pub(crate) fn create(
    disk: &dyn Disk,
    dir: &Path,
    base: u64,
    segment_bytes: u64,
    reserve: u64,
) -> Result<Segment, (PathBuf, io::Error)> {
    let path = dir.join(file_name(base));
    // Nothing is cleared: recovery left no file behind the end, and should the file be made ahead and at the end at
    // the same time, the slower one must not undo what was written into it.
    let made = disk.create_sized(&path, segment_bytes).and_then(|file| {
        let allocated = match reserve {
            0 => 0,
            // The append that needs the room will find that there is none.
            bytes => match file.allocate(0, bytes) {
                Err(why) if super::is_no_room(&why) => 0,
                done => done.map(|()| bytes)?,
            },
        };
        Ok((file, allocated))
    });
    match made {
        Ok((file, allocated)) => Ok(Segment { base, path, allocated, file: OnceCell::from(file) }),
        Err(why) => Err((path, why)),
    }
}

/// Removes a file that lies behind the end of the log. One that begins with anything but zeros is moved to
/// `aside` instead: nothing is deleted only because we cannot tell what it is.
pub(crate) fn put_away(disk: &dyn Disk, segment: &Segment, aside: &Path) -> io::Result<Line> {
    let mut head = [0; 4096];
    let file = segment.file(disk)?;
    let len = file.len()?.min(head.len() as u64) as usize;
    let (head, _) = head.split_at_mut(len);
    let is_read = read_around(&*file, head, 0)?.is_empty();
    let path = segment.path.display();
    if is_read && head.iter().all(|b| *b == 0) {
        disk.remove(&segment.path)?;
        return Ok(Line::info(format!("{path}, made ahead and never used, is removed")));
    }
    disk.create_dir_all(aside)?;
    move_file(disk, &segment.path, &aside.join(free_name(disk, aside, file_name(segment.base))?))?;
    let line = format!("{path} lies behind the end of the log and is moved to {}", aside.display());
    Ok(Line::warn(line))
}

/// Twenty digits: the position of the file's first byte.
pub(crate) fn file_name(base: u64) -> String {
    format!("{base:020}")
}

/// The position that a file's name tells; `None` if it is no such name.
pub(crate) fn parse_file_name(name: &str) -> Option<u64> {
    let digits = name.len() == 20 && name.bytes().all(|b| b.is_ascii_digit());
    if digits { name.parse().ok() } else { None }
}
