//! Queue files of which the disk cannot read a part, made whole from the log.
//!
//! What can be read of them is true as ever; the entries between are found in the log, between the records that
//! their neighbours name. The new file takes the place of the old one in one step, and a copy of what could be read
//! of that is set aside. Done at the start where the start itself meets such a part, and as a job when a reader does.

use super::scan::{Cursor, Found};
use crate::{
    disk::{Disk, Open, around::read_around},
    dispatch::Dispatch,
    line::Line,
    log::{Log, Segment, parse_file_name},
    open::{Cause, OpenError},
    quarantine,
    queue::{ENTRY_BYTES, files::Files},
    smallfile::beside,
    types::{QueueEntry, QueueSlot},
};
use kerolox_protocol::{LogOffset, Millis, QueueId, record::Record};
use std::{
    collections::VecDeque,
    io,
    ops::Range,
    path::{Path, PathBuf},
    sync::Arc,
};

/// Bytes read at once; whole entries.
const PIECE: u64 = 20 << 16;

/// One queue whose files are to be looked at.
#[derive(Debug)]
pub(crate) struct Mend<'a> {
    pub(crate) disk: &'a Arc<dyn Disk>,
    pub(crate) root: &'a Path,
    pub(crate) files: &'a Files,
    pub(crate) log: &'a Log,
    /// The log is searched up to here.
    pub(crate) end: u64,
    pub(crate) levels: &'a [Millis],
    pub(crate) slot: QueueSlot,
    pub(crate) topic: &'a str,
    pub(crate) id: QueueId,
}

/// Why a queue could not be made whole.
#[derive(Debug)]
pub(crate) enum MendError {
    /// What is needed for it cannot be read; nothing was changed.
    Read(io::Error),
    /// It cannot be written.
    Write(PathBuf, io::Error),
}

/// A file in memory.
struct Image {
    path: PathBuf,
    bytes: Vec<u8>,
    /// Offset of its first entry.
    first: u64,
    /// Entries of which something cannot be read, in order.
    lost: Vec<Range<u64>>,
}

