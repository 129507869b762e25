//! What is damaged in silence takes nothing with it but itself.

mod harness;

use harness::{World, options, read_all};
use kerolox_protocol::{LogOffset, Millis, QueueId};
use kerolox_store::{
    Flush, Options,
    disk::{Disk, Open, memory::MemDisk},
};
use std::path::Path;

const LOG: &str = "/store/commitlog/00000000000000000000";

/// No checkpoint within a story, so that the next start reads the whole log.
fn unchecked(flush: Flush) -> Options {
    let mut options = options(flush);
    options.checkpoint_interval = Millis(1_000_000);
    options
}

/// Messages of one queue, flushed.
fn five(flush: Flush) -> World {
    five_after(flush, 900)
}

/// The same, behind a first one of so many bytes.
fn five_after(flush: Flush, len: usize) -> World {
    flushed(flush, &[len, 900, 900, 900, 900])
}

/// Messages of so many bytes.
fn flushed(flush: Flush, lens: &[usize]) -> World {
    let mut world = World::on(MemDisk::new(), unchecked(flush));
    for len in lens {
        world.append("T", 0, *len).unwrap();
        world.store().commit().unwrap();
        world.pass(1_000);
        world.settle();
    }
    assert_eq!(world.store().flushed(), world.store().end());
    world
}

/// Where the record of a message begins.
fn at(world: &World, n: usize) -> u64 {
    let sent = world.sent.get(n).unwrap();
    sent.end.0 - sent.size
}

/// Another machine, or another process on the same one, starts on the disk.
fn start_on(world: &mut World, disk: MemDisk) {
    world.store = None;
    world.disk = disk;
    world.open();
}

fn offsets(world: &World) -> Vec<u64> {
    read_all(world.store.as_ref().unwrap(), "T", 0, 0).iter().map(|(offset, _)| *offset).collect()
}

/// Writes other bytes over a part of the log's first file.
fn damage(disk: &MemDisk, at: u64, bytes: &[u8]) {
    disk.decay(Path::new(LOG), at, bytes).unwrap();
}

/// The last record is damaged in its body and whole behind it: a kill would have cut it short.
#[test]
fn the_last_message_is_damaged_and_its_place_stays_taken() {
    let mut world = five(Flush::Async);
    let disk = world.disk.kill();
    disk.flip(Path::new(LOG), at(&world, 4) + 300, 2).unwrap();
    start_on(&mut world, disk);
    assert_eq!(offsets(&world), [0, 1, 2, 3]);
    world.append("T", 0, 10).unwrap();
    assert_eq!(world.sent.last().unwrap().offset, 5, "whoever read the damaged one would miss this one");
}

/// The last record of a queue tells an offset that is a million too large: it is damaged, and the queue is not given up
/// for it.
#[test]
fn a_last_message_from_far_ahead_takes_no_others_with_it() {
    let mut world = five(Flush::Async);
    let disk = world.disk.kill();
    disk.flip(Path::new(LOG), at(&world, 4) + 25, 4).unwrap();
    start_on(&mut world, disk);
    assert_eq!(offsets(&world), [0, 1, 2, 3], "{:?}", world.opened);
    assert_eq!(world.opened.damaged.first(), Some(&(at(&world, 4)..world.sent[4].end.0)));
    world.append("T", 0, 10).unwrap();
    assert_eq!(world.sent.last().unwrap().offset, 5, "its place stays taken");
}

/// What a power cut leaves of a write lacks the end of a sector. A flipped bit does not, and what stands behind it was
/// flushed, although no checkpoint says so.
#[test]
fn damage_before_a_power_cut_takes_nothing_that_was_flushed() {
    for seed in 0..20 {
        let mut world = five(Flush::Sync);
        world.disk.flip(Path::new(LOG), at(&world, 1) + 300, 2).unwrap();
        let disk = world.disk.power_cut(seed);
        start_on(&mut world, disk);
        assert_eq!(offsets(&world), [0, 2, 3, 4], "{seed}: {:?}", world.opened);
    }
}

/// The same, wherever in a record a sector ends: in its head zeros are its own.
#[test]
fn a_head_lacks_no_sectors_end_for_its_zeros() {
    let size = at(&five(Flush::Sync), 1) as usize;
    for head in 1..=88 {
        // The first record ends so that a sector ends that far in the second.
        let mut world = five_after(Flush::Sync, 900 + (size + head).next_multiple_of(512) - (size + head));
        assert_eq!((at(&world, 1) as usize + head) % 512, 0);
        world.disk.flip(Path::new(LOG), at(&world, 1) + 300, 2).unwrap();
        let disk = world.disk.power_cut(0);
        start_on(&mut world, disk);
        assert_eq!(offsets(&world), [0, 2, 3, 4], "{head}: {:?}", world.opened);
    }
}

