//! The store on a disk that fails, fills up and rots.

mod harness;

use harness::{World, options, read_all};
use kerolox_protocol::{LogOffset, Millis, QueueId};
use kerolox_store::{
    AppendError, Flush, Level, Line, Refusal, Store,
    disk::memory::{Call, Fault, Harm, MemDisk},
    tools::verify::verify,
};
use std::path::Path;

/// Appends, commits and flushes until the store refuses, or `rounds` are done. Returns how many records were
/// confirmed durable.
fn work(world: &mut World, rounds: usize) -> usize {
    for round in 0..rounds {
        let len = 200 + round * 97 % 1500;
        if world.append(&format!("T{}", round % 3), (round % 2) as u32, len).is_err() {
            break;
        }
        if world.store().commit().is_err() {
            break;
        }
        world.settle();
        world.pass(60);
    }
    let flushed = world.store().flushed();
    world.sent.iter().filter(|sent| sent.end <= flushed).count()
}

/// Distance of the places where a disk fills up; `FAULT_STEP` asks for another.
#[allow(clippy::disallowed_methods, reason = "the size of a test run is no configuration")]
fn step(usual: usize) -> usize {
    std::env::var("FAULT_STEP").ok().and_then(|n| n.parse().ok()).unwrap_or(usual)
}

/// Makes the `nth` call of a kind on some paths fail; `None` if there were not so many.
fn fail_one(call: Call, path: &str, nth: u64) -> Option<(World, usize)> {
    let mut world = World::new(Flush::Sync);
    world.disk.plan(Fault { call, path: path.into(), nth, times: 1, harm: Harm::Eio });
    let confirmed = work(&mut world, 36);
    let harmed = world.disk.harmed();
    (harmed > 0).then_some((world, confirmed))
}

#[test]
fn the_first_failed_write_or_sync_ends_accepting_and_loses_nothing() {
    for (call, path) in [
        (Call::Write, "commitlog"),
        (Call::Sync, "commitlog"),
        (Call::SyncDir, "commitlog"),
        (Call::Allocate, "commitlog"),
        (Call::Write, "consumequeue"),
        (Call::Sync, "consumequeue"),
        (Call::SyncDir, "consumequeue"),
        (Call::Write, "kerolox."),
        (Call::Sync, "kerolox."),
        (Call::Rename, "kerolox."),
        (Call::Write, "checkpoint"),
        (Call::Sync, "checkpoint"),
        (Call::Rename, "checkpoint"),
    ] {
        for nth in 1.. {
            let Some((mut world, confirmed)) = fail_one(call, path, nth) else {
                assert!(nth > 1, "{call:?} {path} never occurs: nothing was tried");
                break;
            };
            println!("failed: {call:?} {path} {nth}");
            assert!(matches!(world.store().writable(), Err(Refusal::Poisoned(_))), "{call:?} {path} {nth}");
            assert!(world.store().commit().is_err());
            // Whatever is asked of it, nothing more is accepted, written or confirmed.
            let flushed = world.store().flushed();
            world.disk.heal();
            world.pass(100_000);
            world.settle();
            assert!(world.append("T0", 0, 100).is_err());
            assert_eq!(world.store().flushed(), flushed);
            world.check();
            world.power_cut(nth);
            assert_eq!(world.sent.iter().filter(|sent| sent.end <= flushed).count(), confirmed);
            world.append("T0", 0, 100).unwrap();
        }
    }
}

#[test]
fn a_failing_index_stops_no_message_and_is_made_up_for() {
    for nth in 1.. {
        let Some((mut world, confirmed)) = fail_one(Call::Write, "index", nth) else {
            assert!(nth > 1, "the index is never written: nothing was tried");
            return;
        };
        assert_eq!(confirmed, 36, "{nth}");
        world.disk.heal();
        world.stop();
        world.disk = world.disk.kill();
        world.open();
        world.check();
        // Of the job that failed slots may be written, and lead past the keys before it.
        work(&mut world, 3);
        let (store, opened) = (world.store.as_ref().unwrap(), &world.opened);
        world.check_keys(store, opened, store.confirmed()).unwrap_or_else(|why| panic!("write {nth}: {why}"));
    }
}

