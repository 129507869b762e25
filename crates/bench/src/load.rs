//! The loop: one thread, one epoll. Closed, with a fixed number of requests in flight on every connection; or open,
//! with a fixed number of requests per second, whose latencies count from the time each was to be sent.

use crate::{facts::Cpu, report::Tally};
use anyhow::{Context, Result, bail};
use kerolox_protocol::frame::{Codec, FRAME_BYTES_MAX, Frame, Split, split};
use rustix::event::epoll;
use std::{
    collections::VecDeque,
    io::{ErrorKind, Read, Write},
    net::{SocketAddr, TcpStream},
    os::fd::OwnedFd,
    time::{Duration, Instant},
};

/// What one connection sends and how it reads answers.
pub trait Script {
    /// Appends the next request, numbered `number`.
    fn request(&mut self, number: u32, out: &mut Vec<u8>);
    /// Judges an answer; returns the messages it stands for.
    fn answer(&mut self, code: i32, frame: Frame<'_>, tally: &mut Tally) -> Result<u64>;
}

struct Conn<S> {
    socket: TcpStream,
    script: S,
    input: Vec<u8>,
    output: Vec<u8>,
    written: usize,
    /// Start times by request number modulo the window.
    started: Vec<Option<Instant>>,
    next: u32,
    pace: Option<Pace>,
    wants_write: bool,
    data: epoll::EventData,
}

/// When requests are to be sent, in an open loop.
struct Pace {
    next: Instant,
    step: Duration,
    /// Numbers whose slots are free.
    free: VecDeque<u32>,
}

/// Waits no shorter than this for the next request of an open loop.
const TICK: Duration = Duration::from_micros(20);

/// Runs the scripts, one connection each, for the warm-up and the counted time, or until so many messages were
/// counted; returns the time counted and the CPU before and after.
pub fn run<S: Script>(
    addr: SocketAddr,
    scripts: Vec<S>,
    (window, rate): (usize, Option<f64>),
    ((warmup, counted), most): ((Duration, Duration), Option<u64>),
    server_pid: Option<u32>,
    tally: &mut Tally,
) -> Result<(Duration, Cpu, Cpu)> {
    let poll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    let mut conns = Vec::new();
    for (n, script) in scripts.into_iter().enumerate() {
        conns.push(connect(addr, script, window, &poll, n as u64)?);
    }
    let began = Instant::now();
    let count = conns.len();
    for (n, conn) in conns.iter_mut().enumerate() {
        match rate {
            Some(rate) => {
                let step = Duration::from_secs_f64(count as f64 / rate);
                let next = began + step.mul_f64(n as f64 / count as f64);
                conn.pace = Some(Pace { next, step, free: (0..window as u32).collect() });
            }
            None => (0..window).for_each(|_| conn.ask(Instant::now())),
        }
        conn.flush(&poll, tally)?;
    }
    let mut counting: Option<(Instant, Cpu)> = None;
    let mut events = Vec::with_capacity(1024);
    let mut chunk = vec![0; 1 << 20];
    loop {
        let now = Instant::now();
        match &counting {
            None if now - began >= warmup => {
                tally.reset();
                counting = Some((Instant::now(), Cpu::read(server_pid)));
            }
            Some((since, before))
                if now - *since >= counted || most.is_some_and(|most| tally.messages >= most) =>
            {
                return Ok((now - *since, *before, Cpu::read(server_pid)));
            }
            _ => {}
        }
        events.clear();
        let mut wait = Duration::from_millis(50);
        if rate.is_some() {
            for conn in conns.iter_mut().filter(|conn| conn.is_due(now)) {
                conn.ask_due(now);
                conn.flush(&poll, tally).with_context(|| format!("write to {addr}"))?;
            }
            let due = conns.iter().filter_map(Conn::due).min();
            wait = due.map_or(wait, |due| due.saturating_duration_since(Instant::now())).clamp(TICK, wait);
        }
        let tick = rustix::event::Timespec { tv_sec: 0, tv_nsec: i64::from(wait.subsec_nanos()) };
        match epoll::wait(&poll, rustix::buffer::spare_capacity(&mut events), Some(&tick)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(why) => return Err(why).context("wait for sockets"),
        }
        if events.is_empty() && tally.requests == 0 && began.elapsed() > Duration::from_secs(20) {
            bail!("{addr} accepted connections but answered nothing for 20 s");
        }
        for event in &events {
            let Some(conn) = conns.get_mut(event.data.u64() as usize) else { continue };
            let flags = event.flags;
            if flags.intersects(epoll::EventFlags::IN | epoll::EventFlags::HUP | epoll::EventFlags::ERR) {
                conn.read(&mut chunk, tally).with_context(|| format!("read from {addr}"))?;
            }
            conn.flush(&poll, tally).with_context(|| format!("write to {addr}"))?;
        }
    }
}

fn connect<S>(addr: SocketAddr, script: S, window: usize, poll: &OwnedFd, n: u64) -> Result<Conn<S>> {
    let socket = TcpStream::connect(addr).with_context(|| format!("connect to {addr}"))?;
    socket.set_nodelay(true)?;
    socket.set_nonblocking(true)?;
    let data = epoll::EventData::new_u64(n);
    epoll::add(poll, &socket, data, epoll::EventFlags::IN)?;
    let started = vec![None; window];
    let (input, output) = (Vec::new(), Vec::new());
    let (next, pace) = (0, None);
    Ok(Conn { socket, script, input, output, written: 0, started, next, pace, wants_write: false, data })
}

impl<S: Script> Conn<S> {
    fn ask(&mut self, since: Instant) {
        let slot = self.next as usize % self.started.len();
        self.script.request(self.next, &mut self.output);
        self.started[slot] = Some(since);
        self.next = self.next.wrapping_add(1) % 1_000_000_000;
    }

