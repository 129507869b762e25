//! Our own file systems in user space, which do what a broken disk does.
//!
//! Owns the connection to the kernel's FUSE and what both file systems have in common. Mounting needs root and
//! `/dev/fuse`, and no helper program.

pub mod image;
pub mod passthrough;

use anyhow::{Context, Result};
use fuser::{
    BackgroundSession, Config, Errno, FileAttr, FileType, Filesystem, INodeNo, MountOption, SessionACL,
};
use std::{
    io,
    path::Path,
    time::{Duration, UNIX_EPOCH},
};

/// How long the kernel may believe what it was told of names and attributes: nothing changes behind its back.
const TTL: Duration = Duration::from_secs(3600);

/// The kernel asks each time.
const TTL_NONE: Duration = Duration::ZERO;

/// Mounts a file system, to be served by threads of this process.
fn mount(file_system: impl Filesystem, at: &Path, name: &str, threads: usize) -> Result<BackgroundSession> {
    std::fs::create_dir_all(at).with_context(|| format!("make {}", at.display()))?;
    let mut config = Config::default();
    config.mount_options = vec![MountOption::FSName(name.into())];
    config.acl = SessionACL::All;
    config.n_threads = Some(threads);
    fuser::spawn_mount(file_system, at, &config)
        .with_context(|| format!("mount a FUSE file system at {}", at.display()))
}

/// What the kernel is told of an error.
fn errno(error: &io::Error) -> Errno {
    Errno::from_i32(error.raw_os_error().unwrap_or(rustix::io::Errno::IO.raw_os_error()))
}

/// Attributes of something that has no times and no owner but root.
fn attributes(ino: INodeNo, kind: FileType, size: u64) -> FileAttr {
    let (perm, nlink) = if kind == FileType::Directory { (0o755, 2) } else { (0o644, 1) };
    FileAttr {
        ino,
        size,
        blocks: size.div_ceil(512),
        atime: UNIX_EPOCH,
        mtime: UNIX_EPOCH,
        ctime: UNIX_EPOCH,
        crtime: UNIX_EPOCH,
        kind,
        perm,
        nlink,
        uid: 0,
        gid: 0,
        rdev: 0,
        blksize: 4096,
        flags: 0,
    }
}
