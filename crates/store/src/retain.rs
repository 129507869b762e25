//! Which log files go. A pure decision: values in, a number of files out.
//!
//! Age is told by the records themselves, not by file times: copying a store, or a clock that jumps forward
//! and back, must not delete anything early. The last file never goes, and nothing at or behind the position
//! that the owner still needs.

use crate::{disk::Space, options::Retention, types::Now};
use kerolox_protocol::{LogOffset, Millis};

/// The wall clock as retention believes it: one that jumps forward is not followed before it has stayed there for
/// a while, since a wrong clock must not delete a day's messages. One that jumps back is believed at once.
#[derive(Debug, Default)]
pub(crate) struct Clock {
    /// Wall minus monotonic time that is believed.
    ahead: Option<Millis>,
    /// A larger one, and since when it is told; monotonic.
    told: Option<(Millis, Millis)>,
}

/// A clock that is set by less than this has not jumped.
const JUMP: Millis = Millis(60_000);
/// A clock that jumped forward is believed after this.
const BELIEVED_AFTER: Millis = Millis(4 * 3_600_000);

impl Clock {
    /// What time it is.
    pub(crate) fn now(&mut self, now: Now) -> Millis {
        let told = now.wall - now.mono;
        let Some(ahead) = self.ahead.filter(|ahead| told - *ahead > JUMP && !mutant!(JumpBelieved)) else {
            (self.ahead, self.told) = (Some(told), None);
            return now.wall;
        };
        let (least, since) = self.told.unwrap_or((told, now.mono));
        // One that goes on jumping is believed as far as it was there all the while.
        let least = least.min(told);
        self.told = Some((least, since));
        if now.mono - since >= BELIEVED_AFTER {
            (self.ahead, self.told) = (Some(least), None);
            return now.mono + least;
        }
        now.mono + ahead
    }
}

/// Files deleted in one round at most, so that a round stays short. As the original.
pub(crate) const FILES_MAX: usize = 10;

/// What the decision depends on.
#[derive(Debug)]
pub(crate) struct Situation<'a> {
    pub(crate) now_wall: Millis,
    /// Share of the file system that is used.
    pub(crate) used_percent: u32,
    /// Somebody asked for it.
    pub(crate) asked: bool,
    /// Nothing at or behind this goes.
    pub(crate) keep_from: LogOffset,
    /// Nor does anything at or behind this: somebody has not read it.
    pub(crate) unread_from: LogOffset,
    /// The oldest files but the last: end of the file, and a time that is no earlier than its newest record.
    /// Without a time a file is never old.
    pub(crate) files: &'a [(LogOffset, Option<Millis>)],
}

/// Which of the oldest files go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Decision {
    /// How many.
    pub(crate) files: usize,
    /// How many of these go although they are not old: for lack of room.
    pub(crate) forced: usize,
    /// One more would go if everybody had read it.
    pub(crate) held: bool,
}

/// Decides which go.
pub(crate) fn decide(rules: &Retention, now: &Situation<'_>) -> Decision {
    let full = now.used_percent > rules.used_max_percent;
    if !(full || now.asked || is_hour(rules, now.now_wall)) {
        return Decision::default();
    }
    let at_once = rules.forcibly && now.used_percent > rules.clean_percent;
    let mut decision = Decision::default();
    for (end, newest) in now.files.iter().take(FILES_MAX) {
        let is_old = newest.is_some_and(|newest| now.now_wall >= newest + rules.keep);
        if *end > now.keep_from || !(at_once || is_old) {
            break;
        }
        if *end > now.unread_from {
            decision.held = true;
            break;
        }
        decision.files += 1;
        decision.forced += usize::from(!is_old);
    }
    decision
}

fn is_hour(rules: &Retention, now_wall: Millis) -> bool {
    let hour = (now_wall + rules.utc_offset).0.rem_euclid(86_400_000) / 3_600_000;
    rules.hours.iter().any(|wanted| i64::from(*wanted) == hour)
}

/// Whole hours until so much of a disk is used that writes are refused, if it goes on as since `before` bytes were
/// free, `passed` ago. `None`: it does not shrink.
pub(crate) fn hours_left(space: Space, before: u64, passed: Millis, refuse_percent: u32) -> Option<u64> {
    let used = space.total.saturating_sub(space.free);
    let limit = (u128::from(space.total) * u128::from(refuse_percent) / 100) as u64;
    let room = u128::from(limit.saturating_sub(used));
    let shrunk = u128::from(before.checked_sub(space.free).filter(|shrunk| *shrunk > 0)?);
    u64::try_from(room * u128::from(passed.0.unsigned_abs()) / shrunk / 3_600_000).ok()
}

