//! Whether the index and the log agree, both ways. Reads the layout described in [`crate::index`] on its own.
//!
//! Each file is first checked by itself: the chains that its entries must form, and the slots that must lead to
//! them. Then its entries, which are in log order, are compared with the records' keys while the log is walked.

use super::{
    Finding, Findings, Kind, Remedy, Severity,
    layout::{Layout, Numbered},
    walk::{be32, be64},
};
use crate::{
    disk::{Disk, File, Open},
    dispatch::{Dispatch, java_hash},
    index::Shape,
};
use std::{collections::VecDeque, io, ops::Range, sync::Arc};

const HEADER: u64 = 40;
const ENTRY: u64 = 20;
/// Bytes read at once; a multiple of slots and entries.
const PIECE: usize = 20 << 12;

/// A file that can be used.
struct Usable {
    file: Arc<dyn File>,
    entries_at: u64,
    next: u32,
}

/// The comparison with the log.
pub(super) struct Keys<'a> {
    layout: &'a Layout,
    files: VecDeque<Usable>,
    /// The number of the next entry of the first file.
    number: u32,
    piece: Vec<u8>,
    piece_from: u32,
    last_at: u64,
    /// Where the index begins.
    begins: Option<u64>,
    is_absent: bool,
    /// A file cannot be used, so what is missing needs no further word.
    is_broken: bool,
    pub(super) keys: u64,
    missing: Option<(u64, u64)>,
    late: Option<(u64, u64)>,
    before: Option<(u64, u64)>,
    stray: Option<(u64, u64)>,
}

impl<'a> Keys<'a> {
    /// Checks the files, and gets ready to compare their entries.
    pub(super) fn open(
        disk: &dyn Disk,
        layout: &'a Layout,
        shape: Shape,
        found: &mut Findings,
    ) -> io::Result<Keys<'a>> {
        let mut keys = Keys {
            layout,
            files: VecDeque::new(),
            number: 1,
            piece: Vec::new(),
            piece_from: 0,
            last_at: 0,
            begins: None,
            is_absent: layout.index.is_empty(),
            is_broken: false,
            keys: 0,
            missing: None,
            late: None,
            before: None,
            stray: None,
        };
        for file in &layout.index {
            match check_file(disk, file, shape, layout.is_clean())? {
                Ok(usable) => keys.files.push_back(usable),
                Err(why) => {
                    // A crash may come before a new file has its length; the next start makes it again.
                    let is_unfinished =
                        layout.aborted && layout.index.last() == Some(file) && file.len < shape.file_len();
                    keys.is_broken |= !is_unfinished;
                    let severity = if is_unfinished { Severity::Leftover } else { Severity::Damage };
                    let finding = Finding::new(severity, Kind::IndexFile, &file.path, why);
                    found.push(finding.remedy(Remedy::RebuildIndex));
                }
            }
        }
        keys.begins = keys.peek()?.map(|(_, at)| at);
        Ok(keys)
    }

    /// Hash and log position of the next entry.
    fn peek(&mut self) -> io::Result<Option<(u32, u64)>> {
        loop {
            let Some(file) = self.files.front() else { return Ok(None) };
            if self.number >= file.next {
                self.files.pop_front();
                self.number = 1;
                self.piece.clear();
                continue;
            }
            let within = (self.number.wrapping_sub(self.piece_from) as usize).saturating_mul(ENTRY as usize);
            if self.piece.is_empty() || self.number < self.piece_from || within >= self.piece.len() {
                let left = u64::from(file.next - self.number) * ENTRY;
                self.piece.resize((PIECE as u64).min(left) as usize, 0);
                file.file.read_at(&mut self.piece, file.entries_at + u64::from(self.number) * ENTRY)?;
                self.piece_from = self.number;
                continue;
            }
            return Ok(Some((be32(&self.piece, within), be64(&self.piece, within + 4))));
        }
    }

    /// Takes the next record of the log.
    pub(super) fn record(
        &mut self,
        at: u64,
        topic: &str,
        dispatch: &Dispatch<'_>,
        is_late: bool,
    ) -> io::Result<()> {
        let mut wanted = Vec::new();
        if dispatch.indexed {
            dispatch.each_key(|key| wanted.push(hash_of(topic, key)));
        }
        self.keys += wanted.len() as u64;
        while let Some((hash, entry_at)) = self.peek()? {
            if entry_at > at {
                break;
            }
            self.number += 1;
            let first = self.layout.first();
            // Repeats of a record's keys can follow a crash of the original; they do no harm.
            let known = wanted.iter().position(|wanted| *wanted == hash);
            if entry_at == at
                && let Some(known) = known
            {
                wanted.swap_remove(known);
            } else if entry_at >= first && (entry_at != at || !carries(topic, dispatch, hash)) {
                count(&mut self.stray, entry_at);
            }
            self.last_at = entry_at;
        }
        if wanted.is_empty() || self.is_absent || self.is_broken {
            return Ok(());
        }
        let is_before = self.begins.is_some_and(|begins| at < begins);
        // A crash may take the index back further than the queues; the next start reads the log again for it.
        let is_late = is_late || self.layout.aborted && self.peek()?.is_none();
        let which = match (is_before, is_late) {
            (true, _) => &mut self.before,
            (false, true) => &mut self.late,
            (false, false) => &mut self.missing,
        };
        count(which, at);
        Ok(())
    }

    /// Ends the walk.
    pub(super) fn finish(mut self, damaged: &[Range<u64>], found: &mut Findings) -> io::Result<()> {
        while let Some((_, at)) = self.peek()? {
            self.number += 1;
            count(&mut self.stray, at);
        }
        let dir = self.layout.paths.index();
        if self.is_absent && self.keys > 0 {
            let text = format!("there is no index; {} keys cannot be searched for", self.keys);
            found.push(Finding::note(Kind::IndexAbsent, &dir, text));
        }
        if let Some((at, n)) = self.before {
            let text = format!("{n} records with keys are older than the index");
            found.push(Finding::note(Kind::IndexAbsent, &dir, text).at(at));
        }
        if let Some((at, n)) = self.late {
            let text = format!("the keys of {n} records are not in the index yet; the next start adds them");
            found.push(Finding::note(Kind::NotDispatched, &dir, text).at(at));
        }
        if let Some((at, n)) = self.missing {
            let text = format!("{n} records have keys that are not in the index");
            let finding = Finding::damage(Kind::IndexMissing, &dir, text).at(at);
            found.push(finding.remedy(Remedy::RebuildIndex));
        }
        if let Some((at, n)) = self.stray {
            // Of damaged records the keys stay behind, and lead nowhere.
            if !damaged.iter().any(|range| range.contains(&at)) {
                let text = format!("{n} entries name records that do not carry the key");
                let finding = Finding::damage(Kind::IndexStray, &dir, text).at(at);
                found.push(finding.remedy(Remedy::RebuildIndex));
            }
        }
        Ok(())
    }
}

