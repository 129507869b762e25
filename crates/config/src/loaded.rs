//! A checked configuration, and what there is to say about how it came to be.
//!
//! Plain values: knows neither where texts come from nor the rules between keys.

use crate::text::shown;
use crate::{BrokerConfig, NamesrvConfig, ServerConfig, StoreConfig};
use std::collections::BTreeSet;
use std::fmt;

/// Which server reads the configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Broker, store and network keys.
    Broker,
    /// Name-server and network keys.
    Namesrv,
}

/// What the machine says about itself; several defaults depend on it.
#[derive(Debug, Clone)]
pub struct Machine {
    /// Host name, if it could be found out: the default `brokerName`.
    pub host_name: Option<String>,
    /// The address others reach this machine by: the default `brokerIP1` and `brokerIP2`.
    pub address: Option<String>,
    /// Processors, for the listed sizes of the original's thread pools.
    pub processors: u32,
}

impl Default for Machine {
    fn default() -> Self {
        Machine { host_name: None, address: None, processors: 1 }
    }
}

/// Where a setting was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// File name, `-n`, `command line`, or the name of an environment variable.
    pub name: String,
    /// Line of a file, from 1.
    pub line: Option<usize>,
}

impl fmt::Display for Origin {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(out, "{} line {line}", shown(&self.name)),
            None => write!(out, "{}", shown(&self.name)),
        }
    }
}

/// Why the configuration cannot be used. `Display` is one line with place, key, value and what was wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Where it was written.
    pub origin: Origin,
    /// The key; empty when the line has none.
    pub key: String,
    /// The value as written.
    pub value: String,
    /// What was wanted instead.
    pub wanted: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.key.is_empty() {
            true => write!(out, "{}: wanted {}", self.origin, self.wanted),
            false => {
                write!(out, "{}: {}=", self.origin, shown(&self.key))?;
                write!(out, "{}: wanted {}", shown(&self.value), self.wanted)
            }
        }
    }
}

/// What a warning is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum About {
    /// No key of that name; it is ignored, as in the original.
    UnknownKey,
    /// A key of the other server.
    OtherRole,
    /// The spelling of 4.4 and before.
    OldSpelling,
    /// Blanks after the value were dropped.
    TrailingBlanks,
    /// Written `key: value`.
    LooksLikeYaml,
    /// A backslash vanished.
    LostBackslash,
    /// The key is written twice; the last one counts.
    Repeated,
    /// The number was moved into the allowed range.
    Clamped,
    /// The key has no effect here.
    Meaningless,
    /// The key has no effect yet.
    Later,
    /// A rule between keys replaced the value.
    Overruled,
    /// Options of a Java virtual machine; read for `-D` properties, else ignored.
    JavaOptions,
}

/// Something the operator should know. `Display` is one line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning {
    /// Where it was written.
    pub origin: Origin,
    /// What it is about.
    pub about: About,
    /// The key or variable.
    pub key: String,
    /// The sentence, with the way out.
    pub text: String,
}

impl fmt::Display for Warning {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}: {}", self.origin, self.text)
    }
}

/// A checked configuration. A broker leaves `namesrv` at its defaults, a name server `broker` and `store`.
#[derive(Debug, Clone, PartialEq)]
pub struct Loaded {
    /// Which server read it.
    pub role: Role,
    /// Keys of the broker's services.
    pub broker: BrokerConfig,
    /// Keys of the store.
    pub store: StoreConfig,
    /// Keys of the network.
    pub server: ServerConfig,
    /// Keys of the name server.
    pub namesrv: NamesrvConfig,
    /// The file given with `-c`, which updates are written back to.
    pub file: Option<String>,
    /// Names of the keys that somebody wrote, in their first spelling.
    pub written: BTreeSet<&'static str>,
    /// What the operator should know.
    pub warnings: Vec<Warning>,
}
