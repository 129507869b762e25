//! Heartbeats and what follows from them on the wire: 34, 35, 38, 46.
//!
//! Turns bodies into checked entries of the registry; the rules are the registry's.

use super::{CLIENT_ID_BYTES_MAX, ConsumerBeat, Member, SUBSCRIPTIONS_MAX, Subscription};
use crate::{
    Broker,
    call::{Call, Handle, Out, Reply, handlers},
    hint::shown,
};
use kerolox_filter::{Kind, Tags};
use kerolox_net::{Now, Peer};
use kerolox_protocol::{
    Fail, GroupName, TopicName,
    body::{
        self, ConsumerData, HeartbeatData, SubscriptionData,
        group::{CheckClientConfig as CheckBody, ConsumerList},
    },
    code,
    header::Language,
    names::RETRY_PREFIX,
    rpc::client::{
        CheckClientConfig, ConsumerGroupRef, GetConsumerListByGroup, HeartBeat, QueryAssignment,
        UnregisterClient, UnregisterRequest,
    },
};
use std::collections::BTreeMap;

handlers![HeartBeat, UnregisterClient, GetConsumerListByGroup, CheckClientConfig, QueryAssignment];

/// Bit of a retry topic whose group consumes in unit mode.
const FLAG_UNIT_SUB: u32 = 2;

/// A heartbeat, checked.
#[derive(Debug, Default)]
struct Beat {
    consumers: Vec<(ConsumerBeat, bool)>,
    producers: Vec<GroupName>,
    /// What could not be taken, with the cause.
    bad: Vec<String>,
}

impl Handle<HeartBeat> for Broker {
    fn handle(&mut self, call: &Call<'_>, (): (), out: &mut Out) -> Result<Reply<()>, Fail> {
        let member = (call.header.language, call.header.version);
        self.on_heartbeat(call.now, &call.peer, member, call.body, out).map(Reply::ok)
    }
}

impl Broker {
    /// Takes what a heartbeat says. The caller notes the groups and topics it makes.
    pub(crate) fn on_heartbeat(
        &mut self,
        now: Now,
        peer: &Peer,
        (language, version): (Language, i32),
        bytes: &[u8],
        out: &mut Out,
    ) -> Result<(), Fail> {
        let data: HeartbeatData = body::decode(bytes)?;
        if data.client_id.is_empty() || data.client_id.len() > CLIENT_ID_BYTES_MAX {
            return Err(Fail::error(format!(
                "the clientID has {} bytes; 1 to {CLIENT_ID_BYTES_MAX} are allowed",
                data.client_id.len()
            )));
        }
        let member = Member {
            client_id: data.client_id.clone(),
            addr: peer.addr,
            language,
            version,
            last_ms: now.mono,
            seen: now.wall,
        };
        let beat = check(data)?;
        let consumers = beat.consumers.iter().map(|(beat, _)| &beat.group);
        let room = self.clients.room(peer.conn, consumers, beat.producers.iter());
        room.map_err(|full| Fail::busy(full.to_string()))?;
        for (consumer, unit) in beat.consumers {
            self.group_is_used(now, &consumer.group, unit);
            let changes = self.clients.on_consumer(peer.conn, member.clone(), consumer);
            // Told before the answer, the sender included: clients rebalance on it at once.
            self.apply(changes, out);
        }
        for group in beat.producers {
            self.clients.on_producer(peer.conn, member.clone(), group);
        }
        match beat.bad.first() {
            None => Ok(()),
            Some(first) => Err(Fail::error(format!(
                "{} of the heartbeat's entries cannot be taken; the first: {first}",
                beat.bad.len()
            ))),
        }
    }
}

impl Broker {
    /// A group consumes: its configuration and its retry topic are made if they may be. Without a
    /// configuration the members are registered all the same, and their pulls are refused with the reason.
    fn group_is_used(&mut self, now: Now, group: &GroupName, unit: bool) {
        let auto = self.options.broker.auto_create_subscription_group;
        let config = self.groups.get_or_create(now.wall, group, auto);
        let Some(queues) = config.map(|config| config.retry_queue_nums) else { return };
        let Ok(retry) = group.retry_topic() else { return };
        if self.topics.get(&retry).is_none() && self.topics.room().is_ok() {
            let queues = u32::try_from(queues).unwrap_or(0).min(crate::topics::QUEUES_MAX);
            let flag = if unit { FLAG_UNIT_SUB } else { 0 };
            self.topics.ensure(now.wall, &retry, queues, flag);
        }
    }
}

