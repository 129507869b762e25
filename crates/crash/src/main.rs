//! `kerolox-crash`: runs one campaign and prints its line for the ledger.

use anyhow::{Result, bail};
use clap::Parser;
use kerolox_crash::{Campaign, make_dir};
use std::time::Instant;

fn main() -> Result<()> {
    let campaign = Campaign::parse();
    make_dir(&campaign.dir)?;
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
            "flush": campaign.flush.setting(),
            "seed": campaign.seed,
            "kills": campaign.cycles,
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
