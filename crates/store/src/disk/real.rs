//! The operating system's disk.
//!
//! Owns file descriptors and the store lock. The only file of this crate that may talk to the operating
//! system; knows nothing of what the files mean. Everything here may block.

#![expect(clippy::disallowed_methods, reason = "the real implementation of the Disk trait")]

use std::{
    io::{self, IoSliceMut},
    num::NonZeroU64,
    os::fd::{AsFd, AsRawFd, OwnedFd},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
};

use rustix::{
    fs::{self, Access, Advice, AtFlags, Dir, FallocateFlags, FileType, FlockOperation, Mode, OFlags},
    io::{Errno, ReadWriteFlags},
};

use super::{DIRECT_ALIGN, DirEntry, Disk, File, Open, Space, around::read_around};

/// How far apart the pages are that [`File::is_resident`] looks at. The kernel reads ahead in larger units,
/// so a range whose samples are all there is there, but for rare luck.
const RESIDENCY_STEP: u64 = 64 << 10;

/// Files are written by the process's user and read by its group and others, as a JVM makes them.
const FILE_MODE: Mode = Mode::from_raw_mode(0o644);
const DIR_MODE: Mode = Mode::from_raw_mode(0o755);

/// Files locked by this process, as (device, inode).
///
/// A POSIX lock belongs to the process: a second one is granted, and closing *any* descriptor of the file
/// drops the first. So a file that is already locked here must not even be opened again.
static LOCKED: Mutex<Vec<(u64, u64)>> = Mutex::new(Vec::new());

/// Files below the paths it is given.
#[derive(Debug, Clone)]
pub struct RealDisk {
    boot_id: String,
}

impl RealDisk {
    /// Reads the boot id; where the system has none, an empty text, which equals no recorded one.
    pub fn new() -> RealDisk {
        RealDisk { boot_id: read_boot_id().unwrap_or_default() }
    }
}

impl Default for RealDisk {
    fn default() -> Self {
        RealDisk::new()
    }
}

impl Disk for RealDisk {
    fn open(&self, path: &Path, how: Open) -> io::Result<Arc<dyn File>> {
        let flags = match how {
            Open::Read => OFlags::RDONLY,
            Open::Write => OFlags::RDWR,
            Open::Create => OFlags::RDWR | OFlags::CREATE,
        };
        let fd = open(path, flags).map_err(|error| explain(error, "open", path))?;
        // Only for reading can a directory be opened.
        if how == Open::Read && FileType::from_raw_mode(fs::fstat(&fd)?.st_mode) == FileType::Directory {
            return Err(io::Error::from(Errno::ISDIR));
        }
        Ok(Arc::new(RealFile { fd, path: path.to_owned(), around: OnceLock::new(), probe: OnceLock::new() }))
    }

