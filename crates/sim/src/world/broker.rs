//! The broker's lives: start, inspection after each group, end; and the last look at its files.

use super::{
    Event, STOP_MS, Slot, World,
    layout::{INDEX_KEYS, INDEX_SLOTS, LOG_DIR, ROOT},
    traffic::BROKER,
};
use crate::{
    clients::{NAMESRVS, consumer::Consumer, producer::topic_name},
    network::NodeId,
    options::{DELAY_LEVELS, DELAYS, Mode},
    oracle::{Before, Crash, Shown, Table},
    process::{Chunk, Process, Running, Sends},
    rec::{Rec, rec_at},
    walk::{Walk, walk},
};
use kerolox_broker::{Broker, Pace};
use kerolox_config::{Loaded, Machine, Role, Sources};
use kerolox_namesrv::Namesrv;
use kerolox_protocol::{
    LogOffset, Millis, code,
    frame::{self, FRAME_BYTES_MAX, Split},
    header::Header,
    record,
};
use kerolox_said::Said;
use kerolox_store::{
    QueueEntry, Refusal, checkpoint,
    disk::{Disk, Paths},
};
use std::{collections::BTreeMap, ops::Range, path::Path};
use tracing::Level;

/// So long after the last deletion queues must begin where the log does.
const QUIET_MS: i64 = 20_000;
/// So long may it take to read everything from the start.
const AUDIT_MS: i64 = 60_000;
/// So long may it take to find damage that nothing stands behind.
const REPORT_MS: i64 = 10_000;

fn load(role: Role, words: &[String]) -> Result<Loaded, String> {
    let env = |name: &str| (name == "HOME").then(|| "/home/u".to_owned());
    let machine = Machine { host_name: Some("sim".to_owned()), ..Machine::default() };
    let sources = Sources { role, file: None, namesrv_addr: None, words, env: &env, machine };
    kerolox_config::load(&sources).map_err(|why| format!("{why:?}"))
}

impl World {
    fn broker_options(&self) -> Result<kerolox_broker::Options, String> {
        let options = &self.options;
        let flush = if options.mode == Mode::Sync { "SYNC_FLUSH" } else { "ASYNC_FLUSH" };
        let (ip, port) = BROKER.split_once(':').unwrap_or_default();
        let words = [
            format!("listenPort={port}"),
            format!("brokerIP1={ip}"),
            format!("namesrvAddr={}", NAMESRVS[..options.namesrvs].join(";")),
            format!("storePathRootDir={ROOT}"),
            format!("flushDiskType={flush}"),
            format!("mappedFileSizeCommitLog={}", options.segment_bytes),
            format!("mappedFileSizeConsumeQueue={}", options.queue_file_bytes),
            format!("flushIntervalCommitLog={}", options.flush_interval_ms),
            format!("messageDelayLevel={DELAY_LEVELS}"),
            format!("maxHashSlotNum={INDEX_SLOTS}"),
            format!("maxIndexNum={INDEX_KEYS}"),
            // Where nothing may be deleted the oracle asks for everything.
            "fileReservedTime=1000".to_owned(),
            format!("deleteWhen={}", (0..24).map(|hour| format!("{hour:02}")).collect::<Vec<_>>().join(";")),
            format!("cleanFileForciblyEnable={}", self.deletes_for_room()),
            format!("cleanResourceInterval={}", options.deletion.map_or(10_000, |deletion| deletion.look_ms)),
        ];
        let loaded = load(Role::Broker, &words)?;
        let address = ip.parse().map_err(|_| "the broker's address".to_owned())?;
        let mut options = kerolox_broker::Options::new(loaded.broker, loaded.store, loaded.server, address);
        options.seed = self.options.seed;
        let keep_ms = self.options.deletion.map_or(1_000 * 3_600_000, |deletion| deletion.keep_ms);
        options.pace = Some(Pace {
            keep: Millis(keep_ms),
            checkpoint_interval: Millis(self.options.checkpoint_ms),
            tail_bytes: self.options.tail_bytes,
        });
        Ok(options)
    }

    fn deletes_for_room(&self) -> bool {
        self.options.deletion.is_some_and(|deletion| deletion.disk_bytes.is_some())
    }

    /// Looks whether log files were deleted, and whether that was right.
    fn judge_deletion(&mut self) {
        let Some(process) = &self.broker.process else { return };
        let first = process.service.store.first().0;
        if !self.oracle.begins_at(first) {
            return;
        }
        let walk = self.walk();
        self.trace.note(self.now, format!("the log begins at {first}"));
        let keep_ms =
            self.options.deletion.map(|deletion| deletion.keep_ms).filter(|_| !self.deletes_for_room());
        self.oracle.deleted(self.now, self.wall, &walk, first, keep_ms);
    }

