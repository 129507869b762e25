//! Positions on the wire: 14, 15, 29, 30, 31, 32.

use super::Committed;
use crate::{
    Broker,
    call::{Call, Handle, Out, Reply, handlers},
    hint::unreadable,
};
use kerolox_net::{Now, Peer};
use kerolox_protocol::{
    Fail, GroupName, Millis, QueueOffset, TopicName, code,
    names::NameError,
    rpc::offset::{
        GetEarliestMsgStoreTime, GetMaxOffset, GetMinOffset, OffsetReply, QueryConsumerOffset,
        QueryOffsetRequest, QueueRef, SearchOffsetByTimestamp, SearchOffsetRequest, TimestampReply,
        UpdateConsumerOffset, UpdateOffsetRequest,
    },
    scan::Commit,
};
use kerolox_store::{Boundary, QueueSlot, ReadLimits};
use tracing::{info, warn};

handlers![
    QueryConsumerOffset,
    UpdateConsumerOffset,
    SearchOffsetByTimestamp,
    GetMaxOffset,
    GetMinOffset,
    GetEarliestMsgStoreTime,
];

impl Handle<QueryConsumerOffset> for Broker {
    /// The stored offset; else 0 where the queue still begins at its beginning, so that a new group reads a
    /// young topic from there whatever its policy says (users of 4.9 rely on it); else "not found", and the
    /// client follows its policy.
    fn handle(
        &mut self,
        _: &Call<'_>,
        request: QueryOffsetRequest,
        _: &mut Out,
    ) -> Result<Reply<OffsetReply>, Fail> {
        let group = name(GroupName::new(&request.consumer_group), "consumerGroup")?;
        let topic = name(TopicName::new(&request.topic), "topic")?;
        let queue = u32::try_from(request.queue_id).unwrap_or(u32::MAX);
        if let Some(offset) = self.offsets.query(&group, &topic, queue) {
            return Ok(Reply::ok(OffsetReply { offset }));
        }
        let invents = request.set_zero_if_not_found.unwrap_or(true);
        let young = self.known_slot(&topic, queue).is_none_or(|slot| self.is_young(slot));
        if invents && young {
            return Ok(Reply::ok(OffsetReply { offset: 0 }));
        }
        let remark = "Not found, V3_0_6_SNAPSHOT maybe this group consumer boot first";
        Err(Fail::new(code::QUERY_NOT_FOUND, remark))
    }
}

impl Broker {
    /// Whether a queue still has its first message and that is not so old that it would be read from disk.
    fn is_young(&self, slot: QueueSlot) -> bool {
        let bounds = self.store.bounds(slot);
        if bounds.max == bounds.min {
            return bounds.max.0 == 0;
        }
        let one = ReadLimits { count: 1, bytes: 1, cold_count: 1, cold_bytes: 1 };
        bounds.min.0 == 0 && !self.store.plan(slot, QueueOffset(0), one, &mut |_| true).slices.is_cold()
    }

    /// Says what is unusual about a commit, once in a while per group and topic.
    fn judge_commit(
        &mut self,
        (now, peer): (Now, &Peer),
        (group, topic): (&GroupName, &TopicName),
        (queue, offset): (u32, i64),
        result: Committed,
    ) {
        let (now, peer) = (now.mono, peer.addr);
        match result {
            Committed::Forward => {}
            Committed::Back(from) => {
                if self.desk.complaints.may(now, &format!("back {group} {topic}")) {
                    info!(%group, %topic, queue, from, to = offset, %peer, "a consumer offset went back");
                }
            }
            Committed::Refused(why) => {
                if self.desk.complaints.may(now, &format!("commit {group} {why}")) {
                    warn!(%group, %topic, queue, offset, %peer, %why, "a consumer offset is not taken");
                }
            }
        }
    }
}

