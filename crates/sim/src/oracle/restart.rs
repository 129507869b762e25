//! What a start after a crash may and may not have changed.

use super::{Oracle, Sent};
use crate::{
    options::Mode,
    rec::{Place, Rec},
    walk::Walk,
};

/// How the broker ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Crash {
    /// In order.
    Stopped,
    /// The process was killed: everything written is there.
    Killed,
    /// The machine lost power: everything flushed is there.
    PowerCut,
}

/// What was known of the log at the moment of the crash.
#[derive(Debug, Clone)]
pub struct Before {
    /// How it ended.
    pub crash: Crash,
    /// When, virtual ms.
    pub ms: i64,
    /// The log, to the last readable record.
    pub walk: Walk,
    /// The store had written up to here.
    pub written: u64,
    /// The store had flushed up to here.
    pub flushed: u64,
    /// Damage which a power cut that came over it may have cut off with all that is behind: it looks like what a power
    /// cut leaves of what was never flushed.
    pub cut_from: Option<u64>,
    /// What a power cut tore from here on is damage, since nobody knows of the cut.
    pub torn_from: Option<u64>,
}

impl Oracle {
    /// Compares the log before a crash with what the next start made of it.
    pub fn restarted(&mut self, before: &Before, after: &Walk) {
        self.poisoned = None;
        if let Some(cut) = before.cut_from {
            self.cut_from(cut, &before.walk);
        }
        let (refuses, notes) = (self.refuses, self.rotten.notes);
        if refuses || notes || self.mode == Mode::Async && before.crash == Crash::PowerCut {
            // What was noted last may be gone, and nobody promised more.
            self.holders.clear();
        } else if !self.holders.is_empty() {
            self.happened("a start with locks");
        }
        let kept = match before.crash {
            Crash::PowerCut => before.flushed,
            Crash::Killed | Crash::Stopped => before.written,
        };
        let kept = kept.min(before.cut_from.unwrap_or(u64::MAX));
        self.judge_first(before, after);
        self.judge_records(before, after, kept);
        self.judge_acks(before, after, kept);
        self.judge_places(before, after, kept);
        self.first = after.first;
        self.began = Some((before.crash, after.clone()));
    }

    /// What was deleted stays so; only a power cut may undo the last of it.
    fn judge_first(&mut self, before: &Before, after: &Walk) {
        let least = match before.crash {
            Crash::PowerCut => self.first_at(before.ms, 20_000),
            Crash::Killed | Crash::Stopped => before.walk.first,
        };
        if after.first < least {
            let text = format!("the log began at {least} before the crash, and now at {}", after.first);
            self.violated("I16", text);
        }
        if after.first > before.walk.first && !self.deletes {
            let text = format!(
                "the log began at {} before the crash, and now at {}",
                before.walk.first, after.first
            );
            self.violated("I16", text);
        }
    }

    /// Every record that had to stay is where it was, and nothing else stands in the old part of the log.
    fn judge_records(&mut self, before: &Before, after: &Walk, kept: u64) {
        let same =
            |rec: &Rec| rec.at < after.first || after.at(rec.at) == Some(rec) || self.rot.was_at(rec.at);
        if let Some(rec) = before.walk.records.iter().find(|rec| rec.end() <= kept && !same(rec)) {
            let text = format!(
                "{:?} before {kept} had to survive ({:?}, written {}, flushed {}), now the log ends at {} and there \
                 is {:?}",
                rec,
                before.crash,
                before.written,
                before.flushed,
                after.end,
                after.at(rec.at)
            );
            let acked =
                rec.id.as_ref().and_then(|id| self.sent.get(id)).is_some_and(|sent| sent.ack.is_some());
            self.violated(if acked { "I1" } else { "I6" }, text);
        }
        let old_end = before.walk.end.min(after.end);
        let old = before.walk.first..old_end;
        let differs = |rec: &&Rec| {
            old.contains(&rec.at) && before.walk.at(rec.at) != Some(rec) && !self.rot.was_at(rec.at)
        };
        let stale = after.records.iter().find(differs);
        if let Some(rec) = stale {
            self.violated("I3", format!("{rec:?} stands where something else stood before the crash"));
        }
        if after.end < before.walk.end {
            self.happened("a tail was lost");
        }
    }

