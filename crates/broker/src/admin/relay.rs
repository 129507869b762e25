//! Requests that are passed on to clients, and answered when the client has answered: 223, 307, 309, and the
//! replies that [`crate::reply`] delivers.
//!
//! Owns the table of requests that wait for a client. Bodies pass through untouched: the dialects of clients
//! differ, and tools parse them as they are.
//!
//! ```text
//!   tool ──307──► broker ──307──► consumer          pending: (connection, opaque) ──► what to do with it
//!   tool ◄──────  broker ◄─answer─ consumer         or ◄── 207 after ten seconds, 1 when it is gone
//! ```

use crate::{
    Broker,
    answer::{Answer, Ticket},
    call::{Call, Handle, Out, Reply, handlers},
    clients::Member,
    hint::shown,
    parked::{Said, Waiting},
};
use kerolox_net::{ConnId, Now};
use kerolox_protocol::{
    Fail, LogOffset, Millis,
    body::{self, queue::ConsumerStatus},
    code,
    frame::Codec,
    header::{Ext, Fields, Header},
    msgid,
    rpc::{
        Rpc,
        relay::{
            ConsumeDirectlyRequest, ConsumeMessageDirectly, ConsumerStatusRequest, GetConsumerRunningInfo,
            GetConsumerStatusFromClient, InvokeBrokerToGetConsumerStatus, RunningInfoRequest,
            StatusFromClientRequest,
        },
    },
};
use std::collections::{BTreeMap, BTreeSet};

handlers![GetConsumerRunningInfo, ConsumeMessageDirectly, InvokeBrokerToGetConsumerStatus];

/// How long a client may take for 307, 309 and 326.
const WAIT: Millis = Millis(10_000);
/// How long it may take for 221.
const STATUS_WAIT: Millis = Millis(5_000);
/// Requests that may wait for clients at once.
const PENDING_MAX: usize = 4_096;
/// Consumers up to this version do not know 307 and 309: 3.1.8-SNAPSHOT.
const RELAY_VERSION_MIN: i32 = 62;
/// Consumers up to this version do not know 220 and 221: 3.0.7-SNAPSHOT.
pub(crate) const RESET_VERSION_MIN: i32 = 28;

/// What becomes of a client's answer.
#[derive(Debug, Clone)]
enum Purpose {
    /// It is the answer.
    PassOn {
        to: Ticket,
        /// For the refusal when none comes.
        client: String,
    },
    /// It is a part of one.
    Collect { asked: u64, client_id: String },
    /// It decides which answer is given.
    Promise { promise: Promise, client: String },
}

/// The answer to the sender of a reply, once the requester has it.
#[derive(Debug, Clone)]
pub(crate) struct Promise {
    pub to: Ticket,
    /// What is said then.
    pub answer: Answer,
    /// Where the reply stands in the log; nothing is said before that is written.
    pub stored: Option<Stored>,
}

/// A part of the log that an answer waits for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stored {
    pub end: LogOffset,
    /// Whether the answer waits for the flush where the mode has one.
    pub flush: bool,
}

impl Promise {
    /// Keeps it, or says that the client was not reached. A refusal of the store stays what it is.
    pub(crate) fn settle(mut self, missed: Option<String>) -> Due {
        if let Some(remark) = missed.filter(|_| self.answer.code == code::SUCCESS) {
            self.answer.code = code::SYSTEM_ERROR;
            self.answer.remark = Some(remark);
        }
        Due { to: self.to, answer: self.answer, stored: self.stored }
    }
}

#[derive(Debug, Clone)]
struct Pending {
    deadline: Millis,
    purpose: Purpose,
}

/// A 223 that waits for the answers of several clients.
#[derive(Debug)]
struct Collection {
    to: Ticket,
    open: usize,
    found: ConsumerStatus,
    failed: Vec<String>,
}

/// Requests that wait for clients.
#[derive(Debug, Default)]
pub(crate) struct Relays {
    pending: BTreeMap<(ConnId, i32), Pending>,
    /// The same, by deadline.
    deadlines: BTreeSet<(Millis, ConnId, i32)>,
    collections: BTreeMap<u64, Collection>,
    next: u64,
}

/// An answer that is due.
#[derive(Debug)]
pub(crate) struct Due {
    to: Ticket,
    answer: Answer,
    stored: Option<Stored>,
}

impl Due {
    fn new(to: Ticket, answer: Answer) -> Due {
        Due { to, answer, stored: None }
    }
}

