//! From a directory to a store: what is there, what a crash left, and what was repaired.
//!
//! An ordinary function without state. The log is the truth; queues and index are made to agree with it.
//!
//! ```text
//!    queues and index cover this part         dispatched again         cut off
//!  ├──────────────────────────────────────┼───────────────────────┼─ ─ ─ ─ ─ ─ ┤
//!  first                               covered                   end
//! ```
//! The covered position comes with the queues' ends from `kerolox.queues`, or, when another broker had the
//! store, from the original's checkpoint and the queue files. How long it takes depends on the distance from
//! there to the end, not on the size of the store.

mod aside;
mod dirs;
mod image;
mod left;
mod mend;
mod odd;
mod places;
mod queues;
mod scan;
mod times;

use crate::{
    checkpoint::{self, Lock},
    disk::{Disk, around::is_bad_sector},
    dispatch::{self, Dispatch},
    ends::Ends,
    index::{Index, PENDING_WORTH, Repair, RepairKind, Shape, Trust},
    line::{Level, Line},
    log::{Log, file_name},
    open::{Cause, OpenError},
    options::Options,
    quarantine,
    queue::{
        ENTRY_BYTES, Queues, Share,
        files::{Files, Touched},
    },
    smallfile::{self, Backup, Digest},
    types::{Flushed, QueueEntry, QueueSlot},
};
use kerolox_protocol::{LogOffset, Millis, QueueId, QueueOffset, names, record::Record};
use left::{Bad, Left};
use mend::Mend;
pub(crate) use mend::{MendError, MendJob, Mended};
use odd::Placed;
use scan::{Cursor, Found, Lost};
use std::{collections::BTreeMap, io, ops::Range, path::PathBuf, sync::Arc};
use times::Times;

/// Entries collected in memory before they are written, while the log is read.
const PENDING_MAX: usize = 1 << 20;
/// A queue whose next record is further ahead than this begins anew there, instead of being filled up.
const FILL_MAX: u64 = 1 << 16;

/// What opening found and repaired.
#[derive(Debug, Clone, Default)]
pub struct Opened {
    /// The last owner stopped cleanly, and it was Kerolox.
    pub clean: bool,
    /// Another broker, or nobody, had the store before.
    pub foreign: bool,
    /// From here on the log was read again.
    pub from: LogOffset,
    /// End of the log.
    pub end: LogOffset,
    /// Records read again.
    pub records: u64,
    /// Parts of the log that are damaged: what was there is lost, what is behind is not.
    pub damaged: Vec<Range<u64>>,
    /// One line per repair and per finding, for the log.
    pub lines: Vec<Line>,
}

/// The parts of an opened store.
pub(crate) struct Recovered {
    pub(crate) options: Options,
    pub(crate) log: Log,
    pub(crate) queues: Queues,
    pub(crate) files: Arc<Files>,
    pub(crate) index: Option<Index>,
    pub(crate) last_ms: Millis,
    /// The part of the log whose entries are in queue files.
    pub(crate) covered: Flushed,
    /// Queue files that were written to.
    pub(crate) dirty: Touched,
    pub(crate) lock: Lock,
    pub(crate) checkpoint: Digest,
    /// An earlier start wrote down which parts of the log are damaged.
    pub(crate) is_damage_known: bool,
    pub(crate) report: Opened,
}

