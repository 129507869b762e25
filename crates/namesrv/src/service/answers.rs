//! What each request is answered, one function per code.

use super::{Namesrv, Request};
use crate::{
    disk::What,
    hint,
    kv::ORDER_TOPICS,
    names::{Address, BadText, Name},
    routes::{FLAG_UNIT, FLAG_UNIT_SUB, Registration},
    wire::{self, Form},
};
use kerolox_config::UpdateError;
use kerolox_net::{Now, Peer};
use kerolox_protocol::{
    Fail, code,
    header::{Ext, FieldError, Fields},
    rpc::{Rpc, kv, route},
};
use std::sync::Arc;
use tracing::{info, warn};

/// The remark of a refused change of a protected key, as the original's.
const BLACK_LISTED: &str = "Can not update config in black list.";
/// Brokers before this version send their topics without a frame around them.
const VERSION_WITH_BODY: i32 = 37;

/// A successful answer.
#[derive(Debug, Default)]
pub struct Answer {
    pub ext: Option<Ext>,
    pub body: Body,
    pub remark: Option<String>,
}

/// The body of an answer.
#[derive(Debug, Default)]
pub enum Body {
    /// Without one.
    #[default]
    None,
    /// Made for this answer.
    Own(Vec<u8>),
    /// Kept for many answers.
    Shared(Arc<[u8]>),
    /// Without one, and not before the file is saved.
    WhenSaved(What),
}

impl Answer {
    fn body(body: Vec<u8>) -> Answer {
        Answer { body: Body::Own(body), ..Answer::default() }
    }

    fn ext(fields: &impl Fields) -> Answer {
        Answer { ext: Some(fields.to_ext()), ..Answer::default() }
    }

    fn when_saved(what: What) -> Answer {
        Answer { body: Body::WhenSaved(what), ..Answer::default() }
    }
}

type Answered = Result<Answer, Fail>;

impl Namesrv {
    /// Answers a request whose sender may ask it.
    pub(super) fn answer(&mut self, now: Now, peer: &Peer, request: &Request<'_>) -> Answered {
        match request.header.code {
            route::GetRouteInfoByTopic::CODE => self.route_of(request),
            route::RegisterBroker::CODE => self.register(now, peer, request),
            route::UnregisterBroker::CODE => self.unregister(peer, request),
            route::QueryDataVersion::CODE => self.query_version(now, peer, request),
            route::GetBrokerClusterInfo::CODE => Ok(Answer::body(wire::cluster_info(&self.routes))),
            route::WipeWritePermOfBroker::CODE => self.wipe_write(request),
            route::AddWritePermOfBroker::CODE => self.add_write(request),
            route::GetAllTopicListFromNamesrv::CODE => {
                Ok(Answer::body(wire::topic_list(self.routes.topics(), None)))
            }
            route::GetTopicsByCluster::CODE => self.topics_of_cluster(request),
            route::GetSystemTopicListFromNs::CODE => Ok(Answer::body(wire::system_topics(&self.routes))),
            route::GetUnitTopicList::CODE => self.topics_with(|flags| flags & FLAG_UNIT != 0),
            route::GetHasUnitSubTopicList::CODE => self.topics_with(|flags| flags & FLAG_UNIT_SUB != 0),
            route::GetHasUnitSubUnunitTopicList::CODE => {
                self.topics_with(|flags| flags & (FLAG_UNIT | FLAG_UNIT_SUB) == FLAG_UNIT_SUB)
            }
            route::DeleteTopicInNamesrv::CODE => self.delete_topic(request),
            route::RegisterTopicInNamesrv::CODE => self.add_topic(request),
            kv::PutKvConfig::CODE => self.put_kv(request),
            kv::GetKvConfig::CODE => self.get_kv(request),
            kv::DeleteKvConfig::CODE => self.delete_kv(request),
            kv::GetKvListByNamespace::CODE => self.list_kv(request),
            kv::UpdateNamesrvConfig::CODE => self.update_config(request),
            kv::GetNamesrvConfig::CODE => Ok(Answer::body(kerolox_config::export(&self.config).into_bytes())),
            // A row that another server of the family answers, or that has no handler yet.
            other => Err(Fail::not_supported(other)),
        }
    }

    fn route_of(&mut self, request: &Request<'_>) -> Answered {
        // Read by hand: every client asks for every topic every 30 seconds.
        let topic = request.header.get("topic").ok_or(FieldError::Missing("topic"))?;
        let order =
            self.config.namesrv.order_message_enable.then(|| self.kv.get(ORDER_TOPICS, topic)).flatten();
        match self.routes.answer(topic, |route| wire::route(&route, order)) {
            Some(body) => Ok(Answer { body: Body::Shared(body), ..Answer::default() }),
            None => Err(Fail::new(code::TOPIC_NOT_EXIST, hint::no_route(&self.routes, topic))),
        }
    }

