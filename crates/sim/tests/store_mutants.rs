//! Planted bugs of the store and the name server that one short story each finds: the story holds as the code is,
//! and fails with the bug. See `docs/mutants.md`; what needs a whole broker is in `mutants.rs`.

#[path = "../../store/tests/harness/mod.rs"]
mod harness;

use harness::{World, options, read_all};
use kerolox_namesrv::{
    mutant::Mutant as RouteMutant,
    names::{Address, Name},
    routes::{Limits, MASTER, Queues, Registration, Routes, Version},
};
use kerolox_net::ConnId;
use kerolox_protocol::{LogOffset, Millis, QueueId, QueueOffset};
use kerolox_store::{
    Cause, Flush, Options, Refusal, Store,
    disk::{
        Disk,
        memory::{Call, Fault, Harm, MemDisk},
    },
    mutant::{Mutant, plant},
    smallfile::{self, Backup},
};
use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
};

/// Tells the story without the bug, where it must hold, and with it, where it must fail with words that have
/// `part` in them: a story that fails for another reason has not found the bug.
fn kills(mutant: Mutant, part: &str, story: fn()) {
    plant(None);
    story();
    plant(Some(mutant));
    let told = catch_unwind(AssertUnwindSafe(story));
    plant(None);
    let Err(why) = told else { panic!("{mutant:?} lives") };
    let text = why.downcast_ref::<String>().cloned();
    let text = text.or_else(|| why.downcast_ref::<&str>().map(|text| (*text).to_owned()));
    let text = text.unwrap_or_default();
    println!("{mutant:?}: {text}");
    assert!(text.contains(part), "{mutant:?}: wanted words about {part:?}, found: {text}");
}

/// No checkpoint within a story, so that the next start reads the whole log.
fn unchecked(flush: Flush) -> Options {
    let mut options = options(flush);
    options.checkpoint_interval = Millis(1_000_000);
    options
}

fn log_file(number: u64, options: &Options) -> PathBuf {
    PathBuf::from(format!("/store/commitlog/{:020}", number * options.segment_bytes))
}

/// Five messages, a bit of the second one's body flipped while the broker was down.
fn rotten_in_the_middle() {
    let mut world = World::on(MemDisk::new(), unchecked(Flush::Async));
    for _ in 0..5 {
        world.append("T", 0, 300).unwrap();
    }
    world.store().commit().unwrap();
    let second = world.sent.get(1).unwrap().clone();
    world.store = None;
    world.disk = world.disk.kill();
    world.disk.flip(&log_file(0, &world.options), second.end.0 - second.size + 150, 3).unwrap();
    world.open();
    let rotten = second.end.0 - second.size;
    assert!(world.store().record(LogOffset(rotten)).unwrap().is_none(), "the rotten one is read");
    let found = read_all(world.store.as_ref().unwrap(), "T", 0, 0);
    let offsets: Vec<u64> = found.iter().map(|(offset, _)| *offset).collect();
    assert_eq!(offsets, [0, 2, 3, 4], "those behind the rotten one are there");
    assert_eq!(world.opened.damaged.first(), Some(&(rotten..second.end.0)), "the damage is told");
    world.append("T", 0, 10).unwrap();
    assert_eq!(world.sent.last().unwrap().offset, 5, "no offset is given away again");
}

#[test]
fn cutting_the_log_at_damage_in_the_middle_is_found() {
    kills(Mutant::TruncateAtDamage, "those behind", rotten_in_the_middle);
}

#[test]
fn going_on_after_a_wrong_checksum_is_found() {
    kills(Mutant::CrcIgnored, "the rotten one is read", rotten_in_the_middle);
}

/// A power cut leaves a hole and a good record behind it. What is written into the hole later must not be
/// continued by that record, nor by what the queue takes for its place.
fn a_hole_and_what_fills_it() {
    for seed in 0..60 {
        let mut options = unchecked(Flush::Async);
        options.flush_interval = Millis(1_000_000);
        let mut world = World::on(MemDisk::new(), options);
        world.append("T", 0, 900).unwrap();
        world.store().commit().unwrap();
        world.settle();
        for _ in 0..3 {
            world.append("T", 0, 900).unwrap();
            world.store().commit().unwrap();
        }
        world.power_cut(seed);
        world.pass(1);
        world.append("T", 0, 900).unwrap();
        world.store().commit().unwrap();
        world.kill();
    }
}

