//! The simulated world: one thread, one queue of events, production servers, scripted clients, faults.
//!
//! Owns time, the network, the machines and their disks, and the order in which things happen. What is right
//! and wrong is the [`Oracle`]'s.
//!
//! ```text
//!  queue ordered by (virtual ms, number) ──► event ──► process.frame/closed/link/run/done/timer … end_group
//!        ▲                                     │                          │
//!        └── deliveries, jobs, timers, faults ◄┴── clients ◄── chunks ◄───┘
//! ```
//! A run has four parts: faults happen (`Storm`); faults stop and what was begun comes to its end (`Settle`);
//! one message per queue is sent to consumers that wait (`Probe`); the broker stops, and its files are compared
//! with its log.

mod broker;
mod faults;
mod layout;
mod rot;
mod traffic;

use crate::{
    clients::{
        Action, Client, Ctx, Phase, Received, TICK_MS, consumer::Consumer, holder::Holder, producer::Producer,
    },
    network::{Network, NodeId, Opener, Way, Weather},
    options::Options,
    oracle::{Before, Oracle, Violation},
    process::{Process, Running},
    random::Random,
    rot::Rot,
    trace::Trace,
};
use kerolox_broker::Broker;
use kerolox_namesrv::{MemoryFiles, Namesrv};
use kerolox_net::{ConnId, Now};
use kerolox_protocol::{Millis, frame::Codec};
use kerolox_said::Said;
use kerolox_store::disk::memory::MemDisk;
use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

/// Unix time at which every run begins.
const EPOCH: i64 = 1_700_000_000_000;
/// So long after the last fault everything must have come to its end.
const SETTLE_MS: i64 = 90_000;
/// So long may a probe take.
const PROBE_MS: i64 = 30_000;
/// So long may a stop take.
const STOP_MS: i64 = 60_000;
/// More events than this in one ms, and somebody asks for a timer that is always due: a real server would spin.
const EVENTS_MAX: u64 = 5_000;

/// What can happen.
#[derive(Debug)]
enum Event {
    /// Bytes arrive.
    Deliver(ConnId, Way, Vec<u8>),
    /// The end of a connection arrives.
    Close(ConnId, Way),
    /// A connection could not be made.
    Refused(Opener, ConnId),
    /// A lane runs its next job.
    Run(NodeId, u32, usize),
    /// Its outcome arrives.
    Done(NodeId, u32, usize),
    /// A server's timer.
    Timer(NodeId, u32),
    /// A client looks at itself.
    Tick(usize),
    /// The n-th fault of the plan.
    Fault(usize),
    /// A server starts.
    Start(NodeId),
    /// Somebody kills a server whose disk failed.
    Operator(u32),
    /// The disk has room again.
    Room,
    /// Files are in memory again.
    Warm,
}

/// A server's place: whether it runs, and in which of its lives.
struct Slot<S: kerolox_net::Service> {
    process: Option<Process<S>>,
    life: u32,
    timer_at: Option<i64>,
    stopping: bool,
}

impl<S: kerolox_net::Service> Slot<S> {
    fn new() -> Slot<S> {
        Slot { process: None, life: 0, timer_at: None, stopping: false }
    }

    fn running(&mut self, life: u32) -> Option<&mut dyn Running> {
        if self.life != life {
            return None;
        }
        self.process.as_mut().map(|process| process as &mut dyn Running)
    }
}

/// A planned crash at a call to the disk.
#[derive(Debug, Clone, Copy)]
struct Armed {
    call: kerolox_store::disk::memory::Call,
    at: u64,
    power: bool,
}

/// The outcome of a run that kept its promises.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// Hash over all events.
    pub hash: u64,
    /// Events.
    pub events: u64,
    /// Messages made, acknowledged, delivered.
    pub counts: (usize, usize, usize),
    /// What happened how often.
    pub sometimes: BTreeMap<&'static str, u64>,
}

/// A run that did not.
#[derive(Debug, Clone)]
pub struct Failure {
    /// What did not hold.
    pub violation: Violation,
    /// When, virtual ms.
    pub at: i64,
    /// Everything that was drawn.
    pub options: Options,
    /// The last things of note before it.
    pub tail: String,
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Failure { violation, at, options, tail } = self;
        write!(
            f,
            "seed {} ({:?}) breaks {} at {at} ms: {}\n{options:#?}\nbefore it:\n{tail}",
            options.seed, options.mode, violation.invariant, violation.text
        )
    }
}

