//! A broker on a disk in memory, driven by hand: frames in, frames out, jobs and time when the test says.

use crate::asks::send;
use kerolox_broker::{
    Broker, Options,
    jobs::{BrokerDone, BrokerJob},
};
use kerolox_net::{ConnId, Job, Judgement, LinkEvent, Now, Outbox, Peer, Service, service::Part};
use kerolox_protocol::{
    Millis,
    frame::{self, Codec, FRAME_BYTES_MAX, Opening, Split},
    header::{Ext, Fields, Header, Language, VERSION_SERVED},
    record::{self, Record},
};
use kerolox_store::disk::memory::MemDisk;
use std::{
    collections::{BTreeMap, VecDeque},
    net::SocketAddr,
};

pub const START: Now = Now { wall: Millis(1_700_000_000_000), mono: Millis(1_000_000) };

/// An answer, or a request of the broker.
#[derive(Debug, Clone)]
pub struct Got {
    pub header: Header,
    pub body: Vec<u8>,
}

impl Got {
    pub fn code(&self) -> i32 {
        self.header.code
    }
    pub fn remark(&self) -> &str {
        self.header.remark.as_deref().unwrap_or("")
    }
    pub fn field(&self, name: &str) -> &str {
        self.header.get(name).unwrap_or_else(|| panic!("no field {name} in {:?}", self.header))
    }
    pub fn number(&self, name: &str) -> i64 {
        self.field(name).parse().unwrap()
    }
    pub fn records(&self) -> Vec<Record<'_>> {
        record::parse_all(&self.body).collect::<Result<_, _>>().unwrap()
    }
    pub fn bodies(&self) -> Vec<&str> {
        self.records().iter().map(|record| std::str::from_utf8(record.body).unwrap()).collect()
    }
}

/// A body that is text.
pub fn text(got: &Got) -> &str {
    std::str::from_utf8(&got.body).unwrap()
}

/// A request to be sent.
#[derive(Debug, Clone)]
pub struct Ask {
    pub conn: u64,
    pub code: i32,
    pub ext: Ext,
    pub body: Vec<u8>,
    pub oneway: bool,
    pub language: Language,
    pub version: i32,
}

impl Ask {
    pub fn new<F: Fields>(conn: u64, code: i32, fields: &F, body: &[u8]) -> Ask {
        Ask { conn, code, ext: fields.to_ext(), body: body.to_vec(), ..Ask::bare(conn, code) }
    }
    /// Without fields.
    pub fn bare(conn: u64, code: i32) -> Ask {
        let (ext, body) = (Ext::default(), Vec::new());
        Ask { conn, code, ext, body, oneway: false, language: Language::JAVA, version: VERSION_SERVED }
    }
    /// Without fields, with a body.
    pub fn json(conn: u64, code: i32, body: &str) -> Ask {
        Ask { body: body.as_bytes().to_vec(), ..Ask::bare(conn, code) }
    }
    /// As a client of that language sends it.
    pub fn from(mut self, language: Language) -> Ask {
        self.language = language;
        self
    }
    pub fn oneway(mut self) -> Ask {
        self.oneway = true;
        self
    }
    pub fn with(mut self, name: &str, value: impl ToString) -> Ask {
        self.ext.set(name, value.to_string());
        self
    }
}

pub struct Rig {
    pub broker: Broker,
    pub disk: MemDisk,
    pub options: Options,
    pub now: Now,
    pub codec: Codec,
    pub lines: Vec<kerolox_store::Line>,
    /// What the broker sent, by connection, oldest first.
    pub inbox: BTreeMap<u64, VecDeque<Got>>,
    /// Jobs not run yet.
    pub jobs: VecDeque<BrokerJob>,
    /// Whether jobs run as soon as they are handed out.
    pub runs_jobs: bool,
    pub closed: Vec<u64>,
    /// What was sent over links, with the address.
    pub links: Vec<(String, Got)>,
    out: Outbox<BrokerJob>,
    opaque: i32,
}

fn addr(conn: u64) -> SocketAddr {
    format!("10.0.0.{conn}:5000").parse().unwrap()
}

pub fn options() -> Options {
    let mut options = Options::local();
    options.store.store_path_root_dir = "/store".into();
    options.store.mapped_file_size_commit_log.0 = 1 << 20;
    options
}

impl Rig {
    pub fn new() -> Rig {
        Rig::with(options())
    }

    pub fn with(options: Options) -> Rig {
        Rig::on(MemDisk::new(), options, START)
    }

    /// Gives the disk no more room, and sends to `topic` until the store takes nothing.
    pub fn fill_disk(&mut self, topic: &str) {
        self.disk.set_capacity(Some(1));
        let big = "x".repeat(200_000);
        let mut sent = 0;
        while self.ask(send(1, topic, &big)).code() == 0 {
            sent += 1;
            assert!(sent < 1_000, "the disk never gets full");
        }
    }