    fn create_sized(&self, path: &Path, len: u64) -> io::Result<Arc<dyn File>> {
        match make_sized(path, len) {
            Some(fd) => Ok(Arc::new(RealFile {
                fd,
                path: path.to_owned(),
                around: OnceLock::new(),
                probe: OnceLock::new(),
            })),
            None => {
                let file = self.open(path, Open::Create)?;
                if file.len()? != len {
                    file.set_len(len)?;
                }
                Ok(file)
            }
        }
    }

    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        match fs::mkdir(path, DIR_MODE) {
            Ok(()) => Ok(()),
            Err(Errno::EXIST) => match FileType::from_raw_mode(fs::stat(path)?.st_mode) {
                FileType::Directory => Ok(()),
                _ => Err(io::Error::from(Errno::NOTDIR)),
            },
            Err(Errno::NOENT) => {
                let parent = path.parent().filter(|p| !p.as_os_str().is_empty());
                self.create_dir_all(parent.ok_or(io::Error::from(Errno::NOENT))?)?;
                match fs::mkdir(path, DIR_MODE) {
                    // Someone else made it meanwhile.
                    Ok(()) | Err(Errno::EXIST) => Ok(()),
                    Err(error) => Err(error.into()),
                }
            }
            Err(error) => Err(error.into()),
        }
    }

    fn list(&self, path: &Path) -> io::Result<Vec<DirEntry>> {
        let fd = open_dir(path)?;
        let mut entries = Vec::new();
        for entry in Dir::read_from(&fd)? {
            let entry = entry?;
            let name = entry.file_name();
            if name.to_bytes() == b"." || name.to_bytes() == b".." {
                continue;
            }
            let stat = match fs::statat(&fd, name, AtFlags::empty()) {
                Ok(stat) => stat,
                // Removed since the directory was read, or a link to nothing.
                Err(Errno::NOENT) => continue,
                Err(error) => return Err(error.into()),
            };
            entries.push(DirEntry {
                name: name.to_string_lossy().into_owned(),
                is_dir: FileType::from_raw_mode(stat.st_mode) == FileType::Directory,
                len: u64::try_from(stat.st_size).unwrap_or(0),
            });
        }
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(entries)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        Ok(fs::rename(from, to)?)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        Ok(fs::unlink(path)?)
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        Ok(fs::rmdir(path)?)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        Ok(fs::fsync(open_dir(path)?)?)
    }

    #[cfg(target_os = "linux")]
    fn sync_all(&self, path: &Path) -> io::Result<bool> {
        fs::syncfs(open_dir(path)?)?;
        Ok(true)
    }

    fn space(&self, path: &Path) -> io::Result<Space> {
        let stat = fs::statvfs(path)?;
        // Blocks reserved for root, or otherwise out of reach, are neither used nor free: counting them as used
        // would refuse writes on a disk that `df` calls a quarter full.
        let used = stat.f_blocks.saturating_sub(stat.f_bfree);
        Ok(Space {
            total: used.saturating_add(stat.f_bavail).saturating_mul(stat.f_frsize),
            free: stat.f_bavail.saturating_mul(stat.f_frsize),
        })
    }

    /// Locks as a JVM's `FileLock` does, so that the original and Kerolox exclude each other, and writes the
    /// word `lock` into the file, as the original does.
    fn lock(&self, path: &Path) -> io::Result<Box<dyn Send + Sync>> {
        let mut locked = locked();
        if let Ok(stat) = fs::stat(path)
            && locked.contains(&(stat.st_dev, stat.st_ino))
        {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let fd = open(path, OFlags::RDWR | OFlags::CREATE)?;
        match fs::fcntl_lock(&fd, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            // POSIX allows either answer.
            Err(Errno::AGAIN | Errno::ACCESS) => return Err(io::ErrorKind::WouldBlock.into()),
            Err(error) => return Err(error.into()),
        }
        let stat = fs::fstat(&fd)?;
        if stat.st_size == 0 {
            write_all(&fd, b"lock", 0)?;
            fs::fdatasync(&fd)?;
        }
        let id = (stat.st_dev, stat.st_ino);
        locked.push(id);
        Ok(Box::new(Lock { fd: Some(fd), id }))
    }

    fn boot_id(&self) -> String {
        self.boot_id.clone()
    }
}

struct Lock {
    fd: Option<OwnedFd>,
    id: (u64, u64),
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Closed while the list is held: closing after another thread of this process locked the file anew
        // would drop that lock.
        let mut locked = locked();
        drop(self.fd.take());
        locked.retain(|id| *id != self.id);
    }
}

fn locked() -> MutexGuard<'static, Vec<(u64, u64)>> {
    LOCKED.lock().unwrap_or_else(PoisonError::into_inner)
}

#[derive(Debug)]
struct RealFile {
    fd: OwnedFd,
    path: PathBuf,
    /// The same file, opened to go past the page cache; `None` where that does not work.
    around: OnceLock<Option<OwnedFd>>,
    /// The same file, opened to ask what of it is in memory.
    probe: OnceLock<Option<OwnedFd>>,
}

