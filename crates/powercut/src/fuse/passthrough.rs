//! A file system that passes everything on to a directory, but for what goes wrong on command.
//!
//! Owns inode numbers, open files, and per file what was there before the writes since its last `fsync`, so that
//! those writes can be taken back. Names are not taken back: a real file system on the other
//! [disk](super::image) does that as it really does.
//!
//! `syncfs` does not reach a FUSE file system: what was made durable by it alone counts as not synced here.

use super::{TTL_NONE, errno, mount};
use crate::faults::{Fault, Faults, Op};
use anyhow::Result;
use fuser::{
    BackgroundSession, BsdFileFlags, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation,
    INodeNo, LockOwner, OpenFlags, RenameFlags, ReplyAttr, ReplyCreate, ReplyData, ReplyDirectory,
    ReplyEmpty, ReplyEntry, ReplyOpen, ReplyStatfs, ReplyWrite, Request, TimeOrNow, WriteFlags,
};
use std::{
    collections::HashMap,
    ffi::OsStr,
    fs::{self, File, Metadata, OpenOptions},
    io,
    os::unix::fs::{FileExt, MetadataExt},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::SystemTime,
};

/// Requests that may wait at once: a delayed one does not hold up the others.
const THREADS: usize = 4;
/// Size that is told to those who ask, bytes.
const DISK_BYTES: u64 = 256 << 20;
const BLOCK: u64 = 4096;

/// The mounted file system; gone with it.
pub struct Passthrough {
    shared: Arc<Shared>,
    _session: BackgroundSession,
}

struct Shared {
    root: PathBuf,
    faults: Arc<Faults>,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    /// Paths below the root, by inode number; the root itself is the empty path.
    paths: HashMap<u64, PathBuf>,
    numbers: HashMap<PathBuf, u64>,
    last_number: u64,
    open: HashMap<u64, Opened>,
    last_handle: u64,
    /// What was there before each write since the file's last sync, oldest first.
    unsynced: HashMap<PathBuf, Vec<Before>>,
}

#[derive(Clone)]
struct Opened {
    file: Arc<File>,
    path: PathBuf,
}

struct Before {
    len: u64,
    at: u64,
    bytes: Vec<u8>,
}

impl Passthrough {
    /// Mounts a view of `root` at a directory, which is made.
    ///
    /// # Errors
    /// Without root's rights or `/dev/fuse`.
    pub fn mount(root: &Path, at: &Path, faults: Arc<Faults>) -> Result<Passthrough> {
        fs::create_dir_all(root)?;
        let mut inner = Inner { last_number: 1, ..Inner::default() };
        inner.paths.insert(1, PathBuf::new());
        inner.numbers.insert(PathBuf::new(), 1);
        let shared = Arc::new(Shared { root: root.to_owned(), faults, inner: Mutex::new(inner) });
        let session = mount(View(shared.clone()), at, "kerolox-powercut-faults", THREADS)?;
        Ok(Passthrough { shared, _session: session })
    }