pub(crate) fn open(disk: &Arc<dyn Disk>, mut options: Options, now: Millis) -> Result<Recovered, OpenError> {
    let root = options.paths.root.clone();
    let first_dir = options.paths.commit_log.first().cloned();
    let dir = first_dir.ok_or_else(|| OpenError::new(&root, Cause::Option("storePathCommitLog is empty")))?;
    dirs::look(disk, &options)?;
    dirs::make(&**disk, &root)?;
    let lock = checkpoint::lock(&**disk, &options.paths).map_err(|why| {
        let cause = if why.kind() == io::ErrorKind::WouldBlock { Cause::Locked } else { Cause::Io(why) };
        OpenError::new(&root, cause)
    })?;
    dirs::make(&**disk, &dir)?;
    dirs::make(&**disk, &options.paths.consume_queue())?;

    let mut report = Opened::default();
    let left = Left::read(&**disk, &options, Bad::Aside, &mut report.lines).map_err(OpenError::io(&root))?;
    let known = left.ends.as_ref();
    let survey = dirs::survey(disk, &options, &left)?;
    let segments = dirs::arrange(&**disk, &mut options, survey, &mut report.lines)?;
    match known.filter(|_| left.is_ours()) {
        Some(ends) => options.queue_file_bytes = ends.queue_file_bytes,
        None => dirs::queue_file_bytes(&**disk, &mut options, &mut report.lines)?,
    }
    let covered = known.map_or(0, |ends| ends.covers.0);
    let start = segments.front().map_or(covered.next_multiple_of(options.segment_bytes), |first| first.base);
    let (file_bytes, open_max) = (options.queue_file_bytes, options.queue_files_open_max);
    let files = Files::new(Arc::clone(disk), options.paths.consume_queue(), file_bytes, open_max);
    let log = Log::new(Arc::clone(disk), dir, options.segment_bytes, segments, start, options.tail_bytes);
    let mut recovery = Recovery {
        disk,
        root,
        files,
        log,
        queues: Queues::new(file_bytes / ENTRY_BYTES),
        levels: options.delay_levels.clone(),
        times: Times::until(now),
        covered: Flushed::default(),
        dirty: Touched::default(),
        damaged: Vec::new(),
        odd: BTreeMap::new(),
        taken: BTreeMap::new(),
        lost: Vec::new(),
        keeps_places: false,
        stale_entries: false,
        tail: None,
        unreadable: Vec::new(),
        undecided: None,
        reads_all: false,
        begins_late: false,
        rewritten_from: 0,
        report,
    };
    checkpoint::mark_running(&**disk, &options.paths).map_err(OpenError::io(&recovery.root))?;
    let mut from = recovery.restore(&left)?;
    if !recovery.report.clean {
        recovery.files.doubt();
    }
    recovery.covered = Flushed { upto: LogOffset(from), ms: recovery.times.last() };
    let log_dir = recovery.log.dir().clone();
    let said = recovery.report.lines.len();
    recovery.read_on(from, &left).map_err(OpenError::io(&log_dir))?;
    if std::mem::take(&mut recovery.begins_late) && recovery.undecided.is_none() {
        recovery.report.lines.truncate(said);
        recovery.read_all_for_queues(&left)?;
        from = recovery.log.first().0;
        recovery.covered = Flushed { upto: LogOffset(from), ms: Millis(0) };
        recovery.read_on(from, &left).map_err(OpenError::io(log_dir))?;
    }
    if let Some(lost) = recovery.undecided.take() {
        return Err(recovery.refuse(&left, lost));
    }
    recovery.settle(from, &left)?;
    let index = recovery.index(from, &left, &options)?;

    let Recovery { files, log, queues, times, covered, dirty, damaged, mut report, .. } = recovery;
    report.end = log.end();
    let is_damage_known = left.ends.as_ref().is_some_and(|ends| ends.damaged == damaged);
    report.damaged = damaged;
    let checkpoint = left.digest;
    Ok(Recovered {
        options,
        log,
        queues,
        files: Arc::new(files),
        index,
        last_ms: times.last(),
        covered,
        dirty,
        lock,
        checkpoint,
        is_damage_known,
        report,
    })
}

/// Sorts ranges and joins those that overlap: what was found damaged earlier is found again.
fn merge(ranges: &mut Vec<Range<u64>>) {
    ranges.sort_by_key(|range| (range.start, range.end));
    ranges.dedup_by(|later, earlier| {
        let overlap = later.start < earlier.end;
        if overlap {
            earlier.end = earlier.end.max(later.end);
        }
        overlap
    });
}

/// How the log goes on behind what cannot be read.
enum Behind {
    /// It does not.
    End,
    /// At this position.
    GoesOn(u64),
    /// Nobody can tell.
    Undecided(Range<u64>),
}

