//! A producer: one send at a time per queue, the same message again until it is stored.
//!
//! An answer that never came says nothing: the message is sent again, and may stand in the log twice.

use super::{
    Client, Ctx, Phase, Received,
    session::{Event, Session},
};
use crate::{
    options::{Mode, Options},
    oracle::{Ack, Back, Half, Sent},
};
use kerolox_net::ConnId;
use kerolox_protocol::{
    batch, code,
    frame::Codec,
    msgid,
    properties::Builder,
    record,
    rpc::{
        produce::{SendBatchMessage, SendMessage, SendMessageV2, SendReply, SendRequest},
        transaction::{EndTransaction, EndTransactionRequest},
    },
};
use std::collections::BTreeMap;

/// Flag of a half, and what becomes of it.
const PREPARED: i32 = 4;
const COMMIT: i32 = 8;
const ROLLBACK: i32 = 12;

/// A message under way: possibly several, as a batch.
#[derive(Debug, Clone)]
struct Current {
    ids: Vec<String>,
    body: Vec<u8>,
    properties: String,
    long_header: bool,
    waiting: bool,
    /// It is sent in a transaction, which will be committed or not.
    half: Option<bool>,
}

/// A transaction to be ended.
#[derive(Debug, Clone)]
struct Ending {
    at: i64,
    offset: i64,
    commit: bool,
    not_before: i64,
    waiting: bool,
    tries: u32,
}

/// What was asked.
#[derive(Debug)]
enum Call {
    /// To store what the lane has.
    Send(usize),
    /// To end the transaction of a message.
    End(String),
}

#[derive(Debug)]
struct Lane {
    topic: String,
    queue: i32,
    made: u64,
    current: Option<Current>,
    not_before: i64,
    probed: bool,
}

/// A producer.
#[derive(Debug)]
pub struct Producer {
    number: usize,
    options: Options,
    session: Session<Call>,
    lanes: Vec<Lane>,
    endings: BTreeMap<String, Ending>,
    /// The last refusal.
    refusal: Option<String>,
}

impl Producer {
    /// A producer that writes to all queues of all topics.
    pub fn new(number: usize, codec: Codec, options: &Options) -> Producer {
        let mut lanes = Vec::new();
        for topic in 0..options.topics {
            for queue in 0..options.queues {
                lanes.push(Lane {
                    topic: topic_name(topic),
                    queue: i32::try_from(queue).unwrap_or(0),
                    made: 0,
                    current: None,
                    not_before: if topic == 0 { 0 } else { options.topics_until_ms },
                    probed: false,
                });
            }
        }
        Producer {
            number,
            options: options.clone(),
            session: Session::new(codec, &topic_name(0), options.namesrvs),
            lanes,
            endings: BTreeMap::new(),
            refusal: None,
        }
    }

    fn make(&mut self, ctx: &mut Ctx<'_>, at: usize) {
        let probe = ctx.phase == Phase::Probe;
        let Some(lane) = self.lanes.get_mut(at) else { return };
        let batch = !probe && ctx.random.chance(self.options.batches);
        let delayed = !probe && !batch && ctx.random.chance(self.options.delayed);
        let level = delayed.then(|| 1 + usize::try_from(ctx.random.below(2)).unwrap_or(0));
        let half = !probe && !batch && !delayed && chance(ctx, self.options.transactions);
        let commit = half && ctx.random.chance(60);
        let n = if batch { 2 + ctx.random.below(4) } else { 1 };
        let mut current = Current {
            ids: Vec::new(),
            body: Vec::new(),
            properties: String::new(),
            long_header: ctx.random.chance(30),
            waiting: false,
            half: half.then_some(commit),
        };
        for _ in 0..n {
            lane.made += 1;
            let id = format!("p{}.{}.{}.{}", self.number, lane.topic, lane.queue, lane.made);
            let body = body(&id, ctx.random.below(self.options.body_max + 1));
            let sent = Sent {
                producer: self.number,
                n: lane.made,
                topic: lane.topic.clone(),
                queue: lane.queue,
                level,
                crc: record::crc(&body),
                attempts: 0,
                ack: None,
                lost: false,
                deleted: false,
                seen_ms: None,
                probe,
                half: half.then(|| Half { commit, ..Half::default() }),
                back: Back::default(),
                rotten: false,
            };
            ctx.oracle.made(id.clone(), sent);
            let level = level.map(|level| level.to_string()).unwrap_or_default();
            let tags = format!("tag{}", lane.made % 3);
            // One key of its own kind, one that every seventh message has.
            let keys = match lane.made % 3 {
                0 => String::new(),
                1 => format!("k{}", lane.made % 7),
                _ => format!("order-{id} k{}", lane.made % 7),
            };
            let properties = Builder::default()
                .set("UNIQ_KEY", &id)
                .set("TAGS", tags)
                .set("KEYS", keys)
                .set("DELAY", level)
                .set("TRAN_MSG", if half { "true" } else { "" })
                .set("PGROUP", if half { format!("PG{}", self.number) } else { String::new() })
                .build();
            if batch {
                batch::push(
                    &mut current.body,
                    &batch::Item { flag: 0, body: &body, properties: &properties },
                );
            } else {
                current.body = body;
                current.properties = String::from_utf8_lossy(&properties).into_owned();
            }
            current.ids.push(id);
        }
        lane.current = Some(current);
    }

