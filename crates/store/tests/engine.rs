//! What the store does for readers and operators, through its facade.

mod harness;

use harness::{LIMITS, World, draft, options, read_all};
use kerolox_protocol::{LogOffset, Millis, QueueId, QueueOffset, TopicName};
use kerolox_store::{
    AppendError, Boundary, Cause, Dispatch, Filled, Flush, Options, PlanStatus, QueueSlot, ReadLimits,
    Refusal, Store,
    disk::{Disk, Paths, memory::MemDisk, real::RealDisk},
};
use std::{path::Path, sync::Arc};

fn filled(flush: Flush, n: usize) -> World {
    let mut world = World::new(flush);
    for _ in 0..n {
        world.append("T", 0, 1000).unwrap();
        world.store().commit().unwrap();
        world.settle();
        world.pass(10);
    }
    world
}

#[test]
#[expect(clippy::disallowed_methods, reason = "runs on the real disk, and tidies up")]
fn on_a_real_directory_messages_outlive_a_restart() {
    let dir = std::env::temp_dir().join(format!("kerolox-store-{}", std::process::id()));
    let mut options = options(Flush::Sync);
    options.paths = Paths::under(&dir);
    let topic = TopicName::new("T").unwrap();
    for life in 0..3u64 {
        let (mut store, opened) = Store::open(Arc::new(RealDisk::new()), options.clone(), Millis(1)).unwrap();
        assert_eq!(opened.clean, life > 0, "{opened:?}");
        let busy = Store::open(Arc::new(RealDisk::new()), options.clone(), Millis(1)).unwrap_err();
        assert!(matches!(busy.cause, Cause::Locked), "{busy}");
        let slot = store.slot(&topic, QueueId(0));
        assert_eq!(store.bounds(slot).max, QueueOffset(life * 100));
        for n in 0..100u64 {
            let body = [n as u8; 700];
            let draft = draft("T", 0, &body, b"");
            let appended = store.append(Millis(2), &draft, slot, &Dispatch::of("T", 0, b"")).unwrap();
            assert_eq!(appended.queue_offset, QueueOffset(life * 100 + n));
        }
        store.commit().unwrap();
        store.stop();
        let now = kerolox_store::Now { wall: Millis(3), mono: Millis(3) };
        while !store.is_clean() {
            let mut jobs = Vec::new();
            store.jobs(now, &mut jobs);
            assert!(!jobs.is_empty());
            jobs.into_iter().for_each(|job| store.done(now, job.run()));
        }
        assert_eq!(read_all(&store, "T", 0, 0).len() as u64, (life + 1) * 100);
    }
    assert!(!dir.join("abort").exists());
    std::fs::remove_dir_all(&dir).unwrap();
}

#[test]
fn statuses_and_next_offsets_are_the_originals() {
    let mut world = filled(Flush::Async, 5);
    let store = world.store();
    let slot = store.find_slot("T", QueueId(0)).unwrap();
    let plan = |from: u64| {
        let plan = store.plan(slot, QueueOffset(from), LIMITS, &mut |_| true);
        (plan.status, plan.next.0, plan.count)
    };
    assert_eq!(plan(0), (PlanStatus::Found, 5, 5));
    assert_eq!(plan(4), (PlanStatus::Found, 5, 1));
    assert_eq!(plan(5), (PlanStatus::Overflow, 5, 0));
    assert_eq!(plan(6), (PlanStatus::OverflowBadly, 5, 0));
    let none = store.plan(slot, QueueOffset(1), LIMITS, &mut |_| false);
    assert_eq!((none.status, none.next.0, none.count), (PlanStatus::NoMatched, 5, 0));
    let mut few = LIMITS;
    few.count = 2;
    let two = store.plan(slot, QueueOffset(1), few, &mut |_| true);
    assert_eq!((two.next.0, two.count), (3, 2));
    few.bytes = 1;
    let one = store.plan(slot, QueueOffset(1), few, &mut |_| true);
    assert_eq!((one.next.0, one.count), (2, 1), "a message larger than the limit comes alone");
    let empty = store.slot(&TopicName::new("E").unwrap(), QueueId(3));
    let plan = store.plan(empty, QueueOffset(7), LIMITS, &mut |_| true);
    assert_eq!((plan.status, plan.next.0), (PlanStatus::Empty, 0));
}

