//! Typed views of the hot requests, borrowed.

use super::{Scanned, Unusual, number};
use crate::rpc::{
    Rpc,
    client::HeartBeat,
    consume::{LitePullMessage, PullMessage, PullRequest},
    offset::{UpdateConsumerOffset, UpdateOffsetRequest},
    produce::{SendBatchMessage, SendMessage, SendMessageV2, SendRequest},
};

/// A hot request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hot<'a> {
    /// 10, 310, 320.
    Send(Send<'a>),
    /// 11, 361.
    Pull(Pull<'a>),
    /// 15.
    Commit(Commit<'a>),
    /// 34; all it says is in the body.
    Heartbeat,
}

/// As [`SendRequest`], which explains the fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Send<'a> {
    pub producer_group: &'a str,
    pub topic: &'a str,
    pub default_topic: &'a str,
    pub default_topic_queue_nums: i32,
    pub queue_id: i32,
    pub sys_flag: i32,
    pub born_timestamp: i64,
    pub flag: i32,
    pub properties: Option<&'a str>,
    pub reconsume_times: Option<i32>,
    pub unit_mode: Option<bool>,
    pub max_reconsume_times: Option<i32>,
    pub batch: Option<bool>,
}

/// As [`PullRequest`], which explains the fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Pull<'a> {
    pub consumer_group: &'a str,
    pub topic: &'a str,
    pub queue_id: i32,
    pub queue_offset: i64,
    pub max_msg_nums: i32,
    pub sys_flag: i32,
    pub commit_offset: Option<i64>,
    pub suspend_timeout_millis: Option<i64>,
    pub subscription: Option<&'a str>,
    pub sub_version: Option<i64>,
    pub expression_type: Option<&'a str>,
    pub max_msg_bytes: Option<i32>,
}

/// As [`UpdateOffsetRequest`], which explains the fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Commit<'a> {
    pub consumer_group: &'a str,
    pub topic: &'a str,
    pub queue_id: i32,
    pub commit_offset: i64,
}

impl From<&Send<'_>> for SendRequest {
    fn from(send: &Send<'_>) -> Self {
        SendRequest {
            producer_group: send.producer_group.into(),
            topic: send.topic.into(),
            default_topic: send.default_topic.into(),
            default_topic_queue_nums: send.default_topic_queue_nums,
            queue_id: send.queue_id,
            sys_flag: send.sys_flag,
            born_timestamp: send.born_timestamp,
            flag: send.flag,
            properties: send.properties.map(Into::into),
            reconsume_times: send.reconsume_times,
            unit_mode: send.unit_mode,
            max_reconsume_times: send.max_reconsume_times,
            batch: send.batch,
        }
    }
}

impl<'a> From<&'a SendRequest> for Send<'a> {
    fn from(send: &'a SendRequest) -> Self {
        Send {
            producer_group: &send.producer_group,
            topic: &send.topic,
            default_topic: &send.default_topic,
            default_topic_queue_nums: send.default_topic_queue_nums,
            queue_id: send.queue_id,
            sys_flag: send.sys_flag,
            born_timestamp: send.born_timestamp,
            flag: send.flag,
            properties: send.properties.as_deref(),
            reconsume_times: send.reconsume_times,
            unit_mode: send.unit_mode,
            max_reconsume_times: send.max_reconsume_times,
            batch: send.batch,
        }
    }
}

impl<'a> From<&'a PullRequest> for Pull<'a> {
    fn from(pull: &'a PullRequest) -> Self {
        Pull {
            consumer_group: &pull.consumer_group,
            topic: &pull.topic,
            queue_id: pull.queue_id,
            queue_offset: pull.queue_offset,
            max_msg_nums: pull.max_msg_nums,
            sys_flag: pull.sys_flag,
            commit_offset: pull.commit_offset,
            suspend_timeout_millis: pull.suspend_timeout_millis,
            subscription: pull.subscription.as_deref(),
            sub_version: pull.sub_version,
            expression_type: pull.expression_type.as_deref(),
            max_msg_bytes: pull.max_msg_bytes,
        }
    }
}

impl<'a> From<&'a UpdateOffsetRequest> for Commit<'a> {
    fn from(commit: &'a UpdateOffsetRequest) -> Self {
        Commit {
            consumer_group: &commit.consumer_group,
            topic: &commit.topic,
            queue_id: commit.queue_id,
            commit_offset: commit.commit_offset,
        }
    }
}

type Text<'a> = Option<&'a [u8]>;

