//! Finding records and showing where they lie.

use super::{
    Watch,
    index::hash_of,
    layout::{Layout, Numbered},
    patient::{Patient, Unread},
    stat::{entry, partition},
    walk::{Reader, Step, be32, be64},
};
use crate::{
    disk::{Disk, Open},
    dispatch::Dispatch,
    index::Shape,
    options::Options,
    queue::ENTRY_BYTES,
};
use kerolox_protocol::{Millis, record::Record};
use std::{
    io,
    ops::{ControlFlow, Range},
};

/// Which records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Select {
    /// Of this topic only.
    pub topic: Option<String>,
    /// Of this queue only.
    pub queue: Option<u32>,
    /// Queue offsets.
    pub offsets: Range<u64>,
    /// Positions in the log.
    pub log: Range<u64>,
    /// Store times, Unix milliseconds, the last one included.
    pub times: (Millis, Millis),
    /// At most so many.
    pub limit: u64,
}

impl Default for Select {
    fn default() -> Select {
        let all = 0..u64::MAX;
        let times = (Millis(i64::MIN), Millis(i64::MAX));
        Select { topic: None, queue: None, offsets: all.clone(), log: all, times, limit: u64::MAX }
    }
}

impl Select {
    fn wants(&self, record: &Record<'_>) -> bool {
        let offset = u64::try_from(record.queue_offset).unwrap_or(u64::MAX);
        self.topic.as_deref().is_none_or(|topic| topic == record.topic)
            && self.queue.is_none_or(|queue| i64::from(queue) == i64::from(record.queue_id))
            && self.offsets.contains(&offset)
            && (self.times.0..=self.times.1).contains(&record.store_ms)
    }
}

/// Where a record lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Position in the log.
    pub at: u64,
    /// The file.
    pub file: String,
    /// Position in the file.
    pub file_at: u64,
}

/// What came of handing out records.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Dumped {
    /// Records.
    pub records: u64,
    /// What the disk could not read on the way: the records there are missing.
    pub unread: Vec<Unread>,
}

/// What came of looking for records.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Searched {
    /// Those that were found.
    pub located: Vec<Located>,
    /// What the disk could not read on the way.
    pub unread: Vec<Unread>,
}

