//! Opening an index after any kind of end, and taking it back to a state that is whole.
//!
//! Reports one [`Repair`] per change. Everything in an index can be made again from the log, so when in doubt
//! it forgets: the log is replayed from [`Index::covered`].

use std::{
    collections::VecDeque,
    fmt, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use kerolox_protocol::ids::LogOffset;

use super::{
    Index, IndexFile, Mark,
    format::{ENTRY_LEN, Entry, HEADER_LEN, Header, SLOT_LEN, Shape, name_text, parse_name, slot},
};
use crate::{
    disk::{
        Disk, File, Open,
        around::{is_bad_sector, is_device_error, told_from_writes},
    },
    quarantine,
};

/// Read and written at once when going through a file, bytes. A multiple of slot and entry length.
const PIECE: usize = 20 << 16;
/// Keys of one record that are remembered against a repeat.
const REPEATED_MAX: usize = 1 << 16;

/// How far the files can be believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trust {
    /// The last stop was clean.
    Clean,
    /// The process ended in the middle; the operating system did not. The mark is the last one that is known
    /// to be durable, if any.
    Killed(Option<Mark>),
    /// The operating system may have ended too. The mark is the last one that is known to be durable; `None`:
    /// unknown, or the original was writing.
    PowerCut(Option<Mark>),
}

/// Something that was put right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repair {
    /// The file.
    pub path: PathBuf,
    /// What was done and why.
    pub what: RepairKind,
}

/// Kinds of repairs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RepairKind {
    /// Left alone and not used: the reason.
    Ignored(&'static str),
    /// The disk cannot read it; it was moved there, and its keys come back from the log if it was the newest.
    SetAside(PathBuf),
    /// Removed; its keys come back from the log: the reason.
    Removed(&'static str),
    /// Keys beyond the last certain one were taken back.
    TakenBack {
        /// Number of the next entry before and after.
        next: (u32, u32),
        /// Slots that led further.
        slots: u32,
    },
    /// The slot table was made anew from so many entries.
    Rebuilt(u32),
}

impl fmt::Display for Repair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.display();
        match &self.what {
            RepairKind::Ignored(why) => write!(f, "index file {path} is not used: {why}"),
            RepairKind::Removed(why) => write!(f, "index file {path} was removed, to be made again: {why}"),
            RepairKind::SetAside(to) => {
                write!(
                    f,
                    "index file {path} is not used: the disk cannot read it; it is moved to {}",
                    to.display()
                )
            }
            RepairKind::TakenBack { next: (from, to), slots } => {
                write!(f, "index file {path} was taken back from entry {from} to {to}, {slots} slots changed")
            }
            RepairKind::Rebuilt(entries) => {
                write!(f, "slots of index file {path} were rebuilt from {entries} entries")
            }
        }
    }
}

impl Index {
    /// Opens the index in `dir`, making the directory if need be. Touches the disk.
    ///
    /// Clean files are not read beyond their headers. After a kill the newest file's slot table is read once
    /// (20 MB); only after a power cut without a mark its entries too.
    pub fn open(
        disk: Arc<dyn Disk>,
        dir: &Path,
        shape: Shape,
        trust: Trust,
    ) -> io::Result<(Index, Vec<Repair>)> {
        let mut repairs = Vec::new();
        make_dir(&*disk, dir)?;
        let mut index = Index {
            disk,
            dir: dir.to_owned(),
            shape,
            files: VecDeque::new(),
            last_name: 0,
            is_busy: false,
            failed: None,
            synced: None,
            repeated: Vec::new(),
        };
        index.load(trust, &mut repairs)?;
        match trust {
            Trust::Clean => {}
            Trust::Killed(_) => {
                index.past_bad_sectors(&mut repairs, |index, repairs| index.repair_newest(None, repairs))?;
            }
            Trust::PowerCut(mark) => {
                index
                    .past_bad_sectors(&mut repairs, |index, repairs| index.after_power_cut(mark, repairs))?;
            }
        }
        index.past_bad_sectors(&mut repairs, |index, _| index.settle())?;
        index.synced = match trust {
            // Nothing was synced by opening, unless it was repaired.
            Trust::Killed(mark) if !has_changes(&repairs) => mark.filter(|mark| index.holds(mark)),
            _ => index.written(),
        };
        Ok((index, repairs))
    }

