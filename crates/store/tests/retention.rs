//! What goes to make room, what stays because somebody has not read it, and what is said of both.

mod harness;

use harness::{World, read_all};
use kerolox_protocol::{LogOffset, QueueId, QueueOffset};
use kerolox_said::Said;
use kerolox_store::{
    Flush, PlanStatus, QueueSlot, Refusal, Store, Trimmed, Unread,
    disk::{Disk, memory::CrashState},
};
use std::path::Path;
use tracing::Level;

/// Hundred messages in queue 0 of `T`, over seven log files.
fn filled() -> (World, QueueSlot) {
    let mut world = World::new(Flush::Async);
    world.options.retention.hours.clear();
    let options = world.options.clone();
    world.store().retune(&options);
    for _ in 0..100 {
        world.append("T", 0, 1000).unwrap();
        world.store().commit().unwrap();
        world.settle();
        world.pass(10);
    }
    world.pass(1_000);
    world.settle();
    let slot = world.store().find_slot("T", QueueId(0)).unwrap();
    (world, slot)
}

/// Makes the disk so small that so much of it is used, and lets the store look.
fn squeeze(world: &mut World, percent: u64) {
    world.disk.set_capacity(Some(1 << 30));
    let space = world.disk.space(Path::new("/store")).unwrap();
    world.disk.set_capacity(Some((space.total - space.free) * 100 / percent));
    look(world);
}

fn look(world: &mut World) {
    world.pass(10_000);
    world.settle();
}

fn log_files(world: &World) -> usize {
    world.disk.list(Path::new("/store/commitlog")).unwrap().len()
}

/// The first message that is still there.
fn first(world: &mut World, slot: QueueSlot) -> u64 {
    world.store().bounds(slot).min.0
}

#[test]
fn what_goes_before_its_time_is_told_as_an_error() {
    let (mut world, slot) = filled();
    let said = Said::listen();
    squeeze(&mut world, 87);
    assert_eq!(said.take(Level::ERROR, "before their time"), 1);
    let to = world.store().bounds(slot).min;
    assert!(to.0 > 0);
    let gone = Trimmed { topic: "T".into(), queue: QueueId(0), from: QueueOffset(0), to, forced: true };
    assert_eq!(world.store().take_trimmed(), [gone]);
    assert_eq!(world.store().take_trimmed(), []);
}

/// Appends to a queue of `T`, lets a checkpoint remember where queues begin, and starts again where a file is back that
/// was deleted before.
fn comes_back(world: &mut World, queue: u32, (file, bytes): (&Path, &[u8])) {
    world.append("T", queue, 1000).unwrap();
    world.store().commit().unwrap();
    for _ in 0..3 {
        world.pass(120_000);
        world.settle();
    }
    world.store = None;
    world.disk = world.disk.kill();
    world.disk.plant(file, bytes).unwrap();
    world.open();
}

#[test]
fn what_a_power_cut_brings_back_of_a_queue_goes_again() {
    let (mut world, slot) = filled();
    let oldest = Path::new("/store/consumequeue/T/0/00000000000000000000");
    let bytes = world.disk.bytes(oldest).unwrap();
    world.pass(80 * 3_600_000);
    world.store().delete_expired();
    world.settle();
    let begin = first(&mut world, slot);
    let per_file = world.options.queue_file_bytes / 20;
    assert!(begin >= 2 * per_file, "the second file is gone as well");
    comes_back(&mut world, 0, (oldest, &bytes));
    assert!(world.disk.bytes(oldest).is_ok());
    world.settle();
    assert!(world.disk.bytes(oldest).is_err(), "nothing of it counts");
    let slot = world.store().find_slot("T", QueueId(0)).unwrap();
    assert_eq!(first(&mut world, slot), begin);
}

/// The queue has no message left, and so no start to be moved.
#[test]
fn what_a_power_cut_brings_back_of_an_empty_queue_goes_again() {
    let (mut world, slot) = filled();
    let oldest = Path::new("/store/consumequeue/T/0/00000000000000000000");
    let bytes = world.disk.bytes(oldest).unwrap();
    for _ in 0..60 {
        world.append("T", 1, 1000).unwrap();
        world.store().commit().unwrap();
        world.pass(100);
        world.settle();
    }
    world.pass(80 * 3_600_000);
    for _ in 0..5 {
        world.store().delete_expired();
        world.settle();
        world.pass(120_000);
        world.settle();
    }
    let bounds = world.store().bounds(slot);
    assert_eq!(bounds.min, bounds.max, "nothing is left");
    comes_back(&mut world, 1, (oldest, &bytes));
    world.settle();
    assert!(world.disk.bytes(oldest).is_err(), "nothing of it counts");
}

