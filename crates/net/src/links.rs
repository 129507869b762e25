//! Outgoing links: one connection per address, made when something is sent and kept until it breaks.
//!
//! Knows sockets and addresses. Knows no service: what happens is returned as events, and the driver delivers
//! them.
//!
//! ```text
//!   send ──► resolving ──► connecting ──► open ──► gone (the next send starts anew)
//!               │  deadline    │ next address │ error, end, idle, malformed frame, full queue
//!               └──────────────┴──────────────┴──► Down(why)
//! ```

use crate::{
    Service,
    buffers::{Inbound, Outbound},
    limits::{Limits, Verdict, Vitals},
    listen::stream_socket,
    transport::{Read, Transport},
    workers::Workers,
};
use kerolox_protocol::{Millis, frame::Frame};
use rustix::{
    event::epoll::{self, EventData, EventFlags},
    fd::{AsFd, OwnedFd},
    io::Errno,
    net::{connect, sockopt},
};
use std::{collections::HashMap, io, net::SocketAddr};

/// Marks the events of links among those of other sockets.
pub(crate) const LINK_TOKEN: u64 = 1 << 63;

#[derive(Debug)]
enum State {
    Resolving,
    Connecting { socket: Transport, rest: Vec<SocketAddr> },
    Open(Transport),
}

#[derive(Debug)]
struct Link {
    addr: String,
    state: State,
    inbound: Inbound,
    outbound: Outbound,
    vitals: Vitals,
    connect_by: Millis,
    wants_out: bool,
}

/// A link that is gone.
#[derive(Debug)]
pub(crate) struct Down {
    pub(crate) addr: String,
    pub(crate) why: String,
}

/// All links of one loop.
#[derive(Debug, Default)]
pub(crate) struct Links {
    by_addr: HashMap<String, u64>,
    links: HashMap<u64, Link>,
    serial: u64,
}

impl Links {
    /// Queues whole frames for `addr`, making the link if there is none.
    pub(crate) fn send<S: Service>(
        &mut self,
        now: Millis,
        addr: &str,
        frames: &[u8],
        limits: &Limits,
        epoll: &OwnedFd,
        workers: &mut Workers<S>,
    ) -> Result<(), Down> {
        let id = match self.by_addr.get(addr) {
            Some(id) => *id,
            None => self.open(now, addr, limits, epoll, workers)?,
        };
        let Some(link) = self.links.get_mut(&id) else { return Ok(()) };
        if link.outbound.len().saturating_add(frames.len()) > limits.link_bytes_max {
            return Err(self.down(id, format!("more than {} bytes wait to be sent", limits.link_bytes_max)));
        }
        link.outbound.tail().extend_from_slice(frames);
        self.flush(id, now, epoll)
    }

    fn open<S: Service>(
        &mut self,
        now: Millis,
        addr: &str,
        limits: &Limits,
        epoll: &OwnedFd,
        workers: &mut Workers<S>,
    ) -> Result<u64, Down> {
        self.serial += 1;
        let id = self.serial;
        let link = Link {
            addr: addr.to_owned(),
            state: State::Resolving,
            inbound: Inbound::default(),
            outbound: Outbound::default(),
            vitals: Vitals::new(now),
            connect_by: Millis(now.0.saturating_add(limits.connect_timeout.0)),
            wants_out: false,
        };
        self.links.insert(id, link);
        self.by_addr.insert(addr.to_owned(), id);
        match addr.parse::<SocketAddr>() {
            Ok(number) => self.connect(id, vec![number], epoll)?,
            Err(_) => {
                if let Err(why) = workers.resolve(id, addr) {
                    return Err(self.down(id, format!("cannot resolve: {why}")));
                }
            }
        }
        Ok(id)
    }

    /// The name of a link has been looked up.
    pub(crate) fn resolved(
        &mut self,
        id: u64,
        found: Result<Vec<SocketAddr>, String>,
        epoll: &OwnedFd,
    ) -> Result<(), Down> {
        match self.links.get(&id) {
            Some(Link { state: State::Resolving, .. }) => match found {
                Ok(addrs) => self.connect(id, addrs, epoll),
                Err(why) => Err(self.down(id, why)),
            },
            // The deadline was faster.
            _ => Ok(()),
        }
    }

    /// Begins to connect to the first address that can be tried.
    fn connect(&mut self, id: u64, addrs: Vec<SocketAddr>, epoll: &OwnedFd) -> Result<(), Down> {
        let mut addrs = addrs.into_iter();
        let mut why = String::from("no address is left");
        while let Some(addr) = addrs.next() {
            match begin_connect(addr, epoll, LINK_TOKEN | id) {
                Ok(socket) => {
                    if let Some(link) = self.links.get_mut(&id) {
                        link.state = State::Connecting { socket, rest: addrs.collect() };
                        link.wants_out = true;
                    }
                    return Ok(());
                }
                Err(error) => why = format!("cannot connect to {addr}: {error}"),
            }
        }
        Err(self.down(id, why))
    }

