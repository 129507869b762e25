//! Bodies that name queues: locks, offsets by queue, resets.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Names one queue. As a key of a map it is written as a raw object, which is what Java and Go parse.
/// Reference: `MessageQueue`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct MessageQueue {
    /// Broker name.
    pub broker_name: String,
    /// Queue.
    pub queue_id: i32,
    /// Topic.
    pub topic: String,
}

impl MessageQueue {
    /// Names a queue.
    pub fn new(topic: &str, broker_name: &str, queue_id: i32) -> Self {
        MessageQueue { broker_name: broker_name.into(), queue_id, topic: topic.into() }
    }
}

/// Body of 41 and 42. Reference: `LockBatchRequestBody`, `UnlockBatchRequestBody`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct LockBatchRequest {
    /// Who locks.
    pub client_id: String,
    /// For which group.
    pub consumer_group: String,
    /// Which queues.
    pub mq_set: Vec<MessageQueue>,
}

/// Answer to 41. Reference: `LockBatchResponseBody`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct LockBatchResponse {
    /// The queues now held.
    #[serde(rename = "lockOKMQSet")]
    pub lock_ok_mq_set: Vec<MessageQueue>,
}

/// Offsets by queue: body of 220 and answer to 222. Reference: `ResetOffsetBody`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ResetOffsetBody {
    /// Next message to consume, by queue.
    pub offset_table: BTreeMap<MessageQueue, i64>,
}

/// Body of 220 for C++ clients, which cannot read objects as keys. Reference: `ResetOffsetBodyForC`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ResetOffsetList {
    /// Next message to consume, by queue.
    pub offset_table: Vec<QueueAndOffset>,
}

/// One entry of that list. Reference: `MessageQueueForC`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct QueueAndOffset {
    /// Broker name.
    pub broker_name: String,
    /// The offset, in messages.
    pub offset: i64,
    /// Queue.
    pub queue_id: i32,
    /// Topic.
    pub topic: String,
}

impl From<&ResetOffsetBody> for ResetOffsetList {
    fn from(body: &ResetOffsetBody) -> Self {
        let entry = |(queue, offset): (&MessageQueue, &i64)| QueueAndOffset {
            broker_name: queue.broker_name.clone(),
            offset: *offset,
            queue_id: queue.queue_id,
            topic: queue.topic.clone(),
        };
        ResetOffsetList { offset_table: body.offset_table.iter().map(entry).collect() }
    }
}

/// Answer to 221 and 223. Reference: `GetConsumerStatusBody`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ConsumerStatus {
    /// Client id to its offsets; in answers to 223.
    pub consumer_table: BTreeMap<String, BTreeMap<MessageQueue, i64>>,
    /// The client's offsets; in answers to 221.
    pub message_queue_table: BTreeMap<MessageQueue, i64>,
}

/// All groups' offsets: answer to 43 and the file `consumerOffset.json`.
/// Reference: `ConsumerOffsetSerializeWrapper`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ConsumerOffsetTable {
    /// `topic@group` to queue to offset.
    pub offset_table: BTreeMap<String, BTreeMap<i32, i64>>,
}

/// Progress of the delay levels: answer to 45 and the file `delayOffset.json`.
/// Reference: `DelayOffsetSerializeWrapper`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct DelayOffsetTable {
    /// Level to the next queue offset to deliver.
    pub offset_table: BTreeMap<i32, i64>,
}

/// Answer to 308. Reference: `QueryCorrectionOffsetBody`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct QueryCorrectionOffset {
    /// Queue to offset; the largest number means none.
    pub correction_offsets: BTreeMap<i32, i64>,
}

/// Body of the message that a pull outside its queue leaves. Reference: `OffsetMovedEvent`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct OffsetMovedEvent {
    /// Consumer group.
    pub consumer_group: String,
    /// The queue.
    pub message_queue: MessageQueue,
    /// Where it goes on.
    pub offset_new: i64,
    /// What was asked for.
    pub offset_request: i64,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::body::{decode, encode, fastjson};

    #[test]
    fn objects_are_keys_as_java_and_go_want_them() {
        let body = ResetOffsetBody { offset_table: BTreeMap::from([(MessageQueue::new("T", "b", 0), 7)]) };
        let raw = r#"{"offsetTable":{{"brokerName":"b","queueId":0,"topic":"T"}:7}}"#;
        assert_eq!(String::from_utf8(encode(&body)).unwrap(), raw);
        let text_key = r#"{"offsetTable":{"{\"brokerName\":\"b\",\"queueId\":0,\"topic\":\"T\"}":7}}"#;
        for form in [raw, text_key] {
            assert_eq!(decode::<ResetOffsetBody>(form.as_bytes()), Ok(body.clone()), "{form}");
        }
        let list = r#"{"offsetTable":[{"brokerName":"b","offset":7,"queueId":0,"topic":"T"}]}"#;
        assert_eq!(String::from_utf8(encode(&ResetOffsetList::from(&body))).unwrap(), list);
    }

    #[test]
    fn a_client_id_that_looks_like_an_object_stays_a_text() {
        let status = ConsumerStatus {
            consumer_table: BTreeMap::from([("{\"a\":1}".to_owned(), BTreeMap::new())]),
            ..ConsumerStatus::default()
        };
        assert_eq!(
            String::from_utf8(encode(&status)).unwrap(),
            r#"{"consumerTable":{"{\"a\":1}":{}},"messageQueueTable":{}}"#
        );
        assert_eq!(decode::<ConsumerStatus>(&encode(&status)), Ok(status));
    }

    #[test]
    fn an_offsets_file_of_the_original_is_read() {
        let text = b"{\n\t\"offsetTable\":{\n\t\t\"T@g\":{0:100,1:98\n\t\t}\n\t}\n}";
        let table: ConsumerOffsetTable = fastjson::from_slice_limited(text, fastjson::Limits::FILE).unwrap();
        assert_eq!(table.offset_table["T@g"], BTreeMap::from([(0, 100), (1, 98)]));
        assert_eq!(fastjson::to_file(&table), text);
    }

    #[test]
    fn a_lock_request_of_5x_with_its_extra_key_is_read() {
        let text = br#"{"clientId":"c","consumerGroup":"g","mqSet":[{"brokerName":"b","queueId":3,"topic":"T"}],"onlyThisBroker":true}"#;
        let lock: LockBatchRequest = decode(text).unwrap();
        assert_eq!(lock.mq_set, [MessageQueue::new("T", "b", 3)]);
        let answer = LockBatchResponse { lock_ok_mq_set: lock.mq_set };
        assert_eq!(encode(&answer), br#"{"lockOKMQSet":[{"brokerName":"b","queueId":3,"topic":"T"}]}"#);
    }
}