struct Recovery<'a> {
    disk: &'a Arc<dyn Disk>,
    root: PathBuf,
    files: Files,
    log: Log,
    queues: Queues,
    levels: Vec<Millis>,
    /// Store times of the records so far.
    times: Times,
    covered: Flushed,
    dirty: Touched,
    damaged: Vec<Range<u64>>,
    /// Entries that do not follow their predecessors, by queue, in the order of the log.
    odd: BTreeMap<QueueSlot, Vec<Placed>>,
    /// Ends of queues that records in damaged parts tell.
    taken: BTreeMap<QueueSlot, u64>,
    /// Damage that was met now: records there had places in queues.
    lost: Vec<Range<u64>>,
    /// Queues were filled up to where lost records were.
    keeps_places: bool,
    /// Queue files may hold entries of what is cut off.
    stale_entries: bool,
    /// What is cut off the log and is more than a crash explains; and what to say of it.
    tail: Option<(Range<u64>, Line)>,
    /// Bytes behind the end of the log that the device does not give. No message was there.
    unreadable: Vec<Range<u64>>,
    /// Where the log ends, or may: nobody can tell whether messages stood there.
    undecided: Option<Range<u64>>,
    /// The log is read from its beginning.
    reads_all: bool,
    /// A queue may have files missing, of what the log has before the part that was read.
    begins_late: bool,
    /// Another broker may not have made durable what is behind this.
    rewritten_from: u64,
    report: Opened,
}

