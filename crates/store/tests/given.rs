//! Stores as people leave them: parts missing, foreign things beside them.

mod harness;

use harness::World;
use kerolox_store::{
    Flush, Level, Store,
    disk::{
        Disk,
        memory::{Call, Fault, Harm, MemDisk},
    },
};
use std::path::Path;

fn filled(n: usize) -> World {
    let mut world = World::new(Flush::Async);
    fill(&mut world, n);
    world
}

fn fill(world: &mut World, n: usize) {
    for _ in 0..n {
        world.append("T", 0, 1000).unwrap();
        world.append("U", 3, 100).unwrap();
        world.store().commit().unwrap();
        world.settle();
        world.pass(10);
    }
}

fn remove_all(disk: &MemDisk, dir: &Path) {
    for entry in disk.list(dir).unwrap() {
        let path = dir.join(&entry.name);
        match entry.is_dir {
            true => remove_all(disk, &path),
            false => disk.remove(&path).unwrap(),
        }
    }
    disk.remove_dir(dir).unwrap();
}

/// A store that was stopped, without some of its parts; opened.
fn without(what: &[&str], aborted: bool) -> World {
    let mut world = filled(60);
    world.stop();
    world.disk = world.disk.kill();
    for name in what {
        let path = Path::new("/store").join(name);
        match world.disk.list(&path) {
            Ok(_) => remove_all(&world.disk, &path),
            Err(_) => world.disk.remove(&path).unwrap(),
        }
    }
    if aborted {
        world.disk.plant(Path::new("/store/abort"), b"").unwrap();
    }
    world.open();
    world
}

/// What a store has that a 4.9 broker never saw.
const OURS: [&str; 2] = ["kerolox.queues", "kerolox.checkpoint"];

#[test]
fn a_missing_part_is_made_again_from_the_log() {
    for aborted in [false, true] {
        for parts in [
            &["consumequeue"][..],
            &["consumequeue/T/0"],
            &["consumequeue/T/0/00000000000000000000"],
            &["consumequeue/T/0/00000000000000000200"],
            &["consumequeue/T/0/00000000000000001000"],
            &["index"],
            &["checkpoint"],
            &["lock"],
            &["index", "consumequeue", "checkpoint"],
        ] {
            for ours in [&[][..], &OURS[..1], &OURS[1..], &OURS] {
                let what: Vec<&str> = parts.iter().chain(ours).copied().collect();
                let mut world = without(&what, aborted);
                let opened = format!("{what:?} {aborted} {:?}", world.opened);
                assert_eq!(world.consume("T", 0).len(), 60, "{opened}");
                assert_eq!(world.consume("U", 3).len(), 60, "{opened}");
                world.append("T", 0, 10).unwrap();
                assert_eq!(world.sent.last().unwrap().offset, 60, "{opened}");
                world.reopen();
                assert_eq!(world.consume("T", 0).len(), 61, "{opened}");
            }
        }
    }
}

#[test]
fn a_topic_without_files_begins_where_the_log_is_read_and_the_way_out_makes_it_whole() {
    let what = ["consumequeue/T", OURS[0], OURS[1]];
    let mut world = without(&what, false);
    assert!(world.opened.lines.iter().any(|line| line.contains("no files")), "{:?}", world.opened);
    assert!(world.consume("T", 0).len() < 60);
    world.stop();
    world.disk = world.disk.kill();
    for ours in OURS {
        world.disk.remove(&Path::new("/store").join(ours)).unwrap();
    }
    remove_all(&world.disk, Path::new("/store/consumequeue"));
    world.open();
    world.check();
}

