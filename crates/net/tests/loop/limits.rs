//! The loop against hostile and broken peers.

use crate::support::{Client, Seen, Virtual, framed, start, start_on, start_with};
use kerolox_net::{Limits, Listeners, SocketOptions, System};
use kerolox_protocol::Millis;

/// Another connection is served as if nothing had happened.
fn is_well(client: &mut Client) {
    assert_eq!(client.ask("echo", "well"), "well");
}

#[test]
fn what_is_no_frame_closes_only_its_connection() {
    let world = start(Limits { frame_bytes_max: 1000, ..Limits::default() });
    let mut other = world.client();
    is_well(&mut other);
    let oversize = 5000u32.to_be_bytes().to_vec();
    let negative = vec![0xff; 8];
    let header_beyond_frame = vec![0, 0, 0, 9, 0, 0, 0, 6];
    let unknown_codec = vec![0, 0, 0, 9, 7, 0, 0, 1];
    let tls = vec![0x16, 3, 1, 0, 200, 1];
    let http = b"GET / HTTP/1.1\r\n\r\n".to_vec();
    for bytes in [oversize, negative, header_beyond_frame, unknown_codec, tls, http] {
        let mut client = world.client();
        client.raw(&bytes);
        assert_eq!(client.try_answer(), None, "{bytes:?} is refused");
        assert!(matches!(world.next(), Seen::Closed(_)));
        is_well(&mut other);
    }
}

#[test]
fn requests_before_a_malformed_frame_are_answered() {
    let world = start(Limits::default());
    let mut client = world.client();
    let mut bytes = framed(b"echo", b"good");
    bytes.extend([0, 0, 0, 0]);
    client.raw(&bytes);
    assert_eq!(client.answer().1, "good");
    assert_eq!(client.try_answer(), None);
}

#[test]
fn a_peer_that_does_not_read_is_cut_at_its_budget() {
    let world = start(Limits { unsent_bytes_max: 1 << 20, ..Limits::default() });
    let mut other = world.client();
    let mut client = world.client();
    // The kernel takes some megabytes, so it takes a few to reach the budget.
    let mut sent = 0;
    while world.seen.try_recv().is_err() {
        if std::io::Write::write_all(&mut client.socket, &framed(b"big", b"1000000")).is_err() {
            assert!(matches!(world.next(), Seen::Closed(_)));
            break;
        }
        is_well(&mut other);
        sent += 1;
        assert!(sent < 100, "a hundred megabytes wait for a peer that does not read");
    }
    is_well(&mut other);
}

#[test]
fn a_peer_that_reads_late_gets_everything_in_order() {
    let world = start(Limits::default());
    let mut client = world.client();
    for n in 0..20 {
        client.send("big", &(1_000_000 + n).to_string());
    }
    for n in 0..20 {
        assert_eq!(client.answer().1.len(), 1_000_000 + n);
    }
}

#[test]
fn all_unsent_bytes_together_have_a_budget_and_the_worst_is_cut() {
    let world = start(Limits { unsent_bytes_total_max: 12 << 20, ..Limits::default() });
    let (mut worst, mut late) = (world.client(), world.client());
    late.send("big", "9000000");
    is_well(&mut world.client());
    assert!(matches!(world.next(), Seen::Closed(_)), "the one that just said it is well has left");
    worst.send("big", "30000000");
    assert!(matches!(world.next(), Seen::Closed(_)));
    assert_eq!(late.answer().1.len(), 9_000_000);
}

#[test]
fn unfinished_frames_have_a_budget_and_the_largest_goes() {
    let world = start(Limits { partial_bytes_max: 200_000, ..Limits::default() });
    let (mut large, mut small) = (world.client(), world.client());
    let frame = framed(b"echo", &[7; 160_000]);
    large.raw(&frame[..150_000]);
    small.raw(&frame[..60_000]);
    assert_eq!(large.try_answer(), None);
    small.raw(&frame[60_000..]);
    assert_eq!(small.answer().1.len(), 160_000, "its own frame is not touched");
    is_well(&mut small);
}

