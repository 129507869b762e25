//! Halves, commits and rollbacks.

use crate::{
    asks::*,
    rig::{Ask, Got, Rig, options},
};
use kerolox_config::FlushDiskType;
use kerolox_protocol::{
    QueueId, TopicName, code, msgid, properties,
    record::Draft,
    rpc::{produce::SendRequestV2, transaction::EndTransactionRequest},
};
use kerolox_store::{
    Dispatch,
    disk::memory::{Call, Fault, Harm},
};

const COMMIT: i32 = 8;
const ROLLBACK: i32 = 12;

fn half(rig: &mut Rig, body: &str, more: &[(&str, &str)]) -> Got {
    let mut properties = vec![("TRAN_MSG", "true"), ("PGROUP", "pg"), ("UNIQ_KEY", "ID")];
    properties.extend_from_slice(more);
    let header = SendRequestV2 { queue_id: 2, sys_flag: 4, ..send_header("T", &properties) };
    let sent = rig.ask(Ask::new(1, SEND, &header, body.as_bytes()));
    assert_eq!((sent.code(), sent.number("queueId")), (0, 2), "{sent:?}");
    sent
}

fn end(sent: &Got, how: i32, change: impl FnOnce(&mut EndTransactionRequest)) -> Ask {
    let (_, at) = msgid::parse(sent.field("msgId")).unwrap();
    let mut request = EndTransactionRequest {
        producer_group: "pg".into(),
        tran_state_table_offset: sent.number("queueOffset"),
        commit_log_offset: at.wire(),
        commit_or_rollback: how,
        from_transaction_check: None,
        msg_id: Some("ID".into()),
        transaction_id: None,
    };
    change(&mut request);
    Ask::new(1, 37, &request, b"")
}

fn pulled(rig: &mut Rig, topic: &str, queue: i32) -> Got {
    rig.ask(pull(9, topic, 0).with("queueId", queue))
}

#[test]
fn a_half_is_seen_only_after_its_commit() {
    let mut rig = Rig::new();
    let sent = half(&mut rig, "pay", &[("TAGS", "A")]);
    assert_eq!(pulled(&mut rig, "T", 2).code(), code::PULL_NOT_FOUND);
    let done = rig.ask(end(&sent, COMMIT, |_| {}));
    assert_eq!(done.code(), 0, "{done:?}");
    let got = pulled(&mut rig, "T", 2);
    assert_eq!(got.bodies(), ["pay"]);
    let record = got.records()[0];
    assert_eq!((record.transaction(), record.queue_offset), (8, 0));
    assert_eq!(record.prepared_offset, msgid::parse(sent.field("msgId")).unwrap().1.wire());
    assert_eq!(properties::get_str(record.properties, "TAGS"), Some("A"));
    // It is said for later checks that this half is done.
    let ops = pulled(&mut rig, "RMQ_SYS_TRANS_OP_HALF_TOPIC", 0);
    assert_eq!(
        (ops.bodies(), properties::get_str(ops.records()[0].properties, "TAGS")),
        (vec!["0"], Some("d"))
    );
}

#[test]
fn a_half_that_is_rolled_back_is_never_seen() {
    let mut rig = Rig::new();
    let first = half(&mut rig, "no", &[]);
    let second = half(&mut rig, "yes", &[]);
    assert_eq!(rig.ask(end(&first, ROLLBACK, |_| {})).code(), 0);
    // One-way, as clients do it.
    rig.group(&[end(&second, COMMIT, |_| {}).oneway()]);
    assert_eq!(pulled(&mut rig, "T", 2).bodies(), ["yes"]);
    assert_eq!(pulled(&mut rig, "RMQ_SYS_TRANS_OP_HALF_TOPIC", 0).bodies(), ["0", "1"]);
}

#[test]
fn an_undecided_half_stays_and_is_not_answered() {
    let mut rig = Rig::new();
    let sent = half(&mut rig, "maybe", &[]);
    let opaque = rig.group(&[end(&sent, 0, |_| {})])[0];
    assert!(rig.answer(1, opaque).is_none());
    let mut rig = rig.kill();
    assert_eq!(pulled(&mut rig, "RMQ_SYS_TRANS_HALF_TOPIC", 0).bodies(), ["maybe"]);
    assert_eq!(rig.ask(end(&sent, COMMIT, |_| {})).code(), 0, "also after a restart");
    assert_eq!(pulled(&mut rig, "T", 2).bodies(), ["maybe"]);
}

#[test]
fn only_a_half_can_be_ended_and_only_as_it_was_sent() {
    let mut rig = Rig::new();
    let sent = half(&mut rig, "pay", &[]);
    let plain = rig.ask(send_with(1, "T", "plain", &[("PGROUP", "pg")]));
    let mut check = |ask: Ask, remark: &str| {
        let got = rig.ask(ask);
        assert_eq!((got.code(), got.remark()), (1, remark));
    };
    let missing = "find prepared transaction message failed";
    check(end(&plain, COMMIT, |_| {}), missing);
    check(end(&sent, COMMIT, |request| request.commit_log_offset += 1), missing);
    check(end(&sent, COMMIT, |request| request.commit_log_offset = -1), missing);
    check(end(&sent, COMMIT, |request| request.producer_group = "other".into()), "the producer group wrong");
    check(
        end(&sent, COMMIT, |request| request.tran_state_table_offset += 1),
        "the transaction state table offset wrong",
    );
    assert_eq!(pulled(&mut rig, "T", 2).code(), code::PULL_NOT_FOUND);
}

