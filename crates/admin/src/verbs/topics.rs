//! Verbs about topics.

use super::{Common, Run};
use crate::{
    cluster::{Cluster, master},
    table::{Column, Side, titles, values},
};
use anyhow::{Context, Result, bail};
use kerolox_protocol::{
    body::route::{BrokerData, QueueData, TopicRouteData},
    names::{DLQ_PREFIX, RETRY_PREFIX},
    rpc::topic::CreateTopicRequest,
};
use serde::Serialize;
use std::collections::BTreeSet;

/// `topicRoute`. Reference: `TopicRouteSubCommand`.
#[derive(Debug, clap::Args)]
pub struct TopicRoute {
    #[command(flatten)]
    common: Common,
    /// Topic name.
    #[arg(short = 't', long = "topic")]
    topic: String,
    /// A list instead of JSON.
    #[arg(short = 'l', long = "list")]
    list: bool,
}

impl Run for TopicRoute {
    async fn run(self) -> Result<()> {
        let route = self.common.cluster().route(&self.topic).await?;
        match self.list {
            true => print_list(&route),
            // The original prints the route as JSON too, with bare numbers as keys; this form is valid.
            false => println!("{}", serde_json::to_string_pretty(&route)?),
        }
        Ok(())
    }
}

const ROUTE: [Column; 6] = [
    Column("#ClusterName", 45, Side::Left),
    Column("#BrokerName", 32, Side::Left),
    Column("#BrokerAddrs", 50, Side::Left),
    Column("#ReadQueue", 10, Side::Left),
    Column("#WriteQueue", 11, Side::Left),
    Column("#Perm", 5, Side::Left),
];

fn print_list(route: &TopicRouteData) {
    println!("{}", titles(&ROUTE, 1));
    let (mut reads, mut writes) = (0, 0);
    for queues in &route.queue_datas {
        let broker = route.broker_datas.iter().find(|data| data.broker_name == queues.broker_name);
        println!("{}", values(&ROUTE, &route_row(queues, broker), 1));
        reads += queues.read_queue_nums;
        writes += queues.write_queue_nums;
    }
    println!("{}", "-".repeat(158));
    let total = [
        "Total:".into(),
        route.queue_datas.len().to_string(),
        String::new(),
        reads.to_string(),
        writes.to_string(),
        String::new(),
    ];
    println!("{}", values(&ROUTE, &total, 1));
}

fn route_row(queues: &QueueData, broker: Option<&BrokerData>) -> [String; 6] {
    let addrs = broker.map(|data| {
        let each: Vec<_> = data.broker_addrs.iter().map(|(id, addr)| format!("{id}={addr}")).collect();
        format!("{{{}}}", each.join(", "))
    });
    [
        broker.map(|data| data.cluster.clone()).unwrap_or_default(),
        queues.broker_name.clone(),
        addrs.unwrap_or_default(),
        queues.read_queue_nums.to_string(),
        queues.write_queue_nums.to_string(),
        queues.perm.to_string(),
    ]
}

/// `topicStatus`. Reference: `TopicStatusSubCommand`.
#[derive(Debug, clap::Args)]
pub struct TopicStatus {
    #[command(flatten)]
    common: Common,
    /// Topic name.
    #[arg(short = 't', long = "topic")]
    topic: String,
}

#[derive(Debug, Serialize)]
struct QueueStatus {
    broker: String,
    queue: i32,
    min_offset: i64,
    max_offset: i64,
    last_update_ms: i64,
}

const STATUS: [Column; 5] = [
    Column("#Broker Name", 32, Side::Left),
    Column("#QID", 4, Side::Left),
    Column("#Min Offset", 20, Side::Left),
    Column("#Max Offset", 22, Side::Left),
    Column("#Last Updated", 20, Side::Left),
];

