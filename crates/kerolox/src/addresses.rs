//! Which address of this machine others are told.
//!
//! The commonest trouble of operators is a broker that advertises an address its clients cannot reach. So the
//! choice is made by a rule, named in the log with every candidate, and overruled by `brokerIP1`. A name there is
//! looked up once, at the start.

use anyhow::{Context, Result};
use std::net::{IpAddr, Ipv4Addr, ToSocketAddrs};

/// An address of this machine and the interface that has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// Interface name, as `eth0`.
    pub interface: String,
    /// Its address.
    pub ip: IpAddr,
}

/// Addresses of this machine, in the system's order.
pub fn candidates() -> Vec<Candidate> {
    let found = if_addrs::get_if_addrs().unwrap_or_default();
    found.into_iter().map(|found| Candidate { ip: found.ip(), interface: found.name }).collect()
}

/// The address to advertise: the first ordinary IPv4 address, then an IPv6 one, then that of a container
/// bridge, then loopback. C++ clients cannot read messages with IPv6 hosts, so IPv4 goes first.
pub fn choose(candidates: &[Candidate]) -> Option<&Candidate> {
    candidates.iter().min_by_key(|candidate| rank(candidate))
}

/// The address that `brokerIP1` means: itself, or what the name stands for, IPv4 before IPv6. Loopback where nobody
/// wrote one and the machine has none. Asks the system's resolver, which may take its time.
pub fn resolve(told: &str) -> Result<IpAddr> {
    let told = told.trim();
    if told.is_empty() {
        return Ok(IpAddr::V4(Ipv4Addr::LOCALHOST));
    }
    if let Ok(ip) = told.parse() {
        return Ok(ip);
    }
    let hint = || {
        format!(
            "brokerIP1={told}: the name stands for no address; write an address as 10.0.0.7, or leave the key away to have one chosen"
        )
    };
    let found = (told, 0).to_socket_addrs().with_context(hint)?;
    let usable = found.map(|found| found.ip()).filter(|ip| !ip.is_unspecified());
    usable.min_by_key(IpAddr::is_ipv6).with_context(hint)
}

/// Why clients on other machines may not reach `ip`, if that is to be feared.
pub fn trouble(ip: IpAddr, candidates: &[Candidate]) -> Option<&'static str> {
    if ip.is_loopback() {
        return Some("only clients on this machine can reach it");
    }
    let found = candidates.iter().find(|candidate| candidate.ip == ip)?;
    is_bridge(found).then_some("it is a container bridge's, which other machines cannot reach")
}

fn is_bridge(candidate: &Candidate) -> bool {
    let bridge = ["docker", "br-", "virbr", "veth", "cni", "flannel", "podman"];
    bridge.iter().any(|prefix| candidate.interface.starts_with(prefix))
}

fn rank(candidate: &Candidate) -> u8 {
    let link_local = match candidate.ip {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    };
    match candidate.ip {
        ip if ip.is_loopback() => 4,
        _ if link_local => 3,
        _ if is_bridge(candidate) => 2,
        IpAddr::V6(_) => 1,
        IpAddr::V4(_) => 0,
    }
}

/// The candidates as one line of a log.
pub fn list(candidates: &[Candidate]) -> String {
    let each = candidates.iter().map(|candidate| format!("{} ({})", candidate.ip, candidate.interface));
    each.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(found: &[(&str, &str)]) -> Vec<Candidate> {
        let each = found.iter();
        each.map(|(interface, ip)| Candidate { interface: (*interface).into(), ip: ip.parse().unwrap() })
            .collect()
    }

    fn choice(found: &[(&str, &str)]) -> String {
        choose(&of(found)).unwrap().ip.to_string()
    }

    #[test]
    fn names_are_looked_up_and_what_is_none_is_an_error() {
        assert_eq!(resolve(" 10.0.0.7 ").unwrap().to_string(), "10.0.0.7");
        assert_eq!(resolve("2001:db8::1").unwrap().to_string(), "2001:db8::1");
        assert!(resolve("localhost").unwrap().is_loopback());
        assert_eq!(resolve("").unwrap().to_string(), "127.0.0.1");
        // A name that no resolver may know (RFC 6761).
        let why = resolve("nonsense.invalid").unwrap_err().to_string();
        assert!(why.contains("brokerIP1=nonsense.invalid") && why.contains("leave the key away"), "{why}");
    }

    #[test]
    fn addresses_that_others_cannot_reach_are_told_apart() {
        let found = of(&[("lo", "127.0.0.1"), ("docker0", "172.17.0.1"), ("eth0", "10.0.0.7")]);
        let trouble = |ip: &str| trouble(ip.parse().unwrap(), &found);
        assert!(trouble("127.0.0.1").unwrap().contains("this machine"));
        assert!(trouble("::1").unwrap().contains("this machine"));
        assert!(trouble("172.17.0.1").unwrap().contains("container bridge"));
        assert_eq!(trouble("10.0.0.7"), None);
        assert_eq!(trouble("203.0.113.9"), None, "a translated address is the operator's business");
    }

    #[test]
    fn a_container_bridge_is_never_chosen_over_a_real_interface() {
        let found =
            [("lo", "127.0.0.1"), ("docker0", "172.17.0.1"), ("eth0", "fe80::1"), ("eth0", "10.0.0.7")];
        assert_eq!(choice(&found), "10.0.0.7");
        assert_eq!(choice(&found[..2]), "172.17.0.1");
        assert_eq!(choice(&[("lo", "127.0.0.1"), ("eth0", "2001:db8::1")]), "2001:db8::1");
        assert_eq!(choice(&found[..1]), "127.0.0.1");
    }
}
