//! Who may ask, how the broker stops, and that equal runs are equal.

use crate::{
    asks::*,
    rig::{Ask, Got, Rig, options},
};
use kerolox_config::{Kind, Networks};
use kerolox_protocol::code;
use kerolox_protocol::rpc::{self, Need, Server};

#[test]
fn strangers_may_use_but_not_administer() {
    let mut options = options();
    options.broker.admin_networks = Networks::parse("192.168.0.0/16").unwrap();
    let mut rig = Rig::with(options);
    assert_eq!(rig.ask(send(1, "T", "x")).code(), 0);
    assert_eq!(rig.ask(pull(2, "T", 0)).bodies(), ["x"]);
    let mut refused = 0;
    let mine = rpc::table().filter(|row| row.server == Server::Broker && row.need == Need::Admin);
    for row in mine {
        let got = rig.ask(Ask::new(3, row.code, &(), b""));
        match got.code() {
            code::NO_PERMISSION => {
                assert!(got.remark().contains("adminNetworks"), "{}: {}", row.name, got.remark());
                refused += 1;
            }
            // Not served by this version at all.
            other => assert_eq!(other, code::REQUEST_CODE_NOT_SUPPORTED, "{}: {got:?}", row.name),
        }
    }
    let served = rig.broker.served().filter(|row| row.need == Need::Admin).count();
    assert_eq!(refused, served);
}

#[test]
fn a_stopping_broker_answers_what_waits_and_refuses_what_comes() {
    let mut rig = Rig::new();
    rig.ask(send(1, "T", "x"));
    let held = rig.group(&[hold(2, "T", 1, "*")])[0];
    rig.begin_stop();
    assert_eq!(
        rig.answer(2, held).unwrap().code(),
        code::PULL_NOT_FOUND,
        "clients need not run into a timeout"
    );
    assert_eq!(rig.ask(send(1, "T", "y")).code(), code::SERVICE_NOT_AVAILABLE);
    rig.advance(2_000);
    let (options, now) = (rig.options.clone(), rig.now);
    let mut rig = Rig::on(rig.stop(), options, now);
    assert_eq!(rig.ask(pull(2, "T", 0)).bodies(), ["x"]);
}

#[test]
fn an_unreadable_header_ends_the_connection() {
    let mut rig = Rig::new();
    rig.raw(7, b"{\"code\":");
    assert_eq!(rig.closed, [7]);
}

#[test]
fn equal_seeds_give_equal_runs() {
    let run = |seed| {
        let mut options = options();
        options.seed = seed;
        let mut rig = Rig::with(options);
        let mut queues = Vec::new();
        for n in 0..32 {
            let ask = send_with(1, "T", &format!("{n}"), &[("DELAY", "1")]).with("e", -1);
            queues.push(rig.ask(ask).number("queueId"));
            rig.advance(150);
        }
        (queues, rig.broker.store.end())
    };
    assert_eq!(run(1), run(1));
    assert_ne!(run(1).0, run(2).0);
}

#[test]
fn accounts_are_answered_with_there_being_none() {
    let mut rig = Rig::new();
    let white = [("globalWhiteAddrs", "10.0.0.1"), ("aclFileFullPath", "")];
    let key = [("accessKey", "operator"), ("secretKey", "12345678")];
    for (asked, fields, wanted) in
        [(50, &key[..], 209), (51, &key[..1], 210), (52, &[][..], 1), (53, &white[..], 211)]
    {
        let ask = fields.iter().fold(Ask::bare(1, asked), |ask, (name, value)| ask.with(name, value));
        let got = rig.ask(ask);
        assert_eq!(got.code(), wanted, "{got:?}");
        assert!(got.remark().contains("access control is off") && got.remark().contains("adminNetworks"));
    }
    // It would hand out secrets.
    assert_eq!(rig.ask(Ask::bare(1, 54)).code(), 3);
}

#[test]
fn a_missing_topic_or_group_names_cause_and_command() {
    let mut rig = Rig::new();
    let check = |got: Got, code: i32, parts: &[&str]| {
        assert_eq!(got.code(), code, "{got:?}");
        parts.iter().for_each(|part| assert!(got.remark().contains(part), "{part:?}: {}", got.remark()));
    };
    let create = "mqadmin updateTopic -n <name server> -c <cluster> -t 'None'";
    check(
        rig.ask(pull(1, "None", 0)),
        17,
        &["topic[None] not exist, apply first please!\n", "first message", create],
    );
    check(rig.ask(Ask::bare(1, 202).with("topic", "None")), 17, &["topic[None] not exist\n", create]);
    rig.broker.topics.auto_create = false;
    let sent = rig.ask(send(1, "None", "x"));
    check(sent, 17, &["topic[None] not exist, apply first please!\n", "autoCreateTopicEnable=false", create]);
    rig.broker.options.broker.auto_create_subscription_group = false;
    let pulled = rig.ask(pull(1, "None", 0).with("consumerGroup", "other"));
    let create = "mqadmin updateSubGroup -n <name server> -c <cluster> -g 'other'";
    check(
        pulled,
        26,
        &["subscription group [other] does not exist\n", "autoCreateSubscriptionGroup=false", create],
    );
    // What is no name stands in no command, and nothing is echoed without end.
    let long = format!("a'; rm -rf /; '{}", "x".repeat(10_000));
    let pulled = rig.ask(pull(1, "None", 0).with("consumerGroup", &long));
    assert!(pulled.remark().len() < 500 && !pulled.remark().contains("mqadmin"), "{}", pulled.remark());
    assert!(pulled.remark().contains("no legal group name"), "{}", pulled.remark());
}
