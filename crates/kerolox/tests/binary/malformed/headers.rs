//! Headers in both codecs that are broken, enormous or merely odd.

use super::{BAD, Case, To, Wanted};
use kerolox_protocol::{
    frame::{self, Codec},
    header::{Ext, Header},
};

fn frame(codec: Codec, header: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let start = frame::begin(&mut out);
    out.extend_from_slice(header);
    frame::finish(&mut out, start, codec, header.len(), 0);
    out
}

/// A header of the port's good request, with more text inside its braces.
fn text(to: To, more: &str) -> String {
    let (code, ext) = good(to);
    format!("{{\"code\":{code},\"opaque\":{BAD},\"flag\":0,\"extFields\":{{{ext}}}{more}}}")
}

fn good(to: To) -> (i32, &'static str) {
    match to {
        To::Namesrv => (105, "\"topic\":\"Good\""),
        To::Broker => (30, "\"topic\":\"Good\",\"queueId\":\"0\""),
    }
}

pub fn json(to: To) -> Vec<Case> {
    let (code, ext) = good(to);
    let case = |name: &str, header: String, wanted| {
        Case::new(to, format!("JSON: {name}"), frame(Codec::Json, header.as_bytes()), wanted)
    };
    let mut cases = Vec::new();
    for broken in [
        "",
        " ",
        "{",
        "}",
        "[",
        "[]",
        "null",
        "true",
        "1",
        "\"x\"",
        "{}",
        "{\"code\"}",
        "{\"code\":}",
        "{code:30}",
        "{'code':30}",
        "{\"code\":30,}",
        "{\"code\":30",
        "{\"code\":30}}",
        "{\"code\":30}{\"code\":30}",
        "{\"opaque\":1}",
        "{\"code\":null}",
        "{\"code\":\"thirty\"}",
        "{\"code\":1.5}",
        "{\"code\":1e400}",
        "{\"code\":030}",
        "{\"code\":+30}",
        "{\"code\":NaN}",
        "{\"code\":99999999999999999999}",
        "{\"code\":[30]}",
        "{\"code\":{\"a\":30}}",
        "/* */{\"code\":30}",
        "\u{feff}{\"code\":30}",
        "{\"code\":30,\"remark\":\"\u{0}\"}",
        "{\"code\":30,\"remark\":\"\\ud800\"}",
        "{\"code\":30,\"remark\":\"\\x\"}",
        "{\"code\":30,\"extFields\":[]}",
        "{\"code\":30,\"extFields\":\"x\"}",
        "{\"code\":30,\"extFields\":5}",
        "{\"code\":30,\"extFields\":[[\"topic\",\"Good\"]]}",
        "{\"code\":30,\"extFields\":{\"topic\"}}",
        "{\"code\":30,\"extFields\":{1:2}}",
    ] {
        cases.push(case(broken, broken.to_owned(), Wanted::Error));
    }
    for (name, open, close) in [("arrays", "[", "]"), ("objects", "{\"a\":", "}")] {
        let deep = format!("{}1{}", open.repeat(10_000), close.repeat(10_000));
        cases.push(case(&format!("10 000 {name} deep"), deep.clone(), Wanted::Error));
        cases.push(case(
            &format!("an unknown key 10 000 {name} deep"),
            text(to, &format!(",\"x\":{deep}")),
            Wanted::Either,
        ));
        let nested = format!("{{\"code\":{code},\"opaque\":{BAD},\"extFields\":{{{ext},\"x\":{deep}}}}}");
        cases.push(case(&format!("a field 10 000 {name} deep"), nested, Wanted::Either));
    }
    let fields = |count: usize| (0..count).map(|n| format!(",\"k{n}\":\"v\"")).collect::<String>();
    let with_fields =
        |more: String| format!("{{\"code\":{code},\"opaque\":{BAD},\"extFields\":{{{ext}{more}}}}}");
    cases.push(case("257 fields", with_fields(fields(256)), Wanted::Error));
    cases.push(case("4 000 fields", with_fields(fields(4_000)), Wanted::Error));
    cases.push(case("the same field 5 000 times", with_fields(",\"x\":\"y\"".repeat(5_000)), Wanted::Either));
    cases.push(case(
        "a key of 60 000 bytes",
        with_fields(format!(",\"{}\":\"v\"", "k".repeat(60_000))),
        Wanted::Fine,
    ));
    cases.push(case(
        "a value of 60 000 bytes",
        with_fields(format!(",\"k\":\"{}\"", "v".repeat(60_000))),
        Wanted::Fine,
    ));
    cases.push(case(
        "a header of 70 000 bytes",
        text(to, &format!(",\"x\":\"{}\"", "v".repeat(70_000))),
        Wanted::Closed,
    ));
    cases.push(case("a topic that is a number", with_fields(",\"topic\":5".into()), Wanted::Either));
    cases.push(case(
        "a topic that is an object",
        format!("{{\"code\":{code},\"opaque\":{BAD},\"extFields\":{{\"topic\":{{}}}}}}"),
        Wanted::Error,
    ));
    cases.push(case(
        "a number of 10 000 digits",
        text(to, &format!(",\"version\":{}", "9".repeat(10_000))),
        Wanted::Either,
    ));
    for (name, more) in [
        ("an opaque beyond 32 bits", ",\"opaque\":4294967296"),
        ("a language that is none", ",\"language\":\"\u{202e}KLINGON\""),
        ("a language of 99", ",\"language\":99"),
        ("a negative version", ",\"version\":-2147483648"),
        ("a version that is a list", ",\"version\":[1,2]"),
        ("flags as text", ",\"flag\":\"zero\""),
        ("a remark that is an object", ",\"remark\":{\"a\":1}"),
        ("unknown keys", ",\"serializeTypeCurrentRPC\":\"JAVA\",\"@type\":\"java.lang.Runtime\",\"\":0"),
    ] {
        cases.push(case(name, text(to, more), Wanted::Either));
    }
    for (name, bytes) in [
        ("bad UTF-8 in a value", &b"\xff\xfe"[..]),
        ("an overlong NUL", b"\xc0\x80"),
        ("a surrogate as bytes", b"\xed\xa0\x80"),
    ] {
        let mut header =
            format!("{{\"code\":{code},\"opaque\":{BAD},\"extFields\":{{\"topic\":\"").into_bytes();
        header.extend_from_slice(bytes);
        header.extend_from_slice(b"\",\"queueId\":\"0\"}}");
        cases.push(Case::new(to, format!("JSON: {name}"), frame(Codec::Json, &header), Wanted::Error));
    }
    let utf16: Vec<u8> = text(to, "").encode_utf16().flat_map(u16::to_be_bytes).collect();
    cases.push(Case::new(to, "JSON: UTF-16", frame(Codec::Json, &utf16), Wanted::Error));
    cases
}

