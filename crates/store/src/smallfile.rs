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

use crate::disk::{
    Disk, Open,
    around::{is_bad_sector, told_from_writes},
};

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
        && let Some(old) = read_if_readable(disk, path)?
        && old != bytes
        && is_sound(&old)
    {
        move_in(disk, &old, &beside(path, ".bak.tmp"), &beside(path, ".bak"))?;
    }
    move_in(disk, bytes, &beside(path, ".tmp"), path)?;
    if mutant!(SmallDirSyncSkipped) {
        return Ok(());
    }
    disk.sync_dir(path.parent().unwrap_or(Path::new("")))
}

/// As [`read`]; what the disk cannot read is as good as none.
fn read_if_readable(disk: &dyn Disk, path: &Path) -> io::Result<Option<Vec<u8>>> {
    match read(disk, path) {
        Err(why) if is_bad_sector(&why) => Ok(None),
        read => read,
    }
}

/// The rename waits for the sync: a rename may become durable before the data it names.
fn move_in(disk: &dyn Disk, bytes: &[u8], aside: &Path, path: &Path) -> io::Result<()> {
    let aside = if mutant!(ReplacedInPlace) { path } else { aside };
    let file = disk.open(aside, Open::Create)?;
    file.set_len(0)?;
    file.write_at(bytes, 0)?;
    file.sync()?;
    if mutant!(DeleteThenRename) && read(disk, path)?.is_some() {
        disk.remove(path)?;
        disk.sync_dir(path.parent().unwrap_or(Path::new("")))?;
    }
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
    told_from_writes(file.read_at(&mut bytes, 0))?;
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
    /// What is to be done about it.
    pub kind: ProblemKind,
}

/// What kind of problem a file has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProblemKind {
    /// The file itself is gone; this is its sound backup.
    Gone,
    /// It is empty.
    Empty,
    /// It holds something that does not parse.
    Broken,
    /// The disk cannot read it.
    Unreadable,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path.display(), self.why)
    }
}