    /// Whether it was right to send consumers on.
    pub(super) fn judge_skips(&mut self) {
        if !self.oracle.has_skips() {
            return;
        }
        let Some(process) = &self.broker.process else { return };
        let first = process.service.store.first().0;
        let walk = self.walk();
        self.oracle.judge_skips(&walk, first);
    }

    pub(super) fn start(&mut self, node: NodeId) {
        if self.is_up(node) {
            return;
        }
        let started = match node {
            NodeId::Namesrv => self.start_namesrv(0),
            NodeId::Namesrv2 => self.start_namesrv(1),
            NodeId::Broker => self.start_broker(),
        };
        let Err(why) = started else { return };
        if self.is_full || self.is_sick || self.disk_bytes().is_some() {
            // As it should, it says why; somebody tries again.
            self.oracle.happened("no start on a bad disk");
            self.after(500, Event::Start(node));
        } else {
            self.oracle.violated("start", format!("{node:?} does not start: {why}"));
        }
    }

    fn start_namesrv(&mut self, number: usize) -> Result<(), String> {
        let config = load(Role::Namesrv, &[])?;
        let opened = Namesrv::open(self.time(), config, self.files[number].clone());
        let service = opened.map_err(|why| why.to_string())?;
        let slot = &mut self.namesrvs[number];
        let life = slot.life + 1;
        *slot = Slot { process: Some(Process::new(service)), life, timer_at: None, stopping: false };
        Ok(())
    }

    fn start_broker(&mut self) -> Result<(), String> {
        self.judge_cut();
        let opened = Broker::open(self.disk.handle(), self.broker_options()?, self.time());
        self.note_lost_writes();
        self.listen();
        if self.is_fatal() {
            drop(opened);
            self.crash_in_recovery();
            return Ok(());
        }
        let (broker, lines) = opened.map_err(|why| why.to_string())?;
        for line in &lines {
            self.trace.note(self.now, format!("recovery: {line}"));
            self.oracle.said(&line.text);
        }
        let life = self.broker.life + 1;
        let end = broker.store.end();
        self.oracle.told_damage(broker.store.damaged());
        if let Some(torn) = self.before.as_ref().and_then(|before| before.torn_from) {
            let torn = broker.store.damaged().iter().map(|part| part.start.max(torn)..part.end);
            let torn: Vec<_> = torn.filter(|part| !part.is_empty()).collect();
            self.judge_torn(&torn);
            self.oracle.rot.add_holes(torn);
        }
        let cut = self.oracle.rot.cut(end.0);
        let power = self.before.as_ref().is_some_and(|before| before.crash == Crash::PowerCut);
        self.oracle.cut_off(&cut, power);
        self.trace.note(self.now, format!("broker starts its life {life}, the log ends at {end}"));
        self.broker = Slot { process: Some(Process::new(broker)), life, timer_at: None, stopping: false };
        if let Some(before) = self.before.take() {
            let after = self.walk();
            self.oracle.restarted(&before, &after);
            self.oracle.census(&after);
            let table = self.table();
            self.oracle.offsets_found(before.ms, &table);
        }
        self.oracle.starts(self.now);
        self.compare_queues(false, "after the start");
        Ok(())
    }

    /// A power cut came over damage in a part of the log that was flushed since the last checkpoint, and that looks as
    /// if it had never been.
    fn judge_cut(&mut self) {
        let is_cut = |before: &Before| before.crash == Crash::PowerCut && before.cut_from.is_none();
        if !self.options.has_rot() || !self.before.as_ref().is_some_and(is_cut) {
            return;
        }
        let known = checkpoint::load_progress(&self.disk, &Paths::under(ROOT)).ok();
        let flushed = known.and_then(|loaded| loaded.value).map_or(0, |progress| progress.flushed.0);
        let is_blind = self.oracle.rot.has_small(|path| self.disk.bytes(path).ok());
        let byte = |at: u64| self.log_from(at).first().copied().unwrap_or(0);
        let cut_from = self.oracle.rot.first_hollow(flushed, byte);
        // Queue files have entries of nothing but flushed records.
        let cut_from =
            cut_from.and_then(|cut| self.oracle.rot.first_hollow(flushed.max(self.filed(cut)), byte));
        if let Some(before) = &mut self.before {
            // Without one of its small files recovery knows of no power cut, or takes the store for another broker's:
            // what was torn is damage whose places stay taken.
            let torn = is_blind.then_some(before.flushed);
            before.torn_from = torn;
            before.cut_from = cut_from.into_iter().chain(torn).min();
        }
    }

