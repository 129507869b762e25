//! The commit log: an endless run of bytes cut into files of one size.
//!
//! Owns the log's files and its newest bytes, which are collected in memory and written by [`Log::commit`].
//! Knows places and sizes; knows no topics, no queues and not what a record says.
//!
//! ```text
//!    first            flushed        written         end
//!      │ on the device   │ page cache   │ memory only  │
//!      ▼                 ▼              ▼              ▼
//!  ────┼─────────────────┼──────────────┼──────────────┤
//!                  ◄──── chunks: also in memory ───────►
//! ```

mod ahead;
mod chunks;
mod segment;

pub(crate) use ahead::{Reserve, Reserved, Zero};
pub(crate) use segment::{Segment, create as create_segment, file_name, parse_file_name, put_away};

use crate::{
    cold,
    disk::{
        Disk, File,
        around::{is_out_of_files, read_around},
    },
    line::Line,
};
use ahead::Gate;
use chunks::Chunks;
use kerolox_protocol::{
    LogOffset, Millis,
    record::{BLANK_BYTES, encode_blank},
};
use std::{
    collections::VecDeque,
    io,
    ops::Range,
    path::{Path, PathBuf},
    sync::Arc,
};

/// Room is taken from the file system in steps: enough that a step is rare, little enough that a small disk
/// is used to its end.
const ALLOCATE_BYTES: u64 = 64 << 20;
/// Bytes written over themselves at once.
const REWRITE_BYTES: u64 = 1 << 20;
/// What is taken when a whole step does not fit any more.
const ALLOCATE_BYTES_MIN: u64 = 64 << 10;

/// Why there is no place for a record.
#[derive(Debug)]
pub(crate) enum PlaceError {
    /// The disk is full. Nothing was changed; try again later.
    NoRoom(PathBuf, io::Error),
    /// The disk failed.
    Failed(PathBuf, io::Error),
}

#[derive(Debug)]
pub(crate) struct Log {
    disk: Arc<dyn Disk>,
    /// Where new files go.
    dir: PathBuf,
    segment_bytes: u64,
    segments: VecDeque<Segment>,
    /// The file after the last, made ahead.
    spare: Option<Segment>,
    chunks: Chunks,
    end: u64,
    written: u64,
    flushed: u64,
    /// A file was made or removed since the directory was last synced.
    dir_dirty: bool,
    /// Zeros are written up to here.
    zeroed: u64,
    /// Between the log and the job that writes zeros.
    gate: Arc<Gate>,
    /// Whether the disk has room to take files whole.
    ample: bool,
    /// Whether the last write goes on to the end of its block, with zeros: a whole block needs not be read
    /// from the disk when zeros were written there past the page cache.
    pads: bool,
    /// The file whose rest was asked for, whatever came of it.
    reserving: Option<u64>,
}

impl Log {
    /// A log of the given files, in order and without gaps, that ends at `end`.
    pub(crate) fn new(
        disk: Arc<dyn Disk>,
        dir: PathBuf,
        segment_bytes: u64,
        segments: VecDeque<Segment>,
        end: u64,
        tail_bytes: usize,
    ) -> Log {
        let chunks = Chunks::new(tail_bytes);
        let mut log = Log {
            disk,
            dir,
            segment_bytes,
            segments,
            spare: None,
            chunks,
            end,
            written: end,
            flushed: end,
            dir_dirty: false,
            zeroed: 0,
            gate: Arc::default(),
            ample: false,
            pads: false,
            reserving: None,
        };
        // Files of earlier runs were synced with their directory before anything in them was confirmed.
        log.dir_dirty = log.segments.is_empty();
        log
    }

    /// A log without files, to stand in for one.
    pub(crate) fn nothing(disk: &Arc<dyn Disk>) -> Log {
        Log::new(Arc::clone(disk), PathBuf::new(), 1, VecDeque::new(), 0, 0)
    }

    /// A log that is only read, by somebody who does not know its end.
    pub(crate) fn looked_at(disk: &Arc<dyn Disk>, segment_bytes: u64, segments: VecDeque<Segment>) -> Log {
        Log::new(Arc::clone(disk), PathBuf::new(), segment_bytes, segments, 0, 0)
    }

