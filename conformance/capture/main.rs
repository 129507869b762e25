//! A proxy that sits between an unmodified client and a server and saves whole frames.
//!
//! Owns the two listeners, the cutting of the byte stream into frames, the choice of which frames are
//! worth keeping, and their file names. Does not know what a frame's body means. The bytes saved are the
//! bytes the sender wrote; only what is forwarded to the client has the broker's address exchanged for
//! the proxy's, because clients learn that address from the name server and would walk around us.
//!
//! ```text
//! capture --client java-4.9.8 --out DIR --namesrv LISTEN=TARGET [--broker LISTEN=TARGET] [--keep 3] [--max-bytes 8192]
//! ```
//! It runs until its standard input closes.

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::thread;

use anyhow::{Context, Result, bail};
use serde_json::Value;

/// Frames above this are passed on but end the recording of their connection: a capture never needs them.
const FRAME_BYTES_MAX: usize = 64 << 20;

fn main() -> Result<()> {
    let args = Args::parse(std::env::args().skip(1))?;
    fs::create_dir_all(&args.out)?;
    if let Some(broker) = args.broker
        && broker.target.to_string().len() != broker.listen.to_string().len()
    {
        bail!(
            "the broker's port and its proxy port need equally many digits, since frames keep their length"
        );
    }
    let recorder = Arc::new(Recorder::new(&args));
    if let Some(namesrv) = args.namesrv {
        serve("namesrv", namesrv, args.broker.map(Swap::of_route), recorder.clone())?;
    }
    if let Some(broker) = args.broker {
        serve("broker", broker, Some(Swap::of_record(broker)), recorder.clone())?;
    }
    println!("capturing into {}", args.out.display());
    io::copy(&mut io::stdin(), &mut io::sink())?;
    println!("{} frames kept", recorder.kept());
    Ok(())
}

/// One listener and the server behind it, both on 127.0.0.1.
#[derive(Clone, Copy)]
struct Pair {
    listen: u16,
    target: u16,
}

struct Args {
    out: PathBuf,
    namesrv: Option<Pair>,
    broker: Option<Pair>,
    keep: usize,
    max_bytes: usize,
}

impl Args {
    fn parse(mut args: impl Iterator<Item = String>) -> Result<Args> {
        let (mut out, mut client, mut namesrv, mut broker) = (None, None, None, None);
        let (mut keep, mut max_bytes) = (3, 8192);
        while let Some(flag) = args.next() {
            let value = args.next().with_context(|| format!("{flag} needs a value"))?;
            match flag.as_str() {
                "--out" => out = Some(PathBuf::from(value)),
                "--client" => client = Some(value),
                "--namesrv" => namesrv = Some(pair(&value)?),
                "--broker" => broker = Some(pair(&value)?),
                "--keep" => keep = value.parse()?,
                "--max-bytes" => max_bytes = value.parse()?,
                _ => bail!("unknown flag {flag}"),
            }
        }
        let out = out.context("--out DIR is needed")?.join(client.context("--client NAME is needed")?);
        Ok(Args { out, namesrv, broker, keep, max_bytes })
    }
}

fn pair(text: &str) -> Result<Pair> {
    let (listen, target) = text.split_once('=').context("a listener is written LISTEN=TARGET")?;
    Ok(Pair { listen: listen.parse()?, target: target.parse()? })
}

/// The address that clients are told instead of the broker's own.
#[derive(Clone)]
struct Swap {
    from: Vec<u8>,
    to: Vec<u8>,
}

impl Swap {
    /// The address as a route answer writes it.
    fn of_route(broker: Pair) -> Swap {
        let text = |port| format!("127.0.0.1:{port}").into_bytes();
        Swap { from: text(broker.target), to: text(broker.listen) }
    }

    /// The store host of a message record: older clients send failed messages back to it.
    fn of_record(broker: Pair) -> Swap {
        let bytes = |port: u16| [[127, 0, 0, 1], u32::from(port).to_be_bytes()].concat();
        Swap { from: bytes(broker.target), to: bytes(broker.listen) }
    }