    /// The end of the last record from a position on that stands in the log and has an entry in a queue file.
    fn filed(&self, from: u64) -> u64 {
        let mut end = 0;
        for dir in self.queue_dirs() {
            let mut names = dir.iter().rev().filter_map(|name| name.to_str());
            let (Some(queue), Some(topic)) = (names.next(), names.next()) else { continue };
            for file in self.disk.list(&dir).unwrap_or_default() {
                let Ok(base) = file.name.parse::<i64>() else { continue };
                let bytes = self.disk.bytes(&dir.join(&file.name)).unwrap_or_default();
                for (offset, bytes) in (base / 20..).zip(bytes.chunks_exact(20)) {
                    let Some((at, ..)) = entry(bytes).filter(|(at, ..)| *at >= from) else { continue };
                    let rec = rec_at(&self.log_from(at), at, &DELAYS);
                    let is_it = |rec: &Rec| {
                        rec.topic == topic && rec.queue.to_string() == queue && rec.offset == offset
                    };
                    end = rec.filter(is_it).map_or(end, |rec| rec.end().max(end));
                }
            }
        }
        end
    }

    /// Nothing that the power cut left whole is taken for torn.
    fn judge_torn(&mut self, torn: &[Range<u64>]) {
        let Some(before) = &self.before else { return };
        let is_within = |rec: &&Rec| torn.iter().any(|part| part.start <= rec.at && rec.end() <= part.end);
        let is_whole = |rec: &&Rec| rec_at(&self.log_from(rec.at), rec.at, &DELAYS).as_ref() == Some(*rec);
        if let Some(rec) = before.walk.records.iter().filter(is_within).find(is_whole) {
            let text = format!("the power cut left {rec:?} whole, and it is set aside as damage");
            self.oracle.violated("rot", text);
        }
    }

    /// What a file of the log holds from a position on.
    fn log_from(&self, at: u64) -> Vec<u8> {
        let base = at - at % self.options.segment_bytes;
        let mut bytes = self.disk.bytes(&Path::new(LOG_DIR).join(format!("{base:020}"))).unwrap_or_default();
        bytes.split_off(bytes.len().min((at - base) as usize))
    }

    /// What the broker said in its log.
    pub(super) fn listen(&mut self) {
        let said = self.said.as_ref().map(Said::all).unwrap_or_default();
        for (_, line) in said.into_iter().filter(|(level, _)| *level <= Level::WARN) {
            self.trace.note(self.now, format!("says: {line}"));
            self.oracle.said(&line);
        }
    }

    /// A new group reads everything from the start: damage to what is made from the log takes nothing from it, and
    /// what is passed over was said to be damaged.
    pub(super) fn audit(&mut self) {
        if !self.options.has_rot() || self.oracle.verdict().is_some() {
            return;
        }
        let walk = self.walk();
        let topics: Vec<String> = (0..self.options.topics).map(topic_name).collect();
        let is_wanted = |topic: &str| topics.iter().any(|name| name == topic);
        let client = self.clients.len();
        self.clients.push(Some(Box::new(Consumer::auditor(client, &self.options))));
        self.trace.note(self.now, "audit".to_owned());
        self.at(self.now, Event::Tick(client));
        let done = |world: &World| world.oracle.not_audited(&walk, is_wanted).is_none();
        if !self.until(self.now + AUDIT_MS, done) && self.oracle.verdict().is_none() {
            let missed = format!("{:?}", self.oracle.not_audited(&walk, is_wanted));
            let text = format!("a new group is not given {missed}, which is whole");
            self.oracle.violated("I9", text);
        }
        let told = |world: &World| world.oracle.unreported(&walk, is_wanted).is_none();
        if !self.until(self.now + REPORT_MS, told) && self.oracle.verdict().is_none() {
            let silent = format!("{:?}", self.oracle.unreported(&walk, is_wanted));
            self.oracle.violated("rot", format!("nobody says that {silent} is damaged"));
        }
    }

    /// The machine dies while it recovers: the next start begins from what that left.
    fn crash_in_recovery(&mut self) {
        let Some(armed) = self.armed.take() else { return };
        self.oracle.happened("crash while recovering");
        self.trace.note(self.now, "crash while recovering".to_owned());
        let seed = self.random.faults.next();
        self.disk = if armed.power { self.disk.power_cut(seed) } else { self.disk.kill() };
        if armed.power
            && let Some(before) = &mut self.before
        {
            before.crash = Crash::PowerCut;
        }
        self.after(50, Event::Start(NodeId::Broker));
    }