#[test]
fn a_kill_at_any_moment_of_making_all_queues_again_loses_nothing() {
    let mut world = filled(35);
    // The checkpoint covers what is older than three seconds.
    world.pass(5_000);
    fill(&mut world, 5);
    let rotten = world.sent.split_off(78);
    world.stop();
    world.disk = world.disk.kill();
    // Their places in the queues stay taken, which is written to files before the start is over. Two, since one could
    // be torn by a crash.
    let segment = world.options.segment_bytes;
    for rotten in rotten {
        let at = rotten.end.0 - rotten.size;
        let path = format!("/store/commitlog/{:020}", at - at % segment);
        world.disk.flip(Path::new(&path), at % segment + 100, 4).unwrap();
    }
    for ours in OURS {
        world.disk.remove(&Path::new("/store").join(ours)).unwrap();
    }
    remove_all(&world.disk, Path::new("/store/consumequeue"));
    let disk = world.disk.clone();
    disk.record();
    world.open();
    world.store = None;
    let trace = disk.take_trace();
    for point in 0..=trace.len() {
        world.disk = trace.killed(point);
        world.open();
        assert_eq!(world.consume("T", 0).len(), 39, "{point} {:?}", world.opened);
        assert_eq!(world.consume("U", 3).len(), 39, "{point} {:?}", world.opened);
        world.store = None;
        world.jobs.clear();
    }
}

/// Names of another disk: somebody has put a directory there.
fn far(world: &World, from: &str) {
    let (call, path) = (Call::Rename, from.to_owned());
    world.disk.plan(Fault { call, path, nth: 1, times: u64::MAX, harm: Harm::Exdev });
}

#[test]
fn parts_on_other_disks_are_moved_by_way_of_a_copy() {
    let mut world = filled(60);
    world.stop();
    world.disk = world.disk.kill();
    // Behind the end, and not empty: nobody's.
    let files = world.disk.list(Path::new("/store/commitlog")).unwrap().len() as u64;
    let behind = format!("/store/commitlog/{:020}", files * world.options.segment_bytes);
    let bytes = vec![7; world.options.segment_bytes as usize];
    world.disk.plant(Path::new(&behind), &bytes).unwrap();
    far(&world, "commitlog");
    world.open();
    world.check();
    let name = behind.rsplit('/').next().unwrap();
    let kept = world.disk.bytes(&Path::new("/store/kerolox.quarantine").join(name)).unwrap();
    assert!(kept == bytes && world.disk.bytes(Path::new(&behind)).is_err());
    // A queue file is made again, too.
    world.stop();
    world.disk = world.disk.kill();
    let file = Path::new("/store/consumequeue/T/0/00000000000000000200");
    let before = world.disk.bytes(file).unwrap();
    world.disk.remove(file).unwrap();
    far(&world, "quarantine");
    world.open();
    assert_eq!(world.consume("T", 0).len(), 60);
    assert!(world.store().writable().is_ok());
    assert!(world.disk.bytes(file).unwrap() == before);
}

#[test]
fn what_a_file_system_has_at_its_top_is_left_alone() {
    let mut world = filled(5);
    world.stop();
    world.disk = world.disk.kill();
    for dir in ["/store", "/store/commitlog", "/store/consumequeue", "/store/index"] {
        world.disk.create_dir_all(&Path::new(dir).join("lost+found")).unwrap();
    }
    world.open();
    assert!(world.opened.clean && world.opened.lines.is_empty(), "{:?}", world.opened);
    world.check();
    world.stop();
    world.disk = world.disk.kill();
    for ours in OURS {
        world.disk.remove(&Path::new("/store").join(ours)).unwrap();
    }
    world.open();
    assert!(world.opened.foreign && world.opened.lines.is_empty(), "{:?}", world.opened);
    world.check();
}

