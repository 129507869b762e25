//! Transaction messages: halves that nobody sees, and what becomes of them.
//!
//! ```text
//!   send (TRAN_MSG) ──► half topic ──END_TRANSACTION commit──► the real topic ─┐ one group
//!                          │                                    op message   ◄─┘
//!                          └─────────END_TRANSACTION rollback──► op message
//! ```
//! Topics and records are the original's, so a 4.9 broker can go on with them; an op message says in a property of
//! its own how the half was ended. A half is ended once: what was ended lately is remembered, in bounds. Asking producers about halves
//! that nobody ended (code 39) is not here yet: such halves stay in their topic.

use crate::{
    Broker,
    call::{Call, Handle, Out, Reply, handlers},
    hint::refused,
    produce::{Origin, Target, sent},
    props::{self, Known},
};
use kerolox_net::Now;
use kerolox_protocol::{
    Fail, LogOffset, QueueId, QueueOffset, TopicName, properties,
    record::{self, Draft, Entry, Record, SYS_TRANSACTION_MASK},
    rpc::transaction::{EndTransaction, EndTransactionRequest},
};
use kerolox_store::{Appended, Dispatch, Line, Message, QueueSlot, Store};
use std::collections::BTreeMap;

handlers![EndTransaction];

/// Where halves wait, queue 0.
pub(crate) const HALF_TOPIC: &str = "RMQ_SYS_TRANS_HALF_TOPIC";
/// Where it is said which halves were ended, queue 0.
const OP_TOPIC: &str = "RMQ_SYS_TRANS_OP_HALF_TOPIC";
/// Tag of an op message.
const OP_TAG: &str = "d";
/// sysFlag and request value of a commit.
const COMMIT: i32 = 8;
/// Request value of a rollback.
const ROLLBACK: i32 = 12;
const QUEUE: QueueId = QueueId(0);
/// Property of an op message: how its half was ended. Those of a 4.9 broker have none.
const HOW: &str = "KEROLOX_ENDED";
/// Ended halves that are remembered: some megabytes. An older one can be ended again, as in the original.
const ENDED_MAX: usize = 200_000;
/// Op messages that are read at the start: each may be a read of the device.
const LOADED_MAX: u64 = 16_384;
/// Properties of a half that its sender does not choose.
const DROPPED: &[&str] = &["WAIT", "CLUSTER", "REAL_TOPIC", "REAL_QID"];

/// How a half was ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum How {
    Commit,
    Rollback,
    /// By a broker that does not write it down.
    Unknown,
}

impl How {
    fn name(self) -> &'static str {
        match self {
            How::Commit => "commit",
            How::Rollback => "rollback",
            How::Unknown => "unknown",
        }
    }

    fn of(name: Option<&str>) -> How {
        let known = [How::Commit, How::Rollback];
        known.into_iter().find(|how| name == Some(how.name())).unwrap_or(How::Unknown)
    }
}

/// The halves that were ended lately, by their place in the half queue. Clients repeat themselves when an answer
/// is lost, and a checked producer may answer twice.
#[derive(Debug, Default)]
pub(crate) struct Ended(BTreeMap<i64, How>);

/// What op messages said.
#[derive(Default)]
struct Read {
    ended: Ended,
    /// Those that are not there any more.
    lost: u64,
    /// Those that their entries do not lead to.
    sought: u64,
}

impl Ended {
    /// What the newest op messages say. One that cannot be read is reported and passed over: its half could be
    /// ended twice.
    pub(crate) fn load(store: &mut Store, lines: &mut Vec<Line>) -> Ended {
        let Some(slot) = store.find_slot(OP_TOPIC, QUEUE) else { return Ended::default() };
        let mut read = Ended::read(store, slot);
        if read.sought > 0 {
            lines.extend(store.mend_now());
            read = Ended::read(store, slot);
        }
        let unread = read.lost + read.sought;
        if unread > 0 {
            let line = format!(
                "{unread} messages of {OP_TOPIC} cannot be read: the transactions they name may be ended again"
            );
            lines.push(Line::error(line));
        }
        read.ended
    }

    fn read(store: &Store, slot: QueueSlot) -> Read {
        let mut read = Read::default();
        let bounds = store.bounds(slot);
        for offset in bounds.min.0.max(bounds.max.0.saturating_sub(LOADED_MAX))..bounds.max.0 {
            match store.message(slot, QueueOffset(offset)) {
                Ok(Message::Record(bytes)) => read.lost += u64::from(read.ended.load_op(&bytes).is_none()),
                Ok(Message::Sought) => read.sought += 1,
                // After a crash a queue may begin with what was deleted with the log's old files.
                Ok(Message::Deleted) => {}
                Ok(Message::Lost) | Err(_) => read.lost += 1,
            }
        }
        read
    }

    fn load_op(&mut self, bytes: &[u8]) -> Option<()> {
        let Ok(Entry::Message(op)) = record::parse(bytes) else { return None };
        let how = How::of(properties::get_str(op.properties, HOW));
        // 5.x writes several into one message.
        for half in std::str::from_utf8(op.body).ok()?.split(',').filter_map(|half| half.trim().parse().ok())
        {
            self.note(half, how);
        }
        Some(())
    }

    fn note(&mut self, half: i64, how: How) {
        self.0.insert(half, how);
        if self.0.len() > ENDED_MAX {
            self.0.pop_first();
        }
    }
}

