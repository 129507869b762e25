//! Queue files that are damaged while the log is whole: entries with flipped bits, files that are gone, writes that
//! landed elsewhere. Readers get every message, at its place, and nothing else.

mod harness;

use harness::{LIMITS, World, options};
use kerolox_protocol::{LogOffset, Millis, QueueId, QueueOffset};
use kerolox_said::Said;
use kerolox_store::{
    Boundary, Filled, Flush, Message, PlanStatus,
    disk::{
        Disk,
        memory::{CrashState, MemDisk, Trace},
    },
};
use std::path::{Path, PathBuf};
use tracing::Level;

const ENTRY: usize = 20;
/// Entries of a file.
const PER_FILE: usize = 10;

/// A store that was stopped: in each of two queues, mixed in the log, three files of entries.
fn stopped() -> World {
    let mut world = World::on(MemDisk::new(), options(Flush::Sync));
    world.by_turns(25, |n| 40 + n);
    world.stop();
    world.disk = world.disk.kill();
    world
}

fn file(topic: &str, number: usize) -> PathBuf {
    PathBuf::from(format!("/store/consumequeue/{topic}/0/{:020}", number * PER_FILE * ENTRY))
}

/// Starts the store on its disk, to which something was done.
fn start(world: &mut World, disk: &MemDisk, harm: impl FnOnce(&MemDisk)) {
    world.disk = disk.kill();
    harm(&world.disk);
    world.open();
    assert!(world.opened.lines.is_empty(), "nobody looks there: {:?}", world.opened.lines);
}

/// Changes the bytes of a file.
fn change(disk: &MemDisk, path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = disk.bytes(path).unwrap();
    change(&mut bytes);
    disk.plant(path, &bytes).unwrap();
}

/// Both queues as they were sent.
fn reads_all(world: &mut World, what: &str) {
    for topic in ["A", "B"] {
        let of_queue = world.sent.iter().filter(|sent| sent.topic == topic);
        let expected: Vec<_> = of_queue.map(|sent| (sent.offset, sent.body.clone())).collect();
        assert_eq!(world.consume(topic, 0), expected, "{topic}: {what}");
    }
}

/// What stands aside, copies of damaged files.
fn copies(disk: &MemDisk) -> usize {
    disk.list(Path::new("/store/kerolox.quarantine")).map_or(0, |all| all.len())
}

/// Lines that tell of damaged queues: warnings, and errors.
fn told(said: &Said) -> (usize, usize) {
    let all = said.all();
    let count = |level| all.iter().filter(|(at, _)| *at == level).count();
    (count(Level::WARN), count(Level::ERROR))
}

/// A file is made again once, and then all is as it was.
fn is_made_again(world: &mut World, whole: &MemDisk, what: &str) {
    let said = Said::listen();
    reads_all(world, what);
    assert_eq!(told(&said), (1, 0), "{what}");
    for path in (0..3).map(|number| file("A", number)) {
        assert!(
            world.disk.bytes(&path).unwrap() == whole.bytes(&path).unwrap(),
            "{what}: {}",
            path.display()
        );
    }
    let copies = copies(&world.disk);
    world.reopen();
    reads_all(world, what);
    assert!(told(&said) == (0, 0) && self::copies(&world.disk) == copies, "{what}: told once");
}

#[test]
fn a_flipped_bit_of_an_entry_hides_no_message_and_shows_no_other() {
    let mut world = stopped();
    let whole = world.disk.clone();
    // The first of a file, one in the middle, the last of all.
    for entry in [0, 7, 10, 24] {
        let (path, within) = (file("A", entry / PER_FILE), entry % PER_FILE * ENTRY);
        for bit in 0..ENTRY as u32 * 8 {
            let what = format!("entry {entry}, bit {bit}");
            let at = (within as u32 + bit / 8) as u64;
            start(&mut world, &whole, |disk| disk.flip(&path, at, bit % 8).unwrap());
            let is_low_part_of_the_hash = bit / 8 >= 16;
            if is_low_part_of_the_hash {
                // Nothing tells one hash from another.
                reads_all(&mut world, &what);
            } else {
                is_made_again(&mut world, &whole, &what);
            }
            world.store = None;
        }
    }
}

