//! What other threads have to say to the loop.

use crate::{ConnId, Job, Now, Outbox, Service};
use std::net::SocketAddr;

/// Something another thread has for the loop.
pub(crate) enum Message<S: Service> {
    /// End gracefully.
    Stop,
    /// A job has run.
    Done(<S::Job as Job>::Done),
    /// A cold answer is ready.
    Filled(ConnId, Vec<u8>),
    /// The addresses of a link's name.
    Resolved(u64, Result<Vec<SocketAddr>, String>),
    /// A question or an order from inside the process.
    Call(Call<S>),
}

/// What [`Handle::ask`] runs in the loop.
pub(crate) type Call<S> = Box<dyn FnOnce(&mut S, Now, &mut Outbox<<S as Service>::Job>) + Send>;
