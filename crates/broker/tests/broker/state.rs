//! What survives: topics, groups, offsets, progress; in the log and in the original's files.

use crate::{
    asks::*,
    rig::{Rig, options},
};
use kerolox_config::FlushDiskType;
use kerolox_protocol::{GroupName, TopicName, code, record};
use std::path::Path;

fn names() -> (GroupName, TopicName) {
    (GroupName::new("g").unwrap(), TopicName::new("T").unwrap())
}

fn committed(rig: &Rig) -> Option<i64> {
    let (group, topic) = names();
    rig.broker.offsets.query(&group, &topic, 0)
}

fn commit(rig: &mut Rig, offset: i64) {
    let (group, topic) = names();
    rig.broker.offsets.commit(&group, &topic, 0, offset);
}

#[test]
fn a_topic_made_by_a_send_survives_a_kill_with_its_message() {
    let mut rig = Rig::new();
    assert_eq!(rig.ask(send(1, "T", "x")).code(), 0);
    let version = rig.broker.topics.version();
    let mut rig = rig.kill();
    assert_eq!(rig.broker.topics.get("T").unwrap().write_queue_nums, 4);
    assert_eq!(rig.broker.topics.version(), version);
    assert_eq!(rig.ask(pull(2, "T", 0)).bodies(), ["x"]);
}

#[test]
fn under_synchronous_flush_a_power_cut_takes_neither_topic_nor_message() {
    for seed in 0..20 {
        let mut options = options();
        options.store.flush_disk_type = FlushDiskType::SyncFlush;
        let mut rig = Rig::with(options);
        assert_eq!(rig.ask(send(1, "T", "x")).code(), 0);
        let mut rig = rig.power_cut(seed);
        assert_eq!(rig.ask(pull(2, "T", 0)).bodies(), ["x"], "seed {seed}");
    }
}

#[test]
fn a_group_made_by_a_pull_survives() {
    let mut rig = Rig::new();
    rig.ask(send(1, "T", "x"));
    rig.ask(pull(2, "T", 0));
    assert!(rig.kill().broker.groups.get("g").is_some());
}

#[test]
fn offsets_are_in_the_log_within_a_second_and_at_the_stop_at_once() {
    let mut rig = Rig::new();
    rig.ask(send(1, "T", "x"));
    commit(&mut rig, 1);
    rig.advance(1_001);
    let mut rig = rig.kill();
    assert_eq!(committed(&rig), Some(1));
    commit(&mut rig, 2);
    let (options, now) = (rig.options.clone(), rig.now);
    let rig = Rig::on(rig.stop(), options, now);
    assert_eq!(committed(&rig), Some(2));
}

#[test]
fn a_snapshot_replaces_the_deltas_before_it() {
    let mut rig = Rig::new();
    let body = "x".repeat(100_000);
    // Several log files, and state in each.
    for n in 1..30 {
        assert_eq!(rig.ask(send(1, &format!("T{n}"), &body)).code(), 0);
        commit(&mut rig, n);
        rig.advance(1_001);
    }
    let rig = rig.kill();
    assert_eq!(committed(&rig), Some(29));
    for n in 1..30 {
        assert!(rig.broker.topics.get(&format!("T{n}")).is_some(), "T{n}");
    }
    // Read again from the last snapshot, not from the first delta.
    assert!(rig.broker.state_start() > rig.broker.store.first());
}

