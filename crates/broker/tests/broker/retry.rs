//! Messages that come again: delay levels, retries, dead letters.

use crate::{
    asks::*,
    rig::{Ask, Rig, options},
    rot::small,
};
use kerolox_protocol::{Millis, code, properties, rpc::produce::SendRequestV2};
use std::path::Path;

fn property(record: &kerolox_protocol::record::Record<'_>, name: &str) -> Option<String> {
    properties::get_str(record.properties, name).map(str::to_owned)
}

fn count(rig: &mut Rig, topic: &str) -> usize {
    let got = rig.ask(pull(9, topic, 0));
    if got.code() == 0 { got.records().len() } else { 0 }
}

#[test]
fn a_delayed_message_comes_at_its_time_to_the_millisecond() {
    let mut rig = Rig::new();
    rig.ask(send(1, "T", "now"));
    let sent = rig.ask(send_with(1, "T", "later", &[("DELAY", "1"), ("TAGS", "A")]));
    assert_eq!((sent.code(), sent.number("queueId")), (0, 0));
    let opaque = rig.group(&[hold(2, "T", 1, "A")])[0];
    rig.advance(999);
    assert!(rig.answer(2, opaque).is_none());
    rig.advance(2);
    let got = rig.answer(2, opaque).expect("delivered within a millisecond, waking who waits");
    let records = got.records();
    assert_eq!(got.bodies(), ["later"]);
    assert_eq!(property(&records[0], "REAL_TOPIC").as_deref(), Some("T"));
    assert_eq!(property(&records[0], "REAL_QID").as_deref(), Some("0"));
    assert_eq!(property(&records[0], "DELAY").as_deref(), Some("1"), "kept, and not delayed again");
    rig.advance(10_000);
    assert_eq!(count(&mut rig, "T"), 2);
}

#[test]
fn a_clock_that_is_set_back_neither_hurries_nor_holds_a_delayed_message() {
    for back in [50, 3_600_000] {
        let mut rig = Rig::new();
        rig.ask(send(1, "T", "now"));
        rig.now.wall = rig.now.wall - Millis(back);
        // Level 2 waits five seconds. One more comes while the first waits.
        rig.ask(send_with(1, "T", "later", &[("DELAY", "2")]));
        rig.advance(3_000);
        rig.ask(send_with(1, "T", "last", &[("DELAY", "2")]));
        rig.advance(1_900);
        assert_eq!(count(&mut rig, "T"), 1, "{back}");
        rig.advance(200);
        assert_eq!(count(&mut rig, "T"), 2, "{back}");
        rig.advance(2_700);
        assert_eq!(count(&mut rig, "T"), 2, "{back}");
        rig.advance(300);
        assert_eq!(count(&mut rig, "T"), 3, "{back}");
        // A restart does not know how long it was away.
        rig.ask(send_with(1, "T", "again", &[("DELAY", "2")]));
        rig.advance(1_000);
        let mut rig = rig.kill();
        rig.advance(3_900);
        assert_eq!(count(&mut rig, "T"), 3, "{back}");
        rig.advance(1_200);
        assert_eq!(count(&mut rig, "T"), 4, "{back}");
    }
}

#[test]
fn levels_beyond_the_last_count_as_the_last() {
    let mut rig = Rig::new();
    rig.ask(send_with(1, "T", "x", &[("DELAY", "99")]));
    rig.advance(2 * 3_600_000 - 1_000);
    assert_eq!(count(&mut rig, "T"), 0);
    rig.advance(1_001);
    assert_eq!(count(&mut rig, "T"), 1);
}

#[test]
fn missing_entries_of_delayed_messages_are_made_again() {
    let mut options = options();
    options.store.mapped_file_size_consume_queue.0 = 10 * 20;
    let mut rig = Rig::with(options.clone());
    for n in 0..40 {
        rig.ask(send_with(1, "T", &format!("{n}"), &[("DELAY", "1")]));
    }
    let now = rig.now;
    let disk = rig.stop();
    // Entries 10 to 19 are gone with their file, and 25 is torn out.
    let dir = Path::new("/store/consumequeue/SCHEDULE_TOPIC_XXXX/0");
    let torn = dir.join("00000000000000000400");
    let mut bytes = disk.bytes(&torn).unwrap();
    bytes[5 * 20..6 * 20].fill(0);
    disk.plant(&torn, &bytes).unwrap();
    disk.plant(&dir.join("00000000000000000200"), &[0; 200]).unwrap();
    let mut rig = Rig::on(disk, options, now);
    rig.advance(2_000);
    let got = rig.ask(pull(9, "T", 0));
    let expected: Vec<String> = (0..32).map(|n| n.to_string()).collect();
    assert_eq!(got.bodies(), expected, "as many as one answer holds");
    assert_eq!(rig.ask(pull(9, "T", 32)).bodies().len(), 8);
    assert_eq!(count(&mut rig.kill(), "T"), expected.len(), "each once");
}