#[test]
fn a_time_is_found_by_the_records_own_times_also_after_a_restart() {
    let mut world = filled(Flush::Async, 100);
    for _ in 0..2 {
        let store = world.store.as_ref().unwrap();
        let slot = store.find_slot("T", QueueId(0)).unwrap();
        let find =
            |ms: i64, boundary| store.offset_by_time(slot, Millis(1_000_000 + ms), boundary).unwrap().0;
        for n in 0..100i64 {
            for boundary in [Boundary::Lower, Boundary::Upper, Boundary::Nearest] {
                assert_eq!(find(n * 10, boundary), n as u64, "{boundary:?}");
            }
            assert_eq!(find(n * 10 - 4, Boundary::Lower), n as u64);
            assert_eq!(find(n * 10 + 4, Boundary::Upper), n as u64);
            assert_eq!(find(n * 10 + 4, Boundary::Nearest), n as u64);
            assert_eq!(find(n * 10 + 5, Boundary::Nearest), n as u64, "as near: the earlier");
        }
        assert_eq!(find(6, Boundary::Nearest), 1);
        assert_eq!(find(-500, Boundary::Nearest), 0);
        assert_eq!(find(5_000, Boundary::Nearest), 99);
        assert_eq!(find(5_000, Boundary::Lower), 100);
        assert_eq!(store.earliest_time().unwrap(), Some(Millis(1_000_000)));
        world.reopen();
    }
}

#[test]
fn time_in_the_log_never_goes_back() {
    let mut world = filled(Flush::Async, 1);
    let late = world.append("T", 0, 10).unwrap().store_ms;
    world.now.wall = Millis(5);
    assert_eq!(world.append("T", 0, 10).unwrap().store_ms, late);
    world.stop();
    world.disk = world.disk.kill();
    world.open();
    assert_eq!(world.append("T", 0, 10).unwrap().store_ms, late);
}

#[test]
fn old_files_go_with_their_queue_and_index_files_and_nothing_else() {
    let mut world = filled(Flush::Async, 100);
    world.options.retention.hours.clear();
    world.append("Idle", 0, 10).unwrap();
    world.store().commit().unwrap();
    world.settle();
    let keep = LogOffset(40_000);
    world.store().keep_from(Some(keep));
    world.pass(80 * 3_600_000);
    world.store().delete_expired();
    world.settle();
    let first = world.store().first();
    assert!(first.0 > 0 && first <= keep, "{first}");
    let slot = world.store().find_slot("T", QueueId(0)).unwrap();
    let min = world.store().bounds(slot).min;
    let expected = world.sent.iter().find(|sent| sent.end.0 - sent.size >= first.0).unwrap().offset;
    assert_eq!(min.0, expected);
    let plan = world.store().plan(slot, QueueOffset(0), LIMITS, &mut |_| true);
    assert_eq!((plan.status, plan.next), (PlanStatus::TooSmall, min));
    let files = world.disk.handle().list(Path::new("/store/consumequeue/T/0")).unwrap();
    assert_eq!(files.first().map(|file| &*file.name), Some(&*format!("{:020}", min.0 / 10 * 200)));
    world.store().keep_from(None);
    world.store().delete_expired();
    world.settle();
    // The last file stays, however old.
    assert_eq!(world.disk.handle().list(Path::new("/store/commitlog")).unwrap().len(), 1);
    world.append("T", 0, 10).unwrap();
    world.store().commit().unwrap();
    world.settle();
    let bounds = world.store().bounds(slot);
    world.stop();
    world.disk = world.disk.kill();
    world.open();
    let slot = world.store().find_slot("T", QueueId(0)).unwrap();
    assert_eq!(world.store().bounds(slot), bounds);
    assert_eq!(read_all(world.store(), "T", 0, 0).len() as u64, bounds.max.0 - bounds.min.0);
}

