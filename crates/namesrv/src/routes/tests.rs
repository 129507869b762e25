//! One rule per test, as lists of events.

use super::*;

pub(super) fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

pub(super) fn address(text: &str) -> Address {
    Address::new(text).unwrap()
}

pub(super) const NORMAL: Queues = Queues { read: 4, write: 4, perm: 6, flags: 0 };

/// A registration in cluster C; `version` is the counter.
fn reg(conn: u64, broker: &str, id: i64, at: &str, version: i64, topics: &[&str]) -> Registration {
    Registration {
        conn: ConnId(conn),
        cluster: name("C"),
        broker: name(broker),
        id,
        address: address(at),
        ha_address: Some(address(&format!("{at}2"))),
        epoch: None,
        version: Version { counter: version, ..Version::default() },
        topics: topics.iter().map(|topic| (name(topic), NORMAL)).collect(),
        filters: Vec::new(),
    }
}

fn with_epoch(mut reg: Registration, epoch: u64) -> Registration {
    reg.epoch = Some(epoch);
    reg
}

/// The route as text: `broker[id=address …]`, or `-`.
fn route(routes: &Routes, topic: &str) -> String {
    let Some(route) = routes.route(topic) else { return "-".into() };
    let member = |(id, address): (&i64, &Address)| format!("{id}={address}");
    let group = |group: &GroupView<'_>| {
        format!("{}[{}]", group.broker, group.members.iter().map(member).collect::<Vec<_>>().join(" "))
    };
    route.groups.iter().map(group).collect::<Vec<_>>().join(" ")
}

const T0: Millis = Millis(0);

fn registered(routes: &mut Routes, reg: Registration) -> Registered {
    routes.register(T0, reg).unwrap()
}

#[test]
fn a_route_lists_groups_and_members_sorted_whatever_the_order_of_arrival() {
    let mut routes = Routes::default();
    registered(&mut routes, reg(1, "b-c", 0, "h:3", 1, &["T"]));
    registered(&mut routes, reg(2, "b-a", 2, "h:12", 1, &["T"]));
    registered(&mut routes, reg(3, "b-a", 0, "h:1", 1, &["T"]));
    registered(&mut routes, reg(4, "b-a", 1, "h:11", 1, &["T"]));
    assert_eq!(route(&routes, "T"), "b-a[0=h:1 1=h:11 2=h:12] b-c[0=h:3]");
}

#[test]
fn topics_of_slaves_and_of_unchanged_versions_are_ignored() {
    let mut routes = Routes::default();
    assert!(registered(&mut routes, reg(1, "b", 1, "h:2", 1, &["T"])).changed);
    assert_eq!(route(&routes, "T"), "-");
    assert!(registered(&mut routes, reg(2, "b", 0, "h:1", 1, &["T"])).changed);
    assert!(!registered(&mut routes, reg(2, "b", 0, "h:1", 1, &["T", "U"])).changed);
    assert_eq!(route(&routes, "U"), "-");
    assert!(registered(&mut routes, reg(2, "b", 0, "h:1", 2, &["T", "U"])).changed);
    assert_eq!(route(&routes, "U"), "b[0=h:1 1=h:2]");
}

#[test]
fn topics_missing_from_a_later_registration_stay() {
    let mut routes = Routes::default();
    registered(&mut routes, reg(1, "b", 0, "h:1", 1, &["T", "U"]));
    registered(&mut routes, reg(1, "b", 0, "h:1", 2, &["U"]));
    assert_eq!(route(&routes, "T"), "b[0=h:1]");
}

#[test]
fn a_slave_learns_the_master_and_its_ha_address() {
    let mut routes = Routes::default();
    assert_eq!(registered(&mut routes, reg(1, "b", 1, "h:2", 1, &[])).master, None);
    assert_eq!(registered(&mut routes, reg(2, "b", 0, "h:1", 1, &[])).master, None);
    let master = Some((address("h:1"), Some(address("h:12"))));
    assert_eq!(registered(&mut routes, reg(1, "b", 1, "h:2", 1, &[])).master, master);
}

#[test]
fn a_change_of_role_leaves_one_place_per_address_and_keeps_the_topics() {
    let mut routes = Routes::default();
    registered(&mut routes, reg(1, "b", 0, "h:1", 1, &["T"]));
    let alarms = registered(&mut routes, reg(1, "b", 1, "h:1", 1, &["T"])).alarms;
    assert_eq!((route(&routes, "T"), alarms), ("b[1=h:1]".into(), vec![]));
}

#[test]
fn a_slave_that_becomes_master_brings_its_topics_with_an_old_version() {
    let mut routes = Routes::default();
    registered(&mut routes, reg(1, "b", 1, "h:1", 1, &["T"]));
    registered(&mut routes, reg(1, "b", 0, "h:1", 1, &["T"]));
    assert_eq!(route(&routes, "T"), "b[0=h:1]");
}

