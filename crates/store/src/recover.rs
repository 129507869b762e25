//! From a directory to a store: what is there, what a crash left, and what was repaired.
//!
//! An ordinary function without state. The log is the truth; queues and index are made to agree with it.

use crate::{
    disk::Disk,
    dispatch::Dispatch,
    log::{Log, Segment, file_name, parse_file_name},
    open::{Cause, OpenError},
    options::Options,
    queue::{ENTRY_BYTES, Queues, files::Files},
    types::QueueEntry,
};
use kerolox_protocol::{
    LogOffset, Millis, QueueId,
    record::{Entry, Record, parse},
};
use std::{collections::VecDeque, io, sync::Arc};

/// What opening found and repaired.
#[derive(Debug, Clone, Default)]
pub struct Opened {
    /// The last owner stopped cleanly.
    pub clean: bool,
    /// End of the log.
    pub end: LogOffset,
    /// One line per repair and per finding, for the log.
    pub lines: Vec<String>,
}

/// The parts of an opened store.
pub(crate) struct Recovered {
    pub(crate) options: Options,
    pub(crate) log: Log,
    pub(crate) queues: Queues,
    pub(crate) files: Arc<Files>,
    pub(crate) last_ms: Millis,
    pub(crate) report: Opened,
}

pub(crate) fn open(disk: &Arc<dyn Disk>, mut options: Options, _now: Millis) -> Result<Recovered, OpenError> {
    options.queue_file_bytes = options.queue_file_bytes.div_ceil(ENTRY_BYTES) * ENTRY_BYTES;
    let dir = options.paths.commit_log.first().cloned().ok_or_else(|| {
        OpenError::new(&options.paths.root, Cause::Option("storePathCommitLog names no directory"))
    })?;
    for dir in [&options.paths.root, &dir, &options.paths.consume_queue()] {
        disk.create_dir_all(dir).map_err(OpenError::io(dir))?;
    }
    let segments = list(disk, &dir, &mut options)?;
    let start = segments.front().map_or(0, |first| first.base);
    let mut log = Log::new(Arc::clone(disk), dir, options.segment_bytes, segments, start, options.tail_bytes);
    let mut queues = Queues::new();
    let mut last_ms = Millis(0);
    let end = scan(&log, start, &options, &mut queues, &mut last_ms).map_err(OpenError::io(log.dir()))?;
    log.reset_end(end);
    let files = Files::new(
        Arc::clone(disk),
        options.paths.consume_queue(),
        options.queue_file_bytes,
        options.queue_files_open_max,
    );
    let report = Opened { clean: false, end: LogOffset(end), lines: Vec::new() };
    Ok(Recovered { options, log, queues, files: Arc::new(files), last_ms, report })
}

/// The files of the log, in order and without gaps.
fn list(
    disk: &Arc<dyn Disk>,
    dir: &std::path::Path,
    options: &mut Options,
) -> Result<VecDeque<Segment>, OpenError> {
    let mut segments: VecDeque<Segment> = VecDeque::new();
    for entry in disk.list(dir).map_err(OpenError::io(dir))? {
        let path = dir.join(&entry.name);
        let Some(base) = parse_file_name(&entry.name) else {
            return Err(OpenError::new(dir, Cause::Foreign(entry.name)));
        };
        if segments.is_empty() {
            options.segment_bytes = entry.len;
        }
        if entry.len != options.segment_bytes {
            return Err(OpenError::new(
                path,
                Cause::Sizes { found: entry.len, wanted: options.segment_bytes },
            ));
        }
        let wanted = segments.back().map_or(base, |last| last.base + options.segment_bytes);
        if base != wanted {
            return Err(OpenError::new(dir, Cause::Gap { missing: file_name(wanted) }));
        }
        segments.push_back(Segment::existing(base, path));
    }
    Ok(segments)
}

/// Reads records from `at` on and gives each to its queue; returns where the first is that is none.
fn scan(
    log: &Log,
    mut at: u64,
    options: &Options,
    queues: &mut Queues,
    last: &mut Millis,
) -> io::Result<u64> {
    let mut bytes = Vec::new();
    for segment in log.segments() {
        if at < segment.base {
            break;
        }
        bytes.resize(options.segment_bytes as usize, 0);
        log.read(segment.base, &mut bytes)?;
        loop {
            let rest = bytes.get((at - segment.base) as usize..).unwrap_or(&[]);
            match parse(rest) {
                Ok(Entry::Message(record)) if is_good(&record, at) => {
                    dispatch(&record, options, queues);
                    *last = record.store_ms.max(*last);
                    at += u64::from(record.size);
                }
                Ok(Entry::Blank(left)) if u64::from(left) == rest.len() as u64 => {
                    at = segment.base + options.segment_bytes;
                    break;
                }
                _ => return Ok(at),
            }
        }
    }
    Ok(at)
}

fn is_good(record: &Record<'_>, at: u64) -> bool {
    record.physical_offset == at as i64 && record.crc_matches()
}

fn dispatch(record: &Record<'_>, options: &Options, queues: &mut Queues) {
    let dispatch = Dispatch::of_record(record);
    let Ok(id) = QueueId::try_from(record.queue_id) else { return };
    if dispatch.queued {
        let slot = queues.slot(record.topic, id);
        let tags_code = dispatch.entry_code(&options.delay_levels, record.store_ms);
        let at = LogOffset(record.physical_offset as u64);
        queues.push(slot, QueueEntry { at, size: record.size, tags_code });
        let next = queues.get(slot).map_or(0, |queue| queue.next());
        queues.show(slot, kerolox_protocol::QueueOffset(next));
    }
}