    fn load(&mut self, trust: Trust, repairs: &mut Vec<Repair>) -> io::Result<()> {
        let entries = self.disk.list(&self.dir)?;
        let newest = entries.iter().filter_map(|entry| parse_name(&entry.name)).max();
        for entry in entries.iter().filter(|entry| !entry.is_of_file_system()) {
            let path = self.dir.join(&entry.name);
            let ignored = |why| Repair { path: path.clone(), what: RepairKind::Ignored(why) };
            let Some(name) = parse_name(&entry.name).filter(|_| !entry.is_dir) else {
                repairs.push(ignored("its name is not that of an index file"));
                continue;
            };
            self.last_name = self.last_name.max(name);
            let is_unfinished = Some(name) == newest && trust != Trust::Clean;
            if entry.len == self.shape.file_len() {
                let head =
                    self.disk.open(&path, Open::Write).and_then(|file| read_header(&*file, self.shape));
                let head = match head {
                    Ok(head) => head,
                    // Its keys are in the log; those of the newest file are read from there again.
                    Err(error) if is_device_error(&error) => {
                        self.set_aside(&path, repairs)?;
                        continue;
                    }
                    Err(error) => return Err(error),
                };
                match head {
                    Some(head) => self.files.push_back(IndexFile::on_disk(name, head)),
                    None if is_unfinished => self.remove(&path, "its header is damaged", repairs)?,
                    None => repairs.push(ignored("its header is damaged")),
                }
            } else if is_unfinished {
                self.remove(&path, "it was not finished being made", repairs)?;
            } else {
                repairs.push(ignored("its length does not fit the configured numbers of slots and entries"));
            }
        }
        Ok(())
    }

    fn set_aside(&self, path: &Path, repairs: &mut Vec<Repair>) -> io::Result<()> {
        let to = quarantine::set_aside(&*self.disk, self.dir.parent().unwrap_or(&self.dir), path)?;
        repairs.push(Repair { path: path.to_owned(), what: RepairKind::SetAside(to) });
        Ok(())
    }

    /// Does a step; where it meets what the disk cannot read, the newest file goes and it is done again.
    fn past_bad_sectors(
        &mut self,
        repairs: &mut Vec<Repair>,
        step: impl Fn(&mut Self, &mut Vec<Repair>) -> io::Result<()>,
    ) -> io::Result<()> {
        loop {
            match step(self, repairs) {
                Err(why) if is_bad_sector(&why) => {
                    let Some(newest) = self.files.pop_back() else { return Err(why) };
                    self.set_aside(&self.path(newest.name), repairs)?;
                }
                done => return done,
            }
        }
    }

    fn remove(&self, path: &Path, why: &'static str, repairs: &mut Vec<Repair>) -> io::Result<()> {
        self.disk.remove(path)?;
        self.disk.sync_dir(&self.dir)?;
        repairs.push(Repair { path: path.to_owned(), what: RepairKind::Removed(why) });
        Ok(())
    }

    fn path(&self, name: u64) -> PathBuf {
        self.dir.join(name_text(name))
    }

    fn after_power_cut(&mut self, mark: Option<Mark>, repairs: &mut Vec<Repair>) -> io::Result<()> {
        let mark = mark.filter(|mark| {
            let fits = mark.next >= 1 && mark.next <= self.shape.entries();
            fits && self.files.iter().any(|file| file.name == mark.name)
        });
        let Some(mark) = mark else {
            return match self.files.back().map(|file| file.head.next) {
                Some(next) => self.rebuild_newest(next, repairs),
                None => Ok(()),
            };
        };
        while let Some(file) = self.files.pop_back_if(|file| file.name > mark.name) {
            self.remove(&self.path(file.name), "it is newer than what is known to be durable", repairs)?;
        }
        self.repair_newest(Some(mark), repairs)
    }