/// Where the parts of a binary header stand: see `kerolox_protocol::header`.
const REMARK_LENGTH: usize = 13;
const EXT_LENGTH: usize = 17;
const KEY_LENGTH: usize = 21;

pub fn binary(to: To) -> Vec<Case> {
    let (code, _) = good(to);
    let ext: Ext = [("topic", super::TOPIC), ("queueId", "0")].into_iter().collect();
    let mut whole = Vec::new();
    Header::request(code, BAD, Some(ext)).write_frame(Codec::Binary, b"", &mut whole);
    let header = whole[8..].to_vec();
    let value_length = KEY_LENGTH + 2 + "topic".len();
    let mut cases = Vec::new();
    let mut add = |name: String, header: &[u8], wanted| {
        cases.push(Case::new(to, format!("binary: {name}"), frame(Codec::Binary, header), wanted));
    };
    add("as it should be".into(), &header, Wanted::Fine);
    for n in [0, 1, 2, 4, 8, 12, 13, 16, 17, 20, 21, 22, 24, 28, 32, header.len() - 1] {
        add(format!("cut to {n} bytes"), &header[..n], Wanted::Error);
    }
    let put = |at: usize, new: &[u8]| {
        let mut header = header.clone();
        header[at..at + new.len()].copy_from_slice(new);
        header
    };
    for (name, at) in [("remark", REMARK_LENGTH), ("ext", EXT_LENGTH), ("value", value_length)] {
        for length in [-1, i32::MIN, i32::MAX, 1 << 24, header.len() as i32] {
            add(format!("{name} length {length}"), &put(at, &length.to_be_bytes()), Wanted::Error);
        }
    }
    for length in [-1, i16::MIN, i16::MAX, 0, 1, 200] {
        add(format!("key length {length}"), &put(KEY_LENGTH, &length.to_be_bytes()), Wanted::Error);
    }
    add("bad UTF-8 in the topic".into(), &put(value_length + 4, b"\xff\xfe"), Wanted::Error);
    add("a NUL in the topic".into(), &put(value_length + 4, b"\0"), Wanted::Either);
    add("language 255".into(), &put(2, &[255]), Wanted::Fine);
    add("version -1".into(), &put(3, &[255, 255]), Wanted::Fine);
    add("code -1".into(), &put(0, &[255, 255]), Wanted::Error);
    let many: Ext = (0..300).map(|n| (format!("k{n}"), "v")).collect();
    let mut out = Vec::new();
    Header::request(code, BAD, Some(many)).write_frame(Codec::Binary, b"", &mut out);
    add("300 fields".into(), &out[8..], Wanted::Error);
    let mut trailing = header.clone();
    trailing.extend_from_slice(b"more");
    add("bytes after the end".into(), &trailing, Wanted::Either);
    cases
}
