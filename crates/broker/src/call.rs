//! One request on its way through the broker, and the trait its handler implements.
//!
//! Knows frames and headers; knows no state of the broker. A handler is a plain function from (broker, call,
//! typed header) to a reply or a [`Fail`]. It neither writes to a socket nor waits: when it appended to the
//! log or changed a table that survives, the dispatcher holds its reply back until that is written.

use crate::{
    Broker,
    answer::{Answer, Ticket},
    jobs::BrokerJob,
};
use kerolox_net::{Now, Outbox, Peer};
use kerolox_protocol::{
    Fail, code,
    frame::Codec,
    header::{Fields, Header},
    rpc::Rpc,
};

/// Where handlers put what they want sent or done.
pub type Out = Outbox<BrokerJob>;

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
    /// Code 0 for what may have been so before, because it was asked for twice: as soon as all is written that was
    /// appended for it, whoever asked first.
    Stands(F),
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
    pub run: fn(&mut Broker, &Call<'_>, &mut Out) -> Result<Option<Ready>, Fail>,
}

/// An answer that its handler has given.
#[derive(Debug)]
pub struct Ready {
    pub(crate) answer: Answer,
    /// It rests on what was appended before, too.
    pub(crate) stands: bool,
}

/// The handler of `R`.
pub const fn handler<R: Rpc>() -> Handler
where
    Broker: Handle<R>,
{
    Handler { code: R::CODE, run: run::<R> }
}

fn run<R: Rpc>(broker: &mut Broker, call: &Call<'_>, out: &mut Out) -> Result<Option<Ready>, Fail>
where
    Broker: Handle<R>,
{
    let request = call.header.fields::<R::Request>()?;
    let (code, fields, body, remark, stands) = match broker.handle(call, request, out)? {
        Reply::Later => return Ok(None),
        Reply::Now { code, fields, body, remark } => (code, fields, body, remark, false),
        Reply::Stands(fields) => (code::SUCCESS, fields, Vec::new(), None, true),
    };
    // A header class exists or not; where it exists, even an empty map is sent.
    let ext = (!<R::Reply as Fields>::FIELDS.is_empty()).then(|| fields.to_ext());
    Ok(Some(Ready { answer: Answer { code, ext, remark, body }, stands }))
}

/// Lists the RPCs that a file serves: `handlers![QueryMessage, ViewMessage]` gives its `HANDLERS`.
macro_rules! handlers {
    ($($rpc:ty),* $(,)?) => {
        /// RPCs served in this file.
        pub const HANDLERS: &[$crate::call::Handler] = &[ $( $crate::call::handler::<$rpc>(), )* ];
    };
}
pub(crate) use handlers;
