//! The state as the original's JSON files, for a 4.9 broker that takes over and for people who look.
//!
//! The log is the truth; these files are copies, in the directory `config` of the store. They are replaced
//! whole: written aside, synced, renamed, the directory synced.
//!
//! ```text
//!   text ──► hash noted in the log ──► the note is durable ──► file replaced
//! ```
//! In this order a file is either one of our last exports, or somebody else changed it: a 4.9
//! broker that ran on the directory, or a person. Such a file is imported at the start. (If the file were
//! replaced before the note is durable, a power cut could make our own export look foreign.)

use crate::{
    Broker,
    call::Out,
    jobs::{BrokerJob, ExportDone, ExportJob},
    offsets::OffsetChange,
    state::Piece,
    topics::TopicConfig,
};
use crate::{groups::GroupConfig, topics::DataVersion};
use kerolox_net::Now;
use kerolox_protocol::{
    GroupName, LogOffset, Millis, QueueOffset, TopicName,
    body::fastjson::{self, Limits},
};
use kerolox_store::{
    Level, Line,
    disk::Disk,
    quarantine,
    smallfile::{self, Digest},
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
};
use tracing::warn;

const TOPICS: &str = "topics.json";
const GROUPS: &str = "subscriptionGroup.json";
const OFFSETS: &str = "consumerOffset.json";
const DELAY: &str = "delayOffset.json";
/// All exported files.
pub const FILES: [&str; 4] = [TOPICS, GROUPS, OFFSETS, DELAY];
/// Each so many bytes of text put the next export off by a millisecond: 30 MB, half a minute.
const BYTES_PER_MS: usize = 1_000;
/// Hashes of a file that count as ours: all since the one before the last that certainly got there, which is the
/// `.bak`. Each crash between note and file leaves one more, and the file as it was; so many crashes in a row
/// are allowed for.
const HASHES_MAX: usize = 32;

/// Which tables changed since their last export, and what is on its way.
#[derive(Debug)]
pub(crate) struct Export {
    pub topics: bool,
    pub groups: bool,
    pub offsets: bool,
    pub delay: bool,
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    due: Millis,
    /// Files whose note is not durable yet.
    waiting: Vec<(LogOffset, ExportJob)>,
    running: usize,
    /// Files that were set aside: to be written even if nothing changed.
    gone: Vec<String>,
    /// Hash of each file as it certainly is on the disk.
    written: BTreeMap<&'static str, String>,
}

impl Export {
    pub(crate) fn new(disk: Arc<dyn Disk>, dir: PathBuf, due: Millis) -> Export {
        Export {
            topics: false,
            groups: false,
            offsets: false,
            delay: false,
            disk,
            dir,
            due,
            waiting: Vec::new(),
            running: 0,
            gone: Vec::new(),
            written: BTreeMap::new(),
        }
    }

    fn changed(&self) -> bool {
        self.topics || self.groups || self.offsets || self.delay
    }

    /// Whether nothing is on its way.
    pub(crate) fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.running == 0
    }

    /// Whether files wait for the log to be durable.
    pub(crate) fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    pub(crate) fn next_timer(&self) -> Option<Millis> {
        (self.changed() && self.is_idle()).then_some(self.due)
    }

    /// A file was set aside and is to be written at the next export.
    fn write_anew(&mut self, name: &str) {
        self.gone.push(name.to_owned());
        match name {
            TOPICS => self.topics = true,
            GROUPS => self.groups = true,
            OFFSETS => self.offsets = true,
            DELAY => self.delay = true,
            _ => {}
        }
    }

    fn on_done(&mut self, done: &ExportDone) {
        self.running = self.running.saturating_sub(1);
        if let Err(why) = &done.result {
            // The log has everything; the next change tries again.
            warn!(file = done.name, %why, "state file could not be written");
        }
    }

    /// Hands out the files whose notes are durable.
    pub(crate) fn release(&mut self, flushed: LogOffset, out: &mut Out) {
        if self.waiting.is_empty() {
            return;
        }
        let (ready, rest) =
            std::mem::take(&mut self.waiting).into_iter().partition(|(end, _)| *end <= flushed);
        self.waiting = rest;
        let ready: Vec<(LogOffset, ExportJob)> = ready;
        self.running += ready.len();
        for (_, job) in ready {
            out.job(BrokerJob::Export(job));
        }
    }
}

#[derive(Serialize, Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct TopicsFile {
    data_version: DataVersion,
    topic_config_table: BTreeMap<String, TopicConfig>,
}

#[derive(Serialize, Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct GroupsFile {
    data_version: DataVersion,
    subscription_group_table: BTreeMap<String, GroupConfig>,
}

#[derive(Serialize, Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct OffsetsFile {
    offset_table: BTreeMap<String, BTreeMap<u32, i64>>,
}

