//! Where the broker keeps its files on the simulated disk, and how large it is told to make those of the index.

/// Everything.
pub(super) const ROOT: &str = "/store";
/// The log.
pub(super) const LOG_DIR: &str = "/store/commitlog";
/// Slots of an index file.
pub(super) const INDEX_SLOTS: u64 = 100;
/// Keys of one.
pub(super) const INDEX_KEYS: u64 = 400;
