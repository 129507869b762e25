//! Whether consume queues and log agree, both ways.
//!
//! Fed with the log's records in order; reads queue files as it goes, a few entries at a time, so that memory is
//! bounded by the number of queues and not by their length.

use super::{
    Finding, Findings, Kind, Ranges, Remedy,
    layout::{Layout, Numbered, QueueName},
};
use crate::{
    disk::{Disk, Open},
    queue::ENTRY_BYTES,
    types::QueueEntry,
};
use std::{
    cmp::Ordering,
    collections::{BTreeMap, BTreeSet},
    io,
    ops::Range,
};

/// Entries read at once while the log is walked.
const AHEAD: u64 = 64;
/// Entries read at once while a queue is walked.
const CHUNK: u64 = 8192;
/// Separate runs of faulty entries remembered for one queue.
const RUNS_MAX: usize = 64;

/// A record's place in its queue.
#[derive(Debug, Clone, Copy)]
pub(super) struct Placed {
    pub(super) offset: u64,
    pub(super) entry: QueueEntry,
    /// The due time is not known: any code will do.
    pub(super) any_code: bool,
    /// Younger than what queues need to cover.
    pub(super) is_late: bool,
}

/// A run of offsets whose entries are not right.
#[derive(Debug, Clone)]
struct Run {
    offsets: Range<u64>,
    at: u64,
    is_missing: bool,
    is_late: bool,
}

/// What a record means for its queue.
#[derive(Debug, Clone, Copy)]
pub(super) enum Event {
    /// It is the next one.
    Accept(Placed),
    /// The queue was deleted and made again: what was before counts no more.
    Restart,
    /// Records from this offset on are missing before the next one.
    Gap(u64, Placed),
    /// It tells an offset that cannot be.
    Wrong(Placed),
}

/// The offsets of a queue, which count up. One that does not is judged by the record that follows it.
#[derive(Debug, Default)]
pub(super) struct Sequence {
    next: Option<u64>,
    odd: Option<Placed>,
}

impl Sequence {
    /// Takes the next record of the queue.
    pub(super) fn take(&mut self, new: Placed, out: &mut Vec<Event>) {
        if let Some(odd) = self.odd.take() {
            if new.offset == odd.offset + 1 {
                self.believe(odd, out);
            } else {
                out.push(Event::Wrong(odd));
                if self.next.is_some_and(|next| new.offset == next + 1) {
                    self.next = Some(new.offset);
                }
            }
        }
        match self.next {
            Some(next) if next != new.offset => self.odd = Some(new),
            _ => self.accept(new, out),
        }
    }

    /// No more records follow.
    pub(super) fn finish(&mut self, out: &mut Vec<Event>) {
        if let Some(odd) = self.odd.take() {
            match odd.offset == 0 || self.next.is_some_and(|next| odd.offset > next) {
                true => self.believe(odd, out),
                false => out.push(Event::Wrong(odd)),
            }
        }
    }

    fn believe(&mut self, odd: Placed, out: &mut Vec<Event>) {
        match self.next {
            Some(next) if odd.offset < next => out.push(Event::Restart),
            Some(next) if odd.offset > next => out.push(Event::Gap(next, odd)),
            _ => {}
        }
        self.accept(odd, out);
    }

    fn accept(&mut self, new: Placed, out: &mut Vec<Event>) {
        self.next = Some(new.offset + 1);
        out.push(Event::Accept(new));
    }
}

#[derive(Debug, Default)]
struct Queue {
    sequence: Sequence,
    matched: Ranges,
    runs: Vec<Run>,
    /// Entries read ahead, raw, and the offset of the first.
    ahead: (u64, Vec<u8>),
}

/// The comparison.
pub(super) struct Queues<'a> {
    disk: &'a dyn Disk,
    layout: &'a Layout,
    queues: BTreeMap<QueueName, Queue>,
    /// Topics that have a directory.
    topics: BTreeSet<&'a str>,
    /// Ends of queues as they were written down.
    told: BTreeMap<(&'a str, u32), u64>,
    /// Filled entries that were looked at.
    pub(super) entries: u64,
}

