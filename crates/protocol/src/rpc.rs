//! The table of all RPCs: one row per request code, one file per area.
//!
//! A row says what the request is called, which typed headers it and its answer carry, who serves it and what
//! a caller must be allowed to do. Dispatch, permission checks, the generated page and the listings read the
//! same row; a code without a handler stays visible and is answered "not supported".

pub mod acl;
pub mod client;
pub mod config;
pub mod consume;
pub mod fivex;
pub mod group;
pub mod kv;
pub mod offset;
pub mod produce;
pub mod relay;
pub mod route;
pub mod stats;
pub mod topic;
pub mod transaction;
pub mod unused;

use crate::{
    Fail, code,
    header::{FieldInfo, Fields},
};

/// One request code as a type: its headers are known to the compiler.
pub trait Rpc {
    /// Request code on the wire.
    const CODE: i32;
    /// The original's name of the code.
    const NAME: &'static str;
    /// What the caller needs.
    const NEED: Need;
    /// Typed header of the request.
    type Request: Fields;
    /// Typed header of a successful answer.
    type Reply: Fields;
}

/// What a caller must be allowed to do. Unknown codes are refused before this is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// Nothing beyond a connection.
    Nothing,
    /// Publish to the topic named.
    Publish,
    /// Subscribe with the group and to the topic named.
    Subscribe,
    /// Read what others do: routes of a cluster, statistics, connections.
    Inspect,
    /// Change or reveal more than messages.
    Admin,
    /// Cluster traffic: registration, metadata sync.
    Cluster,
}

/// Who answers a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Server {
    /// The name server.
    Namesrv,
    /// The broker.
    Broker,
    /// A client, asked by the broker.
    Client,
    /// A controller.
    Controller,
}

/// The largest body that a request may carry. It is held against the announced length, before the body is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyMax {
    /// 64 KiB, for rows that say nothing: most have no body at all, the others a short text.
    Small,
    /// 4 MiB: a list that grows with a client or a table.
    List,
    /// A message or a batch: what the server's operator allows (`maxMessageSize`).
    Message,
    /// What a frame may hold.
    Frame,
}

impl BodyMax {
    /// In bytes, where no setting of the server decides.
    pub const fn bytes(self) -> Option<usize> {
        match self {
            BodyMax::Small => Some(64 * 1024),
            BodyMax::List => Some(4 * 1024 * 1024),
            BodyMax::Message | BodyMax::Frame => None,
        }
    }
}

/// A row as data.
#[derive(Debug, Clone, Copy)]
pub struct RpcInfo {
    /// Request code on the wire.
    pub code: i32,
    /// The original's name of the code.
    pub name: &'static str,
    /// What it does.
    pub doc: &'static str,
    /// Who answers.
    pub server: Server,
    /// What the caller needs.
    pub need: Need,
    /// Largest body of the request.
    pub body_max: BodyMax,
    /// Fields of the request.
    pub request: &'static [FieldInfo],
    /// Fields of the answer.
    pub reply: &'static [FieldInfo],
}

impl RpcInfo {
    /// Whether a request may have a body of so many bytes, as far as its row decides that; if not, the answer.
    pub fn check_body(&self, body_bytes: usize) -> Result<(), Fail> {
        match self.body_max.bytes() {
            Some(max) if body_bytes > max => {
                let why = format!("the body of {} has {body_bytes} bytes, {max} are allowed", self.name);
                Err(Fail::new(code::MESSAGE_ILLEGAL, why))
            }
            _ => Ok(()),
        }
    }
}

/// Rows of all areas; search with [`info`].
pub const TABLES: &[&[RpcInfo]] = &[
    produce::TABLE,
    consume::TABLE,
    offset::TABLE,
    client::TABLE,
    group::TABLE,
    topic::TABLE,
    transaction::TABLE,
    route::TABLE,
    kv::TABLE,
    stats::TABLE,
    config::TABLE,
    acl::TABLE,
    relay::TABLE,
    fivex::TABLE,
    unused::TABLE,
];

/// All rows.
pub fn table() -> impl Iterator<Item = &'static RpcInfo> {
    TABLES.iter().flat_map(|rows| rows.iter())
}

/// The row of a code.
pub fn info(code: i32) -> Option<&'static RpcInfo> {
    table().find(|row| row.code == code)
}

