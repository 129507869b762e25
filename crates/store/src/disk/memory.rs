//! A disk in memory that loses what was not synced, for tests and the simulator.
//!
//! Owns a whole directory tree, what of it is durable, and a plan of faults. Knows nothing of what the files
//! mean. Deterministic: the same calls and seeds give the same disk.
//!
//! - A write is in the page cache until the file is synced; a made, renamed or removed name until its
//!   directory is. [`MemDisk::power_cut`] decides for every sector, length and name change what survived.
//! - [`MemDisk::kill`] ends the process only: everything written is still there.
//! - [`MemDisk::plan`] makes calls fail; [`MemDisk::set_capacity`] and [`MemDisk::set_write_budget`] fill
//!   the disk; [`MemDisk::flip`] and [`MemDisk::decay`] rot it, [`MemDisk::spoil`] makes sectors unreadable.
//! - [`MemDisk::record`] and [`MemDisk::take_trace`] give a [`Trace`], whose crash states can be visited.
//!
//! Harsher than ext4 where POSIX allows it: syncing a file does not make its name durable, and a length can
//! survive without the data.

mod choose;
mod content;
mod fault;
mod trace;
mod tree;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use self::{
    choose::Random,
    content::{PAGE, SECTOR},
    fault::{Faults, broken, no_space},
    tree::{Ino, Tree},
};
pub use self::{
    choose::Rng,
    fault::{Call, Fault, Harm},
    trace::{CrashState, Trace},
    tree::{Effect, Op},
};
use super::{DirEntry, Disk, File, Open, Space};

/// Size of the disk unless one is set, in bytes.
const CAPACITY: u64 = 1 << 40;

/// The disk. Clones are handles to the same one.
#[derive(Clone)]
pub struct MemDisk {
    state: Arc<Mutex<State>>,
}

/// A write that was acknowledged and never happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LostWrite {
    /// Of this file,
    pub path: PathBuf,
    /// at this place,
    pub at: u64,
    /// these bytes.
    pub bytes: Vec<u8>,
}

/// Numbers of sectors, by file.
type Spoiled = BTreeMap<Ino, BTreeSet<u64>>;

struct State {
    tree: Tree,
    faults: Faults,
    /// Sectors that cannot be read, by file. They belong to the device: no crash mends them.
    spoiled: Spoiled,
    /// Writes lost since the last question.
    lost: Vec<LostWrite>,
    capacity: Option<u64>,
    /// Pages taken; kept only while a capacity is set.
    used: u64,
    boots: u64,
    is_resident: Option<bool>,
    locked: BTreeSet<PathBuf>,
    handles: BTreeMap<Ino, u64>,
    trace: Option<Trace>,
}

impl Default for MemDisk {
    fn default() -> Self {
        MemDisk::new()
    }
}

impl fmt::Debug for MemDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MemDisk")
    }
}

impl MemDisk {
    /// An empty, faultless disk.
    pub fn new() -> MemDisk {
        MemDisk::with(Tree::new(), 1)
    }

