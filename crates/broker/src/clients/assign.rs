//! Which queues of a topic a consumer shall read: code 400 of 5.x clients that leave the sharing to brokers.
//!
//! The share is over the queues of *all* brokers of the topic, so a name server is asked for the route first;
//! the answer waits for that. Without name servers this broker's queues are all there are. The mode is always
//! `PULL`: the client then pulls these queues as any other.

use crate::{
    Broker,
    answer::{Answer, Ticket},
    call::{Call, Out},
    hint,
    register::Facts,
    topics::PERM_READ,
};
use kerolox_net::Now;
use kerolox_protocol::{
    Fail, Millis,
    body::{
        self, MessageQueue, QueueData, TopicRouteData,
        group::{MessageQueueAssignment, QueryAssignmentRequest, QueryAssignmentResponse},
        heartbeat::MessageModel,
    },
    code,
};
use std::collections::BTreeMap;

/// How long a name server may take; the client itself waits three seconds.
const WAIT: Millis = Millis(2_500);
/// Requests that may wait for a route at once.
const PENDING_MAX: usize = 4_096;
/// Queues of one answer: about a hundred bytes each, and a frame holds 16 MiB.
const QUEUES_MAX: usize = 100_000;

/// Requests that wait for a route, by the number it was asked under.
#[derive(Debug, Default)]
pub(crate) struct Assigning(BTreeMap<i32, Pending>);

#[derive(Debug)]
struct Pending {
    to: Ticket,
    asked: QueryAssignmentRequest,
    deadline: Millis,
}

impl Assigning {
    /// When [`Broker::assignments_expire`] has something to do.
    pub(crate) fn next_timer(&self) -> Option<Millis> {
        self.0.values().map(|pending| pending.deadline).min()
    }
}

impl Broker {
    /// Answers now, or when the route has come.
    pub(crate) fn assign(
        &mut self,
        call: &Call<'_>,
        asked: QueryAssignmentRequest,
        out: &mut Out,
    ) -> Result<Option<QueryAssignmentResponse>, Fail> {
        if self.options.broker.namesrv_addr.0.is_empty() {
            return self.assignment(&asked, &self.local_queues(&asked.topic)).map(Some);
        }
        if self.desk.assigning.0.len() >= PENDING_MAX {
            return Err(Fail::busy(format!("{PENDING_MAX} requests wait for routes already; try again")));
        }
        let facts = Facts { options: &self.options, topics: &self.topics, groups: &self.groups };
        let Some(number) = self.registrar.ask_route(call.now, &asked.topic, facts, out) else {
            return Err(unknown_route("this broker is registered with no name server at the moment"));
        };
        let pending = Pending { to: call.ticket(), asked, deadline: call.now.mono + WAIT };
        self.desk.assigning.0.insert(number, pending);
        Ok(None)
    }

    /// A route came, or the name server knows none.
    pub(crate) fn on_route(&mut self, number: i32, route: Option<TopicRouteData>, out: &mut Out) {
        let Some(Pending { to, asked, .. }) = self.desk.assigning.0.remove(&number) else { return };
        let share = match route {
            Some(route) => self.assignment(&asked, &route.queue_datas),
            None => Err(unknown_route("the name server has no route of the topic")),
        };
        let answer = match share {
            Ok(share) => Answer { code: code::SUCCESS, ext: None, remark: None, body: body::encode(&share) },
            Err(fail) => Answer::from(fail),
        };
        answer.send(&to, out);
    }

    /// Requests whose route did not come are answered.
    pub(crate) fn assignments_expire(&mut self, now: Now, out: &mut Out) {
        let late: Vec<i32> = self
            .desk
            .assigning
            .0
            .iter()
            .filter(|(_, pending)| pending.deadline <= now.mono)
            .map(|(number, _)| *number)
            .collect();
        for number in late {
            if let Some(pending) = self.desk.assigning.0.remove(&number) {
                Answer::from(unknown_route("no name server answered in time")).send(&pending.to, out);
            }
        }
    }

    fn local_queues(&self, topic: &str) -> Vec<QueueData> {
        let queues = |topic: &crate::topics::TopicConfig| QueueData {
            broker_name: self.options.broker.broker_name.clone(),
            perm: topic.perm.cast_signed(),
            read_queue_nums: topic.read_queue_nums.cast_signed(),
            topic_sys_flag: topic.topic_sys_flag.cast_signed(),
            write_queue_nums: topic.write_queue_nums.cast_signed(),
        };
        self.topics.get(topic).map(queues).into_iter().collect()
    }

