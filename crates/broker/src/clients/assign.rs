//! Which queues of a topic a consumer shall read: code 400 of 5.x clients that leave the sharing to brokers.
//!
//! Knows the route of nothing but this broker. So it answers where that is enough: no name server is
//! configured, and this broker's queues are all there are. Otherwise the client is told that the request is
//! not supported and shares out by itself.

use crate::{Broker, call::Fail, topics::PERM_READ};
use kerolox_protocol::{
    body::{
        MessageQueue,
        group::{MessageQueueAssignment, QueryAssignmentRequest, QueryAssignmentResponse},
        heartbeat::MessageModel,
    },
    code,
};

/// The share of a client.
pub(crate) fn answer(
    broker: &Broker,
    asked: &QueryAssignmentRequest,
) -> Result<QueryAssignmentResponse, Fail> {
    if !broker.options.broker.namesrv_addr.0.is_empty() {
        return Err(Fail::new(
            code::REQUEST_CODE_NOT_SUPPORTED,
            "this broker does not know the queues of the others; let the client share out (clientRebalance=true)",
        ));
    }
    let topic = broker.topics.get(&asked.topic);
    let readable = topic.filter(|topic| topic.perm & PERM_READ != 0).map_or(0, |topic| topic.read_queue_nums);
    let queues: Vec<u32> = (0..readable).collect();
    let mine = match asked.message_model {
        MessageModel::Broadcasting => queues,
        MessageModel::Clustering => {
            let members = broker.clients.consumers(&asked.consumer_group);
            let ids = members.map(|group| group.client_ids()).unwrap_or_default();
            share(&asked.strategy_name, &queues, &ids, &asked.client_id)?
        }
    };
    let one = |queue: u32| MessageQueueAssignment {
        message_queue: MessageQueue::new(
            &asked.topic,
            &broker.options.broker.broker_name,
            i32::try_from(queue).unwrap_or(i32::MAX),
        ),
        mode: "PULL".to_owned(),
    };
    Ok(QueryAssignmentResponse { message_queue_assignments: mine.into_iter().map(one).collect() })
}

/// The part of `queues` that falls to `client`, both lists sorted. A client that is not in the list gets none.
fn share(strategy: &str, queues: &[u32], clients: &[String], client: &str) -> Result<Vec<u32>, Fail> {
    let Some(at) = clients.iter().position(|id| id == client) else { return Ok(Vec::new()) };
    match strategy {
        "AVG" | "" => {
            let (each, more) = (queues.len() / clients.len(), queues.len() % clients.len());
            let start = at * each + at.min(more);
            let end = start + each + usize::from(at < more);
            Ok(queues.get(start..end).unwrap_or_default().to_vec())
        }
        "AVG_BY_CIRCLE" => Ok(queues.iter().copied().skip(at).step_by(clients.len()).collect()),
        other => Err(Fail::error(format!(
            "the strategy [{}] is unknown; AVG and AVG_BY_CIRCLE are known",
            super::serve::shown(other)
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
