//! A broker that is killed again and again keeps its word: the bounded form of `cargo xtask crash`.

use kerolox_crash::{Campaign, FlushMode, make_dir};

fn campaign(flush: FlushMode, seed: u64) {
    let dir = std::env::temp_dir().join(format!("kerolox-kill-loop-{seed}-{}", std::process::id()));
    make_dir(&dir).unwrap();
    let binary = env!("CARGO_BIN_EXE_kerolox").into();
    let campaign = Campaign { binary, dir, cycles: 25, flush, seed };
    let kept = campaign.run().unwrap_or_else(|why| panic!("{why:#}; see {}", campaign.dir.display()));
    assert!(kept.acknowledged >= 25, "{kept:?}");
    std::fs::remove_dir_all(&campaign.dir).unwrap();
}

#[test]
fn what_the_page_cache_has_outlives_the_process() {
    campaign(FlushMode::Async, 11);
}

#[test]
fn what_the_device_has_outlives_the_process() {
    campaign(FlushMode::Sync, 12);
}
