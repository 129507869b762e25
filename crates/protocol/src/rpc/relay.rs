//! RPCs between a broker and its clients in the other direction, and those that a broker passes on to one.

use crate::{headers, rpcs};

pub use super::produce::PushReplyRequest;

rpcs! {
    /// Tells a consumer that its group changed, so that it shares out the queues again; one-way.
    40 NotifyConsumerIdsChanged "NOTIFY_CONSUMER_IDS_CHANGED": NotifyRequest => (), Client, needs Nothing;
    /// Tells a consumer to go on from other offsets; the body lists them; one-way.
    220 ResetConsumerClientOffset "RESET_CONSUMER_CLIENT_OFFSET": ResetRequest => (), Client, needs Nothing, body Frame;
    /// Asks a consumer where it stands.
    221 GetConsumerStatusFromClient "GET_CONSUMER_STATUS_FROM_CLIENT": StatusFromClientRequest => (), Client, needs Nothing;
    /// Brings a requester the reply; the body is the reply's.
    326 PushReplyMessageToClient "PUSH_REPLY_MESSAGE_TO_CLIENT": PushReplyRequest => (), Client, needs Nothing, body Frame;
    /// Moves a group in a topic to a point in time, through its online consumers.
    222 InvokeBrokerToResetOffset "INVOKE_BROKER_TO_RESET_OFFSET": ResetRequest => (), Broker, needs Admin;
    /// Asks a group's consumers where they stand.
    223 InvokeBrokerToGetConsumerStatus "INVOKE_BROKER_TO_GET_CONSUMER_STATUS": ConsumerStatusRequest => (), Broker, needs Inspect;
    /// State of one consumer, passed on to it and answered with its own words.
    307 GetConsumerRunningInfo "GET_CONSUMER_RUNNING_INFO": RunningInfoRequest => (), Broker, needs Inspect;
    /// Has one consumer consume one message now, passed on to it with the message as the body.
    309 ConsumeMessageDirectly "CONSUME_MESSAGE_DIRECTLY": ConsumeDirectlyRequest => (), Broker, needs Admin;
}

headers! {
    /// Reference: `NotifyConsumerIdsChangedRequestHeader`.
    pub struct NotifyRequest {
        /// Consumer group.
        consumer_group: String = "consumerGroup",
    }
    /// Reference: `ResetOffsetRequestHeader`.
    pub struct ResetRequest {
        /// Topic.
        topic: String = "topic",
        /// Consumer group.
        group: String = "group",
        /// Point in time, Unix milliseconds; -1 means the end.
        timestamp: i64 = "timestamp",
        /// Whether queues may also go forward.
        is_force: bool = "isForce",
        /// One queue alone; 5.x only, absent or -1 means all.
        queue_id: Option<i32> = "queueId",
        /// Explicit offset for that queue, in messages; 5.x only, absent means by time.
        offset: Option<i64> = "offset",
    }
    /// Reference: `GetConsumerStatusRequestHeader` as a broker sends it.
    pub struct StatusFromClientRequest {
        /// Topic.
        topic: String = "topic",
        /// Consumer group.
        group: String = "group",
    }
    /// Reference: `GetConsumerStatusRequestHeader`.
    pub struct ConsumerStatusRequest {
        /// Topic.
        topic: String = "topic",
        /// Consumer group.
        group: String = "group",
        /// Id of one client; absent or empty means all.
        client_addr: Option<String> = "clientAddr",
    }
    /// Reference: `GetConsumerRunningInfoRequestHeader`.
    pub struct RunningInfoRequest {
        /// Consumer group.
        consumer_group: String = "consumerGroup",
        /// Id of the client.
        client_id: String = "clientId",
        /// Whether stacks of its threads are wanted; absent means no.
        jstack_enable: Option<bool> = "jstackEnable",
    }
    /// Reference: `ConsumeMessageDirectlyResultRequestHeader`.
    pub struct ConsumeDirectlyRequest {
        /// Consumer group.
        consumer_group: String = "consumerGroup",
        /// Id of the client; absent means any of the group.
        client_id: Option<String> = "clientId",
        /// Offset message id; absent only when the broker passes the message itself.
        msg_id: Option<String> = "msgId",
        /// Name of the broker that holds the message; absent from old tools.
        broker_name: Option<String> = "brokerName",
    }
}
