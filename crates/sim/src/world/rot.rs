//! The disk does something in silence, and the ledger hears of it.
//!
//! Places are drawn when it happens, of what is there then: of the log only what is flushed, so that no power cut
//! makes it good again, and what lies behind its end.

use super::{
    World,
    layout::{INDEX_KEYS, INDEX_SLOTS, LOG_DIR, ROOT},
};
use crate::{
    ledger::Lost,
    options::DELAYS,
    rec::{body_in, rec_at},
    rot::{Harm, Rot, SECTOR, Victim},
    walk::Walk,
};
use kerolox_protocol::record::{self, BLANK_BYTES, Entry};
use kerolox_store::disk::{
    Disk,
    memory::{self, Call, LostWrite},
};
use std::{
    ops::Range,
    path::{Path, PathBuf},
};

/// Bytes before the slots of an index file.
const INDEX_HEADER: u64 = 40;
/// Bytes of an entry, of a queue or of the index.
const ENTRY: u64 = 20;
/// Tries to find a place, before the disk stays sound after all.
const TRIES: u32 = 32;

impl World {
    pub(super) fn on_rot(&mut self, rot: Rot) {
        match rot {
            Rot::Decay { between_lives: true, .. } if self.broker.process.is_some() => {
                self.rot_later.push(rot);
            }
            Rot::Decay { victim, harm, .. } => self.decay(victim, harm),
            Rot::LostWrite | Rot::StrayWrite { .. } => {
                self.strays.push_back(rot);
                let path = format!("{LOG_DIR}/");
                let nth = self.strays.len() as u64;
                self.disk.plan(memory::Fault {
                    call: Call::Write,
                    path,
                    nth,
                    times: 1,
                    harm: memory::Harm::Lost,
                });
            }
        }
    }

    /// The broker is down: what was to happen then.
    pub(super) fn rot_between_lives(&mut self) {
        for rot in std::mem::take(&mut self.rot_later) {
            if let Rot::Decay { victim, harm, .. } = rot {
                self.decay(victim, harm);
            }
        }
    }

    /// Writes that were lost just now, and where they went.
    pub(super) fn note_lost_writes(&mut self) {
        for write in self.disk.take_lost() {
            let rot = self.strays.pop_front().unwrap_or(Rot::LostWrite);
            self.write_lost(&write);
            if let Rot::StrayWrite { into } = rot {
                self.stray(into, &write);
            }
        }
    }

    /// Of a write that never happened nothing stands on the disk.
    fn write_lost(&mut self, write: &LostWrite) {
        let Some(base) = log_base(&write.path) else { return };
        let (mut at, end) = (write.at as usize, self.options.segment_bytes as usize);
        let there = self.disk.bytes(&write.path).unwrap_or_default();
        let mut lost = Vec::new();
        while let Some(rest) = write.bytes.get(at - write.at as usize..).filter(|rest| !rest.is_empty()) {
            let place = base + at as u64;
            let now = |n: usize| there.get(at..at + n).unwrap_or_default().to_vec();
            if let Some(rec) = rec_at(rest, place, &DELAYS) {
                let size = rec.size as usize;
                lost.push((place, Lost { end: rec.end(), now: now(size), rec: Some(rec), body_only: false }));
                at += size;
            } else if let Ok(Entry::Blank(left)) = record::parse(rest)
                && left as usize == end - at
            {
                let filler =
                    Lost { end: base + end as u64, rec: None, now: now(BLANK_BYTES), body_only: false };
                lost.push((place, filler));
                break;
            } else {
                break;
            }
        }
        // Zeros written ahead of the log are no loss.
        if !lost.is_empty() {
            self.trace.note(
                self.now,
                format!("lost: {} bytes of the log from {} on", write.bytes.len(), base + write.at),
            );
            self.oracle.happened("a write was lost");
            self.damaged(lost);
        }
    }

