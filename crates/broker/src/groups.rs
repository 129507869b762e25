//! Subscription groups: what a group of consumers may do, and how it retries.
//!
//! A table that survives, like [`crate::topics`]. Knows no connection: who is in a group stands in
//! [`crate::clients`].

use crate::table::Table;
use kerolox_protocol::{GroupName, Millis, body};
use serde::{Deserialize, Serialize};
use std::ops::{Deref, DerefMut};

/// Groups in all.
pub const GROUPS_MAX: usize = 200_000;
/// Groups with this prefix are the system's and always made when used.
pub const SYSTEM_PREFIX: &str = "CID_RMQ_SYS_";
/// The groups every broker has (wire reference, section 7.2).
const BUILTIN: [&str; 7] = [
    "TOOLS_CONSUMER",
    "FILTERSRV_CONSUMER",
    "SELF_TEST_C_GROUP",
    "CID_ONS-HTTP-PROXY",
    "CID_ONSAPI_PULL",
    "CID_ONSAPI_PERMISSION",
    "CID_ONSAPI_OWNER",
];

/// One group. Reference: `SubscriptionGroupConfig`; the serde form is that of `subscriptionGroup.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct GroupConfig {
    /// Broker to read from.
    pub broker_id: i64,
    /// May consume as broadcast.
    pub consume_broadcast_enable: bool,
    /// May consume at all.
    pub consume_enable: bool,
    /// Kept for files; nothing reads it, as in the original.
    pub consume_from_min_enable: bool,
    /// Name. Not checked by serde: the table does when it takes the group.
    pub group_name: String,
    /// Members are told of changes.
    pub notify_consumer_ids_changed_enable: bool,
    /// Retries before a message is dead.
    pub retry_max_times: i32,
    /// Queues of the retry topic.
    pub retry_queue_nums: i32,
    /// Broker to read from when slow.
    pub which_broker_when_consume_slowly: i64,
}

impl From<&GroupConfig> for body::SubscriptionGroupConfig {
    fn from(group: &GroupConfig) -> body::SubscriptionGroupConfig {
        body::SubscriptionGroupConfig {
            broker_id: group.broker_id,
            consume_broadcast_enable: group.consume_broadcast_enable,
            consume_enable: group.consume_enable,
            consume_from_min_enable: group.consume_from_min_enable,
            group_name: group.group_name.clone(),
            notify_consumer_ids_changed_enable: group.notify_consumer_ids_changed_enable,
            retry_max_times: group.retry_max_times,
            retry_queue_nums: group.retry_queue_nums,
            which_broker_when_consume_slowly: group.which_broker_when_consume_slowly,
            ..body::SubscriptionGroupConfig::default()
        }
    }
}

impl From<body::SubscriptionGroupConfig> for GroupConfig {
    fn from(group: body::SubscriptionGroupConfig) -> GroupConfig {
        GroupConfig {
            broker_id: group.broker_id,
            consume_broadcast_enable: group.consume_broadcast_enable,
            consume_enable: group.consume_enable,
            consume_from_min_enable: group.consume_from_min_enable,
            group_name: group.group_name,
            notify_consumer_ids_changed_enable: group.notify_consumer_ids_changed_enable,
            retry_max_times: group.retry_max_times,
            retry_queue_nums: group.retry_queue_nums,
            which_broker_when_consume_slowly: group.which_broker_when_consume_slowly,
        }
    }
}

impl Default for GroupConfig {
    fn default() -> GroupConfig {
        GroupConfig {
            broker_id: 0,
            consume_broadcast_enable: true,
            consume_enable: true,
            consume_from_min_enable: true,
            group_name: String::new(),
            notify_consumer_ids_changed_enable: true,
            retry_max_times: 16,
            retry_queue_nums: 1,
            which_broker_when_consume_slowly: 1,
        }
    }
}

/// The table.
#[derive(Debug, Clone, Default)]
pub struct Groups(Table<GroupName, GroupConfig>);

impl Deref for Groups {
    type Target = Table<GroupName, GroupConfig>;
    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl DerefMut for Groups {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.0
    }
}

impl Groups {
    /// The groups every broker has (wire reference, section 7.2).
    pub fn builtin() -> Groups {
        let mut groups = Groups::default();
        for group in BUILTIN.iter().filter_map(|name| GroupName::new(name).ok()) {
            let config = GroupConfig { group_name: group.to_string(), ..GroupConfig::default() };
            groups.restore(group, Some(config));
        }
        groups
    }

    /// A group, made if `auto_create` or the name is the system's; `None` if it may not be made or the name is
    /// none.
    pub fn get_or_create(&mut self, now: Millis, name: &str, auto_create: bool) -> Option<&GroupConfig> {
        if self.get(name).is_none() {
            let group = GroupName::new(name).ok()?;
            if !auto_create && !name.starts_with(SYSTEM_PREFIX) {
                return None;
            }
            if self.count() >= GROUPS_MAX {
                return None;
            }
            self.put(now, group, GroupConfig::default());
        }
        self.get(name)
    }

    /// Whether the group is one that every broker has.
    pub fn is_builtin(name: &str) -> bool {
        BUILTIN.contains(&name)
    }

    /// Adds or replaces a group.
    pub fn put(&mut self, now: Millis, name: GroupName, config: GroupConfig) {
        let config = GroupConfig { group_name: name.to_string(), ..config };
        self.set(now, name, config);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_of_groups_is_bounded() {
        let mut groups = Groups::default();
        for n in 0..GROUPS_MAX {
            let name = GroupName::new(&format!("g{n}")).expect("a group");
            groups.put(Millis(1), name, GroupConfig::default());
        }
        assert!(groups.get_or_create(Millis(2), "g1", true).is_some(), "known ones are served");
        assert!(groups.get_or_create(Millis(2), "one-more", true).is_none());
        assert_eq!(groups.count(), GROUPS_MAX);
    }
}