/// Hands out records in log order; of one queue in the order of its entries. Goes on past what cannot be read.
///
/// # Errors
/// Those of reading.
pub fn dump(
    disk: &dyn Disk,
    options: &Options,
    select: &Select,
    watch: Watch<'_>,
    visit: &mut dyn FnMut(&Record<'_>, &Place) -> ControlFlow<()>,
) -> io::Result<Dumped> {
    let patient = Patient::new(disk);
    let layout = Layout::read(&patient, options)?;
    let mut reader = Reader::new(disk, &layout).noting(patient.unread());
    let records = hand_out(&patient, &layout, &mut reader, select, watch, visit)?;
    Ok(Dumped { records, unread: patient.unread().take() })
}

fn hand_out(
    disk: &dyn Disk,
    layout: &Layout,
    reader: &mut Reader<'_>,
    select: &Select,
    watch: Watch<'_>,
    visit: &mut dyn FnMut(&Record<'_>, &Place) -> ControlFlow<()>,
) -> io::Result<u64> {
    let mut n = 0;
    let mut take = |record: &Record<'_>| {
        if !select.wants(record) {
            return ControlFlow::Continue(());
        }
        n += 1;
        let flow = visit(record, &place(layout, record.physical_offset.unsigned_abs()));
        if n >= select.limit { ControlFlow::Break(()) } else { flow }
    };
    if select.limit == 0 {
        return Ok(0);
    }
    if let (Some(topic), Some(queue)) = (&select.topic, select.queue) {
        let files = layout.queues.get(&(topic.clone(), queue)).map(Vec::as_slice).unwrap_or_default();
        let range = filled(disk, layout, files)?;
        let wanted = range.start.max(select.offsets.start)..range.end.min(select.offsets.end);
        for offset in wanted.clone() {
            watch(offset - wanted.start, wanted.end - wanted.start);
            let Some(entry) = entry(disk, layout, files, offset)? else { continue };
            if entry.is_blank() || !select.log.contains(&entry.at.0) {
                continue;
            }
            if let Some(record) = reader.record(entry.at.0)?
                && take(&record).is_break()
            {
                break;
            }
        }
        return Ok(n);
    }
    let from = start(layout, reader, select)?;
    let total = select.log.end.min(layout.files_end()).saturating_sub(from);
    reader.walk(from, &mut |step| match step {
        Step::Record(record) => {
            let at = record.physical_offset.unsigned_abs();
            watch(at.saturating_sub(from), total);
            match at {
                at if at < select.log.start => ControlFlow::Continue(()),
                at if at >= select.log.end => ControlFlow::Break(()),
                _ => take(record),
            }
        }
        _ => ControlFlow::Continue(()),
    })?;
    Ok(n)
}

/// The last file that begins before everything that is wanted.
fn start(layout: &Layout, reader: &mut Reader<'_>, select: &Select) -> io::Result<u64> {
    let mut from = layout.first();
    for segment in &layout.segments {
        let time = reader.record(segment.base)?.map(|record| record.store_ms);
        if segment.base > select.log.start || time.is_none_or(|time| time >= select.times.0) {
            break;
        }
        from = segment.base;
    }
    let is_record = select.log.start > from && reader.record(select.log.start).is_ok_and(|r| r.is_some());
    Ok(if is_record { select.log.start } else { from })
}

fn filled(disk: &dyn Disk, layout: &Layout, files: &[Numbered]) -> io::Result<Range<u64>> {
    let low = files.first().map_or(0, |file| file.base / ENTRY_BYTES);
    let high = files.last().map_or(0, |file| (file.base + file.len) / ENTRY_BYTES);
    Ok(low..partition(low, high, |at| Ok(entry(disk, layout, files, at)?.is_some()))?)
}

fn place(layout: &Layout, at: u64) -> Place {
    let segment = layout.segment_at(at);
    Place {
        at,
        file: segment.map(|file| file.path.display().to_string()).unwrap_or_default(),
        file_at: segment.map_or(0, |file| at - file.base),
    }
}

/// Where a position of the log lies, whatever stands there; `None` outside the log's files.
///
/// # Errors
/// Those of reading.
pub fn place_at(disk: &dyn Disk, options: &Options, at: u64) -> io::Result<Option<Place>> {
    let layout = Layout::read(disk, options)?;
    Ok(layout.segment_at(at).is_some().then(|| place(&layout, at)))
}

/// What to look for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sought {
    /// A position in the log.
    At(u64),
    /// An offset of a queue.
    Offset {
        /// Topic.
        topic: String,
        /// Queue.
        queue: u32,
        /// Offset.
        offset: u64,
    },
    /// The first message of a queue that is not older.
    Time {
        /// Topic.
        topic: String,
        /// Queue.
        queue: u32,
        /// Unix milliseconds.
        time: Millis,
    },
    /// A unique key or a key.
    Key {
        /// Topic; without one, or without an index, the whole log is read.
        topic: Option<String>,
        /// The key.
        key: String,
    },
}

/// A record that was looked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Located {
    /// Where it lies.
    pub place: Place,
    /// All its bytes.
    pub bytes: Vec<u8>,
}

/// Finds records. At most `max`.
///
/// # Errors
/// Those of reading.
pub fn locate(
    disk: &dyn Disk,
    options: &Options,
    sought: &Sought,
    max: usize,
    watch: Watch<'_>,
) -> io::Result<Searched> {
    let patient = Patient::new(disk);
    let layout = Layout::read(&patient, options)?;
    let mut reader = Reader::new(disk, &layout).noting(patient.unread());
    let located = search(&patient, &layout, options, &mut reader, sought, max, watch)?;
    Ok(Searched { located, unread: patient.unread().take() })
}

