//! The order of things: dispatch, permissions, groups of frames, commit, answers, timers, stop.
//!
//! ```text
//!   on_frame*       check, append, park the answer
//!   on_batch_end    deliver what is due, note what changed
//!                   ── one write ──► answers (or wait for the disk) ──► waiting pulls wake
//!                   ── jobs
//! ```
//! Knows when each part is asked; what each part does stands there.

use crate::{
    Options,
    admin::{self, Desk},
    again::Again,
    answer::{self, Answer, Ticket},
    call::{Call, Handler, Out, Ready},
    clients::{Changes, Clients},
    delay::Delay,
    export::Export,
    groups::Groups,
    hold::Hold,
    jobs::{BrokerDone, BrokerJob},
    locks::Locks,
    offsets::Offsets,
    parked::{End, Ids, Parked, Said, Waiting},
    produce::{self, Origin},
    pull::{self, Kept},
    query,
    random::Random,
    register::{Facts, Registrar},
    reply, sendback,
    state::State,
    stats::Stats,
    topics::{SCHEDULE_TOPIC, Topics},
    transaction::{self, Ended},
};
use kerolox_net::{ConnId, Judgement, LinkEvent, Now, Peer, Service};
use kerolox_protocol::{
    Fail, LogOffset, Millis, QueueId, TopicName, code,
    frame::{Frame, Opening},
    header::{Ext, FLAG_RESPONSE, Header},
    msgid::MessageId,
    rpc::{
        self, Need, Rpc,
        client::HeartBeat,
        consume::{LitePullMessage, PullMessage},
        offset::UpdateConsumerOffset,
        produce::{SendBatchMessage, SendMessage, SendMessageV2},
    },
    scan::{self, Hot, answer::Sent},
};
use kerolox_store::{Arrival, Cold, QueueSlot, Store};
use std::collections::{BTreeMap, BTreeSet};
use tracing::{debug, info};

/// A broker.
pub struct Broker {
    /// What the operator chose; live keys change.
    pub options: Options,
    /// Messages.
    pub store: Store,
    /// Topics.
    pub topics: Topics,
    /// Subscription groups.
    pub groups: Groups,
    /// Where groups stand.
    pub offsets: Offsets,
    /// Who is connected.
    pub clients: Clients,
    /// Queue locks.
    pub locks: Locks,
    /// Name servers.
    pub registrar: Registrar,
    /// Counters.
    pub stats: Stats,
    /// Progress of delay levels.
    pub delay: Delay,
    pub(crate) desk: Desk,
    pub(crate) hold: Hold<QueueSlot, Kept>,
    pub(crate) parked: Parked,
    pub(crate) ended: Ended,
    pub(crate) again: Again,
    pub(crate) state: State,
    pub(crate) export: Export,
    pub(crate) random: Random,
    /// Topics every broker has.
    pub(crate) builtin_topics: BTreeSet<TopicName>,
    /// Counter of own requests.
    pub(crate) opaque: i32,
    /// Properties of the message being stored.
    pub(crate) scratch: Vec<u8>,
    pub(crate) arrivals: Vec<Arrival>,
    /// Queues of the delay levels, level 1 first.
    pub(crate) schedule_slots: Vec<QueueSlot>,
    /// Smallest and largest of them.
    pub(crate) schedule_range: (QueueSlot, QueueSlot),
    pub(crate) handlers: Handlers,
    /// Where the fields of the header being read stand.
    pub(crate) fields: scan::Scratch,
    pub(crate) stage: Stage,
    /// Time of the last event, for timers that depend on the wall clock.
    pub(crate) now: Now,
}

/// Rows and handlers of what is served, by code.
pub(crate) type Handlers = BTreeMap<i32, (&'static rpc::RpcInfo, Handler)>;

/// From running to stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    Running,
    /// Everything is noted and written; files are being exported.
    Exporting,
    /// The store does its last work.
    Closing,
}

/// Tells a consumer that its group changed. Reference: `RequestCode`.
const NOTIFY_CONSUMER_IDS_CHANGED: i32 = 40;

