//! Reading around what a device does not give.
//!
//! One bad sector fails a read of a megabyte. Here such a read is done again in smaller and smaller pieces, so that
//! only what cannot be read is missing. Knows files and positions; knows nothing of what is read, and never writes.

use super::File;
use std::{fmt, io, ops::Range};

/// What a device gives or fails as a whole, bytes.
pub const SECTOR: u64 = 512;
/// Sizes of pieces, each tried where the one before fails; cut at multiples of themselves. Through a page cache the
/// second to last is what the device is asked for.
const STEPS: [u64; 3] = [64 << 10, 4 << 10, SECTOR];

/// Whether the device failed at this one place: the error of a sector that is gone. All else (no such file, no
/// rights, too short) says nothing about the data.
pub fn is_device_error(error: &io::Error) -> bool {
    const EIO: i32 = 5;
    system_error(error) == Some(EIO)
}

/// Whether the process, or the system, may open no more files.
pub(crate) fn is_out_of_files(error: &io::Error) -> bool {
    const ENFILE: i32 = 23;
    const EMFILE: i32 = 24;
    matches!(system_error(error), Some(ENFILE | EMFILE))
}

/// What the real disk says carries the system's own error inside.
fn system_error(error: &io::Error) -> Option<i32> {
    let inner = error.get_ref().and_then(|inner| inner.source()?.downcast_ref::<io::Error>());
    inner.map_or_else(|| error.raw_os_error(), system_error)
}

/// A read that the device failed. A write that it failed looks the same but for this, and ends all writing.
#[derive(Debug)]
struct BadSector(io::Error);

impl fmt::Display for BadSector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for BadSector {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.0)
    }
}

/// What a read came to, marked for [`is_bad_sector`] if the device failed it.
pub(crate) fn told_from_writes<T>(read: io::Result<T>) -> io::Result<T> {
    read.map_err(|why| match is_device_error(&why) {
        true => io::Error::new(why.kind(), BadSector(why)),
        false => why,
    })
}

/// Whether the device failed a read that was marked so.
pub(crate) fn is_bad_sector(error: &io::Error) -> bool {
    error.get_ref().is_some_and(|inner| inner.is::<BadSector>())
}

/// Fills `buf` from `at` as far as the device gives it. Gives the parts of the file that it does not give, in order
/// and apart from each other; they are zeros in `buf`. Empty, and one call, in ordinary times.
///
/// A large piece of which the first, the middle and the last part are gone whole is taken for gone without asking
/// for the rest: a device takes seconds to fail, and a dead area of a gigabyte would take days.
///
/// # Errors
/// All but those of the device.
pub fn read_around(file: &dyn File, buf: &mut [u8], at: u64) -> io::Result<Vec<Range<u64>>> {
    let mut lost = Vec::new();
    read_piece(file, buf, at, &STEPS, &mut lost)?;
    lost.sort_by_key(|range: &Range<u64>| range.start);
    lost.dedup_by(|later, earlier| {
        let joins = later.start <= earlier.end;
        if joins {
            earlier.end = earlier.end.max(later.end);
        }
        joins
    });
    Ok(lost)
}

/// The first of `lost`, which are in order, that has a byte in common with `range`.
pub fn first_in(lost: &[Range<u64>], range: &Range<u64>) -> Option<Range<u64>> {
    lost.iter().find(|hole| hole.start < range.end && range.start < hole.end).cloned()
}

