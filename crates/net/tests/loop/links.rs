//! Outgoing links over real sockets.

use crate::support::{Seen, Virtual, start, start_with};
use kerolox_net::Limits;
use std::net::TcpListener;

#[test]
fn a_link_is_made_used_again_and_remade_after_its_end() {
    let (from, to) = (start(Limits::default()), start(Limits::default()));
    let addr = to.addrs[0].to_string();
    let mut client = from.client();
    for _ in 0..2 {
        client.send("link", &addr);
        assert_eq!(from.next(), Seen::LinkFrame(addr.clone(), b"over the link".to_vec()));
    }
    client.send("link-close", &addr);
    assert_eq!(from.next(), Seen::LinkFrame(addr.clone(), Vec::new()));
    assert_eq!(from.next(), Seen::LinkDown(addr.clone(), "the other side closed it".to_owned()));
    assert!(matches!(to.next(), Seen::Closed(_)));
    assert!(to.seen.try_recv().is_err(), "there was one connection for all frames");
    client.send("link", &addr);
    assert_eq!(from.next(), Seen::LinkFrame(addr.clone(), b"over the link".to_vec()));
}

#[test]
fn a_name_is_resolved() {
    let (from, to) = (start(Limits::default()), start(Limits::default()));
    let addr = format!("localhost:{}", to.addrs[0].port());
    from.client().send("link", &addr);
    let seen = loop {
        match from.next() {
            Seen::Closed(_) => continue,
            other => break other,
        }
    };
    assert_eq!(seen, Seen::LinkFrame(addr, b"over the link".to_vec()));
}

fn down_of(world: &crate::support::World, wanted: &str) -> String {
    loop {
        match world.next() {
            Seen::LinkDown(addr, why) if addr == wanted => return why,
            Seen::Closed(_) => {}
            other => panic!("expected the link to {wanted} to be down, not {other:?}"),
        }
    }
}

#[test]
fn a_refused_link_is_down_with_its_cause() {
    let world = start(Limits::default());
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let mut client = world.client();
    for _ in 0..2 {
        client.send("link", &free);
        assert!(down_of(&world, &free).contains("refused"));
    }
}

#[test]
fn an_impossible_address_is_down_with_its_cause() {
    let world = start(Limits::default());
    let mut client = world.client();
    client.send("link", "no-port-here");
    assert!(down_of(&world, "no-port-here").starts_with("cannot resolve no-port-here"));
}

#[test]
fn a_link_that_is_not_answered_is_given_up() {
    // A full backlog leaves further connects unanswered, on any machine and without a network.
    let clock = Virtual::default();
    let world = start_with(Limits::default(), clock.clone());
    let any = std::net::SocketAddr::from(([127, 0, 0, 1], 0));
    let options = kerolox_net::SocketOptions { backlog: 0, ..kerolox_net::SocketOptions::default() };
    let full = kerolox_net::Listeners::bind(&[any], &options).unwrap();
    let addr = full.addrs()[0];
    let _taken = std::net::TcpStream::connect(addr).unwrap();
    let mut client = world.client();
    client.send("link", &addr.to_string());
    assert_eq!(client.ask("echo", "not held up"), "not held up");
    clock.advance(3_000);
    world.handle().ask(|_, _, _| ()).unwrap();
    assert_eq!(down_of(&world, &addr.to_string()), "connecting took too long");
}

#[test]
fn a_link_that_is_not_read_is_down_when_its_queue_is_full() {
    let world = start(Limits { link_bytes_max: 1_000_000, ..Limits::default() });
    let deaf = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = deaf.local_addr().unwrap().to_string();
    let mut client = world.client();
    let mut sent = 0;
    let why = loop {
        client.send("link-big", &addr);
        assert_eq!(client.ask("echo", "not held up"), "not held up");
        sent += 100_000;
        match world.seen.try_recv() {
            Ok(Seen::LinkDown(_, why)) => break why,
            Ok(other) => panic!("{other:?}"),
            Err(_) => assert!(sent < 100_000_000, "the queue has no end"),
        }
    };
    assert_eq!(why, "more than 1000000 bytes wait to be sent");
}

#[test]
fn a_link_to_what_speaks_something_else_is_down() {
    let world = start(Limits::default());
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = other.local_addr().unwrap().to_string();
    let mut client = world.client();
    client.send("link", &addr);
    let (mut socket, _) = other.accept().unwrap();
    std::io::Write::write_all(&mut socket, b"HTTP/1.1 400 Bad Request\r\n").unwrap();
    assert!(down_of(&world, &addr).starts_with("it sent what is no frame"));
}
