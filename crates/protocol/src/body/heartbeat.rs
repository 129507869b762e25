//! What a client says of itself: its groups and subscriptions.

use super::wire_names;
use serde::{Deserialize, Deserializer, Serialize};
use std::{collections::BTreeSet, fmt};

wire_names! {
    /// Who decides when messages come. Reference: `ConsumeType`.
    pub enum ConsumeType {
        /// The consumer's library, which hands messages to a listener.
        1 Passively "CONSUME_PASSIVELY",
        /// The application, which pulls.
        0 Actively "CONSUME_ACTIVELY",
        /// The library by popping, 5.x.
        2 Pop "CONSUME_POP",
    }
}

wire_names! {
    /// Who of a group gets a message. Reference: `MessageModel`.
    pub enum MessageModel {
        /// One member.
        1 Clustering "CLUSTERING",
        /// All members.
        0 Broadcasting "BROADCASTING",
    }
}

wire_names! {
    /// Where a group without an offset starts. Reference: `ConsumeFromWhere`.
    pub enum ConsumeFromWhere {
        /// At the end.
        0 LastOffset "CONSUME_FROM_LAST_OFFSET",
        /// Deprecated, as the first.
        1 LastOffsetAndFromMinWhenBootFirst "CONSUME_FROM_LAST_OFFSET_AND_FROM_MIN_WHEN_BOOT_FIRST",
        /// Deprecated, as the first.
        2 MinOffset "CONSUME_FROM_MIN_OFFSET",
        /// Deprecated, as the first.
        3 MaxOffset "CONSUME_FROM_MAX_OFFSET",
        /// At the oldest message.
        4 FirstOffset "CONSUME_FROM_FIRST_OFFSET",
        /// At a point in time.
        5 Timestamp "CONSUME_FROM_TIMESTAMP",
    }
}

/// Body of 34. Reference: `HeartbeatData`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct HeartbeatData {
    /// Id of the client, opaque.
    #[serde(rename = "clientID")]
    pub client_id: String,
    /// Its consumers.
    pub consumer_data_set: Vec<ConsumerData>,
    /// Its producers.
    pub producer_data_set: Vec<ProducerData>,
}

/// A producer. Reference: `ProducerData`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ProducerData {
    /// Its group.
    pub group_name: String,
}

/// A consumer. Reference: `ConsumerData`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ConsumerData {
    /// Where a group without an offset starts.
    pub consume_from_where: ConsumeFromWhere,
    /// Who decides when messages come.
    pub consume_type: ConsumeType,
    /// Its group.
    pub group_name: String,
    /// Who of the group gets a message.
    pub message_model: MessageModel,
    /// What it wants.
    pub subscription_data_set: Vec<SubscriptionData>,
    /// Unit mode.
    pub unit_mode: bool,
}

/// What is wanted of a topic. Reference: `SubscriptionData`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct SubscriptionData {
    /// Dead feature.
    pub class_filter_mode: bool,
    /// Hash codes of the tags as the client has them. Never to be trusted: C++ clients send nonsense.
    #[serde(deserialize_with = "codes")]
    pub code_set: BTreeSet<i32>,
    /// `TAG` (also when absent) or `SQL92`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expression_type: Option<String>,
    /// `*`, tags joined by `||`, or an SQL92 expression.
    pub sub_string: String,
    /// Larger is newer; milliseconds from Java, nanoseconds from Go.
    pub sub_version: i64,
    /// The tags; none for `*` and SQL92.
    pub tags_set: BTreeSet<String>,
    /// Topic.
    pub topic: String,
}

impl Default for SubscriptionData {
    fn default() -> Self {
        SubscriptionData {
            class_filter_mode: false,
            code_set: BTreeSet::new(),
            expression_type: Some(TAG.into()),
            sub_string: "*".into(),
            sub_version: 0,
            tags_set: BTreeSet::new(),
            topic: String::new(),
        }
    }
}

/// Expression type of tags.
pub const TAG: &str = "TAG";
/// Expression type of SQL92.
pub const SQL92: &str = "SQL92";

