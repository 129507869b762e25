//! Pulls that found nothing and wait: for a message they want, for their deadline, or for the connection to go.
//!
//! Knows queues as opaque keys, offsets, tag expressions and deadlines; knows no socket and never reads the
//! store. A message wakes exactly the pulls that want it, when it becomes visible, not when a timer looks.
//!
//! ```text
//!            park                 on_arrival (tag wanted), expire
//!   pull ──────────► parked ────────────────────────────────────► woken: evaluated again, answered
//!                       └──► on_closed: dropped
//! ```

use kerolox_filter::Tags;
use kerolox_net::ConnId;
use kerolox_protocol::{Millis, QueueOffset};
use std::collections::{BTreeMap, BTreeSet};

/// A pull that waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pull<T> {
    /// Connection that asked.
    pub conn: ConnId,
    /// First message wanted. Moves past messages that came and were not wanted.
    pub from: QueueOffset,
    /// What is wanted.
    pub tags: Tags,
    /// When to stop waiting, monotonic.
    pub deadline: Millis,
    /// What the caller needs to answer.
    pub kept: T,
}

struct Entry<K, T> {
    queue: K,
    pull: Pull<T>,
}

/// All waiting pulls. `K` names a queue.
pub struct Hold<K, T> {
    pulls: BTreeMap<u64, Entry<K, T>>,
    by_queue: BTreeMap<K, Vec<u64>>,
    by_conn: BTreeMap<ConnId, BTreeSet<u64>>,
    by_deadline: BTreeSet<(Millis, u64)>,
    next_id: u64,
    max: usize,
}

impl<K: Ord + Copy, T> Hold<K, T> {
    /// Holds at most `max` pulls.
    pub fn new(max: usize) -> Hold<K, T> {
        Hold {
            pulls: BTreeMap::new(),
            by_queue: BTreeMap::new(),
            by_conn: BTreeMap::new(),
            by_deadline: BTreeSet::new(),
            next_id: 0,
            max,
        }
    }

    /// Number of waiting pulls.
    pub fn len(&self) -> usize {
        self.pulls.len()
    }

    /// Whether nobody waits.
    pub fn is_empty(&self) -> bool {
        self.pulls.is_empty()
    }

    /// Lets a pull wait; gives it back when the hold is full.
    pub fn park(&mut self, queue: K, pull: Pull<T>) -> Result<(), Pull<T>> {
        if self.pulls.len() >= self.max {
            return Err(pull);
        }
        let id = self.next_id;
        self.next_id += 1;
        self.by_queue.entry(queue).or_default().push(id);
        self.by_conn.entry(pull.conn).or_default().insert(id);
        self.by_deadline.insert((pull.deadline, id));
        self.pulls.insert(id, Entry { queue, pull });
        Ok(())
    }

    /// A message became visible in `queue`: takes out the pulls that want it, in the order they came.
    pub fn on_arrival(&mut self, queue: K, at: QueueOffset, tags_code: i64, woken: &mut Vec<Pull<T>>) {
        let Some(waiting) = self.by_queue.get_mut(&queue) else { return };
        let pulls = &mut self.pulls;
        let mut wake = Vec::new();
        waiting.retain(|id| match pulls.get_mut(id) {
            Some(Entry { pull, .. }) if pull.from <= at && pull.tags.accepts(tags_code) => {
                wake.push(*id);
                false
            }
            Some(Entry { pull, .. }) => {
                // Known not to match: no need to look at it again when the pull is evaluated.
                if pull.from == at {
                    pull.from = at + 1;
                }
                true
            }
            None => false,
        });
        if waiting.is_empty() {
            self.by_queue.remove(&queue);
        }
        woken.extend(wake.into_iter().filter_map(|id| self.forget(id)).map(|entry| entry.pull));
    }

