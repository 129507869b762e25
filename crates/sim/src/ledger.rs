//! What the disk did in silence, to the byte: what was damaged is known, so that all the rest can be asked for.
//!
//! | Damaged | What may be missing for it |
//! |---|---|
//! | a record of the log | this record: its message, if no other record has it; what it noted, if it is one of the broker's own |
//! | its body alone | the same, but its place in its queue stays taken |
//! | the filler at the end of a log file | nothing |
//! | an entry of a queue file | nothing; only who reads files without the broker sees it |
//! | an entry or a slot of an index file | the keys whose search passes through it, and that were there then |
//! | the header of an index file | the keys that were in it then |
//! | all else | nothing |

use crate::{
    options::DELAYS,
    rec::{Place, Rec, rec_at},
    rot::SECTOR,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
    path::{Path, PathBuf},
};

/// A record, or a filler, of which not all bytes are what was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lost {
    /// The position behind it.
    pub end: u64,
    /// The record as it was; none for a filler.
    pub rec: Option<Rec>,
    /// What stands there now. Other bytes than these are no damage, but what was written since.
    pub now: Vec<u8>,
    /// Only its body is damaged: what it tells of itself is true.
    pub body_only: bool,
}

/// All damage of a run.
#[derive(Debug, Default)]
pub struct Ledger {
    /// Of the log, as it is now, by position.
    lost: BTreeMap<u64, Lost>,
    /// Records that were ever damaged: position and id.
    was: BTreeSet<(u64, String)>,
    /// Checksums of bodies whose records were damaged in what no checksum covers.
    altered: BTreeSet<u32>,
    /// Entries of queue files.
    entries: BTreeSet<Place>,
    /// Keys of the index: hash and position.
    keys: BTreeSet<(u32, u64)>,
    /// What a power cut left between records, and recovery took for damage.
    holes: Vec<Range<u64>>,
    /// Small files that were damaged, and what they held then.
    small: BTreeMap<PathBuf, Vec<u8>>,
}

impl Ledger {
    /// Whether nothing was ever damaged.
    pub fn is_empty(&self) -> bool {
        self.lost.is_empty() && self.was.is_empty() && self.entries.is_empty() && self.keys.is_empty()
    }

    /// What was written at a position and does not stand there any more, if the damage is still what stands there.
    /// `bytes`: the log from there on.
    pub fn stands(&self, at: u64, bytes: &[u8]) -> Option<&Lost> {
        self.lost.get(&at).filter(|lost| bytes.starts_with(&lost.now))
    }

    /// Records and fillers that have something in common with a part of the log.
    pub fn within(&self, part: &Range<u64>) -> impl Iterator<Item = (u64, &Lost)> {
        let end = part.end;
        let start = part.start;
        self.lost.range(..end).filter(move |(_, lost)| lost.end > start).map(|(at, lost)| (*at, lost))
    }

    /// Damage of the log.
    pub fn add(&mut self, at: u64, lost: Lost) {
        if let Some(rec) = &lost.rec {
            self.was.insert((at, rec.id.clone().unwrap_or_default()));
            if !lost.body_only {
                self.altered.insert(rec.crc);
            }
        }
        self.lost.insert(at, lost);
    }

    /// Nothing stands there, but behind it.
    pub fn add_holes(&mut self, holes: impl IntoIterator<Item = Range<u64>>) {
        self.holes.extend(holes);
    }

    /// Where it goes on behind a hole.
    pub fn behind_hole(&self, at: u64) -> Option<u64> {
        self.holes.iter().find(|hole| hole.contains(&at)).map(|hole| hole.end)
    }

    /// Damage of a queue's entry.
    pub fn add_entry(&mut self, place: Place) {
        self.entries.insert(place);
    }

    /// Damage of the index.
    pub fn add_keys(&mut self, keys: impl IntoIterator<Item = (u32, u64)>) {
        self.keys.extend(keys);
    }

    /// Damage of a small file, which holds this now.
    pub fn add_small(&mut self, path: &Path, now: Vec<u8>) {
        self.small.insert(path.to_owned(), now);
    }

    /// Whether a small file is still as damage left it. `bytes`: what a file holds.
    pub fn has_small(&self, bytes: impl Fn(&Path) -> Option<Vec<u8>>) -> bool {
        self.small.iter().any(|(path, now)| bytes(path).as_ref() == Some(now))
    }

    /// The log ends at `end` now: damage behind it was cut off. What was taken with it.
    pub fn cut(&mut self, end: u64) -> Vec<Lost> {
        self.holes.retain(|hole| hole.end <= end);
        self.lost.split_off(&end).into_values().collect()
    }

    /// The first damage from `at` on that looks like what a power cut leaves of a write: the end of a sector is missing.
    /// `byte`: what stands at a position of the log.
    pub fn first_hollow(&self, at: u64, byte: impl Fn(u64) -> u8) -> Option<u64> {
        let is_hollow = |(at, lost): &(&u64, &Lost)| {
            let mut ends = (**at / SECTOR..lost.end.div_ceil(SECTOR)).map(|sector| (sector + 1) * SECTOR);
            ends.any(|end| byte(end - 1) == 0) || lost.now.last() == Some(&0)
        };
        self.lost.range(at..).find(is_hollow).map(|(at, _)| *at)
    }

    /// Whether the record of a message at a position was ever damaged.
    pub fn was(&self, at: u64, id: &str) -> bool {
        // Two tuples would want a copy of the name.
        self.was.range((at, String::new())..(at + 1, String::new())).any(|(_, known)| known == id)
    }

    /// Whether any record at a position was ever damaged.
    pub fn was_at(&self, at: u64) -> bool {
        self.was.range((at, String::new())..(at + 1, String::new())).next().is_some()
    }

    /// Damage that stands at a position.
    pub fn at(&self, at: u64) -> Option<&Lost> {
        self.lost.get(&at)
    }

    /// What a damaged record tells of itself now, if nobody can tell it from a sound one.
    pub fn told(&self, at: u64) -> Option<Rec> {
        rec_at(&self.lost.get(&at)?.now, at, &DELAYS)
    }

    /// Whether a message with this body had a record that could have been altered so that nobody can tell.
    pub fn may_be_altered(&self, crc: u32) -> bool {
        self.altered.contains(&crc)
    }

    /// Whether the file's entry at a place was damaged.
    pub fn has_entry(&self, place: &Place) -> bool {
        self.entries.contains(place)
    }

    /// Whether the index may miss a key at a position.
    pub fn has_key(&self, hash: u32, at: u64) -> bool {
        self.keys.contains(&(hash, at))
    }
}
