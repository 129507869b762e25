//! What lies in the store's directories, checked before anything is believed.

use super::{
    Bad, Left,
    scan::{Cursor, Found},
};
use crate::{
    disk::{Disk, Open},
    line::Line,
    log::{Log, Segment, file_name, parse_file_name, put_away},
    open::{Cause, OpenError},
    options::Options,
    quarantine::QUARANTINE,
    queue::ENTRY_BYTES,
};
use kerolox_protocol::Millis;
use std::{
    collections::VecDeque,
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

/// Smaller log files cannot hold the largest record that is accepted by default.
const SEGMENT_BYTES_MIN: u64 = 4 << 10;

/// Makes what is missing, durably: a directory whose name is not synced takes its files with it.
pub(super) fn make(disk: &dyn Disk, dir: &Path) -> Result<(), OpenError> {
    let mut missing = Vec::new();
    let mut at = Some(dir);
    while let Some(dir) = at.filter(|dir| !dir.as_os_str().is_empty()) {
        match disk.list(dir) {
            Ok(_) => break,
            Err(why) if why.kind() == std::io::ErrorKind::NotFound => missing.push(dir),
            Err(why) => return Err(OpenError::new(dir, Cause::Io(why))),
        }
        at = dir.parent();
    }
    disk.create_dir_all(dir).map_err(OpenError::io(dir))?;
    for made in missing.iter().rev() {
        if let Some(parent) = made.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            disk.sync_dir(parent).map_err(OpenError::io(parent))?;
        }
    }
    Ok(())
}

/// Refuses a directory that is no whole store, before anything is made or changed in it.
pub(super) fn look(disk: &Arc<dyn Disk>, options: &Options) -> Result<(), OpenError> {
    let looked =
        Left::read(&**disk, options, Bad::Stays, &mut Vec::new()).map_err(OpenError::io(&options.paths.root));
    match looked.and_then(|left| survey(disk, options, &left)) {
        // What cannot be read is found again, under the name that was configured, where it is made.
        Err(OpenError { cause: Cause::Io(_), .. }) | Ok(_) => Ok(()),
        Err(refused) => Err(refused),
    }
}

/// What lies in the log's directories: first byte, path and length of each file, in order.
fn log_files(disk: &dyn Disk, options: &Options) -> Result<Vec<(u64, PathBuf, u64)>, OpenError> {
    let mut found = Vec::new();
    for dir in &options.paths.commit_log {
        let entries = match disk.list(dir) {
            Err(why) if why.kind() == std::io::ErrorKind::NotFound => continue,
            entries => entries.map_err(OpenError::io(dir))?,
        };
        for entry in entries.into_iter().filter(|entry| !entry.is_of_file_system()) {
            match parse_file_name(&entry.name).filter(|_| !entry.is_dir) {
                Some(base) => found.push((base, dir.join(&entry.name), entry.len)),
                None if mutant!(ForeignAccepted) => {}
                None => return Err(OpenError::foreign(dir, &entry.name, None)),
            }
        }
    }
    found.sort_by_key(|(base, ..)| *base);
    Ok(found)
}

/// The files of the log, in order and without gaps, and what is to be done with each.
pub(super) struct Survey {
    segment_bytes: u64,
    files: Vec<(u64, PathBuf, Fate)>,
}

/// What is to be done with a log file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Stays,
    /// It is shorter than the others: a crash came before its length was set, or while its end was cleared.
    Lengthened,
    /// A power cut took the one before it.
    PutAway,
}

