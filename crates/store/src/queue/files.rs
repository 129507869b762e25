//! The files of consume queues, opened when they are needed and at most so many at a time.
//!
//! Shared by the store, which reads, and its background jobs, which write. Knows names and sizes of files;
//! knows no queue's end.

use super::{ENTRY_BYTES, QueueWrite};
use crate::{
    cold::Gate,
    disk::{
        Disk, File, Open,
        around::{is_bad_sector, read_around, told_from_writes},
    },
    hash::FixedMap,
    log::{file_name, parse_file_name},
    types::{QueueEntry, QueueSlot},
};
use kerolox_protocol::{LogOffset, QueueId};
use std::{
    collections::{BTreeMap, BTreeSet, btree_map::Entry},
    io,
    ops::Range,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// From so many files on, syncing the whole file system is cheaper than syncing each.
const SYNC_ALL: usize = 64;
/// Entries cleared at once.
const CLEAR_STEP: u64 = 4096;

/// A queue file: its queue, and its number within the queue.
type Key = (u32, u64);

#[derive(Debug)]
pub(crate) struct Files {
    disk: Arc<dyn Disk>,
    /// `consumequeue`.
    dir: PathBuf,
    /// Bytes of one file; a multiple of [`ENTRY_BYTES`].
    pub(crate) file_bytes: u64,
    /// Names of files may not be durable although they are there: an earlier process made them and died.
    unsure: bool,
    open: Mutex<Opened>,
}

/// Entries looked at together, once the first stands for no message.
const NEXT_STEP: u64 = 512;

/// What an entry counts as that tells nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Damaged {
    /// A message.
    IsOne,
    /// None.
    IsNone,
}

#[derive(Debug)]
struct Opened {
    files: FixedMap<Key, (Arc<dyn File>, u64)>,
    /// Counts uses, to find the file that was not used for longest.
    clock: u64,
    max: usize,
}

/// Names a queue for the file system.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place<'a> {
    pub(crate) slot: QueueSlot,
    pub(crate) topic: &'a str,
    pub(crate) id: QueueId,
}

impl Files {
    pub(crate) fn new(disk: Arc<dyn Disk>, dir: PathBuf, file_bytes: u64, open_max: usize) -> Files {
        let open = Opened { files: FixedMap::default(), clock: 0, max: open_max.max(4) };
        Files { disk, dir, file_bytes, unsure: false, open: Mutex::new(open) }
    }

    /// The last owner did not stop cleanly.
    pub(crate) fn doubt(&mut self) {
        self.unsure = true;
    }

    pub(crate) fn per_file(&self) -> u64 {
        self.file_bytes / ENTRY_BYTES
    }
    /// Directory of a queue.
    pub(crate) fn queue_dir(&self, topic: &str, id: QueueId) -> PathBuf {
        self.dir.join(topic).join(id.to_string())
    }
    pub(crate) fn dir(&self) -> &PathBuf {
        &self.dir
    }

    /// As [`Files::read_through`], by somebody who may wait.
    pub(crate) fn read(
        &self,
        slot: QueueSlot,
        topic: &str,
        id: QueueId,
        from: u64,
        n: u64,
        out: &mut Vec<QueueEntry>,
    ) -> io::Result<()> {
        self.read_through(&Gate::default(), Place { slot, topic, id }, from, n, out)
    }

    /// The first of these entries whose record is at the log's position `first` or behind it, by halving: positions
    /// never go back in a queue. The end if there is none.
    ///
    /// Entries that stand for no message lie anywhere: each is where the next message is, and none is the first. One
    /// that is damaged may be, and counts so.
    pub(crate) fn first_kept(&self, place: Place<'_>, within: Range<u64>, first: u64) -> io::Result<u64> {
        let (mut low, mut high) = (within.start, within.end);
        while low < high {
            let middle = low + (high - low) / 2;
            match self.next_message(place, middle..high, Damaged::IsOne)? {
                Some((offset, at)) if at.0 < first => low = offset + 1,
                _ => high = middle,
            }
        }
        // What was taken for gone is so: a damaged entry tells any position.
        let near = low.saturating_sub(NEXT_STEP).max(within.start)..low;
        if self.any_kept(place, near, first)?.is_some() {
            return Ok(self.any_kept(place, within.clone(), first)?.unwrap_or(within.end));
        }
        let found = self.next_message(place, low..within.end, Damaged::IsOne)?;
        Ok(found.map_or(within.end, |(offset, _)| offset))
    }

