//! RPCs of writers: sending messages, one by one and in batches.

use crate::{headers, rpcs};

rpcs! {
    /// Stores one message; the header has long names.
    10 SendMessage "SEND_MESSAGE": SendRequest => SendReply, Broker, needs Publish;
    /// Stores one message; the header has one-letter names.
    310 SendMessageV2 "SEND_MESSAGE_V2": SendRequestV2 => SendReply, Broker, needs Publish;
    /// Stores a batch made by the client.
    320 SendBatchMessage "SEND_BATCH_MESSAGE": SendRequestV2 => SendReply, Broker, needs Publish;
}

headers! {
    /// Reference: `SendMessageRequestHeader`.
    pub struct SendRequest {
        /// Group of the producer.
        producer_group: String = "producerGroup",
        /// Topic to store in.
        topic: String = "topic",
        /// Template topic for auto-creation.
        default_topic: String = "defaultTopic",
        /// Queues the client wants when the topic is auto-created.
        default_topic_queue_nums: i32 = "defaultTopicQueueNums",
        /// Queue; negative lets the broker choose.
        queue_id: i32 = "queueId",
        /// Bits of section 6.3 of the wire reference.
        sys_flag: i32 = "sysFlag",
        /// Client time, Unix milliseconds.
        born_timestamp: i64 = "bornTimestamp",
        /// User flag, opaque.
        flag: i32 = "flag",
        /// Property string.
        properties: Option<String> = "properties",
        /// How often the message was consumed in vain.
        reconsume_times: Option<i32> = "reconsumeTimes",
        /// Unit mode.
        unit_mode: Option<bool> = "unitMode",
        /// Limit of retries, for retry topics only.
        max_reconsume_times: Option<i32> = "maxReconsumeTimes",
        /// Whether the body is a batch.
        batch: Option<bool> = "batch",
    }

    /// Reference: `SendMessageRequestHeaderV2`; the same fields under one-letter names.
    pub struct SendRequestV2 {
        /// Group of the producer.
        producer_group: String = "a",
        /// Topic to store in.
        topic: String = "b",
        /// Template topic for auto-creation.
        default_topic: String = "c",
        /// Queues the client wants when the topic is auto-created.
        default_topic_queue_nums: i32 = "d",
        /// Queue; negative lets the broker choose.
        queue_id: i32 = "e",
        /// Bits of section 6.3 of the wire reference.
        sys_flag: i32 = "f",
        /// Client time, Unix milliseconds.
        born_timestamp: i64 = "g",
        /// User flag, opaque.
        flag: i32 = "h",
        /// Property string.
        properties: Option<String> = "i",
        /// How often the message was consumed in vain.
        reconsume_times: Option<i32> = "j",
        /// Unit mode.
        unit_mode: Option<bool> = "k",
        /// Limit of retries, for retry topics only.
        max_reconsume_times: Option<i32> = "l",
        /// Whether the body is a batch.
        batch: Option<bool> = "m",
        /// Name of the broker meant.
        broker_name: Option<String> = "n",
    }

    /// Reference: `SendMessageResponseHeader`. Java clients fail without the first three.
    pub struct SendReply {
        /// Offset message id; of a batch, all ids joined by commas.
        msg_id: String = "msgId",
        /// Queue it went to.
        queue_id: i32 = "queueId",
        /// Queue offset; of a batch, the first.
        queue_offset: i64 = "queueOffset",
        /// Never set by a 4.9 broker.
        transaction_id: Option<String> = "transactionId",
        /// Region of the broker, for traces.
        msg_region: Option<String> = "MSG_REGION",
        /// Whether traces are wanted.
        trace_on: Option<String> = "TRACE_ON",
    }
}
