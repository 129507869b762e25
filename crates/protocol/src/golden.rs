//! Tests over frames that unmodified clients and the original's servers wrote; see `testdata/golden/README.md`.
#![allow(clippy::disallowed_methods)] // Test data is read from the crate's own folder.

use crate::{
    batch,
    body::{self, config, fastjson, group, heartbeat, queue, register, route, stats},
    frame::{Codec, FRAME_BYTES_MAX, Frame, Split, split},
    fuzzing,
    header::Header,
    properties,
    record::parse_all,
    rpc::{self, Server},
    scan,
};
use serde::{Serialize, de::DeserializeOwned};
use std::path::Path;

/// All golden frames with their names, `client/direction-code-n.bin`.
pub(crate) fn frames() -> Vec<(String, Vec<u8>)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/golden");
    let list = |path: &Path| {
        let entries = std::fs::read_dir(path).unwrap_or_else(|why| panic!("{}: {why}", path.display()));
        let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
        paths.sort();
        paths
    };
    let mut frames = Vec::new();
    for client in list(&root).into_iter().filter(|path| path.is_dir()) {
        for file in list(&client).into_iter().filter(|path| path.extension().is_some_and(|end| end == "bin"))
        {
            let name = file.strip_prefix(&root).unwrap().to_string_lossy().into_owned();
            frames.push((name, std::fs::read(&file).unwrap()));
        }
    }
    assert!(frames.len() > 150, "the golden frames are missing");
    frames
}

/// One frame, taken apart.
struct Golden {
    name: String,
    /// The code in its file name: its own, or that of the request it answers.
    code: i32,
    header: Header,
    bytes: Vec<u8>,
}

impl Golden {
    fn all() -> Vec<Golden> {
        let golden = |(name, bytes): (String, Vec<u8>)| {
            let code = name.rsplit('-').nth(1).and_then(|code| code.parse().ok());
            let code = code.unwrap_or_else(|| panic!("{name} has no code"));
            let header = Golden::split(&name, &bytes);
            let header =
                Header::decode(header.codec, header.header).unwrap_or_else(|why| panic!("{name}: {why}"));
            Golden { name, code, header, bytes }
        };
        frames().into_iter().map(golden).collect()
    }

    fn split<'a>(name: &str, bytes: &'a [u8]) -> Frame<'a> {
        match split(bytes, FRAME_BYTES_MAX) {
            Ok(Split::Whole(frame, taken)) if taken == bytes.len() => frame,
            other => panic!("{name}: {other:?}"),
        }
    }

    fn frame(&self) -> Frame<'_> {
        Golden::split(&self.name, &self.bytes)
    }
    fn direction(&self) -> &str {
        self.name.split('/').nth(1).unwrap_or("")
    }
    fn is_request(&self) -> bool {
        !self.direction().contains("answer")
    }
    /// Whether the original's own code wrote it, rather than a client in another language.
    fn is_javas(&self) -> bool {
        self.name.starts_with("java") || self.direction().starts_with("from")
    }
}

#[test]
fn every_header_survives_writing() {
    for golden in Golden::all() {
        let (name, frame) = (&golden.name, golden.frame());
        assert_eq!(golden.header.is_response(), !golden.is_request(), "{name}");
        let mut out = Vec::new();
        golden.header.write_frame(frame.codec, frame.body, &mut out);
        match frame.codec {
            Codec::Binary => assert_eq!(out, golden.bytes, "{name}"),
            Codec::Json => {
                let again = Golden::split(name, &out);
                assert_eq!(Header::decode(Codec::Json, again.header).as_ref(), Ok(&golden.header), "{name}");
                if golden.is_javas() {
                    let json = |bytes| serde_json::from_slice::<serde_json::Value>(bytes).unwrap();
                    assert_eq!(json(again.header), json(frame.header), "{name}");
                }
            }
        }
    }
}