    /// It happened elsewhere.
    fn stray(&mut self, into: Victim, write: &LostWrite) {
        for _ in 0..TRIES {
            let Some((path, len)) = self.pick_file(into) else { return };
            let at = match self.record_for(&path, write) {
                Some(at) => at,
                None => SECTOR * self.random.faults.below(len.div_ceil(SECTOR)) + write.at % SECTOR,
            };
            let at = if len > at { at } else { 0 };
            let n = (write.bytes.len() as u64).min(len - at);
            if self.may_harm(&path, at..at + n) {
                let bytes = write.bytes.get(..n as usize).unwrap_or(&write.bytes).to_vec();
                self.oracle.happened("a write went astray");
                return self.harm(&path, at, &bytes);
            }
        }
    }

    /// A place in a log file where a record begins, as far from a sector's start as the write: what lands there is taken
    /// for a record by who does not look for its position.
    fn record_for(&mut self, path: &Path, write: &LostWrite) -> Option<u64> {
        let base = log_base(path)?;
        let file = base..base + self.options.segment_bytes;
        let fits = |at: &u64| file.contains(at) && (at - base) % SECTOR == write.at % SECTOR;
        let starts: Vec<u64> = self.walk().records.iter().map(|rec| rec.at).filter(fits).collect();
        let wanted = self.random.faults.chance(50);
        self.random.faults.pick(&starts).filter(|_| wanted).map(|at| at - base)
    }

    fn decay(&mut self, victim: Victim, harm: Harm) {
        for _ in 0..TRIES {
            let Some((path, len)) = self.pick_file(victim) else { return };
            let filled = self.filled(victim, &path, len);
            let Some(at) = self.pick_place(victim, filled) else { continue };
            let range = match harm {
                Harm::Bit => at..at + 1,
                Harm::Sector => at / SECTOR * SECTOR..((at / SECTOR + 1) * SECTOR).min(len),
            };
            if !self.may_harm(&path, range.clone()) {
                continue;
            }
            let zeros = self.random.faults.chance(30);
            let bytes: Vec<u8> = match harm {
                Harm::Bit => {
                    let there = self.disk.bytes(&path).unwrap_or_default();
                    let byte = there.get(at as usize).copied().unwrap_or(0);
                    vec![byte ^ (1 << self.random.faults.below(8))]
                }
                Harm::Sector if zeros => range.clone().map(|_| 0).collect(),
                Harm::Sector => range.clone().map(|_| self.random.faults.next() as u8).collect(),
            };
            self.oracle.happened(match victim {
                Victim::Log => "the log rotted",
                Victim::Queue => "a queue file rotted",
                Victim::Index => "an index file rotted",
                Victim::Small => "a small file rotted",
            });
            return self.harm(&path, range.start, &bytes);
        }
    }

