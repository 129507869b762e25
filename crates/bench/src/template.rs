//! Requests as bytes with a few places to patch.
//!
//! A place is found by encoding twice with different marks of equal width, so no layout is written down here.

use crate::HeaderKind;
use kerolox_protocol::{
    Millis,
    frame::Codec,
    header::{Fields, Header},
    rpc::{
        consume::PullRequest,
        produce::{SendReply, SendRequestV2},
    },
};

/// First opaque; every opaque has ten digits so that its place keeps its width.
pub const OPAQUE_BASE: u32 = 1_000_000_000;

/// A frame and where its changing parts stand.
#[derive(Debug, Clone)]
pub struct Template {
    /// The frame.
    pub bytes: Vec<u8>,
    codec: Codec,
    opaque_at: usize,
}

impl Template {
    fn new(kind: HeaderKind, code: i32, ext: kerolox_protocol::header::Ext, body: &[u8]) -> Template {
        let codec = codec(kind);
        let encode = |opaque: u32| {
            let mut header = Header::request(code, opaque as i32, Some(ext.clone()));
            header.language = kerolox_protocol::header::Language::JAVA;
            let mut out = Vec::new();
            header.write_frame(codec, body, &mut out);
            out
        };
        let (bytes, other) = (encode(OPAQUE_BASE), encode(OPAQUE_BASE + 1_111_111_111));
        let opaque_at = first_difference(&bytes, &other);
        Template { bytes, codec, opaque_at }
    }

    /// Sets the request's number.
    pub fn set_opaque(&mut self, number: u32) {
        let opaque = OPAQUE_BASE + number;
        match self.codec {
            Codec::Json => {
                put_digits(&mut self.bytes[self.opaque_at..self.opaque_at + 10], u64::from(opaque))
            }
            Codec::Binary => {
                self.bytes[self.opaque_at..self.opaque_at + 4].copy_from_slice(&opaque.to_be_bytes())
            }
        }
    }
}

/// A send request: single message or batch.
#[derive(Debug, Clone)]
pub struct SendTemplate {
    frame: Template,
    /// Place and width of the queue's digits.
    queue_at: (usize, usize),
    unique_at: Vec<usize>,
    sent: u64,
}

/// Marks that cannot stand in a frame by chance.
const UNIQUE_MARK: &str = "7F000001000000000000BEEF00000000";

impl SendTemplate {
    /// `size` body bytes per message, `batch` messages per request; queues below `queues`.
    pub fn new(
        kind: HeaderKind,
        (topic, queues): (&str, u32),
        size: usize,
        batch: usize,
        conn: usize,
    ) -> SendTemplate {
        let frame = |queue_id: i32| {
            let properties = format!("UNIQ_KEY\u{1}{UNIQUE_MARK}\u{2}WAIT\u{1}true\u{2}TAGS\u{1}TagA");
            let text = vec![b'x'; size];
            let (code, body) = match batch {
                1 => (310, text),
                _ => (320, (0..batch).flat_map(|_| batched(&text, &properties)).collect()),
            };
            let properties = if batch == 1 { properties } else { "WAIT\u{1}true".into() };
            let born = Millis(1_700_000_000_000);
            let plain = SendRequestV2::plain("bench_producer", topic, queue_id, born, properties);
            let request = SendRequestV2 { batch: Some(batch > 1), ..plain };
            Template::new(kind, code, request.to_ext(), &body)
        };
        // Queues are patched as so many digits; leading zeros are legal in every parser of the field.
        let width = queues.saturating_sub(1).max(1).ilog10();
        let (zero, one) = (frame(10i32.pow(width)), frame(2 * 10i32.pow(width)));
        let queue_at = (first_difference(&zero.bytes, &one.bytes), width as usize + 1);
        let mark = UNIQUE_MARK.as_bytes();
        let starts = zero.bytes.windows(mark.len()).enumerate().filter(|(_, part)| *part == mark);
        let mut template =
            SendTemplate { queue_at, unique_at: starts.map(|(at, _)| at).collect(), frame: zero, sent: 0 };
        for at in template.unique_at.clone() {
            put_hex(&mut template.frame.bytes[at + 8..at + 16], conn as u64);
        }
        template
    }

    /// The next request, ready to send: every message has its own unique key.
    pub fn next(&mut self, number: u32, queue: u32) -> &[u8] {
        self.frame.set_opaque(number);
        let (at, width) = self.queue_at;
        put_digits(&mut self.frame.bytes[at..at + width], u64::from(queue));
        for &at in &self.unique_at {
            self.sent += 1;
            put_hex(&mut self.frame.bytes[at + 24..at + 32], self.sent);
        }
        &self.frame.bytes
    }
}

/// A pull request for one queue.
#[derive(Debug, Clone)]
pub struct PullTemplate {
    frame: Template,
    offset_at: usize,
    offset_base: i64,
}

impl PullTemplate {
    /// Asks for `count` messages of a queue, without being held.
    pub fn new(kind: HeaderKind, topic: &str, queue: u32, count: u32) -> PullTemplate {
        // Offsets are patched as fifteen digits, so they start at a number of that width and wrap by text:
        // leading zeros are legal in every parser of the field.
        let offset_base = 100_000_000_000_000;
        let frame = |offset: i64| {
            let request = PullRequest::once("bench_consumer", topic, queue as i32, offset, count as i32);
            Template::new(kind, 11, pull_fields(&request), b"")
        };
        let (one, two) = (frame(offset_base), frame(2 * offset_base));
        let offset_at = first_difference(&one.bytes, &two.bytes);
        PullTemplate { frame: one, offset_at, offset_base }
    }

