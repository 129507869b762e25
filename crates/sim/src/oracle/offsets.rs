//! Committed offsets over time, and what a restart may take back.

use super::Oracle;
use std::collections::{BTreeMap, VecDeque};

/// Where groups stand: topic, group, queue.
pub type Table = BTreeMap<(String, String, u32), i64>;

/// The tables of the last window.
#[derive(Debug)]
pub(crate) struct Offsets {
    /// Longest time that a commit may take to be safe; unknown while the disk misbehaves.
    window_ms: Option<i64>,
    history: VecDeque<(i64, Table)>,
}

impl Offsets {
    pub(crate) fn new(window_ms: Option<i64>) -> Offsets {
        Offsets { window_ms, history: VecDeque::new() }
    }
}

impl Oracle {
    /// The broker's table, after a group of events.
    pub fn offsets_are(&mut self, now: i64, table: Table) {
        let Some(window) = self.offsets.window_ms else { return };
        let history = &mut self.offsets.history;
        if history.back().is_some_and(|(_, last)| *last == table) {
            return;
        }
        history.push_back((now, table));
        // One from before the window stays: it says what the window began with.
        while history.get(1).is_some_and(|(at, _)| *at < now - window) {
            history.pop_front();
        }
    }

    /// The table that a broker found when it started after a crash at `crash`.
    pub fn offsets_found(&mut self, crash: i64, found: &Table) {
        let Some(window) = self.offsets.window_ms else { return };
        let history = std::mem::take(&mut self.offsets.history);
        let old = history.iter().rposition(|(at, _)| *at <= crash - window);
        let Some((_, base)) = old.and_then(|old| history.get(old)) else { return };
        let later = history.iter().skip(old.unwrap_or(0));
        for (key, before) in base {
            let now = found.get(key).copied();
            let had = later.clone().any(|(_, table)| table.get(key).copied() == now);
            // Without the notes of it a group goes back, and never on.
            let most = later.clone().filter_map(|(_, table)| table.get(key).copied()).max();
            let may = had || self.rotten.notes && now <= most;
            if !may {
                let text =
                    format!("{key:?} stood at {before} {window} ms before the crash, and now at {now:?}");
                self.violated("I10", text);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::{Mode, Options};

    fn table(offset: i64) -> Table {
        [(("T".to_owned(), "G".to_owned(), 0), offset)].into_iter().collect()
    }

    #[test]
    fn a_commit_older_than_the_window_may_not_be_lost() {
        let mut options = Options::draw(1, Mode::Async);
        options.faults.clear();
        let judge = |found: i64| {
            let mut oracle = Oracle::new(&options);
            for (at, offset) in [(0, 3), (10_000, 5), (19_990, 9)] {
                oracle.offsets_are(at, table(offset));
            }
            oracle.offsets_found(20_000, &table(found));
            oracle.verdict().map(|violation| violation.invariant)
        };
        assert_eq!(judge(9), None);
        assert_eq!(judge(5), None);
        assert_eq!(judge(3), Some("I10"));
    }
}
