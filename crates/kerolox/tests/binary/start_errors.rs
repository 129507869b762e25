//! Starts that cannot succeed: one line with cause and way out, a status that says so, nothing touched.

use crate::{
    dev::send_v2,
    harness::{Dev, Dir, Ended, KEROLOX, SMALL_LOG, Server, Wire, boot_line, listing},
    original::{broker_words, namesrv},
};
use kerolox_protocol::code;
use rustix::process::Signal;
use std::{fs, os::unix::fs::PermissionsExt, path::Path, process::Command};

/// The one line that says why the start failed. Log lines may stand before it, but no error and no panic.
fn why(ended: &Ended) -> &str {
    let (last, before) = ended.err.split_last().expect("a line");
    let rest =
        last.strip_prefix("kerolox: ").unwrap_or_else(|| panic!("not the last word: {:#?}", ended.err));
    for line in before {
        assert!(!line.starts_with("kerolox: ") && !line.contains("ERROR"), "more than one: {:#?}", ended.err);
        assert!(!line.contains("panicked"), "{:#?}", ended.err);
    }
    assert!(!ended.out.iter().any(|line| line.contains("boot success")), "{:#?}", ended.out);
    rest
}

fn check(ended: &Ended, status: i32, wanted: &[&str]) {
    let why = why(ended);
    for part in wanted {
        assert!(why.contains(part), "{part:?} is not in {why:?}");
    }
    assert_eq!(ended.status.code(), Some(status), "{why}");
}

/// Starts a broker over `dir` that must fail and leave everything there as it was.
fn refused_over(dir: &Dir, more: &[&str], wanted: &[&str]) {
    let before = listing(dir.path());
    let mut words = broker_words(dir, "store", "127.0.0.1:1");
    words.extend(more.iter().map(|word| (*word).to_owned()));
    check(&Server::start(&words).end(), 255, wanted);
    assert_eq!(listing(dir.path()), before);
}

#[test]
fn a_file_that_cannot_be_used_is_answered_with_all_its_problems() {
    let dir = Dir::new();
    let file =
        dir.write("broker.conf", "# \u{e9}\nlistenPort=many\nbrokerRole = CHIEF\nflushDiskType=MAYBE\n");
    let file = file.display().to_string();
    let problems = [
        "line 2: listenPort=many: wanted",
        "line 3: brokerRole=CHIEF: wanted",
        "line 4: flushDiskType=MAYBE: wanted",
    ];
    refused_over(&dir, &["-c", &file], &problems);
    let ended = Server::start(&["broker", "-c", &file]).end();
    check(&ended, 1, &problems);
    let ended = Server::start(&["mqnamesrv", "-c", &file]).end();
    check(&ended, 255, &problems[..1]);
}

#[test]
fn an_address_nobody_can_connect_to_ends_the_start() {
    let dir = Dir::new();
    refused_over(
        &dir,
        &["brokerIP1=0.0.0.0"],
        &["brokerIP1=0.0.0.0: wanted an address", "without `brokerIP1=`"],
    );
    // No resolver may know the name (RFC 6761).
    let wanted = ["brokerIP1=nonsense.invalid: the name stands for no address", "leave the key away"];
    refused_over(&dir, &["brokerIP1=nonsense.invalid"], &wanted);
}

#[test]
fn a_file_that_is_no_utf_8_is_read_as_the_original_reads_it() {
    let dir = Dir::new();
    let file = dir.write("broker.conf", b"# caf\xe9 \xb5\xc4\nbrokerName=latin\nlistenPort=12345\n");
    let ended = Server::start(&["mqbroker", "-p", "-c", &file.display().to_string()]).end();
    assert_eq!(ended.status.code(), Some(0), "{:#?}", ended.err);
    assert!(ended.out.iter().any(|line| line == "brokerName=latin"), "{:#?}", ended.out);
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let dir = Dir::new();
    let missing = dir.text("missing.conf");
    refused_over(&dir, &["-c", &missing], &[&missing, "No such file", "-c"]);
    refused_over(&dir, &["-c", &dir.text("")], &["Is a directory"]);
    check(&Server::start(&["mqnamesrv", "-c", &missing]).end(), 255, &[&missing, "No such file"]);
    check(&Server::start(&["mqbroker", "-c"]).end(), 255, &["-c needs a value"]);
    check(
        &Server::start(&["mqbroker", "start"]).end(),
        255,
        &["start is neither a flag nor KEY=VALUE", "-h"],
    );
}

