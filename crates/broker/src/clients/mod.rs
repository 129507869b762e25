//! Who is connected: producers and consumers by heartbeat, what groups subscribe to, who must be told.
//!
//! Lives as long as the connections: a member *is* a connection in a group, whatever id it says it has. Knows
//! no socket: it returns whom to notify and what to close. [`serve`] answers the requests.
//!
//! ```text
//! groups   group ──► members (connection ──► id, language, last heartbeat), subscriptions
//! conns    connection ──► groups it is in          so that a close costs what that connection joined
//! ids      client id ──► connections of producers  for replies that must find their requester
//! ```
//! **Invariant:** the three always agree, and a group without members does not exist.

pub(crate) mod assign;
pub mod serve;
#[cfg(test)]
mod tests;

use crate::once::Once;
use kerolox_filter::{Kind, Tags};
use kerolox_net::ConnId;
use kerolox_protocol::{
    GroupName, Millis, TopicName,
    body::heartbeat::{ConsumeFromWhere, ConsumeType},
    header::Language,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    net::{IpAddr, Ipv4Addr, SocketAddr},
};
use tracing::warn;

pub use kerolox_protocol::body::heartbeat::MessageModel;

/// A member silent for longer is dropped. Reference: `CHANNEL_EXPIRED_TIMEOUT`.
pub const SILENCE_MAX: Millis = Millis(120_000);
/// Pause between two looks for silent members.
pub const SCAN_PERIOD: Millis = Millis(10_000);
/// Groups that one connection may be in, of each kind.
pub const GROUPS_OF_CONN_MAX: usize = 1_024;
/// Topics that one group may subscribe to.
pub const SUBSCRIPTIONS_MAX: usize = 2_048;
/// Longest client id in bytes.
pub const CLIENT_ID_BYTES_MAX: usize = 512;
/// Memberships in all; each costs some hundred bytes.
pub const MEMBERSHIPS_MAX: usize = 1_000_000;
/// How often a subject that stays wrong is reported.
const COMPLAIN_PERIOD: Millis = Millis(10 * 60_000);

/// What a group wants of a topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscription {
    /// As written.
    pub text: String,
    /// Its language.
    pub kind: Kind,
    /// As parsed; everything, for other languages.
    pub tags: Tags,
    /// Larger is newer.
    pub version: i64,
}

/// A connected member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// The client's id.
    pub client_id: String,
    /// Its address.
    pub addr: SocketAddr,
    /// Its language.
    pub language: Language,
    /// Its version ordinal.
    pub version: i32,
    /// Last heartbeat, monotonic.
    pub last_ms: Millis,
    /// Last heartbeat, Unix milliseconds.
    pub seen: Millis,
}

impl Default for Member {
    fn default() -> Member {
        Member {
            client_id: String::new(),
            addr: SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0),
            language: Language::JAVA,
            version: 0,
            last_ms: Millis(0),
            seen: Millis(0),
        }
    }
}

/// What is known of a member only inside its group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Inside {
    /// First heartbeat, monotonic.
    joined: Millis,
    /// Of its own subscription set, to tell sets apart.
    wants: u64,
}

/// A group with at least one member.
#[derive(Debug, Clone, Default)]
pub struct ConsumerGroup {
    /// Members by connection.
    pub members: BTreeMap<ConnId, Member>,
    /// Sharing, as the last heartbeat said.
    pub model: MessageModel,
    /// Who decides when messages come, as the last heartbeat said.
    pub consume_type: ConsumeType,
    /// Where it starts without an offset, as the last heartbeat said.
    pub from: ConsumeFromWhere,
    /// Subscriptions by topic, as the last heartbeat said.
    pub subscriptions: BTreeMap<TopicName, Subscription>,
    inside: BTreeMap<ConnId, Inside>,
}

impl ConsumerGroup {
    /// Ids of the members, each once, sorted. Between a reconnect and the end of the old connection two
    /// members have one id.
    pub fn client_ids(&self) -> Vec<String> {
        let ids: BTreeSet<&str> = self.members.values().map(|member| member.client_id.as_str()).collect();
        ids.into_iter().map(str::to_owned).collect()
    }

    /// The member of that id which was heard last.
    pub fn by_id(&self, client_id: &str) -> Option<(ConnId, &Member)> {
        let same = self.members.iter().filter(|(_, member)| member.client_id == client_id);
        same.max_by_key(|(conn, member)| (member.last_ms, **conn)).map(|(conn, member)| (*conn, member))
    }

    /// Whether members want different things: each heartbeat then overwrites the other's subscriptions, and
    /// messages are lost to the group without an error anywhere.
    pub fn is_inconsistent(&self) -> bool {
        let mut wants = self.inside.values().map(|inside| inside.wants);
        let first = wants.next();
        wants.any(|other| Some(other) != first)
    }

