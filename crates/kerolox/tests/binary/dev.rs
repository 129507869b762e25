//! `kerolox dev`, from the boot line to the restart.

use crate::harness::{Dev, Dir, NAMESRV_BOOTED, SMALL_LOG, Server, Wire, request, run};
use kerolox_protocol::code;

#[test]
fn the_boot_lines_are_the_originals_and_name_the_ports() {
    let dir = Dir::new();
    let dev = Dev::start(dir.path());
    let (broker, namesrv) = (dev.broker, dev.namesrv);
    let ended = dev.server.stop();
    let expected = [
        NAMESRV_BOOTED.to_owned(),
        format!(
            "The broker[broker-a, {broker}] boot success. serializeType=JSON and name server is {namesrv}"
        ),
        format!("Data is kept in {}. Stop with Ctrl-C.", dir.path().display()),
    ];
    assert_eq!(ended.out, expected);
    assert!(broker.ip().is_loopback() && namesrv.ip().is_loopback());
    for listens in [format!("name server listens on {namesrv}"), format!("broker listens on {broker}")] {
        assert!(ended.err.iter().any(|line| line.ends_with(&listens)), "{listens}: {:#?}", ended.err);
    }
}

#[test]
fn a_message_passes_by_commands_alone() {
    let dir = Dir::new();
    let dev = Dev::start(dir.path());
    let sent = dev.admin(&["sendMessage", "-t", "Orders", "-p", "hello", "-k", "order-1", "-c", "created"]);
    let sent: Vec<&str> = sent.lines().collect();
    assert!(sent[0].starts_with("#Broker Name"), "{sent:?}");
    assert!(sent[1].starts_with("broker-a ") && sent[1].contains(" SEND_OK "), "{sent:?}");

    let consumed = dev.admin(&["consumeMessage", "-t", "Orders"]);
    let message = consumed.lines().find(|line| line.starts_with("MSGID: ")).expect("a message");
    assert!(message.contains("brokerName=broker-a") && message.ends_with("BODY: hello"), "{message}");
    assert!(message.contains("KEYS=order-1") && message.contains("TAGS=created"), "{message}");
    assert_eq!(consumed.lines().filter(|line| line.contains("print msg finished")).count(), 4);

    let clusters = dev.admin(&["clusterList"]);
    let row = clusters.lines().nth(1).expect("a row");
    let cells: Vec<&str> = row.split_whitespace().take(4).collect();
    assert_eq!(cells, ["DefaultCluster", "broker-a", "0", &dev.broker.to_string()]);

    let route: serde_json::Value =
        serde_json::from_str(&dev.admin(&["topicRoute", "-t", "Orders"])).expect("JSON");
    assert_eq!(route["brokerDatas"][0]["brokerAddrs"]["0"], dev.broker.to_string());
    assert_eq!(route["queueDatas"][0]["readQueueNums"], 4);

    let status = dev.admin(&["topicStatus", "-t", "Orders"]);
    let ends = status.lines().skip(1).filter_map(|line| line.split_whitespace().nth(3)?.parse::<u64>().ok());
    assert_eq!(ends.sum::<u64>(), 1, "{status}");
}

/// Where `127.0.0.1` was told, clients of other machines looked for the broker on their own.
#[test]
fn on_all_addresses_it_tells_one_that_other_machines_can_reach() {
    let dir = Dir::in_memory();
    let dev = Dev::start_with(dir.path(), &["--bind", "0.0.0.0"]);
    let line = dev.server.err(|line| line.contains("address told to clients").then(|| line.to_owned()));
    assert!(line.contains(&format!("chosen={}", dev.broker.ip())), "{line}");
    let candidates = line.split_once("candidates=").expect("they are listed").1;
    let is_alone = candidates.split(", ").all(|candidate| candidate.contains(" (lo)"));
    assert_eq!(dev.broker.ip().is_loopback(), is_alone, "{line}");
    // Clients get there.
    dev.send("Orders", "one");
    assert_eq!(dev.bodies("Orders"), ["one"]);
    dev.server.stop();
    // Who knows better is obeyed.
    let dev = Dev::start_with(dir.path(), &["--bind", "0.0.0.0", "brokerIP1=127.0.0.1"]);
    assert!(dev.broker.ip().is_loopback());
}

#[test]
fn sigterm_ends_it_in_order_even_with_open_connections_and_held_pulls() {
    let dir = Dir::in_memory();
    let dev = Dev::start(dir.path());
    let mut pull = Wire::connect(dev.broker);
    assert_eq!(pull.ask(310, &send_v2("Held", 0), b"one").header.code, code::SUCCESS);
    let held = [
        ("consumerGroup", "g"),
        ("topic", "Held"),
        ("queueId", "0"),
        ("queueOffset", "1"),
        ("maxMsgNums", "32"),
        ("sysFlag", "6"),
        ("commitOffset", "0"),
        ("suspendTimeoutMillis", "30000"),
        ("subscription", "*"),
        ("subVersion", "0"),
    ];
    assert!(pull.send(&request(11, 1, &held, b"")));
    // The answer to the next request is the next answer: the pull is held.
    pull.ask(30, &[("topic", "Held"), ("queueId", "0")], b"");
    let idle = Wire::connect(dev.namesrv);
    let ended = dev.server.stop();
    assert_eq!(ended.status.code(), Some(0), "{:#?}", ended.err);
    // Neither the pull's half minute nor the end of a peer's patience was waited for: that would be said.
    assert!(!ended.err.iter().any(|line| line.contains("stop took too long")), "{:#?}", ended.err);
    // The held pull is answered rather than cut: its client asks again elsewhere at once.
    let last = pull.next().map(|answer| (answer.header.opaque, answer.header.code));
    assert_eq!(last, Some((1, code::PULL_NOT_FOUND)));
    drop((pull, idle));
}

