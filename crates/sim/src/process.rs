//! A running server of the simulated world: the production service behind its seam, its outbox and its lanes.
//!
//! Does what the real driver does around a group of events, without sockets and threads. Knows no time of its
//! own: the world says when a job starts and when its outcome arrives. Dropping a process is `kill -9`: what a
//! lane has not run never happens.

use kerolox_net::{
    ConnId, Inlet, Limits, LinkEvent, Now, Outbox, Peer, Service,
    buffers::{Inbound, Intake},
    service::{Job, Lane, Part},
};
use kerolox_protocol::{
    Millis,
    frame::{Frame, FrameError, Opening},
};
use std::collections::VecDeque;

/// What goes to a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Chunk {
    /// Bytes of whole frames.
    Bytes(Vec<u8>),
    /// Nothing more comes.
    Close,
}

/// What a group of events came to.
#[derive(Debug, Default)]
pub struct Sends {
    /// To accepted connections, in order.
    pub chunks: Vec<(ConnId, Chunk)>,
    /// To the links, by address.
    pub links: Vec<(String, Vec<u8>)>,
}

/// Lanes by number.
pub const LANES: usize = 4;
/// Number of the lane of reads.
pub const READ: usize = 2;

struct Queue<J: Job> {
    waiting: VecDeque<J>,
    /// A job is being run, or its outcome is on its way.
    busy: bool,
    done: Option<J::Done>,
}

/// A process of some server.
pub struct Process<S: Service> {
    /// The production service.
    pub service: S,
    outbox: Outbox<S::Job>,
    lanes: [Queue<S::Job>; LANES],
    touched: bool,
}

impl<S: Service> Process<S> {
    /// A process that has just started.
    pub fn new(service: S) -> Process<S> {
        let lane = || Queue { waiting: VecDeque::new(), busy: false, done: None };
        Process { service, outbox: Outbox::default(), lanes: [lane(), lane(), lane(), lane()], touched: true }
    }
}

/// How many frames were judged by their header, because the rest was still on its way.
#[derive(Debug, Default, Clone, Copy)]
pub struct Judged {
    /// Found worth waiting for.
    pub taken: u64,
    /// Not.
    pub refused: u64,
}

/// Counts.
struct Counted<'a, S: Service> {
    inlet: Inlet<'a, S>,
    judged: Judged,
}

impl<S: Service> Intake for Counted<'_, S> {
    fn frame(&mut self, frame: Frame<'_>) {
        self.inlet.frame(frame);
    }
    fn wants(&mut self, opening: &Opening<'_>) -> bool {
        let wants = self.inlet.wants(opening);
        *(if wants { &mut self.judged.taken } else { &mut self.judged.refused }) += 1;
        wants
    }
}

/// A process, whatever it serves.
pub trait Running {
    /// Hands over what came on a connection.
    fn bytes(
        &mut self,
        now: Now,
        peer: &Peer,
        inbound: &mut Inbound,
        bytes: &[u8],
    ) -> Result<Judged, FrameError>;
    /// A connection is gone.
    fn closed(&mut self, now: Now, conn: ConnId);
    /// A frame came over a link.
    fn link_frame(&mut self, now: Now, addr: &str, frame: Frame<'_>);
    /// A link is down.
    fn link_down(&mut self, now: Now, addr: &str, why: &str);
    /// The timer, if it is time.
    fn timer(&mut self, now: Now);
    /// When the timer wants to be asked, monotonic.
    fn next_timer(&self) -> Option<Millis>;
    /// Begins to stop.
    fn stop(&mut self, now: Now);
    /// Whether a stop is complete.
    fn is_stopped(&self) -> bool;
    /// Ends the group; what is to be sent.
    fn end_group(&mut self, now: Now) -> Sends;
    /// Whether a lane is idle and has something to run; it counts as busy then.
    fn take_turn(&mut self, lane: usize) -> bool;
    /// Runs the head of a lane; its outcome is kept.
    fn run(&mut self, lane: usize);
    /// Gives the outcome to the service.
    fn done(&mut self, now: Now, lane: usize);
}

impl<S: Service> Running for Process<S> {
    fn bytes(
        &mut self,
        now: Now,
        peer: &Peer,
        inbound: &mut Inbound,
        bytes: &[u8],
    ) -> Result<Judged, FrameError> {
        // Every frame that comes in pieces is judged here, since the messages of this world are small.
        let limits = Limits { judged_bytes_min: 0, ..Limits::default() };
        let inlet = Inlet { service: &mut self.service, now, peer, out: &mut self.outbox };
        let mut counted = Counted { inlet, judged: Judged::default() };
        inbound.feed(bytes, &limits, &mut counted)?;
        self.touched = true;
        Ok(counted.judged)
    }

