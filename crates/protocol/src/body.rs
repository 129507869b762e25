//! Bodies of requests and answers: JSON in the dialect that Java, Go and C++ clients parse.
//!
//! Types are plain serde structs whose fields stand in the alphabetical order of their wire names, as the
//! original writes them. [`decode`] reads leniently and with limits, [`encode`] writes compactly; both go
//! through [`fastjson`], which says what lenient means. Unknown keys never fail and missing ones have the
//! original's defaults.
//!
//! | Module | Bodies of |
//! |---|---|
//! | [`route`] | routes, clusters, topic lists, key-value tables |
//! | [`register`] | a broker's registration, both forms |
//! | [`config`] | topic and group configuration, also as files |
//! | [`heartbeat`] | what a client says of itself; subscriptions |
//! | [`queue`] | queue names, locks, offsets, resets |
//! | [`group`] | consumer lists, connections, assignments |
//! | [`stats`] | statistics and progress |

pub mod config;
pub mod fastjson;
pub mod group;
pub mod heartbeat;
pub mod queue;
pub mod register;
pub mod route;
pub mod stats;

pub use config::{
    DataVersion, SubscriptionGroupConfig, SubscriptionGroupTable, TopicConfig, TopicConfigTable,
};
pub use heartbeat::{ConsumerData, HeartbeatData, ProducerData, SubscriptionData};
pub use queue::MessageQueue;
pub use register::RegisterBrokerBody;
pub use route::{BrokerData, ClusterInfo, KvTable, QueueData, TopicList, TopicRouteData};

use serde::{Serialize, de::DeserializeOwned};
use std::fmt;

/// A body cannot be read; answered with code 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BodyError {
    /// It is empty where something is wanted.
    Empty,
    /// It is not UTF-8.
    Utf8,
    /// It is no JSON, not even leniently.
    Syntax {
        /// At which byte.
        at: usize,
        /// What was wanted there.
        wanted: &'static str,
    },
    /// It is JSON of another shape.
    Shape(String),
    /// It is larger than allowed in this respect.
    Limit(&'static str),
    /// The compressed binary form is broken in this respect.
    Compressed(&'static str),
}

impl fmt::Display for BodyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BodyError::Empty => f.write_str("the body is empty"),
            BodyError::Utf8 => f.write_str("the body is not UTF-8"),
            BodyError::Syntax { at, wanted } => {
                write!(f, "the body is no JSON: at byte {at} {wanted} is wanted")
            }
            BodyError::Shape(why) => write!(f, "the body has another shape: {why}"),
            BodyError::Limit(what) => write!(f, "the body is beyond the limit of {what}"),
            BodyError::Compressed(what) => write!(f, "the compressed body is broken: {what}"),
        }
    }
}
impl std::error::Error for BodyError {}

/// Reads a JSON body; an empty one is an error.
pub fn decode<T: DeserializeOwned>(body: &[u8]) -> Result<T, BodyError> {
    match body {
        [] => Err(BodyError::Empty),
        _ => fastjson::from_slice(body),
    }
}

/// Writes a JSON body.
pub fn encode<T: Serialize + ?Sized>(body: &T) -> Vec<u8> {
    fastjson::to_vec(body)
}

/// Declares an enumeration that clients send by name or by number, and that is written by name. What is
/// neither, is the first variant: a client with a newer idea is no reason to fail.
macro_rules! wire_names {
    ($(#[$meta:meta])* pub enum $name:ident {
        $( #[doc = $doc:literal] $number:literal $variant:ident $wire:literal, )*
    }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum $name { $( #[doc = $doc] $variant, )* }

        impl $name {
            /// All, the default first.
            pub const ALL: &'static [$name] = &[$( $name::$variant, )*];
            /// The name on the wire.
            pub fn name(self) -> &'static str {
                match self { $( $name::$variant => $wire, )* }
            }
            /// The number on the wire.
            pub fn number(self) -> i64 {
                match self { $( $name::$variant => $number, )* }
            }
        }
        impl Default for $name {
            fn default() -> Self {
                Self::ALL[0]
            }
        }
        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.name())
            }
        }
        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct NameOrNumber;
                impl serde::de::Visitor<'_> for NameOrNumber {
                    type Value = $name;
                    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        f.write_str("a name or a number")
                    }
                    fn visit_i64<E>(self, number: i64) -> Result<$name, E> {
                        let found = $name::ALL.iter().copied().find(|known| known.number() == number);
                        Ok(found.unwrap_or_default())
                    }
                    fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<$name, E> {
                        self.visit_i64(i64::try_from(number).unwrap_or(-1))
                    }
                    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<$name, E> {
                        if let Ok(number) = text.parse() {
                            return self.visit_i64(number);
                        }
                        Ok($name::ALL.iter().copied().find(|known| known.name() == text).unwrap_or_default())
                    }
                }
                deserializer.deserialize_any(NameOrNumber)
            }
        }
    };
}
pub(crate) use wire_names;

/// For serde: whether a number is left out of a body.
fn is_zero(number: &i64) -> bool {
    *number == 0
}