    /// The next request.
    pub fn next(&mut self, number: u32, offset: u64) -> &[u8] {
        debug_assert!(self.offset_base > 0);
        self.frame.set_opaque(number);
        put_digits(&mut self.frame.bytes[self.offset_at..self.offset_at + 15], offset);
        &self.frame.bytes
    }
}

fn pull_fields(request: &PullRequest) -> kerolox_protocol::header::Ext {
    request.to_ext()
}

/// The answer every echo gives: shaped like a broker's, in the request's codec.
pub fn echo_answer(codec: Codec) -> (Vec<u8>, usize) {
    let reply = SendReply {
        msg_id: "7F00000100002A9F0000000000000000".into(),
        queue_id: 0,
        queue_offset: 1_000_000,
        transaction_id: None,
        msg_region: Some("DefaultRegion".into()),
        trace_on: Some("true".into()),
    };
    let encode = |opaque: u32| {
        let mut header = Header::answer(0, opaque as i32);
        header.ext = Some(reply.to_ext());
        let mut out = Vec::new();
        header.write_frame(codec, b"", &mut out);
        out
    };
    let (bytes, other) = (encode(OPAQUE_BASE), encode(OPAQUE_BASE + 1_111_111_111));
    let at = first_difference(&bytes, &other);
    (bytes, at)
}

fn codec(kind: HeaderKind) -> Codec {
    match kind {
        HeaderKind::Json => Codec::Json,
        HeaderKind::Binary => Codec::Binary,
    }
}

/// One message of a batch body; layout of section 6.5 of the wire reference.
fn batched(body: &[u8], properties: &str) -> Vec<u8> {
    let size = 4 + 4 + 4 + 4 + 4 + body.len() + 2 + properties.len();
    let mut out = Vec::with_capacity(size);
    for word in [size as u32, 0, 0, 0, body.len() as u32] {
        out.extend_from_slice(&word.to_be_bytes());
    }
    out.extend_from_slice(body);
    out.extend_from_slice(&(properties.len() as u16).to_be_bytes());
    out.extend_from_slice(properties.as_bytes());
    out
}

fn first_difference(a: &[u8], b: &[u8]) -> usize {
    assert_eq!(a.len(), b.len(), "a patched place keeps its width");
    a.iter().zip(b).position(|(a, b)| a != b).expect("the two encodings differ")
}

/// Writes a number as decimal digits over the whole place.
pub fn put_digits(place: &mut [u8], mut number: u64) {
    for digit in place.iter_mut().rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
    }
}

fn put_hex(place: &mut [u8], mut number: u64) {
    for digit in place.iter_mut().rev() {
        *digit = b"0123456789ABCDEF"[(number % 16) as usize];
        number /= 16;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kerolox_protocol::frame::{FRAME_BYTES_MAX, Split, split};

    fn decode(bytes: &[u8]) -> Header {
        let Ok(Split::Whole(frame, taken)) = split(bytes, FRAME_BYTES_MAX) else { panic!("no frame") };
        assert_eq!(taken, bytes.len());
        Header::decode(frame.codec, frame.header).unwrap()
    }

    #[test]
    fn a_patched_send_decodes_to_what_was_patched() {
        for kind in [HeaderKind::Json, HeaderKind::Binary] {
            for (queues, queue) in [(1, 0), (4, 3), (10, 9), (11, 10), (50_000, 42), (100_001, 100_000)] {
                let mut template = SendTemplate::new(kind, ("T", queues), 100, 1, 5);
                let request: SendRequestV2 = decode(template.next(777, queue)).fields().unwrap();
                assert_eq!(request.queue_id, queue as i32);
            }
            let mut template = SendTemplate::new(kind, ("T", 4), 100, 1, 5);
            template.next(1, 0);
            let header = decode(template.next(777, 3));
            let request: SendRequestV2 = header.fields().unwrap();
            assert_eq!((header.code, header.opaque, request.queue_id), (310, 1_000_000_777, 3));
            let properties = request.properties.unwrap();
            assert!(
                properties.starts_with("UNIQ_KEY\u{1}7F000001000000050000BEEF00000002\u{2}"),
                "{properties}"
            );
        }
    }

    #[test]
    fn every_message_of_a_batch_has_its_own_key() {
        let mut template = SendTemplate::new(HeaderKind::Json, ("T", 4), 10, 3, 0);
        let bytes = template.next(0, 0).to_vec();
        for n in 1..=3 {
            let key = format!("7F000001000000000000BEEF{n:08X}");
            assert_eq!(bytes.windows(32).filter(|part| *part == key.as_bytes()).count(), 1, "{key}");
        }
    }

    #[test]
    fn a_patched_pull_decodes_to_its_offset() {
        for kind in [HeaderKind::Json, HeaderKind::Binary] {
            let header = decode(PullTemplate::new(kind, "T", 2, 32).next(9, 123_456));
            let request: PullRequest = header.fields().unwrap();
            assert_eq!((request.queue_offset, request.queue_id, header.opaque), (123_456, 2, 1_000_000_009));
        }
    }
}