impl Recovery<'_> {
    /// Sets the queues to a state that covers the log up to the returned position.
    fn restore(&mut self, left: &Left) -> Result<u64, OpenError> {
        let range = self.log.first().0..=self.log.files_end();
        let usable = left.ends.as_ref().filter(|ends| {
            let ours = left.is_ours();
            if !ours {
                let line = Line::info("another broker had the store since: queues are read from their files");
                self.report.lines.push(line);
            } else if !range.contains(&ends.covers.0) {
                let (first, end, known) = (range.start(), range.end(), ends.covers);
                self.report.lines.push(Line::error(format!(
                    "the log's files reach from {first} to {end}, but queues are known up to {known}: messages are \
                     missing, or files were moved; queues are read from their files"
                )));
            }
            ours && range.contains(&ends.covers.0)
        });
        let Some(ends) = usable else {
            self.report.foreign = true;
            return self.restore_slowly(left);
        };
        for topic in &ends.topics {
            for (id, min, next) in &topic.queues {
                let slot = self.queues.slot(&topic.name, *id);
                let begin = queues::begin(&**self.disk, &self.files, &topic.name, *id, (*min, *next))
                    .map_err(OpenError::io(self.files.queue_dir(&topic.name, *id)))?;
                let queue = (slot, &*topic.name, *id);
                let is_gone = begin == *min || self.is_gone_before(queue, begin, ends.covers.0)?;
                self.queues.restore(slot, if is_gone { begin } else { *min }, *next);
            }
        }
        self.times.restore(ends.last_ms);
        // The log goes on behind what is damaged: no farther than its files reach.
        let within = |part: &Range<u64>| part.start..part.end.min(*range.end());
        self.damaged = ends.damaged.iter().map(within).filter(|part| !part.is_empty()).collect();
        self.report.clean = ends.clean && !left.aborted;
        Ok(ends.covers.0)
    }

    /// Whether nothing is left of a queue before `begin`, where its files begin. They may also be missing, and are
    /// made again when a reader comes there.
    fn is_gone_before(
        &mut self,
        queue: (QueueSlot, &str, QueueId),
        begin: u64,
        end: u64,
    ) -> Result<bool, OpenError> {
        let (slot, topic, id) = queue;
        let at = self.past_bad_sectors(queue, end, |recovery| {
            let mut entries = Vec::new();
            recovery.files.read(slot, topic, id, begin, 1, &mut entries)?;
            Ok(entries.first().map(|entry| entry.at))
        })?;
        if at.is_some_and(|at| at < self.log.first()) {
            return Ok(true);
        }
        let has = self.mend(queue, end).has(begin - 1, at.map_or(end, |at| at.0));
        if has.map_err(OpenError::io(self.log.dir()))? {
            return Ok(false);
        }
        let line = format!("queue {id} of {topic} begins at {begin}: no file has what is before");
        self.report.lines.push(Line::warn(line));
        Ok(true)
    }

    /// What `read` gives of a queue's files; where the disk cannot read them, they are made whole first.
    fn past_bad_sectors<T>(
        &mut self,
        queue: (QueueSlot, &str, QueueId),
        end: u64,
        read: impl Fn(&Self) -> io::Result<T>,
    ) -> Result<T, OpenError> {
        let dir = self.files.queue_dir(queue.1, queue.2);
        match read(self) {
            Err(why) if is_bad_sector(&why) => {}
            read => return read.map_err(OpenError::io(dir)),
        }
        let lines = self.mend(queue, end).at_start()?;
        self.report.lines.extend(lines);
        read(self).map_err(OpenError::io(dir))
    }

    fn mend<'a>(&'a self, (slot, topic, id): (QueueSlot, &'a str, QueueId), end: u64) -> Mend<'a> {
        let (disk, root, files, levels) = (self.disk, &*self.root, &self.files, &*self.levels);
        Mend { disk, root, files, log: &self.log, end, levels, slot, topic, id, met: None }
    }

    fn restore_slowly(&mut self, left: &Left) -> Result<u64, OpenError> {
        let dir = self.log.dir().clone();
        let mut from = self.covered_by_original(left).map_err(OpenError::io(dir))?;
        // Their checkpoint may be damaged instead of another's: no farther than ours reached.
        if let Some(ends) = &left.ends {
            let segment = ends.covers.0 - ends.covers.0 % self.log.segment_bytes();
            from = from.min(segment.max(self.log.first().0));
        }
        self.rewritten_from = from;
        if !self.restore_from_files(from)? && from > self.log.first().0 {
            from = self.log.first().0;
            self.read_all_for_queues(left)?;
        }
        Ok(from)
    }

    /// Queue files lack what the log has: they are made again from all of it.
    fn read_all_for_queues(&mut self, left: &Left) -> Result<(), OpenError> {
        self.begin_anew();
        let said = self.report.lines.len();
        let first = self.log.first();
        self.restore_from_files(first.0)?;
        // All of that was said before.
        self.report.lines.truncate(said);
        let line = "queue files lack entries of messages that the log has: all of it is read for them";
        self.report.lines.push(Line::warn(line));
        // Should this end half done, the files would look whole.
        let ends = Ends {
            clean: false,
            covers: first,
            last_ms: Millis(0),
            checkpoints: [left.digest; 2],
            segment_bytes: self.log.segment_bytes(),
            queue_file_bytes: self.files.file_bytes,
            index_covers: None,
            damaged: Vec::new(),
            topics: self.queues.ends(),
        };
        let path = Ends::path(&self.root);
        smallfile::replace(&**self.disk, &path, &ends.encode(), Backup::No).map_err(OpenError::io(path))
    }

    /// The start of the file from which on the original would dispatch again: the newest one that begins
    /// before everything was flushed, or after a clean stop the last one that holds anything.
    fn covered_by_original(&mut self, left: &Left) -> io::Result<u64> {
        let mut cursor = Cursor::new(&self.log);
        for segment in self.log.segments().iter().rev() {
            if let Found::Record(record) = cursor.look(segment.base)?
                && (!left.aborted || record.store_ms <= left.checkpoint.safe_time())
            {
                return Ok(segment.base);
            }
        }
        Ok(self.log.first().0)
    }

    /// Reads the log from `at` to its end, giving each record to its queue.
    fn read_on(&mut self, mut at: u64, left: &Left) -> io::Result<()> {
        self.report.from = LogOffset(at);
        self.reads_all = at == self.log.first().0;
        let mut flushed = if self.report.foreign { 0 } else { left.flushed().min(self.log.files_end()) };
        let mut asked_queues = false;
        // Only a power cut loses what was written; without one, a hole is damage. Where nobody knows whether there was
        // one, more was lost than a power cut takes, and nothing is given up for it.
        let power_cut = left.aborted && left.knows_boot && !left.same_boot && !self.report.foreign;
        let log = std::mem::replace(&mut self.log, Log::nothing(self.disk));
        let mut cursor = Cursor::new(&log);
        if left.aborted && !left.same_boot {
            cursor.doubt(flushed..u64::MAX);
        }
        // What an earlier start doubted and set aside is no more certain now.
        self.damaged.iter().for_each(|part| cursor.doubt(part.clone()));
        let ended = loop {
            let (why, lost) = match cursor.look(at)? {
                Found::Record(record) => {
                    let size = u64::from(record.size);
                    // No CRC covers the properties, and a torn write leaves zeros at their end. Behind a record
                    // that ends so by its sender's will others stand, unless a power cut decided what stands.
                    // What was flushed cannot be torn.
                    let hollow = left.aborted && at >= flushed && record.properties.last() == Some(&0);
                    let unsure = power_cut && at >= flushed;
                    if hollow && unsure && !std::mem::replace(&mut asked_queues, true) {
                        flushed = flushed.max(self.proven_durable(&mut cursor, at)?);
                        continue;
                    }
                    if hollow && (unsure || cursor.find_behind(at + size - 1, self.times.last())?.is_none()) {
                        break "its properties end in zeros".into();
                    }
                    let Found::Record(record) = cursor.look(at)? else { continue };
                    at += size;
                    self.dispatch(&record);
                    if self.queues.pending() > PENDING_MAX && self.holds_nothing()? {
                        self.write_pending(&log, at)?;
                    }
                    continue;
                }
                Found::Filler(next) => {
                    at = next;
                    continue;
                }
                Found::Nothing(why) => (why, None),
                Found::Lost(lost) => (lost.to_string(), Some(lost)),
            };
            if let Some(known) = self.damaged.iter().find(|range| range.contains(&at)) {
                at = known.end;
                continue;
            }
            let behind = cursor.find_behind(at, self.times.last())?;
            if mutant!(TruncateAtDamage) {
                break why;
            }
            match behind {
                // A power cut leaves holes of zeros. Behind what cannot be read anything may have been acknowledged.
                Some(good)
                    if at < flushed
                        || !power_cut
                        || lost.is_some()
                        || !cursor.may_be_unwritten(at..good)? =>
                {
                    self.report.lines.push(set_aside(&why, at..good));
                    self.damaged.push(at..good);
                    self.note_lost(&mut cursor, at..good)?;
                    at = good;
                }
                None if at < flushed => {
                    self.report.lines.push(Line::error(format!(
                        "damage in the log: {why} at {at}, but it was durable up to {flushed}; these bytes are set \
                         aside"
                    )));
                    self.damaged.push(at..flushed);
                    self.note_lost(&mut cursor, at..flushed)?;
                    at = flushed;
                }
                Some(_) if !std::mem::replace(&mut asked_queues, true) => {
                    flushed = flushed.max(self.proven_durable(&mut cursor, at)?);
                }
                Some(good) => {
                    self.stale_entries = true;
                    self.report.lines.push(Line::info(format!(
                        "the power cut left a hole at {at}; what stands behind it, from {good} on, was never \
                         confirmed durable and is cut off"
                    )));
                    break why;
                }
                None => match lost.map(|lost| self.behind_lost(at, lost)) {
                    // The last clean stop says that the log ends there.
                    None | Some(Behind::End) => break why,
                    Some(Behind::GoesOn(behind)) => {
                        self.report.lines.push(set_aside(&why, at..behind));
                        self.damaged.push(at..behind);
                        self.note_lost(&mut cursor, at..behind)?;
                        at = behind;
                    }
                    Some(Behind::Undecided(hole)) => {
                        self.undecided = Some(hole);
                        break why;
                    }
                },
            }
        };
        if self.undecided.is_none() {
            self.judge_tail(&mut cursor, at, left, &ended)?;
        }
        self.log = log;
        self.log.reset_end(at);
        self.decide_odd()?;
        self.keep_places()
    }

    /// How it goes on where bytes are lost and no good record stands behind. Nothing may be given out again, or cut
    /// off, because it cannot be read.
    fn behind_lost(&self, at: u64, lost: Lost) -> Behind {
        match lost.record_end {
            _ if self.report.clean && lost.hole.start >= at => Behind::End,
            Some(end) if end > at => Behind::GoesOn(end),
            _ if lost.is_given_up => Behind::GoesOn(lost.hole.end),
            _ => Behind::Undecided(lost.hole),
        }
    }

    /// Leaves the store as it was found.
    fn refuse(&self, left: &Left, lost: Range<u64>) -> OpenError {
        let path = match self.log.file_at(lost.start) {
            Some(Ok((_, base))) => self.log.dir().join(file_name(base)),
            _ => self.log.dir().clone(),
        };
        if !left.aborted {
            let paths = crate::disk::Paths { root: self.root.clone(), commit_log: Vec::new() };
            if let Err(why) = checkpoint::mark_stopped(&**self.disk, &paths) {
                return OpenError::new(&self.root, Cause::Io(why));
            }
        }
        OpenError::new(path, Cause::Unreadable { part: lost, root: self.root.clone() })
    }

    /// What stands behind the end of the log is cut off. A crash tears one record; all else is kept as a copy.
    fn judge_tail(&mut self, cursor: &mut Cursor<'_>, at: u64, left: &Left, why: &str) -> io::Result<()> {
        let to = cursor.written_behind(at, &mut self.unreadable)?;
        if to == at {
            return Ok(());
        }
        // A kill cuts a write short; it leaves no record that is whole in all but its body.
        let is_torn = cursor.is_torn_record(at, to)? && !(left.same_boot && cursor.is_rotten(at)?);
        if left.aborted && is_torn {
            let line = format!("a torn record at {at} is cut off: {why}");
            self.report.lines.push(Line::info(line));
            return Ok(());
        }
        let n = to - at;
        let line = if !left.aborted {
            Line::error(format!(
                "damage in the log: it was stopped cleanly, but {n} bytes at its end, from {at} on, are no message \
                 ({why}); they are cut off"
            ))
        } else if left.same_boot && !self.report.foreign {
            Line::error(format!(
                "{n} bytes at the log's end, from {at} on, are no message ({why}); they are cut off"
            ))
        } else {
            // A power cut takes any of what was not synced.
            Line::warn(format!(
                "the crash left {n} bytes behind the log's end at {at} ({why}); they are cut off"
            ))
        };
        if line.level == Level::Error {
            self.stale_entries = true;
            // Not what a crash tears: it was stored, and may have been read.
            self.note_lost(cursor, at..to)?;
        }
        self.tail = Some((at..to, line));
        Ok(())
    }

    fn dispatch(&mut self, record: &Record<'_>) {
        self.report.records += 1;
        self.times.saw(record.store_ms);
        let dispatch = Dispatch::of_record(record);
        dispatch::drops(record).for_each(|topic| self.drop_topic(topic));
        if !dispatch.queued {
            return;
        }
        let at = LogOffset(record.physical_offset as u64);
        let id = QueueId::try_from(record.queue_id);
        let (Ok(id), Ok(offset), true) =
            (id, QueueOffset::try_from(record.queue_offset), names::check(record.topic, 255).is_ok())
        else {
            let line = format!("the record at {at} belongs to no possible queue; it stays unread");
            return self.report.lines.push(Line::error(line));
        };
        let tags_code = dispatch.entry_code(&self.levels, record.store_ms);
        let entry = QueueEntry { at, size: record.size, tags_code };
        let (side_file, reused) = (mutant!(OffsetsFromSideFile), mutant!(OffsetReused));
        if side_file || reused && offset.0 % 5 == 4 {
            return;
        }
        let slot = self.queues.slot(record.topic, id);
        self.enqueue(slot, Placed { offset: offset.0, entry });
    }

    /// The topic was deleted here: what the log told of it so far was not wanted any more.
    fn drop_topic(&mut self, topic: &str) {
        let slots: Vec<QueueSlot> = self.queues.queues_of(topic).into_iter().collect();
        for slot in slots {
            self.odd.remove(&slot);
            self.taken.remove(&slot);
            self.files.forget(slot);
            self.queues.clear(slot);
        }
    }

    /// Writes entries to their files while the log is still being read; the records first.
    fn write_pending(&mut self, log: &Log, upto: u64) -> io::Result<()> {
        log.sync_range(self.report.from.0, upto)?;
        self.queues.begin_pass();
        loop {
            let writes = self.queues.next_writes(LogOffset(upto), Share::LARGE);
            if writes.is_empty() {
                break;
            }
            writes.iter().try_for_each(|write| self.files.write(write, &mut self.dirty))?;
            self.queues.on_written(&writes, LogOffset(upto));
        }
        self.covered = Flushed { upto: LogOffset(upto), ms: self.times.last() };
        Ok(())
    }

    /// Makes what was found durable, and removes what must not come back.
    fn settle(&mut self, from: u64, left: &Left) -> Result<(), OpenError> {
        let dir = self.log.dir().clone();
        let end = self.log.end().0;
        let tail = self.tail.take();
        // A file behind the end is none of ours, however clean the stop was: the next append would find no place.
        let has_more = self.log.segments().back().is_some_and(|last| last.base > end);
        let as_left = self.report.clean && end == from && tail.is_none() && !has_more;
        if !as_left {
            let aside = self.root.join(quarantine::QUARANTINE);
            if let Some((part, Line { level, text })) = tail {
                let copy = aside::keep(&**self.disk, &self.log, &part, &aside)?;
                let text = format!("{text}, a copy is in {}", copy.display());
                self.report.lines.push(Line { level, text });
            }
            self.settle_places(left)?;
            self.write_unreadable_anew()?;
            let lines = self.log.cut(&aside, &mut self.damaged).map_err(OpenError::io(&dir))?;
            self.report.lines.extend(lines);
            self.rewrite(&self.log, left).map_err(OpenError::io(&dir))?;
            self.log.sync_range(from, end).map_err(OpenError::io(&dir))?;
        } else {
            self.write_unreadable_anew()?;
        }
        if self.report.foreign || self.stale_entries {
            let (disk, root, files, log, levels) =
                (self.disk, &*self.root, &self.files, &self.log, &*self.levels);
            let cleared = queues::clear_behind(files, &self.queues, &|(slot, topic, id)| {
                Mend { disk, root, files, log, end, levels, slot, topic, id, met: None }.at_start()
            });
            self.report.lines.extend(cleared?);
        }
        Ok(())
    }

    /// Writes zeros over what cannot be read behind the end of the log: nothing was there, and a device takes another
    /// sector for one that is written. Left as it is, the next append would have to read it, and end all writing.
    fn write_unreadable_anew(&mut self) -> Result<(), OpenError> {
        for hole in std::mem::take(&mut self.unreadable) {
            let dir = self.log.dir().clone();
            self.log.blank(&hole).map_err(OpenError::io(dir))?;
            self.report.lines.push(Line::warn(format!(
                "the disk cannot read {} bytes behind the log's end, from {} on; no message stood there, they are \
                 written anew",
                hole.end - hole.start,
                hole.start
            )));
        }
        Ok(())
    }

    /// The last owner may have ended because of a failed sync. What it had not flushed stands in the page cache, and
    /// perhaps nowhere else, though the system takes it for written.
    fn rewrite(&self, log: &Log, left: &Left) -> io::Result<()> {
        if !left.aborted || !left.same_boot || mutant!(RewriteSkipped) {
            return Ok(());
        }
        let durable = if self.report.foreign { self.rewritten_from } else { left.flushed() };
        log.rewrite(durable, log.end().0)
    }

    /// Opens the index and gives it the keys that it lacks.
    fn index(&mut self, from: u64, left: &Left, options: &Options) -> Result<Option<Index>, OpenError> {
        if !options.index {
            return Ok(None);
        }
        let dir = options.paths.index();
        let shape = Shape::new(options.index_slots, options.index_max).ok_or_else(|| {
            OpenError::new(&dir, Cause::Option("maxHashSlotNum and maxIndexNum must be positive"))
        })?;
        // A job of the index that failed ends half done, and a stop says of such an index that nothing is certain.
        let is_sure = self.report.foreign
            || left.index_known
            || left.ends.as_ref().is_some_and(|ends| ends.index_covers.is_none());
        let trust = match (self.report.foreign, left.aborted, left.same_boot) {
            (_, false, _) if !is_sure => Trust::PowerCut(None),
            (_, false, _) => Trust::Clean,
            (true, true, _) => Trust::PowerCut(None),
            (false, true, true) => Trust::Killed(left.index_synced),
            (false, true, false) => Trust::PowerCut(left.index_synced),
        };
        let expected = left.ends.as_ref().and_then(|ends| ends.index_covers);
        let open =
            |trust| Index::open(Arc::clone(self.disk), &dir, shape, trust).map_err(OpenError::io(&dir));
        let (mut index, repairs) = open(trust)?;
        self.report.lines.extend(repairs.iter().map(of_index));
        if !self.report.clean {
            let repairs = index.cut(self.log.end()).map_err(OpenError::io(&dir))?;
            self.report.lines.extend(repairs.iter().map(of_index));
        }
        let end_of_log = self.log.end().0;
        let covered = index.covered();
        let start = match (covered, expected) {
            // It took no keys any more; of which records is not known.
            _ if !is_sure => covered.map_or(0, |covered| covered.0.min(from)),
            _ if self.report.foreign => covered.map_or(from, |covered| covered.0.min(from)),
            (covered, expected) if covered >= expected => from,
            (covered, _) => covered.map_or(0, |covered| covered.0.min(from)),
        };
        let start = if mutant!(IndexKeysLost) { end_of_log } else { start.max(self.log.first().0) };
        if start < from {
            let line = format!("the index lacks keys: the log is read again for it from {start} on");
            self.report.lines.push(Line::info(line));
        }
        let utc = options.retention.utc_offset;
        self.add_keys(&mut index, start, utc).map_err(OpenError::io(&dir))?;
        Ok(Some(index))
    }

    fn add_keys(&mut self, index: &mut Index, mut at: u64, utc: Millis) -> io::Result<()> {
        let end = self.log.end().0;
        let mut cursor = Cursor::new(&self.log);
        while at < end {
            let why = match cursor.look(at)? {
                Found::Record(record) => {
                    at += u64::from(record.size);
                    add_keys_of(&record, index, utc);
                    while index.pending() > PENDING_WORTH
                        && let Some(job) = index.job(false)
                    {
                        index.done(job.run())?;
                    }
                    continue;
                }
                Found::Filler(next) => {
                    at = next;
                    continue;
                }
                Found::Nothing(why) => why,
                Found::Lost(lost) => lost.to_string(),
            };
            if let Some(known) = self.damaged.iter().find(|range| range.contains(&at)) {
                at = known.end;
                continue;
            }
            let Some(good) = cursor.find_behind(at, Millis(i64::MIN))?.filter(|good| *good < end) else {
                let line = format!("the index gets no keys behind {at}: {why}");
                self.report.lines.push(Line::error(line));
                break;
            };
            // It was sound when it was last read.
            self.report.lines.push(set_aside(&why, at..good));
            self.damaged.push(at..good);
            merge(&mut self.damaged);
            at = good;
        }
        Ok(())
    }
}

fn add_keys_of(record: &Record<'_>, index: &mut Index, utc: Millis) {
    let dispatch = Dispatch::of_record(record);
    if dispatch.indexed {
        let place = LogOffset(record.physical_offset as u64);
        let (topic, ms) = (record.topic, record.store_ms);
        dispatch.each_key(|key| index.add(topic, key, place, ms, ms + utc));
    }
}

/// Says that a part of the log is damaged, and where it goes on.
fn set_aside(why: &str, part: Range<u64>) -> Line {
    let Range { start, end } = part;
    Line::error(format!(
        "damage in the log: {why} at {start}; {} bytes are set aside, the log goes on at {end}",
        end - start
    ))
}

/// Keys come back from the log, so no repair of the index loses anything; a file that is not used is no work of a
/// crash.
fn of_index(repair: &Repair) -> Line {
    match repair.what {
        RepairKind::Ignored(_) => Line::warn(repair.to_string()),
        _ => Line::info(repair.to_string()),
    }
}
