//! Bytes of the log on their way to a reader.

use super::{
    blocks::{Blocks, Source},
    windows::{Taken, Windows},
};
use crate::{
    disk::{
        File,
        around::{first_in, is_device_error, read_around},
    },
    doubt::{Doubts, Life, Verdict},
    log::Log,
    types::QueueEntry,
};
use kerolox_protocol::{
    LogOffset, QueueId, QueueOffset,
    record::{Entry, Record, parse},
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

/// What all parts have in common.
#[derive(Debug, Clone)]
struct Shared {
    /// Blocks that other readers have read.
    blocks: Arc<Blocks>,
    /// What was read ahead of them.
    windows: Arc<Windows>,
    /// How much of the log may be read into blocks: what is written, or at least confirmed.
    end: u64,
    segment_bytes: u64,
    queue: Reader,
}

/// The queue whose messages are wanted, and where it is noted that its entries lead to others.
#[derive(Debug, Clone)]
pub(crate) struct Reader {
    pub(crate) topic: Arc<str>,
    pub(crate) id: QueueId,
    pub(crate) life: Life,
    pub(crate) doubts: Arc<Doubts>,
}

impl Reader {
    /// Whether this is the message of that offset. A 4.9 broker may have counted otherwise when it stored it: that is
    /// known once its neighbours were looked at.
    pub(crate) fn wants(&self, record: &Record<'_>, offset: u64) -> bool {
        let is_of_queue = record.queue_id == self.id.wire() && record.topic == &*self.topic;
        let is_told = record.queue_offset == QueueOffset(offset).wire();
        is_of_queue && (is_told || self.doubts.verdict(self.life, offset) == Some(Verdict::Right))
            || mutant!(PlaceUnchecked)
    }
}

/// Messages that follow each other in their queue, and whose records stand back to back.
#[derive(Debug, Clone)]
struct Part {
    /// Log position of the first.
    at: u64,
    len: u64,
    /// Its offset in its queue.
    first: u64,
    count: u64,
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

/// A message that is not where its queue says: no record stands there, or another one, or the disk does not give it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rotten {
    /// Where it should stand in the log.
    pub at: LogOffset,
    /// Its place in its queue.
    pub offset: QueueOffset,
    /// The log was searched for it before: it is lost, and whoever reads goes on behind it. Otherwise that is to be
    /// found out, and it is to be asked for again.
    pub is_lost: bool,
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
    pub(crate) fn is_on_device(&self) -> bool {
        self.runs().any(is_on_device)
    }

    /// Appends all records to `out`, up to the first that is not the message that was asked for. Reads files. Each is
    /// checked to stand at its place, and to be of that queue and offset: neither a disk that read from elsewhere, or
    /// rots, nor a queue's entry is believed. Bodies are not compared with their CRC: that is the reader's, who has
    /// the message last. One that the device does not give counts as none: where a read fails, it is done again in
    /// smaller and smaller pieces.
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
    pub(crate) fn is_far(&self) -> bool {
        self.cold
    }

    /// Log positions of the first byte and behind the last.
    pub(crate) fn range(&self) -> Option<Range<u64>> {
        let (first, last) = (self.parts.first()?, self.parts.last()?);
        Some(first.at..last.at + last.len)
    }

    fn read(&self, out: &mut Vec<u8>, wait: Wait) -> io::Result<Filled> {
        let Some(Shared { queue, .. }) = &self.shared else { return Ok(Filled::All) };
        let before = out.len();
        for run in self.runs() {
            match self.read_run(run, out, wait) {
                Ok(None) => {}
                Ok(Some(Stop::Rotten { at, offset })) => {
                    let is_lost = queue.doubts.verdict(queue.life, offset).is_some();
                    if !is_lost {
                        queue.doubts.doubt(queue.life, offset);
                    }
                    let (at, offset) = (LogOffset(at), QueueOffset(offset));
                    return Ok(Filled::Until(Rotten { at, offset, is_lost }));
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
        let Some(shared) = &self.shared else { return Ok(None) };
        if let Some(stop) = read_ahead(shared, run, out, wait) {
            return Ok(stop);
        }
        match run {
            // With something between them. Who may wait reads what nobody has in memory.
            [Part { from: From::File(file, base), .. }, _, ..] if wait == Wait::No => {
                let end = shared.end.min(base + shared.segment_bytes);
                read_shared(shared, Source { file: &**file, base: *base, end }, run, out)
            }
            _ => read_run(&shared.queue, run, out, wait),
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

    /// Adds the message of an entry, which stands at `offset` of the queue.
    pub(crate) fn push(
        &mut self,
        log: &Log,
        offset: QueueOffset,
        entry: &QueueEntry,
        cold: bool,
    ) -> io::Result<()> {
        let (at, len) = (entry.at.0, u64::from(entry.size));
        self.cold |= cold;
        if let Some(last) = self.parts.last_mut()
            && last.at + last.len == at
            && last.first + last.count == offset.0
            && let From::File(_, base) = last.from
            && at + len <= base + log.segment_bytes()
        {
            last.len += len;
            last.count += 1;
            self.len += len;
            return Ok(());
        }
        let (file, base) = log.file_at(at).ok_or(io::ErrorKind::NotFound)??;
        self.parts.push(Part { at, len, first: offset.0, count: 1, from: From::File(file, base) });
        self.len += len;
        Ok(())
    }

    /// Takes what is still in memory, so that no file is read for it. Of what else is below `end`, blocks may be read.
    pub(crate) fn settle(
        &mut self,
        log: &Log,
        (blocks, windows): (&Arc<Blocks>, &Arc<Windows>),
        end: u64,
        queue: Reader,
    ) {
        let segment_bytes = log.segment_bytes();
        let (blocks, windows) = (Arc::clone(blocks), Arc::clone(windows));
        self.shared = Some(Shared { blocks, windows, end, segment_bytes, queue });
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
    /// What stands at this position is not the message of this offset; what was appended stands before.
    Rotten { at: u64, offset: u64 },
}

/// Takes neighbours from what was read ahead, and checks each; `None` if they are not there, nor asked for.
fn read_ahead(shared: &Shared, run: &[Part], out: &mut Vec<u8>, wait: Wait) -> Option<Option<Stop>> {
    let [Part { from: From::File(..), .. }, ..] = run else { return None };
    if shared.windows.is_empty() {
        return None;
    }
    let before = out.len();
    let parts = run.iter().map(|part| part.at..part.at + part.len);
    match shared.windows.take(parts, wait == Wait::Yes, out) {
        Taken::All => Some(check(&shared.queue, run, out, before, &[])),
        Taken::Later => Some(Some(Stop::NotCached)),
        Taken::Elsewhere => {
            out.truncate(before);
            None
        }
    }
}

/// Takes neighbours from blocks, and checks each.
fn read_shared(
    shared: &Shared,
    source: Source<'_>,
    run: &[Part],
    out: &mut Vec<u8>,
) -> io::Result<Option<Stop>> {
    let before = out.len();
    let parts = run.iter().map(|part| part.at..part.at + part.len);
    if !is_cached(shared.blocks.copy(source, parts, out))? {
        return Ok(Some(Stop::NotCached));
    }
    Ok(check(&shared.queue, run, out, before, &[]))
}

/// What a read that may not wait came to. Where the device fails, smaller pieces are asked for by who may wait.
fn is_cached(read: io::Result<bool>) -> io::Result<bool> {
    match read {
        Err(why) if is_device_error(&why) => Ok(false),
        read => read,
    }
}

/// Checks the records of neighbours, which stand back to back from `at` of `out` on, and cuts `out` at the first that
/// is not what was asked for.
fn check(
    queue: &Reader,
    run: &[Part],
    out: &mut Vec<u8>,
    mut at: usize,
    holes: &[Range<u64>],
) -> Option<Stop> {
    for part in run {
        let (good, count) = good(queue, part, out.get(at..at + part.len as usize).unwrap_or(&[]), holes);
        at += good as usize;
        if count < part.count {
            out.truncate(at);
            return Some(Stop::Rotten { at: part.at + good, offset: part.first + count });
        }
    }
    None
}

/// Reads neighbours at once, drops what is between them, and checks each.
fn read_run(queue: &Reader, run: &[Part], out: &mut Vec<u8>, wait: Wait) -> io::Result<Option<Stop>> {
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
    Ok(check(queue, run, out, before, &holes))
}

/// How many of a part's bytes, and of its messages, are as they should be, with nothing of them in `holes`.
fn good(queue: &Reader, part: &Part, bytes: &[u8], holes: &[Range<u64>]) -> (u64, u64) {
    let (mut done, mut count) = (0, 0);
    while count < part.count {
        let at = part.at + done;
        let Ok(Entry::Message(record)) = parse(bytes.get(done as usize..).unwrap_or(&[])) else { break };
        let stands_here = record.physical_offset == LogOffset(at).wire() || mutant!(PositionUnchecked);
        let end = done + u64::from(record.size);
        // Where one ends the next begins; the last one ends with the part.
        let is_whole = end <= part.len && (count + 1 < part.count || end == part.len);
        if !stands_here || !is_whole || !queue.wants(&record, part.first + count) {
            break;
        }
        if !holes.is_empty() && first_in(holes, &(at..part.at + end)).is_some() {
            break;
        }
        (done, count) = (end, count + 1);
    }
    (done, count)
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
