//! A broker on a disk that fails, fills up, waits, or rots while it is down.
//!
//! Needs root and `/dev/fuse`; where one is missing, it says so and is passed over.

use kerolox_crash::make_dir;
use kerolox_powercut::{
    isolate::{self, DIR, Room},
    trials,
};
use std::path::{Path, PathBuf};

const BINARY: &str = env!("CARGO_BIN_EXE_kerolox");

/// Runs a trial in a room of its own: this program again, for this one test.
fn in_a_room(test: &str, trial: impl FnOnce(&Path, &Path) -> anyhow::Result<()>) {
    let dir = std::env::var_os(DIR).map(PathBuf::from);
    if let (true, Some(dir)) = (isolate::is_inside(), dir) {
        return trial(Path::new(BINARY), &dir).unwrap_or_else(|why| panic!("{why:#}"));
    }
    let missing = isolate::missing();
    if !missing.is_empty() {
        return println!("skipped: {test}: there is no {}", missing.join(", no "));
    }
    let dir = std::env::temp_dir().join(format!("kerolox-{test}-{}", std::process::id()));
    make_dir(&dir).unwrap();
    let (this, said) = (std::env::current_exe().unwrap(), dir.join("said"));
    let room = Room::open(&this, ["--exact", test, "--nocapture"], &dir, Some(&said)).unwrap();
    let held = room.wait().unwrap();
    assert!(held, "{}\nsee {}", std::fs::read_to_string(said).unwrap(), dir.display());
    std::fs::remove_dir_all(&dir).unwrap();
}

#[test]
fn one_failed_write_or_sync_ends_acknowledging() {
    in_a_room("one_failed_write_or_sync_ends_acknowledging", trials::failure_ends_acknowledging);
}

#[test]
fn a_full_disk_is_refused_and_serves_again_when_there_is_room() {
    in_a_room("a_full_disk_is_refused_and_serves_again_when_there_is_room", |binary, dir| {
        trials::no_room_is_refused_until_there_is_room(binary, dir).map(drop)
    });
}

#[test]
fn a_slow_disk_is_waited_for() {
    in_a_room("a_slow_disk_is_waited_for", trials::a_slow_disk_is_waited_for);
}

#[test]
fn bits_that_flip_while_the_broker_is_down_are_found() {
    in_a_room("bits_that_flip_while_the_broker_is_down_are_found", |binary, dir| {
        for seed in 0..4 {
            let dir = dir.join(seed.to_string());
            std::fs::create_dir(&dir)?;
            trials::flipped_bits_are_found(binary, &dir, seed)?;
        }
        Ok(())
    });
}

#[test]
fn bad_sectors_of_the_log_cost_what_they_hit() {
    in_a_room("bad_sectors_of_the_log_cost_what_they_hit", trials::bad_sectors_cost_what_they_hit);
}

#[test]
fn an_end_of_the_log_that_cannot_be_read_is_refused_and_mended() {
    in_a_room(
        "an_end_of_the_log_that_cannot_be_read_is_refused_and_mended",
        trials::an_unreadable_end_is_refused_and_mended,
    );
}

#[test]
fn a_queue_file_that_cannot_be_read_is_made_again() {
    in_a_room(
        "a_queue_file_that_cannot_be_read_is_made_again",
        trials::an_unreadable_queue_file_is_made_again,
    );
}