#[test]
fn silence_of_120_s_drops_and_a_registration_or_an_unchanged_question_prevents_it() {
    let mut routes = Routes::default();
    registered(&mut routes, reg(1, "a", 0, "h:1", 1, &["T"]));
    registered(&mut routes, reg(2, "b", 0, "h:2", 1, &["T"]));
    registered(&mut routes, reg(3, "c", 0, "h:3", 1, &["T"]));
    let v = |counter| Version { counter, ..Version::default() };
    routes.register(Millis(60_000), reg(1, "a", 0, "h:1", 1, &[])).unwrap();
    assert!(!routes.query_version(Millis(60_000), ConnId(2), "h:2", v(1)));
    assert!(routes.query_version(Millis(60_000), ConnId(3), "h:3", v(2)), "a changed one does not count");
    assert_eq!(routes.expire(Millis(120_000)), []);
    let dropped: Vec<_> = routes.expire(Millis(120_001)).into_iter().map(|d| d.address).collect();
    assert_eq!(dropped, [address("h:3")]);
    assert_eq!(route(&routes, "T"), "a[0=h:1] b[0=h:2]");
    assert_eq!(routes.expire(Millis(180_001)).len(), 2);
    assert_eq!((route(&routes, "T"), routes.topics().len(), routes.has_brokers()), ("-".into(), 0, false));
}

#[test]
fn a_closed_connection_drops_its_brokers_at_once() {
    let mut routes = Routes::default();
    registered(&mut routes, reg(1, "a", 0, "h:1", 1, &["T"]));
    registered(&mut routes, reg(2, "a", 1, "h:2", 1, &[]));
    let dropped = routes.closed(ConnId(1));
    assert_eq!(dropped.len(), 1);
    // The group lives in its slave, and with it the topic.
    assert_eq!(route(&routes, "T"), "a[1=h:2]");
    routes.closed(ConnId(2));
    assert_eq!(route(&routes, "T"), "-");
    assert!(routes.connections.is_empty() && routes.addresses.is_empty());
}

#[test]
fn the_end_of_an_old_connection_never_wipes_a_fresh_registration() {
    let mut routes = Routes::default();
    registered(&mut routes, reg(1, "a", 0, "h:1", 1, &["T"]));
    // The broker came back over connection 2 before the end of connection 1 was seen.
    registered(&mut routes, reg(2, "a", 0, "h:1", 1, &["T"]));
    assert!(!routes.unregister(ConnId(1), "a", 0, "h:1"));
    assert_eq!(routes.closed(ConnId(1)), []);
    assert_eq!(route(&routes, "T"), "a[0=h:1]");
    assert!(!routes.unregister(ConnId(2), "a", 1, "h:1"), "another number");
    assert!(!routes.unregister(ConnId(2), "b", 0, "h:1"), "another group");
    assert!(routes.unregister(ConnId(2), "a", 0, "h:1"));
    assert_eq!(route(&routes, "T"), "-");
}

#[test]
fn a_registration_delayed_on_an_old_connection_changes_nothing() {
    let mut routes = Routes::default();
    registered(&mut routes, reg(1, "a", 0, "h:1", 1, &["T"]));
    registered(&mut routes, reg(2, "a", 0, "h:1", 5, &["T"]));
    let late = registered(&mut routes, reg(1, "a", 0, "h:1", 4, &["GONE"]));
    assert!(late.stale && !late.changed);
    assert_eq!((route(&routes, "GONE"), routes.version("h:1").unwrap().counter), ("-".into(), 5));
    assert_eq!(routes.closed(ConnId(1)), []);
    // On the fresh connection any other version counts, even a lower one: a restored configuration.
    assert!(registered(&mut routes, reg(2, "a", 0, "h:1", 3, &["BACK"])).changed);
    assert_eq!(route(&routes, "BACK"), "a[0=h:1]");
}

#[test]
fn two_masters_of_one_name_are_alarmed_and_the_later_one_wins() {
    let mut routes = Routes::default();
    registered(&mut routes, reg(1, "a", 0, "h:1", 1, &["T"]));
    let second = registered(&mut routes, reg(2, "a", 0, "h:9", 1, &["T"]));
    let twins = Alarm::Twins { broker: name("a"), id: 0, old: address("h:1"), new: address("h:9") };
    assert_eq!(second.alarms, [twins]);
    assert_eq!(route(&routes, "T"), "a[0=h:9]");
    // What is left of the first one has no effect.
    assert_eq!(routes.closed(ConnId(1)), []);
    assert_eq!(route(&routes, "T"), "a[0=h:9]");
    // Once a broker is gone, another one at its place is ordinary.
    routes.closed(ConnId(2));
    assert_eq!(registered(&mut routes, reg(3, "a", 0, "h:1", 1, &["T"])).alarms, []);
}

