//! Connections of the simulated network: who talks to whom, what is on its way, and in which order it arrives.
//!
//! Like TCP: bytes of one direction arrive in order, whole or in pieces, late, or not at all once the
//! connection is cut. Knows no frame's meaning and no server.

use crate::random::Random;
use kerolox_net::{ConnId, Limits, buffers::Inbound};
use kerolox_protocol::frame::{Frame, FrameError};
use std::collections::BTreeMap;

/// A machine of the world that serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum NodeId {
    /// The first name server.
    Namesrv,
    /// The second one, which knows nothing of the first.
    Namesrv2,
    /// The broker.
    Broker,
}

/// Who opened a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Opener {
    /// A client, by number.
    Client(usize),
    /// A server's outgoing link, in that life of the server.
    Link(NodeId, u32, String),
}

/// Direction of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// From who opened the connection to the server.
    In,
    /// Back.
    Out,
}

#[derive(Debug, Default)]
struct Direction {
    /// Nothing arrives before this.
    busy_until: i64,
    received: Inbound,
    closed: bool,
}

/// A connection.
#[derive(Debug)]
pub struct Conn {
    /// Who opened it.
    pub opener: Opener,
    /// The server, and in which of its lives.
    pub node: NodeId,
    /// That life.
    pub life: u32,
    /// The opener's address.
    pub from: std::net::SocketAddr,
    directions: [Direction; 2],
}

/// All connections.
#[derive(Debug, Default)]
pub struct Network {
    conns: BTreeMap<ConnId, Conn>,
    next: u64,
}

/// How the network behaves now.
#[derive(Debug, Clone, Copy)]
pub struct Weather {
    /// Least delay.
    pub delay_min: i64,
    /// Largest delay, of most pieces.
    pub delay_max: i64,
    /// Share of sends that come in pieces, percent.
    pub pieces: u64,
}

impl Network {
    /// A number that no connection had.
    pub fn number(&mut self) -> ConnId {
        self.next += 1;
        ConnId(self.next)
    }

    /// Opens a connection to a living server.
    pub fn open(&mut self, id: ConnId, opener: Opener, node: NodeId, life: u32) {
        // One address per opener and connection, as a machine would give.
        let host = match opener {
            Opener::Client(n) => u8::try_from(n % 200).unwrap_or(0) + 1,
            Opener::Link(..) => 250,
        };
        let port = u16::try_from(id.0 % 50_000).unwrap_or(0) + 10_000;
        let from = ([10, 0, 1, host], port).into();
        self.conns.insert(id, Conn { opener, node, life, from, directions: Default::default() });
    }

    /// A connection that has not been taken down.
    pub fn get(&self, id: ConnId) -> Option<&Conn> {
        self.conns.get(&id)
    }

    /// Forgets a connection: whatever is on its way is lost.
    pub fn remove(&mut self, id: ConnId) -> Option<Conn> {
        self.conns.remove(&id)
    }

    /// Numbers of the connections for which `which` holds.
    pub fn select(&self, which: impl Fn(&Conn) -> bool) -> Vec<ConnId> {
        self.conns.iter().filter(|(_, conn)| which(conn)).map(|(id, _)| *id).collect()
    }

    /// Decides when the pieces of a send arrive.
    pub fn schedule(
        &mut self,
        now: i64,
        id: ConnId,
        way: Way,
        bytes: Vec<u8>,
        weather: Weather,
        random: &mut Random,
    ) -> Vec<(i64, Vec<u8>)> {
        let Some(conn) = self.conns.get_mut(&id) else { return Vec::new() };
        let direction = &mut conn.directions[way as usize];
        let mut pieces = Vec::new();
        let mut rest = bytes;
        if random.chance(weather.pieces) {
            for _ in 0..random.below(4) {
                let cut = usize::try_from(random.below(rest.len() as u64 + 1)).unwrap_or(0);
                let tail = rest.split_off(cut);
                pieces.push(std::mem::replace(&mut rest, tail));
            }
        }
        pieces.push(rest);
        let arrive = |piece| {
            let at = now + random.between(weather.delay_min, weather.delay_max);
            direction.busy_until = direction.busy_until.max(at);
            (direction.busy_until, piece)
        };
        pieces.into_iter().map(arrive).collect()
    }

    /// When a close that is sent now arrives: behind everything that was sent before.
    pub fn schedule_close(&self, now: i64, id: ConnId, way: Way, delay: i64) -> i64 {
        let busy = self.conns.get(&id).map_or(now, |conn| conn.directions[way as usize].busy_until);
        busy.max(now + delay)
    }

    /// Where the bytes of a direction are put together to frames; `None` when it is closed. To be given back
    /// with [`Network::put_back`].
    pub fn take_inbound(&mut self, id: ConnId, way: Way) -> Option<Inbound> {
        let direction = &mut self.conns.get_mut(&id)?.directions[way as usize];
        (!direction.closed).then(|| std::mem::take(&mut direction.received))
    }

    /// The opposite of [`Network::take_inbound`].
    pub fn put_back(&mut self, id: ConnId, way: Way, inbound: Inbound) {
        if let Some(conn) = self.conns.get_mut(&id) {
            conn.directions[way as usize].received = inbound;
        }
    }

    /// Bytes arrived: hands out whole frames. An error means that the sender sent no frames.
    pub fn receive(
        &mut self,
        id: ConnId,
        way: Way,
        bytes: &[u8],
        mut take: impl FnMut(Frame<'_>),
    ) -> Result<(), FrameError> {
        let Some(conn) = self.conns.get_mut(&id) else { return Ok(()) };
        let direction = &mut conn.directions[way as usize];
        if direction.closed {
            return Ok(());
        }
        direction.received.feed(bytes, &Limits::default(), &mut take).map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_arrive_in_order_and_make_whole_frames() {
        let mut random = Random::new(3);
        let mut network = Network::default();
        let id = network.number();
        network.open(id, Opener::Client(0), NodeId::Broker, 1);
        let header = kerolox_protocol::header::Header::request(34, 7, None);
        let mut sent = Vec::new();
        header.write_frame(kerolox_protocol::frame::Codec::Json, b"body", &mut sent);
        let weather = Weather { delay_min: 1, delay_max: 50, pieces: 100 };
        let mut pieces = Vec::new();
        for now in 0..20 {
            pieces.extend(network.schedule(now, id, Way::In, sent.clone(), weather, &mut random));
        }
        assert!(pieces.len() > 30 && pieces.is_sorted_by_key(|(at, _)| *at));
        let mut frames = 0;
        for (_, piece) in pieces {
            network
                .receive(id, Way::In, &piece, |frame| {
                    assert_eq!(frame.body, b"body");
                    frames += 1;
                })
                .unwrap();
        }
        assert_eq!(frames, 20);
    }
}
