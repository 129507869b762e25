//! Counting what passes through, and the rates of it.
//!
//! On the hot path a count is one look-up and one addition; everything else happens when samples are taken.
//! Knows names as texts and time as an argument. The windows are the original's: per item a sample every ten
//! seconds for the last minute, every ten minutes for the last hour, every hour for the last day; for the
//! whole broker a sample a second for the last ten minutes while something passes. Nothing survives a restart.

use kerolox_protocol::{
    Millis,
    body::stats::{BrokerStatsData, BrokerStatsItem},
};
use std::collections::{BTreeMap, VecDeque};
use tracing::warn;

/// Items of each table; what comes beyond is counted in the broker's totals only.
pub const ITEMS_MAX: usize = 50_000;
/// Pause between two samples of the items.
const ITEM_PERIOD: Millis = Millis(10_000);
/// Pause between two samples of the broker's totals while something passes.
const TOTAL_PERIOD: Millis = Millis(1_000);
/// The longest window of the broker's totals.
const TOTAL_WINDOW: Millis = Millis(600_000);
/// Pause between two samples of an item for the last hour, and for the last day.
const HOUR_PERIOD: Millis = Millis(600_000);
const DAY_PERIOD: Millis = Millis(3_600_000);
const DAY: i64 = 24 * 3_600_000;

/// Messages and bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Count {
    /// Messages.
    pub messages: u64,
    /// Bytes of their records.
    pub bytes: u64,
    /// Calls.
    pub calls: u64,
}

impl Count {
    fn add(&mut self, messages: u64, bytes: u64) {
        self.messages += messages;
        self.bytes += bytes;
        self.calls += 1;
    }
}

/// Everything that passed the broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Totals {
    /// Stored.
    pub put: Count,
    /// Sends that failed.
    pub put_failed: u64,
    /// Given out; `calls` are pulls that found something.
    pub got: Count,
    /// Pulls that found nothing.
    pub missed: u64,
}

/// Which of an item's numbers is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// Messages.
    Nums,
    /// Bytes.
    Size,
}

/// The counters.
#[derive(Debug, Clone, Default)]
pub struct Stats {
    utc_offset: Millis,
    put: Table,
    got: BTreeMap<Box<str>, Table>,
    got_items: usize,
    back: BTreeMap<Box<str>, Table>,
    back_items: usize,
    totals: Totals,
    total_samples: VecDeque<(Millis, Totals)>,
    /// Totals at the beginning of today and of yesterday.
    mornings: Mornings,
    item_due: Millis,
    total_due: Millis,
    ticks: u64,
    warned: bool,
}

/// Message totals at the last two local midnights.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Mornings {
    day: Option<i64>,
    /// Stored until yesterday's beginning.
    pub put_yesterday: u64,
    /// Stored until today's beginning.
    pub put_today: u64,
    /// Given out until yesterday's beginning.
    pub got_yesterday: u64,
    /// Given out until today's beginning.
    pub got_today: u64,
}

type Table = BTreeMap<Box<str>, Item>;

impl Stats {
    /// Counters of a broker whose local time differs so much from Unix time; days begin at local midnight.
    pub fn new(utc_offset: Millis) -> Stats {
        Stats { utc_offset, ..Stats::default() }
    }

    /// Local time is another one from now on.
    pub fn set_utc_offset(&mut self, utc_offset: Millis) {
        self.utc_offset = utc_offset;
    }

    /// Messages were stored in a topic.
    pub fn on_put(&mut self, topic: &str, messages: u64, bytes: u64) {
        self.totals.put.add(messages, bytes);
        if let Some(item) = self.put.get_mut(topic) {
            item.now.add(messages, bytes);
        } else if self.put.len() < ITEMS_MAX {
            self.put.insert(topic.into(), Item::of(messages, bytes));
        } else {
            self.full("topics");
        }
    }

    /// A send failed in the store.
    pub fn on_put_failed(&mut self) {
        self.totals.put_failed += 1;
    }

    /// Messages of a topic were given to a group.
    pub fn on_got(&mut self, topic: &str, group: &str, messages: u64, bytes: u64) {
        self.totals.got.add(messages, bytes);
        let room = self.got_items < ITEMS_MAX;
        match add_pair(&mut self.got, topic, group, messages, bytes, room) {
            Added::Known => {}
            Added::New => self.got_items += 1,
            Added::NoRoom => self.full("groups"),
        }
    }

    /// A pull found nothing.
    pub fn on_missed(&mut self) {
        self.totals.missed += 1;
    }