#[test]
fn no_queue_file_goes_before_the_log_files_of_its_entries() {
    for seed in 0..20 {
        let mut world = filled(Flush::Async, 100);
        world.options.retention.hours.clear();
        world.pass(80 * 3_600_000);
        world.settle();
        world.store().delete_expired();
        let first = |world: &World, dir: &str| -> u64 {
            let files = world.disk.list(Path::new(dir)).unwrap();
            files.iter().filter_map(|file| file.name.parse().ok()).min().unwrap()
        };
        for step in 0..60 {
            world.run_one(seed * 7 + step * 3);
            let (log, queue) = (first(&world, "/store/commitlog"), first(&world, "/store/consumequeue/T/0"));
            let kept = world.sent.iter().find(|sent| sent.end.0 - sent.size >= log).unwrap();
            assert!(queue / 20 <= kept.offset, "{queue} is gone to, {log} is there: {seed}, {step}");
        }
        assert!(first(&world, "/store/consumequeue/T/0") > 0, "{seed}");
    }
}

#[test]
fn after_a_crash_no_queue_begins_in_a_file_that_was_deleted() {
    let mut world = filled(Flush::Async, 100);
    world.options.retention.hours.clear();
    world.pass(80 * 3_600_000);
    world.settle();
    let ends = |world: &World| world.disk.bytes(Path::new("/store/kerolox.queues")).unwrap();
    let ends_before = ends(&world);
    world.store().delete_expired();
    world.settle();
    assert!(world.store().first().0 > 0);
    let slot = world.store().find_slot("T", QueueId(0)).unwrap();
    let before = world.store().bounds(slot);
    // The crash comes when files are gone, and where queues begin is not written down anew.
    assert_eq!(ends(&world), ends_before);
    world.disk = world.disk.kill();
    world.open();
    let slot = world.store().find_slot("T", QueueId(0)).unwrap();
    let bounds = world.store().bounds(slot);
    assert!(bounds.min <= before.min && bounds.max == before.max, "{bounds:?}");
    let mut entries = Vec::new();
    world.store().entries(slot, bounds.min, 1, &mut entries).unwrap();
    assert_eq!(entries.len(), 1, "{bounds:?}");
}

#[test]
fn a_slow_flush_does_not_put_off_the_next() {
    let mut world = filled(Flush::Async, 1);
    let interval = world.options.flush_interval.0;
    world.pass(interval);
    world.settle();
    world.pass(interval);
    world.append("T", 0, 10).unwrap();
    world.store().commit().unwrap();
    let now = world.now;
    let mut slow = Vec::new();
    world.store().jobs(now, &mut slow);
    // Written when the flush has begun, so that it needs the next.
    let end = world.append("T", 0, 10).unwrap().end;
    world.store().commit().unwrap();
    world.pass(interval - 1);
    let now = world.now;
    for job in slow {
        let done = job.run();
        world.store().done(now, done);
    }
    world.settle();
    assert!(world.store().flushed() < end, "not yet due");
    world.pass(1);
    world.settle();
    assert_eq!(world.store().flushed(), end, "it waited no longer than the interval");
}

#[test]
fn a_deleted_topic_begins_anew() {
    let mut world = filled(Flush::Async, 30);
    let topic = TopicName::new("T").unwrap();
    let slot = world.store().find_slot("T", QueueId(0)).unwrap();
    world.append("U", 0, 10).unwrap();
    world.store().commit().unwrap();
    world.store().delete_topic(&topic);
    assert_eq!(world.store().bounds(slot).max, QueueOffset(0));
    assert!(!world.store().topics().iter().any(|name| &**name == "T"));
    let again = world.append("T", 0, 10).unwrap();
    assert_eq!(again.queue_offset, QueueOffset(0));
    world.store().commit().unwrap();
    world.settle();
    for _ in 0..2 {
        assert_eq!(read_all(world.store(), "T", 0, 0).len(), 1);
        assert_eq!(read_all(world.store(), "U", 0, 0).len(), 1);
        world.jobs.clear();
        world.disk = world.disk.kill();
        world.store = None;
        world.open();
    }
}

