//! Log files on their way out.
//!
//! Giving the blocks of one file back costs the file system as much as a third of a second for a gigabyte, and
//! whoever needs its journal waits. So a file first gets a name outside the log, durably, and is then shortened step
//! by step, each step a job of its own. A crash in between leaves a file that nobody takes for part of the log.

use crate::{
    disk::{Disk, Open},
    log::file_name,
};
use std::{
    collections::BTreeSet,
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

/// Directory of files on their way out, under the root.
pub(crate) const TRASH: &str = "kerolox.trash";
/// A file loses so much at once: about 30 ms of an ordinary disk.
const STEP: u64 = 64 << 20;

/// Log files that go.
#[derive(Debug)]
pub(crate) struct Remove {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) trash: PathBuf,
    /// Position in the log, path.
    pub(crate) files: Vec<(u64, PathBuf)>,
    /// Others, that go at once.
    pub(crate) others: Vec<PathBuf>,
}

impl Remove {
    /// Takes the files out of the log. Gives those that are still to be shortened, by position.
    pub(super) fn run(&self) -> io::Result<Vec<(u64, PathBuf)>> {
        self.disk.create_dir_all(&self.trash)?;
        let mut moved = Vec::new();
        for (base, path) in &self.files {
            let aside = self.trash.join(file_name(*base));
            match self.disk.rename(path, &aside) {
                Ok(()) => moved.push((*base, aside)),
                Err(why) if why.kind() == io::ErrorKind::NotFound => {}
                // The log lies on another disk than the root.
                Err(_) => self.disk.remove(path)?,
            }
            // One after the other: of several that went a power cut may bring any back, and a log lacks no file between
            // others.
            self.disk.sync_dir(path.parent().unwrap_or(Path::new("")))?;
        }
        for path in &self.others {
            match self.disk.remove(path) {
                Err(why) if why.kind() == io::ErrorKind::NotFound => {}
                result => result?,
            }
        }
        self.disk.sync_dir(&self.trash)?;
        let dirs: BTreeSet<&Path> = self.others.iter().filter_map(|path| path.parent()).collect();
        dirs.into_iter().try_for_each(|dir| self.disk.sync_dir(dir))?;
        Ok(moved)
    }
}

/// One step of the removal of a file that is no part of the log any more.
#[derive(Debug)]
pub(crate) struct Shrink {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) path: PathBuf,
    /// Not in steps: a crash may have left it the old name, too.
    pub(crate) at_once: bool,
}

impl Shrink {
    /// Whether the file is gone now.
    pub(super) fn run(&self) -> io::Result<bool> {
        if !self.at_once {
            let file = self.disk.open(&self.path, Open::Write)?;
            let len = file.len()?;
            if len > STEP {
                file.set_len(len - STEP)?;
                return Ok(false);
            }
        }
        self.disk.remove(&self.path).map(|()| true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::memory::MemDisk;

    #[test]
    fn a_file_goes_in_steps() {
        let disk = MemDisk::new();
        let path = PathBuf::from("log");
        disk.open(&path, Open::Create).unwrap().set_len(200 << 20).unwrap();
        let shrink = Shrink { disk: disk.handle(), path: path.clone(), at_once: false };
        for left in [136, 72, 8] {
            assert!(!shrink.run().unwrap());
            assert_eq!(disk.open(&path, Open::Read).unwrap().len().unwrap(), left << 20);
        }
        assert!(shrink.run().unwrap());
        assert_eq!(disk.open(&path, Open::Read).unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
