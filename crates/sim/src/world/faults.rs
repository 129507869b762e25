//! What goes wrong, and who puts it right again.

use super::{Armed, Event, World};
use crate::{
    clients::Phase,
    network::{NodeId, Way},
    options::Fault,
    oracle::Crash,
};
use kerolox_store::disk::{
    Disk,
    memory::{self, Call, Harm},
};
use std::path::Path;

impl World {
    pub(super) fn on_fault(&mut self, n: usize) -> Option<NodeId> {
        let fault = self.options.faults.get(n).map(|(_, fault)| *fault)?;
        if self.phase != Phase::Storm {
            return None;
        }
        self.trace.note(self.now, format!("fault {fault:?}"));
        match fault {
            Fault::Kill(node) => self.crash(node, Crash::Killed),
            Fault::PowerCut => self.crash(NodeId::Broker, Crash::PowerCut),
            Fault::CrashAt { call, nth, power } => self.arm(call, nth, power),
            Fault::Stop(node) => return self.stop(node),
            Fault::Cut(percent) => self.cut_some(percent),
            Fault::Partition(ms) => {
                self.parted_until = self.parted_until.max(self.now + ms);
                let ids = self.network.select(|conn| conn.node == NodeId::Broker);
                ids.into_iter().for_each(|id| self.cut(id));
            }
            Fault::Slow(ms) => self.slow_until = self.slow_until.max(self.now + ms),
            Fault::SlowDisk(ms) => self.slow_disk_until = self.slow_disk_until.max(self.now + ms),
            Fault::Clock(ms) => {
                self.oracle.happened(if ms < 0 { "clock went back" } else { "clock jumped ahead" });
                self.wall += ms;
            }
            Fault::Cold(ms) => {
                self.cold_until = self.cold_until.max(self.now + ms);
                self.disk.set_resident(Some(false));
                self.after(ms, Event::Warm);
            }
            Fault::DiskError { call, nth } => {
                self.disk.plan(memory::Fault::once(call, nth, Harm::Eio));
                self.is_sick = true;
            }
            Fault::DiskFull { left, ms } => self.fill(left, ms),
            Fault::Rot(rot) => self.on_rot(rot),
        }
        None
    }

    /// Faults stop; what is broken is repaired.
    pub(super) fn calm(&mut self) {
        self.trace.note(self.now, "calm".to_owned());
        self.phase = Phase::Settle;
        self.armed = None;
        self.disk.heal();
        self.strays.clear();
        self.rot_later.clear();
        self.is_sick = false;
        self.disk.set_capacity(None);
        self.is_full = false;
        self.slow_until = 0;
        self.slow_disk_until = 0;
        self.parted_until = 0;
        self.cold_until = 0;
        self.warm();
    }

    fn cut_some(&mut self, percent: u64) {
        for id in self.network.select(|_| true) {
            if self.random.faults.chance(percent) {
                self.cut(id);
            }
        }
    }

    fn fill(&mut self, left: u64, ms: i64) {
        let Ok(space) = self.disk.space(Path::new("")) else { return };
        self.oracle.happened("the disk is full");
        let least = (space.total - space.free + left).min(self.disk_bytes().unwrap_or(u64::MAX));
        self.disk.set_capacity(Some(least));
        self.is_full = true;
        self.after(ms, Event::Room);
    }

    /// Files are in memory again, unless it became cold anew meanwhile.
    pub(super) fn warm(&mut self) {
        if self.now >= self.cold_until {
            self.disk.set_resident(Some(true));
        }
    }

    pub(super) fn room(&mut self) {
        self.trace.note(self.now, "the disk has room again".to_owned());
        self.disk.set_capacity(self.disk_bytes());
        self.is_full = false;
    }

    /// Size of the disk, if it is a small one.
    pub(super) fn disk_bytes(&self) -> Option<u64> {
        let deletion = self.options.deletion.filter(|_| self.phase == Phase::Storm);
        deletion.and_then(|deletion| deletion.disk_bytes)
    }

