//! The framed echo: the machine's limit for a request shape, with no store behind it.
//!
//! Reads large chunks, finds the frames, answers each with a broker's answer whose number is patched, one
//! write per chunk. Nothing here can be done with less work, so what it reaches is the limit.

use crate::{load::code_and_opaque, template};
use anyhow::{Context, Result};
use kerolox_protocol::frame::{Codec, FRAME_BYTES_MAX, Split, split};
use rustix::event::epoll;
use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, ErrorKind, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    process::{Command, Stdio},
};

/// The echo server in a process of its own, ended with this value.
pub struct Child {
    process: std::process::Child,
    /// Where it listens.
    pub addr: SocketAddr,
}

impl Child {
    /// Starts this program again as an echo server.
    pub fn start() -> Result<Child> {
        let program = std::env::current_exe().context("find this program")?;
        let mut process = Command::new(program)
            .args(["bench", "echo-server"])
            .stdout(Stdio::piped())
            .spawn()
            .context("start the echo server")?;
        let output = process.stdout.take().context("the echo server's output")?;
        let mut line = String::new();
        BufReader::new(output).read_line(&mut line)?;
        let addr = line.trim().rsplit(' ').next().and_then(|addr| addr.parse().ok());
        Ok(Child { process, addr: addr.with_context(|| format!("the echo server said {line:?}"))? })
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.process.id()
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // It may be gone already; either way it is not left behind.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

struct Conn {
    socket: TcpStream,
    input: Vec<u8>,
    output: Vec<u8>,
}

const LISTENER: u64 = u64::MAX;

/// Serves until the process is ended.
pub fn serve(port: u16, ready: impl FnOnce(SocketAddr)) -> Result<()> {
    let listener =
        TcpListener::bind(("127.0.0.1", port)).with_context(|| format!("listen on 127.0.0.1:{port}"))?;
    listener.set_nonblocking(true)?;
    ready(listener.local_addr()?);
    let poll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    epoll::add(&poll, &listener, epoll::EventData::new_u64(LISTENER), epoll::EventFlags::IN)?;
    let answers = [template::echo_answer(Codec::Json), template::echo_answer(Codec::Binary)];
    let mut conns: BTreeMap<u64, Conn> = BTreeMap::new();
    let mut next = 0;
    let mut events = Vec::with_capacity(1024);
    let mut chunk = vec![0; 256 * 1024];
    loop {
        events.clear();
        match epoll::wait(&poll, rustix::buffer::spare_capacity(&mut events), None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(why) => return Err(why.into()),
        }
        for event in &events {
            let key = event.data.u64();
            if key == LISTENER {
                while let Ok((socket, _)) = listener.accept() {
                    socket.set_nonblocking(true)?;
                    socket.set_nodelay(true)?;
                    let flags = epoll::EventFlags::IN;
                    epoll::add(&poll, &socket, epoll::EventData::new_u64(next), flags)?;
                    conns.insert(next, Conn { socket, input: vec![], output: vec![] });
                    next += 1;
                }
            } else if let Some(conn) = conns.get_mut(&key)
                && conn.turn(&mut chunk, &answers).is_err()
            {
                conns.remove(&key);
            }
        }
    }
}

impl Conn {
    fn turn(&mut self, chunk: &mut [u8], answers: &[(Vec<u8>, usize); 2]) -> Result<()> {
        match self.socket.read(chunk) {
            Ok(0) => anyhow::bail!("closed"),
            Ok(got) if self.input.is_empty() => {
                let used = echo(&chunk[..got], answers, &mut self.output)?;
                self.input.extend_from_slice(&chunk[used..got]);
            }
            Ok(got) => {
                self.input.extend_from_slice(&chunk[..got]);
                let used = echo(&self.input, answers, &mut self.output)?;
                self.input.drain(..used);
            }
            Err(why) if why.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(why) => return Err(why.into()),
        }
        let mut written = 0;
        while written < self.output.len() {
            match self.socket.write(&self.output[written..]) {
                Ok(n) => written += n,
                // A loader reads its answers at once; a short spin is simpler than a second state.
                Err(why) if why.kind() == ErrorKind::WouldBlock => std::thread::yield_now(),
                Err(why) => return Err(why.into()),
            }
        }
        self.output.clear();
        Ok(())
    }
}

fn echo(bytes: &[u8], answers: &[(Vec<u8>, usize); 2], out: &mut Vec<u8>) -> Result<usize> {
    let mut used = 0;
    while let Split::Whole(frame, taken) = split(&bytes[used..], FRAME_BYTES_MAX)? {
        used += taken;
        let (_, opaque) = code_and_opaque(frame).context("no opaque")?;
        let (answer, at) = &answers[frame.codec as usize];
        let start = out.len();
        out.extend_from_slice(answer);
        match frame.codec {
            Codec::Json => template::put_digits(&mut out[start + at..start + at + 10], u64::from(opaque)),
            Codec::Binary => out[start + at..start + at + 4].copy_from_slice(&opaque.to_be_bytes()),
        }
    }
    Ok(used)
}
