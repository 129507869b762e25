//! What silent damage excuses, and nothing else.
//!
//! A damaged record may be missing, and what only it told: its message, if no other record has that; what the broker
//! noted in it. Nobody may be given another body in its place, another queue's message or another position's. What no
//! checksum covers can be altered unseen: of a damaged record everything but the body, and so of what the broker
//! copies from it.

use super::{Oracle, RETRY_PREFIX, Seen};
use crate::{
    ledger::Lost,
    rec::{Place, Rec, STATE_TOPIC},
    walk::Walk,
};
use std::{collections::BTreeSet, ops::Range};

/// What follows from damage.
#[derive(Debug, Default)]
pub(crate) struct Rotten {
    /// Places of damaged records which tell them no more: they may be given away again.
    free: BTreeSet<Place>,
    /// Places of all damaged records.
    places: BTreeSet<Place>,
    /// Ids of all damaged records.
    ids: BTreeSet<String>,
    /// A note of the broker's state was damaged.
    pub(super) notes: bool,
    /// Positions of records that the auditors were given.
    audited: BTreeSet<u64>,
    /// Numbers in what the broker said was wrong.
    said: BTreeSet<u64>,
    /// All of it.
    lines: Vec<String>,
    /// Parts of the log that a start said are damaged.
    told: Vec<Range<u64>>,
}

impl Oracle {
    /// These records of the log were damaged just now. `walk`: what is left of it.
    pub fn rotted(&mut self, walk: &Walk, lost: &[(u64, Lost)]) {
        for (at, Lost { rec, body_only, .. }) in lost {
            let Some(rec) = rec else { continue };
            let place = (rec.topic.clone(), rec.queue, rec.offset);
            self.rotten.notes |= rec.topic == STATE_TOPIC;
            self.rotten.places.insert(place.clone());
            if !body_only {
                self.rotten.free.insert(place.clone());
                if self.places.get(&place).is_some_and(|known| known.at == *at) {
                    self.places.remove(&place);
                }
                self.order.values_mut().for_each(|order| order.retain(|_, (_, there)| there != at));
            }
            let Some(id) = &rec.id else { continue };
            self.rotten.ids.insert(id.clone());
            let Some(sent) = self.sent.get_mut(id) else { continue };
            sent.back.owed = false;
            let is_left = |rec: &Rec| rec.id.as_ref() == Some(id) && rec.topic == sent.topic;
            sent.rotten |= !walk.records.iter().any(is_left);
        }
    }

    /// Recovery ended the log before these. After a power cut a torn record at its end is one that was never whole, and
    /// its place is given away.
    pub fn cut_off(&mut self, cut: &[Lost], power: bool) {
        for rec in cut.iter().filter_map(|lost| lost.rec.as_ref()).filter(|_| power) {
            let place = (rec.topic.clone(), rec.queue, rec.offset);
            self.places.remove(&place);
            self.rotten.free.insert(place);
        }
    }

    /// The log was cut off with all that stood behind damage: notes went, too, and places that a queue file names may
    /// stay taken.
    pub(super) fn cut_from(&mut self, cut: u64, before: &Walk) {
        self.rotten.notes = true;
        let cut = before.records.iter().filter(|rec| rec.at >= cut);
        self.rotten.places.extend(cut.map(|rec| (rec.topic.clone(), rec.queue, rec.offset)));
    }

    /// Whether some record of a message was damaged.
    pub(crate) fn has_rotten(&self, id: &str) -> bool {
        self.rotten.ids.contains(id)
    }

    /// Whether the place was that of a record that is damaged.
    pub(crate) fn is_rotten_place(&self, place: &Place) -> bool {
        self.rotten.places.contains(place)
    }

    /// Whether another message may have got the place.
    pub(crate) fn is_free_place(&self, place: &Place) -> bool {
        self.rotten.free.contains(place)
    }

    /// Messages that got a place of which nobody could know that it was taken: who had passed the one before passes
    /// them over.
    pub fn reused(&mut self, walk: &Walk) {
        if self.rotten.free.is_empty() {
            return;
        }
        for rec in &walk.records {
            let place = (rec.topic.clone(), rec.queue, rec.offset);
            if self.is_free_place(&place)
                && let Some(sent) = rec.id.as_ref().and_then(|id| self.sent.get_mut(id))
            {
                sent.rotten = true;
                sent.back.owed = false;
            }
        }
    }

