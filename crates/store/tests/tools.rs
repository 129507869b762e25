//! The offline tools against stores with one known damage each, against random damage, and against stores that
//! the original wrote.

#[path = "harness/mod.rs"]
mod harness;

use harness::{World, options};
use kerolox_protocol::Millis;
use kerolox_store::{
    Flush, Options, Store,
    disk::{
        Disk, Open,
        memory::{MemDisk, Rng},
    },
    tools::{
        Kind, Severity, Watch,
        dump::{self, Select, Sought},
        repair, stat,
        verify::{Verified, verify},
    },
};
use std::{
    collections::BTreeMap,
    ops::ControlFlow,
    path::{Path, PathBuf},
};

/// A store with several topics, queues, log files and index files, stopped cleanly.
fn filled() -> World {
    let mut world = World::new(Flush::Async);
    for n in 0..90 {
        world.append(["A", "B", "%RETRY%g"][n % 3], (n % 2) as u32, 100 + n * 7 % 900).unwrap();
        if n % 10 == 9 {
            world.store().commit().unwrap();
            world.pass(300);
            world.settle();
        }
    }
    world.stop();
    world.disk = world.disk.kill();
    world.disk.plant(Path::new("/store/config/topics.json"), TOPICS).unwrap();
    world.disk.plant(Path::new("/store/config/topics.json.bak"), TOPICS).unwrap();
    world
}

/// As the original writes it, with bare keys.
const TOPICS: &[u8] = b"{\"topicConfigTable\":{\"A\":{\"perm\":6},\"B\":{},\"%RETRY%g\":{}},\"x\":{0:1}}";

fn look(disk: &MemDisk, options: &Options) -> Verified {
    verify(&*disk.handle(), options, &mut |_, _| {}).unwrap()
}

fn kinds(verified: &Verified) -> Vec<Kind> {
    let mut kinds: Vec<Kind> = verified.findings.iter().map(|finding| finding.kind).collect();
    kinds.sort_by_key(|kind| kind.to_string());
    kinds.dedup();
    kinds
}

/// Every file with its bytes.
fn image(disk: &MemDisk) -> BTreeMap<PathBuf, Vec<u8>> {
    fn below(disk: &MemDisk, dir: &Path, into: &mut BTreeMap<PathBuf, Vec<u8>>) {
        for entry in disk.list(dir).unwrap() {
            let path = dir.join(&entry.name);
            match entry.is_dir {
                true => below(disk, &path, into),
                false => drop(into.insert(path.clone(), disk.bytes(&path).unwrap())),
            }
        }
    }
    let mut files = BTreeMap::new();
    below(disk, Path::new("/store"), &mut files);
    files
}

fn write(disk: &MemDisk, path: &str, at: u64, bytes: &[u8]) {
    let file = disk.open(Path::new(path), Open::Write).unwrap();
    file.write_at(bytes, at).unwrap();
    file.sync().unwrap();
}

fn read(disk: &MemDisk, path: &str, at: u64, n: usize) -> Vec<u8> {
    let mut bytes = vec![0; n];
    disk.open(Path::new(path), Open::Read).unwrap().read_at(&mut bytes, at).unwrap();
    bytes
}

/// Plants one damage, expects these findings and no other, repairs, expects a clean store, and that a broker
/// still finds every message there.
fn damaged(expected: &[Kind], plant: impl FnOnce(&World)) {
    let mut world = filled();
    plant(&world);
    let before = image(&world.disk);
    let found = look(&world.disk, &world.options);
    assert_eq!(kinds(&found), expected, "{:#?}", found.findings);
    assert_eq!(image(&world.disk), before, "verify changed something");
    let repaired =
        repair::apply(&world.disk.handle(), &world.options, "stamp", Millis(5), &mut |_, _| {}).unwrap();
    // That another broker seems to have had the store stays worth a note.
    let is_left = |severity| repaired.after.findings.iter().any(|finding| finding.severity >= severity);
    assert!(!is_left(Severity::Leftover), "{:#?}", repaired.after.findings);
    assert!(!repaired.steps.is_empty() && repaired.saved.is_some());
    kept_a_copy(&before, &image(&world.disk));
    let again =
        repair::apply(&world.disk.handle(), &world.options, "again", Millis(6), &mut |_, _| {}).unwrap();
    assert!(again.steps.is_empty() && again.saved.is_none(), "{:?}", again.steps);
    world.open();
    world.check();
    world.append("A", 0, 100).unwrap();
    world.store().commit().unwrap();
    world.check();
}

