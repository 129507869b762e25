//! The state as the original's JSON files, for a 4.9 broker that takes over and for people who look.
//!
//! The log is the truth; these files are copies, in the directory `config` of the store. They are replaced
//! whole: written aside, synced, renamed, the directory synced.
//!
//! ```text
//!   text ──► hash noted in the log ──► the note is durable ──► file replaced
//! ```
//! In this order a file is either one of our last exports, or somebody else changed it: a 4.9
//! broker that ran on the directory, or a person. Such a file is imported at the start ([`crate::import`]). (If the
//! file were replaced before the note is durable, a power cut could make our own export look foreign.)
//!
//! A file that could not be written is tried again, and after each start all are compared with the state: a 4.9 broker
//! that takes over finds what was noted last.

use crate::{
    Broker,
    call::Out,
    jobs::{BrokerJob, ExportDone, ExportJob},
    state::Piece,
    topics::TopicConfig,
};
use crate::{groups::GroupConfig, topics::DataVersion};
use kerolox_net::Now;
use kerolox_protocol::{GroupName, LogOffset, Millis, TopicName, body::fastjson};
use kerolox_store::{disk::Disk, smallfile::Digest};
use serde::Serialize;
use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    sync::Arc,
};
use tracing::{info, warn};

pub(crate) const TOPICS: &str = "topics.json";
pub(crate) const GROUPS: &str = "subscriptionGroup.json";
pub(crate) const OFFSETS: &str = "consumerOffset.json";
pub(crate) const DELAY: &str = "delayOffset.json";
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
    /// Files that are not on the disk as they should be: to be written even if nothing changed.
    gone: BTreeSet<String>,
    /// Files that could not be written; that was said.
    failed: BTreeSet<&'static str>,
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
            gone: BTreeSet::new(),
            failed: BTreeSet::new(),
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

    /// A file is to be written at the next export.
    pub(crate) fn write_anew(&mut self, name: &str) {
        self.gone.insert(name.to_owned());
        self.look_again(name);
    }

    /// The next export compares a file with the state.
    pub(crate) fn look_again(&mut self, name: &str) {
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
        match &done.result {
            Ok(()) if self.failed.remove(done.name) => info!(file = done.name, "state file is written again"),
            Ok(()) => {}
            Err(why) => {
                // The log has everything; but another broker that takes over has this.
                self.write_anew(done.name);
                if self.failed.insert(done.name) {
                    warn!(file = done.name, %why, "state file could not be written; it is tried again");
                }
            }
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

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct TopicsFile {
    data_version: DataVersion,
    topic_config_table: BTreeMap<String, TopicConfig>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct GroupsFile {
    data_version: DataVersion,
    subscription_group_table: BTreeMap<String, GroupConfig>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct OffsetsFile {
    offset_table: BTreeMap<String, BTreeMap<u32, i64>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
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
            let is_gone = self.export.gone.remove(name);
            if !is_gone && self.state.exports.get(name).and_then(|known| known.last()) == Some(&hash) {
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
    pub(crate) fn known_export(&mut self, name: &str, hash: String) -> Vec<String> {
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
}
