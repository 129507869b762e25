//! A second, naive table: flat lists, everything searched, written from the rules. The oracle of random runs.

use super::tests::{NORMAL, address, name};
use super::{Millis, Name, Registration, Route, Routes, Version};
use kerolox_net::ConnId;
use proptest::prelude::*;
use std::collections::BTreeSet;

/// Topic, its groups, their members.
type Sorted = Vec<(String, Vec<Group>)>;
/// Name and members.
type Group = (String, Vec<(i64, String)>);

#[derive(Debug, Clone)]
struct Row {
    broker: String,
    id: i64,
    address: String,
    conn: u64,
    seen: i64,
    counter: i64,
}

#[derive(Debug, Default)]
struct Naive {
    rows: Vec<Row>,
    /// Topic and group.
    queues: Vec<(String, String)>,
}

impl Naive {
    /// Queues of groups without a member go.
    fn settle(&mut self) {
        let rows = &self.rows;
        self.queues.retain(|(_, broker)| rows.iter().any(|row| row.broker == *broker));
    }

    fn register(&mut self, now: i64, row: Row, topics: &[String]) {
        let known = self.rows.iter().find(|r| r.address == row.address);
        if known.is_some_and(|known| known.conn > row.conn && known.counter >= row.counter) {
            return;
        }
        let same = known.filter(|known| known.broker == row.broker && known.id == row.id);
        let takes_topics = row.id == 0 && same.is_none_or(|known| known.counter != row.counter);
        let in_group = known.is_some_and(|known| known.broker == row.broker);
        self.rows.retain(|r| r.address != row.address);
        if !in_group {
            self.settle();
        }
        self.rows.retain(|r| !(r.broker == row.broker && r.id == row.id));
        let broker = row.broker.clone();
        self.rows.push(Row { seen: now, ..row });
        for topic in topics.iter().filter(|_| takes_topics) {
            let pair = (topic.clone(), broker.clone());
            if !self.queues.contains(&pair) {
                self.queues.push(pair);
            }
        }
    }

    fn unregister(&mut self, conn: u64, broker: &str, id: i64, address: &str) {
        self.rows.retain(|r| !(r.address == address && r.broker == broker && r.id == id && r.conn <= conn));
        self.settle();
    }

    fn closed(&mut self, conn: u64) {
        self.rows.retain(|r| r.conn != conn);
        self.settle();
    }

    fn expire(&mut self, now: i64) {
        self.rows.retain(|r| now - r.seen <= 120_000);
        self.settle();
    }

    /// Topic, then its groups with their members, all sorted.
    fn routes(&self) -> Sorted {
        let mut topics: Vec<_> = self.queues.iter().map(|(topic, _)| topic.clone()).collect();
        topics.sort();
        topics.dedup();
        let members = |broker: &str| {
            let rows = self.rows.iter().filter(|row| row.broker == broker);
            let mut members: Vec<_> = rows.map(|row| (row.id, row.address.clone())).collect();
            members.sort();
            members
        };
        let groups = |topic: &str| {
            let pairs = self.queues.iter().filter(|(known, _)| known == topic);
            let mut groups: Vec<_> = pairs.map(|(_, broker)| (broker.clone(), members(broker))).collect();
            groups.sort();
            groups
        };
        topics.iter().map(|topic| (topic.clone(), groups(topic))).collect()
    }
}

fn routes_of(routes: &Routes) -> Sorted {
    let text = |name: &Name| name.as_str().to_owned();
    let groups = |topic: &Name| {
        let route = routes.route(topic.as_str()).expect("a listed topic has a route");
        let members =
            |group: &super::GroupView<'_>| group.members.iter().map(|(id, a)| (*id, a.to_string())).collect();
        route.groups.iter().map(|group| (text(group.broker), members(group))).collect()
    };
    routes.topics().map(|topic| (text(topic), groups(topic))).collect()
}

