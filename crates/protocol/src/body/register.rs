//! A broker's registration: which topics it has. JSON, or binary and compressed.
//!
//! ```text
//! compressed form, after inflating (zlib):
//! n i32, DataVersion as JSON | topics i32, { n i32, "name read write perm filterType[ attributes]" }*
//! n i32, filter servers as a JSON list
//! ```
//! Reference: `RegisterBrokerBody`; section 2.4 of the wire reference.

use super::{
    BodyError,
    config::{DataVersion, TopicConfig, TopicConfigTable, TopicFilterType},
    decode, encode, fastjson,
};
use serde::{Deserialize, Serialize};

/// Body of 103.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct RegisterBrokerBody {
    /// Filter servers; none in practice.
    pub filter_server_list: Vec<String>,
    /// The topics and their version.
    pub topic_config_serialize_wrapper: TopicConfigTable,
}

/// Most bytes that a compressed registration may become.
pub const INFLATED_BYTES_MAX: usize = 64 << 20;
/// Most bytes that one compressed byte may become: lists of similar topics reach about 30.
const RATIO_MAX: usize = 256;
/// Small bodies may exceed the ratio.
const RATIO_FREE_BYTES: usize = 64 << 10;

impl RegisterBrokerBody {
    /// Reads either form. A missing body is legal and means version 0 and no topics.
    pub fn read(body: &[u8], compressed: bool) -> Result<Self, BodyError> {
        match (body.is_empty(), compressed) {
            (true, _) => Ok(Self::default()),
            (false, false) => decode(body),
            (false, true) => Self::parse(&inflate(body)?),
        }
    }

    /// Reads the binary form, inflated.
    pub fn parse(bytes: &[u8]) -> Result<Self, BodyError> {
        let mut rest = Parts(bytes);
        let data_version: DataVersion = decode(rest.part()?)?;
        let mut found = RegisterBrokerBody::default();
        let table = &mut found.topic_config_serialize_wrapper;
        table.data_version = data_version;
        let topics = rest.number()?;
        for _ in 0..topics {
            let text = std::str::from_utf8(rest.part()?).map_err(|_| BodyError::Utf8)?;
            let topic = topic(text)?;
            table.topic_config_table.insert(topic.topic_name.clone(), topic);
        }
        if !rest.0.is_empty() {
            let list = rest.part()?;
            if !list.is_empty() {
                found.filter_server_list = decode(list)?;
            }
        }
        Ok(found)
    }

    /// Writes the compressed form.
    pub fn compress(&self) -> Vec<u8> {
        let table = &self.topic_config_serialize_wrapper;
        let mut plain = Vec::new();
        push_part(&mut plain, &encode(&table.data_version));
        push_number(&mut plain, table.topic_config_table.len());
        for topic in table.topic_config_table.values() {
            let TopicConfig { topic_name, read_queue_nums, write_queue_nums, perm, .. } = topic;
            let filter = topic.topic_filter_type.name();
            let text = format!("{topic_name} {read_queue_nums} {write_queue_nums} {perm} {filter}");
            push_part(&mut plain, text.as_bytes());
        }
        push_part(&mut plain, &encode(&self.filter_server_list));
        deflate(&plain)
    }
}

fn topic(text: &str) -> Result<TopicConfig, BodyError> {
    let broken = || BodyError::Compressed("a topic's line");
    let mut words = text.splitn(6, ' ');
    let mut word = || words.next().ok_or_else(broken);
    let topic_name = word()?.to_owned();
    let mut number = || word()?.parse().map_err(|_| broken());
    let (read_queue_nums, write_queue_nums, perm) = (number()?, number()?, number()?);
    let filter = word()?;
    let known = TopicFilterType::ALL.iter().copied().find(|kind| kind.name() == filter);
    // What 5.x appends is of no use to clients; if it is not what we know, it is left out.
    let attributes =
        words.next().and_then(|json| fastjson::from_slice(json.as_bytes()).ok()).unwrap_or_default();
    Ok(TopicConfig {
        attributes,
        topic_name,
        read_queue_nums,
        write_queue_nums,
        perm,
        topic_filter_type: known.unwrap_or_default(),
        ..TopicConfig::default()
    })
}

struct Parts<'a>(&'a [u8]);

impl<'a> Parts<'a> {
    fn number(&mut self) -> Result<usize, BodyError> {
        let (head, rest) = self.0.split_first_chunk().ok_or(BodyError::Compressed("it ends early"))?;
        self.0 = rest;
        usize::try_from(i32::from_be_bytes(*head)).map_err(|_| BodyError::Compressed("a negative length"))
    }
    fn part(&mut self) -> Result<&'a [u8], BodyError> {
        let bytes = self.number()?;
        let (part, rest) = self.0.split_at_checked(bytes).ok_or(BodyError::Compressed("it ends early"))?;
        self.0 = rest;
        Ok(part)
    }
}

fn push_number(out: &mut Vec<u8>, number: usize) {
    out.extend_from_slice(&i32::try_from(number).unwrap_or(i32::MAX).to_be_bytes());
}