/// Judges the files of the log by their names, their lengths and, where nothing else is known of them, by what
/// stands in them. Changes nothing.
pub(super) fn survey(disk: &Arc<dyn Disk>, options: &Options, left: &Left) -> Result<Survey, OpenError> {
    let found = log_files(&**disk, options)?;
    let segment_bytes = segment_bytes(&found, options, left)?;
    let unsure_from = left.unsure_from();
    // The files held so much when they were ours.
    let needed = if left.is_ours() { left.flushed() } else { 0 };
    let mut files: Vec<(u64, PathBuf, Fate)> = Vec::new();
    let mut next = None;
    let last = found.len().saturating_sub(1);
    for (n, (base, path, len)) in found.into_iter().enumerate() {
        let dir = path.parent().map(Path::to_owned).unwrap_or_default();
        if base % segment_bytes != 0 || base > i64::MAX as u64 / 2 {
            let why = format!("files of {segment_bytes} bytes have other names");
            return Err(OpenError::foreign(dir, &file_name(base), Some(&why)));
        }
        // Where nobody tells what was durable, the log begins where its files do: those before it were deleted. So it does
        // where a file is gone of which a part was durable: no power cut took that.
        let is_behind =
            base > unsure_from && unsure_from.is_multiple_of(segment_bytes) && left.flushed.is_some();
        let first = if is_behind { unsure_from - unsure_from % segment_bytes } else { base };
        let wanted = next.unwrap_or(first);
        if base != wanted {
            if wanted + segment_bytes <= unsure_from && !mutant!(GapAccepted) {
                return Err(OpenError::new(dir, Cause::Gap { missing: file_name(wanted) }));
            }
            // What was never synced need not survive in order. Nothing in it was confirmed durable.
            files.push((base, path, Fate::PutAway));
            continue;
        }
        let fate = match len {
            len if len == segment_bytes => Fate::Stays,
            len if len < segment_bytes && (n == last || base >= unsure_from) && base + len >= needed => {
                Fate::Lengthened
            }
            found => return Err(OpenError::new(path, Cause::Sizes { found, wanted: segment_bytes })),
        };
        files.push((base, path, fate));
        next = Some(base + segment_bytes);
    }
    let survey = Survey { segment_bytes, files };
    survey.has_log(options, left)?;
    survey.has_records(disk, options, left)?;
    Ok(survey)
}

/// Bytes of a log file. A store keeps the size it was made with.
fn segment_bytes(found: &[(u64, PathBuf, u64)], options: &Options, left: &Left) -> Result<u64, OpenError> {
    // Another broker may have made the log anew since, with files of another size.
    let may_count = |bytes: &u64| left.is_ours() || found.iter().any(|(_, _, len)| len == bytes);
    let known = left.ends.as_ref().map(|ends| ends.segment_bytes).filter(may_count);
    let first = found.first().filter(|(_, _, len)| *len > 0);
    // A crash may have left the only file shorter.
    let cut = |len: u64| left.aborted && found.len() == 1 && len < SEGMENT_BYTES_MIN;
    let told = known.or(first.map(|(_, _, len)| *len).filter(|len| !cut(*len)));
    let possible = SEGMENT_BYTES_MIN..=i32::MAX as u64;
    match (told.filter(|_| !found.is_empty()), first) {
        (Some(bytes), _) if possible.contains(&bytes) => Ok(bytes),
        (Some(bytes), Some((base, path, _))) => {
            let why = format!("{bytes} bytes; a log file has 4 KiB to 2 GiB - 1");
            let dir = path.parent().unwrap_or(&options.paths.root);
            Err(OpenError::foreign(dir, &file_name(*base), Some(&why)))
        }
        _ if possible.contains(&options.segment_bytes) => Ok(options.segment_bytes),
        _ => {
            let cause = Cause::Option("mappedFileSizeCommitLog must be between 4 KiB and 2 GiB - 1");
            Err(OpenError::new(&options.paths.root, cause))
        }
    }
}

impl Survey {
    /// Refuses when all of a log is gone: retention leaves its last file alone, so nobody but a wrong or unmounted
    /// disk takes all of it.
    fn has_log(&self, options: &Options, left: &Left) -> Result<(), OpenError> {
        let ours = left.ends.as_ref().filter(|_| left.is_ours());
        let upto = ours.map_or(0, |ends| ends.covers.0);
        if !self.files.is_empty() || upto == 0 || mutant!(WrongDiskAccepted) {
            return Ok(());
        }
        let dir = options.paths.commit_log.first().unwrap_or(&options.paths.root);
        Err(OpenError::new(dir, Cause::LogGone { upto }))
    }

    /// Refuses files of which nobody knows that they ever held a record, and that hold something else.
    fn has_records(&self, disk: &Arc<dyn Disk>, options: &Options, left: &Left) -> Result<(), OpenError> {
        let Some((first, path, _)) = self.files.first() else { return Ok(()) };
        // A crash may leave a log whose first record is torn.
        if left.aborted || left.ends.as_ref().is_some_and(|ends| ends.covers.0 > *first) {
            return Ok(());
        }
        let dir = path.parent().unwrap_or(&options.paths.root);
        match self.foreign_bytes(disk).map_err(OpenError::io(path))? {
            Some((base, why)) => Err(OpenError::foreign(dir, &file_name(base), Some(&why))),
            None => Ok(()),
        }
    }

