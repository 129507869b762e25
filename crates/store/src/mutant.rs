//! Bugs that can be planted, to prove that the simulator finds them.
//!
//! Compiled only with the feature `mutants`, which no binary sets; off unless a test switches one on for its own
//! thread. The table in `docs/mutants.md` says which test kills which.

use std::cell::Cell;

/// A bug.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mutant {
    /// Under synchronous flush a send is acknowledged when it is written.
    AckBeforeFlush,
    /// Recovery overlooks some records, whose offsets are then given away again.
    OffsetReused,
    /// A message wakes only some of the pulls that wait for it.
    WakeupLost,
    /// A new log file is not made durable in its directory.
    DirSyncSkipped,
    /// A failed sync counts as done.
    SyncErrorIgnored,
    /// A failed or short write of the log counts as done.
    WriteErrorIgnored,
    /// After a crash queues go on from the last checkpoint, without the records behind it.
    OffsetsFromSideFile,
    /// What a failed sync may have forgotten is not written again at the next start.
    RewriteSkipped,
    /// Under synchronous flush readers see what is only written.
    UnconfirmedShown,
    /// A checkpoint says that queue files cover the whole log.
    CheckpointAhead,
    /// Progress of delayed messages is not noted.
    DelayProgressLost,
    /// Committed offsets are not noted.
    CommitsLost,
}

thread_local! {
    static ON: Cell<Option<Mutant>> = const { Cell::new(None) };
}

/// Switches a bug on for this thread, or all off.
pub fn plant(mutant: Option<Mutant>) {
    ON.set(mutant);
}

/// Whether it is on.
pub fn is_on(mutant: Mutant) -> bool {
    ON.get() == Some(mutant)
}