impl Broker {
    /// Number of the broker's next own request.
    pub fn next_opaque(&mut self) -> i32 {
        self.opaque = self.opaque.wrapping_add(1);
        self.opaque
    }

    /// Tells members of changed groups (code 40) and closes silent connections.
    pub fn apply(&mut self, changes: Changes, out: &mut Out) {
        for (group, members) in changes.notify {
            let wanted = self.groups.get(&group).is_none_or(|group| group.notify_consumer_ids_changed_enable);
            if !wanted || !self.options.broker.notify_consumer_ids_changed_enable {
                continue;
            }
            for conn in members {
                let ext: Ext = [("consumerGroup", group.as_str())].into_iter().collect();
                let opaque = self.next_opaque();
                answer::notify(conn, NOTIFY_CONSUMER_IDS_CHANGED, opaque, ext, b"", out);
            }
        }
        for conn in changes.close {
            out.close(conn, "no heartbeat");
        }
    }

    /// Rows of the RPCs that are served.
    pub fn served(&self) -> impl Iterator<Item = &'static rpc::RpcInfo> {
        self.handlers.values().map(|(row, _)| *row)
    }

    /// Handle of a queue.
    pub(crate) fn slot(&mut self, topic: &TopicName, queue: QueueId) -> QueueSlot {
        match self.store.find_slot(topic, queue) {
            Some(slot) => slot,
            None => self.store.slot(topic, queue),
        }
    }

    /// Handle of a delay level's queue; a number beyond the levels counts as the last.
    pub(crate) fn schedule_slot(&self, queue: QueueId) -> QueueSlot {
        let at = usize::try_from(queue.0).unwrap_or(usize::MAX);
        let last = self.schedule_slots.last().copied().unwrap_or(QueueSlot(0));
        self.schedule_slots.get(at).copied().unwrap_or(last)
    }

    /// The delay level's queue that the handle names.
    fn schedule_queue(&self, slot: QueueSlot) -> Option<u32> {
        // Handles are given out in order, so almost every other queue is told by these two looks.
        if slot < self.schedule_range.0 || slot > self.schedule_range.1 {
            return None;
        }
        let queue = self.schedule_slots.iter().position(|other| *other == slot)?;
        u32::try_from(queue).ok()
    }

    pub(crate) fn find_schedule_slots(&mut self) {
        let Ok(topic) = TopicName::new(SCHEDULE_TOPIC) else { return };
        let store = &mut self.store;
        let queues = (0..self.delay.levels()).map(|queue| store.slot(&topic, QueueId(queue)));
        self.schedule_slots = queues.collect();
        let slots = || self.schedule_slots.iter().copied();
        if let (Some(low), Some(high)) = (slots().min(), slots().max()) {
            self.schedule_range = (low, high);
        }
    }

    fn serve(&mut self, call: &Call<'_>, out: &mut Out) -> Result<Option<Ready>, Fail> {
        let handler = self.admit(call.header.code, &call.peer, call.body.len())?;
        (handler.run)(self, call, out)
    }

    /// Serves a hot request without building its header. Says whether it did; whatever is unusual takes the
    /// general path, which says what is wrong.
    fn serve_hot(&mut self, now: Now, peer: &Peer, frame: &Frame<'_>, out: &mut Out) -> bool {
        if self.stage != Stage::Running {
            return false;
        }
        let mut fields = std::mem::take(&mut self.fields);
        let served = self.serve_scanned(now, peer, frame, &mut fields, out);
        self.fields = fields;
        served
    }

    fn serve_scanned(
        &mut self,
        now: Now,
        peer: &Peer,
        frame: &Frame<'_>,
        fields: &mut scan::Scratch,
        out: &mut Out,
    ) -> bool {
        // Looking for the code first would cost nearly as much as the whole pass.
        let Ok(scanned) = scan::scan(frame.codec, frame.header, fields) else { return false };
        if scanned.flag() & FLAG_RESPONSE != 0 {
            return false;
        }
        let code = scanned.code();
        let Some(need) = hot_need(code) else { return false };
        let Ok(hot) = scanned.hot() else { return false };
        let (opaque, oneway) = (scanned.opaque(), scanned.is_oneway());
        let to = Ticket { conn: peer.conn, codec: frame.codec, opaque, oneway };
        let from = Origin { now, peer: *peer, to, version: scanned.version() };
        let before = self.store.end();
        let allowed = match &hot {
            Hot::Send(_) | Hot::Pull(_) => self.check(need, peer),
            // Their bodies are bounded by the table, and the look into it costs little beside what they do.
            Hot::Commit(_) | Hot::Heartbeat => self.admit(code, peer, frame.body.len()).map(drop),
        };
        let result = allowed.and_then(|()| match &hot {
            Hot::Send(send) => self.send(&from, send, frame.body, out).map(|()| None),
            Hot::Pull(pull) => self.pull(&from, pull, out).map(|()| None),
            Hot::Commit(commit) => self.commit_offset(now, peer, commit).map(|()| Some(Answer::done())),
            Hot::Heartbeat => {
                let member = (scanned.language(), scanned.version());
                self.on_heartbeat(now, peer, member, frame.body, out).map(|()| Some(Answer::done()))
            }
        });
        match result {
            Ok(None) => {}
            Err(fail) if !matches!(hot, Hot::Heartbeat) => Answer::from(fail).send(&to, out),
            // A heartbeat makes groups and topics, whatever else is wrong with it.
            result => self.conclude(now, &to, before, result, out),
        }
        true
    }

    /// Serves a frame without waiting for the disk; what was read for it before is `known`. Where more has to be
    /// read, it is served again when that is done.
    pub(crate) fn on_request(&mut self, now: Now, peer: &Peer, frame: Frame<'_>, known: Cold, out: &mut Out) {
        self.store.wait_for_nothing(known);
        if !self.serve_hot(now, peer, &frame, out) {
            self.serve_any(now, peer, frame, out);
        }
        if let Some(cold) = self.store.wait_again() {
            self.ask_again(now, peer, frame, cold, out);
        }
    }

    fn serve_any(&mut self, now: Now, peer: &Peer, frame: Frame<'_>, out: &mut Out) {
        let header = match Header::decode(frame.codec, frame.header) {
            Ok(header) => header,
            Err(why) => {
                debug!(conn = peer.conn.0, addr = %peer.addr, %why, "unreadable header");
                return out.close(peer.conn, "unreadable header");
            }
        };
        if header.is_response() {
            return self.on_client_answer(peer.conn, &header, frame.body, out);
        }
        let call = Call { now, peer: *peer, codec: frame.codec, header: &header, body: frame.body };
        let mut before = self.store.end();
        let result = self.serve(&call, out).map(|ready| {
            let Ready { answer, stands } = ready?;
            if stands && !mutant!(StandsUnwritten) {
                before = LogOffset(0);
            }
            Some(answer)
        });
        self.conclude(now, &call.ticket(), before, result, out);
    }

    /// Notes what a request changed and answers it. `before`: the part of the log that the answer does not rest on,
    /// mostly all that was there when the request came.
    fn conclude(
        &mut self,
        now: Now,
        to: &Ticket,
        before: LogOffset,
        result: Result<Option<Answer>, Fail>,
        out: &mut Out,
    ) {
        let changed = self.topics.has_changes() || self.groups.has_changes();
        if changed {
            self.note_tables(now, out);
        }
        if self.store.has_met_cold() {
            // Whatever came out came out of half the facts.
            return;
        }
        let appended = self.store.end() > before;
        match result {
            Ok(None) => {}
            Ok(Some(_)) if changed && self.has_refused_notes() => {
                let remark = "service not available now: the change could not be noted in the log; it is in \
                              effect, and noted as soon as the store accepts again";
                Answer::from(Fail::new(code::SERVICE_NOT_AVAILABLE, remark)).send(to, out);
            }
            Ok(Some(answer)) => self.reply(to, appended, answer, out),
            Err(fail) => Answer::from(fail).send(to, out),
        }
    }

    /// Answers now, or when what the request appended is written.
    fn reply(&mut self, to: &Ticket, appended: bool, answer: Answer, out: &mut Out) {
        if !appended {
            return answer.send(to, out);
        }
        if !to.oneway {
            let said = Said::Answer(answer);
            self.parked.push(Waiting { end: self.store.end(), flush: true, to: *to, said });
        }
    }

    /// Writes what was appended, answers what waited for that, wakes pulls, hands out jobs.
    fn finish(&mut self, now: Now, out: &mut Out) {
        self.write(now, out);
        // A pull that woke may have reported a moved offset: that is written, too, and wakes nobody twice.
        if self.store.end() > self.store.written() {
            self.write(now, out);
        }
        self.export.release(self.store.flushed(), out);
        if self.store.looks_soon(store_now(now)) {
            let unread = self.unread();
            self.store.keep_unread(unread);
        }
        let mut jobs = Vec::new();
        self.store.jobs(store_now(now), &mut jobs);
        jobs.into_iter().for_each(|job| out.job(BrokerJob::Store(job)));
        self.step_to_stop(now, out);
    }

    fn write(&mut self, now: Now, out: &mut Out) {
        // What waits for nothing new asks as well whether the log still takes anything.
        let asks = self.store.end() > self.store.written() || self.parked.waits_for_write();
        let written = if asks { self.store.commit().map(drop) } else { Ok(()) };
        if let Err(why) = written {
            self.fail_waiting(&why.to_string(), out);
            return;
        }
        let waits = self.options.sync_flush() && !mutant!(AckBeforeFlush);
        let flushed = waits.then(|| self.store.flushed());
        let deadline = now.mono + Millis(self.options.store.sync_flush_timeout.0);
        let Broker { parked, options, .. } = self;
        parked.on_written(flushed, deadline, |waiting, end| say(options, waiting, end, out));
        self.wake_pulls(now, out);
    }

    fn wake_pulls(&mut self, now: Now, out: &mut Out) {
        let mut arrivals = std::mem::take(&mut self.arrivals);
        arrivals.clear();
        self.store.take_arrivals(&mut arrivals);
        let mut woken = Vec::new();
        for arrival in &arrivals {
            let lost = mutant!(WakeupLost) && arrival.queue_offset.0 % 3 == 0;
            if !self.hold.is_empty() && !lost {
                self.hold.on_arrival(arrival.slot, arrival.queue_offset, arrival.tags_code, &mut woken);
            }
            if let Some(queue) = self.schedule_queue(arrival.slot) {
                self.delay.on_arrival(queue, arrival.queue_offset, Millis(arrival.tags_code));
            }
        }
        self.arrivals = arrivals;
        for pull in woken {
            self.wake(now, pull, out);
        }
    }

    fn fail_waiting(&mut self, why: &str, out: &mut Out) {
        let Broker { parked, options, .. } = self;
        parked.on_failed(why, |waiting, end| say(options, waiting, end, out));
    }

    /// Moves on when what the current stage waits for has come.
    fn step_to_stop(&mut self, now: Now, out: &mut Out) {
        if self.stage != Stage::Exporting {
            return;
        }
        let flushed = self.store.flushed() >= self.store.written();
        let hopeless = self.store.writable().is_err();
        if self.export.is_idle() && (flushed || hopeless) || hopeless && self.export.is_waiting() {
            self.stage = Stage::Closing;
            self.store.stop();
            let mut jobs = Vec::new();
            self.store.jobs(store_now(now), &mut jobs);
            jobs.into_iter().for_each(|job| out.job(BrokerJob::Store(job)));
        }
    }

    fn facts(&mut self) -> (&mut Registrar, Facts<'_>) {
        let facts = Facts { options: &self.options, topics: &self.topics, groups: &self.groups };
        (&mut self.registrar, facts)
    }
}

