//! The registry against a naive model, and its rules one by one.

use super::*;
use proptest::prelude::*;

fn name(text: &str) -> GroupName {
    GroupName::new(text).expect("a group")
}

fn member(id: &str, now: i64) -> Member {
    Member { client_id: id.to_owned(), last_ms: Millis(now), seen: Millis(now), ..Member::default() }
}

fn subscription(text: &str, version: i64) -> Subscription {
    Subscription { text: text.to_owned(), kind: Kind::Tag, tags: Tags::parse(text).unwrap(), version }
}

fn beat(group: &str, topics: &[(&str, &str, i64)]) -> ConsumerBeat {
    let one = |(topic, text, version): &(&str, &str, i64)| {
        (TopicName::new(topic).expect("a topic"), subscription(text, *version))
    };
    ConsumerBeat {
        group: name(group),
        model: MessageModel::Clustering,
        consume_type: ConsumeType::Passively,
        from: ConsumeFromWhere::LastOffset,
        subscriptions: topics.iter().map(one).collect(),
    }
}

fn told(changes: &Changes) -> Vec<(&str, Vec<u64>)> {
    let conns = |conns: &Vec<ConnId>| conns.iter().map(|conn| conn.0).collect();
    changes.notify.iter().map(|(group, members)| (group.as_str(), conns(members))).collect()
}

#[test]
fn a_join_tells_everybody_and_a_repeated_heartbeat_nobody() {
    let mut clients = Clients::default();
    let changes = clients.on_consumer(ConnId(1), member("a", 0), beat("g", &[("T", "*", 1)]));
    assert_eq!(told(&changes), [("g", vec![1])]);
    let changes = clients.on_consumer(ConnId(2), member("b", 0), beat("g", &[("T", "*", 1)]));
    assert_eq!(told(&changes), [("g", vec![1, 2])], "the one that caused it is told, too");
    let changes = clients.on_consumer(ConnId(1), member("a", 30_000), beat("g", &[("T", "*", 1)]));
    assert_eq!(changes, Changes::default());
}

#[test]
fn topics_coming_and_going_are_told_and_expressions_are_not() {
    let mut clients = Clients::default();
    clients.on_consumer(ConnId(1), member("a", 0), beat("g", &[("T", "A", 5)]));
    let newer = clients.on_consumer(ConnId(1), member("a", 1), beat("g", &[("T", "B", 6)]));
    assert_eq!(newer, Changes::default());
    clients.on_consumer(ConnId(1), member("a", 2), beat("g", &[("T", "C", 6)]));
    let group = clients.consumers("g").unwrap();
    assert_eq!(group.subscriptions["T"].text, "B", "only a greater version replaces");
    let two = [("T", "B", 6), ("U", "*", 1)];
    let changes = clients.on_consumer(ConnId(1), member("a", 3), beat("g", &two));
    assert_eq!(told(&changes), [("g", vec![1])]);
    let changes = clients.on_consumer(ConnId(1), member("a", 4), beat("g", &[("U", "*", 1)]));
    assert_eq!(told(&changes), [("g", vec![1])]);
    assert_eq!(clients.consumers("g").unwrap().subscriptions.len(), 1);
}

#[test]
fn the_newest_heartbeat_says_how_the_group_shares() {
    let mut clients = Clients::default();
    clients.on_consumer(ConnId(1), member("a", 0), beat("g", &[]));
    let other = ConsumerBeat {
        model: MessageModel::Broadcasting,
        consume_type: ConsumeType::Actively,
        from: ConsumeFromWhere::FirstOffset,
        ..beat("g", &[])
    };
    clients.on_consumer(ConnId(2), member("b", 0), other);
    let group = clients.consumers("g").unwrap();
    assert_eq!((group.model, group.consume_type), (MessageModel::Broadcasting, ConsumeType::Actively));
    assert_eq!(group.from, ConsumeFromWhere::FirstOffset);
}