    /// Takes back what was written to files and not synced. Nobody may have them open; how many bytes went.
    pub fn drop_unsynced(&self) -> io::Result<u64> {
        let unsynced = std::mem::take(&mut self.shared.lock().unsynced);
        let mut bytes = 0;
        for (path, writes) in unsynced {
            let file = match OpenOptions::new().write(true).open(self.shared.root.join(path)) {
                // Removed since.
                Err(why) if why.kind() == io::ErrorKind::NotFound => continue,
                file => file?,
            };
            for before in writes.iter().rev() {
                file.write_all_at(&before.bytes, before.at)?;
                file.set_len(before.len)?;
                bytes += before.bytes.len() as u64;
            }
        }
        Ok(bytes)
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn path(&self, ino: INodeNo) -> io::Result<PathBuf> {
        self.lock().paths.get(&ino.0).cloned().ok_or_else(|| rustix::io::Errno::STALE.into())
    }

    fn child(&self, parent: INodeNo, name: &OsStr) -> io::Result<PathBuf> {
        Ok(self.path(parent)?.join(name))
    }

    fn opened(&self, handle: FileHandle) -> io::Result<Opened> {
        self.lock().open.get(&handle.0).cloned().ok_or_else(|| rustix::io::Errno::BADF.into())
    }

    /// Fails or waits as planned; gives the byte that is to be flipped.
    fn meet(&self, op: Op, path: &Path) -> io::Result<Option<usize>> {
        match self.faults.meet(op, &path.to_string_lossy()) {
            Some(Fault::Fail(why)) => Err(why.into()),
            Some(Fault::Delay(time)) => {
                std::thread::sleep(time);
                Ok(None)
            }
            Some(Fault::Flip(byte)) => Ok(Some(byte)),
            None => Ok(None),
        }
    }

    fn attributes(&self, path: &Path) -> io::Result<FileAttr> {
        let found = fs::symlink_metadata(self.root.join(path))?;
        Ok(attributes(self.lock().number(path), &found))
    }

    fn open(&self, path: PathBuf, how: &OpenOptions) -> io::Result<FileHandle> {
        let file = Arc::new(how.open(self.root.join(&path))?);
        let mut inner = self.lock();
        inner.last_handle += 1;
        let handle = inner.last_handle;
        inner.open.insert(handle, Opened { file, path });
        Ok(FileHandle(handle))
    }

    fn read(&self, handle: FileHandle, at: u64, len: usize) -> io::Result<Vec<u8>> {
        let Opened { file, path } = self.opened(handle)?;
        let flip = self.meet(Op::Read, &path)?;
        self.faults.may_read(file.metadata()?.ino(), &(at..at + len as u64))?;
        let mut bytes = read_up_to(&file, at, len)?;
        flip_bit(&mut bytes, flip);
        Ok(bytes)
    }

    fn write(&self, handle: FileHandle, at: u64, bytes: &[u8]) -> io::Result<()> {
        let Opened { file, path } = self.opened(handle)?;
        let flip = self.meet(Op::Write, &path)?;
        let len = file.metadata()?.len();
        self.faults.take_room((at + bytes.len() as u64).saturating_sub(len))?;
        let before = Before { len, at, bytes: read_up_to(&file, at, bytes.len())? };
        self.lock().unsynced.entry(path).or_default().push(before);
        let mut bytes = bytes.to_vec();
        flip_bit(&mut bytes, flip);
        file.write_all_at(&bytes, at)?;
        self.faults.written(file.metadata()?.ino(), &(at..at + bytes.len() as u64));
        Ok(())
    }

    fn set_len(&self, path: &Path, len: u64) -> io::Result<()> {
        self.meet(Op::Write, path)?;
        let file = OpenOptions::new().read(true).write(true).open(self.root.join(path))?;
        let before = file.metadata()?.len();
        self.faults.take_room(len.saturating_sub(before))?;
        let cut = read_up_to(&file, len, usize::try_from(before.saturating_sub(len)).unwrap_or(0))?;
        let before = Before { len: before, at: len, bytes: cut };
        self.lock().unsynced.entry(path.to_owned()).or_default().push(before);
        file.set_len(len)
    }

    fn sync(&self, handle: FileHandle) -> io::Result<()> {
        let Opened { path, .. } = self.opened(handle)?;
        self.meet(Op::Sync, &path)?;
        self.lock().unsynced.remove(&path);
        Ok(())
    }

    fn allocate(&self, handle: FileHandle, end: u64, mode: i32) -> io::Result<()> {
        let Opened { file, path } = self.opened(handle)?;
        if mode != 0 {
            return Err(rustix::io::Errno::OPNOTSUPP.into());
        }
        if end <= file.metadata()?.len() {
            self.meet(Op::Write, &path)?;
            return Ok(());
        }
        self.set_len(&path, end)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.meet(Op::Name, from)?;
        fs::rename(self.root.join(from), self.root.join(to))?;
        self.lock().rename(from, to);
        Ok(())
    }

    fn remove(&self, path: &Path, remove: impl FnOnce(PathBuf) -> io::Result<()>) -> io::Result<()> {
        self.meet(Op::Name, path)?;
        remove(self.root.join(path))?;
        let mut inner = self.lock();
        inner.unsynced.remove(path);
        // The number stays known until it is forgotten: it may be open.
        inner.numbers.remove(path);
        Ok(())
    }

    fn list(&self, ino: INodeNo) -> io::Result<Vec<(u64, FileType, String)>> {
        let path = self.path(ino)?;
        let mut entries =
            vec![(ino.0, FileType::Directory, ".".to_owned()), (ino.0, FileType::Directory, "..".to_owned())];
        for entry in fs::read_dir(self.root.join(&path))? {
            let entry = entry?;
            let kind = if entry.file_type()?.is_dir() { FileType::Directory } else { FileType::RegularFile };
            let number = self.lock().number(&path.join(entry.file_name()));
            entries.push((number.0, kind, entry.file_name().to_string_lossy().into_owned()));
        }
        entries[2..].sort_by(|a, b| a.2.cmp(&b.2));
        Ok(entries)
    }
}

impl Inner {
    fn number(&mut self, path: &Path) -> INodeNo {
        if let Some(number) = self.numbers.get(path) {
            return INodeNo(*number);
        }
        self.last_number += 1;
        self.paths.insert(self.last_number, path.to_owned());
        self.numbers.insert(path.to_owned(), self.last_number);
        INodeNo(self.last_number)
    }