impl Broker {
    /// It is so late now.
    fn pass(&mut self, now: Now) {
        self.now = now;
        self.store.pass(store_now(now));
    }
}

/// Both seams have the same two clocks.
pub(crate) fn store_now(now: Now) -> kerolox_store::Now {
    kerolox_store::Now { wall: now.wall, mono: now.mono }
}

/// Writes an answer that waited for the log.
fn say(options: &Options, waiting: &Waiting, end: End<'_>, out: &mut Out) {
    if let End::Failed(why) = end {
        let fail = Fail::new(code::SERVICE_NOT_AVAILABLE, format!("service not available now: {why}"));
        return Answer::from(fail).send(&waiting.to, out);
    }
    let late = end == End::Late;
    match &waiting.said {
        Said::Answer(answer) if late => {
            let remark = "stored, but not flushed in time (key syncFlushTimeout)".to_owned();
            let answer = Answer { code: code::FLUSH_DISK_TIMEOUT, remark: Some(remark), ..answer.clone() };
            answer.send(&waiting.to, out);
        }
        Said::Answer(answer) => answer.send(&waiting.to, out),
        Said::Sent { ids, queue, offset } => {
            let id;
            let msg_id = match ids {
                Ids::One(at) => {
                    id = MessageId::new(options.store_host, *at);
                    id.as_str()
                }
                Ids::Many(ids) => ids,
            };
            let (region, trace_on) = (&*options.broker.region_id, options.broker.trace_on);
            let sent = Sent { msg_id, queue_id: *queue, queue_offset: *offset, region, trace_on };
            let code = if late { code::FLUSH_DISK_TIMEOUT } else { code::SUCCESS };
            let to = &waiting.to;
            out.send(to.conn, |buffer| scan::answer::write_sent(to.codec, code, to.opaque, &sent, buffer));
        }
    }
}