/// Held is at most the start of a frame: with more, this budget would cut the connection.
fn little_is_held() -> Limits {
    Limits { partial_bytes_max: 300_000, ..Limits::default() }
}

#[test]
fn a_refused_body_is_thrown_away_and_the_next_request_is_answered() {
    let world = start(little_is_held());
    let mut client = world.client();
    let body = vec![7; 4 << 20];
    let echo = |text: &[u8]| framed(b"echo", text);
    let stream = [echo(b"a"), framed(b"refuse", &body), echo(b"b"), framed(b"ignore", &body), echo(b"c")];
    client.raw(&stream.concat());
    let mut answers: Vec<_> = (0..4).map(|_| client.answer()).collect();
    // A refusal does not wait for the end of its group, as the answers of the others may.
    let refused = answers.iter().position(|(header, _)| header == "refused").unwrap();
    assert_eq!(answers.remove(refused).1, (4 << 20).to_string());
    assert!(refused <= 1, "the one before it is in the same group at most");
    assert_eq!(answers.iter().map(|(_, body)| body.as_str()).collect::<Vec<_>>(), ["a", "b", "c"]);
    is_well(&mut client);
}

#[test]
fn a_refusal_does_not_wait_for_the_body() {
    let world = start(little_is_held());
    let mut client = world.client();
    let frame = framed(b"refuse", &vec![7; 16 << 20][..(16 << 20) - 100]);
    client.raw(&frame[..14]);
    assert_eq!(client.answer(), ("refused".to_owned(), ((16 << 20) - 100).to_string()));
    client.raw(&frame[14..]);
    is_well(&mut client);
}

#[test]
fn a_barred_connection_is_closed_by_the_header() {
    let world = start(little_is_held());
    let mut client = world.client();
    client.raw(&framed(b"bar", &vec![7; 1 << 20])[..100_000]);
    assert_eq!(client.try_answer(), None);
    is_well(&mut world.client());
}

#[test]
fn an_address_has_a_budget_of_unfinished_frames() {
    let limits = Limits { partial_bytes_per_address_max: 400_000, ..Limits::default() };
    let world = start(limits);
    let mut other = world.client();
    let frame = framed(b"echo", &vec![7; 350_000]);
    other.raw(&frame[..300_000]);
    let attacker = || Client::connect_from([127, 0, 0, 2], world.addrs[0]);
    let (mut first, mut second) = (attacker(), attacker());
    first.raw(&frame[..250_000]);
    second.raw(&frame[..200_000]);
    assert_eq!(first.try_answer(), None, "the largest of the address goes");
    other.raw(&frame[300_000..]);
    assert_eq!(other.answer().1.len(), 350_000, "a larger one of another address stays");
    second.raw(&frame[200_000..]);
    assert_eq!(second.answer().1.len(), 350_000);
}

#[test]
fn who_holds_most_in_all_pays_for_all() {
    let world = start(Limits { partial_bytes_max: 1_000_000, ..Limits::default() });
    let mut other = world.client();
    let frame = framed(b"echo", &vec![7; 400_000]);
    other.raw(&frame[..300_000]);
    let attack = |_| {
        let mut client = Client::connect_from([127, 0, 0, 2], world.addrs[0]);
        client.raw(&frame[..200_000]);
        client
    };
    let attackers: Vec<Client> = (0..4).map(attack).collect();
    assert!(matches!(world.next(), Seen::Closed(_)));
    other.raw(&frame[300_000..]);
    assert_eq!(other.answer().1.len(), 400_000, "the largest frame, but of an address that holds little");
    assert!(world.seen.try_recv().is_err(), "one was enough");
    drop(attackers);
}