impl File for RealFile {
    fn read_at(&self, mut buf: &mut [u8], mut at: u64) -> io::Result<()> {
        while !buf.is_empty() {
            match rustix::io::pread(&self.fd, &mut *buf, at) {
                Ok(0) => return Err(self.explain(io::ErrorKind::UnexpectedEof.into(), "read", at)),
                Ok(n) => {
                    at += n as u64;
                    buf = buf.get_mut(n..).unwrap_or_default();
                }
                Err(Errno::INTR) => {}
                Err(error) => return Err(self.explain(error.into(), "read", at)),
            }
        }
        Ok(())
    }

    /// One call that reads and tells: asking first would cost as much as a small read.
    fn read_cached(&self, buf: &mut [u8], at: u64) -> io::Result<bool> {
        let wanted = buf.len();
        match rustix::io::preadv2(&self.fd, &mut [IoSliceMut::new(buf)], at, ReadWriteFlags::NOWAIT) {
            Ok(n) if n == wanted => Ok(true),
            // The rest is on the device, or behind the file's end, which a real read will say.
            Ok(_) | Err(Errno::AGAIN | Errno::INTR) => Ok(false),
            // Not every file system can tell.
            Err(_) => self.read_at(buf, at).map(|()| true),
        }
    }

    fn read_direct(&self, mut buf: &mut [u8], mut at: u64) -> io::Result<bool> {
        let aligned = |n: usize| n.is_multiple_of(DIRECT_ALIGN);
        if !aligned(buf.as_ptr().addr()) || !aligned(buf.len()) || !at.is_multiple_of(DIRECT_ALIGN as u64) {
            return Ok(false);
        }
        let Some(fd) = self.around.get_or_init(|| self.open_around()) else { return Ok(false) };
        while !buf.is_empty() {
            match rustix::io::pread(fd, &mut *buf, at) {
                // Not less than a block but at the end of the file.
                Ok(n) if n == 0 || !aligned(n) => {
                    return Err(self.explain(io::ErrorKind::UnexpectedEof.into(), "read", at));
                }
                Ok(n) => {
                    at += n as u64;
                    buf = buf.get_mut(n..).unwrap_or_default();
                }
                Err(Errno::INTR) => {}
                // Some devices want more than was promised them.
                Err(Errno::INVAL) => return Ok(false),
                Err(error) => return Err(self.explain(error.into(), "read", at)),
            }
        }
        Ok(true)
    }

    fn write_at(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        write_all(&self.fd, bytes, at).map_err(|error| self.explain(error, "write", at))
    }

    fn write_zeros(&self, at: u64, len: u64) -> io::Result<()> {
        let len = usize::try_from(len).map_err(|_| io::ErrorKind::InvalidInput)?;
        let room = vec![0u8; len + DIRECT_ALIGN];
        let skip = room.as_ptr().align_offset(DIRECT_ALIGN);
        let zeros = room.get(skip..skip + len).or(room.get(..len)).unwrap_or(&[]);
        match self.around.get_or_init(|| self.open_around()) {
            // A refusal of the alignment comes before anything is written.
            Some(fd) => match write_all(fd, zeros, at) {
                Err(error) if error.kind() == io::ErrorKind::InvalidInput => self.write_at(zeros, at),
                result => result.map_err(|error| self.explain(error, "write zeros", at)),
            },
            None => self.write_at(zeros, at),
        }
    }

    fn sync(&self) -> io::Result<()> {
        // Never repeated, not even when interrupted: after a failure the kernel may call the pages clean.
        fs::fdatasync(&self.fd).map_err(|error| self.explain(error.into(), "sync", 0))
    }

    fn len(&self) -> io::Result<u64> {
        let size = fs::fstat(&self.fd)?.st_size;
        u64::try_from(size).map_err(|_| io::Error::from(io::ErrorKind::InvalidData))
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        fs::ftruncate(&self.fd, len).map_err(|error| self.explain(error.into(), "set the length", len))
    }

    fn clear(&self, at: u64, len: u64) -> io::Result<()> {
        let punch = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        loop {
            match fs::fallocate(&self.fd, punch, at, len) {
                Ok(()) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => return self.clear_by_writing(at, len),
                Err(error) => return Err(self.explain(error.into(), "clear", at)),
            }
        }
    }