#[derive(Serialize, Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct DelayFile {
    offset_table: BTreeMap<u32, i64>,
}

impl Broker {
    /// Starts exports of what changed: every `flushConsumerOffsetInterval`, or at once with `now_all`.
    pub(crate) fn export_tick(&mut self, now: Now, at_once: bool) {
        let due = self.export.changed() && self.export.is_idle() && (at_once || self.export.due <= now.mono);
        if !due {
            return;
        }
        // Also when nothing can be noted now: a timer that stays due would keep the server awake.
        self.export.due = now.mono + Millis(self.options.broker.flush_consumer_offset_interval.0);
        if self.has_refused_notes() {
            return;
        }
        let mut texts = Vec::new();
        if std::mem::take(&mut self.export.topics) {
            texts.push((TOPICS, self.topics_text()));
        }
        if std::mem::take(&mut self.export.groups) {
            texts.push((GROUPS, self.groups_text()));
        }
        if std::mem::take(&mut self.export.offsets) {
            texts.push((OFFSETS, self.offsets_text()));
        }
        if std::mem::take(&mut self.export.delay) {
            texts.push((DELAY, self.delay_text()));
        }
        // Large tables are written less often: making their text holds up everybody else, and the log has it.
        let bytes: usize = texts.iter().map(|(_, text)| text.len()).sum();
        self.export.due = self.export.due + Millis((bytes / BYTES_PER_MS) as i64);
        let mut piece = Piece::default();
        let mut jobs = Vec::new();
        for (name, text) in texts {
            let hash = Digest::of(&text).to_string();
            let gone = self.export.gone.extract_if(.., |gone| gone == name).count();
            if gone == 0 && self.state.exports.get(name).and_then(|known| known.last()) == Some(&hash) {
                continue;
            }
            let known = self.known_export(name, hash);
            piece.exports.insert(name.to_owned(), known);
            let (disk, dir) = (Arc::clone(&self.export.disk), self.export.dir.clone());
            jobs.push(ExportJob { disk, dir, name, text });
        }
        self.note(now, piece);
        let end = self.store.end();
        self.export.waiting.extend(jobs.into_iter().map(|job| (end, job)));
    }

    /// Takes note of an export that has ended.
    pub(crate) fn exported(&mut self, done: &ExportDone) {
        self.export.on_done(done);
        let Some(known) = self.state.exports.get_mut(done.name).filter(|_| done.result.is_ok()) else {
            return;
        };
        let Some(hash) = known.last().cloned() else { return };
        let before = self.export.written.insert(done.name, hash);
        let keep_from = before.and_then(|before| known.iter().position(|hash| *hash == before));
        known.drain(..keep_from.unwrap_or(0));
    }

    /// Adds a content to those of a file that count as ours.
    fn known_export(&mut self, name: &str, hash: String) -> Vec<String> {
        let known = self.state.exports.entry(name.to_owned()).or_default();
        known.push(hash);
        let spare = known.len().saturating_sub(HASHES_MAX);
        known.drain(..spare);
        known.clone()
    }

    fn topics_text(&self) -> Vec<u8> {
        let table = self.topics.all().map(|config| (config.topic_name.to_string(), config.clone())).collect();
        fastjson::to_file(&TopicsFile { data_version: self.topics.version(), topic_config_table: table })
    }

    fn groups_text(&self) -> Vec<u8> {
        let table = self.groups.all().map(|(name, config)| (name.to_string(), config.clone())).collect();
        fastjson::to_file(&GroupsFile {
            data_version: self.groups.version(),
            subscription_group_table: table,
        })
    }

    fn offsets_text(&self) -> Vec<u8> {
        let line = |(topic, group, queues): (&TopicName, &GroupName, &BTreeMap<u32, i64>)| {
            (format!("{topic}@{group}"), queues.clone())
        };
        fastjson::to_file(&OffsetsFile { offset_table: self.offsets.all().map(line).collect() })
    }

    fn delay_text(&self) -> Vec<u8> {
        let table = self.delay.progress().map(|(level, next)| (level, next.wire())).collect();
        fastjson::to_file(&DelayFile { offset_table: table })
    }

    /// Takes over files that others changed. Returns one line per such file.
    pub(crate) fn import(&mut self, now: Now, disk: &dyn Disk, dir: &Path) -> Vec<Line> {
        let mut lines = Vec::new();
        self.import_one(disk, dir, TOPICS, &mut lines, |broker, file| broker.import_topics(now, file));
        self.import_one(disk, dir, GROUPS, &mut lines, |broker, file| broker.import_groups(now, file));
        self.import_one(disk, dir, OFFSETS, &mut lines, Broker::import_offsets);
        self.import_one(disk, dir, DELAY, &mut lines, Broker::import_delay);
        lines
    }

