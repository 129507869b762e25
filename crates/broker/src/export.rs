//! The state as the original's JSON files, for a 4.9 broker that takes over and for people who look.
//!
//! The log is the truth; these files are copies. They are replaced whole: written aside, synced, renamed, the
//! directory synced. Knows the disk through its trait; knows nothing of what the text means.

use kerolox_store::disk::{Disk, Open};
use std::{io, path::PathBuf, sync::Arc};

/// Replaces one file.
#[derive(Debug)]
pub struct ExportJob {
    /// Where.
    pub disk: Arc<dyn Disk>,
    /// Directory of the files.
    pub dir: PathBuf,
    /// Name within it.
    pub name: &'static str,
    /// Whole content.
    pub text: Vec<u8>,
}

/// What came of an [`ExportJob`].
#[derive(Debug)]
pub struct ExportDone {
    /// Name of the file.
    pub name: &'static str,
    /// Whether it is durable.
    pub result: io::Result<()>,
}

impl ExportJob {
    /// Writes the file. Blocks.
    pub fn run(self) -> ExportDone {
        ExportDone { name: self.name, result: self.replace() }
    }

    fn replace(&self) -> io::Result<()> {
        self.disk.create_dir_all(&self.dir)?;
        let aside = self.dir.join(format!("{}.tmp", self.name));
        let file = self.disk.open(&aside, Open::Create)?;
        file.set_len(0)?;
        file.write_at(&self.text, 0)?;
        file.sync()?;
        self.disk.rename(&aside, &self.dir.join(self.name))?;
        self.disk.sync_dir(&self.dir)
    }
}
