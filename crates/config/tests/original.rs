//! Our listings against those captured from the original; `tests/data/README.md` says how.

use std::collections::BTreeSet;

use kerolox_config::{Loaded, Machine, Role, Sources, load, print_all, print_important};

const BROKER_ALL: &str = include_str!("data/original-4.9.7-mqbroker-p.txt");
const BROKER_IMPORTANT: &str = include_str!("data/original-4.9.7-mqbroker-m.txt");
const NAMESRV_ALL: &str = include_str!("data/original-4.9.7-mqnamesrv-p.txt");

/// The machine on which the listings were captured.
fn same_machine(role: Role) -> Loaded {
    let env = |name: &str| match name {
        "HOME" => Some("/home/user".to_owned()),
        "ROCKETMQ_HOME" => Some("/tmp/rocketmq".to_owned()),
        _ => None,
    };
    let machine =
        Machine { host_name: Some("vm".to_owned()), address: Some("192.0.2.2".to_owned()), processors: 2 };
    load(&Sources { role, file: None, namesrv_addr: None, words: &[], env: &env, machine }).expect("defaults")
}

/// The lines of the original, each once (it prints the keys that Netty's server and client share twice).
fn first_of_each(listing: &str) -> Vec<&str> {
    let mut seen = BTreeSet::new();
    listing.lines().filter(|line| seen.insert(*line)).collect()
}

/// Our lines for the keys the original has, in our order.
fn ours_among<'a>(ours: &'a str, theirs: &[&str]) -> Vec<&'a str> {
    let keys: BTreeSet<_> =
        theirs.iter().filter_map(|line| line.split_once('=')).map(|(key, _)| key).collect();
    ours.lines().filter(|line| line.split_once('=').is_some_and(|(key, _)| keys.contains(key))).collect()
}

#[test]
fn the_broker_lists_every_key_of_the_original_with_its_value_in_its_order() {
    let theirs = first_of_each(BROKER_ALL);
    assert_eq!(theirs.len(), 184);
    assert_eq!(ours_among(&print_all(&same_machine(Role::Broker)), &theirs), theirs);
}

#[test]
fn the_broker_finds_the_same_keys_important() {
    let theirs = first_of_each(BROKER_IMPORTANT);
    assert_eq!(print_important(&same_machine(Role::Broker)).lines().collect::<Vec<_>>(), theirs);
}

#[test]
fn the_name_server_lists_every_key_of_the_original_with_its_value_in_its_order() {
    let theirs = first_of_each(NAMESRV_ALL);
    assert_eq!(theirs.len(), 20);
    assert_eq!(ours_among(&print_all(&same_machine(Role::Namesrv)), &theirs), theirs);
}