    /// When the next request of an open loop is to be sent, if one may be under way.
    fn due(&self) -> Option<Instant> {
        self.pace.as_ref().filter(|pace| !pace.free.is_empty()).map(|pace| pace.next)
    }

    fn is_due(&self, now: Instant) -> bool {
        self.due().is_some_and(|due| due <= now)
    }

    /// Sends what is to be sent by now, as far as the window allows; what is late stays due.
    fn ask_due(&mut self, now: Instant) {
        while self.is_due(now)
            && let Some(pace) = &mut self.pace
            && let Some(number) = pace.free.pop_front()
        {
            let since = pace.next;
            pace.next += pace.step;
            self.next = number;
            self.ask(since);
        }
    }

    fn read(&mut self, chunk: &mut [u8], tally: &mut Tally) -> Result<()> {
        loop {
            let got = match self.socket.read(chunk) {
                Ok(0) => bail!("the server closed the connection"),
                Ok(got) => got,
                Err(why) if why.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(why) if why.kind() == ErrorKind::Interrupted => continue,
                Err(why) => return Err(why.into()),
            };
            tally.received += got as u64;
            // The common case is whole answers: they are judged where they were read.
            if self.input.is_empty() {
                let used = self.judge(&chunk[..got], tally)?;
                self.input.extend_from_slice(&chunk[used..got]);
            } else {
                let mut input = std::mem::take(&mut self.input);
                input.extend_from_slice(&chunk[..got]);
                let used = self.judge(&input, tally)?;
                input.drain(..used);
                self.input = input;
            }
            if got < chunk.len() {
                return Ok(());
            }
        }
    }

    fn judge(&mut self, bytes: &[u8], tally: &mut Tally) -> Result<usize> {
        let mut used = 0;
        while let Split::Whole(frame, taken) = split(&bytes[used..], FRAME_BYTES_MAX)? {
            used += taken;
            let (code, opaque) = code_and_opaque(frame).context("an answer without code or opaque")?;
            let number = opaque.wrapping_sub(crate::template::OPAQUE_BASE);
            let slots = self.started.len();
            let Some(began) = self.started.get_mut(number as usize % slots).and_then(Option::take) else {
                bail!("an answer to a request that is not in flight (opaque {opaque})");
            };
            tally.latency.saturating_record(u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX));
            tally.requests += 1;
            tally.messages += self.script.answer(code, frame, tally)?;
            // The next request takes the slot that has just become free, so numbers stay in step with slots.
            let next = number.wrapping_add(slots as u32) % 1_000_000_000;
            match &mut self.pace {
                Some(pace) => pace.free.push_back(next),
                None => {
                    self.next = next;
                    self.ask(Instant::now());
                }
            }
        }
        Ok(used)
    }

    fn flush(&mut self, poll: &OwnedFd, tally: &mut Tally) -> Result<()> {
        let mut full = false;
        while self.written < self.output.len() && !full {
            match self.socket.write(&self.output[self.written..]) {
                Ok(n) => {
                    self.written += n;
                    tally.sent += n as u64;
                }
                Err(why) if why.kind() == ErrorKind::WouldBlock => full = true,
                Err(why) if why.kind() == ErrorKind::Interrupted => {}
                Err(why) => return Err(why.into()),
            }
        }
        if !full {
            self.output.clear();
            self.written = 0;
        }
        if full != self.wants_write {
            self.wants_write = full;
            let write = if full { epoll::EventFlags::OUT } else { epoll::EventFlags::empty() };
            epoll::modify(poll, &self.socket, self.data, epoll::EventFlags::IN | write)?;
        }
        Ok(())
    }
}

/// Reads the two numbers a closed loop needs, without decoding the rest.
pub fn code_and_opaque(frame: Frame<'_>) -> Option<(i32, u32)> {
    match frame.codec {
        Codec::Json => {
            let code = number_after(frame.header, b"\"code\":")?;
            // It stands near the end of every known server's header, so the search begins there.
            let key = b"\"opaque\":";
            let at = frame.header.windows(key.len()).rposition(|part| part == key)?;
            let opaque = number_after(&frame.header[at..], key)?;
            Some((i32::try_from(code).ok()?, u32::try_from(opaque).ok()?))
        }
        Codec::Binary => {
            let code = i16::from_be_bytes(frame.header.get(..2)?.try_into().ok()?);
            let opaque = u32::from_be_bytes(frame.header.get(5..9)?.try_into().ok()?);
            Some((i32::from(code), opaque))
        }
    }
}

/// The number that follows a key at the top level of a compact header. A key of that text inside a string
/// cannot occur: its quotes would be escaped there.
pub fn number_after(header: &[u8], key: &[u8]) -> Option<i64> {
    let at = header.windows(key.len()).position(|part| part == key)? + key.len();
    let digits = header.get(at..)?;
    let quoted = usize::from(digits.first() == Some(&b'"'));
    let digits = &digits[quoted..];
    let end = digits.iter().position(|b| !(b.is_ascii_digit() || *b == b'-')).unwrap_or(digits.len());
    std::str::from_utf8(&digits[..end]).ok()?.parse().ok()
}
