//! Records that rotted on the disk after the store was stopped in order: nothing says so until they are read.

use crate::{
    asks::*,
    rig::{self, Ask, Rig},
};
use kerolox_protocol::{code, rpc::consume::PullRequest};
use kerolox_said::Said;
use std::path::Path;
use tracing::Level;

const MESSAGES: usize = 12;

/// Bits of a record, counted from its first byte: in its size, and in the position that it tells.
const SIZE: u64 = 3;
const POSITION: u64 = 35;

/// A broker that starts on a store in which a bit of these messages has flipped. Every third message has the tag B,
/// all others A.
fn rotten(hit: &[usize], byte: u64) -> Rig {
    let mut rig = Rig::new();
    let mut stands = Vec::new();
    for n in 0..MESSAGES {
        let tag = if n % 3 == 2 { "B" } else { "A" };
        let sent = rig.ask(send_with(1, "T", &format!("message {n}"), &[("TAGS", tag)]));
        stands.push(u64::from_str_radix(&sent.field("msgId")[16..], 16).unwrap());
    }
    let now = rig.now;
    let disk = rig.stop();
    for n in hit {
        disk.flip(Path::new("/store/commitlog/00000000000000000000"), stands[*n] + byte, 4).unwrap();
    }
    Rig::on(disk, rig::options(), now)
}

fn pull_tag(offset: i64, tags: &str) -> Ask {
    let wanted = PullRequest { subscription: Some(tags.into()), ..pull_header("T", offset) };
    Ask::new(9, PULL, &wanted, b"")
}

/// Everything a consumer gets that goes where it is told, and how many of its pulls sent it on with nothing.
fn consumed(rig: &mut Rig, tags: &str) -> (Vec<String>, usize) {
    let (mut next, mut found, mut empty, mut tries) = (0, Vec::new(), 0, 0);
    while (next as usize) < MESSAGES {
        let got = rig.ask(pull_tag(next, tags));
        let to = got.number("nextBeginOffset");
        match got.code() {
            code::SUCCESS => found.extend(got.bodies().into_iter().map(str::to_owned)),
            code::PULL_RETRY_IMMEDIATELY | code::PULL_NOT_FOUND => empty += usize::from(to > next),
            other => panic!("{other} {}", got.remark()),
        }
        // It may be asked to come again once, or twice while something is made again.
        tries = if to > next { 0 } else { tries + 1 };
        assert!(to >= next && tries < 4, "the consumer is stuck at {next}");
        next = to;
    }
    (found, empty)
}

fn all_but(hit: &[usize], wanted: impl Fn(usize) -> bool) -> Vec<String> {
    (0..MESSAGES).filter(|n| !hit.contains(n) && wanted(*n)).map(|n| format!("message {n}")).collect()
}

#[test]
fn a_consumer_gets_what_stands_around_rotten_records() {
    for byte in [SIZE, POSITION] {
        for hit in [&[0][..], &[5], &[3, 4], &[2, 7], &[11], &[0, 1, 10, 11]] {
            let mut rig = rotten(hit, byte);
            assert_eq!(consumed(&mut rig, "*"), (all_but(hit, |_| true), hit.len()), "{hit:?} {byte}");
            let mut rig = rotten(hit, byte);
            let found = consumed(&mut rig, "A").0;
            assert_eq!(found, all_but(hit, |n| n % 3 != 2), "tag A, {hit:?} {byte}");
        }
    }
}

#[test]
fn what_stands_before_a_rotten_record_is_delivered_first() {
    let mut rig = rotten(&[4], POSITION);
    let before = rig.ask(pull_tag(0, "*"));
    assert_eq!((before.code(), before.number("nextBeginOffset")), (code::SUCCESS, 4));
    assert_eq!(before.bodies(), ["message 0", "message 1", "message 2", "message 3"]);
    let at = rig.ask(pull_tag(4, "*"));
    assert_eq!((at.code(), at.number("nextBeginOffset")), (code::PULL_RETRY_IMMEDIATELY, 5), "sought before");
    assert_eq!((at.number("minOffset"), at.number("maxOffset")), (0, 12));
    assert!(at.body.is_empty());
    assert_eq!(rig.ask(pull_tag(5, "*")).bodies().len(), 7);
}

