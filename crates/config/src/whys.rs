//! Reasons that several keys share for doing nothing here, or nothing yet.

pub(crate) const NO_POOL: &str =
    "no thread pools: a request is answered by the loop that read it, and slow work has its own place";
pub(crate) const NO_QUEUE: &str =
    "no queues in front of threads: what exceeds the limit in flight is answered busy at once";
pub(crate) const UNUSED: &str = "the original declares it and never reads it";
pub(crate) const COMMERCIAL: &str = "feeds billing plug-ins only, which cannot be loaded";
pub(crate) const BLOOM: &str = "a filter is evaluated on the record itself; no bit maps are kept beside it";
pub(crate) const NO_MAPPING: &str =
    "files are written by system calls and never mapped for writing: nothing to warm, lock or release";
pub(crate) const NO_TRANSIENT: &str = "no second buffer between a send and the page cache";
pub(crate) const EVERY_FLUSH: &str =
    "every flush writes all that is new, so a power cut loses at most the flush interval";
pub(crate) const DLEDGER: &str =
    "the DLedger log format is not supported: it is replaced by controllers and ordinary replication";
pub(crate) const POOLED: &str = "buffers belong to connections; there is no allocator to choose";
pub(crate) const IO_SHAPE: &str = "the loops that do network work size themselves by the processors";
pub(crate) const SEMAPHORE: &str = "requests to clients are bounded per connection, not by one semaphore";
pub(crate) const CLIENT_SIDE: &str =
    "links to name servers are few and long-lived: one connection each, reopened when it breaks";

pub(crate) const REPLICATION: &str = "replication";
pub(crate) const CONTROLLER: &str = "failover by controllers";
pub(crate) const TRANSACTIONS: &str = "transaction messages";
pub(crate) const ACL: &str =
    "access control; until then `true` ends the start, and administration is open to `adminNetworks` only";
pub(crate) const SQL: &str = "SQL92 filters";
pub(crate) const STATS: &str = "statistics";
pub(crate) const TIMER: &str = "delays of any length";
pub(crate) const LMQ: &str = "light queues (several consume queues for one message)";
pub(crate) const TLS: &str = "TLS; until then connections are plain";