impl Mend<'_> {
    /// Makes the files whole; one line for each that was not.
    pub(crate) fn run(&self) -> Result<Vec<String>, MendError> {
        let mut lines = Vec::new();
        let mut before = self.log.first().0;
        let paths = self.paths().map_err(MendError::Read)?;
        for (n, (number, path)) in paths.iter().enumerate() {
            let mut image = self.read(*number, path).map_err(MendError::Read)?;
            if !image.lost.is_empty() {
                let found = self.rebuild(&mut image, before, paths.get(n + 1)).map_err(MendError::Read)?;
                let copy = self.replace(&image).map_err(|why| MendError::Write(path.clone(), why))?;
                let lost: u64 = image.lost.iter().map(|range| range.end - range.start).sum();
                lines.push(format!(
                    "the disk cannot read {lost} entries of {}: {found} of them were made again from the log, the file \
                     is new, a copy of what could be read of it is {}",
                    path.display(),
                    copy.display()
                ));
            }
            before = image.entries().rfind(|entry| !entry.is_blank()).map_or(before, |last| last.end().0);
        }
        self.files.forget(self.slot);
        Ok(lines)
    }

    /// As [`Mend::run`], while a store is opened.
    pub(super) fn at_start(&self) -> Result<Vec<Line>, OpenError> {
        let lines = self.run().map_err(|why| match why {
            MendError::Read(why) => OpenError::new(self.files.queue_dir(self.topic, self.id), Cause::Io(why)),
            MendError::Write(path, why) => OpenError::new(path, Cause::Io(why)),
        })?;
        Ok(lines.into_iter().map(Line::warn).collect())
    }

    /// Files of the queue with their numbers, in order.
    fn paths(&self) -> io::Result<Vec<(u64, PathBuf)>> {
        let dir = self.files.queue_dir(self.topic, self.id);
        let listed = match self.disk.list(&dir) {
            Err(why) if why.kind() == io::ErrorKind::NotFound => Vec::new(),
            listed => listed?,
        };
        let numbered = listed.iter().filter_map(|entry| {
            let base = parse_file_name(&entry.name).filter(|base| base % self.files.file_bytes == 0)?;
            let whole = entry.len == self.files.file_bytes;
            whole.then(|| (base / self.files.file_bytes, dir.join(&entry.name)))
        });
        Ok(numbered.collect())
    }

    fn read(&self, number: u64, path: &Path) -> io::Result<Image> {
        let file = self.disk.open(path, Open::Read)?;
        let mut bytes = vec![0; usize::try_from(self.files.file_bytes).unwrap_or(0)];
        let first = number * self.files.per_file();
        let mut lost: Vec<Range<u64>> = Vec::new();
        for (at, piece) in (0u64..).step_by(PIECE as usize).zip(bytes.chunks_mut(PIECE as usize)) {
            for hole in read_around(&*file, piece, at)? {
                let entries = first + hole.start / ENTRY_BYTES..first + hole.end.div_ceil(ENTRY_BYTES);
                match lost.last_mut().filter(|last| last.end >= entries.start) {
                    Some(last) => last.end = last.end.max(entries.end),
                    None => lost.push(entries),
                }
            }
        }
        let mut image = Image { path: path.to_owned(), bytes, first, lost };
        // An entry of which a part is there is none.
        for offset in image.lost.clone().into_iter().flatten() {
            image.set(offset, &[0; ENTRY_BYTES as usize]);
        }
        Ok(image)
    }

    /// Finds the entries that are lost; how many.
    fn rebuild(&self, image: &mut Image, before: u64, later: Option<&(u64, PathBuf)>) -> io::Result<u64> {
        let after = match later {
            Some((number, path)) => self.read(*number, path)?.entries().find(|entry| !entry.is_blank()),
            None => None,
        };
        let (mut found, mut from) = (0, before);
        for lost in image.lost.clone() {
            let known = |range: Range<u64>| range.filter_map(|offset| image.entry(offset));
            let last = known(image.first..lost.start).rfind(|entry| !entry.is_blank());
            let next = known(lost.end..image.end()).find(|entry| !entry.is_blank()).or(after);
            from = last.map_or(from, |last| last.end().0).max(self.log.first().0);
            let to = next.map_or(self.end, |next| next.at.0);
            for (offset, entry) in self.search(from..to, &lost)? {
                found += u64::from(image.entry(offset).is_none());
                image.set(offset, &entry.encode());
            }
            // A slot that is not filled would be the queue's end.
            let is_inside =
                next.is_some() || (lost.end..image.end()).any(|offset| image.entry(offset).is_some());
            let filled =
                lost.clone().rfind(|offset| image.entry(*offset).is_some()).map_or(lost.start, |at| at + 1);
            for offset in lost.start..if is_inside { lost.end } else { filled } {
                if image.entry(offset).is_none() {
                    image.set(offset, &QueueEntry::BLANK.encode());
                }
            }
        }
        Ok(found)
    }

    /// Entries of the queue with these offsets, of records in a part of the log.
    fn search(&self, part: Range<u64>, wanted: &Range<u64>) -> io::Result<Vec<(u64, QueueEntry)>> {
        let mut cursor = Cursor::new(self.log);
        let mut found = Vec::new();
        let mut at = part.start;
        while at < part.end {
            match cursor.look(at)? {
                Found::Record(record) => {
                    at += u64::from(record.size);
                    found.extend(self.entry_of(&record).filter(|(offset, _)| wanted.contains(offset)));
                }
                Found::Filler(next) => at = next,
                Found::Nothing(_) | Found::Lost(_) => match cursor.find_behind(at, Millis(i64::MIN))? {
                    Some(good) => at = good,
                    None => break,
                },
            }
        }
        Ok(found)
    }

    fn entry_of(&self, record: &Record<'_>) -> Option<(u64, QueueEntry)> {
        let dispatch = Dispatch::of_record(record);
        let is_of_queue = record.topic == self.topic && i64::from(record.queue_id) == i64::from(self.id.0);
        let offset = u64::try_from(record.queue_offset).ok().filter(|_| is_of_queue && dispatch.queued)?;
        let at = LogOffset(record.physical_offset.unsigned_abs());
        let tags_code = dispatch.entry_code(self.levels, record.store_ms);
        Some((offset, QueueEntry { at, size: record.size, tags_code }))
    }

    /// Puts the new file into the old one's place. Made elsewhere: a 4.9 broker knows every name in that directory.
    fn replace(&self, image: &Image) -> io::Result<PathBuf> {
        let copy = quarantine::place_for(&**self.disk, self.root, &image.path)?;
        let kept = self.disk.open(&copy, Open::Create)?;
        let old = self.disk.open(&image.path, Open::Read)?;
        kept.set_len(image.bytes.len() as u64)?;
        let mut piece = Vec::new();
        for at in (0..image.bytes.len() as u64).step_by(PIECE as usize) {
            piece.resize(PIECE.min(image.bytes.len() as u64 - at) as usize, 0);
            read_around(&*old, &mut piece, at)?;
            if piece.iter().any(|byte| *byte != 0) {
                kept.write_at(&piece, at)?;
            }
        }
        kept.sync()?;
        let unfinished = beside(&copy, ".new");
        let new = self.disk.open(&unfinished, Open::Create)?;
        new.set_len(image.bytes.len() as u64)?;
        new.write_at(&image.bytes, 0)?;
        new.sync()?;
        self.disk.rename(&unfinished, &image.path)?;
        self.files.forget(self.slot);
        self.disk.sync_dir(copy.parent().unwrap_or(self.root))?;
        self.disk.sync_dir(image.path.parent().unwrap_or(self.root))?;
        Ok(copy)
    }
}

