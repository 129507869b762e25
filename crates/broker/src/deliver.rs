//! Moving delayed messages that are due to where they were meant to go.
//!
//! [`crate::delay`] says which queue has something due; here it is read, copied to its real topic, and the
//! progress noted, all in one group of the log: a crash leaves both or, at worst, repeats that group.

use crate::{Broker, call::Out, props::Known, service::Stage, transaction::HALF_TOPIC};
use kerolox_net::Now;
use kerolox_protocol::{
    Millis, QueueId, QueueOffset, TopicName,
    record::{self, Draft, Entry},
};
use kerolox_store::{Dispatch, QueueEntry, QueueSlot};
use tracing::warn;

/// Messages delivered in one group, so that a long backlog does not hold up everybody else.
const GROUP_MAX: usize = 128;
/// After a refusal of the store, when a level tries again.
const AGAIN_MS: Millis = Millis(100);

impl Broker {
    /// Delivers what is due, as far as that needs no wait for the disk.
    pub(crate) fn deliver_if_running(&mut self, now: Now, out: &mut Out) {
        if self.stage != Stage::Running || self.again.delivery_waits() {
            return;
        }
        self.store.wait_for_nothing(self.again.take_delivered());
        self.deliver(now);
        let cold = self.store.wait_again();
        if self.delay.take_changed() {
            self.note_delay(now);
        }
        if let Some(cold) = cold {
            self.again.wait_to_deliver(cold, out);
        }
    }

    fn deliver(&mut self, now: Now) {
        let mut delivered = 0;
        while let Some(queue) = self.delay.ready(now.wall, now.mono) {
            if delivered == GROUP_MAX {
                break;
            }
            delivered += usize::from(self.deliver_head(now, queue));
            if self.store.has_met_cold() {
                break;
            }
        }
    }

    /// Looks at the head of a level's queue and delivers it if it is due. Says whether it did.
    fn deliver_head(&mut self, now: Now, queue: u32) -> bool {
        let slot = self.schedule_slot(QueueId(queue));
        let bounds = self.store.bounds(slot);
        // Offsets from files may be outside the queue, and retention may have overtaken a level.
        let next = self.delay.next(queue).clamp(bounds.min, bounds.max);
        let entry = match self.head(slot, next, bounds.max) {
            Ok(entry) => entry,
            Err(_) if self.store.has_met_cold() => return false,
            Err(why) => {
                warn!(level = queue + 1, %why, "delayed messages cannot be read");
                self.delay.failed(queue, now.mono + AGAIN_MS);
                return false;
            }
        };
        let due = entry.map(|entry| Millis(entry.tags_code));
        if !self.delay.found(queue, next, due, now.wall) {
            return false;
        }
        let Some(entry) = entry else { return false };
        match self.move_to_its_topic(now, &entry) {
            Ok(()) => {
                self.delay.delivered(queue);
                true
            }
            Err(_) if self.store.has_met_cold() => false,
            Err(why) => {
                warn!(level = queue + 1, at = entry.at.0, why, "delayed message cannot be delivered yet");
                self.delay.failed(queue, now.mono + AGAIN_MS);
                false
            }
        }
    }

    fn head(
        &self,
        slot: QueueSlot,
        next: QueueOffset,
        max: QueueOffset,
    ) -> Result<Option<QueueEntry>, String> {
        if next >= max {
            return Ok(None);
        }
        match self.store.entry(slot, next) {
            Ok(Some(entry)) => Ok(Some(entry)),
            Ok(None) => Err(format!("there is no entry at {next}")),
            Err(why) => Err(why.to_string()),
        }
    }

    /// An error means: try again. What can never be delivered is dropped with a warning.
    fn move_to_its_topic(&mut self, now: Now, entry: &QueueEntry) -> Result<(), String> {
        let bytes = match self.store.record(entry.at) {
            Ok(Some(bytes)) => bytes,
            Ok(None) => {
                warn!(at = entry.at.0, "a delayed message is gone or damaged; it is passed over");
                return Ok(());
            }
            Err(why) => return Err(why.to_string()),
        };
        let Ok(Entry::Message(record)) = record::parse(&bytes) else {
            warn!(at = entry.at.0, "a delayed message cannot be read; it is passed over");
            return Ok(());
        };
        let known = Known::read(record.properties);
        // The original puts delayed halves aside so; they are never delivered.
        let topic = known.real_topic.filter(|topic| *topic != HALF_TOPIC);
        let (Some(Ok(topic)), Some(queue)) = (topic.map(TopicName::new), known.real_queue) else {
            warn!(at = entry.at.0, "a delayed message names no topic to go to; it is passed over");
            return Ok(());
        };
        let queue = QueueId(queue);
        let draft = Draft {
            topic: &topic,
            queue_id: queue,
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
        let slot = self.slot(&topic, queue);
        let dispatch = Dispatch::of(&topic, record.sys_flag, record.properties);
        let appended = self.store.append(now.wall, &draft, slot, &dispatch).map_err(|why| why.to_string())?;
        self.stats.on_put(&topic, 1, u64::from(appended.size));
        Ok(())
    }
}
