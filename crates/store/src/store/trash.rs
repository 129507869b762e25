//! Log files on their way out, one step of one file at a time, between the other jobs.

use super::Store;
use crate::{
    disk::{Disk, File},
    job::{Shrink, StoreJob, TRASH, Work},
};
use std::{
    collections::VecDeque,
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

/// Files that are no part of the log any more.
#[derive(Debug, Default)]
pub(super) struct Trash {
    files: VecDeque<Going>,
    /// A job shortens the first one.
    busy: bool,
}

#[derive(Debug)]
struct Going {
    path: PathBuf,
    /// Open still. While a reader has it, too, its bytes stay.
    file: Option<Arc<dyn File>>,
    /// An earlier process left it.
    is_old: bool,
}

impl Going {
    fn is_read(&self) -> bool {
        self.file.as_ref().is_some_and(|file| Arc::strong_count(file) > 1)
    }
}

impl Trash {
    /// What an earlier process left.
    pub(super) fn found(disk: &dyn Disk, root: &Path) -> io::Result<Trash> {
        let dir = root.join(TRASH);
        let entries = match disk.list(&dir) {
            Err(why) if why.kind() == io::ErrorKind::NotFound => Vec::new(),
            entries => entries?,
        };
        let files = entries.into_iter().filter(|entry| !entry.is_dir);
        let going = |name: String| Going { path: dir.join(name), file: None, is_old: true };
        Ok(Trash { files: files.map(|entry| going(entry.name)).collect(), busy: false })
    }

    pub(super) fn add(&mut self, path: PathBuf, file: Option<Arc<dyn File>>) {
        self.files.push_back(Going { path, file, is_old: false });
    }

    /// Whether room will come of what was deleted already.
    pub(super) fn makes_room(&self) -> bool {
        self.busy || self.files.iter().any(|going| !going.is_read())
    }

    pub(super) fn is_busy(&self) -> bool {
        self.busy
    }

    fn next(&mut self) -> Option<&Going> {
        if self.busy {
            return None;
        }
        // One that is being read waits for its turn again.
        let free = self.files.iter().position(|going| !going.is_read())?;
        self.files.rotate_left(free);
        self.busy = true;
        self.files.front()
    }

    pub(super) fn done(&mut self, gone: io::Result<bool>) {
        self.busy = false;
        match gone {
            Ok(false) => {}
            Ok(true) => drop(self.files.pop_front()),
            Err(why) => {
                self.files.pop_front();
                tracing::warn!(%why, "a deleted log file could not be removed; it goes after the next start");
            }
        }
    }
}

impl Store {
    pub(super) fn shrink_job(&mut self, into: &mut Vec<StoreJob>) {
        if self.stopping {
            return;
        }
        let disk = Arc::clone(&self.disk);
        if let Some(going) = self.agenda.trash.next() {
            let (path, at_once) = (going.path.clone(), going.is_old);
            into.push(StoreJob(Work::Shrink(Shrink { disk, path, at_once })));
        }
    }
}
