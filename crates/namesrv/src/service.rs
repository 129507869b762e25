//! The name server as a service: frames in, answers, closes and files out.
//!
//! Owns the dispatch of requests and the waiting for files. The rules of routes are in [`crate::routes`], of
//! values in [`crate::kv`]. Knows no socket, file, thread or clock.
//!
//! An answer to a change of the key-value configuration or of a setting leaves when the file is durable. All
//! changes that arrive while a file is being written share the next write.

mod answers;
mod saver;
#[cfg(test)]
mod tests;

use crate::{
    disk::{Files, Save, Saved, What},
    kv::Kv,
    routes::{Dropped, Limits, Routes},
};
use answers::{Answer, Body};
use kerolox_config::Loaded;
use kerolox_net::{ConnId, Judgement, LinkEvent, Now, Outbox, Peer, Service};
use kerolox_protocol::{
    Fail, Millis, code,
    frame::{Codec, Frame, Opening},
    header::{Ext, Header},
    rpc::{self, Need, RpcInfo, Server},
};
use saver::{Saver, Waiter};
use std::{fmt, io, sync::Arc};
use tracing::{info, warn};

/// The first look for silent brokers comes this long after the start.
const FIRST_SCAN: Millis = Millis(5_000);
/// Why a connection is closed whose frames cannot be understood.
const UNREADABLE: &str = "the header of a frame cannot be read";
/// Pause between two looks.
const SCAN_PAUSE: Millis = Millis(10_000);

/// Why a name server cannot start.
#[derive(Debug)]
pub enum OpenError {
    /// The file of the key-value configuration cannot be read.
    Read {
        /// The file.
        path: String,
        /// Why.
        why: io::Error,
    },
    /// It is not what it should be.
    Parse {
        /// The file.
        path: String,
        /// Where and what.
        why: serde_json::Error,
    },
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            OpenError::Read { path, why } => {
                write!(f, "kvConfigPath={path} cannot be read: {why}; make it readable or name another file")
            }
            OpenError::Parse { path, why } => write!(
                f,
                "kvConfigPath={path} is damaged: {why}; restore it (wanted is {{\"configTable\":{{…}}}}), or \
                 move it away to start without order topics"
            ),
        }
    }
}
impl std::error::Error for OpenError {}

/// A name server.
#[derive(Debug)]
pub struct Namesrv {
    config: Loaded,
    routes: Routes,
    kv: Kv,
    kv_saver: Saver,
    settings_saver: Saver,
    next_scan: Millis,
    stopping: bool,
    /// Requests refused by [`Namesrv::may`] since the last scan; a flood of them is one line of log.
    refused: u64,
}

impl Namesrv {
    /// Starts with what the file of the key-value configuration holds. May block on the disk.
    pub fn open(now: Now, config: Loaded, files: Arc<dyn Files>) -> Result<Namesrv, OpenError> {
        let path = config.namesrv.kv_config_path.as_path();
        let shown = || path.display().to_string();
        let text = files.read(path).map_err(|why| OpenError::Read { path: shown(), why })?;
        let kv =
            Kv::load(&text.unwrap_or_default()).map_err(|why| OpenError::Parse { path: shown(), why })?;
        let settings = config.namesrv.config_store_path.as_path().to_owned();
        Ok(Namesrv {
            kv_saver: Saver::new(What::Kv, path.to_owned(), files.clone()),
            settings_saver: Saver::new(What::Settings, settings, files),
            routes: Routes::new(Limits::default()),
            kv,
            config,
            next_scan: now.mono + FIRST_SCAN,
            stopping: false,
            refused: 0,
        })
    }

    /// The route table, for health pages and the simulator's checks.
    pub fn routes(&self) -> &Routes {
        &self.routes
    }

    /// Whether `peer` may ask for what a row needs. Administration and cluster traffic are answered to the
    /// networks that the operator named; the rest to everyone, as in the original.
    fn may(&mut self, peer: &Peer, row: &RpcInfo) -> Result<(), Fail> {
        let open = !matches!(row.need, Need::Admin | Need::Cluster);
        if open || self.config.namesrv.admin_networks.contains(peer.addr.ip()) {
            return Ok(());
        }
        if self.refused == 0 {
            warn!(peer = %peer.addr, request = row.name, "refused: the address is not in adminNetworks");
        }
        self.refused += 1;
        Err(Fail::new(
            code::NO_PERMISSION,
            format!(
                "{} is not answered to {}: add its network to the key adminNetworks of the name server and \
                 restart it",
                row.name,
                peer.addr.ip()
            ),
        ))
    }

    /// What of a request is judged without its body: the code, the sender, the body's length. Access keys, when
    /// there are some, belong here, too.
    fn admit(&mut self, peer: &Peer, row: &RpcInfo, body_bytes: usize) -> Result<(), Fail> {
        self.may(peer, row)?;
        row.check_body(body_bytes)
    }

    fn on_request(&mut self, now: Now, peer: &Peer, request: &Request<'_>, out: &mut Outbox<Save>) {
        let Some(row) = row(request.header.code) else {
            return request.refuse(&Fail::not_supported(request.header.code), false, out);
        };
        let has_ext = !row.reply.is_empty();
        let admitted = self.admit(peer, row, request.body.len());
        match admitted.and_then(|()| self.answer(now, peer, request)) {
            Ok(Answer { body: Body::WhenSaved(what), .. }) => {
                let waiter = Waiter { conn: peer.conn, reply: request.reply() };
                self.saver(what).wait(waiter);
            }
            Ok(answer) => request.answer(answer, has_ext, out),
            Err(fail) => request.refuse(&fail, has_ext, out),
        }
    }

    fn saver(&mut self, what: What) -> &mut Saver {
        match what {
            What::Kv => &mut self.kv_saver,
            What::Settings => &mut self.settings_saver,
        }
    }

