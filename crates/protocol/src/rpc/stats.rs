//! RPCs that look at what happens: connections, positions, rates.

use super::{client::ConsumerGroupRef, group::GroupRef, route::TopicRef};
use crate::{headers, rpcs};

rpcs! {
    /// First and last offset of each queue of a topic.
    202 GetTopicStatsInfo "GET_TOPIC_STATS_INFO": TopicRef => (), Broker, needs Inspect;
    /// Who consumes as a group, and what.
    203 GetConsumerConnectionList "GET_CONSUMER_CONNECTION_LIST": ConsumerGroupRef => (), Broker, needs Inspect;
    /// Who produces as a group.
    204 GetProducerConnectionList "GET_PRODUCER_CONNECTION_LIST": ProducerGroupRef => (), Broker, needs Inspect;
    /// All producers by group.
    328 GetAllProducerInfo "GET_ALL_PRODUCER_INFO": () => (), Broker, needs Inspect;
    /// How far a group is behind.
    208 GetConsumeStats "GET_CONSUME_STATS": ConsumeStatsRequest => (), Broker, needs Inspect;
    /// Which groups consume a topic.
    300 QueryTopicConsumeByWho "QUERY_TOPIC_CONSUME_BY_WHO": TopicRef => (), Broker, needs Inspect;
    /// The times between which a group's waiting messages lie.
    303 QueryConsumeTimeSpan "QUERY_CONSUME_TIME_SPAN": TimeSpanRequest => (), Broker, needs Inspect;
    /// How far all groups are behind.
    317 GetBrokerConsumeStats "GET_BROKER_CONSUME_STATS": BrokerConsumeStatsRequest => (), Broker, needs Inspect;
    /// One counter's rates.
    315 ViewBrokerStatsData "VIEW_BROKER_STATS_DATA": StatsRequest => (), Broker, needs Inspect;
    /// Entries of a consume queue.
    321 QueryConsumeQueue "QUERY_CONSUME_QUEUE": ConsumeQueueRequest => (), Broker, needs Inspect;
    /// Topics a group consumes (5.x tools).
    343 QueryTopicsByConsumer "QUERY_TOPICS_BY_CONSUMER": GroupRef => (), Broker, needs Inspect;
    /// A group's subscription of a topic (5.x tools).
    345 QuerySubscriptionByConsumer "QUERY_SUBSCRIPTION_BY_CONSUMER": SubscriptionRef => (), Broker, needs Inspect;
}

headers! {
    /// Names one producer group.
    pub struct ProducerGroupRef {
        /// Producer group.
        producer_group: String = "producerGroup",
    }
    /// Reference: `GetConsumeStatsRequestHeader`.
    pub struct ConsumeStatsRequest {
        /// Consumer group.
        consumer_group: String = "consumerGroup",
        /// Topic; absent or empty means all the group has offsets for.
        topic: Option<String> = "topic",
        /// Topics joined by semicolons, in place of `topic`; 5.x only, absent means none.
        topic_list: Option<String> = "topicList",
    }
    /// Reference: `QueryConsumeTimeSpanRequestHeader`.
    pub struct TimeSpanRequest {
        /// Topic.
        topic: String = "topic",
        /// Consumer group.
        group: String = "group",
    }
    /// Reference: `GetConsumeStatsInBrokerHeader`.
    pub struct BrokerConsumeStatsRequest {
        /// Whether only order topics are meant.
        is_order: bool = "isOrder",
    }
    /// Reference: `ViewBrokerStatsDataRequestHeader`.
    pub struct StatsRequest {
        /// Name of the counter set, such as `TOPIC_PUT_NUMS`.
        stats_name: String = "statsName",
        /// Key in the set: a topic, `topic@group`, a cluster.
        stats_key: String = "statsKey",
    }
    /// Reference: `QueryConsumeQueueRequestHeader`.
    pub struct ConsumeQueueRequest {
        /// Topic.
        topic: String = "topic",
        /// Queue.
        queue_id: i32 = "queueId",
        /// First entry wanted, counted in messages.
        index: i64 = "index",
        /// Entries wanted.
        count: i32 = "count",
        /// Group whose filter is tried on the entries; absent means none.
        consumer_group: Option<String> = "consumerGroup",
    }
    /// Reference: 5.x `QuerySubscriptionByConsumerRequestHeader`.
    pub struct SubscriptionRef {
        /// Consumer group.
        group: String = "group",
        /// Topic.
        topic: String = "topic",
    }
}