    fn with(tree: Tree, boots: u64) -> MemDisk {
        let state = State {
            tree,
            faults: Faults::default(),
            spoiled: Spoiled::new(),
            lost: Vec::new(),
            capacity: None,
            used: 0,
            boots,
            is_resident: Some(true),
            locked: BTreeSet::new(),
            handles: BTreeMap::new(),
            trace: None,
        };
        MemDisk { state: Arc::new(Mutex::new(state)) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// This disk as a handle for a store.
    pub fn handle(&self) -> Arc<dyn Disk> {
        Arc::new(self.clone())
    }

    /// The disk after the machine lost power. The old one, and what is open on it, goes on as if nothing had
    /// happened and has no effect on the new one. No faults are planned on the new disk.
    pub fn power_cut(&self, seed: u64) -> MemDisk {
        let state = self.state();
        let tree = state.tree.after_cut(&mut Random::new(seed));
        MemDisk::with(tree, state.boots + 1).sized(state.capacity).with_spoiled(&state.spoiled)
    }

    /// The disk after the process was killed: nothing is lost, locks are free, and what was not synced still
    /// is not. No faults are planned on the new disk.
    pub fn kill(&self) -> MemDisk {
        let state = self.state();
        let mut tree = state.tree.clone();
        tree.collect([]);
        MemDisk::with(tree, state.boots).sized(state.capacity).with_spoiled(&state.spoiled)
    }

    fn with_spoiled(self, spoiled: &Spoiled) -> MemDisk {
        self.state().spoiled.clone_from(spoiled);
        self
    }

    fn sized(self, capacity: Option<u64>) -> MemDisk {
        self.set_capacity(capacity);
        self
    }

    /// Makes calls fail from now on.
    pub fn plan(&self, fault: Fault) {
        self.state().faults.plan(fault);
    }

    /// Forgets all planned faults and the write budget.
    pub fn heal(&self) {
        self.state().faults.clear();
    }

    /// Calls of a kind so far, failed ones included.
    pub fn calls(&self, call: Call) -> u64 {
        self.state().faults.calls(call)
    }

    /// Calls harmed so far, by planned faults.
    pub fn harmed(&self) -> u64 {
        self.state().faults.harmed
    }

    /// Changes recorded so far, since [`MemDisk::record`].
    pub fn recorded(&self) -> usize {
        self.state().trace.as_ref().map_or(0, |trace| trace.ops.len())
    }

    /// Sets the size of the disk in bytes; it gives room away in pages of 4 KiB, to written and to allocated
    /// ones.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        let mut state = self.state();
        state.capacity = bytes;
        state.recount();
    }

    /// After so many more bytes written the disk is full, in the middle of a write if need be.
    pub fn set_write_budget(&self, bytes: Option<u64>) {
        self.state().faults.budget = bytes;
    }

    /// What [`File::is_resident`] answers.
    pub fn set_resident(&self, is_resident: Option<bool>) {
        self.state().is_resident = is_resident;
    }

    /// Flips a bit of a file, on the device and in the cache.
    pub fn flip(&self, path: &Path, at: u64, bit: u32) -> io::Result<()> {
        let mut state = self.state();
        let ino = state.tree.find(path)?;
        state.tree.file(ino)?;
        if let Some(file) = state.tree.file_mut(ino) {
            file.flip(at, bit);
        }
        Ok(())
    }

    /// Other bytes than were written, on the device and in the cache. What lies behind the file's end is dropped.
    pub fn decay(&self, path: &Path, at: u64, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.state();
        let ino = state.tree.find(path)?;
        let room = state.tree.file(ino)?.cached().len.saturating_sub(at);
        let bytes = bytes.get(..usize::try_from(room).unwrap_or(usize::MAX)).unwrap_or(bytes);
        if let Some(file) = state.tree.file_mut(ino) {
            file.decay(at, bytes);
        }
        Ok(())
    }

    /// Writes that were planned to be lost and came, since the last question.
    pub fn take_lost(&self) -> Vec<LostWrite> {
        std::mem::take(&mut self.state().lost)
    }

    /// Makes the sectors of a file that hold these bytes unreadable: a read of any byte of them fails. A write of
    /// a whole one makes it good again, as a device does that takes another in its place; a write of a part fails.
    pub fn spoil(&self, path: &Path, at: u64, len: u64) -> io::Result<()> {
        let mut state = self.state();
        let ino = state.tree.find(path)?;
        state.tree.file(ino)?;
        let sectors = at / SECTOR..at.saturating_add(len).div_ceil(SECTOR);
        state.spoiled.entry(ino).or_default().extend(sectors);
        Ok(())
    }

    /// A file's bytes, past all faults.
    pub fn bytes(&self, path: &Path) -> io::Result<Vec<u8>> {
        let state = self.state();
        let content = state.tree.file(state.tree.find(path)?)?.cached();
        let mut bytes = vec![0; usize::try_from(content.len).map_err(|_| io::ErrorKind::FileTooLarge)?];
        content.read(&mut bytes, 0);
        Ok(bytes)
    }

    /// Writes a file whole and durably, past all faults, with the directories above it.
    pub fn plant(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let clean = MemDisk { state: Arc::clone(&self.state) };
        let faults = std::mem::take(&mut self.state().faults);
        let planted = clean.plant_all(path, bytes);
        self.state().faults = faults;
        planted
    }

    fn plant_all(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let parent = path.parent().unwrap_or(Path::new(""));
        self.create_dir_all(parent)?;
        let file = self.open(path, Open::Create)?;
        file.set_len(0)?;
        file.write_at(bytes, 0)?;
        file.sync()?;
        parent.ancestors().try_for_each(|dir| self.sync_dir(dir))
    }

    /// Begins to record changes, from the state as it is now.
    pub fn record(&self) {
        let mut state = self.state();
        state.trace = Some(state.trace_from_here());
    }

    /// Ends recording; empty if none was begun.
    pub fn take_trace(&self) -> Trace {
        let mut state = self.state();
        state.trace.take().unwrap_or_else(|| state.trace_from_here())
    }

    fn opened(
        &self,
        state: &mut State,
        ino: Ino,
        path: &Path,
        is_writable: bool,
    ) -> io::Result<Arc<dyn File>> {
        state.tree.file(ino)?;
        *state.handles.entry(ino).or_default() += 1;
        Ok(Arc::new(MemFile { disk: self.clone(), ino, path: path.to_owned(), is_writable }))
    }

    fn apply_to(&self, make: impl FnOnce(&Tree) -> io::Result<Op>) -> io::Result<()> {
        let mut state = self.state();
        let op = make(&state.tree)?;
        state.apply(op);
        state.recount();
        Ok(())
    }
}

impl State {
    fn trace_from_here(&self) -> Trace {
        let (base, spoiled) = (self.tree.clone(), self.spoiled.clone());
        Trace { base, ops: Vec::new(), boots: self.boots, spoiled }
    }

