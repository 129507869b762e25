//! The seam between deciding and doing: what a server is, without its sockets.
//!
//! Knows frames, connections by number, outgoing links by address, and jobs for threads that may block. Knows
//! no socket, file, thread or clock.
//!
//! ```text
//!             frames of every connection that is readable now
//!  driver ──► on_frames ─┐
//!  (loop or   on_frames  ├─► on_batch_end ──► Outbox: bytes per connection, links, jobs
//!  simulator) on_frames ─┘                        │
//!     ▲                                           ▼
//!     └──────── on_done ◄── job ran on its lane ◄─┘
//! ```
//! All frames that one wake-up found are handled as a group; what they append goes to the log in one write at
//! [`Service::on_batch_end`], and only then are they answered. So the cost of a wake-up and of a system call
//! is shared by everything that arrived meanwhile.
//!
//! A large frame is put before [`Service::judge`] when its header is here, so that nobody holds a body that will
//! be refused anyway. [`Inlet`] is how a driver hands bytes over.

use crate::buffers::Intake;
use kerolox_protocol::{
    Millis,
    frame::{Frame, Opening},
};
use std::{fmt, io, net::SocketAddr};

/// The time, as given to a service: the wall clock for what users see, the monotonic for timers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// Unix milliseconds; may jump.
    pub wall: Millis,
    /// Milliseconds since some start; never goes back.
    pub mono: Millis,
}

/// An accepted connection. A driver never uses a number twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnId(pub u64);

impl fmt::Display for ConnId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Who is at the other end of an accepted connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer {
    /// The connection.
    pub conn: ConnId,
    /// The peer's address.
    pub addr: SocketAddr,
    /// The local port it came to, so that a service can tell its main port from its VIP port.
    pub local_port: u16,
}

