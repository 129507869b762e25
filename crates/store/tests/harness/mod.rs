//! A store under test beside a model of it: the records in the order they were appended.

#![allow(dead_code, reason = "each test file uses its part")]

use kerolox_protocol::{LogOffset, Millis, QueueId, QueueOffset, TopicName, record::Draft};
use kerolox_store::{
    AppendError, Appended, Dispatch, Filled, Flush, Now, Opened, Options, Plan, PlanStatus, ReadLimits,
    Store, StoreJob,
    disk::{Paths, memory::MemDisk},
};
use std::collections::{BTreeMap, BTreeSet};

pub const LIMITS: ReadLimits = ReadLimits { count: 32, bytes: 262_144, cold_count: 8, cold_bytes: 65_536 };

/// Small files, so that a few records cross many borders.
pub fn options(flush: Flush) -> Options {
    let mut options = Options::new(Paths::under("/store"));
    options.segment_bytes = 16 << 10;
    options.queue_file_bytes = 200;
    options.message_bytes_max = 6 << 10;
    options.flush = flush;
    options.flush_interval = Millis(50);
    options.behind_interval = Millis(20);
    options.checkpoint_interval = Millis(200);
    options.checkpoint_bytes = 64 << 10;
    options.new_files_max = 2;
    options.write_queues_max = 2;
    options.write_entries_max = 5;
    options.tail_bytes = 32 << 10;
    options.queue_files_open_max = 4;
    options.index_slots = 64;
    options.index_max = 200;
    options
}

pub fn draft<'a>(topic: &'a str, queue: u32, body: &'a [u8], properties: &'a [u8]) -> Draft<'a> {
    Draft::plain(([127, 0, 0, 1], 10911).into(), topic, QueueId(queue), body, properties)
}

/// What one append gave.
#[derive(Debug, Clone)]
pub struct Sent {
    pub topic: String,
    pub queue: u32,
    pub offset: u64,
    pub body: Vec<u8>,
    pub end: LogOffset,
    pub size: u64,
    pub keyless: bool,
}

/// A store, its disk, its model.
pub struct World {
    pub disk: MemDisk,
    pub options: Options,
    pub store: Option<Store>,
    pub opened: Opened,
    pub now: Now,
    pub jobs: Vec<StoreJob>,
    /// Everything appended and not lost, in log order.
    pub sent: Vec<Sent>,
    pub count: u64,
}

impl World {
    pub fn new(flush: Flush) -> World {
        World::on(MemDisk::new(), options(flush))
    }

    pub fn on(disk: MemDisk, options: Options) -> World {
        kerolox_said::prepare();
        let now = Now { wall: Millis(1_000_000), mono: Millis(0) };
        let (store, opened) = Store::open(disk.handle(), options.clone(), now.wall).unwrap();
        World { disk, options, store: Some(store), opened, now, jobs: Vec::new(), sent: Vec::new(), count: 0 }
    }

    pub fn store(&mut self) -> &mut Store {
        self.store.as_mut().unwrap()
    }

    /// A body that tells its number, so that no two are alike.
    pub fn body(&mut self, len: usize) -> Vec<u8> {
        self.count += 1;
        let mut body = self.count.to_be_bytes().to_vec();
        body.resize(len.max(8), self.count as u8);
        body
    }

    pub fn append(&mut self, topic: &str, queue: u32, len: usize) -> Result<Appended, AppendError> {
        let body = self.body(len);
        let name = TopicName::new(topic).unwrap();
        let now = self.now.wall;
        let store = self.store();
        let slot = store.slot(&name, QueueId(queue));
        let unique = format!("UNIQ_KEY\u{1}{}\u{2}TAGS\u{1}A\u{2}KEYS\u{1}all {topic}", key_of(&body));
        let draft = draft(topic, queue, &body, unique.as_bytes());
        let appended = store.append(now, &draft, slot, &Dispatch::of(topic, 0, unique.as_bytes()))?;
        let (offset, end, size) = (appended.queue_offset.0, appended.end, u64::from(appended.size));
        self.sent.push(Sent { topic: topic.into(), queue, offset, body, end, size, keyless: false });
        Ok(appended)
    }

