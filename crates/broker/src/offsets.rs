//! Where every group stands in every queue.
//!
//! A table that survives; its changes go to the log about once a second, since a commit is a hint that costs
//! at most a repeated delivery. Groups and topics need not exist: the original accepts any commit of clients.

use kerolox_protocol::{GroupName, TopicName};
use std::collections::{BTreeMap, BTreeSet};

/// One changed place: offset, or `None` for a forgotten one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OffsetChange {
    /// Topic.
    pub topic: TopicName,
    /// Group.
    pub group: GroupName,
    /// Queue; `None` with no offset means all queues.
    pub queue: u32,
    /// Next offset to consume.
    pub offset: Option<i64>,
}

type Key = (TopicName, GroupName);

/// The table.
#[derive(Debug, Clone, Default)]
pub struct Offsets {
    all: BTreeMap<Key, BTreeMap<u32, i64>>,
    changed: BTreeSet<(Key, u32)>,
}

impl Offsets {
    /// Notes where `group` stands. Going back is allowed.
    pub fn commit(&mut self, group: &GroupName, topic: &TopicName, queue: u32, offset: i64) {
        let key = (topic.clone(), group.clone());
        let queues = self.all.entry(key.clone()).or_default();
        if queues.insert(queue, offset) != Some(offset) {
            self.changed.insert((key, queue));
        }
    }

    /// Where `group` stands.
    pub fn query(&self, group: &GroupName, topic: &TopicName, queue: u32) -> Option<i64> {
        self.all.get(&(topic.clone(), group.clone()))?.get(&queue).copied()
    }

    /// Forgets everything of a group; of a topic; or both.
    pub fn forget(&mut self, matches: impl Fn(&TopicName, &GroupName) -> bool) {
        let keys: Vec<Key> =
            self.all.keys().filter(|(topic, group)| matches(topic, group)).cloned().collect();
        for key in keys {
            let queues = self.all.remove(&key).unwrap_or_default();
            self.changed.extend(queues.into_keys().map(|queue| (key.clone(), queue)));
        }
    }

    /// All places, by topic, group and queue.
    pub fn all(&self) -> impl Iterator<Item = (&TopicName, &GroupName, &BTreeMap<u32, i64>)> {
        self.all.iter().map(|((topic, group), queues)| (topic, group, queues))
    }

    /// What changed since the last call.
    pub fn take_changes(&mut self) -> Vec<OffsetChange> {
        let changed = std::mem::take(&mut self.changed);
        let place = |(key, queue): (Key, u32)| {
            let offset = self.all.get(&key).and_then(|queues| queues.get(&queue)).copied();
            OffsetChange { topic: key.0, group: key.1, queue, offset }
        };
        changed.into_iter().map(place).collect()
    }

    /// Whether [`Offsets::take_changes`] has something.
    pub fn has_changes(&self) -> bool {
        !self.changed.is_empty()
    }

    /// Applies what was found in the log or in a file; not a change.
    pub fn restore(&mut self, change: OffsetChange) {
        let key = (change.topic, change.group);
        match change.offset {
            Some(offset) => drop(self.all.entry(key).or_default().insert(change.queue, offset)),
            None => {
                if let Some(queues) = self.all.get_mut(&key) {
                    queues.remove(&change.queue);
                    if queues.is_empty() {
                        self.all.remove(&key);
                    }
                }
            }
        }
    }
}