impl Service for Broker {
    type Job = BrokerJob;

    fn judge(&mut self, now: Now, peer: &Peer, opening: &Opening<'_>) -> Judgement {
        let mut fields = std::mem::take(&mut self.fields);
        let judgement = self.judge_opening(now, peer, opening, &mut fields);
        self.fields = fields;
        judgement
    }

    fn on_frame(&mut self, now: Now, peer: &Peer, frame: Frame<'_>, out: &mut Out) {
        self.pass(now);
        self.on_request(now, peer, frame, Cold::default(), out);
    }

    fn on_batch_end(&mut self, now: Now, out: &mut Out) {
        self.pass(now);
        if self.stage == Stage::Running {
            self.snapshot_tick(now);
        }
        self.finish(now, out);
    }

    fn on_closed(&mut self, now: Now, conn: ConnId, out: &mut Out) {
        self.pass(now);
        self.hold.on_closed(conn);
        self.parked.on_closed(conn);
        self.again.on_closed(conn);
        let changes = self.clients.on_closed(conn);
        self.apply(changes, out);
        self.relays_closed(conn, out);
    }

    fn on_link(&mut self, now: Now, addr: &str, event: LinkEvent<'_>, out: &mut Out) {
        self.pass(now);
        let (registrar, facts) = self.facts();
        if let Some((number, route)) = registrar.on_link(now, addr, &event, facts, out) {
            self.on_route(number, route, out);
        }
    }

