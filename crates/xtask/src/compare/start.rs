//! P19 and P20: from the start of a process to its first answer, and what it costs when nothing happens.

use super::{Bench, append, date, results::Line, results::spread, servers};
use anyhow::{Context, Result, bail};
use serde_json::json;
use servers::{BROKER_ABOVE, original_command, wait_for};
use std::{
    io::{Read, Write},
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

const TIMES: usize = 5;
/// Nothing happens for so long before an idle server is looked at, and while it is.
const SETTLE: Duration = Duration::from_secs(3);
const IDLE: Duration = Duration::from_secs(10);

/// A process that is ended with this value.
struct Ours(Child);

impl Ours {
    fn watched(child: Child) -> Result<Ours> {
        super::guard::watch(&child.id().to_string())?;
        Ok(Ours(child))
    }
}

impl Drop for Ours {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
        super::guard::forget(&self.0.id().to_string());
    }
}

/// Measures both rows for name server and broker.
pub fn row(
    binary: &Path,
    original: Option<&Path>,
    dir: &Path,
    port: u16,
    bench: &Bench<'_>,
) -> Result<Vec<Line>> {
    let (mut ours_ns, mut ours_broker, mut idle_ns, mut idle_broker) = (vec![], vec![], vec![], vec![]);
    for n in 0..TIMES {
        let dir = dir.join("start");
        servers::fresh(&dir)?;
        let (ns_port, broker_port) = (port.to_string(), port + 10);
        let began = Instant::now();
        let words = [
            format!("listenPort={ns_port}"),
            format!("kvConfigPath={}", dir.join("kvConfig.json").display()),
            format!("configStorePath={}", dir.join("namesrv.properties").display()),
        ];
        let ns = Ours::watched(spawn(binary, "namesrv", &words)?)?;
        ours_ns.push(answered(&format!("127.0.0.1:{ns_port}"), &ask_route(), began)?);
        let began = Instant::now();
        let words = [
            "brokerName=broker-a".to_owned(),
            "brokerIP1=127.0.0.1".to_owned(),
            format!("listenPort={broker_port}"),
            format!("namesrvAddr=127.0.0.1:{ns_port}"),
            format!("storePathRootDir={}", dir.join("store").display()),
        ];
        let broker = Ours::watched(spawn(binary, "broker", &words)?)?;
        ours_broker.push(answered(&format!("127.0.0.1:{broker_port}"), &send(), began)?);
        if n + 1 == TIMES {
            thread::sleep(SETTLE);
            idle_ns.push(idle(&[ns.0.id(), broker.0.id()])?);
            idle_broker = idle_ns.iter().map(|both| both[1]).collect();
        }
    }
    let ours_idle = (idle_ns.first().map(|both| both[0]), idle_broker.first().copied());
    let (mut their_ns, mut their_broker, mut their_idle) = (vec![], vec![], (None, None));
    if let Some(script) = original {
        let dir = dir.join("start-original");
        for n in 0..2 {
            servers::fresh(&dir)?;
            let found = original_start(script, &dir, port + 100, n == 1)?;
            their_ns.push(found.ns_ms);
            their_broker.push(found.broker_ms);
            their_idle = found.idle.map_or(their_idle, |[ns, broker]| (Some(ns), Some(broker)));
        }
    }
    let record = json!({
        "row": "P19", "date": date(), "commit": bench.commit,
        "ours_ms": {"namesrv": ours_ns, "broker": ours_broker},
        "original_ms": {"namesrv": their_ns, "broker": their_broker},
        "idle_mib_and_cores": {"ours": ours_idle, "original": their_idle},
    });
    if bench.options.record {
        append(Path::new(super::LEDGER), &record.to_string())?;
    }
    Ok(vec![
        start_line("P19 name server", &ours_ns, &their_ns, 30.0),
        start_line("P19 broker", &ours_broker, &their_broker, 100.0),
        idle_line("P20 name server", ours_idle.0, their_idle.0, 8.0),
        idle_line("P20 broker", ours_idle.1, their_idle.1, 24.0),
    ])
}