#[test]
fn a_last_log_file_that_was_copied_in_part_is_refused_and_may_be_moved_away() {
    for aborted in [false, true] {
        let mut world = filled(60);
        world.stop();
        world.disk = world.disk.kill();
        if aborted {
            world.disk.plant(Path::new("/store/abort"), b"").unwrap();
        }
        let segment = world.options.segment_bytes;
        let end = world.sent.last().unwrap().end.0;
        let path = format!("/store/commitlog/{:020}", end - end % segment);
        let whole = world.disk.bytes(Path::new(&path)).unwrap();
        let used = (end % segment) as usize;
        for len in [0, used / 2, used - 1] {
            world.disk.plant(Path::new(&path), &whole[..len]).unwrap();
            let refused =
                Store::open(world.disk.handle(), world.options.clone(), world.now.wall).unwrap_err();
            assert!(refused.to_string().contains("copied incompletely"), "{refused}");
        }
        // Behind the end nothing is missing.
        world.disk.plant(Path::new(&path), &whole[..used]).unwrap();
        world.open();
        world.check();
        world.stop();
        world.disk = world.disk.kill();
        // Who has no other copy goes on with what is there.
        world.disk.remove(Path::new(&path)).unwrap();
        world.open();
        assert!(world.opened.lines.iter().any(|line| line.level == Level::Error), "{:?}", world.opened);
        let t = world.consume("T", 0).len();
        assert!((1..60).contains(&t), "{t}");
        world.append("T", 0, 10).unwrap();
        world.store().commit().unwrap();
        assert_eq!(world.consume("T", 0).len(), t + 1);
    }
}

#[test]
fn a_store_that_another_broker_made_anew_has_the_sizes_of_its_files() {
    // What Kerolox left stays where somebody emptied the rest.
    let mut old = filled(3);
    old.stop();
    let ours = OURS.map(|name| old.disk.bytes(&Path::new("/store").join(name)).unwrap());
    let mut sizes = harness::options(Flush::Async);
    (sizes.segment_bytes, sizes.queue_file_bytes) = (32 << 10, 400);
    let mut world = World::on(MemDisk::new(), sizes);
    fill(&mut world, 60);
    world.stop();
    world.disk = world.disk.kill();
    for (name, bytes) in OURS.iter().zip(&ours) {
        world.disk.plant(&Path::new("/store").join(name), bytes).unwrap();
    }
    world.open();
    assert!(world.opened.foreign, "{:?}", world.opened);
    world.check();
    let whole = |file: &kerolox_store::disk::DirEntry| file.len == 400;
    assert!(world.disk.list(Path::new("/store/consumequeue/T/0")).unwrap().iter().all(whole));
    world.reopen();
    world.check();
}

#[test]
fn what_was_durable_before_another_broker_had_the_store_says_nothing_of_its_log() {
    another_had_it_since(&OURS);
    // One that knows nothing of the queues cannot tell whose the log is.
    another_had_it_since(&OURS[1..]);
}

fn another_had_it_since(left: &[&str]) {
    let mut old = filled(3);
    old.stop();
    let ours = OURS.map(|name| old.disk.bytes(&Path::new("/store").join(name)).unwrap());
    let mut world = filled(60);
    let segment = world.options.segment_bytes;
    world.stop();
    for (name, bytes) in OURS.iter().zip(&ours) {
        let path = Path::new("/store").join(name);
        match left.contains(name) {
            true => world.disk.plant(&path, bytes).unwrap(),
            false => world.disk.remove(&path).unwrap(),
        }
    }
    world.disk.sync_dir(Path::new("/store")).unwrap();
    // It has deleted old files since, and then it crashed.
    for n in 0..2 {
        world.disk.remove(Path::new(&format!("/store/commitlog/{:020}", n * segment))).unwrap();
    }
    world.disk.plant(Path::new("/store/abort"), b"").unwrap();
    world.disk.sync_dir(Path::new("/store/commitlog")).unwrap();
    world.disk = world.disk.power_cut(1);
    world.open();
    assert!(world.opened.foreign, "{:?}", world.opened);
    let there = world.sent.iter().filter(|sent| sent.end.0 - sent.size >= 2 * segment).count();
    let found = world.consume("T", 0).len() + world.consume("U", 3).len();
    assert_eq!(found, there, "{:?}", world.opened);
    assert!(world.disk.list(Path::new("/store/kerolox.quarantine")).is_err(), "{:?}", world.opened);
}