/// What is not as it was any more lies in the directory of copies, unless it was all zeros.
fn kept_a_copy(before: &BTreeMap<PathBuf, Vec<u8>>, after: &BTreeMap<PathBuf, Vec<u8>>) {
    let aside: Vec<&Vec<u8>> = after
        .iter()
        .filter(|(path, _)| path.starts_with("/store/kerolox.repair-stamp"))
        .map(|(_, b)| b)
        .collect();
    for (path, bytes) in before.iter().filter(|(path, bytes)| after.get(*path) != Some(bytes)) {
        let is_tail =
            |copy: &&&Vec<u8>| !copy.is_empty() && bytes.windows(copy.len()).any(|part| part == ***copy);
        let grew = after.get(path).is_some_and(|now| now.starts_with(bytes));
        assert!(
            grew || aside.iter().any(|copy| *copy == bytes || is_tail(&copy)),
            "no copy of {}",
            path.display()
        );
    }
}

const LOG: &str = "/store/commitlog/00000000000000000000";
const QUEUE: &str = "/store/consumequeue/A/0/00000000000000000000";

#[test]
fn a_whole_store_has_nothing_to_report() {
    let world = filled();
    let before = image(&world.disk);
    let found = look(&world.disk, &world.options);
    assert_eq!(found.findings, []);
    assert!(!found.is_damaged());
    assert_eq!((found.records, found.entries), (90, 90));
    assert_eq!(found.keys, 90 * 3);
    assert_eq!(image(&world.disk), before);
    assert_eq!(repair::plan(&found), repair::Plan::default());
}

#[test]
fn entries_that_differ_stray_or_are_missing_are_made_anew() {
    damaged(&[Kind::EntryWrong], |world| write(&world.disk, QUEUE, 20 + 11, &[9]));
    damaged(&[Kind::EntryStray], |world| {
        let (name, end) = ("/store/consumequeue/A/0/00000000000000000000", 15 * 20);
        let end = end % 200;
        let path = if 15 * 20 >= 200 { "/store/consumequeue/A/0/00000000000000000200" } else { name };
        write(&world.disk, path, end, &read(&world.disk, QUEUE, 0, 20));
    });
    damaged(&[Kind::EntryHole, Kind::EntryMissing], |world| write(&world.disk, QUEUE, 40, &[0; 20]));
    damaged(&[Kind::EntryMissing], |world| {
        world.disk.remove(Path::new(QUEUE)).unwrap();
    });
    damaged(&[Kind::EntryHole], |world| {
        write(&world.disk, "/store/consumequeue/A/0/00000000000000000200", 180, &[0, 0, 0, 1]);
    });
    damaged(&[Kind::EntryMissing, Kind::QueueFileSize], |world| {
        world.disk.open(Path::new(QUEUE), Open::Write).unwrap().set_len(100).unwrap();
    });
}

#[test]
fn what_stands_behind_the_log_is_cut_off() {
    // Of what was known to be durable nothing is ever cut, so the end must be beyond that.
    damaged(&[Kind::LogTail], |world| {
        let end = look(&world.disk, &world.options).end;
        let path = format!("/store/commitlog/{:020}", end - end % (16 << 10));
        write(&world.disk, &path, end % (16 << 10) + 5, b"not a record");
    });
}

