//! How far the derived files are known to cover the log, and whether the last stop was clean.
//!
//! Owns `checkpoint`, `abort` and `lock` of the original and Kerolox's own `kerolox.checkpoint`. Knows
//! neither the log nor the queues: others say how far they are. Everything here touches the disk.
//!
//! ## `checkpoint` (the original's; 4096 bytes, integers big-endian)
//!
//! | offset | size | field | since |
//! |---|---|---|---|
//! | 0 | 8 | store time of the last flushed record, ms | 4.x |
//! | 8 | 8 | store time of the last record whose queue entry is flushed, ms | 4.x |
//! | 16 | 8 | store time of the last key in a flushed index file, ms | 4.x |
//! | 24 | 8 | flushed offset of the master, bytes | 5.x |
//! | 32 | 8 | confirmed offset, bytes | 5.x |
//! | 40 | 4056 | zeros; kept as found | |
//!
//! ## `kerolox.checkpoint` (integers big-endian)
//!
//! | offset | size | field |
//! |---|---|---|
//! | 0 | 8 | `KRLXCKPT` |
//! | 8 | 4 | version, 1 |
//! | 12 | 4 | length of the whole file, bytes |
//! | 16 | 8 | log flushed up to, bytes |
//! | 24 | 8 | queues written up to, bytes of log |
//! | 32 | 8 | queues synced up to, bytes of log |
//! | 40 | 40 | index written: a mark |
//! | 80 | 40 | index synced: a mark |
//! | 120 | 20 | digest of the file of queue ends: length 8, CRC-32 4, FNV-1a 8; all zero: none |
//! | 140 | 4 + n | boot id: length, UTF-8 text of at most 256 bytes |
//! | 144 + n | 4 | CRC-32 (IEEE) of all before |
//!
//! A mark: file name as a number 8 (0: no index yet), next entry number 4, slots in use 4, offset of the last
//! key's record 8, its store time in ms 8, store time of the file's first key in ms 8.

use std::{
    fmt, io,
    path::{Path, PathBuf},
};

use kerolox_protocol::ids::{LogOffset, Millis};

use crate::{
    disk::{Disk, Open, Paths},
    index::Mark,
    sealed::{self, Unsealed},
    smallfile::{self, Backup, Digest},
};

/// Length of the original's checkpoint.
pub const CHECKPOINT_LEN: usize = 4096;
const PHYSIC_AT: usize = 0;
const LOGICS_AT: usize = PHYSIC_AT + 8;
const INDEX_AT: usize = LOGICS_AT + 8;
const MASTER_AT: usize = INDEX_AT + 8;
const CONFIRM_AT: usize = MASTER_AT + 8;

/// The original subtracts this from its timestamps: its files are flushed one after the other.
const MARGIN: Millis = Millis(3000);

/// The original's checkpoint. Any bytes are one: it carries no check.
#[derive(Clone, PartialEq, Eq)]
pub struct Checkpoint {
    raw: Box<[u8; CHECKPOINT_LEN]>,
}

impl Default for Checkpoint {
    fn default() -> Self {
        Checkpoint { raw: Box::new([0; CHECKPOINT_LEN]) }
    }
}

impl fmt::Debug for Checkpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Checkpoint")
            .field("physic", &self.physic())
            .field("logics", &self.logics())
            .field("index", &self.index())
            .finish_non_exhaustive()
    }
}

