//! What the fuzz targets do with bytes, in one place: `fuzz/fuzz_targets` runs these for hours, the smoke test
//! below for a second on the golden frames and mutations of them.
//!
//! Each function takes any bytes and panics if a promise is broken: no reader panics, what is read survives
//! writing and reading again, and the scanner never disagrees with the general path.

use crate::{
    batch,
    body::{self, HeartbeatData, RegisterBrokerBody, fastjson},
    frame::{self, Codec, FRAME_BYTES_MAX, Split},
    header::{Fields, Header, Language},
    properties, record,
    rpc::{
        self,
        consume::PullRequest,
        offset::UpdateOffsetRequest,
        produce::{SendRequest, SendRequestV2},
    },
    scan::{self, Hot, Scratch},
};
use serde::{Serialize, de::DeserializeOwned};
use std::{collections::BTreeMap, fmt::Debug};

/// Takes any bytes, and panics if a promise is broken.
pub type Target = fn(&[u8]);

/// All targets by name.
pub const TARGETS: &[(&str, Target)] = &[
    ("frame_split", frame_split),
    ("header_json", header_json),
    ("header_binary", header_binary),
    ("scanner", scanner),
    ("record", records),
    ("batch", batches),
    ("properties", property_string),
    ("fastjson", lenient_json),
    ("heartbeat", heartbeat),
    ("register", register),
    ("bodies", bodies),
    ("fields", typed_fields),
];

/// Inputs that a target can do something with, made of a frame.
pub fn seeds(target: &str, bytes: &[u8]) -> Vec<Vec<u8>> {
    let Ok(Split::Whole(found, _)) = frame::split(bytes, FRAME_BYTES_MAX) else { return Vec::new() };
    let with = |first: u8, bytes: &[u8]| [&[first], bytes].concat();
    match target {
        "frame_split" => vec![bytes.to_vec()],
        "header_json" | "header_binary" => vec![found.header.to_vec()],
        "scanner" => vec![with(u8::from(found.codec == Codec::Json), found.header)],
        "register" => (0..3).map(|form| with(form, found.body)).collect(),
        "bodies" if found.body.first() != Some(&b'{') => Vec::new(),
        "bodies" => (0..BODIES.len() as u8).step_by(5).map(|which| with(which, found.body)).collect(),
        "fields" => vec![with(u8::from(found.codec == Codec::Json), found.header)],
        _ => vec![found.body.to_vec()],
    }
}

/// Splitting frames: takes what it says it takes, and asks for more than there is.
pub fn frame_split(mut bytes: &[u8]) {
    loop {
        match frame::split(bytes, FRAME_BYTES_MAX) {
            Ok(Split::Whole(found, taken)) => {
                assert_eq!(taken, frame::PREFIX_BYTES + found.header.len() + found.body.len());
                bytes = &bytes[taken..];
            }
            Ok(Split::Partial(need)) => {
                assert!(need > bytes.len() && need <= FRAME_BYTES_MAX);
                return;
            }
            Err(_) => return,
        }
    }
}

fn header(codec: Codec, bytes: &[u8]) {
    let Ok(mut header) = Header::decode(codec, bytes) else { return };
    if codec == Codec::Json {
        // A number without a name has none to be written by.
        header.language = Language::from_name(header.language.name());
    }
    let mut out = Vec::new();
    header.write_frame(codec, b"", &mut out);
    let again = match frame::split(&out, usize::MAX) {
        Ok(Split::Whole(found, _)) => Header::decode(codec, found.header),
        // Escaping can make a header too long for a frame.
        Err(_) => return,
        Ok(Split::Partial(_)) => panic!("a frame was written that is not whole"),
    };
    assert_eq!(again.as_ref(), Ok(&header));
}

/// JSON headers survive writing.
pub fn header_json(bytes: &[u8]) {
    header(Codec::Json, bytes);
}

/// Binary headers survive writing.
pub fn header_binary(bytes: &[u8]) {
    header(Codec::Binary, bytes);
}

/// The scanner equals the general path; the first byte chooses the codec.
pub fn scanner(bytes: &[u8]) {
    match bytes.split_first() {
        Some((0, rest)) => drop(agree(Codec::Binary, rest)),
        Some((_, rest)) => drop(agree(Codec::Json, rest)),
        None => {}
    }
}

/// What the general path says of a hot request.
enum General {
    Send(SendRequest),
    Pull(PullRequest),
    Commit(UpdateOffsetRequest),
    Heartbeat,
}

