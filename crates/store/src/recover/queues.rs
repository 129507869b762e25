//! Where queues begin and end, found in their files: the slow way, for a store that another broker had.
//!
//! A queue file is filled from its start, and what is filled never goes back in the log, so both the end and
//! the entry of a log position are found by halving.

use super::Recovery;
use crate::{
    disk::{DirEntry, Disk, around::is_bad_sector},
    line::Line,
    log::parse_file_name,
    open::OpenError,
    queue::{
        ENTRY_BYTES, Queues,
        files::{Files, Place},
    },
    types::{QueueEntry, QueueSlot},
};
use kerolox_protocol::{LogOffset, Millis, QueueId, names};
use std::{io, ops::Range, path::Path};

/// Makes the files of a queue whole that the disk cannot read; what it says of that.
pub(super) type Mender<'a> = &'a dyn Fn((QueueSlot, &str, QueueId)) -> Result<Vec<Line>, OpenError>;

impl Recovery<'_> {
    /// Restores every queue that has files, with the entries of records before a position of the log. Whether the files
    /// have all of those: people remove queue files to have them made again.
    pub(super) fn restore_from_files(&mut self, before: u64) -> Result<bool, OpenError> {
        let dir = self.files.dir().clone();
        let (mut found_any, mut is_whole) = (false, true);
        let topics = self.disk.list(&dir).map_err(OpenError::io(&dir))?;
        for topic in topics.into_iter().filter(|topic| !topic.is_of_file_system()) {
            if !topic.is_dir || names::check(&topic.name, 255).is_err() {
                let path = dir.join(&topic.name);
                let line = format!("{} is no topic's directory; it is left alone", path.display());
                self.report.lines.push(Line::warn(line));
                continue;
            }
            let topic_dir = dir.join(&topic.name);
            for queue in self.disk.list(&topic_dir).map_err(OpenError::io(&topic_dir))? {
                // As the original: what is no number is passed over.
                let Some(id) = queue.name.parse().ok().filter(|id| *id <= i32::MAX as u32 && queue.is_dir)
                else {
                    continue;
                };
                let whole =
                    self.restore_one(&topic_dir.join(&queue.name), &topic.name, QueueId(id), before)?;
                found_any |= whole.is_some();
                is_whole &= whole.unwrap_or(false);
            }
        }
        Ok(is_whole && (found_any || before == self.log.first().0))
    }

    /// The same of one queue; `None` if it has no file.
    fn restore_one(
        &mut self,
        dir: &Path,
        topic: &str,
        id: QueueId,
        before: u64,
    ) -> Result<Option<bool>, OpenError> {
        let listed = self.disk.list(dir).map_err(OpenError::io(dir))?;
        let slot = self.queues.slot(topic, id);
        let runs = runs(&listed, &self.files, dir, &mut self.report.lines);
        let first = self.log.first().0;
        let ends =
            |recovery: &Self| One { files: &recovery.files, slot, topic, id }.ends(&runs, first, before);
        let found = self.past_bad_sectors((slot, topic, id), before, ends)?;
        let whole = match found {
            Some(Ends { min, next, begins, lacks }) => {
                self.queues.restore(slot, min, next);
                let begins = begins.filter(|(_, at)| at.0 > first);
                // Its first files are gone, but not what they named.
                let late = begins.map_or(Ok(false), |(offset, at)| {
                    self.mend((slot, topic, id), before).has(offset - 1, at.0.min(before))
                });
                Some(!lacks && !late.map_err(OpenError::io(self.log.dir()))?)
            }
            None => {
                let line = format!("queue {id} of {topic} has no usable file");
                self.report.lines.push(Line::warn(line));
                None
            }
        };
        // It may never be read again; do not keep fifty thousand files open.
        self.files.forget(slot);
        Ok(whole)
    }

    /// Forgets what was read of the log: it will be read from its beginning.
    pub(super) fn begin_anew(&mut self) {
        for slot in self.queues.slots() {
            self.files.forget(slot);
            self.queues.clear(slot);
        }
        self.times.restore(Millis(0));
        self.damaged.clear();
        self.odd.clear();
        self.taken.clear();
        self.lost.clear();
        self.unreadable.clear();
        (self.keeps_places, self.stale_entries, self.tail) = (false, false, None);
        self.report.records = 0;
    }
}

