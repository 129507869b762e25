//! Doing what the service wants done: jobs, link frames, answers.

use super::{Driver, Lost};
use crate::{
    ConnId, Fill, Service,
    clock::Clock,
    links::write_out,
    service::{Now, Part},
    workers::fill_if_warm,
};
use rustix::event::epoll::{self, EventData, EventFlags};
use std::io;
use tracing::{debug, warn};

/// Answers of one group beyond this are written before the next one is added, so that a burst of large ones
/// does not pile up in memory while the socket is free.
const EAGER_BYTES: usize = 1024 * 1024;

impl<S: Service, C: Clock> Driver<S, C> {
    /// Empties the outbox.
    pub(super) fn deliver(&mut self, now: Now) {
        if !self.outbox.is_empty() {
            let (buffer, mut parts, links, jobs) = self.outbox.take();
            // Jobs first: while a flush runs, the answers that need no flush are written.
            for job in jobs {
                match self.workers.job(job) {
                    Ok(()) => self.totals.jobs += 1,
                    // Without its threads the service cannot keep its promises, and it would wait for ever.
                    Err(error) => panic!("cannot start a worker thread: {error}"),
                }
            }
            for (addr, frames) in links {
                self.send_link(now, &addr, &frames);
            }
            for (conn, part) in parts.drain(..) {
                self.put(now, conn, part, &buffer);
            }
            self.outbox.recycle(buffer, parts);
        }
        let mut dirty = std::mem::take(&mut self.dirty);
        for id in dirty.drain(..) {
            self.flush(now, id);
        }
        self.dirty = dirty;
    }

    fn send_link(&mut self, now: Now, addr: &str, frames: &[u8]) {
        let result = self.links.send(now.mono, addr, frames, &self.limits, &self.epoll, &mut self.workers);
        let by = now.mono.0.saturating_add(self.limits.connect_timeout.0.min(self.limits.idle.0));
        self.sweep_at.0 = self.sweep_at.0.min(by);
        self.lost.extend(result.err().map(Lost::Link));
    }

    /// Adds one part to what a connection is to be sent.
    fn put(&mut self, now: Now, id: ConnId, part: Part, buffer: &[u8]) {
        // A connection may have gone since its request came.
        let Some(conn) = self.conns.get_mut(id) else { return };
        self.spares.lend(&mut conn.outbound);
        match part {
            Part::Bytes(from, to) => {
                conn.outbound.tail().extend_from_slice(buffer.get(from..to).unwrap_or_default());
            }
            Part::Fill(fill) => {
                if !fill_if_warm(&*fill, conn.outbound.tail()) {
                    return self.fill_cold(id, fill);
                }
            }
            Part::Close(why) => conn.closing = Some(why),
        }
        let eager = conn.outbound.len() > EAGER_BYTES && !conn.interest.contains(EventFlags::OUT);
        self.mark_dirty(id);
        if eager {
            self.write(now, id);
        }
        self.settle_unsent(now, id);
    }

    /// Has an answer filled by a reader thread; it is added when it comes back.
    fn fill_cold(&mut self, id: ConnId, fill: Box<dyn Fill>) {
        let Some(conn) = self.conns.get_mut(id) else { return };
        if self.totals.cold_reads >= self.limits.cold_reads_max {
            let why = io::Error::other("too many reads from files are waiting");
            fill.failed(&why, conn.outbound.tail());
            return self.mark_dirty(id);
        }
        match self.workers.fill(id, fill) {
            Ok(()) => {
                conn.cold_reads += 1;
                self.totals.cold_reads += 1;
            }
            Err(error) => panic!("cannot start a reader thread: {error}"),
        }
    }

    /// A reader thread has filled an answer.
    pub(super) fn on_filled(&mut self, now: Now, id: ConnId, frames: &[u8]) {
        self.totals.cold_reads = self.totals.cold_reads.saturating_sub(1);
        let Some(conn) = self.conns.get_mut(id) else { return };
        conn.cold_reads = conn.cold_reads.saturating_sub(1);
        conn.outbound.tail().extend_from_slice(frames);
        self.mark_dirty(id);
        self.settle_unsent(now, id);
    }

    /// Writes what fits at the end of a group, and closes a connection that was to be closed after it.
    fn flush(&mut self, now: Now, id: ConnId) {
        let Some(conn) = self.conns.get_mut(id) else { return };
        conn.dirty = false;
        self.write(now, id);
        self.settle_unsent(now, id);
        let Some(conn) = self.conns.get_mut(id) else { return };
        self.spares.take_back(&mut conn.outbound);
        if let Some(why) = conn.closing
            && conn.outbound.is_empty()
            && conn.cold_reads == 0
            && let Some(conn) = self.remove(id)
        {
            debug!(server = self.name, conn = id.0, addr = %conn.peer.addr, why, "connection closed by the server");
            conn.transport.finish(&mut self.read_buffer);
        }
    }

    fn write(&mut self, now: Now, id: ConnId) {
        let Some(conn) = self.conns.get_mut(id) else { return };
        if let Err(error) = write_out(&conn.transport, &mut conn.outbound, &mut conn.vitals, now.mono) {
            debug!(server = self.name, conn = id.0, %error, "connection failed");
            return self.drop_conn(id, "failed");
        }
        let mut interest = EventFlags::empty();
        interest.set(EventFlags::IN, !self.deaf && conn.closing.is_none());
        interest.set(EventFlags::OUT, !conn.outbound.is_empty());
        if interest != conn.interest {
            conn.interest = interest;
            if let Err(errno) =
                epoll::modify(&self.epoll, &conn.transport, EventData::new_u64(id.0), interest)
            {
                debug!(server = self.name, conn = id.0, error = %io::Error::from(errno), "connection failed");
                self.drop_conn(id, "failed");
            }
        }
    }

    /// Counts what a connection has not taken yet, and cuts those that hold too much.
    fn settle_unsent(&mut self, now: Now, id: ConnId) {
        let Some(conn) = self.conns.get_mut(id) else { return };
        let unsent = conn.outbound.len();
        self.totals.unsent = self.totals.unsent + unsent - conn.counted_unsent.min(self.totals.unsent);
        conn.counted_unsent = unsent;
        if unsent > self.limits.unsent_bytes_max {
            self.cut(now, id, self.limits.unsent_bytes_max);
        }
        while self.totals.unsent > self.limits.unsent_bytes_total_max {
            let most = self.conns.iter().max_by_key(|conn| conn.counted_unsent).map(|conn| conn.peer.conn);
            let Some(most) = most else { return };
            self.cut(now, most, self.limits.unsent_bytes_total_max);
        }
    }

    /// Drops a connection whose peer does not read.
    fn cut(&mut self, now: Now, id: ConnId, limit: usize) {
        let Some(conn) = self.remove(id) else { return };
        if let Some(held) = self.log_limit.pass(now.mono) {
            let (addr, unsent) = (conn.peer.addr, conn.counted_unsent);
            warn!(server = self.name, %addr, unsent, limit, held, "cut a connection that does not read its answers");
        }
    }
}