impl Run for TopicStatus {
    async fn run(self) -> Result<()> {
        let cluster = self.common.cluster();
        let route = cluster.route(&self.topic).await?;
        let mut rows = Vec::new();
        for data in &route.broker_datas {
            let Some(addr) = master(&route, &data.broker_name) else { continue };
            for (queue, offsets) in cluster.topic_stats(&addr, &self.topic).await?.offset_table {
                rows.push(QueueStatus {
                    broker: queue.broker_name,
                    queue: queue.queue_id,
                    min_offset: offsets.min_offset,
                    max_offset: offsets.max_offset,
                    last_update_ms: offsets.last_update_timestamp,
                });
            }
        }
        rows.sort_by(|a, b| (&a.broker, a.queue).cmp(&(&b.broker, b.queue)));
        if self.common.json {
            println!("{}", serde_json::to_string_pretty(&rows)?);
            return Ok(());
        }
        println!("{}", titles(&STATUS, 2));
        for row in &rows {
            let cells = [
                row.broker.clone(),
                row.queue.to_string(),
                row.min_offset.to_string(),
                row.max_offset.to_string(),
                when(row.last_update_ms),
            ];
            println!("{}", values(&STATUS, &cells, 2).trim_end());
        }
        Ok(())
    }
}

/// A time as the original prints it, in the local zone; nothing for "never".
fn when(ms: i64) -> String {
    let time = jiff::Timestamp::from_millisecond(ms).ok().filter(|_| ms > 0);
    time.map(|time| {
        time.to_zoned_datetime(jiff::tz::TimeZone::system()).strftime("%Y-%m-%d %H:%M:%S,%3f").to_string()
    })
    .unwrap_or_default()
}

/// `topicList`. Reference: `TopicListSubCommand`.
#[derive(Debug, clap::Args)]
pub struct TopicNames {
    #[command(flatten)]
    common: Common,
    /// With the cluster and the groups that consume each topic; retry and dead-letter topics are left out.
    #[arg(short = 'c', long = "clusterModel")]
    clusters: bool,
}

const CONSUMED: [Column; 3] = [
    Column("#Cluster Name", 20, Side::Left),
    Column("#Topic", 48, Side::Left),
    Column("#Consumer Group", 48, Side::Left),
];

#[derive(Debug, Serialize)]
struct Consumed {
    cluster: String,
    topic: String,
    group: String,
}

/// A row per topic and group; a topic without groups has one, too.
async fn consumed(cluster: &Cluster) -> Result<Vec<Consumed>> {
    let mut rows = Vec::new();
    for topic in cluster.topics().await? {
        if topic.starts_with(RETRY_PREFIX) || topic.starts_with(DLQ_PREFIX) {
            continue;
        }
        // A topic may be gone, or on no broker, by the time it is asked for.
        let Ok(route) = cluster.route(&topic).await else { continue };
        let mut groups = BTreeSet::new();
        for data in &route.broker_datas {
            if let Some(addr) = data.broker_addrs.get(&0) {
                groups.extend(cluster.groups_of(addr, &topic).await?);
            }
        }
        if groups.is_empty() {
            groups.insert(String::new());
        }
        let name = route.broker_datas.first().map(|data| data.cluster.clone()).unwrap_or_default();
        rows.extend(groups.into_iter().map(|group| Consumed {
            cluster: name.clone(),
            topic: topic.clone(),
            group,
        }));
    }
    Ok(rows)
}

impl Run for TopicNames {
    async fn run(self) -> Result<()> {
        let cluster = self.common.cluster();
        if self.clusters {
            let rows = consumed(&cluster).await?;
            if self.common.json {
                println!("{}", serde_json::to_string_pretty(&rows)?);
                return Ok(());
            }
            println!("{}", titles(&CONSUMED, 2).trim_end());
            for row in rows {
                println!("{}", values(&CONSUMED, &[row.cluster, row.topic, row.group], 2).trim_end());
            }
            return Ok(());
        }
        let topics = cluster.topics().await?;
        match self.common.json {
            true => println!("{}", serde_json::to_string_pretty(&topics)?),
            false => topics.iter().for_each(|topic| println!("{topic}")),
        }
        Ok(())
    }
}

