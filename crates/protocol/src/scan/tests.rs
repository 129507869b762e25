//! The scanner against the general path: they never disagree, and neither panics.

use super::{answer::*, typed::*, *};
use crate::fuzzing::agree;
use crate::{
    frame::{FRAME_BYTES_MAX, Split, split},
    header::{Ext, Fields, Header},
    rpc::{
        consume::PullReply,
        produce::{SendReply, SendRequest, SendRequestV2},
    },
};
use proptest::prelude::*;

fn frame_header(header: &Header, codec: Codec) -> Vec<u8> {
    let mut out = Vec::new();
    header.write_frame(codec, b"", &mut out);
    let Ok(Split::Whole(frame, _)) = split(&out, FRAME_BYTES_MAX) else { panic!("no frame") };
    frame.header.to_vec()
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-zA-Z0-9_%-]{1,12}",
        "KEYS\u{1}[a-z]{1,5}\u{2}WAIT\u{1}true\u{2}",
        "[\\PC\u{1}\u{2}\\\\\"/\n\t]{0,12}"
    ]
}

fn small() -> impl Strategy<Value = String> {
    prop_oneof![
        20 => (-9..99i32).prop_map(|n| n.to_string()),
        20 => any::<i32>().prop_map(|n| n.to_string()),
        1 => Just(String::new()),
        1 => "[-+0-9a-z.]{1,5}",
    ]
}

fn large() -> impl Strategy<Value = String> {
    prop_oneof![
        20 => Just("1700000000000".to_owned()),
        5 => any::<i64>().prop_map(|n| n.to_string()),
        1 => Just(String::new()),
    ]
}

fn truth() -> impl Strategy<Value = String> {
    prop_oneof![Just("true"), Just("false"), Just("TRUE"), Just("1"), Just("")].prop_map(str::to_owned)
}

/// Fields of a hot request by its code, some of them missing, in any order, with strangers among them.
fn fields(code: i32) -> BoxedStrategy<Vec<(String, String)>> {
    let names: &[&str] = match code {
        310 | 320 => &["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l", "m"],
        10 => &[
            "producerGroup",
            "topic",
            "defaultTopic",
            "defaultTopicQueueNums",
            "queueId",
            "sysFlag",
            "bornTimestamp",
            "flag",
            "properties",
            "reconsumeTimes",
            "unitMode",
            "maxReconsumeTimes",
            "batch",
        ],
        11 | 361 => &[
            "consumerGroup",
            "topic",
            "queueId",
            "queueOffset",
            "maxMsgNums",
            "sysFlag",
            "commitOffset",
            "suspendTimeoutMillis",
            "subscription",
            "subVersion",
            "expressionType",
            "maxMsgBytes",
        ],
        15 => &["consumerGroup", "topic", "queueId", "commitOffset"],
        _ => &["Signature"],
    };
    let kind = |name: &str| match name {
        "d"
        | "e"
        | "f"
        | "h"
        | "j"
        | "l"
        | "queueId"
        | "sysFlag"
        | "flag"
        | "reconsumeTimes"
        | "maxReconsumeTimes"
        | "defaultTopicQueueNums"
        | "maxMsgNums"
        | "maxMsgBytes" => small().boxed(),
        "g" | "bornTimestamp" | "queueOffset" | "commitOffset" | "suspendTimeoutMillis" | "subVersion" => {
            large().boxed()
        }
        "k" | "m" | "unitMode" | "batch" => truth().boxed(),
        _ => text().boxed(),
    };
    let mut all: Vec<BoxedStrategy<Option<(String, String)>>> = Vec::new();
    for name in names.iter().copied() {
        all.push(
            proptest::option::weighted(0.97, kind(name).prop_map(move |value| (name.to_owned(), value)))
                .boxed(),
        );
    }
    for name in ["bname", "ReqT", "Signature", "x"] {
        all.push(
            proptest::option::weighted(0.3, text().prop_map(move |value| (name.to_owned(), value))).boxed(),
        );
    }
    all.prop_map(|all| all.into_iter().flatten().collect::<Vec<_>>()).prop_shuffle().boxed()
}