    /// Sends to queue 0 of "A" and of "B" by turns, and lets each pair come to rest.
    pub fn by_turns(&mut self, rounds: usize, len: impl Fn(usize) -> usize) {
        for round in 0..rounds {
            for topic in ["A", "B"] {
                self.append(topic, 0, len(round)).unwrap();
            }
            self.store().commit().unwrap();
            self.settle();
            self.pass(60);
        }
    }

    pub fn append_batch(&mut self, topic: &str, queue: u32, lens: &[usize]) -> Result<(), AppendError> {
        let bodies: Vec<_> = lens.iter().map(|len| self.body(*len)).collect();
        let name = TopicName::new(topic).unwrap();
        let now = self.now.wall;
        let store = self.store();
        let slot = store.slot(&name, QueueId(queue));
        let drafts: Vec<_> =
            bodies.iter().map(|body| (draft(topic, queue, body, b""), Dispatch::of(topic, 0, b""))).collect();
        let mut appended = Vec::new();
        store.append_batch(now, &drafts, slot, &mut appended)?;
        assert_eq!(appended.len(), lens.len());
        let segment = self.options.segment_bytes;
        let first = appended.first().map(|first| first.at.0 / segment);
        for (appended, body) in appended.into_iter().zip(bodies) {
            assert_eq!(Some(appended.at.0 / segment), first, "a batch lies in one file");
            assert_eq!(Some((appended.end.0 - 1) / segment), first, "a batch lies in one file");
            let (offset, end, size) = (appended.queue_offset.0, appended.end, u64::from(appended.size));
            self.sent.push(Sent { topic: topic.into(), queue, offset, body, end, size, keyless: true });
        }
        Ok(())
    }

    /// Runs what is due, and what comes of it, until nothing is.
    pub fn settle(&mut self) {
        loop {
            let now = self.now;
            let mut jobs = std::mem::take(&mut self.jobs);
            self.store().jobs(now, &mut jobs);
            self.timer_is_ahead();
            if jobs.is_empty() {
                return;
            }
            for job in jobs {
                let done = job.run();
                self.store().done(now, done);
            }
        }
    }

    /// Asks for jobs and runs one of those that wait.
    pub fn run_one(&mut self, which: usize) {
        let now = self.now;
        let mut jobs = std::mem::take(&mut self.jobs);
        self.store().jobs(now, &mut jobs);
        self.timer_is_ahead();
        if !jobs.is_empty() {
            let done = jobs.remove(which % jobs.len()).run();
            self.store().done(now, done);
        }
        self.jobs = jobs;
    }

    /// Once it was asked for jobs, a store waits: a timer that is due at once again would keep a core busy.
    fn timer_is_ahead(&mut self) {
        let now = self.now.mono;
        let timer = self.store().next_timer();
        assert!(timer.is_none_or(|timer| timer > now), "{timer:?} at {now}");
    }

    pub fn pass(&mut self, ms: i64) {
        self.now.mono = self.now.mono + Millis(ms);
        self.now.wall = self.now.wall + Millis(ms);
    }

    pub fn stop(&mut self) {
        self.store().commit().unwrap();
        self.store().stop();
        self.settle();
        assert!(self.store().is_clean(), "a stopped store is clean");
        self.store = None;
    }

    pub fn open(&mut self) {
        let (store, opened) = Store::open(self.disk.handle(), self.options.clone(), self.now.wall).unwrap();
        self.opened = opened;
        self.store = Some(store);
    }

    pub fn reopen(&mut self) {
        self.stop();
        self.disk = self.disk.kill();
        self.open();
        assert!(self.opened.clean, "{:?}", self.opened);
        assert!(self.opened.lines.is_empty(), "{:?}", self.opened);
        assert_eq!(self.opened.records, 0, "a clean start reads nothing again");
    }

