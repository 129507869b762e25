//! The loop over real sockets: groups, order, jobs, cold answers, stop.

use crate::support::{Seen, framed, start};
use kerolox_net::Limits;
use std::io::Read;

#[test]
fn pipelined_requests_are_one_group_and_one_write() {
    let world = start(Limits::default());
    let mut client = world.client();
    client.ask("echo", "warm");
    let before = world.handle().ask(|service, _, _| service.batches).unwrap();
    let requests: Vec<u8> = (0..100u8).flat_map(|n| framed(b"echo", &[n; 40])).collect();
    client.raw(&requests);
    let mut got = vec![0; 64 * 1024];
    let n = client.socket.read(&mut got).unwrap();
    assert!(got[..n] == requests, "the first read gets all {} bytes of the answers, not {n}", requests.len());
    let after = world.handle().ask(|service, _, _| service.batches).unwrap();
    // One for the first question, which is a group of its own, and one for the requests.
    assert_eq!(after - before, 2);
}

#[test]
fn a_frame_may_come_byte_by_byte_and_end_with_the_start_of_the_next() {
    let world = start(Limits::default());
    let mut client = world.client();
    let mut two = framed(b"echo", b"first");
    two.extend(framed(b"echo", b"second"));
    for byte in &two[..two.len() - 1] {
        client.raw(&[*byte]);
    }
    assert_eq!(client.answer().1, "first");
    client.raw(&two[two.len() - 1..]);
    assert_eq!(client.answer().1, "second");
}

#[test]
fn a_frame_larger_than_the_read_buffer_passes() {
    let world = start(Limits::default());
    let mut client = world.client();
    let body = "x".repeat(3 << 20);
    let mut writer = client.socket.try_clone().unwrap();
    let frame = framed(b"echo", body.as_bytes());
    let sender = std::thread::spawn(move || std::io::Write::write_all(&mut writer, &frame).unwrap());
    assert!(client.answer().1 == body);
    sender.join().unwrap();
}

#[test]
fn every_port_is_served_and_told_apart() {
    let world = start(Limits::default());
    for addr in &world.addrs {
        assert_eq!(crate::support::Client::connect(*addr).ask("port", ""), addr.port().to_string());
    }
}

#[test]
fn jobs_run_on_their_lanes_and_a_blocked_lane_holds_up_nobody_else() {
    let world = start(Limits::default());
    let mut client = world.client();
    client.send("flush", "");
    assert_eq!(client.ask("background", ""), "test-back");
    assert_eq!(client.ask("read", ""), "test-cold");
    assert_eq!(client.ask("echo", "meanwhile"), "meanwhile");
    world.gate.send(()).unwrap();
    assert_eq!(client.answer(), ("worked".into(), "test-flush".into()));
}

#[test]
fn a_cold_answer_is_filled_elsewhere_and_what_follows_does_not_wait() {
    let world = start(Limits::default());
    let mut client = world.client();
    client.send("cold", "");
    assert_eq!(client.ask("hot", ""), "test-loop");
    assert_eq!(client.ask("echo", "later"), "later");
    world.gate.send(()).unwrap();
    let (header, thread) = client.answer();
    assert_eq!((header.as_str(), &thread[..9]), ("filled", "test-read"));
}

#[test]
fn a_failed_fill_answers_the_error_and_nothing_else() {
    let world = start(Limits::default());
    let mut client = world.client();
    for order in ["broken", "hot-broken"] {
        client.send(order, "");
        assert_eq!(client.answer(), ("failed".into(), "the disk is gone".into()));
    }
    assert_eq!(client.ask("echo", "still in step"), "still in step");
}

#[test]
fn beyond_the_limit_of_cold_reads_the_answer_is_an_error() {
    let world = start(Limits { cold_reads_max: 1, ..Limits::default() });
    let mut client = world.client();
    client.send("cold", "");
    client.send("cold", "");
    assert_eq!(client.answer(), ("failed".into(), "too many reads from files are waiting".into()));
    world.gate.send(()).unwrap();
    assert_eq!(client.answer().0, "filled");
    client.send("cold", "");
    world.gate.send(()).unwrap();
    assert_eq!(client.answer().0, "filled", "the finished one counts no more");
}

