//! `kerolox-powercut`: runs one campaign in a room of its own and prints its line for the ledger.

use anyhow::{Context, Result, bail};
use clap::Parser;
use kerolox_crash::{FlushMode, make_dir};
use kerolox_powercut::{
    campaign::{Campaign, FLUSH_INTERVAL, Kept},
    isolate::{self, Room},
};
use std::time::Instant;

fn main() -> Result<()> {
    let campaign = Campaign::parse();
    if isolate::is_inside() {
        return inside(&campaign);
    }
    let missing = isolate::missing();
    if !missing.is_empty() {
        bail!("the power cannot be cut here, there is no\n  {}", missing.join("\n  "));
    }
    let dir = &campaign.dir;
    make_dir(dir)?;
    let this = std::env::current_exe().context("find this program")?;
    if !Room::open(&this, std::env::args_os().skip(1), dir, None)?.wait()? {
        bail!("the campaign did not hold; what it left is in {}", dir.display());
    }
    std::fs::remove_dir_all(dir).with_context(|| format!("remove {}", dir.display()))
}

fn inside(campaign: &Campaign) -> Result<()> {
    let began = Instant::now();
    let kept = campaign.run(|kept| tell(kept, campaign.cuts, began))?;
    println!("{}", line(&kept, campaign, began));
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

fn line(kept: &Kept, campaign: &Campaign, began: Instant) -> serde_json::Value {
    let flush = campaign.flush;
    serde_json::json!({
        "flush": flush.setting(),
        "seed": campaign.seed,
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
