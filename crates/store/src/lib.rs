//! The storage engine: commit log, consume queues, index, checkpoint, recovery, retention.
