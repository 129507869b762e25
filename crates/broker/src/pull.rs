//! Pulling: checks, what is read, and how a pull comes to wait.
//!
//! Knows groups, topics, subscriptions and the store's plans; the bytes of messages never pass through here: an
//! answer is a header and the places where the records stand.

use crate::{
    Broker,
    answer::{self, Answer, Ticket},
    call::{Call, Handle, Out, Reply, handlers},
    clients::MessageModel,
    hint::{self, shown},
    hold,
    jobs::BrokerJob,
    produce::Origin,
    rot::Rot,
    topics::{OFFSET_MOVED_TOPIC, PERM_READ},
};
use kerolox_filter::{Kind, Tags};
use kerolox_net::{Fill, Now};
use kerolox_protocol::{
    Fail, GroupName, Millis, QueueId, QueueOffset, TopicName, code,
    header::Fields,
    rpc::consume::{LitePullMessage, PullMessage, PullReply, PullRequest},
    scan::{self, Pull},
};
use kerolox_store::{Bounds, Filled, Plan, PlanStatus, QueueSlot, ReadLimits, Rotten, Slices};
use std::{io, sync::Arc};
use tracing::error;

handlers![PullMessage, LitePullMessage];

const FLAG_COMMIT: i32 = 1;
const FLAG_SUSPEND: i32 = 2;
const FLAG_SUBSCRIPTION: i32 = 4;

/// How long a pull is held that did not ask for it, while an entry is made again: less than any client waits.
const SOUGHT_MS: Millis = Millis(1_000);

/// What is kept of a pull, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Kept {
    pub to: Ticket,
    pub group: GroupName,
    pub topic: TopicName,
    pub queue: QueueId,
    pub slot: QueueSlot,
    pub limits: (u32, u32),
}

/// Serves codes that carry a pull.
macro_rules! serve_pulls {
    ($($rpc:ty),*) => { $(
        impl Handle<$rpc> for Broker {
            fn handle(
                &mut self,
                call: &Call<'_>,
                request: PullRequest,
                out: &mut Out,
            ) -> Result<Reply<PullReply>, Fail> {
                self.pull(&Origin::of(call), &Pull::from(&request), out)?;
                Ok(Reply::Later)
            }
        }
    )* };
}

serve_pulls![PullMessage, LitePullMessage];

impl Broker {
    /// Answers a pull, or lets it wait.
    pub(crate) fn pull(&mut self, from: &Origin, pull: &Pull<'_>, out: &mut Out) -> Result<(), Fail> {
        let (kept, tags) = self.may_pull(from, pull, out)?;
        let read = self.read(&kept, pull.queue_offset, &tags);
        if self.store.has_met_cold() {
            // Asked again when the queue's entries are in memory.
            return Ok(());
        }
        let suspend_ms =
            pull.suspend_timeout_millis.filter(|_| pull.sys_flag & FLAG_SUSPEND != 0).unwrap_or(0);
        let may_be_held = suspend_ms > 0;
        let held = read.is_sought || read.code == code::PULL_NOT_FOUND && may_be_held;
        // Whatever the result, as long as the pull itself was in order.
        if pull.sys_flag & FLAG_COMMIT != 0
            && let Some(offset) = pull.commit_offset
        {
            self.offsets.commit(&kept.group, &kept.topic, kept.queue.0, offset);
        }
        if !held {
            self.answer_pull(from.now, kept, read, out);
            return Ok(());
        }
        let pull = hold::Pull {
            conn: from.to.conn,
            from: read.next,
            tags,
            deadline: from.now.mono + if may_be_held { self.hold_ms(suspend_ms) } else { SOUGHT_MS },
            kept,
        };
        let slot = pull.kept.slot;
        // The original would lose it and leave the client to its timeout; busy makes the client wait and retry.
        self.hold.park(slot, pull).map_err(|_| {
            Fail::busy("[OVERLOAD]system busy, start flow control for a while: too many pulls are held")
        })
    }

