//! The original's names: `mqnamesrv`, `mqbroker`, `mqadmin`, as first word and as the name of a link.

use crate::harness::{
    DEADLINE, Dev, Dir, KEROLOX, NAMESRV_BOOTED, SMALL_LOG, Server, Wire, admin, bodies, boot_line, output,
    run,
};
use kerolox_client::NameServers;
use kerolox_protocol::code;
use std::{net::SocketAddr, os::unix::fs::symlink, path::Path, process::Command};

/// A name server with its files in `dir`.
pub fn namesrv(dir: &Dir, name: &str, port: u16) -> (Server, SocketAddr) {
    let server = Server::start(&namesrv_words(dir, name, port));
    server.out(|line| (line == NAMESRV_BOOTED).then_some(()));
    let addr = server.listens("name server");
    (server, SocketAddr::from(([127, 0, 0, 1], addr.port())))
}

fn namesrv_words(dir: &Dir, name: &str, port: u16) -> Vec<String> {
    vec![
        "mqnamesrv".into(),
        format!("listenPort={port}"),
        format!("kvConfigPath={}/{name}/kvConfig.json", dir.path().display()),
        format!("configStorePath={}/{name}/namesrv.properties", dir.path().display()),
    ]
}

/// Words of a broker with its store in `dir`.
pub fn broker_words(dir: &Dir, name: &str, namesrv: &str) -> Vec<String> {
    let mut words = vec!["mqbroker".into()];
    if !namesrv.is_empty() {
        words.extend(["-n".into(), namesrv.to_owned()]);
    }
    words.extend([
        "listenPort=0".into(),
        "brokerName=broker-a".into(),
        "brokerIP1=127.0.0.1".into(),
        format!("storePathRootDir={}", dir.text(name)),
        SMALL_LOG.into(),
    ]);
    words
}

/// As `kerolox … | head` when `head` has seen enough.
#[test]
fn what_prints_ends_quietly_with_its_reader() {
    let unread = |words: &[&str]| {
        let ended = Command::new(KEROLOX).args(words).stdout(left_pipe()).output().expect("it runs");
        assert_eq!(String::from_utf8_lossy(&ended.stderr), "", "{words:?}");
        assert_eq!(ended.status.code(), Some(0), "{words:?}");
    };
    unread(&["mqadmin"]);
    unread(&["admin", "help", "topicRoute"]);
    unread(&["mqbroker", "-p"]);
    unread(&["namesrv", "-h"]);
    unread(&["bench", "--help"]);
    unread(&["mqshutdown"]);
    let dir = Dir::new();
    let small = [SMALL_LOG, "maxHashSlotNum=1000", "maxIndexNum=5000"];
    let dev = Dev::start_with(&dir.join("store"), &small);
    let (namesrv, broker) = (dev.namesrv.to_string(), dev.broker.to_string());
    unread(&["bench", "send", "--addr", &broker, "--messages", "100", "--warmup", "0"]);
    unread(&["admin", "clusterList", "-n", &namesrv]);
    dev.server.stop();
    let store = dir.text("store");
    for verb in [&["verify"][..], &["dump"], &["dump", "--json"], &["locate", "--id", "0"]] {
        unread(&[&["store"], verb, &[&store], &small].concat());
    }
}

/// As `kerolox … 2>&1 | head`: what went wrong stays so when nobody is there to read it.
#[test]
fn a_failure_nobody_reads_is_one() {
    for (words, status) in [(&["mqadmin", "nonsense"][..], 255), (&["store", "dump", "/nowhere"], 1)] {
        let mut command = Command::new(KEROLOX);
        let ended = command.args(words).stdout(left_pipe()).stderr(left_pipe()).output().expect("it runs");
        assert_eq!(ended.status.code(), Some(status), "{words:?}");
    }
}

/// A pipe whose reader has gone.
fn left_pipe() -> std::io::PipeWriter {
    std::io::pipe().expect("a pipe").1
}

