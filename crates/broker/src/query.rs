//! Looking messages up: by key, by unique id, by place in the log.
//!
//! Questions of people, bounded in number and bytes. What is not in memory is read by [`crate::again`].

use crate::{
    Broker,
    call::{Call, Handle, Out, Reply, handlers},
    produce::check_topic,
    props::Known,
};
use kerolox_protocol::{
    Fail, LogOffset, Millis, code,
    record::{self, Entry},
    rpc::consume::{QueryMessage, QueryReply, QueryRequest, ViewMessageById, ViewRequest},
};

handlers![QueryMessage, ViewMessageById];

/// Bytes of one answer; a frame holds 16 MiB, and at least one message always fits.
const QUERY_BYTES_MAX: usize = 8 << 20;

impl Handle<QueryMessage> for Broker {
    fn handle(
        &mut self,
        _: &Call<'_>,
        request: QueryRequest,
        _: &mut Out,
    ) -> Result<Reply<QueryReply>, Fail> {
        check_topic(&request.topic)?;
        let keys = &self.options.store;
        let wanted = match request.unique_key_query {
            Some(true) => keys.default_query_max_num.0,
            _ => u32::try_from(request.max_num).unwrap_or(0),
        };
        let max = wanted.clamp(1, keys.max_msgs_num_batch.0) as usize;
        let (begin, end) = (Millis(request.begin_timestamp), Millis(request.end_timestamp));
        let Some(found) = self.store.query(&request.topic, &request.key, max, begin, end) else {
            let fields = QueryReply { index_last_update_timestamp: 0, index_last_update_phyoffset: 0 };
            return Ok(none(fields, "there is no index: the key messageIndexEnable is off"));
        };
        let mut found = found.map_err(|why| Fail::error(format!("the index cannot be read: {why}")))?;
        let fields = QueryReply {
            index_last_update_timestamp: found.last_ms.0,
            index_last_update_phyoffset: found.last_at.wire(),
        };
        found.offsets.sort_unstable();
        let body = self.records_of(&request, &found.offsets);
        match body.is_empty() {
            true => Ok(none(fields, "can not find message, maybe time range not correct")),
            false => Ok(Reply::with_body(fields, body)),
        }
    }
}

fn none(fields: QueryReply, remark: &str) -> Reply<QueryReply> {
    Reply::Now { code: code::QUERY_NOT_FOUND, fields, body: Vec::new(), remark: Some(remark.to_owned()) }
}

impl Broker {
    /// The records at those places that really have the key: the index knows hashes only.
    fn records_of(&self, request: &QueryRequest, places: &[LogOffset]) -> Vec<u8> {
        let mut body = Vec::new();
        for at in places {
            // One unreadable place must not hide the others.
            let Ok(Some(bytes)) = self.store.record(*at) else { continue };
            if !body.is_empty() && body.len() + bytes.len() > QUERY_BYTES_MAX {
                break;
            }
            let Ok(Entry::Message(record)) = record::parse(&bytes) else { continue };
            let known = Known::read(record.properties);
            let keyed = known.keys.split(' ').chain(known.unique_key).any(|key| key == request.key);
            if keyed && record.topic == request.topic {
                body.extend_from_slice(&bytes);
            }
        }
        body
    }
}

impl Handle<ViewMessageById> for Broker {
    fn handle(&mut self, _: &Call<'_>, request: ViewRequest, _: &mut Out) -> Result<Reply<()>, Fail> {
        let missing = || Fail::error(format!("can not find message by the offset, {}", request.offset));
        let at = LogOffset::try_from(request.offset).map_err(|_| missing())?;
        match self.store.record(at) {
            Ok(Some(record)) => Ok(Reply::with_body((), record)),
            Ok(None) => Err(missing()),
            Err(why) => Err(Fail::error(format!("the message at {at} cannot be read: {why}"))),
        }
    }
}
