//! How much there is of what. Reads little: heads and ends, never the whole log.

use super::{
    Watch,
    layout::{Layout, Numbered, QueueName},
    patient::{Patient, Unread},
    small,
    walk::{Reader, Step, be32, be64},
};
use crate::{
    disk::{Disk, Open},
    options::Options,
    queue::ENTRY_BYTES,
    smallfile,
    types::QueueEntry,
};
use serde::Serialize;
use std::{collections::BTreeMap, io, ops::ControlFlow};

/// What a store holds. Times are Unix milliseconds, offsets as in the files.
#[derive(Debug, Clone, Serialize)]
pub struct Stat {
    /// The root directory.
    pub root: String,
    /// The last owner stopped cleanly.
    pub is_clean: bool,
    /// Kerolox had it last, and knows the ends of its queues.
    pub is_ours: bool,
    /// The log.
    pub log: LogStat,
    /// Topics, by name.
    pub topics: Vec<TopicStat>,
    /// Files of the index, oldest first.
    pub index: Vec<IndexStat>,
    /// The original's checkpoint.
    pub checkpoint: Option<CheckpointStat>,
    /// Kerolox's own checkpoint.
    pub own: Option<OwnStat>,
    /// Configuration files.
    pub config: Vec<ConfigStat>,
    /// What the disk could not read of what was looked at.
    pub unread: Vec<Unread>,
}

/// The log.
#[derive(Debug, Clone, Default, Serialize)]
pub struct LogStat {
    /// Files.
    pub files: usize,
    /// Bytes of one.
    pub file_bytes: u64,
    /// Its first position.
    pub first: u64,
    /// Its end.
    pub end: u64,
    /// Time of the first record.
    pub first_ms: Option<i64>,
    /// Time of the last record.
    pub last_ms: Option<i64>,
}

/// A topic.
#[derive(Debug, Clone, Serialize)]
pub struct TopicStat {
    /// Its name.
    pub name: String,
    /// Messages that are still there.
    pub messages: u64,
    /// Its queues.
    pub queues: Vec<QueueStat>,
}

/// A queue, as its files say.
#[derive(Debug, Clone, Serialize)]
pub struct QueueStat {
    /// Its number.
    pub id: u32,
    /// Offset of the first message.
    pub min: u64,
    /// Offset behind the last one.
    pub max: u64,
    /// Time of the first message.
    pub first_ms: Option<i64>,
    /// Time of the last message.
    pub last_ms: Option<i64>,
    /// Files.
    pub files: usize,
}

/// A file of the index.
#[derive(Debug, Clone, Serialize)]
pub struct IndexStat {
    /// Its name.
    pub name: String,
    /// Bytes.
    pub bytes: u64,
    /// Keys.
    pub keys: u64,
    /// Time of the first key's record.
    pub first_ms: i64,
    /// Time of the last key's record.
    pub last_ms: i64,
}

/// The original's checkpoint.
#[derive(Debug, Clone, Serialize)]
pub struct CheckpointStat {
    /// Time of the last flushed record.
    pub log_ms: i64,
    /// Time of the last record whose entry is flushed.
    pub queues_ms: i64,
    /// Time of the last key in a flushed file.
    pub index_ms: i64,
}

/// Kerolox's own checkpoint.
#[derive(Debug, Clone, Serialize)]
pub struct OwnStat {
    /// Queues cover the log up to here.
    pub covers: u64,
    /// The log was durable up to here.
    pub durable: u64,
    /// Parts of the log that are known to be damaged.
    pub damaged: Vec<(u64, u64)>,
}

/// A configuration file.
#[derive(Debug, Clone, Serialize)]
pub struct ConfigStat {
    /// Its name.
    pub name: String,
    /// Bytes.
    pub bytes: u64,
    /// Whether it parses.
    pub parses: bool,
}

/// Looks at a store.
///
/// # Errors
/// Those of reading.
pub fn stat(disk: &dyn Disk, options: &Options, watch: Watch<'_>) -> io::Result<Stat> {
    let patient = Patient::new(disk);
    let layout = Layout::read(&patient, options)?;
    let mut reader = Reader::new(disk, &layout).noting(patient.unread());
    let disk: &dyn Disk = &patient;
    let log = log_stat(&layout, &mut reader)?;
    let mut topics: BTreeMap<&str, Vec<QueueStat>> = BTreeMap::new();
    for (done, (name, files)) in layout.queues.iter().enumerate() {
        watch(done as u64, layout.queues.len() as u64);
        let queue = queue_stat(disk, &layout, &mut reader, name, files)?;
        topics.entry(&name.0).or_default().push(queue);
    }
    let topics = topics.into_iter().map(|(name, queues)| TopicStat {
        name: name.to_owned(),
        messages: queues.iter().map(|queue| queue.max - queue.min).sum(),
        queues,
    });
    let mut config = Vec::new();
    for entry in &layout.config_files {
        let bytes = smallfile::read(disk, &layout.paths.config().join(&entry.name))?.unwrap_or_default();
        let parses = small::is_json(&bytes).is_ok();
        config.push(ConfigStat { name: entry.name.clone(), bytes: entry.len, parses });
    }
    let index = layout.index.iter().map(|file| index_stat(disk, file)).collect::<io::Result<_>>()?;
    Ok(Stat {
        unread: patient.unread().take(),
        root: layout.paths.root.display().to_string(),
        is_clean: layout.is_clean(),
        is_ours: layout.ends.is_some(),
        log,
        topics: topics.collect(),
        index,
        checkpoint: layout.checkpoint.as_ref().map(|(checkpoint, _)| CheckpointStat {
            log_ms: checkpoint.physic().0,
            queues_ms: checkpoint.logics().0,
            index_ms: checkpoint.index().0,
        }),
        own: layout.ends.as_ref().map(|ends| OwnStat {
            covers: ends.covers.0,
            durable: layout.durable,
            damaged: ends.damaged.iter().map(|range| (range.start, range.end)).collect(),
        }),
        config,
    })
}

