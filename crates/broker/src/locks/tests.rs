//! Locks: never two holders, nothing left over.

use super::*;
use proptest::prelude::*;

fn queue(n: i32) -> Queue {
    Queue { topic: "T".into(), broker: "b".into(), queue: n }
}

fn group() -> GroupName {
    GroupName::new("g").expect("a group")
}

#[test]
fn a_lock_is_reentrant_exclusive_and_ends_by_time() {
    let mut locks = Locks::default();
    let take = |locks: &mut Locks, now, client: &str| {
        locks.lock(Millis(now), &group(), client, vec![queue(0), queue(1)]).len()
    };
    assert_eq!(take(&mut locks, 0, "a"), 2);
    assert_eq!(take(&mut locks, 1, "b"), 0);
    assert_eq!(take(&mut locks, 20_000, "a"), 2, "its own is renewed");
    assert_eq!(take(&mut locks, 20_000 + LOCK_MS.0, "b"), 0, "the limit itself is not beyond it");
    assert_eq!(take(&mut locks, 20_001 + LOCK_MS.0, "b"), 2);
}

#[test]
fn only_the_holder_frees() {
    let mut locks = Locks::default();
    locks.lock(Millis(0), &group(), "a", vec![queue(0)]);
    locks.unlock(&group(), "b", &[queue(0)]);
    assert_eq!(locks.holder(Millis(1), "g", &queue(0)), Some("a"));
    locks.unlock(&group(), "a", &[queue(0), queue(7)]);
    assert_eq!((locks.holder(Millis(1), "g", &queue(0)), locks.held, locks.groups.len()), (None, 0, 0));
}

#[test]
fn locks_nobody_renews_are_forgotten_and_make_room() {
    let mut locks = Locks::default();
    locks.lock(Millis(0), &group(), "a", (0..100).map(queue).collect());
    assert_eq!(locks.room(Millis(1), LOCKS_MAX - 99), Err(Full));
    assert_eq!(locks.room(Millis(1), LOCKS_MAX - 100), Ok(()));
    assert_eq!(locks.room(LOCK_MS + LOCK_MS, LOCKS_MAX), Ok(()));
    assert_eq!((locks.held, locks.groups.len()), (0, 0));
}

proptest! {
    /// Random clients lock and unlock; a model notes who was told "yours" and until when. Nobody is ever told
    /// so while the model says that another one holds the queue.
    #[test]
    fn never_two_holders(acts in proptest::collection::vec((0u8..3, 0usize..4, 0i32..3, 0i64..40_000), 0..80)) {
        let clients = ["a", "b", "c", "d"];
        let mut locks = Locks::default();
        let mut model: BTreeMap<i32, (usize, i64)> = BTreeMap::new();
        let mut now = 0;
        for (act, client, n, ms) in acts {
            now += ms;
            model.retain(|_, (_, until)| *until >= now);
            let wanted: Vec<i32> = if act == 0 { (0..3).collect() } else { vec![n] };
            if act < 2 {
                let queues = wanted.iter().copied().map(queue).collect();
                let granted: Vec<i32> =
                    locks.lock(Millis(now), &group(), clients[client], queues).iter().map(|q| q.queue).collect();
                let free = |n: &i32| model.get(n).is_none_or(|(holder, _)| *holder == client);
                prop_assert_eq!(&granted, &wanted.iter().copied().filter(|n| free(n)).collect::<Vec<_>>());
                model.extend(granted.into_iter().map(|n| (n, (client, now + LOCK_MS.0))));
            } else {
                locks.unlock(&group(), clients[client], &[queue(n)]);
                if model.get(&n).is_some_and(|(holder, _)| *holder == client) {
                    model.remove(&n);
                }
            }
            for n in 0..3 {
                let expected = model.get(&n).map(|(holder, _)| clients[*holder]);
                prop_assert_eq!(locks.holder(Millis(now), "g", &queue(n)), expected);
            }
            prop_assert_eq!(locks.held, locks.groups.values().map(BTreeMap::len).sum::<usize>());
        }
    }
}

#[test]
fn a_start_knows_the_holders_for_as_long_as_they_trust_their_locks() {
    let mut locks = Locks::default();
    locks.lock(Millis(0), &group(), "a", vec![queue(0), queue(1)]);
    locks.unlock(&group(), "a", &[queue(1)]);
    let noted = locks.take_changes();
    assert!(!locks.has_changes());
    locks.lock(Millis(1), &group(), "a", vec![queue(0)]);
    assert!(!locks.has_changes(), "a renewal is no change");
    let mut again = Locks::default();
    noted.into_iter().for_each(|change| again.restore(Millis(5), change));
    assert_eq!(again.held, 1);
    let take = |locks: &mut Locks, now, client: &str| {
        locks.lock(Millis(now), &group(), client, vec![queue(0)]).len()
    };
    assert_eq!(take(&mut again, 5 + TRUSTED_MS.0, "b"), 0);
    assert_eq!(take(&mut again, 6 + TRUSTED_MS.0, "b"), 1);
    let all: Vec<_> = again.all().collect();
    assert_eq!(all, again.take_changes());
}
