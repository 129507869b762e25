//! What a start after a crash may and may not have changed.

use super::{Ack, Oracle, Sent};
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

/// What the end of a life of the broker may have taken.
#[derive(Debug, Clone)]
pub(crate) struct Ending {
    mode: Mode,
    crash: Crash,
    ms: i64,
    /// Everything before had to stay.
    kept: u64,
    /// See [`Before::cut_from`].
    cut_from: Option<u64>,
    /// Notes of who holds what may be gone.
    pub(super) forgot_locks: bool,
}

impl Sent {
    /// Whether it was committed, so that it stands in a log that begins at `first`.
    pub(super) fn is_to_stay(&self, first: u64) -> bool {
        let committed = self.half.is_some_and(|half| half.commit && half.ended);
        let deleted = self.deleted || self.ack.as_ref().is_some_and(|ack| ack.at < first);
        committed && !deleted && !self.lost && !self.rotten
    }
}

impl Ending {
    fn new(before: &Before, mode: Mode, loses_notes: bool) -> Ending {
        let kept = match before.crash {
            Crash::PowerCut => before.flushed,
            Crash::Killed | Crash::Stopped => before.written,
        };
        Ending {
            mode,
            crash: before.crash,
            ms: before.ms,
            kept: kept.min(before.cut_from.unwrap_or(u64::MAX)),
            cut_from: before.cut_from,
            forgot_locks: loses_notes || mode == Mode::Async && before.crash == Crash::PowerCut,
        }
    }

    /// A record that was shown to readers: in the synchronous mode only durable ones are.
    pub(super) fn may_take_shown(&self, at: u64) -> bool {
        self.crash == Crash::PowerCut && self.mode == Mode::Async && at >= self.kept || self.is_cut(at)
    }

    /// A record that was acknowledged. `flushed_after_ms`: one that was acknowledged so long before is durable.
    pub(super) fn may_take_acked(&self, ack: &Ack, flushed_after_ms: Option<i64>) -> bool {
        let is_recent = flushed_after_ms.is_none_or(|after| self.ms - ack.ms <= after);
        let is_unsafe = !ack.promised || self.mode == Mode::Async && is_recent;
        self.crash == Crash::PowerCut && ack.at >= self.kept && is_unsafe || self.is_cut(ack.at)
    }

    fn is_cut(&self, at: u64) -> bool {
        self.cut_from.is_some_and(|cut| at >= cut)
    }

    /// Something that was said to be done, and of which it is not known where it stands in the log.
    pub(super) fn may_undo(&self) -> bool {
        self.crash == Crash::PowerCut && self.mode == Mode::Async || self.cut_from.is_some()
    }
}

impl Oracle {
    /// Compares the log before a crash with what the next start made of it.
    pub fn restarted(&mut self, before: &Before, after: &Walk) {
        self.poisoned = None;
        if let Some(cut) = before.cut_from {
            self.cut_from(cut, &before.walk);
        }
        let ending = Ending::new(before, self.mode, self.refuses || self.rotten.notes);
        if ending.forgot_locks {
            // What was noted last may be gone, and nobody promised more.
            self.holders.clear();
        } else if !self.holders.is_empty() {
            self.happened("a start with locks");
        }
        self.judge_first(before, after);
        self.judge_records(before, after, ending.kept);
        self.judge_acks(before, after, &ending);
        self.judge_places(after, &ending);
        self.first = after.first;
        self.began = after.clone();
        self.endings.push(ending);
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

    fn judge_acks(&mut self, before: &Before, after: &Walk, ending: &Ending) {
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
            if !ending.may_take_acked(ack, self.flushed_after_ms) {
                lost.push(format!("{id}, acknowledged at {} ms, {:?}, gone after {:?} at {} ms (written {}, flushed {}, now {})",
                    ack.ms, ack, before.crash, before.ms, before.written, before.flushed, after.end));
            }
            sent.lost = true;
            sent.seen_ms = None;
        }
        for text in lost {
            self.violated("I1", text);
        }
        self.judge_ends(after, ending);
        self.forget_order(after);
        self.forget_unacked(after);
    }

    /// What follows a message that is gone, at the log's end or before it, may stand in its place.
    fn forget_order(&mut self, after: &Walk) {
        let rot = &self.rot;
        for ((_, topic, queue), order) in &mut self.order {
            let is_it = |rec: &Rec, offset| (&rec.topic, rec.queue, rec.offset) == (topic, *queue, offset);
            order.retain(|_, (offset, at)| {
                let is_known = *at < after.first || rot.was_at(*at) && *at < after.end;
                is_known || after.at(*at).is_some_and(|rec| is_it(rec, *offset))
            });
        }
    }

    /// What was committed stays committed, and what was given back comes again, within the mode's promise.
    fn judge_ends(&mut self, after: &Walk, ending: &Ending) {
        let there: std::collections::BTreeSet<(&str, &str)> =
            after.records.iter().filter_map(|rec| Some((rec.id.as_deref()?, rec.topic.as_str()))).collect();
        let mut broken = Vec::new();
        for (id, sent) in &mut self.sent {
            if ending.may_undo() {
                sent.back.owed = false;
            }
            if !sent.is_to_stay(after.first) || there.contains(&(id, &sent.topic)) {
                continue;
            }
            if ending.may_undo() {
                sent.lost = true;
            } else {
                broken.push(format!("{id} was committed and is gone after {:?}", ending.crash));
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

    fn judge_places(&mut self, after: &Walk, ending: &Ending) {
        let mut broken = Vec::new();
        let mut gone = Vec::new();
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
                if known.seen && !ending.may_take_shown(known.at) {
                    broken.push(format!("{place:?} was read as {} at {} and is gone", known.id, known.at));
                }
                if known.seen {
                    gone.push(place.clone());
                }
            }
            there
        });
        for text in broken {
            self.violated("I3", text);
        }
        gone.iter().for_each(|place| self.goes_ahead(place));
    }

    /// A consumer goes on behind a place that is empty now.
    pub(super) fn goes_ahead(&mut self, (topic, queue, offset): &Place) {
        let ahead = self.ahead.entry((topic.clone(), *queue)).or_default();
        *ahead = (*ahead).max(offset + 1);
    }
}