    /// As [`Files::first_kept`], but damaged entries before such a one are passed over.
    pub(crate) fn first_behind(&self, place: Place<'_>, within: Range<u64>, first: u64) -> io::Result<u64> {
        let (mut low, mut high) = (within.start, within.end);
        while low < high {
            let middle = low + (high - low) / 2;
            match self.next_message(place, middle..high, Damaged::IsNone)? {
                Some((offset, at)) if at.0 < first => low = offset + 1,
                _ => high = middle,
            }
        }
        // One that was taken for the first may be damaged, and tell any position.
        if self.last_before(place, low..within.end.min(low + NEXT_STEP), first)?.is_some() {
            low = self.last_before(place, low..within.end, first)?.map_or(low, |last| last + 1);
        }
        let found = self.next_message(place, low..within.end, Damaged::IsNone)?;
        Ok(found.map_or(within.end, |(offset, _)| offset))
    }

    /// The last of these entries that stands for a message before a position of the log, looking at all of them.
    fn last_before(&self, place: Place<'_>, within: Range<u64>, first: u64) -> io::Result<Option<u64>> {
        let is_before = |bytes: &[u8; ENTRY_BYTES as usize]| {
            QueueEntry::decode(bytes).is_some_and(|entry| !entry.is_blank() && entry.at.0 < first)
        };
        let mut last = None;
        for part in self.parts(within) {
            let found = self.raw(place, &part)?.as_chunks().0.iter().rposition(is_before);
            last = found.map(|n| part.start + n as u64).or(last);
        }
        Ok(last)
    }

    /// Where the first of these entries that stands for a message has it.
    pub(crate) fn first_message(
        &self,
        place: Place<'_>,
        within: Range<u64>,
    ) -> io::Result<Option<LogOffset>> {
        Ok(self.next_message(place, within, Damaged::IsNone)?.map(|(_, at)| at))
    }

    /// Entries in pieces that are read at once, each of one file.
    fn parts(&self, within: Range<u64>) -> impl Iterator<Item = Range<u64>> {
        let per_file = self.per_file();
        let mut at = within.start;
        std::iter::from_fn(move || {
            let end = ((at / per_file + 1) * per_file).min(at + CLEAR_STEP).min(within.end);
            let part = at..end;
            at = end;
            (part.start < part.end).then_some(part)
        })
    }

    /// As [`Files::first_kept`], looking at every entry.
    fn any_kept(&self, place: Place<'_>, within: Range<u64>, first: u64) -> io::Result<Option<u64>> {
        let is_kept = |bytes: &[u8; ENTRY_BYTES as usize]| {
            QueueEntry::decode(bytes).is_none_or(|entry| !entry.is_blank() && entry.at.0 >= first)
        };
        for part in self.parts(within) {
            if let Some(n) = self.raw(place, &part)?.as_chunks().0.iter().position(is_kept) {
                return Ok(Some(part.start + n as u64));
            }
        }
        Ok(None)
    }

    /// The last of these entries, all of one file, that is one, whatever stands before it.
    pub(crate) fn last_filled(&self, place: Place<'_>, within: Range<u64>) -> io::Result<Option<u64>> {
        let bytes = self.raw(place, &within)?;
        let last = bytes.as_chunks().0.iter().rposition(|bytes| QueueEntry::decode(bytes).is_some());
        Ok(last.map(|last| within.start + last as u64))
    }

    /// The bytes of these entries, all of one file; none if that is not there.
    fn raw(&self, place: Place<'_>, within: &Range<u64>) -> io::Result<Vec<u8>> {
        let file = match self.existing(place, within.start / self.per_file()) {
            Err(why) if why.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            found => found?,
        };
        let at = within.start % self.per_file() * ENTRY_BYTES;
        let there = file.len()?.saturating_sub(at).min((within.end - within.start) * ENTRY_BYTES);
        let mut bytes = vec![0; there as usize];
        if there > 0 {
            told_from_writes(file.read_at(&mut bytes, at))?;
        }
        Ok(bytes)
    }

