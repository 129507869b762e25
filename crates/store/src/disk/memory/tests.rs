//! What survives on the disk in memory, what does not, and that faults come when planned.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

fn path(name: &str) -> &Path {
    Path::new(name)
}

/// Makes a durable file.
fn made(disk: &MemDisk, name: &str, bytes: &[u8]) -> Arc<dyn File> {
    disk.plant(path(name), bytes).expect("plant");
    disk.open(path(name), Open::Write).expect("open")
}

fn seeds() -> std::ops::Range<u64> {
    0..64
}

#[test]
fn synced_bytes_survive_every_cut_and_unsynced_ones_only_some() {
    let disk = MemDisk::new();
    let file = made(&disk, "d/f", &[1; 4096]);
    file.write_at(&[2; 1024], 512).expect("write");
    file.sync().expect("sync");
    file.write_at(&[3; 2048], 2048).expect("write");
    let mut tails = BTreeSet::new();
    for seed in seeds() {
        let bytes = disk.power_cut(seed).bytes(path("d/f")).expect("synced name");
        assert_eq!(bytes[..512], [1; 512]);
        assert_eq!(bytes[512..1536], [2; 1024], "seed {seed}: a synced write was lost");
        assert_eq!(bytes[1536..2048], [1; 512]);
        assert!(bytes[2048..].iter().all(|b| *b == 1 || *b == 3), "seed {seed}: bytes from nowhere");
        tails.insert(bytes[2048..].to_vec());
    }
    assert!(tails.contains(&vec![1; 2048]), "never lost whole");
    assert!(tails.contains(&vec![3; 2048]), "never kept whole");
    assert!(
        tails.iter().any(|t| t[..512] == [1; 512] && t[512..1024] == [3; 512]),
        "sectors are not independent"
    );
    let torn = |s: &[u8]| s[0] == 3 && s[511] == 1;
    assert!(tails.iter().any(|t| t.chunks(512).any(torn)), "no sector is ever torn");
}

#[test]
fn killing_the_process_loses_nothing_but_the_lock() {
    let disk = MemDisk::new();
    disk.create_dir_all(path("d")).expect("mkdir");
    let file = disk.open(path("d/f"), Open::Create).expect("create");
    file.write_at(b"never synced", 0).expect("write");
    let lock = disk.lock(path("lock")).expect("lock");
    assert_eq!(disk.lock(path("lock")).err().map(|e| e.kind()), Some(io::ErrorKind::WouldBlock));
    let after = disk.kill();
    assert_eq!(after.bytes(path("d/f")).expect("bytes"), b"never synced");
    assert!(after.lock(path("lock")).is_ok());
    assert_eq!(after.boot_id(), disk.boot_id());
    assert_ne!(disk.power_cut(1).boot_id(), disk.boot_id());
    // What was not synced before the kill is still at the mercy of a later power cut.
    assert!(seeds().any(|seed| after.power_cut(seed).bytes(path("d/f")).is_err()));
    file.write_at(b"zombie", 0).expect("write to the old disk");
    assert_eq!(after.bytes(path("d/f")).expect("bytes"), b"never synced");
    drop(lock);
}

#[test]
fn a_name_is_durable_after_its_directory_is_synced_and_not_before() {
    let disk = MemDisk::new();
    disk.create_dir_all(path("d")).expect("mkdir");
    disk.sync_dir(path("")).expect("sync root");
    let file = disk.open(path("d/f"), Open::Create).expect("create");
    file.write_at(b"x", 0).expect("write");
    file.sync().expect("sync");
    let outcomes: BTreeSet<bool> = seeds().map(|s| disk.power_cut(s).bytes(path("d/f")).is_ok()).collect();
    assert_eq!(outcomes.len(), 2, "an unsynced name may be there or not");
    disk.sync_dir(path("d")).expect("sync dir");
    for seed in seeds() {
        assert_eq!(disk.power_cut(seed).bytes(path("d/f")).expect("durable"), b"x");
    }
    disk.remove(path("d/f")).expect("remove");
    let outcomes: BTreeSet<bool> = seeds().map(|s| disk.power_cut(s).bytes(path("d/f")).is_ok()).collect();
    assert_eq!(outcomes.len(), 2, "an unsynced removal may come back");
    disk.sync_dir(path("d")).expect("sync dir");
    assert!(seeds().all(|s| disk.power_cut(s).bytes(path("d/f")).is_err()));
}

