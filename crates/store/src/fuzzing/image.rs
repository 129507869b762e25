//! Whole stores, and mutations of them that are written down as bytes.
//!
//! ```text
//! first byte: which store; then per mutation: what, which file, where (2), and what it needs
//! ```
//! Places are taken modulo what there is, so every byte string is a list of mutations.

use crate::{
    Dispatch, Flush, Now, Options, Store,
    disk::{Disk, Open, Paths, memory::MemDisk},
};
use kerolox_protocol::{Millis, QueueId, TopicName, record::Draft};
use std::{
    fmt,
    ops::Range,
    path::{Path, PathBuf},
    sync::OnceLock,
};

pub(super) const NOW: Now = Now { wall: Millis(1_000_000), mono: Millis(0) };
/// Bytes of a log file: small, so that a few records cross borders.
pub(super) const SEGMENT: u64 = 4 << 10;
/// Mutations of one input at most.
const MUTATIONS_MAX: usize = 12;
/// What a device writes as a whole.
const SECTOR: usize = 512;

pub(super) fn options() -> Options {
    let mut options = Options::new(Paths::under("/store"));
    options.segment_bytes = SEGMENT;
    options.queue_file_bytes = 100;
    options.message_bytes_max = 2 << 10;
    options.flush = Flush::Sync;
    options.behind_interval = Millis(1);
    options.checkpoint_interval = Millis(5);
    options.tail_bytes = 8 << 10;
    options.queue_files_open_max = 4;
    options.index_slots = 16;
    options.index_max = 20;
    options
}

/// A record that was durable.
#[derive(Clone)]
pub(super) struct Sent {
    pub topic: &'static str,
    pub queue: u32,
    pub offset: u64,
    pub at: Range<u64>,
    pub key: String,
    pub body: Vec<u8>,
}

impl fmt::Debug for Sent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{} at {:?}", self.topic, self.queue, self.offset, self.at)
    }
}

/// How the store's owner ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    Clean,
    Killed,
    PowerCut,
}

pub(super) struct Image {
    disk: MemDisk,
    pub ending: Ending,
    pub sent: Vec<Sent>,
}

/// One store per ending, made once.
pub(super) fn images() -> &'static [Image] {
    static IMAGES: OnceLock<Vec<Image>> = OnceLock::new();
    IMAGES.get_or_init(|| [Ending::Clean, Ending::Killed, Ending::PowerCut].map(live).into())
}

fn live(ending: Ending) -> Image {
    let disk = MemDisk::new();
    let (mut store, _) = Store::open(disk.handle(), options(), NOW.wall).expect("an empty directory");
    let mut now = NOW;
    let mut sent = Vec::new();
    for n in 0..26 {
        sent.push(send(&mut store, now, n));
        store.commit().expect("a faultless disk");
        now = Now { wall: now.wall + Millis(2), mono: now.mono + Millis(2) };
        // The last records are in no queue file and under no checkpoint yet.
        if n < 22 || ending == Ending::Clean {
            run(&mut store, now);
        } else {
            flush(&mut store, now);
        }
    }
    if ending == Ending::Clean {
        store.stop();
        run(&mut store, now);
        assert!(store.is_clean());
    }
    drop(store);
    let disk = if ending == Ending::PowerCut { disk.power_cut(0) } else { disk.kill() };
    Image { disk, ending, sent }
}

fn send(store: &mut Store, now: Now, n: usize) -> Sent {
    let topic = ["orders", "TopicB", "%RETRY%g"][n % 3];
    let queue = (n % 2) as u32;
    let body: Vec<u8> = (0..200 + n * 37 % 700).map(|i| (i * 7 + n) as u8).collect();
    let key = format!("key-{n}");
    let properties = format!("UNIQ_KEY\u{1}id-{n}\u{2}KEYS\u{1}{key} all\u{2}TAGS\u{1}A");
    let name = TopicName::new(topic).expect("a name");
    let slot = store.slot(&name, QueueId(queue));
    let dispatch = Dispatch::of(topic, 0, properties.as_bytes());
    let appended = store.append(now.wall, &draft(topic, queue, &body, &properties), slot, &dispatch);
    let appended = appended.expect("room");
    let at = appended.at.0..appended.end.0;
    Sent { topic, queue, offset: appended.queue_offset.0, at, key, body }
}

