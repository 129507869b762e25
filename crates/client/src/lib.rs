//! The Rust SDK of Kerolox: framed connection, typed calls, route lookup.
//!
//! This is the lowest layer: [`Connection`] carries many calls at once over one TCP connection,
//! [`Connection::call`] makes one typed by its row of the RPC table, [`NameServers`] asks any of several name
//! servers. Owns sockets and the calls in flight; knows nothing of groups, queues or retries.

mod connection;
mod error;
mod name_servers;

pub use connection::{Answer, Connection, Reply};
pub use error::Error;
pub use name_servers::NameServers;
