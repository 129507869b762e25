//! One non-blocking byte stream: the only place that reads from and writes to connections.
//!
//! This is where encryption will come in: a second variant holds the session and does its reads and writes
//! through the same two methods, chosen when [`is_client_hello`] sees the first byte of a new connection.

use rustix::{
    fd::{AsFd, BorrowedFd, OwnedFd},
    io::Errno,
    net::{RecvFlags, SendFlags, Shutdown, recv, send, shutdown},
};
use std::io;

/// Reads that a closing connection may still cost.
const DRAIN_READS_MAX: usize = 16;

/// A connected stream.
#[derive(Debug)]
pub(crate) enum Transport {
    /// Bytes as they are.
    Plain(OwnedFd),
}

/// What a read found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Read {
    /// So many bytes.
    Bytes(usize),
    /// The peer has closed its side.
    End,
    /// Nothing now.
    Later,
}

impl Transport {
    /// Reads what is there, at most `into`.
    pub(crate) fn read(&self, into: &mut [u8]) -> io::Result<Read> {
        let Transport::Plain(fd) = self;
        match recv(fd, into, RecvFlags::empty()) {
            Ok((_, 0)) => Ok(Read::End),
            Ok((_, n)) => Ok(Read::Bytes(n)),
            Err(Errno::AGAIN | Errno::INTR) => Ok(Read::Later),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Writes what fits, possibly nothing.
    pub(crate) fn write(&self, from: &[u8]) -> io::Result<usize> {
        let Transport::Plain(fd) = self;
        match send(fd, from, SendFlags::NOSIGNAL | SendFlags::DONTWAIT) {
            Ok(n) => Ok(n),
            Err(Errno::AGAIN | Errno::INTR) => Ok(0),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Ends the stream so that what was written still arrives: closing with unread bytes would reset the
    /// connection, and a reset destroys answers the peer has not read yet.
    pub(crate) fn finish(self, scratch: &mut [u8]) {
        let Transport::Plain(fd) = &self;
        // A peer that is already gone makes these fail, and then there is nothing to save.
        let _ = shutdown(fd, Shutdown::Write);
        for _ in 0..DRAIN_READS_MAX {
            if !matches!(self.read(scratch), Ok(Read::Bytes(_))) {
                break;
            }
        }
    }
}

impl AsFd for Transport {
    fn as_fd(&self) -> BorrowedFd<'_> {
        let Transport::Plain(fd) = self;
        fd.as_fd()
    }
}

/// Whether the first bytes of a connection begin a TLS handshake. A frame that begins with this byte would be
/// longer than 369 MB, which no limit allows.
pub(crate) fn is_client_hello(first: &[u8]) -> bool {
    first.first() == Some(&0x16)
}