    /// Part of a file that is worth being harmed.
    fn filled(&self, victim: Victim, path: &Path, len: u64) -> u64 {
        let bytes = self.disk.bytes(path).unwrap_or_default();
        let filled = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last as u64 + 1);
        match victim {
            Victim::Log | Victim::Small => filled,
            // A little behind it, too.
            Victim::Queue | Victim::Index => (filled + ENTRY).min(len),
        }
    }

    /// What is new is what recovery reads.
    fn pick_place(&mut self, victim: Victim, filled: u64) -> Option<u64> {
        let r = &mut self.random.faults;
        let newest = victim != Victim::Small && r.chance(50);
        let from = if newest { filled.saturating_sub(2_048) } else { 0 };
        (filled > 0).then(|| from + r.below(filled - from))
    }

    fn pick_file(&mut self, victim: Victim) -> Option<(PathBuf, u64)> {
        let mut files = Vec::new();
        let dirs = match victim {
            Victim::Log => vec![PathBuf::from(LOG_DIR)],
            Victim::Index => vec![Path::new(ROOT).join("index")],
            Victim::Queue => self.queue_dirs(),
            Victim::Small => vec![PathBuf::from(ROOT)],
        };
        let small = ["checkpoint", "kerolox.checkpoint", "kerolox.queues"];
        for dir in dirs {
            for entry in self.disk.list(&dir).unwrap_or_default() {
                let wanted = victim != Victim::Small || small.contains(&entry.name.as_str());
                if !entry.is_dir && entry.len > 0 && wanted {
                    files.push((dir.join(&entry.name), entry.len));
                }
            }
        }
        self.random.faults.pick(&files).cloned()
    }

    /// Directories of queues.
    pub(super) fn queue_dirs(&self) -> Vec<PathBuf> {
        let below = |dir: &PathBuf| {
            let entries = self.disk.list(dir).unwrap_or_default().into_iter();
            entries.filter(|entry| entry.is_dir).map(|entry| dir.join(entry.name)).collect::<Vec<_>>()
        };
        let topics = below(&Path::new(ROOT).join("consumequeue"));
        topics.iter().flat_map(below).collect()
    }

    /// Whether what is damaged there stays so: a power cut may bring back what was not flushed.
    fn may_harm(&self, path: &Path, part: Range<u64>) -> bool {
        let Some(base) = log_base(path) else { return true };
        let (flushed, written) = match (&self.broker.process, &self.before) {
            (Some(process), _) => (process.service.store.flushed().0, process.service.store.written().0),
            (None, Some(before)) => (before.flushed, before.written),
            (None, None) => return false,
        };
        base + part.end <= flushed || base + part.start >= written && self.broker.process.is_some()
    }

    /// These bytes stand there from now on.
    fn harm(&mut self, path: &Path, at: u64, bytes: &[u8]) {
        let end = at + bytes.len() as u64;
        let note = format!("rot: {} bytes of {} from {at} on", bytes.len(), path.display());
        self.trace.note(self.now, note);
        let before = self.disk.bytes(path).unwrap_or_default();
        let walk = log_base(path).map(|base| (base, self.walk()));
        if self.disk.decay(path, at, bytes).is_err() {
            return;
        }
        let after = self.disk.bytes(path).unwrap_or_default();
        let changed: Vec<u64> =
            (at..end).filter(|n| before.get(*n as usize) != after.get(*n as usize)).collect();
        let (Some(first), Some(last)) = (changed.first(), changed.last()) else { return };
        let part = *first..*last + 1;
        if let Some((base, walk)) = walk {
            let lost = self.harmed_records(&walk, base, part, (&before, &after));
            self.damaged(lost);
        } else if path.starts_with(Path::new(ROOT).join("consumequeue")) {
            self.harmed_entries(path, part);
        } else if path.starts_with(Path::new(ROOT).join("index")) {
            self.oracle.rot.add_keys(harmed_keys(&before, &part));
            self.oracle.rot.add_keys(harmed_keys(&after, &part));
        } else {
            self.oracle.rot.add_small(path, after);
        }
    }

    /// Records of a log file of which a part is not what it was.
    fn harmed_records(
        &self,
        walk: &Walk,
        base: u64,
        part: Range<u64>,
        (before, after): (&[u8], &[u8]),
    ) -> Vec<(u64, Lost)> {
        let part = base + part.start..base + part.end;
        let hit = |from: u64, to: u64| from < part.end && part.start < to;
        let now = |from: u64, to: u64| {
            after.get((from - base) as usize..(to - base) as usize).unwrap_or_default().to_vec()
        };
        let mut lost: Vec<(u64, Lost)> = Vec::new();
        for rec in walk.records.iter().filter(|rec| hit(rec.at, rec.end())) {
            let bytes = before.get((rec.at - base) as usize..).unwrap_or_default();
            let body = body_in(bytes).map(|body| rec.at + body.start as u64..rec.at + body.end as u64);
            let body_only = body.is_some_and(|body| body.start <= part.start && part.end <= body.end);
            let (end, now) = (rec.end(), now(rec.at, rec.end()));
            lost.push((rec.at, Lost { end, rec: Some(rec.clone()), now, body_only }));
        }
        // What was damaged before stays so, and looks otherwise now.
        for (at, old) in self.oracle.rot.within(&part) {
            let n = old.now.len() as u64;
            lost.push((at, Lost { now: now(at, at + n), body_only: false, ..old.clone() }));
        }
        // The filler begins where the last record ends.
        let file_end = base + self.options.segment_bytes;
        let in_file = walk.records.iter().chain(&walk.lost).filter(|rec| rec.at >= base && rec.at < file_end);
        let filler = in_file.map(|rec| rec.end()).max().unwrap_or(base);
        let is_filler = walk.end >= file_end && filler + BLANK_BYTES as u64 <= file_end;
        if is_filler && hit(filler, filler + BLANK_BYTES as u64) {
            let now = now(filler, filler + BLANK_BYTES as u64);
            lost.push((filler, Lost { end: file_end, rec: None, now, body_only: false }));
        }
        lost
    }

    fn harmed_entries(&mut self, path: &Path, part: Range<u64>) {
        let mut names = path.iter().rev().filter_map(|name| name.to_str());
        let (Some(file), Some(queue), Some(topic)) = (names.next(), names.next(), names.next()) else {
            return;
        };
        let (Ok(base), Ok(queue)) = (file.parse::<u64>(), queue.parse::<i32>()) else { return };
        for offset in (base + part.start) / ENTRY..(base + part.end).div_ceil(ENTRY) {
            self.oracle.rot.add_entry((topic.to_owned(), queue, offset as i64));
        }
    }

    fn damaged(&mut self, lost: Vec<(u64, Lost)>) {
        for (at, lost) in &lost {
            let what = lost.rec.as_ref().map_or("filler".to_owned(), |rec| {
                format!("{}/{}/{} {:?}", rec.topic, rec.queue, rec.offset, rec.id)
            });
            let body = if lost.body_only { ", its body" } else { "" };
            self.trace.note(self.now, format!("damaged: {at} to {}: {what}{body}", lost.end));
        }
        for (at, lost) in lost.clone() {
            self.oracle.rot.add(at, lost);
        }
        let walk = self.walk();
        self.oracle.rotted(&walk, &lost);
    }
}

