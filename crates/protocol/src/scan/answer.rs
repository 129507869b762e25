//! Answers to the hot requests, written straight into the buffer that is sent: no map, no header struct.
//!
//! Byte for byte what [`Header::write_frame`](crate::header::Header::write_frame) would write; a property test
//! says so.

use crate::{
    frame::{self, Codec},
    header::{FLAG_RESPONSE, LANGUAGE_SERVED, VERSION_SERVED, push_json_string},
    rpc::consume::PullReply,
};

/// What a send is answered with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sent<'a> {
    /// Offset message id; of a batch, all ids joined by commas. ASCII.
    pub msg_id: &'a str,
    /// Queue it went to.
    pub queue_id: i32,
    /// Queue offset; of a batch, the first.
    pub queue_offset: i64,
    /// Region of the broker, for traces.
    pub region: &'a str,
    /// Whether traces are wanted.
    pub trace_on: bool,
}

/// Appends an answer of that code without fields and body: commits, heartbeats.
pub fn write_plain(codec: Codec, code: i32, opaque: i32, out: &mut Vec<u8>) {
    let mut answer = Answer::begin(codec, code, opaque, out);
    answer.end(opaque);
    answer.finish(0);
}

/// Appends the answer to a send.
pub fn write_sent(codec: Codec, code: i32, opaque: i32, sent: &Sent<'_>, out: &mut Vec<u8>) {
    let mut answer = Answer::begin(codec, code, opaque, out);
    answer.open();
    answer.text("msgId", sent.msg_id);
    answer.number("queueId", i64::from(sent.queue_id));
    answer.number("queueOffset", sent.queue_offset);
    answer.text("MSG_REGION", sent.region);
    answer.text("TRACE_ON", if sent.trace_on { "true" } else { "false" });
    answer.close();
    answer.end(opaque);
    answer.finish(0);
}

/// Appends prefix and header of the answer to a pull; the caller appends, or sends, the `body_bytes` bytes of
/// records next.
pub fn write_pulled(
    codec: Codec,
    code: i32,
    opaque: i32,
    reply: &PullReply,
    body_bytes: usize,
    out: &mut Vec<u8>,
) {
    let mut answer = Answer::begin(codec, code, opaque, out);
    answer.open();
    answer.number("suggestWhichBrokerId", reply.suggest_which_broker_id);
    answer.number("nextBeginOffset", reply.next_begin_offset);
    answer.number("minOffset", reply.min_offset);
    answer.number("maxOffset", reply.max_offset);
    answer.close();
    answer.end(opaque);
    answer.finish(body_bytes);
}

struct Answer<'o> {
    out: &'o mut Vec<u8>,
    codec: Codec,
    start: usize,
    /// Where the length of the binary map stands.
    map_at: usize,
    first: bool,
}

impl<'o> Answer<'o> {
    fn begin(codec: Codec, code: i32, opaque: i32, out: &'o mut Vec<u8>) -> Self {
        out.reserve(320);
        let start = frame::begin(out);
        match codec {
            Codec::Json => {
                out.extend_from_slice(b"{\"code\":");
                push_decimal(out, i64::from(code));
            }
            Codec::Binary => {
                out.extend_from_slice(&i16::try_from(code).unwrap_or(i16::MAX).to_be_bytes());
                out.push(LANGUAGE_SERVED.0);
                out.extend_from_slice(&i16::try_from(VERSION_SERVED).unwrap_or(i16::MAX).to_be_bytes());
                out.extend_from_slice(&opaque.to_be_bytes());
                out.extend_from_slice(&FLAG_RESPONSE.to_be_bytes());
                out.extend_from_slice(&[0; 8]);
            }
        }
        let map_at = out.len().saturating_sub(4);
        Answer { out, codec, start, map_at, first: true }
    }

    fn open(&mut self) {
        if self.codec == Codec::Json {
            self.out.extend_from_slice(b",\"extFields\":{");
        }
    }

    fn name(&mut self, name: &str) {
        match self.codec {
            Codec::Json => {
                self.out.extend_from_slice(if self.first { b"\"" } else { b",\"" });
                self.first = false;
                self.out.extend_from_slice(name.as_bytes());
                self.out.extend_from_slice(b"\":");
            }
            Codec::Binary => {
                self.out.extend_from_slice(&u16::try_from(name.len()).unwrap_or(0).to_be_bytes());
                self.out.extend_from_slice(name.as_bytes());
            }
        }
    }

    fn text(&mut self, name: &str, value: &str) {
        match self.codec {
            Codec::Json => {
                self.name(name);
                push_json_string(self.out, value);
            }
            // An empty text equals an absent one.
            Codec::Binary if value.is_empty() => {}
            Codec::Binary => {
                self.name(name);
                self.out.extend_from_slice(&u32::try_from(value.len()).unwrap_or(u32::MAX).to_be_bytes());
                self.out.extend_from_slice(value.as_bytes());
            }
        }
    }

    fn number(&mut self, name: &str, value: i64) {
        self.name(name);
        match self.codec {
            Codec::Json => {
                self.out.push(b'"');
                push_decimal(self.out, value);
                self.out.push(b'"');
            }
            Codec::Binary => {
                let at = self.out.len();
                self.out.extend_from_slice(&[0; 4]);
                push_decimal(self.out, value);
                self.patch(at);
            }
        }
    }

    /// Sets the length at `at` to the bytes that follow it.
    fn patch(&mut self, at: usize) {
        let bytes = u32::try_from(self.out.len() - at - 4).unwrap_or(u32::MAX);
        if let Some(place) = self.out.get_mut(at..at + 4) {
            place.copy_from_slice(&bytes.to_be_bytes());
        }
    }

    fn close(&mut self) {
        match self.codec {
            Codec::Json => self.out.push(b'}'),
            Codec::Binary => self.patch(self.map_at),
        }
    }

    fn end(&mut self, opaque: i32) {
        if self.codec == Codec::Json {
            self.out.extend_from_slice(b",\"flag\":1,\"language\":\"JAVA\",\"opaque\":");
            push_decimal(self.out, i64::from(opaque));
            self.out.extend_from_slice(b",\"serializeTypeCurrentRPC\":\"JSON\",\"version\":409}");
        }
    }

    fn finish(self, body_bytes: usize) {
        let header_bytes = self.out.len() - self.start - frame::PREFIX_BYTES;
        frame::finish(self.out, self.start, self.codec, header_bytes, body_bytes);
    }
}

// What the templates spell out.
const _: () = assert!(FLAG_RESPONSE == 1 && VERSION_SERVED == 409 && LANGUAGE_SERVED.0 == 0);

/// Appends a decimal number.
pub fn push_decimal(out: &mut Vec<u8>, number: i64) {
    let mut digits = [0; 20];
    let mut at = digits.len();
    let mut left = number.unsigned_abs();
    loop {
        at -= 1;
        digits[at] = b'0' + (left % 10) as u8;
        left /= 10;
        if left == 0 {
            break;
        }
    }
    if number < 0 {
        out.push(b'-');
    }
    out.extend_from_slice(&digits[at..]);
}
