//! One request on its way through the broker, and the trait its handler implements.
//!
//! Knows frames and headers; knows no state of the broker. A handler is a plain function from (broker, call,
//! typed header) to a reply or a [`Fail`]. It neither writes to a socket nor waits: when it appended to the
//! log or changed a table that survives, the dispatcher holds its reply back until that is written.

use crate::{Broker, answer};
use kerolox_net::{ConnId, Now, Outbox, Peer};
use kerolox_protocol::{
    body::BodyError,
    code,
    frame::Codec,
    header::{FieldError, Fields, Header},
    rpc::Rpc,
};

/// Where handlers put what they want sent or done.
pub type Out = Outbox<crate::jobs::BrokerJob>;

/// A request.
#[derive(Debug, Clone, Copy)]
pub struct Call<'a> {
    /// When it came.
    pub now: Now,
    /// Who sent it.
    pub peer: Peer,
    /// How its header was written; the answer's will be, too.
    pub codec: Codec,
    /// Its header.
    pub header: &'a Header,
    /// Its body.
    pub body: &'a [u8],
}

impl Call<'_> {
    /// What is needed to answer later.
    pub fn ticket(&self) -> Ticket {
        Ticket {
            conn: self.peer.conn,
            codec: self.codec,
            opaque: self.header.opaque,
            oneway: self.header.is_oneway(),
        }
    }
}

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

/// A refusal: a response code and the cause, with the way out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fail {
    /// Response code.
    pub code: i32,
    /// What the caller reads.
    pub remark: String,
}

impl Fail {
    /// A refusal.
    pub fn new(code: i32, remark: impl Into<String>) -> Fail {
        Fail { code, remark: remark.into() }
    }
    /// Code 1.
    pub fn error(remark: impl Into<String>) -> Fail {
        Fail::new(code::SYSTEM_ERROR, remark)
    }
    /// Code 2.
    pub fn busy(remark: impl Into<String>) -> Fail {
        Fail::new(code::SYSTEM_BUSY, remark)
    }
}

impl From<FieldError> for Fail {
    fn from(why: FieldError) -> Fail {
        Fail::error(why.to_string())
    }
}

impl From<BodyError> for Fail {
    fn from(why: BodyError) -> Fail {
        Fail::error(why.to_string())
    }
}

/// What a handler answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply<F> {
    /// This, as soon as what the handler appended is written.
    Now {
        /// Response code, of the successful kind.
        code: i32,
        /// Typed header.
        fields: F,
        /// Body.
        body: Vec<u8>,
        /// Rarely used text.
        remark: Option<String>,
    },
    /// Somebody kept the [`Ticket`] and will answer.
    Later,
}

impl<F> Reply<F> {
    /// Code 0 with a header.
    pub fn ok(fields: F) -> Reply<F> {
        Reply::Now { code: code::SUCCESS, fields, body: Vec::new(), remark: None }
    }
    /// Code 0 with a header and a body.
    pub fn with_body(fields: F, body: Vec<u8>) -> Reply<F> {
        Reply::Now { code: code::SUCCESS, fields, body, remark: None }
    }
}

/// A request code that is served here. Implemented beside the state it needs; listed by [`handlers!`] in the
/// same file.
pub trait Handle<R: Rpc> {
    /// Serves one request. The permission of its row has been checked.
    fn handle(
        &mut self,
        call: &Call<'_>,
        request: R::Request,
        out: &mut Out,
    ) -> Result<Reply<R::Reply>, Fail>;
}

/// A handler without its types: what the dispatch table holds.
#[derive(Clone, Copy)]
pub struct Handler {
    /// Request code.
    pub code: i32,
    /// Runs it and gives the answer as a frame without its place in time; `None` when somebody answers later.
    pub run: fn(&mut Broker, &Call<'_>, &mut Out) -> Result<Option<answer::Answer>, Fail>,
}

/// The handler of `R`.
pub const fn handler<R: Rpc>() -> Handler
where
    Broker: Handle<R>,
{
    Handler { code: R::CODE, run: run::<R> }
}

fn run<R: Rpc>(broker: &mut Broker, call: &Call<'_>, out: &mut Out) -> Result<Option<answer::Answer>, Fail>
where
    Broker: Handle<R>,
{
    let request = call.header.fields::<R::Request>()?;
    match broker.handle(call, request, out)? {
        Reply::Later => Ok(None),
        Reply::Now { code, fields, body, remark } => {
            // A header class exists or not; where it exists, even an empty map is sent.
            let ext = (!<R::Reply as Fields>::FIELDS.is_empty()).then(|| fields.to_ext());
            Ok(Some(answer::Answer { code, ext, remark, body }))
        }
    }
}

/// Lists the RPCs that a file serves: `handlers![QueryMessage, ViewMessage]` gives its `HANDLERS`.
macro_rules! handlers {
    ($($rpc:ty),* $(,)?) => {
        /// RPCs served in this file.
        pub const HANDLERS: &[$crate::call::Handler] = &[ $( $crate::call::handler::<$rpc>(), )* ];
    };
}
pub(crate) use handlers;
