//! A consumer of a group: shares the queues with the others, pulls each with a long poll, commits.
//!
//! It believes nothing: every record is handed to the oracle, and offsets must come one after another.

use super::{
    Client, Ctx, Phase, Received,
    producer::topic_name,
    session::{Event, Session},
};
use crate::{options::Options, oracle::Seen};
use kerolox_net::ConnId;
use kerolox_protocol::{
    body::{self, ConsumerData, HeartbeatData, SubscriptionData, group::ConsumerList},
    code,
    frame::Codec,
    properties, record,
    rpc::{
        client::{ConsumerGroupRef, GetConsumerListByGroup, HeartBeat},
        consume::{ConsumerSendMsgBack, PullMessage, PullReply, PullRequest, SendBackRequest},
        offset::{
            OffsetReply, QueryConsumerOffset, QueryOffsetRequest, UpdateConsumerOffset, UpdateOffsetRequest,
        },
    },
};
use std::collections::BTreeMap;

/// The group.
pub const GROUP: &str = "Readers";
/// Who reads everything once more.
const AUDITORS: &str = "Auditors";
/// Where what it gave back comes again.
pub const RETRY: &str = "%RETRY%Readers";
const BEAT_MS: i64 = 2_000;
const REBALANCE_MS: i64 = 5_000;
const COMMIT_MS: i64 = 1_000;
const PULL_MAX: i32 = 16;
/// A code 40 of the broker: the group changed.
const NOTIFIED: i32 = 40;

type Queue = (String, i32);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Call {
    Beat,
    List,
    Offset(Queue),
    Pull(Queue, i64),
    Commit,
    Back(String),
}

#[derive(Debug, Default)]
struct Reading {
    /// Next offset; unknown until the broker says where the group stands.
    next: Option<i64>,
    committed: i64,
    /// A call about it is under way.
    busy: bool,
    not_before: i64,
}

/// A message on its way back to the broker.
#[derive(Debug)]
struct Back {
    at: i64,
    asked: bool,
    tries: u32,
}

/// A consumer.
#[derive(Debug)]
pub struct Consumer {
    group: &'static str,
    /// Share of messages that it gives back, percent.
    gives_back: u64,
    backs: BTreeMap<String, Back>,
    id: String,
    suspend_ms: i64,
    work_ms: i64,
    all: Vec<Queue>,
    session: Session<Call>,
    reading: BTreeMap<Queue, Reading>,
    /// Connection on which the group knows it.
    known_on: Option<ConnId>,
    beat_at: i64,
    list_at: i64,
    commit_at: i64,
    /// The queues were shared out on this connection.
    shared: bool,
    /// The last refusal.
    refusal: Option<String>,
}

impl Consumer {
    /// A consumer of all topics.
    pub fn new(number: usize, codec: Codec, options: &Options) -> Consumer {
        let queues = 0..i32::try_from(options.queues).unwrap_or(1);
        let all =
            (0..options.topics).flat_map(|topic| queues.clone().map(move |queue| (topic_name(topic), queue)));
        Consumer {
            group: GROUP,
            gives_back: options.gives_back,
            backs: BTreeMap::new(),
            id: format!("10.0.1.{number}@{number}"),
            suspend_ms: options.suspend_ms,
            work_ms: options.work_ms,
            all: all.chain([(RETRY.to_owned(), 0)]).collect(),
            session: Session::new(codec, &topic_name(0), options.namesrvs),
            reading: BTreeMap::new(),
            known_on: None,
            beat_at: 0,
            list_at: 0,
            commit_at: 0,
            shared: false,
            refusal: None,
        }
    }

    /// One of a group of its own, which has read nothing yet.
    pub fn auditor(number: usize, options: &Options) -> Consumer {
        let mut auditor = Consumer::new(number, Codec::Json, options);
        auditor.group = AUDITORS;
        auditor.gives_back = 0;
        auditor.all.retain(|(topic, _)| topic != RETRY);
        auditor
    }

    fn topics(&self) -> Vec<String> {
        let mut topics: Vec<String> = self.all.iter().map(|(topic, _)| topic.clone()).collect();
        topics.dedup();
        topics
    }