    /// The file that holds something although no record stands in any; and what stands at its start.
    fn foreign_bytes(&self, disk: &Arc<dyn Disk>) -> io::Result<Option<(u64, String)>> {
        let whole = self.files.iter().filter(|(_, _, fate)| *fate == Fate::Stays);
        let segments = whole.map(|(base, path, _)| Segment::existing(*base, path.clone())).collect();
        let log = Log::looked_at(disk, self.segment_bytes, segments);
        let mut cursor = Cursor::new(&log);
        for segment in log.segments().iter().rev() {
            if let Found::Record(_) = cursor.look(segment.base)? {
                return Ok(None);
            }
        }
        let first = log.first().0;
        if cursor.find_behind(first, Millis(i64::MIN))?.is_some() {
            return Ok(None);
        }
        for segment in log.segments() {
            let base = segment.base;
            if cursor.written_behind(base, &mut Vec::new())? > base {
                let why = match cursor.look(base)? {
                    Found::Nothing(why) => format!("no message stands in it: {why}"),
                    _ => "no message stands in it".into(),
                };
                return Ok(Some((base, why)));
            }
        }
        Ok(None)
    }
}

/// Does with the files of the log what the survey found right.
pub(super) fn arrange(
    disk: &dyn Disk,
    options: &mut Options,
    survey: Survey,
    lines: &mut Vec<Line>,
) -> Result<VecDeque<Segment>, OpenError> {
    let size = survey.segment_bytes;
    if size != options.segment_bytes {
        lines.push(Line::info(format!(
            "log files have {size} bytes, mappedFileSizeCommitLog says {}: the store keeps its size",
            options.segment_bytes
        )));
        options.segment_bytes = size;
    }
    let mut segments = VecDeque::new();
    for (base, path, fate) in survey.files {
        match fate {
            Fate::Stays => {}
            Fate::Lengthened => {
                let lengthen = disk.open(&path, Open::Write).and_then(|file| file.set_len(size));
                lengthen.map_err(OpenError::io(&path))?;
            }
            Fate::PutAway => {
                let aside = options.paths.root.join(QUARANTINE);
                let moved = put_away(disk, &Segment::existing(base, path), &aside);
                lines.push(moved.map_err(OpenError::io(&aside))?);
                continue;
            }
        }
        segments.push_back(Segment::existing(base, path));
    }
    Ok(segments)
}

/// Rounds the size of queue files as the original does, and keeps the size that existing ones have.
pub(super) fn queue_file_bytes(
    disk: &dyn Disk,
    options: &mut Options,
    lines: &mut Vec<Line>,
) -> Result<(), OpenError> {
    options.queue_file_bytes = options.queue_file_bytes.max(1).div_ceil(ENTRY_BYTES) * ENTRY_BYTES;
    let Some(found) = first_queue_file(disk, &options.paths.consume_queue())? else { return Ok(()) };
    let plausible = found > 0 && found % ENTRY_BYTES == 0;
    if plausible && found != options.queue_file_bytes {
        lines.push(Line::info(format!(
            "queue files have {found} bytes, mappedFileSizeConsumeQueue says {}: the store keeps its size",
            options.queue_file_bytes
        )));
        options.queue_file_bytes = found;
    }
    Ok(())
}

/// Size of the first queue file there is that is not the last of its queue, or else of any.
fn first_queue_file(disk: &dyn Disk, dir: &Path) -> Result<Option<u64>, OpenError> {
    for topic in disk.list(dir).map_err(OpenError::io(dir))?.iter().filter(|entry| entry.is_dir) {
        let topic_dir = dir.join(&topic.name);
        for queue in
            disk.list(&topic_dir).map_err(OpenError::io(&topic_dir))?.iter().filter(|entry| entry.is_dir)
        {
            let queue_dir = topic_dir.join(&queue.name);
            let files = disk.list(&queue_dir).map_err(OpenError::io(&queue_dir))?;
            let file = files.iter().find(|file| parse_file_name(&file.name).is_some() && file.len > 0);
            if let Some(file) = file {
                return Ok(Some(file.len));
            }
        }
    }
    Ok(None)
}