    fn on_done(&mut self, now: Now, done: BrokerDone, out: &mut Out) {
        self.pass(now);
        match done {
            BrokerDone::Export(done) => self.exported(&done),
            BrokerDone::Read(done) => self.on_read(now, done, out),
            BrokerDone::ReadAhead => {}
            BrokerDone::SavedConfig(saved) => self.on_config_saved(saved, out),
            BrokerDone::Store(done) => {
                self.store.done(store_now(now), done);
                self.report_trimmed();
                self.wake_mended(now, out);
                let flushed = self.store.flushed();
                let Broker { parked, options, .. } = self;
                parked.on_flushed(flushed, |waiting, end| say(options, waiting, end, out));
                if let Err(kerolox_store::Refusal::Poisoned(why)) = self.store.writable() {
                    self.fail_waiting(&why.to_string(), out);
                }
            }
        }
        self.finish(now, out);
    }

    fn on_timer(&mut self, now: Now, out: &mut Out) {
        self.pass(now);
        let changes = self.clients.expire(now.mono);
        self.apply(changes, out);
        self.relays_expire(now, out);
        self.assignments_expire(now, out);
        self.follow_local_time(now);
        self.stats.tick(now.mono, now.wall);
        let (registrar, facts) = self.facts();
        registrar.tick(now, facts, out);
        let mut woken = Vec::new();
        self.hold.expire(now.mono, &mut woken);
        for pull in woken {
            self.wake(now, pull, out);
        }
        let Broker { parked, options, .. } = self;
        parked.expire(now.mono, |waiting, end| say(options, waiting, end, out));
        self.deliver_if_running(now, out);
        if self.stage == Stage::Running {
            self.state_tick(now);
            self.export_tick(now, false);
        }
        self.finish(now, out);
    }

