//! Frames that are whole and say impossible things: fields, names, numbers, bodies.

use super::{BAD, Case, TOPIC, To, Wanted, pull};
use crate::{dev::send_v2, harness::request};
use flate2::{Compression, write::ZlibEncoder};
use kerolox_protocol::{
    batch,
    header::FieldInfo,
    rpc::{self, RpcInfo, Server},
};
use std::io::Write;

/// A number of no kind; one each, in turn.
const NOT_NUMBERS: [&str; 8] =
    ["", "abc", "1.5", "9223372036854775808", "-9223372036854775809", "0x10", " 1", "\u{0661}"];

fn to(row: &RpcInfo) -> To {
    if row.server == Server::Namesrv { To::Namesrv } else { To::Broker }
}

fn plausible(field: &FieldInfo) -> &'static str {
    match field.kind.trim_end_matches('?') {
        "i32" | "i64" => "0",
        "bool" => "false",
        _ if field.wire.to_lowercase().contains("topic") || field.wire == "b" => TOPIC,
        _ => "x",
    }
}

/// Every request of the table: without any field, and with a number that is none.
pub fn fields() -> Vec<Case> {
    let mut cases = Vec::new();
    for (n, row) in rpc::table().enumerate() {
        let required = || row.request.iter().filter(|field| !field.kind.ends_with('?'));
        if required().next().is_some() {
            let bytes = request(row.code, BAD, &[], b"");
            cases.push(Case::new(to(row), format!("{} without fields", row.name), bytes, Wanted::Error));
        }
        let number = required().find(|field| matches!(field.kind, "i32" | "i64"));
        if let Some(number) = number {
            let bad = NOT_NUMBERS[n % NOT_NUMBERS.len()];
            let value =
                |field: &'static FieldInfo| if field.wire == number.wire { bad } else { plausible(field) };
            let ext: Vec<_> = required().map(|field| (field.wire, value(field))).collect();
            let name = format!("{} with {}={bad:?}", row.name, number.wire);
            cases.push(Case::new(to(row), name, request(row.code, BAD, &ext, b""), Wanted::Error));
        }
    }
    cases
}

/// Bodies of the wrong form for every request that reads one.
pub fn bodies() -> Vec<Case> {
    let deep = [b"[".repeat(100_000), b"]".repeat(100_000)].concat();
    let deeper = [b"{\"a\":".repeat(50_000), b"1".to_vec(), b"}".repeat(50_000)].concat();
    let forms: [(&str, &[u8]); 9] = [
        ("no body", b""),
        ("an open brace", b"{"),
        ("a list", b"[1,2,3]"),
        ("a text", b"\"x\""),
        ("bad UTF-8", b"{\"\xff\xfe\":1}"),
        ("arrays in arrays", &deep),
        ("objects in objects", &deeper),
        ("a number that is none", b"{\"clientID\":1e999}"),
        ("fields of wrong types", b"{\"clientID\":[],\"consumerDataSet\":7,\"consumerGroup\":{},\"mqSet\":\"x\",\"groupName\":[1],\"topicConfigSerializeWrapper\":5}"),
    ];
    let mut cases = Vec::new();
    for code in [34, 41, 42, 46, 200, 220, 401, 103, 307] {
        let Some(row) = rpc::info(code) else { continue };
        let ext: Vec<_> = row
            .request
            .iter()
            .filter(|field| !field.kind.ends_with('?'))
            .map(|field| (field.wire, plausible(field)))
            .collect();
        for (name, body) in forms {
            let bytes = request(code, BAD, &ext, body);
            // What an empty or strange body means differs; that it does no harm does not.
            let wanted = if matches!(name, "no body" | "fields of wrong types") {
                Wanted::Either
            } else {
                Wanted::Error
            };
            cases.push(Case::new(to(row), format!("{} with {name}", row.name), bytes, wanted));
        }
    }
    cases
}

fn edited<'a>(
    fields: Vec<(&'static str, &'a str)>,
    edits: &[(&'static str, &'a str)],
) -> Vec<(&'static str, &'a str)> {
    let mut fields = fields;
    for (key, value) in edits {
        fields.retain(|(known, _)| known != key);
        fields.push((key, value));
    }
    fields
}

