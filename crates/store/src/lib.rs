//! The storage engine: commit log, consume queues, index, checkpoint, recovery, retention.
//!
//! Owns the store directory. Files are the original's, byte for byte, so that a 4.9 broker can take the
//! directory over and hand it back. Knows topics and queues by name and number; knows no consumer group, no
//! connection, no thread and no clock: time is an argument, blocking work is handed out as jobs, and the
//! disk is a trait with a real and a faulty in-memory implementation.
//!
//! **Promise.** A record that `Store::commit` returned for survives `kill -9`; one below
//! `Store::flushed` survives a power cut. The first failed write or sync poisons the store: nothing is
//! accepted after it.

#[macro_use(mutant)]
extern crate kerolox_planted;

#[cfg(feature = "mutants")]
pub mod mutant;

pub mod checkpoint;
pub mod disk;
pub mod ends;
pub mod index;
pub mod quarantine;
pub mod sealed;
pub mod smallfile;
pub mod tools;

mod cold;
mod dispatch;
mod doubt;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
mod hash;
mod job;
mod line;
mod log;
mod open;
mod options;
mod queue;
mod read;
mod recover;
mod retain;
mod store;
mod types;

pub use cold::Cold;
pub use dispatch::{DELAY_TOPIC, DROPS, Dispatch, STATE_TOPIC, tags_code};
pub use job::{StoreDone, StoreJob};
pub use line::{Level, Line};
pub use open::{Cause, OpenError};
pub use options::{Flush, Options, Retention};
pub use read::{Boundary, Filled, Message, Plan, PlanStatus, ReadAhead, ReadLimits, Rotten, Slices};
pub use recover::Opened;
pub use store::Store;
pub use types::{
    AppendError, Appended, Arrival, Bounds, Now, Poisoned, QueueEntry, QueueInfo, QueueSlot, Refusal,
    Trimmed, Unread,
};
