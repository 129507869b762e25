//! Large requests, judged by their headers: what is refused there is refused with the words that the whole
//! request would have got, and nothing is changed by asking.

use crate::{
    asks::{SEND, SEND_BATCH, SEND_V1, pull, send, send_header},
    members::{beat, produces},
    rig::{Ask, Rig, options},
    tables::set_topic,
};
use kerolox_config::{FlushDiskType, Kind, Networks};
use kerolox_net::Judgement;
use kerolox_protocol::{
    code,
    frame::Codec,
    rpc::produce::{SendRequest, SendRequestV2},
};

/// The refusal by the header; the whole request is refused alike.
fn refused(rig: &mut Rig, mut ask: Ask, body_bytes: usize) -> (i32, String) {
    let early = rig.refusal(&ask, body_bytes).unwrap_or_else(|| panic!("taken: {ask:?}"));
    assert!(early.header.ext.is_some() || rig.codec == Codec::Binary, "errors carry an empty map");
    ask.body = vec![b'x'; body_bytes];
    let whole = rig.ask(ask);
    assert_eq!((early.code(), early.remark()), (whole.code(), whole.remark()));
    (early.code(), early.remark().to_owned())
}

#[test]
fn a_large_send_is_refused_by_its_header_in_the_words_of_a_whole_one() {
    for codec in [Codec::Json, Codec::Binary] {
        let mut rig = Rig::new();
        rig.codec = codec;
        rig.ask(set_topic("T", 4, 4, 6));
        let mut check = |change: &dyn Fn(&mut SendRequestV2), bytes, wanted, remark: &str| {
            let mut header = send_header("T", &[]);
            change(&mut header);
            let asks = [
                Ask::new(1, SEND, &header, b""),
                Ask::new(1, SEND_V1, &SendRequest::from(header.clone()), b""),
                Ask::new(1, SEND_BATCH, &header, b""),
            ];
            for ask in asks {
                let (code, said) = refused(&mut rig, ask, bytes);
                assert!(code == wanted && said.contains(remark), "{code} {said:?} for {remark:?}");
            }
        };
        let (large, too_large) = (1 << 20, (4 << 20) + 1);
        let no_template = |h: &mut SendRequestV2| (h.topic, h.default_topic) = ("U".into(), "none".into());
        check(&no_template, large, code::TOPIC_NOT_EXIST, "topic[U] not exist, apply first please!");
        check(&|h| h.topic = "a/b".into(), large, code::SYSTEM_ERROR, "contains illegal characters");
        check(&|h| h.topic = "SCHEDULE_TOPIC_XXXX".into(), large, code::NO_PERMISSION, "is forbidden");
        check(&|h| h.queue_id = 4, large, code::SYSTEM_ERROR, "request queueId[4] is illegal");
        check(
            &|h| h.topic = "%RETRY%nobody".into(),
            large,
            code::SUBSCRIPTION_GROUP_NOT_EXIST,
            "subscription group not exist, nobody",
        );
        check(&|_| (), too_large, code::MESSAGE_ILLEGAL, "the message is illegal");
        // The topic counts before the size, as for a whole one.
        check(&no_template, too_large, code::TOPIC_NOT_EXIST, "topic[U] not exist");
        let lacking = Ask::bare(1, SEND);
        let (code, remark) = refused(&mut rig, lacking, large);
        assert!(code == code::SYSTEM_ERROR && remark.contains("lacks the field 'a'"), "{remark}");
    }
}

#[test]
fn a_large_send_that_may_pass_is_taken_and_changes_nothing_before_it_is_whole() {
    let mut rig = Rig::new();
    let ask = send(1, "New", "");
    assert_eq!(rig.judge(&ask, 4 << 20), Judgement::Take);
    assert!(rig.broker.topics.get("New").is_none(), "the topic is made when the message is here");
    assert!(rig.take(1).is_empty() && rig.closed.is_empty());
    assert_eq!(rig.ask(send(1, "New", &"x".repeat(100_000))).code(), 0);
    let odd = send(1, "New", "").with("q", "unknown fields are no reason");
    assert_eq!(rig.judge(&odd, 4 << 20), Judgement::Take);
    // The same on the path for unusual headers: here one with more fields than the quick one counts.
    let many = (0..40).fold(send(1, "New", ""), |ask, n| ask.with(&format!("x{n}"), n));
    assert_eq!(rig.judge(&many, 4 << 20), Judgement::Take);
}

