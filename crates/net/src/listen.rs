//! Listening sockets: made before the service, so that it can be told the ports it got.
//!
//! Knows addresses and socket options; accepts nothing itself.

use rustix::{
    fd::OwnedFd,
    io::Errno,
    net::{
        AddressFamily, SocketAddrAny, SocketFlags, SocketType, bind, getsockname, listen, socket_with,
        sockopt,
    },
    process::{Resource, getrlimit, setrlimit},
};
use std::{fmt, io, net::SocketAddr};

/// Options of listening and accepted sockets.
#[derive(Debug, Clone)]
pub struct SocketOptions {
    /// Connections that may wait to be accepted.
    pub backlog: i32,
    /// Send buffer of accepted connections in bytes; `None` leaves it to the kernel's own tuning.
    pub send_buffer_bytes: Option<usize>,
    /// Receive buffer of accepted connections in bytes; `None` leaves it to the kernel's own tuning.
    pub recv_buffer_bytes: Option<usize>,
}

impl Default for SocketOptions {
    fn default() -> Self {
        SocketOptions { backlog: 1024, send_buffer_bytes: None, recv_buffer_bytes: None }
    }
}

/// A server cannot listen where it was told to.
#[derive(Debug)]
pub struct BindError {
    /// The address that was asked for.
    pub addr: SocketAddr,
    /// What the system said.
    pub cause: io::Error,
}

impl fmt::Display for BindError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot listen on {}: ", self.addr)?;
        match Errno::from_io_error(&self.cause) {
            Some(Errno::ADDRINUSE) => {
                let port = self.addr.port();
                write!(
                    f,
                    "port {port} is in use, probably by another server; stop that one or set another port"
                )
            }
            Some(Errno::ADDRNOTAVAIL) => {
                write!(
                    f,
                    "no network interface has the address {}; set one that this host has",
                    self.addr.ip()
                )
            }
            Some(Errno::ACCESS) => {
                write!(f, "permission denied; ports below 1024 need privileges, set a higher one")
            }
            _ => write!(f, "{}", self.cause),
        }
    }
}

impl std::error::Error for BindError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.cause)
    }
}

/// Ports that are taken and not served yet: whoever connects is refused, as by a server that is not there, and may
/// try another. Dropping it frees them.
#[derive(Debug)]
pub struct Bound {
    sockets: Vec<Listener>,
    backlog: i32,
}

impl Bound {
    /// Takes every address, or none. Port 0 lets the system choose one.
    pub fn take(addrs: &[SocketAddr], options: &SocketOptions) -> Result<Bound, BindError> {
        let one =
            |addr: &SocketAddr| bind_to(*addr, options).map_err(|cause| BindError { addr: *addr, cause });
        let sockets = addrs.iter().map(one).collect::<Result<_, _>>()?;
        Ok(Bound { sockets, backlog: options.backlog })
    }

    /// The addresses in the order they were asked for, with the ports the system chose.
    pub fn addrs(&self) -> Vec<SocketAddr> {
        self.sockets.iter().map(|listener| listener.addr).collect()
    }

    /// From now on connections are taken. Of two servers that took a port at the same moment, one is refused here.
    pub fn listen(self) -> Result<Listeners, BindError> {
        for Listener { fd, addr } in &self.sockets {
            listen(fd, self.backlog).map_err(|cause| BindError { addr: *addr, cause: cause.into() })?;
        }
        Ok(Listeners { sockets: self.sockets })
    }
}

/// Sockets that listen; dropping it frees the ports.
#[derive(Debug)]
pub struct Listeners {
    pub(crate) sockets: Vec<Listener>,
}

/// One listening socket.
#[derive(Debug)]
pub(crate) struct Listener {
    pub(crate) fd: OwnedFd,
    pub(crate) addr: SocketAddr,
}