/// Reads a file, or its `.bak` when it is missing, empty or does not parse.
///
/// Damage is never an error here, nor is a bad sector: a broken file must not keep a broker from starting, and must
/// not pass in silence either, so it is listed in [`Loaded::problems`] for the caller to log. A main file that is
/// missing although there is a backup is listed too.
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
        let (kind, why) = match read(disk, &path) {
            Ok(None) => {
                missing = true;
                continue;
            }
            Ok(Some(bytes)) if bytes.is_empty() => (ProblemKind::Empty, "is empty".to_owned()),
            Ok(Some(bytes)) => match parse(&bytes) {
                Ok(value) => {
                    if missing {
                        problems.push(Problem {
                            path: path.clone(),
                            why: "used, the file itself is gone".into(),
                            kind: ProblemKind::Gone,
                        });
                    }
                    return Ok(Loaded { value: Some(value), digest: Some(Digest::of(&bytes)), problems });
                }
                Err(error) => (ProblemKind::Broken, error.to_string()),
            },
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                (ProblemKind::Broken, error.to_string())
            }
            Err(error) if is_bad_sector(&error) => {
                (ProblemKind::Unreadable, format!("the disk cannot read it ({error})"))
            }
            Err(error) => return Err(error),
        };
        problems.push(Problem { path, why, kind });
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::disk::memory::{Call, Fault, Harm, MemDisk};

    fn path() -> &'static Path {
        Path::new("config/f.json")
    }

    /// Content that says of itself whether it is whole.
    fn parse(bytes: &[u8]) -> Result<String, String> {
        let text = String::from_utf8_lossy(bytes);
        match text.strip_prefix('<').and_then(|rest| rest.strip_suffix('>')) {
            Some(inner) => Ok(inner.to_owned()),
            None => Err("is torn".to_owned()),
        }
    }

    fn is_sound(bytes: &[u8]) -> bool {
        parse(bytes).is_ok()
    }

    fn made() -> MemDisk {
        let disk = MemDisk::new();
        disk.plant(path(), b"<old>").expect("plant");
        disk
    }

    fn loaded(disk: &MemDisk) -> Loaded<String> {
        load(disk, path(), parse).expect("no disk error")
    }

    #[test]
    fn a_replacement_is_whole_at_every_crash() {
        let disk = made();
        disk.plant(Path::new("config/f.json.bak"), b"<older>").expect("plant");
        disk.record();
        replace(&disk, path(), b"<new>", Backup::Sound(&is_sound)).expect("replace");
        let trace = disk.take_trace();
        let mut seen = BTreeSet::new();
        trace
            .each_crash(256, 1, |state| {
                let found = loaded(&state.disk);
                seen.insert((found.value.clone(), state.point == trace.len()));
                let is_whole = found.problems.is_empty() && found.value.is_some();
                let backup = state.disk.bytes(Path::new("config/f.json.bak")).unwrap_or_default();
                if is_whole && is_sound(&backup) {
                    Ok(())
                } else {
                    Err(format!("{state:?}: {found:?} {backup:?}"))
                }
            })
            .expect("whole");
        let text = |text: &str| Some(text.to_owned());
        let want = [(text("old"), false), (text("new"), false), (text("new"), true)];
        assert_eq!(seen, want.into_iter().collect());
        assert_eq!(disk.bytes(Path::new("config/f.json.bak")).expect("kept"), b"<old>");
    }

    #[test]
    fn a_failing_step_leaves_the_old_file_and_can_be_done_again() {
        let steps =
            [(Call::Open, 3), (Call::Write, 2), (Call::Sync, 2), (Call::Rename, 2), (Call::SetLen, 2)];
        for (call, count) in steps {
            for nth in 1..=count {
                let disk = made();
                disk.plan(Fault::once(call, nth, Harm::Eio));
                let result = replace(&disk, path(), b"<new>", Backup::Sound(&is_sound));
                let error = result.err().and_then(|error| error.raw_os_error());
                assert_eq!(error, Some(5), "{call:?} {nth}");
                assert_eq!(loaded(&disk).value.as_deref(), Some("old"), "{call:?} {nth}");
                disk.heal();
                replace(&disk, path(), b"<new>", Backup::Sound(&is_sound)).expect("again");
                assert_eq!(loaded(&disk).value.as_deref(), Some("new"));
            }
        }
    }

    #[test]
    fn a_damaged_file_falls_back_and_says_so() {
        for (main, backup, want, problems) in [
            (Some(&b"<a>"[..]), Some(&b"<b>"[..]), Some("a"), 0),
            (Some(b"<a"), Some(b"<b>"), Some("b"), 1),
            (Some(b""), Some(b"<b>"), Some("b"), 1),
            (None, Some(b"<b>"), Some("b"), 1),
            (Some(b"<a"), Some(b""), None, 2),
            (Some(b""), None, None, 1),
            (None, None, None, 0),
        ] {
            let disk = MemDisk::new();
            for (bytes, path) in [(main, path().to_owned()), (backup, beside(path(), ".bak"))] {
                if let Some(bytes) = bytes {
                    disk.plant(&path, bytes).expect("plant");
                }
            }
            let found = loaded(&disk);
            assert_eq!(found.value.as_deref(), want, "{main:?} {backup:?}");
            assert_eq!(found.problems.len(), problems, "{main:?} {backup:?}: {:?}", found.problems);
            assert_eq!(found.digest.is_some(), want.is_some());
        }
    }

    #[test]
    fn a_damaged_file_never_becomes_the_backup() {
        let disk = MemDisk::new();
        disk.plant(path(), b"<torn").expect("plant");
        disk.plant(&beside(path(), ".bak"), b"<good>").expect("plant");
        replace(&disk, path(), b"<new>", Backup::Sound(&is_sound)).expect("replace");
        assert_eq!(disk.bytes(&beside(path(), ".bak")).expect("kept"), b"<good>");
        // Nor does an unchanged one push out the one before.
        replace(&disk, path(), b"<new>", Backup::Sound(&is_sound)).expect("replace");
        assert_eq!(disk.bytes(&beside(path(), ".bak")).expect("kept"), b"<good>");
    }

    #[test]
    fn a_huge_file_is_a_problem_and_no_allocation() {
        let disk = made();
        disk.open(path(), Open::Write).expect("open").set_len(SIZE_MAX + 1).expect("a hole");
        let found = loaded(&disk);
        assert_eq!((found.value, found.problems.len()), (None, 1));
    }

    #[test]
    fn a_digest_tells_contents_apart_and_survives_as_text() {
        let digest = Digest::of(b"123456789");
        // The check values of CRC-32 and FNV-1a.
        assert_eq!(digest.crc, 0xcbf4_3926);
        assert_eq!(Digest::of(b"a").fnv, 0xaf63_dc4c_8601_ec8c);
        assert_eq!(Digest::parse(&digest.to_string()), Some(digest));
        assert_ne!(Digest::of(b"123456780"), digest);
        for bad in ["", "9", "9-cbf43926", "9-1cbf43926-0", "9-cbf43926-06d5573923c6cdfc-1", "+9-cbf43926-0"]
        {
            assert_eq!(Digest::parse(bad), None, "{bad}");
        }
    }
}