    fn register(&mut self, now: Now, peer: &Peer, request: &Request<'_>) -> Answered {
        let asked: route::RegisterRequest = request.header.fields()?;
        let sent_crc = asked.body_crc32.unwrap_or(0);
        if sent_crc != 0 && sent_crc.cast_unsigned() != crc32fast::hash(request.body) & 0x7fff_ffff {
            return Err(Fail::error("crc32 not match"));
        }
        let address = Address::new(&asked.broker_addr).map_err(|why| bad_name("brokerAddr", why))?;
        let broker = Name::new(&asked.broker_name).map_err(|why| bad_name("brokerName", why))?;
        let cluster = Name::new(&asked.cluster_name).map_err(|why| bad_name("clusterName", why))?;
        let ha_text = asked.ha_server_addr.as_deref().filter(|text| !text.is_empty());
        let ha_address =
            ha_text.map(Address::new).transpose().map_err(|why| bad_name("haServerAddr", why))?;
        let epoch = asked.epoch.map(u64::try_from).transpose();
        let epoch = epoch.map_err(|_| Fail::error("the field 'epoch' is negative"))?;
        let form = match (asked.compressed.unwrap_or(false), request.header.version) {
            (true, _) => Form::Compressed,
            (false, version) if version < VERSION_WITH_BODY => Form::TopicsOnly,
            (false, _) => Form::Json,
        };
        let id = asked.broker_id;
        let body = wire::read_registration(request.body, form, |version| {
            self.routes.wants_topics(broker.as_str(), id, address.as_str(), version)
        })?;
        if body.left_out > 0 {
            warn!(%broker, topics = body.left_out, "topics with an impossible name or number were left out");
        }
        let (conn, version, topics, filters) = (peer.conn, body.version, body.topics, body.filters);
        let registration =
            Registration { conn, cluster, broker, id, address, ha_address, epoch, version, topics, filters };
        self.take(now, registration, body.left_out)
    }

    fn take(&mut self, now: Now, registration: Registration, left_out: usize) -> Answered {
        let (broker, id, address) =
            (registration.broker.clone(), registration.id, registration.address.clone());
        let is_new = self.routes.version(address.as_str()).is_none();
        let registered = self.routes.register(now.mono, registration).map_err(|why| {
            warn!(%broker, id, %address, %why, "registration refused");
            Fail::error(why.to_string())
        })?;
        for alarm in &registered.alarms {
            warn!(%alarm, "brokers contradict each other");
        }
        if is_new {
            info!(%broker, id, %address, "broker registered");
        }
        let mut remarks: Vec<String> = registered.alarms.iter().map(ToString::to_string).collect();
        if registered.stale {
            remarks.push(
                "a newer connection has registered this broker; this registration changed nothing".into(),
            );
        }
        if left_out > 0 {
            remarks.push(format!("{left_out} topics with an impossible name or number were left out"));
        }
        let (master_addr, ha_server_addr) = match registered.master {
            Some((master, ha)) => (Some(master.to_string()), ha.map(|ha| ha.to_string())),
            None => (None, None),
        };
        let order_topics = self.kv.namespace(ORDER_TOPICS).map(wire::kv_table);
        Ok(Answer {
            ext: Some(route::RegisterReply { ha_server_addr, master_addr }.to_ext()),
            body: order_topics.map_or(Body::None, Body::Own),
            remark: (!remarks.is_empty()).then(|| remarks.join("; ")),
        })
    }

    fn unregister(&mut self, peer: &Peer, request: &Request<'_>) -> Answered {
        let asked: route::BrokerRef = request.header.fields()?;
        let (broker, id, address) = (&asked.broker_name, asked.broker_id, &asked.broker_addr);
        if self.routes.unregister(peer.conn, broker, id, address) {
            info!(broker, id, address, why = "it said good-bye", "broker dropped");
        }
        Ok(Answer::default())
    }

    fn query_version(&mut self, now: Now, peer: &Peer, request: &Request<'_>) -> Answered {
        let asked: route::BrokerRef = request.header.fields()?;
        let version = wire::read_version(request.body)?;
        let changed = self.routes.query_version(now.mono, peer.conn, &asked.broker_addr, version);
        let known = self.routes.version(&asked.broker_addr).map(wire::version);
        let ext = Some(route::DataVersionReply { changed }.to_ext());
        Ok(Answer { ext, body: known.map_or(Body::None, Body::Own), remark: None })
    }

    fn wipe_write(&mut self, request: &Request<'_>) -> Answered {
        let asked: route::BrokerNameRef = request.header.fields()?;
        let count = self.routes.wipe_write(&asked.broker_name);
        info!(broker = asked.broker_name, topics = count, "write permission taken");
        Ok(Answer::ext(&route::WipeReply { wipe_topic_count: i32::try_from(count).unwrap_or(i32::MAX) }))
    }

    fn add_write(&mut self, request: &Request<'_>) -> Answered {
        let asked: route::BrokerNameRef = request.header.fields()?;
        let count = self.routes.add_write(&asked.broker_name);
        info!(broker = asked.broker_name, topics = count, "write permission given back");
        Ok(Answer::ext(&route::AddWriteReply { add_topic_count: i32::try_from(count).unwrap_or(i32::MAX) }))
    }