/// The answer comes while the body is still to be sent, and what follows the body is served.
#[test]
fn a_large_send_that_cannot_pass_is_refused_before_its_body_came() {
    let dir = Dir::in_memory();
    let dev = Dev::start(dir.path());
    let mut wire = Wire::connect(dev.broker);
    let body = vec![b'x'; 4 << 20];
    let mut nowhere = send_v2("Nowhere", 0);
    nowhere.iter_mut().filter(|(name, _)| *name == "c").for_each(|field| field.1 = "no-template");
    for (number, code, ext, wanted) in
        [(1, 310, &nowhere[..], code::TOPIC_NOT_EXIST), (2, 4_711, &[], code::REQUEST_CODE_NOT_SUPPORTED)]
    {
        let frame = request(code, number, ext, &body);
        let (head, rest) = frame.split_at(frame.len() - body.len());
        assert!(wire.send(head));
        let refused = wire.next().expect("an answer");
        assert_eq!((refused.header.opaque, refused.header.code), (number, wanted));
        assert!(wire.send(rest));
        assert_eq!(wire.ask(310, &send_v2("Orders", 0), b"small").header.code, code::SUCCESS);
    }
    // One that passes is stored, of course.
    assert_eq!(wire.ask(310, &send_v2("Orders", 0), &body).header.code, code::SUCCESS);
}

#[test]
fn a_restart_keeps_what_was_sent() {
    let dir = Dir::new();
    let dev = Dev::start(dir.path());
    (0..5).for_each(|n| drop(dev.send("Kept", &format!("message {n}"))));
    let before = dev.bodies("Kept");
    assert_eq!(before.len(), 5);
    assert_eq!(dev.server.stop().status.code(), Some(0));
    let dev = Dev::start(dir.path());
    assert_eq!(dev.bodies("Kept"), before);
    dev.send("Kept", "message 5");
    assert_eq!(dev.bodies("Kept").len(), 6);
}

#[test]
fn a_kill_loses_nothing_that_was_acknowledged() {
    let dir = Dir::new();
    let mut acknowledged = Vec::new();
    for round in 0..3 {
        let dev = Dev::start(dir.path());
        assert_eq!(dev.bodies_or_none("Killed"), acknowledged, "before round {round}");
        let mut wire = Wire::connect(dev.broker);
        for n in 0..200 {
            let body = format!("round {round} message {n:03}");
            let answer = wire.ask(310, &send_v2("Killed", n % 4), body.as_bytes());
            assert_eq!(answer.header.code, code::SUCCESS, "{:?}", answer.header.remark);
            acknowledged.push(body);
        }
        let ended = dev.server.kill();
        assert_eq!(ended.status.code(), None, "it was killed");
    }
    let dev = Dev::start(dir.path());
    assert_eq!(dev.bodies("Killed"), acknowledged);
}

#[test]
fn a_value_that_cannot_be_used_stops_it_before_anything_is_made() {
    let dir = Dir::new();
    let store = dir.text("store");
    let words =
        ["dev", "--namesrv-port", "0", "--broker-port", "0", "--store", &store, "flushDiskType=SOMETIMES"];
    let output = run(&words);
    assert_eq!(output.status.code(), Some(1));
    let err = String::from_utf8_lossy(&output.stderr);
    let line = err.lines().last().expect("a line");
    assert!(line.starts_with("kerolox: ") && line.contains("flushDiskType=SOMETIMES: wanted"), "{err}");
    assert!(!dir.join("store").exists());
}

#[test]
fn the_second_on_the_same_ports_says_so_and_leaves_the_first_alone() {
    let dir = Dir::new();
    let dev = Dev::start(&dir.join("first"));
    dev.send("First", "one");
    let second = dir.text("second");
    let port = dev.namesrv.port().to_string();
    let output = run(&["dev", "--namesrv-port", &port, "--broker-port", "0", "--store", &second, SMALL_LOG]);
    assert_eq!(output.status.code(), Some(1));
    let err = String::from_utf8_lossy(&output.stderr);
    assert!(err.lines().last().is_some_and(|line| line.contains(&format!("port {port} is in use"))), "{err}");
    assert!(!dir.join("second").exists());
    assert_eq!(dev.bodies("First"), ["one"]);
}

/// Fields of a send with the one-letter names.
pub fn send_v2(topic: &str, queue: u32) -> Vec<(&'static str, &'static str)> {
    // Tests are short and few: a leaked name is cheaper than owned fields everywhere.
    let leak = |text: String| -> &'static str { text.leak() };
    vec![
        ("a", "pg"),
        ("b", leak(topic.to_owned())),
        ("c", "TBW102"),
        ("d", "4"),
        ("e", leak(queue.to_string())),
        ("f", "0"),
        ("g", "1700000000000"),
        ("h", "0"),
        ("i", "UNIQ_KEY\u{1}AC11000100002A9F0000000000000001\u{2}WAIT\u{1}true\u{2}"),
        ("j", "0"),
        ("k", "false"),
        ("m", "false"),
    ]
}

impl Dev {
    /// Bodies of a topic that may not be there yet.
    fn bodies_or_none(&self, topic: &str) -> Vec<String> {
        let topics = self.admin(&["topicList"]);
        if topics.lines().any(|line| line.trim() == topic) { self.bodies(topic) } else { Vec::new() }
    }
}

#[test]
fn its_help_names_its_commands() {
    let help = Server::start(&["--help"]).end();
    assert_eq!(help.status.code(), Some(0));
    for command in ["dev", "namesrv", "broker", "admin", "bench"] {
        assert!(
            help.out.iter().any(|line| line.trim_start().starts_with(command)),
            "{command}: {:#?}",
            help.out
        );
    }
}