#[test]
fn a_rename_before_the_sync_of_the_data_can_leave_an_empty_file() {
    let disk = MemDisk::new();
    made(&disk, "d/f", b"old");
    let file = disk.open(path("d/f.tmp"), Open::Create).expect("create");
    file.write_at(b"new", 0).expect("write");
    disk.rename(path("d/f.tmp"), path("d/f")).expect("rename");
    let found: BTreeSet<Vec<u8>> =
        seeds().map(|s| disk.power_cut(s).bytes(path("d/f")).expect("never missing")).collect();
    for want in [&b"old"[..], b"new", b""] {
        assert!(found.contains(want), "{want:?} is legal and never came");
    }
}

#[test]
fn a_rename_across_directories_happens_in_both_or_in_none() {
    let disk = MemDisk::new();
    made(&disk, "a/f", b"x");
    made(&disk, "b/g", b"y");
    disk.rename(path("a/f"), path("b/f")).expect("rename");
    for seed in seeds() {
        let after = disk.power_cut(seed);
        let there = (after.bytes(path("a/f")).is_ok(), after.bytes(path("b/f")).is_ok());
        assert!(there.0 != there.1, "seed {seed}: {there:?}");
    }
    disk.sync_dir(path("b")).expect("sync");
    for seed in seeds() {
        let after = disk.power_cut(seed);
        assert!(after.bytes(path("a/f")).is_err() && after.bytes(path("b/f")).is_ok());
    }
}

#[test]
fn a_cut_and_grown_file_never_shows_what_was_cut_off() {
    let disk = MemDisk::new();
    let file = made(&disk, "f", &[7; 3000]);
    file.set_len(100).expect("cut");
    file.set_len(3000).expect("grow");
    assert!(disk.bytes(path("f")).expect("bytes")[100..].iter().all(|b| *b == 0));
    file.sync().expect("sync");
    for seed in seeds() {
        let bytes = disk.power_cut(seed).bytes(path("f")).expect("bytes");
        assert_eq!(bytes.len(), 3000);
        assert!(bytes[..100].iter().all(|b| *b == 7) && bytes[100..].iter().all(|b| *b == 0), "seed {seed}");
    }
}

#[test]
fn a_failed_sync_marks_pages_clean_and_a_later_one_does_not_save_them() {
    let disk = MemDisk::new();
    let file = made(&disk, "f", &[1; 512]);
    file.write_at(&[2; 512], 0).expect("write");
    disk.plan(Fault::once(Call::Sync, 1, Harm::Eio));
    assert_eq!(file.sync().expect_err("planned").raw_os_error(), Some(5));
    file.sync().expect("the kernel says all is well");
    assert_eq!(disk.bytes(path("f")).expect("bytes"), [2; 512], "reads still see it");
    for seed in seeds() {
        assert_eq!(disk.power_cut(seed).bytes(path("f")).expect("bytes"), [1; 512], "and it is lost");
    }
}

#[test]
fn faults_come_at_the_planned_call() {
    let disk = MemDisk::new();
    let file = made(&disk, "dir/f", &[0; 64]);
    let other = made(&disk, "dir/g", &[0; 64]);
    let fault = |nth, harm| Fault { call: Call::Write, path: "/f".into(), nth, times: 1, harm };
    for (at, harm) in
        [Harm::Eio, Harm::Enospc, Harm::Short(2), Harm::Lost, Harm::Misdirected(8), Harm::Flipped(1)]
            .into_iter()
            .enumerate()
    {
        disk.plan(fault(at as u64 + 2, harm));
    }
    let write = |at| file.write_at(&[1; 4], at);
    assert!(write(0).is_ok() && other.write_at(&[1; 4], 0).is_ok());
    assert_eq!(write(8).expect_err("EIO").raw_os_error(), Some(5));
    assert_eq!(write(8).expect_err("ENOSPC").kind(), io::ErrorKind::StorageFull);
    assert!(write(8).is_err());
    assert!(write(16).is_ok() && write(24).is_ok() && write(40).is_ok());
    let mut want = [0; 64];
    want[0..4].fill(1);
    want[8..10].fill(1);
    want[32..36].fill(1);
    want[40..44].copy_from_slice(&[3, 1, 1, 1]);
    assert_eq!(disk.bytes(path("dir/f")).expect("bytes"), want);
    for (call, run) in [
        (Call::Open, (|d| d.open(path("dir/f"), Open::Read).map(drop)) as fn(&MemDisk) -> io::Result<()>),
        (Call::Rename, |d| d.rename(path("dir/f"), path("dir/h"))),
        (Call::Remove, |d| d.remove(path("dir/f"))),
        (Call::SyncDir, |d| d.sync_dir(path("dir"))),
        (Call::CreateDir, |d| d.create_dir_all(path("e"))),
        (Call::List, |d| d.list(path("dir")).map(drop)),
    ] {
        disk.plan(Fault::once(call, 1, Harm::Eio));
        assert_eq!(run(&disk).expect_err("planned").raw_os_error(), Some(5), "{call:?}");
    }
    assert!(disk.bytes(path("dir/f")).is_ok(), "a failed rename or removal changed something");
}

