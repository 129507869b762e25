//! A disk that gives an error where it should give bytes.

mod harness;

use harness::{LIMITS, Sent, World, options};
use kerolox_protocol::{LogOffset, Millis, QueueId, QueueOffset};
use kerolox_said::Said;
use kerolox_store::{
    Cause, Flush, Level, PlanStatus, Store,
    disk::{
        Disk,
        memory::{Call, MemDisk},
    },
    tools::{
        Kind, Remedy, Severity,
        dump::{self, Select, Sought},
        repair, stat,
        verify::{Verified, verify},
    },
};
use std::{
    ops::ControlFlow,
    path::{Path, PathBuf},
};

const SECTOR: u64 = 512;

/// A store whose first checkpoint comes at once, and the second never: a crash makes it read all of its log.
fn unsaved() -> World {
    let mut options = options(Flush::Sync);
    options.checkpoint_bytes = u64::MAX;
    options.checkpoint_interval = Millis(i64::MAX / 2);
    let mut world = World::on(MemDisk::new(), options);
    fill(&mut world, 30);
    world
}

fn fill(world: &mut World, rounds: usize) {
    for round in 0..rounds {
        let (topic, len) = (["A", "B", "C"][round % 3], 200 + round * 97 % 1500);
        world.append(topic, (round % 2) as u32, len).unwrap();
        world.store().commit().unwrap();
        world.settle();
        world.pass(60);
    }
}

/// Ends the process.
fn die(world: &mut World) {
    world.store = None;
    world.jobs.clear();
    world.disk = world.disk.kill();
}

/// Ends the process, in order or not.
fn leave(world: &mut World, stopped: bool) {
    if stopped {
        world.stop();
    }
    die(world);
}

/// A stop in order, and a start of which no order is expected.
fn start_again(world: &mut World) {
    leave(world, true);
    world.open();
}

fn log_file(world: &World, at: u64) -> (PathBuf, u64) {
    let segment = world.options.segment_bytes;
    (PathBuf::from(format!("/store/commitlog/{:020}", at / segment * segment)), at % segment)
}

/// Makes the sectors of a part of the log unreadable.
fn spoil(world: &World, at: u64, len: u64) {
    let (path, within) = log_file(world, at);
    world.disk.spoil(&path, within, len).unwrap();
}

fn is_hit(sent: &Sent, at: u64, len: u64) -> bool {
    sent.end.0 - sent.size < at + len && at < sent.end.0
}

/// Everything that was sent and not hit is read, each at its old offset.
fn all_but(world: &mut World, at: u64, len: u64) {
    for (topic, queue) in [("A", 0), ("A", 1), ("B", 0), ("B", 1), ("C", 0), ("C", 1)] {
        let of_queue = world.sent.iter().filter(|sent| (&*sent.topic, sent.queue) == (topic, queue));
        let left = of_queue.filter(|sent| !is_hit(sent, at, len));
        let expected: Vec<(u64, Vec<u8>)> = left.map(|sent| (sent.offset, sent.body.clone())).collect();
        let found = world.consume(topic, queue);
        assert_eq!(found, expected, "{at}: {:?}", world.opened.lines);
    }
}

fn damage_lines(world: &World) -> usize {
    let told = world.opened.lines.iter();
    told.filter(|line| line.level == Level::Error && line.contains("damage in the log")).count()
}

/// Opens, or says which part of the log keeps it from that.
fn try_open(world: &mut World) -> Option<std::ops::Range<u64>> {
    match Store::open(world.disk.handle(), world.options.clone(), world.now.wall) {
        Ok((store, opened)) => {
            (world.store, world.opened) = (Some(store), opened);
            None
        }
        Err(why) => {
            let text = why.to_string();
            let Cause::Unreadable { part, .. } = why.cause else { panic!("{text}") };
            assert!(text.contains("store repair /store --apply"), "{text}");
            Some(part)
        }
    }
}

