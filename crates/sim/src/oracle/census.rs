//! The whole log looked at: every record is one that was sent, offsets have no gaps, duplicates have a reason.

use super::Oracle;
use crate::{
    oracle::RETRY_PREFIX,
    walk::{DELAY_TOPIC, HALF_TOPIC, Rec, Walk},
};
use std::collections::BTreeMap;

/// A queue as the store shows it: first offset, and position, size and code of each entry.
pub type Shown = (i64, Vec<(u64, u32, i64)>);

impl Oracle {
    /// Looks at the whole log.
    pub fn census(&mut self, walk: &Walk) {
        self.gaps(walk);
        let mut plain: BTreeMap<&str, u32> = BTreeMap::new();
        let mut waiting: BTreeMap<&str, (u32, i64)> = BTreeMap::new();
        let mut backs: BTreeMap<&str, (u32, u32)> = BTreeMap::new();
        // What a message came from may be deleted.
        let loose = walk.first > 0;
        let mut findings = Vec::new();
        for rec in &walk.records {
            let Some(id) = rec.id.as_deref() else { continue };
            let Some(sent) = self.sent.get(id) else {
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
                let (n, earliest) = waiting.entry(id).or_insert((0, i64::MAX));
                *n += 1;
                *earliest = (*earliest).min(rec.store_ms);
                continue;
            }
            *plain.entry(id).or_default() += 1;
            if rec.topic != sent.topic || rec.queue != sent.queue {
                findings.push(("I2", format!("{id} stands in {}/{}", rec.topic, rec.queue)));
            }
            if let Some(level) = sent.level {
                let since = waiting.get(id).map(|(_, at)| *at);
                match since {
                    None if loose => {}
                    None => findings.push(("I13", format!("{id} was delivered and never waited"))),
                    Some(at) if self.even_clock && rec.store_ms < at + Oracle::delay(level) => {
                        let early = at + Oracle::delay(level) - rec.store_ms;
                        findings.push(("I13", format!("{id} was delivered {early} ms early")));
                    }
                    Some(_) => {}
                }
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
                Some(_) => waiting.get(id).map_or(0, |(n, _)| *n),
            };
            if n > may {
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
            if came > reasons || waited > given {
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
            let gap = (first..).zip(&records).find(|(wanted, rec)| rec.offset != *wanted);
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
        for (key, (first, entries)) in shown {
            let records = wanted.get(key).unwrap_or(&nothing);
            if let Some(why) = differs(walk, records, *first, entries, exact) {
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

/// What is wrong with a queue that shows these entries from `first` on.
fn differs(
    walk: &Walk,
    records: &[&Rec],
    first: i64,
    entries: &[(u64, u32, i64)],
    exact: bool,
) -> Option<String> {
    let by_offset: BTreeMap<i64, &&Rec> = records.iter().map(|rec| (rec.offset, rec)).collect();
    for (offset, entry) in (first..).zip(entries) {
        let expected = by_offset.get(&offset).map(|rec| (rec.at, rec.size, rec.tags_code));
        let fits = match expected {
            Some(expected) => expected == *entry,
            None => entry.0 < walk.first,
        };
        if !fits {
            return Some(format!("{offset} shows {entry:?} instead of {expected:?}"));
        }
    }
    let end = first + entries.len() as i64;
    let missing = by_offset.iter().find(|(offset, _)| !(first..end).contains(*offset));
    if let Some((offset, rec)) = missing {
        return Some(format!("{offset} is missing, at {}", rec.at));
    }
    let begins = by_offset.first_key_value().map_or(end, |(offset, _)| *offset);
    (exact && first != begins).then(|| format!("it should begin at {begins}"))
}