/// What the files of a queue tell.
struct Ends {
    /// First offset and end.
    min: u64,
    next: u64,
    /// With which message they begin, where it is not the queue's first; and where that stands.
    begins: Option<(u64, LogOffset)>,
    /// Some between others are missing.
    lacks: bool,
}

/// Shows every queue that has a directory.
pub(super) fn each_dir(
    disk: &dyn Disk,
    files: &Files,
    mut show: impl FnMut(&str, QueueId),
) -> io::Result<()> {
    for topic in disk.list(files.dir())?.iter().filter(|topic| topic.is_dir) {
        if names::check(&topic.name, 255).is_err() {
            continue;
        }
        for queue in disk.list(&files.dir().join(&topic.name))?.iter().filter(|queue| queue.is_dir) {
            if let Some(id) = queue.name.parse().ok().filter(|id| *id <= i32::MAX as u32) {
                show(&topic.name, QueueId(id));
            }
        }
    }
    Ok(())
}

/// Numbers of the files, in order; what is missing breaks the run of them.
fn runs(listed: &[DirEntry], files: &Files, dir: &Path, lines: &mut Vec<Line>) -> Vec<Range<u64>> {
    let mut runs: Vec<Range<u64>> = Vec::new();
    for entry in listed {
        let base = parse_file_name(&entry.name).filter(|base| base % files.file_bytes == 0);
        match base {
            Some(base) if entry.len == files.file_bytes => {
                let number = base / files.file_bytes;
                match runs.last_mut().filter(|run| run.end == number) {
                    Some(run) => run.end = number + 1,
                    None => runs.push(number..number + 1),
                }
            }
            // A crash came before its length was set: it holds nothing yet.
            Some(_) if entry.len == 0 => {}
            _ => lines.push(Line::warn(format!(
                "{} has {} bytes and is no file of this queue; it is left alone",
                dir.join(&entry.name).display(),
                entry.len
            ))),
        }
    }
    if runs.len() > 1 {
        lines.push(Line::error(format!("{} lacks files between others", dir.display())));
    }
    runs
}

/// So many entries behind a queue's end are looked at.
const NEAR: u64 = 512;

struct One<'a> {
    files: &'a Files,
    slot: QueueSlot,
    topic: &'a str,
    id: QueueId,
}

impl One<'_> {
    fn entry(&self, at: u64) -> io::Result<Option<QueueEntry>> {
        let mut found = Vec::new();
        self.files.read(self.slot, self.topic, self.id, at, 1, &mut found)?;
        Ok(found.first().copied())
    }

    /// The last run of files that begins with a record before a position of the log. What lies behind it is written anew
    /// from there on: a crash took files between, which were never durable.
    fn last_before<'r>(&self, runs: &'r [Range<u64>], before: u64) -> io::Result<Option<&'r Range<u64>>> {
        let place = Place { slot: self.slot, topic: self.topic, id: self.id };
        for run in runs.iter().rev().filter(|_| runs.len() > 1) {
            let entries = run.start * self.files.per_file()..run.end * self.files.per_file();
            if self.files.first_message(place, entries)?.is_some_and(|at| at.0 < before) {
                return Ok(Some(run));
            }
        }
        Ok(None)
    }

    /// First offset and end, of entries of records between two positions of the log.
    fn ends(&self, runs: &[Range<u64>], first: u64, before: u64) -> io::Result<Option<Ends>> {
        let Some(run) = self.last_before(runs, before)?.or(runs.first()) else { return Ok(None) };
        let per_file = self.files.per_file();
        let (low, high) = (run.start * per_file, run.end * per_file);
        let place = Place { slot: self.slot, topic: self.topic, id: self.id };
        let mut filled = partition(low, high, |at| Ok(self.entry(at)?.is_some()))?;
        let file_end = (filled / per_file + 1) * per_file;
        if filled < high && self.files.last_filled(place, filled..file_end.min(filled + NEAR))?.is_some() {
            // A damaged entry stands in the middle.
            for number in (filled / per_file..=high / per_file).rev() {
                let file = number * per_file..(number + 1) * per_file;
                if let Some(last) = self.files.last_filled(place, file)? {
                    filled = filled.max(last + 1);
                    break;
                }
            }
        }
        // Entries without a message tell position 0 wherever they are. At the end they are kept places.
        let next = self.files.first_behind(place, low..filled, before)?;
        let min = self.files.first_kept(place, low..next, first)?;
        let begins = match low {
            0 => None,
            low => self.files.first_message(place, low..filled)?.map(|at| (low, at)),
        };
        let lacks = runs.first().is_some_and(|first| first.start < run.start);
        Ok(Some(Ends { min, next, begins, lacks }))
    }
}

