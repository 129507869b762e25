//! The broker: taking messages, giving them out, and knowing who reads what.
//!
//! One [`Broker`] owns everything and is driven by events ([`kerolox_net::Service`]): frames, finished jobs,
//! timers. It knows the wire, the store and time as an argument; it knows no socket, no thread, no clock and no
//! source of randomness but a seed. So the simulator runs exactly this code.
//!
//! | Module | What it owns |
//! |---|---|
//! | [`options`] | what the operator chose |
//! | [`service`] | the order of things: dispatch, groups of frames, commit, answers, timers, stop |
//! | [`call`], [`answer`] | one request, and how its answer is written |
//! | [`judge`] | what is refused before its body is there |
//! | [`produce`] | sending |
//! | [`reply`] | replies on their way back to who asked |
//! | [`pull`], [`hold`] | pulling, and pulls that wait for messages |
//! | [`parked`] | answers that wait for the log |
//! | [`again`] | requests that wait for a read of the disk |
//! | [`sendback`], [`delay`] | retry, dead letters, delay levels |
//! | [`transaction`] | halves and what becomes of them |
//! | [`query`] | looking up messages by key and by place |
//! | [`state`], [`export`], `import` | what survives in the log, and its copy in the original's files |
//! | [`table`], [`topics`], [`groups`], [`offsets`] | tables that survive |
//! | [`clients`] | who is connected |
//! | [`locks`] | who may read which queue, for orderly consumption |
//! | [`register`] | telling the name servers |
//! | [`stats`] | counting |
//! | [`admin`] | everything that operators ask |

#[macro_use(mutant)]
extern crate kerolox_planted;
/// Bugs of both are declared beside the store's.
#[cfg(feature = "mutants")]
use kerolox_store::mutant;

pub mod admin;
pub mod again;
pub mod answer;
pub mod call;
pub mod clients;
pub mod delay;
pub mod export;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
pub mod groups;
mod hint;
pub mod hold;
pub mod jobs;
pub mod locks;
pub mod offsets;
pub mod options;
pub mod register;
pub mod service;
pub mod state;
pub mod stats;
pub mod table;
pub mod topics;

mod deliver;
mod import;
mod judge;
mod once;
mod open;
mod parked;
mod produce;
mod props;
mod protect;
mod pull;
mod query;
mod random;
mod reply;
mod rot;
mod sendback;
mod transaction;

pub use open::StartError;
pub use options::{Options, Pace};
pub use service::Broker;
