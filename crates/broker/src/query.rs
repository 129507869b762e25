//! Looking messages up by their place in the log.

use crate::{
    Broker,
    call::{Call, Fail, Handle, Out, Reply, handlers},
};
use kerolox_protocol::{
    LogOffset,
    rpc::consume::{ViewMessageById, ViewRequest},
};

handlers![ViewMessageById];

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
