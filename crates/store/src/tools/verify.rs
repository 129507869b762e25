//! Whether everything in a store agrees: log, queues, index, checkpoints, configuration. Only reads.

use super::{
    Finding, Findings, Kind, Remedy, Severity, Watch,
    index::Keys,
    layout::{Layout, Numbered, QueueName},
    patient::{Patient, Unread},
    queues::{Placed, Queues},
    small,
    walk::{Reader, Step},
};
use crate::{
    disk::Disk,
    dispatch::{DELAY_TOPIC, Dispatch},
    index::Shape,
    options::Options,
    types::QueueEntry,
};
use kerolox_protocol::{LogOffset, Millis, names, record::Record};
use serde::Serialize;
use std::{
    io,
    ops::{ControlFlow, Range},
    path::Path,
};

/// Log bytes between two reports of progress.
const WATCH_BYTES: u64 = 4 << 20;

/// What was looked at, and what was found.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Verified {
    /// Records of the log.
    pub records: u64,
    /// Entries of queues.
    pub entries: u64,
    /// Keys that records carry.
    pub keys: u64,
    /// First position of the log.
    pub first: u64,
    /// End of the log.
    pub end: u64,
    /// Everything that was found, worst first.
    pub findings: Vec<Finding>,
    /// Findings beyond those that are listed.
    pub more: u64,
}

impl Verified {
    /// Whether anything is not as it must be.
    pub fn is_damaged(&self) -> bool {
        self.more > 0 || self.findings.iter().any(|finding| finding.severity == Severity::Damage)
    }
}

/// Looks at everything.
///
/// # Errors
/// When directories cannot be read. What the disk cannot read of a file is a finding.
pub fn verify(disk: &dyn Disk, options: &Options, watch: Watch<'_>) -> io::Result<Verified> {
    let patient = Patient::new(disk);
    let patient: &Patient<'_> = &patient;
    let layout = Layout::read(patient, options)?;
    let mut found = Findings::default();
    layout.findings.iter().for_each(|finding| found.push(finding.clone()));
    small::check_config(patient, &layout, &mut found)?;
    small::check_leftovers(&layout, &mut found);
    let shape = Shape::new(options.index_slots, options.index_max)
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "impossible size of index files"))?;
    let mut check = Check {
        layout: &layout,
        levels: &options.delay_levels,
        covered: covered(&layout),
        queues: Queues::new(patient, &layout),
        keys: Keys::open(patient, &layout, shape, &mut found)?,
        found,
        damaged: Vec::new(),
        records: 0,
        last_ms: None,
        time_back: None,
        end: layout.first(),
        failed: None,
    };
    let total = layout.files_end() - layout.first();
    let mut reported = 0;
    Reader::new(disk, &layout).walk(layout.first(), &mut |step| {
        let flow = check.step(step);
        let done = check.end - layout.first();
        if done >= reported + WATCH_BYTES {
            reported = done;
            watch(done, total);
        }
        flow
    })?;
    watch(total, total);
    check.finish(patient)
}

/// What of the log queues and index must cover.
enum Covered {
    All,
    To(u64),
    Time(Millis),
}

fn covered(layout: &Layout) -> Covered {
    match (&layout.ends, &layout.checkpoint) {
        _ if layout.is_clean() => Covered::All,
        (Some(ends), _) => Covered::To(ends.covers.0),
        (None, Some((checkpoint, _))) => Covered::Time(checkpoint.safe_time()),
        (None, None) => Covered::To(0),
    }
}

struct Check<'a> {
    layout: &'a Layout,
    levels: &'a [Millis],
    covered: Covered,
    queues: Queues<'a>,
    keys: Keys<'a>,
    found: Findings,
    damaged: Vec<Range<u64>>,
    records: u64,
    last_ms: Option<Millis>,
    time_back: Option<(u64, u64)>,
    end: u64,
    failed: Option<io::Error>,
}

