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
use kerolox_store::{Dispatch, Message, QueueSlot};
use std::collections::BTreeMap;
use tracing::{error, warn};

/// Messages delivered in one group, so that a long backlog does not hold up everybody else.
const GROUP_MAX: usize = 128;
/// After a refusal of the store, when a level tries again.
const AGAIN_MS: Millis = Millis(100);

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

impl Group {
    /// A level's head goes, perhaps to its topic.
    fn pass(&mut self, queue: u32, at: QueueOffset, moved: Option<Moved>) {
        self.before.entry(queue).or_insert(at);
        self.bytes += moved.as_ref().map_or(0, |moved| moved.bytes.len());
        self.steps.push(Step { level: queue + 1, next: at.0 + 1, has_copy: moved.is_some() });
        self.moved.extend(moved);
    }
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
        // As the log tells it: due times are reckoned from that.
        while let Some(queue) = self.delay.ready(self.store.time(now.wall), now.mono) {
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
        if next >= bounds.max {
            self.delay.found(queue, next, None, self.store.time(now.wall));
            return true;
        }
        let bytes = match self.store.message(slot, next) {
            Ok(Message::Record(bytes)) => Some(bytes),
            Ok(Message::Deleted | Message::Lost) => None,
            // Its entry is made again.
            Ok(Message::Sought) => {
                self.delay.failed(queue, now.mono + AGAIN_MS);
                return true;
            }
            Err(_) if self.store.has_met_cold() => return false,
            Err(why) => {
                self.complain(now, &format!("delayed messages of level {} cannot be read: {why}", queue + 1));
                self.delay.failed(queue, now.mono + AGAIN_MS);
                return true;
            }
        };
        let Some(bytes) = bytes else {
            self.report_lost(now, queue, next);
            group.pass(queue, next, None);
            self.delay.delivered(queue);
            return true;
        };
        let stored = match record::parse(&bytes) {
            Ok(Entry::Message(record)) => record.store_ms,
            _ => self.store.time(now.wall),
        };
        if !self.delay.found(queue, next, Some(stored), self.store.time(now.wall)) {
            return true;
        }
        if !group.moved.is_empty() && group.bytes + bytes.len() > bytes_max {
            return false;
        }
        // What can never be delivered was passed over with a warning.
        let moved = self.waiting(bytes);
        group.pass(queue, next, moved);
        self.delay.delivered(queue);
        true
    }

    /// A delayed message is lost: its level goes on without it.
    fn report_lost(&mut self, now: Now, queue: u32, offset: QueueOffset) {
        let text = format!("delayed messages of level {} are damaged on the disk and lost", queue + 1);
        if self.desk.complaints.may(now.mono, &text) {
            error!(first = offset.0, "{text}: the level goes on behind them");
        }
    }

    /// What lasts is tried ten times a second, but not told as often.
    fn complain(&mut self, now: Now, text: &str) {
        if self.desk.complaints.may(now.mono, text) {
            warn!("{text}");
        }
    }

    /// A message and where it goes. `None`: it can never be delivered.
    fn waiting(&mut self, bytes: Vec<u8>) -> Option<Moved> {
        let Ok(Entry::Message(record)) = record::parse(&bytes) else { return None };
        let at = record.physical_offset;
        let known = Known::read(record.properties);
        // The original puts delayed halves aside so; they are never delivered.
        let topic = known.real_topic.filter(|topic| *topic != HALF_TOPIC);
        let (Some(Ok(topic)), Some(queue)) = (topic.map(TopicName::new), known.real_queue) else {
            warn!(at, "a delayed message names no topic to go to; it is passed over");
            return None;
        };
        let queue = QueueId(queue);
        let slot = self.slot(&topic, queue);
        Some(Moved { bytes, topic, queue, slot })
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
        let draft =
            Draft { topic: &self.topic, queue_id: self.queue, prepared_offset: 0, ..Draft::from(&record) };
        let dispatch = Dispatch::of(&self.topic, record.sys_flag, record.properties);
        Some((draft, self.slot, dispatch))
    }
}
