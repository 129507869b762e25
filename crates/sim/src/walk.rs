//! The log read by somebody who is not the store: file after file, record after record.
//!
//! Shares with the store only the layout of a record (`protocol`). What stands here is what the oracle
//! compares everything with.

use kerolox_protocol::{
    properties,
    record::{self, Entry},
};
use kerolox_store::disk::{Disk, memory::MemDisk};
use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

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

/// The records of a log, in order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Walk {
    /// Records.
    pub records: Vec<Rec>,
    /// Where it begins.
    pub first: u64,
    /// Where it stopped.
    pub end: u64,
}

impl Walk {
    /// The record at a position.
    pub fn at(&self, at: u64) -> Option<&Rec> {
        let n = self.records.binary_search_by_key(&at, |rec| rec.at).ok()?;
        self.records.get(n)
    }

    /// What an index gives for each topic and key: positions of all records with a key of that hash, in order.
    pub fn index(&self) -> BTreeMap<(&str, &str), BTreeSet<u64>> {
        let mut by_hash: BTreeMap<i32, BTreeSet<u64>> = BTreeMap::new();
        let indexed = |rec: &&Rec| rec.sys_flag & ROLLED_BACK != ROLLED_BACK;
        for rec in self.records.iter().filter(indexed) {
            for key in &rec.keys {
                by_hash.entry(key_hash(&rec.topic, key)).or_default().insert(rec.at);
            }
        }
        let mut index = BTreeMap::new();
        for rec in self.records.iter().filter(indexed) {
            for key in &rec.keys {
                let found = by_hash.get(&key_hash(&rec.topic, key)).cloned().unwrap_or_default();
                index.insert((rec.topic.as_str(), key.as_str()), found);
            }
        }
        index
    }

    /// Queues: offset, position, size and code of each entry.
    pub fn queues(&self) -> BTreeMap<(String, i32), Vec<&Rec>> {
        let mut queues: BTreeMap<_, Vec<&Rec>> = BTreeMap::new();
        for rec in &self.records {
            queues.entry((rec.topic.clone(), rec.queue)).or_default().push(rec);
        }
        queues
    }
}

/// Topic of halves of transactions.
pub const HALF_TOPIC: &str = "RMQ_SYS_TRANS_HALF_TOPIC";
/// Topic of delayed messages.
pub const DELAY_TOPIC: &str = "SCHEDULE_TOPIC_XXXX";

/// Flags of a half that was rolled back.
const ROLLED_BACK: i32 = 12;

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
fn key_hash(topic: &str, key: &str) -> i32 {
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

/// Reads the log below `dir` up to `upto`, or until something is no record.
pub fn walk(disk: &MemDisk, dir: &Path, segment_bytes: u64, delays: &[i64], upto: u64) -> Walk {
    let mut found = Walk::default();
    let Ok(files) = disk.list(dir) else { return found };
    let mut at = None;
    for file in files.iter().filter(|file| !file.is_dir) {
        let Ok(base) = file.name.parse::<u64>() else { continue };
        if at.is_some_and(|at| at != base) || base >= upto {
            break;
        }
        if at.is_none() {
            found.first = base;
        }
        let Ok(bytes) = disk.bytes(&dir.join(&file.name)) else { break };
        let end = read_file(&bytes, base, delays, upto, &mut found.records);
        found.end = end;
        at = (end == base + segment_bytes).then_some(end);
        if at.is_none() {
            break;
        }
    }
    found
}

fn read_file(bytes: &[u8], base: u64, delays: &[i64], upto: u64, into: &mut Vec<Rec>) -> u64 {
    let mut at = 0usize;
    while base + (at as u64) < upto {
        let rest = bytes.get(at..).unwrap_or_default();
        match record::parse(rest).ok() {
            Some(Entry::Blank(left)) if left as usize == rest.len() => return base + bytes.len() as u64,
            Some(Entry::Message(rec))
                if rec.crc_matches() && rec.physical_offset == (base + at as u64) as i64 =>
            {
                into.push(Rec {
                    at: base + at as u64,
                    size: rec.size,
                    topic: rec.topic.to_owned(),
                    queue: rec.queue_id,
                    offset: rec.queue_offset,
                    id: properties::get_str(rec.properties, "UNIQ_KEY").map(str::to_owned),
                    keys: keys(&rec),
                    sys_flag: rec.sys_flag,
                    real_topic: properties::get_str(rec.properties, "REAL_TOPIC").map(str::to_owned),
                    crc: rec.body_crc,
                    store_ms: rec.store_ms.0,
                    tags_code: code(&rec, delays),
                });
                at += rec.size as usize;
            }
            _ => break,
        }
    }
    base + at as u64
}
