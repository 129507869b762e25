//! Which brokers live, which topics they serve, and what follows from that for a route.
//!
//! Owns broker groups, their members and the queues of their topics. Knows connections by number and the time
//! as it is told; knows no frame, no JSON and no file.
//!
//! ```text
//! groups      broker name ──► cluster, members (id ──► address), topics
//! addresses   address ──► group, id, connection, last seen, data version, epoch
//! topics      topic ──► broker name ──► queues, permission          (only of groups that have a member)
//! ```
//! Every list that leaves here is sorted: producers that ask different name servers must see the queues of a
//! topic in the same order, or the same key goes to different queues.
//!
//! **Fresh beats stale.** A connection number grows with every accepted connection, so of two claims about one
//! address the one from the newer connection is the fresher; a close or an unregistration that comes from an
//! older connection changes nothing. An epoch, where a broker sends one, outranks that.

mod change;
#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;

use crate::names::{Address, Name};
use kerolox_net::ConnId;
use kerolox_protocol::Millis;
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::Arc,
};

/// The id of a group's master.
pub const MASTER: i64 = 0;
/// A broker that did not register for longer than this is dropped.
pub const SILENCE_MAX: Millis = Millis(120_000);
/// How long the highest epoch of a group without members is remembered.
pub const FENCE_KEPT: Millis = Millis(3_600_000);

/// Permission bit: queues may be written.
pub const PERM_WRITE: i32 = 2;
/// Permission bit: a template that new topics inherit from.
pub const PERM_INHERIT: i32 = 1;
/// What a group's queues get when their write permission is given back: read and write.
pub const PERM_READ_WRITE: i32 = 6;
/// Topic flag bit: a topic of one unit.
pub const FLAG_UNIT: i32 = 1;
/// Topic flag bit: has subscriptions of a unit.
pub const FLAG_UNIT_SUB: i32 = 2;

/// Version of a broker's topic table; equal when all parts are. Reference: `DataVersion`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Version {
    /// Only sent by brokers of 5.x, else 0.
    pub state: i64,
    /// When it changed last, Unix milliseconds of the broker.
    pub timestamp: i64,
    /// How often it changed.
    pub counter: i64,
}

/// A broker group's part of a topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Queues {
    /// Queues that may be read.
    pub read: i32,
    /// Queues that may be written.
    pub write: i32,
    /// Permission bits.
    pub perm: i32,
    /// Topic flag bits.
    pub flags: i32,
}

/// What a broker says about itself.
#[derive(Debug, Clone)]
pub struct Registration {
    /// The connection it came over.
    pub conn: ConnId,
    /// Cluster of the group.
    pub cluster: Name,
    /// Name of the group.
    pub broker: Name,
    /// Number within the group, [`MASTER`] for the master.
    pub id: i64,
    /// Where clients reach it.
    pub address: Address,
    /// Where slaves reach it.
    pub ha_address: Option<Address>,
    /// Term of its group's leadership; absent from brokers that have none.
    pub epoch: Option<u64>,
    /// Version of its topic table.
    pub version: Version,
    /// Its topics. Looked at only where [`Routes::wants_topics`] says so.
    pub topics: Vec<(Name, Queues)>,
    /// Its filter servers.
    pub filters: Vec<Address>,
}

/// What a registration led to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Registered {
    /// Whether any answer may be different from before.
    pub changed: bool,
    /// Whether it was older than what is known and therefore changed nothing.
    pub stale: bool,
    /// For a slave: the group's master and where to replicate from.
    pub master: Option<(Address, Option<Address>)>,
    /// What somebody must look at.
    pub alarms: Vec<Alarm>,
}

/// A registration that was taken, but smells of a copied configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Alarm {
    /// Two brokers with the same name and number were alive at once; the later one has the place.
    Twins {
        /// Name of the group.
        broker: Name,
        /// Number within it.
        id: i64,
        /// Who had the place.
        old: Address,
        /// Who has it now.
        new: Address,
    },
    /// A group with living members moved to another cluster.
    OtherCluster {
        /// Name of the group.
        broker: Name,
        /// Its cluster before.
        old: Name,
        /// Its cluster now.
        new: Name,
    },
    /// A living address now belongs to another group.
    OtherGroup {
        /// The address.
        address: Address,
        /// Its group before.
        old: Name,
        /// Its group now.
        new: Name,
    },
}

