//! Replies on their way back to the producer that asked.

use crate::{
    asks::{pull, send_header},
    members::produces,
    rig::{Ask, Got, Rig, options},
};
use kerolox_protocol::{
    code,
    properties::Builder,
    rpc::produce::{SendRequest, SendRequestV2},
};

const TOPIC: &str = "DefaultCluster_REPLY_TOPIC";
const REPLY: i32 = 325;
const REPLY_V1: i32 = 324;
const PUSH: i32 = 326;

fn header(to: &[(&str, &str)]) -> SendRequestV2 {
    send_header(TOPIC, to)
}

fn reply(to: &str) -> Ask {
    let properties = [("CORRELATION_ID", "c-1"), ("REPLY_TO_CLIENT", to), ("MSG_TYPE", "reply")];
    Ask::new(2, REPLY, &header(&properties), b"pong")
}

/// A requester with the id `asker` on connection 1.
fn asking() -> Rig {
    asking_on(options())
}

fn asking_on(options: kerolox_broker::Options) -> Rig {
    let mut rig = Rig::with(options);
    rig.ask(produces(1, "asker", "p"));
    rig.take(1);
    rig
}

fn pushed(rig: &mut Rig) -> Got {
    let mut came = rig.take(1);
    assert_eq!(came.len(), 1, "{came:?}");
    came.remove(0)
}

fn stored(rig: &mut Rig) -> Vec<String> {
    let got = rig.ask(pull(9, TOPIC, 0));
    got.bodies().into_iter().map(str::to_owned).collect()
}

#[test]
fn a_reply_reaches_who_asked_and_is_stored() {
    let mut rig = asking();
    let opaque = rig.group(&[reply("asker")])[0];
    let push = pushed(&mut rig);
    assert_eq!((push.code(), push.header.is_response(), push.header.is_oneway()), (PUSH, false, false));
    assert_eq!(push.body, b"pong");
    for (name, value) in [
        ("producerGroup", "pg"),
        ("topic", TOPIC),
        ("defaultTopic", "TBW102"),
        ("defaultTopicQueueNums", "4"),
        ("queueId", "0"),
        ("sysFlag", "0"),
        ("bornTimestamp", "1699999999000"),
        ("flag", "7"),
        ("reconsumeTimes", "0"),
        ("unitMode", "false"),
        ("bornHost", "10.0.0.2:5000"),
        ("storeHost", "127.0.0.1:10911"),
        ("storeTimestamp", "1700000000000"),
    ] {
        assert_eq!(push.field(name), value, "{name}");
    }
    let properties = Builder::default()
        .set("CORRELATION_ID", "c-1")
        .set("REPLY_TO_CLIENT", "asker")
        .set("MSG_TYPE", "reply")
        .set("PUSH_REPLY_TIME", "1700000000000")
        .build();
    assert_eq!(push.field("properties"), String::from_utf8(properties).unwrap().trim_end_matches('\u{2}'));
    assert!(rig.answer(2, opaque).is_none(), "the requester has not said that it has it");
    rig.reply(1, push.header.opaque, 0, b"");
    let answer = rig.answer(2, opaque).expect("answered");
    assert_eq!((answer.code(), answer.field("queueId"), answer.field("queueOffset")), (0, "0", "0"));
    assert_eq!(answer.field("msgId").len(), 32);
    let got = rig.ask(pull(9, TOPIC, 0));
    let record = &got.records()[0];
    assert_eq!(record.body, b"pong");
    let text = std::str::from_utf8(record.properties).unwrap();
    assert!(text.contains("CORRELATION_ID\u{1}c-1") && !text.contains("PUSH_REPLY_TIME"), "{text}");
}

#[test]
fn the_long_form_is_the_same_and_storing_is_the_operators_choice() {
    let mut options = options();
    options.broker.store_reply_message_enable = false;
    let mut rig = asking_on(options);
    let header = SendRequest::from(header(&[("CORRELATION_ID", "c"), ("REPLY_TO_CLIENT", "asker")]));
    let opaque = rig.group(&[Ask::new(2, REPLY_V1, &header, b"pong")])[0];
    let push = pushed(&mut rig);
    rig.reply(1, push.header.opaque, 0, b"");
    let answer = rig.answer(2, opaque).expect("answered");
    assert_eq!((answer.code(), answer.field("msgId"), answer.field("queueOffset")), (0, "0", "0"));
    assert_eq!(rig.ask(pull(9, TOPIC, 0)).records().len(), 0);
}