/// Percent used, rounded up as the original does.
pub(crate) fn used_percent(space: Space) -> u32 {
    let used = space.total.saturating_sub(space.free);
    match space.total {
        0 => 100,
        total => u128::from(used).saturating_mul(100).div_ceil(u128::from(total)) as u32,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = 3_600_000;

    fn check(used_percent: u32, hour: i64, asked: bool, keep_from: u64, expected: usize) {
        let rules = Retention::default();
        let now_wall = Millis(100 * 24 * HOUR + hour * HOUR);
        let age = |hours: i64| Some(Millis(now_wall.0 - hours * HOUR));
        let files = [(LogOffset(10), age(80)), (LogOffset(20), age(72)), (LogOffset(30), age(71))];
        let mut now = Situation {
            now_wall,
            used_percent,
            asked,
            keep_from: LogOffset(keep_from),
            unread_from: LogOffset(u64::MAX),
            files: &files,
        };
        let decision = decide(&rules, &now);
        assert_eq!((decision.files, decision.held), (expected, false), "{now:?}");
        let young = files.iter().take(expected).filter(|(_, newest)| *newest > age(72)).count();
        assert_eq!(decision.forced, young, "{now:?}");
        // Of what somebody has not read nothing goes, whatever the reason.
        now.unread_from = LogOffset(15);
        let decision = decide(&rules, &now);
        assert_eq!((decision.files, decision.held), (expected.min(1), expected > 1), "{now:?}");
    }

    #[test]
    fn files_go_by_age_hour_space_and_wish() {
        check(10, 3, false, 99, 0);
        check(10, 4, false, 99, 2);
        check(10, 3, true, 99, 2);
        check(75, 3, false, 99, 0);
        check(76, 3, false, 99, 2);
        check(86, 3, false, 99, 3);
        check(86, 3, false, 20, 2);
        check(86, 3, false, 19, 1);
    }

    #[test]
    fn a_file_of_unknown_age_goes_only_when_space_demands_it() {
        let rules = Retention { hours: (0..24).collect(), ..Retention::default() };
        let files = [(LogOffset(10), None)];
        let mut now = Situation {
            now_wall: Millis(i64::MAX),
            used_percent: 10,
            asked: true,
            keep_from: LogOffset(99),
            unread_from: LogOffset(u64::MAX),
            files: &files,
        };
        assert_eq!(decide(&rules, &now).files, 0);
        now.used_percent = 86;
        assert_eq!(decide(&rules, &now), Decision { files: 1, forced: 1, held: false });
        assert_eq!(decide(&Retention { forcibly: false, ..rules }, &now).files, 0);
    }

    #[test]
    fn a_clock_that_jumps_forward_is_believed_only_after_a_while() {
        let mut clock = Clock::default();
        let mut at = |wall: i64, mono: i64| clock.now(Now { wall: Millis(wall), mono: Millis(mono) }).0;
        assert_eq!((at(1_000_000, 0), at(1_000_500, 500)), (1_000_000, 1_000_500));
        // Set by less than a minute.
        assert_eq!(at(1_050_000, 1_000), 1_050_000);
        let hour = |n: i64| 1_050_000 + n * HOUR;
        assert_eq!(at(hour(1), 2_000), 1_051_000);
        assert_eq!(at(hour(4) + 3 * HOUR, 1_000 + 3 * HOUR), hour(3));
        // Four hours after the jump, and as far as it stayed.
        assert_eq!(at(hour(5), 2_000 + 4 * HOUR), hour(5));
        // Back is believed at once, and so is the next hour.
        assert_eq!((at(7_000, 2_000 + 4 * HOUR), at(8_000, 3_000 + 4 * HOUR)), (7_000, 8_000));
    }

    #[test]
    fn local_hours_count() {
        let rules = Retention { utc_offset: Millis(-5 * HOUR), ..Retention::default() };
        assert!(is_hour(&rules, Millis(9 * HOUR)) && !is_hour(&rules, Millis(4 * HOUR)));
    }

    #[test]
    fn the_forecast_aims_at_the_refusal() {
        let hours =
            |free, before, refuse| hours_left(Space { total: 1_000, free }, before, Millis(HOUR), refuse);
        // 100 bytes an hour; 500 are free, but writes are refused when 100 are.
        assert_eq!(hours(500, 600, 90), Some(4));
        assert_eq!(hours(500, 600, 100), Some(5));
        assert_eq!(hours(90, 190, 90), Some(0));
        assert_eq!(hours(500, 500, 90), None);
        assert_eq!(hours(500, 400, 90), None);
    }

    #[test]
    fn use_is_rounded_up() {
        assert_eq!(used_percent(Space { total: 1000, free: 101 }), 90);
        assert_eq!(used_percent(Space { total: 1000, free: 100 }), 90);
        assert_eq!(used_percent(Space { total: 1000, free: 99 }), 91);
        assert_eq!(used_percent(Space { total: 0, free: 0 }), 100);
    }
}
