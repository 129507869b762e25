//! What of a request is judged before its body is there: code, sender, announced length, and of a send where it
//! would go. Who sends four megabytes to a topic that cannot exist is told so by the header; the body is never held.
//!
//! Knows headers and the tables; changes nothing. A request that passes is judged once more when it is whole, by
//! the same functions, since the tables may have changed meanwhile.

use crate::{
    Broker,
    answer::{Answer, Ticket},
    call::Handler,
    hint::refused,
    produce::{Origin, SendCode},
    service::Stage,
};
use kerolox_net::{Judgement, Now, Peer};
use kerolox_protocol::{
    Fail, code,
    frame::Opening,
    header::{FLAG_RESPONSE, Header},
    rpc::Need,
    scan::{self, Hot, Send},
};
use kerolox_store::AppendError;
use tracing::debug;

impl Broker {
    /// Whether the body of a large frame is worth waiting for.
    pub(crate) fn judge_opening(
        &self,
        now: Now,
        peer: &Peer,
        opening: &Opening<'_>,
        fields: &mut scan::Scratch,
    ) -> Judgement {
        let to = |opaque, oneway| Ticket { conn: peer.conn, codec: opening.codec, opaque, oneway };
        if let Ok(scanned) = scan::scan(opening.codec, opening.header, fields)
            && scanned.flag() & FLAG_RESPONSE == 0
            && let Some(code) = SendCode::of(scanned.code())
            && let Ok(Hot::Send(send)) = scanned.hot()
        {
            let to = to(scanned.opaque(), scanned.is_oneway());
            let from = Origin { now, peer: *peer, to, version: scanned.version() };
            return judgement(self.judge_send(&from, code, &send, opening.body_bytes), &to);
        }
        let header = match Header::decode(opening.codec, opening.header) {
            Ok(header) => header,
            Err(why) => {
                debug!(conn = peer.conn.0, addr = %peer.addr, %why, "unreadable header");
                return Judgement::Close("unreadable header");
            }
        };
        if header.is_response() {
            let awaited = self.desk.relays.awaits(peer.conn, header.opaque);
            return if awaited { Judgement::Take } else { Judgement::Refuse(Vec::new()) };
        }
        let to = to(header.opaque, header.is_oneway());
        let from = Origin { now, peer: *peer, to, version: header.version };
        judgement(self.judge_header(&from, &header, opening.body_bytes), &to)
    }

    fn judge_header(&self, from: &Origin, header: &Header, body_bytes: usize) -> Result<(), Fail> {
        let Some(code) = SendCode::of(header.code) else {
            return self.admit(header.code, &from.peer, body_bytes).map(drop);
        };
        // The code first: of what is not served, no field matters.
        self.admit(header.code, &from.peer, body_bytes)?;
        self.judge_send(from, code, &Send::from(&code.request(header)?), body_bytes)
    }

    fn judge_send(
        &self,
        from: &Origin,
        code: SendCode,
        send: &Send<'_>,
        body_bytes: usize,
    ) -> Result<(), Fail> {
        self.admit(code.code(), &from.peer, body_bytes)?;
        self.may_send(from, send)?;
        self.may_go(send)?;
        self.room_to_wait()?;
        if code.is_reply() {
            // It is carried to who asked even where it cannot be stored.
            return Ok(());
        }
        self.store.writable().map_err(|why| refused(AppendError::Refused(why)))?;
        match self.message_bytes_max() {
            max if body_bytes > max => Err(refused(AppendError::TooLarge { bytes: body_bytes, max })),
            _ => Ok(()),
        }
    }

    /// What is asked of every request before its handler sees it, and needs no more than its code, its sender
    /// and the length of its body. The right of an access key to the topic or group of the header belongs here,
    /// too; its signature covers the body and can only be checked when that is there.
    pub(crate) fn admit(&self, asked: i32, peer: &Peer, body_bytes: usize) -> Result<Handler, Fail> {
        let (row, handler) = *self.handlers.get(&asked).ok_or_else(|| Fail::not_supported(asked))?;
        self.check(row.need, peer)?;
        if self.stage != Stage::Running {
            return Err(Fail::new(code::SERVICE_NOT_AVAILABLE, "the broker is stopping"));
        }
        row.check_body(body_bytes)?;
        Ok(handler)
    }

    /// Whether `peer` may ask for what `need` says.
    #[inline]
    pub(crate) fn check(&self, need: Need, peer: &Peer) -> Result<(), Fail> {
        match need {
            Need::Nothing | Need::Publish | Need::Subscribe | Need::Inspect => Ok(()),
            Need::Admin | Need::Cluster if self.options.broker.admin_networks.contains(peer.addr.ip()) => {
                Ok(())
            }
            Need::Admin | Need::Cluster => Err(Fail::new(
                code::NO_PERMISSION,
                format!(
                    "admin requests are answered to the networks of the key adminNetworks only; {} is in none",
                    peer.addr.ip()
                ),
            )),
        }
    }
}

/// The refusal as the bytes that are sent.
fn judgement(result: Result<(), Fail>, to: &Ticket) -> Judgement {
    let Err(fail) = result else { return Judgement::Take };
    let mut answer = Vec::new();
    Answer::from(fail).write(to, &mut answer);
    Judgement::Refuse(answer)
}
