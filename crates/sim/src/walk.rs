//! The log read by somebody who is not the store: file after file, record after record.
//!
//! Shares with the store only the layout of a record (`protocol`). What stands here is what the oracle
//! compares everything with.

use crate::rot::Ledger;
use kerolox_protocol::{
    properties,
    record::{self, Entry},
};
use kerolox_store::disk::{Disk, memory::MemDisk};
use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
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
    /// Records that are damaged, as they were: the disk took them.
    pub lost: Vec<Rec>,
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

    /// Records that are damaged, by their places.
    pub fn lost_places(&self) -> BTreeMap<Place, Vec<&Rec>> {
        let mut places: BTreeMap<_, Vec<&Rec>> = BTreeMap::new();
        for rec in &self.lost {
            places.entry((rec.topic.clone(), rec.queue, rec.offset)).or_default().push(rec);
        }
        places
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

/// Topic of the broker's notes.
pub const STATE_TOPIC: &str = kerolox_store::STATE_TOPIC;
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

/// Reads the log below `dir` up to `upto`, or until something is no record. What `rot` has is passed over.
pub fn walk(disk: &MemDisk, dir: &Path, segment_bytes: u64, delays: &[i64], upto: u64, rot: &Ledger) -> Walk {
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
        let end = read_file(&bytes, base, delays, upto, rot, &mut found);
        found.end = end;
        at = (end == base + segment_bytes).then_some(end);
        if at.is_none() {
            break;
        }
    }
    found
}

fn read_file(bytes: &[u8], base: u64, delays: &[i64], upto: u64, rot: &Ledger, into: &mut Walk) -> u64 {
    let mut at = 0usize;
    while base + (at as u64) < upto {
        let rest = bytes.get(at..).unwrap_or_default();
        if let Some(lost) = rot.stands(base + at as u64, rest) {
            into.lost.extend(lost.rec.clone());
            at = (lost.end - base) as usize;
            continue;
        }
        if let Some(Entry::Blank(left)) = record::parse(rest).ok()
            && left as usize == rest.len()
        {
            return base + bytes.len() as u64;
        }
        let Some(rec) = rec_at(rest, base + at as u64, delays) else {
            let Some(behind) = rot.behind_hole(base + at as u64) else { break };
            at = (behind - base) as usize;
            continue;
        };
        at += rec.size as usize;
        into.records.push(rec);
    }
    base + at as u64
}

/// The record at the start of `bytes`, if there is one that belongs at this position.
pub fn rec_at(bytes: &[u8], at: u64, delays: &[i64]) -> Option<Rec> {
    let Ok(Entry::Message(rec)) = record::parse(bytes) else { return None };
    let good = rec.crc_matches() && rec.physical_offset == at as i64;
    good.then(|| Rec {
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