    /// Ends the process: what was written stays, all else goes.
    pub fn kill(&mut self) {
        let written = self.store().written();
        self.jobs.clear();
        self.disk = self.disk.kill();
        self.store = None;
        self.open();
        self.sent.retain(|sent| sent.end <= written);
        self.lost_nothing_else();
    }

    /// Ends the machine: what was flushed stays, of the rest a beginning.
    pub fn power_cut(&mut self, seed: u64) {
        let (flushed, written) = (self.store().flushed(), self.store().written());
        self.jobs.clear();
        self.disk = self.disk.power_cut(seed);
        self.store = None;
        self.open();
        let end = self.store().end();
        assert!(end >= flushed, "flushed up to {flushed}, recovered up to {end}: {:?}", self.opened);
        self.sent.retain(|sent| sent.end <= end && sent.end <= written);
        self.lost_nothing_else();
    }

    fn lost_nothing_else(&mut self) {
        assert!(self.opened.damaged.is_empty(), "{:?}", self.opened);
        let end = self.sent.last().map_or(LogOffset(0), |sent| sent.end);
        let segment = self.options.segment_bytes;
        let store = self.store();
        // A filler behind the last record may have survived without the record it made room for.
        assert!(
            store.end() == end || store.end().0 == end.0.next_multiple_of(segment),
            "{end} {:?}",
            store.end()
        );
        self.check();
    }

    /// A record that was sent with a key is found by it, exactly once.
    fn check_key(&self, store: &Store, sent: &Sent) {
        if sent.keyless || store.index_failed().is_some() {
            return;
        }
        let found =
            store.query(&sent.topic, &key_of(&sent.body), 32, Millis(0), Millis(i64::MAX)).unwrap().unwrap();
        let at = LogOffset(sent.end.0 - sent.size);
        assert_eq!(found.offsets, [at], "{} {} {:?}", sent.topic, key_of(&sent.body), self.opened);
        let record = store.record(at).unwrap().unwrap();
        let Ok(kerolox_protocol::record::Entry::Message(record)) = kerolox_protocol::record::parse(&record)
        else {
            panic!("no record at {at}");
        };
        assert_eq!(record.body, sent.body);
    }

    /// Every record below `end` that was sent with keys is found by them, and none else is.
    pub fn check_keys(&self, store: &Store, opened: &Opened, end: LogOffset) -> Result<(), String> {
        let search = |topic: &str, key: &str| -> Vec<LogOffset> {
            let found = store.query(topic, key, 99, Millis(0), Millis(i64::MAX)).unwrap().unwrap();
            let mut offsets = found.offsets;
            offsets.sort();
            offsets
        };
        let keyed = || self.sent.iter().filter(|sent| !sent.keyless && sent.end <= end);
        for sent in keyed() {
            let at = LogOffset(sent.end.0 - sent.size);
            let found = search(&sent.topic, &key_of(&sent.body));
            if found != [at] {
                return Err(format!("the key of {at} leads to {found:?}: {opened:?}"));
            }
        }
        let topics: BTreeSet<&str> = self.sent.iter().map(|sent| &*sent.topic).collect();
        for topic in topics {
            let of_topic = keyed().filter(|sent| sent.topic == topic);
            let expected: Vec<_> = of_topic.map(|sent| LogOffset(sent.end.0 - sent.size)).collect();
            let found = search(topic, "all");
            if found != expected {
                return Err(format!("the key of all leads to {found:?}, not {expected:?}: {opened:?}"));
            }
        }
        Ok(())
    }