    fn arm(&mut self, call: Call, nth: u64, power: bool) {
        // While the broker is down, what it does next is to recover.
        if self.armed.is_some() {
            return;
        }
        // A sync that fails is more than one that was cut short: the system would forget what was to be synced.
        // Only a power cut may follow it, which forgets as much.
        let power = power || call == Call::Sync;
        let harm = match call {
            Call::Write if self.random.faults.chance(50) => {
                Harm::Torn(usize::try_from(self.random.faults.below(600)).unwrap_or(0))
            }
            _ => Harm::Eio,
        };
        let at = self.disk.calls(call) + nth;
        self.disk.plan(memory::Fault { call, path: String::new(), nth, times: u64::MAX, harm });
        self.armed = Some(Armed { call, at, power });
    }

    /// Whether the disk has just failed a call at which the broker was to die.
    pub(super) fn is_fatal(&self) -> bool {
        self.armed.is_some_and(|armed| self.disk.calls(armed.call) >= armed.at)
    }

    /// Whether the broker has just died at a call to its disk. What it wanted after that never happened.
    pub(super) fn has_crashed(&mut self) -> bool {
        let Some(armed) = self.armed.filter(|_| self.is_fatal()) else { return false };
        self.oracle.happened("crash in a call to the disk");
        if matches!(armed.call, Call::Rename | Call::SyncDir) {
            self.oracle.happened("crash in a rename or before its directory is synced");
        }
        self.crash(NodeId::Broker, if armed.power { Crash::PowerCut } else { Crash::Killed });
        true
    }

    /// A server dies, and is started again after a while.
    pub(super) fn crash(&mut self, node: NodeId, how: Crash) {
        if !self.is_up(node) {
            return;
        }
        self.trace.note(self.now, format!("{node:?}: {how:?}"));
        let silent = how == Crash::PowerCut && self.random.faults.chance(50);
        let life = self.life(node);
        match node {
            NodeId::Namesrv | NodeId::Namesrv2 => {
                let slot = &mut self.namesrvs[usize::from(node == NodeId::Namesrv2)];
                slot.process = None;
                slot.timer_at = None;
            }
            NodeId::Broker => self.end_broker(how),
        }
        self.sever(node, life, silent);
        let pause = self.random.faults.between(10, 2_500);
        self.after(pause, Event::Start(node));
    }

    /// The connections of a server that is gone. `silent`: nobody tells the other ends.
    fn sever(&mut self, node: NodeId, life: u32, silent: bool) {
        for id in self.network.select(|conn| conn.node == node && conn.life == life) {
            if silent {
                self.network.remove(id);
            } else {
                self.close(id, Way::Out);
            }
        }
        // Its own links end at their other ends.
        let keys: Vec<_> = self.links.keys().filter(|key| key.0 == node).cloned().collect();
        for key in keys {
            if let Some(conn) = self.links.remove(&key) {
                self.close(conn, Way::In);
            }
        }
    }

    fn stop(&mut self, node: NodeId) -> Option<NodeId> {
        let [first, second] = &mut self.namesrvs;
        let stopping = match node {
            NodeId::Namesrv => &mut first.stopping,
            NodeId::Namesrv2 => &mut second.stopping,
            NodeId::Broker => &mut self.broker.stopping,
        };
        if std::mem::replace(stopping, true) {
            return None;
        }
        let (now, life) = (self.time(), self.life(node));
        self.running(node, life)?.stop(now);
        Some(node)
    }

    /// A stopping server that has nothing left to do ends.
    pub(super) fn ended(&mut self, node: NodeId, life: u32) {
        let [first, second] = &self.namesrvs;
        let stopping = match node {
            NodeId::Namesrv => first.stopping,
            NodeId::Namesrv2 => second.stopping,
            NodeId::Broker => self.broker.stopping,
        };
        if !stopping || !self.running(node, life).is_some_and(|process| process.is_stopped()) {
            return;
        }
        self.oracle.happened("clean stop");
        self.crash(node, Crash::Stopped);
    }

    /// Somebody reads the log of a broker whose disk failed, has it repaired, and starts anew.
    pub(super) fn operator(&mut self, life: u32) {
        if self.broker.life == life {
            self.crash(NodeId::Broker, Crash::Killed);
        }
    }
}
