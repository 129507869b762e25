//! Bytes of the log on their way to a reader.

use crate::{disk::File, log::Log, types::QueueEntry};
use std::{io, sync::Arc};

/// Where a record's own position stands in it.
const AT_PHYSICAL_OFFSET: usize = 28;

/// Records of the log that make an answer. Holds what it needs: readable on any thread, also when the store
/// has deleted the file or is gone.
#[derive(Debug, Clone, Default)]
pub struct Slices {
    parts: Vec<Part>,
    len: u64,
    cold: bool,
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

impl Slices {
    /// Bytes in all.
    pub fn total_len(&self) -> u64 {
        self.len
    }

    /// Whether reading will probably wait for the device, so that it should not be done on a thread that
    /// serves others.
    pub fn is_cold(&self) -> bool {
        self.cold || self.runs().any(is_on_device)
    }

    /// Appends all records to `out`. Reads files. Each record is checked to be one that stands at its place:
    /// a disk that read from elsewhere must not be believed.
    ///
    /// Of cold data it also asks for what stands behind: who catches up reads on there, and the device is faster
    /// at large pieces than at answers.
    pub fn read_into(&self, out: &mut Vec<u8>) -> io::Result<()> {
        if self.cold {
            self.ask_ahead();
        }
        self.read(out, Wait::Yes).map(drop)
    }

    /// As [`Slices::read_into`], but only if that needs no device: else `false`, and nothing is appended.
    pub fn read_cached_into(&self, out: &mut Vec<u8>) -> io::Result<bool> {
        if self.cold && self.is_ahead_due() { Ok(false) } else { self.read(out, Wait::No) }
    }

    /// Whether this read gets to where the next piece has to be asked for, which is done by who may wait.
    fn is_ahead_due(&self) -> bool {
        self.ends().is_some_and(|(at, end)| at / AHEAD_STEP != end / AHEAD_STEP)
    }

    fn ask_ahead(&self) {
        if let (Some((_, end)), Some(Part { from: From::File(file, base), .. })) =
            (self.ends(), self.parts.last())
        {
            file.advise(end - base, AHEAD, true);
        }
    }

    /// Log positions of the first and behind the last byte.
    fn ends(&self) -> Option<(u64, u64)> {
        let (first, last) = (self.parts.first()?, self.parts.last()?);
        Some((first.at, last.at + last.len))
    }

    fn read(&self, out: &mut Vec<u8>, wait: Wait) -> io::Result<bool> {
        let before = out.len();
        for run in self.runs() {
            let result = read_run(run, out, wait);
            if !matches!(result, Ok(true)) {
                out.truncate(before);
                return result;
            }
        }
        Ok(true)
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

    /// Takes what is still in memory, so that no file is read for it.
    pub(super) fn settle(&mut self, log: &Log) {
        for part in &mut self.parts {
            if part.len <= SETTLE_MAX
                && let Some(bytes) = log.in_memory(part.at, part.len as usize)
            {
                part.from = From::Memory(Arc::from(bytes));
            }
        }
    }
}

/// Bytes that are asked for ahead of a reader of cold data.
const AHEAD: u64 = 8 << 20;
/// How far a reader gets before more is asked for.
const AHEAD_STEP: u64 = 2 << 20;

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

/// Reads neighbours at once, drops what is between them, and checks each. `false`: it would have to wait, and
/// what was appended is of no use.
fn read_run(run: &[Part], out: &mut Vec<u8>, wait: Wait) -> io::Result<bool> {
    let Some(first) = run.first() else { return Ok(true) };
    let before = out.len();
    match &first.from {
        From::Memory(bytes) => out.extend_from_slice(bytes),
        From::File(file, base) => {
            out.resize(before + span(run) as usize, 0);
            let (_, new) = out.split_at_mut(before);
            match wait {
                Wait::Yes => file.read_at(new, first.at - base)?,
                Wait::No if file.read_cached(new, first.at - base)? => {}
                Wait::No => return Ok(false),
            }
        }
    }
    let mut end = before;
    for part in run {
        let from = before + (part.at - first.at) as usize;
        let len = part.len as usize;
        if from != end {
            out.copy_within(from..from + len, end);
        }
        check(out.get(end..end + len).unwrap_or(&[]), part.at)?;
        end += len;
    }
    out.truncate(end);
    Ok(true)
}

/// Whether the bytes are records that stand back to back from `at` on.
fn check(bytes: &[u8], at: u64) -> io::Result<()> {
    let wrong = |at: usize| {
        let text = format!("the log holds no record where a queue names one, {at} bytes into the part");
        io::Error::new(io::ErrorKind::InvalidData, text)
    };
    let mut done = 0;
    while done < bytes.len() {
        let record = bytes.get(done..).unwrap_or(&[]);
        let size = record.first_chunk().map(|size| u32::from_be_bytes(*size));
        let stands = record
            .get(AT_PHYSICAL_OFFSET..)
            .and_then(|at| at.first_chunk())
            .map(|at| u64::from_be_bytes(*at));
        match size {
            Some(size) if size > 0 && (stands == Some(at + done as u64) || mutant!(PositionUnchecked)) => {
                done += size as usize;
            }
            _ => return Err(wrong(done)),
        }
    }
    if done == bytes.len() { Ok(()) } else { Err(wrong(done)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_asks_for_more_once_per_step_however_its_answers_lie() {
        let part = |at, len| Part { at, len, from: From::Memory(Arc::from([])) };
        let slices = |parts: Vec<Part>| Slices { parts, len: 0, cold: true };
        for answer in [9_440, 65_536, AHEAD_STEP / 8] {
            let mut at = 0;
            let mut asked = 0;
            while at < 10 * AHEAD_STEP {
                asked += u64::from(
                    slices(vec![part(at, answer / 2), part(at + answer / 2, answer / 2)]).is_ahead_due(),
                );
                at += answer / 2 * 2;
            }
            assert_eq!(asked, 10, "{answer}");
        }
        assert!(!Slices::default().is_ahead_due());
    }
}