/// Everything.
pub struct World {
    options: Options,
    now: i64,
    wall: i64,
    queue: BTreeMap<(i64, u64), Event>,
    number: u64,
    network: Network,
    links: BTreeMap<(NodeId, String), ConnId>,
    namesrvs: [Slot<Namesrv>; 2],
    broker: Slot<Broker>,
    files: [Arc<MemoryFiles>; 2],
    disk: MemDisk,
    armed: Option<Armed>,
    /// The log when the broker's last life ended.
    before: Option<Before>,
    clients: Vec<Option<Box<dyn Client>>>,
    oracle: Oracle,
    trace: Trace,
    phase: Phase,
    weather: Weather,
    slow_until: i64,
    slow_disk_until: i64,
    parted_until: i64,
    cold_until: i64,
    random: Randoms,
    /// Events before this ms.
    events_before: u64,
    /// The disk has a limit.
    is_full: bool,
    /// A call to the disk is going to fail.
    is_sick: bool,
    /// What rots when the broker's life ends.
    rot_later: Vec<Rot>,
    /// Writes to come that get lost or go astray.
    strays: VecDeque<Rot>,
    /// What the servers say in their logs, where it matters.
    said: Option<Said>,
}

/// One stream per part, so that a change in one leaves the others alone.
struct Randoms {
    network: Random,
    jobs: Random,
    clients: Random,
    faults: Random,
    groups: Random,
}

impl World {
    /// The world of a run, before anything has happened.
    pub fn new(options: &Options) -> World {
        kerolox_said::prepare();
        // The options took the first numbers of the seed.
        let mut random = Random::new(options.seed ^ 0x005e_ed0f_0000_0001);
        let random = &mut random;
        let mut world = World {
            now: 0,
            wall: EPOCH,
            queue: BTreeMap::new(),
            number: 0,
            network: Network::default(),
            links: BTreeMap::new(),
            namesrvs: [Slot::new(), Slot::new()],
            broker: Slot::new(),
            files: [Arc::default(), Arc::default()],
            disk: MemDisk::new(),
            armed: None,
            before: None,
            clients: Vec::new(),
            oracle: Oracle::new(options),
            trace: Trace::new(options.echo),
            phase: Phase::Storm,
            weather: Weather { delay_min: 0, delay_max: options.delay_max, pieces: options.pieces },
            slow_until: 0,
            slow_disk_until: 0,
            parted_until: 0,
            cold_until: 0,
            random: Randoms {
                network: random.fork(),
                jobs: random.fork(),
                clients: random.fork(),
                faults: random.fork(),
                groups: random.fork(),
            },
            options: options.clone(),
            events_before: 0,
            is_full: false,
            is_sick: false,
            rot_later: Vec::new(),
            strays: VecDeque::new(),
            said: options.has_rot().then(Said::listen),
        };
        world.disk.set_capacity(options.deletion.and_then(|deletion| deletion.disk_bytes));
        let mut codec = || if random.chance(options.binary) { Codec::Binary } else { Codec::Json };
        for n in 0..options.producers {
            world.clients.push(Some(Box::new(Producer::new(n, codec(), options))));
        }
        for n in 0..options.consumers {
            world.clients.push(Some(Box::new(Consumer::new(n, codec(), options))));
        }
        for n in 0..options.holders {
            world.clients.push(Some(Box::new(Holder::new(n, codec(), options))));
        }
        world.at(0, Event::Start(NodeId::Namesrv));
        if options.namesrvs > 1 {
            world.at(0, Event::Start(NodeId::Namesrv2));
        }
        world.at(1, Event::Start(NodeId::Broker));
        for client in 0..world.clients.len() {
            world.at(2 + i64::try_from(client).unwrap_or(0), Event::Tick(client));
        }
        for n in 0..options.faults.len() {
            let at = options.faults.get(n).map_or(0, |(at, _)| *at);
            world.at(at.max(1), Event::Fault(n));
        }
        world
    }

    /// Runs it to its end.
    pub fn run(mut self) -> Result<Report, Box<Failure>> {
        match self.play() {
            None => Ok(Report {
                hash: self.trace.hash(),
                events: self.trace.events(),
                counts: self.oracle.counts(),
                sometimes: self.oracle.sometimes,
            }),
            Some(violation) => Err(Box::new(Failure {
                violation,
                at: self.now,
                tail: self.trace.tail(),
                options: self.options,
            })),
        }
    }

    fn play(&mut self) -> Option<Violation> {
        let storm = self.options.faults_ms;
        self.until(storm, |_| false);
        self.calm();
        let settled = self.until(storm + SETTLE_MS, World::is_settled);
        if !settled && self.oracle.verdict().is_none() && !self.settles_without_reused() {
            self.oracle.close(SETTLE_MS);
            let up =
                (self.namesrvs.each_ref().map(|slot| slot.process.is_some()), self.broker.process.is_some());
            let clients = self.clients.iter().flatten();
            let restless = clients.filter(|client| !(client.is_idle() && client.is_waiting()));
            let restless: Vec<String> = restless.map(|client| client.describe()).collect();
            let text = format!("name server, broker up: {up:?}; not at rest: {restless:#?}");
            self.oracle.violated("liveness", text);
        }
        self.phase = Phase::Probe;
        self.trace.note(self.now, "probe".to_owned());
        let until = self.now + PROBE_MS;
        let began = self.now;
        self.until(until, |world| world.now > began + 2 * TICK_MS && world.is_settled());
        self.oracle.close(PROBE_MS);
        self.audit();
        self.finish();
        self.oracle.verdict().cloned()
    }

