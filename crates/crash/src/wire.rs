//! A connection that sends one request and waits for its answer. Knows frames; knows no campaign.

use anyhow::{Context, Result, bail, ensure};
use kerolox_protocol::{
    frame::{Codec, FRAME_BYTES_MAX, Split, split},
    header::{Fields, Header},
    record,
    rpc::{
        consume::{PullReply, PullRequest},
        produce::{SendReply, SendRequestV2},
    },
};
use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

/// The topic of all messages.
pub const TOPIC: &str = "Crash";
/// Longest wait for an answer.
const PATIENCE: Duration = Duration::from_secs(30);

const SEND_V2: i32 = 310;
const PULL: i32 = 11;
const SUCCESS: i32 = 0;
/// Codes of a pull that found nothing: not now, not here, not that offset; and no such topic.
const NOTHING: [i32; 4] = [19, 20, 21, 17];

/// A connection to a broker.
pub struct Wire {
    stream: TcpStream,
    opaque: i32,
}

/// A record as pulled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pulled {
    /// Its place in the queue.
    pub offset: u64,
    /// Its body.
    pub body: Vec<u8>,
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

    /// Sends a message; gives its offset when it was acknowledged, `None` when it was refused.
    pub fn send(&mut self, queue: u32, body: &[u8], key: &str) -> Result<Option<u64>> {
        let request = SendRequestV2 {
            producer_group: "crash".into(),
            topic: TOPIC.into(),
            default_topic: "TBW102".into(),
            default_topic_queue_nums: 8,
            queue_id: i32::try_from(queue)?,
            sys_flag: 0,
            born_timestamp: 1_700_000_000_000,
            flag: 0,
            properties: Some(format!("UNIQ_KEY\u{1}{key}\u{2}WAIT\u{1}true")),
            reconsume_times: Some(0),
            unit_mode: Some(false),
            max_reconsume_times: None,
            batch: Some(false),
            broker_name: None,
        };
        let (header, _) = self.ask(SEND_V2, &request, body)?;
        if header.code != SUCCESS {
            return Ok(None);
        }
        let reply: SendReply = header.fields()?;
        ensure!(
            i64::from(reply.queue_id) == i64::from(queue),
            "asked for queue {queue}, got {}",
            reply.queue_id
        );
        Ok(Some(u64::try_from(reply.queue_offset).context("a negative offset")?))
    }

    /// Messages of a queue from an offset on; empty at its end.
    pub fn pull(&mut self, queue: u32, from: u64) -> Result<Vec<Pulled>> {
        let request = PullRequest {
            consumer_group: "crash".into(),
            topic: TOPIC.into(),
            queue_id: i32::try_from(queue)?,
            queue_offset: i64::try_from(from)?,
            max_msg_nums: 32,
            // With a subscription of its own, and not to be held.
            sys_flag: 4,
            commit_offset: Some(0),
            suspend_timeout_millis: Some(0),
            subscription: Some("*".into()),
            sub_version: Some(0),
            expression_type: Some("TAG".into()),
            max_msg_bytes: None,
        };
        let (header, body) = self.ask(PULL, &request, b"")?;
        if NOTHING.contains(&header.code) {
            if header.code != 17 {
                let reply: PullReply = header.fields()?;
                let max = u64::try_from(reply.max_offset).unwrap_or(0);
                ensure!(max <= from, "nothing at {from} of queue {queue}, which ends at {max}");
            }
            return Ok(Vec::new());
        }
        ensure!(header.code == SUCCESS, "a pull got {}: {:?}", header.code, header.remark);
        let mut pulled = Vec::new();
        for record in record::parse_all(&body) {
            let record = record?;
            ensure!(record.crc_matches(), "a body does not match its CRC");
            ensure!(
                record.topic == TOPIC && i64::from(record.queue_id) == i64::from(queue),
                "a foreign record"
            );
            let offset = u64::try_from(record.queue_offset).context("a negative offset")?;
            pulled.push(Pulled { offset, body: record.body.to_vec() });
        }
        Ok(pulled)
    }
}
