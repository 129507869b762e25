//! Messages that consumers give back: they come again later, or become dead letters.

use crate::{
    Broker,
    call::{Call, Handle, Out, Reply, handlers},
    hint,
    hint::{refused, shown},
    produce::{Origin, VERSION_3_4_9, dispatch},
    props::{self, Known},
    topics::PERM_WRITE,
};
use kerolox_protocol::{
    Fail, GroupName, LogOffset, QueueId, TopicName, code,
    msgid::MessageId,
    record::{self, Draft, Entry, Record},
    rpc::consume::{ConsumerSendMsgBack, SendBackRequest},
};
use kerolox_store::Dispatch;

handlers![ConsumerSendMsgBack];

/// Retries start at this level: 10 s with the default levels.
const FIRST_LEVEL: i32 = 3;
/// What is written anew.
const DROPPED: &[&str] = &["WAIT", "DELAY", "REAL_TOPIC", "REAL_QID"];

impl Handle<ConsumerSendMsgBack> for Broker {
    fn handle(
        &mut self,
        call: &Call<'_>,
        request: SendBackRequest,
        out: &mut Out,
    ) -> Result<Reply<()>, Fail> {
        let from = Origin::of(call);
        let auto = self.options.broker.auto_create_subscription_group;
        let unknown = || {
            let first = format!("subscription group not exist, {}", shown(&request.group));
            hint::no_group(&first, &request.group, auto)
        };
        let config = self.groups.get(&request.group).ok_or_else(unknown)?;
        let (retry_queues, group_max) = (config.retry_queue_nums, config.retry_max_times);
        if !self.options.writable() {
            let ip = self.options.store_host.ip();
            return Err(Fail::new(
                code::NO_PERMISSION,
                format!("the broker[{ip}] sending message is forbidden"),
            ));
        }
        let Some(retry_queues) = u32::try_from(retry_queues).ok().filter(|queues| *queues > 0) else {
            // The operator switched retries off for this group.
            return Ok(Reply::ok(()));
        };
        let bytes = self.given_back(request.offset)?;
        let Ok(Entry::Message(record)) = record::parse(&bytes) else { return Err(missing(request.offset)) };
        let max = match request.max_reconsume_times {
            Some(max) if from.version >= VERSION_3_4_9 => max,
            _ => group_max,
        };
        let group = GroupName::new(&request.group).map_err(|why| Fail::error(why.to_string()))?;
        let known = Known::read(record.properties);
        let dead = request.delay_level < 0 || record.reconsume_times >= max;
        let (topic, queue, level) = if dead {
            let name = group.dlq_topic().map_err(|why| Fail::error(why.to_string()))?;
            self.topics.ensure(from.now.wall, &name, 1, 0);
            (name, QueueId(0), 0)
        } else {
            let name = group.retry_topic().map_err(|why| Fail::error(why.to_string()))?;
            let unit = if request.unit_mode.unwrap_or(false) { 2 } else { 0 };
            if self.topics.ensure(from.now.wall, &name, retry_queues, unit) & PERM_WRITE == 0 {
                let remark = format!("the topic[{name}] sending message is forbidden");
                return Err(Fail::new(code::NO_PERMISSION, remark));
            }
            let level = match request.delay_level {
                0 => FIRST_LEVEL.saturating_add(record.reconsume_times),
                level => level,
            };
            (name, QueueId(self.random.below(retry_queues)), u32::try_from(level).unwrap_or(0))
        };
        self.note_tables(from.now, out);
        self.store_again(&from, &record, &known, &topic, queue, level)?;
        self.stats.on_back(record.topic, &request.group);
        Ok(Reply::ok(()))
    }
}

fn missing(offset: i64) -> Fail {
    Fail::error(format!("look message by offset failed, {offset}"))
}

impl Broker {
    fn given_back(&self, offset: i64) -> Result<Vec<u8>, Fail> {
        let at = LogOffset::try_from(offset).map_err(|_| missing(offset))?;
        match self.store.record(at) {
            Ok(Some(bytes)) => Ok(bytes),
            Ok(None) => Err(missing(offset)),
            Err(why) => Err(Fail::error(format!("the message at {at} cannot be read: {why}"))),
        }
    }

    fn store_again(
        &mut self,
        from: &Origin,
        record: &Record<'_>,
        known: &Known<'_>,
        topic: &TopicName,
        queue: QueueId,
        level: u32,
    ) -> Result<(), Fail> {
        let mut properties = Vec::new();
        props::copy(record.properties, DROPPED, &mut properties);
        if known.retry_topic.is_none() {
            props::push(&mut properties, "RETRY_TOPIC", record.topic);
        }
        if known.origin_id.is_none() {
            let at = LogOffset::try_from(record.physical_offset).unwrap_or_default();
            let id = MessageId::new(record.store_host, at);
            props::push(&mut properties, "ORIGIN_MESSAGE_ID", id.as_str());
        }
        let aside = self.delay_queue(level, record.sys_flag);
        let level = aside.map_or(0, |(level, _)| level);
        props::push(&mut properties, "DELAY", &level.to_string());
        if aside.is_some() {
            props::push(&mut properties, "REAL_TOPIC", topic);
            props::push(&mut properties, "REAL_QID", &queue.to_string());
        }
        let (to_topic, to_queue, slot) = self.place(aside, topic, queue);
        let draft = Draft {
            topic: to_topic,
            queue_id: to_queue,
            store_host: self.options.store_host,
            reconsume_times: record.reconsume_times.saturating_add(1),
            prepared_offset: 0,
            properties: &properties,
            ..Draft::from(record)
        };
        let dispatch = Dispatch { delay_level: level, ..dispatch(known) };
        let appended = self.store.append(from.now.wall, &draft, slot, &dispatch).map_err(refused)?;
        self.stats.on_put(topic, 1, u64::from(appended.size));
        Ok(())
    }
}