    fn beat(&mut self, ctx: &mut Ctx<'_>) {
        let subscription = |topic: String| SubscriptionData {
            topic,
            sub_string: "*".to_owned(),
            sub_version: 1,
            ..SubscriptionData::default()
        };
        let consumer = ConsumerData {
            group_name: self.group.to_owned(),
            subscription_data_set: self.topics().into_iter().map(subscription).collect(),
            ..ConsumerData::default()
        };
        let data = HeartbeatData {
            client_id: self.id.clone(),
            consumer_data_set: vec![consumer],
            ..Default::default()
        };
        let bytes = body::encode(&data);
        self.session.call::<HeartBeat>(ctx, &(), &bytes, Call::Beat, 0);
    }

    fn list(&mut self, ctx: &mut Ctx<'_>) {
        let request = ConsumerGroupRef { consumer_group: self.group.to_owned() };
        self.session.call::<GetConsumerListByGroup>(ctx, &request, b"", Call::List, 0);
    }

    /// Shares the queues out: every member comes to the same result.
    fn rebalance(&mut self, ctx: &mut Ctx<'_>, mut members: Vec<String>) {
        members.sort();
        let Some(me) = members.iter().position(|member| *member == self.id) else { return };
        self.shared = true;
        let mine = |at: usize| at % members.len() == me;
        for (at, queue) in self.all.clone().into_iter().enumerate() {
            if mine(at) {
                self.reading.entry(queue).or_default();
            } else if self.reading.contains_key(&queue) {
                self.commit(ctx, &queue);
                self.reading.remove(&queue);
            }
        }
    }

    fn commit(&mut self, ctx: &mut Ctx<'_>, queue: &Queue) {
        let Some(reading) = self.reading.get_mut(queue) else { return };
        let Some(next) = reading.next.filter(|next| *next != reading.committed) else { return };
        let request = UpdateOffsetRequest {
            consumer_group: self.group.to_owned(),
            topic: queue.0.clone(),
            queue_id: queue.1,
            commit_offset: next,
        };
        if self.session.call::<UpdateConsumerOffset>(ctx, &request, b"", Call::Commit, 0) {
            reading.committed = next;
        }
    }

    fn go_on(&mut self, ctx: &mut Ctx<'_>, queue: &Queue) {
        let Some(reading) = self.reading.get_mut(queue) else { return };
        if reading.busy || reading.not_before > ctx.now.mono.0 {
            return;
        }
        let (topic, queue_id) = queue.clone();
        let called = match reading.next {
            None => {
                let request = QueryOffsetRequest {
                    consumer_group: self.group.to_owned(),
                    topic,
                    queue_id,
                    set_zero_if_not_found: None,
                };
                self.session.call::<QueryConsumerOffset>(ctx, &request, b"", Call::Offset(queue.clone()), 0)
            }
            Some(next) => {
                // Flags: may be held, carries a subscription; sometimes commits on the way.
                let commits = ctx.random.chance(30);
                let request = PullRequest {
                    consumer_group: self.group.to_owned(),
                    topic,
                    queue_id,
                    queue_offset: next,
                    max_msg_nums: PULL_MAX,
                    sys_flag: if commits { 1 | 2 | 4 } else { 2 | 4 },
                    commit_offset: Some(if commits { next } else { 0 }),
                    suspend_timeout_millis: Some(self.suspend_ms),
                    subscription: Some("*".to_owned()),
                    sub_version: Some(1),
                    expression_type: Some("TAG".to_owned()),
                    max_msg_bytes: None,
                };
                let call = Call::Pull(queue.clone(), next);
                self.session.call::<PullMessage>(ctx, &request, b"", call, self.suspend_ms)
            }
        };
        reading.busy = called;
    }

    fn answered(&mut self, ctx: &mut Ctx<'_>, call: Call, frame: &Received) {
        if frame.header.code != code::SUCCESS {
            self.refusal = Some(format!("{call:?}: {} {:?}", frame.header.code, frame.header.remark));
        }
        match call {
            Call::Beat => self.known_on = self.session.conn(),
            Call::Commit => {}
            Call::Back(id) => self.on_back(ctx, &id, frame),
            Call::List => {
                if frame.header.code == code::SUCCESS
                    && let Ok(list) = body::decode::<ConsumerList>(&frame.body)
                {
                    self.rebalance(ctx, list.consumer_id_list);
                }
            }
            Call::Offset(queue) => self.on_offset(ctx, &queue, frame),
            Call::Pull(queue, from) => self.on_pull(ctx, &queue, from, frame),
        }
    }

