//! `config/*.json` as others leave them, and as they are left to others.

use crate::{
    asks::*,
    rig::{Rig, options},
};
use kerolox_protocol::{GroupName, TopicName};
use kerolox_store::disk::memory::{Call, Fault, Harm, MemDisk};
use std::path::{Path, PathBuf};

fn path(name: &str) -> PathBuf {
    Path::new("/store/config").join(name)
}

fn committed(rig: &Rig, group: &str, topic: &str, queue: u32) -> Option<i64> {
    rig.broker.offsets.query(&GroupName::new(group).unwrap(), &TopicName::new(topic).unwrap(), queue)
}

fn commit(rig: &mut Rig, offset: i64) {
    let (group, topic) = (GroupName::new("g").unwrap(), TopicName::new("T").unwrap());
    rig.broker.offsets.commit(&group, &topic, 0, offset);
}

/// A store with a topic, a group and its place in it, stopped.
fn used() -> (MemDisk, Rig) {
    let mut rig = Rig::new();
    rig.ask(send(1, "T", "x"));
    rig.ask(pull(2, "T", 0));
    commit(&mut rig, 1);
    rig.advance(7_000);
    let (options, now) = (rig.options.clone(), rig.now);
    let disk = rig.stop();
    (disk.kill(), Rig::on(disk, options, now))
}

fn text(disk: &MemDisk, name: &str) -> String {
    disk.bytes(&path(name)).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
}

#[test]
fn one_entry_that_cannot_be_does_not_cost_the_others() {
    let disk = MemDisk::new();
    let plant = |name: &str, text: &str| disk.plant(&path(name), text.as_bytes()).unwrap();
    plant(
        "topics.json",
        r#"{"dataVersion":{"counter":3,"timestamp":1600000000000},"topicConfigTable":{
          "T":{"order":false,"perm":6,"readQueueNums":2,"topicFilterType":"SINGLE_TAG","topicName":"T","topicSysFlag":0,"writeQueueNums":2},
          "a b":{"perm":6,"readQueueNums":2,"topicName":"a b","writeQueueNums":2},
          "N":{"perm":-1,"readQueueNums":-2,"topicName":"N","writeQueueNums":2},
          "M":{"perm":6,"readQueueNums":2,"topicFilterType":"SOME_NEW","topicName":"M","writeQueueNums":2},
          "L":{"perm":6,"readQueueNums":2,"writeQueueNums":2},
          "Z":{"perm":6,"readQueueNums":3,"topicName":"Z","writeQueueNums":3,"attributes":{"+message.type":"NORMAL"}}}}"#,
    );
    plant(
        "subscriptionGroup.json",
        r#"{"dataVersion":{"counter":3,"timestamp":1600000000000},"subscriptionGroupTable":{
          "a b":{"groupName":"a b"},"g":{"groupName":"g","retryMaxTimes":7},"z":{"groupName":"z","retryMaxTimes":"x"}},
          "forbiddenTable":{}}"#,
    );
    plant(
        "consumerOffset.json",
        r#"{"offsetTable":{"T@g":{-1:4,0:12,1:"7",2:null,3:{}},"T@x y":{0:1},"T":{0:1},"Z@g":{0:3},"Y@g":7}}"#,
    );
    plant("delayOffset.json", r#"{"dataVersion":{},"offsetTable":{-1:3,1:5,2:"x",3:null}}"#);
    let rig = Rig::on(disk, options(), crate::rig::START);
    let odd = rig.lines.iter().filter(|line| line.contains("cannot be used"));
    assert_eq!(odd.count(), 4, "{:#?}", rig.lines);
    assert!(rig.lines.iter().any(|line| line.contains("\"a b\"")), "{:#?}", rig.lines);
    let kept = rig.disk.bytes(Path::new("/store/kerolox.quarantine/config-topics.json")).unwrap();
    assert!(String::from_utf8(kept).unwrap().contains("\"a b\""));
    assert!(rig.broker.topics.get("T").is_some() && rig.broker.topics.get("Z").is_some());
    assert_eq!(rig.broker.groups.get("g").map(|group| group.retry_max_times), Some(7));
    assert_eq!(committed(&rig, "g", "T", 0), Some(12));
    assert_eq!(committed(&rig, "g", "Z", 0), Some(3));
}