#[test]
fn whoever_cannot_be_reached_is_named_and_the_reply_is_stored_all_the_same() {
    let mut rig = asking();
    let lost = rig.ask(reply("nobody"));
    assert_eq!(
        (lost.code(), lost.remark()),
        (code::SYSTEM_ERROR, "push reply message fail, channel of <nobody> not found.")
    );
    assert_eq!((lost.field("msgId").len(), lost.field("queueOffset")), (32, "0"));
    let bare = rig.ask(Ask::new(2, REPLY, &header(&[("CORRELATION_ID", "c")]), b"pong"));
    assert_eq!(bare.remark(), "reply message properties[REPLY_TO_CLIENT] is null");
    let failed = |rig: &mut Rig, opaque| {
        let answer = rig.answer(2, opaque).expect("answered");
        assert_eq!((answer.code(), answer.remark()), (1, "push reply message to askerfail."));
    };
    let refused = rig.group(&[reply("asker")])[0];
    let push = pushed(&mut rig);
    rig.reply(1, push.header.opaque, 1, b"");
    failed(&mut rig, refused);
    let silent = rig.group(&[reply("asker")])[0];
    rig.advance(9_999);
    assert!(rig.answer(2, silent).is_none());
    rig.advance(1);
    failed(&mut rig, silent);
    rig.take(1);
    let gone = rig.group(&[reply("asker")])[0];
    rig.close(1);
    failed(&mut rig, gone);
    assert_eq!(stored(&mut rig), ["pong"; 5]);
}

#[test]
fn a_late_or_forged_word_of_a_requester_counts_nothing() {
    let mut rig = asking();
    let opaque = rig.group(&[reply("asker")])[0];
    let push = pushed(&mut rig);
    rig.reply(3, push.header.opaque, 0, b"");
    assert!(rig.answer(2, opaque).is_none());
    rig.advance(10_000);
    assert_eq!(rig.answer(2, opaque).expect("answered").code(), code::SYSTEM_ERROR);
    rig.reply(1, push.header.opaque, 0, b"");
    assert!(rig.take(2).is_empty());
}

/// The requester's word alone must not acknowledge what the disk does not have.
#[test]
fn with_synchronous_flush_the_answer_waits_for_the_disk() {
    let mut options = options();
    options.store.flush_disk_type = kerolox_config::FlushDiskType::SyncFlush;
    let mut rig = asking_on(options);
    rig.runs_jobs = false;
    let opaque = rig.group(&[reply("asker")])[0];
    let push = pushed(&mut rig);
    rig.reply(1, push.header.opaque, 0, b"");
    assert!(rig.answer(2, opaque).is_none(), "the disk does not have it");
    rig.run_jobs();
    assert_eq!(rig.answer(2, opaque).expect("answered").code(), code::SUCCESS);
}

/// Who waits for the reply gets it; who sent it learns that it is not stored.
#[test]
fn a_store_that_refuses_keeps_no_reply_from_its_requester() {
    let mut options = options();
    options.store.max_message_size.0 = 3;
    let mut rig = asking_on(options);
    let opaque = rig.group(&[reply("asker")])[0];
    let push = pushed(&mut rig);
    assert_eq!(push.body, b"pong");
    rig.reply(1, push.header.opaque, 0, b"");
    assert_eq!(rig.answer(2, opaque).expect("answered").code(), code::MESSAGE_ILLEGAL);
}

#[test]
fn replies_that_wait_are_bounded() {
    let mut rig = asking();
    let asks = vec![reply("asker"); 4_097];
    let opaques = rig.group(&asks);
    let full = rig.answer(2, opaques[4_096]).expect("answered at once");
    assert_eq!(full.code(), code::SYSTEM_BUSY);
    assert_eq!(rig.take(1).len(), 4_096);
    rig.close(2);
    rig.advance(20_000);
    assert!(rig.take(2).is_empty(), "who is gone is not answered");
    rig.group(&[reply("asker")]);
    assert_eq!(rig.take(1).len(), 1, "there is room again");
}