struct OriginalStart {
    ns_ms: f64,
    broker_ms: f64,
    idle: Option<[(f64, f64); 2]>,
}

fn original_start(script: &Path, dir: &Path, port: u16, look_idle: bool) -> Result<OriginalStart> {
    super::guard::watch(&dir.display().to_string())?;
    let began = Instant::now();
    let mut starting =
        original_command(script).arg("start").arg(dir).arg(port.to_string()).stdout(Stdio::null()).spawn()?;
    let ns_ms = answered(&format!("127.0.0.1:{port}"), &ask_route(), began);
    let started = starting.wait();
    let result = (|| {
        let ns_ms = ns_ms?;
        if !started?.success() {
            bail!("the original did not start");
        }
        // The broker alone, again, on an empty store.
        original_command(script).arg("kill").arg(dir).status()?;
        servers::fresh(&dir.join("home/store"))?;
        let began = Instant::now();
        let mut starting = original_command(script)
            .arg("broker")
            .arg(dir)
            .arg(port.to_string())
            .stdout(Stdio::null())
            .spawn()?;
        let broker_ms = answered(&format!("127.0.0.1:{}", port + BROKER_ABOVE), &send(), began);
        starting.wait()?;
        let broker_ms = broker_ms?;
        let pid =
            |name: &str| -> Result<u32> { Ok(std::fs::read_to_string(dir.join(name))?.trim().parse()?) };
        let idle = match look_idle {
            true => {
                thread::sleep(SETTLE);
                let found = idle(&[pid("ns.pid")?, pid("broker.pid")?])?;
                Some(found)
            }
            false => None,
        };
        Ok(OriginalStart { ns_ms, broker_ms, idle })
    })();
    original_command(script).arg("stop").arg(dir).status()?;
    super::guard::forget(&dir.display().to_string());
    result
}

fn spawn(binary: &Path, role: &str, words: &[String]) -> Result<Child> {
    let mut command = Command::new(binary);
    command.arg(role).args(words).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().with_context(|| format!("start {}", binary.display()))
}

/// Milliseconds from `began` to the first answer that is not a refusal to serve yet.
pub fn answered(addr: &str, request: &[u8], began: Instant) -> Result<f64> {
    loop {
        if began.elapsed() > Duration::from_secs(60) {
            bail!("{addr} did not answer within a minute");
        }
        let mut stream = wait_for(addr, Duration::from_secs(60))?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        stream.set_nodelay(true)?;
        let code = stream.write_all(request).ok().and_then(|()| answer_code(&mut stream));
        match code {
            // 17: the name server knows no such topic, which is its answer.
            Some(0 | 17) => return Ok(began.elapsed().as_secs_f64() * 1e3),
            _ => thread::sleep(Duration::from_millis(1)),
        }
    }
}

fn answer_code(stream: &mut impl Read) -> Option<i64> {
    let mut word = [0; 4];
    stream.read_exact(&mut word).ok()?;
    let mut rest = vec![0; usize::try_from(u32::from_be_bytes(word)).ok()?.min(1 << 20)];
    stream.read_exact(&mut rest).ok()?;
    let header_bytes = usize::from(*rest.get(2)?) << 8 | usize::from(*rest.get(3)?);
    let header: serde_json::Value = serde_json::from_slice(rest.get(4..4 + header_bytes)?).ok()?;
    header.get("code")?.as_i64()
}

/// A frame with a JSON header.
fn frame(code: u32, fields: &serde_json::Value, body: &[u8]) -> Vec<u8> {
    let header = json!({
        "code": code, "language": "JAVA", "version": 399, "opaque": 1, "flag": 0,
        "serializeTypeCurrentRPC": "JSON", "extFields": fields,
    })
    .to_string();
    let total = 4 + header.len() + body.len();
    let mut out = Vec::with_capacity(4 + total);
    out.extend_from_slice(&(total as u32).to_be_bytes());
    // The first byte is the codec: 0, JSON.
    out.extend_from_slice(&(header.len() as u32).to_be_bytes());
    out.extend_from_slice(header.as_bytes());
    out.extend_from_slice(body);
    out
}

