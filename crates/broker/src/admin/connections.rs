//! Who is connected: 203, 204, 300, 328.

use super::groups::subscription_data;
use crate::{
    Broker,
    call::{Call, Handle, Out, Reply, handlers},
    clients::Member,
    hint::shown,
};
use kerolox_protocol::{
    Fail, TopicName,
    body::{
        self,
        group::{Connection, ConsumerConnection, ProducerConnection, ProducerInfo, ProducerTable},
        route::GroupList,
    },
    code,
    rpc::{
        client::ConsumerGroupRef,
        route::TopicRef,
        stats::{
            GetAllProducerInfo, GetConsumerConnectionList, GetProducerConnectionList, ProducerGroupRef,
            QueryTopicConsumeByWho,
        },
    },
};
use std::collections::BTreeSet;

handlers![GetConsumerConnectionList, GetProducerConnectionList, GetAllProducerInfo, QueryTopicConsumeByWho];

fn connection(member: &Member) -> Connection {
    Connection {
        client_addr: member.addr.to_string(),
        client_id: member.client_id.clone(),
        language: member.language.name().to_owned(),
        version: member.version,
    }
}

impl Handle<GetConsumerConnectionList> for Broker {
    fn handle(&mut self, _: &Call<'_>, request: ConsumerGroupRef, _: &mut Out) -> Result<Reply<()>, Fail> {
        let offline = || {
            let remark = format!("the consumer group[{}] not online", shown(&request.consumer_group));
            Fail::new(code::CONSUMER_NOT_ONLINE, remark)
        };
        let group = self.clients.consumers(&request.consumer_group).ok_or_else(offline)?;
        let subscriptions = group.subscriptions.iter();
        let answer = ConsumerConnection {
            connection_set: group.members.values().map(connection).collect(),
            consume_from_where: group.from,
            consume_type: group.consume_type,
            message_model: group.model,
            subscription_table: subscriptions
                .map(|(topic, wanted)| (topic.to_string(), subscription_data(topic, wanted)))
                .collect(),
        };
        Ok(Reply::with_body((), body::encode(&answer)))
    }
}

impl Handle<GetProducerConnectionList> for Broker {
    fn handle(&mut self, _: &Call<'_>, request: ProducerGroupRef, _: &mut Out) -> Result<Reply<()>, Fail> {
        let missing =
            || Fail::error(format!("the producer group[{}] not exist", shown(&request.producer_group)));
        let members = self.clients.producers(&request.producer_group).ok_or_else(missing)?;
        let answer = ProducerConnection { connection_set: members.values().map(connection).collect() };
        Ok(Reply::with_body((), body::encode(&answer)))
    }
}

impl Handle<GetAllProducerInfo> for Broker {
    fn handle(&mut self, _: &Call<'_>, (): (), _: &mut Out) -> Result<Reply<()>, Fail> {
        let info = |member: &Member| ProducerInfo {
            client_id: member.client_id.clone(),
            language: member.language.name().to_owned(),
            last_update_timestamp: member.seen.0,
            remote_ip: format!("/{}", member.addr),
            version: member.version,
        };
        let groups = self.clients.producer_groups();
        let data = groups.map(|(group, members)| (group.to_string(), members.values().map(info).collect()));
        Ok(Reply::with_body((), body::encode(&ProducerTable { data: data.collect() })))
    }
}

impl Handle<QueryTopicConsumeByWho> for Broker {
    fn handle(&mut self, _: &Call<'_>, request: TopicRef, _: &mut Out) -> Result<Reply<()>, Fail> {
        let topic = request.topic.as_str();
        let online =
            self.clients.consumer_groups().filter(|(_, group)| group.subscriptions.contains_key(topic));
        let mut groups: BTreeSet<String> = online.map(|(name, _)| name.to_string()).collect();
        if let Ok(topic) = TopicName::new(topic) {
            groups.extend(self.offsets.groups_of(&topic).map(ToString::to_string));
        }
        Ok(Reply::with_body((), body::encode(&GroupList { group_list: groups.into_iter().collect() })))
    }
}