impl Broker {
    /// Stores a half in place of the message `draft`. A delay counts from the commit.
    pub(crate) fn append_half(
        &mut self,
        from: &Origin,
        text: &[u8],
        target: &Target,
        draft: &Draft<'_>,
        properties: &mut Vec<u8>,
        out: &mut Out,
    ) -> Result<(crate::parked::Waiting, u64), Fail> {
        if self.options.broker.reject_transaction_message {
            let ip = self.options.store_host.ip();
            return Err(Fail::new(
                kerolox_protocol::code::NO_PERMISSION,
                format!(
                    "the broker[{ip}] sending transaction message is forbidden (key rejectTransactionMessage)"
                ),
            ));
        }
        properties.clear();
        let known = props::copy(text, DROPPED, properties);
        props::push(properties, "CLUSTER", &self.options.broker.broker_cluster_name);
        props::push(properties, "REAL_TOPIC", &target.topic);
        props::push(properties, "REAL_QID", &target.queue.to_string());
        let topic = self.own_topic(from.now, HALF_TOPIC, out)?;
        let draft = Draft { topic: &topic, queue_id: QUEUE, properties, ..*draft };
        let slot = self.slot(&topic, QUEUE);
        let dispatch = crate::produce::dispatch(&known);
        let appended = self.store.append(from.now.wall, &draft, slot, &dispatch).map_err(refused)?;
        Ok((sent(from, &known, target, appended), u64::from(appended.size)))
    }

    /// One of the two topics of transactions, made on first use.
    fn own_topic(&mut self, now: Now, name: &str, out: &mut Out) -> Result<TopicName, Fail> {
        let name = TopicName::new(name).map_err(|why| Fail::error(why.to_string()))?;
        self.topics.ensure(now.wall, &name, 1, 0);
        self.note_tables(now, out);
        Ok(name)
    }

    fn commit_half(&mut self, now: Now, half: &Record<'_>, known: &Known<'_>) -> Result<(), Fail> {
        let real = known.real_topic.map(TopicName::new);
        let (Some(Ok(topic)), Some(queue)) = (real, known.real_queue) else {
            return Err(Fail::error("the half message names no topic to go to"));
        };
        let queue = QueueId(queue);
        let sys_flag = half.sys_flag & !SYS_TRANSACTION_MASK | COMMIT;
        let aside = self.delay_queue(known.delay_level, sys_flag);
        let (to_topic, to_queue, slot) = self.place(aside, &topic, queue);
        let draft = Draft {
            topic: to_topic,
            queue_id: to_queue,
            sys_flag,
            store_host: self.options.store_host,
            prepared_offset: half.physical_offset,
            ..Draft::from(half)
        };
        let dispatch = Dispatch::of(to_topic, sys_flag, half.properties);
        let appended = self.store.append(now.wall, &draft, slot, &dispatch).map_err(refused)?;
        self.stats.on_put(&topic, 1, u64::from(appended.size));
        Ok(())
    }

    /// Notes that a half was ended, so that nobody is asked about it.
    fn append_op(&mut self, now: Now, half: &Record<'_>, how: How, out: &mut Out) -> Result<Appended, Fail> {
        let topic = self.own_topic(now, OP_TOPIC, out)?;
        let body = half.queue_offset.to_string();
        let mut properties = Vec::new();
        props::push(&mut properties, "TAGS", OP_TAG);
        props::push(&mut properties, HOW, how.name());
        let slot = self.slot(&topic, QUEUE);
        self.append_own(now, &topic, slot, &properties, body.as_bytes()).map_err(refused)
    }
}

impl Handle<EndTransaction> for Broker {
    fn handle(
        &mut self,
        call: &Call<'_>,
        request: EndTransactionRequest,
        out: &mut Out,
    ) -> Result<Reply<()>, Fail> {
        let how = match request.commit_or_rollback {
            COMMIT => How::Commit,
            ROLLBACK => How::Rollback,
            // Not decided yet; clients expect no answer to this.
            _ => return Ok(Reply::Later),
        };
        let missing = || Fail::error("find prepared transaction message failed");
        let at = LogOffset::try_from(request.commit_log_offset).map_err(|_| missing())?;
        let bytes = match self.store.record(at) {
            Ok(bytes) => bytes.ok_or_else(missing)?,
            Err(why) => return Err(Fail::error(format!("the half message cannot be read: {why}"))),
        };
        let Ok(Entry::Message(half)) = record::parse(&bytes) else { return Err(missing()) };
        // Any offset may be named; only halves may be ended, and only by their own group.
        if half.topic != HALF_TOPIC {
            return Err(missing());
        }
        let known = Known::read(half.properties);
        if known.producer_group != Some(&*request.producer_group) {
            return Err(Fail::error("the producer group wrong"));
        }
        if half.queue_offset != request.tran_state_table_offset {
            return Err(Fail::error("the transaction state table offset wrong"));
        }
        match self.ended.0.get(&half.queue_offset) {
            None => {}
            Some(before) if *before == how => return Ok(Reply::Stands(())),
            Some(before) => {
                let done = match before {
                    How::Commit => "it was committed",
                    How::Rollback => "it was rolled back",
                    How::Unknown => "another broker ended it and did not write down how",
                };
                let remark = format!(
                    "the transaction was ended before: {done}, and the {} changes nothing",
                    how.name()
                );
                return Err(Fail::error(remark));
            }
        }
        if how == How::Commit {
            self.commit_half(call.now, &half, &known)?;
        }
        // Also if the op message is refused: what is stored must not be stored again.
        self.ended.note(half.queue_offset, how);
        self.append_op(call.now, &half, how, out)?;
        Ok(Reply::ok(()))
    }
}
