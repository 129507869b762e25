//! A disk whose power can be cut: what was written since the last flush is in its cache and may be lost.
//!
//! Owns the disk's bytes, twice: as they read now, and as they are safe. Knows sectors and flushes; knows no file
//! system and nobody who asks.
//!
//! A flush makes all writes before it safe. A cut keeps a choice of the others, sector by sector, in the order in
//! which they were written: a sector has one of its states since the flush, its neighbours may have others.

use kerolox_store::disk::memory::Rng;
use std::{
    io,
    ops::Range,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// What a disk writes whole or not at all.
pub const SECTOR: usize = 512;
/// What the file system writes as one, mostly.
const BLOCK: usize = 4096;
/// Bytes in the cache beyond which a disk writes by itself.
const CACHE_BYTES_MAX: usize = 64 << 20;

/// What becomes of the writes since the last flush.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// All go.
    AllLost,
    /// All but the last few are safe: a disk that writes in order.
    Prefix,
    /// Each block of each write for itself.
    Blocks,
    /// Each sector of each write for itself.
    Sectors,
}

impl Fate {
    /// All of them, for a choice.
    pub const ALL: [Fate; 4] = [Fate::AllLost, Fate::Prefix, Fate::Blocks, Fate::Sectors];
}

/// What a disk has done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Writes.
    pub writes: u64,
    /// Flushes.
    pub flushes: u64,
    /// Bytes that were in the cache when the power went.
    pub bytes_unflushed: u64,
    /// Those of them that were lost.
    pub bytes_lost: u64,
}

/// A write in the cache.
struct Write {
    at: usize,
    bytes: Vec<u8>,
}

#[derive(Debug, Clone, Copy)]
enum Power {
    On,
    Off(Instant),
}

/// A cut that waits for its time.
struct Armed {
    after: u64,
    fate: Fate,
    rng: Rng,
}

struct Inner {
    /// As reads see it.
    current: Vec<u8>,
    /// As a cut would leave it, had it come at the last flush.
    safe: Vec<u8>,
    cache: Vec<Write>,
    cache_bytes: usize,
    power: Power,
    armed: Option<Armed>,
    lies: bool,
    counts: Counts,
}

/// A disk.
pub struct Platter {
    inner: Mutex<Inner>,
    /// Told when the power goes.
    gone: Condvar,
    len: usize,
}

impl Platter {
    /// A disk with these bytes, all safe, and its power on.
    pub fn new(bytes: Vec<u8>) -> Platter {
        let len = bytes.len();
        let inner = Inner {
            current: bytes.clone(),
            safe: bytes,
            cache: Vec::new(),
            cache_bytes: 0,
            power: Power::On,
            armed: None,
            lies: false,
            counts: Counts::default(),
        };
        Platter { inner: Mutex::new(inner), gone: Condvar::new(), len }
    }

    /// Puts other bytes on it, all safe. They must be as many.
    pub fn replace(&self, bytes: &[u8]) {
        let mut inner = self.lock();
        assert_eq!(bytes.len(), self.len, "a disk does not change its size");
        inner.cache.clear();
        inner.cache_bytes = 0;
        inner.current.copy_from_slice(bytes);
        inner.safe.copy_from_slice(bytes);
    }

