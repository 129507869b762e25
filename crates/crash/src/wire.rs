//! A connection that sends one request and waits for its answer. Knows frames; knows no campaign.

use anyhow::{Context, Result, bail, ensure};
use kerolox_protocol::{
    Millis,
    frame::{Codec, FRAME_BYTES_MAX, Split, split},
    header::{Fields, Header},
    record,
    rpc::{
        consume::{PullReply, PullRequest},
        offset::{OffsetReply, QueryOffsetRequest, QueueRef, UpdateOffsetRequest},
        produce::{SendReply, SendRequestV2},
    },
};
use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

/// Longest wait for an answer.
const PATIENCE: Duration = Duration::from_secs(30);

const SEND_V2: i32 = 310;
const PULL: i32 = 11;
const QUERY_OFFSET: i32 = 14;
const UPDATE_OFFSET: i32 = 15;
const MAX_OFFSET: i32 = 30;
const MIN_OFFSET: i32 = 31;
const DELETE_EXPIRED: i32 = 329;
const SUCCESS: i32 = 0;
const NO_TOPIC: i32 = 17;
const NO_OFFSET: i32 = 22;
/// Codes of a pull that found nothing: not now, not here, not that offset; and no such topic.
const NOTHING: [i32; 4] = [19, RETRY, 21, NO_TOPIC];
const RETRY: i32 = 20;
/// How often one offset is asked for: a broker that makes an entry of its queue again answers within a second.
const TRIES_MAX: u32 = 30;

/// What a pull gives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Batch {
    /// Messages; none at the queue's end.
    Messages(Vec<Pulled>),
    /// There is nothing before this offset any more, and perhaps not there.
    BeginsAt(u64),
}

/// A connection to a broker.
pub struct Wire {
    stream: TcpStream,
    opaque: i32,
}

/// A message to be sent.
#[derive(Debug, Clone, Copy)]
pub struct Message<'a> {
    /// Its topic.
    pub topic: &'a str,
    /// Its queue.
    pub queue: u32,
    /// Its unique key.
    pub key: &'a str,
    /// Its body.
    pub body: &'a [u8],
    /// Level of its delay; 0 for none, then it is there at once.
    pub delay_level: u32,
}

/// What the broker said to a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sent {
    /// `SEND_OK`, at this offset.
    Acknowledged(u64),
    /// Any other answer: code and remark.
    Refused(i32, String),
}

/// A record as pulled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pulled {
    /// Its place in the queue.
    pub offset: u64,
    /// Its body.
    pub body: Vec<u8>,
    /// Whether the body is the one that its CRC was made from.
    pub is_sound: bool,
}

impl Wire {
    /// Connects.
    pub fn connect(addr: SocketAddr) -> Result<Wire> {
        let stream = TcpStream::connect_timeout(&addr, PATIENCE)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(Wire { stream, opaque: 0 })
    }

    fn ask(&mut self, code: i32, fields: &impl Fields, body: &[u8]) -> Result<(Header, Vec<u8>)> {
        self.opaque += 1;
        let header = Header::request(code, self.opaque, Some(fields.to_ext()));
        let mut frame = Vec::new();
        header.write_frame(Codec::Json, body, &mut frame);
        self.stream.write_all(&frame)?;
        loop {
            let (header, body) = self.read()?;
            // The broker may ask something of its own meanwhile.
            if header.opaque == self.opaque && header.is_response() {
                return Ok((header, body));
            }
        }
    }

    fn read(&mut self) -> Result<(Header, Vec<u8>)> {
        let mut bytes = vec![0; 4];
        self.stream.read_exact(&mut bytes)?;
        let more = bytes.iter().fold(0usize, |size, byte| (size << 8) | usize::from(*byte));
        ensure!(more < FRAME_BYTES_MAX, "the broker claims a frame of {more} bytes");
        bytes.resize(4 + more, 0);
        let (_, rest) = bytes.split_at_mut(4);
        self.stream.read_exact(rest)?;
        match split(&bytes, FRAME_BYTES_MAX) {
            Ok(Split::Whole(frame, _)) => {
                Ok((Header::decode(frame.codec, frame.header)?, frame.body.to_vec()))
            }
            _ => bail!("the broker sent no frame"),
        }
    }

    /// Sends a message; what the broker says to it.
    pub fn send(&mut self, message: &Message<'_>) -> Result<Sent> {
        let delay = match message.delay_level {
            0 => String::new(),
            level => format!("DELAY\u{1}{level}\u{2}"),
        };
        let properties = format!("{delay}UNIQ_KEY\u{1}{}\u{2}WAIT\u{1}true", message.key);
        let (queue, born) = (i32::try_from(message.queue)?, Millis(1_700_000_000_000));
        let plain = SendRequestV2::plain("crash", message.topic, queue, born, properties);
        let request = SendRequestV2 { default_topic_queue_nums: 8, ..plain };
        let (header, _) = self.ask(SEND_V2, &request, message.body)?;
        if header.code != SUCCESS {
            return Ok(Sent::Refused(header.code, header.remark.unwrap_or_default()));
        }
        let reply: SendReply = header.fields()?;
        ensure!(
            i64::from(reply.queue_id) == i64::from(message.queue),
            "asked for queue {}, got {}",
            message.queue,
            reply.queue_id
        );
        Ok(Sent::Acknowledged(u64::try_from(reply.queue_offset).context("a negative offset")?))
    }

