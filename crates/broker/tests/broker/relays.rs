//! Requests that a broker passes on to clients, and resets that it pushes to them.

use crate::{
    asks::{commit, send},
    members::beat,
    rig::{Ask, Rig, text},
    tables::set_topic,
};
use kerolox_protocol::{code, header::Language};

const RUNNING: i32 = 307;
const DIRECTLY: i32 = 309;
const RESET: i32 = 222;
const STATUS: i32 = 223;

fn online() -> Rig {
    let mut rig = Rig::new();
    rig.ask(set_topic("T", 2, 2, 6));
    rig.ask(beat(1, "java", "g", "T", "*"));
    rig.ask(beat(2, "cpp", "g", "T", "*").from(Language::CPP));
    rig.take(1);
    rig.take(2);
    rig
}

fn running(id: &str) -> Ask {
    Ask::bare(9, RUNNING).with("consumerGroup", "g").with("clientId", id).with("jstackEnable", "true")
}

#[test]
fn what_a_client_says_of_itself_passes_through_untouched() {
    let mut rig = online();
    let opaque = rig.group(&[running("java")])[0];
    let asked = rig.take(1).remove(0);
    assert_eq!((asked.code(), asked.header.is_response(), asked.header.is_oneway()), (RUNNING, false, false));
    assert_eq!((asked.field("clientId"), asked.field("jstackEnable")), ("java", "true"));
    assert!(rig.answer(9, opaque).is_none());
    rig.reply(1, asked.header.opaque, 0, b"{not even json");
    let answer = rig.answer(9, opaque).expect("answered");
    assert_eq!((answer.code(), text(&answer)), (code::SUCCESS, "{not even json"));
    rig.reply(1, asked.header.opaque, 0, b"again");
    assert!(rig.take(9).is_empty(), "an answer counts once");
}

#[test]
fn a_client_that_is_not_there_or_silent_or_gone_is_said() {
    let mut rig = online();
    let missing = rig.ask(running("nobody"));
    assert_eq!(
        (missing.code(), missing.remark()),
        (code::SYSTEM_ERROR, "The Consumer <g> <nobody> not online")
    );
    let opaque = rig.group(&[running("java")])[0];
    rig.advance(9_999);
    assert!(rig.answer(9, opaque).is_none());
    rig.advance(1);
    assert_eq!(rig.answer(9, opaque).expect("answered").code(), code::CONSUME_MSG_TIMEOUT);
    let opaque = rig.group(&[running("java")])[0];
    rig.close(1);
    assert_eq!(rig.answer(9, opaque).expect("answered").code(), code::SYSTEM_ERROR);
    let old = beat(3, "old", "g", "T", "*");
    rig.ask(Ask { version: 61, ..old });
    assert!(rig.ask(running("old")).remark().contains("too low"));
}

#[test]
fn an_answer_from_another_connection_is_not_believed() {
    let mut rig = online();
    let opaque = rig.group(&[running("java")])[0];
    let asked = rig.take(1).remove(0);
    rig.reply(2, asked.header.opaque, 0, b"forged");
    assert!(rig.answer(9, opaque).is_none());
}

