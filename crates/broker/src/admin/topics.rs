//! Topics by request: 17, 18, 21, 215, 305, 351, and the housekeeping of queues: 306, 316, 329.
//!
//! A changed table is noted in the log and told to the name servers by the dispatcher, before the answer.

use crate::{
    Broker,
    call::{Call, Handle, Out, Reply, handlers},
    hint,
    hint::shown,
    state::Piece,
    topics::{QUEUES_MAX, SCHEDULE_TOPIC, STATE_TOPIC, TopicConfig, TopicFilterType},
};
use kerolox_net::Now;
use kerolox_protocol::{
    Fail, TopicName,
    body::{self, TopicConfigTable, TopicList, config::TopicConfigList},
    rpc::{
        config::{CleanExpiredConsumeQueue, CleanUnusedTopic, DeleteExpiredCommitLog},
        route::TopicRef,
        topic::{
            CreateTopicRequest, DeleteTopicInBroker, GetAllTopicConfig, GetSystemTopicListFromBroker,
            GetTopicConfig, UpdateAndCreateTopic, UpdateAndCreateTopicList,
        },
    },
};
use kerolox_store::QueueSlot;
use std::collections::BTreeSet;
use tracing::info;

handlers![
    UpdateAndCreateTopic,
    UpdateAndCreateTopicList,
    DeleteTopicInBroker,
    GetAllTopicConfig,
    GetSystemTopicListFromBroker,
    GetTopicConfig,
    CleanExpiredConsumeQueue,
    CleanUnusedTopic,
    DeleteExpiredCommitLog,
];

/// Topics noted as gone in one record: their names are a property, which has at most 32 KiB.
const DROPS_OF_NOTE: usize = 200;
/// Highest permission: template, write, read, and the unused priority bit.
const PERM_MAX: i32 = 15;

/// A topic's name as a request may name it, with the original's remarks.
fn checked(name: &str) -> Result<TopicName, Fail> {
    crate::produce::check_topic(name)?;
    TopicName::new(name).map_err(|why| Fail::error(why.to_string()))
}

impl Broker {
    fn changeable(&self, name: &str) -> Result<TopicName, Fail> {
        let topic = checked(name)?;
        if self.topics.is_system(&topic) {
            return Err(Fail::error(format!("The topic[{topic}] is conflict with system topic.")));
        }
        Ok(topic)
    }

    fn update_topic(&mut self, call: &Call<'_>, wanted: &body::TopicConfig) -> Result<(), Fail> {
        let topic = self.changeable(&wanted.topic_name)?;
        let queues = |field: &str, n: i32| {
            let wrong = || Fail::error(format!("{field} is {n}; 0 to {QUEUES_MAX} are allowed"));
            u32::try_from(n).ok().filter(|n| *n <= QUEUES_MAX).ok_or_else(wrong)
        };
        if !(0..=PERM_MAX).contains(&wanted.perm) {
            return Err(Fail::error(format!(
                "perm is {}; wanted is a sum of 1 (template), 2 (write) and 4 (read)",
                wanted.perm
            )));
        }
        let old = self.topics.get(&topic);
        if old.is_none() {
            self.topics.room()?;
        }
        let config = TopicConfig {
            // As the original: kept, and changed by the order configuration of the name servers alone.
            order: old.is_some_and(|old| old.order),
            perm: wanted.perm.cast_unsigned(),
            read_queue_nums: queues("readQueueNums", wanted.read_queue_nums)?,
            topic_filter_type: match wanted.topic_filter_type {
                body::config::TopicFilterType::SingleTag => TopicFilterType::SingleTag,
                body::config::TopicFilterType::MultiTag => TopicFilterType::MultiTag,
            },
            topic_sys_flag: wanted.topic_sys_flag.max(0).cast_unsigned(),
            write_queue_nums: queues("writeQueueNums", wanted.write_queue_nums)?,
            topic_name: topic,
        };
        info!(
            topic = %config.topic_name, peer = %call.peer.addr, read = config.read_queue_nums,
            write = config.write_queue_nums, perm = config.perm, new = old.is_none(), "topic set by request"
        );
        self.topics.put(call.now.wall, config);
        Ok(())
    }

    /// Deletes a topic with everything that knows it: its queues' files through the store, the offsets of all
    /// groups in it, its counters. Pulls held for it are woken and hear that it is gone.
    fn delete_topic(&mut self, call: &Call<'_>, topic: &TopicName, out: &mut Out) {
        let queues = self.store.queues(topic).len();
        self.release_pulls(call.now, topic, out);
        let known = self.topics.remove(call.now.wall, topic);
        self.store.delete_topic(topic);
        let places = self.offsets.forget(|name, _| name == topic);
        self.stats.forget(Some(topic), None);
        info!(%topic, peer = %call.peer.addr, known, queues, places, "topic deleted by request");
    }
}

impl Broker {
    /// Pulls that wait for messages of a topic are answered.
    fn release_pulls(&mut self, now: Now, topic: &TopicName, out: &mut Out) {
        let readable = self.topics.get(topic).map_or(0, |topic| topic.queues());
        let mut slots: BTreeSet<QueueSlot> =
            (0..readable).filter_map(|at| self.known_slot(topic, at)).collect();
        slots.extend(self.store.queues(topic).into_iter().map(|queue| queue.slot));
        let mut woken = Vec::new();
        for slot in slots {
            self.hold.on_removed(slot, &mut woken);
        }
        for pull in woken {
            self.wake(now, pull, out);
        }
    }
}