#[test]
fn a_bad_sector_in_what_is_read_again_costs_what_it_hit_and_is_told_once() {
    let mut world = unsaved();
    let end = world.store().end().0;
    die(&mut world);
    let disk = world.disk.clone();
    for (power_cut, at) in (0..end).step_by(SECTOR as usize).flat_map(|at| [(false, at), (true, at)]) {
        // All was flushed: a power cut takes nothing of it.
        world.disk = if power_cut { disk.power_cut(at) } else { disk.kill() };
        spoil(&world, at, 1);
        if let Some(part) = try_open(&mut world) {
            let last = world.sent.last().unwrap();
            assert!(is_hit(last, at, SECTOR) && part == (at..at + SECTOR), "{at} {part:?} {end}");
            continue;
        }
        let hit = world.sent.iter().filter(|sent| is_hit(sent, at, SECTOR)).count();
        assert!(damage_lines(&world) == 1 || hit == 0, "{at} {power_cut}: {:?}", world.opened.lines);
        all_but(&mut world, at, SECTOR);
        let next = world.append("A", 0, 100).unwrap();
        let before =
            world.sent.iter().rev().skip(1).find(|sent| sent.topic == "A" && sent.queue == 0).unwrap();
        // Of the last of a queue only its own head tells the place, or the queue's file, which a power cut took.
        let (next, after) = (next.queue_offset.0, before.offset + 1);
        assert!(next == after || power_cut && next == before.offset, "{at}: {next} {after}");
        world.store().commit().unwrap();
        world.settle();
        start_again(&mut world);
        assert_eq!(damage_lines(&world), 0, "{at} {power_cut}: told once");
        all_but(&mut world, at, SECTOR);
        world.sent.pop();
        world.store = None;
    }
}

#[test]
fn several_bad_sectors_are_several_damages() {
    let mut world = unsaved();
    die(&mut world);
    let victims: Vec<Sent> = [4, 11, 12, 23].map(|n| world.sent[n].clone()).into();
    for victim in &victims {
        spoil(&world, victim.end.0 - victim.size / 2, 1);
    }
    assert_eq!(try_open(&mut world), None);
    assert!((3..=4).contains(&damage_lines(&world)), "{:?}", world.opened.lines);
    assert!((3..=4).contains(&world.store().damaged().len()));
}

#[test]
fn a_bad_sector_where_the_log_ends_is_refused_unless_the_end_is_known() {
    for stopped in [true, false] {
        let mut world = unsaved();
        fill(&mut world, 2);
        let end = world.store().end().0;
        assert!(end % world.options.segment_bytes < 6 << 10, "there is room for bad sectors behind it");
        leave(&mut world, stopped);
        let disk = world.disk.clone();
        for sector in 0..16 {
            let at = end / SECTOR * SECTOR + sector * SECTOR;
            world.disk = disk.kill();
            spoil(&world, at, 1);
            let calls = world.disk.calls(Call::Write);
            println!("stopped: {stopped}, sector {sector}, at {at}, end {end}");
            let refused = try_open(&mut world);
            assert_eq!(refused.is_some(), at < end, "{stopped} {sector} {refused:?}");
            if refused.is_some() {
                assert!(world.disk.calls(Call::Write) <= calls + 1, "nothing but the lock is written");
                let is_marked = world.disk.bytes(Path::new("/store/abort")).is_ok();
                assert_eq!(is_marked, !stopped, "it was left as it was found");
                continue;
            }
            let told = world.opened.lines.iter().filter(|line| line.contains("written anew"));
            assert_eq!(told.count(), 1, "{:?}", world.opened.lines);
            world.check();
            let before = world.sent.len();
            fill(&mut world, 12);
            world.check();
            world.reopen();
            world.check();
            world.sent.truncate(before);
            world.store = None;
        }
    }
}

/// A store that was stopped, again and again, each time with another sector of its log that is bad: where it begins.
fn each_bad_sector_of_a_stopped_log(look: impl Fn(&mut World, u64)) {
    let mut world = unsaved();
    leave(&mut world, true);
    let end = world.sent.last().unwrap().end.0;
    let disk = world.disk.clone();
    for at in (0..end / SECTOR * SECTOR).step_by(SECTOR as usize) {
        world.disk = disk.kill();
        spoil(&world, at, 1);
        look(&mut world, at);
        world.store = None;
    }
}

#[test]
fn a_bad_sector_behind_what_is_read_again_is_met_by_those_who_read_it() {
    each_bad_sector_of_a_stopped_log(|world, at| {
        world.open();
        assert!(world.opened.lines.is_empty() && world.opened.clean, "{:?}", world.opened);
        all_but(world, at, SECTOR);
        for sent in world.sent.iter().filter(|sent| is_hit(sent, at, SECTOR)) {
            assert!(world.store.as_ref().unwrap().record(LogOffset(sent.end.0 - sent.size)).is_err());
        }
    });
}

fn look(world: &World) -> Verified {
    verify(&*world.disk.handle(), &world.options, &mut |_, _| {}).unwrap()
}

