//! The message record: as stored, and as pulled.
//!
//! ```text
//! offset  size    field
//!      0     4    total size, this field included
//!      4     4    magic
//!      8     4    CRC-32 of the body, 31 bits
//!     12     4    queue id
//!     16     4    flag (user's)
//!     20     8    queue offset
//!     28     8    physical offset: the record's own position in the log
//!     36     4    sysFlag
//!     40     8    born time, Unix ms, client's
//!     48     8|20 born host: address 4 or 16 bytes, port i32
//!      …     8    store time, Unix ms
//!      …     8|20 store host
//!      …     4    reconsume times
//!      …     8    prepared transaction offset
//!      …     4+B  body
//!      …     1+T  topic (2+T in the 5.x form)
//!      …     2+P  properties
//! ```
//! Reference: `CommitLog`, `MessageDecoder`; section 1.2 of the storage reference. A pull answer is these bytes
//! unchanged, so the layout stands here once, for the store and for the clients.

use crate::ids::{LogOffset, Millis, QueueId, QueueOffset};
use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

/// Magic of a message with one byte of topic length.
pub const MAGIC: u32 = 0xDAA3_20A7;
/// Magic of the 5.x form: two bytes of topic length.
pub const MAGIC_V2: u32 = 0xDAA3_20AB;
/// Magic of the filler at the end of a log file.
pub const MAGIC_BLANK: u32 = 0xCBD4_3194;
/// Bytes of the filler's header; so many are always left for it.
pub const BLANK_BYTES: usize = 8;

/// sysFlag: the body is compressed by the client.
pub const SYS_COMPRESSED: i32 = 0x1;
/// sysFlag: the topic allows several tags.
pub const SYS_MULTI_TAGS: i32 = 0x2;
/// sysFlag: mask of the transaction type (0 none, 4 prepared, 8 commit, 12 rollback).
pub const SYS_TRANSACTION_MASK: i32 = 0xC;
/// sysFlag: the born host is IPv6.
pub const SYS_BORN_V6: i32 = 0x10;
/// sysFlag: the store host is IPv6.
pub const SYS_STORE_V6: i32 = 0x20;
/// Bits that describe the record's own layout; never taken from a client.
pub const SYS_LAYOUT_MASK: i32 = SYS_BORN_V6 | SYS_STORE_V6;

const AT_QUEUE_OFFSET: usize = 20;
const AT_PHYSICAL_OFFSET: usize = 28;
const AT_SYS_FLAG: usize = 36;
const AT_BORN_HOST: usize = 48;
/// Size of everything but body, topic and properties, with IPv4 hosts and one byte of topic length.
pub const FIXED_BYTES: usize = 91;
const _: () = assert!(FIXED_BYTES == AT_BORN_HOST + 8 + 8 + 8 + 4 + 8 + 4 + 1 + 2);

/// The CRC a record carries: CRC-32 (IEEE) without its top bit.
pub fn crc(body: &[u8]) -> u32 {
    crc32fast::hash(body) & 0x7fff_ffff
}

/// Which end-of-topic-length form a record has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// 4.x: one byte.
    V1,
    /// 5.x: two bytes, for topics beyond 127 bytes.
    V2,
}

/// A message on its way into the log: everything but what the log decides.
#[derive(Debug, Clone, Copy)]
pub struct Draft<'a> {
    /// Topic; 1 to 255 bytes, checked by the caller's `TopicName`.
    pub topic: &'a str,
    /// Queue.
    pub queue_id: QueueId,
    /// User flag.
    pub flag: i32,
    /// sysFlag; layout bits are overwritten.
    pub sys_flag: i32,
    /// Client time.
    pub born_ms: Millis,
    /// The client's address.
    pub born_host: SocketAddr,
    /// The broker's address.
    pub store_host: SocketAddr,
    /// How often it was consumed in vain.
    pub reconsume_times: i32,
    /// Physical offset of the half message, on commit; else 0.
    pub prepared_offset: i64,
    /// Body as sent.
    pub body: &'a [u8],
    /// Property string.
    pub properties: &'a [u8],
}

