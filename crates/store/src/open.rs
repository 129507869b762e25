//! Why a store cannot be opened, said so that the reader knows what to do.

use crate::disk::around::is_out_of_files;
use std::{fmt, io, ops::Range, path::PathBuf};

/// Why a store cannot be opened. Nothing was changed.
#[derive(Debug)]
pub struct OpenError {
    /// The file or directory it is about.
    pub path: PathBuf,
    /// What is wrong.
    pub cause: Cause,
}

/// What is wrong with a store directory.
#[derive(Debug)]
pub enum Cause {
    /// Another process has it.
    Locked,
    /// The system refused.
    Io(io::Error),
    /// A file that no store has there: its name, quoted, and what is wrong with it if the name is not.
    Foreign(String),
    /// Files of different sizes, or of an impossible size.
    Sizes {
        /// What was found.
        found: u64,
        /// What the others have.
        wanted: u64,
    },
    /// A file is missing between two others.
    Gap {
        /// Name of the missing file.
        missing: String,
    },
    /// The log is gone, but what is beside it knows of one.
    LogGone {
        /// It reached so far.
        upto: u64,
    },
    /// The disk cannot read a part of the log at its end, and whether messages stand there cannot be told.
    Unreadable {
        /// Positions in the log.
        part: Range<u64>,
        /// Of the store.
        root: PathBuf,
    },
    /// An option makes no sense.
    Option(&'static str),
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.display();
        match &self.cause {
            Cause::Locked => write!(
                f,
                "the store {path} is in use by another broker: stop that one, or set storePathRootDir to another \
                 directory"
            ),
            Cause::Io(why) if why.kind() == io::ErrorKind::PermissionDenied => {
                write!(
                    f,
                    "the store needs to read and write {path}: {why}; change its owner or storePathRootDir"
                )
            }
            Cause::Io(why) if why.kind() == io::ErrorKind::NotADirectory => {
                write!(f, "the store {path} is a file or lies below one: set storePathRootDir to a directory")
            }
            Cause::Io(why) if is_full(why.kind()) => {
                write!(
                    f,
                    "the store {path} cannot be opened: {why}; make room there or set storePathRootDir to another \
                     disk"
                )
            }
            Cause::Io(why) if is_out_of_files(why) => {
                write!(
                    f,
                    "the store {path} cannot be opened: {why}; allow more files (ulimit -n, LimitNOFILE)"
                )
            }
            Cause::Io(why) if why.kind() == io::ErrorKind::ReadOnlyFilesystem => {
                write!(
                    f,
                    "the store {path} is on a read-only file system: set storePathRootDir to another one"
                )
            }
            Cause::Io(why) => write!(
                f,
                "cannot open the store at {path}: {why}; look at that disk, or set storePathRootDir to another \
                 directory"
            ),
            Cause::Foreign(name) => write!(
                f,
                "{path} holds {name}, which is no file of a message store: is this the right directory? Move it \
                 away or set storePathRootDir to another directory"
            ),
            Cause::Sizes { found, wanted } => write!(
                f,
                "{path} has {found} bytes where {wanted} are expected: was it cut or copied incompletely? Restore \
                 it, or move it out of the store"
            ),
            Cause::Gap { missing } => write!(
                f,
                "{path} lacks the file {missing} between others: restore it, or move the files before it out of \
                 the store"
            ),
            Cause::LogGone { upto } => write!(
                f,
                "{path} is empty, but the store beside it knows a log of {upto} bytes: is the disk of the log \
                 mounted? To begin anew, empty the whole store directory"
            ),
            Cause::Unreadable { part, root } => write!(
                f,
                "the disk cannot read {} bytes of {path}, from {} of the log on, where it ends, and nobody can tell \
                 whether messages stand there: if the disk may come round (a cable, a controller), see to that first; \
                 else give them up with `kerolox store repair {} --apply`, which keeps the file as it is and copies \
                 all that can be read, and start again",
                part.end - part.start,
                part.start,
                root.display()
            ),
            Cause::Option(what) => write!(f, "cannot open the store at {path}: {what}"),
        }
    }
}
impl std::error::Error for OpenError {}

/// Whether the disk, a quota or a limit of the process leaves no room.
fn is_full(kind: io::ErrorKind) -> bool {
    matches!(kind, io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge)
}

impl OpenError {
    /// `dir` holds something that is no part of a store.
    pub(crate) fn foreign(dir: impl Into<PathBuf>, name: &str, why: Option<&str>) -> OpenError {
        let why = why.map(|why| format!(" ({why})")).unwrap_or_default();
        OpenError::new(dir, Cause::Foreign(format!("{name:?}{why}")))
    }
    pub(crate) fn new(path: impl Into<PathBuf>, cause: Cause) -> OpenError {
        OpenError { path: path.into(), cause }
    }
    /// For `map_err`.
    pub(crate) fn io(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> OpenError {
        let path = path.into();
        move |why| OpenError::new(path, Cause::Io(why))
    }
}
