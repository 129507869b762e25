//! Bodies of the name server's requests and answers.
//!
//! Owns their JSON and binary forms. Knows no rule. Answers are compact standard JSON with sorted keys, which
//! every client parses, whatever form it asked for: one of them cuts the text of `brokerAddrs` by hand.

use crate::{
    kv::Values,
    names::{Address, Name},
    routes::{GroupView, Queues, Route, Routes, Version},
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    io::Read,
};

/// Most bytes that a compressed registration may unpack to: twice the largest plain one.
pub const UNPACKED_BYTES_MAX: usize = 32 * 1024 * 1024;
/// Most filter servers of one broker.
pub const FILTERS_MAX: usize = 64;
/// Most queues of one topic on one broker.
const QUEUES_MAX: i32 = 65_536;
/// All permission bits.
const PERM_ALL: i32 = 15;

/// Why a body cannot be read.
#[derive(Debug)]
pub enum BadBody {
    /// Not JSON, or not of the wanted shape.
    Json(serde_json::Error),
    /// The compressed form is not what it should be.
    Compressed(&'static str),
}

impl fmt::Display for BadBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BadBody::Json(why) => write!(f, "the request body cannot be read: {why}"),
            BadBody::Compressed(why) => write!(f, "the compressed request body cannot be read: {why}"),
        }
    }
}
impl std::error::Error for BadBody {}

fn json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, BadBody> {
    serde_json::from_slice(bytes).map_err(BadBody::Json)
}

fn text(body: &impl Serialize) -> Vec<u8> {
    // Structs and maps of strings and numbers always serialize.
    serde_json::to_vec(body).unwrap_or_default()
}

/// Reference: `DataVersion`.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[derive(Default)]
struct DataVersion {
    counter: i64,
    #[serde(skip_serializing_if = "is_zero")]
    state_version: i64,
    timestamp: i64,
}

fn is_zero(n: &i64) -> bool {
    *n == 0
}

impl From<DataVersion> for Version {
    fn from(wire: DataVersion) -> Version {
        Version { state: wire.state_version, timestamp: wire.timestamp, counter: wire.counter }
    }
}

/// Reads a version; no body is version 0.
pub fn read_version(body: &[u8]) -> Result<Version, BadBody> {
    if body.is_empty() {
        return Ok(Version::default());
    }
    json::<Option<DataVersion>>(body).map(|version| version.unwrap_or_default().into())
}

/// Writes a version.
pub fn version(version: Version) -> Vec<u8> {
    let Version { state, timestamp, counter } = version;
    text(&DataVersion { counter, state_version: state, timestamp })
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
    wants_topics: impl FnOnce(Version) -> bool,
) -> Result<Body, BadBody> {
    match form {
        _ if body.is_empty() => Ok(Body::default()),
        Form::Json => read_json(body, wants_topics, json, json),
        Form::TopicsOnly => {
            let table = |bytes: &[u8]| json(bytes).map(Registration::of);
            let peek = |bytes: &[u8]| json(bytes).map(Registration::of);
            read_json(body, wants_topics, peek, table)
        }
        Form::Compressed => read_compressed(&unpack(body)?, wants_topics),
    }
}

/// Reference: `RegisterBrokerBody`; `T` is the topic table, or nothing where only the version matters.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Registration<T> {
    #[serde(default)]
    filter_server_list: Option<Vec<String>>,
    #[serde(default = "none")]
    topic_config_serialize_wrapper: Option<Table<T>>,
}

/// Reference: `TopicConfigSerializeWrapper`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Table<T> {
    #[serde(default)]
    data_version: Option<DataVersion>,
    #[serde(default = "none")]
    topic_config_table: Option<T>,
}

fn none<T>() -> Option<T> {
    None
}

impl<T> Registration<T> {
    fn of(table: Table<T>) -> Registration<T> {
        Registration { filter_server_list: None, topic_config_serialize_wrapper: Some(table) }
    }
}

/// Reference: `TopicConfig`, with its defaults.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct TopicConfig {
    topic_name: Option<String>,
    read_queue_nums: i32,
    write_queue_nums: i32,
    perm: i32,
    topic_sys_flag: i32,
}

impl Default for TopicConfig {
    fn default() -> Self {
        TopicConfig {
            topic_name: None,
            read_queue_nums: 16,
            write_queue_nums: 16,
            perm: 6,
            topic_sys_flag: 0,
        }
    }
}

/// Seen, not kept.
type Skipped = serde::de::IgnoredAny;
type Topics = BTreeMap<String, TopicConfig>;