impl<'a> Scanned<'a> {
    /// The typed view; other codes are unusual, and so are missing and malformed fields.
    pub fn hot(&self) -> Result<Hot<'a>, Unusual> {
        match self.code() {
            SendMessageV2::CODE | SendBatchMessage::CODE => self.send(short_name).map(Hot::Send),
            SendMessage::CODE => self.send(long_name).map(Hot::Send),
            PullMessage::CODE | LitePullMessage::CODE => self.pull().map(Hot::Pull),
            UpdateConsumerOffset::CODE => self.commit().map(Hot::Commit),
            HeartBeat::CODE => Ok(Hot::Heartbeat),
            _ => Err(Unusual),
        }
    }

    /// Sorts the fields into places by their names.
    fn sorted<const N: usize>(&self, place_of: fn(&[u8]) -> usize) -> [Text<'a>; N] {
        let mut sorted = [None; N];
        for (name, value) in self.fields() {
            if let Some(place) = sorted.get_mut(place_of(name)) {
                *place = Some(value);
            }
        }
        sorted
    }

    fn send(&self, place_of: fn(&[u8]) -> usize) -> Result<Send<'a>, Unusual> {
        let [a, b, c, d, e, f, g, h, i, j, k, l, m] = self.sorted::<13>(place_of);
        Ok(Send {
            producer_group: text(a)?,
            topic: text(b)?,
            default_topic: text(c)?,
            default_topic_queue_nums: small(d)?,
            queue_id: small(e)?,
            sys_flag: small(f)?,
            born_timestamp: large(g)?,
            flag: small(h)?,
            properties: i.map(|i| text(Some(i))).transpose()?,
            reconsume_times: optional(j).map(small).transpose()?,
            unit_mode: k.map(truth),
            max_reconsume_times: optional(l).map(small).transpose()?,
            batch: m.map(truth),
        })
    }

    fn pull(&self) -> Result<Pull<'a>, Unusual> {
        let [group, topic, queue, offset, nums, flag, commit, suspend, expression, version, kind, bytes] =
            self.sorted::<12>(pull_name);
        Ok(Pull {
            consumer_group: text(group)?,
            topic: text(topic)?,
            queue_id: small(queue)?,
            queue_offset: large(offset)?,
            max_msg_nums: small(nums)?,
            sys_flag: small(flag)?,
            commit_offset: optional(commit).map(large).transpose()?,
            suspend_timeout_millis: optional(suspend).map(large).transpose()?,
            subscription: expression.map(|text_| text(Some(text_))).transpose()?,
            sub_version: optional(version).map(large).transpose()?,
            expression_type: kind.map(|text_| text(Some(text_))).transpose()?,
            max_msg_bytes: optional(bytes).map(small).transpose()?,
        })
    }

    fn commit(&self) -> Result<Commit<'a>, Unusual> {
        let [group, topic, queue, offset] = self.sorted::<4>(commit_name);
        Ok(Commit {
            consumer_group: text(group)?,
            topic: text(topic)?,
            queue_id: small(queue)?,
            commit_offset: large(offset)?,
        })
    }
}

/// No place.
const ELSE: usize = usize::MAX;

fn short_name(name: &[u8]) -> usize {
    match name {
        [letter] => usize::from(letter.wrapping_sub(b'a')),
        _ => ELSE,
    }
}

fn long_name(name: &[u8]) -> usize {
    match name {
        b"producerGroup" => 0,
        b"topic" => 1,
        b"defaultTopic" => 2,
        b"defaultTopicQueueNums" => 3,
        b"queueId" => 4,
        b"sysFlag" => 5,
        b"bornTimestamp" => 6,
        b"flag" => 7,
        b"properties" => 8,
        b"reconsumeTimes" => 9,
        b"unitMode" => 10,
        b"maxReconsumeTimes" => 11,
        b"batch" => 12,
        _ => ELSE,
    }
}

fn pull_name(name: &[u8]) -> usize {
    match name {
        b"consumerGroup" => 0,
        b"topic" => 1,
        b"queueId" => 2,
        b"queueOffset" => 3,
        b"maxMsgNums" => 4,
        b"sysFlag" => 5,
        b"commitOffset" => 6,
        b"suspendTimeoutMillis" => 7,
        b"subscription" => 8,
        b"subVersion" => 9,
        b"expressionType" => 10,
        b"maxMsgBytes" => 11,
        _ => ELSE,
    }
}

fn commit_name(name: &[u8]) -> usize {
    match name {
        b"consumerGroup" => 0,
        b"topic" => 1,
        b"queueId" => 2,
        b"commitOffset" => 3,
        _ => ELSE,
    }
}

fn text(value: Text<'_>) -> Result<&str, Unusual> {
    std::str::from_utf8(value.ok_or(Unusual)?).map_err(|_| Unusual)
}

fn large(value: Text<'_>) -> Result<i64, Unusual> {
    number(value.ok_or(Unusual)?)
}

fn small(value: Text<'_>) -> Result<i32, Unusual> {
    i32::try_from(large(value)?).map_err(|_| Unusual)
}

/// An optional number that is an empty text is absent. The shape lets `map` pass it on.
fn optional(value: Text<'_>) -> Option<Text<'_>> {
    value.filter(|text| !text.is_empty()).map(Some)
}

fn truth(value: &[u8]) -> bool {
    value.eq_ignore_ascii_case(b"true")
}