/// Largest property string.
pub const PROPERTIES_BYTES_MAX: usize = 32_767;

impl<'a> Draft<'a> {
    /// A message that its broker writes itself: no flag, no time of a client, consumed by nobody yet.
    pub fn plain(
        host: SocketAddr,
        topic: &'a str,
        queue_id: QueueId,
        body: &'a [u8],
        properties: &'a [u8],
    ) -> Draft<'a> {
        Draft {
            topic,
            queue_id,
            flag: 0,
            sys_flag: 0,
            born_ms: Millis(0),
            born_host: host,
            store_host: host,
            reconsume_times: 0,
            prepared_offset: 0,
            body,
            properties,
        }
    }
}

impl<'a> From<&Record<'a>> for Draft<'a> {
    /// The same message over again.
    fn from(record: &Record<'a>) -> Draft<'a> {
        Draft {
            topic: record.topic,
            queue_id: QueueId(record.queue_id.cast_unsigned()),
            flag: record.flag,
            sys_flag: record.sys_flag,
            born_ms: record.born_ms,
            born_host: record.born_host,
            store_host: record.store_host,
            reconsume_times: record.reconsume_times,
            prepared_offset: record.prepared_offset,
            body: record.body,
            properties: record.properties,
        }
    }
}

impl Draft<'_> {
    /// Size of the record.
    pub fn encoded_len(&self) -> usize {
        let host = |addr: &SocketAddr| if addr.is_ipv6() { 12 } else { 0 };
        let wide = usize::from(self.form() == Form::V2);
        FIXED_BYTES
            + wide
            + host(&self.born_host)
            + host(&self.store_host)
            + self.body.len()
            + self.topic.len()
            + self.properties.len()
    }

    /// 4.x clients cannot read the second form, so it is used only where the first cannot hold the topic.
    pub fn form(&self) -> Form {
        if self.topic.len() > 127 { Form::V2 } else { Form::V1 }
    }

    /// Appends the record. The caller has checked the sizes: properties at most [`PROPERTIES_BYTES_MAX`], the
    /// whole below 2 GiB.
    pub fn encode(&self, queue_offset: QueueOffset, at: LogOffset, store_ms: Millis, out: &mut Vec<u8>) {
        assert!(self.properties.len() <= PROPERTIES_BYTES_MAX && self.topic.len() <= 255);
        let start = out.len();
        let size = self.encoded_len();
        out.reserve(size);
        let magic = if self.form() == Form::V2 { MAGIC_V2 } else { MAGIC };
        let v6 = |addr: &SocketAddr, bit| if addr.is_ipv6() { bit } else { 0 };
        let layout = v6(&self.born_host, SYS_BORN_V6) | v6(&self.store_host, SYS_STORE_V6);
        let sys_flag = (self.sys_flag & !SYS_LAYOUT_MASK) | layout;
        out.extend_from_slice(&(size as u32).to_be_bytes());
        out.extend_from_slice(&magic.to_be_bytes());
        out.extend_from_slice(&crc(self.body).to_be_bytes());
        out.extend_from_slice(&self.queue_id.0.to_be_bytes());
        out.extend_from_slice(&self.flag.to_be_bytes());
        out.extend_from_slice(&queue_offset.0.to_be_bytes());
        out.extend_from_slice(&at.0.to_be_bytes());
        out.extend_from_slice(&sys_flag.to_be_bytes());
        out.extend_from_slice(&self.born_ms.0.to_be_bytes());
        push_host(out, &self.born_host);
        out.extend_from_slice(&store_ms.0.to_be_bytes());
        push_host(out, &self.store_host);
        out.extend_from_slice(&self.reconsume_times.to_be_bytes());
        out.extend_from_slice(&self.prepared_offset.to_be_bytes());
        out.extend_from_slice(&(self.body.len() as u32).to_be_bytes());
        out.extend_from_slice(self.body);
        if magic == MAGIC_V2 {
            out.push(0);
        }
        out.push(self.topic.len() as u8);
        out.extend_from_slice(self.topic.as_bytes());
        out.extend_from_slice(&(self.properties.len() as u16).to_be_bytes());
        out.extend_from_slice(self.properties);
        assert_eq!(out.len() - start, size, "a record's size is what its parts say");
    }
}

