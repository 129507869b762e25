//! Queue locks for orderly consumption: who may read which queue.
//!
//! A table that survives: holders trust a lock for half a minute, whether the broker is there or not, so a start
//! must know who they are. Who got a lock is noted in the log before the answer; renewals are not.
//!
//! Knows groups, clients and queues by name; knows no connection: a lock outlives the connection of its
//! holder, who may come back over another one, and ends by time. [`serve`] answers the requests.
//!
//! **Invariant:** at no time do two clients hold one queue of one group.

pub mod serve;
#[cfg(test)]
mod tests;

use kerolox_protocol::{GroupName, Millis};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

/// A lock not renewed for longer is free. Reference: `REBALANCE_LOCK_MAX_LIVE_TIME`.
pub const LOCK_MS: Millis = Millis(60_000);
/// So long its holder trusts a lock that it cannot renew; and so long a lock found at the start counts.
pub const TRUSTED_MS: Millis = Millis(30_000);
/// Locks in all; a cluster of ten thousand queues with a hundred orderly groups has a million.
pub const LOCKS_MAX: usize = 1_000_000;

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

impl Lock {
    fn is_over(&self, now: Millis) -> bool {
        now - self.since > LOCK_MS
    }
}

/// There is no room for more locks; answered "busy".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Full;

impl fmt::Display for Full {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "this broker holds {LOCKS_MAX} queue locks already; a lock that is not renewed ends after a minute"
        )
    }
}

/// All locks.
#[derive(Debug, Clone, Default)]
pub struct Locks {
    groups: BTreeMap<GroupName, BTreeMap<Queue, Lock>>,
    held: usize,
    next_sweep: Millis,
    changed: BTreeSet<(GroupName, Queue)>,
}

/// Who holds a queue from now on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LockChange {
    /// Group.
    pub group: GroupName,
    /// Queue.
    pub queue: Queue,
    /// Client; nobody, if the lock was given back or has ended.
    pub client: Option<String>,
}

impl Locks {
    /// Locks what is free, the client's own or expired; returns what the client now holds. `now` is monotonic.
    pub fn lock(&mut self, now: Millis, group: &GroupName, client: &str, queues: Vec<Queue>) -> Vec<Queue> {
        self.sweep(now);
        let held = self.groups.entry(group.clone()).or_default();
        let mut granted = Vec::new();
        for queue in queues {
            let new = Lock { client: client.to_owned(), since: now };
            match held.get_mut(&queue) {
                Some(lock) if lock.client != client && !lock.is_over(now) && !mutant!(LockShared) => continue,
                Some(lock) if lock.client == client => *lock = new,
                Some(lock) => {
                    *lock = new;
                    self.changed.insert((group.clone(), queue.clone()));
                }
                None => {
                    held.insert(queue.clone(), new);
                    self.held += 1;
                    self.changed.insert((group.clone(), queue.clone()));
                }
            }
            granted.push(queue);
        }
        if held.is_empty() {
            self.groups.remove(group);
        }
        granted
    }

    /// Whether so many more locks may be asked for.
    pub fn room(&mut self, now: Millis, queues: usize) -> Result<(), Full> {
        self.sweep(now);
        if self.held + queues > LOCKS_MAX { Err(Full) } else { Ok(()) }
    }

    /// Frees what the client holds.
    pub fn unlock(&mut self, group: &GroupName, client: &str, queues: &[Queue]) {
        let Some(held) = self.groups.get_mut(group) else { return };
        for queue in queues {
            if held.get(queue).is_some_and(|lock| lock.client == client) {
                held.remove(queue);
                self.held -= 1;
                self.changed.insert((group.clone(), queue.clone()));
            }
        }
        if held.is_empty() {
            self.groups.remove(group);
        }
    }

    /// Sets who holds a queue, as found in the log by a start at `now`.
    pub fn restore(&mut self, now: Millis, change: LockChange) {
        let LockChange { group, queue, client } = change;
        let held = self.groups.entry(group.clone()).or_default();
        let before = match client {
            Some(client) => {
                let since = now + TRUSTED_MS - LOCK_MS;
                self.held += 1;
                held.insert(queue, Lock { client, since })
            }
            None => held.remove(&queue),
        };
        self.held -= usize::from(before.is_some());
        if held.is_empty() {
            self.groups.remove(&group);
        }
    }

    /// Whether [`Locks::take_changes`] has any.
    pub fn has_changes(&self) -> bool {
        !self.changed.is_empty()
    }

    /// What changed since the last call.
    pub fn take_changes(&mut self) -> Vec<LockChange> {
        let changed = std::mem::take(&mut self.changed);
        let change = |(group, queue): (GroupName, Queue)| {
            let lock = self.groups.get(&group).and_then(|held| held.get(&queue));
            LockChange { client: lock.map(|lock| lock.client.clone()), group, queue }
        };
        changed.into_iter().map(change).collect()
    }

    /// Every lock.
    pub fn all(&self) -> impl Iterator<Item = LockChange> {
        self.groups.iter().flat_map(|(group, held)| {
            held.iter().map(|(queue, lock)| LockChange {
                group: group.clone(),
                queue: queue.clone(),
                client: Some(lock.client.clone()),
            })
        })
    }

    /// Who holds a queue now.
    pub fn holder(&self, now: Millis, group: &str, queue: &Queue) -> Option<&str> {
        let lock = self.groups.get(group)?.get(queue)?;
        (!lock.is_over(now)).then_some(lock.client.as_str())
    }

    /// Forgets what nobody renewed; at most once per lifetime of a lock, so that it costs nothing per call.
    fn sweep(&mut self, now: Millis) {
        if now < self.next_sweep {
            return;
        }
        self.next_sweep = now + LOCK_MS;
        self.held = 0;
        let changed = &mut self.changed;
        self.groups.retain(|group, held| {
            held.retain(|queue, lock| {
                let over = lock.is_over(now);
                if over {
                    changed.insert((group.clone(), queue.clone()));
                }
                !over
            });
            self.held += held.len();
            !held.is_empty()
        });
    }
}
