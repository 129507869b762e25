//! Configuration of topics and groups, as bodies and as the store's `config/*.json` files.

use super::{is_zero, wire_names};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Tells one state of a table from another; equal when all parts are. Reference: `DataVersion`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct DataVersion {
    /// Grows with each change.
    pub counter: i64,
    /// Epoch of a 5.x broker group; 0, and not written, without one.
    #[serde(skip_serializing_if = "is_zero")]
    pub state_version: i64,
    /// When it was changed, Unix milliseconds.
    pub timestamp: i64,
}

wire_names! {
    /// How many tags a message of the topic may have. Reference: `TopicFilterType`.
    pub enum TopicFilterType {
        /// One.
        0 SingleTag "SINGLE_TAG",
        /// Several.
        1 MultiTag "MULTI_TAG",
    }
}

/// A topic's configuration. Reference: `TopicConfig`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct TopicConfig {
    /// 5.x attributes; not written when there are none.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub attributes: BTreeMap<String, String>,
    /// Order topic.
    pub order: bool,
    /// Bits: 1 template, 2 write, 4 read.
    pub perm: i32,
    /// Queues to read from.
    pub read_queue_nums: i32,
    /// How many tags a message may have.
    pub topic_filter_type: TopicFilterType,
    /// Name.
    pub topic_name: String,
    /// Bits: 1 unit topic, 2 has a unit's subscription.
    pub topic_sys_flag: i32,
    /// Queues to write to.
    pub write_queue_nums: i32,
}

impl Default for TopicConfig {
    fn default() -> Self {
        TopicConfig {
            attributes: BTreeMap::new(),
            order: false,
            perm: 6,
            read_queue_nums: 16,
            topic_filter_type: TopicFilterType::SingleTag,
            topic_name: String::new(),
            topic_sys_flag: 0,
            write_queue_nums: 16,
        }
    }
}

/// All topics; body of 21 and the file `topics.json`. Reference: `TopicConfigSerializeWrapper`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct TopicConfigTable {
    /// Which state of the table.
    pub data_version: DataVersion,
    /// Name to configuration.
    pub topic_config_table: BTreeMap<String, TopicConfig>,
}

/// Several topics at once, 5.x. Reference: `CreateTopicListRequestBody`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct TopicConfigList {
    /// The topics.
    pub topic_config_list: Vec<TopicConfig>,
}

/// A consumer group's configuration. Reference: `SubscriptionGroupConfig`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct SubscriptionGroupConfig {
    /// 5.x attributes; not written when there are none.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub attributes: BTreeMap<String, String>,
    /// Broker id to read from; 0 is the master.
    pub broker_id: i64,
    /// Whether members may consume by broadcast.
    pub consume_broadcast_enable: bool,
    /// Whether members may consume at all.
    pub consume_enable: bool,
    /// Whether a new group starts at the oldest message.
    pub consume_from_min_enable: bool,
    /// 5.x; absent from others.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub consume_message_orderly: Option<bool>,
    /// 5.x; absent from others.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub consume_timeout_minute: Option<i32>,
    /// Name.
    pub group_name: String,
    /// 5.x; absent from others.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group_sys_flag: Option<i32>,
    /// Whether members are told when the group changes.
    pub notify_consumer_ids_changed_enable: bool,
    /// How often a message comes again before it is a dead letter.
    pub retry_max_times: i32,
    /// Queues of the retry topic; 0 drops what is given back.
    pub retry_queue_nums: i32,
    /// Broker id suggested to members that lag far behind.
    pub which_broker_when_consume_slowly: i64,
}

impl Default for SubscriptionGroupConfig {
    fn default() -> Self {
        SubscriptionGroupConfig {
            attributes: BTreeMap::new(),
            broker_id: 0,
            consume_broadcast_enable: true,
            consume_enable: true,
            consume_from_min_enable: true,
            consume_message_orderly: None,
            consume_timeout_minute: None,
            group_name: String::new(),
            group_sys_flag: None,
            notify_consumer_ids_changed_enable: true,
            retry_max_times: 16,
            retry_queue_nums: 1,
            which_broker_when_consume_slowly: 1,
        }
    }
}

/// All groups; body of 201 and the file `subscriptionGroup.json`. Reference: `SubscriptionGroupWrapper`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct SubscriptionGroupTable {
    /// Which state of the table.
    pub data_version: DataVersion,
    /// Group to topic to what is forbidden, 5.x; not written when empty.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub forbidden_table: BTreeMap<String, BTreeMap<String, i32>>,
    /// Name to configuration.
    pub subscription_group_table: BTreeMap<String, SubscriptionGroupConfig>,
}

/// Several groups at once, 5.x. Reference: `SubscriptionGroupList`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct SubscriptionGroupList {
    /// The groups.
    pub group_config_list: Vec<SubscriptionGroupConfig>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::body::{decode, encode, fastjson};

    #[test]
    fn a_topics_file_of_the_original_is_read_and_written_alike() {
        let text = "{\n\t\"dataVersion\":{\n\t\t\"counter\":12,\n\t\t\"timestamp\":1700000000000\n\t},\n\t\"topicConfigTable\":{\n\t\t\"TopicA\":{\n\t\t\t\"order\":false,\n\t\t\t\"perm\":6,\n\t\t\t\"readQueueNums\":8,\n\t\t\t\"topicFilterType\":\"SINGLE_TAG\",\n\t\t\t\"topicName\":\"TopicA\",\n\t\t\t\"topicSysFlag\":0,\n\t\t\t\"writeQueueNums\":8\n\t\t}\n\t}\n}";
        let table: TopicConfigTable =
            fastjson::from_slice_limited(text.as_bytes(), fastjson::Limits::FILE).unwrap();
        assert_eq!(table.topic_config_table["TopicA"].read_queue_nums, 8);
        assert_eq!(String::from_utf8(fastjson::to_file(&table)).unwrap(), text);
    }

    #[test]
    fn missing_keys_have_the_originals_defaults() {
        let group: SubscriptionGroupConfig = decode(br#"{"groupName":"g","retryMaxTimes":null}"#).unwrap();
        assert_eq!(
            group,
            SubscriptionGroupConfig { group_name: "g".into(), ..SubscriptionGroupConfig::default() }
        );
        let text = r#"{"brokerId":0,"consumeBroadcastEnable":true,"consumeEnable":true,"consumeFromMinEnable":true,"groupName":"g","notifyConsumerIdsChangedEnable":true,"retryMaxTimes":16,"retryQueueNums":1,"whichBrokerWhenConsumeSlowly":1}"#;
        assert_eq!(String::from_utf8(encode(&group)).unwrap(), text);
    }

    #[test]
    fn a_filter_type_may_be_a_number_or_unheard_of() {
        for (text, kind) in [
            ("1", TopicFilterType::MultiTag),
            ("\"MULTI_TAG\"", TopicFilterType::MultiTag),
            ("\"NEW\"", TopicFilterType::SingleTag),
        ] {
            let topic: TopicConfig = decode(format!("{{\"topicFilterType\":{text}}}").as_bytes()).unwrap();
            assert_eq!(topic.topic_filter_type, kind);
        }
    }
}