impl Relays {
    /// When [`Relays::expire`] has something to do.
    pub(crate) fn next_timer(&self) -> Option<Millis> {
        self.deadlines.first().map(|(deadline, ..)| *deadline)
    }

    pub(crate) fn room(&self, more: usize) -> Result<(), Fail> {
        if self.pending.len() + more <= PENDING_MAX {
            return Ok(());
        }
        Err(Fail::busy(format!("{PENDING_MAX} requests wait for clients already; try again in some seconds")))
    }

    /// Whether somebody waits for the answer of that client.
    pub(crate) fn awaits(&self, conn: ConnId, opaque: i32) -> bool {
        self.pending.contains_key(&(conn, opaque))
    }

    /// An answer came from a client. `None` if nobody waits for it.
    pub(crate) fn on_answer(&mut self, conn: ConnId, header: &Header, body: &[u8]) -> Option<Due> {
        let pending = self.remove(&(conn, header.opaque))?;
        match pending.purpose {
            Purpose::PassOn { to, .. } => {
                let remark = header.remark.clone();
                // The original's answer has no header class here, whatever the client put into its own.
                Some(Due::new(to, Answer { code: header.code, ext: None, remark, body: body.to_vec() }))
            }
            Purpose::Promise { promise, client } => {
                let missed = (header.code != code::SUCCESS).then(|| not_pushed(&client));
                Some(promise.settle(missed))
            }
            Purpose::Collect { asked, client_id } => {
                let found = match header.code {
                    code::SUCCESS if body.is_empty() => Err("it answered nothing".to_owned()),
                    code::SUCCESS => body::decode::<ConsumerStatus>(body).map_err(|why| why.to_string()),
                    other => Err(format!("it answered code {other}")),
                };
                self.collect(asked, client_id, found)
            }
        }
    }

    /// A connection is gone: what waits for it will not come, and whom it waited for needs no answer.
    pub(crate) fn on_closed(&mut self, conn: ConnId) -> Vec<Due> {
        let lost = self.take(|(at, _), _| *at == conn);
        let due = lost.into_iter().filter_map(|pending| self.lose(pending, "its connection closed", false));
        let due: Vec<Due> = due.collect();
        self.take(|_, pending| match &pending.purpose {
            Purpose::PassOn { to, .. } => to.conn == conn,
            Purpose::Promise { promise, .. } => promise.to.conn == conn,
            Purpose::Collect { .. } => false,
        });
        due.into_iter().filter(|due| due.to.conn != conn).collect()
    }

    /// Answers what has waited for too long. `now` is monotonic.
    pub(crate) fn expire(&mut self, now: Millis) -> Vec<Due> {
        let mut due = Vec::new();
        while let Some(&(deadline, conn, opaque)) = self.deadlines.first()
            && deadline <= now
        {
            let late = self.remove(&(conn, opaque));
            due.extend(late.and_then(|pending| self.lose(pending, "no answer in time", true)));
        }
        due
    }

    fn insert(&mut self, key: (ConnId, i32), pending: Pending) {
        // The numbers of own requests come round again after four thousand million.
        self.remove(&key);
        self.deadlines.insert((pending.deadline, key.0, key.1));
        self.pending.insert(key, pending);
    }

    fn remove(&mut self, key: &(ConnId, i32)) -> Option<Pending> {
        let pending = self.pending.remove(key)?;
        self.deadlines.remove(&(pending.deadline, key.0, key.1));
        Some(pending)
    }

    fn take(&mut self, mut wanted: impl FnMut(&(ConnId, i32), &Pending) -> bool) -> Vec<Pending> {
        let keys: Vec<_> =
            self.pending.iter().filter(|(key, pending)| wanted(key, pending)).map(|(key, _)| *key).collect();
        keys.iter().filter_map(|key| self.remove(key)).collect()
    }

    fn lose(&mut self, pending: Pending, why: &str, late: bool) -> Option<Due> {
        match pending.purpose {
            Purpose::PassOn { to, client } => {
                let code = if late { code::CONSUME_MSG_TIMEOUT } else { code::SYSTEM_ERROR };
                let fail = Fail::new(code, format!("consumer <{client}>: {why}"));
                Some(Due::new(to, Answer { ext: None, ..Answer::from(fail) }))
            }
            Purpose::Promise { promise, client } => Some(promise.settle(Some(not_pushed(&client)))),
            Purpose::Collect { asked, client_id } => self.collect(asked, client_id, Err(why.to_owned())),
        }
    }

