//! The bytes of the exchange: the same for all models.
//!
//! The request number has a fixed width, so that the loader patches it in place and checks it cheaply.

use kerolox_protocol::frame::{self, Codec, Frame};

/// Digits of a request number.
pub const DIGITS: usize = 10;
/// The first request number; all have [`DIGITS`] digits.
pub const FIRST: u64 = 1_000_000_000;

const BEFORE: &[u8] = br#"{"code":310,"extFields":{"a":"ProducerGroupName","b":"TopicTest","c":"TBW102","d":"4","e":"2","f":"0","g":"1784950000123","h":"0","i":"KEYS\u0001OrderID188\u0002UNIQ_KEY\u00017F0000010A1C18B4AAC216E6C5F00000\u0002WAIT\u0001true\u0002TAGS\u0001TagA","j":"0","k":"false","m":"false"},"flag":0,"language":"JAVA","opaque":"#;
const AFTER: &[u8] = br#","serializeTypeCurrentRPC":"JSON","version":409}"#;
const ANSWER_BEFORE: &[u8] = br#"{"code":0,"flag":1,"language":"JAVA","opaque":"#;
const ANSWER_AFTER: &[u8] = br#","extFields":{"queueId":"2"},"version":409}"#;

/// One request, and where its number stands.
pub fn request() -> (Vec<u8>, usize) {
    let mut out = Vec::new();
    let start = frame::begin(&mut out);
    out.extend_from_slice(BEFORE);
    let number_at = out.len();
    out.extend_from_slice(FIRST.to_string().as_bytes());
    out.extend_from_slice(AFTER);
    let header = out.len() - start - frame::PREFIX_BYTES;
    frame::finish(&mut out, start, Codec::Json, header, 1024);
    out.resize(out.len() + 1024, b'x');
    (out, number_at)
}

/// Appends the answer to a request: what the server of every model does.
pub fn answer(request: &Frame<'_>, out: &mut Vec<u8>) {
    let number = number_in(request.header, BEFORE.len());
    let start = frame::begin(out);
    out.extend_from_slice(ANSWER_BEFORE);
    out.extend_from_slice(number);
    out.extend_from_slice(ANSWER_AFTER);
    let header = out.len() - start - frame::PREFIX_BYTES;
    frame::finish(out, start, Codec::Json, header, 0);
}

/// The request number that an answer carries.
pub fn answered<'a>(answer: &Frame<'a>) -> &'a [u8] {
    number_in(answer.header, ANSWER_BEFORE.len())
}

fn number_in(header: &[u8], at: usize) -> &[u8] {
    header.get(at..at + DIGITS).expect("the exchange has one shape only")
}
