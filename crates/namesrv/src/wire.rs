//! Between the bodies on the wire and the table's own types.
//!
//! Owns the checks of what comes in and the order of what goes out. Knows no rule of routes. The bodies
//! themselves are declared in [`kerolox_protocol::body`]; answers are always compact standard JSON, for one
//! client cuts the text of `brokerAddrs` by hand.

use crate::{
    kv::Values,
    names::{Address, Name},
    routes::{GroupView, Queues, Route, Routes, Version},
};
use kerolox_protocol::body::{
    BodyError, BrokerData, ClusterInfo, DataVersion, KvTable, QueueData, RegisterBrokerBody, TopicConfig,
    TopicConfigTable, TopicList, TopicRouteData, decode, encode,
};
use serde::{Deserialize, de::IgnoredAny};
use std::collections::BTreeSet;

/// Most filter servers of one broker.
pub const FILTERS_MAX: usize = 64;
/// Most queues of one topic on one broker.
const QUEUES_MAX: i32 = 65_536;
/// All permission bits.
const PERM_ALL: i32 = 15;

impl From<DataVersion> for Version {
    fn from(wire: DataVersion) -> Version {
        let DataVersion { counter, state_version, timestamp } = wire;
        Version { state: state_version, timestamp, counter }
    }
}

/// Reads a version; no body is version 0.
pub fn read_version(body: &[u8]) -> Result<Version, BodyError> {
    match body {
        [] => Ok(Version::default()),
        _ => decode::<DataVersion>(body).map(Version::from),
    }
}

/// Writes a version.
pub fn version(version: Version) -> Vec<u8> {
    let Version { state, timestamp, counter } = version;
    encode(&DataVersion { counter, state_version: state, timestamp })
}

/// What a registration's body says.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Body {
    /// Version of the topics.
    pub version: Version,
    /// Filter servers with a good address.
    pub filters: Vec<Address>,
    /// Topics with a good name and good numbers; empty where they were not asked for.
    pub topics: Vec<(Name, Queues)>,
    /// How many topics were left out because of their name or numbers.
    pub left_out: usize,
}

/// How a registration's body is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// JSON of the whole.
    Json,
    /// JSON of the topic table alone, from brokers before 3.0.11.
    TopicsOnly,
    /// The binary form in a zlib stream.
    Compressed,
}

/// Reads a registration's body. `wants_topics` sees the version first: a broker repeats its whole table every
/// 30 seconds, and an unchanged one is skipped over, not built. No body is a broker without topics.
pub fn read_registration(
    body: &[u8],
    form: Form,
    wants_topics: impl Fn(Version) -> bool,
) -> Result<Body, BodyError> {
    if form == Form::Json
        && let Some(known) = peek(body)
        && !wants_topics(known.version)
    {
        return Ok(known);
    }
    let whole = match form {
        _ if body.is_empty() => RegisterBrokerBody::default(),
        Form::TopicsOnly => RegisterBrokerBody {
            topic_config_serialize_wrapper: decode::<TopicConfigTable>(body)?,
            ..RegisterBrokerBody::default()
        },
        Form::Json | Form::Compressed => RegisterBrokerBody::read(body, form == Form::Compressed)?,
    };
    let table = whole.topic_config_serialize_wrapper;
    let filters = read_filters(&whole.filter_server_list);
    let mut read = Body { version: table.data_version.into(), filters, ..Body::default() };
    if wants_topics(read.version) {
        table.topic_config_table.iter().for_each(|(key, topic)| read.keep(key, topic));
    }
    Ok(read)
}

/// Reads everything but the topics. `None` when the text is not plain JSON: then only the lenient way knows.
fn peek(body: &[u8]) -> Option<Body> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Peek {
        #[serde(default)]
        filter_server_list: Vec<String>,
        topic_config_serialize_wrapper: Table,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Table {
        data_version: DataVersion,
        #[serde(rename = "topicConfigTable")]
        _skipped: Option<IgnoredAny>,
    }
    let Peek { filter_server_list, topic_config_serialize_wrapper } = serde_json::from_slice(body).ok()?;
    let version = topic_config_serialize_wrapper.data_version.into();
    Some(Body { version, filters: read_filters(&filter_server_list), ..Body::default() })
}

fn read_filters(texts: &[String]) -> Vec<Address> {
    texts.iter().filter_map(|text| Address::new(text).ok()).take(FILTERS_MAX).collect()
}

/// Whether numbers of queues and permission are possible.
fn is_possible(queues: &Queues) -> bool {
    let counts = [queues.read, queues.write];
    counts.iter().all(|count| (0..=QUEUES_MAX).contains(count)) && (0..=PERM_ALL).contains(&queues.perm)
}