    pub fn on(disk: MemDisk, options: Options, now: Now) -> Rig {
        kerolox_said::prepare();
        let (broker, lines) = Broker::open(disk.handle(), options.clone(), now).unwrap();
        let mut rig = Rig {
            broker,
            disk,
            options,
            now,
            codec: Codec::Json,
            lines,
            inbox: BTreeMap::new(),
            jobs: VecDeque::new(),
            runs_jobs: true,
            closed: Vec::new(),
            links: Vec::new(),
            out: Outbox::default(),
            opaque: 100,
        };
        // The driver's first look at the clock.
        rig.broker.on_timer(now, &mut rig.out);
        rig.settle();
        rig
    }

    /// The process is killed and started again on what it wrote.
    pub fn kill(self) -> Rig {
        Rig::on(self.disk.kill(), self.options, self.now)
    }

    /// The machine loses power.
    pub fn power_cut(self, seed: u64) -> Rig {
        Rig::on(self.disk.power_cut(seed), self.options, self.now)
    }

    /// Tells the broker to stop.
    pub fn begin_stop(&mut self) {
        self.broker.on_stop(self.now, &mut self.out);
        self.settle();
    }

    /// Sends a frame whose header is these bytes.
    pub fn raw(&mut self, conn: u64, header: &[u8]) {
        let frame = frame::Frame { codec: Codec::Json, header, body: b"" };
        let addr = "10.0.0.9:5000".parse().unwrap();
        let peer = Peer { conn: ConnId(conn), addr, local_port: 10911 };
        self.broker.on_frame(self.now, &peer, frame, &mut self.out);
        self.broker.on_batch_end(self.now, &mut self.out);
        self.settle();
    }

    /// An orderly stop; the disk as it is left.
    pub fn stop(mut self) -> MemDisk {
        self.begin_stop();
        for _ in 0..1_000 {
            if self.broker.is_stopped() {
                return self.disk.kill();
            }
            self.advance(10);
        }
        panic!("the broker does not stop");
    }

    /// Sends requests as one group; returns their opaques.
    pub fn group(&mut self, asks: &[Ask]) -> Vec<i32> {
        let opaques = asks.iter().map(|ask| self.put(ask)).collect();
        self.broker.on_batch_end(self.now, &mut self.out);
        self.settle();
        opaques
    }

    /// What becomes of a request of which the header is here, and so many bytes of body are announced.
    pub fn judge(&mut self, ask: &Ask, body_bytes: usize) -> Judgement {
        let bytes = self.frame_of(&Ask { body: Vec::new(), ..ask.clone() });
        let Ok(Split::Whole(frame, _)) = frame::split(&bytes, FRAME_BYTES_MAX) else { panic!("no frame") };
        self.judge_bytes(ask.conn, frame.header, body_bytes)
    }

    /// The same for a header of these bytes.
    pub fn judge_bytes(&mut self, conn: u64, header: &[u8], body_bytes: usize) -> Judgement {
        let peer = Peer { conn: ConnId(conn), addr: addr(conn), local_port: 10911 };
        self.broker.judge(self.now, &peer, &Opening { codec: self.codec, header, body_bytes })
    }

    /// The refusal by the header, if it is refused.
    pub fn refusal(&mut self, ask: &Ask, body_bytes: usize) -> Option<Got> {
        let bytes = match self.judge(ask, body_bytes) {
            Judgement::Take => return None,
            Judgement::Refuse(bytes) => bytes,
            Judgement::Close(why) => panic!("closed: {why}"),
        };
        self.deliver(ask.conn, &bytes);
        self.answer(ask.conn, self.opaque)
    }

    fn frame_of(&mut self, ask: &Ask) -> Vec<u8> {
        self.opaque += 1;
        let mut header = Header::request(ask.code, self.opaque, Some(ask.ext.clone()));
        header.flag = if ask.oneway { 2 } else { 0 };
        (header.language, header.version) = (ask.language, ask.version);
        let mut bytes = Vec::new();
        header.write_frame(self.codec, &ask.body, &mut bytes);
        bytes
    }

    fn put(&mut self, ask: &Ask) -> i32 {
        let bytes = self.frame_of(ask);
        let Ok(Split::Whole(frame, _)) = frame::split(&bytes, FRAME_BYTES_MAX) else { panic!("no frame") };
        let peer = Peer { conn: ConnId(ask.conn), addr: addr(ask.conn), local_port: 10911 };
        self.broker.on_frame(self.now, &peer, frame, &mut self.out);
        self.opaque
    }

    /// Sends one request and returns its answer, which must have come.
    pub fn ask(&mut self, ask: Ask) -> Got {
        let opaque = self.group(std::slice::from_ref(&ask))[0];
        self.answer(ask.conn, opaque).unwrap_or_else(|| panic!("no answer to {ask:?}"))
    }

    /// Takes the answer with that opaque, if it came.
    pub fn answer(&mut self, conn: u64, opaque: i32) -> Option<Got> {
        let inbox = self.inbox.get_mut(&conn)?;
        let at = inbox.iter().position(|got| got.header.is_response() && got.header.opaque == opaque)?;
        inbox.remove(at)
    }