#[test]
fn a_flood_of_connections_is_taken_in_by_portions() {
    let any = std::net::SocketAddr::from(([127, 0, 0, 1], 0));
    let listeners = Listeners::bind(&[any], &SocketOptions::default()).unwrap();
    let to = listeners.addrs()[0];
    let knock = |_| {
        let mut client = Client::connect(to);
        client.send("echo", "well");
        client
    };
    let mut clients: Vec<Client> = (0..200).map(knock).collect();
    let world = start_on(listeners, Limits::default(), System::new());
    assert!(clients.iter_mut().all(|client| client.answer().1 == "well"));
    // 64 at a time: the first are served before the last are taken in.
    let groups = world.handle().ask(|service, _, _| service.batches).unwrap();
    assert!(groups >= 4, "{groups} groups");
}

#[test]
fn the_first_request_must_come_in_time() {
    let clock = Virtual::default();
    let world = start_with(Limits::default(), clock.clone());
    let mut busy = world.client();
    is_well(&mut busy);
    let (mut small, mut large) = (world.client(), world.client());
    // Both keep their rate of a kilobyte per second for twenty seconds.
    let (small_frame, large_frame) = (framed(b"echo", &[7; 30_000]), framed(b"echo", &[7; 300_000]));
    small.raw(&small_frame[..20_480]);
    large.raw(&large_frame[..20_480]);
    is_well(&mut busy);
    let tick = |ms| {
        clock.advance(ms);
        world.handle().ask(|_, _, _| ()).unwrap();
    };
    tick(9_999);
    world.handle().ask(|_, _, _| ()).unwrap();
    assert!(world.seen.try_recv().is_err(), "in time");
    tick(501);
    assert_eq!(small.try_answer(), None, "bytes are no request");
    large.raw(&large_frame[20_480..]);
    assert_eq!(large.answer().1.len(), 300_000, "its header came in time");
}

#[test]
fn connections_beyond_the_limits_are_closed_at_once() {
    let world = start(Limits { connections_max: 2, ..Limits::default() });
    let (mut first, mut second) = (world.client(), world.client());
    is_well(&mut first);
    is_well(&mut second);
    assert_eq!(world.client().try_answer(), None);
    drop(second);
    assert!(matches!(world.next(), Seen::Closed(_)));
    is_well(&mut world.client());

    let world = start(Limits { connections_per_address_max: 1, ..Limits::default() });
    let mut first = world.client();
    is_well(&mut first);
    assert_eq!(world.client().try_answer(), None);
    is_well(&mut first);
}

#[test]
fn silent_and_slow_connections_are_closed_by_the_clock() {
    let clock = Virtual::default();
    let world = start_with(Limits::default(), clock.clone());
    let (mut silent, mut busy, mut slow) = (world.client(), world.client(), world.client());
    is_well(&mut slow);
    slow.raw(&framed(b"echo", &[0; 5000])[..100]);
    // Its answer means that the loop has read what came before.
    is_well(&mut busy);
    let tick = |ms| {
        clock.advance(ms);
        world.handle().ask(|_, _, _| ()).unwrap();
    };
    tick(4_999);
    // A connection that is taken out is reported with the group after, so two questions tell.
    world.handle().ask(|_, _, _| ()).unwrap();
    assert!(world.seen.try_recv().is_err(), "nobody is judged before the grace is over");
    tick(501);
    assert_eq!(slow.try_answer(), None, "a kilobyte per second is asked for after 5 s");
    is_well(&mut busy);
    tick(115_000);
    assert_eq!(silent.try_answer(), None, "nothing for 120 s");
    is_well(&mut busy);
}

#[test]
fn a_stop_does_not_wait_for_ever() {
    let clock = Virtual::default();
    let world = start_with(Limits { stop_timeout: Millis(1_000), ..Limits::default() }, clock.clone());
    let mut client = world.client();
    client.send("big", "60000000");
    // Something has come, so the rest is under way; nobody takes it.
    std::io::Read::read_exact(&mut client.socket, &mut [0; 1]).unwrap();
    world.handle().stop();
    world.handle().ask(|_, _, _| ()).unwrap();
    clock.advance(1_000);
    world.handle().tell(|_, _, _| ());
    world.running.join().unwrap();
}