    fn import_one<T: DeserializeOwned>(
        &mut self,
        disk: &dyn Disk,
        dir: &Path,
        name: &str,
        lines: &mut Vec<Line>,
        take: impl FnOnce(&mut Broker, T) -> Result<String, String>,
    ) {
        let parse = |text: &[u8]| fastjson::from_slice_limited::<T>(text, Limits::FILE);
        let loaded = match smallfile::load(disk, &dir.join(name), parse) {
            Ok(loaded) => loaded,
            Err(why) => {
                let line = format!("config/{name} cannot be read ({why}); the state of the log stands");
                return lines.push(Line::warn(line));
            }
        };
        for problem in &loaded.problems {
            let aside = problem.is_unreadable.then(|| {
                // From the log it is written anew.
                self.export.write_anew(name);
                let root = dir.parent().unwrap_or(dir);
                quarantine::set_aside(disk, root, &problem.path)
            });
            let text = match aside {
                Some(Ok(to)) => format!("state file {problem}; it is moved to {}", to.display()),
                Some(Err(why)) => format!("state file {problem}, and cannot be moved away: {why}"),
                None => format!("state file {problem}"),
            };
            lines.push(Line::warn(text));
        }
        let (Some(value), Some(digest)) = (loaded.value, loaded.digest) else { return };
        if self.state.exports.get(name).is_some_and(|known| known.contains(&digest.to_string())) {
            return;
        }
        let (level, found) = match take(self, value) {
            Ok(line) => {
                // From now on the log stands, also if the process ends before the next export.
                self.known_export(name, digest.to_string());
                self.state.force_snapshot();
                (Level::Info, line)
            }
            Err(why) => (Level::Warn, format!("it cannot be used ({why}); the state of the log stands")),
        };
        let text = format!("config/{name} was changed by a 4.9 broker or by hand: {found}");
        lines.push(Line { level, text });
    }

    fn import_topics(&mut self, now: Now, file: TopicsFile) -> Result<String, String> {
        if is_older(file.data_version, self.topics.version()) {
            return Ok("it is older than the log, which stands".to_owned());
        }
        let n = file.topic_config_table.len();
        let gone = self.topics.all().map(|topic| topic.topic_name.clone());
        let gone: Vec<_> = gone.filter(|name| !file.topic_config_table.contains_key(name.as_str())).collect();
        for name in gone.iter().filter(|name| !self.builtin_topics.contains(*name)) {
            self.topics.remove(now.wall, name);
        }
        for config in file.topic_config_table.into_values() {
            self.topics.put(now.wall, config);
        }
        self.topics.set_version(file.data_version);
        self.export.topics = true;
        Ok(format!("{n} topics taken over"))
    }

    fn import_groups(&mut self, now: Now, file: GroupsFile) -> Result<String, String> {
        if is_older(file.data_version, self.groups.version()) {
            return Ok("it is older than the log, which stands".to_owned());
        }
        let n = file.subscription_group_table.len();
        let gone: Vec<GroupName> = self.groups.all().map(|(name, _)| name.clone()).collect();
        for name in gone.iter().filter(|name| !file.subscription_group_table.contains_key(name.as_str())) {
            self.groups.remove(now.wall, name);
        }
        for (name, config) in file.subscription_group_table {
            let name = GroupName::new(&name).map_err(|why| format!("group {name:?}: {why}"))?;
            self.groups.put(now.wall, name, config);
        }
        self.groups.set_version(file.data_version);
        self.export.groups = true;
        Ok(format!("{n} groups taken over"))
    }

    fn import_offsets(&mut self, file: OffsetsFile) -> Result<String, String> {
        let mut n = 0;
        for (key, queues) in file.offset_table {
            // Keys of light queues and of names that could never be committed here are passed over.
            let Some((topic, group)) = key.split_once('@') else { continue };
            let (Ok(topic), Ok(group)) = (TopicName::new(topic), GroupName::new(group)) else { continue };
            for (queue, offset) in queues {
                n += 1;
                self.offsets.restore(OffsetChange {
                    topic: topic.clone(),
                    group: group.clone(),
                    queue,
                    offset: Some(offset),
                });
            }
        }
        self.export.offsets = true;
        Ok(format!("{n} offsets taken over"))
    }

    fn import_delay(&mut self, file: DelayFile) -> Result<String, String> {
        let n = file.offset_table.len();
        for (level, next) in file.offset_table {
            self.delay.restore(level, QueueOffset::try_from(next).unwrap_or_default());
        }
        self.export.delay = true;
        Ok(format!("progress of {n} delay levels taken over"))
    }
}

/// Newer wins; equal means changed by hand, which counts.
fn is_older(file: DataVersion, log: DataVersion) -> bool {
    (file.timestamp, file.counter) < (log.timestamp, log.counter)
}
