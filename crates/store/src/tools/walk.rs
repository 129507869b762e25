//! The log, record by record, from outside: an own reader, so that recovery's mistakes do not repeat here.

use super::{layout::Layout, patient::List};
use crate::disk::{
    Disk, File, Open,
    around::{SECTOR, first_given_up, first_in, given_up, given_up_to, read_around},
};
use kerolox_protocol::record::{BLANK_BYTES, Entry, FIXED_BYTES, MAGIC, MAGIC_V2, Record, parse};
use std::{
    io,
    ops::{ControlFlow, Range},
    sync::Arc,
};

/// Bytes read at once.
const WINDOW: usize = 1 << 20;
const _: () = assert!(WINDOW > 2 * FIXED_BYTES);

/// What the walk came to.
pub(super) enum Step<'a> {
    /// A good record, standing where it says.
    Record(&'a Record<'a>),
    /// No record, and good ones behind it or known to have been durable: what is wrong with it.
    Damage(Range<u64>, String),
    /// No record, because the device does not give some of these bytes: which.
    Unreadable(Range<u64>, Range<u64>),
    /// The end of the log; and up to where something that is no record stands behind it.
    End { at: u64, garbage: Option<(u64, String)> },
}

/// Reads the log.
pub(super) struct Reader<'a> {
    disk: &'a dyn Disk,
    layout: &'a Layout,
    window: Vec<u8>,
    window_at: u64,
    /// Parts of the window that the device did not give; they are zeros there.
    holes: Vec<Range<u64>>,
    file: Option<(u64, Arc<dyn File>, u64)>,
    unread: List,
}

/// Bytes that cannot be had.
struct Lost {
    hole: Range<u64>,
    is_given_up: bool,
    /// Where the record ends that stands there, if its head tells.
    record_end: Option<u64>,
}

enum Look {
    Record(usize),
    Filler(u64),
    /// Nothing but zeros where a record's head would be.
    Empty,
    Bad(String),
    Lost(Lost),
}