#[test]
fn a_rotten_record_is_told_once_in_ten_minutes_and_counted_each_time() {
    let mut rig = rotten(&[4], POSITION);
    let said = Said::listen();
    let text = "a message is damaged on the disk and lost";
    let before = rig.ask(pull_tag(0, "*"));
    assert_eq!(
        (before.number("nextBeginOffset"), said.take(Level::ERROR, text)),
        (4, 0),
        "nobody was sent on"
    );
    rig.ask(pull_tag(4, "*"));
    let all = said.all();
    let told: Vec<_> = all.iter().filter(|(_, line)| line.contains(text)).collect();
    assert_eq!(told.len(), 1);
    let (level, line) = told[0];
    assert!(*level == Level::ERROR && line.contains("offset=4") && line.contains("topic=T"), "{line}");
    rig.ask(pull_tag(4, "*"));
    assert_eq!(said.take(Level::ERROR, text), 0);
    rig.advance(600_000);
    rig.ask(pull_tag(4, "*"));
    assert_eq!(said.take(Level::ERROR, text), 1);
    let figures = rig.ask(Ask::bare(9, 28));
    let figures = String::from_utf8(figures.body).unwrap();
    assert!(figures.contains(r#""rottenRecordsPassedOver":"3""#), "{figures}");
}

#[test]
fn a_rotten_message_does_not_hold_up_the_delayed_ones_behind_it() {
    let mut rig = Rig::new();
    let stands: Vec<u64> = ["first", "second"]
        .iter()
        .map(|body| {
            let sent = rig.ask(send_with(1, "T", body, &[("DELAY", "1")]));
            u64::from_str_radix(&sent.field("msgId")[16..], 16).unwrap()
        })
        .collect();
    let now = rig.now;
    let disk = rig.stop();
    disk.flip(Path::new("/store/commitlog/00000000000000000000"), stands[0] + POSITION, 4).unwrap();
    let mut rig = Rig::on(disk, rig::options(), now);
    rig.advance(5_000);
    assert_eq!(rig.ask(pull_tag(0, "*")).bodies(), ["second"]);
}

/// A store of two topics, the second of which makes what the first one's entries must not lead to.
fn two_topics() -> (kerolox_store::disk::memory::MemDisk, kerolox_net::Now) {
    let mut rig = Rig::with(small());
    for n in 0..MESSAGES {
        let tag = if n % 3 == 2 { "B" } else { "A" };
        rig.ask(send_with(1, "T", &format!("message {n}"), &[("TAGS", tag)]));
        rig.ask(send_with(1, "U", &format!("another {n}"), &[("TAGS", tag)]));
    }
    let now = rig.now;
    (rig.stop(), now)
}

/// With small files: many brokers are started here.
pub fn small() -> kerolox_broker::Options {
    let mut options = rig::options();
    options.store.mapped_file_size_consume_queue.0 = 50 * 20;
    options.store.max_hash_slot_num.0 = 100;
    options.store.max_index_num.0 = 1_000;
    options
}

const QUEUE: &str = "/store/consumequeue/T/0/00000000000000000000";

#[test]
fn a_flipped_bit_of_a_queues_entry_loses_no_message_and_delivers_no_other() {
    let (disk, now) = two_topics();
    for entry in [0, 5, 11] {
        // Of the hash of a tag only the upper half is known.
        for bit in 0..128u32 {
            for tags in ["*", "A"] {
                let disk = disk.kill();
                disk.flip(Path::new(QUEUE), entry * 20 + u64::from(bit / 8), bit % 8).unwrap();
                let mut rig = Rig::on(disk, small(), now);
                let expected = all_but(&[], |n| tags == "*" || n % 3 != 2);
                assert_eq!(consumed(&mut rig, tags).0, expected, "entry {entry}, bit {bit}, tags {tags}");
            }
        }
    }
}

#[test]
fn a_pull_waits_for_an_entry_that_is_made_again_and_not_longer() {
    let (disk, now) = two_topics();
    disk.flip(Path::new(QUEUE), 4 * 20 + 4, 0).unwrap();
    let mut rig = Rig::on(disk, small(), now);
    rig.runs_jobs = false;
    let before = rig.ask(pull_tag(0, "*"));
    assert_eq!((before.bodies().len(), before.number("nextBeginOffset")), (4, 4));
    let opaque = rig.group(&[hold(7, "T", 4, "*")])[0];
    assert!(rig.answer(7, opaque).is_none(), "it waits");
    rig.run_jobs();
    let got = rig.answer(7, opaque).expect("no time has passed");
    assert_eq!(got.bodies().len(), MESSAGES - 4);
}

#[test]
fn flipped_bits_in_the_queue_of_the_state_take_nothing_of_it() {
    let mut rig = Rig::with(small());
    rig.ask(send(1, "T", "x"));
    rig.group(&[crate::asks::commit("g", "T", 0, 7)]);
    rig.advance(2_000);
    let now = rig.now;
    let disk = rig.stop();
    let path = Path::new("/store/consumequeue/rmq_sys_KEROLOX_STATE/0/00000000000000000000");
    let entries = disk.bytes(path).unwrap().chunks(20).take_while(|entry| entry[8..12] != [0; 4]).count();
    assert!(entries > 3);
    for at in 0..entries as u64 * 20 {
        let disk = disk.kill();
        disk.flip(path, at, (at * 5 % 8) as u32).unwrap();
        let mut rig = Rig::on(disk, small(), now);
        assert!(rig.broker.topics.get("T").is_some(), "byte {at}: {:?}", rig.lines);
        let offset = rig.broker.offsets.query(
            &kerolox_protocol::GroupName::new("g").unwrap(),
            &kerolox_protocol::TopicName::new("T").unwrap(),
            0,
        );
        assert_eq!(offset, Some(7), "byte {at}: {:?}", rig.lines);
        assert!(rig.lines.iter().all(|line| line.level < kerolox_store::Level::Error), "{:?}", rig.lines);
        rig.advance(2_000);
        assert_eq!(rig.ask(send(1, "T", "y")).code(), code::SUCCESS);
    }
}