#[test]
fn a_queue_file_whose_making_failed_halfway_is_durable_with_the_next_checkpoint() {
    for seed in 0..16 {
        let mut world = World::new(Flush::Sync);
        // After any other end no name is believed to be durable.
        world.reopen();
        let (path, harm) = ("consumequeue".into(), Harm::Enospc);
        world.disk.plan(Fault { call: Call::SetLen, path, nth: 1, times: 1, harm });
        world.append("T", 0, 100).unwrap();
        world.store().commit().unwrap();
        for _ in 0..4 {
            world.settle();
            world.pass(1_100);
        }
        assert_eq!(world.disk.harmed(), 1);
        let cut = world.disk.power_cut(seed);
        let found = verify(&*cut.handle(), &world.options, &mut |_, _| {}).unwrap();
        assert!(!found.is_damaged(), "{seed}: {:?}", found.findings);
    }
}

#[test]
fn an_index_without_room_takes_keys_again_without_a_restart() {
    for (nth, call) in (1..12).flat_map(|nth| [(nth, Call::Write), (nth, Call::Open), (nth, Call::SetLen)]) {
        let mut world = World::new(Flush::Sync);
        world.disk.plan(Fault { call, path: "index".into(), nth, times: 2, harm: Harm::Enospc });
        work(&mut world, 20);
        // The second try fails as well; the third finds room.
        for _ in 0..3 {
            world.pass(1_100);
            world.settle();
        }
        assert_eq!(world.store().index_failed(), None, "{call:?} {nth}");
        world.check();
        work(&mut world, 10);
        world.check();
        world.stop();
        world.disk = world.disk.kill();
        let found = verify(&*world.disk.handle(), &world.options, &mut |_, _| {}).unwrap();
        assert!(!found.is_damaged(), "{call:?} {nth}: {:?}", found.findings);
        world.open();
        assert!(world.opened.clean && world.opened.records == 0, "{:?}", world.opened);
        world.check();
    }
}

#[test]
fn an_index_whose_sync_failed_for_lack_of_room_is_not_believed_again() {
    let mut world = World::new(Flush::Sync);
    world.disk.plan(Fault { call: Call::Sync, path: "index".into(), nth: 1, times: 1, harm: Harm::Enospc });
    work(&mut world, 20);
    world.pass(5_000);
    world.settle();
    assert!(world.store().index_failed().is_some());
    world.check();
}

#[test]
fn an_index_file_that_cannot_be_read_keeps_no_store_from_opening() {
    for call in [Call::Open, Call::Read] {
        let mut world = World::new(Flush::Sync);
        work(&mut world, 10);
        world.stop();
        world.disk = world.disk.kill();
        let fault = Fault { call, path: "/index/".into(), nth: 1, times: 1, harm: Harm::Eio };
        world.disk.plan(fault);
        world.open();
        assert_eq!(world.disk.harmed(), 1);
        let said = world.opened.lines.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
        assert!(said.contains("the disk cannot read it") && said.contains("read again"), "{said}");
        world.check();
    }
}

#[test]
fn a_short_write_is_an_error_and_its_ruins_are_cut_off() {
    for kept in [0, 1, 7, 8, 40, 150, 299] {
        let mut world = World::new(Flush::Async);
        world.append("T", 0, 200).unwrap();
        world.store().commit().unwrap();
        world.disk.plan(Fault::once(Call::Write, 1, Harm::Short(kept)));
        world.append("T", 0, 200).unwrap();
        assert!(world.store().commit().is_err());
        world.kill();
        assert_eq!(world.sent.len(), 1);
        // What is written next must not be continued by what is left of the torn one.
        world.append("T", 0, 10).unwrap();
        world.store().commit().unwrap();
        world.kill();
        assert_eq!(world.sent.len(), 2);
    }
}

#[test]
fn a_full_disk_refuses_loses_nothing_and_serves_again() {
    for kib in (60..400).step_by(step(20).max(4)) {
        println!("full at: {kib} KiB");
        let disk = MemDisk::new();
        let mut options = options(Flush::Sync);
        options.retention.refuse_percent = 100;
        options.retention.clean_percent = 100;
        options.retention.used_max_percent = 100;
        let mut world = World::on(disk, options);
        world.disk.set_capacity(Some(kib << 10));
        work(&mut world, 2000);
        let refusal = world.store().writable();
        assert!(matches!(refusal, Err(Refusal::NoRoom { .. })), "{kib}: {refusal:?}");
        assert!(refusal.unwrap_err().to_string().contains("free space"));
        world.check();
        // Still full, still refused, still readable.
        world.pass(5_000);
        world.settle();
        world.check();
        world.disk.set_capacity(Some(64 << 20));
        world.pass(1_100);
        world.settle();
        let before = world.sent.len();
        work(&mut world, 20);
        assert_eq!(world.sent.len(), before + 20, "{kib}: serves again without a restart");
        world.check();
        // Not `reopen`: an index that found no room makes up for it now, and says so.
        world.stop();
        world.disk = world.disk.kill();
        world.open();
        assert!(world.opened.clean);
        world.check();
        world.power_cut(kib);
    }
}