#[test]
fn a_busy_port_is_named_and_the_store_not_touched() {
    let dir = Dir::new();
    let (mut ns, addr) = namesrv(&dir, "ns", 0);
    let port = addr.port();
    let busy = format!("port {port} is in use");
    let listen = format!("listenPort={port}");
    refused_over(&dir, &[&listen], &[&busy, "set another port"]);
    let before = listing(dir.path());
    check(&Server::start(&["mqnamesrv", &listen]).end(), 255, &[&busy]);
    check(&Server::start(&["namesrv", &listen]).end(), 1, &[&busy]);
    assert_eq!(listing(dir.path()), before);
    // The VIP port, two below, is as busy.
    let above = format!("listenPort={}", port + 2);
    refused_over(&dir, &[&above], &[&busy]);
    assert!(ns.is_running());
}

#[test]
fn a_store_that_is_a_file_is_left_as_it_is() {
    let dir = Dir::new();
    dir.write("store", "precious");
    refused_over(&dir, &[], &["store is a file", "set storePathRootDir to a directory"]);
    let below = format!("storePathRootDir={}", dir.text("store/sub"));
    refused_over(&dir, &[&below], &["store/sub is a file or lies below one", "storePathRootDir"]);
}

#[test]
fn a_store_that_may_not_be_written_is_named() {
    let dir = Dir::new();
    let path = dir.write("store/keep", "");
    let store = path.parent().expect("the store");
    fs::set_permissions(store, fs::Permissions::from_mode(0o555)).expect("take write permission");
    if fs::write(store.join("probe"), "").is_ok() {
        fs::remove_file(store.join("probe")).expect("remove the probe");
        // Permissions do not bind root: the system refuses it a directory of the kernel's instead.
        let before = listing(dir.path());
        let proc = Server::start(&["mqbroker", "listenPort=0", "storePathRootDir=/proc/kerolox"]).end();
        check(&proc, 255, &["/proc/kerolox", "storePathRootDir"]);
        as_nobody(&dir);
        assert_eq!(listing(dir.path()), before);
    } else {
        refused_over(&dir, &[], &["store", "Permission denied", "change its owner or storePathRootDir"]);
    }
}

/// The same start with the rights of nobody, where this process may take them.
fn as_nobody(dir: &Dir) {
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).expect("let others look");
    let mut command = Command::new("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(KEROLOX);
    let probe = Command::new("setpriv")
        .args(["--reuid=65534", "--clear-groups"])
        .arg(KEROLOX)
        .arg("--version")
        .output();
    if !probe.is_ok_and(|probe| probe.status.success()) {
        return println!("skipped as nobody: setpriv is missing or may not execute {KEROLOX}");
    }
    let ended = Server::spawn(command.args(broker_words(dir, "store", "127.0.0.1:1"))).end();
    check(&ended, 255, &["store", "Permission denied", "change its owner or storePathRootDir"]);
}

#[test]
fn a_log_in_which_no_message_stands_is_left_as_it_is() {
    for bytes in [vec![7; 100_000], vec![7; 2]] {
        let dir = Dir::new();
        dir.write("store/commitlog/00000000000000000000", bytes);
        refused_over(&dir, &[], &["00000000000000000000", "no file of a message store", "storePathRootDir"]);
    }
}

#[test]
fn a_directory_of_somebody_else_is_left_as_it_is() {
    let dir = Dir::new();
    dir.write("store/commitlog/notes.txt", "mine");
    refused_over(&dir, &[], &["\"notes.txt\"", "no file of a message store", "storePathRootDir"]);
}