    fn hold_ms(&self, asked: i64) -> Millis {
        if !self.options.broker.long_polling_enable {
            return Millis(self.options.broker.short_polling_time_mills.0);
        }
        Millis(asked.min(self.options.limits.hold_ms))
    }

    /// Pulls that may have waited for an entry to be made again ask anew.
    pub(crate) fn wake_mended(&mut self, now: Now, out: &mut Out) {
        let mut woken = Vec::new();
        for slot in self.store.take_mended() {
            self.hold.on_removed(slot, &mut woken);
        }
        for pull in woken {
            self.wake(now, pull, out);
        }
    }

    /// Evaluates a pull that waited once more, and answers it whatever comes out.
    pub(crate) fn wake(&mut self, now: Now, pull: hold::Pull<Kept>, out: &mut Out) {
        let read = self.read(&pull.kept, pull.from.wire(), &pull.tags);
        self.answer_pull(now, pull.kept, read, out);
    }

    /// The checks, in the order of the wire reference, section 5.3.
    fn may_pull(&mut self, from: &Origin, pull: &Pull<'_>, out: &mut Out) -> Result<(Kept, Tags), Fail> {
        let denied = |remark: String| Fail::new(code::NO_PERMISSION, remark);
        if !self.options.readable() {
            let ip = self.options.store_host.ip();
            return Err(denied(format!("the broker[{ip}] pulling message is forbidden")));
        }
        let auto = self.options.broker.auto_create_subscription_group;
        let unknown = || {
            let first = format!("subscription group [{}] does not exist", shown(pull.consumer_group));
            hint::no_group(&first, pull.consumer_group, auto)
        };
        let group =
            self.groups.get_or_create(from.now.wall, pull.consumer_group, auto).ok_or_else(unknown)?;
        let (enabled, broadcast) = (group.consume_enable, group.consume_broadcast_enable);
        if self.groups.has_changes() {
            self.note_tables(from.now, out);
        }
        if !enabled {
            return Err(denied(format!("subscription group no permission, {}", shown(pull.consumer_group))));
        }
        let missing = || hint::no_topic(&hint::apply_first(pull.topic), pull.topic, None);
        let topic = self.topics.get(pull.topic).ok_or_else(missing)?;
        if topic.perm & PERM_READ == 0 {
            return Err(denied(format!("the topic[{}] pulling message is forbidden", pull.topic)));
        }
        let queues = topic.read_queue_nums;
        let queue = QueueId::try_from(pull.queue_id).ok().filter(|queue| queue.0 < queues);
        let queue = queue.ok_or_else(|| {
            Fail::error(format!(
                "queueId[{}] is illegal, topic:[{}] topicConfig.readQueueNums:[{queues}] consumer:[{}]",
                pull.queue_id, pull.topic, from.peer.addr
            ))
        })?;
        let name = topic.topic_name.clone();
        let tags = self.wanted(pull, broadcast)?;
        let slot = self.slot(&name, queue);
        let group = GroupName::new(pull.consumer_group).map_err(|why| Fail::error(why.to_string()))?;
        let kept = Kept { to: from.to, group, topic: name, queue, slot, limits: self.limits(pull) };
        Ok((kept, tags))
    }