pub(super) fn draft<'a>(topic: &'a str, queue: u32, body: &'a [u8], properties: &'a str) -> Draft<'a> {
    Draft::plain(([127, 0, 0, 1], 10911).into(), topic, QueueId(queue), body, properties.as_bytes())
}

/// Runs what is due until nothing is.
pub(super) fn run(store: &mut Store, now: Now) {
    let mut jobs = Vec::new();
    loop {
        store.jobs(now, &mut jobs);
        if jobs.is_empty() {
            return;
        }
        jobs.drain(..).for_each(|job| store.done(now, job.run()));
    }
}

/// Makes the log durable and leaves everything else undone.
fn flush(store: &mut Store, now: Now) {
    let mut jobs = Vec::new();
    store.jobs(now, &mut jobs);
    jobs.into_iter().filter(crate::StoreJob::is_flush).for_each(|job| store.done(now, job.run()));
    assert_eq!(store.flushed(), store.end());
}

/// What mutations did, as far as promises depend on it.
#[derive(Debug, Clone, Default)]
pub(super) struct Harm {
    /// Parts of the log that are not what was written.
    pub log: Vec<Range<u64>>,
    /// Something beside the log was touched: queues, index, small files.
    pub beside: bool,
    /// A check was made to fit what it checks: nobody can notice.
    pub forged: bool,
}

impl Harm {
    pub fn touches(&self, at: &Range<u64>) -> bool {
        self.log.iter().any(|range| range.start < at.end && at.start < range.end)
    }

    fn note(&mut self, path: &Path, within: Range<u64>) {
        match log_base(path) {
            Some(base) => self.log.push(base + within.start..base + within.end),
            None => self.beside = true,
        }
    }
}

/// The log position of a file's first byte, if it is a file of the log.
fn log_base(path: &Path) -> Option<u64> {
    let in_log = path.parent()?.file_name()? == "commitlog";
    path.file_name()?.to_str()?.parse().ok().filter(|_| in_log)
}

/// A store after the mutations that the bytes tell.
pub(super) fn mutated(bytes: &[u8]) -> (MemDisk, &'static Image, Harm) {
    let mut rest = Rest(bytes);
    let images = images();
    let image = images.get(usize::from(rest.byte()) % images.len()).expect("modulo");
    let disk = image.disk.kill();
    // The disk of a killed process has not lost its boot; the other had another one.
    let mut harm = Harm::default();
    for _ in 0..MUTATIONS_MAX {
        if rest.0.is_empty() {
            break;
        }
        mutate(&disk, &mut rest, &mut harm);
    }
    (disk, image, harm)
}

struct Rest<'a>(&'a [u8]);

impl Rest<'_> {
    fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }
    /// A number below `n`; 0 if that is none.
    fn below(&mut self, n: usize) -> usize {
        let wide = usize::from(u16::from_be_bytes([self.byte(), self.byte()]));
        wide.checked_rem(n).unwrap_or(0)
    }
    fn bytes(&mut self, n: usize) -> Vec<u8> {
        (0..n).map(|_| self.byte()).collect()
    }
}

/// All files, sorted.
pub(super) fn files(disk: &MemDisk) -> Vec<PathBuf> {
    fn walk(disk: &MemDisk, dir: &Path, into: &mut Vec<PathBuf>) {
        for entry in disk.list(dir).expect("a directory") {
            let path = dir.join(&entry.name);
            if entry.is_dir { walk(disk, &path, into) } else { into.push(path) }
        }
    }
    let mut found = Vec::new();
    walk(disk, Path::new("/store"), &mut found);
    found
}

