//! `kerolox-powercut`: runs one campaign in a room of its own and prints its line for the ledger.

use anyhow::{Context, Result, bail};
use clap::{Parser, ValueEnum};
use kerolox_crash::{FlushMode, make_dir};
use kerolox_powercut::{
    campaign::{Campaign, FLUSH_INTERVAL, Kept},
    isolate::{self, Room},
};
use std::{path::PathBuf, time::Instant};

/// Cuts the power under a broker in a loop and checks what it kept.
#[derive(Debug, Parser)]
struct Args {
    /// The program to start.
    #[arg(long)]
    binary: PathBuf,
    /// A directory that is made and, if all went well, removed.
    #[arg(long)]
    dir: PathBuf,
    /// Power cuts.
    #[arg(long, default_value_t = 50)]
    cuts: u64,
    /// What an acknowledgement waits for.
    #[arg(long, value_enum, default_value_t = Mode::Sync)]
    mode: Mode,
    /// Of all choices.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Mode {
    Async,
    Sync,
}

fn main() -> Result<()> {
    let args = Args::parse();
    if isolate::is_inside() {
        return inside(args);
    }
    let missing = isolate::missing();
    if !missing.is_empty() {
        bail!("the power cannot be cut here, there is no\n  {}", missing.join("\n  "));
    }
    make_dir(&args.dir)?;
    let this = std::env::current_exe().context("find this program")?;
    if !Room::open(&this, std::env::args_os().skip(1), &args.dir, None)?.wait()? {
        bail!("the campaign did not hold; what it left is in {}", args.dir.display());
    }
    std::fs::remove_dir_all(&args.dir).with_context(|| format!("remove {}", args.dir.display()))
}

fn inside(args: Args) -> Result<()> {
    let Args { binary, dir, cuts, mode, seed } = args;
    let flush = if mode == Mode::Sync { FlushMode::Sync } else { FlushMode::Async };
    let campaign = Campaign { binary, dir, cuts, flush, seed, broken_disk: false };
    let began = Instant::now();
    let kept = campaign.run(|kept| tell(kept, cuts, began))?;
    println!("{}", line(&kept, flush, seed, began));
    Ok(())
}

fn tell(kept: &Kept, cuts: u64, began: Instant) {
    eprintln!(
        "{} of {cuts} cuts, {} during a start, {} acknowledged, {} lost within the interval, {} s",
        kept.cuts,
        kept.early,
        kept.acknowledged,
        kept.lost,
        began.elapsed().as_secs()
    );
}

fn line(kept: &Kept, flush: FlushMode, seed: u64, began: Instant) -> serde_json::Value {
    serde_json::json!({
        "flush": flush.setting(),
        "seed": seed,
        "cuts": kept.cuts,
        "cutsDuringStart": kept.early,
        "kills": kept.kills,
        "acknowledged": kept.acknowledged,
        "unacknowledged": kept.unacknowledged,
        "lost": kept.lost,
        "lostAgeMsMax": kept.lost_age_max.as_millis() as u64,
        "flushIntervalMs": (flush == FlushMode::Async).then_some(FLUSH_INTERVAL.as_millis() as u64),
        "damaged": 0,
        "duplicates": kept.duplicates,
        "delayed": kept.delayed,
        "delayedTwice": kept.delayed_twice,
        "diskWrites": kept.disk.writes,
        "diskFlushes": kept.disk.flushes,
        "bytesUnflushed": kept.disk.bytes_unflushed,
        "bytesLost": kept.disk.bytes_lost,
        "seconds": began.elapsed().as_secs(),
    })
}
