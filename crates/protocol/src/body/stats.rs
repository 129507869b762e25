//! Bodies of statistics: offsets by queue, progress, rates, queue entries.

use super::{heartbeat::SubscriptionData, queue::MessageQueue};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Answer to 202. Reference: `TopicStatsTable`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct TopicStatsTable {
    /// First and last offset by queue.
    pub offset_table: BTreeMap<MessageQueue, TopicOffset>,
}

/// First and last offset of a queue. Reference: `TopicOffset`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct TopicOffset {
    /// Store time of the newest message, Unix milliseconds; 0 if there is none.
    pub last_update_timestamp: i64,
    /// Offset after the newest message.
    pub max_offset: i64,
    /// Offset of the oldest message.
    pub min_offset: i64,
}

/// Answer to 208. Reference: `ConsumeStats`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ConsumeStats {
    /// Messages per second.
    pub consume_tps: f64,
    /// How far the group is, by queue.
    pub offset_table: BTreeMap<MessageQueue, ConsumeOffset>,
}

/// How far a group is in a queue. Reference: `OffsetWrapper`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ConsumeOffset {
    /// Offset after the newest message.
    pub broker_offset: i64,
    /// Next message the group consumes.
    pub consumer_offset: i64,
    /// Store time of the last consumed message, Unix milliseconds; 0 if unknown.
    pub last_timestamp: i64,
}

/// Answer to 317. Reference: `ConsumeStatsList`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ConsumeStatsList {
    /// The broker's address.
    pub broker_addr: String,
    /// One map per group, with the progress of each of its topics.
    pub consume_stats_list: Vec<BTreeMap<String, Vec<ConsumeStats>>>,
    /// Messages not yet consumed, over all.
    pub total_diff: i64,
}

/// Answer to 315. Reference: `BrokerStatsData`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct BrokerStatsData {
    /// Over the last day.
    pub stats_day: BrokerStatsItem,
    /// Over the last hour.
    pub stats_hour: BrokerStatsItem,
    /// Over the last minute.
    pub stats_minute: BrokerStatsItem,
}

/// Reference: `BrokerStatsItem`.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct BrokerStatsItem {
    /// Mean per call.
    pub avgpt: f64,
    /// Sum.
    pub sum: i64,
    /// Per second.
    pub tps: f64,
}

/// Answer to 303. Reference: `QueryConsumeTimeSpanBody`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ConsumeTimeSpans {
    /// One per queue.
    pub consume_time_span_set: Vec<QueueTimeSpan>,
}

/// Times of a queue, all Unix milliseconds. Reference: `QueueTimeSpan`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct QueueTimeSpan {
    /// Store time of the last consumed message.
    pub consume_time_stamp: i64,
    /// How far behind, in milliseconds.
    pub delay_time: i64,
    /// Store time of the newest message.
    pub max_time_stamp: i64,
    /// The queue.
    pub message_queue: MessageQueue,
    /// Store time of the oldest message.
    pub min_time_stamp: i64,
}

/// Answer to 321. Reference: `QueryConsumeQueueResponseBody`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct QueryConsumeQueue {
    /// The group's filter as text; absent without one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub filter_data: Option<String>,
    /// Offset after the newest message.
    pub max_queue_index: i64,
    /// Offset of the oldest message.
    pub min_queue_index: i64,
    /// The entries.
    pub queue_data: Vec<ConsumeQueueData>,
    /// The group's subscription; absent without one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subscription_data: Option<SubscriptionData>,
}

/// An entry of a consume queue. Reference: `ConsumeQueueData`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ConsumeQueueData {
    /// Filter bits; absent without them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bit_map: Option<String>,
    /// Whether the group's filter lets it pass.
    pub eval: bool,
    /// What stands beside the entry; absent without it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub extend_data_json: Option<String>,
    /// What went wrong; absent if nothing did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub msg: Option<String>,
    /// Commit-log offset, in bytes.
    pub physic_offset: i64,
    /// Size of the record, in bytes.
    pub physic_size: i32,
    /// Tag code.
    pub tags_code: i64,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::body::{decode, encode};

    #[test]
    fn progress_survives_with_objects_as_keys() {
        let offset = ConsumeOffset { broker_offset: 9, consumer_offset: 7, last_timestamp: 1 };
        let stats = ConsumeStats {
            consume_tps: 0.0,
            offset_table: BTreeMap::from([
                (MessageQueue::new("T", "b", 0), offset),
                (MessageQueue::new("T", "b", 1), offset),
            ]),
        };
        let text = r#"{"consumeTps":0.0,"offsetTable":{{"brokerName":"b","queueId":0,"topic":"T"}:{"brokerOffset":9,"consumerOffset":7,"lastTimestamp":1},{"brokerName":"b","queueId":1,"topic":"T"}:{"brokerOffset":9,"consumerOffset":7,"lastTimestamp":1}}}"#;
        assert_eq!(String::from_utf8(encode(&stats)).unwrap(), text);
        assert_eq!(decode::<ConsumeStats>(text.as_bytes()), Ok(stats));
    }

    #[test]
    fn a_number_that_is_none_is_left_out_when_read() {
        let item = BrokerStatsItem { avgpt: f64::NAN, sum: 3, tps: 1.5 };
        assert_eq!(encode(&item), br#"{"avgpt":null,"sum":3,"tps":1.5}"#);
        assert_eq!(
            decode::<BrokerStatsItem>(&encode(&item)),
            Ok(BrokerStatsItem { avgpt: 0.0, sum: 3, tps: 1.5 })
        );
    }
}