#[test]
fn a_store_that_another_broker_had_is_taken_over() {
    for aborted in [false, true] {
        let mut world = filled(Flush::Async, 60);
        world.append("U", 7, 10).unwrap();
        world.append("%RETRY%g", 0, 10).unwrap();
        world.stop();
        world.disk = world.disk.kill();
        // What the original leaves: no files of ours, an empty log file made ahead, and after a crash `abort`.
        for ours in ["kerolox.queues", "kerolox.checkpoint"] {
            world.disk.remove(&Path::new("/store").join(ours)).unwrap();
        }
        let last = world.disk.handle().list(Path::new("/store/commitlog")).unwrap().len() as u64;
        let spare = format!("/store/commitlog/{:020}", last * (16 << 10));
        world.disk.plant(Path::new(&spare), &[0; 16 << 10]).unwrap();
        if aborted {
            world.disk.plant(Path::new("/store/abort"), b"").unwrap();
        }
        let before = world.disk.bytes(Path::new("/store/commitlog/00000000000000000000")).unwrap();
        world.options.segment_bytes = 1 << 20;
        world.options.queue_file_bytes = 6_000;
        world.open();
        assert!(world.opened.foreign && !world.opened.clean, "{:?}", world.opened);
        assert!(world.opened.lines.iter().any(|line| line.contains("keeps its size")), "{:?}", world.opened);
        world.options = options(Flush::Async);
        world.check();
        world.append("T", 0, 10).unwrap();
        world.append("New", 0, 10).unwrap();
        world.store().commit().unwrap();
        world.check();
        world.reopen();
        world.check();
        // And it is left as the original wants it: files of one size, none ahead, no `abort`.
        let after = world.disk.bytes(Path::new("/store/commitlog/00000000000000000000")).unwrap();
        assert!(before == after, "what is in the log never changes");
        world.stop();
        let log = world.disk.handle().list(Path::new("/store/commitlog")).unwrap();
        assert!(log.iter().all(|file| file.len == 16 << 10));
        assert!(world.disk.open(Path::new("/store/abort"), kerolox_store::disk::Open::Read).is_err());
    }
}

#[test]
fn a_directory_that_is_no_store_is_refused_with_the_way_out() {
    let refuse = |path: &str, bytes: &[u8]| {
        let disk = MemDisk::new();
        disk.plant(Path::new(path), bytes).unwrap();
        Store::open(disk.handle(), options(Flush::Async), Millis(0)).unwrap_err().to_string()
    };
    let text = refuse("/store/commitlog/photo.jpg", b"x");
    assert!(text.contains("photo.jpg") && text.contains("storePathRootDir"), "{text}");
    let disk = MemDisk::new();
    for name in ["00000000000000000000", "00000000000000032768"] {
        disk.plant(&Path::new("/store/commitlog").join(name), &[0; 16 << 10]).unwrap();
    }
    let text = Store::open(disk.handle(), options(Flush::Async), Millis(0)).unwrap_err().to_string();
    assert!(text.contains("00000000000000016384"), "{text}");
    let mut bad = options(Flush::Async);
    bad.segment_bytes = 10;
    assert!(Store::open(MemDisk::new().handle(), bad, Millis(0)).is_err());
}

#[test]
fn what_does_not_fit_is_refused_and_harms_nothing() {
    let mut world = filled(Flush::Async, 1);
    assert!(matches!(world.append("T", 0, 7_000), Err(AppendError::TooLarge { max: 6144, .. })));
    assert!(matches!(world.append_batch("T", 0, &[6_000; 3]), Err(AppendError::TooLarge { .. })));
    let store = world.store();
    let slot = store.find_slot("T", QueueId(0)).unwrap();
    let long = vec![b'a'; 40_000];
    let draft = draft("T", 0, b"", &long);
    let refused = store.append(Millis(0), &draft, slot, &Dispatch::of("T", 0, b""));
    assert_eq!(refused, Err(AppendError::Properties { bytes: 40_000 }));
    world.append("T", 0, 10).unwrap();
    world.store().commit().unwrap();
    world.check();
    world.reopen();
    world.check();
}

#[test]
fn a_record_is_only_what_says_so_itself() {
    let mut world = filled(Flush::Async, 3);
    let at = world.sent[1].end.0 - world.sent[1].size;
    assert!(world.store().record(LogOffset(at)).unwrap().is_some());
    for wrong in [at + 1, at - 1, at + 300, 1 << 40, world.store().end().0] {
        assert_eq!(world.store().record(LogOffset(wrong)).unwrap(), None, "{wrong}");
    }
}

