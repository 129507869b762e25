//! The topics of this broker: configuration, the ones every broker has, and who may create more.
//!
//! A [`Table`] that survives. Knows no queue content and no connection.

use crate::{hint, hint::shown, options::Options, table::Table};
use kerolox_protocol::{Fail, Millis, TopicName, body};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    ops::{Deref, DerefMut},
};

/// Permission: template for auto-creation.
pub const PERM_INHERIT: u32 = 1;
/// Permission: write.
pub const PERM_WRITE: u32 = 2;
/// Permission: read.
pub const PERM_READ: u32 = 4;

/// Topics that clients may not send to.
pub const NO_SEND: &[&str] = &[
    "SCHEDULE_TOPIC_XXXX",
    "RMQ_SYS_TRANS_HALF_TOPIC",
    "RMQ_SYS_TRANS_OP_HALF_TOPIC",
    "TRANS_CHECK_MAX_TIME_TOPIC",
    "SELF_TEST_TOPIC",
    "OFFSET_MOVED_EVENT",
    crate::topics::STATE_TOPIC,
];
/// Where delayed messages wait; one queue per level.
pub const SCHEDULE_TOPIC: &str = "SCHEDULE_TOPIC_XXXX";
/// Where pulls outside a queue are reported.
pub const OFFSET_MOVED_TOPIC: &str = "OFFSET_MOVED_EVENT";
/// The template of auto-created topics.
pub const DEFAULT_TOPIC: &str = "TBW102";
/// Where the broker's own state is kept, queue 0.
pub const STATE_TOPIC: &str = "rmq_sys_KEROLOX_STATE";

/// Topics in all. A registration of so many still fits into one frame when it is compressed.
pub const TOPICS_MAX: usize = 200_000;
/// Queues a topic may have: the original's admin tools offer fewer, and each costs files.
pub const QUEUES_MAX: u32 = 65_535;

/// Topics nobody may create, change or delete by request (wire reference, section 7.2). Those named after the
/// cluster and the broker are added from the configuration.
const SYSTEM: &[&str] = &[
    DEFAULT_TOPIC,
    SCHEDULE_TOPIC,
    "BenchmarkTest",
    "RMQ_SYS_TRANS_HALF_TOPIC",
    "RMQ_SYS_TRACE_TOPIC",
    "RMQ_SYS_TRANS_OP_HALF_TOPIC",
    "TRANS_CHECK_MAX_TIME_TOPIC",
    "SELF_TEST_TOPIC",
    OFFSET_MOVED_TOPIC,
];
/// Names with this prefix are the system's, too.
const SYSTEM_PREFIX: &str = "rmq_sys_";

/// Version of a table, as registrations and files carry it.
pub use kerolox_protocol::body::config::{DataVersion, TopicFilterType};

impl From<&TopicConfig> for body::TopicConfig {
    fn from(topic: &TopicConfig) -> body::TopicConfig {
        body::TopicConfig {
            attributes: BTreeMap::new(),
            order: topic.order,
            perm: topic.perm.cast_signed(),
            read_queue_nums: topic.read_queue_nums.cast_signed(),
            topic_filter_type: topic.topic_filter_type,
            topic_name: topic.topic_name.to_string(),
            topic_sys_flag: topic.topic_sys_flag.cast_signed(),
            write_queue_nums: topic.write_queue_nums.cast_signed(),
        }
    }
}

/// One topic. Reference: `TopicConfig`; the serde form is that of `topics.json` and of the registration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TopicConfig {
    /// Order topic.
    #[serde(default)]
    pub order: bool,
    /// Bits [`PERM_INHERIT`], [`PERM_WRITE`], [`PERM_READ`].
    pub perm: u32,
    /// Queues readers see.
    pub read_queue_nums: u32,
    /// Tag mode.
    #[serde(default)]
    pub topic_filter_type: TopicFilterType,
    /// Name.
    #[serde(with = "name")]
    pub topic_name: TopicName,
    /// 1 unit, 2 unit subscription.
    #[serde(default)]
    pub topic_sys_flag: u32,
    /// Queues writers see.
    pub write_queue_nums: u32,
}

