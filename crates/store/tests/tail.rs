//! What stands at the end of a log and is no record: refused, or cut off with a copy; never gone in silence.

mod harness;

use harness::{World, options, read_all};
use kerolox_protocol::{Millis, QueueId};
use kerolox_store::{
    Cause, Flush, Level, Store,
    disk::{Disk, Open, memory::MemDisk},
};
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

const FIRST: &str = "/store/commitlog/00000000000000000000";

/// Everything on a disk; directories without content.
fn tree(disk: &MemDisk) -> BTreeMap<PathBuf, Option<Vec<u8>>> {
    let mut found = BTreeMap::new();
    let mut left = vec![PathBuf::from("/")];
    while let Some(dir) = left.pop() {
        for entry in disk.list(&dir).unwrap() {
            let path = dir.join(&entry.name);
            let bytes = (!entry.is_dir).then(|| disk.bytes(&path).unwrap());
            if entry.is_dir {
                left.push(path.clone());
            }
            found.insert(path, bytes);
        }
    }
    found
}

/// Bytes that no program wrote.
fn noise(len: usize) -> Vec<u8> {
    let mut random = 0x9E37_79B9_7F4A_7C15_u64;
    let mut byte = || {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (random >> 56) as u8
    };
    std::iter::repeat_with(&mut byte).take(len).collect()
}

/// A store of some records that ended, without a file of ours if another broker had it.
fn ended(stopped: bool, ours: bool) -> World {
    let mut world = World::new(Flush::Async);
    for _ in 0..5 {
        world.append("T", 0, 400).unwrap();
    }
    world.store().commit().unwrap();
    match stopped {
        true => world.stop(),
        false => world.store = None,
    }
    world.jobs.clear();
    world.disk = world.disk.kill();
    for name in ["kerolox.queues", "kerolox.checkpoint"].into_iter().filter(|_| !ours) {
        world.disk.remove(&Path::new("/store").join(name)).unwrap();
    }
    world
}

fn overwrite(disk: &MemDisk, at: u64, bytes: &[u8]) {
    disk.open(Path::new(FIRST), Open::Write).unwrap().write_at(bytes, at).unwrap();
}

/// The files in quarantine.
fn all_kept(disk: &MemDisk) -> Vec<Vec<u8>> {
    let dir = Path::new("/store/kerolox.quarantine");
    disk.list(dir).unwrap().iter().map(|file| disk.bytes(&dir.join(&file.name)).unwrap()).collect()
}

/// The one file in quarantine.
fn kept(disk: &MemDisk) -> Vec<u8> {
    let mut all = all_kept(disk);
    assert_eq!(all.len(), 1);
    all.remove(0)
}

fn has_quarantine(disk: &MemDisk) -> bool {
    disk.list(Path::new("/store/kerolox.quarantine")).is_ok()
}

/// Levels of the lines that speak of something cut off.
fn cut_lines(world: &World) -> Vec<Level> {
    let lines = world.opened.lines.iter().filter(|line| line.contains("cut off"));
    lines.map(|line| line.level).collect()
}

/// The store serves, and keeps what is sent to it now.
fn goes_on(world: &mut World) {
    world.check();
    world.append("T", 0, 100).unwrap();
    world.store().commit().unwrap();
    world.check();
    world.reopen();
    world.check();
}

#[test]
fn a_log_that_holds_no_record_is_refused_and_nothing_is_changed() {
    let mut late = vec![0; 16 << 10];
    late.extend(noise(3_000));
    late.resize(32 << 10, 0);
    for (bytes, told) in [
        (noise(100_000), "no message stands in it"),
        (late, "no message stands in it"),
        (b"hi".to_vec(), "2 bytes"),
        (b"text ".repeat(4_000), "no message stands in it"),
    ] {
        let disk = MemDisk::new();
        disk.plant(Path::new(FIRST), &bytes).unwrap();
        let before = tree(&disk);
        let refused = Store::open(disk.handle(), options(Flush::Async), Millis(0)).unwrap_err();
        assert!(matches!(refused.cause, Cause::Foreign(_)), "{refused}");
        let text = refused.to_string();
        assert!(text.contains("00000000000000000000") && text.contains(told), "{text}");
        assert!(text.contains("storePathRootDir") && !text.contains("mappedFileSize"), "{text}");
        assert!(tree(&disk) == before, "{:?}", tree(&disk).keys());
    }
}

#[test]
fn an_empty_log_is_none_to_refuse() {
    for bytes in [vec![], vec![0; 16 << 10]] {
        let disk = MemDisk::new();
        disk.plant(Path::new(FIRST), &bytes).unwrap();
        goes_on(&mut World::on(disk, options(Flush::Async)));
    }
}