impl Image {
    fn end(&self) -> u64 {
        self.first + self.bytes.len() as u64 / ENTRY_BYTES
    }

    fn place(&self, offset: u64) -> Option<Range<usize>> {
        let at = usize::try_from(offset.checked_sub(self.first)?.checked_mul(ENTRY_BYTES)?).ok()?;
        (at < self.bytes.len()).then_some(at..at + ENTRY_BYTES as usize)
    }

    fn entry(&self, offset: u64) -> Option<QueueEntry> {
        QueueEntry::decode(self.bytes.get(self.place(offset)?)?.first_chunk()?)
    }

    fn entries(&self) -> impl DoubleEndedIterator<Item = QueueEntry> {
        (self.first..self.end()).filter_map(|offset| self.entry(offset))
    }

    fn set(&mut self, offset: u64, bytes: &[u8; ENTRY_BYTES as usize]) {
        if let Some(place) = self.place(offset).and_then(|place| self.bytes.get_mut(place)) {
            place.copy_from_slice(bytes);
        }
    }
}

/// As [`Mend`], with all it needs; to be run on any thread.
#[derive(Debug)]
pub(crate) struct MendJob {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) root: PathBuf,
    pub(crate) files: Arc<Files>,
    /// Files of the log, by their first positions.
    pub(crate) log: Vec<(u64, PathBuf)>,
    pub(crate) segment_bytes: u64,
    pub(crate) end: u64,
    pub(crate) levels: Vec<Millis>,
    pub(crate) slot: QueueSlot,
    pub(crate) topic: Arc<str>,
    pub(crate) id: QueueId,
}

impl MendJob {
    pub(crate) fn run(&self) -> Result<Vec<String>, MendError> {
        let segments: VecDeque<_> =
            self.log.iter().map(|(base, path)| Segment::existing(*base, path.clone())).collect();
        let log = Log::looked_at(&self.disk, self.segment_bytes, segments);
        let (disk, root, files, levels) = (&self.disk, &*self.root, &*self.files, &*self.levels);
        let (slot, topic, id, end) = (self.slot, &*self.topic, self.id, self.end);
        Mend { disk, root, files, log: &log, end, levels, slot, topic, id }.run()
    }
}