    /// The log as it is on the disk.
    pub(super) fn walk(&self) -> Walk {
        let rot = &self.oracle.rot;
        walk(&self.disk, Path::new(LOG_DIR), self.options.segment_bytes, &DELAYS, u64::MAX, rot)
    }

    fn table(&self) -> Table {
        let Some(process) = &self.broker.process else { return Table::new() };
        let mut table = Table::new();
        for (topic, group, queues) in process.service.offsets.all() {
            for (queue, offset) in queues {
                table.insert((topic.to_string(), group.to_string(), *queue), *offset);
            }
        }
        table
    }

    /// Ends the broker's life, and leaves the disk as that leaves it.
    pub(super) fn end_broker(&mut self, how: Crash) {
        self.note_lost_writes();
        let Some(process) = self.broker.process.take() else { return };
        let store = &process.service.store;
        let (written, flushed) = (store.written().0, store.flushed().0);
        let failed = matches!(store.writable(), Err(Refusal::Poisoned(_)));
        // A store that failed while it stopped has done what it could; its next start makes up for the rest.
        let how = if how == Crash::Stopped && failed { Crash::Killed } else { how };
        let walk = self.walk();
        self.trace
            .note(self.now, format!("the log ends at {}, written {written}, flushed {flushed}", walk.end));
        self.before = Some(Before {
            crash: how,
            ms: self.now,
            walk,
            written,
            flushed,
            cut_from: None,
            torn_from: None,
        });
        self.strays.clear();
        self.broker.timer_at = None;
        self.armed = None;
        let seed = self.random.faults.next();
        self.disk = match how {
            Crash::PowerCut => self.disk.power_cut(seed),
            Crash::Killed | Crash::Stopped => self.disk.kill(),
        };
        if self.now < self.cold_until {
            self.disk.set_resident(Some(false));
        }
        // Dropped after its disk was taken away: nothing it does now counts.
        drop(process);
        self.is_sick = false;
        if how == Crash::Stopped {
            self.compare_files();
        }
        self.rot_between_lives();
    }

    /// What must hold after every group.
    pub(super) fn inspect(&mut self, sends: &Sends) {
        let table = self.table();
        self.oracle.offsets_are(self.now, table);
        self.judge_deletion();
        let Some(process) = &self.broker.process else { return };
        let store = &process.service.store;
        let (written, flushed, confirmed) = (store.written().0, store.flushed().0, store.confirmed().0);
        self.oracle.progress(self.broker.life, written, flushed, confirmed);
        for (_, chunk) in &sends.chunks {
            if let Chunk::Bytes(bytes) = chunk {
                pulled(bytes).for_each(|end| self.oracle.pulled(end, confirmed));
            }
        }
        if let Err(Refusal::Poisoned(poisoned)) = store.writable()
            && self.oracle.poisoned(self.now, &poisoned.why)
        {
            self.trace.note(self.now, format!("poisoned: {}", poisoned.why));
            let pause = self.random.faults.between(500, 4_000);
            let life = self.broker.life;
            self.after(pause, Event::Operator(life));
        }
    }

    /// Queues as the running store shows them, against its log.
    fn compare_queues(&mut self, exact: bool, when: &str) {
        let Some(process) = &self.broker.process else { return };
        let store = &process.service.store;
        let mut shown: BTreeMap<(String, i32), Shown> = BTreeMap::new();
        for topic in store.topics() {
            for queue in store.queues(&topic) {
                let mut entries = Vec::new();
                let mut next = queue.bounds.min;
                while next < queue.bounds.max {
                    let before = entries.len();
                    if let Err(why) = store.entries(queue.slot, next, 64, &mut entries) {
                        return self.oracle.violated("I15", format!("{topic}/{}: {why}", queue.id));
                    }
                    let n = entries.len() - before;
                    let place = (topic.to_string(), queue.id.wire(), next.wire());
                    if n == 0 && self.oracle.rot.has_entry(&place) {
                        entries.push(UNREAD);
                        next += 1;
                        continue;
                    }
                    if n == 0 {
                        break;
                    }
                    next += n as u64;
                }
                let entries = entries.iter().map(|entry| (entry.at.0, entry.size, entry.tags_code)).collect();
                let first = queue.bounds.min.wire();
                shown.insert((topic.to_string(), queue.id.wire()), (first, entries));
            }
        }
        let mut walk = self.walk();
        let (first, confirmed) = (store.first().0, store.confirmed().0);
        walk.records.retain(|rec| rec.at >= first && rec.end() <= confirmed);
        walk.first = first;
        self.oracle.queues_are(&walk, &shown, exact, when);
        if store.index_failed().is_none() {
            self.oracle.index_is(&walk, when, |topic, key| {
                let all = (Millis(0), Millis(i64::MAX));
                let found = store.query(topic, key, usize::MAX, all.0, all.1);
                let found = found.ok_or("there is none")?.map_err(|why| why.to_string())?;
                Ok(found.offsets.iter().map(|at| at.0).collect())
            });
        }
    }