/// A kill may come in the middle of a write: what it left of that is cut off by the next start too.
#[test]
fn what_a_kill_left_of_a_write_is_a_leftover() {
    let world = filled();
    let end = look(&world.disk, &world.options).end;
    let path = format!("/store/commitlog/{:020}", end - end % (16 << 10));
    write(&world.disk, &path, end % (16 << 10), &read(&world.disk, LOG, 0, 300));
    assert!(look(&world.disk, &world.options).is_damaged(), "the store was stopped, so nobody was writing");
    world.disk.plant(Path::new("/store/abort"), b"").unwrap();
    let found = look(&world.disk, &world.options);
    assert_eq!(kinds(&found), [Kind::LogTail, Kind::NotStopped]);
    assert!(!found.is_damaged(), "{:#?}", found.findings);
}

#[test]
fn a_short_last_file_gets_its_length() {
    damaged(&[Kind::LogFileSize], |world| {
        let end = look(&world.disk, &world.options).end;
        let path = format!("/store/commitlog/{:020}", end - end % (16 << 10));
        world.disk.open(Path::new(&path), Open::Write).unwrap().set_len(end % (16 << 10)).unwrap();
    });
}

#[test]
fn the_index_is_made_anew() {
    let first = |world: &World| {
        let files = world.disk.list(Path::new("/store/index")).unwrap();
        assert!(files.len() > 1, "several files");
        format!("/store/index/{}", files[0].name)
    };
    damaged(&[Kind::IndexFile], |world| write(&world.disk, &first(world), 36, &[0x7f]));
    damaged(&[Kind::IndexFile], |world| {
        write(&world.disk, &first(world), 40 + 4 * 64 + 20 * 3 + 19, &[0x55]);
    });
    // A key's hash that stays in its slot's chain: only the comparison with the log notices.
    damaged(&[Kind::IndexMissing, Kind::IndexStray], |world| {
        let at = 40 + 4 * 64 + 20 * 3;
        let hash = read(&world.disk, &first(world), at, 4);
        let hash = u32::from_be_bytes(hash.try_into().unwrap());
        let other = if hash > 64 { hash - 64 } else { hash + 64 };
        write(&world.disk, &first(world), at, &other.to_be_bytes());
    });
    damaged(&[Kind::IndexFile], |world| {
        world.disk.open(Path::new(&first(world)), Open::Write).unwrap().set_len(100).unwrap();
    });
}

#[test]
fn small_files_come_back_from_their_copies() {
    let json = "/store/config/topics.json";
    damaged(&[Kind::Config], |world| write(&world.disk, json, 0, b"[[["));
    damaged(&[Kind::Config], |world| world.disk.remove(Path::new(json)).unwrap());
    damaged(&[Kind::ConfigBackup], |world| {
        write(&world.disk, "/store/config/topics.json.bak", 3, &[0xff; 9])
    });
    damaged(&[Kind::Temporary], |world| {
        world.disk.plant(Path::new("/store/config/x.json.tmp"), b"{").unwrap()
    });
    damaged(&[Kind::OwnState], |world| write(&world.disk, "/store/kerolox.queues", 20, &[0x77]));
    damaged(&[Kind::OwnState], |world| write(&world.disk, "/store/kerolox.checkpoint", 20, &[0x77]));
    damaged(&[Kind::Checkpoint, Kind::OwnState], |world| {
        world.disk.open(Path::new("/store/checkpoint"), Open::Write).unwrap().set_len(10).unwrap();
    });
    damaged(&[Kind::Checkpoint, Kind::OwnState], |world| write(&world.disk, "/store/checkpoint", 8, &[0x11]));
}