#[test]
fn mqshutdown_says_how_it_is_used() {
    // Whom it finds and tells is tested beside it: here it would find the servers of other tests.
    let output = run(&["mqshutdown", "everything"]);
    assert_eq!(String::from_utf8_lossy(&output.stdout), "Useage: mqshutdown broker | namesrv\n");
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn every_name_works_as_a_word_and_as_a_link() {
    let dir = Dir::new();
    let link = |name: &str| {
        let path = dir.join(name);
        symlink(KEROLOX, &path).expect("link");
        path
    };
    let (ns_link, broker_link, admin_link) = (link("mqnamesrv"), link("mqbroker"), link("mqadmin"));
    let ns = Server::start_as(&ns_link, &namesrv_words(&dir, "ns", 0)[1..]);
    ns.out(|line| (line == NAMESRV_BOOTED).then_some(()));
    let addr = format!("127.0.0.1:{}", ns.listens("name server").port());
    let broker = Server::start_as(&broker_link, &broker_words(&dir, "store", &addr)[1..]);
    let (broker_addr, named) = broker.out(boot_line);
    assert_eq!(named.to_string(), addr);
    ns.err(|line| line.contains("broker registered").then_some(()));

    for (program, words) in [
        (admin_link.as_path(), &[][..]),
        (Path::new(KEROLOX), &["mqadmin"]),
        (Path::new(KEROLOX), &["admin"]),
    ] {
        let output = output(Command::new(program).args(words).args(["clusterList", "-n", &addr]));
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(text.contains(&broker_addr.to_string()), "{words:?}: {text}");
    }
    for server in [broker, ns] {
        let ended = server.stop();
        assert_eq!(ended.status.code(), Some(0), "{:#?}", ended.err);
    }
}

#[test]
fn a_file_is_obeyed_and_words_win_over_it() {
    let dir = Dir::new();
    let file = dir.write(
        "broker.conf",
        "brokerName = from-file\nbrokerClusterName = C1\ndeleteWhen = 03\nflushDiskType=SYNC_FLUSH\n",
    );
    let file = file.display().to_string();
    let store = format!("storePathRootDir={}", dir.text("store"));
    let output = run(&[
        "mqbroker",
        "-p",
        "-c",
        &file,
        "-n",
        "10.0.0.1:9876;10.0.0.2:9876",
        &store,
        "brokerName=from-word",
    ]);
    assert_eq!(output.status.code(), Some(0));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    for line in [
        "brokerName=from-word",
        "brokerClusterName=C1",
        "deleteWhen=03",
        "flushDiskType=SYNC_FLUSH",
        "namesrvAddr=10.0.0.1:9876;10.0.0.2:9876",
        &store,
    ] {
        assert!(text.lines().any(|found| found == line), "{line} is not in {text}");
    }
    assert!(text.lines().count() > 150, "all keys are printed: {text}");
    let important = run(&["mqbroker", "-m", "-c", &file]);
    let important = String::from_utf8_lossy(&important.stdout).into_owned();
    assert!(important.lines().any(|line| line == "brokerName=from-file"), "{important}");
    assert!(important.lines().count() < text.lines().count() / 3, "{important}");
    let ns = run(&["mqnamesrv", "-p", "listenPort=19876"]);
    let ns = String::from_utf8_lossy(&ns.stdout).into_owned();
    assert!(ns.lines().any(|line| line == "listenPort=19876") && ns.contains("kvConfigPath="), "{ns}");
    assert!(!dir.join("store").exists(), "printing makes nothing");
}

#[test]
fn help_is_printed_and_ends_well() {
    for name in ["mqbroker", "mqnamesrv", "mqadmin"] {
        let output = run(&[name, "-h"]);
        assert_eq!(output.status.code(), Some(0), "{name}");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let wanted = if name == "mqadmin" { "clusterList" } else { "--configFile" };
        assert!(text.contains(wanted), "{name}: {text}");
    }
}

#[test]
fn the_list_of_verbs_leads_to_the_help_of_each() {
    let list = run(&["mqadmin", "help"]);
    assert_eq!((list.status.code(), &list.stdout), (Some(0), &run(&["mqadmin"]).stdout));
    let one = run(&["mqadmin", "help", "topicroute"]);
    let text = String::from_utf8_lossy(&one.stdout).into_owned();
    assert!(one.status.success() && text.contains("topicRoute") && text.contains("--topic"), "{text}");
    for words in [&["mqadmin", "help", "nothing"][..], &["mqadmin", "nothing"]] {
        let output = run(words);
        assert!(!output.status.success());
        assert!(String::from_utf8_lossy(&output.stderr).contains("The sub command nothing not exist"));
    }
}

#[test]
fn two_name_servers_stand_for_each_other() {
    let dir = Dir::new();
    let (first, first_addr) = namesrv(&dir, "first", 0);
    let (second, second_addr) = namesrv(&dir, "second", 0);
    let both = format!("{first_addr};{second_addr}");
    let broker = Server::start(&broker_words(&dir, "store", &both));
    broker.out(boot_line);
    for ns in [&first, &second] {
        ns.err(|line| line.contains("broker registered").then_some(()));
    }
    admin(&both, &["sendMessage", "-t", "Both", "-p", "one"]);
    for addr in [first_addr, second_addr] {
        assert_eq!(bodies(&addr.to_string(), "Both"), ["one"]);
    }

    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let client = NameServers::new(&both, DEADLINE);
    let route = || runtime.block_on(client.route("Both")).expect("a route");
    let whole = route();
    first.kill();
    assert_eq!(route().body, whole.body, "the client goes on to the other name server");
    admin(&both, &["sendMessage", "-t", "Both", "-p", "two"]);
    assert_eq!(bodies(&both, "Both"), ["one", "two"]);

    // The routes come back by themselves: the broker tries again, it is not told to.
    let (again, again_addr) = namesrv(&dir, "first", first_addr.port());
    assert_eq!(again_addr, first_addr);
    again.err(|line| line.contains("broker registered").then_some(()));
    broker.err(|line| line.contains("registered again").then_some(()));
    assert_eq!(bodies(&first_addr.to_string(), "Both"), ["one", "two"]);
    second.stop();
    assert_eq!(route().body, whole.body);

    // A broker that stops takes its leave.
    assert_eq!(broker.stop().status.code(), Some(0));
    again.err(|line| line.contains("broker dropped").then_some(()));
    let answer = Wire::connect(first_addr).ask(105, &[("topic", "Both")], b"");
    assert_eq!(answer.header.code, code::TOPIC_NOT_EXIST);
}

#[test]
fn a_broker_without_an_address_says_what_it_chose_and_from_what() {
    let dir = Dir::new();
    let (_ns, ns_addr) = namesrv(&dir, "ns", 0);
    let mut words = broker_words(&dir, "store", &ns_addr.to_string());
    words.retain(|word| !word.starts_with("brokerIP1="));
    let broker = Server::start(&words);
    let (addr, _) = broker.out(boot_line);
    let line = broker.err(|line| line.contains("address told to clients").then(|| line.to_owned()));
    assert!(line.contains("set brokerIP1 to tell another"), "{line}");
    assert!(line.contains(&format!("chosen={}", addr.ip())), "{line}");
    assert!(line.contains("127.0.0.1 (lo)"), "all candidates are listed: {line}");
    // Whoever wrote an address need not be told.
    words.push("brokerIP1=127.0.0.1".into());
    broker.stop();
    let broker = Server::start(&words);
    broker.out(boot_line);
    let ended = broker.stop();
    assert!(!ended.err.iter().any(|line| line.contains("address told to clients")));
    // But that it is no address for others is worth a warning: the broker listens on all.
    let warned =
        |line: &String| line.contains("WARN") && line.contains("clients are told 127.0.0.1: only clients on");
    assert_eq!(ended.err.iter().filter(|line| warned(line)).count(), 1, "{:#?}", ended.err);
}

#[test]
fn a_name_as_address_is_looked_up_at_the_start() {
    let dir = Dir::new();
    let (_ns, ns_addr) = namesrv(&dir, "ns", 0);
    let mut words = broker_words(&dir, "store", &ns_addr.to_string());
    words.retain(|word| !word.starts_with("brokerIP1="));
    words.push("brokerIP1=localhost".into());
    let broker = Server::start(&words);
    let (addr, _) = broker.out(boot_line);
    assert!(addr.ip().is_loopback(), "{addr}");
    broker.stop();
}

#[test]
fn a_broker_without_a_name_server_starts_and_warns() {
    let dir = Dir::new();
    let broker = Server::start(&broker_words(&dir, "store", ""));
    let line = broker.out(|line| line.starts_with("The broker[").then(|| line.to_owned()));
    assert!(line.ends_with("] boot success. serializeType=JSON"), "{line}");
    broker.err(|line| (line.contains("WARN") && line.contains("no name server is configured")).then_some(()));
}

#[test]
fn an_unknown_key_is_reported_with_the_nearest_one_and_ignored() {
    let dir = Dir::new();
    let mut words = broker_words(&dir, "store", "127.0.0.1:1");
    words.push("flushDiskTyp=SYNC_FLUSH".into());
    let broker = Server::start(&words);
    let line = broker.err(|line| line.contains("flushDiskTyp").then(|| line.to_owned()));
    assert!(line.contains("WARN") && line.contains("flushDiskType"), "{line}");
    broker.out(|line| line.starts_with("The broker[").then_some(()));
}
