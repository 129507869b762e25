//! The name server: which brokers live, which topics they serve, and a small store of values for admins.
//!
//! Owns the route table ([`routes`]), the key-value configuration ([`kv`]) and the service that answers for
//! both ([`service`]). Knows no socket, no clock and, but for [`disk`], no file; the driver of `net` and the
//! simulator run the same [`Namesrv`].
//!
//! | Module | What it holds |
//! |---|---|
//! | [`names`] | names and addresses of brokers, checked when they come in |
//! | [`routes`] | groups, members, topics, liveness |
//! | [`kv`] | the key-value configuration and its text form |
//! | [`wire`] | bodies of requests and answers |
//! | [`hint`] | why there is no route |
//! | [`service`] | requests to answers |
//! | [`disk`] | the two small files |
//!
//! # Two name servers
//! Name servers know nothing of each other. Every broker registers with all of them; every client asks one of
//! them and walks to the next when it fails. So two are run by starting two, each with its own port and files,
//! and naming both everywhere, in any order (quote the list in a shell):
//!
//! ```text
//! kerolox namesrv listenPort=9876 kvConfigPath=/var/lib/kerolox/ns1/kvConfig.json      # on host a
//! kerolox namesrv listenPort=9876 kvConfigPath=/var/lib/kerolox/ns2/kvConfig.json      # on host b
//! kerolox broker  -n 'a:9876;b:9876'
//! ```
//! One may be stopped at any time: routes are not saved, it has them again as soon as the brokers register
//! anew, at the latest 30 seconds after it is back. What admins change in a name server (order topics, write
//! permissions) they change in each; `mqadmin` does so by itself.
//!
//! **Invariant:** nothing here is asked of another server, so a name server cannot wait for one.

#[macro_use(mutant)]
extern crate kerolox_planted;

#[cfg(feature = "mutants")]
pub mod mutant;

pub mod disk;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
pub mod hint;
pub mod kv;
pub mod names;
pub mod routes;
pub mod service;
pub mod wire;

pub use disk::{Files, MemoryFiles, RealFiles, Save, Saved};
pub use routes::Routes;
pub use service::{Namesrv, OpenError};