macro_rules! stamps {
    ($($(#[$doc:meta])* $get:ident $set:ident $at:ident $kind:ident;)*) => {
        $(
            $(#[$doc])*
            pub fn $get(&self) -> $kind {
                $kind(self.number($at) as _)
            }
            #[doc = concat!("Sets what [`Self::", stringify!($get), "`] gives.")]
            pub fn $set(&mut self, value: $kind) {
                self.set_number($at, value.0 as i64);
            }
        )*
    };
}

impl Checkpoint {
    /// Reads the file's bytes; what a shorter file lacks is zero.
    pub fn parse(bytes: &[u8]) -> Checkpoint {
        let mut checkpoint = Checkpoint::default();
        for (to, from) in checkpoint.raw.iter_mut().zip(bytes) {
            *to = *from;
        }
        checkpoint
    }

    /// The file's bytes.
    pub fn bytes(&self) -> &[u8; CHECKPOINT_LEN] {
        &self.raw
    }

    stamps! {
        /// Store time of the last flushed record.
        physic set_physic PHYSIC_AT Millis;
        /// Store time of the last record whose queue entry is flushed.
        logics set_logics LOGICS_AT Millis;
        /// Store time of the last key in a flushed index file.
        index set_index INDEX_AT Millis;
    }

    /// Flushed offset of the master, a 5.x field; `None` when it is absent (zero or negative).
    pub fn master_flushed(&self) -> Option<LogOffset> {
        LogOffset::try_from(self.number(MASTER_AT)).ok().filter(|offset| offset.0 != 0)
    }

    /// Sets what [`Self::master_flushed`] gives.
    pub fn set_master_flushed(&mut self, offset: LogOffset) {
        self.set_number(MASTER_AT, offset.wire());
    }

    /// Confirmed offset, a 5.x field; `None` when it is absent (zero or negative).
    pub fn confirmed(&self) -> Option<LogOffset> {
        LogOffset::try_from(self.number(CONFIRM_AT)).ok().filter(|offset| offset.0 != 0)
    }

    /// Sets what [`Self::confirmed`] gives.
    pub fn set_confirmed(&mut self, offset: LogOffset) {
        self.set_number(CONFIRM_AT, offset.wire());
    }

    /// Up to when log and queues are known to be flushed, as the original reckons it.
    pub fn safe_time(&self) -> Millis {
        (self.physic().min(self.logics()) - MARGIN).max(Millis(0))
    }

    fn number(&self, at: usize) -> i64 {
        be(&self.raw[..], at).map_or(0, i64::from_be_bytes)
    }

    fn set_number(&mut self, at: usize, value: i64) {
        for (to, from) in self.raw.iter_mut().skip(at).zip(value.to_be_bytes()) {
            *to = from;
        }
    }
}

/// Reads `checkpoint`; `None` when there is none. A damaged one cannot be told from a sound one.
pub fn load_checkpoint(disk: &dyn Disk, paths: &Paths) -> io::Result<Option<Checkpoint>> {
    let path = checkpoint_path(paths);
    Ok(smallfile::read(disk, &path)?.filter(|bytes| !bytes.is_empty()).map(|bytes| Checkpoint::parse(&bytes)))
}

/// Replaces `checkpoint`, durably.
pub fn save_checkpoint(disk: &dyn Disk, paths: &Paths, checkpoint: &Checkpoint) -> io::Result<()> {
    smallfile::replace(disk, &checkpoint_path(paths), checkpoint.bytes(), Backup::No)
}

fn checkpoint_path(paths: &Paths) -> PathBuf {
    paths.root.join("checkpoint")
}

/// What Kerolox knows of its own files beyond the original's timestamps.
///
/// `written` survives the end of the process but not of the operating system, `synced` survives both; see
/// [`Progress::is_same_boot`].
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Progress {
    /// [`Disk::boot_id`] when this was written.
    pub boot_id: String,
    /// The log is flushed up to here.
    pub flushed: LogOffset,
    /// Queue files hold every entry of records below this.
    pub queues_written: LogOffset,
    /// Queue files hold durably every entry of records below this.
    pub queues_synced: LogOffset,
    /// Where the index was written up to.
    pub index_written: Option<Mark>,
    /// Where the index was durable up to.
    pub index_synced: Option<Mark>,
    /// Digest of the file of queue ends that belongs to this state.
    pub queue_ends: Option<Digest>,
}

const MAGIC: [u8; 8] = *b"KRLXCKPT";
const VERSION: u32 = 1;
const BOOT_ID_AT: usize = 140;
const BOOT_ID_MAX: usize = 256;
const MARK_LEN: usize = 40;
const _: () = assert!(16 + 3 * 8 + 2 * MARK_LEN + 20 == BOOT_ID_AT);

impl Progress {
    /// The file's bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = sealed::begin(MAGIC, VERSION);
        out.extend([0; 4]);
        for offset in [self.flushed, self.queues_written, self.queues_synced] {
            out.extend(offset.0.to_be_bytes());
        }
        for mark in [&self.index_written, &self.index_synced] {
            put_mark(&mut out, mark.as_ref());
        }
        let Digest { len, crc, fnv } = self.queue_ends.unwrap_or(Digest { len: 0, crc: 0, fnv: 0 });
        out.extend(len.to_be_bytes());
        out.extend(crc.to_be_bytes());
        out.extend(fnv.to_be_bytes());
        let mut boot_id = self.boot_id.as_str();
        if boot_id.len() > BOOT_ID_MAX {
            // Equal to no real one then, which is the careful side.
            boot_id = "";
        }
        out.extend((boot_id.len() as u32).to_be_bytes());
        out.extend(boot_id.as_bytes());
        let len = out.len() as u32 + 4;
        if let Some(field) = out.get_mut(12..16) {
            field.copy_from_slice(&len.to_be_bytes());
        }
        sealed::seal(&mut out);
        out
    }

    /// Reads the file's bytes.
    pub fn parse(bytes: &[u8]) -> Result<Progress, Unsealed> {
        let body = sealed::open(bytes, MAGIC, VERSION)?;
        let claimed = be(body, 12).map(u32::from_be_bytes).ok_or(Unsealed::Length)?;
        if claimed as usize != bytes.len() {
            return Err(Unsealed::Length);
        }
        let u64_at = |at| be(body, at).map(u64::from_be_bytes).ok_or(Unsealed::Length);
        let u32_at = |at| be(body, at).map(u32::from_be_bytes).ok_or(Unsealed::Length);
        let digest = Digest { len: u64_at(120)?, crc: u32_at(128)?, fnv: u64_at(132)? };
        let boot_id = body.get(BOOT_ID_AT + 4..).ok_or(Unsealed::Length)?;
        if boot_id.len() != u32_at(BOOT_ID_AT)? as usize || boot_id.len() > BOOT_ID_MAX {
            return Err(Unsealed::Field("boot id"));
        }
        Ok(Progress {
            boot_id: String::from_utf8(boot_id.to_vec()).map_err(|_| Unsealed::Field("boot id"))?,
            flushed: LogOffset(u64_at(16)?),
            queues_written: LogOffset(u64_at(24)?),
            queues_synced: LogOffset(u64_at(32)?),
            index_written: get_mark(body, 40)?,
            index_synced: get_mark(body, 40 + MARK_LEN)?,
            queue_ends: (digest != Digest { len: 0, crc: 0, fnv: 0 }).then_some(digest),
        })
    }

    /// Whether the operating system still runs that ran when this was written, so that `written` can be
    /// trusted as much as `synced`.
    pub fn is_same_boot(&self, disk: &dyn Disk) -> bool {
        !self.boot_id.is_empty() && self.boot_id == disk.boot_id()
    }
}

fn put_mark(out: &mut Vec<u8>, mark: Option<&Mark>) {
    let Some(mark) = mark else { return out.extend([0; MARK_LEN]) };
    out.extend(mark.name.to_be_bytes());
    out.extend(mark.next.to_be_bytes());
    out.extend(mark.slots_used.to_be_bytes());
    out.extend(mark.end_at.0.to_be_bytes());
    out.extend(mark.end_ms.0.to_be_bytes());
    out.extend(mark.begin_ms.0.to_be_bytes());
}

fn get_mark(body: &[u8], at: usize) -> Result<Option<Mark>, Unsealed> {
    let u64_at = |at| be(body, at).map(u64::from_be_bytes).ok_or(Unsealed::Length);
    let u32_at = |at| be(body, at).map(u32::from_be_bytes).ok_or(Unsealed::Length);
    let name = u64_at(at)?;
    if name == 0 {
        return Ok(None);
    }
    Ok(Some(Mark {
        name,
        next: u32_at(at + 8)?,
        slots_used: u32_at(at + 12)?,
        end_at: LogOffset(u64_at(at + 16)?),
        end_ms: Millis(u64_at(at + 24)? as i64),
        begin_ms: Millis(u64_at(at + 32)? as i64),
    }))
}

/// `N` bytes at a place, if they are there.
fn be<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk().copied()
}

/// Reads `kerolox.checkpoint`. Damage is a problem to report, not an error: everything it speeds up can be
/// found the slow way.
pub fn load_progress(disk: &dyn Disk, paths: &Paths) -> io::Result<smallfile::Loaded<Progress>> {
    smallfile::load(disk, &progress_path(paths), Progress::parse)
}

/// Replaces `kerolox.checkpoint`, durably.
pub fn save_progress(disk: &dyn Disk, paths: &Paths, progress: &Progress) -> io::Result<()> {
    smallfile::replace(disk, &progress_path(paths), &progress.encode(), Backup::No)
}

fn progress_path(paths: &Paths) -> PathBuf {
    paths.root.join("kerolox.checkpoint")
}

/// Whether `abort` is there: the last owner of the store did not stop cleanly.
pub fn was_aborted(disk: &dyn Disk, paths: &Paths) -> io::Result<bool> {
    match disk.open(&abort_path(paths), Open::Read) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Makes `abort`, durably, before anything else is written.
pub fn mark_running(disk: &dyn Disk, paths: &Paths) -> io::Result<()> {
    disk.open(&abort_path(paths), Open::Create)?.sync()?;
    disk.sync_dir(&paths.root)
}

/// Removes `abort`, durably, after everything else is synced.
pub fn mark_stopped(disk: &dyn Disk, paths: &Paths) -> io::Result<()> {
    match disk.remove(&abort_path(paths)) {
        Ok(()) => disk.sync_dir(&paths.root),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

fn abort_path(paths: &Paths) -> PathBuf {
    paths.root.join("abort")
}

/// Holds the store for this process; dropping it lets go.
pub struct Lock {
    _held: Box<dyn Send + Sync>,
}

impl fmt::Debug for Lock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Lock")
    }
}

/// Takes the store's lock, to be done before anything is read: the original recovers first and locks later,
/// so two of them can damage a store.
///
/// # Errors
/// `WouldBlock` when another process has it.
pub fn lock(disk: &dyn Disk, paths: &Paths) -> io::Result<Lock> {
    let path: &Path = &paths.root.join("lock");
    Ok(Lock { _held: disk.lock(path)? })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::disk::memory::MemDisk;

    fn paths(disk: &MemDisk) -> Paths {
        disk.create_dir_all(Path::new("store")).expect("mkdir");
        Paths::under("store")
    }

    /// The first bytes of a file that the original (4.9.7) wrote at a clean stop.
    const JAVA: [u8; 24] = [
        0, 0, 1, 0xa2, 0x0f, 0xb3, 0x29, 0x10, 0, 0, 1, 0xa2, 0x0f, 0xb3, 0x29, 0x10, 0, 0, 1, 0xa2, 0x0f,
        0xb3, 0x29, 0x07,
    ];

    #[test]
    fn the_original_s_checkpoint_is_read_and_kept() {
        let mut bytes = [0; CHECKPOINT_LEN];
        bytes[..24].copy_from_slice(&JAVA);
        bytes[24..32].copy_from_slice(&77_i64.to_be_bytes());
        bytes[4000] = 9;
        let mut checkpoint = Checkpoint::parse(&bytes);
        assert_eq!(checkpoint.physic(), Millis(1_795_559_729_424));
        assert_eq!(checkpoint.logics(), Millis(1_795_559_729_424));
        assert_eq!(checkpoint.index(), Millis(1_795_559_729_415));
        assert_eq!(checkpoint.safe_time(), Millis(1_795_559_726_424));
        assert_eq!((checkpoint.master_flushed(), checkpoint.confirmed()), (Some(LogOffset(77)), None));
        assert_eq!(checkpoint.bytes(), &bytes);
        checkpoint.set_physic(Millis(5));
        bytes[..8].copy_from_slice(&5_i64.to_be_bytes());
        assert_eq!(checkpoint.bytes(), &bytes, "a field was set and another changed");
        assert_eq!(checkpoint.safe_time(), Millis(0));
        assert_eq!(Checkpoint::parse(&JAVA).index(), Millis(1_795_559_729_415));
        assert_eq!(Checkpoint::parse(&[]), Checkpoint::default());
    }

    #[test]
    fn files_come_and_go_durably() {
        let disk = MemDisk::new();
        let paths = paths(&disk);
        disk.sync_dir(Path::new("")).expect("sync");
        assert_eq!(load_checkpoint(&disk, &paths).expect("load"), None);
        assert!(!was_aborted(&disk, &paths).expect("abort"));
        mark_running(&disk, &paths).expect("mark");
        let mut checkpoint = Checkpoint::default();
        checkpoint.set_confirmed(LogOffset(9));
        save_checkpoint(&disk, &paths, &checkpoint).expect("save");
        let progress = Progress { boot_id: disk.boot_id(), flushed: LogOffset(3), ..Progress::default() };
        save_progress(&disk, &paths, &progress).expect("save");
        let after = disk.power_cut(3);
        assert!(was_aborted(&after, &paths).expect("abort"));
        assert_eq!(load_checkpoint(&after, &paths).expect("load"), Some(checkpoint));
        let loaded = load_progress(&after, &paths).expect("load").value.expect("there");
        assert_eq!(loaded, progress);
        assert!(loaded.is_same_boot(&disk) && loaded.is_same_boot(&disk.kill()));
        assert!(!loaded.is_same_boot(&after), "a power cut is another boot");
        assert!(!Progress::default().is_same_boot(&disk));
        mark_stopped(&after, &paths).expect("mark");
        mark_stopped(&after, &paths).expect("twice does no harm");
        assert!((0..32).all(|seed| !was_aborted(&after.power_cut(seed), &paths).expect("abort")));
    }

    #[test]
    fn a_torn_progress_is_reported_and_not_used() {
        let disk = MemDisk::new();
        let paths = paths(&disk);
        let mut bytes = Progress::default().encode();
        bytes.truncate(100);
        disk.plant(&progress_path(&paths), &bytes).expect("plant");
        let loaded = load_progress(&disk, &paths).expect("no error");
        assert_eq!((loaded.value, loaded.problems.len()), (None, 1));
    }

    #[test]
    fn the_lock_excludes() {
        let disk = MemDisk::new();
        let paths = paths(&disk);
        let held = lock(&disk, &paths).expect("free");
        assert_eq!(lock(&disk, &paths).expect_err("taken").kind(), io::ErrorKind::WouldBlock);
        drop(held);
        drop(lock(&disk, &paths).expect("free again"));
        assert_eq!(disk.bytes(&paths.root.join("lock")).expect("bytes"), b"lock");
    }

    fn marks() -> impl Strategy<Value = Option<Mark>> {
        let fields = (1..u64::MAX, any::<u32>(), any::<u32>(), any::<u64>(), any::<i64>(), any::<i64>());
        prop::option::of(fields.prop_map(|(name, next, slots_used, at, end, begin)| Mark {
            name,
            next,
            slots_used,
            end_at: LogOffset(at),
            end_ms: Millis(end),
            begin_ms: Millis(begin),
        }))
    }

    prop_compose! {
        fn progresses()(
            boot_id in "[a-z0-9-]{0,64}",
            offsets: [u64; 3],
            index_written in marks(),
            index_synced in marks(),
            queue_ends in prop::option::of((1..u64::MAX, any::<u32>(), any::<u64>())),
        ) -> Progress {
            let [flushed, queues_written, queues_synced] = offsets.map(LogOffset);
            let queue_ends = queue_ends.map(|(len, crc, fnv)| Digest { len, crc, fnv });
            Progress { boot_id, flushed, queues_written, queues_synced, index_written, index_synced, queue_ends }
        }
    }

    proptest! {
        #[test]
        fn progress_comes_back(progress in progresses()) {
            prop_assert_eq!(Progress::parse(&progress.encode()), Ok(progress));
        }

        #[test]
        fn any_change_of_a_bit_is_noticed(progress in progresses(), at: prop::sample::Index, bit in 0..8_u32) {
            let mut bytes = progress.encode();
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
            prop_assert!(Progress::parse(&bytes).is_err());
        }

        #[test]
        fn any_cut_is_noticed(progress in progresses(), at: prop::sample::Index) {
            let bytes = progress.encode();
            prop_assert!(Progress::parse(&bytes[..at.index(bytes.len())]).is_err());
        }

        #[test]
        fn any_bytes_are_a_progress_or_an_error(bytes: Vec<u8>, head in 0..20_usize) {
            // With a sound beginning and a right CRC the fields are reached.
            let mut bytes = bytes;
            let mut sound = Progress::default().encode();
            sound.truncate(16);
            bytes.splice(0..0, sound.into_iter().take(head));
            let len = bytes.len() as u32 + 4;
            if let Some(field) = bytes.get_mut(12..16) {
                field.copy_from_slice(&len.to_be_bytes());
            }
            let crc = crc32fast::hash(&bytes);
            bytes.extend(crc.to_be_bytes());
            if let Ok(progress) = Progress::parse(&bytes) {
                prop_assert_eq!(Progress::parse(&progress.encode()), Ok(progress));
            }
        }

        #[test]
        fn any_bytes_are_a_checkpoint(bytes in prop::collection::vec(any::<u8>(), 0..5000)) {
            let checkpoint = Checkpoint::parse(&bytes);
            let n = bytes.len().min(CHECKPOINT_LEN);
            prop_assert_eq!(&checkpoint.bytes()[..n], &bytes[..n]);
            prop_assert!(checkpoint.safe_time() >= Millis(0));
        }
    }
}
