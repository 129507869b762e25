//! Answers that were on their way when the broker that sent them ended.
//!
//! They come when the next one has begun, and may tell of what the end took: the log as it is then does not have it, and
//! its place may be another's. Whether that may be is the same question as for what came in time.

use super::{Ack, Oracle, Seen, restart::Ending};

impl Oracle {
    /// Whether that life of the broker has ended, and another begun.
    pub fn has_ended(&self, life: u32) -> bool {
        !self.since(life).is_empty()
    }

    /// How that life of the broker ended, and those after it.
    pub(super) fn since(&self, life: u32) -> &[Ending] {
        // The first is number 1.
        self.endings.get(life.saturating_sub(1) as usize..).unwrap_or_default()
    }

    /// What that life of the broker said was done may have been undone by its end.
    pub(super) fn may_be_undone(&self, life: u32) -> bool {
        self.since(life).iter().any(Ending::may_undo)
    }

    /// A record that an earlier life of the broker had at a position, and that is not there any more.
    fn is_gone(&self, at: u64, id: &str, life: u32) -> bool {
        let log = &self.began;
        let is_there = || log.at(at).is_some_and(|rec| rec.id.as_deref() == Some(id));
        self.has_ended(life) && at >= log.first && !self.rot.was(at, id) && !is_there()
    }

    /// An acknowledgement of what is gone.
    pub(super) fn came_too_late(&mut self, id: &str, ack: &Ack) -> bool {
        if !self.is_gone(ack.at, id, ack.life) {
            return false;
        }
        if let Some(sent) = self.sent.get_mut(id) {
            sent.lost = true;
        }
        let may = |ending: &Ending| ending.may_take_acked(ack, self.flushed_after_ms);
        if !self.since(ack.life).iter().any(may) {
            let text = format!("{id} was acknowledged just before the broker ended, and is gone: {ack:?}");
            self.violated("I1", text);
        }
        true
    }

    /// A consumer receives a record that is gone, and goes on behind it.
    pub(super) fn was_read_too_late(&mut self, seen: &Seen<'_>) -> bool {
        if !self.is_gone(seen.at, seen.id, seen.life) {
            return false;
        }
        if !self.since(seen.life).iter().any(|ending| ending.may_take_shown(seen.at)) {
            let text = format!("{} was read just before the broker ended, and is gone: {seen:?}", seen.id);
            self.violated("I3", text);
        }
        self.goes_ahead(&seen.place);
        true
    }