    /// Offsets and bodies of a queue, the way a consumer gets them who asks again where it is told to, and goes on
    /// behind what is lost.
    pub fn consume(&mut self, topic: &str, queue: u32) -> Vec<(u64, Vec<u8>)> {
        let Some(slot) = self.store().find_slot(topic, QueueId(queue)) else { return Vec::new() };
        let mut next = self.store().bounds(slot).min;
        let (mut found, mut tries) = (Vec::new(), 0);
        loop {
            assert!(tries < 4, "a consumer of {topic} {queue} is stuck at {next}");
            let plan = self.store().plan(slot, next, LIMITS, &mut |_| true);
            let to = match plan.status {
                PlanStatus::Overflow | PlanStatus::Empty => return found,
                PlanStatus::FoundNull => plan.next,
                PlanStatus::Found | PlanStatus::Removing => {
                    let mut bytes = Vec::new();
                    let filled = plan.slices.fill(&mut bytes).unwrap();
                    for record in kerolox_protocol::record::parse_all(&bytes) {
                        let record = record.unwrap();
                        assert!(record.crc_matches());
                        assert_eq!((record.topic, record.queue_id), (topic, queue as i32));
                        found.push((record.queue_offset as u64, record.body.to_vec()));
                    }
                    match filled {
                        Filled::Until(rotten) if rotten.is_lost => rotten.offset + 1,
                        Filled::Until(rotten) => rotten.offset,
                        _ => plan.next,
                    }
                }
                other => panic!("{other:?} at {next} of {topic} {queue}"),
            };
            tries = if to == next { tries + 1 } else { 0 };
            next = to;
            // What is to be made again is, before it is asked for again.
            self.settle();
        }
    }

    /// Compares everything that readers see with the model.
    pub fn check(&mut self) {
        let store = self.store.as_ref().unwrap();
        let confirmed = store.confirmed();
        let mut expected: BTreeMap<(&str, u32), Vec<&Sent>> = BTreeMap::new();
        for sent in &self.sent {
            let queue = expected.entry((&sent.topic, sent.queue)).or_default();
            assert_eq!(sent.offset, queue.len() as u64, "offsets are dense");
            queue.push(sent);
        }
        for ((topic, queue), all) in expected {
            let visible: Vec<_> = all.into_iter().take_while(|sent| sent.end <= confirmed).collect();
            let Some(slot) = store.find_slot(topic, QueueId(queue)) else {
                assert!(visible.is_empty(), "{topic} {queue} is gone");
                continue;
            };
            assert_eq!(store.bounds(slot).max.0, visible.len() as u64, "end of queue {queue} of {topic}");
            let found = read_all(store, topic, queue, 0);
            assert_eq!(found.len(), visible.len());
            for (found, sent) in found.iter().zip(visible) {
                assert_eq!((found.0, &found.1), (sent.offset, &sent.body));
                self.check_key(store, sent);
            }
        }
    }
}

/// The unique key of a record.
pub fn key_of(body: &[u8]) -> String {
    body.iter().take(8).map(|b| format!("{b:02X}")).collect()
}

/// What a consumer gets that reads a queue from an offset on; none at its end.
pub fn next_plan(store: &Store, topic: &str, queue: u32, next: QueueOffset) -> Option<Plan> {
    let plan = store.plan(store.find_slot(topic, QueueId(queue))?, next, LIMITS, &mut |_| true);
    match plan.status {
        PlanStatus::Overflow | PlanStatus::Empty => None,
        PlanStatus::Found | PlanStatus::Removing => Some(plan),
        other => panic!("{other:?} at {next} of {topic} {queue}"),
    }
}

/// Offsets and bodies of a queue from an offset on, the way a consumer gets them.
pub fn read_all(store: &Store, topic: &str, queue: u32, from: u64) -> Vec<(u64, Vec<u8>)> {
    let Some(slot) = store.find_slot(topic, QueueId(queue)) else { return Vec::new() };
    let mut next = QueueOffset(from.max(store.bounds(slot).min.0));
    let mut found = Vec::new();
    while let Some(plan) = next_plan(store, topic, queue, next) {
        assert!(plan.next > next, "a plan goes on");
        let mut bytes = Vec::new();
        plan.slices.read_into(&mut bytes).unwrap();
        assert_eq!(bytes.len() as u64, plan.slices.total_len());
        for record in kerolox_protocol::record::parse_all(&bytes) {
            let record = record.unwrap();
            assert!(record.crc_matches());
            assert_eq!((record.topic, record.queue_id), (topic, queue as i32));
            found.push((record.queue_offset as u64, record.body.to_vec()));
        }
        next = plan.next;
    }
    found
}
