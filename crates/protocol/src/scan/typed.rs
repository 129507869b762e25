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

/// What each kind of field is: its type, how the owned header lends it, and how it is read from its place.
macro_rules! kind {
    (type text) => { &'a str };
    (type small) => { i32 };
    (type large) => { i64 };
    (type optional_text) => { Option<&'a str> };
    (type optional_small) => { Option<i32> };
    (type optional_large) => { Option<i64> };
    (type truth) => { Option<bool> };
    (lend text $field:expr) => { &$field };
    (lend optional_text $field:expr) => { $field.as_deref() };
    (lend $kind:ident $field:expr) => { $field };
}

/// Declares a hot request: the fields of its header with their kinds and long names, in the order of their places. Gives
/// its borrowed view, how the owned header lends that, which name stands where, and how it is read.
macro_rules! hot {
    ($(#[$doc:meta])* $name:ident of $owned:ident { $( $field:ident: $kind:ident = $wire:literal, )* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[allow(missing_docs, reason = "the owned header explains the fields")]
        pub struct $name<'a> {
            $( pub $field: kind!(type $kind), )*
        }

        impl<'a> From<&'a $owned> for $name<'a> {
            fn from(owned: &'a $owned) -> Self {
                $name { $( $field: kind!(lend $kind owned.$field), )* }
            }
        }

        const _: () = {
            #[allow(non_camel_case_types, reason = "named as the fields are")]
            enum Place {
                $( $field, )*
                End,
            }

            impl<'a> $name<'a> {
                /// The place of a field by its long name.
                #[inline]
                fn place_of(name: &[u8]) -> usize {
                    match name {
                        $( $wire => Place::$field as usize, )*
                        _ => ELSE,
                    }
                }

                #[inline]
                fn read(of: &Scanned<'a>, place_of: impl Fn(&[u8]) -> usize) -> Result<Self, Unusual> {
                    let fields = of.sorted::<{ Place::End as usize }>(place_of);
                    Ok($name { $( $field: fields.$kind(Place::$field as usize)?, )* })
                }
            }
        };
    };
}

hot! {
    /// As [`SendRequest`], which explains the fields.
    Send of SendRequest {
        producer_group: text = b"producerGroup",
        topic: text = b"topic",
        default_topic: text = b"defaultTopic",
        default_topic_queue_nums: small = b"defaultTopicQueueNums",
        queue_id: small = b"queueId",
        sys_flag: small = b"sysFlag",
        born_timestamp: large = b"bornTimestamp",
        flag: small = b"flag",
        properties: optional_text = b"properties",
        reconsume_times: optional_small = b"reconsumeTimes",
        unit_mode: truth = b"unitMode",
        max_reconsume_times: optional_small = b"maxReconsumeTimes",
        batch: truth = b"batch",
    }
}

hot! {
    /// As [`PullRequest`], which explains the fields.
    Pull of PullRequest {
        consumer_group: text = b"consumerGroup",
        topic: text = b"topic",
        queue_id: small = b"queueId",
        queue_offset: large = b"queueOffset",
        max_msg_nums: small = b"maxMsgNums",
        sys_flag: small = b"sysFlag",
        commit_offset: optional_large = b"commitOffset",
        suspend_timeout_millis: optional_large = b"suspendTimeoutMillis",
        subscription: optional_text = b"subscription",
        sub_version: optional_large = b"subVersion",
        expression_type: optional_text = b"expressionType",
        max_msg_bytes: optional_small = b"maxMsgBytes",
    }
}

hot! {
    /// As [`UpdateOffsetRequest`], which explains the fields.
    Commit of UpdateOffsetRequest {
        consumer_group: text = b"consumerGroup",
        topic: text = b"topic",
        queue_id: small = b"queueId",
        commit_offset: large = b"commitOffset",
    }
}

impl<'a> Scanned<'a> {
    /// The typed view; other codes are unusual, and so are missing and malformed fields.
    pub fn hot(&self) -> Result<Hot<'a>, Unusual> {
        match self.code() {
            SendMessageV2::CODE | SendBatchMessage::CODE => Send::read(self, short_name).map(Hot::Send),
            SendMessage::CODE => Send::read(self, Send::place_of).map(Hot::Send),
            PullMessage::CODE | LitePullMessage::CODE => Pull::read(self, Pull::place_of).map(Hot::Pull),
            UpdateConsumerOffset::CODE => Commit::read(self, Commit::place_of).map(Hot::Commit),
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
    fn truth(&self, place: usize) -> Result<Option<bool>, Unusual> {
        Ok(self.place(place).map(|span| self.scanned.bytes(span).eq_ignore_ascii_case(b"true")))
    }
}

/// No place.
const ELSE: usize = usize::MAX;

/// One-letter names are in the order of the fields.
fn short_name(name: &[u8]) -> usize {
    match name {
        [letter] => usize::from(letter.wrapping_sub(b'a')),
        _ => ELSE,
    }
}