/// What happens on an outgoing link, one connection per address kept by the driver.
#[derive(Debug)]
pub enum LinkEvent<'a> {
    /// A frame came: an answer, or a request of the other side.
    Frame(Frame<'a>),
    /// The link could not be made or is gone; what was sent may or may not have arrived. The driver connects
    /// again when something is sent to that address.
    Down(&'a str),
}

/// What becomes of a large frame of which the header is here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Judgement {
    /// Its body is waited for; then it comes as a frame, and may still be refused.
    Take,
    /// This whole frame is the answer (no bytes: none is wanted). The body is thrown away as it comes.
    Refuse(Vec<u8>),
    /// The connection is closed, for that reason.
    Close(&'static str),
}

/// A server's rules, driven by events.
pub trait Service: Send + 'static {
    /// Work for threads that may block.
    type Job: Job;

    /// Judges a large frame by its header, before its body is held in memory: whatever would be refused without
    /// a look at the body is refused here, with the same words. Changes nothing that anybody could see.
    fn judge(&mut self, now: Now, peer: &Peer, opening: &Opening<'_>) -> Judgement;

    /// Handles one frame of `peer`. Frames of one connection come in order; a group may mix connections.
    /// Appended data need not be written before [`Service::on_batch_end`].
    fn on_frame(&mut self, now: Now, peer: &Peer, frame: Frame<'_>, out: &mut Outbox<Self::Job>);

    /// The group is complete: write what it appended, answer what waited for that.
    fn on_batch_end(&mut self, now: Now, out: &mut Outbox<Self::Job>);

    /// A connection is gone; nothing more can be sent to it.
    fn on_closed(&mut self, now: Now, conn: ConnId, out: &mut Outbox<Self::Job>);

    /// Something happened on the link to `addr`.
    fn on_link(&mut self, now: Now, addr: &str, event: LinkEvent<'_>, out: &mut Outbox<Self::Job>);

    /// A job has run.
    fn on_done(&mut self, now: Now, done: <Self::Job as Job>::Done, out: &mut Outbox<Self::Job>);

    /// The time asked for by [`Service::next_timer`] has come (or the driver is early: check).
    fn on_timer(&mut self, now: Now, out: &mut Outbox<Self::Job>);

    /// When [`Service::on_timer`] wants to be called next, on the monotonic clock. Asked after every event.
    fn next_timer(&self) -> Option<Millis>;

    /// The process is to stop: refuse new work, emit the last jobs. The driver runs jobs and delivers
    /// [`Service::on_done`] until [`Service::is_stopped`], then ends.
    fn on_stop(&mut self, now: Now, out: &mut Outbox<Self::Job>);

    /// Whether a stopping service has nothing left to do.
    fn is_stopped(&self) -> bool;
}

/// Blocking work, run away from the loop.
pub trait Job: Send + 'static {
    /// What comes back to the service.
    type Done: Send + 'static;
    /// Which thread runs it: jobs of one lane run one after another, lanes run side by side.
    fn lane(&self) -> Lane;
    /// Does the work. May block on a disk.
    fn run(self) -> Self::Done;
}

/// Threads for blocking work. A flush must not wait behind a deletion, nor a cold read behind a flush.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Lane {
    /// Making the log durable; somebody waits for it.
    Flush,
    /// Write-behind, deleting files, exports.
    Background,
    /// Making ready what will be needed soon; while it is not, somebody is slowed down.
    Ahead,
    /// Reading what is not in memory; somebody waits for it.
    Read,
}

/// A service without jobs.
#[derive(Debug)]
pub enum NoJob {}
impl Job for NoJob {
    type Done = NoJob;
    fn lane(&self) -> Lane {
        match *self {}
    }
    fn run(self) -> NoJob {
        self
    }
}

/// An answer whose bytes stand in files: the driver fills it in when it sends, away from the service's state.
pub trait Fill: Send + fmt::Debug {
    /// Whether the bytes are probably not in memory; the driver then fills it on a reader thread, so that a
    /// slow disk never holds up connections that want something else.
    fn is_cold(&self) -> bool;
    /// Appends the whole frame if that needs no device; `false` when it probably would. Nothing is appended then,
    /// nor on an error. To be overridden where asking and reading can be one step.
    fn try_fill(&self, out: &mut Vec<u8>) -> io::Result<bool> {
        if self.is_cold() { Ok(false) } else { self.fill(out).map(|()| true) }
    }
    /// Appends the whole frame. On an error nothing may be appended; the driver then calls [`Fill::failed`].
    fn fill(&self, out: &mut Vec<u8>) -> io::Result<()>;
    /// Appends the frame that reports the error instead.
    fn failed(&self, why: &io::Error, out: &mut Vec<u8>);
}

/// What goes to one connection, in order.
#[derive(Debug)]
pub enum Part {
    /// Bytes of the outbox's buffer, `[from, to)`.
    Bytes(usize, usize),
    /// A frame from files.
    Fill(Box<dyn Fill>),
    /// Close after what was sent before has left; the reason is logged.
    Close(&'static str),
}

/// Largest buffer that an outbox keeps for the next group.
const RECYCLED_BYTES_MAX: usize = 1024 * 1024;

/// Parts for connections, in order.
pub type Parts = Vec<(ConnId, Part)>;
/// Whole frames for the links to addresses.
pub type LinkFrames = Vec<(String, Vec<u8>)>;

/// What a service wants done, collected during one group.
#[derive(Debug)]
pub struct Outbox<J> {
    buffer: Vec<u8>,
    parts: Parts,
    links: LinkFrames,
    jobs: Vec<J>,
}

impl<J> Default for Outbox<J> {
    fn default() -> Self {
        Outbox { buffer: Vec::new(), parts: Vec::new(), links: Vec::new(), jobs: Vec::new() }
    }
}

impl<J> Outbox<J> {
    /// Sends whole frames to `conn`: `write` appends them to the buffer it is given.
    pub fn send(&mut self, conn: ConnId, write: impl FnOnce(&mut Vec<u8>)) {
        let from = self.buffer.len();
        write(&mut self.buffer);
        let to = self.buffer.len();
        match self.parts.last_mut() {
            _ if from == to => {}
            // Neighbours for one connection become one part: a group of pipelined answers is one write.
            Some((last, Part::Bytes(_, end))) if *last == conn && *end == from => *end = to,
            _ => self.parts.push((conn, Part::Bytes(from, to))),
        }
    }

    /// Sends a frame whose bytes stand in files.
    pub fn send_fill(&mut self, conn: ConnId, fill: Box<dyn Fill>) {
        self.parts.push((conn, Part::Fill(fill)));
    }

    /// Closes a connection after what was sent to it before.
    pub fn close(&mut self, conn: ConnId, why: &'static str) {
        self.parts.push((conn, Part::Close(why)));
    }

    /// Sends whole frames over the link to `addr` (`host:port`), which is made if it is not there.
    pub fn send_link(&mut self, addr: &str, frames: Vec<u8>) {
        self.links.push((addr.to_owned(), frames));
    }

    /// Runs a job on its lane.
    pub fn job(&mut self, job: J) {
        self.jobs.push(job);
    }

    /// Takes everything out for the driver: the buffer, the parts over it, the link frames and the jobs.
    /// Give the buffer back with [`Outbox::recycle`] to save its allocation.
    pub fn take(&mut self) -> (Vec<u8>, Parts, LinkFrames, Vec<J>) {
        (
            std::mem::take(&mut self.buffer),
            std::mem::take(&mut self.parts),
            std::mem::take(&mut self.links),
            std::mem::take(&mut self.jobs),
        )
    }

    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.parts.is_empty() && self.links.is_empty() && self.jobs.is_empty()
    }

    /// Returns the emptied buffers of [`Outbox::take`].
    pub fn recycle(&mut self, mut buffer: Vec<u8>, mut parts: Parts) {
        buffer.clear();
        parts.clear();
        // One large group must not hold its memory for ever.
        if buffer.capacity() > RECYCLED_BYTES_MAX {
            buffer = Vec::new();
        }
        if self.buffer.is_empty() && self.parts.is_empty() {
            self.buffer = buffer;
            self.parts = parts;
        }
    }
}

/// Where the bytes of one accepted connection go: every driver feeds its [`Inbound`](crate::buffers::Inbound)
/// through this, so that all judge alike.
#[derive(Debug)]
pub struct Inlet<'a, S: Service> {
    /// Who handles the frames.
    pub service: &'a mut S,
    /// When the bytes were read.
    pub now: Now,
    /// Who sent them.
    pub peer: &'a Peer,
    /// Where answers go.
    pub out: &'a mut Outbox<S::Job>,
}