    /// Handles events until `until`, or until something is wrong or `enough`. Whether it was enough.
    fn until(&mut self, until: i64, enough: impl Fn(&World) -> bool) -> bool {
        while self.oracle.verdict().is_none() {
            let Some((&(at, _), _)) = self.queue.first_key_value() else { return false };
            if at > until {
                self.pass_to(until);
                return false;
            }
            if at > self.now {
                self.events_before = self.trace.events();
            } else if self.trace.events() > self.events_before + EVENTS_MAX {
                let text = self.circles();
                self.oracle.violated("liveness", text);
            }
            self.step();
            if enough(self) {
                return true;
            }
        }
        false
    }

    /// Whether all is at rest but for messages in places that damaged ones had.
    fn settles_without_reused(&mut self) -> bool {
        let walk = self.walk();
        self.oracle.reused(&walk);
        self.is_settled()
    }

    fn circles(&self) -> String {
        let store = self.broker.process.as_ref().map(|process| {
            let broker = &process.service;
            let (wall, mono) = (Millis(self.wall), Millis(self.now));
            (broker.store.next_timer(), broker.delay.next_timer(wall, mono), broker.registrar.next_timer())
        });
        format!("a timer is always due; of store, delay, registrar: {store:?}")
    }

    fn pass_to(&mut self, at: i64) {
        self.wall += at - self.now;
        self.now = at;
    }

    fn is_settled(&self) -> bool {
        let clients = self.clients.iter().flatten();
        let mut rest = clients.map(|client| client.is_idle() && client.is_waiting());
        self.broker.process.is_some() && rest.all(|rest| rest) && self.oracle.undelivered().is_empty()
    }

    /// One event, and what may be grouped with it.
    fn step(&mut self) {
        let Some(touched) = self.next() else { return self.judge_skips() };
        while self.next_is_for(touched) && self.random.groups.chance(70) {
            self.next();
        }
        self.end_group(touched);
        self.listen();
        self.judge_skips();
    }

    /// Takes the next event; the server it touched.
    fn next(&mut self) -> Option<NodeId> {
        let ((at, _), event) = self.queue.pop_first()?;
        self.pass_to(at);
        self.handle(event)
    }

    fn next_is_for(&self, node: NodeId) -> bool {
        let Some(((at, _), event)) = self.queue.first_key_value() else { return false };
        let of = match event {
            Event::Deliver(conn, Way::In, _) => self.network.get(*conn).map(|conn| conn.node),
            Event::Done(node, ..) => Some(*node),
            _ => None,
        };
        *at == self.now && of == Some(node)
    }

    fn handle(&mut self, event: Event) -> Option<NodeId> {
        match event {
            Event::Deliver(conn, way, bytes) => self.on_bytes(conn, way, &bytes),
            Event::Close(conn, way) => self.on_close(conn, way),
            Event::Refused(Opener::Client(client), conn) => {
                self.with_client(client, |client, ctx| client.down(ctx, conn));
                None
            }
            Event::Refused(Opener::Link(node, life, addr), conn) => {
                self.forget_link(node, &addr, conn);
                let now = self.time();
                self.running(node, life)?.link_down(now, &addr, "connection refused");
                Some(node)
            }
            Event::Run(node, life, lane) => self.on_run(node, life, lane),
            Event::Done(node, life, lane) => {
                self.trace.event("done", self.now, &[node as u8, lane as u8]);
                let now = self.time();
                self.running(node, life)?.done(now, lane);
                Some(node)
            }
            Event::Timer(node, life) => {
                self.trace.event("timer", self.now, &[node as u8]);
                let now = self.time();
                *self.timer_at(node) = None;
                self.running(node, life)?.timer(now);
                Some(node)
            }
            Event::Tick(client) => {
                self.after(TICK_MS, Event::Tick(client));
                self.with_client(client, |client, ctx| client.tick(ctx));
                None
            }
            Event::Fault(n) => self.on_fault(n),
            Event::Start(node) => {
                self.start(node);
                Some(node)
            }
            Event::Operator(life) => {
                self.operator(life);
                None
            }
            Event::Warm => {
                self.warm();
                None
            }
            Event::Room => {
                self.room();
                None
            }
        }
    }