#[test]
fn a_tail_that_is_cut_off_in_memory_only_is_found() {
    kills(Mutant::StaleTailKept, "end of queue 0 of T", a_hole_and_what_fills_it);
}

/// A write that lands over another record: neither is read as the other.
fn a_misdirected_write() {
    let mut world = World::new(Flush::Async);
    world.append("T", 0, 300).unwrap();
    world.store().commit().unwrap();
    let size = world.sent.last().unwrap().size;
    let harm = Harm::Misdirected(-i64::try_from(size).unwrap());
    world.disk.plan(Fault { call: Call::Write, path: "commitlog".into(), nth: 1, times: 1, harm });
    world.append("T", 0, 300).unwrap();
    world.stop();
    world.disk = world.disk.kill();
    world.open();
    assert!(world.store().record(LogOffset(0)).unwrap().is_none(), "a record of elsewhere is shown");
    let store = world.store.as_ref().unwrap();
    let slot = store.find_slot("T", QueueId(0)).unwrap();
    let plan = store.plan(slot, QueueOffset(0), harness::LIMITS, &mut |_| true);
    let mut bytes = Vec::new();
    let read = plan.slices.read_into(&mut bytes);
    assert!(read.is_err(), "a record of elsewhere is read");
    // Recovery does not believe it either.
    world.store = None;
    world.disk = world.disk.kill();
    for file in ["kerolox.queues", "kerolox.checkpoint", "checkpoint"] {
        world.disk.remove(&Path::new("/store").join(file)).unwrap();
    }
    world.open();
    assert!(
        read_all(world.store.as_ref().unwrap(), "T", 0, 0).is_empty(),
        "a record of elsewhere is recovered"
    );
}

#[test]
fn believing_a_record_of_elsewhere_is_found() {
    kills(Mutant::PositionUnchecked, "a record of elsewhere", a_misdirected_write);
}

/// Zeros are on their way into the file when a record comes to stand there.
fn zeros_and_a_record_at_once() {
    let mut world = World::new(Flush::Sync);
    // Until the disk was looked at, its room counts as scarce.
    world.settle();
    world.append("T", 0, 100).unwrap();
    world.store().commit().unwrap();
    let now = world.now;
    let mut jobs = Vec::new();
    world.store().jobs(now, &mut jobs);
    world.append("T", 0, 6_000).unwrap();
    world.store().commit().unwrap();
    for job in jobs {
        let done = job.run();
        world.store().done(now, done);
    }
    world.settle();
    world.reopen();
    let last = world.sent.last().unwrap().clone();
    let record = world.store().record(LogOffset(last.end.0 - last.size)).unwrap();
    assert!(record.is_some(), "zeros stand where a record stood");
    world.check();
}

#[test]
fn zeros_over_records_are_found() {
    kills(Mutant::ZerosOverRecords, "zeros stand where", zeros_and_a_record_at_once);
}

/// A small file is the old one or the new one at every crash, and the new one once that was said.
fn a_small_file_is_replaced() {
    let path = Path::new("config/f.json");
    let disk = MemDisk::new();
    disk.plant(path, b"<old>").unwrap();
    disk.record();
    smallfile::replace(&disk, path, b"<new>", Backup::No).unwrap();
    let trace = disk.take_trace();
    let parse = |bytes: &[u8]| match bytes {
        b"<old>" => Ok(false),
        b"<new>" => Ok(true),
        _ => Err("torn"),
    };
    let check = |state: kerolox_store::disk::memory::CrashState| {
        let found = smallfile::load(&state.disk, path, parse).unwrap();
        match found.value {
            None => Err("the file is gone or torn".to_owned()),
            Some(false) if state.point == trace.len() => Err("the new file is gone".to_owned()),
            Some(_) => Ok(()),
        }
    };
    trace.each_crash(256, 1, check).unwrap_or_else(|why| panic!("{why}"));
}

#[test]
fn deleting_before_renaming_is_found() {
    kills(Mutant::DeleteThenRename, "the file is gone or torn", a_small_file_is_replaced);
}

