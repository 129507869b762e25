//! What is answered, to whom, and how that and own requests are written.
//!
//! Plain values. Knows the frame and the two header codecs; knows no request and no state of the broker. The hottest answers, of sends and pulls, are written without a map
//! by [`kerolox_protocol::scan::answer`].

use kerolox_net::{ConnId, Outbox};
use kerolox_protocol::{
    Fail, code,
    frame::Codec,
    header::{Ext, FLAG_ONEWAY, Header},
};

/// Where an answer goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ticket {
    /// The connection.
    pub conn: ConnId,
    /// How its header is written.
    pub codec: Codec,
    /// Echoed.
    pub opaque: i32,
    /// Nothing is answered.
    pub oneway: bool,
}

/// An answer that still lacks its address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Response code.
    pub code: i32,
    /// The map; `None` where the answer has no header class.
    pub ext: Option<Ext>,
    /// Text.
    pub remark: Option<String>,
    /// Body.
    pub body: Vec<u8>,
}

impl Answer {
    /// Code 0 without a header class.
    pub fn done() -> Answer {
        Answer { code: code::SUCCESS, ext: None, remark: None, body: Vec::new() }
    }

    /// Appends the frame to `out`, unless the request wanted none.
    pub fn write(&self, to: &Ticket, out: &mut Vec<u8>) {
        if to.oneway {
            return;
        }
        let mut header = Header::answer(self.code, to.opaque);
        header.ext.clone_from(&self.ext);
        header.remark.clone_from(&self.remark);
        header.write_frame(to.codec, &self.body, out);
    }

    /// Sends it.
    pub fn send<J>(&self, to: &Ticket, out: &mut Outbox<J>) {
        out.send(to.conn, |buffer| self.write(to, buffer));
    }
}

impl From<Fail> for Answer {
    /// Refusals carry an empty map: Java prints a header class without values as `{}`.
    fn from(fail: Fail) -> Answer {
        Answer { code: fail.code, ext: Some(Ext::default()), remark: Some(fail.remark), body: Vec::new() }
    }
}

/// Sends a one-way request of the broker to a client. JSON, which every client reads whatever it sends.
pub fn notify<J>(conn: ConnId, code: i32, opaque: i32, ext: Ext, body: &[u8], out: &mut Outbox<J>) {
    let mut header = Header::request(code, opaque, Some(ext));
    header.flag = FLAG_ONEWAY;
    out.send(conn, |buffer| header.write_frame(Codec::Json, body, buffer));
}