#[test]
fn a_flipped_bit_in_the_last_record_of_a_clean_foreign_store_is_no_torn_tail() {
    let mut world = ended(true, false);
    let last = world.sent.pop().unwrap();
    let at = last.end.0 - last.size;
    world.disk.flip(Path::new(FIRST), at + 120, 1).unwrap();
    let lost = world.disk.bytes(Path::new(FIRST)).unwrap()[at as usize..last.end.0 as usize].to_vec();
    world.open();
    assert_eq!(cut_lines(&world), [Level::Error], "{:?}", world.opened.lines);
    assert_eq!(kept(&world.disk), lost);
    assert_eq!(world.store().end().0, at);
    assert_eq!(world.append("T", 0, 100).unwrap().queue_offset.0, last.offset + 1);
    world.reopen();
}

#[test]
fn what_appeared_behind_a_cleanly_stopped_log_is_kept_as_a_copy() {
    let mut world = ended(true, true);
    let end = world.sent.last().unwrap().end.0;
    overwrite(&world.disk, end, &noise(3_000));
    world.open();
    assert_eq!(cut_lines(&world), [Level::Error], "{:?}", world.opened.lines);
    assert_eq!(kept(&world.disk), noise(3_000));
    let log = world.disk.bytes(Path::new(FIRST)).unwrap();
    assert!(log[end as usize..].iter().all(|b| *b == 0), "a 4.9 broker would take it for messages");
    goes_on(&mut world);
}

#[test]
fn a_crash_explains_one_torn_record_and_nothing_else() {
    for ours in [true, false] {
        let mut world = ended(false, ours);
        let last = world.sent.pop().unwrap();
        overwrite(&world.disk, last.end.0 - 100, &[0; 100]);
        world.open();
        assert_eq!(cut_lines(&world), [Level::Info], "{:?}", world.opened.lines);
        assert!(!has_quarantine(&world.disk), "a torn record was never confirmed whole");
        goes_on(&mut world);

        let mut world = ended(false, ours);
        let end = world.sent.last().unwrap().end.0;
        overwrite(&world.disk, end, &noise(3_000));
        world.open();
        let expected = if ours { Level::Error } else { Level::Warn };
        assert_eq!(cut_lines(&world), [expected], "{:?}", world.opened.lines);
        assert_eq!(kept(&world.disk), noise(3_000));
        goes_on(&mut world);
    }
}

#[test]
fn the_copy_is_whole_wherever_recovery_is_interrupted() {
    let mut world = ended(false, true);
    let end = world.sent.last().unwrap().end.0;
    overwrite(&world.disk, end, &noise(3_000));
    world.disk.record();
    drop(Store::open(world.disk.handle(), world.options.clone(), Millis(0)).unwrap());
    let trace = world.disk.take_trace();
    for point in 0..=trace.len() {
        world.disk = trace.killed(point);
        world.open();
        // Of what a crash left half cleared there may be a copy, too.
        let all = all_kept(&world.disk);
        assert!(all.contains(&noise(3_000)) && all.len() <= 2, "{point}: {}", all.len());
        world.check();
        world.store = None;
    }
}

#[test]
fn what_was_set_aside_earlier_is_not_replaced() {
    let mut world = ended(false, true);
    let behind = "/store/commitlog/00000000000000016384";
    for round in 1..=3u8 {
        world.disk.plant(Path::new(behind), &[round; 16 << 10]).unwrap();
        world.open();
        world.store = None;
        world.disk = world.disk.kill();
    }
    let mut found: Vec<u8> = all_kept(&world.disk).iter().map(|bytes| bytes[0]).collect();
    found.sort_unstable();
    assert_eq!(found, [1, 2, 3]);
}

#[test]
fn the_place_of_a_rotten_record_at_the_end_of_its_queue_is_not_given_out_again() {
    // In its body, so that its head tells the place; in its size, so that only the queue's file does.
    for byte in [120, 3] {
        // Another broker's, stopped: the last record of the log. After a crash: the last of its queue, in the middle.
        for middle in [false, true] {
            let mut world = if middle { flushed_then_killed() } else { ended(true, false) };
            let queue = world.sent.iter().rposition(|sent| sent.topic == "T").unwrap();
            let rotten = world.sent.remove(queue);
            world.disk.flip(Path::new(FIRST), rotten.end.0 - rotten.size + byte, 4).unwrap();
            world.open();
            let told = world.opened.lines.iter().filter(|line| line.contains("their places stay taken"));
            assert_eq!(told.count(), 1, "{byte} {middle}: {:?}", world.opened.lines);
            // Killed before anything else happened.
            world.store = None;
            world.disk = world.disk.kill();
            world.open();
            let next = world.append("T", 0, 100).unwrap().queue_offset.0;
            assert_eq!(next, rotten.offset + 1, "{byte} {middle}: {:?}", world.opened.lines);
            world.reopen();
            let of_topic = world.sent.iter().filter(|sent| sent.topic == "T");
            let expected: Vec<_> = of_topic.map(|sent| (sent.offset, sent.body.clone())).collect();
            assert_eq!(read_all(world.store(), "T", 0, 0), expected);
        }
    }
}

