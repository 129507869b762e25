//! Who is connected: producers and consumers by heartbeat, what groups subscribe to, who must be told.
//!
//! Lives as long as the connections. Knows no socket: it returns whom to notify and what to close.

use kerolox_filter::{Kind, Tags};
use kerolox_net::ConnId;
use kerolox_protocol::{GroupName, Millis, TopicName, header::Language};
use std::collections::BTreeMap;

/// How a group shares messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum MessageModel {
    /// Everybody gets everything.
    Broadcasting,
    /// Each message goes to one.
    #[default]
    Clustering,
}

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
    /// Its language.
    pub language: Language,
    /// Its version ordinal.
    pub version: i32,
    /// Last heartbeat, monotonic.
    pub last_ms: Millis,
}

/// A group with at least one member.
#[derive(Debug, Clone, Default)]
pub struct ConsumerGroup {
    /// Members by connection.
    pub members: BTreeMap<ConnId, Member>,
    /// Sharing, as the last heartbeat said.
    pub model: MessageModel,
    /// Subscriptions by topic, as the last heartbeat said.
    pub subscriptions: BTreeMap<TopicName, Subscription>,
}

/// What follows from an event.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Changes {
    /// Groups whose members or subscriptions changed, with the connections to tell (code 40).
    pub notify: Vec<(GroupName, Vec<ConnId>)>,
    /// Connections silent for too long, to be closed.
    pub close: Vec<ConnId>,
}

/// One consumer entry of a heartbeat, checked.
#[derive(Debug, Clone)]
pub struct ConsumerBeat {
    /// Group.
    pub group: GroupName,
    /// Sharing.
    pub model: MessageModel,
    /// The whole subscription set.
    pub subscriptions: BTreeMap<TopicName, Subscription>,
}

/// The registry.
#[derive(Debug, Clone, Default)]
pub struct Clients {
    consumers: BTreeMap<GroupName, ConsumerGroup>,
    producers: BTreeMap<GroupName, BTreeMap<ConnId, Member>>,
}

impl Clients {
    /// A heartbeat of `conn` for one consumer group.
    pub fn on_consumer(&mut self, conn: ConnId, member: Member, beat: ConsumerBeat) -> Changes {
        let group = self.consumers.entry(beat.group.clone()).or_default();
        let topics_differ = !group.subscriptions.keys().eq(beat.subscriptions.keys());
        group.model = beat.model;
        for (topic, new) in beat.subscriptions.clone() {
            match group.subscriptions.get(&topic) {
                Some(old) if old.version >= new.version => {}
                _ => drop(group.subscriptions.insert(topic, new)),
            }
        }
        group.subscriptions.retain(|topic, _| beat.subscriptions.contains_key(topic));
        let joined = group.members.insert(conn, member).is_none();
        let mut changes = Changes::default();
        if joined || topics_differ {
            changes.notify.push((beat.group, group.members.keys().copied().collect()));
        }
        changes
    }

    /// A heartbeat of `conn` for one producer group.
    pub fn on_producer(&mut self, conn: ConnId, member: Member, group: GroupName) {
        self.producers.entry(group).or_default().insert(conn, member);
    }

    /// A connection is gone.
    pub fn on_closed(&mut self, conn: ConnId) -> Changes {
        let mut changes = Changes::default();
        for (name, group) in &mut self.consumers {
            if group.members.remove(&conn).is_some() {
                changes.notify.push((name.clone(), group.members.keys().copied().collect()));
            }
        }
        self.consumers.retain(|_, group| !group.members.is_empty());
        self.producers.retain(|_, members| {
            members.remove(&conn);
            !members.is_empty()
        });
        changes
    }

    /// Looks for members silent for too long. `now` is monotonic.
    pub fn expire(&mut self, _now: Millis) -> Changes {
        Changes::default()
    }

    /// When [`Clients::expire`] wants to be called, monotonic.
    pub fn next_timer(&self) -> Option<Millis> {
        None
    }

    /// A group with members.
    pub fn consumers(&self, group: &str) -> Option<&ConsumerGroup> {
        self.consumers.get(group)
    }
}
