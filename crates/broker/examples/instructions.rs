//! Drives a whole broker, without sockets and threads, through a fixed number of requests of one shape, to be
//! counted by `cargo xtask instructions`: frames in, answers out, jobs done at once, time standing still.
//!
//! `instructions SHAPE GROUPS DIR`: a group is 64 requests that one wake-up would find.
#![allow(clippy::disallowed_methods)] // It makes and removes its directory.

use kerolox_broker::{Broker, Options, jobs::BrokerJob};
use kerolox_net::{ConnId, Fill, Job, Now, Outbox, Peer, Service, service::Part};
use kerolox_protocol::{
    Millis,
    frame::{Codec, FRAME_BYTES_MAX, Split, split},
    header::{Ext, Fields, Header, Language},
    rpc::{consume::PullRequest, produce::SendRequestV2},
};
use kerolox_store::disk::real::RealDisk;
use std::{path::Path, sync::Arc};

const GROUP: usize = 64;
const NOW: Now = Now { wall: Millis(1_700_000_000_000), mono: Millis(1_000_000) };

struct Driver {
    broker: Broker,
    peer: Peer,
    out: Outbox<BrokerJob>,
    filled: Vec<u8>,
    answers: usize,
}

impl Driver {
    fn open(dir: &Path) -> Driver {
        let mut options = Options::local();
        options.store.store_path_root_dir = dir.join("store").display().to_string().as_str().into();
        let (broker, _) = Broker::open(Arc::new(RealDisk::new()), options, NOW).expect("open a broker");
        let addr = "10.0.0.1:5000".parse().expect("an address");
        let peer = Peer { conn: ConnId(1), addr, local_port: 10911 };
        Driver { broker, peer, out: Outbox::default(), filled: Vec::new(), answers: 0 }
    }

    fn group(&mut self, request: &[u8]) {
        for _ in 0..GROUP {
            let Ok(Split::Whole(frame, _)) = split(request, FRAME_BYTES_MAX) else { panic!("no frame") };
            self.broker.on_frame(NOW, &self.peer, frame, &mut self.out);
        }
        self.broker.on_batch_end(NOW, &mut self.out);
        self.deliver();
    }

    /// Does what the loop does: answers, and jobs until there are none.
    fn deliver(&mut self) {
        while !self.out.is_empty() {
            let (buffer, mut parts, _, jobs) = self.out.take();
            for (_, part) in parts.drain(..) {
                match part {
                    Part::Bytes(from, to) => self.count(buffer.get(from..to).unwrap_or_default()),
                    Part::Fill(fill) => self.fill(&*fill),
                    Part::Close(why) => panic!("closed: {why}"),
                }
            }
            self.out.recycle(buffer, parts);
            for job in jobs {
                self.broker.on_done(NOW, job.run(), &mut self.out);
            }
        }
    }

    fn fill(&mut self, fill: &dyn Fill) {
        let mut filled = std::mem::take(&mut self.filled);
        filled.clear();
        assert!(fill.try_fill(&mut filled).expect("read what was just written"), "it is in memory");
        self.count(&filled);
        self.filled = filled;
    }

    /// Only answers of success count; any other would make the figures those of refusals.
    fn count(&mut self, mut bytes: &[u8]) {
        while let Ok(Split::Whole(frame, taken)) = split(bytes, FRAME_BYTES_MAX) {
            let succeeded = match frame.codec {
                Codec::Json => frame.header.starts_with(b"{\"code\":0,"),
                Codec::Binary => frame.header.starts_with(&[0, 0]),
            };
            assert!(succeeded, "refused: {}", String::from_utf8_lossy(frame.header));
            self.answers += 1;
            bytes = bytes.get(taken..).unwrap_or_default();
        }
    }
}

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let [_, shape, groups, dir] = args.as_slice() else { panic!("instructions SHAPE GROUPS DIR") };
    let groups: usize = groups.parse().expect("a number of groups");
    let dir = Path::new(dir);
    let _ = std::fs::remove_dir_all(dir);
    std::fs::create_dir_all(dir).expect("make the directory");
    let mut driver = Driver::open(dir);
    let request = match shape.as_str() {
        "send-json" => send(Codec::Json, 1024),
        "send-binary" => send(Codec::Binary, 1024),
        "batch-32-of-128" => batch(32, 128),
        "pull-32" => {
            (0..4).for_each(|_| driver.group(&send(Codec::Json, 1024)));
            frame(Codec::Json, 11, pull().to_ext(), b"")
        }
        other => panic!("no shape {other}"),
    };
    let before = driver.answers;
    (0..groups).for_each(|_| driver.group(&request));
    assert_eq!(driver.answers - before, groups * GROUP, "every request is answered");
    drop(driver);
    std::fs::remove_dir_all(dir).expect("remove the directory");
}

fn frame(codec: Codec, code: i32, ext: Ext, body: &[u8]) -> Vec<u8> {
    let mut header = Header::request(code, 1_000_000_000, Some(ext));
    header.language = Language::JAVA;
    let mut out = Vec::new();
    header.write_frame(codec, body, &mut out);
    out
}

fn properties(n: usize) -> String {
    format!("UNIQ_KEY\u{1}7F000001000000000000BEEF{n:08X}\u{2}WAIT\u{1}true\u{2}TAGS\u{1}TagA")
}

fn request(batch: bool) -> SendRequestV2 {
    let properties = if batch { "WAIT\u{1}true".into() } else { properties(1) };
    let plain = SendRequestV2::plain("counted_producer", "CountedTopic", 1, NOW.wall, properties);
    SendRequestV2 { batch: Some(batch), ..plain }
}

fn send(codec: Codec, size: usize) -> Vec<u8> {
    frame(codec, 310, request(false).to_ext(), &vec![b'x'; size])
}

fn batch(count: usize, size: usize) -> Vec<u8> {
    let mut body = Vec::new();
    for n in 0..count {
        let properties = properties(n);
        let total = 22 + size + properties.len();
        for word in [total, 0, 0, 0, size] {
            body.extend_from_slice(&u32::try_from(word).expect("small").to_be_bytes());
        }
        body.resize(body.len() + size, b'x');
        body.extend_from_slice(&u16::try_from(properties.len()).expect("small").to_be_bytes());
        body.extend_from_slice(properties.as_bytes());
    }
    frame(Codec::Json, 320, request(true).to_ext(), &body)
}

fn pull() -> PullRequest {
    PullRequest::once("counted_consumer", "CountedTopic", 1, 0, 32)
}