    /// Gives messages back that could not be worked on.
    fn give_back(&mut self, ctx: &mut Ctx<'_>) {
        for (id, back) in self.backs.iter_mut().filter(|(_, back)| !back.asked) {
            let request = SendBackRequest {
                offset: back.at,
                group: GROUP.to_owned(),
                delay_level: 1,
                origin_msg_id: Some(id.clone()),
                origin_topic: None,
                unit_mode: None,
                max_reconsume_times: Some(16),
            };
            let call = Call::Back(id.clone());
            back.asked = self.session.call::<ConsumerSendMsgBack>(ctx, &request, b"", call, 0);
            if back.asked {
                back.tries += 1;
                ctx.oracle.given_back(id);
            }
        }
    }

    fn on_back(&mut self, ctx: &mut Ctx<'_>, id: &str, frame: &Received) {
        let Some(back) = self.backs.get_mut(id) else { return };
        if frame.header.code == code::SUCCESS {
            ctx.oracle.back_acked(id, ctx.life);
        } else if back.tries < 5 {
            back.asked = false;
            return;
        }
        self.backs.remove(id);
    }

    fn on_offset(&mut self, ctx: &mut Ctx<'_>, queue: &Queue, frame: &Received) {
        let Some(reading) = self.reading.get_mut(queue) else { return };
        reading.busy = false;
        match (frame.header.code, frame.header.fields::<OffsetReply>()) {
            (code::SUCCESS, Ok(reply)) => {
                reading.next = Some(reply.offset);
                reading.committed = reply.offset;
            }
            (code::QUERY_NOT_FOUND, _) => reading.next = Some(0),
            _ => reading.not_before = ctx.ms() + 300,
        }
        self.go_on(ctx, queue);
    }

    fn on_pull(&mut self, ctx: &mut Ctx<'_>, queue: &Queue, from: i64, frame: &Received) {
        let Some(reading) = self.reading.get_mut(queue) else { return };
        reading.busy = false;
        if reading.next != Some(from) {
            return;
        }
        let reply = frame.header.fields::<PullReply>();
        match (frame.header.code, reply) {
            (code::SUCCESS, Ok(reply)) => {
                let mut places = Vec::new();
                let audits = self.group == AUDITORS;
                let next = read(ctx, queue, from, audits, &frame.body, &mut places);
                for (id, at) in places.into_iter().filter(|_| queue.0 != RETRY) {
                    if ctx.phase == Phase::Storm && self.gives_back > 0 && ctx.random.chance(self.gives_back)
                    {
                        self.backs.insert(id, Back { at, asked: false, tries: 0 });
                    }
                }
                passed(ctx, queue, next, reply.next_begin_offset);
                reading.next = Some(reply.next_begin_offset);
                if ctx.phase == Phase::Storm && self.work_ms > 0 {
                    reading.not_before = ctx.ms() + ctx.random.between(0, self.work_ms);
                }
            }
            (code::PULL_NOT_FOUND | code::PULL_RETRY_IMMEDIATELY, Ok(reply)) => {
                passed(ctx, queue, from, reply.next_begin_offset);
                reading.next = Some(reply.next_begin_offset);
            }
            (code::PULL_OFFSET_MOVED, Ok(reply)) => {
                ctx.oracle.happened("offset moved");
                // It may stand behind the end that a power cut left, or before what was deleted.
                if reply.next_begin_offset > from {
                    passed(ctx, queue, from, reply.next_begin_offset);
                }
                reading.next = Some(reply.next_begin_offset);
            }
            _ => reading.not_before = ctx.ms() + 300,
        }
        self.go_on(ctx, queue);
    }

