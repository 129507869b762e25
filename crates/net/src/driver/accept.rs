//! Taking connections in.

use super::{Driver, LISTEN_TOKEN};
use crate::{
    Peer, Service,
    clock::Clock,
    conns::Conn,
    limits::{Verdict, Vitals},
    listen::socket_addr,
    service::Now,
    transport::Transport,
};
use kerolox_protocol::Millis;
use rustix::{
    event::epoll::{self, EventData, EventFlags},
    fd::OwnedFd,
    io::Errno,
    net::{SocketFlags, acceptfrom_with, sockopt},
};
use std::{io, net::SocketAddr};
use tracing::{debug, warn};

/// Connections taken from one listening socket per group, so that a flood of them delays requests by little.
const ACCEPTS_MAX: usize = 64;
/// Rest after the process ran out of descriptors, in milliseconds.
const ACCEPT_REST: i64 = 100;

impl<S: Service, C: Clock> Driver<S, C> {
    /// Accepts what waits at a listening socket. An error is the event queue's.
    pub(super) fn accept(&mut self, now: Now, place: u64) -> io::Result<()> {
        for _ in 0..ACCEPTS_MAX {
            let place = usize::try_from(place).unwrap_or(usize::MAX);
            let Some(listener) = self.listeners.sockets.get(place) else { return Ok(()) };
            let local_port = listener.addr.port();
            match acceptfrom_with(&listener.fd, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK) {
                Ok((socket, addr)) => {
                    if let Some(mut addr) = addr.and_then(socket_addr) {
                        // An IPv4 peer of a socket that listens on IPv6 too is told as what it is, so that
                        // limits and permissions by network mean the same on both.
                        addr.set_ip(addr.ip().to_canonical());
                        self.admit(now, socket, addr, local_port);
                    }
                }
                Err(Errno::AGAIN) => return Ok(()),
                Err(errno @ (Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM)) => {
                    if let Some(held) = self.log_limit.pass(now.mono) {
                        let error = io::Error::from(errno);
                        warn!(server = self.name, %error, held, "cannot accept: raise the limit of open files (ulimit -n)");
                    }
                    // The socket stays ready, so the loop would spin; it looks away for a while.
                    self.accept_at = Some(Millis(now.mono.0.saturating_add(ACCEPT_REST)));
                    return self.listen_for(EventFlags::empty());
                }
                // The connection was gone before it was taken.
                Err(errno) => debug!(server = self.name, error = %io::Error::from(errno), "accept failed"),
            }
        }
        Ok(())
    }

    /// Takes a connection in, or closes it because there are too many.
    fn admit(&mut self, now: Now, socket: OwnedFd, addr: SocketAddr, local_port: u16) {
        if let Err(why) = self.admission.admit(addr.ip(), &self.limits) {
            if let Some(held) = self.log_limit.pass(now.mono) {
                warn!(server = self.name, %addr, held, "refused a connection: {why}");
            }
            return;
        }
        // Fails only on a socket that is already dead, which the first read will find.
        let _ = sockopt::set_tcp_nodelay(&socket, true);
        let vitals = Vitals::accepted(now.mono);
        if let Verdict::KeepUntil(until) = vitals.judge(now.mono, &self.limits) {
            self.sweep_at = self.sweep_at.min(until);
        }
        let conn = self
            .conns
            .insert(|conn| Conn::new(Peer { conn, addr, local_port }, Transport::Plain(socket), vitals));
        let Some(conn) = conn else {
            self.admission.release(addr.ip());
            return;
        };
        let id = conn.peer.conn;
        if let Err(errno) = epoll::add(&self.epoll, &conn.transport, EventData::new_u64(id.0), conn.interest)
        {
            warn!(server = self.name, %addr, error = %io::Error::from(errno), "cannot watch a connection, closed it");
            self.drop_conn(id, "cannot be watched");
        }
    }

    /// Watches the listening sockets for `flags`.
    pub(super) fn listen_for(&self, flags: EventFlags) -> io::Result<()> {
        for (place, listener) in (0u64..).zip(&self.listeners.sockets) {
            epoll::modify(&self.epoll, &listener.fd, EventData::new_u64(LISTEN_TOKEN | place), flags)?;
        }
        Ok(())
    }
}
