//! The disk is read for somebody without anybody else waiting.

use crate::{
    asks::*,
    members::beat,
    rig::{self, Ask, Got, Rig},
};
use kerolox_broker::{Options, jobs::BrokerJob};
use kerolox_net::Now;
use kerolox_protocol::{code, rpc::consume::PullRequest};
use kerolox_store::disk::memory::{Call, Fault, Harm, MemDisk};

const MESSAGES: i64 = 24;

/// With a small index: each broker here reads it at its start.
fn options() -> Options {
    let mut options = rig::options();
    options.store.max_hash_slot_num.0 = 100;
    options.store.max_index_num.0 = 1_000;
    options
}

/// A store with messages, and what names the first of them.
struct Past {
    disk: MemDisk,
    now: Now,
    /// Offset message id.
    id: String,
    /// Position in the log.
    at: i64,
}

fn past() -> Past {
    let mut rig = Rig::with(options());
    rig.ask(beat(1, "java", "g", "T", "*"));
    let mut id = None;
    for n in 0..MESSAGES {
        let key = format!("k{}", n % 7);
        let sent = rig.ask(send_with(5, "T", &format!("message {n}"), &[("KEYS", &key)]));
        id.get_or_insert(sent.field("msgId").to_owned());
        rig.advance(1_000);
    }
    rig.group(&[commit("g", "T", 0, 10)]);
    let (now, id) = (rig.now, id.unwrap());
    let at = i64::from_str_radix(&id[16..], 16).unwrap();
    Past { disk: rig.stop(), now, id, at }
}

/// A broker that has just started on it: nothing of the messages is in its own memory.
fn restarted(past: &Past, resident: bool) -> Rig {
    let disk = past.disk.kill();
    disk.set_resident(Some(resident));
    let mut rig = Rig::on(disk, options(), past.now);
    rig.group(&[beat(1, "java", "g", "T", "*")]);
    rig.take(1);
    rig.runs_jobs = false;
    rig
}

fn reads(rig: &Rig) -> usize {
    rig.jobs.iter().filter(|job| matches!(job, BrokerJob::Read(_))).count()
}

/// Questions that need the disk, by name.
fn questions(past: &Past) -> Vec<(&'static str, Ask)> {
    let start = rig::START.wall.0;
    let of = |code: i32| Ask::bare(9, code).with("topic", "T");
    let key = Ask::bare(9, 12).with("topic", "T").with("key", "k3").with("maxNum", 32);
    let time = of(29).with("queueId", 0).with("timestamp", start + 20_300);
    let entries = of(321).with("queueId", 0).with("index", 5).with("count", 10).with("consumerGroup", "g");
    let pull = PullRequest { queue_offset: 3, ..pull_header("T", 3) };
    let reset =
        of(222).with("group", "g").with("queueId", 0).with("timestamp", start + 5_000).with("isForce", true);
    vec![
        ("query by key", key.with("beginTimestamp", 0).with("endTimestamp", i64::MAX)),
        ("view", Ask::bare(9, VIEW).with("offset", past.at)),
        ("search by time", time),
        ("earliest time", of(32).with("queueId", 0)),
        ("topic figures", of(202)),
        ("group figures", Ask::bare(9, 208).with("consumerGroup", "g").with("topic", "T")),
        ("time span", of(303).with("group", "g")),
        ("figures of all groups", Ask::bare(9, 317).with("isOrder", false)),
        ("entries", entries),
        ("runtime", Ask::bare(9, 28)),
        ("pull", Ask::new(9, PULL, &pull, b"")),
        ("give back", send_back(9, past.at, 1)),
        ("reset", reset),
    ]
}

fn said(got: &Got) -> (i32, String, Vec<u8>) {
    (got.code(), format!("{:?} {:?}", got.header.ext, got.header.remark), got.body.clone())
}

#[test]
fn what_is_in_memory_is_answered_at_once_and_what_is_not_when_it_was_read() {
    let past = past();
    let (mut warm, mut cold) = (restarted(&past, true), restarted(&past, false));
    for (name, ask) in questions(&past) {
        let opaque = warm.group(std::slice::from_ref(&ask))[0];
        assert_eq!(reads(&warm), 0, "{name}");
        let expected = warm.answer(9, opaque).unwrap_or_else(|| panic!("{name} is answered at once"));

        let opaque = cold.group(std::slice::from_ref(&ask))[0];
        assert!(cold.answer(9, opaque).is_none(), "{name} waits for the disk");
        assert_eq!(reads(&cold), 1, "{name}");
        // Somebody who needs no disk is served meanwhile.
        assert_eq!(
            cold.ask(Ask::bare(8, 30).with("topic", "T").with("queueId", 0)).number("offset"),
            MESSAGES
        );
        let mut rounds = 0;
        while !cold.jobs.is_empty() {
            rounds += 1;
            assert!(rounds <= 20, "{name} gets no further");
            cold.run_jobs_handed_out();
        }
        let got = cold.answer(9, opaque).unwrap_or_else(|| panic!("{name} is answered"));
        if name == "runtime" {
            assert_eq!(got.code(), code::SUCCESS);
            continue;
        }
        assert_eq!(said(&got), said(&expected), "{name}");
        assert!(cold.take(9).is_empty(), "{name} is answered once");
        assert_eq!(got.code(), code::SUCCESS, "{name}: {}", got.remark());
    }
}