#[test]
fn a_note_that_is_lost_to_damage_is_told_and_puts_off_no_snapshot() {
    let mut rig = Rig::new();
    for topic in ["A", "B", "C"] {
        rig.ask(send(1, topic, "x"));
    }
    let file = Path::new("/store/commitlog/00000000000000000000");
    let log = rig.disk.bytes(file).unwrap();
    let notes = record::parse_all(&log).map_while(Result::ok);
    let mut notes = notes.filter(|record| record.topic == kerolox_store::STATE_TOPIC).collect::<Vec<_>>();
    // The last one tells that one before it is missing.
    notes.pop();
    let lost = notes.pop().unwrap();
    let disk = rig.disk.kill();
    disk.flip(file, lost.physical_offset as u64 + 90, 2).unwrap();
    let mut rig = Rig::on(disk, options(), rig.now);
    let told = format!("the state's note number {} cannot be read; it is passed over", lost.queue_offset);
    assert_eq!(rig.lines.iter().filter(|line| line.contains(&told)).count(), 1, "{:?}", rig.lines);
    let start = rig.broker.state_start();
    let body = "x".repeat(100_000);
    for n in 0..30 {
        assert_eq!(rig.ask(send(1, &format!("T{n}"), &body)).code(), 0);
    }
    assert!(rig.broker.state_start() > start, "the whole state was not written again");
}

#[test]
fn damage_in_a_snapshot_takes_nothing_that_the_one_before_and_later_notes_tell() {
    let mut rig = Rig::new();
    let body = "x".repeat(100_000);
    for n in 1..15 {
        assert_eq!(rig.ask(send(1, &format!("T{n}"), &body)).code(), 0);
        commit(&mut rig, n);
        rig.advance(1_001);
    }
    let mut rig = rig.kill();
    let start = rig.broker.state_start().0;
    assert!(start > 1 << 20, "of several, one in each log file");
    rig.advance(1_001);
    let now = rig.now;
    let file = format!("/store/commitlog/{:020}", start - start % (1 << 20));
    let log = rig.disk.bytes(Path::new(&file)).unwrap();
    let records = record::parse_all(&log[(start % (1 << 20)) as usize..]).map_while(Result::ok);
    let pieces = records.take_while(|record| record.topic == kerolox_store::STATE_TOPIC);
    let places: Vec<u64> = pieces.map(|record| record.physical_offset as u64 % (1 << 20)).collect();
    assert!(places.len() > 3, "{places:?}");
    for place in &places[..places.len() - 1] {
        let disk = rig.disk.kill();
        disk.flip(Path::new(&file), place + 90, 2).unwrap();
        let mut rig = Rig::on(disk, options(), now);
        assert!(
            rig.lines
                .iter()
                .any(|line| line.contains("damage in the log") || line.contains("cannot be read"))
        );
        for _ in 0..2 {
            assert_eq!(committed(&rig), Some(14), "{:?}", rig.lines);
            for n in 1..15 {
                assert!(rig.broker.topics.get(&format!("T{n}")).is_some(), "T{n}: {:?}", rig.lines);
            }
            rig.advance(1_001);
            rig = rig.kill();
        }
        assert!(rig.lines.iter().all(|line| !line.contains("passed over")), "written anew: {:?}", rig.lines);
    }
}

#[test]
fn what_was_removed_stays_removed() {
    let mut rig = Rig::new();
    rig.ask(send(1, "T", "x"));
    commit(&mut rig, 1);
    rig.advance(1_001);
    let (group, topic) = names();
    rig.broker.topics.remove(rig.now.wall, &topic);
    rig.broker.offsets.forget(|_, its| *its == group);
    rig.advance(1_001);
    // Any request notes the change of the topic.
    rig.ask(send(1, "Other", "x"));
    let mut rig = rig.kill();
    assert_eq!(committed(&rig), None);
    assert_eq!(rig.ask(pull(2, "T", 0)).code(), code::TOPIC_NOT_EXIST);
}

