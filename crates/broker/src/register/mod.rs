//! Telling every name server what this broker has.
//!
//! Knows addresses of name servers, when to speak and what came of it; the links are the driver's. Each name
//! server is a machine of its own: none waits for another, and a dead one costs a line in the log when it
//! fails and one when it is back.
//!
//! ```text
//!  start, period, link lost ──► whole registration (103), or only "is this still my version?" (322)
//!  topics changed           ──► registration of the changed topics
//!  before each              ──► who is known under our name? (105)  ──► another address: alarm
//!  stop, address removed    ──► leave (104)
//! ```

#[cfg(test)]
mod tests;

use crate::{
    call::Out,
    groups::Groups,
    once::Once,
    options::Options,
    topics::{PERM_READ, PERM_WRITE, TopicConfig, Topics},
};
use kerolox_net::{LinkEvent, Now};
use kerolox_protocol::{
    Millis, TopicName,
    body::{self, RegisterBrokerBody, TopicConfigTable, TopicRouteData},
    code,
    frame::Codec,
    header::{FLAG_ONEWAY, Fields, Header},
    record,
    rpc::{
        Rpc,
        route::{
            BrokerRef, DataVersionReply, GetRouteInfoByTopic, QueryDataVersion, RegisterBroker,
            RegisterRequest, RouteRequest, UnregisterBroker,
        },
    },
};
use std::collections::BTreeMap;
use tracing::{error, info, warn};

/// First pause before a name server that failed is tried again; doubled each time, up to the period.
const RETRY_MIN: Millis = Millis(1_000);
/// A registration larger than this is compressed whatever the key says: a frame holds 16 MiB.
const PLAIN_BYTES_MAX: usize = 8 << 20;
/// How often something that stays wrong is complained about.
const COMPLAIN_PERIOD: Millis = Millis(60_000);

/// What is registered.
#[derive(Debug, Clone, Copy)]
pub struct Facts<'a> {
    /// Names, addresses, period.
    pub options: &'a Options,
    /// Topics.
    pub topics: &'a Topics,
    /// Groups.
    pub groups: &'a Groups,
}

impl Facts<'_> {
    fn me(&self) -> BrokerRef {
        let keys = &self.options.broker;
        BrokerRef {
            broker_name: keys.broker_name.clone(),
            broker_addr: self.options.store_host.to_string(),
            cluster_name: keys.broker_cluster_name.clone(),
            broker_id: keys.broker_id.0,
        }
    }

    /// Where replicas would find this master: `brokerIP2`, one port up. Name servers of 4.9 refuse a registration
    /// without it and tell it to slaves only; before there is replication, a slave's connection is refused.
    fn ha_addr(&self) -> String {
        let host = self.options.store_host;
        let port = host.port().wrapping_add(1);
        match self.options.broker.broker_ip2.trim() {
            "" => std::net::SocketAddr::new(host.ip(), port).to_string(),
            told => match told.parse() {
                Ok(ip) => std::net::SocketAddr::new(ip, port).to_string(),
                Err(_) => format!("{told}:{port}"),
            },
        }
    }

    /// A topic as name servers see it: while the broker as a whole may not be read or written, no topic may.
    fn shown(&self, topic: &TopicConfig) -> body::TopicConfig {
        let broker = self.options.broker.broker_permission.0;
        let restricted = broker & PERM_WRITE == 0 || broker & PERM_READ == 0;
        let perm = if restricted { broker } else { topic.perm };
        body::TopicConfig { perm: perm.cast_signed(), ..topic.into() }
    }

    fn body<'a>(&self, topics: impl Iterator<Item = &'a TopicConfig>) -> RegisterBrokerBody {
        let table = topics.map(|topic| (topic.topic_name.to_string(), self.shown(topic))).collect();
        RegisterBrokerBody {
            filter_server_list: Vec::new(),
            topic_config_serialize_wrapper: TopicConfigTable {
                data_version: self.topics.version(),
                topic_config_table: table,
            },
        }
    }
}

