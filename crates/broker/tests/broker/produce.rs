//! Sending.

use crate::{
    asks::*,
    rig::{Rig, options},
};
use kerolox_config::FlushDiskType;
use kerolox_protocol::{
    LogOffset, code, frame::Codec, msgid, properties, rpc::produce::SendRequest, rpc::produce::SendRequestV2,
};
use kerolox_store::disk::memory::{Call, Fault, Harm};

fn sync_rig() -> Rig {
    let mut options = options();
    options.store.flush_disk_type = FlushDiskType::SyncFlush;
    let mut rig = Rig::with(options);
    rig.runs_jobs = false;
    rig
}

#[test]
fn what_is_sent_is_pulled_in_both_codecs_and_both_forms() {
    for codec in [Codec::Json, Codec::Binary] {
        let mut rig = Rig::new();
        rig.codec = codec;
        let sent = rig.ask(send_with(1, "T", "one", &[("TAGS", "A"), ("WAIT", "true"), ("mine", "x")]));
        assert_eq!((sent.code(), sent.number("queueId"), sent.number("queueOffset")), (0, 0, 0), "{sent:?}");
        assert_eq!((sent.field("MSG_REGION"), sent.field("TRACE_ON")), ("DefaultRegion", "true"));
        let v1 = SendRequest::from(send_header("T", &[]));
        let second = rig.ask(crate::rig::Ask::new(1, SEND_V1, &v1, b"two"));
        assert_eq!((second.code(), second.number("queueOffset")), (0, 1));
        let pulled = rig.ask(pull(2, "T", 0));
        assert_eq!((pulled.code(), pulled.bodies()), (0, vec!["one", "two"]));
        assert_eq!((pulled.number("nextBeginOffset"), pulled.number("maxOffset")), (2, 2));
        let first = pulled.records()[0];
        // The offset message id names this place.
        let host = rig.options.store_host;
        let at = LogOffset::try_from(first.physical_offset).unwrap();
        assert_eq!(msgid::parse(sent.field("msgId")), Some((host, at)));
        assert_eq!((first.flag, first.born_host), (7, "10.0.0.1:5000".parse().unwrap()));
        let property = |name| properties::get_str(first.properties, name);
        assert_eq!(property("CLUSTER"), Some("DefaultCluster"));
        assert_eq!((property("WAIT"), property("mine"), property("TAGS")), (None, Some("x"), Some("A")));
    }
}

#[test]
fn a_group_of_sends_is_one_write() {
    let mut rig = Rig::new();
    rig.ask(send(1, "T", "first"));
    let before = rig.disk.calls(Call::Write);
    let asks: Vec<_> = (0..50).map(|n| send(n % 3, "T", &format!("{n}"))).collect();
    rig.runs_jobs = false;
    let opaques = rig.group(&asks);
    assert_eq!(rig.disk.calls(Call::Write) - before, 1);
    for (ask, opaque) in asks.iter().zip(opaques) {
        assert_eq!(rig.answer(ask.conn, opaque).unwrap().code(), 0);
    }
}

#[test]
fn a_batch_is_stored_message_by_message() {
    let mut rig = Rig::new();
    let items: [(&str, &[(&str, &str)]); 3] =
        [("a", &[("TAGS", "A")]), ("b", &[("TAGS", "B"), ("KEYS", "k")]), ("c", &[])];
    let sent = rig.ask(send_batch(1, "T", &items));
    assert_eq!((sent.code(), sent.number("queueOffset")), (0, 0), "{sent:?}");
    let pulled = rig.ask(pull(2, "T", 0));
    assert_eq!(pulled.bodies(), ["a", "b", "c"]);
    let ids: Vec<_> = sent.field("msgId").split(',').map(|id| msgid::parse(id).unwrap().1.wire()).collect();
    let places: Vec<_> = pulled.records().iter().map(|record| record.physical_offset).collect();
    assert_eq!(ids, places);
    let second = pulled.records()[1];
    assert_eq!(properties::get_str(second.properties, "KEYS"), Some("k"));
    assert_eq!(properties::get_str(second.properties, "CLUSTER"), Some("DefaultCluster"));
    assert_eq!(second.flag, 9);
    // Tags of each message count.
    let mut only_b = pull_header("T", 0);
    only_b.subscription = Some("B".into());
    let pulled = rig.ask(crate::rig::Ask::new(2, PULL, &only_b, b""));
    assert_eq!(pulled.bodies(), ["b"]);
}