    fn apply(&self, bytes: &mut [u8]) {
        let (from, to) = (self.from.as_slice(), self.to.as_slice());
        let mut at = 0;
        while at + from.len() <= bytes.len() {
            if &bytes[at..at + from.len()] == from {
                bytes[at..at + to.len()].copy_from_slice(to);
            }
            at += 1;
        }
    }
}

fn serve(server: &'static str, pair: Pair, swap: Option<Swap>, recorder: Arc<Recorder>) -> Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, pair.listen))
        .with_context(|| format!("listen on {}", pair.listen))?;
    thread::spawn(move || {
        for client in listener.incoming().flatten() {
            if let Err(cause) = join(server, client, pair.target, swap.clone(), recorder.clone()) {
                eprintln!("{server}: {cause:#}");
            }
        }
    });
    Ok(())
}

/// Connects one client with the server and copies both ways until either side ends.
fn join(
    server: &'static str,
    client: TcpStream,
    target: u16,
    swap: Option<Swap>,
    recorder: Arc<Recorder>,
) -> Result<()> {
    let upstream = TcpStream::connect((Ipv4Addr::LOCALHOST, target)).context("connect to the server")?;
    let pending = Arc::new(Mutex::new(Pending::default()));
    let up = Side { name: format!("to-{server}"), from_client: true, swap: None, pending: pending.clone() };
    let down = Side { name: format!("from-{server}"), from_client: false, swap, pending };
    let (from, to) = (client.try_clone()?, upstream.try_clone()?);
    let recorder_up = recorder.clone();
    thread::spawn(move || pump(from, to, &up, &recorder_up));
    thread::spawn(move || pump(upstream, client, &down, &recorder));
    Ok(())
}

/// Requests of one connection that wait for their answer: opaque to request code, one table per asker.
#[derive(Default)]
struct Pending {
    of_client: HashMap<i64, i64>,
    of_server: HashMap<i64, i64>,
}

struct Side {
    name: String,
    from_client: bool,
    swap: Option<Swap>,
    pending: Arc<Mutex<Pending>>,
}

fn pump(mut from: TcpStream, mut to: TcpStream, side: &Side, recorder: &Recorder) {
    loop {
        let mut frame = match read_frame(&mut from) {
            Ok(Some(frame)) => frame,
            Ok(None) => break,
            Err(cause) => {
                eprintln!("{}: {cause}", side.name);
                break;
            }
        };
        recorder.see(side, &frame);
        if let Some(swap) = &side.swap {
            swap.apply(&mut frame);
        }
        if to.write_all(&frame).is_err() {
            break;
        }
    }
    // Either end closing closes the pair, as it would without us between them.
    let _ = from.shutdown(Shutdown::Both);
    let _ = to.shutdown(Shutdown::Both);
}

/// Reads one whole frame with its length word; `None` at a clean end of stream.
fn read_frame(from: &mut TcpStream) -> io::Result<Option<Vec<u8>>> {
    let mut length = [0_u8; 4];
    match from.read_exact(&mut length) {
        Ok(()) => {}
        Err(cause) if cause.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(cause) => return Err(cause),
    }
    let body = u32::from_be_bytes(length) as usize;
    if body > FRAME_BYTES_MAX {
        return Err(io::Error::other(format!("a frame claims {body} bytes")));
    }
    let mut frame = vec![0; 4 + body];
    frame[..4].copy_from_slice(&length);
    from.read_exact(&mut frame[4..])?;
    Ok(Some(frame))
}

/// What a frame's header says, as far as naming a file needs it.
struct Header {
    code: i64,
    opaque: i64,
    is_answer: bool,
    is_oneway: bool,
    /// Names of the ext fields, codec and presence of a body: two frames of one shape and about one size teach the same.
    shape: String,
}

