//! Verbs about single messages.

use super::{Common, Run};
use crate::{
    cluster::{Cluster, NewMessage, PRODUCER, Sent, master},
    table::{Column, Side, titles, values},
};
use anyhow::{Result, bail};
use kerolox_protocol::{
    LogOffset, code,
    msgid::MessageId,
    properties,
    record::{self, Record},
    rpc::consume::PullRequest,
};
use serde::Serialize;

/// `sendMessage`. Reference: `SendMessageCommand`.
#[derive(Debug, clap::Args)]
pub struct SendMessage {
    #[command(flatten)]
    common: Common,
    /// Topic name.
    #[arg(short = 't', long = "topic")]
    topic: String,
    /// Body, as UTF-8 text.
    #[arg(short = 'p', long = "body")]
    body: String,
    /// Keys.
    #[arg(short = 'k', long = "key")]
    keys: Option<String>,
    /// Tag.
    #[arg(short = 'c', long = "tags")]
    tags: Option<String>,
    /// Only to this broker name.
    #[arg(short = 'b', long = "broker")]
    broker: Option<String>,
    /// Only to this queue; needs -b.
    #[arg(short = 'i', long = "qid", requires = "broker")]
    queue: Option<i32>,
    /// Send a trace of it, too.
    #[arg(short = 'm', long = "msgTraceEnable", action = clap::ArgAction::Set, default_value_t = false)]
    trace: bool,
}

/// Where traces go.
const TRACE_TOPIC: &str = "RMQ_SYS_TRACE_TOPIC";

/// The trace of a sent message: one record of type `Pub`, fields in the order that trace consoles expect.
fn trace(message: &NewMessage, sent: &Sent, host: &str, born_ms: i64, cost_ms: i64) -> NewMessage {
    let keys = message.keys.as_deref().unwrap_or_default();
    let fields = [
        "Pub",
        &born_ms.to_string(),
        "DefaultRegion",
        PRODUCER,
        &message.topic,
        &sent.unique_key,
        message.tags.as_deref().unwrap_or_default(),
        keys,
        host,
        &message.body.len().to_string(),
        &cost_ms.to_string(),
        "0",
        &sent.offset_id,
        "true",
    ];
    let keys = format!("{} {keys}", sent.unique_key).trim_end().to_owned();
    let body = format!("{}\u{2}", fields.join("\u{1}")).into_bytes();
    NewMessage { topic: TRACE_TOPIC.into(), body, keys: Some(keys), ..NewMessage::default() }
}

/// A unique key of the usual shape: host, process, time, counter.
fn unique_key(now: jiff::Timestamp) -> String {
    format!(
        "7F000001{:04X}{:012X}{:08X}",
        std::process::id() & 0xffff,
        now.as_millisecond(),
        now.subsec_nanosecond()
    )
}

const SENT: [Column; 4] = [
    Column("#Broker Name", 32, Side::Left),
    Column("#QID", 4, Side::Left),
    Column("#Send Result", 22, Side::Left),
    Column("#MsgId", 40, Side::Left),
];

impl Run for SendMessage {
    async fn run(self) -> Result<()> {
        let now = jiff::Timestamp::now();
        let message = NewMessage {
            topic: self.topic,
            body: self.body.into_bytes(),
            keys: self.keys,
            tags: self.tags,
            broker: self.broker,
            queue: self.queue,
        };
        let cluster = self.common.cluster();
        let born_ms = now.as_millisecond();
        let sent = cluster.send(&message, unique_key(now), born_ms).await?;
        if self.trace {
            let done = jiff::Timestamp::now();
            let trace = trace(&message, &sent, &sent.addr, born_ms, done.as_millisecond() - born_ms);
            if let Err(why) = cluster.send(&trace, unique_key(done), done.as_millisecond()).await {
                eprintln!("the message was sent, but its trace was not (does {TRACE_TOPIC} exist?): {why:#}");
            }
        }
        if self.common.json {
            println!("{}", serde_json::to_string_pretty(&sent)?);
            return Ok(());
        }
        println!("{}", titles(&SENT, 2).trim_end());
        let cells = [sent.broker, sent.queue.to_string(), "SEND_OK".into(), sent.unique_key];
        println!("{}", values(&SENT, &cells, 2).trim_end());
        Ok(())
    }
}

/// `consumeMessage`. Reference: `ConsumeMessageCommand`.
#[derive(Debug, clap::Args)]
pub struct ConsumeMessage {
    #[command(flatten)]
    common: Common,
    /// Topic name.
    #[arg(short = 't', long = "topic")]
    topic: String,
    /// Only from this broker name.
    #[arg(short = 'b', long = "brokerName")]
    broker: Option<String>,
    /// Only from this queue; needs -b.
    #[arg(short = 'i', long = "queueId", requires = "broker")]
    queue: Option<i32>,
    /// From this queue offset; needs -i.
    #[arg(short = 'o', long = "offset", requires = "queue")]
    offset: Option<i64>,
    /// Group to read as.
    #[arg(short = 'g', long = "consumerGroup", default_value = "TOOLS_CONSUMER")]
    group: String,
    /// From this time: Unix milliseconds.
    #[arg(short = 's', long = "beginTimestamp")]
    begin: Option<i64>,
    /// Up to this time: Unix milliseconds.
    #[arg(short = 'e', long = "endTimestamp")]
    end: Option<i64>,
    /// Most messages of a queue.
    #[arg(short = 'c', long = "MessageNumber", default_value_t = 128)]
    count: i64,
}

