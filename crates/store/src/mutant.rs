//! Bugs that can be planted in store and broker, to prove that the simulator finds them.

kerolox_planted::bugs! {
    /// Under synchronous flush a send is acknowledged when it is written.
    AckBeforeFlush,
    /// What is asked for a second time is acknowledged before the first time is written.
    StandsUnwritten,
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
    /// Recovery takes damage in the middle of the log for its end.
    TruncateAtDamage,
    /// A record whose body is not what was stored counts as good.
    CrcIgnored,
    /// Recovery ends the log in memory only: what lies behind stays on the disk.
    StaleTailKept,
    /// A record that tells another position than the one it was read from counts as good.
    PositionUnchecked,
    /// Zeros that are written ahead respect no record that came meanwhile.
    ZerosOverRecords,
    /// A small file is removed before its successor gets its name.
    DeleteThenRename,
    /// A small file is written over in its place.
    ReplacedInPlace,
    /// The name of a replaced small file is not made durable.
    SmallDirSyncSkipped,
    /// A record that the disk had no room for in the middle counts as written.
    NoRoomIgnored,
    /// Appends take no room from the file system before they are accepted.
    RoomNotReserved,
    /// A checkpoint does not wait for the queue files that it speaks of.
    QueuesUnsynced,
    /// Queue files get entries of records that are not durable yet.
    QueuesPastConfirm,
    /// Keys that a crash took out of the index's memory are not read from the log again.
    IndexKeysLost,
    /// Retention believes a wall clock that has just jumped.
    JumpBelieved,
    /// A log file that is missing in the middle is passed over.
    GapAccepted,
    /// A directory with files that no store has is taken for a store.
    ForeignAccepted,
    /// An empty log directory beside queues that cover a log is taken for a new store.
    WrongDiskAccepted,
    /// Halves of transactions are shown to readers.
    HalfShown,
    /// Delayed messages are noted as delivered behind the messages, not before.
    DelayNotedLate,
    /// Queue locks do not survive the process.
    LocksLost,
    /// A queue lock is given to whoever asks.
    LockShared,
    /// Queues keep their starts when the log files before them are deleted.
    MinForgotten,
    /// A record counts as the message that a queue's entry was asked for, whatever it tells of its place.
    PlaceUnchecked,
    /// What a queue's entry tells is not compared with what is possible.
    EntryUnchecked,
    /// A queue file that was made again from the log is not put into its place.
    MendForgotten,
    /// Deletion moves the start of a queue up to where halving led, without a look at what goes.
    StartUnchecked,
    /// A record that does not follow in its queue is believed only if the next one follows it.
    LoneDisbelieved,
}
