//! Sending: checks, where a message goes, how it is stored.
//!
//! Knows topics, groups and the store; knows no socket. Everything of one group is appended here and written
//! and answered together by [`crate::service`].

use crate::{
    Broker,
    answer::Ticket,
    call::{Call, Out, handlers},
    groups::GroupConfig,
    hint,
    hint::{refused, shown},
    parked::{Ids, Said, Waiting},
    props::{self, Known},
    topics::{self, NO_SEND, SCHEDULE_TOPIC, TopicConfig, TopicFilterType, Wish},
};
use kerolox_net::{Now, Peer};
use kerolox_protocol::{
    Fail, GroupName, LogOffset, Millis, QueueId, TopicName, batch, code,
    header::{FieldError, Header},
    msgid::MessageId,
    names::{self, RETRY_PREFIX, TOPIC_BYTES_MAX},
    properties,
    record::{Draft, SYS_MULTI_TAGS, SYS_TRANSACTION_MASK},
    rpc::{
        Rpc,
        produce::{
            SendBatchMessage, SendMessage, SendMessageV2, SendReplyMessage, SendReplyMessageV2, SendRequest,
            SendRequestV2,
        },
    },
    scan::Send,
};
use kerolox_store::{AppendError, Appended, Dispatch, QueueSlot};

/// Version ordinal from which a client's own limit of retries counts.
pub(crate) const VERSION_3_4_9: i32 = 121;
/// sysFlag of a committed transaction.
const TRANSACTION_COMMIT: i32 = 0x8;
/// Properties that a stored message never takes from its sender.
const DROPPED: &[&str] = &["WAIT", "CLUSTER"];
/// The same for a message that is put aside until its time.
const DROPPED_ASIDE: &[&str] = &["WAIT", "CLUSTER", "REAL_TOPIC", "REAL_QID"];

/// Where a request came from, without its header.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Origin {
    pub now: Now,
    pub peer: Peer,
    pub to: Ticket,
    /// Version ordinal of the client.
    pub version: i32,
}

impl Origin {
    pub(crate) fn of(call: &Call<'_>) -> Origin {
        Origin { now: call.now, peer: call.peer, to: call.ticket(), version: call.header.version }
    }
}

/// Serves codes that carry a send, in whichever form, by a method of the broker.
macro_rules! serve_sends {
    ($($rpc:ty),* => $method:ident) => { $(
        impl $crate::call::Handle<$rpc> for $crate::Broker {
            fn handle(
                &mut self,
                call: &$crate::call::Call<'_>,
                request: <$rpc as kerolox_protocol::rpc::Rpc>::Request,
                out: &mut $crate::call::Out,
            ) -> Result<$crate::call::Reply<kerolox_protocol::rpc::produce::SendReply>, kerolox_protocol::Fail> {
                let request = kerolox_protocol::rpc::produce::SendRequest::from(request);
                self.$method(call, &kerolox_protocol::scan::Send::from(&request), out)?;
                Ok($crate::call::Reply::Later)
            }
        }
    )* };
}
pub(crate) use serve_sends;

handlers![SendMessage, SendMessageV2, SendBatchMessage];
serve_sends![SendMessage, SendMessageV2, SendBatchMessage => serve_send];

/// A request code whose header says where a message goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SendCode(i32);

impl SendCode {
    pub(crate) fn of(code: i32) -> Option<SendCode> {
        let known = matches!(
            code,
            SendMessage::CODE
                | SendMessageV2::CODE
                | SendBatchMessage::CODE
                | SendReplyMessage::CODE
                | SendReplyMessageV2::CODE
        );
        known.then_some(SendCode(code))
    }

    pub(crate) fn code(self) -> i32 {
        self.0
    }

    /// Whether somebody waits for the message on another connection.
    pub(crate) fn is_reply(self) -> bool {
        matches!(self.0, SendReplyMessage::CODE | SendReplyMessageV2::CODE)
    }

    /// The header, whichever form the code has.
    pub(crate) fn request(self, header: &Header) -> Result<SendRequest, FieldError> {
        match self.0 {
            SendMessage::CODE | SendReplyMessage::CODE => header.fields(),
            _ => header.fields::<SendRequestV2>().map(SendRequest::from),
        }
    }
}

/// Where a message goes.
pub(crate) struct Target {
    pub topic: TopicName,
    pub queue: QueueId,
    multi_tags: bool,
    /// Dead letters are not delayed again.
    dead: bool,
}

