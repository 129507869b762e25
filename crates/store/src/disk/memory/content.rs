//! What one file holds: in the page cache, and for certain on the device.
//!
//! Knows pages, sectors and the order of changes; knows neither names nor errors.

use std::{collections::BTreeMap, sync::Arc};

use super::choose::Choose;

/// What a device writes as one, in bytes.
pub(super) const SECTOR: u64 = 512;
/// What the page cache handles and the disk gives away as one, in bytes.
pub(super) const PAGE: u64 = 4096;
const PAGE_LEN: usize = PAGE as usize;

/// Bytes with holes. Beyond the length every byte is zero.
#[derive(Debug, Clone, Default)]
pub(super) struct Sparse {
    pages: BTreeMap<u64, Arc<[u8; PAGE_LEN]>>,
    pub(super) len: u64,
}

/// Splits a range at multiples of `step`: (position, offset in the range, length).
fn pieces(at: u64, len: usize, step: u64) -> impl Iterator<Item = (u64, usize, usize)> {
    let mut done = 0;
    std::iter::from_fn(move || {
        let start = at + done as u64;
        let n = usize::try_from(step - start % step).unwrap_or(len).min(len - done);
        let from = done;
        done += n;
        (n > 0).then_some((start, from, n))
    })
}

impl Sparse {
    /// Copies out; what lies beyond the end is zero.
    pub(super) fn read(&self, buf: &mut [u8], at: u64) {
        for (start, from, n) in pieces(at, buf.len(), PAGE) {
            let within = (start % PAGE) as usize;
            let out = &mut buf[from..from + n];
            match self.pages.get(&(start / PAGE)) {
                Some(page) => out.copy_from_slice(&page[within..within + n]),
                None => out.fill(0),
            }
        }
    }

    /// Parts of a range that lie in pages with anything but zeros: position and length.
    pub(super) fn filled(&self, at: u64, end: u64) -> Vec<(u64, usize)> {
        let end = end.min(self.len);
        let in_range = |(number, page): (&u64, &Arc<[u8; PAGE_LEN]>)| {
            let (from, to) = ((number * PAGE).max(at), ((number + 1) * PAGE).min(end));
            let part = page.get((from % PAGE) as usize..)?.get(..to.checked_sub(from)? as usize)?;
            part.iter().any(|byte| *byte != 0).then_some((from, part.len()))
        };
        if at >= end {
            Vec::new()
        } else {
            self.pages.range(at / PAGE..end.div_ceil(PAGE)).filter_map(in_range).collect()
        }
    }

    /// Copies in without a word about the length.
    fn put(&mut self, bytes: &[u8], at: u64) {
        for (start, from, n) in pieces(at, bytes.len(), PAGE) {
            let within = (start % PAGE) as usize;
            let page = self.pages.entry(start / PAGE).or_insert_with(|| Arc::new([0; PAGE_LEN]));
            Arc::make_mut(page)[within..within + n].copy_from_slice(&bytes[from..from + n]);
        }
    }

    fn set_len(&mut self, len: u64) {
        if len < self.len {
            self.trim(len);
        }
        self.len = len;
    }

    /// Zeroes everything from `len` on.
    fn trim(&mut self, len: u64) {
        drop(self.pages.split_off(&len.div_ceil(PAGE)));
        if !len.is_multiple_of(PAGE)
            && let Some(page) = self.pages.get_mut(&(len / PAGE))
        {
            Arc::make_mut(page)[(len % PAGE) as usize..].fill(0);
        }
    }

    pub(super) fn flip(&mut self, at: u64, bit: u32) {
        let mut byte = [0];
        self.read(&mut byte, at);
        self.put(&[byte[0] ^ (1 << (bit % 8))], at);
    }
}

/// A change since the last sync.
#[derive(Debug, Clone)]
enum Change {
    Write { at: u64, bytes: Arc<[u8]> },
    Len(u64),
}

/// A file's bytes and their history since the last sync.
#[derive(Debug, Clone, Default)]
pub(super) struct Content {
    /// What a read sees.
    cached: Sparse,
    /// What a power cut leaves at least.
    durable: Sparse,
    changes: Vec<Change>,
    /// Page numbers that were allocated ahead, as ranges.
    reserved: Vec<(u64, u64)>,
}

impl Content {
    pub(super) fn cached(&self) -> &Sparse {
        &self.cached
    }

    pub(super) fn write(&mut self, bytes: &Arc<[u8]>, at: u64) {
        if bytes.is_empty() {
            return;
        }
        self.cached.put(bytes, at);
        self.changes.push(Change::Write { at, bytes: Arc::clone(bytes) });
        let end = at + bytes.len() as u64;
        if end > self.cached.len {
            self.cached.len = end;
            self.changes.push(Change::Len(end));
        }
    }

    pub(super) fn set_len(&mut self, len: u64) {
        if len < self.cached.len {
            self.reserved.retain_mut(|(from, to)| {
                *to = (*to).min(len.div_ceil(PAGE));
                from < to
            });
        }
        if len != self.cached.len {
            self.cached.set_len(len);
            self.changes.push(Change::Len(len));
        }
    }

    pub(super) fn allocate(&mut self, at: u64, len: u64) {
        let end = at + len;
        self.reserved.push((at / PAGE, end.div_ceil(PAGE)));
        if end > self.cached.len {
            self.set_len(end);
        }
    }