    /// Position behind the last file.
    pub(crate) fn files_end(&self) -> u64 {
        self.segments.back().map_or(self.end, |last| last.base + self.segment_bytes)
    }

    /// Writes a part of the log over itself. After a sync that failed the system may hold pages that it takes
    /// for written although the device never got them; a sync alone would leave them so.
    pub(crate) fn rewrite(&self, from: u64, to: u64) -> io::Result<()> {
        let mut window = Vec::new();
        let mut at = from.max(self.first().0);
        while at < to {
            let Some(found) = self.file_at(at) else { break };
            let (file, base) = found?;
            let n = (base + self.segment_bytes - at).min(to - at).min(REWRITE_BYTES);
            window.resize(n as usize, 0);
            let holes = read_around(&*file, &mut window, at - base)?;
            // What the device does not give is not in memory either.
            for part in between(at - base..at - base + n, &holes) {
                let from = (part.start + base - at) as usize;
                let bytes = window.get(from..from + (part.end - part.start) as usize).unwrap_or(&[]);
                file.write_at(bytes, part.start)?;
            }
            at += n;
        }
        Ok(())
    }

    /// Writes zeros over a part behind the end, block by block: a device asks for no bytes of a block that is written
    /// whole. What stands before the end in its block stays.
    pub(crate) fn blank(&self, part: &Range<u64>) -> io::Result<()> {
        let mut at = part.start.max(self.end);
        while at < part.end {
            let (file, base) = self.file_at(at).ok_or(io::ErrorKind::NotFound)??;
            let block = (at - base) / ahead::BLOCK * ahead::BLOCK;
            let n = ahead::BLOCK.min(self.segment_bytes - block);
            let kept = self.end.saturating_sub(base + block).min(n) as usize;
            let mut bytes = vec![0; n as usize];
            file.read_at(bytes.get_mut(..kept).unwrap_or_default(), block)?;
            file.write_at(&bytes, block)?;
            file.sync()?;
            at = base + block + n;
        }
        Ok(())
    }

    /// Makes a part of the log durable, here and now.
    pub(crate) fn sync_range(&self, from: u64, to: u64) -> io::Result<()> {
        for segment in &self.segments {
            if segment.base < to && segment.base + self.segment_bytes > from {
                segment.file(&*self.disk)?.sync()?;
            }
        }
        self.disk.sync_dir(&self.dir)
    }

    /// Removes what lies behind the end, durably, so that it can never be taken for part of the log: neither
    /// by us nor by a 4.9 broker, which does not compare positions. Files that were never reached go; such as
    /// hold anything are moved to `aside`.
    pub(crate) fn cut(&mut self, aside: &Path, damaged: &mut Vec<Range<u64>>) -> io::Result<Vec<Line>> {
        let mut lines = Vec::new();
        while let Some(last) = self.segments.pop_back_if(|last| last.base > self.end) {
            lines.push(segment::put_away(&*self.disk, &last, aside)?);
        }
        damaged.retain(|range| range.start < self.end);
        if let Some(last) = self.segments.back()
            && self.end < last.base + self.segment_bytes
            && !mutant!(StaleTailKept)
        {
            let file = last.file(&*self.disk)?;
            // Never by way of a shorter file: should the process die there, a 4.9 broker would refuse the store.
            let within = self.end - last.base;
            file.clear(within, self.segment_bytes - within)?;
            file.sync()?;
        }
        self.disk.sync_dir(&self.dir)?;
        Ok(lines)
    }

    /// Says where the log ends, once recovery knows.
    pub(crate) fn reset_end(&mut self, end: u64) {
        (self.end, self.written, self.flushed) = (end, end, end);
    }