/// What is not well and can be repaired is; gives what was done.
fn mend(world: &World) -> Vec<Remedy> {
    repair::apply(&world.disk.handle(), &world.options, "stamp", Millis(5), &mut |_, _| {}).unwrap().steps
}

#[test]
fn a_log_whose_end_cannot_be_read_is_mended_by_a_repair() {
    for stopped in [true, false] {
        let mut world = unsaved();
        fill(&mut world, 2);
        let (end, last) = (world.store().end().0, world.sent.last().unwrap().clone());
        leave(&mut world, stopped);
        let disk = world.disk.clone();
        let sent = world.sent.clone();
        // Its head, what is between, and the log's end; two at once; and one that is far from it.
        let start = last.end.0 - last.size;
        for bad in [vec![start], vec![end - 1], vec![start, end - 1], vec![start, 700], vec![start - 1]] {
            world.disk = disk.kill();
            bad.iter().for_each(|at| spoil(&world, *at, 1));
            let before = world.disk.clone();
            let was_refused = try_open(&mut world).is_some();
            world.store = None;
            world.disk = world.disk.kill();
            let steps = mend(&world);
            let mut copied = 0;
            for step in &steps {
                let Remedy::CopyLog { path } = step else { continue };
                let aside = path.replace("/store/", "/store/kerolox.repair-stamp/");
                let kept = world.disk.bytes(Path::new(&aside)).unwrap();
                assert_eq!(kept, before.bytes(Path::new(path)).unwrap(), "the file itself is kept");
                copied += 1;
            }
            assert!(copied > 0 || !was_refused, "{bad:?}: {steps:?}");
            assert!(look(&world).findings.iter().all(|found| found.kind != Kind::Unreadable), "{bad:?}");
            assert_eq!(try_open(&mut world), None, "{stopped} {bad:?}: {steps:?}");
            let is_lost = |sent: &Sent| bad.iter().any(|at| is_hit(sent, at / SECTOR * SECTOR, SECTOR));
            world.sent.retain(|sent| !is_lost(sent));
            all_but(&mut world, 0, 0);
            assert!(world.store().end().0 >= end, "nothing is cut off: {:?}", world.opened.lines);
            world.append("D", 0, 100).unwrap();
            world.store().commit().unwrap();
            world.settle();
            start_again(&mut world);
            assert_eq!(damage_lines(&world), 0, "{stopped} {bad:?}: {:?}", world.opened.lines);
            all_but(&mut world, 0, 0);
            world.store = None;
            world.sent.clone_from(&sent);
        }
    }
}

#[test]
fn the_tools_go_on_past_bad_sectors_of_the_log_and_name_them() {
    each_bad_sector_of_a_stopped_log(|world, at| {
        let end = world.sent.last().unwrap().end.0;
        let (path, within) = log_file(world, at);
        let hit = |sent: &&Sent| is_hit(sent, at, SECTOR);
        let found = look(world);
        let named = found
            .findings
            .iter()
            .any(|finding| finding.kind == Kind::Unreadable && finding.path == path.display().to_string());
        assert_eq!(named, world.sent.iter().any(|sent| hit(&sent)), "{at}: {:#?}", found.findings);
        assert_eq!(found.records, world.sent.iter().filter(|sent| !hit(sent)).count() as u64, "{at}");
        let (handle, options) = (world.disk.handle(), &world.options);
        let mut dumped = Vec::new();
        let told = dump::dump(&*handle, options, &Select::default(), &mut |_, _| {}, &mut |record, _| {
            dumped.push(record.body.to_vec());
            ControlFlow::Continue(())
        });
        let expected: Vec<_> =
            world.sent.iter().filter(|sent| !hit(sent)).map(|sent| sent.body.clone()).collect();
        assert_eq!(dumped, expected, "{at}");
        let unread = told.unwrap().unread;
        assert!(
            unread.iter().any(|part| part.from == within && part.path == path.display().to_string()),
            "{at}"
        );
        for sent in &world.sent {
            let sought = Sought::Offset { topic: sent.topic.clone(), queue: sent.queue, offset: sent.offset };
            let found = dump::locate(&*handle, options, &sought, 1, &mut |_, _| {}).unwrap();
            assert_eq!(found.located.is_empty(), hit(&sent), "{at}");
            assert!(!hit(&sent) || !found.unread.is_empty(), "{at}");
        }
        assert!(stat::stat(&*handle, options, &mut |_, _| {}).unwrap().log.end >= end);
    });
}

