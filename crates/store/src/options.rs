//! What the store is told when it is opened. Plain values; the broker makes them from its configuration.

use crate::disk::Paths;
use kerolox_protocol::Millis;

/// What a send waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flush {
    /// The page cache: survives `kill -9`. A power cut loses at most [`Options::flush_interval`].
    Async,
    /// The device: survives a power cut.
    Sync,
}

/// When log files are deleted, and when writes are refused for lack of room.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retention {
    /// `fileReservedTime`: how long a file is kept after its last record.
    pub keep: Millis,
    /// `deleteWhen`: hours of the day, local time, in which old files are deleted.
    pub hours: Vec<u8>,
    /// What to add to Unix time for local time.
    pub utc_offset: Millis,
    /// `diskMaxUsedSpaceRatio`, percent: above it old files go at any hour.
    pub used_max_percent: u32,
    /// Percent above which files go although they are not old, if [`Retention::forcibly`].
    pub clean_percent: u32,
    /// Percent above which writes are refused.
    pub refuse_percent: u32,
    /// `cleanFileForciblyEnable`.
    pub forcibly: bool,
    /// `cleanResourceInterval`: between two looks at the disk.
    pub interval: Millis,
}

impl Default for Retention {
    fn default() -> Retention {
        Retention {
            keep: Millis(72 * 3_600_000),
            hours: vec![4],
            utc_offset: Millis(0),
            used_max_percent: 75,
            clean_percent: 85,
            refuse_percent: 90,
            forcibly: true,
            interval: Millis(10_000),
        }
    }
}

/// Everything the store is told.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where things are.
    pub paths: Paths,
    /// `mappedFileSizeCommitLog`. A store keeps the size it was made with.
    pub segment_bytes: u64,
    /// `mappedFileSizeConsumeQueue`; rounded up to whole entries. A store keeps the size it was made with.
    pub queue_file_bytes: u64,
    /// What a send waits for.
    pub flush: Flush,
    /// `flushIntervalCommitLog`: longest time that written data stays unflushed under [`Flush::Async`].
    pub flush_interval: Millis,
    /// `flushIntervalConsumeQueue`: pause between two write-behinds of queues and index.
    pub behind_interval: Millis,
    /// Longest pause between two checkpoints while something changes.
    pub checkpoint_interval: Millis,
    /// Queue files that one job makes at most. Each costs the file system 50 us to 1 ms, and other jobs wait.
    pub new_files_max: usize,
    /// Queues whose files one job writes to at most, where no file has to be made: about 10 us each.
    pub write_queues_max: usize,
    /// Entries that one job writes at most.
    pub write_entries_max: usize,
    /// How long a stop makes files of new queues. What is left then is read from the log by the next start.
    pub stop_time: Millis,
    /// Log bytes after which a checkpoint is made earlier.
    pub checkpoint_bytes: u64,
    /// `maxMessageSize`: largest body; a record may have 64 KiB more.
    pub message_bytes_max: usize,
    /// Retention.
    pub retention: Retention,
    /// `messageIndexEnable`.
    pub index: bool,
    /// `maxHashSlotNum`.
    pub index_slots: u32,
    /// `maxIndexNum`.
    pub index_max: u32,
    /// Delays of the levels 1, 2, …
    pub delay_levels: Vec<Millis>,
    /// Bytes of the log's newest part that are kept in memory for readers at the tail.
    pub tail_bytes: usize,
    /// Entries of queues, and of the index, that may wait in memory for the write-behind before appends are
    /// refused: 4 million of each are about 150 MB.
    pub pending_max: usize,
    /// Queue files held open at most.
    pub queue_files_open_max: usize,
    /// Physical memory, for the rule that tells cold reads.
    pub ram_bytes: u64,
    /// `accessMessageInMemoryMaxRatio`, percent of [`Options::ram_bytes`].
    pub memory_percent: u32,
}

impl Options {
    /// The original's defaults for a store at `paths`.
    pub fn new(paths: Paths) -> Options {
        Options {
            paths,
            segment_bytes: 1 << 30,
            queue_file_bytes: 6_000_000,
            flush: Flush::Async,
            flush_interval: Millis(500),
            behind_interval: Millis(1_000),
            checkpoint_interval: Millis(60_000),
            new_files_max: 1_000,
            write_queues_max: 2_000,
            write_entries_max: 64 << 10,
            stop_time: Millis(4_000),
            checkpoint_bytes: 256 << 20,
            message_bytes_max: 4 << 20,
            retention: Retention::default(),
            index: true,
            index_slots: 5_000_000,
            index_max: 20_000_000,
            delay_levels: Vec::new(),
            tail_bytes: 4 << 20,
            pending_max: 4 << 20,
            queue_files_open_max: 512,
            ram_bytes: 8 << 30,
            memory_percent: 40,
        }
    }

    /// Largest record that is accepted.
    pub fn record_bytes_max(&self) -> usize {
        self.message_bytes_max + (64 << 10)
    }

    /// Bytes behind the end of the log after which a read counts as cold.
    pub(crate) fn warm_bytes(&self) -> u64 {
        self.ram_bytes / 100 * u64::from(self.memory_percent)
    }
}