    /// Queue files after a clean stop, read as an older broker would.
    fn compare_files(&mut self) {
        let walk = self.walk();
        let mut shown: BTreeMap<(String, i32), Shown> = BTreeMap::new();
        for (topic, queue) in walk.queues().into_keys() {
            let dir = Path::new(ROOT).join("consumequeue").join(&topic).join(queue.to_string());
            let mut bytes = Vec::new();
            let files = self.disk.list(&dir).unwrap_or_default();
            for file in &files {
                bytes.extend(self.disk.bytes(&dir.join(&file.name)).unwrap_or_default());
            }
            let first = files.first().and_then(|file| file.name.parse::<i64>().ok()).unwrap_or(0) / 20;
            let is_rotten = |n: usize| {
                let place = (topic.clone(), queue, first + n as i64);
                self.oracle.rot.has_entry(&place)
            };
            let read = |(n, bytes): (usize, &[u8])| {
                entry(bytes).or_else(|| is_rotten(n).then_some((UNREAD.at.0, UNREAD.size, UNREAD.tags_code)))
            };
            let entries = bytes.chunks_exact(20).enumerate().map_while(read).collect();
            shown.insert((topic, queue), (first, entries));
        }
        self.oracle.queues_are(&walk, &shown, false, "in the files after a stop");
    }

    /// The end of a run: the broker stops in order and starts once more, and everything is compared.
    pub(super) fn finish(&mut self) {
        if self.oracle.verdict().is_some() {
            return;
        }
        let quiet = |world: &World| world.oracle.is_quiet(world.now, QUIET_MS);
        // A look takes ten files, and the slowest looks come seldom.
        if !quiet(self) && !self.until(self.now + 20 * STOP_MS, quiet) {
            return self.oracle.violated("liveness", "deletion does not come to an end");
        }
        self.compare_queues(true, "at the end");
        let walk = self.walk();
        self.oracle.census(&walk);
        let now = self.time();
        self.broker.stopping = true;
        if let Some(process) = self.broker.process.as_mut() {
            process.stop(now);
            self.end_group(NodeId::Broker);
        }
        self.until(self.now + STOP_MS, |world| world.broker.process.is_none());
        if self.broker.process.is_some() {
            return self.oracle.violated("liveness", "the broker does not stop");
        }
        self.until(self.now + STOP_MS, |world| world.broker.process.is_some());
        if self.broker.process.is_none() {
            self.oracle.violated("liveness", "the broker does not start again");
        }
    }
}

/// Stands for an entry that is damaged so that it is none.
const UNREAD: QueueEntry = QueueEntry { at: LogOffset(u64::MAX), size: 0, tags_code: 0 };

/// An entry of a queue file; nothing where nothing was written.
fn entry(bytes: &[u8]) -> Option<(u64, u32, i64)> {
    let at = u64::from_be_bytes(*bytes.first_chunk()?);
    let size = u32::from_be_bytes(*bytes.get(8..)?.first_chunk()?);
    let code = i64::from_be_bytes(*bytes.get(12..)?.first_chunk()?);
    (size > 0).then_some((at, size, code))
}

/// Ends of the records in the answers to pulls among `bytes`.
fn pulled(mut bytes: &[u8]) -> impl Iterator<Item = u64> + use<> {
    let mut ends = Vec::new();
    while let Ok(Split::Whole(frame, taken)) = frame::split(bytes, FRAME_BYTES_MAX) {
        let header = Header::decode(frame.codec, frame.header).ok();
        let found = header
            .is_some_and(|header| header.code == code::SUCCESS && header.get("nextBeginOffset").is_some());
        if found {
            let records = record::parse_all(frame.body).map_while(Result::ok);
            ends.extend(records.map(|record| record.physical_offset as u64 + u64::from(record.size)));
        }
        bytes = bytes.get(taken..).unwrap_or_default();
    }
    ends.into_iter()
}