    /// A transaction was said to be ended.
    pub(super) fn ended_too_late(&mut self, id: &str, life: u32) {
        if !self.has_ended(life) {
            return;
        }
        let (log, may) = (&self.began, self.may_be_undone(life));
        let Some(sent) = self.sent.get_mut(id).filter(|sent| sent.is_to_stay(log.first)) else { return };
        if log.records.iter().any(|rec| rec.id.as_deref() == Some(id) && rec.topic == sent.topic) {
            return;
        }
        if may {
            sent.lost = true;
        } else {
            self.violated("I12", format!("{id} was committed just before the broker ended, and is gone"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        options::{Mode, Options},
        oracle::{Before, Crash, Half, Sent},
        rec::Rec,
        walk::Walk,
    };

    const MESSAGE: &str = "p0.Topic0.0.2";

    /// Three records of 100 bytes, of messages 1 to 3 of one queue.
    fn log() -> Walk {
        let rec = |n: u64| Rec {
            at: 100 * (n - 1),
            size: 100,
            topic: "Topic0".to_owned(),
            queue: 0,
            offset: n as i64 - 1,
            id: Some(format!("p0.Topic0.0.{n}")),
            keys: Vec::new(),
            sys_flag: 0,
            real_topic: None,
            crc: 7,
            whole: 7,
            store_ms: 0,
            tags_code: 0,
        };
        Walk { records: (1..=3).map(rec).collect(), lost: Vec::new(), first: 0, end: 300 }
    }

    /// The log up to a position.
    fn upto(end: u64) -> Walk {
        let mut walk = log();
        walk.records.retain(|rec| rec.end() <= end);
        Walk { end, ..walk }
    }

    fn sent(half: Option<Half>) -> Sent {
        Sent {
            producer: 0,
            n: 2,
            topic: "Topic0".to_owned(),
            queue: 0,
            level: None,
            crc: 7,
            attempts: 1,
            ack: None,
            lost: false,
            deleted: false,
            seen_ms: None,
            probe: false,
            half,
            back: Default::default(),
            rotten: false,
        }
    }

    /// The broker's first life ended so at 1000 ms, when the log was flushed up to `flushed`; the second has begun with
    /// what is before `left`. Nothing is wrong with that.
    fn after(mode: Mode, crash: Crash, flushed: u64, left: u64) -> Oracle {
        let mut options = Options::plain(1, mode);
        options.faults.clear();
        let mut oracle = Oracle::new(&options);
        oracle.made(MESSAGE.to_owned(), sent(None));
        let before =
            Before { crash, ms: 1_000, walk: log(), written: 300, flushed, cut_from: None, torn_from: None };
        oracle.restarted(&before, &upto(left));
        assert_eq!(oracle.verdict(), None);
        oracle
    }

    fn broken(oracle: &Oracle) -> Option<&'static str> {
        oracle.verdict().map(|violation| violation.invariant)
    }

    fn seen(id: &str, at: u64, life: u32) -> Seen<'_> {
        let place = ("Topic0".to_owned(), 0, at as i64 / 100);
        Seen { place, id, at, crc: 7, is_sound: true, life }
    }

    #[test]
    fn a_place_that_was_read_and_lost_is_another_messages() {
        let mut oracle = after(Mode::Async, Crash::PowerCut, 100, 100);
        oracle.seen(&seen(MESSAGE, 100, 1), 1_500);
        assert_eq!((broken(&oracle), oracle.sent[MESSAGE].seen_ms), (None, None));
        assert_eq!(oracle.ahead.get(&("Topic0".to_owned(), 0)), Some(&2), "its reader is behind it");
        // Sent again, it gets the place at another position.
        oracle.seen(&Seen { at: 150, ..seen(MESSAGE, 100, 2) }, 1_600);
        assert_eq!((broken(&oracle), oracle.sent[MESSAGE].seen_ms), (None, Some(1_600)));
    }

    #[test]
    fn what_had_to_stay_is_missed_however_late_it_comes() {
        // The log lacks it, and no end of the broker may have taken it: it never stood there, or not for long enough.
        for (mode, crash) in [(Mode::Async, Crash::Killed), (Mode::Sync, Crash::PowerCut)] {
            let mut oracle = after(mode, crash, 300, 300);
            oracle.seen(&seen(MESSAGE, 200, 1), 1_500);
            assert_eq!(broken(&oracle), Some("I3"), "{mode:?} {crash:?}");
        }
        let mut oracle = after(Mode::Async, Crash::PowerCut, 300, 300);
        oracle.seen(&seen(MESSAGE, 200, 1), 1_500);
        assert_eq!(broken(&oracle), Some("I3"), "it was flushed");
    }

    #[test]
    fn a_late_acknowledgement_promises_what_one_in_time_does() {
        let acked = |mode, crash, flushed, left, promised| {
            let mut oracle = after(mode, crash, flushed, left);
            let ack = Ack { at: 200, ms: 1_500, promised, life: 1 };
            oracle.acked(MESSAGE, ack, 1, 900);
            broken(&oracle)
        };
        assert_eq!(acked(Mode::Async, Crash::PowerCut, 200, 200, true), None);
        assert_eq!(acked(Mode::Sync, Crash::PowerCut, 200, 200, false), None, "the flush took too long");
        assert_eq!(acked(Mode::Sync, Crash::PowerCut, 200, 200, true), Some("I1"));
        assert_eq!(acked(Mode::Async, Crash::PowerCut, 300, 300, true), Some("I1"));
        assert_eq!(acked(Mode::Async, Crash::Killed, 200, 300, true), Some("I1"));
    }

    #[test]
    fn any_end_since_counts_and_none_before() {
        let mut oracle = after(Mode::Async, Crash::PowerCut, 100, 100);
        let before = Before {
            crash: Crash::Killed,
            ms: 2_000,
            walk: upto(100),
            written: 100,
            flushed: 100,
            cut_from: None,
            torn_from: None,
        };
        oracle.restarted(&before, &upto(100));
        oracle.seen(&seen(MESSAGE, 100, 1), 2_500);
        assert_eq!(broken(&oracle), None, "of the life that lost power");
        oracle.seen(&seen(MESSAGE, 100, 2), 2_500);
        assert_eq!(broken(&oracle), Some("I3"), "of the one that was killed");
    }

    #[test]
    fn a_commit_may_be_undone_before_its_answer_comes() {
        let ended = |crash, flushed, left| {
            let mut oracle = after(Mode::Async, crash, flushed, left);
            let half = Half { commit: true, told: 1, ended: false };
            oracle.made("other".to_owned(), sent(Some(half)));
            oracle.ended("other", 1);
            (broken(&oracle), oracle.sent["other"].lost)
        };
        assert_eq!(ended(Crash::PowerCut, 100, 100), (None, true));
        assert_eq!(ended(Crash::Killed, 100, 300), (Some("I12"), false));
    }

    #[test]
    fn a_lock_may_be_forgotten_before_its_answer_comes() {
        let locked = |crash, left| {
            let mut oracle = after(Mode::Async, crash, 100, left);
            oracle.locked(0, "a", 30_000, (1_500, 1));
            oracle.locked(0, "b", 30_000, (1_600, 2));
            broken(&oracle)
        };
        assert_eq!(locked(Crash::PowerCut, 100), None);
        assert_eq!(locked(Crash::Killed, 300), Some("I11"));
    }
}