#[test]
fn stopping_on_a_full_disk_ends_and_loses_nothing() {
    let mut world = World::new(Flush::Sync);
    work(&mut world, 5);
    for _ in 0..30 {
        world.append("Fresh", 0, 100).unwrap();
    }
    world.store().commit().unwrap();
    world.disk.set_write_budget(Some(100));
    world.store().stop();
    world.settle();
    assert!(world.store().is_clean(), "there is nothing more to wait for");
    world.disk.heal();
    world.kill();
}

#[test]
fn no_room_in_the_middle_of_a_write_loses_nothing() {
    for budget in (1..60_000).step_by(step(611)) {
        println!("full after: {budget}");
        let mut world = World::new(Flush::Sync);
        world.disk.set_write_budget(Some(budget));
        work(&mut world, 40);
        world.disk.heal();
        world.check();
        world.power_cut(budget);
        world.append("T0", 0, 100).unwrap();
        world.store().commit().unwrap();
        world.settle();
        world.check();
    }
}

#[test]
fn above_the_watermark_appends_are_refused_until_there_is_room() {
    let mut world = World::new(Flush::Async);
    work(&mut world, 5);
    world.disk.set_capacity(Some(40 << 20));
    world.disk.plant(Path::new("/other"), &vec![1; 39 << 20]).unwrap();
    world.pass(10_000);
    world.settle();
    let refusal = world.store().writable();
    assert!(matches!(refusal, Err(Refusal::DiskFull { limit_percent: 90, .. })), "{refusal:?}");
    assert!(matches!(world.append("T0", 0, 10), Err(AppendError::Refused(_))));
    world.disk.set_capacity(Some(400 << 20));
    world.pass(1_000);
    world.settle();
    world.append("T0", 0, 10).unwrap();
}

#[test]
fn damage_in_the_middle_is_reported_and_passed_over() {
    let mut world = World::on(MemDisk::new(), {
        let mut options = options(Flush::Sync);
        options.checkpoint_interval = Millis(i64::MAX / 2);
        options.checkpoint_bytes = u64::MAX;
        options
    });
    work(&mut world, 40);
    let victim = world.sent[17].clone();
    let at = victim.end.0 - victim.size;
    let segment = world.options.segment_bytes;
    let path = format!("/store/commitlog/{:020}", at / segment * segment);
    world.disk.flip(Path::new(&path), at % segment + 100, 3).unwrap();
    for round in 0..3 {
        if round == 1 {
            // A clean stop and a clean start in between must not forget it.
            world.stop();
        }
        world.disk = world.disk.kill();
        world.store = None;
        world.open();
        let next = world.sent.iter().find(|sent| sent.end.0 > victim.end.0).unwrap().clone();
        let damaged = at..next.end.0 - next.size;
        assert_eq!(world.store().damaged(), std::slice::from_ref(&damaged));
        let told = |line: &&Line| line.level == Level::Error && line.contains("damage in the log");
        assert_eq!(world.opened.lines.iter().filter(told).count(), usize::from(round == 0));
        let expected: Vec<_> = world
            .sent
            .iter()
            .filter(|sent| (&sent.topic, sent.queue) == (&victim.topic, victim.queue))
            .filter(|sent| sent.offset != victim.offset)
            .map(|sent| (sent.offset, sent.body.clone()))
            .collect();
        let found = read_all(world.store(), &victim.topic, victim.queue, 0);
        assert_eq!(found, expected, "all but the damaged one, each at its old offset");
        assert_eq!(world.store().record(LogOffset(at)).unwrap(), None);
    }
}

#[test]
fn a_flipped_bit_anywhere_loses_at_most_what_it_hit() {
    let mut options = options(Flush::Sync);
    options.checkpoint_bytes = u64::MAX;
    options.checkpoint_interval = Millis(i64::MAX / 2);
    let mut world = World::on(MemDisk::new(), options);
    work(&mut world, 25);
    let end = world.store().end().0;
    let segment = world.options.segment_bytes;
    for at in (0..end).step_by(37) {
        let disk = world.disk.kill();
        let path = format!("/store/commitlog/{:020}", at / segment * segment);
        disk.flip(Path::new(&path), at % segment, (at % 8) as u32).unwrap();
        let (store, opened) =
            kerolox_store::Store::open(disk.handle(), world.options.clone(), world.now.wall).unwrap();
        for sent in &world.sent {
            let start = sent.end.0 - sent.size;
            if (start..sent.end.0).contains(&at) {
                continue;
            }
            // The filler before a border may be hit too; nothing behind it may be lost.
            let found = read_all(&store, &sent.topic, sent.queue, sent.offset);
            assert_eq!(found.first().map(|found| &found.1), Some(&sent.body), "{at}: {opened:?}");
        }
    }
}