#[test]
fn a_kept_place_outlives_a_kill_at_any_moment_of_recovery() {
    let mut world = ended(false, true);
    // Two, since one could be torn by the crash.
    for rotten in world.sent.split_off(3) {
        world.disk.flip(Path::new(FIRST), rotten.end.0 - rotten.size + 120, 4).unwrap();
    }
    world.disk.record();
    drop(Store::open(world.disk.handle(), world.options.clone(), Millis(0)).unwrap());
    let trace = world.disk.take_trace();
    for point in 0..=trace.len() {
        let disk = trace.killed(point);
        let (store, opened) = Store::open(disk.handle(), world.options.clone(), Millis(0)).unwrap();
        let slot = store.find_slot("T", QueueId(0)).unwrap();
        assert_eq!(store.bounds(slot).max.0, 5, "{point}: {:?}", opened.lines);
    }
}

/// A store of two topics, flushed, with queue files, and killed before the queues' ends were written down.
fn flushed_then_killed() -> World {
    let mut options = options(Flush::Async);
    options.checkpoint_interval = Millis(i64::MAX / 2);
    options.checkpoint_bytes = u64::MAX;
    let mut world = World::on(MemDisk::new(), options);
    // The first checkpoint comes at once, the second never.
    for topics in [&["T"][..], &["T", "T", "T", "U", "U"]] {
        for topic in topics {
            world.append(topic, 0, 400).unwrap();
        }
        world.store().commit().unwrap();
        for _ in 0..3 {
            world.pass(100);
            world.settle();
        }
    }
    world.store = None;
    world.jobs.clear();
    world.disk = world.disk.kill();
    world
}

#[test]
fn a_log_file_behind_the_end_of_a_store_that_was_stopped_is_put_away() {
    for content in [0, 7] {
        let mut world = ended(true, true);
        let segment = world.options.segment_bytes;
        let path = PathBuf::from(format!("/store/commitlog/{segment:020}"));
        world.disk.plant(&path, &vec![content; segment as usize]).unwrap();
        world.open();
        assert!(world.opened.clean && world.opened.lines.len() == 1, "{:?}", world.opened);
        assert!(world.disk.bytes(&path).is_err(), "it is gone from the log");
        assert_eq!(
            world.disk.list(Path::new("/store/kerolox.quarantine")).map_or(0, |all| all.len()),
            usize::from(content > 0)
        );
        for _ in 0..40 {
            world.append("T", 0, 400).unwrap();
            world.store().commit().unwrap();
        }
        world.settle();
        world.reopen();
        world.check();
    }
}

#[test]
fn a_crashed_store_whose_oldest_log_files_were_deleted_is_opened_whoever_had_it() {
    for gone in [&["kerolox.queues", "kerolox.checkpoint"][..], &["kerolox.checkpoint"], &["kerolox.queues"]]
    {
        for is_same_boot in [true, false] {
            let mut world = World::on(MemDisk::new(), options(Flush::Sync));
            for _ in 0..100 {
                world.append("T", 0, 400).unwrap();
                world.store().commit().unwrap();
                world.settle();
                world.pass(60);
            }
            let segment = world.options.segment_bytes;
            // As retention leaves it.
            world.store = None;
            world.jobs.clear();
            world.disk = if is_same_boot { world.disk.kill() } else { world.disk.power_cut(1) };
            for number in 0..2 {
                world
                    .disk
                    .remove(&PathBuf::from(format!("/store/commitlog/{:020}", number * segment)))
                    .unwrap();
            }
            gone.iter().for_each(|name| drop(world.disk.remove(&Path::new("/store").join(name))));
            world.open();
            assert_eq!(world.store().first().0, 2 * segment, "{gone:?}: {:?}", world.opened.lines);
            let is_left = |sent: &&harness::Sent| sent.end.0 - sent.size >= 2 * segment;
            let expected: Vec<_> =
                world.sent.iter().filter(is_left).map(|sent| (sent.offset, sent.body.clone())).collect();
            world.settle();
            assert!(expected.len() > 20);
            assert!(world.consume("T", 0) == expected, "{gone:?}: {:?}", world.opened.lines);
        }
    }
}