fn check(data: HeartbeatData) -> Result<Beat, Fail> {
    let mut beat = Beat::default();
    for producer in data.producer_data_set {
        match GroupName::new(&producer.group_name) {
            Ok(group) => beat.producers.push(group),
            Err(why) => beat.bad.push(format!("producer group [{}]: {why}", shown(&producer.group_name))),
        }
    }
    for consumer in data.consumer_data_set {
        if consumer.subscription_data_set.len() > SUBSCRIPTIONS_MAX {
            return Err(Fail::error(format!(
                "group [{}] subscribes to {} topics; {SUBSCRIPTIONS_MAX} are allowed",
                shown(&consumer.group_name),
                consumer.subscription_data_set.len()
            )));
        }
        match GroupName::new(&consumer.group_name) {
            Ok(group) => {
                let unit = consumer.unit_mode;
                beat.consumers.push((consumer_beat(group, consumer, &mut beat.bad), unit));
            }
            Err(why) => beat.bad.push(format!("consumer group [{}]: {why}", shown(&consumer.group_name))),
        }
    }
    Ok(beat)
}

fn consumer_beat(group: GroupName, data: ConsumerData, bad: &mut Vec<String>) -> ConsumerBeat {
    let mut subscriptions: BTreeMap<TopicName, Subscription> = BTreeMap::new();
    for wanted in data.subscription_data_set {
        match subscription(&wanted) {
            Ok((topic, new)) => match subscriptions.get(&topic) {
                Some(old) if old.version >= new.version => {}
                _ => drop(subscriptions.insert(topic, new)),
            },
            // The retry topic of a very long group name cannot exist; its client asks for it all the same.
            Err(_) if wanted.topic.starts_with(RETRY_PREFIX) => {}
            Err(why) => bad.push(format!("group [{group}], topic [{}]: {why}", shown(&wanted.topic))),
        }
    }
    ConsumerBeat {
        group,
        model: data.message_model,
        consume_type: data.consume_type,
        from: data.consume_from_where,
        subscriptions,
    }
}

/// Codes come from the text, never from the client's `codeSet`: C++ clients send nonsense there.
fn subscription(data: &SubscriptionData) -> Result<(TopicName, Subscription), String> {
    let topic = TopicName::new(&data.topic).map_err(|why| why.to_string())?;
    let kind = Kind::of(data.expression_type.as_deref());
    let text = match data.sub_string.trim() {
        "" if kind == Kind::Tag => data.tags_set.iter().cloned().collect::<Vec<_>>().join(" || "),
        _ => data.sub_string.clone(),
    };
    if text.len() > kerolox_filter::EXPRESSION_BYTES_MAX {
        return Err(kerolox_filter::TagError::TooLong.to_string());
    }
    let tags = match kind {
        Kind::Tag => Tags::parse(&text).map_err(|why| why.to_string())?,
        Kind::Other => Tags::ALL,
    };
    Ok((topic, Subscription { text, kind, tags, version: data.sub_version }))
}

impl Handle<UnregisterClient> for Broker {
    fn handle(
        &mut self,
        call: &Call<'_>,
        request: UnregisterRequest,
        out: &mut Out,
    ) -> Result<Reply<()>, Fail> {
        if let Some(group) = request.producer_group.filter(|group| !group.is_empty()) {
            self.clients.leave_producer(call.peer.conn, &group);
        }
        if let Some(group) = request.consumer_group.filter(|group| !group.is_empty()) {
            let changes = self.clients.leave_consumer(call.peer.conn, &group);
            self.apply(changes, out);
        }
        Ok(Reply::ok(()))
    }
}

impl Handle<GetConsumerListByGroup> for Broker {
    fn handle(
        &mut self,
        _call: &Call<'_>,
        request: ConsumerGroupRef,
        _out: &mut Out,
    ) -> Result<Reply<()>, Fail> {
        let group = &request.consumer_group;
        let none = || Fail::error(format!("no consumer for this group, {}", shown(group)));
        let members = self.clients.consumers(group).ok_or_else(none)?;
        let list = ConsumerList { consumer_id_list: members.client_ids() };
        Ok(Reply::with_body((), body::encode(&list)))
    }
}

impl Handle<CheckClientConfig> for Broker {
    fn handle(&mut self, call: &Call<'_>, (): (), _out: &mut Out) -> Result<Reply<()>, Fail> {
        if call.body.is_empty() {
            return Ok(Reply::ok(()));
        }
        let Some(wanted) = body::decode::<CheckBody>(call.body)?.subscription_data else {
            return Ok(Reply::ok(()));
        };
        match Kind::of(wanted.expression_type.as_deref()) {
            Kind::Tag => {
                let parsed = Tags::parse(&wanted.sub_string);
                parsed.map_err(|why| Fail::new(code::SUBSCRIPTION_PARSE_FAILED, why.to_string()))?;
                Ok(Reply::ok(()))
            }
            Kind::Other => Err(Fail::error(format!(
                "The broker does not support consumer to filter message by {}",
                shown(wanted.expression_type.as_deref().unwrap_or_default())
            ))),
        }
    }
}

impl Handle<QueryAssignment> for Broker {
    fn handle(&mut self, call: &Call<'_>, (): (), out: &mut Out) -> Result<Reply<()>, Fail> {
        let asked = body::decode(call.body)?;
        match self.assign(call, asked, out)? {
            Some(share) => Ok(Reply::with_body((), body::encode(&share))),
            None => Ok(Reply::Later),
        }
    }
}