    pub(crate) fn first(&self) -> LogOffset {
        LogOffset(self.segments.front().map_or(self.end, |segment| segment.base))
    }
    pub(crate) fn end(&self) -> LogOffset {
        LogOffset(self.end)
    }
    pub(crate) fn written(&self) -> LogOffset {
        LogOffset(self.written)
    }
    pub(crate) fn flushed(&self) -> LogOffset {
        LogOffset(self.flushed)
    }
    pub(crate) fn segment_bytes(&self) -> u64 {
        self.segment_bytes
    }
    pub(crate) fn dir(&self) -> &PathBuf {
        &self.dir
    }
    pub(crate) fn segments(&self) -> &VecDeque<Segment> {
        &self.segments
    }

    /// Finds the place for `bytes` that must not be split over files: ends the file if they do not fit, and
    /// makes sure that the disk has room. At most one file is ended; `bytes` fit into an empty file.
    pub(crate) fn place(&mut self, bytes: u64) -> Result<LogOffset, PlaceError> {
        let need = bytes + BLANK_BYTES as u64;
        debug_assert!(need <= self.segment_bytes);
        let left = self.segments.back().map_or(0, |last| last.base + self.segment_bytes - self.end);
        if left < need {
            self.roll(left)?;
        }
        let Some(last) = self.segments.back_mut() else {
            return Err(PlaceError::Failed(self.dir.clone(), io::ErrorKind::NotFound.into()));
        };
        let upto = self.end - last.base + need;
        if upto > last.allocated && !mutant!(RoomNotReserved) {
            allocate(&*self.disk, last, upto, self.segment_bytes)?;
        }
        Ok(LogOffset(self.end))
    }

    /// Appends what the caller encodes; its place and size were given to and by [`Log::place`].
    pub(crate) fn push(&mut self, bytes: usize, encode: impl FnOnce(&mut Vec<u8>)) {
        self.chunks.push(self.end, bytes, encode);
        self.end += bytes as u64;
    }

    /// Ends the last file, of which `left` bytes are left, and goes on in a new one.
    fn roll(&mut self, left: u64) -> Result<(), PlaceError> {
        let base = self.segments.back().map_or(self.end, |last| last.base + self.segment_bytes);
        // The new file first: if there is no room for it, nothing was changed.
        let next = match self.spare.take_if(|spare| spare.base == base) {
            Some(spare) => spare,
            None => {
                let made = segment::create(&*self.disk, &self.dir, base, self.segment_bytes, 0);
                made.map_err(|(path, why)| classify(path, why))?
            }
        };
        self.dir_dirty = true;
        if left > 0 {
            self.chunks.push(self.end, BLANK_BYTES, |out| encode_blank(left as u32, out));
        }
        self.chunks.seal();
        self.segments.push_back(next);
        self.end = base;
        Ok(())
    }

    /// Writes everything appended since the last call. An error leaves the log unusable for writing.
    pub(crate) fn commit(&mut self) -> io::Result<()> {
        if self.written == self.end {
            return Ok(());
        }
        let block = if self.pads { ahead::BLOCK } else { 1 };
        let upto = self.end.next_multiple_of(block).min(self.files_end());
        self.gate.claim(upto);
        self.chunks.pad((upto - self.end) as usize);
        let wrote = self.write_chunks();
        self.chunks.unpad();
        wrote?;
        self.written = self.end;
        self.chunks.trim(self.written);
        Ok(())
    }

    fn write_chunks(&self) -> io::Result<()> {
        for (at, bytes) in self.chunks.since(self.written) {
            let Some(segment) = find(&self.segments, at) else {
                return Err(io::Error::new(io::ErrorKind::NotFound, format!("no log file holds {at}")));
            };
            let wrote = segment.file(&*self.disk)?.write_at(bytes, at - segment.base);
            let forgiven = mutant!(NoRoomIgnored) && wrote.as_ref().is_err_and(is_no_room);
            if !mutant!(WriteErrorIgnored) && !forgiven {
                wrote?;
            }
        }
        Ok(())
    }