/// Damage of the log itself is told, and nothing is taken away because of it.
#[test]
fn damage_of_the_log_is_beyond_repair_and_costs_nothing_else() {
    for (kind, at) in [(Kind::LogDamage, 88 + 20), (Kind::LogDamage, 2), (Kind::RecordPlace, 20 + 1)] {
        let world = filled();
        let second = 20; // entry of the second message of A 0
        let record = u64::from_be_bytes(read(&world.disk, QUEUE, second, 8).try_into().unwrap());
        let byte = read(&world.disk, LOG, record + at, 1)[0];
        write(&world.disk, LOG, record + at, &[byte ^ 0x40]);
        let found = look(&world.disk, &world.options);
        let of_kind: Vec<_> = found.findings.iter().filter(|f| f.severity == Severity::Damage).collect();
        assert!(of_kind.iter().any(|f| f.kind == kind && f.at == Some(record)), "{:#?}", found.findings);
        let plan = repair::plan(&found);
        assert!(!plan.beyond.is_empty());
        assert!(plan.steps.iter().all(|step| !matches!(step, kerolox_store::tools::Remedy::CutLog { .. })));
        let log = |disk: &MemDisk| -> Vec<_> {
            image(disk).into_iter().filter(|(path, _)| path.starts_with("/store/commitlog")).collect()
        };
        let before = log(&world.disk);
        repair::apply(&world.disk.handle(), &world.options, "stamp", Millis(5), &mut |_, _| {}).unwrap();
        assert_eq!(log(&world.disk), before, "the log was touched");
    }
}

#[test]
fn a_missing_log_file_and_strange_names_are_told() {
    let world = filled();
    world.disk.remove(Path::new("/store/commitlog/00000000000000016384")).unwrap();
    world.disk.plant(Path::new("/store/commitlog/notes.txt"), b"hello").unwrap();
    let found = look(&world.disk, &world.options);
    let kinds = kinds(&found);
    assert!(kinds.contains(&Kind::LogGap) && kinds.contains(&Kind::ForeignName), "{kinds:?}");
}

/// Its numbering would begin at 0 again, under the eyes of consumers that are further.
#[test]
fn a_queue_without_records_is_never_made_anew() {
    let world = filled();
    let path = Path::new("/store/consumequeue/Idle/0/00000000000000000400");
    world.disk.plant(path, &[1; 60]).unwrap();
    let found = look(&world.disk, &world.options);
    assert!(kinds(&found).contains(&Kind::QueueFileSize));
    assert!(found.findings.iter().all(|finding| finding.remedy.is_none()), "{:#?}", found.findings);
    repair::apply(&world.disk.handle(), &world.options, "s", Millis(5), &mut |_, _| {}).unwrap();
    assert_eq!(world.disk.bytes(path).unwrap(), [1; 60]);
}

/// After a kill queues and index may be behind the log: that is no damage.
#[test]
fn a_killed_store_has_notes_only() {
    let mut world = World::new(Flush::Async);
    for n in 0..60 {
        world.append("A", n % 3, 200).unwrap();
        world.store().commit().unwrap();
        if n % 7 == 0 {
            world.pass(30);
            world.run_one(n as usize);
        }
    }
    world.jobs.clear();
    let disk = world.disk.kill();
    let found = look(&disk, &world.options);
    assert!(!found.is_damaged(), "{:#?}", found.findings);
    assert!(kinds(&found).contains(&Kind::NotStopped));
    assert!(kinds(&found).contains(&Kind::NotDispatched));
    assert_eq!(found.records, 60);
    // Nor is half an entry: the next start writes the whole one over it.
    let path = |file: u64| format!("/store/consumequeue/A/0/{:020}", file * 200);
    let bytes = (0..2).flat_map(|file| disk.bytes(Path::new(&path(file))).unwrap_or_default());
    let first = bytes.collect::<Vec<_>>().chunks(20).position(|entry| *entry == [0; 20]).unwrap() as u64;
    let torn = |n: u64| write(&disk, &path(n / 10), n % 10 * 20, &[0, 0, 0, 0, 0, 0, 3]);
    torn(first);
    assert!(!look(&disk, &world.options).is_damaged());
    write(&disk, &path(first / 10), first % 10 * 20, &[0, 0, 0, 0, 0, 0, 3, 9, 0, 0, 1]);
    assert!(!look(&disk, &world.options).is_damaged(), "nor one that looks whole");
    // Nor the whole one behind it, from a sector that came first.
    let sent = world.sent.iter().find(|sent| sent.queue == 0 && sent.offset == first + 1).unwrap();
    let (at, size) = ((sent.end.0 - sent.size).to_be_bytes(), (sent.size as u32).to_be_bytes());
    let entry = [&at[..], &size, &[0, 0, 0, 0, 0, 0, 0, b'A']].concat();
    write(&disk, &path((first + 1) / 10), (first + 1) % 10 * 20, &entry);
    let found = look(&disk, &world.options);
    assert!(!found.is_damaged(), "{:#?}", found.findings);
    // Of the twenty-first message the log knows nothing.
    disk.open(Path::new(&path(2)), Open::Create).unwrap().set_len(200).unwrap();
    torn(20);
    assert!(kinds(&look(&disk, &world.options)).contains(&Kind::EntryHole));
}