    fn send(&mut self, ctx: &mut Ctx<'_>, at: usize) {
        let Some(lane) = self.lanes.get_mut(at) else { return };
        let Some(current) = &mut lane.current else { return };
        let batch = current.ids.len() > 1;
        let request = SendRequest {
            producer_group: format!("PG{}", self.number),
            topic: lane.topic.clone(),
            default_topic: "TBW102".to_owned(),
            default_topic_queue_nums: i32::try_from(self.options.queues).unwrap_or(1),
            queue_id: lane.queue,
            sys_flag: if current.half.is_some() { PREPARED } else { 0 },
            born_timestamp: ctx.now.wall.0,
            flag: 0,
            properties: Some(current.properties.clone()),
            reconsume_times: Some(0),
            unit_mode: Some(false),
            max_reconsume_times: None,
            batch: Some(batch),
        };
        let body = current.body.clone();
        let session = &mut self.session;
        let called = if batch {
            session.call::<SendBatchMessage>(ctx, &request.into(), &body, Call::Send(at), 0)
        } else if current.long_header {
            session.call::<SendMessage>(ctx, &request, &body, Call::Send(at), 0)
        } else {
            session.call::<SendMessageV2>(ctx, &request.into(), &body, Call::Send(at), 0)
        };
        if called {
            current.waiting = true;
            current.ids.iter().for_each(|id| ctx.oracle.attempt(id));
        }
    }

    fn answered(&mut self, ctx: &mut Ctx<'_>, at: usize, asked: i64, frame: &Received) {
        let Some(lane) = self.lanes.get_mut(at) else { return };
        let Some(mut current) = lane.current.take() else { return };
        let now = ctx.ms();
        let stored = matches!(frame.header.code, code::SUCCESS | code::FLUSH_DISK_TIMEOUT);
        if !stored {
            ctx.oracle.refused(frame.header.remark.as_deref().unwrap_or(""), asked);
            self.refusal = frame.header.remark.clone();
            current.waiting = false;
            lane.current = Some(current);
            lane.not_before = now + ctx.random.between(50, 400);
            return;
        }
        lane.not_before = now + ctx.random.between(0, self.options.think_ms);
        let Ok(reply) = frame.header.fields::<SendReply>() else {
            return ctx.oracle.violated("wire", "an answer to a send that cannot be read");
        };
        let places: Vec<_> = reply.msg_id.split(',').map(msgid::parse).collect();
        if places.len() != current.ids.len() {
            let text = format!("{} messages, ids {}", current.ids.len(), reply.msg_id);
            return ctx.oracle.violated("wire", text);
        }
        let promised = frame.header.code == code::SUCCESS;
        for ((id, place), offset) in current.ids.iter().zip(places).zip(reply.queue_offset..) {
            match place {
                Some((_, at)) => {
                    if let Some(commit) = current.half {
                        let not_before = now + ctx.random.between(0, 2_000);
                        let at = at.wire();
                        let ending = Ending { at, offset, commit, not_before, waiting: false, tries: 0 };
                        self.endings.insert(id.clone(), ending);
                    }
                    ctx.oracle.acked(id, Ack { at: at.0, ms: now, promised, life: ctx.life }, offset, asked);
                }
                None => ctx.oracle.violated("wire", format!("no message id: {}", reply.msg_id)),
            }
        }
    }