fn push_host(out: &mut Vec<u8>, addr: &SocketAddr) {
    match addr.ip() {
        IpAddr::V4(ip) => out.extend_from_slice(&ip.octets()),
        IpAddr::V6(ip) => out.extend_from_slice(&ip.octets()),
    }
    out.extend_from_slice(&u32::from(addr.port()).to_be_bytes());
}

/// Appends the filler that ends a log file: `left` bytes are left in it, header included.
pub fn encode_blank(left: u32, out: &mut Vec<u8>) {
    out.extend_from_slice(&left.to_be_bytes());
    out.extend_from_slice(&MAGIC_BLANK.to_be_bytes());
}

/// A record borrowed from bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record<'a> {
    /// Size of the whole record.
    pub size: u32,
    /// Which form.
    pub form: Form,
    /// CRC as stored; see [`Record::crc_matches`].
    pub body_crc: u32,
    /// Queue.
    pub queue_id: i32,
    /// User flag.
    pub flag: i32,
    /// Position in the queue.
    pub queue_offset: i64,
    /// Position in the log, as the record says.
    pub physical_offset: i64,
    /// sysFlag.
    pub sys_flag: i32,
    /// Client time.
    pub born_ms: Millis,
    /// The client's address.
    pub born_host: SocketAddr,
    /// Broker time.
    pub store_ms: Millis,
    /// The broker's address.
    pub store_host: SocketAddr,
    /// How often it was consumed in vain.
    pub reconsume_times: i32,
    /// Physical offset of the half message, on commit.
    pub prepared_offset: i64,
    /// Body as stored.
    pub body: &'a [u8],
    /// Topic.
    pub topic: &'a str,
    /// Property string.
    pub properties: &'a [u8],
}

impl Record<'_> {
    /// Whether the body is what was stored.
    pub fn crc_matches(&self) -> bool {
        crc(self.body) == self.body_crc
    }

    /// Transaction type bits.
    pub fn transaction(&self) -> i32 {
        self.sys_flag & SYS_TRANSACTION_MASK
    }
}

/// What stands at a place of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Entry<'a> {
    /// A message.
    Message(Record<'a>),
    /// The filler; so many bytes are left in the file, it included.
    Blank(u32),
}

/// Why bytes are not a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RecordError {
    /// Fewer bytes than the record claims, or than its fields need.
    Short,
    /// Not a magic number of ours.
    Magic(u32),
    /// The parts do not add up to the claimed size.
    Size {
        /// As claimed.
        claimed: u32,
        /// As added up.
        computed: u64,
    },
    /// The topic is empty or not UTF-8, a length is negative, or a port is none.
    Field(&'static str),
}

impl fmt::Display for RecordError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RecordError::Short => f.write_str("the bytes end inside the record"),
            RecordError::Magic(magic) => write!(f, "{magic:#010x} is no record's magic number"),
            RecordError::Size { claimed, computed } => {
                write!(f, "the record claims {claimed} bytes, its parts have {computed}")
            }
            RecordError::Field(what) => write!(f, "impossible {what}"),
        }
    }
}
impl std::error::Error for RecordError {}

