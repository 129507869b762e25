//! What can be asked of a cluster, as functions that return data.

use anyhow::{Context, Result, bail};
use kerolox_client::{Connection, NameServers};
use kerolox_protocol::{
    Millis,
    body::{
        decode,
        route::{ClusterInfo, GroupList, KvTable, TopicList, TopicRouteData},
        stats::TopicStatsTable,
    },
    code,
    rpc::{
        Rpc,
        config::GetBrokerRuntimeInfo,
        consume::{PullMessage, PullReply, PullRequest},
        kv::{GetKvConfig, KvRef, PutKvConfig, PutKvRequest},
        offset::{GetMaxOffset, GetMinOffset, QueueRef, SearchOffsetByTimestamp, SearchOffsetRequest},
        produce::{SendMessageV2, SendReply, SendRequestV2},
        route::{GetAllTopicListFromNamesrv, GetBrokerClusterInfo, TopicRef},
        stats::{GetTopicStatsInfo, QueryTopicConsumeByWho},
        topic::{CreateTopicRequest, UpdateAndCreateTopic},
    },
};
use serde::Serialize;
use std::{collections::BTreeMap, sync::Mutex, time::Duration};

/// As the original's admin client waits.
const WITHIN: Duration = Duration::from_secs(5);
/// Group that messages are sent as.
pub const PRODUCER: &str = "TOOLS_PRODUCER";
/// Namespace of the name servers' values that tells clients the queues of ordered topics.
const ORDER: &str = "ORDER_TOPIC_CONFIG";

/// A cluster reached through its name servers, with one connection kept per broker address.
#[derive(Debug)]
pub struct Cluster {
    name_servers: NameServers,
    brokers: Mutex<BTreeMap<String, Connection>>,
}

/// A message that was stored.
#[derive(Debug, Clone, Serialize)]
pub struct Sent {
    /// Broker that stored it.
    pub broker: String,
    /// Its address.
    pub addr: String,
    /// Queue.
    pub queue: i32,
    /// Its place in the queue.
    pub queue_offset: i64,
    /// The client's unique key.
    pub unique_key: String,
    /// The offset message id.
    pub offset_id: String,
}

/// A message to send.
#[derive(Debug, Clone, Default)]
pub struct NewMessage {
    /// Topic.
    pub topic: String,
    /// Body.
    pub body: Vec<u8>,
    /// Keys, separated by blanks.
    pub keys: Option<String>,
    /// Tag.
    pub tags: Option<String>,
    /// Only to this broker name.
    pub broker: Option<String>,
    /// Only to this queue.
    pub queue: Option<i32>,
}

impl Cluster {
    /// A cluster behind name servers `host:port;host:port`.
    pub fn new(name_servers: &str) -> Cluster {
        Cluster { name_servers: NameServers::new(name_servers, WITHIN), brokers: Mutex::default() }
    }

    /// All brokers by cluster and name.
    pub async fn info(&self) -> Result<ClusterInfo> {
        let reply = self.name_servers.call::<GetBrokerClusterInfo>(&(), b"").await?;
        Ok(decode(&reply.body)?)
    }

    /// Where a topic lives.
    pub async fn route(&self, topic: &str) -> Result<TopicRouteData> {
        Ok(decode(&self.name_servers.route(topic).await?.body)?)
    }

    /// All topics.
    pub async fn topics(&self) -> Result<Vec<String>> {
        let reply = self.name_servers.call::<GetAllTopicListFromNamesrv>(&(), b"").await?;
        Ok(decode::<TopicList>(&reply.body)?.topic_list)
    }

    /// Addresses of a cluster's masters, by broker name.
    pub async fn masters(&self, cluster: &str) -> Result<BTreeMap<String, String>> {
        let info = self.info().await?;
        let Some(names) = info.cluster_addr_table.get(cluster) else {
            let known = info.cluster_addr_table.keys().cloned().collect::<Vec<_>>().join(", ");
            bail!("there is no cluster {cluster}; the name server knows: {known}");
        };
        let master = |name: &String| {
            Some((name.clone(), info.broker_addr_table.get(name)?.broker_addrs.get(&0)?.clone()))
        };
        Ok(names.iter().filter_map(master).collect())
    }

