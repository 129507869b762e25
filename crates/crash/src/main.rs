//! `kerolox-crash`: runs one campaign and prints its line for the ledger.

use anyhow::{Result, bail};
use clap::{Parser, ValueEnum};
use kerolox_crash::{Campaign, FlushMode, make_dir};
use std::{path::PathBuf, time::Instant};

/// Kills a broker in a loop and checks what it kept.
#[derive(Debug, Parser)]
struct Args {
    /// The program to start.
    #[arg(long)]
    binary: PathBuf,
    /// A directory that is made and, if all went well, removed.
    #[arg(long)]
    dir: PathBuf,
    /// Kills.
    #[arg(long, default_value_t = 50)]
    cycles: u64,
    /// What an acknowledgement waits for.
    #[arg(long, value_enum, default_value_t = Flush::Async)]
    flush: Flush,
    /// Of the times of the kills.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Flush {
    Async,
    Sync,
}

fn main() -> Result<()> {
    let Args { binary, dir, cycles, flush, seed } = Args::parse();
    make_dir(&dir)?;
    let flush = if flush == Flush::Sync { FlushMode::Sync } else { FlushMode::Async };
    let campaign = Campaign { binary, dir, cycles, flush, seed };
    let began = Instant::now();
    let kept = match campaign.run() {
        Ok(kept) => kept,
        Err(why) => {
            bail!("{why:#}; store, log and what was acknowledged are left in {}", campaign.dir.display())
        }
    };
    std::fs::remove_dir_all(&campaign.dir)?;
    println!(
        "{}",
        serde_json::json!({
            "flush": flush.setting(),
            "seed": seed,
            "kills": cycles,
            "killsDuringStart": kept.early,
            "acknowledged": kept.acknowledged,
            "unacknowledged": kept.unacknowledged,
            "lost": 0,
            "duplicates": kept.duplicates,
            "seconds": began.elapsed().as_secs(),
        })
    );
    Ok(())
}
