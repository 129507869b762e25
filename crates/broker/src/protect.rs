//! Which messages must not be deleted because somebody has not consumed them, and word of those that were.
//!
//! Knows groups and topics; where messages stand and when files go is the store's business. A message of a
//! protected topic is wanted until every group that has offsets in the topic is beyond it; as long as no group
//! has any, all of them are.

use crate::Broker;
use kerolox_protocol::{QueueOffset, TopicName};
use kerolox_store::{Trimmed, Unread};
use tracing::{error, warn};

/// Lines about messages that nobody will consume any more, at once.
const LINES_MAX: usize = 20;

impl Broker {
    /// What the store has to keep.
    pub(crate) fn unread(&self) -> Vec<Unread> {
        let names = self.options.store.protected_topics.0.iter();
        let mut unread = Vec::new();
        for topic in names.filter_map(|name| TopicName::new(name).ok()) {
            let groups: Vec<_> = self.offsets.groups_of(&topic).collect();
            for queue in self.store.queues(&topic) {
                // A group that has no offset in a queue has consumed nothing there yet.
                let stands =
                    groups.iter().map(|group| self.offsets.query(group, &topic, queue.id.0).unwrap_or(0));
                let from = QueueOffset(stands.min().and_then(|at| u64::try_from(at).ok()).unwrap_or(0));
                unread.push(Unread { slot: queue.slot, from });
            }
        }
        // Delayed messages may be on their way to such a topic.
        if !unread.is_empty() {
            let delayed = self.delay.progress().filter_map(|(level, from)| {
                Some(Unread { slot: *self.schedule_slots.get(level.checked_sub(1)? as usize)?, from })
            });
            unread.extend(delayed);
        }
        unread
    }

    /// Says which groups had not consumed what went.
    pub(crate) fn report_trimmed(&mut self) {
        let mut lines = 0u64;
        for Trimmed { topic, queue, from, to, forced } in self.store.take_trimmed() {
            let Ok(name) = TopicName::new(&topic) else { continue };
            for group in self.offsets.groups_of(&name) {
                let stands = self.offsets.query(group, &name, queue.0).and_then(|at| u64::try_from(at).ok());
                let Some(stands) = stands.filter(|at| *at < to.0) else { continue };
                let lost = to.0 - stands.max(from.0);
                lines += 1;
                match forced {
                    _ if lines > LINES_MAX as u64 => {}
                    true => error!(
                        %topic, %queue, %group, lost,
                        "messages were deleted before their time and before this group consumed them"
                    ),
                    false => {
                        warn!(%topic, %queue, %group, lost, "messages grew too old before this group consumed them")
                    }
                }
            }
        }
        if lines > LINES_MAX as u64 {
            let more = lines - LINES_MAX as u64;
            warn!(more, "and so it went for further groups and queues");
        }
    }
}