    /// The first of these entries that stands for a message, and where that is: behind everything, if it is damaged so
    /// that it tells nothing.
    fn next_message(
        &self,
        place: Place<'_>,
        mut within: Range<u64>,
        damaged: Damaged,
    ) -> io::Result<Option<(u64, LogOffset)>> {
        let mut n = 1;
        let mut entries = Vec::new();
        while !within.is_empty() {
            entries.clear();
            let wanted = n.min(within.end - within.start);
            self.read(place.slot, place.topic, place.id, within.start, wanted, &mut entries)?;
            let message = within.clone().zip(&entries).find(|(_, entry)| !entry.is_blank());
            if let Some((offset, entry)) = message {
                return Ok(Some((offset, entry.at)));
            }
            let per_file = self.per_file();
            within.start = match entries.len() as u64 {
                0 if self.is_there(place, within.start / per_file)? => {
                    if damaged == Damaged::IsOne {
                        return Ok(Some((within.start, LogOffset(u64::MAX))));
                    }
                    within.start + 1
                }
                0 => (within.start / per_file + 1) * per_file,
                read => within.start + read,
            };
            n = NEXT_STEP;
        }
        Ok(None)
    }

    /// Up to `n` entries from `from` on that one file holds; ends at the first slot that is not filled.
    pub(crate) fn read_through(
        &self,
        gate: &Gate,
        place: Place<'_>,
        from: u64,
        n: u64,
        out: &mut Vec<QueueEntry>,
    ) -> io::Result<()> {
        let number = from / self.per_file();
        let within = from % self.per_file();
        let n = n.min(self.per_file() - within);
        let file = match gate.file(|| self.path(place, number), || self.existing(place, number)) {
            Err(why) if why.kind() == io::ErrorKind::NotFound => return Ok(()),
            found => found?,
        };
        let mut bytes = vec![0; (n * ENTRY_BYTES) as usize];
        let mut read = gate.read(&file, &mut bytes, within * ENTRY_BYTES);
        if read.as_ref().is_err_and(|why| why.kind() == io::ErrorKind::UnexpectedEof) {
            // Made by a process that died before it set the length: what is not there was never filled.
            let there = (file.len()? / ENTRY_BYTES).saturating_sub(within).min(n);
            if there == 0 {
                return Ok(());
            }
            bytes.truncate((there * ENTRY_BYTES) as usize);
            read = gate.read(&file, &mut bytes, within * ENTRY_BYTES);
        }
        if let Err(why) = told_from_writes(read) {
            if !is_bad_sector(&why) {
                return Err(why);
            }
            // What stands before a bad sector is there.
            let holes = read_around(&*file, &mut bytes, within * ENTRY_BYTES)?;
            let good = holes.first().map_or(n, |hole| hole.start / ENTRY_BYTES - within);
            if good == 0 {
                return Err(why);
            }
            bytes.truncate((good * ENTRY_BYTES) as usize);
        }
        let (entries, _) = bytes.as_chunks();
        out.extend(entries.iter().map_while(QueueEntry::decode));
        Ok(())
    }

    /// Writes entries, making files as needed. Returns the numbers of the files written to, and directories
    /// that got a new entry.
    pub(crate) fn write(&self, write: &QueueWrite, touched: &mut Touched) -> io::Result<()> {
        let place = Place { slot: write.slot, topic: &write.topic, id: write.id };
        let mut rest = &write.bytes[..];
        let mut from = write.from;
        while !rest.is_empty() {
            let (number, within) = (from / self.per_file(), from % self.per_file());
            let n = (self.per_file() - within).min(rest.len() as u64 / ENTRY_BYTES);
            let (now, later) = rest.split_at((n * ENTRY_BYTES) as usize);
            let touch = touched.of(write, number);
            touch.made |= self.unsure;
            let file = self.existing_or_new(place, number, within, touch)?;
            file.write_at(now, within * ENTRY_BYTES)?;
            (rest, from) = (later, from + n);
        }
        Ok(())
    }