    /// Tells clients the queues of an ordered topic on these brokers, through every name server. `is_whole`: the
    /// brokers are all; otherwise those that are told already stay. Returns what is told now.
    pub async fn order(&self, topic: &str, queues: &[(String, i32)], is_whole: bool) -> Result<String> {
        let told = KvRef { namespace: Some(ORDER.into()), key: Some(topic.into()) };
        let before = match self.name_servers.call::<GetKvConfig>(&told, b"").await {
            Ok(reply) if !is_whole => reply.header.value.unwrap_or_default(),
            _ => String::new(),
        };
        let mut all: BTreeMap<&str, String> = before
            .split(';')
            .filter_map(|pair| pair.split_once(':'))
            .map(|(name, n)| (name, n.to_owned()))
            .collect();
        all.extend(queues.iter().map(|(name, n)| (name.as_str(), n.to_string())));
        let value = all.iter().map(|(name, n)| format!("{name}:{n}")).collect::<Vec<_>>().join(";");
        let put = PutKvRequest { namespace: told.namespace, key: told.key, value: Some(value.clone()) };
        for addr in self.name_servers.addrs() {
            let conn = Connection::connect(addr, WITHIN).await?;
            let done = conn.call::<PutKvConfig>(&put, b"", WITHIN).await;
            done.with_context(|| format!("tell the name server {addr} the queues of {topic}"))?;
        }
        Ok(value)
    }

    /// Name of the broker at an address, if a name server knows it.
    pub async fn name_of(&self, addr: &str) -> Result<String> {
        let info = self.info().await?;
        let found =
            info.broker_addr_table.into_values().find(|data| data.broker_addrs.values().any(|at| at == addr));
        found
            .map(|data| data.broker_name)
            .with_context(|| format!("the name server knows no broker at {addr}"))
    }

    /// Groups that consume a topic, by what the broker at `addr` knows.
    pub async fn groups_of(&self, addr: &str, topic: &str) -> Result<Vec<String>> {
        let request = TopicRef { topic: topic.to_owned() };
        let reply = self.broker(addr).await?.call::<QueryTopicConsumeByWho>(&request, b"", WITHIN).await?;
        Ok(decode::<GroupList>(&reply.body)?.group_list)
    }

    /// A broker's figures.
    pub async fn runtime_info(&self, addr: &str) -> Result<BTreeMap<String, String>> {
        let reply = self.broker(addr).await?.call::<GetBrokerRuntimeInfo>(&(), b"", WITHIN).await?;
        Ok(decode::<KvTable>(&reply.body)?.table.into_iter().collect())
    }

    /// First and last offsets of a topic's queues on one broker.
    pub async fn topic_stats(&self, addr: &str, topic: &str) -> Result<TopicStatsTable> {
        let request = TopicRef { topic: topic.to_owned() };
        let reply = self.broker(addr).await?.call::<GetTopicStatsInfo>(&request, b"", WITHIN).await?;
        Ok(decode(&reply.body)?)
    }

    /// Creates or changes a topic on one broker.
    pub async fn create_topic(&self, addr: &str, request: &CreateTopicRequest) -> Result<()> {
        self.broker(addr).await?.call::<UpdateAndCreateTopic>(request, b"", WITHIN).await?;
        Ok(())
    }

    /// Stores one message; the topic is auto-created where the brokers allow it.
    pub async fn send(&self, message: &NewMessage, unique_key: String, born_ms: i64) -> Result<Sent> {
        let (broker, addr, queue) = self.choose(message).await?;
        let mut properties = format!("UNIQ_KEY\u{1}{unique_key}\u{2}WAIT\u{1}true");
        for (name, value) in [("KEYS", &message.keys), ("TAGS", &message.tags)] {
            if let Some(value) = value {
                anyhow::ensure!(
                    !value.contains(['\u{1}', '\u{2}']),
                    "{name} must not contain control characters"
                );
                properties.push_str(&format!("\u{2}{name}\u{1}{value}"));
            }
        }
        let plain = SendRequestV2::plain(PRODUCER, &message.topic, queue, Millis(born_ms), properties);
        let request = SendRequestV2 { broker_name: Some(broker.clone()), ..plain };
        let reply = self.broker(&addr).await?.call::<SendMessageV2>(&request, &message.body, WITHIN).await?;
        let SendReply { msg_id, queue_id, queue_offset, .. } = reply.header;
        Ok(Sent { broker, addr, queue: queue_id, queue_offset, unique_key, offset_id: msg_id })
    }