#[test]
fn leaving_is_by_connection_and_tells_the_rest() {
    let mut clients = Clients::default();
    clients.on_consumer(ConnId(1), member("a", 0), beat("g", &[]));
    clients.on_consumer(ConnId(2), member("a", 0), beat("g", &[]));
    assert_eq!(clients.consumers("g").unwrap().client_ids(), ["a"], "one id is listed once");
    assert_eq!(told(&clients.leave_consumer(ConnId(1), "g")), [("g", vec![2])]);
    assert_eq!(clients.leave_consumer(ConnId(1), "g"), Changes::default());
    assert_eq!(told(&clients.leave_consumer(ConnId(2), "g")), [], "nobody is left to be told");
    assert!(clients.consumers("g").is_none());
    assert_eq!((clients.memberships(), clients.next_timer()), (0, None));
}

#[test]
fn silence_ends_a_membership_and_closes_what_is_left_without_one() {
    let mut clients = Clients::default();
    clients.on_consumer(ConnId(1), member("a", 0), beat("stale", &[]));
    clients.on_consumer(ConnId(1), member("a", 100_000), beat("fresh", &[]));
    clients.on_consumer(ConnId(2), member("b", 0), beat("stale", &[]));
    clients.on_producer(ConnId(3), member("c", 100_000), name("p"));
    assert_eq!(clients.next_timer(), Some(SCAN_PERIOD));
    assert_eq!(clients.expire(SILENCE_MAX), Changes::default(), "the limit itself is not beyond it");
    let due = clients.next_timer().unwrap();
    assert_eq!(due, SILENCE_MAX + SCAN_PERIOD);
    let changes = clients.expire(due);
    assert_eq!(changes.close, [ConnId(2)], "connection 1 still lives in another group");
    assert!(clients.consumers("stale").is_none() && clients.consumers("fresh").is_some());
    assert_eq!(clients.producer_conn("c"), Some(ConnId(3)));
}

#[test]
fn a_producer_is_found_by_its_id_until_its_last_group_is_left() {
    let mut clients = Clients::default();
    clients.on_producer(ConnId(1), member("c", 0), name("p"));
    clients.on_producer(ConnId(1), member("c", 0), name("q"));
    clients.on_producer(ConnId(1), member("c", 9), name("q"));
    clients.leave_producer(ConnId(1), "p");
    assert_eq!(clients.producer_conn("c"), Some(ConnId(1)));
    clients.on_producer(ConnId(4), member("c", 9), name("q"));
    assert_eq!(clients.producer_conn("c"), Some(ConnId(4)), "the newest connection answers");
    clients.on_closed(ConnId(4));
    clients.leave_producer(ConnId(1), "q");
    assert_eq!((clients.producer_conn("c"), clients.ids.len()), (None, 0));
}

#[test]
fn different_subscriptions_inside_a_group_are_noticed() {
    let mut clients = Clients::default();
    clients.on_consumer(ConnId(1), member("a", 0), beat("g", &[("T", "A", 1)]));
    clients.on_consumer(ConnId(2), member("b", 0), beat("g", &[("T", "A", 2)]));
    assert!(!clients.consumers("g").unwrap().is_inconsistent(), "a version is no difference");
    clients.on_consumer(ConnId(2), member("b", 1), beat("g", &[("T", "B", 3)]));
    assert!(clients.consumers("g").unwrap().is_inconsistent());
    clients.on_closed(ConnId(2));
    assert!(!clients.consumers("g").unwrap().is_inconsistent());
}

#[test]
fn one_id_on_two_living_connections_is_noticed_and_a_reconnect_is_not() {
    let mut clients = Clients::default();
    clients.on_consumer(ConnId(1), member("a", 0), beat("g", &[]));
    clients.on_consumer(ConnId(1), member("a", 5), beat("g", &[]));
    clients.on_consumer(ConnId(2), member("a", 10), beat("g", &[]));
    clients.on_consumer(ConnId(2), member("a", 40), beat("g", &[]));
    let twins = |clients: &Clients| clients.consumers("g").unwrap().duplicates().len();
    assert_eq!(twins(&clients), 0, "the first connection may be dead and not yet closed");
    clients.on_consumer(ConnId(1), member("a", 45), beat("g", &[]));
    assert_eq!(twins(&clients), 1);
    assert_eq!(clients.consumers("g").unwrap().by_id("a").unwrap().0, ConnId(1), "heard last");
}

