//! Offsets of groups as a whole: 43, 45, 308, 314.

use crate::{
    Broker,
    call::{Call, Handle, Out, Reply, handlers},
    hint::shown,
};
use kerolox_protocol::{
    Fail, GroupName, TopicName,
    body::{
        self,
        queue::{ConsumerOffsetTable, DelayOffsetTable, QueryCorrectionOffset as CorrectionBody},
    },
    rpc::offset::{
        CloneGroupOffset, CloneOffsetRequest, CorrectionRequest, GetAllConsumerOffset, GetAllDelayOffset,
        QueryCorrectionOffset,
    },
};
use std::collections::{BTreeMap, BTreeSet};
use tracing::info;

use super::wire_queue;

handlers![GetAllConsumerOffset, GetAllDelayOffset, QueryCorrectionOffset, CloneGroupOffset];

impl Handle<GetAllConsumerOffset> for Broker {
    fn handle(&mut self, _: &Call<'_>, (): (), _: &mut Out) -> Result<Reply<()>, Fail> {
        let mut table = BTreeMap::new();
        for (topic, group, queues) in self.offsets.all() {
            let queues = queues.iter().map(|(queue, offset)| (wire_queue(*queue), *offset));
            table.insert(format!("{topic}@{group}"), queues.collect());
        }
        Ok(Reply::with_body((), body::encode(&ConsumerOffsetTable { offset_table: table })))
    }
}

impl Handle<GetAllDelayOffset> for Broker {
    fn handle(&mut self, _: &Call<'_>, (): (), _: &mut Out) -> Result<Reply<()>, Fail> {
        let levels = self.delay.progress().map(|(level, next)| (wire_queue(level), next.wire()));
        Ok(Reply::with_body((), body::encode(&DelayOffsetTable { offset_table: levels.collect() })))
    }
}

impl Handle<QueryCorrectionOffset> for Broker {
    /// The smallest offset of each queue over all groups but those left out; the largest number where that is
    /// above the group compared with. Only looks: the original drops the groups left out from its table here.
    fn handle(&mut self, _: &Call<'_>, request: CorrectionRequest, _: &mut Out) -> Result<Reply<()>, Fail> {
        let left_out: BTreeSet<&str> =
            request.filter_groups.iter().flat_map(|list| list.split(',')).map(str::trim).collect();
        let mut smallest: BTreeMap<u32, i64> = BTreeMap::new();
        for (topic, group, queues) in self.offsets.all() {
            if **topic != *request.topic || left_out.contains(group.as_str()) {
                continue;
            }
            for (queue, offset) in queues {
                // An offset of messages that are gone holds nobody back.
                if *offset >= self.bounds_of(topic, *queue).min.wire() {
                    smallest
                        .entry(*queue)
                        .and_modify(|least| *least = (*least).min(*offset))
                        .or_insert(*offset);
                }
            }
        }
        let names = (GroupName::new(&request.compare_group), TopicName::new(&request.topic));
        if let (Ok(group), Ok(topic)) = names {
            for (queue, offset) in self.offsets.of(&group, &topic).into_iter().flatten() {
                smallest.entry(*queue).and_modify(|least| {
                    if *least > *offset {
                        *least = i64::MAX;
                    }
                });
            }
        }
        let answer = CorrectionBody {
            correction_offsets: smallest
                .into_iter()
                .map(|(queue, offset)| (wire_queue(queue), offset))
                .collect(),
        };
        Ok(Reply::with_body((), body::encode(&answer)))
    }
}

impl Handle<CloneGroupOffset> for Broker {
    /// Without a topic all topics of the group are copied, which the original means to do.
    fn handle(
        &mut self,
        call: &Call<'_>,
        request: CloneOffsetRequest,
        _: &mut Out,
    ) -> Result<Reply<()>, Fail> {
        let name = |field: &str, text: &str| {
            GroupName::new(text).map_err(|why| Fail::error(format!("{field} [{}]: {why}", shown(text))))
        };
        let from = name("srcGroup", &request.src_group)?;
        let to = name("destGroup", &request.dest_group)?;
        let wanted = request.topic.as_deref().filter(|topic| !topic.trim().is_empty());
        let topics: Vec<TopicName> = self
            .offsets
            .topics_of(&from)
            .filter(|topic| wanted.is_none_or(|wanted| wanted == topic.as_str()))
            .filter(|topic| request.offline.unwrap_or(false) || self.still_wanted(&from, topic))
            .cloned()
            .collect();
        for topic in &topics {
            let queues = self.offsets.of(&from, topic).cloned().unwrap_or_default();
            for (queue, offset) in queues {
                self.offsets.commit(&to, topic, queue, offset);
            }
        }
        info!(%from, %to, ?topics, peer = %call.peer.addr, "offsets of a group copied by request");
        Ok(Reply::ok(()))
    }
}

impl Broker {
    /// Whether a group that is online wants a topic it has offsets for; one that is not may want it again.
    pub(crate) fn still_wanted(&self, group: &str, topic: &str) -> bool {
        match self.clients.consumers(group) {
            Some(online) if !online.subscriptions.is_empty() => online.subscriptions.contains_key(topic),
            _ => true,
        }
    }
}
