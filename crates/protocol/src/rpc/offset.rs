//! RPCs about positions: where a queue begins and ends, where a group stands.

use crate::{headers, rpcs};

rpcs! {
    /// The offset after the newest message of a queue.
    30 GetMaxOffset "GET_MAX_OFFSET": QueueRef => OffsetReply, Broker, needs Nothing;
    /// The offset of the oldest message of a queue.
    31 GetMinOffset "GET_MIN_OFFSET": QueueRef => OffsetReply, Broker, needs Nothing;
    /// The offset of the message stored nearest to a time.
    29 SearchOffsetByTimestamp "SEARCH_OFFSET_BY_TIMESTAMP": SearchOffsetRequest => OffsetReply, Broker, needs Nothing;
    /// When the oldest message of a queue was stored.
    32 GetEarliestMsgStoreTime "GET_EARLIEST_MSG_STORETIME": QueueRef => TimestampReply, Broker, needs Nothing;
    /// Where a group stands in a queue.
    14 QueryConsumerOffset "QUERY_CONSUMER_OFFSET": QueryOffsetRequest => OffsetReply, Broker, needs Subscribe;
    /// Sets where a group stands in a queue; usually one-way.
    15 UpdateConsumerOffset "UPDATE_CONSUMER_OFFSET": UpdateOffsetRequest => (), Broker, needs Subscribe;
    /// All groups' offsets, as the file keeps them; slaves and tools ask.
    43 GetAllConsumerOffset "GET_ALL_CONSUMER_OFFSET": () => (), Broker, needs Cluster;
    /// Progress of the delay levels, as the file keeps it; slaves ask.
    45 GetAllDelayOffset "GET_ALL_DELAY_OFFSET": () => (), Broker, needs Cluster;
    /// The smallest offsets of a topic's queues over all groups but some.
    308 QueryCorrectionOffset "QUERY_CORRECTION_OFFSET": CorrectionRequest => (), Broker, needs Inspect;
    /// Copies a group's offsets to another group.
    314 CloneGroupOffset "CLONE_GROUP_OFFSET": CloneOffsetRequest => (), Broker, needs Admin;
}

headers! {
    /// Names one queue. Reference: `GetMaxOffsetRequestHeader` and its siblings.
    pub struct QueueRef {
        /// Topic.
        topic: String = "topic",
        /// Queue.
        queue_id: i32 = "queueId",
    }
    /// One offset.
    pub struct OffsetReply {
        /// The offset, in messages.
        offset: i64 = "offset",
    }
    /// One point in time.
    pub struct TimestampReply {
        /// Unix milliseconds; -1 if there is no message.
        timestamp: i64 = "timestamp",
    }
    /// Reference: `SearchOffsetRequestHeader`.
    pub struct SearchOffsetRequest {
        /// Topic.
        topic: String = "topic",
        /// Queue.
        queue_id: i32 = "queueId",
        /// Store time, Unix milliseconds.
        timestamp: i64 = "timestamp",
        /// `LOWER` (also when absent) or `UPPER`: the first or the last of several with that time; 5.x only.
        boundary_type: Option<String> = "boundaryType",
    }
    /// Reference: `QueryConsumerOffsetRequestHeader`.
    pub struct QueryOffsetRequest {
        /// Consumer group.
        consumer_group: String = "consumerGroup",
        /// Topic.
        topic: String = "topic",
        /// Queue.
        queue_id: i32 = "queueId",
        /// `false` forbids inventing 0 for a group without an offset; 5.x only, absent allows it.
        set_zero_if_not_found: Option<bool> = "setZeroIfNotFound",
    }
    /// Reference: `UpdateConsumerOffsetRequestHeader`.
    pub struct UpdateOffsetRequest {
        /// Consumer group.
        consumer_group: String = "consumerGroup",
        /// Topic.
        topic: String = "topic",
        /// Queue.
        queue_id: i32 = "queueId",
        /// Next message to consume, in messages; may go backwards.
        commit_offset: i64 = "commitOffset",
    }
    /// Reference: `QueryCorrectionOffsetHeader`.
    pub struct CorrectionRequest {
        /// Topic.
        topic: String = "topic",
        /// Group whose offsets are the upper bound.
        compare_group: String = "compareGroup",
        /// Groups left out, joined by commas; absent means none.
        filter_groups: Option<String> = "filterGroups",
    }
    /// Reference: `CloneGroupOffsetRequestHeader`.
    pub struct CloneOffsetRequest {
        /// Group to copy from.
        src_group: String = "srcGroup",
        /// Group to copy to.
        dest_group: String = "destGroup",
        /// Topic; when absent or empty the original copies nothing.
        topic: Option<String> = "topic",
        /// Whether the group is offline; absent means no.
        offline: Option<bool> = "offline",
    }
}
