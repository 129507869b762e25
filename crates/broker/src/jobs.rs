//! Blocking work of the broker, run by the driver on its lanes.
//!
//! A job owns all it needs and decides nothing. Knows no state of the broker: who asked for it takes what comes of it.

use crate::answer::Ticket;
use kerolox_net::{Job, Lane};
use kerolox_protocol::body::fastjson::{self, Limits};
use kerolox_store::{
    Cold, ReadAhead, StoreDone, StoreJob,
    disk::Disk,
    smallfile::{self, Backup},
};
use std::{io, path::PathBuf, sync::Arc};

/// A piece of blocking work.
#[derive(Debug)]
pub enum BrokerJob {
    /// Work of the store.
    Store(StoreJob),
    /// Writes one of the original's JSON files.
    Export(ExportJob),
    /// Keeps changed settings in their file.
    SaveConfig(SaveJob),
    /// Brings into memory what a question needs.
    Read(ReadJob),
    /// Asks for what somebody will need soon.
    ReadAhead(ReadAhead),
}

/// What came of it.
#[derive(Debug)]
pub enum BrokerDone {
    /// Of the store's work.
    Store(StoreDone),
    /// A file was written or not.
    Export(ExportDone),
    /// Settings were kept or not.
    SavedConfig(Saved),
    /// A question can be asked again.
    Read(ReadJob),
    /// It was asked for: nobody waits for that.
    ReadAhead,
}

impl Job for BrokerJob {
    type Done = BrokerDone;

    fn lane(&self) -> Lane {
        match self {
            BrokerJob::Store(job) if job.is_flush() => Lane::Flush,
            BrokerJob::Store(job) if job.is_ahead() => Lane::Ahead,
            BrokerJob::Read(_) | BrokerJob::ReadAhead(_) => Lane::Read,
            BrokerJob::Store(_) | BrokerJob::Export(_) | BrokerJob::SaveConfig(_) => Lane::Background,
        }
    }

    fn run(self) -> BrokerDone {
        match self {
            BrokerJob::Store(job) => BrokerDone::Store(job.run()),
            BrokerJob::Export(job) => BrokerDone::Export(job.run()),
            BrokerJob::SaveConfig(job) => BrokerDone::SavedConfig(job.run()),
            BrokerJob::Read(job) => BrokerDone::Read(job.run()),
            BrokerJob::ReadAhead(ahead) => {
                ahead.run();
                BrokerDone::ReadAhead
            }
        }
    }
}

/// Keeps settings in the file the broker was started with.
#[derive(Debug)]
pub struct SaveJob {
    /// Where.
    pub disk: Arc<dyn Disk>,
    /// The file.
    pub path: PathBuf,
    /// Whole content.
    pub text: String,
    /// Who is answered then.
    pub to: Ticket,
}

/// What came of a [`SaveJob`].
#[derive(Debug)]
pub struct Saved {
    /// Who is answered.
    pub to: Ticket,
    /// The file.
    pub path: PathBuf,
    /// Whether it is durable.
    pub result: io::Result<()>,
}

impl SaveJob {
    /// Replaces the file; the old one becomes `.bak`. Blocks.
    pub fn run(self) -> Saved {
        // Any text is a properties text, so any old file is worth keeping.
        let result =
            smallfile::replace(&*self.disk, &self.path, self.text.as_bytes(), Backup::Sound(&|_| true));
        Saved { to: self.to, path: self.path, result }
    }
}

/// Reads of a question, on their way to the disk and back.
#[derive(Debug)]
pub struct ReadJob {
    /// Number of the request; `None` for the delivery of delayed messages.
    pub asked: Option<u64>,
    /// What is read.
    pub cold: Cold,
}

impl ReadJob {
    /// Reads. Blocks on the disk.
    pub fn run(mut self) -> ReadJob {
        self.cold.run();
        self
    }
}

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
        if self.disk.list(&self.dir).is_err() {
            self.disk.create_dir_all(&self.dir)?;
            // A directory whose name is not durable takes its files with it.
            self.disk.sync_dir(self.dir.parent().unwrap_or(&self.dir))?;
        }
        // As the original does, the content before stays beside it as `.bak`.
        let sound = |old: &[u8]| fastjson::parse(old, Limits::FILE).is_ok();
        smallfile::replace(&*self.disk, &self.dir.join(self.name), &self.text, Backup::Sound(&sound))
    }
}
