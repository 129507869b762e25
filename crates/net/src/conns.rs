//! The accepted connections of one loop, found by number without hashing.
//!
//! Knows sockets, buffers and life signs. Knows no service.

use crate::{
    ConnId, Peer,
    buffers::{Inbound, KEPT_BYTES_MAX, Outbound},
    limits::Vitals,
    transport::Transport,
};
use rustix::event::epoll::EventFlags;

/// Bits of a connection's number that are its place in the table; the others count up.
const SLOT_BITS: u32 = 24;
/// Bits that count connections. Numbers above are free for other users of the same event space.
const SERIAL_BITS: u32 = 38;

/// One accepted connection.
#[derive(Debug)]
pub(crate) struct Conn {
    pub(crate) peer: Peer,
    pub(crate) transport: Transport,
    pub(crate) inbound: Inbound,
    pub(crate) outbound: Outbound,
    pub(crate) vitals: Vitals,
    /// What the event queue is asked for.
    pub(crate) interest: EventFlags,
    /// Whether a byte has come: the first one tells what is spoken.
    pub(crate) greeted: bool,
    /// Whether it stands in the list of those to be written to at the end of the group.
    pub(crate) dirty: bool,
    /// Answers that a reader thread is filling.
    pub(crate) cold_reads: usize,
    /// To be closed when everything before has left, and why.
    pub(crate) closing: Option<&'static str>,
    /// Its share of the loop's count of bytes in unfinished frames.
    pub(crate) counted_partial: usize,
    /// Its share of the loop's count of unsent bytes.
    pub(crate) counted_unsent: usize,
}

// An idle connection costs this and at most two small buffers; the rest of 8 KiB is the service's.
const _: () = assert!(size_of::<Conn>() <= 512 && size_of::<Conn>() + 2 * KEPT_BYTES_MAX <= 5 * 1024);

impl Conn {
    /// One that has brought nothing yet.
    pub(crate) fn new(peer: Peer, transport: Transport, vitals: Vitals) -> Conn {
        Conn {
            peer,
            transport,
            inbound: Inbound::default(),
            outbound: Outbound::default(),
            vitals,
            interest: EventFlags::IN,
            greeted: false,
            dirty: false,
            cold_reads: 0,
            closing: None,
            counted_partial: 0,
            counted_unsent: 0,
        }
    }
}

/// The table.
#[derive(Debug, Default)]
pub(crate) struct Conns {
    slots: Vec<Option<Conn>>,
    free: Vec<usize>,
    serial: u64,
}

impl Conns {
    /// Takes a connection in; `make` builds it with its number. `None` if the table is full.
    pub(crate) fn insert(&mut self, make: impl FnOnce(ConnId) -> Conn) -> Option<&mut Conn> {
        let slot = match self.free.pop() {
            Some(slot) => slot,
            None if self.slots.len() < 1 << SLOT_BITS => {
                self.slots.push(None);
                self.slots.len() - 1
            }
            None => return None,
        };
        self.serial = (self.serial + 1) & ((1 << SERIAL_BITS) - 1);
        let id = ConnId((self.serial << SLOT_BITS) | u64::try_from(slot).unwrap_or(0));
        self.slots.get_mut(slot).map(|place| place.insert(make(id)))
    }

    pub(crate) fn get_mut(&mut self, id: ConnId) -> Option<&mut Conn> {
        self.slots.get_mut(slot_of(id))?.as_mut().filter(|conn| conn.peer.conn == id)
    }

    pub(crate) fn remove(&mut self, id: ConnId) -> Option<Conn> {
        let slot = slot_of(id);
        let place = self.slots.get_mut(slot)?;
        let conn = place.take_if(|conn| conn.peer.conn == id)?;
        self.free.push(slot);
        Some(conn)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Conn> {
        self.slots.iter().flatten()
    }
}

fn slot_of(id: ConnId) -> usize {
    usize::try_from(id.0 & ((1 << SLOT_BITS) - 1)).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use kerolox_protocol::Millis;
    use std::net::{SocketAddr, TcpListener};

    fn conn(id: ConnId) -> Conn {
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let peer = Peer { conn: id, addr: SocketAddr::from(([127, 0, 0, 1], 1)), local_port: 1 };
        Conn::new(peer, Transport::Plain(socket.into()), Vitals::new(Millis(0)))
    }

    #[test]
    fn a_place_is_used_again_but_a_number_never() {
        let mut conns = Conns::default();
        let first = conns.insert(conn).unwrap().peer.conn;
        let second = conns.insert(conn).unwrap().peer.conn;
        assert!(conns.remove(first).is_some());
        let third = conns.insert(conn).unwrap().peer.conn;
        assert_eq!((conns.slots.len(), slot_of(third)), (2, slot_of(first)));
        assert!(first != third && second != third);
        assert!(conns.get_mut(first).is_none(), "the old number does not reach the new connection");
        assert!(conns.remove(first).is_none());
        assert!(conns.get_mut(third).is_some() && conns.get_mut(second).is_some());
    }
}