    fn is_spoiled(&self, ino: Ino, at: u64, len: u64) -> bool {
        let sectors = at / SECTOR..at.saturating_add(len).div_ceil(SECTOR);
        len > 0 && self.spoiled.get(&ino).is_some_and(|spoiled| spoiled.range(sectors).next().is_some())
    }

    /// Before a range is written: sectors that are written whole are good again, a part of a bad one is an error.
    fn mend(&mut self, ino: Ino, at: u64, len: u64) -> io::Result<()> {
        let Some(spoiled) = self.spoiled.get_mut(&ino).filter(|_| len > 0) else { return Ok(()) };
        let end = at.saturating_add(len);
        let whole = at.div_ceil(SECTOR)..end / SECTOR;
        if spoiled.range(at / SECTOR..end.div_ceil(SECTOR)).any(|sector| !whole.contains(sector)) {
            return Err(broken());
        }
        spoiled.retain(|sector| !whole.contains(sector));
        Ok(())
    }

    fn apply(&mut self, op: Op) {
        self.tree.apply(&op);
        if let Some(trace) = &mut self.trace {
            trace.ops.push(op);
        }
    }

    /// Makes a file of so many bytes.
    fn make(&mut self, path: &Path, len: u64) -> io::Result<Ino> {
        let op = self.tree.making_long(path, false, len)?;
        let ino = self.tree.next_ino();
        self.apply(op);
        Ok(ino)
    }

    fn recount(&mut self) {
        if self.capacity.is_some() {
            self.used = self.tree.pages(self.handles.keys().copied());
        }
    }

    fn pages_free(&self) -> u64 {
        self.capacity.map_or(u64::MAX, |bytes| (bytes / PAGE).saturating_sub(self.used))
    }

    /// Stores what fits of a write, by budget and by capacity.
    fn store(&mut self, ino: Ino, bytes: &[u8], at: u64) -> io::Result<()> {
        at.checked_add(bytes.len() as u64).ok_or(io::ErrorKind::InvalidInput)?;
        let (mut n, pages) = match self.capacity {
            Some(_) => self.tree.file(ino)?.fits(at, bytes.len(), self.pages_free()),
            None => (bytes.len(), 0),
        };
        self.used += pages;
        if let Some(budget) = &mut self.faults.budget {
            n = n.min(usize::try_from(*budget).unwrap_or(usize::MAX));
            *budget -= n as u64;
        }
        let stored = bytes.get(..n).unwrap_or(bytes);
        self.apply(Op::Write { ino, at, bytes: Arc::from(stored) });
        if n < bytes.len() { Err(no_space()) } else { Ok(()) }
    }
}

impl Disk for MemDisk {
    fn open(&self, path: &Path, how: Open) -> io::Result<Arc<dyn File>> {
        let mut state = self.state();
        state.faults.pass(Call::Open, path)?;
        let ino = match (state.tree.find(path), how) {
            (Err(error), Open::Create) if error.kind() == io::ErrorKind::NotFound => state.make(path, 0)?,
            (found, _) => found?,
        };
        self.opened(&mut state, ino, path, how != Open::Read)
    }