/// Every file that is made from the log or beside it.
fn derived(disk: &MemDisk) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut left = vec![PathBuf::from("/store")];
    while let Some(dir) = left.pop() {
        for entry in disk.list(&dir).unwrap() {
            let path = dir.join(&entry.name);
            match entry.is_dir {
                true if entry.name == "commitlog" => {}
                true => left.push(path),
                false if entry.len > 0 && entry.name != "lock" => found.push(path),
                false => {}
            }
        }
    }
    found
}

#[test]
fn the_tools_name_and_mend_bad_sectors_of_what_is_made_from_the_log() {
    let mut world = unsaved();
    leave(&mut world, true);
    let topics = b"{\"topicConfigTable\":{\"A\":{\"perm\":6},\"B\":{},\"C\":{}}}";
    world.disk.plant(Path::new("/store/config/topics.json"), topics).unwrap();
    world.disk.plant(Path::new("/store/config/other.json"), b"{}").unwrap();
    world.disk.plant(Path::new("/store/config/other.json.bak"), b"{}").unwrap();
    assert!(!look(&world).is_damaged());
    let disk = world.disk.clone();
    let files = derived(&disk);
    assert!(files.len() > 12, "{files:?}");
    for path in files {
        world.disk = disk.kill();
        world.disk.spoil(&path, 0, 1).unwrap();
        let (handle, options) = (world.disk.handle(), &world.options);
        let name = path.display().to_string();
        let found = look(&world);
        let is_named = |finding: &&kerolox_store::tools::Finding| {
            finding.path == name && finding.severity == Severity::Damage
        };
        assert!(found.findings.iter().any(|finding| is_named(&finding)), "{name}: {:#?}", found.findings);
        let stat = stat::stat(&*handle, options, &mut |_, _| {}).unwrap();
        assert_eq!(stat.log.end, world.sent.last().unwrap().end.0, "{name}");
        let dumped = dump::dump(&*handle, options, &Select::default(), &mut |_, _| {}, &mut |_, _| {
            ControlFlow::Continue(())
        });
        assert_eq!(dumped.unwrap().records, world.sent.len() as u64, "{name}");
        let steps = mend(&world);
        let left = look(&world);
        assert!(!steps.is_empty() && !left.is_damaged(), "{name}: {steps:?} {:#?}", left.findings);
        world.open();
        world.check();
        world.store = None;
    }
}

fn set_aside(disk: &MemDisk) -> usize {
    disk.list(Path::new("/store/kerolox.quarantine")).map_or(0, |all| all.len())
}

/// Lines that tell of a file that cannot be read.
fn told(world: &World, path: &Path) -> usize {
    let name = path.display().to_string();
    world.opened.lines.iter().filter(|line| line.contains(&name) && line.contains("cannot read")).count()
}

#[test]
fn a_small_file_that_cannot_be_read_is_set_aside_and_made_again() {
    for stopped in [true, false] {
        let mut world = unsaved();
        leave(&mut world, stopped);
        let disk = world.disk.clone();
        for name in ["checkpoint", "kerolox.checkpoint", "kerolox.queues"] {
            let path = Path::new("/store").join(name);
            world.disk = disk.kill();
            world.disk.spoil(&path, 0, 1).unwrap();
            world.open();
            assert_eq!(
                (told(&world, &path), set_aside(&world.disk)),
                (1, 1),
                "{name}: {:?}",
                world.opened.lines
            );
            world.check();
            world.append("A", 0, 100).unwrap();
            world.reopen();
            world.check();
            assert_eq!(set_aside(&world.disk), 1);
            world.sent.pop();
            world.store = None;
        }
    }
}

/// Queue files of several sectors, written and synced.
fn with_large_queues() -> World {
    let mut options = options(Flush::Sync);
    options.queue_file_bytes = 2_000;
    let mut world = World::on(MemDisk::new(), options);
    world.by_turns(130, |_| 60);
    leave(&mut world, true);
    world
}

fn queue_sectors(disk: &MemDisk) -> Vec<(PathBuf, u64)> {
    let dir = Path::new("/store/consumequeue/A/0");
    let files = disk.list(dir).unwrap();
    let sectors =
        files.iter().flat_map(|file| (0..file.len).step_by(512).map(|at| (dir.join(&file.name), at)));
    sectors.collect()
}