#[test]
fn damage_is_logged_as_an_error_and_what_is_cut_off_is_kept() {
    let dir = Dir::new();
    let dev = Dev::start(&dir.join("store"));
    dev.send("Damaged", "one");
    dev.server.stop();
    let log = dir.join("store/commitlog/00000000000000000000");
    let mut bytes = fs::read(&log).expect("the log");
    let end = bytes.iter().rposition(|byte| *byte != 0).expect("a message") + 1;
    bytes[end..end + 3_000].fill(7);
    fs::write(&log, bytes).expect("write the log");
    let dev = Dev::start(&dir.join("store"));
    dev.server.err(|line| (line.contains("ERROR") && line.contains("kerolox.quarantine")).then_some(()));
    assert_eq!(dev.bodies("Damaged"), ["one"]);
    dev.server.stop();
    let kept = fs::read_dir(dir.join("store/kerolox.quarantine")).expect("a copy").next().expect("a file");
    assert_eq!(fs::read(kept.expect("a file").path()).expect("read it"), [7; 3_000]);
}

#[test]
fn log_files_of_two_sizes_are_refused_and_another_size_than_configured_is_kept() {
    let dir = Dir::new();
    let dev = Dev::start(&dir.join("store"));
    dev.send("Sized", "one");
    dev.server.stop();
    // Another size in the configuration is no error: a store keeps its size, and says so.
    let dev = Dev::start_with(&dir.join("store"), &["mappedFileSizeCommitLog=33554432"]);
    dev.server.err(|line| line.contains("the store keeps its size").then_some(()));
    assert_eq!(dev.bodies("Sized"), ["one"]);
    dev.server.stop();

    let log =
        fs::read_dir(dir.join("store/commitlog")).expect("the log").next().expect("a file").expect("a file");
    assert_eq!(log.metadata().expect("its size").len(), 16 << 20);
    let second = dir.join("store/commitlog/00000000000016777216");
    fs::copy(log.path(), &second).expect("a second file");
    fs::OpenOptions::new().write(true).open(log.path()).expect("the first").set_len(8 << 20).expect("cut it");
    refused_over(&dir, &[], &["has 8388608 bytes where 16777216 are expected", "Restore it, or move it"]);
}

#[test]
fn a_store_that_another_broker_has_is_refused_and_the_other_goes_on() {
    let dir = Dir::new();
    let dev = Dev::start(&dir.join("store"));
    let mut wire = Wire::connect(dev.broker);
    assert_eq!(wire.ask(310, &send_v2("Shared", 0), b"one").header.code, code::SUCCESS);
    // Halted, so that what changes in the store is the second one's doing.
    dev.server.halt();
    let before = listing(dir.path());
    let ended = Server::start(&broker_words(&dir, "store", "127.0.0.1:1")).end();
    check(&ended, 255, &["store is in use by another broker", "storePathRootDir"]);
    assert_eq!(listing(dir.path()), before);
    dev.server.signal(Signal::CONT);
    assert_eq!(wire.ask(310, &send_v2("Shared", 0), b"two").header.code, code::SUCCESS);
    dev.server.kill();
    assert_eq!(Dev::start(&dir.join("store")).bodies("Shared"), ["one", "two"]);
}

#[test]
fn a_name_server_whose_file_is_broken_keeps_it_and_says_so() {
    let dir = Dir::new();
    let file = dir.write("kvConfig.json", "{\"configTable\":{");
    let before = listing(dir.path());
    let kv = format!("kvConfigPath={}", file.display());
    let ended = Server::start(&["mqnamesrv", "listenPort=0", &kv]).end();
    check(&ended, 255, &["kvConfig.json"]);
    assert!(!ended.err.iter().any(|line| line.contains("listens")), "it never did: {:#?}", ended.err);
    assert_eq!(listing(dir.path()), before);
}

/// A shell in a mount namespace of its own: what it mounts goes away with it.
fn mounting(script: &str, at: &Path, words: &[String]) -> Option<Command> {
    let probe =
        Command::new("unshare").args(["-m", "sh", "-c", "mount -t tmpfs tmpfs \"$0\""]).arg(at).output();
    if !probe.is_ok_and(|probe| probe.status.success()) {
        println!("skipped: this process may not mount a small disk");
        return None;
    }
    let mut command = Command::new("unshare");
    command.args(["-m", "sh", "-c", script]).arg(at).arg(KEROLOX).args(words);
    Some(command)
}