impl Listeners {
    /// Listens on every address, or on none. Port 0 lets the system choose one.
    pub fn bind(addrs: &[SocketAddr], options: &SocketOptions) -> Result<Listeners, BindError> {
        Bound::take(addrs, options)?.listen()
    }

    /// The addresses in the order they were asked for, with the ports the system chose.
    pub fn addrs(&self) -> Vec<SocketAddr> {
        self.sockets.iter().map(|listener| listener.addr).collect()
    }
}

/// Raises the process's limit of open files to what the system allows, as many connections need; returns the
/// limit now. Call it once at start.
pub fn raise_open_files() -> u64 {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    // What is refused stays as it was.
    let _ = setrlimit(Resource::Nofile, limit);
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

fn bind_to(addr: SocketAddr, options: &SocketOptions) -> io::Result<Listener> {
    let fd = stream_socket(addr)?;
    // A restarted server must not wait for the old one's last connections to be forgotten.
    sockopt::set_socket_reuseaddr(&fd, true)?;
    // Buffer sizes are inherited by accepted sockets, and must be set before the window is negotiated.
    if let Some(bytes) = options.send_buffer_bytes {
        sockopt::set_socket_send_buffer_size(&fd, bytes)?;
    }
    if let Some(bytes) = options.recv_buffer_bytes {
        sockopt::set_socket_recv_buffer_size(&fd, bytes)?;
    }
    bind(&fd, &addr)?;
    let addr = socket_addr(getsockname(&fd)?).unwrap_or(addr);
    Ok(Listener { fd, addr })
}

/// A non-blocking TCP socket of the family of `addr`.
pub(crate) fn stream_socket(addr: SocketAddr) -> io::Result<OwnedFd> {
    let family = if addr.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    Ok(socket_with(family, SocketType::STREAM, flags, None)?)
}

/// The address as the standard library has it.
pub(crate) fn socket_addr(addr: SocketAddrAny) -> Option<SocketAddr> {
    SocketAddr::try_from(addr).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_that_is_taken_is_served_only_from_listen_on() {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let bound = Bound::take(&[any], &SocketOptions::default()).unwrap();
        let addr = bound.addrs()[0];
        let refused = std::net::TcpStream::connect(addr).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
        // Another one may take it at the same moment, but only one of them gets it.
        let second = Bound::take(&[addr], &SocketOptions::default());
        let listeners = bound.listen().unwrap();
        assert_eq!(listeners.addrs(), [addr]);
        assert!(std::net::TcpStream::connect(addr).is_ok());
        let why = second.and_then(Bound::listen).unwrap_err().to_string();
        assert!(why.contains("in use"), "{why}");
    }

    #[test]
    fn the_limit_of_open_files_becomes_the_largest_allowed() {
        let allowed = getrlimit(Resource::Nofile).maximum.unwrap_or(u64::MAX);
        assert_eq!(raise_open_files(), allowed);
    }

    #[test]
    fn a_busy_port_is_named_with_its_way_out() {
        let addr = SocketAddr::from(([127, 0, 0, 1], 0));
        let first = Listeners::bind(&[addr], &SocketOptions::default()).unwrap();
        let taken = first.addrs()[0];
        let error = Listeners::bind(&[addr, taken], &SocketOptions::default()).unwrap_err();
        assert_eq!(error.addr, taken);
        let text = error.to_string();
        let port = taken.port();
        assert_eq!(
            text,
            format!(
                "cannot listen on {taken}: port {port} is in use, probably by another server; \
                 stop that one or set another port"
            )
        );
        drop(first);
        Listeners::bind(&[taken], &SocketOptions::default()).unwrap();
    }

    #[test]
    fn a_foreign_address_is_named_with_its_way_out() {
        let addr = SocketAddr::from(([192, 0, 2, 1], 0));
        let error = Listeners::bind(&[addr], &SocketOptions::default()).unwrap_err();
        assert!(error.to_string().contains("no network interface has the address 192.0.2.1"), "{error}");
    }
}
