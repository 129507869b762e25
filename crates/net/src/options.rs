//! What a server is told at its start.

use crate::limits::Limits;

/// Options of one server.
#[derive(Debug, Clone)]
pub struct Options {
    /// Short name for threads and log lines, as `broker`. Thread names show 15 bytes.
    pub name: &'static str,
    /// What connections may cost.
    pub limits: Limits,
    /// Bytes read at once; one such buffer per loop.
    pub read_bytes: usize,
    /// Threads that read cold files.
    pub readers: usize,
    /// Microseconds for which a loop with nothing to do looks again before it sleeps, while that pays; 0: never.
    pub busy_poll_micros: u64,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            name: "net",
            limits: Limits::default(),
            read_bytes: 256 * 1024,
            readers: 2,
            busy_poll_micros: 0,
        }
    }
}
