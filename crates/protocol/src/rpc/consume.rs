//! RPCs of readers: pulling messages.

use crate::{headers, rpcs};

rpcs! {
    /// Reads messages of one queue from an offset; may be held until some arrive.
    11 PullMessage "PULL_MESSAGE": PullRequest => PullReply, Broker, needs Subscribe;
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
        /// Offset to commit; read only with flag 1.
        commit_offset: Option<i64> = "commitOffset",
        /// How long an empty pull may be held, in milliseconds.
        suspend_timeout_millis: Option<i64> = "suspendTimeoutMillis",
        /// Filter expression; read only with flag 4.
        subscription: Option<String> = "subscription",
        /// Version of the subscription, larger is newer.
        sub_version: Option<i64> = "subVersion",
        /// `TAG` (also when absent) or `SQL92`.
        expression_type: Option<String> = "expressionType",
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
}