/// Of the sector that a power cut took, the next record had two bytes, and both are zeros: nothing says that it was
/// written.
#[test]
fn the_zeros_that_a_good_record_begins_with_prove_nothing() {
    let size = at(&five(Flush::Async), 1) as usize;
    // The third record lies over one border, in its body.
    let third = 575;
    let end = 2 * size + (size - 900 + third) + 2;
    let mut world = flushed(Flush::Async, &[900 + end.next_multiple_of(512) - end, 900, third, 900, 900]);
    let border = at(&world, 3) + 2;
    assert_eq!(border % 512, 0);
    let disk = world.disk.power_cut(0);
    damage(&disk, border - 512, &[0; 512]);
    disk.plant(Path::new(QUEUE), &[0; 200]).unwrap();
    start_on(&mut world, disk);
    assert_eq!(world.store().end().0, at(&world, 2), "{:?}", world.opened);
    assert_eq!(world.opened.damaged, []);
}

/// A sector of zeros looks like a write that a power cut took. Entries of queue files are those of flushed records, and
/// prove that it is none.
#[test]
fn queue_files_prove_what_was_flushed() {
    for seed in 0..20 {
        let mut world = five(Flush::Sync);
        let hole = (at(&world, 1) + 512).next_multiple_of(512) - 512;
        damage(&world.disk, hole, &[0; 512]);
        // The file system has written it meanwhile.
        let queue = Path::new("/store/consumequeue/T/0/00000000000000000000");
        world.disk.open(queue, Open::Write).unwrap().sync().unwrap();
        queue.ancestors().skip(1).for_each(|dir| world.disk.sync_dir(dir).unwrap());
        let disk = world.disk.power_cut(seed);
        start_on(&mut world, disk);
        assert!(offsets(&world).ends_with(&[3, 4]), "{seed}: {:?}", world.opened);
    }
}

/// Fourteen messages of one queue, the last four in its second file, and a power cut. It took all entries from the first
/// file but two, and none from the second; a sector of the fourth message's record holds zeros.
fn two_queue_files() -> (World, MemDisk) {
    let mut world = World::on(MemDisk::new(), unchecked(Flush::Sync));
    for _ in 0..14 {
        world.append("T", 0, 900).unwrap();
        world.store().commit().unwrap();
        world.pass(1_000);
        world.settle();
    }
    let disk = world.disk.power_cut(1);
    let mut entries = world.disk.bytes(Path::new(QUEUE)).unwrap();
    entries[40..].fill(0);
    disk.plant(Path::new(QUEUE), &entries).unwrap();
    disk.plant(Path::new(SECOND), &world.disk.bytes(Path::new(SECOND)).unwrap()).unwrap();
    let hole = (at(&world, 3) + 512).next_multiple_of(512) - 512;
    damage(&disk, hole, &[0; 512]);
    (world, disk)
}

const QUEUE: &str = "/store/consumequeue/T/0/00000000000000000000";
const SECOND: &str = "/store/consumequeue/T/0/00000000000000000200";

/// Entries behind those that are missing prove as much.
#[test]
fn the_last_queue_file_proves_what_was_flushed() {
    let (mut world, disk) = two_queue_files();
    start_on(&mut world, disk);
    assert!(offsets(&world).ends_with(&[5, 6, 7, 8, 9, 10, 11, 12, 13]), "{:?}", world.opened);
}

/// The log is cut off, and an older broker would find entries of what stood there: those behind empty ones, too.
#[test]
fn entries_of_what_was_cut_off_are_cleared_behind_empty_ones() {
    let (mut world, disk) = two_queue_files();
    // Nothing can be proven by these.
    (10..14).for_each(|n| damage(&disk, at(&world, n) + 300, b"another body"));
    start_on(&mut world, disk);
    assert_eq!(world.store().end().0, at(&world, 3), "{:?}", world.opened);
    let left = world.disk.bytes(Path::new(SECOND)).unwrap();
    assert!(left.iter().all(|byte| *byte == 0), "{left:?}");
}

/// What tells whether the machine ended cannot be read. A kill leaves no holes, so nothing may be given up for one.
#[test]
fn without_its_checkpoint_a_kill_is_no_power_cut() {
    let mut world = five(Flush::Async);
    let hole = (at(&world, 1) + 512).next_multiple_of(512) - 512;
    let disk = world.disk.kill();
    damage(&disk, hole, &[0; 512]);
    disk.decay(Path::new("/store/kerolox.checkpoint"), 20, &[0xff; 8]).unwrap();
    start_on(&mut world, disk);
    assert!(offsets(&world).ends_with(&[3, 4]), "{:?}", world.opened);
}

