//! Pulling and waiting for messages.

use crate::{
    asks::*,
    rig::{Ask, Got, Rig, options},
};
use kerolox_protocol::{GroupName, TopicName, code, frame::Codec, rpc::consume::PullRequest};

fn with(change: impl FnOnce(&mut PullRequest)) -> Ask {
    let mut header = pull_header("T", 0);
    change(&mut header);
    Ask::new(2, PULL, &header, b"")
}

#[test]
fn a_waiting_pull_wakes_with_the_group_that_brought_its_message() {
    for codec in [Codec::Json, Codec::Binary] {
        let mut rig = Rig::new();
        rig.codec = codec;
        rig.ask(send(1, "T", "first"));
        let opaque = rig.group(&[hold(2, "T", 1, "*")])[0];
        assert!(rig.answer(2, opaque).is_none());
        rig.group(&[send(1, "Other", "elsewhere")]);
        assert!(rig.answer(2, opaque).is_none(), "another queue wakes nobody");
        rig.group(&[send(1, "T", "second")]);
        let woken = rig.answer(2, opaque).expect("woken in the same group, without a timer");
        assert_eq!((woken.code(), woken.bodies(), woken.number("nextBeginOffset")), (0, vec!["second"], 2));
    }
}

#[test]
fn a_tag_that_is_not_wanted_does_not_wake() {
    let mut rig = Rig::new();
    rig.ask(send_with(1, "T", "a0", &[("TAGS", "A")]));
    let opaque = rig.group(&[hold(2, "T", 1, "B")])[0];
    rig.group(&[send_with(1, "T", "a1", &[("TAGS", "A")]), send_with(1, "T", "a2", &[("TAGS", "A")])]);
    assert!(rig.answer(2, opaque).is_none());
    rig.group(&[send_with(1, "T", "b", &[("TAGS", "B")])]);
    let woken = rig.answer(2, opaque).unwrap();
    assert_eq!((woken.bodies(), woken.number("nextBeginOffset")), (vec!["b"], 4));
}

#[test]
fn a_pull_that_waited_long_enough_is_answered_not_found() {
    let mut rig = Rig::new();
    rig.ask(send_with(1, "T", "a0", &[("TAGS", "A")]));
    let opaque = rig.group(&[hold(2, "T", 1, "B")])[0];
    rig.group(&[send_with(1, "T", "a1", &[("TAGS", "A")])]);
    rig.advance(14_999);
    assert!(rig.answer(2, opaque).is_none());
    rig.advance(1);
    let late = rig.answer(2, opaque).unwrap();
    // What came and was not wanted need not be looked at again.
    assert_eq!((late.code(), late.number("nextBeginOffset")), (code::PULL_NOT_FOUND, 2));
}

#[test]
fn a_pull_of_a_closed_connection_is_dropped() {
    let mut rig = Rig::new();
    rig.ask(send(1, "T", "first"));
    rig.group(&[hold(2, "T", 1, "*")]);
    rig.close(2);
    rig.group(&[send(1, "T", "second")]);
    assert!(rig.take(2).is_empty());
}

#[test]
fn a_full_hold_makes_the_broker_busy() {
    let mut options = options();
    options.limits.held_pulls = 1;
    let mut rig = Rig::with(options);
    rig.ask(send(1, "T", "first"));
    rig.group(&[hold(2, "T", 1, "*")]);
    assert_eq!(rig.ask(hold(3, "T", 1, "*")).code(), code::SYSTEM_BUSY);
}

#[test]
fn statuses_become_the_originals_codes() {
    let mut rig = Rig::new();
    rig.ask(send_with(1, "T", "x", &[("TAGS", "A")]));
    let mut check = |offset: i64, tags: &str, code: i32, status: &str, next: i64| {
        let got = rig.ask(with(|pull| {
            pull.queue_offset = offset;
            pull.subscription = Some(tags.into());
        }));
        assert_eq!((got.code(), got.remark(), got.number("nextBeginOffset")), (code, status, next));
        assert_eq!((got.number("minOffset"), got.number("maxOffset")), (0, 1));
        assert_eq!(got.number("suggestWhichBrokerId"), 0);
    };
    // The original says FOUND here; nobody reads it, and it would be written for every pull.
    check(0, "*", 0, "", 1);
    check(0, "B", 20, "NO_MATCHED_MESSAGE", 1);
    check(1, "*", 19, "OFFSET_OVERFLOW_ONE", 1);
    check(9, "*", 21, "OFFSET_OVERFLOW_BADLY", 1);
    check(-1, "*", 21, "OFFSET_TOO_SMALL", 0);
    let empty = |rig: &mut Rig, offset| {
        rig.ask(with(|pull| {
            pull.queue_id = 3;
            pull.queue_offset = offset;
        }))
    };
    assert_eq!(empty(&mut rig, 0).code(), code::PULL_NOT_FOUND);
    assert_eq!(empty(&mut rig, 5).code(), code::PULL_OFFSET_MOVED);
    // Each pull outside its queue is reported.
    let mut reports = pull_header("OFFSET_MOVED_EVENT", 0);
    reports.consumer_group = "watcher".into();
    let got = rig.ask(Ask::new(3, PULL, &reports, b""));
    assert_eq!(got.records().len(), 3);
    let first: serde_json::Value = serde_json::from_slice(got.records()[0].body).unwrap();
    assert_eq!((&first["offsetRequest"], &first["offsetNew"]), (&9.into(), &1.into()));
    assert_eq!(first["messageQueue"]["topic"], "T");
}

