//! Queue files that are damaged, made whole from the log.
//!
//! A part that the disk cannot read, a file that is missing, an entry that does not lead to its message: what belongs
//! there is found in the log, between the records that sound neighbours name. The new file takes the place of the old
//! one in one step, and a copy of what could be read of that is set aside. Done at the start where the start itself
//! meets such a part, and as a job when a reader does.
//!
//! | An entry of which a reader said that it is wrong | becomes |
//! |---|---|
//! | names the record of its place | stays: whatever is wrong is wrong with the record |
//! | the log has the record of its place elsewhere | that record's entry |
//! | the log has none, and there is damage in the log where the entry says | stays: nothing tells it from a sound one |
//! | the log has none | an entry without a message |

use super::{
    FILL_MAX,
    image::Image,
    scan::{Cursor, Found},
};
use crate::{
    disk::Disk,
    dispatch::{self, DELAY_TOPIC, Dispatch},
    doubt::{Open, Verdicts, join},
    line::Line,
    log::{Log, Segment, file_name, parse_file_name},
    open::{Cause, OpenError},
    queue::files::Files,
    types::{QueueEntry, QueueSlot},
};
use kerolox_protocol::{LogOffset, Millis, QueueId, record::Record};
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    io,
    ops::Range,
    path::{Path, PathBuf},
    sync::Arc,
};

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
    /// What to look at, and which entries are in files; without it, for what the disk cannot read in any file.
    pub(crate) met: Option<Met<'a>>,
}

/// What readers met.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Met<'a> {
    pub(crate) open: &'a Open,
    /// The first entry that counts, and the end of those that are in files.
    pub(crate) filed: (u64, u64),
}

/// What came of it.
#[derive(Debug, Default)]
pub(crate) struct Mended {
    pub(crate) lines: Vec<Line>,
    /// On entries that stay as they are.
    pub(crate) verdicts: Verdicts,
}

/// Why a queue could not be made whole.
#[derive(Debug)]
pub(crate) enum MendError {
    /// What is needed for it cannot be read; nothing was changed.
    Read(io::Error),
    /// It cannot be written.
    Write(PathBuf, io::Error),
}

/// What a part of the log has for entries that are wanted.
#[derive(Default)]
struct Gap {
    found: BTreeMap<u64, QueueEntry>,
    /// Entries that are all that is left of their messages.
    stay: BTreeSet<u64>,
}