    fn on_run(&mut self, node: NodeId, life: u32, lane: usize) -> Option<NodeId> {
        self.trace.event("run", self.now, &[node as u8, lane as u8]);
        if lane == crate::process::READ {
            self.oracle.happened("read from the device");
        }
        self.running(node, life)?.run(lane);
        self.note_lost_writes();
        if node == NodeId::Broker && self.has_crashed() {
            return None;
        }
        let delay = self.job_delay(lane);
        self.after(delay, Event::Done(node, life, lane));
        None
    }

    fn job_delay(&mut self, lane: usize) -> i64 {
        let max = if lane == 0 { self.options.flush_ms_max } else { self.options.background_ms_max };
        let slow = if self.now < self.slow_disk_until { 20 } else { 1 };
        self.random.jobs.between(0, max) * slow
    }

    /// The service ends its group; what it wants is done.
    fn end_group(&mut self, node: NodeId) {
        let now = self.time();
        let life = self.life(node);
        let Some(process) = self.running(node, life) else { return };
        let sends = process.end_group(now);
        if node == NodeId::Broker {
            self.note_lost_writes();
            if self.has_crashed() {
                return;
            }
            self.inspect(&sends);
        }
        for (conn, chunk) in sends.chunks {
            self.send_out(conn, chunk);
        }
        for (addr, bytes) in sends.links {
            self.send_link(node, life, &addr, bytes);
        }
        for lane in 0..crate::process::LANES {
            if self.running(node, life).is_some_and(|process| process.take_turn(lane)) {
                let delay = self.job_delay(lane);
                self.after(delay, Event::Run(node, life, lane));
            }
        }
        self.set_timer(node, life);
        self.ended(node, life);
    }

    fn set_timer(&mut self, node: NodeId, life: u32) {
        let Some(at) = self.running(node, life).and_then(|process| process.next_timer()) else { return };
        let at = at.0.max(self.now);
        let known = self.timer_at(node);
        // A timer that is set too early is asked again; one that is later than wanted would be a lie.
        if known.is_none_or(|known| known > at) {
            *known = Some(at);
            self.at(at, Event::Timer(node, life));
        }
    }

    fn timer_at(&mut self, node: NodeId) -> &mut Option<i64> {
        let [first, second] = &mut self.namesrvs;
        match node {
            NodeId::Namesrv => &mut first.timer_at,
            NodeId::Namesrv2 => &mut second.timer_at,
            NodeId::Broker => &mut self.broker.timer_at,
        }
    }

    fn running(&mut self, node: NodeId, life: u32) -> Option<&mut dyn Running> {
        let [first, second] = &mut self.namesrvs;
        match node {
            NodeId::Namesrv => first.running(life),
            NodeId::Namesrv2 => second.running(life),
            NodeId::Broker => self.broker.running(life),
        }
    }

    fn life(&self, node: NodeId) -> u32 {
        let [first, second] = &self.namesrvs;
        match node {
            NodeId::Namesrv => first.life,
            NodeId::Namesrv2 => second.life,
            NodeId::Broker => self.broker.life,
        }
    }

    fn is_up(&self, node: NodeId) -> bool {
        let [first, second] = &self.namesrvs;
        match node {
            NodeId::Namesrv => first.process.is_some(),
            NodeId::Namesrv2 => second.process.is_some(),
            NodeId::Broker => self.broker.process.is_some(),
        }
    }

    fn time(&self) -> Now {
        Now { wall: Millis(self.wall), mono: Millis(self.now) }
    }

    fn at(&mut self, at: i64, event: Event) {
        self.number += 1;
        self.queue.insert((at, self.number), event);
    }

    fn after(&mut self, delay: i64, event: Event) {
        self.at(self.now + delay, event);
    }

    fn with_client(&mut self, number: usize, act: impl FnOnce(&mut dyn Client, &mut Ctx<'_>)) {
        let Some(mut client) = self.clients.get_mut(number).and_then(Option::take) else { return };
        let mut ctx = Ctx {
            now: self.time(),
            phase: self.phase,
            random: &mut self.random.clients,
            oracle: &mut self.oracle,
            network: &mut self.network,
            life: self.broker.life,
            actions: Vec::new(),
        };
        act(&mut *client, &mut ctx);
        let actions = ctx.actions;
        if let Some(place) = self.clients.get_mut(number) {
            *place = Some(client);
        }
        for action in actions {
            match action {
                Action::Connect(conn, addr) => self.connect(Opener::Client(number), conn, &addr),
                Action::Send(conn, bytes) => self.send(conn, Way::In, bytes),
                Action::Close(conn) => self.close(conn, Way::In),
            }
        }
    }

    fn hand_over(&mut self, number: usize, conn: ConnId, frames: &[Received], life: u32) {
        for frame in frames {
            self.with_client(number, |client, ctx| {
                ctx.life = life;
                client.frame(ctx, conn, frame);
            });
        }
    }
}
