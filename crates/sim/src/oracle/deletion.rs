//! What deletion may take, and what it must leave as it was.
//!
//! Only whole files from the log's start, never the last one, and only for their age or for want of room. A queue
//! begins at its first message that is left; offsets go on as if nothing had been deleted; nothing comes back.

use super::Oracle;
use crate::{rec::Rec, walk::Walk};
use std::{collections::BTreeSet, ops::Range};

/// What is known of deletion.
#[derive(Debug, Default)]
pub(crate) struct Deleted {
    /// Where the log began, and since when, virtual ms.
    moves: Vec<(i64, u64)>,
    /// When the broker last started, virtual ms.
    started: i64,
}

/// A consumer was sent on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Skip {
    topic: String,
    queue: i32,
    offsets: Range<i64>,
}

impl Oracle {
    /// A consumer that wanted `from` was sent on to `to`.
    pub fn skipped(&mut self, topic: &str, queue: i32, from: i64, to: i64) {
        if !self.deletes && !self.rots {
            return self.gap(&(topic.to_owned(), queue, to), from);
        }
        self.skips.push(Skip { topic: topic.to_owned(), queue, offsets: from..to });
    }

    /// Whether a consumer was sent on since the last look.
    pub fn has_skips(&self) -> bool {
        !self.skips.is_empty()
    }

    /// Nobody is sent on over a message that is there. `first`: where the log begins.
    pub fn judge_skips(&mut self, walk: &Walk, first: u64) {
        for Skip { topic, queue, offsets } in std::mem::take(&mut self.skips) {
            let passed = |rec: &&Rec| {
                rec.topic == topic && rec.queue == queue && offsets.contains(&rec.offset) && rec.at >= first
            };
            if let Some(rec) = walk.records.iter().find(passed) {
                let text = format!(
                    "a consumer of {topic}/{queue} was sent from {} to {}, but {rec:?} is there",
                    offsets.start, offsets.end
                );
                self.violated("I9", text);
            }
            match self.unexplained(walk, &topic, queue, offsets.clone()) {
                Some(offset) if self.rots => {
                    let text =
                        format!("a consumer of {topic}/{queue} was sent over {offset}, which nobody lost");
                    self.violated("I4", text);
                }
                _ if self.deletes => self.happened("a consumer came too late"),
                _ => {}
            }
        }
    }

    /// The log begins at `first` in the running store.
    pub fn begins_at(&mut self, first: u64) -> bool {
        first > self.first
    }

    /// Log files were deleted: the log begins at `first` now. `keep_ms`: the age that allows it, `None` if the disk
    /// may have been too full.
    pub fn deleted(&mut self, now: i64, wall: i64, walk: &Walk, first: u64, keep_ms: Option<i64>) {
        self.first = first;
        self.deleted.moves.push((now, first));
        self.happened("log files were deleted");
        if !self.deletes {
            return self
                .violated("I16", format!("the log begins at {first} although nothing may be deleted"));
        }
        // The first record that is left is no older than the last that went.
        let left = walk.records.iter().find(|rec| rec.at >= first);
        match (left, keep_ms) {
            (None, _) => self.violated("I16", "all of the log was deleted"),
            (Some(rec), Some(keep)) if self.even_clock && rec.at == first && wall - rec.store_ms < keep => {
                let text = format!(
                    "what stands before {first} was deleted {} ms after {rec:?} came",
                    wall - rec.store_ms
                );
                self.violated("I16", text);
            }
            _ => {}
        }
        let there: BTreeSet<&str> =
            walk.records.iter().filter(|rec| rec.at >= first).filter_map(|rec| rec.id.as_deref()).collect();
        for (id, sent) in &mut self.sent {
            let begun = sent.ack.as_ref().is_some_and(|ack| ack.at < first);
            sent.deleted |= begun && !there.contains(id.as_str());
            if sent.back.owed && sent.back.since < first {
                sent.back.owed = false;
            }
        }
    }

    /// Where the log must begin at least after a crash at `ms`: a power cut may undo what was deleted just now.
    pub(crate) fn first_at(&self, ms: i64, slack_ms: i64) -> u64 {
        self.deleted
            .moves
            .iter()
            .filter(|(at, _)| *at <= ms - slack_ms)
            .map(|(_, first)| *first)
            .max()
            .unwrap_or(0)
    }

    /// The broker starts: what its last life left of a deletion it does now.
    pub fn starts(&mut self, now: i64) {
        self.deleted.started = now;
    }

    /// Whether nothing was deleted for so long, by a broker that has been up.
    pub fn is_quiet(&self, now: i64, ms: i64) -> bool {
        let quiet = self.deleted.moves.last();
        quiet.is_none_or(|(at, _)| (*at).max(self.deleted.started) < now - ms)
    }
}