#[test]
fn a_half_is_ended_once_whatever_is_said_later() {
    let mut rig = Rig::new();
    let paid = half(&mut rig, "pay", &[]);
    let cancelled = half(&mut rig, "cancel", &[]);
    assert_eq!(rig.ask(end(&paid, COMMIT, |_| {})).code(), 0);
    assert_eq!(rig.ask(end(&cancelled, ROLLBACK, |_| {})).code(), 0);
    let check = |mut rig: Rig| {
        assert_eq!(rig.ask(end(&paid, COMMIT, |_| {})).code(), 0, "a repeated commit is fine");
        let late = rig.ask(end(&paid, ROLLBACK, |_| {}));
        assert_eq!(
            (late.code(), late.remark()),
            (1, "the transaction was ended before: it was committed, and the rollback changes nothing")
        );
        assert_eq!(rig.ask(end(&cancelled, ROLLBACK, |_| {})).code(), 0);
        let late = rig.ask(end(&cancelled, COMMIT, |_| {}));
        assert_eq!(
            (late.code(), late.remark()),
            (1, "the transaction was ended before: it was rolled back, and the commit changes nothing")
        );
        assert_eq!(pulled(&mut rig, "T", 2).bodies(), ["pay"]);
        assert_eq!(pulled(&mut rig, "RMQ_SYS_TRANS_OP_HALF_TOPIC", 0).bodies(), ["0", "1"]);
        rig
    };
    let rig = check(rig);
    // The op messages say so after a crash, too.
    check(rig.kill());
}

#[test]
fn a_commit_that_is_repeated_is_acknowledged_when_the_first_is_safe_and_not_before() {
    let mut options = options();
    options.store.flush_disk_type = FlushDiskType::SyncFlush;
    // The flush ends, or its disk does; or the write fails before it.
    for harm in [None, Some(Call::Sync), Some(Call::Write)] {
        let mut rig = Rig::with(options.clone());
        let sent = half(&mut rig, "pay", &[]);
        rig.runs_jobs = false;
        if let Some(call) = harm {
            rig.disk.plan(Fault { path: "commitlog".into(), ..Fault::once(call, 1, Harm::Eio) });
        }
        let first = end(&sent, COMMIT, |_| {});
        let mut again = [rig.group(&[first.clone(), first.clone()]), rig.group(&[first])].concat();
        if harm != Some(Call::Write) {
            assert_eq!(rig.take(1).len(), 0, "the commit may still be lost");
        }
        rig.run_jobs();
        again.extend(rig.group(&[end(&sent, COMMIT, |_| {})]));
        let codes: Vec<i32> =
            again.iter().map(|opaque| rig.answer(1, *opaque).expect("an answer").code()).collect();
        let wanted = if harm.is_some() { code::SERVICE_NOT_AVAILABLE } else { code::SUCCESS };
        assert_eq!(codes, [wanted; 4], "{harm:?}");
    }
}

#[test]
fn a_half_that_another_broker_ended_is_left_alone() {
    let mut rig = Rig::new();
    let sent = half(&mut rig, "pay", &[]);
    let other = half(&mut rig, "open", &[]);
    // As 4.9 writes it, and as 5.x does, several in one.
    let topic = TopicName::new("RMQ_SYS_TRANS_OP_HALF_TOPIC").unwrap();
    let host = "10.0.0.7:10911".parse().unwrap();
    let draft = Draft::plain(host, &topic, QueueId(0), b"0,7,", b"TAGS\x01d\x02");
    let slot = rig.broker.store.slot(&topic, QueueId(0));
    let dispatch = Dispatch::of(&topic, 0, draft.properties);
    rig.broker.store.append(rig.now.wall, &draft, slot, &dispatch).unwrap();
    rig.broker.store.commit().unwrap();
    let mut rig = rig.kill();
    let got = rig.ask(end(&sent, COMMIT, |_| {}));
    assert!(got.code() == 1 && got.remark().contains("another broker ended it"), "{got:?}");
    assert_eq!(rig.ask(end(&other, COMMIT, |_| {})).code(), 0);
    assert_eq!(pulled(&mut rig, "T", 2).bodies(), ["open"]);
}

#[test]
fn a_delay_counts_from_the_commit() {
    let mut rig = Rig::new();
    let sent = half(&mut rig, "later", &[("DELAY", "1")]);
    rig.advance(5_000);
    rig.ask(end(&sent, COMMIT, |_| {}));
    rig.advance(999);
    assert_eq!(pulled(&mut rig, "T", 2).code(), code::PULL_NOT_FOUND);
    rig.advance(2);
    assert_eq!(pulled(&mut rig, "T", 2).bodies(), ["later"]);
}

#[test]
fn an_operator_may_refuse_transactions() {
    let mut rig = Rig::new();
    rig.broker.options.broker.reject_transaction_message = true;
    let got = rig.ask(send_with(1, "T", "x", &[("TRAN_MSG", "true"), ("PGROUP", "pg")]));
    assert_eq!(got.code(), code::NO_PERMISSION);
    assert!(got.remark().contains("rejectTransactionMessage"));
}
