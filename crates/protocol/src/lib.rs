//! Bytes and their meaning: frames, RPC tables and headers, bodies, the message record.
//!
//! Owns every fact about the wire and about the stored record, declared once. Knows no socket, no file, no
//! clock and no thread: values in, values out. What a request *does* is the business of the services.
//!
//! | Module | What it holds |
//! |---|---|
//! | [`ids`], [`names`] | numbers that must not mix, names that were checked |
//! | [`frame`] | where one frame ends and the next begins |
//! | [`header`] | the frame header, in its JSON and its binary form; the general path |
//! | [`scan`] | the hot headers without a map and without allocation |
//! | [`rpc`] | the table of all RPCs, one file per area |
//! | [`code`], [`fail`] | response codes, refusals |
//! | [`record`], [`properties`], [`msgid`], [`batch`], [`hash`] | the stored message and its parts |
//! | [`body`] | JSON bodies: routes, cluster, heartbeat, stats |

pub mod batch;
pub mod body;
pub mod code;
pub mod fail;
pub mod frame;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
#[cfg(test)]
mod golden;
pub mod hash;
pub mod header;
pub mod ids;
pub mod msgid;
pub mod names;
pub mod properties;
pub mod record;
pub mod rpc;
pub mod scan;
#[cfg(test)]
mod vectors;

pub use fail::Fail;
pub use ids::{LogOffset, Millis, QueueId, QueueOffset};
pub use names::{GroupName, NameError, TopicName};