#[test]
fn a_torn_write_ends_at_the_border_of_a_sector() {
    for (at, n, kept) in
        [(0, 511, 0), (0, 600, 512), (500, 11, 0), (500, 12, 12), (500, 700, 524), (0, 9_999, 1200)]
    {
        let disk = MemDisk::new();
        let file = made(&disk, "f", &[0; 2048]);
        disk.plan(Fault::once(Call::Write, 1, Harm::Torn(n)));
        assert!(file.write_at(&[1; 1200], at).is_err());
        let bytes = disk.bytes(path("f")).expect("bytes");
        let stored: Vec<usize> = (0..2048).filter(|n| bytes[*n] == 1).collect();
        assert_eq!(stored, (at as usize..at as usize + kept).collect::<Vec<_>>(), "{at} {n}");
    }
}

#[test]
fn a_full_disk_refuses_at_the_exact_byte_and_serves_again() {
    for budget in 0..20 {
        let disk = MemDisk::new();
        let file = made(&disk, "f", &[]);
        disk.set_write_budget(Some(budget));
        assert_eq!(file.write_at(&[1; 20], 0).expect_err("full").kind(), io::ErrorKind::StorageFull);
        assert_eq!(file.len().expect("len"), budget);
        disk.heal();
        assert!(file.write_at(&[1; 20], 0).is_ok());
    }
}

#[test]
fn capacity_counts_pages_and_removal_gives_them_back() {
    let disk = MemDisk::new();
    let file = made(&disk, "f", &[]);
    disk.set_capacity(Some(4 * PAGE));
    file.set_len(100 * PAGE).expect("a hole costs nothing");
    file.allocate(0, 3 * PAGE).expect("fits");
    assert_eq!(file.allocate(0, 5 * PAGE).expect_err("full").kind(), io::ErrorKind::StorageFull);
    assert_eq!(disk.space(path("")).expect("space"), Space { total: 4 * PAGE, free: PAGE });
    file.write_at(&[1; 3 * 4096], 0).expect("reserved");
    let error = file.write_at(&[1; 2 * 4096], 10 * PAGE).expect_err("one page too many");
    assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    assert_eq!(disk.space(path("")).expect("space").free, 0);
    disk.remove(path("f")).expect("remove");
    assert_eq!(disk.space(path("")).expect("space").free, 0, "still open");
    drop(file);
    assert_eq!(disk.space(path("")).expect("space").free, 4 * PAGE);
}

#[test]
fn reading_past_the_end_is_an_error_and_a_flipped_bit_is_seen() {
    let disk = MemDisk::new();
    let file = made(&disk, "f", &[0; 10]);
    let mut buf = [0; 4];
    assert_eq!(file.read_at(&mut buf, 7).expect_err("eof").kind(), io::ErrorKind::UnexpectedEof);
    disk.flip(path("f"), 3, 2).expect("flip");
    file.read_at(&mut buf, 0).expect("read");
    assert_eq!(buf, [0, 0, 0, 4]);
    assert_eq!(disk.power_cut(0).bytes(path("f")).expect("bytes")[3], 4);
    let read_only = disk.open(path("f"), Open::Read).expect("open");
    assert!(read_only.write_at(b"x", 0).is_err());
    assert_eq!(disk.open(path("nope"), Open::Write).expect_err("missing").kind(), io::ErrorKind::NotFound);
}

