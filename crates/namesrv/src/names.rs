//! What brokers may call themselves and their topics, checked once when it comes in.
//!
//! A name server lists whatever a broker of the original owns, so the rule is wider than that of topics that
//! clients may create: a broker is often called after its host, and its own topic is called after the broker.
//! Names here never become paths. What is refused would break a list, a log line or a client's hand-made
//! parser of routes: blanks, control characters, quotes and separators.

use kerolox_protocol::checked_text;
use std::{fmt, sync::Arc};

/// Longest name in bytes: the longest group and the longest prefix of its topics.
pub const NAME_BYTES_MAX: usize = 255 + 8;
/// Longest address in bytes: a host name and its port.
pub const ADDRESS_BYTES_MAX: usize = 253 + 6;

/// Why a text is not a name or an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BadText {
    /// There is nothing.
    Empty,
    /// It is longer than this many bytes.
    TooLong(usize),
    /// It has a blank, a control character, a quote or a separator.
    Illegal,
    /// It does not end with `:` and a port.
    NoPort,
}

impl fmt::Display for BadText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BadText::Empty => f.write_str("is empty"),
            BadText::TooLong(max) => write!(f, "is longer than {max} bytes"),
            BadText::Illegal => f.write_str("has a blank, a control character, or one of \" ' \\ , ; { }"),
            BadText::NoPort => f.write_str("is not host:port"),
        }
    }
}
impl std::error::Error for BadText {}

fn check(text: &str, bytes_max: usize) -> Result<(), BadText> {
    if text.is_empty() {
        return Err(BadText::Empty);
    }
    if text.len() > bytes_max {
        return Err(BadText::TooLong(bytes_max));
    }
    let bad = |c: char| {
        c.is_whitespace() || c.is_control() || matches!(c, '"' | '\'' | '\\' | ',' | ';' | '{' | '}')
    };
    if text.chars().any(bad) { Err(BadText::Illegal) } else { Ok(()) }
}

checked_text! {
    /// Name of a cluster, of a broker group, or of a topic of theirs.
    Name
}
checked_text! {
    /// `host:port`, exactly as a broker spelled it: clients compare and dial that text.
    Address
}

impl Name {
    /// Checks and keeps a name.
    pub fn new(text: &str) -> Result<Name, BadText> {
        check(text, NAME_BYTES_MAX)?;
        Ok(Name(Arc::from(text)))
    }
}

impl Address {
    /// Checks and keeps an address. The host is not looked up: it may only be known where the clients are.
    pub fn new(text: &str) -> Result<Address, BadText> {
        check(text, ADDRESS_BYTES_MAX)?;
        let (host, port) = text.rsplit_once(':').ok_or(BadText::NoPort)?;
        let port_is_good =
            !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()) && port.parse::<u16>().is_ok();
        if host.is_empty() || !port_is_good {
            return Err(BadText::NoPort);
        }
        Ok(Address(Arc::from(text)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_brokers_may_be_host_names_but_not_break_a_list() {
        for good in ["broker-a", "host.example.com", "%RETRY%g", "TBW102", "名"] {
            assert!(Name::new(good).is_ok(), "{good}");
        }
        for bad in ["a b", "a\nb", "a\"b", "a;b", "a,b", "a\u{0}b", "a\\b"] {
            assert_eq!(Name::new(bad), Err(BadText::Illegal), "{bad:?}");
        }
        assert_eq!(Name::new(""), Err(BadText::Empty));
        assert_eq!(Name::new(&"a".repeat(264)), Err(BadText::TooLong(263)));
    }

    #[test]
    fn an_address_has_a_host_and_a_port() {
        for good in ["10.0.0.1:10911", "[::1]:10911", "broker-a.svc:1"] {
            assert!(Address::new(good).is_ok(), "{good}");
        }
        for bad in ["10.0.0.1", ":10911", "h:", "h:70000", "h:+1", "h:1x"] {
            assert_eq!(Address::new(bad), Err(BadText::NoPort), "{bad}");
        }
        assert_eq!(Address::new("h :1"), Err(BadText::Illegal));
    }
}
