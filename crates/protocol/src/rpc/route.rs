//! RPCs of the name server about routes: where topics live, and who says so.

use crate::{headers, rpcs};

rpcs! {
    /// The brokers and queues of a topic.
    105 GetRouteInfoByTopic "GET_ROUTEINFO_BY_TOPIC": RouteRequest => (), Namesrv, needs Nothing;
    /// All clusters, broker names and addresses.
    106 GetBrokerClusterInfo "GET_BROKER_CLUSTER_INFO": () => (), Namesrv, needs Inspect;
    /// A broker says that it is alive and which topics it has.
    103 RegisterBroker "REGISTER_BROKER": RegisterRequest => RegisterReply, Namesrv, needs Cluster, body Frame;
    /// A broker says good-bye.
    104 UnregisterBroker "UNREGISTER_BROKER": BrokerRef => (), Namesrv, needs Cluster;
    /// Whether the name server knows a broker's topics in that version.
    322 QueryDataVersion "QUERY_DATA_VERSION": BrokerRef => DataVersionReply, Namesrv, needs Cluster;
    /// Takes the write permission from all topics of a broker, until it registers a change.
    205 WipeWritePermOfBroker "WIPE_WRITE_PERM_OF_BROKER": BrokerNameRef => WipeReply, Namesrv, needs Admin;
    /// Gives the write permission back to all topics of a broker.
    327 AddWritePermOfBroker "ADD_WRITE_PERM_OF_BROKER": BrokerNameRef => AddWriteReply, Namesrv, needs Admin;
    /// All topics.
    206 GetAllTopicListFromNamesrv "GET_ALL_TOPIC_LIST_FROM_NAMESERVER": () => (), Namesrv, needs Inspect;
    /// The topics of one cluster.
    224 GetTopicsByCluster "GET_TOPICS_BY_CLUSTER": ClusterRef => (), Namesrv, needs Inspect;
    /// Names of clusters and brokers, which are system topics, and one broker's address.
    304 GetSystemTopicListFromNs "GET_SYSTEM_TOPIC_LIST_FROM_NS": () => (), Namesrv, needs Inspect;
    /// Topics that belong to a unit.
    311 GetUnitTopicList "GET_UNIT_TOPIC_LIST": () => (), Namesrv, needs Inspect;
    /// Topics with a unit's subscription.
    312 GetHasUnitSubTopicList "GET_HAS_UNIT_SUB_TOPIC_LIST": () => (), Namesrv, needs Inspect;
    /// Topics with a unit's subscription that belong to no unit themselves.
    313 GetHasUnitSubUnunitTopicList "GET_HAS_UNIT_SUB_UNUNIT_TOPIC_LIST": () => (), Namesrv, needs Inspect;
    /// Forgets a topic's routes.
    216 DeleteTopicInNamesrv "DELETE_TOPIC_IN_NAMESRV": DeleteRouteRequest => (), Namesrv, needs Admin;
    /// Makes a topic's routes known without a broker (5.x).
    217 RegisterTopicInNamesrv "REGISTER_TOPIC_IN_NAMESRV": TopicRef => (), Namesrv, needs Cluster;
}

headers! {
    /// Reference: `GetRouteInfoRequestHeader`.
    pub struct RouteRequest {
        /// Topic.
        topic: String = "topic",
        /// Whether the client wants standard JSON; ours always is.
        accept_standard_json_only: Option<bool> = "acceptStandardJsonOnly",
    }

    /// Names one topic.
    pub struct TopicRef {
        /// Topic.
        topic: String = "topic",
    }
    /// Names one cluster. Reference: `GetTopicsByClusterRequestHeader`.
    pub struct ClusterRef {
        /// Cluster.
        cluster: String = "cluster",
    }
    /// Names one broker by its name, all replicas meant.
    pub struct BrokerNameRef {
        /// Broker name.
        broker_name: String = "brokerName",
    }
    /// Names one broker process. Reference: `UnRegisterBrokerRequestHeader`, `QueryDataVersionRequestHeader`.
    pub struct BrokerRef {
        /// Broker name.
        broker_name: String = "brokerName",
        /// Its address, `ip:port`.
        broker_addr: String = "brokerAddr",
        /// Its cluster.
        cluster_name: String = "clusterName",
        /// Its id; 0 is the master.
        broker_id: i64 = "brokerId",
    }
    /// Reference: `RegisterBrokerRequestHeader`.
    pub struct RegisterRequest {
        /// Broker name.
        broker_name: String = "brokerName",
        /// Its address, `ip:port`.
        broker_addr: String = "brokerAddr",
        /// Its cluster.
        cluster_name: String = "clusterName",
        /// Address of its replication port; absent or empty without one.
        ha_server_addr: Option<String> = "haServerAddr",
        /// Its id; 0 is the master.
        broker_id: i64 = "brokerId",
        /// Whether the body is the compressed binary form; absent means JSON.
        compressed: Option<bool> = "compressed",
        /// CRC-32 of the body, 31 bits; 0 or absent means not given.
        body_crc32: Option<i32> = "bodyCrc32",
        /// After how many milliseconds of silence it is dead; 5.x only, absent means the name server's own.
        heartbeat_timeout_millis: Option<i64> = "heartbeatTimeoutMillis",
        /// Whether a slave may act as master; 5.x only, absent means no.
        enable_acting_master: Option<bool> = "enableActingMaster",
        /// Term of the group's leadership, ours only; a lower one than known is refused. Absent means none.
        epoch: Option<i64> = "epoch",
    }
    /// Reference: `RegisterBrokerResponseHeader`.
    pub struct RegisterReply {
        /// Replication address of the master; only for a slave with a live master.
        ha_server_addr: Option<String> = "haServerAddr",
        /// Address of the master; only for a slave with a live master.
        master_addr: Option<String> = "masterAddr",
    }
    /// Reference: `QueryDataVersionResponseHeader`.
    pub struct DataVersionReply {
        /// Whether the broker's version differs from the one known.
        changed: bool = "changed",
    }
    /// Reference: `WipeWritePermOfBrokerResponseHeader`.
    pub struct WipeReply {
        /// How many topics lost the permission.
        wipe_topic_count: i32 = "wipeTopicCount",
    }
    /// Reference: `AddWritePermOfBrokerResponseHeader`.
    pub struct AddWriteReply {
        /// How many topics got the permission.
        add_topic_count: i32 = "addTopicCount",
    }
    /// Reference: `DeleteTopicFromNamesrvRequestHeader`.
    pub struct DeleteRouteRequest {
        /// Topic.
        topic: String = "topic",
        /// Cluster whose brokers alone are meant; absent means everywhere.
        cluster_name: Option<String> = "clusterName",
    }
}
