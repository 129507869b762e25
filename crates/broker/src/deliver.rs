//! Moving delayed messages that are due to where they were meant to go.
//!
//! [`crate::delay`] says which queue has something due; here those messages are collected, and copied to their
//! topics behind a note that says how far each level is delivered once they stand there:
//!
//! ```text
//!   note: level 1 at 8, 210 bytes on; level 1 at 9, 430 bytes on; level 2 at 3, 600 bytes on │ copy │ copy │ copy
//! ```
//! All of it is one piece of one log file, appended as a whole or not at all. Wherever a crash cuts the piece,
//! the copies that are there say which part of the note is true, so no message is delivered twice or never.

use crate::{Broker, call::Out, props::Known, service::Stage, transaction::HALF_TOPIC};
use kerolox_net::Now;
use kerolox_protocol::{
    Millis, QueueId, QueueOffset, TopicName,
    record::{self, Draft, Entry},
};
use kerolox_store::{Dispatch, QueueEntry, QueueSlot, disk::around::is_device_error};
use std::collections::BTreeMap;
use std::io;
use tracing::{error, warn};

/// Messages delivered in one group, so that a long backlog does not hold up everybody else.
const GROUP_MAX: usize = 128;
/// After a refusal of the store, when a level tries again.
const AGAIN_MS: Millis = Millis(100);
/// Missing entries that are passed over at one go.
const PASSED_MAX: u64 = 1_024;
/// When the rest of a gap is passed over.
const REST_MS: Millis = Millis(1);

/// Bytes of copies in one group, unless one message has more.
const GROUP_BYTES_MAX: usize = 1 << 20;

/// A message on its way to its topic.
struct Moved {
    /// Its record, as it waited.
    bytes: Vec<u8>,
    topic: TopicName,
    queue: QueueId,
    slot: QueueSlot,
}

/// What is delivered together.
#[derive(Default)]
struct Group {
    moved: Vec<Moved>,
    bytes: usize,
    /// Where the levels stood before.
    before: BTreeMap<u32, QueueOffset>,
    /// What was delivered or passed over, in order.
    steps: Vec<Step>,
}

struct Step {
    level: u32,
    next: u64,
    has_copy: bool,
}

impl Broker {
    /// Delivers what is due, as far as that needs no wait for the disk.
    pub(crate) fn deliver_if_running(&mut self, now: Now, out: &mut Out) {
        // Without a note of it nothing may be delivered, and none can be made before the next snapshot is.
        if self.stage != Stage::Running || self.again.delivery_waits() || self.has_refused_notes() {
            return;
        }
        self.store.wait_for_nothing(self.again.take_delivered());
        let group = self.collect(now);
        let cold = self.store.wait_again();
        if !group.steps.is_empty() {
            self.deliver(now, group);
        }
        if let Some(cold) = cold {
            self.again.wait_to_deliver(cold, out);
        }
    }

    /// Takes what is due out of the levels' queues.
    fn collect(&mut self, now: Now) -> Group {
        let bytes_max = GROUP_BYTES_MAX.min(self.options.store.mapped_file_size_commit_log.0 as usize / 4);
        let mut group = Group::default();
        while let Some(queue) = self.delay.ready(now.wall, now.mono) {
            let taken = group.steps.len() < GROUP_MAX && self.take_head(now, queue, bytes_max, &mut group);
            if !taken || self.store.has_met_cold() {
                break;
            }
        }
        group
    }

    /// Looks at the head of a level's queue and takes it if it is due. `false`: it is for the next group.
    fn take_head(&mut self, now: Now, queue: u32, bytes_max: usize, group: &mut Group) -> bool {
        let slot = self.schedule_slot(QueueId(queue));
        let bounds = self.store.bounds(slot);
        // Offsets from files may be outside the queue, and retention may have overtaken a level.
        let next = self.delay.next(queue).clamp(bounds.min, bounds.max);
        let (at, entry) = match self.head(slot, next, bounds.max) {
            Ok(found) => found,
            Err(_) if self.store.has_met_cold() => return false,
            Err(why) => {
                self.complain(now, &format!("delayed messages of level {} cannot be read: {why}", queue + 1));
                self.delay.failed(queue, now.mono + AGAIN_MS);
                return true;
            }
        };
        let is_whole = entry.is_some() || at >= bounds.max;
        if let Some(first) = self.delay.missing(queue, next, at, is_whole) {
            error!(
                level = queue + 1,
                first = first.0,
                next = at.0,
                "entries of delayed messages are missing: their messages are passed over, the level goes on behind them"
            );
        }
        if !is_whole {
            self.delay.restore(queue + 1, at);
            self.delay.failed(queue, now.mono + REST_MS);
            return true;
        }
        let next = at;
        let due = entry.map(|entry| Millis(entry.tags_code));
        if !self.delay.found(queue, next, due, now.wall) {
            return true;
        }
        let Some(entry) = entry else { return true };
        match self.waiting(&entry) {
            Ok(moved) => {
                let bytes = moved.as_ref().map_or(0, |moved| moved.bytes.len());
                if !group.moved.is_empty() && group.bytes + bytes > bytes_max {
                    return false;
                }
                group.before.entry(queue).or_insert(next);
                group.bytes += bytes;
                group.steps.push(Step { level: queue + 1, next: next.0 + 1, has_copy: moved.is_some() });
                // What can never be delivered was passed over with a warning.
                group.moved.extend(moved);
                self.delay.delivered(queue);
            }
            Err(_) if self.store.has_met_cold() => {}
            Err(why) => {
                let level = queue + 1;
                self.complain(
                    now,
                    &format!("a delayed message of level {level} cannot be delivered yet: {why}"),
                );
                self.delay.failed(queue, now.mono + AGAIN_MS);
            }
        }
        true
    }

