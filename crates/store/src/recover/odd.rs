//! Records that do not follow in their queue: which of them tell their place truly.
//!
//! No CRC covers what a record tells of its place, and records before it may be lost to damage. One that does not follow
//! is held back until others came: those of the longest chain of rising offsets are believed, and of equally long ones
//! that which leaves the fewest gaps unexplained. A gap is explained by records in its place that are not believed, and
//! by damage of the log that has room for records.
//!
//! ```text
//!   tells:    3   4  ▒▒  6  ▒▒  8  9        6 stands alone between two lost ones: 8 and 9 do not speak against it
//!   tells:    3   4  29  6   7              29 is 5: what comes next has a gap of one, in which it stands
//! ```
//! Where two that follow each other go back to the queue's start, it was deleted and made again.

use super::{FILL_MAX, PENDING_MAX, Recovery};
use crate::{
    disk::around::is_bad_sector,
    line::Line,
    types::{QueueEntry, QueueSlot},
};
use kerolox_protocol::{QueueOffset, record::FIXED_BYTES};
use std::{io, ops::Range};

/// Records of one queue that are held back; then it is decided about them.
const HELD_MAX: usize = 24;

/// So many times more entries than usual may wait in memory while records are held back.
const HASTE: usize = 4;

/// An entry and the offset that its record tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Placed {
    pub(super) offset: u64,
    pub(super) entry: QueueEntry,
}

/// Why it is decided about records that are held back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Why {
    /// The last two of them follow each other.
    Pair,
    /// They are many.
    Full,
    /// No more will come.
    End,
}