    /// Bytes it has.
    pub fn len(&self) -> u64 {
        self.len as u64
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// What it has done since it was made.
    pub fn counts(&self) -> Counts {
        self.lock().counts
    }

    /// What is safe, as evidence.
    pub fn save(&self, path: &std::path::Path) -> io::Result<()> {
        std::fs::write(path, &self.lock().safe)
    }

    /// Reads; short at the disk's end.
    ///
    /// # Errors
    /// `EIO` without power.
    pub fn read(&self, at: u64, len: usize) -> io::Result<Vec<u8>> {
        let mut inner = self.lock();
        self.step(&mut inner)?;
        Ok(inner.current.get(self.clamp(at, len)).unwrap_or_default().to_vec())
    }

    /// Writes to the cache; how many bytes there was room for.
    ///
    /// # Errors
    /// `EIO` without power.
    pub fn write(&self, at: u64, bytes: &[u8]) -> io::Result<usize> {
        let mut inner = self.lock();
        self.step(&mut inner)?;
        let range = self.clamp(at, bytes.len());
        let bytes = bytes.get(..range.len()).unwrap_or_default().to_vec();
        if let Some(part) = inner.current.get_mut(range.clone()) {
            part.copy_from_slice(&bytes);
        }
        inner.counts.writes += 1;
        inner.cache_bytes += bytes.len();
        inner.cache.push(Write { at: range.start, bytes });
        if inner.cache_bytes > CACHE_BYTES_MAX {
            inner.make_safe();
        }
        Ok(range.len())
    }

    /// Makes all writes so far safe.
    ///
    /// # Errors
    /// `EIO` without power.
    pub fn flush(&self) -> io::Result<()> {
        let mut inner = self.lock();
        self.step(&mut inner)?;
        inner.counts.flushes += 1;
        if !inner.lies {
            inner.make_safe();
        }
        Ok(())
    }

    /// Has it say that it flushed when it did not.
    pub fn lie(&self, lies: bool) {
        self.lock().lies = lies;
    }

    /// Cuts the power now, unless it is cut.
    pub fn cut(&self, fate: Fate, rng: Rng) {
        let mut inner = self.lock();
        if matches!(inner.power, Power::On) {
            inner.cut(fate, rng);
            self.gone.notify_all();
        }
    }

    /// Cuts the power before the `after`-th request from now.
    pub fn arm(&self, after: u64, fate: Fate, rng: Rng) {
        self.lock().armed = Some(Armed { after, fate, rng });
    }

    /// Waits until the power is cut; whether it was within this time.
    pub fn wait(&self, patience: Duration) -> bool {
        let waited = self.gone.wait_timeout_while(self.lock(), patience, |inner| inner.cut_at().is_none());
        waited.unwrap_or_else(PoisonError::into_inner).0.cut_at().is_some()
    }

    /// When the power was cut; `None` if it is on.
    pub fn cut_at(&self) -> Option<Instant> {
        self.lock().cut_at()
    }

    /// Gives it power again.
    pub fn power_on(&self) {
        let mut inner = self.lock();
        inner.power = Power::On;
        inner.armed = None;
    }

    /// What comes before every request: the armed cut.
    fn step(&self, inner: &mut Inner) -> io::Result<()> {
        if let Power::Off(_) = inner.power {
            return Err(rustix::io::Errno::IO.into());
        }
        match &mut inner.armed {
            Some(armed) if armed.after == 0 => {
                if let Some(Armed { fate, rng, .. }) = inner.armed.take() {
                    inner.cut(fate, rng);
                }
                self.gone.notify_all();
                Err(rustix::io::Errno::IO.into())
            }
            Some(armed) => {
                armed.after -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn clamp(&self, at: u64, len: usize) -> Range<usize> {
        let start = usize::try_from(at).unwrap_or(usize::MAX).min(self.len);
        start..start.saturating_add(len).min(self.len)
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn cut_at(&self) -> Option<Instant> {
        match self.power {
            Power::On => None,
            Power::Off(at) => Some(at),
        }
    }

    fn make_safe(&mut self) {
        for Write { at, bytes } in self.cache.drain(..) {
            copy(&mut self.safe, at, &bytes);
        }
        self.cache_bytes = 0;
    }

    fn cut(&mut self, fate: Fate, mut rng: Rng) {
        self.power = Power::Off(Instant::now());
        let cache = std::mem::take(&mut self.cache);
        self.cache_bytes = 0;
        // Some disks keep nearly all, some nearly nothing.
        let percent = [3, 20, 50, 80, 97].get(rng.below(5)).copied().unwrap_or(50);
        let kept_writes = rng.below(cache.len() + 1);
        for (n, Write { at, bytes }) in cache.iter().enumerate() {
            let unit = if fate == Fate::Sectors { SECTOR } else { BLOCK };
            for piece in pieces(*at, bytes.len(), unit) {
                let is_kept = match fate {
                    Fate::AllLost => false,
                    Fate::Prefix => n < kept_writes,
                    Fate::Blocks | Fate::Sectors => rng.below(100) < percent,
                };
                self.counts.bytes_unflushed += piece.len() as u64;
                if is_kept {
                    let from = piece.start - at;
                    copy(
                        &mut self.safe,
                        piece.start,
                        bytes.get(from..from + piece.len()).unwrap_or_default(),
                    );
                } else {
                    self.counts.bytes_lost += piece.len() as u64;
                }
            }
        }
        for Write { at, bytes } in &cache {
            let range = *at..at + bytes.len();
            if let (Some(to), Some(from)) = (self.current.get_mut(range.clone()), self.safe.get(range)) {
                to.copy_from_slice(from);
            }
        }
    }
}

fn copy(to: &mut [u8], at: usize, bytes: &[u8]) {
    if let Some(part) = to.get_mut(at..at + bytes.len()) {
        part.copy_from_slice(bytes);
    }
}

/// A range cut at the multiples of `unit`.
fn pieces(at: usize, len: usize, unit: usize) -> impl Iterator<Item = Range<usize>> {
    let end = at + len;
    let mut from = at;
    std::iter::from_fn(move || {
        let to = ((from / unit + 1) * unit).min(end);
        let piece = from..to;
        from = to;
        (!piece.is_empty()).then_some(piece)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEN: usize = 64 * BLOCK;

    fn disk() -> Platter {
        Platter::new(vec![0; LEN])
    }

    fn is_eio<T: std::fmt::Debug>(result: io::Result<T>) -> bool {
        result.unwrap_err().raw_os_error() == Some(rustix::io::Errno::IO.raw_os_error())
    }

    #[test]
    fn what_was_flushed_outlives_every_cut_and_the_rest_has_an_old_or_a_new_sector() {
        for (seed, fate) in (0..40).flat_map(|seed| Fate::ALL.map(|fate| (seed, fate))) {
            let disk = disk();
            disk.write(0, &[1; 8 * BLOCK]).unwrap();
            disk.flush().unwrap();
            disk.write(0, &[2; 4 * BLOCK]).unwrap();
            disk.write(100, &[3; BLOCK]).unwrap();
            assert_eq!(disk.read(100, 2).unwrap(), [3, 3], "it reads what it was given");
            disk.cut(fate, Rng::new(seed));
            assert!(is_eio(disk.read(0, 1)) && is_eio(disk.write(0, b"x")) && is_eio(disk.flush()));
            disk.power_on();
            let after = disk.read(0, 8 * BLOCK).unwrap();
            assert!(after[4 * BLOCK..].iter().all(|byte| *byte == 1), "{fate:?}, {seed}");
            for (n, sector) in after[2 * BLOCK..4 * BLOCK].chunks(SECTOR).enumerate() {
                assert!(sector.iter().all(|byte| *byte == sector[0]), "sector {n} is torn");
                assert!([1, 2].contains(&sector[0]));
            }
            if fate == Fate::AllLost {
                assert!(after.iter().all(|byte| *byte == 1));
            }
            let counts = disk.counts();
            assert_eq!(counts.bytes_unflushed, 5 * BLOCK as u64);
        }
    }

    #[test]
    fn sectors_and_blocks_come_and_go_for_themselves() {
        let kinds = |fate| {
            let disk = disk();
            disk.write(0, &[2; LEN]).unwrap();
            disk.cut(fate, Rng::new(2));
            disk.power_on();
            let after = disk.read(0, LEN).unwrap();
            let whole =
                after.chunks(BLOCK).filter(|block| block.iter().all(|byte| *byte == block[0])).count();
            (whole, after.iter().filter(|byte| **byte == 2).count())
        };
        let (whole, kept) = kinds(Fate::Blocks);
        assert!(whole == 64 && kept > 0 && kept < LEN);
        assert!(kinds(Fate::Sectors).0 < 64, "blocks are torn");
    }

    #[test]
    fn a_cut_can_be_set_for_a_request_to_come() {
        let disk = disk();
        disk.arm(2, Fate::AllLost, Rng::new(1));
        disk.write(0, b"a").unwrap();
        disk.flush().unwrap();
        assert!(!disk.wait(Duration::ZERO));
        assert!(is_eio(disk.flush()));
        assert!(disk.wait(Duration::ZERO) && disk.cut_at().is_some());
        disk.power_on();
        assert_eq!(disk.read(0, 1).unwrap(), b"a");
    }

    #[test]
    fn a_full_cache_is_written_and_the_ends_are_kept() {
        let disk = disk();
        assert_eq!(disk.write(LEN as u64 - 1, b"ab").unwrap(), 1);
        assert_eq!(disk.read(LEN as u64 - 1, 9).unwrap(), b"a");
        assert_eq!(disk.read(u64::MAX, 9).unwrap(), b"");
        for _ in 0..=CACHE_BYTES_MAX / LEN {
            disk.write(0, &[7; LEN]).unwrap();
        }
        disk.cut(Fate::AllLost, Rng::new(1));
        disk.power_on();
        assert_eq!(disk.read(0, 1).unwrap(), [7]);
    }
}