    /// What the group wants of the topic: as the request says, or as the last heartbeat said.
    fn wanted(&self, pull: &Pull<'_>, broadcast: bool) -> Result<Tags, Fail> {
        let sql = || Fail::error("The broker does not support consumer to filter message by SQL92");
        if pull.sys_flag & FLAG_SUBSCRIPTION != 0 {
            if Kind::of(pull.expression_type) != Kind::Tag {
                return Err(sql());
            }
            return Tags::parse(pull.subscription.unwrap_or("*")).map_err(|why| {
                let remark = format!("parse the consumer's subscription failed: {why}");
                Fail::new(code::SUBSCRIPTION_PARSE_FAILED, remark)
            });
        }
        let none = || {
            let remark =
                format!("the consumer's subscription not exist, group {}", shown(pull.consumer_group));
            Fail::new(code::SUBSCRIPTION_NOT_EXIST, remark)
        };
        let group = self.clients.consumers(pull.consumer_group).ok_or_else(none)?;
        if !broadcast && group.model == MessageModel::Broadcasting {
            let remark = format!(
                "the consumer group[{}] can not consume by broadcast way",
                shown(pull.consumer_group)
            );
            return Err(Fail::new(code::NO_PERMISSION, remark));
        }
        let known = group.subscriptions.get(pull.topic).ok_or_else(none)?;
        if known.version < pull.sub_version.unwrap_or(0) {
            let remark =
                format!("the consumer's subscription not latest, group {}", shown(pull.consumer_group));
            return Err(Fail::new(code::SUBSCRIPTION_NOT_LATEST, remark));
        }
        if known.kind != Kind::Tag {
            return Err(sql());
        }
        Ok(known.tags.clone())
    }

    /// Messages and bytes wanted, whatever the client claims.
    fn limits(&self, pull: &Pull<'_>) -> (u32, u32) {
        let most = self.options.limits;
        let count = u32::try_from(pull.max_msg_nums).unwrap_or(0).clamp(1, most.pull_count);
        let bytes = pull.max_msg_bytes.and_then(|bytes| u32::try_from(bytes).ok()).filter(|bytes| *bytes > 0);
        (count, bytes.unwrap_or(most.pull_bytes).min(most.pull_bytes))
    }

    fn read(&self, kept: &Kept, offset: i64, tags: &Tags) -> Read {
        let Ok(from) = QueueOffset::try_from(offset) else { return below(self.store.bounds(kept.slot)) };
        let keys = &self.options.store;
        let (count, bytes) = kept.limits;
        let limits = ReadLimits {
            count: count.min(keys.max_transfer_count_on_message_in_memory.0) as usize,
            bytes: keys.max_transfer_bytes_on_message_in_memory.0.min(bytes.into()),
            cold_count: count.min(keys.max_transfer_count_on_message_in_disk.0) as usize,
            cold_bytes: keys.max_transfer_bytes_on_message_in_disk.0.min(bytes.into()),
        };
        let plan = self.store.plan(kept.slot, from, limits, &mut |tags_code| tags.accepts(tags_code));
        judged(plan, from)
    }

    fn answer_pull(&mut self, now: Now, kept: Kept, read: Read, out: &mut Out) {
        if read.code == code::PULL_OFFSET_MOVED {
            self.offset_moved(now, &kept, &read);
        }
        let fields = PullReply {
            suggest_which_broker_id: self.suggested(&kept, read.lag),
            next_begin_offset: read.next.wire(),
            min_offset: read.bounds.min.wire(),
            max_offset: read.bounds.max.wire(),
        };
        let Some(found) = read.found else {
            self.stats.on_missed();
            let remark = Some(read.status.to_owned());
            let answer = Answer { code: read.code, ext: Some(fields.to_ext()), remark, body: Vec::new() };
            return answer.send(&kept.to, out);
        };
        self.stats.on_got(&kept.topic, &kept.group, found.count, found.bytes);
        if kept.to.oneway {
            return;
        }
        let rot = Arc::clone(&self.desk.rot);
        let slices = found.slices;
        if let Some(ahead) = self.store.read_ahead(&slices) {
            out.job(BrokerJob::ReadAhead(ahead));
        }
        out.send_fill(kept.to.conn, Box::new(PullFill { kept, fields, slices, asked: now.mono, rot }));
    }

    /// The member of the broker group to ask next: with `slaveReadEnable`, readers that are far behind are sent
    /// to where they do not push the end of the log out of memory.
    fn suggested(&self, kept: &Kept, lag: u64) -> i64 {
        if !self.options.broker.slave_read_enable {
            return 0;
        }
        let far = lag > self.store.warm_bytes();
        self.groups.get(&kept.group).map_or(0, |group| match far {
            true => group.which_broker_when_consume_slowly,
            false => group.broker_id,
        })
    }

