//! Consumer groups by request: 200, 201, 207, 225, 343, 345, 352.

use crate::{
    Broker,
    call::{Call, Handle, Out, Reply, handlers},
    groups::{GROUPS_MAX, GroupConfig, Groups},
    hint::shown,
    topics::QUEUES_MAX,
};
use kerolox_filter::Kind;
use kerolox_protocol::{
    Fail, GroupName,
    body::{
        self, SubscriptionData, SubscriptionGroupConfig, SubscriptionGroupTable, TopicList,
        config::SubscriptionGroupList, group::SubscriptionOfGroup,
    },
    code,
    rpc::{
        group::{
            DeleteGroupRequest, DeleteSubscriptionGroup, GetAllSubscriptionGroupConfig,
            GetSubscriptionGroupConfig, GroupRef, UpdateAndCreateSubscriptionGroup,
            UpdateAndCreateSubscriptionGroupList,
        },
        stats::{QuerySubscriptionByConsumer, QueryTopicsByConsumer, SubscriptionRef},
    },
};
use std::collections::BTreeSet;
use tracing::info;

handlers![
    UpdateAndCreateSubscriptionGroup,
    UpdateAndCreateSubscriptionGroupList,
    GetAllSubscriptionGroupConfig,
    DeleteSubscriptionGroup,
    GetSubscriptionGroupConfig,
    QueryTopicsByConsumer,
    QuerySubscriptionByConsumer,
];

fn checked(name: &str) -> Result<GroupName, Fail> {
    GroupName::new(name).map_err(|why| Fail::error(format!("the group [{}]: {why}", shown(name))))
}

impl Broker {
    fn check_group(&self, wanted: &SubscriptionGroupConfig) -> Result<GroupName, Fail> {
        let group = checked(&wanted.group_name)?;
        let most = QUEUES_MAX.cast_signed();
        if !(0..=most).contains(&wanted.retry_queue_nums) {
            return Err(Fail::error(format!(
                "retryQueueNums is {}; 0 to {most} are allowed",
                wanted.retry_queue_nums
            )));
        }
        if self.groups.get(&group).is_none() && self.groups.count() >= GROUPS_MAX {
            return Err(Fail::busy(format!(
                "this broker has {GROUPS_MAX} groups, the most it takes; delete unused ones"
            )));
        }
        Ok(group)
    }

    fn update_groups(&mut self, call: &Call<'_>, wanted: Vec<SubscriptionGroupConfig>) -> Result<(), Fail> {
        let names: Vec<GroupName> =
            wanted.iter().map(|config| self.check_group(config)).collect::<Result<_, _>>()?;
        for (group, config) in names.into_iter().zip(wanted) {
            info!(%group, peer = %call.peer.addr, consume = config.consume_enable, "group set by request");
            self.groups.put(call.now.wall, group, GroupConfig::from(config));
        }
        Ok(())
    }
}

impl Handle<UpdateAndCreateSubscriptionGroup> for Broker {
    fn handle(&mut self, call: &Call<'_>, (): (), _: &mut Out) -> Result<Reply<()>, Fail> {
        let wanted = body::decode(call.body)?;
        self.update_groups(call, vec![wanted])?;
        Ok(Reply::Stands(()))
    }
}

impl Handle<UpdateAndCreateSubscriptionGroupList> for Broker {
    /// All or none.
    fn handle(&mut self, call: &Call<'_>, (): (), _: &mut Out) -> Result<Reply<()>, Fail> {
        let list: SubscriptionGroupList = body::decode(call.body)?;
        self.update_groups(call, list.group_config_list)?;
        Ok(Reply::Stands(()))
    }
}

impl Handle<GetAllSubscriptionGroupConfig> for Broker {
    fn handle(&mut self, _: &Call<'_>, (): (), _: &mut Out) -> Result<Reply<()>, Fail> {
        let groups = self.groups.all().map(|(name, config)| (name.to_string(), config.into()));
        let table = SubscriptionGroupTable {
            data_version: self.groups.version(),
            subscription_group_table: groups.collect(),
            ..SubscriptionGroupTable::default()
        };
        Ok(Reply::with_body((), body::encode(&table)))
    }
}