    fn next_timer(&self) -> Option<Millis> {
        let running = self.stage == Stage::Running;
        let tables = running.then(|| self.state.next_timer(self.offsets.has_changes())).flatten();
        let delivers = running && !self.again.delivery_waits() && !self.has_refused_notes();
        let delay =
            delivers.then(|| self.delay.next_timer(self.store.time(self.now.wall), self.now.mono)).flatten();
        // While the log takes no notes, files would only repeat what it says.
        let export = (running && !self.has_refused_notes()).then(|| self.export.next_timer()).flatten();
        let parts = [
            self.clients.next_timer(),
            self.registrar.next_timer(),
            self.desk.relays.next_timer(),
            self.desk.assigning.next_timer(),
            self.stats.next_timer(),
            self.hold.next_deadline(),
            self.parked.next_deadline(),
            self.store.next_timer(),
            tables,
            delay,
            export,
        ];
        parts.into_iter().flatten().min()
    }

    fn on_stop(&mut self, now: Now, out: &mut Out) {
        if self.stage != Stage::Running {
            return;
        }
        info!("broker stops");
        self.pass(now);
        let (registrar, facts) = self.facts();
        registrar.stop(now, facts, out);
        let mut woken = Vec::new();
        self.hold.drain(&mut woken);
        for pull in woken {
            self.wake(now, pull, out);
        }
        self.note_tables(now, out);
        self.note_offsets(now);
        self.export_tick(now, true);
        self.stage = Stage::Exporting;
        self.finish(now, out);
    }

    fn is_stopped(&self) -> bool {
        self.stage == Stage::Closing && self.store.is_clean() && self.registrar.is_gone()
    }
}

/// What the table of RPCs asks for a code that [`Broker::serve_hot`] serves.
fn hot_need(code: i32) -> Option<Need> {
    match code {
        SendMessage::CODE => Some(SendMessage::NEED),
        SendMessageV2::CODE => Some(SendMessageV2::NEED),
        SendBatchMessage::CODE => Some(SendBatchMessage::NEED),
        PullMessage::CODE => Some(PullMessage::NEED),
        LitePullMessage::CODE => Some(LitePullMessage::NEED),
        UpdateConsumerOffset::CODE => Some(UpdateConsumerOffset::NEED),
        HeartBeat::CODE => Some(HeartBeat::NEED),
        _ => None,
    }
}

/// All handlers by code. A handler without a row in the table of RPCs cannot be written: its type is the row.
pub(crate) fn handlers() -> Handlers {
    let own = [
        produce::HANDLERS,
        reply::HANDLERS,
        pull::HANDLERS,
        query::HANDLERS,
        sendback::HANDLERS,
        transaction::HANDLERS,
    ];
    let all = own.iter().chain(admin::HANDLERS).flat_map(|area| area.iter());
    all.filter_map(|handler| Some((handler.code, (rpc::info(handler.code)?, *handler)))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hot_requests_need_what_the_table_says() {
        for code in [310, 10, 320, 11, 361, 15, 34] {
            assert_eq!(hot_need(code), rpc::info(code).map(|row| row.need), "{code}");
            assert!(hot_need(code).is_some(), "{code}");
        }
        // What only administrators may do is served by the general path.
        assert!(rpc::table().filter(|row| row.need == Need::Admin).all(|row| hot_need(row.code).is_none()));
    }
}