    /// Takes the newest file back to what its header, or the mark, counts.
    fn repair_newest(&mut self, mark: Option<Mark>, repairs: &mut Vec<Repair>) -> io::Result<()> {
        let Some(newest) = self.files.back() else { return Ok(()) };
        let path = self.path(newest.name);
        let file = self.disk.open(&path, Open::Write)?;
        let found = newest.head;
        let mut head = found;
        if mark.is_some_and(|mark| mark.next <= 1) {
            head = Header { next: 1, ..Header::default() };
        } else if let Some(mark) = mark {
            head.next = mark.next;
            head.begin_ms = mark.begin_ms.0;
            head.end_ms = mark.end_ms.0;
            head.end_at = mark.end_at.wire();
            head.begin_at = match read_entry(&*file, self.shape, 1)? {
                Some(entry) => entry.at.cast_signed(),
                None => 0,
            };
        }
        let taken = take_back(&*file, self.shape, head.next)?;
        if taken.broken > 0 {
            return self.rebuild_newest(head.next, repairs);
        }
        head.slots_used = taken.used;
        if head != found || taken.changed > 0 {
            file.write_at(&head.encode(), 0)?;
            file.sync()?;
            let what = RepairKind::TakenBack { next: (found.next, head.next), slots: taken.changed };
            repairs.push(Repair { path, what });
        }
        self.set_newest(head);
        Ok(())
    }

    fn set_newest(&mut self, head: Header) {
        if let Some(newest) = self.files.back_mut() {
            newest.head = head;
            newest.written = head;
        }
    }

    /// Makes the slot table of the newest file anew from at most the entries below `limit`, ending at the
    /// first that cannot be one.
    fn rebuild_newest(&mut self, limit: u32, repairs: &mut Vec<Repair>) -> io::Result<()> {
        let Some(newest) = self.files.back() else { return Ok(()) };
        let path = self.path(newest.name);
        let file = self.disk.open(&path, Open::Write)?;
        let mut head = newest.head;
        if head.begin_ms <= 0 && limit > 1 {
            // Without it the times of all entries are unknown.
            self.files.pop_back();
            return self.remove(&path, "its header is damaged", repairs);
        }
        let chains = link_chains(&*file, self.shape, limit)?;
        put_slots(&*file, &chains.heads)?;
        head.next = chains.next;
        head.slots_used = chains.heads.iter().filter(|number| **number != 0).count() as u32;
        if let Some((first, last)) = chains.first_last {
            head.begin_at = first.at.cast_signed();
            head.end_at = last.at.cast_signed();
            head.end_ms = head.end_ms.clamp(head.time(last.diff), head.time(last.diff).saturating_add(999));
        } else {
            head = Header { next: 1, ..Header::default() };
        }
        file.write_at(&head.encode(), 0)?;
        file.sync()?;
        repairs.push(Repair { path, what: RepairKind::Rebuilt(head.next - 1) });
        self.set_newest(head);
        Ok(())
    }

    /// Forgets keys of records at or beyond `end`, which recovery found to be the end of the log. To be
    /// called before anything is added. Touches the disk.
    pub fn cut(&mut self, end: LogOffset) -> io::Result<Vec<Repair>> {
        let mut repairs = Vec::new();
        self.past_bad_sectors(&mut repairs, |index, repairs| index.cut_at(end, repairs))?;
        if has_changes(&repairs) {
            self.synced = self.written();
            self.past_bad_sectors(&mut repairs, |index, _| index.settle())?;
        }
        Ok(repairs)
    }

    fn cut_at(&mut self, end: LogOffset, repairs: &mut Vec<Repair>) -> io::Result<()> {
        let end = end.wire();
        // One without a key would hide the one before it.
        let is_beyond = |file: &mut IndexFile| file.head.next <= 1 || file.head.begin_at >= end;
        while let Some(file) = self.files.pop_back_if(is_beyond) {
            self.remove(&self.path(file.name), "it begins beyond the end of the log", repairs)?;
        }
        if let Some(newest) = self.files.back()
            && newest.head.next > 1
            && newest.head.end_at >= end
        {
            let file = self.disk.open(&self.path(newest.name), Open::Read)?;
            let mut mark = Mark::of(newest.name, &newest.head);
            if let Some(mark) = &mut mark {
                let (next, last) = last_before(&*file, self.shape, mark.next, end.unsigned_abs())?;
                mark.next = next;
                mark.end_at = LogOffset(last.at);
                mark.end_ms.0 = newest.head.time(last.diff);
            }
            drop(file);
            self.repair_newest(mark, repairs)?;
        }
        Ok(())
    }

