//! Writing keys behind: one job appends what was added since the last.
//!
//! The order of steps is what makes a crash harmless:
//!
//! 1. entries; 2. **sync**; 3. slots; 4. header. (5. sync, when the file is full or the store stops.)
//!
//! - A slot never leads to an entry that is not there: not after a kill, since entries are written first, and
//!   not after a power cut, since they are synced first.
//! - The header never counts a key whose slot is not written. After a power cut a header may be newer than
//!   the slots; therefore only what an *earlier* job wrote, covered by step 2 of this one, counts as synced.
//! - Slots may be newer than the header that counts. Opening takes them back.
//! - Each slot lies in one sector, so no crash leaves half of one: it leads to an entry that it was written for.
//!
//! The slot table stays on disk. A job reads and writes the parts it needs, so an idle index costs no memory.

use std::{fmt, io, path::PathBuf, sync::Arc};

use super::{
    Mark, Raw,
    format::{ENTRY_LEN, Entry, HEADER_LEN, Header, SLOT_LEN, Shape, name_text, slot},
    open,
};
use crate::disk::{Disk, File, Open};

/// Parts of the slot table that are read and written at once, bytes: a page when few slots change, more when
/// nearly every page does.
const SPAN_SMALL: u64 = 4096;
const SPAN_LARGE: u64 = 16 * SPAN_SMALL;
/// Entries encoded at once.
const BATCH: usize = 16 << 10;

/// Work that may block. At most one is under way.
pub struct IndexJob {
    pub(super) disk: Arc<dyn Disk>,
    pub(super) dir: PathBuf,
    pub(super) name: u64,
    pub(super) shape: Shape,
    pub(super) file: Option<Arc<dyn File>>,
    /// As on disk.
    pub(super) before: Header,
    /// As it is to be; slots in use are counted by the job.
    pub(super) after: Header,
    pub(super) entries: Arc<Vec<Raw>>,
    /// An earlier job for the same entries ended half done.
    pub(super) is_unsure: bool,
    pub(super) must_sync: bool,
}

/// What came of an [`IndexJob`]; give it to [`super::Index::done`].
pub struct IndexDone {
    pub(super) name: u64,
    pub(super) result: io::Result<Written>,
}

pub(super) struct Written {
    pub file: Arc<dyn File>,
    pub header: Header,
    /// The newest state that is certainly durable.
    pub synced: Option<Mark>,
}

impl fmt::Debug for IndexJob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "IndexJob({}, {} keys)", name_text(self.name), self.entries.len())
    }
}

impl fmt::Debug for IndexDone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "IndexDone({}, {:?})", name_text(self.name), self.result.as_ref().map(|w| w.header))
    }
}

impl IndexJob {
    /// Does the work. Touches the disk.
    pub fn run(mut self) -> IndexDone {
        IndexDone { name: self.name, result: self.write() }
    }

    fn write(&mut self) -> io::Result<Written> {
        let file = match self.file.take() {
            Some(file) => file,
            None => self.make()?,
        };
        let mut synced = None;
        if self.is_unsure {
            self.take_back(&*file)?;
        }
        if !self.entries.is_empty() {
            let order = self.by_slot();
            let prevs = self.resolve(&*file, &order)?;
            self.put_entries(&*file, &prevs)?;
            drop(prevs);
            sync(&*file)?;
            synced = Mark::of(self.name, &self.before);
            self.put_slots(&*file, &order)?;
            file.write_at(&self.after.encode(), 0)?;
        }
        if self.must_sync {
            sync(&*file)?;
            synced = Mark::of(self.name, &self.after);
        }
        Ok(Written { file, header: self.after, synced })
    }

    /// Slots that lead to entries of the job that ended half done go back to the ones before: those entries were
    /// durable before a slot was written.
    fn take_back(&mut self, file: &dyn File) -> io::Result<()> {
        let taken = open::take_back(file, self.shape, self.before.next)?;
        if taken.broken > 0 {
            let why = format!("{} slots of {} lead nowhere", taken.broken, name_text(self.name));
            return Err(io::Error::new(io::ErrorKind::InvalidData, why));
        }
        self.before.slots_used = taken.used;
        Ok(())
    }

    /// Opens the file, or makes it: sparse, of full length from the start as the original's.
    fn make(&self) -> io::Result<Arc<dyn File>> {
        let path = self.dir.join(name_text(self.name));
        let file = self.disk.open(&path, Open::Create)?;
        if file.len()? != self.shape.file_len() {
            file.set_len(self.shape.file_len())?;
            self.disk.sync_dir(&self.dir)?;
        }
        Ok(file)
    }