    /// Takes out the pulls whose deadline has come.
    pub fn expire(&mut self, now: Millis, woken: &mut Vec<Pull<T>>) {
        while let Some(&(deadline, id)) = self.by_deadline.first()
            && deadline <= now
        {
            self.by_deadline.pop_first();
            woken.extend(self.take(id));
        }
    }

    /// A connection is gone: its pulls are dropped.
    pub fn on_closed(&mut self, conn: ConnId) {
        for id in self.by_conn.remove(&conn).unwrap_or_default() {
            drop(self.take(id));
        }
    }

    /// Takes out the pulls of a queue, when it is deleted or not what it was.
    pub fn on_removed(&mut self, queue: K, woken: &mut Vec<Pull<T>>) {
        for id in self.by_queue.remove(&queue).unwrap_or_default() {
            woken.extend(self.forget(id).map(|entry| entry.pull));
        }
    }

    /// Takes out all pulls, when the broker stops.
    pub fn drain(&mut self, woken: &mut Vec<Pull<T>>) {
        self.by_queue.clear();
        self.by_conn.clear();
        self.by_deadline.clear();
        woken.extend(std::mem::take(&mut self.pulls).into_values().map(|entry| entry.pull));
    }

    /// When [`Hold::expire`] has something to do next.
    pub fn next_deadline(&self) -> Option<Millis> {
        self.by_deadline.first().map(|(deadline, _)| *deadline)
    }

    /// Takes a pull out of everything.
    fn take(&mut self, id: u64) -> Option<Pull<T>> {
        let Entry { queue, pull } = self.forget(id)?;
        if let Some(waiting) = self.by_queue.get_mut(&queue) {
            waiting.retain(|other| *other != id);
            if waiting.is_empty() {
                self.by_queue.remove(&queue);
            }
        }
        Some(pull)
    }