    /// Client ids that two living connections use at once, with both.
    pub fn duplicates(&self) -> Vec<(&str, ConnId, ConnId)> {
        let mut found = Vec::new();
        for (at, (conn, member)) in self.members.iter().enumerate() {
            let later = self.members.iter().skip(at + 1);
            let twins = later.filter(|(_, other)| other.client_id == member.client_id);
            let both = twins.filter(|(other, _)| self.overlap(*conn, **other));
            found.extend(both.map(|(other, _)| (member.client_id.as_str(), *conn, *other)));
        }
        found
    }

    /// Whether both connections were heard after both had joined: not a reconnect whose old end still stands.
    fn overlap(&self, one: ConnId, other: ConnId) -> bool {
        let (Some(a), Some(b)) = (self.inside.get(&one), self.inside.get(&other)) else { return false };
        let heard_after = |conn: ConnId, joined: Millis| {
            self.members.get(&conn).is_some_and(|member| member.last_ms > joined)
        };
        heard_after(one, b.joined) && heard_after(other, a.joined)
    }
}

/// What follows from an event.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Changes {
    /// Groups whose members or subscriptions changed, with the connections to tell (code 40).
    pub notify: Vec<(GroupName, Vec<ConnId>)>,
    /// Connections silent for too long, to be closed.
    pub close: Vec<ConnId>,
}

impl Changes {
    /// Adds what follows from another event.
    pub fn merge(&mut self, other: Changes) {
        self.notify.extend(other.notify);
        self.close.extend(other.close);
    }
}

/// One consumer entry of a heartbeat, checked.
#[derive(Debug, Clone)]
pub struct ConsumerBeat {
    /// Group.
    pub group: GroupName,
    /// Sharing.
    pub model: MessageModel,
    /// Who decides when messages come.
    pub consume_type: ConsumeType,
    /// Where it starts without an offset.
    pub from: ConsumeFromWhere,
    /// The whole subscription set.
    pub subscriptions: BTreeMap<TopicName, Subscription>,
}

/// A limit of the registry is reached; answered "busy".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Full {
    /// The connection is in [`GROUPS_OF_CONN_MAX`] groups.
    Conn,
    /// There are [`MEMBERSHIPS_MAX`] memberships.
    Registry,
}

impl fmt::Display for Full {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Full::Conn => write!(
                f,
                "one connection may be in {GROUPS_OF_CONN_MAX} groups; spread them over more processes"
            ),
            Full::Registry => write!(
                f,
                "this broker knows {MEMBERSHIPS_MAX} members of groups already; stop unused clients or add brokers"
            ),
        }
    }
}

/// Groups of one connection.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Joined {
    consumers: BTreeSet<GroupName>,
    producers: BTreeSet<GroupName>,
}

impl Joined {
    fn is_empty(&self) -> bool {
        self.consumers.is_empty() && self.producers.is_empty()
    }
}

/// The registry.
#[derive(Debug, Clone)]
pub struct Clients {
    consumers: BTreeMap<GroupName, ConsumerGroup>,
    producers: BTreeMap<GroupName, BTreeMap<ConnId, Member>>,
    conns: BTreeMap<ConnId, Joined>,
    /// Client id to the connections over which it produces, with the number of groups there.
    ids: BTreeMap<String, BTreeMap<ConnId, usize>>,
    memberships: usize,
    next_scan: Option<Millis>,
    once: Once,
}

impl Default for Clients {
    fn default() -> Clients {
        Clients {
            consumers: BTreeMap::new(),
            producers: BTreeMap::new(),
            conns: BTreeMap::new(),
            ids: BTreeMap::new(),
            memberships: 0,
            next_scan: None,
            once: Once::every(COMPLAIN_PERIOD),
        }
    }
}

