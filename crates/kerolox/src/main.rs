//! The binary: arguments, logging, signals, wiring.

use clap::{Parser, Subcommand};

/// A message broker for RocketMQ clients, in one binary.
#[derive(Debug, Parser)]
#[command(name = "kerolox", version, about)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Load a broker and report rate, latency and cost.
    Bench(kerolox_bench::Bench),
}

fn main() -> anyhow::Result<()> {
    match Cli::parse().command {
        Command::Bench(bench) => kerolox_bench::run(bench),
    }
}
