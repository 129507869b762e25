//! Figures of the running broker: 28.
//!
//! Every key of the original is there, since tools read them by name. Where a thing does not exist here (a
//! thread pool's queue, a page-cache lock), its figure is what such a thing would have when it never waits;
//! [`ABSENT`] lists these.

use crate::{
    Broker,
    call::{Call, Handle, Out, Reply, handlers},
    topics::SCHEDULE_TOPIC,
};
use kerolox_protocol::{
    Fail, Millis, QueueId,
    body::{self, KvTable},
    header::VERSION_SERVED,
    rpc::config::GetBrokerRuntimeInfo,
};
use kerolox_store::disk::Space;
use std::collections::BTreeMap;

handlers![GetBrokerRuntimeInfo];

/// The version that [`VERSION_SERVED`] stands for.
const VERSION_NAME: &str = "V4_9_8";

/// Keys about what does not exist here, with the figure that says "nothing waits".
///
/// There are no thread pools between a connection and the log, so nothing queues; a record is visible when it
/// is written, so nothing is left to dispatch; there is no lock that a slow page cache could hold, and no
/// pool of direct buffers (the number is the original's for "off"). The time of single puts and gets is not
/// measured.
const ABSENT: &[(&str, &str)] = &[
    ("dispatchMaxBuffer", "0"),
    ("dispatchBehindBytes", "0"),
    ("pageCacheLockTimeMills", "0"),
    ("remainTransientStoreBufferNumbs", "2147483647"),
    ("sendThreadPoolQueueSize", "0"),
    ("pullThreadPoolQueueSize", "0"),
    ("queryThreadPoolQueueSize", "0"),
    ("EndTransactionQueueSize", "0"),
    ("sendThreadPoolQueueHeadWaitTimeMills", "0"),
    ("pullThreadPoolQueueHeadWaitTimeMills", "0"),
    ("queryThreadPoolQueueHeadWaitTimeMills", "0"),
    ("putMessageEntireTimeMax", "0"),
    ("getMessageEntireTimeMax", "0"),
    ("putLatency99", "0"),
    ("putLatency999", "0"),
    (
        "putMessageDistributeTime",
        "[<=0ms]:0 [0~10ms]:0 [10~50ms]:0 [50~100ms]:0 [100~200ms]:0 [200~500ms]:0 [500ms~1s]:0 [1~2s]:0 \
         [2~3s]:0 [3~4s]:0 [4~5s]:0 [5~10s]:0 [10s~]:0 ",
    ),
];

impl Handle<GetBrokerRuntimeInfo> for Broker {
    fn handle(&mut self, call: &Call<'_>, (): (), _: &mut Out) -> Result<Reply<()>, Fail> {
        let mut table: BTreeMap<String, String> =
            ABSENT.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let mut put = |key: &str, value: String| drop(table.insert(key.to_owned(), value));
        self.process_figures(call.now.mono, &mut put);
        self.traffic_figures(&mut put);
        self.log_figures(&mut put);
        self.disk_figures(&mut put);
        self.schedule_figures(&mut put);
        Ok(Reply::with_body((), body::encode(&KvTable { table })))
    }
}

impl Broker {
    fn process_figures(&self, mono: Millis, put: &mut impl FnMut(&str, String)) {
        let keys = &self.options.broker;
        put("bootTimestamp", self.desk.booted.wall.0.to_string());
        put("runtime", span(mono - self.desk.booted.mono));
        put("brokerVersionDesc", VERSION_NAME.to_owned());
        put("brokerVersion", VERSION_SERVED.to_string());
        put("startAcceptSendRequestTimeStamp", keys.start_accept_send_request_time_stamp.0.to_string());
        put("sendThreadPoolQueueCapacity", keys.send_thread_pool_queue_capacity.0.to_string());
        put("pullThreadPoolQueueCapacity", keys.pull_thread_pool_queue_capacity.0.to_string());
        put("queryThreadPoolQueueCapacity", keys.query_thread_pool_queue_capacity.0.to_string());
        put("EndTransactionThreadPoolQueueCapacity", keys.end_transaction_pool_queue_capacity.0.to_string());
    }