impl Clients {
    /// Whether `conn` may join so many more groups of each kind. Groups it is in already cost nothing.
    pub fn room<'a>(
        &self,
        conn: ConnId,
        consumers: impl Iterator<Item = &'a GroupName>,
        producers: impl Iterator<Item = &'a GroupName>,
    ) -> Result<(), Full> {
        let none = Joined::default();
        let joined = self.conns.get(&conn).unwrap_or(&none);
        let new_consumers = consumers.filter(|group| !joined.consumers.contains(*group)).count();
        let new_producers = producers.filter(|group| !joined.producers.contains(*group)).count();
        if joined.consumers.len() + new_consumers > GROUPS_OF_CONN_MAX
            || joined.producers.len() + new_producers > GROUPS_OF_CONN_MAX
        {
            return Err(Full::Conn);
        }
        if self.memberships + new_consumers + new_producers > MEMBERSHIPS_MAX {
            return Err(Full::Registry);
        }
        Ok(())
    }

    /// A heartbeat of `conn` for one consumer group. The newest one decides how the group shares, and its
    /// subscription set is the group's: topics that it lacks are dropped, an expression is replaced by one of
    /// a greater version.
    pub fn on_consumer(&mut self, conn: ConnId, member: Member, beat: ConsumerBeat) -> Changes {
        let now = member.last_ms;
        let wants = digest(&beat.subscriptions);
        let group = self.consumers.entry(beat.group.clone()).or_default();
        let topics_differ = !group.subscriptions.keys().eq(beat.subscriptions.keys());
        (group.model, group.consume_type, group.from) = (beat.model, beat.consume_type, beat.from);
        group.subscriptions.retain(|topic, _| beat.subscriptions.contains_key(topic));
        for (topic, new) in beat.subscriptions {
            match group.subscriptions.get(&topic) {
                Some(old) if old.version >= new.version => {}
                _ => drop(group.subscriptions.insert(topic, new)),
            }
        }
        let joined = group.members.insert(conn, member).is_none();
        group.inside.entry(conn).or_insert(Inside { joined: now, wants }).wants = wants;
        complain(&mut self.once, now, &beat.group, conn, group);

        if joined {
            self.memberships += 1;
            self.conns.entry(conn).or_default().consumers.insert(beat.group.clone());
        }
        self.plan_scan(now);
        let mut changes = Changes::default();
        if joined || topics_differ {
            changes.notify.push(self.notice(beat.group));
        }
        changes
    }

    /// A heartbeat of `conn` for one producer group.
    pub fn on_producer(&mut self, conn: ConnId, member: Member, group: GroupName) {
        let now = member.last_ms;
        let client_id = member.client_id.clone();
        let old = self.producers.entry(group.clone()).or_default().insert(conn, member);
        match old {
            None => {
                self.memberships += 1;
                self.conns.entry(conn).or_default().producers.insert(group);
            }
            Some(old) => self.forget_id(&old.client_id, conn),
        }
        *self.ids.entry(client_id).or_default().entry(conn).or_default() += 1;
        self.plan_scan(now);
    }

    /// `conn` leaves a consumer group.
    pub fn leave_consumer(&mut self, conn: ConnId, group: &str) -> Changes {
        let mut changes = Changes::default();
        let Some(found) = self.consumers.get_mut(group) else { return changes };
        if found.members.remove(&conn).is_none() {
            return changes;
        }
        found.inside.remove(&conn);
        let empty = found.members.is_empty();
        self.memberships -= 1;
        if let Some(joined) = self.conns.get_mut(&conn) {
            let name = joined.consumers.take(group);
            if !empty && let Some(name) = name {
                changes.notify.push(self.notice(name));
            }
        }
        if empty {
            self.consumers.remove(group);
        }
        self.tidy(conn);
        changes
    }

    /// `conn` leaves a producer group.
    pub fn leave_producer(&mut self, conn: ConnId, group: &str) {
        let Some(members) = self.producers.get_mut(group) else { return };
        let Some(member) = members.remove(&conn) else { return };
        if members.is_empty() {
            self.producers.remove(group);
        }
        self.memberships -= 1;
        self.forget_id(&member.client_id, conn);
        if let Some(joined) = self.conns.get_mut(&conn) {
            joined.producers.remove(group);
        }
        self.tidy(conn);
    }

    /// A connection is gone.
    pub fn on_closed(&mut self, conn: ConnId) -> Changes {
        let mut changes = Changes::default();
        let Some(joined) = self.conns.get(&conn).cloned() else { return changes };
        for group in &joined.consumers {
            changes.merge(self.leave_consumer(conn, group));
        }
        for group in &joined.producers {
            self.leave_producer(conn, group);
        }
        changes
    }

    /// Looks for members silent for too long: they leave their group, and a connection that is in no group
    /// any more is closed. `now` is monotonic.
    pub fn expire(&mut self, now: Millis) -> Changes {
        let mut changes = Changes::default();
        if self.next_scan.is_none_or(|due| now < due) {
            return changes;
        }
        let silent = |member: &Member| now - member.last_ms > SILENCE_MAX;
        let consumers = silent_members(self.consumers.iter().map(|(g, group)| (g, &group.members)), silent);
        let producers = silent_members(self.producers.iter(), silent);
        for (conn, group) in &consumers {
            changes.merge(self.leave_consumer(*conn, group));
        }
        for (conn, group) in &producers {
            self.leave_producer(*conn, group);
        }
        let conns: BTreeSet<ConnId> = consumers.iter().chain(&producers).map(|(conn, _)| *conn).collect();
        changes.close.extend(conns.into_iter().filter(|conn| !self.conns.contains_key(conn)));
        self.next_scan = (!self.conns.is_empty()).then_some(now + SCAN_PERIOD);
        changes
    }

    /// When [`Clients::expire`] wants to be called, monotonic.
    pub fn next_timer(&self) -> Option<Millis> {
        self.next_scan
    }

    /// A group with members.
    pub fn consumers(&self, group: &str) -> Option<&ConsumerGroup> {
        self.consumers.get(group)
    }

    /// All groups with consuming members, by name.
    pub fn consumer_groups(&self) -> impl Iterator<Item = (&GroupName, &ConsumerGroup)> {
        self.consumers.iter()
    }

    /// Members of a producer group by connection.
    pub fn producers(&self, group: &str) -> Option<&BTreeMap<ConnId, Member>> {
        self.producers.get(group)
    }

    /// All groups with producing members, by name.
    pub fn producer_groups(&self) -> impl Iterator<Item = (&GroupName, &BTreeMap<ConnId, Member>)> {
        self.producers.iter()
    }

    /// The newest connection over which a client of that id produces.
    pub fn producer_conn(&self, client_id: &str) -> Option<ConnId> {
        self.ids.get(client_id)?.keys().next_back().copied()
    }

    /// Members of all groups together.
    pub fn memberships(&self) -> usize {
        self.memberships
    }

    fn notice(&self, group: GroupName) -> (GroupName, Vec<ConnId>) {
        let members = self.consumers.get(&group).map(|found| found.members.keys().copied().collect());
        (group, members.unwrap_or_default())
    }

    fn plan_scan(&mut self, now: Millis) {
        self.next_scan.get_or_insert(now + SCAN_PERIOD);
    }

    fn forget_id(&mut self, client_id: &str, conn: ConnId) {
        let Some(conns) = self.ids.get_mut(client_id) else { return };
        if let Some(groups) = conns.get_mut(&conn) {
            *groups -= 1;
            if *groups == 0 {
                conns.remove(&conn);
            }
        }
        if conns.is_empty() {
            self.ids.remove(client_id);
        }
    }

    /// Forgets a connection that is in no group.
    fn tidy(&mut self, conn: ConnId) {
        if self.conns.get(&conn).is_some_and(Joined::is_empty) {
            self.conns.remove(&conn);
        }
        if self.conns.is_empty() {
            self.next_scan = None;
        }
    }
}

