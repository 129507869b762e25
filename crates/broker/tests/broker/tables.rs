//! Topics and groups by request, and what goes with them.

use crate::{
    asks::{commit, hold, pull, send},
    members::beat,
    rig::{Ask, Got, Rig, options, text},
};
use kerolox_protocol::code;
use kerolox_store::disk::memory::{Call, Fault, Harm};

const DELETE_TOPIC: i32 = 215;
const SET_GROUP: i32 = 200;
const DELETE_GROUP: i32 = 207;

pub fn set_topic(name: &str, read: i32, write: i32, perm: i32) -> Ask {
    Ask::bare(9, 17)
        .with("topic", name)
        .with("defaultTopic", "TBW102")
        .with("readQueueNums", read)
        .with("writeQueueNums", write)
        .with("perm", perm)
        .with("topicFilterType", "SINGLE_TAG")
        .with("topicSysFlag", 0)
        .with("order", "true")
}

fn topic(rig: &mut Rig, name: &str) -> Got {
    rig.ask(Ask::bare(9, 351).with("topic", name).with("lo", "true"))
}

#[test]
fn a_topic_is_made_changed_shrunk_and_survives() {
    let mut rig = Rig::new();
    let made = rig.ask(set_topic("T", 4, 8, 6));
    assert_eq!((made.code(), made.header.ext.as_ref()), (code::SUCCESS, None), "{}", made.remark());
    assert_eq!(
        text(&topic(&mut rig, "T")),
        r#"{"order":false,"perm":6,"readQueueNums":4,"topicFilterType":"SINGLE_TAG","topicName":"T","topicSysFlag":0,"writeQueueNums":8}"#
    );
    rig.ask(set_topic("T", 2, 1, 4));
    let mut rig = rig.kill();
    let kept = topic(&mut rig, "T");
    assert!(text(&kept).contains(r#""perm":4,"readQueueNums":2"#), "{}", text(&kept));
    assert_eq!(topic(&mut rig, "other").code(), code::TOPIC_NOT_EXIST);
}

#[test]
fn names_that_are_none_and_the_systems_are_refused_with_the_originals_words() {
    let mut rig = Rig::new();
    for (name, wanted) in [
        ("", "The specified topic is blank."),
        ("../x", "The specified topic contains illegal characters, allowing only ^[%|a-zA-Z0-9_-]+$"),
        (&"x".repeat(128), "The specified topic is longer than topic max length."),
        ("TBW102", "The topic[TBW102] is conflict with system topic."),
        ("SCHEDULE_TOPIC_XXXX", "The topic[SCHEDULE_TOPIC_XXXX] is conflict with system topic."),
        ("DefaultCluster", "The topic[DefaultCluster] is conflict with system topic."),
        ("rmq_sys_x", "The topic[rmq_sys_x] is conflict with system topic."),
    ] {
        let made = rig.ask(set_topic(name, 4, 4, 6));
        assert_eq!((made.code(), made.remark()), (code::SYSTEM_ERROR, wanted));
        let deleted = rig.ask(Ask::bare(9, DELETE_TOPIC).with("topic", name));
        assert_eq!((deleted.code(), deleted.remark()), (code::SYSTEM_ERROR, wanted));
    }
    for (read, write, perm) in [(-1, 4, 6), (4, 70_000, 6), (4, 4, 16), (4, 4, -1)] {
        assert_eq!(rig.ask(set_topic("T", read, write, perm)).code(), code::SYSTEM_ERROR);
    }
    assert_eq!(topic(&mut rig, "T").code(), code::TOPIC_NOT_EXIST);
}

#[test]
fn several_topics_are_set_in_one_request() {
    let mut rig = Rig::new();
    let body = r#"{"topicConfigList":[{"topicName":"A","perm":6,"readQueueNums":2,"writeQueueNums":2,"attributes":{"+message.type":"NORMAL"}},{"topicName":"B"}]}"#;
    assert_eq!(rig.ask(Ask::json(9, 18, body)).code(), code::SUCCESS);
    assert!(text(&topic(&mut rig, "B")).contains(r#""writeQueueNums":16"#), "class defaults");
    let all = rig.ask(Ask::bare(9, 21));
    assert!(
        text(&all).starts_with(r#"{"dataVersion":{"counter":2,"timestamp":1700000000000},"#),
        "{}",
        text(&all)
    );
    assert!(text(&all).contains(r#""A":{"order":false,"perm":6,"readQueueNums":2"#));
}

/// Files, offsets, counters: nothing of a deleted topic is left, and a new one of its name begins at 0.
#[test]
fn a_deleted_topic_leaves_nothing() {
    let mut rig = Rig::new();
    rig.ask(send(1, "T", "m"));
    rig.ask(send(1, "T", "n"));
    rig.ask(commit("g", "T", 0, 2));
    assert_eq!(rig.ask(Ask::bare(9, DELETE_TOPIC).with("topic", "T")).code(), code::SUCCESS);
    assert_eq!(text(&rig.ask(Ask::bare(9, 43))), r#"{"offsetTable":{}}"#);
    let stats = Ask::bare(9, 315).with("statsName", "TOPIC_PUT_NUMS").with("statsKey", "T");
    assert_eq!(rig.ask(stats).code(), code::SYSTEM_ERROR);
    assert_eq!(rig.ask(pull(2, "T", 0)).code(), code::TOPIC_NOT_EXIST);
    rig.advance(2_000);
    let mut rig = rig.kill();
    assert_eq!(topic(&mut rig, "T").code(), code::TOPIC_NOT_EXIST);
    assert_eq!(rig.ask(send(1, "T", "new")).number("queueOffset"), 0);
    assert_eq!(rig.ask(pull(2, "T", 0)).bodies(), ["new"]);
}

/// The log still has the old records, and the new topic counts from 0 again: recovery must know where the
/// border is, or it takes the one for the other and loses what was acknowledged.
#[test]
fn a_topic_that_was_deleted_and_made_again_survives_a_kill_with_its_new_messages_alone() {
    // Pauses let files be written and progress be kept: before the deletion, after it, and at the end.
    for (news, pauses) in (1..4).flat_map(|news| (0..8).map(move |pauses| (news, pauses))) {
        let pause = |rig: &mut Rig, bit: i32| rig.advance(if pauses & bit == 0 { 0 } else { 3_000 });
        let mut rig = Rig::new();
        rig.ask(send(1, "T", "old"));
        rig.ask(send(1, "T", "older"));
        pause(&mut rig, 1);
        rig.ask(Ask::bare(9, DELETE_TOPIC).with("topic", "T"));
        pause(&mut rig, 2);
        let wanted: Vec<String> = (0..news).map(|n| format!("new{n}")).collect();
        for (at, body) in wanted.iter().enumerate() {
            assert_eq!(rig.ask(send(1, "T", body)).number("queueOffset"), at as i64);
        }
        pause(&mut rig, 4);
        let mut rig = rig.kill();
        let got = rig.ask(pull(2, "T", 0));
        assert_eq!(got.code(), code::SUCCESS, "{news} new, pauses {pauses}: {:?}", rig.lines);
        assert_eq!(got.bodies(), wanted, "pauses {pauses}: {:?}", rig.lines);
        assert_eq!(rig.ask(send(1, "T", "next")).number("queueOffset"), news);
    }
}

#[test]
fn a_pull_held_for_a_deleted_topic_is_answered() {
    let mut rig = Rig::new();
    rig.ask(set_topic("T", 1, 1, 6));
    let opaque = rig.group(&[hold(2, "T", 0, "*")])[0];
    assert!(rig.answer(2, opaque).is_none());
    rig.ask(Ask::bare(9, DELETE_TOPIC).with("topic", "T"));
    assert_eq!(rig.answer(2, opaque).expect("released").code(), code::PULL_NOT_FOUND);
}

#[test]
fn a_changed_topic_is_told_to_the_name_servers_at_once() {
    let mut told = options();
    told.broker.set("namesrvAddr", "10.0.0.9:9876").unwrap();
    let mut rig = Rig::with(told);
    let (addr, first) = rig.links.remove(0);
    assert_eq!((&*addr, first.code()), ("10.0.0.9:9876", 103));
    rig.link("10.0.0.9:9876", first.header.opaque, code::SUCCESS, b"");
    rig.ask(set_topic("T", 4, 4, 6));
    let (_, second) = rig.links.remove(0);
    assert_eq!(second.code(), 103);
    assert!(text(&second).contains(r#""topicConfigTable":{"T":{"#), "{}", text(&second));
}

#[test]
fn auto_creation_can_be_switched_off_while_running() {
    let mut rig = Rig::new();
    assert_eq!(rig.ask(Ask::json(9, 25, "autoCreateTopicEnable=false\n")).code(), code::SUCCESS);
    assert_eq!(rig.ask(send(1, "T", "m")).code(), code::TOPIC_NOT_EXIST);
    rig.ask(Ask::json(9, 25, "autoCreateTopicEnable=true\n"));
    assert_eq!(rig.ask(send(1, "T", "m")).code(), code::SUCCESS);
}

#[test]
fn system_topics_are_listed_and_never_cleaned_away() {
    let mut rig = Rig::new();
    let list = rig.ask(Ask::bare(9, 305));
    for name in ["TBW102", "SELF_TEST_TOPIC", "DefaultCluster", "DefaultCluster_REPLY_TOPIC"] {
        assert!(text(&list).contains(&format!("\"{name}\"")), "{name} in {}", text(&list));
    }
    let delayed = crate::asks::send_with(1, "T", "later", &[("DELAY", "1")]);
    rig.ask(delayed);
    for code in [306, 316, 329] {
        assert_eq!(rig.ask(Ask::bare(9, code)).code(), code::SUCCESS);
    }
    let mut rig = rig.kill();
    rig.advance(2_000);
    assert_eq!(rig.ask(pull(2, "T", 0)).bodies(), ["later"]);
}

#[test]
fn a_group_is_set_listed_and_deleted_with_its_offsets() {
    let mut rig = Rig::new();
    let body = r#"{"groupName":"g","consumeEnable":false,"retryMaxTimes":3,"groupRetryPolicy":{"type":"CUSTOMIZED"}}"#;
    assert_eq!(rig.ask(Ask::json(9, SET_GROUP, body)).code(), code::SUCCESS);
    let group = r#"{"brokerId":0,"consumeBroadcastEnable":true,"consumeEnable":false,"consumeFromMinEnable":true,"groupName":"g","notifyConsumerIdsChangedEnable":true,"retryMaxTimes":3,"retryQueueNums":1,"whichBrokerWhenConsumeSlowly":1}"#;
    let mut rig = rig.kill();
    assert_eq!(text(&rig.ask(Ask::bare(9, 352).with("group", "g"))), group);
    let all = rig.ask(Ask::bare(9, 201));
    assert!(text(&all).contains(&format!(r#""g":{group}"#)), "{}", text(&all));
    assert!(
        text(&all).contains(r#""TOOLS_CONSUMER":{"#)
            && text(&all).starts_with(r#"{"dataVersion":{"counter":1"#)
    );
    rig.ask(commit("g", "T", 0, 2));
    let delete = |flag: &str| Ask::bare(9, DELETE_GROUP).with("groupName", "g").with(flag, "true");
    rig.ask(Ask::bare(9, DELETE_GROUP).with("groupName", "g"));
    assert!(text(&rig.ask(Ask::bare(9, 43))).contains("T@g"), "offsets stay unless asked for");
    rig.ask(delete("cleanOffset"));
    assert_eq!(text(&rig.ask(Ask::bare(9, 43))), r#"{"offsetTable":{}}"#);
    assert_eq!(rig.ask(Ask::bare(9, 352).with("group", "g")).code(), code::SUBSCRIPTION_GROUP_NOT_EXIST);
    let own = rig.ask(Ask::bare(9, DELETE_GROUP).with("groupName", "TOOLS_CONSUMER"));
    assert_eq!(own.code(), code::SYSTEM_ERROR);
    let list = r#"{"groupConfigList":[{"groupName":"a"},{"groupName":"b!"}]}"#;
    assert_eq!(rig.ask(Ask::json(9, 225, list)).code(), code::SYSTEM_ERROR);
    assert_eq!(
        rig.ask(Ask::bare(9, 352).with("group", "a")).code(),
        code::SUBSCRIPTION_GROUP_NOT_EXIST,
        "all or none"
    );
}

#[test]
fn topics_and_subscription_of_a_group_are_told() {
    let mut rig = Rig::new();
    rig.ask(beat(1, "a", "g", "T", "TagA"));
    rig.ask(commit("g", "U", 0, 2));
    let topics = rig.ask(Ask::bare(9, 343).with("group", "g"));
    assert_eq!(text(&topics), r#"{"brokerAddr":"127.0.0.1:10911","topicList":["T","U"]}"#);
    let wanted = rig.ask(Ask::bare(9, 345).with("group", "g").with("topic", "T"));
    assert!(
        text(&wanted)
            .starts_with(r#"{"group":"g","subscriptionData":{"classFilterMode":false,"codeSet":[2598919]"#)
    );
    let who = rig.ask(Ask::bare(9, 300).with("topic", "U"));
    assert_eq!(text(&who), r#"{"groupList":["g"]}"#);
}

#[test]
fn strangers_may_not_administer() {
    let mut closed = options();
    closed.broker.set("adminNetworks", "127.0.0.0/8").unwrap();
    let mut rig = Rig::with(closed);
    for code in [17, 18, 25, 26, 200, 207, 215, 222, 225, 306, 309, 314, 316, 329] {
        let got = rig.ask(Ask::bare(9, code));
        assert_eq!(got.code(), code::NO_PERMISSION, "{code}");
        assert!(got.remark().contains("adminNetworks"));
    }
}

#[test]
fn while_changes_wait_for_a_store_that_refuses_who_only_reads_is_answered() {
    let mut rig = Rig::new();
    assert_eq!(rig.ask(send(1, "T", "x")).code(), 0);
    rig.disk.plan(Fault::once(Call::Write, 1, Harm::Eio));
    for name in ["Lost", "Waits"] {
        let refused = rig.ask(set_topic(name, 4, 4, 6));
        assert_eq!(refused.code(), code::SERVICE_NOT_AVAILABLE, "{name}: {}", refused.remark());
    }
    for reads in [Ask::bare(9, 28), Ask::bare(9, 30).with("topic", "T").with("queueId", 0)] {
        let read = rig.ask(reads);
        assert_eq!(read.code(), code::SUCCESS, "{}", read.remark());
    }
}