fn read_json(
    body: &[u8],
    wants_topics: impl FnOnce(Version) -> bool,
    peek: impl FnOnce(&[u8]) -> Result<Registration<Skipped>, BadBody>,
    whole: impl FnOnce(&[u8]) -> Result<Registration<Topics>, BadBody>,
) -> Result<Body, BadBody> {
    let peeked = peek(body)?;
    let version = peeked.topic_config_serialize_wrapper.and_then(|table| table.data_version);
    let version = version.unwrap_or_default().into();
    let filters = read_filters(peeked.filter_server_list.unwrap_or_default());
    let mut read = Body { version, filters, ..Body::default() };
    if wants_topics(version) {
        let table = whole(body)?.topic_config_serialize_wrapper.and_then(|table| table.topic_config_table);
        for (key, topic) in table.unwrap_or_default() {
            let name = topic.topic_name.as_deref().unwrap_or(&key);
            let (read_queues, write) = (topic.read_queue_nums, topic.write_queue_nums);
            let queues = Queues { read: read_queues, write, perm: topic.perm, flags: topic.topic_sys_flag };
            read.keep(name, queues);
        }
    }
    Ok(read)
}

fn read_filters(texts: Vec<String>) -> Vec<Address> {
    texts.iter().filter_map(|text| Address::new(text).ok()).take(FILTERS_MAX).collect()
}

/// Whether numbers of queues and permission are possible.
pub fn is_possible(queues: &Queues) -> bool {
    let counts = [queues.read, queues.write];
    counts.iter().all(|count| (0..=QUEUES_MAX).contains(count)) && (0..=PERM_ALL).contains(&queues.perm)
}

impl Body {
    /// Keeps a topic that can be served. One that cannot does not spoil the others: the broker would vanish.
    fn keep(&mut self, name: &str, queues: Queues) {
        match Name::new(name) {
            Ok(name) if is_possible(&queues) => self.topics.push((name, queues)),
            _ => self.left_out += 1,
        }
    }
}

fn unpack(body: &[u8]) -> Result<Vec<u8>, BadBody> {
    let mut unpacked = Vec::new();
    let limit = UNPACKED_BYTES_MAX as u64 + 1;
    let read = flate2::read::ZlibDecoder::new(body).take(limit).read_to_end(&mut unpacked);
    read.map_err(|_| BadBody::Compressed("it is not a zlib stream"))?;
    if unpacked.len() > UNPACKED_BYTES_MAX {
        return Err(BadBody::Compressed("it unpacks to more than 32 MiB"));
    }
    Ok(unpacked)
}

/// ```text
/// n i32, DataVersion JSON | topics i32, { n i32, text }* | n i32, filter servers JSON
/// text: name readQueueNums writeQueueNums perm filterType, with one space between
/// ```
fn read_compressed(bytes: &[u8], wants_topics: impl FnOnce(Version) -> bool) -> Result<Body, BadBody> {
    let mut rest = Cursor(bytes);
    let version = read_version(rest.piece()?)?;
    let wanted = wants_topics(version);
    let mut read = Body { version, ..Body::default() };
    // The count is only a promise; every topic takes bytes, so a false one ends with an error.
    for _ in 0..rest.number()? {
        let piece = rest.piece()?;
        if wanted {
            let line = std::str::from_utf8(piece).map_err(|_| BadBody::Compressed("a topic is not UTF-8"))?;
            let mut words = line.split(' ');
            let name = words.next().unwrap_or_default();
            let mut number = || words.next().and_then(|word| word.parse().ok());
            match (number(), number(), number()) {
                (Some(queues), Some(write), Some(perm)) => {
                    read.keep(name, Queues { read: queues, write, perm, flags: 0 });
                }
                _ => read.left_out += 1,
            }
        }
    }
    let filters = rest.piece()?;
    if !filters.is_empty() {
        read.filters = read_filters(json::<Option<Vec<String>>>(filters)?.unwrap_or_default());
    }
    Ok(read)
}

struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    fn number(&mut self) -> Result<usize, BadBody> {
        let (head, tail) = self.0.split_first_chunk().ok_or(BadBody::Compressed("it ends early"))?;
        self.0 = tail;
        usize::try_from(i32::from_be_bytes(*head)).map_err(|_| BadBody::Compressed("a length is negative"))
    }

    fn piece(&mut self) -> Result<&'a [u8], BadBody> {
        let n = self.number()?;
        let (head, tail) = self.0.split_at_checked(n).ok_or(BadBody::Compressed("it ends early"))?;
        self.0 = tail;
        Ok(head)
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct BrokerData<'a> {
    broker_addrs: BTreeMap<i64, &'a str>,
    broker_name: &'a str,
    cluster: &'a str,
}

