//! A producer: one send at a time per queue, the same message again until it is stored.
//!
//! An answer that never came says nothing: the message is sent again, and may stand in the log twice.

use super::{
    Client, Ctx, Phase, Received,
    session::{Event, Session},
};
use crate::{
    options::Options,
    oracle::{Ack, Sent},
};
use kerolox_net::ConnId;
use kerolox_protocol::{
    batch, code,
    frame::Codec,
    msgid,
    properties::Builder,
    record,
    rpc::produce::{SendBatchMessage, SendMessage, SendMessageV2, SendReply, SendRequest},
};

/// A message under way: possibly several, as a batch.
#[derive(Debug, Clone)]
struct Current {
    ids: Vec<String>,
    body: Vec<u8>,
    properties: String,
    long_header: bool,
    waiting: bool,
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
    session: Session<usize>,
    lanes: Vec<Lane>,
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
            refusal: None,
        }
    }

    fn make(&mut self, ctx: &mut Ctx<'_>, at: usize) {
        let probe = ctx.phase == Phase::Probe;
        let Some(lane) = self.lanes.get_mut(at) else { return };
        let batch = !probe && ctx.random.chance(self.options.batches);
        let delayed = !probe && !batch && ctx.random.chance(self.options.delayed);
        let level = delayed.then(|| 1 + usize::try_from(ctx.random.below(2)).unwrap_or(0));
        let n = if batch { 2 + ctx.random.below(4) } else { 1 };
        let mut current = Current {
            ids: Vec::new(),
            body: Vec::new(),
            properties: String::new(),
            long_header: ctx.random.chance(30),
            waiting: false,
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
                seen_ms: None,
                probe,
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
            sys_flag: 0,
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
            session.call::<SendBatchMessage>(ctx, &request.into(), &body, at, 0)
        } else if current.long_header {
            session.call::<SendMessage>(ctx, &request, &body, at, 0)
        } else {
            session.call::<SendMessageV2>(ctx, &request.into(), &body, at, 0)
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
                    ctx.oracle.acked(
                        id,
                        Ack { at: at.0, ms: now, promised, stale: ctx.stale },
                        offset,
                        asked,
                    );
                }
                None => ctx.oracle.violated("wire", format!("no message id: {}", reply.msg_id)),
            }
        }
    }

    fn lost(&mut self) {
        for current in self.lanes.iter_mut().filter_map(|lane| lane.current.as_mut()) {
            current.waiting = false;
        }
    }
}

impl Client for Producer {
    fn frame(&mut self, ctx: &mut Ctx<'_>, conn: ConnId, frame: &Received) {
        if let Event::Answer(lane, asked) = self.session.received(ctx, conn, frame) {
            self.answered(ctx, lane, asked, frame);
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
        self.lanes.iter().all(|lane| lane.current.is_none())
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
