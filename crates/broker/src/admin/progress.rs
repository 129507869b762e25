//! How far topics and groups are, and at what rates: 202, 208, 303, 315, 317, 321.

use super::{groups::subscription_data, wire_queue};
use crate::{
    Broker,
    call::{Call, Handle, Out, Reply, handlers},
    hint::{shown, unreadable},
    stats::What,
};
use kerolox_filter::Kind;
use kerolox_protocol::{
    Fail, GroupName, Millis, QueueOffset, TopicName,
    body::{
        self, MessageQueue,
        stats::{
            BrokerStatsData, ConsumeOffset, ConsumeQueueData, ConsumeStats, ConsumeStatsList,
            ConsumeTimeSpans, QueryConsumeQueue as QueueBody, QueueTimeSpan, TopicOffset, TopicStatsTable,
        },
    },
    code,
    rpc::{
        route::TopicRef,
        stats::{
            BrokerConsumeStatsRequest, ConsumeQueueRequest, ConsumeStatsRequest, GetBrokerConsumeStats,
            GetConsumeStats, GetTopicStatsInfo, QueryConsumeQueue, QueryConsumeTimeSpan, StatsRequest,
            TimeSpanRequest, ViewBrokerStatsData,
        },
    },
};
use std::collections::BTreeMap;

handlers![
    GetTopicStatsInfo,
    GetConsumeStats,
    QueryConsumeTimeSpan,
    GetBrokerConsumeStats,
    ViewBrokerStatsData,
    QueryConsumeQueue,
];

/// Entries of one answer to 321.
const ENTRIES_MAX: i32 = 1_024;

impl Broker {
    fn mq(&self, topic: &str, queue: u32) -> MessageQueue {
        MessageQueue::new(topic, &self.options.broker.broker_name, wire_queue(queue))
    }

    /// Time of the message before `at`, 0 if there is none.
    fn time_before(&self, topic: &str, queue: u32, at: i64) -> Result<i64, Fail> {
        Ok(self.time_of(topic, queue, at - 1)?.map_or(0, |time| time.0))
    }
}

impl Handle<GetTopicStatsInfo> for Broker {
    fn handle(&mut self, _: &Call<'_>, request: TopicRef, _: &mut Out) -> Result<Reply<()>, Fail> {
        let queues = self.known_topic(&request.topic)?.write_queue_nums;
        let mut table = TopicStatsTable::default();
        for queue in 0..queues {
            let bounds = self.bounds_of(&request.topic, queue);
            let offset = TopicOffset {
                last_update_timestamp: self.time_before(&request.topic, queue, bounds.max.wire())?,
                max_offset: bounds.max.wire(),
                min_offset: bounds.min.wire(),
            };
            table.offset_table.insert(self.mq(&request.topic, queue), offset);
        }
        Ok(Reply::with_body((), body::encode(&table)))
    }
}

impl Broker {
    /// How far a group is in a topic; `None` if the topic is not there or the group, online, wants it no more.
    fn consume_stats(&self, group: &GroupName, topic: &str) -> Result<Option<ConsumeStats>, Fail> {
        let Some(config) = self.topics.get(topic) else { return Ok(None) };
        if !self.still_wanted(group, topic) {
            return Ok(None);
        }
        let mut stats =
            ConsumeStats { consume_tps: self.stats.got_tps(topic, group), offset_table: BTreeMap::new() };
        let name = config.topic_name.clone();
        for queue in 0..config.write_queue_nums {
            let consumed = self.offsets.query(group, &name, queue).unwrap_or(0).max(0);
            let offset = ConsumeOffset {
                broker_offset: self.bounds_of(topic, queue).max.wire(),
                consumer_offset: consumed,
                last_timestamp: self.time_before(topic, queue, consumed)?,
            };
            stats.offset_table.insert(self.mq(topic, queue), offset);
        }
        Ok(Some(stats))
    }
}