/// What was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asked {
    Registration,
    Version,
    /// Of the topic named like the broker, to see rivals.
    Route,
    /// Of a topic, for somebody who waits for it.
    RouteFor,
}

#[derive(Debug, Clone, Copy)]
struct Waiting {
    asked: Asked,
    deadline: Millis,
}

/// How a name server is doing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Health {
    /// Not heard of yet.
    New,
    /// The last registration was accepted.
    Registered {
        /// When, Unix milliseconds.
        at: Millis,
    },
    /// The last try failed.
    Failing {
        /// Why.
        why: String,
        /// Since when, Unix milliseconds.
        since: Millis,
    },
}

#[derive(Debug, Clone)]
struct NameServer {
    health: Health,
    waiting: BTreeMap<i32, Waiting>,
    due: Millis,
    failures: u32,
    /// A whole registration is needed even where only changes would be told.
    whole: bool,
}

impl NameServer {
    fn new() -> NameServer {
        NameServer { health: Health::New, waiting: BTreeMap::new(), due: Millis(0), failures: 0, whole: true }
    }

    fn is_registered(&self) -> bool {
        matches!(self.health, Health::Registered { .. })
    }

    fn next_timer(&self) -> Millis {
        self.waiting.values().map(|waiting| waiting.deadline).fold(self.due, Millis::min)
    }

    fn accepted(&mut self, now: Now, addr: &str) {
        match &self.health {
            Health::New => info!(name_server = addr, "registered"),
            Health::Failing { since, .. } => {
                info!(name_server = addr, failed_for_ms = (now.wall - *since).0, "registered again");
            }
            Health::Registered { .. } => {}
        }
        self.health = Health::Registered { at: now.wall };
        self.failures = 0;
        self.whole = false;
    }

    fn failed(&mut self, now: Now, addr: &str, why: &str, period: Millis) {
        self.waiting.clear();
        self.whole = true;
        let pause = RETRY_MIN.0.saturating_mul(1i64 << self.failures.min(16));
        self.due = now.mono + Millis(pause.min(period.0));
        self.failures = self.failures.saturating_add(1);
        let since = match &self.health {
            Health::Failing { since, .. } => *since,
            _ => {
                warn!(
                    name_server = addr,
                    why,
                    "registration failed: clients that ask this name server do not find this broker; trying again"
                );
                now.wall
            }
        };
        self.health = Health::Failing { why: why.to_owned(), since };
    }
}

/// Speaks to the name servers.
#[derive(Debug, Clone)]
pub struct Registrar {
    servers: BTreeMap<String, NameServer>,
    opaque: i32,
    started: bool,
    stopping: bool,
    rival: Option<String>,
    complaints: Once,
}

impl Default for Registrar {
    fn default() -> Registrar {
        Registrar {
            servers: BTreeMap::new(),
            opaque: 0,
            started: false,
            stopping: false,
            rival: None,
            complaints: Once::every(COMPLAIN_PERIOD),
        }
    }
}

impl Registrar {
    /// Registers what is due: at the start, and every period. Follows changes of the list of name servers.
    pub fn tick(&mut self, now: Now, facts: Facts<'_>, out: &mut Out) {
        if self.stopping {
            return self.expire(now, facts);
        }
        self.follow(facts, out);
        self.started = true;
        self.expire(now, facts);
        let due: Vec<String> =
            self.servers.iter().filter(|(_, ns)| ns.due <= now.mono).map(|(addr, _)| addr.clone()).collect();
        if due.is_empty() {
            return;
        }
        let whole = facts.body(facts.topics.all());
        for addr in due {
            let unchanged = self.servers.get(&addr).is_some_and(|ns| ns.is_registered() && !ns.whole);
            let mut frames = Vec::new();
            self.ask_for_rivals(now, &addr, facts, &mut frames);
            if unchanged && !facts.options.broker.force_register {
                let version = body::encode(&facts.topics.version());
                self.ask::<QueryDataVersion>(
                    now,
                    &addr,
                    Asked::Version,
                    &facts.me(),
                    &version,
                    facts,
                    &mut frames,
                );
            } else {
                self.register(now, &addr, &whole, facts, &mut frames);
            }
            if let Some(ns) = self.servers.get_mut(&addr) {
                ns.due = now.mono + period(facts);
            }
            out.send_link(&addr, frames);
        }
    }