impl General {
    fn read(header: &Header) -> Self {
        let read = match header.code {
            310 | 320 => header.fields::<SendRequestV2>().map(|v2| General::Send(v2.into())),
            10 => header.fields().map(General::Send),
            11 | 361 => header.fields().map(General::Pull),
            15 => header.fields().map(General::Commit),
            34 => Ok(General::Heartbeat),
            other => panic!("{other} is not hot"),
        };
        read.unwrap_or_else(|why| panic!("typed what cannot be typed: {why}"))
    }

    fn borrowed(&self) -> Hot<'_> {
        match self {
            General::Send(send) => Hot::Send(send.into()),
            General::Pull(pull) => Hot::Pull(pull.into()),
            General::Commit(commit) => Hot::Commit(commit.into()),
            General::Heartbeat => Hot::Heartbeat,
        }
    }
}

/// Holds the scanner against the general path; says whether the scanner had an opinion.
pub fn agree(codec: Codec, bytes: &[u8]) -> bool {
    let general = Header::decode(codec, bytes);
    // What was not peeked at may be broken.
    if let (Ok(peek), Ok(header)) = (scan::peek(codec, bytes), &general) {
        assert_eq!((peek.code, peek.opaque, peek.flag), (header.code, header.opaque, header.flag));
    }
    let mut scratch = Scratch::default();
    let Ok(scanned) = scan::scan(codec, bytes, &mut scratch) else { return false };
    let header = general.unwrap_or_else(|why| panic!("scanned what cannot be read: {why}"));
    assert_eq!(
        (scanned.code(), scanned.opaque(), scanned.flag(), scanned.version(), scanned.language()),
        (header.code, header.opaque, header.flag, header.version, header.language)
    );
    for (name, _) in scanned.fields() {
        let name = std::str::from_utf8(name).expect("names were checked");
        assert_eq!(scanned.get(name), header.get(name), "{name}");
    }
    let Ok(hot) = scanned.hot() else { return false };
    assert_eq!(hot, General::read(&header).borrowed());
    true
}

/// Records end, and each that is read is written alike.
pub fn records(bytes: &[u8]) {
    let mut at = 0;
    for found in record::parse_all(bytes) {
        let Ok(found) = found else { return };
        let draft = record::Draft::from(&found);
        let size = found.size as usize;
        // Longer topics than names may have are read, not written; and a short one in the wide form is
        // written in the narrow one.
        if found.topic.len() <= 255 && draft.form() == found.form && found.crc_matches() {
            let mut out = Vec::new();
            let (queue_offset, log_offset) = (found.queue_offset as u64, found.physical_offset as u64);
            draft.encode(
                crate::QueueOffset(queue_offset),
                crate::LogOffset(log_offset),
                found.store_ms,
                &mut out,
            );
            assert_eq!(out, &bytes[at..at + size]);
        }
        at += size;
    }
    assert_eq!(at, bytes.len());
}

/// A batch ends, and what is read is written alike but for the two ignored fields.
pub fn batches(bytes: &[u8]) {
    let items: Vec<_> = batch::iter(bytes).collect();
    assert!(items.len() <= bytes.len() / batch::FIXED_BYTES + 1);
    let Ok(items) = items.into_iter().collect::<Result<Vec<_>, _>>() else { return };
    let mut out = Vec::new();
    items.iter().for_each(|item| batch::push(&mut out, item));
    assert_eq!(out.len(), bytes.len());
    assert_eq!(batch::iter(&out).collect::<Result<Vec<_>, _>>(), Ok(items));
}

/// The scan, the reader and the stripper say the same.
pub fn property_string(bytes: &[u8]) {
    let entries: Vec<_> = properties::iter(bytes).map(|entry| (entry.name, entry.value)).collect();
    let last: BTreeMap<&[u8], &[u8]> = entries.iter().copied().collect();
    let found = properties::Scan::new(bytes);
    for (name, value) in
        [("TAGS", found.tags), ("KEYS", found.keys), ("WAIT", found.wait), ("DELAY", found.delay)]
    {
        assert_eq!(value, last.get(name.as_bytes()).copied());
        assert_eq!(value, properties::get(bytes, name));
    }
    let _ = (found.delay_level(), found.tag_code(), found.index_keys().count());
    let mut stripped = Vec::new();
    properties::strip(bytes, &[properties::WAIT], &mut stripped);
    let left: Vec<_> = properties::iter(&stripped).map(|entry| (entry.name, entry.value)).collect();
    assert_eq!(left, entries.into_iter().filter(|(name, _)| *name != b"WAIT").collect::<Vec<_>>());
    properties::append(&mut stripped, 0, properties::CLUSTER, b"c");
    assert_eq!(properties::get(&stripped, properties::CLUSTER), Some(&b"c"[..]));
}