impl Handle<GetConsumeStats> for Broker {
    fn handle(&mut self, _: &Call<'_>, request: ConsumeStatsRequest, _: &mut Out) -> Result<Reply<()>, Fail> {
        let group = GroupName::new(&request.consumer_group);
        let group = group.map_err(|why| Fail::error(format!("consumerGroup: {why}")))?;
        let list = request.topic_list.as_deref().unwrap_or("").split(';').map(str::trim);
        let mut topics: Vec<String> = list.filter(|topic| !topic.is_empty()).map(str::to_owned).collect();
        if topics.is_empty() {
            match request.topic.as_deref().filter(|topic| !topic.trim().is_empty()) {
                Some(topic) => topics.push(topic.to_owned()),
                None => topics.extend(self.offsets.topics_of(&group).map(ToString::to_string)),
            }
        }
        let mut all = ConsumeStats::default();
        for topic in topics {
            if let Some(stats) = self.consume_stats(&group, &topic)? {
                all.consume_tps += stats.consume_tps;
                all.offset_table.extend(stats.offset_table);
            }
        }
        Ok(Reply::with_body((), body::encode(&all)))
    }
}

impl Handle<GetBrokerConsumeStats> for Broker {
    fn handle(
        &mut self,
        _: &Call<'_>,
        request: BrokerConsumeStatsRequest,
        _: &mut Out,
    ) -> Result<Reply<()>, Fail> {
        let mut answer = ConsumeStatsList {
            broker_addr: self.options.store_host.to_string(),
            ..ConsumeStatsList::default()
        };
        // One pass over the table: it is ordered by topic, the answer by group.
        let mut topics: BTreeMap<&GroupName, Vec<&TopicName>> = BTreeMap::new();
        for (topic, group, _) in self.offsets.all() {
            topics.entry(group).or_default().push(topic);
        }
        for (group, _) in self.groups.all() {
            let mut list = Vec::new();
            for topic in topics.get(group).into_iter().flatten() {
                if request.is_order && self.topics.get(topic).is_none_or(|topic| !topic.order) {
                    continue;
                }
                if let Some(stats) = self.consume_stats(group, topic)? {
                    let behind = stats.offset_table.values().map(|at| at.broker_offset - at.consumer_offset);
                    answer.total_diff += behind.sum::<i64>();
                    list.push(stats);
                }
            }
            answer.consume_stats_list.push(BTreeMap::from([(group.to_string(), list)]));
        }
        Ok(Reply::with_body((), body::encode(&answer)))
    }
}

impl Handle<QueryConsumeTimeSpan> for Broker {
    fn handle(&mut self, call: &Call<'_>, request: TimeSpanRequest, _: &mut Out) -> Result<Reply<()>, Fail> {
        let topic = self.known_topic(&request.topic)?;
        let (name, queues) = (topic.topic_name.clone(), topic.write_queue_nums);
        let group = GroupName::new(&request.group).map_err(|why| Fail::error(format!("group: {why}")))?;
        let mut spans = ConsumeTimeSpans::default();
        for queue in 0..queues {
            let bounds = self.bounds_of(&name, queue);
            let time = |at: i64| Ok::<_, Fail>(self.time_of(&name, queue, at)?.map_or(-1, |time| time.0));
            let min = time(bounds.min.wire())?;
            let consumed = self.offsets.query(&group, &name, queue).unwrap_or(-1);
            let waiting =
                if consumed < bounds.max.wire() { time(consumed.max(bounds.min.wire()))? } else { -1 };
            spans.consume_time_span_set.push(QueueTimeSpan {
                consume_time_stamp: if consumed > 0 { time(consumed - 1)? } else { min },
                delay_time: if waiting > 0 { (call.now.wall - Millis(waiting)).0 } else { 0 },
                max_time_stamp: time(bounds.max.wire() - 1)?,
                message_queue: self.mq(&name, queue),
                min_time_stamp: min,
            });
        }
        Ok(Reply::with_body((), body::encode(&spans)))
    }
}