    fn traffic_figures(&self, put: &mut impl FnMut(&str, String)) {
        let totals = self.stats.totals();
        let stored = totals.put;
        // As the original: an average over nothing would be no number.
        put("putMessageTimesTotal", stored.messages.max(1).to_string());
        put("putMessageFailedTimes", totals.put_failed.to_string());
        put("putMessageSizeTotal", stored.bytes.to_string());
        put("putMessageAverageSize", java(stored.bytes as f64 / stored.messages.max(1) as f64));
        put("putTps", self.stats.rates(|totals| totals.put.messages));
        put("getFoundTps", self.stats.rates(|totals| totals.got.calls));
        put("getMissTps", self.stats.rates(|totals| totals.missed));
        put("rottenRecordsPassedOver", self.desk.rot.passed_over().to_string());
        put("getTotalTps", self.stats.rates(|totals| totals.got.calls + totals.missed));
        let transferred = self.stats.rates(|totals| totals.got.messages);
        // One name is the original's, the other its 5.x tools'.
        put("getTransferedTps", transferred.clone());
        put("getTransferredTps", transferred);
        let mornings = self.stats.mornings();
        put("msgPutTotalYesterdayMorning", mornings.put_yesterday.to_string());
        put("msgPutTotalTodayMorning", mornings.put_today.to_string());
        put("msgPutTotalTodayNow", stored.messages.to_string());
        put("msgGetTotalYesterdayMorning", mornings.got_yesterday.to_string());
        put("msgGetTotalTodayMorning", mornings.got_today.to_string());
        put("msgGetTotalTodayNow", totals.got.messages.to_string());
    }

    fn log_figures(&self, put: &mut impl FnMut(&str, String)) {
        put("commitLogMinOffset", self.store.first().wire().to_string());
        put("commitLogMaxOffset", self.store.end().wire().to_string());
        let unflushed = self.store.written().0.saturating_sub(self.store.flushed().0);
        put("remainHowManyDataToFlush", human(unflushed));
        let earliest = self.store.earliest_time().ok().flatten();
        put("earliestMessageTimeStamp", earliest.map_or(-1, |time| time.0).to_string());
    }

    fn disk_figures(&self, put: &mut impl FnMut(&str, String)) {
        let paths = self.options.for_store().paths;
        let mut lowest: Option<f64> = None;
        let (mut total, mut free) = (0, 0);
        for path in &paths.commit_log {
            let space = self.desk.disk.space(path).ok();
            let ratio = space.map_or(-1.0, |space| used(&space));
            put(&format!("commitLogDiskRatio_{}", path.display()), java(ratio));
            lowest = Some(lowest.map_or(ratio, |lowest| lowest.min(ratio)));
            total += space.map_or(0, |space| space.total);
            free += space.map_or(0, |space| space.free);
        }
        put("commitLogDiskRatio", java(lowest.unwrap_or(-1.0)));
        let queues =
            self.desk.disk.space(&paths.consume_queue()).or_else(|_| self.desk.disk.space(&paths.root));
        put("consumeQueueDiskRatio", java(queues.map_or(-1.0, |space| used(&space))));
        put("commitLogDirCapacity", format!("Total : {}, Free : {}.", human(total), human(free)));
    }

    fn schedule_figures(&self, put: &mut impl FnMut(&str, String)) {
        for (level, next) in self.delay.progress() {
            let queue = QueueId(level.saturating_sub(1));
            let slot = self.store.find_slot(SCHEDULE_TOPIC, queue);
            let end = slot.map(|slot| self.store.bounds(slot).max).unwrap_or_default();
            put(&format!("scheduleMessageOffset_{level}"), format!("{next},{end}"));
        }
    }
}

/// With a fraction even where it is zero, as Java prints it.
fn java(number: f64) -> String {
    format!("{number:?}")
}

/// Share of a file system that is used, in whole percents rounded up, as a fraction.
fn used(space: &Space) -> f64 {
    let taken = space.total.saturating_sub(space.free);
    if space.total == 0 { -1.0 } else { (taken as f64 * 100.0 / space.total as f64).ceil() / 100.0 }
}

/// `[ d days, h hours, m minutes, s seconds ]`.
fn span(ms: Millis) -> String {
    let seconds = ms.0.max(0) / 1_000;
    let (minutes, hours, days) = (seconds / 60, seconds / 3_600, seconds / 86_400);
    format!("[ {days} days, {} hours, {} minutes, {} seconds ]", hours % 24, minutes % 60, seconds % 60)
}

/// Bytes for people: steps of 1024, one decimal.
fn human(bytes: u64) -> String {
    if bytes < 1_024 {
        return format!("{bytes} B");
    }
    let step = (63 - bytes.leading_zeros()) / 10;
    let unit = ["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"].get(step as usize).copied().unwrap_or("Ei");
    format!("{:.1} {unit}B", bytes as f64 / (1u64 << (step * 10)) as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_and_sizes_read_as_the_originals() {
        assert_eq!(
            span(Millis(((26 * 60 + 3) * 60 + 4) * 1_000)),
            "[ 1 days, 2 hours, 3 minutes, 4 seconds ]"
        );
        assert_eq!([human(0), human(1_023), human(1_536)], ["0 B", "1023 B", "1.5 KiB"]);
        assert_eq!([human(3 << 30), human(u64::MAX)], ["3.0 GiB", "16.0 EiB"]);
    }

    #[test]
    fn use_is_rounded_up_to_whole_percents() {
        assert_eq!(used(&Space { total: 1_000, free: 249 }), 0.76);
        assert_eq!(used(&Space { total: 0, free: 0 }), -1.0);
    }
}
