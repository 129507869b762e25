//! Bytes that are no frames, frames that never end, and other protocols.

use super::{BAD, Case, To, Wanted};
use crate::harness::request;
use kerolox_protocol::{
    frame::Codec,
    header::{Ext, Header},
};

/// A good request of a port, with the number of bad ones.
fn valid(to: To) -> Vec<u8> {
    match to {
        To::Namesrv => request(105, BAD, &[("topic", super::TOPIC)], b""),
        To::Broker => request(30, BAD, &[("topic", super::TOPIC), ("queueId", "0")], b"body"),
    }
}

fn with(bytes: &[u8], at: usize, new: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    bytes[at..at + new.len()].copy_from_slice(new);
    bytes
}

pub fn cases(to: To) -> Vec<Case> {
    let mut cases = lengths(to);
    cases.extend(unfinished(to));
    cases.extend(other_protocols(to));
    cases.extend(flags(to));
    cases
}

fn lengths(to: To) -> Vec<Case> {
    let valid = valid(to);
    let mut cases = Vec::new();
    for total in [0, 1, 2, 3, -1, -4, i32::MIN, i32::MAX, (16 << 20) + 1, 1 << 30] {
        let bytes = with(&valid, 0, &total.to_be_bytes());
        cases.push(Case::new(to, format!("total length {total}"), bytes, Wanted::Closed));
    }
    let room = valid.len() as u32 - 8;
    for header in [room + 1, room + 1000, 0x00ff_ffff, (64 << 10) + 1] {
        let bytes = with(&valid, 4, &header.to_be_bytes());
        cases.push(Case::new(to, format!("header length {header} of {room}"), bytes, Wanted::Closed));
    }
    for header in [0, 1, room / 2] {
        let bytes = with(&valid, 4, &header.to_be_bytes());
        cases.push(Case::new(to, format!("header cut to {header}"), bytes, Wanted::Closed));
    }
    for codec in [2, 3, 0x7f, 0x80, 0xff] {
        cases.push(Case::new(to, format!("codec {codec}"), with(&valid, 4, &[codec]), Wanted::Closed));
    }
    // JSON where the mark says binary, and the other way round.
    cases.push(Case::new(to, "JSON marked binary", with(&valid, 4, &[1]), Wanted::Closed));
    let mut binary = Vec::new();
    Header::request(30, BAD, Some(Ext::default())).write_frame(Codec::Binary, b"", &mut binary);
    cases.push(Case::new(to, "binary marked JSON", with(&binary, 4, &[0]), Wanted::Closed));
    cases
}

fn unfinished(to: To) -> Vec<Case> {
    let valid = valid(to);
    let mut cases: Vec<Case> = [1, 3, 4, 5, 7, 8, 9, valid.len() / 2, valid.len() - 1]
        .into_iter()
        .map(|n| Case::new(to, format!("the first {n} bytes"), &valid[..n], Wanted::Unfinished))
        .collect();
    for claimed in [(1 << 20), (16 << 20) - 4] {
        let bytes = with(&valid, 0, &i32::to_be_bytes(claimed));
        cases.push(Case::new(to, format!("a claim of {claimed} bytes"), bytes, Wanted::Refused));
    }
    let trickle = |bytes: &[u8]| bytes.iter().map(|byte| vec![*byte]).collect::<Vec<_>>();
    let (name, pieces) = ("a frame byte by byte".to_owned(), trickle(&valid));
    cases.push(Case { name, to, pieces, wanted: Wanted::Fine });
    let (name, pieces) = ("half a frame byte by byte".to_owned(), trickle(&valid[..valid.len() / 2]));
    cases.push(Case { name, to, pieces, wanted: Wanted::Unfinished });
    let mut broken = valid.clone();
    broken.extend_from_slice(&[0xff; 16]);
    cases.push(Case::new(to, "a frame, then garbage", broken, Wanted::Either));
    cases
}

fn other_protocols(to: To) -> Vec<Case> {
    let hello: &[u8] = &[0x16, 3, 1, 0, 0xf5, 1, 0, 0, 0xf1, 3, 3, 0x5a, 0x5a, 0, 0, 0, 0, 0, 0];
    let strangers: [(&str, &[u8]); 12] = [
        ("zeros", &[0; 4096]),
        ("ones", &[0xff; 4096]),
        ("TLS hello", hello),
        ("HTTP", b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: keep-alive\r\n\r\n"),
        ("HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\x12\x04\0\0\0\0\0"),
        ("Redis", b"*1\r\n$4\r\nPING\r\n"),
        ("SSH", b"SSH-2.0-OpenSSH_9.6\r\n"),
        ("PROXY", b"PROXY TCP4 10.0.0.1 10.0.0.2 1 2\r\n"),
        ("PROXY 2", b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\x7f\0\0\x01\x7f\0\0\x01\x27\x94\x27\x94"),
        ("SMTP", b"EHLO example.org\r\n"),
        ("serialized Java", b"\xac\xed\0\x05sr\0\x11java.util.HashMap"),
        ("newlines", &[b'\n'; 512]),
    ];
    let case = |(name, bytes): (&str, &[u8])| Case::new(to, name, bytes, Wanted::Closed);
    strangers.into_iter().map(case).collect()
}

/// Answers that nobody asked for, one-way garbage, and codes that nobody serves.
fn flags(to: To) -> Vec<Case> {
    let frame = |code, flag, ext: &[(&str, &str)], body: &[u8]| {
        let mut header = Header::request(code, BAD, Some(ext.iter().copied().collect()));
        header.flag = flag;
        let mut out = Vec::new();
        header.write_frame(Codec::Json, body, &mut out);
        out
    };
    let mut cases = Vec::new();
    for code in [0, 1, -1, i32::MIN, i32::MAX, 310] {
        let bytes = frame(code, 1, &[("msgId", "x")], b"garbage");
        cases.push(Case::new(to, format!("an answer nobody asked for, code {code}"), bytes, Wanted::Silence));
    }
    for (code, flag) in
        [(9_999, 2), (-1, 2), (310, 2), (34, 2), (15, 2), (103, 2), (310, 3), (30, -1), (11, 2)]
    {
        let bytes = frame(code, flag, &[("a", "\u{1}")], b"\xff\xfe garbage");
        cases.push(Case::new(
            to,
            format!("one-way garbage, code {code} flag {flag}"),
            bytes,
            Wanted::Silence,
        ));
    }
    for code in [-1, 0, 1, 9, 16, 40, 221, 9_999, 65_535, 65_536, i32::MIN, i32::MAX] {
        let bytes = frame(code, 0, &[], b"");
        cases.push(Case::new(to, format!("nobody's code {code}"), bytes, Wanted::Error));
    }
    // Flags beyond the two known ones say nothing.
    for flag in [4, 0x100, i32::MIN] {
        let bytes = frame(9_999, flag, &[], b"");
        cases.push(Case::new(to, format!("unknown flags {flag}"), bytes, Wanted::Error));
    }
    cases
}
