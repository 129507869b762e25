//! A client of an orderly group: gets locks of queues, keeps them for a while, gives them back.
//!
//! It reads nothing. What matters is what it believes: a lock counts from the moment it was asked for, for half a
//! minute, unless it was given back or refused.

use super::{
    Client, Ctx, Phase, Received,
    producer::topic_name,
    session::{Event, Session},
};
use crate::options::Options;
use kerolox_net::ConnId;
use kerolox_protocol::{
    body::{
        self, MessageQueue,
        queue::{LockBatchRequest, LockBatchResponse},
    },
    code,
    frame::Codec,
    rpc::client::{LockBatchMq, UnlockBatchMq},
};
use std::collections::BTreeSet;

const GROUP: &str = "Orderly";
const BROKER_NAME: &str = "sim";
/// So long a client trusts a lock.
const TRUST_MS: i64 = 30_000;
const RENEW_MS: i64 = 3_000;

/// A holder of locks.
#[derive(Debug)]
pub struct Holder {
    id: String,
    queues: Vec<i32>,
    session: Session<bool>,
    held: BTreeSet<i32>,
    /// Asks for locks until then, then gives them back.
    until: i64,
    not_before: i64,
}

impl Holder {
    /// One that wants all queues of the first topic.
    pub fn new(number: usize, codec: Codec, options: &Options) -> Holder {
        Holder {
            id: format!("10.0.2.{number}@{number}"),
            queues: (0..i32::try_from(options.queues).unwrap_or(1)).collect(),
            session: Session::new(codec, &topic_name(0), options.namesrvs),
            held: BTreeSet::new(),
            until: 0,
            not_before: 0,
        }
    }

    fn request(&self, queues: impl Iterator<Item = i32>) -> Vec<u8> {
        let queue =
            |queue_id| MessageQueue { topic: topic_name(0), broker_name: BROKER_NAME.to_owned(), queue_id };
        body::encode(&LockBatchRequest {
            client_id: self.id.clone(),
            consumer_group: GROUP.to_owned(),
            mq_set: queues.map(queue).collect(),
        })
    }

    fn answered(&mut self, ctx: &mut Ctx<'_>, asked: i64, frame: &Received) {
        if frame.header.code != code::SUCCESS {
            return;
        }
        let Ok(answer) = body::decode::<LockBatchResponse>(&frame.body) else {
            return ctx.oracle.violated("wire", "an answer to a lock that cannot be read");
        };
        let granted: BTreeSet<i32> = answer.lock_ok_mq_set.iter().map(|queue| queue.queue_id).collect();
        for queue in self.held.difference(&granted) {
            ctx.oracle.unlocked(*queue, &self.id);
        }
        for queue in &granted {
            ctx.oracle.locked(*queue, &self.id, asked + TRUST_MS, (ctx.now.mono.0, ctx.life));
        }
        self.held = granted;
    }

    fn give_back(&mut self, ctx: &mut Ctx<'_>) {
        let bytes = self.request(self.held.iter().copied());
        if self.session.call::<UnlockBatchMq>(ctx, &(), &bytes, false, 0) {
            for queue in std::mem::take(&mut self.held) {
                ctx.oracle.unlocked(queue, &self.id);
            }
            self.until = 0;
        }
    }

    fn lost(&mut self, ctx: &mut Ctx<'_>, unlocking: bool) {
        if unlocking {
            // It may still arrive, and must not free what is asked for after it.
            self.not_before = ctx.ms() + 10_000;
        }
    }

    fn is_unlocking(&self) -> bool {
        self.session.pending().any(|locks| !locks)
    }
}

impl Client for Holder {
    fn frame(&mut self, ctx: &mut Ctx<'_>, conn: ConnId, frame: &Received) {
        if let Event::Answer(true, asked) = self.session.received(ctx, conn, frame) {
            self.answered(ctx, asked, frame);
        }
    }

    fn down(&mut self, ctx: &mut Ctx<'_>, conn: ConnId) {
        let unlocking = self.is_unlocking();
        if self.session.down(ctx, conn) {
            self.lost(ctx, unlocking);
        }
    }

    fn tick(&mut self, ctx: &mut Ctx<'_>) {
        let unlocking = self.is_unlocking();
        if self.session.tick(ctx) {
            self.lost(ctx, unlocking);
        }
        let now = ctx.ms();
        let busy = self.session.pending().next().is_some();
        if !self.session.is_up() || busy || now < self.not_before || ctx.phase != Phase::Storm {
            return;
        }
        if self.until == 0 {
            self.until = now + ctx.random.between(500, 20_000);
        }
        if now >= self.until && !self.held.is_empty() {
            self.give_back(ctx);
            self.not_before = now + ctx.random.between(0, 4_000);
            return;
        }
        let bytes = self.request(self.queues.iter().copied());
        self.session.call::<LockBatchMq>(ctx, &(), &bytes, true, 0);
        self.not_before = now + ctx.random.between(300, RENEW_MS);
    }

    fn is_idle(&self) -> bool {
        true
    }

    fn is_waiting(&self) -> bool {
        true
    }

    fn describe(&self) -> String {
        format!("holder {}: {}, holds {:?}", self.id, self.session.describe(), self.held)
    }
}
