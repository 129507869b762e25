//! Moving a group to a point in time through its online consumers: 222, which sends 220.

use super::{relay::RESET_VERSION_MIN, wire_queue};
use crate::{
    Broker, answer,
    call::{Call, Handle, Out, Reply, handlers},
    hint::{shown, unreadable},
};
use kerolox_protocol::{
    Fail, GroupName, Millis, QueueOffset, TopicName,
    body::{
        self, MessageQueue,
        queue::{ResetOffsetBody, ResetOffsetList},
    },
    code,
    header::{Fields, Language},
    rpc::{
        Rpc,
        relay::{InvokeBrokerToResetOffset, ResetConsumerClientOffset, ResetRequest},
    },
};
use kerolox_store::Boundary;
use std::collections::BTreeMap;
use tracing::info;

handlers![InvokeBrokerToResetOffset];

impl Handle<InvokeBrokerToResetOffset> for Broker {
    /// Also moves the stored offsets, which the original leaves to the clients: one that owns no queue at the
    /// moment would change nothing.
    fn handle(&mut self, call: &Call<'_>, request: ResetRequest, out: &mut Out) -> Result<Reply<()>, Fail> {
        let missing = || {
            Fail::error(format!(
                "[reset-offset] reset offset failed, no topic in this broker. topic={}",
                shown(&request.topic)
            ))
        };
        let config = self.topics.get(&request.topic).ok_or_else(missing)?;
        let (topic, queues) = (config.topic_name.clone(), config.write_queue_nums);
        let group = GroupName::new(&request.group).map_err(|why| Fail::error(format!("group: {why}")))?;
        let targets = self.targets(&group, &topic, queues, &request)?;
        self.push(&group, &topic, &targets, &request, out)?;
        for (queue, offset) in &targets {
            self.offsets.commit(&group, &topic, *queue, *offset);
        }
        info!(
            %group, %topic, timestamp = request.timestamp, force = request.is_force, ?targets,
            peer = %call.peer.addr, "consumer offsets reset by request"
        );
        Ok(Reply::with_body((), body::encode(&self.reset_body(&topic, &targets))))
    }
}

impl Broker {
    fn reset_body(&self, topic: &TopicName, targets: &BTreeMap<u32, i64>) -> ResetOffsetBody {
        let broker = &self.options.broker.broker_name;
        let entry =
            |(queue, offset): (&u32, &i64)| (MessageQueue::new(topic, broker, wire_queue(*queue)), *offset);
        ResetOffsetBody { offset_table: targets.iter().map(entry).collect() }
    }

    /// Where each queue goes. Without force no queue goes forward.
    fn targets(
        &self,
        group: &GroupName,
        topic: &TopicName,
        queues: u32,
        request: &ResetRequest,
    ) -> Result<BTreeMap<u32, i64>, Fail> {
        let one = request.queue_id.and_then(|queue| u32::try_from(queue).ok());
        if one.is_some_and(|one| one >= queues) {
            return Err(Fail::error(format!("topic {topic} has {queues} queues; the first is 0")));
        }
        let mut targets = BTreeMap::new();
        for queue in (0..queues).filter(|queue| one.is_none_or(|one| one == *queue)) {
            let missing = || Fail::error(format!("THe consumer group <{group}> not exist"));
            let current = self.offsets.query(group, topic, queue).ok_or_else(missing)?;
            let explicit = request.offset.filter(|offset| *offset >= 0 && one.is_some());
            let wanted = match explicit {
                Some(offset) => offset,
                None => self.offset_at(topic, queue, request.timestamp)?,
            };
            let moves = request.is_force || explicit.is_some() || wanted < current;
            targets.insert(queue, if moves { wanted } else { current });
        }
        Ok(targets)
    }

    /// The offset of a point in time; -1 means the end.
    fn offset_at(&self, topic: &TopicName, queue: u32, timestamp: i64) -> Result<i64, Fail> {
        let Some(slot) = self.known_slot(topic, queue) else { return Ok(0) };
        if timestamp == -1 {
            return Ok(self.store.bounds(slot).max.wire());
        }
        let found = self.store.offset_by_time(slot, Millis(timestamp), Boundary::Nearest);
        let found = self.or_cold(found, QueueOffset(0));
        Ok(found.map_err(|why| unreadable(topic, queue, &why))?.wire())
    }

    /// Tells every member, in the form its language parses.
    fn push(
        &mut self,
        group: &GroupName,
        topic: &TopicName,
        targets: &BTreeMap<u32, i64>,
        request: &ResetRequest,
        out: &mut Out,
    ) -> Result<(), Fail> {
        let offline = || {
            let remark = format!(
                "Consumer not online, so can not reset offset, Group: {group} Topic: {topic} Timestamp: {}",
                request.timestamp
            );
            Fail::new(code::CONSUMER_NOT_ONLINE, remark)
        };
        let members = self.clients.consumers(group).ok_or_else(offline)?.members.clone();
        if let Some(old) = members.values().find(|member| member.version < RESET_VERSION_MIN) {
            return Err(Fail::error(format!(
                "the client does not support this feature. version={}, client {}; nobody was reset",
                old.version, old.client_id
            )));
        }
        let map = self.reset_body(topic, targets);
        let (map, list) = (body::encode(&map), body::encode(&ResetOffsetList::from(&map)));
        let told = ResetRequest { queue_id: None, offset: None, ..request.clone() };
        for (conn, member) in members {
            let body = if member.language == Language::CPP { &list } else { &map };
            let opaque = self.next_opaque();
            answer::notify(conn, ResetConsumerClientOffset::CODE, opaque, told.to_ext(), body, out);
        }
        Ok(())
    }
}