    /// Hands out the writes that are due.
    fn save(&mut self, out: &mut Outbox<Save>) {
        let (kv, config) = (&self.kv, &self.config);
        self.kv_saver.start(|| kv.text(), out);
        self.settings_saver.start(|| kerolox_config::export(config), out);
    }

    fn log_dropped(why: &'static str, dropped: &[Dropped]) {
        for Dropped { address, broker, id, .. } in dropped {
            info!(%broker, id, %address, why, "broker dropped");
        }
    }
}

/// The row of a code, if a name server may serve it.
fn row(code: i32) -> Option<&'static RpcInfo> {
    rpc::info(code).filter(|row| row.server == Server::Namesrv)
}

/// A request that was read, and what its answer needs of it.
struct Request<'a> {
    codec: Codec,
    header: Header,
    body: &'a [u8],
    conn: ConnId,
}

/// Where and how an answer goes that leaves later; `None` for a one-way request.
type Reply = Option<(Codec, i32)>;

impl Request<'_> {
    fn reply(&self) -> Reply {
        (!self.header.is_oneway()).then_some((self.codec, self.header.opaque))
    }

    fn refuse(&self, fail: &Fail, has_ext: bool, out: &mut Outbox<Save>) {
        out.send(self.conn, |buffer| refuse(self.codec, &self.header, fail, has_ext, buffer));
    }

    fn answer(&self, answer: Answer, has_ext: bool, out: &mut Outbox<Save>) {
        let mut header = Header::answer(code::SUCCESS, self.header.opaque);
        header.remark = answer.remark;
        header.ext = answer.ext.or_else(|| has_ext.then(Ext::default));
        match answer.body {
            Body::None | Body::WhenSaved(_) => self.send(&header, &[], out),
            Body::Own(body) => self.send(&header, &body, out),
            Body::Shared(body) => self.send(&header, &body, out),
        }
    }

    fn send(&self, header: &Header, body: &[u8], out: &mut Outbox<Save>) {
        if !self.header.is_oneway() {
            out.send(self.conn, |buffer| header.write_frame(self.codec, body, buffer));
        }
    }
}

/// Writes a refusal, unless nobody wants an answer.
fn refuse(codec: Codec, asked: &Header, fail: &Fail, has_ext: bool, into: &mut Vec<u8>) {
    if asked.is_oneway() {
        return;
    }
    let mut header = Header::answer(fail.code, asked.opaque);
    header.remark = Some(fail.remark.clone());
    header.ext = has_ext.then(Ext::default);
    header.write_frame(codec, &[], into);
}

impl Service for Namesrv {
    type Job = Save;

    fn judge(&mut self, _: Now, peer: &Peer, opening: &Opening<'_>) -> Judgement {
        let Ok(header) = Header::decode(opening.codec, opening.header) else {
            return Judgement::Close(UNREADABLE);
        };
        if header.is_response() {
            return Judgement::Refuse(Vec::new());
        }
        let row = row(header.code);
        let judged = match row {
            Some(row) => self.admit(peer, row, opening.body_bytes),
            None => Err(Fail::not_supported(header.code)),
        };
        let Err(fail) = judged else { return Judgement::Take };
        let has_ext = row.is_some_and(|row| !row.reply.is_empty());
        let mut answer = Vec::new();
        refuse(opening.codec, &header, &fail, has_ext, &mut answer);
        Judgement::Refuse(answer)
    }

    fn on_frame(&mut self, now: Now, peer: &Peer, frame: Frame<'_>, out: &mut Outbox<Save>) {
        let Ok(header) = Header::decode(frame.codec, frame.header) else {
            return out.close(peer.conn, UNREADABLE);
        };
        // A name server asks nobody anything, so nobody has anything to answer.
        if header.is_response() {
            return;
        }
        let request = Request { codec: frame.codec, header, body: frame.body, conn: peer.conn };
        self.on_request(now, peer, &request, out);
    }

    fn on_batch_end(&mut self, _: Now, out: &mut Outbox<Save>) {
        self.save(out);
    }

    fn on_closed(&mut self, _: Now, conn: ConnId, _: &mut Outbox<Save>) {
        self.kv_saver.forget(conn);
        self.settings_saver.forget(conn);
        Self::log_dropped("its connection is closed", &self.routes.closed(conn));
    }

    fn on_link(&mut self, _: Now, _: &str, _: LinkEvent<'_>, _: &mut Outbox<Save>) {}

    fn on_done(&mut self, _: Now, done: Saved, out: &mut Outbox<Save>) {
        if let Err(why) = &done.result {
            warn!(%why, "a change is in effect but could not be saved");
        }
        self.saver(done.what).done(&done.result, out);
        self.save(out);
    }

    fn on_timer(&mut self, now: Now, out: &mut Outbox<Save>) {
        if now.mono < self.next_scan {
            return;
        }
        self.next_scan = now.mono + SCAN_PAUSE;
        let dropped = self.routes.expire(now.mono);
        Self::log_dropped("it was silent for 120 s", &dropped);
        for Dropped { conn, .. } in dropped {
            out.close(conn, "its broker was silent for 120 s");
        }
        let refused = std::mem::take(&mut self.refused);
        if refused > 1 {
            warn!(refused, "requests from addresses outside adminNetworks were refused");
        }
    }

    fn next_timer(&self) -> Option<Millis> {
        (!self.stopping).then_some(self.next_scan)
    }

    fn on_stop(&mut self, _: Now, out: &mut Outbox<Save>) {
        self.stopping = true;
        self.save(out);
    }

    fn is_stopped(&self) -> bool {
        self.stopping && self.kv_saver.is_idle() && self.settings_saver.is_idle()
    }
}