    /// A record was received of which the disk has another one now. `true`: there is nothing more to it.
    pub(super) fn saw_rotten(&mut self, seen: &Seen<'_>, now: i64) -> bool {
        let Some(rec) = self.rot.at(seen.at).and_then(|lost| lost.rec.clone()) else { return false };
        let place = (rec.topic, rec.queue, rec.offset);
        let told = self.rot.told(seen.at).map(|told| (told.topic, told.queue, told.offset));
        if !seen.is_sound {
            // Brokers leave it to readers, who have the message last, to compare a body with its checksum.
            self.rotten.said.insert(seen.at);
            return true;
        }
        if rec.crc != seen.crc || place != seen.place && told.as_ref() != Some(&seen.place) {
            let text = format!("a damaged record was read: {seen:?} instead of {:?} at {place:?}", rec.id);
            self.violated("I2", text);
        }
        if let Some(sent) = rec.id.and_then(|id| self.sent.get_mut(&id))
            && !place.0.starts_with(RETRY_PREFIX)
        {
            sent.seen_ms.get_or_insert(now);
        }
        true
    }

    /// Whether a record that tells something else than was sent may be a copy of a damaged one.
    pub(super) fn may_be_altered(&self, crc: u32) -> bool {
        self.rot.may_be_altered(crc)
    }

    /// Consumers were sent on from one offset of a queue to another: each message between must be lost.
    pub(super) fn unexplained(
        &self,
        walk: &Walk,
        topic: &str,
        queue: i32,
        offsets: Range<i64>,
    ) -> Option<i64> {
        if walk.first > 0 {
            return None;
        }
        offsets.into_iter().find(|offset| !self.is_rotten_place(&(topic.to_owned(), queue, *offset)))
    }

    /// The broker said in its log that something is wrong.
    pub fn said(&mut self, line: &str) {
        self.rotten.lines.push(line.to_owned());
        let numbers =
            line.split(|c: char| !c.is_ascii_digit()).filter_map(|digits| digits.parse::<u64>().ok());
        self.rotten.said.extend(numbers);
    }

    /// A start said that these parts of the log are damaged.
    pub fn told_damage(&mut self, parts: &[Range<u64>]) {
        self.rotten.told.extend_from_slice(parts);
    }

    /// An auditor, who reads everything from the start, received a record.
    pub fn audited(&mut self, seen: &Seen<'_>, now: i64) {
        self.rotten.audited.insert(seen.at);
        // As any consumer; when it first came is another's business.
        let known = self.sent.get(seen.id).and_then(|sent| sent.seen_ms);
        self.seen(seen, now);
        if let Some(sent) = self.sent.get_mut(seen.id) {
            sent.seen_ms = known;
        }
    }

    /// The first record of these topics that the auditors have not been given.
    pub fn not_audited<'a>(&self, walk: &'a Walk, is_wanted: impl Fn(&str) -> bool) -> Option<&'a Rec> {
        let mut records = walk.records.iter().filter(|rec| is_wanted(&rec.topic));
        records.find(|rec| !self.rotten.audited.contains(&rec.at))
    }

    /// A damaged record that was not given to the auditors, and of which nobody said that it is damaged.
    pub fn unreported<'a>(&self, walk: &'a Walk, is_wanted: impl Fn(&str) -> bool) -> Option<&'a Rec> {
        let Rotten { said, told, audited, lines, .. } = &self.rotten;
        let is_said = |rec: &Rec| {
            said.contains(&rec.at)
                || told.iter().any(|part| part.contains(&rec.at))
                || lines.iter().any(|line| names_place(line, rec))
        };
        // Nobody is sent on over a place that another message has got.
        let taken: BTreeSet<(&str, i32, i64)> =
            walk.records.iter().map(|rec| (rec.topic.as_str(), rec.queue, rec.offset)).collect();
        let is_empty = |rec: &&Rec| !taken.contains(&(rec.topic.as_str(), rec.queue, rec.offset));
        let mut passed = walk.lost.iter().filter(|rec| is_wanted(&rec.topic)).filter(is_empty);
        passed.find(|rec| !audited.contains(&rec.at) && !is_said(rec))
    }
}

/// Whether a line says of the place of a record that its message is lost.
fn names_place(line: &str, rec: &Rec) -> bool {
    let queue = format!("queue {} of {}", rec.queue, rec.topic);
    if line.contains(&format!("messages of {queue} are not in the log")) {
        return true;
    }
    let Some(places) = line.strip_prefix(&format!("{queue} lacks the places ")) else { return false };
    let mut ends =
        places.split(|c: char| !c.is_ascii_digit()).filter_map(|digits| digits.parse::<i64>().ok());
    ends.next().zip(ends.next()).is_some_and(|(first, last)| (first..=last).contains(&rec.offset))
}
