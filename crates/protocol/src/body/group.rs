//! Bodies about members of groups: who is there, what they want, which queues they get.

use super::{
    heartbeat::{ConsumeFromWhere, ConsumeType, MessageModel, SubscriptionData},
    queue::MessageQueue,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Answer to 38. Reference: `GetConsumerListByGroupResponseBody`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ConsumerList {
    /// Ids of the clients.
    pub consumer_id_list: Vec<String>,
}

/// One connection of a group. Reference: `Connection`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Connection {
    /// `ip:port`.
    pub client_addr: String,
    /// Id of the client.
    pub client_id: String,
    /// Name of its language.
    pub language: String,
    /// Its version ordinal.
    pub version: i32,
}

/// Answer to 203. Reference: `ConsumerConnection`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ConsumerConnection {
    /// The members.
    pub connection_set: Vec<Connection>,
    /// Where the group starts without an offset.
    pub consume_from_where: ConsumeFromWhere,
    /// Who decides when messages come.
    pub consume_type: ConsumeType,
    /// Who of the group gets a message.
    pub message_model: MessageModel,
    /// Topic to subscription.
    pub subscription_table: BTreeMap<String, SubscriptionData>,
}

/// Answer to 204. Reference: `ProducerConnection`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ProducerConnection {
    /// The members.
    pub connection_set: Vec<Connection>,
}

/// One producer. Reference: `ProducerInfo`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ProducerInfo {
    /// Id of the client.
    pub client_id: String,
    /// Name of its language.
    pub language: String,
    /// Last heartbeat, Unix milliseconds.
    pub last_update_timestamp: i64,
    /// `/ip:port`, with the slash.
    #[serde(rename = "remoteIP")]
    pub remote_ip: String,
    /// Its version ordinal.
    pub version: i32,
}

/// Answer to 328. Reference: `ProducerTableInfo`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ProducerTable {
    /// Group to its producers.
    pub data: BTreeMap<String, Vec<ProducerInfo>>,
}

/// Body of 46. Reference: `CheckClientRequestBody`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct CheckClientConfig {
    /// Id of the client.
    pub client_id: String,
    /// Consumer group.
    pub group: String,
    /// Namespace; absent means none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// What shall be checked; absent means nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subscription_data: Option<SubscriptionData>,
}

/// Body of 400. Reference: 5.x `QueryAssignmentRequestBody`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct QueryAssignmentRequest {
    /// Id of the client.
    pub client_id: String,
    /// Consumer group.
    pub consumer_group: String,
    /// Who of the group gets a message.
    pub message_model: MessageModel,
    /// `AVG` or `AVG_BY_CIRCLE`.
    pub strategy_name: String,
    /// Topic.
    pub topic: String,
}

/// Answer to 400. Reference: 5.x `QueryAssignmentResponseBody`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct QueryAssignmentResponse {
    /// The client's share.
    pub message_queue_assignments: Vec<MessageQueueAssignment>,
}

/// One queue of a share. Reference: 5.x `MessageQueueAssignment`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct MessageQueueAssignment {
    /// The queue.
    pub message_queue: MessageQueue,
    /// `PULL` or `POP`.
    pub mode: String,
}

/// Answer to 345. Reference: `QuerySubscriptionResponseBody`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct SubscriptionOfGroup {
    /// Consumer group.
    pub group: String,
    /// Its subscription of the topic; absent if it has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subscription_data: Option<SubscriptionData>,
    /// Topic.
    pub topic: String,
}

/// A consumer's answer to 309. Reference: `ConsumeMessageDirectlyResult`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ConsumeDirectlyResult {
    /// Whether it commits by itself.
    pub auto_commit: bool,
    /// `CR_SUCCESS`, `CR_LATER` and others.
    pub consume_result: String,
    /// Whether it consumes in order.
    pub order: bool,
    /// What went wrong; absent if nothing did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remark: Option<String>,
    /// How long it took, in milliseconds.
    pub spent_time_mills: i64,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::body::{decode, encode};

    #[test]
    fn an_assignment_is_asked_and_answered() {
        let ask: QueryAssignmentRequest = decode(
            br#"{"clientId":"c","consumerGroup":"g","messageModel":"CLUSTERING","strategyName":"AVG","topic":"T"}"#,
        )
        .unwrap();
        assert_eq!((&*ask.strategy_name, ask.message_model), ("AVG", MessageModel::Clustering));
        let share =
            MessageQueueAssignment { message_queue: MessageQueue::new("T", "b", 1), mode: "PULL".into() };
        let answer = QueryAssignmentResponse { message_queue_assignments: vec![share] };
        assert_eq!(
            String::from_utf8(encode(&answer)).unwrap(),
            r#"{"messageQueueAssignments":[{"messageQueue":{"brokerName":"b","queueId":1,"topic":"T"},"mode":"PULL"}]}"#
        );
    }

    #[test]
    fn a_check_without_a_subscription_checks_nothing() {
        let check: CheckClientConfig =
            decode(br#"{"clientId":"c","group":"g","subscriptionData":null}"#).unwrap();
        assert_eq!(check.subscription_data, None);
    }
}