impl Recovery<'_> {
    /// Puts an entry into its queue, if its record follows there; else holds it back until others tell whether it does.
    pub(super) fn enqueue(&mut self, slot: QueueSlot, new: Placed) {
        let next = self.queues.get(slot).map_or(0, |queue| queue.next());
        let Some(held) = self.odd.get_mut(&slot) else {
            match new.offset == next {
                true => self.push(slot, new),
                false => _ = self.odd.insert(slot, Vec::from([new])),
            }
            return;
        };
        held.push(new);
        let why = match is_pair(held) {
            true => Why::Pair,
            false if held.len() >= HELD_MAX => Why::Full,
            false => return,
        };
        let held = self.odd.remove(&slot).unwrap_or_default();
        let left = self.settle_odd(slot, held, why);
        if !left.is_empty() {
            self.odd.insert(slot, left);
        }
    }

    /// Decides about records that are held back. Gives those behind the last that is believed.
    fn settle_odd(&mut self, slot: QueueSlot, held: Vec<Placed>, why: Why) -> Vec<Placed> {
        let next = self.queues.get(slot).map_or(0, |queue| queue.next());
        let is_restart = why == Why::Pair && held.last().is_some_and(|last| last.offset <= next);
        let (old, pair) = held.split_at(if is_restart { held.len() - 2 } else { held.len() });
        let mut chain = self.chain(slot, next, old, why == Why::Pair && !is_restart);
        if why == Why::End && self.is_alone_far_ahead(slot, next, old, &chain) {
            chain.clear();
        }
        let behind = match chain.last() {
            Some(last) => last + 1,
            // Of many none is believed: the last may still be, with those that come.
            None if why == Why::Full => old.len() - 1,
            None => 0,
        };
        let mut left = Vec::new();
        for (n, placed) in old.iter().enumerate() {
            match n {
                _ if chain.contains(&n) => self.believe(slot, *placed),
                _ if n >= behind && !is_restart => left.push(*placed),
                _ => self.disbelieve(*placed),
            }
        }
        pair.iter().for_each(|placed| self.believe(slot, *placed));
        left
    }

    /// Which of the records held back are believed.
    fn chain(&self, slot: QueueSlot, next: u64, held: &[Placed], ends_it: bool) -> Vec<usize> {
        let Some(queue) = self.queues.get(slot) else { return Vec::new() };
        let from = queue.last_end().map_or(self.report.from.0, |end| end.0);
        let topic_bytes = self.queues.topic_name(queue).map_or(0, |name| name.len());
        let least = (FIXED_BYTES + topic_bytes) as u64;
        let lost = |part: Range<u64>| room(&self.damaged, &part, least);
        let mut chain = best_chain(next, from, held, ends_it, &lost);
        if mutant!(LoneDisbelieved) {
            chain.drain(..chain.len().saturating_sub(2));
        }
        chain
    }

    /// Whether the last record of a queue alone says that the queue goes on so far ahead that all before would have to be
    /// given up for it, and damage does not explain that.
    fn is_alone_far_ahead(&self, slot: QueueSlot, next: u64, held: &[Placed], chain: &[usize]) -> bool {
        let Some(queue) = self.queues.get(slot).filter(|queue| queue.alive && queue.min < next) else {
            return false;
        };
        let [only] = chain else { return false };
        let Some(placed) = held.get(*only) else { return false };
        let from = queue.last_end().map_or(self.report.from.0, |end| end.0);
        let missing = placed.offset.saturating_sub(next);
        missing > FILL_MAX && missing > room(&self.damaged, &(from..placed.entry.at.0), FIXED_BYTES as u64)
    }

    fn push(&mut self, slot: QueueSlot, new: Placed) {
        self.queues.push(slot, new.entry);
        self.queues.show(slot, QueueOffset(new.offset + 1));
    }

    fn believe(&mut self, slot: QueueSlot, odd: Placed) {
        let (next, is_new) = self.queues.get(slot).map_or((0, true), |queue| (queue.next(), !queue.alive));
        self.look_for_gap(slot, odd);
        if is_new {
            // What was before is gone with its log files, or lost: it begins here.
            self.queues.restore(slot, odd.offset, odd.offset);
        } else if odd.offset >= next && odd.offset - next <= FILL_MAX {
            if odd.offset > next {
                let name = self.queues.get(slot).map(|queue| self.name_of(queue)).unwrap_or_default();
                self.report.lines.push(Line::error(format!(
                    "{name} lacks the places {next} to {}: their messages are damaged, readers go on behind them",
                    odd.offset - 1
                )));
            }
            (next..odd.offset).for_each(|_| self.queues.push(slot, QueueEntry::BLANK));
        } else {
            self.taken.remove(&slot);
            self.files.forget(slot);
            self.queues.clear(slot);
            self.queues.restore(slot, odd.offset, odd.offset);
        }
        self.push(slot, odd);
    }

    /// Notes a queue that has messages, as far as is known, between the end of its files, or the log's start, and the
    /// first that was read of it. Of files that are ours the ends are known.
    fn look_for_gap(&mut self, slot: QueueSlot, odd: Placed) {
        let Some(queue) = self.queues.get(slot) else { return };
        let next = if queue.alive { queue.next() } else { 0 };
        let is_damage = self.damaged.iter().any(|part| part.start < odd.entry.at.0);
        let is_first = self.report.foreign && !self.reads_all && queue.last_end().is_none();
        if !is_first || is_damage || odd.offset <= next {
            return;
        }
        let topic = self.queues.topic_name(queue).map_or("", |name| name);
        if self.disk.list(&self.files.dir().join(topic)).is_ok() {
            self.begins_late = true;
            return;
        }
        // The original leaves records of a deleted topic.
        self.report.lines.push(Line::warn(format!(
            "{} begins at {}: it has no files, as a topic that was deleted; if they were removed to have them made \
             again, stop, remove {} and start",
            self.name_of(queue),
            odd.offset,
            self.files.dir().display()
        )));
    }

    fn disbelieve(&mut self, odd: Placed) {
        let at = odd.entry.at;
        self.report.lines.push(Line::error(format!(
            "damage in the log: the record at {at} tells the queue offset {}, which cannot be; it is set aside",
            odd.offset
        )));
        self.damaged.push(at.0..odd.entry.end().0);
    }

    /// Whether all records so far are in their queues: what is written to files is said to cover the log, and a record
    /// that is held back would be missing there. When too many wait for that, it is decided about those.
    pub(super) fn holds_nothing(&mut self) -> io::Result<bool> {
        if !self.odd.is_empty() && self.queues.pending() > HASTE * PENDING_MAX {
            self.decide_odd()?;
        }
        Ok(self.odd.is_empty())
    }

    /// Decides about the last records of queues, which nothing follows.
    pub(super) fn decide_odd(&mut self) -> io::Result<()> {
        for (slot, held) in std::mem::take(&mut self.odd) {
            let mut left = self.settle_odd(slot, held, Why::End);
            let made_again =
                left.last().is_some_and(|last| last.offset == 0) && self.has_lost_its_file(slot)?;
            let last = left.pop_if(|_| made_again);
            // Their places are known, and stay taken.
            for placed in left {
                let next = self.queues.get(slot).map_or(0, |queue| queue.next());
                self.disbelieve(placed);
                self.queues.push(slot, QueueEntry::BLANK);
                self.queues.show(slot, QueueOffset(next + 1));
            }
            last.into_iter().for_each(|last| self.believe(slot, last));
        }
        super::merge(&mut self.damaged);
        Ok(())
    }

    /// Whether a queue was deleted and made again: the file of its last entry is gone.
    fn has_lost_its_file(&mut self, slot: QueueSlot) -> io::Result<bool> {
        let Some(queue) = self.queues.get(slot) else { return Ok(false) };
        let (next, written) = (queue.next(), queue.written);
        let before = next.saturating_sub(1);
        let Some(topic) = self.queues.topic_name(queue).filter(|_| before < written) else {
            return Ok(false);
        };
        let mut found = Vec::new();
        match self.files.read(slot, topic, queue.id, before, 1, &mut found) {
            // There is a file, whatever it holds.
            Err(why) if is_bad_sector(&why) => Ok(false),
            read => read.map(|()| found.is_empty()),
        }
    }
}

/// Whether the last two follow each other.
fn is_pair(held: &[Placed]) -> bool {
    matches!(held, [.., one, two] if one.offset.checked_add(1) == Some(two.offset))
}