/// Reads what stands at the start of `bytes`. The CRC is not checked here: see [`Record::crc_matches`].
pub fn parse(bytes: &[u8]) -> Result<Entry<'_>, RecordError> {
    let mut rest = Reader { bytes, at: 0 };
    let size = rest.u32()?;
    let form = match rest.u32()? {
        MAGIC => Form::V1,
        MAGIC_V2 => Form::V2,
        MAGIC_BLANK => return Ok(Entry::Blank(size)),
        other => return Err(RecordError::Magic(other)),
    };
    let body_crc = rest.u32()?;
    let queue_id = rest.i32()?;
    let flag = rest.i32()?;
    let queue_offset = rest.i64()?;
    let physical_offset = rest.i64()?;
    let sys_flag = rest.i32()?;
    let born_ms = Millis(rest.i64()?);
    let born_host = rest.host(sys_flag & SYS_BORN_V6 != 0)?;
    let store_ms = Millis(rest.i64()?);
    let store_host = rest.host(sys_flag & SYS_STORE_V6 != 0)?;
    let reconsume_times = rest.i32()?;
    let prepared_offset = rest.i64()?;
    let body_bytes = usize::try_from(rest.i32()?).map_err(|_| RecordError::Field("body length"))?;
    let body = rest.take(body_bytes)?;
    let topic_bytes = match form {
        Form::V1 => usize::from(rest.take(1)?[0]),
        Form::V2 => usize::from(rest.u16()?),
    };
    let topic = std::str::from_utf8(rest.take(topic_bytes)?).map_err(|_| RecordError::Field("topic"))?;
    if topic.is_empty() {
        return Err(RecordError::Field("topic"));
    }
    let properties_bytes = usize::from(rest.u16()?);
    if properties_bytes > PROPERTIES_BYTES_MAX {
        return Err(RecordError::Field("properties length"));
    }
    let properties = rest.take(properties_bytes)?;
    if rest.at as u64 != u64::from(size) {
        return Err(RecordError::Size { claimed: size, computed: rest.at as u64 });
    }
    Ok(Entry::Message(Record {
        size,
        form,
        body_crc,
        queue_id,
        flag,
        queue_offset,
        physical_offset,
        sys_flag,
        born_ms,
        born_host,
        store_ms,
        store_host,
        reconsume_times,
        prepared_offset,
        body,
        topic,
        properties,
    }))
}

/// Records back to back, as a pull answer carries them; ends at the first that cannot be read.
pub fn parse_all(mut bytes: &[u8]) -> impl Iterator<Item = Result<Record<'_>, RecordError>> {
    std::iter::from_fn(move || {
        if bytes.is_empty() {
            return None;
        }
        let found = match parse(bytes) {
            Ok(Entry::Message(record)) => Ok(record),
            Ok(Entry::Blank(_)) => Err(RecordError::Magic(MAGIC_BLANK)),
            Err(why) => Err(why),
        };
        bytes = match &found {
            Ok(record) => &bytes[record.size as usize..],
            Err(_) => &[],
        };
        Some(found)
    })
}