#[test]
fn a_flipped_bit_of_a_delayed_messages_entry_neither_hurries_nor_loses_it() {
    let mut rig = Rig::with(small());
    // Another message stands at position 0 of the log, and one more behind.
    for n in 0..3 {
        rig.ask(send_with(1, "T", &format!("{n}"), &[("DELAY", "2")]));
        rig.ask(send(1, "U", "other"));
        rig.advance(1_000);
    }
    let now = rig.now;
    let disk = rig.stop();
    let path = Path::new("/store/consumequeue/SCHEDULE_TOPIC_XXXX/1/00000000000000000000");
    for entry in 0..3 {
        for bit in 0..160u32 {
            let disk = disk.kill();
            disk.flip(path, entry * 20 + u64::from(bit / 8), bit % 8).unwrap();
            let mut rig = Rig::on(disk, small(), now);
            // Level 2 is five seconds, and three have passed for the first.
            for (n, ms) in [1_990, 1_000, 1_000].into_iter().enumerate() {
                rig.advance(ms);
                assert!(count(&mut rig, "T") <= n, "entry {entry}, bit {bit}: none before its time");
            }
            rig.advance(1_000);
            let got = rig.ask(pull(9, "T", 0));
            assert_eq!(got.bodies(), ["0", "1", "2"], "entry {entry}, bit {bit}");
        }
    }
}

#[test]
fn an_entry_of_a_delayed_message_that_names_another_is_made_again() {
    let mut rig = Rig::with(small());
    rig.ask(send_with(1, "T", "first", &[("DELAY", "2")]));
    rig.ask(send_with(1, "T", "second", &[("DELAY", "2")]));
    let now = rig.now;
    let disk = rig.stop();
    let path = Path::new("/store/consumequeue/SCHEDULE_TOPIC_XXXX/1/00000000000000000000");
    let whole = disk.bytes(path).unwrap();
    // The second stands in the first one's place; an entry of the log's start, due long ago.
    let mut start = whole.clone();
    start[..8].fill(0);
    start[12..20].fill(0);
    let mut double = whole.clone();
    double.copy_within(20..40, 0);
    for bytes in [start, double] {
        let disk = disk.kill();
        disk.plant(path, &bytes).unwrap();
        let mut rig = Rig::on(disk, small(), now);
        rig.advance(4_980);
        assert_eq!(count(&mut rig, "T"), 0);
        rig.advance(200);
        assert_eq!(rig.ask(pull(9, "T", 0)).bodies(), ["first", "second"]);
    }
}

#[test]
fn a_kill_neither_loses_nor_repeats_delayed_messages() {
    let mut rig = Rig::new();
    for n in 0..5 {
        rig.ask(send_with(1, "T", &format!("{n}"), &[("DELAY", "1")]));
        rig.advance(100);
    }
    // The first three are due, the rest is not.
    rig.advance(720);
    assert_eq!(count(&mut rig, "T"), 3);
    let mut rig = rig.kill();
    rig.advance(5);
    assert_eq!(count(&mut rig, "T"), 3, "what was delivered is not delivered again");
    rig.advance(1_000);
    assert_eq!(rig.ask(pull(9, "T", 0)).bodies(), ["0", "1", "2", "3", "4"]);
}