    fn allocate(&self, at: u64, len: u64) -> io::Result<()> {
        loop {
            match fs::fallocate(&self.fd, FallocateFlags::empty(), at, len) {
                // A file system that cannot reserve says so when a write finds no room.
                Ok(()) | Err(Errno::OPNOTSUPP | Errno::NOSYS) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(error) => return Err(self.explain(error.into(), "allocate", at)),
            }
        }
    }

    /// Looks at the first and the last byte and every 64 KiB between, without copying the rest.
    fn is_resident(&self, at: u64, len: u64) -> Option<bool> {
        let last = at.checked_add(len.checked_sub(1)?)?;
        let mut probe = at;
        loop {
            if !self.is_byte_resident(probe)? {
                return Some(false);
            }
            if probe == last {
                return Some(true);
            }
            probe = probe.saturating_add(RESIDENCY_STEP).min(last);
        }
    }

    fn advise(&self, at: u64, len: u64, wanted: bool) {
        let advice = if wanted { Advice::WillNeed } else { Advice::DontNeed };
        if let Some(len) = NonZeroU64::new(len) {
            // A hint: nothing depends on it, so a refusal is of no interest.
            let _ = fs::fadvise(&self.fd, at, Some(len), advice);
        }
    }
}

/// Bytes looked at and written at once where a range cannot be given back.
const CLEAR_BYTES: u64 = 1 << 20;

impl RealFile {
    /// For file systems without holes. What is zero already is left alone.
    fn clear_by_writing(&self, at: u64, len: u64) -> io::Result<()> {
        let end = at.saturating_add(len).min(self.len()?);
        let mut from = at;
        let mut window = Vec::new();
        while from < end {
            let n = CLEAR_BYTES.min(end - from);
            window.resize(n as usize, 0);
            // What the device does not give is written over as well.
            let is_read = read_around(self, &mut window, from)?.is_empty();
            if !is_read || window.iter().any(|byte| *byte != 0) {
                window.fill(0);
                self.write_at(&window, from)?;
            }
            from += n;
        }
        Ok(())
    }

    fn explain(&self, error: io::Error, verb: &str, at: u64) -> io::Error {
        explain(error, &format!("{verb} at byte {at} of"), &self.path)
    }

    fn open_around(&self) -> Option<OwnedFd> {
        self.again(open(&self.path, OFlags::RDWR | OFlags::DIRECT))
            .or_else(|| self.again(open(&self.path, OFlags::RDONLY | OFlags::DIRECT)))
    }

    /// For a byte that is not in memory a plain file would be read ahead of that byte, megabytes of it, although nobody
    /// waits; of this one only the byte's page is.
    fn open_probe(&self) -> Option<OwnedFd> {
        let fd = self.again(open(&self.path, OFlags::RDONLY))?;
        fs::fadvise(&fd, 0, None, Advice::Random).ok()?;
        Some(fd)
    }

    /// Another descriptor of this file; the name may belong to another file by now.
    fn again(&self, opened: io::Result<OwnedFd>) -> Option<OwnedFd> {
        let fd = opened.ok()?;
        let (ours, there) = (fs::fstat(&self.fd).ok()?, fs::fstat(&fd).ok()?);
        (ours.st_dev == there.st_dev && ours.st_ino == there.st_ino).then_some(fd)
    }

    fn is_byte_resident(&self, at: u64) -> Option<bool> {
        let fd = self.probe.get_or_init(|| self.open_probe()).as_ref().unwrap_or(&self.fd);
        let mut byte = [0];
        loop {
            let bufs = &mut [IoSliceMut::new(&mut byte)];
            match rustix::io::preadv2(fd, bufs, at, ReadWriteFlags::NOWAIT) {
                // Past the end there is nothing to read from the device.
                Ok(_) => return Some(true),
                Err(Errno::AGAIN) => return Some(false),
                Err(Errno::INTR) => {}
                Err(_) => return None,
            }
        }
    }
}

/// The same error with what was tried where, which is what someone who must act needs.
fn explain(error: io::Error, verb: &str, path: &Path) -> io::Error {
    io::Error::new(error.kind(), OsFailure { text: format!("{verb} {}", path.display()), error })
}