    /// Takes a pull out of everything but the list of its queue.
    fn forget(&mut self, id: u64) -> Option<Entry<K, T>> {
        let entry = self.pulls.remove(&id)?;
        self.by_deadline.remove(&(entry.pull.deadline, id));
        if let Some(ids) = self.by_conn.get_mut(&entry.pull.conn) {
            ids.remove(&id);
            if ids.is_empty() {
                self.by_conn.remove(&entry.pull.conn);
            }
        }
        Some(entry)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn pull(n: u32, conn: u64, from: u64, tags: &str, deadline: i64) -> Pull<u32> {
        let tags = Tags::parse(tags).unwrap();
        let (from, deadline) = (QueueOffset(from), Millis(deadline));
        Pull { conn: ConnId(conn), from, tags, deadline, kept: n }
    }

    fn kept(woken: Vec<Pull<u32>>) -> Vec<u32> {
        woken.into_iter().map(|pull| pull.kept).collect()
    }

    #[test]
    fn only_who_wants_the_message_is_woken() {
        let mut hold = Hold::new(9);
        hold.park("q", pull(1, 1, 5, "A", 99)).unwrap();
        hold.park("q", pull(2, 1, 5, "B", 99)).unwrap();
        hold.park("q", pull(3, 2, 5, "*", 99)).unwrap();
        hold.park("other", pull(4, 2, 5, "*", 99)).unwrap();
        let mut woken = Vec::new();
        hold.on_arrival("q", QueueOffset(5), kerolox_filter::code("A").into(), &mut woken);
        assert_eq!(kept(woken), [1, 3]);
        // The one that stays need not look at that message again.
        let mut rest = Vec::new();
        hold.expire(Millis(99), &mut rest);
        rest.sort_by_key(|pull| pull.kept);
        assert_eq!(rest.iter().map(|pull| (pull.kept, pull.from.0)).collect::<Vec<_>>(), [(2, 6), (4, 5)]);
        assert!(hold.is_empty() && hold.next_deadline().is_none());
    }

    #[test]
    fn a_full_hold_gives_the_pull_back() {
        let mut hold = Hold::new(1);
        hold.park("q", pull(1, 1, 0, "*", 9)).unwrap();
        assert_eq!(hold.park("q", pull(2, 1, 0, "*", 9)).unwrap_err().kept, 2);
        hold.on_closed(ConnId(1));
        assert!(hold.park("q", pull(3, 1, 0, "*", 9)).is_ok());
    }

    #[derive(Debug, Clone)]
    enum Event {
        Park { queue: u8, conn: u64, from: u64, tag: u8, wait: i64 },
        Arrive { queue: u8, at: u64, tag: u8 },
        Close { conn: u64 },
        Pass { ms: i64 },
        Remove { queue: u8 },
    }

    fn event() -> impl Strategy<Value = Event> {
        prop_oneof![
            4 => (0u8..3, 0u64..4, 0u64..4, 0u8..3, 0i64..20)
                .prop_map(|(queue, conn, from, tag, wait)| Event::Park { queue, conn, from, tag, wait }),
            4 => (0u8..3, 0u64..5, 1u8..3).prop_map(|(queue, at, tag)| Event::Arrive { queue, at, tag }),
            1 => (0u64..4).prop_map(|conn| Event::Close { conn }),
            2 => (0i64..10).prop_map(|ms| Event::Pass { ms }),
            1 => (0u8..3).prop_map(|queue| Event::Remove { queue }),
        ]
    }

    const EXPRESSIONS: [&str; 3] = ["*", "A", "B"];

    proptest! {
        /// A plain list, searched as a whole at each event, is the oracle.
        #[test]
        fn the_hold_does_what_a_list_would(events in proptest::collection::vec(event(), 0..60)) {
            let mut hold = Hold::new(8);
            let mut list: Vec<(u8, Pull<u32>)> = Vec::new();
            let mut now = 0;
            for (n, event) in events.into_iter().enumerate() {
                let (mut got, mut expected) = (Vec::new(), Vec::new());
                match event {
                    Event::Park { queue, conn, from, tag, wait } => {
                        let new = pull(n as u32, conn, from, EXPRESSIONS[tag as usize], now + wait);
                        let fits = list.len() < 8;
                        prop_assert_eq!(hold.park(queue, new.clone()).is_ok(), fits);
                        if fits {
                            list.push((queue, new));
                        }
                    }
                    Event::Arrive { queue, at, tag } => {
                        let code = kerolox_filter::code(EXPRESSIONS[tag as usize]).into();
                        hold.on_arrival(queue, QueueOffset(at), code, &mut got);
                        list.retain_mut(|(its, pull)| {
                            let wanted = *its == queue && pull.from.0 <= at && pull.tags.accepts(code);
                            if wanted {
                                expected.push(pull.kept);
                            } else if *its == queue && pull.from.0 == at {
                                pull.from.0 += 1;
                            }
                            !wanted
                        });
                    }
                    Event::Close { conn } => {
                        hold.on_closed(ConnId(conn));
                        list.retain(|(_, pull)| pull.conn.0 != conn);
                    }
                    Event::Pass { ms } => {
                        now += ms;
                        hold.expire(Millis(now), &mut got);
                        got.sort_by_key(|pull| pull.kept);
                        expected.extend(list.iter().filter(|(_, p)| p.deadline.0 <= now).map(|(_, p)| p.kept));
                        list.retain(|(_, pull)| pull.deadline.0 > now);
                    }
                    Event::Remove { queue } => {
                        hold.on_removed(queue, &mut got);
                        expected.extend(list.iter().filter(|(its, _)| *its == queue).map(|(_, p)| p.kept));
                        list.retain(|(its, _)| *its != queue);
                    }
                }
                prop_assert_eq!(kept(got), expected);
                prop_assert_eq!(hold.len(), list.len());
                prop_assert_eq!(hold.next_deadline(), list.iter().map(|(_, pull)| pull.deadline).min());
            }
            let mut left = Vec::new();
            hold.drain(&mut left);
            prop_assert_eq!(left, list.into_iter().map(|(_, pull)| pull).collect::<Vec<_>>());
        }
    }
}