impl Broker {
    fn serve_send(&mut self, call: &Call<'_>, send: &Send<'_>, out: &mut Out) -> Result<(), Fail> {
        self.send(&Origin::of(call), send, call.body, out)
    }

    /// Appends what was sent and parks the answer until the group is written.
    pub(crate) fn send(
        &mut self,
        from: &Origin,
        send: &Send<'_>,
        body: &[u8],
        out: &mut Out,
    ) -> Result<(), Fail> {
        let target = self.accept(from, send, out)?;
        if send.batch == Some(true) {
            self.send_batch(from, send, &target, body)
        } else {
            self.send_one(from, send, &target, body, out)
        }
    }

    /// Checks a send and finds where it goes.
    pub(crate) fn accept(&mut self, from: &Origin, send: &Send<'_>, out: &mut Out) -> Result<Target, Fail> {
        self.may_send(from, send)?;
        let target = self.target(from, send, out)?;
        self.room_to_wait()?;
        Ok(target)
    }

    /// Whether another answer may wait for the disk.
    #[inline]
    pub(crate) fn room_to_wait(&self) -> Result<(), Fail> {
        let limits = &self.options.limits;
        let unflushed = self.store.end().0.saturating_sub(self.store.flushed().0);
        if self.parked.len() >= limits.parked_answers
            || self.options.sync_flush() && unflushed > limits.unflushed_bytes
        {
            return Err(Fail::busy(
                "[OVERLOAD]system busy, start flow control for a while: too many sends wait for the disk",
            ));
        }
        Ok(())
    }

    /// Checks that need no topic, in the original's order.
    pub(crate) fn may_send(&self, from: &Origin, send: &Send<'_>) -> Result<(), Fail> {
        let opens = self.options.broker.start_accept_send_request_time_stamp.0;
        if from.now.wall.0 < opens {
            return Err(Fail::error(format!(
                "broker unable to service, until {opens} (key startAcceptSendRequestTimeStamp)"
            )));
        }
        if !self.options.writable() && self.topics.get(send.topic).is_some_and(|topic| topic.order) {
            let ip = self.options.store_host.ip();
            return Err(Fail::new(
                code::NO_PERMISSION,
                format!("the broker[{ip}] sending message is forbidden"),
            ));
        }
        check_topic(send.topic)?;
        if NO_SEND.contains(&send.topic) {
            let remark = format!("Sending message to topic[{}] is forbidden.", send.topic);
            return Err(Fail::new(code::NO_PERMISSION, remark));
        }
        Ok(())
    }

    fn target(&mut self, from: &Origin, send: &Send<'_>, out: &mut Out) -> Result<Target, Fail> {
        if self.topics.get(send.topic).is_none() {
            let wish = self.wish(send);
            self.topics.get_or_create(from.now.wall, send.topic, wish)?;
            // Before the message: who finds the message after a crash finds its topic, too.
            self.note_tables(from.now, out);
        }
        let gone = || Fail::new(code::TOPIC_NOT_EXIST, format!("topic[{}] not exist", send.topic));
        let topic = self.topics.get(send.topic).ok_or_else(gone)?;
        let multi_tags = topic.topic_filter_type == TopicFilterType::MultiTag;
        let name = topic.topic_name.clone();
        let queue = match QueueId::try_from(send.queue_id) {
            Ok(queue) if queue.0 < topic.queues() => queue,
            _ => {
                let any = || QueueId(self.random.below(topic.write_queue_nums));
                queue_asked(topic, send.queue_id)?.unwrap_or_else(any)
            }
        };
        let target = Target { topic: name, queue, multi_tags, dead: false };
        match send.topic.strip_prefix(RETRY_PREFIX) {
            Some(group) => self.retried(from, send, group, target, out),
            None => Ok(target),
        }
    }

    /// The same checks as [`Broker::target`]'s, without making anything.
    pub(crate) fn may_go(&self, send: &Send<'_>) -> Result<(), Fail> {
        match self.topics.get(send.topic) {
            Some(topic) => queue_asked(topic, send.queue_id)?,
            None => queue_asked(&self.topics.make(send.topic, self.wish(send))?, send.queue_id)?,
        };
        send.topic.strip_prefix(RETRY_PREFIX).map_or(Ok(()), |group| self.retry_group(group).map(drop))
    }