mod name {
    use kerolox_protocol::TopicName;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(name: &TopicName, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(name)
    }
    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<TopicName, D::Error> {
        let text = String::deserialize(from)?;
        TopicName::new(&text).map_err(D::Error::custom)
    }
}

impl TopicConfig {
    /// A topic with as many read as write queues.
    pub fn new(topic_name: TopicName, queues: u32, perm: u32) -> TopicConfig {
        TopicConfig {
            order: false,
            perm,
            read_queue_nums: queues,
            topic_filter_type: TopicFilterType::SingleTag,
            topic_name,
            topic_sys_flag: 0,
            write_queue_nums: queues,
        }
    }
    /// Queues that exist for writers or readers.
    pub fn queues(&self) -> u32 {
        self.write_queue_nums.max(self.read_queue_nums)
    }
}

/// What a sender says about a topic that may have to be made.
#[derive(Debug, Clone, Copy)]
pub struct Wish<'a> {
    /// Template topic.
    pub template: &'a str,
    /// Queues the sender wants.
    pub queues: i32,
    /// Unit mode of the sender.
    pub unit: bool,
}

/// The table.
#[derive(Debug, Clone)]
pub struct Topics {
    /// Whether senders make topics from the template; the key `autoCreateTopicEnable`, which is live.
    pub auto_create: bool,
    system: BTreeSet<String>,
    table: Table<TopicName, TopicConfig>,
}

impl Deref for Topics {
    type Target = Table<TopicName, TopicConfig>;
    #[inline]
    fn deref(&self) -> &Self::Target {
        &self.table
    }
}

impl DerefMut for Topics {
    #[inline]
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.table
    }
}

impl Default for Topics {
    fn default() -> Topics {
        Topics {
            auto_create: true,
            system: SYSTEM.iter().map(|name| (*name).to_owned()).collect(),
            table: Table::default(),
        }
    }
}

impl Topics {
    /// The topics every broker has (wire reference, section 7.1).
    pub fn builtin(options: &Options) -> Topics {
        let mut topics = Topics { auto_create: options.broker.auto_create_topic_enable, ..Topics::default() };
        let named = [&options.broker.broker_cluster_name, &options.broker.broker_name];
        topics.system.extend(named.into_iter().cloned());
        topics.system.insert(format!("{}_REPLY_TOPIC", options.broker.broker_cluster_name));
        topics.system.insert(options.broker.msg_trace_topic_name.clone());
        let mut add = |name: &str, queues, perm| {
            // The cluster's and the broker's name come from the operator and may be no topic names.
            if let Ok(name) = TopicName::new(name) {
                topics.restore(name.clone(), Some(TopicConfig::new(name, queues, perm)));
            }
        };
        let keys = &options.broker;
        add("SELF_TEST_TOPIC", 1, 6);
        if keys.auto_create_topic_enable {
            add(DEFAULT_TOPIC, keys.default_topic_queue_nums.0, 7);
        }
        add("BenchmarkTest", 1024, 6);
        add(&keys.broker_cluster_name, 16, if keys.cluster_topic_enable { 7 } else { 1 });
        add(&keys.broker_name, 1, if keys.broker_topic_enable { 7 } else { 1 });
        add(OFFSET_MOVED_TOPIC, 1, 6);
        add(SCHEDULE_TOPIC, 18, 6);
        if keys.trace_topic_enable {
            add(&keys.msg_trace_topic_name, 1, 6);
        }
        add(&format!("{}_REPLY_TOPIC", keys.broker_cluster_name), 1, 6);
        topics
    }

    /// All topics, by name.
    pub fn all(&self) -> impl Iterator<Item = &TopicConfig> {
        self.table.all().map(|(_, topic)| topic)
    }

    /// Whether the topic is the system's: nobody may create, change or delete it by request.
    pub fn is_system(&self, name: &str) -> bool {
        self.system.contains(name) || name.starts_with(SYSTEM_PREFIX)
    }

    /// The system's topics that are not simply one per broker, by name. Reference: code 305.
    pub fn system(&self) -> impl Iterator<Item = &str> {
        self.system.iter().map(String::as_str)
    }

