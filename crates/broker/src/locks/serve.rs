//! Locking and unlocking on the wire: 41, 42.

use super::Queue;
use crate::{
    Broker,
    call::{Call, Handle, Out, Reply, handlers},
    clients::CLIENT_ID_BYTES_MAX,
};
use kerolox_protocol::{
    Fail, GroupName, TopicName,
    body::{
        self, MessageQueue,
        queue::{LockBatchRequest, LockBatchResponse},
    },
    rpc::client::{LockBatchMq, UnlockBatchMq},
};

handlers![LockBatchMq, UnlockBatchMq];

impl From<MessageQueue> for Queue {
    fn from(queue: MessageQueue) -> Queue {
        Queue { topic: queue.topic, broker: queue.broker_name, queue: queue.queue_id }
    }
}

impl From<Queue> for MessageQueue {
    fn from(queue: Queue) -> MessageQueue {
        MessageQueue { broker_name: queue.broker, queue_id: queue.queue, topic: queue.topic }
    }
}

struct Asked {
    group: GroupName,
    client: String,
    queues: Vec<Queue>,
}

fn asked(body: &[u8]) -> Result<Asked, Fail> {
    let request: LockBatchRequest = body::decode(body)?;
    let group = GroupName::new(&request.consumer_group);
    let group = group.map_err(|why| Fail::error(format!("consumerGroup: {why}")))?;
    if request.client_id.is_empty() || request.client_id.len() > CLIENT_ID_BYTES_MAX {
        return Err(Fail::error(format!("clientId: 1 to {CLIENT_ID_BYTES_MAX} bytes are allowed")));
    }
    // What is kept is bounded in number by the table and in size by the rules for names.
    for queue in &request.mq_set {
        TopicName::new(&queue.topic).map_err(|why| Fail::error(format!("mqSet: {why}")))?;
        if queue.broker_name.len() > BROKER_NAME_BYTES_MAX {
            return Err(Fail::error(format!(
                "mqSet: a broker name has at most {BROKER_NAME_BYTES_MAX} bytes"
            )));
        }
    }
    let queues = request.mq_set.into_iter().map(Queue::from).collect();
    Ok(Asked { group, client: request.client_id, queues })
}

/// Longest broker name in a lock request.
const BROKER_NAME_BYTES_MAX: usize = 255;

impl Handle<LockBatchMq> for Broker {
    fn handle(&mut self, call: &Call<'_>, (): (), _out: &mut Out) -> Result<Reply<()>, Fail> {
        let Asked { group, client, queues } = asked(call.body)?;
        let room = self.locks.room(call.now.mono, queues.len());
        room.map_err(|full| Fail::busy(full.to_string()))?;
        let held = self.locks.lock(call.now.mono, &group, &client, queues);
        self.note_locks(call.now);
        let answer = LockBatchResponse { lock_ok_mq_set: held.into_iter().map(MessageQueue::from).collect() };
        Ok(Reply::with_body((), body::encode(&answer)))
    }
}

impl Handle<UnlockBatchMq> for Broker {
    fn handle(&mut self, call: &Call<'_>, (): (), _out: &mut Out) -> Result<Reply<()>, Fail> {
        let Asked { group, client, queues } = asked(call.body)?;
        self.locks.unlock(&group, &client, &queues);
        self.note_locks(call.now);
        Ok(Reply::ok(()))
    }
}
