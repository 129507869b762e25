//! Looking at a store from outside, while no broker has it: what is there, whether it is whole, putting it right.
//!
//! Owns nothing and keeps nothing open. Works on the files through [`Disk`] and returns data; printing is the
//! caller's. Shares the formats with the engine but none of its recovery: what one gets wrong, the other should
//! notice. Everything but [`repair::apply`] only reads.
//!
//! | Module | Question |
//! |---|---|
//! | [`layout`] | which files are there? |
//! | `walk` | what stands in the log, record by record? |
//! | [`verify`] | does everything agree? |
//! | [`repair`] | what can be put right, and do it |
//! | [`stat`] | how much is there of what? |
//! | [`dump`] | which records are these? |

pub mod dump;
pub mod layout;
pub mod repair;
pub mod stat;
pub mod verify;

mod index;
mod patient;
mod queues;
mod small;
mod walk;

pub use patient::Unread;

use serde::Serialize;
use std::{fmt, path::Path};

#[cfg(doc)]
use crate::disk::Disk;

/// Told now and then how many bytes of how many are done.
pub type Watch<'a> = &'a mut dyn FnMut(u64, u64);

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Worth knowing; nothing is wrong.
    Note,
    /// Something a crash left lying about; harmless.
    Leftover,
    /// Something is not as it must be.
    Damage,
}

/// What a finding is about. The names are for programs and stay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// A part of the log is no record, and good records stand behind it.
    LogDamage,
    /// Behind the last record stands something that is no record.
    LogTail,
    /// A log file is missing between two others.
    LogGap,
    /// A log file has another size than it must.
    LogFileSize,
    /// A name that does not belong there.
    ForeignName,
    /// The disk cannot read a part of a file.
    Unreadable,
    /// A record tells an impossible topic, queue or offset.
    RecordPlace,
    /// A queue's records jump in their offsets.
    OffsetGap,
    /// Store times go back.
    TimeBack,
    /// A queue file has another size than it must.
    QueueFileSize,
    /// Records have no entry in their queue.
    EntryMissing,
    /// Entries tell another place, size or code than their records.
    EntryWrong,
    /// Entries name no record.
    EntryStray,
    /// Filled entries behind empty ones, or bytes that are no entry.
    EntryHole,
    /// Records are younger than what queues and index cover; the next start makes up for it.
    NotDispatched,
    /// Records of topics that are not there any more.
    TopicGone,
    /// A file of the index is not what it must be.
    IndexFile,
    /// Records have keys that are not in the index.
    IndexMissing,
    /// The index names records that do not carry the key.
    IndexStray,
    /// There is no index, or it does not reach back to the first record.
    IndexAbsent,
    /// `checkpoint` cannot be right.
    Checkpoint,
    /// `kerolox.checkpoint` or `kerolox.queues` cannot be right.
    OwnState,
    /// A configuration file does not parse.
    Config,
    /// A backup of a configuration file does not parse.
    ConfigBackup,
    /// A file that was being written when a crash came.
    Temporary,
    /// The last owner did not stop cleanly, or is running.
    NotStopped,
    /// Files that were set aside earlier.
    Quarantine,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The names of the programs' side, so that both outputs can be compared.
        match serde_json::to_value(self) {
            Ok(serde_json::Value::String(name)) => f.write_str(&name),
            _ => fmt::Debug::fmt(self, f),
        }
    }
}

/// What [`repair`] would do about a finding.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(tag = "do", rename_all = "kebab-case")]
pub enum Remedy {
    /// Clear the log from a position on.
    CutLog {
        /// Where the log ends.
        from: u64,
    },
    /// Put a copy of a log file in its place, with a mark where the file cannot be read.
    CopyLog {
        /// The file.
        path: String,
    },
    /// Give the last log file its length.
    LengthenLog {
        /// The file.
        path: String,
    },
    /// Make the files of a queue anew from the log.
    RebuildQueue {
        /// Topic.
        topic: String,
        /// Queue.
        queue: u32,
    },
    /// Make the index anew from the log.
    RebuildIndex,
    /// Put the backup in the place of a file.
    RestoreBackup {
        /// The file.
        path: String,
    },
    /// Remove a file.
    Remove {
        /// The file.
        path: String,
    },
    /// Set the original's checkpoint to "unknown", so that the next owner looks for itself.
    ResetCheckpoint,
}

/// Something that was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// What it is about.
    pub kind: Kind,
    /// The file or directory.
    pub path: String,
    /// Position: of the log, or in the file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at: Option<u64>,
    /// What is wrong, in words.
    pub text: String,
    /// What can be done; `None`: nothing here can.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remedy: Option<Remedy>,
}

impl Finding {
    fn new(severity: Severity, kind: Kind, path: &Path, text: impl Into<String>) -> Finding {
        let path = path.display().to_string();
        Finding { severity, kind, path, at: None, text: text.into(), remedy: None }
    }
    fn damage(kind: Kind, path: &Path, text: impl Into<String>) -> Finding {
        Finding::new(Severity::Damage, kind, path, text)
    }
    fn note(kind: Kind, path: &Path, text: impl Into<String>) -> Finding {
        Finding::new(Severity::Note, kind, path, text)
    }
    fn at(mut self, at: u64) -> Finding {
        self.at = Some(at);
        self
    }
    fn remedy(mut self, remedy: Remedy) -> Finding {
        self.remedy = Some(remedy);
        self
    }
}

/// More findings than this are counted but not kept.
const FINDINGS_MAX: usize = 10_000;

/// Findings, bounded.
#[derive(Debug, Default)]
struct Findings {
    all: Vec<Finding>,
    more: u64,
}

impl Findings {
    fn push(&mut self, finding: Finding) {
        if self.all.len() < FINDINGS_MAX {
            self.all.push(finding);
        } else {
            self.more += 1;
        }
    }
}

/// Ranges of numbers that mostly come in order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Ranges(Vec<std::ops::Range<u64>>);

impl Ranges {
    fn add(&mut self, n: u64) {
        match self.0.last_mut() {
            Some(last) if last.end == n => last.end += 1,
            Some(last) if last.contains(&n) => {}
            _ => self.0.push(n..n + 1),
        }
    }
    /// Added numbers may have come out of order after a queue's offsets jumped; few ranges, so a search is fine.
    fn contains(&self, n: u64) -> bool {
        self.0.iter().rev().any(|range| range.contains(&n))
    }
}