    fn closed(&mut self, now: Now, conn: ConnId) {
        self.service.on_closed(now, conn, &mut self.outbox);
        self.touched = true;
    }

    fn link_frame(&mut self, now: Now, addr: &str, frame: Frame<'_>) {
        self.service.on_link(now, addr, LinkEvent::Frame(frame), &mut self.outbox);
        self.touched = true;
    }

    fn link_down(&mut self, now: Now, addr: &str, why: &str) {
        self.service.on_link(now, addr, LinkEvent::Down(why), &mut self.outbox);
        self.touched = true;
    }

    fn timer(&mut self, now: Now) {
        if self.service.next_timer().is_some_and(|at| at <= now.mono) {
            self.service.on_timer(now, &mut self.outbox);
            self.touched = true;
        }
    }

    fn next_timer(&self) -> Option<Millis> {
        self.service.next_timer()
    }

    fn stop(&mut self, now: Now) {
        self.service.on_stop(now, &mut self.outbox);
        self.touched = true;
    }

    fn is_stopped(&self) -> bool {
        self.service.is_stopped()
    }

    fn end_group(&mut self, now: Now) -> Sends {
        if std::mem::take(&mut self.touched) {
            self.service.on_batch_end(now, &mut self.outbox);
        }
        let (buffer, parts, links, jobs) = self.outbox.take();
        for job in jobs {
            let lane = match job.lane() {
                Lane::Flush => 0,
                Lane::Background => 1,
                Lane::Read => READ,
                Lane::Ahead => 3,
            };
            self.lanes[lane].waiting.push_back(job);
        }
        let chunks = parts.into_iter().map(|(conn, part)| (conn, chunk(&buffer, part))).collect();
        Sends { chunks, links }
    }

    fn take_turn(&mut self, lane: usize) -> bool {
        let Some(queue) = self.lanes.get_mut(lane) else { return false };
        let turn = !queue.busy && !queue.waiting.is_empty();
        queue.busy |= turn;
        turn
    }

    fn run(&mut self, lane: usize) {
        let Some(queue) = self.lanes.get_mut(lane) else { return };
        queue.done = queue.waiting.pop_front().map(Job::run);
    }

    fn done(&mut self, now: Now, lane: usize) {
        let Some(queue) = self.lanes.get_mut(lane) else { return };
        queue.busy = false;
        if let Some(done) = queue.done.take() {
            self.service.on_done(now, done, &mut self.outbox);
            self.touched = true;
        }
    }
}

fn chunk(buffer: &[u8], part: Part) -> Chunk {
    match part {
        Part::Bytes(from, to) => Chunk::Bytes(buffer.get(from..to).unwrap_or_default().to_vec()),
        Part::Close(_) => Chunk::Close,
        Part::Fill(fill) => {
            let mut bytes = Vec::new();
            if let Err(why) = fill.fill(&mut bytes) {
                bytes.clear();
                fill.failed(&why, &mut bytes);
            }
            Chunk::Bytes(bytes)
        }
    }
}
