//! Records that rotted on the disk after the store was stopped in order: nothing says so until they are read.

use crate::{
    asks::*,
    protect::said::Said,
    rig::{self, Ask, Rig},
};
use kerolox_protocol::{code, rpc::consume::PullRequest};
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

/// Everything a consumer gets that goes where it is told, and how many of its pulls brought nothing.
fn consumed(rig: &mut Rig, tags: &str) -> (Vec<String>, usize) {
    let (mut next, mut found, mut empty) = (0, Vec::new(), 0);
    while (next as usize) < MESSAGES {
        let got = rig.ask(pull_tag(next, tags));
        match got.code() {
            code::SUCCESS => found.extend(got.bodies().into_iter().map(str::to_owned)),
            code::PULL_RETRY_IMMEDIATELY => empty += 1,
            other => panic!("{other} {}", got.remark()),
        }
        assert!(got.number("nextBeginOffset") > next, "the consumer is stuck at {next}");
        next = got.number("nextBeginOffset");
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
    assert_eq!((at.code(), at.number("nextBeginOffset")), (code::PULL_RETRY_IMMEDIATELY, 5));
    assert_eq!((at.number("minOffset"), at.number("maxOffset")), (0, 12));
    assert!(at.body.is_empty());
    assert_eq!(rig.ask(pull_tag(5, "*")).bodies().len(), 7);
}

#[test]
fn a_rotten_record_is_told_once_in_ten_minutes_and_counted_each_time() {
    let mut rig = rotten(&[4], POSITION);
    let said = Said::listen();
    let text = "a message is damaged on the disk and lost";
    rig.ask(pull_tag(0, "*"));
    assert_eq!(said.take(Level::ERROR, text), 0, "nobody was sent on behind it");
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
