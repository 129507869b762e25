//! Which address of this machine others are told.
//!
//! The commonest trouble of operators is a broker that advertises an address its clients cannot reach. So the
//! choice is made by a rule, named in the log with every candidate, and overruled by `brokerIP1`.

use std::net::IpAddr;

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

fn rank(candidate: &Candidate) -> u8 {
    let bridge = ["docker", "br-", "virbr", "veth", "cni", "flannel", "podman"];
    let link_local = match candidate.ip {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    };
    match candidate.ip {
        ip if ip.is_loopback() => 4,
        _ if link_local => 3,
        _ if bridge.iter().any(|prefix| candidate.interface.starts_with(prefix)) => 2,
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

    fn choice(found: &[(&str, &str)]) -> String {
        let candidates: Vec<_> = found
            .iter()
            .map(|(interface, ip)| Candidate { interface: (*interface).into(), ip: ip.parse().unwrap() })
            .collect();
        choose(&candidates).unwrap().ip.to_string()
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
