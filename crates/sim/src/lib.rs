//! The simulator: production servers in one thread, under virtual time, a lossy network and a faulty disk.
//!
//! A seed decides everything: sizes, load, delays, which faults and when. The same seed gives the same run, to
//! the last byte; its [`trace`] hash says so. An [`oracle`] that shares nothing with the store but the layout
//! of a record judges what clients were told against what the log holds.
//!
//! | Module | What it owns |
//! |---|---|
//! | [`options`] | what a run is, drawn from its seed |
//! | [`world`] | time, events, machines, faults |
//! | [`process`] | a running service: its outbox and lanes |
//! | [`network`] | connections and what is on its way |
//! | [`clients`] | a producer and a consumer that speak frames |
//! | [`rec`], [`walk`] | a record and the log, read by somebody else than the store |
//! | [`rot`], [`ledger`] | what the disk does in silence, and what it did |
//! | [`oracle`] | the invariants |
//! | [`random`], [`trace`] | chance, and what happened as one number |
//!
//! **Invariant:** only the disk, the network, the clock and the threads are replaced. What decides is the code
//! that users run.

pub mod clients;
pub mod ledger;
pub mod network;
pub mod options;
pub mod oracle;
pub mod process;
pub mod random;
pub mod rec;
pub mod rot;
pub mod trace;
pub mod walk;
pub mod world;

pub use options::{Mode, Options};
pub use world::{Failure, Report, World};

/// Runs a seed.
pub fn run(options: &Options) -> Result<Report, Box<Failure>> {
    World::new(options).run()
}
