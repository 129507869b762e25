//! Questions that the disk has to answer first: asked again when what they need is in memory.
//!
//! Owns the requests that wait for a read. The store says which reads would wait for the device
//! ([`kerolox_store::Cold`]); they become a job, and when it is done the request is served from the start, as if
//! it came now. So handlers stay plain functions, and none of them knows of this.
//!
//! ```text
//!   request ──serve──► everything in memory ──► answered at once
//!                └───► a cold read ──job──► done ──serve──► …     each round brings at least one read more
//! ```
//! **Invariant:** a handler that reads the store reads first, and changes and answers afterwards: what it did in
//! a round that met a cold read is not undone.

use crate::{
    Broker,
    answer::Answer,
    call::{Call, Out},
    jobs::{BrokerJob, ReadJob},
};
use kerolox_net::{ConnId, Now, Peer};
use kerolox_protocol::{
    Fail,
    frame::{Codec, Frame},
    header::Header,
};
use kerolox_store::Cold;
use std::collections::BTreeMap;

/// Requests that may wait for the disk at once.
const WAITING_MAX: usize = 4_096;
/// Bytes of them.
const BYTES_MAX: usize = 64 << 20;

/// A request as it came.
#[derive(Debug)]
struct Request {
    peer: Peer,
    codec: Codec,
    header: Vec<u8>,
    body: Vec<u8>,
}

impl Request {
    fn bytes(&self) -> usize {
        self.header.len() + self.body.len()
    }
}

/// Requests that wait for a read.
#[derive(Debug, Default)]
pub(crate) struct Again {
    waiting: BTreeMap<u64, Request>,
    bytes: usize,
    next: u64,
    /// Delayed messages wait for a read; there is at most one such wait.
    delivery: bool,
    /// What was read for them.
    delivered: Option<Cold>,
}

impl Again {
    /// A connection is gone: nobody waits there any more.
    pub(crate) fn on_closed(&mut self, conn: ConnId) {
        self.waiting.retain(|_, request| request.peer.conn != conn);
        self.bytes = self.waiting.values().map(Request::bytes).sum();
    }

    /// Whether the delivery of delayed messages waits for the disk.
    pub(crate) fn delivery_waits(&self) -> bool {
        self.delivery
    }

    /// What was read for the delivery since it began to wait.
    pub(crate) fn take_delivered(&mut self) -> Cold {
        self.delivered.take().unwrap_or_default()
    }

    /// Lets the delivery wait.
    pub(crate) fn wait_to_deliver(&mut self, cold: Cold, out: &mut Out) {
        self.delivery = true;
        out.job(BrokerJob::Read(ReadJob { asked: None, cold }));
    }

    /// Lets a request wait, if there is room.
    fn wait(&mut self, request: Request, cold: Cold, out: &mut Out) -> bool {
        if self.waiting.len() >= WAITING_MAX || self.bytes + request.bytes() > BYTES_MAX {
            return false;
        }
        self.next += 1;
        self.bytes += request.bytes();
        self.waiting.insert(self.next, request);
        out.job(BrokerJob::Read(ReadJob { asked: Some(self.next), cold }));
        true
    }

    fn take(&mut self, asked: u64) -> Option<Request> {
        let request = self.waiting.remove(&asked)?;
        self.bytes -= request.bytes();
        Some(request)
    }
}

impl Broker {
    /// The request whose handler just ran met a cold read: it waits for that.
    pub(crate) fn ask_again(&mut self, now: Now, peer: &Peer, frame: Frame<'_>, cold: Cold, out: &mut Out) {
        let (header, body) = (frame.header.to_vec(), frame.body.to_vec());
        let request = Request { peer: *peer, codec: frame.codec, header, body };
        if self.again.wait(request, cold, out) {
            return;
        }
        let remark =
            "[OVERLOAD]system busy, start flow control for a while: too many requests wait for the disk";
        if let Ok(header) = Header::decode(frame.codec, frame.header) {
            let call = Call { now, peer: *peer, codec: frame.codec, header: &header, body: frame.body };
            Answer::from(Fail::busy(remark)).send(&call.ticket(), out);
        }
    }

    /// A read is done.
    pub(crate) fn on_read(&mut self, now: Now, done: ReadJob, out: &mut Out) {
        let ReadJob { asked, cold } = done;
        let Some(asked) = asked else {
            self.again.delivery = false;
            self.again.delivered = Some(cold);
            self.deliver_if_running(now, out);
            return;
        };
        if let Some(request) = self.again.take(asked) {
            let frame = Frame { codec: request.codec, header: &request.header, body: &request.body };
            self.on_request(now, &request.peer, frame, cold, out);
        }
    }
}
