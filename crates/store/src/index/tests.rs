//! The index against a list, against crashes, and against files of the original.

use std::{collections::BTreeSet, path::Path};

use proptest::prelude::*;

use super::*;
use crate::{
    checkpoint::{Progress, load_progress, save_progress},
    disk::{
        Open, Paths,
        memory::{Call, Fault, Harm, MemDisk},
    },
};

const KEYS: [&str; 6] = ["a", "b", "order-1", "order-2", "\u{1f600}", "x y"];

fn small() -> Shape {
    Shape::new(7, 12).expect("a shape")
}

fn dir() -> PathBuf {
    PathBuf::from("store/index")
}

/// What the log holds: the truth that an index is made from.
#[derive(Debug, Clone)]
struct Record {
    at: u64,
    ms: i64,
    keys: Vec<&'static str>,
}

fn open(disk: &MemDisk, shape: Shape, trust: Trust) -> (Index, Vec<Repair>) {
    Index::open(disk.handle(), &dir(), shape, trust).expect("open")
}

fn add(index: &mut Index, record: &Record) {
    for key in &record.keys {
        index.add("topic", key, LogOffset(record.at), Millis(record.ms), Millis(record.ms));
    }
}

/// Replays the log as recovery does.
fn replay(index: &mut Index, log: &[Record]) {
    let from = index.covered().map_or(0, |covered| covered.0);
    log.iter().filter(|record| record.at >= from).for_each(|record| add(index, record));
}

fn step(index: &mut Index, must_sync: bool) -> bool {
    let Some(job) = index.job(must_sync) else { return false };
    index.done(job.run()).expect("job");
    true
}

fn drain(index: &mut Index) {
    while step(index, true) {}
}

fn find(index: &Index, key: &str, begin: i64, end: i64) -> Vec<u64> {
    let find = index.find("topic", key, usize::MAX, Millis(begin), Millis(end));
    find.run(&mut |_| true).expect("find").offsets.iter().map(|at| at.0).collect()
}

fn expected(log: &[Record], key: &str) -> Vec<u64> {
    log.iter().rev().filter(|record| record.keys.contains(&key)).map(|record| record.at).collect()
}

/// Every key finds exactly its records, in order, and a range of times finds those within it.
fn check(index: &Index, log: &[Record]) -> Result<(), TestCaseError> {
    for key in KEYS {
        prop_assert_eq!(find(index, key, 0, i64::MAX), expected(log, key), "key {}", key);
        let (begin, end) = (log.first().map_or(0, |r| r.ms) + 2500, log.last().map_or(0, |r| r.ms) - 2500);
        let found = find(index, key, begin, end);
        for record in log.iter().filter(|record| record.keys.contains(&key)) {
            let is_found = found.contains(&record.at);
            // Times are kept to the second, rounded down.
            prop_assert!(is_found || !(begin + 1000..=end).contains(&record.ms), "misses {:?}", record);
            prop_assert!(!is_found || (begin..end + 1000).contains(&record.ms), "wrongly has {:?}", record);
        }
    }
    prop_assert!(find(index, "never added, and of another hash", 0, i64::MAX).is_empty());
    Ok(())
}

#[derive(Debug, Clone)]
enum Step {
    Add {
        gap_ms: i64,
        keys: Vec<&'static str>,
    },
    Job {
        must_sync: bool,
    },
    /// A job that is under way while more is added and looked up.
    SlowJob {
        keys: Vec<&'static str>,
    },
    Stop,
    Kill,
    PowerCut {
        seed: u64,
        log_kept: prop::sample::Index,
    },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let keys = || prop::collection::vec(prop::sample::select(&KEYS[..]), 1..4);
    let step = prop_oneof![
        12 => (0..3000_i64, keys()).prop_map(|(gap_ms, keys)| Step::Add { gap_ms, keys }),
        4 => any::<bool>().prop_map(|must_sync| Step::Job { must_sync }),
        2 => keys().prop_map(|keys| Step::SlowJob { keys }),
        1 => Just(Step::Stop),
        1 => Just(Step::Kill),
        1 => (any::<u64>(), any::<prop::sample::Index>())
            .prop_map(|(seed, log_kept)| Step::PowerCut { seed, log_kept }),
    ];
    prop::collection::vec(step, 1..80)
}

