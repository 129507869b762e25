//! Which log files go. A pure decision: values in, a number of files out.
//!
//! Age is told by the records themselves, not by file times: copying a store, or a clock that jumps forward
//! and back, must not delete anything early. The last file never goes, and nothing at or behind the position
//! that the owner still needs.

use crate::options::Retention;
use kerolox_protocol::{LogOffset, Millis};

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
    /// The oldest files but the last: end of the file, and a time that is no earlier than its newest record.
    /// Without a time a file is never old.
    pub(crate) files: &'a [(LogOffset, Option<Millis>)],
}

/// How many of the oldest files go.
pub(crate) fn decide(rules: &Retention, now: &Situation<'_>) -> usize {
    let full = now.used_percent > rules.used_max_percent;
    if !(full || now.asked || is_hour(rules, now.now_wall)) {
        return 0;
    }
    let at_once = rules.forcibly && now.used_percent > rules.clean_percent;
    let goes = |(end, newest): &&(LogOffset, Option<Millis>)| {
        let is_old = newest.is_some_and(|newest| now.now_wall >= newest + rules.keep);
        *end <= now.keep_from && (at_once || is_old)
    };
    now.files.iter().take(FILES_MAX).take_while(goes).count()
}

fn is_hour(rules: &Retention, now_wall: Millis) -> bool {
    let hour = (now_wall + rules.utc_offset).0.rem_euclid(86_400_000) / 3_600_000;
    rules.hours.iter().any(|wanted| i64::from(*wanted) == hour)
}

/// Percent used, rounded up as the original does.
pub(crate) fn used_percent(space: crate::disk::Space) -> u32 {
    let used = space.total.saturating_sub(space.free);
    match space.total {
        0 => 100,
        total => u128::from(used).saturating_mul(100).div_ceil(u128::from(total)) as u32,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::Space;

    const HOUR: i64 = 3_600_000;

    fn check(used_percent: u32, hour: i64, asked: bool, keep_from: u64, expected: usize) {
        let rules = Retention::default();
        let now_wall = Millis(100 * 24 * HOUR + hour * HOUR);
        let age = |hours: i64| Some(Millis(now_wall.0 - hours * HOUR));
        let files = [(LogOffset(10), age(80)), (LogOffset(20), age(72)), (LogOffset(30), age(71))];
        let now = Situation { now_wall, used_percent, asked, keep_from: LogOffset(keep_from), files: &files };
        assert_eq!(decide(&rules, &now), expected, "{now:?}");
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
            files: &files,
        };
        assert_eq!(decide(&rules, &now), 0);
        now.used_percent = 86;
        assert_eq!(decide(&rules, &now), 1);
        assert_eq!(decide(&Retention { forcibly: false, ..rules }, &now), 0);
    }

    #[test]
    fn local_hours_count() {
        let rules = Retention { utc_offset: Millis(-5 * HOUR), ..Retention::default() };
        assert!(is_hour(&rules, Millis(9 * HOUR)) && !is_hour(&rules, Millis(4 * HOUR)));
    }

    #[test]
    fn use_is_rounded_up() {
        assert_eq!(used_percent(Space { total: 1000, free: 101 }), 90);
        assert_eq!(used_percent(Space { total: 1000, free: 100 }), 90);
        assert_eq!(used_percent(Space { total: 1000, free: 99 }), 91);
        assert_eq!(used_percent(Space { total: 0, free: 0 }), 100);
    }
}