/// How many records of at least so many bytes damage has room for in a part of the log.
fn room(damaged: &[Range<u64>], part: &Range<u64>, least: u64) -> u64 {
    let within = |range: &Range<u64>| range.end.min(part.end).saturating_sub(range.start.max(part.start));
    damaged.iter().map(|range| within(range) / least).sum()
}

/// A chain of rising offsets, as numbers of records held back.
#[derive(Debug, Clone)]
struct Chain {
    /// The last but one, if it is not alone.
    before: Option<usize>,
    len: usize,
    /// Places that nothing explains.
    unexplained: u64,
}

/// The best chain of records from `next` on, where the log is at `from`. `ends_it`: with the last of them. `lost`
/// tells how many records a part of the log may have lost.
fn best_chain(
    next: u64,
    from: u64,
    held: &[Placed],
    ends_it: bool,
    lost: &dyn Fn(Range<u64>) -> u64,
) -> Vec<usize> {
    // Of the places up to a record, those that neither a record between explains nor damage.
    let gap = |first: u64, at: u64, between: usize, to: &Placed| {
        let missing = to.offset.checked_sub(first)?;
        Some(missing.saturating_sub(between as u64).saturating_sub(lost(at..to.entry.at.0)))
    };
    let mut chains: Vec<Option<Chain>> = Vec::new();
    for (n, placed) in held.iter().enumerate() {
        let alone = gap(next, from, n, placed).map(|unexplained| Chain { before: None, len: 1, unexplained });
        let longer = (0..n).filter_map(|before| {
            let (chain, last) = (chains.get(before)?.as_ref()?, held.get(before)?);
            let gap = gap(last.offset.checked_add(1)?, last.entry.end().0, n - before - 1, placed)?;
            let unexplained = chain.unexplained.saturating_add(gap);
            Some(Chain { before: Some(before), len: chain.len + 1, unexplained })
        });
        chains.push(alone.into_iter().chain(longer).max_by_key(Chain::worth));
    }
    let ends = if ends_it { held.len().saturating_sub(1) } else { 0 };
    let known = chains.iter().enumerate().skip(ends).filter_map(|(n, chain)| Some((n, chain.as_ref()?)));
    let mut last = known.max_by_key(|(_, chain)| chain.worth()).map(|(n, _)| n);
    let mut members = Vec::new();
    while let Some(n) = last {
        members.push(n);
        last = chains.get(n).and_then(|chain| chain.as_ref()?.before);
    }
    members.reverse();
    members
}

impl Chain {
    fn worth(&self) -> (usize, std::cmp::Reverse<u64>) {
        (self.len, std::cmp::Reverse(self.unexplained))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kerolox_protocol::LogOffset;

    /// Records of 100 bytes; `x` stands for one that is lost. The queue goes on at 5, the log at 500.
    fn chain(told: &str, ends_it: bool) -> Vec<u64> {
        let mut held = Vec::new();
        let mut holes = Vec::new();
        for (n, told) in told.split(' ').enumerate() {
            let at = 500 + 100 * n as u64;
            match told.parse() {
                Ok(offset) => held.push(Placed {
                    offset,
                    entry: QueueEntry { at: LogOffset(at), size: 100, tags_code: 0 },
                }),
                Err(_) => holes.push(at..at + 100),
            }
        }
        let lost = |part: Range<u64>| room(&holes, &part, 92);
        best_chain(5, 500, &held, ends_it, &lost).into_iter().map(|n| held[n].offset).collect()
    }

    #[test]
    fn the_chain_is_that_of_the_records_that_can_be() {
        for (told, ends_it, believed) in [
            ("x 6 x 8 9", true, &[6, 8, 9][..]),
            ("x 6 x 8 x 10", false, &[6, 8, 10]),
            ("29 6 7", true, &[6, 7]),
            ("29 6", false, &[6]),
            ("4 6 7", true, &[6, 7]),
            ("x 6 23 8 9", true, &[6, 8, 9]),
            ("x 6 3 8 9", true, &[6, 8, 9]),
            // The other way round it were two gaps and no reason.
            ("7 6 x 8", false, &[6, 8]),
            // Both tell the same place: 7 is the second, since something is lost before the first.
            ("x 6 6 8 9", true, &[6, 8, 9]),
            ("6", false, &[6]),
            ("3", false, &[]),
        ] {
            assert_eq!(chain(told, ends_it), believed, "{told}");
        }
    }

    #[test]
    fn the_first_of_two_that_tell_the_same_is_where_the_damage_is() {
        let held: Vec<Placed> = [(6, 600), (6, 700), (8, 800)]
            .map(|(offset, at)| Placed {
                offset,
                entry: QueueEntry { at: LogOffset(at), size: 100, tags_code: 0 },
            })
            .into();
        let lost = |part: Range<u64>| room(std::slice::from_ref(&(500..600)), &part, 92);
        assert_eq!(best_chain(5, 500, &held, false, &lost), [0, 2]);
    }
}