fn header() -> impl Strategy<Value = Header> {
    let codes =
        prop_oneof![Just(310), Just(320), Just(10), Just(11), Just(361), Just(15), Just(34), Just(105)];
    codes.prop_flat_map(|code| {
        (
            fields(code),
            any::<i32>(),
            0..4i32,
            0..20u8,
            proptest::option::of(text()),
            -9..999i32,
            any::<bool>(),
        )
            .prop_map(move |(fields, opaque, flag, language, remark, version, no_ext)| {
                let ext = (!no_ext || code != 34).then(|| fields.into_iter().collect::<Ext>());
                Header { code, language: Language(language), version, opaque, flag, remark, ext }
            })
    })
}

/// A JSON text of the header with its keys in another order and some values as numbers or booleans.
fn other_json(header: &Header, order: u64, bare: u64) -> String {
    let string = |text: &str| serde_json::to_string(text).unwrap();
    let mut bits = bare;
    let mut value = |text: &str| {
        bits = bits.rotate_right(1);
        let plain =
            text.parse::<i64>().is_ok_and(|n| n.to_string() == text) || text == "true" || text == "false";
        if plain && bits & 1 == 1 { text.to_owned() } else { string(text) }
    };
    let mut ext: Vec<String> = Vec::new();
    for (name, text) in header.ext.iter().flat_map(Ext::iter) {
        ext.push(format!("{}:{}", string(name), value(text)));
    }
    let mut keys = vec![
        format!("\"code\" : {}", header.code),
        format!("\"opaque\":{}", header.opaque),
        format!("\"flag\":\t{}", header.flag),
        format!("\"version\":{}", header.version),
        format!("\"language\":{}", string(header.language.name())),
        "\"serializeTypeCurrentRPC\":\"JSON\"".to_owned(),
        "\"unknown\":17".to_owned(),
    ];
    if header.ext.is_some() {
        keys.push(format!("\"extFields\":{{ {} }}", ext.join(" , ")));
    }
    if let Some(remark) = &header.remark {
        keys.push(format!("\"remark\":{}", string(remark)));
    }
    let len = keys.len();
    keys.rotate_left((order % len as u64) as usize);
    keys.swap(0, (order / 16 % len as u64) as usize);
    format!("{{{}}}\n", keys.join(", "))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn generated_headers_are_read_alike(header in header(), order: u64, bare: u64) {
        for codec in [Codec::Json, Codec::Binary] {
            agree(codec, &frame_header(&header, codec));
        }
        agree(Codec::Json, other_json(&header, order, bare).as_bytes());
    }

    #[test]
    fn a_well_formed_send_is_never_unusual(
        (a, b, i) in ("[a-z]{1,9}", "[a-zA-Z%_-]{1,9}", "[\u{1}\u{2}a-zäß\u{20ac}]{1,30}"), numbers: [i32; 4],
        g in 0..99_999_999_999_999_999_i64, times: Option<i32>, batch: Option<bool>, opaque: i32,
    ) {
        let [default_topic_queue_nums, queue_id, sys_flag, flag] = numbers;
        let request = SendRequestV2 {
            producer_group: a, topic: b, default_topic: "TBW102".into(), default_topic_queue_nums, queue_id, sys_flag,
            born_timestamp: g, flag, properties: Some(i), reconsume_times: times, unit_mode: batch,
            max_reconsume_times: None, batch, broker_name: Some("b".into()),
        };
        let long = SendRequest::from(request.clone());
        for codec in [Codec::Json, Codec::Binary] {
            for header in [Header::request(310, opaque, Some(request.to_ext())), Header::request(10, opaque, Some(long.to_ext()))] {
                prop_assert!(agree(codec, &frame_header(&header, codec)));
            }
        }
    }

    #[test]
    fn mutated_headers_are_never_read_otherwise(
        header in header(), bare: u64,
        cuts in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..4u8), 1..4),
    ) {
        for (codec, mut bytes) in [
            (Codec::Json, frame_header(&header, Codec::Json)),
            (Codec::Binary, frame_header(&header, Codec::Binary)),
            (Codec::Json, other_json(&header, bare, bare).into_bytes()),
        ] {
            for (at, byte, what) in &cuts {
                let at = at.index(bytes.len());
                match what {
                    0 => bytes[at] = *byte,
                    1 => bytes.insert(at, *byte),
                    2 => bytes[at] = b"\"\\{}[]:,0-.enu"[usize::from(*byte) % 14],
                    _ if bytes.len() > 1 => drop(bytes.remove(at)),
                    _ => {}
                }
            }
            agree(codec, &bytes);
        }
    }

    #[test]
    fn answers_are_written_as_the_general_path_writes_them(
        code in 0..300i32, opaque: i32, queue_id: i32, queue_offset: i64, numbers: [i64; 4],
        msg_id in "[0-9A-F]{0,40}", region in text(), trace_on: bool, body in 0..99usize,
    ) {
        for codec in [Codec::Json, Codec::Binary] {
            let mut general = Header::answer(code, opaque);
            let (mut expected, mut out) = (b"before".to_vec(), b"before".to_vec());
            general.write_frame(codec, b"", &mut expected);
            write_plain(codec, code, opaque, &mut out);

            let reply = SendReply {
                msg_id: msg_id.clone(), queue_id, queue_offset, transaction_id: None,
                msg_region: Some(region.clone()), trace_on: Some(trace_on.to_string()),
            };
            general.ext = Some(reply.to_ext());
            general.write_frame(codec, b"", &mut expected);
            write_sent(codec, code, opaque, &Sent { msg_id: &msg_id, queue_id, queue_offset, region: &region, trace_on }, &mut out);

            let [suggest_which_broker_id, next_begin_offset, min_offset, max_offset] = numbers;
            let reply = PullReply { suggest_which_broker_id, next_begin_offset, min_offset, max_offset };
            general.ext = Some(reply.to_ext());
            general.begin_frame(codec, body, &mut expected);
            write_pulled(codec, code, opaque, &reply, body, &mut out);
            prop_assert_eq!(String::from_utf8_lossy(&out), String::from_utf8_lossy(&expected));
        }
    }
}