fn record(log: &[Record], gap_ms: i64, keys: &[&'static str]) -> Record {
    let (at, ms) = log.last().map_or((0, 1_700_000_000_000), |last| (last.at + 100, last.ms + gap_ms));
    Record { at, ms, keys: keys.to_vec() }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn finds_what_a_list_finds_through_stops_kills_and_power_cuts(steps in steps(), is_wide: bool) {
        let shape = if is_wide { wide() } else { small() };
        let mut disk = MemDisk::new();
        let (mut index, _) = open(&disk, shape, Trust::Clean);
        let mut log: Vec<Record> = Vec::new();
        let mut mark = None;
        for step_ in &steps {
            match step_ {
                Step::Add { gap_ms, keys } => {
                    let record = record(&log, *gap_ms, keys);
                    add(&mut index, &record);
                    log.push(record);
                }
                Step::Job { must_sync } => {
                    step(&mut index, *must_sync);
                    mark = index.synced();
                }
                Step::SlowJob { keys } => {
                    let job = index.job(false);
                    let record = record(&log, 10, keys);
                    add(&mut index, &record);
                    log.push(record);
                    check(&index, &log)?;
                    let begun = index.find("topic", "a", usize::MAX, Millis(0), Millis(i64::MAX));
                    if let Some(job) = job {
                        let done = job.run();
                        check(&index, &log)?;
                        index.done(done).expect("job");
                    }
                    step(&mut index, false);
                    let found = begun.run(&mut |_| true).expect("find").offsets;
                    let found: Vec<u64> = found.iter().map(|at| at.0).collect();
                    prop_assert_eq!(found, expected(&log, "a"), "a search begun before the job");
                }
                Step::Stop => {
                    drain(&mut index);
                    prop_assert_eq!(index.pending(), 0);
                    prop_assert_eq!(index.synced(), index.written());
                    // All is durable: a power cut after a stop changes nothing.
                    disk = disk.power_cut(1);
                    let (again, repairs) = open(&disk, shape, Trust::Clean);
                    prop_assert_eq!(repairs, vec![]);
                    index = again;
                    replay(&mut index, &log);
                    prop_assert_eq!(index.pending(), 0, "a clean index learned something from the log");
                }
                Step::Kill => {
                    disk = disk.kill();
                    index = open(&disk, shape, Trust::Killed(mark)).0;
                    replay(&mut index, &log);
                }
                Step::PowerCut { seed, log_kept } => {
                    disk = disk.power_cut(*seed);
                    log.truncate(log_kept.index(log.len() + 1));
                    index = open(&disk, shape, Trust::PowerCut(mark)).0;
                    index.cut(log.last().map_or(LogOffset(0), |last| LogOffset(last.at + 100))).expect("cut");
                    replay(&mut index, &log);
                    mark = index.synced();
                }
            }
            check(&index, &log)?;
        }
    }

    /// The original leaves no mark, and neither does a lost checkpoint.
    #[test]
    fn is_rebuilt_after_a_power_cut_without_a_mark(steps in steps(), seed: u64) {
        let disk = MemDisk::new();
        let (mut index, _) = open(&disk, small(), Trust::Clean);
        let mut log: Vec<Record> = Vec::new();
        for step_ in &steps {
            match step_ {
                Step::Add { gap_ms, keys } => {
                    let record = record(&log, *gap_ms, keys);
                    add(&mut index, &record);
                    log.push(record);
                }
                _ => drop(step(&mut index, false)),
            }
        }
        let disk = disk.power_cut(seed);
        let (mut index, _) = open(&disk, small(), Trust::PowerCut(None));
        replay(&mut index, &log);
        check(&index, &log)?;
        drain(&mut index);
        check(&index, &log)?;
    }

    #[test]
    fn any_bytes_in_a_file_are_survived(
        bytes in prop::collection::vec(any::<u8>(), 308),
        header in prop::option::of((0..2000_i64, 1..20_u32)),
        is_sparse: bool,
        unclean in 0..3_usize,
    ) {
        let mut bytes = bytes;
        if is_sparse {
            // Small numbers, so that slots and entries lead to each other.
            bytes.iter_mut().enumerate().for_each(|(i, b)| if i % 4 == 3 { *b %= 12 } else { *b = 0 });
        }
        if let Some((end_ms, next)) = header {
            let sound = Header { begin_ms: 1, end_ms, begin_at: 0, end_at: i64::MAX, slots_used: 1, next };
            bytes[..40].copy_from_slice(&sound.encode());
        }
        prop_assert_eq!(small().file_len(), 308);
        let disk = MemDisk::new();
        disk.plant(&dir().join("20240101000000000"), &bytes).expect("plant");
        let trust = [Trust::Clean, Trust::Killed(None), Trust::PowerCut(None)][unclean];
        let (mut index, _) = open(&disk, small(), trust);
        for key in KEYS {
            find(&index, key, 0, i64::MAX);
        }
        index.cut(LogOffset(5)).expect("cut");
        let from = index.covered().map_or(0, |at| at.0);
        let ms = 1_700_000_000_000;
        let log = [Record { at: from + 1, ms, keys: vec!["a"] }, Record { at: from + 2, ms, keys: vec!["b"] }];
        log.iter().for_each(|record| add(&mut index, record));
        drain(&mut index);
        prop_assert!(find(&index, "a", 0, i64::MAX).starts_with(&[from + 1]));
        prop_assert!(find(&index, "b", 0, i64::MAX).starts_with(&[from + 2]));
    }
}

/// Header, slots and entries share a sector in the small shape, and have several each in this one.
fn wide() -> Shape {
    Shape::new(400, 70).expect("a shape")
}

#[test]
fn every_crash_state_of_a_run_is_repaired() {
    let states = visit_crash_states(small(), 16, 128) + visit_crash_states(wide(), 16, 128);
    assert!(states > 5000, "{states} states");
}

fn visit_crash_states(shape: Shape, rounds: usize, per_point: u64) -> u64 {
    let disk = MemDisk::new();
    let paths = Paths::under("store");
    let (mut index, _) = open(&disk, shape, Trust::Clean);
    disk.record();
    let mut log: Vec<Record> = Vec::new();
    for i in 0..rounds {
        for keys in [&["a", "b"][..], &["order-1"], &["a", "order-2", "a"]].iter().take(1 + i % 3) {
            let record = record(&log, 400, keys);
            add(&mut index, &record);
            log.push(record);
        }
        step(&mut index, i % 5 == 4);
        let (written, synced) = (index.written(), index.synced());
        let boot_id = disk.boot_id();
        let progress =
            Progress { boot_id, index_written: written, index_synced: synced, ..Progress::default() };
        save_progress(&disk, &paths, &progress).expect("save");
    }
    let trace = disk.take_trace();
    let mut repaired = 0;
    let mut verify = |disk: &MemDisk, what: &str| {
        let progress = load_progress(disk, &paths).expect("load").value.unwrap_or_default();
        let mark = progress.index_synced;
        let trust = if progress.is_same_boot(disk) { Trust::Killed(mark) } else { Trust::PowerCut(mark) };
        let (mut index, repairs) = open(disk, shape, trust);
        repaired += repairs.len();
        replay(&mut index, &log);
        check(&index, &log).map_err(|error| format!("{what}: {error}"))?;
        drain(&mut index);
        check(&index, &log).map_err(|error| format!("{what}, written again: {error}"))
    };
    let states =
        trace.each_crash(per_point, 7, |state| verify(&state.disk, &format!("{state:?}"))).expect("repaired");
    for point in 0..=trace.len() {
        verify(&trace.killed(point), &format!("killed at {point}")).expect("repaired");
    }
    assert!(repaired > 500, "only {repaired} repairs: the states do no harm");
    states
}

#[test]
fn adding_touches_no_disk_and_a_job_few_pages() {
    let disk = MemDisk::new();
    let shape = Shape::new(5_000_000, 20_000_000).expect("shape");
    let (mut index, _) = open(&disk, shape, Trust::Clean);
    let count = || [Call::Open, Call::Read, Call::Write, Call::Sync].map(|call| disk.calls(call));
    let before = count();
    for i in 0..1000_u64 {
        index.add("topic", &i.to_string(), LogOffset(i * 100), Millis(1000), Millis(0));
    }
    assert_eq!(count(), before);
    assert_eq!(index.pending(), 1000);
    assert!(step(&mut index, false));
    let [_, reads, writes, syncs] = count();
    // Two passes over at most a page for each key, the entries in one piece, the header.
    assert!(reads - before[1] <= 2000 && writes - before[2] <= 1002, "{reads} reads, {writes} writes");
    assert_eq!(syncs - before[3], 1);
    assert_eq!(disk.list(&dir()).expect("list")[0].len, 420_000_040);
    assert_eq!(find(&index, "77", 0, i64::MAX), [7700]);
}

#[test]
fn a_failed_job_ends_writing_and_loses_nothing_in_memory() {
    for (call, nth) in
        [(Call::Write, 1), (Call::Write, 2), (Call::Sync, 1), (Call::Read, 1), (Call::SetLen, 1)]
    {
        let disk = MemDisk::new();
        let (mut index, _) = open(&disk, small(), Trust::Clean);
        index.add("topic", "a", LogOffset(5), Millis(1000), Millis(0));
        disk.plan(Fault::once(call, nth, Harm::Eio));
        let job = index.job(false).expect("work");
        assert!(index.done(job.run()).is_err(), "{call:?} {nth}");
        assert!(index.failed().is_some());
        assert!(index.job(true).is_none(), "a failed sync was tried again");
        index.add("topic", "a", LogOffset(6), Millis(1000), Millis(0));
        assert_eq!(find(&index, "a", 0, i64::MAX), [6, 5]);
    }
}

#[test]
fn old_files_expire_and_the_newest_stays() {
    let disk = MemDisk::new();
    let (mut index, _) = open(&disk, small(), Trust::Clean);
    let mut log = Vec::new();
    for _ in 0..30 {
        let record = record(&log, 1, &["a"]);
        add(&mut index, &record);
        log.push(record);
    }
    assert_eq!(index.files(), 3);
    assert_eq!(index.expire(LogOffset(u64::MAX)), [] as [PathBuf; 0], "not written yet");
    drain(&mut index);
    // Eleven entries a file: the first one ends with the record at 1000.
    assert_eq!(index.expire(LogOffset(1000)), [] as [PathBuf; 0]);
    let begun = index.find("topic", "a", usize::MAX, Millis(0), Millis(i64::MAX));
    let gone = index.expire(LogOffset(1001));
    assert_eq!(gone.len(), 1);
    gone.iter().for_each(|path| disk.remove(path).expect("remove"));
    let left: Vec<u64> = (11..30).rev().map(|n| n * 100).collect();
    assert_eq!(find(&index, "a", 0, i64::MAX), left);
    let found = begun.run(&mut |_| true).expect("a search survives the removal").offsets;
    assert_eq!(found.iter().map(|at| at.0).collect::<Vec<_>>(), left);
    assert_eq!(index.expire(LogOffset(u64::MAX)).len(), 1);
    assert_eq!(index.files(), 1);
}

#[test]
fn an_empty_newest_file_does_not_hide_keys_beyond_the_end_of_the_log() {
    let disk = MemDisk::new();
    let (mut index, _) = open(&disk, small(), Trust::Clean);
    (0..12).for_each(|at| index.add("topic", "a", LogOffset(at), Millis(1000), Millis(0)));
    drain(&mut index);
    let newest = disk.list(&dir()).expect("list").pop().expect("two files").name;
    disk.plant(&dir().join(newest), &vec![0; 308]).expect("a file whose header was lost");
    let (mut index, _) = open(&disk, small(), Trust::PowerCut(None));
    index.cut(LogOffset(4)).expect("cut");
    assert_eq!(find(&index, "a", 0, i64::MAX), [3, 2, 1, 0]);
    assert_eq!(index.covered(), Some(LogOffset(3)));
    let (index, repairs) = open(&disk, small(), Trust::Clean);
    assert_eq!((find(&index, "a", 0, i64::MAX), repairs), (vec![3, 2, 1, 0], vec![]));
}

#[test]
fn refused_candidates_do_not_count() {
    let disk = MemDisk::new();
    let (mut index, _) = open(&disk, small(), Trust::Clean);
    for at in 0..10 {
        index.add("topic", "a", LogOffset(at), Millis(1000 + at as i64), Millis(0));
        if at == 5 {
            step(&mut index, false);
        }
    }
    let find = |max| index.find("topic", "a", max, Millis(0), Millis(i64::MAX));
    let found = find(3).run(&mut |at| at.0 % 2 == 0).expect("find");
    assert_eq!(found.offsets, [8, 6, 4].map(LogOffset));
    assert_eq!((found.last_at, found.last_ms), (LogOffset(9), Millis(1009)));
    assert_eq!(find(0).run(&mut |_| true).expect("find").offsets, []);
}

#[test]
fn foreign_files_are_left_alone_and_reported() {
    let disk = MemDisk::new();
    for name in ["readme", "20240101000000000", "20240101000000001.bak"] {
        disk.plant(&dir().join(name), b"?").expect("plant");
    }
    let (mut index, repairs) = open(&disk, small(), Trust::Clean);
    let ignored: BTreeSet<_> = repairs.iter().map(|repair| repair.path.clone()).collect();
    assert_eq!(ignored.len(), 3);
    assert!(repairs.iter().all(|repair| matches!(repair.what, RepairKind::Ignored(_))));
    // A new file never takes the name of one that is there, even if the clock stands before it.
    index.add("topic", "a", LogOffset(1), Millis(1), Millis(0));
    drain(&mut index);
    assert_eq!(disk.bytes(&dir().join("20240101000000000")).expect("kept"), b"?");
    assert!(disk.open(&dir().join("20240101000000001"), Open::Read).is_ok());
    assert!(Path::new("store/index").ends_with("index"));
}

/// Files that the original wrote; see the note beside them.
mod java {
    use super::*;

    const FILES: [(&str, &[u8]); 3] = [
        ("20261124223529336", include_bytes!("../../testdata/java-index/20261124223529336")),
        ("20261124223529388", include_bytes!("../../testdata/java-index/20261124223529388")),
        ("20261124223529417", include_bytes!("../../testdata/java-index/20261124223529417")),
    ];
    const KEYS: &str = include_str!("../../testdata/java-index/keys.txt");

    fn shape() -> Shape {
        Shape::new(100, 60).expect("a shape")
    }

    fn planted() -> MemDisk {
        let disk = MemDisk::new();
        FILES.iter().for_each(|(name, bytes)| disk.plant(&dir().join(name), bytes).expect("plant"));
        disk
    }

    /// Log offset, store time, topic, keys.
    fn records() -> impl Iterator<Item = (u64, i64, &'static str, Vec<&'static str>)> {
        KEYS.lines().map(|line| {
            let mut words = line.split(' ');
            let mut word = || words.next().expect("a word");
            let (at, ms, topic) = (word(), word(), word());
            (at.parse().expect("an offset"), ms.parse().expect("a time"), topic, words.collect())
        })
    }

    fn check_all(index: &Index) {
        let mut by_key: std::collections::BTreeMap<&str, Vec<u64>> = Default::default();
        for (at, _, topic, keys) in records() {
            assert_eq!(topic, "IndexTopic");
            keys.iter().for_each(|key| by_key.entry(*key).or_default().insert(0, at));
        }
        assert_eq!(by_key.len(), 35 + 35 + 5 + 1);
        for (key, offsets) in by_key {
            let found = index.find("IndexTopic", key, 1000, Millis(0), Millis(i64::MAX));
            let found: Vec<u64> =
                found.run(&mut |_| true).expect("find").offsets.iter().map(|at| at.0).collect();
            // In a hundred slots different keys do not share a whole hash.
            assert_eq!(found, offsets, "{key}");
        }
    }

    #[test]
    fn its_files_are_read() {
        let disk = planted();
        let (index, repairs) = open(&disk, shape(), Trust::Clean);
        assert_eq!(repairs, []);
        assert_eq!(index.files(), 3);
        check_all(&index);
        // After a crash of the original there is no mark, and all is still there.
        for trust in [Trust::Killed(None), Trust::PowerCut(None)] {
            check_all(&open(&planted(), shape(), trust).0);
        }
    }

    /// The original syncs nothing on the way: after a power cut its file may end anywhere.
    #[test]
    fn its_torn_file_is_taken_back_to_whole_entries_at_every_byte() {
        let (name, bytes) = FILES[2];
        let begin = shape().entry_at(1) as usize;
        for torn in begin..begin + 23 * 20 {
            let disk = planted();
            let mut bytes = bytes.to_vec();
            bytes[torn..].fill(0);
            disk.plant(&dir().join(name), &bytes).expect("plant");
            let (mut index, repairs) = open(&disk, shape(), Trust::PowerCut(None));
            assert_eq!(repairs.len(), 1, "{repairs:?}");
            let from = index.covered().map_or(0, |covered| covered.0);
            for (at, ms, topic, keys) in records().filter(|record| record.0 >= from) {
                keys.iter().for_each(|key| index.add(topic, key, LogOffset(at), Millis(ms), Millis(ms)));
            }
            check_all(&index);
            drain(&mut index);
            check_all(&open(&disk, shape(), Trust::Clean).0);
        }
    }

    #[test]
    fn the_same_keys_make_the_same_bytes() {
        for jobs_every in [1, 7, 100] {
            let disk = MemDisk::new();
            let (mut index, _) = open(&disk, shape(), Trust::Clean);
            for (i, (at, ms, topic, keys)) in records().enumerate() {
                keys.iter().for_each(|key| index.add(topic, key, LogOffset(at), Millis(ms), Millis(ms)));
                if i % jobs_every == 0 {
                    step(&mut index, false);
                }
            }
            drain(&mut index);
            let files = disk.list(&dir()).expect("list");
            assert_eq!(files.len(), 3);
            for (file, (name, bytes)) in files.iter().zip(FILES) {
                assert_eq!(disk.bytes(&dir().join(&file.name)).expect("bytes"), bytes, "{name}");
            }
        }
    }

    #[test]
    fn its_newest_file_is_carried_on() {
        let disk = planted();
        let (mut index, _) = open(&disk, shape(), Trust::Clean);
        for (at, ms, topic, keys) in records() {
            keys.iter().for_each(|key| index.add(topic, key, LogOffset(at), Millis(ms), Millis(ms)));
        }
        assert_eq!(index.pending(), 0, "replaying what is known added something");
        let covered = index.covered().expect("keys");
        index.add("IndexTopic", "new", covered + 1, Millis(1_795_559_800_000), Millis(0));
        drain(&mut index);
        check_all(&index);
        let (index, _) = open(&disk, shape(), Trust::Clean);
        check_all(&index);
        assert_eq!(index.covered(), Some(covered + 1));
        assert_eq!(index.files(), 3);
    }
}