fn count(what: &mut Option<(u64, u64)>, at: u64) {
    what.get_or_insert((at, 0)).1 += 1;
}

fn carries(topic: &str, dispatch: &Dispatch<'_>, hash: u32) -> bool {
    let mut found = false;
    dispatch.each_key(|key| found |= hash_of(topic, key) == hash);
    dispatch.indexed && found
}

/// Java's hash of `topic#key` without its sign.
pub(super) fn hash_of(topic: &str, key: &str) -> u32 {
    java_hash(&format!("{topic}#{key}")).checked_abs().map_or(0, i32::unsigned_abs)
}

/// Checks one file by itself.
fn check_file(
    disk: &dyn Disk,
    found: &Numbered,
    shape: Shape,
    is_clean: bool,
) -> io::Result<Result<Usable, String>> {
    if found.len != shape.file_len() {
        return Ok(Err(format!(
            "has {} bytes; files of {} slots and {} entries have {}",
            found.len,
            shape.slots(),
            shape.entries(),
            shape.file_len()
        )));
    }
    let file = disk.open(&found.path, Open::Read)?;
    let mut head = [0; HEADER as usize];
    file.read_at(&mut head, 0)?;
    let (begin_at, end_at) = (be64(&head, 16), be64(&head, 24));
    let used = be32(&head, 32);
    let next = i32::from_be_bytes(be32(&head, 36).to_be_bytes()).max(1).unsigned_abs();
    let entries_at = HEADER + 4 * u64::from(shape.slots());
    if next > shape.entries() || used > shape.slots() || begin_at > i64::MAX as u64 || end_at < begin_at {
        return Ok(Err("its header cannot be".into()));
    }
    let mut newest = vec![0u32; shape.slots() as usize];
    let mut last_at = 0;
    let mut number = 1;
    let mut piece = vec![0; PIECE];
    while number < next {
        let n = (u64::from(next - number) * ENTRY).min(PIECE as u64) as usize;
        let (part, _) = piece.split_at_mut(n);
        file.read_at(part, entries_at + u64::from(number) * ENTRY)?;
        for entry in part.chunks_exact(ENTRY as usize) {
            let (hash, at, prev) = (be32(entry, 0), be64(entry, 4), be32(entry, 16));
            let slot = newest.get_mut((hash % shape.slots()) as usize);
            let is_chained = slot.is_some_and(|slot| std::mem::replace(slot, number) == prev);
            if hash > i32::MAX as u32 || !is_chained {
                return Ok(Err(format!("entry {number} does not fit into its chain")));
            }
            if at < last_at || at > end_at {
                return Ok(Err(format!("entry {number} names the log position {at}, out of order")));
            }
            last_at = at;
            number += 1;
        }
    }
    if next > 1 && last_at != end_at {
        return Ok(Err(format!("ends with the log position {last_at}, its header says {end_at}")));
    }
    let mut slots = vec![0; PIECE];
    for (n, expected) in newest.chunks(PIECE / 4).enumerate() {
        let (part, _) = slots.split_at_mut(expected.len() * 4);
        file.read_at(part, HEADER + (n * PIECE) as u64)?;
        for (slot, expected) in part.chunks_exact(4).zip(expected) {
            let leads_to = be32(slot, 0);
            // Slots are written before the header: without a clean stop they may be ahead of it.
            let is_ahead = !is_clean && leads_to >= next;
            if leads_to != *expected && !is_ahead {
                return Ok(Err(format!("a slot leads to entry {leads_to} instead of {expected}")));
            }
        }
    }
    let in_use = newest.iter().filter(|slot| **slot != 0).count() as u64;
    if u64::from(used) != in_use && is_clean {
        return Ok(Err(format!("{in_use} slots are in use, its header says {used}")));
    }
    Ok(Ok(Usable { file, entries_at, next }))
}
