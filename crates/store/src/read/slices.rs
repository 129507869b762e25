//! Bytes of the log on their way to a reader.

use super::blocks::{Blocks, Source};
use crate::{
    disk::{
        File,
        around::{first_in, is_device_error, read_around},
    },
    log::Log,
    types::QueueEntry,
};
use kerolox_protocol::{
    LogOffset,
    record::{Entry, parse, parse_all},
};
use std::{io, ops::Range, sync::Arc};

/// Records of the log that make an answer. Holds what it needs: readable on any thread, also when the store
/// has deleted the file or is gone.
#[derive(Debug, Clone, Default)]
pub struct Slices {
    parts: Vec<Part>,
    len: u64,
    cold: bool,
    shared: Option<Shared>,
}

/// Blocks that other readers have read, and how much of the log may be read into them.
#[derive(Debug, Clone)]
struct Shared {
    blocks: Arc<Blocks>,
    /// What is written, or at least confirmed.
    end: u64,
    segment_bytes: u64,
}

/// Records that stand back to back.
#[derive(Debug, Clone)]
struct Part {
    /// Log position of the first.
    at: u64,
    len: u64,
    from: From,
}

#[derive(Debug, Clone)]
enum From {
    /// The file, and the log position of its first byte.
    File(Arc<dyn File>, u64),
    Memory(Arc<[u8]>),
}

/// What came of reading records for an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Filled {
    /// All records were appended.
    All,
    /// The device would be needed; nothing was appended.
    NotCached,
    /// The records before this one were appended.
    Until(Rotten),
}

/// Bytes that are no record although a queue names one there, or that the disk does not give: it no longer holds
/// what was stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rotten {
    /// Where they stand in the log.
    pub at: LogOffset,
    /// Records before it.
    pub before: usize,
    /// The offset that the last of these tells of itself.
    pub last_offset: Option<i64>,
}

impl Slices {
    /// Bytes in all.
    pub fn total_len(&self) -> u64 {
        self.len
    }

    /// Whether reading will probably wait for the device, so that it should not be done on a thread that
    /// serves others.
    pub fn is_cold(&self) -> bool {
        self.cold || self.is_on_device()
    }

    /// Whether a part of it is not in memory.
    pub(super) fn is_on_device(&self) -> bool {
        self.runs().any(is_on_device)
    }

    /// Appends all records to `out`, up to the first that is none. Reads files. Each is checked to be a record that
    /// stands at its place: a disk that read from elsewhere, or rots, must not be believed. Bodies are not compared
    /// with their CRC: that is the reader's, who has the message last. One that the device does not give counts as
    /// none: where a read fails, it is done again in smaller and smaller pieces.
    pub fn fill(&self, out: &mut Vec<u8>) -> io::Result<Filled> {
        self.read(out, Wait::Yes)
    }

    /// As [`Slices::fill`], but only if that needs no device.
    pub fn fill_cached(&self, out: &mut Vec<u8>) -> io::Result<Filled> {
        self.read(out, Wait::No)
    }

    /// As [`Slices::fill`]; one that is no record is an error, and nothing is appended then.
    pub fn read_into(&self, out: &mut Vec<u8>) -> io::Result<()> {
        let before = out.len();
        let filled = self.fill(out)?;
        whole(filled).inspect_err(|_| out.truncate(before)).map(drop)
    }

    /// As [`Slices::read_into`], but only if that needs no device: else `false`, and nothing is appended.
    pub fn read_cached_into(&self, out: &mut Vec<u8>) -> io::Result<bool> {
        let before = out.len();
        let filled = self.fill_cached(out)?;
        whole(filled).inspect_err(|_| out.truncate(before))
    }

    /// Whether they are so far behind the end of the log that a device may have to be asked.
    pub(super) fn is_far(&self) -> bool {
        self.cold
    }

    /// Log positions of the first byte and behind the last.
    pub(super) fn range(&self) -> Option<Range<u64>> {
        let (first, last) = (self.parts.first()?, self.parts.last()?);
        Some(first.at..last.at + last.len)
    }

