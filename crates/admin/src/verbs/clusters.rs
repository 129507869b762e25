//! Verbs about brokers.

use super::{Common, Run};
use crate::table::{Column, Side, titles, values};
use anyhow::Result;
use serde::Serialize;
use std::{collections::BTreeMap, time::Duration};

/// `clusterList`. Reference: `ClusterListSubCommand`.
#[derive(Debug, clap::Args)]
pub struct ClusterList {
    #[command(flatten)]
    common: Common,
    /// Message totals instead of addresses and load.
    #[arg(short = 'm', long = "moreStats")]
    more: bool,
    /// Repeat every so many seconds.
    #[arg(short = 'i', long = "interval")]
    interval: Option<u64>,
}

/// A broker as listed.
#[derive(Debug, Serialize)]
struct Row {
    cluster: String,
    broker: String,
    id: i64,
    addr: String,
    /// Empty when the broker could not be asked.
    runtime: BTreeMap<String, String>,
    problem: Option<String>,
}

const LOAD: [Column; 10] = [
    Column("#Cluster Name", 17, Side::Left),
    Column("#Broker Name", 23, Side::Left),
    Column("#BID", 5, Side::Left),
    Column("#Addr", 22, Side::Left),
    Column("#Version", 16, Side::Left),
    Column("#InTPS(LOAD)", 19, Side::Right),
    Column("#OutTPS(LOAD)", 19, Side::Right),
    Column("#PCWait(ms)", 10, Side::Right),
    Column("#Hour", 5, Side::Right),
    Column("#SPACE", 6, Side::Right),
];

const TOTALS: [Column; 6] = [
    Column("#Cluster Name", 17, Side::Left),
    Column("#Broker Name", 32, Side::Left),
    Column("#InTotalYest", 14, Side::Right),
    Column("#OutTotalYest", 14, Side::Right),
    Column("#InTotalToday", 14, Side::Right),
    Column("#OutTotalToday", 14, Side::Right),
];

impl Run for ClusterList {
    async fn run(self) -> Result<()> {
        let cluster = self.common.cluster();
        loop {
            let rows = rows(&cluster).await?;
            match (self.common.json, self.more) {
                (true, _) => println!("{}", serde_json::to_string_pretty(&rows)?),
                (false, true) => print(&TOTALS, &rows, totals),
                (false, false) => {
                    let now = jiff::Timestamp::now().as_millisecond();
                    print(&LOAD, &rows, |row| load(row, now));
                }
            }
            let Some(seconds) = self.interval else { return Ok(()) };
            tokio::time::sleep(Duration::from_secs(seconds.max(1))).await;
        }
    }
}

async fn rows(cluster: &crate::Cluster) -> Result<Vec<Row>> {
    let info = cluster.info().await?;
    let mut rows = Vec::new();
    for (cluster_name, names) in &info.cluster_addr_table {
        for data in names.iter().filter_map(|name| info.broker_addr_table.get(name)) {
            for (id, addr) in &data.broker_addrs {
                let asked = cluster.runtime_info(addr).await;
                let problem = asked.as_ref().err().map(|why| format!("{why:#}"));
                let (cluster, broker) = (cluster_name.clone(), data.broker_name.clone());
                let runtime = asked.unwrap_or_default();
                rows.push(Row { cluster, broker, id: *id, addr: addr.clone(), runtime, problem });
            }
        }
    }
    Ok(rows)
}

fn print<const N: usize>(columns: &[Column; N], rows: &[Row], cells: impl Fn(&Row) -> [String; N]) {
    println!("{}", titles(columns, 1));
    for row in rows {
        println!("{}", values(columns, &cells(row), 1));
        if let Some(problem) = &row.problem {
            eprintln!("{} {}: {problem}", row.broker, row.addr);
        }
    }
}