fn send(name: impl Into<String>, edits: &[(&'static str, &str)], body: &[u8], wanted: Wanted) -> Case {
    let ext = edited(send_v2(TOPIC, 0), edits);
    Case::new(To::Broker, format!("send: {}", name.into()), request(310, BAD, &ext, body), wanted)
}

pub fn sends() -> Vec<Case> {
    let mut cases = Vec::new();
    for topic in topics() {
        let name = format!("topic {:?} of {} bytes", topic.chars().take(24).collect::<String>(), topic.len());
        cases.push(send(name, &[("b", &topic)], b"x", Wanted::Error));
    }
    // A percent sign is a letter of names, and nobody decodes it.
    cases.push(send("topic %00", &[("b", "%00")], b"x", Wanted::Fine));
    cases.push(send("topic %2e%2e", &[("b", "%2e%2e")], b"x", Wanted::Fine));
    // Bits that describe the record's own layout are the broker's to set: 0x10 and 0x20 are IPv6 hosts.
    for flag in
        ["16", "32", "48", "50", "-1", "2147483647", "-2147483648", "64", "256", "1", "3", "4", "8", "12"]
    {
        cases.push(send(format!("sysFlag {flag}"), &[("f", flag)], b"x", Wanted::Either));
    }
    for queue in ["-2", "-2147483648", "4", "8", "1048576", "2147483647"] {
        cases.push(send(format!("queue {queue}"), &[("e", queue)], b"x", Wanted::Either));
    }
    for (key, what) in
        [("g", "born"), ("h", "flag"), ("j", "reconsumed"), ("l", "most reconsumed"), ("d", "default queues")]
    {
        let extremes = if key == "g" {
            ["-9223372036854775808", "9223372036854775807"]
        } else {
            ["-2147483648", "2147483647"]
        };
        for value in extremes {
            cases.push(send(format!("{what} {value}"), &[(key, value)], b"x", Wanted::Either));
            let topic = format!("New{key}{}", value.len());
            cases.push(send(
                format!("{what} {value}, new topic"),
                &[(key, value), ("b", &topic)],
                b"x",
                Wanted::Either,
            ));
        }
    }
    for (name, properties) in properties() {
        cases.push(send(format!("properties {name}"), &[("i", &properties)], b"x", Wanted::Either));
    }
    cases.push(send(
        "properties of 40 000 bytes",
        &[("i", &format!("A\u{1}{}\u{2}", "b".repeat(40_000)))],
        b"x",
        Wanted::Error,
    ));
    cases.push(send("a transaction", &[("i", "TRAN_MSG\u{1}true\u{2}"), ("f", "4")], b"x", Wanted::Either));
    cases.push(send("no body", &[], b"", Wanted::Either));
    cases.push(send("a body beyond the limit", &[], &vec![b'x'; 5 << 20], Wanted::Error));
    cases.push(send(
        "a template that is none",
        &[("b", "Templated"), ("c", "../TBW102")],
        b"x",
        Wanted::Error,
    ));
    cases.push(send("a group of 10 000 bytes", &[("a", &"g".repeat(10_000))], b"x", Wanted::Either));
    cases.push(send("compressed garbage", &[("f", "1")], &[0x78, 0x9c, 0xff, 0xff, 0xff], Wanted::Either));
    cases
}

fn topics() -> Vec<String> {
    let mut topics: Vec<String> = [
        "",
        " ",
        ".",
        "..",
        "../x",
        "../../etc/passwd",
        "/etc/passwd",
        "a/b",
        "a\\b",
        "a\0b",
        "\0",
        "a b",
        "a\nb",
        "a\tb",
        "a\u{1}b",
        "a\u{2}b",
        "\u{202e}abc",
        "\u{1f680}",
        "\u{e4}",
        "a:b",
        "a;b",
        "a@b",
        "a*",
        "${jndi:ldap://x}",
        "<script>",
        "'; DROP TABLE t; --",
        "SCHEDULE_TOPIC_XXXX",
        "rmq_sys_KEROLOX_STATE",
        "RMQ_SYS_TRANS_HALF_TOPIC",
        "%RETRY%../x",
        "%DLQ%a/b",
    ]
    .map(str::to_owned)
    .into();
    topics.extend([128, 255, 256, 10_000, 32_767, 32_768].map(|n| "t".repeat(n)));
    topics
}

fn properties() -> Vec<(String, String)> {
    let texts = [
        "",
        "\u{1}",
        "\u{2}",
        "\u{1}\u{2}",
        "\u{2}\u{1}",
        "A",
        "A\u{1}",
        "A\u{2}",
        "\u{1}B\u{2}",
        "A\u{1}B\u{1}C\u{2}",
        "A\u{1}B\u{2}\u{2}C\u{1}D",
        "A\u{1}B\u{2}A\u{1}C\u{2}",
        "\u{0}\u{1}\u{0}\u{2}",
        "DELAY\u{1}\u{2}",
        "DELAY\u{1}abc\u{2}",
        "DELAY\u{1}-1\u{2}",
        "DELAY\u{1}99999999999\u{2}",
        "DELAY\u{1}18\u{2}",
        "UNIQ_KEY\u{1}\u{2}",
        "KEYS\u{1}   \u{2}",
        "WAIT\u{1}maybe\u{2}",
        "CLUSTER\u{1}Other\u{2}",
        "REAL_TOPIC\u{1}../x\u{2}REAL_QID\u{1}-1\u{2}",
        "RETRY_TOPIC\u{1}../x\u{2}",
        "TIMER_DELAY_MS\u{1}-1\u{2}",
        "TIMER_DELIVER_MS\u{1}9223372036854775807\u{2}",
        "PGROUP\u{1}\u{2}",
        "TAGS\u{1}\u{202e}\u{2}",
        "INNER_NUM\u{1}-1\u{2}",
        "INSTANCE_ID\u{1}%\u{2}",
        "CONSUME_START_TIME\u{1}x\u{2}",
        "1ST_PUT\u{1}x\u{2}",
    ];
    let mut found: Vec<_> = texts.iter().map(|text| (format!("{text:?}"), (*text).to_owned())).collect();
    found.push(("with 5 000 keys".into(), format!("KEYS\u{1}{}\u{2}", "k ".repeat(5_000))));
    found.push(("with 3 000 pairs".into(), (0..3_000).map(|n| format!("{n}\u{1}\u{2}")).collect()));
    found.push(("with a key of 20 000 bytes".into(), format!("UNIQ_KEY\u{1}{}\u{2}", "u".repeat(20_000))));
    found.push(("of separators".into(), "\u{1}\u{2}".repeat(8_000)));
    found
}

pub fn batches() -> Vec<Case> {
    let mut one = Vec::new();
    batch::push(&mut one, &batch::Item { flag: 0, body: b"body", properties: b"A\x01B\x02" });
    let two = [one.clone(), one.clone()].concat();
    let put = |at: usize, value: &[u8]| {
        let mut bytes = two.clone();
        bytes[at..at + value.len()].copy_from_slice(value);
        bytes
    };
    let mut bodies: Vec<(String, Vec<u8>)> = vec![
        ("nothing".into(), Vec::new()),
        ("a byte".into(), vec![0]),
        ("text".into(), b"not a batch".to_vec()),
    ];
    for n in [3, 4, 15, 16, 19, 20, 25, one.len() - 1, one.len() + 1, two.len() - 1] {
        bodies.push((format!("cut to {n} bytes"), two[..n].to_vec()));
    }
    for value in [0, 1, -1, i32::MIN, i32::MAX, 1 << 20] {
        bodies.push((format!("with a total of {value}"), put(0, &value.to_be_bytes())));
        bodies.push((format!("with a body length of {value}"), put(16, &value.to_be_bytes())));
    }
    for value in [-1, i16::MIN, i16::MAX, 1000] {
        bodies.push((format!("with a properties length of {value}"), put(24, &value.to_be_bytes())));
    }
    bodies.push(("with garbage behind".into(), [two.clone(), vec![0xff; 3]].concat()));
    bodies.push(("with zeros behind".into(), [two.clone(), vec![0; 64]].concat()));
    let mut cases = Vec::new();
    for (name, body) in &bodies {
        let ext = edited(send_v2(TOPIC, 0), &[("m", "true")]);
        cases.push(Case::new(
            To::Broker,
            format!("batch {name}"),
            request(320, BAD, &ext, body),
            Wanted::Error,
        ));
    }
    for (name, edits) in [
        ("for a retry topic", vec![("b", "%RETRY%g")]),
        ("delayed", vec![("i", "DELAY\u{1}3\u{2}")]),
        ("in a transaction", vec![("f", "4")]),
        ("with layout bits", vec![("f", "48")]),
        ("for queue -2", vec![("e", "-2")]),
    ] {
        let ext = edited(edited(send_v2(TOPIC, 0), &[("m", "true")]), &edits);
        cases.push(Case::new(
            To::Broker,
            format!("batch {name}"),
            request(320, BAD, &ext, &two),
            Wanted::Either,
        ));
    }
    // Properties of the messages within: each becomes a record of its own.
    for (n, properties) in
        [&b"\x01"[..], b"\x02\x02", b"DELAY\x013\x02", b"\xff\xfe\x01\xff\x02", b"A"].into_iter().enumerate()
    {
        let mut body = Vec::new();
        batch::push(&mut body, &batch::Item { flag: i32::MIN, body: b"", properties });
        let ext = edited(send_v2(TOPIC, 0), &[("m", "true")]);
        cases.push(Case::new(
            To::Broker,
            format!("batch with odd properties {n}"),
            request(320, BAD, &ext, &body),
            Wanted::Either,
        ));
    }
    cases
}

pub fn reads() -> Vec<Case> {
    let mut cases = Vec::new();
    let mut add = |name: String, code: i32, ext: &[(&str, &str)], wanted| {
        cases.push(Case::new(To::Broker, name, request(code, BAD, ext, b""), wanted));
    };
    for (key, values) in [
        ("queueOffset", &["-1", "-9223372036854775808", "9223372036854775807"][..]),
        ("queueId", &["-1", "4", "-2147483648", "2147483647"]),
        ("maxMsgNums", &["0", "-1", "-2147483648", "2147483647"]),
        ("sysFlag", &["-1", "8", "2147483647", "-2147483648", "16"]),
        ("commitOffset", &["-1", "9223372036854775807"]),
        ("subVersion", &["-9223372036854775808", "9223372036854775807"]),
        ("subscription", &["", "||", "a||", " || ||b", "\u{0}", "a&&b", "TAGS is not null"]),
        ("expressionType", &["EVIL", "SQL92", ""]),
        ("topic", &["", "../Good", "Nowhere", "Good/0"]),
        ("consumerGroup", &["", "../g", "a b"]),
    ] {
        for value in values {
            let ext = edited(pull(TOPIC, "0", "0"), &[(key, value)]);
            add(format!("pull: {key}={value:?}"), 11, &ext, Wanted::Either);
        }
    }
    let long = "tag || ".repeat(5_000);
    add(
        "pull: 5 000 tags".into(),
        11,
        &edited(pull(TOPIC, "0", "0"), &[("subscription", &long)]),
        Wanted::Either,
    );
    for code in [30, 31, 32] {
        for queue in ["-1", "-2147483648", "2147483647"] {
            add(
                format!("bounds {code} of queue {queue}"),
                code,
                &[("topic", TOPIC), ("queueId", queue)],
                Wanted::Either,
            );
        }
        add(
            format!("bounds {code} of a path"),
            code,
            &[("topic", "../../Good"), ("queueId", "0")],
            Wanted::Either,
        );
    }
    for time in ["-9223372036854775808", "9223372036854775807", "-1"] {
        add(
            format!("offset by time {time}"),
            29,
            &[("topic", TOPIC), ("queueId", "0"), ("timestamp", time)],
            Wanted::Either,
        );
    }
    for offset in ["-1", "-9223372036854775808", "9223372036854775807"] {
        let ext = [("consumerGroup", "g"), ("topic", TOPIC), ("queueId", "0"), ("commitOffset", offset)];
        add(format!("commit of {offset}"), 15, &ext, Wanted::Either);
        add(format!("view of {offset}"), 33, &[("offset", offset)], Wanted::Error);
        let ext = [
            ("offset", offset),
            ("group", "g"),
            ("delayLevel", "99"),
            ("originMsgId", "x"),
            ("originTopic", "../x"),
            ("unitMode", "false"),
            ("maxReconsumeTimes", "-1"),
        ];
        add(format!("give-back of {offset}"), 36, &ext, Wanted::Error);
    }
    for (from, until, max) in [
        ("9223372036854775807", "-9223372036854775808", "2147483647"),
        ("0", "0", "-1"),
        ("-1", "9223372036854775807", "0"),
    ] {
        let ext = [
            ("topic", TOPIC),
            ("key", "\u{0}#"),
            ("maxNum", max),
            ("beginTimestamp", from),
            ("endTimestamp", until),
        ];
        add(format!("query from {from} to {until}"), 12, &ext, Wanted::Either);
    }
    cases
}

pub fn routes() -> Vec<Case> {
    let mut cases = Vec::new();
    let mut add = |name: String, code: i32, ext: &[(&str, &str)], body: &[u8], wanted| {
        cases.push(Case::new(To::Namesrv, name, request(code, BAD, ext, body), wanted));
    };
    for topic in topics() {
        let name =
            format!("route of {:?} of {} bytes", topic.chars().take(24).collect::<String>(), topic.len());
        let wanted = if topic == "SCHEDULE_TOPIC_XXXX" || topic.to_lowercase().starts_with("rmq_sys") {
            Wanted::Either
        } else {
            Wanted::Error
        };
        add(name, 105, &[("topic", &topic)], b"", wanted);
    }
    let broker = |edits: &[(&'static str, &'static str)]| {
        edited(
            vec![
                ("brokerName", "evil"),
                ("brokerAddr", "10.9.8.7:10911"),
                ("clusterName", "C"),
                ("haServerAddr", ""),
                ("brokerId", "0"),
                ("compressed", "false"),
                ("bodyCrc32", "0"),
            ],
            edits,
        )
    };
    let body = br#"{"filterServerList":[],"topicConfigSerializeWrapper":{"dataVersion":{"counter":1,"timestamp":1},"topicConfigTable":{}}}"#;
    for edits in [
        [("brokerName", "")],
        [("brokerName", "a\u{0}b")],
        [("brokerName", "a b")],
        [("brokerName", "\"],\"x")],
        [("brokerAddr", "")],
        [("brokerAddr", "nowhere")],
        [("brokerAddr", "1.2.3.4:99999999")],
        [("brokerAddr", "\u{1}:1")],
        [("clusterName", "")],
        [("clusterName", "a,b\n")],
        [("brokerId", "9223372036854775808")],
        [("bodyCrc32", "1")],
        [("epoch", "abc")],
    ] {
        add(
            format!("registration with {:?}={:?}", edits[0].0, edits[0].1),
            103,
            &broker(&edits),
            body,
            Wanted::Error,
        );
    }
    for edits in [
        [("brokerId", "-1")],
        [("brokerId", "9223372036854775807")],
        [("haServerAddr", "x\u{0}")],
        [("heartbeatTimeoutMillis", "-1")],
    ] {
        add(
            format!("registration with {:?}={:?}", edits[0].0, edits[0].1),
            103,
            &broker(&edits),
            body,
            Wanted::Either,
        );
    }
    let compressed = broker(&[("compressed", "true")]);
    add("registration, compressed garbage".into(), 103, &compressed, b"\x78\x9cgarbage", Wanted::Error);
    add("registration, compressed zeros".into(), 103, &compressed, &zlib(1 << 10), Wanted::Error);
    add("registration that swells to 64 MiB".into(), 103, &compressed, &zlib(64 << 20), Wanted::Error);
    add("goodbye of nobody".into(), 104, &broker(&[("brokerName", "../x")]), b"", Wanted::Either);
    let key = "k".repeat(30_000);
    add(
        "a key of 30 000 bytes".into(),
        100,
        &[("namespace", "n"), ("key", &key), ("value", "v")],
        b"",
        Wanted::Error,
    );
    add("settings that are none".into(), 318, &[], b"\xff\xfe\x00=\x01\nlistenPort", Wanted::Error);
    add("settings that name a path".into(), 318, &[], b"configStorePath=/etc/passwd\n", Wanted::Error);
    cases
}

/// So many zeros, compressed.
fn zlib(bytes: usize) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::fast());
    let zeros = vec![0; 1 << 20];
    let mut left = bytes;
    while left > 0 {
        let now = left.min(zeros.len());
        encoder.write_all(&zeros[..now]).expect("compress into memory");
        left -= now;
    }
    encoder.finish().expect("compress into memory")
}