#[test]
fn a_lower_epoch_is_refused_even_after_the_group_is_gone() {
    let mut routes = Routes::default();
    registered(&mut routes, with_epoch(reg(1, "a", 0, "h:1", 1, &["T"]), 4));
    // Leadership changes: no alarm, the old master is out.
    assert_eq!(registered(&mut routes, with_epoch(reg(2, "a", 0, "h:2", 1, &["T"]), 5)).alarms, []);
    assert_eq!(route(&routes, "T"), "a[0=h:2]");
    let old = routes.register(T0, with_epoch(reg(3, "a", 0, "h:1", 9, &["T"]), 4));
    assert_eq!(old, Err(Refusal::OldEpoch { sent: 4, known: 5 }));
    routes.closed(ConnId(2));
    let old = routes.register(T0, with_epoch(reg(3, "a", 0, "h:1", 9, &["T"]), 4));
    assert_eq!(old, Err(Refusal::OldEpoch { sent: 4, known: 5 }));
    routes.expire(FENCE_KEPT + Millis(1));
    assert!(routes.register(T0, with_epoch(reg(3, "a", 0, "h:1", 9, &["T"]), 4)).is_ok());
}

#[test]
fn a_master_without_a_newer_epoch_does_not_replace_one_that_has_an_epoch() {
    let mut routes = Routes::default();
    registered(&mut routes, with_epoch(reg(1, "a", 0, "h:1", 1, &["T"]), 4));
    let in_place = Err(Refusal::MasterInPlace { master: address("h:1"), epoch: 4 });
    assert_eq!(routes.register(T0, reg(2, "a", 0, "h:2", 1, &[])), in_place);
    assert_eq!(routes.register(T0, with_epoch(reg(2, "a", 0, "h:2", 1, &[]), 4)), in_place);
    assert!(routes.register(T0, reg(2, "a", 1, "h:2", 1, &[])).is_ok(), "a slave of the original may join");
    assert_eq!(route(&routes, "T"), "a[0=h:1 1=h:2]");
}

#[test]
fn an_address_belongs_to_one_group() {
    let mut routes = Routes::default();
    registered(&mut routes, reg(1, "a", 0, "h:1", 1, &["T"]));
    let renamed = registered(&mut routes, reg(2, "b", 0, "h:1", 1, &["T"]));
    assert_eq!(
        renamed.alarms,
        [Alarm::OtherGroup { address: address("h:1"), old: name("a"), new: name("b") }]
    );
    assert_eq!(route(&routes, "T"), "b[0=h:1]");
    assert_eq!(routes.groups().count(), 1);
}

#[test]
fn a_group_in_two_clusters_is_alarmed() {
    let mut routes = Routes::default();
    registered(&mut routes, reg(1, "a", 0, "h:1", 1, &["T"]));
    let mut other = reg(2, "a", 1, "h:2", 1, &[]);
    other.cluster = name("D");
    let alarms = registered(&mut routes, other).alarms;
    assert_eq!(alarms, [Alarm::OtherCluster { broker: name("a"), old: name("C"), new: name("D") }]);
    assert_eq!(routes.clusters().keys().map(|c| c.as_str()).collect::<Vec<_>>(), ["D"]);
}

#[test]
fn write_permission_is_taken_and_given_back_as_in_the_original() {
    let mut routes = Routes::default();
    let mut first = reg(1, "a", 0, "h:1", 1, &["T"]);
    first.topics.push((name("TBW102"), Queues { perm: 7, ..NORMAL }));
    registered(&mut routes, first);
    registered(&mut routes, reg(2, "b", 0, "h:2", 1, &["T"]));
    let perm = |routes: &Routes, topic: &str, broker: &str| routes.route(topic).unwrap().queues[broker].perm;
    assert!(routes.inherits("TBW102"));
    assert_eq!(routes.wipe_write("a"), 2);
    assert_eq!([perm(&routes, "T", "a"), perm(&routes, "TBW102", "a"), perm(&routes, "T", "b")], [4, 5, 6]);
    // The same version does not bring it back, another one does.
    registered(&mut routes, reg(1, "a", 0, "h:1", 1, &["T"]));
    assert_eq!(perm(&routes, "T", "a"), 4);
    assert_eq!(routes.add_write("a"), 2);
    assert_eq!([perm(&routes, "T", "a"), perm(&routes, "TBW102", "a")], [6, 6]);
    assert!(!routes.inherits("TBW102"));
    routes.wipe_write("a");
    registered(&mut routes, reg(1, "a", 0, "h:1", 2, &["T"]));
    assert_eq!(perm(&routes, "T", "a"), 6);
    assert_eq!((routes.wipe_write("none"), routes.add_write("none")), (0, 0));
}