    /// Shows what the files of a queue hold from entry `from` on, in pieces, each with its first entry. Slots that are
    /// not filled end nothing, since a power cut takes any of what was not synced: of each file all is shown up to a
    /// piece that holds nothing.
    pub(crate) fn each_behind(
        &self,
        place: Place<'_>,
        from: u64,
        mut show: impl FnMut(u64, &[Option<QueueEntry>]) -> io::Result<()>,
    ) -> io::Result<()> {
        let listed = match self.disk.list(&self.queue_dir(place.topic, place.id)) {
            Err(why) if why.kind() == io::ErrorKind::NotFound => return Ok(()),
            listed => listed?,
        };
        let bases = listed.iter().filter_map(|entry| parse_file_name(&entry.name));
        for base in bases.filter(|base| base % self.file_bytes == 0) {
            let first = base / ENTRY_BYTES;
            for part in self.parts(first.max(from)..first + self.per_file()) {
                let bytes = self.raw(place, &part)?;
                let entries: Vec<_> = bytes.as_chunks().0.iter().map(QueueEntry::decode).collect();
                if entries.iter().all(Option::is_none) {
                    break;
                }
                show(part.start, &entries)?;
            }
        }
        Ok(())
    }

    /// Clears filled slots from entry `at` on, durably. Returns how many bytes were cleared.
    pub(crate) fn clear_behind(&self, slot: QueueSlot, topic: &str, id: QueueId, at: u64) -> io::Result<u64> {
        let place = Place { slot, topic, id };
        let mut cleared = 0;
        self.each_behind(place, at, |first, entries| {
            let file = self.existing(place, first / self.per_file())?;
            let zeros = vec![0; entries.len() * ENTRY_BYTES as usize];
            file.write_at(&zeros, first % self.per_file() * ENTRY_BYTES)?;
            file.sync()?;
            cleared += entries.iter().flatten().count() as u64;
            Ok(())
        })?;
        self.forget(slot);
        Ok(cleared * ENTRY_BYTES)
    }

    fn is_there(&self, place: Place<'_>, number: u64) -> io::Result<bool> {
        match self.existing(place, number) {
            Err(why) if why.kind() == io::ErrorKind::NotFound => Ok(false),
            found => found.map(|_| true),
        }
    }

    fn existing(&self, place: Place<'_>, number: u64) -> io::Result<Arc<dyn File>> {
        if let Some(file) = self.lock().get((place.slot.0, number)) {
            return Ok(file);
        }
        let file = self.disk.open(&self.path(place, number), Open::Write)?;
        self.lock().insert((place.slot.0, number), Arc::clone(&file));
        Ok(file)
    }

    fn existing_or_new(
        &self,
        place: Place<'_>,
        number: u64,
        within: u64,
        touch: &mut Touch,
    ) -> io::Result<Arc<dyn File>> {
        match self.existing(place, number) {
            Ok(file) if file.len()? == self.file_bytes => return Ok(file),
            // Made by a process that died before it set the length.
            Ok(file) => {
                let is_empty = file.len()? == 0;
                file.set_len(self.file_bytes)?;
                if is_empty {
                    self.fill_front(&*file, within)?;
                }
                return Ok(file);
            }
            Err(why) if why.kind() != io::ErrorKind::NotFound => return Err(why),
            Err(_) => {}
        }
        // Also if a step fails: the next try finds what is there already.
        touch.made = true;
        let dir = self.queue_dir(place.topic, place.id);
        self.disk.create_dir_all(&dir)?;
        let file = self.disk.open(&self.path(place, number), Open::Create)?;
        file.set_len(self.file_bytes)?;
        self.fill_front(&*file, within)?;
        self.lock().insert((place.slot.0, number), Arc::clone(&file));
        Ok(file)
    }

    /// The original takes an empty slot for the queue's end, so a queue that begins inside a file is filled up in front.
    fn fill_front(&self, file: &dyn File, within: u64) -> io::Result<()> {
        file.write_at(&QueueEntry::BLANK.encode().repeat(within as usize), 0)
    }

    fn path(&self, place: Place<'_>, number: u64) -> PathBuf {
        self.queue_dir(place.topic, place.id).join(file_name(number * self.file_bytes))
    }