impl Broker {
    /// Answered with success even when the offset is not taken, as by the original: most clients send it
    /// one-way and none could act on a refusal. The log says it.
    pub(crate) fn commit_offset(&mut self, now: Now, peer: &Peer, commit: &Commit<'_>) -> Result<(), Fail> {
        let group = name(GroupName::new(commit.consumer_group), "consumerGroup")?;
        let topic = name(TopicName::new(commit.topic), "topic")?;
        let queue = u32::try_from(commit.queue_id).unwrap_or(u32::MAX);
        let result = self.offsets.commit(&group, &topic, queue, commit.commit_offset);
        self.judge_commit((now, peer), (&group, &topic), (queue, commit.commit_offset), result);
        Ok(())
    }
}

impl Handle<UpdateConsumerOffset> for Broker {
    fn handle(
        &mut self,
        call: &Call<'_>,
        request: UpdateOffsetRequest,
        _: &mut Out,
    ) -> Result<Reply<()>, Fail> {
        let commit = Commit {
            consumer_group: &request.consumer_group,
            topic: &request.topic,
            queue_id: request.queue_id,
            commit_offset: request.commit_offset,
        };
        self.commit_offset(call.now, &call.peer, &commit).map(Reply::ok)
    }
}

impl Handle<GetMaxOffset> for Broker {
    fn handle(&mut self, _: &Call<'_>, request: QueueRef, _: &mut Out) -> Result<Reply<OffsetReply>, Fail> {
        let offset = self.ends(&request).map_or(0, |(_, slot)| self.store.bounds(slot).max.wire());
        Ok(Reply::ok(OffsetReply { offset }))
    }
}

impl Handle<GetMinOffset> for Broker {
    fn handle(&mut self, _: &Call<'_>, request: QueueRef, _: &mut Out) -> Result<Reply<OffsetReply>, Fail> {
        let offset = self.ends(&request).map_or(0, |(_, slot)| self.store.bounds(slot).min.wire());
        Ok(Reply::ok(OffsetReply { offset }))
    }
}

impl Handle<SearchOffsetByTimestamp> for Broker {
    /// The nearest message, as by 4.9; 5.x clients may say which side they want.
    fn handle(
        &mut self,
        _: &Call<'_>,
        request: SearchOffsetRequest,
        _: &mut Out,
    ) -> Result<Reply<OffsetReply>, Fail> {
        let boundary = match request.boundary_type.as_deref().map(str::to_ascii_uppercase).as_deref() {
            Some("LOWER") => Boundary::Lower,
            Some("UPPER") => Boundary::Upper,
            _ => Boundary::Nearest,
        };
        let queue = QueueRef { topic: request.topic, queue_id: request.queue_id };
        let Some((number, slot)) = self.ends(&queue) else { return Ok(Reply::ok(OffsetReply { offset: 0 })) };
        let found = self.store.offset_by_time(slot, Millis(request.timestamp), boundary);
        let offset = found.map_err(|why| unreadable(&queue.topic, number, &why))?.wire();
        Ok(Reply::ok(OffsetReply { offset }))
    }
}

impl Handle<GetEarliestMsgStoreTime> for Broker {
    fn handle(
        &mut self,
        _: &Call<'_>,
        request: QueueRef,
        _: &mut Out,
    ) -> Result<Reply<TimestampReply>, Fail> {
        let Some((number, slot)) = self.ends(&request) else {
            return Ok(Reply::ok(TimestampReply { timestamp: -1 }));
        };
        let oldest = self.store.store_time(slot, self.store.bounds(slot).min);
        let oldest = oldest.map_err(|why| unreadable(&request.topic, number, &why))?;
        Ok(Reply::ok(TimestampReply { timestamp: oldest.map_or(-1, |time| time.0) }))
    }
}

impl Broker {
    /// A queue that has messages, or had.
    fn ends(&self, queue: &QueueRef) -> Option<(u32, QueueSlot)> {
        let number = u32::try_from(queue.queue_id).ok()?;
        Some((number, self.known_slot(&queue.topic, number)?))
    }
}

fn name<T>(checked: Result<T, NameError>, field: &str) -> Result<T, Fail> {
    checked.map_err(|why| Fail::error(format!("{field}: {why}")))
}
