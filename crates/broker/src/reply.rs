//! Replies of consumers to producers that sent a request and wait: carried back on the requester's own
//! connection, and stored like any message if the operator wants that.
//!
//! ```text
//!   replier ──324/325──► broker ──326──► requester      who it is says the property REPLY_TO_CLIENT
//!   replier ◄────────── broker ◄─answer─ requester      or after ten seconds, or when it is gone: code 1
//! ```
//! Knows producers' connections and the store. The reply is stored before it is pushed (the original does it the
//! other way round), so that its body need not be kept while the requester thinks.

use crate::{
    Broker,
    admin::relay::{Promise, Stored},
    answer::Answer,
    call::{Call, Out, handlers},
    hint::shown,
    parked::{Ids, Said, Waiting},
    produce::{Origin, Target, serve_sends},
    props,
};
use kerolox_protocol::{
    Fail, code,
    header::Fields,
    msgid::MessageId,
    properties,
    rpc::{
        Rpc,
        produce::{SendReply, SendReplyMessage, SendReplyMessageV2},
        relay::{PushReplyMessageToClient, PushReplyRequest},
    },
    scan::Send,
};

handlers![SendReplyMessage, SendReplyMessageV2];
serve_sends![SendReplyMessage, SendReplyMessageV2 => carry];

impl Broker {
    fn carry(&mut self, call: &Call<'_>, send: &Send<'_>, out: &mut Out) -> Result<(), Fail> {
        let from = Origin::of(call);
        self.desk.relays.room(1)?;
        let target = self.accept(&from, send, out)?;
        let (answer, stored) = match self.keep(&from, send, &target, call.body, out) {
            Ok((sent, end)) => (
                Answer { code: code::SUCCESS, ext: Some(sent.to_ext()), remark: None, body: Vec::new() },
                end,
            ),
            // The requester waits; that this broker cannot store is no reason to let it wait in vain.
            Err(fail) => (Answer::from(fail), None),
        };
        let promise = Promise { to: from.to, answer, stored };
        let mut text = Vec::new();
        let requester = requester(send).inspect(|_| {
            props::copy(send.properties.unwrap_or("").as_bytes(), &[], &mut text);
            props::push(&mut text, "PUSH_REPLY_TIME", &call.now.wall.0.to_string());
        });
        let Some(requester) = requester else {
            let remark = "reply message properties[REPLY_TO_CLIENT] is null".to_owned();
            self.give(promise.settle(Some(remark)), out);
            return Ok(());
        };
        let Some(conn) = self.clients.producer_conn(requester) else {
            let requester = shown(requester);
            let remark = format!("push reply message fail, channel of <{requester}> not found.");
            self.give(promise.settle(Some(remark)), out);
            return Ok(());
        };
        let push = PushReplyRequest {
            producer_group: send.producer_group.to_owned(),
            topic: target.topic.to_string(),
            default_topic: send.default_topic.to_owned(),
            default_topic_queue_nums: send.default_topic_queue_nums,
            queue_id: target.queue.wire(),
            sys_flag: send.sys_flag,
            born_timestamp: send.born_timestamp,
            flag: send.flag,
            properties: String::from_utf8(text).ok(),
            reconsume_times: Some(send.reconsume_times.unwrap_or(0)),
            unit_mode: Some(send.unit_mode == Some(true)),
            born_host: from.peer.addr.to_string(),
            store_host: self.options.store_host.to_string(),
            store_timestamp: call.now.wall.0,
        };
        let what = (push.to_ext(), call.body);
        let client = shown(requester);
        self.push_to(call.now, (conn, client), PushReplyMessageToClient::CODE, what, promise, out);
        Ok(())
    }

    /// Stores the reply if the operator wants that. What the sender is told of it, and what that waits for.
    fn keep(
        &mut self,
        from: &Origin,
        send: &Send<'_>,
        target: &Target,
        body: &[u8],
        out: &mut Out,
    ) -> Result<(SendReply, Option<Stored>), Fail> {
        let broker = &self.options.broker;
        let mut reply = SendReply {
            msg_id: "0".to_owned(),
            queue_id: target.queue.wire(),
            queue_offset: 0,
            transaction_id: None,
            msg_region: Some(broker.region_id.clone()),
            trace_on: Some(broker.trace_on.to_string()),
        };
        if !broker.store_reply_message_enable {
            return Ok((reply, None));
        }
        let Waiting { end, flush, said, .. } = self.store_one(from, send, target, body, out)?;
        if let Said::Sent { ids: Ids::One(at), offset, .. } = said {
            reply.msg_id = MessageId::new(self.options.store_host, at).as_str().to_owned();
            reply.queue_offset = offset;
        }
        Ok((reply, Some(Stored { end, flush })))
    }
}

/// Client id of who waits for the reply.
fn requester<'a>(send: &Send<'a>) -> Option<&'a str> {
    properties::get_str(send.properties?.as_bytes(), "REPLY_TO_CLIENT")
}