#[test]
fn what_real_clients_send_is_not_unusual() {
    let java = br#"{"code":310,"extFields":{"a":"pg","b":"T","c":"TBW102","d":"4","e":"1","f":"0","g":"1795559163089","h":"0","i":"KEYS\u0001key1\u0002UNIQ_KEY\u0001FD00\u0002WAIT\u0001true\u0002TAGS\u0001TagA","j":"0","k":"false","m":"false","n":"broker-a"},"flag":0,"language":"JAVA","opaque":11,"serializeTypeCurrentRPC":"JSON","version":409}"#;
    let cpp = b"{\"code\":11,\"extFields\":{\"AccessKey\":\"\",\"commitOffset\":\"0\",\"consumerGroup\":\"g\",\"maxMsgNums\":32,\"queueId\":0,\"queueOffset\":\"0\",\"subVersion\":\"1795558398918\",\"subscription\":\"*\",\"suspendTimeoutMillis\":\"15000\",\"sysFlag\":6,\"topic\":\"T\"},\"flag\":0,\"language\":\"CPP\",\"opaque\":-15,\"remark\":\"\",\"version\":63}\n";
    assert!(agree(Codec::Json, java));
    assert!(agree(Codec::Json, cpp));
    let mut scratch = Scratch::default();
    let scanned = scan(Codec::Json, java, &mut scratch).unwrap_or_else(|_| panic!("unusual"));
    let Ok(Hot::Send(send)) = scanned.hot() else { panic!("no send") };
    assert_eq!(
        send.properties,
        Some("KEYS\u{1}key1\u{2}UNIQ_KEY\u{1}FD00\u{2}WAIT\u{1}true\u{2}TAGS\u{1}TagA")
    );
    assert_eq!((send.queue_id, send.topic, scanned.get("n")), (1, "T", Some("broker-a")));
}

#[test]
fn the_odd_is_left_to_the_general_path() {
    for odd in [
        r#"{"opaque":1}"#,
        r#"{"code":34,"code":35}"#,
        r#"{"code":34.0}"#,
        r#"{"code":"34"}"#,
        r#"{"code":-0}"#,
        r#"{"code":034}"#,
        r#"{"code":34,"x":[]}"#,
        r#"{"code":34,"extFields":null}"#,
        r#"{"code":34,"extFields":{"a":{}}}"#,
        r#"{"code":34,"language":"9"}"#,
        r#"{"code":34,"remark":"\ud83d\ude00"}"#,
        r#"{"code":34}x"#,
        r#"{"code":34"#,
        "",
    ] {
        let mut scratch = Scratch::default();
        assert!(scan(Codec::Json, odd.as_bytes(), &mut scratch).is_err(), "{odd}");
        agree(Codec::Json, odd.as_bytes());
    }
    assert!(agree(Codec::Json, br#"{"code":34}"#));
}
