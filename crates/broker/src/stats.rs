//! Counting what passes through.

use std::collections::BTreeMap;

/// Messages and bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Count {
    /// Messages.
    pub messages: u64,
    /// Bytes of their records.
    pub bytes: u64,
}

impl Count {
    fn add(&mut self, messages: u64, bytes: u64) {
        self.messages += messages;
        self.bytes += bytes;
    }
}

/// The counters.
#[derive(Debug, Clone, Default)]
pub struct Stats {
    /// Stored by topic.
    pub put: BTreeMap<Box<str>, Count>,
    /// Given out by topic, then group.
    pub got: BTreeMap<Box<str>, BTreeMap<Box<str>, Count>>,
}

impl Stats {
    /// Messages were stored in a topic.
    pub fn on_put(&mut self, topic: &str, messages: u64, bytes: u64) {
        match self.put.get_mut(topic) {
            Some(count) => count.add(messages, bytes),
            None => drop(self.put.insert(topic.into(), Count { messages, bytes })),
        }
    }

    /// Messages of a topic were given to a group.
    pub fn on_got(&mut self, topic: &str, group: &str, messages: u64, bytes: u64) {
        if !self.got.contains_key(topic) {
            self.got.insert(topic.into(), BTreeMap::new());
        }
        let Some(groups) = self.got.get_mut(topic) else { return };
        match groups.get_mut(group) {
            Some(count) => count.add(messages, bytes),
            None => drop(groups.insert(group.into(), Count { messages, bytes })),
        }
    }
}