#[test]
fn a_stop_ends_what_a_deletion_began() {
    let (mut world, slot) = filled();
    world.pass(80 * 3_600_000);
    world.store().delete_expired();
    while world.store().first() == LogOffset(0) {
        let now = world.now;
        let mut jobs = std::mem::take(&mut world.jobs);
        world.store().jobs(now, &mut jobs);
        for job in jobs {
            let done = job.run();
            world.store().done(now, done);
        }
    }
    assert_eq!(first(&mut world, slot), 0, "the queue is to follow");
    world.stop();
    world.open();
    let slot = world.store().find_slot("T", QueueId(0)).unwrap();
    let begin = world.store().bounds(slot).min;
    let (first, entry) = (world.store().first(), world.store().entry(slot, begin).unwrap());
    assert!(begin.0 > 0 && entry.is_some_and(|entry| entry.at == first), "{begin} {first}");
}

#[test]
fn what_goes_in_its_time_is_ordinary() {
    let (mut world, slot) = filled();
    let said = Said::listen();
    world.pass(80 * 3_600_000);
    world.store().delete_expired();
    world.settle();
    assert_eq!(said.take(Level::INFO, "their time is over"), 1);
    assert!(first(&mut world, slot) > 0);
    assert!(world.store().take_trimmed().iter().all(|gone| !gone.forced));
}

#[test]
fn unread_messages_stay_and_writes_are_refused_instead() {
    let (mut world, slot) = filled();
    let said = Said::listen();
    let unread = |from| vec![Unread { slot, from: QueueOffset(from) }];
    world.store().keep_unread(unread(30));
    squeeze(&mut world, 88);
    let at = world.sent[30].end.0 - world.sent[30].size;
    let kept = world.store().first();
    assert!(kept.0 > 0 && kept <= LogOffset(at), "what everybody read goes: {kept}");
    assert!(first(&mut world, slot) <= 30);
    // Fuller still: nothing more goes, which is said now and then.
    squeeze(&mut world, 88);
    assert_eq!(said.take(Level::ERROR, "unread messages of a protected topic"), 1);
    (0..5).for_each(|_| look(&mut world));
    assert_eq!(said.take(Level::ERROR, "unread messages"), 0, "not at every look");
    assert_eq!(world.store().first(), kept);
    world.append("T", 0, 10).unwrap();
    squeeze(&mut world, 93);
    let refusal = world.store().writable().unwrap_err();
    assert!(
        matches!(&refusal, Refusal::DiskFull { kept_for: Some(topic), .. } if &**topic == "T"),
        "{refusal}"
    );
    assert!(refusal.to_string().contains("protectedTopics"), "{refusal}");
    assert_eq!(world.store().first(), kept);
    // Everybody reads on: room is made, and sends are accepted again.
    world.store().keep_unread(unread(101));
    look(&mut world);
    look(&mut world);
    assert!(world.store().first() > kept);
    world.store().writable().unwrap();
    let to = world.store().bounds(slot).min;
    let plan = world.store().plan(slot, QueueOffset(30), harness::LIMITS, &mut |_| true);
    assert_eq!((plan.status, plan.next), (PlanStatus::TooSmall, to));
}

#[test]
fn unread_messages_are_kept_beyond_their_time_and_that_is_told() {
    let (mut world, slot) = filled();
    let said = Said::listen();
    world.pass(80 * 3_600_000);
    // One is the first in a file, one in memory only, one is behind the end.
    for (from, expected) in [(0, 0), (47, 47), (99, 99), (100, 100)] {
        world.store().keep_unread(vec![Unread { slot, from: QueueOffset(from) }]);
        world.store().delete_expired();
        world.settle();
        assert!(first(&mut world, slot) <= expected, "{from}");
        let found = read_all(world.store(), "T", 0, from);
        assert_eq!(found.len() as u64, 100 - from);
        if from == 0 {
            assert_eq!(said.take(Level::WARN, "kept beyond its time"), 1);
            assert_eq!(first(&mut world, slot), 0);
        }
    }
    assert_eq!(log_files(&world), 1, "all others were read");
}