/// What failed where; the operating system's own error is the source.
#[derive(Debug)]
struct OsFailure {
    text: String,
    error: io::Error,
}

impl std::fmt::Display for OsFailure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.text, self.error)
    }
}

impl std::error::Error for OsFailure {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.error)
    }
}

fn open(path: &Path, flags: OFlags) -> io::Result<OwnedFd> {
    loop {
        match fs::open(path, flags | OFlags::CLOEXEC, FILE_MODE) {
            Ok(fd) => return Ok(fd),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Makes a file without a name, and names it when it has its length. `None` where the file system cannot, where
/// there is no `/proc`, when the name is taken, and for every other failure: the plain way will say what is wrong.
#[cfg(target_os = "linux")]
fn make_sized(path: &Path, len: u64) -> Option<OwnedFd> {
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if fs::access(path, Access::EXISTS).is_ok() {
        return None;
    }
    let fd = open(dir, OFlags::RDWR | OFlags::TMPFILE).ok()?;
    fs::ftruncate(&fd, len).ok()?;
    let unnamed = format!("/proc/self/fd/{}", fd.as_raw_fd());
    fs::linkat(fs::CWD, unnamed, fs::CWD, path, AtFlags::SYMLINK_FOLLOW).ok()?;
    Some(fd)
}

#[cfg(not(target_os = "linux"))]
fn make_sized(_: &Path, _: u64) -> Option<OwnedFd> {
    None
}

fn open_dir(path: &Path) -> io::Result<OwnedFd> {
    open(path, OFlags::RDONLY | OFlags::DIRECTORY)
}

/// Writes all or fails. A short write is followed by another call only to learn its cause: the kernel
/// reports a full disk on the call after the one that it cut short.
fn write_all(fd: impl AsFd, mut bytes: &[u8], mut at: u64) -> io::Result<()> {
    while !bytes.is_empty() {
        match rustix::io::pwrite(&fd, bytes, at) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(n) => {
                at += n as u64;
                bytes = bytes.get(n..).unwrap_or_default();
            }
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

fn read_boot_id() -> io::Result<String> {
    let fd = open(Path::new("/proc/sys/kernel/random/boot_id"), OFlags::RDONLY)?;
    let mut text = [0; 64];
    let n = rustix::io::pread(&fd, &mut text[..], 0)?;
    let text = String::from_utf8_lossy(text.get(..n).unwrap_or_default());
    Ok(text.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A directory of this test's own, removed when it ends.
    struct Scratch(PathBuf);

    impl Scratch {
        fn new(name: &str) -> Scratch {
            let dir = std::env::temp_dir().join(format!("kerolox-real-{name}-{}", std::process::id()));
            let scratch = Scratch(dir);
            scratch.clear();
            RealDisk::new().create_dir_all(&scratch.0).expect("mkdir");
            scratch
        }

        fn path(&self, name: &str) -> PathBuf {
            self.0.join(name)
        }

        fn clear(&self) {
            remove_all(&RealDisk::new(), &self.0);
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            self.clear();
        }
    }

    #[test]
    fn clearing_a_range_keeps_the_length_and_the_rest() {
        let scratch = Scratch::new("clear");
        let file = RealDisk::new().open(&scratch.path("f"), Open::Create).expect("create");
        let read = |n: usize| {
            let mut bytes = vec![0; n];
            file.read_at(&mut bytes, 0).expect("read");
            bytes
        };
        let path = scratch.path("f");
        let fd = open(&path, OFlags::RDWR).expect("open");
        let raw = RealFile { fd, path, around: OnceLock::new(), probe: OnceLock::new() };
        for way in [true, false] {
            file.write_at(&[7; 20_000], 0).expect("write");
            if way { file.clear(5_000, 15_000) } else { raw.clear_by_writing(5_000, 15_000) }.expect("clear");
            assert_eq!(file.len().expect("len"), 20_000);
            let bytes = read(20_000);
            assert!(bytes[..5_000].iter().all(|b| *b == 7) && bytes[5_000..].iter().all(|b| *b == 0));
        }
    }

    fn remove_all(disk: &RealDisk, dir: &Path) {
        for entry in disk.list(dir).unwrap_or_default() {
            let path = dir.join(&entry.name);
            match entry.is_dir {
                true => remove_all(disk, &path),
                false => disk.remove(&path).expect("remove"),
            }
        }
        // Absent the first time.
        let _ = disk.remove_dir(dir);
    }

    #[test]
    fn zeros_replace_what_was_there_and_nothing_else() {
        let scratch = Scratch::new("zeros");
        let disk = RealDisk::new();
        let file = disk.open(&scratch.path("f"), Open::Create).expect("create");
        file.write_at(&[7; 5 * 4096], 0).expect("write");
        file.write_zeros(4096, 3 * 4096).expect("zeros over pages that wait to be written");
        file.write_zeros(4096, 0).expect("nothing to do");
        file.sync().expect("sync");
        let mut bytes = [1; 5 * 4096];
        file.read_at(&mut bytes, 0).expect("read");
        let zeros = |range: std::ops::Range<usize>| bytes[range].iter().all(|b| *b == 0);
        assert!(zeros(4096..4 * 4096), "also where the page cache held something else");
        assert!(bytes[..4096].iter().chain(&bytes[4 * 4096..]).all(|b| *b == 7));
        // The name leads to another file now: that one is left alone.
        let other = disk.open(&scratch.path("g"), Open::Create).expect("create");
        other.write_at(&[9; 8192], 0).expect("write");
        let unnamed = disk.open(&scratch.path("h"), Open::Create).expect("create");
        unnamed.write_at(&[7; 8192], 0).expect("write");
        disk.rename(&scratch.path("g"), &scratch.path("h")).expect("rename over it");
        unnamed.write_zeros(0, 4096).expect("zeros");
        let mut head = [1; 4096];
        unnamed.read_at(&mut head, 0).expect("read");
        assert_eq!(head, [0; 4096]);
        other.read_at(&mut head, 0).expect("read");
        assert_eq!(head, [9; 4096]);
    }

    #[test]
    fn files_are_written_read_cut_and_listed() {
        let scratch = Scratch::new("files");
        let disk = RealDisk::new();
        let path = scratch.path("f");
        assert_eq!(disk.open(&path, Open::Write).expect_err("missing").kind(), io::ErrorKind::NotFound);
        let file = disk.open(&path, Open::Create).expect("create");
        assert!(file.is_empty().expect("len"));
        file.write_at(b"hello", 4096).expect("write");
        file.sync().expect("sync");
        assert_eq!(file.len().expect("len"), 4101);
        let again = disk.open(&path, Open::Create).expect("open again, without cutting it");
        let mut buf = [1; 6];
        again.read_at(&mut buf, 4095).expect("read");
        assert_eq!(&buf, b"\0hello");
        let error = again.read_at(&mut buf, 4096).expect_err("beyond the end");
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
        assert!(error.to_string().contains("kerolox-real-files"), "{error} does not name the file");
        again.set_len(10).expect("cut");
        again.allocate(0, 1 << 16).expect("allocate");
        assert_eq!(file.len().expect("len"), 1 << 16);
        file.advise(0, 1 << 16, true);
        file.advise(0, 1 << 16, false);
        let read_only = disk.open(&path, Open::Read).expect("open");
        assert!(read_only.write_at(b"x", 0).is_err());
        disk.create_dir_all(&scratch.path("a/b/c")).expect("mkdir");
        disk.create_dir_all(&scratch.path("a/b/c")).expect("again");
        assert!(disk.create_dir_all(&scratch.path("f/d")).is_err(), "below a file");
        let entry = |name: &str, is_dir, len| DirEntry { name: name.into(), is_dir, len };
        let mut entries = disk.list(&scratch.0).expect("list");
        entries.iter_mut().filter(|entry| entry.is_dir).for_each(|entry| entry.len = 0);
        assert_eq!(entries, [entry("a", true, 0), entry("f", false, 1 << 16)]);
        assert!(disk.open(&scratch.path("a"), Open::Read).is_err(), "a directory is no file");
        disk.rename(&path, &scratch.path("a/g")).expect("rename");
        disk.sync_dir(&scratch.path("a")).expect("sync");
        disk.remove(&scratch.path("a/g")).expect("remove");
        assert_eq!(disk.remove(&path).expect_err("gone").kind(), io::ErrorKind::NotFound);
        assert_eq!(disk.list(&scratch.path("nope")).expect_err("gone").kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn a_file_is_made_with_its_length_and_one_that_is_there_is_kept() {
        let scratch = Scratch::new("sized");
        let disk = RealDisk::new();
        let file = disk.create_sized(&scratch.path("f"), 1 << 20).expect("create");
        assert_eq!(file.len().expect("len"), 1 << 20);
        file.write_at(b"kept", 100).expect("write");
        for len in [1 << 20, 2 << 20] {
            let again = disk.create_sized(&scratch.path("f"), len).expect("open");
            assert_eq!(again.len().expect("len"), len);
            let mut bytes = [0; 4];
            again.read_at(&mut bytes, 100).expect("read");
            assert_eq!(&bytes, b"kept");
        }
        let mode = |name: &str| fs::stat(scratch.path(name)).expect("stat").st_mode;
        disk.open(&scratch.path("plain"), Open::Create).expect("create");
        assert_eq!(mode("f"), mode("plain"), "readable by the same");
        assert_eq!(disk.list(&scratch.0).expect("list").len(), 2, "nothing else is left");
        let error = disk.create_sized(&scratch.path("none/f"), 1).err().map(|error| error.kind());
        assert_eq!(error, Some(io::ErrorKind::NotFound));
    }

    #[test]
    fn what_was_just_written_is_resident() {
        let scratch = Scratch::new("resident");
        let file = RealDisk::new().open(&scratch.path("f"), Open::Create).expect("create");
        file.write_at(&[1; 300_000], 0).expect("write");
        // Not every file system can tell; none may say no.
        assert_ne!(file.is_resident(0, 300_000), Some(false));
        assert_eq!(file.is_resident(0, 0), None);
        assert_eq!(file.is_resident(u64::MAX, 2), None);
    }

    #[test]
    fn the_disk_has_room_and_a_boot() {
        let disk = RealDisk::new();
        let space = disk.space(&std::env::temp_dir()).expect("space");
        assert!(space.total > 0 && space.free <= space.total);
        assert_eq!(disk.boot_id(), RealDisk::new().boot_id());
        assert_eq!(disk.boot_id().len(), 36, "a UUID on Linux");
    }

    #[test]
    fn the_lock_excludes_within_the_process_and_is_not_dropped_by_the_second_try() {
        let scratch = Scratch::new("lock");
        let disk = RealDisk::new();
        let path = scratch.path("lock");
        let held = disk.lock(&path).expect("free");
        for _ in 0..2 {
            assert_eq!(disk.lock(&path).err().map(|e| e.kind()), Some(io::ErrorKind::WouldBlock));
        }
        assert!(is_locked_for_others(&path), "the kernel no longer holds it");
        drop(held);
        assert!(!is_locked_for_others(&path));
        let held = disk.lock(&path).expect("free again");
        let mut text = [0; 4];
        drop(held);
        let file = disk.open(&path, Open::Read).expect("open");
        file.read_at(&mut text, 0).expect("read");
        assert_eq!((&text, file.len().expect("len")), (b"lock", 4));
    }

    /// As the kernel lists it: a process cannot ask itself, it holds its own locks.
    fn is_locked_for_others(path: &Path) -> bool {
        let inode = fs::stat(path).expect("stat").st_ino;
        let fd = open(Path::new("/proc/locks"), OFlags::RDONLY).expect("open");
        let mut text = Vec::new();
        let mut buf = [0; 4096];
        loop {
            match rustix::io::read(&fd, &mut buf).expect("read") {
                0 => break,
                n => text.extend(&buf[..n]),
            }
        }
        let needle = format!(":{inode} ");
        String::from_utf8_lossy(&text).lines().any(|line| line.contains("POSIX") && line.contains(&needle))
    }
}
