//! Scripted clients that speak real frames: a producer and a consumer.
//!
//! They are no SDK: they do what the rules of the wire ask and tell the oracle what they were told. Each is
//! driven by frames, lost connections and wake-ups; what it wants done it leaves in its [`Ctx`].

pub mod consumer;
pub mod holder;
pub mod producer;
mod session;

use crate::{network::Network, oracle::Oracle, random::Random};
use kerolox_net::{ConnId, Now};
use kerolox_protocol::header::Header;

/// Addresses of the name servers.
pub const NAMESRVS: [&str; 2] = ["10.0.0.1:9876", "10.0.0.3:9876"];

/// Pause between two looks of a client at itself, virtual ms.
pub const TICK_MS: i64 = 40;

/// What the run is about at the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Messages are sent, faults happen.
    Storm,
    /// No faults, no new messages: what was begun is brought to its end.
    Settle,
    /// Each producer sends one message per queue to consumers that wait.
    Probe,
}

/// What a client wants done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Open a connection of that number.
    Connect(ConnId, String),
    /// Send whole frames.
    Send(ConnId, Vec<u8>),
    /// Close.
    Close(ConnId),
}

/// The world, as a client may touch it.
pub struct Ctx<'a> {
    /// The time.
    pub now: Now,
    /// What the run is about.
    pub phase: Phase,
    /// Chance.
    pub random: &'a mut Random,
    /// The judge.
    pub oracle: &'a mut Oracle,
    /// In which life the broker sent the frame: it may have ended since.
    pub life: u32,
    /// For numbers of connections.
    pub network: &'a mut Network,
    /// What is to be done, in order.
    pub actions: Vec<Action>,
}

impl Ctx<'_> {
    fn ms(&self) -> i64 {
        self.now.mono.0
    }
}

/// A frame, taken out of its buffer.
#[derive(Debug, Clone)]
pub struct Received {
    /// Header.
    pub header: Header,
    /// Body.
    pub body: Vec<u8>,
}

/// A client.
pub trait Client {
    /// A frame came.
    fn frame(&mut self, ctx: &mut Ctx<'_>, conn: ConnId, frame: &Received);
    /// A connection is gone, or could not be made.
    fn down(&mut self, ctx: &mut Ctx<'_>, conn: ConnId);
    /// Time passes.
    fn tick(&mut self, ctx: &mut Ctx<'_>);
    /// Whether nothing is under way that could still change the log.
    fn is_idle(&self) -> bool;
    /// Whether it waits where a new message would reach it.
    fn is_waiting(&self) -> bool;
    /// What it is doing, for whoever reads a failure.
    fn describe(&self) -> String;
}
