//! `kerolox.queues`: where every queue begins and ends, and which part of the log that covers.
//!
//! So a start reads one file instead of the directories of all queues. The covered position lies in the same
//! file as the ends, and the file is replaced as a whole: the two cannot disagree. Kerolox's own; a 4.9 broker
//! ignores it.
//!
//! ```text
//! offset  size  field (integers big-endian)
//!      0     8  "KRLXQEND"
//!      8     4  version, 1
//!     12     4  flags: 1 = written by a clean stop
//!     16     8  log position that the ends cover, bytes
//!     24     8  store time of the last record below it, ms
//!     32    20  digest of `checkpoint` before this was written: length 8, CRC-32 4, FNV-1a 8
//!     52    20  digest of `checkpoint` after
//!     72     8  bytes of a log file
//!     80     8  bytes of a queue file
//!     88     8  an index with a key from here on has all keys that belong to these ends; -1 = no record has keys
//!     96     4  damaged ranges of the log: count; then per range from 8, to 8
//!      …     4  topics: count; then per topic name length 2, name, queue count 4;
//!               per queue id 4, first offset 8, end offset 8
//!      …     4  CRC-32 (IEEE) of all before
//! ```

use crate::{
    sealed::{self, Unsealed},
    smallfile::Digest,
};
use kerolox_protocol::{LogOffset, Millis, QueueId};
use std::{ops::Range, path::PathBuf, sync::Arc};

const MAGIC: [u8; 8] = *b"KRLXQEND";
const VERSION: u32 = 1;
const CLEAN: u32 = 1;

/// Ends of all queues as of one log position.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ends {
    /// Written by a clean stop: nothing came after.
    pub clean: bool,
    /// Every record below has its entry in these queues, every other has not.
    pub covers: LogOffset,
    /// Store time of the last record below.
    pub last_ms: Millis,
    /// Digests of the original's checkpoint that belong to this state. Another digest tells that another
    /// broker had the store since.
    pub checkpoints: [Digest; 2],
    /// Bytes of a log file.
    pub segment_bytes: u64,
    /// Bytes of a queue file.
    pub queue_file_bytes: u64,
    /// An index with a key from here on has all keys up to [`Ends::covers`]: the last record with keys, or the end, where
    /// it was not certain that all keys of that record are durable.
    pub index_covers: Option<LogOffset>,
    /// Parts of the log that were found damaged.
    pub damaged: Vec<Range<u64>>,
    /// The queues.
    pub topics: Vec<TopicEnds>,
}

/// Ends of the queues of one topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicEnds {
    /// The topic.
    pub name: Arc<str>,
    /// Queue, first offset, end offset.
    pub queues: Vec<(QueueId, u64, u64)>,
}

impl Ends {
    /// The file's place.
    pub fn path(root: &std::path::Path) -> PathBuf {
        root.join("kerolox.queues")
    }

