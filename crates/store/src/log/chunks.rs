//! The newest bytes of the log, in memory: what is not written yet, and what readers at the tail want next.
//!
//! Bytes are encoded straight into a chunk, never moved, and written from there. A record lies in one chunk; a
//! chunk lies in one file.

use std::collections::VecDeque;

/// Capacity of an ordinary chunk. A larger record gets a chunk of its own.
const CHUNK_BYTES: usize = 512 << 10;
/// Room behind a chunk's bytes for the rest of a block.
const PAD_BYTES: usize = 4096;
/// Empty chunks kept for reuse.
const SPARE_MAX: usize = 2;

#[derive(Debug)]
struct Chunk {
    at: u64,
    bytes: Vec<u8>,
}

impl Chunk {
    fn end(&self) -> u64 {
        self.at + self.bytes.len() as u64
    }
}

#[derive(Debug)]
pub(crate) struct Chunks {
    chunks: VecDeque<Chunk>,
    spare: Vec<Vec<u8>>,
    /// Bytes of all chunks.
    bytes: usize,
    bytes_max: usize,
    /// The last chunk is complete: a file ended with it.
    sealed: bool,
    /// Zeros at the end of the last chunk that are no part of the log.
    padding: usize,
}

impl Chunks {
    pub(crate) fn new(bytes_max: usize) -> Chunks {
        Chunks { chunks: VecDeque::new(), spare: Vec::new(), bytes: 0, bytes_max, sealed: false, padding: 0 }
    }

    /// What comes next belongs to another file.
    pub(crate) fn seal(&mut self) {
        self.sealed = true;
    }

    /// Appends `len` bytes at log position `at`, which is behind all others.
    pub(crate) fn push(&mut self, at: u64, len: usize, encode: impl FnOnce(&mut Vec<u8>)) {
        let fits = |chunk: &Chunk| {
            chunk.end() == at && chunk.bytes.capacity() - chunk.bytes.len() >= len + PAD_BYTES
        };
        if std::mem::take(&mut self.sealed) || !self.chunks.back().is_some_and(fits) {
            let bytes = match self.spare.pop() {
                Some(spare) if spare.capacity() >= len + PAD_BYTES => spare,
                _ => Vec::with_capacity(CHUNK_BYTES.max(len + PAD_BYTES)),
            };
            self.chunks.push_back(Chunk { at, bytes });
        }
        if let Some(chunk) = self.chunks.back_mut() {
            let before = chunk.bytes.len();
            encode(&mut chunk.bytes);
            assert_eq!(chunk.bytes.len() - before, len, "a record is as long as its place");
        }
        self.bytes += len;
    }

    /// Lets the last chunk end with so many zeros, at most a block, until [`Chunks::unpad`].
    pub(crate) fn pad(&mut self, zeros: usize) {
        if let Some(chunk) = self.chunks.back_mut() {
            debug_assert!(self.padding == 0 && zeros < PAD_BYTES);
            chunk.bytes.resize(chunk.bytes.len() + zeros, 0);
            self.padding = zeros;
        }
    }

    /// Takes the zeros of [`Chunks::pad`] away.
    pub(crate) fn unpad(&mut self) {
        if let Some(chunk) = self.chunks.back_mut() {
            let padding = std::mem::take(&mut self.padding);
            chunk.bytes.truncate(chunk.bytes.len() - padding);
        }
    }

    /// The bytes from position `from` on, in pieces, each with its position.
    pub(crate) fn since(&self, from: u64) -> impl Iterator<Item = (u64, &[u8])> {
        let first = self.chunks.partition_point(|chunk| chunk.end() <= from);
        self.chunks.range(first..).map(move |chunk| {
            let skip = from.saturating_sub(chunk.at) as usize;
            (chunk.at + skip as u64, chunk.bytes.get(skip..).unwrap_or(&[]))
        })
    }

    /// `len` bytes at `at`, if one chunk holds them.
    pub(crate) fn get(&self, at: u64, len: usize) -> Option<&[u8]> {
        let after = self.chunks.partition_point(|chunk| chunk.at <= at);
        let chunk = self.chunks.get(after.checked_sub(1)?)?;
        let from = usize::try_from(at - chunk.at).ok()?;
        chunk.bytes.get(from..from.checked_add(len)?)
    }

    /// Forgets the oldest chunks beyond the limit, never a byte at or behind `written`, never the last chunk.
    pub(crate) fn trim(&mut self, written: u64) {
        while self.chunks.len() > 1 && self.bytes > self.bytes_max {
            if self.chunks.front().is_none_or(|chunk| chunk.end() > written) {
                return;
            }
            if let Some(mut chunk) = self.chunks.pop_front() {
                self.bytes -= chunk.bytes.len();
                if self.spare.len() < SPARE_MAX && chunk.bytes.capacity() == CHUNK_BYTES {
                    chunk.bytes.clear();
                    self.spare.push(chunk.bytes);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_found_until_the_limit_pushes_them_out() {
        let mut chunks = Chunks::new(2 * CHUNK_BYTES);
        let mut at = 0;
        for n in 0..40u8 {
            chunks.push(at, 100 << 10, |out| out.resize(out.len() + (100 << 10), n));
            at += 100 << 10;
        }
        // Nothing is written yet, so nothing may go.
        chunks.trim(0);
        assert_eq!(chunks.get(0, 3), Some(&[0, 0, 0][..]));
        let all: usize = chunks.since(0).map(|(_, bytes)| bytes.len()).sum();
        assert_eq!(all as u64, at);
        let (from, piece) = chunks.since(5).next().unwrap();
        assert_eq!((from, piece[0]), (5, 0));
        chunks.trim(at);
        assert_eq!(chunks.get(0, 3), None);
        assert_eq!(chunks.get(at - 4, 4), Some(&[39; 4][..]));
        assert_eq!(chunks.get(at - 4, 5), None, "beyond the end");
        assert!(chunks.bytes <= 2 * CHUNK_BYTES);
        // A record larger than a chunk lies in one piece.
        chunks.push(at, 2 * CHUNK_BYTES, |out| out.resize(out.len() + 2 * CHUNK_BYTES, 7));
        assert_eq!(chunks.get(at, 2 * CHUNK_BYTES).map(<[u8]>::len), Some(2 * CHUNK_BYTES));
    }

    #[test]
    fn padding_is_written_and_is_no_part_of_the_log() {
        let mut chunks = Chunks::new(CHUNK_BYTES);
        let full = CHUNK_BYTES - PAD_BYTES;
        chunks.push(0, full, |out| out.resize(full, 7));
        chunks.pad(PAD_BYTES - 1);
        let (_, piece) = chunks.since(0).next().unwrap();
        assert_eq!((piece.len(), piece[full - 1], piece[full]), (CHUNK_BYTES - 1, 7, 0));
        chunks.unpad();
        chunks.unpad();
        assert_eq!(chunks.get(0, full + 1), None);
        chunks.push(full as u64, 3, |out| out.extend([1, 2, 3]));
        assert_eq!(chunks.get(full as u64, 3), Some(&[1, 2, 3][..]));
        assert_eq!(chunks.bytes, full + 3);
    }
}