/// `updateTopic`. Reference: `UpdateTopicSubCommand`.
#[derive(Debug, clap::Args)]
pub struct UpdateTopic {
    #[command(flatten)]
    common: Common,
    /// Create on this broker.
    #[arg(short = 'b', long = "brokerAddr", conflicts_with = "cluster", required_unless_present = "cluster")]
    broker: Option<String>,
    /// Create on every master of this cluster.
    #[arg(short = 'c', long = "clusterName")]
    cluster: Option<String>,
    /// Topic name.
    #[arg(short = 't', long = "topic")]
    topic: String,
    /// Read queues.
    #[arg(short = 'r', long = "readQueueNums", default_value_t = 8)]
    read: i32,
    /// Write queues.
    #[arg(short = 'w', long = "writeQueueNums", default_value_t = 8)]
    write: i32,
    /// Permission: 2 write, 4 read, 6 both.
    #[arg(short = 'p', long = "perm", default_value_t = 6)]
    perm: i32,
    /// Whether its messages are ordered: clients are told its queues through the name servers.
    #[arg(short = 'o', long = "order", action = clap::ArgAction::Set, default_value_t = false)]
    order: bool,
    /// Whether it is a unit topic.
    #[arg(short = 'u', long = "unit", action = clap::ArgAction::Set, default_value_t = false)]
    unit: bool,
    /// Whether a unit subscribes to it.
    #[arg(short = 's', long = "hasUnitSub", action = clap::ArgAction::Set, default_value_t = false)]
    unit_sub: bool,
}

impl UpdateTopic {
    /// After the topic is made: the queues that clients of an ordered topic share out.
    async fn tell_order(&self, cluster: &Cluster, names: Vec<String>) -> Result<()> {
        let queues: Vec<_> = names.into_iter().map(|name| (name, self.write)).collect();
        let is_whole = self.broker.is_none();
        let value = cluster.order(&self.topic, &queues, is_whole).await?;
        let scope = if is_whole { "cluster" } else { "broker" };
        println!("set {scope} orderConf. isOrder=true, orderConf=[{value}]");
        Ok(())
    }
}

impl Run for UpdateTopic {
    async fn run(self) -> Result<()> {
        let cluster = self.common.cluster();
        let sys_flag = i32::from(self.unit) | i32::from(self.unit_sub) << 1;
        let (names, addrs): (Vec<_>, Vec<_>) = match (&self.broker, &self.cluster) {
            // Only an ordered topic needs the name.
            (Some(addr), _) if self.order => (vec![cluster.name_of(addr).await?], vec![addr.clone()]),
            (Some(addr), _) => (Vec::new(), vec![addr.clone()]),
            (None, Some(name)) => cluster.masters(name).await?.into_iter().unzip(),
            (None, None) => bail!("name a broker with -b or a cluster with -c"),
        };
        let request = CreateTopicRequest {
            topic: self.topic.clone(),
            default_topic: Some("TBW102".into()),
            read_queue_nums: self.read,
            write_queue_nums: self.write,
            perm: self.perm,
            topic_filter_type: Some("SINGLE_TAG".into()),
            topic_sys_flag: Some(sys_flag),
            order: Some(self.order),
            attributes: None,
            force: None,
        };
        for addr in &addrs {
            cluster
                .create_topic(addr, &request)
                .await
                .with_context(|| format!("create {} on {addr}", self.topic))?;
            println!("create topic to {addr} success.");
        }
        if self.order {
            self.tell_order(&cluster, names).await?;
        }
        let bit = |bit: i32, letter: char| if self.perm & bit != 0 { letter } else { '-' };
        println!(
            "TopicConfig [topicName={}, readQueueNums={}, writeQueueNums={}, perm={}{}{}, topicFilterType=SINGLE_TAG, topicSysFlag={sys_flag}, order={}]",
            self.topic,
            self.read,
            self.write,
            bit(4, 'R'),
            bit(2, 'W'),
            bit(1, 'X'),
            self.order
        );
        Ok(())
    }
}
