//! The production loop over real sockets. Nothing here sleeps: a test waits for an answer, a closed socket, or
//! what the service saw, and moves a virtual clock where time matters.

mod limits;
mod links;
mod serving;
mod support;