fn silent_members<'a>(
    groups: impl Iterator<Item = (&'a GroupName, &'a BTreeMap<ConnId, Member>)>,
    silent: impl Fn(&Member) -> bool,
) -> Vec<(ConnId, GroupName)> {
    let mut found = Vec::new();
    for (group, members) in groups {
        let gone = members.iter().filter(|(_, member)| silent(member));
        found.extend(gone.map(|(conn, _)| (*conn, group.clone())));
    }
    found
}

/// Says once what the original keeps silent about: members that overwrite each other's subscriptions, and two
/// processes under one id, between which queues are lost or read twice.
fn complain(once: &mut Once, now: Millis, name: &GroupName, conn: ConnId, group: &ConsumerGroup) {
    if group.is_inconsistent() && once.may(now, &format!("subscriptions {name}")) {
        let members: Vec<&str> = group.members.values().map(|member| member.client_id.as_str()).collect();
        warn!(
            group = %name, ?members,
            "members of one group subscribe differently: the last heartbeat wins and the others miss messages; \
             give each group one set of topics and expressions"
        );
    }
    let Some(member) = group.members.get(&conn) else { return };
    let mut twins = group.members.iter().filter(|(other, twin)| {
        **other != conn && twin.client_id == member.client_id && group.overlap(conn, **other)
    });
    if let Some((_, twin)) = twins.next()
        && once.may(now, &format!("id {name} {}", member.client_id))
    {
        warn!(
            group = %name, client_id = member.client_id, one = %member.addr, other = %twin.addr,
            "two connected clients have one client id, so they share out queues as if they were one: some are \
             read twice, some never; set a distinct instanceName (containers often share host name and pid)"
        );
    }
}

/// Tells subscription sets apart. Versions differ between equal members and do not count.
fn digest(subscriptions: &BTreeMap<TopicName, Subscription>) -> u64 {
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    let mut mix = |bytes: &[u8]| {
        // FNV-1a, with a byte that occurs in no text between the parts.
        for byte in bytes.iter().chain(&[0xff]) {
            hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    };
    for (topic, subscription) in subscriptions {
        mix(topic.as_bytes());
        mix(subscription.text.as_bytes());
        mix(&[u8::from(subscription.kind == Kind::Tag)]);
    }
    hash
}