#[test]
fn a_connection_joins_a_bounded_number_of_groups() {
    let mut clients = Clients::default();
    let groups: Vec<GroupName> = (0..GROUPS_OF_CONN_MAX).map(|n| name(&format!("g{n}"))).collect();
    assert_eq!(clients.room(ConnId(1), groups.iter(), [].iter()), Ok(()));
    for group in &groups {
        clients.on_producer(ConnId(1), member("a", 0), group.clone());
    }
    assert_eq!(clients.room(ConnId(1), [].iter(), groups.iter()), Ok(()), "known ones cost nothing");
    assert_eq!(clients.room(ConnId(1), [].iter(), [name("more")].iter()), Err(Full::Conn));
    assert_eq!(clients.room(ConnId(2), [].iter(), [name("more")].iter()), Ok(()));
}

/// What a random client does.
#[derive(Debug, Clone)]
enum Act {
    Consume { conn: u64, group: usize, topics: Vec<usize> },
    Produce { conn: u64, group: usize },
    LeaveConsumer { conn: u64, group: usize },
    LeaveProducer { conn: u64, group: usize },
    Close { conn: u64 },
    Pass { ms: i64 },
}

const GROUPS: [&str; 3] = ["g0", "g1", "g2"];
const TOPICS: [&str; 3] = ["T0", "T1", "T2"];

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let conn = || 0u64..5;
    let group = || 0usize..GROUPS.len();
    let topics = proptest::collection::btree_set(0usize..TOPICS.len(), 0..3);
    let act = prop_oneof![
        6 => (conn(), group(), topics).prop_map(|(conn, group, topics)| Act::Consume {
            conn, group, topics: topics.into_iter().collect(),
        }),
        3 => (conn(), group()).prop_map(|(conn, group)| Act::Produce { conn, group }),
        2 => (conn(), group()).prop_map(|(conn, group)| Act::LeaveConsumer { conn, group }),
        2 => (conn(), group()).prop_map(|(conn, group)| Act::LeaveProducer { conn, group }),
        2 => conn().prop_map(|conn| Act::Close { conn }),
        3 => (1i64..90_000).prop_map(|ms| Act::Pass { ms }),
    ];
    proptest::collection::vec(act, 0..60)
}

/// Memberships as flat facts: nothing can be left over where nothing points to anything.
#[derive(Debug, Default)]
struct Model {
    consumers: BTreeMap<(usize, u64), i64>,
    producers: BTreeMap<(usize, u64), i64>,
    topics: BTreeMap<usize, Vec<usize>>,
}

impl Model {
    fn members(&self, group: usize) -> Vec<u64> {
        self.consumers.keys().filter(|(g, _)| *g == group).map(|(_, conn)| *conn).collect()
    }
    /// Whom removing consumers tells: the rest of each group that lost one.
    fn remove(&mut self, gone: &[(usize, u64)]) -> Vec<(String, Vec<u64>)> {
        let mut told = Vec::new();
        for (group, conn) in gone {
            if self.consumers.remove(&(*group, *conn)).is_some() && !self.members(*group).is_empty() {
                told.push((GROUPS[*group].to_owned(), self.members(*group)));
            }
        }
        let left: BTreeSet<usize> = self.consumers.keys().map(|(group, _)| *group).collect();
        self.topics.retain(|group, _| left.contains(group));
        told
    }
    fn alive(&self, conn: u64) -> bool {
        self.consumers.keys().chain(self.producers.keys()).any(|(_, other)| *other == conn)
    }
}

