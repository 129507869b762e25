//! Where every group stands in every queue.
//!
//! A table that survives; its changes go to the log about once a second, since a commit is a hint that costs
//! at most a repeated delivery. Groups and topics need not exist: the original accepts any commit of clients.
//! Knows no queue content: whether an offset makes sense is the consumer's business. [`serve`] answers the
//! requests.

pub mod serve;
#[cfg(test)]
mod tests;

use kerolox_protocol::{GroupName, TopicName};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

/// Places in all: groups times queues. Each costs about a hundred bytes with its key shared.
pub const PLACES_MAX: usize = 4_000_000;
/// Highest queue number a commit may name; topics have fewer queues.
pub const QUEUE_MAX: u32 = 65_535;

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

/// What a commit did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Committed {
    /// It is the first, or moved on, or repeated what stood there.
    Forward,
    /// It went back from there: a reset, or a consumer that lost its queue and did not know yet.
    Back(i64),
    /// It was not taken.
    Refused(Unfit),
}

/// Why a commit is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unfit {
    /// The offset is negative.
    Negative,
    /// The queue number is beyond [`QUEUE_MAX`].
    Queue,
    /// The table has [`PLACES_MAX`] places.
    Full,
}

impl fmt::Display for Unfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Unfit::Negative => f.write_str("a negative offset"),
            Unfit::Queue => write!(f, "a queue beyond {QUEUE_MAX}"),
            Unfit::Full => write!(f, "{PLACES_MAX} places are kept already; delete groups that are no more"),
        }
    }
}

type Key = (TopicName, GroupName);

/// The table.
#[derive(Debug, Clone, Default)]
pub struct Offsets {
    all: BTreeMap<Key, BTreeMap<u32, i64>>,
    changed: BTreeSet<(Key, u32)>,
    places: usize,
}

impl Offsets {
    /// Notes where `group` stands. Going back is allowed.
    pub fn commit(&mut self, group: &GroupName, topic: &TopicName, queue: u32, offset: i64) -> Committed {
        if offset < 0 {
            return Committed::Refused(Unfit::Negative);
        }
        if queue > QUEUE_MAX {
            return Committed::Refused(Unfit::Queue);
        }
        let key = (topic.clone(), group.clone());
        let old = self.all.get(&key).and_then(|queues| queues.get(&queue)).copied();
        if old == Some(offset) {
            return Committed::Forward;
        }
        if old.is_none() {
            if self.places >= PLACES_MAX {
                return Committed::Refused(Unfit::Full);
            }
            self.places += 1;
        }
        self.all.entry(key.clone()).or_default().insert(queue, offset);
        self.changed.insert((key, queue));
        old.filter(|old| offset < *old).map_or(Committed::Forward, Committed::Back)
    }

    /// Where `group` stands.
    pub fn query(&self, group: &GroupName, topic: &TopicName, queue: u32) -> Option<i64> {
        self.all.get(&(topic.clone(), group.clone()))?.get(&queue).copied()
    }

    /// Where `group` stands in all queues of a topic.
    pub fn of(&self, group: &GroupName, topic: &TopicName) -> Option<&BTreeMap<u32, i64>> {
        self.all.get(&(topic.clone(), group.clone()))
    }

    /// Topics a group has offsets for, by name.
    pub fn topics_of<'a>(&'a self, group: &'a GroupName) -> impl Iterator<Item = &'a TopicName> {
        self.all.keys().filter(move |(_, known)| known == group).map(|(topic, _)| topic)
    }

    /// Groups that have offsets for a topic, by name.
    pub fn groups_of<'a>(&'a self, topic: &'a TopicName) -> impl Iterator<Item = &'a GroupName> {
        self.all.keys().filter(move |(known, _)| known == topic).map(|(_, group)| group)
    }

    /// Forgets everything of a group; of a topic; or both. Returns the number of places.
    pub fn forget(&mut self, matches: impl Fn(&TopicName, &GroupName) -> bool) -> usize {
        let before = self.places;
        let keys: Vec<Key> =
            self.all.keys().filter(|(topic, group)| matches(topic, group)).cloned().collect();
        for key in keys {
            let queues = self.all.remove(&key).unwrap_or_default();
            self.places -= queues.len();
            self.changed.extend(queues.into_keys().map(|queue| (key.clone(), queue)));
        }
        before - self.places
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
            Some(offset) => {
                if self.all.entry(key).or_default().insert(change.queue, offset).is_none() {
                    self.places += 1;
                }
            }
            None => {
                if let Some(queues) = self.all.get_mut(&key) {
                    self.places -= usize::from(queues.remove(&change.queue).is_some());
                    if queues.is_empty() {
                        self.all.remove(&key);
                    }
                }
            }
        }
    }
}
