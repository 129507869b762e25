//! Lists of networks in CIDR form, for keys which say who may ask for something.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::kinds::Kind;
use crate::text::shown;

/// One network: an address and how many of its leading bits count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Network {
    address: IpAddr,
    prefix: u8,
}

impl Network {
    /// Whether `peer` is in this network. An IPv4 peer seen through an IPv6 socket counts as the IPv4 peer it is.
    pub fn contains(&self, peer: IpAddr) -> bool {
        match (self.address, peer.to_canonical()) {
            (IpAddr::V4(own), IpAddr::V4(peer)) => {
                let mask = u32::MAX.checked_shl(32 - u32::from(self.prefix)).unwrap_or(0);
                u32::from(own) & mask == u32::from(peer) & mask
            }
            (IpAddr::V6(own), IpAddr::V6(peer)) => {
                let mask = u128::MAX.checked_shl(128 - u32::from(self.prefix)).unwrap_or(0);
                u128::from(own) & mask == u128::from(peer) & mask
            }
            _ => false,
        }
    }
}

impl std::fmt::Display for Network {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "{}/{}", self.address, self.prefix)
    }
}

impl std::str::FromStr for Network {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wanted =
            || format!("networks like `10.0.0.0/8;fd00::/8`, separated by `;`; `{}` is none", shown(text));
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let address: IpAddr = address.trim().parse().map_err(|_| wanted())?;
        let bits: u8 = if address.is_ipv4() { 32 } else { 128 };
        let prefix = match prefix {
            None => bits,
            Some(prefix) => prefix.trim().parse().ok().filter(|prefix| *prefix <= bits).ok_or_else(wanted)?,
        };
        Ok(Network { address, prefix })
    }
}

/// Several networks, `;` or `,` separated; an empty list holds nobody.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Networks(pub Vec<Network>);

impl Networks {
    /// Loopback, the private and the link-local ranges of IPv4 and IPv6.
    pub fn local() -> Networks {
        let v4 = |a, b, prefix| Network { address: IpAddr::V4(Ipv4Addr::new(a, b, 0, 0)), prefix };
        let v6 =
            |first, prefix| Network { address: Ipv6Addr::new(first, 0, 0, 0, 0, 0, 0, 0).into(), prefix };
        Networks(vec![
            v4(127, 0, 8),
            v4(10, 0, 8),
            v4(172, 16, 12),
            v4(192, 168, 16),
            v4(169, 254, 16),
            Network { address: Ipv6Addr::LOCALHOST.into(), prefix: 128 },
            v6(0xfc00, 7),
            v6(0xfe80, 10),
        ])
    }

    /// Whether `peer` is in one of them.
    pub fn contains(&self, peer: IpAddr) -> bool {
        self.0.iter().any(|network| network.contains(peer))
    }
}

impl Kind for Networks {
    const NAME: &'static str = "network;network";

    fn parse(text: &str) -> Result<Self, String> {
        let pieces = text.split([';', ',']).map(str::trim).filter(|piece| !piece.is_empty());
        pieces.map(str::parse).collect::<Result<Vec<_>, _>>().map(Networks)
    }

    fn print(&self) -> String {
        self.0.iter().map(Network::to_string).collect::<Vec<_>>().join(";")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(list: &str, peer: &str, expected: bool) {
        let networks = Networks::parse(list).expect("networks");
        assert_eq!(networks.contains(peer.parse().expect("address")), expected, "{peer} in {list}");
    }

    #[test]
    fn membership_at_the_edges() {
        check("10.0.0.0/8", "10.255.255.255", true);
        check("10.0.0.0/8", "11.0.0.0", false);
        check("10.1.2.3", "10.1.2.3", true);
        check("10.1.2.3", "10.1.2.4", false);
        check("0.0.0.0/0", "203.0.113.9", true);
        check("0.0.0.0/0", "2001:db8::1", false);
        check("::/0", "2001:db8::1", true);
        check("127.0.0.0/8", "::ffff:127.0.0.1", true);
        check("", "127.0.0.1", false);
    }

    #[test]
    fn local_holds_private_peers_only() {
        let local = Networks::local();
        for peer in ["127.0.0.1", "::1", "10.9.8.7", "172.31.0.1", "192.168.1.1", "fd12::1", "fe80::1"] {
            assert!(local.contains(peer.parse().expect("address")), "{peer}");
        }
        for peer in ["8.8.8.8", "172.32.0.1", "2001:db8::1", "192.169.0.1"] {
            assert!(!local.contains(peer.parse().expect("address")), "{peer}");
        }
    }

    #[test]
    fn refuses_what_is_no_network() {
        for text in ["10.0.0.0/33", "::/129", "localhost", "10.0.0/8", "10.0.0.0/-1", "10.0.0.0/8 10.0.0.1"] {
            let wanted = Networks::parse(text).expect_err(text);
            assert!(wanted.contains("networks like"), "{wanted}");
        }
    }
}
