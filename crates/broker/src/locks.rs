//! Queue locks for orderly consumption: who may read which queue. In memory only, as in the original.

use kerolox_protocol::{GroupName, Millis};
use std::collections::BTreeMap;

/// A lock not renewed for so long is free. Reference: `REBALANCE_LOCK_MAX_LIVE_TIME`.
pub const LOCK_MS: Millis = Millis(60_000);

/// A queue as clients name it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Queue {
    /// Topic.
    pub topic: String,
    /// Broker name, as the client wrote it.
    pub broker: String,
    /// Queue.
    pub queue: i32,
}

#[derive(Debug, Clone)]
struct Lock {
    client: String,
    since: Millis,
}

/// All locks.
#[derive(Debug, Clone, Default)]
pub struct Locks {
    groups: BTreeMap<GroupName, BTreeMap<Queue, Lock>>,
}

impl Locks {
    /// Locks what is free, the client's own or expired; returns what the client now holds. `now` is monotonic.
    pub fn lock(&mut self, now: Millis, group: &GroupName, client: &str, queues: Vec<Queue>) -> Vec<Queue> {
        let held = self.groups.entry(group.clone()).or_default();
        let mut granted = Vec::new();
        for queue in queues {
            let free = match held.get(&queue) {
                None => true,
                Some(lock) => lock.client == client || now - lock.since > LOCK_MS,
            };
            if free {
                held.insert(queue.clone(), Lock { client: client.to_owned(), since: now });
                granted.push(queue);
            }
        }
        granted
    }

    /// Frees what the client holds.
    pub fn unlock(&mut self, group: &GroupName, client: &str, queues: &[Queue]) {
        let Some(held) = self.groups.get_mut(group) else { return };
        for queue in queues {
            if held.get(queue).is_some_and(|lock| lock.client == client) {
                held.remove(queue);
            }
        }
        if held.is_empty() {
            self.groups.remove(group);
        }
    }
}
