//! RPCs of writers: sending messages, one by one and in batches.

use crate::{Millis, headers, rpcs};

rpcs! {
    /// Stores one message; the header has long names.
    10 SendMessage "SEND_MESSAGE": SendRequest => SendReply, Broker, needs Publish, body Message;
    /// Stores one message; the header has one-letter names.
    310 SendMessageV2 "SEND_MESSAGE_V2": SendRequestV2 => SendReply, Broker, needs Publish, body Message;
    /// Stores a batch made by the client.
    320 SendBatchMessage "SEND_BATCH_MESSAGE": SendRequestV2 => SendReply, Broker, needs Publish, body Message;
    /// Carries a reply to the requester named by the property `REPLY_TO_CLIENT`; the header has long names.
    324 SendReplyMessage "SEND_REPLY_MESSAGE": SendRequest => SendReply, Broker, needs Publish, body Frame;
    /// Carries a reply to the requester named by the property `REPLY_TO_CLIENT`; one-letter names.
    325 SendReplyMessageV2 "SEND_REPLY_MESSAGE_V2": SendRequestV2 => SendReply, Broker, needs Publish, body Frame;
    /// Takes back a message that waits for its time (5.x timers).
    370 RecallMessage "RECALL_MESSAGE": RecallRequest => RecallReply, Broker, needs Publish;
}

/// Declares the fields of a send once, and gives its header in each form: with long names, with one-letter names, and
/// as a broker pushes a reply to its requester, which has the first part of the fields and some of the broker's.
macro_rules! sends {
    (
        { $( #[doc = $doc:literal] $field:ident : $kind:ty = $long:literal, $short:literal; )* }
        { $( #[doc = $end_doc:literal] $end:ident : $end_kind:ty = $end_long:literal, $end_short:literal; )* }
    ) => {
        headers! {
            /// Reference: `SendMessageRequestHeader`.
            pub struct SendRequest {
                $( #[doc = $doc] $field: $kind = $long, )*
                $( #[doc = $end_doc] $end: $end_kind = $end_long, )*
            }

            /// Reference: `SendMessageRequestHeaderV2`; the same fields under one-letter names.
            pub struct SendRequestV2 {
                $( #[doc = $doc] $field: $kind = $short, )*
                $( #[doc = $end_doc] $end: $end_kind = $end_short, )*
                /// Name of the broker meant.
                broker_name: Option<String> = "n",
            }

            /// Reference: `ReplyMessageRequestHeader`. The fields of the send are the replier's.
            pub struct PushReplyRequest {
                $( #[doc = $doc] $field: $kind = $long, )*
                /// Address of the replier, `ip:port`.
                born_host: String = "bornHost",
                /// Address of the broker, `ip:port`.
                store_host: String = "storeHost",
                /// Broker time, Unix milliseconds.
                store_timestamp: i64 = "storeTimestamp",
            }
        }

        /// The one-letter form carries the same facts; whoever handles a send handles this one.
        impl From<SendRequestV2> for SendRequest {
            fn from(v2: SendRequestV2) -> Self {
                SendRequest { $( $field: v2.$field, )* $( $end: v2.$end, )* }
            }
        }

        impl From<SendRequest> for SendRequestV2 {
            fn from(v1: SendRequest) -> Self {
                SendRequestV2 { $( $field: v1.$field, )* $( $end: v1.$end, )* broker_name: None }
            }
        }
    };
}

sends! {
    {
        /// Group of the producer.
        producer_group: String = "producerGroup", "a";
        /// Topic to store in.
        topic: String = "topic", "b";
        /// Template topic for auto-creation.
        default_topic: String = "defaultTopic", "c";
        /// Queues the client wants when the topic is auto-created.
        default_topic_queue_nums: i32 = "defaultTopicQueueNums", "d";
        /// Queue; negative lets the broker choose.
        queue_id: i32 = "queueId", "e";
        /// Bits of section 6.3 of the wire reference.
        sys_flag: i32 = "sysFlag", "f";
        /// Client time, Unix milliseconds.
        born_timestamp: i64 = "bornTimestamp", "g";
        /// User flag, opaque.
        flag: i32 = "flag", "h";
        /// Property string; without `CORRELATION_ID` a pushed reply finds no requester.
        properties: Option<String> = "properties", "i";
        /// How often the message was consumed in vain; absent means 0.
        reconsume_times: Option<i32> = "reconsumeTimes", "j";
        /// Unit mode; absent means no.
        unit_mode: Option<bool> = "unitMode", "k";
    }
    {
        /// Limit of retries, for retry topics only.
        max_reconsume_times: Option<i32> = "maxReconsumeTimes", "l";
        /// Whether the body is a batch.
        batch: Option<bool> = "batch", "m";
    }
}

impl SendRequestV2 {
    /// A send as a client makes it that was told nothing but where to and what.
    pub fn plain(
        producer_group: &str,
        topic: &str,
        queue_id: i32,
        born: Millis,
        properties: String,
    ) -> SendRequestV2 {
        SendRequestV2 {
            producer_group: producer_group.into(),
            topic: topic.into(),
            default_topic: "TBW102".into(),
            default_topic_queue_nums: 4,
            queue_id,
            sys_flag: 0,
            born_timestamp: born.0,
            flag: 0,
            properties: Some(properties),
            reconsume_times: Some(0),
            unit_mode: Some(false),
            max_reconsume_times: None,
            batch: Some(false),
            broker_name: None,
        }
    }
}

headers! {
    /// Reference: `SendMessageResponseHeader`. Java clients fail without the first three.
    pub struct SendReply {
        /// Offset message id; of a batch, all ids joined by commas.
        msg_id: String = "msgId",
        /// Queue it went to.
        queue_id: i32 = "queueId",
        /// Queue offset; of a batch, the first.
        queue_offset: i64 = "queueOffset",
        /// Absent from a 4.9 broker's answers.
        transaction_id: Option<String> = "transactionId",
        /// Region of the broker, for traces.
        msg_region: Option<String> = "MSG_REGION",
        /// Whether traces are wanted.
        trace_on: Option<String> = "TRACE_ON",
    }

    /// Reference: 5.x `RecallMessageRequestHeader`.
    pub struct RecallRequest {
        /// Group of the producer; absent when the client does not say.
        producer_group: Option<String> = "producerGroup",
        /// Topic the message was sent to.
        topic: String = "topic",
        /// Handle that the answer to the send carried.
        recall_handle: String = "recallHandle",
    }
    /// Reference: 5.x `RecallMessageResponseHeader`.
    pub struct RecallReply {
        /// Unique id of the message taken back.
        msg_id: String = "msgId",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::header::{Ext, Fields};

    #[test]
    fn both_forms_of_a_send_say_the_same() {
        let ext: Ext = [
            ("a", "pg"),
            ("b", "t"),
            ("c", "TBW102"),
            ("d", "4"),
            ("e", "-1"),
            ("f", "1"),
            ("g", "1700000000000"),
            ("h", "7"),
            ("i", "TAGS\u{1}x"),
            ("m", "true"),
        ]
        .into_iter()
        .collect();
        let v2 = SendRequestV2::from_ext(&ext).unwrap();
        let v1 = SendRequest::from(v2.clone());
        assert_eq!(SendRequestV2::from(v1.clone()), v2);
        assert_eq!(SendRequest::from_ext(&v1.to_ext()).unwrap(), v1);
        assert_eq!((v1.queue_id, v1.batch, v1.reconsume_times), (-1, Some(true), None));
    }
}