    /// Whether there is room for another topic.
    pub fn room(&self) -> Result<(), Fail> {
        if self.count() < TOPICS_MAX {
            return Ok(());
        }
        Err(Fail::busy(format!("this broker has {TOPICS_MAX} topics, the most it takes; delete unused ones")))
    }

    /// Adds or replaces a topic.
    pub fn put(&mut self, now: Millis, config: TopicConfig) {
        self.set(now, config.topic_name.clone(), config);
    }

    /// The topic, made if the rules allow it: from the template named by the sender (wire reference, section
    /// 3.2), or with one queue if it is a retry topic. The refusal is the answer to the sender.
    pub fn get_or_create(&mut self, now: Millis, name: &str, wish: Wish<'_>) -> Result<&TopicConfig, Fail> {
        if self.get(name).is_none() {
            let made = self.make(name, wish)?;
            self.put(now, made);
        }
        self.get(name).ok_or_else(|| Fail::error("the topic vanished"))
    }

    /// The topic as [`Topics::get_or_create`] would make it.
    pub fn make(&self, name: &str, wish: Wish<'_>) -> Result<TopicConfig, Fail> {
        let topic = TopicName::new(name).map_err(|why| Fail::error(why.to_string()))?;
        self.room()?;
        let retry = name.starts_with(kerolox_protocol::names::RETRY_PREFIX);
        let unit = if wish.unit { if retry { 2 } else { 1 } } else { 0 };
        let switched_off = wish.template == DEFAULT_TOPIC && !self.auto_create;
        if let Some(template) = self.get(wish.template)
            && template.perm & PERM_INHERIT != 0
            && !switched_off
        {
            let wanted = u32::try_from(wish.queues).unwrap_or(0);
            let queues = wanted.min(template.write_queue_nums);
            return Ok(TopicConfig {
                topic_filter_type: template.topic_filter_type,
                topic_sys_flag: unit,
                ..TopicConfig::new(topic, queues, template.perm & !PERM_INHERIT)
            });
        }
        if retry {
            return Ok(TopicConfig { topic_sys_flag: unit, ..TopicConfig::new(topic, 1, 6) });
        }
        let why = if switched_off {
            "autoCreateTopicEnable=false".to_owned()
        } else {
            format!("the template topic {} is not there or not to be copied", shown(wish.template))
        };
        Err(hint::no_topic(&hint::apply_first(name), name, Some(&why)))
    }

    /// Makes the topic with so many queues and permission 6 if it is not there: retry and dead-letter topics. Its
    /// permission.
    pub fn ensure(&mut self, now: Millis, name: &TopicName, queues: u32, sys_flag: u32) -> u32 {
        if let Some(topic) = self.get(name) {
            return topic.perm;
        }
        let perm = PERM_READ | PERM_WRITE;
        let made = TopicConfig { topic_sys_flag: sys_flag, ..TopicConfig::new(name.clone(), queues, perm) };
        self.put(now, made);
        perm
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_of_topics_is_bounded() {
        let mut topics = Topics::default();
        let name = |n: usize| TopicName::new(&format!("T{n}")).expect("a topic");
        for n in 0..TOPICS_MAX {
            assert_eq!(topics.room(), Ok(()));
            topics.put(Millis(1), TopicConfig::new(name(n), 1, 6));
        }
        assert_eq!(topics.room().map_err(|fail| fail.code), Err(kerolox_protocol::code::SYSTEM_BUSY));
        let wish = Wish { template: "T0", queues: 1, unit: false };
        assert!(topics.get_or_create(Millis(2), "T1", wish).is_ok(), "known ones are served");
        assert!(topics.get_or_create(Millis(2), "one-more", wish).is_err());
    }

    #[test]
    fn the_systems_topics_are_known_by_name_prefix_and_configuration() {
        let mut options = Options::local();
        options.broker.set("brokerClusterName", "C").expect("a cluster");
        options.broker.set("brokerName", "b").expect("a name");
        let topics = Topics::builtin(&options);
        for name in ["TBW102", "C", "b", "C_REPLY_TOPIC", "rmq_sys_anything", STATE_TOPIC, SCHEDULE_TOPIC] {
            assert!(topics.is_system(name), "{name}");
        }
        assert!(!topics.is_system("T") && !topics.is_system("%RETRY%g"));
    }
}