impl Mend<'_> {
    /// Makes the files whole; a line for each that was not.
    pub(crate) fn run(&self) -> Result<Mended, MendError> {
        let mut mended = Mended::default();
        let mut cursor = Cursor::new(self.log);
        for number in self.numbers(&mut mended).map_err(MendError::Read)? {
            let mut image = self.read(number).map_err(MendError::Read)?;
            self.look_at(&mut cursor, &mut image, &mut mended).map_err(MendError::Read)?;
            if image.has_changed() && !mutant!(MendForgotten) {
                let replaced = image.replace(&**self.disk, self.root);
                let copy = replaced.map_err(|why| MendError::Write(image.path.clone(), why))?;
                self.tell(&image, copy.as_deref(), &mut mended.lines);
            }
            self.files.forget(self.slot);
        }
        Ok(mended)
    }

    /// Whether the log has, before `to`, the record of an entry.
    pub(super) fn has(&self, offset: u64, to: u64) -> io::Result<bool> {
        let part = self.log.first().0..to;
        let gap =
            self.search(&mut Cursor::new(self.log), part, &(offset..offset + 1), &BTreeMap::new(), false)?;
        Ok(!gap.found.is_empty())
    }

    /// As [`Mend::run`], while a store is opened.
    pub(super) fn at_start(&self) -> Result<Vec<Line>, OpenError> {
        let mended = self.run().map_err(|why| match why {
            MendError::Read(why) => OpenError::new(self.files.queue_dir(self.topic, self.id), Cause::Io(why)),
            MendError::Write(path, why) => OpenError::new(path, Cause::Io(why)),
        })?;
        Ok(mended.lines)
    }

    /// Numbers of the files to look at, in order.
    fn numbers(&self, mended: &mut Mended) -> io::Result<BTreeSet<u64>> {
        let mut numbers = BTreeSet::new();
        if self.met.is_none_or(|met| met.open.whole) {
            let listed = match self.disk.list(&self.files.queue_dir(self.topic, self.id)) {
                Err(why) if why.kind() == io::ErrorKind::NotFound => Vec::new(),
                listed => listed?,
            };
            let whole = listed.iter().filter(|entry| entry.len == self.files.file_bytes);
            let bases = whole.filter_map(|entry| parse_file_name(&entry.name));
            let bases = bases.filter(|base| base % self.files.file_bytes == 0);
            numbers.extend(bases.map(|base| base / self.files.file_bytes));
        }
        let offsets = self.met.iter().flat_map(|met| &met.open.offsets);
        for offset in offsets.copied() {
            match self.filed().contains(&offset) {
                true => _ = numbers.insert(offset / self.files.per_file()),
                // It is in memory, and is what was written.
                false => mended.verdicts.right.push(offset..offset.saturating_add(1)),
            }
        }
        Ok(numbers)
    }

    fn filed(&self) -> Range<u64> {
        self.met.map_or(0..u64::MAX, |met| met.filed.0..met.filed.1)
    }

    fn read(&self, number: u64) -> io::Result<Image> {
        let dir = self.files.queue_dir(self.topic, self.id);
        let (bytes, first) = (self.files.file_bytes, number * self.files.per_file());
        Image::read(&**self.disk, dir.join(file_name(number * bytes)), bytes, first)
    }

    /// Finds what of a file is wrong, and what belongs there.
    fn look_at(&self, cursor: &mut Cursor<'_>, image: &mut Image, mended: &mut Mended) -> io::Result<()> {
        let mut wanted = image.unreadable.clone();
        let verdicts = &mut mended.verdicts;
        wanted.extend(self.wrong(cursor, image, &mut verdicts.right)?);
        join(&mut wanted);
        for part in wanted {
            let claims: BTreeMap<u64, QueueEntry> =
                part.clone().filter_map(|offset| Some((offset, image.entry(offset)?))).collect();
            part.clone().for_each(|offset| image.clear(offset));
            let before = self.anchor_before(cursor, image, part.start)?;
            let behind = self.anchor_behind(cursor, image, part.end)?;
            let is_inside =
                behind.is_some() || (part.end..image.end()).any(|offset| image.entry(offset).is_some());
            let from = before.unwrap_or(0).max(self.log.first().0);
            let gap =
                self.search(cursor, from..behind.unwrap_or(self.end), &part, &claims, before.is_some())?;
            // A slot that is not filled would be the queue's end.
            let filled = match self.met {
                Some(_) => part.end.min(self.filed().end),
                None if is_inside => part.end,
                None => gap.found.last_key_value().map_or(part.start, |(last, _)| last + 1),
            };
            for offset in part {
                if let Some(entry) = gap.found.get(&offset) {
                    image.set(offset, &entry.encode());
                } else if let Some(entry) = claims.get(&offset).filter(|_| gap.stay.contains(&offset)) {
                    image.set(offset, &entry.encode());
                    verdicts.lost.push(offset..offset + 1);
                } else if offset < filled {
                    image.set(offset, &QueueEntry::BLANK.encode());
                }
            }
        }
        Ok(())
    }

    /// Entries of a file that do not lead to their messages: those that readers met, those that cannot be beside their
    /// neighbours, and all around that are no better. Notes which of the former do.
    fn wrong(
        &self,
        cursor: &mut Cursor<'_>,
        image: &Image,
        right: &mut Vec<Range<u64>>,
    ) -> io::Result<Vec<Range<u64>>> {
        let Some(Met { open, filed }) = self.met.filter(|met| !met.open.offsets.is_empty()) else {
            return Ok(Vec::new());
        };
        let range = image.first.max(filed.0)..image.end().min(filed.1);
        if range.is_empty() {
            return Ok(Vec::new());
        }
        let met = open.offsets.range(range.clone()).copied();
        let doubted: BTreeSet<u64> = met.chain(self.implausible(image, range.clone())).collect();
        let mut wrong = Vec::new();
        // All before were looked at.
        let mut next = range.start;
        for offset in doubted {
            if offset < next {
                continue;
            }
            if let Some(run) = self.sound_run(cursor, image, offset, next..range.end)? {
                next = run.end;
                right.push(run);
                continue;
            }
            let (mut low, mut step) = (offset, 1);
            while low > next {
                let candidate = offset.saturating_sub(step).max(next);
                if self.is_right(cursor, image, candidate)? {
                    low = candidate + 1;
                    break;
                }
                (low, step) = (candidate, step * 2);
            }
            let mut at = low;
            while at < range.end {
                match self.is_right(cursor, image, at)? {
                    true if at > offset => break,
                    true => {}
                    false => wrong.push(at..at + 1),
                }
                at += 1;
            }
            next = at;
        }
        Ok(wrong)
    }

    /// Entries that cannot be, by themselves or beside their neighbours.
    fn implausible(&self, image: &Image, range: Range<u64>) -> BTreeSet<u64> {
        let mut found = BTreeSet::new();
        let mut last: Option<(u64, QueueEntry)> = None;
        for offset in range {
            let Some(entry) = image.entry(offset) else {
                found.insert(offset);
                continue;
            };
            if entry.is_blank() {
                continue;
            }
            let is_hash = self.topic == DELAY_TOPIC || i32::try_from(entry.tags_code).is_ok();
            if !is_hash || entry.end().0 > self.end {
                found.insert(offset);
            }
            if let Some((before, _)) = last.filter(|(_, last)| entry.at < last.end()) {
                found.extend([before, offset]);
            }
            last = Some((offset, entry));
        }
        found
    }

    /// Whether an entry names the record of its place, whatever that is like by now.
    fn is_right(&self, cursor: &mut Cursor<'_>, image: &Image, offset: u64) -> io::Result<bool> {
        Ok(self.drift(cursor, offset, image.entry(offset))? == Some(0))
    }

    /// An entry that is right, or some around it that are as a 4.9 broker left them: where it missed entries, it put
    /// later ones into their places, so that these and their records tell different offsets, all by the same number.
    fn sound_run(
        &self,
        cursor: &mut Cursor<'_>,
        image: &Image,
        offset: u64,
        within: Range<u64>,
    ) -> io::Result<Option<Range<u64>>> {
        let drift = match self.drift(cursor, offset, image.entry(offset))? {
            Some(0) => return Ok(Some(offset..offset + 1)),
            Some(drift) if drift < FILL_MAX => drift,
            _ => return Ok(None),
        };
        let mut run = offset..offset + 1;
        while run.start > within.start
            && self.drift(cursor, run.start - 1, image.entry(run.start - 1))? == Some(drift)
        {
            run.start -= 1;
        }
        while run.end < within.end && self.drift(cursor, run.end, image.entry(run.end))? == Some(drift) {
            run.end += 1;
        }
        // Otherwise what stands there came from elsewhere in the queue.
        let messages = |offsets: Range<u64>| {
            offsets.filter_map(|offset| image.entry(offset)).filter(|entry| !entry.is_blank())
        };
        let before = messages(image.first..run.start).next_back().map_or(LogOffset(0), |entry| entry.end());
        let behind = messages(run.end..image.end()).next().map_or(LogOffset(self.end), |entry| entry.at);
        let first = image.entry(run.start).is_some_and(|entry| before <= entry.at);
        let last = image.entry(run.end - 1).is_some_and(|entry| entry.end() <= behind);
        Ok((run.end - run.start > 1 && first && last).then_some(run))
    }

    /// By how much the record that an entry names tells a later offset; `None` if it names none of this queue.
    fn drift(
        &self,
        cursor: &mut Cursor<'_>,
        offset: u64,
        entry: Option<QueueEntry>,
    ) -> io::Result<Option<u64>> {
        let Some(entry) = entry.filter(|entry| !entry.is_blank()) else { return Ok(None) };
        let record = cursor.rotten(entry.at.0)?;
        let Some((told, made)) = record.and_then(|record| self.entry_of(&record)) else { return Ok(None) };
        // When a delayed message is due depends on options that may have been changed since.
        let same_code = self.topic == DELAY_TOPIC || made.tags_code == entry.tags_code;
        Ok((made.size == entry.size && same_code).then(|| told.wrapping_sub(offset)))
    }

    /// Where the record ends of an entry before `offset` that is right, if one is near.
    fn anchor_before(&self, cursor: &mut Cursor<'_>, image: &Image, offset: u64) -> io::Result<Option<u64>> {
        let down =
            |from: u64, to: u64| steps().map_while(move |n| from.checked_sub(n).filter(|at| *at >= to));
        let found = self.first_right(cursor, image, down(offset, image.first))?;
        let (Some(number), None) = ((image.first / self.files.per_file()).checked_sub(1), found) else {
            return Ok(found.map(|entry| entry.end().0));
        };
        let earlier = self.read(number)?;
        let found = self.first_right(cursor, &earlier, down(earlier.end(), earlier.first))?;
        Ok(found.map(|entry| entry.end().0))
    }

    /// Where the record stands of an entry from `offset` on that is right, if one is near.
    fn anchor_behind(&self, cursor: &mut Cursor<'_>, image: &Image, offset: u64) -> io::Result<Option<u64>> {
        let up = |from: u64, to: u64| steps().map(move |n| from + n - 1).take_while(move |at| *at < to);
        let end = image.end().min(self.filed().end);
        let found = self.first_right(cursor, image, up(offset, end))?;
        if found.is_some() || image.end() >= self.filed().end {
            return Ok(found.map(|entry| entry.at.0));
        }
        let later = self.read(image.end() / self.files.per_file())?;
        let end = later.end().min(self.filed().end);
        let found = self.first_right(cursor, &later, up(later.first, end))?;
        Ok(found.map(|entry| entry.at.0))
    }

    fn first_right(
        &self,
        cursor: &mut Cursor<'_>,
        image: &Image,
        mut offsets: impl Iterator<Item = u64>,
    ) -> io::Result<Option<QueueEntry>> {
        offsets
            .find_map(|offset| match self.is_right(cursor, image, offset) {
                Ok(false) => None,
                Ok(true) => image.entry(offset).map(Ok),
                Err(why) => Some(Err(why)),
            })
            .transpose()
    }

    /// What a part of the log has for wanted entries, or left of what they say now. `is_anchored`: it begins where the
    /// queue was as it is now, and not before a deletion.
    fn search(
        &self,
        cursor: &mut Cursor<'_>,
        part: Range<u64>,
        wanted: &Range<u64>,
        claims: &BTreeMap<u64, QueueEntry>,
        is_anchored: bool,
    ) -> io::Result<Gap> {
        let mut gap = Gap::default();
        let claimed: BTreeMap<u64, (u64, QueueEntry)> = claims
            .iter()
            .filter(|(_, entry)| !entry.is_blank())
            .map(|(n, entry)| (entry.at.0, (*n, *entry)))
            .collect();
        // Of what is gone with its log file nothing can be told.
        let gone = claimed.range(..self.log.first().0).map(|(_, (offset, _))| *offset);
        gap.stay.extend(gone);
        let mut at = part.start;
        while at < part.end && !(is_anchored && gap.found.len() as u64 == wanted.end - wanted.start) {
            let size = match cursor.look(at)? {
                Found::Record(record) => {
                    if dispatch::drops(&record).any(|topic| topic == self.topic) {
                        gap = Gap::default();
                    }
                    let made = self.entry_of(&record).filter(|(offset, _)| wanted.contains(offset));
                    let claim = claimed.get(&at).filter(|(_, entry)| entry.size == record.size);
                    match (made, claim) {
                        (Some((offset, entry)), _) => _ = gap.found.insert(offset, entry),
                        // No CRC covers what a record tells of its place.
                        (None, Some((offset, _))) => _ = gap.stay.insert(*offset),
                        _ => {}
                    }
                    u64::from(record.size)
                }
                Found::Filler(next) => next - at,
                Found::Nothing(_) | Found::Lost(_) => {
                    let good = cursor.find_behind(at, Millis(i64::MIN))?.unwrap_or(part.end).min(part.end);
                    let in_damage = claimed.range(at..good).map(|(_, claim)| claim);
                    let in_damage = in_damage.filter(|(_, entry)| entry.end().0 <= good);
                    gap.stay.extend(in_damage.map(|(offset, _)| *offset));
                    good - at
                }
            };
            at += size;
        }
        Ok(gap)
    }

    fn entry_of(&self, record: &Record<'_>) -> Option<(u64, QueueEntry)> {
        let dispatch = Dispatch::of_record(record);
        let is_of_queue = record.topic == self.topic && i64::from(record.queue_id) == i64::from(self.id.0);
        let offset = u64::try_from(record.queue_offset).ok().filter(|_| is_of_queue && dispatch.queued)?;
        let at = LogOffset(record.physical_offset.unsigned_abs());
        let tags_code = dispatch.entry_code(self.levels, record.store_ms);
        Some((offset, QueueEntry { at, size: record.size, tags_code }))
    }

    fn tell(&self, image: &Image, copy: Option<&Path>, lines: &mut Vec<Line>) {
        let path = image.path.display();
        let unreadable: u64 = image.unreadable.iter().map(|range| range.end - range.start).sum();
        let (mut wrong, mut again, mut gone) = (0u64, 0, 0);
        let filed = self.filed();
        for offset in image.first..image.end() {
            let is_unreadable = image.unreadable.iter().any(|range| range.contains(&offset));
            if !is_unreadable && !image.is_new(offset) {
                continue;
            }
            wrong += u64::from(!is_unreadable);
            match image.entry(offset) {
                Some(entry) if !entry.is_blank() => again += 1,
                Some(_) if self.met.is_some() && filed.contains(&offset) => gone += 1,
                _ => {}
            }
        }
        let what = match (unreadable, wrong) {
            (0, _) => format!("{wrong} entries of {path} do not lead to their messages"),
            (_, 0) => format!("the disk cannot read {unreadable} entries of {path}"),
            _ => format!(
                "the disk cannot read {unreadable} entries of {path}, and {wrong} do not lead to their messages"
            ),
        };
        let kept = match copy {
            Some(copy) => {
                format!("the file is new, a copy of what could be read of it is {}", copy.display())
            }
            None => "the file was missing".to_owned(),
        };
        lines.push(Line::warn(format!("{what}: {again} of them were made again from the log, {kept}")));
        if gone > 0 {
            let queue = format!("queue {} of {}", self.id, self.topic);
            lines.push(Line::error(format!(
                "{gone} messages of {queue} are not in the log; readers go on behind them"
            )));
        }
    }
}

/// Distances at which neighbours are looked for.
fn steps() -> impl Iterator<Item = u64> {
    (0..40).map(|n| 1 << n)
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
    pub(crate) open: Open,
    pub(crate) filed: (u64, u64),
}

impl MendJob {
    pub(crate) fn run(&self) -> Result<Mended, MendError> {
        let segments: VecDeque<_> =
            self.log.iter().map(|(base, path)| Segment::existing(*base, path.clone())).collect();
        let log = Log::looked_at(&self.disk, self.segment_bytes, segments);
        let (disk, root, files, levels) = (&self.disk, &*self.root, &*self.files, &*self.levels);
        let (slot, topic, id, end) = (self.slot, &*self.topic, self.id, self.end);
        let met = Some(Met { open: &self.open, filed: self.filed });
        Mend { disk, root, files, log: &log, end, levels, slot, topic, id, met }.run()
    }
}