    /// Everything written so far is on the device, page by page as the cache has it.
    pub(super) fn sync(&mut self) {
        let changes = std::mem::take(&mut self.changes);
        for change in &changes {
            if let Change::Len(len) = change {
                self.durable.set_len(*len);
            }
        }
        for change in &changes {
            let Change::Write { at, bytes } = change else { continue };
            for number in at / PAGE..(at + bytes.len() as u64).div_ceil(PAGE) {
                match self.cached.pages.get(&number) {
                    Some(page) => drop(self.durable.pages.insert(number, Arc::clone(page))),
                    None => drop(self.durable.pages.remove(&number)),
                }
            }
        }
        self.durable.trim(self.durable.len);
    }

    /// The sync failed: the kernel drops the pages' dirty marks, so a later sync "succeeds" without writing
    /// them, while reads still see them. Lengths are metadata and stay in the journal.
    pub(super) fn sync_failed(&mut self) {
        self.changes.retain(|change| matches!(change, Change::Len(_)));
    }

    /// Rots on the device and in the cache at once.
    pub(super) fn flip(&mut self, at: u64, bit: u32) {
        self.cached.flip(at, bit);
        self.durable.flip(at, bit);
    }

    /// As [`Content::flip`], any bytes.
    pub(super) fn decay(&mut self, at: u64, bytes: &[u8]) {
        self.cached.put(bytes, at);
        self.durable.put(bytes, at);
    }

    fn has_page(&self, number: u64) -> bool {
        self.cached.pages.contains_key(&number)
            || self.reserved.iter().any(|(from, to)| (*from..*to).contains(&number))
    }

    /// Pages this file takes from the disk.
    pub(super) fn pages(&self) -> u64 {
        let reserved: std::collections::BTreeSet<u64> =
            self.reserved.iter().flat_map(|(from, to)| *from..*to).collect();
        let written = self.cached.pages.keys().filter(|number| !reserved.contains(number)).count();
        (reserved.len() + written) as u64
    }

    /// How much of a write fits when so many more pages may be taken: (bytes, pages).
    pub(super) fn fits(&self, at: u64, len: usize, pages_free: u64) -> (usize, u64) {
        let mut taken = 0;
        for (start, from, _) in pieces(at, len, PAGE) {
            if !self.has_page(start / PAGE) {
                if taken == pages_free {
                    return (from, taken);
                }
                taken += 1;
            }
        }
        (len, taken)
    }

    /// Pages that allocating the range would take.
    pub(super) fn pages_missing(&self, at: u64, len: u64) -> u64 {
        (at / PAGE..(at + len).div_ceil(PAGE)).filter(|number| !self.has_page(*number)).count() as u64
    }

    /// The file after a power cut.
    ///
    /// Lengths survive as a prefix of their order, as in a journal. Each sector has, independently of all
    /// others, the state after some number of the writes that touched it, at least the synced ones; the
    /// first lost write may be torn. A write into blocks that a lost truncation would have freed is lost.
    pub(super) fn after_cut(&self, choose: &mut dyn Choose) -> Content {
        let lens = self.changes.iter().filter(|change| matches!(change, Change::Len(_))).count();
        let lens_kept = if lens == 0 { 0 } else { choose.pick(lens + 1) };
        let mut fates = self.fates(choose);
        let mut out = self.durable.clone();
        let (mut lens_seen, mut barrier, mut len_was) = (0, u64::MAX, self.durable.len);
        for change in &self.changes {
            match change {
                Change::Len(len) => {
                    if lens_seen < lens_kept {
                        out.set_len(*len);
                    } else if *len < len_was {
                        barrier = barrier.min(*len);
                    }
                    len_was = *len;
                    lens_seen += 1;
                }
                Change::Write { at, bytes } => put_survivors(&mut out, *at, bytes, barrier, &mut fates),
            }
        }
        out.trim(out.len);
        Content { cached: out.clone(), durable: out, changes: Vec::new(), reserved: self.reserved.clone() }
    }

    fn fates(&self, choose: &mut dyn Choose) -> BTreeMap<u64, Fate> {
        let mut writes: BTreeMap<u64, usize> = BTreeMap::new();
        for change in &self.changes {
            let Change::Write { at, bytes } = change else { continue };
            for (start, _, _) in pieces(*at, bytes.len(), SECTOR) {
                *writes.entry(start / SECTOR).or_default() += 1;
            }
        }
        let fate = |(sector, n)| (sector, Fate { left: choose.pick(n + 1), torn: choose.torn() });
        writes.into_iter().map(fate).collect()
    }
}

/// What becomes of the writes of a sector, in order.
struct Fate {
    /// So many survive.
    left: usize,
    /// Of the next one, the bytes before this place in the sector.
    torn: usize,
}

fn put_survivors(out: &mut Sparse, at: u64, bytes: &[u8], barrier: u64, fates: &mut BTreeMap<u64, Fate>) {
    for (start, from, n) in pieces(at, bytes.len(), SECTOR) {
        let Some(fate) = fates.get_mut(&(start / SECTOR)) else { continue };
        let piece = &bytes[from..from + n];
        let kept = if fate.left > 0 {
            fate.left -= 1;
            n
        } else {
            let torn = std::mem::take(&mut fate.torn);
            torn.saturating_sub((start % SECTOR) as usize).min(n)
        };
        let kept = kept.min(usize::try_from(barrier.saturating_sub(start)).unwrap_or(n));
        out.put(&piece[..kept], start);
    }
}