/// The lenient reader ends; where a standard reader of the same text succeeds, so does it.
pub fn lenient_json(bytes: &[u8]) {
    let limits = fastjson::Limits { bytes: 1 << 20, values: 1 << 16, depth: 32 };
    let found = fastjson::parse(bytes, limits);
    if let Ok(standard) = serde_json::from_slice::<BTreeMap<String, i64>>(bytes) {
        assert!(found.is_ok(), "{found:?}");
        assert_eq!(body::decode(bytes), Ok(standard));
    }
}

/// A heartbeat that is read survives writing.
pub fn heartbeat(bytes: &[u8]) {
    let Ok(found) = body::decode::<HeartbeatData>(bytes) else { return };
    assert_eq!(body::decode(&body::encode(&found)), Ok(found));
}

/// A registration that is read survives writing; the first byte chooses the form.
pub fn register(bytes: &[u8]) {
    let Some((form, rest)) = bytes.split_first() else { return };
    let found = match form {
        0 => RegisterBrokerBody::parse(rest),
        1 => RegisterBrokerBody::read(rest, true),
        _ => RegisterBrokerBody::read(rest, false),
    };
    let Ok(found) = found else { return };
    assert_eq!(RegisterBrokerBody::read(&body::encode(&found), false), Ok(found));
}

fn body_of<T: Serialize + DeserializeOwned + PartialEq + Debug>(bytes: &[u8]) {
    let Ok(found) = body::decode::<T>(bytes) else { return };
    let text = body::encode(&found);
    let again = body::decode::<T>(&text);
    assert_eq!(again.as_ref(), Ok(&found), "{}", String::from_utf8_lossy(&text));
}

/// All bodies that are text, but those with a target of their own: of requests, of answers, and routes.
const BODIES: &[fn(&[u8])] = &[
    body_of::<body::config::TopicConfig>,
    body_of::<body::config::TopicConfigTable>,
    body_of::<body::config::TopicConfigList>,
    body_of::<body::config::SubscriptionGroupConfig>,
    body_of::<body::config::SubscriptionGroupTable>,
    body_of::<body::config::SubscriptionGroupList>,
    body_of::<body::config::DataVersion>,
    body_of::<body::group::ConsumerList>,
    body_of::<body::group::ConsumerConnection>,
    body_of::<body::group::ProducerConnection>,
    body_of::<body::group::ProducerTable>,
    body_of::<body::group::CheckClientConfig>,
    body_of::<body::group::QueryAssignmentRequest>,
    body_of::<body::group::QueryAssignmentResponse>,
    body_of::<body::group::SubscriptionOfGroup>,
    body_of::<body::group::ConsumeDirectlyResult>,
    body_of::<body::queue::LockBatchRequest>,
    body_of::<body::queue::LockBatchResponse>,
    body_of::<body::queue::ResetOffsetBody>,
    body_of::<body::queue::ResetOffsetList>,
    body_of::<body::queue::ConsumerStatus>,
    body_of::<body::queue::ConsumerOffsetTable>,
    body_of::<body::queue::DelayOffsetTable>,
    body_of::<body::queue::QueryCorrectionOffset>,
    body_of::<body::queue::OffsetMovedEvent>,
    body_of::<body::route::TopicRouteData>,
    body_of::<body::route::ClusterInfo>,
    body_of::<body::route::TopicList>,
    body_of::<body::route::KvTable>,
    body_of::<body::route::KvConfigFile>,
    body_of::<body::route::GroupList>,
    body_of::<body::stats::TopicStatsTable>,
    body_of::<body::stats::QueryConsumeQueue>,
    body_of::<body::stats::ConsumeTimeSpans>,
];

/// A body that is read survives writing; the first byte chooses which.
pub fn bodies(bytes: &[u8]) {
    let Some((which, rest)) = bytes.split_first() else { return };
    if let Some(body) = BODIES.get(usize::from(*which) % BODIES.len()) {
        body(rest);
    }
}

fn fields_of<T: Fields + PartialEq + Debug>(header: &Header) {
    let Ok(found) = header.fields::<T>() else { return };
    assert_eq!(T::from_ext(&found.to_ext()).as_ref(), Ok(&found));
}

