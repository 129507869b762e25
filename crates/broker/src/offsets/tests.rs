//! The table and its list of changes.

use super::*;
use proptest::prelude::*;

fn group(n: usize) -> GroupName {
    GroupName::new(&format!("g{n}")).expect("a group")
}

fn topic(n: usize) -> TopicName {
    TopicName::new(&format!("T{n}")).expect("a topic")
}

#[test]
fn a_commit_says_whether_it_went_back() {
    let mut offsets = Offsets::default();
    assert_eq!(offsets.commit(&group(0), &topic(0), 1, 7), Committed::Forward);
    assert_eq!(offsets.commit(&group(0), &topic(0), 1, 5), Committed::Back(7));
    assert_eq!(offsets.query(&group(0), &topic(0), 1), Some(5));
    assert_eq!(offsets.take_changes().len(), 1);
    assert_eq!(offsets.commit(&group(0), &topic(0), 1, 5), Committed::Forward);
    assert!(!offsets.has_changes(), "what stood there is no change");
}

#[test]
fn what_no_queue_can_have_is_refused() {
    let mut offsets = Offsets::default();
    assert_eq!(offsets.commit(&group(0), &topic(0), 0, -1), Committed::Refused(Unfit::Negative));
    assert_eq!(offsets.commit(&group(0), &topic(0), QUEUE_MAX + 1, 0), Committed::Refused(Unfit::Queue));
    offsets.places = PLACES_MAX;
    assert_eq!(offsets.commit(&group(0), &topic(0), 0, 0), Committed::Refused(Unfit::Full));
    assert!(!offsets.has_changes());
}

#[test]
fn forgetting_a_topic_is_a_change_of_each_place() {
    let mut offsets = Offsets::default();
    for queue in 0..3 {
        offsets.commit(&group(0), &topic(0), queue, 4);
    }
    offsets.commit(&group(0), &topic(1), 0, 4);
    offsets.take_changes();
    assert_eq!(offsets.forget(|name, _| *name == topic(0)), 3);
    assert_eq!(offsets.take_changes().iter().filter(|change| change.offset.is_none()).count(), 3);
    assert_eq!((offsets.places, offsets.topics_of(&group(0)).count()), (1, 1));
}

proptest! {
    /// Replaying the changes that were taken gives the table: what the log holds is what is known.
    #[test]
    fn the_changes_are_the_table(acts in proptest::collection::vec((0u8..5, 0usize..2, 0usize..2, 0u32..3, 0i64..9), 0..60)) {
        let mut offsets = Offsets::default();
        let mut copy = Offsets::default();
        for (act, t, g, queue, offset) in acts {
            match act {
                0..=2 => drop(offsets.commit(&group(g), &topic(t), queue, offset)),
                3 => drop(offsets.forget(|name, _| *name == topic(t))),
                _ => offsets.take_changes().into_iter().for_each(|change| copy.restore(change)),
            }
            prop_assert_eq!(offsets.places, offsets.all.values().map(BTreeMap::len).sum::<usize>());
        }
        offsets.take_changes().into_iter().for_each(|change| copy.restore(change));
        prop_assert_eq!(&copy.all, &offsets.all);
        prop_assert_eq!(copy.places, offsets.places);
    }
}