    fn collect(
        &mut self,
        asked: u64,
        client_id: String,
        found: Result<ConsumerStatus, String>,
    ) -> Option<Due> {
        let collection = self.collections.get_mut(&asked)?;
        collection.open -= 1;
        match found {
            Ok(status) => drop(collection.found.consumer_table.insert(client_id, status.message_queue_table)),
            Err(why) => collection.failed.push(format!("<{client_id}>: {why}")),
        }
        if collection.open > 0 {
            return None;
        }
        let done = self.collections.remove(&asked)?;
        let answer = if done.found.consumer_table.is_empty() {
            let remark = format!("no consumer told where it stands; {}", done.failed.join(", "));
            Answer { ext: None, ..Answer::from(Fail::error(remark)) }
        } else {
            Answer { code: code::SUCCESS, ext: None, remark: None, body: body::encode(&done.found) }
        };
        Some(Due::new(done.to, answer))
    }
}

/// As the original words it, the missing space included.
fn not_pushed(client: &str) -> String {
    format!("push reply message to {client}fail.")
}

impl Broker {
    /// A client answered something this broker asked.
    pub(crate) fn on_client_answer(&mut self, conn: ConnId, header: &Header, body: &[u8], out: &mut Out) {
        if let Some(due) = self.desk.relays.on_answer(conn, header, body) {
            self.give(due, out);
        }
    }

    /// Requests passed on to a connection that is gone are answered.
    pub(crate) fn relays_closed(&mut self, conn: ConnId, out: &mut Out) {
        for due in self.desk.relays.on_closed(conn) {
            self.give(due, out);
        }
    }

    /// Requests that waited too long for a client are answered.
    pub(crate) fn relays_expire(&mut self, now: Now, out: &mut Out) {
        for due in self.desk.relays.expire(now.mono) {
            self.give(due, out);
        }
    }

    /// Answers, or lets the answer wait for the log.
    pub(crate) fn give(&mut self, due: Due, out: &mut Out) {
        let Due { to, answer, stored } = due;
        let (written, confirmed) = (self.store.written(), self.store.confirmed());
        let open = |stored: &Stored| stored.end > if stored.flush { confirmed } else { written };
        match stored.filter(|stored| open(stored) && !to.oneway) {
            None => answer.send(&to, out),
            Some(Stored { end, flush }) => {
                self.parked.push(Waiting { end, flush, to, said: Said::Answer(answer) });
            }
        }
    }

    /// Sends a client the request `code` and keeps the promise when it has answered.
    pub(crate) fn push_to(
        &mut self,
        now: Now,
        (conn, client): (ConnId, String),
        code: i32,
        (ext, body): (Ext, &[u8]),
        promise: Promise,
        out: &mut Out,
    ) {
        let pending = Pending { deadline: now.mono + WAIT, purpose: Purpose::Promise { promise, client } };
        self.ask_client(conn, code, ext, body, pending, out);
    }

    fn online(&self, group: &str, client_id: &str) -> Result<(ConnId, &Member), Fail> {
        let found = self.clients.consumers(group).and_then(|members| members.by_id(client_id));
        found.ok_or_else(|| {
            let (group, client_id) = (shown(group), shown(client_id));
            Fail::error(format!("The Consumer <{group}> <{client_id}> not online"))
        })
    }

    fn pass_on(
        &mut self,
        call: &Call<'_>,
        (conn, client): (ConnId, String),
        ext: Ext,
        body: &[u8],
        out: &mut Out,
    ) -> Result<(), Fail> {
        self.desk.relays.room(1)?;
        let purpose = Purpose::PassOn { to: call.ticket(), client };
        let pending = Pending { deadline: call.now.mono + WAIT, purpose };
        self.ask_client(conn, call.header.code, ext, body, pending, out);
        Ok(())
    }

    fn ask_client(
        &mut self,
        conn: ConnId,
        code: i32,
        ext: Ext,
        body: &[u8],
        pending: Pending,
        out: &mut Out,
    ) {
        let opaque = self.next_opaque();
        self.desk.relays.insert((conn, opaque), pending);
        let header = Header::request(code, opaque, Some(ext));
        out.send(conn, |buffer| header.write_frame(Codec::Json, body, buffer));
    }
}

