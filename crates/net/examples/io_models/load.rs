//! A closed loop on raw sockets, one thread: every connection keeps so many requests in flight.

use crate::echo;
use hdrhistogram::Histogram;
use kerolox_protocol::frame::{FRAME_BYTES_MAX, Split, split};
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use std::{
    collections::VecDeque,
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    time::{Duration, Instant},
};

/// Not counted at the start.
const WARM_UP: Duration = Duration::from_millis(300);

/// What a run found.
#[derive(Debug, Clone, Copy)]
pub struct Run {
    /// Answers per second.
    pub rate: f64,
    /// Median time from request to answer, in microseconds.
    pub p50_us: u64,
    /// 99th percentile, in microseconds.
    pub p99_us: u64,
}

struct Conn {
    socket: TcpStream,
    /// All requests that can be in flight, back to back; sent from `sent` to `due` as a ring.
    ring: Vec<u8>,
    sent: u64,
    due: u64,
    next_number: u64,
    expected: u64,
    times: VecDeque<Instant>,
    got: Vec<u8>,
    wants_out: bool,
}

/// Runs `connections` x `in_flight` against `addr`.
pub fn run(addr: SocketAddr, connections: usize, in_flight: u64, time: Duration) -> io::Result<Run> {
    let (request, number_at) = echo::request();
    let size = u64::try_from(request.len()).unwrap_or(u64::MAX);
    let epoll = epoll::create(CreateFlags::CLOEXEC)?;
    let mut conns = Vec::new();
    for token in 0..connections {
        let socket = TcpStream::connect(addr)?;
        socket.set_nodelay(true)?;
        socket.set_nonblocking(true)?;
        epoll::add(&epoll, &socket, EventData::new_u64(token as u64), EventFlags::IN)?;
        conns.push(Conn {
            socket,
            ring: request.repeat(usize::try_from(in_flight).unwrap_or(1)),
            sent: 0,
            due: 0,
            next_number: echo::FIRST,
            expected: echo::FIRST,
            times: VecDeque::new(),
            got: Vec::new(),
            wants_out: false,
        });
    }
    let start = Instant::now();
    for (token, conn) in conns.iter_mut().enumerate() {
        conn.demand(in_flight, size, number_at, start);
        conn.push(&epoll, token as u64)?;
    }
    let mut histogram = Histogram::<u64>::new_with_bounds(1, 60_000_000, 3).map_err(io::Error::other)?;
    let mut events: Vec<Event> = Vec::with_capacity(256);
    let mut buffer = vec![0; 256 * 1024];
    let (mut answers, mut counted_since) = (0u64, None);
    loop {
        events.clear();
        epoll::wait(&epoll, rustix::buffer::spare_capacity(&mut events), None)?;
        for event in &events {
            let token = event.data.u64();
            let conn = &mut conns[usize::try_from(token).map_err(io::Error::other)?];
            let n = match conn.socket.read(&mut buffer) {
                Ok(0) => return Err(io::Error::other("the server closed a connection")),
                Ok(n) => n,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
                Err(error) => return Err(error),
            };
            let now = Instant::now();
            let counting = counted_since.is_some();
            let done = conn.take(&buffer[..n], |since| {
                if counting {
                    histogram.saturating_record(u64::try_from((now - since).as_micros()).unwrap_or(u64::MAX));
                }
            })?;
            answers += done;
            conn.demand(done, size, number_at, now);
            conn.push(&epoll, token)?;
        }
        let now = Instant::now();
        match counted_since {
            None if now - start >= WARM_UP => {
                counted_since = Some(now);
                answers = 0;
            }
            Some(since) if now - since >= time => {
                let rate = answers as f64 / (now - since).as_secs_f64();
                let [p50_us, p99_us] = [0.5, 0.99].map(|q| histogram.value_at_quantile(q));
                return Ok(Run { rate, p50_us, p99_us });
            }
            _ => {}
        }
    }
}

impl Conn {
    /// Takes answers, which must be in order here; returns how many.
    fn take(&mut self, bytes: &[u8], mut on_answer: impl FnMut(Instant)) -> io::Result<u64> {
        let kept = std::mem::take(&mut self.got);
        let joined;
        let mut rest = match kept.is_empty() {
            true => bytes,
            false => {
                joined = [kept.as_slice(), bytes].concat();
                &joined
            }
        };
        let mut done = 0;
        while let Split::Whole(frame, taken) = split(rest, FRAME_BYTES_MAX).map_err(io::Error::other)? {
            if echo::answered(&frame) != self.expected.to_string().as_bytes() {
                return Err(io::Error::other("an answer is not the expected one"));
            }
            self.expected += 1;
            self.times.pop_front().into_iter().for_each(&mut on_answer);
            done += 1;
            rest = &rest[taken..];
        }
        self.got = rest.to_vec();
        Ok(done)
    }

    /// Makes `n` more requests due.
    fn demand(&mut self, n: u64, size: u64, number_at: usize, now: Instant) {
        for _ in 0..n {
            let at = usize::try_from(self.due).unwrap_or(0) % self.ring.len() + number_at;
            self.ring[at..at + echo::DIGITS].copy_from_slice(self.next_number.to_string().as_bytes());
            self.next_number += 1;
            self.due += size;
            self.times.push_back(now);
        }
    }

    /// Sends what is due and fits.
    fn push(&mut self, epoll: &impl std::os::fd::AsFd, token: u64) -> io::Result<()> {
        while self.sent < self.due {
            let from = usize::try_from(self.sent).unwrap_or(0) % self.ring.len();
            let to = self.ring.len().min(from + usize::try_from(self.due - self.sent).unwrap_or(0));
            match self.socket.write(&self.ring[from..to]) {
                Ok(n) => self.sent += u64::try_from(n).unwrap_or(0),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        let wants_out = self.sent < self.due;
        if wants_out != self.wants_out {
            self.wants_out = wants_out;
            let flags = if wants_out { EventFlags::IN | EventFlags::OUT } else { EventFlags::IN };
            epoll::modify(epoll, &self.socket, EventData::new_u64(token), flags)?;
        }
        Ok(())
    }
}