/// Where a queue begins that is said to begin at `min`: not before its files do. Files are deleted as soon as the
/// log before them is, and where the queue begins is written down later.
///
/// Looks only at queues of several files, which are few: the file that holds `next` is never deleted.
pub(super) fn begin(
    disk: &dyn Disk,
    files: &Files,
    topic: &str,
    id: QueueId,
    (min, next): (u64, u64),
) -> io::Result<u64> {
    let (first, last) = (min / files.per_file(), next / files.per_file());
    if first == last {
        return Ok(min);
    }
    let listed = match disk.list(&files.queue_dir(topic, id)) {
        Err(why) if why.kind() == io::ErrorKind::NotFound => return Ok(min),
        listed => listed?,
    };
    let there: Vec<u64> = listed
        .iter()
        .filter_map(|entry| parse_file_name(&entry.name))
        .filter(|base| base % files.file_bytes == 0)
        .map(|base| base / files.file_bytes)
        .collect();
    // The file of `next` is made with its first entry. From there down without a gap: which of several deletions
    // outlive a power cut is up to the file system.
    let begin = (first..last).rev().take_while(|number| there.contains(number)).last().unwrap_or(last);
    Ok(min.max(begin * files.per_file()))
}

/// The first place where `is_low` does not hold; it holds for all before.
fn partition(mut low: u64, mut high: u64, is_low: impl Fn(u64) -> io::Result<bool>) -> io::Result<u64> {
    while low < high {
        let middle = low + (high - low) / 2;
        if is_low(middle)? { low = middle + 1 } else { high = middle }
    }
    Ok(low)
}

/// Clears what files hold behind the ends of queues: an older broker would take it for entries.
pub(super) fn clear_behind(files: &Files, queues: &Queues, mend: Mender<'_>) -> Result<Vec<Line>, OpenError> {
    let mut lines = Vec::new();
    for (topic, of_topic) in queues.topics() {
        for (slot, queue) in of_topic {
            let clear = || files.clear_behind(slot, topic, queue.id, queue.next());
            let cleared = match clear() {
                Err(why) if is_bad_sector(&why) => {
                    lines.extend(mend((slot, topic, queue.id))?);
                    clear()
                }
                cleared => cleared,
            };
            let cleared = cleared.map_err(OpenError::io(files.dir()))?;
            if cleared > 0 {
                lines.push(Line::info(format!(
                    "queue {} of {topic}: {} entries behind its end cleared",
                    queue.id,
                    cleared / ENTRY_BYTES
                )));
            }
        }
    }
    Ok(lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halving_finds_every_border() {
        for border in 0..20 {
            assert_eq!(partition(0, 19, |at| Ok(at < border)).unwrap(), border.min(19));
        }
        assert_eq!(partition(7, 7, |_| Ok(true)).unwrap(), 7);
    }
}
