//! RPCs of readers: pulling messages, looking single ones up, giving them back.

use crate::{headers, rpcs};

rpcs! {
    /// Reads messages of one queue from an offset; may be held until some arrive.
    11 PullMessage "PULL_MESSAGE": PullRequest => PullReply, Broker, needs Subscribe;
    /// The same pull under the code that 5.x lite pull consumers use.
    361 LitePullMessage "LITE_PULL_MESSAGE": PullRequest => PullReply, Broker, needs Subscribe;
    /// Finds messages of a topic by index key, or by unique id with the extra field `_UNIQUE_KEY_QUERY`.
    12 QueryMessage "QUERY_MESSAGE": QueryRequest => QueryReply, Broker, needs Subscribe;
    /// Reads the one message at a place of the commit log.
    33 ViewMessageById "VIEW_MESSAGE_BY_ID": ViewRequest => (), Broker, needs Subscribe;
    /// Gives a message back that could not be consumed: it comes again later, or becomes a dead letter.
    36 ConsumerSendMsgBack "CONSUMER_SEND_MSG_BACK": SendBackRequest => (), Broker, needs Subscribe;
}

headers! {
    /// Reference: `PullMessageRequestHeader`.
    pub struct PullRequest {
        /// Consumer group.
        consumer_group: String = "consumerGroup",
        /// Topic.
        topic: String = "topic",
        /// Queue.
        queue_id: i32 = "queueId",
        /// First message wanted, counted in messages, not bytes.
        queue_offset: i64 = "queueOffset",
        /// Most messages wanted.
        max_msg_nums: i32 = "maxMsgNums",
        /// 1 commit, 2 may be held, 4 carries a subscription, 8 class filter, 16 lite pull.
        sys_flag: i32 = "sysFlag",
        /// Offset to commit, in messages; read only with flag 1, absent means none.
        commit_offset: Option<i64> = "commitOffset",
        /// How long an empty pull may be held, in milliseconds; absent means not at all.
        suspend_timeout_millis: Option<i64> = "suspendTimeoutMillis",
        /// Filter expression; read only with flag 4.
        subscription: Option<String> = "subscription",
        /// Version of the subscription, larger is newer; absent means 0.
        sub_version: Option<i64> = "subVersion",
        /// `TAG` (also when absent) or `SQL92`.
        expression_type: Option<String> = "expressionType",
        /// Most bytes wanted; 5.x only, absent means the broker's limit.
        max_msg_bytes: Option<i32> = "maxMsgBytes",
    }

    /// Reference: `PullMessageResponseHeader`; all four are required by clients.
    pub struct PullReply {
        /// Broker id to pull from next time.
        suggest_which_broker_id: i64 = "suggestWhichBrokerId",
        /// Offset to pull from next.
        next_begin_offset: i64 = "nextBeginOffset",
        /// Oldest offset of the queue.
        min_offset: i64 = "minOffset",
        /// Offset after the newest message of the queue.
        max_offset: i64 = "maxOffset",
    }

    /// Reference: `QueryMessageRequestHeader`.
    pub struct QueryRequest {
        /// Topic.
        topic: String = "topic",
        /// The index key, or the unique id.
        key: String = "key",
        /// Most messages wanted.
        max_num: i32 = "maxNum",
        /// Earliest store time, Unix milliseconds.
        begin_timestamp: i64 = "beginTimestamp",
        /// Latest store time, Unix milliseconds.
        end_timestamp: i64 = "endTimestamp",
        /// Whether `key` is a unique id; absent means no. Clients sign it, 4.9 brokers leave it out of the check.
        unique_key_query: Option<bool> = "_UNIQUE_KEY_QUERY",
    }
    /// Reference: `QueryMessageResponseHeader`.
    pub struct QueryReply {
        /// Store time of the newest indexed message, Unix milliseconds.
        index_last_update_timestamp: i64 = "indexLastUpdateTimestamp",
        /// Commit-log offset of the newest indexed message, in bytes.
        index_last_update_phyoffset: i64 = "indexLastUpdatePhyoffset",
    }
    /// Reference: `ViewMessageRequestHeader`.
    pub struct ViewRequest {
        /// Commit-log offset of the message, in bytes.
        offset: i64 = "offset",
    }
    /// Reference: `ConsumerSendMsgBackRequestHeader`.
    pub struct SendBackRequest {
        /// Commit-log offset of the message, in bytes.
        offset: i64 = "offset",
        /// Consumer group.
        group: String = "group",
        /// Delay level; 0 lets the broker choose, negative makes it a dead letter at once.
        delay_level: i32 = "delayLevel",
        /// Id of the message as first sent; absent from old clients.
        origin_msg_id: Option<String> = "originMsgId",
        /// Topic of the message as first sent; absent from old clients.
        origin_topic: Option<String> = "originTopic",
        /// Unit mode; absent means no.
        unit_mode: Option<bool> = "unitMode",
        /// Limit of retries; absent means the group's.
        max_reconsume_times: Option<i32> = "maxReconsumeTimes",
    }
}

impl PullRequest {
    /// Asks a queue once for all that is there, whatever its tags: is not held and commits nothing.
    pub fn once(
        consumer_group: &str,
        topic: &str,
        queue_id: i32,
        queue_offset: i64,
        max_msg_nums: i32,
    ) -> PullRequest {
        PullRequest {
            consumer_group: consumer_group.into(),
            topic: topic.into(),
            queue_id,
            queue_offset,
            max_msg_nums,
            sys_flag: 4,
            commit_offset: Some(0),
            suspend_timeout_millis: Some(0),
            subscription: Some("*".into()),
            sub_version: Some(0),
            expression_type: Some("TAG".into()),
            max_msg_bytes: None,
        }
    }
}
