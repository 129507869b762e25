//! The order of things: dispatch, permissions, groups of frames, answers, timers, stop.

use crate::{
    Options, admin,
    answer::{self, Answer},
    call::{Call, Fail, Handler, Out},
    clients::{Changes, Clients},
    groups::Groups,
    jobs::{BrokerDone, BrokerJob},
    locks::Locks,
    offsets::Offsets,
    random::Random,
    register::{Facts, Registrar},
    stats::Stats,
    topics::Topics,
};
use kerolox_net::{ConnId, LinkEvent, Now, Peer, Service};
use kerolox_protocol::{
    Millis, code,
    frame::Frame,
    header::{Ext, Header},
    rpc::{self, Need},
};
use std::collections::BTreeMap;
use tracing::{debug, info};

/// A broker.
pub struct Broker {
    /// What the operator chose; live keys change.
    pub options: Options,
    /// Topics.
    pub topics: Topics,
    /// Subscription groups.
    pub groups: Groups,
    /// Where groups stand.
    pub offsets: Offsets,
    /// Who is connected.
    pub clients: Clients,
    /// Queue locks.
    pub locks: Locks,
    /// Name servers.
    pub registrar: Registrar,
    /// Counters.
    pub stats: Stats,
    pub(crate) random: Random,
    /// Counter of own requests.
    pub(crate) opaque: i32,
    handlers: BTreeMap<i32, Handler>,
    stopping: bool,
}

impl Broker {
    /// Number of the broker's next own request.
    pub fn next_opaque(&mut self) -> i32 {
        self.opaque = self.opaque.wrapping_add(1);
        self.opaque
    }

    /// Tells members of changed groups (code 40) and closes silent connections.
    pub fn apply(&mut self, changes: Changes, out: &mut Out) {
        for (group, members) in changes.notify {
            let wanted = self.groups.get(&group).is_none_or(|group| group.notify_consumer_ids_changed_enable);
            if !wanted || !self.options.broker.notify_consumer_ids_changed_enable {
                continue;
            }
            for conn in members {
                let ext: Ext = [("consumerGroup", group.as_str())].into_iter().collect();
                let opaque = self.next_opaque();
                answer::notify(conn, NOTIFY_CONSUMER_IDS_CHANGED, opaque, ext, b"", out);
            }
        }
        for conn in changes.close {
            out.close(conn, "no heartbeat");
        }
    }

    /// Whether `peer` may ask for what `need` says.
    fn check(&self, need: Need, peer: &Peer) -> Result<(), Fail> {
        match need {
            Need::Nothing | Need::Publish | Need::Subscribe | Need::Inspect => Ok(()),
            Need::Admin | Need::Cluster if self.options.broker.admin_networks.contains(peer.addr.ip()) => {
                Ok(())
            }
            Need::Admin | Need::Cluster => Err(Fail::new(
                code::NO_PERMISSION,
                format!(
                    "admin requests are answered to the networks of the key adminNetworks only; {} is in none",
                    peer.addr.ip()
                ),
            )),
        }
    }

    fn serve(&mut self, call: &Call<'_>, out: &mut Out) -> Result<Option<Answer>, Fail> {
        let asked = call.header.code;
        let unknown = || {
            let remark = format!(" request type {asked} not supported");
            Fail::new(code::REQUEST_CODE_NOT_SUPPORTED, remark)
        };
        let row = rpc::info(asked).ok_or_else(unknown)?;
        let handler = *self.handlers.get(&asked).ok_or_else(unknown)?;
        self.check(row.need, &call.peer)?;
        (handler.run)(self, call, out)
    }
}

/// Tells a consumer that its group changed. Reference: `RequestCode`.
const NOTIFY_CONSUMER_IDS_CHANGED: i32 = 40;

impl Service for Broker {
    type Job = BrokerJob;

    fn on_frame(&mut self, now: Now, peer: &Peer, frame: Frame<'_>, out: &mut Out) {
        let header = match Header::decode(frame.codec, frame.header) {
            Ok(header) => header,
            Err(why) => {
                debug!(conn = peer.conn.0, addr = %peer.addr, %why, "unreadable header");
                return out.close(peer.conn, "unreadable header");
            }
        };
        if header.is_response() {
            return;
        }
        let call = Call { now, peer: *peer, codec: frame.codec, header: &header, body: frame.body };
        match self.serve(&call, out) {
            Ok(None) => {}
            Ok(Some(answer)) => answer.send(&call.ticket(), out),
            Err(fail) => Answer::from(fail).send(&call.ticket(), out),
        }
    }

    fn on_batch_end(&mut self, _now: Now, _out: &mut Out) {}

    fn on_closed(&mut self, _now: Now, conn: ConnId, out: &mut Out) {
        let changes = self.clients.on_closed(conn);
        self.apply(changes, out);
    }

    fn on_link(&mut self, now: Now, addr: &str, event: LinkEvent<'_>, out: &mut Out) {
        let facts = Facts { options: &self.options, topics: &self.topics, groups: &self.groups };
        self.registrar.on_link(now, addr, &event, facts, out);
    }

    fn on_done(&mut self, _now: Now, _done: BrokerDone, _out: &mut Out) {}

    fn on_timer(&mut self, now: Now, out: &mut Out) {
        let changes = self.clients.expire(now.mono);
        self.apply(changes, out);
        let facts = Facts { options: &self.options, topics: &self.topics, groups: &self.groups };
        self.registrar.tick(now, facts, out);
    }

    fn next_timer(&self) -> Option<Millis> {
        [self.clients.next_timer(), self.registrar.next_timer()].into_iter().flatten().min()
    }

    fn on_stop(&mut self, now: Now, out: &mut Out) {
        info!("broker stops");
        self.stopping = true;
        let facts = Facts { options: &self.options, topics: &self.topics, groups: &self.groups };
        self.registrar.stop(now, facts, out);
    }

    fn is_stopped(&self) -> bool {
        self.stopping
    }
}

/// All handlers by code.
pub(crate) fn handlers() -> BTreeMap<i32, Handler> {
    let all = admin::HANDLERS.iter().flat_map(|area| area.iter());
    all.map(|handler| (handler.code, *handler)).collect()
}