/// As [`read_around`]; whether nothing at all could be read.
fn read_piece(
    file: &dyn File,
    buf: &mut [u8],
    at: u64,
    steps: &[u64],
    lost: &mut Vec<Range<u64>>,
) -> io::Result<bool> {
    match file.read_at(buf, at) {
        Err(why) if is_device_error(&why) => {}
        read => return read.map(|()| false),
    }
    let range = at..at + buf.len() as u64;
    let is_split = |step: &u64| range.start / step != (range.end - 1) / step;
    let Some(finer) = steps.iter().position(is_split) else {
        buf.fill(0);
        lost.push(range);
        return Ok(true);
    };
    let (step, finer) = (steps.get(finer).copied().unwrap_or(SECTOR), steps.get(finer + 1..).unwrap_or(&[]));
    let parts: Vec<Range<u64>> = parts(&range, step).collect();
    let probes = [0, parts.len() / 2, parts.len().saturating_sub(1)];
    let mut read = |part: &Range<u64>, lost: &mut Vec<Range<u64>>| {
        let (from, to) = ((part.start - at) as usize, (part.end - at) as usize);
        read_piece(file, buf.get_mut(from..to).unwrap_or_default(), part.start, finer, lost)
    };
    let mut is_gone = true;
    for (_, part) in parts.iter().enumerate().filter(|(n, _)| probes.contains(n)) {
        is_gone &= read(part, lost)?;
    }
    if is_gone {
        buf.fill(0);
        lost.push(range);
        return Ok(true);
    }
    for (_, part) in parts.iter().enumerate().filter(|(n, _)| !probes.contains(n)) {
        read(part, lost)?;
    }
    Ok(false)
}

/// A range cut at the multiples of `step`.
fn parts(range: &Range<u64>, step: u64) -> impl Iterator<Item = Range<u64>> {
    let (mut at, end) = (range.start, range.end);
    std::iter::from_fn(move || {
        let part = at..((at / step + 1) * step).min(end);
        at = part.end;
        (part.start < end).then_some(part)
    })
}

/// What stands in the place of bytes that an operator gave up: a copy of a file has it where the file could not be
/// read. No record begins so, and it is told from what a crash leaves.
const GIVEN_UP: [u8; 8] = *b"KRLXLOST";

/// Writes the mark of bytes that were given up into parts of `buf`, whose first byte stands at `at` of the file.
pub(crate) fn give_up(buf: &mut [u8], at: u64, lost: &[Range<u64>]) {
    for hole in lost {
        let (from, to) = (hole.start.saturating_sub(at) as usize, hole.end.saturating_sub(at) as usize);
        for (byte, position) in buf.get_mut(from..to).unwrap_or_default().iter_mut().zip(hole.start..) {
            *byte = GIVEN_UP[(position % 8) as usize];
        }
    }
}

/// A shorter run of the mark is none.
const GIVEN_UP_MIN: usize = 2 * GIVEN_UP.len();

/// The first part of `buf`, which stands at `at` of a file, that was given up.
pub(crate) fn first_given_up(buf: &[u8], at: u64) -> Option<Range<u64>> {
    let mut from = 0;
    while let Some(rest) = buf.get(from..).filter(|rest| rest.len() >= GIVEN_UP_MIN) {
        let n = given_up(rest, at + from as u64);
        if n >= GIVEN_UP_MIN {
            return Some(at + from as u64..at + (from + n) as u64);
        }
        from += n + 1;
    }
    None
}

/// How many bytes at the start of `buf`, which stands at `at` of a file, are of the mark.
pub(crate) fn given_up(buf: &[u8], at: u64) -> usize {
    let mark = buf.iter().zip(at..);
    mark.take_while(|(byte, position)| **byte == GIVEN_UP[(position % 8) as usize]).count()
}