impl fmt::Display for Alarm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Alarm::Twins { broker, id, old, new } => write!(
                f,
                "two brokers are called brokerName={broker} brokerId={id}: {old} and {new}; the later one is \
                 routed to; give one of them another brokerName or brokerId"
            ),
            Alarm::OtherCluster { broker, old, new } => write!(
                f,
                "brokerName={broker} is in cluster {old} and now also in {new}; the later one counts; set the \
                 same brokerClusterName on all its members"
            ),
            Alarm::OtherGroup { address, old, new } => write!(
                f,
                "{address} was registered by brokerName={old} and now by {new}; the later one counts; check \
                 brokerIP1 and listenPort"
            ),
        }
    }
}

/// Why a registration was not taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// The number within the group is negative.
    BadId(i64),
    /// A newer leadership of the group is known.
    OldEpoch {
        /// The epoch it came with.
        sent: u64,
        /// The highest one known.
        known: u64,
    },
    /// A living master that proved its leadership with an epoch is in place, and this one has no newer one.
    MasterInPlace {
        /// The master's address.
        master: Address,
        /// Its epoch.
        epoch: u64,
    },
    /// The table is full.
    Full {
        /// Of what.
        what: &'static str,
        /// How many it holds.
        max: usize,
    },
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::BadId(id) => {
                write!(f, "brokerId {id} is negative; 0 is the master, slaves count from 1")
            }
            Refusal::OldEpoch { sent, known } => write!(
                f,
                "epoch {sent} is over, epoch {known} of this broker group is known; join the group as a slave"
            ),
            Refusal::MasterInPlace { master, epoch } => write!(
                f,
                "{master} is the living master of this broker group in epoch {epoch}; register as a slave or \
                 with a newer epoch"
            ),
            Refusal::Full { what, max } => {
                write!(f, "the name server holds its limit of {max} {what}; remove unused ones")
            }
        }
    }
}
impl std::error::Error for Refusal {}

/// A member that was dropped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dropped {
    /// Its address.
    pub address: Address,
    /// Its group.
    pub broker: Name,
    /// Its number.
    pub id: i64,
    /// The connection it registered over.
    pub conn: ConnId,
}

/// How much is kept; whoever asks for more is refused.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Members of all groups.
    pub members: usize,
    /// Topics.
    pub topics: usize,
    /// Topics times the groups that serve them.
    pub queue_datas: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { members: 10_000, topics: 500_000, queue_datas: 2_000_000 }
    }
}

/// The table.
#[derive(Debug, Default)]
pub struct Routes {
    limits: Limits,
    groups: BTreeMap<Name, Group>,
    addresses: BTreeMap<Address, Member>,
    connections: BTreeMap<ConnId, BTreeSet<Address>>,
    topics: BTreeMap<Name, Topic>,
    fences: BTreeMap<Name, Fence>,
    queue_datas: usize,
    /// Grows whenever any route may have changed; encoded answers remember it.
    edition: u64,
}

/// Brokers of one name.
#[derive(Debug)]
struct Group {
    cluster: Name,
    members: BTreeMap<i64, Address>,
    topics: BTreeSet<Name>,
}

/// One living broker.
#[derive(Debug)]
struct Member {
    broker: Name,
    id: i64,
    conn: ConnId,
    seen: Millis,
    version: Version,
    ha_address: Option<Address>,
    epoch: Option<u64>,
    filters: Vec<Address>,
}

#[derive(Debug, Default)]
struct Topic {
    queues: BTreeMap<Name, Queues>,
    /// The encoded route and the edition it belongs to.
    answer: Option<(u64, Arc<[u8]>)>,
}

/// The highest epoch of a group and when it was last confirmed.
#[derive(Debug)]
struct Fence {
    epoch: u64,
    seen: Millis,
}

/// A group as others see it.
#[derive(Debug, Clone, Copy)]
pub struct GroupView<'a> {
    /// Its name.
    pub broker: &'a Name,
    /// Its cluster.
    pub cluster: &'a Name,
    /// Address by number.
    pub members: &'a BTreeMap<i64, Address>,
}