/// A message as `--json` prints it.
#[derive(Debug, Serialize)]
struct Shown {
    id: String,
    topic: String,
    broker: String,
    queue: i32,
    queue_offset: i64,
    store_ms: i64,
    born_ms: i64,
    reconsume_times: i32,
    properties: String,
    body: String,
}

impl Run for ConsumeMessage {
    async fn run(self) -> Result<()> {
        let cluster = self.common.cluster();
        let route = cluster.route(&self.topic).await?;
        let mut shown = Vec::new();
        for queues in &route.queue_datas {
            if self.broker.as_ref().is_some_and(|broker| *broker != queues.broker_name) {
                continue;
            }
            let Some(addr) = master(&route, &queues.broker_name) else { continue };
            for queue in 0..queues.read_queue_nums {
                if self.queue.is_none_or(|wanted| wanted == queue) {
                    self.read(&cluster, &addr, &queues.broker_name, queue, &mut shown).await?;
                }
            }
        }
        if self.common.json {
            println!("{}", serde_json::to_string_pretty(&shown)?);
        }
        Ok(())
    }
}

/// The id that clients know a message by: its unique key, else, where the sender gave it none, its place.
fn id(record: &Record<'_>) -> String {
    match properties::get_str(record.properties, "UNIQ_KEY").filter(|key| !key.is_empty()) {
        Some(key) => key.to_owned(),
        None => {
            let at = LogOffset::try_from(record.physical_offset).unwrap_or_default();
            MessageId::new(record.store_host, at).to_string()
        }
    }
}

/// How often one offset is asked for again: a broker that makes an entry of its queue again answers within a second.
const TRIES_MAX: u32 = 30;

impl ConsumeMessage {
    async fn read(
        &self,
        cluster: &Cluster,
        addr: &str,
        broker: &str,
        queue: i32,
        shown: &mut Vec<Shown>,
    ) -> Result<()> {
        let (min, max) = cluster.bounds(addr, &self.topic, queue).await?;
        let mut offset = match (self.offset, self.begin) {
            (Some(offset), _) => offset,
            (None, Some(begin)) => cluster.offset_at(addr, &self.topic, queue, begin).await?,
            (None, None) => min,
        };
        let (mut left, mut tries) = (self.count, 0);
        while offset < max && left > 0 {
            let request = self.request(queue, offset, left.min(32) as i32);
            let (code, reply, body) = cluster.pull(addr, &request).await?;
            match code {
                code::SUCCESS => {}
                code::PULL_RETRY_IMMEDIATELY => {}
                _ => break,
            }
            for record in record::parse_all(&body) {
                let record = record?;
                if self.end.is_some_and(|end| record.store_ms.0 > end) {
                    return Ok(());
                }
                left -= 1;
                self.show(&record, broker, shown);
            }
            tries = if reply.next_begin_offset > offset { 0 } else { tries + 1 };
            if reply.next_begin_offset < offset || tries > TRIES_MAX {
                bail!("the broker did not move on from offset {offset} of queue {queue}");
            }
            offset = reply.next_begin_offset;
        }
        if !self.common.json {
            println!(
                "MessageQueue [topic={}, brokerName={broker}, queueId={queue}] print msg finished. offset={offset}",
                self.topic
            );
        }
        Ok(())
    }

    fn request(&self, queue_id: i32, queue_offset: i64, max_msg_nums: i32) -> PullRequest {
        PullRequest::once(&self.group, &self.topic, queue_id, queue_offset, max_msg_nums)
    }

    fn show(&self, record: &Record<'_>, broker: &str, shown: &mut Vec<Shown>) {
        let properties =
            String::from_utf8_lossy(record.properties).replace('\u{1}', "=").replace('\u{2}', ", ");
        let body = String::from_utf8_lossy(record.body).into_owned();
        if self.common.json {
            return shown.push(Shown {
                id: id(record),
                topic: record.topic.to_owned(),
                broker: broker.to_owned(),
                queue: record.queue_id,
                queue_offset: record.queue_offset,
                store_ms: record.store_ms.0,
                born_ms: record.born_ms.0,
                reconsume_times: record.reconsume_times,
                properties,
                body,
            });
        }
        println!(
            "MSGID: {} MessageExt [brokerName={broker}, queueId={}, storeSize={}, queueOffset={}, sysFlag={}, bornTimestamp={}, bornHost=/{}, storeTimestamp={}, storeHost=/{}, commitLogOffset={}, bodyCRC={}, reconsumeTimes={}, properties={{{properties}}}] BODY: {body}",
            id(record),
            record.queue_id,
            record.size,
            record.queue_offset,
            record.sys_flag,
            record.born_ms,
            record.born_host,
            record.store_ms,
            record.store_host,
            record.physical_offset,
            record.body_crc,
            record.reconsume_times
        );
    }
}
