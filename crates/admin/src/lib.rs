//! Cluster operations as typed functions that return data, and the CLI verbs that print it.
//!
//! Verbs, options, columns and success lines are the original's `mqadmin`, so that scripts which cut its
//! output go on working; `--json` gives the same data to machines. Knows servers through the client crate
//! alone. Deviation: a command that fails ends with a non-zero status.

mod cluster;
mod table;
mod verbs;

pub use cluster::{Cluster, Sent};

/// Runs `mqadmin` with its words; no word lists the verbs.
pub fn run(words: &[String]) -> anyhow::Result<()> {
    verbs::run(words)
}