    /// Makes durable what was touched, as far as it is still there.
    pub(crate) fn sync(&self, touched: &Touched) -> io::Result<()> {
        let files: usize = touched.queues.values().map(|touch| touch.files.len()).sum();
        if files > SYNC_ALL && self.disk.sync_all(&self.dir)? {
            return Ok(());
        }
        let mut dirs = BTreeSet::new();
        for (slot, Touch { topic, id, files, made }) in &touched.queues {
            for number in files {
                match self.disk.open(&self.path(Place { slot: *slot, topic, id: *id }, *number), Open::Write)
                {
                    Err(why) if why.kind() == io::ErrorKind::NotFound => {}
                    file => file?.sync()?,
                }
            }
            if *made {
                dirs.extend([self.queue_dir(topic, *id), self.dir.join(&**topic), self.dir.clone()]);
            }
        }
        for dir in dirs {
            match self.disk.sync_dir(&dir) {
                // Deleted meanwhile, with its files.
                Err(why) if why.kind() == io::ErrorKind::NotFound => {}
                result => result?,
            }
        }
        Ok(())
    }

    /// Closes what is open of a queue.
    pub(crate) fn forget(&self, slot: QueueSlot) {
        self.lock().files.retain(|key, _| key.0 != slot.0);
    }
    /// Closes one file.
    pub(crate) fn forget_file(&self, slot: QueueSlot, number: u64) {
        self.lock().files.remove(&(slot.0, number));
    }

    fn lock(&self) -> MutexGuard<'_, Opened> {
        // Only whole insertions and removals happen under it, so a panic elsewhere leaves it consistent.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What writes have touched, to be synced by the next checkpoint.
#[derive(Debug, Default)]
pub(crate) struct Touched {
    queues: BTreeMap<QueueSlot, Touch>,
}

/// The same of one queue.
#[derive(Debug)]
struct Touch {
    topic: Arc<str>,
    id: QueueId,
    /// Numbers of the files.
    files: Vec<u64>,
    /// Its directory, or one above it, may have a name that is not durable.
    made: bool,
}

impl Touched {
    /// The part of the queue that is written to, with this file.
    fn of(&mut self, write: &QueueWrite, number: u64) -> &mut Touch {
        let new = || Touch { topic: Arc::clone(&write.topic), id: write.id, files: Vec::new(), made: false };
        let touch = self.queues.entry(write.slot).or_insert_with(new);
        touch.add(number);
        touch
    }

    pub(crate) fn extend(&mut self, other: Touched) {
        for (slot, new) in other.queues {
            match self.queues.entry(slot) {
                Entry::Vacant(place) => drop(place.insert(new)),
                Entry::Occupied(mut known) => {
                    let known = known.get_mut();
                    known.made |= new.made;
                    new.files.into_iter().for_each(|number| known.add(number));
                }
            }
        }
    }

    /// Files of a queue are gone.
    pub(crate) fn forget_files(&mut self, slot: QueueSlot) {
        if let Some(touch) = self.queues.get_mut(&slot) {
            touch.files.clear();
        }
    }
}

impl Touch {
    fn add(&mut self, number: u64) {
        // Most often it is the one that was written to before.
        if !self.files.iter().rev().any(|known| *known == number) {
            self.files.push(number);
        }
    }
}

impl Opened {
    fn get(&mut self, key: Key) -> Option<Arc<dyn File>> {
        self.clock += 1;
        let clock = self.clock;
        self.files.get_mut(&key).map(|(file, used)| {
            *used = clock;
            Arc::clone(file)
        })
    }

    fn insert(&mut self, key: Key, file: Arc<dyn File>) {
        self.clock += 1;
        self.files.insert(key, (file, self.clock));
        if self.files.len() > self.max {
            // A quarter at once, so that the search for the oldest is paid rarely.
            let mut used: Vec<u64> = self.files.values().map(|(_, used)| *used).collect();
            let (_, cut, _) = used.select_nth_unstable(self.max / 4);
            let cut = *cut;
            self.files.retain(|_, (_, used)| *used > cut);
        }
    }
}