    fn judge_acks(&mut self, before: &Before, after: &Walk, kept: u64) {
        let flushed_after = self.flushed_after_ms;
        let mode = self.mode;
        let mut lost = Vec::new();
        for (id, sent) in &mut self.sent {
            let Some(ack) = sent.ack.as_ref().filter(|_| !sent.lost) else { continue };
            if ack.at < after.first {
                continue;
            }
            if after.at(ack.at).is_some_and(|rec| rec.id.as_deref() == Some(id)) {
                continue;
            }
            if self.rot.was(ack.at, id) {
                continue;
            }
            let recent = flushed_after.is_none_or(|after| before.ms - ack.ms <= after);
            let may = before.crash == Crash::PowerCut
                && (!ack.promised || mode == Mode::Async && ack.at >= kept && recent)
                || before.cut_from.is_some_and(|cut| ack.at >= cut);
            if !may {
                lost.push(format!("{id}, acknowledged at {} ms, {:?}, gone after {:?} at {} ms (written {}, flushed {}, now {})",
                    ack.ms, ack, before.crash, before.ms, before.written, before.flushed, after.end));
            }
            sent.lost = true;
            sent.seen_ms = None;
        }
        for text in lost {
            self.violated("I1", text);
        }
        self.judge_ends(before, after);
        self.order.values_mut().for_each(|order| order.retain(|_, (_, at)| *at < after.end));
        self.forget_unacked(after);
    }

    /// What was committed stays committed, and what was given back comes again, within the mode's promise.
    fn judge_ends(&mut self, before: &Before, after: &Walk) {
        let may = before.crash == Crash::PowerCut && self.mode == Mode::Async || before.cut_from.is_some();
        let there: std::collections::BTreeSet<(&str, &str)> =
            after.records.iter().filter_map(|rec| Some((rec.id.as_deref()?, rec.topic.as_str()))).collect();
        let mut broken = Vec::new();
        for (id, sent) in &mut self.sent {
            if may {
                sent.back.owed = false;
            }
            let committed = sent.half.is_some_and(|half| half.commit && half.ended);
            let deleted = sent.deleted || sent.ack.as_ref().is_some_and(|ack| ack.at < after.first);
            if !committed || deleted || sent.lost || sent.rotten || there.contains(&(id, &sent.topic)) {
                continue;
            }
            if may {
                sent.lost = true;
            } else {
                broken.push(format!("{id} was committed and is gone after {:?}", before.crash));
            }
        }
        for text in broken {
            self.violated("I12", text);
        }
    }

    /// A message that nobody was told about may have gone; whoever reads it later reads it for the first time.
    fn forget_unacked(&mut self, after: &Walk) {
        let there: std::collections::BTreeSet<&str> =
            after.records.iter().filter_map(|rec| rec.id.as_deref()).collect();
        let gone = |(id, sent): (&String, &mut Sent)| {
            if sent.ack.is_none() && !there.contains(id.as_str()) {
                sent.seen_ms = None;
            }
        };
        self.sent.iter_mut().for_each(gone);
    }

    fn judge_places(&mut self, before: &Before, after: &Walk, kept: u64) {
        let mut broken = Vec::new();
        let ahead = &mut self.ahead;
        let sync = self.mode == Mode::Sync && before.cut_from.is_none();
        self.places.retain(|place, known| {
            // Of what was deleted the place stays taken.
            if known.at < after.first {
                return true;
            }
            if self.rot.was(known.at, &known.id) {
                return true;
            }
            let there = after.at(known.at).is_some_and(|rec| {
                rec.id.as_deref() == Some(known.id.as_str())
                    && (rec.topic.as_str(), rec.queue, rec.offset) == (place.0.as_str(), place.1, place.2)
            });
            if !there {
                // In the synchronous mode only durable records are shown.
                if known.seen && (known.at < kept || sync) {
                    broken.push(format!("{place:?} was read as {} at {} and is gone", known.id, known.at));
                }
                if known.seen {
                    let ahead = ahead.entry((place.0.clone(), place.1)).or_default();
                    *ahead = (*ahead).max(place.2 + 1);
                }
            }
            there
        });
        for text in broken {
            self.violated("I3", text);
        }
    }
}
