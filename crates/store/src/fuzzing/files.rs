//! Single files with any content, in a store that is otherwise whole.

use super::{
    image::{self, NOW, SEGMENT},
    recovery::{everything, open},
};
use crate::{
    Store,
    checkpoint::{self, Checkpoint, Progress},
    ends::Ends,
    index::{Index, Shape, Trust},
    smallfile::{self, Digest},
};
use kerolox_protocol::{LogOffset, Millis};
use std::path::Path;

/// What each target starts from: the file of a whole store, with the byte that chooses how it is used.
pub(super) fn seeds(target: &str) -> Vec<Vec<u8>> {
    let with = |choices: std::ops::Range<u8>, bytes: &[u8]| {
        choices.map(|choice| [&[choice], bytes].concat()).collect::<Vec<_>>()
    };
    match target {
        "store_log_file" => with(0..8, &image::file("commitlog/00000000000000000000")),
        "store_queue_file" => with(0..4, &image::file("orders/0/00000000000000000000")),
        "store_index_file" => {
            let (disk, _) = image::clean();
            let files = image::files(&disk).into_iter().filter(|path| path.starts_with("/store/index"));
            files.flat_map(|path| with(0..4, &disk.bytes(&path).unwrap_or_default())).collect()
        }
        "store_queue_ends" => with(0..4, &image::file("kerolox.queues")),
        "store_checkpoints" => {
            let mut seeds = with(0..2, &image::file("kerolox.checkpoint"));
            seeds.extend(with(2..3, &image::file("checkpoint")));
            seeds
        }
        _ => (0..8).flat_map(|choice| with(choice..choice + 1, &image::file("kerolox.queues"))).collect(),
    }
}

fn choice(bytes: &[u8]) -> (u8, &[u8]) {
    bytes.split_first().map_or((0, bytes), |(first, rest)| (*first, rest))
}

/// Opens twice and finds the same; everything is read on the way.
fn opens_alike(disk: &crate::disk::memory::MemDisk) {
    let Some((mut store, opened)) = open(disk) else { return };
    let (end, seen) = (store.end(), everything(&mut store));
    drop(store);
    let disk = disk.kill();
    let again = Store::open(disk.handle(), image::options(), NOW.wall);
    let (mut again, report) = again.unwrap_or_else(|why| panic!("it opened once: {why}"));
    assert_eq!((again.end(), everything(&mut again)), (end, seen), "{opened:?} {report:?}");
}

/// The bytes are the first file of a log. Bits of the first byte: a crash left it, our own notes are gone, and
/// positions and checksums fit.
pub fn log_file(bytes: &[u8]) {
    let (choice, rest) = choice(bytes);
    let (disk, _) = image::clean();
    let mut file = rest.to_vec();
    file.resize(SEGMENT as usize, 0);
    if choice & 4 != 0 {
        image::mend_log(&mut file, 0);
    }
    image::set(&disk, "commitlog/00000000000000000000", &file);
    if choice & 1 != 0 {
        image::set(&disk, "abort", b"");
    }
    if choice & 2 != 0 {
        image::set(&disk, "kerolox.queues", b"");
    }
    opens_alike(&disk);
}

/// The bytes are a file of a queue. Bits of the first byte: our own notes are gone, so that the end is looked for
/// in it; it is the second file.
pub fn queue_file(bytes: &[u8]) {
    let (choice, rest) = choice(bytes);
    let (disk, _) = image::clean();
    if choice & 1 != 0 {
        image::set(&disk, "kerolox.queues", b"");
    }
    let number = if choice & 2 != 0 { 100 } else { 0 };
    image::set(&disk, &format!("consumequeue/orders/0/{number:020}"), rest);
    opens_alike(&disk);
}