impl Check<'_> {
    fn step(&mut self, step: Step<'_>) -> ControlFlow<()> {
        match step {
            Step::Record(record) => {
                if let Err(why) = self.record(record) {
                    self.failed = Some(why);
                    return ControlFlow::Break(());
                }
            }
            Step::Damage(range, why) => {
                let text = format!("{why}; {} bytes are lost", range.end - range.start);
                self.push(Kind::LogDamage, range.start, text, None);
                self.end = range.end;
                self.damaged.push(range);
            }
            Step::Unreadable(range, hole) => {
                let text = format!(
                    "the disk cannot read the bytes from {} to {} of the log; {} bytes are lost",
                    hole.start,
                    hole.end,
                    range.end - range.start
                );
                let path = self.layout.segment_at(range.start).map(|file| file.path.display().to_string());
                let remedy = path.map(|path| Remedy::CopyLog { path });
                self.push(Kind::Unreadable, range.start, text, remedy);
                self.end = range.end;
                self.damaged.push(range);
            }
            Step::End { at, garbage } => {
                self.end = at;
                if let Some((to, why)) = garbage {
                    let text = format!("the log ends at {at}, but up to {to} stands something: {why}");
                    let remedy = Some(Remedy::CutLog { from: at });
                    // Whoever was writing ended in the middle of it.
                    match self.layout.aborted && at >= self.layout.durable {
                        true => self.push_as(Severity::Leftover, Kind::LogTail, at, text, remedy),
                        false => self.push(Kind::LogTail, at, text, remedy),
                    }
                }
            }
        }
        ControlFlow::Continue(())
    }

    fn push(&mut self, kind: Kind, at: u64, text: String, remedy: Option<Remedy>) {
        self.push_as(Severity::Damage, kind, at, text, remedy);
    }

    fn push_as(&mut self, severity: Severity, kind: Kind, at: u64, text: String, remedy: Option<Remedy>) {
        let path = self.layout.segment_at(at).map(|file| file.path.clone()).unwrap_or_default();
        let finding = Finding::new(severity, kind, &path, text).at(at);
        self.found.push(Finding { remedy, ..finding });
    }

    fn record(&mut self, record: &Record<'_>) -> io::Result<()> {
        let at = self.end_of(record);
        self.records += 1;
        if self.last_ms.is_some_and(|last| record.store_ms < last) {
            self.time_back.get_or_insert((at, 0)).1 += 1;
        }
        self.last_ms = self.last_ms.max(Some(record.store_ms));
        let is_late = match self.covered {
            Covered::All => false,
            Covered::To(to) => at >= to,
            Covered::Time(time) => record.store_ms > time,
        };
        let dispatch = Dispatch::of_record(record);
        self.keys.record(at, record.topic, &dispatch, is_late)?;
        if !dispatch.queued {
            return Ok(());
        }
        let Some((name, offset)) = place_of(record) else {
            let text = format!("the record at {at} tells an impossible topic, queue or offset");
            self.push(Kind::RecordPlace, at, text, None);
            return Ok(());
        };
        let tags_code = dispatch.entry_code(self.levels, record.store_ms);
        let entry = QueueEntry { at: LogOffset(at), size: record.size, tags_code };
        // Levels may have been set differently when it was written.
        let any_code = record.topic == DELAY_TOPIC;
        let placed = Placed { offset, entry, any_code, is_late };
        self.queues.record(&name, placed, !self.damaged.is_empty(), &mut self.found)
    }

    /// Takes note of where the log goes on; gives where the record stands.
    fn end_of(&mut self, record: &Record<'_>) -> u64 {
        let at = record.physical_offset.unsigned_abs();
        self.end = at + u64::from(record.size);
        at
    }

    fn finish(mut self, disk: &Patient<'_>) -> io::Result<Verified> {
        if let Some(why) = self.failed {
            return Err(why);
        }
        let first = self.layout.first();
        let known = small::topics(disk, self.layout)?;
        self.queues.finish(first, &self.damaged, &known, &mut self.found)?;
        let keys = self.keys.keys;
        self.keys.finish(&self.damaged, &mut self.found)?;
        small::check_checkpoint(self.layout, self.last_ms, &mut self.found);
        if let Some(ends) = &self.layout.ends
            && !(first..=self.end).contains(&ends.covers.0)
        {
            let path = crate::ends::Ends::path(&self.layout.paths.root);
            let text =
                format!("covers the log up to {}, which reaches from {first} to {}", ends.covers, self.end);
            let remedy = Remedy::Remove { path: path.display().to_string() };
            self.found.push(Finding::damage(Kind::OwnState, &path, text).remedy(remedy));
        }
        if let Some((at, n)) = self.time_back {
            let path = self.layout.segment_at(at).map(|file| file.path.clone()).unwrap_or_default();
            let text = format!("{n} records tell an earlier time than the ones before them");
            self.found.push(Finding::note(Kind::TimeBack, &path, text).at(at));
        }
        for unread in disk.unread().take() {
            let finding = Finding::damage(Kind::Unreadable, Path::new(&unread.path), unread.to_string());
            let remedy = remedy_of(self.layout, &unread, &self.found);
            self.found.push(Finding { remedy, ..finding.at(unread.from) });
        }
        let mut findings = self.found.all;
        findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
        Ok(Verified {
            records: self.records,
            entries: self.queues.entries,
            keys,
            first,
            end: self.end,
            findings,
            more: self.found.more,
        })
    }
}

/// What helps against a bad sector of a file that is made from the log.
fn remedy_of(layout: &Layout, unread: &Unread, found: &Findings) -> Option<Remedy> {
    let path = Path::new(&unread.path);
    let holds = |files: &[Numbered]| files.iter().any(|file| file.path == path);
    if let Some(((topic, queue), _)) = layout.queues.iter().find(|(_, files)| holds(files)) {
        return Some(Remedy::RebuildQueue { topic: topic.clone(), queue: *queue });
    }
    if holds(&layout.index) {
        return Some(Remedy::RebuildIndex);
    }
    if path == layout.paths.root.join("checkpoint") {
        return Some(Remedy::ResetCheckpoint);
    }
    // Copies of what the log holds. One that has a backup was found not to parse.
    let has_remedy = found.all.iter().any(|other| other.path == unread.path && other.remedy.is_some());
    let is_config = path.parent() == Some(&layout.paths.config());
    (is_config && !has_remedy).then(|| Remedy::Remove { path: unread.path.clone() })
}

/// The queue of a record and its offset there, if they are possible.
pub(super) fn place_of(record: &Record<'_>) -> Option<(QueueName, u64)> {
    let id = u32::try_from(record.queue_id).ok()?;
    let offset = u64::try_from(record.queue_offset).ok().filter(|offset| *offset < i64::MAX as u64 / 20)?;
    names::check(record.topic, 255).ok()?;
    Some(((record.topic.to_owned(), id), offset))
}