/// All typed headers, of requests and answers.
const FIELDS: &[fn(&Header)] = &[
    fields_of::<rpc::acl::AclAccountRequest>,
    fields_of::<rpc::acl::AccessKeyRef>,
    fields_of::<rpc::acl::AclInfoReply>,
    fields_of::<rpc::acl::WhiteAddrsRequest>,
    fields_of::<rpc::client::UnregisterRequest>,
    fields_of::<rpc::client::ConsumerGroupRef>,
    fields_of::<rpc::config::BrokerConfigReply>,
    fields_of::<rpc::consume::PullRequest>,
    fields_of::<rpc::consume::PullReply>,
    fields_of::<rpc::consume::QueryRequest>,
    fields_of::<rpc::consume::QueryReply>,
    fields_of::<rpc::consume::ViewRequest>,
    fields_of::<rpc::consume::SendBackRequest>,
    fields_of::<rpc::fivex::MemberGroupRequest>,
    fields_of::<rpc::fivex::PopRequest>,
    fields_of::<rpc::fivex::PopReply>,
    fields_of::<rpc::fivex::AckRequest>,
    fields_of::<rpc::fivex::ChangeInvisibleRequest>,
    fields_of::<rpc::group::GroupRef>,
    fields_of::<rpc::group::DeleteGroupRequest>,
    fields_of::<rpc::group::GroupForbiddenRequest>,
    fields_of::<rpc::kv::PutKvRequest>,
    fields_of::<rpc::kv::KvRef>,
    fields_of::<rpc::kv::KvReply>,
    fields_of::<rpc::kv::NamespaceRef>,
    fields_of::<rpc::offset::QueueRef>,
    fields_of::<rpc::offset::OffsetReply>,
    fields_of::<rpc::offset::TimestampReply>,
    fields_of::<rpc::offset::SearchOffsetRequest>,
    fields_of::<rpc::offset::QueryOffsetRequest>,
    fields_of::<rpc::offset::UpdateOffsetRequest>,
    fields_of::<rpc::offset::CorrectionRequest>,
    fields_of::<rpc::offset::CloneOffsetRequest>,
    fields_of::<rpc::produce::SendRequest>,
    fields_of::<rpc::produce::SendRequestV2>,
    fields_of::<rpc::produce::SendReply>,
    fields_of::<rpc::produce::RecallRequest>,
    fields_of::<rpc::produce::RecallReply>,
    fields_of::<rpc::relay::NotifyRequest>,
    fields_of::<rpc::relay::ResetRequest>,
    fields_of::<rpc::relay::StatusFromClientRequest>,
    fields_of::<rpc::relay::ConsumerStatusRequest>,
    fields_of::<rpc::relay::RunningInfoRequest>,
    fields_of::<rpc::relay::ConsumeDirectlyRequest>,
    fields_of::<rpc::relay::PushReplyRequest>,
    fields_of::<rpc::route::RouteRequest>,
    fields_of::<rpc::route::TopicRef>,
    fields_of::<rpc::route::ClusterRef>,
    fields_of::<rpc::route::BrokerNameRef>,
    fields_of::<rpc::route::BrokerRef>,
    fields_of::<rpc::route::RegisterRequest>,
    fields_of::<rpc::route::RegisterReply>,
    fields_of::<rpc::route::DataVersionReply>,
    fields_of::<rpc::route::WipeReply>,
    fields_of::<rpc::route::AddWriteReply>,
    fields_of::<rpc::route::DeleteRouteRequest>,
    fields_of::<rpc::stats::ProducerGroupRef>,
    fields_of::<rpc::stats::ConsumeStatsRequest>,
    fields_of::<rpc::stats::TimeSpanRequest>,
    fields_of::<rpc::stats::BrokerConsumeStatsRequest>,
    fields_of::<rpc::stats::StatsRequest>,
    fields_of::<rpc::stats::ConsumeQueueRequest>,
    fields_of::<rpc::stats::SubscriptionRef>,
    fields_of::<rpc::topic::CreateTopicRequest>,
    fields_of::<rpc::transaction::EndTransactionRequest>,
    fields_of::<rpc::transaction::ResumeCheckRequest>,
    fields_of::<rpc::transaction::CheckTransactionRequest>,
];

/// Typed headers that are read from a header survive writing; the first byte chooses the codec.
pub fn typed_fields(bytes: &[u8]) {
    let Some((codec, rest)) = bytes.split_first() else { return };
    let codec = if *codec == 0 { Codec::Binary } else { Codec::Json };
    let Ok(header) = Header::decode(codec, rest) else { return };
    FIELDS.iter().for_each(|fields| fields(&header));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::golden;

    #[test]
    fn every_target_keeps_its_promises_for_a_while() {
        for (name, target) in TARGETS {
            let seeds: Vec<_> = golden::frames().iter().flat_map(|(_, frame)| seeds(name, frame)).collect();
            assert!(seeds.len() > 150);
            kerolox_smoke::on_mutations(name, target, &seeds, 300);
        }
    }
}
