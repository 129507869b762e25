//! A service whose header is an order, and a blocking client: what the tests of the loop share.

use kerolox_net::{
    Clock, ConnId, Fill, Handle, Job, Judgement, Lane, Limits, LinkEvent, Listeners, Now, Options, Outbox,
    Peer, Running, Server, Service, SocketOptions, System,
};
use kerolox_protocol::{
    Millis,
    frame::{self, Codec, FRAME_BYTES_MAX, Frame, Opening, Split},
};
use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicI64, Ordering},
        mpsc::{Receiver, Sender, channel},
    },
    thread,
    time::Duration,
};

/// Longer than anything here takes; a test that waits for it has failed.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// A frame with that header and body.
pub fn framed(header: &[u8], body: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let start = frame::begin(&mut out);
    out.extend_from_slice(header);
    frame::finish(&mut out, start, Codec::Json, header.len(), body.len());
    out.extend_from_slice(body);
    out
}

/// What the test service saw.
#[derive(Debug, PartialEq, Eq)]
pub enum Seen {
    Closed(u64),
    LinkFrame(String, Vec<u8>),
    LinkDown(String, String),
    Timer(i64),
}

/// Where blocked work waits until the test lets it go on.
pub type Gate = Arc<Mutex<Receiver<()>>>;

pub struct Work {
    conn: ConnId,
    lane: Lane,
    gate: Option<Gate>,
}

pub struct Worked {
    conn: ConnId,
    thread: String,
}

fn wait_at(gate: &Gate) {
    gate.lock().unwrap().recv_timeout(PATIENCE).expect("the gate was not opened");
}

fn thread_name() -> String {
    thread::current().name().unwrap_or("?").to_owned()
}

impl Job for Work {
    type Done = Worked;
    fn lane(&self) -> Lane {
        self.lane
    }
    fn run(self) -> Worked {
        self.gate.iter().for_each(wait_at);
        Worked { conn: self.conn, thread: thread_name() }
    }
}

/// An answer that tells which thread made it.
#[derive(Debug)]
struct TestFill {
    cold: bool,
    gate: Option<Gate>,
    fails: bool,
}

impl Fill for TestFill {
    fn is_cold(&self) -> bool {
        self.cold
    }
    fn fill(&self, out: &mut Vec<u8>) -> io::Result<()> {
        self.gate.iter().for_each(wait_at);
        if self.fails {
            // A careless fill: what it leaves behind must not reach the peer.
            out.extend_from_slice(b"rubbish");
            return Err(io::Error::other("the disk is gone"));
        }
        out.extend(framed(b"filled", thread_name().as_bytes()));
        Ok(())
    }
    fn failed(&self, why: &io::Error, out: &mut Vec<u8>) {
        out.extend(framed(b"failed", why.to_string().as_bytes()));
    }
}

/// Does what the header of a frame says.
pub struct Orders {
    seen: Sender<Seen>,
    gate: Gate,
    echoes: Vec<(ConnId, Vec<u8>)>,
    jobs_out: usize,
    stopping: bool,
    pub batches: usize,
    pub timer: Option<Millis>,
}

impl Service for Orders {
    type Job = Work;

    fn judge(&mut self, _: Now, _: &Peer, opening: &Opening<'_>) -> Judgement {
        match opening.header {
            b"refuse" => Judgement::Refuse(framed(b"refused", opening.body_bytes.to_string().as_bytes())),
            b"ignore" => Judgement::Refuse(Vec::new()),
            b"bar" => Judgement::Close("barred"),
            _ => Judgement::Take,
        }
    }

    fn on_frame(&mut self, _: Now, peer: &Peer, frame: Frame<'_>, out: &mut Outbox<Work>) {
        let conn = peer.conn;
        let text = || String::from_utf8(frame.body.to_vec()).unwrap();
        let fill = |cold, gate, fails| Box::new(TestFill { cold, gate, fails });
        match frame.header {
            b"echo" => self.echoes.push((conn, framed(frame.header, frame.body))),
            b"port" => out.send(conn, |b| b.extend(framed(b"port", peer.local_port.to_string().as_bytes()))),
            b"peer" => out.send(conn, |b| b.extend(framed(b"peer", peer.addr.to_string().as_bytes()))),
            b"big" => {
                let bytes = text().parse().unwrap();
                out.send(conn, |b| b.extend(framed(b"big", &vec![1; bytes])));
            }
            b"flush" => self.work(conn, Lane::Flush, true, out),
            b"background" => self.work(conn, Lane::Background, false, out),
            b"read" => self.work(conn, Lane::Read, false, out),
            b"hot" => out.send_fill(conn, fill(false, None, false)),
            b"cold" => out.send_fill(conn, fill(true, Some(self.gate.clone()), false)),
            b"broken" => out.send_fill(conn, fill(true, None, true)),
            b"hot-broken" => out.send_fill(conn, fill(false, None, true)),
            b"link" => out.send_link(&text(), framed(b"echo", b"over the link")),
            b"link-close" => out.send_link(&text(), framed(b"close", b"")),
            b"link-big" => out.send_link(&text(), framed(b"echo", &[0; 100_000])),
            b"close" => {
                out.send(conn, |b| b.extend(framed(b"bye", b"")));
                out.close(conn, "asked for");
            }
            other => panic!("unknown order {other:?}"),
        }
    }

    fn on_batch_end(&mut self, _: Now, out: &mut Outbox<Work>) {
        self.batches += 1;
        for (conn, frame) in self.echoes.drain(..) {
            out.send(conn, |b| b.extend(frame));
        }
    }

    fn on_closed(&mut self, _: Now, conn: ConnId, _: &mut Outbox<Work>) {
        self.saw(Seen::Closed(conn.0));
    }