/// Names of the files on their way out.
fn going(world: &World) -> Vec<String> {
    let listed = world.disk.list(Path::new("/store/kerolox.trash")).unwrap_or_default();
    listed.into_iter().map(|file| file.name).collect()
}

#[test]
fn a_deleted_file_that_is_being_read_keeps_its_bytes_as_long() {
    let (mut world, slot) = filled();
    let plan = world.store().plan(slot, QueueOffset(0), harness::LIMITS, &mut |_| true);
    world.pass(80 * 3_600_000);
    world.store().delete_expired();
    world.settle();
    assert!(world.store().first().0 > 0);
    assert!(!going(&world).is_empty(), "they are being read");
    let mut bytes = Vec::new();
    plan.slices.read_into(&mut bytes).unwrap();
    assert!(!bytes.is_empty());
    drop(plan);
    world.settle();
    assert_eq!(going(&world), [""; 0]);
}

#[test]
fn a_crash_while_files_go_takes_nothing_else() {
    let (mut world, slot) = filled();
    // So long that the rest of the process does nothing.
    world.pass(80 * 3_600_000);
    world.settle();
    world.disk.record();
    world.store().keep_from(Some(LogOffset(40_000)));
    world.store().delete_expired();
    world.settle();
    let min = world.store().bounds(slot).min.0;
    assert!((1..100).contains(&min));
    let trace = world.disk.take_trace();
    world.store = None;
    for cut in [false, true] {
        for point in 0..=trace.len() {
            let killed = trace.killed(point);
            world.disk = if cut { killed.power_cut(point as u64) } else { killed };
            world.open();
            let found = read_all(world.store(), "T", 0, min);
            assert_eq!(found.len() as u64, 100 - min, "{cut} {point}: {:?}", world.opened);
            assert!(world.opened.damaged.is_empty(), "{cut} {point}: {:?}", world.opened);
            world.settle();
            assert_eq!(going(&world), [""; 0], "{cut} {point}");
            world.store = None;
        }
    }
}

#[test]
fn what_makes_older_files_needless_is_durable_before_they_go() {
    let (mut world, _) = filled();
    world.store().keep_from(Some(LogOffset(0)));
    // From now on nothing is flushed before its time.
    world.options.flush_interval = kerolox_protocol::Millis(i64::MAX / 2);
    let options = world.options.clone();
    world.store().retune(&options);
    let newer = world.append("T", 0, 100).unwrap();
    world.store().commit().unwrap();
    world.store().keep_from(Some(newer.at));
    world.pass(80 * 3_600_000);
    let before = log_files(&world);
    world.store().delete_expired();
    world.settle();
    assert_eq!(log_files(&world), before, "a power cut would take the newer one");
    world.options.flush_interval = kerolox_protocol::Millis(1);
    let options = world.options.clone();
    world.store().retune(&options);
    world.pass(10);
    world.settle();
    world.store().delete_expired();
    world.settle();
    assert!(log_files(&world) < before);
}

#[test]
fn a_crash_at_any_moment_of_a_deletion_leaves_a_store_that_opens_with_all_that_stays() {
    let (mut world, slot) = filled();
    world.pass(80 * 3_600_000);
    world.append("T", 0, 1000).unwrap();
    world.store().commit().unwrap();
    world.settle();
    world.pass(120_000);
    world.settle();
    let before = log_files(&world);
    world.disk.record();
    world.store().delete_expired();
    world.settle();
    assert!(log_files(&world) + 2 < before, "several at once");
    let kept = first(&mut world, slot);
    let trace = world.disk.take_trace();
    world.store = None;
    let look = |world: &mut World, disk, what: String| {
        let opened = Store::open(disk, world.options.clone(), world.now.wall);
        let (store, opened) = opened.unwrap_or_else(|why| panic!("{what}: {why}"));
        assert!(opened.damaged.is_empty(), "{what}: {opened:?}");
        let found = read_all(&store, "T", 0, kept);
        assert_eq!(found.len() as u64, 101 - kept, "{what}: {opened:?}");
    };
    let mut states = 0;
    let visit = |state: CrashState| {
        states += 1;
        let what = format!("{} changes, outcome {}", state.point, state.outcome);
        look(&mut world, state.disk.handle(), what);
        Ok::<_, std::convert::Infallible>(())
    };
    trace.each_crash(12, 7, visit).unwrap();
    assert!(states > 50, "{states}");
}