fn ask_route() -> Vec<u8> {
    frame(105, &json!({"topic": "ProbeOfStart"}), b"")
}

pub fn send() -> Vec<u8> {
    let fields = json!({
        "a": "probe_producer", "b": "ProbeOfStart", "c": "TBW102", "d": "4", "e": "0", "f": "0",
        "g": "1700000000000", "h": "0", "i": "", "j": "0", "k": "false", "m": "false",
    });
    frame(310, &fields, b"first")
}

/// Anonymous memory in MiB, and cores used, of idle processes.
fn idle<const N: usize>(pids: &[u32; N]) -> Result<[(f64, f64); N]> {
    let ticks = |pid: u32| -> Result<f64> {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
        let after = stat.rsplit_once(')').context("a line of /proc")?.1;
        Ok(after.split_whitespace().skip(11).take(2).filter_map(|n| n.parse::<f64>().ok()).sum())
    };
    let before: Vec<f64> = pids.iter().map(|pid| ticks(*pid)).collect::<Result<_>>()?;
    thread::sleep(IDLE);
    let mut found = [(0.0, 0.0); N];
    for ((place, pid), before) in found.iter_mut().zip(pids).zip(before) {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
        let anon = status.lines().find_map(|line| line.strip_prefix("RssAnon:")?.split_whitespace().next());
        let kib: f64 = anon.and_then(|kib| kib.parse().ok()).context("RssAnon")?;
        // A tick is 10 ms on every Linux we know.
        *place = (kib / 1024.0, (ticks(*pid)? - before) / 100.0 / IDLE.as_secs_f64());
    }
    Ok(found)
}

fn start_line(name: &str, ours: &[f64], theirs: &[f64], floor_ms: f64) -> Line {
    let show = |all: &[f64]| {
        spread(all.iter().copied())
            .map_or("-".into(), |s| format!("{:.1} / {:.1} / {:.1} ms", s.min, s.median, s.max))
    };
    let (ours_ms, their_ms) = (spread(ours.iter().copied()), spread(theirs.iter().copied()));
    let ratio = ours_ms.as_ref().zip(their_ms.as_ref()).map(|(ours, theirs)| {
        format!("{:.0} (worst {:.0})", theirs.median / ours.median, theirs.min / ours.max)
    });
    let met = if ours_ms.is_some_and(|ours| ours.max <= floor_ms) { "met" } else { "NOT met" };
    line(name, "start to first answer", show(ours), show(theirs), ratio, format!("{floor_ms} ms: {met}"))
}

fn idle_line(name: &str, ours: Option<(f64, f64)>, theirs: Option<(f64, f64)>, floor_mib: f64) -> Line {
    let show = |found: Option<(f64, f64)>| {
        found.map_or("-".into(), |(mib, cores)| format!("{mib:.1} MiB, {cores:.4} core"))
    };
    let ratio = ours.zip(theirs).map(|(ours, theirs)| format!("{:.0} (memory)", theirs.0 / ours.0));
    let met =
        if ours.is_some_and(|(mib, cores)| mib <= floor_mib && cores <= 0.002) { "met" } else { "NOT met" };
    let floor = format!("{floor_mib} MiB, 0.002 core: {met}");
    line(name, "idle, anonymous memory and processor", show(ours), show(theirs), ratio, floor)
}

fn line(name: &str, load: &str, ours: String, theirs: String, ratio: Option<String>, floor: String) -> Line {
    super::results::line_of(vec![name.into(), load.into(), ours, theirs, ratio.unwrap_or("-".into()), floor])
}
