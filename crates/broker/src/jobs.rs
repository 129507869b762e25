//! Blocking work of the broker, run by the driver on its lanes.

use crate::{
    admin::config::{SaveJob, Saved},
    again::ReadJob,
    export::{ExportDone, ExportJob},
};
use kerolox_net::{Job, Lane};
use kerolox_store::{StoreDone, StoreJob};

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
}

impl Job for BrokerJob {
    type Done = BrokerDone;

    fn lane(&self) -> Lane {
        match self {
            BrokerJob::Store(job) if job.is_flush() => Lane::Flush,
            BrokerJob::Store(job) if job.is_ahead() => Lane::Ahead,
            BrokerJob::Read(_) => Lane::Read,
            BrokerJob::Store(_) | BrokerJob::Export(_) | BrokerJob::SaveConfig(_) => Lane::Background,
        }
    }

    fn run(self) -> BrokerDone {
        match self {
            BrokerJob::Store(job) => BrokerDone::Store(job.run()),
            BrokerJob::Export(job) => BrokerDone::Export(job.run()),
            BrokerJob::SaveConfig(job) => BrokerDone::SavedConfig(job.run()),
            BrokerJob::Read(job) => BrokerDone::Read(job.run()),
        }
    }
}
