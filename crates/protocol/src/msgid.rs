//! The offset message id: where a message lies, as text that clients hand back.
//!
//! Upper-case hex of the broker's address (4 or 16 bytes), its port (i32) and the commit-log offset (i64): 32
//! or 56 characters. Reference: `MessageDecoder.createMessageId`.

use crate::ids::LogOffset;
use std::net::{IpAddr, SocketAddr};

/// Characters of an id with an IPv4 address.
pub const CHARS_V4: usize = 32;
/// Characters of an id with an IPv6 address.
pub const CHARS_V6: usize = 56;

const HEX: &[u8; 16] = b"0123456789ABCDEF";

/// An id, ready to be written; lives on the stack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MessageId {
    chars: [u8; CHARS_V6],
    len: usize,
}

impl MessageId {
    /// The id of the message at that place of that broker's log.
    pub fn new(host: SocketAddr, at: LogOffset) -> Self {
        let mut id = MessageId { chars: [0; CHARS_V6], len: 0 };
        match host.ip() {
            IpAddr::V4(ip) => id.push(&ip.octets()),
            IpAddr::V6(ip) => id.push(&ip.octets()),
        }
        id.push(&u32::from(host.port()).to_be_bytes());
        id.push(&at.0.to_be_bytes());
        id
    }

    fn push(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.chars[self.len] = HEX[usize::from(byte >> 4)];
            self.chars[self.len + 1] = HEX[usize::from(byte & 15)];
            self.len += 2;
        }
    }

    /// The id as ASCII.
    pub fn as_bytes(&self) -> &[u8] {
        &self.chars[..self.len]
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(self.as_bytes()).unwrap_or("")
    }
}

impl std::fmt::Display for MessageId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Appends the id of the message at that place of that broker's log.
pub fn push(out: &mut Vec<u8>, host: SocketAddr, at: LogOffset) {
    out.extend_from_slice(MessageId::new(host, at).as_bytes());
}

/// Reads an id of either length and case; `None` if it is none.
pub fn parse(text: &str) -> Option<(SocketAddr, LogOffset)> {
    let mut bytes = [0; CHARS_V6 / 2];
    let digits = text.as_bytes();
    if digits.len() != CHARS_V4 && digits.len() != CHARS_V6 {
        return None;
    }
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        let digit = |at: usize| pair.get(at).and_then(|c| char::from(*c).to_digit(16));
        *byte = u8::try_from(digit(0)? * 16 + digit(1)?).ok()?;
    }
    let (ip, rest): (IpAddr, &[u8]) = match digits.len() {
        CHARS_V4 => {
            let (ip, rest) = bytes.get(..CHARS_V4 / 2)?.split_first_chunk::<4>()?;
            ((*ip).into(), rest)
        }
        _ => {
            let (ip, rest) = bytes.split_first_chunk::<16>()?;
            ((*ip).into(), rest)
        }
    };
    let (port, rest) = rest.split_first_chunk::<4>()?;
    let port = u16::try_from(i32::from_be_bytes(*port)).ok()?;
    let at = LogOffset::try_from(i64::from_be_bytes(rest.try_into().ok()?)).ok()?;
    Some((SocketAddr::new(ip, port), at))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_vector_of_the_reference() {
        let host = "127.0.0.1:23911".parse().unwrap();
        let id = MessageId::new(host, LogOffset(0x1fe4));
        assert_eq!(id.as_str(), "7F00000100005D670000000000001FE4");
        assert_eq!(parse(id.as_str()), Some((host, LogOffset(0x1fe4))));
        assert_eq!(parse("7f00000100005d670000000000001fe4"), Some((host, LogOffset(0x1fe4))));
    }

    #[test]
    fn what_is_no_id_is_none() {
        let id = "7F00000100005D670000000000001FE4";
        let (negative, port) = ("7F00000100005D67F000000000001FE4", "7F000001000100000000000000001FE4");
        for bad in ["", &id[1..], "7F00000100005D670000000000001FEG", negative, port, &"ä".repeat(16)] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn an_id_finds_back(v6: bool, a: [u8; 16], port: u16, at in 0..=i64::MAX as u64) {
            let ip: IpAddr = if v6 { a.into() } else { [a[0], a[1], a[2], a[3]].into() };
            let mut out = vec![b','];
            push(&mut out, SocketAddr::new(ip, port), LogOffset(at));
            let text = std::str::from_utf8(&out[1..]).unwrap();
            prop_assert_eq!(text.len(), if v6 { CHARS_V6 } else { CHARS_V4 });
            prop_assert_eq!(parse(text), Some((SocketAddr::new(ip, port), LogOffset(at))));
        }
    }
}
