//! Heartbeats, consumer lists, locks: what the members of a group see of each other.

use crate::rig::{Ask, Got, Rig, options, text};
use kerolox_protocol::{code, header::Language};

pub const HEARTBEAT: i32 = 34;
const UNREGISTER: i32 = 35;
const CONSUMERS: i32 = 38;
const CHANGED: i32 = 40;
const LOCK: i32 = 41;
const UNLOCK: i32 = 42;
const CHECK: i32 = 46;
const ASSIGN: i32 = 400;

/// A heartbeat as Java sends it: a consumer of `group` that wants `tags` of `topic`.
pub fn beat(conn: u64, id: &str, group: &str, topic: &str, tags: &str) -> Ask {
    let body = format!(
        r#"{{"clientID":"{id}","consumerDataSet":[{{"consumeFromWhere":"CONSUME_FROM_LAST_OFFSET","consumeType":"CONSUME_PASSIVELY","groupName":"{group}","messageModel":"CLUSTERING","subscriptionDataSet":[{{"classFilterMode":false,"codeSet":[],"expressionType":"TAG","subString":"{tags}","subVersion":1,"tagsSet":[],"topic":"{topic}"}}],"unitMode":false}}],"producerDataSet":[]}}"#
    );
    Ask::json(conn, HEARTBEAT, &body)
}

pub fn produces(conn: u64, id: &str, group: &str) -> Ask {
    let body = format!(
        r#"{{"clientID":"{id}","consumerDataSet":[],"producerDataSet":[{{"groupName":"{group}"}}]}}"#
    );
    Ask::json(conn, HEARTBEAT, &body)
}

fn codes(got: &[Got]) -> Vec<i32> {
    got.iter().map(|got| if got.header.is_response() { -got.code() } else { got.code() }).collect()
}

#[test]
fn a_new_member_is_told_to_everybody_before_its_heartbeat_is_answered() {
    let mut rig = Rig::new();
    rig.group(&[beat(1, "a", "g", "T", "*")]);
    let first = rig.take(1);
    assert_eq!(codes(&first), [CHANGED, 0], "the one that caused it hears it, too, and first");
    assert_eq!(first[0].field("consumerGroup"), "g");
    assert!(first[0].header.is_oneway());
    assert_eq!((first[1].header.version, first[1].header.ext.as_ref(), first[1].body.len()), (409, None, 0));
    rig.group(&[beat(2, "b", "g", "T", "*")]);
    assert_eq!((codes(&rig.take(1)), codes(&rig.take(2))), (vec![CHANGED], vec![CHANGED, 0]));
    rig.group(&[beat(1, "a", "g", "T", "*")]);
    assert_eq!((codes(&rig.take(1)), codes(&rig.take(2))), (vec![0], vec![]));
}