fn log_stat(layout: &Layout, reader: &mut Reader<'_>) -> io::Result<LogStat> {
    let first = layout.first();
    let mut stat = LogStat {
        files: layout.segments.len(),
        file_bytes: layout.segment_bytes,
        first,
        end: first,
        first_ms: reader.record(first).ok().flatten().map(|record| record.store_ms.0),
        last_ms: layout.ends.as_ref().map(|ends| ends.last_ms.0).filter(|ms| *ms > 0),
    };
    // From where the end is known to be behind.
    let covered = layout.ends.as_ref().map(|ends| ends.covers.0);
    let mut from = covered.filter(|at| (first..=layout.files_end()).contains(at));
    if from.is_none() {
        for segment in layout.segments.iter().rev() {
            if reader.record(segment.base)?.is_some() {
                from = Some(segment.base);
                break;
            }
        }
    }
    stat.end = from.unwrap_or(first);
    reader.walk(stat.end, &mut |step| {
        match step {
            Step::Record(record) => {
                stat.end = record.physical_offset.unsigned_abs() + u64::from(record.size);
                stat.last_ms = Some(record.store_ms.0);
            }
            Step::Damage(range, _) | Step::Unreadable(range, _) => stat.end = range.end,
            Step::End { at, .. } => stat.end = at,
        }
        ControlFlow::Continue(())
    })?;
    Ok(stat)
}

fn queue_stat(
    disk: &dyn Disk,
    layout: &Layout,
    reader: &mut Reader<'_>,
    name: &QueueName,
    files: &[Numbered],
) -> io::Result<QueueStat> {
    let entry = |offset: u64| entry(disk, layout, files, offset);
    let first = layout.first();
    let low = files.first().map_or(0, |file| file.base / ENTRY_BYTES);
    let high = files.last().map_or(0, |file| (file.base + file.len) / ENTRY_BYTES);
    let max = partition(low, high, |at| Ok(entry(at)?.is_some()))?;
    let min =
        partition(low, max, |at| Ok(entry(at)?.is_some_and(|entry| entry.is_blank() || entry.at.0 < first)))?;
    let mut time = |offset: u64| -> io::Result<Option<i64>> {
        let Some(entry) = entry(offset)? else { return Ok(None) };
        Ok(reader.record(entry.at.0)?.map(|record| record.store_ms.0))
    };
    let (first_ms, last_ms) = match min < max {
        true => (time(min)?, time(max - 1)?),
        false => (None, None),
    };
    Ok(QueueStat { id: name.1, min, max, first_ms, last_ms, files: files.len() })
}

/// The entry at an offset of a queue, if that is filled.
pub(super) fn entry(
    disk: &dyn Disk,
    layout: &Layout,
    files: &[Numbered],
    offset: u64,
) -> io::Result<Option<QueueEntry>> {
    let Some(at) = offset.checked_mul(ENTRY_BYTES) else { return Ok(None) };
    let base = at - at % layout.queue_file_bytes;
    let file = files.iter().find(|file| file.base == base && at - base + ENTRY_BYTES <= file.len);
    let Some(file) = file else { return Ok(None) };
    let mut raw = [0; ENTRY_BYTES as usize];
    disk.open(&file.path, Open::Read)?.read_at(&mut raw, at - base)?;
    Ok(QueueEntry::decode(&raw))
}

/// The first place where `is_low` does not hold; it holds for all before.
pub(super) fn partition(
    mut low: u64,
    mut high: u64,
    mut is_low: impl FnMut(u64) -> io::Result<bool>,
) -> io::Result<u64> {
    while low < high {
        let middle = low + (high - low) / 2;
        if is_low(middle)? { low = middle + 1 } else { high = middle }
    }
    Ok(low)
}

fn index_stat(disk: &dyn Disk, file: &Numbered) -> io::Result<IndexStat> {
    let mut head = [0; 40];
    if file.len >= head.len() as u64 {
        disk.open(&file.path, Open::Read)?.read_at(&mut head, 0)?;
    }
    let signed = |at| i64::from_be_bytes(be64(&head, at).to_be_bytes());
    Ok(IndexStat {
        name: file.path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default(),
        bytes: file.len,
        keys: u64::from(be32(&head, 36).max(1) - 1),
        first_ms: signed(0),
        last_ms: signed(8),
    })
}