    /// Handles a socket event of link `id`; frames go to `on_frame` with the link's address.
    pub(crate) fn event(
        &mut self,
        id: u64,
        now: Millis,
        limits: &Limits,
        epoll: &OwnedFd,
        scratch: &mut [u8],
        mut on_frame: impl FnMut(&str, Frame<'_>),
    ) -> Result<(), Down> {
        let Some(link) = self.links.get_mut(&id) else { return Ok(()) };
        match &mut link.state {
            State::Resolving => Ok(()),
            State::Connecting { socket, rest } => {
                let error = match sockopt::socket_error(&*socket) {
                    Ok(Ok(())) => None,
                    Ok(Err(errno)) | Err(errno) => Some(io::Error::from(errno)),
                };
                let rest = std::mem::take(rest);
                match error {
                    None => {
                        let State::Connecting { socket, .. } =
                            std::mem::replace(&mut link.state, State::Resolving)
                        else {
                            return Ok(());
                        };
                        link.state = State::Open(socket);
                        link.vitals = Vitals::new(now);
                        self.flush(id, now, epoll)
                    }
                    Some(_) if !rest.is_empty() => self.connect(id, rest, epoll),
                    Some(error) => Err(self.down(id, format!("cannot connect: {error}"))),
                }
            }
            State::Open(socket) => {
                let why = match socket.read(scratch) {
                    Ok(Read::Later) => return self.flush(id, now, epoll),
                    Ok(Read::End) => "the other side closed it".to_owned(),
                    Err(error) => error.to_string(),
                    Ok(Read::Bytes(n)) => {
                        let chunk = scratch.get(..n).unwrap_or_default();
                        let addr = &link.addr;
                        let mut take = |frame: Frame<'_>| on_frame(addr, frame);
                        match link.inbound.feed(chunk, limits, &mut take) {
                            Ok(frames) => {
                                link.vitals.read(now, link.inbound.came(frames));
                                return self.flush(id, now, epoll);
                            }
                            Err(error) => format!("it sent what is no frame: {error}"),
                        }
                    }
                };
                Err(self.down(id, why))
            }
        }
    }

    /// Writes what fits.
    fn flush(&mut self, id: u64, now: Millis, epoll: &OwnedFd) -> Result<(), Down> {
        let Some(link) = self.links.get_mut(&id) else { return Ok(()) };
        let State::Open(socket) = &link.state else { return Ok(()) };
        let result = write_out(socket, &mut link.outbound, &mut link.vitals, now).and_then(|()| {
            let wants_out = !link.outbound.is_empty();
            if wants_out != link.wants_out {
                link.wants_out = wants_out;
                let flags = if wants_out { EventFlags::IN | EventFlags::OUT } else { EventFlags::IN };
                epoll::modify(epoll, socket, EventData::new_u64(LINK_TOKEN | id), flags)?;
            }
            Ok(())
        });
        result.map_err(|error| self.down(id, error.to_string()))
    }

    /// Takes out the links whose time is over, and tells when to look next.
    pub(crate) fn sweep(&mut self, now: Millis, limits: &Limits, downs: &mut Vec<Down>) -> Option<Millis> {
        let mut next = None::<i64>;
        let mut over = Vec::new();
        for (id, link) in &self.links {
            let until = match &link.state {
                State::Open(_) => match link.vitals.judge(now, limits) {
                    Verdict::KeepUntil(until) => Ok(until),
                    Verdict::Idle | Verdict::Mute => Err("nothing was sent or received for too long"),
                    Verdict::Slow => Err("a frame was started and did not come"),
                },
                _ if now.0 >= link.connect_by.0 => Err("connecting took too long"),
                _ => Ok(link.connect_by),
            };
            match until {
                Ok(until) => next = Some(next.map_or(until.0, |next| next.min(until.0))),
                Err(why) => over.push((*id, why)),
            }
        }
        downs.extend(over.into_iter().map(|(id, why)| self.down(id, why.to_owned())));
        next.map(Millis)
    }

    /// Bytes that wait on links.
    pub(crate) fn unsent_bytes(&self) -> usize {
        self.links.values().map(|link| link.outbound.len()).sum()
    }

    /// Ends all links so that what was written arrives.
    pub(crate) fn finish(&mut self, scratch: &mut [u8]) {
        self.by_addr.clear();
        for (_, link) in self.links.drain() {
            if let State::Open(socket) = link.state {
                socket.finish(scratch);
            }
        }
    }

    fn down(&mut self, id: u64, why: String) -> Down {
        let addr = self.links.remove(&id).map(|link| link.addr).unwrap_or_default();
        self.by_addr.remove(&addr);
        Down { addr, why }
    }
}

/// Writes what fits of `outbound`.
pub(crate) fn write_out(
    socket: &Transport,
    outbound: &mut Outbound,
    vitals: &mut Vitals,
    now: Millis,
) -> io::Result<()> {
    while !outbound.is_empty() {
        let unsent = outbound.unsent();
        let wanted = unsent.len();
        let n = socket.write(unsent)?;
        if n > 0 {
            vitals.wrote(now);
            outbound.took(n);
        }
        // A short write means that the socket is full; asking again would only cost a call.
        if n < wanted {
            break;
        }
    }
    Ok(())
}

fn begin_connect(addr: SocketAddr, epoll: &OwnedFd, token: u64) -> io::Result<Transport> {
    let socket = stream_socket(addr)?;
    sockopt::set_tcp_nodelay(&socket, true)?;
    match connect(&socket, &addr) {
        Ok(()) | Err(Errno::INPROGRESS) => {}
        Err(errno) => return Err(errno.into()),
    }
    epoll::add(epoll, socket.as_fd(), EventData::new_u64(token), EventFlags::IN | EventFlags::OUT)?;
    Ok(Transport::Plain(socket))
}