fn search(
    disk: &dyn Disk,
    layout: &Layout,
    options: &Options,
    reader: &mut Reader<'_>,
    sought: &Sought,
    max: usize,
    watch: Watch<'_>,
) -> io::Result<Vec<Located>> {
    let positions = match sought {
        Sought::At(at) => vec![*at],
        Sought::Offset { topic, queue, offset } => {
            let files = layout.queues.get(&(topic.clone(), *queue)).map(Vec::as_slice).unwrap_or_default();
            let entry = entry(disk, layout, files, *offset)?.filter(|entry| !entry.is_blank());
            entry.into_iter().map(|entry| entry.at.0).collect()
        }
        Sought::Time { topic, queue, time } => {
            let files = layout.queues.get(&(topic.clone(), *queue)).map(Vec::as_slice).unwrap_or_default();
            let range = filled(disk, layout, files)?;
            let at = partition(range.start, range.end, |offset| {
                let Some(entry) = entry(disk, layout, files, offset)? else { return Ok(false) };
                // What is gone is older than what is there.
                Ok(reader.record(entry.at.0)?.is_none_or(|record| record.store_ms < *time))
            })?;
            entry(disk, layout, files, at)?.into_iter().map(|entry| entry.at.0).collect()
        }
        Sought::Key { topic, key } => {
            let found = match topic {
                Some(topic) if !layout.index.is_empty() => {
                    by_index(disk, layout, options, reader, topic, key, max)?
                }
                _ => Vec::new(),
            };
            if found.is_empty() {
                by_reading(layout, reader, topic.as_deref(), key, max, watch)?
            } else {
                found
            }
        }
    };
    let mut located = Vec::new();
    for at in positions.into_iter().take(max) {
        if let Some(size) = reader.record(at)?.map(|record| record.size as usize) {
            located.push(Located { place: place(layout, at), bytes: reader.bytes(at, size)?.to_vec() });
        }
    }
    Ok(located)
}

fn carries(record: &Record<'_>, topic: Option<&str>, key: &str) -> bool {
    let mut found = false;
    Dispatch::of_record(record).each_key(|own| found |= own == key);
    found && topic.is_none_or(|topic| topic == record.topic)
}

fn by_index(
    disk: &dyn Disk,
    layout: &Layout,
    options: &Options,
    reader: &mut Reader<'_>,
    topic: &str,
    key: &str,
    max: usize,
) -> io::Result<Vec<u64>> {
    let mut found = Vec::new();
    let Some(shape) = Shape::new(options.index_slots, options.index_max) else { return Ok(found) };
    let hash = hash_of(topic, key);
    for file in layout.index.iter().rev().filter(|file| file.len == shape.file_len()) {
        let file = disk.open(&file.path, Open::Read)?;
        let mut slot = [0; 4];
        file.read_at(&mut slot, 40 + 4 * u64::from(hash % shape.slots()))?;
        let mut number = be32(&slot, 0);
        while number > 0 && number < shape.entries() && found.len() < max {
            let mut raw = [0; 20];
            file.read_at(&mut raw, 40 + 4 * u64::from(shape.slots()) + 20 * u64::from(number))?;
            let (own, at, before) = (be32(&raw, 0), be64(&raw, 4), be32(&raw, 16));
            if own == hash && reader.record(at)?.is_some_and(|record| carries(&record, Some(topic), key)) {
                found.push(at);
            }
            if before >= number {
                break;
            }
            number = before;
        }
    }
    found.dedup();
    Ok(found)
}

fn by_reading(
    layout: &Layout,
    reader: &mut Reader<'_>,
    topic: Option<&str>,
    key: &str,
    max: usize,
    watch: Watch<'_>,
) -> io::Result<Vec<u64>> {
    let mut found = Vec::new();
    let first = layout.first();
    reader.walk(first, &mut |step| {
        if let Step::Record(record) = step {
            let at = record.physical_offset.unsigned_abs();
            watch(at - first, layout.files_end() - first);
            if carries(record, topic, key) {
                found.push(at);
            }
        }
        if found.len() < max { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    })?;
    Ok(found)
}