#[test]
fn writing_over_a_small_file_is_found() {
    kills(Mutant::ReplacedInPlace, "the file is gone or torn", a_small_file_is_replaced);
}

#[test]
fn not_syncing_a_small_files_directory_is_found() {
    kills(Mutant::SmallDirSyncSkipped, "the new file is gone", a_small_file_is_replaced);
}

/// The disk is full in the middle of a record, at each of its bytes.
fn full_in_the_middle() {
    for left in 0..300 {
        let mut world = World::on(MemDisk::new(), unchecked(Flush::Async));
        world.append("T", 0, 100).unwrap();
        world.store().commit().unwrap();
        world.disk.set_write_budget(Some(left));
        world.append("T", 0, 100).unwrap();
        assert!(world.store().commit().is_err() || left >= 200, "half a record counts as written");
        world.disk.heal();
        world.kill();
        world.append("T", 0, 100).unwrap();
        world.store().commit().unwrap();
        world.kill();
    }
}

#[test]
fn half_a_record_on_a_full_disk_is_found() {
    kills(Mutant::NoRoomIgnored, "half a record counts as written", full_in_the_middle);
}

/// A disk that fills up refuses, and serves again when there is room.
fn full_and_room_again() {
    let disk = MemDisk::new();
    disk.set_capacity(Some(200 << 10));
    let mut options = options(Flush::Async);
    options.retention.refuse_percent = 100;
    let mut world = World::on(disk, options);
    let refused = (0..1_000).any(|_| {
        let refused = world.append("T", 0, 1_000).is_err();
        if !refused {
            let _ = world.store().commit();
        }
        refused
    });
    assert!(refused, "the disk is full");
    assert!(
        matches!(world.store().writable(), Err(Refusal::NoRoom { .. })),
        "a full disk is no reason to stop for good: {:?}",
        world.store().writable()
    );
    world.disk.set_capacity(None);
    world.pass(10_000);
    world.settle();
    world.append("T", 0, 1_000).unwrap();
    world.store().commit().unwrap();
    world.kill();
}

#[test]
fn accepting_without_room_is_found() {
    kills(Mutant::RoomNotReserved, "a full disk is no reason", full_and_room_again);
}

/// Everything is flushed and checkpointed; then the power fails.
fn a_checkpoint_and_a_power_cut() {
    for seed in 0..20 {
        let mut world = World::new(Flush::Async);
        for n in 0..30 {
            world.append("T", n % 2, 200).unwrap();
            world.store().commit().unwrap();
            world.pass(60);
            world.settle();
        }
        world.pass(300);
        world.settle();
        world.power_cut(seed);
    }
}

#[test]
fn a_checkpoint_before_its_queues_is_found() {
    kills(Mutant::QueuesUnsynced, "FoundNull", a_checkpoint_and_a_power_cut);
}

/// Everything but the flush of the log is done; then the power fails.
fn queues_without_a_flush() {
    for seed in 0..20 {
        let mut world = World::new(Flush::Async);
        world.append("T", 0, 200).unwrap();
        world.store().commit().unwrap();
        world.settle();
        for _ in 0..4 {
            world.append("T", 0, 2_000).unwrap();
            world.store().commit().unwrap();
            world.pass(300);
            for _ in 0..8 {
                let now = world.now;
                let mut jobs = Vec::new();
                world.store().jobs(now, &mut jobs);
                for job in jobs.into_iter().filter(|job| !job.is_flush()) {
                    let done = job.run();
                    world.store().done(now, done);
                }
            }
        }
        world.power_cut(seed);
    }
}

#[test]
fn queue_files_ahead_of_the_durable_log_are_found() {
    kills(Mutant::QueuesPastConfirm, "where a queue names one", queues_without_a_flush);
}

/// Keys are found again after a kill that took the index's memory.
fn keys_after_a_kill() {
    let mut world = World::new(Flush::Async);
    for n in 0..40 {
        world.append("T", n % 2, 200).unwrap();
        world.store().commit().unwrap();
        if n == 20 {
            world.pass(300);
            world.settle();
        }
    }
    world.kill();
}

#[test]
fn an_index_without_its_newest_keys_is_found() {
    kills(Mutant::IndexKeysLost, "T 0000", keys_after_a_kill);
}