#[test]
fn a_queue_file_that_cannot_be_read_is_made_again_when_a_reader_meets_it() {
    let mut world = with_large_queues();
    let disk = world.disk.clone();
    let mut met = 0;
    for (path, at) in queue_sectors(&disk) {
        world.disk = disk.kill();
        world.disk.spoil(&path, at, 1).unwrap();
        world.open();
        assert!(world.opened.lines.is_empty(), "nobody looks there: {:?}", world.opened.lines);
        let said = Said::listen();
        let store = world.store.as_ref().unwrap();
        let slot = store.find_slot("A", QueueId(0)).unwrap();
        let mut next = QueueOffset(0);
        while next < store.bounds(slot).max {
            let plan = store.plan(slot, next, LIMITS, &mut |_| true);
            if plan.status == PlanStatus::FoundNull {
                assert_eq!(plan.next, next, "nothing is passed over");
                break;
            }
            next = plan.next;
        }
        let was_met = next < store.bounds(slot).max;
        world.pass(60);
        world.settle();
        assert_eq!(said.take(tracing::Level::WARN, "were made again from the log"), usize::from(was_met));
        met += usize::from(was_met);
        world.check();
        for _ in 0..20 {
            world.append("A", 0, 60).unwrap();
        }
        world.check();
        assert_eq!(set_aside(&world.disk), usize::from(was_met));
        world.reopen();
        world.check();
        world.sent.truncate(260);
        world.store = None;
    }
    assert_eq!(met, 6, "two files, of which the second has entries in two sectors");
}

#[test]
fn a_queue_file_that_cannot_be_read_keeps_no_store_from_opening() {
    let mut world = with_large_queues();
    for name in ["kerolox.queues", "kerolox.checkpoint"] {
        // As another broker leaves it: the ends of queues are looked for in their files.
        world.disk.remove(&Path::new("/store").join(name)).unwrap();
    }
    let disk = world.disk.clone();
    let mut mended = 0;
    for (path, at) in queue_sectors(&disk) {
        world.disk = disk.kill();
        world.disk.spoil(&path, at, 1).unwrap();
        world.open();
        mended += told(&world, &path);
        world.pass(60);
        world.settle();
        let store = world.store.as_ref().unwrap();
        let slot = store.find_slot("A", QueueId(0)).unwrap();
        // Readers may still have to meet it.
        for from in (0..130).step_by(5) {
            store.plan(slot, QueueOffset(from), LIMITS, &mut |_| true);
        }
        world.pass(60);
        world.settle();
        world.check();
        world.append("A", 0, 60).unwrap();
        world.reopen();
        world.check();
        world.sent.pop();
        world.store = None;
    }
    assert!(mended > 4, "{mended}");
}

#[test]
fn an_entry_whose_record_is_lost_too_keeps_its_place() {
    let mut world = with_large_queues();
    let victim = world.sent.iter().find(|sent| sent.topic == "A" && sent.offset == 30).unwrap().clone();
    let at = victim.end.0 - victim.size / 2;
    spoil(&world, at, 1);
    let hit = at / SECTOR * SECTOR;
    world.disk.spoil(Path::new("/store/consumequeue/A/0/00000000000000000000"), 600, 1).unwrap();
    world.open();
    let store = world.store.as_ref().unwrap();
    let slot = store.find_slot("A", QueueId(0)).unwrap();
    store.plan(slot, QueueOffset(30), LIMITS, &mut |_| true);
    world.settle();
    all_but(&mut world, hit, SECTOR);
}

#[test]
fn an_index_that_cannot_be_read_is_set_aside_and_the_newest_keys_are_read_again() {
    for stopped in [true, false] {
        let mut world = World::new(Flush::Sync);
        fill(&mut world, 90);
        leave(&mut world, stopped);
        let disk = world.disk.clone();
        let files = disk.list(Path::new("/store/index")).unwrap();
        assert!(files.len() > 1);
        for (n, file) in files.iter().enumerate() {
            let is_newest = n + 1 == files.len();
            for at in (0..file.len).step_by(512) {
                let path = Path::new("/store/index").join(&file.name);
                world.disk = disk.kill();
                world.disk.spoil(&path, at, 1).unwrap();
                world.open();
                let is_aside = told(&world, &path);
                assert!(is_aside == 1 || at > 0, "the header is always read");
                assert_eq!(set_aside(&world.disk), is_aside);
                if is_newest && is_aside == 1 {
                    world.check();
                }
                all_but(&mut world, 0, 0);
                start_again(&mut world);
                assert_eq!(told(&world, &path), 0, "told once");
                world.store = None;
            }
        }
    }
}