impl Broker {
    fn stats_of(&self, name: &str, key: &str) -> Option<BrokerStatsData> {
        let pair = || key.split_once('@');
        match name {
            "TOPIC_PUT_NUMS" => self.stats.put(key, What::Nums),
            "TOPIC_PUT_SIZE" => self.stats.put(key, What::Size),
            "GROUP_GET_NUMS" => pair().and_then(|(topic, group)| self.stats.got(topic, group, What::Nums)),
            "GROUP_GET_SIZE" => pair().and_then(|(topic, group)| self.stats.got(topic, group, What::Size)),
            "SNDBCK_PUT_NUMS" => pair().and_then(|(topic, group)| self.stats.back(topic, group)),
            _ if key != self.options.broker.broker_cluster_name => None,
            "BROKER_PUT_NUMS" => Some(self.stats.whole(|totals| totals.put.messages)),
            "BROKER_GET_NUMS" => Some(self.stats.whole(|totals| totals.got.messages)),
            _ => None,
        }
    }
}

impl Handle<ViewBrokerStatsData> for Broker {
    fn handle(&mut self, _: &Call<'_>, request: StatsRequest, _: &mut Out) -> Result<Reply<()>, Fail> {
        let StatsRequest { stats_name, stats_key } = request;
        let missing =
            || Fail::error(format!("The stats <{}> <{}> not exist", shown(&stats_name), shown(&stats_key)));
        let data = self.stats_of(&stats_name, &stats_key).ok_or_else(missing)?;
        Ok(Reply::with_body((), body::encode(&data)))
    }
}

impl Handle<QueryConsumeQueue> for Broker {
    fn handle(&mut self, _: &Call<'_>, request: ConsumeQueueRequest, _: &mut Out) -> Result<Reply<()>, Fail> {
        let (topic, queue) = (request.topic.as_str(), request.queue_id);
        let number = u32::try_from(queue).ok();
        let slot = number.and_then(|number| Some((number, self.known_slot(topic, number)?)));
        let missing = || Fail::error(format!("{queue}@{} is not exist!", shown(topic)));
        let (number, slot) = slot.ok_or_else(missing)?;
        let bounds = self.store.bounds(slot);
        let from = QueueOffset::try_from(request.index).ok();
        let Some(from) = from.filter(|from| *from >= bounds.min && *from < bounds.max) else {
            // As the original: a success that says so.
            return Ok(Reply::Now {
                code: code::SUCCESS,
                fields: (),
                body: Vec::new(),
                remark: Some(format!("Index {} of {queue}@{topic} is not exist!", request.index)),
            });
        };
        let count = usize::try_from(request.count.clamp(1, ENTRIES_MAX)).unwrap_or(1);
        let mut entries = Vec::new();
        let read = self.store.entries(slot, from, count, &mut entries);
        read.map_err(|why| unreadable(topic, number, &why))?;
        let group = request.consumer_group.as_deref().filter(|group| !group.is_empty());
        let online = group.and_then(|group| self.clients.consumers(group));
        let wanted = online.and_then(|group| group.subscriptions.get(topic));
        let answer = QueueBody {
            filter_data: None,
            max_queue_index: bounds.max.wire(),
            min_queue_index: bounds.min.wire(),
            queue_data: entries
                .iter()
                .map(|entry| ConsumeQueueData {
                    eval: wanted.is_some_and(|wanted| {
                        wanted.kind == Kind::Tag && wanted.tags.accepts(entry.tags_code)
                    }),
                    physic_offset: entry.at.wire(),
                    physic_size: i32::try_from(entry.size).unwrap_or(i32::MAX),
                    tags_code: entry.tags_code,
                    ..ConsumeQueueData::default()
                })
                .collect(),
            subscription_data: wanted.map(|wanted| subscription_data(topic, wanted)),
        };
        Ok(Reply::with_body((), body::encode(&answer)))
    }
}