    /// What the sender says about a topic that has to be made.
    #[inline]
    fn wish<'a>(&self, send: &Send<'a>) -> Wish<'a> {
        let template = self.template(send.default_topic);
        Wish { template, queues: send.default_topic_queue_nums, unit: send.unit_mode == Some(true) }
    }

    /// The group whose retry topic is sent to.
    #[inline]
    fn retry_group(&self, group: &str) -> Result<&GroupConfig, Fail> {
        let auto = self.options.broker.auto_create_subscription_group;
        let unknown =
            || hint::no_group(&format!("subscription group not exist, {}", shown(group)), group, auto);
        self.groups.get(group).ok_or_else(unknown)
    }

    /// With `autoCreateTopicEnable` off at run time, the default template is no template any more.
    fn template<'a>(&self, asked: &'a str) -> &'a str {
        let off = !self.options.broker.auto_create_topic_enable && asked == topics::DEFAULT_TOPIC;
        if off { "" } else { asked }
    }

    /// A client sends a message to a retry topic itself when giving it back failed: beyond the limit of
    /// retries it becomes a dead letter.
    fn retried(
        &mut self,
        from: &Origin,
        send: &Send<'_>,
        group: &str,
        target: Target,
        out: &mut Out,
    ) -> Result<Target, Fail> {
        let config = self.retry_group(group)?;
        let max = match send.max_reconsume_times {
            Some(max) if from.version >= VERSION_3_4_9 => max,
            _ => config.retry_max_times,
        };
        if send.reconsume_times.unwrap_or(0) < max {
            return Ok(target);
        }
        let name = GroupName::new(group).and_then(|group| group.dlq_topic());
        let name = name.map_err(|why| Fail::error(why.to_string()))?;
        self.topics.ensure(from.now.wall, &name, 1, 0);
        self.note_tables(from.now, out);
        Ok(Target { topic: name, queue: QueueId(0), multi_tags: false, dead: true })
    }

    fn send_one(
        &mut self,
        from: &Origin,
        send: &Send<'_>,
        target: &Target,
        body: &[u8],
        out: &mut Out,
    ) -> Result<(), Fail> {
        let waiting = self.store_one(from, send, target, body, out)?;
        self.park(waiting);
        Ok(())
    }

    /// Appends a message that the broker itself writes: plain, from its own address, to queue 0 of `topic`,
    /// whose slot the caller has.
    pub(crate) fn append_own(
        &mut self,
        now: Now,
        topic: &str,
        slot: QueueSlot,
        properties: &[u8],
        body: &[u8],
    ) -> Result<Appended, AppendError> {
        let draft = self.own_draft(now, topic, properties, body);
        self.store.append(now.wall, &draft, slot, &Dispatch::of(topic, 0, properties))
    }

    /// A record of the broker itself, for queue 0 of a topic.
    pub(crate) fn own_draft<'a>(
        &self,
        now: Now,
        topic: &'a str,
        properties: &'a [u8],
        body: &'a [u8],
    ) -> Draft<'a> {
        let plain = Draft::plain(self.options.store_host, topic, QueueId(0), body, properties);
        Draft { born_ms: now.wall, ..plain }
    }

    /// Appends one message; the answer is the caller's to park.
    pub(crate) fn store_one(
        &mut self,
        from: &Origin,
        send: &Send<'_>,
        target: &Target,
        body: &[u8],
        out: &mut Out,
    ) -> Result<Waiting, Fail> {
        let mut scratch = std::mem::take(&mut self.scratch);
        scratch.clear();
        let result = self.append_one(from, send, target, body, &mut scratch, out);
        self.scratch = scratch;
        if result.is_err() {
            self.stats.on_put_failed();
        }
        let (waiting, size) = result?;
        self.stats.on_put(&target.topic, 1, size);
        Ok(waiting)
    }

    fn append_one(
        &mut self,
        from: &Origin,
        send: &Send<'_>,
        target: &Target,
        body: &[u8],
        properties: &mut Vec<u8>,
        out: &mut Out,
    ) -> Result<(Waiting, u64), Fail> {
        let known = props::copy(send.properties.unwrap_or("").as_bytes(), DROPPED, properties);
        props::push(properties, "CLUSTER", &self.options.broker.broker_cluster_name);
        let mut draft = self.draft(from, send, target, body);
        if known.transaction && !mutant!(HalfShown) {
            let text = send.properties.unwrap_or("").as_bytes();
            return self.append_half(from, text, target, &draft, properties, out);
        }
        let aside = if target.dead { None } else { self.delay_queue(known.delay_level, draft.sys_flag) };
        if let Some((level, queue)) = aside {
            properties.clear();
            props::copy(send.properties.unwrap_or("").as_bytes(), DROPPED_ASIDE, properties);
            props::push(properties, "CLUSTER", &self.options.broker.broker_cluster_name);
            props::push(properties, "REAL_TOPIC", &target.topic);
            props::push(properties, "REAL_QID", &target.queue.to_string());
            draft.topic = SCHEDULE_TOPIC;
            draft.queue_id = queue;
            draft.properties = properties;
            let dispatch = Dispatch { delay_level: level, ..dispatch(&known) };
            let slot = self.schedule_slot(queue);
            let appended = self.store.append(from.now.wall, &draft, slot, &dispatch).map_err(refused)?;
            return Ok((sent(from, &known, target, appended), u64::from(appended.size)));
        }
        draft.properties = properties;
        let slot = self.slot(&target.topic, target.queue);
        let appended = self.store.append(from.now.wall, &draft, slot, &dispatch(&known)).map_err(refused)?;
        Ok((sent(from, &known, target, appended), u64::from(appended.size)))
    }

    fn draft<'a>(&self, from: &Origin, send: &Send<'a>, target: &'a Target, body: &'a [u8]) -> Draft<'a> {
        let multi_tags = if target.multi_tags { SYS_MULTI_TAGS } else { 0 };
        Draft {
            topic: &target.topic,
            queue_id: target.queue,
            flag: send.flag,
            sys_flag: send.sys_flag & !SYS_TRANSACTION_MASK | multi_tags,
            born_ms: Millis(send.born_timestamp),
            born_host: from.peer.addr,
            store_host: self.options.store_host,
            reconsume_times: send.reconsume_times.unwrap_or(0),
            prepared_offset: 0,
            body,
            properties: b"",
        }
    }

    /// Where a message is appended that is for `queue` of `topic`: there, or put aside until its time.
    pub(crate) fn place<'a>(
        &mut self,
        aside: Option<(u32, QueueId)>,
        topic: &'a TopicName,
        queue: QueueId,
    ) -> (&'a str, QueueId, QueueSlot) {
        match aside {
            Some((_, queue)) => (SCHEDULE_TOPIC, queue, self.schedule_slot(queue)),
            None => (topic.as_str(), queue, self.slot(topic, queue)),
        }
    }

    /// The level (capped) and queue of a message that is to be delayed.
    pub(crate) fn delay_queue(&self, level: u32, sys_flag: i32) -> Option<(u32, QueueId)> {
        let transaction = sys_flag & SYS_TRANSACTION_MASK;
        let delayed = level > 0 && (transaction == 0 || transaction == TRANSACTION_COMMIT);
        let level = level.min(self.delay.levels());
        (delayed && level > 0).then(|| (level, QueueId(level - 1)))
    }

    /// The key `maxMessageSize`.
    pub(crate) fn message_bytes_max(&self) -> usize {
        usize::try_from(self.options.store.max_message_size.0).unwrap_or(usize::MAX)
    }

    fn send_batch(
        &mut self,
        from: &Origin,
        send: &Send<'_>,
        target: &Target,
        batch: &[u8],
    ) -> Result<(), Fail> {
        let max = self.message_bytes_max();
        if batch.len() > max {
            self.stats.on_put_failed();
            return Err(refused(AppendError::TooLarge { bytes: batch.len(), max }));
        }
        let illegal =
            |why: String| Fail::new(code::MESSAGE_ILLEGAL, format!("the message is illegal: {why}"));
        let mut common = Vec::new();
        let wait = props::copy(send.properties.unwrap_or("").as_bytes(), DROPPED, &mut common).wait;
        props::push(&mut common, "CLUSTER", &self.options.broker.broker_cluster_name);
        let mut scratch = std::mem::take(&mut self.scratch);
        scratch.clear();
        let mut items = Vec::new();
        for item in batch::iter(batch) {
            let item = item.map_err(|why| illegal(why.to_string()))?;
            if items.len() == self.options.limits.batch_count {
                return Err(illegal(format!(
                    "a batch may have {} messages",
                    self.options.limits.batch_count
                )));
            }
            // Behind the message's own: of two equal names the later one counts.
            let start = scratch.len();
            scratch.extend_from_slice(item.properties);
            if scratch.len() > start && scratch.last() != Some(&properties::ENTRY_END) {
                scratch.push(properties::ENTRY_END);
            }
            scratch.extend_from_slice(&common);
            items.push((item, start, scratch.len()));
        }
        if items.is_empty() {
            return Err(illegal("the batch is empty".to_owned()));
        }
        let plain = self.draft(from, send, target, b"");
        let mut drafts = Vec::with_capacity(items.len());
        for (item, start, end) in &items {
            let properties = scratch.get(*start..*end).unwrap_or_default();
            let draft = Draft { flag: item.flag, body: item.body, properties, ..plain };
            drafts.push((draft, dispatch(&Known::read(properties))));
        }
        let slot = self.slot(&target.topic, target.queue);
        let mut stored = Vec::with_capacity(drafts.len());
        let result = self.store.append_batch(from.now.wall, &drafts, slot, &mut stored).map_err(refused);
        drop(drafts);
        self.scratch = scratch;
        if result.is_err() {
            self.stats.on_put_failed();
        }
        result?;
        let (Some(first), Some(last)) = (stored.first(), stored.last()) else {
            return Err(Fail::error("the store took nothing of the batch"));
        };
        let bytes = stored.iter().map(|appended| u64::from(appended.size)).sum();
        let ids = joined(self.options.store_host, stored.iter().map(|appended| appended.at));
        let said =
            Said::Sent { ids: Ids::Many(ids), queue: target.queue.wire(), offset: first.queue_offset.wire() };
        let waiting = Waiting { end: last.end, flush: wait, to: from.to, said };
        self.stats.on_put(&target.topic, stored.len() as u64, bytes);
        self.park(waiting);
        Ok(())
    }

    fn park(&mut self, waiting: Waiting) {
        if !waiting.to.oneway {
            self.parked.push(waiting);
        }
    }
}