#[test]
fn a_broken_batch_stores_nothing() {
    let mut rig = Rig::new();
    rig.ask(send(1, "T", "first"));
    let mut ask = send_batch(1, "T", &[("a", &[]), ("b", &[])]);
    ask.body.pop();
    assert_eq!(rig.ask(ask.clone()).code(), code::MESSAGE_ILLEGAL);
    ask.body.clear();
    assert_eq!(rig.ask(ask).code(), code::MESSAGE_ILLEGAL);
    assert_eq!(rig.ask(pull(2, "T", 0)).bodies(), ["first"]);
}

#[test]
fn a_oneway_send_is_stored_and_not_answered() {
    let mut rig = Rig::new();
    rig.group(&[send(1, "T", "quiet").oneway(), send(1, "no/topic", "refused").oneway()]);
    assert!(rig.take(1).is_empty());
    assert_eq!(rig.ask(pull(2, "T", 0)).bodies(), ["quiet"]);
}

#[test]
fn a_synchronous_send_is_answered_after_the_flush_and_readable_from_then_on() {
    let mut rig = sync_rig();
    let opaques = rig.group(&[send(1, "T", "waits"), send_with(1, "T", "does not", &[("WAIT", "false")])]);
    assert!(rig.answer(1, opaques[0]).is_none(), "not before the disk has it");
    assert_eq!(rig.answer(1, opaques[1]).unwrap().code(), 0);
    let early = rig.ask(pull(2, "T", 0));
    assert_eq!(early.code(), code::PULL_NOT_FOUND, "nobody sees what may still be lost");
    rig.run_jobs();
    assert_eq!(rig.answer(1, opaques[0]).unwrap().code(), 0);
    assert_eq!(rig.ask(pull(2, "T", 0)).bodies(), ["waits", "does not"]);
}

#[test]
fn a_flush_that_takes_too_long_is_told_from_a_stored_message() {
    let mut rig = sync_rig();
    let opaque = rig.group(&[send(1, "T", "slow")])[0];
    rig.advance(4_999);
    assert!(rig.answer(1, opaque).is_none());
    rig.advance(1);
    let answer = rig.answer(1, opaque).unwrap();
    assert_eq!(answer.code(), code::FLUSH_DISK_TIMEOUT);
    assert_eq!(answer.number("queueOffset"), 0, "clients need the header on this code, too");
    rig.run_jobs();
    assert!(rig.take(1).is_empty(), "nothing is answered twice");
}

#[test]
fn after_a_failed_flush_nothing_is_acknowledged() {
    let mut rig = sync_rig();
    rig.runs_jobs = true;
    assert_eq!(rig.ask(send(1, "T", "good")).code(), 0);
    rig.disk.plan(Fault::once(Call::Sync, 1, Harm::Eio));
    let failed = rig.ask(send(1, "T", "lost"));
    assert_eq!(failed.code(), code::SERVICE_NOT_AVAILABLE, "{failed:?}");
    assert!(failed.remark().contains("disk error"), "{}", failed.remark());
    rig.disk.heal();
    // Never tried again: the system may have forgotten the data and report success.
    assert_eq!(rig.ask(send(1, "T", "after")).code(), code::SERVICE_NOT_AVAILABLE);
    assert_eq!(rig.ask(pull(2, "T", 0)).bodies(), ["good"], "reading goes on");
}

#[test]
fn after_a_failed_write_nothing_is_acknowledged() {
    let mut rig = Rig::new();
    assert_eq!(rig.ask(send(1, "T", "good")).code(), 0);
    rig.disk.plan(Fault::once(Call::Write, 1, Harm::Eio));
    let opaques = rig.group(&[send(1, "T", "lost"), send(1, "T", "lost, too")]);
    for opaque in opaques {
        assert_eq!(rig.answer(1, opaque).unwrap().code(), code::SERVICE_NOT_AVAILABLE);
    }
    assert_eq!(rig.ask(pull(2, "T", 0)).bodies(), ["good"]);
}

#[test]
fn a_missing_topic_is_made_from_its_template() {
    let mut rig = Rig::new();
    let ask = |queues: i32| {
        let header =
            SendRequestV2 { default_topic_queue_nums: queues, ..send_header(&format!("T{queues}"), &[]) };
        crate::rig::Ask::new(1, SEND, &header, b"x")
    };
    for (wanted, made) in [(4, 4), (99, 8)] {
        assert_eq!(rig.ask(ask(wanted)).code(), 0);
        let topic = rig.broker.topics.get(&format!("T{wanted}")).unwrap();
        assert_eq!((topic.write_queue_nums, topic.read_queue_nums, topic.perm), (made, made, 6));
    }
    let mut bare = send_header("Other", &[]);
    bare.default_topic = "NoTemplate".into();
    let refused = rig.ask(crate::rig::Ask::new(1, SEND, &bare, b"x"));
    assert_eq!(refused.code(), code::TOPIC_NOT_EXIST);
    assert!(refused.remark().starts_with("topic[Other] not exist, apply first please!"));
    rig.options.broker.auto_create_topic_enable = false;
    rig.broker.options.broker.auto_create_topic_enable = false;
    assert_eq!(rig.ask(send(1, "Late", "x")).code(), code::TOPIC_NOT_EXIST, "switched off while running");
}