#[test]
fn a_damaged_record_hides_none_of_its_neighbours() {
    let mut options = options(Flush::Sync);
    options.checkpoint_interval = Millis(i64::MAX / 2);
    let mut world = World::on(MemDisk::new(), options);
    for _ in 0..25 {
        world.append("T", 0, 300).unwrap();
        world.store().commit().unwrap();
        world.settle();
    }
    let disk = world.disk.kill();
    // Not the last: a damaged end is a torn write.
    for hit in 0..24 {
        let in_body = world.sent[hit].end.0 - world.sent[hit].size + 120;
        let segment = world.options.segment_bytes;
        let path = format!("/store/commitlog/{:020}", in_body / segment * segment);
        world.disk = disk.kill();
        world.disk.flip(Path::new(&path), in_body % segment, 1).unwrap();
        world.store = None;
        world.open();
        // After a crash the beginnings of queues are looked for.
        world.settle();
        assert_eq!(world.opened.damaged.len(), 1, "{:?}", world.opened);
        let slot = world.store().find_slot("T", QueueId(0)).unwrap();
        assert_eq!(world.store().bounds(slot).min.0, u64::from(hit == 0), "message {hit} is damaged");
    }
}

#[test]
fn a_misdirected_or_lost_write_is_not_believed() {
    for harm in [Harm::Misdirected(4096), Harm::Lost] {
        let mut world = World::new(Flush::Async);
        world.append("T", 0, 500).unwrap();
        world.store().commit().unwrap();
        let path = String::from("commitlog");
        world.disk.plan(Fault { call: Call::Write, path, nth: 1, times: 1, harm });
        let bad = world.append("T", 0, 500).unwrap();
        world.store().commit().unwrap();
        for _ in 0..80 {
            // Push it out of memory, so that the next read goes to the file.
            world.append("T", 0, 2_000).unwrap();
            world.store().commit().unwrap();
        }
        let store = world.store.as_ref().unwrap();
        let slot = store.find_slot("T", QueueId(0)).unwrap();
        let plan = store.plan(slot, bad.queue_offset, harness::LIMITS, &mut |_| true);
        let mut bytes = Vec::new();
        assert!(plan.slices.read_into(&mut bytes).is_err(), "{harm:?}");
        assert!(bytes.is_empty());
        assert_eq!(store.record(bad.at).unwrap(), None);
    }
}

/// Nine records of a queue, each beside one of another, of which no checkpoint knows.
fn unchecked() -> World {
    let mut options = options(Flush::Sync);
    options.checkpoint_interval = Millis(i64::MAX / 2);
    options.checkpoint_bytes = u64::MAX;
    let mut world = World::on(MemDisk::new(), options);
    for n in 0..9 {
        world.append("T", 0, 200 + 20 * n).unwrap();
        world.append("U", 0, 150).unwrap();
        world.store().commit().unwrap();
        world.settle();
    }
    world
}

/// Flips a bit of a record, counted from its first byte.
fn flip_record(world: &World, disk: &MemDisk, (topic, offset): (&str, u64), byte: u64, bit: u32) {
    let sent = world.sent.iter().find(|sent| sent.topic == topic && sent.offset == offset).unwrap();
    let (at, segment) = (sent.end.0 - sent.size + byte, world.options.segment_bytes);
    let path = format!("/store/commitlog/{:020}", at / segment * segment);
    disk.flip(Path::new(&path), at % segment, bit).unwrap();
}

/// Whatever stands between others that are damaged, is read at its old place: at once, and after another start.
fn keeps_all_but(world: &mut World, disk: MemDisk, hit: &[u64], what: &str) {
    world.disk = disk;
    for round in 0..2 {
        world.store = None;
        world.disk = world.disk.kill();
        world.open();
        world.settle();
        for topic in ["T", "U"] {
            let is_left =
                |sent: &&harness::Sent| sent.topic == topic && (topic == "U" || !hit.contains(&sent.offset));
            let expected: Vec<_> =
                world.sent.iter().filter(is_left).map(|sent| (sent.offset, sent.body.clone())).collect();
            let mut found = world.consume(topic, 0);
            // A record whose damage nothing tells may be read where it says.
            found.retain(|(_, body)| expected.iter().any(|(_, other)| other == body));
            assert!(
                found == expected,
                "{what}, {round}: {:?} {:?}",
                found.iter().map(|x| x.0).collect::<Vec<_>>(),
                world.opened.lines
            );
        }
    }
    let next = world.append("T", 0, 100).unwrap();
    assert!(next.queue_offset.0 >= 9, "{what}: {next:?}");
    world.sent.pop();
    world.store = None;
}