fn load(row: &Row, now: i64) -> [String; 10] {
    let text = |key: &str| row.runtime.get(key).cloned().unwrap_or_default();
    let rate = |key: &str| text(key).split(' ').next().and_then(|n| n.parse::<f64>().ok()).unwrap_or(0.0);
    let queue = |name: &str| {
        let (size, wait) =
            (format!("{name}ThreadPoolQueueSize"), format!("{name}ThreadPoolQueueHeadWaitTimeMills"));
        format!("({},{}ms)", text(&size), text(&wait))
    };
    let earliest: Option<i64> = text("earliestMessageTimeStamp").parse().ok();
    let hours = earliest.map_or(0.0, |since| (now - since) as f64 / 3_600_000.0);
    let disk: f64 = text("commitLogDiskRatio").parse().unwrap_or(0.0);
    [
        row.cluster.clone(),
        row.broker.clone(),
        row.id.to_string(),
        row.addr.clone(),
        text("brokerVersionDesc"),
        format!("{:.2}{}", rate("putTps"), queue("send")),
        format!("{:.2}{}", rate("getTransferedTps"), queue("pull")),
        text("pageCacheLockTimeMills"),
        format!("{hours:.2}"),
        format!("{disk:.4}"),
    ]
}

fn totals(row: &Row) -> [String; 6] {
    let number = |key: &str| row.runtime.get(key).and_then(|text| text.parse::<i64>().ok()).unwrap_or(0);
    let between = |to: &str, from: &str| (number(to) - number(from)).to_string();
    [
        row.cluster.clone(),
        row.broker.clone(),
        between("msgPutTotalTodayMorning", "msgPutTotalYesterdayMorning"),
        between("msgGetTotalTodayMorning", "msgGetTotalYesterdayMorning"),
        between("msgPutTotalTodayNow", "msgPutTotalTodayMorning"),
        between("msgGetTotalTodayNow", "msgGetTotalTodayMorning"),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_columns_are_the_originals() {
        let figures = [
            ("brokerVersionDesc", "V4_9_7"),
            ("putTps", "0.0 3 2"),
            ("earliestMessageTimeStamp", "0"),
            ("msgPutTotalTodayMorning", "5"),
            ("msgPutTotalYesterdayMorning", "5"),
            ("msgPutTotalTodayNow", "7"),
            ("getTransferedTps", "0.0"),
            ("sendThreadPoolQueueSize", "0"),
            ("sendThreadPoolQueueHeadWaitTimeMills", "0"),
            ("pullThreadPoolQueueSize", "0"),
            ("pullThreadPoolQueueHeadWaitTimeMills", "0"),
            ("pageCacheLockTimeMills", "0"),
            ("commitLogDiskRatio", "0.17"),
        ];
        let row = Row {
            cluster: "DefaultCluster".into(),
            broker: "broker-a".into(),
            id: 0,
            addr: "127.0.0.1:28035".into(),
            runtime: figures.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect(),
            problem: None,
        };
        // Captured from the original's 4.9.7 tool; scripts cut by column.
        let title = "#Cluster Name     #Broker Name            #BID  #Addr                  #Version                \
            #InTPS(LOAD)       #OutTPS(LOAD) #PCWait(ms) #Hour #SPACE";
        let line = "DefaultCluster    broker-a                0     127.0.0.1:28035        V4_9_7                   \
            0.00(0,0ms)         0.00(0,0ms)          0 498766.41 0.1700";
        let hours = (498_766.41 * 3_600_000.0) as i64;
        assert_eq!(titles(&LOAD, 1), title);
        assert_eq!(values(&LOAD, &load(&row, hours), 1), line);
        let title = "#Cluster Name     #Broker Name                       #InTotalYest  #OutTotalYest  #InTotalToday #OutTotalToday";
        let line = "DefaultCluster    broker-a                                      0              0              2              0";
        assert_eq!(titles(&TOTALS, 1), title);
        assert_eq!(values(&TOTALS, &totals(&row), 1), line);
    }
}