    /// Messages of a queue from an offset on; none at its end. Asks again while the broker says to.
    pub fn pull(&mut self, topic: &str, queue: u32, from: u64) -> Result<Batch> {
        for _ in 0..TRIES_MAX {
            if let Some(batch) = self.pull_once(topic, queue, from)? {
                return Ok(batch);
            }
        }
        bail!("asked {TRIES_MAX} times for {from} of queue {queue}, and no answer")
    }

    /// As [`Wire::pull`]; `None`: it is to be asked for again.
    fn pull_once(&mut self, topic: &str, queue: u32, from: u64) -> Result<Option<Batch>> {
        let request = PullRequest::once("crash", topic, i32::try_from(queue)?, i64::try_from(from)?, 32);
        let (header, body) = self.ask(PULL, &request, b"")?;
        if NOTHING.contains(&header.code) {
            if header.code != NO_TOPIC {
                let reply: PullReply = header.fields()?;
                let [max, next] =
                    [reply.max_offset, reply.next_begin_offset].map(|at| u64::try_from(at).unwrap_or(0));
                if from < next && next <= max {
                    return Ok(Some(Batch::BeginsAt(next)));
                }
                if header.code == RETRY && next == from && from < max {
                    return Ok(None);
                }
                ensure!(max <= from, "nothing at {from} of queue {queue}, which ends at {max}");
            }
            return Ok(Some(Batch::Messages(Vec::new())));
        }
        ensure!(header.code == SUCCESS, "a pull got {}: {:?}", header.code, header.remark);
        let mut pulled = Vec::new();
        for record in record::parse_all(&body) {
            let record = record?;
            ensure!(
                record.topic == topic && i64::from(record.queue_id) == i64::from(queue),
                "a foreign record"
            );
            let offset = u64::try_from(record.queue_offset).context("a negative offset")?;
            pulled.push(Pulled { offset, body: record.body.to_vec(), is_sound: record.crc_matches() });
        }
        Ok(Some(Batch::Messages(pulled)))
    }

    /// Offset of a queue's oldest message; 0 if there is no such topic.
    pub fn min_offset(&mut self, topic: &str, queue: u32) -> Result<u64> {
        self.border(MIN_OFFSET, topic, queue)
    }

    /// The offset behind a queue's newest message; 0 if there is no such topic.
    pub fn max_offset(&mut self, topic: &str, queue: u32) -> Result<u64> {
        self.border(MAX_OFFSET, topic, queue)
    }

    fn border(&mut self, code: i32, topic: &str, queue: u32) -> Result<u64> {
        let request = QueueRef { topic: topic.into(), queue_id: i32::try_from(queue)? };
        let (header, _) = self.ask(code, &request, b"")?;
        if header.code == NO_TOPIC {
            return Ok(0);
        }
        ensure!(header.code == SUCCESS, "request {code} got {}: {:?}", header.code, header.remark);
        let reply: OffsetReply = header.fields()?;
        u64::try_from(reply.offset).context("a negative offset")
    }

    /// Says where a group stands; whether the broker agreed.
    pub fn commit(&mut self, group: &str, topic: &str, queue: u32, offset: u64) -> Result<bool> {
        let request = UpdateOffsetRequest {
            consumer_group: group.into(),
            topic: topic.into(),
            queue_id: i32::try_from(queue)?,
            commit_offset: i64::try_from(offset)?,
        };
        let (header, _) = self.ask(UPDATE_OFFSET, &request, b"")?;
        Ok(header.code == SUCCESS)
    }

    /// Where a group stands; `None` if the broker has never heard of it there.
    pub fn committed(&mut self, group: &str, topic: &str, queue: u32) -> Result<Option<u64>> {
        let request = QueryOffsetRequest {
            consumer_group: group.into(),
            topic: topic.into(),
            queue_id: i32::try_from(queue)?,
            set_zero_if_not_found: Some(false),
        };
        let (header, _) = self.ask(QUERY_OFFSET, &request, b"")?;
        if [NO_OFFSET, NO_TOPIC].contains(&header.code) {
            return Ok(None);
        }
        ensure!(header.code == SUCCESS, "a group's offset got {}: {:?}", header.code, header.remark);
        let reply: OffsetReply = header.fields()?;
        Ok(u64::try_from(reply.offset).ok())
    }

    /// Has log files deleted that are past their time; whether the broker agreed.
    pub fn delete_expired(&mut self) -> Result<bool> {
        let (header, _) = self.ask(DELETE_EXPIRED, &(), b"")?;
        Ok(header.code == SUCCESS)
    }
}