fn new_enough(member: &Member, least: i32) -> Result<(), Fail> {
    if member.version >= least {
        return Ok(());
    }
    Err(Fail::error(format!(
        "The Consumer <{}> Version <{}> too low to finish, please upgrade it",
        member.client_id, member.version
    )))
}

impl Handle<GetConsumerRunningInfo> for Broker {
    fn handle(
        &mut self,
        call: &Call<'_>,
        request: RunningInfoRequest,
        out: &mut Out,
    ) -> Result<Reply<()>, Fail> {
        let (conn, member) = self.online(&request.consumer_group, &request.client_id)?;
        new_enough(member, RELAY_VERSION_MIN)?;
        let client = member.client_id.clone();
        self.pass_on(call, (conn, client), request.to_ext(), call.body, out)?;
        Ok(Reply::Later)
    }
}

impl Handle<ConsumeMessageDirectly> for Broker {
    /// The message travels to the consumer as it is stored here.
    fn handle(
        &mut self,
        call: &Call<'_>,
        request: ConsumeDirectlyRequest,
        out: &mut Out,
    ) -> Result<Reply<()>, Fail> {
        let group = &request.consumer_group;
        let (conn, member) = match &request.client_id {
            Some(client_id) if !client_id.is_empty() => self.online(group, client_id)?,
            _ => {
                let members = self.clients.consumers(group).and_then(|group| group.members.first_key_value());
                let none = || Fail::error(format!("The Consumer <{}> <any> not online", shown(group)));
                members.map(|(conn, member)| (*conn, member)).ok_or_else(none)?
            }
        };
        new_enough(member, RELAY_VERSION_MIN)?;
        let client = member.client_id.clone();
        let wanted = request.msg_id.clone().unwrap_or_default();
        let message = self.message_of(&wanted)?;
        let request = ConsumeDirectlyRequest { client_id: Some(client.clone()), ..request };
        self.pass_on(call, (conn, client), request.to_ext(), &message, out)?;
        Ok(Reply::Later)
    }
}

impl Broker {
    /// The stored record that an offset message id names.
    fn message_of(&self, id: &str) -> Result<Vec<u8>, Fail> {
        let bad = || Fail::error(format!("the msgId [{}] is no offset message id", shown(id)));
        let (_, at) = msgid::parse(id).ok_or_else(bad)?;
        match self.store.record(at) {
            Ok(Some(record)) => Ok(record),
            Ok(None) => Err(Fail::error(format!("there is no message at {at} of the log of this broker"))),
            Err(why) => Err(Fail::error(format!("the message at {at} cannot be read: {why}"))),
        }
    }
}

impl Handle<InvokeBrokerToGetConsumerStatus> for Broker {
    fn handle(
        &mut self,
        call: &Call<'_>,
        request: ConsumerStatusRequest,
        out: &mut Out,
    ) -> Result<Reply<()>, Fail> {
        let wanted = request.client_addr.as_deref().filter(|id| !id.is_empty());
        let none = || {
            Fail::error(format!("No Any Consumer online in the consumer group: [{}]", shown(&request.group)))
        };
        let group = self.clients.consumers(&request.group).ok_or_else(none)?;
        let ids = group.client_ids().into_iter().filter(|id| wanted.is_none_or(|wanted| wanted == id));
        let members: Vec<(ConnId, String)> = ids
            .filter_map(|id| {
                let (conn, member) = group.by_id(&id)?;
                Some(new_enough(member, RESET_VERSION_MIN).map(|()| (conn, id.clone())))
            })
            .collect::<Result<_, _>>()?;
        if members.is_empty() {
            return Err(none());
        }
        self.desk.relays.room(members.len())?;
        let asked = self.desk.relays.next;
        self.desk.relays.next += 1;
        let collection = Collection {
            to: call.ticket(),
            open: members.len(),
            found: ConsumerStatus::default(),
            failed: Vec::new(),
        };
        self.desk.relays.collections.insert(asked, collection);
        let ask = StatusFromClientRequest { topic: request.topic.clone(), group: request.group.clone() };
        for (conn, client_id) in members {
            let purpose = Purpose::Collect { asked, client_id };
            let pending = Pending { deadline: call.now.mono + STATUS_WAIT, purpose };
            self.ask_client(conn, GetConsumerStatusFromClient::CODE, ask.to_ext(), b"", pending, out);
        }
        Ok(Reply::Later)
    }
}