#[test]
fn what_landed_in_a_queue_file_is_written_over_with_what_belongs_there() {
    let mut world = stopped();
    let whole = world.disk.clone();
    let other = whole.bytes(&file("B", 1)).unwrap();
    let own = whole.bytes(&file("A", 1)).unwrap();
    type Harm<'a> = (&'a str, usize, usize, &'a dyn Fn(&mut [u8]));
    let harms: [Harm<'_>; 6] = [
        ("zeros", 3, 4, &|part| part.fill(0)),
        ("zeros all over", 0, 10, &|part| part.fill(0)),
        ("ones", 0, 3, &|part| part.fill(0xff)),
        ("entries of another queue", 2, 5, &|part| part.copy_from_slice(&other[40..140])),
        ("all entries of another queue", 0, 10, &|part| part.copy_from_slice(&other)),
        ("its own entries, elsewhere", 5, 5, &|part| part.copy_from_slice(&own[..100])),
    ];
    for (name, from, n, harm) in harms {
        start(&mut world, &whole, |disk| {
            change(disk, &file("A", 1), |bytes| harm(&mut bytes[from * ENTRY..(from + n) * ENTRY]));
        });
        is_made_again(&mut world, &whole, name);
        world.store = None;
    }
}

#[test]
fn a_queue_file_that_is_gone_is_made_again() {
    let mut world = stopped();
    let whole = world.disk.clone();
    for number in 0..3 {
        start(&mut world, &whole, |disk| disk.remove(&file("A", number)).unwrap());
        is_made_again(&mut world, &whole, &format!("file {number}"));
        world.store = None;
    }
    // All of them, with their directories.
    start(&mut world, &whole, |disk| {
        (0..3).for_each(|number| disk.remove(&file("A", number)).unwrap());
        disk.remove_dir(Path::new("/store/consumequeue/A/0")).unwrap();
        disk.remove_dir(Path::new("/store/consumequeue/A")).unwrap();
    });
    let said = Said::listen();
    reads_all(&mut world, "no directory");
    assert_eq!(told(&said), (3, 0));
    world.reopen();
    reads_all(&mut world, "no directory, later");
}

#[test]
fn a_file_that_never_got_its_length_is_made_whole() {
    let mut world = stopped();
    let whole = world.disk.clone();
    for len in [0, 30, 199] {
        start(&mut world, &whole, |disk| {
            let bytes = disk.bytes(&file("A", 1)).unwrap();
            disk.remove(&file("A", 1)).unwrap();
            disk.plant(&file("A", 1), &bytes[..len]).unwrap();
        });
        is_made_again(&mut world, &whole, &format!("{len} bytes"));
        world.store = None;
    }
}

/// The record of a message, as it stands in the log.
fn place(world: &World, topic: &str, offset: u64) -> (PathBuf, u64, u64) {
    let sent = world.sent.iter().find(|sent| sent.topic == topic && sent.offset == offset).unwrap();
    let (at, segment) = (sent.end.0 - sent.size, world.options.segment_bytes);
    (PathBuf::from(format!("/store/commitlog/{:020}", at / segment * segment)), at % segment, sent.size)
}

/// What a consumer gets of a queue in which these messages are lost.
fn reads_all_but(world: &mut World, lost: &[u64], what: &str) {
    let of_queue = world.sent.iter().filter(|sent| sent.topic == "A" && !lost.contains(&sent.offset));
    let expected: Vec<_> = of_queue.map(|sent| (sent.offset, sent.body.clone())).collect();
    assert_eq!(world.consume("A", 0), expected, "{what}");
}