/// The bytes are a file of the index; the first one says how far it is believed.
pub fn index_file(bytes: &[u8]) {
    let (choice, rest) = choice(bytes);
    let disk = crate::disk::memory::MemDisk::new();
    let shape = Shape::new(16, 20).expect("in range");
    let mut file = rest.to_vec();
    if choice & 4 == 0 {
        file.resize(shape.file_len() as usize, 0);
    }
    let dir = Path::new("/store/index");
    image::set(&disk, "index/20240131235959123", &file);
    let trust = match choice % 4 {
        0 => Trust::Clean,
        1 => Trust::Killed(None),
        _ => Trust::PowerCut(None),
    };
    let opened = Index::open(disk.handle(), dir, shape, trust);
    let (mut index, _) = opened.expect("a faultless disk");
    if choice % 4 == 3 {
        let _ = index.cut(LogOffset(1_000)).expect("a faultless disk");
    }
    let search = |index: &Index| {
        let find = index.find("orders", "all", 32, Millis(0), Millis(i64::MAX));
        find.run(&mut |_| true).expect("a faultless disk")
    };
    search(&index);
    // It takes keys, and finds those.
    let at = LogOffset(index.covered().map_or(0, |covered| covered.0) + 100);
    index.add("fresh", "key", at, Millis(2_000_000), Millis(2_000_000));
    while let Some(job) = index.job(true) {
        index.done(job.run()).expect("a faultless disk");
    }
    let found = index.find("fresh", "key", 32, Millis(0), Millis(i64::MAX)).run(&mut |_| true);
    let found = found.expect("a faultless disk");
    assert!(found.offsets.contains(&at) || found.is_cut, "{at} {found:?}");
}

/// The bytes are `kerolox.queues`; the first one says whether its checksum fits.
pub fn queue_ends(bytes: &[u8]) {
    let (choice, rest) = choice(bytes);
    let mut file = rest.to_vec();
    if choice & 1 != 0 {
        image::mend_crc(&mut file);
    }
    if let Ok(ends) = Ends::parse(&file) {
        assert_eq!(Ends::parse(&ends.encode()), Ok(ends));
    }
    let (disk, _) = image::clean();
    image::set(&disk, "kerolox.queues", &file);
    opens_alike(&disk);
}

/// The bytes are `kerolox.checkpoint`, with a checksum that fits or not, or the original's `checkpoint`.
pub fn checkpoints(bytes: &[u8]) {
    let (choice, rest) = choice(bytes);
    let (disk, _) = image::clean();
    if choice >= 2 {
        let checkpoint = Checkpoint::parse(rest);
        assert_eq!(Checkpoint::parse(checkpoint.bytes()), checkpoint);
        assert!(checkpoint.safe_time() >= Millis(0));
        image::set(&disk, "checkpoint", rest);
    } else {
        let mut file = rest.to_vec();
        if choice == 1 {
            image::mend_crc(&mut file);
        }
        if let Ok(progress) = Progress::parse(&file) {
            assert_eq!(Progress::parse(&progress.encode()), Ok(progress));
        }
        image::set(&disk, "kerolox.checkpoint", &file);
        image::set(&disk, "abort", b"");
    }
    opens_alike(&disk);
}

/// The bytes are one of the files that hold next to nothing, or stand beside one that counts.
pub fn small_files(bytes: &[u8]) {
    let (choice, rest) = choice(bytes);
    let names = [
        "abort",
        "lock",
        "kerolox.queues.tmp",
        "kerolox.checkpoint.tmp",
        "kerolox.queues.bak",
        "checkpoint.tmp",
        "index/20240131235959123",
        "config/topics.json.tmp",
    ];
    let (disk, _) = image::clean();
    let name = names.get(usize::from(choice) % names.len()).expect("modulo");
    image::set(&disk, name, rest);
    opens_alike(&disk);
    // A pair of any content and its backup: the sound one is taken.
    let path = Path::new("/store/config/some.json");
    let half = rest.len() / 2;
    let (main, backup) = rest.split_at(half);
    image::set(&disk, "config/some.json", main);
    image::set(&disk, "config/some.json.bak", backup);
    let parse = |bytes: &[u8]| match bytes.first() {
        Some(b'{') => Ok(bytes.len()),
        _ => Err("no brace"),
    };
    let loaded = smallfile::load(&*disk.handle(), path, parse).expect("a faultless disk");
    let sound = [main, backup].into_iter().find(|bytes| bytes.first() == Some(&b'{'));
    assert_eq!(loaded.value, sound.map(<[u8]>::len));
    assert_eq!(loaded.digest, sound.map(Digest::of));
    if let Some(digest) = std::str::from_utf8(rest).ok().and_then(Digest::parse) {
        assert_eq!(Digest::parse(&digest.to_string()), Some(digest));
    }
    let _ = checkpoint::was_aborted(&*disk.handle(), &image::options().paths).expect("a faultless disk");
}
