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
        self.cold || self.parts.iter().any(Part::is_on_device)
    }

    /// Appends all records to `out`. Reads files. Each record is checked to be one that stands at its place:
    /// a disk that read from elsewhere must not be believed.
    pub fn read_into(&self, out: &mut Vec<u8>) -> io::Result<()> {
        let before = out.len();
        let result = self.parts.iter().try_for_each(|part| part.read_into(out));
        if result.is_err() {
            out.truncate(before);
        }
        result
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

/// Larger parts come from the page cache for the same price.
const SETTLE_MAX: u64 = 16 << 10;

impl Part {
    fn is_on_device(&self) -> bool {
        match &self.from {
            From::File(file, base) => file.is_resident(self.at - base, self.len) == Some(false),
            From::Memory(_) => false,
        }
    }

    fn read_into(&self, out: &mut Vec<u8>) -> io::Result<()> {
        let before = out.len();
        match &self.from {
            From::Memory(bytes) => out.extend_from_slice(bytes),
            From::File(file, base) => {
                out.resize(before + self.len as usize, 0);
                let (_, new) = out.split_at_mut(before);
                file.read_at(new, self.at - base)?;
            }
        }
        check(out.get(before..).unwrap_or(&[]), self.at)
    }
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
            Some(size) if size > 0 && stands == Some(at + done as u64) => done += size as usize,
            _ => return Err(wrong(done)),
        }
    }
    if done == bytes.len() { Ok(()) } else { Err(wrong(done)) }
}