#[test]
fn a_small_trace_is_visited_completely() {
    let disk = MemDisk::new();
    let file = made(&disk, "f", &[0; 1024]);
    disk.record();
    file.write_at(&[1; 1024], 0).expect("write");
    file.sync().expect("sync");
    file.write_at(&[2; 512], 0).expect("write");
    let trace = disk.take_trace();
    assert_eq!(trace.len(), 3);
    let mut seen = BTreeSet::new();
    let states = trace.each_crash(100, 0, |state| {
        let bytes = state.disk.bytes(path("f")).expect("bytes");
        seen.insert((state.point, bytes[0], bytes[512]));
        Ok::<(), ()>(())
    });
    // Points 0 and 2 have nothing unsynced, 1 has two sectors, 3 has one.
    assert_eq!(states, Ok(1 + 4 + 1 + 2));
    let want = [(0, 0, 0), (1, 0, 0), (1, 0, 1), (1, 1, 0), (1, 1, 1), (2, 1, 1), (3, 1, 1), (3, 2, 1)];
    assert_eq!(seen, want.into_iter().collect());
}

#[test]
fn a_large_trace_visits_the_extremes_and_every_single_change() {
    let disk = MemDisk::new();
    let file = made(&disk, "f", &[0; 8192]);
    disk.record();
    file.write_at(&[1; 8192], 0).expect("write");
    let trace = disk.take_trace();
    let mut lost = BTreeSet::new();
    let mut last = 0;
    let states = trace.each_crash(64, 3, |state| {
        if state.point == 1 {
            let bytes = state.disk.bytes(path("f")).expect("bytes");
            lost.insert(bytes.chunks(512).filter(|sector| sector[0] == 0).count());
            last = state.outcome;
        }
        Ok::<(), ()>(())
    });
    assert_eq!(states, Ok(1 + 64));
    assert_eq!(last, 63);
    assert!(lost.is_superset(&[0, 1, 15, 16].into_iter().collect()), "{lost:?}");
    assert_eq!(trace.killed(1).bytes(path("f")).expect("bytes"), [1; 8192]);
}

/// One step of a random run over three files.
#[derive(Debug, Clone)]
enum Step {
    Write { file: u8, at: u16, len: u16, fill: u8 },
    SetLen { file: u8, len: u16 },
    Sync { file: u8 },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (0..3u8, 0..9000u16, 1..3000u16, 1..255u8)
            .prop_map(|(file, at, len, fill)| Step::Write { file, at, len, fill }),
        1 => (0..3u8, 0..12000u16).prop_map(|(file, len)| Step::SetLen { file, len }),
        2 => (0..3u8).prop_map(|file| Step::Sync { file }),
    ];
    prop::collection::vec(step, 1..40)
}

proptest! {
    /// Against a plain vector: reads equal it, and after a cut each byte is one that the file held there at
    /// the last sync or later.
    #[test]
    fn agrees_with_vectors(steps in steps(), seed: u64) {
        let disk = MemDisk::new();
        let files: Vec<_> = ["f0", "f1", "f2"].iter().map(|name| made(&disk, name, &[])).collect();
        let mut now = vec![Vec::new(); 3];
        // Since the last sync: every content the file has had.
        let mut history = vec![vec![Vec::new()]; 3];
        for step in &steps {
            match *step {
                Step::Write { file, at, len, fill } => {
                    let (f, at, len) = (usize::from(file), usize::from(at), usize::from(len));
                    files[f].write_at(&vec![fill; len], at as u64).expect("write");
                    let size = now[f].len().max(at + len);
                    now[f].resize(size, 0);
                    now[f][at..at + len].fill(fill);
                    history[f].push(now[f].clone());
                }
                Step::SetLen { file, len } => {
                    let f = usize::from(file);
                    files[f].set_len(u64::from(len)).expect("set_len");
                    now[f].resize(usize::from(len), 0);
                    history[f].push(now[f].clone());
                }
                Step::Sync { file } => {
                    let f = usize::from(file);
                    files[f].sync().expect("sync");
                    history[f] = vec![now[f].clone()];
                }
            }
        }
        let after = disk.power_cut(seed);
        for (f, name) in ["f0", "f1", "f2"].iter().enumerate() {
            prop_assert_eq!(&disk.bytes(path(name)).expect("bytes"), &now[f]);
            let bytes = after.bytes(path(name)).expect("bytes");
            prop_assert!(history[f].iter().any(|h| h.len() == bytes.len()));
            for (i, byte) in bytes.iter().enumerate() {
                let was = |h: &Vec<u8>| h.get(i).copied().unwrap_or(0) == *byte;
                prop_assert!(history[f].iter().any(was), "{} byte {} is {}", name, i, byte);
            }
            // And it is stable now.
            prop_assert_eq!(after.power_cut(seed ^ 1).bytes(path(name)).expect("bytes"), bytes);
        }
        prop_assert_eq!(disk.power_cut(seed).bytes(path("f0")).ok(), after.bytes(path("f0")).ok());
    }
}
