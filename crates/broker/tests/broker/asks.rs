//! Requests as clients make them.

use crate::rig::Ask;
use kerolox_protocol::{
    Millis, batch,
    properties::Builder,
    rpc::{
        consume::{PullRequest, SendBackRequest},
        produce::SendRequestV2,
    },
};

pub const SEND: i32 = 310;
pub const SEND_V1: i32 = 10;
pub const SEND_BATCH: i32 = 320;
pub const PULL: i32 = 11;
pub const COMMIT: i32 = 15;
pub const SEND_BACK: i32 = 36;
pub const VIEW: i32 = 33;

pub fn send_header(topic: &str, properties: &[(&str, &str)]) -> SendRequestV2 {
    let properties = properties.iter().fold(Builder::default(), |text, (name, value)| text.set(name, value));
    let properties = String::from_utf8(properties.build()).unwrap();
    let plain = SendRequestV2::plain("pg", topic, 0, Millis(1_699_999_999_000), properties);
    SendRequestV2 { flag: 7, batch: None, ..plain }
}

pub fn send(conn: u64, topic: &str, body: &str) -> Ask {
    send_with(conn, topic, body, &[])
}

pub fn send_with(conn: u64, topic: &str, body: &str, properties: &[(&str, &str)]) -> Ask {
    Ask::new(conn, SEND, &send_header(topic, properties), body.as_bytes())
}

pub fn send_batch(conn: u64, topic: &str, items: &[(&str, &[(&str, &str)])]) -> Ask {
    let mut body = Vec::new();
    for (text, properties) in items {
        let properties =
            properties.iter().fold(Builder::default(), |text, (name, value)| text.set(name, value)).build();
        batch::push(&mut body, &batch::Item { flag: 9, body: text.as_bytes(), properties: &properties });
    }
    let header = SendRequestV2 { batch: Some(true), ..send_header(topic, &[]) };
    Ask::new(conn, SEND_BATCH, &header, &body)
}

pub fn pull_header(topic: &str, offset: i64) -> PullRequest {
    PullRequest {
        suspend_timeout_millis: Some(15_000),
        sub_version: Some(1),
        expression_type: None,
        ..PullRequest::once("g", topic, 0, offset, 32)
    }
}

pub fn pull(conn: u64, topic: &str, offset: i64) -> Ask {
    Ask::new(conn, PULL, &pull_header(topic, offset), b"")
}

/// A pull that waits for messages with these tags.
pub fn hold(conn: u64, topic: &str, offset: i64, tags: &str) -> Ask {
    let header =
        PullRequest { sys_flag: 4 | 2, subscription: Some(tags.into()), ..pull_header(topic, offset) };
    Ask::new(conn, PULL, &header, b"")
}

/// Says where a group stands.
pub fn commit(group: &str, topic: &str, queue: i32, offset: i64) -> Ask {
    let ask = Ask::bare(1, COMMIT).with("consumerGroup", group).with("topic", topic);
    ask.with("queueId", queue).with("commitOffset", offset)
}

pub fn send_back(conn: u64, offset: i64, level: i32) -> Ask {
    let header = SendBackRequest {
        offset,
        group: "g".into(),
        delay_level: level,
        origin_msg_id: None,
        origin_topic: None,
        unit_mode: None,
        max_reconsume_times: None,
    };
    Ask::new(conn, SEND_BACK, &header, b"")
}
