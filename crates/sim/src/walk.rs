//! The log read by somebody who is not the store: file after file, record after record.
//!
//! Shares with the store only the layout of a record (`protocol`). What stands here is what the oracle
//! compares everything with.

use crate::{
    ledger::Ledger,
    rec::{Place, Rec, key_hash, rec_at},
};
use kerolox_protocol::record::{self, Entry};
use kerolox_store::disk::{Disk, memory::MemDisk};
use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

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

/// Flags of a half that was rolled back.
const ROLLED_BACK: i32 = 12;

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
        if let Some(behind) = rot.behind_hole(base + at as u64) {
            at = (behind - base) as usize;
            continue;
        }
        if let Some(Entry::Blank(left)) = record::parse(rest).ok()
            && left as usize == rest.len()
        {
            return base + bytes.len() as u64;
        }
        let Some(rec) = rec_at(rest, base + at as u64, delays) else { break };
        at += rec.size as usize;
        into.records.push(rec);
    }
    base + at as u64
}