/// What must hold of the table's own books after every event.
fn check_books(routes: &Routes) {
    for (broker, group) in &routes.groups {
        assert!(!group.members.is_empty(), "{broker} has no member");
        for (id, address) in &group.members {
            let member = &routes.addresses[address];
            assert_eq!((&member.broker, &member.id), (broker, id));
        }
        assert!(group.topics.iter().all(|topic| routes.topics[topic].queues.contains_key(broker)));
    }
    let seats: usize = routes.groups.values().map(|group| group.members.len()).sum();
    assert_eq!(seats, routes.addresses.len(), "an address without a place");
    for (address, member) in &routes.addresses {
        assert!(routes.connections[&member.conn].contains(address));
    }
    let connected: usize = routes.connections.values().map(BTreeSet::len).sum();
    assert_eq!(connected, routes.addresses.len(), "a connection that holds what is gone");
    assert!(routes.connections.values().all(|addresses| !addresses.is_empty()));
    let mut queue_datas = 0;
    for (topic, known) in &routes.topics {
        assert!(!known.queues.is_empty(), "{topic} has no queues");
        assert!(known.queues.keys().all(|broker| routes.groups[broker].topics.contains(topic)));
        queue_datas += known.queues.len();
    }
    assert_eq!(queue_datas, routes.queue_datas);
}

/// A kept answer is what would be encoded now.
fn check_answers(routes: &mut Routes) {
    let encode = |route: Route<'_>| format!("{route:?}").into_bytes();
    let topics: Vec<Name> = routes.topics().cloned().collect();
    for topic in topics {
        let fresh = routes.route(topic.as_str()).map(encode);
        assert_eq!(routes.answer(topic.as_str(), encode).map(|kept| kept.to_vec()), fresh);
    }
}

#[derive(Debug, Clone)]
enum Event {
    Register { conn: u64, broker: u8, id: i64, port: u8, counter: i64, topics: Vec<u8> },
    Unregister { conn: u64, broker: u8, id: i64, port: u8 },
    Close(u64),
    Wait(i64),
    Expire,
    Delete(u8),
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        6 => (0..6u64, 0..3u8, 0..3i64, 1..5u8, 0..3i64, proptest::collection::vec(0..4u8, 0..4)).prop_map(
            |(conn, broker, id, port, counter, topics)| Event::Register { conn, broker, id, port, counter, topics }),
        2 => (0..6u64, 0..3u8, 0..3i64, 1..5u8)
            .prop_map(|(conn, broker, id, port)| Event::Unregister { conn, broker, id, port }),
        1 => (0..6u64).prop_map(Event::Close),
        2 => (0..70_000i64).prop_map(Event::Wait),
        2 => Just(Event::Expire),
        1 => (0..4u8).prop_map(Event::Delete),
    ]
}

proptest! {
    #[test]
    fn any_events_leave_the_table_as_the_naive_one(events in proptest::collection::vec(event(), 0..60)) {
        let (mut routes, mut naive, mut now) = (Routes::default(), Naive::default(), 0);
        for event in events {
            match event.clone() {
                Event::Register { conn, broker, id, port, counter, topics } => {
                    let (broker, at) = (format!("b{broker}"), format!("h:{port}"));
                    let topics: Vec<String> = topics.iter().map(|topic| format!("t{topic}")).collect();
                    let registration = Registration {
                        conn: ConnId(conn), cluster: name("C"), broker: name(&broker), id, address: address(&at),
                        ha_address: None, epoch: None, version: Version { counter, ..Version::default() },
                        topics: topics.iter().map(|topic| (name(topic), NORMAL)).collect(), filters: Vec::new(),
                    };
                    let before = routes_of(&routes);
                    let outcome = routes.register(Millis(now), registration).unwrap();
                    prop_assert!(outcome.changed || before == routes_of(&routes), "a change that is not told");
                    naive.register(now, Row { broker, id, address: at, conn, seen: now, counter }, &topics);
                }
                Event::Unregister { conn, broker, id, port } => {
                    let (broker, at) = (format!("b{broker}"), format!("h:{port}"));
                    routes.unregister(ConnId(conn), &broker, id, &at);
                    naive.unregister(conn, &broker, id, &at);
                }
                Event::Close(conn) => {
                    routes.closed(ConnId(conn));
                    naive.closed(conn);
                }
                Event::Wait(span) => now += span,
                Event::Expire => {
                    routes.expire(Millis(now));
                    naive.expire(now);
                }
                Event::Delete(topic) => {
                    routes.delete_topic(&format!("t{topic}"), None);
                    naive.queues.retain(|(known, _)| *known != format!("t{topic}"));
                }
            }
            check_books(&routes);
            check_answers(&mut routes);
            prop_assert_eq!(routes_of(&routes), naive.routes(), "after {:?}", event);
        }
        // Once all is quiet, nothing is left over.
        routes.expire(Millis(now + 120_001));
        prop_assert!(routes.topics.is_empty() && routes.groups.is_empty() && routes.connections.is_empty());
    }
}
