//! What both clients share: the way from a topic to a broker's address, and calls over one connection each.
//!
//! `P` is what a client wants to remember of a call until it is answered.

use super::{Action, Ctx, NAMESRVS, Received};
use kerolox_net::ConnId;
use kerolox_protocol::{
    body::{self, TopicRouteData},
    code,
    frame::Codec,
    header::{Ext, Fields, Header},
    rpc::{
        Rpc,
        route::{GetRouteInfoByTopic, RouteRequest},
    },
};
use std::collections::BTreeMap;

/// A call without an answer for so long means that the connection is dead.
const TIMEOUT_MS: i64 = 3_000;
/// Pause before the next try to reach somebody.
const RETRY_MS: i64 = 200;
/// Template of topics that are made by sending.
const TEMPLATE: &str = "TBW102";

#[derive(Debug)]
struct Pending<P> {
    what: P,
    deadline: i64,
    asked: i64,
}

/// One connection and its open calls.
#[derive(Debug)]
struct Line<P> {
    conn: Option<ConnId>,
    pending: BTreeMap<i32, Pending<P>>,
    not_before: i64,
}

impl<P> Line<P> {
    fn new() -> Line<P> {
        Line { conn: None, pending: BTreeMap::new(), not_before: 0 }
    }

    fn is_late(&self, now: i64) -> bool {
        self.pending.values().any(|pending| pending.deadline <= now)
    }

    fn drop(&mut self, now: i64) {
        self.conn = None;
        self.pending.clear();
        self.not_before = now + RETRY_MS;
    }
}

/// What came of a frame.
pub enum Event<P> {
    /// The answer to a call of the client, and when it was asked.
    Answer(P, i64),
    /// A request of the broker.
    Request,
    /// Nothing the client must know.
    Nothing,
}

/// Both lines of a client.
#[derive(Debug)]
pub struct Session<P> {
    codec: Codec,
    opaque: i32,
    /// Names of the servers to ask, and which of them is being asked.
    namesrvs: usize,
    asking: usize,
    namesrv: Line<usize>,
    broker: Line<P>,
    address: Option<String>,
    /// Failures since the broker last answered; after some, the route is asked for again.
    failures: u32,
    /// Topics to ask a route for, in turn.
    topics: Vec<String>,
    next_topic: usize,
}

impl<P> Session<P> {
    pub fn new(codec: Codec, topic: &str, namesrvs: usize) -> Session<P> {
        let topics = vec![topic.to_owned(), TEMPLATE.to_owned()];
        Session {
            codec,
            opaque: 0,
            namesrvs,
            asking: 0,
            namesrv: Line::new(),
            broker: Line::new(),
            address: None,
            failures: 0,
            topics,
            next_topic: 0,
        }
    }

    /// Where it stands.
    pub fn describe(&self) -> String {
        let Session { address, namesrv, broker, .. } = self;
        format!("broker at {address:?}, connections {:?} and {:?}", namesrv.conn, broker.conn)
    }

    /// Whether calls can be made.
    pub fn is_up(&self) -> bool {
        self.broker.conn.is_some()
    }

    /// The broker's connection.
    pub fn conn(&self) -> Option<ConnId> {
        self.broker.conn
    }

    /// Open calls.
    pub fn pending(&self) -> impl Iterator<Item = &P> {
        self.broker.pending.values().map(|pending| &pending.what)
    }

    fn frame<R: Rpc>(&mut self, request: &R::Request, body: &[u8]) -> (i32, Vec<u8>) {
        self.opaque += 1;
        let ext: Ext = request.to_ext();
        let header = Header::request(R::CODE, self.opaque, Some(ext));
        let mut bytes = Vec::new();
        header.write_frame(self.codec, body, &mut bytes);
        (self.opaque, bytes)
    }

    /// Calls the broker; `patience` is added to the usual time-out.
    pub fn call<R: Rpc>(
        &mut self,
        ctx: &mut Ctx<'_>,
        request: &R::Request,
        body: &[u8],
        what: P,
        patience: i64,
    ) -> bool {
        let Some(conn) = self.broker.conn else { return false };
        let (opaque, bytes) = self.frame::<R>(request, body);
        let deadline = ctx.ms() + TIMEOUT_MS + patience;
        self.broker.pending.insert(opaque, Pending { what, deadline, asked: ctx.ms() });
        ctx.actions.push(Action::Send(conn, bytes));
        true
    }