    fn topics_of_cluster(&mut self, request: &Request<'_>) -> Answered {
        let asked: route::ClusterRef = request.header.fields()?;
        Ok(Answer::body(wire::topic_list(self.routes.topics_of_cluster(&asked.cluster), None)))
    }

    fn topics_with(&mut self, fits: impl Fn(i32) -> bool) -> Answered {
        Ok(Answer::body(wire::topic_list(self.routes.topics_with_flags(fits), None)))
    }

    fn delete_topic(&mut self, request: &Request<'_>) -> Answered {
        let asked: route::DeleteRouteRequest = request.header.fields()?;
        let cluster = asked.cluster_name.as_deref().filter(|cluster| !cluster.is_empty());
        if self.routes.delete_topic(&asked.topic, cluster) {
            info!(topic = asked.topic, cluster, "topic deleted");
        }
        Ok(Answer::default())
    }

    fn add_topic(&mut self, request: &Request<'_>) -> Answered {
        let asked: route::TopicRef = request.header.fields()?;
        let topic = Name::new(&asked.topic).map_err(|why| bad_name("topic", why))?;
        let parts = wire::read_queue_datas(request.body)?;
        let added = self.routes.add_topic(&topic, &parts);
        let groups = added.map_err(|why| Fail::error(why.to_string()))?;
        info!(%topic, groups, "topic registered");
        Ok(Answer::default())
    }

    /// A change waits for its file: not more of them than can be answered, and none while stopping.
    fn check_saver(&mut self, what: What) -> Result<(), Fail> {
        if self.stopping {
            return Err(Fail::busy("the name server is stopping; ask another one"));
        }
        if self.saver(what).is_full() {
            return Err(Fail::busy("too many changes wait for the disk; try again later"));
        }
        Ok(())
    }

    fn put_kv(&mut self, request: &Request<'_>) -> Answered {
        let asked: kv::PutKvRequest = request.header.fields()?;
        let (Some(namespace), Some(key)) = (asked.namespace, asked.key) else { return Err(no_key()) };
        self.check_saver(What::Kv)?;
        let value = asked.value.unwrap_or_default();
        let put = self.kv.put(&namespace, &key, &value);
        put.map_err(|why| Fail::error(why.to_string()))?;
        info!(namespace, key, "value set");
        self.kv_changed(&namespace)
    }

    fn delete_kv(&mut self, request: &Request<'_>) -> Answered {
        let asked: kv::KvRef = request.header.fields()?;
        let (Some(namespace), Some(key)) = (asked.namespace, asked.key) else { return Err(no_key()) };
        self.check_saver(What::Kv)?;
        if !self.kv.delete(&namespace, &key) {
            return Ok(Answer::default());
        }
        info!(namespace, key, "value deleted");
        self.kv_changed(&namespace)
    }

    fn kv_changed(&mut self, namespace: &str) -> Answered {
        if namespace == ORDER_TOPICS {
            self.routes.forget_answers();
        }
        Ok(Answer::when_saved(What::Kv))
    }

    fn get_kv(&mut self, request: &Request<'_>) -> Answered {
        let asked: kv::KvRef = request.header.fields()?;
        let (Some(namespace), Some(key)) = (asked.namespace, asked.key) else { return Err(no_key()) };
        let Some(value) = self.kv.get(&namespace, &key) else {
            let remark = format!("No config item, Namespace: {namespace} Key: {key}");
            return Err(Fail::new(code::QUERY_NOT_FOUND, remark));
        };
        Ok(Answer::ext(&kv::KvReply { value: Some(value.to_owned()) }))
    }

    fn list_kv(&mut self, request: &Request<'_>) -> Answered {
        let asked: kv::NamespaceRef = request.header.fields()?;
        let Some(values) = self.kv.namespace(&asked.namespace) else {
            let remark = format!("No config item, Namespace: {}", asked.namespace);
            return Err(Fail::new(code::QUERY_NOT_FOUND, remark));
        };
        Ok(Answer::body(wire::kv_table(values)))
    }

    fn update_config(&mut self, request: &Request<'_>) -> Answered {
        self.check_saver(What::Settings)?;
        let text = std::str::from_utf8(request.body)
            .map_err(|_| Fail::error("the request body is not text in UTF-8"))?;
        let changed = self.config.update_text(text).map_err(|errors| {
            if errors.iter().any(|error| matches!(error, UpdateError::Protected { .. })) {
                return Fail::new(code::NO_PERMISSION, BLACK_LISTED);
            }
            let all: Vec<String> = errors.iter().take(10).map(ToString::to_string).collect();
            Fail::error(all.join("; "))
        })?;
        if changed.is_empty() {
            return Ok(Answer::default());
        }
        info!(?changed, "settings changed");
        self.routes.forget_answers();
        Ok(Answer::when_saved(What::Settings))
    }
}

fn bad_name(field: &str, why: BadText) -> Fail {
    Fail::error(format!("the field '{field}' {why}"))
}

fn no_key() -> Fail {
    Fail::error("namespace or key is null")
}