#[test]
fn nobody_is_told_where_the_group_or_the_broker_does_not_want_it() {
    let mut rig = Rig::new();
    rig.ask(Ask::json(9, 200, r#"{"groupName":"g","notifyConsumerIdsChangedEnable":false}"#));
    rig.group(&[beat(1, "a", "g", "T", "*")]);
    assert_eq!(codes(&rig.take(1)), [0]);
    let mut quiet = options();
    quiet.broker.notify_consumer_ids_changed_enable = false;
    let mut rig = Rig::with(quiet);
    rig.group(&[beat(1, "a", "h", "T", "*")]);
    assert_eq!(codes(&rig.take(1)), [0]);
}

#[test]
fn the_consumer_list_has_each_id_once_and_says_when_nobody_is_there() {
    let mut rig = Rig::new();
    let ask = || Ask::bare(9, CONSUMERS).with("consumerGroup", "g");
    let none = rig.ask(ask());
    assert_eq!((none.code(), none.remark()), (code::SYSTEM_ERROR, "no consumer for this group, g"));
    rig.group(&[beat(1, "b", "g", "T", "*"), beat(2, "a", "g", "T", "*"), beat(3, "a", "g", "T", "*")]);
    assert_eq!(text(&rig.ask(ask())), r#"{"consumerIdList":["a","b"]}"#);
    rig.take(1);
    rig.close(2);
    rig.close(3);
    assert_eq!(codes(&rig.take(1)), [CHANGED, CHANGED]);
    rig.ask(
        Ask::bare(1, UNREGISTER).with("clientID", "b").with("consumerGroup", "g").with("producerGroup", ""),
    );
    assert_eq!(rig.ask(ask()).code(), code::SYSTEM_ERROR);
}

#[test]
fn silence_for_two_minutes_ends_a_membership_and_the_connection() {
    let mut rig = Rig::new();
    rig.group(&[beat(1, "a", "g", "T", "*"), beat(2, "b", "g", "T", "*")]);
    rig.take(1);
    for _ in 0..5 {
        rig.advance(30_000);
        rig.group(&[beat(1, "a", "g", "T", "*")]);
    }
    assert_eq!(rig.closed, [2]);
    assert!(codes(&rig.take(1)).contains(&CHANGED), "the rest is told");
    let left = rig.ask(Ask::bare(9, CONSUMERS).with("consumerGroup", "g"));
    assert_eq!(text(&left), r#"{"consumerIdList":["a"]}"#);
}

#[test]
fn a_heartbeat_makes_the_group_and_its_retry_topic_and_both_survive() {
    let mut rig = Rig::new();
    rig.ask(beat(1, "a", "g", "T", "*"));
    let mut rig = rig.kill();
    let topic = rig.ask(Ask::bare(1, 351).with("topic", "%RETRY%g"));
    assert_eq!(topic.code(), code::SUCCESS, "{}", topic.remark());
    assert!(text(&topic).contains(r#""perm":6,"readQueueNums":1"#), "{}", text(&topic));
    assert_eq!(rig.ask(Ask::bare(1, 352).with("group", "g")).code(), code::SUCCESS);
}

#[test]
fn without_auto_creation_members_are_registered_all_the_same() {
    let mut strict = options();
    strict.broker.auto_create_subscription_group = false;
    let mut rig = Rig::with(strict);
    assert_eq!(rig.ask(beat(1, "a", "g", "T", "*")).code(), code::SUCCESS);
    assert_eq!(rig.ask(Ask::bare(1, 352).with("group", "g")).code(), code::SUBSCRIPTION_GROUP_NOT_EXIST);
    assert_eq!(rig.ask(Ask::bare(1, 351).with("topic", "%RETRY%g")).code(), code::TOPIC_NOT_EXIST);
    assert_eq!(rig.ask(Ask::bare(9, CONSUMERS).with("consumerGroup", "g")).code(), code::SUCCESS);
    assert_eq!(rig.ask(beat(1, "a", "CID_RMQ_SYS_x", "T", "*")).code(), code::SUCCESS);
    assert_eq!(rig.ask(Ask::bare(1, 352).with("group", "CID_RMQ_SYS_x")).code(), code::SUCCESS);
}

/// Numbers for enumerations, a text for a version, nonsense for codes, sets missing, a newline at the end.
#[test]
fn the_heartbeat_of_a_cpp_client_is_taken_and_its_codes_are_not_believed() {
    let mut rig = Rig::new();
    let body = "{\"clientID\":\"c\",\"consumerDataSet\":[{\"consumeFromWhere\":4,\"consumeType\":1,\
        \"groupName\":\"g\",\"messageModel\":1,\"subscriptionDataSet\":[{\"codeSet\":[\"0\"],\
        \"subString\":\"TagA\",\"subVersion\":\"17\",\"tagsSet\":[\"TagA\"],\"topic\":\"T\"}]}]}\n";
    rig.ask(Ask::json(1, HEARTBEAT, body).from(Language::CPP));
    let seen = rig.ask(Ask::bare(9, 203).with("consumerGroup", "g"));
    assert_eq!(
        text(&seen),
        r#"{"connectionSet":[{"clientAddr":"10.0.0.1:5000","clientId":"c","language":"CPP","version":409}],"consumeFromWhere":"CONSUME_FROM_FIRST_OFFSET","consumeType":"CONSUME_PASSIVELY","messageModel":"CLUSTERING","subscriptionTable":{"T":{"classFilterMode":false,"codeSet":[2598919],"expressionType":"TAG","subString":"TagA","subVersion":17,"tagsSet":["TagA"],"topic":"T"}}}"#
    );
    let offline = rig.ask(Ask::bare(9, 203).with("consumerGroup", "nobody"));
    assert_eq!(
        (offline.code(), offline.remark()),
        (code::CONSUMER_NOT_ONLINE, "the consumer group[nobody] not online")
    );
}

#[test]
fn what_is_wrong_in_a_heartbeat_is_named_and_the_rest_is_taken() {
    let mut rig = Rig::new();
    let body = r#"{"clientID":"c","consumerDataSet":[{"groupName":"a b"},{"groupName":"good","subscriptionDataSet":[{"topic":"../x","subString":"*"},{"topic":"T","subString":"||"}]}],"producerDataSet":[{"groupName":""}]}"#;
    let got = rig.ask(Ask::json(1, HEARTBEAT, body));
    assert_eq!(got.code(), code::SYSTEM_ERROR);
    assert!(got.remark().starts_with("4 of the heartbeat's entries"), "{}", got.remark());
    assert_eq!(rig.ask(Ask::bare(9, CONSUMERS).with("consumerGroup", "good")).code(), code::SUCCESS);
    for bad in ["", "{", "[]", r#"{"clientID":""}"#, &format!(r#"{{"clientID":"{}"}}"#, "x".repeat(600))] {
        assert_eq!(rig.ask(Ask::json(1, HEARTBEAT, bad)).code(), code::SYSTEM_ERROR, "{bad}");
    }
}

#[test]
fn producers_are_listed_by_group_and_all_together() {
    let mut rig = Rig::new();
    rig.ask(produces(1, "p1", "pg"));
    let list = rig.ask(Ask::bare(9, 204).with("producerGroup", "pg"));
    assert_eq!(
        text(&list),
        r#"{"connectionSet":[{"clientAddr":"10.0.0.1:5000","clientId":"p1","language":"JAVA","version":409}]}"#
    );
    let all = rig.ask(Ask::bare(9, 328));
    assert_eq!(
        text(&all),
        r#"{"data":{"pg":[{"clientId":"p1","language":"JAVA","lastUpdateTimestamp":1700000000000,"remoteIP":"/10.0.0.1:5000","version":409}]}}"#
    );
    let missing = rig.ask(Ask::bare(9, 204).with("producerGroup", "other"));
    assert_eq!(missing.remark(), "the producer group[other] not exist");
}

#[test]
fn a_queue_is_locked_by_one_and_freed_by_nobody_else() {
    let mut rig = Rig::new();
    let lock = |code, id: &str| {
        let body = format!(
            r#"{{"clientId":"{id}","consumerGroup":"g","mqSet":[{{"brokerName":"b","queueId":1,"topic":"T"}}],"onlyThisBroker":true}}"#
        );
        Ask::json(1, code, &body)
    };
    let held = r#"{"lockOKMQSet":[{"brokerName":"b","queueId":1,"topic":"T"}]}"#;
    let none = r#"{"lockOKMQSet":[]}"#;
    assert_eq!(text(&rig.ask(lock(LOCK, "a"))), held);
    assert_eq!(text(&rig.ask(lock(LOCK, "b"))), none);
    rig.ask(lock(UNLOCK, "b"));
    assert_eq!(text(&rig.ask(lock(LOCK, "b"))), none);
    assert_eq!(text(&rig.ask(lock(LOCK, "a"))), held, "re-entrant");
    assert_eq!(rig.ask(lock(UNLOCK, "a")).code(), code::SUCCESS);
    assert_eq!(text(&rig.ask(lock(LOCK, "b"))), held);
    rig.advance(60_001);
    assert_eq!(text(&rig.ask(lock(LOCK, "a"))), held, "what is not renewed ends");
    assert_eq!(rig.ask(Ask::json(1, LOCK, "")).code(), code::SYSTEM_ERROR);
    let bad =
        r#"{"clientId":"a","consumerGroup":"g","mqSet":[{"brokerName":"b","queueId":1,"topic":"../T"}]}"#;
    assert_eq!(rig.ask(Ask::json(1, LOCK, bad)).code(), code::SYSTEM_ERROR);
}

#[test]
fn a_client_hears_before_it_starts_whether_its_filter_can_be_served() {
    let mut rig = Rig::new();
    let check = |kind: &str, text: &str| {
        let body = format!(
            r#"{{"clientId":"c","group":"g","subscriptionData":{{"expressionType":"{kind}","subString":"{text}","topic":"T"}}}}"#
        );
        Ask::json(1, CHECK, &body)
    };
    assert_eq!(rig.ask(check("TAG", "A || B")).code(), code::SUCCESS);
    assert_eq!(rig.ask(check("TAG", "||")).code(), code::SUBSCRIPTION_PARSE_FAILED);
    let sql = rig.ask(check("SQL92", "a > 1"));
    assert_eq!(
        (sql.code(), sql.remark()),
        (code::SYSTEM_ERROR, "The broker does not support consumer to filter message by SQL92")
    );
    for nothing in ["", r#"{"clientId":"c","group":"g"}"#] {
        assert_eq!(rig.ask(Ask::json(1, CHECK, nothing)).code(), code::SUCCESS);
    }
}

fn assign(model: &str, topic: &str) -> Ask {
    let body = format!(
        r#"{{"clientId":"b","consumerGroup":"g","messageModel":"{model}","strategyName":"AVG","topic":"{topic}"}}"#
    );
    Ask::json(2, ASSIGN, &body)
}

fn shares(got: &Got) -> usize {
    text(got).matches(r#""mode":"PULL""#).count()
}

#[test]
fn queues_are_shared_out_by_a_broker_on_request() {
    let mut rig = Rig::new();
    rig.group(&[beat(1, "a", "g", "T", "*"), beat(2, "b", "g", "T", "*"), beat(3, "c", "g", "T", "*")]);
    let share = rig.ask(assign("CLUSTERING", "BenchmarkTest"));
    assert_eq!(shares(&share), 341);
    let first = format!(
        r#"{{"messageQueueAssignments":[{{"messageQueue":{{"brokerName":"{}","queueId":342,"topic":"BenchmarkTest"}},"mode":"PULL"}},"#,
        rig.options.broker.broker_name
    );
    assert!(text(&share).starts_with(&first), "{}", &text(&share)[..200]);
    assert_eq!(shares(&rig.ask(assign("BROADCASTING", "BenchmarkTest"))), 1_024);
    assert_eq!(shares(&rig.ask(assign("CLUSTERING", "nowhere"))), 0);
}

#[test]
fn the_queues_of_all_brokers_are_shared_out() {
    const NS: &str = "10.0.0.9:9876";
    let mut several = options();
    several.broker.set("namesrvAddr", NS).unwrap();
    let mut rig = Rig::with(several);
    let early = rig.ask(assign("CLUSTERING", "T"));
    assert_eq!(early.code(), code::SYSTEM_ERROR, "not registered yet, so no route can be asked for");
    let first = rig.links.remove(0).1.header.opaque;
    rig.link(NS, first, code::SUCCESS, b"");
    rig.group(&[beat(1, "a", "g", "T", "*"), beat(2, "b", "g", "T", "*")]);
    rig.links.clear();
    let opaque = rig.group(&[assign("CLUSTERING", "T")])[0];
    let (_, asked) = rig.links.pop().expect("the route is asked for");
    assert_eq!((asked.code(), asked.field("topic")), (105, "T"));
    assert!(rig.answer(2, opaque).is_none());
    let route = r#"{"brokerDatas":[],"filterServerTable":{},"queueDatas":[{"brokerName":"y","perm":6,"readQueueNums":2,"topicSysFlag":0,"writeQueueNums":2},{"brokerName":"x","perm":4,"readQueueNums":1,"topicSysFlag":0,"writeQueueNums":1}]}"#;
    rig.link(NS, asked.header.opaque, code::SUCCESS, route.as_bytes());
    let share = rig.answer(2, opaque).expect("answered");
    assert_eq!(
        text(&share),
        r#"{"messageQueueAssignments":[{"messageQueue":{"brokerName":"y","queueId":1,"topic":"T"},"mode":"PULL"}]}"#,
        "of x/0, y/0 | y/1 the second member gets the last"
    );
    let opaque = rig.group(&[assign("CLUSTERING", "T")])[0];
    rig.advance(2_500);
    assert_eq!(rig.answer(2, opaque).expect("answered").code(), code::SYSTEM_ERROR);
    let opaque = rig.group(&[assign("CLUSTERING", "T")])[0];
    let number = rig.links.pop().unwrap().1.header.opaque;
    rig.link(NS, number, code::TOPIC_NOT_EXIST, b"");
    assert_eq!(rig.answer(2, opaque).expect("answered").code(), code::SYSTEM_ERROR);
}