impl Body {
    /// Keeps a topic that can be served. One that cannot does not spoil the others: the broker would vanish.
    fn keep(&mut self, key: &str, topic: &TopicConfig) {
        let TopicConfig { topic_name, read_queue_nums, write_queue_nums, perm, topic_sys_flag, .. } = topic;
        let name = if topic_name.is_empty() { key } else { topic_name };
        let (read, write) = (*read_queue_nums, *write_queue_nums);
        let queues = Queues { read, write, perm: *perm, flags: *topic_sys_flag };
        match Name::new(name) {
            Ok(name) if is_possible(&queues) => self.topics.push((name, queues)),
            _ => self.left_out += 1,
        }
    }
}

fn broker_data(group: &GroupView<'_>) -> BrokerData {
    BrokerData {
        broker_addrs: group.members.iter().map(|(id, address)| (*id, address.to_string())).collect(),
        broker_name: group.broker.to_string(),
        cluster: group.cluster.to_string(),
    }
}

/// Writes a route.
pub fn route(route: &Route<'_>, order: Option<&str>) -> Vec<u8> {
    let queue_data = |(broker, queues): (&Name, &Queues)| {
        let Queues { read, write, perm, flags } = *queues;
        QueueData {
            broker_name: broker.to_string(),
            perm,
            read_queue_nums: read,
            topic_sys_flag: flags,
            write_queue_nums: write,
        }
    };
    let filters = route.filters.iter();
    encode(&TopicRouteData {
        broker_datas: route.groups.iter().map(broker_data).collect(),
        filter_server_table: filters
            .map(|(at, list)| (at.to_string(), list.iter().map(Address::to_string).collect()))
            .collect(),
        order_topic_conf: order.map(str::to_owned),
        queue_datas: route.queues.iter().map(queue_data).collect(),
    })
}

/// Writes who is there.
pub fn cluster_info(routes: &Routes) -> Vec<u8> {
    let groups = |names: BTreeSet<&Name>| names.into_iter().map(Name::to_string).collect();
    let clusters = routes.clusters().into_iter();
    encode(&ClusterInfo {
        broker_addr_table: routes
            .groups()
            .map(|group| (group.broker.to_string(), broker_data(&group)))
            .collect(),
        cluster_addr_table: clusters.map(|(cluster, names)| (cluster.to_string(), groups(names))).collect(),
    })
}

/// Writes a list of topics.
pub fn topic_list<'a>(topics: impl IntoIterator<Item = &'a Name>, broker: Option<&Address>) -> Vec<u8> {
    let topic_list = topics.into_iter().map(Name::to_string).collect();
    encode(&TopicList { broker_addr: broker.map(Address::to_string), topic_list })
}

/// Writes the system topics that follow from names: those of clusters and of brokers, and some living address.
pub fn system_topics(routes: &Routes) -> Vec<u8> {
    let names: BTreeSet<&Name> = routes.groups().flat_map(|group| [group.cluster, group.broker]).collect();
    let first = routes.groups().next();
    let address = first.and_then(|group| group.members.values().next());
    topic_list(names, address)
}

/// Writes the values of a namespace.
pub fn kv_table(table: &Values) -> Vec<u8> {
    encode(&KvTable { table: table.clone() })
}

/// Reads the queues of a topic from a route (5.x): groups with a good name and good numbers.
pub fn read_queue_datas(body: &[u8]) -> Result<Vec<(Name, Queues)>, BodyError> {
    let part = |data: &QueueData| {
        let (read, write) = (data.read_queue_nums, data.write_queue_nums);
        let queues = Queues { read, write, perm: data.perm, flags: data.topic_sys_flag };
        Name::new(&data.broker_name).ok().filter(|_| is_possible(&queues)).map(|name| (name, queues))
    };
    Ok(decode::<TopicRouteData>(body)?.queue_datas.iter().filter_map(part).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unchanged_table_is_skipped_over_and_means_the_same() {
        let plain = br#"{"filterServerList":["h:1","bad"],"topicConfigSerializeWrapper":{"dataVersion":
            {"counter":3,"timestamp":9},"topicConfigTable":{"T":{"topicName":"T","perm":6}}}}"#;
        let seen = read_registration(plain, Form::Json, |_| false).unwrap();
        assert_eq!(seen, peek(plain).unwrap());
        let whole = read_registration(plain, Form::Json, |version| version == seen.version).unwrap();
        assert_eq!((whole.version, &whole.filters, whole.topics.len()), (seen.version, &seen.filters, 1));
        assert_eq!(seen.version, Version { state: 0, timestamp: 9, counter: 3 });
        // What plain JSON forbids takes the lenient way, with the same outcome.
        let lenient = br#"{filterServerList:null,"topicConfigSerializeWrapper":{"dataVersion":{counter:"3",timestamp:9}}}"#;
        assert_eq!(peek(lenient), None);
        assert_eq!(read_registration(lenient, Form::Json, |_| false).unwrap().version, seen.version);
    }
}
