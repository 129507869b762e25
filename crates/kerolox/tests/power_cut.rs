//! A broker under which the power goes again and again keeps its word: the bounded form of `cargo xtask powercut`.
//!
//! Needs root, `/dev/fuse`, loop devices and `mkfs.ext4`; where one is missing, it says so and is passed over.

use kerolox_crash::{FlushMode, make_dir};
use kerolox_powercut::{
    campaign::Campaign,
    isolate::{self, Room},
};
use std::path::PathBuf;

/// Runs a campaign in a room of its own: this program again, for this one test.
fn campaign(test: &str, flush: FlushMode, seed: u64, broken_disk: bool) -> Option<String> {
    let dir = std::env::var_os("KEROLOX_POWERCUT_DIR").map(PathBuf::from);
    if let (true, Some(dir)) = (isolate::is_inside(), dir) {
        let campaign =
            Campaign { binary: env!("CARGO_BIN_EXE_kerolox").into(), dir, cuts: 5, flush, seed, broken_disk };
        match campaign.run(|_| {}) {
            Ok(kept) => assert!(kept.cuts == 5 && kept.acknowledged >= 5, "{kept:?}"),
            Err(why) => panic!("{why:#}"),
        }
        return None;
    }
    let missing = isolate::missing();
    if !missing.is_empty() {
        println!("skipped: {test}: there is no {}", missing.join(", no "));
        return None;
    }
    let dir = std::env::temp_dir().join(format!("kerolox-power-cut-{seed}-{}", std::process::id()));
    make_dir(&dir).unwrap();
    let this = std::env::current_exe().unwrap();
    let said = dir.join("said");
    let room = Room::open(&this, ["--exact", test, "--nocapture"], &dir, Some(&said)).unwrap();
    let held = room.wait().unwrap();
    let said = std::fs::read_to_string(said).unwrap();
    assert!(held != broken_disk, "{said}\nsee {}", dir.display());
    std::fs::remove_dir_all(&dir).unwrap();
    Some(said)
}

#[test]
fn what_was_flushed_outlives_the_power() {
    campaign("what_was_flushed_outlives_the_power", FlushMode::Sync, 21, false);
}

#[test]
fn only_the_last_interval_goes_with_the_power() {
    campaign("only_the_last_interval_goes_with_the_power", FlushMode::Async, 22, false);
}

/// The campaign can fail: it finds the one fault that no broker survives.
#[test]
fn a_disk_that_lies_about_flushes_is_found() {
    if let Some(said) = campaign("a_disk_that_lies_about_flushes_is_found", FlushMode::Sync, 23, true) {
        assert!(said.contains("I1: "), "{said}");
    }
}