    /// Reports a pull outside its queue in the topic for that, as the original does.
    fn offset_moved(&mut self, now: Now, kept: &Kept, read: &Read) {
        let Some(topic) = self.topics.get(OFFSET_MOVED_TOPIC).map(|topic| topic.topic_name.clone()) else {
            return;
        };
        let body = serde_json::json!({
            "consumerGroup": kept.group.as_str(),
            "messageQueue": {
                "brokerName": self.options.broker.broker_name,
                "queueId": kept.queue.0,
                "topic": kept.topic.as_str(),
            },
            "offsetNew": read.next.wire(),
            "offsetRequest": read.asked,
        })
        .to_string();
        let mut properties = Vec::new();
        crate::props::push(&mut properties, "TAGS", &kept.group);
        crate::props::push(&mut properties, "KEYS", &kept.group);
        let slot = self.slot(&topic, QueueId(0));
        // The report is a courtesy; when the store refuses, its own refusals say so.
        let _ = self.append_own(now, &topic, slot, &properties, body.as_bytes());
    }
}

/// What a pull came to.
struct Read {
    status: &'static str,
    code: i32,
    asked: i64,
    next: QueueOffset,
    bounds: Bounds,
    /// Log bytes between what was looked at and the end.
    lag: u64,
    found: Option<Found>,
    /// The entry there is made again.
    is_sought: bool,
}

struct Found {
    slices: Slices,
    count: u64,
    bytes: u64,
}

/// A negative offset: below every queue.
fn below(bounds: Bounds) -> Read {
    let empty = bounds.max.0 == 0;
    Read {
        status: if empty { "NO_MESSAGE_IN_QUEUE" } else { "OFFSET_TOO_SMALL" },
        code: code::PULL_OFFSET_MOVED,
        asked: -1,
        next: bounds.min,
        bounds,
        lag: 0,
        found: None,
        is_sought: false,
    }
}

/// Status of the store to code of the answer: wire reference, section 5.4.
fn judged(plan: Plan, from: QueueOffset) -> Read {
    let (status, code) = match plan.status {
        PlanStatus::Found => ("FOUND", code::SUCCESS),
        PlanStatus::NoMatched => ("NO_MATCHED_MESSAGE", code::PULL_RETRY_IMMEDIATELY),
        PlanStatus::Removing => ("MESSAGE_WAS_REMOVING", code::PULL_RETRY_IMMEDIATELY),
        PlanStatus::Empty if from.0 == 0 => ("NO_MESSAGE_IN_QUEUE", code::PULL_NOT_FOUND),
        PlanStatus::Empty => ("NO_MESSAGE_IN_QUEUE", code::PULL_OFFSET_MOVED),
        // Whoever takes "not found" for the end of the queue must not miss what is made again.
        PlanStatus::FoundNull => ("OFFSET_FOUND_NULL", code::PULL_RETRY_IMMEDIATELY),
        PlanStatus::Overflow => ("OFFSET_OVERFLOW_ONE", code::PULL_NOT_FOUND),
        PlanStatus::OverflowBadly => ("OFFSET_OVERFLOW_BADLY", code::PULL_OFFSET_MOVED),
        PlanStatus::TooSmall => ("OFFSET_TOO_SMALL", code::PULL_OFFSET_MOVED),
    };
    let is_sought = plan.status == PlanStatus::FoundNull;
    let found = (plan.status == PlanStatus::Found).then_some(Found {
        slices: plan.slices,
        count: plan.count as u64,
        bytes: plan.bytes,
    });
    let (next, bounds, lag) = (plan.next, plan.bounds, plan.lag);
    Read { status, code, asked: from.wire(), next, bounds, lag, found, is_sought }
}