    fn assignment(
        &self,
        asked: &QueryAssignmentRequest,
        queues: &[QueueData],
    ) -> Result<QueryAssignmentResponse, Fail> {
        let all = readable(&asked.topic, queues)?;
        let mine = match asked.message_model {
            MessageModel::Broadcasting => all,
            MessageModel::Clustering => {
                let members = self.clients.consumers(&asked.consumer_group);
                let ids = members.map(|group| group.client_ids()).unwrap_or_default();
                share(&asked.strategy_name, &all, &ids, &asked.client_id)?
            }
        };
        let one = |message_queue| MessageQueueAssignment { message_queue, mode: "PULL".to_owned() };
        Ok(QueryAssignmentResponse { message_queue_assignments: mine.into_iter().map(one).collect() })
    }
}

/// An error on which clients share out by themselves, or try again.
fn unknown_route(why: &str) -> Fail {
    Fail::error(format!("the queues of all brokers are not known: {why}"))
}

/// All queues that may be read, in the order in which every client sorts them.
fn readable(topic: &str, queues: &[QueueData]) -> Result<Vec<MessageQueue>, Fail> {
    let mut all = Vec::new();
    for data in queues.iter().filter(|data| data.perm & PERM_READ.cast_signed() != 0) {
        let more = usize::try_from(data.read_queue_nums).unwrap_or(0);
        if all.len() + more > QUEUES_MAX {
            return Err(Fail::error(format!("the topic has more than {QUEUES_MAX} queues")));
        }
        all.extend((0..data.read_queue_nums).map(|queue| MessageQueue::new(topic, &data.broker_name, queue)));
    }
    all.sort_unstable();
    all.dedup();
    Ok(all)
}

/// The part of `queues` that falls to `client`, both lists sorted. A client that is not in the list gets none.
fn share<T: Clone>(strategy: &str, queues: &[T], clients: &[String], client: &str) -> Result<Vec<T>, Fail> {
    let Some(at) = clients.iter().position(|id| id == client) else { return Ok(Vec::new()) };
    match strategy {
        "AVG" | "" => {
            let (each, more) = (queues.len() / clients.len(), queues.len() % clients.len());
            let start = at * each + at.min(more);
            let end = start + each + usize::from(at < more);
            Ok(queues.get(start..end).unwrap_or_default().to_vec())
        }
        "AVG_BY_CIRCLE" => Ok(queues.iter().skip(at).step_by(clients.len()).cloned().collect()),
        other => Err(Fail::error(format!(
            "the strategy [{}] is unknown; AVG and AVG_BY_CIRCLE are known",
            hint::shown(other)
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ids(n: usize) -> Vec<String> {
        (0..n).map(|n| format!("c{n}")).collect()
    }

    /// As the original's client computes: blocks of neighbours, the first ones larger by one.
    #[test]
    fn averages_are_those_of_the_java_client() {
        let queues: Vec<u32> = (0..8).collect();
        let of = |strategy, at: usize| share(strategy, &queues, &ids(3), &ids(3)[at]).unwrap();
        assert_eq!([of("AVG", 0), of("AVG", 1), of("AVG", 2)], [vec![0, 1, 2], vec![3, 4, 5], vec![6, 7]]);
        assert_eq!(of("AVG_BY_CIRCLE", 1), [1, 4, 7]);
        assert_eq!(share("AVG", &queues, &ids(3), "stranger"), Ok(vec![]));
        assert!(share("MACHINE_ROOM", &queues, &ids(3), "c0").is_err());
    }

    #[test]
    fn queues_are_sorted_as_clients_do_and_only_readable_ones_count() {
        let data = |broker: &str, perm, read_queue_nums| QueueData {
            broker_name: broker.into(),
            perm,
            read_queue_nums,
            ..QueueData::default()
        };
        let all = readable("T", &[data("b", 6, 2), data("a", 4, 1), data("c", 2, 9), data("d", 6, -5)]);
        let names: Vec<_> = all.unwrap().into_iter().map(|mq| (mq.broker_name, mq.queue_id)).collect();
        assert_eq!(names, [("a".to_owned(), 0), ("b".to_owned(), 0), ("b".to_owned(), 1)]);
        assert!(readable("T", &[data("b", 6, i32::MAX), data("c", 6, i32::MAX)]).is_err());
    }

    proptest! {
        #[test]
        fn every_queue_falls_to_exactly_one(queues in 0u32..40, clients in 1usize..12, circle: bool) {
            let all: Vec<u32> = (0..queues).collect();
            let strategy = if circle { "AVG_BY_CIRCLE" } else { "AVG" };
            let ids = ids(clients);
            let mut given: Vec<u32> =
                ids.iter().flat_map(|id| share(strategy, &all, &ids, id).unwrap()).collect();
            given.sort_unstable();
            prop_assert_eq!(given, all);
        }
    }
}