#[test]
fn an_export_that_failed_is_made_again_without_a_change() {
    let mut rig = Rig::new();
    rig.advance(7_000);
    rig.ask(send(1, "New", "x"));
    rig.disk.plan(Fault::once(Call::Rename, 1, Harm::Enospc));
    rig.advance(7_000);
    assert!(!text(&rig.disk, "topics.json").contains("\"New\""));
    rig.disk.heal();
    rig.advance(60_000);
    let disk = rig.stop();
    assert!(text(&disk, "topics.json").contains("\"New\""), "{}", text(&disk, "topics.json"));
}

#[test]
fn what_was_not_exported_before_a_kill_is_after_the_next_start() {
    let mut rig = Rig::new();
    rig.advance(7_000);
    rig.ask(send(1, "New", "x"));
    let disk = rig.kill().stop();
    assert!(text(&disk, "topics.json").contains("\"New\""), "{}", text(&disk, "topics.json"));
}

#[test]
fn a_file_that_is_gone_or_broken_is_written_anew() {
    for name in ["topics.json", "subscriptionGroup.json", "consumerOffset.json"] {
        for broken in [None, Some(&b""[..]), Some(b"{\"topicConf")] {
            let (disk, _) = used();
            let before = text(&disk, name);
            match broken {
                None => kerolox_store::disk::Disk::remove(&disk, &path(name)).unwrap(),
                Some(bytes) => disk.plant(&path(name), bytes).unwrap(),
            }
            let mut rig = Rig::on(disk, options(), crate::rig::START);
            rig.advance(20_000);
            let disk = rig.stop();
            assert_eq!(text(&disk, name), before, "{name} {broken:?}");
            let kept = disk.bytes(&Path::new("/store/kerolox.quarantine").join(format!("config-{name}")));
            assert_eq!(kept.ok().as_deref(), broken.filter(|bytes| !bytes.is_empty()), "{name}");
        }
    }
}

#[test]
fn a_clock_set_back_does_not_make_a_4_9_brokers_topics_old() {
    let (disk, rig) = used();
    let version = rig.broker.topics.version();
    let ours = text(&disk, "topics.json");
    let theirs = ours
        .replace(&format!("\"counter\":{}", version.counter), &format!("\"counter\":{}", version.counter + 5))
        .replace(&format!("\"timestamp\":{}", version.timestamp), "\"timestamp\":1500000000000")
        .replace("\"topicConfigTable\":{", "\"topicConfigTable\":{\"Late\":{\"perm\":6,\"readQueueNums\":2,\"topicName\":\"Late\",\"writeQueueNums\":2},");
    assert_ne!(ours, theirs);
    disk.plant(&path("topics.json"), theirs.as_bytes()).unwrap();
    let rig = Rig::on(disk, options(), crate::rig::START);
    assert!(rig.broker.topics.get("Late").is_some(), "{:#?}", rig.lines);
}

#[test]
fn a_topic_that_a_file_lacks_keeps_its_messages() {
    let (disk, rig) = used();
    let version = rig.broker.topics.version();
    disk.plant(
        &path("topics.json"),
        format!(
            "{{\"dataVersion\":{{\"counter\":{},\"timestamp\":{}}},\"topicConfigTable\":{{}}}}",
            version.counter + 1,
            version.timestamp + 1
        )
        .as_bytes(),
    )
    .unwrap();
    let mut rig = Rig::on(disk, options(), crate::rig::START);
    assert_eq!(rig.ask(send(1, "Other", "x")).code(), 0);
    assert_eq!(rig.ask(send(1, "T", "y")).code(), 0);
    assert_eq!(rig.ask(pull(2, "T", 0)).bodies(), ["x", "y"]);
    let mut rig = rig.kill();
    assert_eq!(rig.ask(pull(2, "T", 0)).bodies(), ["x", "y"]);
    assert_eq!(rig.broker.topics.get("T").map(|topic| topic.write_queue_nums), Some(4));
}
