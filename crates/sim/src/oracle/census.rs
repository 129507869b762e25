//! The whole log looked at: every record is one that was sent, offsets have no gaps, duplicates have a reason.

use super::Oracle;
use crate::{
    oracle::RETRY_PREFIX,
    rec::{DELAY_TOPIC, HALF_TOPIC, Rec},
    walk::Walk,
};
use std::collections::BTreeMap;

/// A queue as the store shows it: first offset, and position, size and code of each entry.
pub type Shown = (i64, Vec<(u64, u32, i64)>);

impl Oracle {
    /// Looks at the whole log.
    pub fn census(&mut self, walk: &Walk) {
        self.gaps(walk);
        let mut plain: BTreeMap<&str, u32> = BTreeMap::new();
        let mut delayed: BTreeMap<&str, Delayed> = BTreeMap::new();
        let mut backs: BTreeMap<&str, (u32, u32)> = BTreeMap::new();
        // What a message came from may be deleted.
        let loose = walk.first > 0;
        let mut findings = Vec::new();
        for rec in &walk.records {
            let Some(id) = rec.id.as_deref() else { continue };
            let altered = self.may_be_altered(rec.crc);
            let Some(sent) = self.sent.get(id).filter(|sent| !altered || sent.crc == rec.crc) else {
                if altered {
                    continue;
                }
                findings.push(("I2", format!("{id} stands at {} and was never sent", rec.at)));
                continue;
            };
            if rec.crc != sent.crc {
                findings.push(("I2", format!("{id} at {} has another body than was sent", rec.at)));
            }
            if rec.topic == HALF_TOPIC {
                continue;
            }
            let again = |topic: &str| topic.starts_with(RETRY_PREFIX);
            if again(&rec.topic) || rec.topic == DELAY_TOPIC && rec.real_topic.as_deref().is_some_and(again) {
                let (waited, came) = backs.entry(id).or_default();
                *(if rec.topic == DELAY_TOPIC { waited } else { came }) += 1;
                continue;
            }
            if rec.topic == DELAY_TOPIC {
                delayed.entry(id).or_default().waits.push(rec.store_ms);
                continue;
            }
            *plain.entry(id).or_default() += 1;
            if (rec.topic != sent.topic || rec.queue != sent.queue) && !altered {
                findings.push(("I2", format!("{id} stands in {}/{}", rec.topic, rec.queue)));
            }
            if sent.level.is_some() {
                let delayed = delayed.entry(id).or_default();
                if delayed.waits.is_empty() && !loose && !self.has_rotten(id) {
                    findings.push(("I13", format!("{id} was delivered and never waited")));
                }
                if !altered {
                    delayed.came.push(rec.store_ms);
                }
            }
        }
        for (id, delayed) in delayed.iter().filter(|_| self.even_clock) {
            let Some((sent, level)) = self.sent.get(*id).and_then(|sent| Some((sent, sent.level?))) else {
                continue;
            };
            let is_missing = loose || self.has_rotten(id);
            let gone =
                if is_missing { sent.attempts as usize } else { 0 }.saturating_sub(delayed.waits.len());
            if let Some(early) = delayed.early(Oracle::delay(level), gone, self.rotten.notes) {
                findings.push(("I13", format!("{id} was delivered {early} ms early")));
            }
        }
        for (id, n) in plain {
            let Some(sent) = self.sent.get(id) else { continue };
            let may = match sent.level {
                None if let Some(half) = sent.half => {
                    if half.commit {
                        half.told
                    } else {
                        0
                    }
                }
                None => sent.attempts,
                Some(_) if loose => sent.attempts,
                Some(_) => delayed.get(id).map_or(0, |delayed| delayed.waits.len() as u32),
            };
            // Of what was damaged nobody knows what it led to; without notes what waits comes again.
            let forgotten = self.has_rotten(id) || self.rotten.notes && sent.level.is_some();
            if n > may && !forgotten {
                let text = format!("{id} stands {n} times in the log, {may} have a reason");
                let invariant = match (sent.half, sent.level) {
                    (Some(_), _) => "I12",
                    (None, Some(_)) => "I13",
                    (None, None) => "I17",
                };
                findings.push((invariant, text));
            }
        }
        for (id, (waited, came)) in backs {
            let given = self.sent.get(id).map_or(0, |sent| sent.back.given);
            let reasons = if loose { given } else { waited };
            let forgotten = self.has_rotten(id) || self.rotten.notes;
            if (came > reasons || waited > given) && !forgotten {
                let text =
                    format!("{id} was given back {given} times, waits {waited} times and came {came} times");
                findings.push(("I17", text));
            }
        }
        for (invariant, text) in findings {
            self.violated(invariant, text);
        }
    }

    fn gaps(&mut self, walk: &Walk) {
        for ((topic, queue), records) in walk.queues() {
            // Without deletion queues begin at 0.
            let first = records.first().map_or(0, |rec| rec.offset);
            let first = if walk.first > 0 { first } else { 0 };
            let mut next = first;
            let gap = records.iter().find_map(|rec| {
                // Only the places of damaged records may be empty.
                let is_lost = |offset: &i64| self.is_rotten_place(&(topic.clone(), queue, *offset));
                let wanted =
                    (next..rec.offset).find(|offset| !is_lost(offset)).unwrap_or(next.max(rec.offset));
                next = rec.offset + 1;
                (wanted != rec.offset).then_some((wanted, rec))
            });
            if let Some((wanted, rec)) = gap {
                let text =
                    format!("{topic}/{queue} has offset {} at {} where {wanted} belongs", rec.offset, rec.at);
                self.violated("I4", text);
            }
        }
    }

