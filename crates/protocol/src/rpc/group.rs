//! RPCs about consumer groups as configuration.

use crate::{headers, rpcs};

rpcs! {
    /// Creates or changes a consumer group; the body is its configuration.
    200 UpdateAndCreateSubscriptionGroup "UPDATE_AND_CREATE_SUBSCRIPTIONGROUP": () => (), Broker, needs Admin;
    /// All groups' configurations; slaves and tools ask.
    201 GetAllSubscriptionGroupConfig "GET_ALL_SUBSCRIPTIONGROUP_CONFIG": () => (), Broker, needs Inspect;
    /// Deletes a consumer group.
    207 DeleteSubscriptionGroup "DELETE_SUBSCRIPTIONGROUP": DeleteGroupRequest => (), Broker, needs Admin;
    /// Creates or changes several groups at once (5.x); the body lists them.
    225 UpdateAndCreateSubscriptionGroupList "UPDATE_AND_CREATE_SUBSCRIPTIONGROUP_LIST": () => (), Broker, needs Admin, body List;
    /// One group's configuration (5.x tools).
    352 GetSubscriptionGroupConfig "GET_SUBSCRIPTIONGROUP_CONFIG": GroupRef => (), Broker, needs Inspect;
    /// Forbids a group single topics, or lists what is forbidden (5.x).
    353 UpdateAndGetGroupForbidden "UPDATE_AND_GET_GROUP_FORBIDDEN": GroupForbiddenRequest => (), Broker, needs Admin;
}

headers! {
    /// Names one group.
    pub struct GroupRef {
        /// Consumer group.
        group: String = "group",
    }
    /// Reference: `DeleteSubscriptionGroupRequestHeader`.
    pub struct DeleteGroupRequest {
        /// Consumer group.
        group_name: String = "groupName",
        /// Whether its offsets go too; 4.9 name, absent means no.
        remove_offset: Option<bool> = "removeOffset",
        /// The same under its 5.x name.
        clean_offset: Option<bool> = "cleanOffset",
    }
    /// Reference: 5.x `UpdateGroupForbiddenRequestHeader`.
    pub struct GroupForbiddenRequest {
        /// Consumer group.
        group: String = "group",
        /// Topic.
        topic: String = "topic",
        /// Whether reading is allowed; absent only asks.
        readable: Option<bool> = "readable",
    }
}