    fn end(&mut self, ctx: &mut Ctx<'_>) {
        let now = ctx.ms();
        for (id, ending) in &mut self.endings {
            if ending.waiting || ending.not_before > now {
                continue;
            }
            let request = EndTransactionRequest {
                producer_group: format!("PG{}", self.number),
                tran_state_table_offset: ending.offset,
                commit_log_offset: ending.at,
                commit_or_rollback: if ending.commit { COMMIT } else { ROLLBACK },
                from_transaction_check: None,
                msg_id: Some(id.clone()),
                transaction_id: None,
            };
            ending.waiting =
                self.session.call::<EndTransaction>(ctx, &request, b"", Call::End(id.clone()), 0);
            if ending.waiting {
                ending.tries += 1;
                ctx.oracle.told(id);
            }
        }
    }

    fn on_end(&mut self, ctx: &mut Ctx<'_>, id: &str, frame: &Received) {
        let Some(ending) = self.endings.get_mut(id) else { return };
        if frame.header.code == code::SUCCESS {
            ctx.oracle.ended(id, ctx.life);
        } else if ending.tries < 5 {
            ending.waiting = false;
            ending.not_before = ctx.ms() + 300;
            return;
        }
        self.endings.remove(id);
    }

    fn lost(&mut self) {
        // After a power cut another half may stand at that place.
        if self.options.mode == Mode::Async {
            self.endings.clear();
        }
        self.endings.values_mut().for_each(|ending| ending.waiting = false);
        for current in self.lanes.iter_mut().filter_map(|lane| lane.current.as_mut()) {
            current.waiting = false;
        }
    }
}

impl Client for Producer {
    fn frame(&mut self, ctx: &mut Ctx<'_>, conn: ConnId, frame: &Received) {
        match self.session.received(ctx, conn, frame) {
            Event::Answer(Call::Send(lane), asked) => self.answered(ctx, lane, asked, frame),
            Event::Answer(Call::End(id), _) => self.on_end(ctx, &id, frame),
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
        self.end(ctx);
        for at in 0..self.lanes.len() {
            let Some(lane) = self.lanes.get_mut(at) else { continue };
            if lane.not_before > ctx.now.mono.0 {
                continue;
            }
            if lane.current.is_none() {
                let wanted = match ctx.phase {
                    Phase::Storm => true,
                    // A topic comes to be by its first message.
                    Phase::Settle => lane.made == 0,
                    Phase::Probe => !std::mem::replace(&mut lane.probed, true),
                };
                if wanted {
                    self.make(ctx, at);
                }
            }
            let ready = |lane: &Lane| lane.current.as_ref().is_some_and(|current| !current.waiting);
            if self.lanes.get(at).is_some_and(ready) {
                self.send(ctx, at);
            }
        }
    }

    fn is_idle(&self) -> bool {
        self.lanes.iter().all(|lane| lane.current.is_none()) && self.endings.is_empty()
    }

    fn is_waiting(&self) -> bool {
        true
    }

    fn describe(&self) -> String {
        let busy: Vec<_> = self
            .lanes
            .iter()
            .filter_map(|lane| lane.current.as_ref().map(|at| (&at.ids, at.waiting)))
            .collect();
        format!(
            "producer {}: {}, under way {busy:?}, refused {:?}",
            self.number,
            self.session.describe(),
            self.refusal
        )
    }
}

/// Draws nothing where there is nothing to draw, so that a run without such messages stays as it is.
fn chance(ctx: &mut Ctx<'_>, percent: u64) -> bool {
    percent > 0 && ctx.random.chance(percent)
}

/// Name of a topic by its number.
pub fn topic_name(n: usize) -> String {
    format!("Topic{n}")
}

/// A body that only this message has, of about `len` bytes.
fn body(id: &str, len: u64) -> Vec<u8> {
    let mut body = id.as_bytes().to_vec();
    let filler = id.bytes().cycle().map(|byte| byte ^ 0x55);
    body.extend(filler.take(usize::try_from(len).unwrap_or(0)));
    body
}