/// The wall clock jumps by two hours where messages are kept for one.
fn a_jump_of_the_clock() {
    let mut options = options(Flush::Async);
    options.retention.keep = Millis(3_600_000);
    options.retention.hours = (0..24).collect();
    options.retention.interval = Millis(1_000);
    let mut world = World::on(MemDisk::new(), options);
    for _ in 0..20 {
        world.append("T", 0, 4_000).unwrap();
        world.store().commit().unwrap();
        world.pass(100);
        world.settle();
    }
    world.now.wall = world.now.wall + Millis(2 * 3_600_000);
    for _ in 0..20 {
        world.pass(2_000);
        world.settle();
        assert_eq!(world.store().first(), LogOffset(0), "messages were deleted because a clock jumped");
    }
    // Those who are old by any clock go.
    world.pass(2 * 3_600_000);
    world.settle();
    world.pass(2_000);
    world.settle();
    assert!(world.store().first() > LogOffset(0));
}

#[test]
fn deleting_because_a_clock_jumped_is_found() {
    kills(Mutant::JumpBelieved, "because a clock jumped", a_jump_of_the_clock);
}

/// A store of several log files, stopped in order.
fn stopped_store() -> World {
    let mut world = World::new(Flush::Async);
    for _ in 0..20 {
        world.append("T", 0, 4_000).unwrap();
        world.store().commit().unwrap();
    }
    world.stop();
    world.disk = world.disk.kill();
    world
}

fn open_error(world: &World) -> Option<Cause> {
    Store::open(world.disk.handle(), world.options.clone(), world.now.wall).err().map(|error| error.cause)
}

fn a_missing_file() {
    let world = stopped_store();
    world.disk.remove(&log_file(1, &world.options)).unwrap();
    assert!(matches!(open_error(&world), Some(Cause::Gap { .. })), "a log with a gap is opened");
}

#[test]
fn passing_over_a_missing_log_file_is_found() {
    kills(Mutant::GapAccepted, "a log with a gap is opened", a_missing_file);
}

fn somebody_elses_directory() {
    let world = stopped_store();
    world.disk.plant(Path::new("/store/commitlog/holiday.jpg"), b"JFIF").unwrap();
    assert!(matches!(open_error(&world), Some(Cause::Foreign(_))), "a foreign directory is opened");
}

#[test]
fn taking_a_foreign_directory_is_found() {
    kills(Mutant::ForeignAccepted, "a foreign directory is opened", somebody_elses_directory);
}

fn an_unmounted_log() {
    let world = stopped_store();
    for entry in world.disk.list(Path::new("/store/commitlog")).unwrap() {
        world.disk.remove(&Path::new("/store/commitlog").join(entry.name)).unwrap();
    }
    assert!(matches!(open_error(&world), Some(Cause::LogGone { .. })), "an empty log is opened");
}

#[test]
fn taking_an_unmounted_disk_for_a_new_store_is_found() {
    kills(Mutant::WrongDiskAccepted, "an empty log is opened", an_unmounted_log);
}

/// Bugs of the name server are told in the same way.
fn kills_route(mutant: kerolox_namesrv::mutant::Mutant, part: &str, story: fn()) {
    use kerolox_namesrv::mutant::plant;
    plant(None);
    story();
    plant(Some(mutant));
    let told = catch_unwind(AssertUnwindSafe(story));
    plant(None);
    let Err(why) = told else { panic!("{mutant:?} lives") };
    let text =
        why.downcast_ref::<String>().map(String::as_str).or_else(|| why.downcast_ref::<&str>().copied());
    println!("{mutant:?}: {text:?}");
    assert!(text.is_some_and(|text| text.contains(part)), "{mutant:?}: {text:?}");
}

const BROKER: &str = "broker-a";
const ADDRESS: &str = "10.0.0.2:10911";

/// What a broker tells over a connection: topics with their queues.
fn registration(conn: u64, counter: i64, topics: &[(&str, i32)]) -> Registration {
    let queues = |n: i32| Queues { read: n, write: n, perm: 6, flags: 0 };
    Registration {
        conn: ConnId(conn),
        cluster: Name::new("c").unwrap(),
        broker: Name::new(BROKER).unwrap(),
        id: MASTER,
        address: Address::new(ADDRESS).unwrap(),
        ha_address: None,
        epoch: None,
        version: Version { state: 0, timestamp: counter, counter },
        topics: topics.iter().map(|(name, n)| (Name::new(name).unwrap(), queues(*n))).collect(),
        filters: Vec::new(),
    }
}

