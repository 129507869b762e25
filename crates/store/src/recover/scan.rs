//! Reading the log from a position on, record by record, and deciding where it ends.
//!
//! | What stands there | What it means |
//! |---|---|
//! | a record that says it stands there, sizes and CRC right | part of the log |
//! | the filler with exactly the bytes left | go on in the next file |
//! | anything else, nothing good behind | the end |
//! | anything else, good records behind it | damage, or the ruins of a power cut: the caller knows which |
//! | what the device does not give, or an operator gave up | lost; what stood there is not known |
//!
//! A record of an earlier life of the file tells another position; one that was cut off earlier and came back
//! tells a time before its predecessors'. Neither is taken for part of the log.

use crate::{
    disk::{
        File,
        around::{SECTOR, first_given_up, first_in, given_up, given_up_to, read_around},
    },
    log::Log,
};
use kerolox_protocol::{
    Millis,
    record::{BLANK_BYTES, Entry, FIXED_BYTES, MAGIC, MAGIC_BLANK, MAGIC_V2, Record, parse},
};
use std::{fmt, io, ops::Range, sync::Arc};

/// Bytes read at once.
const WINDOW: usize = 1 << 20;
/// So many bytes of zeros behind the last good record are taken for the end of what was ever written.
const ZEROS_MAX: u64 = 4 << 20;

/// The ordinary ends of a log.
pub(super) const FILES_END: &str = "the files end";
pub(super) const NOTHING_WRITTEN: &str = "nothing was written there";

/// The lengths of a record's topic and properties, bytes; of the longer kind of topic.
const TEXT_LENGTHS: usize = 2 + 2;
/// Where a record tells its own position.
const AT_POSITION: usize = 28;

/// What stands at a position.
pub(super) enum Found<'a> {
    Record(Record<'a>),
    /// The file ends here; the log goes on at this position.
    Filler(u64),
    /// No record, and why.
    Nothing(String),
    /// Some of it is lost, so that what stands there is not known.
    Lost(Lost),
}

/// Bytes of the log that cannot be had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Lost {
    /// The first such part.
    pub(super) hole: Range<u64>,
    /// An operator gave it up; otherwise the device does not give it.
    pub(super) is_given_up: bool,
    /// Where the record ends that stands there, if its head could be read.
    pub(super) record_end: Option<u64>,
}

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Range { start, end } = self.hole;
        match self.is_given_up {
            true => write!(f, "the bytes from {start} to {end} were given up"),
            false => write!(f, "the disk cannot read the bytes from {start} to {end}"),
        }
    }
}