/// One read after another would take a round for each queue.
#[test]
fn the_reads_of_one_question_are_collected() {
    let mut rig = Rig::with(options());
    rig.ask(crate::tables::set_topic("T", 16, 16, 6));
    for queue in 0..16 {
        let header =
            kerolox_protocol::rpc::produce::SendRequestV2 { queue_id: queue, ..send_header("T", &[]) };
        rig.ask(Ask::new(5, SEND, &header, b"x"));
    }
    let (options, now) = (rig.options.clone(), rig.now);
    let disk = rig.stop();
    disk.set_resident(Some(false));
    let mut rig = Rig::on(disk, options, now);
    rig.runs_jobs = false;
    let opaque = rig.group(&[Ask::bare(9, 202).with("topic", "T")])[0];
    let mut rounds = 0;
    while rig.answer(9, opaque).is_none() {
        rounds += 1;
        assert!(reads(&rig) == 1 && rounds <= 2, "entries, then records: {rounds}");
        rig.run_jobs_handed_out();
    }
    assert!(rounds > 0);
}

#[test]
fn delayed_messages_are_delivered_when_they_were_read_and_once() {
    let mut rig = Rig::with(options());
    for n in 0..3 {
        rig.ask(send_with(5, "T", &format!("late {n}"), &[("DELAY", "3")]));
    }
    let (options, now) = (rig.options.clone(), rig.now);
    let disk = rig.stop();
    disk.set_resident(Some(false));
    let mut rig = Rig::on(disk, options, now);
    rig.runs_jobs = false;
    rig.advance(11_000);
    assert_eq!(reads(&rig), 1, "one wait at a time");
    assert_eq!(rig.ask(Ask::bare(8, 30).with("topic", "T").with("queueId", 0)).number("offset"), 0);
    rig.runs_jobs = true;
    rig.run_jobs();
    rig.advance(11_000);
    assert_eq!(rig.ask(pull(9, "T", 0)).bodies(), ["late 0", "late 1", "late 2"]);
}

/// The first round must leave nothing behind: no second message, no moved group.
#[test]
fn a_message_given_back_from_the_disk_comes_again_once() {
    let past = past();
    let mut rig = restarted(&past, false);
    let opaque = rig.group(&[send_back(9, past.at, 1)])[0];
    rig.runs_jobs = true;
    rig.run_jobs();
    assert_eq!(rig.answer(9, opaque).expect("answered").code(), code::SUCCESS);
    rig.advance(5_000);
    assert_eq!(rig.ask(pull(9, "%RETRY%g", 0)).bodies(), ["message 0"]);
}

#[test]
fn a_message_for_one_client_is_read_before_it_is_handed_over() {
    let past = past();
    let mut rig = restarted(&past, false);
    let ask = Ask::bare(9, 309).with("consumerGroup", "g").with("clientId", "java").with("msgId", &past.id);
    let opaque = rig.group(&[ask])[0];
    assert!(rig.take(1).is_empty() && rig.answer(9, opaque).is_none());
    rig.run_jobs();
    let mut asked = rig.take(1);
    assert_eq!((asked.len(), asked[0].bodies()), (1, vec!["message 0"]));
    rig.reply(1, asked.remove(0).header.opaque, 0, b"{}");
    assert_eq!(rig.answer(9, opaque).expect("answered").body, b"{}");
}

#[test]
fn a_read_that_fails_is_told_to_who_asked() {
    let past = past();
    let mut rig = restarted(&past, false);
    let opaque = rig.group(&[Ask::bare(9, VIEW).with("offset", past.at)])[0];
    rig.disk.plan(Fault { times: u64::MAX, ..Fault::once(Call::Read, 1, Harm::Eio) });
    rig.run_jobs();
    let got = rig.answer(9, opaque).expect("answered");
    assert!(got.code() == code::SYSTEM_ERROR && got.remark().contains("cannot be read"), "{}", got.remark());
}

#[test]
fn who_waits_for_the_disk_is_bounded_and_may_leave() {
    let past = past();
    let mut rig = restarted(&past, false);
    let asks = vec![Ask::bare(9, VIEW).with("offset", past.at); 4_097];
    let opaques = rig.group(&asks);
    assert_eq!(rig.answer(9, opaques[4_096]).expect("answered at once").code(), code::SYSTEM_BUSY);
    assert!(rig.answer(9, opaques[0]).is_none());
    rig.close(9);
    let opaque = rig.group(&[Ask::bare(8, VIEW).with("offset", past.at)])[0];
    rig.run_jobs();
    assert!(rig.take(9).is_empty(), "nobody is there to be answered");
    assert_eq!(rig.answer(8, opaque).expect("there is room again").code(), code::SUCCESS);
}
