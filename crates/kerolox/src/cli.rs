//! Kerolox's own commands.

use crate::{dev::Dev, logging, serve, store_tools};
use anyhow::Result;
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
    /// Run a name server and a broker in this process, on loopback, with data on disk.
    Dev(Dev),
    /// Run a name server: the same as `mqnamesrv`, with its flags.
    Namesrv {
        /// `-c FILE`, `-p`, `KEY=VALUE`.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        words: Vec<String>,
    },
    /// Run a broker: the same as `mqbroker`, with its flags.
    Broker {
        /// `-c FILE`, `-n HOST:PORT`, `-p`, `-m`, `KEY=VALUE`.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        words: Vec<String>,
    },
    /// Ask and change a cluster: the same as `mqadmin`, with its verbs.
    Admin {
        /// A verb and its options; none lists the verbs.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        words: Vec<String>,
    },
    /// Load a broker and report rate, latency and cost.
    Bench(kerolox_bench::Bench),
    /// Look at a store's files, and repair them, while no broker has them.
    #[command(subcommand)]
    Store(store_tools::Store),
}

/// Runs what `words` (with the program's name) ask for.
pub fn run(words: Vec<String>) -> Result<()> {
    match Cli::parse_from(words).command {
        Command::Dev(dev) => {
            logging::start(dev.verbose);
            serve::dev(&dev)
        }
        Command::Namesrv { words } => crate::original::run("mqnamesrv", &words),
        Command::Broker { words } => crate::original::run("mqbroker", &words),
        Command::Admin { words } => crate::original::run("mqadmin", &words),
        Command::Bench(bench) => kerolox_bench::run(bench),
        Command::Store(verb) => match store_tools::run(verb)? {
            true => Ok(()),
            // What is wrong has been printed.
            false => std::process::exit(1),
        },
    }
}
