//! Disks that rot in silence: fixed seeds, seeds that once failed, and planted bugs that only damage can show.

mod planted;

use kerolox_sim::{
    Mode, Options, Report,
    network::NodeId,
    options::Fault,
    rot::{Rot, Victim},
    run,
};
use kerolox_store::mutant::Mutant;
use planted::kills_in;

fn holds(seed: u64, mode: Mode) -> Report {
    run(&Options::rot(seed, mode)).unwrap_or_else(|failure| panic!("{failure}"))
}

#[test]
fn runs_with_a_rotten_disk_hold_and_are_repeatable() {
    let mut times = 0;
    for seed in 1..=6 {
        for mode in [Mode::Async, Mode::Sync] {
            let report = holds(seed, mode);
            let rots =
                ["the log rotted", "a queue file rotted", "a write went astray", "a small file rotted"];
            times += rots.iter().filter_map(|what| report.sometimes.get(what)).sum::<u64>();
            if seed == 4 {
                assert_eq!(report, holds(seed, mode));
            }
        }
    }
    assert!(times > 10, "{times}");
}

/// The last record was damaged in its body and taken for one that the kill had torn: its place was given away again.
#[test]
fn a_damaged_last_record_keeps_its_place() {
    holds(13, Mode::Sync);
    holds(64, Mode::Async);
}

/// Nobody knew whether there had been a power cut, and all behind the first damage was cut off for one.
#[test]
fn a_kill_without_its_checkpoint() {
    holds(59, Mode::Async);
    holds(165, Mode::Async);
}

/// A damaged time was later than all that came behind the next damage, which was cut off as too old.
#[test]
fn a_store_time_from_the_future() {
    holds(257, Mode::Async);
}

/// A crash within a recovery left queue files without a length: they were an error, or all before them was forgotten.
#[test]
fn queue_files_that_a_crash_left_empty() {
    holds(98, Mode::Async);
    holds(224, Mode::Async);
}

/// Queues began behind a damaged entry, or ended before it.
#[test]
fn a_damaged_entry_is_no_border() {
    holds(4, Mode::Async);
    holds(142, Mode::Sync);
}

/// The checkpoint was damaged, and told that queue files reached farther than they did.
#[test]
fn a_damaged_checkpoint_is_no_other_brokers() {
    holds(290, Mode::Async);
}

/// Recovery cut the log, and queue files still named what had stood there.
#[test]
fn entries_of_what_was_cut_off() {
    holds(53, Mode::Async);
    holds(65, Mode::Async);
}

/// A transaction was ended in memory, the write of it failed, and its producer was told on asking again that it was so.
#[test]
fn a_transaction_that_only_memory_knows() {
    holds(86, Mode::Async);
}

/// The index failed when it was synced for the last time, and lacked the keys that came after.
#[test]
fn an_index_that_failed_at_its_last_sync() {
    holds(183, Mode::Async);
}

/// A power cut over a damaged small file: what it tore is set aside as damage, stays so, and what is lost with it does
/// not come before what is sent then.
#[test]
fn a_power_cut_of_which_nothing_is_known() {
    holds(180, Mode::Async);
    holds(450, Mode::Async);
}

/// A power cut took the first entries that would have proven that damage came over what was flushed, and left later ones.
#[test]
fn entries_behind_missing_ones_prove_as_much() {
    holds(9194, Mode::Sync);
}

/// A record tells another queue than its own: its place is lost, and that is said.
#[test]
fn a_place_that_is_lost_is_told() {
    holds(112, Mode::Async);
}

#[test]
fn cutting_the_log_at_damage_is_found_by_a_rotten_disk() {
    kills_in(Mutant::TruncateAtDamage, 1, &["I1", "I3", "I6"], |seed| Options::rot(seed, Mode::Async));
}

#[test]
fn ignoring_checksums_is_found_by_a_rotten_disk() {
    kills_in(Mutant::CrcIgnored, 1, &["I2", "I4", "rot"], |seed| Options::rot(seed, Mode::Async));
}

/// Writes that land where a record begins, and kills after which they are met.
#[test]
fn believing_a_record_of_elsewhere_is_found_by_a_rotten_disk() {
    kills_in(Mutant::PositionUnchecked, 1, &["I2", "I3", "I4", "I9", "I12", "I13", "I15", "rot"], |seed| {
        let stray = Fault::Rot(Rot::StrayWrite { into: Victim::Log });
        let one = |n: i64| [(2_000 + 900 * n, stray), (2_500 + 900 * n, Fault::Kill(NodeId::Broker))];
        let faults = (0..20).flat_map(one).collect();
        Options { faults, faults_ms: 21_000, ..Options::rot(seed, Mode::Async) }
    });
}