    /// Connects what is not connected, and gives up what does not answer. Returns whether the line to the
    /// broker was lost.
    pub fn tick(&mut self, ctx: &mut Ctx<'_>) -> bool {
        let now = ctx.ms();
        if self.namesrv.is_late(now) {
            close(&mut self.namesrv, ctx);
            self.ask_the_next(ctx);
        }
        let lost = self.broker.is_late(now);
        if lost {
            self.lose(ctx);
        }
        if self.address.is_none() {
            self.ask_route(ctx);
        }
        if let Some(address) = &self.address
            && self.broker.conn.is_none()
            && self.broker.not_before <= now
        {
            let conn = ctx.network.number();
            self.broker.conn = Some(conn);
            ctx.actions.push(Action::Connect(conn, address.clone()));
        }
        lost
    }

    /// Gives the line to the broker up.
    pub fn lose(&mut self, ctx: &mut Ctx<'_>) {
        close(&mut self.broker, ctx);
        self.failures += 1;
        if self.failures >= 3 {
            self.failures = 0;
            self.address = None;
        }
    }

    fn ask_the_next(&mut self, ctx: &mut Ctx<'_>) {
        self.asking = (self.asking + 1) % self.namesrvs;
        if self.namesrvs > 1 {
            ctx.oracle.happened("another name server is asked");
        }
    }

    fn ask_route(&mut self, ctx: &mut Ctx<'_>) {
        let now = ctx.ms();
        if self.namesrv.not_before > now || !self.namesrv.pending.is_empty() {
            return;
        }
        let conn = match self.namesrv.conn {
            Some(conn) => conn,
            None => {
                let conn = ctx.network.number();
                self.namesrv.conn = Some(conn);
                let namesrv = NAMESRVS.get(self.asking).copied().unwrap_or_default();
                ctx.actions.push(Action::Connect(conn, namesrv.to_owned()));
                conn
            }
        };
        let Some(topic) = self.topics.get(self.next_topic % self.topics.len()).cloned() else { return };
        let request = RouteRequest { topic, accept_standard_json_only: None };
        let (opaque, bytes) = self.frame::<GetRouteInfoByTopic>(&request, b"");
        let pending = Pending { what: self.next_topic, deadline: now + TIMEOUT_MS, asked: now };
        self.namesrv.pending.insert(opaque, pending);
        self.next_topic += 1;
        ctx.actions.push(Action::Send(conn, bytes));
    }

    /// A connection is gone. Whether it was the broker's.
    pub fn down(&mut self, ctx: &mut Ctx<'_>, conn: ConnId) -> bool {
        if self.namesrv.conn == Some(conn) {
            self.namesrv.drop(ctx.ms());
            self.ask_the_next(ctx);
            return false;
        }
        let mine = self.broker.conn == Some(conn);
        if mine {
            self.broker.conn = None;
            self.lose(ctx);
        }
        mine
    }

    /// A frame came.
    pub fn received(&mut self, ctx: &mut Ctx<'_>, conn: ConnId, frame: &Received) -> Event<P> {
        if self.namesrv.conn == Some(conn) {
            if self.namesrv.pending.remove(&frame.header.opaque).is_some() {
                self.on_route(ctx, frame);
            }
            return Event::Nothing;
        }
        if self.broker.conn != Some(conn) {
            return Event::Nothing;
        }
        if !frame.header.is_response() {
            return Event::Request;
        }
        self.failures = 0;
        match self.broker.pending.remove(&frame.header.opaque) {
            Some(pending) => Event::Answer(pending.what, pending.asked),
            None => Event::Nothing,
        }
    }

    fn on_route(&mut self, ctx: &mut Ctx<'_>, frame: &Received) {
        self.namesrv.not_before = ctx.ms() + RETRY_MS;
        if frame.header.code != code::SUCCESS {
            return;
        }
        let Ok(route) = body::decode::<TopicRouteData>(&frame.body) else {
            return ctx.oracle.violated("route", "a route that cannot be read");
        };
        let address = route.broker_datas.iter().find_map(|broker| broker.broker_addrs.get(&0));
        self.address = address.cloned();
    }
}

fn close<P>(line: &mut Line<P>, ctx: &mut Ctx<'_>) {
    if let Some(conn) = line.conn {
        ctx.actions.push(Action::Close(conn));
    }
    line.drop(ctx.ms());
}
