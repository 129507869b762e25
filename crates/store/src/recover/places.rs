//! Places of messages that are lost to damage: no other message may get them.
//!
//! Behind damage in the middle of a queue the next record tells where the queue goes on. Where none follows, what is
//! left of the lost one tells it: its own header, which may be whole when its body is not, or the entry of it that a
//! queue file still has. Without either the place is not known to have been taken, and is given out again.
//!
//! A kept place stands as an entry without a message in the queue's file, durably before the log's bad end is cut
//! off: nothing else would tell the next recovery of it.

use super::{
    FILL_MAX, Left, Recovery, queues,
    scan::{Cursor, Found},
};
use crate::{
    disk::around::is_bad_sector,
    dispatch::Dispatch,
    line::Line,
    log::Log,
    open::OpenError,
    quarantine::QUARANTINE,
    queue::{Queue, files::Place},
    types::{QueueEntry, QueueSlot},
};
use kerolox_protocol::{QueueId, QueueOffset, names, record::Record};
use std::{io, ops::Range};

/// Entries looked at together.
const STEP: u64 = 512;

impl Recovery<'_> {
    /// Notes a part of the log that is damaged, with what its records tell of their places.
    pub(super) fn note_lost(&mut self, cursor: &mut Cursor<'_>, part: Range<u64>) -> io::Result<()> {
        cursor.each_rotten(part.clone(), |record| self.note_place(record))?;
        self.lost.push(part);
        Ok(())
    }

    fn note_place(&mut self, record: &Record<'_>) {
        let id = QueueId::try_from(record.queue_id);
        let (Ok(id), Ok(offset), true, true) = (
            id,
            QueueOffset::try_from(record.queue_offset),
            names::check(record.topic, 255).is_ok(),
            Dispatch::of_record(record).queued,
        ) else {
            return;
        };
        let slot = self.queues.slot(record.topic, id);
        let end = self.taken.entry(slot).or_default();
        *end = offset.0.saturating_add(1).max(*end);
    }

    /// Keeps the places that are known to have been taken behind the ends of queues.
    pub(super) fn keep_places(&mut self) -> io::Result<()> {
        for (slot, end) in std::mem::take(&mut self.taken) {
            self.keep_upto(slot, end);
        }
        let lost = std::mem::take(&mut self.lost);
        // An earlier recovery that was interrupted may have kept places, or cut something off.
        let cut_before = || self.disk.list(&self.root.join(QUARANTINE)).is_ok_and(|all| !all.is_empty());
        if lost.is_empty() && (self.report.clean || !self.report.foreign && !cut_before()) {
            return Ok(());
        }
        let mut slots = Vec::new();
        queues::each_dir(&**self.disk, &self.files, |topic, id| slots.push(self.queues.slot(topic, id)))?;
        for slot in slots {
            if let Some(end) = self.filed_upto(slot, &lost)? {
                self.keep_upto(slot, end);
            }
        }
        Ok(())
    }

    /// Writes kept places to their files, durably; the records before them first.
    pub(super) fn settle_places(&mut self, left: &Left) -> Result<(), OpenError> {
        if !std::mem::take(&mut self.keeps_places) {
            return Ok(());
        }
        let dir = self.log.dir().clone();
        let log = std::mem::replace(&mut self.log, Log::nothing(self.disk));
        let wrote = self.rewrite(&log, left).and_then(|()| self.write_pending(&log, log.end().0));
        self.log = log;
        wrote.map_err(OpenError::io(&dir))?;
        self.files.sync(&self.dirty).map_err(OpenError::io(self.files.dir()))
    }

    /// Up to where queue files prove that the log was durable from `from` on: they get entries of nothing else. The
    /// checkpoint that tells it otherwise is as old as the pause between two.
    pub(super) fn proven_durable(&mut self, cursor: &mut Cursor<'_>, from: u64) -> io::Result<u64> {
        let mut slots = Vec::new();
        queues::each_dir(&**self.disk, &self.files, |topic, id| slots.push(self.queues.slot(topic, id)))?;
        let mut proven = 0;
        for slot in slots {
            let Some(queue) = self.queues.get(slot) else { continue };
            let Some(topic) = self.queues.topic_name(queue) else { continue };
            let shown = self.files.each_behind(
                Place { slot, topic, id: queue.id },
                queue.next(),
                |first, entries| {
                    let entries =
                        (first..).zip(entries).filter_map(|(offset, entry)| Some((offset, (*entry)?)));
                    for (offset, entry) in entries.filter(|(_, entry)| entry.at.0 >= from) {
                        // No check covers an entry: the record must say the same.
                        if let Found::Record(record) = cursor.look(entry.at.0)?
                            && record.topic == &**topic
                            && (record.queue_id, record.queue_offset)
                                == (queue.id.wire(), QueueOffset(offset).wire())
                        {
                            proven = entry.end().0.max(proven);
                        }
                    }
                    Ok(())
                },
            );
            match shown {
                Err(why) if is_bad_sector(&why) => {}
                shown => shown?,
            }
            self.files.forget(slot);
        }
        Ok(proven)
    }

    /// Where a queue ends by the entries that its files have of lost records and of none, if that is behind its end.
    fn filed_upto(&self, slot: QueueSlot, lost: &[Range<u64>]) -> io::Result<Option<u64>> {
        let Some(queue) = self.queues.get(slot) else { return Ok(None) };
        let Some(topic) = self.queues.topic_name(queue) else { return Ok(None) };
        let is_lost =
            |entry: &QueueEntry| entry.is_blank() || lost.iter().any(|part| part.contains(&entry.at.0));
        let mut end = queue.next();
        let mut entries = Vec::new();
        loop {
            entries.clear();
            match self.files.read(slot, topic, queue.id, end, STEP, &mut entries) {
                // Of entries that cannot be read nothing is known.
                Err(why) if is_bad_sector(&why) => break,
                read => read?,
            }
            let known = entries.iter().take_while(|entry| is_lost(entry)).count() as u64;
            end += known;
            if known == 0 || known < entries.len() as u64 {
                break;
            }
        }
        self.files.forget(slot);
        Ok((end > queue.next()).then_some(end))
    }

    /// Fills a queue up to `end` with entries that stand for no message.
    fn keep_upto(&mut self, slot: QueueSlot, end: u64) {
        let Some(queue) = self.queues.get(slot) else { return };
        let (mut next, is_new) = (queue.next(), !queue.alive);
        if next >= end {
            return;
        }
        let name = self.name_of(queue);
        if is_new {
            // What was before is not known either: it begins there.
            next = end - 1;
            self.queues.restore(slot, next, next);
        } else if end - next > FILL_MAX {
            let line = format!("a damaged record tells the place {} in {name}; it is not believed", end - 1);
            return self.report.lines.push(Line::warn(line));
        }
        self.keeps_places = true;
        (next..end).for_each(|_| self.queues.push(slot, QueueEntry::BLANK));
        self.queues.show(slot, QueueOffset(end));
        let line =
            format!("{name} goes on at {end}: damage took its last messages, and their places stay taken");
        self.report.lines.push(Line::error(line));
    }

    pub(super) fn name_of(&self, queue: &Queue) -> String {
        let topic = self.queues.topic_name(queue).map_or("", |name| name);
        format!("queue {} of {topic}", queue.id)
    }
}