    /// Topics changed: tell every name server at once, before the request that changed them is answered.
    /// Only the changed topics travel, unless the whole is needed anyway.
    pub fn topics_changed(&mut self, now: Now, changed: &[TopicName], facts: Facts<'_>, out: &mut Out) {
        if !self.started || self.stopping || self.servers.is_empty() {
            return;
        }
        let some = facts.body(changed.iter().filter_map(|name| facts.topics.get(name)));
        for addr in self.servers.keys().cloned().collect::<Vec<_>>() {
            let Some(ns) = self.servers.get_mut(&addr) else { continue };
            // A name server takes topics over only with a version it does not know: a lost whole registration
            // must not be followed by a part of it under the newest version.
            if !ns.is_registered() {
                if !matches!(ns.health, Health::Failing { .. }) {
                    ns.due = now.mono;
                }
                continue;
            }
            let mut frames = Vec::new();
            self.register(now, &addr, &some, facts, &mut frames);
            out.send_link(&addr, frames);
        }
    }

    /// Registers with everybody at the next tick: a live key that is registered was changed.
    pub fn again(&mut self, now: Now) {
        for ns in self.servers.values_mut() {
            (ns.due, ns.whole) = (now.mono, true);
        }
    }

    /// Asks a name server that has our registration for a topic's route. The number under which it was asked;
    /// [`Registrar::on_link`] returns it with the answer. `None` if there is no such name server.
    pub fn ask_route(&mut self, now: Now, topic: &str, facts: Facts<'_>, out: &mut Out) -> Option<i32> {
        let addr = self.servers.iter().find(|(_, ns)| ns.is_registered())?.0.clone();
        let request = RouteRequest { topic: topic.to_owned(), accept_standard_json_only: Some(true) };
        let mut frames = Vec::new();
        self.ask::<GetRouteInfoByTopic>(now, &addr, Asked::RouteFor, &request, b"", facts, &mut frames);
        out.send_link(&addr, frames);
        Some(self.opaque)
    }

    /// Something came over the link to a name server. Returns the answer to [`Registrar::ask_route`].
    pub fn on_link(
        &mut self,
        now: Now,
        addr: &str,
        event: &LinkEvent<'_>,
        facts: Facts<'_>,
        out: &mut Out,
    ) -> Option<(i32, Option<TopicRouteData>)> {
        let ns = self.servers.get_mut(addr)?;
        let (header, body) = match read(event) {
            Ok(Some(answer)) => answer,
            Ok(None) => return None,
            Err(why) => {
                ns.failed(now, addr, &why, period(facts));
                return None;
            }
        };
        let waiting = ns.waiting.remove(&header.opaque)?;
        if waiting.asked == Asked::RouteFor {
            let route = (header.code == code::SUCCESS).then(|| body::decode(body).ok()).flatten();
            return Some((header.opaque, route));
        }
        self.on_answer(now, addr, waiting.asked, (&header, body), facts, out);
        None
    }

    fn on_answer(
        &mut self,
        now: Now,
        addr: &str,
        asked: Asked,
        (header, body): (&Header, &[u8]),
        facts: Facts<'_>,
        out: &mut Out,
    ) {
        let Some(ns) = self.servers.get_mut(addr) else { return };
        match (asked, header.code) {
            (Asked::Route, code::SUCCESS) => self.look_for_rivals(now, addr, body, facts),
            // The topic is not known there yet, or the name server is busy: the next period asks again.
            (Asked::Route | Asked::RouteFor, _) => {}
            (Asked::Registration, code::SUCCESS) => {
                ns.accepted(now, addr);
                self.hear(now, addr, header.remark.as_deref());
            }
            (Asked::Version, code::SUCCESS) => {
                if header.fields::<DataVersionReply>().is_ok_and(|reply| reply.changed) {
                    let whole = facts.body(facts.topics.all());
                    let mut frames = Vec::new();
                    self.register(now, addr, &whole, facts, &mut frames);
                    out.send_link(addr, frames);
                }
            }
            (Asked::Registration | Asked::Version, refused) => {
                let remark = header.remark.as_deref().unwrap_or("no reason given");
                ns.failed(now, addr, &format!("refused with code {refused}: {remark}"), period(facts));
            }
        }
    }