    /// What was below `from` is below `to` now.
    fn rename(&mut self, from: &Path, to: &Path) {
        self.numbers.remove(to);
        let moved = |path: &Path| {
            path.strip_prefix(from)
                .ok()
                .map(|rest| if rest.as_os_str().is_empty() { to.to_owned() } else { to.join(rest) })
        };
        for path in self.paths.values_mut() {
            if let Some(new) = moved(path) {
                *path = new;
            }
        }
        for opened in self.open.values_mut() {
            if let Some(new) = moved(&opened.path) {
                opened.path = new;
            }
        }
        self.numbers = std::mem::take(&mut self.numbers)
            .into_iter()
            .map(|(path, n)| (moved(&path).unwrap_or(path), n))
            .collect();
        self.unsynced = std::mem::take(&mut self.unsynced)
            .into_iter()
            .map(|(path, w)| (moved(&path).unwrap_or(path), w))
            .collect();
    }
}

fn read_up_to(file: &File, at: u64, len: usize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; len];
    let mut done = 0;
    while let Some(rest) = bytes.get_mut(done..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, at + done as u64)? {
            0 => break,
            n => done += n,
        }
    }
    bytes.truncate(done);
    Ok(bytes)
}

fn flip_bit(bytes: &mut [u8], which: Option<usize>) {
    if let Some(byte) = which.and_then(|which| bytes.get_mut(which)) {
        *byte ^= 1;
    }
}

fn attributes(ino: INodeNo, found: &Metadata) -> FileAttr {
    let kind = if found.is_dir() { FileType::Directory } else { FileType::RegularFile };
    let modified = found.modified().unwrap_or(SystemTime::UNIX_EPOCH);
    FileAttr {
        blocks: found.blocks(),
        mtime: modified,
        ctime: modified,
        perm: (found.mode() & 0o7777) as u16,
        ..super::attributes(ino, kind, found.len())
    }
}

struct View(Arc<Shared>);

/// Answers with what came out, or with why it did not.
macro_rules! answer {
    ($reply:ident, $result:expr, $found:pat => $said:expr) => {
        match $result {
            Ok($found) => $said,
            Err(why) => $reply.error(errno(&why)),
        }
    };
}

