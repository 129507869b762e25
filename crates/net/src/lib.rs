//! Framed connections, the server loop and outgoing links.
//!
//! Owns sockets and nothing else. What to answer is decided by a [`Service`]: a state machine that is handed
//! whole frames with the time and fills an [`Outbox`]. The loop here and the simulator drive the same
//! services; a service never sees a socket, a thread or a clock.
//!
//! | Room | What |
//! |---|---|
//! | [`service`] | the seam, pure |
//! | [`limits`], [`buffers`] | rules and byte handling, pure; for other drivers too |
//! | [`listen`], [`options`], [`server`] | from outside: bind, run, stop |
//! | `driver` | the loop; `conns`, `links`, `transport` are what it holds |
//! | `workers`, `mailbox`, `message` | threads that may block, and the way back from them |
//! | [`clock`] | the only reader of the machine's clocks |

pub mod buffers;
pub mod clock;
mod conns;
mod driver;
pub mod limits;
mod links;
pub mod listen;
mod load;
mod mailbox;
mod message;
pub mod options;
mod poll;
pub mod server;
pub mod service;
mod transport;
mod workers;

pub use clock::{Clock, System};
pub use limits::Limits;
pub use listen::{BindError, Bound, Listeners, SocketOptions, raise_open_files};
pub use options::Options;
pub use server::{Handle, Running, Server};
pub use service::{
    ConnId, Fill, Inlet, Job, Judgement, Lane, LinkEvent, NoJob, Now, Outbox, Part, Peer, Service,
};
