//! A file system with one file, which is a disk whose power can be cut.
//!
//! A loop device on that file makes it a block device: what the device is asked to flush arrives here as an
//! `fsync`. The kernel keeps no pages of it, so that every block that is written is here, or is nowhere.

use super::{TTL, attributes, errno, mount};
use crate::platter::Platter;
use anyhow::Result;
use fuser::{
    BackgroundSession, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation, INodeNo,
    LockOwner, OpenFlags, ReplyAttr, ReplyData, ReplyDirectory, ReplyEmpty, ReplyEntry, ReplyOpen,
    ReplyWrite, Request, WriteFlags,
};
use std::{
    ffi::OsStr,
    path::{Path, PathBuf},
    sync::Arc,
};

/// Name of the one file.
const NAME: &str = "disk";
const FILE: INodeNo = INodeNo(2);

/// The mounted file system; gone with it.
pub struct Image {
    path: PathBuf,
    _session: BackgroundSession,
}

impl Image {
    /// Mounts it at a directory, which is made.
    ///
    /// # Errors
    /// Without root or `/dev/fuse`.
    pub fn mount(platter: Arc<Platter>, at: &Path) -> Result<Image> {
        // One thread: requests are handled in the order in which the device sends them.
        let session = mount(OneFile { platter }, at, "kerolox-powercut-disk", 1)?;
        Ok(Image { path: at.join(NAME), _session: session })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

struct OneFile {
    platter: Arc<Platter>,
}

impl OneFile {
    fn attributes(&self, ino: INodeNo) -> Option<FileAttr> {
        match ino {
            INodeNo::ROOT => Some(attributes(ino, FileType::Directory, 0)),
            FILE => Some(attributes(ino, FileType::RegularFile, self.platter.len())),
            _ => None,
        }
    }
}

impl Filesystem for OneFile {
    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        match self.attributes(FILE) {
            Some(attributes) if parent == INodeNo::ROOT && name == NAME => {
                reply.entry(&TTL, &attributes, Generation(0));
            }
            _ => reply.error(Errno::ENOENT),
        }
    }

    fn getattr(&self, _: &Request, ino: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        match self.attributes(ino) {
            Some(attributes) => reply.attr(&TTL, &attributes),
            None => reply.error(Errno::ENOENT),
        }
    }

    fn open(&self, _: &Request, ino: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        match ino {
            FILE => reply.opened(FileHandle(0), FopenFlags::FOPEN_DIRECT_IO),
            _ => reply.error(Errno::EISDIR),
        }
    }

    fn read(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        match self.platter.read(offset, size as usize) {
            Ok(bytes) => reply.data(&bytes),
            Err(error) => reply.error(errno(&error)),
        }
    }

    fn write(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        offset: u64,
        data: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        match self.platter.write(offset, data) {
            Ok(written) => reply.written(u32::try_from(written).unwrap_or(0)),
            Err(error) => reply.error(errno(&error)),
        }
    }

    /// What a `close` asks: nothing to say, nothing is held back per handle.
    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        reply.ok();
    }

    fn fsync(&self, _: &Request, _: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        match self.platter.flush() {
            Ok(()) => reply.ok(),
            Err(error) => reply.error(errno(&error)),
        }
    }

    fn readdir(&self, _: &Request, _: INodeNo, _: FileHandle, offset: u64, mut reply: ReplyDirectory) {
        let entries = [
            (INodeNo::ROOT, FileType::Directory, "."),
            (INodeNo::ROOT, FileType::Directory, ".."),
            (FILE, FileType::RegularFile, NAME),
        ];
        for ((ino, kind, name), next) in
            entries.into_iter().zip(1..).skip(usize::try_from(offset).unwrap_or(3))
        {
            if reply.add(ino, next, kind, name) {
                break;
            }
        }
        reply.ok();
    }
}