/// Where a run of the mark that reaches `to` ends, at the latest at `end`. The file begins at `base`. `count` says of so
/// many bytes at a position how many, from their start on, are of the mark.
pub(crate) fn given_up_to(
    mut to: u64,
    end: u64,
    base: u64,
    mut count: impl FnMut(u64, usize) -> io::Result<usize>,
) -> io::Result<u64> {
    while to < end {
        let n = (SECTOR - (to - base) % SECTOR).min(end - to) as usize;
        let more = count(to, n)?;
        to += more as u64;
        if more < n {
            break;
        }
    }
    Ok(to)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::{
        Disk, Open,
        memory::{Call, Fault, Harm, MemDisk},
    };
    use std::path::Path;

    const PATH: &str = "/f";
    const LEN: usize = 1 << 20;

    fn made(bad: &[(u64, u64)]) -> (MemDisk, Vec<u8>) {
        let disk = MemDisk::new();
        let bytes: Vec<u8> = (0..LEN).map(|n| (n / 7 + n) as u8 | 1).collect();
        disk.plant(Path::new(PATH), &bytes).expect("plant");
        bad.iter().for_each(|(at, len)| disk.spoil(Path::new(PATH), *at, *len).expect("spoil"));
        (disk, bytes)
    }

    fn read(disk: &MemDisk, at: u64, len: usize) -> (Vec<u8>, Vec<Range<u64>>) {
        let mut buf = vec![9; len];
        let file = disk.open(Path::new(PATH), Open::Read).expect("open");
        let lost = read_around(&*file, &mut buf, at).expect("read");
        (buf, lost)
    }

    #[test]
    fn only_the_bad_sectors_are_missing_wherever_the_read_begins() {
        let (disk, bytes) = made(&[(70_000, 1), (70_656, 1), (300_000, 2_000), (LEN as u64 - 1, 1)]);
        let bad = [69_632..70_144, 70_656..71_168, 299_520..302_080, LEN as u64 - 512..LEN as u64];
        for (at, len) in
            [(0, LEN), (1, LEN - 1), (69_999, 700_001), (299_000, 5_000), (70_656, 512), (70_700, 3)]
        {
            let (buf, lost) = read(&disk, at, len);
            let end = at + len as u64;
            let clipped = bad.iter().map(|hole| hole.start.max(at)..hole.end.min(end));
            assert_eq!(lost, clipped.filter(|hole| hole.start < hole.end).collect::<Vec<_>>(), "{at} {len}");
            for (n, byte) in buf.iter().enumerate() {
                let position = at + n as u64;
                let is_lost = lost.iter().any(|hole| hole.contains(&position));
                assert_eq!(*byte, if is_lost { 0 } else { bytes[position as usize] }, "{position}");
            }
        }
    }

    #[test]
    fn a_dead_area_is_not_asked_for_sector_by_sector() {
        let (disk, _) = made(&[(0, LEN as u64)]);
        let before = disk.calls(Call::Read);
        assert_eq!(read(&disk, 0, LEN).1, std::slice::from_ref(&(0..LEN as u64)));
        assert!(disk.calls(Call::Read) - before <= 60, "{}", disk.calls(Call::Read) - before);
    }

    #[test]
    fn an_error_that_is_not_the_devices_is_passed_on() {
        let (disk, _) = made(&[]);
        let file = disk.open(Path::new(PATH), Open::Read).expect("open");
        let mut buf = vec![0; 100];
        let why = read_around(&*file, &mut buf, LEN as u64 - 50).expect_err("behind the end");
        assert_eq!(why.kind(), io::ErrorKind::UnexpectedEof);
        // One that passes is none, once the smaller pieces come.
        disk.plan(Fault::once(Call::Read, 1, Harm::Eio));
        assert!(read_around(&*file, &mut [0; 5_000], 0).expect("read").is_empty());
    }

    #[test]
    fn what_was_given_up_is_told_from_all_else() {
        let mut buf = vec![1; 4_096];
        give_up(&mut buf, 8_192, std::slice::from_ref(&(8_704..9_728)));
        assert_eq!(first_given_up(&buf, 8_192), Some(8_704..9_728));
        assert_eq!(first_given_up(&buf[600..], 8_792), Some(8_792..9_728), "from the middle of a sector on");
        assert_eq!(first_given_up(&[0; 4_096], 0), None);
        assert_eq!(first_given_up(&buf[..512], 8_192), None);
    }
}