#[test]
fn a_full_disk_stops_the_start() {
    let dir = Dir::new();
    let store = dir.join("store");
    fs::create_dir(&store).expect("a place to mount");
    let script =
        "mount -t tmpfs -o size=1m tmpfs \"$0\" && head -c 1048576 /dev/zero > \"$0/fill\"; exec \"$@\"";
    let Some(mut command) = mounting(script, &store, &broker_words(&dir, "store", "127.0.0.1:1")) else {
        return;
    };
    check(&Server::spawn(&mut command).end(), 255, &["No space left on device", "make room there"]);
}

/// A broker whose files may not grow beyond so many blocks of 512 bytes.
fn limited(dir: &Dir, blocks: u32) -> Server {
    let script = format!("ulimit -f {blocks}; exec \"$0\" \"$@\"");
    let mut command = Command::new("sh");
    command.args(["-c", &script, KEROLOX]).args(broker_words(dir, "store", "127.0.0.1:1"));
    Server::spawn(&mut command)
}

#[test]
fn a_limit_on_file_sizes_below_what_the_store_needs_ends_the_start() {
    let dir = Dir::new();
    // The system would kill the broker at its first log file, or at the first one of the index.
    for blocks in [4, 16 << 10, 800_000] {
        check(&limited(&dir, blocks).end(), 255, &["files of this process may have", "ulimit -f"]);
    }
    let dev = Dev::start(&dir.join("store"));
    dev.send("Room", "one");
    assert_eq!(dev.bodies("Room"), ["one"]);
}

#[test]
fn a_disk_that_is_too_small_for_a_log_file_refuses_sends_and_says_why() {
    let dir = Dir::new();
    let store = dir.join("store");
    fs::create_dir(&store).expect("a place to mount");
    let script = "mount -t tmpfs -o size=4m tmpfs \"$0\" && exec \"$@\"";
    let Some(mut command) = mounting(script, &store, &broker_words(&dir, "store", "127.0.0.1:1")) else {
        return;
    };
    let broker = Server::spawn(&mut command);
    refuses_sends(&broker, "free space");
    assert_eq!(broker.stop().status.code(), Some(0));
}

/// Sends are refused with a reason once there is no room, everything else is answered.
fn refuses_sends(broker: &Server, way_out: &str) {
    let port = broker.listens("broker").port();
    broker.out(|line| line.starts_with("The broker[").then_some(()));
    let mut wire = Wire::connect(([127, 0, 0, 1], port).into());
    let body = vec![b'x'; 64 << 10];
    let mut send = || wire.ask(310, &send_v2("Full", 0), &body).header;
    let refused =
        (0..200).map(|_| send()).find(|answer| answer.code != code::SUCCESS).expect("no room for 12 MiB");
    assert_eq!(refused.code, code::SERVICE_NOT_AVAILABLE);
    let remark = refused.remark.expect("a reason");
    assert!(remark.contains(way_out), "{remark}");
    assert_eq!(send().code, code::SERVICE_NOT_AVAILABLE, "and from then on");
    let reading = wire.ask(28, &[], b"").header;
    assert_eq!(reading.code, code::SUCCESS, "{:?}", reading.remark);
}

#[test]
fn a_store_of_the_first_name_is_opened_under_the_second() {
    // What `dev` wrote, `mqbroker` serves: nothing of a store depends on how it was started.
    let dir = Dir::new();
    let dev = Dev::start(&dir.join("store"));
    dev.send("Moved", "one");
    dev.server.stop();
    let (ns, addr) = namesrv(&dir, "ns", 0);
    let mut words = broker_words(&dir, "store", &addr.to_string());
    words.retain(|word| word != SMALL_LOG);
    let broker = Server::start(&words);
    broker.out(boot_line);
    ns.err(|line| line.contains("broker registered").then_some(()));
    assert_eq!(crate::harness::bodies(&addr.to_string(), "Moved"), ["one"]);
}