    fn read(&self, out: &mut Vec<u8>, wait: Wait) -> io::Result<Filled> {
        let before = out.len();
        for run in self.runs() {
            match self.read_run(run, out, wait) {
                Ok(None) => {}
                Ok(Some(Stop::Rotten(at))) => {
                    let good = parse_all(out.get(before..).unwrap_or(&[])).flatten();
                    let (before, last_offset) =
                        good.fold((0, None), |(n, _), record| (n + 1, Some(record.queue_offset)));
                    return Ok(Filled::Until(Rotten { at: LogOffset(at), before, last_offset }));
                }
                Ok(Some(Stop::NotCached)) => {
                    out.truncate(before);
                    return Ok(Filled::NotCached);
                }
                Err(why) => {
                    out.truncate(before);
                    return Err(why);
                }
            }
        }
        Ok(Filled::All)
    }

    fn read_run(&self, run: &[Part], out: &mut Vec<u8>, wait: Wait) -> io::Result<Option<Stop>> {
        match (&self.shared, run) {
            // With something between them. Who may wait reads what nobody has in memory.
            (Some(shared), [Part { from: From::File(file, base), .. }, _, ..]) if wait == Wait::No => {
                let end = shared.end.min(base + shared.segment_bytes);
                read_shared(&shared.blocks, Source { file: &**file, base: *base, end }, run, out)
            }
            _ => read_run(run, out, wait),
        }
    }

    /// Parts that are worth one read together.
    fn runs(&self) -> impl Iterator<Item = &[Part]> {
        let mut rest = &self.parts[..];
        std::iter::from_fn(move || {
            let (run, later) = rest.split_at(rest.first()?.neighbours(rest));
            rest = later;
            Some(run)
        })
    }

    pub(super) fn push(&mut self, log: &Log, entry: &QueueEntry, cold: bool) -> io::Result<()> {
        let (at, len) = (entry.at.0, u64::from(entry.size));
        self.cold |= cold;
        if let Some(last) = self.parts.last_mut()
            && last.at + last.len == at
            && let From::File(_, base) = last.from
            && at + len <= base + log.segment_bytes()
        {
            last.len += len;
            self.len += len;
            return Ok(());
        }
        let (file, base) = log.file_at(at).ok_or(io::ErrorKind::NotFound)??;
        self.parts.push(Part { at, len, from: From::File(file, base) });
        self.len += len;
        Ok(())
    }

    /// Takes what is still in memory, so that no file is read for it. Of what else is below `end`, blocks may be read.
    pub(super) fn settle(&mut self, log: &Log, blocks: &Arc<Blocks>, end: u64) {
        let segment_bytes = log.segment_bytes();
        self.shared = Some(Shared { blocks: Arc::clone(blocks), end, segment_bytes });
        for part in &mut self.parts {
            if part.len <= SETTLE_MAX
                && let Some(bytes) = log.in_memory(part.at, part.len as usize)
            {
                part.from = From::Memory(Arc::from(bytes));
            }
        }
    }
}

/// Larger parts come from the page cache for the same price.
const SETTLE_MAX: u64 = 16 << 10;

impl Part {
    /// How many parts from this one on, the first of `parts`, are worth one read: in one file, with little
    /// between them.
    fn neighbours(&self, parts: &[Part]) -> usize {
        let near = |two: &&[Part]| match two {
            [a, b] => match (&a.from, &b.from) {
                (From::File(_, base), From::File(_, other)) => {
                    base == other && b.at.checked_sub(a.at + a.len).is_some_and(|gap| gap <= GAP_MAX)
                }
                _ => false,
            },
            _ => false,
        };
        1 + parts.windows(2).take_while(near).count()
    }
}

/// Bytes between two parts up to which reading them as well costs less than a second call.
const GAP_MAX: u64 = 4 << 10;

/// Whether a read may wait for the device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wait {
    Yes,
    No,
}

fn is_on_device(run: &[Part]) -> bool {
    match run {
        [Part { at, from: From::File(file, base), .. }, ..] => {
            file.is_resident(at - base, span(run)) == Some(false)
        }
        _ => false,
    }
}

