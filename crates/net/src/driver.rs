//! The loop: one thread, one event queue, one service.
//!
//! Owns every socket of a server and the service itself, so nothing here is locked. Decides nothing about
//! answers, and leaves the rules about limits to [`crate::limits`].
//!
//! One wake-up is one group:
//! ```text
//! events ─► read each ready connection once, split frames ─► service.on_frame …
//!           messages of other threads ─► on_done, answers from cold files
//!           connections and links that ended ─► on_closed, on_link
//!           timers ─► on_timer
//!        ─► service.on_batch_end
//!        ─► jobs to their lanes, then answers: one write per connection
//! ```
//! Readiness is level-triggered: a connection is read once per group, whatever it has, so a fast one cannot
//! keep the others waiting, and no read is spent on learning that nothing is left.

mod accept;
mod deliver;

use crate::{
    ConnId, Inlet, LinkEvent, Listeners, Now, Options, Outbox, Service,
    buffers::Spares,
    clock::Clock,
    conns::{Conn, Conns},
    limits::{Admission, Limits, LogLimit, Verdict},
    links::{Down, LINK_TOKEN, Links},
    load::Load,
    mailbox::Mailbox,
    message::Message,
    poll::{Next, Poll},
    transport::{Read, is_client_hello},
    workers::{AbortOnPanic, Workers},
};
use kerolox_protocol::Millis;
use rustix::{
    event::{
        Timespec,
        epoll::{self, CreateFlags, Event, EventData, EventFlags},
    },
    fd::OwnedFd,
    io::Errno,
};
use std::{io, net::IpAddr, sync::Arc};
use tracing::{debug, info, warn};

/// Events taken at once.
const EVENTS_MAX: usize = 1024;
/// Bytes read before a group is closed: it bounds what a service appends at once, and how long the first
/// request of a group waits for the last.
const GROUP_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Marks the events of listening sockets; the low bits are their place.
const LISTEN_TOKEN: u64 = 1 << 62;
/// The event of the mailbox.
const MAIL_TOKEN: u64 = LISTEN_TOKEN | 0xffff_ffff;
/// Does not wait.
const AT_ONCE: Timespec = Timespec { tv_sec: 0, tv_nsec: 0 };
/// Time between two looks at all connections.
const SWEEP_PAUSE_MIN: i64 = 500;

/// What all connections together cost.
#[derive(Debug, Default)]
struct Totals {
    /// Bytes of unfinished frames; the memory is at most twice as much.
    partial: usize,
    /// Bytes that could not be sent yet.
    unsent: usize,
    /// Answers being filled on reader threads.
    cold_reads: usize,
    /// Jobs on lanes.
    jobs: usize,
}

/// Something that ended, to be told to the service with the next group.
#[derive(Debug)]
enum Lost {
    Conn(ConnId),
    Link(Down),
}

/// The loop's state.
pub(crate) struct Driver<S: Service, C: Clock> {
    service: S,
    clock: C,
    limits: Limits,
    name: &'static str,
    epoll: OwnedFd,
    listeners: Listeners,
    mailbox: Arc<Mailbox<Message<S>>>,
    mail: Vec<Message<S>>,
    workers: Workers<S>,
    conns: Conns,
    admission: Admission,
    links: Links,
    outbox: Outbox<S::Job>,
    read_buffer: Vec<u8>,
    spares: Spares,
    dirty: Vec<ConnId>,
    lost: Vec<Lost>,
    totals: Totals,
    log_limit: LogLimit,
    poll: Poll,
    load: Load,
    /// Whether the service was called in this group.
    touched: bool,
    /// When some connection or link may have to be closed. Never later than the truth.
    sweep_at: Millis,
    swept: Millis,
    /// Accepting rests until then, because there was no descriptor left.
    accept_at: Option<Millis>,
    /// Set when stopping: when the stop ends at the latest.
    stop_by: Option<Millis>,
    /// Whether connections are no longer read, because the service has stopped.
    deaf: bool,
}

