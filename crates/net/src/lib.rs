//! Framed connections, the server loop and outgoing links.
//!
//! Owns sockets and nothing else. What to answer is decided by a [`Service`]: a state machine that is handed
//! whole frames with the time and fills an [`Outbox`]. The loop here and the simulator drive the same
//! services; a service never sees a socket, a thread or a clock.

pub mod service;

pub use service::{ConnId, Fill, Job, Lane, LinkEvent, Now, Outbox, Peer, Service};