    /// Whether a mark is a state that the files had on the way to where they are.
    fn holds(&self, mark: &Mark) -> bool {
        self.files.iter().any(|file| file.name == mark.name && mark.next <= file.head.next)
    }

    /// Remembers the keys of the last record, since the log is replayed from that record on. They may have
    /// begun in the file before.
    fn settle(&mut self) -> io::Result<()> {
        self.repeated.clear();
        let Some(last) = self.covered() else { return Ok(()) };
        for IndexFile { name, head, .. } in self.files.iter().rev() {
            let file = self.disk.open(&self.path(*name), Open::Read)?;
            for number in (1..head.next).rev() {
                match read_entry(&*file, self.shape, number)? {
                    Some(entry) if entry.at == last.0 && self.repeated.len() < REPEATED_MAX => {
                        self.repeated.push(entry.hash);
                    }
                    _ => return Ok(()),
                }
            }
        }
        Ok(())
    }
}

fn has_changes(repairs: &[Repair]) -> bool {
    repairs.iter().any(|repair| !matches!(repair.what, RepairKind::Ignored(_)))
}

fn make_dir(disk: &dyn Disk, dir: &Path) -> io::Result<()> {
    match disk.list(dir) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            disk.create_dir_all(dir)?;
            disk.sync_dir(dir.parent().unwrap_or(Path::new("")))
        }
        Err(error) => Err(error),
    }
}

fn read_header(file: &dyn File, shape: Shape) -> io::Result<Option<Header>> {
    let mut bytes = [0; HEADER_LEN as usize];
    told_from_writes(file.read_at(&mut bytes, 0))?;
    Ok(Header::decode(&bytes, shape))
}

fn read_entry(file: &dyn File, shape: Shape, number: u32) -> io::Result<Option<Entry>> {
    let mut bytes = [0; ENTRY_LEN as usize];
    told_from_writes(file.read_at(&mut bytes, shape.entry_at(number)))?;
    Ok(Entry::decode(&bytes))
}

/// The number after the last entry of a record before `end`, and that entry. Entries are in log order.
fn last_before(file: &dyn File, shape: Shape, next: u32, end: u64) -> io::Result<(u32, Entry)> {
    let (mut low, mut high) = (1, next);
    while low < high {
        let middle = low + (high - low) / 2;
        match read_entry(file, shape, middle)? {
            Some(entry) if entry.at < end => low = middle + 1,
            _ => high = middle,
        }
    }
    let last = match low {
        1 => None,
        _ => read_entry(file, shape, low - 1)?,
    };
    Ok((low, last.unwrap_or(Entry { hash: 0, at: 0, diff: 0, prev: 0 })))
}

#[derive(Debug, Default)]
pub(super) struct TakenBack {
    pub(super) used: u32,
    changed: u32,
    /// Chains that lead to no entry below the limit although they should.
    pub(super) broken: u32,
}

/// Makes every slot lead to an entry below `next`, following chains that begin later.
pub(super) fn take_back(file: &dyn File, shape: Shape, next: u32) -> io::Result<TakenBack> {
    let mut taken = TakenBack::default();
    let mut first = 0;
    let mut buf = Vec::new();
    while first < shape.slots() {
        let n = (shape.slots() - first).min((PIECE / SLOT_LEN as usize) as u32);
        buf.resize(n as usize * SLOT_LEN as usize, 0);
        told_from_writes(file.read_at(&mut buf, shape.slot_at(first)))?;
        let mut is_changed = false;
        for (number, bytes) in (first..).zip(buf.as_chunks_mut().0) {
            if *bytes == [0; SLOT_LEN as usize] {
                continue;
            }
            if slot(*bytes, next).is_some() {
                taken.used += 1;
                continue;
            }
            let head = follow(file, shape, number, u32::from_be_bytes(*bytes), next)?;
            taken.broken += u32::from(head.is_none());
            taken.used += u32::from(head.is_some_and(|head| head != 0));
            taken.changed += 1;
            *bytes = head.unwrap_or(0).to_be_bytes();
            is_changed = true;
        }
        if is_changed {
            file.write_at(&buf, shape.slot_at(first))?;
        }
        first += n;
    }
    Ok(taken)
}