    /// The first entry from `next` on and its place; without one, the place up to which there is none.
    fn head(
        &self,
        slot: QueueSlot,
        next: QueueOffset,
        max: QueueOffset,
    ) -> io::Result<(QueueOffset, Option<QueueEntry>)> {
        let until = max.min(next + PASSED_MAX);
        let mut at = next;
        while at < until {
            if let Some(entry) = self.store.entry(slot, at)? {
                return Ok((at, Some(entry)));
            }
            at += 1;
        }
        Ok((at, None))
    }

    /// What lasts is tried ten times a second, but not told as often.
    fn complain(&mut self, now: Now, text: &str) {
        if self.desk.complaints.may(now.mono, text) {
            warn!("{text}");
        }
    }

    /// The message of an entry, and where it goes. An error means: try again. `None`: it can never be
    /// delivered.
    fn waiting(&mut self, entry: &QueueEntry) -> Result<Option<Moved>, String> {
        let mut read = self.store.record(entry.at);
        if read.as_ref().is_err_and(is_device_error) {
            read = self.store.record(entry.at);
        }
        let bytes = match read {
            Ok(Some(bytes)) => bytes,
            Ok(None) => {
                warn!(at = entry.at.0, "a delayed message is gone or damaged; it is passed over");
                return Ok(None);
            }
            // A bad sector must not hold up its level for ever.
            Err(why) if is_device_error(&why) => {
                error!(at = entry.at.0, %why, "the disk cannot read a delayed message: it is lost and passed over");
                return Ok(None);
            }
            Err(why) => return Err(why.to_string()),
        };
        let Ok(Entry::Message(record)) = record::parse(&bytes) else {
            warn!(at = entry.at.0, "a delayed message cannot be read; it is passed over");
            return Ok(None);
        };
        let known = Known::read(record.properties);
        // The original puts delayed halves aside so; they are never delivered.
        let topic = known.real_topic.filter(|topic| *topic != HALF_TOPIC);
        let (Some(Ok(topic)), Some(queue)) = (topic.map(TopicName::new), known.real_queue) else {
            warn!(at = entry.at.0, "a delayed message names no topic to go to; it is passed over");
            return Ok(None);
        };
        let queue = QueueId(queue);
        let slot = self.slot(&topic, queue);
        Ok(Some(Moved { bytes, topic, queue, slot }))
    }

    /// Appends the note and the copies. If the store refuses, everything is as before.
    fn deliver(&mut self, now: Now, group: Group) {
        let copies: Vec<_> = group.moved.iter().filter_map(Moved::copy).collect();
        let mut sizes = copies.iter().map(|(draft, ..)| draft.encoded_len() as u64);
        let mut upto = 0;
        let place = |step: &Step| {
            upto += if step.has_copy { sizes.next().unwrap_or(0) } else { 0 };
            (step.level, step.next, upto)
        };
        let steps: Vec<_> = group.steps.iter().map(place).collect();
        let result = self.append_delivered(now, &copies, &steps);
        match result {
            Ok(appended) => {
                for (moved, appended) in group.moved.iter().zip(appended) {
                    self.stats.on_put(&moved.topic, 1, u64::from(appended.size));
                }
            }
            Err(why) => {
                self.complain(now, &format!("delayed messages cannot be delivered yet: {why}"));
                for (queue, next) in group.before {
                    self.delay.restore(queue + 1, next);
                    self.delay.failed(queue, now.mono + AGAIN_MS);
                }
            }
        }
    }
}

impl Moved {
    /// What is appended.
    fn copy(&self) -> Option<(Draft<'_>, QueueSlot, Dispatch<'_>)> {
        let Ok(Entry::Message(record)) = record::parse(&self.bytes) else { return None };
        let draft = Draft {
            topic: &self.topic,
            queue_id: self.queue,
            flag: record.flag,
            sys_flag: record.sys_flag,
            born_ms: record.born_ms,
            born_host: record.born_host,
            store_host: record.store_host,
            reconsume_times: record.reconsume_times,
            prepared_offset: 0,
            body: record.body,
            properties: record.properties,
        };
        let dispatch = Dispatch::of(&self.topic, record.sys_flag, record.properties);
        Some((draft, self.slot, dispatch))
    }
}