#[test]
fn a_connection_is_closed_after_what_was_sent_before() {
    let world = start(Limits::default());
    let mut client = world.client();
    client.send("cold", "");
    client.send("close", "");
    assert_eq!(client.answer().0, "bye");
    world.gate.send(()).unwrap();
    assert_eq!(client.answer().0, "filled", "an answer on its way is awaited");
    assert_eq!(client.try_answer(), None);
    assert!(matches!(world.next(), Seen::Closed(_)));
}

#[test]
fn the_service_learns_of_a_closed_connection() {
    let world = start(Limits::default());
    let mut first = world.client();
    first.ask("echo", "");
    drop(first);
    assert!(matches!(world.next(), Seen::Closed(_)));
}

#[test]
fn a_stop_completes_what_was_promised() {
    let world = start(Limits::default());
    let (mut worker, mut reader) = (world.client(), world.client());
    worker.send("flush", "");
    worker.send("echo", "in hand");
    assert_eq!(worker.answer().1, "in hand");
    reader.send("cold", "");
    assert_eq!(reader.ask("echo", "in hand"), "in hand");
    world.handle().stop();
    // The stop is known to the service once a question that came after it is answered.
    world.handle().ask(|_, _, _| ()).unwrap();
    assert!(std::net::TcpStream::connect(world.addrs[0]).is_err(), "it accepts no more");
    world.gate.send(()).unwrap();
    world.gate.send(()).unwrap();
    assert_eq!(worker.answer().0, "worked");
    assert_eq!(reader.answer().0, "filled");
    assert_eq!((worker.try_answer(), reader.try_answer()), (None, None));
    let handle = world.handle().clone();
    world.running.join().unwrap();
    assert_eq!(handle.ask(|_, _, _| ()), None, "an ended server says so");
}

#[test]
fn a_large_answer_is_written_before_a_stop_ends() {
    let world = start(Limits::default());
    let mut client = world.client();
    client.send("big", "30000000");
    // Something has come, so the rest is under way.
    let mut first = [0; 1];
    client.socket.read_exact(&mut first).unwrap();
    world.handle().stop();
    let mut rest = Vec::new();
    client.socket.read_to_end(&mut rest).unwrap();
    assert_eq!(rest.len() + 1, framed(b"big", &[]).len() + 30_000_000);
    world.running.join().unwrap();
}

#[test]
fn a_timer_fires_and_only_once() {
    let clock = crate::support::Virtual::default();
    let world = crate::support::start_with(Limits::default(), clock.clone());
    let set = |at| {
        world.handle().ask(move |service, _, _| service.timer = Some(kerolox_protocol::Millis(at))).unwrap();
    };
    clock.advance(10);
    set(5);
    assert_eq!(world.next(), Seen::Timer(10));
    set(20);
    clock.advance(5);
    world.handle().ask(|_, _, _| ()).unwrap();
    assert!(world.seen.try_recv().is_err(), "not yet due");
    clock.advance(5);
    world.handle().ask(|_, _, _| ()).unwrap();
    assert_eq!(world.next(), Seen::Timer(20));
}

/// Set for the process that is to end.
const PANICS: &str = "KEROLOX_TEST_SERVICE_PANICS";

#[test]
fn a_panic_of_the_service_ends_the_process() {
    use std::os::unix::process::ExitStatusExt;
    if std::env::var_os(PANICS).is_some() {
        let world = start(Limits::default());
        let mut client = world.client();
        client.send("an order nobody knows", "");
        let end = world.running.join();
        unreachable!("the process lives on: {:?}", end.map(|_| ()));
    }
    let output = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "serving::a_panic_of_the_service_ends_the_process", "--nocapture"])
        .env(PANICS, "1")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.signal(), Some(6), "aborted, not ended: {text}");
    assert!(text.contains("unknown order") && text.contains("the server loop panicked"), "{text}");
}

#[test]
fn a_server_on_ipv6_tells_ipv4_peers_as_such() {
    use kerolox_net::{Listeners, SocketOptions};
    let any = std::net::SocketAddr::from((std::net::Ipv6Addr::UNSPECIFIED, 0));
    // A machine without IPv6 has nothing to be told apart.
    let Ok(listeners) = Listeners::bind(&[any], &SocketOptions::default()) else { return };
    let port = listeners.addrs()[0].port();
    let world = crate::support::start_on(listeners, Limits::default(), kerolox_net::System::new());
    let mut client = crate::support::Client::connect(std::net::SocketAddr::from(([127, 0, 0, 1], port)));
    assert_eq!(client.ask("peer", ""), client.socket.local_addr().unwrap().to_string());
    drop(world);
}
