//! Small files, replaced as a whole or not at all.
//!
//! Owns the order of steps: write aside, sync, rename, sync the directory. After a crash at any step the
//! file is the old one or the new one, never a mixture and never missing. Knows no format: what counts as a
//! sound file is told by the caller's parser. Everything here touches the disk.
//!
//! Names beside a file `f`, as the original has them: `f.tmp` is the one being written, `f.bak` the one
//! before. The original reads `f.bak` when `f` is missing, empty or does not parse, and so do we.

use std::{
    fmt, io,
    path::{Path, PathBuf},
};

use crate::disk::{Disk, Open};

/// The largest file that is read as a small one, in bytes. A hundred thousand topics are 30 MB of JSON.
pub const SIZE_MAX: u64 = 256 << 20;

/// What becomes of the file that is replaced.
pub enum Backup<'a> {
    /// It is gone.
    No,
    /// It becomes `.bak` if this finds it sound. A damaged file never replaces the last good copy.
    Sound(&'a dyn Fn(&[u8]) -> bool),
}

/// Replaces a file. After `Ok` the new content survives a power cut.
///
/// The directory must exist. On an error the old file is untouched, and what was written aside may remain:
/// the next call overwrites it.
pub fn replace(disk: &dyn Disk, path: &Path, bytes: &[u8], backup: Backup<'_>) -> io::Result<()> {
    if let Backup::Sound(is_sound) = backup
        && let Some(old) = read(disk, path)?
        && old != bytes
        && is_sound(&old)
    {
        move_in(disk, &old, &beside(path, ".bak.tmp"), &beside(path, ".bak"))?;
    }
    move_in(disk, bytes, &beside(path, ".tmp"), path)?;
    disk.sync_dir(path.parent().unwrap_or(Path::new("")))
}

/// The rename waits for the sync: a rename may become durable before the data it names.
fn move_in(disk: &dyn Disk, bytes: &[u8], aside: &Path, path: &Path) -> io::Result<()> {
    let file = disk.open(aside, Open::Create)?;
    file.set_len(0)?;
    file.write_at(bytes, 0)?;
    file.sync()?;
    disk.rename(aside, path)
}

/// The content of a whole file; `None` when there is none.
///
/// # Errors
/// `InvalidData` above [`SIZE_MAX`].
pub fn read(disk: &dyn Disk, path: &Path) -> io::Result<Option<Vec<u8>>> {
    let file = match disk.open(path, Open::Read) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let len = file.len()?;
    if len > SIZE_MAX {
        let why = format!("{} has {len} bytes, more than a small file may ({SIZE_MAX})", path.display());
        return Err(io::Error::new(io::ErrorKind::InvalidData, why));
    }
    // Bounded by the check above, and by the file that is really there.
    let mut bytes = vec![0; usize::try_from(len).unwrap_or(0)];
    file.read_at(&mut bytes, 0)?;
    Ok(Some(bytes))
}

/// What [`load`] found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loaded<T> {
    /// The content; `None` when neither file holds any.
    pub value: Option<T>,
    /// Hash of the file that `value` came from.
    pub digest: Option<Digest>,
    /// What was wrong on the way, one line each; empty in ordinary times. A missing file is not wrong.
    pub problems: Vec<Problem>,
}

/// A file that could not be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Which file.
    pub path: PathBuf,
    /// Why, in words.
    pub why: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path.display(), self.why)
    }
}

/// Reads a file, or its `.bak` when it is missing, empty or does not parse.
///
/// Damage is never an error here: a broken file must not keep a broker from starting, and must not pass in
/// silence either, so it is listed in [`Loaded::problems`] for the caller to log. A main file that is missing
/// although there is a backup is listed too.
///
/// # Errors
/// Those of the disk only.
pub fn load<T, E: fmt::Display>(
    disk: &dyn Disk,
    path: &Path,
    parse: impl Fn(&[u8]) -> Result<T, E>,
) -> io::Result<Loaded<T>> {
    let mut problems = Vec::new();
    let mut missing = false;
    for path in [path.to_owned(), beside(path, ".bak")] {
        let why = match read(disk, &path) {
            Ok(None) => {
                missing = true;
                continue;
            }
            Ok(Some(bytes)) if bytes.is_empty() => "is empty".to_owned(),
            Ok(Some(bytes)) => match parse(&bytes) {
                Ok(value) => {
                    if missing {
                        problems.push(Problem {
                            path: path.clone(),
                            why: "used, the file itself is gone".into(),
                        });
                    }
                    return Ok(Loaded { value: Some(value), digest: Some(Digest::of(&bytes)), problems });
                }
                Err(error) => error.to_string(),
            },
            Err(error) if error.kind() == io::ErrorKind::InvalidData => error.to_string(),
            Err(error) => return Err(error),
        };
        problems.push(Problem { path, why });
    }
    Ok(Loaded { value: None, digest: None, problems })
}

/// The name of a companion of `path`.
pub fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// Tells whether a file is the one we wrote: length, CRC-32 and FNV-1a 64 of the content.
///
/// Against change by accident and by other programs, not against forgery.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Digest {
    /// Length in bytes.
    pub len: u64,
    /// CRC-32 (IEEE).
    pub crc: u32,
    /// FNV-1a, 64 bits.
    pub fnv: u64,
}

impl Digest {
    /// The digest of a content.
    pub fn of(bytes: &[u8]) -> Digest {
        let fnv = bytes.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3)
        });
        Digest { len: bytes.len() as u64, crc: crc32fast::hash(bytes), fnv }
    }

    /// As text: length, CRC and FNV in hexadecimal, joined by `-`.
    pub fn parse(text: &str) -> Option<Digest> {
        let mut parts = text.split('-');
        let mut part = || u64::from_str_radix(parts.next()?, 16).ok();
        let digest = Digest { len: part()?, crc: u32::try_from(part()?).ok()?, fnv: part()? };
        (digest.to_string() == text).then_some(digest)
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}-{:08x}-{:016x}", self.len, self.crc, self.fnv)
    }
}