#[test]
fn slices_outlive_the_store_and_its_files() {
    let mut world = filled(Flush::Async, 100);
    let store = world.store();
    let slot = store.find_slot("T", QueueId(0)).unwrap();
    let plan = store.plan(slot, QueueOffset(0), LIMITS, &mut |_| true);
    world.pass(80 * 3_600_000);
    world.store().delete_expired();
    world.settle();
    assert!(world.store().first().0 > 0);
    world.store = None;
    let mut bytes = Vec::new();
    plan.slices.read_into(&mut bytes).unwrap();
    assert_eq!(kerolox_protocol::record::parse_all(&bytes).count(), plan.count);
}

#[test]
fn reads_far_behind_are_cold_and_small_unless_they_are_in_memory() {
    let mut world = World::on(MemDisk::new(), Options { ram_bytes: 20_000, ..options(Flush::Async) });
    for _ in 0..60 {
        world.append("T", 0, 1000).unwrap();
    }
    world.store().commit().unwrap();
    let store = world.store();
    let slot = store.find_slot("T", QueueId(0)).unwrap();
    let near = store.plan(slot, QueueOffset(54), LIMITS, &mut |_| true);
    assert_eq!((near.count, near.slices.is_cold()), (6, false));
    // What was read ahead of somebody is there.
    for (resident, count) in [(Some(true), 32), (None, 8)] {
        world.disk.set_resident(resident);
        let found = world.store().plan(slot, QueueOffset(0), LIMITS, &mut |_| true);
        assert_eq!((found.count, found.slices.is_cold()), (count, true), "{resident:?}");
    }
    world.disk.set_resident(Some(false));
    let far = world.store().plan(slot, QueueOffset(0), LIMITS, &mut |_| true);
    assert_eq!((far.count, far.slices.is_cold()), (8, true));
    let bytes = ReadLimits { cold_bytes: 3_000, ..LIMITS };
    assert_eq!(world.store().plan(slot, QueueOffset(0), bytes, &mut |_| true).count, 2);
    // What was brought in ahead of the reader needs nobody who may wait.
    let mut bytes = Vec::new();
    world.disk.set_resident(Some(false));
    assert!(!far.slices.read_cached_into(&mut bytes).unwrap());
    world.disk.set_resident(Some(true));
    assert!(far.slices.read_cached_into(&mut bytes).unwrap());
    assert_eq!(bytes.len() as u64, far.slices.total_len());
}

/// A store whose log is far longer than what counts as being in memory, which nothing of it is.
fn far_behind() -> (World, QueueSlot) {
    let segment_bytes = 3 << 20;
    let small = Options { ram_bytes: 20_000, segment_bytes, index: false, ..options(Flush::Async) };
    let mut world = World::on(MemDisk::new(), small);
    for _ in 0..2_500 {
        world.append("T", 0, 4_000).unwrap();
    }
    world.store().commit().unwrap();
    world.disk.set_resident(Some(false));
    let slot = world.store().find_slot("T", QueueId(0)).unwrap();
    (world, slot)
}

/// One answer to who catches up, as the broker makes it.
struct Answer {
    offsets: Vec<u64>,
    next: QueueOffset,
    /// No device was needed.
    is_cached: bool,
    is_small: bool,
}

fn catch_up(store: &mut Store, slot: QueueSlot, from: QueueOffset) -> Answer {
    let plan = store.plan(slot, from, LIMITS, &mut |_| true);
    let job = store.read_ahead(&plan.slices);
    let mut bytes = Vec::new();
    let cached = plan.slices.fill_cached(&mut bytes).unwrap();
    let is_cached = cached != Filled::NotCached;
    // As a thread does that may wait: the device is asked once, whoever comes first.
    let filled = if is_cached { cached } else { plan.slices.fill(&mut bytes).unwrap() };
    if let Some(job) = job {
        job.run();
    }
    let next = match filled {
        Filled::Until(rotten) => rotten.offset + u64::from(rotten.is_lost),
        _ => plan.next,
    };
    let records = kerolox_protocol::record::parse_all(&bytes);
    let offsets = records.map(|record| record.unwrap().queue_offset as u64).collect();
    Answer { offsets, next, is_cached, is_small: plan.count < LIMITS.count }
}

