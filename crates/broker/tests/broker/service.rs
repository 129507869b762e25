//! Who may ask, how the broker stops, and that equal runs are equal.

use crate::{
    asks::*,
    rig::{Ask, Rig, options},
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
