//! RPCs of the name server that clients use: where a topic lives.

use crate::{headers, rpcs};

rpcs! {
    /// The brokers and queues of a topic.
    105 GetRouteInfoByTopic "GET_ROUTEINFO_BY_TOPIC": RouteRequest => (), Namesrv, needs Nothing;
}

headers! {
    /// Reference: `GetRouteInfoRequestHeader`.
    pub struct RouteRequest {
        /// Topic.
        topic: String = "topic",
        /// Whether the client wants standard JSON; ours always is.
        accept_standard_json_only: Option<bool> = "acceptStandardJsonOnly",
    }
}