impl<S: Service, C: Clock> Driver<S, C> {
    pub(crate) fn new(
        listeners: Listeners,
        options: Options,
        clock: C,
        service: S,
        mailbox: Arc<Mailbox<Message<S>>>,
    ) -> io::Result<Driver<S, C>> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        epoll::add(&epoll, &*mailbox, EventData::new_u64(MAIL_TOKEN), EventFlags::IN)?;
        for (place, listener) in (0u64..).zip(&listeners.sockets) {
            epoll::add(&epoll, &listener.fd, EventData::new_u64(LISTEN_TOKEN | place), EventFlags::IN)?;
        }
        let load = Load::default();
        Ok(Driver {
            service,
            clock,
            limits: options.limits,
            name: options.name,
            epoll,
            listeners,
            workers: Workers::new(options.name, options.readers, mailbox.clone()),
            mailbox,
            mail: Vec::new(),
            conns: Conns::default(),
            admission: Admission::default(),
            links: Links::default(),
            outbox: Outbox::default(),
            read_buffer: vec![0; options.read_bytes.max(4096)],
            spares: Spares::default(),
            dirty: Vec::new(),
            lost: Vec::new(),
            totals: Totals::default(),
            log_limit: LogLimit::new(10, Millis(10_000)),
            poll: Poll::new(options.busy_poll_micros, load.processors()),
            load,
            touched: false,
            sweep_at: Millis(i64::MAX),
            swept: Millis(i64::MIN),
            accept_at: None,
            stop_by: None,
            deaf: false,
        })
    }

    /// Serves until stopped.
    pub(crate) fn run(mut self) -> io::Result<S> {
        // Stands inside: the process ends before the broken service or its sockets are dropped.
        let _abort = AbortOnPanic("the server loop");
        let mut events: Vec<Event> = Vec::with_capacity(EVENTS_MAX);
        loop {
            events.clear();
            self.wait(&mut events)?;
            let now = self.clock.now();
            let mut bytes = 0;
            for event in &events {
                bytes += self.on_event(now, *event)?;
                if bytes >= GROUP_BYTES_MAX {
                    bytes = 0;
                    self.end_group(now);
                }
            }
            self.on_time(now)?;
            self.end_group(now);
            if self.is_finished(now) {
                return Ok(self.finish());
            }
        }
    }

    /// Waits for events, awake or asleep.
    fn wait(&mut self, events: &mut Vec<Event>) -> io::Result<()> {
        let timeout = self.timeout();
        let may_sleep = timeout.as_ref().is_none_or(|at_most| at_most.tv_sec > 0 || at_most.tv_nsec > 0);
        if !may_sleep {
            return self.take_events(events, timeout.as_ref());
        }
        let started = self.clock.micros();
        if let Next::Look(budget) = self.poll.next(started, || self.load.is_high()) {
            while events.is_empty() && self.clock.micros().saturating_sub(started) < budget {
                self.take_events(events, Some(&AT_ONCE))?;
            }
            self.poll.looked(events.len());
            if !events.is_empty() {
                return Ok(());
            }
        }
        self.take_events(events, timeout.as_ref())?;
        self.poll.slept(self.clock.micros().saturating_sub(started), events.len());
        Ok(())
    }

    fn take_events(&self, events: &mut Vec<Event>, at_most: Option<&Timespec>) -> io::Result<()> {
        match epoll::wait(&self.epoll, rustix::buffer::spare_capacity(events), at_most) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }

    /// How long to wait for events.
    fn timeout(&self) -> Option<Timespec> {
        if !self.lost.is_empty() || !self.outbox.is_empty() {
            return Some(AT_ONCE);
        }
        let sweep_at = Millis(self.sweep_at.0.max(self.swept.0.saturating_add(SWEEP_PAUSE_MIN)));
        let sweep_at = Some(sweep_at).filter(|_| self.sweep_at.0 != i64::MAX);
        let wake_at = [self.service.next_timer(), sweep_at, self.accept_at, self.stop_by];
        let wake_at = wake_at.into_iter().flatten().map(|at| at.0).min()?;
        let pause = wake_at.saturating_sub(self.clock.now().mono.0).max(0);
        Some(Timespec { tv_sec: pause / 1000, tv_nsec: (pause % 1000) * 1_000_000 })
    }

    /// Handles one event; returns how many bytes it brought.
    fn on_event(&mut self, now: Now, event: Event) -> io::Result<usize> {
        let token = event.data.u64();
        if token == MAIL_TOKEN {
            self.on_mail(now);
        } else if token & LINK_TOKEN != 0 {
            self.on_link_event(now, token & !LINK_TOKEN);
        } else if token & LISTEN_TOKEN != 0 {
            self.accept(now, token & !LISTEN_TOKEN)?;
        } else {
            // The flags of a packed struct are copied out before use.
            let flags = event.flags;
            let conn = ConnId(token);
            if flags.contains(EventFlags::OUT) {
                self.mark_dirty(conn);
            }
            // Errors and hang-ups show themselves to the read.
            if flags.intersects(EventFlags::IN | EventFlags::ERR | EventFlags::HUP) {
                return Ok(self.read(now, conn));
            }
        }
        Ok(0)
    }

    /// Reads one connection once and hands its frames over.
    fn read(&mut self, now: Now, id: ConnId) -> usize {
        let Some(conn) = self.conns.get_mut(id) else { return 0 };
        let n = match conn.transport.read(&mut self.read_buffer) {
            Ok(Read::Bytes(n)) => n,
            Ok(Read::Later) => return 0,
            Ok(Read::End) => {
                self.drop_conn(id, "closed by the peer");
                return 0;
            }
            Err(error) => {
                debug!(server = self.name, conn = id.0, %error, "connection failed");
                self.drop_conn(id, "failed");
                return 0;
            }
        };
        if self.deaf || conn.closing.is_some() {
            return n;
        }
        let chunk = self.read_buffer.get(..n).unwrap_or_default();
        if !conn.greeted {
            conn.greeted = true;
            if is_client_hello(chunk) {
                let addr = conn.peer.addr;
                if let Some(held) = self.log_limit.pass(now.mono) {
                    warn!(server = self.name, %addr, held, "refused a TLS connection: TLS is not set up here, use plain TCP");
                }
                self.drop_conn(id, "speaks TLS");
                return n;
            }
        }
        let (service, out) = (&mut self.service, &mut self.outbox);
        let mut inlet = Inlet { service, now, peer: &conn.peer, out };
        let fed = conn.inbound.feed(chunk, &self.limits, &mut inlet);
        self.touched = true;
        match fed {
            Ok(frames) => {
                conn.vitals.read(now.mono, conn.inbound.came(frames));
                self.settle_partial(now, id);
            }
            Err(error) => {
                let addr = conn.peer.addr;
                if let Some(held) = self.log_limit.pass(now.mono) {
                    warn!(server = self.name, %addr, %error, held, "closed a connection that sent what is no frame");
                }
                // What it sent before that was right is still answered.
                conn.closing = Some("malformed frame");
                self.mark_dirty(id);
            }
        }
        n
    }

    /// Counts a connection's unfinished frame, and cuts the largest while there is too much.
    fn settle_partial(&mut self, now: Now, id: ConnId) {
        let Some(conn) = self.conns.get_mut(id) else { return };
        let held = conn.inbound.partial_bytes();
        let before = std::mem::replace(&mut conn.counted_partial, held);
        self.totals.partial = self.totals.partial + held - before.min(self.totals.partial);
        if conn.inbound.arrived_bytes() > 0
            && let Verdict::KeepUntil(until) = conn.vitals.judge(now.mono, &self.limits)
        {
            self.sweep_at = self.sweep_at.min(until);
        }
        let (before, held) = (self.limits.large(before), self.limits.large(held));
        if before != held {
            let address = conn.peer.addr.ip();
            if self.admission.hold(address, before, held) > self.limits.partial_bytes_per_address_max {
                let limit = self.limits.partial_bytes_per_address_max;
                self.cut_partial(now, Some(address), limit);
            }
        }
        while self.totals.partial > self.limits.partial_bytes_max {
            let address = self.admission.holds_most();
            if !self.cut_partial(now, address, self.limits.partial_bytes_max) {
                return;
            }
        }
    }

    /// Cuts the connection that holds most of an unfinished frame, of those from the address if one is given.
    fn cut_partial(&mut self, now: Now, address: Option<IpAddr>, limit: usize) -> bool {
        let from = |conn: &&Conn| address.is_none_or(|address| conn.peer.addr.ip() == address);
        let largest = self.conns.iter().filter(from).max_by_key(|conn| conn.counted_partial);
        let Some((id, addr, bytes)) =
            largest.map(|conn| (conn.peer.conn, conn.peer.addr, conn.counted_partial))
        else {
            return false;
        };
        if let Some(held) = self.log_limit.pass(now.mono) {
            warn!(server = self.name, %addr, bytes, limit, held, "unfinished frames hold too much memory, closed the largest");
        }
        self.drop_conn(id, "unfinished frames hold too much memory");
        true
    }

    fn on_mail(&mut self, now: Now) {
        let mut mail = std::mem::take(&mut self.mail);
        self.mailbox.take(&mut mail);
        for message in mail.drain(..) {
            match message {
                Message::Stop => self.begin_stop(now),
                Message::Done(done) => {
                    self.totals.jobs = self.totals.jobs.saturating_sub(1);
                    self.service.on_done(now, done, &mut self.outbox);
                    self.touched = true;
                }
                Message::Filled(conn, frames) => self.on_filled(now, conn, &frames),
                Message::Resolved(link, found) => {
                    let result = self.links.resolved(link, found, &self.epoll);
                    self.lost.extend(result.err().map(Lost::Link));
                }
                Message::Call(call) => {
                    call(&mut self.service, now, &mut self.outbox);
                    self.touched = true;
                }
            }
        }
        self.mail = mail;
    }

    fn on_link_event(&mut self, now: Now, link: u64) {
        let (service, outbox, touched) = (&mut self.service, &mut self.outbox, &mut self.touched);
        let on_frame = |addr: &str, frame: kerolox_protocol::frame::Frame<'_>| {
            service.on_link(now, addr, LinkEvent::Frame(frame), outbox);
            *touched = true;
        };
        let links = &mut self.links;
        let result = links.event(link, now.mono, &self.limits, &self.epoll, &mut self.read_buffer, on_frame);
        self.lost.extend(result.err().map(Lost::Link));
        self.sweep_at.0 = self.sweep_at.0.min(now.mono.0.saturating_add(self.limits.slow_grace.0));
    }

    /// Does what is due by the clock.
    fn on_time(&mut self, now: Now) -> io::Result<()> {
        if self.service.next_timer().is_some_and(|at| now.mono >= at) {
            self.service.on_timer(now, &mut self.outbox);
            self.touched = true;
        }
        if self.accept_at.is_some_and(|at| now.mono >= at) {
            self.accept_at = None;
            self.listen_for(EventFlags::IN)?;
        }
        if now.mono >= self.sweep_at && now.mono.0 >= self.swept.0.saturating_add(SWEEP_PAUSE_MIN) {
            self.sweep(now);
        }
        Ok(())
    }

    /// Closes what is idle or slow, and finds out when to look next.
    fn sweep(&mut self, now: Now) {
        self.swept = now.mono;
        let mut next = i64::MAX;
        let mut over = Vec::new();
        for conn in self.conns.iter() {
            match conn.vitals.judge(now.mono, &self.limits) {
                Verdict::KeepUntil(until) => next = next.min(until.0),
                verdict => over.push((conn.peer.conn, conn.peer.addr, verdict)),
            }
        }
        for (id, addr, verdict) in over {
            let why = match verdict {
                Verdict::Slow => "a frame was started and did not come",
                Verdict::Mute => "no request was ever sent on it",
                Verdict::Idle | Verdict::KeepUntil(_) => "idle",
            };
            if verdict == Verdict::Slow
                && let Some(held) = self.log_limit.pass(now.mono)
            {
                warn!(server = self.name, %addr, held, "closed a connection: {why}");
            }
            self.drop_conn(id, why);
        }
        let mut downs = Vec::new();
        let links_next = self.links.sweep(now.mono, &self.limits, &mut downs);
        self.lost.extend(downs.into_iter().map(Lost::Link));
        self.sweep_at = Millis(links_next.map_or(next, |at| at.0.min(next)));
    }

    /// Tells the service what ended and that the group is complete, then does what it wants done.
    fn end_group(&mut self, now: Now) {
        for lost in std::mem::take(&mut self.lost) {
            match lost {
                Lost::Conn(conn) => self.service.on_closed(now, conn, &mut self.outbox),
                Lost::Link(Down { addr, why }) => {
                    self.service.on_link(now, &addr, LinkEvent::Down(&why), &mut self.outbox);
                }
            }
            self.touched = true;
        }
        if std::mem::take(&mut self.touched) {
            self.service.on_batch_end(now, &mut self.outbox);
        }
        self.deliver(now);
    }

    /// Takes a connection out at once. Bytes that were not sent are lost.
    fn drop_conn(&mut self, id: ConnId, why: &'static str) {
        if let Some(conn) = self.remove(id) {
            debug!(server = self.name, conn = id.0, addr = %conn.peer.addr, why, "connection closed");
        }
    }

    /// Takes a connection out of all tables; the service learns it with the next group.
    fn remove(&mut self, id: ConnId) -> Option<Conn> {
        let conn = self.conns.remove(id)?;
        let address = conn.peer.addr.ip();
        self.admission.hold(address, self.limits.large(conn.counted_partial), 0);
        self.admission.release(address);
        self.totals.partial = self.totals.partial.saturating_sub(conn.counted_partial);
        self.totals.unsent = self.totals.unsent.saturating_sub(conn.counted_unsent);
        self.lost.push(Lost::Conn(id));
        Some(conn)
    }

    fn mark_dirty(&mut self, id: ConnId) {
        if let Some(conn) = self.conns.get_mut(id)
            && !std::mem::replace(&mut conn.dirty, true)
        {
            self.dirty.push(id);
        }
    }

    fn begin_stop(&mut self, now: Now) {
        if self.stop_by.is_some() {
            return;
        }
        info!(server = self.name, connections = self.admission.total(), "stopping");
        self.stop_by = Some(Millis(now.mono.0.saturating_add(self.limits.stop_timeout.0)));
        self.listeners.sockets.clear();
        self.accept_at = None;
        self.service.on_stop(now, &mut self.outbox);
        self.touched = true;
    }

    /// Whether a stop is complete, or has taken as long as it may.
    fn is_finished(&mut self, now: Now) -> bool {
        let Some(stop_by) = self.stop_by else { return false };
        if self.service.is_stopped() && !self.deaf {
            // From here on only answers leave; requests would find nobody.
            self.deaf = true;
            let all: Vec<ConnId> = self.conns.iter().map(|conn| conn.peer.conn).collect();
            all.into_iter().for_each(|id| self.mark_dirty(id));
            self.deliver(now);
        }
        let links_unsent = self.links.unsent_bytes();
        let idle = self.totals.jobs == 0 && self.totals.cold_reads == 0 && self.lost.is_empty();
        if self.deaf && idle && self.totals.unsent == 0 && links_unsent == 0 && self.outbox.is_empty() {
            return true;
        }
        let late = now.mono >= stop_by;
        if late {
            let Totals { jobs, cold_reads, unsent, .. } = self.totals;
            let stopped = self.service.is_stopped();
            warn!(
                server = self.name,
                stopped, jobs, cold_reads, unsent, links_unsent, "stop took too long, ended with work undone"
            );
        }
        late
    }

    /// Closes everything and gives the service back.
    fn finish(mut self) -> S {
        let all: Vec<ConnId> = self.conns.iter().map(|conn| conn.peer.conn).collect();
        for id in all {
            if let Some(conn) = self.remove(id) {
                conn.transport.finish(&mut self.read_buffer);
            }
        }
        self.links.finish(&mut self.read_buffer);
        info!(server = self.name, "stopped");
        self.service
    }
}