#[test]
fn who_catches_up_finds_in_memory_what_was_read_ahead() {
    let (mut world, slot) = far_behind();
    let (mut from, mut small, mut cached) = (QueueOffset(0), 0, 0);
    while from.0 < 2_000 {
        let answer = catch_up(world.store(), slot, from);
        assert!(answer.offsets.into_iter().eq(from.0..answer.next.0), "from {from}");
        small += usize::from(answer.is_small);
        cached += usize::from(answer.is_cached);
        from = answer.next;
    }
    // The first answer is as small as the original's, and at the ends of files some.
    assert!(small <= 5, "{small}");
    assert!(cached > 50, "{cached} answers needed no device");
}

#[test]
fn a_bad_sector_in_what_is_read_ahead_costs_what_it_hit() {
    let (mut world, slot) = far_behind();
    let hit = world.sent[900].clone();
    let (file, within) = ((3 << 20), hit.end.0 - hit.size / 2);
    let path = format!("/store/commitlog/{:020}", within / file * file);
    world.disk.spoil(path.as_ref(), within % file, 1).unwrap();
    let (mut from, mut got) = (QueueOffset(0), Vec::new());
    while from.0 < 2_000 {
        let answer = catch_up(world.store(), slot, from);
        got.extend(answer.offsets);
        from = answer.next;
        // Who meets it waits until the log was looked at, and is sent on then.
        world.settle();
    }
    assert!(got.iter().copied().eq((0..from.0).filter(|offset| *offset != 900)), "{got:?}");
}

#[test]
fn limits_may_change_while_the_store_is_open() {
    let mut world = filled(Flush::Async, 1);
    assert!(world.append("T", 0, 7_000).is_err());
    let mut options = world.options.clone();
    options.message_bytes_max = 8 << 10;
    options.segment_bytes = 1;
    world.store().retune(&options);
    world.append("T", 0, 7_000).unwrap();
    world.store().commit().unwrap();
    world.check();
    world.reopen();
    world.check();
}

#[test]
fn new_queues_get_their_files_in_small_jobs_and_a_kill_between_them_loses_nothing() {
    for killed_after in 0..12 {
        let mut world = World::new(Flush::Sync);
        for n in 0..40 {
            world.append("T", n % 20, 30).unwrap();
        }
        world.store().commit().unwrap();
        for _ in 0..killed_after {
            world.run_one(0);
        }
        // One job makes at most two files, so no checkpoint may have claimed all twenty.
        let made = |world: &World| {
            (0..20)
                .filter(|id| {
                    world.disk.handle().list(Path::new(&format!("/store/consumequeue/T/{id}"))).is_ok()
                })
                .count()
        };
        assert!(made(&world) <= 2 * killed_after, "{} files after {killed_after} jobs", made(&world));
        world.kill();
        world.pass(50);
        world.settle();
        assert_eq!(made(&world), 20);
        world.reopen();
        world.check();
    }
}

#[test]
fn a_stop_leaves_what_it_has_no_time_for_to_the_next_start() {
    let mut options = options(Flush::Async);
    options.stop_time = Millis(10);
    let mut world = World::on(MemDisk::new(), options);
    for n in 0..60 {
        world.append("T", n % 30, 30).unwrap();
    }
    world.store().commit().unwrap();
    world.store().stop();
    let mut jobs = 0;
    while !world.store().is_clean() {
        world.run_one(0);
        world.pass(2);
        jobs += 1;
        assert!(jobs < 20, "the stop goes on and on");
    }
    assert_eq!(world.store().flushed(), world.store().end(), "all of the log is durable");
    world.store = None;
    // A power cut on top: what was acknowledged is durable.
    world.disk = world.disk.power_cut(1);
    let abort = world.disk.bytes(Path::new("/store/abort"));
    assert!(abort.is_ok(), "so that a 4.9 broker reads the log again");
    world.open();
    assert!(!world.opened.clean);
    assert_eq!(world.opened.records, 60);
    world.check();
    world.options.stop_time = Millis(1_000_000);
    world.reopen();
    world.check();
}