    /// A message of a topic was given back by a group.
    pub fn on_back(&mut self, topic: &str, group: &str) {
        let room = self.back_items < ITEMS_MAX;
        match add_pair(&mut self.back, topic, group, 1, 0, room) {
            Added::Known => {}
            Added::New => self.back_items += 1,
            Added::NoRoom => self.full("groups"),
        }
    }

    /// Forgets a topic, or a group, that is no more.
    pub fn forget(&mut self, topic: Option<&str>, group: Option<&str>) {
        if let Some(topic) = topic {
            self.put.remove(topic);
            self.got.remove(topic);
            self.back.remove(topic);
        }
        if let Some(group) = group {
            for table in [&mut self.got, &mut self.back] {
                table.values_mut().for_each(|groups| drop(groups.remove(group)));
                table.retain(|_, groups| !groups.is_empty());
            }
        }
        self.got_items = self.got.values().map(BTreeMap::len).sum();
        self.back_items = self.back.values().map(BTreeMap::len).sum();
    }

    /// Everything so far.
    pub fn totals(&self) -> Totals {
        self.totals
    }

    /// Message totals at the last two midnights.
    pub fn mornings(&self) -> Mornings {
        self.mornings
    }

    /// Stored in a topic.
    pub fn put(&self, topic: &str, what: What) -> Option<BrokerStatsData> {
        self.put.get(topic).map(|item| item.data(what))
    }

    /// Given out to a group of a topic.
    pub fn got(&self, topic: &str, group: &str, what: What) -> Option<BrokerStatsData> {
        self.got.get(topic)?.get(group).map(|item| item.data(what))
    }

    /// Given back by a group of a topic.
    pub fn back(&self, topic: &str, group: &str) -> Option<BrokerStatsData> {
        self.back.get(topic)?.get(group).map(|item| item.data(What::Nums))
    }

    /// Messages per second that a group got of a topic in the last minute.
    pub fn got_tps(&self, topic: &str, group: &str) -> f64 {
        self.got(topic, group, What::Nums).map_or(0.0, |data| data.stats_minute.tps)
    }

    /// Over all topics, in the windows of the items; `pick` chooses the number.
    pub fn whole(&self, pick: impl Fn(&Totals) -> u64) -> BrokerStatsData {
        let window = |ms| {
            let (sum, span) = self.grown(Millis(ms), &pick)?;
            Some(BrokerStatsItem { avgpt: 0.0, sum: signed(sum), tps: per_second(sum, span) })
        };
        let minute = window(60_000).unwrap_or_default();
        // Ten minutes are kept of the totals; the longer windows are those of what is kept.
        let longest = window(TOTAL_WINDOW.0).unwrap_or_default();
        BrokerStatsData { stats_minute: minute, stats_hour: longest, stats_day: longest }
    }

    /// Rates over ten seconds, a minute and ten minutes, joined by blanks; `pick` chooses the number.
    pub fn rates(&self, pick: impl Fn(&Totals) -> u64) -> String {
        let rate = |ms| {
            let grown = self.grown(Millis(ms), &pick);
            // With a fraction even where it is zero, as Java prints it.
            format!("{:?}", grown.map_or(0.0, |(sum, span)| per_second(sum, span)))
        };
        [rate(10_000), rate(60_000), rate(600_000)].join(" ")
    }

    /// Growth between the newest sample and the one that is so much older, with the real span.
    fn grown(&self, window: Millis, pick: &impl Fn(&Totals) -> u64) -> Option<(u64, Millis)> {
        let (newest, now) = self.total_samples.back()?;
        let from = *newest - window;
        let at = self.total_samples.partition_point(|(at, _)| *at <= from).saturating_sub(1);
        let (oldest, then) = self.total_samples.get(at)?;
        let span = (*newest - *oldest).0.max(window.0.min(TOTAL_PERIOD.0));
        Some((pick(now).saturating_sub(pick(then)), Millis(span)))
    }

    /// Takes the samples that are due. `mono` orders samples, `wall` tells the day.
    pub fn tick(&mut self, mono: Millis, wall: Millis) {
        self.midnight(wall);
        if self.total_due <= mono {
            self.sample_totals(mono);
        }
        if self.item_due <= mono {
            self.item_due = mono + ITEM_PERIOD;
            let ticks = self.ticks;
            let pairs = self.got.values_mut().chain(self.back.values_mut());
            let items = self.put.values_mut().chain(pairs.flat_map(BTreeMap::values_mut));
            items.for_each(|item| item.sample(mono, ticks));
            self.ticks += 1;
        }
    }

    /// When [`Stats::tick`] wants to be called, monotonic: each second only while something passes.
    pub fn next_timer(&self) -> Option<Millis> {
        Some(self.item_due.min(self.total_due))
    }