/// Without its checkpoint a start after a power cut sets aside what lacks a sector of its properties, which no checksum
/// covers. The next start comes after a kill, which takes no sectors: it must not find the record sound.
#[test]
fn what_a_power_cut_tore_stays_set_aside() {
    let mut world = World::on(MemDisk::new(), unchecked(Flush::Async));
    world.append("T", 0, 900).unwrap();
    let (end, size) = (world.sent[0].end.0, world.sent[0].size);
    // The last 20 bytes of the second record lie in a sector of their own.
    let len = 900 + ((end + size).next_multiple_of(512) + 20 - (end + size)) as usize;
    for len in [len, 900, 900, 900] {
        world.append("T", 0, len).unwrap();
    }
    world.store().commit().unwrap();
    world.settle();
    let hole = world.sent[1].end.0 - 20;
    assert_eq!(hole % 512, 0);
    let disk = world.disk.kill();
    damage(&disk, hole, &[0; 512]);
    disk.decay(Path::new("/store/kerolox.checkpoint"), 20, &[0xff; 8]).unwrap();
    for start in 0..3 {
        let disk = if start == 0 { disk.clone() } else { world.disk.kill() };
        start_on(&mut world, disk);
        assert_eq!(offsets(&world), [0, 3, 4], "start {start}: {:?}", world.opened);
    }
}

/// Nothing is older than a record whose time is damaged, and what comes behind is.
#[test]
fn a_store_time_from_the_future_makes_nothing_too_old() {
    let mut world = five(Flush::Async);
    let disk = world.disk.kill();
    // The time stands behind the fixed fields and the sender's address.
    damage(&disk, at(&world, 1) + 56, &[0x40]);
    disk.flip(Path::new(LOG), at(&world, 2) + 300, 2).unwrap();
    start_on(&mut world, disk);
    assert_eq!(offsets(&world), [0, 1, 3, 4], "{:?}", world.opened);
    let now = world.now.wall;
    let appended = world.append("T", 0, 10).unwrap();
    assert!(appended.store_ms <= now + Millis(1_000), "{} at {now}", appended.store_ms);
}

/// A damaged entry tells any position, or none: queues begin where they did.
#[test]
fn a_damaged_entry_moves_no_start() {
    let queue = "/store/consumequeue/T/0/00000000000000000000";
    for bytes in [[0x80; 20], [0; 20], [0x7f; 20]] {
        let mut world = five(Flush::Async);
        world.stop();
        world.disk = world.disk.kill();
        world.open();
        let disk = world.disk.kill();
        disk.decay(Path::new(queue), 0, &bytes).unwrap();
        start_on(&mut world, disk);
        world.pass(10_000);
        world.settle();
        let slot = world.store().find_slot("T", QueueId(0)).unwrap();
        assert_eq!(world.store().bounds(slot).min.0, 0, "{bytes:?}");
    }
}

/// With neither the ends of queues nor a sound entry at the place where halving looks, queues end where they did.
#[test]
fn a_damaged_entry_ends_no_queue() {
    let queue = "/store/consumequeue/T/0/00000000000000000000";
    for n in 0..5 {
        for bytes in [[0x80; 20], [0; 20], [0x7f; 20]] {
            let mut world = five(Flush::Async);
            world.stop();
            let disk = world.disk.kill();
            disk.decay(Path::new("/store/kerolox.queues"), 20, &[0xff; 8]).unwrap();
            disk.decay(Path::new(queue), n * 20, &bytes).unwrap();
            start_on(&mut world, disk);
            world.append("T", 0, 10).unwrap();
            assert_eq!(world.sent.last().unwrap().offset, 5, "{n} {bytes:?} {:?}", world.opened);
        }
    }
}

/// The queue begins behind a message that is lost, in a file that a crash left empty: what is before is filled up, since
/// an older broker takes an empty slot for the queue's end.
#[test]
fn an_empty_queue_file_is_filled_up_in_front() {
    let mut world = five(Flush::Async);
    let disk = world.disk.kill();
    disk.plant(Path::new(QUEUE), b"").unwrap();
    disk.plant(Path::new("/store/kerolox.queues"), b"rotten").unwrap();
    disk.flip(Path::new(LOG), at(&world, 0) + 300, 2).unwrap();
    start_on(&mut world, disk);
    assert_eq!(offsets(&world), [1, 2, 3, 4], "{:?}", world.opened);
    world.stop();
    let entries = world.disk.bytes(Path::new(QUEUE)).unwrap();
    // Size 0x7fffffff: an entry without a message.
    assert_eq!(entries[..20], [0, 0, 0, 0, 0, 0, 0, 0, 0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 0]);
}

/// A process died between making a queue file and setting its length.
#[test]
fn an_empty_queue_file_is_no_hindrance() {
    let queue = "/store/consumequeue/T/0/00000000000000000000";
    let mut world = five(Flush::Async);
    let disk = world.disk.kill();
    disk.plant(Path::new(queue), b"").unwrap();
    disk.decay(Path::new("/store/checkpoint"), 20, &[0xff; 8]).ok();
    disk.plant(Path::new("/store/kerolox.queues"), b"rotten").unwrap();
    start_on(&mut world, disk);
    assert_eq!(offsets(&world), [0, 1, 2, 3, 4], "{:?}", world.opened);
    assert_eq!(world.store().end(), LogOffset(world.sent.last().unwrap().end.0));
}