/// A kill may come between making a file and giving it its length, and while the log's end is cleared.
#[test]
fn files_that_a_kill_left_short_are_leftovers() {
    let world = filled();
    world.disk.plant(Path::new("/store/abort"), b"").unwrap();
    let end = look(&world.disk, &world.options).end;
    let log = format!("/store/commitlog/{:020}", end - end % (16 << 10));
    world.disk.open(Path::new(&log), Open::Write).unwrap().set_len(end % (16 << 10)).unwrap();
    world.disk.plant(Path::new("/store/consumequeue/A/0/00000000000000000400"), b"").unwrap();
    world.disk.plant(Path::new("/store/index/29991231235959999"), b"").unwrap();
    let found = look(&world.disk, &world.options);
    assert_eq!(kinds(&found), [Kind::IndexFile, Kind::LogFileSize, Kind::NotStopped, Kind::QueueFileSize]);
    assert!(!found.is_damaged(), "{:#?}", found.findings);
    let repaired =
        repair::apply(&world.disk.handle(), &world.options, "s", Millis(5), &mut |_, _| {}).unwrap();
    assert_eq!(kinds(&repaired.after), [Kind::NotStopped], "{:#?}", repaired.after.findings);
}

/// Whatever bits flip, looking neither panics nor changes a byte, repairing ends, and what is then there opens.
#[test]
fn random_damage_is_looked_at_calmly() {
    let world = filled();
    let names: Vec<PathBuf> = image(&world.disk).into_keys().collect();
    for seed in 0..60 {
        let mut rng = Rng::new(seed);
        let disk = world.disk.kill();
        for _ in 0..=rng.below(4) {
            let path = &names[rng.below(names.len())];
            let len = disk.bytes(path).unwrap().len();
            if len > 0 {
                disk.flip(path, rng.below(len) as u64, rng.below(8) as u32).unwrap();
            }
        }
        let before = image(&disk);
        let found = look(&disk, &world.options);
        assert_eq!(image(&disk), before, "seed {seed}");
        let repaired = repair::apply(&disk.handle(), &world.options, "s", Millis(5), &mut |_, _| {}).unwrap();
        let rest = repair::plan(&repaired.after);
        assert!(rest.steps.is_empty(), "seed {seed}: {:#?} after {:#?}", rest.steps, found.findings);
        if repaired.after.findings.is_empty() {
            Store::open(disk.handle(), world.options.clone(), Millis(9)).unwrap();
        }
    }
}

#[test]
fn a_position_lies_somewhere_whatever_stands_there() {
    let world = filled();
    let disk = &*world.disk.handle();
    let place = |at| dump::place_at(disk, &world.options, at).unwrap();
    for at in [0, 1, (16 << 10) + 7] {
        let found = place(at).unwrap();
        assert_eq!((found.at, found.file_at), (at, at % (16 << 10)));
        assert!(found.file.ends_with(&format!("{:020}", at - found.file_at)), "{found:?}");
    }
    assert_eq!(place(1 << 40), None);
}

#[test]
fn every_reading_tool_tells_how_far_it_is() {
    let world = filled();
    let (disk, options) = (&*world.disk.handle(), &world.options);
    let told = |run: &mut dyn FnMut(Watch<'_>)| {
        let (mut n, mut last) = (0, (0, 0));
        run(&mut |done, total| {
            assert!(done >= last.0 && done <= total, "{done} of {total} after {last:?}");
            (n, last) = (n + 1, (done, total));
        });
        n
    };
    let key = Sought::Key { topic: None, key: "nowhere".into() };
    let one = Select { topic: Some("B".into()), queue: Some(1), ..Select::default() };
    assert!(told(&mut |watch| drop(stat::stat(disk, options, watch).unwrap())) > 1);
    assert!(told(&mut |watch| drop(dump::locate(disk, options, &key, 1, watch).unwrap())) > 1);
    for select in [Select::default(), one] {
        let mut run = |watch: Watch<'_>| {
            dump::dump(disk, options, &select, watch, &mut |_, _| ControlFlow::Continue(())).unwrap();
        };
        assert!(told(&mut run) > 1);
    }
}