impl<'a> Queues<'a> {
    pub(super) fn new(disk: &'a dyn Disk, layout: &'a Layout) -> Queues<'a> {
        let topics = layout.queues.keys().map(|(topic, _)| topic.as_str()).collect();
        let written = layout.ends.iter().flat_map(|ends| &ends.topics);
        let told = written
            .flat_map(|topic| topic.queues.iter().map(|(id, _, end)| ((&*topic.name, id.0), *end)))
            .collect();
        Queues { disk, layout, queues: BTreeMap::new(), topics, told, entries: 0 }
    }

    /// Takes the next record of the log.
    pub(super) fn record(
        &mut self,
        name: &QueueName,
        new: Placed,
        is_damaged: bool,
        found: &mut Findings,
    ) -> io::Result<()> {
        let mut queue = self.queues.remove(name).unwrap_or_default();
        let mut events = Vec::new();
        queue.sequence.take(new, &mut events);
        let result = self.follow(&mut queue, name, &events, is_damaged, found);
        self.queues.insert(name.clone(), queue);
        result
    }

    fn follow(
        &self,
        queue: &mut Queue,
        name: &QueueName,
        events: &[Event],
        is_damaged: bool,
        found: &mut Findings,
    ) -> io::Result<()> {
        for event in events {
            match *event {
                Event::Accept(new) => self.accept(queue, name, new)?,
                Event::Restart => {
                    queue.matched = Ranges::default();
                    queue.runs.clear();
                    queue.ahead = Default::default();
                }
                Event::Gap(next, behind) => found.push(self.gap(name, next, behind, is_damaged)),
                Event::Wrong(odd) => {
                    let (at, offset) = (odd.entry.at.0, odd.offset);
                    let text = format!("the record at {at} tells the queue offset {offset}, which cannot be");
                    let path = self.layout.segment_at(at).map(|file| file.path.clone()).unwrap_or_default();
                    found.push(Finding::damage(Kind::RecordPlace, &path, text).at(at));
                }
            }
        }
        Ok(())
    }

    fn gap(&self, name: &QueueName, next: u64, behind: Placed, is_damaged: bool) -> Finding {
        let (topic, id) = name;
        let n = behind.offset - next;
        let text = format!(
            "queue {id} of {topic} goes on with offset {} instead of {next}: {n} records are not in the log",
            behind.offset
        );
        let dir = self.layout.queue_dir(name);
        // Behind a damaged part that is what to expect.
        let finding = match is_damaged {
            true => Finding::note(Kind::OffsetGap, &dir, text),
            false => Finding::damage(Kind::OffsetGap, &dir, text),
        };
        finding.at(behind.entry.at.0)
    }

    fn accept(&self, queue: &mut Queue, name: &QueueName, new: Placed) -> io::Result<()> {
        let found = self.entry(queue, name, new.offset)?;
        let is_right = found.is_some_and(|found| {
            (found.at, found.size) == (new.entry.at, new.entry.size)
                && (new.any_code || found.tags_code == new.entry.tags_code)
        });
        if is_right {
            queue.matched.add(new.offset);
            return Ok(());
        }
        let is_missing = found.is_none_or(|found| found.is_blank());
        let goes_on = |run: &&mut Run| {
            run.offsets.end == new.offset && (run.is_missing, run.is_late) == (is_missing, new.is_late)
        };
        if let Some(run) = queue.runs.last_mut().filter(goes_on) {
            run.offsets.end += 1;
        } else if queue.runs.len() < RUNS_MAX {
            let offsets = new.offset..new.offset + 1;
            queue.runs.push(Run { offsets, at: new.entry.at.0, is_missing, is_late: new.is_late });
        }
        Ok(())
    }

    fn entry(&self, queue: &mut Queue, name: &QueueName, offset: u64) -> io::Result<Option<QueueEntry>> {
        let (first, bytes) = &queue.ahead;
        let has = offset >= *first && offset < first + bytes.len() as u64 / ENTRY_BYTES;
        if !has {
            queue.ahead = (offset, self.read(name, offset, AHEAD)?);
        }
        let (first, bytes) = &queue.ahead;
        let (entries, _) = bytes.as_chunks();
        Ok(entries.get((offset - first) as usize).and_then(QueueEntry::decode))
    }

    /// Raw entries from an offset on, as far as one file holds them.
    fn read(&self, name: &QueueName, offset: u64, n: u64) -> io::Result<Vec<u8>> {
        let files = self.layout.queues.get(name).map(Vec::as_slice).unwrap_or_default();
        let Some(at) = offset.checked_mul(ENTRY_BYTES) else { return Ok(Vec::new()) };
        let base = at - at % self.layout.queue_file_bytes;
        match files.iter().find(|file| file.base == base) {
            Some(file) => read_entries(self.disk, file, at - base, n * ENTRY_BYTES),
            None => Ok(Vec::new()),
        }
    }

    /// Ends the walk: judges what is left, then looks at every entry of every file.
    pub(super) fn finish(
        &mut self,
        first: u64,
        damaged: &[Range<u64>],
        known: &BTreeSet<String>,
        found: &mut Findings,
    ) -> io::Result<()> {
        let mut names: BTreeSet<QueueName> = self.queues.keys().cloned().collect();
        names.extend(self.layout.queues.keys().cloned());
        let mut without = BTreeSet::new();
        for name in names {
            let mut queue = self.queues.remove(&name).unwrap_or_default();
            let mut events = Vec::new();
            queue.sequence.finish(&mut events);
            self.follow(&mut queue, &name, &events, !damaged.is_empty(), found)?;
            let is_known = known.contains(&name.0) || self.topics.contains(name.0.as_str());
            self.report(&name, &queue, is_known, found);
            self.check_ends(&name, &queue, !damaged.is_empty(), found);
            self.each_entry(&name, &queue, first, damaged, found)?;
            if queue.sequence.next.is_none() {
                without.insert(name);
            }
        }
        // Made anew from no record, a queue would count from 0 again: its files, however damaged, tell more.
        for finding in &mut found.all {
            let is_without = |topic: &String, queue: &u32| without.contains(&(topic.clone(), *queue));
            finding.remedy.take_if(
                |remedy| matches!(remedy, Remedy::RebuildQueue { topic, queue } if is_without(topic, queue)),
            );
        }
        Ok(())
    }

    fn report(&self, name: &QueueName, queue: &Queue, is_known: bool, found: &mut Findings) {
        let dir = self.layout.queue_dir(name);
        for run in &queue.runs {
            let (topic, id) = name;
            let n = run.offsets.end - run.offsets.start;
            let text = format!("queue {id} of {topic}: offsets {:?} ({n})", run.offsets);
            let finding = match run {
                _ if !is_known => Finding::note(
                    Kind::TopicGone,
                    &dir,
                    format!("{text}: the topic is not there any more, its records still are"),
                ),
                Run { is_missing: true, is_late: true, .. } => Finding::note(
                    Kind::NotDispatched,
                    &dir,
                    format!("{text} have no entry yet; the next start makes them"),
                ),
                Run { is_late: true, .. } => Finding::note(
                    Kind::NotDispatched,
                    &dir,
                    format!(
                        "{text} have entries that differ from their records; the next start makes them again"
                    ),
                ),
                Run { is_missing: true, .. } => Finding::damage(
                    Kind::EntryMissing,
                    &dir,
                    format!("{text} have no entry although their records are there"),
                )
                .remedy(Remedy::RebuildQueue { topic: topic.clone(), queue: *id }),
                Run { .. } => Finding::damage(
                    Kind::EntryWrong,
                    &dir,
                    format!("{text} have entries that differ from their records"),
                )
                .remedy(Remedy::RebuildQueue { topic: topic.clone(), queue: *id }),
            };
            found.push(finding.at(run.at));
        }
    }

    /// Compares with the ends that were written down.
    fn check_ends(&self, name: &QueueName, queue: &Queue, is_damaged: bool, found: &mut Findings) {
        let told = self.told.get(&(name.0.as_str(), name.1));
        let (Some(told), Some(next)) = (told, queue.sequence.next) else { return };
        let is_wrong = match told.cmp(&next) {
            // The last records are damaged: what was written down before knows more.
            Ordering::Greater => !is_damaged,
            Ordering::Less => self.layout.is_clean(),
            Ordering::Equal => false,
        };
        if is_wrong {
            let path = crate::ends::Ends::path(&self.layout.paths.root);
            let text =
                format!("tells that queue {} of {} ends at {told}, the log says {next}", name.1, name.0);
            let remedy = Remedy::Remove { path: path.display().to_string() };
            found.push(Finding::damage(Kind::OwnState, &path, text).remedy(remedy));
        }
    }

    /// Looks for entries that no record stands behind.
    fn each_entry(
        &mut self,
        name: &QueueName,
        queue: &Queue,
        first: u64,
        damaged: &[Range<u64>],
        found: &mut Findings,
    ) -> io::Result<()> {
        let dir = self.layout.queue_dir(name);
        let rebuild = || Remedy::RebuildQueue { topic: name.0.clone(), queue: name.1 };
        let mut stray: Option<(Range<u64>, u64)> = None;
        let mut strays = 0u64;
        // What stands where entries are still to be written was written in part; it is written over.
        let due: Vec<Range<u64>> =
            queue.runs.iter().filter(|run| run.is_late).map(|run| run.offsets.clone()).collect();
        let mut empty_at = None;
        let mut hole = None;
        for file in self.layout.queues.get(name).map(Vec::as_slice).unwrap_or_default() {
            let mut within = 0;
            while within < file.len {
                let bytes = read_entries(self.disk, file, within, CHUNK * ENTRY_BYTES)?;
                if bytes.is_empty() {
                    break;
                }
                let (entries, _) = bytes.as_chunks();
                for (n, raw) in entries.iter().enumerate() {
                    let offset = (file.base + within) / ENTRY_BYTES + n as u64;
                    let entry = QueueEntry::decode(raw);
                    if entry.is_none() {
                        if due.iter().any(|part| part.contains(&offset)) {
                            continue;
                        }
                        if raw.iter().any(|b| *b != 0) {
                            hole = hole.or(Some(offset));
                        }
                        empty_at = empty_at.or(Some(offset));
                        continue;
                    }
                    if empty_at.is_some() {
                        hole = hole.or(Some(offset));
                    }
                    let Some(entry) = entry else { continue };
                    self.entries += 1;
                    let at = entry.at.0;
                    let is_fine = entry.is_blank()
                        || at < first
                        || queue.matched.contains(offset)
                        || queue.runs.iter().any(|run| run.offsets.contains(&offset))
                        || damaged.iter().any(|range| range.contains(&at));
                    if !is_fine {
                        strays += 1;
                        match &mut stray {
                            Some((range, _)) => range.end = offset + 1,
                            None => stray = Some((offset..offset + 1, at)),
                        }
                    }
                }
                within += bytes.len() as u64;
            }
        }
        let (topic, id) = name;
        if let Some((range, at)) = stray {
            let text = format!("queue {id} of {topic}: {strays} entries in {range:?} name no record of it");
            found.push(Finding::damage(Kind::EntryStray, &dir, text).at(at).remedy(rebuild()));
        }
        if let Some(hole) = hole {
            let text =
                format!("queue {id} of {topic}: something stands at offset {hole} behind the queue's end");
            found.push(Finding::damage(Kind::EntryHole, &dir, text).at(hole).remedy(rebuild()));
        }
        Ok(())
    }
}

fn read_entries(disk: &dyn Disk, file: &Numbered, at: u64, bytes: u64) -> io::Result<Vec<u8>> {
    let n = bytes.min(file.len.saturating_sub(at)) / ENTRY_BYTES * ENTRY_BYTES;
    let mut out = vec![0; n as usize];
    if n > 0 {
        disk.open(&file.path, Open::Read)?.read_at(&mut out, at)?;
    }
    Ok(out)
}