/// Reads a log without keeping more than a window of it.
pub(super) struct Cursor<'a> {
    log: &'a Log,
    window: Vec<u8>,
    window_at: u64,
    /// Parts of the window that the device did not give; they are zeros there.
    holes: Vec<Range<u64>>,
    file: Option<(u64, Arc<dyn File>)>,
    /// Parts from which a power cut may have taken sectors.
    unsure: Vec<Range<u64>>,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(log: &'a Log) -> Cursor<'a> {
        Cursor { log, window: Vec::new(), window_at: 0, holes: Vec::new(), file: None, unsure: Vec::new() }
    }

    /// A power cut may have taken sectors from a part. A record's CRC covers its body only, and its sizes tell
    /// when a part with a length in it is gone; that leaves the text behind.
    pub(super) fn doubt(&mut self, part: Range<u64>) {
        self.unsure.push(part);
    }

    fn segment_end(&self, at: u64) -> Option<u64> {
        let last = self.log.segments().back()?.base + self.log.segment_bytes();
        let within = at >= self.log.segments().front()?.base && at < last;
        within.then(|| at - at % self.log.segment_bytes() + self.log.segment_bytes())
    }

    /// `n` bytes at `at`, all in one file; zeros where the device gives nothing.
    fn fetch(&mut self, at: u64, n: usize) -> io::Result<&[u8]> {
        let has = at >= self.window_at && at + n as u64 <= self.window_at + self.window.len() as u64;
        if !has {
            let end = self.segment_end(at).ok_or(io::ErrorKind::UnexpectedEof)?;
            let base = at - at % self.log.segment_bytes();
            // Whole sectors, so that a bad one is known with its beginning.
            let from = at - (at - base) % SECTOR;
            let len = (WINDOW.max(n) as u64 + at - from).min(end - from) as usize;
            let file = match &self.file {
                Some((of, file)) if *of == base => Arc::clone(file),
                _ => self.log.file_at(at).ok_or(io::ErrorKind::NotFound)??.0,
            };
            self.file = Some((base, Arc::clone(&file)));
            self.window.resize(len, 0);
            self.window_at = from;
            self.holes.clear();
            match read_around(&*file, &mut self.window, from - base) {
                Ok(holes) => self.holes.extend(holes.iter().map(|hole| hole.start + base..hole.end + base)),
                Err(why) => {
                    self.window.clear();
                    return Err(why);
                }
            }
        }
        let from = (at - self.window_at) as usize;
        self.window.get(from..from + n).ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }

    /// What stands at `at`.
    pub(super) fn look(&mut self, at: u64) -> io::Result<Found<'_>> {
        let Some(end) = self.segment_end(at) else { return Ok(Found::Nothing(FILES_END.into())) };
        let left = end - at;
        if left < BLANK_BYTES as u64 {
            return Ok(Found::Nothing("the file has no room for a record".into()));
        }
        let head_end = at + left.min(FIXED_BYTES as u64);
        let head = self.fetch(at, BLANK_BYTES)?;
        let (size, magic) = (be32(head, 0), be32(head, 4));
        if let Some(lost) = self.hole(at..at + BLANK_BYTES as u64, None) {
            return Ok(Found::Lost(lost));
        }
        match magic {
            MAGIC_BLANK if u64::from(size) == left => return Ok(Found::Filler(end)),
            MAGIC | MAGIC_V2 => {}
            0 if size == 0 => return Ok(Found::Nothing(NOTHING_WRITTEN.into())),
            _ => {
                return self.nothing(
                    at..head_end,
                    None,
                    format!("no record begins there (magic {magic:#010x})"),
                );
            }
        }
        // Nothing is read, and no memory is taken, for a size before the record has told its own position.
        if u64::from(size) > left || (size as usize) < FIXED_BYTES {
            return self.nothing(at..head_end, None, format!("impossible size {size}"));
        }
        let told = be64(self.fetch(at, FIXED_BYTES)?, AT_POSITION);
        if let Some(lost) = self.hole(at..at + AT_POSITION as u64 + 8, None) {
            return Ok(Found::Lost(lost));
        }
        if told != at && !mutant!(PositionUnchecked) {
            return self.nothing(at..head_end, None, format!("the record tells another position, {told}"));
        }
        let whole = at..at + u64::from(size);
        let unsure = self.unsure.iter().any(|part| part.contains(&at));
        self.fetch(at, size as usize)?;
        if let Some(lost) = self.hole(whole.clone(), Some(whole.end)) {
            return Ok(Found::Lost(lost));
        }
        let wrong: Option<String> = match parse(self.fetch(at, size as usize)?) {
            Ok(Entry::Message(record)) if unsure && lacks_sector(&record) => {
                Some("a sector of its topic or properties is missing".into())
            }
            Ok(Entry::Message(record)) if record.crc_matches() || mutant!(CrcIgnored) => None,
            Ok(_) => Some("the body is not what was stored (CRC)".into()),
            Err(why) => Some(why.to_string()),
        };
        if let Some(why) = wrong {
            return self.nothing(whole.clone(), Some(whole.end), why);
        }
        // Parsed again, without the CRC: what is given out may not be borrowed while something else is looked for.
        match parse(self.fetch(at, size as usize)?) {
            Ok(Entry::Message(record)) => Ok(Found::Record(record)),
            other => Ok(Found::Nothing(format!("no message: {other:?}"))),
        }
    }

    /// What the device did not give of a part that was fetched last.
    fn hole(&self, part: Range<u64>, record_end: Option<u64>) -> Option<Lost> {
        first_in(&self.holes, &part).map(|hole| Lost { hole, is_given_up: false, record_end })
    }

    /// No record is in a part, or what an operator gave up is there.
    fn nothing(
        &mut self,
        part: Range<u64>,
        record_end: Option<u64>,
        why: String,
    ) -> io::Result<Found<'static>> {
        let base = part.start - part.start % self.log.segment_bytes();
        let Some(end) = self.segment_end(part.start) else { return Ok(Found::Nothing(why)) };
        let bytes = self.fetch(part.start, (part.end - part.start) as usize)?;
        let Some(marked) = first_given_up(bytes, part.start - base) else { return Ok(Found::Nothing(why)) };
        // The part may end within it.
        let end =
            given_up_to(marked.end + base, end, base, |at, n| Ok(given_up(self.fetch(at, n)?, at - base)))?;
        Ok(Found::Lost(Lost { hole: marked.start + base..end, is_given_up: true, record_end }))
    }

    /// End of the last byte in the file of `at` that is not zero; `at` if there is none behind it. A long run of
    /// zeros ends the search. What the device does not give counts as zeros, and is added to `holes`.
    pub(super) fn written_behind(&mut self, at: u64, holes: &mut Vec<Range<u64>>) -> io::Result<u64> {
        let Some(end) = self.segment_end(at) else { return Ok(at) };
        let (mut from, mut written) = (at, at);
        while from < end && from - written < ZEROS_MAX {
            let n = ((end - from) as usize).min(WINDOW);
            if let Some(last) = self.fetch(from, n)?.iter().rposition(|b| *b != 0) {
                written = from + last as u64 + 1;
            }
            let new = from..from + n as u64;
            holes.extend(self.holes.iter().filter(|hole| new.contains(&hole.start)).cloned());
            from += n as u64;
        }
        Ok(written)
    }

    /// Whether what stands from `at` to `to` can be the beginning of one record that was meant to stand there.
    pub(super) fn is_torn_record(&mut self, at: u64, to: u64) -> io::Result<bool> {
        let room = self.segment_end(at).map_or(0, |end| end - at);
        if to - at < FIXED_BYTES as u64 || room < FIXED_BYTES as u64 {
            return Ok(true);
        }
        let head = self.fetch(at, FIXED_BYTES)?;
        let (size, magic) = (u64::from(be32(head, 0)), be32(head, 4));
        Ok(matches!(magic, MAGIC | MAGIC_V2)
            && be64(head, AT_POSITION) == at
            && size <= room
            && at + size >= to)
    }

    /// The first position behind `at` where a good record stands that is not older than `since`. Looks through
    /// the rest of the file up to a long run of zeros, then at the first bytes of the files that follow.
    pub(super) fn find_behind(&mut self, at: u64, since: Millis) -> io::Result<Option<u64>> {
        let own_end = self.segment_end(at);
        let mut from = at + 1;
        while let Some(end) = self.segment_end(from) {
            let until = if Some(end) == own_end { end } else { end.min(from + ZEROS_MAX) };
            if let Some(found) = self.find_in(from, until, since)? {
                return Ok(Some(found));
            }
            from = end;
        }
        Ok(None)
    }

    fn find_in(&mut self, from: u64, end: u64, since: Millis) -> io::Result<Option<u64>> {
        self.each_candidate(from, end, |cursor, at| {
            let found = cursor.look(at)?;
            Ok(matches!(found, Found::Record(record) if record.store_ms >= since).then_some(at))
        })
    }

    /// Shows the records in a damaged part of the log that can still be read in all but their bodies: what they tell
    /// of themselves is probably true, and their queues must not give their places to others.
    pub(super) fn each_rotten(
        &mut self,
        part: Range<u64>,
        mut show: impl FnMut(&Record<'_>),
    ) -> io::Result<()> {
        let mut from = part.start;
        while from < part.end {
            if let Some(record) = self.rotten(from)? {
                show(&record);
                // What looks like a record in its body is none.
                from += u64::from(record.size);
                continue;
            }
            let Some(end) = self.segment_end(from) else { break };
            let until = end.min(part.end);
            let next = self
                .each_candidate(from, until, |cursor, at| Ok(cursor.rotten(at)?.is_some().then_some(at)))?;
            from = next.unwrap_or(until);
        }
        Ok(())
    }

    /// Whether the record at `at` is whole in all but its body, and was written to its end.
    pub(super) fn is_rotten(&mut self, at: u64) -> io::Result<bool> {
        Ok(self
            .rotten(at)?
            .and_then(|record| record.properties.last().copied())
            .is_some_and(|last| last != 0))
    }

    /// Whether a part of the log, with a good record behind it, can be one that a power cut kept from the device: then
    /// it lacks the end of some sector. What has that of each is damaged, and was there once. Of a record that tells all
    /// but its body the head is not asked: zeros there are its own.
    pub(super) fn may_be_unwritten(&mut self, part: Range<u64>) -> io::Result<bool> {
        let mut from = part.start;
        while from < part.end
            && let Some(record) = self.rotten(from)?
        {
            let texts = record.topic.len() + record.properties.len() + TEXT_LENGTHS;
            let end = from + u64::from(record.size);
            let body = end.saturating_sub((texts + record.body.len()) as u64).max(from);
            if self.lacks_an_end(body..end.min(part.end))? {
                return Ok(true);
            }
            from = end;
        }
        Ok(self.lacks_an_end(from..part.end)? || self.lacks_its_last(part.end)?)
    }

    /// Whether the bytes before a good record are missing up to its first, and of the sector in which it begins nothing of
    /// it proves that it was written: a size begins with zeros.
    fn lacks_its_last(&mut self, good: u64) -> io::Result<bool> {
        let Some(end) = self.segment_end(good - 1) else { return Ok(false) };
        let base = end - self.log.segment_bytes();
        let border = (base + (good - base).next_multiple_of(SECTOR)).min(end);
        let bytes = self.fetch(good - 1, (border - good) as usize + 1)?;
        Ok(bytes.iter().all(|byte| *byte == 0))
    }

    /// Whether the last byte of a sector that ends within a part is zero: as of a sector that was kept from the device,
    /// or of which only the first bytes came. Of the last one, in which something good begins, more was written.
    fn lacks_an_end(&mut self, part: Range<u64>) -> io::Result<bool> {
        let base = part.start - part.start % self.log.segment_bytes();
        let mut end = part.start + SECTOR - (part.start - base) % SECTOR;
        while end <= part.end {
            let in_file = self.segment_end(end - 1).is_some();
            if !in_file || self.fetch(end - 1, 1)?.first() == Some(&0) {
                return Ok(true);
            }
            end += SECTOR;
        }
        Ok(false)
    }

    /// The record at `at`, whatever its body is.
    pub(super) fn rotten(&mut self, at: u64) -> io::Result<Option<Record<'_>>> {
        let left = self.segment_end(at).map_or(0, |end| end - at);
        if left < FIXED_BYTES as u64 {
            return Ok(None);
        }
        let size = be32(self.fetch(at, FIXED_BYTES)?, 0) as usize;
        if size < FIXED_BYTES || size as u64 > left {
            return Ok(None);
        }
        // All but the body must be there.
        let texts = match parse(self.fetch(at, size)?) {
            Ok(Entry::Message(record)) if record.physical_offset.unsigned_abs() == at => {
                record.topic.len() + record.properties.len() + TEXT_LENGTHS
            }
            _ => return Ok(None),
        };
        let end = at + size as u64;
        let needed = [at..at + FIXED_BYTES as u64, end.saturating_sub(texts as u64).max(at)..end];
        if needed.into_iter().any(|part| self.hole(part, None).is_some()) {
            return Ok(None);
        }
        Ok(match parse(self.fetch(at, size)?) {
            Ok(Entry::Message(record)) => Some(record),
            _ => None,
        })
    }

    /// Calls `take` for positions of one file where a record may begin, up to a long run of zeros, until it gives
    /// anything.
    fn each_candidate(
        &mut self,
        from: u64,
        end: u64,
        mut take: impl FnMut(&mut Self, u64) -> io::Result<Option<u64>>,
    ) -> io::Result<Option<u64>> {
        let mut at = from;
        let mut zeros = 0u64;
        while at + (FIXED_BYTES as u64) <= end && zeros < ZEROS_MAX {
            let n = ((end - at) as usize).min(WINDOW);
            let bytes = self.fetch(at, n)?;
            if bytes.iter().all(|b| *b == 0) {
                // What cannot be read need not be zeros.
                zeros = if self.hole(at..at + n as u64, None).is_some() { 0 } else { zeros + n as u64 };
                at += n as u64;
                continue;
            }
            zeros = 0;
            let candidates: Vec<u64> = candidates(bytes, at).collect();
            for candidate in candidates {
                if let Some(found) = take(self, candidate)? {
                    return Ok(Some(found));
                }
            }
            // A record's head may lie over the border of two windows.
            at += (n.saturating_sub(FIXED_BYTES)).max(1) as u64;
        }
        Ok(None)
    }
}

