//! The directory for what is not understood, or cannot be read: nothing is deleted only for that.
//!
//! Knows names; knows nothing of what the files mean.

use crate::{
    disk::{Disk, File, Open, around::read_around},
    smallfile,
};
use std::{
    io,
    path::{Path, PathBuf},
};

/// Its name, under the root.
pub(crate) const QUARANTINE: &str = "kerolox.quarantine";

/// Moves a file below `root` there, durably; where it is now. Its name tells where it was.
pub fn set_aside(disk: &dyn Disk, root: &Path, path: &Path) -> io::Result<PathBuf> {
    let to = place_for(disk, root, path)?;
    move_file(disk, path, &to)?;
    disk.sync_dir(path.parent().unwrap_or(root))?;
    Ok(to)
}

/// Gives a file another name, durably; where that lies on another disk, by way of a copy. What cannot be read is zeros
/// there. That the old name is gone is for the caller to make durable.
pub(crate) fn move_file(disk: &dyn Disk, from: &Path, to: &Path) -> io::Result<()> {
    let renamed = disk.rename(from, to);
    let is_far = renamed.as_ref().is_err_and(|why| why.kind() == io::ErrorKind::CrossesDevices);
    if is_far {
        copy(&*disk.open(from, Open::Read)?, &*disk.open(to, Open::Create)?)?;
    } else {
        renamed?;
    }
    disk.sync_dir(to.parent().unwrap_or(Path::new("")))?;
    if is_far { disk.remove(from) } else { Ok(()) }
}

/// Bytes copied at once.
const WINDOW: u64 = 1 << 20;

fn copy(from: &dyn File, to: &dyn File) -> io::Result<()> {
    let len = from.len()?;
    to.set_len(len)?;
    let (mut at, mut window) = (0, Vec::new());
    while at < len {
        window.resize(WINDOW.min(len - at) as usize, 0);
        read_around(from, &mut window, at)?;
        if window.iter().any(|byte| *byte != 0) {
            to.write_at(&window, at)?;
        }
        at += window.len() as u64;
    }
    to.sync()
}

/// Copies a small file below `root` there, durably; where the copy is.
pub fn keep_copy(disk: &dyn Disk, root: &Path, path: &Path) -> io::Result<PathBuf> {
    let bytes = smallfile::read(disk, path)?.unwrap_or_default();
    let to = place_for(disk, root, path)?;
    let copy = disk.open(&to, Open::Create)?;
    copy.write_at(&bytes, 0)?;
    copy.sync()?;
    disk.sync_dir(to.parent().unwrap_or(root))?;
    Ok(to)
}

/// Where a file below `root`, or a copy of it, can be put.
pub(crate) fn place_for(disk: &dyn Disk, root: &Path, path: &Path) -> io::Result<PathBuf> {
    let dir = root.join(QUARANTINE);
    disk.create_dir_all(&dir)?;
    disk.sync_dir(root)?;
    let within = path.strip_prefix(root).unwrap_or(path);
    let parts = within.components().map(|part| part.as_os_str().to_string_lossy());
    let name = parts.filter(|part| part != "/").collect::<Vec<_>>().join("-");
    Ok(dir.join(free_name(disk, &dir, name)?))
}

/// A name that nothing has in `dir` yet: what was set aside earlier is not replaced.
pub(crate) fn free_name(disk: &dyn Disk, dir: &Path, name: String) -> io::Result<String> {
    let taken = disk.list(dir)?;
    let is_free = |name: &String| taken.iter().all(|entry| entry.name != *name);
    let more = (1u32..).map(|n| format!("{name}.{n}"));
    Ok(std::iter::once(name.clone()).chain(more).find(is_free).unwrap_or(name))
}
