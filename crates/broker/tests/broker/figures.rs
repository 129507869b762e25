//! Figures: how far queues and groups are, what passed, what the process says of itself.

use crate::{
    asks::{commit, pull, send, send_back},
    members::beat,
    rig::{Ask, Got, Rig, text},
    tables::set_topic,
};
use kerolox_protocol::{
    body::{self, KvTable},
    code,
};

fn filled(rig: &mut Rig) {
    rig.ask(set_topic("T", 1, 1, 6));
    for at in 0..3 {
        rig.ask(send(1, "T", &format!("m{at}")));
        rig.advance(1_000);
    }
}

/// The one form that Java tools and Go parse: objects as raw keys.
#[test]
fn a_topics_ends_are_keyed_by_raw_objects() {
    let mut rig = Rig::new();
    filled(&mut rig);
    let broker = rig.options.broker.broker_name.clone();
    let stats = rig.ask(Ask::bare(9, 202).with("topic", "T"));
    let expected = format!(
        r#"{{"offsetTable":{{{{"brokerName":"{broker}","queueId":0,"topic":"T"}}:{{"lastUpdateTimestamp":1700000002000,"maxOffset":3,"minOffset":0}}}}}}"#
    );
    assert_eq!(text(&stats), expected);
    rig.ask(set_topic("E", 1, 2, 6));
    let empty = rig.ask(Ask::bare(9, 202).with("topic", "E"));
    assert_eq!(text(&empty).matches(r#"{"lastUpdateTimestamp":0,"maxOffset":0,"minOffset":0}"#).count(), 2);
    assert_eq!(rig.ask(Ask::bare(9, 202).with("topic", "other")).code(), code::TOPIC_NOT_EXIST);
}

#[test]
fn how_far_a_group_is() {
    let mut rig = Rig::new();
    filled(&mut rig);
    let broker = rig.options.broker.broker_name.clone();
    rig.ask(commit("g", "T", 0, 2));
    let expected = format!(
        r#"{{"consumeTps":0.0,"offsetTable":{{{{"brokerName":"{broker}","queueId":0,"topic":"T"}}:{{"brokerOffset":3,"consumerOffset":2,"lastTimestamp":1700000001000}}}}}}"#
    );
    let ask = || Ask::bare(9, 208).with("consumerGroup", "g");
    for asked in [ask(), ask().with("topic", ""), ask().with("topic", "T"), ask().with("topicList", "T;X")] {
        assert_eq!(text(&rig.ask(asked)), expected);
    }
    rig.ask(beat(1, "a", "g", "U", "*"));
    let online = rig.ask(ask());
    assert_eq!(
        text(&online),
        r#"{"consumeTps":0.0,"offsetTable":{}}"#,
        "online, it wants only what it subscribes to"
    );
    let all = rig.ask(Ask::bare(9, 317).with("isOrder", "false"));
    assert!(
        text(&all).starts_with(r#"{"brokerAddr":"127.0.0.1:10911","consumeStatsList":["#),
        "{}",
        text(&all)
    );
    assert!(text(&all).ends_with(r#""totalDiff":0}"#), "{}", text(&all));
    rig.close(1);
    let all = rig.ask(Ask::bare(9, 317).with("isOrder", "false"));
    assert!(text(&all).contains(r#"{"g":[{"consumeTps":0.0,"#) && text(&all).ends_with(r#""totalDiff":1}"#));
    let ordered = rig.ask(Ask::bare(9, 317).with("isOrder", "true"));
    assert!(text(&ordered).ends_with(r#""totalDiff":0}"#));
}

#[test]
fn between_which_times_the_waiting_messages_lie() {
    let mut rig = Rig::new();
    filled(&mut rig);
    rig.ask(commit("g", "T", 0, 1));
    let broker = rig.options.broker.broker_name.clone();
    let spans = rig.ask(Ask::bare(9, 303).with("topic", "T").with("group", "g"));
    let expected = format!(
        r#"{{"consumeTimeSpanSet":[{{"consumeTimeStamp":1700000000000,"delayTime":2000,"maxTimeStamp":1700000002000,"messageQueue":{{"brokerName":"{broker}","queueId":0,"topic":"T"}},"minTimeStamp":1700000000000}}]}}"#
    );
    assert_eq!(text(&spans), expected);
    assert_eq!(
        rig.ask(Ask::bare(9, 303).with("topic", "X").with("group", "g")).code(),
        code::TOPIC_NOT_EXIST
    );
}

#[test]
fn entries_of_a_queue_are_shown_with_what_a_groups_filter_says() {
    let mut rig = Rig::new();
    filled(&mut rig);
    rig.ask(beat(1, "a", "g", "T", "TagA"));
    let ask = |queue: i32, index: i64| {
        Ask::bare(9, 321).with("topic", "T").with("queueId", queue).with("index", index).with("count", 2)
    };
    let shown = rig.ask(ask(0, 1).with("consumerGroup", "g"));
    assert!(
        text(&shown).starts_with(
            r#"{"maxQueueIndex":3,"minQueueIndex":0,"queueData":[{"eval":false,"physicOffset":"#
        )
    );
    assert_eq!(text(&shown).matches(r#""tagsCode":0"#).count(), 2);
    assert!(text(&shown).contains(r#""subscriptionData":{"classFilterMode""#));
    let beyond = rig.ask(ask(0, 3));
    assert_eq!((beyond.code(), beyond.body.len(), beyond.remark()), (0, 0, "Index 3 of 0@T is not exist!"));
    let missing = rig.ask(ask(7, 0));
    assert_eq!((missing.code(), missing.remark()), (code::SYSTEM_ERROR, "7@T is not exist!"));
}

fn rates(rig: &mut Rig, name: &str, key: &str) -> Got {
    rig.ask(Ask::bare(9, 315).with("statsName", name).with("statsKey", key))
}

#[test]
fn what_passed_is_counted_by_topic_and_group() {
    let mut rig = Rig::new();
    filled(&mut rig);
    rig.ask(Ask::json(9, 200, r#"{"groupName":"g"}"#));
    let got = rig.ask(pull(2, "T", 0));
    let first = got.records()[0].physical_offset;
    rig.ask(send_back(2, first, 3));
    rig.advance(20_000);
    for (name, key, sum) in [
        ("TOPIC_PUT_NUMS", "T", 3),
        ("GROUP_GET_NUMS", "T@g", 3),
        ("SNDBCK_PUT_NUMS", "T@g", 1),
        ("BROKER_GET_NUMS", "DefaultCluster", 3),
    ] {
        let data = rates(&mut rig, name, key);
        let minute =
            format!(r#""statsMinute":{{"avgpt":{}"#, if name.starts_with("BROKER") { "0.0" } else { "" });
        assert!(text(&data).contains(&minute), "{name}: {}", text(&data));
        let sums = text(&data).matches(&format!(r#""sum":{sum},"#)).count();
        assert_eq!(sums, 3, "{name}: {}", text(&data));
    }
    let missing = rates(&mut rig, "TOPIC_PUT_NUMS", "X");
    assert_eq!(
        (missing.code(), missing.remark()),
        (code::SYSTEM_ERROR, "The stats <TOPIC_PUT_NUMS> <X> not exist")
    );
    assert_eq!(rates(&mut rig, "BROKER_PUT_NUMS", "OtherCluster").code(), code::SYSTEM_ERROR);
}

/// Every key that the original's tools read by name (wire reference, section 3.12).
const RUNTIME_KEYS: &str = "bootTimestamp runtime putMessageEntireTimeMax putMessageTimesTotal \
    putMessageFailedTimes putMessageSizeTotal putMessageDistributeTime putMessageAverageSize putLatency99 \
    putLatency999 dispatchMaxBuffer getMessageEntireTimeMax putTps getFoundTps getMissTps getTotalTps \
    getTransferedTps getTransferredTps commitLogDiskRatio commitLogDiskRatio_/store/commitlog \
    consumeQueueDiskRatio commitLogMinOffset commitLogMaxOffset commitLogDirCapacity earliestMessageTimeStamp \
    scheduleMessageOffset_1 scheduleMessageOffset_18 brokerVersionDesc brokerVersion \
    startAcceptSendRequestTimeStamp dispatchBehindBytes pageCacheLockTimeMills remainTransientStoreBufferNumbs \
    remainHowManyDataToFlush msgPutTotalYesterdayMorning msgPutTotalTodayMorning msgPutTotalTodayNow \
    msgGetTotalYesterdayMorning msgGetTotalTodayMorning msgGetTotalTodayNow sendThreadPoolQueueSize \
    sendThreadPoolQueueCapacity pullThreadPoolQueueSize pullThreadPoolQueueCapacity queryThreadPoolQueueSize \
    queryThreadPoolQueueCapacity EndTransactionQueueSize EndTransactionThreadPoolQueueCapacity \
    sendThreadPoolQueueHeadWaitTimeMills pullThreadPoolQueueHeadWaitTimeMills \
    queryThreadPoolQueueHeadWaitTimeMills";

#[test]
fn the_process_tells_every_figure_of_the_original() {
    let mut rig = Rig::new();
    filled(&mut rig);
    rig.ask(pull(2, "T", 0));
    rig.ask(pull(2, "T", 3));
    rig.advance(61_000);
    let table = body::decode::<KvTable>(&rig.ask(Ask::bare(9, 28)).body).unwrap().table;
    let missing: Vec<&str> =
        RUNTIME_KEYS.split_whitespace().filter(|key| !table.contains_key(*key)).collect();
    assert_eq!(missing, [""; 0]);
    let figure = |key: &str| table[key].as_str();
    assert_eq!(figure("bootTimestamp"), "1700000000000");
    assert_eq!(figure("runtime"), "[ 0 days, 0 hours, 1 minutes, 4 seconds ]");
    assert_eq!((figure("brokerVersionDesc"), figure("brokerVersion")), ("V4_9_8", "409"));
    assert_eq!((figure("msgPutTotalTodayNow"), figure("msgGetTotalTodayNow")), ("3", "3"));
    assert_eq!(figure("putMessageTimesTotal"), "3");
    assert_eq!(figure("earliestMessageTimeStamp"), "1700000000000");
    assert_eq!(figure("commitLogMaxOffset"), rig.broker.store.end().to_string());
    assert!(figure("putTps").split(' ').all(|rate| rate.parse::<f64>().is_ok()), "{}", figure("putTps"));
    assert_eq!(figure("putTps").split(' ').count(), 3);
    assert_eq!(figure("scheduleMessageOffset_1"), "0,0");
}

#[test]
fn local_time_follows_the_zone_within_an_hour() {
    use kerolox_protocol::Millis;
    let mut options = crate::rig::options();
    // Summer time comes half an hour after the start.
    options.utc_offset_at = |wall| {
        let summer = wall >= crate::rig::START.wall + Millis(1_800_000);
        Millis(if summer { 7_200_000 } else { 3_600_000 })
    };
    options.utc_offset = Millis(3_600_000);
    let mut rig = Rig::with(options);
    rig.advance(1_700_000);
    assert_eq!(rig.broker.options.for_store().retention.utc_offset, Millis(3_600_000));
    rig.advance(2_000_000);
    assert_eq!(rig.broker.options.for_store().retention.utc_offset, Millis(7_200_000));
}