    fn lost(&mut self) {
        // Whoever answers next may have another record at those places.
        self.backs.clear();
        self.known_on = None;
        self.shared = false;
        self.reading.values_mut().for_each(|reading| reading.busy = false);
    }
}

/// A pull for everything may skip nothing that is there.
fn passed(ctx: &mut Ctx<'_>, queue: &Queue, from: i64, to: i64) {
    if to < from {
        ctx.oracle.gap(&(queue.0.clone(), queue.1, to), from);
    } else if to > from && !ctx.oracle.has_ended(ctx.life) {
        ctx.oracle.skipped(&queue.0, queue.1, from, to);
    }
}

/// Hands the records of a pull to the oracle; the offset after the last.
fn read(
    ctx: &mut Ctx<'_>,
    queue: &Queue,
    from: i64,
    audits: bool,
    bytes: &[u8],
    places: &mut Vec<(String, i64)>,
) -> i64 {
    let mut next = from;
    for record in record::parse_all(bytes) {
        let Ok(record) = record else {
            ctx.oracle.violated("I2", format!("{queue:?} at {next}: a record that cannot be read"));
            break;
        };
        let place = (record.topic.to_owned(), record.queue_id, record.queue_offset);
        if record.queue_offset < next || (record.topic, record.queue_id) != (queue.0.as_str(), queue.1) {
            ctx.oracle.gap(&place, next);
        }
        passed(ctx, queue, next, record.queue_offset.max(next));
        let id = properties::get_str(record.properties, "UNIQ_KEY").unwrap_or("?");
        let at = u64::try_from(record.physical_offset).unwrap_or(0);
        let (crc, is_sound) = (record::crc(record.body), record.crc_matches());
        let seen = Seen { place, id, at, crc, is_sound, life: ctx.life };
        match audits {
            true => ctx.oracle.audited(&seen, ctx.now.mono.0),
            false => ctx.oracle.seen(&seen, ctx.now.mono.0),
        }
        places.push((id.to_owned(), record.physical_offset));
        next = record.queue_offset + 1;
    }
    next
}

impl Client for Consumer {
    fn frame(&mut self, ctx: &mut Ctx<'_>, conn: ConnId, frame: &Received) {
        match self.session.received(ctx, conn, frame) {
            Event::Answer(call, _) => self.answered(ctx, call, frame),
            Event::Request if frame.header.code == NOTIFIED => {
                ctx.oracle.happened("consumer notified");
                self.list(ctx);
            }
            Event::Request | Event::Nothing => {}
        }
    }

    fn down(&mut self, ctx: &mut Ctx<'_>, conn: ConnId) {
        if self.session.down(ctx, conn) {
            self.lost();
        }
    }

    fn tick(&mut self, ctx: &mut Ctx<'_>) {
        if self.session.tick(ctx) {
            self.lost();
        }
        if !self.session.is_up() {
            return;
        }
        let now = ctx.ms();
        let new = self.known_on != self.session.conn();
        let beats = self.session.pending().any(|call| *call == Call::Beat);
        if now >= self.beat_at || new && !beats {
            self.beat_at = now + BEAT_MS;
            self.beat(ctx);
        }
        if new {
            return;
        }
        let lists = self.session.pending().any(|call| *call == Call::List);
        if !lists && (now >= self.list_at || !self.shared) {
            self.list_at = now + REBALANCE_MS;
            self.list(ctx);
        }
        let queues: Vec<Queue> = self.reading.keys().cloned().collect();
        if now >= self.commit_at {
            self.commit_at = now + COMMIT_MS;
            queues.iter().for_each(|queue| self.commit(ctx, queue));
        }
        queues.iter().for_each(|queue| self.go_on(ctx, queue));
        self.give_back(ctx);
    }

    fn is_idle(&self) -> bool {
        self.backs.is_empty()
    }

    fn is_waiting(&self) -> bool {
        self.shared
            && self.reading.values().all(|reading| reading.busy && reading.next.is_some())
            && self.backs.is_empty()
            && self.known_on.is_some()
    }

    fn describe(&self) -> String {
        format!(
            "consumer {}: {}, reads {:?}, refused {:?}",
            self.id,
            self.session.describe(),
            self.reading,
            self.refusal
        )
    }
}