    fn create_sized(&self, path: &Path, len: u64) -> io::Result<Arc<dyn File>> {
        let mut state = self.state();
        state.faults.pass(Call::Open, path)?;
        let found = state.tree.find(path);
        let is_new = found.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::NotFound);
        if is_new {
            state.faults.pass(Call::SetLen, path)?;
        }
        let ino = if is_new { state.make(path, len)? } else { found? };
        let file = self.opened(&mut state, ino, path, true)?;
        drop(state);
        if file.len()? != len {
            file.set_len(len)?;
        }
        Ok(file)
    }

    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        self.state().faults.pass(Call::CreateDir, path)?;
        let mut missing = Vec::new();
        for dir in path.ancestors() {
            let state = self.state();
            match state.tree.find(dir) {
                Ok(ino) if state.tree.is_dir(ino) => break,
                Ok(_) => return Err(io::ErrorKind::NotADirectory.into()),
                Err(error) if error.kind() == io::ErrorKind::NotFound => missing.push(dir),
                Err(error) => return Err(error),
            }
        }
        missing.iter().rev().try_for_each(|dir| self.apply_to(|tree| tree.making(dir, true)))
    }

    fn list(&self, path: &Path) -> io::Result<Vec<DirEntry>> {
        let mut state = self.state();
        state.faults.pass(Call::List, path)?;
        let tree = &state.tree;
        let entry = |(name, ino): (&String, &Ino)| DirEntry {
            name: name.clone(),
            is_dir: tree.is_dir(*ino),
            len: tree.file(*ino).map_or(0, |file| file.cached().len),
        };
        Ok(tree.entries(tree.find(path)?)?.iter().map(entry).collect())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.state().faults.pass(Call::Rename, from)?;
        self.apply_to(|tree| tree.renaming(from, to))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.state().faults.pass(Call::Remove, path)?;
        self.apply_to(|tree| tree.removing(path, false))
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        self.state().faults.pass(Call::Remove, path)?;
        self.apply_to(|tree| tree.removing(path, true))
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.faults.pass(Call::SyncDir, path)?;
        let ino = state.tree.find(path)?;
        state.tree.entries(ino)?;
        state.apply(Op::SyncDir { ino });
        let State { tree, handles, .. } = &mut *state;
        tree.collect(handles.keys().copied());
        Ok(())
    }

    fn space(&self, path: &Path) -> io::Result<Space> {
        let state = self.state();
        state.tree.find(path)?;
        let total = state.capacity.unwrap_or(CAPACITY);
        let used = match state.capacity {
            Some(_) => state.used,
            None => state.tree.pages(state.handles.keys().copied()),
        };
        let free = total.saturating_sub(used * PAGE);
        Ok(Space { total, free: state.faults.budget.map_or(free, |budget| free.min(budget)) })
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn Send + Sync>> {
        let file = self.open(path, Open::Create)?;
        if !self.state().locked.insert(path.to_owned()) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let lock = MemLock { disk: self.clone(), path: path.to_owned() };
        if file.is_empty()? {
            file.write_at(b"lock", 0)?;
        }
        Ok(Box::new(lock))
    }

    fn boot_id(&self) -> String {
        format!("memory-{}", self.state().boots)
    }
}

struct MemLock {
    disk: MemDisk,
    path: PathBuf,
}

impl Drop for MemLock {
    fn drop(&mut self) {
        self.disk.state().locked.remove(&self.path);
    }
}

struct MemFile {
    disk: MemDisk,
    ino: Ino,
    path: PathBuf,
    is_writable: bool,
}

impl fmt::Debug for MemFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MemFile({})", self.path.display())
    }
}

impl Drop for MemFile {
    fn drop(&mut self) {
        let mut state = self.disk.state();
        if let Some(n) = state.handles.get_mut(&self.ino) {
            *n -= 1;
            if *n == 0 {
                state.handles.remove(&self.ino);
                state.recount();
            }
        }
    }
}

impl MemFile {
    fn writable(&self) -> io::Result<MutexGuard<'_, State>> {
        if self.is_writable { Ok(self.disk.state()) } else { Err(io::ErrorKind::PermissionDenied.into()) }
    }
}