#[test]
fn no_checkpoint_is_made_while_some_queues_are_ahead_of_others() {
    let mut world = World::new(Flush::Sync);
    for _ in 0..2 {
        world.append("X", 0, 30).unwrap();
        world.store().commit().unwrap();
        world.settle();
        world.pass(30);
        world.settle();
    }
    for n in 0..40 {
        world.append("T", n % 20, 30).unwrap();
    }
    world.store().commit().unwrap();
    let made = |world: &World, id: u32| {
        world.disk.handle().list(Path::new(&format!("/store/consumequeue/T/{id}"))).is_ok()
    };
    for _ in 0..20 {
        if !made(&world, 0) {
            world.pass(5);
            world.run_one(0);
        }
    }
    assert!(made(&world, 0) && !made(&world, 19), "some queues are ahead");
    // An older entry of X is covered, so a checkpoint has something to say; and it is time for one.
    world.pass(300);
    // The next files find no room, so the write-behind pauses while the checkpoint is due.
    world.disk.set_capacity(Some(0));
    for _ in 0..10 {
        if world.store().writable().is_ok() {
            world.run_one(0);
        }
    }
    assert!(world.store().writable().is_err());
    world.disk.set_capacity(None);
    world.settle();
    world.kill();
    world.pass(300);
    world.settle();
    world.reopen();
    world.check();
}

#[test]
fn keys_that_wait_for_a_slow_disk_are_bounded() {
    let mut options = options(Flush::Async);
    options.pending_max = 1_000;
    let mut world = World::on(MemDisk::new(), options);
    let (topic, now) = (TopicName::new("T").unwrap(), world.now.wall);
    let properties = format!("KEYS\u{1}{}", "k ".repeat(50));
    let append = |world: &mut World| {
        let slot = world.store().slot(&topic, QueueId(0));
        let draft = draft("T", 0, b"x", properties.as_bytes());
        let dispatch = Dispatch::of("T", 0, properties.as_bytes());
        let appended = world.store().append(now, &draft, slot, &dispatch);
        world.store().commit().unwrap();
        appended
    };
    // No job runs: the disk stands still.
    let refused = (0..1_000).find_map(|_| append(&mut world).err());
    assert!(matches!(refused, Some(AppendError::Refused(Refusal::Behind { .. }))), "{refused:?}");
    world.settle();
    world.store().commit().unwrap();
    append(&mut world).expect("what waited is written");
}

/// The keys of the last record lay in two index files, and the store stopped when the first was durable: a clean
/// start reads nothing again, so the others were lost.
#[test]
fn keys_of_one_record_in_two_index_files_outlive_a_stop() {
    for n in 60..75 {
        let mut world = World::new(Flush::Async);
        for _ in 0..n {
            world.append("T", 0, 10).unwrap();
        }
        world.store().commit().unwrap();
        world.store().stop();
        // The index comes last, and what nobody waited for never happens.
        let (now, mut jobs) = (world.now, Vec::new());
        while !world.store().is_clean() {
            world.store().jobs(now, &mut jobs);
            let other = jobs.iter().position(|job| !format!("{job:?}").contains("Index"));
            let done = jobs.remove(other.unwrap_or(0)).run();
            world.store().done(now, done);
        }
        world.store = None;
        world.disk = world.disk.kill();
        world.open();
        assert!(world.opened.clean);
        let last = world.sent.last().unwrap().clone();
        for key in ["all", "T", &harness::key_of(&last.body)] {
            let found = world.store().query("T", key, 100, Millis(0), Millis(i64::MAX)).unwrap().unwrap();
            assert_eq!(found.offsets.first(), Some(&LogOffset(last.end.0 - last.size)), "{n}: {key}");
        }
    }
}

#[test]
fn no_queue_is_looked_at_after_a_crash_where_nothing_was_ever_deleted() {
    let mut world = filled(Flush::Async, 60);
    let count_cleaning = |world: &mut World| {
        world.disk = world.disk.kill();
        world.open();
        let mut found = 0;
        loop {
            let (now, mut jobs) = (world.now, Vec::new());
            world.store().jobs(now, &mut jobs);
            if jobs.is_empty() {
                return found;
            }
            for job in jobs {
                found += usize::from(format!("{job:?}").contains("Clean"));
                let done = job.run();
                world.store().done(now, done);
            }
        }
    };
    assert_eq!(count_cleaning(&mut world), 0);
    world.options.retention.hours.clear();
    world.store().keep_from(Some(LogOffset(40_000)));
    world.pass(80 * 3_600_000);
    world.store().delete_expired();
    world.settle();
    assert!(world.store().first().0 > 0);
    world.pass(1_000);
    world.settle();
    assert_eq!(count_cleaning(&mut world), 1, "now it is");
}