fn mutate(disk: &MemDisk, rest: &mut Rest<'_>, harm: &mut Harm) {
    let files = files(disk);
    let what = rest.byte() % 12;
    let Some(path) = files.get(usize::from(rest.byte()).checked_rem(files.len()).unwrap_or(0)) else {
        return;
    };
    let mut bytes = disk.bytes(path).expect("it was listed");
    let at = rest.below(bytes.len());
    let len = bytes.len() as u64;
    match what {
        0 => {
            let bit = rest.byte() % 8;
            bytes.iter_mut().skip(at).take(1).for_each(|byte| *byte ^= 1 << bit);
            harm.note(path, at as u64..at as u64 + 1);
        }
        1 => {
            let n = usize::from(rest.byte() % 16) + 1;
            let new = rest.bytes(n);
            let to = bytes.iter_mut().skip(at);
            to.zip(&new).for_each(|(to, from)| *to = *from);
            harm.note(path, at as u64..(at + n) as u64);
        }
        2 => {
            bytes.truncate(at);
            harm.note(path, at as u64..SEGMENT.max(len));
        }
        3 => {
            let n = usize::from(rest.byte()) * 8;
            bytes.resize(bytes.len() + n, if n % 16 == 0 { 0 } else { 0xa5 });
            harm.beside = true;
        }
        4 => {
            // A sector that reads as zeros, or a hole of several.
            let n = SECTOR * usize::from(rest.byte() % 4 + 1);
            let from = at - at % SECTOR;
            bytes.iter_mut().skip(from).take(n).for_each(|byte| *byte = 0);
            harm.note(path, from as u64..(from + n) as u64);
        }
        5 => {
            swap(disk, path, &mut bytes, at, rest, (&files, harm));
        }
        6 => {
            disk.remove(path).expect("it was listed");
            disk.sync_dir(path.parent().unwrap_or(path)).expect("its directory");
            return harm.note(path, 0..SEGMENT.max(len));
        }
        7 => {
            let Some(to) = files.get(rest.below(files.len())) else { return };
            harm.note(to, 0..SEGMENT.max(len));
            return plant(disk, to, &bytes);
        }
        8 => {
            // A copy beside it, under a name that may belong there: the next or any number.
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            let step = [SEGMENT, 1, 100, SEGMENT * 3][usize::from(rest.byte() % 4)];
            let number = name.parse::<u64>().unwrap_or(0).wrapping_add(step);
            let to = path.with_file_name(format!("{number:0width$}", width = name.len()));
            harm.note(&to, 0..SEGMENT);
            return plant(disk, &to, &bytes);
        }
        9 => {
            forge(path, &mut bytes, at, rest);
            harm.forged = true;
            harm.note(path, 0..SEGMENT.max(len));
        }
        10 => {
            // Names that a crash leaves beside a file.
            let suffix = [".tmp", ".bak", ".bak.tmp", "~"][usize::from(rest.byte() % 4)];
            let mut to = path.clone().into_os_string();
            to.push(suffix);
            harm.beside = true;
            return plant(disk, Path::new(&to), &bytes);
        }
        _ => {
            let n = usize::from(rest.byte());
            let garbage: Vec<u8> = (0..n).map(|i| (i as u8).wrapping_mul(rest.byte())).collect();
            bytes = garbage;
            harm.note(path, 0..SEGMENT.max(len));
        }
    }
    plant(disk, path, &bytes);
}

fn plant(disk: &MemDisk, path: &Path, bytes: &[u8]) {
    disk.plant(path, bytes).expect("a faultless disk");
}

