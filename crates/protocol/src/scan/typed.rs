//! Typed views of the hot requests, borrowed.

use super::{Scanned, Span, Unusual, number};
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
    #[inline]
    fn sorted<const N: usize>(&self, place_of: impl Fn(&[u8]) -> usize) -> Sorted<'_, 'a, N> {
        let mut places = [None; N];
        for (name, value) in &self.scratch.fields {
            if let Some(place) = places.get_mut(place_of(self.bytes(*name))) {
                *place = Some(*value);
            }
        }
        Sorted { scanned: self, places }
    }

    fn send(&self, place_of: impl Fn(&[u8]) -> usize) -> Result<Send<'a>, Unusual> {
        let fields = self.sorted::<13>(place_of);
        Ok(Send {
            producer_group: fields.text(0)?,
            topic: fields.text(1)?,
            default_topic: fields.text(2)?,
            default_topic_queue_nums: fields.small(3)?,
            queue_id: fields.small(4)?,
            sys_flag: fields.small(5)?,
            born_timestamp: fields.large(6)?,
            flag: fields.small(7)?,
            properties: fields.optional_text(8)?,
            reconsume_times: fields.optional_small(9)?,
            unit_mode: fields.truth(10),
            max_reconsume_times: fields.optional_small(11)?,
            batch: fields.truth(12),
        })
    }

    fn pull(&self) -> Result<Pull<'a>, Unusual> {
        let fields = self.sorted::<12>(pull_name);
        Ok(Pull {
            consumer_group: fields.text(0)?,
            topic: fields.text(1)?,
            queue_id: fields.small(2)?,
            queue_offset: fields.large(3)?,
            max_msg_nums: fields.small(4)?,
            sys_flag: fields.small(5)?,
            commit_offset: fields.optional_large(6)?,
            suspend_timeout_millis: fields.optional_large(7)?,
            subscription: fields.optional_text(8)?,
            sub_version: fields.optional_large(9)?,
            expression_type: fields.optional_text(10)?,
            max_msg_bytes: fields.optional_small(11)?,
        })
    }

    fn commit(&self) -> Result<Commit<'a>, Unusual> {
        let fields = self.sorted::<4>(commit_name);
        Ok(Commit {
            consumer_group: fields.text(0)?,
            topic: fields.text(1)?,
            queue_id: fields.small(2)?,
            commit_offset: fields.large(3)?,
        })
    }
}

/// Fields in the places that a request gives them.
struct Sorted<'s, 'a, const N: usize> {
    scanned: &'s Scanned<'a>,
    places: [Option<Span>; N],
}

impl<'a, const N: usize> Sorted<'_, 'a, N> {
    #[inline]
    fn place(&self, place: usize) -> Option<Span> {
        self.places.get(place).copied().flatten()
    }

    #[inline]
    fn text(&self, place: usize) -> Result<&'a str, Unusual> {
        self.scanned.text(self.place(place).ok_or(Unusual)?).ok_or(Unusual)
    }

    #[inline]
    fn large(&self, place: usize) -> Result<i64, Unusual> {
        number(self.scanned.bytes(self.place(place).ok_or(Unusual)?))
    }

    #[inline]
    fn small(&self, place: usize) -> Result<i32, Unusual> {
        i32::try_from(self.large(place)?).map_err(|_| Unusual)
    }

    #[inline]
    fn optional_text(&self, place: usize) -> Result<Option<&'a str>, Unusual> {
        self.place(place).map(|_| self.text(place)).transpose()
    }

    /// An optional number that is an empty text is absent.
    #[inline]
    fn is_given(&self, place: usize) -> bool {
        self.place(place).is_some_and(|span| !span.is_empty())
    }

    #[inline]
    fn optional_large(&self, place: usize) -> Result<Option<i64>, Unusual> {
        self.is_given(place).then(|| self.large(place)).transpose()
    }

    #[inline]
    fn optional_small(&self, place: usize) -> Result<Option<i32>, Unusual> {
        self.is_given(place).then(|| self.small(place)).transpose()
    }

    #[inline]
    fn truth(&self, place: usize) -> Option<bool> {
        self.place(place).map(|span| self.scanned.bytes(span).eq_ignore_ascii_case(b"true"))
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