/// Sets the places that only the log knows, in a record encoded before they were known.
pub fn patch(record: &mut [u8], queue_offset: QueueOffset, at: LogOffset, store_ms: Millis) {
    let sys_flag = u32::from_be_bytes([
        record[AT_SYS_FLAG],
        record[AT_SYS_FLAG + 1],
        record[AT_SYS_FLAG + 2],
        record[AT_SYS_FLAG + 3],
    ]);
    let store_at = AT_BORN_HOST + if sys_flag & SYS_BORN_V6 as u32 != 0 { 20 } else { 8 };
    record[AT_QUEUE_OFFSET..AT_QUEUE_OFFSET + 8].copy_from_slice(&queue_offset.0.to_be_bytes());
    record[AT_PHYSICAL_OFFSET..AT_PHYSICAL_OFFSET + 8].copy_from_slice(&at.0.to_be_bytes());
    record[store_at..store_at + 8].copy_from_slice(&store_ms.0.to_be_bytes());
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, n: usize) -> Result<&'a [u8], RecordError> {
        let end = self.at.checked_add(n).ok_or(RecordError::Short)?;
        let part = self.bytes.get(self.at..end).ok_or(RecordError::Short)?;
        self.at = end;
        Ok(part)
    }
    fn array<const N: usize>(&mut self) -> Result<[u8; N], RecordError> {
        self.take(N)?.try_into().map_err(|_| RecordError::Short)
    }
    fn u16(&mut self) -> Result<u16, RecordError> {
        self.array().map(u16::from_be_bytes)
    }
    fn u32(&mut self) -> Result<u32, RecordError> {
        self.array().map(u32::from_be_bytes)
    }
    fn i32(&mut self) -> Result<i32, RecordError> {
        self.array().map(i32::from_be_bytes)
    }
    fn i64(&mut self) -> Result<i64, RecordError> {
        self.array().map(i64::from_be_bytes)
    }
    fn host(&mut self, v6: bool) -> Result<SocketAddr, RecordError> {
        let ip = match v6 {
            true => IpAddr::V6(Ipv6Addr::from(self.array::<16>()?)),
            false => IpAddr::V4(Ipv4Addr::from(self.array::<4>()?)),
        };
        let port = u16::try_from(self.i32()?).map_err(|_| RecordError::Field("port"))?;
        Ok(SocketAddr::new(ip, port))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn host() -> impl Strategy<Value = SocketAddr> {
        prop_oneof![
            (any::<[u8; 4]>(), any::<u16>()).prop_map(|(ip, port)| (ip, port).into()),
            (any::<[u8; 16]>(), any::<u16>()).prop_map(|(ip, port)| (ip, port).into()),
        ]
    }

    proptest! {
        #[test]
        fn a_record_reads_back_as_it_was_written(
            topic in "[a-z%]{1,200}", queue in 0u32..99, flag: i32, sys_flag in 0i32..0x800, born: i64,
            born_host in host(), store_host in host(), times: i32, prepared: i64,
            body in proptest::collection::vec(any::<u8>(), 0..300),
            properties in proptest::collection::vec(any::<u8>(), 0..300),
            queue_offset in 0u64..1 << 60, at in 0u64..1 << 60, store: i64,
        ) {
            let draft = Draft {
                topic: &topic, queue_id: QueueId(queue), flag, sys_flag, born_ms: Millis(born), born_host,
                store_host, reconsume_times: times, prepared_offset: prepared, body: &body, properties: &properties,
            };
            let mut bytes = Vec::new();
            draft.encode(QueueOffset(0), LogOffset(0), Millis(0), &mut bytes);
            patch(&mut bytes, QueueOffset(queue_offset), LogOffset(at), Millis(store));
            let Ok(Entry::Message(record)) = parse(&bytes) else { panic!("{:?}", parse(&bytes)) };
            prop_assert_eq!(record.size as usize, bytes.len());
            prop_assert!(record.crc_matches());
            prop_assert_eq!((record.topic, record.body, record.properties), (&*topic, &*body, &*properties));
            prop_assert_eq!((record.born_host, record.store_host), (born_host, store_host));
            prop_assert_eq!((record.queue_offset, record.physical_offset), (queue_offset as i64, at as i64));
            prop_assert_eq!((record.store_ms.0, record.born_ms.0), (store, born));
            prop_assert_eq!(record.sys_flag & !SYS_LAYOUT_MASK, sys_flag & !SYS_LAYOUT_MASK);
            // Whatever is cut off or added in front is noticed.
            prop_assert_eq!(parse(&bytes[..bytes.len() - 1]), Err(RecordError::Short));
        }

        #[test]
        fn any_bytes_give_an_entry_or_an_error(mut bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = parse(&bytes);
            if let Some(head) = bytes.get_mut(4..8) {
                head.copy_from_slice(&MAGIC.to_be_bytes());
            }
            let _ = parse(&bytes);
        }
    }
}
