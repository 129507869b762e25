//! Where groups stand, and where queues begin and end.

use crate::{
    asks::{commit, send},
    rig::{Ask, Rig, options, text},
};
use kerolox_protocol::code;

const QUERY: i32 = 14;

fn query(group: &str, topic: &str) -> Ask {
    Ask::bare(1, QUERY).with("consumerGroup", group).with("topic", topic).with("queueId", 0)
}

fn of(topic: &str, code: i32) -> Ask {
    Ask::bare(1, code).with("topic", topic).with("queueId", 0)
}

fn sent(rig: &mut Rig, topic: &str, n: usize) {
    for at in 0..n {
        assert_eq!(rig.ask(send(1, topic, &format!("m{at}"))).code(), code::SUCCESS);
        rig.advance(100);
    }
}

#[test]
fn a_commit_is_kept_even_backwards_and_survives_a_kill() {
    let mut rig = Rig::new();
    assert_eq!(rig.ask(commit("g", "unknown", 0, 7)).code(), code::SUCCESS, "topics need not exist");
    assert_eq!(rig.ask(query("g", "unknown")).number("offset"), 7);
    rig.ask(commit("g", "unknown", 0, 5));
    rig.advance(2_000);
    let mut rig = rig.kill();
    assert_eq!(rig.ask(query("g", "unknown")).number("offset"), 5);
    assert_eq!(rig.ask(commit("g", "unknown", 0, -1)).code(), code::SUCCESS);
    assert_eq!(rig.ask(query("g", "unknown")).number("offset"), 5, "what is no offset is not taken");
    assert_eq!(rig.ask(commit("../g", "T", 0, 1)).code(), code::SYSTEM_ERROR);
}

/// Users of 4.9 rely on it: a new group reads a young topic from its beginning, whatever its policy.
#[test]
fn a_new_group_starts_at_zero_only_while_the_queue_does() {
    let mut rig = Rig::new();
    assert_eq!(rig.ask(query("g", "T")).number("offset"), 0, "a queue that is not there");
    sent(&mut rig, "T", 3);
    assert_eq!(rig.ask(query("g", "T")).number("offset"), 0);
    let honest = rig.ask(query("g", "T").with("setZeroIfNotFound", "false"));
    assert_eq!(honest.code(), code::QUERY_NOT_FOUND, "never invented for who says so");
    assert_eq!(honest.remark(), "Not found, V3_0_6_SNAPSHOT maybe this group consumer boot first");
}

#[test]
fn a_new_group_is_not_sent_to_messages_that_would_be_read_from_disk() {
    let mut small = options();
    small.ram_bytes = 4_096;
    let mut rig = Rig::with(small);
    sent(&mut rig, "T", 1);
    assert_eq!(rig.ask(query("g", "T")).number("offset"), 0);
    for _ in 0..20 {
        rig.ask(send(1, "U", &"x".repeat(500)));
    }
    assert_eq!(rig.ask(query("g", "T")).code(), code::QUERY_NOT_FOUND);
}

#[test]
fn ends_and_times_of_a_queue() {
    let mut rig = Rig::new();
    let start = rig.now.wall.0;
    sent(&mut rig, "T", 3);
    assert_eq!(rig.ask(of("T", 30)).number("offset"), 3);
    assert_eq!(rig.ask(of("T", 31)).number("offset"), 0);
    assert_eq!(rig.ask(of("T", 32)).number("timestamp"), start);
    let at = |rig: &mut Rig, time: i64, side: &str| {
        let ask = of("T", 29).with("timestamp", time);
        let ask = if side.is_empty() { ask } else { ask.with("boundaryType", side) };
        rig.ask(ask).number("offset")
    };
    assert_eq!(at(&mut rig, start + 120, ""), 1, "the nearest");
    assert_eq!(at(&mut rig, start + 120, "LOWER"), 2);
    assert_eq!(at(&mut rig, start + 120, "UPPER"), 1);
    assert_eq!((at(&mut rig, 0, ""), at(&mut rig, start + 10_000, "")), (0, 2));
    for code in [30, 31] {
        assert_eq!(rig.ask(of("other", code)).number("offset"), 0);
    }
    assert_eq!(rig.ask(of("other", 29).with("timestamp", 1)).number("offset"), 0);
    assert_eq!(rig.ask(of("other", 32)).number("timestamp"), -1);
    assert_eq!(rig.ask(Ask::bare(1, 30).with("topic", "T").with("queueId", -1)).number("offset"), 0);
}

#[test]
fn all_offsets_are_listed_and_copied() {
    let mut rig = Rig::new();
    rig.group(&[commit("g", "T", 0, 3), commit("g", "T", 1, 4), commit("h", "U", 0, 9)]);
    assert_eq!(text(&rig.ask(Ask::bare(1, 43))), r#"{"offsetTable":{"T@g":{"0":3,"1":4},"U@h":{"0":9}}}"#);
    let clone = Ask::bare(1, 314).with("srcGroup", "g").with("destGroup", "k").with("topic", "T");
    assert_eq!(rig.ask(clone.with("offline", "false")).code(), code::SUCCESS);
    let copied = Ask::bare(1, QUERY).with("consumerGroup", "k").with("topic", "T").with("queueId", 1);
    assert_eq!(rig.ask(copied).number("offset"), 4);
    let all = Ask::bare(1, 314).with("srcGroup", "h").with("destGroup", "l").with("topic", "");
    rig.ask(all);
    let copied = Ask::bare(1, QUERY).with("consumerGroup", "l").with("topic", "U").with("queueId", 0);
    assert_eq!(rig.ask(copied).number("offset"), 9);
    let delays = rig.ask(Ask::bare(1, 45));
    assert!(text(&delays).starts_with(r#"{"offsetTable":{"1":"#), "{}", text(&delays));
}

#[test]
fn the_smallest_offset_of_a_topic_is_found_without_changing_anything() {
    let mut rig = Rig::new();
    rig.group(&[commit("g", "T", 0, 3), commit("h", "T", 0, 5), commit("k", "T", 0, 1)]);
    let ask = |compare: &str| {
        Ask::bare(1, 308).with("topic", "T").with("compareGroup", compare).with("filterGroups", "k,x")
    };
    assert_eq!(text(&rig.ask(ask("h"))), r#"{"correctionOffsets":{"0":3}}"#);
    assert_eq!(text(&rig.ask(ask("k"))), r#"{"correctionOffsets":{"0":9223372036854775807}}"#);
    assert_eq!(rig.ask(query("k", "T")).number("offset"), 1, "a group left out keeps its offsets");
}