    /// What must be synced for everything written to be durable; `ms` is the time of the last record of that.
    pub(crate) fn unflushed(&mut self, ms: Millis) -> io::Result<Unflushed> {
        let mut files = Vec::new();
        for segment in self.segments.iter().rev() {
            if segment.base + self.segment_bytes <= self.flushed {
                break;
            }
            if segment.base < self.written {
                files.push(segment.file(&*self.disk)?);
            }
        }
        // Older files first: what becomes durable should be a beginning of the log.
        files.reverse();
        let dir = std::mem::take(&mut self.dir_dirty).then(|| self.dir.clone());
        Ok(Unflushed { files, dir, upto: LogOffset(self.written), ms })
    }

    pub(crate) fn set_flushed(&mut self, upto: LogOffset) {
        self.flushed = self.flushed.max(upto.0);
    }

    /// Takes the file that was made ahead, unless the log has gone on without it.
    pub(crate) fn set_spare(&mut self, spare: Segment) {
        let next = self.segments.back().map_or(self.end, |last| last.base + self.segment_bytes);
        if spare.base == next {
            self.spare = Some(spare);
        }
    }

    /// Position of the file to make ahead, and how much of it to reserve, once the last one is `share` of 4
    /// full.
    pub(crate) fn wants_spare(&self, share: u64) -> Option<(u64, u64)> {
        let last = self.segments.back()?;
        let used = self.end - last.base;
        let reserve = if self.ample { self.segment_bytes } else { 0 };
        let due = self.spare.is_none() && used > self.segment_bytes / 4 * share;
        due.then_some((last.base + self.segment_bytes, reserve))
    }

    /// Tells whether files may be taken whole, by the room that is left.
    pub(crate) fn set_free(&mut self, free: u64) {
        self.ample = free / ahead::AMPLE_FILES >= self.segment_bytes;
    }

    /// The rest of the last file, once that is busy.
    pub(crate) fn wants_reserve(&mut self) -> Option<io::Result<Reserve>> {
        let last = self.segments.back()?;
        let asked = self.reserving == Some(last.base);
        if !self.ample || asked || !self.is_busy() || last.allocated >= self.segment_bytes {
            return None;
        }
        let (base, from, to) = (last.base, last.allocated, self.segment_bytes);
        self.reserving = Some(base);
        Some(last.file(&*self.disk).map(|file| Reserve { file, base, from, to }))
    }

    pub(crate) fn set_reserved(&mut self, reserved: &Reserved) {
        if let Some(segment) = self.segments.iter_mut().find(|segment| segment.base == reserved.base) {
            segment.allocated = segment.allocated.max(reserved.upto);
        }
    }

    /// The next part to be filled with zeros, the file after the last included.
    pub(crate) fn wants_zeros(&mut self) -> Option<io::Result<Zero>> {
        self.pads = true;
        let last = self.segments.back()?.base;
        let goal = ahead::goal(last, self.end - last, self.segment_bytes, self.ample);
        let from = self.zeroed.max(self.end.next_multiple_of(ahead::BLOCK));
        let file = self.ahead_file(from)?;
        let file_end = file.base + self.segment_bytes;
        let to = file_end.min(from + ahead::JOB).min(goal);
        if to < file_end && to < from + ahead::JOB / 2 {
            return None;
        }
        let (base, gate) = (file.base, Arc::clone(&self.gate));
        Some(file.file(&*self.disk).map(|file| Zero { file, base, from, to, gate }))
    }

    /// The file that holds `at`, the one made ahead included.
    fn ahead_file(&self, at: u64) -> Option<&Segment> {
        let mut files = self.segments.iter().rev().chain(&self.spare);
        files.find(|segment| (segment.base..segment.base + self.segment_bytes).contains(&at))
    }

    /// Whether so much was written that more is to be expected.
    fn is_busy(&self) -> bool {
        let busy = ahead::BUSY_BYTES.min(self.segment_bytes / ahead::BUSY_SHARE);
        self.segments.len() > 1 || self.segments.back().is_some_and(|last| self.end - last.base >= busy)
    }

    pub(crate) fn set_zeroed(&mut self, upto: u64) {
        self.zeroed = self.zeroed.max(upto);
    }

    /// Goes without zeros for a while.
    pub(crate) fn skip_zeros(&mut self) {
        self.zeroed = self.end + ahead::SCARCE;
    }