/// Position of the first byte of a log file.
fn log_base(path: &Path) -> Option<u64> {
    path.parent().filter(|dir| *dir == Path::new(LOG_DIR))?;
    path.file_name()?.to_str()?.parse().ok()
}

/// Keys that the index finds only by way of a part of one of its files.
fn harmed_keys(bytes: &[u8], part: &Range<u64>) -> Vec<(u32, u64)> {
    let entries_at = INDEX_HEADER + 4 * INDEX_SLOTS;
    let be32 = |at: u64| {
        let bytes = bytes.get(at as usize..)?.first_chunk()?;
        Some(u32::from_be_bytes(*bytes))
    };
    let entry = |n: u64| {
        let at = entries_at + ENTRY * n;
        let position = bytes.get(at as usize + 4..)?.first_chunk()?;
        Some((be32(at)?, u64::from_be_bytes(*position)))
    };
    // Whether an entry or what leads to it from its slot is hit: all newer ones of the slot do.
    let slot = |hash: u32| u64::from(hash) % INDEX_SLOTS;
    let mut broken = vec![false; INDEX_SLOTS as usize];
    let mut keys = Vec::new();
    for slot in 0..INDEX_SLOTS {
        let at = INDEX_HEADER + 4 * slot;
        if let Some(broken) = broken.get_mut(slot as usize) {
            // A file whose header makes no sense is not used.
            *broken = part.start < INDEX_HEADER || at < part.end && part.start < at + 4;
        }
    }
    for n in (1..INDEX_KEYS).rev() {
        let at = entries_at + ENTRY * n;
        let Some((hash, position)) = entry(n).filter(|(hash, position)| (*hash, *position) != (0, 0)) else {
            continue;
        };
        let Some(broken) = broken.get_mut(slot(hash) as usize) else { continue };
        *broken |= at < part.end && part.start < at + ENTRY;
        if *broken {
            keys.push((hash, position));
        }
    }
    keys
}
