//! Verbs of `mqadmin` with the options that are rarely given.

use crate::{
    dev::send_v2,
    harness::{Dev, Dir, Wire, run},
};
use kerolox_protocol::{LogOffset, code, msgid::MessageId};

#[test]
fn a_message_without_a_key_is_shown_by_its_place() {
    let dir = Dir::in_memory();
    let dev = Dev::start(dir.path());
    // `i` are the properties.
    let fields: Vec<_> = send_v2("Bare", 0).into_iter().filter(|(name, _)| *name != "i").collect();
    let sent = Wire::connect(dev.broker).ask(310, &fields, b"bare");
    assert_eq!(sent.header.code, code::SUCCESS);
    let text = dev.admin(&["consumeMessage", "-t", "Bare"]);
    let line = text.lines().find(|line| line.ends_with("BODY: bare")).expect("the message");
    let (_, at) = line.split_once("commitLogOffset=").expect("its place");
    let at: u64 = at.split(',').next().expect("a number").parse().expect("a number");
    let id = MessageId::new(dev.broker, LogOffset(at));
    assert!(line.starts_with(&format!("MSGID: {id} MessageExt [")), "{line}");
    assert_eq!(sent.header.get("msgId"), Some(id.as_str()));
}

#[test]
fn an_ordered_unit_topic_is_told_to_clients() {
    let dir = Dir::in_memory();
    let dev = Dev::start(dir.path());
    let made = dev.admin(&[
        "updateTopic",
        "-c",
        "DefaultCluster",
        "-t",
        "Ranks",
        "-w",
        "3",
        "-o",
        "true",
        "-u",
        "true",
        "-s",
        "true",
    ]);
    assert!(made.contains("set cluster orderConf. isOrder=true, orderConf=[broker-a:3]"), "{made}");
    assert!(made.contains("topicSysFlag=3, order=true]"), "{made}");
    let told = |value: &str| {
        let key = [("namespace", "ORDER_TOPIC_CONFIG"), ("key", "Ranks")];
        let answer = Wire::connect(dev.namesrv).ask(101, &key, b"");
        assert_eq!(answer.header.get("value"), Some(value), "{answer:?}");
    };
    told("broker-a:3");
    // One broker's share is changed beside those of others.
    let others = [("namespace", "ORDER_TOPIC_CONFIG"), ("key", "Ranks"), ("value", "broker-a:3;broker-b:8")];
    Wire::connect(dev.namesrv).ask(100, &others, b"");
    let addr = dev.broker.to_string();
    let made = dev.admin(&["updateTopic", "-b", &addr, "-t", "Ranks", "-w", "5", "-o", "true"]);
    assert!(made.contains("set broker orderConf. isOrder=true"), "{made}");
    told("broker-a:5;broker-b:8");
}

#[test]
fn topics_are_listed_with_their_clusters_and_groups() {
    let dir = Dir::in_memory();
    let dev = Dev::start(dir.path());
    dev.send("Orders", "one");
    let list = dev.admin(&["topicList", "-c"]);
    let mut lines = list.lines();
    let titles: Vec<&str> =
        lines.next().expect("titles").split("  ").filter(|cell| !cell.is_empty()).map(str::trim).collect();
    assert_eq!(titles, ["#Cluster Name", "#Topic", "#Consumer Group"]);
    let rows: Vec<Vec<&str>> = lines.map(|line| line.split_whitespace().collect()).collect();
    assert!(rows.contains(&vec!["DefaultCluster", "Orders"]), "{list}");
    assert!(!list.contains("%RETRY%"), "{list}");
}

#[test]
fn a_trace_is_sent_if_asked_for() {
    let dir = Dir::in_memory();
    let dev = Dev::start_with(dir.path(), &["traceTopicEnable=true"]);
    let sent = dev.admin(&["sendMessage", "-t", "Orders", "-p", "hello", "-k", "order-1", "-m", "true"]);
    let id = sent.lines().nth(1).and_then(|row| row.split_whitespace().last()).expect("an id");
    let traces = dev.bodies("RMQ_SYS_TRACE_TOPIC");
    assert_eq!(traces.len(), 1, "{traces:?}");
    let fields: Vec<&str> = traces[0].trim_end_matches('\u{2}').split('\u{1}').collect();
    assert_eq!(
        (fields.len(), fields[0], fields[4], fields[5], fields[7]),
        (14, "Pub", "Orders", id, "order-1")
    );
    assert_eq!((fields[9], fields[13]), ("5", "true"));
    dev.admin(&["sendMessage", "-t", "Orders", "-p", "hello", "-m", "false"]);
    assert_eq!(dev.bodies("RMQ_SYS_TRACE_TOPIC").len(), 1);
}

#[test]
fn a_send_that_no_broker_takes_says_where_the_topic_lives() {
    let dir = Dir::in_memory();
    let dev = Dev::start(dir.path());
    dev.send("Orders", "one");
    let namesrv = dev.namesrv.to_string();
    let output =
        run(&["mqadmin", "sendMessage", "-n", &namesrv, "-t", "Orders", "-p", "x", "-b", "nobroker"]);
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success());
    assert!(
        text.contains("no master called nobroker takes messages of Orders; the topic lives on broker-a"),
        "{text}"
    );
}