#[test]
fn a_large_body_for_a_code_that_has_none_is_refused() {
    let mut rig = Rig::new();
    rig.ask(send(1, "T", "x"));
    assert_eq!(refused(&mut rig, Ask::bare(1, 4_711), 4 << 20).0, code::REQUEST_CODE_NOT_SUPPORTED);
    let stats = Ask::bare(1, 202).with("topic", "T");
    let (code, remark) = refused(&mut rig, stats.clone(), (64 << 10) + 1);
    assert_eq!(code, code::MESSAGE_ILLEGAL);
    assert_eq!(remark, "the body of GET_TOPIC_STATS_INFO has 65537 bytes, 65536 are allowed");
    assert_eq!(rig.judge(&stats, 64 << 10), Judgement::Take);
    assert_eq!(rig.refusal(&pull(1, "T", 0), 1 << 20).unwrap().code(), code::MESSAGE_ILLEGAL);
    let heartbeat = beat(1, "a", "g", "T", "*");
    assert_eq!(rig.judge(&heartbeat, 4 << 20), Judgement::Take, "lists grow");
    assert_eq!(refused(&mut rig, heartbeat, (4 << 20) + 1).0, code::MESSAGE_ILLEGAL);
}

#[test]
fn a_foreign_administrator_is_refused_by_the_header() {
    let mut options = options();
    options.broker.admin_networks = Networks::parse("192.168.0.0/16").unwrap();
    let mut rig = Rig::with(options);
    let (code, remark) = refused(&mut rig, Ask::bare(1, 25), 1 << 20);
    assert!(code == code::NO_PERMISSION && remark.contains("adminNetworks"), "{remark}");
}

#[test]
fn a_store_that_takes_nothing_refuses_large_bodies_by_the_header() {
    let mut rig = Rig::new();
    rig.ask(send(1, "T", "x"));
    rig.fill_disk("T");
    let (code, remark) = refused(&mut rig, send(1, "T", ""), 200_000);
    assert!(code == code::SERVICE_NOT_AVAILABLE && remark.contains("service not available now"), "{remark}");
}

#[test]
fn a_broker_that_is_busy_or_stopping_refuses_large_bodies_by_the_header() {
    let mut options = options();
    options.store.flush_disk_type = FlushDiskType::SyncFlush;
    options.limits.parked_answers = 1;
    let mut rig = Rig::with(options);
    rig.runs_jobs = false;
    rig.group(&[send(1, "T", "waits")]);
    assert_eq!(refused(&mut rig, send(1, "T", ""), 100_000).0, code::SYSTEM_BUSY);
    rig.begin_stop();
    let (code, remark) = refused(&mut rig, send(1, "T", ""), 100_000);
    assert_eq!((code, remark.as_str()), (code::SERVICE_NOT_AVAILABLE, "the broker is stopping"));
}

#[test]
fn nobody_is_answered_who_wants_no_answer() {
    let mut rig = Rig::new();
    let silent = Judgement::Refuse(Vec::new());
    assert_eq!(rig.judge(&send(1, "a/b", "").oneway(), 1 << 20), silent);
    assert_eq!(rig.judge_bytes(1, b"{nonsense", 1 << 20), Judgement::Close("unreadable header"));
    // An answer that nobody waits for; and one that a tool waits for.
    let answer =
        |opaque: i32| format!(r#"{{"code":0,"flag":1,"opaque":{opaque},"language":"JAVA","version":409}}"#);
    rig.ask(beat(1, "java", "g", "T", "*"));
    rig.take(1);
    rig.group(&[Ask::bare(9, 307).with("consumerGroup", "g").with("clientId", "java")]);
    let asked = rig.take(1).remove(0).header.opaque;
    assert_eq!(rig.judge_bytes(1, answer(asked + 1).as_bytes(), 1 << 20), silent);
    assert_eq!(rig.judge_bytes(2, answer(asked).as_bytes(), 1 << 20), silent, "it was asked of another");
    assert_eq!(rig.judge_bytes(1, answer(asked).as_bytes(), 1 << 20), Judgement::Take);
}

/// A reply is carried to who waits for it, whatever the store says to it.
#[test]
fn a_large_reply_is_judged_by_its_topic_alone() {
    let mut options = options();
    options.store.max_message_size.0 = 3;
    let mut rig = Rig::with(options);
    rig.ask(produces(1, "asker", "p"));
    for reply in [324, 325] {
        let header = send_header("DefaultCluster_REPLY_TOPIC", &[("REPLY_TO_CLIENT", "asker")]);
        let bad = SendRequestV2 { topic: "a/b".into(), ..header.clone() };
        let ask = |header: SendRequestV2| match reply {
            324 => Ask::new(2, reply, &SendRequest::from(header), b""),
            _ => Ask::new(2, reply, &header, b""),
        };
        assert_eq!(rig.judge(&ask(header), 1 << 20), Judgement::Take);
        assert_eq!(refused(&mut rig, ask(bad), 1 << 20).0, code::SYSTEM_ERROR);
    }
}