/// Fields that clients add to any request and that no row declares.
const STRANGERS: &[&str] = &["bname", "ReqT", "AccessKey", "OnsChannel", "Signature"];

#[test]
fn every_field_is_declared_and_of_its_kind() {
    for golden in Golden::all() {
        let name = &golden.name;
        let row = rpc::info(golden.code).unwrap_or_else(|| panic!("{name} has no row"));
        let server = match golden.direction() {
            from if from.starts_with("from-broker-") && golden.is_request() => Server::Client,
            with if with.contains("namesrv") => Server::Namesrv,
            _ => Server::Broker,
        };
        assert_eq!(row.server, server, "{name}");
        let fields = if golden.is_request() { row.request } else { row.reply };
        for (key, text) in golden.header.ext.iter().flat_map(crate::header::Ext::iter) {
            let Some(field) = fields.iter().find(|field| field.wire == key) else {
                assert!(STRANGERS.contains(&key), "{name}: {key} is not declared");
                continue;
            };
            let fits = match field.kind.trim_end_matches('?') {
                "i32" => text.parse::<i32>().is_ok(),
                "i64" => text.parse::<i64>().is_ok(),
                _ => true,
            };
            assert!(fits, "{name}: {key}={text}");
        }
        let has_fields = golden.is_request() || matches!(golden.header.code, 0 | 19..=21);
        for field in fields.iter().filter(|field| has_fields && !field.kind.ends_with('?')) {
            assert!(golden.header.get(field.wire).is_some(), "{name}: {} is required", field.wire);
        }
    }
}

#[test]
fn no_hot_request_of_a_real_client_is_unusual() {
    let mut seen = 0;
    for golden in Golden::all().iter().filter(|golden| golden.is_request()) {
        let frame = golden.frame();
        let agreed = fuzzing::agree(frame.codec, frame.header);
        assert_eq!(agreed, matches!(golden.code, 10 | 11 | 15 | 34 | 310 | 320), "{}", golden.name);
        let peek = scan::peek(frame.codec, frame.header).unwrap_or_else(|_| panic!("{}", golden.name));
        assert_eq!((peek.code, peek.opaque), (golden.code, golden.header.opaque));
        seen += usize::from(agreed);
    }
    assert!(seen > 30, "{seen}");
}

#[test]
fn pulled_and_queried_records_are_read_and_written_alike() {
    let mut seen = 0;
    for golden in Golden::all().iter().filter(|golden| !golden.is_request() && golden.header.code == 0) {
        if !matches!(golden.code, 11 | 12 | 33) {
            continue;
        }
        let body = golden.frame().body;
        fuzzing::records(body);
        for record in parse_all(body) {
            let record = record.unwrap_or_else(|why| panic!("{}: {why}", golden.name));
            assert!(record.crc_matches(), "{}", golden.name);
            assert!(!record.topic.is_empty() && record.born_ms.0 > 1_700_000_000_000);
            assert_eq!(properties::get_str(record.properties, properties::CLUSTER), Some("DefaultCluster"));
            seen += 1;
        }
    }
    assert!(seen > 15, "{seen}");
}

#[test]
fn batches_of_real_clients_are_read_and_written_alike() {
    let mut seen = 0;
    for golden in Golden::all().iter().filter(|golden| golden.is_request()) {
        // The C++ client says "1" where the original reads only "true" as yes.
        let says = golden.header.get("m").or(golden.header.get("batch"));
        if !matches!(golden.code, 10 | 310 | 320) || !matches!(says, Some("true" | "1")) {
            continue;
        }
        let body = golden.frame().body;
        let items: Vec<_> = batch::iter(body)
            .collect::<Result<_, _>>()
            .unwrap_or_else(|why| panic!("{}: {why}", golden.name));
        assert!(items.len() > 1, "{}", golden.name);
        let mut out = Vec::new();
        for item in &items {
            // The Go client gives the messages of a batch no properties at all.
            let has_key = properties::Scan::new(item.properties).uniq_key.is_some();
            assert_eq!(has_key, !golden.name.starts_with("go"), "{}", golden.name);
            batch::push(&mut out, item);
        }
        assert_eq!(out, body, "{}", golden.name);
        seen += 1;
    }
    assert!(seen >= 4, "{seen}");
}