#[test]
fn refusals_of_a_pull_come_in_the_originals_order() {
    let mut rig = Rig::new();
    rig.ask(send(1, "T", "x"));
    let mut check = |change: &dyn Fn(&mut PullRequest), code: i32, remark: &str| {
        let got = rig.ask(with(|pull| change(pull)));
        assert_eq!(got.code(), code, "{got:?}");
        assert!(got.remark().contains(remark), "{:?} lacks {remark:?}", got.remark());
    };
    check(&|pull| pull.consumer_group = "a/b".into(), code::SUBSCRIPTION_GROUP_NOT_EXIST, "a/b");
    check(&|pull| pull.topic = "None".into(), code::TOPIC_NOT_EXIST, "topic[None] not exist");
    check(&|pull| pull.queue_id = 4, 1, "queueId[4] is illegal");
    check(&|pull| pull.queue_id = -1, 1, "queueId[-1] is illegal");
    check(&|pull| pull.subscription = Some("||".into()), code::SUBSCRIPTION_PARSE_FAILED, "parse");
    check(&|pull| pull.sys_flag = 0, code::SUBSCRIPTION_NOT_EXIST, "the consumer's subscription not exist");
    check(
        &|pull| pull.expression_type = Some("SQL92".into()),
        1,
        "The broker does not support consumer to filter message by SQL92",
    );
    rig.broker.options.broker.broker_permission.0 = 2;
    assert_eq!(rig.ask(pull(2, "T", 0)).code(), code::NO_PERMISSION);
    rig.broker.options.broker.broker_permission.0 = 6;
    rig.broker.options.broker.auto_create_subscription_group = false;
    assert_eq!(
        rig.ask(with(|pull| pull.consumer_group = "new".into())).code(),
        code::SUBSCRIPTION_GROUP_NOT_EXIST
    );
}

#[test]
fn a_pull_commits_only_when_it_says_so() {
    let mut rig = Rig::new();
    rig.ask(send(1, "T", "x"));
    let (group, topic) = (GroupName::new("g").unwrap(), TopicName::new("T").unwrap());
    rig.ask(with(|pull| pull.commit_offset = Some(5)));
    assert_eq!(rig.broker.offsets.query(&group, &topic, 0), None);
    rig.ask(with(|pull| {
        pull.commit_offset = Some(1);
        pull.sys_flag |= 1;
    }));
    assert_eq!(rig.broker.offsets.query(&group, &topic, 0), Some(1));
}

#[test]
fn limits_bound_an_answer_and_one_message_always_comes() {
    let mut rig = Rig::new();
    let sends: Vec<_> = (0..40).map(|n| send(1, "T", &format!("{n}"))).collect();
    rig.group(&sends);
    assert_eq!(rig.ask(with(|pull| pull.max_msg_nums = i32::MAX)).records().len(), 32);
    assert_eq!(rig.ask(with(|pull| pull.max_msg_nums = 5)).records().len(), 5);
    assert_eq!(rig.ask(with(|pull| pull.max_msg_nums = -5)).records().len(), 1);
    assert_eq!(rig.ask(with(|pull| pull.max_msg_bytes = Some(1))).records().len(), 1);
}

#[test]
fn the_code_of_lite_pull_consumers_is_the_same_pull() {
    let mut rig = Rig::new();
    rig.ask(send(1, "T", "x"));
    let got = rig.ask(Ask { code: 361, ..pull(2, "T", 0) });
    assert_eq!(got.bodies(), ["x"]);
}