#[test]
fn refusals_of_a_send_come_in_the_originals_order_and_words() {
    let mut rig = Rig::new();
    let mut check =
        |topic: &str, change: &dyn Fn(&mut SendRequestV2), body: &[u8], code: i32, remark: &str| {
            let mut header = send_header(topic, &[]);
            change(&mut header);
            let got = rig.ask(crate::rig::Ask::new(1, SEND, &header, body));
            assert_eq!(got.code(), code, "{topic}: {got:?}");
            assert!(got.remark().contains(remark), "{topic}: {:?} lacks {remark:?}", got.remark());
            assert!(got.header.ext.is_some(), "errors carry an empty map");
        };
    let same = |_: &mut SendRequestV2| {};
    check("", &same, b"x", 1, "The specified topic is blank.");
    check("a/b", &same, b"x", 1, "contains illegal characters");
    check(&"a".repeat(128), &same, b"x", 1, "longer than topic max length");
    check(
        "SCHEDULE_TOPIC_XXXX",
        &same,
        b"x",
        16,
        "Sending message to topic[SCHEDULE_TOPIC_XXXX] is forbidden.",
    );
    check("rmq_sys_KEROLOX_STATE", &same, b"x", 16, "is forbidden");
    check("T", &|h| h.queue_id = 4, b"x", 1, "request queueId[4] is illegal");
    check("T", &same, &vec![0; (4 << 20) + 1], 13, "the message is illegal");
    check("%RETRY%nobody", &same, b"x", 26, "subscription group not exist, nobody");
}

#[test]
fn a_negative_queue_spreads_over_the_write_queues() {
    let mut rig = Rig::new();
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..64 {
        let header = SendRequestV2 { queue_id: -1, ..send_header("T", &[]) };
        seen.insert(rig.ask(crate::rig::Ask::new(1, SEND, &header, b"x")).number("queueId"));
    }
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), [0, 1, 2, 3]);
}

#[test]
fn unknown_and_malformed_requests_are_answered() {
    let mut rig = Rig::new();
    let unknown = rig.ask(crate::rig::Ask::new(1, 4_711, &(), b""));
    assert_eq!((unknown.code(), unknown.remark()), (3, " request type 4711 not supported"));
    let lacking = rig.ask(crate::rig::Ask::new(1, SEND, &(), b""));
    assert_eq!(lacking.code(), 1);
    assert!(lacking.remark().contains("lacks the field 'a'"), "{}", lacking.remark());
    let odd = rig.ask(send(1, "T", "x").with("e", "many"));
    assert!(odd.code() == 1 && odd.remark().contains("'e' is 'many'"), "{}", odd.remark());
    assert!(rig.closed.is_empty());
}

#[test]
fn too_many_bytes_ahead_of_the_disk_make_the_broker_busy() {
    let mut rig = sync_rig();
    rig.broker.options.limits.unflushed_bytes = 10_000;
    let big = "x".repeat(12_000);
    let opaques = rig.group(&[send(1, "T", &big), send(1, "T", "more")]);
    assert_eq!(rig.answer(1, opaques[1]).unwrap().code(), code::SYSTEM_BUSY);
    rig.run_jobs();
    assert_eq!(rig.answer(1, opaques[0]).unwrap().code(), 0);
    let opaque = rig.group(&[send(1, "T", "again")])[0];
    rig.run_jobs();
    assert_eq!(rig.answer(1, opaque).unwrap().code(), 0);
}

#[test]
fn too_many_waiting_answers_make_the_broker_busy() {
    let mut options = options();
    options.store.flush_disk_type = FlushDiskType::SyncFlush;
    options.limits.parked_answers = 2;
    let mut rig = Rig::with(options);
    rig.runs_jobs = false;
    let opaques = rig.group(&[send(1, "T", "a"), send(1, "T", "b"), send(1, "T", "c")]);
    assert_eq!(rig.answer(1, opaques[2]).unwrap().code(), code::SYSTEM_BUSY);
    rig.run_jobs();
    assert_eq!(rig.answer(1, opaques[0]).unwrap().code(), 0);
}
