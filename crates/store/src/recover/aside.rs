//! Copies of what is cut off the log, in the directory for what is not understood.

use super::dirs;
use crate::{
    disk::{Disk, Open, around::read_around},
    log::Log,
    open::OpenError,
    smallfile::beside,
};
use std::{
    io,
    ops::Range,
    path::{Path, PathBuf},
};

/// Bytes copied at once.
const WINDOW: u64 = 1 << 20;

/// Copies a part of one log file to `aside`, durably. The copy's name tells the position of its first byte, and its
/// content: done again after a crash, it is the same file.
pub(super) fn keep(
    disk: &dyn Disk,
    log: &Log,
    part: &Range<u64>,
    aside: &Path,
) -> Result<PathBuf, OpenError> {
    dirs::make(disk, aside)?;
    copy(disk, log, part, aside).map_err(OpenError::io(aside))
}

fn copy(disk: &dyn Disk, log: &Log, part: &Range<u64>, aside: &Path) -> io::Result<PathBuf> {
    let mut sum = crc32fast::Hasher::new();
    each_window(log, part, |_, bytes| {
        sum.update(bytes);
        Ok(())
    })?;
    let path = aside.join(format!("{:020}-{:08x}.cut", part.start, sum.finalize()));
    let is_there = match disk.open(&path, Open::Read) {
        Ok(file) => file.len()? == part.end - part.start,
        Err(why) if why.kind() == io::ErrorKind::NotFound => false,
        Err(why) => return Err(why),
    };
    if !is_there {
        let unfinished = beside(&path, ".tmp");
        let file = disk.open(&unfinished, Open::Create)?;
        file.set_len(0)?;
        each_window(log, part, |at, bytes| file.write_at(bytes, at))?;
        file.sync()?;
        disk.rename(&unfinished, &path)?;
    }
    disk.sync_dir(aside)?;
    Ok(path)
}

/// Gives the bytes of a part in pieces, each with its distance from the part's start.
fn each_window(
    log: &Log,
    part: &Range<u64>,
    mut take: impl FnMut(u64, &[u8]) -> io::Result<()>,
) -> io::Result<()> {
    let (file, base) = log.file_at(part.start).ok_or(io::ErrorKind::NotFound)??;
    let mut window = Vec::new();
    let mut at = part.start;
    while at < part.end {
        window.resize(WINDOW.min(part.end - at) as usize, 0);
        // What cannot be read has its place, too.
        read_around(&*file, &mut window, at - base)?;
        take(at - part.start, &window)?;
        at += window.len() as u64;
    }
    Ok(())
}