impl<'a> From<&GroupView<'a>> for BrokerData<'a> {
    fn from(group: &GroupView<'a>) -> Self {
        BrokerData {
            broker_addrs: group.members.iter().map(|(id, address)| (*id, address.as_str())).collect(),
            broker_name: group.broker.as_str(),
            cluster: group.cluster.as_str(),
        }
    }
}

/// Reference: `TopicRouteData`.
pub fn route(route: &Route<'_>, order: Option<&str>) -> Vec<u8> {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct QueueData<'a> {
        broker_name: &'a str,
        perm: i32,
        read_queue_nums: i32,
        topic_sys_flag: i32,
        write_queue_nums: i32,
    }
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct TopicRouteData<'a> {
        broker_datas: Vec<BrokerData<'a>>,
        filter_server_table: BTreeMap<&'a str, Vec<&'a str>>,
        #[serde(skip_serializing_if = "Option::is_none")]
        order_topic_conf: Option<&'a str>,
        queue_datas: Vec<QueueData<'a>>,
    }
    fn queue_data<'a>((broker, queues): (&'a Name, &Queues)) -> QueueData<'a> {
        let Queues { read, write, perm, flags } = *queues;
        QueueData {
            broker_name: broker.as_str(),
            perm,
            read_queue_nums: read,
            topic_sys_flag: flags,
            write_queue_nums: write,
        }
    }
    let filters = route.filters.iter();
    text(&TopicRouteData {
        broker_datas: route.groups.iter().map(BrokerData::from).collect(),
        filter_server_table: filters
            .map(|(at, list)| (at.as_str(), list.iter().map(Address::as_str).collect()))
            .collect(),
        order_topic_conf: order,
        queue_datas: route.queues.iter().map(queue_data).collect(),
    })
}

/// Reference: `ClusterInfo`.
pub fn cluster_info(routes: &Routes) -> Vec<u8> {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct ClusterInfo<'a> {
        broker_addr_table: BTreeMap<&'a str, BrokerData<'a>>,
        cluster_addr_table: BTreeMap<&'a str, Vec<&'a str>>,
    }
    let clusters = routes.clusters();
    text(&ClusterInfo {
        broker_addr_table: routes
            .groups()
            .map(|group| (group.broker.as_str(), BrokerData::from(&group)))
            .collect(),
        cluster_addr_table: clusters
            .iter()
            .map(|(cluster, groups)| (cluster.as_str(), groups.iter().map(|name| name.as_str()).collect()))
            .collect(),
    })
}

/// Reference: `TopicList`.
pub fn topic_list<'a>(topics: impl IntoIterator<Item = &'a Name>, broker: Option<&Address>) -> Vec<u8> {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct TopicList<'a> {
        #[serde(skip_serializing_if = "Option::is_none")]
        broker_addr: Option<&'a str>,
        topic_list: Vec<&'a str>,
    }
    let topic_list = topics.into_iter().map(Name::as_str).collect();
    text(&TopicList { broker_addr: broker.map(Address::as_str), topic_list })
}

/// The system topics that follow from names: those of clusters and of brokers, and some living address.
pub fn system_topics(routes: &Routes) -> Vec<u8> {
    let names: BTreeSet<&Name> = routes.groups().flat_map(|group| [group.cluster, group.broker]).collect();
    let first = routes.groups().next();
    let address = first.and_then(|group| group.members.values().next());
    topic_list(names, address)
}

/// Reference: `KVTable`.
pub fn kv_table(table: &Values) -> Vec<u8> {
    #[derive(Serialize)]
    struct KvTable<'a> {
        table: &'a Values,
    }
    text(&KvTable { table })
}

/// Reads the queues of a topic from a route (5.x): groups with a good name and good numbers.
pub fn read_queue_datas(body: &[u8]) -> Result<Vec<(Name, Queues)>, BadBody> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct QueueData {
        broker_name: String,
        #[serde(default)]
        perm: i32,
        #[serde(default)]
        read_queue_nums: i32,
        #[serde(default)]
        topic_sys_flag: i32,
        #[serde(default)]
        write_queue_nums: i32,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct RouteData {
        #[serde(default)]
        queue_datas: Option<Vec<QueueData>>,
    }
    let datas = json::<RouteData>(body)?.queue_datas.unwrap_or_default();
    let part = |data: &QueueData| {
        let (read, write) = (data.read_queue_nums, data.write_queue_nums);
        let queues = Queues { read, write, perm: data.perm, flags: data.topic_sys_flag };
        Name::new(&data.broker_name).ok().filter(|_| is_possible(&queues)).map(|name| (name, queues))
    };
    Ok(datas.iter().filter_map(part).collect())
}