#[test]
fn records_are_found_by_position_offset_time_and_key() {
    let world = filled();
    let disk = &*world.disk.handle();
    let sent = world.sent.iter().filter(|sent| sent.topic == "B" && sent.queue == 1).nth(5).unwrap();
    let at = sent.end.0 - sent.size;
    let find =
        |sought: Sought| dump::locate(disk, &world.options, &sought, 4, &mut |_, _| {}).unwrap().located;
    let topic = "B".to_owned();
    let by_offset = find(Sought::Offset { topic: topic.clone(), queue: 1, offset: 5 });
    assert_eq!(by_offset.len(), 1);
    assert_eq!(by_offset[0].place.at, at);
    assert_eq!(by_offset[0].place.file_at, at % (16 << 10));
    assert!(by_offset[0].bytes.windows(sent.body.len()).any(|part| part == sent.body));
    assert_eq!(find(Sought::At(at)), by_offset);
    assert_eq!(find(Sought::At(at + 1)), []);
    let key = harness::key_of(&sent.body);
    assert_eq!(find(Sought::Key { topic: Some(topic.clone()), key: key.clone() }), by_offset);
    assert_eq!(find(Sought::Key { topic: None, key: key.clone() }), by_offset);
    assert_eq!(find(Sought::Key { topic: Some("A".into()), key }), []);
    let times = |time| Sought::Time { topic: topic.clone(), queue: 1, time: Millis(time) };
    assert_eq!(find(times(i64::MAX)), []);
    let first = find(times(0));
    assert_eq!(first, find(Sought::Offset { topic: topic.clone(), queue: 1, offset: 0 }));

    let all = |select: &Select| {
        let mut found = Vec::new();
        dump::dump(disk, &world.options, select, &mut |_, _| {}, &mut |record, place| {
            found.push((place.at, record.body.to_vec()));
            ControlFlow::Continue(())
        })
        .unwrap();
        found
    };
    let model = |keep: &dyn Fn(&harness::Sent) -> bool| -> Vec<(u64, Vec<u8>)> {
        let kept = world.sent.iter().filter(|sent| keep(sent));
        kept.map(|sent| (sent.end.0 - sent.size, sent.body.clone())).collect()
    };
    assert_eq!(all(&Select::default()), model(&|_| true));
    let of_topic = Select { topic: Some("B".into()), ..Select::default() };
    assert_eq!(all(&of_topic), model(&|sent| sent.topic == "B"));
    let of_queue = Select { queue: Some(1), offsets: 3..7, ..of_topic };
    let is_it = |sent: &harness::Sent| sent.topic == "B" && sent.queue == 1 && (3..7).contains(&sent.offset);
    assert_eq!(all(&of_queue), model(&is_it));
    assert_eq!(all(&Select { limit: 2, ..of_queue.clone() }), model(&is_it)[..2]);
    let of_log = Select { log: at..at + 1, ..Select::default() };
    assert_eq!(all(&of_log), model(&|sent| sent.end.0 - sent.size == at));
}

#[test]
fn the_figures_are_those_of_the_messages() {
    let world = filled();
    let stat = stat::stat(&*world.disk.handle(), &world.options, &mut |_, _| {}).unwrap();
    assert!(stat.is_clean && stat.is_ours);
    assert_eq!(stat.log.end, world.sent.last().unwrap().end.0);
    assert_eq!(stat.topics.iter().map(|topic| topic.messages).sum::<u64>(), 90);
    let queue = &stat.topics.iter().find(|topic| topic.name == "A").unwrap().queues[1];
    assert_eq!((queue.id, queue.min, queue.max), (1, 0, 15));
    assert!(queue.first_ms < queue.last_ms);
    assert_eq!(stat.index.iter().map(|file| file.keys).sum::<u64>(), 90 * 3);
    assert!(stat.config.iter().all(|file| file.parses));
}