/// Positions where a record could begin: the magic number, and the record's own position where it belongs.
fn candidates(bytes: &[u8], at: u64) -> impl Iterator<Item = u64> {
    bytes.windows(FIXED_BYTES).enumerate().filter_map(move |(n, head)| {
        let is_magic = matches!(be32(head, 4), MAGIC | MAGIC_V2);
        (is_magic && be64(head, AT_POSITION) == at + n as u64).then_some(at + n as u64)
    })
}

/// Whether a sector's part of the topic and properties is nothing but zeros, as a write leaves it that did not
/// reach the device.
fn lacks_sector(record: &Record<'_>) -> bool {
    let end = record.physical_offset.unsigned_abs() + u64::from(record.size);
    let from = end - record.properties.len() as u64;
    let mut rest = record.properties;
    let mut at = from;
    while !rest.is_empty() {
        let n = (SECTOR - at % SECTOR).min(rest.len() as u64);
        let (part, behind) = rest.split_at(n as usize);
        if part.iter().all(|b| *b == 0) {
            return true;
        }
        (rest, at) = (behind, at + n);
    }
    record.topic.bytes().any(|b| b == 0)
}

fn be32(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..).and_then(|bytes| bytes.first_chunk()).map_or(0, |bytes| u32::from_be_bytes(*bytes))
}
fn be64(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..).and_then(|bytes| bytes.first_chunk()).map_or(0, |bytes| u64::from_be_bytes(*bytes))
}