    /// The file's bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = sealed::begin(MAGIC, VERSION);
        out.extend(if self.clean { CLEAN } else { 0 }.to_be_bytes());
        out.extend(self.covers.0.to_be_bytes());
        out.extend(self.last_ms.0.to_be_bytes());
        for digest in &self.checkpoints {
            out.extend(digest.len.to_be_bytes());
            out.extend(digest.crc.to_be_bytes());
            out.extend(digest.fnv.to_be_bytes());
        }
        out.extend(self.segment_bytes.to_be_bytes());
        out.extend(self.queue_file_bytes.to_be_bytes());
        out.extend(self.index_covers.map_or(-1, LogOffset::wire).to_be_bytes());
        out.extend((self.damaged.len() as u32).to_be_bytes());
        for range in &self.damaged {
            out.extend(range.start.to_be_bytes());
            out.extend(range.end.to_be_bytes());
        }
        out.extend((self.topics.len() as u32).to_be_bytes());
        for topic in &self.topics {
            out.extend((topic.name.len() as u16).to_be_bytes());
            out.extend(topic.name.as_bytes());
            out.extend((topic.queues.len() as u32).to_be_bytes());
            for (id, min, end) in &topic.queues {
                out.extend(id.0.to_be_bytes());
                out.extend(min.to_be_bytes());
                out.extend(end.to_be_bytes());
            }
        }
        sealed::seal(&mut out);
        out
    }

    /// Reads the file's bytes.
    pub fn parse(bytes: &[u8]) -> Result<Ends, Unsealed> {
        let mut rest = Reader(sealed::open(bytes, MAGIC, VERSION)?);
        rest.take(sealed::BEGIN_LEN)?;
        let clean = rest.u32()? & CLEAN != 0;
        let covers = LogOffset(rest.u64()?);
        let last_ms = Millis(rest.u64()? as i64);
        let checkpoints = [rest.digest()?, rest.digest()?];
        let (segment_bytes, queue_file_bytes) = (rest.u64()?, rest.u64()?);
        // Places are computed with it.
        if queue_file_bytes == 0 || queue_file_bytes % 20 != 0 || queue_file_bytes > i32::MAX as u64 {
            return Err(Unsealed::Field("size of queue files"));
        }
        let index_covers = LogOffset::try_from(rest.u64()? as i64).ok();
        let damaged = (0..rest.u32()?).map(|_| Ok(rest.u64()?..rest.u64()?)).collect::<Result<_, _>>()?;
        let topics = (0..rest.u32()?).map(|_| rest.topic()).collect::<Result<_, _>>()?;
        if rest.0.is_empty() {
            Ok(Ends {
                clean,
                covers,
                last_ms,
                checkpoints,
                segment_bytes,
                queue_file_bytes,
                index_covers,
                damaged,
                topics,
            })
        } else {
            Err(Unsealed::Length)
        }
    }
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, n: usize) -> Result<&'a [u8], Unsealed> {
        let (part, rest) = self.0.split_at_checked(n).ok_or(Unsealed::Length)?;
        self.0 = rest;
        Ok(part)
    }
    fn array<const N: usize>(&mut self) -> Result<[u8; N], Unsealed> {
        self.take(N)?.try_into().map_err(|_| Unsealed::Length)
    }
    fn u32(&mut self) -> Result<u32, Unsealed> {
        self.array().map(u32::from_be_bytes)
    }
    fn u64(&mut self) -> Result<u64, Unsealed> {
        self.array().map(u64::from_be_bytes)
    }
    fn digest(&mut self) -> Result<Digest, Unsealed> {
        Ok(Digest { len: self.u64()?, crc: self.u32()?, fnv: self.u64()? })
    }
    fn topic(&mut self) -> Result<TopicEnds, Unsealed> {
        let len = self.array().map(u16::from_be_bytes)?;
        let name = std::str::from_utf8(self.take(usize::from(len))?).map_err(|_| Unsealed::Field("topic"))?;
        // It becomes part of a path.
        kerolox_protocol::names::check(name, 255).map_err(|_| Unsealed::Field("topic"))?;
        let queues = (0..self.u32()?).map(|_| self.queue()).collect::<Result<_, _>>()?;
        Ok(TopicEnds { name: Arc::from(name), queues })
    }
    fn queue(&mut self) -> Result<(QueueId, u64, u64), Unsealed> {
        let (id, min, end) = (QueueId(self.u32()?), self.u64()?, self.u64()?);
        let limit = i64::MAX as u64 / 20;
        if min > end || end > limit || id.0 > i32::MAX as u32 {
            return Err(Unsealed::Field("queue"));
        }
        Ok((id, min, end))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ends() -> impl Strategy<Value = Ends> {
        let queue = (0u32..100, 0u64..1000, 0u64..1000).prop_map(|(id, min, n)| (QueueId(id), min, min + n));
        let topic = ("[a-zA-Z%_-]{1,40}", proptest::collection::vec(queue, 0..5))
            .prop_map(|(name, queues)| TopicEnds { name: name.into(), queues });
        let parts = (any::<bool>(), any::<u64>(), any::<i64>(), any::<[u8; 3]>());
        let damaged = proptest::collection::vec(any::<(u64, u64)>(), 0..3);
        (parts, damaged, proptest::collection::vec(topic, 0..5)).prop_map(|(parts, damaged, topics)| Ends {
            clean: parts.0,
            covers: LogOffset(parts.1),
            last_ms: Millis(parts.2),
            checkpoints: [Digest::of(&parts.3), Digest::of(&parts.3[..1])],
            segment_bytes: parts.1 / 2,
            queue_file_bytes: (parts.1 % 1000 + 1) * 20,
            index_covers: parts.0.then_some(LogOffset(parts.1 / 4)),
            damaged: damaged.into_iter().map(|(a, b)| a..b).collect(),
            topics,
        })
    }

    proptest! {
        #[test]
        fn ends_read_back_and_every_flipped_bit_is_noticed(ends in ends(), at: prop::sample::Index, bit in 0u8..8) {
            let bytes = ends.encode();
            prop_assert_eq!(Ends::parse(&bytes), Ok(ends));
            let mut bad = bytes.clone();
            bad[at.index(bytes.len())] ^= 1 << bit;
            prop_assert!(Ends::parse(&bad).is_err());
            prop_assert!(Ends::parse(&bytes[..at.index(bytes.len())]).is_err());
        }

        #[test]
        fn sizes_of_queue_files_that_cannot_be_are_refused(mut ends in ends(), bytes in prop_oneof![Just(0), Just(19), Just(1 << 40)]) {
            ends.queue_file_bytes = bytes;
            prop_assert_eq!(Ends::parse(&ends.encode()), Err(Unsealed::Field("size of queue files")));
        }

        #[test]
        fn any_bytes_give_ends_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(Ends::parse(&bytes).is_err());
        }
    }
}
