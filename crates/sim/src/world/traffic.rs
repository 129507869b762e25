//! Bytes on their way: connections, deliveries, refusals, links between servers.

use super::{Event, World};
use crate::{
    clients::{NAMESRVS, Received},
    network::{NodeId, Opener, Way, Weather},
    process::Chunk,
};
use kerolox_net::{ConnId, Peer};
use kerolox_protocol::{frame::Frame, header::Header};

/// Address of the broker.
pub(super) const BROKER: &str = "10.0.0.2:10911";

fn node_at(addr: &str) -> Option<NodeId> {
    let nodes = [NodeId::Namesrv, NodeId::Namesrv2];
    let namesrv = NAMESRVS.iter().position(|namesrv| *namesrv == addr).and_then(|n| nodes.get(n).copied());
    namesrv.or((addr == BROKER).then_some(NodeId::Broker))
}

impl World {
    fn weather(&self) -> Weather {
        let slow = if self.now < self.slow_until { 40 } else { 1 };
        Weather { delay_max: self.weather.delay_max * slow, ..self.weather }
    }

    fn delay(&mut self) -> i64 {
        let weather = self.weather();
        self.random.network.between(weather.delay_min, weather.delay_max)
    }

    /// Opens a connection, or lets the opener know that there is none.
    pub(super) fn connect(&mut self, opener: Opener, conn: ConnId, addr: &str) {
        self.trace.event("connect", self.now, addr.as_bytes());
        let parted = self.now < self.parted_until;
        match node_at(addr) {
            Some(node) if self.is_up(node) && !(parted && node == NodeId::Broker) => {
                let life = self.life(node);
                self.network.open(conn, opener, node, life);
            }
            _ => {
                let delay = self.delay();
                self.after(delay, Event::Refused(opener, conn));
            }
        }
    }

    /// Sends bytes over a connection, if it is there.
    pub(super) fn send(&mut self, conn: ConnId, way: Way, bytes: Vec<u8>) {
        let weather = self.weather();
        let pieces = self.network.schedule(self.now, conn, way, bytes, weather, &mut self.random.network);
        for (at, piece) in pieces {
            self.at(at, Event::Deliver(conn, way, piece));
        }
    }

    /// Closes a connection from one end.
    pub(super) fn close(&mut self, conn: ConnId, way: Way) {
        let delay = self.delay();
        let at = self.network.schedule_close(self.now, conn, way, delay);
        self.at(at, Event::Close(conn, way));
    }

    pub(super) fn send_out(&mut self, conn: ConnId, chunk: Chunk) {
        match chunk {
            Chunk::Bytes(bytes) => self.send(conn, Way::Out, bytes),
            Chunk::Close => self.close(conn, Way::Out),
        }
    }

    pub(super) fn send_link(&mut self, node: NodeId, life: u32, addr: &str, bytes: Vec<u8>) {
        let key = (node, addr.to_owned());
        let conn = match self.links.get(&key) {
            Some(conn) => *conn,
            None => {
                let conn = self.network.number();
                self.links.insert(key, conn);
                self.connect(Opener::Link(node, life, addr.to_owned()), conn, addr);
                conn
            }
        };
        self.send(conn, Way::In, bytes);
    }

    pub(super) fn on_bytes(&mut self, id: ConnId, way: Way, bytes: &[u8]) -> Option<NodeId> {
        self.trace.event("bytes", self.now, bytes);
        let conn = self.network.get(id)?;
        let (node, life, from, opener) = (conn.node, conn.life, conn.from, conn.opener.clone());
        if way == Way::In {
            let local_port = if node == NodeId::Broker { 10_911 } else { 9_876 };
            let peer = Peer { conn: id, addr: from, local_port };
            return self.on_request_bytes(&peer, node, life, bytes);
        }
        let mut whole = Vec::new();
        let received = self.network.receive(id, way, bytes, |frame| {
            whole.push((frame.codec, frame.header.to_vec(), frame.body.to_vec()));
        });
        if received.is_err() {
            self.oracle.violated("wire", format!("{way:?} of {opener:?}: bytes that are no frame"));
            return None;
        }
        let now = self.time();
        let frames = whole.iter().map(|(codec, header, body)| Frame { codec: *codec, header, body });
        match opener {
            Opener::Client(client) => {
                let mut received = Vec::new();
                for frame in frames {
                    match Header::decode(frame.codec, frame.header) {
                        Ok(header) => received.push(Received { header, body: frame.body.to_vec() }),
                        Err(why) => self.oracle.violated("wire", format!("an unreadable header: {why}")),
                    }
                }
                self.hand_over(client, id, &received, life);
                None
            }
            Opener::Link(node, life, addr) => {
                let process = self.running(node, life)?;
                frames.for_each(|frame| process.link_frame(now, &addr, frame));
                Some(node)
            }
        }
    }

    /// Bytes arrive at a server: the same way as with the real driver.
    fn on_request_bytes(&mut self, peer: &Peer, node: NodeId, life: u32, bytes: &[u8]) -> Option<NodeId> {
        let now = self.time();
        let mut inbound = self.network.take_inbound(peer.conn, Way::In)?;
        let judged = self.running(node, life).map(|process| process.bytes(now, peer, &mut inbound, bytes));
        self.network.put_back(peer.conn, Way::In, inbound);
        match judged? {
            Ok(judged) => {
                self.oracle.happened_times("frame judged by its header", judged.taken);
                self.oracle.happened_times("frame refused by its header", judged.refused);
            }
            Err(why) => self.oracle.violated("wire", format!("a request that is no frame: {why}")),
        }
        Some(node)
    }

    /// The end of a connection arrives at one end; the other has closed it.
    pub(super) fn on_close(&mut self, id: ConnId, way: Way) -> Option<NodeId> {
        let conn = self.network.remove(id)?;
        self.trace.event("close", self.now, &id.0.to_le_bytes());
        let now = self.time();
        match (way, conn.opener) {
            (Way::In, _) => {
                self.running(conn.node, conn.life)?.closed(now, id);
                Some(conn.node)
            }
            (Way::Out, Opener::Client(client)) => {
                self.with_client(client, |client, ctx| client.down(ctx, id));
                None
            }
            (Way::Out, Opener::Link(node, life, addr)) => {
                self.forget_link(node, &addr, id);
                self.running(node, life)?.link_down(now, &addr, "closed by the peer");
                Some(node)
            }
        }
    }

    /// A link's connection is gone; the address may have got a new one meanwhile.
    pub(super) fn forget_link(&mut self, node: NodeId, addr: &str, id: ConnId) {
        let key = (node, addr.to_owned());
        if self.links.get(&key) == Some(&id) {
            self.links.remove(&key);
        }
    }

    /// A connection breaks: both ends learn it, each in its time.
    pub(super) fn cut(&mut self, id: ConnId) {
        let Some(conn) = self.network.remove(id) else { return };
        self.trace.event("cut", self.now, &id.0.to_le_bytes());
        let now = self.time();
        if let Some(process) = self.running(conn.node, conn.life) {
            process.closed(now, id);
            self.end_group(conn.node);
        }
        let delay = self.delay();
        self.after(delay, Event::Refused(conn.opener, id));
    }
}
