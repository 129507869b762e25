//! Values that cross the store's boundary.

use kerolox_protocol::{LogOffset, Millis, QueueId, QueueOffset};
use std::{fmt, path::PathBuf, sync::Arc};

/// The time, given with every call that may depend on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// Unix milliseconds; may jump.
    pub wall: Millis,
    /// Milliseconds since some start; never goes back.
    pub mono: Millis,
}

/// A queue of a topic, as a small number. Stable for the life of the process, also when the topic is deleted
/// and made again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct QueueSlot(pub u32);

/// Where an appended record will stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Appended {
    /// Its position in the log.
    pub at: LogOffset,
    /// Its size.
    pub size: u32,
    /// Its position in its queue.
    pub queue_offset: QueueOffset,
    /// The time it carries.
    pub store_ms: Millis,
    /// Position behind it: durable when `flushed()` reaches this.
    pub end: LogOffset,
}

/// An entry that has just become visible.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arrival {
    /// Its queue.
    pub slot: QueueSlot,
    /// Its position in the queue.
    pub queue_offset: QueueOffset,
    /// Hash of its tags, or its due time in the delay topic.
    pub tags_code: i64,
    /// Its position in the log.
    pub at: LogOffset,
    /// Its size.
    pub size: u32,
    /// The time it carries.
    pub store_ms: Millis,
}

/// One entry of a consume queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct QueueEntry {
    /// Position of the record in the log.
    pub at: LogOffset,
    /// Its size.
    pub size: u32,
    /// Hash of its tags, or its due time in the delay topic.
    pub tags_code: i64,
}

/// First and end of a queue, as readers see them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Bounds {
    /// Oldest entry whose record is still there.
    pub min: QueueOffset,
    /// Behind the newest visible entry.
    pub max: QueueOffset,
}

impl Bounds {
    /// Whether readers see an entry there.
    pub fn has(&self, at: QueueOffset) -> bool {
        self.min <= at && at < self.max
    }
}

/// A queue in a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueInfo {
    /// Its number.
    pub id: QueueId,
    /// Its handle.
    pub slot: QueueSlot,
    /// Its bounds.
    pub bounds: Bounds,
}

/// From here on the messages of a queue are not read by everybody.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unread {
    /// The queue.
    pub slot: QueueSlot,
    /// Its first message that is not.
    pub from: QueueOffset,
}

/// Messages of a queue went with their log files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trimmed {
    /// Topic.
    pub topic: Arc<str>,
    /// Queue.
    pub queue: QueueId,
    /// The first that went.
    pub from: QueueOffset,
    /// The first that is still there.
    pub to: QueueOffset,
    /// They went before their time, for lack of room.
    pub forced: bool,
}

/// The first failed write or sync; nothing is accepted after it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Poisoned {
    /// What failed, for the log and for every later refusal.
    pub why: Arc<str>,
}

impl fmt::Display for Poisoned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the store stopped accepting after a disk error: {}; look at the disk, then restart",
            self.why
        )
    }
}
impl std::error::Error for Poisoned {}

/// Why nothing is accepted now.
#[derive(Debug, Clone, PartialEq)]
pub enum Refusal {
    /// A write or a sync failed. Only a restart helps.
    Poisoned(Poisoned),
    /// The file system is fuller than allowed. Ends by itself when there is room again.
    DiskFull {
        /// Share that is used, percent.
        used_percent: u32,
        /// Limit.
        limit_percent: u32,
        /// Where.
        path: PathBuf,
        /// The topic whose unread messages keep log files from making room.
        kept_for: Option<Arc<str>>,
    },
    /// The disk has no room for the next part of the log. Ends by itself when there is room again.
    NoRoom {
        /// Where.
        path: PathBuf,
        /// What the system said.
        why: Arc<str>,
    },
    /// Too many files are open. Ends by itself when fewer are.
    NoFiles {
        /// What could not be opened, and what the system said.
        why: Arc<str>,
    },
    /// The disk does not keep up: too much waits in memory to be written behind. Ends by itself.
    Behind {
        /// Entries of queues or of the index that wait, whichever are more.
        entries: usize,
    },
    /// The store is being stopped.
    Stopping,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::Poisoned(poisoned) => poisoned.fmt(f),
            Refusal::DiskFull { used_percent, limit_percent, path, kept_for } => {
                let path = path.display();
                write!(
                    f,
                    "the disk of {path} is {used_percent}% full, writes are refused above {limit_percent}%; "
                )?;
                match kept_for {
                    Some(topic) => write!(
                        f,
                        "unread messages of {topic}, which protectedTopics keeps, are in the oldest files: free \
                         space, or let its groups read on"
                    ),
                    None => f.write_str("free space, or shorten fileReservedTime"),
                }
            }
            Refusal::NoRoom { path, why } => {
                write!(
                    f,
                    "no room for the log on the disk of {} ({why}); free space, or names for files (df -i)",
                    path.display()
                )
            }
            Refusal::NoFiles { why } => {
                write!(
                    f,
                    "{why}: allow the broker more (ulimit -n, LimitNOFILE), or let fewer clients connect"
                )
            }
            Refusal::Behind { entries } => {
                write!(
                    f,
                    "the disk does not keep up: {entries} queue entries or keys wait to be written; send again later"
                )
            }
            Refusal::Stopping => f.write_str("the store is being stopped"),
        }
    }
}
impl std::error::Error for Refusal {}

/// Why a record was not appended.
#[derive(Debug, Clone, PartialEq)]
pub enum AppendError {
    /// Nothing is accepted now.
    Refused(Refusal),
    /// The body or the record is too large.
    TooLarge {
        /// Bytes it has.
        bytes: usize,
        /// Bytes allowed.
        max: usize,
    },
    /// The property string is too long.
    Properties {
        /// Bytes it has.
        bytes: usize,
    },
    /// The topic is empty or too long for a record.
    Topic,
}

impl fmt::Display for AppendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AppendError::Refused(refusal) => refusal.fmt(f),
            AppendError::TooLarge { bytes, max } => {
                write!(f, "the message has {bytes} bytes, {max} are allowed")
            }
            AppendError::Properties { bytes } => {
                write!(f, "the properties have {bytes} bytes, 32767 are allowed")
            }
            AppendError::Topic => f.write_str("the topic's name is empty or longer than 255 bytes"),
        }
    }
}
impl std::error::Error for AppendError {}

impl From<Refusal> for AppendError {
    fn from(refusal: Refusal) -> AppendError {
        AppendError::Refused(refusal)
    }
}

/// A part of the log that is durable now.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Flushed {
    pub(crate) upto: LogOffset,
    /// Store time of its last record.
    pub(crate) ms: Millis,
}