/// Swaps two sectors of one file, or of two: misdirected writes.
fn swap(
    disk: &MemDisk,
    path: &Path,
    bytes: &mut [u8],
    at: usize,
    rest: &mut Rest<'_>,
    (files, harm): (&[PathBuf], &mut Harm),
) {
    let from = at - at % SECTOR;
    let Some(other_path) = files.get(rest.below(files.len())) else { return };
    let mut other = if other_path == path { bytes.to_vec() } else { disk.bytes(other_path).expect("listed") };
    let to = rest.below(other.len());
    let to = to - to % SECTOR;
    let n = SECTOR.min(bytes.len() - from).min(other.len() - to);
    let (Some(here), Some(there)) = (bytes.get(from..from + n), other.get(to..to + n)) else { return };
    let (here, there) = (here.to_vec(), there.to_vec());
    if let Some(part) = bytes.get_mut(from..from + n) {
        part.copy_from_slice(&there);
    }
    harm.note(path, from as u64..(from + n) as u64);
    harm.note(other_path, to as u64..(to + n) as u64);
    if other_path == path {
        bytes.iter_mut().skip(to).zip(&here).for_each(|(to, from)| *to = *from);
    } else {
        other.iter_mut().skip(to).zip(&here).for_each(|(to, from)| *to = *from);
        plant(disk, other_path, &other);
    }
}

/// Changes a number and makes every check in the file fit.
fn forge(path: &Path, bytes: &mut [u8], at: usize, rest: &mut Rest<'_>) {
    let new = rest.bytes(8);
    bytes.iter_mut().skip(at).zip(&new).for_each(|(to, from)| *to = *from);
    match log_base(path) {
        Some(base) => mend_log(bytes, base),
        None => mend_crc(bytes),
    }
}

/// Makes the last four bytes the checksum of those before, as in Kerolox's own small files.
pub(super) fn mend_crc(bytes: &mut [u8]) {
    if let Some((body, crc)) = bytes.split_last_chunk_mut::<4>() {
        *crc = crc32fast::hash(body).to_be_bytes();
    }
}

/// Gives every record of a log file the position it stands at, and the checksum of its body.
pub(super) fn mend_log(bytes: &mut [u8], base: u64) {
    let mut at = 0;
    while let Some(record) = bytes.get_mut(at..) {
        let size = be32(record, 0) as usize;
        let Some(record) = record.get_mut(..size).filter(|record| record.len() >= 91) else { return };
        let sys_flag = be32(record, 36);
        let wide = |bit: u32| if sys_flag & bit == 0 { 0usize } else { 12 };
        let length_at = 84 + wide(0x10) + wide(0x20);
        let body_at = length_at + 4;
        let body = record.get(body_at..body_at.saturating_add(be32(record, length_at) as usize));
        let crc = body.map(|body| crc32fast::hash(body) & 0x7fff_ffff);
        put(record, 28, &(base + at as u64).to_be_bytes());
        if let Some(crc) = crc {
            put(record, 8, &crc.to_be_bytes());
        }
        at += size;
    }
}

fn put(bytes: &mut [u8], at: usize, new: &[u8]) {
    bytes.iter_mut().skip(at).zip(new).for_each(|(to, from)| *to = *from);
}

fn be32(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..).and_then(|bytes| bytes.first_chunk()).map_or(0, |bytes| u32::from_be_bytes(*bytes))
}

/// A file of the cleanly stopped store, by the end of its path.
pub(super) fn file(ending: &str) -> Vec<u8> {
    let disk = &images().first().expect("three").disk;
    let found = files(disk).into_iter().find(|path| path.ends_with(ending)).expect("a store has it");
    disk.bytes(&found).expect("it was listed")
}

/// A fresh handle to the cleanly stopped store.
pub(super) fn clean() -> (MemDisk, &'static Image) {
    let image = images().first().expect("three");
    (image.disk.kill(), image)
}

/// The file is there whatever was before.
pub(super) fn set(disk: &MemDisk, path: &str, bytes: &[u8]) {
    let path = Path::new("/store").join(path);
    let held = disk.open(&path, Open::Read).is_ok();
    plant(disk, &path, bytes);
    assert!(held || disk.open(&path, Open::Read).is_ok());
}

/// One mutation of each kind of each file of each store.
pub(super) fn seeds() -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    for which in 0..images().len() as u8 {
        for what in 0..12u8 {
            for file in (0..24u8).step_by(1 + usize::from(what) % 3) {
                seeds.push(vec![which, what, file, 3, 141, 5, 9, 2, 6, 5, 3, 5, 8, 9, 7, 9, 3]);
            }
        }
    }
    seeds
}