    /// The queues that the store shows are those that the log gives: an entry for each record, and no entry of
    /// nothing. `exact`: queues begin at their first record that is left; else they may still show what was deleted
    /// just now.
    pub fn queues_are(
        &mut self,
        walk: &Walk,
        shown: &BTreeMap<(String, i32), Shown>,
        exact: bool,
        whose: &str,
    ) {
        let wanted = walk.queues();
        let nothing = Vec::new();
        let lost = walk.lost_places();
        for (key, (first, entries)) in shown {
            let records = wanted.get(key).unwrap_or(&nothing);
            let excuse = |offset: i64, entry: &(u64, u32, i64)| {
                let place = (key.0.clone(), key.1, offset);
                let was = lost.get(&place).is_some_and(|lost| lost.iter().any(|rec| *entry == as_entry(rec)));
                let told = self
                    .rot
                    .told(entry.0)
                    .filter(|told| (&told.topic, told.queue, told.offset) == (&place.0, place.1, place.2));
                was || told.is_some_and(|told| *entry == as_entry(&told))
                    || *entry == BLANK && self.is_rotten_place(&place)
                    || self.rot.has_entry(&place)
            };
            let is_gone = |offset: i64| {
                let place = (key.0.clone(), key.1, offset);
                self.is_rotten_place(&place) || self.rot.has_entry(&place)
            };
            if let Some(why) = differs(walk, records, (*first, entries), exact, excuse, is_gone) {
                let text = format!(
                    "{whose}: {key:?} begins at {first} with {} entries, the log gives {}: {why}",
                    entries.len(),
                    records.len()
                );
                self.violated("I15", text);
            }
            let mut known =
                self.places.range((key.0.clone(), key.1, i64::MIN)..=(key.0.clone(), key.1, i64::MAX));
            let end = *first + entries.len() as i64;
            let last = known.rfind(|(_, known)| known.at < walk.end);
            if let Some((place, known)) = last
                && place.2 >= end
            {
                let text = format!("{whose}: {key:?} ends at {end}, but {} was at {}", known.id, place.2);
                self.violated("I15", text);
            }
        }
        for (key, records) in &wanted {
            if !shown.contains_key(key) {
                let text = format!("{whose}: {key:?} is missing, the log has {}", records.len());
                self.violated("I15", text);
            }
        }
    }
}

/// A delayed message in the log: when it was stored to wait, and when it came, each in order.
#[derive(Debug, Default)]
struct Delayed {
    waits: Vec<i64>,
    came: Vec<i64>,
}

impl Delayed {
    /// How much too early it came. Each wait ends once, so the n-th to end is not before the n-th that began. `gone`: so
    /// many that began before these are not in the log any more. `again`: one may end several times.
    fn early(&self, delay: i64, gone: usize, again: bool) -> Option<i64> {
        let came = self.came.iter().skip(gone).enumerate();
        let due = |n: usize| Some(self.waits.get(if again { 0 } else { n })? + delay);
        came.filter_map(|(n, at)| Some(due(n)? - at)).find(|early| *early > 0)
    }
}

/// An entry that stands for a message that is not there.
const BLANK: (u64, u32, i64) = (0, 0x7fff_ffff, 0);

fn as_entry(rec: &Rec) -> (u64, u32, i64) {
    (rec.at, rec.size, rec.tags_code)
}

/// What is wrong with a queue that shows these entries from `first` on. `excuse`: an entry is as damage leaves it;
/// `is_gone`: a place is one of a damaged record or entry.
fn differs(
    walk: &Walk,
    records: &[&Rec],
    (first, entries): (i64, &[(u64, u32, i64)]),
    exact: bool,
    excuse: impl Fn(i64, &(u64, u32, i64)) -> bool,
    is_gone: impl Fn(i64) -> bool,
) -> Option<String> {
    let by_offset: BTreeMap<i64, &&Rec> = records.iter().map(|rec| (rec.offset, rec)).collect();
    for (offset, entry) in (first..).zip(entries) {
        let expected = by_offset.get(&offset).map(|rec| as_entry(rec));
        let fits = match expected {
            Some(expected) => expected == *entry,
            None => entry.0 < walk.first,
        };
        if !fits && !excuse(offset, entry) {
            return Some(format!("{offset} shows {entry:?} instead of {expected:?}"));
        }
    }
    let end = first + entries.len() as i64;
    let missing = by_offset.iter().find(|(offset, _)| !(first..end).contains(*offset));
    if let Some((offset, rec)) = missing {
        return Some(format!("{offset} is missing, at {}", rec.at));
    }
    let begins = by_offset.first_key_value().map_or(end, |(offset, _)| *offset);
    let is_nothing = |offset: i64| {
        let entry = usize::try_from(offset - first).ok().and_then(|n| entries.get(n));
        is_gone(offset) || entry.is_some_and(|entry| excuse(offset, entry))
    };
    (exact && first != begins && !(first..begins).all(is_nothing))
        .then(|| format!("it should begin at {begins}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_delivery_is_that_of_a_wait() {
        let early = |waits: &[i64], came: &[i64], gone, again| {
            Delayed { waits: waits.into(), came: came.into() }.early(1_000, gone, again)
        };
        assert_eq!(early(&[0, 500], &[1_000, 1_500], 0, false), None);
        assert_eq!(early(&[0, 500], &[999], 0, false), Some(1));
        assert_eq!(early(&[0, 500], &[1_000, 1_499], 0, false), Some(1), "the first has come");
        assert_eq!(early(&[0, 500], &[1_000, 1_499], 0, true), None, "or comes again");
        assert_eq!(early(&[500], &[1_000, 1_500], 1, false), None, "the first is deleted");
        assert_eq!(early(&[500], &[1_000, 1_400], 1, false), Some(100));
    }
}