impl Handle<UpdateAndCreateTopic> for Broker {
    fn handle(
        &mut self,
        call: &Call<'_>,
        request: CreateTopicRequest,
        _: &mut Out,
    ) -> Result<Reply<()>, Fail> {
        let known = body::config::TopicFilterType::ALL.iter().copied();
        let named = request.topic_filter_type.as_deref().unwrap_or("SINGLE_TAG");
        let filter = known.into_iter().find(|kind| kind.name() == named);
        let wanted = body::TopicConfig {
            topic_name: request.topic,
            perm: request.perm,
            read_queue_nums: request.read_queue_nums,
            write_queue_nums: request.write_queue_nums,
            topic_filter_type: filter.ok_or_else(|| {
                Fail::error(format!(
                    "topicFilterType is [{}]; SINGLE_TAG and MULTI_TAG are known",
                    shown(named)
                ))
            })?,
            topic_sys_flag: request.topic_sys_flag.unwrap_or(0),
            ..body::TopicConfig::default()
        };
        self.update_topic(call, &wanted)?;
        Ok(Reply::Stands(()))
    }
}

impl Handle<UpdateAndCreateTopicList> for Broker {
    /// All or none is not promised: the original's 5.x stops at the first that is wrong, as this does.
    fn handle(&mut self, call: &Call<'_>, (): (), _: &mut Out) -> Result<Reply<()>, Fail> {
        let list: TopicConfigList = body::decode(call.body)?;
        for topic in &list.topic_config_list {
            self.changeable(&topic.topic_name)?;
        }
        for topic in &list.topic_config_list {
            self.update_topic(call, topic)?;
        }
        Ok(Reply::Stands(()))
    }
}

impl Handle<DeleteTopicInBroker> for Broker {
    fn handle(&mut self, call: &Call<'_>, request: TopicRef, out: &mut Out) -> Result<Reply<()>, Fail> {
        let topic = self.changeable(&request.topic)?;
        self.delete_topic(call, &topic, out);
        Ok(Reply::Stands(()))
    }
}

impl Handle<GetAllTopicConfig> for Broker {
    fn handle(&mut self, _: &Call<'_>, (): (), _: &mut Out) -> Result<Reply<()>, Fail> {
        let topics = self.topics.all().map(|topic| (topic.topic_name.to_string(), topic.into()));
        let table =
            TopicConfigTable { data_version: self.topics.version(), topic_config_table: topics.collect() };
        Ok(Reply::with_body((), body::encode(&table)))
    }
}

impl Handle<GetSystemTopicListFromBroker> for Broker {
    fn handle(&mut self, _: &Call<'_>, (): (), _: &mut Out) -> Result<Reply<()>, Fail> {
        let mut topics: Vec<String> = self.topics.system().map(str::to_owned).collect();
        topics.push(STATE_TOPIC.to_owned());
        topics.sort_unstable();
        Ok(Reply::with_body((), body::encode(&TopicList { broker_addr: None, topic_list: topics })))
    }
}

impl Handle<GetTopicConfig> for Broker {
    fn handle(&mut self, _: &Call<'_>, request: TopicRef, _: &mut Out) -> Result<Reply<()>, Fail> {
        let topic = self.known_topic(&request.topic)?;
        Ok(Reply::with_body((), body::encode(&body::TopicConfig::from(topic))))
    }
}

impl Broker {
    /// A topic that must be there; refused with code 17.
    pub(crate) fn known_topic(&self, name: &str) -> Result<&TopicConfig, Fail> {
        let missing = || hint::no_topic(&format!("topic[{}] not exist", shown(name)), name, None);
        self.topics.get(name).ok_or_else(missing)
    }
}

impl Handle<CleanUnusedTopic> for Broker {
    /// Deletes the queues of topics that are in no table. The system's own stay, whatever the table says.
    fn handle(&mut self, call: &Call<'_>, (): (), _: &mut Out) -> Result<Reply<()>, Fail> {
        let mut cleaned = Vec::new();
        for name in self.store.topics() {
            let kept =
                self.topics.get(&name).is_some() || self.topics.is_system(&name) || &*name == SCHEDULE_TOPIC;
            if !kept && let Ok(topic) = TopicName::new(&name) {
                self.store.delete_topic(&topic);
                cleaned.push(topic);
            }
        }
        // A crash must not bring them back under a new topic of the same name.
        for names in cleaned.chunks(DROPS_OF_NOTE) {
            let topics_gone = names.iter().map(ToString::to_string).collect();
            self.note(call.now, Piece::gone(topics_gone));
        }
        info!(peer = %call.peer.addr, topics = ?cleaned, "queues of unknown topics deleted by request");
        Ok(Reply::ok(()))
    }
}

impl Handle<CleanExpiredConsumeQueue> for Broker {
    /// Queue files whose messages are gone are deleted with each log file that goes; nothing is left to do.
    fn handle(&mut self, _: &Call<'_>, (): (), _: &mut Out) -> Result<Reply<()>, Fail> {
        Ok(Reply::ok(()))
    }
}

impl Handle<DeleteExpiredCommitLog> for Broker {
    fn handle(&mut self, call: &Call<'_>, (): (), _: &mut Out) -> Result<Reply<()>, Fail> {
        info!(peer = %call.peer.addr, "deletion of expired log files asked for");
        self.store.delete_expired();
        Ok(Reply::ok(()))
    }
}