#[test]
fn a_message_that_the_log_has_lost_is_sought_once_and_its_entry_stays() {
    let mut world = stopped();
    let whole = world.disk.clone();
    let (path, at, size) = place(&world, "A", 12);
    // Its size, what it tells of its place in the queue and in the log, its topic: nothing that a CRC covers.
    for byte in [0, 3, 15, 20, 27, 35, size - 1 - 100] {
        start(&mut world, &whole, |disk| disk.flip(&path, at + byte, 1).unwrap());
        let said = Said::listen();
        let what = format!("byte {byte}");
        reads_all_but(&mut world, &[12], &what);
        assert!(told(&said) == (0, 0) && copies(&world.disk) == 0, "{what}: nothing was to be made again");
        let looks = world.disk.calls(kerolox_store::disk::memory::Call::List);
        reads_all_but(&mut world, &[12], &what);
        assert_eq!(
            world.disk.calls(kerolox_store::disk::memory::Call::List),
            looks,
            "{what}: looked at once"
        );
        for number in 0..3 {
            assert!(
                world.disk.bytes(&file("A", number)).unwrap() == whole.bytes(&file("A", number)).unwrap()
            );
        }
        world.store = None;
    }
}

#[test]
fn an_entry_and_its_record_that_are_both_damaged_cost_that_message_alone() {
    let mut world = stopped();
    let whole = world.disk.clone();
    let (path, at, _) = place(&world, "A", 12);
    for bit in 0..128 {
        start(&mut world, &whole, |disk| {
            disk.flip(&path, at + 35, 1).unwrap();
            disk.flip(&file("A", 1), 2 * ENTRY as u64 + bit / 8, (bit % 8) as u32).unwrap();
        });
        reads_all_but(&mut world, &[12], &format!("bit {bit}"));
        world.reopen();
        reads_all_but(&mut world, &[12], &format!("bit {bit}, later"));
        let next = world.append("A", 0, 50).unwrap();
        assert_eq!(next.queue_offset, QueueOffset(25));
        world.sent.pop();
        world.store = None;
    }
}

#[test]
fn a_rotten_part_of_the_log_under_a_missing_queue_file_ends_the_search() {
    let mut world = stopped();
    let whole = world.disk.clone();
    start(&mut world, &whole, |disk| {
        for offset in 11..15 {
            let (path, at, size) = place(&world_of(&whole), "A", offset);
            change(disk, &path, |bytes| bytes[at as usize..(at + size) as usize].fill(0xee));
        }
        disk.remove(&file("A", 1)).unwrap();
    });
    let said = Said::listen();
    reads_all_but(&mut world, &[11, 12, 13, 14], "four lost");
    assert_eq!(told(&said), (1, 1), "one line for the file, one for what is lost");
    world.reopen();
    reads_all_but(&mut world, &[11, 12, 13, 14], "later");
    assert_eq!(told(&said), (0, 0));
}

/// The same messages again: [`stopped`] does the same each time.
fn world_of(_: &MemDisk) -> World {
    stopped()
}

#[test]
fn messages_that_a_4_9_broker_put_into_the_places_of_missed_ones_are_read() {
    let mut world = stopped();
    let whole = world.disk.clone();
    // It missed the entry of message 5, and went on: each later one stands one place before its own.
    start(&mut world, &whole, |disk| {
        let mut all: Vec<u8> = (0..3).flat_map(|number| disk.bytes(&file("A", number)).unwrap()).collect();
        all.drain(5 * ENTRY..6 * ENTRY);
        all.splice(24 * ENTRY..24 * ENTRY, [0; 8].into_iter().chain([0x7f, 0xff, 0xff, 0xff]).chain([0; 8]));
        for (number, bytes) in all.chunks(PER_FILE * ENTRY).enumerate() {
            disk.plant(&file("A", number), bytes).unwrap();
        }
    });
    reads_all_but(&mut world, &[5], "drifted");
    assert_eq!(copies(&world.disk), 0, "that is how they are");
}