#[test]
fn a_record_that_stands_alone_between_damaged_ones_is_read_at_its_place() {
    let mut world = unchecked();
    let disk = world.disk.clone();
    for pattern in 1..1u64 << 8 {
        let hit: Vec<u64> = (0..8).filter(|n| pattern >> n & 1 == 1).collect();
        let copy = disk.kill();
        hit.iter().for_each(|offset| flip_record(&world, &copy, ("T", *offset), 100, 1));
        keeps_all_but(&mut world, copy, &hit, &format!("{hit:?}"));
    }
}

#[test]
fn a_record_that_tells_a_wrong_place_takes_no_other_along() {
    const QUEUE: u64 = 15;
    const OFFSET: u64 = 27;
    let mut world = unchecked();
    let disk = world.disk.clone();
    for (flipped, lost) in (0..8).flat_map(|flipped| (0..8).map(move |lost| (flipped, lost))) {
        for (byte, bit) in
            [(OFFSET, 0), (OFFSET, 1), (OFFSET, 2), (OFFSET, 3), (OFFSET, 7), (OFFSET - 4, 5), (QUEUE, 2)]
        {
            let copy = disk.kill();
            flip_record(&world, &copy, ("T", flipped), byte, bit);
            if lost != flipped {
                flip_record(&world, &copy, ("T", lost), 100, 1);
            }
            let what = format!("{flipped} tells a wrong place, bit {bit} of {byte}, {lost} is lost");
            keeps_all_but(&mut world, copy, &[flipped, lost], &what);
        }
    }
}

#[test]
fn too_many_open_files_are_refused_and_end_nothing() {
    for (path, call) in [("consumequeue", Call::Open), ("commitlog", Call::Open), ("index", Call::Open)] {
        let mut world = World::new(Flush::Async);
        world.append("T", 0, 1000).unwrap();
        world.store().commit().unwrap();
        world.settle();
        world.disk.plan(Fault { call, path: path.into(), nth: 1, times: u64::MAX, harm: Harm::Emfile });
        let mut refused = 0;
        // Over several log files and queues.
        for n in 0..60 {
            match world.append("T", n % 3, 1000) {
                Ok(_) => _ = world.store().commit().unwrap(),
                Err(AppendError::Refused(why @ Refusal::NoFiles { .. })) => {
                    assert!(why.to_string().contains("ulimit"), "{why}");
                    refused += 1;
                }
                other => panic!("{path}: {other:?}"),
            }
            world.settle();
            world.pass(30);
        }
        assert!(refused > 0 || path == "index", "{path}");
        world.disk.heal();
        world.pass(20_000);
        world.settle();
        world.pass(2_000);
        world.settle();
        world.append("T", 0, 1000).unwrap();
        world.store().commit().unwrap();
        world.check();
        world.reopen();
        world.check();
    }
}

#[test]
fn a_flipped_bit_before_a_power_cut_is_no_hole_that_it_left() {
    // No checkpoint tells that what was flushed is so.
    let mut options = options(Flush::Sync);
    options.checkpoint_interval = Millis(i64::MAX / 2);
    options.checkpoint_bytes = u64::MAX;
    let mut world = World::on(MemDisk::new(), options);
    for n in 0..12 {
        world.append("T", 0, 400 + 37 * n).unwrap();
        world.store().commit().unwrap();
        world.settle();
    }
    for hit in 0..11 {
        let disk = world.disk.power_cut(7);
        let sent = &world.sent[hit];
        // In the body: its head ends at 88.
        disk.flip(Path::new("/store/commitlog/00000000000000000000"), sent.end.0 - sent.size + 200, 3)
            .unwrap();
        let (store, opened) = Store::open(disk.handle(), world.options.clone(), Millis(0)).unwrap();
        assert_eq!(store.end(), world.sent[11].end, "{hit}: {opened:?}");
        assert_eq!(opened.damaged.len(), 1, "{hit}: {opened:?}");
    }
}