/// The first entry of a chain below `next`, or 0 for none; `None` when the chain is not one.
fn follow(file: &dyn File, shape: Shape, of: u32, mut number: u32, next: u32) -> io::Result<Option<u32>> {
    while number >= next {
        if number >= shape.entries() {
            return Ok(None);
        }
        let Some(entry) = read_entry(file, shape, number)? else { return Ok(None) };
        if shape.slot_of(entry.hash) != of || entry.prev >= number {
            return Ok(None);
        }
        number = entry.prev;
    }
    Ok(Some(number))
}

struct Chains {
    /// Newest entry of each slot.
    heads: Vec<u32>,
    next: u32,
    first_last: Option<(Entry, Entry)>,
}

/// Reads entries in order, to the first that cannot be one, and links each to the one before in its slot.
///
/// The last one before an impossible one is not used either: it may be half of an entry.
fn link_chains(file: &dyn File, shape: Shape, limit: u32) -> io::Result<Chains> {
    // As many as the shape says, which the file's true length has confirmed.
    let mut chains = Chains { heads: vec![0; shape.slots() as usize], next: 1, first_last: None };
    let mut buf = Vec::new();
    let mut before_last = None;
    while chains.next < limit {
        let n = (limit - chains.next).min((PIECE / ENTRY_LEN as usize) as u32);
        buf.resize(n as usize * ENTRY_LEN as usize, 0);
        told_from_writes(file.read_at(&mut buf, shape.entry_at(chains.next)))?;
        for bytes in buf.as_chunks().0 {
            let last = chains.first_last.map(|(_, last)| last);
            let Some(entry) = next_entry(bytes, last.as_ref()) else {
                chains.unlink_last(before_last, shape);
                return Ok(chains);
            };
            let Some(head) = chains.heads.get_mut(shape.slot_of(entry.hash) as usize) else {
                return Ok(chains);
            };
            let linked = Entry { prev: std::mem::replace(head, chains.next), ..entry };
            if linked != entry {
                file.write_at(&linked.encode(), shape.entry_at(chains.next))?;
            }
            chains.next += 1;
            chains.first_last = Some((chains.first_last.map_or(linked, |(first, _)| first), linked));
            before_last = last;
        }
    }
    Ok(chains)
}

impl Chains {
    fn unlink_last(&mut self, before: Option<Entry>, shape: Shape) {
        let Some((first, last)) = self.first_last else { return };
        if let Some(head) = self.heads.get_mut(shape.slot_of(last.hash) as usize) {
            *head = last.prev;
        }
        self.next -= 1;
        self.first_last = before.map(|before| (first, before));
    }
}

/// An entry if it can follow `last`: never written ones are all zero, and offsets never fall.
fn next_entry(bytes: &[u8; ENTRY_LEN as usize], last: Option<&Entry>) -> Option<Entry> {
    let entry = Entry::decode(bytes).filter(|_| *bytes != [0; ENTRY_LEN as usize])?;
    last.is_none_or(|last| last.at <= entry.at).then_some(entry)
}

/// Writes the pieces of the slot table that differ, so that holes stay holes.
fn put_slots(file: &dyn File, heads: &[u32]) -> io::Result<()> {
    let mut at = HEADER_LEN;
    let (mut want, mut have) = (Vec::new(), Vec::new());
    for piece in heads.chunks(1024) {
        want.clear();
        want.extend(piece.iter().flat_map(|number| number.to_be_bytes()));
        have.resize(want.len(), 0);
        told_from_writes(file.read_at(&mut have, at))?;
        if want != have {
            file.write_at(&want, at)?;
        }
        at += want.len() as u64;
    }
    Ok(())
}