impl Filesystem for View {
    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let found = self.0.child(parent, name).and_then(|path| self.0.attributes(&path));
        answer!(reply, found, found => reply.entry(&TTL_NONE, &found, Generation(0)));
    }

    fn getattr(&self, _: &Request, ino: INodeNo, handle: Option<FileHandle>, reply: ReplyAttr) {
        let found = match handle.map(|handle| self.0.opened(handle)) {
            Some(Ok(opened)) => opened.file.metadata().map(|found| attributes(ino, &found)),
            _ => self.0.path(ino).and_then(|path| self.0.attributes(&path)),
        };
        answer!(reply, found, found => reply.attr(&TTL_NONE, &found));
    }

    fn setattr(
        &self,
        _: &Request,
        ino: INodeNo,
        _mode: Option<u32>,
        _uid: Option<u32>,
        _gid: Option<u32>,
        size: Option<u64>,
        _atime: Option<TimeOrNow>,
        _mtime: Option<TimeOrNow>,
        _ctime: Option<SystemTime>,
        _handle: Option<FileHandle>,
        _crtime: Option<SystemTime>,
        _chgtime: Option<SystemTime>,
        _bkuptime: Option<SystemTime>,
        _flags: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let done = self.0.path(ino).and_then(|path| {
            size.map_or(Ok(()), |size| self.0.set_len(&path, size))?;
            self.0.attributes(&path)
        });
        answer!(reply, done, found => reply.attr(&TTL_NONE, &found));
    }

    fn mkdir(&self, _: &Request, parent: INodeNo, name: &OsStr, _mode: u32, _umask: u32, reply: ReplyEntry) {
        let made = self.0.child(parent, name).and_then(|path| {
            self.0.meet(Op::Name, &path)?;
            fs::create_dir(self.0.root.join(&path))?;
            self.0.attributes(&path)
        });
        answer!(reply, made, found => reply.entry(&TTL_NONE, &found, Generation(0)));
    }

    fn unlink(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let done = self.0.child(parent, name).and_then(|path| self.0.remove(&path, fs::remove_file));
        answer!(reply, done, () => reply.ok());
    }

    fn rmdir(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let done = self.0.child(parent, name).and_then(|path| self.0.remove(&path, fs::remove_dir));
        answer!(reply, done, () => reply.ok());
    }

    fn rename(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        newparent: INodeNo,
        newname: &OsStr,
        _: RenameFlags,
        reply: ReplyEmpty,
    ) {
        let paths = self.0.child(parent, name).and_then(|from| Ok((from, self.0.child(newparent, newname)?)));
        let done = paths.and_then(|(from, to)| self.0.rename(&from, &to));
        answer!(reply, done, () => reply.ok());
    }

    fn open(&self, _: &Request, ino: INodeNo, flags: OpenFlags, reply: ReplyOpen) {
        let writes = flags.acc_mode() != fuser::OpenAccMode::O_RDONLY;
        let opened =
            self.0.path(ino).and_then(|path| self.0.open(path, OpenOptions::new().read(true).write(writes)));
        answer!(reply, opened, handle => reply.opened(handle, FopenFlags::empty()));
    }

    fn create(&self, _: &Request, parent: INodeNo, name: &OsStr, _: u32, _: u32, _: i32, reply: ReplyCreate) {
        let made = self.0.child(parent, name).and_then(|path| {
            self.0.meet(Op::Name, &path)?;
            let handle = self
                .0
                .open(path.clone(), OpenOptions::new().read(true).write(true).create(true).truncate(false))?;
            Ok((self.0.attributes(&path)?, handle))
        });
        answer!(reply, made, (found, handle) => reply.created(&TTL_NONE, &found, Generation(0), handle, FopenFlags::empty()));
    }

    fn read(
        &self,
        _: &Request,
        _: INodeNo,
        handle: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        answer!(reply, self.0.read(handle, offset, size as usize), bytes => reply.data(&bytes));
    }

    fn write(
        &self,
        _: &Request,
        _: INodeNo,
        handle: FileHandle,
        offset: u64,
        data: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        answer!(reply, self.0.write(handle, offset, data), () => reply.written(data.len() as u32));
    }

    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        reply.ok();
    }

    fn release(
        &self,
        _: &Request,
        _: INodeNo,
        handle: FileHandle,
        _: OpenFlags,
        _: Option<LockOwner>,
        _: bool,
        reply: ReplyEmpty,
    ) {
        self.0.lock().open.remove(&handle.0);
        reply.ok();
    }

    fn fsync(&self, _: &Request, _: INodeNo, handle: FileHandle, _: bool, reply: ReplyEmpty) {
        answer!(reply, self.0.sync(handle), () => reply.ok());
    }

    fn fsyncdir(&self, _: &Request, ino: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        let done = self.0.path(ino).and_then(|path| self.0.meet(Op::Sync, &path));
        answer!(reply, done, _ => reply.ok());
    }

    fn fallocate(
        &self,
        _: &Request,
        _: INodeNo,
        handle: FileHandle,
        offset: u64,
        length: u64,
        mode: i32,
        reply: ReplyEmpty,
    ) {
        let done = self.0.allocate(handle, offset.saturating_add(length), mode);
        answer!(reply, done, () => reply.ok());
    }

    fn readdir(&self, _: &Request, ino: INodeNo, _: FileHandle, offset: u64, mut reply: ReplyDirectory) {
        match self.0.list(ino) {
            Ok(entries) => {
                let from = usize::try_from(offset).unwrap_or(usize::MAX);
                for ((number, kind, name), next) in entries.into_iter().zip(1..).skip(from) {
                    if reply.add(INodeNo(number), next, kind, name) {
                        break;
                    }
                }
                reply.ok();
            }
            Err(why) => reply.error(errno(&why)),
        }
    }

    fn statfs(&self, _: &Request, _: INodeNo, reply: ReplyStatfs) {
        let free = self.0.faults.room().unwrap_or(DISK_BYTES).min(DISK_BYTES) / BLOCK;
        reply.statfs(DISK_BYTES / BLOCK, free, free, 1 << 20, 1 << 19, BLOCK as u32, 255, BLOCK as u32);
    }

    fn access(&self, _: &Request, _: INodeNo, _: fuser::AccessFlags, reply: ReplyEmpty) {
        reply.ok();
    }
}