/// Declares the rows of one area. `body` names the largest body where it is not [`BodyMax::Small`].
#[macro_export]
macro_rules! rpcs {
    (@body_max) => { $crate::rpc::BodyMax::Small };
    (@body_max $body_max:ident) => { $crate::rpc::BodyMax::$body_max };
    ($( #[doc = $doc:literal] $(#[doc = $more:literal])*
        $code:literal $name:ident $wire:literal : $request:ty => $reply:ty, $server:ident, needs $need:ident
        $(, body $body_max:ident)?; )*) => {
        /// Rows of this area.
        pub const TABLE: &[$crate::rpc::RpcInfo] = &[
            $( $crate::rpc::RpcInfo {
                code: $code,
                name: $wire,
                doc: concat!($doc $(, $more)*).trim_ascii(),
                server: $crate::rpc::Server::$server,
                need: $crate::rpc::Need::$need,
                body_max: $crate::rpcs!(@body_max $($body_max)?),
                request: <$request as $crate::header::Fields>::FIELDS,
                reply: <$reply as $crate::header::Fields>::FIELDS,
            }, )*
        ];
        $(
            #[doc = $doc] $(#[doc = $more])*
            #[derive(Debug, Clone, Copy)]
            pub struct $name;
            impl $crate::rpc::Rpc for $name {
                const CODE: i32 = $code;
                const NAME: &'static str = $wire;
                const NEED: $crate::rpc::Need = $crate::rpc::Need::$need;
                type Request = $request;
                type Reply = $reply;
            }
        )*
    };
}

#[cfg(test)]
mod page;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_has_one_row() {
        let mut codes: Vec<i32> = table().map(|row| row.code).collect();
        let all = codes.len();
        codes.sort_unstable();
        codes.dedup();
        assert_eq!(codes.len(), all);
    }

    /// Codes that an unmodified 4.9 client, tool or broker may send, and those of 5.x remoting clients.
    #[test]
    fn every_known_code_has_a_row() {
        let ranges = [
            10..=15,
            17..=18,
            21..=23,
            25..=43,
            45..=47,
            50..=54,
            60..=61,
            100..=106,
            200..=217,
            219..=225,
            300..=329,
            343..=343,
            345..=345,
            351..=355,
            361..=361,
            370..=370,
            400..=402,
            513..=513,
            901..=908,
            1001..=1013,
            2001..=2004,
            3001..=3010,
            200_050..=200_056,
            200_151..=200_151,
        ];
        let mut expected: Vec<i32> = ranges.into_iter().flatten().collect();
        let mut codes: Vec<i32> = table().map(|row| row.code).collect();
        codes.sort_unstable();
        expected.sort_unstable();
        assert_eq!(codes, expected);
    }

    #[test]
    fn rows_and_fields_are_named_once_and_documented() {
        for row in table() {
            let same = table().filter(|other| other.name == row.name).count();
            assert_eq!(same, 1, "{}", row.name);
            assert!(row.doc.ends_with('.'), "{}: {:?}", row.name, row.doc);
            for fields in [row.request, row.reply] {
                for field in fields {
                    assert!(!field.doc.is_empty(), "{} {}", row.name, field.wire);
                    assert_eq!(
                        fields.iter().filter(|other| other.wire == field.wire).count(),
                        1,
                        "{}",
                        row.name
                    );
                }
            }
        }
    }

    #[test]
    fn only_what_carries_messages_or_tables_may_be_large() {
        let mut large: Vec<i32> =
            table().filter(|row| row.body_max != BodyMax::Small).map(|row| row.code).collect();
        large.sort_unstable();
        assert_eq!(large, [10, 18, 25, 34, 39, 41, 42, 103, 220, 225, 310, 318, 320, 324, 325, 326, 513]);
        let check = |code, bytes| info(code).map(|row| row.check_body(bytes).is_ok());
        assert_eq!((check(11, 64 << 10), check(11, (64 << 10) + 1)), (Some(true), Some(false)));
        assert_eq!((check(34, 4 << 20), check(34, (4 << 20) + 1)), (Some(true), Some(false)));
        // The operator's setting and the frame's limit decide there.
        assert_eq!((check(310, usize::MAX), check(103, usize::MAX)), (Some(true), Some(true)));
    }

    #[test]
    fn what_changes_or_reveals_the_broker_needs_an_administrator() {
        for code in [17, 25, 26, 50, 51, 52, 53, 100, 102, 200, 205, 207, 215, 216, 222, 309, 318, 319] {
            assert_eq!(info(code).map(|row| row.need), Some(Need::Admin), "{code}");
        }
        assert_eq!(info(310).map(|row| row.need), Some(Need::Publish));
        assert!(info(9_999).is_none());
    }
}
