//! Which records carry a key.

use kerolox_protocol::ids::{LogOffset, Millis};

/// A state of the index on disk, as a checkpoint remembers it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    /// Name of the newest file, as a number.
    pub name: u64,
    /// Number of the next entry of that file; 1 in an empty one.
    pub next: u32,
    /// Slots in use.
    pub slots_used: u32,
    /// Offset of the last key's record.
    pub end_at: LogOffset,
    /// Store time of the last key's record.
    pub end_ms: Millis,
    /// Store time of the first key's record.
    pub begin_ms: Millis,
}