#[test]
fn a_topic_is_deleted_everywhere_or_in_one_cluster() {
    let mut routes = Routes::default();
    registered(&mut routes, reg(1, "a", 0, "h:1", 1, &["T", "U"]));
    let mut other = reg(2, "b", 0, "h:2", 1, &["T", "U"]);
    other.cluster = name("D");
    registered(&mut routes, other);
    assert!(!routes.delete_topic("T", Some("E")));
    assert!(routes.delete_topic("T", Some("D")));
    assert_eq!(route(&routes, "T"), "a[0=h:1]");
    assert!(routes.delete_topic("U", None) && !routes.delete_topic("U", None));
    assert_eq!(route(&routes, "U"), "-");
    assert_eq!((routes.wipe_write("a"), routes.wipe_write("b")), (1, 0));
    // A broker that still has it brings it back with its next version.
    registered(&mut routes, reg(1, "a", 0, "h:1", 2, &["T", "U"]));
    assert_eq!(route(&routes, "U"), "a[0=h:1]");
}

#[test]
fn lists_by_cluster_and_by_flags() {
    let mut routes = Routes::default();
    let mut first = reg(1, "a", 0, "h:1", 1, &["z", "m"]);
    for (topic, flags) in [("unit", 1), ("sub", 2), ("both", 3)] {
        first.topics.push((name(topic), Queues { flags, ..NORMAL }));
    }
    registered(&mut routes, first);
    let text = |names: Vec<&Name>| names.iter().map(|n| n.as_str().to_owned()).collect::<Vec<_>>().join(" ");
    assert_eq!(text(routes.topics().collect()), "both m sub unit z");
    assert_eq!(text(routes.topics_of_cluster("C").into_iter().collect()), "both m sub unit z");
    assert_eq!(text(routes.topics_of_cluster("D").into_iter().collect()), "");
    assert_eq!(text(routes.topics_with_flags(|f| f & FLAG_UNIT != 0).collect()), "both unit");
    assert_eq!(text(routes.topics_with_flags(|f| f & 3 == FLAG_UNIT_SUB).collect()), "sub");
}

#[test]
fn an_answer_is_encoded_once_per_change() {
    let mut routes = Routes::default();
    registered(&mut routes, reg(1, "a", 0, "h:1", 1, &["T"]));
    let mut encoded = 0;
    let mut ask = |routes: &mut Routes| {
        let answer = routes.answer("T", |route| {
            encoded += 1;
            route.groups.len().to_string().into_bytes()
        });
        (encoded, String::from_utf8(answer.unwrap().to_vec()).unwrap())
    };
    assert_eq!(ask(&mut routes), (1, "1".into()));
    registered(&mut routes, reg(1, "a", 0, "h:1", 1, &["T"]));
    assert_eq!(ask(&mut routes), (1, "1".into()), "nothing new, nothing encoded");
    registered(&mut routes, reg(2, "b", 0, "h:2", 1, &["T"]));
    assert_eq!(ask(&mut routes), (2, "2".into()));
    routes.closed(ConnId(2));
    assert_eq!(ask(&mut routes), (3, "1".into()));
    routes.wipe_write("a");
    assert_eq!(ask(&mut routes).0, 4);
    routes.forget_answers();
    assert_eq!(ask(&mut routes).0, 5);
}

#[test]
fn a_full_table_refuses_before_it_changes() {
    let mut routes = Routes::new(Limits { members: 1, topics: 2, queue_datas: 2 });
    let full = |what, max| Err(Refusal::Full { what, max });
    assert_eq!(routes.register(T0, reg(1, "a", 0, "h:1", 1, &["1", "2", "3"])), full("topics", 2));
    assert!(!routes.has_brokers());
    registered(&mut routes, reg(1, "a", 0, "h:1", 1, &["1", "2"]));
    assert_eq!(routes.register(T0, reg(2, "b", 0, "h:2", 1, &[])), full("brokers", 1));
    registered(&mut routes, reg(1, "a", 0, "h:1", 2, &["1", "2", "1"]));
    assert_eq!(routes.queue_datas, 2);
}

#[test]
fn a_topic_can_be_added_to_living_groups_only() {
    let mut routes = Routes::default();
    registered(&mut routes, reg(1, "a", 0, "h:1", 1, &[]));
    let parts = [(name("a"), NORMAL), (name("none"), NORMAL)];
    assert_eq!(routes.add_topic(&name("T"), &parts), Ok(1));
    assert_eq!(route(&routes, "T"), "a[0=h:1]");
    assert_eq!(routes.add_topic(&name("U"), &parts[1..]), Ok(0));
    assert_eq!(route(&routes, "U"), "-");
}