    pub(crate) fn take_spare(&mut self) -> Option<Segment> {
        self.spare.take()
    }

    /// The file that holds `at`, and the position of its first byte.
    pub(crate) fn file_at(&self, at: u64) -> Option<io::Result<(Arc<dyn File>, u64)>> {
        let segment = find(&self.segments, at)?;
        Some(segment.file(&*self.disk).map(|file| (file, segment.base)))
    }

    /// `len` bytes from `at`, if they are still in memory.
    pub(crate) fn in_memory(&self, at: u64, len: usize) -> Option<&[u8]> {
        self.chunks.get(at, len)
    }

    /// The oldest `n` files, as far as they can be opened, with their positions.
    pub(crate) fn oldest(&self, n: usize) -> Vec<(u64, Arc<dyn File>)> {
        let open = |segment: &Segment| Some((segment.base, segment.file(&*self.disk).ok()?));
        self.segments.iter().take(n).filter_map(open).collect()
    }

    /// Removes the oldest `n` files from the log and hands them out. Never the last.
    pub(crate) fn drop_oldest(&mut self, n: usize) -> Vec<Segment> {
        let n = n.min(self.segments.len().saturating_sub(1));
        self.segments.drain(..n).collect()
    }

    /// Fills `out` from `at`, from memory or from the file. `at` and the length lie in one file.
    pub(crate) fn read(&self, gate: &cold::Gate, at: u64, out: &mut [u8]) -> io::Result<()> {
        if let Some(bytes) = self.in_memory(at, out.len()) {
            out.copy_from_slice(bytes);
            return Ok(());
        }
        match self.file_at(at) {
            Some(found) => found.and_then(|(file, base)| gate.read(&file, out, at - base)),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }
}

/// What a flush has to sync.
#[derive(Debug)]
pub(crate) struct Unflushed {
    pub(crate) files: Vec<Arc<dyn File>>,
    pub(crate) dir: Option<PathBuf>,
    pub(crate) upto: LogOffset,
    /// Store time of the last record before `upto`.
    pub(crate) ms: Millis,
}

/// What of `whole` is in none of `holes`, which are in order.
fn between(whole: Range<u64>, holes: &[Range<u64>]) -> Vec<Range<u64>> {
    let starts = std::iter::once(whole.start).chain(holes.iter().map(|hole| hole.end));
    let ends = holes.iter().map(|hole| hole.start).chain(std::iter::once(whole.end));
    starts.zip(ends).map(|(start, end)| start..end).filter(|part| part.start < part.end).collect()
}

fn find(segments: &VecDeque<Segment>, at: u64) -> Option<&Segment> {
    let after = segments.partition_point(|segment| segment.base <= at);
    segments.get(after.checked_sub(1)?)
}

fn allocate(disk: &dyn Disk, segment: &mut Segment, upto: u64, segment_bytes: u64) -> Result<(), PlaceError> {
    let from = segment.allocated;
    let file = segment.file(disk).map_err(|why| PlaceError::Failed(segment.path.clone(), why))?;
    let mut last_error = None;
    for step in [ALLOCATE_BYTES, ALLOCATE_BYTES_MIN] {
        let to = (from + step).max(upto).min(segment_bytes);
        match file.allocate(from, to - from) {
            Ok(()) => {
                segment.allocated = to;
                return Ok(());
            }
            Err(why) if is_no_room(&why) => last_error = Some(why),
            Err(why) => return Err(PlaceError::Failed(segment.path.clone(), why)),
        }
    }
    let why = last_error.unwrap_or_else(|| io::ErrorKind::StorageFull.into());
    Err(PlaceError::NoRoom(segment.path.clone(), why))
}

fn classify(path: PathBuf, why: io::Error) -> PlaceError {
    if is_no_room(&why) { PlaceError::NoRoom(path, why) } else { PlaceError::Failed(path, why) }
}

/// Whether an error means that the disk or the quota is full, or that too many files are open: nothing was done, and it
/// may end without us.
pub(crate) fn is_no_room(why: &io::Error) -> bool {
    matches!(why.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) || is_out_of_files(why)
}