    /// Everything that came on a connection.
    pub fn take(&mut self, conn: u64) -> Vec<Got> {
        self.inbox.remove(&conn).unwrap_or_default().into()
    }

    pub fn close(&mut self, conn: u64) {
        self.broker.on_closed(self.now, ConnId(conn), &mut self.out);
        self.settle();
    }

    /// Lets time pass, with every timer on the way at its time.
    pub fn advance(&mut self, ms: i64) {
        let end = self.now.mono + Millis(ms);
        let mut turns = 0;
        while let Some(at) = self.broker.next_timer()
            && at <= end
        {
            turns += 1;
            // A timer that is always due would cost a processor.
            assert!(
                turns < 10_000,
                "a timer spins at {:?}: {at:?}, the store's {:?}",
                self.now.mono,
                self.broker.store.next_timer()
            );
            let step = (at - self.now.mono).0.max(0);
            // A timer that is due now must move on; one millisecond keeps a wrong one from spinning for ever.
            self.pass(step.max(i64::from(step == 0 && at == self.now.mono)));
            self.broker.on_timer(self.now, &mut self.out);
            self.settle();
        }
        self.pass((end - self.now.mono).0.max(0));
    }

    fn pass(&mut self, ms: i64) {
        self.now = Now { wall: self.now.wall + Millis(ms), mono: self.now.mono + Millis(ms) };
    }

    /// Runs the jobs handed out so far and what follows from them.
    pub fn run_jobs(&mut self) {
        while let Some(job) = self.jobs.pop_front() {
            let done: BrokerDone = job.run();
            self.broker.on_done(self.now, done, &mut self.out);
            self.collect();
        }
    }

    /// Runs the jobs that are handed out now, but not those that follow from them.
    pub fn run_jobs_handed_out(&mut self) {
        for job in std::mem::take(&mut self.jobs) {
            self.broker.on_done(self.now, job.run(), &mut self.out);
            self.collect();
        }
    }

    fn settle(&mut self) {
        self.collect();
        if self.runs_jobs {
            self.run_jobs();
        }
    }

    fn collect(&mut self) {
        let (buffer, parts, links, jobs) = self.out.take();
        self.jobs.extend(jobs);
        for (to, bytes) in links {
            let mut rest = bytes.as_slice();
            while let Ok(Split::Whole(frame, taken)) = frame::split(rest, FRAME_BYTES_MAX) {
                let header = Header::decode(frame.codec, frame.header).unwrap();
                self.links.push((to.clone(), Got { header, body: frame.body.to_vec() }));
                rest = &rest[taken..];
            }
        }
        for (conn, part) in parts {
            match part {
                Part::Bytes(from, to) => self.deliver(conn.0, &buffer[from..to]),
                Part::Fill(fill) => {
                    let mut bytes = Vec::new();
                    if let Err(why) = fill.fill(&mut bytes) {
                        fill.failed(&why, &mut bytes);
                    }
                    self.deliver(conn.0, &bytes);
                }
                Part::Close(_) => self.closed.push(conn.0),
            }
        }
    }

    /// Answers a request that the broker sent to a client.
    pub fn reply(&mut self, conn: u64, opaque: i32, code: i32, body: &[u8]) {
        let mut bytes = Vec::new();
        Header::answer(code, opaque).write_frame(Codec::Json, body, &mut bytes);
        let Ok(Split::Whole(frame, _)) = frame::split(&bytes, FRAME_BYTES_MAX) else { panic!("no frame") };
        let peer = Peer { conn: ConnId(conn), addr: addr(conn), local_port: 10911 };
        self.broker.on_frame(self.now, &peer, frame, &mut self.out);
        self.broker.on_batch_end(self.now, &mut self.out);
        self.settle();
    }

    /// A name server answers.
    pub fn link(&mut self, from: &str, opaque: i32, code: i32, body: &[u8]) {
        let mut bytes = Vec::new();
        Header::answer(code, opaque).write_frame(Codec::Json, body, &mut bytes);
        let Ok(Split::Whole(frame, _)) = frame::split(&bytes, FRAME_BYTES_MAX) else { panic!("no frame") };
        self.broker.on_link(self.now, from, LinkEvent::Frame(frame), &mut self.out);
        self.settle();
    }

    fn deliver(&mut self, conn: u64, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let Ok(Split::Whole(frame, taken)) = frame::split(bytes, FRAME_BYTES_MAX) else {
                panic!("not a frame: {bytes:?}")
            };
            let header = Header::decode(frame.codec, frame.header).unwrap();
            if header.is_response() {
                assert_eq!(frame.codec, self.codec, "an answer comes in the codec of its request");
            }
            self.inbox.entry(conn).or_default().push_back(Got { header, body: frame.body.to_vec() });
            bytes = &bytes[taken..];
        }
    }
}