#[test]
fn the_originals_files_are_written_and_are_ours() {
    let mut rig = Rig::new();
    rig.ask(send_with(1, "T", "x", &[("DELAY", "1")]));
    rig.ask(pull(2, "T", 0));
    commit(&mut rig, 7);
    rig.advance(7_000);
    let text = |rig: &Rig, name: &str| {
        String::from_utf8(rig.disk.bytes(&Path::new("/store/config").join(name)).unwrap()).unwrap()
    };
    assert!(text(&rig, "topics.json").contains("\"topicName\":\"T\""));
    assert!(text(&rig, "subscriptionGroup.json").contains("\"groupName\":\"g\""));
    let offsets: String = text(&rig, "consumerOffset.json").split_whitespace().collect();
    assert_eq!(offsets, "{\"offsetTable\":{\"T@g\":{0:7}}}");
    let delay: String = text(&rig, "delayOffset.json").split_whitespace().collect();
    assert!(delay.starts_with("{\"offsetTable\":{1:1,2:0,"), "{delay}");
    let rig = rig.kill();
    assert_eq!(rig.lines.iter().filter(|line| line.contains("by hand")).count(), 0, "{:?}", rig.lines);
}

#[test]
fn files_of_a_4_9_broker_are_taken_over() {
    let disk = kerolox_store::disk::memory::MemDisk::new();
    let plant = |name: &str, text: &str| {
        disk.plant(&Path::new("/store/config").join(name), text.as_bytes()).unwrap();
    };
    plant(
        "topics.json",
        "{\"dataVersion\":{\"counter\":3,\"timestamp\":1600000000000},\"topicConfigTable\":{\"T\":{\"order\":false,\
         \"perm\":6,\"readQueueNums\":2,\"topicFilterType\":\"SINGLE_TAG\",\"topicName\":\"T\",\"topicSysFlag\":0,\
         \"writeQueueNums\":2}}}",
    );
    plant(
        "subscriptionGroup.json",
        "{\"dataVersion\":{\"counter\":1,\"timestamp\":1600000000000},\"subscriptionGroupTable\":{\"g\":{\"groupName\":\
         \"g\",\"retryMaxTimes\":5}}}",
    );
    plant("consumerOffset.json", "{\n\t\"offsetTable\":{\"T@g\":{0:12,1:34}}\n}");
    plant("delayOffset.json", "{\"offsetTable\":{1:0,2:5}}");
    let rig = Rig::on(disk, options(), crate::rig::START);
    assert_eq!(rig.lines.iter().filter(|line| line.contains("taken over")).count(), 4, "{:?}", rig.lines);
    assert_eq!(committed(&rig), Some(12));
    let topic = rig.broker.topics.get("T").unwrap();
    assert_eq!((topic.read_queue_nums, topic.perm), (2, 6));
    assert!(rig.broker.topics.get("TBW102").is_some(), "what every broker has stays");
    assert_eq!(rig.broker.groups.get("g").unwrap().retry_max_times, 5);
    assert_eq!(rig.broker.topics.version().counter, 3);
    // It is in the log now, whatever becomes of the files.
    let rig = rig.kill();
    assert_eq!(committed(&rig), Some(12));
    assert!(rig.lines.iter().all(|line| !line.contains("taken over")), "{:?}", rig.lines);
}

#[test]
fn a_file_changed_by_hand_is_taken_over_and_a_broken_one_is_not() {
    let mut rig = Rig::new();
    rig.ask(send(1, "T", "x"));
    commit(&mut rig, 7);
    let (options, now) = (rig.options.clone(), rig.now);
    let disk = rig.stop();
    let path = Path::new("/store/config/consumerOffset.json");
    disk.plant(path, b"{\"offsetTable\":{\"T@g\":{0:3}}}").unwrap();
    disk.plant(Path::new("/store/config/topics.json"), b"{\"topicConfigTable\":").unwrap();
    let rig = Rig::on(disk, options, now);
    assert_eq!(committed(&rig), Some(3));
    assert!(rig.broker.topics.get("T").is_some(), "the log stands");
    assert!(rig.lines.iter().any(|line| line.contains("topics.json")), "{:?}", rig.lines);
}

