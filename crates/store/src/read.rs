//! What readers get, and how its bytes come: from memory, from what others have read or read ahead, from files.
//!
//! Deciding and reading are apart: [`crate::Store::plan`] looks only at queue entries and says which bytes of the log
//! make the answer; [`Slices`] fetches them, on any thread, even when the store has gone on or is gone. Knows files and
//! positions, and no store.

mod ahead;
mod blocks;
mod slices;
mod time;
mod windows;

pub(crate) use ahead::Streams;
pub(crate) use blocks::Blocks;
pub(crate) use slices::Reader;
pub(crate) use time::{HEAD_BYTES, Head, head_at};

pub use ahead::ReadAhead;
pub use slices::{Filled, Rotten, Slices};
pub use time::Boundary;

use crate::types::Bounds;
use kerolox_protocol::QueueOffset;

/// How much one read may return. The original's limits are 32 messages and 256 KiB, cold 8 and 64 KiB.
///
/// The original takes everything far behind the end for cold. Here reading ahead of who catches up has brought most of
/// it into memory by the time it is asked for, and what is there need not be cut small: the cold limits hold only for
/// what the device would have to be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReadLimits {
    /// Messages.
    pub count: usize,
    /// Bytes; one message may exceed it alone.
    pub bytes: u64,
    /// Messages, when the data is far behind the end and not in memory.
    pub cold_count: usize,
    /// Bytes, likewise.
    pub cold_bytes: u64,
}

/// What a plan found. Names are the original's `GetMessageStatus`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PlanStatus {
    /// There are messages.
    Found,
    /// Entries were looked at, none was wanted.
    NoMatched,
    /// Entries were looked at, their records are gone.
    Removing,
    /// The queue has no message.
    Empty,
    /// Asked for the next message that will come.
    Overflow,
    /// Asked for a message far ahead.
    OverflowBadly,
    /// Asked for a message that is gone.
    TooSmall,
    /// The entry does not lead to its message: its file is missing, the disk does not give it, or it is damaged. It is
    /// made again from the log; nothing is passed over meanwhile.
    FoundNull,
}

/// What a read will return.
#[derive(Debug, Clone)]
pub struct Plan {
    /// What was found.
    pub status: PlanStatus,
    /// Where to read on.
    pub next: QueueOffset,
    /// The queue's bounds.
    pub bounds: Bounds,
    /// The records.
    pub slices: Slices,
    /// Offset of the first record; of no meaning without one.
    pub first: QueueOffset,
    /// How many records.
    pub count: usize,
    /// Their bytes.
    pub bytes: u64,
    /// Log bytes between the last entry looked at and the end of the log.
    pub lag: u64,
}

impl Plan {
    pub(crate) fn nothing(bounds: Bounds, from: QueueOffset) -> Plan {
        let (status, slices) = (PlanStatus::Empty, Slices::default());
        Plan { status, next: from, bounds, slices, first: from, count: 0, bytes: 0, lag: 0 }
    }
}

/// What stands at a place of a queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// Its record.
    Record(Vec<u8>),
    /// None: its log file was deleted, and the start of the queue is still to follow.
    Deleted,
    /// None, for good: the log has no such record.
    Lost,
    /// The entry does not lead to it. It is made again from the log by a job, and then it is to be asked for again.
    Sought,
}