fn header(frame: &[u8]) -> Option<Header> {
    let word = u32::from_be_bytes(frame.get(4..8)?.try_into().ok()?);
    let (codec, length) = (word >> 24, (word & 0xFF_FFFF) as usize);
    let bytes = frame.get(8..8 + length)?;
    let has_body = frame.len() > 8 + length;
    match codec {
        0 => json_header(bytes, has_body),
        1 => binary_header(bytes, has_body),
        _ => None,
    }
}

fn json_header(bytes: &[u8], has_body: bool) -> Option<Header> {
    let value: Value = serde_json::from_slice(bytes).ok()?;
    let keys: BTreeSet<&str> = match value.get("extFields") {
        Some(Value::Object(map)) => map.keys().map(String::as_str).collect(),
        _ => BTreeSet::new(),
    };
    let flag = value.get("flag")?.as_i64()?;
    // Fields whose value, not only whose presence, makes a request another kind.
    let kind: Vec<_> = ["sysFlag", "f", "batch", "m", "expressionType", "commitOrRollback"]
        .iter()
        .filter_map(|key| value.get("extFields")?.get(key).map(Value::to_string))
        .collect();
    Some(Header {
        code: value.get("code")?.as_i64()?,
        opaque: value.get("opaque")?.as_i64()?,
        is_answer: flag & 1 != 0,
        is_oneway: flag & 2 != 0,
        shape: format!("json {keys:?} {kind:?} body {has_body} remark {}", value.get("remark").is_some()),
    })
}

fn binary_header(bytes: &[u8], has_body: bool) -> Option<Header> {
    let code = i16::from_be_bytes(bytes.get(..2)?.try_into().ok()?);
    let opaque = i32::from_be_bytes(bytes.get(5..9)?.try_into().ok()?);
    let flag = i32::from_be_bytes(bytes.get(9..13)?.try_into().ok()?);
    Some(Header {
        code: code.into(),
        opaque: opaque.into(),
        is_answer: flag & 1 != 0,
        is_oneway: flag & 2 != 0,
        shape: format!("binary body {has_body}"),
    })
}

struct Recorder {
    out: PathBuf,
    keep: usize,
    max_bytes: usize,
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    shapes: BTreeSet<String>,
    count: HashMap<String, usize>,
}

impl Recorder {
    fn new(args: &Args) -> Recorder {
        Recorder { out: args.out.clone(), keep: args.keep, max_bytes: args.max_bytes, seen: Mutex::default() }
    }

    fn kept(&self) -> usize {
        self.seen.lock().map(|seen| seen.count.values().sum()).unwrap_or_default()
    }

    fn see(&self, side: &Side, frame: &[u8]) {
        let Some(header) = header(frame) else {
            eprintln!("{}: a frame of {} bytes with a header we cannot read", side.name, frame.len());
            return;
        };
        let Some(name) = name(side, &header) else { return };
        if frame.len() > self.max_bytes {
            return;
        }
        let Ok(mut seen) = self.seen.lock() else { return };
        if !seen.shapes.insert(format!("{name} {} {} {}", header.code, header.shape, frame.len().ilog2())) {
            return;
        }
        let count = seen.count.entry(name.clone()).or_default();
        if *count == self.keep {
            return;
        }
        *count += 1;
        let path = self.out.join(format!("{name}-{count}.bin"));
        if let Err(cause) = fs::write(&path, frame) {
            eprintln!("{}: {cause}", path.display());
        }
    }
}

/// `to-broker-310` for a request, `from-broker-answer-310` for its answer; `None` for an answer to nothing.
fn name(side: &Side, header: &Header) -> Option<String> {
    let mut pending = side.pending.lock().ok()?;
    // An answer of one side belongs to a request of the other.
    let table =
        if side.from_client == header.is_answer { &mut pending.of_server } else { &mut pending.of_client };
    if header.is_answer {
        let asked = table.remove(&header.opaque)?;
        return Some(format!("{}-answer-{asked}", side.name));
    }
    if !header.is_oneway {
        table.insert(header.opaque, header.code);
    }
    Some(format!("{}-{}", side.name, header.code))
}