#[test]
fn a_stored_message_is_handed_to_one_client() {
    let mut rig = online();
    let id = rig.ask(send(5, "T", "hello")).field("msgId").to_owned();
    let ask = |id: &str| {
        Ask::bare(9, DIRECTLY).with("consumerGroup", "g").with("clientId", "java").with("msgId", id)
    };
    let opaque = rig.group(&[ask(&id)])[0];
    let asked = rig.take(1).remove(0);
    assert_eq!((asked.code(), asked.bodies(), asked.field("msgId")), (DIRECTLY, vec!["hello"], id.as_str()));
    rig.reply(1, asked.header.opaque, 0, br#"{"consumeResult":"CR_SUCCESS"}"#);
    assert_eq!(text(&rig.answer(9, opaque).expect("answered")), r#"{"consumeResult":"CR_SUCCESS"}"#);
    for bad in ["", "zz", &id.replace(&id[16..], "0000000000FFFFFF")] {
        let got = rig.ask(ask(bad));
        assert_eq!(got.code(), code::SYSTEM_ERROR, "{bad}: {}", got.remark());
    }
}

#[test]
fn where_all_members_stand_is_collected() {
    let mut rig = online();
    let ask = || Ask::bare(9, STATUS).with("topic", "T").with("group", "g");
    let opaque = rig.group(&[ask()])[0];
    let asked = rig.take(1).remove(0);
    assert_eq!((asked.code(), asked.field("topic"), asked.field("group")), (221, "T", "g"));
    let table = r#"{"consumerTable":{},"messageQueueTable":{{"brokerName":"b","queueId":0,"topic":"T"}:7}}"#;
    rig.reply(1, asked.header.opaque, 0, table.as_bytes());
    assert!(rig.answer(9, opaque).is_none(), "the other one may still answer");
    rig.advance(5_000);
    let answer = rig.answer(9, opaque).expect("answered");
    assert_eq!(
        text(&answer),
        r#"{"consumerTable":{"java":{{"brokerName":"b","queueId":0,"topic":"T"}:7}},"messageQueueTable":{}}"#
    );
    rig.take(2);
    let opaque = rig.group(&[ask().with("clientAddr", "cpp")])[0];
    assert_eq!(rig.take(1).len(), 0);
    rig.close(2);
    let lost = rig.answer(9, opaque).expect("answered");
    assert!(lost.code() == code::SYSTEM_ERROR && lost.remark().contains("<cpp>"), "{}", lost.remark());
    let nobody = rig.ask(Ask::bare(9, STATUS).with("topic", "T").with("group", "h"));
    assert_eq!(nobody.remark(), "No Any Consumer online in the consumer group: [h]");
}

fn reset(time: i64, force: bool) -> Ask {
    Ask::bare(9, RESET).with("topic", "T").with("group", "g").with("timestamp", time).with("isForce", force)
}

fn stands(rig: &mut Rig, queue: i32) -> i64 {
    rig.ask(Ask::bare(1, 14).with("consumerGroup", "g").with("topic", "T").with("queueId", queue))
        .number("offset")
}

/// Java and Go parse raw object keys, C++ a list; whatever the tool says it is.
#[test]
fn a_reset_is_pushed_in_the_form_of_each_language_and_stored() {
    let mut rig = online();
    for body in ["0", "1", "2", "3"] {
        rig.ask(send(5, "T", body));
        rig.advance(1_000);
    }
    rig.group(&[commit("g", "T", 0, 3), commit("g", "T", 1, 0)]);
    rig.take(1);
    let broker = rig.options.broker.broker_name.clone();
    let second = crate::rig::START.wall.0 + 1_000;
    let got = rig.ask(reset(second, true).from(Language::CPP));
    let table = format!(
        r#"{{"offsetTable":{{{{"brokerName":"{broker}","queueId":0,"topic":"T"}}:1,{{"brokerName":"{broker}","queueId":1,"topic":"T"}}:0}}}}"#
    );
    assert_eq!((got.code(), text(&got)), (code::SUCCESS, table.as_str()), "{}", got.remark());
    let java = rig.take(1).remove(0);
    assert_eq!((java.code(), java.header.is_oneway(), text(&java)), (220, true, table.as_str()));
    assert_eq!((java.field("isForce"), java.field("timestamp")), ("true", second.to_string().as_str()));
    let cpp = rig.take(2).remove(0);
    assert_eq!(
        text(&cpp),
        format!(
            r#"{{"offsetTable":[{{"brokerName":"{broker}","offset":1,"queueId":0,"topic":"T"}},{{"brokerName":"{broker}","offset":0,"queueId":1,"topic":"T"}}]}}"#
        )
    );
    assert_eq!(stands(&mut rig, 0), 1);
    rig.ask(reset(second + 2_000, false));
    assert_eq!(stands(&mut rig, 0), 1, "without force nothing goes forward");
    rig.ask(reset(-1, true));
    assert_eq!(stands(&mut rig, 0), 4);
    rig.ask(reset(0, true).with("queueId", 0).with("offset", 2));
    assert_eq!((stands(&mut rig, 0), stands(&mut rig, 1)), (2, 0));
}

#[test]
fn a_reset_that_cannot_be_says_why_and_changes_nothing() {
    let mut rig = online();
    assert_eq!(rig.ask(reset(-1, true).with("topic", "X")).code(), code::SYSTEM_ERROR);
    assert_eq!(rig.ask(reset(-1, true)).remark(), "THe consumer group <g> not exist");
    rig.group(&[commit("g", "T", 0, 3), commit("g", "T", 1, 0)]);
    assert_eq!(rig.ask(reset(-1, true).with("queueId", 2)).code(), code::SYSTEM_ERROR);
    rig.close(1);
    rig.close(2);
    let offline = rig.ask(reset(-1, true));
    assert_eq!(offline.code(), code::CONSUMER_NOT_ONLINE, "tools then move the offsets themselves");
    assert!(offline.remark().starts_with("Consumer not online, so can not reset offset, Group: g Topic: T"));
    assert_eq!(stands(&mut rig, 0), 3);
}
