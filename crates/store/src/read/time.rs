//! What a record tells in its head: its time, and its place in its queue.

use kerolox_protocol::{
    Millis,
    record::{FIXED_BYTES, MAGIC, MAGIC_V2, SYS_BORN_V6},
};

const AT_MAGIC: usize = 4;
const AT_QUEUE_ID: usize = 12;
const AT_QUEUE_OFFSET: usize = 20;
const AT_PHYSICAL_OFFSET: usize = 28;
const AT_SYS_FLAG: usize = 36;
const AT_BORN_HOST: usize = 48;
const HOST_V4: usize = 8;
const HOST_V6: usize = 20;

/// Which message answers a search by time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Boundary {
    /// The first at or after the time; the queue's end if there is none.
    Lower,
    /// The last at or before the time; the queue's start if there is none.
    Upper,
    /// One at the time, else the nearer neighbour, the earlier if both are as near. As the original.
    Nearest,
}

/// Bytes of a record's head that hold its time, whatever the hosts; every record is longer.
pub(crate) const HEAD_BYTES: usize = AT_BORN_HOST + HOST_V6 + 8;
const _: () = assert!(HEAD_BYTES <= FIXED_BYTES);

/// What a record's head tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) queue_id: i32,
    pub(crate) queue_offset: i64,
    /// When it was stored.
    pub(crate) time: Millis,
}

/// What the head tells, if it is the head of a record that stands at `at`.
pub(crate) fn head_at(head: &[u8], at: u64) -> Option<Head> {
    fn part<const N: usize>(head: &[u8], at: usize) -> Option<[u8; N]> {
        head.get(at..)?.first_chunk().copied()
    }
    let magic = part(head, AT_MAGIC).map(u32::from_be_bytes);
    let told = part(head, AT_PHYSICAL_OFFSET).map(u64::from_be_bytes);
    if !matches!(magic, Some(MAGIC | MAGIC_V2)) || told != Some(at) {
        return None;
    }
    let flags = part(head, AT_SYS_FLAG).map(i32::from_be_bytes)?;
    let born = if flags & SYS_BORN_V6 != 0 { HOST_V6 } else { HOST_V4 };
    Some(Head {
        queue_id: part(head, AT_QUEUE_ID).map(i32::from_be_bytes)?,
        queue_offset: part(head, AT_QUEUE_OFFSET).map(i64::from_be_bytes)?,
        time: part(head, AT_BORN_HOST + born).map(|ms| Millis(i64::from_be_bytes(ms)))?,
    })
}