    /// Takes leave of every name server.
    pub fn stop(&mut self, now: Now, facts: Facts<'_>, out: &mut Out) {
        self.stopping = true;
        for (addr, ns) in &mut self.servers {
            ns.waiting.clear();
            ns.due = Millis(i64::MAX);
            if ns.is_registered() {
                self.opaque = self.opaque.wrapping_add(1);
                ns.waiting.insert(
                    self.opaque,
                    Waiting { asked: Asked::Registration, deadline: now.mono + LEAVE_MS },
                );
                let header = Header::request(UnregisterBroker::CODE, self.opaque, Some(facts.me().to_ext()));
                out.send_link(addr, frame(&header, b""));
            }
        }
    }

    /// Whether a stopped registrar waits for nobody any more.
    pub fn is_gone(&self) -> bool {
        self.stopping && self.servers.values().all(|ns| ns.waiting.is_empty())
    }

    /// When [`Registrar::tick`] wants to be called, monotonic.
    pub fn next_timer(&self) -> Option<Millis> {
        if !self.started {
            return Some(Millis(0));
        }
        // Who takes leave registers no more, whatever is due.
        let stopping = |ns: &NameServer| ns.waiting.values().map(|waiting| waiting.deadline).min();
        let running = |ns: &NameServer| Some(ns.next_timer());
        let times =
            self.servers.values().filter_map(|ns| if self.stopping { stopping(ns) } else { running(ns) });
        times.min().filter(|at| at.0 != i64::MAX)
    }

    /// The name servers with their health, by address.
    pub fn health(&self) -> impl Iterator<Item = (&str, &Health)> {
        self.servers.iter().map(|(addr, ns)| (addr.as_str(), &ns.health))
    }

    /// Address of another broker that registers under our name and id, if one was seen lately.
    pub fn rival(&self) -> Option<&str> {
        self.rival.as_deref()
    }

    /// Adopts the list of the key `namesrvAddr`; leaves those that are no longer in it.
    fn follow(&mut self, facts: Facts<'_>, out: &mut Out) {
        let wanted: Vec<String> =
            facts.options.broker.namesrv_addr.0.iter().map(|addr| addr.to_string()).collect();
        self.servers.retain(|addr, ns| {
            let stays = wanted.contains(addr);
            if !stays && ns.is_registered() {
                info!(name_server = addr, "removed from namesrvAddr: leaving");
                let mut header = Header::request(UnregisterBroker::CODE, 0, Some(facts.me().to_ext()));
                header.flag = FLAG_ONEWAY;
                out.send_link(addr, frame(&header, b""));
            }
            stays
        });
        for addr in wanted {
            self.servers.entry(addr).or_insert_with(NameServer::new);
        }
    }

    fn expire(&mut self, now: Now, facts: Facts<'_>) {
        for (addr, ns) in &mut self.servers {
            let late = ns.waiting.values().any(|waiting| waiting.deadline <= now.mono);
            if late && self.stopping {
                ns.waiting.clear();
            } else if late {
                let waited = facts.options.broker.register_broker_timeout_mills.0;
                ns.failed(now, addr, &format!("no answer within {waited} ms"), period(facts));
            }
        }
    }

    fn register(
        &mut self,
        now: Now,
        addr: &str,
        body: &RegisterBrokerBody,
        facts: Facts<'_>,
        frames: &mut Vec<u8>,
    ) {
        let mut bytes = body::encode(body);
        let compressed = facts.options.broker.compressed_register || bytes.len() > PLAIN_BYTES_MAX;
        if compressed {
            bytes = body.compress();
        }
        let me = facts.me();
        let request = RegisterRequest {
            broker_name: me.broker_name,
            broker_addr: me.broker_addr,
            cluster_name: me.cluster_name,
            ha_server_addr: Some(facts.ha_addr()),
            broker_id: me.broker_id,
            compressed: Some(compressed),
            body_crc32: Some(record::crc(&bytes).cast_signed()),
            heartbeat_timeout_millis: None,
            enable_acting_master: None,
            epoch: None,
        };
        self.ask::<RegisterBroker>(now, addr, Asked::Registration, &request, &bytes, facts, frames);
    }