#[test]
fn one_message_is_read_by_its_place_or_sought() {
    let mut world = stopped();
    let whole = world.disk.clone();
    let (path, at, _) = place(&world, "A", 3);
    start(&mut world, &whole, |disk| {
        // The entry of 12 leads to the record of 13.
        change(disk, &file("A", 1), |bytes| bytes.copy_within(3 * ENTRY..4 * ENTRY, 2 * ENTRY));
        disk.flip(&path, at + 30, 1).unwrap();
    });
    let slot = world.store().find_slot("A", QueueId(0)).unwrap();
    let message = |world: &mut World, at| world.store().message(slot, QueueOffset(at)).unwrap();
    assert!(matches!(message(&mut world, 11), Message::Record(_)));
    assert_eq!([message(&mut world, 3), message(&mut world, 12)], [Message::Sought, Message::Sought]);
    assert_eq!(message(&mut world, 12), Message::Sought, "until it was made again");
    world.settle();
    assert_eq!(world.store().take_mended(), [slot]);
    let body = world.sent.iter().find(|sent| sent.topic == "A" && sent.offset == 12).unwrap().body.clone();
    let Message::Record(record) = message(&mut world, 12) else { panic!("it is there again") };
    assert!(record.windows(body.len()).any(|part| part == body));
    assert_eq!(message(&mut world, 3), Message::Lost, "the log has it no more");
}

#[test]
fn a_part_of_an_answer_that_is_sound_is_given_out_first() {
    let mut world = stopped();
    let whole = world.disk.clone();
    start(&mut world, &whole, |disk| {
        change(disk, &file("A", 0), |bytes| bytes.copy_within(6 * ENTRY..7 * ENTRY, 5 * ENTRY));
    });
    let slot = world.store().find_slot("A", QueueId(0)).unwrap();
    let plan = world.store().plan(slot, QueueOffset(0), LIMITS, &mut |_| true);
    let mut bytes = Vec::new();
    let Filled::Until(rotten) = plan.slices.fill(&mut bytes).unwrap() else { panic!("5 is not there") };
    assert_eq!((rotten.offset, rotten.is_lost), (QueueOffset(5), false));
    assert_eq!(kerolox_protocol::record::parse_all(&bytes).count(), 5);
    // Who comes to it now waits, and is not sent round and round.
    let plan = world.store().plan(slot, QueueOffset(3), LIMITS, &mut |_| true);
    assert_eq!((plan.status, plan.next, plan.count), (PlanStatus::Found, QueueOffset(5), 2));
    let plan = world.store().plan(slot, QueueOffset(5), LIMITS, &mut |_| true);
    assert_eq!((plan.status, plan.next), (PlanStatus::FoundNull, QueueOffset(5)));
}

#[test]
fn a_search_by_time_is_not_led_astray_by_a_wrong_entry() {
    let mut world = stopped();
    let whole = world.disk.clone();
    let other = whole.bytes(&file("B", 0)).unwrap();
    let last = whole.bytes(&file("B", 2)).unwrap();
    for entry in 0..25 {
        for wrong in [&other[..ENTRY], &last[4 * ENTRY..5 * ENTRY]] {
            start(&mut world, &whole, |disk| {
                let within = entry % PER_FILE * ENTRY;
                change(disk, &file("A", entry / PER_FILE), |bytes| {
                    bytes[within..within + ENTRY].copy_from_slice(wrong);
                });
            });
            let slot = world.store().find_slot("A", QueueId(0)).unwrap();
            for round in 0..2 {
                for n in 0..25 {
                    // Messages were stored 60 ms apart.
                    let time = Millis(1_000_000 + 60 * n);
                    let found = world.store().offset_by_time(slot, time, Boundary::Lower).unwrap().0 as i64;
                    // Beside the wrong one nobody can tell more, and whoever begins there misses nothing.
                    let is_beside = round == 0 && (0..=1).contains(&(n - entry as i64));
                    let near = if is_beside { n - 1..=n } else { n..=n };
                    assert!(near.contains(&found), "entry {entry}, round {round}: {n} is found at {found}");
                }
                world.settle();
            }
            world.store = None;
        }
    }
}

