//! Planted bugs: the oracle must name the broken invariant within some seeds, and must find nothing in those
//! same seeds without the bug. See `docs/mutants.md`.

mod planted;

use kerolox_sim::{Mode, Options, network::NodeId, options::Fault};
use kerolox_store::{disk::memory::Call, mutant::Mutant};
use planted::kills_in;

/// Looks for `mutant` from `first` on; the invariant must be one of `expected`.
fn kills(mutant: Mutant, mode: Mode, first: u64, expected: &[&str]) {
    kills_in(mutant, first, expected, |seed| Options::plain(seed, mode));
}

#[test]
fn acknowledging_before_the_flush_is_found() {
    kills(Mutant::AckBeforeFlush, Mode::Sync, 2, &["I1"]);
}

#[test]
fn giving_an_offset_away_again_is_found() {
    kills(Mutant::OffsetReused, Mode::Async, 1, &["I3", "I4", "I15"]);
}

#[test]
fn a_lost_wake_up_is_found() {
    kills(Mutant::WakeupLost, Mode::Async, 10, &["I9"]);
}

#[test]
fn skipping_the_directory_sync_is_found() {
    // Or the store refuses to start, when all of its log is gone.
    kills(Mutant::DirSyncSkipped, Mode::Sync, 6, &["I1", "I6", "start"]);
}

#[test]
fn ignoring_a_failed_sync_is_found() {
    // A power cut soon after the failed sync: a restart in between would write everything again.
    kills_in(Mutant::SyncErrorIgnored, 6, &["I1", "I6"], |seed| {
        let error = Fault::DiskError { call: Call::Sync, nth: 1 };
        let faults = vec![(3_000, error), (3_600, Fault::PowerCut)];
        Options { faults, faults_ms: 5_000, ..Options::plain(seed, Mode::Sync) }
    });
}

#[test]
fn ignoring_a_failed_write_is_found() {
    kills(Mutant::WriteErrorIgnored, Mode::Async, 15, &["I1", "I2", "I4", "I6", "I9", "I15"]);
}

#[test]
fn offsets_from_a_side_file_are_found() {
    kills(Mutant::OffsetsFromSideFile, Mode::Async, 1, &["I3", "I4", "I10", "I15"]);
}

#[test]
fn trusting_pages_after_a_failed_sync_is_found() {
    // A failed sync, a start on the same pages, and then a power cut.
    kills_in(Mutant::RewriteSkipped, 37, &["I1", "I6"], |seed| {
        let error = |at: i64, nth| (at, Fault::DiskError { call: Call::Sync, nth });
        let cut = |at: i64| (at, Fault::PowerCut);
        let faults =
            vec![error(3_000, 1), cut(9_000), error(13_000, 2), cut(19_000), error(23_000, 3), cut(29_000)];
        Options { faults, faults_ms: 31_000, think_ms: 300, ..Options::plain(seed, Mode::Sync) }
    });
}

#[test]
fn showing_what_is_not_confirmed_is_found() {
    kills(Mutant::UnconfirmedShown, Mode::Sync, 1, &["I6", "I8"]);
}

#[test]
fn a_checkpoint_ahead_of_its_queues_is_found() {
    kills(Mutant::CheckpointAhead, Mode::Async, 1, &["I15"]);
}

#[test]
fn losing_the_progress_of_delayed_messages_is_found() {
    kills(Mutant::DelayProgressLost, Mode::Async, 2, &["I13"]);
}

#[test]
fn losing_committed_offsets_is_found() {
    kills(Mutant::CommitsLost, Mode::Async, 2, &["I10"]);
}

#[test]
fn noting_delayed_messages_behind_their_copies_is_found() {
    // Writes that a kill cuts somewhere, again and again, while much is being delivered.
    kills_in(Mutant::DelayNotedLate, 1, &["I13"], |seed| {
        let kill = |n: i64| {
            let nth = 1 + (seed + n.unsigned_abs()) % 7;
            (2_000 + 700 * n, Fault::CrashAt { call: Call::Write, nth, power: false })
        };
        let faults = (0..60).map(kill).collect();
        Options { faults, faults_ms: 45_000, delayed: 90, think_ms: 300, ..Options::plain(seed, Mode::Async) }
    });
}

#[test]
fn showing_halves_of_transactions_is_found() {
    kills_in(Mutant::HalfShown, 1, &["I12"], |seed| Options {
        transactions: 40,
        ..Options::plain(seed, Mode::Async)
    });
}

#[test]
fn acknowledging_twice_what_is_not_safe_is_found() {
    // The write of a commit fails, its client asks again, and the broker is killed before it is started anew.
    kills_in(Mutant::StandsUnwritten, 1, &["I12"], |seed| {
        let error = Fault::DiskError { call: Call::Write, nth: 1 };
        let faults = vec![(3_000, error), (5_000, Fault::Kill(NodeId::Broker))];
        Options { transactions: 80, faults, faults_ms: 6_000, ..Options::plain(seed, Mode::Sync) }
    });
}

/// A run with clients that lock queues, and kills.
fn with_locks(seed: u64) -> Options {
    let faults = (1..6).map(|n| (4_000 * n, Fault::Kill(NodeId::Broker))).collect();
    Options { faults, faults_ms: 24_000, holders: 3, ..Options::plain(seed, Mode::Async) }
}

#[test]
fn losing_the_lock_table_is_found() {
    kills_in(Mutant::LocksLost, 1, &["I11"], with_locks);
}

#[test]
fn giving_a_lock_to_two_is_found() {
    kills_in(Mutant::LockShared, 1, &["I11"], with_locks);
}

/// Only runs in which files are deleted can tell.
#[test]
fn queues_that_begin_before_their_log_are_found() {
    kills_in(Mutant::MinForgotten, 1, &["I15"], |seed| Options::deleting(seed, Mode::Async));
}

/// The page of planted bugs names every one, and the test that finds it.
#[test]
fn every_planted_bug_is_listed() {
    let page = include_str!("../../../docs/mutants.md");
    let tests = concat!(include_str!("mutants.rs"), include_str!("store_mutants.rs"));
    let of_store = Mutant::ALL.iter().map(|mutant| format!("{mutant:?}"));
    let of_routes = kerolox_namesrv::mutant::Mutant::ALL.iter().map(|mutant| format!("{mutant:?}"));
    for name in of_store.chain(of_routes) {
        let row = page.lines().find(|line| line.starts_with(&format!("| `{name}`")));
        let row = row.unwrap_or_else(|| panic!("docs/mutants.md has no row for {name}"));
        let test = row.rsplit('`').nth(1).unwrap_or_default();
        assert!(tests.contains(&format!("fn {test}()")), "{name}: there is no test {test}");
        assert!(tests.contains(&format!("Mutant::{name},")), "no test plants {name}");
    }
}