#[test]
fn one_message_is_found_by_its_place() {
    let mut rig = Rig::new();
    rig.ask(send(1, "T", "x"));
    let at = rig.ask(pull(2, "T", 0)).records()[0].physical_offset;
    let view = |offset: i64| Ask::new(2, VIEW, &(), b"").with("offset", offset);
    let got = rig.ask(view(at));
    assert_eq!((got.code(), got.bodies()), (0, vec!["x"]));
    let none = rig.ask(view(at + 1));
    assert_eq!(
        (none.code(), none.remark()),
        (1, &*format!("can not find message by the offset, {}", at + 1))
    );
    assert_eq!(rig.ask(view(-1)).code(), 1);
}

#[test]
fn messages_are_found_by_key_and_by_unique_id() {
    use kerolox_protocol::rpc::consume::QueryRequest;
    let mut rig = Rig::new();
    rig.ask(send_with(1, "T", "a", &[("KEYS", "k1 k2"), ("UNIQ_KEY", "ID1")]));
    rig.advance(10);
    rig.ask(send_with(1, "T", "b", &[("KEYS", "k2"), ("UNIQ_KEY", "ID2")]));
    rig.ask(send_with(1, "Other", "c", &[("KEYS", "k2"), ("UNIQ_KEY", "ID3")]));
    let start = crate::rig::START.wall.0;
    let query = |key: &str, unique: Option<bool>| QueryRequest {
        topic: "T".into(),
        key: key.into(),
        max_num: 32,
        begin_timestamp: start - 1_000,
        end_timestamp: i64::MAX,
        unique_key_query: unique,
    };
    let mut ask = |request: QueryRequest| rig.ask(Ask::new(2, 12, &request, b""));
    let both = ask(query("k2", None));
    assert_eq!((both.code(), both.bodies()), (0, vec!["a", "b"]), "in order of storing");
    assert!(both.number("indexLastUpdatePhyoffset") > 0 && both.number("indexLastUpdateTimestamp") >= start);
    assert_eq!(ask(query("ID2", Some(true))).bodies(), ["b"]);
    assert_eq!(ask(QueryRequest { max_num: -1, ..query("k2", None) }).records().len(), 1);
    // Whole seconds are what the index knows of times.
    let early = ask(QueryRequest { end_timestamp: start - 900, ..query("k2", None) });
    assert_eq!((early.code(), early.remark()), (22, "can not find message, maybe time range not correct"));
    assert_eq!(ask(query("none", None)).code(), code::QUERY_NOT_FOUND);
    assert_eq!(ask(QueryRequest { topic: "a/b".into(), ..query("k", None) }).code(), 1);
}

#[test]
fn without_long_polling_a_pull_is_held_for_the_short_time() {
    let mut rig = Rig::new();
    rig.ask(send(1, "T", "x"));
    rig.broker.options.broker.long_polling_enable = false;
    let opaque = rig.group(&[hold(2, "T", 1, "*")])[0];
    rig.advance(999);
    assert!(rig.answer(2, opaque).is_none());
    rig.advance(1);
    assert_eq!(rig.answer(2, opaque).unwrap().code(), code::PULL_NOT_FOUND);
}

#[test]
fn a_hold_without_end_is_cut_to_the_brokers_limit() {
    let mut rig = Rig::new();
    rig.ask(send(1, "T", "x"));
    let opaque = rig.group(&[hold(2, "T", 1, "*").with("suspendTimeoutMillis", i64::MAX)])[0];
    rig.advance(600_000);
    assert_eq!(rig.answer(2, opaque).unwrap().code(), code::PULL_NOT_FOUND);
}

/// With a second member readers of old messages go there, and come back when they are near the end.
#[test]
fn readers_that_are_far_behind_are_sent_to_where_the_group_wants_them() {
    let mut small = options();
    // Two fifths of this is taken to be in memory.
    small.ram_bytes = 5_000;
    for (enabled, ids) in [(false, [0, 0]), (true, [7, 3])] {
        small.broker.slave_read_enable = enabled;
        let mut rig = Rig::with(small.clone());
        // One answer may hold few of what is not known to be in memory.
        rig.disk.set_resident(None);
        let group = r#"{"groupName":"g","consumeEnable":true,"brokerId":3,"whichBrokerWhenConsumeSlowly":7}"#;
        assert_eq!(rig.ask(Ask::json(1, 200, group)).code(), code::SUCCESS);
        for _ in 0..30 {
            rig.ask(send(1, "T", "a message of some length"));
        }
        let far = rig.ask(pull(1, "T", 0));
        let near = rig.ask(pull(1, "T", 29));
        let end = rig.ask(pull(1, "T", 30));
        let suggested = |got: &Got| got.number("suggestWhichBrokerId");
        assert_eq!(([suggested(&far), suggested(&near)], suggested(&end)), (ids, ids[1]), "{enabled}");
    }
}