    /// Picks a writable queue: of the broker and number asked for, else the first.
    async fn choose(&self, message: &NewMessage) -> Result<(String, String, i32)> {
        let route = match self.route(&message.topic).await {
            Ok(route) => route,
            // An unknown topic is sent to where new topics are made, as clients do.
            Err(why) => self.route("TBW102").await.map_err(|_| why)?,
        };
        let wanted = |name: &str| message.broker.as_deref().is_none_or(|broker| broker == name);
        for queues in
            route.queue_datas.iter().filter(|queues| queues.perm & 2 != 0 && wanted(&queues.broker_name))
        {
            let queue = message.queue.unwrap_or(0);
            anyhow::ensure!(
                queue < queues.write_queue_nums.max(1),
                "{} has {} write queues on {}, queue {queue} is none of them",
                message.topic,
                queues.write_queue_nums,
                queues.broker_name
            );
            if let Some(addr) = master(&route, &queues.broker_name) {
                return Ok((queues.broker_name.clone(), addr, queue));
            }
        }
        match &message.broker {
            None => bail!("no master takes messages of {}", message.topic),
            Some(broker) => bail!(
                "no master called {broker} takes messages of {}; the topic lives on {}",
                message.topic,
                route
                    .broker_datas
                    .iter()
                    .map(|data| data.broker_name.as_str())
                    .collect::<Vec<_>>()
                    .join(", ")
            ),
        }
    }

    /// Messages of one queue from an offset: the code, the reply, the records as stored.
    pub async fn pull(&self, addr: &str, request: &PullRequest) -> Result<(i32, PullReply, bytes::Bytes)> {
        let codes =
            [code::SUCCESS, code::PULL_NOT_FOUND, code::PULL_RETRY_IMMEDIATELY, code::PULL_OFFSET_MOVED];
        let conn = self.broker(addr).await?;
        let (code, reply) = conn.call_accepting::<PullMessage>(request, b"", &codes, WITHIN).await?;
        Ok((code, reply.header, reply.body))
    }

    /// A queue's first and last offset.
    pub async fn bounds(&self, addr: &str, topic: &str, queue_id: i32) -> Result<(i64, i64)> {
        let request = QueueRef { topic: topic.to_owned(), queue_id };
        let conn = self.broker(addr).await?;
        let min = conn.call::<GetMinOffset>(&request, b"", WITHIN).await?.header.offset;
        let max = conn.call::<GetMaxOffset>(&request, b"", WITHIN).await?.header.offset;
        Ok((min, max))
    }

    /// The offset of a queue at a time.
    pub async fn offset_at(&self, addr: &str, topic: &str, queue_id: i32, timestamp: i64) -> Result<i64> {
        let request =
            SearchOffsetRequest { topic: topic.to_owned(), queue_id, timestamp, boundary_type: None };
        Ok(self.call::<SearchOffsetByTimestamp>(addr, &request).await?.offset)
    }

    async fn call<R: Rpc>(&self, addr: &str, request: &R::Request) -> Result<R::Reply> {
        Ok(self.broker(addr).await?.call::<R>(request, b"", WITHIN).await?.header)
    }

    async fn broker(&self, addr: &str) -> Result<Connection> {
        if let Some(kept) = self.brokers.lock().ok().and_then(|brokers| brokers.get(addr).cloned()) {
            return Ok(kept);
        }
        let conn = Connection::connect(addr, WITHIN).await.context("reach the broker named by the route")?;
        if let Ok(mut brokers) = self.brokers.lock() {
            brokers.insert(addr.to_owned(), conn.clone());
        }
        Ok(conn)
    }
}

/// A broker name's master in a route.
pub fn master(route: &TopicRouteData, broker: &str) -> Option<String> {
    let broker = route.broker_datas.iter().find(|data| data.broker_name == broker)?;
    broker.broker_addrs.get(&0).cloned()
}
