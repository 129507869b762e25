//! One record of the log, as somebody reads it who is not the store.
//!
//! Shares with the store only the layout of a record (`protocol`).

use kerolox_protocol::{
    properties,
    record::{self, Entry},
};
use std::ops::Range;

/// A record, as far as the oracle needs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rec {
    /// Position in the log.
    pub at: u64,
    /// Bytes.
    pub size: u32,
    /// Topic.
    pub topic: String,
    /// Queue.
    pub queue: i32,
    /// Position in the queue.
    pub offset: i64,
    /// Unique id, of what our producers sent.
    pub id: Option<String>,
    /// What it is found by: the unique id, then the keys of its sender.
    pub keys: Vec<String>,
    /// Bits of its sender and of transactions.
    pub sys_flag: i32,
    /// Where it goes later, if it only waits here.
    pub real_topic: Option<String>,
    /// Checksum of the body, as computed.
    pub crc: u32,
    /// Checksum of all its bytes.
    pub whole: u32,
    /// Store time.
    pub store_ms: i64,
    /// Hash of the tags, or the due time in the delay topic.
    pub tags_code: i64,
}

impl Rec {
    /// Position behind it.
    pub fn end(&self) -> u64 {
        self.at + u64::from(self.size)
    }
}

/// A place in a queue: topic, queue, offset.
pub type Place = (String, i32, i64);

/// Topic of the broker's notes.
pub const STATE_TOPIC: &str = kerolox_store::STATE_TOPIC;
/// Topic of halves of transactions.
pub const HALF_TOPIC: &str = "RMQ_SYS_TRANS_HALF_TOPIC";
/// Topic of delayed messages.
pub const DELAY_TOPIC: &str = "SCHEDULE_TOPIC_XXXX";

/// Java's hash of a text.
fn java_hash(text: &str) -> i32 {
    text.encode_utf16().fold(0i32, |hash, unit| hash.wrapping_mul(31).wrapping_add(i32::from(unit)))
}

fn keys(rec: &record::Record<'_>) -> Vec<String> {
    let text = |name| properties::get_str(rec.properties, name).unwrap_or_default();
    let others = text("KEYS").split(' ');
    std::iter::once(text("UNIQ_KEY")).chain(others).filter(|key| !key.is_empty()).map(str::to_owned).collect()
}

/// What the index knows of a key: not more than a number.
pub fn key_hash(topic: &str, key: &str) -> i32 {
    java_hash(&format!("{topic}#{key}")).checked_abs().unwrap_or(0)
}

fn code(rec: &record::Record<'_>, delays: &[i64]) -> i64 {
    if rec.topic == DELAY_TOPIC
        && let Some(level) = properties::get_str(rec.properties, "DELAY").and_then(|text| text.parse().ok())
    {
        let level: usize = level;
        let delay = delays.get(level.min(delays.len()).wrapping_sub(1)).copied().unwrap_or(0);
        return rec.store_ms.0 + delay;
    }
    properties::get_str(rec.properties, "TAGS").map_or(0, |tags| i64::from(java_hash(tags)))
}

/// The record at the start of `bytes`, if there is one that belongs at this position.
pub fn rec_at(bytes: &[u8], at: u64, delays: &[i64]) -> Option<Rec> {
    let Ok(Entry::Message(rec)) = record::parse(bytes) else { return None };
    let good = rec.crc_matches() && rec.physical_offset == at as i64;
    if !good {
        return None;
    }
    Some(Rec {
        at,
        size: rec.size,
        topic: rec.topic.to_owned(),
        queue: rec.queue_id,
        offset: rec.queue_offset,
        id: properties::get_str(rec.properties, "UNIQ_KEY").map(str::to_owned),
        keys: keys(&rec),
        sys_flag: rec.sys_flag,
        real_topic: properties::get_str(rec.properties, "REAL_TOPIC").map(str::to_owned),
        crc: rec.body_crc,
        whole: record::crc(bytes.get(..rec.size as usize)?),
        store_ms: rec.store_ms.0,
        tags_code: code(&rec, delays),
    })
}

/// Where the body of the record at the start of `bytes` lies in it.
pub fn body_in(bytes: &[u8]) -> Option<Range<usize>> {
    let Ok(Entry::Message(rec)) = record::parse(bytes) else { return None };
    // Topic and properties, each behind its length, end a record.
    let texts = 1 + rec.topic.len() + 2 + rec.properties.len();
    let end = (rec.size as usize).checked_sub(texts)?;
    Some(end.checked_sub(rec.body.len())?..end)
}