    fn sample_totals(&mut self, mono: Millis) {
        self.total_samples.push_back((mono, self.totals));
        while self.total_samples.get(1).is_some_and(|(at, _)| *at <= mono - TOTAL_WINDOW) {
            self.total_samples.pop_front();
        }
        let quiet = self.total_samples.front().is_some_and(|(_, then)| *then == self.totals);
        self.total_due = mono + if quiet { ITEM_PERIOD } else { TOTAL_PERIOD };
    }

    fn midnight(&mut self, wall: Millis) {
        let day = (wall + self.utc_offset).0.div_euclid(DAY);
        let (put, got) = (self.totals.put.messages, self.totals.got.messages);
        let old = self.mornings;
        match old.day {
            Some(known) if known == day => {}
            // The first look of the process is no midnight: what it has counted belongs to today.
            None => self.mornings.day = Some(day),
            Some(_) => {
                self.mornings = Mornings {
                    day: Some(day),
                    put_yesterday: old.put_today,
                    put_today: put,
                    got_yesterday: old.got_today,
                    got_today: got,
                };
            }
        }
    }

    fn full(&mut self, of: &'static str) {
        if !self.warned {
            self.warned = true;
            warn!(of, max = ITEMS_MAX, "statistics are full: further ones count in the totals only");
        }
    }
}

enum Added {
    Known,
    New,
    NoRoom,
}

fn add_pair(
    tables: &mut BTreeMap<Box<str>, Table>,
    topic: &str,
    group: &str,
    messages: u64,
    bytes: u64,
    room: bool,
) -> Added {
    let table = tables.get_mut(topic);
    if let Some(item) = table.and_then(|groups| groups.get_mut(group)) {
        item.now.add(messages, bytes);
        return Added::Known;
    }
    if !room {
        return Added::NoRoom;
    }
    tables.entry(topic.into()).or_default().insert(group.into(), Item::of(messages, bytes));
    Added::New
}

/// One counter with its samples.
#[derive(Debug, Clone, Default)]
struct Item {
    now: Count,
    minute: Samples,
    hour: Samples,
    day: Samples,
}

impl Item {
    fn of(messages: u64, bytes: u64) -> Item {
        let mut item = Item::default();
        item.now.add(messages, bytes);
        item
    }

    fn sample(&mut self, mono: Millis, ticks: u64) {
        self.minute.push(mono, self.now, 7);
        if ticks.is_multiple_of(60) {
            self.hour.push(mono, self.now, 7);
        }
        if ticks.is_multiple_of(360) {
            self.day.push(mono, self.now, 25);
        }
    }

    fn data(&self, what: What) -> BrokerStatsData {
        let now = self.minute.newest();
        BrokerStatsData {
            stats_minute: self.minute.figure(now, what, Millis(60_000), ITEM_PERIOD),
            stats_hour: self.hour.figure(now, what, Millis(3_600_000), HOUR_PERIOD),
            stats_day: self.day.figure(now, what, Millis(DAY), DAY_PERIOD),
        }
    }
}

/// Samples of one window, oldest first.
#[derive(Debug, Clone, Default)]
struct Samples(VecDeque<(Millis, Count)>);

impl Samples {
    fn push(&mut self, mono: Millis, count: Count, keep: usize) {
        self.0.push_back((mono, count));
        while self.0.len() > keep {
            self.0.pop_front();
        }
    }

    fn newest(&self) -> Option<(Millis, Count)> {
        self.0.back().copied()
    }

    /// Growth over the window up to `now`. An item younger than its window began with nothing, one period
    /// before its first sample; so its first sample says something already.
    fn figure(
        &self,
        now: Option<(Millis, Count)>,
        what: What,
        window: Millis,
        period: Millis,
    ) -> BrokerStatsItem {
        let Some((now, last)) = now else { return BrokerStatsItem::default() };
        let begin = self.0.front().map_or(now, |(at, _)| *at) - period;
        let (then, first) = if begin >= now - window {
            (begin, Count::default())
        } else {
            let within = self.0.iter().find(|(at, _)| *at >= now - window);
            within.copied().unwrap_or((now, last))
        };
        let of = |count: &Count| match what {
            What::Nums => count.messages,
            What::Size => count.bytes,
        };
        let sum = of(&last).saturating_sub(of(&first));
        let calls = last.calls.saturating_sub(first.calls);
        let avgpt = if calls == 0 { 0.0 } else { sum as f64 / calls as f64 };
        BrokerStatsItem { avgpt, sum: signed(sum), tps: per_second(sum, now - then) }
    }
}