#[test]
fn an_export_that_the_disk_cannot_read_is_set_aside_and_written_anew() {
    for name in ["topics.json", "subscriptionGroup.json", "consumerOffset.json", "delayOffset.json"] {
        let mut rig = Rig::new();
        rig.ask(send(1, "T", "x"));
        rig.ask(send_with(1, "T", "x", &[("DELAY", "1")]));
        rig.ask(pull(2, "T", 0));
        commit(&mut rig, 7);
        rig.advance(7_000);
        let (options, now) = (rig.options.clone(), rig.now);
        let disk = rig.stop();
        let path = Path::new("/store/config").join(name);
        let before = disk.bytes(&path).unwrap();
        disk.spoil(&path, 0, 1).unwrap();
        let mut rig = Rig::on(disk, options, now);
        let told = rig.lines.iter().filter(|line| line.contains(name)).count();
        assert_eq!(told, 1, "{name}: {:?}", rig.lines);
        assert_eq!(committed(&rig), Some(7), "the log stands");
        let kept = Path::new("/store/kerolox.quarantine").join(format!("config-{name}"));
        assert_eq!(rig.disk.bytes(&kept).unwrap(), before);
        rig.advance(20_000);
        assert!(rig.disk.bytes(&path).is_ok_and(|bytes| !bytes.is_empty()), "{name} is there again");
        let rig = rig.kill();
        assert!(rig.lines.iter().all(|line| !line.contains(name)), "{name}: {:?}", rig.lines);
        assert_eq!(committed(&rig), Some(7));
    }
}

#[test]
fn no_power_cut_makes_our_own_export_look_foreign() {
    for seed in 0..40 {
        let mut rig = Rig::new();
        for n in 1..8 {
            rig.ask(send(1, "T", "x"));
            commit(&mut rig, n);
            rig.advance(1_700);
        }
        let rig = rig.power_cut(seed);
        assert!(rig.lines.iter().all(|line| !line.contains("taken over")), "seed {seed}: {:?}", rig.lines);
    }
}

#[test]
fn a_change_that_the_log_does_not_take_is_not_called_done() {
    use crate::rig::Ask;
    use kerolox_store::disk::memory::{Call, Fault, Harm};
    let mut rig = Rig::new();
    rig.ask(send(1, "T", "x"));
    rig.disk.plan(Fault::once(Call::Write, 1, Harm::Eio));
    assert_eq!(rig.ask(send(1, "T", "lost")).code(), code::SERVICE_NOT_AVAILABLE);
    let create = Ask::new(1, 17, &(), b"")
        .with("topic", "New")
        .with("readQueueNums", 4)
        .with("writeQueueNums", 4)
        .with("perm", 6);
    let refused = rig.ask(create);
    assert_eq!(refused.code(), code::SERVICE_NOT_AVAILABLE, "{refused:?}");
    assert!(refused.remark().contains("could not be noted in the log"), "{}", refused.remark());
    // Questions are answered as before.
    let max = rig.ask(Ask::new(1, 30, &(), b"").with("topic", "T").with("queueId", 0));
    assert_eq!((max.code(), max.number("offset")), (0, 1));
    assert_eq!(rig.ask(pull(2, "T", 0)).code(), 0);
}

#[test]
fn what_a_full_disk_refused_is_noted_when_there_is_room_again() {
    let mut rig = Rig::new();
    rig.ask(send(1, "T", "x"));
    rig.fill_disk("T");
    for n in 0..5 {
        commit(&mut rig, n);
        rig.advance(1_001);
    }
    assert_eq!(rig.ask(send(1, "Late", "x")).code(), code::SERVICE_NOT_AVAILABLE);
    rig.disk.set_capacity(None);
    rig.advance(60_000);
    assert_eq!(rig.ask(send(1, "T", "again")).code(), 0);
    commit(&mut rig, 9);
    rig.advance(1_001);
    let rig = rig.kill();
    assert_eq!(committed(&rig), Some(9));
    assert!(rig.broker.topics.get("Late").is_some(), "it was made, and could not be noted then");
}