impl Handle<DeleteSubscriptionGroup> for Broker {
    fn handle(
        &mut self,
        call: &Call<'_>,
        request: DeleteGroupRequest,
        _: &mut Out,
    ) -> Result<Reply<()>, Fail> {
        let group = checked(&request.group_name)?;
        if Groups::is_builtin(&group) {
            return Err(Fail::error(format!("The group[{group}] is one that every broker has")));
        }
        let known = self.groups.remove(call.now.wall, &group);
        let offsets = request.remove_offset.or(request.clean_offset).unwrap_or(false);
        let places = if offsets { self.offsets.forget(|_, name| *name == group) } else { 0 };
        self.stats.forget(None, Some(&group));
        info!(%group, peer = %call.peer.addr, known, places, "group deleted by request");
        Ok(Reply::Stands(()))
    }
}

impl Handle<GetSubscriptionGroupConfig> for Broker {
    fn handle(&mut self, _: &Call<'_>, request: GroupRef, _: &mut Out) -> Result<Reply<()>, Fail> {
        let missing = || {
            let remark = format!("subscription group [{}] does not exist", shown(&request.group));
            Fail::new(code::SUBSCRIPTION_GROUP_NOT_EXIST, remark)
        };
        let group = self.groups.get(&request.group).ok_or_else(missing)?;
        Ok(Reply::with_body((), body::encode(&SubscriptionGroupConfig::from(group))))
    }
}

impl Handle<QueryTopicsByConsumer> for Broker {
    fn handle(&mut self, _: &Call<'_>, request: GroupRef, _: &mut Out) -> Result<Reply<()>, Fail> {
        let group = checked(&request.group)?;
        let mut topics: BTreeSet<String> = self.offsets.topics_of(&group).map(ToString::to_string).collect();
        let online = self.clients.consumers(&group);
        topics.extend(online.iter().flat_map(|group| group.subscriptions.keys()).map(ToString::to_string));
        let list = TopicList {
            broker_addr: Some(self.options.store_host.to_string()),
            topic_list: topics.into_iter().collect(),
        };
        Ok(Reply::with_body((), body::encode(&list)))
    }
}

impl Handle<QuerySubscriptionByConsumer> for Broker {
    fn handle(&mut self, _: &Call<'_>, request: SubscriptionRef, _: &mut Out) -> Result<Reply<()>, Fail> {
        let online = self.clients.consumers(&request.group);
        let found = online.and_then(|group| group.subscriptions.get_key_value(request.topic.as_str()));
        let answer = SubscriptionOfGroup {
            group: request.group.clone(),
            subscription_data: found.map(|(topic, wanted)| subscription_data(topic, wanted)),
            topic: request.topic,
        };
        Ok(Reply::with_body((), body::encode(&answer)))
    }
}

/// A subscription as tools see it. Codes are ours: those of C++ clients are nonsense.
pub(crate) fn subscription_data(topic: &str, wanted: &crate::clients::Subscription) -> SubscriptionData {
    let tags: BTreeSet<String> = match wanted.kind {
        Kind::Tag if !wanted.tags.is_all() => {
            let tags = wanted.text.split("||").map(str::trim).filter(|tag| !tag.is_empty());
            tags.map(str::to_owned).collect()
        }
        _ => BTreeSet::new(),
    };
    SubscriptionData {
        class_filter_mode: false,
        code_set: tags.iter().map(|tag| kerolox_filter::code(tag)).collect(),
        expression_type: Some(match wanted.kind {
            Kind::Tag => body::heartbeat::TAG.to_owned(),
            Kind::Other => body::heartbeat::SQL92.to_owned(),
        }),
        sub_string: wanted.text.clone(),
        sub_version: wanted.version,
        tags_set: tags,
        topic: topic.to_owned(),
    }
}