fn per_second(sum: u64, span: Millis) -> f64 {
    if span.0 <= 0 { 0.0 } else { sum as f64 * 1_000.0 / span.0 as f64 }
}

fn signed(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ticks every second of `seconds`, putting one message of ten bytes before each while `busy`.
    fn run(stats: &mut Stats, from: i64, seconds: i64, busy: bool) -> i64 {
        for second in from..from + seconds {
            if busy {
                stats.on_put("T", 1, 10);
            }
            stats.tick(Millis(second * 1_000), Millis(second * 1_000));
        }
        from + seconds
    }

    #[test]
    fn a_minute_is_seven_samples_of_ten_seconds() {
        let mut stats = Stats::default();
        let now = run(&mut stats, 0, 121, true);
        let minute = stats.put("T", What::Nums).unwrap().stats_minute;
        assert_eq!((minute.sum, minute.tps, minute.avgpt), (60, 1.0, 1.0));
        assert_eq!(stats.put("T", What::Size).unwrap().stats_minute.sum, 600);
        run(&mut stats, now, 70, false);
        assert_eq!(stats.put("T", What::Nums).unwrap().stats_minute.sum, 0);
        assert_eq!(stats.put("other", What::Nums), None);
    }

    #[test]
    fn the_first_sample_counts_from_nothing_one_period_earlier() {
        let mut stats = Stats::default();
        stats.on_got("T", "g", 5, 50);
        stats.tick(Millis(100_000), Millis(0));
        let data = stats.got("T", "g", What::Nums).unwrap();
        assert_eq!((data.stats_minute.sum, data.stats_minute.tps), (5, 0.5));
        assert_eq!((data.stats_hour.sum, data.stats_day.sum), (5, 5));
        assert_eq!(stats.got_tps("T", "g"), 0.5);
    }

    #[test]
    fn an_hour_and_a_day_have_their_own_samples() {
        let mut stats = Stats::default();
        run(&mut stats, 0, 7_201, true);
        let data = stats.put("T", What::Nums).unwrap();
        assert_eq!(data.stats_hour.sum, 3_600);
        assert_eq!(data.stats_day.sum, 7_201);
    }

    #[test]
    fn the_brokers_rates_have_three_windows() {
        let mut stats = Stats::default();
        assert_eq!(stats.rates(|totals| totals.put.messages), "0.0 0.0 0.0");
        let now = run(&mut stats, 0, 700, true);
        assert_eq!(stats.rates(|totals| totals.put.messages), "1.0 1.0 1.0");
        run(&mut stats, now, 60, false);
        let rates = stats.rates(|totals| totals.put.messages);
        let rates: Vec<f64> = rates.split(' ').map(|rate| rate.parse().unwrap()).collect();
        assert!(rates[0] == 0.0 && rates[1] < 0.05 && rates[2] > 0.85, "{rates:?}");
    }

    #[test]
    fn an_idle_broker_is_woken_every_ten_seconds_only() {
        let mut stats = Stats::default();
        let mut now = Millis(0);
        for _ in 0..100 {
            stats.tick(now, now);
            let next = stats.next_timer().unwrap();
            assert_eq!(next - now, ITEM_PERIOD);
            now = next;
        }
        assert!(stats.total_samples.len() < 70);
    }

    #[test]
    fn a_day_begins_at_local_midnight() {
        let mut stats = Stats::new(Millis(3_600_000));
        let midnight = Millis(20 * DAY - 3_600_000);
        stats.on_put("T", 3, 1);
        stats.tick(Millis(0), midnight - Millis(1));
        assert_eq!(stats.mornings().put_today, 0);
        stats.tick(Millis(0), midnight);
        stats.on_put("T", 4, 1);
        stats.tick(Millis(0), midnight + Millis(1));
        assert_eq!((stats.mornings().put_yesterday, stats.mornings().put_today), (0, 3));
        stats.tick(Millis(0), midnight + Millis(DAY));
        assert_eq!((stats.mornings().put_yesterday, stats.mornings().put_today), (3, 7));
    }

    #[test]
    fn the_number_of_items_is_bounded() {
        let mut stats = Stats::default();
        for n in 0..ITEMS_MAX + 5 {
            stats.on_got("T", &n.to_string(), 1, 1);
        }
        assert_eq!((stats.got["T"].len(), stats.totals().got.messages), (ITEMS_MAX, ITEMS_MAX as u64 + 5));
        stats.forget(Some("T"), None);
        assert_eq!(stats.got_items, 0);
        stats.on_got("U", "g", 1, 1);
        stats.forget(None, Some("g"));
        assert!(stats.got.is_empty());
    }
}