    /// Positions of the entries, by slot and then by age: slot in the upper half, position in the lower.
    fn by_slot(&self) -> Vec<u64> {
        let key = |(i, raw): (usize, &Raw)| (u64::from(self.shape.slot_of(raw.hash)) << 32) | i as u64;
        let mut order: Vec<u64> = self.entries.iter().enumerate().map(key).collect();
        order.sort_unstable();
        order
    }

    /// Number of an entry of this job in the file.
    fn number(&self, position: u64) -> u32 {
        self.before.next + (position as u32)
    }

    /// For each entry its predecessor. Counts slots that come into use.
    fn resolve(&mut self, file: &dyn File, order: &[u64]) -> io::Result<Vec<u32>> {
        let mut prevs = vec![0; self.entries.len()];
        let mut used = self.before.slots_used;
        self.each_span(file, order, |span, _, group| {
            let mut last: Option<(u64, u32)> = None;
            for (at_slot, position, bytes) in slots_in(span, group) {
                let prev = match last {
                    Some((same, number)) if same == at_slot => Some(number),
                    _ => slot(bytes, self.before.next),
                };
                used += u32::from(prev.is_none());
                if let Some(to) = prevs.get_mut(position as usize) {
                    *to = prev.unwrap_or(0);
                }
                last = Some((at_slot, self.number(position)));
            }
            Ok(())
        })?;
        self.after.slots_used = used.min(self.shape.slots());
        Ok(prevs)
    }

    fn put_entries(&self, file: &dyn File, prevs: &[u32]) -> io::Result<()> {
        let mut out = Vec::with_capacity(self.entries.len().min(BATCH) * ENTRY_LEN as usize);
        let mut at = self.shape.entry_at(self.before.next);
        for (raws, prevs) in self.entries.chunks(BATCH).zip(prevs.chunks(BATCH)) {
            out.clear();
            for (raw, prev) in raws.iter().zip(prevs) {
                let Raw { hash, at, diff } = *raw;
                out.extend(Entry { hash, at, diff, prev: *prev }.encode());
            }
            file.write_at(&out, at)?;
            at += out.len() as u64;
        }
        Ok(())
    }

    fn put_slots(&self, file: &dyn File, order: &[u64]) -> io::Result<()> {
        self.each_span(file, order, |span, at, group| {
            let first = span.first;
            for position in group {
                let within = ((position >> 32) * SLOT_LEN - first) as usize;
                if let Some(to) = span.bytes.get_mut(within..within + SLOT_LEN as usize) {
                    to.copy_from_slice(&self.number(position & u64::from(u32::MAX)).to_be_bytes());
                }
            }
            file.write_at(span.bytes, at)
        })
    }

    /// Reads each part of the slot table that holds a slot of `order`, and hands it out with its place in the
    /// file and the positions that belong to it.
    fn each_span(
        &self,
        file: &dyn File,
        order: &[u64],
        mut visit: impl FnMut(&mut Span<'_>, u64, &[u64]) -> io::Result<()>,
    ) -> io::Result<()> {
        let table_end = self.shape.slot_at(self.shape.slots());
        let pages = table_end.div_ceil(SPAN_SMALL);
        let len = if order.len() as u64 > 2 * pages { SPAN_LARGE } else { SPAN_SMALL };
        let span_of = |position: &u64| (HEADER_LEN + (position >> 32) * SLOT_LEN) / len;
        let mut buf = Vec::new();
        for group in order.chunk_by(|a, b| span_of(a) == span_of(b)) {
            let Some(span) = group.first().map(span_of) else { continue };
            // Spans begin at page borders of the file, so the first one is shorter by the header.
            let (from, to) = ((span * len).max(HEADER_LEN), ((span + 1) * len).min(table_end));
            buf.resize((to - from) as usize, 0);
            file.read_at(&mut buf, from)?;
            visit(&mut Span { bytes: &mut buf, first: from - HEADER_LEN }, from, group)?;
        }
        Ok(())
    }
}

/// A sync that failed must not be tried again, whatever it failed for: pages that were lost pass for written.
fn sync(file: &dyn File) -> io::Result<()> {
    file.sync().map_err(|why| io::Error::other(format!("sync: {why}")))
}

/// A part of the slot table.
struct Span<'a> {
    bytes: &'a mut [u8],
    /// Its place in the table, bytes.
    first: u64,
}

/// Slot, position and stored bytes of each member of a group.
fn slots_in<'a>(
    span: &'a Span<'_>,
    group: &'a [u64],
) -> impl Iterator<Item = (u64, u64, [u8; SLOT_LEN as usize])> + 'a {
    group.iter().map(|key| {
        let (at_slot, position) = (key >> 32, key & u64::from(u32::MAX));
        let within = (at_slot * SLOT_LEN - span.first) as usize;
        let bytes = span.bytes.get(within..).and_then(|rest| rest.first_chunk()).copied();
        (at_slot, position, bytes.unwrap_or_default())
    })
}