fn owned(changes: &Changes) -> Vec<(String, Vec<u64>)> {
    told(changes).into_iter().map(|(group, conns)| (group.to_owned(), conns)).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// The registry and the model agree on members, on whom to tell and on what to close, after every step;
    /// and after everybody left nothing is left.
    #[test]
    fn the_registry_does_what_the_model_does(acts in acts()) {
        let mut clients = Clients::default();
        let mut model = Model::default();
        let mut now = 0;
        for act in acts {
            match act {
                Act::Consume { conn, group, topics } => {
                    let wanted: Vec<_> = topics.iter().map(|at| (TOPICS[*at], "*", 1)).collect();
                    let id = format!("c{conn}");
                    let changes =
                        clients.on_consumer(ConnId(conn), member(&id, now), beat(GROUPS[group], &wanted));
                    let joined = model.consumers.insert((group, conn), now).is_none();
                    let differ = model.topics.insert(group, topics.clone()).unwrap_or_default() != topics;
                    let expected = if joined || differ {
                        vec![(GROUPS[group].to_owned(), model.members(group))]
                    } else {
                        vec![]
                    };
                    prop_assert_eq!(owned(&changes), expected);
                }
                Act::Produce { conn, group } => {
                    clients.on_producer(ConnId(conn), member(&format!("c{conn}"), now), name(GROUPS[group]));
                    model.producers.insert((group, conn), now);
                }
                Act::LeaveConsumer { conn, group } => {
                    let changes = clients.leave_consumer(ConnId(conn), GROUPS[group]);
                    prop_assert_eq!(owned(&changes), model.remove(&[(group, conn)]));
                }
                Act::LeaveProducer { conn, group } => {
                    clients.leave_producer(ConnId(conn), GROUPS[group]);
                    model.producers.remove(&(group, conn));
                }
                Act::Close { conn } => {
                    let changes = clients.on_closed(ConnId(conn));
                    let all: Vec<_> = (0..GROUPS.len()).map(|group| (group, conn)).collect();
                    prop_assert_eq!(owned(&changes), model.remove(&all));
                    model.producers.retain(|(_, other), _| *other != conn);
                }
                Act::Pass { ms } => {
                    now += ms;
                    let due = clients.next_timer();
                    let changes = clients.expire(Millis(now));
                    if due.is_none_or(|due| due > Millis(now)) {
                        prop_assert_eq!(&changes, &Changes::default());
                        continue;
                    }
                    let silent = |last: &i64| now - last > SILENCE_MAX.0;
                    let gone: Vec<_> =
                        model.consumers.iter().filter(|(_, last)| silent(last)).map(|(key, _)| *key).collect();
                    let mut suspects: BTreeSet<u64> = gone.iter().map(|(_, conn)| *conn).collect();
                    suspects.extend(
                        model.producers.iter().filter(|(_, last)| silent(last)).map(|((_, conn), _)| *conn),
                    );
                    prop_assert_eq!(owned(&changes), model.remove(&gone));
                    model.producers.retain(|_, last| !silent(last));
                    let close: Vec<u64> = suspects.into_iter().filter(|conn| !model.alive(*conn)).collect();
                    let closed: Vec<u64> = changes.close.iter().map(|conn| conn.0).collect();
                    prop_assert_eq!(closed, close);
                }
            }
            for (at, group) in GROUPS.iter().enumerate() {
                let known: Vec<u64> =
                    clients.consumers(group).iter().flat_map(|g| g.members.keys()).map(|conn| conn.0).collect();
                prop_assert_eq!(known, model.members(at));
            }
            prop_assert_eq!(clients.memberships(), model.consumers.len() + model.producers.len());
            prop_assert_eq!(clients.next_timer().is_some(), clients.memberships() > 0);
        }
        for conn in 0..5 {
            clients.on_closed(ConnId(conn));
        }
        prop_assert!(clients.consumers.is_empty() && clients.producers.is_empty());
        prop_assert!(clients.conns.is_empty() && clients.ids.is_empty());
        prop_assert_eq!((clients.memberships, clients.next_scan), (0, None));
    }
}
