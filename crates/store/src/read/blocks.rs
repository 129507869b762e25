//! Parts of the log in memory, for readers of queues that lie mixed in it.
//!
//! The records of one queue stand between those of others. Reading each by itself costs a call per record; reading
//! across the gaps copies everything once per queue. Here a whole block is read once, and each queue takes its records
//! from there. Owns the blocks; knows nothing of records. What is written of a log never changes, so a block never
//! becomes stale: it can only be short, and is then read on.

use crate::disk::File;
use std::{
    io,
    ops::Range,
    sync::{Mutex, PoisonError},
};

/// Size and alignment of a block, by position in the log; within a file.
const BLOCK: u64 = 64 << 10;
/// Blocks that are kept, each at the place that its number gives: 4 MiB.
const SLOTS: u64 = 64;

#[derive(Debug, Default)]
struct Block {
    /// Position of the first byte.
    at: u64,
    /// What was read of it.
    bytes: Vec<u8>,
}

/// Blocks that were read.
#[derive(Debug, Default)]
pub(crate) struct Blocks(Mutex<Vec<Block>>);

/// A log file, as far as it may be read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Source<'a> {
    pub(super) file: &'a dyn File,
    /// Position of its first byte.
    pub(super) base: u64,
    /// Nothing at or behind this position is read: the end of the file, or of what is written.
    pub(super) end: u64,
}

impl Blocks {
    /// Appends these parts of one file, in order; `false` if that needs the device, and anything is appended then.
    pub(super) fn copy(
        &self,
        source: Source<'_>,
        parts: impl Iterator<Item = Range<u64>>,
        out: &mut Vec<u8>,
    ) -> io::Result<bool> {
        // A block is extended before it is used, and cut back if that fails.
        let mut blocks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for part in parts {
            let mut at = part.start;
            while at < part.end {
                let end = part.end.min((at / BLOCK + 1) * BLOCK);
                if !copy_one(&mut blocks, source, at..end, out)? {
                    return Ok(false);
                }
                at = end;
            }
        }
        Ok(true)
    }
}

/// Appends a part of one block.
fn copy_one(
    blocks: &mut Vec<Block>,
    source: Source<'_>,
    part: Range<u64>,
    out: &mut Vec<u8>,
) -> io::Result<bool> {
    let number = part.start / BLOCK;
    let start = (number * BLOCK).max(source.base);
    let slot = (number % SLOTS) as usize;
    if blocks.len() <= slot {
        blocks.resize_with(slot + 1, Block::default);
    }
    let Some(block) = blocks.get_mut(slot) else { return Ok(false) };
    if block.at != start {
        block.at = start;
        block.bytes.clear();
    }
    let had = block.bytes.len();
    if start + (had as u64) < part.end {
        let end = ((number + 1) * BLOCK).min(source.end).max(part.end);
        block.bytes.resize((end - start) as usize, 0);
        let new = block.bytes.get_mut(had..).unwrap_or_default();
        let read = source.file.read_cached(new, start + had as u64 - source.base);
        if !matches!(read, Ok(true)) {
            block.bytes.truncate(had);
            return read;
        }
    }
    let (from, to) = ((part.start - start) as usize, (part.end - start) as usize);
    let bytes = block.bytes.get(from..to).ok_or(io::ErrorKind::UnexpectedEof)?;
    out.extend_from_slice(bytes);
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::{Disk, Open, memory::MemDisk};
    use std::path::Path;

    /// Two files of a log, of a size that is no multiple of a block, filled with what tells its place.
    fn log() -> (MemDisk, Vec<std::sync::Arc<dyn File>>, u64) {
        let (disk, size) = (MemDisk::new(), BLOCK + 10_000);
        let file = |n: u64| {
            let file = disk.open(Path::new(&format!("log{n}")), Open::Create).unwrap();
            let bytes: Vec<u8> = (n * size..(n + 1) * size).map(byte).collect();
            file.write_at(&bytes, 0).unwrap();
            file
        };
        let files = vec![file(0), file(1)];
        (disk, files, size)
    }

    fn byte(at: u64) -> u8 {
        (at ^ (at >> 8) ^ (at >> 16)) as u8
    }

    #[test]
    fn any_part_of_any_file_is_what_stands_there() {
        let (_disk, files, size) = log();
        let blocks = Blocks::default();
        for step in 0..400u64 {
            let n = step % 2;
            let base = n * size;
            let written = base + (size * (step + 1) / 400).max(200);
            let from = base + (step * 7_919) % (written - base - 100);
            let parts = [from..from + 60, from + 80..written.min(from + 9_000)];
            let source = Source { file: &*files[n as usize], base, end: written };
            let mut out = Vec::new();
            assert!(blocks.copy(source, parts.iter().cloned(), &mut out).unwrap());
            let wanted: Vec<u8> = parts.iter().cloned().flatten().map(byte).collect();
            assert!(out == wanted, "step {step}");
        }
    }

    #[test]
    fn what_was_read_once_needs_no_file_and_what_the_device_has_is_told() {
        let (disk, files, _) = log();
        let blocks = Blocks::default();
        let source = Source { file: &*files[0], base: 0, end: 5_000 };
        let mut out = Vec::new();
        assert!(blocks.copy(source, std::iter::once(100..200), &mut out).unwrap());
        disk.set_resident(Some(false));
        assert!(blocks.copy(source, std::iter::once(4_000..5_000), &mut out).unwrap(), "it was read along");
        let more = Source { end: 6_000, ..source };
        assert!(!blocks.copy(more, std::iter::once(4_900..5_100), &mut out).unwrap());
        disk.set_resident(Some(true));
        out.clear();
        assert!(blocks.copy(more, std::iter::once(4_900..5_100), &mut out).unwrap(), "it is whole as before");
        assert!(out == (4_900..5_100).map(byte).collect::<Vec<u8>>());
    }
}
