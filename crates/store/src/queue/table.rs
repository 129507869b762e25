//! Queues of one topic, by number.
//!
//! Nearly always the numbers are 0 to n. A table finds such a queue in one step; a tree of 50,000 takes five, each into
//! memory that nobody has touched for seconds. A number far off takes no room in the table: it stands in a tree.

use crate::types::QueueSlot;
use kerolox_protocol::QueueId;
use std::collections::BTreeMap;

/// Stands for a number that no queue has.
const NONE: QueueSlot = QueueSlot(u32::MAX);

/// Handles of queues.
#[derive(Debug, Default)]
pub(super) struct Table {
    /// By number, from 0 on.
    near: Vec<QueueSlot>,
    /// Those with larger numbers.
    far: BTreeMap<QueueId, QueueSlot>,
    len: usize,
}

impl Table {
    pub(super) fn get(&self, id: QueueId) -> Option<QueueSlot> {
        match self.near.get(id.0 as usize) {
            Some(slot) => Some(*slot).filter(|slot| *slot != NONE),
            None => self.far.get(&id).copied(),
        }
    }

    /// Adds a queue that was not there.
    pub(super) fn insert(&mut self, id: QueueId, slot: QueueSlot) {
        self.len += 1;
        match self.near.get_mut(id.0 as usize) {
            Some(place) => *place = slot,
            None => drop(self.far.insert(id, slot)),
        }
        // Places that no queue has are few, whatever the numbers are.
        let reach = 4 * self.len + 16;
        while let Some(first) = self.far.first_entry().filter(|first| (first.key().0 as usize) < reach) {
            let (id, slot) = first.remove_entry();
            self.near.resize(id.0 as usize, NONE);
            self.near.push(slot);
        }
    }

    /// All queues, by number.
    pub(super) fn values(&self) -> impl Iterator<Item = QueueSlot> {
        let near = self.near.iter().copied().filter(|slot| *slot != NONE);
        near.chain(self.far.values().copied())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_table_finds_what_a_map_finds_in_the_same_order(
            ids in proptest::collection::vec(prop_oneof![0u32..200, 0u32..20_000, any::<u32>()], 0..200)
        ) {
            let (mut table, mut map) = (Table::default(), BTreeMap::new());
            for (n, id) in (0..).zip(ids) {
                if map.insert(QueueId(id), QueueSlot(n)).is_none() {
                    prop_assert_eq!(table.get(QueueId(id)), None);
                    table.insert(QueueId(id), QueueSlot(n));
                } else {
                    map.insert(QueueId(id), table.get(QueueId(id)).expect("it is there"));
                }
                prop_assert!(table.near.len() <= 4 * map.len() + 16);
            }
            for (id, slot) in &map {
                prop_assert_eq!(table.get(*id), Some(*slot));
            }
            prop_assert!(table.values().eq(map.values().copied()));
        }
    }

    #[test]
    fn numbers_from_0_on_stand_in_the_table_whatever_their_order() {
        let down = (0..5_000).rev();
        let mixed = (0..5_000).map(|n| n * 1_237 % 5_000);
        for ids in [(0..5_000).collect::<Vec<u32>>(), down.collect(), mixed.collect()] {
            let mut table = Table::default();
            ids.iter().for_each(|id| table.insert(QueueId(*id), QueueSlot(*id)));
            assert_eq!((table.near.len(), table.far.len()), (5_000, 0));
        }
        let mut table = Table::default();
        table.insert(QueueId(u32::MAX), QueueSlot(7));
        assert_eq!((table.near.capacity(), table.get(QueueId(u32::MAX))), (0, Some(QueueSlot(7))));
    }
}
