//! RPCs about positions: where a queue begins and ends, where a group stands.

use crate::{headers, rpcs};

rpcs! {
    /// The offset after the newest message of a queue.
    30 GetMaxOffset "GET_MAX_OFFSET": QueueRef => OffsetReply, Broker, needs Nothing;
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
}
