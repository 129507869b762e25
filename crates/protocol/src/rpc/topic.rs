//! RPCs about topics as configuration.

use super::route::TopicRef;
use crate::{headers, rpcs};

rpcs! {
    /// Creates or changes a topic.
    17 UpdateAndCreateTopic "UPDATE_AND_CREATE_TOPIC": CreateTopicRequest => (), Broker, needs Admin;
    /// Creates or changes several topics at once (5.x); the body lists them.
    18 UpdateAndCreateTopicList "UPDATE_AND_CREATE_TOPIC_LIST": () => (), Broker, needs Admin, body List;
    /// Deletes a topic and its messages.
    215 DeleteTopicInBroker "DELETE_TOPIC_IN_BROKER": TopicRef => (), Broker, needs Admin;
    /// All topics' configurations; slaves and tools ask.
    21 GetAllTopicConfig "GET_ALL_TOPIC_CONFIG": () => (), Broker, needs Inspect;
    /// Topics that the broker made for itself.
    305 GetSystemTopicListFromBroker "GET_SYSTEM_TOPIC_LIST_FROM_BROKER": () => (), Broker, needs Inspect;
    /// One topic's configuration (5.x tools).
    351 GetTopicConfig "GET_TOPIC_CONFIG": TopicRef => (), Broker, needs Inspect;
    /// Creates or changes a topic whose queues are mapped over brokers (5.x).
    513 UpdateAndCreateStaticTopic "UPDATE_AND_CREATE_STATIC_TOPIC": CreateTopicRequest => (), Broker, needs Admin, body List;
}

headers! {
    /// Reference: `CreateTopicRequestHeader`.
    pub struct CreateTopicRequest {
        /// Topic.
        topic: String = "topic",
        /// Template topic; ignored, as by the original.
        default_topic: Option<String> = "defaultTopic",
        /// Queues to read from.
        read_queue_nums: i32 = "readQueueNums",
        /// Queues to write to.
        write_queue_nums: i32 = "writeQueueNums",
        /// Permission bits: 1 template, 2 write, 4 read.
        perm: i32 = "perm",
        /// `SINGLE_TAG` (also when absent) or `MULTI_TAG`.
        topic_filter_type: Option<String> = "topicFilterType",
        /// Bits: 1 unit topic, 2 has a unit's subscription; absent means 0.
        topic_sys_flag: Option<i32> = "topicSysFlag",
        /// Order topic; ignored, as by the original.
        order: Option<bool> = "order",
        /// Changes to attributes, `+key=value,-key`; 5.x only, absent means none.
        attributes: Option<String> = "attributes",
        /// 5.x only; absent means no.
        force: Option<bool> = "force",
    }
}
