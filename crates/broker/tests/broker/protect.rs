//! Messages of protected topics, on a disk that fills up.

use crate::{
    asks::{pull, send},
    rig::{Rig, options},
};
use kerolox_config::Names;
use kerolox_protocol::{GroupName, TopicName, code};
use kerolox_said::Said;
use kerolox_store::disk::Disk;
use std::path::Path;
use tracing::Level;

const TOPIC: &str = "Kept";

/// Sixty messages of 100 kB, in seven log files.
fn filled(protected: &[&str]) -> Rig {
    let mut options = options();
    options.store.protected_topics = Names::of(protected);
    options.store.delete_when.0.clear();
    let mut rig = Rig::with(options);
    let body = "x".repeat(100_000);
    for _ in 0..60 {
        assert_eq!(rig.ask(send(1, TOPIC, &body)).code(), code::SUCCESS);
        rig.advance(100);
    }
    // Until a checkpoint covers them: what is not in queue files yet is not deleted.
    rig.advance(70_000);
    rig
}

fn commit(rig: &mut Rig, group: &str, offset: i64) {
    let (group, topic) = (GroupName::new(group).unwrap(), TopicName::new(TOPIC).unwrap());
    rig.broker.offsets.commit(&group, &topic, 0, offset);
}

fn squeeze(rig: &mut Rig, percent: u64) {
    rig.disk.set_capacity(Some(1 << 30));
    let space = rig.disk.space(Path::new("/store")).unwrap();
    rig.disk.set_capacity(Some((space.total - space.free) * 100 / percent));
    rig.advance(12_000);
}

fn first(rig: &Rig) -> u64 {
    let queues = rig.broker.store.queues(TOPIC);
    queues.iter().find(|queue| queue.id.0 == 0).unwrap().bounds.min.0
}

#[test]
fn the_slowest_group_of_a_protected_topic_keeps_its_messages() {
    let mut rig = filled(&["Other", TOPIC]);
    commit(&mut rig, "fast", 60);
    commit(&mut rig, "slow", 25);
    for _ in 0..3 {
        squeeze(&mut rig, 88);
    }
    assert!((1..=25).contains(&first(&rig)), "{}", first(&rig));
    squeeze(&mut rig, 93);
    let refused = rig.ask(send(1, TOPIC, "more"));
    assert_ne!(refused.code(), code::SUCCESS);
    assert!(
        refused.remark().contains("protectedTopics") && refused.remark().contains(TOPIC),
        "{}",
        refused.remark()
    );
    assert_eq!(rig.ask(pull(2, TOPIC, 25)).code(), code::SUCCESS, "what is refused is sending");
    commit(&mut rig, "slow", 60);
    rig.advance(12_000);
    assert!(first(&rig) > 25);
    rig.advance(12_000);
    assert_eq!(rig.ask(send(1, TOPIC, "more")).code(), code::SUCCESS);
}

#[test]
fn as_long_as_nobody_read_of_a_protected_topic_all_of_it_stays() {
    let mut rig = filled(&[TOPIC]);
    squeeze(&mut rig, 88);
    assert_eq!(first(&rig), 0);
}

#[test]
fn a_disk_that_stays_full_is_told_once() {
    let mut rig = filled(&[TOPIC]);
    let said = Said::listen();
    squeeze(&mut rig, 93);
    assert_ne!(rig.ask(send(1, TOPIC, "more")).code(), code::SUCCESS);
    for offset in 0..60 {
        commit(&mut rig, "g", offset % 2);
        rig.advance(1_000);
    }
    let lines = said.all();
    let about_state = |line: &&(Level, String)| line.1.contains("state") && line.1.contains("noted");
    assert_eq!(lines.iter().filter(about_state).count(), 1, "{lines:#?}");
    rig.disk.set_capacity(None);
    rig.advance(12_000);
    assert_eq!(said.take(Level::INFO, "the state is noted in the log again"), 1);
}

#[test]
fn a_group_is_told_of_that_missed_what_made_room() {
    let mut rig = filled(&[]);
    commit(&mut rig, "fast", 60);
    commit(&mut rig, "slow", 2);
    let said = Said::listen();
    squeeze(&mut rig, 88);
    let lost = first(&rig) - 2;
    assert!(lost > 0);
    assert_eq!(said.take(Level::ERROR, &format!("group=slow lost={lost} ")), 1);
}