impl SubscriptionData {
    /// Whether the expression is about tags.
    pub fn is_tag(&self) -> bool {
        self.expression_type.as_deref().is_none_or(|kind| kind.is_empty() || kind == TAG)
    }
}

/// Numbers, or texts of numbers; what is neither is dropped.
fn codes<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeSet<i32>, D::Error> {
    struct Code(Option<i32>);
    impl<'de> Deserialize<'de> for Code {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            struct Any;
            impl serde::de::Visitor<'_> for Any {
                type Value = Code;
                fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                    f.write_str("a hash code")
                }
                fn visit_i64<E>(self, number: i64) -> Result<Code, E> {
                    Ok(Code(i32::try_from(number).ok()))
                }
                fn visit_u64<E>(self, number: u64) -> Result<Code, E> {
                    Ok(Code(i32::try_from(number).ok()))
                }
                fn visit_str<E>(self, text: &str) -> Result<Code, E> {
                    Ok(Code(text.parse().ok()))
                }
            }
            deserializer.deserialize_any(Any)
        }
    }
    Ok(Vec::<Code>::deserialize(deserializer)?.into_iter().filter_map(|code| code.0).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::body::{BodyError, decode, encode};

    #[test]
    fn the_java_clients_form_survives() {
        let text = r#"{"clientID":"10.0.0.5@1234#5678","consumerDataSet":[{"consumeFromWhere":"CONSUME_FROM_LAST_OFFSET","consumeType":"CONSUME_PASSIVELY","groupName":"g","messageModel":"CLUSTERING","subscriptionDataSet":[{"classFilterMode":false,"codeSet":[2598919],"expressionType":"TAG","subString":"TagA","subVersion":1700000000000,"tagsSet":["TagA"],"topic":"T"}],"unitMode":false}],"producerDataSet":[{"groupName":"pg"}]}"#;
        let beat: HeartbeatData = decode(text.as_bytes()).unwrap();
        assert_eq!(beat.consumer_data_set[0].subscription_data_set[0].sub_version, 1_700_000_000_000);
        assert_eq!(String::from_utf8(encode(&beat)).unwrap(), text);
    }

    #[test]
    fn the_cpp_clients_form_is_read() {
        let text = b"{\"clientID\":\"c\",\"consumerDataSet\":[{\"consumeFromWhere\":4,\"consumeType\":1,\"groupName\":\"g\",\"messageModel\":0,\"subscriptionDataSet\":[{\"codeSet\":[\"0\",\"x\"],\"subString\":\"*\",\"subVersion\":\"17\",\"topic\":\"T\"}]}]}\n";
        let beat: HeartbeatData = decode(text).unwrap();
        let consumer = &beat.consumer_data_set[0];
        assert_eq!(consumer.consume_from_where, ConsumeFromWhere::FirstOffset);
        assert_eq!(consumer.message_model, MessageModel::Broadcasting);
        let subscription = &consumer.subscription_data_set[0];
        assert_eq!((subscription.sub_version, subscription.is_tag()), (17, true));
        assert_eq!(subscription.code_set, BTreeSet::from([0]));
        assert!(beat.producer_data_set.is_empty());
    }

    #[test]
    fn a_repeated_subscription_is_found_again() {
        let text = br#"{"clientID":"c","consumerDataSet":[{"groupName":"a","subscriptionDataSet":[{"topic":"T","subVersion":3}]},{"groupName":"b","subscriptionDataSet":[{"$ref":"$.consumerDataSet[0].subscriptionDataSet[0]"},{"$ref":"$.nowhere"}]}],"heartbeatFingerprint":5}"#;
        let beat: HeartbeatData = decode(text).unwrap();
        assert_eq!(
            beat.consumer_data_set[1].subscription_data_set,
            beat.consumer_data_set[0].subscription_data_set
        );
    }

    #[test]
    fn another_shape_is_named() {
        let why = decode::<HeartbeatData>(br#"{"consumerDataSet":7}"#).unwrap_err();
        assert_eq!(why, BodyError::Shape("a number stands where a list is wanted".into()));
        assert_eq!(decode::<HeartbeatData>(b""), Err(BodyError::Empty));
    }
}