/// The text as standard JSON: keys that are not texts become their text.
fn standard(value: &fastjson::Value<'_>) -> serde_json::Value {
    use fastjson::Value;
    match value {
        Value::Null => serde_json::Value::Null,
        Value::Bool(v) => (*v).into(),
        Value::Int(v) => (*v).into(),
        Value::Float(v) => (*v).into(),
        Value::Str(v) => v.as_ref().into(),
        Value::List(items) => items.iter().map(standard).collect(),
        Value::Map(entries) => {
            let key = |key: &Value<'_>| match standard(key) {
                serde_json::Value::String(text) => text,
                other => other.to_string(),
            };
            entries.iter().map(|(name, item)| (key(name), standard(item))).collect()
        }
    }
}

fn survives<T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug>(golden: &Golden) {
    let (name, text) = (&golden.name, golden.frame().body);
    let typed: T = body::decode(text).unwrap_or_else(|why| panic!("{name}: {why}"));
    let written = body::encode(&typed);
    assert_eq!(body::decode::<T>(&written).as_ref(), Ok(&typed), "{name}");
    if golden.is_javas() {
        let json = |text| standard(&fastjson::parse(text, fastjson::Limits::WIRE).unwrap());
        assert_eq!(json(&written), json(text), "{name}");
    }
}

#[test]
fn bodies_say_the_same_when_written_again() {
    let mut seen = 0;
    for golden in Golden::all().iter().filter(|golden| !golden.frame().body.is_empty()) {
        match (golden.is_request(), golden.code) {
            (true, 34) => survives::<heartbeat::HeartbeatData>(golden),
            (true, 41 | 42) => survives::<queue::LockBatchRequest>(golden),
            (true, 200) => survives::<config::SubscriptionGroupConfig>(golden),
            (true, 103) => {
                let compressed = golden.header.get("compressed") == Some("true");
                let body = register::RegisterBrokerBody::read(golden.frame().body, compressed);
                let body = body.unwrap_or_else(|why| panic!("{}: {why}", golden.name));
                let topics = &body.topic_config_serialize_wrapper.topic_config_table;
                assert_eq!(topics["TBW102"].perm, 7);
                assert!(topics.len() > 5 && topics.iter().all(|(name, topic)| *name == topic.topic_name));
                let crc = golden.header.get("bodyCrc32").and_then(|text| text.parse().ok());
                assert_eq!(crc, Some(crate::record::crc(golden.frame().body)), "{}", golden.name);
                match compressed {
                    true => assert_eq!(register::RegisterBrokerBody::read(&body.compress(), true), Ok(body)),
                    false => survives::<register::RegisterBrokerBody>(golden),
                }
            }
            (false, 105) => survives::<route::TopicRouteData>(golden),
            (false, 106) => survives::<route::ClusterInfo>(golden),
            (false, 206 | 305) => survives::<route::TopicList>(golden),
            (false, 28 | 219) => survives::<route::KvTable>(golden),
            (false, 21) => survives::<config::TopicConfigTable>(golden),
            (false, 201) => survives::<config::SubscriptionGroupTable>(golden),
            (false, 38) => survives::<group::ConsumerList>(golden),
            (false, 41) => survives::<queue::LockBatchResponse>(golden),
            (false, 202) => survives::<stats::TopicStatsTable>(golden),
            (false, 208) => survives::<stats::ConsumeStats>(golden),
            (true, 10 | 310 | 320) | (false, 11 | 12 | 26 | 33) => continue,
            other => panic!("{}: nothing reads the body of {other:?}", golden.name),
        }
        seen += 1;
    }
    assert!(seen > 50, "{seen}");
}