#[test]
fn deletion_takes_no_queue_further_than_the_log() {
    let mut options = options(Flush::Sync);
    options.retention.keep = Millis(1_000);
    let mut world = World::on(MemDisk::new(), options);
    world.by_turns(60, |n| 400 + n);
    world.stop();
    let whole = world.disk.kill();
    // Each entry in turn names the log's first byte.
    for entry in 0..60 {
        world.disk = whole.kill();
        change(&world.disk, &file("A", entry / PER_FILE), |bytes| {
            let within = entry % PER_FILE * ENTRY;
            bytes[within..within + 8].fill(0);
        });
        world.open();
        world.store().delete_expired();
        for _ in 0..3 {
            world.pass(20_000);
            world.settle();
        }
        let first = world.store().first();
        assert!(first > LogOffset(0), "something was deleted");
        let left = |sent: &&harness::Sent| sent.topic == "A" && sent.end.0 - sent.size >= first.0;
        let expected: Vec<_> =
            world.sent.iter().filter(left).map(|sent| (sent.offset, sent.body.clone())).collect();
        assert!(!expected.is_empty());
        assert_eq!(world.consume("A", 0), expected, "entry {entry}");
        world.store = None;
    }
}

/// Kills and power cuts at every change that the disk saw while a queue file was made again: the next start, and the
/// readers after it, find every message.
fn each_crash(world: &mut World, trace: &Trace) {
    let mut states = 0;
    let mut look = |disk: MemDisk, what: String| {
        world.disk = disk;
        world.open();
        assert!(world.opened.damaged.is_empty(), "{what}: {:?}", world.opened);
        reads_all(world, &what);
        world.append("A", 0, 70).unwrap();
        world.store().commit().unwrap();
        world.settle();
        reads_all(world, &what);
        world.sent.pop();
        world.store = None;
        states += 1;
    };
    for point in 0..=trace.len() {
        look(trace.killed(point), format!("killed after {point} changes"));
    }
    let visit = |CrashState { point, outcome, disk }| {
        look(disk, format!("power cut after {point} changes, outcome {outcome}"));
        Ok::<_, std::convert::Infallible>(())
    };
    trace.each_crash(6, 7, visit).unwrap();
    println!("crash states: {states}");
    assert!(states > 100, "{states}");
}

#[test]
fn a_crash_at_any_moment_of_making_a_queue_file_again_loses_nothing() {
    let harms: [&dyn Fn(&MemDisk); 4] = [
        &|disk| disk.flip(&file("A", 1), 2 * ENTRY as u64 + 6, 3).unwrap(),
        &|disk| disk.remove(&file("A", 1)).unwrap(),
        &|disk| change(disk, &file("A", 2), |bytes| bytes[..60].fill(0)),
        &|disk| disk.spoil(&file("A", 1), 0, 1).unwrap(),
    ];
    for harm in harms {
        let mut world = stopped();
        let whole = world.disk.clone();
        start(&mut world, &whole, harm);
        world.disk.record();
        reads_all(&mut world, "without a crash");
        world.store = None;
        let trace = world.disk.take_trace();
        each_crash(&mut world, &trace);
    }
}

#[test]
fn a_crash_at_any_moment_of_a_start_that_makes_a_queue_file_again_loses_nothing() {
    for number in 0..3 {
        let mut world = stopped();
        // As another broker leaves it: the ends of queues are looked for in their files.
        for name in ["kerolox.queues", "kerolox.checkpoint"] {
            world.disk.remove(&Path::new("/store").join(name)).unwrap();
        }
        world.disk.spoil(&file("A", number), 0, 1).unwrap();
        world.disk.record();
        world.open();
        let told = world.opened.lines.iter().filter(|line| line.contains("made again from the log"));
        assert_eq!(told.count(), 1, "file {number}: {:?}", world.opened.lines);
        world.store = None;
        let trace = world.disk.take_trace();
        each_crash(&mut world, &trace);
    }
}