/// Bytes from the first of neighbours to the end of the last.
fn span(run: &[Part]) -> u64 {
    run.first().zip(run.last()).map_or(0, |(first, last)| last.at + last.len - first.at)
}

/// Why reading ended before the last record.
enum Stop {
    /// It would have to wait; what was appended is of no use.
    NotCached,
    /// What stands at this position is no record; what was appended stands before.
    Rotten(u64),
}

/// Takes neighbours from blocks, and checks each.
fn read_shared(
    blocks: &Blocks,
    source: Source<'_>,
    run: &[Part],
    out: &mut Vec<u8>,
) -> io::Result<Option<Stop>> {
    let before = out.len();
    let parts = run.iter().map(|part| part.at..part.at + part.len);
    if !is_cached(blocks.copy(source, parts, out))? {
        return Ok(Some(Stop::NotCached));
    }
    Ok(check(run, out, before, &[]))
}

/// What a read that may not wait came to. Where the device fails, smaller pieces are asked for by who may wait.
fn is_cached(read: io::Result<bool>) -> io::Result<bool> {
    match read {
        Err(why) if is_device_error(&why) => Ok(false),
        read => read,
    }
}

/// Checks the records of neighbours, which stand back to back from `at` of `out` on, and cuts `out` at the first that
/// is none.
fn check(run: &[Part], out: &mut Vec<u8>, mut at: usize, holes: &[Range<u64>]) -> Option<Stop> {
    for part in run {
        let len = part.len as usize;
        let good = good(out.get(at..at + len).unwrap_or(&[]), part.at, holes);
        at += good;
        if good < len {
            out.truncate(at);
            return Some(Stop::Rotten(part.at + good as u64));
        }
    }
    None
}

/// Reads neighbours at once, drops what is between them, and checks each.
fn read_run(run: &[Part], out: &mut Vec<u8>, wait: Wait) -> io::Result<Option<Stop>> {
    let Some(first) = run.first() else { return Ok(None) };
    let before = out.len();
    // In ordinary times empty, and then it costs nothing.
    let mut holes = Vec::new();
    match &first.from {
        From::Memory(bytes) => out.extend_from_slice(bytes),
        From::File(file, base) => {
            out.resize(before + span(run) as usize, 0);
            let (_, new) = out.split_at_mut(before);
            match wait {
                Wait::Yes => {
                    let lost = read_around(&**file, new, first.at - base)?;
                    holes.extend(lost.iter().map(|hole| hole.start + base..hole.end + base));
                }
                Wait::No if is_cached(file.read_cached(new, first.at - base))? => {}
                Wait::No => return Ok(Some(Stop::NotCached)),
            }
        }
    }
    let mut end = before;
    for part in run {
        let (from, len) = (before + (part.at - first.at) as usize, part.len as usize);
        if from != end {
            out.copy_within(from..from + len, end);
        }
        end += len;
    }
    out.truncate(end);
    Ok(check(run, out, before, &holes))
}

/// How many of the bytes are records that stand back to back from `at` on, with nothing of them in `holes`.
fn good(bytes: &[u8], at: u64, holes: &[Range<u64>]) -> usize {
    let mut done = 0;
    while let Ok(Entry::Message(record)) = parse(bytes.get(done..).unwrap_or(&[])) {
        let stands_here = record.physical_offset == (at + done as u64) as i64;
        if !stands_here && !mutant!(PositionUnchecked) {
            break;
        }
        let place = at + done as u64..at + done as u64 + u64::from(record.size);
        if !holes.is_empty() && first_in(holes, &place).is_some() {
            break;
        }
        done += record.size as usize;
    }
    done
}

/// Whether all was appended; an error if something is rotten.
fn whole(filled: Filled) -> io::Result<bool> {
    match filled {
        Filled::All => Ok(true),
        Filled::NotCached => Ok(false),
        Filled::Until(rotten) => {
            let text = format!("the log holds no record at {}, where a queue names one", rotten.at);
            Err(io::Error::new(io::ErrorKind::InvalidData, text))
        }
    }
}