impl<S: Service> Intake for Inlet<'_, S> {
    fn frame(&mut self, frame: Frame<'_>) {
        self.service.on_frame(self.now, self.peer, frame, self.out);
    }

    fn wants(&mut self, opening: &Opening<'_>) -> bool {
        let conn = self.peer.conn;
        match self.service.judge(self.now, self.peer, opening) {
            Judgement::Take => return true,
            Judgement::Refuse(answer) => self.out.send(conn, |buffer| buffer.extend_from_slice(&answer)),
            Judgement::Close(why) => self.out.close(conn, why),
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_for_one_connection_are_one_part() {
        let mut out = Outbox::<NoJob>::default();
        out.send(ConnId(1), |b| b.extend_from_slice(b"ab"));
        out.send(ConnId(1), |b| b.extend_from_slice(b"cd"));
        out.send(ConnId(2), |b| b.extend_from_slice(b"ef"));
        out.send(ConnId(2), |_| {});
        out.send(ConnId(1), |b| b.extend_from_slice(b"gh"));
        let (buffer, parts, _, _) = out.take();
        let seen: Vec<_> = parts
            .iter()
            .map(|(conn, part)| match part {
                Part::Bytes(from, to) => (conn.0, &buffer[*from..*to]),
                _ => panic!("only bytes were sent"),
            })
            .collect();
        assert_eq!(seen, [(1, &b"abcd"[..]), (2, b"ef"), (1, b"gh")]);
    }
}