/// The queue that a sender asks for, if the topic has it; `None` lets the broker choose.
#[cold]
fn queue_asked(topic: &TopicConfig, queue_id: i32) -> Result<Option<QueueId>, Fail> {
    let (name, write_queues) = (&topic.topic_name, topic.write_queue_nums);
    match QueueId::try_from(queue_id) {
        Ok(queue) if queue.0 < topic.queues() => Ok(Some(queue)),
        Ok(queue) => Err(Fail::error(format!(
            "request queueId[{queue}] is illegal, topic[{name}] has {write_queues} write queues and {} read \
             queues",
            topic.read_queue_nums
        ))),
        Err(_) if write_queues == 0 => Err(Fail::error(format!("topic[{name}] has no write queue"))),
        Err(_) => Ok(None),
    }
}

/// Checks a topic's name and words the refusal as the original does.
pub(crate) fn check_topic(topic: &str) -> Result<(), Fail> {
    names::check(topic, TOPIC_BYTES_MAX).map_err(|why| {
        Fail::error(match why {
            names::NameError::Blank => "The specified topic is blank.".to_owned(),
            names::NameError::Illegal => "The specified topic contains illegal characters, allowing only \
                                          ^[%|a-zA-Z0-9_-]+$"
                .to_owned(),
            names::NameError::TooLong(_) => "The specified topic is longer than topic max length.".to_owned(),
        })
    })
}

/// What the queue and the index are told.
pub(crate) fn dispatch<'a>(known: &Known<'a>) -> Dispatch<'a> {
    Dispatch {
        tags_code: i64::from(kerolox_filter::code(known.tags)),
        delay_level: 0,
        unique_key: known.unique_key,
        keys: known.keys,
        indexed: true,
        queued: true,
    }
}

/// The answer to a stored message, to be parked.
pub(crate) fn sent(
    from: &Origin,
    known: &Known<'_>,
    target: &Target,
    at: kerolox_store::Appended,
) -> Waiting {
    Waiting {
        end: at.end,
        flush: known.wait,
        to: from.to,
        said: Said::Sent { ids: Ids::One(at.at), queue: target.queue.wire(), offset: at.queue_offset.wire() },
    }
}

/// Offset message ids of a batch, joined by commas.
fn joined(host: std::net::SocketAddr, at: impl Iterator<Item = LogOffset>) -> String {
    let mut ids = String::new();
    for at in at {
        if !ids.is_empty() {
            ids.push(',');
        }
        ids.push_str(MessageId::new(host, at).as_str());
    }
    ids
}