/// Unpacks a store that the original wrote.
fn original(pack: &[u8]) -> (MemDisk, Options) {
    let disk = MemDisk::new();
    let mut rest = pack;
    while let Some(end) = rest.iter().position(|b| *b == b'\n') {
        let (line, behind) = rest.split_at(end);
        let mut words = std::str::from_utf8(line).unwrap().splitn(3, ' ');
        let mut number = || words.next().unwrap().parse::<usize>().unwrap();
        let (len, used) = (number(), number());
        let (bytes, next) = behind[1..].split_at(used);
        let mut whole = bytes.to_vec();
        whole.resize(len, 0);
        disk.plant(&Path::new("/store").join(words.next().unwrap()), &whole).unwrap();
        rest = next;
    }
    let mut options = options(Flush::Async);
    (options.index_slots, options.index_max) = (100, 500);
    options.delay_levels =
        [1, 5, 10, 30, 60, 120, 180, 240, 300, 360, 420, 480, 540, 600, 1200, 1800, 3600, 7200]
            .map(|seconds| Millis(seconds * 1000))
            .to_vec();
    (disk, options)
}

#[test]
fn stores_of_the_original_are_whole() {
    for (pack, is_clean, retried) in [
        (&include_bytes!("../testdata/java-store/stopped.pack")[..], true, 13),
        (&include_bytes!("../testdata/java-store/running.pack")[..], false, 12),
    ] {
        let (disk, options) = original(pack);
        let found = look(&disk, &options);
        assert!(!found.is_damaged(), "{:#?}", found.findings);
        let stat = stat::stat(&*disk.handle(), &options, &mut |_, _| {}).unwrap();
        assert_eq!((stat.is_clean, stat.is_ours), (is_clean, false));
        let messages = |name: &str| stat.topics.iter().find(|topic| topic.name == name).unwrap().messages;
        // 40 single ones, 5 of a batch, 1 committed, 5 at the end.
        assert_eq!(messages("Orders"), 51);
        // Four delayed, twelve to be retried, one of them twice; one more came due before the broker stopped.
        assert_eq!(messages("%RETRY%workers"), retried);
        assert_eq!(messages("SCHEDULE_TOPIC_XXXX"), 17);
        assert_eq!(stat.topics.iter().map(|topic| topic.messages).sum::<u64>() as i64, found.entries as i64);
    }
}

#[test]
fn a_damaged_store_of_the_original_is_repaired() {
    let (disk, options) = original(include_bytes!("../testdata/java-store/stopped.pack"));
    let queue = "/store/consumequeue/SCHEDULE_TOPIC_XXXX/2/00000000000000000000";
    let before = disk.bytes(Path::new(queue)).unwrap();
    write(&disk, queue, 25, &[0xee; 3]);
    let index = disk.list(Path::new("/store/index")).unwrap()[0].name.clone();
    write(&disk, &format!("/store/index/{index}"), 500, &[1, 2, 3]);
    write(&disk, "/store/config/delayOffset.json", 0, b"\0\0\0");
    let found = look(&disk, &options);
    assert!(found.findings.iter().filter(|finding| finding.remedy.is_some()).count() >= 3);
    let repaired = repair::apply(&disk.handle(), &options, "s", Millis(5), &mut |_, _| {}).unwrap();
    assert!(!repaired.after.is_damaged(), "{:#?}", repaired.after.findings);
    assert_eq!(disk.bytes(Path::new(queue)).unwrap(), before, "due times and all");
    let (store, opened) = Store::open(disk.handle(), options, Millis(9)).unwrap();
    assert!(opened.damaged.is_empty());
    let slot = store.find_slot("Orders", kerolox_protocol::QueueId(0)).unwrap();
    assert!(store.bounds(slot).max.0 >= 10);
}
