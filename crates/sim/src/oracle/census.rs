//! The whole log looked at: every record is one that was sent, offsets have no gaps, duplicates have a reason.

use super::Oracle;
use crate::{
    oracle::RETRY_PREFIX,
    walk::{DELAY_TOPIC, HALF_TOPIC, Walk},
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
            if came > waited || waited > given {
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
            // Nothing is deleted in a run, so queues begin at 0.
            let gap = (0i64..).zip(&records).find(|(wanted, rec)| rec.offset != *wanted);
            if let Some((wanted, rec)) = gap {
                let text =
                    format!("{topic}/{queue} has offset {} at {} where {wanted} belongs", rec.offset, rec.at);
                self.violated("I4", text);
            }
        }
    }

    /// The queues that the store shows are those that the log gives.
    pub fn queues_are(&mut self, walk: &Walk, shown: &BTreeMap<(String, i32), Shown>, whose: &str) {
        let wanted = walk.queues();
        for (key, records) in &wanted {
            let expected: Vec<_> = records.iter().map(|rec| (rec.at, rec.size, rec.tags_code)).collect();
            match shown.get(key) {
                Some((0, entries)) if *entries == expected => {}
                Some((first, entries)) => {
                    let differs = entries.iter().zip(&expected).position(|(a, b)| a != b);
                    let text = format!(
                        "{whose}: {key:?} begins at {first} with {} entries, the log gives {}; the first that differs: \
                         {differs:?} ({:?} instead of {:?})",
                        entries.len(),
                        expected.len(),
                        differs.and_then(|at| entries.get(at)),
                        differs.and_then(|at| expected.get(at)),
                    );
                    self.violated("I15", text);
                }
                None => self
                    .violated("I15", format!("{whose}: {key:?} is missing, the log has {}", expected.len())),
            }
        }
        for (key, (_, entries)) in shown {
            if !entries.is_empty() && !wanted.contains_key(key) {
                self.violated("I15", format!("{whose}: {key:?} has {} entries of nothing", entries.len()));
            }
        }
    }
}