/// Everything a route answer says, sorted.
#[derive(Debug)]
pub struct Route<'a> {
    /// Queues by group.
    pub queues: &'a BTreeMap<Name, Queues>,
    /// The groups.
    pub groups: Vec<GroupView<'a>>,
    /// Filter servers by broker address, where there are any.
    pub filters: BTreeMap<&'a Address, &'a [Address]>,
}

impl Routes {
    /// An empty table.
    pub fn new(limits: Limits) -> Routes {
        Routes { limits, ..Routes::default() }
    }

    /// Whether a registration's topics would be looked at: those of a master whose version is new.
    pub fn wants_topics(&self, broker: &str, id: i64, address: &str, version: Version) -> bool {
        let known = self.addresses.get(address).filter(|m| m.broker.as_str() == broker && m.id == id);
        id == MASTER && known.is_none_or(|member| member.version != version)
    }

    /// The version known of a broker, if it lives.
    pub fn version(&self, address: &str) -> Option<Version> {
        self.addresses.get(address).map(|member| member.version)
    }

    /// The route of a topic, if any broker serves it.
    pub fn route(&self, topic: &str) -> Option<Route<'_>> {
        self.topics.get(topic).map(|topic| self.view(topic))
    }

    /// The encoded route of a topic: made by `encode` once per change, for clients ask again and again.
    pub fn answer(&mut self, topic: &str, encode: impl FnOnce(Route<'_>) -> Vec<u8>) -> Option<Arc<[u8]>> {
        let known = self.topics.get(topic)?;
        if let Some((edition, answer)) = &known.answer
            && *edition == self.edition
        {
            return Some(answer.clone());
        }
        let answer: Arc<[u8]> = encode(self.view(known)).into();
        let (edition, known) = (self.edition, self.topics.get_mut(topic)?);
        known.answer = Some((edition, answer.clone()));
        Some(answer)
    }

    /// Makes all encoded answers again when next asked for.
    pub fn forget_answers(&mut self) {
        self.edition += 1;
    }

    fn view<'a>(&'a self, topic: &'a Topic) -> Route<'a> {
        let groups: Vec<_> =
            topic.queues.keys().filter_map(|name| self.groups.get_key_value(name)).map(group_view).collect();
        let members = groups.iter().flat_map(|group| group.members.values());
        let filters = members
            .filter_map(|address| self.addresses.get(address).map(|member| (address, &member.filters[..])))
            .filter(|(_, filters)| !filters.is_empty())
            .collect();
        Route { queues: &topic.queues, groups, filters }
    }

    /// All groups.
    pub fn groups(&self) -> impl Iterator<Item = GroupView<'_>> {
        self.groups.iter().map(group_view)
    }

    /// Group names by cluster.
    pub fn clusters(&self) -> BTreeMap<&Name, BTreeSet<&Name>> {
        let mut clusters: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
        for (name, group) in &self.groups {
            clusters.entry(&group.cluster).or_default().insert(name);
        }
        clusters
    }

    /// All topics.
    pub fn topics(&self) -> impl ExactSizeIterator<Item = &Name> {
        self.topics.keys()
    }

    /// Topics of the groups of a cluster.
    pub fn topics_of_cluster(&self, cluster: &str) -> BTreeSet<&Name> {
        let groups = self.groups.values().filter(|group| group.cluster.as_str() == cluster);
        groups.flat_map(|group| &group.topics).collect()
    }

    /// Topics with a group whose flags fit.
    pub fn topics_with_flags(&self, fits: impl Fn(i32) -> bool) -> impl Iterator<Item = &Name> {
        self.topics
            .iter()
            .filter(move |(_, topic)| topic.queues.values().any(|queues| fits(queues.flags)))
            .map(|(name, _)| name)
    }

    /// Whether any broker lives.
    pub fn has_brokers(&self) -> bool {
        !self.groups.is_empty()
    }

    /// Whether some broker creates topics at their first message, from the template topic of that name.
    pub fn inherits(&self, template: &str) -> bool {
        let queues = self.topics.get(template).into_iter().flat_map(|topic| topic.queues.values());
        queues.into_iter().any(|queues| queues.perm & PERM_INHERIT != 0)
    }
}

fn group_view<'a>((broker, group): (&'a Name, &'a Group)) -> GroupView<'a> {
    GroupView { broker, cluster: &group.cluster, members: &group.members }
}
