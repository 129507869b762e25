//! Keys of the storage engine: places, sizes, flushing, retention, limits of one read, delay levels, replication.
//!
//! Reference: `MessageStoreConfig` of 4.9, and the 5.x keys which people carry into 4.x files.

use crate::declare::config;
use crate::kinds::{
    Addresses, BrokerRole, Bytes, Count, DelayLevels, FlushDiskType, HourList, Hours, Millis, Names,
    PathText, Paths, Percent, Port, Seconds,
};
use crate::whys::{
    BLOOM, CONTROLLER, DLEDGER, EVERY_FLUSH, LMQ, NO_MAPPING, NO_TRANSIENT, REPLICATION, STATS, TIMER, UNUSED,
};

/// The largest number of the original's `int` keys; a larger file size could not be read by it.
const INT: i64 = i32::MAX as i64;

/// Bytes of one consume-queue entry; sizes of consume-queue files are whole multiples.
const CONSUME_UNIT: u64 = 20;

config! {
    /// How messages are kept on disk, for how long, and how much of them one read returns.
    pub struct StoreConfig {
        /// Directory of everything that is stored. Default: `$HOME/store`.
        "storePathRootDir" Restart store_path_root_dir: PathText = PathText::default(), obeyed, important;
        /// Directory of the commit log; several, comma separated, spread it over disks. Empty: `commitlog` under the root.
        "storePathCommitLog" Restart store_path_commit_log: Paths = Paths::default(), obeyed, important;
        /// Directory of the DLedger log.
        "storePathDLedgerCommitLog" Restart store_path_d_ledger_commit_log: PathText = PathText::default(), meaningless(DLEDGER), important;
        /// Commit-log directories which get no new files.
        "readOnlyCommitLogStorePaths" Restart read_only_commit_log_store_paths: Paths = Paths::default(), obeyed;
        /// Size of one commit-log file; a store keeps the size it was created with.
        "mappedFileSizeCommitLog" | "mapedFileSizeCommitLog" Restart mapped_file_size_commit_log: Bytes[4_096..=INT] = Bytes(1 << 30), obeyed;
        /// Size of one consume-queue file, rounded up to whole entries of 20 bytes.
        "mappedFileSizeConsumeQueue" | "mapedFileSizeConsumeQueue" Restart mapped_file_size_consume_queue: Bytes[20..=INT] = Bytes(6_000_000), obeyed;
        /// Keep filter bit maps beside the consume queue.
        "enableConsumeQueueExt" Restart enable_consume_queue_ext: bool = false, meaningless(BLOOM);
        /// Size of one file of filter bit maps.
        "mappedFileSizeConsumeQueueExt" Restart mapped_file_size_consume_queue_ext: Bytes = Bytes(48 << 20), meaningless(BLOOM);
        /// Bits of a filter bit map.
        "bitMapLengthConsumeQueueExt" Restart bit_map_length_consume_queue_ext: Count = Count(64), meaningless(BLOOM);
        /// Pause between two background flushes of the commit log.
        "flushIntervalCommitLog" Live flush_interval_commit_log: Millis[1..=INT] = Millis(500), obeyed, important;
        /// Pause between two moves from the transient pool to the page cache.
        "commitIntervalCommitLog" Live commit_interval_commit_log: Millis = Millis(200), meaningless(NO_TRANSIENT), important;
        /// The kind of lock around an append.
        "useReentrantLockWhenPutMessage" Restart use_reentrant_lock_when_put_message: bool = true, meaningless("there is one kind of lock");
        /// Flush at fixed times instead of when woken.
        "flushCommitLogTimed" Live flush_commit_log_timed: bool = true, meaningless("a background flush is always timed, a send that waits for the disk always wakes one"), important;
        /// Pause between two background flushes of the consume queues.
        "flushIntervalConsumeQueue" Live flush_interval_consume_queue: Millis[1..=INT] = Millis(1_000), obeyed;
        /// Pause between two looks for files to delete.
        "cleanResourceInterval" Restart clean_resource_interval: Millis[1..=INT] = Millis(10_000), obeyed;
        /// Pause between two deletions of commit-log files.
        "deleteCommitLogFilesInterval" Live delete_commit_log_files_interval: Millis = Millis(100), meaningless("no send waits for a deletion, so they need not be spaced; see `deleteFileBatchMax`");
        /// Pause between two deletions of consume-queue files.
        "deleteConsumeQueueFilesInterval" Live delete_consume_queue_files_interval: Millis = Millis(100), meaningless("no send waits for a deletion, so they need not be spaced; see `deleteFileBatchMax`");
        /// How long a deleted file that is still mapped is waited for.
        "destroyMapedFileIntervalForcibly" Live destroy_maped_file_interval_forcibly: Millis = Millis(120_000), meaningless(NO_MAPPING);
        /// How long until a failed deletion is tried again.
        "redeleteHangedFileInterval" Live redelete_hanged_file_interval: Millis = Millis(120_000), meaningless(NO_MAPPING);
        /// Hours (local time) in which files past `fileReservedTime` are deleted; empty for none, so that only a full disk deletes.
        "deleteWhen" Live delete_when: HourList = HourList(vec![4]), obeyed, important;
        /// Use of the disk from which expired files are deleted at any hour.
        "diskMaxUsedSpaceRatio" Live disk_max_used_space_ratio: Percent clamp(10..=95) = Percent(75), obeyed;
        /// Age from which a file may be deleted.
        "fileReservedTime" Live file_reserved_time: Hours = Hours(72), obeyed, important;
        /// Has no meaning in 4.9 any more.
        "putMsgIndexHightWater" Restart put_msg_index_hight_water: Count = Count(600_000), meaningless(UNUSED);
        /// Largest body of a message.
        "maxMessageSize" Live max_message_size: Bytes[1..=INT] = Bytes(4 << 20), obeyed;
        /// Compare checksums while the log is recovered.
        "checkCRCOnRecover" Restart check_crc_on_recover: bool = true, obeyed;
        /// Pages that must be new before a background flush of the log.
        "flushCommitLogLeastPages" Live flush_commit_log_least_pages: Count = Count(4), meaningless(EVERY_FLUSH);
        /// Pages that must be new before a move out of the transient pool.
        "commitCommitLogLeastPages" Live commit_commit_log_least_pages: Count = Count(4), meaningless(NO_TRANSIENT);
        /// Pages between two flushes while a new file is warmed.
        "flushLeastPagesWhenWarmMapedFile" Live flush_least_pages_when_warm_maped_file: Count = Count(4_096), meaningless(NO_MAPPING);
        /// Pages that must be new before a flush of a consume queue.
        "flushConsumeQueueLeastPages" Live flush_consume_queue_least_pages: Count = Count(2), meaningless(EVERY_FLUSH);
        /// Longest pause between two flushes of the log that ignore the least pages.
        "flushCommitLogThoroughInterval" Live flush_commit_log_thorough_interval: Millis = Millis(10_000), meaningless(EVERY_FLUSH);
        /// Longest pause between two moves out of the transient pool.
        "commitCommitLogThoroughInterval" Live commit_commit_log_thorough_interval: Millis = Millis(200), meaningless(NO_TRANSIENT);
        /// Longest pause between two flushes of the consume queues that ignore the least pages.
        "flushConsumeQueueThoroughInterval" Live flush_consume_queue_thorough_interval: Millis = Millis(60_000), meaningless(EVERY_FLUSH);
        /// Bytes of one pull answer from the recent part of the log, or from what is in memory.
        "maxTransferBytesOnMessageInMemory" Live max_transfer_bytes_on_message_in_memory: Bytes[1..=INT] = Bytes(256 << 10), obeyed, important;
        /// Messages of one pull answer from the recent part of the log, or from what is in memory.
        "maxTransferCountOnMessageInMemory" Live max_transfer_count_on_message_in_memory: Count[1..=INT] = Count(32), obeyed, important;
        /// Bytes of one pull answer from the old part of the log, where the disk has to be read for it.
        "maxTransferBytesOnMessageInDisk" Live max_transfer_bytes_on_message_in_disk: Bytes[1..=INT] = Bytes(64 << 10), obeyed, important;
        /// Messages of one pull answer from the old part of the log, where the disk has to be read for it.
        "maxTransferCountOnMessageInDisk" Live max_transfer_count_on_message_in_disk: Count[1..=INT] = Count(8), obeyed, important;
        /// Part of the machine's memory that the recent part of the log is taken for.
        "accessMessageInMemoryMaxRatio" Live access_message_in_memory_max_ratio: Percent = Percent(40), obeyed, important;
        /// Keep the index of keys and unique ids.
        "messageIndexEnable" Restart message_index_enable: bool = true, obeyed, important;
        /// Hash slots of one index file; must match existing files.
        "maxHashSlotNum" Restart max_hash_slot_num: Count[1..=INT] = Count(5_000_000), obeyed;
        /// Entries of one index file; must match existing files.
        "maxIndexNum" Restart max_index_num: Count[2..=INT] = Count(20_000_000), obeyed;
        /// Most results of a query by key.
        "maxMsgsNumBatch" Live max_msgs_num_batch: Count[1..=INT] = Count(64), obeyed;
        /// Recover the index from its own mark in the checkpoint.
        "messageIndexSafe" Restart message_index_safe: bool = false, meaningless("the index is always recovered from its own mark"), important;
        /// Port of replication; always `listenPort` + 1, whatever is written.
        "haListenPort" Restart ha_listen_port: Port = Port(10_912), later(REPLICATION);
        /// Pause between two heartbeats of replication.
        "haSendHeartbeatInterval" Live ha_send_heartbeat_interval: Millis[1..=INT] = Millis(5_000), later(REPLICATION);
        /// Silence after which a link of replication is closed.
        "haHousekeepingInterval" Live ha_housekeeping_interval: Millis[1..=INT] = Millis(20_000), later(REPLICATION);
        /// Bytes of one frame of replication.
        "haTransferBatchSize" Live ha_transfer_batch_size: Bytes[1..=INT] = Bytes(32 << 10), later(REPLICATION);
        /// The master to follow, `host:port`; usually learnt from the name server.
        "haMasterAddress" Restart ha_master_address: Addresses = Addresses::default(), later(REPLICATION), important;
        /// Lag from which a slave does not count for SYNC_MASTER.
        "haSlaveFallbehindMax" Live ha_slave_fallbehind_max: Bytes = Bytes(256 << 20), later(REPLICATION);
        /// Place in the broker group. So far only ASYNC_MASTER does what it says.
        "brokerRole" Restart broker_role: BrokerRole = BrokerRole::AsyncMaster, later(REPLICATION), important;
        /// What a send waits for: the page cache or the disk.
        "flushDiskType" Live flush_disk_type: FlushDiskType = FlushDiskType::AsyncFlush, obeyed, important;
        /// How long a send waits for the disk under SYNC_FLUSH before it is answered FLUSH_DISK_TIMEOUT.
        "syncFlushTimeout" Live sync_flush_timeout: Millis[1..=INT] = Millis(5_000), obeyed;
        /// How long a send waits for a replica under SYNC_MASTER.
        "slaveTimeout" Live slave_timeout: Millis[1..=INT] = Millis(3_000), later(REPLICATION);
        /// Delay of each level, level 1 first.
        "messageDelayLevel" Restart message_delay_level: DelayLevels = DelayLevels::default(), obeyed;
        /// Pause between two saves of the progress of delayed messages.
        "flushDelayOffsetInterval" Restart flush_delay_offset_interval: Millis[1..=i64::MAX] = Millis(10_000), obeyed;
        /// Delete files before their time when the disk is used beyond `diskSpaceCleanForciblyRatio`.
        "cleanFileForciblyEnable" Live clean_file_forcibly_enable: bool = true, obeyed, important;
        /// Touch every page of a new file.
        "warmMapedFileEnable" Restart warm_maped_file_enable: bool = false, meaningless(NO_MAPPING);
        /// A slave compares the place of what it receives.
        "offsetCheckInSlave" Restart offset_check_in_slave: bool = false, meaningless("a replica always checks the place of what it receives");
        /// Write stacks into the log when an append holds its lock for long.
        "debugLockEnable" Live debug_lock_enable: bool = false, meaningless("no thread dumps; slow appends are measured");
        /// Allow a master and a slave on one store.
        "duplicationEnable" Restart duplication_enable: bool = false, meaningless("the directory lock never lets two processes share a store");
        /// Watch how far readers lag behind the memory.
        "diskFallRecorded" Live disk_fall_recorded: bool = true, later(STATS);
        /// Hold time of the append lock from which sends are refused as busy.
        "osPageCacheBusyTimeOutMills" Live os_page_cache_busy_time_out_mills: Millis = Millis(1_000), meaningless("pages are not touched under the append lock, so it says nothing about the page cache");
        /// Most results of a query by unique id.
        "defaultQueryMaxNum" Live default_query_max_num: Count[1..=INT] = Count(32), obeyed;
        /// Append to a pool of direct buffers first.
        "transientStorePoolEnable" Restart transient_store_pool_enable: bool = false, meaningless(NO_TRANSIENT), important;
        /// Buffers of that pool.
        "transientStorePoolSize" Restart transient_store_pool_size: Count = Count(5), meaningless(NO_TRANSIENT);
        /// Refuse sends when that pool is empty.
        "fastFailIfNoBufferInStorePool" Restart fast_fail_if_no_buffer_in_store_pool: bool = false, meaningless(NO_TRANSIENT);
        /// Keep the log in DLedger.
        "enableDLegerCommitLog" Restart enable_d_leger_commit_log: bool = false, meaningless(DLEDGER);
        /// Name of the DLedger group.
        "dLegerGroup" Restart d_leger_group: String = String::new(), meaningless(DLEDGER);
        /// Members of the DLedger group.
        "dLegerPeers" Restart d_leger_peers: String = String::new(), meaningless(DLEDGER);
        /// Own name in the DLedger group.
        "dLegerSelfId" Restart d_leger_self_id: String = String::new(), meaningless(DLEDGER);
        /// Member preferred as leader.
        "preferredLeaderId" Restart preferred_leader_id: String = String::new(), meaningless(DLEDGER);
        /// Replicate DLedger entries in batches; files write it `enableBatchPush`, listings of the original as here.
        "isEnableBatchPush" | "enableBatchPush" Restart is_enable_batch_push: bool = false, meaningless(DLEDGER);
        /// Count delayed messages.
        "enableScheduleMessageStats" Live enable_schedule_message_stats: bool = true, later(STATS);
        /// Allow light queues.
        "enableLmq" Restart enable_lmq: bool = false, later(LMQ);
        /// Put one message into several queues.
        "enableMultiDispatch" Restart enable_multi_dispatch: bool = false, later(LMQ);
        /// Most light queues.
        "maxLmqConsumeQueueNum" Live max_lmq_consume_queue_num: Count = Count(20_000), later(LMQ);
        /// Deliver delayed messages without waiting for each.
        "enableScheduleAsyncDeliver" Restart enable_schedule_async_deliver: bool = false, meaningless("due messages are always delivered as one group");
        /// Deliveries of one level under way.
        "scheduleAsyncDeliverMaxPendingLimit" Restart schedule_async_deliver_max_pending_limit: Count = Count(2_000), meaningless("due messages are always delivered as one group");
        /// Failed deliveries after which a level pauses.
        "scheduleAsyncDeliverMaxResendNum2Blocked" Restart schedule_async_deliver_max_resend_num2_blocked: Count = Count(3), meaningless("due messages are always delivered as one group");

        /// Directory of the index. Empty: `index` under the root. The original of 4.9 ignores it.
        "storePathIndex" Restart store_path_index: PathText = PathText::default(), obeyed;
        /// Directory of the consume queues.
        "storePathConsumeQueue" Restart store_path_consume_queue: PathText = PathText::default(), meaningless("always `consumequeue` under the root, as in the original, which ignores the line");
        /// File of the checkpoint.
        "storeCheckpoint" Restart store_checkpoint: PathText = PathText::default(), meaningless("always `checkpoint` under the root, as in the original, which ignores the line");
        /// File that marks a store in use.
        "abortFile" Restart abort_file: PathText = PathText::default(), meaningless("always `abort` under the root, as in the original, which ignores the line");
        /// Use of the disk from which sends are refused (5.x; before by `-Drocketmq.broker.diskSpaceWarningLevelRatio`).
        "diskSpaceWarningLevelRatio" Live disk_space_warning_level_ratio: Percent[1..=100] = Percent(90), obeyed;
        /// Use of the disk from which files are deleted before their time (5.x; before by `-Drocketmq.broker.diskSpaceCleanForciblyRatio`).
        "diskSpaceCleanForciblyRatio" Live disk_space_clean_forcibly_ratio: Percent[1..=100] = Percent(85), obeyed;
        /// Topics of which no message is deleted that a group with offsets there has not consumed, not by age and not for lack of room, with `;` between: sends are refused at `diskSpaceWarningLevelRatio` instead; ours.
        "protectedTopics" Live protected_topics: Names = Names::of(&[]), obeyed;
        /// Most files deleted in one round (5.x).
        "deleteFileBatchMax" Live delete_file_batch_max: Count[1..=INT] = Count(10), obeyed;
        /// Longest time an append may take (5.x).
        "putMessageTimeout" Live put_message_timeout: Millis = Millis(8_000), meaningless("`syncFlushTimeout` and `slaveTimeout` bound what a send can wait for");
        /// Longest topic name (5.x, deprecated there).
        "maxTopicLength" Live max_topic_length: Count = Count(127), meaningless("127 bytes: the record has one byte for the length");
        /// Write records of version 2 for topics longer than 127 bytes (5.x).
        "autoMessageVersionOnTopicLen" Live auto_message_version_on_topic_len: bool = true, later("records of version 2");
        /// Let readers see what the replicas do not have yet (5.x).
        "readUnCommitted" Restart read_un_committed: bool = false, meaningless("readers never see more than is confirmed");
        /// Locks that queues share (5.x).
        "topicQueueLockNum" Restart topic_queue_lock_num: Count = Count(32), meaningless("an append takes one short lock");
        /// Format of the consume queues (5.x).
        "storeType" Restart store_type: String = String::from("default"), meaningless("one format: the files of 4.9");
        /// Allow delays of any length (5.x).
        "timerWheelEnable" Restart timer_wheel_enable: bool = true, later(TIMER);
        /// Longest delay (5.x).
        "timerMaxDelaySec" Live timer_max_delay_sec: Seconds = Seconds(259_200), later(TIMER);
        /// Precision of delays (5.x).
        "timerPrecisionMs" Restart timer_precision_ms: Millis[1..=INT] = Millis(1_000), later(TIMER);
        /// Size of one file of the timer log (5.x).
        "mappedFileSizeTimerLog" Restart mapped_file_size_timer_log: Bytes = Bytes(100 << 20), later(TIMER);
        /// Replicas that a send waits for, the master included (5.x).
        "inSyncReplicas" Live in_sync_replicas: Count[1..=INT] = Count(1), later(REPLICATION);
        /// Replicas below which sends are refused (5.x).
        "minInSyncReplicas" Live min_in_sync_replicas: Count[1..=INT] = Count(1), later(REPLICATION);
        /// Replicas of the group (5.x).
        "totalReplicas" Restart total_replicas: Count[1..=INT] = Count(1), later(REPLICATION);
        /// Wait for every replica that keeps up (5.x).
        "allAckInSyncStateSet" Live all_ack_in_sync_state_set: bool = false, later(CONTROLLER);
        /// Time a replica may lag and still count (5.x).
        "haMaxTimeSlaveNotCatchup" Live ha_max_time_slave_not_catchup: Millis = Millis(15_000), later(CONTROLLER);
        /// Bytes a replica may lag and still count (5.x).
        "haMaxGapNotInSync" Live ha_max_gap_not_in_sync: Bytes = Bytes(256 << 20), later(REPLICATION);
    }
}

impl StoreConfig {
    /// The commit-log directories: those written, or `commitlog` under the root.
    pub fn commit_log_dirs(&self) -> Vec<std::path::PathBuf> {
        if self.store_path_commit_log.0.is_empty() {
            return vec![self.store_path_root_dir.as_path().join("commitlog")];
        }
        self.store_path_commit_log.0.iter().map(std::path::PathBuf::from).collect()
    }

    /// The index directory: the one written, or `index` under the root.
    pub fn index_dir(&self) -> std::path::PathBuf {
        if self.store_path_index.is_empty() {
            return self.store_path_root_dir.as_path().join("index");
        }
        self.store_path_index.as_path().to_owned()
    }

    /// Size of a consume-queue file in bytes, rounded up to whole entries.
    pub fn consume_queue_file_size(&self) -> u64 {
        self.mapped_file_size_consume_queue.0.div_ceil(CONSUME_UNIT).saturating_mul(CONSUME_UNIT)
    }
}