    fn on_link(&mut self, _: Now, addr: &str, event: LinkEvent<'_>, _: &mut Outbox<Work>) {
        self.saw(match event {
            LinkEvent::Frame(frame) => Seen::LinkFrame(addr.to_owned(), frame.body.to_vec()),
            LinkEvent::Down(why) => Seen::LinkDown(addr.to_owned(), why.to_owned()),
        });
    }

    fn on_done(&mut self, _: Now, done: Worked, out: &mut Outbox<Work>) {
        self.jobs_out -= 1;
        out.send(done.conn, |b| b.extend(framed(b"worked", done.thread.as_bytes())));
    }

    fn on_timer(&mut self, now: Now, _: &mut Outbox<Work>) {
        if self.timer.take_if(|at| now.mono >= *at).is_some() {
            self.saw(Seen::Timer(now.mono.0));
        }
    }

    fn next_timer(&self) -> Option<Millis> {
        self.timer
    }

    fn on_stop(&mut self, _: Now, _: &mut Outbox<Work>) {
        self.stopping = true;
    }

    fn is_stopped(&self) -> bool {
        self.stopping && self.jobs_out == 0
    }
}

impl Orders {
    fn work(&mut self, conn: ConnId, lane: Lane, gated: bool, out: &mut Outbox<Work>) {
        self.jobs_out += 1;
        out.job(Work { conn, lane, gate: gated.then(|| self.gate.clone()) });
    }

    fn saw(&self, seen: Seen) {
        // At the very end the test may no longer listen.
        let _ = self.seen.send(seen);
    }
}

/// Time that stands still until it is moved.
#[derive(Debug, Clone, Default)]
pub struct Virtual(Arc<AtomicI64>);

impl Virtual {
    pub fn advance(&self, ms: i64) {
        self.0.fetch_add(ms, Ordering::SeqCst);
    }
}

impl Clock for Virtual {
    fn now(&self) -> Now {
        let now = Millis(self.0.load(Ordering::SeqCst));
        Now { wall: now, mono: now }
    }
}

/// A running test server.
pub struct World {
    pub addrs: Vec<SocketAddr>,
    pub seen: Receiver<Seen>,
    pub gate: Sender<()>,
    pub running: Running<Orders>,
}

pub fn start(limits: Limits) -> World {
    start_with(limits, System::new())
}

pub fn start_with(limits: Limits, clock: impl Clock) -> World {
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    start_on(Listeners::bind(&[any, any], &SocketOptions::default()).unwrap(), limits, clock)
}

pub fn start_on(listeners: Listeners, limits: Limits, clock: impl Clock) -> World {
    let addrs = listeners.addrs();
    let (seen_in, seen) = channel();
    let (gate, gate_out) = channel();
    let service = Orders {
        seen: seen_in,
        gate: Arc::new(Mutex::new(gate_out)),
        echoes: Vec::new(),
        jobs_out: 0,
        stopping: false,
        batches: 0,
        timer: None,
    };
    let options = Options { name: "test", limits, ..Options::default() };
    let running = Server::new(listeners, options, clock, service).unwrap().spawn().unwrap();
    World { addrs, seen, gate, running }
}

impl World {
    pub fn client(&self) -> Client {
        Client::connect(self.addrs[0])
    }

    pub fn handle(&self) -> &Handle<Orders> {
        &self.running.handle
    }

    pub fn next(&self) -> Seen {
        self.seen.recv_timeout(PATIENCE).expect("the service saw nothing")
    }
}

/// A blocking client.
pub struct Client {
    pub socket: TcpStream,
    got: Vec<u8>,
}

impl Client {
    pub fn connect(addr: SocketAddr) -> Client {
        Client::on(TcpStream::connect(addr).unwrap())
    }

    /// From another address of this machine.
    pub fn connect_from(host: [u8; 4], to: SocketAddr) -> Client {
        use rustix::net::{AddressFamily, SocketType, bind, connect, socket};
        let socket = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
        bind(&socket, &SocketAddr::from((host, 0))).unwrap();
        connect(&socket, &to).unwrap();
        Client::on(socket.into())
    }

    fn on(socket: TcpStream) -> Client {
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket.set_write_timeout(Some(PATIENCE)).unwrap();
        socket.set_nodelay(true).unwrap();
        Client { socket, got: Vec::new() }
    }

    pub fn send(&mut self, header: &str, body: &str) {
        self.raw(&framed(header.as_bytes(), body.as_bytes()));
    }

    pub fn raw(&mut self, bytes: &[u8]) {
        self.socket.write_all(bytes).unwrap();
    }

    /// The next answer: header and body.
    pub fn answer(&mut self) -> (String, String) {
        self.try_answer().expect("the server closed the connection")
    }

    /// The next answer, or `None` when the server has closed.
    pub fn try_answer(&mut self) -> Option<(String, String)> {
        loop {
            if let Split::Whole(frame, taken) = frame::split(&self.got, FRAME_BYTES_MAX).unwrap() {
                let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
                let answer = (text(frame.header), text(frame.body));
                self.got.drain(..taken);
                return Some(answer);
            }
            let mut chunk = [0; 64 * 1024];
            match self.socket.read(&mut chunk) {
                Ok(0) => {
                    assert!(self.got.is_empty(), "closed in the middle of a frame");
                    return None;
                }
                Ok(n) => self.got.extend_from_slice(&chunk[..n]),
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return None,
                Err(error) => panic!("{error}"),
            }
        }
    }

    /// One exchange.
    pub fn ask(&mut self, header: &str, body: &str) -> String {
        self.send(header, body);
        self.answer().1
    }
}