fn queues_of(routes: &Routes, topic: &str) -> Option<i32> {
    let route = routes.route(topic)?;
    route.queues.values().next().map(|queues| queues.write)
}

/// A broker that comes back over a new connection while its old one is still on its way to its end.
fn reconnected() -> Routes {
    let mut routes = Routes::new(Limits::default());
    routes.register(Millis(0), registration(1, 1, &[("A", 4), ("B", 8)])).unwrap();
    routes.register(Millis(1), registration(2, 2, &[("A", 4), ("B", 8), ("C", 2)])).unwrap();
    routes
}

fn a_late_good_bye() {
    let mut routes = reconnected();
    assert!(!routes.unregister(ConnId(1), BROKER, MASTER, ADDRESS), "an old good-bye counts");
    assert_eq!(queues_of(&routes, "A"), Some(4), "an old good-bye took the route");
    assert!(routes.unregister(ConnId(2), BROKER, MASTER, ADDRESS));
}

#[test]
fn a_stale_unregistration_that_wipes_a_fresh_registration_is_found() {
    kills_route(RouteMutant::StaleUnregister, "an old good-bye", a_late_good_bye);
}

fn a_late_end_of_a_connection() {
    let mut routes = reconnected();
    assert!(routes.closed(ConnId(1)).is_empty(), "the end of an old connection counts");
    assert_eq!(queues_of(&routes, "C"), Some(2), "the end of an old connection took the route");
    assert_eq!(routes.closed(ConnId(2)).len(), 1);
}

#[test]
fn an_old_connection_that_takes_a_fresh_registration_along_is_found() {
    kills_route(RouteMutant::OldCloseDrops, "the end of an old connection", a_late_end_of_a_connection);
}

fn a_late_registration() {
    let mut routes = reconnected();
    let late = routes.register(Millis(2), registration(1, 1, &[("A", 1)])).unwrap();
    assert!(late.stale, "an old registration counts");
    assert_eq!(queues_of(&routes, "A"), Some(4), "an old registration changed the route");
}

#[test]
fn an_old_registration_that_overwrites_a_fresh_one_is_found() {
    kills_route(RouteMutant::StaleRegistration, "an old registration", a_late_registration);
}

fn a_registration_of_some_topics() {
    let mut routes = reconnected();
    routes.register(Millis(2), registration(2, 3, &[("A", 4)])).unwrap();
    assert_eq!(queues_of(&routes, "B"), Some(8), "the route shrinks");
}

#[test]
fn a_route_that_shrinks_is_found() {
    kills_route(RouteMutant::RouteShrinks, "the route shrinks", a_registration_of_some_topics);
}

/// The bytes of a queue file are changed while the store is stopped.
fn with_changed_entries(world: &mut World, number: u64, change: impl FnOnce(&mut [u8])) {
    world.stop();
    world.disk = world.disk.kill();
    let bytes = world.options.queue_file_bytes;
    let path = PathBuf::from(format!("/store/consumequeue/T/0/{:020}", number * bytes));
    let mut entries = world.disk.bytes(&path).unwrap();
    change(&mut entries);
    world.disk.plant(&path, &entries).unwrap();
    world.open();
}

/// Two queues, mixed in the log.
fn mixed(rounds: usize) -> World {
    let mut options = options(Flush::Sync);
    options.retention.keep = Millis(1_000);
    let mut world = World::on(MemDisk::new(), options);
    for _ in 0..rounds {
        for topic in ["T", "U"] {
            world.append(topic, 0, 400).unwrap();
        }
        world.store().commit().unwrap();
        world.settle();
    }
    world
}

fn offsets_of(world: &mut World) -> Vec<u64> {
    world.consume("T", 0).into_iter().map(|(offset, _)| offset).collect()
}

