//! Routes, clusters and lists, as the name server answers them.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Where a topic lives. Reference: `TopicRouteData`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct TopicRouteData {
    /// One per broker name with a live address.
    pub broker_datas: Vec<BrokerData>,
    /// Address to filter servers; empty in practice, and never absent for the sake of old clients.
    pub filter_server_table: BTreeMap<String, Vec<String>>,
    /// `broker:queues;…` of an order topic; absent of others.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub order_topic_conf: Option<String>,
    /// One per broker name.
    pub queue_datas: Vec<QueueData>,
}

/// A broker name's queues of a topic. Reference: `QueueData`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct QueueData {
    /// Broker name.
    pub broker_name: String,
    /// Bits: 1 template, 2 write, 4 read.
    pub perm: i32,
    /// Queues to read from.
    pub read_queue_nums: i32,
    /// Bits: 1 unit topic, 2 has a unit's subscription. Up to 4.2 and in Go under another spelling.
    #[serde(alias = "topicSynFlag")]
    pub topic_sys_flag: i32,
    /// Queues to write to.
    pub write_queue_nums: i32,
}

/// A broker name's addresses. Reference: `BrokerData`.
///
/// Go clients cut the map by hand: it must be compact, which [`encode`](super::encode) makes it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct BrokerData {
    /// Broker id to `ip:port`; 0 is the master.
    pub broker_addrs: BTreeMap<i64, String>,
    /// Broker name.
    pub broker_name: String,
    /// Its cluster.
    pub cluster: String,
}

/// All clusters. Reference: `ClusterInfo`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ClusterInfo {
    /// Broker name to its addresses.
    pub broker_addr_table: BTreeMap<String, BrokerData>,
    /// Cluster to its broker names.
    pub cluster_addr_table: BTreeMap<String, Vec<String>>,
}

/// A list of topics. Reference: `TopicList`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct TopicList {
    /// Some broker's address; only in answers to 304 and 343.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub broker_addr: Option<String>,
    /// The topics.
    pub topic_list: Vec<String>,
}

/// Keys and values. Reference: `KVTable`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct KvTable {
    /// The table.
    pub table: BTreeMap<String, String>,
}

/// The name server's `kvConfig.json`. Reference: `KVConfigSerializeWrapper`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct KvConfigFile {
    /// Namespace to its table.
    pub config_table: BTreeMap<String, BTreeMap<String, String>>,
}

/// Groups that consume a topic. Reference: `GroupList`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct GroupList {
    /// The groups.
    pub group_list: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::body::{decode, encode};

    #[test]
    fn a_route_is_written_as_every_client_parses_it() {
        let addrs = BTreeMap::from([(0, "10.0.0.1:10911".into()), (1, "10.0.0.2:10911".into())]);
        let route = TopicRouteData {
            broker_datas: vec![BrokerData {
                broker_addrs: addrs,
                broker_name: "b-a".into(),
                cluster: "C1".into(),
            }],
            queue_datas: vec![QueueData {
                broker_name: "b-a".into(),
                perm: 6,
                read_queue_nums: 4,
                topic_sys_flag: 0,
                write_queue_nums: 4,
            }],
            ..TopicRouteData::default()
        };
        let text = r#"{"brokerDatas":[{"brokerAddrs":{"0":"10.0.0.1:10911","1":"10.0.0.2:10911"},"brokerName":"b-a","cluster":"C1"}],"filterServerTable":{},"queueDatas":[{"brokerName":"b-a","perm":6,"readQueueNums":4,"topicSysFlag":0,"writeQueueNums":4}]}"#;
        assert_eq!(String::from_utf8(encode(&route)).unwrap(), text);
        assert_eq!(decode::<TopicRouteData>(text.as_bytes()), Ok(route.clone()));
        let bare = text.replace("\"0\":", "0:").replace("\"1\":", "1:");
        assert_eq!(decode::<TopicRouteData>(bare.as_bytes()), Ok(route));
    }

    #[test]
    fn the_originals_cluster_info_with_bare_keys_is_read() {
        let text = br#"{"brokerAddrTable":{"b-a":{"brokerAddrs":{0:"10.0.0.1:10911"},"brokerName":"b-a","cluster":"C1"}},"clusterAddrTable":{"C1":["b-a"]}}"#;
        let info: ClusterInfo = decode(text).unwrap();
        assert_eq!(info.broker_addr_table["b-a"].broker_addrs[&0], "10.0.0.1:10911");
        assert_eq!(decode::<ClusterInfo>(&encode(&info)), Ok(info));
    }
}