impl File for MemFile {
    fn read_at(&self, buf: &mut [u8], at: u64) -> io::Result<()> {
        let mut state = self.disk.state();
        let harm = state.faults.meet(Call::Read, &self.path);
        let content = state.tree.file(self.ino)?.cached();
        let end = at.checked_add(buf.len() as u64).ok_or(io::ErrorKind::InvalidInput)?;
        if end > content.len {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        content.read(buf, at);
        if state.is_spoiled(self.ino, at, buf.len() as u64) {
            return Err(broken());
        }
        match harm {
            None => Ok(()),
            Some(Harm::Flipped(bit)) => {
                flip(buf, bit);
                Ok(())
            }
            Some(_) => Err(broken()),
        }
    }

    fn write_at(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        let mut state = self.writable()?;
        let harm = state.faults.meet(Call::Write, &self.path);
        if harm.is_none() {
            state.mend(self.ino, at, bytes.len() as u64)?;
        }
        match harm {
            None => state.store(self.ino, bytes, at),
            Some(Harm::Eio | Harm::Emfile | Harm::Exdev) => Err(broken()),
            Some(Harm::Enospc) => Err(no_space()),
            Some(Harm::Lost) => {
                state.lost.push(LostWrite { path: self.path.clone(), at, bytes: bytes.to_vec() });
                Ok(())
            }
            Some(Harm::Misdirected(by)) => state.store(self.ino, bytes, at.saturating_add_signed(by)),
            Some(Harm::Short(n)) => {
                state.store(self.ino, bytes.get(..n).unwrap_or(bytes), at)?;
                Err(broken())
            }
            Some(Harm::Torn(n)) => {
                let border = at.saturating_add(n as u64) / SECTOR * SECTOR;
                let n = border.saturating_sub(at) as usize;
                state.store(self.ino, bytes.get(..n).unwrap_or(bytes), at)?;
                Err(broken())
            }
            Some(Harm::Flipped(bit)) => {
                let mut bytes = bytes.to_vec();
                flip(&mut bytes, bit);
                state.store(self.ino, &bytes, at)
            }
        }
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.disk.state();
        let ino = self.ino;
        match state.faults.pass(Call::Sync, &self.path) {
            Ok(()) => {
                state.apply(Op::Sync { ino });
                Ok(())
            }
            Err(error) => {
                state.apply(Op::SyncFailed { ino });
                Err(error)
            }
        }
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.disk.state().tree.file(self.ino)?.cached().len)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut state = self.writable()?;
        state.faults.pass(Call::SetLen, &self.path)?;
        state.apply(Op::SetLen { ino: self.ino, len });
        state.recount();
        Ok(())
    }

    fn clear(&self, at: u64, len: u64) -> io::Result<()> {
        let mut state = self.writable()?;
        // It changes data as a write does, and fails as one.
        match state.faults.meet(Call::Write, &self.path) {
            // It goes to no place of its own that could be another's.
            None | Some(Harm::Lost | Harm::Misdirected(_)) => {}
            Some(Harm::Enospc) => return Err(no_space()),
            Some(_) => return Err(broken()),
        }
        let end = at.checked_add(len).ok_or(io::ErrorKind::InvalidInput)?;
        state.mend(self.ino, at, len)?;
        for (from, n) in state.tree.file(self.ino)?.cached().filled(at, end) {
            state.apply(Op::Write { ino: self.ino, at: from, bytes: vec![0; n].into() });
        }
        Ok(())
    }

    fn allocate(&self, at: u64, len: u64) -> io::Result<()> {
        let mut state = self.writable()?;
        state.faults.pass(Call::Allocate, &self.path)?;
        if len == 0 || at.checked_add(len).is_none() {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        if state.capacity.is_some() {
            let missing = state.tree.file(self.ino)?.pages_missing(at, len);
            if missing > state.pages_free() {
                return Err(no_space());
            }
            state.used += missing;
        }
        state.apply(Op::Allocate { ino: self.ino, at, len });
        Ok(())
    }

    fn read_direct(&self, buf: &mut [u8], at: u64) -> io::Result<bool> {
        self.read_at(buf, at).map(|()| true)
    }

    fn is_resident(&self, _at: u64, _len: u64) -> Option<bool> {
        self.disk.state().is_resident
    }

    fn advise(&self, _at: u64, _len: u64, _wanted: bool) {}
}

fn flip(bytes: &mut [u8], bit: u64) {
    let len = bytes.len() as u64 * 8;
    if len > 0
        && let Some(byte) = bytes.get_mut((bit % len / 8) as usize)
    {
        *byte ^= 1 << (bit % 8);
    }
}

#[cfg(test)]
mod tests;