    #[allow(clippy::too_many_arguments)] // What is asked, of whom, when, and how it is written.
    fn ask<R: Rpc>(
        &mut self,
        now: Now,
        addr: &str,
        asked: Asked,
        request: &R::Request,
        body: &[u8],
        facts: Facts<'_>,
        frames: &mut Vec<u8>,
    ) {
        self.opaque = self.opaque.wrapping_add(1);
        let deadline = now.mono + Millis(facts.options.broker.register_broker_timeout_mills.0);
        if let Some(ns) = self.servers.get_mut(addr) {
            ns.waiting.insert(self.opaque, Waiting { asked, deadline });
        }
        let header = Header::request(R::CODE, self.opaque, Some(request.to_ext()));
        header.write_frame(Codec::Json, body, frames);
    }

    /// Our name servers accept a registration and still say what is wrong with it: a twin, topics left out.
    fn hear(&mut self, now: Now, addr: &str, remark: Option<&str>) {
        if let Some(remark) = remark.filter(|remark| !remark.is_empty())
            && self.complaints.may(now.mono, addr)
        {
            warn!(name_server = addr, remark, "registered with a remark");
        }
    }

    /// The topic named like the broker is on every broker of that name and on no other, so its route says who
    /// registers under our name. Asked before a registration, which would cover the traces.
    fn ask_for_rivals(&mut self, now: Now, addr: &str, facts: Facts<'_>, frames: &mut Vec<u8>) {
        if self.servers.get(addr).is_some_and(NameServer::is_registered) {
            let topic = facts.options.broker.broker_name.clone();
            let request = RouteRequest { topic, accept_standard_json_only: Some(true) };
            self.ask::<GetRouteInfoByTopic>(now, addr, Asked::Route, &request, b"", facts, frames);
        }
    }

    fn look_for_rivals(&mut self, now: Now, addr: &str, body: &[u8], facts: Facts<'_>) {
        let Ok(route) = body::decode::<TopicRouteData>(body) else { return };
        let me = facts.me();
        let group = route.broker_datas.iter().find(|group| group.broker_name == me.broker_name);
        let known = group.and_then(|group| group.broker_addrs.get(&me.broker_id));
        self.rival = known.filter(|known| **known != me.broker_addr).cloned();
        let Some(rival) = &self.rival else { return };
        if self.complaints.may(now.mono, rival) {
            error!(
                name_server = addr,
                broker_name = me.broker_name,
                broker_id = me.broker_id,
                ours = me.broker_addr,
                other = rival,
                "another broker registers under our name and id: clients reach now one, now the other, and \
                 messages of both are missed; give each its own brokerName, or brokerId if it is a slave"
            );
        }
    }
}

/// An answer of a name server, `None` for a request, which name servers have none for brokers, or why the link
/// is of no use.
fn read<'a>(event: &LinkEvent<'a>) -> Result<Option<(Header, &'a [u8])>, String> {
    match event {
        LinkEvent::Down(why) => Err((*why).to_owned()),
        LinkEvent::Frame(frame) => match Header::decode(frame.codec, frame.header) {
            Ok(header) => Ok(header.is_response().then_some((header, frame.body))),
            Err(why) => Err(why.to_string()),
        },
    }
}

/// How long a stop waits for a name server to hear of it.
const LEAVE_MS: Millis = Millis(3_000);

fn period(facts: Facts<'_>) -> Millis {
    Millis(facts.options.broker.register_name_server_period.0.clamp(10_000, 60_000))
}

fn frame(header: &Header, body: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    header.write_frame(Codec::Json, body, &mut bytes);
    bytes
}