impl<'a> Reader<'a> {
    pub(super) fn new(disk: &'a dyn Disk, layout: &'a Layout) -> Reader<'a> {
        Reader {
            disk,
            layout,
            window: Vec::new(),
            window_at: 0,
            holes: Vec::new(),
            file: None,
            unread: List::default(),
        }
    }

    /// End of the file that holds a position.
    fn end_at(&self, at: u64) -> Option<u64> {
        self.layout.segment_at(at).map(|file| file.base + self.layout.segment_bytes)
    }

    /// What could not be read is noted there, too.
    pub(super) fn noting(self, unread: &List) -> Reader<'a> {
        Reader { unread: unread.clone(), ..self }
    }

    /// `n` bytes at `at`, all in one file; what the file lacks, or the device does not give, counts as zeros.
    pub(super) fn bytes(&mut self, at: u64, n: usize) -> io::Result<&[u8]> {
        let n64 = n as u64;
        let has = at >= self.window_at && at + n64 <= self.window_at + self.window.len() as u64;
        if !has {
            self.fill(at, n)?;
        }
        let from = (at - self.window_at) as usize;
        self.window.get(from..from + n).ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }

    fn fill(&mut self, at: u64, n: usize) -> io::Result<()> {
        let segment = self.layout.segment_at(at).ok_or(io::ErrorKind::NotFound)?;
        let base = segment.base;
        if self.file.as_ref().is_none_or(|(of, ..)| *of != base) {
            let file = self.disk.open(&segment.path, Open::Read)?;
            let len = file.len()?;
            self.file = Some((base, file, len));
        }
        let Some((_, file, len)) = &self.file else { return Err(io::ErrorKind::NotFound.into()) };
        // Whole sectors, so that a bad one is known with its beginning.
        let at = at - (at - base) % SECTOR;
        let want =
            (WINDOW.max(n + SECTOR as usize) as u64).min(base + self.layout.segment_bytes - at) as usize;
        self.window.clear();
        self.window.resize(want, 0);
        self.window_at = at;
        self.holes.clear();
        let there = len.saturating_sub(at - base).min(want as u64) as usize;
        let part = self.window.get_mut(..there).unwrap_or_default();
        match read_around(&**file, part, at - base) {
            Ok(holes) => {
                self.unread.note(&segment.path, &holes);
                self.holes.extend(holes.iter().map(|hole| hole.start + base..hole.end + base));
                Ok(())
            }
            Err(why) => {
                self.window.clear();
                Err(why)
            }
        }
    }

    /// What is lost of a part of one file that was fetched last.
    fn lost(&mut self, part: Range<u64>, record_end: Option<u64>) -> io::Result<Option<Lost>> {
        if let Some(hole) = first_in(&self.holes, &part) {
            return Ok(Some(Lost { hole, is_given_up: false, record_end }));
        }
        let Some(base) = self.layout.segment_at(part.start).map(|file| file.base) else { return Ok(None) };
        let n = (part.end - part.start) as usize;
        let Some(mark) = first_given_up(self.bytes(part.start, n)?, part.start - base) else {
            return Ok(None);
        };
        let end = given_up_to(mark.end + base, base + self.layout.segment_bytes, base, |at, n| {
            Ok(given_up(self.bytes(at, n)?, at - base))
        })?;
        Ok(Some(Lost { hole: mark.start + base..end, is_given_up: true, record_end }))
    }

    fn look(&mut self, at: u64) -> io::Result<Look> {
        let (found, told) = self.judge(at)?;
        let Some(end) = self.end_at(at) else { return Ok(found) };
        let head = at..(at + FIXED_BYTES as u64).min(end);
        let lost = match (&found, told) {
            // Whether the size is true is not known before the place is.
            (_, Some(size)) => self.lost(at..(at + size).min(end), Some(at + size))?,
            (Look::Bad(_), None) => self.lost(head, None)?,
            // Zeros, it seems.
            (Look::Empty, None) => {
                first_in(&self.holes, &head).map(|hole| Lost { hole, is_given_up: false, record_end: None })
            }
            _ => None,
        };
        Ok(match lost {
            Some(lost) if !matches!(found, Look::Record(_)) || !lost.is_given_up => Look::Lost(lost),
            _ => found,
        })
    }

    /// What stands at a position, were nothing lost; and the size of a record that tells that it stands there.
    fn judge(&mut self, at: u64) -> io::Result<(Look, Option<u64>)> {
        let without = |found| Ok((found, None));
        let Some(end) = self.end_at(at) else { return without(Look::Empty) };
        let left = end - at;
        if left < BLANK_BYTES as u64 {
            return without(Look::Bad("the file has no room for a record".into()));
        }
        let head = self.bytes(at, BLANK_BYTES)?;
        if head.iter().all(|b| *b == 0) {
            return without(Look::Empty);
        }
        let (size, magic) = (be32(head, 0), be32(head, 4));
        if let Ok(Entry::Blank(size)) = parse(head) {
            return without(match u64::from(size) == left {
                true => Look::Filler(end),
                false => Look::Bad(format!("the filler tells {size} bytes, {left} are left in the file")),
            });
        }
        if !matches!(magic, MAGIC | MAGIC_V2) {
            return without(Look::Bad(format!("no record begins here (magic {magic:#010x})")));
        }
        if u64::from(size) > left || (size as usize) < FIXED_BYTES {
            return without(Look::Bad(format!("impossible size {size}")));
        }
        let told = be64(self.bytes(at, FIXED_BYTES)?, 28);
        if told != at {
            return without(Look::Bad(format!("the record tells another position, {told}")));
        }
        let size = size as usize;
        let found = match parse(self.bytes(at, size)?) {
            Ok(Entry::Message(record)) if record.crc_matches() => Look::Record(size),
            Ok(_) => Look::Bad("the body is not what was stored (CRC)".into()),
            Err(why) => Look::Bad(why.to_string()),
        };
        Ok((found, Some(size as u64)))
    }

    /// The record at a position, if a good one stands there.
    pub(super) fn record(&mut self, at: u64) -> io::Result<Option<Record<'_>>> {
        match self.look(at)? {
            Look::Record(size) => match parse(self.bytes(at, size)?) {
                Ok(Entry::Message(record)) => Ok(Some(record)),
                _ => Ok(None),
            },
            _ => Ok(None),
        }
    }

    /// Goes through the log from `at` until `visit` has enough. What the engine already knows to be damaged is
    /// passed over as a whole.
    pub(super) fn walk(
        &mut self,
        mut at: u64,
        visit: &mut dyn FnMut(Step<'_>) -> ControlFlow<()>,
    ) -> io::Result<()> {
        let known = self.layout.ends.as_ref().map(|ends| ends.damaged.clone()).unwrap_or_default();
        loop {
            if at >= self.layout.files_end() {
                let _ = visit(Step::End { at, garbage: None });
                return Ok(());
            }
            let (why, is_empty, lost) = match self.look(at)? {
                Look::Record(size) => {
                    if let Ok(Entry::Message(record)) = parse(self.bytes(at, size)?)
                        && visit(Step::Record(&record)).is_break()
                    {
                        return Ok(());
                    }
                    at += size as u64;
                    continue;
                }
                Look::Filler(next) => {
                    at = next;
                    continue;
                }
                Look::Empty => ("nothing was written here".to_owned(), true, None),
                Look::Bad(why) => (why, false, None),
                Look::Lost(lost) => ("it was given up, the disk could not read it".into(), false, Some(lost)),
            };
            let to = match known.iter().find(|range| range.contains(&at)) {
                Some(range) => Some(range.end),
                None => self.behind(at, is_empty, &why, lost.as_ref(), visit)?,
            };
            let Some(to) = to else { return Ok(()) };
            let step = match lost.filter(|lost| !lost.is_given_up) {
                Some(lost) => Step::Unreadable(at..to, lost.hole),
                None => Step::Damage(at..to, why),
            };
            if visit(step).is_break() {
                return Ok(());
            }
            at = to;
        }
    }

    /// Where the log goes on behind a place without a record; `None`: it has ended, and `visit` knows.
    fn behind(
        &mut self,
        at: u64,
        is_empty: bool,
        why: &str,
        lost: Option<&Lost>,
        visit: &mut dyn FnMut(Step<'_>) -> ControlFlow<()>,
    ) -> io::Result<Option<u64>> {
        let (good, written_to) = self.search(at)?;
        if good.is_some() {
            return Ok(good);
        }
        if at < self.layout.durable {
            return Ok(Some(self.layout.durable.min(self.layout.files_end())));
        }
        // A broker goes on behind what it cannot know, or does not start; what came after a clean stop is none of it.
        let is_end = self.layout.is_clean() && self.layout.durable > 0;
        match lost {
            Some(Lost { record_end: Some(end), .. }) if !is_end => return Ok(Some(*end)),
            Some(Lost { is_given_up, hole, .. }) if !is_end || !is_given_up => {
                return Ok(Some(hole.end.max(at + 1)));
            }
            _ => {}
        }
        // The head of the place itself may be zeros with something behind.
        let garbage = written_to.map(|to| {
            let why = if is_empty { "something stands behind empty space" } else { why };
            (to, why.to_owned())
        });
        let _ = visit(Step::End { at, garbage });
        Ok(None)
    }

    fn next_file(&self, at: u64) -> Option<u64> {
        self.layout.segments.iter().map(|file| file.base).find(|base| *base > at)
    }

    /// The first good record behind `at`; and the end of the last byte behind `at` that is not zero.
    fn search(&mut self, at: u64) -> io::Result<(Option<u64>, Option<u64>)> {
        let mut written_to = None;
        let mut from = at;
        loop {
            let Some(end) = self.end_at(from) else {
                match self.next_file(from) {
                    Some(next) => {
                        from = next;
                        continue;
                    }
                    None => return Ok((None, written_to)),
                }
            };
            while from < end {
                let n = ((end - from) as usize).min(WINDOW);
                let bytes = self.bytes(from, n)?;
                if let Some(last) = bytes.iter().rposition(|b| *b != 0) {
                    written_to = Some(from + last as u64 + 1);
                    let places: Vec<u64> = candidates(bytes, from).filter(|place| *place > at).collect();
                    for place in places {
                        if let Ok(Look::Record(_)) = self.look(place) {
                            return Ok((Some(place), written_to));
                        }
                    }
                }
                // A head may lie over the border of two windows.
                let step = if from + n as u64 == end { n } else { n - FIXED_BYTES };
                from += step as u64;
            }
        }
    }
}

/// Where a record could begin: a magic number, and its own position where it belongs.
fn candidates(bytes: &[u8], at: u64) -> impl Iterator<Item = u64> {
    bytes.windows(FIXED_BYTES).enumerate().filter_map(move |(n, head)| {
        let place = at + n as u64;
        (matches!(be32(head, 4), MAGIC | MAGIC_V2) && be64(head, 28) == place).then_some(place)
    })
}

pub(super) fn be32(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..).and_then(|bytes| bytes.first_chunk()).map_or(0, |bytes| u32::from_be_bytes(*bytes))
}
pub(super) fn be64(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..).and_then(|bytes| bytes.first_chunk()).map_or(0, |bytes| u64::from_be_bytes(*bytes))
}
