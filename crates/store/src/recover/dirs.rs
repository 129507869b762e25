//! What lies in the store's directories, checked before anything is believed.

use crate::{
    disk::{Disk, Open},
    line::Line,
    log::{Segment, file_name, parse_file_name, put_away},
    open::{Cause, OpenError},
    options::Options,
    queue::ENTRY_BYTES,
};
use std::{
    collections::VecDeque,
    path::{Path, PathBuf},
};

/// Directory for what is not understood, under the root.
pub(super) const QUARANTINE: &str = "kerolox.quarantine";
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

/// Refuses a directory that holds what no store has, before anything is made in it.
pub(super) fn look(disk: &dyn Disk, options: &Options) -> Result<(), OpenError> {
    match log_files(disk, options) {
        Err(refused @ OpenError { cause: Cause::Foreign(_), .. }) => Err(refused),
        // What cannot be read is found again, under the name that was configured, where it is made.
        _ => Ok(()),
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
        for entry in entries {
            match parse_file_name(&entry.name).filter(|_| !entry.is_dir) {
                Some(base) => found.push((base, dir.join(&entry.name), entry.len)),
                None if mutant!(ForeignAccepted) => {}
                None => return Err(OpenError::new(dir, Cause::Foreign(entry.name))),
            }
        }
    }
    found.sort_by_key(|(base, ..)| *base);
    Ok(found)
}

/// The files of the log, in order and without gaps. A store keeps the file size it was made with, which is
/// `known` if a Kerolox had it before. From `unsure_from` on a power cut may have taken names and lengths.
pub(super) fn segments(
    disk: &dyn Disk,
    options: &mut Options,
    known: Option<u64>,
    unsure_from: u64,
    lines: &mut Vec<Line>,
) -> Result<VecDeque<Segment>, OpenError> {
    let found = log_files(disk, options)?;
    // The last file may be shorter: a crash came before its length was set, or while its end was cleared.
    let first = found.first().map(|(_, _, len)| *len).filter(|len| *len > 0);
    let size = known.or(first);
    if let Some(size) = size.filter(|size| *size != options.segment_bytes && !found.is_empty()) {
        lines.push(Line::info(format!(
            "log files have {size} bytes, mappedFileSizeCommitLog says {}: the store keeps its size",
            options.segment_bytes
        )));
        options.segment_bytes = size;
    }
    if options.segment_bytes < SEGMENT_BYTES_MIN || options.segment_bytes > i32::MAX as u64 {
        let cause = Cause::Option("mappedFileSizeCommitLog must be between 4 KiB and 2 GiB - 1");
        return Err(OpenError::new(&options.paths.root, cause));
    }
    let mut segments: VecDeque<Segment> = VecDeque::new();
    let last = found.len().saturating_sub(1);
    for (n, (base, path, len)) in found.into_iter().enumerate() {
        if base % options.segment_bytes != 0 || base > i64::MAX as u64 / 2 {
            return Err(OpenError::new(path, Cause::Foreign(file_name(base))));
        }
        let first = if base > unsure_from { unsure_from - unsure_from % options.segment_bytes } else { base };
        let wanted = segments.back().map_or(first, |last| last.base + options.segment_bytes);
        if base != wanted {
            if wanted + options.segment_bytes <= unsure_from && !mutant!(GapAccepted) {
                let dir = path.parent().map(Path::to_owned).unwrap_or_default();
                return Err(OpenError::new(dir, Cause::Gap { missing: file_name(wanted) }));
            }
            // What was never synced need not survive in order. Nothing in it was confirmed durable.
            let aside = options.paths.root.join(QUARANTINE);
            let moved = put_away(disk, &Segment::existing(base, path), &aside);
            lines.push(moved.map_err(OpenError::io(&aside))?);
            continue;
        }
        if len < options.segment_bytes && (n == last || base >= unsure_from) {
            let lengthen = disk.open(&path, Open::Write).and_then(|file| file.set_len(options.segment_bytes));
            lengthen.map_err(OpenError::io(&path))?;
        } else if len != options.segment_bytes {
            return Err(OpenError::new(path, Cause::Sizes { found: len, wanted: options.segment_bytes }));
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