fn push_part(out: &mut Vec<u8>, part: &[u8]) {
    push_number(out, part.len());
    out.extend_from_slice(part);
}

/// Inflates step by step: memory follows what really came out, and a body that grows out of proportion is
/// refused while it does.
fn inflate(body: &[u8]) -> Result<Vec<u8>, BodyError> {
    let limit = RATIO_FREE_BYTES.saturating_add(body.len().saturating_mul(RATIO_MAX)).min(INFLATED_BYTES_MAX);
    let mut engine = flate2::Decompress::new(true);
    let mut out = Vec::new();
    let mut step = vec![0; 16 << 10];
    loop {
        let taken = usize::try_from(engine.total_in()).unwrap_or(usize::MAX);
        let before = engine.total_out();
        let rest = body.get(taken..).unwrap_or(&[]);
        let status = engine
            .decompress(rest, &mut step, flate2::FlushDecompress::None)
            .map_err(|_| BodyError::Compressed("it is not zlib"))?;
        let got = usize::try_from(engine.total_out() - before).unwrap_or(0);
        out.extend_from_slice(step.get(..got).unwrap_or(&[]));
        if out.len() > limit {
            return Err(BodyError::Limit("inflated bytes"));
        }
        match status {
            flate2::Status::StreamEnd => return Ok(out),
            // No progress: the stream wants bytes that are not there.
            _ if got == 0 && usize::try_from(engine.total_in()).ok() == Some(taken) => {
                return Err(BodyError::Compressed("it ends early"));
            }
            _ => {}
        }
    }
}

fn deflate(plain: &[u8]) -> Vec<u8> {
    let mut engine = flate2::Compress::new(flate2::Compression::default(), true);
    let mut out = Vec::with_capacity(plain.len() / 2 + 64);
    loop {
        out.reserve(16 << 10);
        let taken = usize::try_from(engine.total_in()).unwrap_or(usize::MAX);
        let rest = plain.get(taken..).unwrap_or(&[]);
        // Compressing memory into memory with room left has no way to fail.
        match engine.compress_vec(rest, &mut out, flate2::FlushCompress::Finish) {
            Ok(flate2::Status::Ok) => {}
            _ => return out,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sample(topics: usize) -> RegisterBrokerBody {
        let mut body = RegisterBrokerBody::default();
        let table = &mut body.topic_config_serialize_wrapper;
        table.data_version = DataVersion { counter: 12, state_version: 0, timestamp: 1_700_000_000_000 };
        for n in 0..topics {
            let topic_name = format!("Topic{n}");
            let config =
                TopicConfig { topic_name: topic_name.clone(), read_queue_nums: 4, ..TopicConfig::default() };
            table.topic_config_table.insert(topic_name, config);
        }
        body
    }

    #[test]
    fn both_forms_say_the_same() {
        let body = sample(1000);
        assert_eq!(RegisterBrokerBody::read(&encode(&body), false), Ok(body.clone()));
        assert_eq!(RegisterBrokerBody::read(&body.compress(), true), Ok(body));
        assert_eq!(RegisterBrokerBody::read(b"", true), Ok(RegisterBrokerBody::default()));
    }

    #[test]
    fn attributes_of_5x_and_their_absence_are_read() {
        let with = topic(r#"T 8 7 6 MULTI_TAG {"message.type":"FIFO"}"#).unwrap();
        assert_eq!(with.attributes["message.type"], "FIFO");
        assert_eq!((with.read_queue_nums, with.write_queue_nums, with.perm), (8, 7, 6));
        assert_eq!(with.topic_filter_type, TopicFilterType::MultiTag);
        assert!(topic("T 8 7 6 SINGLE_TAG").unwrap().attributes.is_empty());
        assert_eq!(topic("T 8 x 6 SINGLE_TAG"), Err(BodyError::Compressed("a topic's line")));
        assert_eq!(topic("T 8 7 6"), Err(BodyError::Compressed("a topic's line")));
    }

    #[test]
    fn a_bomb_is_refused_before_it_is_large() {
        let bomb = deflate(&vec![0; 8 << 20]);
        assert!(bomb.len() < 16 << 10);
        assert_eq!(RegisterBrokerBody::read(&bomb, true), Err(BodyError::Limit("inflated bytes")));
    }

    #[test]
    fn cut_and_foreign_bytes_are_errors() {
        let whole = sample(50).compress();
        for n in 1..whole.len() {
            assert!(RegisterBrokerBody::read(&whole[..n], true).is_err(), "{n}");
        }
        assert_eq!(RegisterBrokerBody::read(b"{}", true), Err(BodyError::Compressed("it is not zlib")));
        let huge = [0, 0, 0, 2, b'{', b'}', 0x7f, 0xff, 0xff, 0xff];
        assert_eq!(RegisterBrokerBody::parse(&huge), Err(BodyError::Compressed("it ends early")));
    }

    proptest! {
        #[test]
        fn any_bytes_give_a_body_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = RegisterBrokerBody::parse(&bytes);
            let _ = RegisterBrokerBody::read(&bytes, true);
        }
    }
}
