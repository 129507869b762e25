//! Tests over bytes observed on the wire and in the log of a running original, one by one.

use crate::{
    LogOffset, Millis, QueueId, QueueOffset,
    frame::{Codec, FRAME_BYTES_MAX, Split, split},
    header::{Ext, Header},
    msgid::MessageId,
    properties::{self, Builder},
    record::{Draft, Entry, parse},
};

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> = hex.bytes().filter(u8::is_ascii_hexdigit).collect();
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    digits.chunks(2).map(byte).collect()
}

#[test]
fn a_json_request_for_a_route() {
    let mut expected = bytes("00000087 00000083");
    expected.extend_from_slice(br#"{"code":105,"extFields":{"topic":"TestTopic"},"flag":0,"language":"JAVA","opaque":1,"serializeTypeCurrentRPC":"JSON","version":409}"#);
    let header = Header::request(105, 1, Some([("topic", "TestTopic")].into_iter().collect()));
    let mut out = Vec::new();
    header.write_frame(Codec::Json, b"", &mut out);
    assert_eq!(out, expected);
}

#[test]
fn a_binary_answer_with_a_remark() {
    let remark = "r".repeat(0x79);
    let mut frame = bytes("0011 00 0199 00000001 00000001 00000079");
    frame.extend_from_slice(remark.as_bytes());
    frame.extend_from_slice(&[0; 4]);
    let header = Header { remark: Some(remark), ..Header::answer(17, 1) };
    assert_eq!(Header::decode(Codec::Binary, &frame).as_ref(), Ok(&header));
    let mut out = Vec::new();
    header.write_frame(Codec::Binary, b"", &mut out);
    let Ok(Split::Whole(found, _)) = split(&out, FRAME_BYTES_MAX) else { panic!("no frame") };
    assert_eq!(found.header, frame);
}

#[test]
fn a_stored_message() {
    let mut stored = bytes(
        "000000a9 daa320a7 3610a686 00000000 00000007 0000000000000000 0000000000001fe4 00000000
         0000018bcfe56800 7f000001 0000a99e 000001a1fd7db483 7f000001 00005d67 00000000
         0000000000000000 00000005 68656c6c6f 03 564543 0046",
    );
    let text = Builder::default()
        .set(properties::KEYS, "k1")
        .set(properties::UNIQ_KEY, "7F0000010000000000000000000A0000")
        .set(properties::CLUSTER, "C1")
        .set(properties::TAGS, "TagA")
        .build();
    stored.extend_from_slice(&text);
    let Ok(Entry::Message(record)) = parse(&stored) else { panic!("{:?}", parse(&stored)) };
    assert_eq!((record.topic, record.body, record.flag), ("VEC", &b"hello"[..], 7));
    assert_eq!((record.born_ms, record.crc_matches()), (Millis(1_700_000_000_000), true));
    assert_eq!(properties::Scan::new(record.properties).tag_code(), 2_598_919);

    let (born_host, store_host) = ("127.0.0.1:43422".parse().unwrap(), "127.0.0.1:23911".parse().unwrap());
    let draft = Draft {
        topic: "VEC",
        queue_id: QueueId(0),
        flag: 7,
        sys_flag: 0,
        born_ms: Millis(1_700_000_000_000),
        born_host,
        store_host,
        reconsume_times: 0,
        prepared_offset: 0,
        body: b"hello",
        properties: &text,
    };
    let mut out = Vec::new();
    draft.encode(QueueOffset(0), LogOffset(0x1fe4), record.store_ms, &mut out);
    assert_eq!(out, stored);
    let id = MessageId::new(store_host, LogOffset(0x1fe4));
    assert_eq!(id.as_str(), "7F00000100005D670000000000001FE4");
}

#[test]
fn what_a_client_signs() {
    let ext: Ext = [("topic", "T"), ("queueId", "0"), ("Signature", "x"), ("AccessKey", "rocketmq2")]
        .into_iter()
        .collect();
    assert_eq!(ext.signed_text(b"body", &[]), b"rocketmq20Tbody");
    assert_eq!(ext.signed_text(b"", &["queueId"]), b"rocketmq2T");
}
