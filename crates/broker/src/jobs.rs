//! Blocking work of the broker, run by the driver on its lanes.

use crate::export::{ExportDone, ExportJob};
use kerolox_net::{Job, Lane};

/// A piece of blocking work.
#[derive(Debug)]
pub enum BrokerJob {
    /// Writes one of the original's JSON files.
    Export(ExportJob),
}

/// What came of it.
#[derive(Debug)]
pub enum BrokerDone {
    /// A file was written or not.
    Export(ExportDone),
}

impl Job for BrokerJob {
    type Done = BrokerDone;

    fn lane(&self) -> Lane {
        match self {
            BrokerJob::Export(_) => Lane::Background,
        }
    }

    fn run(self) -> BrokerDone {
        match self {
            BrokerJob::Export(job) => BrokerDone::Export(job.run()),
        }
    }
}