#[test]
fn a_message_given_back_comes_again_in_the_groups_retry_topic() {
    let mut rig = Rig::new();
    rig.ask(send_with(1, "T", "hard", &[("TAGS", "A"), ("KEYS", "k")]));
    let first = rig.ask(pull(2, "T", 0));
    let at = first.records()[0].physical_offset;
    let back = rig.ask(send_back(2, at, 0));
    assert_eq!((back.code(), back.header.ext.is_none()), (0, true), "{back:?}");
    assert_eq!(rig.broker.topics.get("%RETRY%g").unwrap().write_queue_nums, 1);
    // Level 3: ten seconds.
    rig.advance(9_999);
    assert_eq!(count(&mut rig, "%RETRY%g"), 0);
    rig.advance(2);
    let again = rig.ask(pull(2, "%RETRY%g", 0));
    let record = again.records()[0];
    assert_eq!((record.body, record.reconsume_times), (&b"hard"[..], 1));
    assert_eq!(property(&record, "RETRY_TOPIC").as_deref(), Some("T"));
    assert_eq!(property(&record, "TAGS").as_deref(), Some("A"));
    let origin = kerolox_protocol::msgid::parse(&property(&record, "ORIGIN_MESSAGE_ID").unwrap()).unwrap();
    assert_eq!(origin.1.wire(), at);
    // The second time it waits longer, and its origin stays.
    let at = record.physical_offset;
    assert_eq!(rig.ask(send_back(2, at, 0)).code(), 0);
    rig.advance(30_001);
    let third = rig.ask(pull(2, "%RETRY%g", 1));
    assert_eq!(third.records()[0].reconsume_times, 2);
    assert_eq!(property(&third.records()[0], "ORIGIN_MESSAGE_ID"), property(&record, "ORIGIN_MESSAGE_ID"));
    assert_eq!(property(&third.records()[0], "RETRY_TOPIC").as_deref(), Some("T"));
}

#[test]
fn a_message_given_back_too_often_is_a_dead_letter() {
    let mut rig = Rig::new();
    rig.ask(send(1, "T", "poison"));
    let at = rig.ask(pull(2, "T", 0)).records()[0].physical_offset;
    // At once, by the consumer's wish.
    assert_eq!(rig.ask(send_back(2, at, -1)).code(), 0);
    let dead = rig.ask(pull(2, "%DLQ%g", 0));
    assert_eq!(property(&dead.records()[0], "DELAY").as_deref(), Some("0"));
    // By the limit that the client names.
    assert_eq!(rig.ask(send_back(2, at, 0).with("maxReconsumeTimes", 0)).code(), 0);
    assert_eq!(count(&mut rig, "%DLQ%g"), 2);
    let topic = rig.broker.topics.get("%DLQ%g").unwrap();
    assert_eq!((topic.write_queue_nums, topic.perm), (1, 6));
}

#[test]
fn a_retry_that_a_client_sends_itself_is_limited_too() {
    let mut rig = Rig::new();
    rig.ask(pull(2, "TBW102", 0));
    let retry = |times: i32| {
        let header = SendRequestV2 {
            reconsume_times: Some(times),
            max_reconsume_times: Some(3),
            ..send_header("%RETRY%g", &[("DELAY", "1")])
        };
        Ask::new(1, SEND, &header, b"x")
    };
    assert_eq!(rig.ask(retry(2)).code(), 0);
    assert_eq!((count(&mut rig, "%DLQ%g"), count(&mut rig, "%RETRY%g")), (0, 0), "delayed");
    rig.advance(1_001);
    assert_eq!(count(&mut rig, "%RETRY%g"), 1);
    assert_eq!(rig.ask(retry(3)).code(), 0);
    assert_eq!(count(&mut rig, "%DLQ%g"), 1, "dead letters are not delayed");
}

#[test]
fn giving_back_what_is_not_there_is_refused() {
    let mut rig = Rig::new();
    assert_eq!(rig.ask(send_back(2, 0, 0)).code(), code::SUBSCRIPTION_GROUP_NOT_EXIST);
    rig.ask(send(1, "T", "x"));
    rig.ask(pull(2, "T", 0));
    let missing = rig.ask(send_back(2, 1 << 40, 0));
    assert_eq!((missing.code(), missing.remark()), (1, "look message by offset failed, 1099511627776"));
    assert_eq!(rig.ask(send_back(2, -1, 0)).code(), 1);
    rig.broker.options.broker.broker_permission.0 = 4;
    assert_eq!(rig.ask(send_back(2, 0, 0)).code(), code::NO_PERMISSION);
}

#[test]
fn a_long_backlog_of_delayed_messages_is_delivered_whole_and_in_order() {
    let mut rig = Rig::new();
    let asks: Vec<_> = (0..500).map(|n| send_with(1, "T", &format!("{n}"), &[("DELAY", "1")])).collect();
    rig.group(&asks);
    rig.advance(1_010);
    let mut seen = Vec::new();
    while let got = rig.ask(pull(9, "T", seen.len() as i64))
        && got.code() == 0
    {
        seen.extend(got.bodies().iter().map(|body| body.parse::<usize>().unwrap()));
    }
    assert_eq!(seen, (0..500).collect::<Vec<_>>());
}
