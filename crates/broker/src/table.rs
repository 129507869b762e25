//! A table that survives: entries by name, its version, and what changed since somebody last wrote that down.
//!
//! Knows nothing of what the entries mean. Every change is noted in [`Table::take_changes`], which the dispatcher
//! turns into records of the log before the request that made it is answered.

use kerolox_protocol::{Millis, body::config::DataVersion};
use std::{
    borrow::Borrow,
    collections::{BTreeMap, BTreeSet},
};

/// The table of one kind of thing.
#[derive(Debug, Clone)]
pub struct Table<K, V> {
    entries: BTreeMap<K, V>,
    changed: BTreeSet<K>,
    version: DataVersion,
}

impl<K, V> Default for Table<K, V> {
    fn default() -> Table<K, V> {
        Table { entries: BTreeMap::new(), changed: BTreeSet::new(), version: DataVersion::default() }
    }
}

impl<K: Ord + Clone, V: Clone> Table<K, V> {
    /// An entry.
    #[inline]
    pub fn get(&self, name: &str) -> Option<&V>
    where
        K: Borrow<str>,
    {
        self.entries.get(name)
    }

    /// All entries, by name.
    pub fn all(&self) -> impl Iterator<Item = (&K, &V)> {
        self.entries.iter()
    }

    /// Number of entries.
    pub fn count(&self) -> usize {
        self.entries.len()
    }

    /// Version of the table.
    pub fn version(&self) -> DataVersion {
        self.version
    }

    /// Sets the version, as found in the log or in a file.
    pub fn set_version(&mut self, version: DataVersion) {
        self.version = version;
    }

    /// The table is to be told anew although no entry changed.
    pub fn touch(&mut self, now: Millis) {
        self.version.counter += 1;
        self.version.timestamp = now.0;
    }

    /// Adds or replaces an entry.
    pub(crate) fn set(&mut self, now: Millis, name: K, entry: V) {
        self.changed.insert(name.clone());
        self.entries.insert(name, entry);
        self.touch(now);
    }

    /// Removes an entry; says whether it was there.
    pub fn remove(&mut self, now: Millis, name: &K) -> bool {
        let there = self.entries.remove(name).is_some();
        if there {
            self.changed.insert(name.clone());
            self.touch(now);
        }
        there
    }

    /// What changed since the last call: the entry, or `None` for a removed one.
    pub fn take_changes(&mut self) -> Vec<(K, Option<V>)> {
        let changed = std::mem::take(&mut self.changed);
        changed
            .into_iter()
            .map(|name| {
                let entry = self.entries.get(&name).cloned();
                (name, entry)
            })
            .collect()
    }

    /// Whether [`Table::take_changes`] has something.
    pub fn has_changes(&self) -> bool {
        !self.changed.is_empty()
    }

    /// Applies what was found in the log or in a file, or what every broker has; not a change.
    pub fn restore(&mut self, name: K, entry: Option<V>) {
        match entry {
            Some(entry) => drop(self.entries.insert(name, entry)),
            None => drop(self.entries.remove(&name)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_are_told_once_and_what_is_restored_is_none() {
        let mut table = Table::<String, u32>::default();
        let name = |text: &str| text.to_owned();
        table.restore(name("found"), Some(1));
        assert!(!table.has_changes() && table.version().counter == 0);
        table.set(Millis(5), name("a"), 2);
        table.set(Millis(6), name("a"), 3);
        assert!(table.remove(Millis(7), &name("found")) && !table.remove(Millis(8), &name("nobody")));
        assert_eq!((table.version().counter, table.version().timestamp), (3, 7));
        assert!(table.has_changes());
        assert_eq!(table.take_changes(), [(name("a"), Some(3)), (name("found"), None)]);
        assert!(!table.has_changes() && table.take_changes().is_empty());
        table.restore(name("a"), None);
        assert_eq!((table.get("a"), table.count(), table.has_changes()), (None, 0, false));
    }
}