/// An entry names the record of another queue that stands beside its own.
fn an_entry_of_another_queue() {
    let mut world = mixed(4);
    let other = world.sent.iter().find(|sent| sent.topic == "U" && sent.offset == 1).unwrap();
    let at = (other.end.0 - other.size).to_be_bytes();
    with_changed_entries(&mut world, 0, |bytes| bytes[20..28].copy_from_slice(&at));
    let store = world.store();
    let slot = store.find_slot("T", QueueId(0)).unwrap();
    let plan = store.plan(slot, QueueOffset(0), harness::LIMITS, &mut |_| true);
    let mut bytes = Vec::new();
    plan.slices.fill(&mut bytes).unwrap();
    let topics: Vec<&str> =
        kerolox_protocol::record::parse_all(&bytes).map(|record| record.unwrap().topic).collect();
    assert_eq!(topics, ["T"], "another queue's message is read");
    assert_eq!(offsets_of(&mut world), [0, 1, 2, 3]);
}

#[test]
fn reading_another_queues_message_is_found() {
    kills(Mutant::PlaceUnchecked, "another queue's message", an_entry_of_another_queue);
}

/// A bit of a tag's hash flips that no hash has.
fn an_entry_with_an_impossible_hash() {
    let mut world = mixed(4);
    with_changed_entries(&mut world, 0, |bytes| bytes[20 + 12] ^= 4);
    let slot = world.store().find_slot("T", QueueId(0)).unwrap();
    let mut next = QueueOffset(0);
    let mut count = 0;
    while next < QueueOffset(4) {
        let plan = world.store().plan(slot, next, harness::LIMITS, &mut |code| code == 65);
        count += plan.count;
        next = plan.next;
        world.settle();
    }
    assert_eq!(count, 4, "a message with the wanted tag is passed over");
}

#[test]
fn believing_an_impossible_entry_is_found() {
    kills(Mutant::EntryUnchecked, "is passed over", an_entry_with_an_impossible_hash);
}

fn an_entry_without_sense() {
    let mut world = mixed(4);
    with_changed_entries(&mut world, 0, |bytes| bytes[20..28].fill(0x11));
    assert_eq!(offsets_of(&mut world), [0, 1, 2, 3]);
}

#[test]
fn not_mending_what_was_found_wrong_is_found() {
    kills(Mutant::MendForgotten, "is stuck", an_entry_without_sense);
}

/// Deletion looks for the start of a queue by halving, and meets an entry that names the start of the log.
fn deletion_past_a_wrong_entry() {
    for entry in 30..60usize {
        let mut world = mixed(60);
        let within = entry % 10 * 20;
        with_changed_entries(&mut world, entry as u64 / 10, |bytes| bytes[within..within + 8].fill(0));
        world.store().delete_expired();
        for _ in 0..3 {
            world.pass(20_000);
            world.settle();
        }
        let first = world.store().first();
        let left = |sent: &&harness::Sent| sent.topic == "T" && sent.end.0 - sent.size >= first.0;
        let expected: Vec<u64> = world.sent.iter().filter(left).map(|sent| sent.offset).collect();
        assert!(first > LogOffset(0) && !expected.is_empty());
        assert_eq!(offsets_of(&mut world), expected, "a queue begins behind its first message");
    }
}

#[test]
fn a_queues_start_that_a_wrong_entry_moves_is_found() {
    kills(Mutant::StartUnchecked, "begins behind", deletion_past_a_wrong_entry);
}

/// Of seven messages the second and the fourth are damaged.
fn a_record_between_two_damaged_ones() {
    let mut world = World::on(MemDisk::new(), unchecked(Flush::Async));
    for _ in 0..7 {
        world.append("T", 0, 300).unwrap();
    }
    world.store().commit().unwrap();
    world.store = None;
    world.disk = world.disk.kill();
    for offset in [1, 3] {
        let sent = &world.sent[offset];
        world.disk.flip(&log_file(0, &world.options), sent.end.0 - sent.size + 150, 3).unwrap();
    }
    world.open();
    assert_eq!(offsets_of(&mut world), [0, 2, 4, 5, 6], "a sound record is set aside");
}

#[test]
fn setting_a_lone_sound_record_aside_is_found() {
    kills(Mutant::LoneDisbelieved, "a sound record", a_record_between_two_damaged_ones);
}