/// A pull answer whose records are still in the log.
#[derive(Debug)]
struct PullFill {
    kept: Kept,
    fields: PullReply,
    slices: Slices,
    /// When it was asked for, monotonic.
    asked: Millis,
    rot: Arc<Rot>,
}

impl PullFill {
    /// Header and records; nothing stays in `out` unless `read` needed no device that it may not wait for.
    fn write(
        &self,
        out: &mut Vec<u8>,
        read: impl FnOnce(&Slices, &mut Vec<u8>) -> io::Result<Filled>,
    ) -> io::Result<bool> {
        let start = out.len();
        let body = usize::try_from(self.slices.total_len()).map_err(|_| io::ErrorKind::InvalidData)?;
        out.reserve(body + 320);
        self.write_header(&self.fields, body, out);
        let at = out.len();
        let result = match read(&self.slices, out) {
            Ok(Filled::All) if out.len() - at != body => Err(io::ErrorKind::UnexpectedEof.into()),
            result => result,
        };
        let good = match result {
            Ok(Filled::All) => return Ok(true),
            Ok(Filled::Until(rotten)) => Ok(Some((rotten, out.split_off(at)))),
            Ok(Filled::NotCached) => Ok(None),
            Err(why) => Err(why),
        };
        out.truncate(start);
        let Some((rotten, good)) = good? else { return Ok(false) };
        self.write_before(&rotten, &good, out);
        Ok(true)
    }

    fn write_header(&self, fields: &PullReply, body: usize, out: &mut Vec<u8>) {
        let to = &self.kept.to;
        scan::answer::write_pulled(to.codec, code::SUCCESS, to.opaque, fields, body, out);
    }

    /// What stands before a message that is not where its queue says. When it is the first, nothing; and behind one
    /// that is lost the consumer is sent on: it would ask for it for ever. Any other is to be asked for again.
    fn write_before(&self, rotten: &Rotten, good: &[u8], out: &mut Vec<u8>) {
        if good.is_empty() {
            let (next, remark) = match rotten.is_lost {
                true => (rotten.offset + 1, "MESSAGE_WAS_REMOVING"),
                false => (rotten.offset, "OFFSET_FOUND_NULL"),
            };
            if rotten.is_lost {
                self.report(rotten);
            }
            let fields = PullReply { next_begin_offset: next.wire(), ..self.fields.clone() };
            let (code, remark) = (code::PULL_RETRY_IMMEDIATELY, Some(remark.to_owned()));
            let answer = Answer { code, ext: Some(fields.to_ext()), remark, body: Vec::new() };
            return answer.write(&self.kept.to, out);
        }
        let fields = PullReply { next_begin_offset: rotten.offset.wire(), ..self.fields.clone() };
        self.write_header(&fields, good.len(), out);
        out.extend_from_slice(good);
    }

    fn report(&self, rotten: &Rotten) {
        if self.rot.pass_over(self.asked, rotten.at.0) {
            error!(
                topic = %self.kept.topic,
                queue = self.kept.queue.0,
                offset = rotten.offset.0,
                at = rotten.at.0,
                group = %self.kept.group,
                "a message is damaged on the disk and lost: consumers go on behind it; look at the disk, and run \
                 store verify"
            );
        }
    }
}

impl Fill for PullFill {
    fn is_cold(&self) -> bool {
        self.slices.is_cold()
    }

    fn try_fill(&self, out: &mut Vec<u8>) -> io::Result<bool> {
        self.write(out, Slices::fill_cached)
    }

    fn fill(&self, out: &mut Vec<u8>) -> io::Result<()> {
        self.write(out, Slices::fill).map(drop)
    }

    fn failed(&self, why: &io::Error, out: &mut Vec<u8>) {
        let remark = format!("store getMessage return null: the log cannot be read: {why}");
        answer::Answer::from(Fail::error(remark)).write(&self.kept.to, out);
    }
}
